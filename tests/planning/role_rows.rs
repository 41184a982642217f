//! Rows of the table of role plans: what is changed against "as wanted", and the plan in lines.

use jiff::Timestamp;
use securebucket::aws::error::Seen;
use securebucket::domain::policy::{Document, Statement};
use securebucket::role::desired::{DesiredRole, desired_role};
use securebucket::role::observed::{ForeignPolicy, ObservedRole, RoleHead};
use securebucket::role::plan::{Need, Plan, plan};

use crate::fixtures::install;
use crate::role_model::role_key;

/// What a plan is made from. At first the role is as wanted: one statement that gives, one that ends it.
pub struct Case {
    pub statements: Vec<Statement>,
    pub need: Need,
    pub observed: Seen<ObservedRole>,
    pub obey: bool,
}

pub fn gives() -> Statement {
    Statement::allow("Write1111111111111111").actions(["s3:PutObject"]).resources(["arn:aws:s3:::c1-1/in/*"])
}

pub fn ends() -> Statement {
    Statement::deny("End2222222222222222")
        .actions(["s3:GetObject*", "s3:ListBucket*"])
        .resources(["arn:aws:s3:::c1-2", "arn:aws:s3:::c1-2/*"])
        .when("DateGreaterThanEquals", "aws:CurrentTime", ["2026-11-24T16:00:00Z"])
}

pub fn reads(sid: &str) -> Statement {
    Statement::allow(sid).actions(["s3:GetObject"]).resources(["arn:aws:s3:::c1-2/*"])
}

pub fn responder(sid: &str) -> Statement {
    Statement::deny(sid).actions(["s3:GetObject"]).resources(["*"])
}

pub fn desired() -> DesiredRole {
    desired_role(&role_key(), &install())
}

impl Case {
    pub fn new() -> Self {
        let desired = desired();
        let statements = vec![gives(), ends()];
        let observed = Seen::Value(ObservedRole {
            head: RoleHead {
                arn: desired.arn,
                role_id: "AROA1".into(),
                created: Timestamp::UNIX_EPOCH,
                last_used: None,
                boundary: Some(desired.boundary),
                trust: Document::new(desired.trust).certified(),
                tags: desired.tags,
            },
            document: Seen::Value(Document::new(statements.clone()).certified()),
            foreign: Vec::new(),
        });
        Self { statements, need: Need::Needed, observed, obey: false }
    }

    pub fn role(&mut self) -> &mut ObservedRole {
        let Seen::Value(role) = &mut self.observed else { panic!("there is no role") };
        role
    }

    pub fn document(&mut self) -> &mut Document {
        let Seen::Value(document) = &mut self.role().document else { panic!("there is no document") };
        document
    }

    pub fn attach(&mut self, name: &str, attached: bool, statements: &[Statement]) {
        let document = Seen::Value(Document::new(statements.to_vec()));
        self.role().foreign.push(ForeignPolicy { name: name.into(), attached, document });
    }

    /// Nothing speaks for the role any more.
    pub fn unneeded(&mut self) {
        self.statements.clear();
        self.need = Need::Unneeded;
    }

    /// Nothing speaks for the role any more, and it was used a short while ago.
    pub fn resting(&mut self) {
        self.statements.clear();
        self.need = Need::Resting;
    }

    pub fn plan(&self) -> Plan {
        plan(&desired(), &self.statements, self.need, &self.observed, self.obey)
    }
}

pub fn lines(plan: &Plan) -> Vec<String> {
    let mark = |i| if i < plan.widening { '-' } else { '+' };
    let steps = plan.actions.iter().enumerate().map(|(i, a)| format!("{} {a}", mark(i)));
    let restricted = plan.restricted.iter().map(|r| {
        let what =
            ["marks", "trust policy", "role's policy", "only denies"].into_iter().find(|w| r.contains(w)).unwrap();
        format!("restricted: {what}")
    });
    steps
        .chain(plan.drift.iter().map(|d| format!("drift {d}")))
        .chain(restricted)
        .chain(plan.problem.iter().map(|p| format!("problem {}", p.reason)))
        .chain(plan.unreadable.iter().map(|_| "unreadable".to_owned()))
        .collect()
}

pub type Row = (&'static str, fn(&mut Case), &'static [&'static str]);

pub fn check(rows: &[Row]) {
    let mut wrong = String::new();
    for (name, change, expected) in rows {
        let mut case = Case::new();
        change(&mut case);
        let plan = case.plan();
        let found = lines(&plan);
        let consistent = plan.widens == (plan.widening < plan.actions.len());
        if found != *expected || !consistent {
            wrong.push_str(&format!("{name}\n  wanted {expected:#?}\n  found  {found:#?} widens {}\n", plan.widens));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
