//! Leader election on a `coordination.k8s.io` Lease.
//!
//! Whether another's lease has run out is judged by *how long this process has seen it unchanged*, on its own monotonic clock, never by the
//! times in the record: those are of another machine's clock, and anybody who may write the Lease could put it into the next century. For the
//! same reason the duration in the record is honoured only up to our own.
//!
//! A lease is no fence: a holder that is stopped (SIGSTOP, a suspended machine) and goes on does not know yet that it has lost. That is why
//! every widening write is safe with two leaders anyway, and why losing the lease ends the process instead of pausing it.

use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease as Record, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Client;
use kube::api::{Api, PostParams};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{ApiError, LEASE_MANAGER, within};
use crate::clock::Clock;
use crate::reconcile::leadership::Leadership;

/// Periods of the election. `renew_deadline` < `duration`, and AWS call time-outs are below the difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long others wait after the last change that they saw, and the most that we honour in another's record.
    pub duration: Duration,
    /// A holder that could not renew for this long gives up.
    pub renew_deadline: Duration,
    /// Time between two attempts.
    pub retry: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(30),
            renew_deadline: Duration::from_secs(15),
            retry: Duration::from_secs(2),
        }
    }
}

/// What to do about the Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is free: take it.
    Acquire,
    /// It is ours already.
    Renew,
    /// It is another's, for at most this long if nothing changes.
    Wait(Duration),
}

/// A record, and since when it has been seen like this.
#[derive(Clone, Debug)]
pub struct Observation {
    spec: LeaseSpec,
    since: Instant,
}

impl Observation {
    /// Takes note of what was read at `now`. Only a change of the spec counts: labels on a Lease keep no dead leader alive.
    #[must_use]
    pub fn update(before: Option<Self>, record: &Record, now: Instant) -> Self {
        let spec = record.spec.clone().unwrap_or_default();
        match before {
            Some(before) if before.spec == spec => before,
            _ => Self { spec, since: now },
        }
    }
}

/// Judges the Lease for the candidate `me`. `None`: there is no Lease.
pub fn evaluate(me: &str, seen: Option<&Observation>, now: Instant, settings: Settings) -> Verdict {
    let Some(Observation { spec, since }) = seen else { return Verdict::Acquire };
    let holder = match spec.holder_identity.as_deref() {
        None | Some("") => return Verdict::Acquire,
        Some(holder) => holder,
    };
    if holder == me {
        return Verdict::Renew;
    }
    let recorded = spec.lease_duration_seconds.and_then(|s| u64::try_from(s).ok()).filter(|s| *s > 0);
    let honoured = recorded.map_or(settings.duration, |s| Duration::from_secs(s).min(settings.duration));
    match honoured.checked_sub(now.saturating_duration_since(*since)) {
        None | Some(Duration::ZERO) => Verdict::Acquire,
        Some(left) => Verdict::Wait(left),
    }
}

/// The lease is no longer ours: the process must end.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LeaseLost {
    /// Another holds it, or the record was changed by somebody else in our name.
    #[error("the lease was taken by {0:?}")]
    Taken(String),
    /// The Lease was deleted: the next candidate makes a new one at once.
    #[error("the lease was deleted")]
    Deleted,
    /// It could not be renewed in time.
    #[error("the lease could not be renewed for {}s", .0.as_secs())]
    Expired(Duration),
}

/// A lease that is held.
pub struct Lease {
    election: Election,
    held: Mutex<Held>,
    /// What others in this process may know of `held.renewed` at any time.
    renewed: Arc<StdMutex<Instant>>,
    leadership: Leadership,
}

struct Election {
    api: Api<Record>,
    name: String,
    identity: String,
    settings: Settings,
}

struct Held {
    /// As last read or written.
    record: Record,
    /// When the request of the last renewal was *sent*: others count from when they see it, which is later.
    renewed: Instant,
    /// Time stamps that we sent since the last answer. A renewal whose answer was lost shows up in the record as one of these.
    sent: Vec<MicroTime>,
}

/// How a lease was taken.
struct Taken {
    /// The holder that had not released it. Our own name is no other: the container that was started anew in our pod.
    from: Option<String>,
}

