//! From a resolved request to the agreement that it needs. Pure.

use jiff::{SignedDuration, Timestamp};

use super::ask::unasked;
use super::begin::{ACTIVATION_WINDOW, activate, opens_until};
use super::break_glass;
use super::decide::{end, ended};
use super::extend::Limit;
use super::facts::{Facts, Step};
use super::policy::{auto_approval, has_rules};
use super::review::decision::{Stop, Verdict, verdict};
use super::review::eligible::Case;
use super::review::rules::{both, rules};
use super::states::Happening;
use crate::api::condition::{Set, is_true, types};
use crate::api::decrypt_grant::{ApprovalRules, ApprovalStatus, DecryptGrantStatus, ResolvedTerms};
use crate::api::{DecryptGrant, SecureBucket};
use crate::bucket::rules::{BreakGlass, DEFAULT_PENDING_TTL, pending_ttl};
use crate::domain::installation::Installation;
use crate::domain::time::{after, format_duration, format_instant, parse_instant};
use crate::role::state::Problem;

/// Reason of a request that waits for people.
pub const AWAITING: &str = "AwaitingApproval";

/// What is written when a request is resolved: its terms, and the rules of that moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// Terms.
    pub terms: ResolvedTerms,
    /// Rules for approval.
    pub rules: ApprovalRules,
    /// When the request ends if it is not approved; `None` if the bucket asks for nothing.
    pub pending_until: Option<Timestamp>,
}

/// What was agreed to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agreement {
    /// By whom; empty if the bucket asks for nobody.
    pub approvals: Vec<ApprovalStatus>,
    /// How long: what was asked for, or the shortest of what reviewers allow.
    pub duration: SignedDuration,
    /// True if a reviewer shortened it.
    pub shortened: bool,
    /// The rule of `grants.autoApprove` that stands in for people.
    pub rule: Option<String>,
    /// The latest end that it may have: an extension's.
    pub latest: Option<Timestamp>,
    /// What the bucket asks of access without approval, if it is that.
    pub glass: Option<BreakGlass>,
}

impl Resolution {
    /// Into status.
    pub fn record(self, status: &mut DecryptGrantStatus) {
        status.resolved = Some(self.terms);
        status.approval_rules = Some(self.rules);
        status.pending_until = self.pending_until.map(format_instant);
    }
}

impl Agreement {
    /// The condition `Approved`.
    pub fn condition(&self) -> Set {
        if let Some(glass) = &self.glass {
            let message = format!(
                "break-glass: nobody approved it; somebody else has to review it within {} of its beginning",
                format_duration(glass.review_within)
            );
            return Set::yes(types::APPROVED, "BreakGlass", message);
        }
        if let Some(rule) = &self.rule {
            let message = format!("rule {rule} of the bucket's grants.autoApprove holds for the request");
            return Set::yes(types::APPROVED, "AutoApproved", message);
        }
        if self.approvals.is_empty() {
            let message = "the bucket's grants.approvals is 0 and the request is within its terms";
            return Set::yes(types::APPROVED, "PolicyApproved", message);
        }
        Set::yes(types::APPROVED, "ApprovalsMet", self.to_string())
    }

    /// Into status, with the window that it opens. Everything in one write.
    pub fn record(&self, status: &mut DecryptGrantStatus, start: Timestamp) {
        status.activated_at = Some(format_instant(start));
        let end = after(start, self.duration);
        status.expires_at = Some(format_instant(self.latest.map_or(end, |latest| end.min(latest))));
        status.break_glass = self.glass.as_ref().map(|glass| break_glass::begun(start, glass));
        status.approvals = self.approvals.clone();
        status.shortened_to = self.shortened.then(|| format_duration(self.duration));
    }
}

/// `approved by bob (security), carol; shortened to 1h`.
impl std::fmt::Display for Agreement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = |a: &ApprovalStatus| match &a.set {
            Some(set) => format!("{} ({set})", a.reviewer),
            None => a.reviewer.clone(),
        };
        let names: Vec<String> = self.approvals.iter().map(name).collect();
        write!(f, "approved by {}", names.join(", "))?;
        if self.shortened { write!(f, "; shortened to {}", format_duration(self.duration)) } else { Ok(()) }
    }
}

/// The terms, with the rules of this moment.
pub(super) fn resolution(grant: &DecryptGrant, bucket: &SecureBucket, terms: ResolvedTerms) -> Resolution {
    let rules = rules(bucket, grant);
    let waits = rules.approvals > 0 || rules.auto_approved_by.is_some() || has_rules(bucket);
    let pending_until = if break_glass::asks(grant) {
        grant.metadata.creation_timestamp.as_ref().map(|at| after(at.0, ACTIVATION_WINDOW))
    } else {
        waits.then(|| pending_end(grant, bucket)).flatten()
    };
    Resolution { terms, rules, pending_until }
}

fn pending_end(grant: &DecryptGrant, bucket: &SecureBucket) -> Option<Timestamp> {
    let created = grant.metadata.creation_timestamp.as_ref()?.0;
    Some(after(created, pending_ttl(bucket).unwrap_or(DEFAULT_PENDING_TTL)))
}

