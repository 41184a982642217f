//! `request`: a DecryptGrant in one's own name, and what becomes of it in the first moments.

use kube::ResourceExt;
use kube::api::PostParams;
use serde_json::{Value, json};

use super::cli::{RequestArgs, Waiting};
use super::exit::{Exit, Failure, Outcome};
use super::find::{of_kind, try_get};
use super::names::{Kind, generated};
use super::out::{Out, clean};
use super::talk::{MANAGER, Refusal, Session, answer};
use super::wait::{Look, MOMENT, briefly, unanswered, until};
use super::whoami::Me;
use crate::api::DecryptGrant;
use crate::api::condition::{find, is_true, types};
use crate::grant::agree::AWAITING;

/// Asks.
///
/// # Errors
/// If it is refused, or with `--wait` does not lead to access.
pub async fn request(session: &Session, out: &Out, args: &RequestArgs) -> Outcome {
    of_kind(&args.bucket, Kind::Bucket)?;
    let me = Me::ask(session).await?;
    let namespace = args.for_service_account.namespace_or(&session.namespace);
    let spec = spec(session, args, namespace, &me);
    let (account, bucket) = (args.for_service_account.name.as_str(), args.bucket.name.as_str());
    send(session, out, Ask { namespace, account, bucket, name: args.name.as_deref(), spec }, &args.waiting).await
}

/// A request as it is to be made.
pub(super) struct Ask<'a> {
    /// Its namespace, which is that of the ServiceAccount.
    pub namespace: &'a str,
    /// The ServiceAccount.
    pub account: &'a str,
    /// The SecureBucket.
    pub bucket: &'a str,
    /// Its name; without it, one that begins with the ServiceAccount's.
    pub name: Option<&'a str>,
    /// Its spec.
    pub spec: Value,
}

/// Makes the request, and says what becomes of it.
///
/// # Errors
/// If it is refused, or with `--wait` does not lead to access.
pub(super) async fn send(session: &Session, out: &Out, ask: Ask<'_>, waiting: &Waiting) -> Outcome {
    let namespace = ask.namespace;
    let metadata = match ask.name {
        Some(name) => json!({"name": name}),
        None => json!({"generateName": generated(ask.account)}),
    };
    let object = json!({"apiVersion": "securebucket.io/v1alpha1", "kind": "DecryptGrant", "metadata": metadata, "spec": ask.spec});
    let object =
        serde_json::from_value(object).map_err(|e| Failure::failed(format!("the request cannot be written: {e}")))?;
    let params = PostParams { dry_run: session.dry_run, field_manager: Some(MANAGER.into()) };
    let made = answer(session.within::<DecryptGrant>(namespace).create(&params, &object)).await;
    let made: DecryptGrant = made.map_err(|e| refused(ask.bucket, namespace, &e))?;
    let name = made.name_any();
    if session.dry_run {
        out.written(Kind::Grant, &name, &made, "created", true)?;
        return Ok(Exit::Done);
    }
    let look = || async {
        let grant = try_get::<DecryptGrant>(session, namespace, &name).await.ok()?;
        settled(&grant).then_some(grant)
    };
    let now = briefly(MOMENT, look).await;
    let sentence = now.as_ref().map_or_else(|| "created".to_owned(), |g| format!("created, {}", state(g)));
    out.written(Kind::Grant, &name, now.as_ref().unwrap_or(&made), &sentence, false)?;
    if waiting.wait {
        wait(session, out, waiting, &made).await?;
    } else if let Some(grant) = now.filter(stands_still) {
        out.note(&format!("  → kubectl securebucket why {} -n {namespace}", grant.name_any()));
    }
    Ok(Exit::Done)
}

fn spec(session: &Session, args: &RequestArgs, namespace: &str, me: &Me) -> Value {
    let mut spec = json!({
        "bucketRef": {"name": args.bucket.name},
        "subject": {"serviceAccountRef": {"name": args.for_service_account.name}},
        "prefixes": args.prefixes, "duration": args.duration, "reason": args.reason, "requester": me.identity,
    });
    if session.namespace != namespace {
        spec["bucketRef"]["namespace"] = session.namespace.clone().into();
    }
    if args.break_glass {
        spec["breakGlass"] = true.into();
    }
    for (field, value) in [("ticket", &args.ticket), ("notBefore", &args.not_before)] {
        if let Some(value) = value {
            spec[field] = value.clone().into();
        }
    }
    spec
}

fn refused(bucket: &str, namespace: &str, refusal: &Refusal) -> Failure {
    let failure = refusal.to(&format!("ask for access to {bucket}"));
    if refusal.is_forbidden() && !refusal.by_policy() {
        let way_out = format!(
            "the ClusterRole securebucket-requester in namespace {namespace}; a request lies in the namespace of the ServiceAccount that is to read"
        );
        return Failure { next: vec![way_out], ..failure };
    }
    if refusal.is_taken() {
        return Failure { next: vec!["another --name, or none".into()], ..failure };
    }
    failure
}