/// Waits until the lease is ours. Failures are logged and tried again: a candidate has nothing better to do.
///
/// `identity` must differ between all processes, or two of them would both believe that they lead (until the first renewal tells them).
pub async fn acquire(client: Client, namespace: &str, name: &str, identity: &str, settings: Settings) -> Lease {
    let election =
        Election { api: Api::namespaced(client, namespace), name: name.into(), identity: identity.into(), settings };
    let mut seen: Option<Observation> = None;
    let mut waiting_for = None;
    loop {
        match election.attempt(&mut seen).await {
            Ok(Some((held, Taken { from }))) => {
                tracing::info!(lease = name, identity, from, "leading");
                let renewed = Arc::new(StdMutex::new(held.renewed));
                let wait = if from.is_some() { settings.duration } else { Duration::ZERO };
                let leadership = Leadership::taken(Arc::clone(&renewed), settings.renew_deadline, wait);
                return Lease { election, held: Mutex::new(held), renewed, leadership };
            }
            Ok(None) => {
                let holder = seen.as_ref().and_then(|s| s.spec.holder_identity.clone());
                if waiting_for != holder {
                    tracing::info!(lease = name, identity, holder, "another leads; standing by");
                    waiting_for = holder;
                }
            }
            Err(error) => tracing::warn!(lease = name, identity, %error, "leader election failed; trying again"),
        }
        tokio::time::sleep(settings.retry).await;
    }
}

impl Lease {
    /// When this process may give access.
    pub fn leadership(&self) -> Leadership {
        self.leadership.clone()
    }

    /// Renews until that fails; then the process must end. Nothing renews while this is not polled.
    pub async fn hold(&self) -> LeaseLost {
        loop {
            tokio::time::sleep(self.election.settings.retry).await;
            if let Err(lost) = self.renew().await {
                tracing::error!(lease = self.election.name, identity = self.election.identity, error = %lost, "no longer leading");
                return lost;
            }
        }
    }

    /// Gives the lease up, so that another need not wait. Only when all work has stopped; best effort.
    pub async fn release(&self) {
        let mut held = self.held.lock().await;
        let mut outcome = self.election.write(&released(&held.record)).await;
        if outcome.as_ref().is_err_and(ApiError::is_conflict) {
            // A renewal was under way when the work stopped, and nobody waited for its answer.
            outcome = match self.election.read().await {
                Ok(now) => match self.reconcile(&mut held, now) {
                    Ok(()) => self.election.write(&released(&held.record)).await,
                    Err(lost) => {
                        return tracing::info!(lease = self.election.name, error = %lost, "there is no lease of ours to release");
                    }
                },
                Err(error) => Err(error),
            };
        }
        match outcome {
            Ok(fresh) => held.record = fresh,
            Err(error) => tracing::info!(lease = self.election.name, %error, "could not release the lease"),
        }
    }

