//! `spec.grants` of a SecureBucket: who may ask for a DecryptGrant, who must agree, and what waits for that.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::types::{DurationText, SetName};

/// Terms for DecryptGrants on this bucket.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GrantsSpec {
    /// Namespaces whose workloads may ask, beside this one. An empty list adds none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub allowed_namespaces: Vec<NamespaceName>,
    /// Longest duration that a grant may ask for. Default `8h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_duration: Option<DurationText>,
    /// Approvals by different persons that a grant needs, 0–5. Default 1. With 0 a grant within these terms is approved by this policy at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 5))]
    pub approvals: Option<i32>,
    /// Who may approve, beside RBAC (verb `approve` on this SecureBucket). With any set, only members of a set count. An approval fills one place:
    /// sets whose `atLeast` add up to more than `approvals` ask for that many.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[x_kube(validation = Rule::new("self.map(s, has(s.atLeast) ? s.atLeast : 0).sum() <= 5").message("approvers: the values of atLeast add up to more than 5 approvals; lower them"))]
    pub approvers: Vec<ApproverSet>,
    /// Whether somebody may approve what he asked for: `Forbid` is the only value, and the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub self_approval: Option<SelfApproval>,
    /// Regular expression that `ticket` of a request must match as a whole (RE2 syntax, of the crate `regex`): `SEC-[0-9]+`. With it, a ticket is
    /// compulsory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub ticket_pattern: Option<String>,
    /// How long a request waits for approval before it ends, `15m` to `168h`, counted from its creation. Default `24h`.
    #[serde(default, rename = "pendingTTL", skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('15m') && duration(self) <= duration('168h')").message("pendingTTL: at least 15m and at most 168h"))]
    pub pending_ttl: Option<DurationText>,
    /// Requests and grants that one ServiceAccount may have open on this bucket at once, 1–32. Default 5. The youngest beyond it wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 32))]
    pub max_open_per_subject: Option<i32>,
    /// Whether a ServiceAccount `default` may be the subject of a grant. Default false: every pod without a ServiceAccount of its own runs as it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_default_service_account: Option<bool>,
    /// Rules in CEL that refuse a request, whoever would agree: it is refused as soon as one of them holds, when it is made or when access would
    /// begin. A rule that says neither true nor false of a request refuses it too. They may name `request.namespace`, `request.serviceAccount`,
    /// `request.prefixes`, `request.duration`, `request.durationSeconds`, `request.notBefore?`, `request.reason`, `request.ticket?`, `request.extends?`, `request.breakGlass`,
    /// `request.requester.username`, `request.requester.uid?`, `request.requester.session?`, `bucket.namespace` and `bucket.name`; what has a `?` may
    /// be absent: ask `has(request.ticket)` first. With a rule, here or in `autoApprove`, a request needs a `requester`, whatever `approvals` says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub deny: Vec<RequestRule>,
    /// Rules in CEL, over the same names as those of `deny`, that stand in for every approval by people: one of them must hold when the request is
    /// made, and one when access begins. A rule that says neither true nor false of a request does not approve it. `deny` wins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub auto_approve: Vec<RequestRule>,
    /// Lets whoever holds the verb `breakglass` on this SecureBucket have access at once, without approval, for a short time, and reviewed afterwards.
    /// Without it nobody may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub break_glass: Option<BreakGlassSpec>,
    /// ServiceAccounts, `<namespace>/<name>`, that may ask for grants as requester. What they ask for needs one approval more. No other `system:`
    /// user may ask.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub robots: Vec<ServiceAccountName>,
}

/// Name of a namespace (a DNS label).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct NamespaceName(
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))] pub String,
);

/// A ServiceAccount with its namespace: `payroll/deployer`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ServiceAccountName(
    #[schemars(
        length(min = 3, max = 317),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?/[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub String,
);

/// Name of a user or group, as the API server's authentication gives it. `system:` names are not of people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct SubjectName(#[schemars(length(min = 1, max = 256))] pub String);

/// Some of those who may approve.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(has(self.users) && size(self.users) > 0) || (has(self.groups) && size(self.groups) > 0) || (has(self.serviceAccounts) && size(self.serviceAccounts) > 0)").message("approvers: a set needs users, groups or serviceAccounts"))]
pub struct ApproverSet {
    /// Name of the set, shown with each approval.
    pub name: SetName,
    /// User names, compared without regard to case.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("self.all(u, !u.startsWith('system:'))").message("approvers[].users: 'system:' users are not people; write ServiceAccounts into serviceAccounts"))]
    pub users: Vec<SubjectName>,
    /// Groups, exactly as the API server's authentication gives them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("self.all(g, !g.startsWith('system:'))").message("approvers[].groups: 'system:' groups hold everybody or robots; name a group of people"))]
    pub groups: Vec<SubjectName>,
    /// ServiceAccounts, `<namespace>/<name>`: robots that may review. A grant that one of them approves needs one approval more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub service_accounts: Vec<ServiceAccountName>,
    /// How many members of this set must approve, 0–5. Without it: 0, members count towards `approvals` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 5))]
    pub at_least: Option<i32>,
}

/// A rule over requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestRule {
    /// Name of the rule, for conditions and logs.
    pub name: SetName,
    /// The rule, in CEL: `request.duration > duration('4h')`. Gives true or false. Bounded: what is too large is refused, and what takes too many
    /// steps is cut off.
    #[schemars(length(min = 1, max = 1024))]
    pub expression: String,
    /// What the requester is told where the rule decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub message: Option<String>,
}

/// Access at once, and reviewed afterwards.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BreakGlassSpec {
    /// Longest duration. Default `1h`; never more than `grants.maxDuration`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_duration: Option<DurationText>,
    /// How long after its beginning the review is due, `15m` to `168h`. Default `24h`. Until it is written there is no further break-glass on this
    /// SecureBucket, overdue or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('15m') && duration(self) <= duration('168h')").message("reviewWithin: at least 15m and at most 168h"))]
    pub review_within: Option<DurationText>,
}

/// Whether somebody may approve what he asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SelfApproval {
    /// He may not.
    #[default]
    Forbid,
}

/// A set of approvers, and how many of it must approve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApproverCount {
    /// Name of the set.
    pub name: String,
    /// How many.
    pub at_least: i32,
}

/// A request that waits for approval, or access that waits for its review, as an approver needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PendingGrant {
    /// Namespace of the DecryptGrant.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Its name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its uid.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// User name of who asks.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub requester: String,
    /// The ServiceAccount that would read: everyone who can run pods or mint tokens as it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub service_account: String,
    /// Prefixes in normal form.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prefixes: Vec<String>,
    /// Duration asked for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub duration: String,
    /// When access begins at the earliest (RFC 3339), if not as soon as it is approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<String>,
    /// True: access began without approval, and somebody else than who asked has to review it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub break_glass: Option<bool>,
    /// Name of the DecryptGrant of the same namespace that it extends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extends: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Ticket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// What a GrantReview must name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub terms_hash: String,
    /// Approvals that count, and needed ones: `1 of 2`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub approvals: String,
    /// When the request ends without approval, or the review is due (RFC 3339).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub expires_at: String,
}
