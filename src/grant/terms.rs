//! A request with every name resolved: what an approval speaks of, and what is written to AWS. Pure.

use jiff::SignedDuration;

use crate::api::DecryptGrant;
use crate::api::decrypt_grant::ResolvedTerms;
use crate::domain::identity;
use crate::domain::installation::Installation;
use crate::domain::prefix::Prefixes;
use crate::domain::time::{format_duration, parse_duration};
use crate::role::document::BucketRef;

/// The SecureBucket as a grant names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The SecureBucket that a grant asks for.
pub fn target(grant: &DecryptGrant) -> Target {
    let own = grant.metadata.namespace.clone().unwrap_or_default();
    let reference = &grant.spec.bucket_ref;
    Target { namespace: reference.namespace.clone().unwrap_or(own), name: reference.name.clone() }
}

/// Checks duration and prefixes against installation and bucket.
///
/// # Errors
/// In words that name the field and the way out.
pub fn check(
    grant: &DecryptGrant,
    max: SignedDuration,
    install: &Installation,
) -> Result<(SignedDuration, Prefixes), String> {
    let duration =
        parse_duration(&grant.spec.duration.0).map_err(|e| format!("spec.duration: {e}; create a new grant"))?;
    let floor = SignedDuration::try_from(install.timing.grant_floor).unwrap_or(SignedDuration::ZERO);
    if duration < floor {
        return Err(format!(
            "spec.duration: {} is shorter than {}, the shortest of this installation; create a new grant",
            grant.spec.duration.0,
            format_duration(floor)
        ));
    }
    if duration > max {
        return Err(format!(
            "spec.duration: {} is longer than {}, the longest that this bucket allows; create a new grant, or ask its owner to raise grants.maxDuration",
            grant.spec.duration.0,
            format_duration(max)
        ));
    }
    let texts: Vec<&str> = grant.spec.prefixes.iter().map(|p| p.0.as_str()).collect();
    let prefixes = Prefixes::parse(&texts).map_err(|e| format!("spec.prefixes: {e}; create a new grant"))?;
    Ok((duration, prefixes))
}

/// Resolves every name.
pub fn resolve(
    grant: &DecryptGrant,
    bucket_uid: &str,
    bucket: &BucketRef,
    service_account_uid: &str,
    duration: SignedDuration,
    prefixes: &Prefixes,
    install: &Installation,
) -> ResolvedTerms {
    let target = target(grant);
    let namespace = grant.metadata.namespace.clone().unwrap_or_default();
    let service_account = grant.spec.subject.service_account_ref.name.clone();
    let role_arn = install.role_arn(&namespace, &service_account);
    let mut terms = ResolvedTerms {
        bucket_namespace: target.namespace,
        bucket_name: target.name,
        bucket_uid: bucket_uid.to_owned(),
        bucket_identity: bucket.identity.clone(),
        bucket_arn: bucket.bucket_arn.clone(),
        key_arn: bucket.key_arn.clone(),
        service_account,
        service_account_uid: service_account_uid.to_owned(),
        role_arn,
        prefixes: prefixes.iter().map(str::to_owned).collect(),
        duration_seconds: duration.as_secs(),
        terms_hash: String::new(),
    };
    terms.terms_hash = hash(grant, &terms);
    terms
}

/// Digest of the terms and of the grant that they belong to.
fn hash(grant: &DecryptGrant, terms: &ResolvedTerms) -> String {
    // Exhaustive: a term that the digest forgets does not compile.
    let ResolvedTerms {
        bucket_namespace,
        bucket_name,
        bucket_uid,
        bucket_identity,
        bucket_arn,
        key_arn,
        service_account,
        service_account_uid,
        role_arn,
        prefixes,
        duration_seconds,
        terms_hash: _,
    } = terms;
    let (uid, prefixes) = (grant.metadata.uid.clone().unwrap_or_default(), prefixes.join("\n"));
    let seconds = duration_seconds.to_string();
    identity::hex(
        &[
            &uid,
            bucket_namespace,
            bucket_name,
            bucket_uid,
            bucket_identity,
            bucket_arn,
            key_arn,
            service_account,
            service_account_uid,
            role_arn,
            &prefixes,
            &seconds,
        ],
        64,
    )
}

/// True if resolved terms say of subject, bucket name, prefixes and duration what the spec says, and carry their own digest.
pub fn genuine(grant: &DecryptGrant, terms: &ResolvedTerms, install: &Installation) -> bool {
    let target = target(grant);
    let namespace = grant.metadata.namespace.as_deref().unwrap_or_default();
    let texts: Vec<&str> = grant.spec.prefixes.iter().map(|p| p.0.as_str()).collect();
    let prefixes = Prefixes::parse(&texts).map(|p| p.iter().map(str::to_owned).collect::<Vec<_>>());
    let seconds = parse_duration(&grant.spec.duration.0).map(|d| d.as_secs());
    terms.bucket_namespace == target.namespace
        && terms.bucket_name == target.name
        && terms.service_account == grant.spec.subject.service_account_ref.name
        && terms.role_arn == install.role_arn(namespace, &terms.service_account)
        && Ok(&terms.prefixes) == prefixes.as_ref()
        && Ok(terms.duration_seconds) == seconds
        && terms.terms_hash == hash(grant, terms)
}
