//! Access without approval: each case.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use securebucket::api::DecryptGrant;
use securebucket::api::condition::{find, types};
use securebucket::api::decrypt_grant::{AfterReview, BreakGlassStatus};
use securebucket::api::grant_review::Decision::{self, Approve, Deny, Revoke};
use securebucket::api::grants::{BreakGlassSpec, ServiceAccountName};
use securebucket::api::types::DurationText;
use securebucket::domain::enforcement::Enforcement;
use securebucket::domain::time::format_instant;
use securebucket::grant::break_glass::reviewed;
use securebucket::grant::facts::Step;
use securebucket::grant::status::{settle, word};

use crate::fixtures::{deleted_at, install};
use crate::grant_stages::Known;
use crate::grant_stages::Stage::{self, Activated, Approved, Ended, Held, Recorded, Removed, Requested, Resolved};
use crate::grants::{bucket, seconds, terms};
use crate::reviews::{identity, made_at, review, set};

/// A request by alice for half an hour, at once, on a bucket that asks for two approvals otherwise.
fn broken(stage: Stage) -> Known {
    let mut known = Known::at(stage);
    let mut bucket = bucket(2);
    bucket.spec.grants.as_mut().unwrap().break_glass = Some(BreakGlassSpec::default());
    known.grant.spec.break_glass = Some(true);
    known.grant.spec.duration = DurationText("30m".into());
    known.enforcement = Enforcement::since(seconds(-1));
    known.broken = Some(Vec::new());
    if stage >= Resolved {
        let resolved = terms(&known.grant, &bucket);
        known.change(|s| s.resolved = Some(resolved));
    }
    if stage >= Activated {
        known.change(|s| {
            s.expires_at = Some(format_instant(seconds(1_800)));
            s.break_glass = Some(BreakGlassStatus { review_by: format_instant(seconds(24 * 3_600)), review: None });
        });
    }
    if (Stage::Written..Ended).contains(&stage) {
        known.written();
    }
    known.bucket = Some(bucket);
    known
}

/// Another of the kind, made so many seconds after noon.
fn other(made: i64, stage: Stage) -> DecryptGrant {
    let mut grant = broken(stage).grant;
    grant.metadata.name = Some("other".into());
    grant.metadata.uid = Some("uid-other".into());
    grant.metadata.namespace = Some("team-b".into());
    grant.spec.bucket_ref.namespace = Some("data".into());
    grant.metadata.creation_timestamp = Some(Time(seconds(made)));
    grant
}

/// What is written of a review by bob.
fn done() -> AfterReview {
    AfterReview {
        review: "r-bob".into(),
        uid: "uid-review-r-bob".into(),
        reviewer: "bob".into(),
        decision: Approve,
        at: format_instant(seconds(60)),
    }
}

fn glass(known: &mut Known) -> &mut BreakGlassSpec {
    known.bucket().spec.grants.as_mut().unwrap().break_glass.as_mut().unwrap()
}

impl Known {
    fn other(&mut self, made: i64, stage: Stage) {
        self.broken = Some(vec![other(made, stage)]);
    }

    fn after(&self) -> Option<String> {
        self.with_facts(|f| reviewed(f, &install())).map(|r| r.reviewer)
    }
}

fn ended(known: &Known) -> String {
    match known.step() {
        Step::End { reason, message, .. } => format!("{}: {message}", word(reason)),
        _ => known.word(),
    }
}

