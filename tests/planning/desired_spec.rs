//! From specs to what should be: defaults, values, and refusals that name the field and the way out.

use securebucket::api::grants::GrantsSpec;
use securebucket::api::secure_bucket::{
    BoundedText, Duty, EncryptionSpec, SecureBucket, SecureBucketSpec, VersioningState,
};
use securebucket::api::types::{DurationText, PrefixText, Toggle};
use securebucket::bucket::desired::{Desired, Invalid, desired, max_duration};
use securebucket::domain::tags;

use crate::fixtures::{ACCOUNT, NAMESPACE_UID, deleted_at, desired_of, entry, install, secure_bucket, settled_status};

fn refused(object: &SecureBucket) -> Invalid {
    desired(object, NAMESPACE_UID, &install()).unwrap_err()
}

fn of(spec: SecureBucketSpec) -> Desired {
    desired_of(&secure_bucket(spec))
}

#[test]
fn an_empty_spec_is_complete() {
    let desired = of(SecureBucketSpec::default());
    assert_eq!(desired.names.bucket, format!("c1-team-a-calls-{}", &desired.names.identity[..8]));
    assert_eq!(desired.names.place, install().place);
    assert_eq!((desired.bucket_key, desired.rotation_days, desired.versioning), (true, 365, "Enabled"));
    assert_eq!(desired.lifecycle.len(), 1);
    assert!(desired.duties.producers.is_empty() && desired.duties.processors.is_empty());
    assert_eq!((desired.effective.max_duration.as_str(), desired.effective.approvals), ("8h", 1));
    assert_eq!(desired.effective.grant_namespaces, ["team-a"]);
    let marks = [tags::CLUSTER, tags::IDENTITY, tags::UID, tags::NAMESPACE, tags::NAME];
    assert_eq!(desired.tags.keys().map(String::as_str).collect::<std::collections::BTreeSet<_>>(), marks.into());
}

#[test]
fn what_the_spec_says_wins_over_defaults() {
    let desired = of(SecureBucketSpec {
        bucket_name: Some("c1-mine".into()),
        region: Some("eu-central-1".into()),
        encryption: Some(EncryptionSpec { bucket_key: Some(Toggle::Disabled), rotation_period_days: Some(90) }),
        versioning: Some(VersioningState::Suspended),
        tags: [("team".to_owned(), BoundedText("a".into()))].into(),
        access: vec![entry("etl", Duty::Processor), entry("in", Duty::Producer), entry("look", Duty::Auditor)],
        ..SecureBucketSpec::default()
    });
    assert_eq!((desired.names.bucket.as_str(), desired.names.place.region.as_str()), ("c1-mine", "eu-central-1"));
    assert_eq!((desired.bucket_key, desired.rotation_days, desired.versioning), (false, 90, "Suspended"));
    assert_eq!(desired.tags["team"], "a");
    assert_eq!(desired.user_tags, ["team"]);
    // An Auditor stands in neither policy.
    assert_eq!((desired.duties.processors.len(), desired.duties.producers.len()), (1, 1));
}

#[test]
fn a_user_tag_cannot_pose_as_a_mark() {
    let posing = [(tags::UID.to_owned(), BoundedText("mine".into()))].into();
    assert_eq!(of(SecureBucketSpec { tags: posing, ..SecureBucketSpec::default() }).tags[tags::UID], "bucket-uid-1");
}

#[test]
fn while_it_is_being_deleted_nobody_holds_a_duty() {
    let mut object = secure_bucket(SecureBucketSpec {
        // Not even a spec that is wrong by now keeps it from letting go.
        access: vec![entry("etl", Duty::Processor), entry("etl", Duty::Producer)],
        ..SecureBucketSpec::default()
    });
    assert!(refused(&object).field.starts_with("spec.access[1]"));
    object.metadata.deletion_timestamp = Some(deleted_at());
    assert_eq!(desired_of(&object).duties, Default::default());
}

