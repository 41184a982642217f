//! How long to wait after a failed pass: exponential from one second, capped by the class of the failure, per key.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::domain::time::jittered;

/// First wait.
const FIRST: Duration = Duration::from_secs(1);

/// Class of a failure: only the longest wait depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Somebody else changed the same thing at the same time; the next attempt most likely succeeds.
    Conflict,
    /// Throttled, a 5xx, a time-out: it passes by itself.
    Transient,
    /// Access denied: somebody repairs a policy, and then expects us to notice within minutes.
    Denied,
    /// A quota is used up.
    Limit,
    /// An unexpected state or a panic: trying harder does not help.
    Bug,
}

impl Class {
    /// Longest wait.
    pub fn cap(self) -> Duration {
        Duration::from_secs(match self {
            Self::Conflict => 15,
            Self::Transient => 120,
            Self::Denied | Self::Bug => 300,
            Self::Limit => 600,
        })
    }
}

/// Wait after failure number `attempt` (the first is 1). The jitter depends on `seed` alone: re-drawn jitter can postpone for ever.
pub fn delay(attempt: u32, class: Class, seed: &str) -> Duration {
    let factor = 2_u32.saturating_pow(attempt.saturating_sub(1));
    jittered(FIRST.saturating_mul(factor).min(class.cap()), seed)
}

/// Failed attempts in a row, per key. In memory only: a restart tries everything again at once.
#[derive(Debug)]
pub struct Backoff<K> {
    attempts: Mutex<BTreeMap<K, u32>>,
}

impl<K> Default for Backoff<K> {
    fn default() -> Self {
        Self { attempts: Mutex::new(BTreeMap::new()) }
    }
}

impl<K: Ord + Clone + Debug> Backoff<K> {
    /// Counts a failure and says how long to wait.
    pub fn failed(&self, key: &K, class: Class) -> Duration {
        let mut attempts = self.lock();
        let attempt = attempts.entry(key.clone()).or_default();
        *attempt = attempt.saturating_add(1);
        delay(*attempt, class, &format!("{key:?}"))
    }

    /// Forgets the failures, after a success and when the object is gone.
    pub fn reset(&self, key: &K) {
        self.lock().remove(key);
    }

    /// Failures in a row so far.
    pub fn attempts(&self, key: &K) -> u32 {
        self.lock().get(key).copied().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<K, u32>> {
        // A panic while the lock is held cannot leave a counter half written.
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Class; 5] = [Class::Conflict, Class::Transient, Class::Denied, Class::Limit, Class::Bug];

    #[test]
    fn waits_double_up_to_the_cap_of_the_class() {
        for class in ALL {
            let mut before = Duration::ZERO;
            for attempt in 1..100 {
                let wait = delay(attempt, class, "ns/name");
                assert!(wait >= before, "{class:?} {attempt}");
                assert!(wait <= class.cap().mul_f64(1.1), "{class:?} {attempt}: {wait:?}");
                before = wait;
            }
            assert!(before >= class.cap());
            let first = delay(1, class, "ns/name");
            assert!(first >= FIRST && first <= FIRST.mul_f64(1.1));
        }
    }

    #[test]
    fn jitter_is_steady_per_key_and_differs_between_keys() {
        let waits: std::collections::BTreeSet<Duration> =
            (0..20).map(|i| delay(5, Class::Transient, &format!("ns/{i}"))).collect();
        assert!(waits.len() > 10, "{waits:?}");
        assert_eq!(delay(5, Class::Transient, "x"), delay(5, Class::Transient, "x"));
    }

    #[test]
    fn keys_count_apart_and_success_resets() {
        let backoff = Backoff::default();
        for _ in 0..3 {
            backoff.failed(&"a", Class::Denied);
        }
        assert_eq!((backoff.attempts(&"a"), backoff.attempts(&"b")), (3, 0));
        assert!(backoff.failed(&"b", Class::Denied) < Duration::from_secs(2));
        backoff.reset(&"a");
        assert_eq!(backoff.attempts(&"a"), 0);
    }
}
