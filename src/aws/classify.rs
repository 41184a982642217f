//! From an SDK error to an [`AwsError`]: once, here, by AWS's error code; by the HTTP status only where there is no code.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sts::operation::assume_role_with_web_identity::AssumeRoleWithWebIdentityError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use super::calls::Call;
use super::error::{AwsError, AwsErrorKind};
use super::operation::Operation;

/// Longest message kept, in characters.
const MESSAGE: usize = 300;

/// Classifies the failure of an operation on `resource`, asked of `region`.
pub fn classify<E: Operation>(error: &SdkError<E, HttpResponse>, resource: &str, region: &str) -> AwsError {
    let status = error.raw_response().map_or(0, |r| r.status().as_u16());
    let failure = |kind, code: Option<&str>, message: &str| AwsError {
        call: E::CALL,
        kind,
        code: code.map(str::to_owned),
        status,
        message: clean(message),
        resource: resource.to_owned(),
    };
    match error {
        SdkError::ServiceError(answer) => {
            let (code, message) = (answer.err().code(), answer.err().message().unwrap_or_default());
            let found_in = answer.raw().headers().get("x-amz-bucket-region").filter(|found| *found != region);
            match found_in {
                Some(found) if is_elsewhere(code, status) => failure(
                    AwsErrorKind::NameTaken,
                    code,
                    &format!("a bucket of this name is in region {found}, not in {region}"),
                ),
                _ => failure(kind(E::CALL, code, status, message), code, message),
            }
        }
        SdkError::ResponseError(_) => failure(AwsErrorKind::Unavailable, None, "the answer could not be read"),
        SdkError::TimeoutError(_) => failure(AwsErrorKind::Unavailable, None, "no answer in time"),
        _ => match no_credentials(error) {
            Some((kind, code, message)) => failure(kind, code.as_deref(), &message),
            None if matches!(error, SdkError::ConstructionFailure(_)) => {
                failure(AwsErrorKind::Invalid, None, "the request could not be built")
            }
            None => failure(AwsErrorKind::Unavailable, None, "no connection"),
        },
    }
}

/// True for the answers by which S3 says that a bucket is in another region. They name it in a header; HEAD answers have no code.
fn is_elsewhere(code: Option<&str>, status: u16) -> bool {
    match code {
        Some(code) => matches!(code, "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IncorrectEndpoint"),
        None => matches!(status, 301 | 400),
    }
}

/// Class by code, or by status if there is no code.
pub fn kind(call: Call, code: Option<&str>, status: u16, message: &str) -> AwsErrorKind {
    code.map_or_else(|| by_status(call, status), |code| by_code(call, code, status, message))
}

fn by_code(call: Call, code: &str, status: u16, message: &str) -> AwsErrorKind {
    use AwsErrorKind as K;
    match code {
        "NoSuchBucket"
        | "NoSuchBucketPolicy"
        | "NoSuchPublicAccessBlockConfiguration"
        | "OwnershipControlsNotFoundError"
        | "NoSuchTagSet"
        | "NoSuchTagSetError"
        | "NoSuchLifecycleConfiguration"
        | "ServerSideEncryptionConfigurationNotFoundError"
        | "NotFound"
        | "NotFoundException"
        | "NoSuchEntity"
        | "NoSuchEntityException" => K::NotFound,

        "AccessDenied"
        | "AccessDeniedException"
        | "AllAccessDisabled"
        | "AccountProblem"
        | "AuthFailure"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "IDPRejectedClaim"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "InvalidAccessKeyId"
        | "InvalidClientTokenId"
        | "InvalidIdentityToken"
        | "InvalidIdentityTokenException"
        | "InvalidSignatureException"
        | "InvalidToken"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "NotAuthorized"
        | "NotSignedUp"
        | "OptInRequired"
        | "RegionDisabledException"
        | "SignatureDoesNotMatch"
        | "UnauthorizedOperation"
        | "UnrecognizedClientException" => K::AccessDenied,

        "BucketAlreadyExists" | "PermanentRedirect" => K::NameTaken,

        "BucketAlreadyOwnedByYou"
        | "AlreadyExistsException"
        | "EntityAlreadyExists"
        | "EntityAlreadyExistsException" => K::AlreadyExists,

        "LimitExceeded" | "LimitExceededException" | "TooManyBuckets" => K::LimitExceeded,

        "OperationAborted"
        | "ConcurrentModification"
        | "ConcurrentModificationException"
        | "ConflictException"
        | "DeleteConflict"
        | "DeleteConflictException"
        | "EntityTemporarilyUnmodifiable"
        | "EntityTemporarilyUnmodifiableException"
        | "TemporaryRedirect" => K::Conflict,

        "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "RequestLimitExceeded"
        | "TooManyRequestsException"
        | "BandwidthLimitExceeded"
        | "SlowDown" => K::Throttled,

        "DependencyTimeoutException"
        | "IDPCommunicationError"
        | "InternalError"
        | "InternalFailure"
        | "InternalServerError"
        | "KMSInternalException"
        | "KeyUnavailableException"
        | "RequestTimeout"
        | "RequestTimeoutException"
        // Clocks apart: the SDK corrects itself by the answer's date, so the next attempt is right.
        | "RequestExpired"
        | "RequestTimeTooSkewed"
        | "ServiceFailure"
        | "ServiceFailureException"
        | "ServiceUnavailable"
        | "ServiceUnavailableException" => K::Unavailable,

        "DisabledException" | "KMSInvalidStateException" => K::KeyState,

        // The grantee is the one ARN of the call that AWS looks up; a new role is unknown at first.
        "InvalidArnException" if call == Call::CreateGrant => K::UnknownPrincipal,
        "MalformedPolicy" | "MalformedPolicyDocument" | "MalformedPolicyDocumentException" => {
            if message.to_ascii_lowercase().contains("principal") { K::UnknownPrincipal } else { K::Invalid }
        }

        "NotImplemented" => K::Invalid,
        _ if status >= 500 => K::Unavailable,
        _ if status == 429 => K::Throttled,
        _ if matches!(status, 401 | 403) => K::AccessDenied,
        // Also 404: an unknown code must not pass for an absence.
        _ => K::Invalid,
    }
}

