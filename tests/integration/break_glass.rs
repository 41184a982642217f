//! Access at once and without approval: short, loud, one at a time, and reviewed by somebody else.

use jiff::SignedDuration;
use kube::api::DeleteParams;
use securebucket::api::condition::{find, is_true, types};
use securebucket::api::{DecryptGrant, SecureBucket};
use serde_json::{Value, json};

use crate::scene::{Scene, spec};
use crate::support::World;
use crate::support::hooks::api_server_ahead;
use crate::support::reviews::{asked_by, review_spec};
use crate::support::wait::{grant_conditions, poll, state};

async fn terms(world: &World, grants: Value) {
    let mut spec = spec();
    spec["grants"] = grants;
    world.apply_bucket("data", spec).await;
    world.bucket_ready("data").await;
}

async fn ask(world: &World, name: &str, who: &str, duration: &str) -> DecryptGrant {
    let mut spec = asked_by(who);
    (spec["breakGlass"], spec["duration"]) = (true.into(), duration.into());
    world.create_grant_in(&world.namespace, name, spec).await.unwrap()
}

async fn denied(world: &World, name: &str, words: &str) {
    let grant = world.grant_state(name, "Denied").await;
    let active = find(grant_conditions(&grant), types::ACTIVE).unwrap();
    assert!(active.message.contains(words), "{}", active.message);
    assert!(!is_true(grant_conditions(&grant), types::APPROVED));
}

/// Waits until it is reviewed.
async fn reviewed(world: &World, name: &str) -> DecryptGrant {
    let fits = |g: &DecryptGrant| is_true(grant_conditions(g), types::REVIEWED);
    world.grant_when(name, "it is reviewed", fits).await
}

#[tokio::test]
async fn at_once_loud_and_reviewed_by_somebody_else() {
    let Scene { world, ids, operator, .. } = Scene::with("glass", |o| o.serving()).await;
    world.workload("ingest").await.put(&ids.bucket, "in/x", "content").await.allowed();
    // Not where the owner does not say so, and then never.
    ask(&world, "early", "alice", "30m").await;
    denied(&world, "early", "grants.breakGlass").await;
    terms(&world, json!({"approvals": 2, "breakGlass": {}})).await;
    ask(&world, "long", "alice", "61m").await;
    denied(&world, "long", "longer than 1h").await;
    assert_eq!(operator.journal().count("CreateGrant"), 0);

    let grant = ask(&world, "first", "alice", "30m").await;
    let grant = {
        drop(grant);
        world.grant_active("first").await
    };
    let reports = world.workload("reports").await;
    reports.get(&ids.bucket, "in/x").await.allowed();
    let all = grant_conditions(&grant);
    assert_eq!(find(all, types::APPROVED).unwrap().reason, "BreakGlass");
    assert_eq!(find(all, types::REVIEWED).unwrap().reason, "ReviewDue");
    for about in ["first", "data"] {
        world.event(about, "BreakGlass", "alice has access without approval").await;
    }
    for counts in ["securebucket_break_glass_total", "securebucket_break_glass_unreviewed"] {
        operator.metric_is(counts, 1.0).await;
    }

    // No further one before the review, while it lasts and afterwards, by whoever.
    ask(&world, "second", "alice", "30m").await;
    denied(&world, "second", "waits for its review").await;
    let own = world.review(&grant, "Approve", "alice").await;
    assert!(world.counted(&own, "SelfApproval").await.contains("nobody reviews his own access"));
    world.grants().delete("first", &DeleteParams::default()).await.unwrap();
    world.grant_removed("first").await;
    reports.get(&ids.bucket, "in/x").await.denied();
    ask(&world, "third", "dora", "30m").await;
    denied(&world, "third", "waits for its review").await;
    assert!(world.grants().get_opt("first").await.unwrap().is_some(), "deleted, and kept until it is reviewed");

    // Somebody else's word is enough, whatever it is; then it goes, and the next may come.
    let bob = world.review(&grant, "Deny", "bob").await;
    world.counted(&bob, "Counted").await;
    let gone = || async { world.grants().get_opt("first").await.unwrap().is_none().then_some(()) };
    assert!(poll(gone).await.is_some(), "reviewed, and gone");
    world.event("data", "BreakGlassReviewed", "Deny by bob").await;
    world.event("first", "GrantRemoved", "").await;
    world.counted(&bob, "Counted").await;
    ask(&world, "fourth", "alice", "30m").await;
    let fourth = world.grant_active("fourth").await;
    // Approved while it lasts it goes on; the review is not undone by its deletion.
    let carol = world.review(&fourth, "Approve", "carol").await;
    world.counted(&carol, "Counted").await;
    reviewed(&world, "fourth").await;
    world.reviews().delete(carol.metadata.name.as_deref().unwrap(), &DeleteParams::default()).await.unwrap();
    ask(&world, "fifth", "alice", "30m").await;
    let fifth = world.grant_active("fifth").await;
    assert_eq!(state(&world.grants().get("fourth").await.unwrap()), "Granted");
    // A Revoke ends it and is its review.
    world.review(&fifth, "Revoke", "bob").await;
    world.grant_removed("fifth").await;
    reviewed(&world, "fifth").await;
    assert_eq!(operator.journal().count("CreateGrant"), 3);
}

