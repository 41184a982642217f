//! What people and workloads are told of a grant: events on the grant and on its bucket, and the ConfigMap with the AWS profile.

use jiff::Timestamp;
use kube::ResourceExt;

use super::agree::AWAITING;
use super::break_glass::{asks, review_due};
use super::deadline::{ALLOWANCE, end_of};
use super::status::word;
use super::terms::target;
use crate::api::condition::{find, is_true, types};
use crate::api::decrypt_grant::{AfterReview, DecryptGrantStatus, EndReason};
use crate::api::{DecryptGrant, SecureBucket};
use crate::bucket::profile::{self, grant_config_map};
use crate::domain::time::{after, format_instant};
use crate::k8s::events::Reason;
use crate::reconcile::context::{Context, ObjectKey};
use crate::reconcile::outcome::PassError;
use crate::telemetry::DECISIONS;

/// An event on the grant, and the same on the bucket, so that its owner sees who got in without reading other namespaces.
fn both(ctx: &Context, grant: &DecryptGrant, bucket: Option<&SecureBucket>, reason: Reason, note: &str) {
    let about = Context::reference(grant);
    let related = bucket.map(Context::reference);
    // Two grants on one bucket must not become one series of events.
    let action = format!("{}/{}", grant.name_any(), grant.uid().unwrap_or_default());
    ctx.events.publish(&about, related.as_ref(), reason, reason.word(), note);
    if let Some(bucket) = &related {
        let whose = format!(
            "DecryptGrant {} (ServiceAccount {}): {note}",
            ObjectKey::of(grant),
            grant.spec.subject.service_account_ref.name
        );
        ctx.events.publish(bucket, Some(&about), reason, &action, whose);
    }
    decided(grant, reason.word(), note);
}

/// One line for one decision: who may read what, why, until when, by which terms. Never a secret: a reason is shown to people as well.
pub fn decided(grant: &DecryptGrant, decision: &str, why: &str) {
    let status = grant.status.clone().unwrap_or_default();
    let spec = &grant.spec;
    let prefixes = spec.prefixes.iter().map(|p| p.0.as_str()).collect::<Vec<_>>().join(",");
    let resolved = status.resolved.as_ref();
    tracing::info!(
        target: DECISIONS,
        decision,
        object = %ObjectKey::of(grant),
        uid = grant.metadata.uid.as_deref().unwrap_or_default(),
        subject = format!("{}/{}", grant.namespace().unwrap_or_default(), spec.subject.service_account_ref.name),
        role = resolved.map(|r| r.role_arn.as_str()),
        bucket = %target(grant),
        bucket_arn = resolved.map(|r| r.bucket_arn.as_str()),
        prefixes,
        duration = spec.duration.0,
        not_before = spec.not_before.as_ref().map(|at| at.0.as_str()),
        break_glass = asks(grant),
        extends = spec.extends.as_ref().map(|e| e.name.as_str()),
        reason = spec.reason,
        ticket = spec.ticket.as_deref(),
        requester = spec.requester.as_ref().map(|r| r.username.as_str()),
        approved_by = approvers(&status),
        terms_hash = resolved.map(|r| r.terms_hash.as_str()),
        expires_at = status.expires_at.as_deref(),
        why,
        "decision"
    );
}

fn approvers(status: &DecryptGrantStatus) -> Option<String> {
    let names: Vec<&str> = status.approvals.iter().map(|a| a.reviewer.as_str()).collect();
    (!names.is_empty()).then(|| names.join(","))
}

/// Somebody asks. The bucket hears of it only if it lets that namespace ask.
pub fn requested(ctx: &Context, grant: &DecryptGrant, bucket: Option<&SecureBucket>) {
    let namespace = grant.namespace().unwrap_or_default();
    let consenting = bucket.filter(|b| crate::bucket::desired::grant_namespaces(b).contains(&namespace));
    let prefixes = grant.spec.prefixes.iter().map(|p| p.0.as_str()).collect::<Vec<_>>().join(", ");
    let extends = grant.spec.extends.as_ref().map(|e| format!(", extending {}", e.name)).unwrap_or_default();
    let note = format!("asks to read {prefixes} for {}{extends}: {}", grant.spec.duration.0, grant.spec.reason);
    both(ctx, grant, consenting, Reason::GrantRequested, &note);
}

