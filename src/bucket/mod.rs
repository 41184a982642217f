//! The SecureBucket slice.

pub mod observed;
pub mod policies;
