//! From desired and observed to the actions that make them agree. Pure. An empty plan is the definition of "in sync".
//!
//! Order: restrict what exists, create, configure, widen last. A stale or forbidden read never widens: what could not be read is not touched,
//! unless the touch only narrows.

use super::action::{Action, Facet};
use super::desired::Desired;
use super::observed::{Encryption, KeyState, Observed, ObservedBucket, ObservedKey, PublicAccessBlock};
use super::policies::{bucket_policy, key_policy};
use crate::aws::error::{AwsError, AwsErrorKind, Seen};
use crate::domain::drift::{Merge, merge};
use crate::domain::installation::Installation;
use crate::domain::policy::{Document, Statement};
use crate::domain::tags::{self, Owner, Tags};

/// What the plan depends on beside desired and observed: facts of status and of the request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Situation {
    /// ARN of the key in status.
    pub key_arn: Option<String>,
    /// True if status holds an announced CreateKey that is too young to be repeated.
    pub attempt_pending: bool,
    /// True if status holds the bucket's ARN: it existed and was ours.
    pub bound: bool,
    /// True once everything was read back complete; only then is a difference drift.
    pub provisioned: bool,
    /// True if the spec changed since status was written: differences may come from that.
    pub spec_changed: bool,
    /// True if the object is being deleted: nothing new is made for it.
    pub releasing: bool,
    /// True if `reconcile-at` asks for the declared state, responders' restrictions included.
    pub obey: bool,
}

/// Why nothing (more) can be done without somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// Condition reason.
    pub reason: &'static str,
    /// What, and the way out.
    pub message: String,
}

/// A difference that nobody declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    /// Which piece.
    pub facet: Facet,
    /// What differs.
    pub difference: String,
}

/// Something stricter than declared, left as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restriction {
    /// Which piece.
    pub facet: Facet,
    /// What it is, and how to undo it.
    pub message: String,
}

/// The plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Plan {
    /// Steps in order.
    pub actions: Vec<Action>,
    /// What of them repairs drift.
    pub drift: Vec<Drift>,
    /// What is stricter than declared.
    pub restricted: Vec<Restriction>,
    /// What needs somebody.
    pub blocked: Vec<Blocked>,
    /// What could not be read, and the facet that it belongs to.
    pub unreadable: Vec<(Facet, AwsError)>,
    /// True if an announced CreateKey must be waited out.
    pub waiting_for_key: bool,
}

impl Plan {
    /// True if observed and desired agree and nothing is in the way.
    pub fn in_sync(&self) -> bool {
        self.actions.is_empty() && self.blocked.is_empty() && self.unreadable.is_empty() && !self.waiting_for_key
    }

    fn block(&mut self, reason: &'static str, message: impl Into<String>) {
        self.blocked.push(Blocked { reason, message: message.into() });
    }

    fn restrict(&mut self, facet: Facet, message: impl Into<String>) {
        self.restricted.push(Restriction { facet, message: message.into() });
    }

    fn drifted(&mut self, facet: Facet, difference: impl Into<String>) {
        self.drift.push(Drift { facet, difference: difference.into() });
    }

    /// The value of a facet that was read; notes it if it could not be read.
    fn read<'a, T>(&mut self, facet: Facet, seen: &'a Seen<T>) -> Option<Option<&'a T>> {
        match seen {
            Seen::Value(v) => Some(Some(v)),
            Seen::Absent => Some(None),
            Seen::Unreadable(e) => {
                self.unreadable.push((facet, e.clone()));
                None
            }
        }
    }
}

/// Sections of a plan, in the order in which they run.
#[derive(Default)]
struct Sections {
    restrict: Vec<Action>,
    create: Vec<Action>,
    configure: Vec<Action>,
    widen: Vec<Action>,
}

/// Makes the plan.
pub fn plan(desired: &Desired, observed: &Observed, situation: &Situation, install: &Installation) -> Plan {
    let mut plan = Plan::default();
    let mut sections = Sections::default();
    let key = plan_key(&mut plan, &mut sections, desired, observed, situation, install);
    plan_bucket(&mut plan, &mut sections, desired, observed, situation, install, &key);
    let Sections { restrict, create, configure, widen } = sections;
    plan.actions = restrict.into_iter().chain(create).chain(configure).chain(widen).collect();
    plan
}

