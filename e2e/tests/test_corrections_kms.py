"""Corrections about KMS calls: see emulator/kms_requests.py and emulator/kms_grants.py."""

import json
from typing import Any

from tests.support import EmulatorTest, Principal, allow, assume, deny, document, token


def root_of(account_id: str) -> dict[str, Any]:
    return {"Principal": {"AWS": f"arn:aws:iam::{account_id}:root"}}


class GrantsAllow(EmulatorTest):
    """A grant allows within its operations and constraints, without any policy; an explicit Deny wins.

    Source: KMS-DG grants, policy-evaluation; BC kms:CreateGrant, kms:GrantConstraints.
    """

    correction = "kms-grants"

    def setUp(self) -> None:
        super().setUp()
        self.key = self.account.key()
        self.role = self.account.role("reader", allow("s3:GetObject"))
        self.reader = self.account.assume("reader")
        self.context = {"aws:s3:arn": "arn:aws:s3:::b", "more": "x"}
        encrypt = self.account.root.kms.encrypt
        self.ciphertext = encrypt(KeyId=self.key, Plaintext=b"secret", EncryptionContext=self.context)["CiphertextBlob"]

    def decrypt(self, principal: Principal | None = None) -> bytes:
        return (principal or self.reader).kms.decrypt(
            CiphertextBlob=self.ciphertext, EncryptionContext=self.context)["Plaintext"]

    def grant(self, operations: tuple[str, ...] = ("Decrypt", "DescribeKey"), **rest: Any) -> str:
        return self.account.root.kms.create_grant(
            KeyId=self.key, GranteePrincipal=self.role, Operations=list(operations), **rest)["GrantId"]

    def test_from_grant_to_revoke(self) -> None:
        self.denied(self.decrypt)
        grant = self.grant()
        self.assertEqual(self.decrypt(), b"secret")
        self.reader.kms.describe_key(KeyId=self.key)
        self.denied(self.reader.kms.encrypt, KeyId=self.key, Plaintext=b"x")
        self.account.root.kms.revoke_grant(KeyId=self.key, GrantId=grant)
        self.denied(self.decrypt)

    def test_only_the_grantee(self) -> None:
        self.grant()
        self.decrypt()
        self.denied(self.decrypt, self.account.actor("other", allow("s3:GetObject")))

    def test_only_the_operations_listed(self) -> None:
        self.grant(("DescribeKey",))
        self.reader.kms.describe_key(KeyId=self.key)
        self.denied(self.decrypt)

    def test_context_constraints(self) -> None:
        for constraint, allowed in (
                ({"EncryptionContextSubset": {"AWS:S3:ARN": "arn:aws:s3:::b"}}, True),
                ({"EncryptionContextSubset": {"aws:s3:arn": "arn:aws:s3:::B"}}, False),
                ({"EncryptionContextEquals": self.context}, True),
                ({"EncryptionContextEquals": {"aws:s3:arn": "arn:aws:s3:::b"}}, False)):
            with self.subTest(constraint):
                grant = self.grant(Constraints=constraint)
                self.decrypt() if allowed else self.denied(self.decrypt)
                self.reader.kms.describe_key(KeyId=self.key)  # ignores constraints
                self.account.root.kms.revoke_grant(KeyId=self.key, GrantId=grant)

    def test_explicit_deny_wins(self) -> None:
        self.grant()
        self.decrypt()
        self.account.permit("reader", deny("kms:Decrypt"))
        self.denied(self.decrypt)
        self.account.permit("reader", allow("s3:GetObject"))
        self.account.root.kms.put_key_policy(KeyId=self.key, PolicyName="default", Policy=json.dumps(document(
            allow("kms:*", **root_of(self.account.id)),
            deny("kms:Decrypt", Principal="*", Condition={"ArnLike": {"aws:PrincipalArn": self.role}}))))
        self.denied(self.decrypt)

    def test_the_boundary_must_allow(self) -> None:
        """Undocumented by AWS; the emulator takes the stricter reading (aws.md §2.2)."""
        self.grant()
        self.decrypt()
        for number, (action, refused) in enumerate((("s3:*", True), ("kms:Decrypt", False))):
            boundary = self.account.root.iam.create_policy(
                PolicyName=f"b{number}", PolicyDocument=json.dumps(document(allow(action))))["Policy"]["Arn"]
            self.account.root.iam.put_role_permissions_boundary(RoleName="reader", PermissionsBoundary=boundary)
            self.denied(self.decrypt) if refused else self.decrypt()


