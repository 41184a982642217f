//! What a role's document is made from: objects of its namespace, and the locks of the buckets that its grants ask for.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use kube::Api;
use kube::api::ListParams;
use kube::core::DeserializeGuard;

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

/// As the API server has them now: before access is given.
///
/// # Errors
/// If it does not answer.
pub(super) async fn listed(ctx: &Context, key: &RoleKey) -> Result<Objects, PassError> {
    // Guarded: an object that cannot be decoded gives nothing, and must not stop the others.
    let buckets: Api<DeserializeGuard<SecureBucket>> = Api::namespaced(ctx.client.clone(), &key.namespace);
    let grants: Api<DeserializeGuard<DecryptGrant>> = Api::namespaced(ctx.client.clone(), &key.namespace);
    let all = ListParams::default();
    let (buckets, grants, service_account_uid) = tokio::join!(
        within(REQUEST_TIMEOUT, buckets.list(&all)),
        within(REQUEST_TIMEOUT, grants.list(&all)),
        ctx.fresh_service_account_uid(&key.namespace, &key.service_account),
    );
    let grants: Vec<Arc<DecryptGrant>> = grants?.items.into_iter().filter_map(|g| g.0.ok()).map(Arc::new).collect();
    let mut shut = BTreeSet::new();
    for target in wanted(key, &grants).into_iter().filter(|t| ctx.serves(&t.namespace)) {
        let api: Api<SecureBucket> = Api::namespaced(ctx.client.clone(), &target.namespace);
        let bucket = within(REQUEST_TIMEOUT, api.get_opt(&target.name)).await?;
        if bucket.is_some_and(|b| refuses_grants(&b)) {
            shut.insert(target);
        }
    }
    Ok(Objects {
        buckets: buckets?.items.into_iter().filter_map(|b| b.0.ok()).map(Arc::new).collect(),
        grants,
        shut,
        service_account_uid: service_account_uid?,
        namespace_uid: ctx.namespace_uid(&key.namespace).await?,
    })
}

/// SecureBuckets whose owners should hear of the role: those that give it a duty.
pub(super) fn holders<'a>(key: &'a RoleKey, objects: &'a Objects) -> impl Iterator<Item = &'a Arc<SecureBucket>> {
    objects.buckets.iter().filter(|b| b.spec.access.iter().any(|a| a.service_account_ref.name == key.service_account))
}
