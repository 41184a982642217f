//! The SecureBucket slice: key, bucket and their policies. Data and decisions are pure; `observe`, `execute`, `driver`, `access`, `claims` and `release`
//! do I/O.

#[cfg(feature = "operator")]
pub mod access;
pub mod action;
#[cfg(feature = "operator")]
pub mod claims;
pub mod desired;
#[cfg(feature = "operator")]
pub mod driver;
#[cfg(feature = "operator")]
pub mod execute;
pub mod foreign;
#[cfg(feature = "operator")]
pub mod latch;
pub mod lockdown;
#[cfg(feature = "operator")]
pub mod observe;
pub mod observed;
pub mod plan;
pub mod policies;
pub mod profile;
#[cfg(feature = "operator")]
pub mod release;
pub mod rules;
pub mod status;
pub mod who;
