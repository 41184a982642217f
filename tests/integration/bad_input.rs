//! Wrong input: each ends in a condition that names the field and the way out, changes nothing that it should not, and heals when its cause
//! goes.

use aws_sdk_iam::types::Tag;
use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration};
use kube::api::{Patch, PatchParams};
use securebucket::api::SecureBucket;
use securebucket::api::condition::{find, is_true, types};
use securebucket::clock::Clock;
use serde_json::{Value, json};

use crate::scene::OFTEN;
use crate::support::account::{OTHER_REGION, random_account, trust};
use crate::support::facets::ids;
use crate::support::wait::conditions;
use crate::support::{AwsClients, REGION, World};

/// Waits for the reason, and checks that `Stalled` says all of this.
async fn stalled(world: &World, name: &str, word: &str, parts: &[&str]) -> SecureBucket {
    let bucket = world.bucket_reason(name, word).await;
    let all = conditions(&bucket);
    let message = &find(all, types::STALLED).unwrap_or_else(|| panic!("not stalled: {all:#?}")).message;
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
    bucket
}

async fn make_bucket(aws: &AwsClients, name: &str, region: &str) {
    let location = BucketLocationConstraint::from(region);
    let configuration = CreateBucketConfiguration::builder().location_constraint(location).build();
    aws.s3.create_bucket().bucket(name).create_bucket_configuration(configuration).send().await.unwrap();
}

#[tokio::test]
async fn a_region_that_is_not_served() {
    let world = World::new("region").await;
    let operator = world.operator().start();
    world.apply_bucket("data", json!({"region": "us-west-2"})).await;
    stalled(&world, "data", "InvalidSpec", &["spec.region", "us-west-2", REGION, OTHER_REGION, "--regions"]).await;
    world.event("data", "InvalidSpec", "spec.region").await;
    assert_eq!(operator.journal().writes_since(0).len(), 0);
    world.apply_bucket("data", json!({"region": OTHER_REGION})).await;
    let bucket = world.bucket_ready("data").await;
    assert_eq!(ids(&bucket).region, OTHER_REGION);
    // From here on it stays there, and so does its name.
    for (field, value) in [("region", REGION), ("bucketName", "t-another-name")] {
        let patch = json!({"spec": {field: value}});
        let refused = world.buckets().patch("data", &Default::default(), &Patch::Merge(patch)).await;
        let message = refused.unwrap_err().to_string();
        assert!(
            message.contains(&format!("spec.{field}: immutable")) && message.contains("copy the data"),
            "{message}"
        );
    }
}

#[tokio::test]
async fn a_bucket_name_outside_the_prefix() {
    let world = World::new("prefix").await;
    let operator = world.operator().start();
    let name = format!("other-{}", world.namespace);
    world.apply_bucket("data", json!({"bucketName": name})).await;
    stalled(&world, "data", "InvalidSpec", &["spec.bucketName", &name, "\"t-\"", "leave bucketName out"]).await;
    assert_eq!(operator.journal().writes_since(0).len(), 0);
    world.apply_bucket("data", json!({"bucketName": format!("t-{name}")})).await;
    world.bucket_ready("data").await;
}

#[tokio::test]
async fn a_bucket_name_taken_by_another_account() {
    let world = World::new("stranger").await;
    let _operator = world.operator().refusals_expected().start();
    let stranger = AwsClients::root(world.stack, &random_account(), REGION, &Clock::new());
    let name = format!("t-{}-taken", world.namespace);
    make_bucket(&stranger, &name, REGION).await;
    world.apply_bucket("data", json!({"bucketName": name})).await;
    stalled(&world, "data", "BucketNameTaken", &["spec.bucketName", &name, "another account", "Choose another"]).await;
    world.event("data", "NameTaken", &name).await;
    assert!(stranger.s3.get_bucket_policy().bucket(&name).send().await.is_err(), "nothing was written to it");
    assert_eq!(world.keys().await, Vec::<String>::new(), "no key for a bucket that cannot be had");
    world.apply_bucket("data", json!({"bucketName": format!("{name}-2")})).await;
    world.bucket_ready("data").await;
    assert_eq!(world.keys().await.len(), 1);
}

