//! From SecureBuckets and DecryptGrants to what a role should be. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::document::{BucketRef, DutyInput, GrantInput, HeldDeny, Inputs};
use super::state::RoleKey;
use crate::api::condition::{is_true, types};
use crate::api::{DecryptGrant, SecureBucket};
use crate::bucket::desired::entry_prefixes;
use crate::bucket::lockdown::level;
use crate::domain::arn::{issuer_host_path, region_of};
use crate::domain::identity;
use crate::domain::installation::Installation;
use crate::domain::policy::{Document, Statement};
use crate::domain::prefix::Prefixes;
use crate::domain::tags::{self, Tags};
use crate::domain::time::parse_instant;
use crate::grant::terms::{Target, genuine, target};

/// What a role should be, apart from its document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredRole {
    /// Name.
    pub name: String,
    /// ARN.
    pub arn: String,
    /// Path.
    pub path: String,
    /// Trust policy: this ServiceAccount of this cluster, for STS, and nobody else.
    pub trust: Vec<Statement>,
    /// Boundary.
    pub boundary: String,
    /// Marks.
    pub tags: Tags,
}

/// The role of a ServiceAccount.
pub fn desired_role(key: &RoleKey, install: &Installation) -> DesiredRole {
    let issuer = issuer_host_path(&install.oidc_issuer);
    let trust = Statement::allow("OnlyThisServiceAccount")
        .principal("Federated", &install.oidc_provider())
        .actions(["sts:AssumeRoleWithWebIdentity"])
        .when(
            "StringEquals",
            &format!("{issuer}:sub"),
            [format!("system:serviceaccount:{}:{}", key.namespace, key.service_account)],
        )
        .when("StringEquals", &format!("{issuer}:aud"), ["sts.amazonaws.com"]);
    DesiredRole {
        name: identity::role_name(&install.cluster, &key.namespace, &key.service_account),
        arn: install.role_arn(&key.namespace, &key.service_account),
        path: install.role_path(),
        trust: vec![trust],
        boundary: install.boundary.clone(),
        tags: BTreeMap::from([
            (tags::CLUSTER.to_owned(), install.cluster.clone()),
            (tags::NAMESPACE.to_owned(), key.namespace.clone()),
            (tags::SERVICE_ACCOUNT.to_owned(), key.service_account.clone()),
        ]),
    }
}

/// What the cluster knows of a role's namespace.
#[derive(Clone, Debug, Default)]
pub struct Sources<'a> {
    /// SecureBuckets of the role's own namespace: duties.
    pub buckets: Vec<&'a SecureBucket>,
    /// DecryptGrants of the role's own namespace.
    pub grants: Vec<&'a DecryptGrant>,
    /// SecureBuckets, by namespace and name, on which no grant may live: they are locked down.
    pub shut: BTreeSet<Target>,
    /// Uid of the ServiceAccount, if it exists.
    pub service_account_uid: Option<String>,
    /// Uid of the namespace, if it exists.
    pub namespace_uid: Option<String>,
}

/// Duties and open grants of the role at `now`.
pub fn inputs(key: &RoleKey, sources: &Sources<'_>, install: &Installation, now: Timestamp) -> Inputs {
    let exists = sources.service_account_uid.is_some();
    let duties = sources.buckets.iter().filter(|_| exists).filter_map(|b| duty(b, key, sources, install)).collect();
    let mut grants = Vec::new();
    let mut held = Vec::new();
    for grant in sources.grants.iter().filter(|g| g.spec.subject.service_account_ref.name == key.service_account) {
        match open_grant(grant, install, now) {
            Some((input, uid))
                if sources.service_account_uid.as_ref() == Some(&uid) && !sources.shut.contains(&target(grant)) =>
            {
                grants.push(input);
            }
            _ => held.extend(held_deny(grant, now)),
        }
    }
    Inputs { duties, grants, held: earliest(held) }
}

/// One Deny per bucket, the earliest: a second source of the same one does not move it.
fn earliest(mut held: Vec<HeldDeny>) -> Vec<HeldDeny> {
    held.sort();
    let mut earliest: BTreeMap<String, HeldDeny> = BTreeMap::new();
    for deny in held {
        earliest.entry(deny.identity.clone()).or_insert(deny);
    }
    earliest.into_values().collect()
}

