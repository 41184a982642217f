//! What people see: conditions, events, ConfigMaps, columns.

use std::sync::{Arc, Mutex};

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{ListParams, WatchEvent, WatchParams};
use securebucket::api::SecureBucket;
use securebucket::api::condition::{find, types};
use serde_json::json;

use crate::support::World;
use crate::support::facets::ids;
use crate::support::wait::conditions;

const PIECES: [&str; 8] = [
    types::KEY,
    types::BUCKET,
    types::ENCRYPTION,
    types::PUBLIC_ACCESS,
    types::VERSIONING,
    types::LIFECYCLE,
    types::POLICY,
    types::ROLES,
];

/// What kstatus makes of an object (cli-utils, pkg/kstatus, generic.go).
fn kstatus(bucket: &SecureBucket) -> &'static str {
    let all = conditions(bucket);
    let is = |t: &str, s: &str| find(all, t).is_some_and(|c| c.status == s);
    let observed = bucket.status.as_ref().and_then(|s| s.observed_generation);
    if bucket.metadata.deletion_timestamp.is_some() {
        "Terminating"
    } else if (observed.is_some() && observed != bucket.metadata.generation) || is("Reconciling", "True") {
        "InProgress"
    } else if is("Stalled", "True") {
        "Failed"
    } else if is("Ready", "False") || is("Ready", "Unknown") {
        "InProgress"
    } else {
        "Current"
    }
}

#[tokio::test]
async fn conditions_from_the_first_visit_to_the_last() {
    let world = World::new("conditions").await;
    let seen: Arc<Mutex<Vec<SecureBucket>>> = Arc::default();
    let watched = Arc::clone(&seen);
    let api = world.buckets();
    let from = api.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    tokio::spawn(async move {
        let mut stream = api.watch(&WatchParams::default(), &from).await.unwrap().boxed();
        while let Some(Ok(event)) = stream.next().await {
            if let WatchEvent::Added(b) | WatchEvent::Modified(b) = event {
                watched.lock().unwrap().push(b);
            }
        }
    });
    let _operator = world.operator().start();
    world.apply_bucket("data", json!({})).await;
    let last = world.bucket_ready("data").await;
    let versions = world
        .until("the watch has seen the last version", || async {
            let all = seen.lock().unwrap().clone();
            all.iter().any(|b| b.metadata.resource_version == last.metadata.resource_version).then_some(all)
        })
        .await;
    let mut first = true;
    for version in versions.iter().filter(|b| b.status.is_some()) {
        let all = conditions(version);
        for piece in PIECES.iter().chain(&[types::READY]) {
            let condition = find(all, piece).unwrap_or_else(|| panic!("{piece} is missing: {all:#?}"));
            assert!(!condition.reason.is_empty() && condition.reason.chars().all(|c| c.is_ascii_alphanumeric()));
            assert_eq!(condition.observed_generation, Some(1));
        }
        for only_while_true in [types::RECONCILING, types::STALLED, types::RESTRICTED] {
            assert!(find(all, only_while_true).is_none_or(|c| c.status == "True"), "{all:#?}");
        }
        if first {
            assert_eq!(kstatus(version), "InProgress");
            assert!(
                PIECES.iter().all(|p| find(all, p).is_some_and(|c| c.status == "Unknown" && c.reason == "Pending"))
            );
            first = false;
        }
        let ready = find(all, types::READY).unwrap().status == "True";
        assert_eq!(ready, kstatus(version) == "Current", "{all:#?}");
    }
    assert!(!first, "no version with a status was seen");
    let status = last.status.unwrap();
    assert!(PIECES.iter().all(|p| find(&status.conditions, p).is_some_and(|c| c.status == "True")));
    assert_eq!(status.observed_generation, Some(1));
    let effective = serde_json::to_value(status.effective.unwrap()).unwrap();
    let wanted = json!({
        "bucketKey": "Enabled", "rotationPeriodDays": 365, "versioning": "Enabled", "deletionPolicy": "Retain",
        "grantNamespaces": [world.namespace], "maxDuration": "8h", "approvals": 1, "foreignGrants": "Report",
        "selfApproval": "Forbid", "pendingTTL": "24h", "maxOpenPerSubject": 5, "allowDefaultServiceAccount": false,
    });
    assert_eq!(effective, wanted);
}