/// What the bucket may count on.
enum KeyForBucket {
    /// This key exists and is ours.
    Arn(String),
    /// An action of this plan makes one.
    Planned,
    /// There is none, and none will be.
    None,
}

fn plan_key(
    plan: &mut Plan,
    sections: &mut Sections,
    desired: &Desired,
    observed: &Observed,
    situation: &Situation,
    install: &Installation,
) -> KeyForBucket {
    let policy = key_policy(install, &desired.names.place, &desired.names.bucket_arn(), &desired.duties);
    let key = match &observed.key {
        Seen::Value(key) => key,
        Seen::Unreadable(e) => {
            plan.unreadable.push((Facet::Key, e.clone()));
            // The bucket's Denies can be kept right without looking at the key.
            return situation.key_arn.clone().map_or(KeyForBucket::None, KeyForBucket::Arn);
        }
        Seen::Absent => return plan_new_key(plan, sections, desired, situation, policy),
    };
    let seen_tags = plan.read(Facet::KeyTags, &key.tags);
    let recorded = situation.key_arn.as_ref() == Some(&key.arn);
    let owner = seen_tags.map(|t| owner_of(t.unwrap_or(&Tags::new()), desired, install));
    match &owner {
        Some(Owner::Another(who)) => {
            plan.block(
                "OwnedByAnother",
                format!("key {} belongs to {who}; remove our alias from it, or take that object away first", key.arn),
            );
            return KeyForBucket::None;
        }
        Some(Owner::Unmarked) if !recorded => {
            plan.block(
                "OwnedByAnother",
                format!(
                    "key {} has our alias but not our tags; remove the alias {}",
                    key.arn,
                    desired.names.alias(install)
                ),
            );
            return KeyForBucket::None;
        }
        None if !recorded => return KeyForBucket::None,
        _ => {}
    }
    let returning = owner == Some(Owner::Returning);
    let usable = plan_key_state(plan, sections, key, returning, situation);
    if !recorded {
        sections.create.push(Action::RecordKey { arn: key.arn.clone() });
    }
    plan_key_facets(plan, sections, desired, key, situation, &policy, usable);
    if let (Some(seen), true) = (seen_tags, usable) {
        plan_key_tags(plan, sections, desired, seen.unwrap_or(&Tags::new()), owner.as_ref(), situation);
    }
    KeyForBucket::Arn(key.arn.clone())
}

fn plan_new_key(
    plan: &mut Plan,
    sections: &mut Sections,
    desired: &Desired,
    situation: &Situation,
    policy: Vec<Statement>,
) -> KeyForBucket {
    if let Some(arn) = &situation.key_arn {
        plan.block("KeyGone", format!("key {arn} no longer exists; what it encrypted cannot be read by anybody. A second key is not made: create another SecureBucket"));
        return KeyForBucket::Arn(arn.clone());
    }
    if situation.attempt_pending {
        plan.waiting_for_key = true;
        return KeyForBucket::None;
    }
    if situation.releasing {
        return KeyForBucket::None;
    }
    let policy = Document::new(policy).certified();
    sections.create.extend([
        Action::AnnounceKey,
        Action::CreateKey { policy, tags: desired.tags.clone() },
        Action::CreateAlias,
    ]);
    sections.configure.push(Action::EnableRotation { days: desired.rotation_days });
    KeyForBucket::Planned
}

/// True if the key's settings can be changed.
fn plan_key_state(
    plan: &mut Plan,
    sections: &mut Sections,
    key: &ObservedKey,
    returning: bool,
    situation: &Situation,
) -> bool {
    match &key.state {
        KeyState::Enabled => true,
        KeyState::Disabled if situation.obey => {
            sections.widen.push(Action::EnableKey);
            true
        }
        KeyState::Disabled => {
            plan.restrict(Facet::Key, format!("key {} is disabled: nobody reads or writes. Left as it is; annotate securebucket.io/reconcile-at to enable it", key.arn));
            plan.block("KeyDisabled", format!("key {} was disabled by hand; enable it in AWS, or annotate this object with securebucket.io/reconcile-at", key.arn));
            true
        }
        KeyState::PendingDeletion if returning || situation.obey => {
            sections.widen.extend([Action::CancelKeyDeletion, Action::EnableKey]);
            false
        }
        KeyState::PendingDeletion => {
            plan.restrict(Facet::Key, format!("key {} is scheduled for deletion", key.arn));
            plan.block("KeyPendingDeletion", format!("key {} is scheduled for deletion: when that happens all data is lost. Cancel it in AWS, or annotate this object with securebucket.io/reconcile-at", key.arn));
            false
        }
        KeyState::Other(word) => {
            plan.block("KeyUnusable", format!("key {} is in state {word}", key.arn));
            false
        }
    }
}

