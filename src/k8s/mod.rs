//! Kubernetes, apart from what a pass decides: watches, leadership, finalizers, status, events and the ConfigMaps that we own.

pub mod admission;
pub mod configmap;
pub mod dated;
pub mod events;
pub mod finalizer;
mod guard;
pub mod lease;
mod paced;
pub mod status;
pub mod watch;

use std::future::Future;
use std::time::Duration;

/// Field manager of status writes.
pub const STATUS_MANAGER: &str = "securebucket/status";
/// Field manager of finalizers.
pub const FINALIZER_MANAGER: &str = "securebucket/finalizer";
/// Field manager of the ConfigMaps with an AWS profile.
pub const PROFILE_MANAGER: &str = "securebucket/profile";
/// Field manager of the lease.
pub const LEASE_MANAGER: &str = "securebucket/lease";

/// Longest wait for the answer to one request. The client of kube retries 429 and 5xx by itself for minutes; a pass must not.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// Why a request to the API server failed.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// It answered with an error, or could not be reached.
    #[error(transparent)]
    Kube(#[from] kube::Error),
    /// It did not answer in time; whether it acted is unknown.
    #[error("no answer from the API server within {}s", .0.as_secs_f32())]
    Timeout(Duration),
}

impl ApiError {
    /// HTTP status, if there was an answer.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Kube(kube::Error::Api(status)) => Some(status.code),
            _ => None,
        }
    }

    /// True if the object is not there.
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(404)
    }

    /// True if the object has changed since it was read, or exists already.
    pub fn is_conflict(&self) -> bool {
        self.status() == Some(409)
    }

    /// True if RBAC or an admission policy refuses.
    pub fn is_forbidden(&self) -> bool {
        self.status() == Some(403)
    }
}

/// Waits for the answer to a request, but not for ever.
///
/// # Errors
/// If the API server refuses, cannot be reached, or does not answer within `limit`.
pub async fn within<T>(limit: Duration, request: impl Future<Output = kube::Result<T>>) -> Result<T, ApiError> {
    match tokio::time::timeout(limit, request).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(ApiError::Timeout(limit)),
    }
}

#[cfg(test)]
pub(crate) mod fake;
