//! The one way out to AWS: every call waits for its turn, is measured, logged without its content, and classified.

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::calls::Call;
use super::classify::classify;
use super::error::{AwsError, AwsErrorKind};
use super::limit::{Limiter, Purpose};
use super::operation::{Operation, Sent};

/// Hears of every call, after it.
pub trait CallObserver: Send + Sync {
    /// `took` is from the call's turn to its end, with the SDK's own retries and without the wait for the turn.
    fn observed(&self, call: Call, took: Duration, outcome: Result<(), &AwsError>);
}

/// What all calls of the process share.
pub(super) struct Shared {
    pub(super) observer: Option<Arc<dyn CallObserver>>,
    pub(super) log: Option<CallLog>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared")
    }
}

/// The way to one region's endpoints (of a global service: to its only one).
#[derive(Debug)]
pub(super) struct Funnel {
    pub(super) region: String,
    pub(super) limiter: Limiter,
    pub(super) shared: Arc<Shared>,
}

/// Asked when a call's turn has come, just before it is sent: false keeps it from being sent.
#[derive(Clone)]
pub struct Fence(Arc<dyn Fn() -> bool + Send + Sync>);

impl Fence {
    /// A fence that is open while `open` says so.
    pub fn new(open: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(open))
    }
}

impl fmt::Debug for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fence")
    }
}

/// A funnel, what it is used for, and what must hold when a call is sent.
#[derive(Clone, Debug)]
pub(super) struct Way {
    pub(super) funnel: Arc<Funnel>,
    pub(super) purpose: Purpose,
    pub(super) fence: Option<Fence>,
}

impl Way {
    /// Makes the call when its turn comes. `sending` must do nothing until polled, as the SDK's futures do.
    pub(super) async fn call<T, E: Operation>(
        &self,
        resource: &str,
        sending: impl Future<Output = Sent<T, E>>,
    ) -> Result<T, AwsError> {
        self.funnel.limiter.turn(E::CALL, self.purpose).await;
        if self.fence.as_ref().is_some_and(|fence| !fence.0()) {
            let message = "not sent: this process may have lost its lease";
            return Err(unexpected(E::CALL, AwsErrorKind::Unavailable, resource, message));
        }
        self.funnel.send(resource, sending).await
    }
}

impl Funnel {
    async fn send<T, E: Operation>(
        &self,
        resource: &str,
        sending: impl Future<Output = Sent<T, E>>,
    ) -> Result<T, AwsError> {
        let call = E::CALL;
        if let Some(log) = &self.shared.log {
            log.note(call);
        }
        let start = Instant::now();
        let result = sending.await.map_err(|e| classify(&e, resource, &self.region));
        let took = start.elapsed();
        let failure = result.as_ref().err();
        tracing::debug!(
            service = call.service().name(),
            operation = call.operation(),
            resource,
            region = self.region,
            status = failure.map(|e| e.status),
            code = failure.map(|e| e.code.as_deref().unwrap_or(e.kind.reason())),
            ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            "aws call"
        );
        if let Some(observer) = &self.shared.observer {
            observer.observed(call, took, failure.map_or(Ok(()), Err));
        }
        result
    }
}

/// An answer, or a request of ours, that is not as it should be. AWS has not refused anything, so there is no code.
pub(super) fn unexpected(call: Call, kind: AwsErrorKind, resource: &str, message: impl fmt::Display) -> AwsError {
    let message = super::classify::clean(&message.to_string());
    AwsError { call, kind, code: None, status: 0, message, resource: resource.to_owned() }
}

/// Marker of the next page, if there is one. A list that breaks off is an error, never a shorter list: absence is read from lists.
pub(super) fn next_page(
    call: Call,
    resource: &str,
    truncated: bool,
    marker: Option<String>,
) -> Result<Option<String>, AwsError> {
    match (truncated, marker.filter(|m| !m.is_empty())) {
        (false, _) => Ok(None),
        (true, Some(marker)) => Ok(Some(marker)),
        (true, None) => Err(unexpected(call, AwsErrorKind::Unavailable, resource, "the list breaks off")),
    }
}

/// File that gets a line `<service>:<Operation>` for the first of each operation: tests compare it with the operator's IAM policy.
pub(super) struct CallLog {
    path: PathBuf,
    seen: Mutex<BTreeSet<Call>>,
}

impl CallLog {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), seen: Mutex::default() }
    }

    fn note(&self, call: Call) {
        if !self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(call) {
            return;
        }
        let line = format!("{}:{}\n", call.service().name(), call.operation());
        let written = std::fs::OpenOptions::new().create(true).append(true).open(&self.path);
        if let Err(error) = written.and_then(|mut file| file.write_all(line.as_bytes())) {
            tracing::warn!(%error, path = %self.path.display(), "the call log cannot be written");
        }
    }
}