class GrantsAreBoundToTheirGrantee(EmulatorTest):
    """A grantee must exist; a role made anew under the same name is not the grantee.

    Source: BC kms:CreateGrant (InvalidArnException); terraform-provider-aws internal/service/kms/grant.go.
    """

    correction = "grantee-identity"

    def test_absent_grantee(self) -> None:
        key, create = self.account.key(), self.account.root.kms.create_grant
        named = {"KeyId": key, "Operations": ["DescribeKey"]}
        self.refused("InvalidArnException", create, GranteePrincipal=self.account.role_arn("r"), **named)
        self.account.role("r", path="/work/")
        self.refused("InvalidArnException", create, GranteePrincipal=self.account.role_arn("r"), **named)
        create(GranteePrincipal=self.account.role_arn("r", "/work/"), **named)

    def test_recreated_grantee(self) -> None:
        key, root = self.account.key(), self.account.root
        role = self.account.role("r", allow("s3:GetObject"))
        first_id = root.iam.get_role(RoleName="r")["Role"]["RoleId"]
        root.kms.create_grant(KeyId=key, GranteePrincipal=role, Operations=["DescribeKey"])
        self.account.assume("r").kms.describe_key(KeyId=key)
        listed = root.kms.list_grants(KeyId=key)["Grants"]
        self.assertEqual(listed[0]["GranteePrincipal"], role)
        root.iam.delete_role_policy(RoleName="r", PolicyName="p")
        root.iam.delete_role(RoleName="r")
        self.account.role("r", allow("s3:GetObject"))
        self.denied(self.account.assume("r").kms.describe_key, KeyId=key)
        self.assertEqual(root.kms.list_grants(KeyId=key)["Grants"][0]["GranteePrincipal"], first_id)