#[tokio::test]
async fn a_bucket_name_taken_in_another_region() {
    let world = World::new("afar").await;
    let _operator = world.operator().start();
    let name = format!("t-{}-taken", world.namespace);
    make_bucket(&world.root_in(OTHER_REGION), &name, OTHER_REGION).await;
    world.apply_bucket("data", json!({"bucketName": name})).await;
    stalled(&world, "data", "BucketNameTaken", &[&name, OTHER_REGION, REGION]).await;
    world.apply_bucket("data", json!({})).await;
    world.bucket_ready("data").await;
}

#[tokio::test]
async fn a_bucket_of_the_account_without_our_mark() {
    let world = World::new("unmarked").await;
    let _operator = world.operator().drift_check(OFTEN).start();
    let name = format!("t-{}-theirs", world.namespace);
    let root = world.root();
    make_bucket(&root, &name, REGION).await;
    root.s3.put_object().bucket(&name).key("x").send().await.unwrap();
    world.apply_bucket("data", json!({"bucketName": name})).await;
    stalled(&world, "data", "BucketNameTaken", &["spec.bucketName", &name, "without our mark", "choose another"]).await;
    assert!(root.s3.get_bucket_policy().bucket(&name).send().await.is_err(), "untouched");
    root.s3.get_object().bucket(&name).key("x").send().await.unwrap();
    // Its owner moves out: the name is free, and taken.
    root.s3.delete_object().bucket(&name).key("x").send().await.unwrap();
    root.s3.delete_bucket().bucket(&name).send().await.unwrap();
    assert_eq!(ids(&world.bucket_ready("data").await).bucket, name);
}

#[tokio::test]
async fn a_bucket_of_another_secure_bucket() {
    let world = World::new("second").await;
    let _operator = world.operator().start();
    let name = format!("t-{}-shared", world.namespace);
    world.apply_bucket("first", json!({"bucketName": name})).await;
    let first = ids(&world.bucket_ready("first").await);
    let before = world.facets(&first).await;
    world.apply_bucket("second", json!({"bucketName": name})).await;
    // Not which: whoever asks may have no right to know.
    let whose = "another SecureBucket".to_owned();
    stalled(&world, "second", "BucketNameTaken", &["spec.bucketName", &name, &whose, "choose another"]).await;
    assert_eq!(world.facets(&first).await, before);
    world.apply_bucket("second", json!({})).await;
    let second = ids(&world.bucket_ready("second").await);
    assert!(second.bucket != first.bucket && second.key != first.key);
    assert_eq!(world.facets(&first).await, before);
}

#[tokio::test]
async fn a_service_account_that_is_not_there() {
    let world = World::new("absent").await;
    let _operator = world.operator().start();
    world.service_account("etl").await;
    let access = json!([
        {"name": "a", "duty": "Processor", "serviceAccountRef": {"name": "etl"}, "prefixes": ["in/"]},
        {"name": "b", "duty": "Producer", "serviceAccountRef": {"name": "nobody"}, "prefixes": ["in/"]},
    ]);
    world.apply_bucket("data", json!({"access": access})).await;
    let parts = ["serviceAccountRef.name", "nobody", &world.namespace, "create it"];
    let bucket = stalled(&world, "data", "ServiceAccountNotFound", &parts).await;
    assert!(is_true(conditions(&bucket), types::POLICY), "the rest of it is there");
    assert!(world.role_policies(&world.role_name("nobody")).await.is_none(), "no role for nobody");
    // The other duty does not wait.
    let name = ids(&bucket).bucket;
    let works = || async {
        let token = world.token_for("etl", crate::support::account::AUDIENCE).await;
        match world.assume(&world.role_arn("etl"), &token).await {
            crate::support::Access::Allowed(etl) => (!etl.put(&name, "in/x", "1").await.is_denied()).then_some(()),
            crate::support::Access::Denied { .. } => None,
        }
    };
    world.until("the other duty is in force", works).await;
    world.service_account("nobody").await;
    world.bucket_ready("data").await;
    world.workload("nobody").await.put(&name, "in/y", "1").await.allowed();
}

