//! Whether one review counts, and why not. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::person::{Person, is_system, same, service_account};
use super::rules::{admits, member};
use crate::api::decrypt_grant::{ApprovalRules, DecryptGrantStatus};
use crate::api::grant_review::Decision;
use crate::api::{DecryptGrant, GrantReview};
use crate::domain::enforcement::Enforcement;
use crate::domain::installation::Installation;
use crate::domain::time::{MAX_SKEW, after, format_duration, parse_duration, parse_instant};
use crate::grant::break_glass::{own, reviews_access};
use crate::grant::terms::target;

/// Why a review does not count: a word for the condition, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// CamelCase word.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

fn doubt(reason: &'static str, message: impl Into<String>) -> Result<(), Doubt> {
    Err(Doubt { reason, message: message.into() })
}

/// What reviews are judged by.
#[derive(Clone, Copy)]
pub struct Case<'a> {
    /// The grant that they name.
    pub grant: &'a DecryptGrant,
    /// All rules that hold: those at the request and those of now. A review counts if it does by each of them.
    pub rules: &'a [&'a ApprovalRules],
    /// What is known of the admission policies.
    pub enforcement: &'a Enforcement,
    /// The installation.
    pub install: &'a Installation,
}

impl Case<'_> {
    pub(super) fn status(&self) -> DecryptGrantStatus {
        self.grant.status.clone().unwrap_or_default()
    }
}

/// Whether the review counts, seen by itself: other reviews may still stand in its way.
///
/// # Errors
/// With the reason, if it does not.
pub fn eligible(review: &GrantReview, case: &Case<'_>) -> Result<(), Doubt> {
    names_it(review, case)?;
    in_time(review, case)?;
    agrees(review, case)?;
    by_whom(review, case)?;
    match review.spec.decision {
        Decision::Approve => may_approve(review, case),
        Decision::Deny => of_a_set(review, case).and_then(|()| by_another(review, case)),
        // The right to revoke is a verb of its own, and who holds it need not be an approver. Of what is over it can be a review alone.
        Decision::Revoke if case.status().ended.is_some() => by_another(review, case),
        Decision::Revoke => Ok(()),
    }
}

/// Says the same of a grant that is absent and of one that asks for another bucket.
pub fn no_such_grant(review: &GrantReview) -> Doubt {
    let named = &review.spec.grant_ref;
    Doubt {
        reason: "GrantNotFound",
        message: format!(
            "spec.grantRef: no DecryptGrant {}/{} asks for SecureBucket {} of this namespace; status.pendingGrants of the SecureBucket lists those that wait",
            named.namespace, named.name, review.spec.bucket_ref.name
        ),
    }
}

fn names_it(review: &GrantReview, case: &Case<'_>) -> Result<(), Doubt> {
    let (named, meta) = (&review.spec.grant_ref, &case.grant.metadata);
    let target = target(case.grant);
    let bucket =
        review.metadata.namespace.as_ref() == Some(&target.namespace) && review.spec.bucket_ref.name == target.name;
    let grant = meta.namespace.as_ref() == Some(&named.namespace) && meta.name.as_ref() == Some(&named.name);
    if !bucket || !grant {
        return Err(no_such_grant(review));
    }
    if meta.uid.as_ref() != Some(&named.uid) {
        return doubt(
            "AnotherGrant",
            "spec.grantRef.uid: the DecryptGrant of this name was made anew since; look at what it asks for and review it",
        );
    }
    Ok(())
}

/// Only before the grant is over, and an approval or denial only before access begins.
fn in_time(review: &GrantReview, case: &Case<'_>) -> Result<(), Doubt> {
    let status = case.status();
    if review.metadata.deletion_timestamp.is_some() {
        return doubt("Withdrawn", "this review is being deleted");
    }
    // What began without approval is reviewed afterwards, over or not.
    if reviews_access(&status, created(review)) {
        return Ok(());
    }
    if status.ended.is_some() || case.grant.metadata.deletion_timestamp.is_some() {
        return doubt("GrantOver", "the DecryptGrant was over before this review; there is nothing left to decide");
    }
    let Some(begun) = status.activated_at.as_deref().and_then(parse_instant) else { return Ok(()) };
    let late = created(review).is_none_or(|at| at > after(begun, MAX_SKEW));
    match review.spec.decision {
        Decision::Revoke => Ok(()),
        // Whoever said no while access was about to begin has said no.
        Decision::Deny if !late => Ok(()),
        Decision::Deny => {
            doubt("TooLate", "access had begun before this review; to end it, create a review with decision Revoke")
        }
        Decision::Approve => doubt("TooLate", "access had begun before this review; it needs no further approval"),
    }
}

