//! When the Deny of ended grants may leave a role's policy: after `ListGrants` has shown no grant of the role for long enough.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::document::HeldDeny;
use super::state::RoleKey;
use crate::api::DecryptGrant;
use crate::aws::error::{AwsErrorKind, Seen};
use crate::aws::kms::Kms;
use crate::domain::identity::{key_alias, kms_grant_prefix};
use crate::domain::tags;
use crate::domain::time::after;
use crate::reconcile::context::{Context, lock};
use jiff::{SignedDuration, Timestamp};

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
        grants: &[std::sync::Arc<DecryptGrant>],
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
        if now < until {
            return Evidence::CleanUntil(until);
        }
        lock(&self.0).remove(&slot);
        Evidence::Released
    }

    async fn list(
        &self,
        ctx: &Context,
        key: &RoleKey,
        deny: &HeldDeny,
        role_id: &str,
        grants: &[std::sync::Arc<DecryptGrant>],
    ) -> Evidence {
        // A grant that has not proved its removal yet looks after its KMS grant itself.
        let answering = grants.iter().any(|g| {
            g.spec.subject.service_account_ref.name == key.service_account
                && g.status.as_ref().is_some_and(|s| {
                    s.removal.is_none()
                        && s.resolved.as_ref().is_some_and(|r| r.bucket_identity == deny.identity)
                        && s.expires_at.is_some()
                })
        });
        if answering {
            return Evidence::Held;
        }
        let (place, key_arn) = match self.key_of(ctx, deny).await {
            Seen::Value(found) => found,
            // No key, no grants.
            Seen::Absent => return Evidence::Released,
            Seen::Unreadable(_) => return Evidence::Held,
        };
        let kms = ctx.aws.kms(&place);
        let listed = match kms.list_grants(&key_arn).await {
            Ok(listed) => listed,
            Err(e) if e.kind == AwsErrorKind::NotFound => return Evidence::Released,
            Err(e) => {
                tracing::warn!(role = %key, error = %e, "grants cannot be listed; the Deny stays");
                return Evidence::Held;
            }
        };
        let arn = ctx.install.role_arn(&key.namespace, &key.service_account);
        let prefix = kms_grant_prefix(&ctx.install.cluster);
        let mut left = false;
        for grant in listed.iter().filter(|g| g.grantee == arn || g.grantee == role_id) {
            left = true;
            // No DecryptGrant answers for it: its object is gone, or had proved its removal before the list showed this one.
            if grant.name.as_deref().is_some_and(|n| n.starts_with(&prefix)) {
                tracing::warn!(role = %key, grant = %grant.id, "revoking a KMS grant that no DecryptGrant answers for");
                if let Err(e) = kms.revoke_grant(&key_arn, &grant.id).await {
                    tracing::warn!(role = %key, error = %e, "not revoked");
                }
            }
        }
        if left { Evidence::Held } else { Evidence::CleanUntil(Timestamp::MIN) }
    }

    /// The key of the bucket: from its SecureBucket, or by alias when that is gone.
    async fn key_of(&self, ctx: &Context, deny: &HeldDeny) -> Seen<(crate::domain::arn::Place, String)> {
        let bucket = ctx
            .caches
            .buckets
            .list()
            .into_iter()
            .find(|b| b.status.as_ref().is_some_and(|s| s.identity.as_deref() == Some(&deny.identity)));
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