/// Until when a request that is not approved may be, as status has it.
pub fn pending_until(status: &DecryptGrantStatus) -> Option<Timestamp> {
    let open = status.ended.is_none() && status.expires_at.is_none();
    let waits = open && !is_true(&status.conditions, types::APPROVED);
    status.pending_until.as_deref().and_then(parse_instant).filter(|_| waits)
}

/// Until when a request that has not begun must be approved, or begun.
pub fn request_until(status: &DecryptGrantStatus) -> Option<Timestamp> {
    opens_until(status).or_else(|| pending_until(status))
}

/// The end of a request that nobody approved in time.
pub(super) fn timed_out(facts: &Facts<'_>, status: &DecryptGrantStatus) -> Option<Step> {
    pending_until(status).filter(|at| facts.now >= *at).map(|at| expired(status, at))
}

fn expired(status: &DecryptGrantStatus, at: Timestamp) -> Step {
    let message =
        format!("it was not approved by {} (grants.pendingTTL of the bucket); create a new grant", format_instant(at));
    end(status, Happening::NotApprovedInTime, message)
}

/// Judges the reviews by the rules at the request and by those of the bucket as it is.
pub fn judge(facts: &Facts<'_>, install: &Installation) -> Option<Verdict> {
    let reviews = facts.reviews?;
    let both = both(facts.grant, facts.bucket);
    let rules: Vec<&ApprovalRules> = both.iter().collect();
    let case = Case { grant: facts.grant, rules: &rules, enforcement: facts.enforcement, install };
    Some(verdict(&case, reviews))
}

/// A reviewer's no, if there is one that counts.
pub(super) fn stopped(facts: &Facts<'_>, install: &Installation) -> Option<Stop> {
    judge(facts, install)?.stop
}

/// The end by a reviewer.
pub(super) fn stop(status: &DecryptGrantStatus, happening: Happening, stop: &Stop) -> Step {
    ended(status, happening, stop.to_string(), Some(stop.review.clone()), None)
}

/// The request is resolved, and stands: who has to agree, and did?
pub(super) fn agreed(
    facts: &Facts<'_>,
    status: &DecryptGrantStatus,
    bucket: &SecureBucket,
    terms: &ResolvedTerms,
    limit: Option<Limit>,
    glass: Option<BreakGlass>,
    install: &Installation,
) -> Step {
    // An approval is nothing that a cache may say.
    let Some(verdict) = judge(facts, install) else { return Step::ReadReviews };
    let approved = is_true(&status.conditions, types::APPROVED);
    let asked = SignedDuration::from_secs(terms.duration_seconds);
    if glass.is_some() {
        if let Some(problem) = unasked(facts.grant, bucket, facts.enforcement) {
            return Step::Wait { problem, until: None };
        }
        let agreement = Agreement { duration: asked, glass, ..Agreement::default() };
        return if approved { activate(facts, terms, agreement) } else { Step::Approve(agreement) };
    }
    // The rule of now, or that of the request where the bucket asks for nobody any more.
    let rule = verdict.rule.clone().filter(|_| verdict.needed == 0);
    let relied_upon = verdict.needed > 0 || rule.is_some() || has_rules(bucket);
    if let Some(problem) = unasked(facts.grant, bucket, facts.enforcement).filter(|_| relied_upon) {
        return Step::Wait { problem, until: None };
    }
    if verdict.needed > 0 {
        let until =
            status.pending_until.as_deref().and_then(parse_instant).or_else(|| pending_end(facts.grant, bucket));
        let until = until.filter(|_| !approved);
        if let Some(at) = until.filter(|at| facts.now >= *at) {
            return expired(status, at);
        }
        if !verdict.approved() {
            return awaiting(&verdict, terms, until, &auto_approval(facts.grant, bucket).faults);
        }
    }
    let duration = verdict.shortest.map_or(asked, |shortest| shortest.min(asked));
    let approvals = if verdict.needed > 0 { verdict.approvals } else { Vec::new() };
    let shortened = !approvals.is_empty() && duration < asked;
    let duration = if shortened { duration } else { asked };
    if let Some(no) = limit.as_ref().and_then(|limit| limit.exceeded(facts.now, duration)) {
        return end(status, Happening::NotExtendable, no);
    }
    let latest = limit.map(|limit| limit.until);
    let agreement = Agreement { approvals, duration, shortened, rule, latest, glass: None };
    if approved { activate(facts, terms, agreement) } else { Step::Approve(agreement) }
}

fn awaiting(verdict: &Verdict, terms: &ResolvedTerms, until: Option<Timestamp>, faults: &[String]) -> Step {
    let mut text = match verdict.needed {
        1 => "awaiting 1 approval".to_owned(),
        n => format!("awaiting {n} approvals, {} there", verdict.approvals.len()),
    };
    if !verdict.missing.is_empty() {
        text.push_str(&format!(", one more of {}", verdict.missing.join(", and one of ")));
    }
    let by = until.map(|at| format!(", by {}", format_instant(at))).unwrap_or_default();
    let mut message = format!(
        "{text}{by}: GrantReviews in namespace {} by whoever may approve on SecureBucket {}, with termsHash {}",
        terms.bucket_namespace, terms.bucket_name, terms.terms_hash
    );
    for fault in faults {
        message.push_str(&format!("; {fault}"));
    }
    Step::Wait { problem: Problem::passing(AWAITING, message), until: None }
}
