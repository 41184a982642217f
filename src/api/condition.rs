//! Conditions: types and reasons as one vocabulary, and the rules by which a list of conditions changes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp as K8sTimestamp;

/// Condition types of both kinds. docs/ has the meaning of each; a word here is API.
pub mod types {
    /// Summary: what is in AWS is what should be there now, by a fresh observation.
    pub const READY: &str = "Ready";
    /// Work is under way. Present only while True.
    pub const RECONCILING: &str = "Reconciling";
    /// A human is needed. Present only while True.
    pub const STALLED: &str = "Stalled";
    /// Somebody made something stricter by hand; it is left as it is. Present only while True.
    pub const RESTRICTED: &str = "Restricted";
    /// The bucket is locked down; the reason is the level. Present only while True.
    pub const LOCKED_DOWN: &str = "LockedDown";
    /// Somebody has access by a KMS grant that the operator did not make. Present only while True.
    pub const FOREIGN_ACCESS: &str = "ForeignAccess";

    /// The dedicated key: exists, enabled, ours, its policy and rotation.
    pub const KEY: &str = "KeyReady";
    /// The bucket: exists, ours, its tags.
    pub const BUCKET: &str = "BucketReady";
    /// Default encryption.
    pub const ENCRYPTION: &str = "EncryptionReady";
    /// Public access block and object ownership.
    pub const PUBLIC_ACCESS: &str = "PublicAccessBlocked";
    /// Versioning.
    pub const VERSIONING: &str = "VersioningReady";
    /// Lifecycle rules.
    pub const LIFECYCLE: &str = "LifecycleReady";
    /// Bucket policy.
    pub const POLICY: &str = "PolicyReady";
    /// Roles of the duties.
    pub const ROLES: &str = "RolesReady";

    /// Terminal: the request was approved.
    pub const APPROVED: &str = "Approved";
    /// Terminal: the request was refused.
    pub const DENIED: &str = "Denied";
    /// The subject can read now; the reason is the state in one word.
    pub const ACTIVE: &str = "Active";
    /// Of access that began without approval: somebody else reviewed it.
    pub const REVIEWED: &str = "Reviewed";
    /// Of a GrantReview: it counts.
    pub const COUNTED: &str = "Counted";
    /// The ServiceAccount's annotation names the role, so that its pods have it by themselves. Informs only.
    pub const WORKLOAD_BOUND: &str = "WorkloadBound";
}

/// A condition to set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// Type.
    pub type_: &'static str,
    /// `True`, `False` or `Unknown`.
    pub status: Status,
    /// CamelCase word.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// Status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// Not known.
    Unknown,
}

impl Status {
    fn word(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl Set {
    /// A condition that holds.
    pub fn yes(type_: &'static str, reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { type_, status: Status::True, reason: reason.into(), message: message.into() }
    }

    /// A condition that does not hold.
    pub fn no(type_: &'static str, reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { type_, status: Status::False, reason: reason.into(), message: message.into() }
    }

    /// A condition of which nothing is known.
    pub fn unknown(type_: &'static str, reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { type_, status: Status::Unknown, reason: reason.into(), message: message.into() }
    }
}

/// Conditions that are present only while True.
const ONLY_WHILE_TRUE: [&str; 5] =
    [types::RECONCILING, types::STALLED, types::RESTRICTED, types::LOCKED_DOWN, types::FOREIGN_ACCESS];

/// Longest message; the API allows 32,768, people read less.
const MAX_MESSAGE: usize = 1_024;

/// The new list: `sets` in their order, transition times kept where the status did not change, absent those that are present only while True.
/// Conditions of other writers stay.
pub fn update(current: &[Condition], sets: &[Set], generation: i64, now: jiff::Timestamp) -> Vec<Condition> {
    let mut all: Vec<Condition> = sets
        .iter()
        .map(|set| {
            let before = current.iter().find(|c| c.type_ == set.type_ && c.status == set.status.word());
            Condition {
                type_: set.type_.to_owned(),
                status: set.status.word().to_owned(),
                reason: set.reason.clone(),
                message: cut(&set.message),
                observed_generation: Some(generation),
                last_transition_time: before.map_or_else(|| whole_second(now), |c| c.last_transition_time.clone()),
            }
        })
        .collect();
    let others = current
        .iter()
        .filter(|c| !ONLY_WHILE_TRUE.contains(&c.type_.as_str()) && !all.iter().any(|n| n.type_ == c.type_));
    let others: Vec<Condition> = others.cloned().collect();
    all.extend(others);
    all
}

fn cut(message: &str) -> String {
    if message.len() <= MAX_MESSAGE {
        return message.to_owned();
    }
    let end = (0..=MAX_MESSAGE - 1).rev().find(|i| message.is_char_boundary(*i)).unwrap_or(0);
    format!("{}…", message.get(..end).unwrap_or_default())
}

fn whole_second(at: jiff::Timestamp) -> Time {
    Time(K8sTimestamp::from_second(at.as_second()).unwrap_or_default())
}

/// The condition of this type.
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|c| c.type_ == type_)
}

/// True if the condition of this type is True.
pub fn is_true(conditions: &[Condition], type_: &str) -> bool {
    find(conditions, type_).is_some_and(|c| c.status == "True")
}

/// Reason of the condition of this type, empty if there is none.
pub fn reason<'a>(conditions: &'a [Condition], type_: &str) -> &'a str {
    find(conditions, type_).map_or("", |c| c.reason.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> jiff::Timestamp {
        jiff::Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn transition_time_moves_with_the_status_only() {
        let first = update(&[], &[Set::no(types::READY, "Progressing", "a")], 1, at(100));
        let second = update(&first, &[Set::no(types::READY, "AccessDenied", "b")], 2, at(200));
        assert_eq!(first[0].last_transition_time, second[0].last_transition_time);
        assert_eq!(second[0].observed_generation, Some(2));
        let third = update(&second, &[Set::yes(types::READY, "Reconciled", "")], 2, at(300));
        assert_ne!(third[0].last_transition_time, second[0].last_transition_time);
    }

    #[test]
    fn abnormal_conditions_vanish_and_others_stay() {
        let first =
            update(&[], &[Set::yes(types::STALLED, "X", ""), Set::yes(types::APPROVED, "Policy", "")], 1, at(1));
        let second = update(&first, &[Set::yes(types::READY, "Reconciled", "")], 1, at(2));
        assert!(find(&second, types::STALLED).is_none());
        assert!(is_true(&second, types::APPROVED));
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        let set = Set::no(types::READY, "X", "é".repeat(2_000));
        assert!(update(&[], &[set], 1, at(1))[0].message.len() <= MAX_MESSAGE + 3);
    }
}
