"""Corrections about IAM calls: see emulator/iam_requests.py."""

import json

from tests.support import EmulatorTest, allow, deny, document


class ResourcesCarryTheirPath(EmulatorTest):
    """A role's resource ARN includes its path; a provider's calls are authorized on the provider.

    Source: SAR awsidentityandaccessmanagementiam, resource types role, policy and oidc-provider.
    """

    correction = "iam-resource-arns"

    def test_only_under_the_path(self) -> None:
        actor = self.account.actor("operator", allow(
            ["iam:CreateRole", "iam:GetRole"], Resource=f"arn:aws:iam::{self.account.id}:role/work/*"))
        trust = json.dumps(self.account.trust("system:serviceaccount:test:x"))
        actor.iam.create_role(RoleName="x", Path="/work/", AssumeRolePolicyDocument=trust)
        self.assertEqual(actor.iam.get_role(RoleName="x")["Role"]["Path"], "/work/")
        self.denied(actor.iam.create_role, RoleName="y", Path="/", AssumeRolePolicyDocument=trust)
        self.denied(actor.iam.create_role, RoleName="y", Path="/other/", AssumeRolePolicyDocument=trust)
        self.denied(actor.iam.get_role, RoleName="operator")

    def test_only_this_provider(self) -> None:
        actor = self.account.actor("a", allow("iam:GetOpenIDConnectProvider", Resource=self.account.provider))
        actor.iam.get_open_id_connect_provider(OpenIDConnectProviderArn=self.account.provider)
        self.denied(actor.iam.get_open_id_connect_provider,
                    OpenIDConnectProviderArn=self.account.provider.replace("cluster", "elsewhere"))


class AbsentRolesAreNotFound(EmulatorTest):
    """A call on an absent role is answered NoSuchEntity; on a role elsewhere, AccessDenied.

    Source: BC iam:GetRole (NoSuchEntity); how AWS authorizes it is undocumented.
    """

    correction = "absent-role-is-absent"

    def test_absent_and_forbidden_differ(self) -> None:
        actor = self.account.actor("operator", allow(
            "iam:*", Resource=f"arn:aws:iam::{self.account.id}:role/work/*"))
        self.refused("NoSuchEntity", actor.iam.get_role, RoleName="absent")
        self.refused("NoSuchEntity", actor.iam.put_role_policy, RoleName="absent", PolicyName="p",
                     PolicyDocument=json.dumps(document(allow("*"))))
        self.denied(actor.iam.get_role, RoleName="operator")


class BoundaryKey(EmulatorTest):
    """`iam:PermissionsBoundary` is the boundary asked for, or the one that the role has.

    Source: SAR awsidentityandaccessmanagementiam, iam:PermissionsBoundary; IAM-UG access_policies_boundaries.
    """

    correction = "iam-boundary-key"

    def setUp(self) -> None:
        super().setUp()
        self.boundary, self.wider = (self.account.root.iam.create_policy(
            PolicyName=name, PolicyDocument=json.dumps(document(allow("s3:*"))))["Policy"]["Arn"]
            for name in ("boundary", "wider"))
        self.actor = self.account.actor("operator", allow(
            "iam:*", Condition={"ArnEquals": {"iam:PermissionsBoundary": self.boundary}}))
        self.trust = json.dumps(self.account.trust("system:serviceaccount:test:x"))

    def test_create_role(self) -> None:
        create = self.actor.iam.create_role
        create(RoleName="x", AssumeRolePolicyDocument=self.trust, PermissionsBoundary=self.boundary)
        self.denied(create, RoleName="y", AssumeRolePolicyDocument=self.trust, PermissionsBoundary=self.wider)
        self.denied(create, RoleName="y", AssumeRolePolicyDocument=self.trust)

    def test_calls_on_a_role(self) -> None:
        self.account.role("bounded", boundary=self.boundary)
        self.account.role("free")
        policy = json.dumps(document(allow("*")))
        managed = {"PolicyArn": self.wider}
        for call, arguments in (("put_role_policy", {"PolicyName": "p", "PolicyDocument": policy}),
                                ("delete_role_policy", {"PolicyName": "p"}),
                                ("attach_role_policy", managed), ("detach_role_policy", managed),
                                ("update_assume_role_policy", {"PolicyDocument": self.trust})):
            with self.subTest(call):
                self.denied(getattr(self.actor.iam, call), RoleName="free", **arguments)
                getattr(self.actor.iam, call)(RoleName="bounded", **arguments)

    def test_put_boundary(self) -> None:
        self.account.role("x", boundary=self.boundary)
        self.actor.iam.put_role_permissions_boundary(RoleName="x", PermissionsBoundary=self.boundary)
        self.denied(self.actor.iam.put_role_permissions_boundary, RoleName="x", PermissionsBoundary=self.wider)