class ConditionKeys(EmulatorTest):
    """KMS calls carry their encryption context, and CreateGrant what it would grant to whom.

    Source: KMS-DG conditions-kms; SAR awskeymanagementservice.
    """

    correction = "kms-condition-keys"

    def key_with(self, *statements: dict) -> str:
        return self.account.key(allow("kms:*", **root_of(self.account.id)), *statements)

    def test_encryption_context(self) -> None:
        key = self.key_with(deny("kms:Encrypt", Principal="*", Condition={
            "StringNotLike": {"kms:EncryptionContext:aws:s3:arn": ["arn:aws:s3:::b", "arn:aws:s3:::b/*"]}}))
        encrypt = self.account.actor("a").kms.encrypt
        encrypt(KeyId=key, Plaintext=b"x", EncryptionContext={"aws:s3:arn": "arn:aws:s3:::b/x"})
        self.denied(encrypt, KeyId=key, Plaintext=b"x", EncryptionContext={"aws:s3:arn": "arn:aws:s3:::c/x"})
        self.denied(encrypt, KeyId=key, Plaintext=b"x")

    def test_encryption_context_keys(self) -> None:
        key = self.key_with(deny("kms:Encrypt", Principal="*", Condition={
            "ForAnyValue:StringNotEquals": {"kms:EncryptionContextKeys": "team"}}))
        encrypt = self.account.actor("a").kms.encrypt
        encrypt(KeyId=key, Plaintext=b"x", EncryptionContext={"team": "a"})
        self.denied(encrypt, KeyId=key, Plaintext=b"x", EncryptionContext={"team": "a", "other": "b"})

    def test_create_grant(self) -> None:
        """IssueReadGrants and GrantsOnlyToRead of policies.md §1."""
        inside, outside = self.account.role("in", path="/work/"), self.account.role("out")
        key = self.account.key(
            allow("kms:CreateGrant", **root_of(self.account.id), Condition={
                "StringLike": {"kms:GranteePrincipal": f"arn:aws:iam::{self.account.id}:role/work/*"},
                "ForAllValues:StringEquals": {"kms:GrantOperations": ["Decrypt", "DescribeKey"]},
                "Null": {"kms:GrantOperations": "false"}}),
            deny("kms:CreateGrant", Principal="*", Condition={
                "ForAnyValue:StringNotEquals": {"kms:GrantOperations": ["Decrypt", "DescribeKey"]}}))
        create = self.account.actor("operator").kms.create_grant
        create(KeyId=key, GranteePrincipal=inside, Operations=["Decrypt", "DescribeKey"])
        self.denied(create, KeyId=key, GranteePrincipal=outside, Operations=["Decrypt"])
        self.denied(create, KeyId=key, GranteePrincipal=inside, Operations=["Decrypt", "CreateGrant"])
        self.denied(create, KeyId=key, GranteePrincipal=inside, Operations=["Encrypt"])

    def test_retiring_principal_and_constraint(self) -> None:
        role = self.account.role("r")
        key = self.account.key(allow("kms:CreateGrant", **root_of(self.account.id), Condition={
            "Null": {"kms:RetiringPrincipal": "true"},
            "StringEquals": {"kms:GrantConstraintType": "EncryptionContextSubset",
                             "kms:EncryptionContext:aws:s3:arn": "arn:aws:s3:::b"}}))
        create = self.account.actor("operator").kms.create_grant
        good = {"EncryptionContextSubset": {"aws:s3:arn": "arn:aws:s3:::b"}}
        named = {"KeyId": key, "GranteePrincipal": role, "Operations": ["Decrypt"]}
        create(**named, Constraints=good)
        self.denied(create, **named)
        self.denied(create, **named, Constraints=good, RetiringPrincipal=role)
        self.denied(create, **named, Constraints={"EncryptionContextEquals": good["EncryptionContextSubset"]})
        self.denied(create, **named, Constraints={"EncryptionContextSubset": {"aws:s3:arn": "arn:aws:s3:::c"}})

    def test_bypass_of_the_lockout_check(self) -> None:
        key = self.key_with(deny("kms:PutKeyPolicy", Principal="*", Condition={
            "Bool": {"kms:BypassPolicyLockoutSafetyCheck": "true"}}))
        put, policy = self.account.actor("a").kms.put_key_policy, json.dumps(document(
            allow("kms:*", **root_of(self.account.id))))
        self.denied(put, KeyId=key, PolicyName="default", Policy=policy, BypassPolicyLockoutSafetyCheck=True)
        put(KeyId=key, PolicyName="default", Policy=policy)

    def test_create_key(self) -> None:
        create = self.account.actor("a", allow("kms:CreateKey", Condition={
            "StringEquals": {"kms:KeySpec": "SYMMETRIC_DEFAULT", "kms:KeyUsage": "ENCRYPT_DECRYPT",
                             "kms:KeyOrigin": "AWS_KMS"},
            "Bool": {"kms:MultiRegion": "false", "kms:BypassPolicyLockoutSafetyCheck": "false"}})).kms.create_key
        create()
        self.denied(create, MultiRegion=True)
        self.denied(create, Origin="EXTERNAL")

    def test_periods(self) -> None:
        key, actor = self.account.key(), self.account.actor(
            "a",
            allow("kms:EnableKeyRotation", Condition={"NumericLessThanEquals": {"kms:RotationPeriodInDays": "365"}}),
            allow("kms:ScheduleKeyDeletion", Condition={
                "NumericGreaterThanEquals": {"kms:ScheduleKeyDeletionPendingWindowInDays": "30"}}))
        actor.kms.enable_key_rotation(KeyId=key, RotationPeriodInDays=180)
        self.denied(actor.kms.enable_key_rotation, KeyId=key, RotationPeriodInDays=366)
        self.denied(actor.kms.schedule_key_deletion, KeyId=key, PendingWindowInDays=7)
        actor.kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=30)


