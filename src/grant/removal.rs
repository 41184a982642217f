//! The end of a DecryptGrant's life: from the moment that it ended to the proof that nothing of it is left. Pure.

use jiff::{SignedDuration, Timestamp};

use super::break_glass::kept_for_review;
use super::decide::{stalled, wait};
use super::facts::{Facts, Step};
use crate::api::decrypt_grant::DecryptGrantStatus;
use crate::aws::error::{AwsError, Seen};
use crate::domain::installation::Installation;
use crate::domain::time::{after, parse_instant};
use crate::reconcile::outcome::{explain, meaning};
use crate::role::desired::window;
use crate::role::document::window_absent;
use crate::role::state::Problem;

/// How long the role's policy is tried to be narrowed before the KMS grant is revoked all the same.
const PATIENCE: SignedDuration = SignedDuration::from_secs(30);

/// After the end: Allow out, KMS grant revoked, both read back, then the proof, then the finalizer.
pub(super) fn remove(facts: &Facts<'_>, status: &DecryptGrantStatus, deleting: bool, install: &Installation) -> Step {
    if status.removal.is_some() {
        // Nothing is forgotten by a clock that is wrong.
        let old = kept_until(status, install).is_some_and(|until| facts.now >= until && facts.skew.excess().is_none());
        return match (deleting, old) {
            // Who looked without being let in does not make it forgotten by deleting it.
            _ if kept_for_review(facts, status) => Step::Settled,
            (true, _) => Step::RemoveFinalizer,
            (false, true) => Step::Forget,
            (false, false) => Step::Settled,
        };
    }
    let (Some(_), Some(expires_at)) = (&status.resolved, status.expires_at.as_deref().and_then(parse_instant)) else {
        return Step::RecordRemoval { evidence: "nothing was ever written to AWS".into() };
    };
    let Some(looked) = facts.looked else {
        // Past the date nothing has to be seen before the KMS grant that status names is revoked; the look that follows shows whether there is more.
        let named = status.kms_grant.as_ref().and_then(|k| k.id.clone());
        return match named.filter(|_| facts.just_ended && facts.now >= expires_at) {
            Some(id) => Step::Revoke { ids: vec![id] },
            None => Step::Look,
        };
    };
    let allow_out = match &looked.role {
        Seen::Absent => true,
        Seen::Unreadable(_) => false,
        Seen::Value((_, None)) => true,
        // Terms that are not genuine never gave a window.
        Seen::Value((_, Some(d))) => {
            window(facts.grant, install).is_none_or(|(mine, _)| window_absent(d, &mine, facts.others))
        }
    };
    let kms = match &looked.kms {
        Seen::Absent => &Vec::new(),
        Seen::Value(kms) => kms,
        Seen::Unreadable(e) => return failed(e, true, install),
    };
    // Past the date the Allow is dead whatever stands in the document. Before it the Allow goes first, because S3 asks KMS only now and then;
    // but a role that cannot be written is no reason to leave the KMS grant.
    let ended = status.ended.as_ref().and_then(|e| parse_instant(&e.at));
    let tried = ended.is_none_or(|at| facts.now >= after(at, PATIENCE));
    let blocked = facts.role.is_some_and(|r| r.problem.as_ref().is_some_and(|p| p.stalled || tried));
    if !kms.is_empty() && (allow_out || blocked || facts.now >= expires_at) {
        return Step::Revoke { ids: kms.iter().map(|g| g.id.clone()).collect() };
    }
    match (&looked.role, allow_out) {
        (Seen::Unreadable(e), _) => failed(e, true, install),
        (_, false) => match facts.role.and_then(|r| r.problem.clone()) {
            Some(problem) => stalled_removal(problem.message),
            None => wait("Removing", "the statement is being taken out of the role's policy"),
        },
        (_, true) if kms.is_empty() => match unanswered(status, install).filter(|until| facts.now < *until) {
            Some(until) => Step::Wait {
                problem: Problem::passing("Removing", "CreateGrant was never answered; the KMS grant may still appear"),
                until: Some(until),
            },
            None => Step::RecordRemoval {
                evidence: "KMS grant absent from ListGrants; role policy without statement".into(),
            },
        },
        _ => wait("Removing", "the KMS grant is being revoked"),
    }
}

/// Until when a grant whose removal is proved is kept as a record.
pub fn kept_until(status: &DecryptGrantStatus, install: &Installation) -> Option<Timestamp> {
    let proved = parse_instant(&status.removal.as_ref()?.verified_at)?;
    Some(after(proved, SignedDuration::try_from(install.timing.grant_history).unwrap_or(SignedDuration::MAX)))
}

/// Until when a KMS grant may still appear that was announced and never seen: one clean list proves nothing then.
fn unanswered(status: &DecryptGrantStatus, install: &Installation) -> Option<Timestamp> {
    status.kms_grant.as_ref().filter(|k| k.id.is_none())?;
    let ended = parse_instant(&status.ended.as_ref()?.at)?;
    Some(after(ended, SignedDuration::try_from(install.timing.evidence_wait).unwrap_or(SignedDuration::MAX)))
}

/// What is said of a call that failed, before the end of the window and after it.
pub fn failed(error: &AwsError, ended: bool, install: &Installation) -> Step {
    let message = explain(error, install);
    match (ended, meaning(error.kind).stalled) {
        (true, true) => stalled_removal(message),
        (true, false) => wait("Removing", message),
        (false, true) => stalled(error.kind.reason(), message),
        (false, false) => wait(error.kind.reason(), message),
    }
}

fn stalled_removal(message: String) -> Step {
    stalled(
        "RemovalFailed",
        format!("access has ended by its date where that passed, but its removal could not be proved: {message}"),
    )
}
