//! `lockdown` and `lift`: an order in the spec, which the operator latches, and the annotation that lifts the latch.

use std::time::Duration;

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::cli::{LiftArgs, LockdownArgs};
use super::exit::{Exit, Failure, Outcome};
use super::find::{named, of_kind, try_get};
use super::names::Kind;
use super::out::{Out, clean};
use super::talk::{MANAGER, Refusal, Session, answer};
use super::wait::{Look, MOMENT, briefly, unanswered, until};
use crate::api::condition::{find, is_true, types};
use crate::api::lockdown::{LockdownLevel, LockdownStatus};
use crate::api::{LIFT_LOCKDOWN, SecureBucket};

/// Digits of an id that are enough.
const DIGITS: usize = 4;
/// Attempts to write on the version that was read: the operator writes status meanwhile.
const ATTEMPTS: usize = 5;

async fn patch(session: &Session, name: &str, patch: &Value) -> Result<SecureBucket, Refusal> {
    let params =
        PatchParams { dry_run: session.dry_run, field_manager: Some(MANAGER.into()), ..PatchParams::default() };
    answer(session.within(&session.namespace).patch(name, &params, &Patch::Merge(patch))).await
}

/// Closes.
///
/// # Errors
/// If it is refused, or with `--wait` does not come about.
pub async fn lockdown(session: &Session, out: &Out, args: &LockdownArgs) -> Outcome {
    of_kind(&args.bucket, Kind::Bucket)?;
    let name = &args.bucket.name;
    let mut order = json!({"reason": args.reason});
    let level = args.level.map(LockdownLevel::from);
    if let Some(level) = level {
        order["level"] = json!(level);
    }
    let deed = format!("lock down SecureBucket {}/{name}", session.namespace);
    let made = patch(session, name, &json!({"spec": {"lockdown": order}}))
        .await
        .map_err(|e| refused(session, name, &deed, &e))?;
    if session.dry_run {
        out.written(Kind::Bucket, name, &made, "locked down", true)?;
        return Ok(Exit::Done);
    }
    let look = || async {
        let bucket = try_get::<SecureBucket>(session, &session.namespace, name).await.ok()?;
        let latch = bucket.status.as_ref()?.lockdown.clone()?;
        (latch.lifting_since.is_none() && level.is_none_or(|l| l <= latch.level)).then_some((bucket, latch))
    };
    let Some((bucket, latch)) = briefly(MOMENT, look).await else {
        out.written(Kind::Bucket, name, &made, "lockdown ordered", false)?;
        out.note("the operator has not taken it up yet");
        return if args.waiting.wait { closed(session, out, args).await } else { Ok(Exit::Done) };
    };
    out.written(Kind::Bucket, name, &bucket, &format!("locked down, id {}", latch.id), false)?;
    out.note(&format!(
        "  → kubectl securebucket lift {name} -n {} --id {}, when it is over",
        session.namespace, latch.id
    ));
    if args.waiting.wait { closed(session, out, args).await } else { Ok(Exit::Done) }
}

fn refused(session: &Session, name: &str, deed: &str, refusal: &Refusal) -> Failure {
    if refusal.is_not_found() {
        return super::find::missing(Kind::Bucket, &session.namespace, name, refusal);
    }
    let failure = refusal.to(deed);
    if !refusal.is_forbidden() {
        return failure;
    }
    let way_out = "the ClusterRole securebucket-responder in the namespace of the bucket; or ask one who has it";
    Failure { next: vec![way_out.into()], ..failure }
}

/// Until AWS was read back closed.
async fn closed(session: &Session, out: &Out, args: &LockdownArgs) -> Outcome {
    let name = &args.bucket.name;
    let look = |bucket: &SecureBucket| {
        let status = bucket.status.clone().unwrap_or_default();
        let ready = find(&status.conditions, types::READY);
        let done = status.lockdown.is_some() && ready.is_some_and(|c| c.status == "True" && c.reason == "LockedDown");
        let words = ready.map_or("the operator to take it up", |c| c.message.as_str());
        if done { Look::There(()) } else { Look::NotYet(clean(words)) }
    };
    watch(session, out, name, args.waiting.timeout, look).await?;
    out.note("closed: read back from AWS");
    Ok(Exit::Done)
}

