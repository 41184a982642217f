//! `DecryptGrant`: a ServiceAccount's time-limited right to read, asked for by somebody, ended by AWS itself.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::grant_review::Decision;
use super::grants::ApproverSet;
use super::types::{DurationText, Identity, InstantText, PrefixText, ServiceAccountRef};

/// A request that one ServiceAccount of this namespace may read from a SecureBucket for a while. Immutable: a change is a new request.
/// Deleting it hands the access back; the object stays until the removal has been read back from AWS.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "securebucket.io",
    version = "v1alpha1",
    kind = "DecryptGrant",
    doc = "A request that one ServiceAccount of this namespace may read from a SecureBucket for a while. Immutable. Deleting it hands the access back.",
    plural = "decryptgrants",
    shortname = "dgrant",
    category = "securebucket-all",
    namespaced,
    status = "DecryptGrantStatus",
    selectable = ".spec.bucketRef.name",
    selectable = ".spec.subject.serviceAccountRef.name",
    validation = Rule::new("size(self.metadata.name) <= 63").message("metadata.name: at most 63 characters, because labels carry it"),
    printcolumn(name = "Bucket", type_ = "string", json_path = ".status.bucket"),
    printcolumn(name = "Requester", type_ = "string", json_path = ".spec.requester.username"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.conditions[?(@.type==\"Active\")].reason"),
    printcolumn(name = "Expires", type_ = "string", json_path = ".status.expiresAt"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Subject", type_ = "string", priority = 1, json_path = ".spec.subject.serviceAccountRef.name"),
    printcolumn(name = "Prefixes", type_ = "string", priority = 1, json_path = ".spec.prefixes"),
    printcolumn(name = "Reason", type_ = "string", priority = 1, json_path = ".spec.reason"),
    printcolumn(name = "Message", type_ = "string", priority = 1, json_path = ".status.conditions[?(@.type==\"Active\")].message")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self == oldSelf").message("spec: a DecryptGrant is immutable; delete it (which hands the access back) and create a new one"))]
#[x_kube(validation = Rule::new("!has(self.extends) || !has(self.notBefore)").message("extends: an extension begins when it is approved; leave notBefore out"))]
#[x_kube(validation = Rule::new("!has(self.breakGlass) || !self.breakGlass || (!has(self.notBefore) && !has(self.extends))").message("breakGlass: it begins at once and by itself; leave notBefore and extends out"))]
pub struct DecryptGrantSpec {
    /// The SecureBucket to read from. Its owner's consent is `grants.allowedNamespaces` there.
    pub bucket_ref: BucketRef,
    /// Who may read.
    pub subject: Subject,
    /// What may be read: 1–8 key prefixes, or `*` alone.
    #[schemars(length(min = 1, max = 8))]
    #[x_kube(validation = Rule::new(r#"self.all(p, p == '*' || p.matches(r"^[A-Za-z0-9!_.'()/=+@:,-]+/$"))"#).message("prefixes: write a path that ends in '/', of letters, digits and !_.'()/=+@:,- , without wildcards or variables; or '*' alone for the whole bucket"))]
    pub prefixes: Vec<PrefixText>,
    /// How long, counted from activation: `15m`, `4h`. At least the installation's floor, at most the bucket's `grants.maxDuration`.
    #[x_kube(validation = Rule::new("duration(self) > duration('0s') && duration(self) <= duration('720h')").message("duration: more than 0s and at most 720h"))]
    pub duration: DurationText,
    /// When the access begins at the earliest (RFC 3339): at most 7 days after the request was created. Without it: as soon as it is approved. The
    /// window is opened within an hour of that time, or not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<InstantText>,
    /// Why, for the people who approve and audit. Never a secret: it is shown in events and logs.
    #[schemars(length(min = 3, max = 512))]
    pub reason: String,
    /// Number of a ticket, where the bucket's owner asks for one (`grants.ticketPattern`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._/#-]*$"))]
    pub ticket: Option<String>,
    /// The DecryptGrant of this namespace that this one goes on from: on the same bucket, for the same ServiceAccount, under no further prefixes. It
    /// is a request of its own, approved anew; its window begins when it is approved, while the other is active, and each window runs to its own end.
    /// From the first beginning of such a chain to its last end it is at most the bucket's `grants.maxDuration`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extends: Option<ExtendedRef>,
    /// True: access at once, without approval, where the bucket allows it (`grants.breakGlass`) and the requester holds the verb `breakglass` on
    /// it. It is short and loud, begins at once or never, and somebody else has to review it afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub break_glass: Option<bool>,
    /// Who asks: the authenticated user, or the API server refuses it. Needed where the bucket asks for approvals, because nobody approves what he
    /// asked for himself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requester: Option<Identity>,
}

/// A SecureBucket by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BucketRef {
    /// Name of the SecureBucket.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
    /// Its namespace; without it, the grant's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub namespace: Option<String>,
}

/// A DecryptGrant of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExtendedRef {
    /// Its name.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
}

/// Who may read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Subject {
    /// A ServiceAccount of the grant's own namespace.
    pub service_account_ref: ServiceAccountRef,
}

