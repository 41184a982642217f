//! Names of AWS objects, computed from the identity of Kubernetes objects, so that they are known before the objects exist.

use sha2::{Digest, Sha256};

/// First `digits` hex digits of a hash over the parts. Parts are length-prefixed, so that `("a", "bc")` and `("ab", "c")` differ.
pub fn hex(parts: &[&str], digits: usize) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let mut text: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
    text.truncate(digits);
    text
}

/// Identity of a SecureBucket: it survives the deletion of the object under Retain, and does not pass to a namespace made anew.
pub fn bucket_identity(cluster: &str, namespace_uid: &str, name: &str) -> String {
    hex(&[cluster, namespace_uid, name], 16)
}

/// Alias of the dedicated key, the arbiter between two attempts to create it. Unique per account and region; no dots allowed.
pub fn key_alias(cluster: &str, identity: &str) -> String {
    format!("alias/securebucket/{cluster}/{identity}")
}

/// Bucket name when the spec has none: `<prefix>-<namespace>-<name>-<8 hex>`, cut in the middle to 63.
pub fn default_bucket_name(prefix: &str, namespace: &str, name: &str, identity: &str) -> String {
    let tail = identity.get(..8).unwrap_or(identity);
    let stem: String = format!("{prefix}-{namespace}-{name}").replace('.', "-").chars().take(63 - 9).collect();
    format!("{}-{tail}", stem.trim_end_matches('-'))
}

/// Path of all workload roles of a cluster.
pub fn role_path(cluster: &str) -> String {
    format!("/securebucket/{cluster}/")
}

/// Role of a ServiceAccount: `<ns>--<sa>-<8 hex>`, at most 64 characters, unique in the account whatever its path, because IAM compares
/// role names without the path and without case (IAM User Guide, reference_iam-quotas).
pub fn role_name(cluster: &str, namespace: &str, service_account: &str) -> String {
    let tail = hex(&[cluster, namespace, service_account], 8);
    let stem: String = format!("{namespace}--{service_account}").chars().take(64 - 9).collect();
    format!("{}-{tail}", stem.trim_end_matches(['-', '.']))
}

/// `Name` of the KMS grant of a DecryptGrant. The role's unique id is part of it: with a role made anew it would be another grant.
/// `^[a-zA-Z0-9:/_-]+$`, at most 256 (KMS API, CreateGrant).
pub fn kms_grant_name(cluster: &str, grant_uid: &str, terms_hash: &str, role_id: &str) -> String {
    format!("securebucket/{cluster}/{grant_uid}/{}", hex(&[terms_hash, role_id], 16))
}

/// Prefix that all KMS grants of this cluster share.
pub fn kms_grant_prefix(cluster: &str) -> String {
    format!("securebucket/{cluster}/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_to_the_limits_of_aws() {
        let (ns, sa) = ("n".repeat(63), format!("{}.x", "s".repeat(240)));
        let role = role_name("prod-eu", &ns, &sa);
        assert!(role.len() <= 64, "{role}");
        let bucket = default_bucket_name("prod-eu", &ns, "a.b", &bucket_identity("prod-eu", "uid", "a.b"));
        assert!(bucket.len() <= 63 && !bucket.contains('.') && !bucket.contains("--"), "{bucket}");
        let grant = kms_grant_name(&"c".repeat(32), "0e9b0f6e-0000-0000-0000-000000000000", "h", "AROA");
        assert!(grant.len() <= 256 && grant.bytes().all(|b| b.is_ascii_alphanumeric() || b":/_-".contains(&b)));
    }

    #[test]
    fn parts_do_not_run_together() {
        assert_ne!(hex(&["a", "bc"], 16), hex(&["ab", "c"], 16));
        assert_ne!(role_name("c", "a--b", "c"), role_name("c", "a", "b--c"));
        assert_ne!(bucket_identity("c", "uid-1", "x"), bucket_identity("c", "uid-2", "x"));
    }
}
