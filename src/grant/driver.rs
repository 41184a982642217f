//! One pass over a DecryptGrant: decide, do one step, decide again, until nothing is left to do now.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::{Api, ResourceExt};
use tokio::time::Instant;

use super::agree::{judge, request_until};
use super::begin::Skew;
use super::bound::{bound, put};
use super::break_glass::reviewed;
use super::deadline::{end_of, overdue_from, removal_due};
use super::decide::decide;
use super::facts::{Facts, Looked, Step};
use super::finish::SOON;
use super::observe::unlooked;
use super::overlap::{older, still_readable, with_others};
use super::{tell, terms};
use crate::api::decrypt_grant::{AfterReview, DecryptGrantStatus, EndStatus, KmsGrantStatus, RemovalStatus};
use crate::api::{DecryptGrant, GRANT_FINALIZER, GrantReview, SecureBucket};
use crate::clock::Whose;
use crate::domain::time::format_instant;
use crate::k8s::events::Reason;
use crate::k8s::{REQUEST_TIMEOUT, finalizer, within};
use crate::reconcile::context::{Context, ObjectKey, failed, lock};
use crate::reconcile::outcome::PassError;
use crate::reconcile::queue::Next;
use crate::role::desired::open_grant;
use crate::role::document::GrantInput;
use crate::role::state::RoleKey;

/// Steps in one pass; a whole life has fewer.
const STEPS: usize = 24;
/// Longest time between two attempts to remove what has ended, whatever fails.
const ATTEMPTS: Duration = Duration::from_secs(30);

/// Runs one pass and says when the next is due. A failed pass never sleeps past the grant's end, or past what makes a removal overdue.
pub async fn reconcile(ctx: &Context, key: ObjectKey) -> Next {
    let next = match pass(ctx, &key).await {
        Ok(next) => next,
        Err(error) => {
            tracing::info!(object = %key, category = error.category(), %error, "pass over DecryptGrant not finished");
            let pause = failed(&ctx.grant_backoff, &key, &error);
            let now = ctx.clock.aws_now();
            let cached = ctx.caches.grants.get(&key.namespace, &key.name);
            let opens = cached.as_ref().and_then(|g| request_until(g.status.as_ref()?));
            let moments = cached.map_or([None; 2], |g| [removal_due(&g), overdue_from(&g, now)]);
            let deadline = moments.into_iter().flatten().chain(opens).filter(|at| now < *at).min();
            match (pause, deadline) {
                (Next::Failed(pause), Some(at)) => Next::Failed(pause.min(until(ctx, at))),
                (next, _) => next,
            }
        }
    };
    end(ctx, &key, next);
    next
}

/// The end of a grant is urgent work, and so is each further attempt at one that is over.
fn end(ctx: &Context, key: &ObjectKey, next: Next) {
    let Some(at) = ctx.caches.grants.get(&key.namespace, &key.name).and_then(|g| removal_due(&g)) else { return };
    let wait = match next {
        Next::Done => return,
        Next::In(wait) | Next::Failed(wait) | Next::Terminal(wait) => wait,
    };
    let to_come = at > ctx.clock.aws_now();
    let due = if to_come { ctx.instant_of(at) } else { Instant::now() + wait.min(ATTEMPTS) };
    ctx.queues.grants.add_urgent(key.clone(), due);
}

pub(super) fn until(ctx: &Context, at: Timestamp) -> Duration {
    ctx.instant_of(at).saturating_duration_since(Instant::now()).max(Duration::from_millis(50))
}

/// What a pass works on.
pub(super) struct Work<'a> {
    pub(super) ctx: &'a Context,
    pub(super) api: Api<DecryptGrant>,
    pub(super) grant: DecryptGrant,
    pub(super) bucket: Option<SecureBucket>,
    pub(super) bucket_unreadable: Option<String>,
    /// DecryptGrants that asked for the bucket without approval, as the API server has them.
    pub(super) broken: Option<Vec<DecryptGrant>>,
    /// The DecryptGrant that this one extends.
    pub(super) extended: Option<DecryptGrant>,
    pub(super) service_account_uid: Option<String>,
    pub(super) looked: Option<Looked>,
    /// The end was written in this pass, which has revoked nothing yet.
    pub(super) just_ended: bool,
    /// Reviews that name the grant; of one that has not begun, as the API server has them.
    pub(super) reviews: Option<Vec<Arc<GrantReview>>>,
}

