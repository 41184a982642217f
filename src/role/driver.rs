//! One pass over a workload role. The only code that writes roles: whoever wants a role to change adds its key to the queue.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::desired::{DesiredRole, desired_role, returning, with_held};
use super::document::{Built, DutyInput, Inputs, POLICY_NAME, build, held_denies};
use super::evidence::Evidence;
use super::glance::{enough, look};
use super::observed::ObservedRole;
use super::plan::{Action, Need, Plan, need, plan, rests_until};
use super::publish::publish;
use super::sources::{Objects, cached, holders, listed};
use super::state::{Problem, RoleKey, RoleState};
use super::tell;
use crate::aws::error::{AwsError, Seen};
use crate::aws::iam::Iam;
use crate::aws::listing::Listed;
use crate::domain::time::after;
use crate::grant::deadline::removal_due;
use crate::k8s::events::Reason;
use crate::reconcile::backoff::Class;
use crate::reconcile::context::{Context, failed, lock};
use crate::reconcile::outcome::{PassError, explain, meaning};
use crate::reconcile::queue::Next;

/// Rounds of observe and execute in one pass.
const ROUNDS: usize = 3;

/// When to look again at a Deny that something still holds.
const RELOOK: SignedDuration = SignedDuration::from_secs(15);

/// Runs one pass and says when the next is due.
pub async fn reconcile(ctx: &Context, key: RoleKey) -> Next {
    let next = match pass(ctx, &key).await {
        Ok(next) => next,
        Err(error) => {
            tracing::info!(role = %key, category = error.category(), %error, "pass over role not finished");
            if let PassError::Aws(e) = &error {
                let before = ctx.roles.get(&key).unwrap_or_default();
                publish(ctx, &key, RoleState { problem: Some(problem_of(ctx, e)), ..before });
            }
            lock(&ctx.quiet).remove(&key);
            failed(&ctx.role_backoff, &key, &error)
        }
    };
    ends(ctx, &key, next);
    next
}

/// The next end of a grant under this role is urgent work, and so is another attempt at one that is over.
fn ends(ctx: &Context, key: &RoleKey, next: Next) {
    let grants = ctx.caches.grants.list_in(&key.namespace);
    let own = grants.iter().filter(|g| g.spec.subject.service_account_ref.name == key.service_account);
    let now = ctx.clock.aws_now();
    let (over, to_come): (Vec<Timestamp>, Vec<Timestamp>) =
        own.filter_map(|g| removal_due(g)).partition(|at| *at <= now);
    if let Some(at) = to_come.into_iter().min() {
        ctx.queues.roles.add_urgent(key.clone(), ctx.instant_of(at));
    }
    if let (Next::Failed(wait), false) = (next, over.is_empty()) {
        ctx.queues.roles.add_urgent(key.clone(), Instant::now() + wait);
    }
}

