"""Corrections about S3 calls: see emulator/s3_requests.py and emulator/s3_kms.py."""

import base64
import json
import urllib.error
import urllib.request

from tests.support import REGION, Account, EmulatorTest, Principal, allow, deny, document

CUSTOMER_KEY = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "k" * 32}


class EncryptedBucket(EmulatorTest):
    """A bucket with a dedicated key, and two people with S3 rights: one with the key, one without."""

    def setUp(self) -> None:
        super().setUp()
        self.key = self.account.key()
        self.bucket = self.account.bucket(self.key)
        s3 = allow(["s3:GetObject*", "s3:PutObject", "s3:ListMultipartUploadParts", "s3:AbortMultipartUpload"])
        via_s3 = {"StringEquals": {"kms:ViaService": f"s3.{REGION}.amazonaws.com"}}
        self.full = self.account.actor("full", s3, allow(["kms:Decrypt", "kms:GenerateDataKey"], Condition=via_s3))
        self.writer = self.account.actor("writer", s3, allow("kms:GenerateDataKey", Condition=via_s3))
        self.without = self.account.actor("without", s3)


class S3AsksKms(EncryptedBucket):
    """Reading an SSE-KMS object needs kms:Decrypt via S3, writing one kms:GenerateDataKey.

    Source: S3-UG UsingKMSEncryption, bucket-key; KMS-DG services-s3.
    """

    correction = "s3-asks-kms"

    def test_put_and_get(self) -> None:
        self.assertIn("kms:GenerateDataKey", self.denied(self.without.s3.put_object, Bucket=self.bucket, Key="x"))
        put = self.writer.s3.put_object(Bucket=self.bucket, Key="x", Body=b"data")
        self.assertEqual((put["ServerSideEncryption"], put["SSEKMSKeyId"], put["BucketKeyEnabled"]),
                         ("aws:kms", self.key, True))
        text = self.denied(self.writer.s3.get_object, Bucket=self.bucket, Key="x")
        self.assertIn(f"kms:Decrypt on resource: {self.key}", text)
        self.assertEqual(self.full.s3.get_object(Bucket=self.bucket, Key="x")["Body"].read(), b"data")

    def test_not_by_calling_kms(self) -> None:
        self.full.s3.put_object(Bucket=self.bucket, Key="x")
        self.denied(self.full.kms.generate_data_key, KeyId=self.key, KeySpec="AES_256")

    def test_unencrypted_objects_need_no_key(self) -> None:
        plain = self.account.bucket()
        self.without.s3.put_object(Bucket=plain, Key="x")
        self.without.s3.get_object(Bucket=plain, Key="x")

    def test_context_with_and_without_bucket_key(self) -> None:
        for bucket_key, fits in ((True, "arn:aws:s3:::{}"), (False, "arn:aws:s3:::{}/x")):
            bucket = self.account.bucket(self.key, bucket_key)
            for context, allowed in ((fits, True), ("arn:aws:s3:::{}/y", False)):
                self.account.permit("full", allow("s3:*"), allow("kms:*", Condition={
                    "StringEquals": {"kms:EncryptionContext:aws:s3:arn": context.format(bucket)}}))
                put = {"Bucket": bucket, "Key": "x"}
                with self.subTest(bucket_key=bucket_key, context=context):
                    self.full.s3.put_object(**put) if allowed else self.denied(self.full.s3.put_object, **put)

    def test_by_grant(self) -> None:
        self.full.s3.put_object(Bucket=self.bucket, Key="x", Body=b"data")
        self.denied(self.without.s3.get_object, Bucket=self.bucket, Key="x")
        self.account.root.kms.create_grant(KeyId=self.key, GranteePrincipal=self.account.role_arn("without"),
                                           Operations=["Decrypt", "DescribeKey"])
        self.without.s3.get_object(Bucket=self.bucket, Key="x")
        self.denied(self.without.s3.put_object, Bucket=self.bucket, Key="x")

    def test_unusable_keys(self) -> None:
        self.full.s3.put_object(Bucket=self.bucket, Key="x")
        self.account.root.kms.disable_key(KeyId=self.key)
        for call in (self.full.s3.get_object, self.full.s3.put_object):
            self.refused("KMS.DisabledException", call, Bucket=self.bucket, Key="x")
        self.account.root.kms.enable_key(KeyId=self.key)
        self.full.s3.get_object(Bucket=self.bucket, Key="x")
        self.account.root.kms.schedule_key_deletion(KeyId=self.key)
        self.refused("KMS.KMSInvalidStateException", self.full.s3.get_object, Bucket=self.bucket, Key="x")


