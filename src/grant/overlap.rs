//! What else lets the subject of an ended grant read the same data. Pure.

use jiff::Timestamp;

use crate::api::secure_bucket::Duty;
use crate::api::{DecryptGrant, SecureBucket};
use crate::bucket::desired::entry_prefixes;
use crate::domain::installation::Installation;
use crate::grant::terms::target;
use crate::role::desired::{open_grant, window};

/// Other open grants, and a Processor's duty, through which the subject of `grant` goes on to read under overlapping prefixes of the bucket.
pub fn still_readable<'a>(
    grant: &DecryptGrant,
    others: impl IntoIterator<Item = &'a DecryptGrant>,
    bucket: Option<&SecureBucket>,
    install: &Installation,
    now: Timestamp,
) -> Vec<String> {
    let Some((mine, _)) = window(grant, install) else { return Vec::new() };
    let account = &grant.spec.subject.service_account_ref.name;
    let namespace = grant.metadata.namespace.as_deref();
    let reads = |other: &DecryptGrant| {
        other.spec.subject.service_account_ref.name == *account
            && other.metadata.namespace.as_deref() == namespace
            && other.metadata.uid != grant.metadata.uid
            && open_grant(other, install, now).is_some_and(|(theirs, _)| {
                theirs.bucket.identity == mine.bucket.identity && theirs.prefixes.overlaps(&mine.prefixes)
            })
    };
    let grants = others.into_iter().filter(|o| reads(o));
    let mut names: Vec<String> =
        grants.map(|o| format!("DecryptGrant {}", o.metadata.name.as_deref().unwrap_or_default())).collect();
    names.sort();
    let entry = bucket
        .filter(|b| b.metadata.namespace.as_deref() == namespace && b.metadata.deletion_timestamp.is_none())
        .and_then(|b| b.spec.access.iter().find(|a| a.service_account_ref.name == *account))
        .filter(|a| a.duty == Duty::Processor);
    let overlapping = entry.filter(|a| entry_prefixes(a).ok().flatten().is_some_and(|p| p.overlaps(&mine.prefixes)));
    names.extend(overlapping.map(|a| format!("Processor duty {}", a.name)));
    names
}

/// Names of older requests and grants of the same ServiceAccount on the same bucket that are not over, the oldest first.
pub fn older<'a>(grant: &DecryptGrant, others: impl IntoIterator<Item = &'a DecryptGrant>) -> Vec<String> {
    let age = |g: &DecryptGrant| (g.metadata.creation_timestamp.as_ref().map(|at| at.0), g.metadata.uid.clone());
    let same = |other: &DecryptGrant| {
        other.spec.subject == grant.spec.subject
            && other.metadata.namespace == grant.metadata.namespace
            && target(other) == target(grant)
            && other.metadata.deletion_timestamp.is_none()
            && other.status.as_ref().is_none_or(|s| s.ended.is_none())
    };
    let mut all: Vec<&DecryptGrant> = others.into_iter().filter(|o| same(o) && age(o) < age(grant)).collect();
    all.sort_by_key(|g| age(g));
    all.iter().filter_map(|g| g.metadata.name.clone()).collect()
}

/// The message of an end, with what does not end.
pub fn with_others(message: &str, others: &[String]) -> String {
    if others.is_empty() {
        return message.to_owned();
    }
    format!("{message}; the ServiceAccount still reads some of it through {}", others.join(", "))
}
