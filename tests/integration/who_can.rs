//! `status.access` against real reads, and what a grant says beside its state.

use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use securebucket::api::condition::{find, reason, types};
use securebucket::api::secure_bucket::AccessStatus;
use securebucket::api::{DecryptGrant, ROLE_ARN, SecureBucket};
use serde_json::json;

use crate::scene::Scene;
use crate::support::World;
use crate::support::wait::grant_conditions;

fn access(bucket: &SecureBucket) -> Vec<AccessStatus> {
    bucket.status.clone().unwrap_or_default().access
}

/// Waits until the list has these names, in this order.
async fn listed(world: &World, names: &[&str]) -> Vec<AccessStatus> {
    let names: Vec<String> = names.iter().map(|n| n.replace("NS", &world.namespace)).collect();
    let fits = |b: &SecureBucket| access(b).iter().map(|a| a.name.clone()).collect::<Vec<_>>() == names;
    access(&world.bucket_when("data", &format!("access is {names:?}"), fits).await)
}

/// Who of the ServiceAccounts reads `in/x`, asked of AWS. One without a role does not.
async fn readers(scene: &Scene, accounts: &[&str]) -> Vec<String> {
    let mut all = Vec::new();
    for account in accounts {
        let token = scene.world.token_for(account, crate::support::account::AUDIENCE).await;
        let crate::support::Access::Allowed(workload) =
            scene.world.assume(&scene.world.role_arn(account), &token).await
        else {
            continue;
        };
        if !workload.get(&scene.ids.bucket, "in/x").await.is_denied() {
            all.push((*account).to_owned());
        }
    }
    all
}

fn accounts(list: &[AccessStatus]) -> Vec<String> {
    let mut all: Vec<String> = list.iter().filter_map(|a| a.service_account.clone()).collect();
    all.sort();
    all.dedup();
    all
}

#[tokio::test]
async fn whoever_is_listed_reads_and_nobody_else() {
    let scene = Scene::new("whocan").await;
    let world = &scene.world;
    world.service_account("other").await;
    let everybody = ["etl", "ingest", "other", "reports"];
    world.workload("ingest").await.put(&scene.ids.bucket, "in/x", "content").await.allowed();
    let list = listed(world, &["etl"]).await;
    assert_eq!(readers(&scene, &everybody).await, accounts(&list));

    world.ask("g", "data", "reports", "in/", "1h").await;
    world.ask("h", "data", "other", "in/", "2h").await;
    let list = listed(world, &["etl", "NS/g", "NS/h"]).await;
    assert_eq!(readers(&scene, &everybody).await, accounts(&list));
    let grant = world.grant_active("g").await.status.unwrap();
    assert_eq!((&list[1].principal, &list[1].until), (&world.role_arn("reports"), &grant.expires_at));
    assert_eq!((list[1].prefixes.as_slice(), list[1].cumulative_30d.as_deref()), (&["in/".to_owned()][..], Some("1h")));
    assert_eq!(
        (list[0].agreed_by.as_deref(), list[1].agreed_by.as_deref()),
        (Some("spec.access"), Some("spec.grants.approvals: 0"))
    );

    // Handed back, and a duty withdrawn.
    world.grants().delete("g", &DeleteParams::default()).await.unwrap();
    world.gone(&world.grants(), "g").await;
    let mut spec = crate::scene::spec();
    spec["access"].as_array_mut().unwrap().remove(1);
    world.apply_bucket("data", spec).await;
    let list = listed(world, &["NS/h"]).await;
    assert_eq!(readers(&scene, &everybody).await, accounts(&list));
    world.grants().delete("h", &DeleteParams::default()).await.unwrap();
    assert_eq!(listed(world, &[]).await, []);
    assert_eq!(readers(&scene, &everybody).await, [""; 0]);
}

#[tokio::test]
async fn what_has_expired_is_listed_no_more() {
    let scene = Scene::new("whoexp").await;
    scene.world.workload("ingest").await.put(&scene.ids.bucket, "in/x", "content").await.allowed();
    scene.grant_of_at_least(32, "g", &["in/"]).await;
    listed(&scene.world, &["etl", "NS/g"]).await;
    listed(&scene.world, &["etl"]).await;
    assert_eq!(readers(&scene, &["etl", "reports"]).await, ["etl"]);
}

async fn annotate(world: &World, account: &str, role: Option<&str>) {
    let accounts: Api<ServiceAccount> = Api::namespaced(world.client.clone(), &world.namespace);
    let patch = Patch::Merge(json!({"metadata": {"annotations": {ROLE_ARN: role}}}));
    accounts.patch(account, &PatchParams::default(), &patch).await.unwrap();
}

#[tokio::test]
async fn whether_the_workload_has_its_role_follows_the_annotation() {
    let scene = Scene::new("bound").await;
    let world = &scene.world;
    world.ask("g", "data", "reports", "in/", "1h").await;
    world.grant_active("g").await;
    let says = |word: &'static str| move |g: &DecryptGrant| reason(grant_conditions(g), types::WORKLOAD_BOUND) == word;
    let grant = world.grant_when("g", "not annotated", says("NotAnnotated")).await;
    let message = &find(grant_conditions(&grant), types::WORKLOAD_BOUND).unwrap().message;
    assert!(message.contains(&world.role_arn("reports")) && message.contains("securebucket-data-grant.g"), "{message}");
    let mark = scene.operator.journal().writes_since(0).len();
    annotate(world, "reports", Some("arn:aws:iam::111122223333:role/own")).await;
    world.grant_when("g", "another role", says("AnotherRole")).await;
    annotate(world, "reports", Some(&world.role_arn("reports"))).await;
    let grant = world.grant_when("g", "annotated", says("Annotated")).await;
    assert_eq!(reason(grant_conditions(&grant), types::READY), "Granted", "it informs and no more");
    annotate(world, "reports", None).await;
    world.grant_when("g", "not annotated", says("NotAnnotated")).await;
    assert_eq!(scene.operator.journal().writes_since(0).len(), mark, "nothing in AWS depends on it");

    let bound =
        |b: &SecureBucket| b.status.iter().flat_map(|s| &s.duties).map(|d| d.workload_bound).collect::<Vec<_>>();
    annotate(world, "etl", Some(&world.role_arn("etl"))).await;
    let second = |b: &SecureBucket| bound(b) == [Some(false), Some(true)];
    world.bucket_when("data", "the Processor is bound, the Producer is not", second).await;
}
