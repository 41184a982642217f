//! Deletion of a SecureBucket under `Retain`: workload access out, proved; bucket, key, data and marks stay.

use kube::Api;

use super::access;
use super::action::Facet;
use super::foreign::Whose;
use super::plan::Plan;
use crate::api::{BUCKET_FINALIZER, SecureBucket};
use crate::aws::error::AwsError;
use crate::grant::deadline::opened;
use crate::grant::driver::asking_for;
use crate::k8s::events::Reason;
use crate::k8s::finalizer;
use crate::reconcile::context::{Context, ObjectKey};
use crate::reconcile::outcome::PassError;
use crate::reconcile::queue::Next;

/// What still gives access, in words; `None` when all is out and was read back.
pub fn waits_for(ctx: &Context, bucket: &SecureBucket, plan: &Plan, failures: &[(Facet, AwsError)]) -> Option<String> {
    let status = bucket.status.clone().unwrap_or_default();
    let identity = status.identity.clone().unwrap_or_default();
    for key in access::role_keys(bucket) {
        let out = access::withdrawn(ctx, &key, &identity);
        if !out {
            ctx.queues.roles.add_now(key.clone());
            return Some(format!(
                "waiting until the role of ServiceAccount {} no longer has its duty",
                key.service_account
            ));
        }
    }
    if let Some(grant) = asking_for(ctx, bucket).into_iter().find(|g| opened(g)) {
        ctx.queues.grants.add_now(ObjectKey::of(&*grant));
        return Some(format!("waiting until DecryptGrant {} is removed from AWS", ObjectKey::of(&*grant)));
    }
    if !plan.in_sync() || !failures.is_empty() {
        // What needs somebody is said by the conditions; a bucket or key that is not ours is let go of.
        return ours(plan).then(|| "waiting until key and bucket are as declared".into());
    }
    // Those that are left over were revoked by the plan; the others belong to DecryptGrants, or to some that cannot be read.
    let ours = plan.grants.iter().flatten().find(|g| g.whose != Whose::Foreign);
    ours.map(|g| {
        format!("waiting until KMS grant {} on the key is gone: its DecryptGrant has to let go of it", g.seen.id)
    })
}

/// False if nothing in AWS is this object's: the name was taken, or key or bucket are somebody else's or gone.
fn ours(plan: &Plan) -> bool {
    let elsewhere = ["BucketNameTaken", "BucketGone", "KeyGone", "OwnedByAnother", "KeyPendingDeletion", "KeyDisabled"];
    let blocked = plan.blocked.iter().any(|b| elsewhere.contains(&b.reason));
    !blocked || !plan.actions.is_empty() || !plan.unreadable.is_empty()
}

/// Says what stays, then removes the finalizer.
///
/// # Errors
/// If the API server refuses.
pub async fn finish(ctx: &Context, api: &Api<SecureBucket>, bucket: &SecureBucket) -> Result<Next, PassError> {
    let status = bucket.status.clone().unwrap_or_default();
    let retained = match (&status.bucket_arn, &status.key_arn) {
        (Some(bucket), Some(key)) => {
            format!("bucket {bucket} and key {key} stay; apply the same object again to take them back")
        }
        (None, Some(key)) => {
            format!("no bucket was made; key {key} stays; apply the same object again to take it back")
        }
        _ => "nothing was made in AWS".to_owned(),
    };
    let foreign = status.access.iter().filter(|a| a.foreign_id().is_some()).count();
    let retained = match foreign {
        0 => retained,
        n => format!("{retained}. {n} KMS grants that the operator did not make stay on the key"),
    };
    ctx.event(bucket, Reason::BucketRetained, "Release", retained);
    finalizer::remove(api, bucket, BUCKET_FINALIZER).await?;
    ctx.bucket_backoff.reset(&ObjectKey::of(bucket));
    Ok(Next::Done)
}
