//! From desired and observed to the actions that make a role right. Pure.

use std::fmt;

use super::desired::DesiredRole;
use super::document::{MAX_CHARACTERS, sealed};
use super::observed::{ForeignPolicy, ObservedRole};
use super::state::Problem;
use crate::aws::error::{AwsError, Seen};
use crate::domain::drift::{KEPT, merge};
use crate::domain::policy::{Document, Effect, Statement};
use crate::domain::tags::{self, Tags};

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// CreateRole, with trust, boundary and tags in the call.
    Create {
        /// Trust policy.
        trust: Document,
    },
    /// UpdateAssumeRolePolicy.
    PutTrust {
        /// Document.
        trust: Document,
    },
    /// PutRolePermissionsBoundary.
    PutBoundary,
    /// TagRole.
    Tag,
    /// PutRolePolicy: the role's one document.
    PutDocument {
        /// Document.
        document: Document,
    },
    /// DeleteRolePolicy: our document would be empty.
    DeleteDocument,
    /// DeleteRolePolicy of an inline policy that gives something and is not ours.
    DeleteForeign {
        /// Policy name.
        name: String,
    },
    /// DetachRolePolicy.
    Detach {
        /// Policy ARN.
        arn: String,
    },
    /// DeleteRole.
    Delete,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create { .. } => f.write_str("create the role"),
            Self::PutTrust { .. } => f.write_str("put the trust policy"),
            Self::PutBoundary => f.write_str("put the permissions boundary"),
            Self::Tag => f.write_str("tag the role"),
            Self::PutDocument { .. } => f.write_str("put the role's policy"),
            Self::DeleteDocument => f.write_str("delete the role's policy"),
            Self::DeleteForeign { name } => write!(f, "delete the foreign inline policy {name}"),
            Self::Detach { arn } => write!(f, "detach {arn}"),
            Self::Delete => f.write_str("delete the role"),
        }
    }
}

/// The plan for a role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Plan {
    /// Steps in order: restrict, then create, then the document.
    pub actions: Vec<Action>,
    /// True if the document of the plan allows something that the observed one does not.
    pub widens: bool,
    /// Differences that nobody declared.
    pub drift: Vec<String>,
    /// Stricter than declared, left as it is.
    pub restricted: Vec<String>,
    /// In the way.
    pub problem: Option<Problem>,
    /// Could not be read.
    pub unreadable: Vec<AwsError>,
}

/// Makes the plan. `needed` is false if no duty, grant or held Deny speaks for the role: then it goes, unless a responder's Deny is on it.
pub fn plan(
    desired: &DesiredRole,
    statements: &[Statement],
    needed: bool,
    observed: &Seen<ObservedRole>,
    obey: bool,
) -> Plan {
    let mut plan = Plan::default();
    let role = match observed {
        Seen::Unreadable(e) => {
            plan.unreadable.push(e.clone());
            return plan;
        }
        Seen::Absent => {
            if needed {
                let trust = Document::new(desired.trust.clone()).certified();
                plan.actions.push(Action::Create { trust });
                if !statements.is_empty() {
                    plan.actions.push(Action::PutDocument { document: Document::new(statements.to_vec()).certified() });
                }
                plan.widens = true;
            }
            return plan;
        }
        Seen::Value(role) => role,
    };
    let mark = mark(&role.head.tags, &desired.tags);
    if role.head.arn != desired.arn || mark == Mark::Another {
        let message = format!(
            "role {} exists and is not ours; rename or remove it, or use another ServiceAccount",
            role.head.arn
        );
        plan.problem = Some(Problem::stalled("RoleNameTaken", message));
        return plan;
    }
    // Without our marks the role is narrowed, never widened: what gives access needs the mark, what takes it away needs the ARN.
    let given: Vec<Statement>;
    let statements = if mark == Mark::Gone && !obey {
        plan.restricted.push(
            "the owner marks are gone from the role; annotate securebucket.io/reconcile-at to put them back".into(),
        );
        given = statements.iter().filter(|s| s.effect == Effect::Deny || has(role, s)).cloned().collect();
        &given
    } else {
        if mark == Mark::Gone {
            plan.actions.push(Action::Tag);
        }
        statements
    };
    let mut foreign = Vec::new();
    let lifted = plan_foreign(&mut plan, &mut foreign, &role.foreign, obey);
    let document = plan_document(&mut plan, statements, &lifted, role, obey);
    let (early, late) = if lifted.is_empty() { (None, document) } else { (document, None) };
    // The boundary is first: without it IAM refuses us every other change of the role. Denies of policies that go are in ours before they go.
    plan_boundary(&mut plan, desired, role);
    plan.actions.extend(early);
    plan_trust(&mut plan, desired, role, obey);
    plan.actions.extend(foreign);
    plan.actions.extend(late);
    let clean = plan.restricted.is_empty() && plan.unreadable.is_empty();
    if !needed && clean {
        plan.actions
            .retain(|a| matches!(a, Action::PutBoundary | Action::DeleteForeign { .. } | Action::Detach { .. }));
        if role.document.value().is_some() {
            plan.actions.push(Action::DeleteDocument);
        }
        plan.actions.push(Action::Delete);
    }
    plan
}

fn has(role: &ObservedRole, statement: &Statement) -> bool {
    role.document.value().is_some_and(|d| d.statements.iter().any(|s| s.same_as(statement)))
}

