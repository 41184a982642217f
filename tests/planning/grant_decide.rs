//! The life of a DecryptGrant, one row per transition, and per reason to wait or to end.

use securebucket::api::condition::{Set, types};
use securebucket::api::lockdown::LockdownSpec;
use securebucket::api::secure_bucket::Duty;
use securebucket::api::types::{DurationText, PrefixText};
use securebucket::aws::calls::Call;
use securebucket::aws::error::{AwsErrorKind, Seen};
use securebucket::bucket::lockdown::latched;
use securebucket::domain::policy::Effect;
use securebucket::role::state::Problem;

use crate::fixtures::{deleted_at, entry, failure};
use crate::grant_stages::Stage::{
    Activated, Approved, Ended, Held, Issued, Named, Narrowed, Recorded, Removed, Requested, Resolved, Revoked, Written,
};
use crate::grant_stages::{ALL, Known, Row, Stage, check};
use crate::grants::{bucket, conditions, seconds};

pub fn denied<T>() -> Seen<T> {
    Seen::Unreadable(failure(Call::ListGrants, AwsErrorKind::AccessDenied))
}

pub fn timed_out<T>() -> Seen<T> {
    Seen::Unreadable(failure(Call::ListGrants, AwsErrorKind::Unavailable))
}

#[test]
fn one_step_after_the_other() {
    let rows: &[Row] = &[
        ("the finalizer is first", Requested, |_| {}, "add finalizer"),
        ("then every name is resolved", Held, |_| {}, "resolve"),
        ("within terms that need no approval", Resolved, |_| {}, "approve"),
        ("the clock is AWS's: an answer just received", Approved, |_| {}, "look"),
        ("the clock starts", Approved, |k| k.looked = Known::at(Activated).looked, "activate"),
        ("the writer of roles is waited for", Activated, |_| {}, "wait Granting"),
        ("the policy is known everywhere", Written, |_| {}, "name"),
        ("the name is in status before the call", Named, |_| {}, "issue"),
        ("so near its end it is not begun", Written, |k| k.now = seconds(4 * 3_600 - 2), "wait Granting until 14400"),
        ("nor issued", Named, |k| k.now = seconds(4 * 3_600 - 1), "wait Granting until 14400"),
        (
            "but found in the list it is noted, to be revoked",
            Issued,
            |k| k.now = seconds(4 * 3_600 - 1),
            "record kms-1",
        ),
        ("what the list shows counts", Issued, |_| {}, "record kms-1"),
        ("until all of AWS knows it", Recorded, |k| k.now = seconds(74), "wait Granting until 75"),
        ("usable", Recorded, |_| {}, "settled"),
        ("the window goes first", Ended, |_| {}, "wait Removing"),
        ("then the KMS grant", Narrowed, |_| {}, "revoke kms-1"),
        ("then the proof", Revoked, |_| {}, "record removal"),
        ("an ended grant stays as a record", Removed, |_| {}, "settled"),
        ("its finalizer is last", Removed, Known::delete, "remove finalizer"),
    ];
    check(rows);
}

