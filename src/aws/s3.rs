//! S3, control plane. Every call but CreateBucket names the account that must own the bucket (`ExpectedBucketOwner`): a name may have been
//! let go and taken by somebody else.

use aws_sdk_s3::Client;
use aws_sdk_s3::error::BuildError;
use aws_sdk_s3::types;

use super::calls::Call;
use super::error::{AwsError, AwsErrorKind};
use super::funnel::{Way, unexpected};
use crate::bucket::observed::{Encryption, LifecycleRule, PublicAccessBlock};
use crate::domain::policy::Document;
use crate::domain::tags::Tags;

/// S3 in one region, for buckets of one account. A configuration that is absent is an error of kind `NotFound`, like the bucket itself.
#[derive(Clone, Debug)]
pub struct S3 {
    way: Way,
    client: Client,
    owner: String,
}

impl S3 {
    pub(super) fn new(way: Way, client: Client, owner: String) -> Self {
        Self { way, client, owner }
    }

    /// The region that is asked. S3 answers for a bucket of another one with a redirect, which is an error here.
    pub fn region(&self) -> &str {
        &self.way.funnel.region
    }

    /// Region of the bucket. A bucket of this name in another region is `NameTaken`, one of another account `AccessDenied`.
    ///
    /// # Errors
    /// If AWS refuses or does not answer.
    pub async fn head_bucket(&self, bucket: &str) -> Result<String, AwsError> {
        let request = self.client.head_bucket().bucket(bucket).expected_bucket_owner(&self.owner);
        let answer = self.way.call(bucket, request.send()).await?;
        Ok(answer.bucket_region.unwrap_or_else(|| self.way.funnel.region.clone()))
    }

    /// Creates the bucket with its tags and without ACLs. In us-east-1 a success does not tell who created it (S3 API, CreateBucket).
    ///
    /// # Errors
    /// If AWS refuses or does not answer.
    pub async fn create_bucket(&self, bucket: &str, tags: &Tags) -> Result<(), AwsError> {
        let built = |e: BuildError| invalid(Call::CreateBucket, bucket, &e);
        // us-east-1 is what is meant when there is no constraint, and is refused as one.
        let region = Some(self.way.funnel.region.as_str()).filter(|r| *r != "us-east-1");
        let configuration = types::CreateBucketConfiguration::builder()
            .set_location_constraint(region.map(types::BucketLocationConstraint::from))
            .set_tags(Some(tag_set(tags).map_err(built)?))
            .build();
        let request = self
            .client
            .create_bucket()
            .bucket(bucket)
            .object_ownership(types::ObjectOwnership::BucketOwnerEnforced)
            .create_bucket_configuration(configuration);
        self.way.call(bucket, request.send()).await.map(drop)
    }

    /// Tags.
    ///
    /// # Errors
    /// `NotFound` if there are none.
    pub async fn bucket_tags(&self, bucket: &str) -> Result<Tags, AwsError> {
        let request = self.client.get_bucket_tagging().bucket(bucket).expected_bucket_owner(&self.owner);
        let answer = self.way.call(bucket, request.send()).await?;
        Ok(answer.tag_set.into_iter().map(|t| (t.key, t.value)).collect())
    }

    /// Replaces all tags.
    ///
    /// # Errors
    /// If AWS refuses or does not answer.
    pub async fn put_bucket_tags(&self, bucket: &str, tags: &Tags) -> Result<(), AwsError> {
        let built = |e: BuildError| invalid(Call::PutBucketTagging, bucket, &e);
        let tagging = types::Tagging::builder().set_tag_set(Some(tag_set(tags).map_err(built)?));
        let request = self.client.put_bucket_tagging().bucket(bucket).expected_bucket_owner(&self.owner);
        let request = request.tagging(tagging.build().map_err(built)?);
        self.way.call(bucket, request.send()).await.map(drop)
    }

    /// Public access block.
    ///
    /// # Errors
    /// `NotFound` if there is none.
    pub async fn public_access_block(&self, bucket: &str) -> Result<PublicAccessBlock, AwsError> {
        let request = self.client.get_public_access_block().bucket(bucket).expected_bucket_owner(&self.owner);
        let answer = self.way.call(bucket, request.send()).await?;
        let found =
            answer.public_access_block_configuration.ok_or_else(|| absent(Call::GetPublicAccessBlock, bucket))?;
        Ok(PublicAccessBlock {
            block_public_acls: found.block_public_acls.unwrap_or_default(),
            ignore_public_acls: found.ignore_public_acls.unwrap_or_default(),
            block_public_policy: found.block_public_policy.unwrap_or_default(),
            restrict_public_buckets: found.restrict_public_buckets.unwrap_or_default(),
        })
    }

    /// Sets the public access block.
    ///
    /// # Errors
    /// If AWS refuses or does not answer.
    pub async fn put_public_access_block(&self, bucket: &str, block: PublicAccessBlock) -> Result<(), AwsError> {
        let configuration = types::PublicAccessBlockConfiguration::builder()
            .block_public_acls(block.block_public_acls)
            .ignore_public_acls(block.ignore_public_acls)
            .block_public_policy(block.block_public_policy)
            .restrict_public_buckets(block.restrict_public_buckets)
            .build();
        let request = self.client.put_public_access_block().bucket(bucket).expected_bucket_owner(&self.owner);
        let request = request.public_access_block_configuration(configuration);
        self.way.call(bucket, request.send()).await.map(drop)
    }

