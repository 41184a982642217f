//! The life of a DecryptGrant as one pure function: from what is known to the next step.
//!
//! Every step that touches AWS follows from something that status already says, so that a crash at any point continues where it stopped:
//! terms → approval → window (`expiresAt`) → role policy → KMS grant → its id → end → removal → finalizer.

use jiff::{SignedDuration, Timestamp};

use super::agree::{agreed, resolution, stop, stopped, timed_out};
use super::ask::refused;
use super::begin::{lapsed, skewed};
use super::break_glass::{begins_at_once, glass, reviewed};
use super::extend::{Limit, extension};
use super::facts::{Facts, Step};
use super::over::{key_state, over, separation_of_duties};
use super::policy::{denial, denied};
use super::removal::{failed, remove};
use super::states::{Happening, end_of, state};
use super::terms::{check, resolve, target};
use crate::api::GRANT_FINALIZER;
use crate::api::condition::{is_true, types};
use crate::api::decrypt_grant::{DecryptGrantStatus, ResolvedTerms};
use crate::aws::error::Seen;
use crate::bucket::desired::{grant_namespaces, max_duration};
use crate::bucket::lockdown::refuses_grants;
use crate::domain::identity::kms_grant_name;
use crate::domain::installation::Installation;
use crate::domain::policy::Document;
use crate::domain::time::{after, parse_instant};
use crate::role::desired::{bucket_ref, open_grant};
use crate::role::document::{GrantInput, carries};
use crate::role::state::Problem;

/// Reason of a grant that a responder's Deny on its role may hold back.
pub const RESTRICTED: &str = "Restricted";

/// Nothing is issued this close to the end: AWS's clock is known to a second, and a call takes its time.
const TOO_LATE: SignedDuration = SignedDuration::from_secs(2);

pub(super) fn wait(reason: &str, message: impl Into<String>) -> Step {
    Step::Wait { problem: Problem::passing(reason, message), until: None }
}

pub(super) fn stalled(reason: &str, message: impl Into<String>) -> Step {
    Step::Wait { problem: Problem::stalled(reason, message), until: None }
}

/// The end that the table of states has for what happened.
pub(super) fn end(status: &DecryptGrantStatus, happening: Happening, message: impl Into<String>) -> Step {
    ended(status, happening, message, None, None)
}

/// The same, by a review or a rule.
pub(super) fn ended(
    status: &DecryptGrantStatus,
    happening: Happening,
    message: impl Into<String>,
    review: Option<String>,
    rule: Option<String>,
) -> Step {
    Step::End { reason: end_of(state(status), happening), message: message.into(), review, rule }
}

/// Decides.
pub fn decide(facts: &Facts<'_>, install: &Installation) -> Step {
    let empty = DecryptGrantStatus::default();
    let status = facts.grant.status.as_ref().unwrap_or(&empty);
    let deleting = facts.grant.metadata.deletion_timestamp.is_some();
    let held = facts.grant.metadata.finalizers.iter().flatten().any(|f| f == GRANT_FINALIZER);
    if deleting && !held {
        return Step::Settled;
    }
    // Nothing is in AWS without one; a finalizer that somebody took off is put back.
    if !held && status.removal.is_none() {
        return Step::AddFinalizer;
    }
    let step = next(facts, status, deleting, install);
    // What ends access does not wait for what is only to be written down.
    match reviewed(facts, install) {
        Some(review) if matches!(step, Step::Settled | Step::Wait { .. }) => Step::RecordReview(review),
        _ => step,
    }
}

fn next(facts: &Facts<'_>, status: &DecryptGrantStatus, deleting: bool, install: &Installation) -> Step {
    if status.ended.is_some() {
        return remove(facts, status, deleting, install);
    }
    match status.expires_at.as_deref().and_then(parse_instant) {
        Some(expires_at) => run(facts, status, expires_at, install),
        // Nothing is written to AWS before `expiresAt` is in status.
        None if deleting => Step::RemoveFinalizer,
        None => prepare(facts, status, install),
    }
}

fn unreadable(bucket: &str, why: &str) -> Step {
    wait("WaitingForBucket", format!("SecureBucket {bucket} cannot be read: {why}"))
}

