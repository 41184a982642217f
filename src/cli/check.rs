//! Checks of single values.

use std::time::Duration;

use crate::domain::arn::partition_and_account;
use crate::domain::time::parse_duration;

/// A value that cannot be, and the way out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{flag}: {problem}; {remedy}")]
pub struct UsageError {
    /// The flag.
    pub flag: &'static str,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub remedy: String,
}

impl UsageError {
    pub(super) fn new(flag: &'static str, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { flag, problem: problem.into(), remedy: remedy.into() }
    }
}

type Checked<T = ()> = Result<T, UsageError>;

/// `None` for an absent value and for an empty one: charts render unset values as empty variables.
pub(super) fn given(value: Option<String>) -> Option<String> {
    value.map(|v| v.trim().to_owned()).filter(|v| !v.is_empty())
}

/// The entries of a list without empty ones, for the same reason.
pub(super) fn entries(values: Vec<String>) -> Vec<String> {
    values.into_iter().filter_map(|v| given(Some(v))).collect()
}

/// Lowercase letters, digits and inner dashes, at most `max`.
fn is_label(text: &str, max: usize) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let edges = text.bytes().next().is_some_and(plain) && text.bytes().next_back().is_some_and(plain);
    edges && text.len() <= max && text.bytes().all(|b| plain(b) || b == b'-')
}

/// The alias, path and role names that carry it have room for 32, and none of them takes anything else.
pub(super) fn cluster(text: &str) -> Checked {
    if is_label(text, 32) {
        return Ok(());
    }
    let problem = format!("{text:?} is no name for a cluster");
    let remedy = "use 1 to 32 lowercase letters, digits and inner dashes; it need not be the name that EKS has for it";
    Err(UsageError::new("--cluster", problem, remedy))
}

/// Prefixes that S3 reserves (User Guide, bucketnamingrules).
const RESERVED: [&str; 3] = ["xn--", "sthree-", "amzn-s3-demo-"];

/// A bucket name is the prefix, a dash and more, at most 63 in all.
pub(super) fn bucket_prefix(text: &str, is_default: bool) -> Checked {
    let stem = format!("{text}-");
    let problem = if !is_label(text, 20) {
        format!("{text:?} is no start of a bucket name")
    } else if RESERVED.iter().any(|r| stem.starts_with(r)) {
        format!("S3 reserves bucket names that begin with {stem:?}")
    } else {
        return Ok(());
    };
    let origin = if is_default { " (the default is the cluster's name)" } else { "" };
    Err(UsageError::new(
        "--bucket-prefix",
        problem,
        format!("set 1 to 20 lowercase letters, digits and inner dashes{origin}"),
    ))
}

pub(super) fn region(flag: &'static str, text: &str) -> Checked {
    let parts: Vec<&str> = text.split('-').collect();
    let letters = |p: &&str| !p.is_empty() && p.bytes().all(|b| b.is_ascii_lowercase());
    let shaped = match parts.as_slice() {
        [head @ .., last] => {
            head.len() >= 2 && head.iter().all(letters) && !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit())
        }
        [] => false,
    };
    if shaped && text.len() <= 32 {
        return Ok(());
    }
    Err(UsageError::new(flag, format!("{text:?} is no AWS region"), "write it like eu-west-1"))
}

pub(super) fn account(text: &str) -> Checked {
    if text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(());
    }
    Err(UsageError::new("--account", format!("{text:?} is no AWS account"), "give its 12 digits"))
}

pub(super) fn partition(text: &str) -> Checked {
    if text.starts_with("aws") && is_label(text, 16) {
        return Ok(());
    }
    Err(UsageError::new("--partition", format!("{text:?} is no AWS partition"), "use aws, aws-cn, aws-us-gov, …"))
}

/// An IAM role; not one below `workloads`, the path that the operator may change.
pub(super) fn role_arn(flag: &'static str, text: &str, workloads: &str) -> Checked {
    let resource = text.splitn(6, ':').nth(5).unwrap_or_default();
    let name = resource.rsplit('/').next().unwrap_or_default();
    let iam = text.split(':').nth(2) == Some("iam") && partition_and_account(text).is_some();
    if !(iam && resource.starts_with("role/") && !name.is_empty()) {
        let remedy = "write it like arn:aws:iam::111122223333:role/name (with the role's path, if it has one)";
        return Err(UsageError::new(flag, format!("{text:?} is no ARN of an IAM role"), remedy));
    }
    if resource.starts_with(&format!("role{workloads}")) {
        let problem = format!("{text:?} lies under {workloads}, where the operator keeps the roles of workloads");
        return Err(UsageError::new(flag, problem, "use a role with another path"));
    }
    Ok(())
}

/// IAM API, CreatePolicy: `[\w+=,.@-]+`, at most 128.
pub(super) fn policy_name(text: &str) -> Checked {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b);
    if !text.is_empty() && text.len() <= 128 && text.bytes().all(allowed) {
        return Ok(());
    }
    let problem = format!("{text:?} is no name of an IAM policy");
    Err(UsageError::new("--boundary-policy-name", problem, "give the name alone, without path and ARN"))
}

pub(super) fn namespace(flag: &'static str, text: &str) -> Checked {
    if is_label(text, 63) {
        return Ok(());
    }
    Err(UsageError::new(flag, format!("{text:?} is no name of a namespace"), "separate several names with commas"))
}

/// The issuer of the cluster's tokens. IAM takes `https` alone (IAM API, CreateOpenIDConnectProvider).
pub(super) fn issuer(text: &str) -> Checked {
    let rest = text.strip_prefix("https://").unwrap_or_default();
    if !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_graphic() && !b"\"'<>?#*$\\".contains(&b)) {
        return Ok(());
    }
    let remedy = "give the https URL that `aws eks describe-cluster --query cluster.identity.oidc.issuer` prints";
    Err(UsageError::new("--oidc-issuer", format!("{text:?} is no issuer URL"), remedy))
}

pub(super) fn endpoint(text: &str) -> Checked {
    if text.starts_with("https://") || text.starts_with("http://") {
        return Ok(());
    }
    let problem = format!("{text:?} is no URL");
    Err(UsageError::new("--aws-endpoint-url", problem, "leave it out to use AWS's own endpoints"))
}

pub(super) fn duration(flag: &'static str, text: &str) -> Checked<Duration> {
    parse_duration(text).ok().and_then(|d| Duration::try_from(d).ok()).ok_or_else(|| {
        UsageError::new(flag, format!("{text:?} is no length of time"), "write it like 15m, 4h or 1h30m")
    })
}

/// A wait, which may be none: a local stack has nothing to propagate to.
pub(super) fn wait(flag: &'static str, text: &str) -> Checked<Duration> {
    if matches!(text, "0" | "0s") { Ok(Duration::ZERO) } else { duration(flag, text) }
}
