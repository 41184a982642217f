//! A small model of AWS for one key and one bucket, as far as plans touch it: what each call does, and when AWS refuses it.
//!
//! Sources: KMS Developer Guide, key-state (which call works in which state); KMS API, CreateAlias, CancelKeyDeletion; S3 API.

use std::collections::{BTreeMap, BTreeSet};

use securebucket::aws::calls::Call;
use securebucket::aws::error::{AwsError, AwsErrorKind, Seen};
use securebucket::bucket::action::{Action, Facet};
use securebucket::bucket::desired::Desired;
use securebucket::bucket::observed::{
    Encryption, KeyState, LifecycleRule, Observed, ObservedBucket, ObservedKey, PublicAccessBlock,
};
use securebucket::domain::policy::Document;
use securebucket::domain::tags::{self, Owner, Tags};
use securebucket::role::observed::ObservedGrant;

use crate::fixtures::{declared_bucket_policy, failure, install, key_arn};

/// A KMS key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    pub state: KeyState,
    pub policy: Document,
    pub rotation: Option<i32>,
    pub tags: Tags,
    pub grants: Vec<ObservedGrant>,
    /// Lists show a key only some time after it was made.
    pub listed_from: i64,
}

/// An S3 bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    pub region: String,
    pub tags: Tags,
    pub block: Option<PublicAccessBlock>,
    pub ownership: Option<String>,
    pub encryption: Option<Encryption>,
    pub versioning: Option<String>,
    pub lifecycle: Option<Vec<LifecycleRule>>,
    pub policy: Option<Document>,
}

/// What a write went to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    Key(String),
    Alias,
    Bucket,
}

/// The account.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Aws {
    pub keys: BTreeMap<String, Key>,
    /// Key that our alias points to.
    pub alias: Option<String>,
    pub bucket: Option<Bucket>,
    /// Keys under which objects of the bucket may be stored.
    pub used: BTreeSet<String>,
    pub now: i64,
    /// How long lists lag behind.
    pub lag: i64,
    /// CreateKey calls that took effect.
    pub keys_made: usize,
    /// Writes that took effect, in order.
    pub writes: Vec<(Target, String)>,
}

/// What status says that observation starts from.
#[derive(Clone, Debug, Default)]
pub struct Known {
    pub key_arn: Option<String>,
    pub attempt: Option<String>,
}

/// What an effect needs beside the action.
pub struct Run<'a> {
    pub desired: &'a Desired,
    /// Key that the executor knows of.
    pub key: Option<String>,
    pub attempt: Option<String>,
}

type Effect = Result<(), AwsErrorKind>;

impl Aws {
    /// Reads key and bucket, as `bucket/observe.rs` does; `blind` are facets that cannot be read.
    pub fn observe(&self, desired: &Desired, known: &Known, blind: &BTreeSet<Facet>) -> Observed {
        let bucket = self.bucket.as_ref().map_or(Seen::Absent, |b| Seen::Value(b.observed(blind)));
        let bucket = if blind.contains(&Facet::Bucket) { unseen() } else { bucket };
        if blind.contains(&Facet::Key) {
            return Observed { key: unseen(), bucket };
        }
        let arn = match &known.key_arn {
            Some(arn) => Some(arn.clone()),
            None => self.alias.clone().or_else(|| self.by_attempt(known)).or_else(|| self.by_bucket(desired, &bucket)),
        };
        let found = arn.and_then(|arn| self.keys.get(&arn).map(|key| (arn, key)));
        let key = found.map_or(Seen::Absent, |(arn, key)| Seen::Value(self.observed_key(arn, key, blind)));
        Observed { key, bucket }
    }

    fn observed_key(&self, arn: String, key: &Key, blind: &BTreeSet<Facet>) -> ObservedKey {
        let seen = |facet| !blind.contains(&facet);
        ObservedKey {
            arn,
            state: key.state.clone(),
            alias_target: self.alias.clone().map_or(Seen::Absent, Seen::Value),
            policy: if seen(Facet::KeyPolicy) { Seen::Value(key.policy.clone()) } else { unseen() },
            rotation_days: match (seen(Facet::Rotation), &key.state) {
                (false, _) => unseen(),
                (true, KeyState::Enabled) => Seen::Value(key.rotation),
                (true, _) => Seen::Absent,
            },
            tags: if seen(Facet::KeyTags) { Seen::Value(key.tags.clone()) } else { unseen() },
            grants: if seen(Facet::Grants) { Seen::Value(key.grants.clone()) } else { unseen() },
        }
    }