#[test]
fn reasons_to_wait_before_the_window() {
    let rows: &[Row] = &[
        ("no such bucket", Held, |k| k.bucket = None, "stalled BucketNotAvailable"),
        // Refused reads as absent does.
        (
            "its owner does not let the namespace ask",
            Held,
            |k| k.bucket().spec.grants.as_mut().unwrap().allowed_namespaces.clear(),
            "stalled BucketNotAvailable",
        ),
        ("bucket unreadable", Held, |k| k.bucket_unreadable = Some("spec: unknown field"), "wait WaitingForBucket"),
        (
            "bucket not complete",
            Held,
            |k| k.bucket().status.as_mut().unwrap().provisioned_at = None,
            "wait WaitingForBucket",
        ),
        (
            "its key is not ready",
            Held,
            |k| {
                k.bucket().status.as_mut().unwrap().conditions =
                    conditions(&[Set::yes(types::POLICY, "Configured", "")])
            },
            "wait WaitingForBucket",
        ),
        (
            "its policy is not ready",
            Held,
            |k| k.bucket().status.as_mut().unwrap().conditions = conditions(&[Set::yes(types::KEY, "Configured", "")]),
            "wait WaitingForBucket",
        ),
        (
            "its maxDuration is no duration",
            Held,
            |k| k.bucket().spec.grants.as_mut().unwrap().max_duration = Some(DurationText("x".into())),
            "wait WaitingForBucket",
        ),
        ("no such ServiceAccount", Held, |k| k.account = None, "stalled ServiceAccountNotFound"),
        ("too long", Held, |k| k.grant.spec.duration = DurationText("13h".into()), "stalled InvalidSpec"),
        ("too short", Held, |k| k.grant.spec.duration = DurationText("5m".into()), "stalled InvalidSpec"),
        ("no duration", Held, |k| k.grant.spec.duration = DurationText("4".into()), "stalled InvalidSpec"),
        ("a wildcard", Held, |k| k.grant.spec.prefixes = vec![PrefixText("a*/".into())], "stalled InvalidSpec"),
        (
            "the ServiceAccount has a duty there",
            Held,
            |k| {
                k.bucket().metadata.namespace = Some("team-a".into());
                k.grant.spec.bucket_ref.namespace = None;
                k.bucket().spec.access = vec![entry("etl", Duty::Auditor)];
            },
            "stalled SeparationOfDuties",
        ),
        ("approvals", Resolved, |k| k.bucket = Some(bucket(2)), "wait AwaitingApproval"),
        (
            "approvals unsaid",
            Resolved,
            |k| {
                k.bucket().spec.grants.as_mut().unwrap().approvals = None;
            },
            "wait AwaitingApproval",
        ),
    ];
    check(rows);
}

#[test]
fn reasons_to_end_before_the_window() {
    let rows: &[Row] = &[
        ("deleted before it was held", Requested, Known::delete, "settled"),
        // Nothing is in AWS before `expiresAt` is in status.
        ("deleted before it was resolved", Held, Known::delete, "remove finalizer"),
        ("deleted before its window", Approved, Known::delete, "remove finalizer"),
        (
            "the bucket is being deleted",
            Held,
            |k| k.bucket().metadata.deletion_timestamp = Some(deleted_at()),
            "end BucketGone",
        ),
        ("the bucket is locked down", Held, lock_down, "end Denied"),
        ("the bucket was locked down after it was approved", Approved, lock_down, "end Denied"),
        ("the latch says so alone", Held, latch, "end Denied"),
        ("the bucket went after it was resolved", Resolved, |k| k.bucket = None, "end BucketGone"),
        (
            "consent went after it was resolved",
            Approved,
            |k| k.bucket().spec.grants.as_mut().unwrap().allowed_namespaces.clear(),
            "end BucketGone",
        ),
        // What was resolved is what an approval speaks of.
        ("the bucket was replaced", Resolved, |k| k.bucket().metadata.uid = Some("bucket-uid-2".into()), "end Denied"),
        ("the ServiceAccount was replaced", Approved, |k| k.account = Some("sa-uid-2"), "end Denied"),
        (
            "its key was replaced",
            Approved,
            |k| k.bucket().status.as_mut().unwrap().key_arn = Some(crate::fixtures::key_arn(7)),
            "end Denied",
        ),
    ];
    check(rows);
}

