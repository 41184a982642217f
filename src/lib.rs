//! The SecureBucket operator: who can decrypt, what, until when, and who agreed, as a declared and expiring fact.

pub mod admission;
pub mod api;
#[cfg(feature = "operator")]
pub mod app;
pub mod aws;
pub mod bucket;
#[cfg(feature = "operator")]
pub mod cli;
#[cfg(feature = "operator")]
pub mod clock;
#[cfg(feature = "operator")]
mod coalesce;
pub mod domain;
pub mod grant;
#[cfg(feature = "operator")]
pub mod k8s;
#[cfg(feature = "operator")]
pub mod metrics;
#[cfg(feature = "plugin")]
pub mod plugin;
pub mod reconcile;
pub mod role;
#[cfg(feature = "operator")]
pub mod server;
#[cfg(feature = "operator")]
pub mod telemetry;