/// What was decided, issued and proved.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DecryptGrantStatus {
    /// Generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Reviewed` of access without approval, `Approved` or `Denied`, `Active` (its reason is the state in one word), `Ready`, `Reconciling` and `Stalled` (only while True), and
    /// `WorkloadBound`, which informs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// `<namespace>/<name>` of the SecureBucket asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<String>,
    /// The request with every name resolved; written once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved: Option<ResolvedTerms>,
    /// The bucket's rules for approval when the request was resolved; written once. The rules at activation hold beside them: both must be met.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval_rules: Option<ApprovalRules>,
    /// When the request ends if it is not approved by then (RFC 3339); written once, with `approvalRules`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_until: Option<String>,
    /// Approvals that count, oldest first. They stand as they are once access has begun.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub approvals: Vec<ApprovalStatus>,
    /// The duration that is issued where a reviewer shortened it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shortened_to: Option<String>,
    /// When the clock of this grant started (RFC 3339, AWS's clock); written once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activated_at: Option<String>,
    /// From when on the access can be used everywhere: activation plus the configured propagation time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usable_by: Option<String>,
    /// The end, absolute, written once, before anything is written to AWS. The same instant stands in the role's policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// What enforces the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiry_enforcement: Option<String>,
    /// Of access that began without approval: the review that it needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub break_glass: Option<BreakGlassStatus>,
    /// The KMS grant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_grant: Option<KmsGrantStatus>,
    /// Why and when it ended; written once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<EndStatus>,
    /// Other open grants, and a Processor's duty, through which the same ServiceAccount goes on to read under overlapping prefixes of the
    /// bucket after this grant has ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub still_readable_through: Vec<String>,
    /// The proof that nothing of it is left; written once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removal: Option<RemovalStatus>,
}

/// The request with every name resolved to what it meant when it was resolved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResolvedTerms {
    /// Namespace of the SecureBucket.
    pub bucket_namespace: String,
    /// Name of the SecureBucket.
    pub bucket_name: String,
    /// Uid of the SecureBucket.
    pub bucket_uid: String,
    /// Identity of the SecureBucket, as in its status.
    pub bucket_identity: String,
    /// ARN of the S3 bucket.
    pub bucket_arn: String,
    /// ARN of the KMS key.
    pub key_arn: String,
    /// ServiceAccount of the grant's namespace.
    pub service_account: String,
    /// Its uid: a ServiceAccount made anew under the name does not inherit the grant.
    pub service_account_uid: String,
    /// The role that reads.
    pub role_arn: String,
    /// Prefixes, equal and nested ones collapsed.
    pub prefixes: Vec<String>,
    /// Length in seconds.
    pub duration_seconds: i64,
    /// When the window opens at the earliest (RFC 3339, UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<String>,
    /// The DecryptGrant that it extends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extends: Option<ExtendedTerms>,
    /// True if it is to begin without approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub break_glass: Option<bool>,
    /// SHA-256 over all of the above and the grant's uid: what an approval speaks of.
    pub terms_hash: String,
}

/// The DecryptGrant that another one extends, as it was when that was resolved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExtendedTerms {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// When the first grant of the chain began (RFC 3339): the bucket's `grants.maxDuration` counts from then.
    pub since: String,
}

/// The bucket's rules for approval at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalRules {
    /// Approvals by different persons: `grants.approvals`, one more if a robot asks.
    pub approvals: i32,
    /// Sets of approvers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub approvers: Vec<ApproverSet>,
    /// The rule of `grants.autoApprove` that stands in for them: then there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_approved_by: Option<String>,
}

/// An approval that counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalStatus {
    /// Name of the GrantReview in the namespace of the bucket.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub review: String,
    /// User name of the reviewer.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reviewer: String,
    /// Uid of the GrantReview.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// When the review was made (RFC 3339).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub at: String,
    /// The set of approvers whose place it fills.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<String>,
}

/// Access that began without approval.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BreakGlassStatus {
    /// When the review is due (RFC 3339); written once.
    pub review_by: String,
    /// The review, once somebody else wrote it; written once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review: Option<AfterReview>,
}

/// The review of access that began without approval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AfterReview {
    /// Name of the GrantReview in the namespace of the bucket.
    pub review: String,
    /// Its uid.
    pub uid: String,
    /// User name of the reviewer.
    pub reviewer: String,
    /// His word.
    pub decision: Decision,
    /// When it was made (RFC 3339).
    pub at: String,
}

/// The KMS grant of this DecryptGrant. Issued once per uid; never issued again, whatever happens to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KmsGrantStatus {
    /// `Name` of the grant: from cluster, uid and a hash with the role's id. Known before the call, so a lost reply makes no second grant.
    pub name: String,
    /// Unique id (`AROA…`) of the role at issue: a role made anew under the name is another principal to KMS.
    pub role_id: String,
    /// Id of the grant, once `ListGrants` has shown it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// Why and when a grant ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndStatus {
    /// The state that it ended in.
    pub reason: EndReason,
    /// When (RFC 3339).
    pub at: String,
    /// In words.
    pub message: String,
    /// The GrantReview, in the namespace of the bucket, that ended it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review: Option<String>,
    /// The rule of the bucket's `grants.deny` that refused it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
}

/// Why a grant ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum EndReason {
    /// Its time passed.
    Expired,
    /// Deleted by its holder.
    HandedBack,
    /// Taken away: by a reviewer's `Revoke`, or because the KMS grant or the role was removed outside the operator, the key was disabled, or the ServiceAccount was replaced.
    Revoked,
    /// The SecureBucket is gone or is being deleted.
    BucketGone,
    /// The SecureBucket was locked down. Lifting the lockdown does not bring the grant back.
    LockedDown,
    /// Refused before it began.
    Denied,
    /// Not approved in time (`grants.pendingTTL`).
    ApprovalTimedOut,
    /// Approved, and not begun within an hour of its approval or of `notBefore`.
    Lapsed,
}

/// The proof of removal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RemovalStatus {
    /// When absence was read back (RFC 3339).
    pub verified_at: String,
    /// What was read.
    pub evidence: String,
}
