use std::sync::{Arc, Mutex as StdMutex};

use serde_json::{Value, json};

use super::*;
use crate::k8s::fake::{Answer, Requests, server};

fn record(holder: &str, renewed: &str, seconds: Option<i32>) -> Record {
    Record {
        spec: Some(LeaseSpec {
            holder_identity: Some(holder.into()),
            renew_time: Some(MicroTime(renewed.parse().unwrap())),
            lease_duration_seconds: seconds,
            ..LeaseSpec::default()
        }),
        ..Record::default()
    }
}

const T1: &str = "2026-01-01T00:00:00Z";
const T2: &str = "2026-01-01T00:00:02Z";
const PAST: &str = "1970-01-02T00:00:00Z";
const FUTURE: &str = "2099-01-01T00:00:00Z";

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Short periods in the proportions of client-go, so that the cases read well.
fn settings() -> Settings {
    Settings { duration: seconds(15), renew_deadline: seconds(10), retry: seconds(2) }
}

#[test]
fn an_aws_call_ends_before_another_may_lead() {
    let Settings { duration, renew_deadline, retry } = Settings::default();
    assert!(crate::aws::clients::OPERATION_TIMEOUT < duration - renew_deadline);
    assert!(retry < renew_deadline && renew_deadline < duration);
}

#[test]
fn the_verdict_depends_on_how_long_the_record_was_seen_unchanged() {
    use Verdict::{Acquire, Renew, Wait};
    let settings = settings();
    let table: &[(&str, Option<Record>, u64, Verdict)] = &[
        ("no lease", None, 0, Acquire),
        ("no spec", Some(Record::default()), 0, Acquire),
        ("released", Some(record("", T1, Some(1))), 0, Acquire),
        ("ours, after a restart", Some(record("me", T1, Some(15))), 99, Renew),
        ("another's, just seen", Some(record("you", T1, Some(15))), 0, Wait(seconds(15))),
        ("another's, nearly over", Some(record("you", T1, Some(15))), 14, Wait(seconds(1))),
        ("another's, over", Some(record("you", T1, Some(15))), 15, Acquire),
        ("its clock is decades behind", Some(record("you", PAST, Some(15))), 0, Wait(seconds(15))),
        ("its clock is decades ahead", Some(record("you", FUTURE, Some(15))), 15, Acquire),
        ("a huge duration", Some(record("you", T1, Some(i32::MAX))), 15, Acquire),
        ("a huge duration, just seen", Some(record("you", T1, Some(i32::MAX))), 0, Wait(seconds(15))),
        ("a shorter duration", Some(record("you", T1, Some(5))), 5, Acquire),
        ("no duration", Some(record("you", T1, None)), 14, Wait(seconds(1))),
        ("a negative duration", Some(record("you", T1, Some(-5))), 14, Wait(seconds(1))),
        ("a zero duration", Some(record("you", T1, Some(0))), 14, Wait(seconds(1))),
    ];
    let start = Instant::now();
    for (case, record, after, verdict) in table {
        let seen = record.as_ref().map(|r| Observation::update(None, r, start));
        assert_eq!(evaluate("me", seen.as_ref(), start + seconds(*after), settings), *verdict, "{case}");
    }
}

#[test]
fn only_a_change_of_the_spec_starts_the_wait_again() {
    let start = Instant::now();
    let seen = Observation::update(None, &record("you", T1, Some(15)), start);
    let mut labelled = record("you", T1, Some(15));
    labelled.metadata.resource_version = Some("99".into());
    let seen = Observation::update(Some(seen), &labelled, start + seconds(10));
    assert_eq!(seen.since, start, "a label keeps no dead leader alive");
    let seen = Observation::update(Some(seen), &record("you", T2, Some(15)), start + seconds(12));
    assert_eq!(seen.since, start + seconds(12));
    let back = Observation::update(Some(seen), &record("you", PAST, Some(15)), start + seconds(14));
    assert_eq!(back.since, start + seconds(14), "a clock that went back is a change too");
}

#[test]
fn a_monotonic_clock_read_out_of_order_is_no_panic() {
    let now = Instant::now();
    let seen = Observation::update(None, &record("you", T1, Some(15)), now + seconds(5));
    assert_eq!(evaluate("me", Some(&seen), now, settings()), Verdict::Wait(seconds(15)));
}

#[test]
fn stamps_grow_even_if_the_wall_clock_does_not() {
    let ahead = MicroTime(FUTURE.parse().unwrap());
    assert!(later_than(Some(&ahead)) > ahead);
    assert!(later_than(None) > MicroTime(PAST.parse().unwrap()));
}

/// A server with one Lease; `down` makes it fail.
#[derive(Clone, Default)]
struct Store(Arc<StdMutex<(Option<Value>, u64, bool)>>);

