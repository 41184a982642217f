//! From desired and observed to the actions that make a role right. Pure.

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::desired::DesiredRole;
use super::document::{MAX_CHARACTERS, sealed, without_own_ends};
use super::observed::{ObservedRole, RoleHead};
use super::state::Problem;
use crate::aws::error::{AwsError, Seen};
use crate::domain::drift::{KEPT, Stages, merge, merge_carrying, stages, until_last};
use crate::domain::foreign::{Foreign, Kind};
use crate::domain::policy::{Document, Effect, Statement};
use crate::domain::tags::{self, Tags};
use crate::domain::time::after;

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

impl Action {
    /// True if it writes or deletes our document, and nothing else of the role.
    pub fn is_of_document(&self) -> bool {
        matches!(self, Self::PutDocument { .. } | Self::DeleteDocument)
    }
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
    /// Steps in order: restrict, then create, then what the document gives.
    pub actions: Vec<Action>,
    /// From this position on the steps give access: after a failure they are left out.
    pub widening: usize,
    /// True if some steps give access: what they give must be computed from what the API server says now.
    pub widens: bool,
    /// Differences that nobody declared.
    pub drift: Vec<String>,
    /// Access among them that somebody gave.
    pub foreign: Vec<Foreign>,
    /// Stricter than declared, left as it is.
    pub restricted: Vec<String>,
    /// In the way.
    pub problem: Option<Problem>,
    /// Could not be read.
    pub unreadable: Vec<AwsError>,
}

impl Plan {
    /// Leaves out what gives access, and says until when: another process led until just now. True if there was anything to leave out.
    pub fn hold_back(&mut self) -> bool {
        if !self.widens {
            return false;
        }
        self.actions.truncate(self.widening);
        self.widens = false;
        let message = "another process led until just now; access is given when its lease is over";
        self.problem.get_or_insert_with(|| Problem::passing("Progressing", message));
        true
    }
}

/// Whether a role has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A duty or a grant speaks for it, or something that it holds.
    Needed,
    /// Nothing does, but it was used or made a short while ago: it keeps no policy, and stays.
    Resting,
    /// Nothing does: it goes, unless a responder's Deny is on it.
    Unneeded,
}

/// Whether a role has to be at `now`, for these statements. One that is there stays for a Deny as well, and for a duty that a lockdown holds
/// back: made anew, it would be another principal to KMS. One that is not there can do nothing that had to be denied.
pub fn need(
    statements: &[Statement],
    held_back: bool,
    observed: &Seen<ObservedRole>,
    retention: Duration,
    now: Timestamp,
) -> Need {
    let allows = statements.iter().any(|s| s.effect == Effect::Allow);
    if allows || !observed.is_absent() && (!statements.is_empty() || held_back) {
        return Need::Needed;
    }
    match observed.value().map(|role| rests_until(&role.head, retention)) {
        Some(until) if now < until => Need::Resting,
        _ => Need::Unneeded,
    }
}

/// Until when a role stays that nothing speaks for.
pub fn rests_until(head: &RoleHead, retention: Duration) -> Timestamp {
    let last = head.last_used.map_or(head.created, |used| used.max(head.created));
    after(last, SignedDuration::try_from(retention).unwrap_or(SignedDuration::MAX))
}

