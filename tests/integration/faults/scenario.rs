//! What happens in a run, apart from faults.

use std::fmt;

use kube::api::DeleteParams;
use securebucket::api::condition::{is_true, types};
use securebucket::api::{DecryptGrant, SecureBucket};
use serde_json::json;

use super::plan::Point;
use super::prober::Prober;
use super::run::{BUCKET, GRANT, OBJECT, PREFIX, READER, Run, WRITER};
use crate::support::wait::{conditions, grant_conditions, up_to_date};

/// How long the grant of [`Scenario::Expiry`] lasts: long enough for a fault and its retries inside of it, as a rule.
const SHORT: &str = "6s";

/// A scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scenario {
    /// A bucket is made, read by a grant, the grant handed back, the bucket released.
    HandBack,
    /// A bucket is made, read by a grant, and the grant ends by itself. The bucket stays.
    Expiry,
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HandBack => "A",
            Self::Expiry => "B",
        })
    }
}

impl Scenario {
    /// Its grant ends by itself.
    pub fn expires(self) -> bool {
        self == Self::Expiry
    }

    /// The request from which on it differs from scenarios before it in the list: what comes before need not be broken twice.
    pub fn begins_with(self, point: &Point) -> bool {
        match self {
            Self::HandBack => true,
            Self::Expiry => point.label.contains("decryptgrants/"),
        }
    }

    /// Plays it; comes back when it is over and both worlds are at rest.
    pub async fn play(self, run: &Run<'_>) {
        let world = &run.world;
        let access = json!([{
            "name": "writing", "duty": "Producer", "serviceAccountRef": {"name": WRITER}, "prefixes": [PREFIX],
        }]);
        world.apply_bucket(BUCKET, json!({"access": access, "grants": {"approvals": 0}})).await;
        let ready = |b: &SecureBucket| up_to_date(b) && is_true(conditions(b), types::READY);
        let status = run.when(world.buckets(), BUCKET, "Ready", ready).await.status.unwrap();
        let bucket = status.bucket_name.unwrap();
        let _ = run.bucket_arn.set(status.bucket_arn.unwrap());
        // Ready means that the duties are in force.
        world.workload(WRITER).await.put(&bucket, OBJECT, "content").await.allowed();
        let prober = run.prober.get_or_init(|| Prober::start(world, READER, &bucket, OBJECT)).await;
        prober.until(false).await;
        match self {
            Self::HandBack => {
                world.ask(GRANT, BUCKET, READER, PREFIX, "1h").await;
                let active = |g: &DecryptGrant| is_true(grant_conditions(g), types::ACTIVE);
                run.when(world.grants(), GRANT, "Active", active).await;
                prober.until(true).await;
                run.settles("granted", 2).await;
                world.grants().delete(GRANT, &DeleteParams::default()).await.unwrap();
                run.gone(world.grants(), GRANT).await;
                prober.until(false).await;
                world.buckets().delete(BUCKET, &DeleteParams::default()).await.unwrap();
                run.gone(world.buckets(), BUCKET).await;
                run.settles("released", 0).await;
            }
            Self::Expiry => {
                world.ask(GRANT, BUCKET, READER, PREFIX, SHORT).await;
                let removed = |g: &DecryptGrant| g.status.as_ref().is_some_and(|s| s.removal.is_some());
                let over = run.when(world.grants(), GRANT, "removal proved", removed).await.status.unwrap();
                if over.kms_grant.is_none_or(|k| k.id.is_none()) && run.came_too_late() {
                    return;
                }
                prober.until(false).await;
                run.settles("expired", 1).await;
            }
        }
    }
}
