//! Random starts: a spec, an earlier spec, what status remembers, and an AWS that people have been at.

use std::collections::BTreeSet;

use proptest::prelude::*;
use securebucket::api::secure_bucket::{
    BoundedText, Duty, EncryptionSpec, ForeignGrants, KeyAttempt, SecureBucketSpec, SecureBucketStatus, VersioningState,
};
use securebucket::api::types::Toggle;
use securebucket::bucket::action::Facet;
use securebucket::bucket::desired::Desired;
use securebucket::bucket::observed::{Encryption, KeyState, LifecycleRule, PublicAccessBlock, abort_rule};
use securebucket::domain::drift::merge;
use securebucket::domain::policy::{Document, Statement};
use securebucket::domain::tags::{self, Tags};
use securebucket::domain::time::format_instant;

use crate::access::ACCOUNTS;
use crate::fixtures::{
    ACCOUNT, declared_bucket_policy, declared_encryption, declared_key_policy, deleted_at, desired_of, entry, key_arn,
    secure_bucket, strangers_key,
};
use crate::foreign::{claims, grants};
use crate::model::{Aws, Bucket, Key};
use crate::operator::World;

/// Noon of the day on which everything happens.
pub const NOON: i64 = 1_795_521_600;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    Ours,
    Returning,
    Another,
    Unmarked,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pointer {
    Ours,
    Missing,
    Elsewhere,
}

/// How a policy came to be what it is.
#[derive(Clone, Debug)]
struct PolicyPick {
    /// From the earlier spec.
    old: bool,
    /// Edited by hand: statements taken out, by position.
    drop: Vec<bool>,
    /// Edited by hand: statements put in.
    add: Vec<usize>,
    /// A pass of ours has merged it since.
    merged: bool,
}

#[derive(Clone, Debug)]
struct KeyPick {
    present: bool,
    recorded: bool,
    /// Announced, and how many seconds ago.
    attempt: Option<i64>,
    state: KeyState,
    mark: Mark,
    alias: Pointer,
    policy: PolicyPick,
    rotation: Option<i32>,
    /// Which of [`grants`] are there.
    grants: [bool; 4],
}

#[derive(Clone, Debug)]
struct BucketPick {
    present: bool,
    bound: bool,
    mark: Mark,
    abroad: bool,
    block: Option<PublicAccessBlock>,
    ownership: Option<&'static str>,
    encryption: usize,
    versioning: Option<&'static str>,
    lifecycle: Option<Vec<LifecycleRule>>,
    policy: Option<PolicyPick>,
}

pub fn duty() -> impl Strategy<Value = Option<Duty>> {
    prop::sample::select(vec![None, Some(Duty::Producer), Some(Duty::Processor), Some(Duty::Auditor)])
}

pub fn spec() -> impl Strategy<Value = SecureBucketSpec> {
    let toggle = prop::option::of(prop::sample::select(vec![Toggle::Enabled, Toggle::Disabled]));
    let versioning = prop::option::of(prop::sample::select(vec![VersioningState::Enabled, VersioningState::Suspended]));
    let days = prop::option::of(prop::sample::select(vec![90, 365, 2560]));
    let user_tags = prop::collection::btree_map(
        prop::sample::select(vec!["team", "cost"]),
        prop::sample::select(vec!["a", "b"]),
        0..3,
    );
    (prop::collection::vec(duty(), 3), toggle, days, versioning, user_tags).prop_map(
        |(duties, bucket_key, rotation_period_days, versioning, user_tags)| SecureBucketSpec {
            foreign_grants: match rotation_period_days {
                Some(90) => Some(ForeignGrants::Report),
                Some(365) => Some(ForeignGrants::Revoke),
                _ => None,
            },
            access: ACCOUNTS.iter().zip(duties).filter_map(|(a, d)| Some(entry(a, d?))).collect(),
            encryption: Some(EncryptionSpec { bucket_key, rotation_period_days }),
            versioning,
            tags: user_tags.into_iter().map(|(k, v)| (k.to_owned(), BoundedText(v.to_owned()))).collect(),
            ..SecureBucketSpec::default()
        },
    )
}

fn mark() -> impl Strategy<Value = Mark> {
    prop_oneof![4 => Just(Mark::Ours), 2 => Just(Mark::Returning), 1 => Just(Mark::Another), 1 => Just(Mark::Unmarked)]
}

