//! Lockdown of a SecureBucket: what the owner orders, and what is latched in status.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How much a lockdown closes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum LockdownLevel {
    /// Nobody reads content or lists names. Producers and Processors go on writing.
    #[default]
    Reads,
    /// Nobody does anything with objects, no duty is left in any role, and the key is disabled.
    All,
}

/// Orders a lockdown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LockdownSpec {
    /// Why, for those who find the bucket closed. Never a secret: it is shown in conditions, events and logs.
    #[schemars(length(min = 3, max = 512))]
    pub reason: String,
    /// `Reads` (default): nobody reads, writing goes on. `All`: nobody does anything, and the key is disabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<LockdownLevel>,
}

/// The lockdown that is in force. It stays when `spec.lockdown` goes: the annotation `securebucket.io/lift-lockdown` with its id lifts it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LockdownStatus {
    /// 8 hex digits: what the annotation has to name, and part of the Sids in the bucket policy.
    pub id: String,
    /// What is closed. Raised by the spec, never lowered by it.
    pub level: LockdownLevel,
    /// Why.
    pub reason: String,
    /// When it was latched (RFC 3339).
    pub since: String,
    /// True from before the operator disables the key: lifting enables only a key that carries this note.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_disabled: Option<bool>,
    /// When lifting began (RFC 3339). From then on duties and policies are given back; grants are still refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifting_since: Option<String>,
}

/// The last lockdown that was lifted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LiftedLockdown {
    /// Its id.
    pub id: String,
    /// When AWS was read back open again (RFC 3339).
    pub lifted_at: String,
}