/// Whose a role under our ARN is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Ours,
    /// Somebody stripped marks.
    Gone,
    /// Somebody else's marks.
    Another,
}

fn mark(seen: &Tags, desired: &Tags) -> Mark {
    let keys = [tags::CLUSTER, tags::NAMESPACE, tags::SERVICE_ACCOUNT];
    let present: Vec<&&str> = keys.iter().filter(|k| seen.contains_key(**k)).collect();
    if present.iter().any(|k| seen.get(**k) != desired.get(**k)) {
        Mark::Another
    } else if present.len() == keys.len() {
        Mark::Ours
    } else {
        Mark::Gone
    }
}

fn plan_boundary(plan: &mut Plan, desired: &DesiredRole, role: &ObservedRole) {
    if role.head.boundary.as_ref() != Some(&desired.boundary) {
        plan.drift.push("the permissions boundary is missing or another".into());
        plan.actions.push(Action::PutBoundary);
    }
}

fn plan_trust(plan: &mut Plan, desired: &DesiredRole, role: &ObservedRole, obey: bool) {
    let trust = merge(&desired.trust, Some(&role.head.trust), obey);
    if !trust.loosened.is_empty() {
        plan.drift.push(format!("trust policy: {}", trust.loosened.join(", ")));
    }
    for kept in &trust.kept {
        plan.restricted.push(format!("a Deny that is not ours ({}) is kept in the trust policy", kept.sid));
    }
    if let Some(trust) = trust.write {
        plan.actions.push(Action::PutTrust { trust });
    }
}

/// Policies that are not ours: those that only deny stay, the others go. Denies of those that go are carried over, and returned.
fn plan_foreign(plan: &mut Plan, actions: &mut Vec<Action>, foreign: &[ForeignPolicy], obey: bool) -> Vec<Statement> {
    let mut lifted = Vec::new();
    for policy in foreign {
        match &policy.document {
            Seen::Unreadable(e) => plan.unreadable.push(e.clone()),
            Seen::Value(document) if !obey && document.statements.iter().all(|s| s.effect == Effect::Deny) => {
                plan.restricted.push(format!(
                    "policy {} only denies and is kept; annotate securebucket.io/reconcile-at to remove it",
                    policy.name
                ));
            }
            seen => {
                if let (Seen::Value(document), false) = (seen, obey) {
                    lifted.extend(document.statements.iter().filter(|s| s.effect == Effect::Deny).cloned());
                }
                plan.drift.push(format!("foreign policy {}", policy.name));
                let name = policy.name.clone();
                actions.push(if policy.attached {
                    Action::Detach { arn: name }
                } else {
                    Action::DeleteForeign { name }
                });
            }
        }
    }
    lifted
}

/// The write that makes our document right, if one is needed.
fn plan_document(
    plan: &mut Plan,
    statements: &[Statement],
    lifted: &[Statement],
    role: &ObservedRole,
    obey: bool,
) -> Option<Action> {
    let seen = match &role.document {
        Seen::Unreadable(e) => {
            plan.unreadable.push(e.clone());
            return None;
        }
        seen => seen.value(),
    };
    // Denies of policies that are about to go are merged in as if they stood in ours.
    let with_lifted = (!lifted.is_empty()).then(|| {
        let mut document = seen.cloned().unwrap_or_default();
        document.statements.extend(lifted.iter().cloned());
        document
    });
    let merged = merge(statements, with_lifted.as_ref().or(seen), obey);
    if !merged.loosened.is_empty() {
        plan.drift.push(format!("role policy: {}", merged.loosened.join(", ")));
    }
    for kept in &merged.kept {
        plan.restricted.push(format!("a Deny that is not ours ({}) is kept in the role's policy", kept.sid));
    }
    let written = merged.write?;
    if written.statements.is_empty() {
        return Some(Action::DeleteDocument);
    }
    let document = within_limit(written);
    if seen.is_some_and(|s| s.same_as(&document)) {
        return None;
    }
    let had = |s: &Statement| seen.is_some_and(|d| d.statements.iter().any(|o| o.same_as(s)));
    plan.widens = document.statements.iter().any(|s| s.effect == Effect::Allow && !had(s));
    Some(Action::PutDocument { document })
}

/// The document, or what is left of it where foreign Denies have made it too long for IAM: first the names of those Denies go, then all that
/// gives access, and at last everything is refused. Taking access away always fits.
fn within_limit(document: Document) -> Document {
    let fits = |d: &Document| sealed(d).render().len() <= MAX_CHARACTERS;
    if fits(&document) {
        return document;
    }
    let nameless = document.statements.iter().map(|s| {
        let foreign = s.sid.starts_with(KEPT);
        Statement { sid: if foreign { String::new() } else { s.sid.clone() }, ..s.clone() }
    });
    let nameless = Document::new(nameless.collect()).certified();
    let denies = nameless.statements.iter().filter(|s| s.effect == Effect::Deny).cloned().collect();
    let denies = Document::new(denies).certified();
    let nothing = Document::new(vec![Statement::deny("TooManyForeignDenies").actions(["*"]).resources(["*"])]);
    [nameless, denies].into_iter().find(|d| fits(d)).unwrap_or_else(|| nothing.certified())
}
