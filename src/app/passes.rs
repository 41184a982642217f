//! The order of the work: what is over goes out of AWS before anything is made in it.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;

use super::{REVIEWERS, synced, wait_for};
use crate::aws::error::AwsErrorKind;
use crate::bucket;
use crate::clock::Whose;
use crate::domain::tags;
use crate::grant;
use crate::grant::break_glass::review_due;
use crate::grant::deadline::{ALLOWANCE, end_of};
use crate::reconcile::context::Context;
use crate::reconcile::outcome::explain;
use crate::reconcile::queue::Queue;
use crate::role;
use crate::role::state::RoleKey;

/// Runs the queues, once everything has been listed, until `stopped`; then finishes what is in hand.
pub(super) async fn run(ctx: Arc<Context>, workers: usize, stopped: tokio::sync::watch::Receiver<bool>) {
    let listed = async {
        while !synced(&ctx.caches) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = listed => {}
        () = wait_for(stopped.clone()) => return,
    }
    tracing::info!(cluster = ctx.install.cluster, place = %ctx.install.place, "working");
    ctx.queues.buckets.pause();
    ctx.queues.roles.pause();
    ctx.queues.grants.pause();
    let (b, r, g, v) = (Arc::clone(&ctx), Arc::clone(&ctx), Arc::clone(&ctx), Arc::clone(&ctx));
    let buckets = ctx.queues.buckets.run(workers, move |key| {
        let ctx = Arc::clone(&b);
        async move { bucket::driver::reconcile(&ctx, key).await }
    });
    let roles = ctx.queues.roles.run(workers, move |key| {
        let ctx = Arc::clone(&r);
        async move { role::driver::reconcile(&ctx, key).await }
    });
    let grants = ctx.queues.grants.run(workers, move |key| {
        let ctx = Arc::clone(&g);
        async move { grant::driver::reconcile(&ctx, key).await }
    });
    let reviews = ctx.queues.reviews.run(REVIEWERS, move |key| {
        let ctx = Arc::clone(&v);
        async move { grant::review::driver::reconcile(&ctx, key).await }
    });
    let close = async {
        wait_for(stopped).await;
        ctx.queues.buckets.close();
        ctx.queues.roles.close();
        ctx.queues.grants.close();
        ctx.queues.reviews.close();
        // Events of the last passes are written by the task beside this one.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        _ = async { tokio::join!(buckets, roles, grants, reviews) } => {}
        () = close => {}
        () = start(&ctx) => {}
        () = measure(&ctx) => {}
    }
}

/// The order of the first work: what is over goes out of AWS before anything is made in it. Never ends.
async fn start(ctx: &Context) {
    let queues = &ctx.queues;
    // The watches have asked for them, the longest overdue first.
    first_attempts(&queues.roles).await;
    first_attempts(&queues.grants).await;
    queues.buckets.resume();
    queues.roles.resume();
    queues.grants.resume();
    let complete = left_behind(ctx).await;
    until_nothing_is_left_behind(ctx, complete).await;
}

/// Measures what no pass does; never ends.
async fn measure(ctx: &Context) {
    loop {
        let now = ctx.clock.aws_now();
        let ages = ctx.caches.grants.list().into_iter().filter_map(|g| Some(now.duration_since(end_of(&g, now)?)));
        let ages: Vec<SignedDuration> = ages.collect();
        let overdue = ages.iter().filter(|age| **age > ALLOWANCE).count();
        ctx.metrics.removals(overdue, ages.into_iter().max().unwrap_or_default());
        let due: Vec<_> = ctx.caches.grants.list().iter().filter_map(|g| review_due(g.status.as_ref()?)).collect();
        ctx.metrics.reviews(due.len(), due.iter().filter(|at| **at <= now).count());
        for whose in Whose::ALL {
            if let Some(skew) = ctx.clock.skew(whose) {
                ctx.metrics.clock_skew(whose.label(), skew);
            }
        }
        tokio::time::sleep(MEASURE).await;
    }
}

/// Time between two measurements, shorter than that between two scrapes.
const MEASURE: Duration = Duration::from_secs(5);

/// Until each urgent key has had its pass. What failed is tried again later, and holds up nothing.
async fn first_attempts<K: Ord + Clone + Send + std::fmt::Debug + 'static>(queue: &Queue<K>) {
    while !queue.nothing_urgent() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Tries again until the inventory of roles is complete; never ends.
async fn until_nothing_is_left_behind(ctx: &Context, mut complete: bool) {
    let mut pause = Duration::from_secs(2);
    while !complete {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(300));
        complete = left_behind(ctx).await;
    }
    std::future::pending::<()>().await;
}

/// Roles of this cluster in AWS that no object speaks of any more: a Deny in one is the list of what is still to be revoked. False if not all
/// could be looked at.
async fn left_behind(ctx: &Context) -> bool {
    let iam = ctx.aws.iam();
    let names = match iam.list_roles(&ctx.install.role_path()).await {
        Ok(names) => names,
        Err(error) => {
            tracing::warn!(
                error = explain(&error, &ctx.install),
                "the roles of this cluster cannot be listed; roles that no object speaks of are not looked after until they can"
            );
            return false;
        }
    };
    let mut complete = true;
    for name in names {
        let head = match iam.role(&name).await {
            Ok(head) => head,
            Err(error) => {
                complete &= error.kind == AwsErrorKind::NotFound;
                continue;
            }
        };
        if let (Some(namespace), Some(service_account)) =
            (head.tags.get(tags::NAMESPACE), head.tags.get(tags::SERVICE_ACCOUNT))
            // Of a namespace that this process does not serve it knows nothing, which is no reason to remove anything.
            && ctx.serves(namespace)
        {
            ctx.queues
                .roles
                .add_now(RoleKey { namespace: namespace.clone(), service_account: service_account.clone() });
        }
    }
    complete
}
