//! A wrapper that lets a list or watch go on past an object that cannot be decoded.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::DeserializeGuard;
use serde::Deserialize;

/// kube's `DeserializeGuard`, which does not pass on whether the kind inside asks for metadata alone (`Resource::metadata_api`, kube 5.0):
/// with it, whole objects would be fetched for `PartialObjectMeta`.
#[derive(Clone, Debug)]
pub(super) struct Guarded<K>(DeserializeGuard<K>);

impl<K> Guarded<K> {
    /// The object; or its uid and why it cannot be decoded.
    pub(super) fn into_result(self) -> Result<K, (Option<String>, String)> {
        self.0.0.map_err(|invalid| (invalid.metadata.uid, invalid.error))
    }
}

impl<'de, K: Deserialize<'de> + Resource> Deserialize<'de> for Guarded<K> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        DeserializeGuard::deserialize(deserializer).map(Self)
    }
}

impl<K: Resource> Resource for Guarded<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn metadata_api() -> bool {
        K::metadata_api()
    }

    fn kind(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::kind(dt)
    }

    fn group(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::group(dt)
    }

    fn version(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::version(dt)
    }

    fn plural(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::plural(dt)
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.meta()
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.meta_mut()
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
    use kube::core::PartialObjectMeta;
    use serde_json::json;

    use super::*;

    #[test]
    fn metadata_requests_stay_metadata_requests() {
        assert!(Guarded::<PartialObjectMeta<ServiceAccount>>::metadata_api());
        assert!(!Guarded::<Pod>::metadata_api());
    }

    #[test]
    fn a_bad_object_keeps_its_name() {
        let bad: Guarded<Pod> =
            serde_json::from_value(json!({"metadata": {"name": "n", "uid": "u"}, "spec": {"containers": "x"}}))
                .unwrap();
        assert_eq!(bad.meta().name.as_deref(), Some("n"));
        let (uid, error) = bad.into_result().unwrap_err();
        assert_eq!(uid.as_deref(), Some("u"));
        assert!(error.contains("Expected a sequence"), "{error}");
    }
}
