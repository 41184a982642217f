//! Two operators and one lease, the first stopped in the middle of a call that gives access. The second takes over and ends that access; then
//! the first goes on, its call arrives, and opens nothing.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::DeleteParams;
use securebucket::k8s::lease::Settings;

use crate::faults::prober::{Probe, Prober};
use crate::lease::led_by;
use crate::scene::{OFTEN, spec};
use crate::support::chart::RELEASE;
use crate::support::facets::{Ids, ids, sids};
use crate::support::freeze::Freeze;
use crate::support::operator::End;
use crate::support::{Operator, OperatorBuilder, World};

/// As long as the real ones, but for the pause: on a machine that is shared by many tests a shorter lease is lost by itself.
const LEASE: Settings = Settings {
    duration: Duration::from_secs(30),
    renew_deadline: Duration::from_secs(15),
    retry: Duration::from_secs(1),
};
/// How long a Deny stays after the last look at KMS grants: the late call must find it.
const EVIDENCE: Duration = Duration::from_secs(20);

struct Rivals {
    world: World,
    ids: Ids,
    first: Operator,
    freeze: Freeze,
    prober: Prober,
}

fn rival(world: &World, name: &str) -> OperatorBuilder {
    world.operator().lease(name).drift_check(OFTEN).config(|c| {
        c.timing.evidence_wait = EVIDENCE;
        c.election.as_mut().unwrap().settings = LEASE;
    })
}

impl Rivals {
    /// A bucket with an object in it, the first operator at work, and `reports` trying to read.
    async fn new(name: &str) -> Self {
        let world = World::new(name).await;
        let freeze = Freeze::default();
        let first = rival(&world, "first").aws_hook(freeze.hook()).start();
        for account in ["ingest", "etl", "reports"] {
            world.service_account(account).await;
        }
        world.apply_bucket("data", spec()).await;
        let ids = ids(&world.bucket_ready("data").await);
        world.workload("ingest").await.put(&ids.bucket, "in/x", "content").await.allowed();
        let prober = Prober::start(&world, "reports", &ids.bucket, "in/x").await;
        Self { world, ids, first, freeze, prober }
    }

    /// Waits until the first stands still, then for the second to lead.
    async fn second_takes_over(&self) -> Operator {
        self.world.until("the first stands still", || async { self.freeze.is_frozen().then_some(()) }).await;
        let second = rival(&self.world, "second").start();
        led_by(&self.world, "second").await;
        second
    }

    /// Hands grants back, and waits until their removal is proved.
    async fn hand_back(&self, grants: &[&str]) {
        for name in grants {
            self.world.grants().delete(name, &DeleteParams::default()).await.unwrap();
        }
        for name in grants {
            self.world.gone(&self.world.grants(), name).await;
        }
        self.prober.until(false).await;
        assert!(self.freeze.is_frozen());
    }

    /// Lets the first go on, and waits until its call has arrived.
    async fn first_goes_on(&self) {
        self.freeze.thaw();
        let late = self.world.until("the late call arrives", || async { self.freeze.late() }).await;
        assert_eq!(late, 200, "AWS takes it: nothing tells it that it is late");
    }

    /// The first ends, and nothing was read after `from`.
    async fn nothing_was_read_since(self, from: Timestamp) {
        let Self { world, first, prober, .. } = self;
        match first.ended().await {
            End::Failed(why) => assert!(why.contains("lease"), "{why}"),
            other => panic!("{other:?}\n{}", world.dump().await),
        }
        prober.until(false).await;
        let read: Vec<Probe> = prober.probes().into_iter().filter(|p| p.sent >= from && p.allowed).collect();
        assert!(read.is_empty(), "read after the removal was proved: {read:?}\n{}", world.dump().await);
    }
}