    fn by_attempt(&self, known: &Known) -> Option<String> {
        let attempt = known.attempt.as_ref()?;
        let made = |k: &Key| k.tags.get(tags::ATTEMPT) == Some(attempt) && self.now >= k.listed_from;
        self.keys.iter().find(|(_, k)| made(k)).map(|(arn, _)| arn.clone())
    }

    fn by_bucket(&self, desired: &Desired, bucket: &Seen<ObservedBucket>) -> Option<String> {
        let arn = bucket.value()?.encryption.value()?.key.clone()?;
        let (names, install) = (&desired.names, install());
        let owner = tags::owner(&self.keys.get(&arn)?.tags, &install.cluster, &names.identity, &names.uid);
        matches!(owner, Owner::Ours | Owner::Returning).then_some(arn)
    }

    /// What an AWS call of this action does. Writes to status are not AWS's.
    pub fn apply(&mut self, action: &Action, run: &mut Run<'_>) -> Effect {
        match action {
            Action::CreateKey { .. } => self.create_key(action, run),
            Action::CreateAlias => self.create_alias(run),
            Action::CreateBucket { tags } => self.create_bucket(tags, run),
            Action::BlockPublicAccess
            | Action::EnforceOwnership
            | Action::PutBucketPolicy { .. }
            | Action::PutEncryption { .. }
            | Action::PutVersioning { .. }
            | Action::PutLifecycle { .. }
            | Action::PutBucketTags { .. } => self.on_bucket(action, run),
            _ => self.on_key(action, run),
        }
    }

    fn wrote(&mut self, target: Target, action: &Action) {
        self.writes.push((target, action.to_string()));
    }

    fn create_key(&mut self, action: &Action, run: &mut Run<'_>) -> Effect {
        let Action::CreateKey { policy, tags: marks } = action else { return Ok(()) };
        let arn = key_arn(1 + self.keys_made);
        let mut marks = marks.clone();
        marks.extend(run.attempt.clone().map(|id| (tags::ATTEMPT.to_owned(), id)));
        let listed_from = self.now + self.lag;
        let key = Key {
            state: KeyState::Enabled,
            policy: policy.clone(),
            rotation: None,
            tags: marks,
            grants: Vec::new(),
            listed_from,
        };
        self.keys.insert(arn.clone(), key);
        self.keys_made += 1;
        self.wrote(Target::Key(arn.clone()), action);
        run.key = Some(arn);
        Ok(())
    }

    /// The alias decides between two attempts: who finds it taken adopts the key that it points to, if that is ours.
    fn create_alias(&mut self, run: &mut Run<'_>) -> Effect {
        let Some(arn) = run.key.clone() else { return Ok(()) };
        if let Some(winner) = &self.alias {
            let names = &run.desired.names;
            let found = &self.keys[winner].tags;
            return match tags::owner(found, &install().cluster, &names.identity, &names.uid) {
                Owner::Ours | Owner::Returning => {
                    run.key = Some(winner.clone());
                    Ok(())
                }
                _ if *winner == arn => Ok(()),
                _ => Err(AwsErrorKind::AlreadyExists),
            };
        }
        self.usable(&arn)?;
        self.alias = Some(arn);
        self.wrote(Target::Alias, &Action::CreateAlias);
        Ok(())
    }

    /// Most calls fail on a key that is pending deletion.
    fn usable(&self, arn: &str) -> Effect {
        match self.keys.get(arn).map(|k| &k.state) {
            None => Err(AwsErrorKind::NotFound),
            Some(KeyState::PendingDeletion) => Err(AwsErrorKind::KeyState),
            Some(_) => Ok(()),
        }
    }

