//! The duties of a SecureBucket as its status and its ConfigMaps show them. Roles are written elsewhere (`role/`); here they are looked at.

use std::collections::BTreeSet;

use kube::ResourceExt;

use super::desired::{Desired, entry_prefixes};
use super::pending::pending;
use super::plan::Plan;
use super::profile::{access_config_map, profile};
use super::who::{Facts, Holder, View, who};
use crate::api::SecureBucket;
use crate::api::condition::{is_true, types};
use crate::api::grants::PendingGrant;
use crate::api::secure_bucket::{AccessEntry, AccessStatus, DutyStatus, SecureBucketStatus};
use crate::grant::driver::asking_for;
use crate::k8s::events::Reason;
use crate::reconcile::context::Context;
use crate::reconcile::outcome::PassError;
use crate::role::document::has_duty;
use crate::role::state::{Problem, RoleKey};

/// State of a duty that a lockdown holds back.
const LOCKED: &str = "LockedDown";

/// Roles that this SecureBucket has anything to do with.
pub fn role_keys(bucket: &SecureBucket) -> BTreeSet<RoleKey> {
    let namespace = bucket.namespace().unwrap_or_default();
    let declared = bucket.spec.access.iter().map(|a| a.service_account_ref.name.clone());
    let before = bucket.status.iter().flat_map(|s| s.duties.iter().map(|a| a.service_account.clone()));
    declared.chain(before).map(|service_account| RoleKey { namespace: namespace.clone(), service_account }).collect()
}

/// True if a duty is recorded as in force and its role was not looked at since this process started. Asks for the look.
pub fn unlooked(ctx: &Context, bucket: &SecureBucket) -> bool {
    let namespace = bucket.namespace().unwrap_or_default();
    let held = |a: &&DutyStatus| a.state == "InForce" || a.state == LOCKED;
    let recorded = bucket.status.iter().flat_map(|s| &s.duties).filter(held);
    let unknown: Vec<RoleKey> =
        recorded.map(|a| role_key(&namespace, &a.service_account)).filter(|key| ctx.roles.get(key).is_none()).collect();
    for key in &unknown {
        ctx.queues.roles.add_now(key.clone());
    }
    !unknown.is_empty()
}

/// Asks the roles of the bucket for the declared state, responders' restrictions included.
pub fn obey(ctx: &Context, bucket: &SecureBucket) {
    for key in role_keys(bucket) {
        ctx.roles.ask_to_obey(&key);
        ctx.queues.roles.add_now(key);
    }
}

/// One entry per duty, and what keeps it from being in force; then those that are no longer declared, until the role's policy is without them.
pub fn statuses(ctx: &Context, bucket: &SecureBucket, desired: &Desired) -> Vec<(DutyStatus, Option<Problem>)> {
    let deleting = bucket.metadata.deletion_timestamp.is_some();
    let declared: &[AccessEntry] = if deleting { &[] } else { &bucket.spec.access };
    let held = declared.iter().map(|entry| status_of(ctx, desired, entry));
    let recorded = bucket.status.iter().flat_map(|s| &s.duties);
    let left = recorded.filter(|a| !declared.iter().any(|e| e.service_account_ref.name == a.service_account));
    let left = left
        .filter(|a| !withdrawn(ctx, &role_key(&desired.names.namespace, &a.service_account), &desired.names.identity));
    held.chain(left.map(|a| withdrawing(ctx, desired, a))).collect()
}

fn role_key(namespace: &str, service_account: &str) -> RoleKey {
    RoleKey { namespace: namespace.to_owned(), service_account: service_account.to_owned() }
}

/// True if the role was read and its policy has no duty on the bucket, or if it is not ours at all.
pub fn withdrawn(ctx: &Context, key: &RoleKey, identity: &str) -> bool {
    // No state yet means that the writer of roles has not looked since start: that is no proof of anything.
    let Some(role) = ctx.roles.get(key) else { return false };
    let foreign = role.problem.as_ref().is_some_and(|p| p.reason == "RoleNameTaken");
    foreign || role.problem.is_none() && !role.document.as_ref().is_some_and(|d| has_duty(d, identity))
}