/// Approved, by people or by the policy of the bucket.
pub fn approved(ctx: &Context, grant: &DecryptGrant, bucket: Option<&SecureBucket>, by_whom: &str) {
    let reason = if asks(grant) { Reason::BreakGlass } else { Reason::GrantApproved };
    let who = grant.spec.requester.as_ref().map(|r| r.username.as_str()).unwrap_or_default();
    let note = if asks(grant) {
        format!("{who} has access without approval: {}; {by_whom}", grant.spec.reason)
    } else {
        by_whom.to_owned()
    };
    both(ctx, grant, bucket, reason, &note);
}

/// Somebody else has reviewed access that began without approval.
pub fn reviewed(ctx: &Context, grant: &DecryptGrant, bucket: Option<&SecureBucket>, review: &AfterReview) {
    ctx.untell(grant, Reason::ReviewOverdue);
    if let Some(bucket) = bucket {
        ctx.untell_of(bucket, &grant.uid().unwrap_or_default(), Reason::ReviewOverdue);
    }
    let note = format!("reviewed: {:?} by {} (GrantReview {})", review.decision, review.reviewer, review.review);
    both(ctx, grant, bucket, Reason::BreakGlassReviewed, &note);
}

/// Nobody has reviewed it in time: said once, on both.
pub fn review_overdue(ctx: &Context, grant: &DecryptGrant, bucket: Option<&SecureBucket>, now: Timestamp) {
    let Some(due) = grant.status.as_ref().and_then(review_due).filter(|due| *due <= now) else { return };
    let note = format!(
        "DecryptGrant {} began without approval, and its review was due by {}; until it is written there is no further break-glass on the bucket",
        ObjectKey::of(grant),
        format_instant(due)
    );
    ctx.event_once(grant, Reason::ReviewOverdue, "Review", note.clone());
    if let Some(bucket) = bucket {
        // Once for each grant, also where a bucket has several.
        let uid = grant.uid().unwrap_or_default();
        ctx.event_once_of(bucket, &uid, Reason::ReviewOverdue, &format!("Review {uid}"), note);
    }
}

/// The window is open: from now on its time runs.
pub fn opened(grant: &DecryptGrant) {
    let until = grant.status.as_ref().and_then(|s| s.expires_at.clone()).unwrap_or_default();
    decided(grant, "GrantWindowOpened", &format!("the time of the grant runs until {until}, by AWS's clock"));
}

/// The KMS grant is there.
pub fn issued(grant: &DecryptGrant, id: &str) {
    decided(grant, "GrantIssued", &format!("ListGrants shows KMS grant {id}"));
}

/// The record is deleted.
pub fn forgotten(grant: &DecryptGrant) {
    let removal = grant.status.as_ref().and_then(|s| s.removal.as_ref()).map(|r| r.verified_at.clone());
    let why = format!("removal was verified at {}; kept as long as the setting says", removal.unwrap_or_default());
    decided(grant, "GrantForgotten", &why);
}

/// It is over.
pub fn ended(ctx: &Context, grant: &DecryptGrant, bucket: Option<&SecureBucket>, end: EndReason, message: &str) {
    let reason = match end {
        EndReason::Expired => Reason::GrantExpired,
        EndReason::HandedBack => Reason::GrantHandedBack,
        EndReason::Revoked | EndReason::BucketGone | EndReason::LockedDown => Reason::GrantRevoked,
        EndReason::Denied | EndReason::ApprovalTimedOut | EndReason::Lapsed => Reason::GrantRefused,
    };
    both(ctx, grant, bucket, reason, &format!("{}: {message}", word(end)));
}