async fn pass(ctx: &Context, key: &RoleKey) -> Result<Next, PassError> {
    let desired = desired_role(key, &ctx.install);
    let asked = ctx.roles.must_obey(key);
    let obey = asked.is_some();
    let mut objects = cached(ctx, key).await?;
    if let Some(wait) = quiet(ctx, key, &objects).filter(|_| !obey) {
        return Ok(Next::In(wait));
    }
    let mut fresh = false;
    // While something that ended is still to be proved gone, the pass has the share of AWS's rates that is kept for that.
    let mine = objects.inputs(key, ctx, ctx.clock.aws_now());
    let locked = mine.duties.iter().any(|d| d.lock.is_some());
    let ending = !mine.held.is_empty() && !locked;
    let aws = if ending || locked { ctx.aws.narrowing() } else { ctx.aws.clone() };
    let mut done: Option<(Seen<ObservedRole>, Vec<Action>)> = None;
    let (mut round, mut may_glance) = (0, !obey);
    loop {
        let begun = Instant::now();
        let glance = std::mem::take(&mut may_glance).then_some(ending);
        let (observed, glanced) = look(ctx, &aws, &desired.name, key, done.take(), glance).await;
        let mut drawn = draw(ctx, key, &desired, &objects, &observed, obey).await;
        if glanced && !enough(&drawn.plan, &observed) {
            continue;
        }
        if drawn.plan.widens && !fresh {
            // Caches may be behind: what gives access is computed from what the API server says now. What takes it away waits for nobody.
            objects = match listed(ctx, key).await {
                Ok(objects) => objects,
                Err(error) => {
                    narrow(ctx, &desired, drawn.plan, key, &objects, &observed).await?;
                    return Err(error);
                }
            };
            fresh = true;
            drawn = draw(ctx, key, &desired, &objects, &observed, obey).await;
        }
        let held_back = ctx.may_widen().err().filter(|_| drawn.plan.hold_back());
        if glanced && !enough(&drawn.plan, &observed) {
            // What is listed must not be older than what is seen.
            fresh = false;
            continue;
        }
        tell::foreign(ctx, key, &objects, &drawn.plan);
        if drawn.plan.actions.is_empty() || round >= ROUNDS {
            ctx.roles.looked(key, begun);
            let next = settle(ctx, key, &objects, &drawn, &observed);
            if let (Some(asked), false) = (asked, matches!(next, Next::Failed(_)) || held_back.is_some()) {
                ctx.roles.obeyed(key, asked);
            }
            return Ok(match (next, held_back) {
                (Next::In(wait), Some(until)) => Next::In(wait.min(until.saturating_duration_since(Instant::now()))),
                (Next::Done, Some(until)) => Next::In(until.saturating_duration_since(Instant::now())),
                (next, _) => next,
            });
        }
        tell::drifted(ctx, key, &objects, &drawn.plan, Reason::DriftDetected);
        execute(ctx, &desired, &drawn.plan, key, &objects).await?;
        tell::drifted(ctx, key, &objects, &drawn.plan, Reason::DriftRepaired);
        done = Some((observed, drawn.plan.actions));
        round += 1;
    }
}

/// Carries out what takes access away, and no more. A role that is not there has nothing to lose.
async fn narrow(
    ctx: &Context,
    desired: &DesiredRole,
    mut plan: Plan,
    key: &RoleKey,
    objects: &Objects,
    observed: &Seen<ObservedRole>,
) -> Result<(), PassError> {
    plan.actions.truncate(if observed.is_absent() { 0 } else { plan.widening });
    execute(ctx, desired, &plan, key, objects).await
}

/// What objects and observation come to.
struct Drawn {
    inputs: Inputs,
    built: Built,
    plan: Plan,
    wake: Option<Timestamp>,
}

async fn draw(
    ctx: &Context,
    key: &RoleKey,
    desired: &DesiredRole,
    objects: &Objects,
    observed: &Seen<ObservedRole>,
    obey: bool,
) -> Drawn {
    let now = ctx.clock.aws_now();
    let (released, wake) = evidence(ctx, key, objects, observed, now).await;
    let document = observed.value().and_then(|r| r.document.value());
    let mut mine = objects.inputs(key, ctx, now);
    let lost = lost(ctx, objects, &mine, observed).await;
    mine.grants.retain(|g| !lost.contains(&g.uid));
    let inputs = with_held(mine, document, &|identity| released.contains(identity), now);
    let built = build(&inputs);
    let held_back = inputs.duties.iter().any(|d| d.lock.is_some());
    let retention = ctx.install.timing.role_retention;
    let need = need(&built.statements, held_back, observed, retention, now);
    let plan = plan(desired, &built.statements, need, observed, obey && !objects.locked(key));
    let rests = observed.value().filter(|_| need == Need::Resting).map(|role| rests_until(&role.head, retention));
    let wake = wake.into_iter().chain(rests).min();
    Drawn { inputs, built, plan, wake }
}

/// Grants whose KMS grant status knows and AWS does not, or may not. Their window is not put back into the document: status is of an earlier day,
/// by an etcd restore, and through the KMS grant of another DecryptGrant the role could read by it. The same holds if the role that the KMS
/// grant is for is gone: whoever deleted it meant to end what it could do, and no role is made anew for that. Their own pass ends them.
async fn lost(ctx: &Context, objects: &Objects, mine: &Inputs, observed: &Seen<ObservedRole>) -> BTreeSet<String> {
    let mut lost = BTreeSet::new();
    let mut shown: BTreeMap<&str, Listed> = BTreeMap::new();
    let (role, gone) = (observed.value(), observed.is_absent());
    for input in returning(&mine.grants, role.and_then(|r| r.document.value())) {
        let grant = objects.grants.iter().find(|g| g.metadata.uid.as_deref() == Some(&input.uid));
        let Some(named) = grant.and_then(|g| g.status.as_ref()?.kms_grant.as_ref()) else { continue };
        if gone || role.is_some_and(|r| r.head.role_id != named.role_id) {
            lost.insert(input.uid.clone());
            continue;
        }
        let Some(id) = &named.id else { continue };
        let key_arn = input.bucket.key_arn.as_str();
        // One list for all windows on the key.
        if !shown.contains_key(key_arn) {
            let kms = ctx.aws.kms(&ctx.install.place_of(key_arn));
            shown.insert(key_arn, ctx.listings.grants(&kms, key_arn).await);
        }
        if !shown.get(key_arn).is_some_and(|l| l.as_ref().is_ok_and(|all| all.iter().any(|g| g.id == *id))) {
            lost.insert(input.uid.clone());
        }
    }
    lost
}

