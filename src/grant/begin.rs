//! The beginning of a window: when it may be opened, by which clock, and until when. Pure.

use jiff::{SignedDuration, Timestamp};

use super::agree::Agreement;
use super::decide::end;
use super::facts::{Facts, Step};
use super::states::Happening;
use crate::api::condition::{find, types};
use crate::api::decrypt_grant::{DecryptGrantStatus, ResolvedTerms};
use crate::domain::time::{MAX_SKEW, after, format_duration, format_instant, parse_instant};
use crate::role::state::Problem;

/// How long after its approval, and after `notBefore`, a window may still be opened. What found no living operator, no bucket or no clock by then
/// is asked for anew.
pub const ACTIVATION_WINDOW: SignedDuration = SignedDuration::from_hours(1);

/// How far this machine's clock is ahead of others, as far as known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skew {
    /// Of AWS's.
    pub aws: Option<SignedDuration>,
    /// Of the API server's.
    pub kubernetes: Option<SignedDuration>,
}

impl Skew {
    /// What keeps beginnings from being begun: whose clock is too far off, and by how much.
    pub fn excess(self) -> Option<(&'static str, SignedDuration)> {
        let too_far = |skew: Option<SignedDuration>| skew.filter(|s| s.abs() > MAX_SKEW);
        let aws = too_far(self.aws).map(|s| ("AWS's", s));
        aws.or_else(|| too_far(self.kubernetes).map(|s| ("the API server's", s)))
    }
}

/// Opens the window, if its time has come by AWS's clock.
pub(super) fn activate(facts: &Facts<'_>, terms: &ResolvedTerms, agreement: Agreement) -> Step {
    let scheduled = terms.not_before.as_deref().and_then(parse_instant).filter(|at| facts.now < *at);
    if let Some(at) = scheduled {
        return Step::Wait {
            problem: Problem::passing("Scheduled", format!("approved; access begins at {}", format_instant(at))),
            until: Some(at),
        };
    }
    if facts.looked.is_none() {
        // The clock of the window is the `Date` of an answer just received.
        return Step::Look;
    }
    skewed(facts).unwrap_or(Step::Activate(agreement))
}

/// Nothing begins by a clock that is wrong. Ending goes on.
pub(super) fn skewed(facts: &Facts<'_>) -> Option<Step> {
    let (whose, skew) = facts.skew.excess()?;
    let direction = if skew.is_negative() { "behind" } else { "ahead of" };
    let problem = Problem::stalled(
        "ClockSkew",
        format!(
            "the operator's clock is {} s {direction} {whose}; nothing is issued until it is set right",
            skew.abs().as_secs()
        ),
    );
    Some(Step::Wait { problem, until: Some(after(facts.now, MAX_SKEW)) })
}

/// The end of a request that was approved and whose window was not opened in time.
pub(super) fn lapsed(facts: &Facts<'_>, status: &DecryptGrantStatus) -> Option<Step> {
    let until = opens_until(status).filter(|until| facts.now >= *until)?;
    let message = format!(
        "access could not begin within {} of its approval or notBefore, by {}; create a new grant",
        format_duration(ACTIVATION_WINDOW),
        format_instant(until)
    );
    Some(end(status, Happening::NotBegunInTime, message))
}

/// Until when the window of an approved request may be opened, if it is not open yet.
pub fn opens_until(status: &DecryptGrantStatus) -> Option<Timestamp> {
    let unopened = status.expires_at.is_none() && status.ended.is_none();
    let approved = find(&status.conditions, types::APPROVED).filter(|c| unopened && c.status == "True")?;
    let begins = status.resolved.as_ref().and_then(|r| r.not_before.as_deref()).and_then(parse_instant);
    let from = begins.map_or(approved.last_transition_time.0, |at| at.max(approved.last_transition_time.0));
    Some(after(from, ACTIVATION_WINDOW))
}