/// Before the window: resolve, approve, activate.
fn prepare(facts: &Facts<'_>, status: &DecryptGrantStatus, install: &Installation) -> Step {
    let grant = facts.grant;
    let namespace = grant.metadata.namespace.as_deref().unwrap_or_default();
    let target = target(grant);
    let late = begins_at_once(facts, status).or_else(|| lapsed(facts, status)).or_else(|| timed_out(facts, status));
    if let Some(late) = late {
        return late;
    }
    if let Some(why) = facts.bucket_unreadable {
        return unreadable(&target.to_string(), why);
    }
    let consenting = facts.bucket.filter(|b| grant_namespaces(b).iter().any(|n| n == namespace));
    let Some(bucket) = consenting else {
        if status.resolved.is_some() {
            return end(
                status,
                Happening::BucketGone,
                format!("SecureBucket {target} is gone, or no longer lets this namespace ask"),
            );
        }
        // Absent and refused read the same, so that nobody can find out names by asking.
        return stalled(
            "BucketNotAvailable",
            format!(
                "spec.bucketRef: there is no SecureBucket {target} that namespace {namespace} may ask for; its owner allows namespaces in spec.grants.allowedNamespaces"
            ),
        );
    };
    if bucket.metadata.deletion_timestamp.is_some() {
        return end(status, Happening::BucketGone, format!("SecureBucket {target} is being deleted"));
    }
    if refuses_grants(bucket) {
        return end(
            status,
            Happening::LockedDown,
            format!("SecureBucket {target} is locked down; ask again with a new grant when that is lifted"),
        );
    }
    if let Some(no) = denial(grant, bucket) {
        return denied(status, no);
    }
    // Nobody reviews what has no terms yet.
    if status.resolved.is_some() {
        if facts.reviews.is_none() {
            return Step::ReadReviews;
        }
        if let Some(no) = stopped(facts, install) {
            return stop(status, Happening::Refused, &no);
        }
    }
    let glass = match glass(facts, status, bucket, install) {
        Ok(glass) => glass,
        Err(step) => return *step,
    };
    let account = &grant.spec.subject.service_account_ref.name;
    let problem = separation_of_duties(bucket, namespace, account).or_else(|| refused(grant, bucket, facts.older));
    if let Some(problem) = problem {
        return Step::Wait { problem, until: None };
    }
    let max = match max_duration(bucket, install) {
        Ok(max) => max,
        Err(e) => return wait("WaitingForBucket", format!("SecureBucket {target}: {e}")),
    };
    let mut asked = match check(grant, max, install) {
        Ok(checked) => checked,
        Err(message) => return stalled("InvalidSpec", message),
    };
    asked.extends = match extension(facts, status, bucket, &asked, max, install) {
        Ok(extends) => extends,
        Err(step) => return *step,
    };
    let bucket_status = bucket.status.clone().unwrap_or_default();
    let usable = is_true(&bucket_status.conditions, types::KEY) && is_true(&bucket_status.conditions, types::POLICY);
    let Some(reference) = bucket_ref(bucket, install).filter(|_| usable) else {
        return wait("WaitingForBucket", format!("SecureBucket {target} is not ready"));
    };
    let Some(uid) = facts.service_account_uid else {
        return stalled(
            "ServiceAccountNotFound",
            format!(
                "spec.subject.serviceAccountRef.name: there is no ServiceAccount {account} in namespace {namespace}; create it"
            ),
        );
    };
    let bucket_uid = bucket.metadata.uid.clone().unwrap_or_default();
    let terms = resolve(grant, &bucket_uid, &reference, uid, &asked, install);
    match &status.resolved {
        None => return Step::Resolve(Box::new(resolution(grant, bucket, terms))),
        Some(before) if before.terms_hash != terms.terms_hash => {
            return end(
                status,
                Happening::Replaced,
                "bucket or ServiceAccount were replaced since the request was made; create a new grant",
            );
        }
        Some(_) => {}
    }
    let limit = asked.extends.as_ref().and_then(|e| Limit::of(e, max));
    agreed(facts, status, bucket, &terms, limit, glass, install)
}

/// Within the window: role policy first, then the KMS grant; and every reason to end.
fn run(facts: &Facts<'_>, status: &DecryptGrantStatus, expires_at: Timestamp, install: &Installation) -> Step {
    if let Some(over) = over(facts, status, expires_at, install) {
        return over;
    }
    let Some((input, _)) = open_grant(facts.grant, install, facts.now) else {
        return end(status, Happening::RemovedOutside, "status is not that of an approved grant");
    };
    if facts.role.is_some_and(|r| r.left_out.contains(&input.uid)) {
        return stalled(
            "PolicyTooLarge",
            "the role's policy has no room for this grant; wait for another grant of this ServiceAccount to end, or use another ServiceAccount",
        );
    }
    let Some(looked) = facts.looked else {
        return if status.kms_grant.is_none() && unwritten(facts, &input) { granting(facts) } else { Step::Look };
    };
    let (role_id, document) = match &looked.role {
        Seen::Unreadable(e) => return failed(e, false, install),
        Seen::Absent if status.kms_grant.is_some() => {
            return end(status, Happening::RemovedOutside, "the role was removed outside the operator");
        }
        Seen::Absent => return granting(facts),
        Seen::Value((id, document)) => (id, document.as_ref()),
    };
    if status.kms_grant.as_ref().is_some_and(|k| k.role_id != *role_id) {
        return end(status, Happening::RemovedOutside, "the role was replaced outside the operator");
    }
    let kms = match &looked.kms {
        Seen::Unreadable(e) => return failed(e, false, install),
        Seen::Absent => return end(status, Happening::RemovedOutside, "the key is gone"),
        Seen::Value(kms) => kms,
    };
    let Some(terms) = status.resolved.as_ref() else { return Step::Settled };
    let Some(named) = &status.kms_grant else {
        if let Some(wait) = unready(facts, terms, document, &input, install) {
            return wait;
        }
        let name = kms_grant_name(&install.cluster, &input.uid, &terms.terms_hash, role_id);
        return Step::Name { name, role_id: role_id.clone() };
    };
    // Whoever reads status can make another under the name.
    let ours =
        kms.iter().find(|g| g.name.as_deref() == Some(&named.name) && named.id.as_ref().is_none_or(|id| *id == g.id));
    match (&named.id, ours) {
        (None, Some(grant)) => Step::RecordIssued { id: grant.id.clone() },
        (None, None) => unready(facts, terms, document, &input, install).unwrap_or(Step::Issue),
        (Some(_), None) => end(
            status,
            Happening::RemovedOutside,
            "the KMS grant was removed outside the operator; it is not issued again",
        ),
        (Some(_), Some(_)) => usable(facts, status),
    }
}

