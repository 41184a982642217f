//! Every crash point of one grant: the operator dies after the step; the next one knows what status says and what it sees in AWS, and the
//! writer of roles has not looked yet. Each row is what is seen then and the next step.

use securebucket::aws::error::Seen;
use securebucket::grant::facts::Step;
use securebucket::role::state::RoleState;

use crate::grant_stages::Stage::{
    Activated, Approved, Ended, Held, Issued, Named, Narrowed, Recorded, Removed, Requested, Resolved, Revoked, Written,
};
use crate::grant_stages::{Known, Row, Stage, check};
use crate::grants::seconds;

/// The memory of the operator that died is gone.
fn restarted(known: &mut Known) {
    known.looked = None;
    known.role = None;
}

/// The next operator has looked at AWS, and its writer of roles has not.
fn looked(known: &mut Known) {
    known.role = None;
}

/// Its writer of roles has looked as well, at second 5_000.
fn writer_looked(known: &mut Known) {
    let Seen::Value((_, document)) = &known.looked().role else { panic!("there is no role") };
    let document = document.clone();
    known.role = Some(RoleState {
        role_id: Some("AROA1".into()),
        created: Some(seconds(0)),
        document_since: document.as_ref().map(|_| seconds(5_000)),
        document,
        ..RoleState::default()
    });
    known.now = seconds(5_000);
}

/// And has waited until the change is known everywhere.
fn waited_out(known: &mut Known) {
    writer_looked(known);
    known.now = seconds(5_015);
}

#[test]
fn after_each_step_the_next_operator_goes_on() {
    let rows: &[Row] = &[
        ("0 nothing written", Requested, restarted, "add finalizer"),
        ("1 finalizer", Held, restarted, "resolve"),
        ("2 terms", Resolved, restarted, "approve"),
        ("2 approval", Approved, restarted, "look"),
        // The status write was lost: the clock has not started, nothing is in AWS.
        ("3 window not written", Approved, |k| k.looked = Known::at(Activated).looked, "activate"),
        ("3 window", Activated, restarted, "look"),
        ("3 window, looked", Activated, looked, "wait Granting"),
        // PutRolePolicy took effect, with or without its answer.
        ("4 role policy", Written, restarted, "look"),
        ("4 role policy, looked", Written, looked, "wait Granting"),
        // The wait counts from what this process saw, anew.
        ("5 read back", Written, writer_looked, "wait Granting until 5015"),
        ("5 read back and waited out", Written, waited_out, "name"),
        ("5 name", Named, restarted, "look"),
        ("5 name, looked", Named, looked, "wait Granting"),
        ("5 name, waited out", Named, waited_out, "issue"),
        // CreateGrant took effect, its answer is lost, and the list shows the grant.
        ("6 issued, listed", Issued, looked, "record kms-1"),
        // The list lags: the same call with the same name gives the same grant.
        (
            "6 issued, not listed yet",
            Issued,
            |k| {
                k.listed(false);
                waited_out(k);
            },
            "issue",
        ),
        ("7 id", Recorded, restarted, "look"),
        ("7 id, looked", Recorded, looked, "settled"),
        ("8 end", Ended, restarted, "look"),
        ("8 end, window in the policy", Ended, looked, "wait Removing"),
        ("8 window out of the policy", Narrowed, looked, "revoke kms-1"),
        // RevokeGrant took effect, its answer is lost: the list tells.
        ("9 revoked, still listed", Narrowed, looked, "revoke kms-1"),
        ("9 revoked, not listed", Revoked, looked, "record removal"),
        // It is not known whether CreateGrant ever took effect: a clean list proves something after ten minutes only.
        (
            "9 never seen",
            Revoked,
            |k| {
                looked(k);
                k.change(|s| s.kms_grant.as_mut().unwrap().id = None);
            },
            "wait Removing until 1200",
        ),
        ("10 removal", Removed, restarted, "settled"),
        (
            "10 removal, deleted",
            Removed,
            |k| {
                restarted(k);
                k.delete();
            },
            "remove finalizer",
        ),
        (
            "11 finalizer off",
            Removed,
            |k| {
                restarted(k);
                k.delete();
                k.grant.metadata.finalizers = None;
            },
            "settled",
        ),
    ];
    check(rows);
}

/// The controller was away past the end: whatever was under way, it ends; nothing is issued.
#[test]
fn back_after_the_end() {
    let stages: [Stage; 5] = [Activated, Written, Named, Issued, Recorded];
    for stage in stages {
        let mut known = Known::at(stage);
        restarted(&mut known);
        known.now = seconds(30 * 3_600);
        assert_eq!(known.word(), "end Expired", "{stage:?}");
    }
}

/// The name is the same however often it is computed, so that the call is idempotent.
#[test]
fn the_name_does_not_depend_on_when_it_is_made() {
    let name = |at| {
        let mut known = Known::at(Written);
        known.now = seconds(at);
        match known.step() {
            Step::Name { name, .. } => name,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(name(60), name(9_000));
    let named = Known::at(Named).status().kms_grant.unwrap().name;
    assert_eq!(named, name(60));
    assert!(named.starts_with("securebucket/c1/uid-g/") && named.len() <= 256);
}