/// To the very terms that were resolved.
fn agrees(review: &GrantReview, case: &Case<'_>) -> Result<(), Doubt> {
    let status = case.status();
    let Some(resolved) = &status.resolved else {
        return doubt(
            "TermsUnknown",
            "the terms of the DecryptGrant are not resolved yet; its condition Active says what is in the way",
        );
    };
    if resolved.terms_hash != review.spec.terms_hash {
        return doubt(
            "OtherTerms",
            format!(
                "spec.termsHash: it is not that of the DecryptGrant, which is {}; look at what is asked for and create another review",
                resolved.terms_hash
            ),
        );
    }
    // The terms of a grant cannot be agreed to before there is one, though its hash can be computed.
    let asked = case.grant.metadata.creation_timestamp.as_ref().map(|at| at.0);
    if asked.zip(created(review)).is_none_or(|(asked, reviewed)| reviewed < asked) {
        return doubt("TooEarly", "this review is older than the DecryptGrant; create another one");
    }
    Ok(())
}

/// By whom the API server says.
fn by_whom(review: &GrantReview, case: &Case<'_>) -> Result<(), Doubt> {
    if let Some(problem) = &case.enforcement.problem {
        return doubt("ApprovalNotEnforced", problem.clone());
    }
    if edited(&review.metadata) {
        return doubt(
            "Edited",
            "the spec of this review was changed after it was made, which the CRD of this version refuses; create another one, and have the CRDs installed again",
        );
    }
    if !created(review).is_some_and(|at| case.enforcement.covers(at)) {
        return doubt(
            "ApprovalNotEnforced",
            "this review is older than the proof that the admission policies are in force, so nobody vouches for its reviewer; create another one",
        );
    }
    let username = &review.spec.reviewer.username;
    let named = |set: &crate::api::grants::ApproverSet| member(set, &review.spec.reviewer);
    let robot = service_account(username).is_some() && case.rules.iter().all(|r| r.approvers.iter().any(named));
    if is_system(username) && !robot {
        return doubt(
            "ReviewerNotAllowed",
            format!(
                "spec.reviewer.username: {username} is nobody of the people; a ServiceAccount counts only if spec.grants.approvers[].serviceAccounts of the SecureBucket names it"
            ),
        );
    }
    Ok(())
}

fn of_a_set(review: &GrantReview, case: &Case<'_>) -> Result<(), Doubt> {
    let reviewer = &review.spec.reviewer;
    if case.rules.iter().all(|rules| admits(rules, reviewer)) {
        return Ok(());
    }
    doubt(
        "NotAnApprover",
        format!(
            "spec.reviewer: {} is in no set of spec.grants.approvers of the SecureBucket, as it is now or was when access was asked for; ask a member to review, or list your groups in spec.reviewer.groups",
            reviewer.username
        ),
    )
}

/// Nobody reviews his own access, whatever he says of it.
fn by_another(review: &GrantReview, case: &Case<'_>) -> Result<(), Doubt> {
    let afterwards = reviews_access(&case.status(), created(review));
    match own(review, case.grant.spec.requester.as_ref(), case.install).filter(|_| afterwards) {
        None => Ok(()),
        Some(why) => doubt(
            "SelfApproval",
            format!(
                "spec.reviewer: {} is who asked ({why}); nobody reviews his own access, ask somebody else",
                review.spec.reviewer.username
            ),
        ),
    }
}

fn may_approve(review: &GrantReview, case: &Case<'_>) -> Result<(), Doubt> {
    of_a_set(review, case)?;
    by_another(review, case)?;
    let reviewer = Person::from(&review.spec.reviewer);
    let requester = case.grant.spec.requester.as_ref();
    let one = requester.and_then(|r| same(reviewer, Person::from(r), &case.install.fixed_session_roles));
    if let Some(why) = one {
        return doubt(
            "SelfApproval",
            format!(
                "spec.reviewer: {} is who asks ({why}); nobody approves his own request, ask somebody else",
                reviewer.username
            ),
        );
    }
    let Some(text) = &review.spec.max_duration else { return Ok(()) };
    let floor = jiff::SignedDuration::try_from(case.install.timing.grant_floor).unwrap_or(jiff::SignedDuration::MAX);
    match parse_duration(&text.0) {
        Ok(asked) if asked >= floor => Ok(()),
        Ok(_) => doubt(
            "TooShort",
            format!(
                "spec.maxDuration: {} is shorter than {}, the shortest of this installation; create another review, or deny",
                text.0,
                format_duration(floor)
            ),
        ),
        Err(e) => doubt("TooShort", format!("spec.maxDuration: {e}; create another review")),
    }
}

/// True if the spec is not that of the creation, which the admission policies looked at: only a CRD that is not ours lets it be changed.
pub fn edited(meta: &ObjectMeta) -> bool {
    meta.generation.is_some_and(|generation| generation != 1)
}

/// When the review was made, by the API server's clock.
pub fn created(review: &GrantReview) -> Option<Timestamp> {
    review.metadata.creation_timestamp.as_ref().map(|at| at.0)
}
