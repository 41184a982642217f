//! The workload role slice: one role per ServiceAccount, one writer, one inline policy.

pub mod desired;
pub mod document;
#[cfg(feature = "operator")]
pub mod driver;
#[cfg(feature = "operator")]
pub mod evidence;
#[cfg(feature = "operator")]
mod glance;
#[cfg(feature = "operator")]
pub mod observe;
pub mod observed;
pub mod plan;
#[cfg(feature = "operator")]
mod publish;
#[cfg(feature = "operator")]
mod sources;
pub mod state;
#[cfg(feature = "operator")]
mod tell;
