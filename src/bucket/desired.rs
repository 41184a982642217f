//! From a `SecureBucket` to what should be in AWS. Pure.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use super::lockdown::{self, Lock};
use super::observed::{LifecycleRule, abort_rule};
use super::policies::{DutyRoles, bucket_policy};
use super::rules::{DEFAULT_APPROVALS, break_glass, max_open_per_subject, pending_ttl, ticket_rule};
use crate::api::SecureBucket;
use crate::api::grants::ApproverCount;
use crate::api::secure_bucket::{AccessEntry, Duty, EffectiveSpec, ForeignGrants, VersioningState};
use crate::api::types::Toggle;
use crate::domain::arn::Place;
use crate::domain::identity;
use crate::domain::installation::Installation;
use crate::domain::policy::Statement;
use crate::domain::prefix::Prefixes;
use crate::domain::tags::{self, Tags};
use crate::domain::time::{format_duration, parse_duration};
use crate::grant::policy::check_rules;

/// Default of `grants.maxDuration`.
pub const DEFAULT_MAX_DURATION: SignedDuration = SignedDuration::from_hours(8);

/// Who and where a SecureBucket is; independent of its spec but for the region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// Uid of the object.
    pub uid: String,
    /// 16 hex digits.
    pub identity: String,
    /// Partition, account and region of bucket and key.
    pub place: Place,
    /// Name of the bucket.
    pub bucket: String,
}

impl Names {
    /// ARN of the bucket.
    pub fn bucket_arn(&self) -> String {
        self.place.bucket(&self.bucket)
    }

    /// Alias of the key.
    pub fn alias(&self, install: &Installation) -> String {
        identity::key_alias(&install.cluster, &self.identity)
    }
}

/// What should be in AWS for one SecureBucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// Names.
    pub names: Names,
    /// Roles in key and bucket policy.
    pub duties: DutyRoles,
    /// S3 Bucket Key.
    pub bucket_key: bool,
    /// Days between rotations.
    pub rotation_days: i32,
    /// `Enabled` or `Suspended`.
    pub versioning: &'static str,
    /// Lifecycle rules.
    pub lifecycle: Vec<LifecycleRule>,
    /// Marks and user tags.
    pub tags: Tags,
    /// Keys of the user tags.
    pub user_tags: Vec<String>,
    /// User tags of an earlier spec, to be removed.
    pub tags_before: Vec<String>,
    /// The lockdown in force: nothing is given while there is one.
    pub lock: Option<Lock>,
    /// Values in force.
    pub effective: EffectiveSpec,
}

impl Desired {
    /// The bucket policy, for a bucket under this key.
    pub fn bucket_policy(&self, install: &Installation, key_arn: &str) -> Vec<Statement> {
        let mut all = self.open_bucket_policy(install, key_arn);
        all.extend(self.lockdown(install));
        all
    }

    /// The same without what a lockdown adds.
    pub fn open_bucket_policy(&self, install: &Installation, key_arn: &str) -> Vec<Statement> {
        bucket_policy(install, &self.names.bucket_arn(), key_arn, &self.duties)
    }

    /// What the lockdown adds to the bucket policy.
    pub fn lockdown(&self, install: &Installation) -> Vec<Statement> {
        self.lock.iter().flat_map(|lock| lockdown::statements(lock, &self.names.bucket_arn(), install)).collect()
    }
}

/// A spec that cannot be carried out: the field, what is wrong, and the way out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct Invalid {
    /// Path of the field.
    pub field: String,
    /// What is wrong and what to do.
    pub problem: String,
}

fn invalid<T>(field: impl Into<String>, problem: impl Into<String>) -> Result<T, Invalid> {
    Err(Invalid { field: field.into(), problem: problem.into() })
}

