//! What to do with a policy document that differs from the desired one: promise 5 of the design.
//!
//! Repair removes Allows and adds Denies. It never takes out a Deny that somebody else put in, because a responder may have meant it: such
//! Denies are carried along and reported until the annotation `securebucket.io/reconcile-at` asks for the declared state.

use super::policy::{Document, Effect, Statement};

/// How an observed document relates to the desired one, and what to write.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Merge {
    /// The document to write, certified; `None` if the observed one is right as it is.
    pub write: Option<Document>,
    /// Sids of statements that were missing or changed, and Sids of Allows that are not ours: what an event names.
    pub loosened: Vec<String>,
    /// Those of them that are Allows: somebody gave access.
    pub foreign: Vec<String>,
    /// Foreign Denies that stay.
    pub kept: Vec<Statement>,
    /// True if the observed document differs only because the desired state changed since we wrote it; no drift then.
    pub outdated: bool,
}

/// Compares and merges. `observed` is `None` when there is no document; `obey` drops foreign Denies (the user asked for the declared state).
pub fn merge(desired: &[Statement], observed: Option<&Document>, obey: bool) -> Merge {
    merge_carrying(desired, observed, &[], obey)
}

/// The same, with Denies of others that stand elsewhere and are carried over into this document.
pub fn merge_carrying(desired: &[Statement], observed: Option<&Document>, carried: &[Statement], obey: bool) -> Merge {
    merge_all(desired, &[], observed, carried, obey)
}

/// The same, with Denies of ours that will go again: what somebody else denies is kept even while one of them says as much.
pub fn merge_passing(desired: &[Statement], passing: &[Statement], observed: Option<&Document>, obey: bool) -> Merge {
    merge_all(desired, passing, observed, &[], obey)
}

fn merge_all(
    lasting: &[Statement],
    passing: &[Statement],
    observed: Option<&Document>,
    carried: &[Statement],
    obey: bool,
) -> Merge {
    let desired: Vec<Statement> = lasting.iter().chain(passing).cloned().collect();
    let absent = observed.is_none();
    let empty = Document::default();
    let observed = observed.unwrap_or(&empty);
    let outdated = absent || observed.is_certified();
    let mut kept: Vec<Statement> = Vec::new();
    // Ours, also where somebody has made it narrower.
    let of_ours = |s: &&Statement| passing.iter().any(|p| p.sid == s.sid && s.implied_by(p));
    let own = observed.statements.iter().filter(|s| !of_ours(s)).filter_map(|s| keep(s, lasting, outdated));
    let carried = carried.iter().filter_map(|s| keep(s, lasting, false));
    for statement in own.chain(carried).filter(|_| !obey) {
        // The same Deny twice would get the same Sid twice, which AWS refuses.
        if !kept.contains(&statement) {
            kept.push(statement);
        }
    }
    let mut statements = desired.clone();
    statements.extend(kept.iter().cloned());
    let target = Document::new(statements);
    if observed.same_as(&target) {
        return Merge { kept, outdated, ..Merge::default() };
    }
    let missing = desired.iter().filter(|d| !observed.statements.contains(d)).map(|d| d.sid.clone());
    let foreign = observed
        .statements
        .iter()
        .filter(|s| s.effect == Effect::Allow && !desired.contains(s))
        .map(|s| if s.sid.is_empty() { "(Allow without Sid)".to_owned() } else { s.sid.clone() });
    let foreign: Vec<String> = if outdated { Vec::new() } else { foreign.collect() };
    let mut loosened: Vec<String> =
        if outdated { Vec::new() } else { missing.chain(foreign.iter().cloned()).collect() };
    loosened.sort();
    loosened.dedup();
    Merge { write: Some(target.certified()), loosened, foreign, kept, outdated }
}

/// A change of a document in two writes, so that nothing is given before all else is in place.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Stages {
    /// To write at once: it gives nothing. `None` if the observed document is no wider.
    pub first: Option<Document>,
    /// To write last; `None` if the first write says it all.
    pub last: Option<Document>,
}

/// Splits the change to `target`. `at_once` is the target without the Allows that have to wait. Observed Denies that the target drops or
/// loosens wait too: they stay in the first document, so that no Deny leaves before the Allow that it holds back.
pub fn stages(observed: Option<&Document>, at_once: &[Statement], target: Document) -> Stages {
    let mut first = at_once.to_vec();
    for deny in observed.iter().flat_map(|d| &d.statements).filter(|s| s.effect == Effect::Deny) {
        if !first.iter().any(|f| deny.implied_by(f)) {
            first.push(until_last(deny));
        }
    }
    let first = Document::new(first).certified();
    if first.same_as(&target) {
        return Stages { first: Some(target), last: None };
    }
    let narrows = observed.map_or(!first.statements.is_empty(), |o| {
        let gone = |s: &&Statement| s.effect == Effect::Allow && !first.statements.iter().any(|f| f.same_as(s));
        // What somebody else's Deny covers today must hold when that Deny has gone.
        let counts = |f: &Statement, s: &Statement| f.sid.starts_with(KEPT) || !s.sid.starts_with(KEPT);
        let new =
            |f: &&Statement| f.effect == Effect::Deny && !o.statements.iter().any(|s| counts(f, s) && f.implied_by(s));
        o.statements.iter().any(|s| gone(&s)) || first.statements.iter().any(|f| new(&f))
    });
    Stages { first: narrows.then_some(first), last: Some(target) }
}

/// A Deny under a name that says that it leaves with the last write of a change.
pub fn until_last(statement: &Statement) -> Statement {
    renamed(statement, "UntilLastWrite")
}

