//! Every reason why a window ends, and the way from the end to the proof of removal, row by row.

use securebucket::aws::error::Seen;
use securebucket::role::document::GrantInput;
use securebucket::role::state::Problem;

use crate::fixtures::deleted_at;
use crate::grant_decide::{denied, key_state, latch, lock_down, timed_out};
use crate::grant_stages::Stage::{Activated, Ended, Named, Narrowed, Recorded, Revoked};
use crate::grant_stages::{Known, Row, check};
use crate::grants::seconds;

#[test]
fn reasons_to_end_in_the_window() {
    let rows: &[Row] = &[
        ("its time passed", Recorded, |k| k.now = seconds(4 * 3_600), "end Expired"),
        ("a second before", Recorded, |k| k.now = seconds(4 * 3_600 - 1), "settled"),
        // Its date decides before anything else does.
        (
            "its time passed while AWS could not be read",
            Recorded,
            |k| {
                k.now = seconds(5 * 3_600);
                k.looked = None;
            },
            "end Expired",
        ),
        ("handed back", Recorded, Known::delete, "end HandedBack"),
        ("handed back before it was issued", Activated, Known::delete, "end HandedBack"),
        ("the bucket is gone", Recorded, |k| k.bucket = None, "end BucketGone"),
        (
            "the bucket is being deleted",
            Recorded,
            |k| k.bucket().metadata.deletion_timestamp = Some(deleted_at()),
            "end BucketGone",
        ),
        (
            "the bucket was made anew",
            Recorded,
            |k| k.bucket().metadata.uid = Some("bucket-uid-2".into()),
            "end BucketGone",
        ),
        (
            "consent was withdrawn",
            Recorded,
            |k| k.bucket().spec.grants.as_mut().unwrap().allowed_namespaces.clear(),
            "end Revoked",
        ),
        ("the bucket is locked down", Recorded, lock_down, "end LockedDown"),
        ("the latch says so alone", Recorded, latch, "end LockedDown"),
        ("locked down before it was issued", Named, lock_down, "end LockedDown"),
        ("the key was disabled", Recorded, |k| key_state(k, "Disabled"), "end Revoked"),
        ("the key is to be deleted", Recorded, |k| key_state(k, "PendingDeletion"), "end Revoked"),
        ("the key cannot be reached by KMS", Activated, |k| key_state(k, "Unavailable"), "end Revoked"),
        ("the key is enabled", Recorded, |k| key_state(k, "Enabled"), "settled"),
        // A lockdown disables the key too: the grant ends for the lockdown.
        (
            "locked down, and the key disabled",
            Recorded,
            |k| {
                lock_down(k);
                key_state(k, "Disabled");
            },
            "end LockedDown",
        ),
        (
            "disabled as last seen, but the bucket cannot be read now",
            Recorded,
            |k| {
                key_state(k, "Disabled");
                k.bucket_unreadable = Some("spec");
            },
            "settled",
        ),
        ("the ServiceAccount is gone", Recorded, |k| k.account = None, "end Revoked"),
        ("the ServiceAccount was replaced", Recorded, |k| k.account = Some("sa-uid-2"), "end Revoked"),
        ("the role is gone", Recorded, |k| k.looked().role = Seen::Absent, "end Revoked"),
        (
            "the role was replaced",
            Recorded,
            |k| {
                let Seen::Value((id, _)) = &mut k.looked().role else { panic!() };
                *id = "AROA2".into();
            },
            "end Revoked",
        ),
        (
            "the role was replaced before the call",
            Named,
            |k| {
                let Seen::Value((id, _)) = &mut k.looked().role else { panic!() };
                *id = "AROA2".into();
            },
            "end Revoked",
        ),
        // Never issued again.
        ("the KMS grant is gone", Recorded, |k| k.listed(false), "end Revoked"),
        ("the key is gone", Recorded, |k| k.looked().kms = Seen::Absent, "end Revoked"),
        // Somebody wrote into the status.
        ("not approved", Recorded, |k| k.change(|s| s.conditions.clear()), "end Revoked"),
        (
            "an end later than its terms",
            Recorded,
            |k| k.change(|s| s.expires_at = Some("2026-11-25T12:00:00Z".into())),
            "end Revoked",
        ),
        (
            "terms that the spec does not say",
            Recorded,
            |k| k.change(|s| s.resolved.as_mut().unwrap().prefixes = vec!["*".into()]),
            "end Revoked",
        ),
    ];
    check(rows);
}

