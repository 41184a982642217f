//! The life of a grant, from the request to the proof of its removal, with real reads at every stage.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Api;
use kube::api::{DeleteParams, ListParams, WatchEvent, WatchParams};
use securebucket::api::DecryptGrant;
use securebucket::api::condition::{find, is_true, types};
use securebucket::api::decrypt_grant::EndReason;

use serde_json::json;

use crate::scene::Scene;
use crate::support::account::AUDIENCE;
use crate::support::facets::{sids, statements};
use crate::support::wait::{grant_conditions, state};

fn end_of(grant: &DecryptGrant) -> EndReason {
    grant.status.as_ref().and_then(|s| s.ended.as_ref()).map(|e| e.reason).expect("ended")
}

#[tokio::test]
async fn from_request_to_expiry() {
    let scene = Scene::new("life").await;
    let Scene { world, ids, .. } = &scene;
    world.workload("ingest").await.put(&ids.bucket, "in/x", "content").await.allowed();
    world.workload("ingest").await.put(&ids.bucket, "in/y", "content").await.allowed();
    // Before: there is not even a role.
    let token = world.token_for("reports", AUDIENCE).await;
    assert!(world.assume(&world.role_arn("reports"), &token).await.is_denied());

    let (grant, duration) = scene.grant_of_at_least(32, "g", &["in/"]).await;
    let reports = world.workload("reports").await;
    assert_eq!(reports.get(&ids.bucket, "in/x").await.allowed(), "content");
    assert_eq!(reports.list(&ids.bucket, "in/").await.allowed().len(), 2);
    // Beside what it asked for: nothing.
    reports.get(&ids.bucket, "out/x").await.denied();
    reports.list(&ids.bucket, "").await.denied();
    reports.put(&ids.bucket, "in/z", "1").await.denied();
    // Another ServiceAccount has nothing of it; a Producer still cannot read.
    world.workload("ingest").await.get(&ids.bucket, "in/x").await.denied();

    let status = grant.status.clone().unwrap();
    let all = grant_conditions(&grant);
    assert!(is_true(all, types::APPROVED) && is_true(all, types::READY), "{all:#?}");
    assert_eq!(find(all, types::ACTIVE).unwrap().reason, "Granted");
    assert!(find(all, types::RECONCILING).is_none() && find(all, types::STALLED).is_none());
    let resolved = status.resolved.clone().unwrap();
    assert_eq!(resolved.prefixes, ["in/"]);
    assert_eq!(
        (resolved.role_arn.as_str(), resolved.key_arn.as_str()),
        (world.role_arn("reports").as_str(), ids.key.as_str())
    );
    let seconds = |text: &Option<String>| text.as_deref().unwrap().parse::<jiff::Timestamp>().unwrap().as_second();
    assert_eq!(seconds(&status.expires_at) - seconds(&status.activated_at), duration);
    let kms = world.kms_grants(&ids.key).await;
    assert_eq!(kms.len(), 1);
    let (name, grantee, operations) = &kms[0];
    assert_eq!(name, &status.kms_grant.unwrap().name);
    assert_eq!((grantee, operations.as_str()), (&world.role_arn("reports"), "Decrypt,DescribeKey"));
    let document = world.role_document("reports").await;
    let dated = |s: &serde_json::Value| s["Condition"].to_string().contains(status.expires_at.as_deref().unwrap());
    // All but the certificate, which refuses what no workload may do anyway.
    let seal = |s: &&serde_json::Value| s["Sid"].as_str().is_some_and(|sid| sid.starts_with("Written"));
    let all = statements(&document);
    let given: Vec<_> = all.iter().filter(|s| !seal(s)).collect();
    assert!(given.len() == 3 && given.into_iter().all(dated), "every statement has the date: {document:#}");
    assert_eq!(
        world.bucket_when("data", "counts it", |b| b.status.as_ref().unwrap().active_grants == Some(1)).await.spec,
        world.buckets().get("data").await.unwrap().spec
    );

    // The profile for its pods.
    let maps: Api<ConfigMap> = Api::namespaced(world.client.clone(), &world.namespace);
    let map = world.object_when(&maps, "securebucket-data-grant.g", "written", |_| true).await;
    assert_eq!(map.data.unwrap()["roleArn"], world.role_arn("reports"));

    // After: AWS refuses, whoever is alive; then everything is taken away, and that is proved.
    let refused = || async { reports.get(&ids.bucket, "in/x").await.is_denied().then(jiff::Timestamp::now) };
    let at = world.until("reading ends", refused).await;
    assert!(at.as_second() >= seconds(&status.expires_at), "not before its time");
    let grant = world.grant_removed("g").await;
    assert_eq!(end_of(&grant), EndReason::Expired);
    let grant = world.grant_state("g", "Expired").await;
    let ready = find(grant_conditions(&grant), types::READY).unwrap();
    assert!(ready.status == "True" && ready.message.contains("removal verified at"), "{ready:?}");
    assert_eq!(world.kms_grants(&ids.key).await, []);
    assert!(!sids(&world.role_document("reports").await.to_string()).iter().any(|s| s.starts_with("Read")));
    let gone = || async { world.role_policies(&world.role_name("reports")).await.is_none().then_some(()) };
    world.until("its role is gone, as nothing needs it", gone).await;
    world.gone(&maps, "securebucket-data-grant.g").await;
    for word in ["GrantRequested", "GrantApproved", "GrantActivated", "GrantExpired", "GrantRemoved"] {
        world.event("g", word, "").await;
        let owners = world.event("data", word, "DecryptGrant").await;
        assert!(owners.note.unwrap().contains("ServiceAccount reports"));
    }
    world.bucket_when("data", "counts none", |b| b.status.as_ref().unwrap().active_grants == Some(0)).await;
}

