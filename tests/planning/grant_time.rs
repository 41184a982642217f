//! When a window may be opened, by which clock, and when it is too late for that.

use jiff::SignedDuration;
use securebucket::api::types::InstantText;
use securebucket::grant::begin::Skew;
use securebucket::grant::facts::Step;
use securebucket::role::desired::{open_grant, window};

use crate::fixtures::install;
use crate::grant_stages::Stage::{Activated, Approved, Ended, Held, Issued, Named, Recorded, Resolved, Written};
use crate::grant_stages::{Known, Row, Stage, check};
use crate::grants::{bucket, scheduled, seconds};

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;

/// AWS has just answered.
fn looked(k: &mut Known) {
    k.looked = Known::at(Activated).looked;
}

fn off(k: &mut Known, aws: i64, kubernetes: i64) {
    k.skew =
        Skew { aws: Some(SignedDuration::from_secs(aws)), kubernetes: Some(SignedDuration::from_secs(kubernetes)) };
}

#[test]
fn not_before() {
    let rows: &[Row] = &[
        ("it is one of the terms", Held, |k| k.not_before(HOUR), "resolve"),
        ("approval does not wait for it", Resolved, |k| k.not_before(HOUR), "approve"),
        (
            "without approval it waits for that",
            Resolved,
            |k| {
                k.not_before(HOUR);
                k.bucket = Some(bucket(1));
            },
            "wait AwaitingApproval",
        ),
        // Nothing is asked of AWS meanwhile.
        ("too early", Approved, |k| k.not_before(HOUR), "wait Scheduled until 3600"),
        (
            "a second too early",
            Approved,
            |k| {
                k.not_before(HOUR);
                k.now = seconds(HOUR - 1);
            },
            "wait Scheduled until 3600",
        ),
        (
            "an old look at AWS does not open it",
            Approved,
            |k| {
                k.not_before(HOUR);
                looked(k);
                k.now = seconds(HOUR - 1);
            },
            "wait Scheduled until 3600",
        ),
        (
            "its second",
            Approved,
            |k| {
                k.not_before(HOUR);
                k.now = seconds(HOUR);
            },
            "look",
        ),
        (
            "its second, by an answer of AWS",
            Approved,
            |k| {
                k.not_before(HOUR);
                looked(k);
                k.now = seconds(HOUR);
            },
            "activate",
        ),
        (
            "in the past",
            Approved,
            |k| {
                k.not_before(-DAY);
                looked(k);
            },
            "activate",
        ),
        // By then everything is looked at again.
        (
            "the bucket went meanwhile",
            Approved,
            |k| {
                k.not_before(HOUR);
                k.now = seconds(HOUR);
                k.bucket = None;
            },
            "end BucketGone",
        ),
        (
            "the ServiceAccount was replaced meanwhile",
            Approved,
            |k| {
                k.not_before(HOUR);
                k.now = seconds(HOUR);
                k.account = Some("sa-uid-2");
            },
            "end Denied",
        ),
        (
            "deleted meanwhile",
            Approved,
            |k| {
                k.not_before(HOUR);
                k.delete();
            },
            "remove finalizer",
        ),
        ("7 days ahead", Held, |k| k.not_before(7 * DAY), "resolve"),
        ("further ahead", Held, |k| k.not_before(7 * DAY + 1), "stalled InvalidSpec"),
        (
            "of a request of unknown age",
            Held,
            |k| {
                k.not_before(HOUR);
                k.grant.metadata.creation_timestamp = None;
            },
            "stalled InvalidSpec",
        ),
        ("no instant", Held, |k| k.grant.spec.not_before = Some(InstantText("tomorrow".into())), "stalled InvalidSpec"),
    ];
    check(rows);
}

