//! What was seen in AWS of one SecureBucket. Data only.

use crate::aws::error::Seen;
use crate::domain::policy::Document;
use crate::domain::tags::Tags;
use crate::role::observed::ObservedGrant;

/// Key and bucket as seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The dedicated key.
    pub key: Seen<ObservedKey>,
    /// The bucket.
    pub bucket: Seen<ObservedBucket>,
}

/// State of a KMS key, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// Usable.
    Enabled,
    /// Somebody disabled it.
    Disabled,
    /// Somebody scheduled its deletion.
    PendingDeletion,
    /// Any other state, in AWS's words (`Creating`, `Unavailable` …).
    Other(String),
}

impl KeyState {
    /// KMS's own word.
    pub fn word(&self) -> &str {
        match self {
            Self::Enabled => "Enabled",
            Self::Disabled => "Disabled",
            Self::PendingDeletion => "PendingDeletion",
            Self::Other(word) => word,
        }
    }
}

/// A key as seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedKey {
    /// ARN.
    pub arn: String,
    /// State.
    pub state: KeyState,
    /// ARN of the key that our alias points to; `Absent` if there is no such alias.
    pub alias_target: Seen<String>,
    /// Key policy.
    pub policy: Seen<Document>,
    /// Days between rotations; `None` inside if rotation is off.
    pub rotation_days: Seen<Option<i32>>,
    /// Tags.
    pub tags: Seen<Tags>,
    /// KMS grants, whoever made them.
    pub grants: Seen<Vec<ObservedGrant>>,
}

/// A bucket as seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedBucket {
    /// Region that answered.
    pub region: String,
    /// Tags.
    pub tags: Seen<Tags>,
    /// The four switches of the public access block.
    pub public_access_block: Seen<PublicAccessBlock>,
    /// Object ownership, in AWS's word.
    pub ownership: Seen<String>,
    /// Default encryption.
    pub encryption: Seen<Encryption>,
    /// `Enabled`, `Suspended`, or `Absent` if versioning was never turned on.
    pub versioning: Seen<String>,
    /// Lifecycle rules.
    pub lifecycle: Seen<Vec<LifecycleRule>>,
    /// Bucket policy.
    pub policy: Seen<Document>,
}

impl ObservedBucket {
    /// True if a facet has a value: no bucket, no value.
    pub fn proves_itself(&self) -> bool {
        self.tags.value().is_some()
            || self.public_access_block.value().is_some()
            || self.ownership.value().is_some()
            || self.encryption.value().is_some()
            || self.versioning.value().is_some()
            || self.lifecycle.value().is_some()
            || self.policy.value().is_some()
    }
}

/// `PublicAccessBlockConfiguration`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicAccessBlock {
    /// Refuses public ACLs.
    pub block_public_acls: bool,
    /// Ignores public ACLs.
    pub ignore_public_acls: bool,
    /// Refuses public policies.
    pub block_public_policy: bool,
    /// Restricts access under a public policy.
    pub restrict_public_buckets: bool,
}

impl PublicAccessBlock {
    /// All four on.
    pub const ALL: Self = Self {
        block_public_acls: true,
        ignore_public_acls: true,
        block_public_policy: true,
        restrict_public_buckets: true,
    };
}

/// The default encryption rule of a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encryption {
    /// `aws:kms`, `AES256` or `aws:kms:dsse`.
    pub algorithm: String,
    /// Key, as the rule names it.
    pub key: Option<String>,
    /// S3 Bucket Key.
    pub bucket_key: bool,
    /// SSE-C blocked (`BlockedEncryptionTypes`, S3 User Guide, blocking-unblocking-s3-c-encryption-gpb).
    pub sse_c_blocked: bool,
}

/// A lifecycle rule, as far as the operator writes such rules; anything else in it is summed up in `other`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LifecycleRule {
    /// Rule id.
    pub id: String,
    /// `Enabled`.
    pub enabled: bool,
    /// Days after which an incomplete multipart upload is aborted.
    pub abort_incomplete_days: Option<i32>,
    /// True if the rule does anything else or is limited to some objects.
    pub other: bool,
}

/// The one rule of every SecureBucket: parts of uploads that nobody finished go after 7 days.
pub fn abort_rule() -> LifecycleRule {
    LifecycleRule {
        id: "securebucket-abort-incomplete-uploads".into(),
        enabled: true,
        abort_incomplete_days: Some(7),
        other: false,
    }
}
