//! A role that nothing needs any more keeps no policy; it goes a day after its last use, and is the same one if it is needed before.

use std::time::Duration;

use kube::api::DeleteParams;
use securebucket::api::condition::{is_true, types};
use serde_json::json;

use crate::scene::{OFTEN, Scene};
use crate::support::account::AUDIENCE;
use crate::support::hooks::api_server_ahead;
use crate::support::wait::conditions;
use crate::support::{OperatorBuilder, World};

const DAY: Duration = Duration::from_secs(24 * 3_600);

fn resting(operator: OperatorBuilder) -> OperatorBuilder {
    operator.config(|c| c.timing.role_retention = DAY)
}

async fn role_id(world: &World, account: &str) -> Option<String> {
    let name = world.role_name(account);
    world.root().iam.get_role().role_name(name).send().await.ok().map(|a| a.role.unwrap().role_id)
}

/// Hands the grant back and waits until the role has no policy.
async fn hand_back(world: &World, name: &str) {
    world.grants().delete(name, &DeleteParams::default()).await.unwrap();
    world.gone(&world.grants(), name).await;
    let policies = || async {
        world.role_policies(&world.role_name("reports")).await.filter(std::collections::BTreeMap::is_empty)
    };
    world.until("the role has no policy left", policies).await;
}

#[tokio::test]
async fn a_role_rests_and_is_used_again() {
    let scene = Scene::with("rest", resting).await;
    let Scene { world, ids, operator, .. } = &scene;
    world.workload("ingest").await.put(&ids.bucket, "in/x", "content").await.allowed();
    world.ask("g", "data", "reports", "in/", "1h").await;
    world.grant_active("g").await;
    let reports = world.workload("reports").await;
    reports.get(&ids.bucket, "in/x").await.allowed();
    let before = role_id(world, "reports").await.expect("the role");
    hand_back(world, "g").await;
    reports.get(&ids.bucket, "in/x").await.denied();
    scene.still().await;
    assert_eq!(operator.journal().count("DeleteRole"), 0);
    // What somebody makes of it meanwhile does not pass for the declared state.
    let trust = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": format!("arn:aws:iam::{}:root", world.account)}, "Action": "sts:AssumeRole"}]});
    let iam = world.root().iam;
    let name = world.role_name("reports");
    iam.update_assume_role_policy().role_name(&name).policy_document(trust.to_string()).send().await.unwrap();
    world.ask("again", "data", "reports", "in/", "1h").await;
    world.grant_active("again").await;
    assert_eq!(role_id(world, "reports").await, Some(before), "the same principal");
    let role = iam.get_role().role_name(&name).send().await.unwrap().role.unwrap();
    let trusted = role.assume_role_policy_document.unwrap();
    assert!(!trusted.contains("root") && trusted.contains("AssumeRoleWithWebIdentity"), "{trusted}");
    world.workload("reports").await.get(&ids.bucket, "in/x").await.allowed();
}

/// IAM answers few questions per second, and a thousand grants may end in one.
#[tokio::test]
async fn an_end_reads_the_policy_alone() {
    let scene = Scene::with("glance", resting).await;
    let Scene { world, ids, operator, .. } = &scene;
    world.workload("ingest").await.put(&ids.bucket, "in/x", "content").await.allowed();
    for (name, duration) in [("first", "1h"), ("second", "2h")] {
        world.ask(name, "data", "reports", "in/", duration).await;
        world.grant_active(name).await;
    }
    scene.still().await;
    let mark = operator.journal().mark();
    world.grants().delete("first", &DeleteParams::default()).await.unwrap();
    world.gone(&world.grants(), "first").await;
    let since = operator.journal().since(mark);
    let count = |operation: &str| since.iter().filter(|e| e.operation.name == operation).count();
    assert_eq!(count("PutRolePolicy"), 1);
    assert!(count("GetRolePolicy") >= 2, "before the write and after it");
    let revoked = since.iter().position(|e| e.operation.name == "RevokeGrant").expect("RevokeGrant");
    let before = since.iter().take(revoked).filter(|e| e.operation.name == "ListRolePolicies");
    assert_eq!(before.count(), 0, "{since:?}");
    world.workload("reports").await.get(&ids.bucket, "in/x").await.allowed();
    // What the role has beside it is found at the next whole look, which the next window needs.
    let wide = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]});
    let name = world.role_name("reports");
    let put = world.root().iam.put_role_policy().role_name(&name).policy_name("wide");
    put.policy_document(wide.to_string()).send().await.unwrap();
    world.ask("third", "data", "reports", "in/", "1h").await;
    world.grant_active("third").await;
    let own = || async { world.role_policies(&name).await.filter(|p| p.len() == 1).map(drop) };
    world.until("the foreign policy is gone", own).await;
    world.workload("reports").await.get(&ids.bucket, "in/x").await.allowed();
}