    /// Object ownership, in AWS's word.
    ///
    /// # Errors
    /// `NotFound` if it was never set.
    pub async fn ownership(&self, bucket: &str) -> Result<String, AwsError> {
        let request = self.client.get_bucket_ownership_controls().bucket(bucket).expected_bucket_owner(&self.owner);
        let answer = self.way.call(bucket, request.send()).await?;
        answer
            .ownership_controls
            .and_then(|controls| controls.rules.into_iter().next())
            .map(|rule| rule.object_ownership.as_str().to_owned())
            .ok_or_else(|| absent(Call::GetBucketOwnershipControls, bucket))
    }

    /// Sets object ownership, in AWS's word (`BucketOwnerEnforced`).
    ///
    /// # Errors
    /// If AWS refuses or does not answer.
    pub async fn put_ownership(&self, bucket: &str, ownership: &str) -> Result<(), AwsError> {
        let built = |e: BuildError| invalid(Call::PutBucketOwnershipControls, bucket, &e);
        let rule = types::OwnershipControlsRule::builder().object_ownership(ownership.into()).build().map_err(built)?;
        let controls = types::OwnershipControls::builder().rules(rule).build().map_err(built)?;
        let request = self.client.put_bucket_ownership_controls().bucket(bucket).expected_bucket_owner(&self.owner);
        self.way.call(bucket, request.ownership_controls(controls).send()).await.map(drop)
    }

    /// Default encryption.
    ///
    /// # Errors
    /// `NotFound` if there is none.
    pub async fn encryption(&self, bucket: &str) -> Result<Encryption, AwsError> {
        let request = self.client.get_bucket_encryption().bucket(bucket).expected_bucket_owner(&self.owner);
        let answer = self.way.call(bucket, request.send()).await?;
        let rules = answer.server_side_encryption_configuration.map(|c| c.rules).unwrap_or_default();
        let rule = rules.into_iter().next().ok_or_else(|| absent(Call::GetBucketEncryption, bucket))?;
        let default = rule.apply_server_side_encryption_by_default;
        let blocked = rule.blocked_encryption_types.and_then(|b| b.encryption_type).unwrap_or_default();
        Ok(Encryption {
            algorithm: default.as_ref().map(|d| d.sse_algorithm.as_str().to_owned()).unwrap_or_default(),
            key: default.and_then(|d| d.kms_master_key_id),
            bucket_key: rule.bucket_key_enabled.unwrap_or_default(),
            sse_c_blocked: blocked.contains(&types::EncryptionType::SseC),
        })
    }

    /// Sets the default encryption. AWS does not check the key (S3 API, PutBucketEncryption).
    ///
    /// # Errors
    /// If AWS refuses or does not answer.
    pub async fn put_encryption(&self, bucket: &str, encryption: &Encryption) -> Result<(), AwsError> {
        let built = |e: BuildError| invalid(Call::PutBucketEncryption, bucket, &e);
        let default = types::ServerSideEncryptionByDefault::builder()
            .sse_algorithm(encryption.algorithm.as_str().into())
            .set_kms_master_key_id(encryption.key.clone());
        let blocked = types::BlockedEncryptionTypes::builder().encryption_type(types::EncryptionType::SseC).build();
        let rule = types::ServerSideEncryptionRule::builder()
            .apply_server_side_encryption_by_default(default.build().map_err(built)?)
            .bucket_key_enabled(encryption.bucket_key)
            .set_blocked_encryption_types(encryption.sse_c_blocked.then_some(blocked));
        let configuration = types::ServerSideEncryptionConfiguration::builder().rules(rule.build());
        let request = self.client.put_bucket_encryption().bucket(bucket).expected_bucket_owner(&self.owner);
        let request = request.server_side_encryption_configuration(configuration.build().map_err(built)?);
        self.way.call(bucket, request.send()).await.map(drop)
    }

    /// `Enabled` or `Suspended`.
    ///
    /// # Errors
    /// `NotFound` if versioning was never turned on.
    pub async fn versioning(&self, bucket: &str) -> Result<String, AwsError> {
        let request = self.client.get_bucket_versioning().bucket(bucket).expected_bucket_owner(&self.owner);
        let answer = self.way.call(bucket, request.send()).await?;
        answer
            .status
            .map(|s| s.as_str().to_owned())
            .filter(|s| !s.is_empty())
            .ok_or_else(|| absent(Call::GetBucketVersioning, bucket))
    }

    /// Sets versioning to `Enabled` or `Suspended`.
    ///
    /// # Errors
    /// If AWS refuses or does not answer.
    pub async fn put_versioning(&self, bucket: &str, status: &str) -> Result<(), AwsError> {
        let configuration = types::VersioningConfiguration::builder().status(status.into()).build();
        let request = self.client.put_bucket_versioning().bucket(bucket).expected_bucket_owner(&self.owner);
        self.way.call(bucket, request.versioning_configuration(configuration).send()).await.map(drop)
    }

