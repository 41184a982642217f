//! `approve`, `deny`, `revoke`: a GrantReview in the namespace of the bucket, of exactly what is shown before it is written.

use kube::api::PostParams;
use serde_json::json;

use super::cli::DecideArgs;
use super::exit::{Exit, Failure, Outcome};
use super::find::{of_kind, try_get};
use super::names::{Kind, another, review as review_name};
use super::out::{Out, clean};
use super::talk::{MANAGER, Refusal, Session, answer};
use super::terms::{Terms, groups, terms};
use super::wait::{Look, MOMENT, briefly, unanswered, until};
use super::whoami::Me;
use crate::api::condition::{find, types};
use crate::api::grant_review::Decision;
use crate::api::{DecryptGrant, GrantReview, SecureBucket};
use crate::grant::review::person::{Person, same};

/// Attempts to find a name that is free.
const NAMES: usize = 3;

/// Decides.
///
/// # Errors
/// If there is nothing to decide on, it is refused, or it does not count.
pub async fn decide(
    session: &Session,
    out: &Out,
    args: &DecideArgs,
    decision: Decision,
    max_duration: Option<&str>,
) -> Outcome {
    of_kind(&args.grant, Kind::Grant)?;
    let terms = terms(session, &args.grant.name, args.bucket.as_ref()).await?;
    let me = Me::ask(session).await?;
    show(out, &terms, decision, &me, max_duration);
    not_himself(&terms, decision, &me)?;
    let mut named = terms.groups.clone();
    if let Ok(bucket) = try_get::<SecureBucket>(session, &terms.bucket_namespace, &terms.bucket).await {
        named.extend(groups(&bucket));
    }
    let mut spec = json!({
        "bucketRef": {"name": terms.bucket},
        "grantRef": {"namespace": terms.namespace, "name": terms.name, "uid": terms.uid},
        "termsHash": terms.hash, "decision": decision, "reviewer": me.reviewer(&named),
    });
    for (field, value) in [("comment", args.comment.as_deref()), ("maxDuration", max_duration)] {
        if let Some(value) = value {
            spec[field] = value.into();
        }
    }
    let first = review_name(&terms.name, me.short(), &format!("{decision:?}"));
    let review = create(session, &terms, decision, &first, spec).await?;
    let name = review.metadata.name.clone().unwrap_or_default();
    let sentence = format!("created in {}", terms.bucket_namespace);
    out.written(Kind::Review, &name, &review, &sentence, session.dry_run)?;
    if session.dry_run {
        return Ok(Exit::Done);
    }
    judged(session, out, args, &terms, &name).await?;
    if args.waiting.wait && decision == Decision::Revoke {
        removed(session, out, args, &terms).await?;
    }
    Ok(Exit::Done)
}

fn show(out: &Out, terms: &Terms, decision: Decision, me: &Me, max_duration: Option<&str>) {
    let verb = format!("{decision:?}").to_lowercase();
    out.note(&format!("as {} you {verb} that", clean(&me.identity.username)));
    for line in terms.lines() {
        out.note(&line);
    }
    if let Some(most) = max_duration {
        out.note(&format!("  shortened to {}", clean(most)));
    }
}

/// The operator would not count it. By uid it may: people under one role whose session names are fixed share theirs, which only the operator knows.
fn not_himself(terms: &Terms, decision: Decision, me: &Me) -> Outcome<()> {
    let Some(requester) = terms.requester.as_ref().filter(|_| decision == Decision::Approve) else { return Ok(()) };
    let shared: Vec<String> = me.identity.uid.iter().cloned().collect();
    match same(Person::from(&me.identity), Person::from(requester), &shared) {
        None => Ok(()),
        Some(why) => {
            Err(Failure::failed(format!("you asked for it yourself ({why}), and nobody approves his own request"))
                .next("ask somebody else to type the same")
                .next(format!("kubectl securebucket why {} -n {}", terms.name, terms.namespace)))
        }
    }
}

