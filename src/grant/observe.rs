//! Looks at the role and the KMS grants of one DecryptGrant, in one round trip.

use super::decide::Looked;
use crate::api::DecryptGrant;
use crate::api::decrypt_grant::ResolvedTerms;
use crate::aws::clients::Aws;
use crate::aws::error::Seen;
use crate::domain::identity::{kms_grant_prefix, role_name};
use crate::domain::installation::Installation;
use crate::role::document::POLICY_NAME;

/// Looks. All KMS grants that carry this DecryptGrant's uid in their name are its own, and no others.
pub async fn look(aws: &Aws, install: &Installation, grant: &DecryptGrant, terms: &ResolvedTerms) -> Looked {
    let namespace = grant.metadata.namespace.as_deref().unwrap_or_default();
    let name = role_name(&install.cluster, namespace, &terms.service_account);
    let region = terms.key_arn.split(':').nth(3).unwrap_or(&install.place.region);
    let kms = aws.kms(&install.place_in(region));
    let iam = aws.iam();
    let (head, document, grants) =
        tokio::join!(iam.role(&name), iam.role_policy(&name, POLICY_NAME), kms.list_grants(&terms.key_arn));
    let role = match (Seen::from_result(head), Seen::from_result(document)) {
        (Seen::Value(head), Seen::Value(document)) => Seen::Value((head.role_id, Some(document))),
        (Seen::Value(head), Seen::Absent) => Seen::Value((head.role_id, None)),
        (Seen::Absent, _) => Seen::Absent,
        (Seen::Unreadable(e), _) | (_, Seen::Unreadable(e)) => Seen::Unreadable(e),
    };
    let prefix =
        format!("{}{}/", kms_grant_prefix(&install.cluster), grant.metadata.uid.as_deref().unwrap_or_default());
    let kms = match Seen::from_result(grants) {
        Seen::Value(all) => {
            Seen::Value(all.into_iter().filter(|g| g.name.as_deref().is_some_and(|n| n.starts_with(&prefix))).collect())
        }
        Seen::Absent => Seen::Absent,
        Seen::Unreadable(e) => Seen::Unreadable(e),
    };
    Looked { role, kms }
}
