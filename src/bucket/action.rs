//! What the operator may do to a SecureBucket's AWS objects, as data. `Display` is what plans, logs and events show.

use std::fmt;

use crate::domain::policy::Document;
use crate::domain::tags::Tags;

use super::observed::{Encryption, LifecycleRule};

/// A facet: a piece of AWS state with its own condition, as events and the drift metric name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Facet {
    /// The key itself and its alias.
    Key,
    /// Key policy.
    KeyPolicy,
    /// Rotation of the key.
    Rotation,
    /// Tags of the key.
    KeyTags,
    /// KMS grants on the key.
    Grants,
    /// The bucket itself.
    Bucket,
    /// Public access block.
    PublicAccessBlock,
    /// Object ownership.
    Ownership,
    /// Default encryption.
    Encryption,
    /// Versioning.
    Versioning,
    /// Lifecycle rules.
    Lifecycle,
    /// Bucket policy.
    BucketPolicy,
    /// Tags of the bucket.
    BucketTags,
}

impl Facet {
    /// Word for events, conditions and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::KeyPolicy => "key policy",
            Self::Rotation => "key rotation",
            Self::KeyTags => "key tags",
            Self::Grants => "KMS grants",
            Self::Bucket => "bucket",
            Self::PublicAccessBlock => "public access block",
            Self::Ownership => "object ownership",
            Self::Encryption => "encryption",
            Self::Versioning => "versioning",
            Self::Lifecycle => "lifecycle",
            Self::BucketPolicy => "bucket policy",
            Self::BucketTags => "bucket tags",
        }
    }
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Announce a CreateKey in status, before it.
    AnnounceKey,
    /// CreateKey with the policy, the marks and the attempt in its tags.
    CreateKey {
        /// Key policy.
        policy: Document,
        /// Tags without the attempt, which the executor adds.
        tags: Tags,
    },
    /// CreateAlias: the arbiter between two attempts.
    CreateAlias,
    /// UpdateAlias: somebody pointed our alias elsewhere.
    PointAlias,
    /// Write the key's ARN to status and forget the attempt.
    RecordKey {
        /// ARN.
        arn: String,
    },
    /// CancelKeyDeletion; leaves the key disabled (KMS API).
    CancelKeyDeletion,
    /// DisableKey, noted in status before the call.
    DisableKey,
    /// EnableKey.
    EnableKey,
    /// PutKeyPolicy.
    PutKeyPolicy {
        /// Document.
        policy: Document,
    },
    /// EnableKeyRotation.
    EnableRotation {
        /// Days.
        days: i32,
    },
    /// TagResource and UntagResource on the key.
    TagKey {
        /// Tags to set.
        set: Tags,
        /// Keys to remove.
        remove: Vec<String>,
    },
    /// RevokeGrant.
    RevokeGrant {
        /// Id.
        id: String,
        /// Made by somebody else, rather than left over from a DecryptGrant.
        foreign: bool,
    },
    /// CreateBucket, with its tags and ownership in the call.
    CreateBucket {
        /// Tags.
        tags: Tags,
    },
    /// PutPublicAccessBlock, all four on.
    BlockPublicAccess,
    /// PutBucketOwnershipControls, BucketOwnerEnforced.
    EnforceOwnership,
    /// PutBucketPolicy. Without a key yet, the executor builds it for the key that it has just made.
    PutBucketPolicy {
        /// Document; `None` when the key's ARN is not known while planning.
        policy: Option<Document>,
    },
    /// PutBucketEncryption.
    PutEncryption {
        /// The rule; its key is filled in by the executor when it is not known while planning.
        rule: Encryption,
    },
    /// PutBucketVersioning.
    PutVersioning {
        /// `Enabled` or `Suspended`.
        status: &'static str,
    },
    /// PutBucketLifecycleConfiguration.
    PutLifecycle {
        /// Rules.
        rules: Vec<LifecycleRule>,
    },
    /// PutBucketTagging.
    PutBucketTags {
        /// The whole tag set.
        tags: Tags,
    },
}

impl Action {
    /// The facet that it belongs to.
    pub fn facet(&self) -> Facet {
        match self {
            Self::AnnounceKey
            | Self::CreateKey { .. }
            | Self::CreateAlias
            | Self::PointAlias
            | Self::RecordKey { .. }
            | Self::CancelKeyDeletion
            | Self::DisableKey
            | Self::EnableKey => Facet::Key,
            Self::PutKeyPolicy { .. } => Facet::KeyPolicy,
            Self::EnableRotation { .. } => Facet::Rotation,
            Self::TagKey { .. } => Facet::KeyTags,
            Self::RevokeGrant { .. } => Facet::Grants,
            Self::CreateBucket { .. } => Facet::Bucket,
            Self::BlockPublicAccess => Facet::PublicAccessBlock,
            Self::EnforceOwnership => Facet::Ownership,
            Self::PutBucketPolicy { .. } => Facet::BucketPolicy,
            Self::PutEncryption { .. } => Facet::Encryption,
            Self::PutVersioning { .. } => Facet::Versioning,
            Self::PutLifecycle { .. } => Facet::Lifecycle,
            Self::PutBucketTags { .. } => Facet::BucketTags,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AnnounceKey => f.write_str("announce the creation of a key"),
            Self::CreateKey { .. } => f.write_str("create the key"),
            Self::CreateAlias => f.write_str("create the alias"),
            Self::PointAlias => f.write_str("point the alias back to the key"),
            Self::RecordKey { arn } => write!(f, "record key {arn}"),
            Self::CancelKeyDeletion => f.write_str("cancel the key's deletion"),
            Self::DisableKey => f.write_str("disable the key"),
            Self::EnableKey => f.write_str("enable the key"),
            Self::PutKeyPolicy { .. } => f.write_str("put the key policy"),
            Self::RevokeGrant { id, foreign: true } => write!(f, "revoke the foreign KMS grant {id}"),
            Self::RevokeGrant { id, foreign: false } => write!(f, "revoke the left-over KMS grant {id}"),
            Self::EnableRotation { days } => write!(f, "rotate the key every {days} days"),
            Self::TagKey { .. } => f.write_str("tag the key"),
            Self::CreateBucket { .. } => f.write_str("create the bucket"),
            Self::BlockPublicAccess => f.write_str("block public access"),
            Self::EnforceOwnership => f.write_str("let the bucket owner own all objects"),
            Self::PutBucketPolicy { .. } => f.write_str("put the bucket policy"),
            Self::PutEncryption { .. } => f.write_str("set default encryption to SSE-KMS under the key, SSE-C blocked"),
            Self::PutVersioning { status } => write!(f, "set versioning to {status}"),
            Self::PutLifecycle { .. } => f.write_str("abort incomplete uploads after 7 days"),
            Self::PutBucketTags { .. } => f.write_str("tag the bucket"),
        }
    }
}
