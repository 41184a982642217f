//! What happens in a run, apart from faults.

use std::fmt;

use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams};
use securebucket::api::condition::{is_true, reason, types};
use securebucket::api::{DecryptGrant, LIFT_LOCKDOWN, SecureBucket};
use serde_json::{Value, json};

use super::cause::Cause;
use super::journal::now;
use super::prober::Prober;
use super::run::{BUCKET, GRANT, OBJECT, PREFIX, READER, Run, WRITER};
use crate::support::reviews::{counts, review_spec};
use crate::support::wait::{conditions, grant_conditions, state, up_to_date};
use crate::support::world::grant_spec;

/// How long grants last, if nothing ends them.
const LONG: &str = "1h";
/// How long the second of two lasts: begun in one second, they would share their end, and with it a statement.
const LONGER: &str = "2h";
/// The second grant of [`Scenario::Overlap`].
const ALSO: &str = "also";

/// A scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scenario {
    /// A bucket is made, read by a grant, the grant handed back, the bucket released.
    HandBack,
    /// A bucket is made, read by a grant, and the grant ends by itself. The bucket stays.
    Expiry,
    /// A bucket that a grant reads is locked down, and the lockdown lifted. The bucket stays.
    Lockdown,
    /// A second grant of the same ServiceAccount begins during the first, which is handed back before it.
    Overlap,
    /// A grant ends before its time, by something that happens to others than itself.
    Early(Cause),
    /// Somebody asks, two persons agree, and one of them takes the grant away.
    Agreement,
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HandBack => f.write_str("A"),
            Self::Expiry => f.write_str("B"),
            Self::Lockdown => f.write_str("C"),
            Self::Overlap => f.write_str("D"),
            Self::Early(cause) => write!(f, "E-{cause}"),
            Self::Agreement => f.write_str("F"),
        }
    }
}

impl Scenario {
    /// Its grant ends by itself.
    pub fn expires(self) -> bool {
        self == Self::Expiry
    }

    /// One of the two whole lives, from the request of a bucket on; the others are about how such a life goes on.
    pub fn is_main(self) -> bool {
        matches!(self, Self::HandBack | Self::Expiry)
    }

    /// Who asks to read is given a duty, and may write.
    pub fn gives_a_duty(self) -> bool {
        self == Self::Early(Cause::Duty)
    }

    /// Every request is hit, not only those from where it differs from the others: what comes before need not be broken twice.
    pub fn is_hit_from_the_start(self) -> bool {
        self == Self::HandBack
    }

    /// Plays it; comes back when it is over and both worlds are at rest.
    pub async fn play(self, run: &Run<'_>) {
        let mut spec = spec();
        if self == Self::Agreement {
            spec["grants"]["approvals"] = json!(2);
        }
        let stage = Stage::set(run, spec).await;
        match self {
            Self::HandBack => stage.hand_back_and_release().await,
            Self::Expiry => stage.expiry().await,
            Self::Lockdown => stage.lockdown_and_lifting().await,
            Self::Overlap => stage.overlap().await,
            Self::Early(cause) => stage.early_end(cause).await,
            Self::Agreement => stage.agreement().await,
        }
    }
}

/// The SecureBucket of all scenarios.
pub fn spec() -> Value {
    let access = json!([{
        "name": "writing", "duty": "Producer", "serviceAccountRef": {"name": WRITER}, "prefixes": [PREFIX],
    }]);
    json!({"access": access, "grants": {"approvals": 0}})
}

/// A bucket that is Ready, with an object in it, and somebody who tries to read that.
struct Stage<'a, 'r> {
    run: &'a Run<'r>,
    prober: &'a Prober,
    bucket: String,
}

impl<'a, 'r> Stage<'a, 'r> {
    async fn set(run: &'a Run<'r>, spec: Value) -> Self {
        let world = &run.world;
        world.apply_bucket(BUCKET, spec).await;
        let ready = |b: &SecureBucket| up_to_date(b) && is_true(conditions(b), types::READY);
        let status = run.when(world.buckets(), BUCKET, "Ready", ready).await.status.unwrap();
        let bucket = status.bucket_name.unwrap();
        let _ = run.bucket_arn.set(status.bucket_arn.unwrap());
        // Ready means that the duties are in force.
        world.workload(WRITER).await.put(&bucket, OBJECT, "content").await.allowed();
        let prober = run.prober.get_or_init(|| Prober::start(world, READER, &bucket, OBJECT)).await;
        prober.until(false).await;
        Self { run, prober, bucket }
    }

    async fn read_by(&self, grant: &str, duration: &str) {
        self.run.world.ask(grant, BUCKET, READER, PREFIX, duration).await;
        let active = |g: &DecryptGrant| is_true(grant_conditions(g), types::ACTIVE);
        self.run.when(self.run.world.grants(), grant, "Active", active).await;
        self.prober.until(true).await;
    }

    async fn removed(&self) -> DecryptGrant {
        let removed = |g: &DecryptGrant| g.status.as_ref().is_some_and(|s| s.removal.is_some());
        self.run.when(self.run.world.grants(), GRANT, "removal proved", removed).await
    }

