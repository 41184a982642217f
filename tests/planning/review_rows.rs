//! Which reviews count, and what they come to: one row per rule.

use std::sync::Arc;

use jiff::SignedDuration;
use securebucket::api::GrantReview;
use securebucket::api::condition::{Set, types};
use securebucket::api::decrypt_grant::{ApprovalRules, ApprovalStatus, EndReason};
use securebucket::api::grant_review::Decision::{Approve, Deny, Revoke};
use securebucket::api::grants::ServiceAccountName;
use securebucket::api::types::DurationText;
use securebucket::domain::enforcement::Enforcement;
use securebucket::domain::time::format_instant;
use securebucket::grant::agree::judge;
use securebucket::grant::facts::Step;

use crate::fixtures::{deleted_at, install};
use crate::grant_stages::Stage::{Activated, Approved, Recorded, Resolved};
use crate::grant_stages::{Known, Stage};
use crate::grants::{bucket, conditions, seconds};
use crate::reviews::{identity, in_group, made_at, review, set, shortened};

/// A request by alice that needs so many approvals.
fn asked(stage: Stage, approvals: i32) -> Known {
    let mut known = Known::at(stage);
    known.bucket = Some(bucket(approvals));
    if stage >= Resolved {
        known.change(|s| {
            s.approval_rules = Some(ApprovalRules { approvals, ..ApprovalRules::default() });
            s.pending_until = Some(format_instant(seconds(24 * 3_600)));
        });
    }
    known
}

impl Known {
    pub fn add(&mut self, review: GrantReview) {
        self.reviews.get_or_insert_default().push(Arc::new(review));
    }

    fn by(&mut self, name: &str) {
        let review = review(&format!("r-{name}"), &self.grant, Approve, name);
        self.add(review);
    }

    /// Whether the last review counts, by its reason.
    fn last(&self) -> String {
        let reviews = self.reviews.clone().unwrap();
        let name = reviews.last().unwrap().metadata.name.clone().unwrap();
        let facts_verdict = self.verdict();
        let (_, word) = facts_verdict.counts.into_iter().find(|(n, _)| *n == name).unwrap();
        word.map_or_else(|doubt| doubt.reason.to_owned(), |()| "counts".into())
    }

    pub fn verdict(&self) -> securebucket::grant::review::decision::Verdict {
        self.with_facts(|facts| judge(facts, &install())).unwrap()
    }
}

/// What is changed of one approval by bob before it is judged.
type Change = fn(&mut Known, &mut GrantReview);

