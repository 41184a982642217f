//! Why a window that was opened is over before its date. Pure.

use jiff::Timestamp;

use super::agree::{stop, stopped};
use super::decide::end;
use super::facts::{Facts, Step};
use super::states::Happening;
use crate::api::SecureBucket;
use crate::api::decrypt_grant::DecryptGrantStatus;
use crate::bucket::desired::grant_namespaces;
use crate::bucket::lockdown::refuses_grants;
use crate::domain::installation::Installation;
use crate::role::state::Problem;

/// States of a key that somebody has brought about so that nobody reads: they end grants.
const CLOSED: [&str; 3] = ["Disabled", "PendingDeletion", "Unavailable"];

/// The reason why a window that was opened is over, if it is.
pub(super) fn over(
    facts: &Facts<'_>,
    status: &DecryptGrantStatus,
    expires_at: Timestamp,
    install: &Installation,
) -> Option<Step> {
    let grant = facts.grant;
    let terms = status.resolved.as_ref()?;
    let namespace = grant.metadata.namespace.as_deref().unwrap_or_default();
    if facts.now >= expires_at {
        return Some(end(status, Happening::TimePassed, "its time passed"));
    }
    if grant.metadata.deletion_timestamp.is_some() {
        return Some(end(status, Happening::HandedBack, "handed back by deletion"));
    }
    if let Some(no) = stopped(facts, install) {
        return Some(stop(status, Happening::Revoked, &no));
    }
    match facts.service_account_uid {
        None => return Some(end(status, Happening::Replaced, "the ServiceAccount is gone")),
        Some(uid) if uid != terms.service_account_uid => {
            return Some(end(status, Happening::Replaced, "the ServiceAccount was replaced"));
        }
        Some(_) => {}
    }
    if facts.bucket_unreadable.is_some() {
        return None;
    }
    let Some(bucket) = facts.bucket.filter(|b| b.metadata.uid.as_deref() == Some(&terms.bucket_uid)) else {
        return Some(end(status, Happening::BucketGone, "the SecureBucket is gone"));
    };
    if bucket.metadata.deletion_timestamp.is_some() {
        return Some(end(status, Happening::BucketGone, "the SecureBucket is being deleted"));
    }
    if refuses_grants(bucket) {
        return Some(end(status, Happening::LockedDown, "the SecureBucket was locked down"));
    }
    if let Some(state) = key_state(facts).filter(|state| CLOSED.contains(state)) {
        return Some(end(
            status,
            Happening::RemovedOutside,
            format!("the key was disabled outside the operator (state {state})"),
        ));
    }
    if !grant_namespaces(bucket).iter().any(|n| n == namespace) {
        return Some(end(
            status,
            Happening::ConsentWithdrawn,
            "the bucket's owner no longer lets this namespace read (spec.grants.allowedNamespaces)",
        ));
    }
    if separation_of_duties(bucket, namespace, &terms.service_account).is_some() {
        return Some(end(status, Happening::ConsentWithdrawn, "the ServiceAccount holds a duty on this bucket now"));
    }
    None
}

/// State of the bucket's key as the last pass over the bucket saw it, in KMS's word.
pub(super) fn key_state<'a>(facts: &Facts<'a>) -> Option<&'a str> {
    facts.bucket?.status.as_ref()?.key_state.as_deref()
}

/// A duty on the bucket, which excludes a grant on it.
pub(super) fn separation_of_duties(bucket: &SecureBucket, namespace: &str, account: &str) -> Option<Problem> {
    let own = bucket.metadata.namespace.as_deref() == Some(namespace);
    let entry = bucket.spec.access.iter().find(|a| own && a.service_account_ref.name == account)?;
    Some(Problem::stalled(
        "SeparationOfDuties",
        format!(
            "spec.subject.serviceAccountRef.name: {account} holds the duty {:?} on this bucket (entry {}) and gets no grant on it; use another ServiceAccount",
            entry.duty, entry.name
        ),
    ))
}
