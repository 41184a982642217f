//! What approvers have before them: the requests on a bucket that wait for approval. Pure.

use super::desired::grant_namespaces;
use crate::api::condition::{reason, types};
use crate::api::grants::PendingGrant;
use crate::api::{DecryptGrant, SecureBucket};
use crate::domain::time::{format_duration, format_instant};
use crate::grant::agree::{AWAITING, pending_until};
use crate::grant::review::person::is_system;
use crate::grant::review::rules::both;

/// Entries of the list; status has its limits.
const MOST: usize = 32;

/// The requests, those that expire first before others, and how many found no room.
pub fn pending(bucket: &SecureBucket, grants: &[&DecryptGrant]) -> (Vec<PendingGrant>, usize) {
    let allowed = grant_namespaces(bucket);
    let waits = |g: &&&DecryptGrant| {
        g.metadata.deletion_timestamp.is_none()
            && g.metadata.namespace.as_ref().is_some_and(|n| allowed.contains(n))
            && g.status.as_ref().is_some_and(|s| s.ended.is_none() && reason(&s.conditions, types::ACTIVE) == AWAITING)
    };
    let mut all: Vec<PendingGrant> = grants.iter().filter(waits).filter_map(|g| entry(bucket, g)).collect();
    // An instant in this form sorts by time; none is later than any.
    all.sort_by(|a, b| {
        let key =
            |p: &PendingGrant| (p.expires_at.is_empty(), p.expires_at.clone(), p.namespace.clone(), p.name.clone());
        key(a).cmp(&key(b))
    });
    let left_out = all.len().saturating_sub(MOST);
    all.truncate(MOST);
    (all, left_out)
}

fn entry(bucket: &SecureBucket, grant: &DecryptGrant) -> Option<PendingGrant> {
    let status = grant.status.as_ref()?;
    let terms = status.resolved.as_ref().filter(|t| Some(&t.bucket_uid) == bucket.metadata.uid.as_ref())?;
    let asked = both(grant, Some(bucket)).iter().map(|r| r.approvals).max().unwrap_or_default();
    let robots = status.approvals.iter().filter(|a| is_system(&a.reviewer)).count();
    let needed = usize::try_from(asked).unwrap_or_default() + robots;
    Some(PendingGrant {
        namespace: grant.metadata.namespace.clone()?,
        name: grant.metadata.name.clone()?,
        uid: grant.metadata.uid.clone()?,
        requester: grant.spec.requester.as_ref().map(|r| r.username.clone()).unwrap_or_default(),
        service_account: terms.service_account.clone(),
        prefixes: terms.prefixes.clone(),
        duration: format_duration(jiff::SignedDuration::from_secs(terms.duration_seconds)),
        extends: terms.extends.as_ref().map(|e| e.name.clone()),
        reason: grant.spec.reason.clone(),
        ticket: grant.spec.ticket.clone(),
        terms_hash: terms.terms_hash.clone(),
        approvals: format!("{} of {needed}", status.approvals.len()),
        expires_at: pending_until(status).map(format_instant).unwrap_or_default(),
    })
}