#[tokio::test]
async fn its_end_comes_with_the_operator_dead() {
    let scene = Scene::new("dead").await;
    scene.world.workload("ingest").await.put(&scene.ids.bucket, "in/x", "content").await.allowed();
    let (grant, _) = scene.short_grant("g", &["in/"]).await;
    let Scene { world, ids, operator, .. } = scene;
    let reports = world.workload("reports").await;
    reports.get(&ids.bucket, "in/x").await.allowed();
    operator.kill().await;
    let refused = || async { reports.get(&ids.bucket, "in/x").await.is_denied().then_some(()) };
    world.until("reading ends with nobody there to end it", refused).await;
    assert_eq!(world.kms_grants(&ids.key).await.len(), 1, "the KMS grant lives, and does not help");
    reports.list(&ids.bucket, "in/").await.denied();
    let _operator = world.operator().start();
    let grant_after = world.grant_removed("g").await;
    assert_eq!(end_of(&grant_after), EndReason::Expired);
    assert_eq!(grant.status.unwrap().expires_at, grant_after.status.unwrap().expires_at);
    assert_eq!(world.kms_grants(&ids.key).await, []);
}

#[tokio::test]
async fn deleting_it_hands_the_access_back() {
    let scene = Scene::new("back").await;
    let Scene { world, ids, .. } = &scene;
    world.workload("ingest").await.put(&ids.bucket, "in/x", "content").await.allowed();
    world.ask("g", "data", "reports", "in/", "1h").await;
    world.grant_active("g").await;
    let reports = world.workload("reports").await;
    reports.get(&ids.bucket, "in/x").await.allowed();
    world.grants().delete("g", &DeleteParams::default()).await.unwrap();
    world.gone(&world.grants(), "g").await;
    // The object went only after the proof.
    reports.get(&ids.bucket, "in/x").await.denied();
    assert_eq!(world.kms_grants(&ids.key).await, []);
    world.event("g", "GrantHandedBack", "").await;
    world.event("g", "GrantRemoved", "absent from ListGrants").await;
    // Asked for again under the same name it is another grant.
    world.ask("g", "data", "reports", "in/", "1h").await;
    world.grant_active("g").await;
    world.workload("reports").await.get(&ids.bucket, "in/x").await.allowed();
}

