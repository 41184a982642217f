//! Creation: what an empty spec gives, and that each field has its image in AWS.

use std::collections::BTreeSet;

use aws_sdk_s3::types::{Tag, Tagging};
use securebucket::api::condition::{is_true, types};
use securebucket::bucket::policies::{DutyRoles, bucket_policy, key_policy};
use securebucket::domain::policy::Document;
use serde_json::{Value, json};

use crate::support::account::OTHER_REGION;
use crate::support::facets::{Ids, ids, sids};
use crate::support::wait::conditions;
use crate::support::{REGION, World};

fn same_document(text: &str, statements: Vec<securebucket::domain::policy::Statement>) {
    let seen = Document::parse(text).unwrap_or_else(|e| panic!("{e}: {text}"));
    let wanted = Document::new(statements);
    assert!(seen.same_as(&wanted), "AWS holds\n{text}\nand not\n{}", wanted.render());
}

fn policies(world: &World, ids: &Ids, duties: &DutyRoles) -> (Document, Document) {
    let arn = format!("arn:aws:s3:::{}", ids.bucket);
    let place = world.install.place_in(&ids.region);
    (
        Document::new(bucket_policy(&world.install, &arn, &ids.key, duties)),
        Document::new(key_policy(&world.install, &place, &arn, duties)),
    )
}

#[tokio::test]
async fn an_empty_spec_gives_a_complete_hardened_bucket() {
    let world = World::new("empty").await;
    let operator = world.operator().start();
    world.apply_bucket("data", json!({})).await;
    let bucket = world.bucket_ready("data").await;
    let ids = ids(&bucket);
    let facets = world.facets(&ids).await;

    assert!(ids.bucket.starts_with(&format!("t-{}-data-", world.namespace)), "{ids:?}");
    assert_eq!(facets["bucket"], REGION);
    assert_eq!(facets["public access block"], "[true, true, true, true]");
    assert_eq!(facets["object ownership"], "BucketOwnerEnforced");
    assert_eq!(facets["encryption"], format!("aws:kms {} bucket key true blocked [\"SSE-C\"]", ids.key));
    assert_eq!(facets["versioning"], "Enabled");
    assert!(facets["lifecycle"].contains("days_after_initiation: Some(7)"), "{}", facets["lifecycle"]);
    assert_eq!(facets["key"], "Enabled");
    assert_eq!(facets["key rotation"], "365");
    assert_eq!(facets["alias"], ids.key);
    let uid = bucket.metadata.uid.clone().unwrap();
    for tags in ["bucket tags", "key tags"] {
        let seen: BTreeSet<&str> = facets[tags].lines().collect();
        for (name, value) in [
            ("cluster", "t"),
            ("identity", &ids.identity),
            ("uid", &uid),
            ("namespace", &world.namespace),
            ("name", "data"),
        ] {
            assert!(seen.contains(format!("securebucket.io/{name}={value}").as_str()), "{tags}: {seen:?}");
        }
    }
    let (bucket_policy, key_policy) = policies(&world, &ids, &DutyRoles::default());
    same_document(&facets["bucket policy"], bucket_policy.statements);
    same_document(&facets["key policy"], key_policy.statements);
    assert_eq!(world.keys().await, std::slice::from_ref(&ids.key), "one key and no other");
    assert_eq!(operator.journal().count("CreateKey"), 1);
}

#[tokio::test]
async fn nobody_reads_or_writes_a_bucket_without_duties() {
    let world = World::new("nobody").await;
    let _operator = world.operator().start();
    world.apply_bucket("data", json!({})).await;
    let ids = ids(&world.bucket_ready("data").await);
    let admin = world.iam_admin().await;
    for (who, s3) in [("an IAM administrator", admin.s3.clone()), ("root", world.root().s3)] {
        let put = s3.put_object().bucket(&ids.bucket).key("x").send().await;
        assert!(put.is_err(), "{who} wrote");
        let get = s3.get_object().bucket(&ids.bucket).key("x").send().await.unwrap_err();
        assert!(format!("{get:?}").contains("AccessDenied"), "{who}: {get:?}");
    }
    let policy = admin.s3.put_bucket_policy().bucket(&ids.bucket).policy("{}").send().await.unwrap_err();
    assert!(format!("{policy:?}").contains("AccessDenied"), "{policy:?}");
    // Beside it: the same administrator may do all of that to a bucket of their own.
    let own = format!("own-{}", ids.bucket);
    let own = &own[..own.len().min(60)];
    let location = aws_sdk_s3::types::CreateBucketConfiguration::builder().location_constraint(REGION.into()).build();
    admin.s3.create_bucket().bucket(own).create_bucket_configuration(location).send().await.unwrap();
    admin.s3.put_object().bucket(own).key("x").send().await.unwrap();
    admin.s3.get_object().bucket(own).key("x").send().await.unwrap();
}