/// `request()` is approved at noon, by the condition.
#[test]
fn a_window_that_was_not_opened_within_an_hour_is_not_opened() {
    let rows: &[Row] = &[
        (
            "the last second",
            Approved,
            |k| {
                looked(k);
                k.now = seconds(HOUR - 1);
            },
            "activate",
        ),
        (
            "too late",
            Approved,
            |k| {
                looked(k);
                k.now = seconds(HOUR);
            },
            "end Lapsed",
        ),
        ("much too late", Approved, |k| k.now = seconds(30 * DAY), "end Lapsed"),
        (
            "from notBefore on, if that is later",
            Approved,
            |k| {
                k.not_before(DAY);
                looked(k);
                k.now = seconds(DAY + HOUR - 1);
            },
            "activate",
        ),
        (
            "too late after notBefore",
            Approved,
            |k| {
                k.not_before(DAY);
                looked(k);
                k.now = seconds(DAY + HOUR);
            },
            "end Lapsed",
        ),
        (
            "from the approval on, if notBefore is earlier",
            Approved,
            |k| {
                k.not_before(-DAY);
                looked(k);
                k.now = seconds(HOUR - 1);
            },
            "activate",
        ),
        // Whatever kept it from beginning.
        (
            "the bucket cannot be read",
            Approved,
            |k| {
                k.bucket_unreadable = Some("spec");
                k.now = seconds(HOUR);
            },
            "end Lapsed",
        ),
        (
            "the bucket is not ready",
            Approved,
            |k| {
                k.bucket().status.as_mut().unwrap().provisioned_at = None;
                k.now = seconds(HOUR);
            },
            "end Lapsed",
        ),
        (
            "the clock is wrong",
            Approved,
            |k| {
                looked(k);
                off(k, 31, 0);
                k.now = seconds(HOUR);
            },
            "end Lapsed",
        ),
        (
            "deleted",
            Approved,
            |k| {
                k.now = seconds(HOUR);
                k.delete();
            },
            "remove finalizer",
        ),
        // A request that waits for approval has a limit of its own, and a window that is open none.
        (
            "not approved",
            Resolved,
            |k| {
                k.bucket = Some(bucket(1));
                k.now = seconds(DAY - 1);
            },
            "wait AwaitingApproval",
        ),
        ("open", Recorded, |k| k.now = seconds(HOUR + 1), "settled"),
    ];
    check(rows);
    let mut known = Known::at(Approved);
    known.now = seconds(HOUR);
    let Step::End { message, .. } = known.step() else { panic!() };
    assert!(message.contains("within 1h") && message.contains("create a new grant"), "{message}");
}

#[test]
fn a_clock_that_is_off_begins_nothing_and_ends_everything() {
    let rows: &[Row] = &[
        (
            "30 s are nothing",
            Approved,
            |k| {
                looked(k);
                off(k, 30, -30);
            },
            "activate",
        ),
        (
            "ahead of AWS",
            Approved,
            |k| {
                looked(k);
                off(k, 31, 0);
            },
            "stalled ClockSkew until 30",
        ),
        (
            "behind AWS",
            Approved,
            |k| {
                looked(k);
                off(k, -31, 0);
            },
            "stalled ClockSkew until 30",
        ),
        (
            "ahead of the API server",
            Approved,
            |k| {
                looked(k);
                off(k, 0, 31);
            },
            "stalled ClockSkew until 30",
        ),
        (
            "behind the API server",
            Approved,
            |k| {
                looked(k);
                off(k, 0, -31);
            },
            "stalled ClockSkew until 30",
        ),
        (
            "nobody was heard yet",
            Approved,
            |k| {
                looked(k);
                k.skew = Skew::default();
            },
            "activate",
        ),
        ("before the name of the KMS grant is written", Written, |k| off(k, 31, 0), "stalled ClockSkew until 90"),
        ("before the KMS grant is made", Named, |k| off(k, 0, -31), "stalled ClockSkew until 90"),
        ("what is made is taken note of", Issued, |k| off(k, 31, 31), "record kms-1"),
        ("what is in place stays", Recorded, |k| off(k, 31, 31), "settled"),
        (
            "what is over is ended",
            Recorded,
            |k| {
                off(k, -100, 100);
                k.now = seconds(4 * HOUR);
            },
            "end Expired",
        ),
        ("and removed", Ended, |k| off(k, 100, -100), "wait Removing"),
        ("down to the KMS grant", Stage::Narrowed, |k| off(k, 100, -100), "revoke kms-1"),
        ("and proved", Stage::Revoked, |k| off(k, 100, -100), "record removal"),
    ];
    check(rows);
    for (aws, kubernetes, words) in [
        (45, 0, "45 s ahead of AWS's"),
        (-45, 0, "45 s behind AWS's"),
        (0, 45, "45 s ahead of the API server's"),
        (-60, 45, "60 s behind AWS's"),
    ] {
        let mut known = Known::at(Approved);
        looked(&mut known);
        off(&mut known, aws, kubernetes);
        let Step::Wait { problem, .. } = known.step() else { panic!() };
        assert!(problem.message.contains(words), "{words} is not in {}", problem.message);
    }
}