/// A world in which somebody else has the role name of the ServiceAccount `etl`, under this path.
async fn role_taken(path: &str, cluster: Option<&str>) -> (World, String) {
    let world = World::new("role").await;
    world.service_account("etl").await;
    let name = take_role(&world, path, cluster).await;
    world.apply_bucket("data", etl()).await;
    (world, name)
}

/// A duty of the ServiceAccount `etl`.
fn etl() -> Value {
    json!({"access": [{"name": "a", "duty": "Processor", "serviceAccountRef": {"name": "etl"}, "prefixes": ["in/"]}]})
}

/// Somebody else makes a role of the name that ours for `etl` would have.
async fn take_role(world: &World, path: &str, cluster: Option<&str>) -> String {
    let name = world.role_name("etl");
    let theirs = trust(&world.install, "system:serviceaccount:elsewhere:x").to_string();
    let mark = |value| Tag::builder().key("securebucket.io/cluster").value(value).build().unwrap();
    let tags = cluster.map(|c| vec![mark(c)]);
    let request = world.root().iam.create_role().role_name(&name).path(path).set_tags(tags);
    request.assume_role_policy_document(&theirs).send().await.unwrap();
    name
}

/// What was seen a moment before is good enough to create a role, because AWS refuses a name that is taken; it is not good enough to write to one.
#[tokio::test]
async fn a_role_name_that_somebody_takes_between_look_and_creation() {
    let world = World::new("role").await;
    let _operator = world.operator().drift_check(OFTEN).start();
    world.apply_bucket("data", etl()).await;
    stalled(&world, "data", "ServiceAccountNotFound", &["etl"]).await;
    let name = take_role(&world, "/securebucket/t/", Some("other")).await;
    world.service_account("etl").await;
    stalled(&world, "data", "RoleNameTaken", &[&name, "not ours", "another ServiceAccount"]).await;
    assert_eq!(world.role_policies(&name).await.unwrap().len(), 0, "untouched");
    world.root().iam.delete_role().role_name(&name).send().await.unwrap();
    world.bucket_ready("data").await;
    world.workload("etl").await;
}

#[tokio::test]
async fn a_role_name_that_somebody_else_has_under_our_path() {
    let (world, name) = role_taken("/securebucket/t/", Some("other")).await;
    let _operator = world.operator().drift_check(OFTEN).start();
    stalled(&world, "data", "RoleNameTaken", &[&name, "not ours", "another ServiceAccount"]).await;
    assert_eq!(world.role_policies(&name).await.unwrap().len(), 0, "untouched");
    world.root().iam.delete_role().role_name(&name).send().await.unwrap();
    world.bucket_ready("data").await;
    world.workload("etl").await;
}

#[tokio::test]
async fn a_role_of_nobody_under_our_path_is_narrowed_and_taken_when_asked() {
    let (world, name) = role_taken("/securebucket/t/", None).await;
    let _operator = world.operator().start();
    let bucket = world.bucket_reason("data", "Restricted").await;
    assert!(conditions(&bucket)[0].message.contains("reconcile-at"), "{:#?}", conditions(&bucket)[0]);
    assert_eq!(world.role_policies(&name).await.unwrap().len(), 0, "nothing is given to it");
    let token = world.token_for("etl", crate::support::account::AUDIENCE).await;
    let bucket = ids(&bucket).bucket;
    if let crate::support::Access::Allowed(etl) = world.assume(&world.role_arn("etl"), &token).await {
        etl.put(&bucket, "in/x", "1").await.denied();
    }
    world.reconcile_at("data", "now").await;
    world.bucket_ready("data").await;
    world.workload("etl").await.put(&bucket, "in/x", "1").await.allowed();
}

