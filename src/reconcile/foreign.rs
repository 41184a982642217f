//! What was found of access that somebody gave outside the operator, so that each find is told once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use super::context::lock;
use crate::domain::foreign::{Foreign, Kind};

/// Finds by what they were found on. In memory only.
#[derive(Default)]
pub struct ForeignSeen(Mutex<BTreeMap<String, BTreeSet<Foreign>>>);

impl ForeignSeen {
    /// Notes all that is found on `subject` now; gives what was not found there before.
    pub fn found(&self, subject: &str, now: Vec<Foreign>) -> Vec<Foreign> {
        let now: BTreeSet<Foreign> = now.into_iter().collect();
        let mut all = lock(&self.0);
        let before = if now.is_empty() { all.remove(subject) } else { all.insert(subject.to_owned(), now.clone()) };
        now.difference(&before.unwrap_or_default()).cloned().collect()
    }

    /// What was found last of one kind.
    pub fn of_kind(&self, subject: &str, kind: Kind) -> Vec<Foreign> {
        lock(&self.0).get(subject).into_iter().flatten().filter(|f| f.kind == kind).cloned().collect()
    }

    /// How many of one kind there are.
    pub fn count(&self, kind: Kind) -> usize {
        lock(&self.0).values().flatten().filter(|f| f.kind == kind).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_find_is_new_once_until_it_was_gone() {
        let seen = ForeignSeen::default();
        let find = |id: &str| Foreign::allow(Kind::KeyPolicy, id);
        let grant = Foreign { kind: Kind::KmsGrant, id: "g".into(), words: String::new() };
        assert_eq!(seen.found("a", vec![find("x")]), [find("x")]);
        assert_eq!(seen.found("b", vec![find("x")]), [find("x")], "somewhere else");
        assert_eq!(seen.found("a", vec![find("x"), grant.clone()]), std::slice::from_ref(&grant));
        assert_eq!((seen.count(Kind::KmsGrant), seen.of_kind("a", Kind::KmsGrant)), (1, vec![grant]));
        assert_eq!(seen.found("a", vec![]), []);
        assert_eq!(seen.count(Kind::KmsGrant), 0);
        assert_eq!(seen.found("a", vec![find("x")]), [find("x")], "it came back");
    }
}
