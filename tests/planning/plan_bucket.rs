//! The plan for the bucket, row by row.

use securebucket::aws::calls::Call;
use securebucket::aws::error::{AwsErrorKind, Seen};
use securebucket::bucket::observed::{LifecycleRule, PublicAccessBlock, abort_rule};
use securebucket::domain::policy::Statement;
use securebucket::domain::tags::{self, Tags};

use crate::fixtures::{failure, strangers_key, unreadable};
use crate::rows::{Case, Row, check};

fn objects(case: &Case) -> [String; 1] {
    [format!("{}/*", case.desired.names.bucket_arn())]
}

pub fn add(case: &mut Case, statement: Statement) {
    let objects = objects(case);
    case.edit_bucket_policy(|s| s.push(statement.resources(objects)));
}

fn foreign_allow() -> Statement {
    Statement::allow("Share").anyone().actions(["s3:GetObject"])
}

pub fn responder() -> Statement {
    Statement::deny("Incident42").anyone().actions(["s3:GetObject"])
}

fn bucket_tags(case: &mut Case, change: impl FnOnce(&mut Tags)) {
    let Seen::Value(tags) = &mut case.bucket().tags else { panic!() };
    change(tags);
}

#[test]
fn existence() {
    let made: &[&str] = &[
        "- create the bucket",
        "- block public access",
        "- put the bucket policy",
        "- set default encryption to SSE-KMS under the key, SSE-C blocked",
        "- set versioning to Enabled",
        "- abort incomplete uploads after 7 days",
    ];
    let rows: &[Row] = &[
        (
            "the key is there, the bucket is not",
            |c| {
                c.observed.bucket = Seen::Absent;
                c.situation.bound = false;
                c.situation.provisioned = false;
            },
            made,
        ),
        // An empty bucket in the place of a lost one must not look as if nothing had happened.
        ("deleted outside", |c| c.observed.bucket = Seen::Absent, &["blocked BucketGone"]),
        (
            "deleted outside, declared state asked for",
            |c| {
                c.observed.bucket = Seen::Absent;
                c.situation.obey = true;
            },
            made,
        ),
        ("unreadable", |c| c.observed.bucket = unreadable(), &["unreadable bucket"]),
        // A name that was never ours and answers 403 is somebody else's.
        (
            "403 before it was ever ours",
            |c| {
                c.observed.bucket = Seen::Unreadable(failure(Call::HeadBucket, AwsErrorKind::AccessDenied));
                c.situation.bound = false;
            },
            &["blocked BucketNameTaken"],
        ),
        (
            "time-out before it was ever ours",
            |c| {
                c.observed.bucket = Seen::Unreadable(failure(Call::HeadBucket, AwsErrorKind::Unavailable));
                c.situation.bound = false;
            },
            &["unreadable bucket"],
        ),
        ("in another region", |c| c.bucket().region = "us-east-1".into(), &["blocked BucketNameTaken"]),
        // Its key was deleted while the object was away: policy and encryption wait until the new one can be named.
        (
            "returning, its key gone",
            |c| {
                c.returned();
                c.observed.key = Seen::Absent;
                c.bucket().policy = Seen::Absent;
            },
            &[
                "- announce the creation of a key",
                "- create the key",
                "- create the alias",
                "- rotate the key every 365 days",
                "- tag the bucket",
            ],
        ),
    ];
    check(rows);
}

