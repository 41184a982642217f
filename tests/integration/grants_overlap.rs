//! Several grants of one ServiceAccount: each ends at its own time, and none reads on by another's.

use kube::api::DeleteParams;
use securebucket::api::DecryptGrant;
use serde_json::json;

use crate::scene::Scene;
use crate::support::{Workload, World};

fn expires(grant: &DecryptGrant) -> String {
    grant.status.as_ref().and_then(|s| s.expires_at.clone()).expect("expiresAt")
}

async fn scene(name: &str) -> Scene {
    let scene = Scene::new(name).await;
    let mut spec = crate::scene::spec();
    spec["access"][0]["prefixes"] = json!(["calls/"]);
    scene.world.apply_bucket("data", spec).await;
    scene.world.bucket_ready("data").await;
    let ingest = scene.world.workload("ingest").await;
    let put = || async { (!ingest.put(&scene.ids.bucket, "calls/2025/x", "1").await.is_denied()).then_some(()) };
    scene.world.until("the Producer's new prefix", put).await;
    ingest.put(&scene.ids.bucket, "calls/2026/x", "1").await.allowed();
    scene
}

async fn hand_back(world: &World, name: &str) {
    world.grants().delete(name, &DeleteParams::default()).await.unwrap();
    world.gone(&world.grants(), name).await;
}

async fn until_denied(world: &World, reader: &Workload, bucket: &str, key: &str) {
    world
        .until(&format!("no read of {key}"), || async { reader.get(bucket, key).await.is_denied().then_some(()) })
        .await;
}

#[tokio::test]
async fn the_outer_prefix_ends_first() {
    let scene = scene("outer").await;
    scene.world.ask("inner", "data", "reports", "calls/2026/", "1h").await;
    scene.world.grant_active("inner").await;
    scene.short_grant("outer", &["calls/"]).await;
    let Scene { world, ids, operator, .. } = scene;
    let reports = world.workload("reports").await;
    reports.get(&ids.bucket, "calls/2025/x").await.allowed();
    reports.get(&ids.bucket, "calls/2026/x").await.allowed();
    // The dates hold by themselves.
    operator.kill().await;
    until_denied(&world, &reports, &ids.bucket, "calls/2025/x").await;
    reports.get(&ids.bucket, "calls/2026/x").await.allowed();
    let _operator = world.operator().start();
    world.grant_removed("outer").await;
    reports.get(&ids.bucket, "calls/2026/x").await.allowed();
    reports.get(&ids.bucket, "calls/2025/x").await.denied();
    // It says what goes on, as long as it does.
    let through = |g: &DecryptGrant| g.status.as_ref().unwrap().still_readable_through.clone();
    let outer = world.grant_when("outer", "names the other", |g| through(g) == ["DecryptGrant inner"]).await;
    let message = outer.status.unwrap().ended.unwrap().message;
    assert!(message.contains("still reads") && message.contains("DecryptGrant inner"), "{message}");
    hand_back(&world, "inner").await;
    reports.get(&ids.bucket, "calls/2026/x").await.denied();
    world.grant_when("outer", "names no other", |g| through(g).is_empty()).await;
}

#[tokio::test]
async fn the_inner_prefix_ends_first() {
    let scene = scene("inner").await;
    scene.world.ask("outer", "data", "reports", "calls/", "1h").await;
    scene.world.grant_active("outer").await;
    let (inner, _) = scene.short_grant("inner", &["calls/2026/"]).await;
    let Scene { world, ids, operator, .. } = scene;
    let reports = world.workload("reports").await;
    operator.kill().await;
    let inner = expires(&inner).parse::<jiff::Timestamp>().unwrap();
    world.until("the inner end has passed", || async { (jiff::Timestamp::now() > inner).then_some(()) }).await;
    // The outer grant covers it still.
    reports.get(&ids.bucket, "calls/2026/x").await.allowed();
    let _operator = world.operator().start();
    world.grant_removed("inner").await;
    reports.get(&ids.bucket, "calls/2026/x").await.allowed();
    hand_back(&world, "outer").await;
    reports.get(&ids.bucket, "calls/2026/x").await.denied();
    reports.get(&ids.bucket, "calls/2025/x").await.denied();
}