class TaggingOnCreate(EmulatorTest):
    """Creating with tags needs the tagging permission, too; CreateBucket's headers need what they set.

    Source: IAM-UG id_tags_roles; KMS-DG tag-permissions; BC s3:CreateBucket.
    """

    correction = "tagging-on-create"

    def both(self, create: str, tag: str):
        """Somebody who may tag what they create with owner=me, and somebody who may not tag."""
        tagging = allow(tag, Condition={"StringEquals": {"aws:RequestTag/owner": "me"}})
        return self.account.actor("full", allow(create), tagging), self.account.actor("half", allow(create), deny("x:y"))

    def test_key(self) -> None:
        full, half = self.both("kms:CreateKey", "kms:TagResource")
        full.kms.create_key(Tags=[{"TagKey": "owner", "TagValue": "me"}])
        half.kms.create_key()
        self.assertIn("kms:TagResource", self.denied(half.kms.create_key, Tags=[{"TagKey": "owner", "TagValue": "me"}]))
        self.denied(full.kms.create_key, Tags=[{"TagKey": "owner", "TagValue": "you"}])

    def test_role(self) -> None:
        full, half = self.both("iam:CreateRole", "iam:TagRole")
        trust = json.dumps(self.account.trust("system:serviceaccount:test:x"))
        full.iam.create_role(RoleName="x", AssumeRolePolicyDocument=trust, Tags=[{"Key": "owner", "Value": "me"}])
        self.assertIn("iam:TagRole", self.denied(half.iam.create_role, RoleName="y", AssumeRolePolicyDocument=trust,
                                                 Tags=[{"Key": "owner", "Value": "me"}]))

    def test_bucket(self) -> None:
        full, half = self.both("s3:CreateBucket", "s3:TagResource")
        tagged = {"LocationConstraint": "eu-west-1", "Tags": [{"Key": "owner", "Value": "me"}]}
        name = f"b-{self.account.id}"
        self.assertIn("s3:TagResource",
                      self.denied(half.s3.create_bucket, Bucket=name, CreateBucketConfiguration=tagged))
        full.s3.create_bucket(Bucket=name, CreateBucketConfiguration=tagged)
        untagged = {"LocationConstraint": "eu-west-1"}
        half.s3.create_bucket(Bucket=f"{name}-2", CreateBucketConfiguration=untagged)
        self.assertIn("s3:PutBucketOwnershipControls", self.denied(
            half.s3.create_bucket, Bucket=f"{name}-3", CreateBucketConfiguration=untagged,
            ObjectOwnership="BucketOwnerEnforced"))


