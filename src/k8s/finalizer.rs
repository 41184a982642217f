//! Finalizers, by JSON patches that fail rather than touch an object or an entry other than the one that was read.
//!
//! kube's `finalizer()` helper wraps a whole reconcile and asks for `await_change` after adding; adding does not change the generation, so
//! the object would sit until something else happens to it. These two functions return the fresh object instead, and the pass goes on.

use std::fmt::Debug;

use kube::api::{Api, Patch, PatchParams};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{ApiError, FINALIZER_MANAGER, REQUEST_TIMEOUT, within};

/// Why a finalizer was not added or removed.
#[derive(Debug, thiserror::Error)]
pub enum FinalizerError {
    /// The object has changed since it was read; read it again.
    #[error("the object has changed since it was read")]
    Stale,
    /// The object is being deleted, or is gone: a finalizer can no longer be added.
    #[error("the object is being deleted")]
    Deleting,
    /// The object has no name or uid: it was not read from a server.
    #[error("the object has no {0}")]
    NotRead(&'static str),
    /// The request failed.
    #[error(transparent)]
    Api(#[from] ApiError),
}

/// Adds the finalizer and returns the object as it is now.
///
/// # Errors
/// If the object is being deleted or has changed since it was read, or the request fails.
pub async fn add<K>(api: &Api<K>, object: &K, finalizer: &str) -> Result<K, FinalizerError>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    if object.finalizers().iter().any(|f| f == finalizer) {
        return Ok(object.clone());
    }
    if object.meta().deletion_timestamp.is_some() {
        return Err(FinalizerError::Deleting);
    }
    let operations = match object.finalizers() {
        // A test against null passes where there is nothing.
        [] => json!([
            {"op": "test", "path": "/metadata/finalizers", "value": null},
            {"op": "add", "path": "/metadata/finalizers", "value": [finalizer]},
        ]),
        others => json!([
            {"op": "test", "path": "/metadata/finalizers", "value": others},
            {"op": "add", "path": "/metadata/finalizers/-", "value": finalizer},
        ]),
    };
    match patch(api, object, operations).await {
        Ok(fresh) => Ok(fresh),
        Err(FinalizerError::Api(e)) if e.is_not_found() => Err(FinalizerError::Deleting),
        Err(e) => Err(e),
    }
}

/// Removes the finalizer and returns the object as it is now; `None` if it was gone already.
///
/// # Errors
/// If the object has changed since it was read, or the request fails.
pub async fn remove<K>(api: &Api<K>, object: &K, finalizer: &str) -> Result<Option<K>, FinalizerError>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    let Some(index) = object.finalizers().iter().position(|f| f == finalizer) else {
        return Ok(Some(object.clone()));
    };
    let path = format!("/metadata/finalizers/{index}");
    let operations = json!([
        {"op": "test", "path": path, "value": finalizer},
        {"op": "remove", "path": path},
    ]);
    match patch(api, object, operations).await {
        Ok(fresh) => Ok(Some(fresh)),
        Err(FinalizerError::Api(e)) if e.is_not_found() => Ok(None),
        Err(e) => Err(e),
    }
}