/// Creates it under the first name that is free. One of the same content is as good.
async fn create(
    session: &Session,
    terms: &Terms,
    decision: Decision,
    first: &str,
    spec: serde_json::Value,
) -> Outcome<GrantReview> {
    let api = session.within::<GrantReview>(&terms.bucket_namespace);
    let params = PostParams { dry_run: session.dry_run, field_manager: Some(MANAGER.into()) };
    let mut name = first.to_owned();
    let mut attempt = 0;
    loop {
        let object = json!({
            "apiVersion": "securebucket.io/v1alpha1", "kind": "GrantReview", "metadata": {"name": name}, "spec": spec,
        });
        let object = serde_json::from_value(object)
            .map_err(|e| Failure::failed(format!("the review cannot be written: {e}")))?;
        match answer(api.create(&params, &object)).await {
            Ok(review) => return Ok(review),
            Err(refusal) if refusal.is_taken() && attempt < NAMES => {
                attempt += 1;
                let there = try_get::<GrantReview>(session, &terms.bucket_namespace, &name).await;
                if let Some(there) = there.ok().filter(|t| as_good(t, &object)) {
                    return Ok(there);
                }
                name = another(first, &uuid::Uuid::new_v4().simple().to_string());
            }
            Err(refusal) => return Err(refused(terms, decision, &refusal)),
        }
    }
}

/// The one that is there says the same, and nothing is wrong with it.
fn as_good(there: &GrantReview, wanted: &GrantReview) -> bool {
    let counted = there.status.as_ref().and_then(|s| find(&s.conditions, types::COUNTED));
    let doubted = counted.is_some_and(|c| c.status == "False");
    there.spec == wanted.spec && there.metadata.deletion_timestamp.is_none() && !doubted
}

fn refused(terms: &Terms, decision: Decision, refusal: &Refusal) -> Failure {
    let verb = format!("{decision:?}").to_lowercase();
    let deed = format!("review DecryptGrant {}/{}", terms.namespace, terms.name);
    let failure = refusal.to(&deed);
    match refusal {
        _ if refusal.is_forbidden() => Failure {
            next: vec![format!("kubectl securebucket can-i {verb} {} -n {}", terms.bucket, terms.bucket_namespace)],
            ..failure
        },
        _ => failure,
    }
}

/// Whether the operator counts it.
async fn judged(session: &Session, out: &Out, args: &DecideArgs, terms: &Terms, name: &str) -> Outcome<()> {
    let look = || async {
        let review = try_get::<GrantReview>(session, &terms.bucket_namespace, name).await.ok()?;
        let counted = find(&review.status?.conditions, types::COUNTED)?.clone();
        Some((counted.status == "True", clean(&counted.message)))
    };
    let word = if args.waiting.wait {
        let again = format!("kubectl securebucket why greview/{name} -n {}", terms.bucket_namespace);
        let slow = || async {
            let waits = "the operator to judge the review".to_owned();
            Ok(look().await.map_or(Look::NotYet(waits), Look::There))
        };
        Some(until(out, args.waiting.timeout, &again, slow).await?)
    } else {
        briefly(MOMENT, look).await
    };
    match word {
        Some((false, why)) => {
            let again = format!("kubectl securebucket why {} -n {}", terms.name, terms.namespace);
            Err(Failure::new(Exit::Ended, format!("the review does not count: {why}")).next(again))
        }
        Some((true, words)) => {
            out.note(&format!("it counts: {words}"));
            Ok(())
        }
        None => Ok(()),
    }
}

/// Until nothing of the grant is left in AWS.
async fn removed(session: &Session, out: &Out, args: &DecideArgs, terms: &Terms) -> Outcome<()> {
    let again = format!("kubectl securebucket why {} -n {}", terms.name, terms.namespace);
    let look = || async {
        match try_get::<DecryptGrant>(session, &terms.namespace, &terms.name).await {
            Ok(grant) => Ok(super::hand_back::gone(&grant)),
            Err(refusal) if refusal.is_not_found() => Ok(Look::There("the object is gone".to_owned())),
            Err(refusal) => unanswered(&refusal, "see whether the access is removed"),
        }
    };
    let evidence = until(out, args.waiting.timeout, &again, look).await?;
    out.note(&evidence);
    Ok(())
}
