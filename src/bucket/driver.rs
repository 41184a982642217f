//! One pass over a SecureBucket: observe → plan → execute → observe → status.

use std::time::Duration;

use jiff::Timestamp;
use kube::{Api, ResourceExt};
use tokio::time::Instant;

use super::action::{Action, Facet};
use super::desired::{Desired, Invalid, desired};
use super::execute::Executor;
use super::foreign::{Claim, Claims};
use super::lockdown::{Lift, Looks, Turn, lift, turn};
use super::observe::observe;
use super::observed::KeyState;
use super::plan::{Plan, Situation, plan};
use super::status::{Pass, first_visit, invalid, summarise};
use super::{access, claims, latch, release};
use crate::api::condition::{self, types};
use crate::api::{BUCKET_FINALIZER, RECONCILE_AT, SecureBucket};
use crate::aws::error::AwsError;
use crate::domain::time::{after, parse_instant};
use crate::k8s::events::Reason;
use crate::k8s::status::replace_status;
use crate::k8s::{REQUEST_TIMEOUT, finalizer, within};
use crate::reconcile::context::{Context, Marks, ObjectKey, Settled, failed, lock};
use crate::reconcile::outcome::{PassError, meaning};
use crate::reconcile::queue::Next;

/// Rounds of observe and execute in one pass. Creation needs two; more means that AWS and plan do not agree, which the next pass may settle.
const ROUNDS: usize = 4;

/// Runs one pass and says when the next is due.
pub async fn reconcile(ctx: &Context, key: ObjectKey) -> Next {
    match pass(ctx, &key).await {
        Ok(next) => next,
        Err(error) => {
            tracing::info!(object = %key, category = error.category(), %error, "pass over SecureBucket not finished");
            failed(&ctx.bucket_backoff, &key, &error)
        }
    }
}

async fn pass(ctx: &Context, key: &ObjectKey) -> Result<Next, PassError> {
    let api: Api<SecureBucket> = Api::namespaced(ctx.client.clone(), &key.namespace);
    let Some(mut object) = within(REQUEST_TIMEOUT, api.get_opt(&key.name)).await? else {
        ctx.bucket_backoff.reset(key);
        lock(&ctx.settled).remove(key);
        claims::forget(ctx, key);
        return Ok(Next::Done);
    };
    let deleting = object.metadata.deletion_timestamp.is_some();
    let held = object.finalizers().iter().any(|f| f == BUCKET_FINALIZER);
    if deleting && !held {
        return Ok(Next::Done);
    }
    object = latch::latch(ctx, &api, object).await?;
    let Some(namespace_uid) = ctx.namespace_uid(&key.namespace).await? else {
        return Err(PassError::Kubernetes(format!("namespace {} is not there", key.namespace)));
    };
    let desired = match desired(&object, &namespace_uid, &ctx.install) {
        Ok(desired) => desired,
        Err(problem) => {
            let object = latch::close(ctx, &api, object, &namespace_uid).await?;
            return refuse(ctx, &api, object, &problem).await;
        }
    };
    if object.status.is_none() {
        let status = first_visit(&object, ctx.clock.system_now());
        object = replace_status(&api, &object, status).await?;
    }
    if !held {
        // The answer is the object with the finalizer in it: nothing in AWS exists without one.
        object = finalizer::add(&api, &object, BUCKET_FINALIZER).await?;
    }
    // What takes access away waits for nobody.
    if !deleting && desired.lock.is_none() && access::unlooked(ctx, &object) {
        // After a start: what the duties come to is known when the writer of roles has looked, not before.
        return Ok(Next::In(Duration::from_millis(200)));
    }
    converge(ctx, &api, object, desired).await
}

/// The spec cannot be carried out: said in status, nothing else is touched. Deleting such an object lets go of what it had.
async fn refuse(
    ctx: &Context,
    api: &Api<SecureBucket>,
    object: SecureBucket,
    problem: &Invalid,
) -> Result<Next, PassError> {
    let never_bound = object.status.as_ref().is_none_or(|s| s.bucket_name.is_none());
    if object.metadata.deletion_timestamp.is_some() && never_bound {
        finalizer::remove(api, &object, BUCKET_FINALIZER).await?;
        return Ok(Next::Done);
    }
    ctx.event_once(&object, Reason::InvalidSpec, "Validate", problem.to_string());
    let status = invalid(&object, problem, ctx.clock.system_now());
    let object = replace_status(api, &object, status).await?;
    Ok(Next::Terminal(ctx.drift_check(&object.uid().unwrap_or_default())))
}