/// The operator has looked at it, and it stands somewhere.
fn settled(grant: &DecryptGrant) -> bool {
    let conditions = grant.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
    find(conditions, types::ACTIVE).is_some_and(|c| !matches!(c.reason.as_str(), "Pending" | "Granting"))
}

/// It waits for somebody to act, or is over.
fn stands_still(grant: &DecryptGrant) -> bool {
    grant.status.as_ref().is_some_and(|s| s.ended.is_some() || is_true(&s.conditions, types::STALLED))
}

/// `awaiting 1 approval`, and the like.
fn state(grant: &DecryptGrant) -> String {
    let status = grant.status.clone().unwrap_or_default();
    let Some(active) = find(&status.conditions, types::ACTIVE) else { return "not looked at yet".into() };
    if active.status == "True" {
        return format!("granted until {}", status.expires_at.unwrap_or_default());
    }
    if active.reason != AWAITING {
        return format!("{}: {}", active.reason, clean(&active.message));
    }
    let asked = status.approval_rules.map(|r| usize::try_from(r.approvals).unwrap_or_default()).unwrap_or_default();
    match asked.saturating_sub(status.approvals.len()) {
        0 => "awaiting approval".into(),
        1 => "awaiting 1 approval".into(),
        n => format!("awaiting {n} approvals"),
    }
}

async fn wait(session: &Session, out: &Out, waiting: &Waiting, made: &DecryptGrant) -> Outcome<()> {
    let (namespace, name) = (made.namespace().unwrap_or_default(), made.name_any());
    let again = format!("kubectl securebucket why {name} -n {namespace}");
    let look = || async {
        match try_get::<DecryptGrant>(session, &namespace, &name).await {
            Ok(grant) => Ok(access(&grant, &again)),
            Err(refusal) if refusal.is_not_found() => {
                Ok(Look::Never(Failure::new(Exit::Ended, format!("DecryptGrant {namespace}/{name} was deleted"))))
            }
            Err(refusal) => unanswered(&refusal, &format!("read DecryptGrant {namespace}/{name}")),
        }
    };
    let until = until(out, waiting.timeout, &again, look).await?;
    out.note(&format!("granted until {until}"));
    Ok(())
}

/// Whether access is there.
fn access(grant: &DecryptGrant, again: &str) -> Look<String> {
    let status = grant.status.clone().unwrap_or_default();
    let Some(active) = find(&status.conditions, types::ACTIVE) else {
        return Look::NotYet("the operator to look at it".into());
    };
    let words = clean(&active.message);
    match () {
        () if active.status == "True" => Look::There(status.expires_at.unwrap_or_default()),
        () if stands_still(grant) => {
            Look::Never(Failure::new(Exit::Ended, format!("{}: {words}", active.reason)).next(again))
        }
        () if active.reason == AWAITING => Look::NotYet(state(grant)),
        () => Look::NotYet(words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(status: Value) -> DecryptGrant {
        let spec = json!({
            "bucketRef": {"name": "b"}, "subject": {"serviceAccountRef": {"name": "s"}}, "prefixes": ["*"],
            "duration": "1h", "reason": "test",
        });
        let object = json!({"apiVersion": "securebucket.io/v1alpha1", "kind": "DecryptGrant", "metadata": {"name": "g"}, "spec": spec, "status": status});
        serde_json::from_value(object).unwrap()
    }

    fn condition(type_: &str, status: &str, reason: &str) -> Value {
        json!({"type": type_, "status": status, "reason": reason, "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z"})
    }

    #[test]
    fn states_in_words() {
        let awaiting = |approvals: i32| {
            grant(
                json!({"conditions": [condition("Active", "False", AWAITING)], "approvalRules": {"approvals": approvals}}),
            )
        };
        assert_eq!(state(&awaiting(1)), "awaiting 1 approval");
        assert_eq!(state(&awaiting(3)), "awaiting 3 approvals");
        let granted = grant(json!({"conditions": [condition("Active", "True", "Granted")], "expiresAt": "E"}));
        assert_eq!((state(&granted), access(&granted, "")), ("granted until E".into(), Look::There("E".into())));
        assert!(
            !settled(&grant(json!({})))
                && !settled(&grant(json!({"conditions": [condition("Active", "False", "Pending")]})))
        );
    }

    #[test]
    fn what_needs_somebody_is_not_waited_for() {
        let stalled = grant(
            json!({"conditions": [condition("Active", "False", "TicketRequired"), condition("Stalled", "True", "TicketRequired")]}),
        );
        assert!(matches!(access(&stalled, "again"), Look::Never(f) if f.exit == Exit::Ended && f.next == ["again"]));
        assert!(matches!(access(&grant(json!({})), ""), Look::NotYet(_)));
    }
}
