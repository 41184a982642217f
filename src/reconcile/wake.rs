//! From watch events to passes: which change of which object concerns whom. An event without such a change wakes nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::core::PartialObjectMeta;
use kube::{Resource, ResourceExt};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::context::{ObjectKey, Queues, lock};
use super::queue::Queue;
use crate::api::condition::{find, reason, types};
use crate::api::grant_review::Decision;
use crate::api::{
    BUCKET_FINALIZER, DecryptGrant, GRANT_FINALIZER, GrantReview, LIFT_LOCKDOWN, RECONCILE_AT, ROLE_ARN, SecureBucket,
};
use crate::bucket::access::role_keys;
use crate::bucket::lockdown::{level, refuses_grants};
use crate::clock::Clock;
use crate::grant::agree::AWAITING;
use crate::grant::break_glass::unreviewed;
use crate::grant::deadline::removal_due;
use crate::grant::terms::{Target, named_by, target};
use crate::k8s::watch::{Cache, WatchEvent};
use crate::role::state::RoleKey;

/// Shortest time between two passes over a SecureBucket because of its DecryptGrants. They are for its lists of who reads and who waits alone; a thousand
/// grants that begin or end together change those lists a few times, not a thousand times.
pub const LISTED: Duration = Duration::from_secs(1);

/// Turns events into work.
#[derive(Clone)]
pub struct Waker {
    queues: Queues,
    clock: Clock,
    /// Last value of each projection, by kind, projection and object.
    seen: Arc<Mutex<BTreeMap<(&'static str, ObjectKey), Value>>>,
    /// Roles that a SecureBucket concerned when they were last looked at.
    roles: Arc<Mutex<BTreeMap<ObjectKey, BTreeSet<RoleKey>>>>,
}

impl Waker {
    /// For these queues.
    pub fn new(queues: Queues, clock: Clock) -> Self {
        Self { queues, clock, seen: Arc::default(), roles: Arc::default() }
    }

    /// True if the projection of the object differs from when it was last seen. `Null` stands for one that concerns nobody, like none at all.
    fn changed(&self, what: &'static str, key: &ObjectKey, value: Value) -> bool {
        let before = lock(&self.seen).insert((what, key.clone()), value.clone());
        before.unwrap_or_default() != value
    }

