//! Deletion: access goes, data stays, and the same object applied again takes it back; nobody else does.

use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use securebucket::api::BUCKET_FINALIZER;
use securebucket::api::condition::{is_true, types};
use serde_json::json;

use crate::scene::{Scene, spec};
use crate::support::facets::ids;
use crate::support::rights::{bind, make_namespace};
use crate::support::wait::conditions;
use crate::support::{Access, World, chart};

/// Deletes the bucket of a scene and waits until the object is gone.
async fn release(scene: &Scene) {
    scene.world.buckets().delete("data", &DeleteParams::default()).await.unwrap();
    scene.world.gone(&scene.world.buckets(), "data").await;
}

#[tokio::test]
async fn access_goes_and_data_stays_and_is_taken_back() {
    let scene = Scene::new("retain").await;
    let Scene { world, ids: before, .. } = &scene;
    let etl = world.workload("etl").await;
    etl.put(&before.bucket, "in/x", "kept").await.allowed();
    release(&scene).await;
    // Nobody reads or writes any more, and no role is left; bucket and key are there, with their marks.
    assert!(etl.aws.s3.get_object().bucket(&before.bucket).key("in/x").send().await.is_err());
    for account in ["ingest", "etl"] {
        assert!(world.role_policies(&world.role_name(account)).await.is_none(), "role of {account}");
    }
    let facets = world.facets(before).await;
    assert_eq!((facets["key"].as_str(), facets["bucket"].as_str()), ("Enabled", "eu-west-1"));
    assert!(facets["bucket tags"].contains(&before.identity) && facets["key tags"].contains(&before.identity));
    assert!(!facets["key policy"].contains("StandingDuties"), "{}", facets["key policy"]);
    world.event("data", "BucketRetained", &before.bucket).await;

    world.apply_bucket("data", spec()).await;
    let after = ids(&world.bucket_ready("data").await);
    assert_eq!((&after.bucket, &after.key), (&before.bucket, &before.key));
    assert_eq!(world.keys().await.len(), 1);
    assert_eq!(world.workload("etl").await.get(&before.bucket, "in/x").await.allowed(), "kept");
    world.event("data", "BucketRecovered", "").await;
    let facets = world.facets(&after).await;
    let uid = world.buckets().get("data").await.unwrap().metadata.uid.unwrap();
    assert!(facets["bucket tags"].contains(&uid) && facets["key tags"].contains(&uid), "the marks name the new object");
}

#[tokio::test]
async fn a_key_whose_deletion_was_scheduled_meanwhile_is_saved() {
    let scene = Scene::new("saved").await;
    let Scene { world, ids: before, .. } = &scene;
    world.workload("etl").await.put(&before.bucket, "in/x", "kept").await.allowed();
    release(&scene).await;
    let kms = world.root().kms;
    kms.schedule_key_deletion().key_id(&before.key).pending_window_in_days(7).send().await.unwrap();
    world.apply_bucket("data", spec()).await;
    let after = ids(&world.bucket_ready("data").await);
    assert_eq!(after.key, before.key);
    world.event("data", "KeyRecovered", "").await;
    assert_eq!(world.facets(&after).await["key"], "Enabled");
    assert_eq!(world.workload("etl").await.get(&before.bucket, "in/x").await.allowed(), "kept");
}

#[tokio::test]
async fn the_key_is_found_by_its_bucket_when_the_alias_is_gone() {
    let scene = Scene::new("byname").await;
    let Scene { world, ids: before, .. } = &scene;
    release(&scene).await;
    world.root().kms.delete_alias().alias_name(&before.alias).send().await.unwrap();
    world.apply_bucket("data", spec()).await;
    let after = ids(&world.bucket_ready("data").await);
    assert_eq!(after.key, before.key);
    assert_eq!(world.keys().await.len(), 1, "no second key");
    assert_eq!(world.facets(&after).await["alias"], before.key);
}

#[tokio::test]
async fn a_namespace_made_anew_under_the_name_does_not_inherit() {
    let scene = Scene::new("heir").await;
    scene.world.workload("etl").await.put(&scene.ids.bucket, "in/x", "kept").await.allowed();
    release(&scene).await;
    let Scene { world, ids: before, operator, .. } = scene;
    operator.stop().await;
    make_anew(&world).await;
    let _operator = world.operator().start();
    world.apply_bucket("data", spec()).await;
    let after = ids(&world.bucket_ready("data").await);
    assert!(after.bucket != before.bucket && after.key != before.key, "{after:?}");
    let etl = world.workload("etl").await;
    etl.put(&after.bucket, "in/y", "2").await.allowed();
    etl.get(&before.bucket, "in/x").await.denied();
    // Not even by asking for it by name.
    world.apply_bucket("more", json!({"bucketName": before.bucket})).await;
    let bucket = world.bucket_reason("more", "BucketNameTaken").await;
    assert!(conditions(&bucket)[0].message.contains("spec.bucketName"), "{:#?}", conditions(&bucket)[0]);
}

