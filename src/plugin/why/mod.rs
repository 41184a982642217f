//! `why`: what an object waits for, who can act, and the command he would type.

pub mod reason;
pub mod reasons;
mod who;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use serde::Serialize;

use super::cli::WhyArgs;
use super::exit::{Exit, Outcome};
use super::find::{all, get, try_get};
use super::names::Kind;
use super::out::{Mood, Out, clean};
use super::talk::Session;
use crate::api::condition::{find, types};
use crate::api::{DecryptGrant, GrantReview, SecureBucket};
use crate::grant::terms::target;
use reason::explain;
pub use who::Who;
use who::{Names, acts, fill};

/// One thing that is explained.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Explained {
    object: String,
    condition: String,
    status: String,
    reason: String,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    means: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    who: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    you_may: Option<bool>,
    commands: Vec<String>,
}

/// Explains.
///
/// # Errors
/// If the object cannot be read.
pub async fn why(session: &Session, out: &Out, args: &WhyArgs) -> Outcome {
    let (namespace, name) = (&session.namespace, &args.object.name);
    let explained = match args.object.kind {
        Some(Kind::Grant) => grant(session, &get(session, namespace, name).await?).await,
        Some(Kind::Bucket) => bucket(session, &get(session, namespace, name).await?).await,
        Some(Kind::Review) => {
            let review: GrantReview = get(session, namespace, name).await?;
            vec![of_review(session, &review).await]
        }
        None => match try_get::<DecryptGrant>(session, namespace, name).await {
            Ok(found) => grant(session, &found).await,
            Err(refusal) => match try_get::<SecureBucket>(session, namespace, name).await {
                Ok(found) => bucket(session, &found).await,
                Err(_) => {
                    let failure = super::find::missing(Kind::Grant, namespace, name, &refusal);
                    return Err(failure.next("kubectl securebucket list --pending, for requests on your buckets"));
                }
            },
        },
    };
    if !out.value(&explained)? {
        for one in &explained {
            print(out, one);
        }
    }
    Ok(Exit::Done)
}

fn print(out: &Out, one: &Explained) {
    let mood = match (one.condition.as_str(), one.status.as_str()) {
        (types::STALLED | types::FOREIGN_ACCESS | types::LOCKED_DOWN | types::RESTRICTED, _) => Mood::Bad,
        (_, "True") => Mood::Good,
        _ => Mood::Unsure,
    };
    let title = format!("{}: {}", out.paint(Mood::Strong, &one.object), out.paint(mood, &one.reason));
    out.line(&title);
    let mut rows = vec![("says", one.message.clone())];
    rows.extend(one.means.clone().map(|text| ("means", text)));
    rows.extend(one.who.clone().map(|text| ("acts", text)));
    rows.extend(one.you_may.map(|may| ("you", if may { "may do that".into() } else { "may not do that".to_owned() })));
    rows.extend(one.commands.iter().map(|text| ("type", text.clone())));
    for (title, text) in rows.iter().filter(|(_, text)| !text.is_empty()) {
        out.line(&format!("  {title:<6} {}", clean(text)));
    }
}

/// A condition that is not there yet.
fn pending(type_: &str) -> Condition {
    Condition {
        type_: type_.to_owned(),
        status: "Unknown".into(),
        reason: "Pending".into(),
        message: "not looked at yet".into(),
        observed_generation: None,
        last_transition_time: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Default::default()),
    }
}

/// True if there is something to say about it: an abnormal one that is there, or a normal one that does not hold.
fn worth_telling(condition: &Condition) -> bool {
    match condition.type_.as_str() {
        types::STALLED | types::RESTRICTED | types::LOCKED_DOWN | types::FOREIGN_ACCESS => true,
        types::RECONCILING | types::APPROVED | types::DENIED => false,
        _ => condition.status != "True",
    }
}

/// The first condition, and all others that are worth telling and say something new.
fn told(conditions: &[Condition], first: &str) -> Vec<Condition> {
    let mut told = vec![find(conditions, first).cloned().unwrap_or_else(|| pending(first))];
    for condition in conditions.iter().filter(|c| worth_telling(c)) {
        if told.iter().all(|t| t.reason != condition.reason) {
            told.push(condition.clone());
        }
    }
    told
}

async fn explained(session: &Session, kind: Kind, names: &Names, condition: &Condition) -> Explained {
    let known = explain(&condition.reason, kind);
    let mut one = Explained {
        object: format!("{} {}/{}", kind.word(), names.namespace, names.name),
        condition: condition.type_.clone(),
        status: condition.status.clone(),
        reason: condition.reason.clone(),
        message: condition.message.clone(),
        means: known.map(|r| r.means.to_owned()),
        who: None,
        you_may: None,
        commands: Vec::new(),
    };
    match known {
        Some(reason) => {
            let (who, you) = acts(session, reason.who, names).await;
            (one.who, one.you_may) = (Some(who), you);
            one.commands = reason.commands.iter().map(|text| fill(text, names)).collect();
        }
        None => {
            one.means =
                Some("a reason that this version of the plugin does not know; the message has it in words".into())
        }
    }
    one
}

async fn grant(session: &Session, grant: &DecryptGrant) -> Vec<Explained> {
    let status = grant.status.clone().unwrap_or_default();
    let at = target(grant);
    let bucket = try_get::<SecureBucket>(session, &at.namespace, &at.name).await.ok();
    let names = Names::of_grant(grant, bucket.as_ref());
    let mut all_told = Vec::new();
    for condition in told(&status.conditions, types::ACTIVE) {
        all_told.push(explained(session, Kind::Grant, &names, &condition).await);
    }
    // Reviews that were written for nothing. Who may not read them is not told of them.
    let reviews: Vec<GrantReview> = all(session, Some(&at.namespace)).await.unwrap_or_default();
    let of_it = |r: &&GrantReview| Some(&r.spec.grant_ref.uid) == grant.metadata.uid.as_ref();
    for review in reviews.iter().filter(of_it).filter(|_| status.ended.is_none()) {
        let counted = review.status.as_ref().and_then(|s| find(&s.conditions, types::COUNTED));
        if counted.is_some_and(|c| c.status != "True") {
            all_told.push(of_review(session, review).await);
        }
    }
    all_told
}

async fn of_review(session: &Session, review: &GrantReview) -> Explained {
    let conditions = review.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
    let counted = find(conditions, types::COUNTED).cloned().unwrap_or_else(|| pending(types::COUNTED));
    let namespace = review.namespace().unwrap_or_default();
    let bucket = try_get::<SecureBucket>(session, &namespace, &review.spec.bucket_ref.name).await.ok();
    explained(session, Kind::Review, &Names::of_review(review, bucket.as_ref()), &counted).await
}

async fn bucket(session: &Session, bucket: &SecureBucket) -> Vec<Explained> {
    let status = bucket.status.clone().unwrap_or_default();
    let names = Names::of_bucket(bucket);
    let mut all_told = Vec::new();
    for condition in told(&status.conditions, types::READY) {
        all_told.push(explained(session, Kind::Bucket, &names, &condition).await);
    }
    all_told
}
