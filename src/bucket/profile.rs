//! The ConfigMap that tells a workload how to reach a bucket. Pure.

use std::collections::BTreeMap;

use crate::domain::arn::Place;

/// Bucket, key, role and a ready AWS profile, as the data of a ConfigMap.
pub fn profile(
    place: &Place,
    bucket: &str,
    key_arn: &str,
    role_arn: &str,
    prefixes: &str,
    profile_name: &str,
) -> BTreeMap<String, String> {
    // The token file is where EKS mounts it (EKS User Guide, pod-configuration); a pod whose ServiceAccount carries the role's annotation
    // needs no profile at all.
    let config = format!(
        "[profile {profile_name}]\nrole_arn = {role_arn}\nweb_identity_token_file = /var/run/secrets/eks.amazonaws.com/serviceaccount/token\nregion = {}\n",
        place.region
    );
    BTreeMap::from([
        ("bucket".to_owned(), bucket.to_owned()),
        ("region".to_owned(), place.region.clone()),
        ("keyArn".to_owned(), key_arn.to_owned()),
        ("roleArn".to_owned(), role_arn.to_owned()),
        ("prefixes".to_owned(), prefixes.to_owned()),
        ("config".to_owned(), config),
    ])
}

/// Name of the ConfigMap of an access entry.
pub fn access_config_map(bucket: &str, entry: &str) -> String {
    format!("securebucket-{bucket}-{entry}")
}

/// Name of the ConfigMap of a grant. The part `grant.` cannot be the name of an access entry, so the two never meet.
pub fn grant_config_map(bucket: &str, grant: &str) -> String {
    format!("securebucket-{bucket}-grant.{grant}")
}
