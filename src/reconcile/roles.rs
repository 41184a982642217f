//! What passes know of workload roles from each other.

use std::collections::BTreeMap;
use std::sync::Mutex;

use tokio::time::Instant;

use super::context::lock;
use crate::aws::error::Seen;
use crate::role::observed::ObservedRole;
use crate::role::state::{RoleKey, RoleState};

/// What the writer of roles last saw, and what it was asked.
#[derive(Default)]
pub struct Roles {
    states: Mutex<BTreeMap<RoleKey, RoleState>>,
    /// When the look at AWS began that a state comes from: its document at least, which is what proofs stand on.
    looked: Mutex<BTreeMap<RoleKey, Instant>>,
    /// Each role that is there as it was last looked at whole, and when that look began.
    whole: Mutex<BTreeMap<RoleKey, (ObservedRole, Instant)>>,
    /// How often each was asked to obey since it last did.
    obey: Mutex<BTreeMap<RoleKey, u64>>,
}

impl Roles {
    /// State after the last pass, if there was one.
    pub fn get(&self, key: &RoleKey) -> Option<RoleState> {
        lock(&self.states).get(key).cloned()
    }

    /// The state as a look at AWS found it that had nothing in the way, and when that look began.
    pub fn seen(&self, key: &RoleKey) -> Option<(RoleState, Instant)> {
        let at = lock(&self.looked).get(key).copied()?;
        self.get(key).filter(|s| s.problem.is_none()).map(|s| (s, at))
    }

    /// Notes that the state that follows comes from a look at AWS that began then.
    pub fn looked(&self, key: &RoleKey, begun: Instant) {
        lock(&self.looked).insert(key.clone(), begun);
    }

    /// Notes what a look at the whole role found that began then.
    pub fn saw(&self, key: &RoleKey, role: &Seen<ObservedRole>, begun: Instant) {
        match role {
            Seen::Value(role) => _ = lock(&self.whole).insert(key.clone(), (role.clone(), begun)),
            Seen::Absent | Seen::Unreadable(_) => _ = lock(&self.whole).remove(key),
        }
    }

    /// The role as the last look at the whole of it found it, and when that began; `None` if it was not there, or could not be read.
    pub fn whole(&self, key: &RoleKey) -> Option<(ObservedRole, Instant)> {
        lock(&self.whole).get(key).cloned()
    }

    /// Notes the state after a pass. True if it differs from the one before.
    pub fn set(&self, key: &RoleKey, state: RoleState) -> bool {
        let before = lock(&self.states).insert(key.clone(), state.clone());
        before.as_ref() != Some(&state)
    }

    /// Asks the next pass to undo what responders tightened.
    pub fn ask_to_obey(&self, key: &RoleKey) {
        *lock(&self.obey).entry(key.clone()).or_default() += 1;
    }

    /// `Some` if that was asked and is not done yet.
    pub fn must_obey(&self, key: &RoleKey) -> Option<u64> {
        lock(&self.obey).get(key).copied()
    }

    /// A pass that began with this has done it. What was asked since then, by somebody who saw more than that pass, is still to be done.
    pub fn obeyed(&self, key: &RoleKey, asked: u64) {
        let mut obey = lock(&self.obey);
        if obey.get(key) == Some(&asked) {
            obey.remove(key);
        }
    }
}