/// Why the KMS grant must not be issued yet, if anything: bucket and terms as they are now, the role's document, its propagation.
fn unready(
    facts: &Facts<'_>,
    terms: &ResolvedTerms,
    document: Option<&Document>,
    input: &GrantInput,
    install: &Installation,
) -> Option<Step> {
    if after(facts.now, TOO_LATE) >= input.expires_at {
        let problem = Problem::passing("Granting", "too little of its time is left to begin");
        return Some(Step::Wait { problem, until: Some(input.expires_at) });
    }
    if let Some(why) = facts.bucket_unreadable {
        return Some(unreadable(&format!("{}/{}", terms.bucket_namespace, terms.bucket_name), why));
    }
    let reference = facts.bucket.and_then(|b| bucket_ref(b, install));
    if reference.as_ref() != Some(&input.bucket) {
        return Some(wait(
            "WaitingForBucket",
            format!("SecureBucket {}/{} is not what was resolved", terms.bucket_namespace, terms.bucket_name),
        ));
    }
    if let Some(state) = key_state(facts).filter(|state| *state != "Enabled") {
        return Some(wait("WaitingForBucket", format!("the key of the SecureBucket is in state {state}")));
    }
    if let Some(wait) = skewed(facts) {
        return Some(wait);
    }
    if !document.is_some_and(|d| carries(d, input)) {
        return Some(granting(facts));
    }
    // The writer's view says since when the document is as it is. Without one, or with one of another document, nothing is known of that.
    let known = facts.role.is_some_and(|r| r.document.as_ref() == document);
    let instant = install.timing.policy_propagation.is_zero() && install.timing.role_propagation.is_zero();
    if !known && !instant {
        return Some(granting(facts));
    }
    propagating(facts, install).map(propagation)
}

fn usable(facts: &Facts<'_>, status: &DecryptGrantStatus) -> Step {
    match status.usable_by.as_deref().and_then(parse_instant) {
        Some(usable_by) if facts.now < usable_by => propagation(usable_by),
        _ => match facts.role.and_then(|r| r.restricted.first()) {
            Some(kept) => wait(RESTRICTED, format!("{kept}: reading may be refused")),
            None => Step::Settled,
        },
    }
}

/// The role's writer has looked and its document does not carry the grant yet: there is nothing to see in AWS before it does, and twenty grants
/// of one role would look at it twenty times for each of them. The writer wakes this grant when it has written it.
fn unwritten(facts: &Facts<'_>, input: &GrantInput) -> bool {
    facts.role.is_some_and(|r| r.problem.is_none() && !r.document.as_ref().is_some_and(|d| carries(d, input)))
}

fn granting(facts: &Facts<'_>) -> Step {
    match facts.role.and_then(|r| r.problem.clone()) {
        Some(problem) => Step::Wait { problem, until: None },
        None => wait("Granting", "the role's policy is being written"),
    }
}

fn propagation(until: Timestamp) -> Step {
    Step::Wait {
        problem: Problem::passing("Granting", "waiting until all of AWS knows the change"),
        until: Some(until),
    }
}

/// Until when a new role or a changed document must be waited out; `None` if it is known everywhere.
fn propagating(facts: &Facts<'_>, install: &Installation) -> Option<Timestamp> {
    let span = |d: std::time::Duration| SignedDuration::try_from(d).unwrap_or(SignedDuration::ZERO);
    let timing = &install.timing;
    let role = facts.role?;
    let document = role.document_since.map(|at| after(at, span(timing.policy_propagation)));
    let created = role.created.map(|at| after(at, span(timing.role_propagation)));
    document.max(created).filter(|until| facts.now < *until)
}
