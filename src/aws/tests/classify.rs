use super::*;
use crate::aws::classify::clean;
use crate::aws::error::{AwsError, AwsErrorKind as K};

/// Sends one call of the service and gives its error.
async fn failure(wire: &Wire, service: &str) -> AwsError {
    let aws = &wire.aws;
    match service {
        "s3" => aws.s3(&place()).policy("bucket").await.unwrap_err(),
        "kms" => aws.kms(&place()).describe_key("k").await.unwrap_err(),
        _ => aws.iam().role("r").await.unwrap_err(),
    }
}

fn answer(service: &str, status: u16, code: &str, message: &str) -> Answer {
    match service {
        "s3" => s3_error(status, code, message),
        "kms" => json_error(status, code, message),
        _ => query_error(status, code, message),
    }
}

/// Every code that the classifier claims to know, as it comes over the wire. Codes of one service are read by the parser of that service.
const CODES: &[(&str, u16, &str, K)] = &[
    ("s3", 404, "NoSuchBucket", K::NotFound),
    ("s3", 404, "NoSuchBucketPolicy", K::NotFound),
    ("s3", 404, "NoSuchPublicAccessBlockConfiguration", K::NotFound),
    ("s3", 404, "OwnershipControlsNotFoundError", K::NotFound),
    ("s3", 404, "NoSuchTagSet", K::NotFound),
    ("s3", 404, "NoSuchTagSetError", K::NotFound),
    ("s3", 404, "NoSuchLifecycleConfiguration", K::NotFound),
    ("s3", 404, "ServerSideEncryptionConfigurationNotFoundError", K::NotFound),
    ("s3", 404, "NotFound", K::NotFound),
    ("kms", 400, "NotFoundException", K::NotFound),
    ("iam", 404, "NoSuchEntity", K::NotFound),
    ("iam", 404, "NoSuchEntityException", K::NotFound),
    ("s3", 403, "AccessDenied", K::AccessDenied),
    ("iam", 403, "AccessDenied", K::AccessDenied),
    ("kms", 400, "AccessDeniedException", K::AccessDenied),
    ("s3", 403, "AllAccessDisabled", K::AccessDenied),
    ("s3", 403, "AccountProblem", K::AccessDenied),
    ("iam", 403, "AuthFailure", K::AccessDenied),
    ("s3", 400, "ExpiredToken", K::AccessDenied),
    ("kms", 400, "ExpiredTokenException", K::AccessDenied),
    ("iam", 403, "IDPRejectedClaim", K::AccessDenied),
    ("iam", 403, "IncompleteSignature", K::AccessDenied),
    ("kms", 400, "IncompleteSignatureException", K::AccessDenied),
    ("s3", 403, "InvalidAccessKeyId", K::AccessDenied),
    ("iam", 403, "InvalidClientTokenId", K::AccessDenied),
    ("iam", 400, "InvalidIdentityToken", K::AccessDenied),
    ("kms", 400, "InvalidIdentityTokenException", K::AccessDenied),
    ("kms", 400, "InvalidSignatureException", K::AccessDenied),
    ("s3", 400, "InvalidToken", K::AccessDenied),
    ("iam", 403, "MissingAuthenticationToken", K::AccessDenied),
    ("kms", 400, "MissingAuthenticationTokenException", K::AccessDenied),
    ("kms", 400, "NotAuthorized", K::AccessDenied),
    ("s3", 403, "NotSignedUp", K::AccessDenied),
    ("iam", 403, "OptInRequired", K::AccessDenied),
    ("iam", 403, "RegionDisabledException", K::AccessDenied),
    ("s3", 403, "SignatureDoesNotMatch", K::AccessDenied),
    ("iam", 403, "UnauthorizedOperation", K::AccessDenied),
    ("kms", 400, "UnrecognizedClientException", K::AccessDenied),
    ("s3", 409, "BucketAlreadyExists", K::NameTaken),
    ("s3", 301, "PermanentRedirect", K::NameTaken),
    ("s3", 409, "BucketAlreadyOwnedByYou", K::AlreadyExists),
    ("kms", 400, "AlreadyExistsException", K::AlreadyExists),
    ("iam", 409, "EntityAlreadyExists", K::AlreadyExists),
    ("iam", 409, "EntityAlreadyExistsException", K::AlreadyExists),
    ("iam", 409, "LimitExceeded", K::LimitExceeded),
    ("kms", 400, "LimitExceededException", K::LimitExceeded),
    ("s3", 400, "TooManyBuckets", K::LimitExceeded),
    ("s3", 409, "OperationAborted", K::Conflict),
    ("iam", 409, "ConcurrentModification", K::Conflict),
    ("iam", 409, "ConcurrentModificationException", K::Conflict),
    ("kms", 400, "ConflictException", K::Conflict),
    ("iam", 409, "DeleteConflict", K::Conflict),
    ("iam", 409, "DeleteConflictException", K::Conflict),
    ("iam", 409, "EntityTemporarilyUnmodifiable", K::Conflict),
    ("iam", 409, "EntityTemporarilyUnmodifiableException", K::Conflict),
    ("s3", 307, "TemporaryRedirect", K::Conflict),
    ("iam", 400, "Throttling", K::Throttled),
    ("kms", 400, "ThrottlingException", K::Throttled),
    ("kms", 400, "ThrottledException", K::Throttled),
    ("kms", 400, "RequestThrottled", K::Throttled),
    ("kms", 400, "RequestThrottledException", K::Throttled),
    ("iam", 400, "RequestLimitExceeded", K::Throttled),
    ("kms", 400, "TooManyRequestsException", K::Throttled),
    ("s3", 400, "BandwidthLimitExceeded", K::Throttled),
    ("s3", 503, "SlowDown", K::Throttled),
    ("kms", 500, "DependencyTimeoutException", K::Unavailable),
    ("iam", 400, "IDPCommunicationError", K::Unavailable),
    ("s3", 500, "InternalError", K::Unavailable),
    ("iam", 500, "InternalFailure", K::Unavailable),
    ("kms", 500, "InternalServerError", K::Unavailable),
    ("kms", 500, "KMSInternalException", K::Unavailable),
    ("kms", 500, "KeyUnavailableException", K::Unavailable),
    ("s3", 400, "RequestTimeout", K::Unavailable),
    ("kms", 400, "RequestTimeoutException", K::Unavailable),
    ("iam", 400, "RequestExpired", K::Unavailable),
    ("s3", 403, "RequestTimeTooSkewed", K::Unavailable),
    ("iam", 500, "ServiceFailure", K::Unavailable),
    ("iam", 500, "ServiceFailureException", K::Unavailable),
    ("s3", 503, "ServiceUnavailable", K::Unavailable),
    ("kms", 503, "ServiceUnavailableException", K::Unavailable),
    ("kms", 400, "DisabledException", K::KeyState),
    ("kms", 400, "KMSInvalidStateException", K::KeyState),
    ("s3", 400, "MalformedPolicy", K::Invalid),
    ("iam", 400, "MalformedPolicyDocument", K::Invalid),
    ("kms", 400, "MalformedPolicyDocumentException", K::Invalid),
    ("kms", 400, "InvalidArnException", K::Invalid),
    ("s3", 501, "NotImplemented", K::Invalid),
    // Codes that it does not claim to know.
    ("kms", 400, "ValidationException", K::Invalid),
    ("iam", 400, "ValidationError", K::Invalid),
    ("s3", 400, "IllegalLocationConstraintException", K::Invalid),
    ("s3", 404, "NoSuchThing", K::Invalid),
    ("s3", 403, "SomethingNew", K::AccessDenied),
    ("s3", 500, "SomethingNew", K::Unavailable),
    ("s3", 429, "SomethingNew", K::Throttled),
];

