//! Values, and what may go wrong with them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

/// A value. Clones are cheap.
#[derive(Clone, Debug)]
pub enum Value {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A text.
    Text(Arc<str>),
    /// A list.
    List(Arc<[Value]>),
    /// Fields by name.
    Map(Arc<BTreeMap<&'static str, Value>>),
    /// A length of time.
    Duration(SignedDuration),
    /// A moment.
    Instant(Timestamp),
}

impl Value {
    /// A text.
    pub fn text(text: &str) -> Self {
        Self::Text(text.into())
    }

    /// A list.
    pub fn list(all: impl IntoIterator<Item = Value>) -> Self {
        Self::List(all.into_iter().collect())
    }

    /// Fields; those without a value are left out.
    pub fn map<const N: usize>(fields: [(&'static str, Option<Value>); N]) -> Self {
        Self::Map(Arc::new(fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()))
    }

    /// What it is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Bool(_) => "a bool",
            Self::Int(_) => "an int",
            Self::Text(_) => "a string",
            Self::List(_) => "a list",
            Self::Map(_) => "an object",
            Self::Duration(_) => "a duration",
            Self::Instant(_) => "a timestamp",
        }
    }
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It is not an expression, or one that is too large.
    Syntax,
    /// Values of types that do not go together: wrong for every request.
    Types,
    /// A value that is not there, or out of range: wrong for this request.
    Values,
    /// Too many steps.
    Cost,
}

/// Why an expression says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong.
    pub kind: Kind,
    /// In words.
    pub problem: String,
}

impl Fault {
    pub(super) fn syntax(problem: impl Into<String>) -> Self {
        Self { kind: Kind::Syntax, problem: problem.into() }
    }

    pub(super) fn types(problem: impl Into<String>) -> Self {
        Self { kind: Kind::Types, problem: problem.into() }
    }

    pub(super) fn values(problem: impl Into<String>) -> Self {
        Self { kind: Kind::Values, problem: problem.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)
    }
}
