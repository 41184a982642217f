//! From desired and observed to the actions that make a role right. Pure.

use std::fmt;

use super::desired::DesiredRole;
use super::observed::{ForeignPolicy, ObservedRole};
use super::state::Problem;
use crate::aws::error::{AwsError, Seen};
use crate::domain::drift::merge;
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
    if role.head.arn != desired.arn || !marked(&role.head.tags, &desired.tags) {
        let message = format!(
            "role {} exists and is not ours; rename or remove it, or use another ServiceAccount",
            role.head.arn
        );
        plan.problem = Some(Problem::stalled("RoleNameTaken", message));
        return plan;
    }
    plan_head(&mut plan, desired, role, obey);
    let lifted = plan_foreign(&mut plan, &role.foreign, obey);
    plan_document(&mut plan, statements, &lifted, role, obey);
    let clean = plan.restricted.is_empty() && plan.unreadable.is_empty();
    if !needed && clean {
        plan.actions.retain(|a| matches!(a, Action::DeleteForeign { .. } | Action::Detach { .. }));
        if role.document.value().is_some() {
            plan.actions.push(Action::DeleteDocument);
        }
        plan.actions.push(Action::Delete);
    }
    plan
}

fn marked(seen: &Tags, desired: &Tags) -> bool {
    [tags::CLUSTER, tags::NAMESPACE, tags::SERVICE_ACCOUNT]
        .iter()
        .all(|k| seen.get(*k).is_some() && seen.get(*k) == desired.get(*k))
}

fn plan_head(plan: &mut Plan, desired: &DesiredRole, role: &ObservedRole, obey: bool) {
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
    if role.head.boundary.as_ref() != Some(&desired.boundary) {
        plan.drift.push("the permissions boundary is missing or another".into());
        plan.actions.push(Action::PutBoundary);
    }
}

/// Policies that are not ours: those that only deny stay, the others go. Denies of those that go are carried over, and returned.
fn plan_foreign(plan: &mut Plan, foreign: &[ForeignPolicy], obey: bool) -> Vec<Statement> {
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
                plan.actions.push(if policy.attached {
                    Action::Detach { arn: name }
                } else {
                    Action::DeleteForeign { name }
                });
            }
        }
    }
    lifted
}

fn plan_document(plan: &mut Plan, statements: &[Statement], lifted: &[Statement], role: &ObservedRole, obey: bool) {
    let seen = match &role.document {
        Seen::Unreadable(e) => {
            plan.unreadable.push(e.clone());
            return;
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
    match merged.write {
        Some(document) if document.statements.is_empty() => plan.actions.insert(0, Action::DeleteDocument),
        Some(document) => {
            let had = |s: &Statement| seen.is_some_and(|d| d.statements.iter().any(|o| o.same_as(s)));
            plan.widens = document.statements.iter().any(|s| s.effect == Effect::Allow && !had(s));
            let narrows_first = !lifted.is_empty();
            let action = Action::PutDocument { document };
            // Lifted Denies must be in ours before the policy that had them goes; otherwise the document comes last.
            if narrows_first { plan.actions.insert(0, action) } else { plan.actions.push(action) }
        }
        None => {}
    }
}
