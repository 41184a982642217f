//! Is every statement needed, and every condition, action, resource and value? Each is taken out in turn, and a verdict must change. Where
//! none does, the part is a second layer or says what a twin says: it is listed with its reason, and proved.

use std::collections::BTreeSet;

use crate::rows::Scenario;
use crate::world::{OURS, Which, World};
use crate::{edited, further, operator, table};
use securebucket::domain::policy::{Set, Statement};

/// What changes no verdict while nobody has edited an Allow in, and why it stays: a statement with all its parts, or one part of it.
/// `edited.rs` has the worlds in which each of them does.
const SECOND_LAYERS: [(&str, &str); 21] = [
    ("Key/GrantsOnlyByOperator", "`IssueReadGrants` names the operator; another Allow might not"),
    ("Key/GrantsOnlyToRead", "`IssueReadGrants` names the operations; another Allow might not"),
    ("Key/CryptoOnlyForWorkloads", "no Allow lets an outsider use the key; another might"),
    ("Key/CryptoOnlyThroughS3 kms:Encrypt", "no Allow gives it; another might"),
    ("Key/CryptoOnlyThroughS3 kms:GenerateDataKey*", "the roles ask for S3 themselves; another Allow might not"),
    ("Key/CryptoOnlyThroughS3 kms:ReEncrypt*", "no Allow gives it; another might"),
    ("Key/CryptoOnlyForThisBucket kms:Encrypt", "no Allow gives it; another might"),
    (
        "Key/CryptoOnlyForThisBucket kms:GenerateDataKey*",
        "a data key of one bucket opens nothing of another; kept whole",
    ),
    ("Key/CryptoOnlyForThisBucket kms:ReEncrypt*", "no Allow gives it; another might"),
    ("Key/IssueReadGrants Null kms:GrantOperations", "`Operator/Grants` asks the same; another policy might not"),
    (
        "Key/IssueReadGrants StringLike kms:GranteePrincipal",
        "`Operator/Grants` asks the same; another policy might not",
    ),
    (
        "Bucket/TlsOnly BoolIfExists aws:PrincipalIsAWSService",
        "no Allow lets a service in; for a later one, S3 says so",
    ),
    ("Bucket/Tls12 BoolIfExists aws:PrincipalIsAWSService", "no Allow lets a service in; for a later one, S3 says so"),
    ("Boundary/Never", "the boundary allows none of it; an edited one might"),
    ("Operator/NeverDecrypt", "nothing allows it; another attached policy might"),
    ("Operator/GrantsOnlyToRead", "`Grants` names the operations; another attached policy might not"),
    ("Operator/GrantsOnlyToWorkloads", "`Grants` names the grantees; another attached policy might not"),
    ("Operator/NoDataPath", "nothing allows it; another attached policy might"),
    ("Operator/BoundaryStays", "nothing allows it; another attached policy might"),
    ("Operator/NoEscalation", "nothing allows it; another attached policy might"),
    ("Operator/NotItself", "its role is outside the path; another attached policy might reach it"),
];

/// The same for parts that hold against a key policy reset to KMS's default.
const AGAINST_A_RESET_KEY_POLICY: [&str; 2] =
    ["Operator/Grants Null kms:GrantOperations", "Operator/NoLockoutBypass kms:PutKeyPolicy"];

