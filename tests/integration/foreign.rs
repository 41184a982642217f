//! Access that the operator did not make: KMS grants of somebody else, left-overs of ours, Allows in policies.

use aws_sdk_kms::types::GrantOperation;
use kube::api::{DeleteParams, Patch, PatchParams};
use securebucket::api::SecureBucket;
use securebucket::api::condition::{find, is_true, types};
use securebucket::api::secure_bucket::Through;
use serde_json::json;

use crate::scene::{OFTEN, Scene};
use crate::support::account::{AUDIENCE, trust};
use crate::support::wait::conditions;
use crate::support::world::CLUSTER;
use crate::support::{Workload, World};

/// A role under the path of workloads that an IAM administrator made, for the ServiceAccount `reports`: S3 lets it read, KMS does not.
async fn plant(world: &World) -> (String, Workload) {
    let iam = world.root().iam;
    let subject = format!("system:serviceaccount:{}:reports", world.namespace);
    let path = world.install.role_path();
    let made = iam.create_role().role_name("planted").path(&path);
    let made = made.assume_role_policy_document(trust(&world.install, &subject).to_string()).send().await.unwrap();
    let all = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]});
    iam.put_role_policy()
        .role_name("planted")
        .policy_name("all")
        .policy_document(all.to_string())
        .send()
        .await
        .unwrap();
    let arn = made.role.unwrap().arn;
    let token = world.token_for("reports", AUDIENCE).await;
    let session = world.assume(&arn, &token).await.allowed();
    (arn, session)
}

/// Makes a KMS grant by hand, which needs the key policy to be loosened first: again and again, because the operator repairs that.
async fn grant_by_hand(scene: &Scene, grantee: &str, name: Option<String>) -> String {
    let root = format!("arn:aws:iam::{}:root", scene.world.account);
    let allow = json!({
        "Sid": "Oops", "Effect": "Allow", "Principal": {"AWS": root}, "Action": "kms:CreateGrant", "Resource": "*",
    });
    let allow = [allow];
    let make = || async {
        scene.put_key_policy(&allow, Some("GrantsOnlyByOperator")).await;
        let request = scene.world.root().kms.create_grant().key_id(&scene.ids.key).grantee_principal(grantee);
        let request = request.operations(GrantOperation::Decrypt).set_name(name.clone());
        request.send().await.ok()?.grant_id
    };
    scene.world.until("a KMS grant made by hand", make).await
}

async fn with_own_grant(scene: &Scene) -> Workload {
    scene.world.workload("ingest").await.put(&scene.ids.bucket, "in/x", "content").await.allowed();
    scene.world.ask("g", "data", "reports", "in/", "1h").await;
    scene.world.grant_active("g").await;
    let reports = scene.world.workload("reports").await;
    reports.get(&scene.ids.bucket, "in/x").await.allowed();
    reports
}

fn foreign(bucket: &SecureBucket) -> Vec<String> {
    let all = bucket.status.iter().flat_map(|s| &s.access);
    all.filter(|a| a.through == Some(Through::Foreign)).map(|a| a.name.clone()).collect()
}

