//! Who agreed to a DecryptGrant: reviews, which of them count, and what they come to. Everything but `driver` is pure.

pub mod decision;
#[cfg(feature = "operator")]
pub mod driver;
pub mod eligible;
pub mod person;
pub mod rules;