#[test]
fn at_once_or_never() {
    type Change = fn(&mut Known);
    let rows: &[(&str, Stage, Change, &str)] = &[
        ("as it should be", Held, |_| {}, "resolve"),
        ("without asking anybody", Resolved, |_| {}, "approve"),
        ("when it begins", Approved, |k| k.looked = Known::at(Activated).looked, "activate"),
        (
            "the bucket allows none",
            Held,
            |k| k.bucket().spec.grants.as_mut().unwrap().break_glass = None,
            "Denied: grants.breakGlass",
        ),
        (
            "no longer",
            Resolved,
            |k| k.bucket().spec.grants.as_mut().unwrap().break_glass = None,
            "Denied: grants.breakGlass",
        ),
        (
            "no longer when it begins",
            Approved,
            |k| k.bucket().spec.grants.as_mut().unwrap().break_glass = None,
            "Denied: grants.breakGlass",
        ),
        (
            "without asking for it",
            Resolved,
            |k| {
                k.grant.spec.break_glass = Some(false);
                let resolved = terms(&k.grant, k.bucket.as_ref().unwrap());
                k.change(|s| s.resolved = Some(resolved));
            },
            "wait AwaitingApproval",
        ),
        ("longer than an hour", Held, |k| k.grant.spec.duration = DurationText("61m".into()), "Denied: longer than 1h"),
        (
            "longer than the owner says",
            Held,
            |k| glass(k).max_duration = Some(DurationText("20m".into())),
            "Denied: longer than 20m",
        ),
        (
            "as long as the owner says",
            Held,
            |k| {
                glass(k).max_duration = Some(DurationText("2h".into()));
                k.grant.spec.duration = DurationText("2h".into());
            },
            "resolve",
        ),
        (
            "longer than any grant",
            Held,
            |k| {
                glass(k).max_duration = Some(DurationText("2h".into()));
                k.grant.spec.duration = DurationText("2h".into());
                k.bucket().spec.grants.as_mut().unwrap().max_duration = Some(DurationText("90m".into()));
            },
            "Denied: longer than 1h30m",
        ),
        (
            "the owner's text is none",
            Held,
            |k| glass(k).review_within = Some(DurationText("soon".into())),
            "Denied: breakGlass.reviewWithin",
        ),
        (
            "by a robot",
            Held,
            |k| k.grant.spec.requester = Some(identity("system:serviceaccount:ci:bot")),
            "Denied: only people",
        ),
        (
            "by a robot that may ask",
            Held,
            |k| {
                k.grant.spec.requester = Some(identity("system:serviceaccount:ci:bot"));
                k.bucket().spec.grants.as_mut().unwrap().robots = vec![ServiceAccountName("ci/bot".into())];
            },
            "Denied: only people",
        ),
        ("by nobody", Resolved, |k| k.grant.spec.requester = None, "stalled RequesterMissing"),
        ("not proven", Resolved, |k| k.enforcement = Enforcement::unproven(), "stalled ApprovalNotEnforced"),
        (
            "older than the proof",
            Resolved,
            |k| k.enforcement = Enforcement::since(seconds(0)),
            "stalled ApprovalNotEnforced",
        ),
        ("nobody asks for the verb", Held, |k| k.enforcement = Enforcement::elsewhere(), "Denied: --admission=Off"),
        ("the list is not known", Held, |k| k.broken = None, "read broken"),
        ("the list is not known when it begins", Approved, |k| k.broken = None, "read broken"),
        ("one that nobody reviewed", Held, |k| k.other(-9_000, Recorded), "Denied: team-b/other"),
        ("one that is over and nobody reviewed", Held, |k| k.other(-9_000, Removed), "Denied: waits for its review"),
        (
            "one that was reviewed",
            Held,
            |k| {
                let mut one = other(-9_000, Removed);
                let review = done();
                one.status.as_mut().unwrap().break_glass.as_mut().unwrap().review = Some(review);
                k.broken = Some(vec![one]);
            },
            "resolve",
        ),
        (
            "one that was refused",
            Held,
            |k| {
                let mut one = other(-9_000, Ended);
                let status = one.status.as_mut().unwrap();
                (status.activated_at, status.expires_at, status.break_glass) = (None, None, None);
                k.broken = Some(vec![one]);
            },
            "resolve",
        ),
        ("an older one that is under way", Held, |k| k.other(-1, Requested), "Denied: one at a time"),
        ("a younger one that is under way", Held, |k| k.other(1, Resolved), "resolve"),
        ("a younger one that is approved", Approved, |k| k.other(1, Approved), "Denied: one at a time"),
        ("itself", Held, |k| k.broken = Some(vec![k.grant.clone()]), "resolve"),
        (
            "one on another bucket",
            Held,
            |k| {
                let mut one = other(-9_000, Recorded);
                one.spec.bucket_ref.name = "other".into();
                k.broken = Some(vec![one]);
            },
            "resolve",
        ),
        (
            "a bucket of the name in another namespace",
            Held,
            |k| {
                let mut one = other(-9_000, Recorded);
                one.spec.bucket_ref.namespace = None;
                k.broken = Some(vec![one]);
            },
            "resolve",
        ),
        ("a rule denies it", Held, |k| k.deny("request.breakGlass"), "Denied: rule no"),
        ("a rule that approves has no part in it", Resolved, |k| k.auto("true"), "approve"),
        (
            "locked down",
            Held,
            |k| {
                k.bucket().spec.lockdown =
                    Some(securebucket::api::lockdown::LockdownSpec { reason: "x".into(), level: None })
            },
            "Denied: locked down",
        ),
        (
            "a reviewer says no",
            Resolved,
            |k| {
                let no = review("no", &k.grant, Deny, "carol");
                k.add(no);
            },
            "Denied: denied by carol",
        ),
        ("too late", Held, |k| k.now = seconds(3_600), "Denied: begins at once or not at all"),
        ("too late to begin", Resolved, |k| k.now = seconds(3_600), "Denied: begins at once or not at all"),
        ("in time", Resolved, |k| k.now = seconds(3_599), "approve"),
        (
            "its time is not known",
            Held,
            |k| k.grant.metadata.creation_timestamp = None,
            "Denied: begins at once or not at all",
        ),
        (
            "the ServiceAccount comes later",
            Held,
            |k| (k.account, k.now) = (None, seconds(3_600)),
            "Denied: begins at once",
        ),
    ];
    let mut wrong = String::new();
    for (name, stage, change, expected) in rows {
        let mut known = broken(*stage);
        change(&mut known);
        let found = ended(&known);
        let fits = match expected.split_once(": ") {
            Some((state, part)) => found.starts_with(state) && found.contains(part),
            None => found == *expected,
        };
        if !fits {
            wrong.push_str(&format!("{name} ({stage:?}): wanted {expected}, found {found}\n"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn it_is_told_apart_and_signed() {
    let mut known = broken(Held);
    let Step::Resolve(resolution) = known.step() else { panic!() };
    known.change(|s| resolution.record(s));
    assert_eq!(known.status().pending_until, Some(format_instant(seconds(3_600))));
    let mut slow = known.grant.clone();
    slow.spec.break_glass = None;
    assert_ne!(terms(&slow, &bucket(2)).terms_hash, known.status().resolved.unwrap().terms_hash);
    let Step::Approve(agreement) = known.step() else { panic!() };
    assert!(agreement.condition().reason == "BreakGlass" && agreement.approvals.is_empty());
    let mut status = known.status();
    agreement.record(&mut status, seconds(10));
    assert_eq!(status.break_glass.unwrap().review_by, format_instant(seconds(24 * 3_600 + 10)));
    assert_eq!(status.expires_at.unwrap(), format_instant(seconds(1_810)));
}

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