/// The duty that a SecureBucket gives to the role, if it is in force: bucket complete, not being deleted, entry valid, namespace the one that
/// the bucket was made for.
fn duty(bucket: &SecureBucket, key: &RoleKey, sources: &Sources<'_>, install: &Installation) -> Option<DutyInput> {
    let entry = bucket.spec.access.iter().find(|a| a.service_account_ref.name == key.service_account)?;
    let reference = bucket_ref(bucket, install)?;
    if bucket.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let name = bucket.metadata.name.as_deref()?;
    // A namespace made anew under the name has another identity: its ServiceAccounts do not inherit.
    if identity::bucket_identity(&install.cluster, sources.namespace_uid.as_deref()?, name) != reference.identity {
        return None;
    }
    let prefixes = entry_prefixes(entry).ok()?;
    Some(DutyInput { bucket: reference, duty: entry.duty, prefixes, lock: level(bucket), established: false })
}

/// The bucket as a role sees it, once it has been read back complete.
pub fn bucket_ref(bucket: &SecureBucket, install: &Installation) -> Option<BucketRef> {
    let status = bucket.status.as_ref()?;
    status.provisioned_at.as_ref()?;
    Some(BucketRef {
        identity: status.identity.clone()?,
        bucket_arn: status.bucket_arn.clone()?,
        key_arn: status.key_arn.clone()?,
        via_s3: install.place_in(status.region.as_deref()?).via_s3(),
    })
}

/// The grant as an open window and the ServiceAccount uid that it is bound to; `None` if its window is not open at `now`.
pub fn open_grant(grant: &DecryptGrant, install: &Installation, now: Timestamp) -> Option<(GrantInput, String)> {
    let status = grant.status.as_ref()?;
    let approved = is_true(&status.conditions, types::APPROVED) && !is_true(&status.conditions, types::DENIED);
    let (window, uid) = window(grant, install)?;
    let over = status.ended.is_some() || grant.metadata.deletion_timestamp.is_some() || now >= window.expires_at;
    (approved && !over).then_some((window, uid))
}

/// The window of a grant, open or not; `None` before it was activated, or if status does not say what the spec says: then somebody else
/// wrote it, and it gives nothing.
pub fn window(grant: &DecryptGrant, install: &Installation) -> Option<(GrantInput, String)> {
    let status = grant.status.as_ref()?;
    let resolved = status.resolved.as_ref().filter(|r| genuine(grant, r, install))?;
    let expires_at = parse_instant(status.expires_at.as_deref()?)?;
    let activated_at = parse_instant(status.activated_at.as_deref()?)?;
    let early = resolved.not_before.as_deref().and_then(parse_instant).is_some_and(|begin| activated_at < begin);
    if early || expires_at.duration_since(activated_at).as_secs() > resolved.duration_seconds {
        return None;
    }
    let region = region_of(&resolved.key_arn)?;
    let input = GrantInput {
        uid: grant.metadata.uid.clone()?,
        bucket: BucketRef {
            identity: resolved.bucket_identity.clone(),
            bucket_arn: resolved.bucket_arn.clone(),
            key_arn: resolved.key_arn.clone(),
            via_s3: install.place_in(region).via_s3(),
        },
        prefixes: Prefixes::parse(&resolved.prefixes).ok()?,
        expires_at,
        activated_at,
        issued: status.kms_grant.is_some(),
    };
    Some((input, resolved.service_account_uid.clone()))
}

/// Windows that were in the document once, because a KMS grant was issued on them, and are not there now.
pub fn returning<'a>(grants: &'a [GrantInput], document: Option<&'a Document>) -> impl Iterator<Item = &'a GrantInput> {
    grants.iter().filter(move |g| g.issued && !document.is_some_and(|d| super::document::carries(d, g)))
}

