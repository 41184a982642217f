//! What a bucket's owner asks of requests, with the defaults filled in. Pure.

use jiff::SignedDuration;
use regex::{Regex, RegexBuilder};

use super::desired::{Invalid, max_duration};
use crate::api::SecureBucket;
use crate::api::types::DurationText;
use crate::domain::installation::Installation;
use crate::domain::time::parse_duration;

/// Default of `grants.approvals`.
pub const DEFAULT_APPROVALS: i32 = 1;
/// Default of `grants.pendingTTL`.
pub const DEFAULT_PENDING_TTL: SignedDuration = SignedDuration::from_hours(24);
/// Default of `grants.maxOpenPerSubject`.
pub const DEFAULT_MAX_OPEN: i32 = 5;

/// Default of `grants.breakGlass.maxDuration`.
pub const DEFAULT_BREAK_GLASS: SignedDuration = SignedDuration::from_hours(1);
/// Default of `grants.breakGlass.reviewWithin`.
pub const DEFAULT_REVIEW_WITHIN: SignedDuration = SignedDuration::from_hours(24);

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

/// What a bucket that allows access without approval asks of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakGlass {
    /// How long at most.
    pub max: SignedDuration,
    /// How long after its beginning the review is due.
    pub review_within: SignedDuration,
}

/// What the bucket asks of access without approval; `None` if it allows none.
///
/// # Errors
/// If one of the owner's texts is not a duration.
pub fn break_glass(bucket: &SecureBucket, install: &Installation) -> Result<Option<BreakGlass>, Invalid> {
    let Some(spec) = bucket.spec.grants.as_ref().and_then(|g| g.break_glass.as_ref()) else { return Ok(None) };
    let read = |field: &str, text: &Option<DurationText>, default: SignedDuration| {
        let Some(text) = text else { return Ok(default) };
        parse_duration(&text.0).map_err(|e| Invalid {
            field: format!("spec.grants.breakGlass.{field}"),
            problem: format!("{e}; write for example 1h"),
        })
    };
    let max = read("maxDuration", &spec.max_duration, DEFAULT_BREAK_GLASS)?;
    let review_within = read("reviewWithin", &spec.review_within, DEFAULT_REVIEW_WITHIN)?;
    Ok(Some(BreakGlass { max: max.min(max_duration(bucket, install)?), review_within }))
}

/// Memory that a compiled pattern may take: an owner's text must not make the operator slow for others.
const PATTERN_SIZE: usize = 1 << 18;

/// What a ticket must match as a whole, if the owner asks for one.
///
/// # Errors
/// If the owner's text is not a regular expression.
pub fn ticket_rule(bucket: &SecureBucket) -> Result<Option<Regex>, Invalid> {
    let Some(pattern) = bucket.spec.grants.as_ref().and_then(|g| g.ticket_pattern.as_deref()) else { return Ok(None) };
    let compile = |text: &str| RegexBuilder::new(text).size_limit(PATTERN_SIZE).dfa_size_limit(PATTERN_SIZE).build();
    // By itself as well: one that is whole only within the anchors would not be held by them.
    let rule = compile(pattern).and_then(|_| compile(&format!(r"\A(?:{pattern})\z")));
    rule.map(Some).map_err(|e| {
        let why = e.to_string().lines().last().unwrap_or_default().trim().to_owned();
        Invalid { field: "spec.grants.ticketPattern".into(), problem: format!("{why}; write for example SEC-[0-9]+") }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::SecureBucketSpec;
    use crate::api::grants::GrantsSpec;

    fn rule(pattern: &str) -> Result<Option<Regex>, Invalid> {
        let grants = GrantsSpec { ticket_pattern: Some(pattern.into()), ..GrantsSpec::default() };
        ticket_rule(&SecureBucket::new("b", SecureBucketSpec { grants: Some(grants), ..SecureBucketSpec::default() }))
    }

    #[test]
    fn a_ticket_matches_as_a_whole() {
        for (pattern, ticket, fits) in [
            ("SEC-[0-9]+", "SEC-12", true),
            ("SEC-[0-9]+", "XSEC-12", false),
            ("SEC-[0-9]+", "SEC-12b", false),
            ("A|B", "AB", false),
            ("A|B", "B", true),
            ("(?m)^A$", "A", true),
            ("(?i)sec-1", "SEC-1", true),
        ] {
            assert_eq!(rule(pattern).unwrap().unwrap().is_match(ticket), fits, "{pattern} {ticket}");
        }
        assert!(!rule("(?m)^A$").unwrap().unwrap().is_match("B\nA"));
    }

    #[test]
    fn what_is_no_pattern_is_said() {
        for pattern in ["(", "a)|(?:b", "[z-a]", "(?x)a #", "(a{1000}){1000}", r"(?=x)"] {
            let error = rule(pattern).unwrap_err();
            assert!(error.to_string().contains("ticketPattern"), "{pattern}: {error}");
        }
    }
}
