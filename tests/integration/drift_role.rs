//! Somebody loosens a workload role by hand.

use serde_json::{Value, json};

use crate::scene::Scene;

/// Everything of the Processor's role.
async fn role(scene: &Scene) -> (Value, String, Vec<String>, Vec<String>) {
    let iam = scene.world.root().iam;
    let name = scene.world.role_name("etl");
    let found = iam.get_role().role_name(&name).send().await.unwrap().role.unwrap();
    let trust = percent_encoding::percent_decode_str(&found.assume_role_policy_document.unwrap())
        .decode_utf8()
        .unwrap()
        .into_owned();
    let boundary = found.permissions_boundary.and_then(|b| b.permissions_boundary_arn).unwrap_or_default();
    let attached = iam.list_attached_role_policies().role_name(&name).send().await.unwrap();
    let attached = attached.attached_policies.unwrap_or_default().into_iter().filter_map(|p| p.policy_arn).collect();
    let mut tags: Vec<String> =
        found.tags.unwrap_or_default().iter().map(|t| format!("{}={}", t.key, t.value)).collect();
    tags.sort();
    let policies = scene.world.role_policies(&name).await.unwrap();
    (json!([serde_json::from_str::<Value>(&trust).unwrap(), policies]), boundary, attached, tags)
}

/// Waits until the difference was reported and the role is as it was.
async fn repaired(scene: &Scene, before: &(Value, String, Vec<String>, Vec<String>), part: &str) {
    scene.world.event("data", "DriftDetected", part).await;
    scene.world.until("the role is as it was", || async { (role(scene).await == *before).then_some(()) }).await;
    scene.world.bucket_ready("data").await;
}

fn allow_all() -> String {
    json!({"Version": "2012-10-17", "Statement": [{"Sid": "Oops", "Effect": "Allow", "Action": "*", "Resource": "*"}]})
        .to_string()
}

#[tokio::test]
async fn its_document_with_a_foreign_allow() {
    let scene = Scene::watched("rallow").await;
    let before = role(&scene).await;
    let iam = scene.world.root().iam;
    let document = scene.world.role_document("etl").await.to_string();
    let more = json!({"Sid": "Oops", "Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"});
    let text = Scene::edited(&document, &[more], None);
    let request = iam.put_role_policy().role_name(scene.world.role_name("etl"));
    request.policy_name("securebucket").policy_document(text).send().await.unwrap();
    repaired(&scene, &before, "role policy: Oops").await;
}

#[tokio::test]
async fn a_further_inline_policy() {
    let scene = Scene::watched("inline").await;
    let before = role(&scene).await;
    let request = scene.world.root().iam.put_role_policy().role_name(scene.world.role_name("etl"));
    request.policy_name("more").policy_document(allow_all()).send().await.unwrap();
    repaired(&scene, &before, "foreign policy more").await;
}

#[tokio::test]
async fn a_managed_policy_attached() {
    let scene = Scene::watched("attached").await;
    let before = role(&scene).await;
    let iam = scene.world.root().iam;
    let made = iam.create_policy().policy_name("wide").policy_document(allow_all()).send().await.unwrap();
    let arn = made.policy.unwrap().arn.unwrap();
    let request = iam.attach_role_policy().role_name(scene.world.role_name("etl"));
    request.policy_arn(&arn).send().await.unwrap();
    repaired(&scene, &before, &format!("foreign policy {arn}")).await;
}

