//! A bucket is locked down: what ends, what goes on, and that nothing undoes it but its lifting.

use std::time::Instant;

use kube::api::{Patch, PatchParams};
use securebucket::api::condition::{find, is_true, reason, types};
use securebucket::api::{LIFT_LOCKDOWN, SecureBucket};
use securebucket::aws::policies;
use securebucket::domain::policy::Statement;
use serde_json::{Value, json};

use crate::scene::{OFTEN, Scene};
use crate::support::account::put_operator_policy;
use crate::support::facets::sids;
use crate::support::wait::{conditions, grant_conditions, state, up_to_date};
use crate::support::{Access, Workload};

/// The spec of the scene with an Auditor, and with a lockdown or without.
pub fn spec(level: Option<&str>) -> Value {
    let mut spec = crate::scene::spec();
    let audit = json!({"name": "audit", "duty": "Auditor", "serviceAccountRef": {"name": "audit"}});
    spec["access"].as_array_mut().unwrap().push(audit);
    if let Some(level) = level {
        spec["lockdown"] = json!({"reason": "leaked laptop", "level": level});
    }
    spec
}

/// Who works with the bucket.
pub struct People {
    pub etl: Workload,
    pub ingest: Workload,
    pub audit: Workload,
    pub reports: Workload,
}

/// A scene with all three duties and an active grant `g` of `reports`; everybody can do what he should.
pub async fn busy(scene: Scene) -> (Scene, People) {
    let Scene { world, ids, .. } = &scene;
    world.service_account("audit").await;
    world.apply_bucket("data", spec(None)).await;
    world.bucket_ready("data").await;
    world.ask("g", "data", "reports", "in/", "1h").await;
    world.grant_active("g").await;
    let people = People {
        etl: world.workload("etl").await,
        ingest: world.workload("ingest").await,
        audit: world.workload("audit").await,
        reports: world.workload("reports").await,
    };
    people.ingest.put(&ids.bucket, "in/x", "content").await.allowed();
    people.all_as_declared(&ids.bucket).await;
    (scene, people)
}

impl People {
    /// Everybody but the reader by grant can do what the spec says.
    pub async fn all_as_declared(&self, bucket: &str) {
        self.etl.get(bucket, "in/x").await.allowed();
        self.etl.list(bucket, "in/").await.allowed();
        self.etl.put(bucket, "in/y", "1").await.allowed();
        self.ingest.put(bucket, "in/z", "1").await.allowed();
        self.audit.list(bucket, "in/").await.allowed();
        self.looks(bucket).await.allowed();
    }

    /// Nobody reads or lists, by duty or by grant.
    pub async fn nobody_reads(&self, bucket: &str) {
        self.etl.get(bucket, "in/x").await.denied();
        self.etl.list(bucket, "in/").await.denied();
        self.reports.get(bucket, "in/x").await.denied();
        self.reports.list(bucket, "in/").await.denied();
        self.ingest.get(bucket, "in/x").await.denied();
        self.audit.list(bucket, "in/").await.denied();
        self.audit.get(bucket, "in/x").await.denied();
    }

    /// The Auditor looks at the configuration.
    pub async fn looks(&self, bucket: &str) -> Access<()> {
        Access::of(self.audit.aws.s3.get_bucket_encryption().bucket(bucket).send().await.map(drop))
    }
}

impl Scene {
    /// Waits until the bucket is closed as the lockdown wants it, by a fresh look.
    pub async fn locked(&self) -> SecureBucket {
        let closed = |b: &SecureBucket| {
            let all = conditions(b);
            up_to_date(b) && is_true(all, types::LOCKED_DOWN) && reason(all, types::READY) == "LockedDown"
        };
        self.world.bucket_when("data", "locked down", closed).await
    }

