"""Every AWS call that the operator makes, with a role's credentials and enforced policies: what it answers."""

import json
import secrets
import urllib.error
import urllib.request
from email.utils import parsedate_to_datetime

from tests import support
from tests.support import REGION, Account, EmulatorTest, allow, document


class S3Calls(EmulatorTest):
    def setUp(self) -> None:
        super().setUp()
        self.s3 = self.account.actor("operator", allow("s3:*")).s3
        self.name = f"b-{secrets.token_hex(8)}"
        self.owner = {"Bucket": self.name, "ExpectedBucketOwner": self.account.id}

    def create(self) -> None:
        self.s3.create_bucket(Bucket=self.name, ObjectOwnership="BucketOwnerEnforced", CreateBucketConfiguration={
            "LocationConstraint": REGION, "Tags": [{"Key": "securebucket.io/identity", "Value": "0123"}]})

    def test_create_tag_and_head(self) -> None:
        self.refused("404", self.s3.head_bucket, **self.owner)
        self.create()
        self.assertEqual(self.s3.head_bucket(**self.owner)["BucketRegion"], REGION)
        tags = [{"Key": "securebucket.io/identity", "Value": "0123"}]
        self.assertEqual(self.s3.get_bucket_tagging(**self.owner)["TagSet"], tags)
        self.s3.put_bucket_tagging(**self.owner, Tagging={"TagSet": [*tags, {"Key": "a", "Value": "b"}]})
        self.assertEqual(len(self.s3.get_bucket_tagging(**self.owner)["TagSet"]), 2)
        self.refused("NoSuchTagSet", self.s3.get_bucket_tagging, Bucket=self.account.bucket())

    def test_create_again(self) -> None:
        self.create()
        self.refused("BucketAlreadyOwnedByYou", self.create)
        other = Account().root.s3
        self.refused("BucketAlreadyExists", other.create_bucket, Bucket=self.name,
                     CreateBucketConfiguration={"LocationConstraint": REGION})
        self.refused("403", other.head_bucket, Bucket=self.name)

    def test_create_again_in_us_east_1(self) -> None:
        s3 = self.account.root.client("s3", "us-east-1")
        s3.create_bucket(Bucket=self.name)
        s3.create_bucket(Bucket=self.name)
        self.refused("InvalidLocationConstraint", s3.create_bucket, Bucket=self.name,
                     CreateBucketConfiguration={"LocationConstraint": "us-east-1"})
        self.refused("IllegalLocationConstraintException", self.s3.create_bucket, Bucket=f"{self.name}-2",
                     CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})

    def test_another_region(self) -> None:
        self.create()
        elsewhere = self.account.root.client("s3", "eu-central-1")
        # The 301 PermanentRedirect names the region; botocore follows it by itself.
        answer = elsewhere.head_bucket(Bucket=self.name)
        self.assertEqual((answer["BucketRegion"], answer["ResponseMetadata"]["RetryAttempts"]), (REGION, 1))

    def test_encryption(self) -> None:
        self.create()
        key = self.account.key()
        rules = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key},
                            "BucketKeyEnabled": True, "BlockedEncryptionTypes": {"EncryptionType": ["SSE-C"]}}]}
        default = self.s3.get_bucket_encryption(**self.owner)["ServerSideEncryptionConfiguration"]["Rules"][0]
        self.assertEqual(default["ApplyServerSideEncryptionByDefault"], {"SSEAlgorithm": "AES256"})
        self.s3.put_bucket_encryption(**self.owner, ServerSideEncryptionConfiguration=rules)
        self.assertEqual(self.s3.get_bucket_encryption(**self.owner)["ServerSideEncryptionConfiguration"], rules)

    def test_public_access_block(self) -> None:
        self.create()
        block = dict.fromkeys(("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True)
        get = self.s3.get_public_access_block
        self.assertEqual(get(**self.owner)["PublicAccessBlockConfiguration"], block)
        block["BlockPublicAcls"] = False
        self.s3.put_public_access_block(**self.owner, PublicAccessBlockConfiguration=block)
        self.assertEqual(get(**self.owner)["PublicAccessBlockConfiguration"], block)
        self.s3.delete_public_access_block(**self.owner)
        self.refused("NoSuchPublicAccessBlockConfiguration", get, **self.owner)

    def test_ownership_versioning_lifecycle(self) -> None:
        self.create()
        ownership = {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
        self.s3.put_bucket_ownership_controls(**self.owner, OwnershipControls=ownership)
        self.assertEqual(self.s3.get_bucket_ownership_controls(**self.owner)["OwnershipControls"], ownership)
        self.assertNotIn("Status", self.s3.get_bucket_versioning(**self.owner))
        self.s3.put_bucket_versioning(**self.owner, VersioningConfiguration={"Status": "Enabled"})
        self.assertEqual(self.s3.get_bucket_versioning(**self.owner)["Status"], "Enabled")
        self.refused("NoSuchLifecycleConfiguration", self.s3.get_bucket_lifecycle_configuration, **self.owner)
        rules = [{"ID": "abort", "Status": "Enabled", "Filter": {},
                  "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7}},
                 {"ID": "expire", "Status": "Enabled", "Filter": {"Prefix": "tmp/"}, "Expiration": {"Days": 3},
                  "NoncurrentVersionExpiration": {"NoncurrentDays": 1}}]
        self.s3.put_bucket_lifecycle_configuration(**self.owner, LifecycleConfiguration={"Rules": rules})
        self.assertEqual(self.s3.get_bucket_lifecycle_configuration(**self.owner)["Rules"], rules)

    def test_policy(self) -> None:
        self.create()
        self.refused("NoSuchBucketPolicy", self.s3.get_bucket_policy, **self.owner)
        policy = json.dumps(document(allow("s3:GetObject", Principal={"AWS": self.account.role_arn("operator")},
                                           Resource=f"arn:aws:s3:::{self.name}/*")))
        self.s3.put_bucket_policy(**self.owner, Policy=policy)
        self.assertEqual(json.loads(self.s3.get_bucket_policy(**self.owner)["Policy"]), json.loads(policy))
        self.s3.delete_bucket_policy(**self.owner)
        public = json.dumps(document(allow("s3:GetObject", Principal="*", Resource=f"arn:aws:s3:::{self.name}/*")))
        self.assertIn("BlockPublicPolicy", self.denied(self.s3.put_bucket_policy, **self.owner, Policy=public))

    def test_further_facets(self) -> None:
        self.create()
        rules = [{"AllowedMethods": ["GET"], "AllowedOrigins": ["https://example.com"]}]
        self.refused("NoSuchCORSConfiguration", self.s3.get_bucket_cors, **self.owner)
        self.s3.put_bucket_cors(**self.owner, CORSConfiguration={"CORSRules": rules})
        self.assertEqual(self.s3.get_bucket_cors(**self.owner)["CORSRules"], rules)
        self.s3.put_bucket_notification_configuration(
            **self.owner, NotificationConfiguration={"EventBridgeConfiguration": {}})
        self.assertIn("EventBridgeConfiguration", self.s3.get_bucket_notification_configuration(**self.owner))
        self.assertNotIn("LoggingEnabled", self.s3.get_bucket_logging(**self.owner))
        target = {"TargetBucket": self.account.bucket(), "TargetPrefix": "logs/"}
        self.s3.put_bucket_logging(**self.owner, BucketLoggingStatus={"LoggingEnabled": target})
        self.assertEqual(self.s3.get_bucket_logging(**self.owner)["LoggingEnabled"], target)

    def test_object_lock(self) -> None:
        self.create()
        self.refused("ObjectLockConfigurationNotFoundError", self.s3.get_object_lock_configuration, **self.owner)
        self.s3.put_bucket_versioning(**self.owner, VersioningConfiguration={"Status": "Enabled"})
        lock = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}}
        self.s3.put_object_lock_configuration(**self.owner, ObjectLockConfiguration=lock)
        self.assertEqual(self.s3.get_object_lock_configuration(**self.owner)["ObjectLockConfiguration"], lock)

    def test_delete(self) -> None:
        self.create()
        self.s3.put_object(Bucket=self.name, Key="x")
        self.refused("BucketNotEmpty", self.s3.delete_bucket, **self.owner)
        self.s3.delete_object(Bucket=self.name, Key="x")
        self.s3.delete_bucket(**self.owner)
        self.refused("NoSuchBucket", self.s3.get_bucket_policy, Bucket=self.name)


class OwnKeysOnly(EmulatorTest):
    """What the operator's policy does with tags: it creates keys with its tag and touches no other key."""

    def test_request_and_resource_tags(self) -> None:
        own = {"StringEquals": {"aws:ResourceTag/securebucket.io/cluster": "c1"}}
        kms = self.account.actor(
            "operator",
            allow(["kms:CreateKey", "kms:TagResource"], Condition={
                "StringEquals": {"aws:RequestTag/securebucket.io/cluster": "c1"},
                "StringEqualsIfExists": {"aws:ResourceTag/securebucket.io/cluster": "c1"}}),
            allow(["kms:GetKeyPolicy", "kms:CreateAlias"], Resource=f"arn:aws:kms:*:{self.account.id}:key/*", Condition=own),
            allow("kms:CreateAlias", Resource=f"arn:aws:kms:*:{self.account.id}:alias/ours/*")).kms
        tag = {"TagKey": "securebucket.io/cluster", "TagValue": "c1"}
        ours = kms.create_key(Tags=[tag])["KeyMetadata"]["Arn"]
        theirs = self.account.key(Tags=[{**tag, "TagValue": "c2"}])
        self.denied(kms.create_key)
        self.denied(kms.create_key, Tags=[{**tag, "TagValue": "c2"}])
        kms.create_alias(AliasName="alias/ours/a", TargetKeyId=ours)
        self.denied(kms.create_alias, AliasName="alias/ours/b", TargetKeyId=theirs)
        for name, key in (("ours", ours), ("theirs", theirs)):
            self.account.root.kms.create_alias(AliasName=f"alias/{name}", TargetKeyId=key)
        kms.get_key_policy(KeyId="alias/ours")
        self.denied(kms.get_key_policy, KeyId="alias/theirs")
        kms.tag_resource(KeyId=ours, Tags=[tag])
        self.denied(kms.tag_resource, KeyId=theirs, Tags=[tag])


class KmsCalls(EmulatorTest):
    def setUp(self) -> None:
        super().setUp()
        self.kms = self.account.actor("operator", allow("kms:*")).kms

    def test_key_alias_tags_policy_rotation(self) -> None:
        policy = json.dumps(document(allow("kms:*", Principal={"AWS": f"arn:aws:iam::{self.account.id}:root"})))
        tags = [{"TagKey": "securebucket.io/attempt", "TagValue": "1"}]
        key = self.kms.create_key(Tags=tags, Policy=policy, Description="d")["KeyMetadata"]["KeyId"]
        self.refused("NotFoundException", self.kms.describe_key, KeyId="alias/securebucket/c1/0")
        self.kms.create_alias(AliasName="alias/securebucket/c1/0", TargetKeyId=key)
        self.refused("AlreadyExistsException", self.kms.create_alias, AliasName="alias/securebucket/c1/0", TargetKeyId=key)
        found = self.kms.describe_key(KeyId="alias/securebucket/c1/0")["KeyMetadata"]
        self.assertEqual((found["KeyId"], found["KeyState"], found["Description"]), (key, "Enabled", "d"))
        self.kms.update_alias(AliasName="alias/securebucket/c1/0", TargetKeyId=key)
        self.assertIn(key, [one["KeyId"] for one in self.kms.list_keys()["Keys"]])
        self.assertEqual(self.kms.list_aliases(KeyId=key)["Aliases"][0]["AliasName"], "alias/securebucket/c1/0")
        self.kms.tag_resource(KeyId=key, Tags=[{"TagKey": "a", "TagValue": "b"}])
        self.kms.untag_resource(KeyId=key, TagKeys=["a"])
        self.assertEqual(self.kms.list_resource_tags(KeyId=key)["Tags"], tags)
        self.assertEqual(json.loads(self.kms.get_key_policy(KeyId=key)["Policy"]), json.loads(policy))
        self.kms.put_key_policy(KeyId=key, Policy=policy)
        self.assertEqual(self.kms.list_key_policies(KeyId=key)["PolicyNames"], ["default"])
        self.assertFalse(self.kms.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"])
        self.kms.enable_key_rotation(KeyId=key, RotationPeriodInDays=180)
        status = self.kms.get_key_rotation_status(KeyId=key)
        self.assertEqual((status["KeyRotationEnabled"], status["RotationPeriodInDays"]), (True, 180))

    def test_states(self) -> None:
        key = self.account.key()

        def state() -> str:
            return self.kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"]

        self.kms.disable_key(KeyId=key)
        self.assertEqual(state(), "Disabled")
        self.refused("DisabledException", self.kms.encrypt, KeyId=key, Plaintext=b"x")
        self.kms.enable_key(KeyId=key)
        self.kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=30)
        self.assertEqual(state(), "PendingDeletion")
        self.kms.cancel_key_deletion(KeyId=key)
        self.assertEqual(state(), "Disabled")
        self.refused("NotFoundException", self.kms.describe_key, KeyId="00000000-0000-0000-0000-000000000000")

    def test_grants(self) -> None:
        key, role = self.account.key(), self.account.role("r")
        named = {"KeyId": key, "GranteePrincipal": role, "Name": "sbg-1"}
        first = self.kms.create_grant(**named, Operations=["Decrypt", "DescribeKey"])
        again = self.kms.create_grant(**named, Operations=["Decrypt", "DescribeKey"])
        other = self.kms.create_grant(**named, Operations=["Decrypt"])
        self.assertEqual(first["GrantId"], again["GrantId"])
        self.assertNotEqual(first["GrantId"], other["GrantId"])
        self.assertEqual(len(self.kms.list_grants(KeyId=key)["Grants"]), 2)
        self.assertEqual(self.kms.list_grants(KeyId=key, GrantId=first["GrantId"])["Grants"][0]["Name"], "sbg-1")
        self.kms.disable_key(KeyId=key)
        self.refused("DisabledException", self.kms.create_grant, **named, Operations=["Decrypt"])
        self.kms.revoke_grant(KeyId=key, GrantId=first["GrantId"])
        self.refused("NotFoundException", self.kms.revoke_grant, KeyId=key, GrantId=first["GrantId"])

    def test_grants_come_in_pages(self) -> None:
        key, role = self.account.key(), self.account.role("r")
        for number in range(53):
            self.kms.create_grant(KeyId=key, GranteePrincipal=role, Operations=["Decrypt"], Name=f"g{number}")
        first = self.kms.list_grants(KeyId=key)
        rest = self.kms.list_grants(KeyId=key, Marker=first["NextMarker"])
        self.assertEqual((len(first["Grants"]), len(rest["Grants"])), (50, 3))


class IamCalls(EmulatorTest):
    def setUp(self) -> None:
        super().setUp()
        self.iam = self.account.actor("operator", allow(["iam:*"])).iam
        self.boundary = self.iam.create_policy(PolicyName="boundary", PolicyDocument=json.dumps(
            document(allow("s3:*"))))["Policy"]["Arn"]
        self.trust = self.account.trust("system:serviceaccount:n:s")
        self.named = {"RoleName": "n--s-0123"}

    def create(self, path: str = "/securebucket/c1/"):
        return self.iam.create_role(
            **self.named, Path=path, AssumeRolePolicyDocument=json.dumps(self.trust), MaxSessionDuration=3600,
            PermissionsBoundary=self.boundary, Tags=[{"Key": "securebucket.io/cluster", "Value": "c1"}])["Role"]

    def test_role(self) -> None:
        self.refused("NoSuchEntity", self.iam.get_role, **self.named)
        created = self.create()
        role = self.iam.get_role(**self.named)["Role"]
        self.assertEqual(role["Arn"], self.account.role_arn("n--s-0123", "/securebucket/c1/"))
        self.assertEqual((role["RoleId"], role["CreateDate"]), (created["RoleId"], created["CreateDate"]))
        self.assertEqual(role["Tags"], [{"Key": "securebucket.io/cluster", "Value": "c1"}])
        self.assertEqual(role["PermissionsBoundary"]["PermissionsBoundaryArn"], self.boundary)
        self.assertEqual(role["AssumeRolePolicyDocument"], self.trust)
        self.refused("EntityAlreadyExists", self.create)
        self.refused("EntityAlreadyExists", self.create, path="/")  # names are unique whatever the path
        listed = self.iam.list_roles(PathPrefix="/securebucket/c1/")["Roles"]
        self.assertEqual([one["RoleName"] for one in listed], ["n--s-0123"])
        self.assertNotIn("Tags", self.iam.list_roles(PathPrefix="/other/")["Roles"])

    def test_changes(self) -> None:
        self.create()
        self.iam.update_assume_role_policy(**self.named, PolicyDocument=json.dumps(document()))
        self.iam.put_role_permissions_boundary(**self.named, PermissionsBoundary=self.boundary)
        self.iam.tag_role(**self.named, Tags=[{"Key": "a", "Value": "b"}])
        self.assertEqual(len(self.iam.list_role_tags(**self.named)["Tags"]), 2)
        self.iam.update_role(**self.named, Description="d")
        self.assertEqual(self.iam.get_role(**self.named)["Role"]["Description"], "d")

    def test_policies(self) -> None:
        self.create()
        inline = {**self.named, "PolicyName": "securebucket"}
        self.refused("NoSuchEntity", self.iam.get_role_policy, **inline)
        policy = document(allow("s3:GetObject", Resource="arn:aws:s3:::b/ä+ %2F*"))
        self.iam.put_role_policy(**inline, PolicyDocument=json.dumps(policy))
        self.assertEqual(self.iam.get_role_policy(**inline)["PolicyDocument"], policy)
        self.assertEqual(self.iam.list_role_policies(**self.named)["PolicyNames"], ["securebucket"])
        self.iam.attach_role_policy(**self.named, PolicyArn=self.boundary)
        self.assertEqual(len(self.iam.list_attached_role_policies(**self.named)["AttachedPolicies"]), 1)
        self.refused("DeleteConflict", self.iam.delete_role, **self.named)
        self.iam.detach_role_policy(**self.named, PolicyArn=self.boundary)
        self.refused("DeleteConflict", self.iam.delete_role, **self.named)
        self.iam.delete_role_policy(**inline)
        self.iam.delete_role(**self.named)
        self.refused("NoSuchEntity", self.iam.delete_role, **self.named)

    def test_boundary_and_provider(self) -> None:
        version = self.iam.get_policy(PolicyArn=self.boundary)["Policy"]["DefaultVersionId"]
        found = self.iam.get_policy_version(PolicyArn=self.boundary, VersionId=version)["PolicyVersion"]
        self.assertEqual(found["Document"], document(allow("s3:*")))
        provider = self.iam.get_open_id_connect_provider(OpenIDConnectProviderArn=self.account.provider)
        self.assertEqual(provider["ClientIDList"], ["sts.amazonaws.com"])
        self.refused("NoSuchEntity", self.iam.get_policy, PolicyArn=f"{self.boundary}-x")


class Answers(EmulatorTest):
    def test_identity(self) -> None:
        who = self.account.actor("a", allow("s3:GetObject")).client("sts").get_caller_identity()
        self.assertEqual((who["Account"], who["Arn"]),
                         (self.account.id, f"arn:aws:sts::{self.account.id}:assumed-role/a/session"))

    def test_every_answer_has_a_date(self) -> None:
        s3, kms = self.account.root.s3, self.account.root.kms
        answers = [s3.list_buckets(), kms.list_keys(), self.account.root.iam.list_roles(),
                   self.account.root.client("sts").get_caller_identity()]
        for call, arguments in ((s3.head_bucket, {"Bucket": "absent-bucket"}), (kms.describe_key, {"KeyId": "x"}),
                                (self.account.actor("a", allow("x:y")).s3.list_buckets, {})):
            try:
                call(**arguments)
            except s3.exceptions.ClientError as error:
                answers.append(error.response)
        self.assertEqual(len(answers), 7)
        for answer in answers:
            parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])

    def test_virtual_host_requests_are_refused(self) -> None:
        request = urllib.request.Request(support.endpoint() + "/x", headers={"Host": "bucket.s3.localhost"})
        with self.assertRaises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request)
        caught.exception.close()
        self.assertEqual(caught.exception.code, 501)

    def test_calls_are_counted(self) -> None:
        self.account.root.kms.list_keys()
        self.account.root.kms.list_keys()
        with urllib.request.urlopen(support.endpoint() + "/_stack/calls") as answer:
            counts = json.load(answer)[self.account.id]
        self.assertEqual(counts["kms:ListKeys"], 2)
