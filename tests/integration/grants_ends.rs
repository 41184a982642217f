//! Every way in which a live grant ends before its time. None of them is ever taken back.

use std::time::Duration;

use kube::api::{DeleteParams, Patch, PatchParams};
use securebucket::api::DecryptGrant;
use securebucket::api::condition::{find, types};
use serde_json::json;

use crate::scene::{OFTEN, Scene};
use crate::support::facets::sids;
use crate::support::wait::{grant_conditions, poll};
use crate::support::{Workload, World};

/// A scene with an active grant `g` of `reports`, who reads.
async fn reading(name: &str) -> (Scene, Workload) {
    reading_in(Scene::new(name).await).await
}

async fn reading_in(scene: Scene) -> (Scene, Workload) {
    scene.world.workload("ingest").await.put(&scene.ids.bucket, "in/x", "content").await.allowed();
    scene.world.ask("g", "data", "reports", "in/", "1h").await;
    scene.world.grant_active("g").await;
    let reports = scene.world.workload("reports").await;
    reports.get(&scene.ids.bucket, "in/x").await.allowed();
    (scene, reports)
}

async fn over(world: &World, word: &str, part: &str) -> DecryptGrant {
    let grant = world.grant_state("g", word).await;
    let active = find(grant_conditions(&grant), types::ACTIVE).unwrap();
    assert!(active.message.contains(part), "{part:?} is not in {:?}", active.message);
    world.grant_removed("g").await
}

#[tokio::test]
async fn the_bucket_is_deleted() {
    let (scene, reports) = reading("nobucket").await;
    let Scene { world, ids, .. } = &scene;
    world.buckets().delete("data", &DeleteParams::default()).await.unwrap();
    over(world, "BucketGone", "SecureBucket").await;
    world.gone(&world.buckets(), "data").await;
    reports.get(&ids.bucket, "in/x").await.denied();
    assert_eq!(world.kms_grants(&ids.key).await, []);
}

#[tokio::test]
async fn the_service_account_is_replaced() {
    let (scene, reports) = reading("replaced").await;
    let Scene { world, ids, .. } = &scene;
    world.delete_service_account("reports").await;
    world.service_account("reports").await;
    over(world, "Revoked", "ServiceAccount").await;
    reports.get(&ids.bucket, "in/x").await.denied();
    assert_eq!(world.kms_grants(&ids.key).await, []);
    // The new one may ask for itself.
    world.ask("again", "data", "reports", "in/", "1h").await;
    world.grant_active("again").await;
    world.workload("reports").await.get(&ids.bucket, "in/x").await.allowed();
    assert_eq!(world.kms_grants(&ids.key).await.len(), 1);
}

#[tokio::test]
async fn the_service_account_is_replaced_while_the_operator_is_down() {
    let (scene, reports) = reading("absent").await;
    let Scene { world, ids, operator, .. } = scene;
    operator.stop().await;
    world.delete_service_account("reports").await;
    world.service_account("reports").await;
    let _operator = world.operator().start();
    over(&world, "Revoked", "ServiceAccount").await;
    reports.get(&ids.bucket, "in/x").await.denied();
}

#[tokio::test]
async fn the_kms_grant_is_revoked_by_hand_and_not_issued_again() {
    let (scene, reports) = reading_in(Scene::watched("byhand").await).await;
    let Scene { world, ids, operator, .. } = &scene;
    let kms = world.root().kms;
    let all = kms.list_grants().key_id(&ids.key).send().await.unwrap().grants.unwrap();
    let id = all[0].grant_id.clone().unwrap();
    kms.revoke_grant().key_id(&ids.key).grant_id(id).send().await.unwrap();
    reports.get(&ids.bucket, "in/x").await.denied();
    over(world, "Revoked", "not issued again").await;
    scene.several_checks().await;
    assert_eq!(operator.journal().count("CreateGrant"), 1);
    assert_eq!(world.kms_grants(&ids.key).await, []);
    world.event("data", "GrantRevoked", "removed outside the operator").await;
}