#[tokio::test]
async fn a_mixed_policy_loses_its_allow_and_keeps_its_deny() {
    let scene = Scene::watched("mixed").await;
    let deny = json!({"Effect": "Deny", "Action": "s3:GetObject", "Resource": scene.objects()});
    let allow = json!({"Effect": "Allow", "Action": "s3:*", "Resource": "*"});
    let text = json!({"Version": "2012-10-17", "Statement": [allow, deny]}).to_string();
    let name = scene.world.role_name("etl");
    let etl = scene.world.workload("etl").await;
    etl.put(&scene.ids.bucket, "in/x", "1").await.allowed();
    etl.get(&scene.ids.bucket, "in/x").await.allowed();
    let request = scene.world.root().iam.put_role_policy().role_name(&name);
    request.policy_name("mixed").policy_document(text).send().await.unwrap();
    let only_ours = || async { (scene.world.role_policies(&name).await.unwrap().len() == 1).then_some(()) };
    scene.world.until("the foreign policy is gone", only_ours).await;
    etl.get(&scene.ids.bucket, "in/x").await.denied();
    scene.restricted("KeptForeignDeny").await;
    scene.obeyed().await;
    let readable = || async { (!etl.get(&scene.ids.bucket, "in/x").await.is_denied()).then_some(()) };
    scene.world.until("readable again", readable).await;
}

#[tokio::test]
async fn its_trust_widened() {
    let scene = Scene::watched("rtrust").await;
    let before = role(&scene).await;
    let name = scene.world.role_name("etl");
    let account = &scene.world.account;
    let trust = before.0[0].to_string();
    let more = json!({"Sid": "Oops", "Effect": "Allow", "Principal": {"AWS": format!("arn:aws:iam::{account}:root")}, "Action": "sts:AssumeRole"});
    let text = Scene::edited(&trust, &[more], None);
    let request = scene.world.root().iam.update_assume_role_policy().role_name(&name);
    request.policy_document(text).send().await.unwrap();
    repaired(&scene, &before, "trust policy: Oops").await;
}

#[tokio::test]
async fn its_boundary_removed() {
    let scene = Scene::watched("bound").await;
    let before = role(&scene).await;
    let name = scene.world.role_name("etl");
    scene.world.root().iam.delete_role_permissions_boundary().role_name(&name).send().await.unwrap();
    repaired(&scene, &before, "permissions boundary").await;
}

#[tokio::test]
async fn its_document_deleted() {
    let scene = Scene::watched("rdoc").await;
    let before = role(&scene).await;
    let name = scene.world.role_name("etl");
    scene.world.root().iam.delete_role_policy().role_name(&name).policy_name("securebucket").send().await.unwrap();
    scene.world.until("the role is as it was", || async { (role(&scene).await == before).then_some(()) }).await;
    scene.world.bucket_ready("data").await;
}

#[tokio::test]
async fn marks_stripped_from_it_are_reported_and_put_back_when_asked() {
    let scene = Scene::watched("rmark").await;
    let before = role(&scene).await;
    let name = scene.world.role_name("etl");
    let iam = scene.world.root().iam;
    iam.untag_role().role_name(&name).tag_keys("securebucket.io/service-account").send().await.unwrap();
    scene.restricted("the owner marks are gone from the role").await;
    assert_eq!(scene.operator.journal().count("TagRole"), 0);
    // What it had it keeps; more it does not get.
    let etl = scene.world.workload("etl").await;
    etl.put(&scene.ids.bucket, "in/x", "1").await.allowed();
    let mut spec = crate::scene::spec();
    spec["access"][1]["prefixes"] = json!(["in/", "more/"]);
    scene.world.apply_bucket("data", spec).await;
    scene.several_checks().await;
    etl.put(&scene.ids.bucket, "more/x", "1").await.denied();
    scene.world.apply_bucket("data", crate::scene::spec()).await;
    scene.obeyed().await;
    assert_eq!(role(&scene).await, before);
}

#[tokio::test]
async fn the_role_deleted_is_made_again_for_its_duty() {
    let scene = Scene::watched("norole").await;
    let before = role(&scene).await;
    let name = scene.world.role_name("etl");
    scene.world.delete_role(&name).await;
    let exists = || async { scene.world.role_policies(&name).await.filter(|p| p.len() == 1).map(drop) };
    scene.world.until("the role is there again", exists).await;
    assert_eq!(role(&scene).await, before);
    scene.world.workload("etl").await.put(&scene.ids.bucket, "in/x", "1").await.allowed();
}