/// A spec that cannot be carried out, the field, and words of the way out.
type Refusal = (&'static str, fn(&mut SecureBucketSpec), &'static str, &'static str);

#[test]
fn refusals_name_the_field_and_the_way_out() {
    let rows: &[Refusal] = &[
        ("region", |s| s.region = Some("us-east-1".into()), "spec.region", "--regions"),
        // The operator's IAM policy reaches no bucket without the prefix.
        ("bucket name", |s| s.bucket_name = Some("mine".into()), "spec.bucketName", "add it, or leave bucketName out"),
        ("bucket name, prefix without dash", |s| s.bucket_name = Some("c1x".into()), "spec.bucketName", "c1-"),
        (
            "two duties of one account",
            |s| s.access = vec![entry("etl", Duty::Producer), entry("etl", Duty::Auditor)],
            "spec.access[1] (etl-duty).serviceAccountRef.name",
            "one duty per ServiceAccount",
        ),
        (
            "a Producer without prefixes",
            |s| {
                s.access = vec![entry("etl", Duty::Producer)];
                s.access[0].prefixes.clear();
            },
            "spec.access[0] (etl-duty).prefixes",
            "'*' alone for the whole bucket",
        ),
        (
            "a wildcard in a prefix",
            |s| {
                s.access = vec![entry("etl", Duty::Processor)];
                s.access[0].prefixes = vec![PrefixText("in*/".into())];
            },
            "spec.access[0] (etl-duty).prefixes",
            "wildcard",
        ),
        (
            "a policy variable in a prefix",
            |s| {
                s.access = vec![entry("etl", Duty::Processor)];
                s.access[0].prefixes = vec![PrefixText("${aws:username}/".into())];
            },
            "spec.access[0] (etl-duty).prefixes",
            "variable",
        ),
        (
            "no duration",
            |s| {
                let max_duration = Some(DurationText("forever".into()));
                s.grants = Some(GrantsSpec { max_duration, ..GrantsSpec::default() });
            },
            "spec.grants.maxDuration",
            "8h",
        ),
    ];
    for (name, change, field, way_out) in rows {
        let mut spec = SecureBucketSpec::default();
        change(&mut spec);
        let invalid = refused(&secure_bucket(spec));
        assert_eq!(invalid.field, *field, "{name}");
        assert!(invalid.to_string().contains(way_out), "{name}: {invalid}");
    }
}

#[test]
fn the_ceiling_of_the_installation_caps_what_the_owner_allows() {
    for (asked, seconds) in [(None, 8 * 3_600), (Some("1h"), 3_600), (Some("500h"), 72 * 3_600)] {
        let grants = GrantsSpec { max_duration: asked.map(|a| DurationText(a.into())), ..GrantsSpec::default() };
        let object = secure_bucket(SecureBucketSpec { grants: Some(grants), ..SecureBucketSpec::default() });
        assert_eq!(max_duration(&object, &install()).unwrap().as_secs(), seconds, "{asked:?}");
    }
}

/// Region, account, name and identity are written once: neither the spec nor a namespace made anew moves what exists.
#[test]
fn what_status_has_bound_wins() {
    let mut object = secure_bucket(SecureBucketSpec::default());
    let first = desired_of(&object);
    object.status = Some(settled_status(&first));
    object.spec.bucket_name = Some("c1-other".into());
    object.spec.region = Some("eu-central-1".into());
    let again = desired(&object, "ns-uid-2", &install()).unwrap();
    assert_eq!(again.names, first.names);
    // Before the bucket is bound the spec may still choose.
    object.status.as_mut().unwrap().bucket_arn = None;
    let moved = desired(&object, NAMESPACE_UID, &install()).unwrap();
    assert_eq!((moved.names.bucket.as_str(), moved.names.place.region.as_str()), ("c1-other", "eu-central-1"));
}

/// The operator runs in another account than the one that the bucket was made in: it has no business there.
#[test]
fn a_bucket_of_another_account_is_refused() {
    let mut object = secure_bucket(SecureBucketSpec::default());
    let mut status = settled_status(&desired_of(&object));
    status.account_id = Some("999988887777".into());
    object.status = Some(status);
    let invalid = refused(&object);
    assert_eq!(invalid.field, "status.accountId");
    assert!(invalid.problem.contains(ACCOUNT) && invalid.problem.contains("999988887777"), "{invalid}");
}
