//! Reads key and bucket from AWS: all facets in parallel, at most two round trips deep. Only what the operator manages is read.

use super::desired::Names;
use super::observed::{KeyState, Observed, ObservedBucket, ObservedKey};
use crate::api::secure_bucket::SecureBucketStatus;
use crate::aws::clients::Aws;
use crate::aws::error::{AwsError, AwsErrorKind, Seen};
use crate::aws::kms::{KeyHead, Kms};
use crate::aws::s3::S3;
use crate::domain::installation::Installation;
use crate::domain::policy::Document;
use crate::domain::tags::{self, Owner, Tags};
use crate::role::observed::ObservedGrant;

/// Reads everything of one SecureBucket. `written`: a setting of the bucket was just written, so that it is there although status does not say so yet.
pub async fn observe(
    aws: &Aws,
    install: &Installation,
    names: &Names,
    status: &SecureBucketStatus,
    written: bool,
) -> Observed {
    let kms = aws.kms(&names.place);
    let s3 = aws.s3(&names.place);
    let (key, bucket) = tokio::join!(
        observe_key(&kms, install, names, status),
        observe_bucket(&s3, &names.bucket, written || status.bucket_arn.is_some())
    );
    let key = match (&key, &bucket) {
        // Neither alias nor status knows the key, but the bucket may: somebody deleted the alias while the object was away.
        (Seen::Absent, Seen::Value(bucket)) if status.key_arn.is_none() => {
            key_of_bucket(&kms, install, names, bucket).await
        }
        // The bucket may be there, with a key of ours: no second one on a bad read.
        (Seen::Absent, Seen::Unreadable(e)) if status.key_arn.is_none() => Seen::Unreadable(e.clone()),
        _ => key,
    };
    Observed { key, bucket }
}

async fn observe_bucket(s3: &S3, bucket: &str, expected: bool) -> Seen<ObservedBucket> {
    // Before it was ever seen, most likely it is not there: one question instead of seven.
    if !expected {
        return match Seen::from_result(s3.head_bucket(bucket).await) {
            Seen::Value(region) => Seen::Value(bucket_facets(s3, bucket, region).await),
            Seen::Absent => Seen::Absent,
            Seen::Unreadable(e) => Seen::Unreadable(e),
        };
    }
    let found = bucket_facets(s3, bucket, s3.region().to_owned()).await;
    // A facet that has a value proves that the bucket is there and in this region. Where none has, nothing tells a bare bucket from none.
    if found.proves_itself() {
        return Seen::Value(found);
    }
    match Seen::from_result(s3.head_bucket(bucket).await) {
        Seen::Value(region) => Seen::Value(ObservedBucket { region, ..found }),
        Seen::Absent => Seen::Absent,
        Seen::Unreadable(e) => Seen::Unreadable(e),
    }
}

async fn bucket_facets(s3: &S3, bucket: &str, region: String) -> ObservedBucket {
    let (tags, public_access_block, ownership, encryption, versioning, lifecycle, policy) = tokio::join!(
        s3.bucket_tags(bucket),
        s3.public_access_block(bucket),
        s3.ownership(bucket),
        s3.encryption(bucket),
        s3.versioning(bucket),
        s3.lifecycle(bucket),
        s3.policy(bucket),
    );
    ObservedBucket {
        region,
        tags: Seen::from_result(tags),
        public_access_block: Seen::from_result(public_access_block),
        ownership: Seen::from_result(ownership),
        encryption: Seen::from_result(encryption),
        versioning: Seen::from_result(versioning),
        lifecycle: Seen::from_result(lifecycle),
        policy: Seen::from_result(policy),
    }
}

async fn observe_key(
    kms: &Kms,
    install: &Installation,
    names: &Names,
    status: &SecureBucketStatus,
) -> Seen<ObservedKey> {
    let alias = names.alias(install);
    match &status.key_arn {
        Some(arn) => observe_known_key(kms, &alias, arn).await,
        None => match Seen::from_result(kms.describe_key(&alias).await) {
            Seen::Value(head) => {
                let target = Seen::Value(head.arn.clone());
                Seen::Value(with_facets(kms, head, target).await)
            }
            Seen::Absent => match &status.key_attempt {
                Some(attempt) => find_attempt(kms, &attempt.id).await,
                None => Seen::Absent,
            },
            Seen::Unreadable(e) => Seen::Unreadable(e),
        },
    }
}

