//! The end of a pass over a DecryptGrant: what status says, who is told, and when the next pass is due.

use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use tokio::time::Instant;

use super::agree::request_until;
use super::break_glass::review_due;
use super::deadline::overdue_from;
use super::driver::{Work, until};
use super::facts::Step;
use super::removal::kept_until;
use super::status::{settle, usable};
use super::{removal, tell, terms};
use crate::api::decrypt_grant::DecryptGrantStatus;
use crate::aws::error::AwsError;
use crate::domain::time::parse_instant;
use crate::k8s::status::replace_status;
use crate::reconcile::backoff::Class;
use crate::reconcile::context::ObjectKey;
use crate::reconcile::outcome::{PassError, meaning};
use crate::reconcile::queue::Next;
use crate::role::state::Problem;

/// How long after a look things may have moved on without a word: the backstop while something is under way.
pub(super) const SOON: Duration = Duration::from_secs(5);

impl Work<'_> {
    /// Another process led until just now: nothing is given before its lease is over.
    pub(super) async fn held_back(&mut self, until: Instant, now: Timestamp) -> Result<Next, PassError> {
        let message = "another process led until just now; access is given when its lease is over";
        let step = Step::Wait { problem: Problem::passing("Granting", message), until: None };
        Ok(match self.finish(&step, now).await? {
            Next::In(wait) => Next::In(wait.min(until.saturating_duration_since(Instant::now()))),
            other => other,
        })
    }

    /// A call failed: said in status and in an event before it is tried again.
    pub(super) async fn say(&mut self, error: &AwsError) -> Result<(), PassError> {
        let ended = self.grant.status.as_ref().is_some_and(|s| s.ended.is_some());
        let step = removal::failed(error, ended, &self.ctx.install);
        self.finish(&step, self.ctx.clock.aws_now()).await.map(drop)
    }

    /// Nothing more to do now: conditions, profile, events on transitions, and the time of the next pass.
    pub(super) async fn finish(&mut self, step: &Step, now: Timestamp) -> Result<Next, PassError> {
        let key = ObjectKey::of(&self.grant);
        let mut status = self.grant.status.clone().unwrap_or_default();
        status.bucket.get_or_insert_with(|| terms::target(&self.grant).to_string());
        let was = status.clone();
        self.inform(&mut status, now);
        let status = settle(&self.grant, status, step, now, self.ctx.clock.system_now());
        self.grant = replace_status(&self.api, &self.grant, status.clone()).await?;
        tell::transition(self.ctx, &self.grant, self.bucket.as_ref(), &was, &status);
        tell::overdue(self.ctx, &self.grant, now);
        tell::review_overdue(self.ctx, &self.grant, self.bucket.as_ref(), now);
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
        // What the bucket says may end it, or is all that it waits for.
        if self.bucket_unreadable.is_some() && status.removal.is_none() {
            let again = self.ctx.grant_backoff.failed(&key, Class::Transient);
            return Ok(self.bounded(Next::Failed(again), &status, now));
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
        let limit = end.or_else(|| request_until(status)).filter(|at| now < *at).or(overdue);
        let limit = limit.into_iter().chain(review_due(status).filter(|at| now < *at)).min();
        let Some(limit) = limit.map(|at| until(self.ctx, at)) else { return next };
        match next {
            Next::In(wait) => Next::In(wait.min(limit)),
            Next::Failed(wait) => Next::Failed(wait.min(limit)),
            other => other,
        }
    }
}