class S3AsksKmsEverywhere(EncryptedBucket):
    """Versions, copies and multipart uploads ask the same.

    Source: S3-UG mpuoverview; BC s3:CreateMultipartUpload, s3:CopyObject, s3:GetObject.
    """

    correction = "s3-asks-kms-everywhere"

    def test_named_version(self) -> None:
        self.account.root.s3.put_bucket_versioning(Bucket=self.bucket, VersioningConfiguration={"Status": "Enabled"})
        versions = [self.full.s3.put_object(Bucket=self.bucket, Key="x", Body=body)["VersionId"] for body in (b"1", b"2")]
        for version, body in zip(versions, (b"1", b"2"), strict=True):
            named = {"Bucket": self.bucket, "Key": "x", "VersionId": version}
            self.assertEqual(self.full.s3.get_object(**named)["Body"].read(), body)
            self.denied(self.writer.s3.get_object, **named)

    def test_copy_reads_its_source(self) -> None:
        plain = self.account.bucket()
        self.full.s3.put_object(Bucket=self.bucket, Key="x", Body=b"data")
        copy = {"Bucket": plain, "Key": "y", "CopySource": f"{self.bucket}/x"}
        self.assertIn("kms:Decrypt", self.denied(self.writer.s3.copy_object, **copy))
        self.full.s3.copy_object(**copy)

    def test_copy_writes_its_target(self) -> None:
        plain = self.account.bucket()
        self.without.s3.put_object(Bucket=plain, Key="x", Body=b"data")
        copy = {"Bucket": self.bucket, "Key": "y", "CopySource": f"{plain}/x"}
        self.assertIn("kms:GenerateDataKey", self.denied(self.without.s3.copy_object, **copy))
        self.writer.s3.copy_object(**copy)

    def upload(self, principal: Principal):
        return principal.s3.create_multipart_upload(Bucket=self.bucket, Key="x")["UploadId"]

    def test_multipart(self) -> None:
        self.denied(self.upload, self.without)
        upload = {"Bucket": self.bucket, "Key": "x", "UploadId": self.upload(self.writer)}
        self.assertIn("kms:Decrypt", self.denied(self.writer.s3.upload_part, **upload, PartNumber=1, Body=b"data"))
        part = self.full.s3.upload_part(**upload, PartNumber=1, Body=b"data")
        parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
        self.denied(self.writer.s3.complete_multipart_upload, **upload, MultipartUpload=parts)
        self.full.s3.complete_multipart_upload(**upload, MultipartUpload=parts)
        self.assertEqual(self.full.s3.get_object(Bucket=self.bucket, Key="x")["Body"].read(), b"data")
        self.denied(self.writer.s3.get_object, Bucket=self.bucket, Key="x", VersionId="null")

    def test_part_copy_reads_its_source(self) -> None:
        plain = self.account.bucket()
        self.full.s3.put_object(Bucket=self.bucket, Key="x", Body=b"data")
        begun = self.full.s3.create_multipart_upload(Bucket=plain, Key="y")["UploadId"]
        part = {"Bucket": plain, "Key": "y", "UploadId": begun, "PartNumber": 1, "CopySource": f"{self.bucket}/x"}
        self.denied(self.writer.s3.upload_part_copy, **part)
        self.full.s3.upload_part_copy(**part)


class UnmodelledSubresources(EmulatorTest):
    """Every sub-resource is an operation of its own; what is not modelled is 501, never the plain call.

    Source: SAR amazons3; S3 API reference (NotImplemented).
    """

    correction = "unmodelled-subresources"

    def test_delete_does_not_delete_the_bucket(self) -> None:
        bucket, s3 = self.account.bucket(), self.account.root.s3
        for call in (s3.delete_bucket_inventory_configuration, s3.delete_bucket_metrics_configuration,
                     s3.delete_bucket_analytics_configuration, s3.delete_bucket_intelligent_tiering_configuration):
            self.refused("NotImplemented", call, Bucket=bucket, Id="x")
        s3.head_bucket(Bucket=bucket)

    def test_reads_and_writes(self) -> None:
        bucket, s3 = self.account.bucket(), self.account.root.s3
        for call in (s3.get_bucket_request_payment, s3.get_bucket_policy_status,
                     s3.list_bucket_inventory_configurations):
            self.refused("NotImplemented", call, Bucket=bucket)
        s3.put_object(Bucket=bucket, Key="x", Body=b"data")
        self.refused("NotImplemented", s3.get_object_torrent, Bucket=bucket, Key="x")

    def test_modelled_calls_pass(self) -> None:
        bucket, s3 = self.account.bucket(), self.account.root.s3
        s3.put_object(Bucket=bucket, Key="a/x", Body=b"data")
        self.assertEqual(s3.list_objects_v2(Bucket=bucket, Prefix="a/", Delimiter="/", MaxKeys=5)["KeyCount"], 1)
        s3.list_objects(Bucket=bucket, EncodingType="url")
        s3.list_object_versions(Bucket=bucket)
        s3.list_multipart_uploads(Bucket=bucket)
        s3.get_object(Bucket=bucket, Key="a/x", ResponseContentType="text/plain")
        s3.get_object_attributes(Bucket=bucket, Key="a/x", ObjectAttributes=["ETag"])


