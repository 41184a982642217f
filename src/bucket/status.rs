//! From the end of a pass to the status of a SecureBucket. Pure.

use jiff::Timestamp;

use super::action::Facet;
use super::desired::{Desired, Invalid};
use super::foreign::KeyGrant;
use super::lockdown::{self, Turn};
use super::observed::KeyState;
use super::plan::{Blocked, Plan};
use crate::api::SecureBucket;
use crate::api::condition::{Set, find, types, update};
use crate::api::grants::PendingGrant;
use crate::api::lockdown::{LockdownLevel, LockdownStatus};
use crate::api::secure_bucket::{AccessStatus, DutyStatus, ForeignGrants, SecureBucketStatus};
use crate::aws::error::AwsError;
use crate::domain::foreign::Foreign;
use crate::domain::installation::Installation;
use crate::reconcile::outcome::{explain, meaning};
use crate::role::state::Problem;

/// The end of a pass.
#[derive(Clone, Debug)]
pub struct Pass<'a> {
    /// What should be.
    pub desired: &'a Desired,
    /// The plan against the last observation.
    pub plan: &'a Plan,
    /// Actions that failed, by facet.
    pub failures: &'a [(Facet, AwsError)],
    /// Duties and their roles.
    pub duties: Vec<(DutyStatus, Option<Problem>)>,
    /// Who can decrypt now, and how many found no room in the list.
    pub access: (Vec<AccessStatus>, usize),
    /// Open grants.
    pub active_grants: i32,
    /// Requests that wait for approval, and how many found no room in the list.
    pub pending: (Vec<PendingGrant>, usize),
    /// True if the last observation showed the bucket, and it is ours.
    pub exists: bool,
    /// What deletion waits for; `None` if the object is not being deleted.
    pub releasing: Option<String>,
    /// Value of `reconcile-at` that this pass obeyed, or passed over because of a lockdown.
    pub obeyed: Option<String>,
    /// What status says of lockdowns.
    pub lockdown: Turn,
}

/// Which facets a condition speaks of.
const GROUPS: [(&str, &[Facet]); 7] = [
    (types::KEY, &[Facet::Key, Facet::KeyPolicy, Facet::Rotation, Facet::KeyTags]),
    (types::BUCKET, &[Facet::Bucket, Facet::BucketTags]),
    (types::ENCRYPTION, &[Facet::Encryption]),
    (types::PUBLIC_ACCESS, &[Facet::PublicAccessBlock, Facet::Ownership]),
    (types::VERSIONING, &[Facet::Versioning]),
    (types::LIFECYCLE, &[Facet::Lifecycle]),
    (types::POLICY, &[Facet::BucketPolicy]),
];

/// The status after a pass.
pub fn summarise(bucket: &SecureBucket, pass: &Pass<'_>, install: &Installation, now: Timestamp) -> SecureBucketStatus {
    let before = bucket.status.clone().unwrap_or_default();
    let desired = pass.desired;
    let generation = bucket.metadata.generation.unwrap_or_default();
    let complete = pass.plan.in_sync() && pass.failures.is_empty();
    let mut sets = summary(pass, install);
    sets.extend(GROUPS.iter().map(|(type_, facets)| piece(type_, facets, pass, install)));
    sets.push(roles(pass));
    sets.extend(foreign(pass, &before));
    SecureBucketStatus {
        observed_generation: Some(generation),
        conditions: update(&before.conditions, &sets, generation, now),
        identity: Some(desired.names.identity.clone()),
        account_id: Some(desired.names.place.account.clone()),
        region: Some(desired.names.place.region.clone()),
        bucket_name: Some(desired.names.bucket.clone()),
        bucket_arn: before.bucket_arn.clone().or_else(|| pass.exists.then(|| desired.names.bucket_arn())),
        provisioned_at: before
            .provisioned_at
            .clone()
            .or_else(|| (complete && pass.exists).then(|| crate::domain::time::format_instant(now))),
        effective: Some(desired.effective.clone()),
        duties: pass.duties.iter().map(|(a, _)| a.clone()).collect(),
        access: pass.access.0.clone(),
        access_left_out: i32::try_from(pass.access.1).ok().filter(|n| *n > 0),
        active_grants: Some(pass.active_grants),
        pending_grants: pass.pending.0.clone(),
        pending_grants_left_out: i32::try_from(pass.pending.1).ok().filter(|n| *n > 0),
        managed_tags: if complete {
            desired.user_tags.clone()
        } else {
            merged_keys(&before.managed_tags, &desired.user_tags)
        },
        key_state: key_state(pass, before.key_state.clone()),
        lockdown: pass.lockdown.latch.clone(),
        last_lockdown: pass.lockdown.last.clone(),
        handled_reconcile_at: pass.obeyed.clone().or_else(|| before.handled_reconcile_at.clone()),
        ..before
    }
}

