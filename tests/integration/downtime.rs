//! Nobody is there when a grant ends, for a second, an hour or a month. AWS refuses on time; whoever comes back removes what is left first.

use jiff::Timestamp;
use securebucket::api::DecryptGrant;
use securebucket::api::decrypt_grant::EndReason;
use serde_json::json;

use crate::scene::Scene;
use crate::support::facets::Ids;
use crate::support::hooks::api_server_ahead;
use crate::support::{Operator, World};

fn end_of(grant: &DecryptGrant) -> Timestamp {
    grant.status.as_ref().and_then(|s| s.expires_at.as_deref()).unwrap().parse().unwrap()
}

/// The grant is over by its date, everything of it is gone, and that was proved.
async fn removed(world: &World, ids: &Ids, before: &DecryptGrant) {
    let grant = world.grant_removed("g").await;
    let status = grant.status.clone().unwrap();
    assert_eq!(status.ended.unwrap().reason, EndReason::Expired);
    assert_eq!(end_of(&grant), end_of(before), "an end is never moved");
    let name = status.kms_grant.unwrap().name;
    assert!(world.kms_grants(&ids.key).await.iter().all(|(other, _, _)| *other != name), "its KMS grant is left");
}

/// Stops the operator, lets `away` pass, checks that AWS refuses whether or not anybody lives, and starts another.
async fn short_absence(name: &str, stop_before: i64) {
    let scene = Scene::new(name).await;
    scene.world.workload("ingest").await.put(&scene.ids.bucket, "in/x", "content").await.allowed();
    let (grant, _) = scene.short_grant("g", &["in/"]).await;
    let Scene { world, ids, operator, .. } = scene;
    let reports = world.workload("reports").await;
    reports.get(&ids.bucket, "in/x").await.allowed();
    let at = |seconds: i64| end_of(&grant) + jiff::SignedDuration::from_secs(seconds);
    let passed = |t: Timestamp| async move { (Timestamp::now() >= t).then_some(()) };
    world.until("the time to stop", || passed(at(-stop_before))).await;
    operator.kill().await;
    world.until("a second, and the end", || passed(at(1 - stop_before).max(at(0)))).await;
    reports.get(&ids.bucket, "in/x").await.denied();
    let _operator = world.operator().start();
    removed(&world, &ids, &grant).await;
    reports.get(&ids.bucket, "in/x").await.denied();
}

#[tokio::test]
async fn killed_a_second_before_the_end() {
    short_absence("before", 1).await;
}

#[tokio::test]
async fn killed_at_the_end() {
    short_absence("at", 0).await;
}

#[tokio::test]
async fn killed_after_the_end() {
    short_absence("after", -1).await;
}

/// Positions of the first request of each name.
fn first(operator: &Operator, name: &str) -> usize {
    let all: Vec<String> = operator.journal().since(0).into_iter().map(|e| e.operation.name).collect();
    all.iter().position(|n| n == name).unwrap_or_else(|| panic!("no {name} in {all:?}"))
}

/// The clocks of AWS and of the operator's machine, and the age of all signatures and tokens, are moved together.
async fn long_absence(name: &str, seconds: i64) {
    let Scene { world, ids, operator, .. } = Scene::new(name).await;
    world.workload("ingest").await.put(&ids.bucket, "in/x", "content").await.allowed();
    world.ask("g", "data", "reports", "in/", "1h").await;
    world.ask("later", "data", "reports", "in/x/", "8h").await;
    let grant = world.grant_active("g").await;
    world.grant_active("later").await;
    world.workload("reports").await.get(&ids.bucket, "in/x").await.allowed();
    operator.kill().await;
    // To the second before its end it can be read, although nobody lives.
    let left = end_of(&grant).as_second() - world.now().as_second();
    world.later(left - 60).await;
    world.workload("reports").await.get(&ids.bucket, "in/x").await.allowed();
    world.later(seconds - (left - 60)).await;
    let reports = world.workload("reports").await;
    reports.get(&ids.bucket, "in/x").await.denied();
    assert!(!world.kms_grants(&ids.key).await.is_empty(), "the KMS grant lives, and does not help");
    // There is other work as well for the one that comes.
    for n in 0..3 {
        world.apply_bucket(&format!("new{n}"), json!({})).await;
    }
    let operator = world.operator().kube_hook(api_server_ahead(world.moved())).start();
    removed(&world, &ids, &grant).await;
    reports.get(&ids.bucket, "in/x").await.denied();
    for n in 0..3 {
        world.bucket_ready(&format!("new{n}")).await;
    }
    assert!(first(&operator, "RevokeGrant") < first(&operator, "CreateBucket"), "what has ended goes first");
    // What had more time has it still, if it has not passed as well.
    if seconds < 8 * 3_600 {
        world.grant_active("later").await;
    } else {
        world.grant_state("later", "Expired").await;
    }
}

#[tokio::test]
async fn away_for_an_hour() {
    long_absence("hour", 3_600 + 30).await;
}

#[tokio::test]
async fn away_for_a_month() {
    long_absence("month", 30 * 24 * 3_600).await;
}