#[test]
fn a_review_counts_only_if_everything_matches() {
    let rows: &[(&str, Change, &str)] = &[
        ("as it should be", |_, _| {}, "counts"),
        ("of another bucket", |_, r| r.spec.bucket_ref.name = "other".into(), "GrantNotFound"),
        ("from a third namespace", |_, r| r.metadata.namespace = Some("team-a".into()), "GrantNotFound"),
        ("of the grant's uid before", |_, r| r.spec.grant_ref.uid = "uid-old".into(), "AnotherGrant"),
        ("of other terms", |_, r| r.spec.terms_hash = "0".repeat(64), "OtherTerms"),
        ("before there were terms", |k, _| k.change(|s| s.resolved = None), "TermsUnknown"),
        ("older than the grant", |_, r| made_at(r, -1), "TooEarly"),
        ("without a time", |_, r| r.metadata.creation_timestamp = None, "TooEarly"),
        ("by who asks", |_, r| r.spec.reviewer.username = "alice".into(), "SelfApproval"),
        ("by who asks, spelt otherwise", |_, r| r.spec.reviewer.username = "ALICE".into(), "SelfApproval"),
        (
            "by who asks under another session of his role",
            |k, r| {
                k.grant.spec.requester.as_mut().unwrap().uid = Some("aws:1:AROADEV".into());
                r.spec.reviewer.uid = Some("aws:1:AROADEV".into());
            },
            "SelfApproval",
        ),
        (
            "by who asks under another role of his session",
            |k, r| {
                k.grant.spec.requester.as_mut().unwrap().session = Some("alice@example.com".into());
                r.spec.reviewer.session = Some("Alice@example.com".into());
            },
            "SelfApproval",
        ),
        ("by a robot", |_, r| r.spec.reviewer.username = "system:serviceaccount:ci:bot".into(), "ReviewerNotAllowed"),
        ("by nobody", |_, r| r.spec.reviewer.username = "system:anonymous".into(), "ReviewerNotAllowed"),
        ("being deleted", |_, r| r.metadata.deletion_timestamp = Some(deleted_at()), "Withdrawn"),
        ("of a grant being deleted", |k, _| k.delete(), "GrantOver"),
        ("shorter than the floor", |_, r| r.spec.max_duration = Some(DurationText("5m".into())), "TooShort"),
        ("no policies in force", |k, _| k.enforcement = Enforcement::unproven(), "ApprovalNotEnforced"),
        ("older than the policies", |k, _| k.enforcement = Enforcement::since(seconds(5)), "ApprovalNotEnforced"),
        ("changed after it was made", |_, r| r.metadata.generation = Some(2), "Edited"),
        ("newer than the policies", |k, _| k.enforcement = Enforcement::since(seconds(4)), "counts"),
        (
            "in none of the sets",
            |k, _| k.bucket().spec.grants.as_mut().unwrap().approvers = vec![set("owners", &["carol"], 0)],
            "NotAnApprover",
        ),
        (
            "in none of the sets at the request",
            |k, _| k.change(|s| s.approval_rules.as_mut().unwrap().approvers = vec![set("owners", &["carol"], 0)]),
            "NotAnApprover",
        ),
        (
            "in a set",
            |k, _| k.bucket().spec.grants.as_mut().unwrap().approvers = vec![set("owners", &["BOB"], 0)],
            "counts",
        ),
        (
            "in a group of a set",
            |k, r| {
                let mut owners = set("owners", &[], 0);
                owners.groups = vec![securebucket::api::grants::SubjectName("owners".into())];
                k.bucket().spec.grants.as_mut().unwrap().approvers = vec![owners];
                *r = in_group(r.clone(), "owners");
            },
            "counts",
        ),
    ];
    let mut wrong = String::new();
    for (name, change, expected) in rows {
        let mut known = asked(Resolved, 2);
        let mut one = review("r-bob", &known.grant, Approve, "bob");
        change(&mut known, &mut one);
        known.add(one);
        let found = known.last();
        let enough = known.verdict().approvals.len();
        if found != *expected || (enough == 1) != (found == "counts") {
            wrong.push_str(&format!("{name}: wanted {expected}, found {found}, {enough} approvals\n"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn different_persons_are_counted() {
    let mut known = asked(Resolved, 2);
    known.by("bob");
    assert_eq!((known.word().as_str(), known.verdict().progress().as_str()), ("wait AwaitingApproval", "1 of 2"));
    let mut again = review("r-bob-2", &known.grant, Approve, "Bob");
    made_at(&mut again, 6);
    known.add(again);
    assert_eq!((known.last().as_str(), known.word().as_str()), ("SamePerson", "wait AwaitingApproval"));
    known.by("carol");
    assert_eq!(known.word(), "approve");
    // A review that is taken back counts no more, and the other of the same person does.
    known.reviews.as_mut().unwrap().remove(0);
    assert_eq!(known.word(), "approve");
    known.reviews.as_mut().unwrap().remove(0);
    assert_eq!(known.word(), "wait AwaitingApproval");
}

#[test]
fn sets_have_places_of_their_own() {
    let sets = vec![set("owners", &["bob", "carol"], 1), set("security", &["eve"], 1)];
    let mut known = asked(Resolved, 1);
    known.bucket().spec.grants.as_mut().unwrap().approvers = sets;
    known.by("bob");
    known.by("carol");
    let verdict = known.verdict();
    assert_eq!((verdict.progress().as_str(), verdict.missing.clone()), ("2 of 2", vec!["security".to_owned()]));
    assert_eq!(known.word(), "wait AwaitingApproval");
    let Step::Wait { problem, .. } = known.step() else { panic!() };
    assert!(problem.message.contains("one more of security"), "{}", problem.message);
    known.by("eve");
    assert_eq!(known.word(), "approve");
    let sets: Vec<_> = known.verdict().approvals.iter().map(|a| a.set.clone().unwrap()).collect();
    assert_eq!(sets, ["owners", "owners", "security"]);
}

#[test]
fn robots_ask_and_review_where_they_are_named_and_need_one_more() {
    let mut known = asked(Resolved, 1);
    known.grant.spec.requester = Some(identity("system:serviceaccount:ci:bot"));
    known.by("bob");
    assert_eq!(known.word(), "stalled RequesterNotAllowed");
    known.bucket().spec.grants.as_mut().unwrap().robots = vec![ServiceAccountName("ci/bot".into())];
    assert_eq!((known.word().as_str(), known.verdict().needed), ("wait AwaitingApproval", 2));
    known.by("carol");
    assert_eq!(known.word(), "approve");

    let mut known = asked(Resolved, 1);
    let mut gate = set("gate", &["bob"], 0);
    gate.service_accounts = vec![ServiceAccountName("ci/gate".into())];
    known.bucket().spec.grants.as_mut().unwrap().approvers = vec![gate.clone()];
    known.change(|s| s.approval_rules.as_mut().unwrap().approvers = vec![gate]);
    known.by("system:serviceaccount:ci:gate");
    assert_eq!((known.word().as_str(), known.verdict().progress().as_str()), ("wait AwaitingApproval", "1 of 2"));
    known.by("bob");
    assert_eq!(known.word(), "approve");
}

#[test]
fn one_no_is_enough() {
    for decision in [Deny, Revoke] {
        for (stage, expected) in [(Resolved, "end Denied"), (Approved, "end Denied")] {
            let mut known = asked(stage, 1);
            known.by("bob");
            let no = review("no", &known.grant, decision, "carol");
            known.add(no);
            assert_eq!(known.word(), expected, "{stage:?}");
            let Step::End { message, review, .. } = known.step() else { panic!() };
            assert!(message.contains("by carol (GrantReview no)") && review.as_deref() == Some("no"), "{message}");
        }
    }
    // Who approved may think better of it, and who asks may withdraw.
    for who in ["bob", "alice"] {
        let mut known = asked(Resolved, 1);
        known.by("bob");
        let no = review("no", &known.grant, Deny, who);
        known.add(no);
        assert_eq!(known.word(), "end Denied", "{who}");
    }
    // A no that does not count denies nothing.
    let mut known = asked(Resolved, 1);
    known.by("bob");
    let mut no = review("no", &known.grant, Deny, "carol");
    no.spec.terms_hash = "0".repeat(64);
    known.add(no);
    assert_eq!(known.word(), "approve");
    // Even where nobody is asked.
    let mut known = Known::at(Approved);
    let no = review("no", &known.grant, Deny, "carol");
    known.add(no);
    assert_eq!(known.word(), "end Denied");
}

#[test]
fn a_live_grant_is_revoked_and_not_denied() {
    let live = |decision, at| {
        let mut known = asked(Recorded, 1);
        let mut no = review("no", &known.grant, decision, "carol");
        made_at(&mut no, at);
        known.add(no);
        (known.word(), known.last())
    };
    assert_eq!(live(Revoke, 100), ("end Revoked".into(), "counts".into()));
    assert_eq!(live(Deny, 100), ("settled".into(), "TooLate".into()));
    // Written while access was about to begin.
    assert_eq!(live(Deny, 0), ("end Revoked".into(), "counts".into()));
    assert_eq!(live(Approve, 100), ("settled".into(), "TooLate".into()));
}

#[test]
fn what_counted_goes_on_to_count() {
    let mut known = asked(Recorded, 1);
    known.by("bob");
    assert_eq!(known.last(), "TooLate", "it played no part");
    let approval =
        ApprovalStatus { review: "r-bob".into(), uid: Some("uid-review-r-bob".into()), ..Default::default() };
    known.change(|s| s.approvals = vec![approval]);
    assert_eq!(known.last(), "counts");
    // Taken back, it changes nothing any more.
    known.reviews = Some(Vec::new());
    assert_eq!(known.word(), "settled");
}

#[test]
fn the_strictest_rules_hold() {
    // Raised since.
    let mut known = asked(Resolved, 1);
    known.bucket = Some(bucket(2));
    known.by("bob");
    assert_eq!(known.word(), "wait AwaitingApproval");
    // Lowered since.
    let mut known = asked(Resolved, 2);
    known.bucket = Some(bucket(0));
    known.by("bob");
    assert_eq!(known.word(), "wait AwaitingApproval");
    // Raised after it was approved: it stays approved, and waits.
    let mut known = asked(Approved, 1);
    known.bucket = Some(bucket(2));
    known.looked = Known::at(Activated).looked;
    known.by("bob");
    assert_eq!(known.word(), "wait AwaitingApproval");
    known.by("carol");
    assert_eq!(known.word(), "activate");
    // Approved by policy, and approvals asked for since.
    let mut known = asked(Approved, 0);
    known.bucket = Some(bucket(1));
    known.looked = Known::at(Activated).looked;
    assert_eq!(known.word(), "wait AwaitingApproval");
    // An approval that was taken back before access began.
    let mut known = asked(Approved, 1);
    known.looked = Known::at(Activated).looked;
    assert_eq!(known.word(), "wait AwaitingApproval");
}

#[test]
fn the_shortest_is_issued_and_nothing_longer() {
    let issued = |limits: &[&str]| {
        let mut known = asked(Approved, 1);
        known.looked = Known::at(Activated).looked;
        for (n, limit) in limits.iter().enumerate() {
            let one = review(&format!("r{n}"), &known.grant, Approve, &format!("p{n}"));
            known.add(if limit.is_empty() { one } else { shortened(one, limit) });
        }
        let Step::Activate(agreement) = known.step() else { panic!("{:?}", known.step()) };
        (agreement.duration, agreement.shortened, agreement.approvals.len())
    };
    let hours = SignedDuration::from_hours;
    assert_eq!(issued(&[""]), (hours(4), false, 1));
    assert_eq!(issued(&["1h"]), (hours(1), true, 1));
    assert_eq!(issued(&["2h", "", "1h"]), (hours(1), true, 3));
    assert_eq!(issued(&["12h"]), (hours(4), false, 1));
    // The second word of one person does not shorten.
    let mut known = asked(Resolved, 1);
    known.by("bob");
    let mut again = shortened(review("r2", &known.grant, Approve, "bob"), "1h");
    made_at(&mut again, 9);
    known.add(again);
    assert_eq!(known.verdict().shortest, None);
}

#[test]
fn requests_that_nobody_approves_end() {
    let mut known = asked(Resolved, 1);
    known.now = seconds(24 * 3_600 - 1);
    assert_eq!(known.word(), "wait AwaitingApproval");
    known.now = seconds(24 * 3_600);
    assert_eq!(known.word(), "end ApprovalTimedOut");
    // Whatever came meanwhile.
    known.by("bob");
    assert_eq!(known.word(), "end ApprovalTimedOut");
    // Once approved there is the hour, and no other end.
    let mut known = asked(Approved, 1);
    known.change(|s| s.conditions = conditions(&[Set::yes(types::APPROVED, "ApprovalsMet", "")]));
    known.now = seconds(3_600);
    assert_eq!(known.word(), "end Lapsed");
    // Resolved by a version that wrote no rules.
    let mut known = asked(Resolved, 1);
    known.change(|s| (s.approval_rules, s.pending_until) = (None, None));
    assert_eq!(known.word(), "wait AwaitingApproval");
    known.now = seconds(24 * 3_600);
    assert_eq!(known.word(), "end ApprovalTimedOut");
    let Step::End { reason, .. } = known.step() else { panic!() };
    assert_eq!(reason, EndReason::ApprovalTimedOut);
}

#[test]
fn the_order_of_a_list_means_nothing() {
    let mut known = asked(Resolved, 2);
    for name in ["bob", "carol", "BOB", "alice", "dave"] {
        known.by(name);
    }
    let mut one = known.verdict();
    known.reviews.as_mut().unwrap().reverse();
    let mut other = known.verdict();
    for verdict in [&mut one, &mut other] {
        verdict.counts.sort_by_key(|(name, _)| name.clone());
    }
    assert_eq!(one, other);
}
