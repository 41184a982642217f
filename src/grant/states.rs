//! The states of a request, and what leads from one to another: the one table, which `docs/concepts.md` prints. Pure.

use crate::api::condition::{is_true, types};
use crate::api::decrypt_grant::{DecryptGrantStatus, EndReason};

/// State of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Created; its names are not resolved.
    Requested,
    /// Resolved: its terms have a hash, which reviews name.
    Resolved,
    /// Approved; its window is not open.
    Approved,
    /// Its window is open: `expiresAt` is set, and the access is being given or there.
    Open,
    /// Over.
    Ended(EndReason),
}

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Happening {
    /// Bucket and ServiceAccount were found.
    NamesResolved,
    /// The bucket asks for no approval, or a rule of it stands in for people.
    PolicyApproves,
    /// Enough different persons approved these terms.
    EnoughApprovals,
    /// The bucket allows access without approval, and nothing is in its way.
    GlassBroken,
    /// It asks for access without approval, and does not get it now: it never does.
    GlassHolds,
    /// A rule of the bucket denies it, or says nothing of it.
    PolicyDenies,
    /// What it extends is over, or is not its own, or it would last for too long.
    NotExtendable,
    /// A reviewer denied it, or revoked it before it began.
    Refused,
    /// A reviewer revoked it.
    Revoked,
    /// `grants.pendingTTL` passed.
    NotApprovedInTime,
    /// The time to begin came, and everything that approval needs still holds.
    Begins,
    /// An hour passed since approval and `notBefore`.
    NotBegunInTime,
    /// Its time passed.
    TimePassed,
    /// Its holder deleted it.
    HandedBack,
    /// The bucket was locked down.
    LockedDown,
    /// The SecureBucket is gone, is being deleted, or no longer lets the namespace ask.
    BucketGone,
    /// Bucket or ServiceAccount were replaced.
    Replaced,
    /// The owner no longer lets the namespace read, or gave the ServiceAccount a duty on the bucket.
    ConsentWithdrawn,
    /// The KMS grant, the role or the key were removed or disabled outside the operator.
    RemovedOutside,
}

use EndReason as End;
use Happening as H;
use State::{Approved, Ended, Open, Requested, Resolved};

/// Every way from one state to another. There is no other.
pub const TABLE: &[(State, Happening, State)] = &[
    (Requested, H::NamesResolved, Resolved),
    (Requested, H::GlassHolds, Ended(End::Denied)),
    (Requested, H::PolicyDenies, Ended(End::Denied)),
    (Requested, H::NotExtendable, Ended(End::Denied)),
    (Requested, H::LockedDown, Ended(End::Denied)),
    (Requested, H::BucketGone, Ended(End::BucketGone)),
    (Resolved, H::PolicyApproves, Approved),
    (Resolved, H::EnoughApprovals, Approved),
    (Resolved, H::GlassBroken, Approved),
    (Resolved, H::GlassHolds, Ended(End::Denied)),
    (Resolved, H::PolicyDenies, Ended(End::Denied)),
    (Resolved, H::NotExtendable, Ended(End::Denied)),
    (Resolved, H::Refused, Ended(End::Denied)),
    (Resolved, H::NotApprovedInTime, Ended(End::ApprovalTimedOut)),
    (Resolved, H::LockedDown, Ended(End::Denied)),
    (Resolved, H::Replaced, Ended(End::Denied)),
    (Resolved, H::BucketGone, Ended(End::BucketGone)),
    (Approved, H::Begins, Open),
    (Approved, H::GlassHolds, Ended(End::Denied)),
    (Approved, H::PolicyDenies, Ended(End::Denied)),
    (Approved, H::NotExtendable, Ended(End::Denied)),
    (Approved, H::Refused, Ended(End::Denied)),
    (Approved, H::NotBegunInTime, Ended(End::Lapsed)),
    (Approved, H::LockedDown, Ended(End::Denied)),
    (Approved, H::Replaced, Ended(End::Denied)),
    (Approved, H::BucketGone, Ended(End::BucketGone)),
    (Open, H::TimePassed, Ended(End::Expired)),
    (Open, H::HandedBack, Ended(End::HandedBack)),
    (Open, H::Revoked, Ended(End::Revoked)),
    (Open, H::LockedDown, Ended(End::LockedDown)),
    (Open, H::BucketGone, Ended(End::BucketGone)),
    (Open, H::Replaced, Ended(End::Revoked)),
    (Open, H::ConsentWithdrawn, Ended(End::Revoked)),
    (Open, H::RemovedOutside, Ended(End::Revoked)),
];

