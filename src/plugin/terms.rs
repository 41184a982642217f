//! What is decided upon: the terms of a request, from itself, or as the bucket shows them to whoever may not read requests of another namespace.

use kube::ResourceExt;

use super::exit::{Exit, Failure, Outcome};
use super::find::{all, missing, try_get};
use super::names::{Account, Kind};
use super::out::clean;
use super::talk::{Refusal, Session};
use crate::api::condition::{find, types};
use crate::api::decrypt_grant::ApprovalRules;
use crate::api::grants::PendingGrant;
use crate::api::secure_bucket::Through;
use crate::api::types::Identity;
use crate::api::{DecryptGrant, SecureBucket};
use crate::domain::time::format_duration;
use crate::grant::break_glass::asks;
use crate::grant::terms::target;

/// What a review names, and what its writer has to know.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// Namespace of the SecureBucket.
    pub bucket_namespace: String,
    /// Its name.
    pub bucket: String,
    /// Namespace of the DecryptGrant.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// `status.resolved.termsHash`.
    pub hash: String,
    /// Who asks.
    pub requester: Option<Identity>,
    /// Who would read.
    pub service_account: String,
    /// What.
    pub prefixes: Vec<String>,
    /// How long.
    pub duration: String,
    /// From when on.
    pub not_before: Option<String>,
    /// Going on from which grant.
    pub extends: Option<String>,
    /// At once, without approval: what is written is the review afterwards.
    pub break_glass: bool,
    /// Why.
    pub reason: String,
    /// Ticket.
    pub ticket: Option<String>,
    /// Groups that the rules at the request name.
    pub groups: Vec<String>,
}

impl Terms {
    fn of(grant: &DecryptGrant) -> Outcome<Self> {
        let (namespace, name) = (grant.namespace().unwrap_or_default(), grant.name_any());
        let status = grant.status.clone().unwrap_or_default();
        let active = find(&status.conditions, types::ACTIVE);
        if let Some(end) = &status.ended {
            let message = format!("DecryptGrant {namespace}/{name} is over since {}: {}", end.at, clean(&end.message));
            return Err(
                Failure::new(Exit::Ended, message).next(format!("kubectl securebucket why {name} -n {namespace}"))
            );
        }
        let Some(resolved) = status.resolved else {
            let why = active.map_or("the operator has not looked at it", |c| c.message.as_str());
            let message =
                format!("DecryptGrant {namespace}/{name} has no terms yet that could be decided on: {}", clean(why));
            return Err(Failure::failed(message).next(format!("kubectl securebucket why {name} -n {namespace}")));
        };
        let target = target(grant);
        Ok(Self {
            bucket_namespace: target.namespace,
            bucket: target.name,
            namespace,
            name,
            uid: grant.uid().unwrap_or_default(),
            hash: resolved.terms_hash,
            requester: grant.spec.requester.clone(),
            service_account: resolved.service_account,
            prefixes: resolved.prefixes,
            duration: format_duration(jiff::SignedDuration::from_secs(resolved.duration_seconds)),
            not_before: resolved.not_before,
            extends: resolved.extends.map(|e| e.name),
            break_glass: asks(grant),
            reason: grant.spec.reason.clone(),
            ticket: grant.spec.ticket.clone(),
            groups: status.approval_rules.as_ref().map(groups_of).unwrap_or_default(),
        })
    }

    fn pending(bucket: &SecureBucket, grant: PendingGrant) -> Self {
        Self {
            bucket_namespace: bucket.namespace().unwrap_or_default(),
            bucket: bucket.name_any(),
            namespace: grant.namespace,
            name: grant.name,
            uid: grant.uid,
            hash: grant.terms_hash,
            requester: Some(Identity { username: grant.requester, ..Identity::default() }),
            service_account: grant.service_account,
            prefixes: grant.prefixes,
            duration: grant.duration,
            not_before: grant.not_before,
            break_glass: grant.break_glass == Some(true),
            extends: grant.extends,
            reason: grant.reason,
            ticket: grant.ticket,
            ..Self::default()
        }
    }

