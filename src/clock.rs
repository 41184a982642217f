//! The clocks: the only reader of the wall clock in this crate. Everything else gets an instant as a parameter.
//!
//! What ends at an instant ends by AWS's clock, because AWS is the one that enforces it: `aws:CurrentTime` in policies. So AWS's time is
//! taken from the `Date` header of its answers and carried forward on the monotonic clock until the next answer. The API server's `Date` is
//! noted as well: a machine whose clock differs from either by much is not to be trusted with beginnings.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};

use crate::domain::time::MAX_SKEW;

/// Whose `Date` was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// AWS's, of any service.
    Aws,
    /// The API server's.
    Kubernetes,
}

impl Whose {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Aws, Self::Kubernetes];

    /// Label of metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::Kubernetes => "kubernetes",
        }
    }
}

/// Local time, AWS's time, and the API server's. Clones share what they have heard.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    aws: Arc<Mutex<Option<Heard>>>,
    kubernetes: Arc<Mutex<Option<Heard>>>,
    /// Seconds by which this machine's clock is taken to be ahead: tests only.
    shift: Arc<AtomicI64>,
}

/// The last `Date` of an answer, and when it came.
#[derive(Clone, Copy, Debug)]
struct Heard {
    date: Timestamp,
    at: Instant,
    /// The last one was too far off, which was said.
    off: bool,
}

impl Heard {
    /// Their time at `now`.
    fn carried_to(self, now: Instant) -> Timestamp {
        SignedDuration::try_from(now.saturating_duration_since(self.at))
            .ok()
            .and_then(|elapsed| self.date.checked_add(elapsed).ok())
            .unwrap_or(self.date)
    }
}

impl Clock {
    /// A clock that has heard from nobody yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same for a machine whose clock is ahead by so many seconds. There is no setting that leads here: tests move time by it.
    pub fn shifted(seconds: i64) -> Self {
        let clock = Self::default();
        clock.shift(seconds);
        clock
    }

    /// Moves this machine's clock, for tests: ahead by so many seconds of what the machine says.
    pub fn shift(&self, seconds: i64) {
        self.shift.store(seconds, Ordering::Relaxed);
    }

    /// By how many seconds it was moved.
    pub fn shifted_by(&self) -> i64 {
        self.shift.load(Ordering::Relaxed)
    }

    /// Time of this machine.
    #[allow(clippy::disallowed_methods, reason = "the one reader of the wall clock")]
    pub fn system_now(&self) -> Timestamp {
        let now = Timestamp::now();
        match self.shifted_by() {
            0 => now,
            seconds => now.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(now),
        }
    }

    /// AWS's time: that of its last answer plus what has passed since; this machine's time before the first answer. `Date` has whole
    /// seconds, so this is up to a second (and the way of the answer) early, never late.
    pub fn aws_now(&self) -> Timestamp {
        self.last(Whose::Aws).map_or_else(|| self.system_now(), |heard| heard.carried_to(Instant::now()))
    }

    /// How long until a time on AWS's clock; nothing if it has passed.
    pub fn until(&self, at: Timestamp) -> std::time::Duration {
        std::time::Duration::try_from(at.duration_since(self.aws_now())).unwrap_or_default()
    }

    /// This machine's time minus theirs; `None` before their first answer.
    pub fn skew(&self, whose: Whose) -> Option<SignedDuration> {
        self.last(whose).map(|heard| self.system_now().duration_since(heard.carried_to(Instant::now())))
    }

    /// Takes note of the `Date` of an answer that has just come. `Date` is cut to whole seconds, so what was carried forward is the better
    /// estimate if it is ahead by less than that; and time does not go back at each answer. Says so in the log when this machine's clock and theirs
    /// come apart, and when they are together again.
    pub fn heard(&self, whose: Whose, date: Timestamp) {
        let skew = self.system_now().duration_since(date);
        let off = skew.abs() > MAX_SKEW;
        let mut last = self.slot(whose).lock().unwrap_or_else(PoisonError::into_inner);
        let at = Instant::now();
        let carried = last.map(|before| before.carried_to(at));
        let date =
            carried.filter(|c| *c > date && c.duration_since(date) < SignedDuration::from_secs(1)).unwrap_or(date);
        let was = last.replace(Heard { date, at, off }).is_some_and(|heard| heard.off);
        drop(last);
        if off != was {
            say(whose, skew, off);
        }
    }

