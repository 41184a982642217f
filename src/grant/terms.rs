//! A request with every name resolved: what an approval speaks of, and what is written to AWS. Pure.

use jiff::{SignedDuration, Timestamp};

use crate::api::decrypt_grant::{ExtendedTerms, ResolvedTerms};
use crate::api::{DecryptGrant, GrantReview, SecureBucket};
use crate::domain::identity;
use crate::domain::installation::Installation;
use crate::domain::prefix::Prefixes;
use crate::domain::time::{after, format_duration, format_instant, parse_duration, parse_instant};
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

/// True if it is this bucket that a grant asks for.
pub fn asks_for(grant: &DecryptGrant, bucket: &SecureBucket) -> bool {
    let target = target(grant);
    bucket.metadata.namespace.as_ref() == Some(&target.namespace) && bucket.metadata.name.as_ref() == Some(&target.name)
}

/// True if it is this grant that a review names, or one made before under the name.
pub fn named_by(grant: &DecryptGrant, review: &GrantReview) -> bool {
    let (named, meta) = (&review.spec.grant_ref, &grant.metadata);
    meta.namespace.as_ref() == Some(&named.namespace) && meta.name.as_ref() == Some(&named.name)
}

/// How far ahead of a request `notBefore` may be.
const AHEAD: SignedDuration = SignedDuration::from_hours(7 * 24);

/// What a spec asks for, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// How long.
    pub duration: SignedDuration,
    /// Under which prefixes.
    pub prefixes: Prefixes,
    /// From when on, at the earliest.
    pub not_before: Option<Timestamp>,
    /// Going on from which grant.
    pub extends: Option<ExtendedTerms>,
}

/// Checks duration, prefixes and beginning against installation and bucket.
///
/// # Errors
/// In words that name the field and the way out.
pub fn check(grant: &DecryptGrant, max: SignedDuration, install: &Installation) -> Result<Asked, String> {
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
    let not_before = begins(grant).map_err(|e| format!("spec.notBefore: {e}; create a new grant"))?;
    let created = grant.metadata.creation_timestamp.as_ref().map(|at| at.0);
    if let Some(begin) = not_before.filter(|begin| created.is_none_or(|at| *begin > after(at, AHEAD))) {
        return Err(format!(
            "spec.notBefore: {} is more than 7 days after the request was made; create a new grant",
            format_instant(begin)
        ));
    }
    Ok(Asked { duration, prefixes, not_before, extends: None })
}

/// `notBefore` of the spec.
fn begins(grant: &DecryptGrant) -> Result<Option<Timestamp>, String> {
    let Some(text) = &grant.spec.not_before else { return Ok(None) };
    match parse_instant(&text.0) {
        Some(at) => Ok(Some(at)),
        None => Err(format!("{:?} is no instant; write it like 2026-11-24T12:00:00Z", text.0)),
    }
}

/// Resolves every name.
pub fn resolve(
    grant: &DecryptGrant,
    bucket_uid: &str,
    bucket: &BucketRef,
    service_account_uid: &str,
    asked: &Asked,
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
        prefixes: asked.prefixes.iter().map(str::to_owned).collect(),
        duration_seconds: asked.duration.as_secs(),
        not_before: asked.not_before.map(format_instant),
        extends: asked.extends.clone(),
        break_glass: grant.spec.break_glass.filter(|asked| *asked),
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
        not_before,
        extends,
        break_glass,
        terms_hash: _,
    } = terms;
    let (uid, prefixes) = (grant.metadata.uid.clone().unwrap_or_default(), prefixes.join("\n"));
    let seconds = duration_seconds.to_string();
    let mut parts = vec![
        uid.as_str(),
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
    ];
    // Only where there is one: requests of versions that did not know it keep their digest.
    parts.extend(not_before.as_deref());
    parts.extend(extends.iter().flat_map(|e| ["extends", &e.name, &e.uid, &e.since]));
    parts.extend(break_glass.map(|_| "breakGlass"));
    identity::hex(&parts, 64)
}

/// True if resolved terms say of subject, bucket name, prefixes, duration, beginning, extended grant and break-glass what the spec says, and carry their own digest.
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
        && Ok(&terms.not_before) == begins(grant).map(|at| at.map(format_instant)).as_ref()
        && terms.extends.as_ref().map(|e| &e.name) == grant.spec.extends.as_ref().map(|e| &e.name)
        && terms.break_glass == grant.spec.break_glass.filter(|asked| *asked)
        && terms.terms_hash == hash(grant, terms)
}
