//! What was seen in AWS of one workload role. Data only.

use jiff::Timestamp;

use crate::aws::error::Seen;
use crate::domain::policy::Document;
use crate::domain::tags::Tags;

/// A role as `GetRole` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleHead {
    /// ARN, with the path.
    pub arn: String,
    /// Unique id, `AROA…`: another one means another principal under the same name.
    pub role_id: String,
    /// When it was created.
    pub created: Timestamp,
    /// When one of its sessions last called AWS, if ever. Reported some hours late (IAM User Guide, access_policies_last-accessed: "usually within
    /// four hours"), and only by `GetRole` (IAM API, ListRoles).
    pub last_used: Option<Timestamp>,
    /// ARN of the permissions boundary.
    pub boundary: Option<String>,
    /// Trust policy.
    pub trust: Document,
    /// Tags.
    pub tags: Tags,
}

/// An inline or attached policy that is not ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignPolicy {
    /// Name (inline) or ARN (attached).
    pub name: String,
    /// Attached managed policy rather than an inline one.
    pub attached: bool,
    /// Content.
    pub document: Seen<Document>,
}

/// A role with its policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedRole {
    /// The role.
    pub head: RoleHead,
    /// Our inline policy.
    pub document: Seen<Document>,
    /// Policies that are not ours.
    pub foreign: Vec<ForeignPolicy>,
}

/// A KMS grant as `ListGrants` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedGrant {
    /// Id.
    pub id: String,
    /// Name, if it has one.
    pub name: Option<String>,
    /// Grantee: a role's ARN, or its unique id when the role is gone or very new (aws-sdk-go #1718).
    pub grantee: String,
    /// Operations, in AWS's words, sorted.
    pub operations: Vec<String>,
}
