//! How many must agree, and who. Pure.

use crate::api::decrypt_grant::ApprovalRules;
use crate::api::grants::ApproverSet;
use crate::api::types::Reviewer;
use crate::api::{DecryptGrant, SecureBucket};
use crate::bucket::rules::DEFAULT_APPROVALS;
use crate::grant::policy::auto_approval;

use super::person::{named, service_account};

/// The bucket's rules for this request: how many people, or which rule in their place.
pub fn rules(bucket: &SecureBucket, grant: &DecryptGrant) -> ApprovalRules {
    let people = people(bucket, grant);
    match auto_approval(grant, bucket).rule.filter(|_| people.approvals > 0) {
        Some(rule) => ApprovalRules { auto_approved_by: Some(rule), ..ApprovalRules::default() },
        None => people,
    }
}

/// How many people the bucket asks for, and which, where no rule stands in for them.
fn people(bucket: &SecureBucket, grant: &DecryptGrant) -> ApprovalRules {
    let grants = bucket.spec.grants.clone().unwrap_or_default();
    let places: i32 = grants.approvers.iter().map(places).sum();
    let asked = grants.approvals.unwrap_or(DEFAULT_APPROVALS).max(places);
    let requester = grant.spec.requester.as_ref();
    let robot = asked > 0 && requester.is_some_and(|r| may_ask_as_robot(bucket, &r.username));
    ApprovalRules { approvals: asked + i32::from(robot), approvers: grants.approvers, auto_approved_by: None }
}

/// The rules that hold for a request: those when it was made, as status has them, and those of the bucket as it is. Each of them has to be met. What
/// no rule approved when it was made is approved by none later.
pub fn both(grant: &DecryptGrant, bucket: Option<&SecureBucket>) -> Vec<ApprovalRules> {
    let asked = grant.status.as_ref().and_then(|s| s.approval_rules.clone());
    let now = bucket.map(|b| if asked.is_some() { rules(b, grant) } else { people(b, grant) });
    asked.into_iter().chain(now).collect()
}

/// True if the bucket names this ServiceAccount as one that may ask.
pub fn may_ask_as_robot(bucket: &SecureBucket, username: &str) -> bool {
    let Some(account) = service_account(username) else { return false };
    bucket.spec.grants.iter().flat_map(|g| &g.robots).any(|r| r.0 == account)
}

/// How many of a set must approve.
fn places(set: &ApproverSet) -> i32 {
    set.at_least.unwrap_or_default().max(0)
}

/// True if the reviewer belongs to the set.
pub fn member(set: &ApproverSet, reviewer: &Reviewer) -> bool {
    match service_account(&reviewer.username) {
        // A robot is in a set by its own name alone: every ServiceAccount is in groups of its namespace.
        Some(account) => set.service_accounts.iter().any(|s| s.0 == account),
        None => {
            set.users.iter().any(|u| named(&reviewer.username, &u.0))
                || set.groups.iter().any(|g| reviewer.groups.iter().any(|own| own.0 == g.0))
        }
    }
}

/// True if these rules let the reviewer approve: a member of a set, if there are sets.
pub fn admits(rules: &ApprovalRules, reviewer: &Reviewer) -> bool {
    rules.approvers.is_empty() || rules.approvers.iter().any(|set| member(set, reviewer))
}

/// Which place each reviewer fills, and which places are empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// Name of the set, by reviewer.
    pub filled: Vec<Option<String>>,
    /// Names of the sets, once for each empty place.
    pub empty: Vec<String>,
}