#[tokio::test]
async fn an_early_end_of_one_leaves_the_other() {
    let Scene { world, ids, operator: _operator, .. } = scene("early").await;
    world.ask("outer", "data", "reports", "calls/", "1h").await;
    world.ask("inner", "data", "reports", "calls/2026/", "2h").await;
    world.grant_active("outer").await;
    world.grant_active("inner").await;
    let reports = world.workload("reports").await;
    reports.get(&ids.bucket, "calls/2025/x").await.allowed();
    hand_back(&world, "outer").await;
    world.event("data", "GrantHandedBack", "still reads some of it through DecryptGrant inner").await;
    reports.get(&ids.bucket, "calls/2025/x").await.denied();
    reports.get(&ids.bucket, "calls/2026/x").await.allowed();
    assert_eq!(world.kms_grants(&ids.key).await.len(), 1);
    hand_back(&world, "inner").await;
    reports.get(&ids.bucket, "calls/2026/x").await.denied();
    assert_eq!(world.kms_grants(&ids.key).await, []);
}

#[tokio::test]
async fn two_with_the_same_end_share_a_statement_and_end_apart() {
    let Scene { world, ids, operator: _operator, .. } = scene("same").await;
    // Both clocks must start within one second: tried until they do.
    let mut pair = None;
    for attempt in 0..30 {
        let names = [format!("a{attempt}"), format!("b{attempt}")];
        let prefixes = ["calls/2025/", "calls/2026/"];
        let ask = |i: usize| world.ask(&names[i], "data", "reports", prefixes[i], "1h");
        tokio::join!(ask(0), ask(1));
        let a = world.grant_active(&names[0]).await;
        let b = world.grant_active(&names[1]).await;
        if expires(&a) == expires(&b) {
            pair = Some(names);
            break;
        }
        for name in &names {
            hand_back(&world, name).await;
        }
    }
    let [a, b] = pair.expect("two grants that start in the same second");
    let reports = world.workload("reports").await;
    reports.get(&ids.bucket, "calls/2025/x").await.allowed();
    reports.get(&ids.bucket, "calls/2026/x").await.allowed();
    let document = world.role_document("reports").await.to_string();
    let reads = crate::support::facets::sids(&document).iter().filter(|s| s.starts_with("Read")).count();
    assert_eq!(reads, 1, "{document}");
    hand_back(&world, &a).await;
    until_denied(&world, &reports, &ids.bucket, "calls/2025/x").await;
    reports.get(&ids.bucket, "calls/2026/x").await.allowed();
    hand_back(&world, &b).await;
    reports.get(&ids.bucket, "calls/2026/x").await.denied();
}

#[tokio::test]
async fn two_buckets_of_one_service_account_do_not_touch() {
    let Scene { world, ids, operator: _operator, .. } = scene("two").await;
    world.service_account("ingest2").await;
    let access =
        json!([{"name": "w", "duty": "Producer", "serviceAccountRef": {"name": "ingest2"}, "prefixes": ["calls/"]}]);
    world.apply_bucket("more", json!({"access": access, "grants": {"approvals": 0}})).await;
    let more = crate::support::facets::ids(&world.bucket_ready("more").await);
    world.workload("ingest2").await.put(&more.bucket, "calls/x", "2").await.allowed();
    world.ask("one", "data", "reports", "calls/", "1h").await;
    world.ask("two", "more", "reports", "calls/", "1h").await;
    world.grant_active("one").await;
    world.grant_active("two").await;
    let reports = world.workload("reports").await;
    assert_eq!(reports.get(&ids.bucket, "calls/2025/x").await.allowed(), "1");
    assert_eq!(reports.get(&more.bucket, "calls/x").await.allowed(), "2");
    hand_back(&world, "one").await;
    reports.get(&ids.bucket, "calls/2025/x").await.denied();
    assert_eq!(reports.get(&more.bucket, "calls/x").await.allowed(), "2");
}

#[tokio::test]
async fn a_producer_elsewhere_may_read_here_by_grant() {
    let scene = scene("cross").await;
    let Scene { world, ids, .. } = &scene;
    let access =
        json!([{"name": "w", "duty": "Producer", "serviceAccountRef": {"name": "reports"}, "prefixes": ["out/"]}]);
    world.apply_bucket("more", json!({"access": access})).await;
    let more = crate::support::facets::ids(&world.bucket_ready("more").await);
    scene.short_grant("g", &["calls/2025/", "calls/2025/deep/"]).await;
    let reports = world.workload("reports").await;
    reports.get(&ids.bucket, "calls/2025/x").await.allowed();
    reports.put_multipart(&more.bucket, "out/x").await.allowed();
    reports.get(&more.bucket, "out/x").await.denied();
    reports.put(&ids.bucket, "calls/2025/y", "1").await.denied();
    world.grant_removed("g").await;
    reports.get(&ids.bucket, "calls/2025/x").await.denied();
    // The end of the grant does not stop the duty: its uploads need Decrypt.
    reports.put_multipart(&more.bucket, "out/y").await.allowed();
}