#[tokio::test]
async fn a_role_name_that_somebody_else_has_elsewhere() {
    // IAM judges by the ARN of the role that is there: the operator may not even look.
    let (world, name) = role_taken("/", None).await;
    let _operator = world.operator().drift_check(OFTEN).refusals_expected().start();
    let parts = ["iam:GetRole", &name, "under another path", "another ServiceAccount"];
    stalled(&world, "data", "AccessDenied", &parts).await;
    assert_eq!(world.role_policies(&name).await.unwrap().len(), 0, "untouched");
    world.root().iam.delete_role().role_name(&name).send().await.unwrap();
    world.bucket_ready("data").await;
    world.workload("etl").await;
}

/// What the API server must say to a spec of a SecureBucket.
fn bad_buckets() -> Vec<(Value, &'static str)> {
    let entry = |more: Value| {
        let mut entry =
            json!({"name": "a", "duty": "Processor", "serviceAccountRef": {"name": "x"}, "prefixes": ["in/"]});
        entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"access": [entry]})
    };
    vec![
        (json!({"bucketName": "Upper"}), "spec.bucketName"),
        (json!({"bucketName": "a.b.c"}), "spec.bucketName"),
        (json!({"bucketName": "ab"}), "spec.bucketName"),
        (json!({"bucketName": "-abc"}), "spec.bucketName"),
        (json!({"bucketName": "a".repeat(64)}), "spec.bucketName"),
        (json!({"bucketName": "xn--abc"}), "reserved by S3"),
        (json!({"bucketName": "abc-s3alias"}), "reserved by S3"),
        (json!({"region": "Europe"}), "spec.region"),
        (json!({"versioning": "On"}), "spec.versioning"),
        (json!({"encryption": {"rotationPeriodDays": 89}}), "rotationPeriodDays"),
        (json!({"encryption": {"rotationPeriodDays": 2561}}), "rotationPeriodDays"),
        (json!({"encryption": {"bucketKey": true}}), "bucketKey"),
        (json!({"deletionPolicy": "Destroy"}), "deletionPolicy"),
        (json!({"tags": {"aws:x": "1"}}), "reserved"),
        (json!({"tags": {"securebucket.io/uid": "1"}}), "reserved"),
        (json!({"tags": {"a": "<"}}), "letters, digits"),
        (json!({"tags": {"a": "x".repeat(257)}}), "tags"),
        (json!({"grants": {"approvals": 6}}), "approvals"),
        (json!({"grants": {"approvals": -1}}), "approvals"),
        (json!({"grants": {"maxDuration": "8 hours"}}), "maxDuration"),
        (json!({"grants": {"allowedNamespaces": ["A"]}}), "allowedNamespaces"),
        (entry(json!({"duty": "Owner"})), "duty"),
        (entry(json!({"name": "A"})), "name"),
        (entry(json!({"prefixes": []})), "needs at least one"),
        (entry(json!({"duty": "Auditor"})), "leave prefixes out"),
        (entry(json!({"prefixes": ["in"]})), "prefixes"),
        (entry(json!({"prefixes": ["in*/"]})), "prefixes"),
        (entry(json!({"prefixes": ["in?/"]})), "prefixes"),
        (entry(json!({"prefixes": ["${aws:username}/"]})), "prefixes"),
        (entry(json!({"prefixes": ["a b/"]})), "prefixes"),
        (entry(json!({"prefixes": [""]})), "prefixes"),
        (entry(json!({"prefixes": ["1/", "2/", "3/", "4/", "5/", "6/", "7/", "8/", "9/"]})), "prefixes"),
        (entry(json!({"serviceAccountRef": {"name": "A"}})), "serviceAccountRef"),
        (
            json!({"access": [
                {"name": "a", "duty": "Auditor", "serviceAccountRef": {"name": "x"}},
                {"name": "b", "duty": "Producer", "serviceAccountRef": {"name": "x"}, "prefixes": ["in/"]},
            ]}),
            "one duty per ServiceAccount",
        ),
    ]
}

