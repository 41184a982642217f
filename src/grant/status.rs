//! The conditions of a DecryptGrant, from its status and the step that it stands at. Pure.

use jiff::Timestamp;

use super::break_glass;
use super::deadline::overdue_from;
use super::decide::RESTRICTED;
use super::facts::Step;
use crate::api::DecryptGrant;
use crate::api::condition::{Set, is_true, types, update};
use crate::api::decrypt_grant::{DecryptGrantStatus, EndReason, EndStatus};
use crate::domain::time::{format_instant, parse_instant};

/// Word of an end: the state that the column shows.
pub fn word(reason: EndReason) -> &'static str {
    match reason {
        EndReason::Expired => "Expired",
        EndReason::HandedBack => "HandedBack",
        EndReason::Revoked => "Revoked",
        EndReason::BucketGone => "BucketGone",
        EndReason::LockedDown => "LockedDown",
        EndReason::Denied => "Denied",
        EndReason::ApprovalTimedOut => "ApprovalTimedOut",
        EndReason::Lapsed => "Lapsed",
    }
}

/// Status with its conditions as they are when nothing more can be done in this pass.
pub fn settle(
    grant: &DecryptGrant,
    status: DecryptGrantStatus,
    step: &Step,
    now: Timestamp,
    local: Timestamp,
) -> DecryptGrantStatus {
    let generation = grant.metadata.generation.unwrap_or_default();
    let mut sets = match &status.ended {
        Some(end) => ended(&status, end, step, overdue_from(grant, now).filter(|from| *from <= now)),
        None => open(&status, step, now),
    };
    sets.extend(break_glass::condition(&status, now));
    let conditions = update(&status.conditions, &sets, generation, local);
    DecryptGrantStatus { observed_generation: Some(generation), conditions, ..status }
}

/// True if the subject can read: the KMS grant is there, and all of AWS has had time to know.
pub fn usable(status: &DecryptGrantStatus, now: Timestamp) -> bool {
    let issued = status.kms_grant.as_ref().is_some_and(|k| k.id.is_some());
    let before = |text: &Option<String>| text.as_deref().and_then(parse_instant).is_some_and(|at| now >= at);
    issued && before(&status.usable_by) && !before(&status.expires_at) && status.ended.is_none()
}

fn open(status: &DecryptGrantStatus, step: &Step, now: Timestamp) -> Vec<Set> {
    let until = status.expires_at.clone().unwrap_or_default();
    let held_back = matches!(step, Step::Wait { problem, .. } if problem.reason == RESTRICTED);
    let active = usable(status, now) && !held_back;
    let mut sets = Vec::new();
    if active {
        sets.push(Set::yes(types::ACTIVE, "Granted", format!("readable until {until}")));
    }
    match step {
        Step::Wait { problem, .. } => {
            if !active {
                sets.push(Set::no(types::ACTIVE, &problem.reason, &problem.message));
            }
            sets.push(Set::no(types::READY, &problem.reason, &problem.message));
            if problem.stalled {
                sets.push(Set::yes(types::STALLED, &problem.reason, &problem.message));
            } else if !held_back {
                sets.push(Set::yes(types::RECONCILING, "Progressing", &problem.message));
            }
        }
        _ => sets.push(Set::yes(
            types::READY,
            "Granted",
            format!("KMS grant and role policy are in place until {until}"),
        )),
    }
    sets
}

fn ended(status: &DecryptGrantStatus, end: &EndStatus, step: &Step, overdue: Option<Timestamp>) -> Vec<Set> {
    let word = word(end.reason);
    let mut sets = vec![Set::no(types::ACTIVE, word, &end.message)];
    let refusal = match end.reason {
        EndReason::Denied if end.review.is_some() => Some("DeniedByReviewer"),
        EndReason::Denied if end.rule.is_some() => Some("DeniedByPolicy"),
        EndReason::Denied => Some("Refused"),
        EndReason::ApprovalTimedOut => Some("ApprovalTimedOut"),
        _ => None,
    };
    if let Some(reason) = refusal.filter(|_| !is_true(&status.conditions, types::APPROVED)) {
        sets.push(Set::yes(types::DENIED, reason, &end.message));
    }
    match (&status.removal, step) {
        // It never gave anything, and never will: its holder has to ask anew.
        (Some(_), _) if matches!(end.reason, EndReason::Denied | EndReason::ApprovalTimedOut | EndReason::Lapsed) => {
            sets.push(Set::no(types::READY, word, &end.message));
            sets.push(Set::yes(types::STALLED, word, &end.message));
        }
        (Some(removal), _) => {
            sets.push(Set::yes(
                types::READY,
                word,
                format!("removal verified at {}: {}", removal.verified_at, removal.evidence),
            ));
        }
        (None, Step::Wait { problem, .. }) => {
            let since = overdue.map(|at| format!("the removal is overdue since {}: ", format_instant(at)));
            let message = format!("{}{}", since.unwrap_or_default(), problem.message);
            sets.push(Set::no(types::READY, &problem.reason, &message));
            if problem.stalled {
                sets.push(Set::yes(types::STALLED, &problem.reason, &message));
            } else {
                sets.push(Set::yes(types::RECONCILING, "Revoking", &message));
            }
        }
        (None, _) => {
            sets.push(Set::no(types::READY, "Removing", "the removal is being verified"));
            sets.push(Set::yes(types::RECONCILING, "Revoking", "the removal is being verified"));
        }
    }
    sets
}
