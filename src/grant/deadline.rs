//! When the access of a DecryptGrant has to be taken out of AWS. Pure.

use jiff::{SignedDuration, Timestamp};

use crate::api::DecryptGrant;
use crate::domain::time::{after, parse_instant};

/// A removal that takes longer than this is overdue. A thousand ends in one second take half of it at the rate of KMS.
pub const ALLOWANCE: SignedDuration = SignedDuration::from_secs(60);

/// True if there may be something of the grant in AWS: its window was opened, and its removal is not proved.
pub fn opened(grant: &DecryptGrant) -> bool {
    grant.status.as_ref().is_some_and(|s| s.expires_at.is_some() && s.removal.is_none())
}

/// From when on something of the grant has to be removed: its end, or long ago if it has ended already. `None` if nothing was ever written to
/// AWS for it, or its removal has been proved.
pub fn removal_due(grant: &DecryptGrant) -> Option<Timestamp> {
    let status = grant.status.as_ref()?;
    let expires_at = parse_instant(status.expires_at.as_deref()?)?;
    if status.removal.is_some() {
        return None;
    }
    let over = grant.metadata.deletion_timestamp.is_some();
    let ended = status.ended.as_ref().map(|end| parse_instant(&end.at).unwrap_or(expires_at));
    Some(if over { ended.unwrap_or(Timestamp::MIN) } else { ended.unwrap_or(expires_at) }.min(expires_at))
}

/// From when on the removal is overdue; `None` if nothing has ended, or nothing is left to remove.
pub fn overdue_from(grant: &DecryptGrant, now: Timestamp) -> Option<Timestamp> {
    end_of(grant, now).map(|at| after(at, ALLOWANCE))
}

/// When what is still to be removed ended; `None` if nothing has ended, or nothing is left to remove.
pub fn end_of(grant: &DecryptGrant, now: Timestamp) -> Option<Timestamp> {
    let due = removal_due(grant).filter(|at| *at <= now)?;
    // Deleted, and not looked at since: counted from the deletion.
    let deleted = grant.metadata.deletion_timestamp.as_ref().map(|at| at.0);
    Some(if due == Timestamp::MIN { deleted.unwrap_or(now) } else { due })
}
