//! What is in sync costs nothing but looks, and what concerns nobody costs nothing at all.

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::scene::Scene;
use crate::support::World;

/// Everything of the operator is quiet: a SecureBucket that costs no AWS call has gone all the way through watch, queue and status.
async fn sentinel(world: &World, name: &str) {
    world.apply_bucket(name, json!({"region": "us-west-2"})).await;
    world.bucket_reason(name, "InvalidSpec").await;
}

async fn with_grant(scene: &Scene) {
    scene.world.ask("g", "data", "reports", "in/", "1h").await;
    scene.world.grant_active("g").await;
    let counted = |b: &securebucket::api::SecureBucket| {
        let status = b.status.as_ref().unwrap();
        status.active_grants == Some(1) && status.access.len() == 2
    };
    scene.world.bucket_when("data", "counts the grant and lists who can read", counted).await;
}

#[tokio::test]
async fn checks_of_a_converged_world_write_nothing() {
    let scene = Scene::watched("noop").await;
    with_grant(&scene).await;
    scene.several_checks().await;
    let (aws, kube) = (scene.operator.journal(), scene.operator.kube_journal());
    let (mark, kube_mark) = (aws.mark(), kube.mark());
    let before = scene.world.buckets().get("data").await.unwrap();
    let grant = scene.world.grants().get("g").await.unwrap();
    scene.several_checks().await;
    scene.several_checks().await;
    let looked = aws.since(mark);
    assert!(looked.len() > 30, "it did look: {}", looked.len());
    assert_eq!(aws.writes_since(mark).iter().map(ToString::to_string).collect::<Vec<_>>(), Vec::<String>::new());
    assert_eq!(kube.writes_since(kube_mark).iter().map(ToString::to_string).collect::<Vec<_>>(), Vec::<String>::new());
    let after = scene.world.buckets().get("data").await.unwrap();
    assert_eq!(before.metadata.resource_version, after.metadata.resource_version);
    assert_eq!(grant.metadata.resource_version, scene.world.grants().get("g").await.unwrap().metadata.resource_version);
}

#[tokio::test]
async fn a_restart_over_a_converged_world_writes_nothing() {
    let scene = Scene::new("again").await;
    with_grant(&scene).await;
    let Scene { world, operator, ids, before } = scene;
    operator.stop().await;
    let operator = world.operator().start();
    let looked = || async {
        let journal = operator.journal();
        let all = ["GetBucketPolicy", "GetRolePolicy", "ListGrants"].iter().all(|o| journal.count(o) > 0);
        all.then_some(())
    };
    world.until("everything was looked at", looked).await;
    sentinel(&world, "sentinel").await;
    let writes = operator.journal().writes_since(0);
    assert!(writes.is_empty(), "{writes:?}");
    let kube = operator.kube_journal().writes_since(0);
    let others: Vec<String> =
        kube.iter().filter(|w| !w.to_string().contains("sentinel")).map(ToString::to_string).collect();
    assert_eq!(others, Vec::<String>::new());
    assert_eq!(world.facets(&ids).await, before);
}

#[tokio::test]
async fn changes_that_concern_nobody_cost_no_aws_call() {
    let scene = Scene::new("idle").await;
    with_grant(&scene).await;
    let world = &scene.world;
    sentinel(world, "before").await;
    scene.still().await;
    let mark = scene.operator.journal().mark();
    let label = Patch::Merge(json!({"metadata": {"labels": {"seen": "yes"}, "annotations": {"note": "x"}}}));
    let params = PatchParams::default();
    world.buckets().patch("data", &params, &label).await.unwrap();
    world.grants().patch("g", &params, &label).await.unwrap();
    for account in ["ingest", "etl", "reports"] {
        let accounts: Api<ServiceAccount> = Api::namespaced(world.client.clone(), &world.namespace);
        accounts.patch(account, &params, &label).await.unwrap();
    }
    let namespaces: Api<Namespace> = Api::all(world.client.clone());
    namespaces.patch(&world.namespace, &params, &label).await.unwrap();
    // A status write that changes nothing but a time, as another controller might make it.
    let mut status = world.buckets().get("data").await.unwrap().status.unwrap();
    status.conditions[0].message = "touched by hand".into();
    let touched = Patch::Merge(json!({"status": {"conditions": status.conditions}}));
    world.buckets().patch_status("data", &params, &touched).await.unwrap();
    // Somebody else's ServiceAccount, and a grant of nobody's concern.
    world.service_account("stranger").await;
    sentinel(world, "after").await;
    world.ask("nowhere", "not-there", "stranger", "in/", "1h").await;
    world.grant_state("nowhere", "BucketNotAvailable").await;
    let calls = scene.operator.journal().since(mark);
    assert_eq!(calls.iter().map(ToString::to_string).collect::<Vec<_>>(), Vec::<String>::new());
}
