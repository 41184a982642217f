//! AWS: one typed table of calls, the policies generated from it, error classes; and, with the `operator` feature, the SDK clients.
//! Nothing outside this module names the SDK.
//!
//! An adapter method ([`s3`], [`kms`], [`iam`]) makes one SDK call through the [`funnel`], which waits for its turn ([`limit`]), measures,
//! and [classifies](classify) what went wrong. [`operation`] ties every SDK operation to its row in [`calls`]: an operation without a row
//! does not compile.

pub mod calls;
pub mod error;
pub mod policies;

#[cfg(feature = "operator")]
pub mod classify;
#[cfg(feature = "operator")]
pub mod clients;
#[cfg(feature = "operator")]
pub mod credentials;
#[cfg(feature = "operator")]
pub mod funnel;
#[cfg(feature = "operator")]
pub mod http;
#[cfg(feature = "operator")]
pub mod iam;
#[cfg(feature = "operator")]
pub mod kms;
#[cfg(feature = "operator")]
pub mod limit;
#[cfg(feature = "operator")]
pub mod listing;
#[cfg(feature = "operator")]
pub mod operation;
#[cfg(feature = "operator")]
pub mod s3;

#[cfg(feature = "operator")]
#[cfg(test)]
mod tests;
