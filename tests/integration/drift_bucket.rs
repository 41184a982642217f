//! Somebody loosens the bucket by hand: each facet is reported by name and repaired.

use aws_sdk_s3::types::{
    BucketVersioningStatus, ExpirationStatus, LifecycleExpiration, LifecycleRule, LifecycleRuleFilter, ObjectOwnership,
    OwnershipControls, OwnershipControlsRule, ServerSideEncryption, ServerSideEncryptionByDefault,
    ServerSideEncryptionConfiguration, ServerSideEncryptionRule, Tag, Tagging, VersioningConfiguration,
};
use serde_json::json;

use crate::scene::Scene;
use crate::support::wait::conditions;

#[tokio::test]
async fn public_access_block_deleted() {
    let scene = Scene::watched("pab").await;
    scene.world.root().s3.delete_public_access_block().bucket(&scene.ids.bucket).send().await.unwrap();
    scene.repaired("public access block", "not all four switches").await;
}

#[tokio::test]
async fn ownership_given_back_to_writers() {
    let scene = Scene::watched("owner").await;
    let rule = OwnershipControlsRule::builder().object_ownership(ObjectOwnership::ObjectWriter).build().unwrap();
    let controls = OwnershipControls::builder().rules(rule).build().unwrap();
    let s3 = scene.world.root().s3;
    s3.put_bucket_ownership_controls().bucket(&scene.ids.bucket).ownership_controls(controls).send().await.unwrap();
    scene.repaired("object ownership", "ACLs").await;
}

#[tokio::test]
async fn encryption_moved_to_another_algorithm() {
    let scene = Scene::watched("sse").await;
    let by_default =
        ServerSideEncryptionByDefault::builder().sse_algorithm(ServerSideEncryption::Aes256).build().unwrap();
    let rule = ServerSideEncryptionRule::builder().apply_server_side_encryption_by_default(by_default).build();
    let configuration = ServerSideEncryptionConfiguration::builder().rules(rule).build().unwrap();
    let request = scene.world.root().s3.put_bucket_encryption().bucket(&scene.ids.bucket);
    request.server_side_encryption_configuration(configuration).send().await.unwrap();
    scene.repaired("encryption", "default encryption").await;
}

#[tokio::test]
async fn versioning_suspended() {
    let scene = Scene::watched("versions").await;
    let configuration = VersioningConfiguration::builder().status(BucketVersioningStatus::Suspended).build();
    let request = scene.world.root().s3.put_bucket_versioning().bucket(&scene.ids.bucket);
    request.versioning_configuration(configuration).send().await.unwrap();
    scene.repaired("versioning", "Suspended").await;
}

#[tokio::test]
async fn lifecycle_rule_that_expires_everything_added() {
    let scene = Scene::watched("rules").await;
    let rule = LifecycleRule::builder()
        .id("wipe")
        .status(ExpirationStatus::Enabled)
        .filter(LifecycleRuleFilter::builder().prefix("").build())
        .expiration(LifecycleExpiration::builder().days(1).build())
        .build()
        .unwrap();
    let s3 = scene.world.root().s3;
    let now = s3.get_bucket_lifecycle_configuration().bucket(&scene.ids.bucket).send().await.unwrap();
    let mut rules = now.rules.unwrap_or_default();
    rules.push(rule);
    let configuration =
        aws_sdk_s3::types::BucketLifecycleConfiguration::builder().set_rules(Some(rules)).build().unwrap();
    let request = s3.put_bucket_lifecycle_configuration().bucket(&scene.ids.bucket);
    request.lifecycle_configuration(configuration).send().await.unwrap();
    scene.repaired("lifecycle", "wipe").await;
}

#[tokio::test]
async fn lifecycle_deleted() {
    let scene = Scene::watched("norules").await;
    scene.world.root().s3.delete_bucket_lifecycle().bucket(&scene.ids.bucket).send().await.unwrap();
    scene.repaired("lifecycle", "rules are []").await;
}

#[tokio::test]
async fn bucket_policy_deleted() {
    let scene = Scene::watched("nopolicy").await;
    scene.world.root().s3.delete_bucket_policy().bucket(&scene.ids.bucket).send().await.unwrap();
    scene.repaired("bucket policy", "there is no bucket policy").await;
}

