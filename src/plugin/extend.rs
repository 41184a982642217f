//! `extend`: a new request that goes on from a grant, for the same ServiceAccount on the same bucket, approved anew.

use serde_json::json;

use super::cli::ExtendArgs;
use super::exit::Outcome;
use super::find::named;
use super::out::Out;
use super::request::{Ask, send};
use super::talk::Session;
use super::whoami::Me;
use crate::api::DecryptGrant;

/// Asks that access goes on.
///
/// # Errors
/// If there is no such grant, it is refused, or with `--wait` does not lead to access.
pub async fn extend(session: &Session, out: &Out, args: &ExtendArgs) -> Outcome {
    let before: DecryptGrant = named(session, &args.grant).await?;
    let me = Me::ask(session).await?;
    let of = before.spec;
    let prefixes = match args.prefixes.as_slice() {
        [] => of.prefixes.into_iter().map(|p| p.0).collect(),
        some => some.to_vec(),
    };
    let mut spec = json!({
        "bucketRef": of.bucket_ref, "subject": of.subject, "extends": {"name": args.grant.name},
        "prefixes": prefixes, "duration": args.duration, "reason": args.reason, "requester": me.identity,
    });
    if let Some(ticket) = &args.ticket {
        spec["ticket"] = ticket.clone().into();
    }
    let (account, bucket) = (of.subject.service_account_ref.name.clone(), of.bucket_ref.name.clone());
    let ask =
        Ask { namespace: &session.namespace, account: &account, bucket: &bucket, name: args.name.as_deref(), spec };
    send(session, out, ask, &args.waiting).await
}