/// Parts with a twin that says the same: a verdict changes only without both.
const TWINS: [(&str, &str); 11] = [
    // A responder may disable a key, whoever it is.
    ("Key/Administer kms:DisableKey", "Key/InspectAndStop kms:DisableKey"),
    ("Key/IssueReadGrants ArnEquals aws:PrincipalArn", "Key/GrantsOnlyByOperator"),
    ("Key/IssueReadGrants ForAllValues:StringEquals kms:GrantOperations", "Key/GrantsOnlyToRead"),
    ("Operator/Grants ForAllValues:StringEquals kms:GrantOperations", "Operator/GrantsOnlyToRead"),
    ("Operator/Grants StringLike kms:GranteePrincipal", "Operator/GrantsOnlyToWorkloads"),
    ("Operator/BoundedRoles ArnEqualsIfExists iam:PermissionsBoundary", "Operator/BoundaryForced"),
    // Needed while creating, and alone; both come from the call table.
    ("Operator/BoundedRoles iam:TagRole", "Operator/Roles iam:TagRole"),
    ("Operator/Roles iam:TagRole", "Operator/BoundedRoles iam:TagRole"),
    ("Role/WriteKeyA StringEquals kms:ViaService", "Key/CryptoOnlyThroughS3"),
    ("Role/ProcessKeyA StringEquals kms:ViaService", "Key/CryptoOnlyThroughS3"),
    ("Role/ProcessKeyB StringEquals kms:ViaService", "Key/CryptoOnlyThroughS3"),
];

/// A part of a document that can be taken out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Statement,
    Condition(String, String),
    Action(String),
    Resource(String),
    Value(String, String, String),
}

/// The first half of `Key/Administer`.
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

/// Members of a list that has more than one.
fn several(set: &Set) -> Vec<&String> {
    match set {
        Set::Only(items) | Set::AllBut(items) if items.len() > 1 => items.iter().collect(),
        _ => Vec::new(),
    }
}

fn parts_of(statement: &Statement) -> Vec<Part> {
    let mut parts = vec![Part::Statement];
    parts.extend(several(&statement.actions).into_iter().cloned().map(Part::Action));
    parts.extend(several(&statement.resources).into_iter().cloned().map(Part::Resource));
    for (operator, keys) in &statement.conditions {
        for (key, values) in keys {
            parts.push(Part::Condition(operator.clone(), key.clone()));
            if values.len() > 1 {
                parts.extend(values.iter().map(|v| Part::Value(operator.clone(), key.clone(), v.clone())));
            }
        }
    }
    parts
}

/// The statement without one of its parts.
fn less(statement: &mut Statement, part: &Part) {
    let drop = |set: &mut Set, item: &String| match set {
        Set::Only(items) | Set::AllBut(items) => items.remove(item),
        Set::Absent => false,
    };
    match part {
        Part::Statement => {}
        Part::Action(action) => _ = drop(&mut statement.actions, action),
        Part::Resource(resource) => _ = drop(&mut statement.resources, resource),
        Part::Condition(operator, key) => _ = statement.conditions.get_mut(operator).and_then(|keys| keys.remove(key)),
        Part::Value(operator, key, value) => {
            let values = statement.conditions.get_mut(operator).and_then(|keys| keys.get_mut(key));
            _ = values.map(|values| values.remove(value));
        }
    }
}

/// A scenario with the names of all its statements, and the documents that have a say in each row.
#[derive(Clone)]
struct Named {
    scenario: Scenario,
    names: Vec<(Which, usize, String)>,
    consulted: Vec<BTreeSet<Which>>,
}

fn named(scenario: Scenario) -> Named {
    let statements = |which| scenario.world.documents[&which].statements.iter().enumerate();
    let names = OURS.iter().flat_map(|which| {
        statements(*which).map(|(at, s)| (*which, at, format!("{}/{}", kind(*which), scenario.world.label(&s.sid))))
    });
    let names = names.collect();
    let consulted = scenario.rows.iter().map(|row| scenario.world.consulted(&row.question)).collect();
    Named { names, consulted, scenario }
}

/// The world without these parts, in every document of the kind; `None` if it has none of them.
fn without(Named { scenario, names, .. }: &Named, gone: &[(String, Part)]) -> Option<World> {
    let hits: Vec<_> = names
        .iter()
        .flat_map(|n| gone.iter().filter(|(name, _)| *name == n.2).map(move |(_, part)| (n, part)))
        .collect();
    if hits.is_empty() {
        return None;
    }
    let mut world = scenario.world.clone();
    // From the end, so that positions hold.
    for ((which, at, _), part) in hits.into_iter().rev() {
        let statements = &mut world.documents.get_mut(which).unwrap().statements;
        if *part == Part::Statement { _ = statements.remove(*at) } else { less(&mut statements[*at], part) }
    }
    Some(world)
}

