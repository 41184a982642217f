//! Grants that go on from others: approved anew, without a gap, and within the ceiling of the bucket; and what is refused.

use jiff::{SignedDuration, Timestamp};
use kube::api::DeleteParams;
use securebucket::api::DecryptGrant;
use securebucket::api::condition::{find, is_true, types};
use serde_json::{Value, json};

use crate::reviews::asking;
use crate::scene::{Scene, spec};
use crate::support::World;
use crate::support::reviews::asked_by;
use crate::support::wait::{grant_conditions, state};

fn extending(name: &str, duration: &str) -> Value {
    let mut spec = asked_by("alice");
    (spec["extends"], spec["duration"]) = (json!({"name": name}), duration.into());
    spec
}

async fn ask(world: &World, name: &str, spec: Value) {
    world.create_grant_in(&world.namespace, name, spec).await.unwrap();
}

async fn terms(world: &World, grants: Value) {
    let mut spec = spec();
    spec["grants"] = grants;
    world.apply_bucket("data", spec).await;
    world.bucket_ready("data").await;
}

fn instant(text: &Option<String>) -> Timestamp {
    text.as_deref().unwrap().parse().unwrap()
}

/// Denied, with these words, and never approved.
async fn denied(world: &World, name: &str, words: &str) {
    let grant = world.grant_state(name, "Denied").await;
    let active = find(grant_conditions(&grant), types::ACTIVE).unwrap();
    assert!(active.message.contains(words) && active.message.contains("create a new grant"), "{}", active.message);
    assert!(!is_true(grant_conditions(&grant), types::ACTIVE));
}

#[tokio::test]
async fn approved_anew_and_without_a_gap() {
    let Scene { world, ids, operator, .. } = asking("extend", 1).await;
    world.workload("ingest").await.put(&ids.bucket, "in/x", "content").await.allowed();
    let grant = world.awaiting("g", "alice").await;
    world.review(&grant, "Approve", "bob").await;
    let first = world.grant_active("g").await.status.unwrap();
    ask(&world, "h", extending("g", "1h")).await;
    let more = world.grant_state("h", "AwaitingApproval").await;
    let resolved = more.status.as_ref().unwrap().resolved.clone().unwrap();
    let extends = resolved.extends.unwrap();
    assert_eq!((extends.name.as_str(), Some(extends.since)), ("g", first.activated_at.clone()));
    assert_ne!(resolved.terms_hash, first.resolved.as_ref().unwrap().terms_hash);
    let shown = |b: &securebucket::api::SecureBucket| {
        b.status.as_ref().unwrap().pending_grants.iter().any(|p| p.extends.as_deref() == Some("g"))
    };
    world.bucket_when("data", "shows what is extended", shown).await;
    // The approval of the first is none of the second.
    assert_eq!(operator.journal().count("CreateGrant"), 1);
    world.review(&more, "Approve", "carol").await;
    let second = world.grant_active("h").await.status.unwrap();
    assert!(instant(&second.activated_at) < instant(&first.expires_at), "no gap");
    assert!(instant(&second.expires_at) > instant(&first.expires_at));
    // The first one's window is its own, and so is its end.
    let reader = world.workload("reports").await;
    reader.get(&ids.bucket, "in/x").await.allowed();
    world.grants().delete("g", &DeleteParams::default()).await.unwrap();
    let gone = || async { world.grants().get_opt("g").await.unwrap().is_none().then_some(()) };
    assert!(crate::support::wait::poll(gone).await.is_some(), "handed back");
    reader.get(&ids.bucket, "in/x").await.allowed();
    let again = world.grants().get("h").await.unwrap();
    assert_eq!(state(&again), "Granted");
    assert_eq!(again.status.unwrap().expires_at, second.expires_at);
}

#[tokio::test]
async fn no_chain_is_longer_than_the_ceiling() {
    let Scene { world, operator, .. } = asking("ceiling", 1).await;
    terms(&world, json!({"approvals": 0, "maxDuration": "1h"})).await;
    let mut first = asked_by("alice");
    first["duration"] = "30m".into();
    ask(&world, "a", first).await;
    let since = instant(&world.grant_active("a").await.status.unwrap().activated_at);
    ask(&world, "too-long", extending("a", "1h")).await;
    denied(&world, "too-long", "grants.maxDuration of the bucket counts from there").await;
    ask(&world, "b", extending("a", "58m")).await;
    let end = instant(&world.grant_active("b").await.status.unwrap().expires_at);
    assert!(end <= since + SignedDuration::from_hours(1), "{end}");
    // Nor by going on from the one that went on.
    ask(&world, "c", extending("b", "1h")).await;
    denied(&world, "c", "grants.maxDuration of the bucket counts from there").await;
    let begun = |g: &DecryptGrant| g.status.as_ref().unwrap().resolved.as_ref().unwrap().extends.clone().unwrap().since;
    ask(&world, "d", extending("b", "57m")).await;
    assert_eq!(begun(&world.grant_active("d").await), securebucket::domain::time::format_instant(since));
    assert_eq!(operator.journal().count("CreateGrant"), 3);
}

#[tokio::test]
async fn only_what_is_active_and_like_it_is_extended() {
    let Scene { world, operator, .. } = asking("unlike", 1).await;
    world.service_account("other").await;
    // Not there, and not begun.
    ask(&world, "early", extending("g", "20m")).await;
    world.grant_state("early", "ExtendedNotFound").await;
    let grant = world.awaiting("g", "alice").await;
    world.grant_state("early", "ExtendedNotActive").await;
    world.review(&grant, "Approve", "bob").await;
    world.grant_active("g").await;
    let early = world.grant_state("early", "AwaitingApproval").await;
    // Somebody else's, and wider.
    let mut other = extending("g", "20m");
    other["subject"]["serviceAccountRef"]["name"] = "other".into();
    ask(&world, "other", other).await;
    denied(&world, "other", "another ServiceAccount").await;
    let mut wider = extending("g", "20m");
    wider["prefixes"] = json!(["in/", "out/"]);
    ask(&world, "wider", wider).await;
    denied(&world, "wider", "all of these prefixes").await;
    // Over, while the other waited for its approval.
    world.review(&grant, "Revoke", "carol").await;
    world.grant_removed("g").await;
    denied(&world, "early", "is over").await;
    world.review(&early, "Approve", "bob").await;
    ask(&world, "late", extending("g", "20m")).await;
    denied(&world, "late", "is over").await;
    assert_eq!(operator.journal().count("CreateGrant"), 1);
    let mut scheduled = extending("g", "20m");
    scheduled["notBefore"] = "2030-01-01T00:00:00Z".into();
    let refused = world.create_grant_in(&world.namespace, "scheduled", scheduled).await.unwrap_err();
    assert!(refused.to_string().contains("an extension begins when it is approved"), "{refused}");
}