async fn patch<K>(api: &Api<K>, object: &K, operations: Value) -> Result<K, FinalizerError>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    let name = object.meta().name.as_deref().ok_or(FinalizerError::NotRead("name"))?;
    let uid = object.meta().uid.as_deref().ok_or(FinalizerError::NotRead("uid"))?;
    // Another object of this name, made since, is not ours to hold or to release.
    let mut all = vec![json!({"op": "test", "path": "/metadata/uid", "value": uid})];
    if let Value::Array(operations) = operations {
        all.extend(operations);
    }
    let patch = serde_json::from_value(Value::Array(all)).map_err(|e| ApiError::Kube(kube::Error::SerdeError(e)))?;
    let params = PatchParams { field_manager: Some(FINALIZER_MANAGER.into()), ..PatchParams::default() };
    match within(REQUEST_TIMEOUT, api.patch(name, &params, &Patch::Json::<()>(patch))).await {
        Ok(fresh) => Ok(fresh),
        // A failed test operation is answered with 422 (apiserver, jsonPatcher.applyPatchToCurrentObject); a race with 409.
        Err(e) if e.is_conflict() || e.status() == Some(422) => Err(FinalizerError::Stale),
        Err(e) => Err(e.into()),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;
    use crate::k8s::fake::{Answer, server};

    const OURS: &str = "securebucket.io/x";

    fn object(finalizers: &[&str], deleting: bool) -> ConfigMap {
        let mut meta = json!({"name": "n", "namespace": "ns", "uid": "u", "finalizers": finalizers});
        if deleting {
            meta["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        serde_json::from_value(json!({"metadata": meta})).unwrap()
    }

    #[tokio::test]
    async fn adding_tests_uid_and_the_whole_list() {
        for (before, test) in [(&[][..], json!(null)), (&["other/y"][..], json!(["other/y"]))] {
            let (client, requests) =
                server(|_| Answer::ok(json!({"metadata": {"name": "n", "uid": "u", "finalizers": ["a/b"]}})));
            let api: Api<ConfigMap> = Api::namespaced(client, "ns");
            let fresh = add(&api, &object(before, false), OURS).await.unwrap();
            assert_eq!(fresh.finalizers(), ["a/b"], "what the server answered");
            let request = requests.only();
            assert_eq!(request.method, "PATCH");
            assert_eq!(request.content_type, "application/json-patch+json");
            assert_eq!(request.body[0], json!({"op": "test", "path": "/metadata/uid", "value": "u"}));
            assert_eq!(request.body[1], json!({"op": "test", "path": "/metadata/finalizers", "value": test}));
        }
    }

    #[tokio::test]
    async fn removing_tests_index_and_value() {
        let (client, requests) = server(|_| Answer::ok(json!({"metadata": {"name": "n"}})));
        let api: Api<ConfigMap> = Api::namespaced(client, "ns");
        remove(&api, &object(&["other/y", OURS], true), OURS).await.unwrap().unwrap();
        assert_eq!(
            requests.only().body,
            json!([
                {"op": "test", "path": "/metadata/uid", "value": "u"},
                {"op": "test", "path": "/metadata/finalizers/1", "value": OURS},
                {"op": "remove", "path": "/metadata/finalizers/1"},
            ])
        );
    }

    #[tokio::test]
    async fn nothing_to_do_makes_no_request() {
        let (client, requests) = server(|_| Answer::status(500, "Internal"));
        let api: Api<ConfigMap> = Api::namespaced(client, "ns");
        add(&api, &object(&[OURS], false), OURS).await.unwrap();
        remove(&api, &object(&[], true), OURS).await.unwrap();
        assert!(matches!(add(&api, &object(&[], true), OURS).await, Err(FinalizerError::Deleting)));
        assert!(requests.all().is_empty());
    }

    #[tokio::test]
    async fn answers_are_told_apart() {
        for (code, reason) in [(409, "Conflict"), (422, "Invalid")] {
            let (client, _requests) = server(move |_| Answer::status(code, reason));
            let api: Api<ConfigMap> = Api::namespaced(client, "ns");
            assert!(matches!(add(&api, &object(&[], false), OURS).await, Err(FinalizerError::Stale)));
            assert!(matches!(remove(&api, &object(&[OURS], true), OURS).await, Err(FinalizerError::Stale)));
        }
        let (client, _requests) = server(|_| Answer::status(404, "NotFound"));
        let api: Api<ConfigMap> = Api::namespaced(client, "ns");
        assert!(matches!(add(&api, &object(&[], false), OURS).await, Err(FinalizerError::Deleting)));
        assert!(remove(&api, &object(&[OURS], true), OURS).await.unwrap().is_none());
    }
}
