//! The single steps of a pass over a DecryptGrant: each writes one thing, to status or to AWS.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::api::{DeleteParams, ListParams, Preconditions};
use kube::core::{DeserializeGuard, ObjectMeta};
use kube::{Api, ResourceExt};

use super::agree::{Agreement, Resolution};
use super::break_glass::asks;
use super::driver::Work;
use super::facts::Step;
use super::observe::look;
use super::policy::has_rules;
use super::status::settle;
use super::{tell, terms};
use crate::api::condition::update;
use crate::api::decrypt_grant::{AfterReview, DecryptGrantStatus};
use crate::api::{DecryptGrant, GrantReview, SecureBucket};
use crate::aws::clients::Aws;
use crate::aws::error::{AwsErrorKind, Seen};
use crate::bucket::lockdown::refuses_grants;
use crate::domain::enforcement::Enforcement;
use crate::domain::time::{after, format_instant, parse_instant};
use crate::k8s::status::replace_status;
use crate::k8s::{REQUEST_TIMEOUT, within};
use crate::reconcile::outcome::PassError;
use crate::role::observed::ObservedGrant;
use crate::role::state::Problem;

impl Work<'_> {
    /// Deletes the object, just as it was read: one that was made anew under the name, or that somebody is at, is not meant.
    pub(super) async fn forget(&self) -> Result<(), PassError> {
        let meta = &self.grant.metadata;
        let same = Preconditions { uid: meta.uid.clone(), resource_version: meta.resource_version.clone() };
        let parameters = DeleteParams { preconditions: Some(same), ..DeleteParams::default() };
        if let Err(error) = within(REQUEST_TIMEOUT, self.api.delete(&self.grant.name_any(), &parameters)).await {
            // The answer may be lost, or be the one to the client's own second attempt, and no later pass comes here: without a look at what is
            // left, the line in the log would be lost as well.
            let left = within(REQUEST_TIMEOUT, self.api.get_metadata_opt(&self.grant.name_any())).await?;
            let stays = |left: ObjectMeta| left.uid == meta.uid && left.deletion_timestamp.is_none();
            if left.is_some_and(|left| stays(left.metadata)) {
                return Err(error.into());
            }
        }
        tell::forgotten(&self.grant);
        Ok(())
    }

    /// Conditions on the first visit: kstatus takes an object without any for finished.
    pub(super) async fn first_visit(&mut self) -> Result<(), PassError> {
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

    pub(super) async fn write(&mut self, change: impl FnOnce(&mut DecryptGrantStatus)) -> Result<(), PassError> {
        let mut status = self.grant.status.clone().unwrap_or_default();
        change(&mut status);
        self.grant = replace_status(&self.api, &self.grant, status).await?;
        Ok(())
    }

    /// Writes a change and the conditions that follow from it: nobody reads that a grant is active whose end stands beside it.
    pub(super) async fn conclude(
        &mut self,
        step: &Step,
        change: impl FnOnce(&mut DecryptGrantStatus),
    ) -> Result<(), PassError> {
        let mut status = self.grant.status.clone().unwrap_or_default();
        change(&mut status);
        let clock = &self.ctx.clock;
        let status = settle(&self.grant, status, step, clock.aws_now(), clock.system_now());
        self.grant = replace_status(&self.api, &self.grant, status).await?;
        Ok(())
    }

    /// The way to AWS: what ends access has its own share of the rates.
    pub(super) fn aws(&self) -> Aws {
        let over = self.grant.status.as_ref().is_some_and(|s| s.ended.is_some());
        if over { self.ctx.aws.narrowing() } else { self.ctx.aws.clone() }
    }

    pub(super) async fn look(&mut self) {
        let terms = self.grant.status.as_ref().and_then(|s| s.resolved.clone());
        if let Some(terms) = terms {
            let others = self.others();
            self.looked = Some(look(self.ctx, &self.aws(), &self.grant, &terms, &others).await);
        }
    }

    /// Writes the terms, and the rules for approval as they are at this moment.
    pub(super) async fn resolve(&mut self, resolution: &Resolution) -> Result<(), PassError> {
        let resolution = resolution.clone();
        self.write(|s| resolution.record(s)).await
    }

    /// Reviews of the bucket's namespace that name the grant, asked of the API server: an approval that was taken back must not count.
    pub(super) async fn read_reviews(&mut self) -> Result<(), PassError> {
        let target = terms::target(&self.grant);
        // Guarded: one that cannot be decoded counts for nothing, and must not stop the others.
        let api: Api<DeserializeGuard<GrantReview>> = Api::namespaced(self.ctx.client.clone(), &target.namespace);
        let uid = self.grant.uid().unwrap_or_default();
        let of_grant = ListParams::default().fields(&format!("spec.grantRef.uid={uid}"));
        let all = within(REQUEST_TIMEOUT, api.list(&of_grant)).await?;
        let decoded = all.items.into_iter().filter_map(|r| r.0.ok());
        let reviews: Vec<_> = decoded.filter(|r| terms::named_by(&self.grant, r)).map(Arc::new).collect();
        // Until the first look, which may be this one, nothing is known; nobody is told that as if something were wrong.
        let unknown = self.ctx.enforcement() == Enforcement::unproven();
        let relied_upon = self.bucket.as_ref().is_some_and(has_rules) || self.by_rule() || asks(&self.grant);
        if !reviews.is_empty() || relied_upon || unknown {
            // Not only reviewers: where a rule decides, it relies on who asks. After the reviews were read: had an admission policy been away when one of them was made, this look finds it missing, or younger.
            self.ctx.fresh_enforcement().await?;
        }
        self.reviews = Some(reviews);
        Ok(())
    }

    /// DecryptGrants of all namespaces that asked for the bucket without approval. One that cannot be decoded may be one of them.
    pub(super) async fn read_broken(&mut self) -> Result<(), PassError> {
        let of_bucket =
            ListParams::default().fields(&format!("spec.bucketRef.name={}", terms::target(&self.grant).name));
        let client = || self.ctx.client.clone();
        let mut apis: Vec<Api<DeserializeGuard<DecryptGrant>>> =
            self.ctx.served.iter().map(|namespace| Api::namespaced(client(), namespace)).collect();
        if apis.is_empty() {
            apis.push(Api::all(client()));
        }
        let mut found = Vec::new();
        for api in apis {
            for one in within(REQUEST_TIMEOUT, api.list(&of_bucket)).await? {
                found.push(one.0.map_err(|e| PassError::Kubernetes(format!("a DecryptGrant cannot be decoded: {e}")))?);
            }
        }
        found.retain(asks);
        self.broken = Some(found);
        Ok(())
    }

    /// Writes the review that access without approval needed, if the API server has it and its reviewer is proven. Otherwise the next step is
    /// decided from what was read.
    pub(super) async fn record_review(&mut self, review: &AfterReview) -> Result<(), PassError> {
        self.read_reviews().await?;
        if self.reviewed().as_ref() != Some(review) {
            return Ok(());
        }
        self.write(|s| {
            if let Some(glass) = s.break_glass.as_mut() {
                glass.review = Some(review.clone());
            }
        })
        .await?;
        tell::reviewed(self.ctx, &self.grant, self.bucket.as_ref(), review);
        Ok(())
    }

    /// True if a rule of the bucket approved it when it was made.
    fn by_rule(&self) -> bool {
        let rules = self.grant.status.as_ref().and_then(|s| s.approval_rules.as_ref());
        rules.is_some_and(|r| r.auto_approved_by.is_some())
    }

    pub(super) async fn approve(&mut self, agreement: &Agreement) -> Result<(), PassError> {
        let generation = self.grant.metadata.generation.unwrap_or_default();
        // By AWS's clock: from then on the window may be opened for an hour.
        let now = self.ctx.clock.aws_now();
        let set = agreement.condition();
        let note = set.message.clone();
        self.write(|s| {
            s.conditions = update(&s.conditions, &[set], generation, now);
            s.approvals = agreement.approvals.clone();
        })
        .await?;
        // Access without approval is told when it begins: until then something may still be in its way.
        if agreement.glass.is_none() {
            tell::approved(self.ctx, &self.grant, self.bucket.as_ref(), &note);
        }
        Ok(())
    }

    /// Starts the clock. Both instants are written before anything goes to AWS, and never again.
    pub(super) async fn activate(&mut self, agreement: &Agreement, now: Timestamp) -> Result<(), PassError> {
        let terms = self.grant.status.as_ref().and_then(|s| s.resolved.as_ref());
        // An answer that was under way meanwhile may have set the clock back by a second.
        let begin = terms.and_then(|r| parse_instant(r.not_before.as_deref()?)).map_or(now, |at| at.max(now));
        let start = Timestamp::from_second(begin.as_second()).unwrap_or(begin);
        self.write(|s| {
            agreement.record(s, start);
            s.expiry_enforcement = Some("dated statements in the role's policy, evaluated by AWS".into());
        })
        .await?;
        if agreement.glass.is_some() {
            self.ctx.metrics.break_glass();
            tell::approved(self.ctx, &self.grant, self.bucket.as_ref(), &agreement.condition().message);
        }
        tell::opened(&self.grant);
        self.looked = None;
        Ok(())
    }

    /// Looks at bucket and reviews once more before the KMS grant is made: true if the one was locked down, or one of the others revokes the grant,
    /// since the pass began. The next step ends it.
    pub(super) async fn shut_since(&mut self) -> Result<bool, PassError> {
        let target = terms::target(&self.grant);
        let api: Api<SecureBucket> = Api::namespaced(self.ctx.client.clone(), &target.namespace);
        // The bucket last: a lockdown ends everything, and is one read away.
        self.read_reviews().await?;
        self.bucket = within(REQUEST_TIMEOUT, api.get_opt(&target.name)).await?;
        Ok(self.bucket.as_ref().is_none_or(refuses_grants) || self.refused())
    }

    pub(super) async fn issue(&mut self) -> Result<(), PassError> {
        let status = self.grant.status.clone().unwrap_or_default();
        let (Some(terms), Some(named)) = (&status.resolved, &status.kms_grant) else { return Ok(()) };
        let kms = self.ctx.widening().kms(&self.ctx.install.place_of(&terms.key_arn));
        kms.create_grant(&terms.key_arn, &terms.role_arn, &named.name).await?;
        // The id in the answer is not enough: a grant counts when ListGrants shows it.
        self.looked = None;
        self.look().await;
        let shown = matches!(self.looked.as_ref().map(|l| &l.kms), Some(Seen::Value(all)) if !all.is_empty());
        if shown { Ok(()) } else { Err(PassError::Conflict) }
    }

    pub(super) async fn record_issued(&mut self, id: &str, now: Timestamp) -> Result<(), PassError> {
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

    pub(super) async fn revoke(&mut self, ids: &[String]) -> Result<(), PassError> {
        let Some(terms) = self.grant.status.as_ref().and_then(|s| s.resolved.clone()) else { return Ok(()) };
        let kms = self.aws().kms(&self.ctx.install.place_of(&terms.key_arn));
        for id in ids {
            match kms.revoke_grant(&terms.key_arn, id).await {
                // Not proof of anything by itself; the next look is.
                Ok(()) => {}
                Err(e) if e.kind == AwsErrorKind::NotFound => {}
                Err(e) => return Err(e.into()),
            }
        }
        self.just_ended = false;
        self.look().await;
        let left = |all: &[ObservedGrant]| all.iter().any(|g| ids.contains(&g.id));
        let left = matches!(self.looked.as_ref().map(|l| &l.kms), Some(Seen::Value(all)) if left(all));
        if left { Err(PassError::Conflict) } else { Ok(()) }
    }
}
