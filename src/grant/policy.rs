//! What the rules of a bucket say of a request: `grants.deny` and `grants.autoApprove`. Pure.
//!
//! A rule that says neither yes nor no decides against the request: in `deny` it denies, in `autoApprove` it approves nothing.

use std::collections::BTreeMap;

use super::decide::ended;
use super::facts::Step;
use super::states::Happening;
use super::terms::target;
use crate::api::decrypt_grant::DecryptGrantStatus;
use crate::api::grants::RequestRule;
use crate::api::types::Identity;
use crate::api::{DecryptGrant, SecureBucket};
use crate::bucket::desired::Invalid;
use crate::domain::cel::{Fault, Kind, Names, Program, Value};
use crate::domain::time::{parse_duration, parse_instant};

/// What a rule may name.
const NAMES: Names<'static> = &[
    (
        "request",
        &[
            "namespace",
            "serviceAccount",
            "prefixes",
            "duration",
            "durationSeconds",
            "notBefore",
            "reason",
            "ticket",
            "extends",
            "breakGlass",
            "requester",
        ],
    ),
    ("request.requester", &["username", "uid", "session"]),
    ("bucket", &["namespace", "name"]),
];

/// A rule that denies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Its name.
    pub rule: String,
    /// What the requester is told.
    pub message: String,
}

/// What `grants.autoApprove` comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AutoApproval {
    /// The first rule that holds.
    pub rule: Option<String>,
    /// Rules that say nothing of the request, each with what is wrong.
    pub faults: Vec<String>,
}

/// True if the bucket has rules. Then who asks has to be known, whoever else is asked: a rule may speak of him.
pub fn has_rules(bucket: &SecureBucket) -> bool {
    bucket.spec.grants.as_ref().is_some_and(|g| !g.deny.is_empty() || !g.auto_approve.is_empty())
}

/// The first rule that denies the request.
pub fn denial(grant: &DecryptGrant, bucket: &SecureBucket) -> Option<Denial> {
    let rules = &bucket.spec.grants.as_ref()?.deny;
    if rules.is_empty() {
        return None;
    }
    let values = values(grant);
    rules.iter().find_map(|rule| {
        let name = &rule.name.0;
        let message = match holds(rule, &values) {
            Ok(false) => return None,
            Ok(true) => {
                let why = rule.message.as_deref().unwrap_or("it holds for this request");
                format!("denied by rule {name} of the bucket's grants.deny: {why}; create a new grant for what it lets pass")
            }
            Err(fault) => format!(
                "denied by rule {name} of the bucket's grants.deny, which says neither yes nor no of this request: {fault}; ask the bucket's owner to mend the rule, then create a new grant"
            ),
        };
        Some(Denial { rule: name.clone(), message })
    })
}

/// The end by a rule.
pub(super) fn denied(status: &DecryptGrantStatus, denial: Denial) -> Step {
    ended(status, Happening::PolicyDenies, denial.message, None, Some(denial.rule))
}

/// The rule that stands in for people, if one holds.
pub fn auto_approval(grant: &DecryptGrant, bucket: &SecureBucket) -> AutoApproval {
    let mut word = AutoApproval::default();
    let rules = bucket.spec.grants.as_ref().map(|g| g.auto_approve.as_slice()).unwrap_or_default();
    if rules.is_empty() {
        return word;
    }
    let values = values(grant);
    for rule in rules {
        match holds(rule, &values) {
            Ok(true) if word.rule.is_none() => word.rule = Some(rule.name.0.clone()),
            Ok(_) => {}
            Err(fault) => {
                word.faults.push(format!("rule {} of grants.autoApprove says nothing of it: {fault}", rule.name.0))
            }
        }
    }
    word
}

/// Reads all rules, and tries them on a request that has everything.
///
/// # Errors
/// With the first one that is none, or that compares what cannot be compared.
pub fn check_rules(bucket: &SecureBucket) -> Result<(), Invalid> {
    let Some(grants) = &bucket.spec.grants else { return Ok(()) };
    let example = example();
    for (field, rules) in [("deny", &grants.deny), ("autoApprove", &grants.auto_approve)] {
        for (index, rule) in rules.iter().enumerate() {
            let problem = match holds(rule, &example) {
                // What the example lacks, another request may have.
                Ok(_) | Err(Fault { kind: Kind::Values, .. }) => continue,
                Err(fault) => format!("{fault}; until it is mended it {}", effect(field)),
            };
            return Err(Invalid {
                field: format!("spec.grants.{field}[{index}].expression ({})", rule.name.0),
                problem,
            });
        }
    }
    Ok(())
}

