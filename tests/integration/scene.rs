//! A scene that many tests begin with: one bucket, in sync, with a Producer and a Processor.

use std::time::{Duration, Instant};

use kube::api::DeleteParams;
use securebucket::api::DecryptGrant;
use securebucket::api::condition::{is_true, types};
use serde_json::{Value, json};

use crate::support::facets::{Facets, Ids, ids};
use crate::support::wait::{PATIENCE, conditions, grant_conditions, state, up_to_date};
use crate::support::world::grant_spec;
use crate::support::{Operator, OperatorBuilder, World};

/// Time between two drift checks where a test waits for them. Elsewhere nothing looks without a reason: the machine is shared.
pub const OFTEN: Duration = Duration::from_millis(800);

/// One bucket, in sync.
pub struct Scene {
    /// The world.
    pub world: World,
    /// Its operator.
    pub operator: Operator,
    /// Names and ids of the bucket `data`.
    pub ids: Ids,
    /// What AWS held when all was in sync.
    pub before: Facets,
}

/// Spec of the bucket of a scene.
pub fn spec() -> Value {
    json!({
        "tags": {"team": "voice"},
        "access": [
            {"name": "ingest", "duty": "Producer", "serviceAccountRef": {"name": "ingest"}, "prefixes": ["in/"]},
            {"name": "etl", "duty": "Processor", "serviceAccountRef": {"name": "etl"}, "prefixes": ["in/"]},
        ],
        "grants": {"approvals": 0},
    })
}

impl Scene {
    /// A scene in a world of its own.
    pub async fn new(name: &str) -> Self {
        Self::with(name, |operator| operator).await
    }

    /// A scene whose operator looks at it often, with no other reason than time.
    pub async fn watched(name: &str) -> Self {
        Self::with(name, |operator| operator.drift_check(OFTEN)).await
    }

    /// A scene whose operator has further settings.
    pub async fn with(name: &str, change: impl FnOnce(OperatorBuilder) -> OperatorBuilder) -> Self {
        let world = World::new(name).await;
        let operator = change(world.operator()).start();
        for account in ["ingest", "etl", "reports"] {
            world.service_account(account).await;
        }
        world.apply_bucket("data", spec()).await;
        let ids = ids(&world.bucket_ready("data").await);
        let before = world.facets(&ids).await;
        Self { world, operator, ids, before }
    }

    /// Waits until drift of this facet was reported, with `part` in the words, and repaired, and AWS holds what it held.
    pub async fn repaired(&self, facet: &str, part: &str) {
        let event = self.world.event("data", "DriftDetected", facet).await;
        let note = event.note.clone().unwrap_or_default();
        assert!(note.starts_with(facet) && note.contains(part), "{part:?} is not in {note:?}");
        assert_eq!(event.type_.as_deref(), Some("Warning"));
        self.world.event("data", "DriftRepaired", facet).await;
        self.restored().await;
        let bucket = self.world.bucket_ready("data").await;
        assert!(!is_true(conditions(&bucket), types::RESTRICTED));
    }

    /// Waits until AWS holds what it held at the beginning.
    pub async fn restored(&self) {
        let what = "AWS holds what it held at the beginning";
        self.world.until(what, || async { (self.world.facets(&self.ids).await == self.before).then_some(()) }).await;
    }

    /// Waits until `Restricted` is reported with `part` in its words and the bucket is not Ready for that reason, and that it is left so
    /// through several further checks. Returns what AWS holds then.
    pub async fn restricted(&self, part: &str) -> Facets {
        let fits = |b: &securebucket::api::SecureBucket| {
            up_to_date(b) && conditions(b).iter().any(|c| c.reason == "Restricted" && c.message.contains(part))
        };
        let bucket = self.world.bucket_when("data", &format!("Restricted with {part:?}"), fits).await;
        assert!(!is_true(conditions(&bucket), types::READY), "{:#?}", conditions(&bucket));
        let held = self.world.facets(&self.ids).await;
        self.several_checks().await;
        assert_eq!(self.world.facets(&self.ids).await, held, "what a responder closed stays closed");
        held
    }

