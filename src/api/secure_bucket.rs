//! `SecureBucket`: an S3 bucket under its own KMS key, and who holds which standing duty on it.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::grants::{ApproverCount, GrantsSpec, PendingGrant, SelfApproval};
use super::lockdown::{LiftedLockdown, LockdownSpec, LockdownStatus};
use super::types::{PrefixText, ServiceAccountRef, Toggle};

/// An S3 bucket with SSE-KMS under a dedicated key, hardened policies and one IAM role per ServiceAccount with a duty.
/// `spec: {}` is complete: everything that makes the bucket safe is on by default.
///
/// The category of both kinds is `securebucket-all`: kubectl looks for a category before it looks for a singular name, so with a category
/// `securebucket` the command `kubectl get securebucket NAME` would be refused.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "securebucket.io",
    version = "v1alpha1",
    kind = "SecureBucket",
    doc = "An S3 bucket with SSE-KMS under a dedicated key, hardened policies and one IAM role per ServiceAccount with a duty. `spec: {}` is complete.",
    plural = "securebuckets",
    shortname = "sbkt",
    category = "securebucket-all",
    namespaced,
    status = "SecureBucketStatus",
    selectable = ".spec.bucketName",
    validation = Rule::new("size(self.metadata.name) <= 63").message("metadata.name: at most 63 characters, because names of AWS objects and labels carry it"),
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.bucketArn) || !has(self.spec.bucketName) || self.spec.bucketName == oldSelf.status.bucketName").message("spec.bucketName: immutable once the bucket exists; create another SecureBucket and copy the data"),
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.bucketArn) || !has(self.spec.region) || self.spec.region == oldSelf.status.region").message("spec.region: immutable once the bucket exists; create another SecureBucket and copy the data"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Bucket", type_ = "string", json_path = ".status.bucketName"),
    printcolumn(name = "Region", type_ = "string", json_path = ".status.region"),
    printcolumn(name = "Grants", type_ = "integer", json_path = ".status.activeGrants"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Key", type_ = "string", priority = 1, json_path = ".status.keyArn"),
    printcolumn(name = "Message", type_ = "string", priority = 1, json_path = ".status.conditions[?(@.type==\"Ready\")].message")
)]
#[serde(rename_all = "camelCase")]
pub struct SecureBucketSpec {
    /// Name of the S3 bucket: 3–63 of `a-z0-9-`, starting with the installation's prefix. Immutable once the bucket exists.
    /// Without it: `<prefix>-<namespace>-<name>-<8 hex of the identity>`.
    /// Source: S3 User Guide, bucketnamingrules (dots are refused here: they break TLS host names).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 63), regex(pattern = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])$"))]
    #[x_kube(validation = Rule::new("!self.startsWith('xn--') && !self.startsWith('sthree-') && !self.startsWith('amzn-s3-demo-') && !self.endsWith('-s3alias') && !self.endsWith('--ol-s3') && !self.endsWith('--x-s3') && !self.endsWith('--table-s3') && !self.endsWith('-an')").message("bucketName: this prefix or suffix is reserved by S3"))]
    pub bucket_name: Option<String>,

    /// AWS region of bucket and key, for example `eu-west-1`. Immutable once the bucket exists. Without it: the operator's own region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 5, max = 32), regex(pattern = r"^[a-z]{2,4}(-[a-z]+)+-[0-9]+$"))]
    pub region: Option<String>,

    /// SSE-KMS settings. There is no way to turn encryption off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<EncryptionSpec>,

    /// `Enabled` (default) keeps every version of every object; `Suspended` keeps the versions that exist and makes no new ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub versioning: Option<VersioningState>,

    /// Tags for the bucket and its key, beside the operator's own marks. Tags that others put on the bucket stay.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 40))]
    #[x_kube(validation = Rule::new("self.all(k, size(k) >= 1 && size(k) <= 128 && !k.startsWith('aws:') && !k.startsWith('securebucket.io/'))").message("tags: keys have 1 to 128 characters and do not start with 'aws:' or 'securebucket.io/', which are reserved"))]
    #[x_kube(validation = Rule::new("self.all(k, size(self[k]) <= 256 && self[k].matches('^[\\\\p{L}\\\\p{Z}\\\\p{N}_.:/=+@-]*$') && k.matches('^[\\\\p{L}\\\\p{Z}\\\\p{N}_.:/=+@-]*$'))").message("tags: values have at most 256 characters; keys and values use letters, digits, spaces and _.:/=+@-"))]
    pub tags: BTreeMap<String, BoundedText>,

    /// Standing duties: which ServiceAccount of this namespace may write, process or inspect.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[x_kube(validation = Rule::new("self.all(a, self.exists_one(b, b.serviceAccountRef.name == a.serviceAccountRef.name))").message("access: one duty per ServiceAccount and bucket; merge the entries, or use another ServiceAccount"))]
    pub access: Vec<AccessEntry>,

