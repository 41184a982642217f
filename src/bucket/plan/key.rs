//! The plan for the key: its existence, its state, its facets.

use super::{Draft, KeyForBucket};
use crate::api::lockdown::LockdownLevel;
use crate::api::secure_bucket::ForeignGrants;
use crate::aws::error::Seen;
use crate::bucket::action::{Action, Facet};
use crate::bucket::foreign::{KeyGrant, Whose, classify};
use crate::bucket::observed::{KeyState, ObservedKey};
use crate::bucket::policies::{DutyRoles, key_policy, standing_roles};
use crate::domain::drift::{merge, stages};
use crate::domain::policy::{Document, Statement};
use crate::domain::tags::{self, Owner, Tags};

/// KMS grants that one plan revokes; the next plan has the rest.
const MOST_REVOKED: usize = 100;

impl Draft<'_> {
    pub(super) fn key(&mut self, seen: &Seen<ObservedKey>) -> KeyForBucket {
        let key = match seen {
            Seen::Value(key) => key,
            Seen::Unreadable(e) => {
                self.plan.unreadable.push((Facet::Key, e.clone()));
                // The bucket's Denies can be kept right without looking at the key.
                return self.situation.key_arn.clone().map_or(KeyForBucket::None, KeyForBucket::Known);
            }
            Seen::Absent => return self.new_key(),
        };
        self.plan.key_state = Some(key.state.clone());
        self.disable(key);
        let none = Tags::new();
        let seen_tags = self.plan.read(Facet::KeyTags, &key.tags).map(|t| t.unwrap_or(&none));
        let owner = seen_tags.map(|t| self.owner(t));
        let recorded = self.situation.key_arn.as_ref() == Some(&key.arn);
        if !self.key_is_ours(key, owner.as_ref(), recorded) {
            return KeyForBucket::None;
        }
        let returning = owner == Some(Owner::Returning);
        let wanted = match key.state {
            // Recorded, and still marked for the earlier object: its way back from deletion was interrupted halfway.
            KeyState::Disabled => self.situation.obey || returning && recorded || self.situation.key_disabled,
            KeyState::PendingDeletion => self.situation.obey || returning,
            KeyState::Enabled | KeyState::Other(_) => false,
        };
        let opens = wanted && !self.shut() && self.may_widen(owner.as_ref());
        if !opens {
            self.closed(key);
        }
        self.plan.withheld |= wanted && !opens;
        // So a key that somebody disabled is marked first and recorded in the next round.
        let marked_first = returning && !recorded && key.state == KeyState::Disabled;
        if !recorded && !marked_first {
            self.create.push(Action::RecordKey { arn: key.arn.clone() });
        }
        // Most calls fail on a key that is pending deletion (KMS Developer Guide, key-state).
        let usable = matches!(key.state, KeyState::Enabled | KeyState::Disabled);
        // What may belong to somebody else by now is only narrowed.
        if owner.is_some() {
            self.alias(key, usable && !marked_first);
            self.rotation(key);
        }
        if usable || opens {
            self.key_policy(key, owner.as_ref(), opens);
        }
        // After the policy, under which the next one could be made.
        self.grants(key);
        // A key on its way back is marked when it has arrived.
        if let (Some(seen), true) = (seen_tags, usable && !(returning && opens)) {
            self.key_tags(seen, owner.as_ref());
        }
        match key.state {
            // Under a key without our marks no bucket is made: whom its policy lets in is not ours to say.
            KeyState::Enabled if self.may_widen(owner.as_ref()) => KeyForBucket::Ready(key.arn.clone()),
            _ => KeyForBucket::Known(key.arn.clone()),
        }
    }

    /// A lockdown of everything disables a key that status names, whatever its tags say: that takes away and needs no mark.
    fn disable(&mut self, key: &ObservedKey) {
        let recorded = self.situation.key_arn.as_ref() == Some(&key.arn);
        if self.locks_all() && recorded && key.state == KeyState::Enabled {
            if self.situation.key_disabled {
                self.plan.drifted(Facet::Key, "the key was enabled during a lockdown");
            }
            self.restrict.push(Action::DisableKey);
        }
    }

    fn locks_all(&self) -> bool {
        self.desired.lock.as_ref().is_some_and(|lock| lock.level == LockdownLevel::All)
    }

    fn new_key(&mut self) -> KeyForBucket {
        if let Some(arn) = self.situation.key_arn.clone() {
            self.plan.block("KeyGone", format!("key {arn} no longer exists; what it encrypted cannot be read by anybody. A second key is not made: create another SecureBucket"));
            return KeyForBucket::Known(arn);
        }
        if self.situation.attempt_pending {
            self.plan.waiting_for_key = true;
            return KeyForBucket::None;
        }
        if self.situation.releasing {
            return KeyForBucket::None;
        }
        let policy = Document::new(self.declared_key_policy(&self.desired.duties)).certified();
        self.create.extend([
            Action::AnnounceKey,
            Action::CreateKey { policy, tags: self.desired.tags.clone() },
            Action::CreateAlias,
        ]);
        self.configure.push(Action::EnableRotation { days: self.desired.rotation_days });
        KeyForBucket::Planned
    }

    fn declared_key_policy(&self, duties: &DutyRoles) -> Vec<Statement> {
        let names = &self.desired.names;
        key_policy(self.install, &names.place, &names.bucket_arn(), duties)
    }

    /// False if the key must not be touched. Without readable tags only a recorded key is taken for ours.
    fn key_is_ours(&mut self, key: &ObservedKey, owner: Option<&Owner>, recorded: bool) -> bool {
        match owner {
            Some(Owner::Another(who)) => {
                self.plan.block(
                    "OwnedByAnother",
                    format!(
                        "key {} belongs to {who}; remove our alias from it, or take that object away first",
                        key.arn
                    ),
                );
                false
            }
            Some(Owner::Unmarked) if !recorded => {
                self.plan.block(
                    "OwnedByAnother",
                    format!(
                        "key {} has our alias but not our tags; remove the alias {}",
                        key.arn,
                        self.desired.names.alias(self.install)
                    ),
                );
                false
            }
            None => recorded,
            Some(Owner::Ours | Owner::Returning | Owner::Unmarked) => true,
        }
    }

    /// Says what is in the way of a key that is not enabled, and stays so.
    fn closed(&mut self, key: &ObservedKey) {
        match &key.state {
            KeyState::Enabled => {}
            // By us, for a lockdown.
            KeyState::Disabled if self.situation.key_disabled => {}
            KeyState::Disabled if self.locks_all() => {
                self.plan.restrict(
                    Facet::Key,
                    format!(
                        "key {} was disabled by hand before the lockdown could; lifting will not enable it",
                        key.arn
                    ),
                );
            }
            KeyState::Disabled => {
                self.plan.restrict(Facet::Key, format!("key {} is disabled: nobody reads or writes. Left as it is; annotate securebucket.io/reconcile-at to enable it", key.arn));
                self.plan.block("KeyDisabled", format!("key {} was disabled by hand; enable it in AWS, or annotate this object with securebucket.io/reconcile-at", key.arn));
            }
            KeyState::PendingDeletion => {
                self.plan.restrict(Facet::Key, format!("key {} is scheduled for deletion", key.arn));
                self.plan.block("KeyPendingDeletion", format!("key {} is scheduled for deletion: when that happens all data is lost. Cancel it in AWS, or annotate this object with securebucket.io/reconcile-at", key.arn));
            }
            KeyState::Other(word) => self.plan.block("KeyUnusable", format!("key {} is in state {word}", key.arn)),
        }
    }

    fn alias(&mut self, key: &ObservedKey, usable: bool) {
        match self.plan.read(Facet::Key, &key.alias_target) {
            Some(None) if usable => {
                self.drifted(Facet::Key, "the alias is missing");
                self.create.push(Action::CreateAlias);
            }
            Some(Some(target)) if usable && *target != key.arn => {
                self.plan.drifted(Facet::Key, format!("the alias points to {target}"));
                self.create.push(Action::PointAlias);
            }
            _ => {}
        }
    }

    /// Rotation cannot be changed while the key is disabled (KMS API, EnableKeyRotation).
    fn rotation(&mut self, key: &ObservedKey) {
        if key.state != KeyState::Enabled || self.locks_all() {
            return;
        }
        let Some(seen) = self.plan.read(Facet::Rotation, &key.rotation_days) else { return };
        let days = seen.copied().flatten();
        if days != Some(self.desired.rotation_days) {
            let what = days.map_or("rotation is off".into(), |d| format!("rotation every {d} days"));
            self.drifted_from_spec(Facet::Rotation, what);
            self.configure.push(Action::EnableRotation { days: self.desired.rotation_days });
        }
    }

    fn key_policy(&mut self, key: &ObservedKey, owner: Option<&Owner>, opens: bool) {
        let Some(seen) = self.plan.read(Facet::KeyPolicy, &key.policy) else { return };
        let obey = self.situation.obey;
        let merged = merge(&self.declared_key_policy(&self.desired.duties), seen, obey);
        self.note_policy(Facet::KeyPolicy, &merged);
        if opens {
            if key.state == KeyState::PendingDeletion {
                // Leaves the key disabled (KMS API, CancelKeyDeletion).
                self.configure.push(Action::CancelKeyDeletion);
            }
            // Under a policy that was just written: somebody may have changed it since it was looked at, or while nobody could use the key.
            let policy = merged.write.or_else(|| seen.cloned()).map(|policy| Action::PutKeyPolicy { policy });
            self.widen.extend(policy.into_iter().chain([Action::EnableKey]));
            return;
        }
        let Some(target) = merged.write else { return };
        // Roles that may use the key already go on without a break; those that are new to it come last.
        let roles = seen.map(|d| standing_roles(d, &self.desired.names.place)).unwrap_or_default();
        let at_once = merge(&self.declared_key_policy(&self.desired.duties.among(&roles)), seen, obey);
        let at_once = at_once.write.or_else(|| seen.cloned()).unwrap_or_default();
        let staged = stages(seen, &at_once.statements, target);
        let put = |policy| Action::PutKeyPolicy { policy };
        self.restrict.extend(staged.first.map(put));
        self.last(staged.last.map(put), owner);
    }

    /// What is left over of ours is revoked; what somebody else made only if the owner says so. Both work in every state of a key (KMS
    /// Developer Guide, key-state).
    fn grants(&mut self, key: &ObservedKey) {
        let Some(seen) = self.plan.read(Facet::Grants, &key.grants) else { return };
        let all = classify(seen.map_or(&[], Vec::as_slice), &self.situation.claims, self.install);
        let revoked = |g: &&KeyGrant| match g.whose {
            Whose::LeftOver => true,
            Whose::Foreign => self.desired.effective.foreign_grants == Some(ForeignGrants::Revoke),
            Whose::Ours(_) | Whose::Unknown => false,
        };
        let revoke = |g: &KeyGrant| Action::RevokeGrant { id: g.seen.id.clone(), foreign: g.whose == Whose::Foreign };
        self.restrict.extend(all.iter().filter(revoked).take(MOST_REVOKED).map(revoke));
        self.plan.foreign.extend(all.iter().filter_map(KeyGrant::foreign));
        self.plan.grants = Some(all);
    }

    fn key_tags(&mut self, seen: &Tags, owner: Option<&Owner>) {
        let desired = self.desired;
        if owner == Some(&Owner::Unmarked) && !self.situation.obey {
            self.plan.restrict(
                Facet::KeyTags,
                "the owner marks are gone from the key; annotate securebucket.io/reconcile-at to put them back",
            );
            return;
        }
        if tags::satisfied(seen, &desired.tags, &desired.tags_before) {
            return;
        }
        if owner == Some(&Owner::Ours) {
            self.drifted_from_spec(Facet::KeyTags, "tags differ");
        }
        let remove = desired
            .tags_before
            .iter()
            .filter(|k| seen.contains_key(*k) && !desired.tags.contains_key(*k))
            .cloned()
            .collect();
        self.configure.push(Action::TagKey { set: desired.tags.clone(), remove });
    }
}