async fn watch(
    session: &Session,
    out: &Out,
    name: &str,
    most: Duration,
    look: impl Fn(&SecureBucket) -> Look<()>,
) -> Outcome<()> {
    let again = format!("kubectl securebucket why sbkt/{name} -n {}", session.namespace);
    let look = &look;
    let read = || async move {
        match try_get::<SecureBucket>(session, &session.namespace, name).await {
            Ok(bucket) => Ok(look(&bucket)),
            Err(refusal) => unanswered(&refusal, &format!("read SecureBucket {}/{name}", session.namespace)),
        }
    };
    until(out, most, &again, read).await
}

/// Lifts.
///
/// # Errors
/// If there is no such lockdown, it is refused, or with `--wait` does not come about.
pub async fn lift(session: &Session, out: &Out, args: &LiftArgs) -> Outcome {
    let (name, mut attempt) = (&args.bucket.name, 0);
    let deed = format!("lift the lockdown of SecureBucket {}/{name}", session.namespace);
    let (made, id) = loop {
        let bucket: SecureBucket = named(session, &args.bucket).await?;
        let latch = the_one(session, &bucket, args)?;
        let ordered = bucket.spec.lockdown.is_some();
        // On the version that was read: an order that somebody gives in this moment is not taken out with the old one.
        let metadata =
            json!({"annotations": {LIFT_LOCKDOWN: latch.id}, "resourceVersion": bucket.metadata.resource_version});
        let change = if ordered {
            json!({"metadata": metadata, "spec": {"lockdown": null}})
        } else {
            json!({"metadata": metadata})
        };
        match patch(session, name, &change).await {
            Ok(made) => {
                if ordered {
                    out.note("spec.lockdown is taken out as well; take it out in Git too, or it comes back from there");
                }
                break (made, latch.id);
            }
            Err(refusal) if refusal.is_conflict() && attempt < ATTEMPTS => attempt += 1,
            Err(refusal) => return Err(refused(session, name, &deed, &refusal)),
        }
    };
    out.written(Kind::Bucket, name, &made, &format!("lifting lockdown {id}"), session.dry_run)?;
    out.note("grants that it ended do not come back; those who had one ask anew");
    if args.waiting.wait && !session.dry_run {
        opened(session, out, args, &id).await?;
    }
    Ok(Exit::Done)
}

/// The lockdown that is meant.
fn the_one(session: &Session, bucket: &SecureBucket, args: &LiftArgs) -> Outcome<LockdownStatus> {
    let (name, namespace) = (&args.bucket.name, &session.namespace);
    let Some(latch) = bucket.status.as_ref().and_then(|s| s.lockdown.clone()) else {
        let failure = Failure::failed(format!("SecureBucket {namespace}/{name} is not locked down"));
        return Err(match &bucket.spec.lockdown {
            Some(_) => failure
                .next("its lockdown is ordered in spec.lockdown and not taken up yet: kubectl securebucket doctor"),
            None => failure.next(format!("kubectl securebucket why sbkt/{name} -n {namespace}")),
        });
    };
    let command = format!("kubectl securebucket lift {name} -n {namespace} --id {}", latch.id);
    let about = format!("{:?} since {}: {}", latch.level, latch.since, clean(&latch.reason));
    match &args.id {
        None => {
            Err(Failure::new(Exit::Usage, format!("say which lockdown with --id; in force is {} ({about})", latch.id))
                .next(command))
        }
        Some(id) if id.len() >= DIGITS && latch.id.starts_with(id.as_str()) => Ok(latch),
        Some(id) => {
            let message = format!("{} is not the lockdown in force, which is {} ({about})", clean(id), latch.id);
            Err(Failure::failed(message).next(command))
        }
    }
}

/// Until AWS was read back open.
async fn opened(session: &Session, out: &Out, args: &LiftArgs, id: &str) -> Outcome<()> {
    let look = |bucket: &SecureBucket| {
        let status = bucket.status.clone().unwrap_or_default();
        let lifted = status.last_lockdown.as_ref().is_some_and(|l| l.id == id);
        let words = find(&status.conditions, types::LOCKED_DOWN).map_or("the operator", |c| c.message.as_str());
        match &status.lockdown {
            None if lifted && !is_true(&status.conditions, types::LOCKED_DOWN) => Look::There(()),
            Some(other) if other.id != id => {
                Look::Never(Failure::new(Exit::Ended, format!("it was locked down again, id {}", other.id)))
            }
            _ => Look::NotYet(clean(words)),
        }
    };
    watch(session, out, &args.bucket.name, args.waiting.timeout, look).await?;
    out.note("open: read back from AWS");
    Ok(())
}
