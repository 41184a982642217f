//! What failures of Kubernetes calls are to a pass.

use super::outcome::PassError;
use crate::k8s::ApiError;
use crate::k8s::configmap::ConfigMapError;
use crate::k8s::finalizer::FinalizerError;
use crate::k8s::status::StatusError;

impl From<ApiError> for PassError {
    fn from(error: ApiError) -> Self {
        if error.is_conflict() { Self::Conflict } else { Self::Kubernetes(error.to_string()) }
    }
}

impl From<ConfigMapError> for PassError {
    fn from(error: ConfigMapError) -> Self {
        match error {
            ConfigMapError::Conflict { .. } => Self::Conflict,
            ConfigMapError::Api(e) => e.into(),
            other => Self::Kubernetes(other.to_string()),
        }
    }
}

impl From<StatusError> for PassError {
    fn from(error: StatusError) -> Self {
        match error {
            StatusError::Conflict | StatusError::Gone => Self::Conflict,
            other => Self::Kubernetes(other.to_string()),
        }
    }
}

impl From<FinalizerError> for PassError {
    fn from(error: FinalizerError) -> Self {
        match error {
            FinalizerError::Stale | FinalizerError::Deleting => Self::Conflict,
            other => Self::Kubernetes(other.to_string()),
        }
    }
}