/// What the rounds of a pass came to.
struct Rounds {
    object: SecureBucket,
    plan: Plan,
    failures: Vec<(Facet, AwsError)>,
    /// The bucket was seen, and is ours.
    exists: bool,
    /// What the cache knew of DecryptGrants when KMS grants were last listed.
    claims: Vec<Claim>,
}

async fn converge(
    ctx: &Context,
    api: &Api<SecureBucket>,
    object: SecureBucket,
    desired: Desired,
) -> Result<Next, PassError> {
    let key = ObjectKey::of(&object);
    // An empty one asks for nothing: the admission policy lets everybody write it.
    let asked = object.annotations().get(RECONCILE_AT).filter(|at| !at.is_empty()).cloned();
    let handled = object.status.as_ref().and_then(|s| s.handled_reconcile_at.clone());
    let new = asked.is_some() && asked != handled;
    // During a lockdown it undoes nothing, now or later: it is handled by a look at everything.
    let obey = new && desired.lock.is_none();
    if obey {
        access::obey(ctx, &object);
    }
    let lockdown = object.status.as_ref().and_then(|s| s.lockdown.clone());
    let marks = Marks {
        uid: object.uid(),
        generation: object.metadata.generation,
        asked: asked.clone(),
        lockdown: (lockdown, lift(&object)),
    };
    let known = match settled(ctx, &object, &marks).filter(|_| !new && lift(&object) != Lift::Granted) {
        Some(known) => claims::refreshed(ctx, &object, known).await,
        None => None,
    };
    let due = known.as_ref().map(|s| s.until);
    let Rounds { object, plan, failures, exists, claims } = match known {
        Some(known) => Rounds { object, plan: known.plan, failures: Vec::new(), exists: true, claims: known.claims },
        None => rounds(ctx, api, object, &desired, obey).await?,
    };
    ctx.untell(&object, Reason::InvalidSpec);
    let duties = access::statuses(ctx, &object, &desired);
    let deleting = object.metadata.deletion_timestamp.is_some();
    let releasing = if deleting { release::waits_for(ctx, &object, &plan, &failures) } else { None };
    if !deleting || releasing.is_none() {
        access::forget_profiles(ctx, &object).await?;
    }
    let now = ctx.clock.system_now();
    let clean = plan.in_sync() && failures.is_empty() && !deleting;
    let lockdown = lifting(ctx, &object, &plan, clean, now).await?;
    let moved = lockdown.moved;
    let waiting = lockdown.note.is_some() && matches!(lift(&object), Lift::Granted | Lift::Lifting);
    let end = Pass {
        desired: &desired,
        plan: &plan,
        failures: &failures,
        duties,
        exists,
        access: access::readers(ctx, &object, &desired, &plan),
        active_grants: access::active_grants(ctx, &object),
        pending: access::pending_grants(ctx, &object),
        releasing: releasing.clone(),
        obeyed: asked.filter(|_| new && failures.is_empty() && plan.finished()),
        lockdown,
    };
    let status = summarise(&object, &end, &ctx.install, now);
    tell(ctx, &object, &status);
    let before = object.status.clone().unwrap_or_default();
    access::tell(ctx, &object, &before, &status);
    let lifted = before.lockdown.filter(|_| status.lockdown.is_none());
    let object = replace_status(api, &object, status).await?;
    if let Some(lifted) = lifted {
        ctx.event(&object, Reason::LockdownLifted, "Lift", format!("the lockdown {} was lifted", lifted.id));
    }
    if deleting && releasing.is_none() {
        return release::finish(ctx, api, &object).await;
    }
    access::profiles(ctx, &object, &desired).await?;
    let next = due.map_or_else(
        || next(ctx, &key, &object, &plan, &failures),
        |due| Next::In(due.saturating_duration_since(Instant::now())),
    );
    if moved {
        lock(&ctx.settled).remove(&key);
        return Ok(Next::In(Duration::ZERO));
    }
    if let (Next::In(wait), true) = (next, waiting) {
        // What it waits for wakes this object; this is only the backstop.
        return Ok(Next::In(wait.min(Duration::from_secs(5))));
    }
    match (next, clean) {
        (Next::In(wait), true) => {
            let entry = Settled { marks, plan, until: due.unwrap_or_else(|| Instant::now() + wait), claims };
            lock(&ctx.settled).insert(key, entry);
        }
        (_, false) => {
            lock(&ctx.settled).remove(&key);
        }
        _ => {}
    }
    Ok(next)
}