#[tokio::test]
async fn a_late_allow_finds_no_kms_grant_and_is_taken_out() {
    let rivals = Rivals::new("lateallow").await;
    let Rivals { world, ids, freeze, prober, .. } = &rivals;
    world.ask("one", "data", "reports", "in/", "1h").await;
    world.grant_active("one").await;
    prober.until(true).await;
    freeze.before("PutRolePolicy", &world.role_name("reports"));
    world.ask("two", "data", "reports", "out/", "1h").await;
    let second = rivals.second_takes_over().await;
    rivals.hand_back(&["one", "two"]).await;
    let (closed, mark) = (Timestamp::now(), second.journal().mark());
    rivals.first_goes_on().await;
    let repaired = || async {
        let written = second.journal().writes_since(mark).iter().any(|e| e.operation.name == "PutRolePolicy");
        let sids = sids(&world.role_document("reports").await.to_string());
        (written && sids.iter().all(|s| !s.starts_with("Read"))).then_some(sids)
    };
    let sids = world.until("the living leader takes the late Allow out", repaired).await;
    assert!(sids.iter().any(|s| s.starts_with("End")), "under a Deny: {sids:?}");
    assert_eq!(world.kms_grants(&ids.key).await, []);
    rivals.nothing_was_read_since(closed).await;
}

#[tokio::test]
async fn a_late_kms_grant_finds_the_deny_and_is_revoked() {
    let rivals = Rivals::new("lategrant").await;
    let Rivals { world, ids, freeze, .. } = &rivals;
    freeze.before("CreateGrant", "");
    world.ask("one", "data", "reports", "in/", "1h").await;
    let second = rivals.second_takes_over().await;
    rivals.hand_back(&["one"]).await;
    assert_eq!(world.kms_grants(&ids.key).await, []);
    let (closed, mark) = (Timestamp::now(), second.journal().mark());
    rivals.first_goes_on().await;
    let revoked = || async {
        let revoked = second.journal().writes_since(mark).iter().any(|e| e.operation.name == "RevokeGrant");
        (revoked && world.kms_grants(&ids.key).await.is_empty()).then_some(())
    };
    world.until("the living leader revokes the late KMS grant", revoked).await;
    assert_eq!(second.journal().count("CreateGrant"), 0);
    rivals.nothing_was_read_since(closed).await;
}

#[tokio::test]
async fn who_takes_over_narrows_at_once_and_widens_a_lease_later() {
    let world = World::new("patience").await;
    let first = rival(&world, "first").start();
    for account in ["ingest", "etl", "reports", "other"] {
        world.service_account(account).await;
    }
    world.apply_bucket("data", spec()).await;
    let ids = ids(&world.bucket_ready("data").await);
    world.workload("ingest").await.put(&ids.bucket, "in/x", "content").await.allowed();
    world.ask("one", "data", "reports", "in/", "1h").await;
    world.grant_active("one").await;
    let reports = world.workload("reports").await;
    reports.get(&ids.bucket, "in/x").await.allowed();

    first.kill().await;
    world.grants().delete("one", &DeleteParams::default()).await.unwrap();
    world.ask("two", "data", "other", "in/", "1h").await;
    let second = rival(&world, "second").start();
    world.gone(&world.grants(), "one").await;
    reports.get(&ids.bucket, "in/x").await.denied();
    world.grant_active("two").await;
    world.workload("other").await.get(&ids.bucket, "in/x").await.allowed();

    let leases: Api<Lease> = Api::namespaced(world.client.clone(), world.operator_namespace());
    let taken = leases.get(RELEASE).await.unwrap().spec.and_then(|s| s.acquire_time).unwrap().0;
    let all = second.journal().all();
    let first_of = |names: &[&str]| all.iter().find(|e| names.contains(&e.operation.name.as_str())).unwrap();
    let (narrowed, widened) = (first_of(&["RevokeGrant"]), first_of(&["CreateRole", "CreateGrant"]));
    assert!(narrowed.sent < widened.sent);
    let ago = SignedDuration::try_from(widened.sent.elapsed()).unwrap();
    let waited = (Timestamp::now() - ago).duration_since(taken);
    assert!(
        waited >= SignedDuration::try_from(LEASE.duration).unwrap(),
        "access is given {waited:?} after the takeover"
    );
}
