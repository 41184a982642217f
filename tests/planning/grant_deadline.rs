//! When something has to go out of AWS, when that is overdue, and what a condition says then.

use jiff::Timestamp;
use securebucket::api::condition::{find, types};
use securebucket::grant::deadline::{ALLOWANCE, end_of, overdue_from, removal_due};
use securebucket::grant::status::settle;

use crate::fixtures::deleted_at;
use crate::grant_stages::{ALL, Known, Stage};
use crate::grants::seconds;

#[test]
fn a_removal_is_due_from_the_window_to_the_proof() {
    for stage in ALL {
        let due = removal_due(&Known::at(stage).grant);
        let wanted = match stage {
            Stage::Requested | Stage::Held | Stage::Resolved | Stage::Approved | Stage::Removed => None,
            Stage::Ended | Stage::Narrowed | Stage::Revoked => Some(seconds(600)),
            _ => Some(seconds(4 * 3_600)),
        };
        assert_eq!(due, wanted, "{stage:?}");
    }
    let mut deleted = Known::at(Stage::Recorded);
    deleted.grant.metadata.deletion_timestamp = Some(deleted_at());
    assert_eq!(removal_due(&deleted.grant), Some(Timestamp::MIN), "at once");
    let mut late = Known::at(Stage::Ended);
    late.change(|s| s.ended.as_mut().unwrap().at = "2099-01-01T00:00:00Z".into());
    assert_eq!(removal_due(&late.grant), Some(seconds(4 * 3_600)), "an end is never after the date");
}

#[test]
fn it_is_overdue_a_while_after_the_end() {
    let recorded = Known::at(Stage::Recorded).grant;
    assert_eq!(overdue_from(&recorded, seconds(4 * 3_600 - 1)), None, "nothing has ended");
    assert_eq!(overdue_from(&recorded, seconds(4 * 3_600)), Some(seconds(4 * 3_600) + ALLOWANCE));
    assert_eq!(end_of(&Known::at(Stage::Ended).grant, seconds(700)), Some(seconds(600)));
    assert_eq!(end_of(&Known::at(Stage::Removed).grant, seconds(99_999)), None);
    let mut deleted = Known::at(Stage::Recorded);
    deleted.grant.metadata.deletion_timestamp = Some(deleted_at());
    assert_eq!(end_of(&deleted.grant, seconds(700)), Some(deleted_at().0), "counted from the deletion");
}

#[test]
fn conditions_say_that_it_is_overdue_until_it_is_proved() {
    let says = |known: &Known| {
        let status = settle(&known.grant, known.status(), &known.step(), known.now, known.now);
        let ready = find(&status.conditions, types::READY).unwrap();
        (ready.message.contains("the removal is overdue since"), find(&status.conditions, types::RECONCILING).is_some())
    };
    let mut known = Known::at(Stage::Ended);
    known.now = seconds(600 + 59);
    assert_eq!(says(&known), (false, true));
    known.now = seconds(600 + 60);
    assert_eq!(says(&known), (true, true));
    let mut removed = Known::at(Stage::Removed);
    removed.now = seconds(99_999);
    assert_eq!(says(&removed), (false, false));
}
