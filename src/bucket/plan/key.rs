//! The plan for the key: its existence, its state, its facets.

use super::{KeyForBucket, Plan, Sections, Situation, note_policy, owner_of};
use crate::aws::error::Seen;
use crate::bucket::action::{Action, Facet};
use crate::bucket::desired::Desired;
use crate::bucket::observed::{KeyState, Observed, ObservedKey};
use crate::bucket::policies::key_policy;
use crate::domain::drift::merge;
use crate::domain::installation::Installation;
use crate::domain::policy::{Document, Statement};
use crate::domain::tags::{self, Owner, Tags};

pub(super) fn plan_key(
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