    async fn handed_back(&self, grant: &str) {
        let grants = self.run.world.grants();
        grants.delete(grant, &DeleteParams::default()).await.unwrap();
        self.run.gone(grants, grant).await;
    }

    async fn hand_back_and_release(self) {
        self.read_by(GRANT, LONG).await;
        self.run.settles("granted", 2).await;
        self.handed_back(GRANT).await;
        self.prober.until(false).await;
        let buckets = self.run.world.buckets();
        buckets.delete(BUCKET, &DeleteParams::default()).await.unwrap();
        self.run.gone(buckets, BUCKET).await;
        self.run.settles("released", 0).await;
    }

    async fn expiry(self) {
        self.run.count_from_here();
        self.run.world.ask(GRANT, BUCKET, READER, PREFIX, &format!("{}s", self.run.window.as_secs())).await;
        let over = self.removed().await.status.unwrap();
        if over.kms_grant.is_none_or(|k| k.id.is_none()) && self.run.came_too_late() {
            return;
        }
        self.prober.until(false).await;
        self.run.settles("expired", 1).await;
    }

    async fn lockdown_and_lifting(self) {
        self.read_by(GRANT, LONG).await;
        let world = &self.run.world;
        self.run.count_from_here();
        let mut locked = spec();
        locked["lockdown"] = json!({"reason": "leaked laptop", "level": "All"});
        world.apply_bucket(BUCKET, locked).await;
        self.removed().await;
        self.prober.until(false).await;
        self.run.when(world.buckets(), BUCKET, "locked down", |b| is_ready(b, "LockedDown")).await;
        world.workload(WRITER).await.put(&self.bucket, OBJECT, "content").await.denied();
        self.run.settles("locked", 1).await;
        let latched = world.apply_bucket(BUCKET, spec()).await.status.unwrap().lockdown.unwrap();
        let lift = json!({"metadata": {"annotations": {LIFT_LOCKDOWN: latched.id}}});
        world.buckets().patch(BUCKET, &PatchParams::default(), &Patch::Merge(lift)).await.unwrap();
        let lifted =
            |b: &SecureBucket| is_ready(b, "Reconciled") && b.status.as_ref().is_some_and(|s| s.lockdown.is_none());
        self.run.when(world.buckets(), BUCKET, "lifted", lifted).await;
        world.workload(WRITER).await.put(&self.bucket, OBJECT, "content").await.allowed();
        self.prober.until(false).await;
        self.run.settles("lifted", 1).await;
    }

    async fn overlap(self) {
        self.read_by(GRANT, LONG).await;
        let since = now();
        self.run.count_from_here();
        self.read_by(ALSO, LONGER).await;
        self.handed_back(GRANT).await;
        self.run.settles("one of two", 2).await;
        self.prober.until(true).await;
        self.run.read_on_since(since);
        self.handed_back(ALSO).await;
        self.prober.until(false).await;
        self.run.settles("none", 1).await;
    }

    async fn early_end(self, cause: Cause) {
        self.read_by(GRANT, LONG).await;
        self.run.count_from_here();
        cause.happens(self.run).await;
        self.removed().await;
        self.prober.until(false).await;
        self.run.settles("over", cause.roles_left()).await;
    }

    async fn agreement(self) {
        self.run.count_from_here();
        let mut asked = grant_spec(BUCKET, READER, &[PREFIX], LONG);
        asked["requester"] = json!({"username": "alice"});
        let world = &self.run.world;
        world.create_grant_in(&world.namespace, GRANT, asked).await.unwrap();
        let waits = |g: &DecryptGrant| state(g) == "AwaitingApproval";
        let grant = self.run.when(world.grants(), GRANT, "AwaitingApproval", waits).await;
        self.says(&grant, "Approve", "bob").await;
        // Who asks counts for nobody, and one of two is not enough.
        let own = review_spec(&grant, "Approve", "alice");
        world.create_review(&world.namespace, "own", own).await.unwrap();
        self.run.when(world.reviews(), "own", "does not count", |r| counts(r, "SelfApproval")).await;
        self.run.settles("one of two", 1).await;
        self.says(&grant, "Approve", "carol").await;
        let active = |g: &DecryptGrant| is_true(grant_conditions(g), types::ACTIVE);
        let grant = self.run.when(world.grants(), GRANT, "Active", active).await;
        self.prober.until(true).await;
        self.run.settles("agreed", 2).await;
        self.says(&grant, "Revoke", "carol").await;
        self.removed().await;
        self.prober.until(false).await;
        self.run.settles("revoked", 1).await;
    }

    /// Somebody says a word that counts.
    async fn says(&self, grant: &DecryptGrant, decision: &str, who: &str) {
        self.run.journal.note_outside("GrantReview", json!({"decision": decision, "reviewer": who}));
        let review = self.run.world.review(grant, decision, who).await.name_any();
        self.run.when(self.run.world.reviews(), &review, "counts", |r| counts(r, "Counted")).await;
    }
}

fn is_ready(bucket: &SecureBucket, word: &str) -> bool {
    let all = conditions(bucket);
    up_to_date(bucket) && is_true(all, types::READY) && reason(all, types::READY) == word
}