impl Store {
    fn client(&self) -> (Client, Requests) {
        let store = self.clone();
        server(move |seen| {
            let mut inner = store.0.lock().unwrap();
            let (current, version, down) = &mut *inner;
            let matching = |v: &Value| v["metadata"]["resourceVersion"] == seen.body["metadata"]["resourceVersion"];
            match (seen.method.as_str(), &*current) {
                _ if *down => Answer::status(500, "InternalError"),
                ("GET", None) => Answer::status(404, "NotFound"),
                ("GET", Some(value)) => Answer::ok(value.clone()),
                ("POST", Some(_)) => Answer::status(409, "AlreadyExists"),
                ("PUT", None) => Answer::status(404, "NotFound"),
                ("PUT", Some(value)) if !matching(value) => Answer::status(409, "Conflict"),
                _ => {
                    *version += 1;
                    let mut value = seen.body.clone();
                    value["metadata"]["resourceVersion"] = json!(version.to_string());
                    *current = Some(value.clone());
                    Answer::ok(value)
                }
            }
        })
    }

    fn edit(&self, change: impl FnOnce(&mut Value)) {
        let mut inner = self.0.lock().unwrap();
        inner.1 += 1;
        let version = inner.1.to_string();
        let value = inner.0.as_mut().unwrap();
        change(value);
        value["metadata"]["resourceVersion"] = json!(version);
    }

    fn fail(&self, down: bool) {
        self.0.lock().unwrap().2 = down;
    }

    fn holder(&self) -> String {
        self.0.lock().unwrap().0.as_ref().unwrap()["spec"]["holderIdentity"].as_str().unwrap().to_owned()
    }

    async fn acquire(&self, identity: &str) -> Lease {
        acquire(self.client().0, "ns", "securebucket", identity, settings()).await
    }
}

#[tokio::test(start_paused = true)]
async fn one_of_two_candidates_leads_and_the_other_follows_after_a_release() {
    let store = Store::default();
    let a = store.acquire("a").await;
    assert_eq!(store.holder(), "a");
    let stand_by = tokio::time::timeout(seconds(300), store.acquire("b"));
    tokio::select! {
        lost = a.hold() => panic!("{lost}"),
        other = stand_by => assert!(other.is_err(), "a renews, so b must wait"),
    }
    a.release().await;
    let start = Instant::now();
    let b = store.acquire("b").await;
    assert!(start.elapsed() < seconds(1), "a released lease is taken at once");
    assert_eq!(store.holder(), "b");
    assert_eq!(a.hold().await, LeaseLost::Taken("b".into()), "no way back");
    b.release().await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_leader_is_followed_after_one_lease() {
    let store = Store::default();
    let _dead = store.acquire("a").await;
    store.edit(|v| v["spec"]["leaseDurationSeconds"] = json!(i32::MAX));
    let start = Instant::now();
    store.acquire("b").await;
    let waited = start.elapsed();
    assert!(waited >= seconds(15) && waited <= seconds(17), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_cannot_renew_gives_up_before_the_lease_is_over() {
    let store = Store::default();
    let a = store.acquire("a").await;
    store.fail(true);
    let start = Instant::now();
    assert!(matches!(a.hold().await, LeaseLost::Expired(_)));
    assert!(start.elapsed() <= settings().renew_deadline, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_short_outage_is_survived() {
    let store = Store::default();
    let a = store.acquire("a").await;
    let outage = async {
        store.fail(true);
        tokio::time::sleep(seconds(5)).await;
        store.fail(false);
        tokio::time::sleep(seconds(60)).await;
    };
    tokio::select! { lost = a.hold() => panic!("{lost}"), () = outage => {} }
}

#[tokio::test(start_paused = true)]
async fn a_label_on_the_lease_is_no_loss_but_another_process_under_our_name_is() {
    let store = Store::default();
    let a = store.acquire("a").await;
    store.edit(|v| v["metadata"]["labels"] = json!({"x": "y"}));
    let calm = tokio::time::sleep(seconds(30));
    tokio::select! { lost = a.hold() => panic!("{lost}"), () = calm => {} }
    let twin = store.acquire("a").await;
    assert_eq!(a.hold().await, LeaseLost::Taken("a".into()));
    let calm = tokio::time::sleep(seconds(30));
    tokio::select! { lost = twin.hold() => panic!("{lost}"), () = calm => {} }
}

#[tokio::test(start_paused = true)]
async fn a_renewal_whose_answer_was_lost_is_recognised() {
    let store = Store::default();
    let a = store.acquire("a").await;
    let stamp = MicroTime(FUTURE.parse().unwrap());
    a.held.lock().await.sent.push(stamp.clone());
    store.edit(|v| v["spec"]["renewTime"] = serde_json::to_value(&stamp).unwrap());
    let calm = tokio::time::sleep(seconds(30));
    tokio::select! { lost = a.hold() => panic!("{lost}"), () = calm => {} }
}

#[tokio::test(start_paused = true)]
async fn a_deleted_lease_is_lost() {
    let store = Store::default();
    let a = store.acquire("a").await;
    store.0.lock().unwrap().0 = None;
    assert_eq!(a.hold().await, LeaseLost::Deleted);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_nobody_waited_for_does_not_keep_the_lease() {
    for (renewed_by_us, left) in [(true, ""), (false, "a")] {
        let store = Store::default();
        let a = store.acquire("a").await;
        let stamp = MicroTime(FUTURE.parse().unwrap());
        if renewed_by_us {
            a.held.lock().await.sent.push(stamp.clone());
        }
        store.edit(|v| v["spec"]["renewTime"] = serde_json::to_value(&stamp).unwrap());
        a.release().await;
        assert_eq!(store.holder(), left, "another process under our name keeps what is its own");
    }
}
