//! `can-i`: whether RBAC, asked as the admission policies ask it, lets one do something with a SecureBucket.

use serde_json::json;

use super::cli::{CanIArgs, Deed};
use super::exit::{Exit, Outcome};
use super::find::{of_kind, try_get};
use super::names::Kind;
use super::out::{Mood, Out};
use super::talk::Session;
use super::whoami::{Right, may};
use crate::api::SecureBucket;
use crate::api::verbs::{APPROVE, BREAKGLASS, DELEGATE, LIFT_LOCKDOWN, REVOKE};

/// Rights of which one is enough.
type Either = Vec<Need>;

/// A verb, on what, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Need {
    verb: &'static str,
    on: On,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum On {
    /// The bucket itself.
    Bucket,
    /// Reviews in its namespace.
    Reviews,
    /// Requests in the namespace of the workload.
    Grants,
}

const fn bucket(verb: &'static str) -> Need {
    Need { verb, on: On::Bucket }
}

const ASK: Need = Need { verb: "create", on: On::Grants };
const REVIEW: Need = Need { verb: "create", on: On::Reviews };
const CHANGE: Need = bucket("patch");

/// What a deed needs, all of it, and the ClusterRole that gives it.
fn needs(deed: Deed) -> (Vec<Either>, &'static str) {
    match deed {
        Deed::Request => (vec![vec![ASK]], "securebucket-requester"),
        Deed::Approve | Deed::Deny => (vec![vec![bucket(APPROVE)], vec![REVIEW]], "securebucket-approver"),
        Deed::Revoke => (vec![vec![bucket(REVOKE)], vec![REVIEW]], "securebucket-responder"),
        Deed::HandBack => (vec![vec![Need { verb: "delete", on: On::Grants }]], "securebucket-requester"),
        Deed::Delegate => (vec![vec![bucket(DELEGATE)], vec![CHANGE]], "securebucket-owner"),
        Deed::Lockdown => (vec![vec![bucket(DELEGATE), bucket(LIFT_LOCKDOWN)], vec![CHANGE]], "securebucket-responder"),
        Deed::LiftLockdown => (vec![vec![bucket(LIFT_LOCKDOWN)], vec![CHANGE]], "securebucket-responder"),
        Deed::Breakglass => (
            vec![vec![bucket(BREAKGLASS)], vec![ASK]],
            "securebucket-responder for the bucket, or securebucket-requester for the request,",
        ),
        Deed::WhoCan => (vec![vec![bucket("get")]], "securebucket-viewer"),
    }
}

/// Says yes or no.
///
/// # Errors
/// If the API server does not say.
pub async fn can_i(session: &Session, out: &Out, args: &CanIArgs) -> Outcome {
    of_kind(&args.bucket, Kind::Bucket)?;
    let (needs, role) = needs(args.verb);
    let from = args.from.as_deref().unwrap_or(&session.namespace);
    let mut missing = Vec::new();
    for either in needs {
        let mut held = false;
        for need in &either {
            let right = right(*need, session, &args.bucket.name, from);
            held = held || may(session, right).await.map_err(|e| e.to("ask what you may do"))?;
        }
        if !held {
            let words: Vec<String> =
                either.iter().map(|n| words(right(*n, session, &args.bucket.name, from))).collect();
            missing.push(format!("you do not hold {}; {role} gives it", words.join(" or ")));
        }
    }
    if missing.is_empty() && matches!(args.verb, Deed::Request | Deed::Breakglass) {
        missing.extend(not_admitted(session, &args.bucket.name, from).await);
    }
    answer(out, &missing)
}

fn right<'a>(need: Need, session: &'a Session, bucket: &'a str, from: &'a str) -> Right<'a> {
    let Need { verb, on } = need;
    match on {
        On::Bucket => Right { verb, resource: "securebuckets", name: Some(bucket), namespace: &session.namespace },
        On::Reviews => Right { verb, resource: "grantreviews", name: None, namespace: &session.namespace },
        On::Grants => Right { verb, resource: "decryptgrants", name: None, namespace: from },
    }
}

fn words(right: Right<'_>) -> String {
    let Right { verb, resource, name, namespace } = right;
    let name = name.map(|n| format!("/{n}")).unwrap_or_default();
    format!("\"{verb}\" on {resource}.securebucket.io{name} in namespace {namespace}")
}

/// The owner's consent, if the bucket may be read. A bucket that is not there is no better than one that does not admit the namespace.
async fn not_admitted(session: &Session, name: &str, from: &str) -> Option<String> {
    let bucket = try_get::<SecureBucket>(session, &session.namespace, name).await.ok()?;
    let admitted = bucket.status?.effective?.grant_namespaces;
    let message = format!("grants.allowedNamespaces of the bucket does not name {from}; ask its owner");
    (!admitted.iter().any(|n| n == from)).then_some(message)
}

fn answer(out: &Out, missing: &[String]) -> Outcome {
    let yes = missing.is_empty();
    if !out.value(&json!({"allowed": yes, "missing": missing}))? {
        let (word, mood) = if yes { ("yes", Mood::Good) } else { ("no", Mood::Bad) };
        out.line(&out.paint(mood, word));
        for reason in missing {
            out.note(&format!("  → {reason}"));
        }
    }
    Ok(if yes { Exit::Done } else { Exit::No })
}
