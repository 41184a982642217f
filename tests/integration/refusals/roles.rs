//! Actions on workload roles.

use serde_json::{Value, json};

use super::{operator, scene};
use crate::scene::Scene;
use crate::support::World;
use crate::support::journal::Outcome;

fn allow_all() -> String {
    json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}).to_string()
}

#[tokio::test]
async fn a_new_role() {
    let world = World::new("rnew").await;
    let _operator = operator(&world);
    let actions = ["iam:CreateRole", "iam:TagRole", "iam:GetRole", "iam:GetRolePolicy", "iam:PutRolePolicy"];
    for (index, action) in actions.iter().enumerate() {
        let name = format!("b{index}");
        world.service_account(&name).await;
        world.refuse(action).await;
        let entry = json!({"name": "a", "duty": "Processor", "serviceAccountRef": {"name": name}, "prefixes": ["in/"]});
        world.apply_bucket(&name, json!({"access": [entry]})).await;
        world.refused(&name, action).await;
        world.event(&name, "AccessDenied", action).await;
        world.allow().await;
        let bucket = crate::support::facets::ids(&world.bucket_ready(&name).await).bucket;
        world.workload(&name).await.put(&bucket, "in/x", "1").await.allowed();
    }
}

/// Refused while the role of `etl` is as somebody left it; then allowed, and repaired.
async fn repair(scene: &Scene, action: &str) {
    scene.world.refused("data", action).await;
    scene.world.allow().await;
    scene.world.bucket_ready("data").await;
}

#[tokio::test]
async fn looks_for_foreign_policies() {
    let scene = scene("rlook").await;
    for action in ["iam:ListRolePolicies", "iam:ListAttachedRolePolicies"] {
        scene.world.refuse(action).await;
        repair(&scene, action).await;
    }
}

#[tokio::test]
async fn repairs_of_trust_and_boundary() {
    let scene = scene("rtrust").await;
    let iam = scene.world.root().iam;
    let name = scene.world.role_name("etl");
    scene.world.refuse("iam:UpdateAssumeRolePolicy").await;
    let found =
        iam.get_role().role_name(&name).send().await.unwrap().role.unwrap().assume_role_policy_document.unwrap();
    let before: Value =
        serde_json::from_str(&percent_encoding::percent_decode_str(&found).decode_utf8().unwrap()).unwrap();
    let anyone = json!({"Sid": "Oops", "Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"});
    let text = Scene::edited(&before.to_string(), &[anyone], None);
    iam.update_assume_role_policy().role_name(&name).policy_document(text).send().await.unwrap();
    repair(&scene, "iam:UpdateAssumeRolePolicy").await;

    scene.world.refuse("iam:PutRolePermissionsBoundary").await;
    iam.delete_role_permissions_boundary().role_name(&name).send().await.unwrap();
    repair(&scene, "iam:PutRolePermissionsBoundary").await;
}

#[tokio::test]
async fn removals_of_foreign_policies() {
    let scene = scene("rforeign").await;
    let iam = scene.world.root().iam;
    let name = scene.world.role_name("etl");
    scene.world.refuse("iam:DeleteRolePolicy").await;
    let inline = iam.put_role_policy().role_name(&name).policy_name("wide").policy_document(allow_all());
    inline.send().await.unwrap();
    repair(&scene, "iam:DeleteRolePolicy").await;
    assert_eq!(scene.world.role_policies(&name).await.unwrap().len(), 1);

    let made = iam.create_policy().policy_name("wide").policy_document(allow_all()).send().await.unwrap();
    let arn = made.policy.unwrap().arn.unwrap();
    for action in ["iam:GetPolicy", "iam:GetPolicyVersion", "iam:DetachRolePolicy"] {
        scene.world.refuse(action).await;
        iam.attach_role_policy().role_name(&name).policy_arn(&arn).send().await.unwrap();
        repair(&scene, action).await;
        let attached = iam.list_attached_role_policies().role_name(&name).send().await.unwrap();
        assert_eq!(attached.attached_policies.unwrap_or_default().len(), 0, "after {action}");
    }
}

#[tokio::test]
async fn the_end_of_a_role() {
    let scene = scene("rend").await;
    let world = &scene.world;
    for (action, account) in [("iam:DeleteRolePolicy", "etl"), ("iam:DeleteRole", "ingest")] {
        let etl = world.workload(account).await;
        world.refuse(action).await;
        let mut spec = crate::scene::spec();
        spec["access"].as_array_mut().unwrap().retain(|a| account == "etl" && a["name"] != "etl");
        world.apply_bucket("data", spec).await;
        world.event("data", "AccessDenied", action).await;
        // Key and bucket policy no longer name the role, so what it says counts for nothing.
        let bucket = &scene.ids.bucket;
        world.until("no access", || async { etl.put(bucket, "in/x", "1").await.is_denied().then_some(()) }).await;
        world.allow().await;
        let name = world.role_name(account);
        world.until("the role is gone", || async { world.role_policies(&name).await.is_none().then_some(()) }).await;
    }
}

#[tokio::test]
async fn the_release_of_a_bucket_says_what_it_waits_for() {
    let scene = scene("rrelease").await;
    let world = &scene.world;
    world.refuse("iam:DeleteRole").await;
    world.buckets().delete("data", &Default::default()).await.unwrap();
    let says = |b: &securebucket::api::SecureBucket| {
        crate::support::wait::conditions(b).iter().any(|c| c.message.contains("iam:DeleteRole"))
    };
    world.bucket_when("data", "says that it waits for iam:DeleteRole", says).await;
    world.allow().await;
    world.gone(&world.buckets(), "data").await;
}

#[tokio::test]
async fn the_inventory_of_roles() {
    let world = World::new("rlist").await;
    world.refuse("iam:ListRoles").await;
    let operator = operator(&world);
    world.apply_bucket("data", json!({})).await;
    world.bucket_ready("data").await;
    let told = || async { operator.log().text().contains("iam:ListRoles").then_some(()) };
    world.until("the refusal is in the log", told).await;
    world.allow().await;
    let asked = || async {
        operator
            .journal()
            .all()
            .iter()
            .any(|e| e.operation.name == "ListRoles" && matches!(e.outcome, Outcome::Status(200, _)))
            .then_some(())
    };
    world.until("it is asked for again", asked).await;
}