/// Makes the plan.
pub fn plan(
    desired: &DesiredRole,
    statements: &[Statement],
    need: Need,
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
            if need == Need::Needed {
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
    let stripped = mark == Mark::Gone;
    if stripped && !obey {
        plan.restricted.push(
            "the owner marks are gone from the role; annotate securebucket.io/reconcile-at to put them back".into(),
        );
    }
    let Others { removals, lifted, lingering } = plan_foreign(&mut plan, role, obey);
    let mut document = plan_document(&mut plan, statements, &lifted, role, obey);
    let mut trust = plan_trust(&mut plan, desired, role, obey);
    let clean = plan.restricted.is_empty() && plan.unreadable.is_empty();
    if need == Need::Unneeded && clean {
        delete(&mut plan, desired, role, removals);
        return plan;
    }
    // What gives access needs our marks, a reason, a look at everything, and nobody else's Allow beside it; what takes it away needs the ARN.
    let closed = stripped && !obey || !plan.unreadable.is_empty() || lingering;
    if closed {
        document.last = None;
    }
    if closed || need != Need::Needed {
        trust.last = None;
    }
    // The boundary is first: without it IAM refuses us every other change of the role.
    plan_boundary(&mut plan, desired, role);
    let between = plan.actions.len() + removals.len() + usize::from(stripped && obey);
    if between == 0 && trust == Stages::default() && document.last.is_some() {
        document.first = None;
    }
    plan.actions.extend(document.first.map(write));
    plan.actions.extend(trust.first.map(|trust| Action::PutTrust { trust }));
    plan.actions.extend(removals);
    plan.actions.extend((stripped && obey).then_some(Action::Tag));
    plan.widening = plan.actions.len();
    plan.actions.extend(trust.last.map(|trust| Action::PutTrust { trust }));
    plan.actions.extend(document.last.map(write));
    plan.widens = plan.widening < plan.actions.len();
    plan
}

/// Policies first: IAM deletes no role that has any.
fn delete(plan: &mut Plan, desired: &DesiredRole, role: &ObservedRole, removals: Vec<Action>) {
    plan_boundary(plan, desired, role);
    let mut theirs = role.foreign.iter().filter_map(|p| p.document.value()).flat_map(|d| &d.statements);
    let refused = theirs.any(|s| s.effect == Effect::Deny);
    let closing = refused || !removals.is_empty();
    // Others' Denies may go, or their Allows may not: until all is gone, nothing is allowed in their place.
    let closed = Document::new(vec![Statement::deny("UntilDeleted").actions(["*"]).resources(["*"])]).certified();
    if closing && !role.document.value().is_some_and(|d| d.same_as(&closed)) {
        plan.actions.push(Action::PutDocument { document: closed });
    }
    plan.actions.extend(removals);
    let removed = plan.actions.len();
    if closing || role.document.value().is_some() {
        plan.actions.push(Action::DeleteDocument);
    }
    plan.actions.push(Action::Delete);
    // What closes the role leaves it only if nothing failed: then somebody else's Allow would still be there.
    plan.widening = if closing { removed } else { plan.actions.len() };
    plan.widens = closing;
}

fn write(document: Document) -> Action {
    if document.statements.is_empty() { Action::DeleteDocument } else { Action::PutDocument { document } }
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

fn plan_trust(plan: &mut Plan, desired: &DesiredRole, role: &ObservedRole, obey: bool) -> Stages {
    let seen = &role.head.trust;
    let merged = merge(&desired.trust, Some(seen), obey);
    if !merged.loosened.is_empty() {
        plan.drift.push(format!("trust policy: {}", merged.loosened.join(", ")));
    }
    plan.foreign.extend(merged.foreign.iter().map(|sid| Foreign::allow(Kind::TrustPolicy, sid)));
    for kept in &merged.kept {
        plan.restricted.push(format!("a Deny that is not ours ({}) is kept in the trust policy", kept.sid));
    }
    let Some(target) = merged.write else { return Stages::default() };
    let at_once = without_new(&target, Some(seen));
    // IAM takes no trust policy without a statement.
    let staged = stages(Some(seen), &at_once, target);
    Stages { first: staged.first.filter(|d| !d.statements.is_empty()), ..staged }
}

/// The document without the Allows that the observed one does not have. A standing Allow that takes the place of a wider one is not new.
fn without_new(target: &Document, seen: Option<&Document>) -> Vec<Statement> {
    let goes = |o: &Statement| !target.statements.iter().any(|t| t.same_as(o));
    let dated = |s: &Statement| s.condition("DateLessThan", "aws:CurrentTime").is_some();
    let replaces = |s: &Statement, o: &Statement| !dated(s) && goes(o) && s.gives_no_more_than(o);
    let has = |s: &Statement| seen.is_some_and(|d| d.statements.iter().any(|o| o.same_as(s) || replaces(s, o)));
    target.statements.iter().filter(|s| s.effect == Effect::Deny || has(s)).cloned().collect()
}

/// What is to be done about policies that are not ours.
#[derive(Default)]
struct Others {
    /// Their removal.
    removals: Vec<Action>,
    /// Denies that stand in them and are carried over; if the declared state is asked for, only until all else is done.
    lifted: Vec<Statement>,
    /// One that allows something stays until its Denies are seen in our document: a Deny of ours that left now would be missed.
    lingering: bool,
}

/// Policies that only deny stay, the others go. Denies of those that go are carried over; a policy goes only when its Denies are seen in our
/// document.
fn plan_foreign(plan: &mut Plan, role: &ObservedRole, obey: bool) -> Others {
    let mut all = Others::default();
    let carried =
        |deny: &Statement| role.document.value().is_some_and(|ours| ours.statements.iter().any(|s| deny.implied_by(s)));
    for policy in &role.foreign {
        let document = match &policy.document {
            Seen::Unreadable(e) => {
                plan.unreadable.push(e.clone());
                continue;
            }
            seen => seen.value(),
        };
        let statements = || document.into_iter().flat_map(|d| &d.statements);
        let denies: Vec<Statement> = statements().filter(|s| s.effect == Effect::Deny).cloned().collect();
        if !obey && !denies.is_empty() && denies.len() == statements().count() {
            plan.restricted.push(format!(
                "policy {} only denies and is kept; annotate securebucket.io/reconcile-at to remove it",
                policy.name
            ));
            continue;
        }
        plan.drift.push(format!("foreign policy {}", policy.name));
        let kind = if policy.attached { Kind::AttachedPolicy } else { Kind::InlinePolicy };
        let allows = statements().any(|s| s.effect == Effect::Allow);
        plan.foreign.extend(allows.then(|| Foreign::policy(kind, &policy.name)));
        let name = policy.name.clone();
        let removal = if policy.attached { Action::Detach { arn: name } } else { Action::DeleteForeign { name } };
        let safe = if obey { role.document.failure().is_none() } else { denies.iter().all(carried) };
        let goes = safe || denies.is_empty();
        all.lingering |= !goes && denies.len() < statements().count();
        all.removals.extend(goes.then_some(removal));
        all.lifted.extend(denies);
    }
    all
}

/// The writes that make our document right, if it is not.
fn plan_document(
    plan: &mut Plan,
    statements: &[Statement],
    lifted: &[Statement],
    role: &ObservedRole,
    obey: bool,
) -> Stages {
    let seen = match &role.document {
        Seen::Unreadable(e) => {
            plan.unreadable.push(e.clone());
            return Stages::default();
        }
        seen => seen.value(),
    };
    // Ends move with the grants. In a document that somebody has edited, an earlier one would be taken for a responder's Deny.
    let edited = seen.filter(|d| !d.is_certified()).map(|d| without_own_ends(d, statements));
    let merged = merge_carrying(statements, edited.as_ref().or(seen), lifted, obey);
    for kept in &merged.kept {
        plan.restricted.push(format!("a Deny that is not ours ({}) is kept in the role's policy", kept.sid));
    }
    // Right but for an end of ours that nothing needs any more.
    let surplus =
        edited.filter(|e| seen.is_some_and(|s| !s.same_as(e))).map(|e| Document::new(e.statements).certified());
    let target = merged.write.or(surplus).map(within_limit).filter(|t| seen.is_none_or(|s| !s.same_as(t)));
    // Also if our document is right: the Denies of policies that go have to stand somewhere until they have gone.
    let stands = seen.filter(|_| obey && !lifted.is_empty()).cloned();
    let Some(target) = target.or(stands) else { return Stages::default() };
    if !merged.loosened.is_empty() {
        plan.drift.push(format!("role policy: {}", merged.loosened.join(", ")));
    }
    plan.foreign.extend(merged.foreign.iter().map(|sid| Foreign::allow(Kind::RolePolicy, sid)));
    let mut at_once = without_new(&target, seen);
    at_once.extend(lifted.iter().filter(|_| obey).map(until_last));
    let Stages { first, last } = stages(seen, &at_once, target);
    Stages { first: first.filter(|d| last.is_none() || fits(d)), last }
}

/// The document, or what is left of it where foreign Denies have made it too long for IAM: first the names of those Denies go, then all that
/// gives access, and at last everything is refused. Taking access away always fits.
fn within_limit(document: Document) -> Document {
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
    [nameless, denies].into_iter().find(fits).unwrap_or_else(|| nothing.certified())
}

fn fits(document: &Document) -> bool {
    sealed(document).render().len() <= MAX_CHARACTERS
}