fn plan_key_facets(
    plan: &mut Plan,
    sections: &mut Sections,
    desired: &Desired,
    key: &ObservedKey,
    situation: &Situation,
    policy: &[Statement],
    usable: bool,
) {
    match plan.read(Facet::Key, &key.alias_target) {
        Some(None) if usable => {
            if situation.provisioned {
                plan.drifted(Facet::Key, "the alias is missing");
            }
            sections.create.push(Action::CreateAlias);
        }
        Some(Some(target)) if *target != key.arn => {
            plan.drifted(Facet::Key, format!("the alias points to {target}"));
            sections.create.push(Action::PointAlias);
        }
        _ => {}
    }
    if !usable {
        return;
    }
    if let Some(seen) = plan.read(Facet::KeyPolicy, &key.policy) {
        let merged = merge(policy, seen, situation.obey);
        note_policy(plan, Facet::KeyPolicy, &merged);
        if let Some(policy) = merged.write {
            sections.widen.push(Action::PutKeyPolicy { policy });
        }
    }
    // Rotation cannot be changed while the key is disabled (KMS API, EnableKeyRotation).
    if let (Some(seen), KeyState::Enabled) = (plan.read(Facet::Rotation, &key.rotation_days), &key.state) {
        let days = seen.copied().flatten();
        if days != Some(desired.rotation_days) {
            if situation.provisioned && !situation.spec_changed {
                plan.drifted(
                    Facet::Rotation,
                    days.map_or("rotation is off".into(), |d| format!("rotation every {d} days")),
                );
            }
            sections.configure.push(Action::EnableRotation { days: desired.rotation_days });
        }
    }
}

fn plan_key_tags(
    plan: &mut Plan,
    sections: &mut Sections,
    desired: &Desired,
    seen: &Tags,
    owner: Option<&Owner>,
    situation: &Situation,
) {
    if owner == Some(&Owner::Unmarked) && !situation.obey {
        plan.restrict(
            Facet::KeyTags,
            "the owner marks are gone from the key; annotate securebucket.io/reconcile-at to put them back",
        );
        return;
    }
    if tags::satisfied(seen, &desired.tags, &desired.tags_before) {
        return;
    }
    if situation.provisioned && !situation.spec_changed && owner == Some(&Owner::Ours) {
        plan.drifted(Facet::KeyTags, "tags differ");
    }
    let remove = desired
        .tags_before
        .iter()
        .filter(|k| seen.contains_key(*k) && !desired.tags.contains_key(*k))
        .cloned()
        .collect();
    sections.configure.push(Action::TagKey { set: desired.tags.clone(), remove });
}

fn owner_of(seen: &Tags, desired: &Desired, install: &Installation) -> Owner {
    tags::owner(seen, &install.cluster, &desired.names.identity, &desired.names.uid)
}

/// Notes what a policy merge found.
fn note_policy(plan: &mut Plan, facet: Facet, merged: &Merge) {
    if !merged.loosened.is_empty() {
        plan.drifted(facet, format!("missing, changed or foreign statements: {}", merged.loosened.join(", ")));
    }
    for kept in &merged.kept {
        plan.restrict(
            facet,
            format!(
                "a Deny that is not ours ({}) is kept in the {}; annotate securebucket.io/reconcile-at to remove it",
                kept.sid,
                facet.name()
            ),
        );
    }
}