#[tokio::test]
async fn what_the_api_server_refuses_of_a_bucket() {
    let world = World::new("schema").await;
    for (spec, part) in bad_buckets() {
        let message = refusal(&world, "data", &spec).await;
        assert!(message.contains(part), "{spec}: {part:?} is not in {message}");
    }
    // Beside them: the same fields with values that can be.
    let good = json!({
        "bucketName": "t-abc", "region": "eu-west-1", "versioning": "Suspended", "deletionPolicy": "Retain",
        "encryption": {"rotationPeriodDays": 90, "bucketKey": "Disabled"}, "tags": {"a b": "ä 1_.:/=+@-"},
        "grants": {"approvals": 5, "maxDuration": "1h30m", "allowedNamespaces": ["a-b"]},
        "access": [
            {"name": "a", "duty": "Processor", "serviceAccountRef": {"name": "x.y"}, "prefixes": ["in/", "a/b!_.'()/=+@:,-/"]},
            {"name": "b", "duty": "Producer", "serviceAccountRef": {"name": "z"}, "prefixes": ["*"]},
            {"name": "c", "duty": "Auditor", "serviceAccountRef": {"name": "w"}},
        ],
    });
    world.apply_bucket("data", good).await;
    let long = "n".repeat(64);
    assert!(refusal(&world, &long, &json!({})).await.contains("at most 63 characters"));
}

/// What the API server says when it refuses this.
async fn refusal(world: &World, name: &str, spec: &Value) -> String {
    let object = crate::support::world::bucket_object(name, spec);
    let (params, patch) = (PatchParams::apply("integration-test"), Patch::Apply(&object));
    let answer = world.buckets().patch(name, &params, &patch).await;
    answer.err().unwrap_or_else(|| panic!("{spec} was taken")).to_string()
}

#[tokio::test]
async fn what_the_api_server_refuses_of_a_grant() {
    let world = World::new("gschema").await;
    let good = crate::support::world::grant_spec("data", "x", &["in/"], "1h");
    let with = |path: &str, value: Value| {
        let mut spec = good.clone();
        *spec.pointer_mut(path).unwrap() = value;
        spec
    };
    let cases = [
        (with("/duration", json!("0s")), "more than 0s"),
        (with("/duration", json!("8760h")), "at most 720h"),
        (with("/duration", json!("99999h")), "at most 720h"),
        (with("/duration", json!("soon")), "duration"),
        (with("/duration", json!("1d")), "duration"),
        (with("/duration", json!("-1h")), "duration"),
        (with("/duration", json!("")), "duration"),
        (with("/duration", json!("1.5h")), "duration"),
        (with("/prefixes", json!([])), "prefixes"),
        (with("/prefixes", json!(["in"])), "prefixes"),
        (with("/prefixes", json!(["in*/"])), "prefixes"),
        (with("/prefixes", json!(["${aws:PrincipalTag/x}/"])), "prefixes"),
        (with("/prefixes", json!(["/"])), "prefixes"),
        (with("/reason", json!("x")), "reason"),
        (with("/reason", json!("x".repeat(513))), "reason"),
        (with("/bucketRef/name", json!("A")), "bucketRef"),
        (with("/subject/serviceAccountRef/name", json!("")), "serviceAccountRef"),
        (with("/subject", json!({})), "serviceAccountRef"),
    ];
    for (spec, part) in cases {
        let refused = world.create_grant_in(&world.namespace, "g", spec.clone()).await;
        let message = refused.err().unwrap_or_else(|| panic!("{spec} was taken")).to_string();
        assert!(message.contains(part), "{spec}: {part:?} is not in {message}");
    }
    for (name, duration) in [("a", "1h30m"), ("b", "720h"), ("c", "90s")] {
        world.create_grant_in(&world.namespace, name, with("/duration", json!(duration))).await.unwrap();
    }
    world.create_grant_in(&world.namespace, "d", with("/prefixes", json!(["*"]))).await.unwrap();
}
