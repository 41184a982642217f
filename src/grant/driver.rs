//! One pass over a DecryptGrant: decide, do one step, decide again, until nothing is left to do now.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::api::{DeleteParams, Preconditions};
use kube::{Api, ResourceExt};
use tokio::time::Instant;

use super::begin::{Skew, opens_until};
use super::bound::{bound, put};
use super::deadline::{end_of, overdue_from, removal_due};
use super::decide::{Facts, Looked, Step, decide};
use super::observe::{look, unlooked};
use super::overlap::{still_readable, with_others};
use super::removal::kept_until;
use super::status::{settle, usable};
use super::{removal, tell, terms};
use crate::api::condition::{Set, types, update};
use crate::api::decrypt_grant::{DecryptGrantStatus, EndStatus, KmsGrantStatus, RemovalStatus};
use crate::api::{DecryptGrant, GRANT_FINALIZER, SecureBucket};
use crate::aws::clients::Aws;
use crate::aws::error::{AwsError, AwsErrorKind, Seen};
use crate::bucket::lockdown::refuses_grants;
use crate::clock::Whose;
use crate::domain::time::{after, format_instant, parse_instant};
use crate::k8s::events::Reason;
use crate::k8s::status::replace_status;
use crate::k8s::{REQUEST_TIMEOUT, finalizer, within};
use crate::reconcile::backoff::Class;
use crate::reconcile::context::{Context, ObjectKey, failed, lock};
use crate::reconcile::outcome::{PassError, meaning};
use crate::reconcile::queue::Next;
use crate::role::desired::open_grant;
use crate::role::document::GrantInput;
use crate::role::state::{Problem, RoleKey};

/// Steps in one pass; a whole life has fewer.
const STEPS: usize = 24;
/// How long after a look things may have moved on without a word: the backstop while something is under way.
const SOON: Duration = Duration::from_secs(5);

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
            let opens = cached.as_ref().and_then(|g| opens_until(g.status.as_ref()?));
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

fn until(ctx: &Context, at: Timestamp) -> Duration {
    ctx.instant_of(at).saturating_duration_since(Instant::now()).max(Duration::from_millis(50))
}

/// What a pass works on.
struct Work<'a> {
    ctx: &'a Context,
    api: Api<DecryptGrant>,
    grant: DecryptGrant,
    bucket: Option<SecureBucket>,
    bucket_unreadable: Option<String>,
    service_account_uid: Option<String>,
    looked: Option<Looked>,
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
    let (bucket, bucket_unreadable, service_account_uid) = surroundings(ctx, key, &grant).await?;
    let mut work = Work { ctx, api, grant, bucket, bucket_unreadable, service_account_uid, looked: None };
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