#[tokio::test]
async fn a_kms_grant_of_somebody_else_is_reported_and_revoked_if_the_owner_says_so() {
    let scene = Scene::with("foreign", |operator| operator.drift_check(OFTEN).serving()).await;
    let Scene { world, ids, operator, .. } = &scene;
    let found = "securebucket_foreign_access_total{kind=\"kms grant\"}";
    let reports = with_own_grant(&scene).await;
    let (role, planted) = plant(world).await;
    planted.get(&ids.bucket, "in/x").await.denied();
    let id = grant_by_hand(&scene, &role, None).await;
    planted.get(&ids.bucket, "in/x").await.allowed();

    let event = world.event("data", "ForeignAccess", &id).await;
    let note = event.note.unwrap_or_default();
    assert!(note.contains(&role) && note.contains("Decrypt") && note.contains("foreignGrants"), "{note}");
    let listed = |b: &SecureBucket| is_true(conditions(b), types::FOREIGN_ACCESS) && foreign(b) == [id.clone()];
    let bucket = world.bucket_when("data", "lists the foreign grant", listed).await;
    let ready = find(conditions(&bucket), types::READY).unwrap();
    assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", "ForeignAccess"));
    assert!(ready.message.contains(&id) && ready.message.contains(&role), "{}", ready.message);
    let admin = crate::support::person::Person::named("admin").group("system:masters");
    let marked = format!("FOREIGN KMS grant {id}");
    world.plugin(&admin, "who-can data").with(0, &[&role, &marked, "NOBODY HERE", "aws kms revoke-grant --key-id"]);
    // It is left, the policy is as declared again, and it is told once.
    scene.several_checks().await;
    scene.restored().await;
    planted.get(&ids.bucket, "in/x").await.allowed();
    let told = world.events("data").await.into_iter().filter(|e| {
        e.reason.as_deref() == Some("ForeignAccess") && e.note.as_deref().unwrap_or_default().contains(&id)
    });
    let times: Vec<i32> = told.map(|e| e.series.map_or(1, |s| s.count)).collect();
    assert_eq!(times, [1]);
    operator.metric_is(found, 1.0).await;
    operator.metric_is("securebucket_foreign_kms_grants", 1.0).await;

    let mut spec = crate::scene::spec();
    spec["foreignGrants"] = json!("Revoke");
    world.apply_bucket("data", spec).await;
    world.event("data", "ForeignAccessRevoked", &id).await;
    let bucket = world.bucket_ready("data").await;
    assert!(find(conditions(&bucket), types::FOREIGN_ACCESS).is_none() && foreign(&bucket).is_empty());
    planted.get(&ids.bucket, "in/x").await.denied();
    // Ours goes on.
    reports.get(&ids.bucket, "in/x").await.allowed();
    assert_eq!(world.kms_grants(&ids.key).await.len(), 1);
    assert!(is_true(crate::support::wait::grant_conditions(&world.grant_active("g").await), types::READY));
    operator.metric_is("securebucket_foreign_kms_grants", 0.0).await;
    assert_eq!(operator.metric(found).await, 1.0);
    // The next one does not last.
    grant_by_hand(&scene, &role, None).await;
    let gone = || async { (world.kms_grants(&ids.key).await.len() == 1).then_some(()) };
    world.until("the next one is revoked", gone).await;
    planted.get(&ids.bucket, "in/x").await.denied();
}

#[tokio::test]
async fn a_kms_grant_under_our_name_that_nobody_answers_for_is_revoked() {
    let scene = Scene::watched("leftover").await;
    let Scene { world, ids, .. } = &scene;
    let reports = with_own_grant(&scene).await;
    let (role, planted) = plant(world).await;
    let id = grant_by_hand(&scene, &world.role_arn("etl"), Some(nobodys())).await;
    world.event("data", "LeftOverRevoked", &id).await;
    let gone = || async { (world.kms_grants(&ids.key).await.len() == 1).then_some(()) };
    world.until("the left-over is gone", gone).await;
    // To a role that no namespace of this process has, it is somebody else's, whatever its name.
    let strange = grant_by_hand(&scene, &role, Some(nobodys())).await;
    world.event("data", "ForeignAccess", &strange).await;
    // A name that a DecryptGrant has, copied for somebody else, is no claim.
    let name = world.kms_grants(&ids.key).await[0].0.clone();
    let copy = grant_by_hand(&scene, &role, Some(name)).await;
    planted.get(&ids.bucket, "in/x").await.allowed();
    world.event("data", "ForeignAccess", &copy).await;
    reports.get(&ids.bucket, "in/x").await.allowed();
    assert_eq!(world.kms_grants(&ids.key).await.len(), 3);
}

/// A name as the operator gives it, for a DecryptGrant that never was.
fn nobodys() -> String {
    format!("securebucket/{CLUSTER}/{}/0", uuid::Uuid::new_v4())
}

/// A grant whose DecryptGrant lost its finalizer while the operator was down, and whose role is gone as well: no Deny is left to say so.
async fn lost(name: &str) -> (World, crate::support::facets::Ids) {
    let scene = Scene::new(name).await;
    with_own_grant(&scene).await;
    let Scene { world, ids, operator, .. } = scene;
    operator.stop().await;
    let none = json!({"metadata": {"finalizers": null}});
    world.grants().patch("g", &PatchParams::default(), &Patch::Merge(none)).await.unwrap();
    world.grants().delete("g", &DeleteParams::default()).await.unwrap();
    world.gone(&world.grants(), "g").await;
    world.delete_role(&world.role_name("reports")).await;
    assert_eq!(world.kms_grants(&ids.key).await.len(), 1);
    (world, ids)
}

