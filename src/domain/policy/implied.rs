//! Which Deny says everything that another says, and which Allow gives nothing beyond another.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{Effect, Set, Statement};
use crate::domain::time::parse_instant;

impl Statement {
    /// True if `wider`, as a Deny, refuses everything that `self`, as a Deny, refuses. Sound, not complete: `false` means "cannot tell".
    pub fn implied_by(&self, wider: &Self) -> bool {
        self.effect == Effect::Deny && wider.effect == Effect::Deny && self.matches_no_more_than(wider)
    }

    /// True if `self`, as an Allow, gives nothing that `wider`, as an Allow, does not give. Sound, not complete: `false` means "cannot tell".
    pub fn gives_no_more_than(&self, wider: &Self) -> bool {
        self.effect == Effect::Allow && wider.effect == Effect::Allow && self.matches_no_more_than(wider)
    }

    fn matches_no_more_than(&self, wider: &Self) -> bool {
        self.principals == wider.principals
            && self.not_principals == wider.not_principals
            && within(&self.actions, &wider.actions)
            && within(&self.resources, &wider.resources)
            && wider.conditions.iter().all(|(operator, keys)| {
                keys.iter().all(|(key, values)| {
                    self.conditions
                        .get(operator)
                        .and_then(|k| k.get(key))
                        .is_some_and(|own| holds_less(operator, own, values))
                })
            })
    }
}

/// True if a condition with the values `own` holds only where one with `values` does.
fn holds_less(operator: &str, own: &BTreeSet<String>, values: &BTreeSet<String>) -> bool {
    match operator {
        "StringEquals" | "StringLike" | "ArnEquals" | "ArnLike" => own.is_subset(values),
        "StringNotEquals" | "StringNotLike" | "ArnNotEquals" | "ArnNotLike" => own.is_superset(values),
        "DateGreaterThan" | "DateGreaterThanEquals" => {
            own == values || dates(own, values).is_some_and(|(own, v)| own >= v)
        }
        "DateLessThan" | "DateLessThanEquals" => own == values || dates(own, values).is_some_and(|(own, v)| own <= v),
        _ => own == values,
    }
}

/// The instants, if each side has just one.
fn dates(own: &BTreeSet<String>, values: &BTreeSet<String>) -> Option<(Timestamp, Timestamp)> {
    let one = |all: &BTreeSet<String>| parse_instant(all.first().filter(|_| all.len() == 1)?);
    Some((one(own)?, one(values)?))
}

/// True if everything in `inner` is in `outer`, judged by patterns that are equal or that `*` covers.
fn within(inner: &Set, outer: &Set) -> bool {
    match (inner, outer) {
        (Set::Only(inner), Set::Only(outer)) => inner.iter().all(|i| outer.iter().any(|o| covers(o, i))),
        (Set::AllBut(inner), Set::AllBut(outer)) => outer.is_subset(inner),
        (inner, outer) => inner == outer,
    }
}

/// True if `pattern` (with an optional `*` at its end) covers the whole of `item`, itself perhaps a pattern.
fn covers(pattern: &str, item: &str) -> bool {
    pattern == item
        || pattern.strip_suffix('*').is_some_and(|stem| !stem.contains(['*', '?']) && item.starts_with(stem))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deny(actions: &[&str]) -> Statement {
        Statement::deny("D").anyone().actions(actions.iter().copied()).resources(["arn:aws:s3:::b/*"])
    }

    #[test]
    fn a_narrower_deny_is_implied_and_a_wider_one_is_not() {
        assert!(deny(&["s3:GetObject"]).implied_by(&deny(&["s3:GetObject*"])));
        assert!(!deny(&["s3:*"]).implied_by(&deny(&["s3:GetObject*"])));
        let conditional = deny(&["s3:GetObject*"]).when("Bool", "aws:SecureTransport", ["false"]);
        assert!(conditional.implied_by(&deny(&["s3:GetObject*"])));
        assert!(!deny(&["s3:GetObject*"]).implied_by(&conditional));
        assert!(!deny(&["s3:Get?bject"]).implied_by(&deny(&["s3:G?*"])), "cannot tell means no");
    }

    #[test]
    fn a_narrower_allow_gives_no_more() {
        let allow = |actions: &[&str]| Statement { effect: Effect::Allow, ..deny(actions) };
        assert!(allow(&["s3:PutObject"]).gives_no_more_than(&allow(&["s3:PutObject", "s3:GetObject"])));
        assert!(!allow(&["s3:PutObject", "s3:GetObject"]).gives_no_more_than(&allow(&["s3:PutObject"])));
        let dated = |at: &str| allow(&["s3:GetObject"]).when("DateLessThan", "aws:CurrentTime", [at]);
        let (noon, later) = (dated("2026-11-24T12:00:00Z"), dated("2026-11-24T12:15:00Z"));
        assert!(noon.gives_no_more_than(&later) && !later.gives_no_more_than(&noon));
        assert!(!allow(&["s3:GetObject"]).gives_no_more_than(&later), "without a date: more");
        assert!(
            !deny(&["s3:GetObject"]).gives_no_more_than(&allow(&["s3:*"])),
            "a Deny gives nothing, and is no Allow"
        );
    }

    #[test]
    fn fewer_exceptions_refuse_more() {
        let but = |who: &[&str]| deny(&["s3:*"]).when("ArnNotEquals", "aws:PrincipalArn", who.iter().copied());
        assert!(but(&["a", "b"]).implied_by(&but(&["a"])));
        assert!(!but(&["a"]).implied_by(&but(&["a", "b"])));
        let only = |who: &[&str]| deny(&["s3:*"]).when("ArnEquals", "aws:PrincipalArn", who.iter().copied());
        assert!(only(&["a"]).implied_by(&only(&["a", "b"])));
        assert!(!only(&["a", "b"]).implied_by(&only(&["a"])));
        let every = |who: &[&str]| deny(&["s3:*"]).when("ForAllValues:StringEquals", "k", who.iter().copied());
        assert!(!every(&["a"]).implied_by(&every(&["a", "b"])), "of many values: cannot tell");
    }

    #[test]
    fn an_earlier_start_refuses_more() {
        let from = |at: &str| deny(&["s3:*"]).when("DateGreaterThanEquals", "aws:CurrentTime", [at]);
        let (noon, later) = (from("2026-11-24T12:00:00Z"), from("2026-11-24T12:15:00Z"));
        assert!(later.implied_by(&noon) && !noon.implied_by(&later));
        assert!(!later.implied_by(&from("soon")) && !from("soon").implied_by(&noon), "no date: cannot tell");
        let until = |at: &str| deny(&["s3:*"]).when("DateLessThan", "aws:CurrentTime", [at]);
        assert!(until("2026-11-24T12:00:00Z").implied_by(&until("2026-11-24T12:15:00Z")));
    }
}