/// As last seen: what cannot be read has not changed, as far as anybody knows.
fn key_state(pass: &Pass<'_>, before: Option<String>) -> Option<String> {
    if pass.plan.blocked.iter().any(|b| b.reason == "KeyGone") {
        return None;
    }
    pass.plan.key_state.as_ref().map(|state| state.word().to_owned()).or(before)
}

fn bucket_pending(pass: &Pass<'_>) -> bool {
    pass.plan.unreadable.iter().any(|(f, _)| *f == Facet::Bucket)
        || pass.failures.iter().any(|(f, _)| *f == Facet::Bucket)
        || pass.plan.actions.iter().any(|a| a.facet() == Facet::Bucket)
        || pass.plan.waiting_for_key
        || pass.plan.blocked.iter().any(|b| facet_of(b) == Facet::Bucket)
}

fn merged_keys(before: &[String], now: &[String]) -> Vec<String> {
    let mut all: Vec<String> = before.iter().chain(now).cloned().collect();
    all.sort();
    all.dedup();
    all
}

/// The status of an object whose spec cannot be carried out: nothing in AWS was touched, but for what a lockdown closes.
pub fn invalid(bucket: &SecureBucket, invalid: &Invalid, now: Timestamp) -> SecureBucketStatus {
    let before = bucket.status.clone().unwrap_or_default();
    let generation = bucket.metadata.generation.unwrap_or_default();
    let text = invalid.to_string();
    let mut sets = vec![Set::no(types::READY, "InvalidSpec", &text), Set::yes(types::STALLED, "InvalidSpec", &text)];
    sets.extend(before.lockdown.as_ref().map(|latch| locked_down(latch, None)));
    SecureBucketStatus {
        observed_generation: Some(generation),
        conditions: update(&before.conditions, &sets, generation, now),
        ..before
    }
}

/// Conditions before the first look at AWS: written on the first visit, because kstatus takes an object without conditions for finished.
pub fn first_visit(bucket: &SecureBucket, now: Timestamp) -> SecureBucketStatus {
    let before = bucket.status.clone().unwrap_or_default();
    let generation = bucket.metadata.generation.unwrap_or_default();
    let mut sets = vec![
        Set::no(types::READY, "Progressing", "bucket and key are being created"),
        Set::yes(types::RECONCILING, "Progressing", "bucket and key are being created"),
    ];
    let pending = GROUPS.iter().map(|(t, _)| *t).chain([types::ROLES]);
    sets.extend(pending.map(|type_| Set::unknown(type_, "Pending", "not looked at yet")));
    SecureBucketStatus {
        observed_generation: Some(generation),
        conditions: update(&before.conditions, &sets, generation, now),
        ..before
    }
}

/// `Ready`, `Reconciling`, `Stalled`, `Restricted`.
fn summary(pass: &Pass<'_>, install: &Installation) -> Vec<Set> {
    let mut sets = Vec::new();
    let restricted: Vec<&str> = pass.plan.restricted.iter().map(|r| r.message.as_str()).collect();
    match state(pass, install) {
        None if pass.desired.lock.is_some() => {
            sets.push(Set::yes(types::READY, "LockedDown", "AWS is as the lockdown wants it"));
        }
        None => sets.push(Set::yes(types::READY, "Reconciled", "AWS is as declared")),
        Some(problem) => {
            sets.push(Set::no(types::READY, &problem.reason, &problem.message));
            if problem.stalled {
                sets.push(Set::yes(types::STALLED, &problem.reason, &problem.message));
            } else if problem.reason != "Restricted" {
                sets.push(Set::yes(types::RECONCILING, "Progressing", &problem.message));
            }
        }
    }
    sets.extend(pass.lockdown.latch.as_ref().map(|latch| locked_down(latch, pass.lockdown.note.as_deref())));
    if !restricted.is_empty() {
        sets.push(Set::yes(types::RESTRICTED, "Restricted", restricted.join("; ")));
    }
    sets
}

fn locked_down(latch: &LockdownStatus, note: Option<&str>) -> Set {
    let message = lockdown::message(latch, note);
    match (latch.lifting_since.as_ref(), latch.level) {
        (Some(_), _) => Set::yes(types::LOCKED_DOWN, "Lifting", message),
        (None, LockdownLevel::Reads) => Set::yes(types::LOCKED_DOWN, "Reads", message),
        (None, LockdownLevel::All) => Set::yes(types::LOCKED_DOWN, "All", message),
    }
}

