//! A lockdown is latched, and lifted by its id alone: then everything is as it was, but for the grants.

use kube::api::{Patch, PatchParams};
use securebucket::api::SecureBucket;
use securebucket::api::condition::{find, types};
use serde_json::json;

use crate::lockdown::{busy, spec};
use crate::scene::Scene;
use crate::support::World;
use crate::support::facets::ids;
use crate::support::wait::{conditions, state, up_to_date};

/// The roles of the duties, as documents.
async fn documents(world: &World) -> Vec<String> {
    let mut all = Vec::new();
    for account in ["etl", "ingest", "audit"] {
        all.push(world.role_document(account).await.to_string());
    }
    all
}

/// The id of the lockdown in force.
async fn id(world: &World) -> String {
    world.buckets().get("data").await.unwrap().status.unwrap().lockdown.unwrap().id
}

/// Waits until the lockdown is lifted: gone from status, and the bucket as declared.
async fn lifted(world: &World) -> SecureBucket {
    let open = |b: &SecureBucket| {
        let status = b.status.clone().unwrap_or_default();
        let ready = find(conditions(b), types::READY).is_some_and(|c| c.status == "True" && c.reason == "Reconciled");
        up_to_date(b) && ready && status.lockdown.is_none() && find(conditions(b), types::LOCKED_DOWN).is_none()
    };
    world.bucket_when("data", "lifted", open).await
}

#[tokio::test]
async fn only_its_id_lifts_it_and_then_everything_is_as_it_was() {
    let (scene, people) = busy(Scene::new("lift").await).await;
    let Scene { world, ids, .. } = &scene;
    let bucket = &ids.bucket;
    let before = (world.facets(ids).await, documents(world).await);

    world.apply_bucket("data", spec(Some("Reads"))).await;
    scene.locked().await;
    let latched = id(world).await;
    // The right id while the field is set; the field gone with a wrong id; and, as after a sync, gone with none.
    scene.annotate_lift(&latched).await;
    scene.lockdown_says("spec.lockdown is still set").await;
    scene.annotate_lift("ffffffff").await;
    world.apply_bucket("data", spec(None)).await;
    scene.lockdown_says("does not name this lockdown").await;
    let said = world.buckets().get("data").await.unwrap();
    let said = &find(conditions(&said), types::LOCKED_DOWN).unwrap().message.clone();
    assert!(!said.contains("ffffffff") && !said.contains(&latched), "{said}");
    scene.locked().await;
    people.nobody_reads(bucket).await;
    // Neither does asking for the declared state.
    world.reconcile_at("data", "now").await;
    let handled = |b: &SecureBucket| b.status.as_ref().unwrap().handled_reconcile_at.as_deref() == Some("now");
    world.bucket_when("data", "reconcile-at handled", handled).await;
    people.nobody_reads(bucket).await;
    assert_eq!(id(world).await, latched);

    scene.annotate_lift(&latched).await;
    let open = lifted(world).await;
    assert_eq!(open.status.unwrap().last_lockdown.unwrap().id, latched);
    world.event("data", "LockdownLifted", &latched).await;
    assert_eq!((world.facets(ids).await, documents(world).await), before);
    people.all_as_declared(bucket).await;
    // The grant stays over; a new request is another matter.
    people.reports.get(bucket, "in/x").await.denied();
    assert_eq!(state(&world.grants().get("g").await.unwrap()), "LockedDown");
    world.ask("again", "data", "reports", "in/", "1h").await;
    world.grant_active("again").await;
    people.reports.get(bucket, "in/x").await.allowed();
}

#[tokio::test]
async fn a_lockdown_of_everything_is_lifted_though_the_operator_dies_on_the_way() {
    let (Scene { world, ids, operator, before }, people) = busy(Scene::new("liftall").await).await;
    let held = (world.facets(&ids).await, documents(&world).await);
    world.apply_bucket("data", spec(Some("All"))).await;
    let sent = |operator: &crate::support::Operator, call: &str| operator.journal().count(call) > 0;
    world.until("the key is being disabled", || async { sent(&operator, "DisableKey").then_some(()) }).await;
    operator.kill().await;

    let operator = world.operator().start();
    let scene = Scene { world, operator, ids, before };
    scene.locked().await;
    people.nobody_reads(&scene.ids.bucket).await;
    scene.world.apply_bucket("data", spec(None)).await;
    let latched = id(&scene.world).await;
    scene.annotate_lift(&latched).await;
    let Scene { world, ids, operator, .. } = scene;
    world.until("the key is being enabled", || async { sent(&operator, "EnableKey").then_some(()) }).await;
    operator.kill().await;

    let _operator = world.operator().start();
    lifted(&world).await;
    assert_eq!((world.facets(&ids).await, documents(&world).await), held);
    people.all_as_declared(&ids.bucket).await;
}

#[tokio::test]
async fn a_lost_status_is_latched_anew_from_the_field_or_from_aws() {
    let (scene, people) = busy(Scene::new("latch").await).await;
    let Scene { world, ids, .. } = &scene;
    world.apply_bucket("data", spec(Some("Reads"))).await;
    scene.locked().await;
    let latched = id(world).await;
    let wipe = || async {
        let none = Patch::Merge(json!({"status": {"lockdown": null}}));
        world.buckets().patch_status("data", &PatchParams::default(), &none).await.unwrap();
    };
    wipe().await;
    let anew = |b: &SecureBucket| b.status.as_ref().is_some_and(|s| s.lockdown.is_some());
    world.bucket_when("data", "latched by the field", anew).await;
    scene.locked().await;
    let second = id(world).await;
    assert_ne!(second, latched);
    // The field is gone as well: the bucket policy still says so.
    let both = json!({"spec": {"lockdown": null}});
    world.buckets().patch("data", &PatchParams::default(), &Patch::Merge(both)).await.unwrap();
    wipe().await;
    let same = |b: &SecureBucket| b.status.as_ref().and_then(|s| s.lockdown.as_ref()).is_some_and(|l| l.id == second);
    world.bucket_when("data", "latched by the bucket policy", same).await;
    scene.locked().await;
    people.nobody_reads(&ids.bucket).await;
    scene.annotate_lift(&second).await;
    lifted(world).await;
    people.all_as_declared(&ids.bucket).await;
}

#[tokio::test]
async fn deleting_the_object_and_making_it_anew_opens_nothing() {
    let (scene, people) = busy(Scene::new("lockanew").await).await;
    let Scene { world, ids: before, .. } = &scene;
    world.apply_bucket("data", spec(Some("Reads"))).await;
    scene.locked().await;
    let latched = id(world).await;
    world.buckets().delete("data", &Default::default()).await.unwrap();
    world.gone(&world.buckets(), "data").await;
    world.apply_bucket("data", spec(None)).await;
    let locked = scene.locked().await;
    assert_eq!(ids(&locked).bucket, before.bucket);
    people.nobody_reads(&before.bucket).await;
    assert_eq!(id(world).await, latched);
}
