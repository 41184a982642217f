//! Rules of a bucket in CEL: which requests they refuse, and which they approve in people's place.

use jiff::SignedDuration;
use securebucket::api::DecryptGrant;
use securebucket::api::condition::{find, is_true, types};
use serde_json::{Value, json};

use crate::reviews::asking;
use crate::scene::{Scene, spec};
use crate::support::World;
use crate::support::reviews::asked_by;
use crate::support::wait::{conditions, grant_conditions, state};

/// The bucket with other terms.
async fn terms(world: &World, grants: Value) {
    let mut spec = spec();
    spec["grants"] = grants;
    world.apply_bucket("data", spec).await;
    world.bucket_ready("data").await;
}

fn reason<'a>(grant: &'a DecryptGrant, kind: &str) -> (&'a str, &'a str) {
    find(grant_conditions(grant), kind).map_or(("", ""), |c| (c.reason.as_str(), c.message.as_str()))
}

async fn ask(world: &World, name: &str, who: &str, duration: &str) {
    let mut spec = asked_by(who);
    spec["duration"] = duration.into();
    world.create_grant_in(&world.namespace, name, spec).await.unwrap();
}

#[tokio::test]
async fn a_rule_stands_in_for_people_while_it_holds() {
    let Scene { world, operator, .. } = asking("auto", 1).await;
    let short = json!([
        {"name": "of-alice", "expression": "request.requester.username == 'alice' && request.duration <= duration('30m')"},
    ]);
    terms(&world, json!({"approvals": 2, "autoApprove": short})).await;
    ask(&world, "short", "alice", "20m").await;
    let grant = world.grant_active("short").await;
    let (word, message) = reason(&grant, types::APPROVED);
    assert!(word == "AutoApproved" && message.contains("rule of-alice"), "{word} {message}");
    let status = grant.status.as_ref().unwrap();
    assert_eq!(status.approval_rules.as_ref().unwrap().auto_approved_by.as_deref(), Some("of-alice"));
    world.event("data", "GrantApproved", "rule of-alice").await;
    let agreed = |b: &securebucket::api::SecureBucket| {
        b.status.as_ref().unwrap().access.iter().any(|a| a.agreed_by.as_deref().is_some_and(|t| t.contains("of-alice")))
    };
    world.bucket_when("data", "says by which rule", agreed).await;
    // Longer, or somebody else: people.
    ask(&world, "long", "alice", "31m").await;
    ask(&world, "other", "bob", "20m").await;
    for name in ["long", "other"] {
        let grant = world.grant_state(name, "AwaitingApproval").await;
        assert!(reason(&grant, types::ACTIVE).1.contains("2 approvals"));
    }
    // A rule of later approves nothing that was asked before.
    let all = json!([{"name": "all", "expression": "true"}]);
    terms(&world, json!({"approvals": 2, "autoApprove": all})).await;
    ask(&world, "later", "bob", "31m").await;
    world.grant_active("later").await;
    for name in ["long", "other"] {
        assert_eq!(state(&world.grants().get(name).await.unwrap()), "AwaitingApproval", "{name}");
    }
    assert_eq!(operator.journal().count("CreateGrant"), 2);
}

#[tokio::test]
async fn a_rule_that_holds_no_more_when_access_begins_approved_nothing() {
    let Scene { world, operator, .. } = asking("automoment", 1).await;
    terms(&world, json!({"approvals": 1, "autoApprove": [{"name": "all", "expression": "true"}]})).await;
    let at = |seconds: i64| {
        let mut spec = asked_by("alice");
        let begin = world.now() + SignedDuration::from_secs(seconds);
        spec["notBefore"] = json!(securebucket::domain::time::format_instant(begin));
        spec
    };
    world.create_grant_in(&world.namespace, "g", at(60)).await.unwrap();
    world.grant_state("g", "Scheduled").await;
    terms(&world, json!({"approvals": 1})).await;
    let grant = world.grant_state("g", "AwaitingApproval").await;
    assert!(is_true(grant_conditions(&grant), types::APPROVED), "what is approved stays so, and waits");
    // The same with the rule still there.
    terms(&world, json!({"approvals": 1, "autoApprove": [{"name": "all", "expression": "true"}]})).await;
    world.create_grant_in(&world.namespace, "h", at(4)).await.unwrap();
    world.grant_active("h").await;
    // And people can do what the rule no longer does.
    terms(&world, json!({"approvals": 1})).await;
    let grant = world.grant_state("g", "AwaitingApproval").await;
    assert_eq!(operator.journal().count("CreateGrant"), 1);
    world.review(&grant, "Approve", "bob").await;
    world.grant_active("g").await;
}

