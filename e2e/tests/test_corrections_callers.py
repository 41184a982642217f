"""Corrections about the caller: see emulator/callers.py."""

import json

from tests.support import Account, EmulatorTest, allow, assume, deny, document, token


class PrincipalArnIsTheRole(EmulatorTest):
    """`aws:PrincipalArn` of a role session is the role's ARN with its path.

    Source: IAM-UG reference_policies_condition-keys, aws:PrincipalArn.
    """

    correction = "principal-arn-is-role"

    def setUp(self) -> None:
        super().setUp()
        self.bucket = self.account.bucket()
        inside = f"arn:aws:iam::{self.account.id}:role/work/*"
        self.account.bucket_policy(self.bucket, deny(
            "s3:PutObject", Principal="*", Resource=f"arn:aws:s3:::{self.bucket}/*",
            Condition={"ArnNotLike": {"aws:PrincipalArn": inside}}))

    def test_allow_under_the_path(self) -> None:
        self.account.actor("inside", path="/work/").s3.put_object(Bucket=self.bucket, Key="x")

    def test_deny_elsewhere(self) -> None:
        self.denied(self.account.actor("outside").s3.put_object, Bucket=self.bucket, Key="x")


class CallersAreNotAwsServices(EmulatorTest):
    """`aws:PrincipalIsAWSService` is always present, `false` for IAM principals.

    Source: IAM-UG reference_policies_condition-keys, aws:PrincipalIsAWSService.
    """

    correction = "not-an-aws-service"

    def test_deny_for_everybody_but_services(self) -> None:
        bucket, actor = self.account.bucket(), self.account.actor("a")
        actor.s3.put_object(Bucket=bucket, Key="x")
        self.account.bucket_policy(bucket, deny(
            "s3:PutObject", Principal="*", Resource=f"arn:aws:s3:::{bucket}/*",
            Condition={"Bool": {"aws:PrincipalIsAWSService": "false"}}))
        self.denied(actor.s3.put_object, Bucket=bucket, Key="x")
        actor.s3.get_object(Bucket=bucket, Key="x")

    def test_allow_when_only_services_are_denied(self) -> None:
        bucket, actor = self.account.bucket(), self.account.actor("a")
        self.account.bucket_policy(bucket, deny(
            "s3:PutObject", Principal="*", Resource=f"arn:aws:s3:::{bucket}/*",
            Condition={"Bool": {"aws:PrincipalIsAWSService": "true"}}))
        actor.s3.put_object(Bucket=bucket, Key="x")


class RootObeysDenies(EmulatorTest):
    """An explicit Deny in a bucket policy, and a key policy without an Allow, bind root; bucket policies stay root's.

    Source: BC s3:PutBucketPolicy; KMS-DG key-policy-default.
    """

    correction = "root-obeys-denies"

    def test_deny_of_the_bucket_policy(self) -> None:
        bucket, root = self.account.bucket(), self.account.root
        root.s3.put_object(Bucket=bucket, Key="x")
        self.account.bucket_policy(bucket, deny("s3:*", Principal="*", Resource=[
            f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]))
        self.assertIn("s3:GetObject", self.denied(root.s3.get_object, Bucket=bucket, Key="x"))
        root.s3.get_bucket_policy(Bucket=bucket)
        root.s3.delete_bucket_policy(Bucket=bucket)
        root.s3.get_object(Bucket=bucket, Key="x")

    def test_key_policy_must_allow_root(self) -> None:
        root = f"arn:aws:iam::{self.account.id}:root"
        key = self.account.key(allow(["kms:DescribeKey", "kms:PutKeyPolicy"], Principal={"AWS": root}))
        self.account.root.kms.describe_key(KeyId=key)
        self.denied(self.account.root.kms.disable_key, KeyId=key)


class ResourceAccountIsTheOwners(EmulatorTest):
    """`aws:ResourceAccount` is the account that owns the bucket, not the caller's.

    Source: IAM-UG reference_policies_condition-keys, aws:ResourceAccount.
    """

    correction = "resource-account"

    def test_writes_only_to_the_own_account(self) -> None:
        actor = self.account.actor("writer", allow(
            "s3:PutObject", Condition={"StringEquals": {"aws:ResourceAccount": self.account.id}}))
        actor.s3.put_object(Bucket=self.account.bucket(), Key="x")
        other = Account()
        bucket = other.bucket()
        other.root.s3.delete_public_access_block(Bucket=bucket)
        other.bucket_policy(bucket, allow("s3:PutObject", Principal="*", Resource=f"arn:aws:s3:::{bucket}/*"))
        self.denied(actor.s3.put_object, Bucket=bucket, Key="x")