class PolicySizes(EmulatorTest):
    """Over-long policies are refused.

    Source: IAM-UG reference_iam-quotas; S3-UG example-bucket-policies; KMS-DG key-policy-overview.
    """

    correction = "policy-sizes"

    @staticmethod
    def long(characters: int, **rest) -> str:
        """A document with its resource names padded to this length, whitespace not counted."""
        def text(padding: int) -> str:
            padded = {"Resource": f"arn:aws:s3:::{'b' * padding}", **rest}
            return json.dumps(document(allow("s3:GetObject", **padded)), separators=(",", ":"))
        return text(characters - len(text(0)))

    def test_inline_policies_together(self) -> None:
        self.account.role("r")
        put = self.account.root.iam.put_role_policy
        put(RoleName="r", PolicyName="p", PolicyDocument=self.long(6_000))
        put(RoleName="r", PolicyName="q", PolicyDocument=self.long(4_240))
        self.refused("LimitExceeded", put, RoleName="r", PolicyName="q", PolicyDocument=self.long(4_241))

    def test_managed_policy(self) -> None:
        create = self.account.root.iam.create_policy
        create(PolicyName="p", PolicyDocument=self.long(6_144))
        self.refused("LimitExceeded", create, PolicyName="q", PolicyDocument=self.long(6_145))

    def test_trust_policy(self) -> None:
        trust = self.account.trust("x" * 3_000)
        self.refused("LimitExceeded", self.account.role, "r", trust=trust)

    def test_bucket_and_key_policy(self) -> None:
        bucket = self.account.bucket()
        put = self.account.root.s3.put_bucket_policy
        principal = {"Principal": {"AWS": f"arn:aws:iam::{self.account.id}:root"}}
        put(Bucket=bucket, Policy=self.long(20_480, **principal))
        self.refused("PolicyTooLarge", put, Bucket=bucket, Policy=self.long(20_481, **principal))
        self.refused("LimitExceededException", self.account.root.kms.create_key, Policy=self.long(32_769, **principal))


class ListingPages(EmulatorTest):
    """ListRoles, ListKeys and ListAliases come in pages, with a marker for the rest.

    Source: BC iam:ListRoles, kms:ListKeys, kms:ListAliases.
    """

    correction = "listing-pages"

    def test_roles(self) -> None:
        names = {f"r{number:03}" for number in range(103)}
        for name in names:
            self.account.root.iam.create_role(RoleName=name, Path="/many/", AssumeRolePolicyDocument="{}")
        first = self.account.root.iam.list_roles(PathPrefix="/many/")
        self.assertTrue(first["IsTruncated"])
        second = self.account.root.iam.list_roles(PathPrefix="/many/", Marker=first["Marker"])
        self.assertEqual((len(first["Roles"]), second["IsTruncated"]), (100, False))
        self.assertEqual({role["RoleName"] for role in first["Roles"] + second["Roles"]}, names)

    def test_keys_and_aliases(self) -> None:
        kms = self.account.root.kms
        keys = {kms.create_key()["KeyMetadata"]["KeyId"] for _ in range(5)}
        for number, key in enumerate(sorted(keys)):
            kms.create_alias(AliasName=f"alias/{number}", TargetKeyId=key)
        found = [key["KeyId"] for page in kms.get_paginator("list_keys").paginate(PaginationConfig={"PageSize": 2})
                 for key in page["Keys"]]
        self.assertEqual((len(found), set(found)), (5, keys))
        first = kms.list_aliases(Limit=3)
        rest = kms.list_aliases(Limit=3, Marker=first["NextMarker"])
        self.assertEqual([len(first["Aliases"]), first["Truncated"], len(rest["Aliases"]), rest["Truncated"]],
                         [3, True, 2, False])
        self.assertEqual(len(kms.list_aliases(KeyId=found[0])["Aliases"]), 1)


class RolesKnowTheirLastUse(EmulatorTest):
    """GetRole says when a session of the role last called AWS; ListRoles does not.

    Source: BC iam:GetRole (RoleLastUsed), iam:ListRoles.
    """

    correction = "role-last-used"

    def last_used(self) -> object:
        return self.account.root.iam.get_role(RoleName="a")["Role"].get("RoleLastUsed", {}).get("LastUsedDate")

    def test_never_used(self) -> None:
        self.account.role("a")
        self.account.assume("a")
        self.assertIsNone(self.last_used(), "to assume it is not to use it")
        self.account.assume("a").s3.list_buckets()
        self.assertIsNotNone(self.last_used())

    def test_a_refused_call_counts_and_a_list_does_not_show_it(self) -> None:
        actor = self.account.actor("a", deny("*"))
        self.denied(actor.kms.list_keys)
        used, created = self.last_used(), self.account.root.iam.get_role(RoleName="a")["Role"]["CreateDate"]
        self.assertGreaterEqual(used, created)
        self.assertNotIn("RoleLastUsed", self.account.root.iam.list_roles()["Roles"][0])