    /// For people, a line each: what they put their name to.
    pub fn lines(&self) -> Vec<String> {
        let ticket = self.ticket.as_ref().map(|t| format!(" (ticket {t})")).unwrap_or_default();
        let at_once = if self.break_glass { ", at once and without approval (break-glass)" } else { "" };
        let from = self.not_before.as_ref().map(|at| format!(", not before {at}")).unwrap_or_default();
        let requester = self.requester.as_ref().map_or("nobody known", |r| r.username.as_str());
        let mut rows = vec![
            ("who", format!("everyone who can run pods or mint tokens as {}/{}", self.namespace, self.service_account)),
            ("reads", format!("{} of {}/{}", self.prefixes.join(", "), self.bucket_namespace, self.bucket)),
            ("for", format!("{}{from}{at_once}", self.duration)),
            ("extends", self.extends.clone().unwrap_or_default()),
            ("asked by", requester.to_owned()),
            ("because", format!("{}{ticket}", self.reason)),
            ("terms", self.hash.clone()),
        ];
        rows.retain(|(_, text)| !text.is_empty());
        rows.iter().map(|(title, text)| format!("  {title:<9} {}", clean(text))).collect()
    }
}

fn groups_of(rules: &ApprovalRules) -> Vec<String> {
    rules.approvers.iter().flat_map(|set| set.groups.iter().map(|g| g.0.clone())).collect()
}

/// Groups that the bucket's sets of approvers name.
pub fn groups(bucket: &SecureBucket) -> Vec<String> {
    let sets = bucket.spec.grants.iter().flat_map(|g| &g.approvers);
    sets.flat_map(|set| set.groups.iter().map(|g| g.0.clone())).collect()
}

/// The terms of the grant of this name in the session's namespace.
///
/// # Errors
/// If there is none that could be decided on, or nothing that may be read shows it.
pub async fn terms(session: &Session, name: &str, bucket: Option<&Account>) -> Outcome<Terms> {
    let namespace = &session.namespace;
    match try_get::<DecryptGrant>(session, namespace, name).await {
        Ok(grant) => Terms::of(&grant),
        Err(refusal) if refusal.is_forbidden() => shown(session, name, bucket, &refusal).await,
        Err(refusal) => Err(missing(Kind::Grant, namespace, name, &refusal)),
    }
}

/// As SecureBuckets show it that may be read.
async fn shown(session: &Session, name: &str, bucket: Option<&Account>, refusal: &Refusal) -> Outcome<Terms> {
    let namespace = &session.namespace;
    for seen in buckets(session, bucket).await? {
        let status = seen.status.clone().unwrap_or_default();
        let entry = status.pending_grants.into_iter().find(|p| p.namespace == *namespace && p.name == *name);
        if let Some(entry) = entry {
            return Ok(Terms::pending(&seen, entry));
        }
        if let Some(terms) = reading(session, &seen, name) {
            return Ok(terms);
        }
    }
    let failure = refusal.to(&format!("read DecryptGrant {namespace}/{name}"));
    let way_out = "--bucket NAMESPACE/NAME, the SecureBucket that it asks for: those that may decide see it there";
    Err(Failure { next: vec![way_out.into()], ..failure })
}

async fn buckets(session: &Session, bucket: Option<&Account>) -> Outcome<Vec<SecureBucket>> {
    if let Some(bucket) = bucket {
        let namespace = bucket.namespace_or(&session.home);
        return Ok(vec![super::find::get(session, namespace, &bucket.name).await?]);
    }
    match all(session, None).await {
        Ok(found) => Ok(found),
        // Most see those of their own namespace.
        Err(_) => Ok(all(session, Some(&session.home)).await.unwrap_or_default()),
    }
}

/// A grant that reads, as the bucket lists it.
fn reading(session: &Session, bucket: &SecureBucket, name: &str) -> Option<Terms> {
    let shown = format!("{}/{name}", session.namespace);
    let access =
        bucket.status.as_ref()?.access.iter().find(|a| a.through == Some(Through::Grant) && a.name == shown)?.clone();
    Some(Terms {
        bucket_namespace: bucket.namespace()?,
        bucket: bucket.name_any(),
        namespace: session.namespace.clone(),
        name: name.to_owned(),
        uid: access.grant_uid?,
        hash: access.terms_hash?,
        service_account: access.service_account.unwrap_or_default(),
        prefixes: access.prefixes,
        duration: format!("the time until {}", access.until.unwrap_or_default()),
        ..Terms::default()
    })
}
