//! Carries out actions in order. Ids are written to status before anything is built on them.

use kube::Api;

use super::action::{Action, Facet};
use super::desired::{Desired, Names};
use super::observed::PublicAccessBlock;
use super::plan::Plan;
use crate::api::SecureBucket;
use crate::api::secure_bucket::KeyAttempt;
use crate::aws::clients::Aws;
use crate::aws::error::{AwsError, AwsErrorKind};
use crate::aws::kms::Kms;
use crate::domain::installation::Installation;
use crate::domain::policy::Document;
use crate::domain::tags::{self, Owner};
use crate::domain::time::format_instant;
use crate::k8s::status::replace_status;
use crate::reconcile::outcome::PassError;

/// What an execution works with.
pub struct Executor<'a> {
    /// AWS.
    pub aws: &'a Aws,
    /// AWS for what gives access; `None` while nothing may be given.
    pub widening: Option<&'a Aws>,
    /// Installation.
    pub install: &'a Installation,
    /// API of the object's namespace.
    pub api: &'a Api<SecureBucket>,
    /// What should be.
    pub desired: &'a Desired,
    /// The object as last written.
    pub object: SecureBucket,
    /// ARN of the key, as soon as it is known.
    pub key_arn: Option<String>,
}

/// What an execution did.
#[derive(Debug, Default)]
pub struct Done {
    /// Actions that took effect.
    pub actions: Vec<Action>,
    /// Actions that failed.
    pub failures: Vec<(Facet, AwsError)>,
}

