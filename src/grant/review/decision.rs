//! From the reviews of a grant to what they come to: so many of so many, denied or revoked by whom. Pure.

use std::sync::Arc;

use jiff::SignedDuration;

use super::eligible::{Case, Doubt, created, eligible};
use super::person::{Person, is_system, same};
use super::rules::fill;
use crate::api::GrantReview;
use crate::api::decrypt_grant::ApprovalStatus;
use crate::api::grant_review::Decision;
use crate::domain::time::{MAX_SKEW, after, format_instant, parse_duration, parse_instant};

/// Approvals that status lists; more are not needed.
const MOST: usize = 16;

/// Somebody said no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// `Deny` or `Revoke`.
    pub decision: Decision,
    /// Name of the review.
    pub review: String,
    /// User name.
    pub reviewer: String,
    /// His comment.
    pub comment: Option<String>,
}

impl std::fmt::Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let verb = if self.decision == Decision::Revoke { "revoked" } else { "denied" };
        write!(f, "{verb} by {} (GrantReview {})", self.reviewer, self.review)?;
        self.comment.as_ref().map_or(Ok(()), |c| write!(f, ": {c}"))
    }
}

/// What the reviews of one grant come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The first who said no.
    pub stop: Option<Stop>,
    /// Approvals that count, oldest first.
    pub approvals: Vec<ApprovalStatus>,
    /// How many are needed.
    pub needed: usize,
    /// Names of sets of which one more must approve, once for each that is missing.
    pub missing: Vec<String>,
    /// The shortest duration that an approval allows.
    pub shortest: Option<SignedDuration>,
    /// The rule of `grants.autoApprove` that stands in for people: that of now, or that of the request where nobody is asked now.
    pub rule: Option<String>,
    /// Of each review, by name: whether it counts.
    pub counts: Vec<(String, Result<(), Doubt>)>,
}

impl Verdict {
    /// True if nobody said no and enough agreed.
    pub fn approved(&self) -> bool {
        self.stop.is_none() && self.approvals.len() >= self.needed && self.missing.is_empty()
    }

    /// `1 of 2`.
    pub fn progress(&self) -> String {
        format!("{} of {}", self.approvals.len(), self.needed)
    }
}

/// Reviews in the order in which they count: by time, then by name, so that it does not depend on that of a list.
fn in_order(reviews: &[Arc<GrantReview>]) -> Vec<&GrantReview> {
    let mut all: Vec<&GrantReview> = reviews.iter().map(AsRef::as_ref).collect();
    all.sort_by_key(|r| (created(r), r.metadata.name.clone()));
    all
}

/// Judges all reviews that name the grant.
pub fn verdict(case: &Case<'_>, reviews: &[Arc<GrantReview>]) -> Verdict {
    let mut verdict = Verdict::default();
    let mut agreed: Vec<&GrantReview> = Vec::new();
    for review in in_order(reviews) {
        let mut word = recorded(case, review).unwrap_or_else(|| eligible(review, case));
        if word.is_ok() && review.spec.decision == Decision::Approve {
            word = another_person(review, &agreed, case);
        }
        if word.is_ok() {
            match review.spec.decision {
                Decision::Approve => agreed.push(review),
                Decision::Deny | Decision::Revoke => verdict.stop = verdict.stop.or_else(|| Some(stop(review))),
            }
        }
        verdict.counts.push((name(review), word));
    }
    verdict.needed = needed(case, &agreed);
    verdict.rule = case.rules.iter().rev().find_map(|r| r.auto_approved_by.clone());
    verdict.shortest = agreed.iter().filter_map(|r| parse_duration(&r.spec.max_duration.as_ref()?.0).ok()).min();
    let reviewers: Vec<_> = agreed.iter().map(|r| &r.spec.reviewer).collect();
    let mut sets = vec![None; agreed.len()];
    for rules in case.rules {
        let places = fill(rules, &reviewers);
        sets = places.filled;
        if places.empty.len() > verdict.missing.len() {
            verdict.missing = places.empty;
        }
    }
    verdict.approvals = agreed.iter().zip(sets).map(|(r, set)| approval(r, set)).take(MOST).collect();
    verdict
}

/// A review that counted when it mattered goes on to count: what it brought about is done.
fn recorded(case: &Case<'_>, review: &GrantReview) -> Option<Result<(), Doubt>> {
    let status = case.status();
    let begun = status.activated_at.is_some();
    let approved = begun && status.approvals.iter().any(|a| a.uid.is_some() && a.uid == review.metadata.uid);
    let stopped = status.ended.as_ref().is_some_and(|end| {
        let before =
            created(review).zip(parse_instant(&end.at)).is_some_and(|(made, ended)| made <= after(ended, MAX_SKEW));
        end.review.is_some()
            && end.review == review.metadata.name
            && before
            && review.spec.decision != Decision::Approve
    });
    let after = status.break_glass.and_then(|b| b.review).is_some_and(|r| Some(&r.uid) == review.metadata.uid.as_ref());
    (approved || stopped || after).then_some(Ok(()))
}

fn another_person(review: &GrantReview, agreed: &[&GrantReview], case: &Case<'_>) -> Result<(), Doubt> {
    let person = Person::from(&review.spec.reviewer);
    let before = agreed.iter().find_map(|r| {
        let why = same(person, Person::from(&r.spec.reviewer), &case.install.fixed_session_roles)?;
        Some((r, why))
    });
    let Some((earlier, why)) = before else { return Ok(()) };
    Err(Doubt {
        reason: "SamePerson",
        message: format!(
            "spec.reviewer: {} has approved already, in GrantReview {} ({why}); ask somebody else, or delete that review if this one is to count",
            review.spec.reviewer.username,
            name(earlier)
        ),
    })
}

/// How many must agree, by the strictest rules: one more for each robot among those who did.
fn needed(case: &Case<'_>, agreed: &[&GrantReview]) -> usize {
    let asked = case.rules.iter().map(|r| r.approvals).max().unwrap_or_default();
    let asked = usize::try_from(asked).unwrap_or_default();
    let robots = agreed.iter().filter(|r| is_system(&r.spec.reviewer.username)).count();
    if asked == 0 { 0 } else { asked + robots }
}

fn name(review: &GrantReview) -> String {
    review.metadata.name.clone().unwrap_or_default()
}

fn stop(review: &GrantReview) -> Stop {
    Stop {
        decision: review.spec.decision,
        review: name(review),
        reviewer: review.spec.reviewer.username.clone(),
        comment: review.spec.comment.clone(),
    }
}

fn approval(review: &GrantReview, set: Option<String>) -> ApprovalStatus {
    ApprovalStatus {
        review: name(review),
        reviewer: review.spec.reviewer.username.clone(),
        uid: review.metadata.uid.clone(),
        at: created(review).map(format_instant).unwrap_or_default(),
        set,
    }
}