/// The bucket that a grant names, or why it cannot be read, and the uid of its ServiceAccount.
async fn surroundings(
    ctx: &Context,
    key: &ObjectKey,
    grant: &DecryptGrant,
) -> Result<(Option<SecureBucket>, Option<String>, Option<String>), PassError> {
    let target = terms::target(grant);
    let account = grant.spec.subject.service_account_ref.name.clone();
    if removal_due(grant).is_some_and(|at| at <= ctx.clock.aws_now()) {
        // It is over, whatever these are now: they are for the words of events alone.
        let bucket = ctx.caches.buckets.get(&target.namespace, &target.name).map(|b| SecureBucket::clone(&b));
        return Ok((bucket, None, ctx.service_account_uid(&key.namespace, &account)));
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
    let (bucket, service_account_uid) = tokio::join!(lookup, ctx.fresh_service_account_uid(&key.namespace, &account),);
    // A bucket that cannot be read keeps nothing from ending.
    let (bucket, bucket_unreadable) = match bucket {
        Ok(bucket) => (bucket, None),
        Err(e) => (None, Some(e.to_string())),
    };
    Ok((bucket, bucket_unreadable, service_account_uid?))
}

impl Work<'_> {
    fn decide(&self) -> Step {
        let role = self.ctx.roles.get(&self.role_key());
        let others = self.others();
        let facts = Facts {
            grant: &self.grant,
            bucket: self.bucket.as_ref(),
            bucket_unreadable: self.bucket_unreadable.as_deref(),
            service_account_uid: self.service_account_uid.as_deref(),
            role: role.as_ref(),
            looked: self.looked.as_ref(),
            others: &others,
            now: self.ctx.clock.aws_now(),
            skew: Skew { aws: self.ctx.clock.skew(Whose::Aws), kubernetes: self.ctx.clock.skew(Whose::Kubernetes) },
        };
        decide(&facts, &self.ctx.install)
    }

    fn role_key(&self) -> RoleKey {
        RoleKey {
            namespace: self.grant.namespace().unwrap_or_default(),
            service_account: self.grant.spec.subject.service_account_ref.name.clone(),
        }
    }

    /// Other open grants of the same role.
    fn others(&self) -> Vec<GrantInput> {
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

    /// What the ServiceAccount and other grants say beside the decision.
    fn inform(&self, status: &mut DecryptGrantStatus, now: Timestamp) {
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
        if let (Step::Activate | Step::Issue, Err(until)) = (step, self.ctx.may_widen()) {
            return self.held_back(until, now).await.map(Some);
        }
        match step {
            Step::AddFinalizer => {
                self.first_visit().await?;
                self.grant = finalizer::add(&self.api, &self.grant, GRANT_FINALIZER).await?;
            }
            Step::Resolve(terms) => self.write(|s| s.resolved = Some((**terms).clone())).await?,
            Step::Approve => self.approve().await?,
            Step::Look => self.look().await,
            Step::Activate => self.activate(now).await?,
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
            Step::End { reason, message } => {
                let others = self.still_readable(now);
                let message = with_others(message, &others);
                let end = EndStatus { reason: *reason, at: format_instant(now), message: message.clone() };
                self.conclude(step, |s| {
                    s.ended = Some(end);
                    s.still_readable_through = others;
                })
                .await?;
                let uid = self.grant.uid().unwrap_or_default();
                lock(&self.ctx.ended).entry(uid).or_insert_with(Instant::now);
                tell::ended(self.ctx, &self.grant, self.bucket.as_ref(), *reason, &message);
                self.looked = None;
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

    /// Another process led until just now: nothing is given before its lease is over.
    async fn held_back(&mut self, until: Instant, now: Timestamp) -> Result<Next, PassError> {
        let message = "another process led until just now; access is given when its lease is over";
        let step = Step::Wait { problem: Problem::passing("Granting", message), until: None };
        Ok(match self.finish(&step, now).await? {
            Next::In(wait) => Next::In(wait.min(until.saturating_duration_since(Instant::now()))),
            other => other,
        })
    }

    /// Deletes the object, just as it was read: one that was made anew under the name, or that somebody is at, is not meant.
    async fn forget(&self) -> Result<(), PassError> {
        let meta = &self.grant.metadata;
        let same = Preconditions { uid: meta.uid.clone(), resource_version: meta.resource_version.clone() };
        let parameters = DeleteParams { preconditions: Some(same), ..DeleteParams::default() };
        match within(REQUEST_TIMEOUT, self.api.delete(&self.grant.name_any(), &parameters)).await {
            Ok(_) => tell::forgotten(&self.grant),
            Err(e) if e.is_not_found() => {}
            Err(e) => return Err(e.into()),
        }
        Ok(())
    }

    /// A call failed: said in status and in an event before it is tried again.
    async fn say(&mut self, error: &AwsError) -> Result<(), PassError> {
        let ended = self.grant.status.as_ref().is_some_and(|s| s.ended.is_some());
        let step = removal::failed(error, ended, &self.ctx.install);
        self.finish(&step, self.ctx.clock.aws_now()).await.map(drop)
    }

    /// Conditions on the first visit: kstatus takes an object without any for finished.
    async fn first_visit(&mut self) -> Result<(), PassError> {
        if self.grant.status.as_ref().is_some_and(|s| !s.conditions.is_empty()) {
            return Ok(());
        }
        let pending = Problem::passing("Pending", "not looked at yet");
        let step = Step::Wait { problem: pending, until: None };
        let status = DecryptGrantStatus {
            bucket: Some(terms::target(&self.grant).to_string()),
            ..DecryptGrantStatus::default()
        };
        let status = settle(&self.grant, status, &step, self.ctx.clock.aws_now(), self.ctx.clock.system_now());
        self.grant = replace_status(&self.api, &self.grant, status).await?;
        tell::requested(self.ctx, &self.grant, self.bucket.as_ref());
        Ok(())
    }

    async fn write(&mut self, change: impl FnOnce(&mut DecryptGrantStatus)) -> Result<(), PassError> {
        let mut status = self.grant.status.clone().unwrap_or_default();
        change(&mut status);
        self.grant = replace_status(&self.api, &self.grant, status).await?;
        Ok(())
    }

    /// Writes a change and the conditions that follow from it: nobody reads that a grant is active whose end stands beside it.
    async fn conclude(&mut self, step: &Step, change: impl FnOnce(&mut DecryptGrantStatus)) -> Result<(), PassError> {
        let mut status = self.grant.status.clone().unwrap_or_default();
        change(&mut status);
        let clock = &self.ctx.clock;
        let status = settle(&self.grant, status, step, clock.aws_now(), clock.system_now());
        self.grant = replace_status(&self.api, &self.grant, status).await?;
        Ok(())
    }

    /// The way to AWS: what ends access has its own share of the rates.
    fn aws(&self) -> Aws {
        let over = self.grant.status.as_ref().is_some_and(|s| s.ended.is_some());
        if over { self.ctx.aws.narrowing() } else { self.ctx.aws.clone() }
    }

    async fn look(&mut self) {
        let terms = self.grant.status.as_ref().and_then(|s| s.resolved.clone());
        if let Some(terms) = terms {
            let others = self.others();
            self.looked = Some(look(self.ctx, &self.aws(), &self.grant, &terms, &others).await);
        }
    }

    async fn approve(&mut self) -> Result<(), PassError> {
        let generation = self.grant.metadata.generation.unwrap_or_default();
        // By AWS's clock: from then on the window may be opened for an hour.
        let now = self.ctx.clock.aws_now();
        let set = Set::yes(
            types::APPROVED,
            "PolicyApproved",
            "the bucket's grants.approvals is 0 and the request is within its terms",
        );
        self.write(|s| s.conditions = update(&s.conditions, &[set], generation, now)).await?;
        tell::approved(self.ctx, &self.grant, self.bucket.as_ref());
        Ok(())
    }

    /// Starts the clock. Both instants are written before anything goes to AWS, and never again.
    async fn activate(&mut self, now: Timestamp) -> Result<(), PassError> {
        let terms = self.grant.status.as_ref().and_then(|s| s.resolved.as_ref());
        let seconds = terms.map_or(0, |r| r.duration_seconds);
        // An answer that was under way meanwhile may have set the clock back by a second.
        let begin = terms.and_then(|r| parse_instant(r.not_before.as_deref()?)).map_or(now, |at| at.max(now));
        let start = Timestamp::from_second(begin.as_second()).unwrap_or(begin);
        let end = after(start, SignedDuration::from_secs(seconds));
        self.write(|s| {
            s.activated_at = Some(format_instant(start));
            s.expires_at = Some(format_instant(end));
            s.expiry_enforcement = Some("dated statements in the role's policy, evaluated by AWS".into());
        })
        .await?;
        tell::opened(&self.grant);
        self.looked = None;
        Ok(())
    }

    /// Looks at the bucket once more before the KMS grant is made: true if it was locked down since the pass began, which the next step ends.
    async fn shut_since(&mut self) -> Result<bool, PassError> {
        let target = terms::target(&self.grant);
        let api: Api<SecureBucket> = Api::namespaced(self.ctx.client.clone(), &target.namespace);
        self.bucket = within(REQUEST_TIMEOUT, api.get_opt(&target.name)).await?;
        Ok(self.bucket.as_ref().is_none_or(refuses_grants))
    }

    async fn issue(&mut self) -> Result<(), PassError> {
        let status = self.grant.status.clone().unwrap_or_default();
        let (Some(terms), Some(named)) = (&status.resolved, &status.kms_grant) else { return Ok(()) };
        let region = terms.key_arn.split(':').nth(3).unwrap_or(&self.ctx.install.place.region).to_owned();
        let kms = self.ctx.widening().kms(&self.ctx.install.place_in(&region));
        kms.create_grant(&terms.key_arn, &terms.role_arn, &named.name).await?;
        // The id in the answer is not enough: a grant counts when ListGrants shows it.
        self.looked = None;
        self.look().await;
        let shown = matches!(self.looked.as_ref().map(|l| &l.kms), Some(Seen::Value(all)) if !all.is_empty());
        if shown { Ok(()) } else { Err(PassError::Conflict) }
    }

    async fn record_issued(&mut self, id: &str, now: Timestamp) -> Result<(), PassError> {
        let wait = SignedDuration::try_from(self.ctx.install.timing.policy_propagation).unwrap_or(SignedDuration::ZERO);
        let usable_by = format_instant(after(now, wait));
        self.write(|s| {
            if let Some(named) = s.kms_grant.as_mut() {
                named.id = Some(id.to_owned());
            }
            s.usable_by = Some(usable_by);
        })
        .await?;
        tell::issued(&self.grant, id);
        Ok(())
    }

    async fn revoke(&mut self, ids: &[String]) -> Result<(), PassError> {
        let Some(terms) = self.grant.status.as_ref().and_then(|s| s.resolved.clone()) else { return Ok(()) };
        let region = terms.key_arn.split(':').nth(3).unwrap_or(&self.ctx.install.place.region).to_owned();
        let kms = self.aws().kms(&self.ctx.install.place_in(&region));
        for id in ids {
            match kms.revoke_grant(&terms.key_arn, id).await {
                // Not proof of anything by itself; the next look is.
                Ok(()) => {}
                Err(e) if e.kind == AwsErrorKind::NotFound => {}
                Err(e) => return Err(e.into()),
            }
        }
        self.look().await;
        let left = matches!(self.looked.as_ref().map(|l| &l.kms), Some(Seen::Value(all)) if !all.is_empty());
        if left { Err(PassError::Conflict) } else { Ok(()) }
    }

    /// Nothing more to do now: conditions, profile, events on transitions, and the time of the next pass.
    async fn finish(&mut self, step: &Step, now: Timestamp) -> Result<Next, PassError> {
        let key = ObjectKey::of(&self.grant);
        let mut status = self.grant.status.clone().unwrap_or_default();
        status.bucket.get_or_insert_with(|| terms::target(&self.grant).to_string());
        let was = status.clone();
        self.inform(&mut status, now);
        let status = settle(&self.grant, status, step, now, self.ctx.clock.system_now());
        self.grant = replace_status(&self.api, &self.grant, status.clone()).await?;
        tell::transition(self.ctx, &self.grant, self.bucket.as_ref(), &was, &status);
        tell::overdue(self.ctx, &self.grant, now);
        let active = usable(&status, now);
        if active {
            tell::write_profile(self.ctx, &self.grant).await?;
        } else if status.ended.is_some() {
            tell::forget_profile(self.ctx, &self.grant).await?;
        }
        let unreadable = self.looked.as_ref().and_then(|l| l.role.failure().or(l.kms.failure()));
        if let Some(error) = unreadable {
            return Ok(self.bounded(
                Next::Failed(self.ctx.grant_backoff.failed(&key, meaning(error.kind).class)),
                &status,
                now,
            ));
        }
        let check = self.ctx.drift_check(&self.grant.uid().unwrap_or_default());
        let next = match step {
            _ if status.removal.is_some() => match kept_until(&status, &self.ctx.install) {
                // A clock that is wrong is looked at again at the drift check.
                Some(at) if now < at => Next::In(until(self.ctx, at)),
                _ => Next::In(check),
            },
            Step::Wait { until: Some(at), .. } => Next::In(until(self.ctx, *at)),
            Step::Wait { problem, .. } if problem.reason == "Granting" || problem.reason == "Removing" => {
                Next::In(SOON)
            }
            Step::Wait { problem, .. } if problem.stalled && status.ended.is_some() => {
                Next::Failed(self.ctx.grant_backoff.failed(&key, Class::Transient))
            }
            _ => {
                self.ctx.grant_backoff.reset(&key);
                Next::In(check)
            }
        };
        Ok(self.bounded(next, &status, now))
    }

    /// No wait goes beyond the end of an open window, or of the time in which it may be opened, or beyond the moment from which on a removal is
    /// overdue.
    fn bounded(&self, next: Next, status: &DecryptGrantStatus, now: Timestamp) -> Next {
        let overdue = overdue_from(&self.grant, now).filter(|at| now < *at);
        let end = status.expires_at.as_deref().and_then(parse_instant).filter(|_| status.ended.is_none());
        let limit = end.or_else(|| opens_until(status)).filter(|at| now < *at).or(overdue);
        let Some(limit) = limit.map(|at| until(self.ctx, at)) else { return next };
        match next {
            Next::In(wait) => Next::In(wait.min(limit)),
            Next::Failed(wait) => Next::Failed(wait.min(limit)),
            other => other,
        }
    }
}

/// Grants that ask for a bucket.
pub fn asking_for(ctx: &Context, bucket: &SecureBucket) -> Vec<Arc<DecryptGrant>> {
    let key = ObjectKey::of(bucket);
    let wanted = |g: &Arc<DecryptGrant>| {
        let target = terms::target(g);
        target.namespace == key.namespace && target.name == key.name
    };
    ctx.caches.grants.list().into_iter().filter(wanted).collect()
}
