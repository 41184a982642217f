use super::*;
use crate::aws::calls::{Call, Service};
use crate::aws::error::AwsErrorKind as K;
use crate::aws::s3::S3;
use crate::bucket::observed::{Encryption, LifecycleRule, PublicAccessBlock, abort_rule};

async fn given(answer: Answer) -> (Wire, S3) {
    given_in("eu-west-1", answer).await
}

async fn given_in(region: &str, answer: Answer) -> (Wire, S3) {
    let wire = Wire::new([answer]).await;
    let s3 = wire.aws.s3(&place_in(region));
    (wire, s3)
}

#[tokio::test(start_paused = true)]
async fn head_bucket_gives_the_region_and_names_the_owner() {
    let (wire, s3) = given(bare(200, &[("x-amz-bucket-region", "eu-west-1")])).await;
    assert_eq!(s3.head_bucket("bucket").await.unwrap(), "eu-west-1");
    let sent = wire.last();
    assert_eq!((sent.method.as_str(), sent.uri.as_str()), ("HEAD", "https://bucket.s3.eu-west-1.amazonaws.com/"));
    assert_eq!(sent.header("x-amz-expected-bucket-owner"), Some("111122223333"));
}

#[tokio::test(start_paused = true)]
async fn head_answers_without_a_body_are_judged_by_their_status() {
    for (status, region, kind) in [
        (301, Some("us-east-2"), K::NameTaken),
        (400, Some("us-east-2"), K::NameTaken),
        // An expired token, for instance: nothing is known of the bucket.
        (400, Some("eu-west-1"), K::Invalid),
        (403, Some("eu-west-1"), K::AccessDenied),
        (404, None, K::NotFound),
        (503, None, K::Throttled),
        (500, None, K::Unavailable),
    ] {
        let headers: Vec<_> = region.iter().map(|r| ("x-amz-bucket-region", *r)).collect();
        let (_wire, s3) = given(bare(status, &headers)).await;
        let error = s3.head_bucket("b").await.unwrap_err();
        assert_eq!((error.kind, error.status), (kind, status), "{error:?}");
        if kind == K::NameTaken {
            assert!(error.message.contains("us-east-2") && error.message.contains("eu-west-1"), "{error}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn create_bucket_sets_tags_and_ownership_in_the_call() {
    let (wire, s3) = given(bare(200, &[])).await;
    s3.create_bucket("b", &tags()).await.unwrap();
    let sent = wire.last();
    assert!(sent.body.contains("<LocationConstraint>eu-west-1</LocationConstraint>"), "{}", sent.body);
    assert!(sent.body.contains("<Key>securebucket.io/cluster</Key><Value>c</Value>"), "{}", sent.body);
    assert_eq!(sent.header("x-amz-object-ownership"), Some("BucketOwnerEnforced"));
    assert_eq!(sent.header("x-amz-expected-bucket-owner"), None);
}

#[tokio::test(start_paused = true)]
async fn create_bucket_in_us_east_1_has_no_location_constraint() {
    let (wire, s3) = given_in("us-east-1", bare(200, &[])).await;
    s3.create_bucket("bucket", &tags()).await.unwrap();
    let sent = wire.last();
    assert!(!sent.body.contains("LocationConstraint"), "{}", sent.body);
    assert!(sent.body.contains("<Tags>"), "{}", sent.body);
    assert_eq!(sent.uri, "https://bucket.s3.us-east-1.amazonaws.com/");
}

#[tokio::test(start_paused = true)]
async fn create_bucket_tells_whose_the_name_is() {
    for (code, kind) in [("BucketAlreadyExists", K::NameTaken), ("BucketAlreadyOwnedByYou", K::AlreadyExists)] {
        let (_wire, s3) = given(s3_error(409, code, "taken")).await;
        assert_eq!(s3.create_bucket("b", &tags()).await.unwrap_err().kind, kind);
    }
}

#[tokio::test(start_paused = true)]
async fn an_explicit_endpoint_is_addressed_by_path() {
    let set = |s: &mut AwsSettings| s.endpoint_url = Some("http://127.0.0.1:4566".into());
    let wire = Wire::with(ok(&sts_session()), [bare(200, &[])], set, None).await;
    wire.aws.s3(&place()).head_bucket("b").await.unwrap();
    assert!(wire.last().uri.starts_with("http://127.0.0.1:4566/b"), "{}", wire.last().uri);
    let asked = wire.requests.lock().unwrap();
    assert!(asked.iter().all(|r| r.uri.starts_with("http://127.0.0.1:4566/")), "credentials too");
}

#[tokio::test(start_paused = true)]
async fn tags_read_and_write() {
    let body = "<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></Tagging>";
    let (wire, s3) = given(ok(body)).await;
    assert_eq!(s3.bucket_tags("b").await.unwrap(), Tags::from([("k".into(), "v".into())]));
    s3.put_bucket_tags("b", &tags()).await.unwrap();
    let sent = wire.last();
    assert!(sent.uri.contains("?tagging") && sent.body.contains("<Key>team</Key><Value>x</Value>"), "{sent:?}");
    assert_eq!(sent.header("x-amz-expected-bucket-owner"), Some("111122223333"));
}

#[tokio::test(start_paused = true)]
async fn public_access_block_reads_and_writes() {
    let body = "<PublicAccessBlockConfiguration><BlockPublicAcls>true</BlockPublicAcls><IgnorePublicAcls>true\
                </IgnorePublicAcls><BlockPublicPolicy>false</BlockPublicPolicy></PublicAccessBlockConfiguration>";
    let (wire, s3) = given(ok(body)).await;
    let read =
        PublicAccessBlock { block_public_policy: false, restrict_public_buckets: false, ..PublicAccessBlock::ALL };
    assert_eq!(s3.public_access_block("b").await.unwrap(), read);
    s3.put_public_access_block("b", PublicAccessBlock::ALL).await.unwrap();
    assert_eq!(wire.last().body.matches("true").count(), 4);
}

#[tokio::test(start_paused = true)]
async fn ownership_reads_and_writes() {
    let body = "<OwnershipControls><Rule><ObjectOwnership>ObjectWriter</ObjectOwnership></Rule></OwnershipControls>";
    let (wire, s3) = given(ok(body)).await;
    assert_eq!(s3.ownership("b").await.unwrap(), "ObjectWriter");
    s3.put_ownership("b", "BucketOwnerEnforced").await.unwrap();
    assert!(wire.last().body.contains("<ObjectOwnership>BucketOwnerEnforced</ObjectOwnership>"));
}

#[tokio::test(start_paused = true)]
async fn encryption_reads_back_what_was_written() {
    let encryption = Encryption {
        algorithm: "aws:kms".into(),
        key: Some("arn:aws:kms:eu-west-1:111122223333:key/k".into()),
        bucket_key: true,
        sse_c_blocked: true,
    };
    let (wire, s3) = given(bare(200, &[])).await;
    s3.put_encryption("b", &encryption).await.unwrap();
    let sent = wire.last().body;
    assert!(
        sent.contains("<BlockedEncryptionTypes><EncryptionType>SSE-C</EncryptionType></BlockedEncryptionTypes>"),
        "{sent}"
    );
    let (_wire, s3) = given(ok(&sent)).await;
    assert_eq!(s3.encryption("b").await.unwrap(), encryption);

    let body = "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256\
                </SSEAlgorithm></ApplyServerSideEncryptionByDefault><BucketKeyEnabled>false</BucketKeyEnabled></Rule>\
                </ServerSideEncryptionConfiguration>";
    let (_wire, s3) = given(ok(body)).await;
    let plain = Encryption { algorithm: "AES256".into(), key: None, bucket_key: false, sse_c_blocked: false };
    assert_eq!(s3.encryption("b").await.unwrap(), plain);
}

#[tokio::test(start_paused = true)]
async fn versioning_that_was_never_set_is_absent() {
    let (_wire, s3) = given(ok("<VersioningConfiguration/>")).await;
    assert_eq!(s3.versioning("b").await.unwrap_err().kind, K::NotFound);
    let (wire, s3) = given(ok("<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>")).await;
    assert_eq!(s3.versioning("b").await.unwrap(), "Suspended");
    s3.put_versioning("b", "Enabled").await.unwrap();
    assert!(wire.last().body.contains("<Status>Enabled</Status>"));
}

#[tokio::test(start_paused = true)]
async fn lifecycle_reads_back_what_was_written_and_sees_what_else_there_is() {
    let (wire, s3) = given(bare(200, &[])).await;
    s3.put_lifecycle("b", &[abort_rule()]).await.unwrap();
    let sent = wire.last().body;
    let (_wire, s3) = given(ok(&sent)).await;
    assert_eq!(s3.lifecycle("b").await.unwrap(), [abort_rule()]);

    for more in [
        "<Filter><Prefix>a/</Prefix></Filter>",
        "<Filter><Tag><Key>k</Key><Value>v</Value></Tag></Filter>",
        "<Filter><And><Prefix>a/</Prefix></And></Filter>",
        "<Filter><ObjectSizeGreaterThan>1</ObjectSizeGreaterThan></Filter>",
        "<Prefix>a/</Prefix>",
        "<Filter/><Expiration><Days>1</Days></Expiration>",
        "<Filter/><Transition><Days>1</Days><StorageClass>GLACIER</StorageClass></Transition>",
        "<Filter/><NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays></NoncurrentVersionExpiration>",
    ] {
        let body = format!(
            "<LifecycleConfiguration><Rule><ID>r</ID><Status>Disabled</Status>{more}</Rule></LifecycleConfiguration>"
        );
        let (_wire, s3) = given(ok(&body)).await;
        let expected = LifecycleRule { id: "r".into(), enabled: false, abort_incomplete_days: None, other: true };
        assert_eq!(s3.lifecycle("b").await.unwrap(), [expected], "{more}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_does_more_is_not_written_over_with_less() {
    let (wire, s3) = given(bare(200, &[])).await;
    let rule = LifecycleRule { other: true, ..abort_rule() };
    assert_eq!(s3.put_lifecycle("b", &[rule]).await.unwrap_err().kind, K::Invalid);
    assert!(wire.requests().is_empty());
}

#[tokio::test(start_paused = true)]
async fn policy_reads_back_what_was_written_and_garbage_is_no_policy() {
    let (wire, s3) = given(bare(204, &[])).await;
    s3.put_policy("b", &document()).await.unwrap();
    let sent = wire.last();
    assert!(sent.uri.contains("?policy"), "{}", sent.uri);
    let (_wire, s3) = given(ok(&sent.body)).await;
    assert_eq!(s3.policy("b").await.unwrap(), document());
    let (_wire, s3) = given(ok("{\"Statement\": 3}")).await;
    assert_eq!(s3.policy("b").await.unwrap_err().kind, K::Invalid);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_set_is_absent_and_what_is_refused_is_not() {
    macro_rules! reads {
        ($($method:ident $code:literal),*) => {$(
            for (answer, kind) in [
                (s3_error(404, $code, "not set"), K::NotFound),
                (s3_error(404, "NoSuchBucket", "no bucket"), K::NotFound),
                (s3_error(403, "AccessDenied", "no"), K::AccessDenied),
                (Answer(404, vec![], "<html>proxy</html>".into()), K::Unavailable),
            ] {
                let (_wire, s3) = given(answer).await;
                let error = s3.$method("b").await.unwrap_err();
                assert_eq!(error.kind, kind, "{}: {error:?}", stringify!($method));
            }
        )*};
    }
    reads!(
        bucket_tags "NoSuchTagSet",
        public_access_block "NoSuchPublicAccessBlockConfiguration",
        ownership "OwnershipControlsNotFoundError",
        encryption "ServerSideEncryptionConfigurationNotFoundError",
        lifecycle "NoSuchLifecycleConfiguration",
        policy "NoSuchBucketPolicy"
    );
}

#[tokio::test(start_paused = true)]
async fn every_call_but_create_bucket_names_the_owner() {
    let (wire, s3) = given(bare(200, &[])).await;
    let encryption = Encryption { algorithm: "AES256".into(), key: None, bucket_key: true, sse_c_blocked: true };
    s3.create_bucket("b", &tags()).await.unwrap();
    s3.head_bucket("b").await.unwrap();
    s3.put_bucket_tags("b", &tags()).await.unwrap();
    s3.put_public_access_block("b", PublicAccessBlock::ALL).await.unwrap();
    s3.put_ownership("b", "BucketOwnerEnforced").await.unwrap();
    s3.put_encryption("b", &encryption).await.unwrap();
    s3.put_versioning("b", "Enabled").await.unwrap();
    s3.put_lifecycle("b", &[abort_rule()]).await.unwrap();
    s3.put_policy("b", &document()).await.unwrap();
    // An empty answer makes no sense to these; only their requests matter here.
    let _ = s3.bucket_tags("b").await;
    let _ = s3.public_access_block("b").await;
    let _ = s3.ownership("b").await;
    let _ = s3.encryption("b").await;
    let _ = s3.versioning("b").await;
    let _ = s3.lifecycle("b").await;
    let _ = s3.policy("b").await;
    let sent = wire.requests();
    let distinct: std::collections::BTreeSet<_> = sent.iter().map(|r| (&r.method, &r.uri)).collect();
    assert_eq!(distinct.len(), Call::ALL.iter().filter(|c| c.service() == Service::S3).count());
    for request in sent.iter().skip(1) {
        assert_eq!(request.header("x-amz-expected-bucket-owner"), Some("111122223333"), "{request:?}");
    }
}
