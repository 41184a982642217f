//! What the writer of a role tells the slices that depend on it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;

use crate::api::lockdown::LockdownLevel;
use crate::domain::policy::Document;

/// A workload role, by the ServiceAccount that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RoleKey {
    /// Namespace.
    pub namespace: String,
    /// ServiceAccount.
    pub service_account: String,
}

impl fmt::Display for RoleKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.service_account)
    }
}

/// A role after a pass of its writer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleState {
    /// Unique id, if the role exists.
    pub role_id: Option<String>,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// The inline policy as read back.
    pub document: Option<Document>,
    /// When this process first saw the document as it is now: what propagation is counted from. After a restart it counts anew.
    pub document_since: Option<Timestamp>,
    /// Identities of the buckets on which a duty is in force.
    pub duties: BTreeSet<String>,
    /// Identities of the buckets on which a lockdown holds a duty back, and how far.
    pub locked: BTreeMap<String, LockdownLevel>,
    /// Uids of grants that found no room in the document.
    pub left_out: BTreeSet<String>,
    /// What keeps the role from being as it should.
    pub problem: Option<Problem>,
    /// What somebody made stricter by hand and is left.
    pub restricted: Vec<String>,
}

/// Something in the way, as a condition says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// CamelCase word.
    pub reason: String,
    /// What, and the way out.
    pub message: String,
    /// True if a human is needed.
    pub stalled: bool,
}

impl Problem {
    /// A problem that needs a human.
    pub fn stalled(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { reason: reason.into(), message: message.into(), stalled: true }
    }

    /// A problem that passes.
    pub fn passing(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { reason: reason.into(), message: message.into(), stalled: false }
    }
}