impl Executor<'_> {
    /// Carries the actions out in order; the rotation of a new key beside the public access block of its bucket. A failed creation ends the run,
    /// because everything after it builds on it; a failed setting does not keep the other settings from being made, but it keeps access from being
    /// widened.
    ///
    /// # Errors
    /// If status cannot be written: then nothing more may be done.
    pub async fn run(&mut self, plan: &Plan) -> Result<Done, PassError> {
        let mut done = Done::default();
        let mut actions = plan.actions.iter().enumerate().peekable();
        while let Some((position, action)) = actions.next() {
            let aws = match (position < plan.widening, self.widening) {
                (true, _) => self.aws,
                (false, Some(aws)) if done.failures.is_empty() => aws,
                (false, _) => continue,
            };
            // Nothing of the bucket depends on the key's rotation: KMS and S3 are asked at once.
            let rotation = matches!(action, Action::EnableRotation { .. });
            let beside =
                actions.next_if(|(next, a)| rotation && *next < plan.widening && **a == Action::BlockPublicAccess);
            let Some((_, beside)) = beside else {
                let result = self.one(aws, action).await;
                if self.note(action, result, &mut done)? {
                    return Ok(done);
                }
                continue;
            };
            let results = tokio::join!(self.on_key(aws, action), self.on_bucket(aws, beside));
            self.note(action, results.0, &mut done)?;
            self.note(beside, results.1, &mut done)?;
        }
        Ok(done)
    }

    /// Notes how an action went. True if the run ends with it.
    fn note(&self, action: &Action, result: Result<(), PassError>, done: &mut Done) -> Result<bool, PassError> {
        match result {
            Ok(()) => {
                tracing::info!(object = %self.label(), action = %action, "done");
                done.actions.push(action.clone());
                // There, creating a bucket that this account has already answers 200 (S3 API, CreateBucket): its tags tell.
                Ok(matches!(action, Action::CreateBucket { .. }) && self.names().place.region == "us-east-1")
            }
            Err(PassError::Aws(error)) => {
                tracing::warn!(object = %self.label(), action = %action, error = %error, "failed");
                // For a key that status knows the alias is a setting like others.
                let unknown = self.object.status.as_ref().is_none_or(|s| s.key_arn.is_none());
                done.failures.push((action.facet(), error));
                Ok(matches!(action, Action::CreateKey { .. } | Action::CreateBucket { .. })
                    || *action == Action::CreateAlias && unknown)
            }
            Err(other) => Err(other),
        }
    }

    fn label(&self) -> String {
        format!("{}/{}", self.desired.names.namespace, self.desired.names.name)
    }

    fn names(&self) -> &Names {
        &self.desired.names
    }

    async fn one(&mut self, aws: &Aws, action: &Action) -> Result<(), PassError> {
        match action {
            Action::AnnounceKey => self.announce().await,
            Action::CreateKey { policy, tags } => self.create_key(policy, tags.clone()).await,
            Action::CreateAlias => self.create_alias().await,
            Action::RecordKey { arn } => self.record_key(arn.clone()).await,
            Action::DisableKey => self.disable_key().await,
            Action::PointAlias
            | Action::CancelKeyDeletion
            | Action::EnableKey
            | Action::PutKeyPolicy { .. }
            | Action::EnableRotation { .. }
            | Action::TagKey { .. }
            | Action::RevokeGrant { .. } => self.on_key(aws, action).await,
            Action::CreateBucket { .. }
            | Action::BlockPublicAccess
            | Action::EnforceOwnership
            | Action::PutBucketPolicy { .. }
            | Action::PutEncryption { .. }
            | Action::PutVersioning { .. }
            | Action::PutLifecycle { .. }
            | Action::PutBucketTags { .. } => self.on_bucket(aws, action).await,
        }
    }

    async fn on_key(&self, aws: &Aws, action: &Action) -> Result<(), PassError> {
        let kms = aws.kms(&self.names().place);
        let Some(key) = self.key_arn.as_deref() else { return Ok(()) };
        match action {
            Action::PointAlias => kms.update_alias(&self.names().alias(self.install), key).await?,
            Action::CancelKeyDeletion => kms.cancel_key_deletion(key).await?,
            Action::EnableKey => kms.enable_key(key).await?,
            Action::PutKeyPolicy { policy } => kms.put_key_policy(key, policy).await?,
            Action::EnableRotation { days } => kms.enable_rotation(key, *days).await?,
            Action::TagKey { set, remove } => {
                kms.tag_key(key, set).await?;
                if !remove.is_empty() {
                    kms.untag_key(key, remove).await?;
                }
            }
            Action::RevokeGrant { id, .. } => match kms.revoke_grant(key, id).await {
                // Gone already; the next look tells.
                Err(e) if e.kind == AwsErrorKind::NotFound => {}
                answer => answer?,
            },
            _ => {}
        }
        Ok(())
    }

    async fn on_bucket(&self, aws: &Aws, action: &Action) -> Result<(), PassError> {
        let s3 = aws.s3(&self.names().place);
        let bucket = self.names().bucket.as_str();
        match action {
            Action::CreateBucket { tags } => s3.create_bucket(bucket, tags).await?,
            Action::BlockPublicAccess => s3.put_public_access_block(bucket, PublicAccessBlock::ALL).await?,
            Action::EnforceOwnership => s3.put_ownership(bucket, "BucketOwnerEnforced").await?,
            Action::PutVersioning { status } => s3.put_versioning(bucket, status).await?,
            Action::PutLifecycle { rules } => s3.put_lifecycle(bucket, rules).await?,
            Action::PutBucketTags { tags } => s3.put_bucket_tags(bucket, tags).await?,
            Action::PutBucketPolicy { policy: Some(policy) } => s3.put_policy(bucket, policy).await?,
            Action::PutBucketPolicy { policy: None } => {
                let Some(key) = self.key_arn.as_deref() else { return Ok(()) };
                let statements = self.desired.bucket_policy(self.install, key);
                s3.put_policy(bucket, &Document::new(statements).certified()).await?;
            }
            Action::PutEncryption { rule } => {
                let mut rule = rule.clone();
                rule.key = rule.key.or_else(|| self.key_arn.clone());
                if rule.key.is_some() {
                    s3.put_encryption(bucket, &rule).await?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Says in status, guarded by the version that was read, that a key is about to be made: KMS has no idempotency token for CreateKey.
    async fn announce(&mut self) -> Result<(), PassError> {
        let now = format_instant(self.aws.clock().system_now());
        let names = self.desired.names.clone();
        self.checkpoint(|status| {
            status.key_attempt = Some(KeyAttempt { id: uuid::Uuid::new_v4().to_string(), at: now });
            status.identity = Some(names.identity.clone());
            status.account_id = Some(names.place.account.clone());
            status.region = Some(names.place.region.clone());
            status.bucket_name = Some(names.bucket.clone());
        })
        .await
    }

    async fn create_key(&mut self, policy: &Document, mut tags: tags::Tags) -> Result<(), PassError> {
        let attempt = self.object.status.as_ref().and_then(|s| s.key_attempt.clone());
        if let Some(attempt) = attempt {
            tags.insert(tags::ATTEMPT.to_owned(), attempt.id);
        }
        let description = format!("SecureBucket {} of cluster {}", self.label(), self.install.cluster);
        let head = self.aws.kms(&self.names().place).create_key(&description, policy, &tags).await?;
        self.key_arn = Some(head.arn);
        Ok(())
    }

    /// The alias decides between two attempts: whoever finds it taken adopts the key that it points to, if that is ours.
    async fn create_alias(&mut self) -> Result<(), PassError> {
        let Some(key) = self.key_arn.clone() else { return Ok(()) };
        let kms = self.aws.kms(&self.names().place);
        let alias = self.names().alias(self.install);
        let arn = match kms.create_alias(&alias, &key).await {
            Ok(()) => key,
            Err(e) if e.kind == AwsErrorKind::AlreadyExists => self.winner(&kms, &alias, &key, e).await?,
            Err(e) => return Err(e.into()),
        };
        self.record_key(arn).await
    }

    async fn winner(&self, kms: &Kms, alias: &str, ours: &str, error: AwsError) -> Result<String, PassError> {
        let head = kms.describe_key(alias).await?;
        if head.arn == ours {
            return Ok(head.arn);
        }
        let found = kms.key_tags(&head.arn).await?;
        match tags::owner(&found, &self.install.cluster, &self.names().identity, &self.names().uid) {
            Owner::Ours | Owner::Returning => {
                tracing::warn!(object = %self.label(), orphan = ours, key = %head.arn, "another attempt made the key; ours is unused and stays for an administrator to delete");
                Ok(head.arn)
            }
            Owner::Another(_) | Owner::Unmarked => Err(error.into()),
        }
    }

    async fn record_key(&mut self, arn: String) -> Result<(), PassError> {
        self.key_arn = Some(arn.clone());
        self.checkpoint(|status| {
            status.key_arn = Some(arn);
            status.key_attempt = None;
        })
        .await
    }

    /// Noted first: lifting a lockdown enables what we have disabled, and nothing that somebody else has.
    async fn disable_key(&mut self) -> Result<(), PassError> {
        self.checkpoint(|status| {
            if let Some(latch) = status.lockdown.as_mut() {
                latch.key_disabled = Some(true);
            }
        })
        .await?;
        let Some(key) = self.key_arn.as_deref() else { return Ok(()) };
        Ok(self.aws.kms(&self.names().place).disable_key(key).await?)
    }

    async fn checkpoint(&mut self, change: impl FnOnce(&mut crate::api::SecureBucketStatus)) -> Result<(), PassError> {
        let mut status = self.object.status.clone().unwrap_or_default();
        change(&mut status);
        self.object = replace_status(self.api, &self.object, status).await?;
        Ok(())
    }
}
