//! Lockdown, as far as it takes I/O: the latch in status, the Denies for a spec that cannot be carried out, and what lifting has to wait for.

use kube::api::ListParams;
use kube::core::DeserializeGuard;
use kube::{Api, ResourceExt};

use super::access::role_keys;
use super::desired::{Names, grant_namespaces, names};
use super::lockdown::{Lock, closed, found, latched, lock, statements};
use super::observed::{KeyState, Observed};
use super::status::first_visit;
use crate::api::lockdown::{LockdownLevel, LockdownStatus};
use crate::api::{DecryptGrant, SecureBucket};
use crate::aws::error::{AwsError, Seen};
use crate::grant::deadline::opened;
use crate::grant::terms::asks_for;
use crate::k8s::events::Reason;
use crate::k8s::status::replace_status;
use crate::k8s::{REQUEST_TIMEOUT, within};
use crate::reconcile::context::{Context, ObjectKey};
use crate::reconcile::outcome::PassError;
use crate::role::state::RoleKey;

/// Latches what the spec orders, before anything else of the pass.
///
/// # Errors
/// If status cannot be written: then the order comes again with the next pass.
pub async fn latch(ctx: &Context, api: &Api<SecureBucket>, object: SecureBucket) -> Result<SecureBucket, PassError> {
    let id = uuid::Uuid::new_v4().simple().to_string();
    match latched(&object, id.get(..8).unwrap_or(&id), ctx.clock.system_now()) {
        Some(latch) => write(ctx, api, &object, latch).await,
        None => Ok(object),
    }
}

async fn write(
    ctx: &Context,
    api: &Api<SecureBucket>,
    object: &SecureBucket,
    latch: LockdownStatus,
) -> Result<SecureBucket, PassError> {
    let mut status = object.status.clone().unwrap_or_else(|| first_visit(object, ctx.clock.system_now()));
    let note = format!("{:?}: {} (id {})", latch.level, latch.reason, latch.id);
    status.lockdown = Some(latch);
    let object = replace_status(api, object, status).await?;
    ctx.event(&object, Reason::LockedDown, "Lockdown", note);
    Ok(object)
}

/// Restores a latch that status has lost and AWS still has. True if it did: the pass has to begin anew.
///
/// # Errors
/// If status cannot be written.
pub async fn restore(
    ctx: &Context,
    api: &Api<SecureBucket>,
    object: &SecureBucket,
    observed: &Observed,
    bucket_arn: &str,
) -> Result<bool, PassError> {
    let policy = observed.bucket.value().and_then(|b| b.policy.value());
    let Some(latch) = policy.and_then(|p| found(object, p, bucket_arn, ctx.clock.system_now())) else {
        return Ok(false);
    };
    write(ctx, api, object, latch).await?;
    Ok(true)
}

/// Closes a bucket whose spec cannot be carried out: the Denies into the bucket policy, and the key disabled if that is ordered.
///
/// # Errors
/// If it is worth another attempt.
pub async fn close(
    ctx: &Context,
    api: &Api<SecureBucket>,
    object: SecureBucket,
    namespace_uid: &str,
) -> Result<SecureBucket, PassError> {
    let status = object.status.clone().unwrap_or_default();
    let (Some(lock), Ok(names)) = (lock(&object), names(&object, namespace_uid, &ctx.install)) else {
        return Ok(object);
    };
    // One that fails does not hold up the other.
    let bucket = if status.bucket_arn.is_some() { refuse(ctx, &names, &lock).await } else { Ok(()) };
    let object = match status.key_arn.filter(|_| lock.level == LockdownLevel::All) {
        Some(key) => disable(ctx, api, object, &names, &key).await?,
        None => object,
    };
    bucket.map(|()| object).map_err(PassError::Aws)
}

async fn refuse(ctx: &Context, names: &Names, lock: &Lock) -> Result<(), AwsError> {
    let s3 = ctx.aws.narrowing().s3(&names.place);
    let denies = statements(lock, &names.bucket_arn(), &ctx.install);
    let policy = match Seen::from_result(s3.policy(&names.bucket).await) {
        Seen::Unreadable(e) => return Err(e),
        seen => closed(seen.value(), &denies),
    };
    match policy {
        Some(policy) => s3.put_policy(&names.bucket, &policy).await,
        None => Ok(()),
    }
}

async fn disable(
    ctx: &Context,
    api: &Api<SecureBucket>,
    object: SecureBucket,
    names: &Names,
    key: &str,
) -> Result<SecureBucket, PassError> {
    let kms = ctx.aws.narrowing().kms(&names.place);
    if kms.describe_key(key).await?.state != KeyState::Enabled {
        return Ok(object);
    }
    let mut status = object.status.clone().unwrap_or_default();
    if let Some(latch) = status.lockdown.as_mut() {
        latch.key_disabled = Some(true);
    }
    let object = replace_status(api, &object, status).await?;
    kms.disable_key(key).await?;
    Ok(object)
}

/// A grant that lifting has to wait for, in words: one whose removal is not proved, or a request that is not refused yet. Asked of the API
/// server where the bucket lets ask: no grant may outlive a lockdown because a cache did not know it.
///
/// # Errors
/// If the API server does not answer.
pub async fn grants_left(ctx: &Context, bucket: &SecureBucket) -> Result<Option<String>, PassError> {
    let consenting = grant_namespaces(bucket);
    let mut all: Vec<DecryptGrant> = ctx.caches.grants.list().iter().map(|g| (**g).clone()).collect();
    for namespace in consenting.iter().filter(|n| ctx.serves(n)) {
        all.retain(|g| g.namespace().as_deref() != Some(namespace));
        let api: Api<DeserializeGuard<DecryptGrant>> = Api::namespaced(ctx.client.clone(), namespace);
        let listed = within(REQUEST_TIMEOUT, api.list(&ListParams::default())).await?;
        all.extend(listed.items.into_iter().filter_map(|g| g.0.ok()));
    }
    let left = all.iter().find(|g| {
        let unproved = g.status.as_ref().is_none_or(|s| s.removal.is_none());
        let asks = consenting.contains(&g.namespace().unwrap_or_default());
        asks_for(g, bucket) && (asks && unproved || opened(g))
    });
    let Some(grant) = left else { return Ok(None) };
    ctx.queues.grants.add_now(ObjectKey::of(grant));
    Ok(Some(format!("until DecryptGrant {} is over and removed from AWS", ObjectKey::of(grant))))
}

/// A role that does not have its duty back yet, in words.
pub fn roles_left(ctx: &Context, bucket: &SecureBucket) -> Option<String> {
    let identity = bucket.status.as_ref()?.identity.clone()?;
    let back = |key: &RoleKey| {
        ctx.roles.get(key).is_some_and(|r| {
            let foreign = r.problem.as_ref().is_some_and(|p| p.reason == "RoleNameTaken");
            foreign || r.problem.is_none() && !r.locked.contains_key(&identity)
        })
    };
    let key = role_keys(bucket).into_iter().find(|key| !back(key))?;
    ctx.queues.roles.add_now(key.clone());
    Some(format!("the role of ServiceAccount {} does not have its duty back yet", key.service_account))
}
