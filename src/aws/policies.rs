//! The operator's own IAM policy and the boundary of workload roles, generated: the first from the call table, the second from what duties
//! and grants give. `securebucket policy operator|boundary` prints them.

use std::collections::BTreeMap;

use super::calls::{Call, Scope};
use crate::bucket::policies::{CRYPTO, GRANT_OPERATIONS};
use crate::domain::installation::Installation;
use crate::domain::policy::{Document, Statement};
use crate::domain::tags;
use crate::role::document::{AUDIT_BUCKET, AUDIT_KEY, AUDIT_OBJECT};

/// The policy of the operator's role: no more than the calls of the table, on no more than its own objects, and explicit Denies for what it
/// must never do even if another policy allows it.
pub fn operator(install: &Installation) -> Document {
    let mut by_scope: BTreeMap<Scope, Vec<&str>> = BTreeMap::new();
    for call in Call::ALL {
        by_scope.entry(call.scope()).or_default().extend(call.actions());
    }
    let allows = by_scope.into_iter().flat_map(|(scope, actions)| allow(install, scope, &actions));
    Document::new(allows.chain(denies(install)).collect())
}

/// Sid of the statement that a call's permission stands in.
pub fn sid(scope: Scope) -> &'static str {
    match scope {
        Scope::Bucket => "Buckets",
        Scope::OwnKey => "OwnKeys",
        Scope::NewKey => "NewKeys",
        Scope::AnyKey => "WhoseKey",
        Scope::Alias => "Aliases",
        Scope::IssueGrant => "Grants",
        Scope::Account => "Inventory",
        Scope::Role => "Roles",
        Scope::BoundedRole => "BoundedRoles",
        Scope::AnyPolicy => "ReadPolicies",
        Scope::Free => "",
    }
}

fn allow(install: &Installation, scope: Scope, actions: &[&str]) -> Vec<Statement> {
    let place = &install.place;
    let arn =
        |service: &str, resource: &str| format!("arn:{}:{service}:*:{}:{resource}", place.partition, place.account);
    let keys = arn("kms", "key/*");
    let aliases = arn("kms", &format!("alias/securebucket/{}/*", install.cluster));
    let roles = install.role_pattern();
    let own_tag = format!("aws:ResourceTag/{}", tags::CLUSTER);
    let new_tag = format!("aws:RequestTag/{}", tags::CLUSTER);
    let statement = || Statement::allow(sid(scope)).actions(actions.iter().copied());
    let one = match scope {
        Scope::Free => return Vec::new(),
        Scope::Bucket => statement()
            .resources([place.bucket(&format!("{}-*", install.bucket_prefix))])
            // CreateBucket carries no aws:ResourceAccount, hence IfExists.
            .when("StringEqualsIfExists", "aws:ResourceAccount", [place.account.clone()]),
        Scope::OwnKey => statement().resources([keys]).when("StringEquals", &own_tag, [install.cluster.clone()]),
        // CreateKey acts on no key yet, so its resource is `*` (Service Authorization Reference, AWS KMS). TagResource, which it needs too,
        // also works on existing keys: those of another cluster must not become ours by it.
        Scope::NewKey => statement().resources(["*"]).when("StringEquals", &new_tag, [install.cluster.clone()]).when(
            "StringEqualsIfExists",
            &own_tag,
            [install.cluster.clone()],
        ),
        Scope::AnyKey => statement().resources([keys]),
        // An alias call needs the permission on the alias and on the key. The tag is the key's, an alias has none: two statements.
        Scope::Alias => {
            let mut on_keys = statement().resources([keys]).when("StringEquals", &own_tag, [install.cluster.clone()]);
            on_keys.sid = "AliasedKeys".into();
            return vec![statement().resources([aliases]), on_keys];
        }
        Scope::IssueGrant => statement()
            .resources([keys])
            .when("StringEquals", &own_tag, [install.cluster.clone()])
            .when("StringLike", "kms:GranteePrincipal", [roles])
            .when("ForAllValues:StringEquals", "kms:GrantOperations", GRANT_OPERATIONS)
            .when("Null", "kms:GrantOperations", ["false"]),
        Scope::Account => statement().resources(["*"]),
        Scope::Role => statement().resources([roles]),
        Scope::BoundedRole => statement()
            .resources([roles])
            // TagRole in CreateRole carries no boundary key, hence IfExists; the Deny `BoundaryForced` covers what matters.
            .when("ArnEqualsIfExists", "iam:PermissionsBoundary", [install.boundary.clone()]),
        Scope::AnyPolicy => statement().resources([format!("arn:{}:iam::*:policy/*", place.partition)]),
    };
    vec![one]
}

