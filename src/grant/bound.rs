//! Whether the pods of a grant's ServiceAccount have its role by themselves. It informs; access does not depend on it. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::api::condition::{Set, types, update};
use crate::api::{DecryptGrant, ROLE_ARN};
use crate::bucket::profile::grant_config_map;
use crate::domain::installation::Installation;

/// What is known of the ServiceAccount: its annotation with a role, if it has one; `None` if there is no ServiceAccount.
pub type Annotation<'a> = Option<Option<&'a str>>;

/// The condition `WorkloadBound` of a grant that is not over.
pub fn bound(grant: &DecryptGrant, annotation: Annotation<'_>, install: &Installation) -> Set {
    let namespace = grant.metadata.namespace.as_deref().unwrap_or_default();
    let account = &grant.spec.subject.service_account_ref.name;
    let bucket = &grant.spec.bucket_ref.name;
    let role = install.role_arn(namespace, account);
    let map = grant_config_map(bucket, grant.metadata.name.as_deref().unwrap_or_default());
    let profile =
        format!("mount ConfigMap {map}, which is there while the grant is active, and use its AWS profile {bucket}");
    match annotation {
        None => Set::unknown(
            types::WORKLOAD_BOUND,
            "ServiceAccountNotFound",
            format!("there is no ServiceAccount {account}; create it"),
        ),
        Some(Some(named)) if named == role => Set::yes(
            types::WORKLOAD_BOUND,
            "Annotated",
            format!("ServiceAccount {account} names the role; EKS gives it to pods that start from then on"),
        ),
        Some(None) => Set::no(
            types::WORKLOAD_BOUND,
            "NotAnnotated",
            format!(
                "annotate ServiceAccount {account} with {ROLE_ARN}: {role} and start its pods anew; or annotate it with a role of its own, {profile}"
            ),
        ),
        Some(Some(_)) => Set::no(
            types::WORKLOAD_BOUND,
            "AnotherRole",
            format!(
                "ServiceAccount {account} names another role; keep it and {profile}, or annotate it with {ROLE_ARN}: {role}"
            ),
        ),
    }
}

/// Puts the condition in its place; takes it out if there is nothing to say.
pub fn put(conditions: &mut Vec<Condition>, set: Option<Set>, generation: i64, now: Timestamp) {
    let (own, others): (Vec<Condition>, Vec<Condition>) =
        std::mem::take(conditions).into_iter().partition(|c| c.type_ == types::WORKLOAD_BOUND);
    *conditions = others;
    if let Some(set) = set {
        conditions.extend(update(&own, &[set], generation, now));
    }
}