/// How long the role needs no look, if it was as it should be with the same inputs.
fn quiet(ctx: &Context, key: &RoleKey, objects: &Objects) -> Option<Duration> {
    let (inputs, until) = lock(&ctx.quiet).get(key).cloned()?;
    let same = inputs == objects.inputs(key, ctx, ctx.clock.aws_now());
    let left = until.saturating_duration_since(Instant::now());
    (same && !left.is_zero()).then_some(left)
}

/// Which held Denies may leave, and when to look again at the others.
async fn evidence(
    ctx: &Context,
    key: &RoleKey,
    objects: &Objects,
    observed: &Seen<ObservedRole>,
    now: Timestamp,
) -> (BTreeSet<String>, Option<Timestamp>) {
    let mut released = BTreeSet::new();
    let mut wake: Option<Timestamp> = None;
    let Some(role) = observed.value() else { return (released, wake) };
    let open = objects.inputs(key, ctx, now).grants;
    let mut held = role.document.value().map(held_denies).unwrap_or_default();
    held.retain(|deny| !open.iter().any(|g| g.bucket.identity == deny.identity));
    ctx.clean_since.keep_only(key, &held.iter().map(|deny| deny.identity.clone()).collect());
    for deny in held {
        match ctx.clean_since.look(ctx, key, &deny, &role.head.role_id, &objects.grants).await {
            Evidence::Released => {
                released.insert(deny.identity);
            }
            Evidence::CleanUntil(until) => wake = Some(wake.map_or(until, |w| w.min(until))),
            // Something is left: looked at again soon, not at the next drift check.
            Evidence::Held => {
                let soon = after(now, RELOOK);
                wake = Some(wake.map_or(soon, |w| w.min(soon)));
            }
        }
    }
    (released, wake)
}

async fn execute(
    ctx: &Context,
    desired: &DesiredRole,
    plan: &Plan,
    key: &RoleKey,
    objects: &Objects,
) -> Result<(), PassError> {
    let (narrowing, widening) = (ctx.aws.narrowing().iam(), ctx.widening().iam());
    let mut failure = None;
    for (position, action) in plan.actions.iter().enumerate() {
        // What failed keeps nothing else from being taken away, but it keeps access from being given.
        if failure.is_some() && position >= plan.widening {
            continue;
        }
        let iam = if position < plan.widening { &narrowing } else { &widening };
        if let Err(error) = one(iam, desired, action).await {
            tracing::warn!(role = %key, action = %action, %error, "failed");
            failure = failure.or(Some(error));
            if matches!(action, Action::Create { .. } | Action::DeleteDocument) {
                break;
            }
            continue;
        }
        tracing::info!(role = %key, action = %action, "done");
        let reason = match action {
            Action::Create { .. } => Reason::RoleCreated,
            Action::Delete => Reason::RoleRemoved,
            _ => continue,
        };
        for bucket in holders(key, objects) {
            ctx.event(bucket.as_ref(), reason, &format!("{action}"), format!("{action}: {}", desired.arn));
        }
    }
    failure.map_or(Ok(()), |e| Err(e.into()))
}

