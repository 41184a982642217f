//! `hand-back`: deletes a DecryptGrant that lives; its finalizer holds the object until the removal was read back from AWS.

use kube::ResourceExt;
use kube::api::{DeleteParams, Preconditions};

use super::cli::HandBackArgs;
use super::exit::{Exit, Failure, Outcome};
use super::find::{named, try_get};
use super::names::Kind;
use super::out::{Out, clean};
use super::talk::{Session, answer};
use super::wait::{Look, unanswered, until};
use crate::api::DecryptGrant;
use crate::api::condition::{find, types};

/// Gives back.
///
/// # Errors
/// If there is nothing to give back, or it is refused.
pub async fn hand_back(session: &Session, out: &Out, args: &HandBackArgs) -> Outcome {
    let grant: DecryptGrant = named(session, &args.grant).await?;
    let (namespace, name) = (grant.namespace().unwrap_or_default(), grant.name_any());
    if let Some(end) = grant.status.as_ref().and_then(|s| s.ended.as_ref()) {
        let message = format!("DecryptGrant {namespace}/{name} is over since {}: {}", end.at, clean(&end.message));
        return Err(Failure::new(Exit::Ended, message)
            .next(format!("kubectl delete dgrant {name} -n {namespace}, to remove the record as well")));
    }
    let preconditions = Preconditions { uid: grant.uid(), resource_version: None };
    let params =
        DeleteParams { dry_run: session.dry_run, preconditions: Some(preconditions), ..DeleteParams::default() };
    let deleted = answer(session.within::<DecryptGrant>(&namespace).delete(&name, &params)).await;
    deleted.map_err(|e| e.to(&format!("hand back DecryptGrant {namespace}/{name}")))?;
    out.written(Kind::Grant, &name, &grant, "handed back", session.dry_run)?;
    if args.waiting.wait && !session.dry_run {
        wait(session, out, args, &grant).await?;
    }
    Ok(Exit::Done)
}

async fn wait(session: &Session, out: &Out, args: &HandBackArgs, grant: &DecryptGrant) -> Outcome<()> {
    let (namespace, name) = (grant.namespace().unwrap_or_default(), grant.name_any());
    let again = format!("kubectl securebucket why {name} -n {namespace}");
    let look = || async {
        match try_get::<DecryptGrant>(session, &namespace, &name).await {
            Ok(now) if now.uid() == grant.uid() => Ok(gone(&now)),
            Err(refusal) if !refusal.is_not_found() => unanswered(&refusal, "see whether the access is removed"),
            // Another one of the name is not this one.
            _ => Ok(Look::There("nothing of it is left in AWS, and the object is gone".to_owned())),
        }
    };
    let evidence = until(out, args.waiting.timeout, &again, look).await?;
    out.note(&evidence);
    Ok(())
}

/// Whether the removal of an ended grant is proved.
pub fn gone(grant: &DecryptGrant) -> Look<String> {
    let status = grant.status.clone().unwrap_or_default();
    if let Some(removal) = status.removal {
        return Look::There(format!("removal verified at {}: {}", removal.verified_at, clean(&removal.evidence)));
    }
    let ready = find(&status.conditions, types::READY);
    let words = ready.filter(|_| status.ended.is_some()).map_or("the operator to end it", |c| c.message.as_str());
    Look::NotYet(clean(words))
}