    /// Sets the annotation that lifts.
    pub async fn annotate_lift(&self, id: &str) {
        let patch = json!({"metadata": {"annotations": {LIFT_LOCKDOWN: id}}});
        self.world.buckets().patch("data", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    /// Waits until the condition `LockedDown` says this.
    pub async fn lockdown_says(&self, part: &str) {
        let says = |b: &SecureBucket| {
            find(conditions(b), types::LOCKED_DOWN).is_some_and(|c| c.status == "True" && c.message.contains(part))
        };
        self.world.bucket_when("data", &format!("LockedDown says {part:?}"), says).await;
    }
}

#[tokio::test]
async fn reads_end_and_writing_goes_on() {
    let (scene, people) = busy(Scene::new("lockreads").await).await;
    let Scene { world, ids, .. } = &scene;
    let bucket = &ids.bucket;
    // A request that is not active yet: its ServiceAccount does not exist.
    world.ask("pending", "data", "nobody", "in/", "1h").await;
    world.grant_state("pending", "ServiceAccountNotFound").await;

    let begun = Instant::now();
    world.apply_bucket("data", spec(Some("Reads"))).await;
    let refused = || async { people.etl.get(bucket, "in/x").await.is_denied().then(|| begun.elapsed()) };
    let took = world.until("the first refused read", refused).await;
    println!("lockdown: {} ms from setting the field to the first refused read", took.as_millis());

    let locked = scene.locked().await;
    people.nobody_reads(bucket).await;
    people.etl.put(bucket, "in/y", "2").await.allowed();
    people.etl.put_multipart(bucket, "in/large").await.allowed();
    people.ingest.put(bucket, "in/z", "2").await.allowed();
    people.looks(bucket).await.allowed();
    let latch = locked.status.unwrap().lockdown.unwrap();
    assert_eq!((latch.id.len(), latch.reason.as_str()), (8, "leaked laptop"));
    world.event("data", "LockedDown", "leaked laptop").await;

    // Over for good, and proved; the request too; and new ones.
    let grant = world.grant_state("g", "LockedDown").await;
    assert!(!is_true(grant_conditions(&grant), types::ACTIVE));
    world.grant_removed("g").await;
    assert_eq!(world.kms_grants(&ids.key).await, []);
    let pending = world.grant_state("pending", "Denied").await;
    assert!(is_true(grant_conditions(&pending), types::DENIED), "{:#?}", grant_conditions(&pending));
    world.ask("new", "data", "reports", "in/", "1h").await;
    let new = world.grant_state("new", "Denied").await;
    assert!(find(grant_conditions(&new), types::ACTIVE).unwrap().message.contains("locked down"));

    // Both layers, each by itself.
    for account in ["etl", "reports", "audit"] {
        let document = world.role_document(account).await.to_string();
        assert!(!document.contains("s3:GetObject\"") && !document.contains("GetObjectTagging"), "{document}");
    }
    let facets = world.facets(ids).await;
    let names = sids(&facets["bucket policy"]);
    assert!(names.contains(&format!("LockdownReads{}", latch.id)), "{names:?}");
    assert!(names.contains(&format!("LockdownNames{}", latch.id)), "{names:?}");
    assert_eq!(facets["key"], "Enabled");
}

#[tokio::test]
async fn everything_ends_and_the_key_is_disabled() {
    let (scene, people) = busy(Scene::new("lockall").await).await;
    let Scene { world, ids, .. } = &scene;
    let bucket = &ids.bucket;
    // Raised while it lasts.
    world.apply_bucket("data", spec(Some("Reads"))).await;
    scene.locked().await;
    people.etl.put(bucket, "in/y", "2").await.allowed();
    world.apply_bucket("data", spec(Some("All"))).await;
    let disabled = || async { (world.facets(ids).await["key"] == "Disabled").then_some(()) };
    world.until("the key is disabled", disabled).await;
    scene.locked().await;
    people.nobody_reads(bucket).await;
    people.etl.put(bucket, "in/y", "3").await.denied();
    people.ingest.put(bucket, "in/z", "3").await.denied();
    people.looks(bucket).await.denied();
    for account in ["etl", "ingest", "audit"] {
        assert_eq!(world.role_document(account).await, Value::Null, "{account}: no duty is left");
        assert!(world.role_policies(&world.role_name(account)).await.is_some(), "{account}: the role stays");
    }
    // Not lowered by the spec.
    world.apply_bucket("data", spec(Some("Reads"))).await;
    let seen = world.bucket_when("data", "seen", up_to_date).await.status.unwrap();
    let latch = seen.lockdown.unwrap();
    assert_eq!((format!("{:?}", latch.level).as_str(), latch.key_disabled), ("All", Some(true)));
    assert_eq!(seen.key_state.as_deref(), Some("Disabled"));
    assert_eq!(world.facets(ids).await["key"], "Disabled");
    world.grant_state("g", "LockedDown").await;
    world.grant_removed("g").await;
    assert!(!is_true(&seen.conditions, types::RESTRICTED), "no responder did this: {:#?}", seen.conditions);
}

#[tokio::test]
async fn a_bucket_that_is_broken_in_other_ways_is_closed_all_the_same() {
    let scene = Scene::with("lockbroken", |o| o.drift_check(OFTEN).refusals_expected()).await;
    let (scene, people) = busy(scene).await;
    let Scene { world, ids, .. } = &scene;
    // Restricted by a responder, and half of the rest cannot be read.
    let deny = json!({"Sid": "Responder", "Effect": "Deny", "Principal": "*", "Action": "s3:GetObjectTorrent", "Resource": scene.objects()});
    let held = world.facets(ids).await;
    let text = Scene::edited(&held["bucket policy"], &[deny], None);
    world.root().s3.put_bucket_policy().bucket(&ids.bucket).policy(text).send().await.unwrap();
    let mut policy = policies::operator(&world.install);
    let blind = ["kms:GetKeyPolicy", "kms:ListResourceTags", "s3:GetBucketTagging", "s3:GetLifecycleConfiguration"];
    policy.statements.push(Statement::deny("Refused").actions(blind).resources(["*"]));
    put_operator_policy(&world.root(), &policy.render()).await;
    world.bucket_reason("data", "AccessDenied").await;
    people.etl.get(&ids.bucket, "in/x").await.allowed();

    world.apply_bucket("data", spec(Some("All"))).await;
    let closed = || async { people.etl.get(&ids.bucket, "in/x").await.is_denied().then_some(()) };
    world.until("closed", closed).await;
    let disabled = || async { (world.facets(ids).await["key"] == "Disabled").then_some(()) };
    world.until("the key is disabled", disabled).await;
    world.grant_removed("g").await;
    people.nobody_reads(&ids.bucket).await;
    people.ingest.put(&ids.bucket, "in/z", "3").await.denied();
    let policy = world.facets(ids).await["bucket policy"].clone();
    assert!(policy.contains("GetObjectTorrent"), "the responder's Deny stays: {policy}");
}

#[tokio::test]
async fn a_spec_that_cannot_be_carried_out_is_closed_all_the_same() {
    let (scene, people) = busy(Scene::new("lockinvalid").await).await;
    let Scene { world, ids, .. } = &scene;
    let mut broken = spec(Some("All"));
    broken["grants"]["maxDuration"] = "0h".into();
    world.apply_bucket("data", broken).await;
    world.bucket_reason("data", "InvalidSpec").await;
    people.nobody_reads(&ids.bucket).await;
    assert_eq!(world.facets(ids).await["key"], "Disabled");
    scene.lockdown_says("leaked laptop").await;
    world.grant_removed("g").await;
}

#[tokio::test]
async fn a_grant_of_another_namespace_is_over_too() {
    let world = crate::support::World::with_namespaces("lockfar", &["asks"]).await;
    let operator = world.operator().start();
    let asks = world.other("asks");
    world.service_account("ingest").await;
    world.service_account_in(&asks, "reports").await;
    let open = json!({
        "access": [{"name": "ingest", "duty": "Producer", "serviceAccountRef": {"name": "ingest"}, "prefixes": ["in/"]}],
        "grants": {"approvals": 0, "allowedNamespaces": [asks]},
    });
    world.apply_bucket("data", open.clone()).await;
    let ids = crate::support::facets::ids(&world.bucket_ready("data").await);
    world.workload("ingest").await.put(&ids.bucket, "in/x", "content").await.allowed();
    let mut request = crate::support::world::grant_spec("data", "reports", &["in/"], "1h");
    request["bucketRef"]["namespace"] = world.namespace.clone().into();
    world.create_grant_in(&asks, "g", request).await.unwrap();
    let active = |g: &securebucket::api::DecryptGrant| state(g) == "Granted";
    world.object_when(&world.grants_in(&asks), "g", "Granted", active).await;
    let reports = world.workload_in(&asks, "reports").await;
    reports.get(&ids.bucket, "in/x").await.allowed();

    let mut closed = open;
    closed["lockdown"] = json!({"reason": "leaked laptop"});
    world.apply_bucket("data", closed).await;
    let over = |g: &securebucket::api::DecryptGrant| g.status.as_ref().is_some_and(|s| s.removal.is_some());
    let grant = world.object_when(&world.grants_in(&asks), "g", "removed", over).await;
    assert_eq!(state(&grant), "LockedDown");
    reports.get(&ids.bucket, "in/x").await.denied();
    assert_eq!(operator.journal().count("CreateGrant"), 1);
}
