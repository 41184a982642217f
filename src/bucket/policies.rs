//! Key policy and bucket policy of a SecureBucket, statement by statement.
//!
//! Neither has a statement that lets a DecryptGrant's role read: that comes from a KMS grant and from the role's own dated policy.
//! docs/concepts.md has the table of verdicts; `tests/policies.rs` checks every row of it, and that each statement is needed.

use std::collections::BTreeSet;

use crate::domain::arn::Place;
use crate::domain::installation::Installation;
use crate::domain::policy::{Document, Statement};

/// Actions that use the key on data.
pub const CRYPTO: [&str; 4] = ["kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"];
/// What a DecryptGrant's KMS grant may hold.
pub const GRANT_OPERATIONS: [&str; 2] = ["Decrypt", "DescribeKey"];

/// Roles that hold a standing duty on the bucket, by ARN, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DutyRoles {
    /// Write, never read.
    pub producers: Vec<String>,
    /// Read and write.
    pub processors: Vec<String>,
}

impl DutyRoles {
    fn writers(&self) -> Vec<String> {
        self.producers.iter().chain(&self.processors).cloned().collect()
    }

    /// Those of the roles that are among these.
    #[must_use]
    pub fn among(&self, roles: &BTreeSet<String>) -> Self {
        let among = |all: &[String]| all.iter().filter(|r| roles.contains(*r)).cloned().collect();
        Self { producers: among(&self.producers), processors: among(&self.processors) }
    }
}

/// The key policy. Administration is delegated to the account by name (`Principal` root + `aws:PrincipalArn`), so that an operator role made
/// anew is not locked out (KMS Developer Guide, key-policy-default). Nobody gets `kms:Decrypt` through IAM but the duty roles.
pub fn key_policy(install: &Installation, place: &Place, bucket_arn: &str, duties: &DutyRoles) -> Vec<Statement> {
    let root = place.root();
    let operator = [install.operator_role.clone()];
    let here = |s: Statement| s.resources(["*"]);
    let mut statements = vec![
        here(Statement::allow("Administer").principal("AWS", &root).actions([
            "kms:PutKeyPolicy",
            "kms:EnableKey",
            "kms:DisableKey",
            "kms:EnableKeyRotation",
            "kms:RotateKeyOnDemand",
            "kms:TagResource",
            "kms:UntagResource",
            "kms:CreateAlias",
            "kms:UpdateAlias",
            "kms:DeleteAlias",
            "kms:RevokeGrant",
            "kms:ScheduleKeyDeletion",
            "kms:CancelKeyDeletion",
        ]))
        .when("ArnEquals", "aws:PrincipalArn", install.administrators()),
        // A responder must be able to look and to stop; turning on again is for administrators.
        here(Statement::allow("InspectAndStop").principal("AWS", &root).actions([
            "kms:DescribeKey",
            "kms:GetKeyPolicy",
            "kms:ListKeyPolicies",
            "kms:ListGrants",
            "kms:ListResourceTags",
            "kms:GetKeyRotationStatus",
            "kms:DisableKey",
        ])),
        here(Statement::allow("IssueReadGrants").principal("AWS", &root).actions(["kms:CreateGrant"]))
            .when("ArnEquals", "aws:PrincipalArn", operator.clone())
            .when("StringLike", "kms:GranteePrincipal", [install.role_pattern()])
            .when("ForAllValues:StringEquals", "kms:GrantOperations", GRANT_OPERATIONS)
            .when("Null", "kms:GrantOperations", ["false"]),
    ];
    let writers = duties.writers();
    if !writers.is_empty() {
        statements.push(standing_duties(&root, writers));
    }
    let deny = |sid: &str| here(Statement::deny(sid).anyone());
    statements.extend([
        deny("GrantsOnlyByOperator").actions(["kms:CreateGrant"]).when("ArnNotEquals", "aws:PrincipalArn", operator),
        deny("GrantsOnlyToRead").actions(["kms:CreateGrant"]).when(
            "ForAnyValue:StringNotEquals",
            "kms:GrantOperations",
            GRANT_OPERATIONS,
        ),
        deny("CryptoOnlyForWorkloads").actions(CRYPTO).when("ArnNotLike", "aws:PrincipalArn", [install.role_pattern()]),
        deny("CryptoOnlyThroughS3").actions(CRYPTO).when("StringNotEquals", "kms:ViaService", [place.via_s3()]),
        deny("CryptoOnlyForThisBucket").actions(CRYPTO).when(
            "StringNotLike",
            "kms:EncryptionContext:aws:s3:arn",
            [bucket_arn.to_owned(), format!("{bucket_arn}/*")],
        ),
        deny("NoLockoutBypass").actions(["kms:PutKeyPolicy"]).when(
            "Bool",
            "kms:BypassPolicyLockoutSafetyCheck",
            ["true"],
        ),
    ]);
    statements
}

/// The one Allow of the key policy on data. Producers need Decrypt for multipart uploads (S3 User Guide, mpuoverview); what keeps them from
/// reading stands in S3.
fn standing_duties(root: &str, roles: impl IntoIterator<Item = String>) -> Statement {
    Statement::allow(STANDING)
        .principal("AWS", root)
        .actions(["kms:GenerateDataKey", "kms:Decrypt"])
        .resources(["*"])
        .when("ArnEquals", "aws:PrincipalArn", roles)
}

const STANDING: &str = "StandingDuties";

/// Roles that an observed key policy lets use the key by a statement of ours as we write it.
pub fn standing_roles(observed: &Document, place: &Place) -> BTreeSet<String> {
    let found = observed.statement(STANDING);
    let roles = found.and_then(|s| s.conditions.get("ArnEquals")?.get("aws:PrincipalArn").cloned()).unwrap_or_default();
    let ours = standing_duties(&place.root(), roles.clone());
    if found == Some(&ours) { roles } else { BTreeSet::new() }
}