fn withdrawing(ctx: &Context, desired: &Desired, access: &DutyStatus) -> (DutyStatus, Option<Problem>) {
    let role = ctx.roles.get(&role_key(&desired.names.namespace, &access.service_account));
    let message = format!("the duty of {} is being taken out of its role's policy", access.service_account);
    let problem = role.and_then(|r| r.problem).unwrap_or_else(|| Problem::passing("Progressing", message));
    (DutyStatus { state: "Withdrawing".into(), ..access.clone() }, Some(problem))
}

fn status_of(ctx: &Context, desired: &Desired, entry: &AccessEntry) -> (DutyStatus, Option<Problem>) {
    let namespace = &desired.names.namespace;
    let account = &entry.service_account_ref.name;
    let key = RoleKey { namespace: namespace.clone(), service_account: account.clone() };
    let uid = ctx.service_account_uid(namespace, account);
    let role = ctx.roles.get(&key);
    let problem = if uid.is_none() {
        let message = format!(
            "spec.access ({}).serviceAccountRef.name: there is no ServiceAccount {account} in namespace {namespace}; create it",
            entry.name
        );
        Some(Problem::stalled("ServiceAccountNotFound", message))
    } else if let Some(problem) = role.as_ref().and_then(|r| r.problem.clone()) {
        Some(problem)
    } else if role.as_ref().is_some_and(|r| r.left_out.contains(&desired.names.identity)) {
        let message = format!(
            "spec.access ({}): the policy of {account}'s role has no room for this duty; use fewer or shorter prefixes, or another ServiceAccount",
            entry.name
        );
        Some(Problem::stalled("PolicyTooLarge", message))
    } else if let Some(lock) = &desired.lock {
        let done = role.is_some_and(|r| r.locked.get(&desired.names.identity) == Some(&lock.level));
        let message = format!("the duty of {account} is being held back in its role's policy");
        (!done).then(|| Problem::passing("LockingDown", message))
    } else if role.as_ref().is_some_and(|r| r.locked.contains_key(&desired.names.identity)) {
        Some(Problem::passing("Lifting", format!("{account} gets its duty back")))
    } else if role.as_ref().is_some_and(|r| r.duties.contains(&desired.names.identity)) {
        role.and_then(|r| r.restricted.first().cloned()).map(|message| Problem::passing("Restricted", message))
    } else {
        Some(Problem::passing("Progressing", format!("the role of {account} is being written")))
    };
    let in_force = if desired.lock.is_some() { LOCKED } else { "InForce" };
    let role_arn = ctx.install.role_arn(namespace, account);
    let status = DutyStatus {
        name: entry.name.clone(),
        duty: entry.duty,
        service_account: account.clone(),
        service_account_uid: uid,
        workload_bound: ctx.annotated_role(namespace, account).map(|named| named.as_ref() == Some(&role_arn)),
        role_arn,
        state: problem.as_ref().map_or_else(|| in_force.into(), |p| p.reason.clone()),
    };
    (status, problem)
}

/// Events for duties that came into force, and for those that are out of the role's policy.
pub fn tell(ctx: &Context, bucket: &SecureBucket, before: &SecureBucketStatus, now: &SecureBucketStatus) {
    let find = |s: &SecureBucketStatus, a: &DutyStatus| {
        s.duties.iter().find(|b| b.service_account == a.service_account && b.duty == a.duty).map(|b| b.state.clone())
    };
    for a in now.duties.iter().filter(|a| a.state == "InForce") {
        // Coming back from `Restricted` or from a failed look is no giving.
        let was = find(before, a);
        if was.is_none_or(|state| state == "Progressing" || state == "ServiceAccountNotFound") {
            let note = format!("ServiceAccount {} holds the duty {:?} (access {})", a.service_account, a.duty, a.name);
            ctx.event(bucket, Reason::AccessGiven, &a.name, note);
        }
    }
    let had = |a: &&DutyStatus| ["InForce", "Withdrawing", LOCKED].contains(&a.state.as_str());
    for a in before.duties.iter().filter(had).filter(|a| find(now, a).is_none()) {
        let note =
            format!("ServiceAccount {} no longer holds the duty {:?} (access {})", a.service_account, a.duty, a.name);
        ctx.event(bucket, Reason::AccessWithdrawn, &a.name, note);
    }
}