    /// Lifecycle rules.
    ///
    /// # Errors
    /// `NotFound` if there are none.
    pub async fn lifecycle(&self, bucket: &str) -> Result<Vec<LifecycleRule>, AwsError> {
        let request = self.client.get_bucket_lifecycle_configuration().bucket(bucket);
        let answer = self.way.call(bucket, request.expected_bucket_owner(&self.owner).send()).await?;
        Ok(answer.rules.unwrap_or_default().into_iter().map(read_rule).collect())
    }

    /// Replaces all lifecycle rules.
    ///
    /// # Errors
    /// If AWS refuses or does not answer, or if a rule does more than the operator can write: it would lose the rest.
    pub async fn put_lifecycle(&self, bucket: &str, rules: &[LifecycleRule]) -> Result<(), AwsError> {
        let call = Call::PutBucketLifecycleConfiguration;
        if let Some(rule) = rules.iter().find(|r| r.other) {
            let message = format!("rule {:?} does more than can be written", rule.id);
            return Err(unexpected(call, AwsErrorKind::Invalid, bucket, message));
        }
        let built = |e: BuildError| invalid(call, bucket, &e);
        let rules = rules.iter().map(write_rule).collect::<Result<Vec<_>, _>>().map_err(built)?;
        let configuration = types::BucketLifecycleConfiguration::builder().set_rules(Some(rules));
        let request = self.client.put_bucket_lifecycle_configuration().bucket(bucket);
        let request = request.lifecycle_configuration(configuration.build().map_err(built)?);
        self.way.call(bucket, request.expected_bucket_owner(&self.owner).send()).await.map(drop)
    }

    /// Bucket policy.
    ///
    /// # Errors
    /// `NotFound` if there is none, `Invalid` if it cannot be read as a policy.
    pub async fn policy(&self, bucket: &str) -> Result<Document, AwsError> {
        let call = Call::GetBucketPolicy;
        let request = self.client.get_bucket_policy().bucket(bucket).expected_bucket_owner(&self.owner);
        let text = self.way.call(bucket, request.send()).await?.policy.ok_or_else(|| absent(call, bucket))?;
        Document::parse(&text).map_err(|e| unexpected(call, AwsErrorKind::Invalid, bucket, e))
    }

    /// Replaces the bucket policy.
    ///
    /// # Errors
    /// If AWS refuses or does not answer.
    pub async fn put_policy(&self, bucket: &str, policy: &Document) -> Result<(), AwsError> {
        let request = self.client.put_bucket_policy().bucket(bucket).expected_bucket_owner(&self.owner);
        self.way.call(bucket, request.policy(policy.render()).send()).await.map(drop)
    }
}

/// An answer of success that says that nothing is set.
fn absent(call: Call, bucket: &str) -> AwsError {
    unexpected(call, AwsErrorKind::NotFound, bucket, "it is not set")
}

fn invalid(call: Call, bucket: &str, error: &BuildError) -> AwsError {
    unexpected(call, AwsErrorKind::Invalid, bucket, error)
}

fn tag_set(tags: &Tags) -> Result<Vec<types::Tag>, BuildError> {
    tags.iter().map(|(key, value)| types::Tag::builder().key(key).value(value).build()).collect()
}

fn read_rule(rule: types::LifecycleRule) -> LifecycleRule {
    let limited = |f: types::LifecycleRuleFilter| {
        f.prefix.is_some_and(|p| !p.is_empty())
            || f.tag.is_some()
            || f.object_size_greater_than.is_some()
            || f.object_size_less_than.is_some()
            || f.and.is_some()
    };
    #[allow(deprecated, reason = "rules from before filters have their prefix here")]
    let old_prefix = rule.prefix;
    LifecycleRule {
        id: rule.id.unwrap_or_default(),
        enabled: rule.status == types::ExpirationStatus::Enabled,
        abort_incomplete_days: rule.abort_incomplete_multipart_upload.and_then(|a| a.days_after_initiation),
        other: rule.expiration.is_some()
            || rule.noncurrent_version_expiration.is_some()
            || rule.transitions.is_some_and(|t| !t.is_empty())
            || rule.noncurrent_version_transitions.is_some_and(|t| !t.is_empty())
            || rule.filter.is_some_and(limited)
            || old_prefix.is_some_and(|p| !p.is_empty()),
    }
}

fn write_rule(rule: &LifecycleRule) -> Result<types::LifecycleRule, BuildError> {
    let abort = rule
        .abort_incomplete_days
        .map(|days| types::AbortIncompleteMultipartUpload::builder().days_after_initiation(days).build());
    types::LifecycleRule::builder()
        .id(&rule.id)
        .status(if rule.enabled { types::ExpirationStatus::Enabled } else { types::ExpirationStatus::Disabled })
        .filter(types::LifecycleRuleFilter::builder().prefix("").build())
        .set_abort_incomplete_multipart_upload(abort)
        .build()
}
