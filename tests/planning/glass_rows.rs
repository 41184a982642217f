//! Access without approval: each case.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use securebucket::api::DecryptGrant;
use securebucket::api::decrypt_grant::{AfterReview, BreakGlassStatus};
use securebucket::api::grant_review::Decision::{Approve, Deny};
use securebucket::api::grants::{BreakGlassSpec, ServiceAccountName};
use securebucket::api::types::DurationText;
use securebucket::domain::enforcement::Enforcement;
use securebucket::domain::time::format_instant;
use securebucket::grant::break_glass::reviewed;
use securebucket::grant::facts::Step;
use securebucket::grant::status::word;

use crate::fixtures::install;
use crate::grant_stages::Known;
use crate::grant_stages::Stage::{self, Activated, Approved, Ended, Held, Recorded, Removed, Requested, Resolved};
use crate::grants::{bucket, seconds, terms};
use crate::reviews::{identity, review};

/// A request by alice for half an hour, at once, on a bucket that asks for two approvals otherwise.
pub fn broken(stage: Stage) -> Known {
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
pub fn done() -> AfterReview {
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
    pub fn other(&mut self, made: i64, stage: Stage) {
        self.broken = Some(vec![other(made, stage)]);
    }

    pub fn after(&self) -> Option<String> {
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
