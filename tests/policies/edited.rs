//! Worlds in which somebody has edited an Allow in: a policy attached to the operator's role, a key policy reset to KMS's default, a boundary
//! or bucket policy with one statement more. The Denies that look idle elsewhere hold here.

use crate::operator::{SSO, grant_on};
use crate::rows::{Row, Scenario, allow, deny};
use crate::world::{OTHER_KEY, Question, Which, Who, World, but, hours, noon, table_case, w_arn};
use securebucket::domain::policy::Statement;

/// Worlds in which somebody has edited an Allow in.
pub fn scenarios() -> Vec<Scenario> {
    let world = || World::new(table_case(false, hours(4), hours(8)));
    let with = |which: Which, statement: Statement| {
        let mut world = world();
        let statement = statement.resources(["*"]);
        world.documents.get_mut(&which).unwrap().statements.push(statement);
        world
    };
    let mut default_key = world();
    default_key.documents.insert(Which::KeyB, default_key.documents[&Which::OtherKey].clone());
    let foreign = |action: &str| Statement::allow("Foreign").actions([action]);
    let read = ["Decrypt", "DescribeKey"];
    let more = ["Decrypt", "CreateGrant"];
    let w_role = Some(w_arn());
    let to_w = w_role.as_deref();
    vec![
        Scenario::new("key policy with an Allow for everybody", with(Which::KeyB, foreign("kms:*").anyone()), |w| {
            let mut rows = vec![
                deny("CreateGrant", grant_on(w, Who::Admin, &w.b.key_arn, to_w, &read), &["GrantsOnlyByOperator"]),
                deny("more", grant_on(w, Who::OperatorReplaced, &w.b.key_arn, to_w, &more), &["GrantsOnlyToRead"]),
            ];
            for action in ["kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKeyWithoutPlaintext", "kms:ReEncryptFrom"] {
                let by = |who| w.kms_by_s3(who, action, &w.b, "x", noon());
                let direct = but(by(Who::W), |c| c.without("kms:ViaService"));
                let abroad = but(by(Who::W), |c| c.with("kms:EncryptionContext:aws:s3:arn", &w.a.bucket_arn));
                rows.extend([
                    deny(&format!("outsider {action}"), by(Who::Admin), &["CryptoOnlyForWorkloads"]),
                    deny(&format!("W {action} directly"), direct, &["CryptoOnlyThroughS3"]),
                    deny(&format!("W {action} for A"), abroad, &["CryptoOnlyForThisBucket"]),
                ]);
            }
            rows
        }),
        Scenario::new("key policy replaced by KMS's default", default_key, |w| {
            let grant = |to, operations: &[&str]| grant_on(w, Who::Operator, &w.b.key_arn, to, operations);
            vec![
                allow("grant to W", grant(to_w, &read), &["Default", "Grants"]),
                deny("more than reading", grant(to_w, &more), &["GrantsOnlyToRead"]),
                deny("no operations", grant(to_w, &[]), &[]),
                deny("to people", grant(Some(SSO), &read), &["GrantsOnlyToWorkloads"]),
                deny("past the lock-out check", bypass(w), &["NoLockoutBypass"]),
            ]
        }),
        Scenario::new("operator's policy replaced by *:*", world(), |w| {
            let grant = |to, operations: &[&str]| grant_on(w, Who::OperatorReplaced, &w.b.key_arn, to, operations);
            vec![
                allow("grant to W", grant(to_w, &read), &["AttachedAll", "IssueReadGrants"]),
                deny("more than reading", grant(to_w, &more), &["GrantsOnlyToRead"]),
                deny("no operations", grant(to_w, &[]), &[]),
                deny("to people", grant(Some(SSO), &read), &[]),
            ]
        }),
        Scenario::new("*:* attached to the operator", world(), operator_attached),
        Scenario::new("boundary with an Allow for everything", with(Which::Boundary, foreign("*")), |w| {
            let queue = "arn:aws:sqs:eu-west-1:111122223333:q";
            let mut rows = Vec::new();
            for action in [
                "iam:CreateRole",
                "sts:AssumeRole",
                "sts:AssumeRoleWithWebIdentity",
                "kms:CreateGrant",
                "kms:PutKeyPolicy",
                "s3:PutBucketPolicy",
                "s3:DeleteBucketPolicy",
            ] {
                // The resource is somebody else's, so that only the boundary stands in the way.
                rows.push(deny(
                    action,
                    vec![w.ask(Who::WithAll, action, foreign_resource(action), noon())],
                    &["Never"],
                ));
            }
            rows.push(allow("a queue", vec![w.ask(Who::WithAll, "sqs:SendMessage", queue, noon())], &["AttachedAll"]));
            rows
        }),
        Scenario::new(
            "bucket policy with an Allow for a service",
            with(Which::BucketB, foreign("s3:Get*").principal("Service", "logging.s3.amazonaws.com")),
            |w| {
                // What AWS puts into these keys when a service calls by itself does not say how the service came.
                let ask = || vec![w.ask(Who::Service, "s3:GetBucketAcl", &w.b.bucket_arn, noon())];
                vec![
                    allow("service, no TLS", but(ask(), |c| c.with("aws:SecureTransport", false)), &["Foreign"]),
                    allow("service, TLS unknown", but(ask(), |c| c.with("s3:TlsVersion", "0")), &["Foreign"]),
                ]
            },
        ),
    ]
}

