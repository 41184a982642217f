//! When a grant begins: at its time, by a living operator whose clock is right, or not at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::{SignedDuration, Timestamp};
use kube::api::DeleteParams;
use securebucket::api::DecryptGrant;
use securebucket::api::condition::{find, is_true, types};
use securebucket::clock::Clock;
use securebucket::domain::time::format_instant;
use serde_json::{Value, json};

use crate::scene::Scene;
use crate::support::account::AUDIENCE;
use crate::support::hooks::{KubeHook, api_server_ahead, kube_hook};
use crate::support::wait::grant_conditions;
use crate::support::world::grant_spec;
use crate::support::{Operator, World};

fn instant(text: &Option<String>) -> Timestamp {
    text.as_deref().unwrap().parse().unwrap()
}

/// A request of `reports` that is to begin then.
fn from(begin: Timestamp, duration: &str) -> Value {
    let mut spec = grant_spec("data", "reports", &["in/"], duration);
    spec["notBefore"] = json!(format_instant(begin));
    spec
}

async fn ask(world: &World, name: &str, spec: Value) -> DecryptGrant {
    world.create_grant_in(&world.namespace, name, spec).await.unwrap()
}

fn message(grant: &DecryptGrant) -> String {
    find(grant_conditions(grant), types::ACTIVE).unwrap().message.clone()
}

/// A hook that lets nobody read SecureBuckets one by one while the flag is up.
fn unreadable(flag: &Arc<AtomicBool>) -> KubeHook {
    let flag = Arc::clone(flag);
    kube_hook(move |what, request, next| {
        let hit = flag.load(Ordering::SeqCst) && what.resource == "securebuckets" && !what.name.is_empty();
        async move {
            if hit && !what.is_write() {
                return Err(kube::Error::Service("injected: the connection broke".into()));
            }
            next.send(request).await
        }
    })
}

#[tokio::test]
async fn it_begins_when_its_bucket_can_be_read_again() {
    let down = Arc::new(AtomicBool::new(false));
    let Scene { world, ids, operator, .. } = Scene::with("dark", |o| o.kube_hook(unreadable(&down))).await;
    world.workload("ingest").await.put(&ids.bucket, "in/x", "content").await.allowed();
    down.store(true, Ordering::SeqCst);
    world.ask("g", "data", "reports", "in/", "1h").await;
    let grant = world.grant_state("g", "WaitingForBucket").await;
    assert!(message(&grant).contains("cannot be read: "), "{}", message(&grant));
    assert_eq!(operator.journal().count("CreateGrant"), 0);
    let token = world.token_for("reports", AUDIENCE).await;
    assert!(world.assume(&world.role_arn("reports"), &token).await.is_denied());
    // Nothing says that it can be read again: it is tried.
    down.store(false, Ordering::SeqCst);
    world.grant_active("g").await;
    world.workload("reports").await.get(&ids.bucket, "in/x").await.allowed();
}

#[tokio::test]
async fn it_begins_at_its_time() {
    let Scene { world, ids, operator, .. } = Scene::new("begin").await;
    world.workload("ingest").await.put(&ids.bucket, "in/x", "content").await.allowed();
    let begin = world.now() + SignedDuration::from_secs(3_600);
    ask(&world, "g", from(begin, "1h")).await;
    let grant = world.grant_state("g", "Scheduled").await;
    let all = grant_conditions(&grant);
    assert!(message(&grant).contains(&format_instant(begin)), "{all:#?}");
    assert!(is_true(all, types::APPROVED) && is_true(all, types::RECONCILING) && !is_true(all, types::READY));
    let status = grant.status.unwrap();
    assert_eq!(status.resolved.unwrap().not_before, Some(format_instant(begin)));
    assert!(status.activated_at.is_none() && status.expires_at.is_none());
    // Nothing of it is in AWS.
    assert_eq!((operator.journal().count("CreateGrant"), world.kms_grants(&ids.key).await.len()), (0, 0));
    assert!(world.role_policies(&world.role_name("reports")).await.is_none());
    let token = world.token_for("reports", AUDIENCE).await;
    assert!(world.assume(&world.role_arn("reports"), &token).await.is_denied());

    // Its time comes; and some minutes later an operator.
    operator.stop().await;
    world.later(3_700).await;
    let _operator = world.operator().kube_hook(api_server_ahead(3_700)).start();
    let grant = world.grant_active("g").await;
    let status = grant.status.unwrap();
    assert!(instant(&status.activated_at) >= begin);
    let length = instant(&status.expires_at).duration_since(instant(&status.activated_at));
    assert_eq!(length, SignedDuration::from_hours(1), "the whole duration, from activation on");
    world.workload("reports").await.get(&ids.bucket, "in/x").await.allowed();
}