#[tokio::test]
async fn the_operator_never_writes_a_spec_nor_a_service_account() {
    let world = World::new("spec").await;
    let operator = world.operator().start();
    world.service_account("app").await;
    let access =
        json!([{"name": "app", "duty": "Processor", "serviceAccountRef": {"name": "app"}, "prefixes": ["in/"]}]);
    let applied = world.apply_bucket("data", json!({"access": access})).await;
    let bucket = world.bucket_ready("data").await;
    assert_eq!(applied.spec, bucket.spec);
    assert_eq!(bucket.metadata.generation, Some(1));
    for manager in
        bucket.metadata.managed_fields.unwrap().iter().filter(|m| m.manager.as_deref() != Some("integration-test"))
    {
        let fields = serde_json::to_string(&manager.fields_v1).unwrap();
        assert!(!fields.contains("f:spec"), "{manager:?}");
    }
    let touched = operator.kube_journal().writes_since(0);
    assert!(touched.iter().all(|w| w.request.resource != "serviceaccounts"), "{touched:?}");
}

#[tokio::test]
async fn events_say_in_plain_words_what_was_made() {
    let world = World::new("events").await;
    let _operator = world.operator().start();
    world.service_account("app").await;
    let access =
        json!([{"name": "app", "duty": "Producer", "serviceAccountRef": {"name": "app"}, "prefixes": ["in/"]}]);
    world.apply_bucket("data", json!({"access": access})).await;
    world.bucket_ready("data").await;
    for (word, part) in [
        ("KeyCreated", "create the key"),
        ("BucketCreated", "create the bucket"),
        ("Hardened", "block public access"),
        ("Hardened", "SSE-KMS"),
        ("Hardened", "bucket policy"),
        ("Hardened", "versioning"),
        ("Hardened", "incomplete uploads"),
        ("Hardened", "every 365 days"),
        ("RoleCreated", &world.role_arn("app")),
    ] {
        let event = world.event("data", word, part).await;
        assert_eq!(event.type_.as_deref(), Some("Normal"));
        assert!(event.action.is_some_and(|a| !a.is_empty()));
        assert_eq!(event.reporting_controller.as_deref(), Some("securebucket.io/operator"));
    }
}

#[tokio::test]
async fn each_duty_has_a_config_map_with_a_ready_profile() {
    let world = World::new("profile").await;
    let _operator = world.operator().start();
    world.service_account("app").await;
    let access = json!([{"name": "etl", "duty": "Processor", "serviceAccountRef": {"name": "app"}, "prefixes": ["in/", "in/x/"]}]);
    world.apply_bucket("data", json!({"access": access})).await;
    let bucket = world.bucket_ready("data").await;
    let maps: Api<ConfigMap> = Api::namespaced(world.client.clone(), &world.namespace);
    let map = world.object_when(&maps, "securebucket-data-etl", "written", |_| true).await;
    let data = map.data.unwrap();
    let ids = ids(&bucket);
    assert_eq!(data["bucket"], ids.bucket);
    assert_eq!(data["keyArn"], ids.key);
    assert_eq!(data["roleArn"], world.role_arn("app"));
    assert_eq!(data["prefixes"], "in/");
    assert!(
        data["config"].contains("[profile data]") && data["config"].contains(&world.role_arn("app")),
        "{}",
        data["config"]
    );
    let owner = &map.metadata.owner_references.unwrap()[0];
    assert_eq!((owner.kind.as_str(), owner.uid.as_str()), ("SecureBucket", bucket.metadata.uid.unwrap().as_str()));
    // It goes with its entry. Somebody else's ConfigMap of such a name is left.
    let theirs: ConfigMap =
        serde_json::from_value(json!({"metadata": {"name": "securebucket-data-theirs"}, "data": {"a": "b"}})).unwrap();
    maps.create(&Default::default(), &theirs).await.unwrap();
    let access =
        json!([{"name": "theirs", "duty": "Processor", "serviceAccountRef": {"name": "app"}, "prefixes": ["in/"]}]);
    world.apply_bucket("data", json!({"access": access})).await;
    world.gone(&maps, "securebucket-data-etl").await;
    world.event("data", "Stalled", "securebucket-data-theirs").await;
    assert_eq!(maps.get("securebucket-data-theirs").await.unwrap().data.unwrap()["a"], "b");
}