/// Names of the AWS objects of this SecureBucket. Values that status has bound win over the spec, which cannot move them.
///
/// # Errors
/// If region or bucket name cannot be had in this installation.
pub fn names(bucket: &SecureBucket, namespace_uid: &str, install: &Installation) -> Result<Names, Invalid> {
    let namespace = bucket.metadata.namespace.clone().unwrap_or_default();
    let name = bucket.metadata.name.clone().unwrap_or_default();
    let status = bucket.status.as_ref();
    let bound = status.filter(|s| s.bucket_arn.is_some());
    if let Some(account) = bound.and_then(|s| s.account_id.as_ref()).filter(|a| **a != install.place.account) {
        return invalid(
            "status.accountId",
            format!(
                "the bucket is in account {account} and the operator in {}; run the operator there, or create another SecureBucket",
                install.place.account
            ),
        );
    }
    let identity = bound.and_then(|s| s.identity.clone());
    let identity = identity.unwrap_or_else(|| identity::bucket_identity(&install.cluster, namespace_uid, &name));
    let region = bound.and_then(|s| s.region.clone()).or_else(|| bucket.spec.region.clone());
    let region = region.unwrap_or_else(|| install.place.region.clone());
    if !install.serves(&region) {
        let known =
            std::iter::once(&install.place.region).chain(&install.regions).cloned().collect::<Vec<_>>().join(", ");
        return invalid(
            "spec.region",
            format!(
                "{region} is not a region of this installation (it serves {known}); use one of these, or start the operator with --regions"
            ),
        );
    }
    let bucket_name = bound.and_then(|s| s.bucket_name.clone()).or_else(|| bucket.spec.bucket_name.clone());
    let bucket_name = bucket_name
        .unwrap_or_else(|| identity::default_bucket_name(&install.bucket_prefix, &namespace, &name, &identity));
    if !bucket_name.starts_with(&format!("{}-", install.bucket_prefix)) {
        return invalid(
            "spec.bucketName",
            format!(
                "{bucket_name} does not begin with {:?}, the prefix that this installation's IAM policy is limited to; add it, or leave bucketName out",
                format!("{}-", install.bucket_prefix)
            ),
        );
    }
    let place = install.place_in(&region);
    let uid = bucket.metadata.uid.clone().unwrap_or_default();
    Ok(Names { namespace, name, uid, identity, place, bucket: bucket_name })
}

/// Everything that should be in AWS. While the object is being deleted nobody holds a duty (`Retain`: the rest stays as it is).
///
/// # Errors
/// If the spec cannot be carried out.
pub fn desired(bucket: &SecureBucket, namespace_uid: &str, install: &Installation) -> Result<Desired, Invalid> {
    let names = names(bucket, namespace_uid, install)?;
    let spec = &bucket.spec;
    let encryption = spec.encryption.clone().unwrap_or_default();
    let bucket_key = encryption.bucket_key.unwrap_or_default();
    let rotation_days = encryption.rotation_period_days.unwrap_or(365);
    let versioning = spec.versioning.unwrap_or_default();
    let releasing = bucket.metadata.deletion_timestamp.is_some();
    let duties = if releasing { DutyRoles::default() } else { duty_roles(&spec.access, &names.namespace, install)? };
    let grants = spec.grants.clone().unwrap_or_default();
    let max = max_duration(bucket, install)?;
    ticket_rule(bucket)?;
    check_rules(bucket)?;
    break_glass(bucket, install)?;
    let mut tag_map: Tags = spec.tags.iter().map(|(k, v)| (k.clone(), v.0.clone())).collect();
    let user_tags = tag_map.keys().cloned().collect();
    tag_map.extend(marks(&names, install));
    Ok(Desired {
        duties,
        bucket_key: bucket_key == Toggle::Enabled,
        rotation_days,
        versioning: if versioning == VersioningState::Enabled { "Enabled" } else { "Suspended" },
        lifecycle: vec![abort_rule()],
        tags: tag_map,
        user_tags,
        lock: lockdown::lock(bucket),
        tags_before: bucket.status.as_ref().map(|s| s.managed_tags.clone()).unwrap_or_default(),
        effective: EffectiveSpec {
            bucket_key,
            rotation_period_days: rotation_days,
            versioning,
            deletion_policy: spec.deletion_policy.unwrap_or_default(),
            grant_namespaces: grant_namespaces(bucket),
            max_duration: format_duration(max),
            approvals: grants.approvals.unwrap_or(DEFAULT_APPROVALS),
            foreign_grants: Some(spec.foreign_grants.unwrap_or_default()),
            approvers: (grants.approvers.iter())
                .map(|set| ApproverCount { name: set.name.0.clone(), at_least: set.at_least.unwrap_or_default() })
                .collect(),
            self_approval: Some(grants.self_approval.unwrap_or_default()),
            pending_ttl: Some(format_duration(pending_ttl(bucket)?)),
            max_open_per_subject: Some(max_open_per_subject(bucket)),
            allow_default_service_account: Some(grants.allow_default_service_account.unwrap_or_default()),
        },
        names,
    })
}