fn just_ended(known: &mut Known, now: i64) {
    known.now = seconds(now);
    (known.looked, known.just_ended) = (None, true);
}

#[test]
fn removal() {
    let rows: &[Row] = &[
        ("nothing was ever in AWS", Ended, |k| k.change(|s| s.expires_at = None), "record removal"),
        ("AWS was not looked at", Ended, |k| k.looked = None, "look"),
        // What status names is revoked before the first list, once, and only past the date: before it the Allow goes first.
        ("just ended by its date", Ended, |k| just_ended(k, 4 * 3_600), "revoke kms-1"),
        ("just handed back", Ended, |k| just_ended(k, 4 * 3_600 - 1), "look"),
        (
            "just ended by its date, CreateGrant was never answered",
            Ended,
            |k| {
                just_ended(k, 4 * 3_600);
                k.change(|s| s.kms_grant.as_mut().unwrap().id = None);
            },
            "look",
        ),
        ("KMS grants unreadable", Narrowed, |k| k.looked().kms = denied(), "stalled RemovalFailed"),
        ("KMS grants unreadable for now", Narrowed, |k| k.looked().kms = timed_out(), "wait Removing"),
        ("the role unreadable, no KMS grant", Revoked, |k| k.looked().role = denied(), "stalled RemovalFailed"),
        // Past its date the Allow is dead whatever stands in the policy.
        ("past its date with the window in the policy", Ended, |k| k.now = seconds(4 * 3_600), "revoke kms-1"),
        // A role that cannot be written is no reason to leave the KMS grant.
        (
            "the writer of roles is stuck",
            Ended,
            |k| k.role().problem = Some(Problem::stalled("AccessDenied", "no")),
            "revoke kms-1",
        ),
        (
            "the writer of roles is late",
            Ended,
            |k| k.role().problem = Some(Problem::passing("Throttled", "later")),
            "stalled RemovalFailed",
        ),
        (
            "the writer of roles is late for long",
            Ended,
            |k| {
                k.role().problem = Some(Problem::passing("Throttled", "later"));
                k.now = seconds(631);
            },
            "revoke kms-1",
        ),
        ("the role is gone", Ended, |k| k.looked().role = Seen::Absent, "revoke kms-1"),
        (
            "role and KMS grant are gone",
            Ended,
            |k| {
                k.looked().role = Seen::Absent;
                k.listed(false);
            },
            "record removal",
        ),
        ("the key is gone", Narrowed, |k| k.looked().kms = Seen::Absent, "record removal"),
        // One clean list says nothing of a call that was never answered.
        (
            "announced, never seen",
            Revoked,
            |k| k.change(|s| s.kms_grant.as_mut().unwrap().id = None),
            "wait Removing until 1200",
        ),
        (
            "announced, not seen for long",
            Revoked,
            |k| {
                k.change(|s| s.kms_grant.as_mut().unwrap().id = None);
                k.now = seconds(1_200);
            },
            "record removal",
        ),
        (
            "another grant with the same end may read something else",
            Ended,
            |k| {
                let other = other(k, "b/");
                k.document(vec![other.clone()]);
                k.listed(true);
                k.others = vec![other];
            },
            "revoke kms-1",
        ),
        // Its own prefixes still stand in the shared statement.
        (
            "another grant with the same end, not written yet",
            Ended,
            |k| {
                let (mine, other) = (k.input(), other(k, "b/"));
                k.document(vec![mine, other.clone()]);
                k.listed(true);
                k.others = vec![other];
            },
            "wait Removing",
        ),
        (
            "another grant may read the same",
            Ended,
            |k| {
                let other = other(k, "a/");
                k.document(vec![other.clone()]);
                k.listed(true);
                k.others = vec![other];
            },
            "revoke kms-1",
        ),
    ];
    check(rows);
}

fn other(known: &Known, prefix: &str) -> GrantInput {
    let prefixes = securebucket::domain::prefix::Prefixes::parse(&[prefix]).unwrap();
    GrantInput { uid: "uid-other".into(), prefixes, ..known.input() }
}