/// True if a verdict of these scenarios changes without the parts.
fn noticed(scenarios: &[Named], gone: &[(String, Part)]) -> bool {
    scenarios.iter().any(|named| {
        let Some(world) = without(named, gone) else { return false };
        let changed = |which: &Which| world.documents[which] != named.scenario.world.documents[which];
        let changed: BTreeSet<Which> = OURS.into_iter().filter(changed).collect();
        let rows = named.scenario.rows.iter().zip(&named.consulted);
        rows.filter(|(_, consulted)| !consulted.is_disjoint(&changed)).any(|(row, _)| !row.verdict_holds(&world))
    })
}

fn as_written() -> Vec<Named> {
    // The federation pin only adds Denies; one world with it is enough to see that they are needed.
    let mut table = table::scenarios();
    let mut pinned = 0;
    table.retain(|s| !s.world.case.pin || std::mem::replace(&mut pinned, 1) == 0);
    [table, further::scenarios(), vec![operator::scenario()]].concat().into_iter().map(named).collect()
}

fn all_parts(scenarios: &[Named]) -> BTreeSet<(String, Part)> {
    let of = |Named { scenario, names, .. }: &Named| -> Vec<(String, Part)> {
        let statement = |which, at: usize| &scenario.world.documents[which].statements[at];
        names.iter().flat_map(|(w, at, n)| parts_of(statement(w, *at)).into_iter().map(|p| (n.clone(), p))).collect()
    };
    scenarios.iter().flat_map(of).collect()
}

/// Name of a part, as in the lists above.
fn text(part: &(String, Part)) -> String {
    let (name, part) = part;
    match part {
        Part::Statement => name.clone(),
        Part::Action(item) | Part::Resource(item) => format!("{name} {item}"),
        Part::Condition(operator, key) => format!("{name} {operator} {key}"),
        Part::Value(operator, key, value) => format!("{name} {operator} {key} {value}"),
    }
}

/// True if the list has the part, or the statement that it belongs to.
fn is_second_layer(part: &str) -> bool {
    let mut listed = SECOND_LAYERS.iter().map(|(name, _)| *name).chain(AGAINST_A_RESET_KEY_POLICY);
    listed.any(|name| part == name || part.starts_with(&format!("{name} ")))
}

#[test]
fn every_part_of_every_document_is_needed() {
    let (main, edited) = (as_written(), edited::scenarios().into_iter().map(named).collect::<Vec<_>>());
    let both = [main.clone(), edited.clone()].concat();
    let parts = all_parts(&main);
    let by_text = |text_of: &str| parts.iter().find(|p| text(p) == text_of).expect(text_of).clone();
    let idle: BTreeSet<String> = parts.iter().filter(|p| !noticed(&main, &[(*p).clone()])).map(text).collect();

    let twins = TWINS.iter().map(|(part, _)| *part);
    let listed = SECOND_LAYERS.iter().map(|(name, _)| *name).chain(AGAINST_A_RESET_KEY_POLICY).chain(twins.clone());
    let unlisted: Vec<&String> =
        idle.iter().filter(|p| !is_second_layer(p) && !twins.clone().any(|twin| twin == *p)).collect();
    assert!(unlisted.is_empty(), "no verdict changes without these: {unlisted:#?}");
    let needed: Vec<&str> = listed.filter(|name| !idle.contains(*name)).collect();
    assert!(needed.is_empty(), "listed, yet a verdict changes without these: {needed:#?}");

    for part in idle.iter().filter(|part| is_second_layer(part)) {
        assert!(noticed(&edited, &[by_text(part)]), "{part} holds nothing even when an Allow is edited in");
    }
    for (part, twin) in TWINS {
        assert!(noticed(&both, &[by_text(part), by_text(twin)]), "{part}: {twin} is not what makes up for it");
    }
}