/// The most important thing in the way of `Ready`.
fn state(pass: &Pass<'_>, install: &Installation) -> Option<Problem> {
    if let Some(blocked) = pass.plan.blocked.first() {
        return Some(Problem::stalled(blocked.reason, &blocked.message));
    }
    let failed = pass.failures.iter().chain(&pass.plan.unreadable).map(|(_, e)| e);
    // What needs somebody is said before what passes.
    if let Some(error) = failed.max_by_key(|e| meaning(e.kind).stalled) {
        let stalled = meaning(error.kind).stalled;
        return Some(Problem { reason: error.kind.reason().into(), message: explain(error, install), stalled });
    }
    if let Some(waiting) = &pass.releasing {
        return Some(Problem::passing("Deleting", waiting));
    }
    if pass.plan.waiting_for_key {
        return Some(Problem::passing(
            "Progressing",
            "a key was announced and its fate is not known yet; waiting before another is made",
        ));
    }
    if let Some(action) = pass.plan.actions.first() {
        return Some(Problem::passing("Progressing", format!("still to do: {action}")));
    }
    if let Some(words) = foreign_words(pass) {
        return Some(Problem::stalled("ForeignAccess", words));
    }
    if let Some(problem) = pass.duties.iter().filter_map(|(_, p)| p.as_ref()).max_by_key(|p| p.stalled) {
        return Some(problem.clone());
    }
    pass.plan.restricted.first().map(|r| Problem::passing("Restricted", &r.message))
}

/// KMS grants that are named in one message.
const NAMED: usize = 5;

/// What is said of KMS grants that somebody else made; `None` if there are none.
fn foreign_words(pass: &Pass<'_>) -> Option<String> {
    let all: Vec<Foreign> = pass.plan.grants.iter().flatten().filter_map(KeyGrant::foreign).collect();
    let named = all.iter().take(NAMED).map(|f| f.words.as_str()).collect::<Vec<_>>().join("; ");
    let more = all.len().saturating_sub(NAMED);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    let way = match pass.desired.effective.foreign_grants {
        Some(ForeignGrants::Revoke) => "being revoked",
        _ => "revoke it in AWS, or set spec.foreignGrants: Revoke",
    };
    (!all.is_empty()).then(|| format!("not made by the operator: {named}{more}. {way}"))
}

/// `ForeignAccess`. While the KMS grants cannot be listed, what was said of them before still stands.
fn foreign(pass: &Pass<'_>, before: &SecureBucketStatus) -> Option<Set> {
    if pass.plan.grants.is_none() {
        let said = find(&before.conditions, types::FOREIGN_ACCESS).filter(|_| !pass.plan.unreadable.is_empty());
        return said.map(|c| Set::yes(types::FOREIGN_ACCESS, &c.reason, &c.message));
    }
    foreign_words(pass).map(|words| Set::yes(types::FOREIGN_ACCESS, "ForeignAccess", words))
}

/// The condition of one piece.
fn piece(type_: &'static str, facets: &[Facet], pass: &Pass<'_>, install: &Installation) -> Set {
    let concerns = |f: &Facet| facets.contains(f);
    if let Some(blocked) = pass.plan.blocked.iter().find(|b| concerns(&facet_of(b))) {
        return Set::no(type_, blocked.reason, &blocked.message);
    }
    let mut failed = pass.failures.iter().chain(&pass.plan.unreadable);
    if let Some((_, error)) = failed.find(|(f, _)| concerns(f)) {
        return Set::no(type_, error.kind.reason(), explain(error, install));
    }
    if let Some(action) = pass.plan.actions.iter().find(|a| concerns(&a.facet())) {
        return Set::no(type_, "Progressing", format!("still to do: {action}"));
    }
    if facets.iter().all(|f| in_bucket(*f)) && bucket_pending(pass) {
        return Set::unknown(type_, "Pending", "there is no bucket yet");
    }
    if let Some(restriction) = pass.plan.restricted.iter().find(|r| concerns(&r.facet)) {
        // Stricter than declared is still safe: the piece is ready, and says so.
        return Set::yes(type_, "Restricted", &restriction.message);
    }
    let off = pass.plan.key_state.as_ref().is_some_and(|s| *s != KeyState::Enabled);
    if type_ == types::KEY && pass.desired.lock.is_some() && off {
        return Set::yes(types::KEY, "LockedDown", "disabled by the lockdown");
    }
    Set::yes(type_, "Configured", "as declared")
}

fn in_bucket(facet: Facet) -> bool {
    !matches!(facet, Facet::Key | Facet::KeyPolicy | Facet::Rotation | Facet::KeyTags)
}

fn facet_of(blocked: &Blocked) -> Facet {
    if blocked.reason.starts_with("Bucket") { Facet::Bucket } else { Facet::Key }
}

fn roles(pass: &Pass<'_>) -> Set {
    let mut problems = pass.duties.iter().filter_map(|(a, p)| p.as_ref().map(|p| (a, p)));
    match problems.next() {
        Some((access, problem)) => {
            Set::no(types::ROLES, &problem.reason, format!("access {}: {}", access.name, problem.message))
        }
        None if pass.desired.lock.is_some() => {
            Set::yes(types::ROLES, "LockedDown", "every duty is held back as the lockdown wants it")
        }
        None => Set::yes(types::ROLES, "Configured", "every duty is in force"),
    }
}