fn by_status(call: Call, status: u16) -> AwsErrorKind {
    use AwsErrorKind as K;
    match status {
        // Only HEAD answers have no body. Any other 404 without a code is not from AWS (a proxy, perhaps), and no absence.
        404 if call == Call::HeadBucket => K::NotFound,
        401 | 403 => K::AccessDenied,
        301 => K::NameTaken,
        307 | 409 => K::Conflict,
        429 | 503 => K::Throttled,
        400 | 405 | 501 => K::Invalid,
        _ => K::Unavailable,
    }
}

/// If what failed is the way to credentials: class, code and message. `AccessDenied` only if STS refused or nothing is configured.
fn no_credentials(error: &(dyn Error + 'static)) -> Option<(AwsErrorKind, Option<String>, String)> {
    type StsError = SdkError<AssumeRoleWithWebIdentityError, HttpResponse>;
    let chain = || std::iter::successors(Some(error), |e| (*e).source());
    let credentials = chain().find_map(|e| e.downcast_ref::<CredentialsError>())?;
    let sts = chain().find_map(|e| e.downcast_ref::<StsError>());
    if let Some(SdkError::ServiceError(answer)) = sts {
        let (code, message) = (answer.err().code(), answer.err().message().unwrap_or_default());
        let kind = match kind(Call::GetCallerIdentity, code, answer.raw().status().as_u16(), message) {
            kind @ (AwsErrorKind::Unavailable | AwsErrorKind::Throttled) => kind,
            _ => AwsErrorKind::AccessDenied,
        };
        return Some((kind, code.map(str::to_owned), format!("AssumeRoleWithWebIdentity: {message}")));
    }
    let (kind, why) = match credentials {
        CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_) => {
            (AwsErrorKind::AccessDenied, "no credentials are configured")
        }
        _ if sts.is_none() && chain().any(|e| e.is::<std::io::Error>()) => {
            (AwsErrorKind::Unavailable, "no credentials: the token file cannot be read")
        }
        _ => (AwsErrorKind::Unavailable, "no credentials: no answer from their source"),
    };
    Some((kind, None, why.to_owned()))
}

/// AWS's text without what changes from call to call (request ids, times, session names) and without anything that could be a secret; one
/// line, cut.
pub fn clean(message: &str) -> String {
    let message = message.split("Encoded authorization failure message").next().unwrap_or_default();
    let mut words: Vec<String> = Vec::new();
    let mut skip = false;
    for word in message.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()) {
        let bare = word.trim_matches(|c: char| !c.is_ascii_alphanumeric()).to_ascii_lowercase();
        if std::mem::take(&mut skip) {
            continue;
        }
        // "Request ID: x", "RequestId: x", "HostId=x"
        if bare == "id"
            && word.ends_with(':')
            && words.last().is_some_and(|w| w.to_ascii_lowercase().ends_with("request"))
        {
            words.pop();
            skip = true;
            continue;
        }
        if ["requestid", "request-id", "hostid", "host-id", "extendedrequestid"].iter().any(|id| bare.starts_with(id)) {
            skip = word.ends_with([':', '=']);
            continue;
        }
        words.push(neutral(word));
    }
    let text = words.join(" ");
    if text.chars().count() <= MESSAGE { text } else { text.chars().take(MESSAGE - 1).chain(['…']).collect() }
}

/// One word, with a placeholder if it is a time or may be a secret, and without the session of an assumed role.
fn neutral(word: &str) -> String {
    let core = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    if is_time(core) {
        return word.replace(core, "[time]");
    }
    if may_be_secret(core) {
        return "[cut]".to_owned();
    }
    match word.split_once(":assumed-role/") {
        Some((start, role_and_session)) => {
            let role = role_and_session.split('/').next().unwrap_or_default();
            format!("{start}:assumed-role/{role}")
        }
        None => word.to_owned(),
    }
}

/// Key ids, JSON web tokens, and long runs of base64: grant and session tokens. Names in ARNs have up to 64 characters.
fn may_be_secret(word: &str) -> bool {
    let base64 = |c: char| c.is_ascii_alphanumeric() || "+/=_-".contains(c);
    let key_id = |part: &str| {
        part.len() >= 16
            && ["AKIA", "ASIA"].iter().any(|kind| part.starts_with(kind))
            && part.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
    };
    word.split(|c: char| !c.is_ascii_alphanumeric())
        .any(|part| key_id(part) || part.starts_with("eyJ") || part.len() >= 80)
        || !word.starts_with("arn:") && word.split(|c| !base64(c)).any(|run| run.len() >= 80)
}

/// `20260101T000000Z` or `2026-01-01T00:00:00Z`, or with an offset.
fn is_time(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let clock = |b: u8| b.is_ascii_digit() || b"-:.TZ+".contains(&b);
    digits >= 12 && text.contains('T') && text.bytes().all(clock)
}