#[tokio::test]
async fn a_left_over_without_grant_and_role_is_revoked() {
    let (world, ids) = lost("lostgrant").await;
    let _operator = world.operator().drift_check(OFTEN).start();
    world.event("data", "LeftOverRevoked", "revoke the left-over KMS grant").await;
    let clean = || async { world.kms_grants(&ids.key).await.is_empty().then_some(()) };
    world.until("the KMS grant is gone", clean).await;
    let only_duty = |b: &SecureBucket| {
        b.status.as_ref().unwrap().access.iter().map(|a| a.through).collect::<Vec<_>>() == [Some(Through::Duty)]
    };
    world.bucket_when("data", "lists the duty and nobody else", only_duty).await;
    world.bucket_ready("data").await;
}

#[tokio::test]
async fn a_left_over_does_not_hold_up_the_release_of_the_bucket() {
    let (world, ids) = lost("lostbucket").await;
    world.buckets().delete("data", &DeleteParams::default()).await.unwrap();
    let _operator = world.operator().start();
    world.gone(&world.buckets(), "data").await;
    assert_eq!(world.kms_grants(&ids.key).await, []);
}

#[tokio::test]
async fn a_kms_grant_of_somebody_else_stays_when_the_bucket_is_released_and_is_named() {
    let scene = Scene::watched("freleased").await;
    let (role, _) = plant(&scene.world).await;
    let id = grant_by_hand(&scene, &role, None).await;
    scene.world.event("data", "ForeignAccess", &id).await;
    let listed = |b: &SecureBucket| foreign(b) == [id.clone()];
    scene.world.bucket_when("data", "lists the foreign grant", listed).await;
    scene.world.buckets().delete("data", &DeleteParams::default()).await.unwrap();
    scene.world.gone(&scene.world.buckets(), "data").await;
    scene.world.event("data", "BucketRetained", "KMS grants that the operator did not make stay").await;
    assert_eq!(scene.world.kms_grants(&scene.ids.key).await.len(), 1);
}

#[tokio::test]
async fn allows_that_are_not_ours_are_told_as_access_and_removed() {
    let scene = Scene::watched("fallows").await;
    let Scene { world, .. } = &scene;
    with_own_grant(&scene).await;
    let root = format!("arn:aws:iam::{}:root", world.account);
    let on_key = json!({"Sid": "OnKey", "Effect": "Allow", "Principal": {"AWS": root}, "Action": "kms:Decrypt", "Resource": "*"});
    scene.put_key_policy(&[on_key], None).await;
    world.event("data", "ForeignAccess", "key policy: OnKey").await;
    let on_bucket = json!({"Sid": "OnBucket", "Effect": "Allow", "Principal": {"AWS": root}, "Action": "s3:GetObject", "Resource": scene.objects()});
    scene.put_bucket_policy(&[on_bucket], None).await;
    world.event("data", "ForeignAccess", "bucket policy: OnBucket").await;
    // A role that holds no duty here: whose data it reads by its grant hears of it.
    let iam = world.root().iam;
    let all = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]})
        .to_string();
    let role = world.role_name("reports");
    iam.put_role_policy().role_name(&role).policy_name("more").policy_document(&all).send().await.unwrap();
    world.event("data", "ForeignAccess", "inline policy more").await;
    let made = iam.create_policy().policy_name("wide").policy_document(&all).send().await.unwrap();
    let arn = made.policy.unwrap().arn.unwrap();
    iam.attach_role_policy().role_name(&role).policy_arn(&arn).send().await.unwrap();
    world.event("data", "ForeignAccess", &format!("attached policy {arn}")).await;
    scene.restored().await;
    let only_ours = || async { (world.role_policies(&role).await.unwrap_or_default().len() == 1).then_some(()) };
    world.until("the foreign policies are gone", only_ours).await;
    let bucket = world.bucket_ready("data").await;
    assert!(find(conditions(&bucket), types::FOREIGN_ACCESS).is_none(), "nothing of it is left");
}
