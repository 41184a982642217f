//! ConfigMaps that we own: one object's AWS profile, in its own namespace.
//!
//! A ConfigMap of the right name without our mark is somebody else's and is not touched. A create fails if there is one, and a change names
//! the version that was read: server-side apply would merge into whatever had appeared under the name in between.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{Api, DeleteParams, PostParams, Preconditions};
use kube::{Client, Resource};

use super::{ApiError, PROFILE_MANAGER, REQUEST_TIMEOUT, within};

/// Label of everything that the operator makes in Kubernetes.
const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "securebucket");
/// Label: uid of the owner.
pub const OWNER_UID: &str = "securebucket.io/owner-uid";

/// Why a ConfigMap was not written or deleted.
#[derive(Debug, thiserror::Error)]
pub enum ConfigMapError {
    /// There is one of this name that is not the owner's.
    #[error(
        "ConfigMap {namespace}/{name} exists and does not carry the label {OWNER_UID}={owner_uid}; \
         rename or delete it, and it will be made"
    )]
    NotOurs {
        /// Namespace.
        namespace: String,
        /// Name.
        name: String,
        /// Uid that the label would have.
        owner_uid: String,
    },
    /// It changed between the read and the write; again soon.
    #[error("ConfigMap {namespace}/{name} has changed since it was read")]
    Conflict {
        /// Namespace.
        namespace: String,
        /// Name.
        name: String,
    },
    /// The owner has no namespace, name or uid: it was not read from a server.
    #[error("the owner was not read from a server")]
    NotRead,
    /// The request failed.
    #[error(transparent)]
    Api(#[from] ApiError),
}

impl ConfigMapError {
    /// True if trying again changes nothing: somebody else's, or refused.
    pub fn is_final(&self) -> bool {
        match self {
            Self::NotOurs { .. } | Self::NotRead => true,
            Self::Conflict { .. } => false,
            Self::Api(e) => e.is_forbidden(),
        }
    }
}

/// What [`apply`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It was as it should be.
    Unchanged,
    /// It was made.
    Created,
    /// It was changed.
    Updated,
}

/// Makes the ConfigMap `name` in the owner's namespace have exactly this data.
///
/// # Errors
/// If one of that name is not the owner's, or a request fails.
pub async fn apply<O>(
    client: &Client,
    owner: &O,
    name: &str,
    data: BTreeMap<String, String>,
) -> Result<Applied, ConfigMapError>
where
    O: Resource<DynamicType = ()>,
{
    let owned = Owned::new(client, owner, name)?;
    let params = PostParams { field_manager: Some(PROFILE_MANAGER.into()), ..PostParams::default() };
    let Some(mut config_map) = owned.get().await? else {
        let fresh = owned.desired(data);
        return match within(REQUEST_TIMEOUT, owned.api.create(&params, &fresh)).await {
            Ok(_) => Ok(Applied::Created),
            Err(e) => Err(owned.error(e)),
        };
    };
    owned.check(&config_map)?;
    let desired = owned.desired(data);
    if owned.agrees(&config_map, &desired) {
        return Ok(Applied::Unchanged);
    }
    // Labels, annotations and owners that others added stay; data is ours alone.
    config_map.data = desired.data;
    config_map.binary_data = None;
    let labels = config_map.metadata.labels.get_or_insert_default();
    labels.extend(desired.metadata.labels.unwrap_or_default());
    let owners = config_map.metadata.owner_references.get_or_insert_default();
    owners.retain(|o| o.uid != owned.reference.uid);
    owners.push(owned.reference.clone());
    match within(REQUEST_TIMEOUT, owned.api.replace(name, &params, &config_map)).await {
        Ok(_) => Ok(Applied::Updated),
        Err(e) => Err(owned.error(e)),
    }
}

/// Deletes the ConfigMap `name` in the owner's namespace if it is the owner's. True if there was one to delete.
///
/// # Errors
/// If one of that name is not the owner's, or a request fails.
pub async fn delete<O>(client: &Client, owner: &O, name: &str) -> Result<bool, ConfigMapError>
where
    O: Resource<DynamicType = ()>,
{
    let owned = Owned::new(client, owner, name)?;
    let Some(config_map) = owned.get().await? else { return Ok(false) };
    owned.check(&config_map)?;
    let preconditions = Preconditions { uid: config_map.metadata.uid, resource_version: None };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    match within(REQUEST_TIMEOUT, owned.api.delete(name, &params)).await {
        Ok(_) => Ok(true),
        Err(e) if e.is_not_found() => Ok(false),
        Err(e) => Err(owned.error(e)),
    }
}

/// A ConfigMap's place and its owner.
struct Owned<'a> {
    api: Api<ConfigMap>,
    namespace: String,
    name: &'a str,
    reference: OwnerReference,
}

impl<'a> Owned<'a> {
    fn new<O: Resource<DynamicType = ()>>(client: &Client, owner: &O, name: &'a str) -> Result<Self, ConfigMapError> {
        let namespace = owner.meta().namespace.clone().ok_or(ConfigMapError::NotRead)?;
        let mut reference = owner.controller_owner_ref(&()).ok_or(ConfigMapError::NotRead)?;
        // Deleting the owner in the foreground must not wait for a ConfigMap. True would also need the right to change the owner's
        // finalizers where OwnerReferencesPermissionEnforcement is on.
        reference.block_owner_deletion = Some(false);
        Ok(Self { api: Api::namespaced(client.clone(), &namespace), namespace, name, reference })
    }

    async fn get(&self) -> Result<Option<ConfigMap>, ApiError> {
        within(REQUEST_TIMEOUT, self.api.get_opt(self.name)).await
    }

    fn desired(&self, data: BTreeMap<String, String>) -> ConfigMap {
        let labels =
            [(MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned()), (OWNER_UID.into(), self.reference.uid.clone())];
        ConfigMap {
            metadata: ObjectMeta {
                name: Some(self.name.into()),
                namespace: Some(self.namespace.clone()),
                labels: Some(labels.into()),
                owner_references: Some(vec![self.reference.clone()]),
                ..ObjectMeta::default()
            },
            data: Some(data),
            ..ConfigMap::default()
        }
    }

    fn check(&self, found: &ConfigMap) -> Result<(), ConfigMapError> {
        let uid = found.metadata.labels.as_ref().and_then(|l| l.get(OWNER_UID));
        if uid == Some(&self.reference.uid) {
            return Ok(());
        }
        Err(ConfigMapError::NotOurs {
            namespace: self.namespace.clone(),
            name: self.name.into(),
            owner_uid: self.reference.uid.clone(),
        })
    }

    fn agrees(&self, found: &ConfigMap, desired: &ConfigMap) -> bool {
        let labels = found.metadata.labels.clone().unwrap_or_default();
        found.data == desired.data
            && found.binary_data.is_none()
            && desired.metadata.labels.iter().flatten().all(|(k, v)| labels.get(k) == Some(v))
            && found.metadata.owner_references.iter().flatten().any(|o| *o == self.reference)
    }

    fn error(&self, error: ApiError) -> ConfigMapError {
        if error.is_conflict() {
            return ConfigMapError::Conflict { namespace: self.namespace.clone(), name: self.name.into() };
        }
        error.into()
    }
}

#[cfg(test)]
#[path = "configmap_tests.rs"]
mod tests;
