//! Somebody loosens or moves the key by hand.

use serde_json::json;

use crate::scene::{OFTEN, Scene, spec};
use crate::support::facets::ids;
use crate::support::wait::conditions;
use crate::support::{Access, World};

#[tokio::test]
async fn key_policy_with_a_foreign_allow() {
    let scene = Scene::watched("kallow").await;
    let account = &scene.world.account;
    let allow = json!({
        "Sid": "Oops", "Effect": "Allow", "Principal": {"AWS": format!("arn:aws:iam::{account}:root")},
        "Action": "kms:Decrypt", "Resource": "*",
    });
    scene.put_key_policy(&[allow], None).await;
    scene.repaired("key policy", "Oops").await;
}

#[tokio::test]
async fn key_policy_without_one_of_its_denies() {
    let scene = Scene::watched("kdeny").await;
    scene.put_key_policy(&[], Some("CryptoOnlyThroughS3")).await;
    scene.repaired("key policy", "CryptoOnlyThroughS3").await;
}

#[tokio::test]
async fn rotation_turned_off() {
    let scene = Scene::watched("rotation").await;
    let account = &scene.world.account;
    // Nobody may turn it off under our key policy: whoever does has changed that first.
    let kms = scene.world.root().kms;
    let off = kms.disable_key_rotation().key_id(&scene.ids.key).send().await;
    assert!(Access::of(off.map(drop)).is_denied());
    let allow = json!({
        "Sid": "Oops", "Effect": "Allow", "Principal": {"AWS": format!("arn:aws:iam::{account}:root")},
        "Action": "kms:DisableKeyRotation", "Resource": "*",
    });
    let allow = [allow];
    // The operator may be faster, between the two.
    let off = || async {
        scene.put_key_policy(&allow, None).await;
        kms.disable_key_rotation().key_id(&scene.ids.key).send().await.ok()
    };
    scene.world.until("rotation is turned off by hand", off).await;
    scene.repaired("key rotation", "off").await;
}

#[tokio::test]
async fn a_tag_of_the_spec_removed_from_the_key() {
    let scene = Scene::watched("ktags").await;
    let kms = scene.world.root().kms;
    kms.untag_resource().key_id(&scene.ids.key).tag_keys("team").send().await.unwrap();
    scene.repaired("key tags", "tags differ").await;
}

#[tokio::test]
async fn alias_deleted() {
    let scene = Scene::watched("alias").await;
    scene.world.root().kms.delete_alias().alias_name(&scene.ids.alias).send().await.unwrap();
    scene.repaired("key", "the alias is missing").await;
}

#[tokio::test]
async fn alias_pointed_to_another_key_of_ours() {
    let scene = Scene::watched("point").await;
    scene.world.apply_bucket("more", json!({})).await;
    let other = ids(&scene.world.bucket_ready("more").await).key;
    let kms = scene.world.root().kms;
    kms.update_alias().alias_name(&scene.ids.alias).target_key_id(&other).send().await.unwrap();
    scene.repaired("key", &other).await;
}

#[tokio::test]
async fn alias_pointed_to_a_foreign_key_is_for_somebody_who_may_use_both() {
    // KMS asks for kms:UpdateAlias on the key that the alias leaves, too, and the operator may touch no key without our mark.
    let scene = Scene::with("afar", |o| o.drift_check(OFTEN).refusals_expected()).await;
    let kms = scene.world.root().kms;
    let other = kms.create_key().send().await.unwrap().key_metadata.unwrap().arn.unwrap();
    kms.update_alias().alias_name(&scene.ids.alias).target_key_id(&other).send().await.unwrap();
    scene.world.event("data", "DriftDetected", &other).await;
    let bucket = scene.world.bucket_reason("data", "AccessDenied").await;
    let message = &conditions(&bucket)[0].message;
    assert!(message.contains("kms:UpdateAlias") && message.contains(&scene.ids.alias), "{message}");
    // Whoever may do so takes the alias away, and all is well again.
    kms.delete_alias().alias_name(&scene.ids.alias).send().await.unwrap();
    scene.restored().await;
    scene.world.bucket_ready("data").await;
}

#[tokio::test]
async fn marks_stripped_from_the_key_are_reported_and_put_back_when_asked() {
    // Without its mark the key is out of reach of the operator's own policy, so refusals are part of this.
    let scene = Scene::with("kmarks", |o| o.drift_check(OFTEN).refusals_expected()).await;
    let kms = scene.world.root().kms;
    let marks: Vec<String> =
        ["cluster", "identity", "uid", "namespace", "name"].iter().map(|n| format!("securebucket.io/{n}")).collect();
    kms.untag_resource().key_id(&scene.ids.key).set_tag_keys(Some(marks)).send().await.unwrap();
    scene.world.event("data", "Restricted", "the owner marks are gone from the key").await;
    let held = scene.world.facets(&scene.ids).await;
    scene.several_checks().await;
    assert_eq!(scene.world.facets(&scene.ids).await, held);
    scene.world.reconcile_at("data", "now").await;
    scene.restored().await;
    scene.world.bucket_ready("data").await;
}

#[tokio::test]
async fn a_key_that_is_gone_is_not_replaced() {
    let scene = Scene::watched("nokey").await;
    let kms = scene.world.root().kms;
    let before = scene.world.keys().await;
    // KMS deletes after 7 days at least; a bucket whose status names a key that never was is the same to the operator.
    kms.delete_alias().alias_name(&scene.ids.alias).send().await.unwrap();
    let gone = format!("{}0000", &scene.ids.key[..scene.ids.key.len() - 4]);
    let patch = json!({"status": {"keyArn": gone}});
    let api = scene.world.buckets();
    api.patch_status("data", &Default::default(), &kube::api::Patch::Merge(patch)).await.unwrap();
    let bucket = scene.world.bucket_reason("data", "KeyGone").await;
    assert!(bucket.status.unwrap().conditions[0].message.contains(&gone));
    assert_eq!(scene.world.keys().await, before, "no second key");
}

#[tokio::test]
async fn an_alias_lost_while_the_operator_was_down_is_made_again() {
    let world = World::new("lost").await;
    let operator = world.operator().start();
    for account in ["ingest", "etl"] {
        world.service_account(account).await;
    }
    world.apply_bucket("data", spec()).await;
    let ids = ids(&world.bucket_ready("data").await);
    operator.stop().await;
    world.root().kms.delete_alias().alias_name(&ids.alias).send().await.unwrap();
    let operator = world.operator().start();
    world.event("data", "DriftRepaired", "the alias is missing").await;
    world.bucket_ready("data").await;
    assert_eq!(operator.journal().count("CreateKey"), 0);
}