#[tokio::test]
async fn each_field_has_its_image_in_aws_and_follows_the_spec() {
    let world = World::new("fields").await;
    let _operator = world.operator().start();
    let name = format!("t-{}-own-name", world.namespace);
    let spec = |tags: Value, days: i32, versioning: &str, bucket_key: &str| {
        json!({
            "bucketName": name, "region": OTHER_REGION, "versioning": versioning, "tags": tags,
            "encryption": {"bucketKey": bucket_key, "rotationPeriodDays": days},
        })
    };
    world.apply_bucket("data", spec(json!({"team": "voice", "cost": "1"}), 90, "Suspended", "Disabled")).await;
    let ids = ids(&world.bucket_ready("data").await);
    assert_eq!((ids.bucket.as_str(), ids.region.as_str()), (name.as_str(), OTHER_REGION));
    assert!(ids.key.contains(OTHER_REGION), "{}", ids.key);
    let facets = world.facets(&ids).await;
    assert_eq!(facets["bucket"], OTHER_REGION);
    assert_eq!(facets["versioning"], "never", "a bucket that was never versioned needs no suspension");
    assert_eq!(facets["key rotation"], "90");
    assert!(facets["encryption"].contains("bucket key false"), "{}", facets["encryption"]);
    for tags in ["bucket tags", "key tags"] {
        assert!(facets[tags].contains("team=voice") && facets[tags].contains("cost=1"), "{}", facets[tags]);
    }

    // Somebody's own tag stays; a tag that leaves the spec goes.
    let s3 = world.root_in(OTHER_REGION).s3;
    let mut set = s3.get_bucket_tagging().bucket(&ids.bucket).send().await.unwrap().tag_set;
    set.push(Tag::builder().key("theirs").value("x").build().unwrap());
    let tagging = Tagging::builder().set_tag_set(Some(set)).build().unwrap();
    s3.put_bucket_tagging().bucket(&ids.bucket).tagging(tagging).send().await.unwrap();
    world.apply_bucket("data", spec(json!({"team": "data"}), 365, "Enabled", "Enabled")).await;
    world.bucket_ready("data").await;
    let facets = world.facets(&ids).await;
    assert_eq!(facets["versioning"], "Enabled");
    assert_eq!(facets["key rotation"], "365");
    assert!(facets["encryption"].contains("bucket key true"), "{}", facets["encryption"]);
    for tags in ["bucket tags", "key tags"] {
        assert!(facets[tags].contains("team=data") && !facets[tags].contains("cost"), "{}", facets[tags]);
    }
    assert!(facets["bucket tags"].contains("theirs=x"), "{}", facets["bucket tags"]);
    assert!(
        world.events("data").await.iter().all(|e| e.reason.as_deref() != Some("DriftDetected")),
        "a new spec is no drift"
    );
}

#[tokio::test]
async fn duties_stand_in_both_policies_and_in_one_role_each() {
    let world = World::new("access").await;
    let _operator = world.operator().start();
    for account in ["ingest", "etl", "audit"] {
        world.service_account(account).await;
    }
    let access = json!([
        {"name": "w", "duty": "Producer", "serviceAccountRef": {"name": "ingest"}, "prefixes": ["in/"]},
        {"name": "p", "duty": "Processor", "serviceAccountRef": {"name": "etl"}, "prefixes": ["in/", "out/"]},
        {"name": "a", "duty": "Auditor", "serviceAccountRef": {"name": "audit"}},
    ]);
    world.apply_bucket("data", json!({"access": access})).await;
    let bucket = world.bucket_ready("data").await;
    let ids = ids(&bucket);
    let duties = DutyRoles { producers: vec![world.role_arn("ingest")], processors: vec![world.role_arn("etl")] };
    let facets = world.facets(&ids).await;
    let (bucket_policy, key_policy) = policies(&world, &ids, &duties);
    same_document(&facets["bucket policy"], bucket_policy.statements);
    same_document(&facets["key policy"], key_policy.statements);
    for account in ["ingest", "etl", "audit"] {
        let role = world.role_name(account);
        let policies = world.role_policies(&role).await.unwrap();
        assert_eq!(policies.len(), 1, "one inline policy and no other: {policies:?}");
        let found = world.root().iam.get_role().role_name(&role).send().await.unwrap().role.unwrap();
        assert_eq!(found.path, "/securebucket/t/");
        assert_eq!(found.permissions_boundary.unwrap().permissions_boundary_arn.unwrap(), world.install.boundary);
    }
    // What leaves the spec leaves AWS: the role too, when nothing else needs it.
    world.apply_bucket("data", json!({})).await;
    world.bucket_ready("data").await;
    for account in ["ingest", "etl", "audit"] {
        let role = world.role_name(account);
        world.until("role gone", || async { world.role_policies(&role).await.is_none().then_some(()) }).await;
    }
    let facets = world.facets(&ids).await;
    assert!(!sids(&facets["bucket policy"]).contains(&"ProducersNeverRead".to_owned()));
    assert!(!sids(&facets["key policy"]).contains(&"StandingDuties".to_owned()));
    let bucket = world.buckets().get("data").await.unwrap();
    assert!(is_true(conditions(&bucket), types::ROLES));
}
