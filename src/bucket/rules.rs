//! What a bucket's owner asks of requests, with the defaults filled in. Pure.

use jiff::SignedDuration;

use super::desired::Invalid;
use crate::api::SecureBucket;
use crate::domain::time::parse_duration;

/// Default of `grants.approvals`.
pub const DEFAULT_APPROVALS: i32 = 1;
/// Default of `grants.pendingTTL`.
pub const DEFAULT_PENDING_TTL: SignedDuration = SignedDuration::from_hours(24);
/// Default of `grants.maxOpenPerSubject`.
pub const DEFAULT_MAX_OPEN: i32 = 5;

/// How long a request on this bucket waits for approval.
///
/// # Errors
/// If the owner's text is not a duration.
pub fn pending_ttl(bucket: &SecureBucket) -> Result<SignedDuration, Invalid> {
    let text = bucket.spec.grants.as_ref().and_then(|g| g.pending_ttl.as_ref());
    let Some(text) = text else { return Ok(DEFAULT_PENDING_TTL) };
    parse_duration(&text.0)
        .map_err(|e| Invalid { field: "spec.grants.pendingTTL".into(), problem: format!("{e}; write for example 24h") })
}

/// Open requests and grants that one ServiceAccount may have on this bucket.
pub fn max_open_per_subject(bucket: &SecureBucket) -> i32 {
    bucket.spec.grants.as_ref().and_then(|g| g.max_open_per_subject).unwrap_or(DEFAULT_MAX_OPEN)
}
