//! The status of a DecryptGrant at rest, as kstatus and as people read it: a grant that ends well must not look broken, nor under way for ever.

use securebucket::api::condition::{find, is_true, reason, types};
use securebucket::api::decrypt_grant::{DecryptGrant, EndReason};
use securebucket::grant::facts::Step;
use securebucket::grant::status::{settle, usable, word};
use securebucket::role::state::Problem;

use crate::grant_stages::Stage::{Activated, Ended, Held, Narrowed, Recorded, Removed, Requested, Resolved, Written};
use crate::grant_stages::{Known, Stage};
use crate::grants::{bucket, seconds};
use crate::kstatus::{Kstatus, of_grant};

/// The grant with the conditions of where it rests.
fn rested(known: &Known) -> DecryptGrant {
    let mut grant = known.grant.clone();
    grant.status = Some(settle(&known.grant, known.status(), &known.step(), known.now, known.now));
    grant
}

/// Name, where it rests, what is changed, kstatus, the state in one word, Active.
type Row = (&'static str, Stage, fn(&mut Known), Kstatus, &'static str, &'static str);

fn ended(known: &mut Known, reason: EndReason) {
    known.change(|s| s.ended.as_mut().unwrap().reason = reason);
}

#[test]
fn kstatus_and_the_word_of_every_rest() {
    let rows: &[Row] = &[
        (
            "waiting for approval",
            Resolved,
            |k| k.bucket = Some(bucket(1)),
            Kstatus::InProgress,
            "AwaitingApproval",
            "False",
        ),
        (
            "waiting for its bucket",
            Held,
            |k| k.bucket().status.as_mut().unwrap().provisioned_at = None,
            Kstatus::InProgress,
            "WaitingForBucket",
            "False",
        ),
        ("no such bucket", Held, |k| k.bucket = None, Kstatus::Failed, "BucketNotAvailable", "False"),
        ("no such ServiceAccount", Held, |k| k.account = None, Kstatus::Failed, "ServiceAccountNotFound", "False"),
        ("the role is being written", Activated, |_| {}, Kstatus::InProgress, "Granting", "False"),
        ("propagating", Written, |k| k.now = seconds(1), Kstatus::InProgress, "Granting", "False"),
        ("issued, not known everywhere", Recorded, |k| k.now = seconds(74), Kstatus::InProgress, "Granting", "False"),
        ("usable", Recorded, |_| {}, Kstatus::Current, "Granted", "True"),
        (
            "somebody's Deny may hold it back",
            Recorded,
            |k| k.role().restricted = vec!["a Deny".into()],
            Kstatus::InProgress,
            "Restricted",
            "False",
        ),
        ("being removed", Ended, |_| {}, Kstatus::InProgress, "HandedBack", "False"),
        (
            "its removal cannot be proved",
            Narrowed,
            |k| k.looked().kms = crate::fixtures::unreadable(),
            Kstatus::Failed,
            "HandedBack",
            "False",
        ),
        ("expired and removed", Removed, |k| ended(k, EndReason::Expired), Kstatus::Current, "Expired", "False"),
        ("handed back and removed", Removed, |_| {}, Kstatus::Current, "HandedBack", "False"),
        ("revoked and removed", Removed, |k| ended(k, EndReason::Revoked), Kstatus::Current, "Revoked", "False"),
        ("the bucket went", Removed, |k| ended(k, EndReason::BucketGone), Kstatus::Current, "BucketGone", "False"),
        ("locked down", Removed, |k| ended(k, EndReason::LockedDown), Kstatus::Current, "LockedDown", "False"),
        ("denied", Removed, |k| ended(k, EndReason::Denied), Kstatus::Failed, "Denied", "False"),
        ("deleted", Removed, Known::delete, Kstatus::Terminating, "HandedBack", "False"),
    ];
    for (name, stage, change, kstatus, state, active) in rows {
        let mut known = Known::at(*stage);
        change(&mut known);
        let grant = rested(&known);
        let conditions = &grant.status.as_ref().unwrap().conditions;
        assert_eq!((of_grant(&grant), reason(conditions, types::ACTIVE)), (*kstatus, *state), "{name}: {conditions:?}");
        assert_eq!(find(conditions, types::ACTIVE).unwrap().status, *active, "{name}");
        assert!(conditions.iter().all(|c| !c.reason.is_empty()), "{name}");
        assert!(!(is_true(conditions, types::APPROVED) && is_true(conditions, types::DENIED)), "{name}");
    }
}

#[test]
fn refused_before_it_was_approved_is_denied_for_good() {
    let mut known = Known::at(Removed);
    known.change(|s| s.conditions.clear());
    ended(&mut known, EndReason::Denied);
    let grant = rested(&known);
    assert!(is_true(&grant.status.as_ref().unwrap().conditions, types::DENIED));
    assert_eq!(of_grant(&grant), Kstatus::Failed);
}

/// On the first visit, before anything is known.
#[test]
fn the_first_visit_reads_as_under_way() {
    let known = Known::at(Requested);
    let step = Step::Wait { problem: Problem::passing("Pending", "not looked at yet"), until: None };
    let mut grant = known.grant.clone();
    grant.status = Some(settle(&grant, known.status(), &step, known.now, known.now));
    assert_eq!(of_grant(&grant), Kstatus::InProgress);
}

#[test]
fn a_new_generation_reads_as_under_way_until_it_is_observed() {
    let mut grant = rested(&Known::at(Recorded));
    grant.metadata.generation = Some(2);
    assert_eq!(of_grant(&grant), Kstatus::InProgress);
}

#[test]
fn usable_from_its_instant_to_its_end() {
    let status = Known::at(Recorded).status();
    for (second, expected) in [(0, false), (74, false), (75, true), (4 * 3_600 - 1, true), (4 * 3_600, false)] {
        assert_eq!(usable(&status, seconds(second)), expected, "{second}");
    }
    assert!(!usable(&Known::at(Ended).status(), seconds(601)), "ended");
    assert!(!usable(&Known::at(Stage::Issued).status(), seconds(100)), "issued, its id not seen");
}

/// A second rest at the same place changes nothing but, after a change, the times of transitions.
#[test]
fn transition_times() {
    let mut known = Known::at(Recorded);
    known.now = seconds(74);
    let waiting = rested(&known);
    let at = |grant: &DecryptGrant, type_| {
        find(&grant.status.as_ref().unwrap().conditions, type_).map(|c| c.last_transition_time.0.as_second())
    };
    known.grant = waiting.clone();
    known.now = seconds(80);
    let active = rested(&known);
    assert_ne!(at(&active, types::ACTIVE), at(&waiting, types::ACTIVE));
    assert_eq!(at(&active, types::APPROVED), at(&waiting, types::APPROVED));
    assert_eq!(at(&active, types::RECONCILING), None, "present only while True");
    known.grant = active.clone();
    known.now = seconds(9_000);
    assert_eq!(rested(&known).status, active.status, "quiet");
}

#[test]
fn every_reason_of_an_end_is_its_own_word() {
    let all = [
        EndReason::Expired,
        EndReason::HandedBack,
        EndReason::Revoked,
        EndReason::BucketGone,
        EndReason::LockedDown,
        EndReason::Denied,
    ];
    for reason in all {
        assert_eq!(word(reason), format!("{reason:?}"));
    }
}