fn plan_bucket(
    plan: &mut Plan,
    sections: &mut Sections,
    desired: &Desired,
    observed: &Observed,
    situation: &Situation,
    install: &Installation,
    key: &KeyForBucket,
) {
    let name = &desired.names.bucket;
    let bucket = match &observed.bucket {
        Seen::Value(bucket) => bucket,
        Seen::Unreadable(e)
            if !situation.bound && matches!(e.kind, AwsErrorKind::AccessDenied | AwsErrorKind::NameTaken) =>
        {
            plan.block("BucketNameTaken", format!("spec.bucketName: {name} exists and is not readable by the operator: it belongs to another account, or its policy refuses us. Choose another bucketName"));
            return;
        }
        Seen::Unreadable(e) => {
            plan.unreadable.push((Facet::Bucket, e.clone()));
            return;
        }
        Seen::Absent if situation.bound && !situation.obey => {
            plan.block("BucketGone", format!("bucket {name} was deleted outside the operator. To make an empty one under the name, annotate this object with securebucket.io/reconcile-at"));
            return;
        }
        Seen::Absent => {
            if !matches!(key, KeyForBucket::None) && !situation.releasing {
                create_bucket(sections, desired, install, key);
            }
            return;
        }
    };
    if bucket.region != desired.names.place.region {
        plan.block(
            "BucketNameTaken",
            format!(
                "spec.region: bucket {name} exists in {}, not in {}; use that region or another bucketName",
                bucket.region, desired.names.place.region
            ),
        );
        return;
    }
    let owner = plan.read(Facet::BucketTags, &bucket.tags);
    let owner = owner.map(|seen| owner_of(seen.unwrap_or(&Tags::new()), desired, install));
    match &owner {
        Some(Owner::Another(who)) => {
            plan.block(
                "BucketNameTaken",
                format!("spec.bucketName: {name} belongs to {who}; choose another bucketName"),
            );
            return;
        }
        Some(Owner::Unmarked) if !situation.bound => {
            plan.block("BucketNameTaken", format!("spec.bucketName: {name} exists in this account without our mark and is not taken over; choose another bucketName"));
            return;
        }
        None if !situation.bound => return,
        _ => {}
    }
    plan_bucket_facets(plan, sections, desired, bucket, situation, install, key);
    plan_bucket_tags(plan, sections, desired, bucket, owner.as_ref(), situation);
}

fn create_bucket(sections: &mut Sections, desired: &Desired, install: &Installation, key: &KeyForBucket) {
    let policy = match key {
        KeyForBucket::Arn(arn) => {
            let statements = bucket_policy(install, &desired.names.bucket_arn(), arn, &desired.duties);
            Some(Document::new(statements).certified())
        }
        _ => None,
    };
    sections.create.push(Action::CreateBucket { tags: desired.tags.clone() });
    sections.configure.extend([
        Action::BlockPublicAccess,
        Action::PutEncryption { rule: encryption_rule(desired, key) },
        Action::PutBucketPolicy { policy },
    ]);
    if desired.versioning == "Enabled" {
        sections.configure.push(Action::PutVersioning { status: "Enabled" });
    }
    sections.configure.push(Action::PutLifecycle { rules: desired.lifecycle.clone() });
}

fn encryption_rule(desired: &Desired, key: &KeyForBucket) -> Encryption {
    let key = match key {
        KeyForBucket::Arn(arn) => Some(arn.clone()),
        _ => None,
    };
    Encryption { algorithm: "aws:kms".into(), key, bucket_key: desired.bucket_key, sse_c_blocked: true }
}