    fn last(&self, whose: Whose) -> Option<Heard> {
        *self.slot(whose).lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self, whose: Whose) -> &Mutex<Option<Heard>> {
        match whose {
            Whose::Aws => &self.aws,
            Whose::Kubernetes => &self.kubernetes,
        }
    }
}

#[cfg(feature = "operator")]
fn say(whose: Whose, skew: SignedDuration, off: bool) {
    let (against, seconds) = (whose.label(), skew.as_secs());
    if off {
        tracing::warn!(
            against,
            seconds,
            "this machine's clock is off: nothing is issued until it is set right; what ends goes on ending"
        );
    } else {
        tracing::info!(against, seconds, "this machine's clock is right again");
    }
}

#[cfg(not(feature = "operator"))]
fn say(_: Whose, _: SignedDuration, _: bool) {}

/// What the SDK signs with, and judges the age of credentials by.
#[cfg(feature = "operator")]
impl aws_smithy_async::time::TimeSource for Clock {
    fn now(&self) -> std::time::SystemTime {
        std::time::SystemTime::from(self.system_now())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn before_the_first_answer_the_system_is_all_there_is() {
        let clock = Clock::new();
        assert!(Whose::ALL.iter().all(|whose| clock.skew(*whose).is_none()));
        assert!(clock.aws_now().duration_since(clock.system_now()).abs() < SignedDuration::from_secs(5));
    }

    #[test]
    fn the_last_date_is_carried_forward_and_clones_share_it() {
        let clock = Clock::new();
        let date: Timestamp = "2001-01-01T00:00:00Z".parse().unwrap();
        clock.clone().heard(Whose::Aws, date);
        let now = clock.aws_now();
        assert!(now >= date && now < date + SignedDuration::from_secs(5), "{now}");
        let far = SignedDuration::from_hours(24 * 365 * 20);
        assert!(clock.skew(Whose::Aws).unwrap() > far, "this machine is far ahead");
        assert_eq!(clock.skew(Whose::Kubernetes), None, "the one says nothing of the other");
    }

    #[test]
    fn the_api_servers_date_is_not_the_time_of_aws() {
        let clock = Clock::new();
        let date: Timestamp = "2001-01-01T00:00:00Z".parse().unwrap();
        clock.heard(Whose::Kubernetes, date);
        assert!(clock.aws_now() > date + SignedDuration::from_hours(24), "{}", clock.aws_now());
        assert!(clock.skew(Whose::Kubernetes).unwrap() > MAX_SKEW);
        assert_eq!(clock.skew(Whose::Aws), None);
    }

    #[test]
    fn a_machine_that_goes_wrong_is_seen_against_both() {
        let clock = Clock::new();
        for whose in Whose::ALL {
            clock.heard(whose, clock.system_now());
            assert!(clock.skew(whose).unwrap().abs() < SignedDuration::from_secs(5));
        }
        clock.shift(-40);
        for whose in Whose::ALL {
            let skew = clock.skew(whose).unwrap();
            assert!(skew < SignedDuration::from_secs(-35) && skew > SignedDuration::from_secs(-45), "{skew}");
        }
        assert!(clock.aws_now() > clock.system_now(), "AWS's time is AWS's all the same");
        assert_eq!(Clock::shifted(-40).shifted_by(), -40);
    }

    #[test]
    fn whole_seconds_do_not_set_it_back_and_a_real_step_does() {
        let clock = Clock::new();
        let date: Timestamp = "2001-01-01T00:00:00Z".parse().unwrap();
        clock.heard(Whose::Aws, date);
        std::thread::sleep(Duration::from_millis(2));
        let before = clock.aws_now();
        clock.heard(Whose::Aws, date);
        assert!(before > date && clock.aws_now() >= before);
        clock.heard(Whose::Aws, date - SignedDuration::from_secs(5));
        assert!(clock.aws_now() < date);
    }

    #[test]
    fn elapsed_time_is_added_and_does_not_wrap() {
        let at = Instant::now();
        let heard = Heard { date: "2026-01-01T00:00:00Z".parse().unwrap(), at, off: false };
        assert_eq!(heard.carried_to(at + Duration::from_secs(90)).to_string(), "2026-01-01T00:01:30Z");
        let end = Heard { date: Timestamp::MAX, at, off: false };
        assert_eq!(end.carried_to(at + Duration::from_secs(90)), Timestamp::MAX);
    }
}