#[tokio::test]
async fn bucket_policy_with_a_foreign_allow() {
    let scene = Scene::watched("allow").await;
    let account = &scene.world.account;
    let allow = json!({
        "Sid": "Oops", "Effect": "Allow", "Principal": {"AWS": format!("arn:aws:iam::{account}:root")},
        "Action": "s3:GetObject", "Resource": scene.objects(),
    });
    scene.put_bucket_policy(&[allow], None).await;
    scene.repaired("bucket policy", "Oops").await;
}

#[tokio::test]
async fn bucket_policy_without_one_of_its_denies() {
    let scene = Scene::watched("deny").await;
    let admin = scene.world.iam_admin().await;
    scene.world.workload("ingest").await.put(&scene.ids.bucket, "in/x", "secret").await.allowed();
    let read = || async { admin.s3.get_object().bucket(&scene.ids.bucket).key("in/x").send().await.is_ok() };
    assert!(!read().await, "an IAM administrator cannot read");
    scene.put_bucket_policy(&[], Some("ObjectsOnlyForWorkloads")).await;
    scene.repaired("bucket policy", "ObjectsOnlyForWorkloads").await;
    assert!(!read().await, "nor afterwards");
}

#[tokio::test]
async fn a_tag_of_the_spec_changed_and_foreign_tags_stay() {
    let scene = Scene::watched("tags").await;
    let s3 = scene.world.root().s3;
    let mut tags = s3.get_bucket_tagging().bucket(&scene.ids.bucket).send().await.unwrap().tag_set;
    tags.retain(|t| t.key != "team");
    tags.push(Tag::builder().key("theirs").value("x").build().unwrap());
    let tagging = Tagging::builder().set_tag_set(Some(tags)).build().unwrap();
    s3.put_bucket_tagging().bucket(&scene.ids.bucket).tagging(tagging).send().await.unwrap();
    scene.world.event("data", "DriftRepaired", "bucket tags").await;
    let now = scene.world.facets(&scene.ids).await;
    let with_theirs = format!("{}\ntheirs=x", scene.before["bucket tags"]);
    assert_eq!(now["bucket tags"], with_theirs);
    scene.world.bucket_ready("data").await;
}

#[tokio::test]
async fn marks_stripped_from_the_bucket_are_reported_and_put_back_when_asked() {
    let scene = Scene::watched("unmarked").await;
    let s3 = scene.world.root().s3;
    s3.delete_bucket_tagging().bucket(&scene.ids.bucket).send().await.unwrap();
    scene.restricted("the owner marks are gone from the bucket").await;
    scene.obeyed().await;
    scene.restored().await;
}

#[tokio::test]
async fn a_mark_of_somebody_else_on_the_bucket_stops_everything() {
    let scene = Scene::watched("foreign").await;
    let s3 = scene.world.root().s3;
    let mut tags = s3.get_bucket_tagging().bucket(&scene.ids.bucket).send().await.unwrap().tag_set;
    tags.retain(|t| t.key != "securebucket.io/cluster");
    tags.push(Tag::builder().key("securebucket.io/cluster").value("other").build().unwrap());
    let tagging = Tagging::builder().set_tag_set(Some(tags)).build().unwrap();
    s3.put_bucket_tagging().bucket(&scene.ids.bucket).tagging(tagging).send().await.unwrap();
    let bucket = scene.world.bucket_reason("data", "BucketNameTaken").await;
    let message = &conditions(&bucket)[0].message;
    assert!(message.contains("another installation"), "{message}");
    // Nothing of it is touched, not even what was loosened meanwhile.
    s3.delete_public_access_block().bucket(&scene.ids.bucket).send().await.unwrap();
    let held = scene.world.facets(&scene.ids).await;
    scene.several_checks().await;
    assert_eq!(scene.world.facets(&scene.ids).await, held);
}

#[tokio::test]
async fn bucket_deleted_is_not_made_again_unasked() {
    let scene = Scene::watched("gone").await;
    scene.world.root().s3.delete_bucket().bucket(&scene.ids.bucket).send().await.unwrap();
    let bucket = scene.world.bucket_reason("data", "BucketGone").await;
    let message = &conditions(&bucket)[0].message;
    assert!(message.contains(&scene.ids.bucket) && message.contains("reconcile-at"), "{message}");
    assert!(conditions(&bucket).iter().any(|c| c.type_ == "Stalled"));
    assert_eq!(scene.operator.journal().count("CreateBucket"), 1);
    scene.obeyed().await;
    scene.restored().await;
    assert_eq!(scene.operator.journal().count("CreateKey"), 1, "with the key that it had");
}