#[tokio::test]
async fn its_role_is_deleted_by_hand() {
    let (scene, reports) = reading_in(Scene::watched("delrole").await).await;
    let Scene { world, ids, operator, .. } = &scene;
    world.delete_role(&world.role_name("reports")).await;
    over(world, "Revoked", "role").await;
    assert!(reports.aws.s3.get_object().bucket(&ids.bucket).key("in/x").send().await.is_err());
    assert_eq!(world.kms_grants(&ids.key).await, [], "the grant to the old role is gone too");
    assert_eq!(operator.journal().count("CreateGrant"), 1);
    // Those of ingest, etl and reports: no role was made anew.
    assert_eq!(operator.journal().count("CreateRole"), 3);
}

#[tokio::test]
async fn its_key_is_disabled_by_hand() {
    let (scene, reports) = reading_in(Scene::watched("keyoff").await).await;
    let Scene { world, ids, operator, .. } = &scene;
    let kms = world.root().kms;
    kms.disable_key().key_id(&ids.key).send().await.unwrap();
    over(world, "Revoked", "key was disabled").await;
    assert_eq!(world.kms_grants(&ids.key).await, []);
    let seen = world.bucket_reason("data", "KeyDisabled").await;
    assert_eq!(seen.status.unwrap().key_state.as_deref(), Some("Disabled"));
    // On a key that is not enabled nothing is issued; when it is again, the grant that is over stays so.
    world.ask("again", "data", "reports", "in/", "1h").await;
    world.grant_state("again", "WaitingForBucket").await;
    kms.enable_key().key_id(&ids.key).send().await.unwrap();
    world.grant_active("again").await;
    reports.get(&ids.bucket, "in/x").await.allowed();
    assert_eq!(operator.journal().count("CreateGrant"), 2);
    assert_eq!(world.bucket_ready("data").await.status.unwrap().key_state.as_deref(), Some("Enabled"));
}

#[tokio::test]
async fn the_owner_withdraws_consent_or_gives_a_duty() {
    let (scene, reports) = reading("duty").await;
    let Scene { world, ids, .. } = &scene;
    let mut spec = crate::scene::spec();
    spec["access"].as_array_mut().unwrap().push(
        json!({"name": "reports", "duty": "Producer", "serviceAccountRef": {"name": "reports"}, "prefixes": ["in/"]}),
    );
    world.apply_bucket("data", spec).await;
    over(world, "Revoked", "duty").await;
    reports.get(&ids.bucket, "in/x").await.denied();
    let put = || async { (!reports.put(&ids.bucket, "in/y", "1").await.is_denied()).then_some(()) };
    world.until("the duty is in force", put).await;
}

#[tokio::test]
async fn its_finalizer_is_stripped_while_the_operator_is_down() {
    let Scene { world, ids, operator, .. } = Scene::new("stripped").await;
    world.workload("ingest").await.put(&ids.bucket, "in/x", "content").await.allowed();
    world.ask("g", "data", "reports", "in/", "1h").await;
    world.grant_active("g").await;
    let reports = world.workload("reports").await;
    operator.stop().await;
    let none = json!({"metadata": {"finalizers": null}});
    world.grants().patch("g", &PatchParams::default(), &Patch::Merge(none)).await.unwrap();
    world.grants().delete("g", &DeleteParams::default()).await.unwrap();
    world.gone(&world.grants(), "g").await;
    reports.get(&ids.bucket, "in/x").await.allowed();

    // The Deny in the role is all that is left to say so.
    let wait = Duration::from_secs(20);
    let _operator = world.operator().drift_check(OFTEN).config(|c| c.timing.evidence_wait = wait).start();
    let clean = || async { world.kms_grants(&ids.key).await.is_empty().then_some(()) };
    world.until("the KMS grant is revoked by the writer of the role", clean).await;
    let sids = || async { sids(&world.role_document("reports").await.to_string()) };
    let no_read = || async { sids().await.iter().all(|s| !s.starts_with("Read")).then_some(()) };
    world.until("the Allow is out", no_read).await;
    let sids = sids().await;
    assert!(
        sids.iter().any(|s| s.starts_with("End")),
        "the Deny stays until the list has been clean for long enough: {sids:?}"
    );
    reports.get(&ids.bucket, "in/x").await.denied();
    let gone = || async { world.role_policies(&world.role_name("reports")).await.is_none().then_some(()) };
    assert!(poll(gone).await.is_some(), "then the role goes:\n{}", world.dump().await);
}
