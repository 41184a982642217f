//! From desired and observed to the actions that make them agree. Pure. An empty plan is the definition of "in sync".
//!
//! Order: restrict what exists, create, configure, widen last. A policy that both takes and gives is written twice, first without what it
//! gives. What could not be read is not touched, and what does not carry our mark is only narrowed.

mod bucket;
mod key;

use super::action::{Action, Facet};
use super::desired::Desired;
use super::foreign::{Claims, KeyGrant};
use super::observed::{KeyState, Observed};
use crate::aws::error::{AwsError, Seen};
use crate::domain::drift::Merge;
use crate::domain::foreign::{Foreign, Kind};
use crate::domain::installation::Installation;
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
    /// What DecryptGrants say of the KMS grants on the key.
    pub claims: Claims,
    /// True if `reconcile-at` asks for the declared state, responders' restrictions included.
    pub obey: bool,
    /// True if status notes that we have disabled the key, or were about to, for a lockdown.
    pub key_disabled: bool,
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
    /// From this position on the steps give access: after a failure they are left out.
    pub widening: usize,
    /// True if the bucket was seen, and is ours by its marks or by what status says.
    pub owns_bucket: bool,
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
    /// State of the key, if it was seen.
    pub key_state: Option<KeyState>,
    /// True if something is narrower than declared and stays so, because nothing may be given now.
    pub withheld: bool,
    /// KMS grants on the key, and whose they are; `None` if they were not seen.
    pub grants: Option<Vec<KeyGrant>>,
    /// Access that somebody gave outside the operator.
    pub foreign: Vec<Foreign>,
}

impl Plan {
    /// True if observed and desired agree and nothing is in the way.
    pub fn in_sync(&self) -> bool {
        self.finished() && self.blocked.is_empty()
    }

    /// True if nothing is left to do, to read or to wait for; what is blocked needs somebody.
    pub fn finished(&self) -> bool {
        self.actions.is_empty() && self.unreadable.is_empty() && !self.waiting_for_key
    }

    /// True if nothing is in the way or unknown so far: while something is, nothing is made and nothing is given.
    fn clear(&self) -> bool {
        self.blocked.is_empty() && self.unreadable.is_empty()
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

/// Makes the plan.
pub fn plan(desired: &Desired, observed: &Observed, situation: &Situation, install: &Installation) -> Plan {
    // On the way out, and during a lockdown, nothing is given, and what a responder closed is not opened.
    let shut = situation.releasing || desired.lock.is_some();
    let situation = Situation { obey: situation.obey && !shut, ..situation.clone() };
    let mut draft = Draft {
        desired,
        situation,
        install,
        plan: Plan::default(),
        restrict: Vec::new(),
        create: Vec::new(),
        configure: Vec::new(),
        widen: Vec::new(),
    };
    let key = draft.key(&observed.key);
    draft.bucket(&observed.bucket, &key);
    // There is no key for a bucket that cannot be had.
    if matches!(key, KeyForBucket::Planned) && draft.plan.blocked.iter().any(|b| b.reason.starts_with("Bucket")) {
        draft.create.clear();
        draft.configure.clear();
    }
    let Draft { mut plan, situation, mut restrict, create, configure, mut widen, .. } = draft;
    if shut || !plan.clear() {
        plan.withheld |= !widen.is_empty();
        widen.clear();
    }
    if widen.iter().any(|a| matches!(a, Action::PutKeyPolicy { .. }))
        && !restrict.iter().any(|a| matches!(a, Action::PutBucketPolicy { .. }))
    {
        // Nobody gets the key before the Denies that hold him back were just written, whatever has happened to those since they were seen.
        let policy = observed.bucket.value().and_then(|b| b.policy.value().cloned());
        restrict.extend(policy.map(|policy| Action::PutBucketPolicy { policy: Some(policy) }));
    }
    if desired.lock.is_some() {
        // A key without a bucket encrypts nothing, and the bucket could not be made under a disabled one.
        let pending = observed.bucket.is_absent() && !situation.bound;
        restrict.retain(|a| !pending || *a != Action::DisableKey);
        // The bucket policy refuses everybody at once; all else takes away from some.
        restrict.sort_by_key(|a| !matches!(a, Action::PutBucketPolicy { .. }));
    }
    plan.widening = restrict.len() + create.len() + configure.len();
    plan.actions = restrict.into_iter().chain(create).chain(configure).chain(widen).collect();
    plan
}

/// A plan in the making, its steps by section, in the order in which the sections run.
struct Draft<'a> {
    desired: &'a Desired,
    situation: Situation,
    install: &'a Installation,
    plan: Plan,
    restrict: Vec<Action>,
    create: Vec<Action>,
    configure: Vec<Action>,
    widen: Vec<Action>,
}

/// What the bucket may count on.
enum KeyForBucket {
    /// This key, ready for use.
    Ready(String),
    /// This key, but it is gone, closed, or not seen: policies name it, and nothing new is put under it.
    Known(String),
    /// An action of this plan makes one.
    Planned,
    /// There is none, and none will be.
    None,
}

impl KeyForBucket {
    /// What names the key; nothing does before it is made.
    fn arn(&self) -> Option<&String> {
        match self {
            Self::Ready(arn) | Self::Known(arn) => Some(arn),
            Self::Planned | Self::None => None,
        }
    }
}

impl Draft<'_> {
    fn owner(&self, seen: &Tags) -> Owner {
        let names = &self.desired.names;
        tags::owner(seen, &self.install.cluster, &names.identity, &names.uid)
    }

    /// True if what is so owned may be given to anybody. Where marks are gone, they are put back first if that is asked for.
    fn may_widen(&self, owner: Option<&Owner>) -> bool {
        match owner {
            Some(Owner::Ours | Owner::Returning) => true,
            Some(Owner::Unmarked) => self.situation.obey,
            Some(Owner::Another(_)) | None => false,
        }
    }

    /// True if nothing may be given now.
    fn shut(&self) -> bool {
        self.situation.releasing || self.desired.lock.is_some()
    }

    /// The last write of a change, which gives something.
    fn last(&mut self, action: Option<Action>, owner: Option<&Owner>) {
        if self.may_widen(owner) {
            self.widen.extend(action);
        } else {
            self.plan.withheld |= action.is_some();
        }
    }

    /// Notes what a policy merge found.
    fn note_policy(&mut self, facet: Facet, merged: &Merge) {
        if !merged.loosened.is_empty() {
            self.plan.drifted(facet, format!("missing, changed or foreign statements: {}", merged.loosened.join(", ")));
        }
        let kind = if facet == Facet::KeyPolicy { Kind::KeyPolicy } else { Kind::BucketPolicy };
        self.plan.foreign.extend(merged.foreign.iter().map(|sid| Foreign::allow(kind, sid)));
        for kept in &merged.kept {
            self.plan.restrict(
                facet,
                format!(
                    "a Deny that is not ours ({}) is kept in the {}; annotate securebucket.io/reconcile-at to remove it",
                    kept.sid,
                    facet.name()
                ),
            );
        }
    }

    /// Notes a difference as drift, if everything was once read back complete: before that it is work under way.
    fn drifted(&mut self, facet: Facet, difference: impl Into<String>) {
        if self.situation.provisioned {
            self.plan.drifted(facet, difference);
        }
    }

    /// The same for what the spec sets: after a change of the spec it is no drift either.
    fn drifted_from_spec(&mut self, facet: Facet, difference: impl Into<String>) {
        if !self.situation.spec_changed {
            self.drifted(facet, difference);
        }
    }
}
