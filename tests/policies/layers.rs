//! Is every statement needed, and every condition? Each is taken out in turn; a verdict must change. Where none does, the statement is a
//! second layer: it is listed with its reason, and must bite once somebody edits an Allow in.

use std::collections::{BTreeMap, BTreeSet};

use crate::operator::{SSO, grant_on};
use crate::rows::{Scenario, allow, deny};
use crate::world::{Ask, OTHER_KEY, OURS, Question, Which, Who, World, but, hours, noon, table_case, w_arn};
use crate::{further, operator, table};
use securebucket::domain::policy::{Document, Statement};

/// Statements that change no verdict while nobody has edited an Allow in.
const SECOND_LAYERS: [(&str, &str); 12] = [
    ("Key/GrantsOnlyByOperator", "`IssueReadGrants` names the operator; an edited-in Allow would not"),
    ("Key/GrantsOnlyToRead", "`IssueReadGrants` names the operations; an edited-in Allow would not"),
    ("Key/CryptoOnlyForWorkloads", "no Allow lets an outsider use the key; an edited-in one might"),
    ("Operator/NeverDecrypt", "nothing allows it; another attached policy might, on keys that are not ours"),
    ("Operator/GrantsOnlyToRead", "`Grants` names the operations; another attached policy might not"),
    ("Operator/GrantsOnlyToWorkloads", "`Grants` names the grantees; another attached policy might not"),
    ("Operator/NoDataPath", "nothing allows it; another attached policy might"),
    ("Operator/BoundaryStays", "nothing allows it; another attached policy might"),
    ("Operator/NoEscalation", "nothing allows it; another attached policy might"),
    ("Operator/NotItself", "its role is outside the path; another attached policy might reach it"),
    (
        "Boundary/Never",
        "the boundary allows none of it; an edited one might, and a resource policy for everyone passes an implicit deny",
    ),
    ("Boundary/Inspect", ""),
];

/// Conditions that change no verdict alone. With a twin, the statement that says the same as a Deny: without both, a verdict changes.
const TWINS: [(&str, Option<&str>, &str); 0] = [];

/// A part of a document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Statement,
    Condition(String, String),
}

/// `Key/Administer`: the kind of document, and the statement.
type Name = String;

fn kind(which: Which) -> &'static str {
    match which {
        Which::KeyA | Which::KeyB => "Key",
        Which::BucketA | Which::BucketB => "Bucket",
        Which::Role | Which::OtherRole => "Role",
        Which::Operator => "Operator",
        Which::Boundary => "Boundary",
        Which::OtherKey | Which::OtherBucket => "Other",
    }
}

/// All statements and conditions that occur in the documents of these scenarios.
fn parts(scenarios: &[Scenario]) -> BTreeMap<(Name, Part), bool> {
    let mut all = BTreeMap::new();
    for scenario in scenarios {
        for which in OURS {
            for statement in &scenario.world.documents[&which].statements {
                let name = format!("{}/{}", kind(which), scenario.world.label(&statement.sid));
                all.insert((name.clone(), Part::Statement), false);
                for (operator, keys) in &statement.conditions {
                    for key in keys.keys() {
                        all.insert((name.clone(), Part::Condition(operator.clone(), key.clone())), false);
                    }
                }
            }
        }
    }
    all
}

/// The world without some parts, in every document of that kind.
fn without(world: &World, gone: &[(&str, &Part)]) -> World {
    let mut world = world.clone();
    let mut documents = std::mem::take(&mut world.documents);
    for which in OURS {
        let document = documents.get_mut(&which).unwrap();
        let mut kept = Vec::new();
        for mut statement in std::mem::take(&mut document.statements) {
            let name = format!("{}/{}", kind(which), world.label(&statement.sid));
            let mut stays = true;
            for (_, part) in gone.iter().filter(|(n, _)| *n == name) {
                match part {
                    Part::Statement => stays = false,
                    Part::Condition(operator, key) => {
                        let keys = statement.conditions.get_mut(operator).unwrap();
                        keys.remove(key);
                    }
                }
            }
            if stays {
                kept.push(statement);
            }
        }
        document.statements = kept;
    }
    world.documents = documents;
    world
}

/// True if some verdict of these scenarios changes without the parts.
fn noticed(scenarios: &[Scenario], gone: &[(&str, &Part)]) -> bool {
    scenarios.iter().any(|scenario| {
        let world = without(&scenario.world, gone);
        scenario.rows.iter().any(|row| !row.verdict_holds(&world))
    })
}