    fn forget(&self, key: &ObjectKey, kinds: &[&'static str]) {
        let mut seen = lock(&self.seen);
        for kind in kinds {
            seen.remove(&(*kind, key.clone()));
        }
    }

    /// A SecureBucket came, changed or went.
    pub fn bucket(&self, event: &WatchEvent<SecureBucket>, grants: &Cache<DecryptGrant>, reviews: &Cache<GrantReview>) {
        let Some((bucket, gone)) = object(event, "SecureBucket") else { return };
        let key = ObjectKey::of(&**bucket);
        let status = bucket.status.clone().unwrap_or_default();
        let life = json!([bucket.uid(), bucket.metadata.deletion_timestamp.is_some()]);
        let own = json!([
            life,
            bucket.metadata.generation,
            held(&**bucket, BUCKET_FINALIZER),
            bucket.annotations().get(RECONCILE_AT),
            bucket.annotations().get(LIFT_LOCKDOWN),
            status.lockdown.as_ref().map(|l| (&l.id, &l.lifting_since)),
        ]);
        // What a lockdown takes away goes before everything that is not taking away.
        let urgent = level(bucket).is_some();
        if self.changed("bucket", &key, own) || gone {
            add(&self.queues.buckets, key.clone(), urgent);
        }
        let shut = json!([level(bucket), refuses_grants(bucket)]);
        let for_roles =
            json!([life, bucket.spec.access, status.provisioned_at, status.bucket_arn, status.key_arn, shut]);
        if self.changed("bucket/roles", &key, for_roles) || gone {
            // Those of the version before as well: an entry may have gone before any status named it.
            let now = role_keys(bucket);
            let before = lock(&self.roles).insert(key.clone(), now.clone()).unwrap_or_default();
            for role in now.union(&before) {
                add(&self.queues.roles, role.clone(), urgent);
            }
        }
        let ready = [types::KEY, types::POLICY].map(|t| find(&status.conditions, t).map(|c| c.status.clone()));
        let for_grants =
            json!([life, bucket.spec.grants, bucket.spec.access, status.provisioned_at, ready, status.key_state, shut]);
        // Roles of grants, which may be of other namespaces.
        let lockdown = self.changed("bucket/shut", &key, json!(refuses_grants(bucket).then_some(true)));
        if self.changed("bucket/grants", &key, for_grants) || lockdown || gone {
            for grant in grants.list().iter().filter(|g| asks_for(g, &key)) {
                add(&self.queues.grants, ObjectKey::of(&**grant), urgent);
                if lockdown {
                    let service_account = grant.spec.subject.service_account_ref.name.clone();
                    let namespace = grant.namespace().unwrap_or_default();
                    add(&self.queues.roles, RoleKey { namespace, service_account }, urgent);
                }
            }
        }
        if self.changed("bucket/reviews", &key, json!([bucket.uid(), bucket.spec.grants])) || gone {
            for review in reviews.list_in(&key.namespace).iter().filter(|r| r.spec.bucket_ref.name == key.name) {
                self.queues.reviews.add_now(ObjectKey::of(&**review));
            }
        }
        if gone {
            self.forget(&key, &["bucket", "bucket/roles", "bucket/grants", "bucket/shut", "bucket/reviews"]);
            lock(&self.roles).remove(&key);
        }
    }

    /// A DecryptGrant came, changed or went.
    pub fn grant(&self, event: &WatchEvent<DecryptGrant>, grants: &Cache<DecryptGrant>, reviews: &Cache<GrantReview>) {
        let Some((grant, gone)) = object(event, "DecryptGrant") else { return };
        let key = ObjectKey::of(&**grant);
        let status = grant.status.clone().unwrap_or_default();
        let life = json!([grant.uid(), grant.metadata.deletion_timestamp.is_some()]);
        let own = json!([life, grant.metadata.generation, held(&**grant, GRANT_FINALIZER)]);
        if self.changed("grant", &key, own) || gone {
            self.queues.grants.add_now(key.clone());
        }
        let approved = find(&status.conditions, types::APPROVED).map(|c| c.status.clone());
        // Before `expiresAt` stands in status nothing of a grant is in AWS: whoever asks must not cause calls.
        let for_role = if status.expires_at.is_some() {
            json!([
                life,
                status.resolved,
                approved,
                status.activated_at,
                status.expires_at,
                status.ended,
                status.removal
            ])
        } else {
            Value::Null
        };
        let concerned = gone && !for_role.is_null();
        if self.changed("grant/role", &key, for_role) || concerned {
            let service_account = grant.spec.subject.service_account_ref.name.clone();
            self.queues.roles.add_now(RoleKey { namespace: key.namespace.clone(), service_account });
        }
        self.end(grant, &key, gone);
        let active = find(&status.conditions, types::ACTIVE).map(|c| c.status.clone());
        let ended = status.ended.is_some();
        // The list of those that wait for people, and what it shows of each.
        let waits = find(&status.conditions, types::ACTIVE).is_some_and(|c| c.reason == AWAITING);
        let pending = (waits || unreviewed(&status)).then_some((
            &status.resolved,
            &status.approvals,
            &status.pending_until,
            &status.break_glass,
        ));
        let for_bucket =
            json!([grant.uid(), active, status.expires_at.is_some(), status.kms_grant, ended, status.removal]);
        let Target { namespace, name } = target(grant);
        let bucket = ObjectKey { namespace, name };
        // Somebody may be about to decide on it, and sees it on the bucket alone.
        if self.changed("grant/pending", &key, json!(pending)) {
            self.queues.buckets.add_now(bucket.clone());
        }
        if self.changed("grant/bucket", &key, for_bucket) || gone {
            self.queues.buckets.add_apart(bucket, LISTED);
        }
        if self.changed("grant/ended", &key, json!(ended)) || gone {
            let account = &grant.spec.subject.service_account_ref.name;
            // Those that ended before, because it says so if others let them read; those for which there was no room beside this one.
            let concerned = |g: &&Arc<DecryptGrant>| {
                g.spec.subject.service_account_ref.name == *account
                    && g.status.as_ref().is_some_and(|s| {
                        !s.still_readable_through.is_empty() || reason(&s.conditions, types::STALLED) == "TooManyOpen"
                    })
            };
            for other in grants.list_in(&key.namespace).iter().filter(concerned) {
                self.queues.grants.add_now(ObjectKey::of(&**other));
            }
        }
        // Those that extend it: they begin while it is active, and not after.
        if self.changed("grant/extended", &key, json!([grant.uid(), status.expires_at, ended])) || gone {
            let extends = |g: &&Arc<DecryptGrant>| g.spec.extends.as_ref().is_some_and(|e| e.name == key.name);
            for other in grants.list_in(&key.namespace).iter().filter(extends) {
                self.queues.grants.add_now(ObjectKey::of(&**other));
            }
        }
        let for_reviews = json!([
            life,
            status.resolved.as_ref().map(|r| &r.terms_hash),
            status.approval_rules,
            status.approvals,
            status.activated_at,
            status.break_glass,
            ended,
        ]);
        if self.changed("grant/reviews", &key, for_reviews) || gone {
            for review in reviews.list_in(&target(grant).namespace).iter().filter(|r| named_by(grant, r)) {
                self.queues.reviews.add_now(ObjectKey::of(&**review));
            }
        }
        if gone {
            let kinds = [
                "grant",
                "grant/role",
                "grant/bucket",
                "grant/pending",
                "grant/end",
                "grant/ended",
                "grant/extended",
                "grant/reviews",
            ];
            self.forget(&key, &kinds);
        }
    }

    /// A GrantReview came or went: work for the grant that it names, and for what is said of other reviews of that grant.
    pub fn review(&self, event: &WatchEvent<GrantReview>, reviews: &Cache<GrantReview>) {
        let Some((review, gone)) = object(event, "GrantReview") else { return };
        let key = ObjectKey::of(&**review);
        if !self.changed("review", &key, json!([review.uid(), review.metadata.deletion_timestamp.is_some()])) && !gone {
            return;
        }
        let named = &review.spec.grant_ref;
        let grant = ObjectKey { namespace: named.namespace.clone(), name: named.name.clone() };
        // A right that is to be taken away waits for nobody.
        add(&self.queues.grants, grant, !gone && review.spec.decision != Decision::Approve);
        for other in reviews.list_in(&key.namespace).iter().filter(|r| r.spec.grant_ref == *named) {
            self.queues.reviews.add_now(ObjectKey::of(&**other));
        }
        if gone {
            self.forget(&key, &["review"]);
        }
    }

    /// The end of a grant, to come or past: urgent work for its role and for itself, at its time.
    fn end(&self, grant: &DecryptGrant, key: &ObjectKey, gone: bool) {
        let due = removal_due(grant);
        if !self.changed("grant/end", key, json!([grant.uid(), due.map(|at| at.to_string())])) || gone {
            return;
        }
        let Some(at) = due else { return };
        // By deadline, those that are over as well: the longest overdue goes first.
        let now = self.clock.aws_now();
        let ago = std::time::Duration::try_from(now.duration_since(at)).unwrap_or_default();
        let instant = Instant::now() + self.clock.until(at);
        let instant = instant.checked_sub(ago).unwrap_or(instant);
        let service_account = grant.spec.subject.service_account_ref.name.clone();
        self.queues.roles.add_urgent(RoleKey { namespace: key.namespace.clone(), service_account }, instant);
        self.queues.grants.add_urgent(key.clone(), instant);
    }

    /// A ServiceAccount came, went, or was made anew under its name.
    pub fn service_account(
        &self,
        event: &WatchEvent<PartialObjectMeta<ServiceAccount>>,
        buckets: &Cache<SecureBucket>,
        grants: &Cache<DecryptGrant>,
    ) {
        let Some((account, gone)) = object(event, "ServiceAccount") else { return };
        let key = ObjectKey::of(&**account);
        let named = self.changed("account/role", &key, json!(account.annotations().get(ROLE_ARN)));
        let other = self.changed("account", &key, json!(account.metadata.uid)) || gone;
        if !other && !named {
            return;
        }
        let role = RoleKey { namespace: key.namespace.clone(), service_account: key.name.clone() };
        let mut concerned = false;
        for bucket in buckets.list_in(&key.namespace).iter().filter(|b| role_keys(b).contains(&role)) {
            self.queues.buckets.add_now(ObjectKey::of(&**bucket));
            concerned = true;
        }
        let of_role = |g: &&Arc<DecryptGrant>| {
            // What is over for good is told nothing of an annotation.
            g.spec.subject.service_account_ref.name == key.name
                && (other || g.status.as_ref().is_none_or(|s| s.ended.is_none()))
        };
        for grant in grants.list_in(&key.namespace).iter().filter(of_role) {
            self.queues.grants.add_now(ObjectKey::of(&**grant));
            concerned = true;
        }
        // The role does not depend on who names it.
        if concerned && other {
            self.queues.roles.add_now(role);
        }
        if gone {
            self.forget(&key, &["account", "account/role"]);
        }
    }

    /// A namespace came, went, or was made anew under its name.
    pub fn namespace(&self, event: &WatchEvent<PartialObjectMeta<Namespace>>, buckets: &Cache<SecureBucket>) {
        let (WatchEvent::Applied(namespace) | WatchEvent::Deleted(namespace)) = event else { return };
        let key = ObjectKey::of(&**namespace);
        if !self.changed("namespace", &key, json!(namespace.metadata.uid)) {
            return;
        }
        for bucket in buckets.list_in(&key.name) {
            self.queues.buckets.add_now(ObjectKey::of(&*bucket));
        }
    }
}

fn add<K: Ord + Clone + Send + Debug + 'static>(queue: &Queue<K>, key: K, urgent: bool) {
    if urgent {
        queue.add_urgent(key, Instant::now());
    } else {
        queue.add_now(key);
    }
}

fn held<K: Resource>(object: &K, finalizer: &str) -> bool {
    object.meta().finalizers.iter().flatten().any(|f| f == finalizer)
}

fn asks_for(grant: &DecryptGrant, bucket: &ObjectKey) -> bool {
    let target = target(grant);
    target.namespace == bucket.namespace && target.name == bucket.name
}

/// The object that came, changed or went, and whether it went. One that cannot be decoded is work for nobody, and is told.
fn object<'a, K>(event: &'a WatchEvent<K>, kind: &'static str) -> Option<(&'a Arc<K>, bool)> {
    match event {
        WatchEvent::Applied(object) => Some((object, false)),
        WatchEvent::Deleted(object) => Some((object, true)),
        WatchEvent::Undecodable(u) => {
            tracing::warn!(kind, namespace = u.namespace, name = u.name, error = u.error, "cannot be decoded");
            None
        }
        WatchEvent::Synced => None,
    }
}