#[tokio::test]
async fn a_living_operator_waits_for_the_second() {
    let scene = Scene::new("second").await;
    let Scene { world, .. } = &scene;
    let begin = world.now() + SignedDuration::from_secs(6);
    ask(world, "g", from(begin, "1h")).await;
    let grant = world.grant_active("g").await;
    assert!(instant(&grant.status.unwrap().activated_at).as_second() >= begin.as_second());
}

#[tokio::test]
async fn what_nobody_began_in_time_has_lapsed() {
    let Scene { world, ids, operator, .. } = Scene::new("lapse").await;
    let begin = world.now() + SignedDuration::from_secs(600);
    ask(&world, "g", from(begin, "1h")).await;
    world.grant_state("g", "Scheduled").await;
    operator.stop().await;
    world.later(600 + 3_601).await;
    let operator = world.operator().kube_hook(api_server_ahead(4_201)).start();
    let grant = world.grant_state("g", "Lapsed").await;
    let all = grant_conditions(&grant);
    assert!(message(&grant).contains("create a new grant"), "{all:#?}");
    let grant = world.grant_removed("g").await;
    let all = grant_conditions(&grant);
    assert!(is_true(all, types::STALLED) && !is_true(all, types::READY), "{all:#?}");
    world.event("g", "GrantRefused", "Lapsed").await;
    assert_eq!((operator.journal().count("CreateGrant"), world.kms_grants(&ids.key).await.len()), (0, 0));
    assert!(world.role_policies(&world.role_name("reports")).await.is_none());
    // Asked for anew it begins.
    ask(&world, "again", grant_spec("data", "reports", &["in/"], "1h")).await;
    world.grant_active("again").await;
}

#[tokio::test]
async fn what_is_wrong_with_a_beginning_is_said() {
    let scene = Scene::new("wrongtime").await;
    let Scene { world, .. } = &scene;
    let week = world.now() + SignedDuration::from_hours(7 * 24);
    ask(world, "far", from(week + SignedDuration::from_secs(3_600), "1h")).await;
    let grant = world.grant_state("far", "InvalidSpec").await;
    assert!(message(&grant).contains("spec.notBefore") && message(&grant).contains("7 days"), "{}", message(&grant));
    ask(world, "near", from(week - SignedDuration::from_secs(3_600), "1h")).await;
    world.grant_state("near", "Scheduled").await;
    for text in ["tomorrow", "2026-11-24", "2026-11-24T12:00:00", "2026-13-01T00:00:00Z", "2026-11-24T12:00:00.5Z", ""]
    {
        let mut spec = from(week, "1h");
        spec["notBefore"] = text.into();
        let refused = world.create_grant_in(&world.namespace, "bad", spec).await.unwrap_err();
        assert!(refused.to_string().contains("spec.notBefore"), "{text:?}: {refused}");
    }
}

/// Has an operator whose machine or API server is off by so much refuse to begin, and end what is handed back.
async fn begins_nothing(world: &World, key: &str, operator: Operator, name: &str, words: &str) {
    let before = world.kms_grants(key).await.len();
    ask(world, name, grant_spec("data", "reports", &["in/"], "1h")).await;
    let grant = world.grant_state(name, "ClockSkew").await;
    assert!(message(&grant).contains(words), "{}", message(&grant));
    assert!(is_true(grant_conditions(&grant), types::STALLED) && grant.status.unwrap().expires_at.is_none());
    assert_eq!((operator.journal().count("CreateGrant"), world.kms_grants(key).await.len()), (0, before));
    assert!(operator.log().text().contains("this machine's clock is off"), "{}", operator.log().tail(40));
    let old = format!("before-{name}");
    world.grants().delete(&old, &DeleteParams::default()).await.unwrap();
    world.gone(&world.grants(), &old).await;
    assert_eq!(world.kms_grants(key).await.len(), before - 1);
    operator.stop().await;
}

#[tokio::test]
async fn a_clock_that_is_off_begins_nothing_and_ends_everything() {
    let Scene { world, ids, operator, .. } = Scene::new("skew").await;
    for name in ["fast", "slow", "server"] {
        world.ask(&format!("before-{name}"), "data", "reports", "in/", "1h").await;
        world.grant_active(&format!("before-{name}")).await;
    }
    operator.stop().await;
    // AWS takes a signature that is up to 5 minutes off.
    let fast = world.operator().config(|c| c.clock = Clock::shifted(90)).kube_hook(api_server_ahead(90)).start();
    begins_nothing(&world, &ids.key, fast, "fast", "ahead of AWS's").await;
    let slow = world.operator().config(|c| c.clock = Clock::shifted(-90)).kube_hook(api_server_ahead(-90)).start();
    begins_nothing(&world, &ids.key, slow, "slow", "behind AWS's").await;
    let server = world.operator().kube_hook(api_server_ahead(90)).start();
    begins_nothing(&world, &ids.key, server, "server", "behind the API server's").await;
    // With a right clock they all begin.
    let _operator = world.operator().start();
    for name in ["fast", "slow", "server"] {
        world.grant_active(name).await;
    }
}