#[tokio::test(start_paused = true)]
async fn codes_over_the_wire() {
    for (service, status, code, kind) in CODES {
        let wire = Wire::new([answer(service, *status, code, "Some text.")]).await;
        let error = failure(&wire, service).await;
        assert_eq!((error.kind, error.code.as_deref(), error.status), (*kind, Some(*code), *status), "{error:?}");
        assert_eq!(error.message, "Some text.", "{code}");
    }
}

#[test]
fn the_table_above_has_every_code_that_the_classifier_names() {
    let source = include_str!("../classify.rs");
    let known = source.split("fn by_code").nth(1).and_then(|s| s.split("fn by_status").next()).unwrap();
    let known: Vec<_> = known.split('"').skip(1).step_by(2).filter(|word| *word != "principal").collect();
    assert!(known.len() > 70);
    for code in known {
        assert!(CODES.iter().any(|(_, _, c, _)| *c == code), "{code} is not tested");
    }
}

#[tokio::test(start_paused = true)]
async fn a_principal_that_is_not_known_yet_is_told_from_a_wrong_policy() {
    for (service, code) in
        [("s3", "MalformedPolicy"), ("iam", "MalformedPolicyDocument"), ("kms", "MalformedPolicyDocumentException")]
    {
        let wire = Wire::new([answer(service, 400, code, "Invalid Principal in policy")]).await;
        assert_eq!(failure(&wire, service).await.kind, K::UnknownPrincipal);
    }
}

#[tokio::test(start_paused = true)]
async fn a_bucket_elsewhere_is_named_with_its_region() {
    let mut answer = s3_error(301, "PermanentRedirect", "use the other endpoint");
    answer.1.push(("x-amz-bucket-region", "ap-south-1".into()));
    let error = failure(&Wire::new([answer]).await, "s3").await;
    assert_eq!(error.kind, K::NameTaken);
    assert_eq!(error.message, "a bucket of this name is in region ap-south-1, not in eu-west-1");
}

