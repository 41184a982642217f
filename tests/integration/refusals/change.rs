//! Actions that a change of the spec, a repair, or an obeyed request needs.

use aws_sdk_s3::types::{ObjectOwnership, OwnershipControls, OwnershipControlsRule};
use securebucket::api::SecureBucket;
use securebucket::api::condition::{is_true, types};
use serde_json::json;

use super::scene;
use crate::support::facets::ids;
use crate::support::wait::conditions;

#[tokio::test]
async fn tags() {
    let scene = scene("ctags").await;
    let world = &scene.world;
    let mut spec = crate::scene::spec();
    for (action, tags) in [
        ("s3:PutBucketTagging", json!({"team": "a", "more": "1"})),
        ("kms:TagResource", json!({"team": "b", "more": "1"})),
        ("kms:UntagResource", json!({"team": "b"})),
    ] {
        world.refuse(action).await;
        spec["tags"] = tags;
        world.apply_bucket("data", spec.clone()).await;
        world.refused("data", action).await;
        world.allow().await;
        world.bucket_ready("data").await;
    }
    let facets = world.facets(&scene.ids).await;
    for tags in ["bucket tags", "key tags"] {
        assert!(facets[tags].contains("team=b") && !facets[tags].contains("more"), "{}", facets[tags]);
    }
}

#[tokio::test]
async fn key_policy_and_alias() {
    let scene = scene("calias").await;
    let world = &scene.world;
    world.refuse("kms:PutKeyPolicy").await;
    let mut spec = crate::scene::spec();
    spec["access"].as_array_mut().unwrap().remove(1);
    world.apply_bucket("data", spec).await;
    world.refused("data", "kms:PutKeyPolicy").await;
    world.allow().await;
    world.bucket_ready("data").await;

    world.apply_bucket("more", json!({})).await;
    let other = ids(&world.bucket_ready("more").await).key;
    world.refuse("kms:UpdateAlias").await;
    let kms = world.root().kms;
    kms.update_alias().alias_name(&scene.ids.alias).target_key_id(other).send().await.unwrap();
    world.refused("data", "kms:UpdateAlias").await;
    world.allow().await;
    world.bucket_ready("data").await;
    assert_eq!(world.facets(&scene.ids).await["alias"], scene.ids.key);
}

#[tokio::test]
async fn ownership() {
    let scene = scene("cown").await;
    let world = &scene.world;
    world.refuse("s3:PutBucketOwnershipControls").await;
    let rule = OwnershipControlsRule::builder().object_ownership(ObjectOwnership::ObjectWriter).build().unwrap();
    let controls = OwnershipControls::builder().rules(rule).build().unwrap();
    let request = world.root().s3.put_bucket_ownership_controls().bucket(&scene.ids.bucket);
    request.ownership_controls(controls).send().await.unwrap();
    world.refused("data", "s3:PutBucketOwnershipControls").await;
    world.allow().await;
    scene.restored().await;
    world.bucket_ready("data").await;
}

#[tokio::test]
async fn enabling_the_key() {
    let scene = scene("cenable").await;
    let world = &scene.world;
    let kms = world.root().kms;
    kms.disable_key().key_id(&scene.ids.key).send().await.unwrap();
    world.bucket_reason("data", "KeyDisabled").await;
    world.refuse("kms:EnableKey").await;
    world.reconcile_at("data", "1").await;
    world.refused("data", "kms:EnableKey").await;
    world.allow().await;
    world.bucket_ready("data").await;

    kms.schedule_key_deletion().key_id(&scene.ids.key).pending_window_in_days(7).send().await.unwrap();
    world.bucket_reason("data", "KeyPendingDeletion").await;
    world.refuse("kms:CancelKeyDeletion").await;
    world.reconcile_at("data", "2").await;
    world.refused("data", "kms:CancelKeyDeletion").await;
    world.allow().await;
    world.bucket_ready("data").await;
    scene.restored().await;
}

#[tokio::test]
async fn disabling_the_key_for_a_lockdown() {
    let scene = scene("cdisable").await;
    let (world, bucket) = (&scene.world, &scene.ids.bucket);
    let etl = world.workload("etl").await;
    etl.put(bucket, "in/x", "content").await.allowed();
    world.refuse("kms:DisableKey").await;
    let mut spec = crate::scene::spec();
    spec["lockdown"] = json!({"reason": "leaked laptop", "level": "All"});
    world.apply_bucket("data", spec).await;
    world.refused("data", "kms:DisableKey").await;
    // What else there is to close is closed.
    etl.get(bucket, "in/x").await.denied();
    etl.put(bucket, "in/y", "1").await.denied();
    let state = |b: &SecureBucket| b.status.as_ref().unwrap().key_state.clone();
    assert_eq!(state(&world.buckets().get("data").await.unwrap()).as_deref(), Some("Enabled"));
    world.allow().await;
    let locked = |b: &SecureBucket| is_true(conditions(b), types::READY) && state(b).as_deref() == Some("Disabled");
    world.bucket_when("data", "locked down whole", locked).await;
}