class EncryptionKeysOfWrites(EmulatorTest):
    """A write carries its encryption headers as condition keys, exactly when it has them.

    Source: SAR amazons3, s3:PutObject; S3-UG UsingKMSEncryption.
    """

    correction = "s3-encryption-keys"

    def setUp(self) -> None:
        super().setUp()
        self.key, self.other = self.account.key(), self.account.key()
        self.bucket = self.account.bucket(self.key)
        sse, key_id = "s3:x-amz-server-side-encryption", "s3:x-amz-server-side-encryption-aws-kms-key-id"

        def refuse(**condition) -> dict:
            return deny("s3:PutObject", Principal="*", Resource=f"arn:aws:s3:::{self.bucket}/*", Condition=condition)

        # KmsOnly, ThisKeyOnly, NoUnnamedKey and NoCustomerKeys of policies.md §1
        self.account.bucket_policy(
            self.bucket,
            refuse(Null={sse: "false"}, StringNotEquals={sse: "aws:kms"}),
            refuse(Null={key_id: "false"}, StringNotEquals={key_id: self.key}),
            refuse(Null={sse: "false", key_id: "true"}),
            refuse(Null={"s3:x-amz-server-side-encryption-customer-algorithm": "false"}))
        self.s3 = self.account.actor("a").s3

    def put(self, **headers):
        return self.s3.put_object(Bucket=self.bucket, Key="x", Body=b"data", **headers)

    def test_allow_without_headers_and_with_the_right_ones(self) -> None:
        self.put()
        self.put(ServerSideEncryption="aws:kms", SSEKMSKeyId=self.key)

    def test_deny_the_others(self) -> None:
        for headers in ({"ServerSideEncryption": "AES256"}, {"ServerSideEncryption": "aws:kms"},
                        {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": self.other},
                        {"ServerSideEncryption": "aws:kms:dsse", "SSEKMSKeyId": self.key}, CUSTOMER_KEY):
            with self.subTest(headers):
                self.assertIn("resource-based policy", self.denied(self.put, **headers))

    def test_multipart(self) -> None:
        for headers in ({}, {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": self.key}):
            begun = self.s3.create_multipart_upload(Bucket=self.bucket, Key="x", **headers)["UploadId"]
            self.s3.upload_part(Bucket=self.bucket, Key="x", UploadId=begun, PartNumber=1, Body=b"data")
        self.denied(self.s3.create_multipart_upload, Bucket=self.bucket, Key="x", ServerSideEncryption="aws:kms",
                    SSEKMSKeyId=self.other)


class RequestKeys(EmulatorTest):
    """Requests carry their signature's form and version, and their transport.

    Source: SAR amazons3; S3-UG amazon-s3-policy-keys.
    """

    correction = "s3-request-keys"

    def setUp(self) -> None:
        super().setUp()
        self.bucket, self.actor = self.account.bucket(), self.account.actor("a")
        self.actor.s3.put_object(Bucket=self.bucket, Key="x", Body=b"data")

    def refuse(self, **condition) -> None:
        self.account.bucket_policy(self.bucket, deny(
            "s3:*", Principal="*", Resource=[f"arn:aws:s3:::{self.bucket}/*"], Condition=condition))

    def fetch(self, **headers: str) -> int:
        url = self.actor.s3.generate_presigned_url("get_object", {"Bucket": self.bucket, "Key": "x"})
        try:
            with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            error.close()
            return error.code

    def test_presigned(self) -> None:
        self.assertEqual(self.fetch(), 200)
        self.refuse(StringNotEquals={"s3:authType": "REST-HEADER"})
        self.actor.s3.get_object(Bucket=self.bucket, Key="x")
        self.assertEqual(self.fetch(), 403)

    def test_signature_version(self) -> None:
        self.refuse(StringNotEquals={"s3:signatureversion": "AWS4-HMAC-SHA256"})
        self.actor.s3.get_object(Bucket=self.bucket, Key="x")
        self.refuse(StringEquals={"s3:signatureversion": "AWS4-HMAC-SHA256"})
        self.denied(self.actor.s3.get_object, Bucket=self.bucket, Key="x")

    def test_transport(self) -> None:
        self.refuse(Bool={"aws:SecureTransport": "false"})
        self.assertEqual((self.fetch(), self.fetch(**{"x-forwarded-proto": "http"})), (200, 403))
        self.refuse(NumericLessThan={"s3:TlsVersion": "1.2"})
        self.assertEqual((self.fetch(), self.fetch(**{"x-forwarded-tls-version": "1.1"})), (200, 403))


class ExactObjectKeys(EmulatorTest):
    """An object's ARN has its key as it is, empty segments and a trailing slash included.

    Source: SAR amazons3, resource type object.
    """

    correction = "exact-object-keys"

    def test_prefix(self) -> None:
        bucket = self.account.bucket()
        put = self.account.actor("a", allow("s3:PutObject", Resource=f"arn:aws:s3:::{bucket}/in/*")).s3.put_object
        for key in ("in/x", "in/", "in//x"):
            put(Bucket=bucket, Key=key)
        self.denied(put, Bucket=bucket, Key="/in/x")


class ExpectedBucketOwner(EmulatorTest):
    """ExpectedBucketOwner other than the owner is refused with 403.

    Source: S3-UG bucket-owner-condition; BC s3:PutObject.
    """

    correction = "expected-bucket-owner"

    def test_owner_and_stranger(self) -> None:
        bucket, s3, stranger = self.account.bucket(), self.account.actor("a").s3, Account().id
        policy = json.dumps(document(deny("s3:DeleteBucket", Principal="*", Resource=f"arn:aws:s3:::{bucket}")))
        for call, arguments in ((s3.head_bucket, {}), (s3.get_bucket_encryption, {}), (s3.put_object, {"Key": "x"}),
                                (s3.get_object, {"Key": "x"}), (s3.put_bucket_policy, {"Policy": policy})):
            with self.subTest(call):
                call(Bucket=bucket, ExpectedBucketOwner=self.account.id, **arguments)
                self.denied(call, Bucket=bucket, ExpectedBucketOwner=stranger, **arguments)

    def test_source_of_a_copy(self) -> None:
        bucket, s3 = self.account.bucket(), self.account.actor("a").s3
        s3.put_object(Bucket=bucket, Key="x")
        copy = {"Bucket": bucket, "Key": "y", "CopySource": f"{bucket}/x"}
        s3.copy_object(**copy, ExpectedSourceBucketOwner=self.account.id)
        self.denied(s3.copy_object, **copy, ExpectedSourceBucketOwner=Account().id)


class CustomerKeysCanBeBlocked(EmulatorTest):
    """SSE-C writes are refused where BlockedEncryptionTypes says so, and on new buckets.

    Source: BC s3:BlockedEncryptionTypes; S3-UG blocking-unblocking-s3-c-encryption-gpb.
    """

    correction = "blocked-encryption-types"

    def encryption(self, bucket: str, blocked: str) -> list:
        s3 = self.account.root.s3
        s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [{
            "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}, "BucketKeyEnabled": True,
            "BlockedEncryptionTypes": {"EncryptionType": [blocked]}}]})
        return self.rules(bucket)

    def rules(self, bucket: str) -> list:
        return self.account.root.s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]

    def test_blocked_unblocked_and_new(self) -> None:
        bucket, s3 = self.account.bucket(), self.account.actor("a").s3
        self.assertEqual(self.rules(bucket)[0]["BlockedEncryptionTypes"], {"EncryptionType": ["SSE-C"]})
        put = {"Bucket": bucket, "Key": "x", "Body": b"data", **CUSTOMER_KEY}
        self.denied(s3.put_object, **put)
        self.assertEqual(self.encryption(bucket, "NONE")[0]["BlockedEncryptionTypes"], {"EncryptionType": ["NONE"]})
        s3.put_object(**put)
        rule = self.encryption(bucket, "SSE-C")[0]
        self.assertEqual((rule["BlockedEncryptionTypes"], rule["BucketKeyEnabled"]), ({"EncryptionType": ["SSE-C"]}, True))
        self.denied(s3.put_object, **put)
        self.denied(s3.create_multipart_upload, Bucket=bucket, Key="x", **CUSTOMER_KEY)
        s3.put_object(Bucket=bucket, Key="y", Body=base64.b64encode(b"data"))
