//! Rows: a question, the verdict, and the statements that must have decided. A scenario is a world with its rows.

use std::collections::BTreeSet;

use crate::evaluator::Outcome;
use crate::world::{Question, World};

/// Verdict that a row wants, with all statements that decide.
#[derive(Clone, Debug)]
pub enum Expect {
    /// Carried out, by these Allows together.
    Allow(BTreeSet<String>),
    /// Refused, by just these Denies; by none of them if nothing allows it.
    Deny(BTreeSet<String>),
}

/// A question with its verdict.
#[derive(Clone, Debug)]
pub struct Row {
    pub name: String,
    pub question: Question,
    pub expect: Expect,
}

/// Allowed, by these statements.
pub fn allow(name: &str, question: Question, by: &[&str]) -> Row {
    Row { name: name.into(), question, expect: Expect::Allow(names(by)) }
}

/// Refused, by these Denies, or implicitly.
pub fn deny(name: &str, question: Question, by: &[&str]) -> Row {
    Row { name: name.into(), question, expect: Expect::Deny(names(by)) }
}

fn names(by: &[&str]) -> BTreeSet<String> {
    by.iter().map(|b| (*b).to_owned()).collect()
}

impl Row {
    /// True if the request is carried out or refused as wanted, whatever decided.
    pub fn verdict_holds(&self, world: &World) -> bool {
        let wanted = if matches!(self.expect, Expect::Allow(_)) { Outcome::Allowed } else { Outcome::Denied };
        world.outcome(&self.question) == wanted
    }

    /// What is wrong, if anything.
    fn complaint(&self, world: &World) -> Option<String> {
        let verdict = world.judge(&self.question);
        let (outcome, by) = match &self.expect {
            Expect::Allow(by) => (Outcome::Allowed, by),
            Expect::Deny(by) => (Outcome::Denied, by),
        };
        let right = verdict.outcome == outcome && verdict.by == *by;
        (!right).then(|| {
            format!("{}\n  wanted {outcome:?} by {by:?}\n  found  {:?} by {:?}", self.name, verdict.outcome, verdict.by)
        })
    }
}

/// A world with its rows.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub name: String,
    pub world: World,
    pub rows: Vec<Row>,
}

impl Scenario {
    pub fn new(name: impl Into<String>, world: World, rows: impl FnOnce(&World) -> Vec<Row>) -> Self {
        let rows = rows(&world);
        Self { name: name.into(), world, rows }
    }

    /// Fails with all rows that are wrong.
    pub fn check(&self) {
        let wrong: Vec<String> = self.rows.iter().filter_map(|row| row.complaint(&self.world)).collect();
        assert!(wrong.is_empty(), "{}: {} of {} rows\n{}", self.name, wrong.len(), self.rows.len(), wrong.join("\n"));
    }
}