fn policy_pick() -> impl Strategy<Value = PolicyPick> {
    let add = prop::collection::vec(0..6usize, 0..3);
    let drop = prop::collection::vec(prop::bool::weighted(0.15), 20);
    let edits = prop_oneof![1 => Just((vec![], vec![])), 2 => (drop, add)];
    (any::<bool>(), edits, prop::bool::weighted(0.3)).prop_map(|(old, (drop, add), merged)| PolicyPick {
        old,
        drop,
        add,
        merged,
    })
}

fn key_pick() -> impl Strategy<Value = KeyPick> {
    let state = prop_oneof![
        5 => Just(KeyState::Enabled),
        2 => Just(KeyState::Disabled),
        2 => Just(KeyState::PendingDeletion),
        1 => Just(KeyState::Other("Creating".into())),
    ];
    let alias = prop_oneof![5 => Just(Pointer::Ours), 2 => Just(Pointer::Missing), 1 => Just(Pointer::Elsewhere)];
    let attempt = prop::option::weighted(0.3, prop::sample::select(vec![0, 30, 3_600]));
    let rotation = prop::option::of(prop::sample::select(vec![90, 365, 700]));
    (prop::bool::weighted(0.75), prop::bool::weighted(0.7), attempt, state, mark(), alias, policy_pick(), rotation)
        .prop_map(|(present, recorded, attempt, state, mark, alias, policy, rotation)| KeyPick {
            present,
            recorded,
            attempt,
            state,
            mark,
            alias,
            policy,
            rotation,
            // Follows from another pick, so that all of those stay what they were.
            grants: match rotation {
                None => [true; 4],
                Some(90) => [true, false, true, false],
                Some(365) => [false, true, false, true],
                Some(_) => [false; 4],
            },
        })
}

fn bucket_pick() -> impl Strategy<Value = BucketPick> {
    let block = prop::option::weighted(
        0.8,
        any::<[bool; 2]>().prop_map(|[acls, policy]| PublicAccessBlock {
            block_public_acls: acls,
            ignore_public_acls: acls,
            block_public_policy: policy,
            restrict_public_buckets: policy,
        }),
    );
    let ownership = prop::sample::select(vec![Some("BucketOwnerEnforced"), Some("ObjectWriter"), None]);
    let versioning = prop::sample::select(vec![Some("Enabled"), Some("Suspended"), None]);
    let other = LifecycleRule { id: "theirs".into(), enabled: true, abort_incomplete_days: None, other: true };
    let lifecycle =
        prop::sample::select(vec![None, Some(vec![abort_rule()]), Some(vec![other, abort_rule()]), Some(vec![])]);
    let there = (prop::bool::weighted(0.75), prop::bool::weighted(0.7), mark(), prop::bool::weighted(0.1));
    (there, block, ownership, 0..6usize, versioning, lifecycle, prop::option::weighted(0.8, policy_pick())).prop_map(
        |((present, bound, mark, abroad), block, ownership, encryption, versioning, lifecycle, policy)| BucketPick {
            present,
            bound,
            mark,
            abroad,
            block,
            ownership,
            encryption,
            versioning,
            lifecycle,
            policy,
        },
    )
}

fn flags() -> impl Strategy<Value = [bool; 4]> {
    [prop::bool::weighted(0.7), prop::bool::weighted(0.5), prop::bool::weighted(0.25), prop::bool::weighted(0.2)]
}

/// Any start. Everything can be read.
pub fn world() -> impl Strategy<Value = World> {
    (spec(), spec(), key_pick(), bucket_pick(), flags(), prop::sample::select(vec![0, 20, 55])).prop_map(
        |(spec, old, key, bucket, flags, lag)| {
            assemble(spec, &desired_of(&secure_bucket(old)), &key, &bucket, flags, lag)
        },
    )
}

/// A start, and what people have made of its AWS after the operator had looked: what was gone is not back, and no policy of ours has gone back
/// to an earlier one.
pub fn overtaken() -> impl Strategy<Value = (World, Aws)> {
    let seen = (key_pick(), bucket_pick());
    let later = (key_pick(), bucket_pick());
    (spec(), spec(), seen, later, flags()).prop_map(|(spec, old, (key, bucket), (mut key2, mut bucket2), flags)| {
        let old = desired_of(&secure_bucket(old));
        let world = assemble(spec.clone(), &old, &key, &bucket, flags, 0);
        key2.present &= key.present;
        key2.policy.old = key.policy.old;
        bucket2.present &= bucket.present;
        // A change of the default takes effect with the next object.
        bucket2.encryption = bucket.encryption;
        match (&bucket.policy, &mut bucket2.policy) {
            (Some(before), Some(after)) => after.old = before.old,
            (None, after) => *after = None,
            (Some(_), None) => {}
        }
        let aws = assemble(spec, &old, &key2, &bucket2, flags, 0).aws;
        (world, aws)
    })
}

