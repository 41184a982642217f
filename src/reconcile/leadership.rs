//! When this process may give access: DESIGN "Leadership".
//!
//! A lease is no fence. Its old holder may have been stopped (SIGSTOP, a paused machine) between the decision to send a call and the call, and
//! may go on a minute later, when another leads. What then arrives was decided in another time. Three rules make that harmless:
//!
//! 1. A process sends a call that gives access only while its own lease is surely held: the last renewal that was answered was *sent* less than
//!    the renew deadline ago. A call ends within [`crate::aws::clients::OPERATION_TIMEOUT`], which is shorter than what is left of the lease then.
//!    So whoever resumes after a stop finds the check failed, and the process ends as soon as it looks at the lease.
//! 2. Who takes the lease from a holder that did not release it narrows at once, and gives access only after one more lease duration. So what
//!    the old holder had under way has arrived before anything is built on what was read.
//! 3. What is left is one call: the one for which the check had passed when the process was stopped. **One late write opens at most one of two
//!    locks.** A grant's reading needs an Allow in the role's policy (S3) and a KMS grant. An end closes both: it takes the Allow out under a
//!    Deny, and revokes. A late `PutRolePolicy` brings the Allow back and finds no KMS grant; a late `CreateGrant` brings the KMS grant back and
//!    finds the Deny. A stopped process cannot send the second one: before that it runs into rule 1. The living leader finds what came: the
//!    role's drift check compares the whole policy, and a Deny stays in it until `ListGrants` has been clean for
//!    [`crate::domain::installation::Timing::evidence_wait`], which revokes what it finds. For a *duty* on a key that other duties keep open
//!    the second lock is the key policy alone: there the drift check is what ends it.
//!
//! Time is `tokio::time::Instant`, the machine's monotonic clock. It goes on while a process is stopped, and on Linux not while the whole
//! machine is suspended: a node that sleeps through a lease and wakes believes for at most the renew deadline that it still leads.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::aws::funnel::Fence;

/// What is known of the own lease. Clones share it.
#[derive(Clone, Debug)]
pub struct Leadership(Option<Held>);

#[derive(Clone, Debug)]
struct Held {
    /// When the last renewal that was answered had been sent.
    renewed: Arc<Mutex<Instant>>,
    /// A holder that could not renew for this long gives up.
    renew_deadline: Duration,
    /// Nothing is given before.
    widen_from: Instant,
}

impl Leadership {
    /// There is only one process: `--leader-elect=false`.
    #[must_use]
    pub fn undisputed() -> Self {
        Self(None)
    }

    /// A lease that was just taken; `renewed` is kept up to date by its holder. `wait` is how long nothing may be given: a lease duration if it
    /// was taken from another process that did not release it, else nothing.
    #[must_use]
    pub fn taken(renewed: Arc<Mutex<Instant>>, renew_deadline: Duration, wait: Duration) -> Self {
        Self(Some(Held { renewed, renew_deadline, widen_from: Instant::now() + wait }))
    }

    /// `None` if access may be given now; otherwise from when on.
    pub fn held_back_until(&self) -> Option<Instant> {
        self.0.as_ref().map(|h| h.widen_from).filter(|from| Instant::now() < *from)
    }

    /// True while no other process can believe that it leads.
    pub fn surely_held(&self) -> bool {
        self.0.as_ref().is_none_or(|h| {
            let renewed = *h.renewed.lock().unwrap_or_else(PoisonError::into_inner);
            Instant::now().saturating_duration_since(renewed) < h.renew_deadline
        })
    }

    /// Open while access may be given.
    pub fn fence(&self) -> Fence {
        let own = self.clone();
        Fence::new(move || own.surely_held() && own.held_back_until().is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[tokio::test(start_paused = true)]
    async fn without_an_election_nothing_is_held_back() {
        let alone = Leadership::undisputed();
        assert!(alone.surely_held() && alone.held_back_until().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn who_took_it_from_another_waits_for_a_lease() {
        let renewed = Arc::new(Mutex::new(Instant::now()));
        let after_a_crash = Leadership::taken(Arc::clone(&renewed), seconds(100), seconds(30));
        let after_a_release = Leadership::taken(renewed, seconds(100), Duration::ZERO);
        assert_eq!(after_a_release.held_back_until(), None);
        assert_eq!(after_a_crash.held_back_until(), Some(Instant::now() + seconds(30)));
        tokio::time::advance(seconds(29)).await;
        assert!(after_a_crash.held_back_until().is_some());
        tokio::time::advance(seconds(1)).await;
        assert_eq!(after_a_crash.held_back_until(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_is_not_renewed_is_not_surely_held() {
        let renewed = Arc::new(Mutex::new(Instant::now()));
        let leading = Leadership::taken(Arc::clone(&renewed), seconds(15), Duration::ZERO);
        tokio::time::advance(seconds(14)).await;
        assert!(leading.surely_held());
        tokio::time::advance(seconds(1)).await;
        assert!(!leading.surely_held());
        *renewed.lock().unwrap() = Instant::now();
        assert!(leading.surely_held());
    }
}