async fn pass(ctx: &Context, key: &ObjectKey) -> Result<Next, PassError> {
    let api: Api<DecryptGrant> = Api::namespaced(ctx.client.clone(), &key.namespace);
    let Some(grant) = within(REQUEST_TIMEOUT, api.get_opt(&key.name)).await? else {
        ctx.grant_backoff.reset(key);
        return Ok(Next::Done);
    };
    if unlooked(ctx, &grant) && removal_due(&grant).is_none_or(|at| at > ctx.clock.aws_now()) {
        // The look of the role's writer wakes this grant.
        return Ok(Next::In(SOON));
    }
    let reviews = begun(&grant).then(|| reviews_of(ctx, &grant));
    let Surroundings { bucket, bucket_unreadable, service_account_uid, extended } =
        surroundings(ctx, key, &api, &grant).await?;
    let mut work = Work {
        ctx,
        api,
        grant,
        bucket,
        bucket_unreadable,
        broken: None,
        extended,
        service_account_uid,
        looked: None,
        just_ended: false,
        reviews,
    };
    for _ in 0..STEPS {
        let step = work.decide();
        match work.perform(&step).await {
            Ok(Some(next)) => return Ok(next),
            Ok(None) => {}
            Err(PassError::Aws(error)) => {
                work.say(&error).await?;
                return Err(error.into());
            }
            Err(other) => return Err(other),
        }
    }
    Err(PassError::Conflict)
}

/// What a grant names.
#[derive(Default)]
struct Surroundings {
    bucket: Option<SecureBucket>,
    /// Why it cannot be read.
    bucket_unreadable: Option<String>,
    service_account_uid: Option<String>,
    extended: Option<DecryptGrant>,
}

/// Its window was opened, or it is over.
fn begun(grant: &DecryptGrant) -> bool {
    grant.status.as_ref().is_some_and(|s| s.expires_at.is_some() || s.ended.is_some())
}

/// Reads what a grant names.
async fn surroundings(
    ctx: &Context,
    key: &ObjectKey,
    api: &Api<DecryptGrant>,
    grant: &DecryptGrant,
) -> Result<Surroundings, PassError> {
    let target = terms::target(grant);
    let account = grant.spec.subject.service_account_ref.name.clone();
    if removal_due(grant).is_some_and(|at| at <= ctx.clock.aws_now()) {
        // It is over, whatever these are now: they are for the words of events alone.
        let bucket = ctx.caches.buckets.get(&target.namespace, &target.name).map(|b| SecureBucket::clone(&b));
        let service_account_uid = ctx.service_account_uid(&key.namespace, &account);
        return Ok(Surroundings { bucket, service_account_uid, ..Surroundings::default() });
    }
    let buckets: Api<SecureBucket> = Api::namespaced(ctx.client.clone(), &target.namespace);
    // Asked of the API server, not of a cache: a grant is never issued on a stale view. A namespace that this process does not serve has no
    // bucket for it; whoever serves it would have to serve the grant too.
    let lookup = async {
        if ctx.serves(&target.namespace) {
            within(REQUEST_TIMEOUT, buckets.get_opt(&target.name)).await
        } else {
            Ok(None)
        }
    };
    let extends = async {
        match grant.spec.extends.as_ref().filter(|_| !begun(grant)) {
            Some(named) => within(REQUEST_TIMEOUT, api.get_opt(&named.name)).await,
            None => Ok(None),
        }
    };
    let (bucket, service_account_uid, extended) =
        tokio::join!(lookup, ctx.fresh_service_account_uid(&key.namespace, &account), extends);
    // A bucket that cannot be read keeps nothing from ending.
    let (bucket, bucket_unreadable) = match bucket {
        Ok(bucket) => (bucket, None),
        Err(e) => (None, Some(e.to_string())),
    };
    Ok(Surroundings { bucket, bucket_unreadable, service_account_uid: service_account_uid?, extended: extended? })
}