class Aliases(EmulatorTest):
    """An alias stands for its key; alias calls need their permission on the alias and on each key.

    Source: KMS-DG alias-access, alias-authorization.
    """

    correction = "kms-aliases"

    def setUp(self) -> None:
        super().setUp()
        self.arn = f"arn:aws:kms:eu-west-1:{self.account.id}"
        self.open, self.other = self.account.key(), self.account.key()
        self.shut = self.account.key(allow(["kms:DescribeKey", "kms:PutKeyPolicy"], **root_of(self.account.id)))
        everything = ["kms:CreateAlias", "kms:UpdateAlias", "kms:DeleteAlias"]
        self.actor = self.account.actor("a", allow(everything, Resource=[f"{self.arn}:alias/ours/*", f"{self.arn}:key/*"]),
                                        allow("kms:DescribeKey", Resource=self.open))

    def test_describe_by_alias_asks_for_the_key(self) -> None:
        for name, key in (("alias/ours/a", self.open), ("alias/ours/b", self.other)):
            self.account.root.kms.create_alias(AliasName=name, TargetKeyId=key)
        for alias in ("alias/ours/a", f"{self.arn}:alias/ours/a"):
            self.assertEqual(self.actor.kms.describe_key(KeyId=alias)["KeyMetadata"]["Arn"], self.open)
        self.denied(self.actor.kms.describe_key, KeyId="alias/ours/b")

    def test_absent_is_not_found_even_without_permission(self) -> None:
        nobody = self.account.actor("nobody", allow("s3:GetObject"))
        for caller in (self.actor, nobody):
            self.refused("NotFoundException", caller.kms.describe_key, KeyId="alias/ours/absent")
        self.denied(nobody.kms.describe_key, KeyId=self.open)

    def test_create_update_delete(self) -> None:
        kms = self.actor.kms
        kms.create_alias(AliasName="alias/ours/a", TargetKeyId=self.open)
        self.denied(kms.create_alias, AliasName="alias/theirs", TargetKeyId=self.open)
        self.denied(kms.create_alias, AliasName="alias/ours/b", TargetKeyId=self.shut)  # by its key policy
        kms.update_alias(AliasName="alias/ours/a", TargetKeyId=self.other)
        self.denied(kms.update_alias, AliasName="alias/ours/a", TargetKeyId=self.shut)
        self.account.root.kms.put_key_policy(KeyId=self.other, PolicyName="default", Policy=json.dumps(document(
            allow(["kms:PutKeyPolicy"], **root_of(self.account.id)))))
        self.denied(kms.update_alias, AliasName="alias/ours/a", TargetKeyId=self.open)  # by the key it has now
        self.denied(kms.delete_alias, AliasName="alias/ours/a")
        self.account.root.kms.put_key_policy(KeyId=self.other, PolicyName="default", Policy=json.dumps(document(
            allow("kms:*", **root_of(self.account.id)))))
        kms.delete_alias(AliasName="alias/ours/a")


class KeyStates(EmulatorTest):
    """What a key allows in each state.

    Source: KMS-DG key-state.
    """

    correction = "kms-key-states"

    def test_pending_deletion(self) -> None:
        key, kms = self.account.key(), self.account.root.kms
        grant = kms.create_grant(KeyId=key, GranteePrincipal=self.account.role("r"), Operations=["Decrypt"])["GrantId"]
        self.refused("KMSInvalidStateException", kms.cancel_key_deletion, KeyId=key)
        kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
        for call, arguments in ((kms.enable_key, {}), (kms.disable_key, {}), (kms.enable_key_rotation, {}),
                                (kms.schedule_key_deletion, {}), (kms.untag_resource, {"TagKeys": ["x"]}),
                                (kms.tag_resource, {"Tags": [{"TagKey": "x", "TagValue": "y"}]}),
                                (kms.create_grant, {"GranteePrincipal": self.account.role_arn("r"),
                                                    "Operations": ["Decrypt"]})):
            self.refused("KMSInvalidStateException", call, KeyId=key, **arguments)
        self.refused("KMSInvalidStateException", kms.create_alias, AliasName="alias/x", TargetKeyId=key)
        kms.describe_key(KeyId=key)
        kms.put_key_policy(KeyId=key, PolicyName="default", Policy=kms.get_key_policy(KeyId=key)["Policy"])
        kms.revoke_grant(KeyId=key, GrantId=grant)
        kms.cancel_key_deletion(KeyId=key)
        self.assertEqual(kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"], "Disabled")
        kms.enable_key(KeyId=key)

    def test_disabled(self) -> None:
        key, kms = self.account.key(), self.account.root.kms
        kms.enable_key_rotation(KeyId=key, RotationPeriodInDays=90)
        kms.disable_key(KeyId=key)
        self.refused("DisabledException", kms.enable_key_rotation, KeyId=key)
        self.refused("DisabledException", kms.create_grant, KeyId=key, Operations=["Decrypt"],
                     GranteePrincipal=self.account.role("r"))
        kms.tag_resource(KeyId=key, Tags=[{"TagKey": "x", "TagValue": "y"}])
        kms.enable_key(KeyId=key)
        assume(self.account.role_arn("r"), token("system:serviceaccount:test:r")).kms.encrypt(KeyId=key, Plaintext=b"x")
