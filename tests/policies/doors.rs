//! Side doors into a bucket, and what nobody may do to it.

use crate::rows::{Row, allow, deny};
use crate::table::pinned;
use crate::world::{Who, World, but, noon};

/// Actions on a bucket that change how it is set up (Service Authorization Reference, Amazon S3).
pub const CONFIGURATION: [&str; 33] = [
    "s3:CreateBucket",
    "s3:CreateBucketMetadataTableConfiguration",
    "s3:DeleteBucket",
    "s3:DeleteBucketMetadataTableConfiguration",
    "s3:DeleteBucketPolicy",
    "s3:DeleteBucketWebsite",
    "s3:InitiateReplication",
    "s3:PauseReplication",
    "s3:PutAccelerateConfiguration",
    "s3:PutAnalyticsConfiguration",
    "s3:PutBucketABAC",
    "s3:PutBucketAcl",
    "s3:PutBucketCORS",
    "s3:PutBucketLogging",
    "s3:PutBucketNotification",
    "s3:PutBucketObjectLockConfiguration",
    "s3:PutBucketOwnershipControls",
    "s3:PutBucketPolicy",
    "s3:PutBucketPublicAccessBlock",
    "s3:PutBucketRequestPayment",
    "s3:PutBucketTagging",
    "s3:PutBucketVersioning",
    "s3:PutBucketWebsite",
    "s3:PutEncryptionConfiguration",
    "s3:PutIntelligentTieringConfiguration",
    "s3:PutInventoryConfiguration",
    "s3:PutLifecycleConfiguration",
    "s3:PutMetricsConfiguration",
    "s3:PutReplicationConfiguration",
    "s3:TagResource",
    "s3:UntagResource",
    "s3:UpdateBucketMetadataInventoryTableConfiguration",
    "s3:UpdateBucketMetadataJournalTableConfiguration",
];

/// Actions on a key that administrators have and nobody else.
pub const ADMINISTRATION: [&str; 12] = [
    "kms:PutKeyPolicy",
    "kms:EnableKey",
    "kms:EnableKeyRotation",
    "kms:RotateKeyOnDemand",
    "kms:TagResource",
    "kms:UntagResource",
    "kms:CreateAlias",
    "kms:UpdateAlias",
    "kms:DeleteAlias",
    "kms:RevokeGrant",
    "kms:ScheduleKeyDeletion",
    "kms:CancelKeyDeletion",
];

/// Rows about the side doors.
pub fn rows(w: &World) -> Vec<Row> {
    let now = noon();
    let get = w.get(Who::W, &w.b, "calls/2025/x", now);
    let with = |key: &str, value: &str| but(get.clone(), |c| c.with(key, value));
    let list = w.list(Who::W, &w.b, "calls/2025/", now);
    let recreated = w.get(Who::Recreated, &w.a, "in/x", now);
    let mut rows = vec![
        deny("producer made anew gets", recreated, &pinned(w, &["ProducersNeverRead"])),
        deny("W presigned get", with("s3:authType", "REST-QUERY-STRING"), &["NoBearerReads"]),
        deny("W browser POST", with("s3:authType", "POST"), &["NoBearerReads"]),
        deny("W without TLS", with("aws:SecureTransport", "false"), &["TlsOnly"]),
        deny("W lists without TLS", but(list.clone(), |c| c.with("aws:SecureTransport", false)), &["TlsOnly"]),
        deny("W with TLS 1.1", with("s3:TlsVersion", "1.1"), &["Tls12"]),
        allow("W lists with TLS 1.2", but(list, |c| c.with("s3:TlsVersion", "1.2")), &["ListB1"]),
        deny(
            "W through an access point",
            with("s3:DataAccessPointArn", "arn:aws:s3:eu-west-1:111122223333:accesspoint/side"),
            &["NoAccessPoints"],
        ),
    ];
    let side = "arn:aws:s3:eu-west-1:111122223333:accesspoint/side";
    for (n, bucket) in [&w.a, &w.b].into_iter().enumerate() {
        // Whoever is under the path lists names, but not by these ways.
        let list = || w.list(Who::Planted, bucket, "x/", now);
        rows.extend([
            deny(
                &format!("{n} lists without TLS"),
                but(list(), |c| c.with("aws:SecureTransport", false)),
                &["TlsOnly"],
            ),
            deny(&format!("{n} lists with TLS 1.1"), but(list(), |c| c.with("s3:TlsVersion", "1.1")), &["Tls12"]),
            deny(
                &format!("{n} lists through an access point"),
                but(list(), |c| c.with("s3:DataAccessPointArn", side)),
                &["NoAccessPoints"],
            ),
        ]);
    }
    let put = w.put(Who::W, &w.a, "in/x", now);
    rows.extend([
        deny("put without TLS", but(put.clone(), |c| c.with("aws:SecureTransport", false)), &["TlsOnly"]),
        deny("put with TLS 1.0", but(put.clone(), |c| c.with("s3:TlsVersion", "1.0")), &["Tls12"]),
        deny("put through an access point", but(put, |c| c.with("s3:DataAccessPointArn", side)), &["NoAccessPoints"]),
        allow(
            "grantee with s3:* lists parts of an upload",
            w.object(Who::WithS3, "s3:ListMultipartUploadParts", &w.b, "calls/x", now),
            &["AttachedS3"],
        ),
    ]);
    for action in ["s3:AbortMultipartUpload", "s3:PutObjectTagging", "s3:RestoreObject"] {
        let question = w.object(Who::WithS3, action, &w.b, "calls/x", now);
        rows.push(deny(&format!("grantee with s3:* {action}"), question, &["WritesOnlyByDuties"]));
    }
    for action in [
        "s3:DeleteObject",
        "s3:DeleteObjectVersion",
        "s3:DeleteObjectTagging",
        "s3:BypassGovernanceRetention",
        "s3:PutObjectRetention",
        "s3:PutObjectLegalHold",
        "s3:PutObjectAcl",
        "s3:PutObjectVersionAcl",
        "s3:UpdateObjectEncryption",
        "s3:ReplicateObject",
        "s3:ReplicateDelete",
    ] {
        // A writer by duty and without a boundary, so nothing else speaks.
        let question = w.object(Who::Recreated, action, &w.a, "in/x", now);
        rows.push(deny(&format!("producer made anew {action}"), question, &pinned(w, &["NobodyDeletes"])));
    }
    rows
}
