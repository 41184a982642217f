//! Going on from a grant that is active: a request of its own, with a window of its own, and one length for the whole chain. Pure.

use jiff::{SignedDuration, Timestamp};

use super::decide::{end, stalled, wait};
use super::facts::{Facts, Step};
use super::states::Happening;
use super::terms::{Asked, target};
use crate::api::decrypt_grant::{DecryptGrantStatus, ExtendedTerms};
use crate::api::{DecryptGrant, SecureBucket};
use crate::domain::installation::Installation;
use crate::domain::prefix::Prefixes;
use crate::domain::time::{after, format_duration, format_instant, parse_instant};
use crate::role::desired::open_grant;

/// How long a chain of grants may last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    since: Timestamp,
    /// The latest end of any grant in it.
    pub until: Timestamp,
}

impl Limit {
    /// Of the chain that goes on from this one.
    pub fn of(extends: &ExtendedTerms, max: SignedDuration) -> Option<Self> {
        let since = parse_instant(&extends.since)?;
        Some(Self { since, until: after(since, max) })
    }

    /// Why a window of this length, opened now, would be too long.
    pub fn exceeded(&self, now: Timestamp, duration: SignedDuration) -> Option<String> {
        if after(now, duration) <= self.until {
            return None;
        }
        let left = self.until.duration_since(now);
        let way_out = if left > SignedDuration::ZERO {
            format!("ask for at most {} and have it approved soon", format_duration(left))
        } else {
            "nothing is left of that".to_owned()
        };
        Some(format!(
            "spec.extends: with {} from now on it would last beyond {}, the latest end of what began at {} (grants.maxDuration of the bucket counts from there); {way_out}, or create a new grant without extends",
            format_duration(duration),
            format_instant(self.until),
            format_instant(self.since)
        ))
    }
}

/// The grant that this one extends, if it extends one.
///
/// # Errors
/// With what to do instead, if it cannot.
pub(super) fn extension(
    facts: &Facts<'_>,
    status: &DecryptGrantStatus,
    bucket: &SecureBucket,
    asked: &Asked,
    max: SignedDuration,
    install: &Installation,
) -> Result<Option<ExtendedTerms>, Box<Step>> {
    let Some(named) = &facts.grant.spec.extends else { return Ok(None) };
    let no = |message: String| Box::new(end(status, Happening::NotExtendable, message));
    let Some(before) = facts.extended else {
        let message = format!("spec.extends.name: there is no DecryptGrant {} in this namespace", named.name);
        return Err(if status.resolved.is_some() {
            no(format!("{message} any more; create a new grant without extends"))
        } else {
            Box::new(stalled("ExtendedNotFound", format!("{message}; create a grant without extends")))
        });
    };
    if let Some(other) = unlike(facts.grant, before, asked) {
        return Err(no(format!("spec.extends.name: {} {other}; create a new grant without extends", named.name)));
    }
    let begun = before.status.as_ref().is_some_and(|s| s.expires_at.is_some() || s.ended.is_some());
    if !begun && before.metadata.deletion_timestamp.is_none() {
        let message = format!("spec.extends.name: {} has not begun yet; it is extended while it is active", named.name);
        return Err(Box::new(wait("ExtendedNotActive", message)));
    }
    let resolved = before.status.as_ref().and_then(|s| s.resolved.as_ref());
    let same = resolved.is_some_and(|r| Some(&r.bucket_uid) == bucket.metadata.uid.as_ref());
    let since = open_grant(before, install, facts.now).filter(|_| same).map(|(window, _)| window.activated_at);
    let Some(since) = since else {
        return Err(no(format!(
            "spec.extends.name: {} is over, and only what is active can be extended; create a new grant without extends",
            named.name
        )));
    };
    // The beginning of the chain stands in the terms of each of its grants but the first.
    let first = resolved.and_then(|r| r.extends.as_ref()).map(|e| e.since.clone());
    let extends = ExtendedTerms {
        name: named.name.clone(),
        uid: before.metadata.uid.clone().unwrap_or_default(),
        since: first.unwrap_or_else(|| format_instant(since)),
    };
    // Later a reviewer may have shortened it: then what was agreed to is looked at.
    let limit = Limit::of(&extends, max).filter(|_| status.resolved.is_none());
    if let Some(message) = limit.and_then(|limit| limit.exceeded(facts.now, asked.duration)) {
        return Err(no(message));
    }
    Ok(Some(extends))
}

/// What makes it another grant than one that goes on from the other.
fn unlike(grant: &DecryptGrant, before: &DecryptGrant, asked: &Asked) -> Option<&'static str> {
    if grant.metadata.uid == before.metadata.uid {
        return Some("is this grant itself");
    }
    if target(grant) != target(before) {
        return Some("is on another SecureBucket");
    }
    if grant.spec.subject != before.spec.subject {
        return Some("is of another ServiceAccount");
    }
    let texts: Vec<&str> = before.spec.prefixes.iter().map(|p| p.0.as_str()).collect();
    if !Prefixes::parse(&texts).is_ok_and(|p| p.covers(&asked.prefixes)) {
        return Some("does not let it read all of these prefixes");
    }
    None
}