async fn one(iam: &Iam, desired: &DesiredRole, action: &Action) -> Result<(), AwsError> {
    let name = desired.name.as_str();
    match action {
        Action::Create { trust } => {
            iam.create_role(name, &desired.path, trust, &desired.boundary, &desired.tags).await.map(drop)
        }
        Action::PutTrust { trust } => iam.put_trust(name, trust).await,
        Action::PutBoundary => iam.put_boundary(name, &desired.boundary).await,
        Action::Tag => iam.tag_role(name, &desired.tags).await,
        Action::PutDocument { document } => iam.put_role_policy(name, POLICY_NAME, document).await,
        Action::DeleteDocument => iam.delete_role_policy(name, POLICY_NAME).await,
        Action::DeleteForeign { name: policy } => iam.delete_role_policy(name, policy).await,
        Action::Detach { arn } => iam.detach_policy(name, arn).await,
        Action::Delete => iam.delete_role(name).await,
    }
}

/// The role is as it should be, or something is in the way: tells those who wait for it, and says when to look again.
fn settle(ctx: &Context, key: &RoleKey, objects: &Objects, drawn: &Drawn, observed: &Seen<ObservedRole>) -> Next {
    let Drawn { inputs, built, plan, wake } = drawn;
    let unreadable = plan.unreadable.first();
    let problem = plan.problem.clone().or_else(|| unreadable.map(|e| problem_of(ctx, e)));
    let in_force = problem.is_none() && plan.actions.is_empty();
    // After several rounds AWS still shows what was there before: its reads lag behind.
    let lagging = || Problem::passing("Progressing", "AWS does not show the change yet");
    let problem = problem.or_else(|| (!plan.actions.is_empty()).then(lagging));
    publish(ctx, key, state(ctx, key, drawn, observed, problem));
    if let Some(error) = unreadable {
        return Next::Failed(ctx.role_backoff.failed(key, meaning(error.kind).class));
    }
    if !plan.actions.is_empty() {
        lock(&ctx.quiet).remove(key);
        return Next::Failed(ctx.role_backoff.failed(key, Class::Conflict));
    }
    ctx.role_backoff.reset(key);
    // From the last whole look on.
    let looked = ctx.roles.whole(key).map_or_else(Instant::now, |(_, at)| at);
    let mut next = (looked + ctx.drift_check(&key.to_string())).saturating_duration_since(Instant::now());
    let ends = inputs.grants.iter().map(|g| g.expires_at);
    if let Some(at) = ends.chain(*wake).min() {
        next = next.min(ctx.instant_of(at).saturating_duration_since(Instant::now()));
    }
    let next = next.max(Duration::from_millis(50));
    if in_force && built.left_out.is_empty() {
        let known = objects.inputs(key, ctx, ctx.clock.aws_now());
        lock(&ctx.quiet).insert(key.clone(), (known, Instant::now() + next));
    } else {
        lock(&ctx.quiet).remove(key);
    }
    // Nothing refers to the role any more: its pass comes when something does.
    let idle = observed.is_absent() && inputs == &Inputs::default();
    if idle { Next::Done } else { Next::In(next) }
}

fn problem_of(ctx: &Context, error: &AwsError) -> Problem {
    Problem {
        reason: error.kind.reason().into(),
        message: explain(error, &ctx.install),
        stalled: meaning(error.kind).stalled,
    }
}

fn state(
    ctx: &Context,
    key: &RoleKey,
    drawn: &Drawn,
    observed: &Seen<ObservedRole>,
    problem: Option<Problem>,
) -> RoleState {
    let before = ctx.roles.get(key).unwrap_or_default();
    let head = observed.value().map(|r| &r.head);
    let document = observed.value().and_then(|r| r.document.value()).cloned();
    let same = before.document.is_some() && before.document == document;
    let in_force = problem.is_none() && drawn.plan.actions.is_empty();
    let placed = |d: &&DutyInput| in_force && !drawn.built.left_out.contains(&d.bucket.identity);
    let (held_back, duties): (Vec<_>, Vec<_>) =
        drawn.inputs.duties.iter().filter(placed).partition(|d| d.lock.is_some());
    let identity = |d: &DutyInput| d.bucket.identity.clone();
    RoleState {
        role_id: head.map(|h| h.role_id.clone()),
        created: head.map(|h| h.created),
        document_since: if same { before.document_since } else { document.as_ref().map(|_| ctx.clock.aws_now()) },
        document,
        duties: duties.into_iter().map(identity).collect(),
        // Not known to be given back until that was read back.
        locked: if in_force {
            held_back.into_iter().filter_map(|d| Some((identity(d), d.lock?))).collect()
        } else {
            before.locked
        },
        left_out: drawn.built.left_out.clone(),
        problem,
        restricted: drawn.plan.restricted.clone(),
    }
}
