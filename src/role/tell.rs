//! What a pass over a role tells the owners of buckets.

use super::plan::Plan;
use super::sources::{Objects, holders};
use super::state::RoleKey;
use crate::k8s::events::Reason;
use crate::reconcile::context::Context;

/// Says once for each find that somebody gave the role access: to those who give it duties, and whose data its open grants read.
pub(super) fn foreign(ctx: &Context, key: &RoleKey, objects: &Objects, plan: &Plan) {
    for find in ctx.foreign.found(&format!("role/{key}"), plan.foreign.clone()) {
        ctx.metrics.foreign_access(find.kind);
        tracing::warn!(role = %key, kind = find.kind.name(), id = find.id, what = find.words, "foreign access");
        let own = holders(key, objects).cloned();
        let read = objects.inputs(key, ctx, ctx.clock.aws_now()).grants;
        let of_grants = ctx.caches.buckets.list().into_iter().filter(|b| {
            let identity = b.status.as_ref().and_then(|s| s.identity.as_ref());
            read.iter().any(|g| Some(&g.bucket.identity) == identity)
        });
        for bucket in own.chain(of_grants) {
            let words = format!("role of {key}: {}", find.words);
            ctx.event(bucket.as_ref(), Reason::ForeignAccess, find.kind.name(), words);
        }
    }
}

/// Counts differences that nobody declared, found or repaired, and tells the owners of the buckets that give the role a duty.
pub(super) fn drifted(ctx: &Context, key: &RoleKey, objects: &Objects, plan: &Plan, reason: Reason) {
    let repaired = reason == Reason::DriftRepaired;
    for difference in &plan.drift {
        if repaired {
            ctx.metrics.drift_repaired("role");
        } else {
            ctx.metrics.drift_detected("role");
            tracing::warn!(role = %key, difference, "drift");
        }
        let verb = if repaired { "repaired: " } else { "" };
        for bucket in holders(key, objects) {
            ctx.event(bucket.as_ref(), reason, "role", format!("role of {}: {verb}{difference}", key.service_account));
        }
    }
}