#[tokio::test]
async fn what_wins_over_it() {
    let Scene { world, operator, .. } = Scene::new("glassless").await;
    let rule = json!([{"name": "never", "expression": "request.breakGlass"}]);
    terms(&world, json!({"approvals": 1, "breakGlass": {}, "deny": rule})).await;
    ask(&world, "ruled", "alice", "30m").await;
    denied(&world, "ruled", "rule never").await;
    terms(&world, json!({"approvals": 1, "breakGlass": {}, "robots": ["ci/bot"]})).await;
    ask(&world, "robot", "system:serviceaccount:ci:bot", "30m").await;
    denied(&world, "robot", "only people").await;
    // What cannot begin now does not begin when somebody has stopped looking for it.
    let mut other = asked_by("alice");
    (other["breakGlass"], other["subject"]["serviceAccountRef"]["name"]) = (true.into(), "later".into());
    world.create_grant_in(&world.namespace, "waits", other).await.unwrap();
    world.grant_state("waits", "ServiceAccountNotFound").await;
    operator.stop().await;
    world.later(3_700).await;
    world.service_account("later").await;
    let operator = world.operator().kube_hook(api_server_ahead(3_700)).start();
    denied(&world, "waits", "begins at once or not at all").await;
    // Locked down nobody reads.
    let mut locked = spec();
    locked["grants"] = json!({"approvals": 1, "breakGlass": {}});
    locked["lockdown"] = json!({"reason": "leaked laptop"});
    world.apply_bucket("data", locked).await;
    let shut = |b: &SecureBucket| b.status.as_ref().is_some_and(|s| s.lockdown.is_some());
    world.bucket_when("data", "locked down", shut).await;
    ask(&world, "locked", "alice", "30m").await;
    let grant = world.grant_state("locked", "Denied").await;
    assert!(!is_true(grant_conditions(&grant), types::APPROVED));
    assert_eq!(operator.journal().count("CreateGrant"), 0);
    for (spec, part) in [
        (json!({"breakGlass": true, "notBefore": "2030-01-01T00:00:00Z"}), "begins at once"),
        (json!({"breakGlass": true, "extends": {"name": "g"}}), "begins at once"),
    ] {
        let mut whole = asked_by("alice");
        whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let refused = world.create_grant_in(&world.namespace, "refused", whole).await.unwrap_err();
        assert!(refused.to_string().contains(part), "{refused}");
    }
}

#[tokio::test]
async fn an_overdue_review_is_told() {
    let Scene { world, operator, .. } = Scene::with("glassdue", |o| o.serving()).await;
    terms(&world, json!({"approvals": 1, "breakGlass": {"reviewWithin": "15m", "maxDuration": "15m"}})).await;
    ask(&world, "first", "alice", "15m").await;
    let grant = world.grant_active("first").await;
    let status = grant.status.clone().unwrap();
    let instant = |text: &str| text.parse::<jiff::Timestamp>().unwrap();
    let due = instant(&status.break_glass.unwrap().review_by);
    assert_eq!(due.duration_since(instant(&status.activated_at.unwrap())), SignedDuration::from_mins(15));
    operator.stop().await;
    world.later(1_000).await;
    let operator = world.operator().serving().kube_hook(api_server_ahead(1_000)).start();
    let overdue =
        |g: &DecryptGrant| find(grant_conditions(g), types::REVIEWED).is_some_and(|c| c.reason == "ReviewOverdue");
    world.grant_when("first", "its review is overdue", overdue).await;
    for about in ["first", "data"] {
        world.event(about, "ReviewOverdue", "no further break-glass").await;
    }
    operator.metric_is("securebucket_break_glass_reviews_overdue", 1.0).await;
    // Late is better than never.
    let mut word = review_spec(&grant, "Approve", "bob");
    word["comment"] = "late".into();
    world.create_review(&world.namespace, "late", word).await.unwrap();
    reviewed(&world, "first").await;
    operator.metric_is("securebucket_break_glass_reviews_overdue", 0.0).await;
}