#[tokio::test]
async fn a_rule_refuses_whoever_agrees() {
    let Scene { world, operator, .. } = asking("denyrule", 1).await;
    let begin = world.now() + SignedDuration::from_secs(3_600);
    let mut spec = asked_by("alice");
    spec["notBefore"] = json!(securebucket::domain::time::format_instant(begin));
    world.create_grant_in(&world.namespace, "before", spec).await.unwrap();
    let before = world.grant_state("before", "AwaitingApproval").await;
    world.review(&before, "Approve", "bob").await;
    world.grant_state("before", "Scheduled").await;
    let deny = json!([
        {"name": "no-whole-bucket", "expression": "'*' in request.prefixes", "message": "ask for a prefix"},
        {"name": "short", "expression": "request.duration > duration('40m')"},
    ]);
    let all = json!([{"name": "all", "expression": "true"}]);
    terms(&world, json!({"approvals": 1, "deny": deny, "autoApprove": all})).await;
    // What is approved and has not begun is refused as well.
    let grant = world.grant_state("before", "Denied").await;
    assert_eq!(grant.status.as_ref().unwrap().ended.as_ref().unwrap().rule.as_deref(), Some("short"));
    ask(&world, "long", "alice", "41m").await;
    let mut whole = asked_by("alice");
    (whole["prefixes"], whole["duration"]) = (json!(["*"]), "30m".into());
    world.create_grant_in(&world.namespace, "whole", whole).await.unwrap();
    for (name, words) in [("long", "rule short"), ("whole", "ask for a prefix")] {
        let grant = world.grant_state(name, "Denied").await;
        let (word, message) = reason(&grant, types::DENIED);
        assert!(word == "DeniedByPolicy" && message.contains(words), "{name}: {word} {message}");
        assert!(!is_true(grant_conditions(&grant), types::APPROVED));
        world.event(name, "GrantRefused", words).await;
    }
    // For good: without the rule it does not come back.
    ask(&world, "fine", "alice", "40m").await;
    world.grant_active("fine").await;
    terms(&world, json!({"approvals": 0})).await;
    ask(&world, "anew", "alice", "41m").await;
    world.grant_active("anew").await;
    assert_eq!(state(&world.grants().get("long").await.unwrap()), "Denied");
    assert_eq!(operator.journal().count("CreateGrant"), 2);
}

#[tokio::test]
async fn a_rule_that_is_none_is_said_and_widens_nothing() {
    let Scene { world, operator, .. } = asking("norule", 1).await;
    let wrong = |grants: Value| {
        let mut spec = spec();
        spec["grants"] = grants;
        spec
    };
    let rules = json!([{"name": "typo", "expression": "request.durations <= duration('1h')"}]);
    for (field, grants) in [
        ("spec.grants.autoApprove[0].expression (typo)", json!({"approvals": 1, "autoApprove": rules})),
        ("spec.grants.deny[0].expression (typo)", json!({"approvals": 0, "deny": rules})),
    ] {
        world.apply_bucket("data", wrong(grants)).await;
        let said = |b: &securebucket::api::SecureBucket| {
            let ready = find(conditions(b), types::READY);
            ready.is_some_and(|c| c.reason == "InvalidSpec" && c.message.contains(field))
        };
        let bucket = world.bucket_when("data", field, said).await;
        let message = &find(conditions(&bucket), types::READY).unwrap().message;
        assert!(message.contains("request.durations is not known; request has"), "{message}");
        let name = if field.contains("deny") { "denied" } else { "waits" };
        ask(&world, name, "alice", "30m").await;
        let expected = if name == "denied" { "Denied" } else { "AwaitingApproval" };
        let grant = world.grant_state(name, expected).await;
        assert!(reason(&grant, types::ACTIVE).1.contains("rule typo"), "{:?}", reason(&grant, types::ACTIVE));
    }
    assert_eq!(operator.journal().count("CreateGrant"), 0);
    // Mended, it does what it says.
    let mended = json!([{"name": "typo", "expression": "request.duration <= duration('1h')"}]);
    terms(&world, json!({"approvals": 1, "autoApprove": mended})).await;
    ask(&world, "mended", "alice", "30m").await;
    world.grant_active("mended").await;
}