/// Status is only as good as who may write it: one that opens a window before its time gives nothing.
#[test]
fn a_window_that_was_opened_too_early_gives_nothing() {
    let mut known = Known::at(Written);
    assert!(open_grant(&known.grant, &install(), known.now).is_some());
    known.not_before(1);
    assert!(window(&known.grant, &install()).is_none() && open_grant(&known.grant, &install(), known.now).is_none());
    assert_eq!(known.word(), "end Revoked");
    known.not_before(0);
    assert!(window(&known.grant, &install()).is_some());
}

/// What an approval speaks of: another beginning is another request.
#[test]
fn the_beginning_is_part_of_the_terms() {
    let at = |from| {
        let mut known = Known::at(Resolved);
        known.not_before(from);
        known
    };
    let hash = |k: &Known| k.status().resolved.unwrap().terms_hash;
    let (early, late) = (at(HOUR), at(2 * HOUR));
    assert_ne!(hash(&early), hash(&late));
    assert_ne!(hash(&early), hash(&Known::at(Resolved)));
    // The same instant in other words is the same.
    let mut other = at(HOUR);
    other.grant.spec.not_before = Some(InstantText("2026-11-24T14:00:00+01:00".into()));
    assert_eq!(other.status().resolved, early.status().resolved);
    assert_eq!(other.word(), "approve");
    // Terms of another beginning than the spec's are not this grant's.
    let mut forged = Known::at(Activated);
    forged.grant = scheduled(forged.grant, 0);
    assert!(window(&forged.grant, &install()).is_none());
}

/// What is over stays as a record for 90 days, and never goes before its removal is proved.
#[test]
fn history() {
    let rows: &[Row] = &[
        ("removed", Stage::Removed, |_| {}, "settled"),
        ("a second before", Stage::Removed, |k| k.now = seconds(602 + 90 * DAY - 1), "settled"),
        ("after 90 days", Stage::Removed, |k| k.now = seconds(602 + 90 * DAY), "forget"),
        (
            "by a clock that is off nothing is forgotten",
            Stage::Removed,
            |k| {
                off(k, 31, 0);
                k.now = seconds(602 + 90 * DAY);
            },
            "settled",
        ),
        (
            "being deleted already",
            Stage::Removed,
            |k| {
                k.now = seconds(602 + 90 * DAY);
                k.delete();
            },
            "remove finalizer",
        ),
        // Whatever its age.
        ("not removed yet", Ended, |k| k.now = seconds(200 * DAY), "revoke kms-1"),
        ("not proved yet", Stage::Revoked, |k| k.now = seconds(200 * DAY), "record removal"),
        (
            "waits for approval",
            Resolved,
            |k| {
                k.bucket = Some(bucket(1));
                k.now = seconds(200 * DAY);
            },
            "end ApprovalTimedOut",
        ),
    ];
    check(rows);
}
