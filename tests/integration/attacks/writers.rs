//! Who writes status and finalizers.

use securebucket::api::{BUCKET_FINALIZER, DecryptGrant, GRANT_FINALIZER};
use serde_json::{Value, json};

use super::{Person, ask, bind, create, edit, everything, path, refused, review, send, taken};
use crate::support::World;
use crate::support::wait::state;
use crate::support::world::grant_spec;

const MERGE: &str = "application/merge-patch+json";

#[tokio::test]
async fn a_tenant_writes_no_status_and_no_finalizer() {
    let world = World::new("atkstatus").await;
    let ns = &world.namespace;
    let eve = Person::named("eve");
    edit(&world, &eve, ns).await;
    bind(&world, "securebucket-owner", &eve, ns).await;
    let client = eve.client(&world).await;
    world.apply_bucket("data", json!({})).await;
    taken(ask(&client, ns, "g", eve.stamp()).await);
    let made = review(&client, ns, "Deny", eve.stamp()).await.unwrap();
    let reviewed = made.metadata.name.unwrap();
    let operator = world.stack.client(world.kube_token()).await;
    for (resource, name, finalizer) in [
        ("securebuckets", "data", BUCKET_FINALIZER),
        ("decryptgrants", "g", GRANT_FINALIZER),
        ("grantreviews", reviewed.as_str(), GRANT_FINALIZER),
    ] {
        let object = format!("{}/{name}", path(ns, resource));
        let status = json!({"status": {"observedGeneration": 7}});
        for content in [MERGE, "application/apply-patch+yaml"] {
            let mut body = status.clone();
            let mut at = format!("{object}/status");
            if content != MERGE {
                body["apiVersion"] = json!("securebucket.io/v1alpha1");
                body["kind"] = made_kind(resource);
                at.push_str("?fieldManager=eve&force=true");
            }
            refused(send(&client, "PATCH", &at, content, body).await, "status", &["operator alone", "change spec"]);
        }
        let held = json!({"metadata": {"finalizers": [finalizer, "example.com/mine"]}});
        refused(send(&client, "PATCH", &object, MERGE, held.clone()).await, "status", &["leave them as they are"]);
        taken(send(&client, "PATCH", &object, MERGE, json!({"metadata": {"finalizers": ["example.com/mine"]}})).await);
        // The operator, and whoever may do everything.
        taken(send(&world.client, "PATCH", &object, MERGE, held).await);
        let freed = json!({"metadata": {"finalizers": null}});
        refused(send(&client, "PATCH", &object, MERGE, freed.clone()).await, "status", &["Delete the object"]);
        let without = json!([{"op": "remove", "path": "/metadata/finalizers/0"}]);
        let outcome = send(&client, "PATCH", &object, "application/json-patch+json", without).await;
        refused(outcome, "status", &["securebucket.io/"]);
        taken(send(&client, "PATCH", &object, MERGE, json!({"metadata": {"finalizers": [finalizer]}})).await);
        if resource != "grantreviews" {
            taken(send(&operator, "PATCH", &object, MERGE, freed).await);
        } else {
            taken(send(&world.client, "PATCH", &object, MERGE, freed).await);
        }
    }
    // Nor is one made with a finalizer of ours, so that nobody but the operator could let it go.
    let object = json!({"apiVersion": "securebucket.io/v1alpha1", "kind": "SecureBucket",
        "metadata": {"name": "held", "finalizers": [BUCKET_FINALIZER]}, "spec": {}});
    let outcome = send(&client, "POST", &path(ns, "securebuckets"), "application/json", object).await;
    refused(outcome, "status", &["leave them as they are"]);
}

/// Who may do everything in the namespace of the request decides nothing on a bucket elsewhere: status there would be access here.
#[tokio::test]
async fn everything_in_ones_own_namespace_is_not_the_operators_verb() {
    let world = World::with_namespaces("atkwild", &["asks"]).await;
    let asks = world.other("asks");
    let operator = world.operator().start();
    let grants = json!({"approvals": 1, "allowedNamespaces": [asks]});
    world.apply_bucket("data", json!({"grants": grants})).await;
    world.bucket_ready("data").await;
    world.service_account_in(&asks, "reports").await;
    let eve = Person::named("eve");
    everything(&world, &eve, &asks).await;
    let client = eve.client(&world).await;
    let mut spec = grant_spec("data", "reports", &["in/"], "1h");
    (spec["bucketRef"]["namespace"], spec["requester"]) = (json!(world.namespace), eve.stamp());
    taken(create(&client, &asks, "DecryptGrant", "g", spec).await);
    let waits = |g: &DecryptGrant| state(g) == "AwaitingApproval";
    let grant = world.object_when(&world.grants_in(&asks), "g", "awaits approval", waits).await;
    let mut status = serde_json::to_value(grant.status.unwrap()).unwrap();
    (status["activatedAt"], status["expiresAt"]) = (json!("2026-01-01T00:00:00Z"), json!("2036-01-01T00:00:00Z"));
    let object = format!("{}/g", path(&asks, "decryptgrants"));
    let outcome = send(&client, "PATCH", &format!("{object}/status"), MERGE, json!({"status": status})).await;
    refused(outcome, "status", &["operator alone"]);
    let freed = json!({"metadata": {"finalizers": null}});
    refused(send(&client, "PATCH", &object, MERGE, freed).await, "status", &["leave them as they are"]);
    assert!(waits(&world.grants_in(&asks).get("g").await.unwrap()));
    assert_eq!(operator.journal().count("CreateGrant"), 0);
}

fn made_kind(resource: &str) -> Value {
    json!(match resource {
        "securebuckets" => "SecureBucket",
        "decryptgrants" => "DecryptGrant",
        _ => "GrantReview",
    })
}

/// What was asked and what was decided stays as it was written: the CRDs' own rules, with or without admission policies.
#[tokio::test]
async fn nobody_edits_a_request_or_a_review() {
    let world = World::new("atkfrozen").await;
    let ns = &world.namespace;
    taken(ask(&world.client, ns, "g", crate::support::world::admin_identity()).await);
    let made = review(&world.client, ns, "Deny", crate::support::world::admin_identity()).await.unwrap();
    for (resource, name, change) in [
        ("decryptgrants", "g", json!({"requester": {"username": "bob"}})),
        ("decryptgrants", "g", json!({"duration": "8h"})),
        ("decryptgrants", "g", json!({"requester": null})),
        ("grantreviews", made.metadata.name.as_deref().unwrap(), json!({"decision": "Approve"})),
        ("grantreviews", made.metadata.name.as_deref().unwrap(), json!({"reviewer": {"username": "bob"}})),
    ] {
        let object = format!("{}/{name}", path(ns, resource));
        let error = send(&world.client, "PATCH", &object, MERGE, json!({"spec": change})).await.unwrap_err();
        assert!(error.contains("immutable"), "{error}");
        taken(send(&world.client, "PATCH", &object, MERGE, json!({"metadata": {"labels": {"a": "b"}}})).await);
    }
}
