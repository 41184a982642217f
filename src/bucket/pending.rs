//! What approvers have before them: the requests on a bucket that wait for approval, and access that began without it and waits for its review. Pure.

use jiff::Timestamp;

use super::desired::grant_namespaces;
use crate::api::condition::{reason, types};
use crate::api::decrypt_grant::DecryptGrantStatus;
use crate::api::grants::PendingGrant;
use crate::api::{DecryptGrant, SecureBucket};
use crate::domain::time::{format_duration, format_instant};
use crate::grant::agree::{AWAITING, request_until};
use crate::grant::break_glass::{review_due, unreviewed};
use crate::grant::review::person::is_system;
use crate::grant::review::rules::both;

/// Entries of the list; status has its limits.
const MOST: usize = 32;

/// The requests, those that expire first before others, and how many found no room.
pub fn pending(bucket: &SecureBucket, grants: &[&DecryptGrant]) -> (Vec<PendingGrant>, usize) {
    let allowed = grant_namespaces(bucket);
    let waits = |g: &&&DecryptGrant| {
        let allowed = g.metadata.namespace.as_ref().is_some_and(|n| allowed.contains(n));
        let asked = allowed && g.metadata.deletion_timestamp.is_none();
        g.status.as_ref().is_some_and(|s| {
            let awaits = asked && s.ended.is_none() && reason(&s.conditions, types::ACTIVE) == AWAITING;
            (awaits || unreviewed(s)) && s.resolved.as_ref().map(|t| &t.bucket_uid) == bucket.metadata.uid.as_ref()
        })
    };
    let mut all: Vec<&DecryptGrant> = grants.iter().filter(waits).copied().collect();
    let until = |g: &DecryptGrant| g.status.as_ref().and_then(decided_by);
    // None is later than any. Only those that are shown are judged by the bucket's rules.
    all.sort_by_key(|g| (until(g).unwrap_or(Timestamp::MAX), g.metadata.namespace.clone(), g.metadata.name.clone()));
    let left_out = all.len().saturating_sub(MOST);
    (all.into_iter().take(MOST).filter_map(|g| entry(bucket, g)).collect(), left_out)
}

/// Until when people should decide: before the request expires, or the review of access without approval is due.
fn decided_by(status: &DecryptGrantStatus) -> Option<Timestamp> {
    review_due(status).or_else(|| request_until(status))
}

fn entry(bucket: &SecureBucket, grant: &DecryptGrant) -> Option<PendingGrant> {
    let status = grant.status.as_ref()?;
    let terms = status.resolved.as_ref()?;
    let afterwards = unreviewed(status);
    let asked = both(grant, Some(bucket)).iter().map(|r| r.approvals).max().unwrap_or_default();
    let robots = status.approvals.iter().filter(|a| is_system(&a.reviewer)).count();
    let needed = if afterwards { 1 } else { usize::try_from(asked).unwrap_or_default() + robots };
    Some(PendingGrant {
        namespace: grant.metadata.namespace.clone()?,
        name: grant.metadata.name.clone()?,
        uid: grant.metadata.uid.clone()?,
        requester: grant.spec.requester.as_ref().map(|r| r.username.clone()).unwrap_or_default(),
        service_account: terms.service_account.clone(),
        prefixes: terms.prefixes.clone(),
        duration: format_duration(jiff::SignedDuration::from_secs(terms.duration_seconds)),
        not_before: terms.not_before.clone(),
        break_glass: afterwards.then_some(true),
        extends: terms.extends.as_ref().map(|e| e.name.clone()),
        reason: grant.spec.reason.clone(),
        ticket: grant.spec.ticket.clone(),
        terms_hash: terms.terms_hash.clone(),
        approvals: format!("{} of {needed}", status.approvals.len()),
        expires_at: decided_by(status).map(format_instant).unwrap_or_default(),
    })
}