/// The state that a status tells of.
pub fn state(status: &DecryptGrantStatus) -> State {
    match &status.ended {
        Some(end) => Ended(end.reason),
        None if status.expires_at.is_some() => Open,
        None if is_true(&status.conditions, types::APPROVED) => Approved,
        None if status.resolved.is_some() => Resolved,
        None => Requested,
    }
}

/// Where it leads.
fn leads(from: State, happening: Happening) -> Option<State> {
    TABLE.iter().find(|(state, what, _)| *state == from && *what == happening).map(|(_, _, to)| *to)
}

/// True if one step of the table leads from one state to the other.
pub fn follows(from: State, to: State) -> bool {
    TABLE.iter().any(|(state, _, next)| *state == from && *next == to)
}

/// The end that it leads to. What the table does not know takes access away all the same.
pub fn end_of(from: State, happening: Happening) -> EndReason {
    match leads(from, happening) {
        Some(Ended(reason)) => reason,
        _ if from == Open => EndReason::Revoked,
        _ => EndReason::Denied,
    }
}

impl State {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Requested => "requested",
            Resolved => "resolved",
            Approved => "approved",
            Open => "open",
            Ended(reason) => super::status::word(reason),
        }
    }
}

impl Happening {
    /// In words, for people.
    pub fn words(self) -> &'static str {
        match self {
            H::NamesResolved => "bucket and ServiceAccount are found: the terms get their hash",
            H::PolicyApproves => {
                "the bucket asks for no approval (`approvals: 0`), or a rule stands in for it (`grants.autoApprove`)"
            }
            H::EnoughApprovals => "enough different persons approved these terms",
            H::GlassBroken => "break-glass: the bucket allows it, and no earlier one waits for its review",
            H::GlassHolds => {
                "break-glass that the bucket does not allow, that another one is in the way of, or that could not begin at once"
            }
            H::PolicyDenies => "a rule of the bucket denies it, or says nothing of it (`grants.deny`)",
            H::NotExtendable => {
                "what it extends is over or is not like it, or together they would last too long (`extends`)"
            }
            H::Refused => "a reviewer denies it, or revokes it before it begins",
            H::Revoked => "a reviewer revokes it",
            H::NotApprovedInTime => "`grants.pendingTTL` passed without approval",
            H::Begins => "its time comes, and the rules of now are met as well",
            H::NotBegunInTime => "an hour passed since approval and `notBefore`",
            H::TimePassed => "its time passes",
            H::HandedBack => "its holder deletes it",
            H::LockedDown => "the bucket is locked down",
            H::BucketGone => "the SecureBucket is gone, is being deleted, or no longer lets the namespace ask",
            H::Replaced => "bucket or ServiceAccount are replaced or gone",
            H::ConsentWithdrawn => {
                "the owner takes the namespace out, or gives the ServiceAccount a duty on the bucket"
            }
            H::RemovedOutside => "KMS grant, role or key are removed or disabled outside the operator",
        }
    }
}

/// The table as `docs/concepts.md` has it.
pub fn markdown() -> String {
    let mut text = String::from("| From | What happens | To |\n|---|---|---|\n");
    for (from, what, to) in TABLE {
        let to = if matches!(to, Ended(_)) { format!("**{}**", to.word()) } else { to.word().to_owned() };
        text.push_str(&format!("| {} | {} | {to} |\n", from.word(), what.words()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_row_for_each_state_and_happening_and_no_way_out_of_an_end() {
        for (index, (from, what, to)) in TABLE.iter().enumerate() {
            assert!(!matches!(from, Ended(_)), "{from:?} is no end");
            assert!(from < to, "{from:?} {what:?} leads back");
            assert!(TABLE.iter().skip(index + 1).all(|(f, w, _)| (f, w) != (from, what)), "{from:?} {what:?} twice");
        }
        assert_eq!(leads(Requested, H::EnoughApprovals), None);
        assert!(!follows(Resolved, Open) && follows(Approved, Open));
    }
}
