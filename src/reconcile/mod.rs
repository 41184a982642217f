//! When a pass runs, how often it is tried again, and what its end means.

pub mod backoff;
#[cfg(feature = "operator")]
pub mod context;
#[cfg(feature = "operator")]
mod errors;
#[cfg(feature = "operator")]
pub mod foreign;
#[cfg(feature = "operator")]
pub mod leadership;
pub mod outcome;
#[cfg(feature = "operator")]
pub mod queue;
#[cfg(feature = "operator")]
pub mod roles;
#[cfg(feature = "operator")]
pub mod wake;
