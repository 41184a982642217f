use serde_json::{Value, json};

use super::*;
use crate::api::SecureBucket;
use crate::k8s::fake::{Answer, Requests, server};

fn owner() -> SecureBucket {
    let mut owner = SecureBucket::new("b", Default::default());
    owner.metadata.namespace = Some("ns".into());
    owner.metadata.uid = Some("u1".into());
    owner
}

fn data(value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("config".to_owned(), value.to_owned())])
}

fn existing(owner_uid: &str, value: &str) -> Value {
    json!({
        "metadata": {
            "name": "cm", "namespace": "ns", "uid": "cm-uid", "resourceVersion": "5",
            "labels": {"app.kubernetes.io/managed-by": "securebucket", "securebucket.io/owner-uid": owner_uid, "team": "x"},
            "ownerReferences": [{
                "apiVersion": "securebucket.io/v1alpha1", "kind": "SecureBucket", "name": "b", "uid": "u1",
                "controller": true, "blockOwnerDeletion": false,
            }],
        },
        "data": {"config": value},
    })
}

/// A server with this ConfigMap, or none.
fn with(found: Option<Value>) -> (Client, Requests) {
    server(move |seen| match (seen.method.as_str(), &found) {
        ("GET", None) => Answer::status(404, "NotFound"),
        ("GET", Some(found)) => Answer::ok(found.clone()),
        ("DELETE", _) => Answer::ok(json!({"kind": "Status", "status": "Success"})),
        _ => Answer::ok(seen.body.clone()),
    })
}

#[tokio::test]
async fn an_absent_one_is_created_with_owner_and_marks() {
    let (client, requests) = with(None);
    assert_eq!(apply(&client, &owner(), "cm", data("a")).await.unwrap(), Applied::Created);
    let created = requests.all().pop().unwrap();
    assert_eq!(created.method, "POST");
    assert!(created.query.contains("fieldManager=securebucket%2Fprofile"), "{}", created.query);
    assert_eq!(created.body["metadata"]["labels"]["securebucket.io/owner-uid"], json!("u1"));
    let reference = &created.body["metadata"]["ownerReferences"][0];
    assert_eq!((&reference["controller"], &reference["blockOwnerDeletion"]), (&json!(true), &json!(false)));
    assert_eq!(created.body["data"], json!({"config": "a"}));
}

#[tokio::test]
async fn the_right_one_is_left_alone() {
    let (client, requests) = with(Some(existing("u1", "a")));
    assert_eq!(apply(&client, &owner(), "cm", data("a")).await.unwrap(), Applied::Unchanged);
    assert_eq!(requests.methods(), ["GET"]);
}

#[tokio::test]
async fn a_different_one_is_replaced_at_its_version_and_keeps_what_others_added() {
    let mut found = existing("u1", "old");
    found["data"]["left over"] = json!("x");
    found["metadata"]["labels"]["app.kubernetes.io/managed-by"] = json!("edited");
    let (client, requests) = with(Some(found));
    assert_eq!(apply(&client, &owner(), "cm", data("a")).await.unwrap(), Applied::Updated);
    let put = requests.all().pop().unwrap();
    assert_eq!(put.method, "PUT");
    assert_eq!(put.body["metadata"]["resourceVersion"], json!("5"));
    assert_eq!(put.body["data"], json!({"config": "a"}));
    assert_eq!(put.body["metadata"]["labels"]["team"], json!("x"));
    assert_eq!(put.body["metadata"]["labels"]["app.kubernetes.io/managed-by"], json!("securebucket"));
    assert_eq!(put.body["metadata"]["ownerReferences"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn somebody_elses_is_refused_by_name() {
    for found in [existing("u2", "a"), json!({"metadata": {"name": "cm", "namespace": "ns"}})] {
        let (client, requests) = with(Some(found));
        let error = apply(&client, &owner(), "cm", data("a")).await.unwrap_err();
        assert!(error.to_string().contains("ConfigMap ns/cm"), "{error}");
        assert!(matches!(delete(&client, &owner(), "cm").await, Err(ConfigMapError::NotOurs { .. })));
        assert_eq!(requests.methods(), ["GET", "GET"]);
    }
}

#[tokio::test]
async fn deletion_names_the_uid_that_was_checked() {
    let (client, requests) = with(Some(existing("u1", "a")));
    assert!(delete(&client, &owner(), "cm").await.unwrap());
    assert_eq!(requests.all().pop().unwrap().body["preconditions"], json!({"uid": "cm-uid"}));
    let (client, requests) = with(None);
    assert!(!delete(&client, &owner(), "cm").await.unwrap());
    assert_eq!(requests.methods(), ["GET"]);
}

#[tokio::test]
async fn a_race_is_a_conflict() {
    let (client, _requests) = server(|seen| match seen.method.as_str() {
        "GET" => Answer::status(404, "NotFound"),
        _ => Answer::status(409, "AlreadyExists"),
    });
    assert!(matches!(apply(&client, &owner(), "cm", data("a")).await, Err(ConfigMapError::Conflict { .. })));
}