/// Grants on this bucket that let somebody read now.
pub fn active_grants(ctx: &Context, bucket: &SecureBucket) -> i32 {
    let all = asking_for(ctx, bucket);
    let active = all.iter().filter(|g| g.status.as_ref().is_some_and(|s| is_true(&s.conditions, types::ACTIVE)));
    i32::try_from(active.count()).unwrap_or(i32::MAX)
}

/// Requests on this bucket that wait for approval, and how many found no room in that list.
pub fn pending_grants(ctx: &Context, bucket: &SecureBucket) -> (Vec<PendingGrant>, usize) {
    let all = asking_for(ctx, bucket);
    pending(bucket, &all.iter().map(AsRef::as_ref).collect::<Vec<_>>())
}

/// Who can decrypt now, and how many found no room in that list.
pub fn readers(ctx: &Context, bucket: &SecureBucket, desired: &Desired, plan: &Plan) -> (Vec<AccessStatus>, usize) {
    let status = bucket.status.clone().unwrap_or_default();
    let namespace = &desired.names.namespace;
    let declared = bucket.spec.access.iter().map(|e| (e.name.clone(), e.service_account_ref.name.clone()));
    let recorded = status.duties.iter().map(|d| (d.name.clone(), d.service_account.clone()));
    let mut holders: Vec<Holder> = Vec::new();
    for (entry, account) in declared.chain(recorded) {
        let role = role_key(namespace, &account);
        if holders.iter().all(|h| h.role != role) {
            holders.push(Holder { entry, role });
        }
    }
    let view = |key: &RoleKey| match ctx.roles.get(key) {
        Some(role) if role.document.is_some() || role.problem.is_none() => View::Seen(role.document),
        _ => View::Unknown,
    };
    let grants = asking_for(ctx, bucket);
    let facts = Facts {
        plan,
        identity: &desired.names.identity,
        bucket_arn: &desired.names.bucket_arn(),
        grants: &grants.iter().map(AsRef::as_ref).collect::<Vec<_>>(),
        holders: &holders,
        document: &view,
        before: &status.access,
        now: ctx.clock.aws_now(),
    };
    who(&facts, &ctx.install)
}

/// Removes the ConfigMaps of duties that are gone. Before status forgets them: what fails is tried again.
///
/// # Errors
/// If the API server cannot be asked.
pub async fn forget_profiles(ctx: &Context, bucket: &SecureBucket) -> Result<(), PassError> {
    let deleting = bucket.metadata.deletion_timestamp.is_some();
    let wanted = |name: &str| !deleting && bucket.spec.access.iter().any(|e| e.name == name);
    let recorded = bucket.status.iter().flat_map(|s| &s.duties).map(|a| &a.name);
    let named = bucket.spec.access.iter().filter(|_| deleting).map(|a| &a.name);
    for gone in recorded.chain(named).filter(|n| !wanted(n)).collect::<BTreeSet<_>>() {
        ctx.delete_config_map(bucket, &access_config_map(&bucket.name_any(), gone)).await?;
    }
    Ok(())
}

/// Writes one ConfigMap per duty.
///
/// # Errors
/// If the API server refuses. A ConfigMap of that name that is not ours is left, and said so.
pub async fn profiles(ctx: &Context, bucket: &SecureBucket, desired: &Desired) -> Result<(), PassError> {
    let name = bucket.name_any();
    let status = bucket.status.clone().unwrap_or_default();
    if bucket.metadata.deletion_timestamp.is_some() {
        return Ok(());
    }
    let (Some(_), Some(key_arn)) = (&status.provisioned_at, &status.key_arn) else { return Ok(()) };
    for entry in &bucket.spec.access {
        let role = ctx.install.role_arn(&desired.names.namespace, &entry.service_account_ref.name);
        let prefixes = entry_prefixes(entry).ok().flatten().map(|p| p.to_string()).unwrap_or_default();
        let data = profile(&desired.names.place, &desired.names.bucket, key_arn, &role, &prefixes, &name);
        ctx.write_config_map(bucket, &access_config_map(&name, &entry.name), data).await?;
    }
    Ok(())
}
