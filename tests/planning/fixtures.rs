//! The setting: one installation, one SecureBucket, and what is in AWS when all is as declared.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp as K8sTimestamp;
use securebucket::api::secure_bucket::{AccessEntry, Duty, SecureBucket, SecureBucketSpec, SecureBucketStatus};
use securebucket::api::types::{PrefixText, ServiceAccountRef};
use securebucket::aws::calls::Call;
use securebucket::aws::error::{AwsError, AwsErrorKind, Seen};
use securebucket::bucket::desired::{Desired, desired};
use securebucket::bucket::observed::{
    Encryption, KeyState, Observed, ObservedBucket, ObservedKey, PublicAccessBlock, abort_rule,
};
use securebucket::bucket::plan::Situation;
use securebucket::bucket::policies::key_policy;
use securebucket::domain::arn::Place;
use securebucket::domain::installation::{Installation, Timing};
use securebucket::domain::policy::Document;

pub const ACCOUNT: &str = "111122223333";
pub const NAMESPACE: &str = "team-a";
pub const NAMESPACE_UID: &str = "ns-uid-1";
pub const BUCKET_UID: &str = "bucket-uid-1";

pub fn install() -> Installation {
    let place = Place { partition: "aws".into(), account: ACCOUNT.into(), region: "eu-west-1".into() };
    Installation {
        cluster: "c1".into(),
        regions: vec!["eu-central-1".into()],
        bucket_prefix: "c1".into(),
        operator_role: place.role("/", "securebucket-operator"),
        break_glass_role: Some(place.role("/", "BreakGlass")),
        oidc_issuer: "https://oidc.eks.eu-west-1.amazonaws.com/id/EXAMPLE".into(),
        boundary: place.policy("securebucket-c1-boundary"),
        pin_federation: false,
        fixed_session_roles: Vec::new(),
        timing: Timing::default(),
        place,
    }
}

/// The SecureBucket `team-a/calls`, generation 1, without status.
pub fn secure_bucket(spec: SecureBucketSpec) -> SecureBucket {
    let mut object = SecureBucket::new("calls", spec);
    object.metadata.namespace = Some(NAMESPACE.into());
    object.metadata.uid = Some(BUCKET_UID.into());
    object.metadata.generation = Some(1);
    object
}

pub fn deleted_at() -> Time {
    Time(K8sTimestamp::from_second(1_795_500_000).unwrap())
}

pub fn entry(account: &str, duty: Duty) -> AccessEntry {
    let prefixes = if duty == Duty::Auditor { vec![] } else { vec![PrefixText(format!("{account}/"))] };
    AccessEntry {
        name: format!("{account}-duty"),
        duty,
        service_account_ref: ServiceAccountRef { name: account.into() },
        prefixes,
    }
}

pub fn desired_of(object: &SecureBucket) -> Desired {
    desired(object, NAMESPACE_UID, &install()).unwrap()
}

/// ARN of the `n`th key that the account makes.
pub fn key_arn(n: usize) -> String {
    install().place.key(&format!("key-{n}"))
}

/// A key of the account that belongs to somebody else.
pub fn strangers_key() -> String {
    install().place.key("strangers")
}

pub fn declared_key_policy(desired: &Desired) -> Document {
    let names = &desired.names;
    Document::new(key_policy(&install(), &names.place, &names.bucket_arn(), &desired.duties)).certified()
}

pub fn declared_bucket_policy(desired: &Desired, key: &str) -> Document {
    Document::new(desired.bucket_policy(&install(), key)).certified()
}

/// The key as declared.
pub fn declared_key(desired: &Desired, arn: &str) -> ObservedKey {
    ObservedKey {
        arn: arn.into(),
        state: KeyState::Enabled,
        alias_target: Seen::Value(arn.into()),
        policy: Seen::Value(declared_key_policy(desired)),
        rotation_days: Seen::Value(Some(desired.rotation_days)),
        tags: Seen::Value(desired.tags.clone()),
        grants: Seen::Value(Vec::new()),
    }
}

/// The bucket as declared, under that key.
pub fn declared_bucket(desired: &Desired, key: &str) -> ObservedBucket {
    ObservedBucket {
        region: desired.names.place.region.clone(),
        tags: Seen::Value(desired.tags.clone()),
        public_access_block: Seen::Value(PublicAccessBlock::ALL),
        ownership: Seen::Value("BucketOwnerEnforced".into()),
        encryption: Seen::Value(declared_encryption(desired, key)),
        versioning: Seen::Value(desired.versioning.into()),
        lifecycle: Seen::Value(vec![abort_rule()]),
        policy: Seen::Value(declared_bucket_policy(desired, key)),
    }
}

pub fn declared_encryption(desired: &Desired, key: &str) -> Encryption {
    Encryption {
        algorithm: "aws:kms".into(),
        key: Some(key.into()),
        bucket_key: desired.bucket_key,
        sse_c_blocked: true,
    }
}

/// Everything as declared.
pub fn declared(desired: &Desired) -> Observed {
    let arn = key_arn(0);
    Observed { key: Seen::Value(declared_key(desired, &arn)), bucket: Seen::Value(declared_bucket(desired, &arn)) }
}

/// A bucket that was read back complete.
pub fn settled() -> Situation {
    Situation { key_arn: Some(key_arn(0)), bound: true, provisioned: true, ..Situation::default() }
}

/// Status of a bucket that was read back complete.
pub fn settled_status(desired: &Desired) -> SecureBucketStatus {
    SecureBucketStatus {
        observed_generation: Some(1),
        identity: Some(desired.names.identity.clone()),
        account_id: Some(ACCOUNT.into()),
        region: Some(desired.names.place.region.clone()),
        bucket_name: Some(desired.names.bucket.clone()),
        bucket_arn: Some(desired.names.bucket_arn()),
        provisioned_at: Some("2026-11-24T00:00:00Z".into()),
        key_arn: Some(key_arn(0)),
        managed_tags: desired.user_tags.clone(),
        ..SecureBucketStatus::default()
    }
}

pub fn failure(call: Call, kind: AwsErrorKind) -> AwsError {
    AwsError { call, kind, code: None, status: 400, message: String::new(), resource: "it".into() }
}

/// A facet that could not be read.
pub fn unreadable<T>() -> Seen<T> {
    Seen::Unreadable(failure(Call::GetBucketPolicy, AwsErrorKind::AccessDenied))
}
