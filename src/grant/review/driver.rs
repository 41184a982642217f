//! What is said of a GrantReview: its condition `Counted`. It decides nothing; the pass over the grant does, by the same judgement.

use std::sync::Arc;

use kube::Api;

use super::decision::verdict;
use super::eligible::{Case, Doubt, created, no_such_grant};
use super::rules::both;
use crate::api::condition::{Set, is_true, types, update};
use crate::api::decrypt_grant::DecryptGrantStatus;
use crate::api::grant_review::Decision;
use crate::api::{DecryptGrant, GrantReview, GrantReviewStatus};
use crate::grant::break_glass::{reviews_access, unreviewed};
use crate::grant::driver::reviews_of;
use crate::grant::terms::target;
use crate::k8s::events::Reason;
use crate::k8s::status::replace_status;
use crate::reconcile::context::{Context, ObjectKey, failed};
use crate::reconcile::outcome::PassError;
use crate::reconcile::queue::Next;

/// Judges one review by what the watches have seen, and writes what came of it if that is new.
pub async fn reconcile(ctx: &Context, key: ObjectKey) -> Next {
    match pass(ctx, &key).await {
        Ok(()) => {
            ctx.review_backoff.reset(&key);
            Next::Done
        }
        Err(error) => {
            tracing::info!(object = %key, category = error.category(), %error, "pass over GrantReview not finished");
            failed(&ctx.review_backoff, &key, &error)
        }
    }
}

async fn pass(ctx: &Context, key: &ObjectKey) -> Result<(), PassError> {
    let Some(review) = ctx.caches.reviews.get(&key.namespace, &key.name) else { return Ok(()) };
    if review.metadata.deletion_timestamp.is_some() {
        return Ok(());
    }
    let named = &review.spec.grant_ref;
    let grant = ctx.caches.grants.get(&named.namespace, &named.name);
    let before = review.status.clone().unwrap_or_default();
    if grant.is_none() && is_true(&before.conditions, types::COUNTED) {
        // It counted while there was something to decide: that stays true of it when the grant is handed back or forgotten.
        return Ok(());
    }
    let waits = |s: &DecryptGrantStatus| s.expires_at.is_none() && s.ended.is_none() || unreviewed(s);
    if grant.as_ref().is_some_and(|g| g.status.as_ref().is_none_or(waits)) {
        // Nobody is told that a review counts which was made while an admission policy was away.
        ctx.fresh_enforcement().await?;
    }
    let afterwards = grant.as_ref().and_then(|g| g.status.as_ref()).is_some_and(|s| {
        reviews_access(s, created(&review)) || s.break_glass.as_ref().is_some_and(|b| b.review.is_some())
    });
    let what = counted(&review, afterwards);
    let word = judged(ctx, &review, grant);
    let set = match &word {
        Ok(()) => Set::yes(types::COUNTED, "Counted", what),
        Err(doubt) => Set::no(types::COUNTED, doubt.reason, &doubt.message),
    };
    let generation = review.metadata.generation.unwrap_or_default();
    let status = GrantReviewStatus {
        observed_generation: Some(generation),
        conditions: update(&before.conditions, &[set], generation, ctx.clock.system_now()),
    };
    let api: Api<GrantReview> = Api::namespaced(ctx.client.clone(), &key.namespace);
    replace_status(&api, &review, status).await?;
    match word {
        Ok(()) => ctx.untell(&*review, Reason::ReviewNotCounted),
        Err(doubt) => ctx.event_once(&*review, Reason::ReviewNotCounted, doubt.reason, doubt.message),
    }
    Ok(())
}

fn judged(ctx: &Context, review: &GrantReview, grant: Option<Arc<DecryptGrant>>) -> Result<(), Doubt> {
    let Some(grant) = grant else { return Err(no_such_grant(review)) };
    let place = target(&grant);
    let bucket = ctx.caches.buckets.get(&place.namespace, &place.name);
    let both = both(&grant, bucket.as_deref());
    let enforcement = ctx.enforcement();
    let case = Case {
        grant: &grant,
        rules: &both.iter().collect::<Vec<_>>(),
        enforcement: &enforcement,
        install: &ctx.install,
    };
    let name = review.metadata.name.as_deref().unwrap_or_default();
    let here = review.metadata.namespace.as_ref() == Some(&place.namespace);
    let mut counts = verdict(&case, &reviews_of(ctx, &grant)).counts.into_iter();
    match counts.find(|(n, _)| here && n == name) {
        Some((_, word)) => word,
        None => Err(no_such_grant(review)),
    }
}

fn counted(review: &GrantReview, afterwards: bool) -> &'static str {
    match review.spec.decision {
        Decision::Approve if afterwards => "it counts: access that began without approval is reviewed",
        Decision::Approve => "it counts as an approval of these terms",
        Decision::Deny => "it counts: the request is denied",
        Decision::Revoke => "it counts: the grant is ended",
    }
}
