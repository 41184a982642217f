//! Plans after a change of duties, and on the way out, row by row.

use securebucket::api::secure_bucket::{Duty, SecureBucketSpec};
use securebucket::aws::error::Seen;
use securebucket::bucket::observed::KeyState;

use crate::fixtures::{desired_of, entry, secure_bucket};
use crate::plan_bucket::{add, responder};
use crate::rows::{Case, Row, check};

/// The spec changes to other duties.
fn now(case: &mut Case, duties: &[(&str, Duty)]) {
    let access = duties.iter().map(|(account, duty)| entry(account, *duty)).collect();
    case.desired = desired_of(&secure_bucket(SecureBucketSpec { access, ..SecureBucketSpec::default() }));
    case.situation.spec_changed = true;
}

#[test]
fn duties_that_change() {
    let rows: &[Row] = &[
        // A Producer more: its Deny comes at once, its exception from the other Denies and the key come last.
        (
            "a Producer more",
            |c| now(c, &[("etl", Duty::Processor), ("ingest", Duty::Producer), ("more", Duty::Producer)]),
            &["- put the bucket policy", "+ put the key policy", "+ put the bucket policy"],
        ),
        (
            "a Processor more",
            |c| now(c, &[("etl", Duty::Processor), ("ingest", Duty::Producer), ("more", Duty::Processor)]),
            &["- put the bucket policy", "+ put the key policy", "+ put the bucket policy"],
        ),
        // A Producer less: the key first, the Deny that held it back last.
        (
            "a Producer less",
            |c| now(c, &[("etl", Duty::Processor)]),
            &["- put the key policy", "- put the bucket policy", "+ put the bucket policy"],
        ),
        (
            "a Processor less",
            |c| now(c, &[("ingest", Duty::Producer)]),
            &["- put the key policy", "- put the bucket policy"],
        ),
        // It may use the key already; reading is given last.
        (
            "a Producer becomes a Processor",
            |c| now(c, &[("etl", Duty::Processor), ("ingest", Duty::Processor)]),
            &["+ put the bucket policy"],
        ),
        (
            "a Processor becomes a Producer",
            |c| now(c, &[("etl", Duty::Producer), ("ingest", Duty::Producer)]),
            &["- put the bucket policy"],
        ),
        (
            "an Auditor more",
            |c| now(c, &[("etl", Duty::Processor), ("ingest", Duty::Producer), ("a", Duty::Auditor)]),
            &[],
        ),
    ];
    check(rows);
}

#[test]
fn releasing() {
    let rows: &[Row] = &[
        // Deleted before anything was made: nothing is made.
        (
            "nothing is there",
            |c| {
                c.fresh();
                c.situation.releasing = true;
            },
            &[],
        ),
        // The duties go; the Denies that held their roles back stay.
        (
            "duties",
            |c| {
                now(c, &[]);
                c.situation.releasing = true;
            },
            &["- put the key policy", "- put the bucket policy"],
        ),
        // Nothing is opened on the way out, also if it is asked for.
        (
            "disabled key, declared state asked for",
            |c| {
                c.key().state = KeyState::Disabled;
                c.situation.releasing = true;
                c.situation.obey = true;
            },
            &["restricted key", "blocked KeyDisabled"],
        ),
        (
            "returning key that is pending deletion",
            |c| {
                c.returned();
                c.key().state = KeyState::PendingDeletion;
                c.situation.releasing = true;
            },
            &["- record key key-0", "- tag the bucket", "restricted key", "blocked KeyPendingDeletion"],
        ),
        (
            "a responder's Deny, declared state asked for",
            |c| {
                add(c, responder());
                c.situation.releasing = true;
                c.situation.obey = true;
            },
            &["- put the bucket policy", "restricted bucket policy"],
        ),
        (
            "bucket deleted outside",
            |c| {
                c.observed.bucket = Seen::Absent;
                c.situation.releasing = true;
                c.situation.obey = true;
            },
            &["blocked BucketGone"],
        ),
    ];
    check(rows);
}
