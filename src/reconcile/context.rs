//! What every pass works with: clients, caches, queues, and what the writer of roles knows.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, ObjectReference, ServiceAccount};
use kube::core::PartialObjectMeta;
use kube::{Api, Client, Resource, ResourceExt};
use tokio::time::Instant;

use super::backoff::Backoff;
use super::foreign::ForeignSeen;
use super::leadership::Leadership;
use super::outcome::PassError;
use super::queue::{Next, Queue};
use super::roles::Roles;
use crate::api::lockdown::LockdownStatus;
use crate::api::{DecryptGrant, GrantReview, ROLE_ARN, SecureBucket};
use crate::aws::clients::Aws;
use crate::aws::listing::Listings;
use crate::bucket::foreign::Claim;
use crate::bucket::lockdown::Lift;
use crate::bucket::plan::Plan;
use crate::clock::Clock;
use crate::domain::enforcement::Enforcement;
use crate::domain::installation::Installation;
use crate::grant::break_glass::unreviewed;
use crate::grant::terms::named_by;
use crate::k8s::ApiError;
use crate::k8s::admission::Guard;
use crate::k8s::configmap;
use crate::k8s::events::{Events, Reason};
use crate::k8s::watch::Cache;
use crate::k8s::within;
use crate::metrics::Metrics;
use crate::role::document::Inputs;
use crate::role::evidence::CleanSince;
use crate::role::state::RoleKey;

/// Namespace and name of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectKey {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl ObjectKey {
    /// The key of an object.
    pub fn of<K: Resource>(object: &K) -> Self {
        let meta = object.meta();
        Self { namespace: meta.namespace.clone().unwrap_or_default(), name: meta.name.clone().unwrap_or_default() }
    }
}

impl std::fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What the watches have seen.
#[derive(Clone)]
pub struct Caches {
    /// SecureBuckets.
    pub buckets: Cache<SecureBucket>,
    /// DecryptGrants.
    pub grants: Cache<DecryptGrant>,
    /// GrantReviews.
    pub reviews: Cache<GrantReview>,
    /// ServiceAccounts, metadata only.
    pub service_accounts: Cache<PartialObjectMeta<ServiceAccount>>,
    /// Namespaces, metadata only.
    pub namespaces: Cache<PartialObjectMeta<Namespace>>,
}

/// Work to do.
#[derive(Clone)]
pub struct Queues {
    /// Passes over SecureBuckets.
    pub buckets: Queue<ObjectKey>,
    /// Passes over roles; their only writer.
    pub roles: Queue<RoleKey>,
    /// Passes over DecryptGrants. Ordered by due time, so that overdue ends go first.
    pub grants: Queue<ObjectKey>,
    /// GrantReviews whose condition is to be written.
    pub reviews: Queue<ObjectKey>,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What an observation of a SecureBucket was made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marks {
    /// Uid.
    pub uid: Option<String>,
    /// Generation of the spec.
    pub generation: Option<i64>,
    /// Value of `reconcile-at`.
    pub asked: Option<String>,
    /// The lockdown in status, and what the annotation asks for.
    pub lockdown: (Option<LockdownStatus>, Lift),
}

/// A SecureBucket that was in sync.
#[derive(Clone, Debug)]
pub struct Settled {
    /// What it was. If any of it changes, the observation counts no more.
    pub marks: Marks,
    /// The empty plan, with what it said of restrictions.
    pub plan: Plan,
    /// When the next drift check is due.
    pub until: Instant,
    /// What DecryptGrants said of the KMS grants on the key when those were last listed.
    pub claims: Vec<Claim>,
}

/// Everything.
pub struct Context {
    /// Whether the API server holds people to who they are.
    pub admission: Guard,
    /// Settings and facts of the installation.
    pub install: Installation,
    /// Namespaces that this process serves; all if empty.
    pub served: Vec<String>,
    /// AWS.
    pub aws: Aws,
    /// Whether access may be given.
    pub leadership: Leadership,
    /// Kubernetes.
    pub client: Client,
    /// Clocks.
    pub clock: Clock,
    /// Events.
    pub events: Events,
    /// Metrics.
    pub metrics: Metrics,
    /// Caches.
    pub caches: Caches,
    /// Queues.
    pub queues: Queues,
    /// Roles.
    pub roles: Roles,
    /// Lists of KMS grants under way.
    pub listings: Listings,
    /// Since when this process has known of DecryptGrants, by uid, that they ended before their time.
    pub ended: Mutex<BTreeMap<String, Instant>>,
    /// Since when no KMS grant of an ended DecryptGrant has been seen.
    pub clean_since: CleanSince,
    /// Failed passes over SecureBuckets, in a row.
    pub bucket_backoff: Backoff<ObjectKey>,
    /// The same for roles.
    pub role_backoff: Backoff<RoleKey>,
    /// The same for DecryptGrants.
    pub grant_backoff: Backoff<ObjectKey>,
    /// SecureBuckets that were in sync when last looked at: they cost nothing until their next drift check.
    pub settled: Mutex<BTreeMap<ObjectKey, Settled>>,
    /// Roles that were as they should be: the same inputs need no look until then.
    pub quiet: Mutex<BTreeMap<RoleKey, (Inputs, Instant)>>,
    /// Access that somebody gave outside the operator.
    pub foreign: ForeignSeen,
    /// Failed passes over GrantReviews, in a row.
    pub review_backoff: Backoff<ObjectKey>,
    /// What is known of the admission policies.
    pub enforcement: Mutex<Enforcement>,
    /// SecureBuckets whose last failure was told as an event: (reason, message).
    pub told: Mutex<BTreeMap<String, String>>,
}

impl Context {
    /// True if objects of this namespace are this process's business.
    pub fn serves(&self, namespace: &str) -> bool {
        self.served.is_empty() || self.served.iter().any(|n| n == namespace)
    }

