//! Asks what DecryptGrants say of the KMS grants on a key.

use std::collections::BTreeSet;

use kube::Api;
use kube::api::ListParams;
use kube::core::DeserializeGuard;

use super::foreign::{Claim, Claims, Whose, classify};
use super::plan::Plan;
use crate::api::secure_bucket::AccessStatus;
use crate::api::{DecryptGrant, SecureBucket};
use crate::domain::foreign::Kind;
use crate::k8s::events::Reason;
use crate::k8s::{REQUEST_TIMEOUT, within};
use crate::reconcile::context::{Context, ObjectKey, Settled};
use crate::role::observed::ObservedGrant;

/// Claims on the key as the cache has them.
pub fn cached(ctx: &Context, key_arn: &str) -> Vec<Claim> {
    ctx.caches.grants.list().iter().filter_map(|g| Claim::of(g, key_arn)).collect()
}

/// Claims on the key that these KMS grants were seen on. The API server is asked if one of them is named as ours and the cache knows nobody
/// who answers for it. Its name was in status before it was made, so whoever answers is in a list that is made now.
pub async fn claims(ctx: &Context, key_arn: &str, seen: &[ObservedGrant]) -> Claims {
    let cached = Claims { all: cached(ctx, key_arn), served: ctx.served.clone(), ..Claims::default() };
    let doubtful = classify(seen, &cached, &ctx.install).iter().any(|g| g.whose == Whose::Unknown);
    if !doubtful {
        return cached;
    }
    match asked(ctx, key_arn).await {
        Some(claims) => claims,
        None => cached,
    }
}

/// Every DecryptGrant that this process may know of, from the API server.
async fn asked(ctx: &Context, key_arn: &str) -> Option<Claims> {
    type Guarded = DeserializeGuard<DecryptGrant>;
    let apis: Vec<Api<Guarded>> = if ctx.served.is_empty() {
        vec![Api::all(ctx.client.clone())]
    } else {
        ctx.served.iter().map(|ns| Api::namespaced(ctx.client.clone(), ns)).collect()
    };
    let mut claims = Claims { fresh: true, served: ctx.served.clone(), ..Claims::default() };
    for api in apis {
        let all = match within(REQUEST_TIMEOUT, api.list(&ListParams::default())).await {
            Ok(all) => all,
            Err(error) => {
                tracing::warn!(%error, "DecryptGrants cannot be listed; nothing is revoked");
                return None;
            }
        };
        for grant in all.items {
            match grant.0 {
                Ok(grant) => claims.all.extend(Claim::of(&grant, key_arn)),
                // Without a uid it may answer for anything.
                Err(invalid) => _ = claims.undecodable.insert(invalid.metadata.uid?),
            }
        }
    }
    Some(claims)
}

/// A settled bucket with its KMS grants as they are now, if DecryptGrants on it have changed since; `None` if it must be looked at anew.
pub async fn refreshed(ctx: &Context, object: &SecureBucket, known: Settled) -> Option<Settled> {
    let status = object.status.clone().unwrap_or_default();
    let Some(key_arn) = &status.key_arn else { return Some(known) };
    let now = cached(ctx, key_arn);
    if now == known.claims {
        return Some(known);
    }
    let place = ctx.install.place_in(status.region.as_deref().unwrap_or(&ctx.install.place.region));
    let seen = ctx.listings.grants(&ctx.aws.kms(&place), key_arn).await.ok()?;
    let grants = classify(&seen, &claims(ctx, key_arn, &seen).await, &ctx.install);
    // Whatever is not somebody's own is for a whole pass.
    let plain = grants.iter().all(|g| matches!(g.whose, Whose::Ours(_)));
    plain.then(|| Settled { plan: Plan { grants: Some(grants), ..known.plan.clone() }, claims: now, ..known })
}

/// Events, metric and gauge for access that somebody gave outside the operator: once for each find, until it is no longer found.
pub fn tell(ctx: &Context, object: &SecureBucket, plan: &Plan) {
    let mut now = plan.foreign.clone();
    let subject = format!("bucket/{}", ObjectKey::of(object));
    if plan.grants.is_none() {
        // Not seen is not gone.
        now.extend(ctx.foreign.of_kind(&subject, Kind::KmsGrant));
    }
    // What status names was told by an earlier process.
    let recorded = object.status.iter().flat_map(|s| &s.access).filter_map(AccessStatus::foreign_id);
    let told: BTreeSet<&str> = recorded.collect();
    let new = ctx.foreign.found(&subject, now).into_iter();
    for find in new.filter(|f| f.kind != Kind::KmsGrant || !told.contains(f.id.as_str())) {
        ctx.metrics.foreign_access(find.kind);
        tracing::warn!(
            bucket = object.metadata.name,
            kind = find.kind.name(),
            id = find.id,
            what = find.words,
            "foreign access"
        );
        let way = match find.kind {
            Kind::KmsGrant if !super::desired::revokes_foreign(object) => {
                "; revoke it in AWS, or set spec.foreignGrants: Revoke"
            }
            _ => "",
        };
        ctx.event(object, Reason::ForeignAccess, find.kind.name(), format!("{}{way}", find.words));
    }
    ctx.metrics.foreign_kms_grants(ctx.foreign.count(Kind::KmsGrant));
}

/// The SecureBucket is gone: nothing is known of its key any more.
pub fn forget(ctx: &Context, key: &ObjectKey) {
    ctx.foreign.found(&format!("bucket/{key}"), Vec::new());
    ctx.metrics.foreign_kms_grants(ctx.foreign.count(Kind::KmsGrant));
}
