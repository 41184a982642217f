//! A small model of one IAM role, and the pass of its writer over it.
//!
//! Sources: IAM API, DeleteRole (policies must be gone first); the operator's own policy, which lets it change no role without the boundary.

use std::collections::BTreeSet;
use std::fmt;

use jiff::Timestamp;
use securebucket::aws::error::{AwsErrorKind, Seen};
use securebucket::domain::policy::Document;
use securebucket::domain::tags::Tags;
use securebucket::role::desired::{DesiredRole, desired_role, with_held};
use securebucket::role::document::{Inputs, build};
use securebucket::role::observed::{ForeignPolicy, ObservedRole, RoleHead};
use securebucket::role::plan::{Action, Need, Plan, need, plan};
use securebucket::role::state::RoleKey;

use crate::fixtures::{NAMESPACE, install};
use crate::model::refusal;
use crate::operator::Fault;

/// An IAM role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    pub arn: String,
    pub role_id: String,
    pub boundary: Option<String>,
    pub trust: Document,
    pub tags: Tags,
    pub document: Option<Document>,
    /// Name, attached, content.
    pub foreign: Vec<(String, bool, Document)>,
}

/// What cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Blind {
    Role,
    Document,
    Foreign,
}

/// The role of ServiceAccount `etl`, and what it should be.
#[derive(Clone)]
pub struct RoleWorld {
    pub role: Option<Role>,
    pub inputs: Inputs,
    /// Identities for which evidence is in.
    pub released: BTreeSet<String>,
    pub now: Timestamp,
    pub obey: bool,
    pub blind: BTreeSet<Blind>,
    /// When the role was last used, or made.
    pub used: Timestamp,
    /// Writes that took effect.
    pub writes: Vec<String>,
    pub made: usize,
}

impl fmt::Debug for RoleWorld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sids = |d: &Document| {
            (d.is_certified(), d.statements.iter().map(|s| format!("{:?} {}", s.effect, s.sid)).collect::<Vec<_>>())
        };
        writeln!(f, "now {} obey {} blind {:?} released {:?}", self.now, self.obey, self.blind, self.released)?;
        for d in &self.inputs.duties {
            writeln!(f, "duty {:?} on {} {:?}", d.duty, d.bucket.identity, d.prefixes)?;
        }
        for g in &self.inputs.grants {
            writeln!(
                f,
                "grant {} on {} {} until {} issued {}",
                g.uid, g.bucket.identity, g.prefixes, g.expires_at, g.issued
            )?;
        }
        writeln!(f, "held {:?}", self.inputs.held)?;
        let Some(role) = &self.role else { return write!(f, "no role") };
        writeln!(f, "role {} boundary {:?} trust {:?}", role.arn, role.boundary, sids(&role.trust))?;
        writeln!(f, "tags {:?} document {:?}", role.tags, role.document.as_ref().map(sids))?;
        write!(f, "foreign {:?}", role.foreign.iter().map(|(n, a, d)| (n, a, sids(d))).collect::<Vec<_>>())
    }
}

pub fn role_key() -> RoleKey {
    RoleKey { namespace: NAMESPACE.into(), service_account: "etl".into() }
}

impl RoleWorld {
    pub fn desired(&self) -> DesiredRole {
        desired_role(&role_key(), &install())
    }

    pub fn observe(&self) -> Seen<ObservedRole> {
        if self.blind.contains(&Blind::Role) {
            return Seen::Unreadable(refusal());
        }
        let Some(role) = &self.role else { return Seen::Absent };
        let seen = |what, document: &Document| {
            if self.blind.contains(&what) { Seen::Unreadable(refusal()) } else { Seen::Value(document.clone()) }
        };
        let document = match &role.document {
            _ if self.blind.contains(&Blind::Document) => Seen::Unreadable(refusal()),
            Some(document) => Seen::Value(document.clone()),
            None => Seen::Absent,
        };
        let foreign = role.foreign.iter().map(|(name, attached, document)| ForeignPolicy {
            name: name.clone(),
            attached: *attached,
            document: seen(Blind::Foreign, document),
        });
        Seen::Value(ObservedRole {
            head: RoleHead {
                arn: role.arn.clone(),
                role_id: role.role_id.clone(),
                created: Timestamp::UNIX_EPOCH,
                last_used: Some(self.used),
                boundary: role.boundary.clone(),
                trust: role.trust.clone(),
                tags: role.tags.clone(),
            },
            document,
            foreign: foreign.collect(),
        })
    }