    fn on_key(&mut self, action: &Action, run: &Run<'_>) -> Effect {
        let Some(arn) = run.key.clone() else { return Ok(()) };
        if !matches!(action, Action::CancelKeyDeletion | Action::RevokeGrant { .. }) {
            self.usable(&arn)?;
        }
        if *action == Action::PointAlias {
            self.alias = Some(arn);
            self.wrote(Target::Alias, action);
            return Ok(());
        }
        let key = self.keys.get_mut(&arn).ok_or(AwsErrorKind::NotFound)?;
        match action {
            Action::CancelKeyDeletion if key.state == KeyState::PendingDeletion => key.state = KeyState::Disabled,
            Action::CancelKeyDeletion => return Err(AwsErrorKind::KeyState),
            Action::DisableKey => key.state = KeyState::Disabled,
            Action::EnableKey => key.state = KeyState::Enabled,
            Action::PutKeyPolicy { policy } => key.policy = policy.clone(),
            Action::EnableRotation { .. } if key.state != KeyState::Enabled => return Err(AwsErrorKind::KeyState),
            Action::EnableRotation { days } => key.rotation = Some(*days),
            Action::TagKey { set, remove } => {
                key.tags.extend(set.clone());
                key.tags.retain(|k, _| !remove.contains(k));
            }
            // Of one that is gone KMS says NotFound, which the executor takes for done.
            Action::RevokeGrant { id, .. } => key.grants.retain(|g| g.id != *id),
            other => panic!("not an action on a key: {other}"),
        }
        self.wrote(Target::Key(arn), action);
        Ok(())
    }

    fn create_bucket(&mut self, marks: &Tags, run: &Run<'_>) -> Effect {
        if self.bucket.is_some() {
            return Err(AwsErrorKind::AlreadyExists);
        }
        self.used.clear();
        self.bucket = Some(Bucket {
            region: run.desired.names.place.region.clone(),
            tags: marks.clone(),
            block: None,
            ownership: Some("BucketOwnerEnforced".into()),
            encryption: Some(Encryption {
                algorithm: "AES256".into(),
                key: None,
                bucket_key: false,
                sse_c_blocked: false,
            }),
            versioning: None,
            lifecycle: None,
            policy: None,
        });
        self.writes.push((Target::Bucket, "create the bucket".into()));
        Ok(())
    }

    fn on_bucket(&mut self, action: &Action, run: &Run<'_>) -> Effect {
        let bucket = self.bucket.as_mut().ok_or(AwsErrorKind::NotFound)?;
        match action {
            Action::BlockPublicAccess => bucket.block = Some(PublicAccessBlock::ALL),
            Action::EnforceOwnership => bucket.ownership = Some("BucketOwnerEnforced".into()),
            Action::PutVersioning { status } => bucket.versioning = Some((*status).into()),
            Action::PutLifecycle { rules } => bucket.lifecycle = Some(rules.clone()),
            Action::PutBucketTags { tags } => {
                bucket.tags.retain(|k, _| k.starts_with("aws:"));
                bucket.tags.extend(tags.clone());
            }
            // The executor fills in the key that it has just made, and does nothing without one.
            Action::PutBucketPolicy { policy } => match (policy, &run.key) {
                (Some(policy), _) => bucket.policy = Some(policy.clone()),
                (None, Some(key)) => bucket.policy = Some(declared_bucket_policy(run.desired, key)),
                (None, None) => return Ok(()),
            },
            Action::PutEncryption { rule } => match rule.key.clone().or_else(|| run.key.clone()) {
                Some(key) => {
                    self.used.insert(key.clone());
                    bucket.encryption = Some(Encryption { key: Some(key), ..rule.clone() });
                }
                None => return Ok(()),
            },
            other => panic!("not an action on a bucket: {other}"),
        }
        self.wrote(Target::Bucket, action);
        Ok(())
    }
}

impl Bucket {
    fn observed(&self, blind: &BTreeSet<Facet>) -> ObservedBucket {
        fn seen<T: Clone>(facet: Facet, value: &Option<T>, blind: &BTreeSet<Facet>) -> Seen<T> {
            if blind.contains(&facet) { unseen() } else { value.clone().map_or(Seen::Absent, Seen::Value) }
        }
        // S3 answers a bucket without tags with an error that means absence.
        let marks = (!self.tags.is_empty()).then(|| self.tags.clone());
        ObservedBucket {
            region: self.region.clone(),
            tags: seen(Facet::BucketTags, &marks, blind),
            public_access_block: seen(Facet::PublicAccessBlock, &self.block, blind),
            ownership: seen(Facet::Ownership, &self.ownership, blind),
            encryption: seen(Facet::Encryption, &self.encryption, blind),
            versioning: seen(Facet::Versioning, &self.versioning, blind),
            lifecycle: seen(Facet::Lifecycle, &self.lifecycle, blind),
            policy: seen(Facet::BucketPolicy, &self.policy, blind),
        }
    }
}

fn unseen<T>() -> Seen<T> {
    Seen::Unreadable(refusal())
}

/// AWS does not let us look.
pub fn refusal() -> AwsError {
    failure(Call::DescribeKey, AwsErrorKind::Unavailable)
}