/// The latch after this pass. What grants and roles have to do first is asked only when all else is done.
async fn lifting(
    ctx: &Context,
    object: &SecureBucket,
    plan: &Plan,
    clean: bool,
    now: Timestamp,
) -> Result<Turn, PassError> {
    let waits = match lift(object) {
        Lift::Granted if clean => latch::grants_left(ctx, object).await?,
        Lift::Lifting if clean => latch::roles_left(ctx, object),
        _ => None,
    };
    let key_enabled = plan.key_state == Some(KeyState::Enabled);
    let seen = Looks { clean, withheld: plan.withheld, key_enabled, waits: waits.as_deref() };
    Ok(turn(object, seen, now))
}

/// The last observation, if the object is the same and its drift check is not due: what wakes a pass then is a role or a grant.
fn settled(ctx: &Context, object: &SecureBucket, marks: &Marks) -> Option<Settled> {
    if object.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let known = lock(&ctx.settled).get(&ObjectKey::of(object)).cloned()?;
    (known.marks == *marks && Instant::now() < known.until).then_some(known)
}

async fn rounds(
    ctx: &Context,
    api: &Api<SecureBucket>,
    object: SecureBucket,
    desired: &Desired,
    obey: bool,
) -> Result<Rounds, PassError> {
    let key_arn = object.status.as_ref().and_then(|s| s.key_arn.clone());
    let (held_back, widening) = (ctx.may_widen().is_err(), ctx.widening());
    // A lockdown takes away, and has the share of AWS's rates that is kept for that.
    let aws = if desired.lock.is_some() { ctx.aws.narrowing() } else { ctx.aws.clone() };
    let mut executor = Executor {
        aws: &aws,
        widening: (!held_back).then_some(&widening),
        install: &ctx.install,
        api,
        desired,
        object,
        key_arn,
    };
    let mut failures = Vec::new();
    let mut written = false;
    for round in 0.. {
        let status = executor.object.status.clone().unwrap_or_default();
        // Before the look: what changes meanwhile counts as a change.
        let known = status.key_arn.as_deref().map(|key| claims::cached(ctx, key)).unwrap_or_default();
        let observed = observe(&aws, &ctx.install, &desired.names, &status, written).await;
        let situation = Situation {
            claims: match observed.key.value() {
                Some(key) => claims::claims(ctx, &key.arn, key.grants.value().map_or(&[], Vec::as_slice)).await,
                None => Claims::default(),
            },
            ..situation(ctx, &executor.object, obey)
        };
        let plan = plan(desired, &observed, &situation, &ctx.install);
        claims::tell(ctx, &executor.object, &plan);
        if let Some(key) = observed.key.value() {
            executor.key_arn = executor.key_arn.or_else(|| Some(key.arn.clone()));
        }
        if plan.owns_bucket {
            let arn = desired.names.bucket_arn();
            if latch::restore(ctx, api, &executor.object, &observed, &arn).await? {
                return Err(PassError::Conflict);
            }
        }
        if round == 0 {
            drifted(ctx, &executor.object, &plan, Reason::DriftDetected);
        }
        let nothing_now = plan.actions.is_empty() || held_back && plan.widening == 0;
        if nothing_now || !failures.is_empty() || round == ROUNDS {
            let exists = plan.owns_bucket;
            return Ok(Rounds { object: executor.object, plan, failures, exists, claims: known });
        }
        let done = executor.run(&plan).await?;
        told(ctx, &executor.object, &done.actions, &situation);
        if done.failures.is_empty() && round == 0 {
            drifted(ctx, &executor.object, &plan, Reason::DriftRepaired);
        }
        // AWS took it: so the bucket is there, and need not be asked for.
        written = done.actions.iter().any(|a| matches!(a, Action::PutBucketPolicy { .. }));
        failures = done.failures;
    }
    Err(PassError::Conflict)
}