    /// Who may ask for a DecryptGrant on this bucket, for how long, and how many people must agree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grants: Option<GrantsSpec>,

    /// Closes the bucket at once and ends every grant on it for good. Latched in `status.lockdown`: taking the field out does not lift it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lockdown: Option<LockdownSpec>,

    /// What happens to a KMS grant on the key that somebody else made. `Report` (default) says so in the condition `ForeignAccess`, in an event
    /// and in `status.access`. `Revoke` revokes it as well. Allows in policies that are not ours are removed in either case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub foreign_grants: Option<ForeignGrants>,

    /// What happens to bucket and key when this object is deleted. `Retain` is the only policy: the data and the key stay, all workload
    /// access goes, and the same object applied again takes its own bucket and key back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
}

/// A tag value: at most 256 characters (S3 and KMS limit).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct BoundedText(#[schemars(length(max = 256))] pub String);

/// SSE-KMS settings of the bucket and its dedicated key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EncryptionSpec {
    /// S3 Bucket Key: `Enabled` (default) asks KMS rarely; `Disabled` asks KMS, and logs, for each object.
    /// The end of a grant does not depend on it: S3 itself refuses (S3 User Guide, bucket-key).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket_key: Option<Toggle>,
    /// Days between automatic rotations of the key material, 90–2560 (KMS, EnableKeyRotation). Default 365.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 90, max = 2560))]
    pub rotation_period_days: Option<i32>,
}

/// S3 versioning, in S3's own words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum VersioningState {
    /// Every overwrite keeps the earlier version.
    #[default]
    Enabled,
    /// No new versions; those that exist stay.
    Suspended,
}

/// A standing right of one ServiceAccount of the bucket's own namespace.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.duty == 'Auditor' || has(self.prefixes) && size(self.prefixes) > 0").message("prefixes: a Producer or Processor needs at least one; '*' means the whole bucket"))]
#[x_kube(validation = Rule::new("self.duty != 'Auditor' || !has(self.prefixes) || size(self.prefixes) == 0").message("prefixes: an Auditor sees configuration and names of the whole bucket and no content; leave prefixes out"))]
pub struct AccessEntry {
    /// Name of this entry; the ConfigMap with the AWS profile is `securebucket-<bucket>-<name>`.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// What the ServiceAccount may do.
    pub duty: Duty,
    /// Whose pods may do it.
    pub service_account_ref: ServiceAccountRef,
    /// Where, for Producer and Processor.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(validation = Rule::new(r#"self.all(p, p == '*' || p.matches(r"^[A-Za-z0-9!_.'()/=+@:,-]+/$"))"#).message("prefixes: write a path that ends in '/', of letters, digits and !_.'()/=+@:,- , without wildcards or variables; or '*' alone for the whole bucket"))]
    pub prefixes: Vec<PrefixText>,
}

/// A standing duty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Duty {
    /// Writes under its prefixes, never reads: no `s3:GetObject*`, not even of what it wrote.
    Producer,
    /// Reads and writes under its prefixes. The only standing right to decrypt.
    Processor,
    /// Sees configuration, object names and metadata; never content.
    Auditor,
}

/// What happens to a KMS grant that somebody else made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ForeignGrants {
    /// It is reported.
    #[default]
    Report,
    /// It is reported and revoked.
    Revoke,
}

/// What happens to the data when the object is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// Bucket, objects and key stay, marked as ours.
    #[default]
    Retain,
}

/// What was observed, and the ids of what exists in AWS.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecureBucketStatus {
    /// Generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`, `Reconciling` and `Stalled` (only while True), and one condition per AWS piece.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// 16 hex digits of hash(cluster, namespace uid, name): the owner mark on bucket and key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// AWS account, written once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// AWS region, written once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Name of the bucket, written once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket_name: Option<String>,
    /// ARN of the bucket, written when it has been created or taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket_arn: Option<String>,
    /// When bucket and key were first read back complete (RFC 3339), written once. Before it nobody gets access.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provisioned_at: Option<String>,
    /// ARN of the dedicated KMS key, written once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_arn: Option<String>,
    /// A CreateKey that has been announced and whose outcome is not known yet. KMS has no idempotency token for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_attempt: Option<KeyAttempt>,
    /// State of the key in KMS's own word (`Enabled`, `Disabled`, `PendingDeletion` …), as last seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_state: Option<String>,
    /// The lockdown in force, until its lifting has been read back from AWS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lockdown: Option<LockdownStatus>,
    /// The last lockdown that was lifted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_lockdown: Option<LiftedLockdown>,
    /// Values in force, with the defaults filled in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective: Option<EffectiveSpec>,
    /// One entry per duty: its role, and whether it is in force.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub duties: Vec<DutyStatus>,
    /// Who can decrypt now, by observation: at most 64, what somebody else gave first, then duties, then grants, those that end first
    /// before others. Empty while the key is not enabled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub access: Vec<AccessStatus>,
    /// How many found no room in `access`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_left_out: Option<i32>,
    /// DecryptGrants on this bucket that let somebody read now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_grants: Option<i32>,
    /// Requests that wait for approval: at most 32, those that expire first before others. What an approver signs, with its `termsHash`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub pending_grants: Vec<PendingGrant>,
    /// How many found no room in `pendingGrants`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_grants_left_out: Option<i32>,
    /// Tag keys that the operator wrote for `spec.tags`: those go when they leave the spec, others stay.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub managed_tags: Vec<String>,
    /// Last value of the annotation `securebucket.io/reconcile-at` that was acted upon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handled_reconcile_at: Option<String>,
}

