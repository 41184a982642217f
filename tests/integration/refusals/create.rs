//! Actions that a new bucket needs.

use serde_json::json;

use super::operator;
use crate::support::World;

/// A new bucket for each action: refused, allowed again, ready.
async fn each(name: &str, actions: &[&str]) {
    let world = World::new(name).await;
    let operator = operator(&world);
    for (index, action) in actions.iter().enumerate() {
        let bucket = format!("b{index}");
        world.refuse(action).await;
        world.apply_bucket(&bucket, json!({"tags": {"a": "b"}})).await;
        world.refused(&bucket, action).await;
        world.event(&bucket, "AccessDenied", action).await;
        world.allow().await;
        world.bucket_ready(&bucket).await;
    }
    assert_eq!(world.keys().await.len(), actions.len(), "one key each, in spite of everything");
    assert!(operator.journal().denied().len() >= actions.len());
}

#[tokio::test]
async fn writes_to_kms() {
    each("wkms", &["kms:CreateKey", "kms:TagResource", "kms:CreateAlias", "kms:EnableKeyRotation"]).await;
}

#[tokio::test]
async fn creation_of_the_bucket() {
    each("wmake", &["s3:CreateBucket", "s3:TagResource", "s3:PutBucketOwnershipControls"]).await;
}

#[tokio::test]
async fn writes_to_s3() {
    let actions = [
        "s3:PutEncryptionConfiguration",
        "s3:PutBucketPolicy",
        "s3:PutBucketVersioning",
        "s3:PutLifecycleConfiguration",
    ];
    each("ws3", &actions).await;
}

/// A new bucket blocks public access by itself, so that the refusal matters only where somebody has switched it off.
#[tokio::test]
async fn the_public_access_block() {
    let scene = super::scene("wpab").await;
    let world = &scene.world;
    world.refuse("s3:PutBucketPublicAccessBlock").await;
    world.root().s3.delete_public_access_block().bucket(&scene.ids.bucket).send().await.unwrap();
    world.refused("data", "s3:PutBucketPublicAccessBlock").await;
    world.allow().await;
    world.bucket_ready("data").await;
}

#[tokio::test]
async fn reads_of_kms() {
    each("rkms", &["kms:DescribeKey", "kms:GetKeyPolicy", "kms:GetKeyRotationStatus", "kms:ListResourceTags"]).await;
}

#[tokio::test]
async fn reads_of_s3() {
    let actions = [
        "s3:GetBucketTagging",
        "s3:GetBucketPublicAccessBlock",
        "s3:GetBucketOwnershipControls",
        "s3:GetEncryptionConfiguration",
        "s3:GetBucketVersioning",
        "s3:GetLifecycleConfiguration",
        "s3:GetBucketPolicy",
    ];
    each("rs3", &actions).await;
}

#[tokio::test]
async fn looking_for_the_bucket() {
    let world = World::new("head").await;
    let _operator = world.operator().drift_check(crate::scene::OFTEN).refusals_expected().start();
    // One that was released, and is there: of one that is not there S3 says so to everybody.
    world.apply_bucket("data", json!({})).await;
    world.bucket_ready("data").await;
    world.buckets().delete("data", &Default::default()).await.unwrap();
    world.gone(&world.buckets(), "data").await;
    world.refuse("s3:ListBucket").await;
    world.apply_bucket("data", json!({})).await;
    // S3 says the same of somebody else's bucket, so both are named.
    let bucket = world.bucket_reason("data", "BucketNameTaken").await;
    let message = &bucket.status.unwrap().conditions[0].message;
    for part in ["AWS refuses s3:ListBucket", "another account", "securebucket policy operator"] {
        assert!(message.contains(part), "{part:?} is not in {message}");
    }
    world.allow().await;
    let bucket = crate::support::facets::ids(&world.bucket_ready("data").await).bucket;
    // Of a bucket that is ours its settings say that it is there: it is looked after without that right.
    world.refuse("s3:ListBucket").await;
    world.root().s3.delete_public_access_block().bucket(&bucket).send().await.unwrap();
    world.event("data", "DriftRepaired", "public access block").await;
    world.bucket_ready("data").await;
}

#[tokio::test]
async fn looking_for_a_key_whose_creation_got_lost() {
    let world = World::new("lostkey").await;
    // An earlier operator announced a key, and died.
    for (bucket, action) in [("a", "kms:ListKeys"), ("b", "kms:ListAliases")] {
        world.apply_bucket(bucket, json!({})).await;
        let attempt = json!({"id": uuid::Uuid::new_v4().to_string(), "at": "2026-01-01T00:00:00Z"});
        let patch = json!({"status": {"keyAttempt": attempt}});
        let api = world.buckets();
        api.patch_status(bucket, &Default::default(), &kube::api::Patch::Merge(patch)).await.unwrap();
        world.refuse(action).await;
        let operator = operator(&world);
        world.refused(bucket, action).await;
        assert_eq!(operator.journal().count("CreateKey"), 0, "no second key while the first may be there");
        world.allow().await;
        world.bucket_ready(bucket).await;
        operator.stop().await;
    }
}
