//! From desired and observed to the actions that make them agree. Pure. An empty plan is the definition of "in sync".
//!
//! Order: restrict what exists, create, configure, widen last. A stale or forbidden read never widens: what could not be read is not touched,
//! unless the touch only narrows.

mod bucket;
mod key;

use super::action::{Action, Facet};
use super::desired::Desired;
use super::observed::Observed;
use crate::aws::error::{AwsError, Seen};
use crate::domain::drift::Merge;
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
    let key = key::plan_key(&mut plan, &mut sections, desired, observed, situation, install);
    bucket::plan_bucket(&mut plan, &mut sections, desired, observed, situation, install, &key);
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

fn drift_if(plan: &mut Plan, condition: bool, facet: Facet, difference: impl Into<String>) {
    if condition {
        plan.drifted(facet, difference);
    }
}
