//! `GrantReview`: one person's word on one DecryptGrant, in the namespace of the bucket.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::types::{DurationText, Reviewer};

/// One person's word on one DecryptGrant: approves it, denies it before it begins, or revokes it. Immutable, in the namespace of the SecureBucket.
/// It counts only for the very grant (uid) and the very terms (`termsHash`) that it names.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "securebucket.io",
    version = "v1alpha1",
    kind = "GrantReview",
    doc = "One person's word on one DecryptGrant: approves it, denies it before it begins, or revokes it. Immutable, in the namespace of the SecureBucket.",
    plural = "grantreviews",
    shortname = "greview",
    category = "securebucket-all",
    namespaced,
    status = "GrantReviewStatus",
    selectable = ".spec.bucketRef.name",
    selectable = ".spec.grantRef.uid",
    validation = Rule::new("size(self.metadata.name) <= 63").message("metadata.name: at most 63 characters, because the status of the grant carries it"),
    printcolumn(name = "Grant", type_ = "string", json_path = ".spec.grantRef.name"),
    printcolumn(name = "Decision", type_ = "string", json_path = ".spec.decision"),
    printcolumn(name = "Reviewer", type_ = "string", json_path = ".spec.reviewer.username"),
    printcolumn(name = "Counts", type_ = "string", json_path = ".status.conditions[?(@.type==\"Counted\")].status"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Grant-Namespace", type_ = "string", priority = 1, json_path = ".spec.grantRef.namespace"),
    printcolumn(name = "Comment", type_ = "string", priority = 1, json_path = ".spec.comment"),
    printcolumn(
        name = "Message",
        type_ = "string",
        priority = 1,
        json_path = ".status.conditions[?(@.type==\"Counted\")].message"
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self == oldSelf").message("spec: a GrantReview is immutable; delete it (which takes back an approval that is not used yet) and create a new one"))]
#[x_kube(validation = Rule::new("!has(self.maxDuration) || self.decision == 'Approve'").message("maxDuration: only an Approve can shorten a grant; leave it out, or decide Approve"))]
pub struct GrantReviewSpec {
    /// The SecureBucket, in the namespace of this review.
    pub bucket_ref: LocalBucketRef,
    /// The DecryptGrant.
    pub grant_ref: GrantRef,
    /// `status.resolved.termsHash` of the grant, 64 hex digits: what is agreed to.
    #[schemars(length(min = 64, max = 64), regex(pattern = r"^[0-9a-f]{64}$"))]
    pub terms_hash: String,
    /// The word.
    pub decision: Decision,
    /// Why, for auditors. Never a secret: it is shown in events and logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub comment: Option<String>,
    /// Who writes this: the authenticated user, or the API server refuses it.
    pub reviewer: Reviewer,
    /// An `Approve` may shorten what was asked for, never lengthen it. The shortest of all approvals that count is issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) > duration('0s') && duration(self) <= duration('720h')").message("maxDuration: more than 0s and at most 720h"))]
    pub max_duration: Option<DurationText>,
}

/// A SecureBucket of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LocalBucketRef {
    /// Name of the SecureBucket.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
}

/// One DecryptGrant, and no other that is made under its name later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GrantRef {
    /// Namespace of the DecryptGrant.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub namespace: String,
    /// Its name.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
    /// Its `metadata.uid`.
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[0-9A-Za-z-]+$"))]
    pub uid: String,
}

/// The word of a reviewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Decision {
    /// Agrees to these terms.
    Approve,
    /// Refuses: one is enough, before access begins. Needs the verb `approve`, as an approval does.
    Deny,
    /// Ends a grant that lives; before it begins, it refuses. Needs the verb `revoke`.
    Revoke,
}

/// Whether the review counts.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GrantReviewStatus {
    /// Generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Counted`: whether it counts, or why not and what to do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}
