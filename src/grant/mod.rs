//! The DecryptGrant slice.