/// Any start, with facets that cannot be read.
pub fn dim_world() -> impl Strategy<Value = World> {
    let facets = vec![
        Facet::Key,
        Facet::KeyPolicy,
        Facet::Rotation,
        Facet::KeyTags,
        Facet::Bucket,
        Facet::BucketTags,
        Facet::BucketPolicy,
        Facet::Encryption,
        Facet::PublicAccessBlock,
    ];
    (world(), prop::collection::btree_set(prop::sample::select(facets), 0..3)).prop_map(|(world, mut blind)| {
        if blind.contains(&Facet::Rotation) {
            blind.insert(Facet::Grants);
        }
        World { blind, ..world }
    })
}

fn assemble(
    spec: SecureBucketSpec,
    old: &Desired,
    key: &KeyPick,
    bucket: &BucketPick,
    [provisioned, spec_changed, obey, releasing]: [bool; 4],
    lag: i64,
) -> World {
    let mut object = secure_bucket(spec);
    object.metadata.generation = Some(2);
    let new = desired_of(&object);
    if releasing {
        object.metadata.deletion_timestamp = Some(deleted_at());
    }
    let mut aws = Aws { now: NOON, lag, ..Aws::default() };
    if key.present {
        aws.keys.insert(key_arn(0), key_of(key, old, &new));
    }
    aws.keys.insert(strangers_key(), stranger_key(old));
    aws.alias = match key.alias {
        Pointer::Ours => key.present.then(|| key_arn(0)),
        Pointer::Missing => None,
        Pointer::Elsewhere => Some(strangers_key()),
    };
    aws.bucket = bucket.present.then(|| bucket_of(bucket, old, &new));
    // Before the default was changed by hand, it was our key.
    let named = aws.bucket.as_ref().and_then(|b| b.encryption.as_ref()?.key.clone());
    aws.used = aws.bucket.iter().map(|_| key_arn(0)).chain(named).collect();
    object.status = Some(SecureBucketStatus {
        observed_generation: Some(if spec_changed { 1 } else { 2 }),
        identity: Some(new.names.identity.clone()),
        account_id: Some(ACCOUNT.into()),
        region: Some(new.names.place.region.clone()),
        bucket_name: Some(new.names.bucket.clone()),
        bucket_arn: bucket.bound.then(|| new.names.bucket_arn()),
        provisioned_at: (provisioned && bucket.bound && key.recorded).then(|| "2026-11-01T00:00:00Z".into()),
        key_arn: key.recorded.then(|| key_arn(0)),
        key_attempt: key.attempt.filter(|_| !key.recorded).map(|age| KeyAttempt {
            id: "attempt-before".into(),
            at: format_instant(jiff::Timestamp::from_second(NOON - age).unwrap()),
        }),
        managed_tags: old.user_tags.clone(),
        ..SecureBucketStatus::default()
    });
    World { object, aws, blind: BTreeSet::new(), obey, claims: claims() }
}

fn marked(mut all: Tags, mark: Mark) -> Tags {
    match mark {
        Mark::Ours => {}
        Mark::Returning => {
            all.insert(tags::UID.into(), "bucket-uid-0".into());
        }
        Mark::Another => {
            all.insert(tags::IDENTITY.into(), "0123456789abcdef".into());
        }
        Mark::Unmarked => all.retain(|k, _| !k.starts_with(tags::PREFIX)),
    }
    // Somebody's own.
    all.insert("theirs".into(), "x".into());
    all
}

fn key_of(pick: &KeyPick, old: &Desired, new: &Desired) -> Key {
    let base = declared_key_policy(if pick.policy.old { old } else { new });
    let edited = edited(&base, &pick.policy, &foreign_on_key());
    let mut all = marked(old.tags.clone(), pick.mark);
    if pick.attempt.is_some() && !pick.recorded {
        all.insert(tags::ATTEMPT.into(), "attempt-before".into());
    }
    Key {
        state: pick.state.clone(),
        policy: edited,
        rotation: pick.rotation,
        tags: all,
        grants: grants().into_iter().zip(pick.grants).filter(|(_, there)| *there).map(|(g, _)| g).collect(),
        listed_from: NOON - pick.attempt.unwrap_or(3_600) + 20,
    }
}