/// The Deny that a grant whose window was open and is over leaves behind, until its removal is proved.
fn held_deny(grant: &DecryptGrant, now: Timestamp) -> Option<HeldDeny> {
    let status = grant.status.as_ref()?;
    let resolved = status.resolved.as_ref()?;
    let expires_at = parse_instant(status.expires_at.as_deref()?)?;
    if status.removal.is_some() {
        return None;
    }
    let ended = status.ended.as_ref().and_then(|e| parse_instant(&e.at));
    let from = ended.unwrap_or(now).min(expires_at);
    Some(HeldDeny { identity: resolved.bucket_identity.clone(), bucket_arn: resolved.bucket_arn.clone(), from })
}

/// The document that a role should have, given what is observed of it. `released` are identities for which evidence is in that no KMS grant
/// of the role is left.
pub fn with_held(
    mut inputs: Inputs,
    observed: Option<&Document>,
    released: &dyn Fn(&str) -> bool,
    now: Timestamp,
) -> Inputs {
    // As we wrote it, and not as somebody edited it.
    let untouched = observed.is_some_and(Document::is_certified);
    for deny in observed.map(super::document::held_denies).unwrap_or_default() {
        let open = inputs.grants.iter().any(|g| g.bucket.identity == deny.identity);
        if open || released(&deny.identity) {
            continue;
        }
        match inputs.held.iter_mut().find(|held| held.identity == deny.identity) {
            // It refuses already: written before status had the instant of the end. An earlier date would refuse nothing more.
            Some(held) if untouched && deny.from <= now && held.bucket_arn == deny.bucket_arn => held.from = deny.from,
            Some(held) => held.from = held.from.min(now),
            None => inputs.held.push(HeldDeny { from: deny.from.min(now), ..deny }),
        }
    }
    for duty in &mut inputs.duties {
        duty.established = observed.is_some_and(|d| super::document::has_duty(d, &duty.bucket.identity));
    }
    inputs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::role::document::build;

    const IDENTITY: &str = "0123456789abcdef";

    fn at(time: &str) -> Timestamp {
        format!("2026-01-01T{time}Z").parse().unwrap()
    }

    fn deny(from: &str, bucket: &str) -> HeldDeny {
        HeldDeny { identity: IDENTITY.into(), bucket_arn: format!("arn:aws:s3:::{bucket}"), from: at(from) }
    }

    #[test]
    fn a_deny_that_refuses_already_keeps_its_date() {
        let held = |known: Option<HeldDeny>, in_document: HeldDeny, released: bool| {
            let before = Inputs { held: vec![in_document], ..Inputs::default() };
            let document = Document::new(build(&before).statements).certified();
            let mine = Inputs { held: known.into_iter().collect(), ..Inputs::default() };
            with_held(mine, Some(&document), &|_| released, at("10:00:00")).held
        };
        let known = |from| Some(deny(from, "data"));
        for (mine, in_document, wanted) in [
            // Written a second after the end, before status had it.
            (known("09:59:58"), deny("09:59:59", "data"), deny("09:59:59", "data")),
            (known("09:59:58"), deny("10:00:00", "data"), deny("10:00:00", "data")),
            // That of an open window: it ends now.
            (known("09:59:58"), deny("11:00:00", "data"), deny("09:59:58", "data")),
            (None, deny("11:00:00", "data"), deny("10:00:00", "data")),
            (None, deny("09:00:00", "data"), deny("09:00:00", "data")),
            // Somebody edited the statement: it refuses on another bucket.
            (known("09:59:58"), deny("09:00:00", "another"), deny("09:59:58", "data")),
        ] {
            assert_eq!(held(mine.clone(), in_document.clone(), false), [wanted], "{mine:?} {in_document:?}");
        }
        assert_eq!(held(None, deny("09:00:00", "data"), true), []);
        // An end that lies ahead: the clock was put right, or somebody else wrote status.
        assert_eq!(held(known("10:05:00"), deny("11:00:00", "data"), false), [deny("10:00:00", "data")]);
        // A document that somebody edited is put right.
        let edited =
            Document::new(build(&Inputs { held: vec![deny("09:59:59", "data")], ..Inputs::default() }).statements);
        let mine = Inputs { held: known("09:59:58").into_iter().collect(), ..Inputs::default() };
        let now = with_held(mine, Some(&edited), &|_| false, at("10:00:00")).held;
        assert_eq!(now, [deny("09:59:58", "data")]);
    }
}
