//! Access at once, without approval, and what is asked of it: the bucket's leave, a verb, one at a time, and a review afterwards. Pure.
//!
//! It begins at once or never. What waited would begin when nobody looks for it any more: so whatever is in its way ends it.

use jiff::Timestamp;

use super::agree::judge;
use super::begin::ACTIVATION_WINDOW;
use super::decide::end;
use super::facts::{Facts, Step};
use super::review::eligible::created;
use super::review::person::{Person, is_system, same};
use super::states::Happening;
use super::terms::target;
use crate::api::condition::{Set, is_true, types};
use crate::api::decrypt_grant::{AfterReview, BreakGlassStatus, DecryptGrantStatus};
use crate::api::types::Identity;
use crate::api::{DecryptGrant, GrantReview, SecureBucket};
use crate::bucket::rules::{BreakGlass, break_glass};
use crate::domain::installation::Installation;
use crate::domain::time::{MAX_SKEW, after, format_duration, format_instant, parse_duration, parse_instant};

/// True if it asks for access without approval.
pub fn asks(grant: &DecryptGrant) -> bool {
    grant.spec.break_glass == Some(true)
}

fn holds(status: &DecryptGrantStatus, message: impl Into<String>) -> Step {
    end(status, Happening::GlassHolds, message)
}

/// The end of a request that could not begin at once.
pub(super) fn begins_at_once(facts: &Facts<'_>, status: &DecryptGrantStatus) -> Option<Step> {
    let made = facts.grant.metadata.creation_timestamp.as_ref().map(|at| at.0);
    // Without a time nobody knows that it is young.
    let late = made.is_none_or(|at| facts.now >= after(at, ACTIVATION_WINDOW));
    (asks(facts.grant) && late).then(|| {
        let message = format!(
            "spec.breakGlass: it begins at once or not at all, and could not for {}; create a new grant",
            format_duration(ACTIVATION_WINDOW)
        );
        holds(status, message)
    })
}

/// What the bucket asks of it, if it asks for access without approval and may have it.
///
/// # Errors
/// With its end, or with what has to be looked up first.
pub(super) fn glass(
    facts: &Facts<'_>,
    status: &DecryptGrantStatus,
    bucket: &SecureBucket,
    install: &Installation,
) -> Result<Option<BreakGlass>, Box<Step>> {
    let grant = facts.grant;
    if !asks(grant) {
        return Ok(None);
    }
    let no = |message: String| Err(Box::new(holds(status, message)));
    let allowed = match break_glass(bucket, install) {
        Ok(Some(allowed)) => allowed,
        Ok(None) => {
            return no(
                "spec.breakGlass: this bucket allows no access without approval (grants.breakGlass); create a new grant without it".into(),
            );
        }
        Err(e) => {
            return no(format!("spec.breakGlass: the SecureBucket's {e}; ask its owner, then create a new grant"));
        }
    };
    if parse_duration(&grant.spec.duration.0).is_ok_and(|asked| asked > allowed.max) {
        return no(format!(
            "spec.duration: {} is longer than {}, the longest without approval on this bucket; create a new grant",
            grant.spec.duration.0,
            format_duration(allowed.max)
        ));
    }
    if grant.spec.requester.as_ref().is_some_and(|r| is_system(&r.username)) {
        return no("spec.requester: only people get access without approval; create the grant as one of them".into());
    }
    // Nobody else asks the API server's authorizer for the verb.
    if facts.enforcement.problem.is_none() && !facts.enforcement.asks_for_verbs() {
        return no(
            "spec.breakGlass: the operator runs with --admission=Off, so nothing is proven to ask for the verb breakglass; create a new grant without it".into(),
        );
    }
    let Some(others) = facts.broken else { return Err(Box::new(Step::ReadBroken)) };
    match others.iter().find(|other| in_the_way(grant, other)) {
        Some(other) => no(format!(
            "spec.breakGlass: access by DecryptGrant {}/{} is under way or waits for its review, and there is one at a time; have it reviewed (a GrantReview by somebody else), then create a new grant",
            other.metadata.namespace.as_deref().unwrap_or_default(),
            other.metadata.name.as_deref().unwrap_or_default()
        )),
        None => Ok(Some(allowed)),
    }
}

/// True if the one has to wait for the other: that began and is not reviewed, or is about to begin, or came first.
///
/// Two that look at once cannot both begin: each is approved in status before it looks for the last time.
fn in_the_way(grant: &DecryptGrant, other: &DecryptGrant) -> bool {
    if !asks(other) || target(other) != target(grant) || other.metadata.uid == grant.metadata.uid {
        return false;
    }
    let empty = DecryptGrantStatus::default();
    let status = other.status.as_ref().unwrap_or(&empty);
    if status.activated_at.is_some() {
        return unreviewed(status);
    }
    let age = |g: &DecryptGrant| (g.metadata.creation_timestamp.as_ref().map(|at| at.0), g.metadata.uid.clone());
    status.ended.is_none() && (is_true(&status.conditions, types::APPROVED) || age(other) < age(grant))
}

