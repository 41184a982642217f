//! Somebody tightens something by hand: reported, left, and undone only when `reconcile-at` asks.

use serde_json::json;

use crate::scene::Scene;
use crate::support::wait::conditions;

#[tokio::test]
async fn a_foreign_deny_in_the_bucket_policy() {
    let scene = Scene::watched("bdeny").await;
    let etl = scene.world.workload("etl").await;
    etl.put(&scene.ids.bucket, "in/x", "1").await.allowed();
    let deny = json!({"Sid": "Responder", "Effect": "Deny", "Principal": "*", "Action": "s3:GetObject", "Resource": scene.objects()});
    scene.put_bucket_policy(&[deny], None).await;
    etl.get(&scene.ids.bucket, "in/x").await.denied();
    let held = scene.restricted("is kept in the bucket policy").await;
    assert!(held["bucket policy"].contains("KeptForeignDeny"), "{}", held["bucket policy"]);
    etl.get(&scene.ids.bucket, "in/x").await.denied();
    scene.world.event("data", "Restricted", "reconcile-at").await;
    // A new spec does not lose it either.
    let mut spec = crate::scene::spec();
    spec["tags"]["team"] = "other".into();
    scene.world.apply_bucket("data", spec).await;
    scene.restricted("is kept in the bucket policy").await;
    etl.get(&scene.ids.bucket, "in/x").await.denied();
    scene.obeyed().await;
    etl.get(&scene.ids.bucket, "in/x").await.allowed();
}

#[tokio::test]
async fn a_foreign_deny_in_the_key_policy() {
    let scene = Scene::watched("keydeny").await;
    let etl = scene.world.workload("etl").await;
    etl.put(&scene.ids.bucket, "in/x", "1").await.allowed();
    let deny =
        json!({"Sid": "Responder", "Effect": "Deny", "Principal": "*", "Action": "kms:Decrypt", "Resource": "*"});
    scene.put_key_policy(&[deny], None).await;
    scene.restricted("is kept in the key policy").await;
    etl.get(&scene.ids.bucket, "in/x").await.denied();
    scene.obeyed().await;
    etl.get(&scene.ids.bucket, "in/x").await.allowed();
    scene.restored().await;
}

#[tokio::test]
async fn a_disabled_key() {
    let scene = Scene::watched("disabled").await;
    scene.world.root().kms.disable_key().key_id(&scene.ids.key).send().await.unwrap();
    let bucket = scene.world.bucket_reason("data", "KeyDisabled").await;
    let all = conditions(&bucket);
    assert!(all.iter().any(|c| c.type_ == "Stalled" && c.message.contains("reconcile-at")), "{all:#?}");
    assert!(all.iter().any(|c| c.type_ == "Restricted" && c.message.contains("disabled")), "{all:#?}");
    // An empty one asks for nothing: it may be written by those who may not ask.
    scene.world.reconcile_at("data", "").await;
    scene.several_checks().await;
    assert_eq!(scene.world.facets(&scene.ids).await["key"], "Disabled");
    scene.obeyed().await;
    scene.restored().await;
}

#[tokio::test]
async fn a_disabled_key_that_a_responder_enables_again() {
    let scene = Scene::watched("enabled").await;
    let kms = scene.world.root().kms;
    kms.disable_key().key_id(&scene.ids.key).send().await.unwrap();
    scene.world.bucket_reason("data", "KeyDisabled").await;
    kms.enable_key().key_id(&scene.ids.key).send().await.unwrap();
    scene.world.bucket_ready("data").await;
    assert_eq!(scene.operator.journal().count("EnableKey"), 0);
}

#[tokio::test]
async fn a_key_scheduled_for_deletion() {
    let scene = Scene::watched("pending").await;
    let kms = scene.world.root().kms;
    kms.schedule_key_deletion().key_id(&scene.ids.key).pending_window_in_days(7).send().await.unwrap();
    let bucket = scene.world.bucket_reason("data", "KeyPendingDeletion").await;
    let all = conditions(&bucket);
    assert!(all.iter().any(|c| c.type_ == "Stalled" && c.message.contains("all data is lost")), "{all:#?}");
    scene.several_checks().await;
    assert_eq!(scene.world.facets(&scene.ids).await["key"], "PendingDeletion");
    scene.obeyed().await;
    scene.restored().await;
}

#[tokio::test]
async fn a_foreign_deny_in_the_role_policy() {
    let scene = Scene::watched("rdeny").await;
    let etl = scene.world.workload("etl").await;
    etl.put(&scene.ids.bucket, "in/x", "1").await.allowed();
    let document = scene.world.role_document("etl").await.to_string();
    let deny = json!({"Sid": "Responder", "Effect": "Deny", "Action": "s3:GetObject", "Resource": "*"});
    let text = Scene::edited(&document, &[deny], None);
    let request = scene.world.root().iam.put_role_policy().role_name(scene.world.role_name("etl"));
    request.policy_name("securebucket").policy_document(text).send().await.unwrap();
    scene.restricted("is kept in the role's policy").await;
    etl.get(&scene.ids.bucket, "in/x").await.denied();
    scene.obeyed().await;
    let readable = || async { (!etl.get(&scene.ids.bucket, "in/x").await.is_denied()).then_some(()) };
    scene.world.until("readable again", readable).await;
    assert_eq!(scene.world.role_document("etl").await.to_string(), document);
}

#[tokio::test]
async fn deny_only_policies_of_a_responder_on_the_role() {
    let scene = Scene::watched("quarantine").await;
    let etl = scene.world.workload("etl").await;
    etl.put(&scene.ids.bucket, "in/x", "1").await.allowed();
    let iam = scene.world.root().iam;
    let name = scene.world.role_name("etl");
    let deny =
        json!({"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*"}]}).to_string();
    let inline = iam.put_role_policy().role_name(&name).policy_name("AWSRevokeOlderSessions");
    inline.policy_document(&deny).send().await.unwrap();
    let made = iam.create_policy().policy_name("Quarantine").policy_document(&deny).send().await.unwrap();
    let arn = made.policy.unwrap().arn.unwrap();
    iam.attach_role_policy().role_name(&name).policy_arn(&arn).send().await.unwrap();
    scene.restricted("only denies and is kept").await;
    etl.get(&scene.ids.bucket, "in/x").await.denied();
    let policies = || async { scene.world.role_policies(&name).await.unwrap().len() };
    let attached = || async {
        let answer = iam.list_attached_role_policies().role_name(&name).send().await.unwrap();
        answer.attached_policies.unwrap_or_default().len()
    };
    assert_eq!((policies().await, attached().await), (2, 1));
    scene.obeyed().await;
    let clean = || async { ((policies().await, attached().await) == (1, 0)).then_some(()) };
    scene.world.until("both are gone", clean).await;
    etl.get(&scene.ids.bucket, "in/x").await.allowed();
}
