//! The operator's own policy: each thing it must be able to do, with its like that it must not.

use std::collections::BTreeSet;

use crate::rows::{Expect, Row, Scenario, allow, deny};
use crate::world::{
    Ask, OTHER_BUCKET, OTHER_KEY, Question, Who, World, but, hours, noon, other_arn, table_case, w_arn,
};
use securebucket::aws::calls::{Call, Scope};

pub fn scenario() -> Scenario {
    Scenario::new("the operator's policy", World::new(table_case(false, hours(4), hours(8))), rows)
}

#[test]
fn the_operator_can_do_its_work_and_no_more() {
    scenario().check();
}

const BOUNDARY: &str = "iam:PermissionsBoundary";
const TAG_OF_KEY: &str = "aws:ResourceTag/securebucket.io/cluster";
const NEW_TAG: &str = "aws:RequestTag/securebucket.io/cluster";

fn rows(w: &World) -> Vec<Row> {
    [calls(w), buckets(w), keys(w), create_grant(w), roles(w)].concat()
}

/// Every call of the table, with all the actions that it needs.
fn calls(w: &World) -> Vec<Row> {
    let key = &w.b.key_arn;
    let (role, alias) = (w_arn(), "arn:aws:kms:eu-west-1:111122223333:alias/securebucket/c1/b2");
    let mut rows = Vec::new();
    for call in Call::ALL.iter().filter(|c| c.scope() != Scope::Free) {
        let tagged = |q| but(q, |c| c.with(NEW_TAG, "c1"));
        let each = |resource: &str| -> Question { call.actions().iter().flat_map(|a| on(w, a, resource)).collect() };
        let question = match call.scope() {
            Scope::Bucket => each(&w.b.bucket_arn),
            Scope::NewKey => tagged(each(if *call == Call::TagResource { key } else { "*" })),
            Scope::OwnKey | Scope::AnyKey => each(key),
            Scope::Alias => [each(alias), each(key)].concat(),
            Scope::IssueGrant => grant_on(w, Who::Operator, key, Some(&role), &["Decrypt", "DescribeKey"]),
            Scope::Role => each(&role),
            Scope::BoundedRole => but(each(&role), |c| c.with(BOUNDARY, &w.install.boundary)),
            Scope::AnyPolicy => each(&w.install.boundary),
            Scope::Account | Scope::Free => each("*"),
        };
        let by: BTreeSet<String> = w.judge(&question).by;
        rows.push(Row { name: format!("call {}", call.operation()), question, expect: Expect::Allow(by) });
    }
    rows
}

fn on(w: &World, action: &str, resource: &str) -> Question {
    vec![w.ask(Who::Operator, action, resource, noon())]
}

fn buckets(w: &World) -> Vec<Row> {
    let object = format!("{}/x", w.b.bucket_arn);
    vec![
        allow("CreateBucket", on(w, "s3:CreateBucket", "arn:aws:s3:::c1-new"), &["Buckets"]),
        allow("HeadBucket", on(w, "s3:ListBucket", &w.b.bucket_arn), &["Buckets"]),
        allow("PutBucketPolicy", on(w, "s3:PutBucketPolicy", &w.b.bucket_arn), &["Buckets"]),
        allow("PutLifecycleConfiguration", on(w, "s3:PutLifecycleConfiguration", &w.b.bucket_arn), &["Buckets"]),
        deny("CreateBucket outside the prefix", on(w, "s3:CreateBucket", "arn:aws:s3:::c10-new"), &[]),
        deny("PutBucketPolicy outside the prefix", on(w, "s3:PutBucketPolicy", "arn:aws:s3:::payroll"), &[]),
        deny("PutBucketPolicy in another account", on(w, "s3:PutBucketPolicy", OTHER_BUCKET), &[]),
        deny("DeleteBucket", on(w, "s3:DeleteBucket", &w.b.bucket_arn), &[]),
        deny("PutReplicationConfiguration", on(w, "s3:PutReplicationConfiguration", &w.b.bucket_arn), &["NoDataPath"]),
        deny("PutObject", on(w, "s3:PutObject", &object), &["NoDataPath", "ObjectsOnlyForWorkloads"]),
        deny(
            "DeleteObject",
            on(w, "s3:DeleteObject", &object),
            &["NoDataPath", "ObjectsOnlyForWorkloads", "NobodyDeletes"],
        ),
    ]
}

