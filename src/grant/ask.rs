//! What a bucket's owner asks of a request before anybody is asked to agree. Pure.

use super::review::eligible::edited;
use super::review::person::{is_system, service_account};
use super::review::rules::may_ask_as_robot;
use crate::api::{DecryptGrant, SecureBucket};
use crate::bucket::rules::{max_open_per_subject, ticket_rule};
use crate::domain::enforcement::Enforcement;
use crate::role::state::Problem;

/// Name of the ServiceAccount that pods run as which name none.
const DEFAULT_ACCOUNT: &str = "default";

/// What keeps the request from being resolved, whoever agrees. `older` are the names of older open requests and grants of the same ServiceAccount
/// on the same bucket.
pub(super) fn refused(grant: &DecryptGrant, bucket: &SecureBucket, older: &[String]) -> Option<Problem> {
    default_account(grant, bucket).or_else(|| ticket(grant, bucket)).or_else(|| too_many(bucket, older))
}

fn default_account(grant: &DecryptGrant, bucket: &SecureBucket) -> Option<Problem> {
    let allowed = bucket.spec.grants.as_ref().and_then(|g| g.allow_default_service_account).unwrap_or_default();
    let default = grant.spec.subject.service_account_ref.name == DEFAULT_ACCOUNT;
    (default && !allowed).then(|| {
        Problem::stalled(
            "DefaultServiceAccount",
            "spec.subject.serviceAccountRef.name: every pod of the namespace that names no ServiceAccount runs as default; create a grant for a ServiceAccount of its own, or ask the bucket's owner for grants.allowDefaultServiceAccount: true",
        )
    })
}

fn ticket(grant: &DecryptGrant, bucket: &SecureBucket) -> Option<Problem> {
    let rule = match ticket_rule(bucket) {
        Ok(rule) => rule?,
        Err(e) => return Some(Problem::stalled("InvalidSpec", format!("the SecureBucket's {e}"))),
    };
    let pattern = bucket.spec.grants.as_ref().and_then(|g| g.ticket_pattern.as_deref()).unwrap_or_default();
    let problem = match &grant.spec.ticket {
        Some(ticket) if rule.is_match(ticket) => return None,
        Some(ticket) => format!("{ticket} does not match"),
        None => "there is none, and this bucket asks for one that matches".into(),
    };
    Some(Problem::stalled("TicketRequired", format!("spec.ticket: {problem} {pattern}; create a new grant with it")))
}

fn too_many(bucket: &SecureBucket, older: &[String]) -> Option<Problem> {
    let most = max_open_per_subject(bucket);
    let open = older.len();
    (open >= usize::try_from(most).unwrap_or_default()).then(|| {
        let names = older.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
        Problem::stalled(
            "TooManyOpen",
            format!(
                "this ServiceAccount has {open} older requests and grants open on this bucket ({names}{}), and grants.maxOpenPerSubject is {most}; delete one of them, or wait until one is over",
                if open > 5 { " …" } else { "" }
            ),
        )
    })
}

/// What keeps people from being asked to agree: nobody knows who asks, or nothing holds people to who they are.
pub(super) fn unasked(grant: &DecryptGrant, bucket: &SecureBucket, enforcement: &Enforcement) -> Option<Problem> {
    let Some(requester) = &grant.spec.requester else {
        return Some(Problem::stalled(
            "RequesterMissing",
            "spec.requester: this bucket asks for approval, and nobody approves what he asked for himself; create a new grant with spec.requester.username as `kubectl auth whoami` shows it (and uid and session, where it shows them)",
        ));
    };
    let username = &requester.username;
    if is_system(username) && !may_ask_as_robot(bucket, username) {
        let account = service_account(username).unwrap_or_else(|| "<namespace>/<name>".into());
        return Some(Problem::stalled(
            "RequesterNotAllowed",
            format!(
                "spec.requester.username: {username} is nobody of the people; create the grant as one of them, or ask the bucket's owner to add {account} to grants.robots"
            ),
        ));
    }
    if let Some(problem) = &enforcement.problem {
        return Some(Problem::stalled("ApprovalNotEnforced", problem.clone()));
    }
    if edited(&grant.metadata) {
        return Some(Problem::stalled(
            "Edited",
            "the spec of this request was changed after it was made, which the CRD of this version refuses; create a new grant, and have the CRDs installed again",
        ));
    }
    let made = grant.metadata.creation_timestamp.as_ref().map(|at| at.0);
    if !made.is_some_and(|at| enforcement.covers(at)) {
        return Some(Problem::stalled(
            "ApprovalNotEnforced",
            "this request is older than the proof that the admission policies are in force, so nobody vouches for its requester; create a new grant",
        ));
    }
    None
}