/// Fills the places of the sets, each by a reviewer of its own, as many as can be (augmenting paths; there are five places at most).
pub fn fill(rules: &ApprovalRules, reviewers: &[&Reviewer]) -> Places {
    let slots: Vec<&ApproverSet> =
        rules.approvers.iter().flat_map(|s| std::iter::repeat_n(s, places(s).unsigned_abs() as usize)).collect();
    let mut holder: Vec<Option<usize>> = vec![None; slots.len()];
    for reviewer in 0..reviewers.len() {
        seat(reviewer, reviewers, &slots, &mut holder, &mut vec![false; slots.len()]);
    }
    let name = |slot: usize| slots.get(slot).map(|s| s.name.0.clone());
    let seat_of = |reviewer: usize| holder.iter().position(|h| *h == Some(reviewer));
    // Who fills no place is shown with the first of his sets.
    let any = |r: &Reviewer| rules.approvers.iter().find(|s| member(s, r)).map(|s| s.name.0.clone());
    Places {
        filled: reviewers.iter().enumerate().map(|(i, r)| seat_of(i).and_then(name).or_else(|| any(r))).collect(),
        empty: holder.iter().enumerate().filter(|(_, h)| h.is_none()).filter_map(|(slot, _)| name(slot)).collect(),
    }
}

fn seat(
    reviewer: usize,
    reviewers: &[&Reviewer],
    slots: &[&ApproverSet],
    holder: &mut Vec<Option<usize>>,
    tried: &mut Vec<bool>,
) -> bool {
    for (slot, set) in slots.iter().enumerate() {
        let fits = reviewers.get(reviewer).is_some_and(|r| member(set, r));
        if !fits || tried.get(slot).copied().unwrap_or(true) {
            continue;
        }
        tried[slot] = true;
        let free = match holder[slot] {
            None => true,
            Some(other) => seat(other, reviewers, slots, holder, tried),
        };
        if free {
            holder[slot] = Some(reviewer);
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::grants::{ServiceAccountName, SubjectName};
    use crate::api::types::{GroupName, SetName};

    fn set(name: &str, users: &[&str], at_least: i32) -> ApproverSet {
        ApproverSet {
            name: SetName(name.into()),
            users: users.iter().map(|u| SubjectName((*u).into())).collect(),
            at_least: Some(at_least),
            ..ApproverSet::default()
        }
    }

    fn reviewer(name: &str) -> Reviewer {
        Reviewer { username: name.into(), ..Reviewer::default() }
    }

    fn empty(sets: &[ApproverSet], names: &[&str]) -> Vec<String> {
        let reviewers: Vec<Reviewer> = names.iter().map(|n| reviewer(n)).collect();
        let rules = ApprovalRules { approvers: sets.to_vec(), ..ApprovalRules::default() };
        fill(&rules, &reviewers.iter().collect::<Vec<_>>()).empty
    }

    #[test]
    fn each_place_has_somebody_of_its_own() {
        let sets = [set("owners", &["ann", "bob"], 1), set("security", &["bob", "eve"], 1)];
        assert_eq!(empty(&sets, &[]), ["owners", "security"]);
        // Bob is in both sets and fills one place.
        assert_eq!(empty(&sets, &["bob"]).len(), 1);
        // Whoever comes first makes room.
        assert!(empty(&sets, &["bob", "ann"]).is_empty() && empty(&sets, &["bob", "eve"]).is_empty());
        assert_eq!(empty(&sets, &["eve"]), ["owners"]);
        assert_eq!(empty(&[set("owners", &["ann", "bob"], 2)], &["ANN", "eve"]), ["owners"]);
    }

    #[test]
    fn members_by_name_group_or_service_account() {
        let mut all = set("a", &["ann"], 0);
        all.groups = vec![SubjectName("security".into()), SubjectName("system:serviceaccounts".into())];
        all.service_accounts = vec![ServiceAccountName("ci/gate".into())];
        let with_group = |name: &str, group: &str| Reviewer { groups: vec![GroupName(group.into())], ..reviewer(name) };
        assert!(member(&all, &reviewer("Ann")) && member(&all, &with_group("zoe", "security")));
        assert!(!member(&all, &with_group("zoe", "Security")), "groups are exact");
        assert!(member(&all, &reviewer("system:serviceaccount:ci:gate")));
        assert!(!member(&all, &with_group("system:serviceaccount:ci:other", "system:serviceaccounts")));
    }
}