fn plan_bucket_facets(
    plan: &mut Plan,
    sections: &mut Sections,
    desired: &Desired,
    bucket: &ObservedBucket,
    situation: &Situation,
    install: &Installation,
    key: &KeyForBucket,
) {
    if let Some(seen) = plan.read(Facet::PublicAccessBlock, &bucket.public_access_block)
        && seen != Some(&PublicAccessBlock::ALL)
    {
        drift_if(plan, situation.provisioned, Facet::PublicAccessBlock, "not all four switches are on");
        sections.restrict.push(Action::BlockPublicAccess);
    }
    if let Some(seen) = plan.read(Facet::Ownership, &bucket.ownership)
        && seen.map(String::as_str) != Some("BucketOwnerEnforced")
    {
        drift_if(plan, situation.provisioned, Facet::Ownership, "ACLs are in force");
        sections.restrict.push(Action::EnforceOwnership);
    }
    plan_key_dependent(plan, sections, desired, bucket, situation, install, key);
    if let Some(seen) = plan.read(Facet::Versioning, &bucket.versioning) {
        let seen = seen.map_or("Suspended", String::as_str);
        if seen != desired.versioning {
            drift_if(
                plan,
                situation.provisioned && !situation.spec_changed,
                Facet::Versioning,
                format!("versioning is {seen}"),
            );
            sections.configure.push(Action::PutVersioning { status: desired.versioning });
        }
    }
    if let Some(seen) = plan.read(Facet::Lifecycle, &bucket.lifecycle) {
        let mut seen = seen.cloned().unwrap_or_default();
        seen.sort();
        if seen != desired.lifecycle {
            let names = seen.iter().map(|r| r.id.as_str()).collect::<Vec<_>>().join(", ");
            drift_if(plan, situation.provisioned, Facet::Lifecycle, format!("rules are [{names}]"));
            sections.configure.push(Action::PutLifecycle { rules: desired.lifecycle.clone() });
        }
    }
}

/// Policy and encryption name the key.
fn plan_key_dependent(
    plan: &mut Plan,
    sections: &mut Sections,
    desired: &Desired,
    bucket: &ObservedBucket,
    situation: &Situation,
    install: &Installation,
    key: &KeyForBucket,
) {
    let seen_policy = plan.read(Facet::BucketPolicy, &bucket.policy);
    let seen_encryption = plan.read(Facet::Encryption, &bucket.encryption);
    let KeyForBucket::Arn(arn) = key else {
        if matches!(key, KeyForBucket::Planned) {
            sections.configure.push(Action::PutEncryption { rule: encryption_rule(desired, key) });
            sections.configure.push(Action::PutBucketPolicy { policy: None });
        }
        return;
    };
    if let Some(seen) = seen_policy {
        let statements = bucket_policy(install, &desired.names.bucket_arn(), arn, &desired.duties);
        let merged = merge(&statements, seen, situation.obey);
        note_policy(plan, Facet::BucketPolicy, &merged);
        drift_if(plan, seen.is_none() && situation.provisioned, Facet::BucketPolicy, "there is no bucket policy");
        if let Some(policy) = merged.write {
            sections.restrict.push(Action::PutBucketPolicy { policy: Some(policy) });
        }
    }
    if let Some(seen) = seen_encryption {
        let rule = encryption_rule(desired, key);
        if seen != Some(&rule) {
            let only_bucket_key = seen.is_some_and(|s| Encryption { bucket_key: rule.bucket_key, ..s.clone() } == rule);
            let declared = only_bucket_key && situation.spec_changed;
            drift_if(plan, situation.provisioned && !declared, Facet::Encryption, "default encryption differs");
            sections.configure.push(Action::PutEncryption { rule });
        }
    }
}

fn drift_if(plan: &mut Plan, condition: bool, facet: Facet, difference: impl Into<String>) {
    if condition {
        plan.drifted(facet, difference);
    }
}

fn plan_bucket_tags(
    plan: &mut Plan,
    sections: &mut Sections,
    desired: &Desired,
    bucket: &ObservedBucket,
    owner: Option<&Owner>,
    situation: &Situation,
) {
    if owner == Some(&Owner::Unmarked) && !situation.obey {
        plan.restrict(
            Facet::BucketTags,
            "the owner marks are gone from the bucket; annotate securebucket.io/reconcile-at to put them back",
        );
        return;
    }
    let (Some(owner), Some(seen)) =
        (owner, bucket.tags.value().cloned().or_else(|| bucket.tags.is_absent().then(Tags::new)))
    else {
        return;
    };
    if !tags::satisfied(&seen, &desired.tags, &desired.tags_before) {
        let declared = situation.spec_changed || *owner == Owner::Returning;
        drift_if(plan, situation.provisioned && !declared, Facet::BucketTags, "tags differ");
        let tags = tags::merged(&seen, &desired.tags, &desired.tags_before);
        sections.configure.push(Action::PutBucketTags { tags });
    }
}