fn situation(ctx: &Context, object: &SecureBucket, obey: bool) -> Situation {
    let status = object.status.clone().unwrap_or_default();
    let grace = jiff::SignedDuration::try_from(ctx.install.timing.role_propagation).unwrap_or_default();
    let young = |at: &str| parse_instant(at).is_none_or(|at| ctx.clock.system_now() < after(at, grace));
    Situation {
        attempt_pending: status.key_attempt.as_ref().is_some_and(|a| young(&a.at)),
        key_arn: status.key_arn,
        bound: status.bucket_arn.is_some(),
        provisioned: status.provisioned_at.is_some(),
        spec_changed: status.observed_generation != object.metadata.generation,
        obey,
        releasing: object.metadata.deletion_timestamp.is_some(),
        key_disabled: status.lockdown.as_ref().is_some_and(|l| l.key_disabled == Some(true)),
        claims: Claims::default(),
    }
}

fn drifted(ctx: &Context, object: &SecureBucket, plan: &Plan, reason: Reason) {
    for drift in &plan.drift {
        let facet = drift.facet.name();
        match reason {
            Reason::DriftRepaired => ctx.metrics.drift_repaired(facet),
            _ => ctx.metrics.drift_detected(facet),
        }
        let verb = if reason == Reason::DriftRepaired { "repaired" } else { "differs from what is declared" };
        ctx.event(object, reason, facet, format!("{facet} {verb}: {}", drift.difference));
    }
}

/// An event for each thing made, in plain words; settings that were repaired have had theirs.
fn told(ctx: &Context, object: &SecureBucket, actions: &[Action], situation: &Situation) {
    for action in actions {
        let reason = match action {
            Action::CreateKey { .. } => Reason::KeyCreated,
            Action::CancelKeyDeletion => Reason::KeyRecovered,
            Action::CreateBucket { .. } => Reason::BucketCreated,
            Action::PutBucketTags { .. } if !situation.bound => Reason::BucketRecovered,
            Action::RevokeGrant { foreign: true, .. } => Reason::ForeignAccessRevoked,
            Action::RevokeGrant { foreign: false, .. } => Reason::LeftOverRevoked,
            Action::AnnounceKey | Action::RecordKey { .. } => continue,
            _ if situation.provisioned && !situation.spec_changed => continue,
            _ => Reason::Hardened,
        };
        ctx.event(object, reason, action.facet().name(), action.to_string());
    }
}

/// Events on transitions of what needs somebody.
fn tell(ctx: &Context, object: &SecureBucket, status: &crate::api::SecureBucketStatus) {
    for (type_, reason) in [(types::STALLED, Reason::Stalled), (types::RESTRICTED, Reason::Restricted)] {
        match condition::find(&status.conditions, type_) {
            // Each find had its own event.
            Some(c) if c.reason == types::FOREIGN_ACCESS => ctx.untell(object, reason),
            Some(c) => {
                let denied = c.reason == "AccessDenied";
                let taken = c.reason == "BucketNameTaken";
                let reason = if denied {
                    Reason::AccessDenied
                } else if taken {
                    Reason::NameTaken
                } else {
                    reason
                };
                ctx.event_once(object, reason, &c.reason, c.message.clone());
            }
            None => ctx.untell(object, reason),
        }
    }
}

fn next(ctx: &Context, key: &ObjectKey, object: &SecureBucket, plan: &Plan, failures: &[(Facet, AwsError)]) -> Next {
    let seed = object.uid().unwrap_or_default();
    let worst = failures.iter().chain(&plan.unreadable).map(|(_, e)| meaning(e.kind).class).max();
    if let Some(class) = worst {
        return Next::Failed(ctx.bucket_backoff.failed(key, class));
    }
    if plan.waiting_for_key || !plan.actions.is_empty() {
        return Next::Failed(ctx.bucket_backoff.failed(key, crate::reconcile::backoff::Class::Conflict));
    }
    ctx.bucket_backoff.reset(key);
    if object.metadata.deletion_timestamp.is_some() {
        // Roles and grants wake this object when they are done; this is only the backstop.
        return Next::In(Duration::from_secs(5));
    }
    if !plan.blocked.is_empty() {
        return Next::Terminal(ctx.drift_check(&seed).min(Duration::from_secs(60)));
    }
    Next::In(ctx.drift_check(&seed))
}