#[tokio::test]
async fn duties_do_not_follow_a_namespace_made_anew() {
    let Scene { world, ids: before, operator, .. } = Scene::new("suspend").await;
    world.workload("etl").await.put(&before.bucket, "in/x", "kept").await.allowed();
    operator.stop().await;
    // A cluster restored from a backup: the object with its status, in a namespace that is another one.
    let object = world.buckets().get("data").await.unwrap();
    let none = json!({"metadata": {"finalizers": null}});
    world.buckets().patch("data", &PatchParams::default(), &Patch::Merge(none)).await.unwrap();
    world.buckets().delete("data", &DeleteParams::default()).await.unwrap();
    make_anew(&world).await;
    let mut restored = securebucket::api::SecureBucket::new("data", object.spec.clone());
    restored.metadata.finalizers = Some(vec![BUCKET_FINALIZER.into()]);
    world.buckets().create(&PostParams::default(), &restored).await.unwrap();
    let status = json!({"status": object.status});
    world.buckets().patch_status("data", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    let _operator = world.operator().start();
    let suspended = |b: &securebucket::api::SecureBucket| {
        let duties = b.status.clone().unwrap_or_default().duties;
        duties.iter().all(|d| d.state != "InForce") && !is_true(conditions(b), types::READY)
    };
    world.bucket_when("data", "its duties are not in force", suspended).await;
    let token = world.token_for("etl", crate::support::account::AUDIENCE).await;
    let out = || async {
        match world.assume(&world.role_arn("etl"), &token).await {
            Access::Denied { .. } => Some(()),
            Access::Allowed(etl) => etl.get(&before.bucket, "in/x").await.is_denied().then_some(()),
        }
    };
    world.until("the new ServiceAccount has no access", out).await;
    let events = world.events("data").await;
    let uid = world.buckets().get("data").await.unwrap().metadata.uid;
    let given = |e: &&k8s_openapi::api::events::v1::Event| {
        e.reason.as_deref() == Some("AccessGiven") && e.regarding.as_ref().is_some_and(|r| r.uid == uid)
    };
    assert_eq!(events.iter().filter(given).count(), 0);
}

/// Deletes the namespace, makes another of the name, and the ServiceAccounts in it.
async fn make_anew(world: &World) {
    let namespaces: Api<Namespace> = Api::all(world.client.clone());
    let name = &world.namespace;
    for account in ["ingest", "etl", "reports"] {
        world.delete_service_account(account).await;
    }
    namespaces.delete(name, &DeleteParams::default()).await.unwrap();
    // There is no controller-manager that would empty and finalize it.
    let mut ending = namespaces.get(name).await.unwrap();
    ending.spec.as_mut().unwrap().finalizers = Some(Vec::new());
    let body = serde_json::to_vec(&ending).unwrap();
    let request = http::Request::put(format!("/api/v1/namespaces/{name}/finalize"));
    let request = request.header("content-type", "application/json").body(body).unwrap();
    world.client.request::<Namespace>(request).await.unwrap();
    world.gone(&namespaces, name).await;
    make_namespace(&world.client, name).await;
    bind(&world.client, name, world.operator_namespace(), chart::NAMESPACED_ROLE).await;
    for account in ["ingest", "etl", "reports"] {
        world.service_account(account).await;
    }
}

#[tokio::test]
async fn an_object_that_never_got_anywhere_goes_at_once() {
    let world = World::new("never").await;
    let operator = world.operator().start();
    world.apply_bucket("region", json!({"region": "us-west-2"})).await;
    world.apply_bucket("name", json!({"bucketName": "elsewhere-1"})).await;
    for name in ["region", "name"] {
        world.bucket_reason(name, "InvalidSpec").await;
        world.buckets().delete(name, &DeleteParams::default()).await.unwrap();
        world.gone(&world.buckets(), name).await;
    }
    assert_eq!(operator.journal().writes_since(0).len(), 0);
}

#[tokio::test]
async fn an_object_that_aws_never_let_be_made_goes_and_leaves_nothing() {
    let world = World::new("refused").await;
    let install = &world.install;
    let mut policy = securebucket::aws::policies::operator(install);
    policy
        .statements
        .push(securebucket::domain::policy::Statement::deny("No").actions(["kms:CreateKey"]).resources(["*"]));
    crate::support::account::put_operator_policy(&world.root(), &policy.render()).await;
    let operator = world.operator().refusals_expected().start();
    world.apply_bucket("data", json!({})).await;
    world.bucket_reason("data", "AccessDenied").await;
    world.buckets().delete("data", &DeleteParams::default()).await.unwrap();
    world.gone(&world.buckets(), "data").await;
    assert_eq!(world.keys().await.len(), 0);
    assert_eq!(operator.journal().count("CreateBucket"), 0);
}