/// True if KMS grants that somebody else makes on the key are revoked.
pub fn revokes_foreign(bucket: &SecureBucket) -> bool {
    bucket.spec.foreign_grants == Some(ForeignGrants::Revoke)
}

/// Owner marks.
pub fn marks(names: &Names, install: &Installation) -> Tags {
    BTreeMap::from([
        (tags::CLUSTER.to_owned(), install.cluster.clone()),
        (tags::IDENTITY.to_owned(), names.identity.clone()),
        (tags::UID.to_owned(), names.uid.clone()),
        (tags::NAMESPACE.to_owned(), names.namespace.clone()),
        (tags::NAME.to_owned(), names.name.clone()),
    ])
}

/// Namespaces whose workloads may ask: the bucket's own, and those that its owner named.
pub fn grant_namespaces(bucket: &SecureBucket) -> Vec<String> {
    let mut all: Vec<String> = bucket.metadata.namespace.clone().into_iter().collect();
    all.extend(bucket.spec.grants.iter().flat_map(|g| g.allowed_namespaces.iter().map(|n| n.0.clone())));
    all.sort();
    all.dedup();
    all
}

/// Longest grant on this bucket: what its owner allows, within what the installation allows.
///
/// # Errors
/// If the owner's text is not a duration.
pub fn max_duration(bucket: &SecureBucket, install: &Installation) -> Result<SignedDuration, Invalid> {
    let ceiling = SignedDuration::try_from(install.timing.grant_ceiling).unwrap_or(SignedDuration::MAX);
    let text = bucket.spec.grants.as_ref().and_then(|g| g.max_duration.as_ref());
    let Some(text) = text else { return Ok(DEFAULT_MAX_DURATION.min(ceiling)) };
    match parse_duration(&text.0) {
        Ok(asked) => Ok(asked.min(ceiling)),
        Err(e) => invalid("spec.grants.maxDuration", format!("{e}; write for example 8h")),
    }
}

fn duty_roles(access: &[AccessEntry], namespace: &str, install: &Installation) -> Result<DutyRoles, Invalid> {
    let mut roles = DutyRoles::default();
    let mut seen = BTreeMap::new();
    for (index, entry) in access.iter().enumerate() {
        let field = format!("spec.access[{index}] ({})", entry.name);
        if let Some(other) = seen.insert(&entry.service_account_ref.name, &entry.name) {
            return invalid(
                format!("{field}.serviceAccountRef.name"),
                format!(
                    "{} has a duty already, in entry {other}; one duty per ServiceAccount and bucket",
                    entry.service_account_ref.name
                ),
            );
        }
        entry_prefixes(entry).or_else(|problem| invalid(format!("{field}.prefixes"), problem))?;
        let role = install.role_arn(namespace, &entry.service_account_ref.name);
        match entry.duty {
            Duty::Producer => roles.producers.push(role),
            Duty::Processor => roles.processors.push(role),
            Duty::Auditor => {}
        }
    }
    roles.producers.sort();
    roles.processors.sort();
    Ok(roles)
}

/// Prefixes of an entry in normal form; `None` for an Auditor.
///
/// # Errors
/// In words, if they are not as the duty needs them.
pub fn entry_prefixes(entry: &AccessEntry) -> Result<Option<Prefixes>, String> {
    if entry.duty == Duty::Auditor {
        return Ok(None);
    }
    let texts: Vec<&str> = entry.prefixes.iter().map(|p| p.0.as_str()).collect();
    Prefixes::parse(&texts).map(Some).map_err(|e| e.to_string())
}