fn effect(field: &str) -> &'static str {
    if field == "deny" { "denies every request" } else { "approves none" }
}

fn holds(rule: &RequestRule, values: &BTreeMap<&str, Value>) -> Result<bool, Fault> {
    Program::read(&rule.expression, NAMES)?.holds(values)
}

fn values(grant: &DecryptGrant) -> BTreeMap<&'static str, Value> {
    let spec = &grant.spec;
    let target = target(grant);
    let text = |text: &str| Some(Value::text(text));
    let duration = parse_duration(&spec.duration.0).ok();
    let request = Value::map([
        ("namespace", text(grant.metadata.namespace.as_deref().unwrap_or_default())),
        ("serviceAccount", text(&spec.subject.service_account_ref.name)),
        ("prefixes", Some(Value::list(spec.prefixes.iter().map(|p| Value::text(&p.0))))),
        ("duration", duration.map(Value::Duration)),
        ("durationSeconds", duration.map(|d| Value::Int(d.as_secs()))),
        ("notBefore", spec.not_before.as_ref().and_then(|at| parse_instant(&at.0)).map(Value::Instant)),
        ("reason", text(&spec.reason)),
        ("ticket", spec.ticket.as_deref().map(Value::text)),
        ("extends", spec.extends.as_ref().map(|e| Value::text(&e.name))),
        ("breakGlass", Some(Value::Bool(spec.break_glass == Some(true)))),
        ("requester", spec.requester.as_ref().map(person)),
    ]);
    BTreeMap::from([("request", request), ("bucket", bucket(&target.namespace, &target.name))])
}

fn bucket(namespace: &str, name: &str) -> Value {
    Value::map([("namespace", Some(Value::text(namespace))), ("name", Some(Value::text(name)))])
}

/// What is empty is absent, as the admission policies have it.
fn person(who: &Identity) -> Value {
    let given = |text: &Option<String>| text.as_deref().filter(|t| !t.is_empty()).map(Value::text);
    Value::map([
        ("username", Some(Value::text(&who.username))),
        ("uid", given(&who.uid)),
        ("session", given(&who.session)),
    ])
}

/// A request that has every field.
fn example() -> BTreeMap<&'static str, Value> {
    let text = |text: &str| Some(Value::text(text));
    let hour = jiff::SignedDuration::from_hours(1);
    let requester = Value::map([("username", text("alice")), ("uid", text("1")), ("session", text("alice"))]);
    let request = Value::map([
        ("namespace", text("analytics")),
        ("serviceAccount", text("reports")),
        ("prefixes", Some(Value::list([Value::text("calls/2026/")]))),
        ("duration", Some(Value::Duration(hour))),
        ("durationSeconds", Some(Value::Int(hour.as_secs()))),
        ("notBefore", Some(Value::Instant(jiff::Timestamp::UNIX_EPOCH))),
        ("reason", text("example")),
        ("ticket", text("OPS-1")),
        ("extends", text("reports-q2")),
        ("breakGlass", Some(Value::Bool(true))),
        ("requester", Some(requester)),
    ]);
    BTreeMap::from([("request", request), ("bucket", bucket("telephony", "call-logs"))])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(value: &Value) -> Vec<&'static str> {
        match value {
            Value::Map(fields) => fields.keys().copied().collect(),
            _ => Vec::new(),
        }
    }

    /// What may be named is what a request has.
    #[test]
    fn names_are_those_of_the_values() {
        let example = example();
        for (path, names) in NAMES {
            let value = match path.split_once('.') {
                None => example[path].clone(),
                Some((of, field)) => match &example[of] {
                    Value::Map(fields) => fields[field].clone(),
                    _ => panic!("{path}"),
                },
            };
            let mut names = names.to_vec();
            names.sort_unstable();
            assert_eq!(fields(&value), names, "{path}");
        }
    }
}
