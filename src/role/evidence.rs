//! When the Deny of ended grants may leave a role's policy: after `ListGrants` has shown no grant of the role for long enough.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use super::document::HeldDeny;
use super::state::RoleKey;
use crate::api::{DecryptGrant, SecureBucket};
use crate::aws::error::{AwsErrorKind, Seen};
use crate::aws::kms::Kms;
use crate::bucket::action::Action;
use crate::domain::identity::{key_alias, kms_grant_prefix};
use crate::domain::tags;
use crate::domain::time::after;
use crate::grant::deadline::opened;
use crate::k8s::events::Reason;
use crate::k8s::{REQUEST_TIMEOUT, within};
use crate::reconcile::context::{Context, lock};
use jiff::{SignedDuration, Timestamp};
use kube::Api;
use kube::api::ListParams;
use kube::core::DeserializeGuard;

/// Since when `ListGrants` has been clean, by role and bucket identity. In memory only: after a restart the wait begins anew.
#[derive(Default)]
pub struct CleanSince(Mutex<BTreeMap<(RoleKey, String), Timestamp>>);

/// What is known about one held Deny.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// Clean for long enough: it may leave.
    Released,
    /// Clean, but not for long enough yet.
    CleanUntil(Timestamp),
    /// A KMS grant is left, or nothing is known.
    Held,
}

impl CleanSince {
    /// Looks at the key of a held Deny and revokes what no DecryptGrant answers for: its object vanished without its finalizer's consent, and
    /// the Deny is all that is left to say so.
    pub async fn look(
        &self,
        ctx: &Context,
        key: &RoleKey,
        deny: &HeldDeny,
        role_id: &str,
        grants: &[Arc<DecryptGrant>],
    ) -> Evidence {
        let slot = (key.clone(), deny.identity.clone());
        let evidence = self.list(ctx, key, deny, role_id, grants).await;
        if evidence == Evidence::Held {
            lock(&self.0).remove(&slot);
            return Evidence::Held;
        }
        let now = ctx.clock.aws_now();
        let since = *lock(&self.0).entry(slot.clone()).or_insert(now);
        let wait = SignedDuration::try_from(ctx.install.timing.evidence_wait).unwrap_or(SignedDuration::MAX);
        let until = after(since.max(deny.from), wait);
        // What is released stays so for the rest of the pass, which may draw its plan again.
        if now < until { Evidence::CleanUntil(until) } else { Evidence::Released }
    }

    /// Forgets what is known of a role's Denies but these: the others have left, or a grant is open again.
    pub fn keep_only(&self, key: &RoleKey, held: &BTreeSet<String>) {
        lock(&self.0).retain(|(role, identity), _| role != key || held.contains(identity));
    }

    async fn list(
        &self,
        ctx: &Context,
        key: &RoleKey,
        deny: &HeldDeny,
        role_id: &str,
        grants: &[Arc<DecryptGrant>],
    ) -> Evidence {
        if grants.iter().any(|g| answers(g, key, deny)) {
            return Evidence::Held;
        }
        let (place, key_arn) = match self.key_of(ctx, deny).await {
            Seen::Value(found) => found,
            // No key, no grants; but a key that is not found may only be hidden, so it is waited out as well.
            Seen::Absent => return Evidence::CleanUntil(Timestamp::MIN),
            Seen::Unreadable(_) => return Evidence::Held,
        };
        let kms = ctx.aws.narrowing().kms(&place);
        let listed = match ctx.listings.grants(&kms, &key_arn).await {
            Ok(listed) => listed,
            Err(e) if e.kind == AwsErrorKind::NotFound => return Evidence::CleanUntil(Timestamp::MIN),
            Err(e) => {
                tracing::warn!(role = %key, error = %e, "grants cannot be listed; the Deny stays");
                return Evidence::Held;
            }
        };
        let arn = ctx.install.role_arn(&key.namespace, &key.service_account);
        let prefix = kms_grant_prefix(&ctx.install.cluster);
        let left: Vec<_> = listed.iter().filter(|g| g.grantee == arn || g.grantee == role_id).collect();
        if left.is_empty() {
            return Evidence::CleanUntil(Timestamp::MIN);
        }
        let ours = left.iter().filter(|g| g.name.as_deref().is_some_and(|n| n.starts_with(&prefix)));
        if nobody_answers(ctx, key, deny).await {
            for grant in ours {
                // Its object is gone, or had proved its removal before the list showed this one.
                tracing::warn!(role = %key, grant = %grant.id, "revoking a KMS grant that no DecryptGrant answers for");
                match kms.revoke_grant(&key_arn, &grant.id).await {
                    Ok(()) => tell(ctx, deny, &grant.id),
                    Err(e) => tracing::warn!(role = %key, error = %e, "not revoked"),
                }
            }
        }
        Evidence::Held
    }