fn denies(install: &Installation) -> Vec<Statement> {
    let deny = |sid: &str| Statement::deny(sid).resources(["*"]);
    vec![
        deny("NeverDecrypt").actions(CRYPTO.into_iter().chain([
            "kms:ReplicateKey",
            "kms:ImportKeyMaterial",
            "kms:DeleteImportedKeyMaterial",
            "kms:UpdatePrimaryRegion",
        ])),
        deny("GrantsOnlyToRead").actions(["kms:CreateGrant"]).when(
            "ForAnyValue:StringNotEquals",
            "kms:GrantOperations",
            GRANT_OPERATIONS,
        ),
        // Holds also when the key is missing, as with a grant to an AWS service.
        deny("GrantsOnlyToWorkloads").actions(["kms:CreateGrant"]).when(
            "StringNotLike",
            "kms:GranteePrincipal",
            [install.role_pattern()],
        ),
        deny("NoLockoutBypass").actions(["kms:CreateKey", "kms:PutKeyPolicy"]).when(
            "Bool",
            "kms:BypassPolicyLockoutSafetyCheck",
            ["true"],
        ),
        deny("NoDataPath").actions([
            "s3:GetObject*",
            "s3:PutObject*",
            "s3:DeleteObject*",
            "s3:RestoreObject",
            "s3:ReplicateObject",
            "s3:UpdateObjectEncryption",
            "s3:BypassGovernanceRetention",
            "s3:PutReplicationConfiguration",
            "s3:CreateAccessPoint*",
            "s3:PutAccessPoint*",
        ]),
        deny("BoundaryForced")
            .actions([
                "iam:CreateRole",
                "iam:PutRolePolicy",
                "iam:UpdateAssumeRolePolicy",
                "iam:PutRolePermissionsBoundary",
            ])
            .when("ArnNotEquals", "iam:PermissionsBoundary", [install.boundary.clone()]),
        deny("BoundaryStays").actions([
            "iam:DeleteRolePermissionsBoundary",
            "iam:CreatePolicyVersion",
            "iam:SetDefaultPolicyVersion",
            "iam:DeletePolicy",
            "iam:DeletePolicyVersion",
        ]),
        deny("NoEscalation").actions([
            "sts:AssumeRole",
            "sts:TagSession",
            "iam:AttachRolePolicy",
            "iam:CreateAccessKey",
            "iam:CreateUser",
            "iam:CreateOpenIDConnectProvider",
            "iam:UpdateOpenIDConnectProvider*",
            "iam:PassRole",
        ]),
        Statement::deny("NotItself").actions(["iam:*"]).resources([install.operator_role.clone()]),
    ]
}

/// The boundary of every workload role: all that a duty or grant may give, and explicit Denies for the rest that matters. It must allow
/// `kms:Decrypt`: whether a boundary's implicit deny limits a KMS grant is not documented, so nothing may depend on it.
pub fn boundary(install: &Installation) -> Document {
    let place = &install.place;
    let buckets = place.bucket(&format!("{}-*", install.bucket_prefix));
    let objects = format!("{buckets}/*");
    let keys = format!("arn:{}:kms:*:{}:key/*", place.partition, place.account);
    Document::new(vec![
        Statement::allow("Read")
            .actions(AUDIT_OBJECT.into_iter().chain(["s3:GetObject", "s3:GetObjectVersion"]))
            .resources([objects.clone()]),
        Statement::allow("Write")
            .actions(["s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"])
            .resources([objects])
            .when("StringEquals", "aws:ResourceAccount", [place.account.clone()]),
        Statement::allow("Inspect")
            .actions(AUDIT_BUCKET.into_iter().chain(["s3:ListBucketVersions"]))
            .resources([buckets]),
        Statement::allow("Keys")
            .actions(AUDIT_KEY.into_iter().chain(["kms:Decrypt", "kms:GenerateDataKey"]))
            .resources([keys]),
        Statement::deny("Never").resources(["*"]).actions([
            "iam:*",
            "sts:AssumeRole*",
            "kms:CreateGrant",
            "kms:Put*",
            "s3:PutBucket*",
            "s3:DeleteBucket*",
        ]),
    ])
}

/// The call table as text: operation, IAM actions, what it acts on.
pub fn calls() -> String {
    let mut text = String::new();
    for call in Call::ALL {
        let kind = if call.is_write() { "write" } else { "read" };
        text.push_str(&format!(
            "{}:{}\t{kind}\t{:?}\t{}\n",
            call.service().name(),
            call.operation(),
            call.scope(),
            call.actions().join(" ")
        ));
    }
    text
}