fn keys(w: &World) -> Vec<Row> {
    let key = &w.b.key_arn;
    let new = |cluster: &str| but(on(w, "kms:CreateKey", "*"), |c| c.with(NEW_TAG, cluster));
    let tag = |key: &str| but(on(w, "kms:TagResource", key), |c| c.with(NEW_TAG, "c1"));
    let alias = |name: &str, key: &str| -> Question {
        let alias = format!("arn:aws:kms:eu-west-1:111122223333:alias/{name}");
        ["kms:CreateAlias"].iter().flat_map(|a| [on(w, a, &alias), on(w, a, key)].concat()).collect::<Vec<Ask>>()
    };
    let of_c2 = |question| but(question, |c| c.with(TAG_OF_KEY, "c2"));
    vec![
        allow("CreateKey with our tag", new("c1"), &["NewKeys"]),
        deny("CreateKey with another cluster's tag", new("c2"), &[]),
        deny("CreateKey without a tag", on(w, "kms:CreateKey", "*"), &[]),
        deny(
            "CreateKey past the lock-out check",
            but(new("c1"), |c| c.with("kms:BypassPolicyLockoutSafetyCheck", true)),
            &["NoLockoutBypass"],
        ),
        allow("TagResource on our key", tag(key), &["NewKeys", "Administer"]),
        deny("TagResource on another cluster's key", of_c2(tag(OTHER_KEY)), &[]),
        deny("TagResource without our tag", on(w, "kms:TagResource", key), &[]),
        allow("PutKeyPolicy", on(w, "kms:PutKeyPolicy", key), &["OwnKeys", "Administer"]),
        deny("PutKeyPolicy on a key without our tag", on(w, "kms:PutKeyPolicy", OTHER_KEY), &[]),
        deny("PutKeyPolicy on another cluster's key", of_c2(on(w, "kms:PutKeyPolicy", OTHER_KEY)), &[]),
        allow("ListGrants", on(w, "kms:ListGrants", key), &["OwnKeys", "InspectAndStop"]),
        allow("RevokeGrant", on(w, "kms:RevokeGrant", key), &["OwnKeys", "Administer"]),
        deny("RevokeGrant on a key without our tag", on(w, "kms:RevokeGrant", OTHER_KEY), &[]),
        deny("ScheduleKeyDeletion", on(w, "kms:ScheduleKeyDeletion", key), &[]),
        allow("DescribeKey on any key", on(w, "kms:DescribeKey", OTHER_KEY), &["WhoseKey", "Default"]),
        deny("GetKeyPolicy on any key", on(w, "kms:GetKeyPolicy", OTHER_KEY), &[]),
        allow("our alias", alias("securebucket/c1/b2", key), &["Aliases", "AliasedKeys", "Administer"]),
        deny("an alias of another cluster", alias("securebucket/c2/b2", key), &[]),
        deny("our alias for a key without our tag", alias("securebucket/c1/b2", OTHER_KEY), &[]),
        allow("ListKeys", on(w, "kms:ListKeys", "*"), &["Inventory"]),
        deny("ListRetirableGrants", on(w, "kms:ListRetirableGrants", "*"), &[]),
        deny(
            "Decrypt",
            w.kms_by_s3(Who::Operator, "kms:Decrypt", &w.b, "calls/x", noon()),
            &["NeverDecrypt", "CryptoOnlyForWorkloads"],
        ),
        deny("Decrypt with another key", on(w, "kms:Decrypt", OTHER_KEY), &["NeverDecrypt"]),
        deny("ReplicateKey", on(w, "kms:ReplicateKey", key), &["NeverDecrypt"]),
    ]
}

/// CreateGrant on a key.
pub fn grant_on(w: &World, who: Who, key: &str, grantee: Option<&str>, operations: &[&str]) -> Question {
    but(vec![w.ask(who, "kms:CreateGrant", key, noon())], |c| {
        let c = grantee.map_or(c.clone(), |g| c.with("kms:GranteePrincipal", g));
        if operations.is_empty() { c } else { c.with_all("kms:GrantOperations", operations) }
    })
}

/// A role of people, outside our path.
pub const SSO: &str =
    "arn:aws:iam::111122223333:role/aws-reserved/sso.amazonaws.com/AWSReservedSSO_Admin_0123456789abcdef";