fn renamed(statement: &Statement, prefix: &str) -> Statement {
    let nameless = Statement { sid: String::new(), ..statement.clone() };
    let digest = Document::new(vec![nameless.clone()]).digest();
    Statement { sid: format!("{prefix}{}", digest.get(..12).unwrap_or(&digest)), ..nameless }
}

/// A Deny that is not ours, under a name that cannot be taken for one of ours; `None` if the statement need not be kept.
fn keep(statement: &Statement, desired: &[Statement], certified: bool) -> Option<Statement> {
    if statement.effect == Effect::Allow || desired.iter().any(|d| statement.implied_by(d)) {
        return None;
    }
    // In a document that nobody has edited, everything is ours from an earlier spec but what was kept on an earlier pass: under its name, or,
    // where there was no room for names, without one. Statements of ours always have one.
    let kept_before = statement.sid.starts_with(KEPT) || statement.sid.is_empty();
    if certified && !kept_before {
        return None;
    }
    // Named anew by its content each time: a name that somebody chose could occur twice.
    Some(renamed(statement, KEPT))
}

/// Prefix of the Sids of Denies that are not ours and that we carry along. Sids of bucket and role policies are alphanumeric.
pub const KEPT: &str = "KeptForeignDeny";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::policy::Set;

    fn deny(sid: &str, action: &str) -> Statement {
        Statement::deny(sid).anyone().actions([action]).resources(["arn:aws:s3:::b/*"])
    }

    fn allow(sid: &str) -> Statement {
        Statement::allow(sid).anyone().actions(["s3:GetObject"]).resources(["arn:aws:s3:::b/*"])
    }

    #[test]
    fn absent_is_written_and_equal_is_left() {
        let desired = [deny("A", "s3:*")];
        let write = merge(&desired, None, false).write.unwrap();
        assert_eq!(merge(&desired, Some(&write), false).write, None);
        assert_eq!(merge(&[], None, false).write, None);
    }

    #[test]
    fn a_new_spec_replaces_our_own_document_silently() {
        let old = Document::new(vec![deny("A", "s3:PutObject")]).certified();
        let m = merge(&[deny("A", "s3:GetObject")], Some(&old), false);
        assert!(m.outdated && m.loosened.is_empty() && m.kept.is_empty());
        assert_eq!(m.write.unwrap().statements, vec![deny("A", "s3:GetObject")]);
    }

    #[test]
    fn a_removed_deny_and_a_foreign_allow_are_repaired_and_named() {
        let mut edited = Document::new(vec![deny("A", "s3:*"), deny("B", "s3:Put*")]).certified();
        edited.statements.pop();
        edited.statements.push(allow("Oops"));
        let m = merge(&[deny("A", "s3:*"), deny("B", "s3:Put*")], Some(&edited), false);
        assert_eq!(m.loosened, ["B", "Oops"]);
        assert!(m.write.unwrap().statements.iter().all(|s| s.effect == Effect::Deny));
    }

    #[test]
    fn a_foreign_deny_is_kept_through_every_later_pass_until_asked() {
        let desired = [deny("A", "s3:Put*")];
        let mut edited = Document::new(desired.to_vec()).certified();
        edited.statements.push(deny("Responder", "s3:GetObject"));
        let first = merge(&desired, Some(&edited), false);
        assert_eq!(first.kept.len(), 1);
        let written = first.write.unwrap();
        let second = merge(&desired, Some(&written), false);
        assert_eq!((second.write, second.kept.len()), (None, 1), "settled, and still reported");
        let newer = merge(&[deny("A", "s3:Delete*")], Some(&written), false);
        assert_eq!(newer.kept, first.kept, "a new spec does not lose it either");
        assert_eq!(merge(&desired, Some(&written), true).write.unwrap().statements, desired);
    }

    #[test]
    fn a_foreign_deny_outlives_one_of_ours_that_says_as_much_for_a_while() {
        let (lasting, passing) = ([deny("A", "s3:Put*")], [deny("Lock", "s3:*")]);
        let mut edited = Document::new(lasting.to_vec()).certified();
        edited.statements.push(deny("Responder", "s3:GetObject"));
        let locked = merge_passing(&lasting, &passing, Some(&edited), false);
        assert_eq!(locked.kept.len(), 1);
        let written = locked.write.unwrap();
        assert_eq!(merge_passing(&lasting, &passing, Some(&written), false).write, None, "settled");
        // Somebody makes ours narrower: repaired, and not taken for his.
        let mut narrowed = written.clone();
        narrowed.statements.iter_mut().find(|s| s.sid == "Lock").unwrap().actions = deny("", "s3:Get*").actions;
        let repaired = merge_passing(&lasting, &passing, Some(&narrowed), false);
        assert_eq!((repaired.kept.len(), repaired.loosened.as_slice()), (1, ["Lock".to_owned()].as_slice()));
        let open = merge(&lasting, Some(&written), false);
        assert_eq!(open.kept, locked.kept, "the other one stays when ours goes");
    }

    #[test]
    fn our_deny_edited_by_hand_is_kept_beside_ours_unless_ours_says_as_much() {
        let desired = [deny("A", "s3:Get*")];
        let mut edited = Document::new(desired.to_vec()).certified();
        edited.statements[0].actions = Set::Only(crate::domain::policy::set(["s3:*"]));
        assert_eq!(merge(&desired, Some(&edited), false).kept.len(), 1, "wider: a responder's");
        edited.statements[0].actions = Set::Only(crate::domain::policy::set(["s3:GetObject"]));
        let narrower = merge(&desired, Some(&edited), false);
        assert!(narrower.kept.is_empty());
        assert_eq!(narrower.loosened, ["A"]);
    }
}