/// An announced CreateKey.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyAttempt {
    /// Random id, also in the tags of the key that the attempt makes.
    pub id: String,
    /// When it was announced (RFC 3339).
    pub at: String,
}

/// Values in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EffectiveSpec {
    /// S3 Bucket Key.
    pub bucket_key: Toggle,
    /// Days between rotations.
    pub rotation_period_days: i32,
    /// Versioning.
    pub versioning: VersioningState,
    /// What deletion of this object does.
    pub deletion_policy: DeletionPolicy,
    /// Namespaces whose workloads may ask for a grant.
    pub grant_namespaces: Vec<String>,
    /// Longest grant.
    pub max_duration: String,
    /// Approvals that a grant needs.
    pub approvals: i32,
    /// What happens to KMS grants that somebody else made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub foreign_grants: Option<ForeignGrants>,
    /// Sets of approvers, and how many of each must approve.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvers: Vec<ApproverCount>,
    /// Whether somebody may approve what he asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub self_approval: Option<SelfApproval>,
    /// How long a request waits for approval.
    #[serde(default, rename = "pendingTTL", skip_serializing_if = "Option::is_none")]
    pub pending_ttl: Option<String>,
    /// Open grants that one ServiceAccount may have on this bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_open_per_subject: Option<i32>,
    /// Whether a ServiceAccount `default` may be the subject of a grant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_default_service_account: Option<bool>,
}

/// A duty and its role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DutyStatus {
    /// Name of the entry in `spec.access`.
    pub name: String,
    /// The duty.
    pub duty: Duty,
    /// ServiceAccount of this namespace.
    pub service_account: String,
    /// Uid of the ServiceAccount, if there is one of that name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_uid: Option<String>,
    /// Role for the annotation `eks.amazonaws.com/role-arn` of the ServiceAccount, or for the AWS profile.
    pub role_arn: String,
    /// `InForce`, or why not.
    pub state: String,
    /// True if the ServiceAccount names the role in its annotation, so that its pods have it by themselves. Otherwise annotate it, or mount
    /// the ConfigMap with the AWS profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload_bound: Option<bool>,
}

/// Somebody who can decrypt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccessStatus {
    /// ARN of the role; of a KMS grant that somebody else made, its grantee in AWS's words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub principal: String,
    /// Namespace of the ServiceAccount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The ServiceAccount that the role belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
    /// Through what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub through: Option<Through>,
    /// Name of the entry in `spec.access`, `<namespace>/<name>` of the DecryptGrant, or id of the KMS grant that somebody else made.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Uid of the DecryptGrant, and what was agreed to: what a GrantReview that revokes it must name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant_uid: Option<String>,
    /// See `grantUid`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terms_hash: Option<String>,
    /// Under which prefixes, as the role's policy has them. Of what somebody else gave it is not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prefixes: Vec<String>,
    /// The end (RFC 3339); none if it is standing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Who agreed: the field of this object that gives it, or the reviewers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreed_by: Option<String>,
    /// How long windows of this ServiceAccount on this bucket were open that began in the last 30 days, overlaps counted once and those
    /// that are open to their end. From the DecryptGrants that still exist. Many hours mean standing access in disguise.
    #[serde(default, rename = "cumulative30d", skip_serializing_if = "Option::is_none")]
    pub cumulative_30d: Option<String>,
}

impl AccessStatus {
    /// Id of the KMS grant that somebody else made.
    pub fn foreign_id(&self) -> Option<&str> {
        (self.through == Some(Through::Foreign)).then_some(self.name.as_str())
    }
}

/// What lets somebody decrypt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Through {
    /// A KMS grant that somebody else made.
    Foreign,
    /// A Processor's duty.
    Duty,
    /// A DecryptGrant.
    Grant,
}