/// A key of somebody else.
fn stranger_key(old: &Desired) -> Key {
    Key {
        state: KeyState::Enabled,
        policy: Document::new(vec![Statement::allow("Default").anyone().actions(["kms:*"]).resources(["*"])]),
        rotation: None,
        tags: marked(old.tags.clone(), Mark::Another),
        grants: Vec::new(),
        listed_from: 0,
    }
}

fn bucket_of(pick: &BucketPick, old: &Desired, new: &Desired) -> Bucket {
    let key = key_arn(0);
    let declared = declared_encryption(new, &key);
    let plain = Encryption { algorithm: "AES256".into(), key: None, bucket_key: false, sse_c_blocked: false };
    let encryption = match pick.encryption {
        0 => None,
        1 => Some(plain),
        2 => Some(Encryption { key: Some(strangers_key()), ..declared }),
        3 => Some(Encryption { bucket_key: !declared.bucket_key, ..declared }),
        4 => Some(Encryption { sse_c_blocked: false, ..declared }),
        _ => Some(declared),
    };
    let policy = pick.policy.as_ref().map(|p| {
        let base = declared_bucket_policy(if p.old { old } else { new }, &key);
        edited(&base, p, &foreign_on_bucket(&new.names.bucket_arn()))
    });
    Bucket {
        region: if pick.abroad { "us-east-1".into() } else { new.names.place.region.clone() },
        tags: marked(old.tags.clone(), pick.mark),
        block: pick.block,
        ownership: pick.ownership.map(Into::into),
        encryption,
        versioning: pick.versioning.map(Into::into),
        lifecycle: pick.lifecycle.clone(),
        policy,
    }
}

fn edited(base: &Document, pick: &PolicyPick, foreign: &[Statement]) -> Document {
    let mut document = base.clone();
    let mut keep = pick.drop.iter().map(|drop| !drop).chain(std::iter::repeat(true));
    document.statements.retain(|_| keep.next().unwrap());
    document.statements.extend(pick.add.iter().map(|n| foreign[*n].clone()));
    if pick.merged {
        return merge(&base.statements, Some(&document), false).write.unwrap_or(document);
    }
    document
}

/// What people put into a key policy: three Allows, three Denies.
fn foreign_on_key() -> Vec<Statement> {
    let here = |s: Statement| s.resources(["*"]);
    let root = format!("arn:aws:iam::{ACCOUNT}:root");
    vec![
        here(Statement::allow("EnableIAMUserPermissions").principal("AWS", &root).actions(["kms:*"])),
        here(Statement::allow("").anyone().actions(["kms:Decrypt", "kms:GenerateDataKey"])),
        // Ours, with somebody more in it.
        here(
            Statement::allow("StandingDuties").principal("AWS", &root).actions(["kms:GenerateDataKey", "kms:Decrypt"]),
        )
        .when("ArnLike", "aws:PrincipalArn", ["arn:aws:iam::111122223333:role/*"]),
        here(Statement::deny("Incident42").anyone().actions(["kms:Decrypt"])),
        here(Statement::deny("CryptoOnlyThroughS3").anyone().actions(["kms:*"])).when(
            "ArnLike",
            "aws:PrincipalArn",
            ["arn:aws:iam::111122223333:role/securebucket/c1/*"],
        ),
        here(Statement::deny("").anyone().actions(["kms:CreateGrant"])),
    ]
}

/// What people put into a bucket policy: three Allows, three Denies.
fn foreign_on_bucket(bucket: &str) -> Vec<Statement> {
    let all = [bucket.to_owned(), format!("{bucket}/*")];
    let objects = [format!("{bucket}/*")];
    vec![
        Statement::allow("Share")
            .principal("AWS", "arn:aws:iam::999988887777:role/Stranger")
            .actions(["s3:*"])
            .resources(all.clone()),
        Statement::allow("").anyone().actions(["s3:GetObject"]).resources(objects.clone()),
        Statement::allow("ProducersNeverRead").anyone().actions(["s3:GetObject*"]).resources(objects.clone()),
        Statement::deny("Incident42").anyone().actions(["s3:GetObject"]).resources(objects.clone()),
        Statement::deny("WritesOnlyByDuties").anyone().not_actions(["s3:Get*", "s3:List*"]).resources(objects),
        Statement::deny("").anyone().actions(["s3:ListBucket"]).resources(all),
    ]
}
