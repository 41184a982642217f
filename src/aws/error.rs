//! What can go wrong with an AWS call, classified once.

use std::fmt;

use super::calls::Call;

/// Class of an AWS failure: decides condition, event and the next attempt (see `reconcile::outcome`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AwsErrorKind {
    /// The thing does not exist.
    NotFound,
    /// IAM, key policy or bucket policy refuses the call.
    AccessDenied,
    /// The name is taken by somebody else.
    NameTaken,
    /// The thing exists already.
    AlreadyExists,
    /// A quota is used up; waiting alone does not help.
    LimitExceeded,
    /// Another change is under way, or the answer contradicts what was just written; soon again.
    Conflict,
    /// Too many calls.
    Throttled,
    /// AWS failed, or no answer came.
    Unavailable,
    /// The key is disabled or pending deletion.
    KeyState,
    /// A new principal that KMS or S3 does not know yet, or a malformed one: the two cannot be told apart (KMS API, CreateGrant).
    UnknownPrincipal,
    /// AWS says that the request is wrong: a bug of ours, or a value that validation let through.
    Invalid,
}

impl AwsErrorKind {
    /// Word for metrics and condition reasons.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotFound => "NotFound",
            Self::AccessDenied => "AccessDenied",
            Self::NameTaken => "BucketNameTaken",
            Self::AlreadyExists => "AlreadyExists",
            Self::LimitExceeded => "LimitExceeded",
            Self::Conflict => "Conflict",
            Self::Throttled => "Throttled",
            Self::Unavailable => "AwsUnavailable",
            Self::KeyState => "KeyUnusable",
            Self::UnknownPrincipal => "UnknownPrincipal",
            Self::Invalid => "InvalidRequest",
        }
    }
}

/// A failed AWS call. The message is AWS's, cut and without request ids, so that a status that carries it does not change each time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct AwsError {
    /// The call.
    pub call: Call,
    /// Class.
    pub kind: AwsErrorKind,
    /// AWS's error code; `None` when there was no body (HEAD) or no answer.
    pub code: Option<String>,
    /// HTTP status; 0 when there was no answer.
    pub status: u16,
    /// AWS's message without ids.
    pub message: String,
    /// The object of the call, for people.
    pub resource: String,
}

impl fmt::Display for AwsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} on {}: {}",
            self.call.action(),
            self.resource,
            self.code.as_deref().unwrap_or(self.kind.reason())
        )?;
        if self.message.is_empty() { Ok(()) } else { write!(f, ": {}", self.message) }
    }
}

/// Something that was looked for: not there, there, or not to be seen. The three are never mixed up: a 403 is not an absence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen<T> {
    /// AWS says that it does not exist.
    Absent,
    /// It is there.
    Value(T),
    /// It could not be read.
    Unreadable(AwsError),
}

impl<T> Seen<T> {
    /// The value, if it is there.
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Value(v) => Some(v),
            _ => None,
        }
    }

    /// Why it could not be read.
    pub fn failure(&self) -> Option<&AwsError> {
        match self {
            Self::Unreadable(e) => Some(e),
            _ => None,
        }
    }

    /// True if AWS says that it does not exist.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// From the result of a read: NotFound is an absence, anything else that failed is unreadable.
    pub fn from_result(result: Result<T, AwsError>) -> Self {
        match result {
            Ok(v) => Self::Value(v),
            Err(e) if e.kind == AwsErrorKind::NotFound => Self::Absent,
            Err(e) => Self::Unreadable(e),
        }
    }
}