#[tokio::test(start_paused = true)]
async fn retries_are_three_attempts_and_only_where_they_help() {
    for (answer, attempts) in [
        (json_error(400, "ThrottlingException", "Rate exceeded"), 3),
        (json_error(500, "KMSInternalException", "again"), 3),
        (json_error(400, "AccessDeniedException", "no"), 1),
        (json_error(400, "DisabledException", "no"), 1),
    ] {
        let wire = Wire::new([answer]).await;
        failure(&wire, "kms").await;
        assert_eq!(wire.requests().len(), attempts);
    }
    let wire = Wire::new([json_error(400, "ThrottlingException", "x"), ok("{\"Policy\":\"{}\"}")]).await;
    wire.aws.kms(&place()).put_key_policy("k", &document()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn sts_refusals_are_refusals_and_its_outages_are_outages() {
    for (status, code, kind) in [
        (403, "AccessDenied", K::AccessDenied),
        (400, "ExpiredTokenException", K::AccessDenied),
        (400, "InvalidIdentityToken", K::AccessDenied),
        (400, "ValidationError", K::AccessDenied),
        (400, "IDPCommunicationError", K::Unavailable),
        (500, "InternalFailure", K::Unavailable),
        (400, "Throttling", K::Throttled),
    ] {
        let sts = query_error(status, code, "Not authorized to perform sts:AssumeRoleWithWebIdentity");
        let wire = Wire::with(sts, [bare(200, &[])], |_| (), None).await;
        let error = failure(&wire, "s3").await;
        assert_eq!((error.kind, error.code.as_deref(), error.status), (kind, Some(code), 0), "{error:?}");
        assert!(error.message.starts_with("AssumeRoleWithWebIdentity: Not authorized"), "{error}");
        assert!(wire.requests().is_empty());
        assert!(!format!("{error:?} {error}").contains(TOKEN));
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_file_that_cannot_be_read_is_no_refusal() {
    let gone = |s: &mut AwsSettings| s.web_identity_token_file = Some("/nonexistent/token".into());
    let wire = Wire::with(ok(&sts_session()), [bare(200, &[])], gone, None).await;
    let error = failure(&wire, "s3").await;
    assert_eq!((error.kind, error.message.as_str()), (K::Unavailable, "no credentials: the token file cannot be read"));
}

#[test]
fn messages_are_stable() {
    for (text, expected) in [
        (
            "Rate exceeded (Service: Kms, Status Code: 400, Request ID: 0b5e-12)",
            "Rate exceeded (Service: Kms, Status Code: 400,",
        ),
        ("Failed RequestId: abc HostId=def, again", "Failed again"),
        ("Signature expired: 20260101T000000Z is now earlier", "Signature expired: [time] is now earlier"),
        ("until 2026-01-01T00:00:00.123Z.", "until [time]."),
        (
            "User: arn:aws:sts::111122223333:assumed-role/op/securebucket-5f7c is not authorized to perform: kms:CreateGrant",
            "User: arn:aws:sts::111122223333:assumed-role/op is not authorized to perform: kms:CreateGrant",
        ),
        ("No. Encoded authorization failure message: Zm9vYmFy", "No."),
        ("two\nlines\tof\u{0} text", "two lines of text"),
        ("The request id must be set", "The request id must be set"),
        (
            "Key 'arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab' is disabled.",
            "Key 'arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab' is disabled.",
        ),
    ] {
        assert_eq!(clean(text), expected);
        assert_eq!(clean(expected), expected, "cleaning is idempotent");
    }
}

#[test]
fn messages_hold_no_secrets() {
    let token = "AQpAM2RhZT+/".repeat(20);
    for secret in [
        token.as_str(),
        TOKEN,
        "ASIAABCDEFGHIJKLMNOP",
        "AKIAABCDEFGHIJKLMNOP",
        &format!("token={token}"),
        &format!("\"{token}\","),
    ] {
        assert_eq!(clean(&format!("grant {secret} refused")), "grant [cut] refused");
        assert_eq!(clean(&format!("grant:{secret} refused")), "[cut] refused");
    }
    let role = format!("arn:aws:iam::111122223333:role/securebucket/{}/{}", "c".repeat(32), "r".repeat(64));
    assert_eq!(clean(&role), role, "names are no secrets");
    assert_eq!(clean(&"ab".repeat(32)), "ab".repeat(32), "a grant id neither");
}

#[test]
fn long_messages_are_cut_between_characters() {
    let cut = clean(&"äöü ".repeat(200));
    assert_eq!(cut.chars().count(), 300);
    assert!(cut.ends_with('…'));
}