#[test]
fn owner() {
    let rows: &[Row] = &[
        (
            "another's",
            |c| bucket_tags(c, |t| drop(t.insert(tags::IDENTITY.into(), "0123456789abcdef".into()))),
            &["blocked BucketNameTaken"],
        ),
        (
            "another's, and open",
            |c| {
                bucket_tags(c, |t| drop(t.insert(tags::CLUSTER.into(), "c2".into())));
                c.bucket().policy = Seen::Absent;
                c.bucket().public_access_block = Seen::Absent;
            },
            &["blocked BucketNameTaken"],
        ),
        (
            "unmarked, never ours",
            |c| {
                bucket_tags(c, Tags::clear);
                c.situation.bound = false;
                c.situation.provisioned = false;
            },
            &["blocked BucketNameTaken"],
        ),
        ("unmarked, ours by status", |c| bucket_tags(c, Tags::clear), &["restricted bucket tags"]),
        (
            "unmarked, ours by status, open",
            |c| {
                bucket_tags(c, Tags::clear);
                c.bucket().public_access_block = Seen::Absent;
            },
            &[
                "- block public access",
                "drift public access block: not all four switches are on",
                "restricted bucket tags",
            ],
        ),
        (
            "unmarked, declared state asked for",
            |c| {
                bucket_tags(c, Tags::clear);
                c.situation.obey = true;
            },
            &["- tag the bucket", "drift bucket tags: tags differ"],
        ),
        // What may be somebody else's by now is only narrowed.
        (
            "tags unreadable",
            |c| {
                c.bucket().tags = unreadable();
                c.bucket().public_access_block = Seen::Absent;
                c.bucket().versioning = Seen::Value("Suspended".into());
                c.bucket().encryption = Seen::Absent;
            },
            &[
                "- block public access",
                "drift public access block: not all four switches are on",
                "unreadable bucket tags",
            ],
        ),
        (
            "tags unreadable, never ours",
            |c| {
                c.bucket().tags = unreadable();
                c.situation.bound = false;
            },
            &["unreadable bucket tags"],
        ),
        ("no tags at all", |c| c.bucket().tags = Seen::Absent, &["restricted bucket tags"]),
    ];
    check(rows);
}

#[test]
fn exposure_and_settings() {
    let rows: &[Row] = &[
        (
            "public access block absent",
            |c| c.bucket().public_access_block = Seen::Absent,
            &["- block public access", "drift public access block: not all four switches are on"],
        ),
        (
            "public access block looser",
            |c| {
                let looser = PublicAccessBlock { block_public_policy: false, ..PublicAccessBlock::ALL };
                c.bucket().public_access_block = Seen::Value(looser);
            },
            &["- block public access", "drift public access block: not all four switches are on"],
        ),
        (
            "public access block unreadable",
            |c| c.bucket().public_access_block = unreadable(),
            &["unreadable public access block"],
        ),
        (
            "ACLs on",
            |c| c.bucket().ownership = Seen::Value("ObjectWriter".into()),
            &["- let the bucket owner own all objects", "drift object ownership: ACLs are in force"],
        ),
        (
            "ownership absent",
            |c| c.bucket().ownership = Seen::Absent,
            &["- let the bucket owner own all objects", "drift object ownership: ACLs are in force"],
        ),
        ("ownership unreadable", |c| c.bucket().ownership = unreadable(), &["unreadable object ownership"]),
        (
            "versioning suspended by hand",
            |c| c.bucket().versioning = Seen::Value("Suspended".into()),
            &["- set versioning to Enabled", "drift versioning: versioning is Suspended"],
        ),
        (
            "versioning never turned on",
            |c| c.bucket().versioning = Seen::Absent,
            &["- set versioning to Enabled", "drift versioning: versioning is Suspended"],
        ),
        (
            "versioning suspended by the spec",
            |c| {
                c.desired.versioning = "Suspended";
                c.situation.spec_changed = true;
            },
            &["- set versioning to Suspended"],
        ),
        // A bucket that never had it is as suspended as S3 knows.
        (
            "versioning suspended and absent",
            |c| {
                c.desired.versioning = "Suspended";
                c.bucket().versioning = Seen::Absent;
            },
            &[],
        ),
        ("versioning unreadable", |c| c.bucket().versioning = unreadable(), &["unreadable versioning"]),
        (
            "lifecycle absent",
            |c| c.bucket().lifecycle = Seen::Absent,
            &["- abort incomplete uploads after 7 days", "drift lifecycle: rules are []"],
        ),
        (
            "lifecycle with somebody's expiry",
            |c| {
                let theirs =
                    LifecycleRule { id: "expire".into(), enabled: true, abort_incomplete_days: None, other: true };
                c.bucket().lifecycle = Seen::Value(vec![abort_rule(), theirs]);
            },
            &[
                "- abort incomplete uploads after 7 days",
                "drift lifecycle: rules are [expire, securebucket-abort-incomplete-uploads]",
            ],
        ),
        ("lifecycle unreadable", |c| c.bucket().lifecycle = unreadable(), &["unreadable lifecycle"]),
        (
            "tags differ",
            |c| bucket_tags(c, |t| drop(t.insert(tags::NAME.into(), "other".into()))),
            &["- tag the bucket", "drift bucket tags: tags differ"],
        ),
        ("others' tags", |c| bucket_tags(c, |t| drop(t.insert("cost".into(), "1".into()))), &[]),
    ];
    check(rows);
}

