//! What happens in a run, apart from faults.

use std::fmt;

use kube::api::DeleteParams;
use serde_json::json;

use super::prober::Prober;
use super::run::{BUCKET, GRANT, OBJECT, PREFIX, READER, Run, WRITER};

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

    /// Plays it; comes back when it is over and both worlds are at rest.
    pub async fn play(self, run: &Run<'_>) {
        let world = &run.world;
        let access = json!([{
            "name": "writing", "duty": "Producer", "serviceAccountRef": {"name": WRITER}, "prefixes": [PREFIX],
        }]);
        world.apply_bucket(BUCKET, json!({"access": access, "grants": {"approvals": 0}})).await;
        let status = world.bucket_ready(BUCKET).await.status.unwrap();
        let bucket = status.bucket_name.unwrap();
        let _ = run.bucket_arn.set(status.bucket_arn.unwrap());
        // Ready means that the duties are in force.
        world.workload(WRITER).await.put(&bucket, OBJECT, "content").await.allowed();
        let prober = run.prober.get_or_init(|| Prober::start(world, READER, &bucket, OBJECT)).await;
        prober.until(false).await;
        match self {
            Self::HandBack => {
                world.ask(GRANT, BUCKET, READER, PREFIX, "1h").await;
                world.grant_active(GRANT).await;
                prober.until(true).await;
                run.settles("granted").await;
                world.grants().delete(GRANT, &DeleteParams::default()).await.unwrap();
                world.gone(&world.grants(), GRANT).await;
                prober.until(false).await;
                world.buckets().delete(BUCKET, &DeleteParams::default()).await.unwrap();
                world.gone(&world.buckets(), BUCKET).await;
                run.settles("released").await;
            }
            Self::Expiry => {
                world.ask(GRANT, BUCKET, READER, PREFIX, SHORT).await;
                world.grant_removed(GRANT).await;
                prober.until(false).await;
                run.settles("expired").await;
            }
        }
    }
}
