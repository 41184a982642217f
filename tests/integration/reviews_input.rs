//! What the API server itself refuses of rules, requests and reviews, in words that name the field.

use securebucket::api::GrantReview;
use serde_json::{Value, json};

use crate::support::World;
use crate::support::reviews::asked_by;

fn review() -> Value {
    json!({
        "bucketRef": {"name": "data"},
        "grantRef": {"namespace": "a", "name": "g", "uid": "1f0c6a52-5d0e-4d5c-8d39-2f7c0a6d6f11"},
        "termsHash": "0".repeat(64),
        "decision": "Approve",
        "reviewer": {"username": "bob"},
    })
}

/// The same with a value elsewhere.
fn with(mut spec: Value, pointer: &str, value: Value) -> Value {
    *spec.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = value;
    spec
}

#[tokio::test]
async fn rules_requests_and_reviews_that_cannot_be() {
    let world = World::new("cannot").await;
    let set = |set: Value| json!({"grants": {"approvers": [set]}});
    let buckets = [
        (set(json!({"name": "a"})), "a set needs users, groups or serviceAccounts"),
        (set(json!({"name": "a", "users": ["system:admin"]})), "not people"),
        (set(json!({"name": "a", "groups": ["system:authenticated"]})), "name a group of people"),
        (set(json!({"name": "a", "serviceAccounts": ["bot"]})), "serviceAccounts"),
        (set(json!({"name": "a", "users": ["x"], "atLeast": 6})), "atLeast"),
        (
            json!({"grants": {"approvers": [
                {"name": "a", "users": ["x"], "atLeast": 3}, {"name": "b", "users": ["y"], "atLeast": 3},
            ]}}),
            "more than 5 approvals",
        ),
        (json!({"grants": {"pendingTTL": "5m"}}), "at least 15m"),
        (json!({"grants": {"pendingTTL": "169h"}}), "at most 168h"),
        (json!({"grants": {"maxOpenPerSubject": 0}}), "maxOpenPerSubject"),
        (json!({"grants": {"selfApproval": "Allow"}}), "selfApproval"),
        (json!({"grants": {"robots": ["system:serviceaccount:a:b"]}}), "robots"),
    ];
    for (spec, part) in buckets {
        let object = serde_json::from_value(crate::support::world::bucket_object("b", &spec));
        // What the types do not know is refused by them; what they know, by the API server.
        let Ok(object) = object else { continue };
        let refused = world.buckets().create(&kube::api::PostParams::default(), &object).await.unwrap_err();
        assert!(refused.to_string().contains(part), "{spec}: {refused}");
    }
    for (pointer, value) in [("/requester/username", json!("")), ("/requester/username", json!("x".repeat(257)))] {
        let spec = with(asked_by("alice"), pointer, value);
        let refused = world.create_grant_in(&world.namespace, "g", spec).await.unwrap_err();
        assert!(refused.to_string().contains("username"), "{refused}");
    }
    for ticket in ["", "-1", "a b", &"x".repeat(65)] {
        let mut spec = asked_by("alice");
        spec["ticket"] = ticket.into();
        let refused = world.create_grant_in(&world.namespace, "g", spec).await.unwrap_err();
        assert!(refused.to_string().contains("ticket"), "{ticket}: {refused}");
    }
    let reviews = [
        ("/termsHash", json!("0".repeat(63)), "termsHash"),
        ("/termsHash", json!("A".repeat(64)), "termsHash"),
        ("/grantRef/uid", json!(""), "uid"),
        ("/reviewer/username", json!(""), "username"),
    ];
    for (pointer, value, part) in reviews {
        let refused = world.create_review(&world.namespace, "r", with(review(), pointer, value)).await.unwrap_err();
        assert!(refused.to_string().contains(part), "{pointer}: {refused}");
    }
    // As it should be it is taken.
    let taken: GrantReview = world.create_review(&world.namespace, "r", review()).await.unwrap();
    assert_eq!(taken.spec.reviewer.username, "bob");
}
