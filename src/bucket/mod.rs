//! The SecureBucket slice.

pub mod observed;