    /// What the document should say, given what is seen.
    pub fn wanted(&self) -> Document {
        let observed = self.observe();
        let document = observed.value().and_then(|r| r.document.value());
        let released = |identity: &str| self.released.contains(identity);
        Document::new(build(&with_held(self.inputs.clone(), document, &released, self.now)).statements)
    }

    /// Whether the role has a reason to be: a statement, a duty that a lockdown holds back, or that it was used a short while ago.
    pub fn need(&self) -> Need {
        let held_back = self.inputs.duties.iter().any(|d| d.lock.is_some());
        need(&self.wanted().statements, held_back, &self.observe(), install().timing.role_retention, self.now)
    }

    pub fn plan(&self) -> Plan {
        plan(&self.desired(), &self.wanted().statements, self.need(), &self.observe(), self.obey)
    }

    fn apply(&mut self, action: &Action) -> Result<(), AwsErrorKind> {
        let desired = self.desired();
        if let Action::Create { trust } = action {
            if self.role.is_some() {
                return Err(AwsErrorKind::AlreadyExists);
            }
            self.made += 1;
            self.used = self.now;
            self.role = Some(Role {
                arn: desired.arn,
                role_id: format!("AROA{}", self.made),
                boundary: Some(desired.boundary),
                trust: trust.clone(),
                tags: desired.tags,
                document: None,
                foreign: Vec::new(),
            });
            return Ok(());
        }
        let Some(role) = &mut self.role else { return Err(AwsErrorKind::NotFound) };
        if role.boundary.as_ref() != Some(&desired.boundary) && *action != Action::PutBoundary {
            return Err(AwsErrorKind::AccessDenied);
        }
        match action {
            Action::Create { .. } => {}
            Action::PutTrust { trust } => role.trust = trust.clone(),
            Action::PutBoundary => role.boundary = Some(desired.boundary),
            Action::Tag => role.tags.extend(desired.tags),
            Action::PutDocument { document } => role.document = Some(document.clone()),
            Action::DeleteDocument => role.document = None,
            Action::DeleteForeign { name } | Action::Detach { arn: name } => role.foreign.retain(|(n, _, _)| n != name),
            Action::Delete if role.document.is_some() || !role.foreign.is_empty() => {
                return Err(AwsErrorKind::Conflict);
            }
            Action::Delete => self.role = None,
        }
        Ok(())
    }

    /// Carries out a plan as the writer of roles does. False if the operator died.
    pub fn execute(&mut self, plan: &Plan, mut fault: impl FnMut(usize, &Action) -> Fault) -> Result<bool, ()> {
        let mut failed = false;
        for (index, action) in plan.actions.iter().enumerate() {
            if failed && index >= plan.widening {
                continue;
            }
            let fault = fault(index, action);
            if fault == Fault::Dies {
                return Err(());
            }
            let effect = if fault == Fault::Refused { Err(AwsErrorKind::Unavailable) } else { self.apply(action) };
            if effect.is_ok() {
                self.writes.push(action.to_string());
            }
            if fault == Fault::DiesAfter {
                return Err(());
            }
            if fault == Fault::Lost || effect.is_err() {
                failed = true;
                if matches!(action, Action::Create { .. } | Action::DeleteDocument) {
                    break;
                }
            }
        }
        Ok(!failed)
    }

    /// One pass; the number of executions, or nothing if the operator died in it.
    pub fn pass_with(&mut self, mut fault: impl FnMut(usize, usize, &Action) -> Fault) -> Option<usize> {
        for round in 0..4 {
            let plan = self.plan();
            if plan.actions.is_empty() {
                self.obey &= !plan.unreadable.is_empty();
                return Some(round);
            }
            match self.execute(&plan, |index, action| fault(round, index, action)) {
                Ok(true) => {}
                Ok(false) => return Some(round + 1),
                Err(()) => return None,
            }
        }
        Some(4)
    }

    /// Passes until nothing is to be done.
    pub fn converge(&mut self) {
        for _ in 0..6 {
            if self.pass_with(|_, _, _| Fault::None) == Some(0) {
                return;
            }
        }
        panic!("no end: {:?} on {self:?}", self.plan().actions.iter().map(ToString::to_string).collect::<Vec<_>>());
    }
}