    /// The key of the bucket: from its SecureBucket, or by alias when that is gone.
    async fn key_of(&self, ctx: &Context, deny: &HeldDeny) -> Seen<(crate::domain::arn::Place, String)> {
        let bucket = bucket_of(ctx, deny);
        let status = bucket.as_ref().and_then(|b| b.status.as_ref());
        if let Some((region, arn)) = status.and_then(|s| Some((s.region.clone()?, s.key_arn.clone()?))) {
            return Seen::Value((ctx.install.place_in(&region), arn));
        }
        let alias = key_alias(&ctx.install.cluster, &deny.identity);
        let regions = std::iter::once(&ctx.install.place.region).chain(&ctx.install.regions);
        for region in regions {
            let place = ctx.install.place_in(region);
            let kms = ctx.aws.kms(&place);
            match Seen::from_result(kms.describe_key(&alias).await) {
                Seen::Value(head) => return Seen::Value((place, head.arn)),
                Seen::Absent => {}
                Seen::Unreadable(e) => return Seen::Unreadable(e),
            }
            // Somebody deleted the alias: a key of this identity may exist all the same.
            match Self::key_by_tags(ctx, &kms, &deny.identity).await {
                Seen::Absent => {}
                Seen::Value(arn) => return Seen::Value((place, arn)),
                Seen::Unreadable(e) => return Seen::Unreadable(e),
            }
        }
        Seen::Absent
    }

    async fn key_by_tags(ctx: &Context, kms: &Kms, identity: &str) -> Seen<String> {
        let keys = match kms.list_keys().await {
            Ok(keys) => keys,
            Err(e) => return Seen::Unreadable(e),
        };
        for arn in keys {
            match kms.key_tags(&arn).await {
                Ok(found) => {
                    let ours = found.get(tags::CLUSTER) == Some(&ctx.install.cluster);
                    if ours && found.get(tags::IDENTITY).is_some_and(|i| i == identity) {
                        return Seen::Value(arn);
                    }
                }
                // Our own keys are readable to us.
                Err(e) if matches!(e.kind, AwsErrorKind::AccessDenied | AwsErrorKind::NotFound) => {}
                Err(e) => return Seen::Unreadable(e),
            }
        }
        Seen::Absent
    }
}

/// The SecureBucket that a Deny is about, if it is there.
fn bucket_of(ctx: &Context, deny: &HeldDeny) -> Option<Arc<SecureBucket>> {
    let about =
        |b: &Arc<SecureBucket>| b.status.as_ref().is_some_and(|s| s.identity.as_deref() == Some(&deny.identity));
    ctx.caches.buckets.list().into_iter().find(about)
}

/// Says it to the bucket's owner, if the SecureBucket is there.
fn tell(ctx: &Context, deny: &HeldDeny, id: &str) {
    if let Some(bucket) = bucket_of(ctx, deny) {
        let action = Action::RevokeGrant { id: id.to_owned(), foreign: false };
        ctx.event(bucket.as_ref(), Reason::LeftOverRevoked, "KMS grants", action.to_string());
    }
}

/// True if this grant has a window on the bucket and has not proved its removal yet: then it looks after its KMS grant itself.
fn answers(grant: &DecryptGrant, key: &RoleKey, deny: &HeldDeny) -> bool {
    let resolved = grant.status.as_ref().and_then(|s| s.resolved.as_ref());
    grant.spec.subject.service_account_ref.name == key.service_account
        && opened(grant)
        && resolved.is_some_and(|r| r.bucket_identity == deny.identity)
}

/// Asks the API server, because a revoked grant is not issued again: true if every DecryptGrant can be read, and none answers.
async fn nobody_answers(ctx: &Context, key: &RoleKey, deny: &HeldDeny) -> bool {
    let api: Api<DeserializeGuard<DecryptGrant>> = Api::namespaced(ctx.client.clone(), &key.namespace);
    match within(REQUEST_TIMEOUT, api.list(&ListParams::default())).await {
        Ok(all) => all.items.iter().all(|g| g.0.as_ref().is_ok_and(|g| !answers(g, key, deny))),
        Err(e) => {
            tracing::warn!(role = %key, error = %e, "DecryptGrants cannot be listed; nothing is revoked");
            false
        }
    }
}