fn as_written() -> Vec<Scenario> {
    [table::scenarios(), further::scenarios(), vec![operator::scenario()]].concat()
}
#[test]
fn probe() {
    let s = as_written();
    let e = edited();
    for ((name, part), _) in parts(&s) {
        let n = noticed(&s, &[(&name, &part)]);
        if !n {
            println!("{name} {part:?} main no, edited {}", noticed(&e, &[(&name, &part)]));
        }
    }
}

/// Worlds in which somebody has edited an Allow in.
fn edited() -> Vec<Scenario> {
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
    let all = vec![
        Scenario::new("key policy with an Allow for everybody", with(Which::KeyB, foreign("kms:*").anyone()), |w| {
            vec![
                deny("CreateGrant", grant_on(w, Who::Admin, &w.b.key_arn, to_w, &read), &["GrantsOnlyByOperator"]),
                deny("decrypt", w.kms_by_s3(Who::Admin, "kms:Decrypt", &w.b, "x", noon()), &["CryptoOnlyForWorkloads"]),
                deny("more", grant_on(w, Who::OperatorReplaced, &w.b.key_arn, to_w, &more), &["GrantsOnlyToRead"]),
            ]
        }),
        Scenario::new("key policy replaced by KMS's default", default_key, |w| {
            let grant = |to, operations: &[&str]| grant_on(w, Who::Operator, &w.b.key_arn, to, operations);
            vec![
                allow("grant to W", grant(to_w, &read), &["Default", "Grants"]),
                deny("more than reading", grant(to_w, &more), &["GrantsOnlyToRead"]),
                deny("no operations", grant(to_w, &[]), &[]),
                deny("to people", grant(Some(SSO), &read), &["GrantsOnlyToWorkloads"]),
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
            let question = vec![w.ask(Who::WithAll, "iam:CreateRole", "arn:aws:iam::111122223333:role/Admin", noon())];
            vec![deny("W creates a role", question, &["Never"])]
        }),
        Scenario::new(
            "bucket policy with an Allow for a service",
            { with(Which::BucketB, foreign("s3:Get*").principal("Service", "logging.s3.amazonaws.com")) },
            |w| {
                // What AWS puts into these keys when a service calls by itself does not say how the service came.
                let ask = || vec![w.ask(Who::Service, "s3:GetBucketAcl", &w.b.bucket_arn, noon())];
                vec![
                    allow("service, no TLS", but(ask(), |c| c.with("aws:SecureTransport", false)), &["Foreign"]),
                    allow("service, TLS unknown", but(ask(), |c| c.with("s3:TlsVersion", "0")), &["Foreign"]),
                ]
            },
        ),
    ];
    all
}

fn operator_attached(w: &World) -> Vec<crate::rows::Row> {
    let who = Who::OperatorAttached;
    let on = |action: &str, resource: &str| -> Question { vec![w.ask(who, action, resource, noon())] };
    let read = ["Decrypt", "DescribeKey"];
    let role = w_arn();
    let bounded =
        |action: &str, role: &str| but(on(action, role), |c| c.with("iam:PermissionsBoundary", &w.install.boundary));
    vec![
        allow("makes a queue", on("sqs:CreateQueue", "arn:aws:sqs:eu-west-1:111122223333:q"), &["AttachedAll"]),
        deny("decrypts with another key", on("kms:Decrypt", OTHER_KEY), &["NeverDecrypt"]),
        deny("grants more", grant_on(w, who, OTHER_KEY, Some(&role), &["Encrypt"]), &["GrantsOnlyToRead"]),
        deny("grants to people", grant_on(w, who, OTHER_KEY, Some(SSO), &read), &["GrantsOnlyToWorkloads"]),
        deny("reads another bucket", on("s3:GetObject", "arn:aws:s3:::payroll/x"), &["NoDataPath"]),
        deny("edits the boundary", on("iam:CreatePolicyVersion", &w.install.boundary), &["BoundaryStays"]),
        deny("assumes a role", on("sts:AssumeRole", &role), &["NoEscalation"]),
        deny("edits its own trust", bounded("iam:UpdateAssumeRolePolicy", &w.install.operator_role), &["NotItself"]),
    ]
}

#[test]
fn second_layers_hold_when_an_allow_is_edited_in() {
    edited().iter().for_each(Scenario::check);
}
