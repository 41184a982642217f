//! AWS: one typed table of calls, the policies generated from it, error classes; and, with the `operator` feature, the SDK clients.
//! Nothing outside this module names the SDK.

pub mod calls;
pub mod error;
pub mod policies;