    async fn renew(&self) -> Result<(), LeaseLost> {
        let (election, settings) = (&self.election, self.election.settings);
        let mut held = self.held.lock().await;
        let deadline = held.renewed + settings.renew_deadline;
        let sent_at = Instant::now();
        let stamp = later_than(held.record.spec.as_ref().and_then(|s| s.renew_time.as_ref()));
        let mut record = held.record.clone();
        record.spec.get_or_insert_default().renew_time = Some(stamp.clone());
        held.sent.push(stamp);
        // An answer after the deadline is of no use.
        let outcome = match tokio::time::timeout_at(deadline, election.write(&record)).await {
            Ok(Ok(fresh)) => Ok(fresh),
            Ok(Err(error)) if error.is_conflict() || error.is_not_found() => {
                match tokio::time::timeout_at(deadline, election.read()).await {
                    Ok(Ok(now)) => return self.reconcile(&mut held, now),
                    Ok(Err(error)) => Err(error),
                    Err(_) => Err(ApiError::Timeout(settings.renew_deadline)),
                }
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(ApiError::Timeout(settings.renew_deadline)),
        };
        match outcome {
            Ok(fresh) => {
                *held = Held { record: fresh, renewed: sent_at, sent: Vec::new() };
                *self.renewed.lock().unwrap_or_else(PoisonError::into_inner) = sent_at;
                Ok(())
            }
            Err(error) => {
                tracing::warn!(lease = election.name, %error, "could not renew the lease");
                if Instant::now() + settings.retry >= deadline {
                    return Err(LeaseLost::Expired(held.renewed.elapsed()));
                }
                Ok(())
            }
        }
    }

    /// The record is not the one that we wrote last. Ours all the same if it is our holder with a stamp that we sent or read (an answer was
    /// lost, or somebody put a label on it); otherwise another took it. Another process under our own identity is told apart by its stamps.
    fn reconcile(&self, held: &mut Held, now: Option<Record>) -> Result<(), LeaseLost> {
        let Some(now) = now else { return Err(LeaseLost::Deleted) };
        let spec = now.spec.clone().unwrap_or_default();
        let known = held.record.spec.as_ref().and_then(|s| s.renew_time.as_ref());
        let ours = spec.holder_identity.as_deref() == Some(&self.election.identity)
            && spec.renew_time.as_ref().is_some_and(|t| Some(t) == known || held.sent.contains(t));
        if !ours {
            return Err(LeaseLost::Taken(spec.holder_identity.unwrap_or_default()));
        }
        // `renewed` stays: it is not known which of the lost renewals arrived, and the next attempt is soon.
        held.record = now;
        Ok(())
    }
}

/// The record of a lease that nobody holds.
fn released(record: &Record) -> Record {
    let mut record = record.clone();
    let spec = record.spec.get_or_insert_default();
    spec.holder_identity = Some(String::new());
    // What client-go writes: candidates that count from the record wait one second.
    spec.lease_duration_seconds = Some(1);
    record
}

impl Election {
    /// One look at the Lease, and an attempt at it if it is free.
    async fn attempt(&self, seen: &mut Option<Observation>) -> Result<Option<(Held, Taken)>, ApiError> {
        let current = self.read().await?;
        let now = Instant::now();
        *seen = current.as_ref().map(|record| Observation::update(seen.take(), record, now));
        if let Verdict::Wait(_) = evaluate(&self.identity, seen.as_ref(), now, self.settings) {
            return Ok(None);
        }
        let before = current.as_ref().and_then(|r| r.spec.as_ref()?.holder_identity.clone());
        let from = before.filter(|holder| !holder.is_empty() && *holder != self.identity);
        let record = self.taken(current);
        match self.write(&record).await {
            Ok(record) => Ok(Some((Held { record, renewed: now, sent: Vec::new() }, Taken { from }))),
            // Another candidate was quicker.
            Err(error) if error.is_conflict() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The record after we have taken it.
    fn taken(&self, current: Option<Record>) -> Record {
        let before = current.as_ref().and_then(|r| r.spec.clone()).unwrap_or_default();
        let mut record = current.unwrap_or_else(|| Record {
            metadata: ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
            ..Record::default()
        });
        let stamp = later_than(before.renew_time.as_ref());
        let transitions = before.lease_transitions.unwrap_or_default();
        let changed = before.holder_identity.as_deref().is_some_and(|h| h != self.identity);
        record.spec = Some(LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(self.settings.duration.as_secs()).ok(),
            lease_transitions: Some(if changed { transitions.saturating_add(1) } else { transitions }),
            acquire_time: Some(stamp.clone()),
            renew_time: Some(stamp),
            ..before
        });
        record
    }

    async fn read(&self) -> Result<Option<Record>, ApiError> {
        within(self.request_timeout(), self.api.get_opt(&self.name)).await
    }

    /// Creates, or replaces the version that was read: the API server lets one of two writers win.
    async fn write(&self, record: &Record) -> Result<Record, ApiError> {
        let params = PostParams { field_manager: Some(LEASE_MANAGER.into()), ..PostParams::default() };
        if record.metadata.resource_version.is_some() {
            within(self.request_timeout(), self.api.replace(&self.name, &params, record)).await
        } else {
            within(self.request_timeout(), self.api.create(&params, record)).await
        }
    }

    /// Several attempts fit into the renew deadline.
    fn request_timeout(&self) -> Duration {
        (self.settings.renew_deadline / 3).max(Duration::from_secs(1))
    }
}

/// A time stamp for people and other clients; nothing here is decided by it. Later than the one before, even if the wall clock stands still or
/// goes back: an unchanged record is what others take for a dead leader.
fn later_than(before: Option<&MicroTime>) -> MicroTime {
    let now = Clock::new().system_now();
    // The record has microseconds; ours must be comparable with what comes back.
    let now = Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now);
    let least = before.and_then(|b| b.0.checked_add(jiff::SignedDuration::from_micros(1)).ok());
    MicroTime(least.map_or(now, |least| now.max(least)))
}

#[cfg(test)]
#[path = "lease_tests.rs"]
mod tests;