impl Work<'_> {
    fn decide(&self) -> Step {
        self.with_facts(|facts| decide(facts, &self.ctx.install))
    }

    /// What is known, as a pure function takes it.
    fn with_facts<T>(&self, judge: impl FnOnce(&Facts<'_>) -> T) -> T {
        let role = self.ctx.roles.get(&self.role_key());
        let others = self.others();
        let (enforcement, older) = (self.ctx.enforcement(), self.older());
        let facts = Facts {
            grant: &self.grant,
            bucket: self.bucket.as_ref(),
            bucket_unreadable: self.bucket_unreadable.as_deref(),
            service_account_uid: self.service_account_uid.as_deref(),
            role: role.as_ref(),
            looked: self.looked.as_ref(),
            just_ended: self.just_ended,
            others: &others,
            reviews: self.reviews.as_deref(),
            enforcement: &enforcement,
            older: &older,
            extended: self.extended.as_ref(),
            broken: self.broken.as_deref(),
            now: self.ctx.clock.aws_now(),
            skew: Skew { aws: self.ctx.clock.skew(Whose::Aws), kubernetes: self.ctx.clock.skew(Whose::Kubernetes) },
        };
        judge(&facts)
    }

    /// Names of older requests and grants of the same ServiceAccount on the same bucket that are not over.
    fn older(&self) -> Vec<String> {
        older(&self.grant, self.ctx.caches.grants.list_in(&self.role_key().namespace).iter().map(AsRef::as_ref))
    }

    /// True if a reviewer's no is among the reviews.
    pub(super) fn refused(&self) -> bool {
        self.with_facts(|f| judge(f, &self.ctx.install)).is_some_and(|v| v.stop.is_some())
    }

    /// The review that access without approval needed, if it is among the reviews.
    pub(super) fn reviewed(&self) -> Option<AfterReview> {
        self.with_facts(|f| reviewed(f, &self.ctx.install))
    }

    /// Reads anew what the grant names.
    async fn read_surroundings(&mut self) -> Result<(), PassError> {
        let found = surroundings(self.ctx, &ObjectKey::of(&self.grant), &self.api, &self.grant).await?;
        (self.bucket, self.bucket_unreadable) = (found.bucket, found.bucket_unreadable);
        (self.service_account_uid, self.extended) = (found.service_account_uid, found.extended);
        Ok(())
    }

    fn role_key(&self) -> RoleKey {
        RoleKey {
            namespace: self.grant.namespace().unwrap_or_default(),
            service_account: self.grant.spec.subject.service_account_ref.name.clone(),
        }
    }

    /// Other open grants of the same role.
    pub(super) fn others(&self) -> Vec<GrantInput> {
        let now = self.ctx.clock.aws_now();
        let key = self.role_key();
        let all = self.ctx.caches.grants.list_in(&key.namespace);
        let others = all.iter().filter(|g| {
            g.spec.subject.service_account_ref.name == key.service_account && g.metadata.uid != self.grant.metadata.uid
        });
        others.filter_map(|g| open_grant(g, &self.ctx.install, now)).map(|(input, _)| input).collect()
    }

    /// What else lets the subject read the same data.
    fn still_readable(&self, now: Timestamp) -> Vec<String> {
        let all = self.ctx.caches.grants.list_in(&self.role_key().namespace);
        let others = all.iter().map(AsRef::as_ref);
        still_readable(&self.grant, others, self.bucket.as_ref(), &self.ctx.install, now)
    }

    /// What reviews, the ServiceAccount and other grants say beside the decision.
    pub(super) fn inform(&self, status: &mut DecryptGrantStatus, now: Timestamp) {
        let waits = status.expires_at.is_none() && status.ended.is_none() && status.resolved.is_some();
        if let Some(verdict) = waits.then(|| self.with_facts(|f| judge(f, &self.ctx.install))).flatten() {
            status.approvals = verdict.approvals;
        }
        let key = self.role_key();
        let named = self.ctx.annotated_role(&key.namespace, &key.service_account);
        let named = named.as_ref().map(Option::as_deref);
        let set = status.ended.is_none().then(|| bound(&self.grant, named, &self.ctx.install));
        let generation = self.grant.metadata.generation.unwrap_or_default();
        put(&mut status.conditions, set, generation, self.ctx.clock.system_now());
        if status.ended.is_some() && self.bucket_unreadable.is_none() {
            status.still_readable_through = self.still_readable(now);
        }
    }

    /// Does one step. `Some` ends the pass.
    async fn perform(&mut self, step: &Step) -> Result<Option<Next>, PassError> {
        let now = self.ctx.clock.aws_now();
        // The clock of a grant does not start before it can be given.
        if let (Step::Activate(_) | Step::Issue, Err(until)) = (step, self.ctx.may_widen()) {
            return self.held_back(until, now).await.map(Some);
        }
        match step {
            Step::AddFinalizer => {
                self.first_visit().await?;
                self.grant = finalizer::add(&self.api, &self.grant, GRANT_FINALIZER).await?;
            }
            Step::Resolve(resolution) => self.resolve(resolution).await?,
            Step::ReadReviews => self.read_reviews().await?,
            Step::ReadBroken => self.read_broken().await?,
            Step::RecordReview(review) => self.record_review(review).await?,
            Step::Approve(agreement) => self.approve(agreement).await?,
            Step::Look => {
                self.look().await;
                if self.grant.status.as_ref().is_some_and(|s| s.expires_at.is_none()) {
                    // The look may have waited for AWS: what decides is read after it, and reviews last of all before access begins.
                    self.read_surroundings().await?;
                    (self.reviews, self.broken) = (None, None);
                }
            }
            Step::Activate(agreement) => self.activate(agreement, now).await?,
            Step::Name { name, role_id } => {
                let named = KmsGrantStatus { name: name.clone(), role_id: role_id.clone(), id: None };
                self.write(|s| s.kms_grant = Some(named)).await?;
            }
            Step::Issue => {
                if !self.shut_since().await? {
                    self.issue().await?;
                }
            }
            Step::RecordIssued { id } => self.record_issued(id, now).await?,
            Step::End { reason, message, review, rule } => {
                let others = self.still_readable(now);
                let message = with_others(message, &others);
                let end = EndStatus {
                    reason: *reason,
                    at: format_instant(now),
                    message: message.clone(),
                    review: review.clone(),
                    rule: rule.clone(),
                };
                self.conclude(step, |s| {
                    s.ended = Some(end);
                    s.still_readable_through = others;
                })
                .await?;
                let uid = self.grant.uid().unwrap_or_default();
                lock(&self.ctx.ended).entry(uid).or_insert_with(Instant::now);
                tell::ended(self.ctx, &self.grant, self.bucket.as_ref(), *reason, &message);
                (self.looked, self.just_ended) = (None, true);
            }
            Step::Revoke { ids } => self.revoke(ids).await?,
            Step::RecordRemoval { evidence } => {
                let removal = RemovalStatus { verified_at: format_instant(now), evidence: evidence.clone() };
                let end = end_of(&self.grant, now);
                self.conclude(step, |s| s.removal = Some(removal)).await?;
                if let Some(end) = end {
                    self.ctx.metrics.grant_removed(now.duration_since(end));
                }
                self.ctx.untell(&self.grant, Reason::RemovalOverdue);
                lock(&self.ctx.ended).remove(&self.grant.uid().unwrap_or_default());
                tell::removed(self.ctx, &self.grant, self.bucket.as_ref(), evidence);
            }
            Step::RemoveFinalizer => {
                tell::forget_profile(self.ctx, &self.grant).await?;
                finalizer::remove(&self.api, &self.grant, GRANT_FINALIZER).await?;
                self.ctx.grant_backoff.reset(&ObjectKey::of(&self.grant));
                return Ok(Some(Next::Done));
            }
            Step::Forget => {
                self.forget().await?;
                return Ok(Some(Next::Done));
            }
            Step::Wait { .. } | Step::Settled => return self.finish(step, now).await.map(Some),
        }
        Ok(None)
    }
}

/// Reviews that name the grant, as the watch has them.
pub(super) fn reviews_of(ctx: &Context, grant: &DecryptGrant) -> Vec<Arc<GrantReview>> {
    let namespace = terms::target(grant).namespace;
    ctx.caches.reviews.list_in(&namespace).into_iter().filter(|r| terms::named_by(grant, r)).collect()
}

/// Grants that ask for a bucket.
pub fn asking_for(ctx: &Context, bucket: &SecureBucket) -> Vec<Arc<DecryptGrant>> {
    ctx.caches.grants.list().into_iter().filter(|g| terms::asks_for(g, bucket)).collect()
}