/// Nothing of it is left.
pub fn removed(ctx: &Context, grant: &DecryptGrant, bucket: Option<&SecureBucket>, evidence: &str) {
    both(ctx, grant, bucket, Reason::GrantRemoved, &format!("removal verified: {evidence}"));
}

/// The removal takes too long: said once.
pub fn overdue(ctx: &Context, grant: &DecryptGrant, now: Timestamp) {
    let Some(end) = end_of(grant, now).filter(|end| after(*end, ALLOWANCE) <= now) else { return };
    let note = format!(
        "it ended at {} and its removal from AWS is not proved yet; condition Ready says what is in the way. The attempts go on",
        format_instant(end)
    );
    ctx.event_once(grant, Reason::RemovalOverdue, "Remove", note);
}

/// Becoming active, and becoming stalled.
pub fn transition(
    ctx: &Context,
    grant: &DecryptGrant,
    bucket: Option<&SecureBucket>,
    was: &DecryptGrantStatus,
    is: &DecryptGrantStatus,
) {
    if is_true(&is.conditions, types::ACTIVE) && !is_true(&was.conditions, types::ACTIVE) {
        let until = is.expires_at.clone().unwrap_or_default();
        both(ctx, grant, bucket, Reason::GrantActivated, &format!("can read until {until}"));
        if let Some(approved) = find(&is.conditions, types::APPROVED) {
            // The approval has AWS's time.
            ctx.metrics.grant_activated(ctx.clock.aws_now().duration_since(approved.last_transition_time.0));
        }
    }
    let waits =
        |status: &DecryptGrantStatus| find(&status.conditions, types::ACTIVE).is_some_and(|c| c.reason == AWAITING);
    if waits(is) && !waits(was) {
        let why = find(&is.conditions, types::ACTIVE).map(|c| c.message.clone()).unwrap_or_default();
        let who = grant.spec.requester.as_ref().map(|r| r.username.clone()).unwrap_or_default();
        both(ctx, grant, bucket, Reason::ApprovalRequested, &format!("{who} asks: {why}"));
    }
    match find(&is.conditions, types::STALLED) {
        Some(stalled) => {
            // One that ended has said so already.
            if is.ended.is_none() && find(&was.conditions, types::STALLED).map(|c| &c.message) != Some(&stalled.message)
            {
                decided(grant, "GrantStalled", &format!("{}: {}", stalled.reason, stalled.message));
            }
            ctx.event_once(grant, Reason::Stalled, &stalled.reason, stalled.message.clone());
        }
        None => ctx.untell(grant, Reason::Stalled),
    }
}

fn profile_data(ctx: &Context, grant: &DecryptGrant) -> Option<std::collections::BTreeMap<String, String>> {
    let terms = grant.status.as_ref()?.resolved.as_ref()?;
    let bucket = terms.bucket_arn.rsplit(':').next()?;
    let place = ctx.install.place_of(&terms.key_arn);
    Some(profile::profile(
        &place,
        bucket,
        &terms.key_arn,
        &terms.role_arn,
        &terms.prefixes.join(", "),
        &terms.bucket_name,
    ))
}

/// Writes the ConfigMap with the profile.
///
/// # Errors
/// If it is worth another attempt.
pub async fn write_profile(ctx: &Context, grant: &DecryptGrant) -> Result<(), PassError> {
    let Some(data) = profile_data(ctx, grant) else { return Ok(()) };
    let name = grant_config_map(&grant.spec.bucket_ref.name, &grant.name_any());
    ctx.write_config_map(grant, &name, data).await
}

/// Removes it.
///
/// # Errors
/// If it is worth another attempt.
pub async fn forget_profile(ctx: &Context, grant: &DecryptGrant) -> Result<(), PassError> {
    let name = grant_config_map(&grant.spec.bucket_ref.name, &grant.name_any());
    ctx.delete_config_map(grant, &name).await
}
