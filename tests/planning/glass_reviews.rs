//! The review that access without approval needs afterwards: by whom, when it is written, and what is kept until it is there.

use securebucket::api::condition::{find, types};
use securebucket::api::grant_review::Decision::{self, Approve, Deny, Revoke};
use securebucket::domain::enforcement::Enforcement;
use securebucket::domain::time::format_instant;
use securebucket::grant::facts::Step;
use securebucket::grant::status::settle;

use crate::fixtures::deleted_at;
use crate::glass_rows::{broken, done};
use crate::grant_stages::Known;
use crate::grant_stages::Stage::{self, Recorded, Removed};
use crate::grants::seconds;
use crate::reviews::{made_at, review, set};

#[test]
fn who_may_review_it_afterwards() {
    let rows: &[(&str, Stage, Decision, &str, i64, &str, bool)] = &[
        ("while it lasts", Recorded, Approve, "bob", 100, "counts", true),
        ("after it", Removed, Approve, "bob", 2_000, "counts", true),
        ("that it should not have been", Removed, Deny, "bob", 2_000, "counts", true),
        ("and ends it", Recorded, Revoke, "bob", 100, "counts", true),
        ("before it began", Recorded, Approve, "bob", -5, "TooEarly", false),
        ("by who asked", Recorded, Approve, "alice", 100, "SelfApproval", false),
        ("by who asked, spelt otherwise", Removed, Approve, "ALICE", 2_000, "SelfApproval", false),
        ("by who asked, who is sorry", Recorded, Deny, "alice", 100, "SelfApproval", false),
        ("by who asked, who ends it", Recorded, Revoke, "alice", 100, "counts", false),
        ("by who asked, who says so afterwards", Removed, Revoke, "alice", 2_000, "SelfApproval", false),
        ("by a robot", Removed, Approve, "system:serviceaccount:ci:bot", 2_000, "ReviewerNotAllowed", false),
    ];
    let mut wrong = String::new();
    for (name, stage, decision, who, at, expected, recorded) in rows {
        let mut known = broken(*stage);
        let mut one = review("r", &known.grant, *decision, who);
        made_at(&mut one, *at);
        known.add(one);
        let verdict = known.verdict();
        let found = verdict.counts[0].1.as_ref().map_or_else(|doubt| doubt.reason, |()| "counts");
        let after = known.after();
        if found != *expected || after.is_some() != *recorded {
            wrong.push_str(&format!("{name}: wanted {expected} {recorded}, found {found} {after:?}\n"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    // A member of a set, where there are sets; by a proven name; of these terms.
    let by_bob = |change: fn(&mut Known, &mut securebucket::api::GrantReview)| {
        let mut known = broken(Removed);
        let mut one = review("r", &known.grant, Approve, "bob");
        made_at(&mut one, 2_000);
        change(&mut known, &mut one);
        known.add(one);
        known.after()
    };
    assert_eq!(by_bob(|_, _| {}).as_deref(), Some("bob"));
    assert_eq!(by_bob(|k, _| k.bucket().spec.grants.as_mut().unwrap().approvers = vec![set("o", &["carol"], 0)]), None);
    assert!(by_bob(|k, _| k.bucket().spec.grants.as_mut().unwrap().approvers = vec![set("o", &["bob"], 0)]).is_some());
    assert_eq!(by_bob(|k, _| k.enforcement = Enforcement::unproven()), None);
    assert_eq!(by_bob(|k, _| k.enforcement = Enforcement::since(seconds(2_000))), None);
    assert_eq!(by_bob(|_, r| r.spec.terms_hash = "0".repeat(64)), None);
    assert_eq!(by_bob(|_, r| r.spec.grant_ref.uid = "uid-before".into()), None);
    assert_eq!(by_bob(|_, r| r.metadata.namespace = Some("team-a".into())), None);
    assert_eq!(by_bob(|k, _| k.grant.spec.requester = None), None);
}

#[test]
fn the_review_is_recorded_when_what_it_ends_is_removed() {
    for decision in [Approve, Deny, Revoke] {
        let ends = decision != Approve;
        let mut known = broken(Recorded);
        let mut one = review("r", &known.grant, decision, "bob");
        made_at(&mut one, 60);
        if ends {
            // Access goes first: that the review can be read again, or written down, is not waited for.
            known.add(one.clone());
            assert_eq!(known.word(), "end Revoked", "{decision:?}");
            known = broken(Removed);
        }
        known.add(one);
        let Step::RecordReview(review) = known.step() else { panic!("{decision:?}: {}", known.word()) };
        assert_eq!(
            (review.review.as_str(), review.decision, &review.at),
            ("r", decision, &format_instant(seconds(60)))
        );
        known.change(|s| s.break_glass.as_mut().unwrap().review = Some(review));
        assert_eq!(known.word(), "settled", "{decision:?}");
        // Taken back it stays written.
        known.reviews = Some(Vec::new());
        assert_eq!(known.word(), "settled");
    }
}

#[test]
fn it_is_kept_until_it_is_reviewed() {
    let old = |known: &mut Known| known.now = seconds(400 * 24 * 3_600);
    let kept = |change: fn(&mut Known)| {
        let mut known = broken(Removed);
        change(&mut known);
        known.word()
    };
    let reviewed = |k: &mut Known| k.change(|s| s.break_glass.as_mut().unwrap().review = Some(done()));
    assert_eq!(kept(Known::delete), "settled");
    let mut known = broken(Removed);
    old(&mut known);
    assert_eq!(known.word(), "settled", "a record of it is not forgotten");
    reviewed(&mut known);
    assert_eq!(known.word(), "forget");
    known.delete();
    assert_eq!(known.word(), "remove finalizer");
    // With the bucket goes who could review it.
    assert_eq!(kept(|k| (k.bucket, _) = (None, k.delete())), "remove finalizer");
    assert_eq!(
        kept(|k| (k.bucket().metadata.deletion_timestamp, _) = (Some(deleted_at()), k.delete())),
        "remove finalizer"
    );
    assert_eq!(kept(|k| (k.bucket().metadata.uid, _) = (Some("uid-2".into()), k.delete())), "remove finalizer");
    assert_eq!(kept(|k| (k.bucket, k.bucket_unreadable, _) = (None, Some("down"), k.delete())), "settled");
    // Access goes all the same.
    let mut known = broken(Recorded);
    known.delete();
    assert_eq!(known.word(), "end HandedBack");
}

#[test]
fn the_condition_says_what_is_due() {
    let said = |known: &Known| {
        let status = settle(&known.grant, known.status(), &Step::Settled, known.now, known.now);
        let one = find(&status.conditions, types::REVIEWED).cloned();
        one.map(|c| format!("{} {}", c.status, c.reason)).unwrap_or_default()
    };
    assert_eq!(said(&Known::at(Recorded)), "");
    let mut known = broken(Removed);
    assert_eq!(said(&known), "False ReviewDue");
    known.now = seconds(24 * 3_600);
    assert_eq!(said(&known), "False ReviewOverdue");
    known.change(|s| s.break_glass.as_mut().unwrap().review = Some(done()));
    assert_eq!(said(&known), "True Reviewed");
}