#[tokio::test]
async fn kubectl_shows_what_the_story_shows() {
    let world = World::new("kubectl").await;
    let _operator = world.operator().start();
    world.service_account("app").await;
    let named = format!("t-{}-named", world.namespace);
    world.apply_bucket("data", json!({"bucketName": named})).await;
    world.apply_bucket("wait", json!({"region": "us-west-2"})).await;
    let bucket = world.bucket_ready("data").await;
    world.bucket_reason("wait", "InvalidSpec").await;
    let lines =
        |text: &str| text.lines().map(|l| l.split_whitespace().map(str::to_owned).collect()).collect::<Vec<Vec<_>>>();

    let table = lines(&world.kubectl_out(&["get", "sbkt"]));
    assert_eq!(table[0], ["NAME", "READY", "STATUS", "BUCKET", "REGION", "GRANTS", "AGE"]);
    assert_eq!(table[1][..6], ["data", "True", "Reconciled", named.as_str(), "eu-west-1", "0"]);
    assert_eq!(table[2][..3], ["wait", "False", "InvalidSpec"]);
    let wide = world.kubectl_out(&["get", "sbkt", "data", "-o", "wide"]);
    assert!(wide.contains("KEY") && wide.contains("MESSAGE") && wide.contains(&ids(&bucket).key), "{wide}");

    world.ask("g", "data", "app", "in/", "1h").await;
    world.grant_state("g", "AwaitingApproval").await;
    let table = lines(&world.kubectl_out(&["get", "dgrant"]));
    assert_eq!(table[0], ["NAME", "BUCKET", "REQUESTER", "STATE", "EXPIRES", "AGE"]);
    let bucket_of = format!("{}/data", world.namespace);
    assert_eq!(table[1][..4], ["g", bucket_of.as_str(), "tester", "AwaitingApproval"]);

    let category = world.kubectl_out(&["get", "securebucket-all", "-o", "name"]);
    assert!(
        category.contains("securebucket.securebucket.io/data") && category.contains("decryptgrant.securebucket.io/g"),
        "{category}"
    );
    let all = world.kubectl(&["get", "all", "-o", "name"]);
    assert!(!all.out.contains("securebucket"), "data has no business in `all`: {}", all.out);

    let selected =
        world.kubectl_out(&["get", "sbkt", "-o", "name", "--field-selector", &format!("spec.bucketName={named}")]);
    assert_eq!(selected.trim(), "securebucket.securebucket.io/data");
    let selected = world.kubectl_out(&["get", "dgrant", "-o", "name", "--field-selector", "spec.bucketRef.name=data"]);
    assert_eq!(selected.trim(), "decryptgrant.securebucket.io/g");
    let none = world.kubectl_out(&[
        "get",
        "dgrant",
        "-o",
        "name",
        "--field-selector",
        "spec.subject.serviceAccountRef.name=x",
    ]);
    assert_eq!(none.trim(), "");

    let waited = world.kubectl_out(&["wait", "--for=condition=Ready", "sbkt/data", "--timeout=5s"]);
    assert!(waited.contains("condition met"), "{waited}");
    let described = world.kubectl_out(&["describe", "sbkt", "data"]);
    assert!(described.contains("KeyCreated") && described.contains("EncryptionReady"), "{described}");
}
