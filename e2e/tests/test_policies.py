"""The key, bucket and role policies of a SecureBucket, as they are written, against the verdicts that they promise.

A stands for a bucket to which the workload W is a Producer on `in/`, B for one on which it holds two grants:
G1 on `calls/` until T1 and G2 on `calls/2026/` until T2. "Now" is moved by writing other dates.
"""

import json
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.support import REGION, Account, EmulatorTest, Principal, allow, assume, deny, document, token

VIA_S3 = f"s3.{REGION}.amazonaws.com"
CRYPTO = ["kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"]
PAST, SOON, LATER = (datetime.now(UTC) + timedelta(hours=hours) for hours in (-1, 1, 2))
SUBJECT = "system:serviceaccount:team-a:etl"


def date(value: datetime) -> str:
    return value.strftime("%Y-%m-%dT%H:%M:%SZ")


class World:
    """The setting of the policies: two buckets with their keys, and everybody who might knock."""

    def __init__(self) -> None:
        self.account = Account()
        identity = f"arn:aws:iam::{self.account.id}"
        self.op, self.bg, self.root_arn = (f"{identity}:role/securebucket-operator", f"{identity}:role/BreakGlass",
                                           f"{identity}:root")
        self.path, self.w = f"{identity}:role/securebucket/c1/*", f"{identity}:role/securebucket/c1/team-a--etl"
        self.root = self.account.root
        self.operator = self.account.actor("securebucket-operator")
        self.admin = self.account.actor("Admin")
        self.responder = self.account.actor("BreakGlass")
        self.account.role("team-a--etl", deny("x:y"), path="/securebucket/c1/", trust=self.account.trust(SUBJECT))
        self.workload = assume(self.w, token(SUBJECT))
        self.other_key = self.account.key()
        self.a, self.key_a = self.make("raw", producer=True)
        self.b, self.key_b = self.make("calls", producer=False)
        self.grants = [self.grant("G1"), self.grant("G2")]
        self.set_role(SOON, LATER)
        self.fill()

    def fill(self) -> None:
        """Put objects into B before its policy stands in the way."""
        for key in ("calls/2025/x", "calls/2026/x", "other/x"):
            self.root.s3.put_object(Bucket=self.b, Key=key, Body=b"data")
        for bucket, key, producer in ((self.a, self.key_a, True), (self.b, self.key_b, False)):
            self.operator.kms.put_key_policy(KeyId=key, PolicyName="default", Policy=json.dumps(
                document(*self.key_policy(bucket, producer))))
            self.operator.s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(
                document(*self.bucket_policy(bucket, key, producer))))

    def make(self, name: str, producer: bool) -> tuple[str, str]:
        key = self.account.key()
        bucket = f"{name}-{secrets.token_hex(4)}"
        self.operator.s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        self.operator.s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [{
            "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key},
            "BucketKeyEnabled": True, "BlockedEncryptionTypes": {"EncryptionType": ["SSE-C"]}}]})
        return bucket, key

    def grant(self, name: str) -> str:
        return self.operator.kms.create_grant(KeyId=self.key_b, GranteePrincipal=self.w, Name=name,
                                              Operations=["Decrypt", "DescribeKey"])["GrantId"]

    def key_policy(self, bucket: str, producer: bool) -> list[dict]:
        root = {"Principal": {"AWS": self.root_arn}}
        everyone = {"Principal": "*"}
        arn = f"arn:aws:s3:::{bucket}"
        statements = [
            allow(["kms:PutKeyPolicy", "kms:EnableKey", "kms:DisableKey", "kms:EnableKeyRotation",
                   "kms:RotateKeyOnDemand", "kms:TagResource", "kms:UntagResource", "kms:CreateAlias",
                   "kms:UpdateAlias", "kms:DeleteAlias", "kms:RevokeGrant", "kms:ScheduleKeyDeletion",
                   "kms:CancelKeyDeletion"], Sid="Administer", **root,
                  Condition={"ArnEquals": {"aws:PrincipalArn": [self.op, self.bg, self.root_arn]}}),
            allow(["kms:DescribeKey", "kms:GetKeyPolicy", "kms:ListKeyPolicies", "kms:ListGrants",
                   "kms:ListResourceTags", "kms:GetKeyRotationStatus", "kms:DisableKey"], Sid="InspectAndStop", **root),
            allow("kms:CreateGrant", Sid="IssueReadGrants", **root, Condition={
                "ArnEquals": {"aws:PrincipalArn": self.op}, "StringLike": {"kms:GranteePrincipal": self.path},
                "ForAllValues:StringEquals": {"kms:GrantOperations": ["Decrypt", "DescribeKey"]},
                "Null": {"kms:GrantOperations": "false"}}),
            deny("kms:CreateGrant", Sid="GrantsOnlyByOperator", **everyone,
                 Condition={"ArnNotEquals": {"aws:PrincipalArn": self.op}}),
            deny("kms:CreateGrant", Sid="GrantsOnlyToRead", **everyone, Condition={
                "ForAnyValue:StringNotEquals": {"kms:GrantOperations": ["Decrypt", "DescribeKey"]}}),
            deny(CRYPTO, Sid="CryptoOnlyForWorkloads", **everyone,
                 Condition={"ArnNotLike": {"aws:PrincipalArn": self.path}}),
            deny(CRYPTO, Sid="CryptoOnlyThroughS3", **everyone,
                 Condition={"StringNotEquals": {"kms:ViaService": VIA_S3}}),
            deny(CRYPTO, Sid="CryptoOnlyForThisBucket", **everyone, Condition={
                "StringNotLike": {"kms:EncryptionContext:aws:s3:arn": [arn, f"{arn}/*"]}}),
            deny("kms:PutKeyPolicy", Sid="NoLockoutBypass", **everyone,
                 Condition={"Bool": {"kms:BypassPolicyLockoutSafetyCheck": "true"}}),
        ]
        if producer:
            statements.append(allow(["kms:GenerateDataKey", "kms:Decrypt"], Sid="StandingDuties", **root,
                                    Condition={"ArnEquals": {"aws:PrincipalArn": [self.w]}}))
        return statements

    def bucket_policy(self, bucket: str, key: str, producer: bool) -> list[dict]:
        arn, objects = f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"
        listing = ["s3:ListBucket", "s3:ListBucketVersions", "s3:ListBucketMultipartUploads"]
        administrators = [self.op, self.bg, self.root_arn]
        sse, key_id = "s3:x-amz-server-side-encryption", "s3:x-amz-server-side-encryption-aws-kms-key-id"

        def refuse(sid: str, action: Any, resource: Any, **condition: Any) -> dict:
            return deny(action, Sid=sid, Principal="*", Resource=resource, Condition=condition or None)

        def refuse_all_but_reads(sid: str, resource: str, allowed: list[str]) -> dict:
            return refuse(sid, None, resource, ArnNotEquals={"aws:PrincipalArn": allowed}) | {
                "NotAction": ["s3:Get*", "s3:List*"]}

        not_a_service = {"aws:PrincipalIsAWSService": "false"}
        statements = [
            refuse("TlsOnly", "s3:*", [arn, objects], Bool={"aws:SecureTransport": "false"}, BoolIfExists=not_a_service),
            refuse("Tls12", "s3:*", [arn, objects], NumericLessThan={"s3:TlsVersion": "1.2"}, BoolIfExists=not_a_service),
            refuse("ObjectsOnlyForWorkloads", "s3:*", objects, ArnNotLike={"aws:PrincipalArn": self.path}),
            refuse("ObjectsOnlyFromThisCluster", "s3:*", objects,
                   StringNotEquals={"aws:FederatedProvider": self.account.provider}),
            refuse("NamesOnlyForWorkloads", listing, arn,
                   ArnNotLike={"aws:PrincipalArn": [self.path, *administrators]}),
            refuse_all_but_reads("ConfigOnlyByOperator", arn, administrators),
            refuse_all_but_reads("WritesOnlyByDuties", objects, [self.w if producer else self.op]),
            refuse("NobodyDeletes", ["s3:DeleteObject*", "s3:BypassGovernanceRetention", "s3:PutObjectRetention",
                                     "s3:PutObjectLegalHold", "s3:PutObjectAcl", "s3:PutObjectVersionAcl",
                                     "s3:UpdateObjectEncryption", "s3:ReplicateObject", "s3:ReplicateDelete"], objects),
            refuse("NoAccessPoints", "s3:*", [arn, objects], Null={"s3:DataAccessPointArn": "false"}),
            refuse("NoBearerReads", "s3:GetObject*", objects, StringNotEquals={"s3:authType": "REST-HEADER"}),
            refuse("KmsOnly", "s3:PutObject", objects, Null={sse: "false"}, StringNotEquals={sse: "aws:kms"}),
            refuse("ThisKeyOnly", "s3:PutObject", objects, Null={key_id: "false"}, StringNotEquals={key_id: key}),
            refuse("NoUnnamedKey", "s3:PutObject", objects, Null={sse: "false", key_id: "true"}),
            refuse("NoCustomerKeys", "s3:PutObject", objects,
                   Null={"s3:x-amz-server-side-encryption-customer-algorithm": "false"}),
        ]
        if producer:
            statements.append(refuse("ProducersNeverRead", "s3:GetObject*", objects,
                                     ArnEquals={"aws:PrincipalArn": [self.w]}))
        return statements

    def set_role(self, t1: datetime | None, t2: datetime | None, *more: dict) -> None:
        """W's inline policy with these ends; None is a grant that was revoked."""
        a, b = f"arn:aws:s3:::{self.a}", f"arn:aws:s3:::{self.b}"
        statements = [
            allow(["s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"], Resource=f"{a}/in/*"),
            allow(["kms:GenerateDataKey", "kms:Decrypt"], Resource=self.key_a,
                  Condition={"StringEquals": {"kms:ViaService": VIA_S3}})]
        for prefix, end in (("calls/", t1), ("calls/2026/", t2)):
            if end:
                until = {"DateLessThan": {"aws:CurrentTime": date(end)}}
                statements += [
                    allow(["s3:GetObject", "s3:GetObjectVersion"], Resource=f"{b}/{prefix}*", Condition=until),
                    allow("s3:ListBucket", Resource=b, Condition={"StringLike": {"s3:prefix": f"{prefix}*"}, **until})]
        ends = [end for end in (t1, t2) if end]
        if ends:
            statements.append(deny(["s3:GetObject*", "s3:ListBucket*"], Resource=[b, f"{b}/*"], Condition={
                "DateGreaterThanEquals": {"aws:CurrentTime": date(max(ends))}}))
        self.root.iam.put_role_policy(RoleName="team-a--etl", PolicyName="securebucket",
                                      PolicyDocument=json.dumps(document(*statements, *more)))
        self.root.iam.delete_role_policy(RoleName="team-a--etl", PolicyName="p") if "p" in self.root.iam.list_role_policies(
            RoleName="team-a--etl")["PolicyNames"] else None