#[test]
fn reasons_to_wait_in_the_window() {
    let rows: &[Row] = &[
        ("AWS was not looked at", Activated, |k| k.looked = None, "look"),
        (
            "the writer of roles is stuck",
            Activated,
            |k| {
                k.document(Vec::new());
                k.role().problem = Some(Problem::stalled("RoleNameTaken", "taken"));
            },
            "stalled RoleNameTaken",
        ),
        (
            "no room in the role's policy",
            Activated,
            |k| {
                k.document(Vec::new());
                k.role().left_out = ["uid-g".to_owned()].into();
            },
            "stalled PolicyTooLarge",
        ),
        // A grant that is issued already is not left out; if it were, nothing new would come of it.
        ("role unreadable", Written, |k| k.looked().role = denied(), "stalled AccessDenied"),
        ("role unreadable for now", Written, |k| k.looked().role = timed_out(), "wait AwsUnavailable"),
        ("KMS grants unreadable", Named, |k| k.looked().kms = denied(), "stalled AccessDenied"),
        // Allow and Deny have to be there, to the second.
        ("the Allow is missing", Named, |k| drop_statements(k, "Read"), "wait Granting"),
        ("the Deny is missing", Named, |k| drop_statements(k, "End"), "wait Granting"),
        (
            "the policy was written just now",
            Written,
            |k| k.role().document_since = Some(seconds(50)),
            "wait Granting until 65",
        ),
        ("the role was made just now", Written, |k| k.now = seconds(59), "wait Granting until 60"),
        // Without its writer's word nobody knows since when the policy is as it is.
        ("the writer has not looked yet", Written, |k| k.role = None, "wait Granting"),
        ("the writer saw another policy", Written, |k| k.role().document = None, "wait Granting"),
        ("the writer saw another policy, once more", Named, |k| k.role().document = None, "wait Granting"),
        (
            "the bucket's key is another by now",
            Named,
            |k| {
                k.bucket().status.as_mut().unwrap().key_arn = Some(crate::fixtures::key_arn(7));
            },
            "wait WaitingForBucket",
        ),
        // Being made, for example: neither usable nor closed by anybody.
        ("its key is not enabled", Named, |k| key_state(k, "Creating"), "wait WaitingForBucket"),
        ("the bucket cannot be read", Named, |k| k.bucket_unreadable = Some("spec"), "wait WaitingForBucket"),
        // Somebody's Deny may hold it back: said, and not called active.
        ("a Deny is kept on the role", Recorded, |k| k.role().restricted = vec!["a Deny".into()], "wait Restricted"),
        ("issued, and the bucket cannot be read", Recorded, |k| k.bucket_unreadable = Some("spec"), "settled"),
    ];
    check(rows);
}

pub fn lock_down(known: &mut Known) {
    known.bucket().spec.lockdown = Some(LockdownSpec { reason: "leaked laptop".into(), level: None });
}

/// The field is gone, or the lifting is not read back yet.
pub fn latch(known: &mut Known) {
    lock_down(known);
    let latch = latched(known.bucket(), "0a1b2c3d", seconds(0));
    known.bucket().spec.lockdown = None;
    known.bucket().status.as_mut().unwrap().lockdown = latch;
}

pub fn key_state(known: &mut Known, word: &str) {
    known.bucket().status.as_mut().unwrap().key_state = Some(word.into());
}

fn drop_statements(known: &mut Known, sid: &str) {
    let Seen::Value((_, Some(document))) = &mut known.looked().role else { panic!() };
    document.statements.retain(|s| !s.sid.starts_with(sid));
    let document = document.clone();
    known.role().document = Some(document);
}

/// Also a finalizer that somebody took off is put back while there is something to remove.
#[test]
fn the_finalizer_is_there_before_anything_and_until_the_end() {
    for stage in ALL {
        let mut known = Known::at(stage);
        known.grant.metadata.finalizers = None;
        let expected = if stage == Removed { "settled" } else { "add finalizer" };
        assert_eq!(known.word(), expected, "{stage:?}");
        known.delete();
        assert_eq!(known.word(), "settled", "{stage:?}: nothing more can be done for an object that is let go");
    }
}

/// At no stage does anything but the end come after the end.
#[test]
fn past_its_date_nothing_is_issued() {
    for stage in ALL.into_iter().filter(|s| (Activated..Ended).contains(s)) {
        for seconds_past in [0, 1, 100_000] {
            let mut known = Known::at(stage);
            known.now = seconds(4 * 3_600 + seconds_past);
            assert_eq!(known.word(), "end Expired", "{stage:?}");
        }
    }
}

/// The Deny is part of what lets a grant be issued.
#[test]
fn the_document_of_the_stages_has_both_statements() {
    let known = Known::at(Stage::Written);
    let document = known.role.and_then(|r| r.document).unwrap();
    let effects: Vec<Effect> = document.statements.iter().map(|s| s.effect).collect();
    assert_eq!(effects, [Effect::Allow, Effect::Allow, Effect::Deny]);
}