fn bypass(w: &World) -> Question {
    let ask = vec![w.ask(Who::Operator, "kms:PutKeyPolicy", &w.b.key_arn, noon())];
    but(ask, |c| c.with("kms:BypassPolicyLockoutSafetyCheck", true))
}

fn operator_attached(w: &World) -> Vec<Row> {
    let who = Who::OperatorAttached;
    let on = |action: &str, resource: &str| -> Question { vec![w.ask(who, action, resource, noon())] };
    let read = ["Decrypt", "DescribeKey"];
    let role = w_arn();
    let bounded =
        |action: &str, role: &str| but(on(action, role), |c| c.with("iam:PermissionsBoundary", &w.install.boundary));
    let mut rows = vec![
        allow("makes a queue", on("sqs:CreateQueue", "arn:aws:sqs:eu-west-1:111122223333:q"), &["AttachedAll"]),
        deny("grants more", grant_on(w, who, OTHER_KEY, Some(&role), &["Encrypt"]), &["GrantsOnlyToRead"]),
        deny("grants to people", grant_on(w, who, OTHER_KEY, Some(SSO), &read), &["GrantsOnlyToWorkloads"]),
        deny("edits its own trust", bounded("iam:UpdateAssumeRolePolicy", &w.install.operator_role), &["NotItself"]),
    ];
    for (sid, actions) in NEVER {
        rows.extend(actions.iter().map(|action| deny(action, on(action, foreign_resource(action)), &[sid])));
    }
    rows
}

/// Something of that kind that is not ours.
fn foreign_resource(action: &str) -> &'static str {
    match action.split_once(':') {
        Some(("kms", _)) => OTHER_KEY,
        Some(("s3", rest)) if rest.contains("Object") => "arn:aws:s3:::payroll/x",
        Some(("s3", _)) => "arn:aws:s3:::payroll",
        _ => "arn:aws:iam::111122223333:role/Other",
    }
}

/// What the operator may not do whatever is attached to its role.
const NEVER: [(&str, &[&str]); 4] = [
    (
        "NeverDecrypt",
        &[
            "kms:Decrypt",
            "kms:Encrypt",
            "kms:GenerateDataKeyPair",
            "kms:ReEncryptTo",
            "kms:ReplicateKey",
            "kms:ImportKeyMaterial",
            "kms:DeleteImportedKeyMaterial",
            "kms:UpdatePrimaryRegion",
        ],
    ),
    (
        "NoDataPath",
        &[
            "s3:GetObjectVersion",
            "s3:PutObjectAcl",
            "s3:DeleteObjectVersion",
            "s3:RestoreObject",
            "s3:ReplicateObject",
            "s3:UpdateObjectEncryption",
            "s3:BypassGovernanceRetention",
            "s3:PutReplicationConfiguration",
            "s3:CreateAccessPointForObjectLambda",
            "s3:PutAccessPointPolicy",
        ],
    ),
    (
        "BoundaryStays",
        &[
            "iam:DeleteRolePermissionsBoundary",
            "iam:CreatePolicyVersion",
            "iam:SetDefaultPolicyVersion",
            "iam:DeletePolicy",
            "iam:DeletePolicyVersion",
        ],
    ),
    (
        "NoEscalation",
        &[
            "sts:AssumeRole",
            "sts:TagSession",
            "iam:AttachRolePolicy",
            "iam:CreateAccessKey",
            "iam:CreateUser",
            "iam:CreateOpenIDConnectProvider",
            "iam:UpdateOpenIDConnectProviderThumbprint",
            "iam:PassRole",
        ],
    ),
];

#[test]
fn second_layers_hold_when_an_allow_is_edited_in() {
    scenarios().iter().for_each(Scenario::check);
}
