//! The SecureBucket operator: who can decrypt, what, until when, and who agreed, as a declared and expiring fact.

pub mod api;
pub mod aws;
pub mod bucket;
pub mod domain;
pub mod grant;
pub mod role;