/// The operator may write no policy to a role without its boundary: what a glance does not show is looked at when AWS refuses.
#[tokio::test]
async fn an_end_finds_a_role_that_was_changed_since() {
    let scene = Scene::with("changed", |o| resting(o).refusals_expected()).await;
    let Scene { world, ids, .. } = &scene;
    world.workload("ingest").await.put(&ids.bucket, "in/x", "content").await.allowed();
    for (name, duration) in [("first", "1h"), ("second", "2h")] {
        world.ask(name, "data", "reports", "in/", duration).await;
        world.grant_active(name).await;
    }
    scene.still().await;
    let (iam, name) = (world.root().iam, world.role_name("reports"));
    iam.delete_role_permissions_boundary().role_name(&name).send().await.unwrap();
    for grant in ["first", "second"] {
        world.workload("reports").await.get(&ids.bucket, "in/x").await.allowed();
        world.grants().delete(grant, &DeleteParams::default()).await.unwrap();
        world.gone(&world.grants(), grant).await;
    }
    world.workload("reports").await.get(&ids.bucket, "in/x").await.denied();
    let role = iam.get_role().role_name(&name).send().await.unwrap().role.unwrap();
    assert!(role.permissions_boundary.is_some(), "put back before the policy was written");
}

#[tokio::test]
async fn it_goes_a_day_after_its_last_use() {
    let Scene { world, ids, operator, .. } = Scene::with("goes", resting).await;
    world.ask("g", "data", "reports", "in/", "1h").await;
    world.grant_active("g").await;
    hand_back(&world, "g").await;
    operator.stop().await;
    // Its session is used once more, 20 h later, and refused: that is use as well.
    world.later(20 * 3_600).await;
    world.workload("reports").await.get(&ids.bucket, "in/x").await.denied();
    world.later(20 * 3_600).await;
    // Restarted, the operator knows of it by the inventory alone.
    let operator = resting(world.operator()).drift_check(OFTEN).kube_hook(api_server_ahead(world.moved())).start();
    let looks = || operator.journal().count("ListRolePolicies");
    world.until("looked at several times", || async { (looks() > 12).then_some(()) }).await;
    assert_eq!(operator.journal().count("DeleteRole"), 0);
    operator.stop().await;
    world.later(4 * 3_600 + 60).await;
    let operator = resting(world.operator()).kube_hook(api_server_ahead(world.moved())).start();
    world.until("the role is gone", || async { role_id(&world, "reports").await.is_none().then_some(()) }).await;
    assert_eq!(operator.journal().count("DeleteRole"), 1, "and no other");
    let token = world.token_for("reports", AUDIENCE).await;
    assert!(world.assume(&world.role_arn("reports"), &token).await.is_denied());
    assert!(role_id(&world, "etl").await.is_some(), "what a duty needs stays");
}

#[tokio::test]
async fn a_released_bucket_does_not_wait_for_its_roles() {
    let scene = Scene::with("nowait", resting).await;
    let Scene { world, ids, .. } = &scene;
    let etl = world.workload("etl").await;
    etl.put(&ids.bucket, "in/x", "kept").await.allowed();
    assert!(is_true(conditions(&world.bucket_ready("data").await), types::READY));
    world.buckets().delete("data", &DeleteParams::default()).await.unwrap();
    world.gone(&world.buckets(), "data").await;
    etl.get(&ids.bucket, "in/x").await.denied();
    for account in ["etl", "ingest"] {
        assert_eq!(
            world.role_policies(&world.role_name(account)).await,
            Some(std::collections::BTreeMap::new()),
            "role of {account}"
        );
    }
}