    /// What is known of the admission policies now.
    pub fn enforcement(&self) -> Enforcement {
        lock(&self.enforcement).clone()
    }

    /// The same by a look that begins now: see [`Guard::fresh`].
    ///
    /// # Errors
    /// If the policies cannot be read.
    pub async fn fresh_enforcement(&self) -> Result<Enforcement, ApiError> {
        let known = self.admission.fresh().await?;
        self.set_enforcement(known.clone());
        Ok(known)
    }

    /// Notes what became known of the admission policies. If it is something new, every request that has not begun, every grant whose reviews may count
    /// for more or for less, and every review is looked at again.
    pub fn set_enforcement(&self, known: Enforcement) {
        let before = std::mem::replace(&mut *lock(&self.enforcement), known.clone());
        if before == known {
            return;
        }
        let reviews = self.caches.reviews.list();
        let named = |g: &DecryptGrant| reviews.iter().any(|r| named_by(g, r));
        let open = |g: &DecryptGrant| match &g.status {
            None => true,
            Some(s) => s.expires_at.is_none() && s.ended.is_none() || unreviewed(s) || s.ended.is_none() && named(g),
        };
        for grant in self.caches.grants.list().iter().filter(|g| open(g)) {
            self.queues.grants.add_now(ObjectKey::of(&**grant));
        }
        for review in &reviews {
            self.queues.reviews.add_now(ObjectKey::of(&**review));
        }
    }

    /// `None` if access may be given now. Otherwise this process took over from one that may still have calls under way, and gives nothing
    /// before this instant: no Allow in a role's policy, no KMS grant, no role, no right that a responder took. What takes access away goes on.
    pub fn may_widen(&self) -> Result<(), Instant> {
        self.leadership.held_back_until().map_or(Ok(()), Err)
    }

    /// The way for AWS calls that give access. None is sent unless this process may and surely leads.
    pub fn widening(&self) -> Aws {
        self.aws.fenced(self.leadership.fence())
    }

    /// Uid of a namespace: from the cache, or asked for if the cache does not have it.
    ///
    /// # Errors
    /// If the API server does not answer.
    pub async fn namespace_uid(&self, name: &str) -> Result<Option<String>, PassError> {
        if let Some(found) = self.caches.namespaces.get("", name) {
            return Ok(found.metadata.uid.clone());
        }
        let api: Api<Namespace> = Api::all(self.client.clone());
        let found = within(crate::k8s::REQUEST_TIMEOUT, api.get_metadata_opt(name)).await?;
        Ok(found.and_then(|n| n.metadata.uid))
    }

    /// Uid of a ServiceAccount, from the cache.
    pub fn service_account_uid(&self, namespace: &str, name: &str) -> Option<String> {
        self.caches.service_accounts.get(namespace, name).and_then(|s| s.metadata.uid.clone())
    }

    /// The role that a ServiceAccount names in its annotation, if it names one; `None` if the cache has no such ServiceAccount.
    pub fn annotated_role(&self, namespace: &str, name: &str) -> Option<Option<String>> {
        self.caches.service_accounts.get(namespace, name).map(|s| s.annotations().get(ROLE_ARN).cloned())
    }

