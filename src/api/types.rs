//! Small types that both kinds share.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A ServiceAccount by name; always of the referring object's own namespace, never of another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAccountRef {
    /// Name of a ServiceAccount in this namespace.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
}

/// Key prefix of objects: `calls/2026/`, or `*` alone for the whole bucket.
///
/// The grammar has no wildcards and no policy variables (`${aws:…}`), so a prefix means the same text in a policy as here.
/// See `domain::prefix` for the rules that need more than a pattern.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct PrefixText(#[schemars(length(min = 1, max = 512))] pub String);

/// A length of time as people type it: `15m`, `4h`, `1h30m`. Whole seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct DurationText(
    #[schemars(length(min = 2, max = 16), regex(pattern = r"^([0-9]{1,5}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?$"))] pub String,
);

/// An instant with its offset (RFC 3339), in whole seconds: `2026-11-24T12:00:00Z`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct InstantText(
    #[schemars(
        length(max = 25),
        regex(pattern = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(Z|[+-][0-9]{2}:[0-9]{2})$"),
        extend("format" = "date-time")
    )]
    pub String,
);

/// Who asks, as the API server authenticated the request: an admission policy refuses another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// `request.userInfo.username`.
    #[schemars(length(min = 1, max = 256))]
    pub username: String,
    /// `request.userInfo.uid`, where the authentication gives one. On EKS: account and unique id of the IAM identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub uid: Option<String>,
    /// `request.userInfo.extra['sessionName'][0]`: the name of an EKS user's STS session, which the caller chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub session: Option<String>,
}

/// Who reviews, as the API server authenticated the request: an admission policy refuses another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reviewer {
    /// `request.userInfo.username`.
    #[schemars(length(min = 1, max = 256))]
    pub username: String,
    /// `request.userInfo.uid`, where the authentication gives one. On EKS: account and unique id of the IAM identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub uid: Option<String>,
    /// `request.userInfo.extra['sessionName'][0]`: the name of an EKS user's STS session, which the caller chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub session: Option<String>,
    /// Those groups of the caller that matter for the bucket's sets of approvers. Others may be left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub groups: Vec<GroupName>,
}

/// A group, as the API server's authentication gives it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct GroupName(#[schemars(length(min = 1, max = 256))] pub String);

/// Name of a set: a DNS label.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct SetName(
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))] pub String,
);

/// A switch with a name for both positions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Toggle {
    /// On.
    #[default]
    Enabled,
    /// Off.
    Disabled,
}