/// The bucket policy: Denies only, so it can never be public, and never needs to change for a grant.
pub fn bucket_policy(install: &Installation, bucket_arn: &str, key_arn: &str, duties: &DutyRoles) -> Vec<Statement> {
    let mut statements = transport(bucket_arn);
    statements.extend(principals(install, bucket_arn, duties));
    statements.extend(uploads(bucket_arn, key_arn));
    if !duties.producers.is_empty() {
        statements.push(
            Statement::deny("ProducersNeverRead")
                .anyone()
                .actions(["s3:GetObject*"])
                .resources([objects(bucket_arn)])
                .when("ArnEquals", "aws:PrincipalArn", duties.producers.clone()),
        );
    }
    statements
}

fn objects(bucket_arn: &str) -> String {
    format!("{bucket_arn}/*")
}

/// How a request may arrive.
fn transport(bucket_arn: &str) -> Vec<Statement> {
    let both = [bucket_arn.to_owned(), objects(bucket_arn)];
    let deny = |sid: &str| Statement::deny(sid).anyone().actions(["s3:*"]).resources(both.clone());
    // For calls that an AWS service makes by itself these keys are redacted (S3 User Guide, amazon-s3-policy-keys).
    let not_a_service = |s: Statement| s.when("BoolIfExists", "aws:PrincipalIsAWSService", ["false"]);
    vec![
        not_a_service(deny("TlsOnly").when("Bool", "aws:SecureTransport", ["false"])),
        not_a_service(deny("Tls12").when("NumericLessThan", "s3:TlsVersion", ["1.2"])),
        deny("NoAccessPoints").when("Null", "s3:DataAccessPointArn", ["false"]),
        // Presigned URLs and browser POSTs are bearer tokens.
        Statement::deny("NoBearerReads").anyone().actions(["s3:GetObject*"]).resources([objects(bucket_arn)]).when(
            "StringNotEquals",
            "s3:authType",
            ["REST-HEADER"],
        ),
    ]
}

/// Who may do anything at all, judged by `aws:PrincipalArn`: for a role session it is the role's ARN with its path
/// (IAM User Guide, reference_policies_condition-keys).
fn principals(install: &Installation, bucket_arn: &str, duties: &DutyRoles) -> Vec<Statement> {
    let objects = [objects(bucket_arn)];
    let deny = |sid: &str| Statement::deny(sid).anyone();
    let mut workloads_and_administrators = vec![install.role_pattern()];
    workloads_and_administrators.extend(install.administrators());
    let writers = duties.writers();
    let writers = if writers.is_empty() { vec![install.operator_role.clone()] } else { writers };
    let mut statements = vec![
        deny("ObjectsOnlyForWorkloads").actions(["s3:*"]).resources(objects.clone()).when(
            "ArnNotLike",
            "aws:PrincipalArn",
            [install.role_pattern()],
        ),
        deny("NamesOnlyForWorkloads")
            .actions(["s3:ListBucket", "s3:ListBucketVersions", "s3:ListBucketMultipartUploads"])
            .resources([bucket_arn])
            .when("ArnNotLike", "aws:PrincipalArn", workloads_and_administrators),
        deny("ConfigOnlyByOperator").not_actions(["s3:Get*", "s3:List*"]).resources([bucket_arn]).when(
            "ArnNotEquals",
            "aws:PrincipalArn",
            install.administrators(),
        ),
        deny("WritesOnlyByDuties").not_actions(["s3:Get*", "s3:List*"]).resources(objects.clone()).when(
            "ArnNotEquals",
            "aws:PrincipalArn",
            writers,
        ),
        // Data leaves by lifecycle rules, which no principal performs.
        deny("NobodyDeletes")
            .actions([
                "s3:DeleteObject*",
                "s3:BypassGovernanceRetention",
                "s3:PutObjectRetention",
                "s3:PutObjectLegalHold",
                "s3:PutObjectAcl",
                "s3:PutObjectVersionAcl",
                "s3:UpdateObjectEncryption",
                "s3:ReplicateObject",
                "s3:ReplicateDelete",
            ])
            .resources(objects.clone()),
    ];
    if install.pin_federation {
        statements.push(deny("ObjectsOnlyFromThisCluster").actions(["s3:*"]).resources(objects).when(
            "StringNotEquals",
            "aws:FederatedProvider",
            [install.oidc_provider()],
        ));
    }
    statements
}

/// What an upload may ask of encryption. Default encryption is applied after authorisation, so an upload without headers must pass: a
/// `StringNotEquals` alone would refuse it, because it holds when the key is missing.
fn uploads(bucket_arn: &str, key_arn: &str) -> Vec<Statement> {
    const SSE: &str = "s3:x-amz-server-side-encryption";
    const KEY: &str = "s3:x-amz-server-side-encryption-aws-kms-key-id";
    let deny = |sid: &str| Statement::deny(sid).anyone().actions(["s3:PutObject"]).resources([objects(bucket_arn)]);
    vec![
        deny("KmsOnly").when("Null", SSE, ["false"]).when("StringNotEquals", SSE, ["aws:kms"]),
        deny("ThisKeyOnly").when("Null", KEY, ["false"]).when("StringNotEquals", KEY, [key_arn]),
        // `aws:kms` without a key selects the AWS-managed key aws/s3, whose policy is not ours.
        deny("NoUnnamedKey").when("Null", SSE, ["false"]).when("Null", KEY, ["true"]),
        deny("NoCustomerKeys").when("Null", "s3:x-amz-server-side-encryption-customer-algorithm", ["false"]),
    ]
}