/// The key that status names. Its alias is asked in parallel with its facets, and as a rule answers for the key too.
async fn observe_known_key(kms: &Kms, alias: &str, arn: &str) -> Seen<ObservedKey> {
    let (through_alias, facets) = tokio::join!(kms.describe_key(alias), KeyFacets::read(kms, arn));
    let through_alias = Seen::from_result(through_alias);
    let (head, alias_target) = match through_alias {
        Seen::Value(head) if head.arn == arn => (Seen::Value(head), Seen::Value(arn.to_owned())),
        other => {
            let target = match other {
                Seen::Value(head) => Seen::Value(head.arn),
                Seen::Absent => Seen::Absent,
                Seen::Unreadable(e) => Seen::Unreadable(e),
            };
            (Seen::from_result(kms.describe_key(arn).await), target)
        }
    };
    match head {
        Seen::Value(head) => Seen::Value(facets.of(head, alias_target)),
        Seen::Absent => Seen::Absent,
        Seen::Unreadable(e) => Seen::Unreadable(e),
    }
}

async fn with_facets(kms: &Kms, head: KeyHead, alias_target: Seen<String>) -> ObservedKey {
    let facets = KeyFacets::read(kms, &head.arn).await;
    facets.of(head, alias_target)
}

/// What is read of a key beside its head.
struct KeyFacets {
    policy: Seen<Document>,
    rotation: Result<Option<i32>, AwsError>,
    tags: Seen<Tags>,
    grants: Seen<Vec<ObservedGrant>>,
}

impl KeyFacets {
    async fn read(kms: &Kms, arn: &str) -> Self {
        let (policy, rotation, tags, grants) =
            tokio::join!(kms.key_policy(arn), kms.rotation(arn), kms.key_tags(arn), kms.list_grants(arn));
        Self {
            policy: Seen::from_result(policy),
            rotation,
            tags: Seen::from_result(tags),
            grants: Seen::from_result(grants),
        }
    }

    fn of(self, head: KeyHead, alias_target: Seen<String>) -> ObservedKey {
        let Self { policy, rotation, tags, grants } = self;
        let rotation_days = rotation_of(&head.state, rotation);
        ObservedKey { arn: head.arn, state: head.state, alias_target, policy, rotation_days, tags, grants }
    }
}

/// Rotation of a key that is not enabled cannot always be read, and cannot be changed: not a failure (KMS Developer Guide, key-state).
fn rotation_of(state: &KeyState, rotation: Result<Option<i32>, AwsError>) -> Seen<Option<i32>> {
    match rotation {
        Err(e) if *state != KeyState::Enabled && e.kind == AwsErrorKind::KeyState => Seen::Absent,
        other => Seen::from_result(other),
    }
}

/// Looks for the key that an announced CreateKey made, whose answer was lost: among keys without an alias, by the attempt in its tags.
async fn find_attempt(kms: &Kms, attempt: &str) -> Seen<ObservedKey> {
    let (keys, aliases) = match tokio::join!(kms.list_keys(), kms.list_aliases()) {
        (Ok(keys), Ok(aliases)) => (keys, aliases),
        (Err(e), _) | (_, Err(e)) => return Seen::Unreadable(e),
    };
    for arn in keys {
        if aliases.iter().any(|(_, target)| arn.ends_with(&format!("/{target}"))) {
            continue;
        }
        match kms.key_tags(&arn).await {
            Ok(found) if found.get(tags::ATTEMPT).is_some_and(|a| a == attempt) => {
                return match Seen::from_result(kms.describe_key(&arn).await) {
                    Seen::Value(head) => Seen::Value(with_facets(kms, head, Seen::Absent).await),
                    Seen::Absent => Seen::Absent,
                    Seen::Unreadable(e) => Seen::Unreadable(e),
                };
            }
            Ok(_) => {}
            // A key whose tags we may not read, or that is gone by now, is not one that we have just made.
            Err(e) if matches!(e.kind, AwsErrorKind::AccessDenied | AwsErrorKind::NotFound) => {}
            Err(e) => return Seen::Unreadable(e),
        }
    }
    Seen::Absent
}

/// The key that the bucket encrypts with, if it carries our mark.
async fn key_of_bucket(kms: &Kms, install: &Installation, names: &Names, bucket: &ObservedBucket) -> Seen<ObservedKey> {
    if let Seen::Unreadable(e) = &bucket.encryption {
        return Seen::Unreadable(e.clone());
    }
    let Some(arn) = bucket.encryption.value().and_then(|e| e.key.clone()) else { return Seen::Absent };
    let found = match kms.key_tags(&arn).await {
        Ok(found) => found,
        // Not readable: not ours. A key of ours that cannot be read for another reason must not lead to a second one.
        Err(e) if matches!(e.kind, AwsErrorKind::AccessDenied | AwsErrorKind::NotFound) => return Seen::Absent,
        Err(e) => return Seen::Unreadable(e),
    };
    match tags::owner(&found, &install.cluster, &names.identity, &names.uid) {
        Owner::Ours | Owner::Returning => match Seen::from_result(kms.describe_key(&arn).await) {
            Seen::Value(head) => Seen::Value(with_facets(kms, head, Seen::Absent).await),
            Seen::Absent => Seen::Absent,
            Seen::Unreadable(e) => Seen::Unreadable(e),
        },
        Owner::Another(_) | Owner::Unmarked => Seen::Absent,
    }
}