/// True if access began without approval, and nobody has reviewed it.
pub fn unreviewed(status: &DecryptGrantStatus) -> bool {
    status.break_glass.as_ref().is_some_and(|b| b.review.is_none())
}

/// When its review is due, if it waits for one.
pub fn review_due(status: &DecryptGrantStatus) -> Option<Timestamp> {
    let waits = status.break_glass.as_ref().filter(|b| b.review.is_none())?;
    // What cannot be read is due.
    Some(parse_instant(&waits.review_by).unwrap_or(Timestamp::MIN))
}

/// What is written when it begins.
pub fn begun(start: Timestamp, allowed: &BreakGlass) -> BreakGlassStatus {
    BreakGlassStatus { review_by: format_instant(after(start, allowed.review_within)), review: None }
}

/// True if a review of this grant, made at this moment by the API server's clock, is one of access that began without approval by AWS's clock.
pub fn reviews_access(status: &DecryptGrantStatus, made: Option<Timestamp>) -> bool {
    let begun = status.activated_at.as_deref().and_then(parse_instant);
    unreviewed(status) && begun.zip(made).is_some_and(|(begun, made)| after(made, MAX_SKEW) >= begun)
}

/// What makes the reviewer who asked, if he is: nobody reviews his own access.
pub(super) fn own(review: &GrantReview, requester: Option<&Identity>, install: &Installation) -> Option<&'static str> {
    // Nobody knows that it was another where nobody knows who asked.
    let Some(requester) = requester else { return Some("nobody knows who asked") };
    same(Person::from(&review.spec.reviewer), Person::from(requester), &install.fixed_session_roles)
}

/// The review that it needed, if it is there: the first that counts, by somebody else.
pub fn reviewed(facts: &Facts<'_>, install: &Installation) -> Option<AfterReview> {
    let status = facts.grant.status.as_ref().filter(|s| unreviewed(s))?;
    let (verdict, reviews) = (judge(facts, install)?, facts.reviews?);
    let counts = |r: &GrantReview| verdict.counts.iter().any(|(n, w)| Some(n) == r.metadata.name.as_ref() && w.is_ok());
    let fits = |r: &GrantReview| {
        let other = own(r, facts.grant.spec.requester.as_ref(), install).is_none();
        other && reviews_access(status, created(r)) && counts(r)
    };
    let mut all: Vec<&GrantReview> = reviews.iter().map(AsRef::as_ref).filter(|r| fits(r)).collect();
    all.sort_by_key(|r| (created(r), r.metadata.name.clone()));
    let first = all.first()?;
    Some(AfterReview {
        review: first.metadata.name.clone()?,
        uid: first.metadata.uid.clone()?,
        reviewer: first.spec.reviewer.username.clone(),
        decision: first.spec.decision,
        at: format_instant(created(first)?),
    })
}

/// The condition `Reviewed`.
pub fn condition(status: &DecryptGrantStatus, now: Timestamp) -> Option<Set> {
    let glass = status.break_glass.as_ref()?;
    if let Some(review) = &glass.review {
        let message = format!("{:?} by {} (GrantReview {})", review.decision, review.reviewer, review.review);
        return Some(Set::yes(types::REVIEWED, "Reviewed", message));
    }
    let how = "by somebody else than who asked: a GrantReview with this termsHash";
    let overdue = review_due(status).is_some_and(|at| now >= at);
    Some(if overdue {
        let message =
            format!("access began without approval, and its review is overdue since {}: {how}", glass.review_by);
        Set::no(types::REVIEWED, "ReviewOverdue", message)
    } else {
        let message = format!("access began without approval; its review is due by {}, {how}", glass.review_by);
        Set::no(types::REVIEWED, "ReviewDue", message)
    })
}

/// True if nothing may be forgotten yet: the bucket is there, and somebody has to review what was read of it.
pub(super) fn kept_for_review(facts: &Facts<'_>, status: &DecryptGrantStatus) -> bool {
    let uid = status.resolved.as_ref().map(|r| &r.bucket_uid);
    let there = facts.bucket.is_some_and(|b| b.metadata.uid.as_ref() == uid && b.metadata.deletion_timestamp.is_none());
    unreviewed(status) && (there || facts.bucket_unreadable.is_some())
}
