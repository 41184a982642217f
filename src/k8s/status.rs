//! Status writes: the whole status, only if it says something new, only onto the version that was read.

use std::fmt::Debug;

use kube::api::{Api, PostParams};
use kube::core::object::HasStatus;
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{ApiError, REQUEST_TIMEOUT, STATUS_MANAGER, within};

/// Why a status was not written.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// The object has changed since it was read: what the pass decided may be out of date. Read it again.
    #[error("the object has changed since it was read")]
    Conflict,
    /// The object is gone.
    #[error("the object is gone")]
    Gone,
    /// The object has no resourceVersion: it was not read from a server, and a write would overwrite whatever is there.
    #[error("the object has no resourceVersion")]
    NotRead,
    /// The request failed.
    #[error(transparent)]
    Api(#[from] ApiError),
}

/// Replaces the status of the object that was read, and returns the object as it is now.
/// Nothing is written if only times of transitions would change: a watch would wake the next pass, and that one write again.
///
/// # Errors
/// If the object has changed since it was read, or the request fails.
pub async fn replace_status<K>(api: &Api<K>, read: &K, status: K::Status) -> Result<K, StatusError>
where
    K: Resource + HasStatus + Clone + DeserializeOwned + Serialize + Debug,
    K::Status: Serialize,
{
    let before = comparable(&read.status())?;
    if before == comparable(&Some(&status))? {
        return Ok(read.clone());
    }
    // Without it the API server would take the write unconditionally.
    if read.meta().resource_version.as_deref().is_none_or(str::is_empty) {
        return Err(StatusError::NotRead);
    }
    let mut object = read.clone();
    *object.status_mut() = Some(status);
    let params = PostParams { field_manager: Some(STATUS_MANAGER.into()), ..PostParams::default() };
    match within(REQUEST_TIMEOUT, api.replace_status(&read.name_any(), &params, &object)).await {
        Ok(fresh) => Ok(fresh),
        Err(e) if e.is_conflict() => Err(StatusError::Conflict),
        Err(e) if e.is_not_found() => Err(StatusError::Gone),
        Err(e) => Err(e.into()),
    }
}

/// The status without the times of transitions. An absent status is an empty one.
fn comparable<S: Serialize>(status: &Option<S>) -> Result<Value, ApiError> {
    let mut value = serde_json::to_value(status).map_err(|e| ApiError::Kube(kube::Error::SerdeError(e)))?;
    if let Some(Value::Array(conditions)) = value.get_mut("conditions") {
        for condition in conditions.iter_mut().filter_map(Value::as_object_mut) {
            condition.remove("lastTransitionTime");
        }
    }
    Ok(if value.is_null() { Value::Object(serde_json::Map::new()) } else { value })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
    use serde_json::json;

    use super::*;
    use crate::api::{SecureBucket, SecureBucketStatus};
    use crate::k8s::fake::{Answer, server};

    fn condition(at: &str, message: &str) -> Condition {
        Condition {
            type_: "Ready".into(),
            status: "True".into(),
            reason: "Reconciled".into(),
            message: message.into(),
            last_transition_time: Time(at.parse().unwrap()),
            observed_generation: Some(1),
        }
    }

    fn status(at: &str, message: &str) -> SecureBucketStatus {
        SecureBucketStatus { conditions: vec![condition(at, message)], ..SecureBucketStatus::default() }
    }

    fn bucket(status: Option<SecureBucketStatus>) -> SecureBucket {
        let mut bucket = SecureBucket::new("b", Default::default());
        bucket.metadata.namespace = Some("ns".into());
        bucket.metadata.resource_version = Some("7".into());
        bucket.status = status;
        bucket
    }

    const T1: &str = "2026-01-01T00:00:00Z";
    const T2: &str = "2026-01-02T00:00:00Z";

    #[tokio::test]
    async fn equal_but_for_transition_times_is_not_written() {
        let (client, requests) = server(|_| Answer::status(500, "Internal"));
        let api: Api<SecureBucket> = Api::namespaced(client, "ns");
        replace_status(&api, &bucket(Some(status(T1, "m"))), status(T2, "m")).await.unwrap();
        replace_status(&api, &bucket(None), SecureBucketStatus::default()).await.unwrap();
        assert!(requests.all().is_empty());
    }

    #[tokio::test]
    async fn a_change_is_put_with_the_version_that_was_read() {
        let (client, requests) = server(|seen| Answer::ok(seen.body.clone()));
        let api: Api<SecureBucket> = Api::namespaced(client, "ns");
        let fresh = replace_status(&api, &bucket(Some(status(T1, "m"))), status(T1, "other")).await.unwrap();
        assert_eq!(fresh.status.unwrap().conditions[0].message, "other");
        let request = requests.only();
        assert_eq!((request.method.as_str(), request.query.as_str()), ("PUT", "&fieldManager=securebucket%2Fstatus"));
        assert!(request.path.ends_with("/namespaces/ns/securebuckets/b/status"), "{}", request.path);
        assert_eq!(request.body["metadata"]["resourceVersion"], json!("7"));
    }

    #[tokio::test]
    async fn answers_are_told_apart() {
        for (code, reason) in [(409, "Conflict"), (404, "NotFound"), (403, "Forbidden")] {
            let (client, _requests) = server(move |_| Answer::status(code, reason));
            let api: Api<SecureBucket> = Api::namespaced(client, "ns");
            let error = replace_status(&api, &bucket(None), status(T1, "m")).await.unwrap_err();
            match code {
                409 => assert!(matches!(error, StatusError::Conflict)),
                404 => assert!(matches!(error, StatusError::Gone)),
                _ => assert!(matches!(error, StatusError::Api(e) if e.is_forbidden())),
            }
        }
    }

    #[tokio::test]
    async fn an_object_that_was_never_read_is_not_written() {
        let (client, requests) = server(|_| Answer::status(500, "Internal"));
        let api: Api<SecureBucket> = Api::namespaced(client, "ns");
        let mut new = bucket(None);
        new.metadata.resource_version = None;
        assert!(matches!(replace_status(&api, &new, status(T1, "m")).await, Err(StatusError::NotRead)));
        assert!(requests.all().is_empty());
    }
}