    /// Waits until the bucket has been looked at three more times.
    pub async fn several_checks(&self) {
        let looks = || self.operator.journal().count("GetBucketPolicy");
        let enough = looks() + 3;
        self.world.until("three more checks", || async { (looks() >= enough).then_some(()) }).await;
    }

    /// Waits until the operator has asked nothing of AWS for a second: what had been set off is over.
    pub async fn still(&self) {
        let (journal, begun) = (self.operator.journal(), Instant::now());
        loop {
            let mark = journal.mark();
            tokio::time::sleep(Duration::from_secs(1)).await;
            if journal.mark() == mark {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "it does not come to rest:\n{}", self.world.dump().await);
        }
    }

    /// Asks for the declared state and waits until it is there.
    pub async fn obeyed(&self) {
        self.world.reconcile_at("data", "now").await;
        let handled = |b: &securebucket::api::SecureBucket| {
            let status = b.status.clone().unwrap_or_default();
            status.handled_reconcile_at.as_deref() == Some("now")
        };
        self.world.bucket_when("data", "reconcile-at handled", handled).await;
        self.world.bucket_ready("data").await;
    }

    /// A grant of `reports` on the bucket that ends soon, and its length in seconds. Active, with half of its time left: on a machine that is
    /// too slow for that, it is asked for again with twice the time.
    pub async fn short_grant(&self, name: &str, prefixes: &[&str]) -> (DecryptGrant, i64) {
        self.grant_of_at_least(8, name, prefixes).await
    }

    /// The same, for a test that does much while it lasts.
    pub async fn grant_of_at_least(&self, shortest: i64, name: &str, prefixes: &[&str]) -> (DecryptGrant, i64) {
        for seconds in [8, 16, 32, 64, 128].into_iter().filter(|s| *s >= shortest) {
            let spec = grant_spec("data", "reports", prefixes, &format!("{seconds}s"));
            self.world.create_grant_in(&self.world.namespace, name, spec).await.unwrap();
            let done = |g: &DecryptGrant| is_true(grant_conditions(g), types::ACTIVE) || state(g) == "Expired";
            let grant = self.world.grant_when(name, "active, or over already", done).await;
            let end = grant.status.as_ref().and_then(|s| s.expires_at.as_deref()).unwrap().parse::<jiff::Timestamp>();
            let left = end.unwrap().duration_since(jiff::Timestamp::now());
            if state(&grant) != "Expired" && left >= jiff::SignedDuration::from_secs(seconds / 2) {
                return (grant, seconds);
            }
            // Where records are kept for a moment only, it may have gone by itself.
            let deleted = self.world.grants().delete(name, &DeleteParams::default()).await;
            assert!(deleted.is_ok() || self.world.grants().get_opt(name).await.unwrap().is_none());
            self.world.gone(&self.world.grants(), name).await;
        }
        panic!("no grant became active in half of its time:\n{}", self.world.dump().await);
    }

    /// Inserts statements into a document of AWS.
    pub fn edited(document: &str, more: &[Value], without: Option<&str>) -> String {
        let mut document: Value = serde_json::from_str(document).unwrap();
        let statements = document["Statement"].as_array_mut().unwrap();
        let before = statements.len();
        statements.retain(|s| without != s["Sid"].as_str());
        assert!(without.is_none() || statements.len() < before, "there is no {without:?}");
        statements.extend(more.iter().cloned());
        document.to_string()
    }

    /// Replaces the bucket policy by hand, without or with further statements.
    pub async fn put_bucket_policy(&self, more: &[Value], without: Option<&str>) {
        let text = Self::edited(&self.before["bucket policy"], more, without);
        self.world.root().s3.put_bucket_policy().bucket(&self.ids.bucket).policy(text).send().await.unwrap();
    }

    /// Replaces the key policy by hand, without or with further statements.
    pub async fn put_key_policy(&self, more: &[Value], without: Option<&str>) {
        let text = Self::edited(&self.before["key policy"], more, without);
        let request = self.world.root().kms.put_key_policy().key_id(&self.ids.key);
        request.policy_name("default").policy(text).send().await.unwrap();
    }

    /// ARN pattern of all objects.
    pub fn objects(&self) -> String {
        format!("arn:aws:s3:::{}/*", self.ids.bucket)
    }
}