    /// Uid of a ServiceAccount, asked of the API server: before access is widened.
    ///
    /// # Errors
    /// If the API server does not answer.
    pub async fn fresh_service_account_uid(&self, namespace: &str, name: &str) -> Result<Option<String>, PassError> {
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        let found = within(crate::k8s::REQUEST_TIMEOUT, api.get_metadata_opt(name)).await?;
        Ok(found.and_then(|s| s.metadata.uid))
    }

    /// Makes a ConfigMap of an object have this data. One that cannot be written is said in an event and does not hold up the object.
    ///
    /// # Errors
    /// If it is worth another attempt.
    pub async fn write_config_map<K: Resource<DynamicType = ()>>(
        &self,
        owner: &K,
        name: &str,
        data: BTreeMap<String, String>,
    ) -> Result<(), PassError> {
        match configmap::apply(&self.client, owner, name, data).await {
            Ok(_) => Ok(()),
            Err(e) if e.is_final() => {
                self.event_once(owner, Reason::Stalled, "ApplyConfigMap", e.to_string());
                Ok(())
            }
            Err(e) => Err(e.into()),
        }
    }

    /// Deletes a ConfigMap of an object, if it is there and is the object's.
    ///
    /// # Errors
    /// If it is worth another attempt.
    pub async fn delete_config_map<K: Resource<DynamicType = ()>>(
        &self,
        owner: &K,
        name: &str,
    ) -> Result<(), PassError> {
        match configmap::delete(&self.client, owner, name).await {
            Ok(_) => Ok(()),
            Err(e) if e.is_final() => {
                tracing::warn!(object = %ObjectKey::of(owner), error = %e, "ConfigMap not deleted");
                Ok(())
            }
            Err(e) => Err(e.into()),
        }
    }

    /// Publishes an event about an object.
    pub fn event<K: Resource<DynamicType = ()>>(
        &self,
        about: &K,
        reason: Reason,
        action: &str,
        note: impl Into<String>,
    ) {
        self.events.publish(&about.object_ref(&()), None, reason, action, note);
    }

    /// Publishes an event about an object, once for each different text under this reason: not on every pass.
    pub fn event_once<K: Resource<DynamicType = ()>>(
        &self,
        about: &K,
        reason: Reason,
        action: &str,
        note: impl Into<String>,
    ) {
        self.event_once_of(about, "", reason, action, note);
    }

    /// The same, once for each different text about this part of the object.
    pub fn event_once_of<K: Resource<DynamicType = ()>>(
        &self,
        about: &K,
        part: &str,
        reason: Reason,
        action: &str,
        note: impl Into<String>,
    ) {
        let note = note.into();
        let before = lock(&self.told).insert(told_key(about, part, reason), note.clone());
        if before.as_deref() != Some(&note) {
            self.event(about, reason, action, note);
        }
    }

    /// Forgets what was told about an object under this reason, so that it is told again if it comes back.
    pub fn untell<K: Resource<DynamicType = ()>>(&self, about: &K, reason: Reason) {
        self.untell_of(about, "", reason);
    }

    /// The same for a part of the object.
    pub fn untell_of<K: Resource<DynamicType = ()>>(&self, about: &K, part: &str, reason: Reason) {
        lock(&self.told).remove(&told_key(about, part, reason));
    }

    /// A reference for events.
    pub fn reference<K: Resource<DynamicType = ()>>(object: &K) -> ObjectReference {
        object.object_ref(&())
    }

    /// When to look at an object again although nothing happened.
    pub fn drift_check(&self, seed: &str) -> Duration {
        crate::domain::time::jittered(self.install.timing.drift_check, seed)
    }

    /// `Instant` of a time on AWS's clock, a little late rather than early: a pass that comes early finds nothing to do.
    pub fn instant_of(&self, at: jiff::Timestamp) -> Instant {
        Instant::now() + self.clock.until(at)
    }
}

fn told_key<K: Resource<DynamicType = ()>>(about: &K, part: &str, reason: Reason) -> String {
    format!("{}/{}/{part}", about.meta().uid.as_deref().unwrap_or_default(), reason.word())
}

/// What to do after a failed pass.
pub fn failed<K: Ord + Clone + std::fmt::Debug>(backoff: &Backoff<K>, key: &K, error: &PassError) -> Next {
    Next::Failed(backoff.failed(key, error.class()))
}
