//! The one table from error classes to conditions, events and the next attempt. Pure.

use crate::aws::calls::Call;
use crate::aws::error::{AwsError, AwsErrorKind};
use crate::aws::policies::sid;
use crate::domain::installation::Installation;
use crate::reconcile::backoff::Class;

/// What a failure means for the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meaning {
    /// A human is needed: `Stalled`.
    pub stalled: bool,
    /// Worth an event, once.
    pub event: bool,
    /// How long to wait between attempts.
    pub class: Class,
}

/// The table.
pub fn meaning(kind: AwsErrorKind) -> Meaning {
    let (stalled, event, class) = match kind {
        AwsErrorKind::AccessDenied => (true, true, Class::Denied),
        AwsErrorKind::NameTaken => (true, true, Class::Limit),
        AwsErrorKind::LimitExceeded => (true, true, Class::Limit),
        AwsErrorKind::Invalid => (true, true, Class::Bug),
        AwsErrorKind::KeyState => (true, true, Class::Denied),
        AwsErrorKind::Throttled | AwsErrorKind::Unavailable => (false, false, Class::Transient),
        AwsErrorKind::UnknownPrincipal => (false, false, Class::Conflict),
        AwsErrorKind::Conflict | AwsErrorKind::NotFound | AwsErrorKind::AlreadyExists => {
            (false, false, Class::Conflict)
        }
    };
    Meaning { stalled, event, class }
}

/// What AWS said, and the way out: for a refusal the action, the resource, the role and the statement that is missing.
pub fn explain(error: &AwsError, install: &Installation) -> String {
    match error.kind {
        AwsErrorKind::AccessDenied => format!(
            "AWS refuses {} on {} to {}: {}compare its policy, statement {}, with the output of `securebucket policy operator --cluster {} --account {} --region {}`; also a key or bucket policy, or an organization policy, may deny",
            refused(error),
            error.resource,
            install.operator_role,
            likely(error.call),
            sid(error.call.scope()),
            install.cluster,
            install.place.account,
            install.place.region,
        ),
        AwsErrorKind::LimitExceeded => format!("a quota is used up: {error}; raise it in Service Quotas"),
        _ => error.to_string(),
    }
}

/// The action that AWS speaks of, if it is one that the call needs: a creation with tags needs two. Otherwise the call's first.
fn refused(error: &AwsError) -> String {
    let spoken_of = |action: &&&str| {
        let words = error.message.split(|c: char| !(c.is_ascii_alphanumeric() || c == ':'));
        words.into_iter().any(|word| word == **action)
    };
    error.call.actions().iter().find(spoken_of).map_or_else(|| error.call.action(), |a| (*a).to_owned())
}

/// A cause of a refusal that is no flaw of the operator's policy, and more likely than one.
fn likely(call: Call) -> &'static str {
    match call {
        // IAM judges by the ARN of the role that has the name, whatever its path.
        Call::GetRole => {
            "a role of this name exists under another path, or the permission is missing. Rename that role or use another ServiceAccount; or "
        }
        // KMS asks for the permission on the key that the alias leaves, too.
        Call::UpdateAlias => {
            "the alias points to a key without our mark, or the permission is missing. Delete the alias, and it is made again; or "
        }
        _ => "",
    }
}

/// Why a pass could not be finished.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// An AWS call failed where the pass cannot go on without it.
    #[error("{0}")]
    Aws(#[from] AwsError),
    /// The API server refused or could not be reached.
    #[error("kubernetes: {0}")]
    Kubernetes(String),
    /// The object changed while the pass ran: start again from what it is now.
    #[error("the object changed meanwhile")]
    Conflict,
}

impl PassError {
    /// Word for metrics.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Aws(e) => e.kind.reason(),
            Self::Kubernetes(_) => "Kubernetes",
            Self::Conflict => "Conflict",
        }
    }

    /// How long to wait between attempts.
    pub fn class(&self) -> Class {
        match self {
            Self::Aws(e) => meaning(e.kind).class,
            Self::Kubernetes(_) => Class::Transient,
            Self::Conflict => Class::Conflict,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_action_resource_role_and_statement() {
        let install = crate::domain::installation::tests::installation();
        let error = AwsError {
            call: Call::PutBucketPolicy,
            kind: AwsErrorKind::AccessDenied,
            code: Some("AccessDenied".into()),
            status: 403,
            message: String::new(),
            resource: "bucket c1-x".into(),
        };
        let text = explain(&error, &install);
        for part in
            ["s3:PutBucketPolicy", "bucket c1-x", "role/securebucket-operator", "Buckets", "--account 111122223333"]
        {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }

    #[test]
    fn the_action_is_the_one_that_aws_names() {
        let error = |message: &str| AwsError {
            call: Call::CreateKey,
            kind: AwsErrorKind::AccessDenied,
            code: Some("AccessDeniedException".into()),
            status: 400,
            message: message.into(),
            resource: String::new(),
        };
        let said = "User: x is not authorized to perform: kms:TagResource on resource: *";
        assert_eq!(refused(&error(said)), "kms:TagResource");
        assert_eq!(refused(&error("perform: kms:TagResourceX or iam:PassRole")), "kms:CreateKey");
        assert_eq!(refused(&error("")), "kms:CreateKey");
    }

    #[test]
    fn what_passes_by_itself_is_not_stalled() {
        for kind in
            [AwsErrorKind::Throttled, AwsErrorKind::Unavailable, AwsErrorKind::Conflict, AwsErrorKind::UnknownPrincipal]
        {
            assert!(!meaning(kind).stalled, "{kind:?}");
        }
        assert!(meaning(AwsErrorKind::AccessDenied).stalled);
    }
}
