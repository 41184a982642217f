//! A SecureBucket of another namespace that lets `team-a` ask, and DecryptGrants on it.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use securebucket::api::GRANT_FINALIZER;
use securebucket::api::condition::{Set, types, update};
use securebucket::api::decrypt_grant::{BucketRef, DecryptGrant, DecryptGrantSpec, ResolvedTerms, Subject};
use securebucket::api::grants::{GrantsSpec, NamespaceName};
use securebucket::api::secure_bucket::{SecureBucket, SecureBucketSpec};
use securebucket::api::types::{DurationText, InstantText, PrefixText, ServiceAccountRef};
use securebucket::bucket::desired::{desired, max_duration};
use securebucket::domain::time::{after, format_instant};
use securebucket::grant::terms::{check, resolve};
use securebucket::role::desired::bucket_ref;

use crate::fixtures::{NAMESPACE, install, settled_status};
use crate::generate::NOON;

pub const SA_UID: &str = "sa-uid-1";

pub fn seconds(n: i64) -> Timestamp {
    after(Timestamp::from_second(NOON).unwrap(), SignedDuration::from_secs(n))
}

/// Conditions as written at noon.
pub fn conditions(sets: &[Set]) -> Vec<Condition> {
    update(&[], sets, 1, seconds(0))
}

/// `data/calls`: complete; grants within its terms need so many approvals.
pub fn bucket(approvals: i32) -> SecureBucket {
    let grants = GrantsSpec {
        allowed_namespaces: vec![NamespaceName(NAMESPACE.into())],
        approvals: Some(approvals),
        max_duration: Some(DurationText("12h".into())),
        ..GrantsSpec::default()
    };
    let mut object =
        SecureBucket::new("calls", SecureBucketSpec { grants: Some(grants), ..SecureBucketSpec::default() });
    object.metadata.namespace = Some("data".into());
    object.metadata.uid = Some("bucket-uid-1".into());
    object.metadata.generation = Some(1);
    let desired = desired(&object, "ns-uid-data", &install()).unwrap();
    let mut status = settled_status(&desired);
    status.conditions = conditions(&[
        Set::yes(types::READY, "Reconciled", ""),
        Set::yes(types::KEY, "Configured", ""),
        Set::yes(types::POLICY, "Configured", ""),
    ]);
    object.status = Some(status);
    object
}

/// A grant of `team-a` for its ServiceAccount `etl`, as its user created it.
pub fn request(name: &str, prefixes: &[&str], duration: &str) -> DecryptGrant {
    let mut grant = DecryptGrant::new(
        name,
        DecryptGrantSpec {
            bucket_ref: BucketRef { name: "calls".into(), namespace: Some("data".into()) },
            subject: Subject { service_account_ref: ServiceAccountRef { name: "etl".into() } },
            prefixes: prefixes.iter().map(|p| PrefixText((*p).into())).collect(),
            duration: DurationText(duration.into()),
            not_before: None,
            reason: "case 42".into(),
            ticket: None,
            extends: None,
            break_glass: None,
            requester: Some(crate::reviews::identity("alice")),
        },
    );
    grant.metadata.namespace = Some(NAMESPACE.into());
    grant.metadata.uid = Some(format!("uid-{name}"));
    grant.metadata.generation = Some(1);
    grant.metadata.creation_timestamp = Some(Time(seconds(0)));
    grant
}

/// The same, to begin so many seconds after noon.
pub fn scheduled(mut grant: DecryptGrant, from: i64) -> DecryptGrant {
    grant.spec.not_before = Some(InstantText(format_instant(seconds(from))));
    grant
}

pub fn held(mut grant: DecryptGrant) -> DecryptGrant {
    grant.metadata.finalizers = Some(vec![GRANT_FINALIZER.into()]);
    grant
}

pub fn terms(grant: &DecryptGrant, bucket: &SecureBucket) -> ResolvedTerms {
    let install = install();
    let asked = check(grant, max_duration(bucket, &install).unwrap(), &install).unwrap();
    let reference = bucket_ref(bucket, &install).unwrap();
    let uid = bucket.metadata.uid.clone().unwrap();
    resolve(grant, &uid, &reference, SA_UID, &asked, &install)
}
