//! The DecryptGrant slice: from a request to the proof that nothing of it is left.

#[cfg(feature = "operator")]
mod act;
pub mod agree;
mod ask;
pub mod begin;
pub mod bound;
pub mod break_glass;
pub mod deadline;
pub mod decide;
#[cfg(feature = "operator")]
pub mod driver;
mod extend;
pub mod facts;
#[cfg(feature = "operator")]
mod finish;
#[cfg(feature = "operator")]
pub mod observe;
mod over;
pub mod overlap;
pub mod policy;
mod removal;
pub mod review;
pub mod states;
pub mod status;
#[cfg(feature = "operator")]
pub mod tell;
pub mod terms;