#[test]
fn encryption() {
    let put = "- set default encryption to SSE-KMS under the key, SSE-C blocked";
    let drift = "drift encryption: default encryption differs";
    let both: &'static [&'static str] = Box::leak(Box::new([put, drift]));
    let one: &'static [&'static str] = Box::leak(Box::new([put]));
    let rows: &[Row] = &[
        ("absent", |c| c.bucket().encryption = Seen::Absent, both),
        (
            "under another key",
            |c| {
                let Seen::Value(rule) = &mut c.bucket().encryption else { panic!() };
                rule.key = Some(strangers_key());
            },
            both,
        ),
        (
            "SSE-C allowed",
            |c| {
                let Seen::Value(rule) = &mut c.bucket().encryption else { panic!() };
                rule.sse_c_blocked = false;
            },
            both,
        ),
        (
            "bucket key off by hand",
            |c| {
                let Seen::Value(rule) = &mut c.bucket().encryption else { panic!() };
                rule.bucket_key = false;
            },
            both,
        ),
        (
            "bucket key off by the spec",
            |c| {
                c.desired.bucket_key = false;
                c.situation.spec_changed = true;
            },
            one,
        ),
        ("unreadable", |c| c.bucket().encryption = unreadable(), &["unreadable encryption"]),
    ];
    check(rows);
}

#[test]
fn policy() {
    let rows: &[Row] = &[
        (
            "absent",
            |c| c.bucket().policy = Seen::Absent,
            &["- put the bucket policy", "drift bucket policy: there is no bucket policy"],
        ),
        (
            "looser: a foreign Allow",
            |c| add(c, foreign_allow()),
            &[
                "- put the bucket policy",
                "drift bucket policy: missing, changed or foreign statements: Share",
                "foreign bucket policy: Share",
            ],
        ),
        (
            "looser: a Deny is gone",
            |c| c.edit_bucket_policy(|s| s.retain(|s| s.sid != "TlsOnly")),
            &["- put the bucket policy", "drift bucket policy: missing, changed or foreign statements: TlsOnly"],
        ),
        ("tighter", |c| add(c, responder()), &["- put the bucket policy", "restricted bucket policy"]),
        // What somebody closed is opened last.
        (
            "tighter, declared state asked for",
            |c| {
                add(c, responder());
                c.situation.obey = true;
            },
            &["+ put the bucket policy"],
        ),
        ("unreadable", |c| c.bucket().policy = unreadable(), &["unreadable bucket policy"]),
        (
            "looser and tighter",
            |c| {
                add(c, foreign_allow());
                add(c, responder());
            },
            &[
                "- put the bucket policy",
                "drift bucket policy: missing, changed or foreign statements: Share",
                "restricted bucket policy",
                "foreign bucket policy: Share",
            ],
        ),
    ];
    check(rows);
}