class DenialsNameTheResource(EmulatorTest):
    """AccessDenied names caller, action, resource and the kind of policy.

    Source: IAM-UG troubleshoot_access-denied.
    """

    correction = "denial-texts"

    def test_texts(self) -> None:
        key, bucket = self.account.key(), self.account.bucket()
        actor = self.account.actor("a", allow("s3:GetObject"), deny("kms:DisableKey"))
        session = f"arn:aws:sts::{self.account.id}:assumed-role/a/session"
        start = f"User: {session} is not authorized to perform: "
        self.assertEqual(
            self.denied(actor.kms.describe_key, KeyId=key),
            f"{start}kms:DescribeKey on resource: {key} because no identity-based policy allows the "
            "kms:DescribeKey action")
        self.assertEqual(self.denied(actor.kms.disable_key, KeyId=key),
                         f"{start}kms:DisableKey on resource: {key} with an explicit deny in an identity-based policy")
        self.assertEqual(
            self.denied(actor.s3.get_bucket_policy, Bucket=bucket),
            f'{start}s3:GetBucketPolicy on resource: "arn:aws:s3:::{bucket}" because no identity-based policy '
            "allows the s3:GetBucketPolicy action")
        self.assertEqual(
            self.denied(actor.iam.get_role, RoleName="a"),
            f"{start}iam:GetRole on resource: {self.account.role_arn('a')} because no identity-based policy "
            "allows the iam:GetRole action")

    def test_key_policy_and_boundary_are_named(self) -> None:
        root = {"Principal": {"AWS": f"arn:aws:iam::{self.account.id}:root"}}
        key = self.account.key(allow(["kms:DescribeKey", "kms:PutKeyPolicy"], **root))
        boundary = self.account.root.iam.create_policy(PolicyName="b", PolicyDocument=json.dumps(document(
            allow("kms:Disable*"), deny("kms:EnableKey"))))["Policy"]["Arn"]
        kms = self.account.actor("a", boundary=boundary).kms
        for call, reason in ((kms.disable_key, "because no resource-based policy allows the kms:DisableKey action"),
                             (kms.describe_key, "because no permissions boundary allows the kms:DescribeKey action"),
                             (kms.enable_key, "with an explicit deny in a permissions boundary")):
            self.assertTrue(self.denied(call, KeyId=key).endswith(reason), reason)

    def test_a_resource_policy_is_named(self) -> None:
        bucket, actor = self.account.bucket(), self.account.actor("a")
        self.account.bucket_policy(bucket, deny("s3:GetBucketTagging", Principal="*", Resource=f"arn:aws:s3:::{bucket}"))
        self.assertTrue(self.denied(actor.s3.get_bucket_tagging, Bucket=bucket).endswith(
            "with an explicit deny in a resource-based policy"))


class AudienceList(EmulatorTest):
    """A one-element list `aud`, which Kubernetes issues, equals that audience.

    Source: EKS-UG associate-service-account-role; RFC 7519 §4.1.3.
    """

    correction = "audience-list"

    def test_kubernetes_token(self) -> None:
        arn = self.account.role("a")
        assume(arn, token("system:serviceaccount:test:a")).s3.list_buckets()
        self.denied(assume, arn, token("system:serviceaccount:test:b"))
        self.denied(assume, arn, token("system:serviceaccount:other:a"))

    def test_another_audience_is_refused_by_the_trust_policy(self) -> None:
        trust = self.account.trust("system:serviceaccount:test:a")
        trust["Statement"][0]["Condition"]["StringEquals"]["oidc.cluster.local:aud"] = "somebody-else"
        self.denied(assume, self.account.role("a", trust=trust), token("system:serviceaccount:test:a"))


class SessionsNameTheirProvider(EmulatorTest):
    """A web-identity session carries `aws:FederatedProvider`; a session chained from it does not.

    Source: IAM-UG reference_policies_condition-keys, aws:FederatedProvider; to be proved live (policies.md §4.1).
    """

    correction = "federated-provider"

    def test_only_from_this_cluster(self) -> None:
        bucket = self.account.bucket()
        self.account.bucket_policy(bucket, deny(
            "s3:*", Principal="*", Resource=f"arn:aws:s3:::{bucket}/*",
            Condition={"StringNotEquals": {"aws:FederatedProvider": self.account.provider}}))
        actor = self.account.actor("a")
        actor.s3.put_object(Bucket=bucket, Key="x")
        target = self.account.role("b", trust=document(allow(
            "sts:AssumeRole", Principal={"AWS": self.account.role_arn("a")}, Resource=None)))
        given = actor.client("sts").assume_role(RoleArn=target, RoleSessionName="chained")["Credentials"]
        chained = type(actor)(self.account.id, given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])
        chained.s3.get_bucket_policy(Bucket=bucket)
        self.denied(chained.s3.get_object, Bucket=bucket, Key="x")


class TokensAreVerified(EmulatorTest):
    """A token needs the issuer's signature, time left, and an audience that the OIDC provider lists.

    Source: BC sts:AssumeRoleWithWebIdentity (InvalidIdentityToken, ExpiredTokenException).
    """

    correction = "web-identity-token"

    def test_forged_expired_foreign(self) -> None:
        import rsa

        arn, subject = self.account.role("a"), "system:serviceaccount:test:a"
        assume(arn, token(subject))
        self.refused("InvalidIdentityToken", assume, arn, token(subject, key=rsa.newkeys(1024)[1]))
        self.refused("ExpiredTokenException", assume, arn, token(subject, lifetime=-5))
        self.refused("InvalidIdentityToken", assume, arn, token(subject, "https://kubernetes.default.svc"))
        self.refused("InvalidIdentityToken", assume, arn, token(subject, issuer="https://other.cluster.local"))
        self.account.root.iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=self.account.provider)
        self.assertIn("No OpenIDConnect provider found",
                      self.refused("InvalidIdentityToken", assume, arn, token(subject)))
