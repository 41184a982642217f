//! Requests that are not, or not yet, granted, and what the requester learns from that.

use kube::api::DeleteParams;
use securebucket::api::DecryptGrant;
use securebucket::api::condition::{find, is_true, types};
use serde_json::json;

use crate::scene::Scene;
use crate::support::World;
use crate::support::facets::ids;
use crate::support::wait::grant_conditions;
use crate::support::world::grant_spec;

/// The message of `Stalled`.
fn stalled(grant: &DecryptGrant) -> String {
    find(grant_conditions(grant), types::STALLED).map(|c| c.message.clone()).unwrap_or_default()
}

#[tokio::test]
async fn across_namespaces_with_and_without_consent() {
    let world = World::with_namespaces("consent", &["asks"]).await;
    let _operator = world.operator().start();
    let asks = world.other("asks");
    world.service_account("ingest").await;
    world.service_account_in(&asks, "reports").await;
    let access =
        json!([{"name": "w", "duty": "Producer", "serviceAccountRef": {"name": "ingest"}, "prefixes": ["in/"]}]);
    let spec = |allowed: &[&str]| json!({"access": access, "grants": {"approvals": 0, "allowedNamespaces": allowed}});
    world.apply_bucket("data", spec(&[])).await;
    let ids = ids(&world.bucket_ready("data").await);
    world.workload("ingest").await.put(&ids.bucket, "in/x", "1").await.allowed();
    let grants = world.grants_in(&asks);
    let ask = |name: &'static str, bucket: &'static str| {
        let mut spec = grant_spec(bucket, "reports", &["in/"], "1h");
        spec["bucketRef"]["namespace"] = world.namespace.clone().into();
        let (world, asks) = (&world, asks.clone());
        async move { world.create_grant_in(&asks, name, spec).await.unwrap() }
    };
    // Absent and refused read the same.
    ask("refused", "data").await;
    ask("absent", "atad").await;
    let is_stalled = |g: &DecryptGrant| is_true(grant_conditions(g), types::STALLED);
    let refused = world.object_when(&grants, "refused", "stalled", is_stalled).await;
    let absent = world.object_when(&grants, "absent", "stalled", is_stalled).await;
    assert_eq!(stalled(&refused).replace("data", "atad"), stalled(&absent));
    assert!(stalled(&refused).contains("spec.bucketRef") && stalled(&refused).contains("allowedNamespaces"));
    let same = |g: &DecryptGrant| {
        let mut status = serde_json::to_value(g.status.clone().unwrap()).unwrap();
        for c in status["conditions"].as_array_mut().unwrap() {
            c["lastTransitionTime"] = json!(null);
        }
        status.to_string().replace("data", "atad").replace("grant.refused", "grant.absent")
    };
    assert_eq!(same(&refused), same(&absent));
    let about_bucket = world.events("data").await;
    assert!(
        about_bucket.iter().all(|e| !e.reason.clone().unwrap_or_default().starts_with("Grant")),
        "no noise for the owner"
    );
    // Consent heals it.
    world.apply_bucket("data", spec(&[&asks])).await;
    let active = |g: &DecryptGrant| is_true(grant_conditions(g), types::ACTIVE);
    world.object_when(&grants, "refused", "active", active).await;
    let reports = world.workload_in(&asks, "reports").await;
    reports.get(&ids.bucket, "in/x").await.allowed();
    // Its withdrawal ends it.
    world.apply_bucket("data", spec(&[])).await;
    let removed = |g: &DecryptGrant| g.status.as_ref().is_some_and(|s| s.removal.is_some());
    world.object_when(&grants, "refused", "removed", removed).await;
    reports.get(&ids.bucket, "in/x").await.denied();
}

#[tokio::test]
async fn a_duty_and_a_grant_on_one_bucket_do_not_go_together() {
    let scene = Scene::new("both").await;
    scene.world.ask("g", "data", "ingest", "in/", "1h").await;
    let grant = scene.world.grant_state("g", "SeparationOfDuties").await;
    assert!(stalled(&grant).contains("Producer") && stalled(&grant).contains("use another ServiceAccount"));
    assert_eq!(scene.world.kms_grants(&scene.ids.key).await, []);
    // Without the duty it goes on.
    let mut spec = crate::scene::spec();
    spec["access"].as_array_mut().unwrap().remove(0);
    scene.world.apply_bucket("data", spec).await;
    scene.world.grant_active("g").await;
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_said_by_field() {
    let scene =
        Scene::with("wrong", |o| o.config(|c| c.timing.grant_floor = std::time::Duration::from_secs(900))).await;
    let Scene { world, ids, .. } = &scene;
    let mut spec = crate::scene::spec();
    spec["grants"]["maxDuration"] = "2h".into();
    world.apply_bucket("data", spec).await;
    world.bucket_ready("data").await;
    for (name, account, duration, word, parts) in [
        ("floor", "reports", "1m", "InvalidSpec", &["spec.duration", "1m", "15m"][..]),
        ("max", "reports", "3h", "InvalidSpec", &["spec.duration", "3h", "2h", "grants.maxDuration"][..]),
        (
            "account",
            "nobody",
            "1h",
            "ServiceAccountNotFound",
            &["spec.subject.serviceAccountRef.name", "nobody", "create it"][..],
        ),
    ] {
        world.ask(name, "data", account, "in/", duration).await;
        let grant = world.grant_state(name, word).await;
        for part in parts {
            assert!(stalled(&grant).contains(part), "{part} is not in {}", stalled(&grant));
        }
    }
    assert_eq!(world.kms_grants(&ids.key).await, []);
    // What heals them: the owner's permission, and the ServiceAccount.
    let mut spec = crate::scene::spec();
    spec["grants"]["maxDuration"] = "4h".into();
    world.apply_bucket("data", spec).await;
    world.grant_active("max").await;
    world.service_account("nobody").await;
    world.grant_active("account").await;
    // One that never got anywhere goes at once.
    world.grants().delete("floor", &DeleteParams::default()).await.unwrap();
    world.gone(&world.grants(), "floor").await;
}

#[tokio::test]
async fn a_bucket_that_is_not_ready_makes_its_grants_wait() {
    let scene = Scene::new("notready").await;
    let Scene { world, .. } = &scene;
    world.service_account("late").await;
    let deny = json!({"region": "us-west-2", "grants": {"approvals": 0}});
    world.apply_bucket("later", deny).await;
    world.bucket_reason("later", "InvalidSpec").await;
    world.ask("g", "later", "late", "in/", "1h").await;
    let grant = world.grant_state("g", "WaitingForBucket").await;
    assert!(find(grant_conditions(&grant), types::STALLED).is_none());
    world.apply_bucket("later", json!({"region": "eu-west-1", "grants": {"approvals": 0}})).await;
    world.grant_active("g").await;
}
