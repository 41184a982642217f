//! Rules that owners write, in CEL (<https://cel.dev>): a bounded part of the language, and a bounded evaluation. Pure.
//!
//! Written anew, because a rule decides over access and the crates at hand decide wrongly where it matters: `cel` 0.13 reads `!!x` as `!x`, takes a
//! field of something that has none for `false`, panics on a message literal, parses nested signs in exponential time, and has no bound for what an
//! expression may cost. Here what is not understood is a fault, and so is what takes too long; never a value. Where CEL is lenient this is not:
//!
//! * `&&` and `||` look at the left first, and a fault on the left is a fault: CEL lets the right side make up for it;
//! * values of different types are not compared, also not for equality: CEL says that they are different;
//! * `matches`, `duration` and `timestamp` take a literal, which is looked at when the rule is read.
//!
//! The bounds: so many characters and parts of an expression, so deep a nesting, and so many steps for one evaluation, where work on long texts and
//! lists counts as many. Nothing depends on a clock: the same rule says the same of the same request on every machine.

mod eval;
mod lex;
mod parse;
mod value;

pub use value::{Fault, Kind, Value};

use std::collections::BTreeMap;

/// Characters of an expression. The CRD has the same bound.
pub const MAX_CHARACTERS: usize = 1024;
/// Parts of an expression: names, literals, operators, calls.
pub const MAX_PARTS: usize = 200;
/// Brackets, signs and conditions within each other.
pub const MAX_DEPTH: usize = 20;
/// `all`, `exists`, `map` … within each other.
pub const MAX_LOOPS: usize = 2;
/// Steps of one evaluation.
pub const MAX_STEPS: usize = 2_000;
/// Memory that a compiled pattern of `matches` may take.
pub const PATTERN_SIZE: usize = 1 << 16;

/// What an expression may name: for each path its fields. A path is `request`, or `request.requester`.
pub type Names<'a> = &'a [(&'a str, &'a [&'a str])];

/// An expression that was read.
#[derive(Clone, Debug)]
pub struct Program(parse::Expr);

impl Program {
    /// Reads an expression.
    ///
    /// # Errors
    /// In words for people, if it is not understood, or too large.
    pub fn read(text: &str, names: Names<'_>) -> Result<Self, Fault> {
        parse::parse(text, names).map(Self)
    }

    /// What it says, given the values of the names.
    ///
    /// # Errors
    /// In words for people, if it says neither yes nor no, or takes too many steps.
    pub fn holds(&self, values: &BTreeMap<&str, Value>) -> Result<bool, Fault> {
        match eval::evaluate(&self.0, values)? {
            Value::Bool(word) => Ok(word),
            other => Err(Fault::types(format!("it gives {} and not true or false", other.kind()))),
        }
    }
}

#[cfg(test)]
mod tests;