fn create_grant(w: &World) -> Vec<Row> {
    let (w_role, key) = (w_arn(), &w.b.key_arn);
    let grant =
        |key: &str, grantee: Option<&str>, operations: &[&str]| grant_on(w, Who::Operator, key, grantee, operations);
    let read = ["Decrypt", "DescribeKey"];
    vec![
        allow("CreateGrant to W", grant(key, Some(&w_role), &read), &["Grants", "IssueReadGrants"]),
        allow(
            "CreateGrant to W, Decrypt alone",
            grant(key, Some(&w_role), &["Decrypt"]),
            &["Grants", "IssueReadGrants"],
        ),
        deny(
            "CreateGrant with CreateGrant inside",
            grant(key, Some(&w_role), &["Decrypt", "CreateGrant"]),
            &["GrantsOnlyToRead"],
        ),
        deny("CreateGrant to write", grant(key, Some(&w_role), &["GenerateDataKey"]), &["GrantsOnlyToRead"]),
        deny("CreateGrant without operations", grant(key, Some(&w_role), &[]), &[]),
        deny("CreateGrant to an SSO role", grant(key, Some(SSO), &read), &["GrantsOnlyToWorkloads"]),
        deny("CreateGrant to itself", grant(key, Some(&w.install.operator_role), &read), &["GrantsOnlyToWorkloads"]),
        deny("CreateGrant to a service", grant(key, None, &read), &["GrantsOnlyToWorkloads"]),
        deny("CreateGrant on a key without our tag", grant(OTHER_KEY, Some(&w_role), &read), &[]),
    ]
}

fn roles(w: &World) -> Vec<Row> {
    let (w_role, own) = (w_arn(), &w.install.operator_role);
    let bounded = |action: &str, role: &str| but(on(w, action, role), |c| c.with(BOUNDARY, &w.install.boundary));
    let loose = |action: &str, role: &str| {
        but(on(w, action, role), |c| c.with(BOUNDARY, "arn:aws:iam::aws:policy/AdministratorAccess"))
    };
    let mut rows = vec![
        allow("GetRole", on(w, "iam:GetRole", &w_role), &["Roles"]),
        allow("DeleteRole", on(w, "iam:DeleteRole", &other_arn()), &["Roles"]),
        deny("GetRole outside the path", on(w, "iam:GetRole", "arn:aws:iam::111122223333:role/Admin"), &[]),
        deny(
            "DeleteRole of another cluster",
            on(w, "iam:DeleteRole", "arn:aws:iam::111122223333:role/securebucket/c2/x"),
            &[],
        ),
        allow("TagRole while creating", on(w, "iam:TagRole", &w_role), &["BoundedRoles", "Roles"]),
        allow(
            "GetPolicyVersion of the boundary",
            on(w, "iam:GetPolicyVersion", &w.install.boundary),
            &["ReadPolicies"],
        ),
        deny("CreatePolicyVersion", on(w, "iam:CreatePolicyVersion", &w.install.boundary), &["BoundaryStays"]),
        deny(
            "DeleteRolePermissionsBoundary",
            bounded("iam:DeleteRolePermissionsBoundary", &w_role),
            &["BoundaryStays"],
        ),
        deny("AttachRolePolicy", bounded("iam:AttachRolePolicy", &w_role), &["NoEscalation"]),
        deny("AssumeRole of W", on(w, "sts:AssumeRole", &w_role), &["NoEscalation"]),
        deny("its own trust", bounded("iam:UpdateAssumeRolePolicy", own), &["NotItself"]),
        deny("its own policy", bounded("iam:PutRolePolicy", own), &["NotItself"]),
        deny("its own policy read", on(w, "iam:GetRolePolicy", own), &["NotItself"]),
    ];
    for action in
        ["iam:CreateRole", "iam:PutRolePolicy", "iam:UpdateAssumeRolePolicy", "iam:PutRolePermissionsBoundary"]
    {
        rows.extend([
            allow(&format!("{action}, bounded"), bounded(action, &w_role), &["BoundedRoles"]),
            deny(&format!("{action} without a boundary"), on(w, action, &w_role), &["BoundaryForced"]),
            deny(&format!("{action} with another boundary"), loose(action, &w_role), &["BoundaryForced"]),
            deny(&format!("{action} outside the path"), bounded(action, "arn:aws:iam::111122223333:role/Admin"), &[]),
        ]);
    }
    rows
}
