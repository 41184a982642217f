//! What a role's document is made from: objects of its namespace, and the locks of the buckets that its grants ask for.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::try_join_all;
use jiff::Timestamp;
use kube::api::ListParams;
use kube::core::{DeserializeGuard, NamespaceResourceScope};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::desired::{Sources, inputs};
use super::document::Inputs;
use super::state::RoleKey;
use crate::api::{DecryptGrant, SecureBucket};
use crate::bucket::lockdown::{level, refuses_grants};
use crate::grant::deadline::opened;
use crate::grant::terms::{Target, target};
use crate::k8s::{REQUEST_TIMEOUT, within};
use crate::reconcile::context::Context;
use crate::reconcile::outcome::PassError;

/// Field by which the API server selects DecryptGrants of one ServiceAccount (`selectableFields` of the CRD).
const SERVICE_ACCOUNT_FIELD: &str = "spec.subject.serviceAccountRef.name";

/// Objects of the role's namespace.
pub(super) struct Objects {
    pub buckets: Vec<Arc<SecureBucket>>,
    pub grants: Vec<Arc<DecryptGrant>>,
    /// SecureBuckets that grants ask for and that are locked down, in whichever namespace.
    shut: BTreeSet<Target>,
    service_account_uid: Option<String>,
    namespace_uid: Option<String>,
}

impl Objects {
    pub(super) fn inputs(&self, key: &RoleKey, ctx: &Context, now: Timestamp) -> Inputs {
        let sources = Sources {
            buckets: self.buckets.iter().map(AsRef::as_ref).collect(),
            grants: self.grants.iter().map(AsRef::as_ref).collect(),
            shut: self.shut.clone(),
            service_account_uid: self.service_account_uid.clone(),
            namespace_uid: self.namespace_uid.clone(),
        };
        inputs(key, &sources, &ctx.install, now)
    }

    /// True if a bucket that gives the role a duty is locked down: what a responder closed on the role stays closed then, whoever asks.
    pub(super) fn locked(&self, key: &RoleKey) -> bool {
        holders(key, self).any(|b| level(b).is_some())
    }
}

/// As the watches have seen them.
pub(super) async fn cached(ctx: &Context, key: &RoleKey) -> Result<Objects, PassError> {
    let grants = ctx.caches.grants.list_in(&key.namespace);
    let found = |t: &Target| ctx.caches.buckets.get(&t.namespace, &t.name);
    let shut = wanted(key, &grants).into_iter().filter(|t| found(t).is_some_and(|b| refuses_grants(&b))).collect();
    Ok(Objects {
        buckets: ctx.caches.buckets.list_in(&key.namespace),
        grants,
        shut,
        service_account_uid: ctx.service_account_uid(&key.namespace, &key.service_account),
        namespace_uid: ctx.namespace_uid(&key.namespace).await?,
    })
}

/// SecureBuckets on which the role may hold a window.
fn wanted(key: &RoleKey, grants: &[Arc<DecryptGrant>]) -> BTreeSet<Target> {
    let windows = grants.iter().filter(|g| opened(g) && g.spec.subject.service_account_ref.name == key.service_account);
    windows.map(|g| target(g)).collect()
}

/// As the API server has them now: before access is given. Only what concerns the role is read, because a namespace may hold thousands: DecryptGrants
/// of its ServiceAccount, and SecureBuckets that give it a duty or hold its grants. A SecureBucket that the watch has not shown yet gives nothing
/// yet.
///
/// # Errors
/// If it does not answer.
pub(super) async fn listed(ctx: &Context, key: &RoleKey) -> Result<Objects, PassError> {
    // Guarded: an object that cannot be decoded gives nothing, and must not stop the others.
    let grants: Api<DeserializeGuard<DecryptGrant>> = Api::namespaced(ctx.client.clone(), &key.namespace);
    let of_account = ListParams::default().fields(&format!("{SERVICE_ACCOUNT_FIELD}={}", key.service_account));
    let (grants, service_account_uid) = tokio::join!(
        within(REQUEST_TIMEOUT, grants.list(&of_account)),
        ctx.fresh_service_account_uid(&key.namespace, &key.service_account),
    );
    let grants: Vec<Arc<DecryptGrant>> = grants?.items.into_iter().filter_map(|g| g.0.ok()).map(Arc::new).collect();
    let cached = ctx.caches.buckets.list_in(&key.namespace);
    let named = |b: &SecureBucket| Target { namespace: b.namespace().unwrap_or_default(), name: b.name_any() };
    let duties = cached.iter().filter(|b| gives_duty(b, key)).map(|b| named(b)).collect();
    let (buckets, targets) = tokio::join!(
        read::<DeserializeGuard<SecureBucket>>(ctx, duties),
        // One that cannot be decoded may be locked down: an error.
        read::<SecureBucket>(ctx, wanted(key, &grants)),
    );
    Ok(Objects {
        buckets: buckets?.into_iter().filter_map(|b| b.0.ok()).map(Arc::new).collect(),
        grants,
        shut: targets?.iter().filter(|b| refuses_grants(b)).map(named).collect(),
        service_account_uid: service_account_uid?,
        namespace_uid: ctx.namespace_uid(&key.namespace).await?,
    })
}

/// These SecureBuckets, as far as they are there and this process's business.
async fn read<K>(ctx: &Context, which: BTreeSet<Target>) -> Result<Vec<K>, PassError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + std::fmt::Debug + DeserializeOwned,
{
    let served = which.into_iter().filter(|t| ctx.serves(&t.namespace));
    let found = served.map(|target| async move {
        let api: Api<K> = Api::namespaced(ctx.client.clone(), &target.namespace);
        within(REQUEST_TIMEOUT, api.get_opt(&target.name)).await
    });
    Ok(try_join_all(found).await?.into_iter().flatten().collect())
}

fn gives_duty(bucket: &SecureBucket, key: &RoleKey) -> bool {
    bucket.spec.access.iter().any(|a| a.service_account_ref.name == key.service_account)
}

/// SecureBuckets whose owners should hear of the role: those that give it a duty.
pub(super) fn holders<'a>(key: &'a RoleKey, objects: &'a Objects) -> impl Iterator<Item = &'a Arc<SecureBucket>> {
    objects.buckets.iter().filter(|b| gives_duty(b, key))
}