#[tokio::test]
async fn one_that_waits_for_approval_never_touches_aws() {
    let scene = Scene::new("waits").await;
    let Scene { world, ids, operator, .. } = &scene;
    let mut spec = crate::scene::spec();
    spec["grants"]["approvals"] = 1.into();
    world.apply_bucket("data", spec).await;
    world.bucket_ready("data").await;
    world.ask("g", "data", "reports", "in/", "1h").await;
    let grant = world.grant_state("g", "AwaitingApproval").await;
    let all = grant_conditions(&grant);
    assert!(!is_true(all, types::APPROVED) && !is_true(all, types::ACTIVE));
    assert!(find(all, types::STALLED).is_none(), "waiting for somebody is no failure");
    assert!(find(all, types::ACTIVE).unwrap().message.contains("1 approval"), "{all:#?}");
    let mark = operator.journal().mark();
    world.apply_bucket("other", json!({})).await;
    world.bucket_ready("other").await;
    let writes = operator.journal().writes_since(mark);
    assert!(writes.iter().all(|w| w.operation.service != "iam" && w.operation.name != "CreateGrant"), "{writes:?}");
    assert_eq!(world.kms_grants(&ids.key).await, []);
    assert!(world.role_policies(&world.role_name("reports")).await.is_none());
    world.grants().delete("g", &DeleteParams::default()).await.unwrap();
    world.gone(&world.grants(), "g").await;
}

#[tokio::test]
async fn a_grant_is_immutable() {
    let scene = Scene::new("frozen").await;
    scene.world.ask("g", "data", "reports", "in/", "1h").await;
    let patch = json!({"spec": {"duration": "2h"}});
    let refused =
        scene.world.grants().patch("g", &Default::default(), &kube::api::Patch::Merge(patch)).await.unwrap_err();
    assert!(refused.to_string().contains("immutable"), "{refused}");
}

#[tokio::test]
async fn kstatus_reads_it_right_at_every_stage() {
    let scene = Scene::new("gstages").await;
    let Scene { world, .. } = &scene;
    let seen: Arc<Mutex<Vec<DecryptGrant>>> = Arc::default();
    let (watched, api) = (Arc::clone(&seen), world.grants());
    let from = api.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    tokio::spawn(async move {
        let mut stream = api.watch(&WatchParams::default(), &from).await.unwrap().boxed();
        while let Some(Ok(event)) = stream.next().await {
            if let WatchEvent::Added(g) | WatchEvent::Modified(g) = event {
                watched.lock().unwrap().push(g);
            }
        }
    });
    world.ask("stalled", "data", "nobody", "in/", "1h").await;
    world.grant_state("stalled", "ServiceAccountNotFound").await;
    let (_, _) = scene.short_grant("g", &["in/"]).await;
    let last = world.grant_removed("g").await;
    let versions = world
        .until("the watch has seen the last version", || async {
            let all = seen.lock().unwrap().clone();
            let is_last = |g: &DecryptGrant| g.metadata.resource_version == last.metadata.resource_version;
            all.iter().any(is_last).then_some(all)
        })
        .await;
    let mut words = BTreeSet::new();
    for version in versions.iter().filter(|g| g.status.is_some() && g.metadata.deletion_timestamp.is_none()) {
        let (all, status) = (grant_conditions(version), version.status.as_ref().unwrap());
        for type_ in [types::READY, types::ACTIVE] {
            let condition = find(all, type_).unwrap_or_else(|| panic!("{type_} is missing: {all:#?}"));
            assert_eq!(condition.observed_generation, Some(1));
        }
        for only_while_true in [types::RECONCILING, types::STALLED] {
            assert!(find(all, only_while_true).is_none_or(|c| c.status == "True"), "{all:#?}");
        }
        assert!(!(is_true(all, types::APPROVED) && is_true(all, types::DENIED)));
        let word = kstatus(all);
        let stage = state(version);
        words.insert((stage.to_owned(), word));
        assert!(status.ended.is_none() || !is_true(all, types::ACTIVE), "active beside its end: {all:#?}");
        // Current means: readable, or proved to be over.
        let current = is_true(all, types::ACTIVE) || status.removal.is_some();
        assert!(word != "Current" || current, "{stage}: {all:#?}");
    }
    let expected = [
        ("Granted", "Current"),
        ("Expired", "Current"),
        ("ServiceAccountNotFound", "Failed"),
        ("Pending", "InProgress"),
    ];
    for (stage, word) in expected {
        assert!(words.contains(&(stage.to_owned(), word)), "{stage} is not {word} in {words:?}");
    }
}

/// What kstatus makes of conditions whose generation is observed.
fn kstatus(all: &[Condition]) -> &'static str {
    if is_true(all, types::RECONCILING) {
        "InProgress"
    } else if is_true(all, types::STALLED) {
        "Failed"
    } else if is_true(all, types::READY) {
        "Current"
    } else {
        "InProgress"
    }
}