class PolicyTest(EmulatorTest):
    def setUp(self) -> None:
        self.world = World()
        self.account = self.world.account

    def get(self, key: str, principal: Principal | None = None, bucket: str | None = None) -> bytes:
        return (principal or self.world.workload).s3.get_object(
            Bucket=bucket or self.world.b, Key=key)["Body"].read()


class Producer(PolicyTest):
    def put(self, key: str, **headers: Any) -> None:
        self.world.workload.s3.put_object(Bucket=self.world.a, Key=key, Body=b"data", **headers)

    def test_put_under_its_prefix(self) -> None:
        self.put("in/x")
        self.put("in/x", ServerSideEncryption="aws:kms", SSEKMSKeyId=self.world.key_a)
        upload = {"Bucket": self.world.a, "Key": "in/big"}
        s3 = self.world.workload.s3
        upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
        part = s3.upload_part(**upload, PartNumber=1, Body=b"data")
        s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})

    def test_nothing_else(self) -> None:
        self.denied(self.put, "out/x")
        for headers in ({"ServerSideEncryption": "AES256"}, {"ServerSideEncryption": "aws:kms"},
                        {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": self.world.other_key},
                        {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "k" * 32}):
            with self.subTest(headers):
                self.denied(self.put, "in/x", **headers)

    def test_never_reads_nor_deletes(self) -> None:
        self.put("in/x")
        self.denied(self.get, "in/x", bucket=self.world.a)
        self.world.set_role(SOON, LATER, allow(["s3:*", "kms:*"]))
        self.denied(self.get, "in/x", bucket=self.world.a)
        self.denied(self.world.workload.s3.delete_object, Bucket=self.world.a, Key="in/x")


class Grantee(PolicyTest):
    def test_both_windows_open(self) -> None:
        self.assertEqual((self.get("calls/2025/x"), self.get("calls/2026/x")), (b"data", b"data"))
        self.denied(self.get, "other/x")
        listed = self.world.workload.s3.list_objects_v2(Bucket=self.world.b, Prefix="calls/2026/")
        self.assertEqual(listed["KeyCount"], 1)
        self.denied(self.world.workload.s3.list_objects_v2, Bucket=self.world.b)

    def test_the_shorter_window_ended(self) -> None:
        self.world.set_role(PAST, LATER)
        self.denied(self.get, "calls/2025/x")
        self.get("calls/2026/x")

    def test_the_nested_window_ended(self) -> None:
        self.world.set_role(SOON, PAST)
        self.get("calls/2025/x")
        self.get("calls/2026/x")

    def test_both_ended_although_the_kms_grants_live(self) -> None:
        self.world.set_role(PAST, PAST - timedelta(hours=1), allow(["s3:*", "kms:*"]))
        self.denied(self.get, "calls/2026/x")
        self.world.workload.kms.describe_key(KeyId=self.world.key_b)  # the grant is still there

    def test_one_revoked_early(self) -> None:
        self.world.set_role(None, LATER)
        self.world.operator.kms.revoke_grant(KeyId=self.world.key_b, GrantId=self.world.grants[0])
        self.get("calls/2026/x")
        self.denied(self.get, "calls/2025/x")

    def test_no_kms_grant_no_read(self) -> None:
        for grant in self.world.grants:
            self.world.operator.kms.revoke_grant(KeyId=self.world.key_b, GrantId=grant)
        self.assertIn("kms:Decrypt", self.denied(self.get, "calls/2026/x"))

    def test_kms_directly(self) -> None:
        kms = self.world.workload.kms
        self.denied(kms.decrypt, KeyId=self.world.key_b, CiphertextBlob=b"x" * 100,
                    EncryptionContext={"aws:s3:arn": f"arn:aws:s3:::{self.world.b}"})

    def test_foreign_bucket_with_this_key(self) -> None:
        """A bucket that an administrator encrypts with B's key: CryptoOnlyForThisBucket."""
        foreign = self.account.bucket(self.world.key_b)
        self.world.set_role(SOON, LATER, allow(["s3:*", "kms:*"]))
        self.denied(self.world.workload.s3.put_object, Bucket=foreign, Key="x")

    def test_presigned(self) -> None:
        import urllib.error
        import urllib.request

        url = self.world.workload.s3.generate_presigned_url(
            "get_object", {"Bucket": self.world.b, "Key": "calls/2026/x"})
        with self.assertRaises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(url)
        caught.exception.close()
        self.assertEqual(caught.exception.code, 403)


class Administrators(PolicyTest):
    def test_iam_administrator(self) -> None:
        world, admin = self.world, self.world.admin
        self.denied(self.get, "calls/2026/x", admin)
        self.denied(admin.kms.decrypt, KeyId=world.key_b, CiphertextBlob=b"x" * 100)
        self.denied(admin.kms.create_grant, KeyId=world.key_b, GranteePrincipal=world.w, Operations=["Decrypt"])
        self.denied(admin.kms.put_key_policy, KeyId=world.key_b, PolicyName="default", Policy="{}")
        policy = json.dumps(document(allow("s3:*", Principal="*")))
        for call, arguments in (
                (admin.s3.put_bucket_policy, {"Policy": policy}), (admin.s3.delete_bucket_policy, {}),
                (admin.s3.put_bucket_tagging, {"Tagging": {"TagSet": []}}), (admin.s3.delete_bucket, {}),
                (admin.s3.delete_bucket_inventory_configuration, {"Id": "x"}),
                (admin.s3.put_bucket_lifecycle_configuration, {"LifecycleConfiguration": {"Rules": [
                    {"ID": "x", "Status": "Enabled", "Filter": {}, "Expiration": {"Days": 1}}]}})):
            with self.subTest(call):
                self.denied(call, Bucket=world.b, **arguments)

    def test_iam_administrator_assumes_the_workload_after_editing_its_trust(self) -> None:
        world = self.world
        world.admin.iam.update_assume_role_policy(RoleName="team-a--etl", PolicyDocument=json.dumps(document(
            allow("sts:AssumeRole", Principal={"AWS": world.root_arn}, Resource=None))))
        given = world.admin.client("sts").assume_role(RoleArn=world.w, RoleSessionName="thief")["Credentials"]
        thief = Principal(self.account.id, given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])
        self.denied(self.get, "calls/2026/x", thief)

    def test_responder(self) -> None:
        self.world.admin.kms.disable_key(KeyId=self.world.key_b)
        self.refused("KMS.DisabledException", self.get, "calls/2026/x")
        self.denied(self.world.admin.kms.enable_key, KeyId=self.world.key_b)
        self.world.responder.kms.enable_key(KeyId=self.world.key_b)
        self.get("calls/2026/x")

    def test_operator(self) -> None:
        world, kms = self.world, self.world.operator.kms
        self.denied(self.get, "calls/2026/x", world.operator)
        grant = {"KeyId": world.key_b, "GranteePrincipal": world.w}
        self.denied(kms.create_grant, **grant, Operations=["Decrypt", "CreateGrant"])
        self.denied(kms.create_grant, KeyId=world.key_b, GranteePrincipal=world.bg, Operations=["Decrypt"])
        kms.create_grant(**grant, Operations=["Decrypt"])
        policy = kms.get_key_policy(KeyId=world.key_b, PolicyName="default")["Policy"]
        kms.put_key_policy(KeyId=world.key_b, PolicyName="default", Policy=policy)
        self.denied(kms.put_key_policy, KeyId=world.key_b, PolicyName="default", Policy=policy,
                    BypassPolicyLockoutSafetyCheck=True)
        world.operator.s3.head_bucket(Bucket=world.b)
        world.operator.s3.put_bucket_tagging(Bucket=world.b, Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})

    def test_root(self) -> None:
        world = self.world
        self.denied(self.get, "calls/2026/x", world.root)
        world.root.s3.put_bucket_policy(Bucket=world.b, Policy=json.dumps(document(
            deny("s3:DeleteBucket", Principal="*", Resource=f"arn:aws:s3:::{world.b}"))))
        self.assertIn("kms:Decrypt", self.denied(self.get, "calls/2026/x", world.root))
        world.root.kms.put_key_policy(KeyId=world.key_b, PolicyName="default", Policy=json.dumps(document(
            allow("kms:*", Principal={"AWS": world.root_arn}))))
        self.get("calls/2026/x", world.root)

    def test_another_account(self) -> None:
        stranger = Account()
        for who in (stranger.root, stranger.actor("a")):
            self.denied(self.get, "calls/2026/x", who)
            self.denied(who.s3.head_bucket, Bucket=self.world.b)
            self.refused("NotFoundException", who.kms.describe_key, KeyId=self.world.key_b)
