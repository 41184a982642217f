//! The clocks: the only reader of the wall clock in this crate. Everything else gets an instant as a parameter.
//!
//! What ends at an instant ends by AWS's clock, because AWS is the one that enforces it: `aws:CurrentTime` in policies. So AWS's time is
//! taken from the `Date` header of its answers and carried forward on the monotonic clock until the next answer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};

/// Local time and AWS's time. Clones share what they have heard.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    heard: Arc<Mutex<Option<Heard>>>,
}

/// The last `Date` of an AWS answer, and when it came.
#[derive(Clone, Copy, Debug)]
struct Heard {
    date: Timestamp,
    at: Instant,
}

impl Heard {
    /// AWS's time at `now`.
    fn carried_to(self, now: Instant) -> Timestamp {
        SignedDuration::try_from(now.saturating_duration_since(self.at))
            .ok()
            .and_then(|elapsed| self.date.checked_add(elapsed).ok())
            .unwrap_or(self.date)
    }
}

impl Clock {
    /// A clock that has not heard from AWS yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Time of this machine.
    #[allow(clippy::disallowed_methods, reason = "the one reader of the wall clock")]
    pub fn system_now(&self) -> Timestamp {
        Timestamp::now()
    }

    /// AWS's time: that of its last answer plus what has passed since; this machine's time before the first answer. `Date` has whole
    /// seconds, so this is up to a second (and the way of the answer) early, never late.
    pub fn aws_now(&self) -> Timestamp {
        self.last().map_or_else(|| self.system_now(), |heard| heard.carried_to(Instant::now()))
    }

    /// How long until a time on AWS's clock; nothing if it has passed.
    pub fn until(&self, at: Timestamp) -> std::time::Duration {
        std::time::Duration::try_from(at.duration_since(self.aws_now())).unwrap_or_default()
    }

    /// This machine's time minus AWS's; `None` before the first answer.
    pub fn skew(&self) -> Option<SignedDuration> {
        self.last().map(|heard| self.system_now().duration_since(heard.carried_to(Instant::now())))
    }

    /// Takes note of the `Date` of an answer that has just come. `Date` is cut to whole seconds, so what was carried forward is the better
    /// estimate if it is ahead by less than that; and time does not go back at each answer.
    pub fn heard(&self, date: Timestamp) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let at = Instant::now();
        let carried = heard.map(|before| before.carried_to(at));
        let date =
            carried.filter(|c| *c > date && c.duration_since(date) < SignedDuration::from_secs(1)).unwrap_or(date);
        *heard = Some(Heard { date, at });
    }

    fn last(&self) -> Option<Heard> {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn before_the_first_answer_the_system_is_all_there_is() {
        let clock = Clock::new();
        assert_eq!(clock.skew(), None);
        assert!(clock.aws_now().duration_since(clock.system_now()).abs() < SignedDuration::from_secs(5));
    }

    #[test]
    fn the_last_date_is_carried_forward_and_clones_share_it() {
        let clock = Clock::new();
        let date: Timestamp = "2001-01-01T00:00:00Z".parse().unwrap();
        clock.clone().heard(date);
        let now = clock.aws_now();
        assert!(now >= date && now < date + SignedDuration::from_secs(5), "{now}");
        assert!(clock.skew().unwrap() > SignedDuration::from_hours(24 * 365 * 20), "this machine is far ahead");
    }

    #[test]
    fn whole_seconds_do_not_set_it_back_and_a_real_step_does() {
        let clock = Clock::new();
        let date: Timestamp = "2001-01-01T00:00:00Z".parse().unwrap();
        clock.heard(date);
        std::thread::sleep(Duration::from_millis(2));
        let before = clock.aws_now();
        clock.heard(date);
        assert!(before > date && clock.aws_now() >= before);
        clock.heard(date - SignedDuration::from_secs(5));
        assert!(clock.aws_now() < date);
    }

    #[test]
    fn elapsed_time_is_added_and_does_not_wrap() {
        let at = Instant::now();
        let heard = Heard { date: "2026-01-01T00:00:00Z".parse().unwrap(), at };
        assert_eq!(heard.carried_to(at + Duration::from_secs(90)).to_string(), "2026-01-01T00:01:30Z");
        let end = Heard { date: Timestamp::MAX, at };
        assert_eq!(end.carried_to(at + Duration::from_secs(90)), Timestamp::MAX);
    }
}
