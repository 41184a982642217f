//! Both worlds of a run as one value: every object of the namespace that matters, and the whole AWS account.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams};
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::mask::{Mask, lines};
use crate::support::account::OPERATOR_ROLE;
use crate::support::{AwsClients, World};

/// Both worlds, comparable with those of another run.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Unmasked, for checks of this world alone.
    pub raw: Value,
    /// Masked, as lines.
    pub lines: Vec<String>,
}

impl Snapshot {
    /// Takes a snapshot.
    pub async fn take(world: &World, root: &AwsClients, mask: &Mask) -> Self {
        let (kube, keys, buckets, roles) = tokio::join!(kube(world), keys(root), buckets(root), roles(root));
        let raw = json!({"kubernetes": kube, "keys": keys, "buckets": buckets, "roles": roles});
        let mut mask = mask.clone();
        for key in raw["keys"].as_array().into_iter().flatten() {
            mask.add(key["id"].as_str().unwrap_or_default(), "<key>");
        }
        Self { lines: lines(&mask.value(&raw)), raw }
    }
}

async fn kube(world: &World) -> Value {
    let (ns, client) = (&world.namespace, &world.client);
    let (buckets, grants) = (world.buckets(), world.grants());
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), ns);
    let reviews = world.reviews();
    let (buckets, grants, reviews, maps) =
        tokio::join!(objects(&buckets), objects(&grants), objects(&reviews), objects(&maps));
    json!({"securebuckets": buckets, "decryptgrants": grants, "grantreviews": reviews, "configmaps": maps})
}

async fn objects<K>(api: &Api<K>) -> Value
where
    K: Resource + Clone + DeserializeOwned + Serialize + std::fmt::Debug,
{
    let mut all = Map::new();
    for object in api.list(&ListParams::default()).await.expect("the API server lists") {
        let meta = object.meta();
        let held = json!({
            "finalizers": meta.finalizers, "deleting": meta.deletion_timestamp.is_some(), "labels": meta.labels,
            "owners": meta.owner_references.iter().flatten().map(|o| format!("{} {}", o.kind, o.name)).collect::<Vec<_>>(),
        });
        let mut value = serde_json::to_value(&object).expect("an object is JSON");
        value["metadata"] = held;
        if let Some(Value::Array(conditions)) = value.pointer_mut("/status/conditions") {
            conditions.sort_by_key(|c| c["type"].to_string());
        }
        // Names of KMS grants carry hashes over ids.
        if let Some(named) = value.pointer_mut("/status/kmsGrant") {
            named["name"] = json!("<name>");
            named["id"] = json!(named["id"].is_string());
        }
        for id in ["/status/lockdown/id", "/status/lastLockdown/id"] {
            if let Some(id) = value.pointer_mut(id) {
                *id = json!("<id>");
            }
        }
        all.insert(object.name_any(), value);
    }
    Value::Object(all)
}

async fn keys(root: &AwsClients) -> Value {
    let kms = &root.kms;
    let listed = kms.list_keys().limit(1000).send().await.expect("ListKeys");
    let aliases = kms.list_aliases().send().await.expect("ListAliases").aliases.unwrap_or_default();
    let mut all = Vec::new();
    for arn in listed.keys.unwrap_or_default().into_iter().filter_map(|k| k.key_arn) {
        let (head, policy, tags, rotation, grants) = tokio::join!(
            kms.describe_key().key_id(&arn).send(),
            kms.get_key_policy().key_id(&arn).send(),
            kms.list_resource_tags().key_id(&arn).send(),
            kms.get_key_rotation_status().key_id(&arn).send(),
            kms.list_grants().key_id(&arn).send(),
        );
        let head = head.expect("DescribeKey").key_metadata.expect("metadata");
        let named = aliases.iter().filter(|a| a.target_key_id.as_ref() == Some(&head.key_id));
        let tags = tags.expect("ListResourceTags").tags.unwrap_or_default();
        let grants = grants.expect("ListGrants").grants.unwrap_or_default();
        let grants = grants.iter().map(|g| {
            let operations: Vec<&str> = g.operations.iter().flatten().map(|o| o.as_str()).collect();
            json!({"grantee": g.grantee_principal, "operations": operations, "constraints": g.constraints.is_some()})
        });
        let tags = sorted(tags.into_iter().map(|t| {
            let value = if t.tag_key.ends_with("/attempt") { "<attempt>".to_owned() } else { t.tag_value };
            (t.tag_key, json!(value))
        }));
        let rotation = rotation.ok();
        all.push(json!({
            "id": head.key_id,
            "state": head.key_state.map(|s| s.as_str().to_owned()),
            "description": head.description,
            "aliases": named.filter_map(|a| a.alias_name.clone()).collect::<Vec<_>>(),
            "policy": document(policy.expect("GetKeyPolicy").policy.as_deref()),
            "tags": tags,
            "rotation": rotation.map(|r| json!([r.key_rotation_enabled, r.rotation_period_in_days])),
            "grants": grants.collect::<Vec<_>>(),
        }));
    }
    Value::Array(all)
}

async fn buckets(root: &AwsClients) -> Value {
    let s3 = &root.s3;
    let mut all = Map::new();
    for name in s3.list_buckets().send().await.expect("ListBuckets").buckets().iter().filter_map(|b| b.name.clone()) {
        let (tags, block, owners, encryption, versioning, lifecycle, policy) = tokio::join!(
            s3.get_bucket_tagging().bucket(&name).send(),
            s3.get_public_access_block().bucket(&name).send(),
            s3.get_bucket_ownership_controls().bucket(&name).send(),
            s3.get_bucket_encryption().bucket(&name).send(),
            s3.get_bucket_versioning().bucket(&name).send(),
            s3.get_bucket_lifecycle_configuration().bucket(&name).send(),
            s3.get_bucket_policy().bucket(&name).send(),
        );
        let tags = tags.map(|t| t.tag_set).unwrap_or_default();
        let policy = policy.ok().and_then(|p| p.policy);
        let facets = json!({
            "tags": sorted(tags.into_iter().map(|t| (t.key, json!(t.value)))),
            "publicAccessBlock": format!("{:?}", block.ok().and_then(|b| b.public_access_block_configuration)),
            "ownership": format!("{:?}", owners.ok().and_then(|o| o.ownership_controls)),
            "encryption": format!("{:?}", encryption.ok().and_then(|e| e.server_side_encryption_configuration)),
            "versioning": format!("{:?}", versioning.ok().and_then(|v| v.status)),
            "lifecycle": format!("{:?}", lifecycle.ok().and_then(|l| l.rules)),
            "policy": document(policy.as_deref()),
        });
        all.insert(name, facets);
    }
    Value::Object(all)
}

/// Number of workload roles.
pub async fn count_roles(root: &AwsClients) -> usize {
    list_roles(root).await.len()
}

async fn list_roles(root: &AwsClients) -> Vec<String> {
    let listed = root.iam.list_roles().send().await.expect("ListRoles").roles;
    listed.into_iter().map(|r| r.role_name).filter(|n| n != OPERATOR_ROLE).collect()
}

async fn roles(root: &AwsClients) -> Value {
    let iam = &root.iam;
    let mut all = Map::new();
    for name in list_roles(root).await {
        let (head, inline, attached) = tokio::join!(
            iam.get_role().role_name(&name).send(),
            iam.list_role_policies().role_name(&name).send(),
            iam.list_attached_role_policies().role_name(&name).send(),
        );
        // It may have gone since it was listed.
        let (Ok(head), Ok(inline), Ok(attached)) = (head, inline, attached) else { continue };
        let Some(role) = head.role else { continue };
        let mut policies = Map::new();
        for policy in inline.policy_names {
            let found = iam.get_role_policy().role_name(&name).policy_name(&policy).send().await;
            policies.insert(policy, document(found.ok().map(|p| decoded(&p.policy_document)).as_deref()));
        }
        let attached = attached.attached_policies.unwrap_or_default();
        let value = json!({
            "arn": role.arn,
            "trust": document(role.assume_role_policy_document.as_deref().map(decoded).as_deref()),
            "boundary": role.permissions_boundary.and_then(|b| b.permissions_boundary_arn),
            "tags": sorted(role.tags.unwrap_or_default().into_iter().map(|t| (t.key, json!(t.value)))),
            "inline": policies,
            "attached": attached.into_iter().filter_map(|p| p.policy_arn).collect::<Vec<_>>(),
        });
        all.insert(name, value);
    }
    Value::Object(all)
}

fn decoded(document: &str) -> String {
    percent_encoding::percent_decode_str(document).decode_utf8_lossy().into_owned()
}

fn document(text: Option<&str>) -> Value {
    text.map_or(Value::Null, |t| serde_json::from_str(t).unwrap_or_else(|_| json!(t)))
}

fn sorted(pairs: impl Iterator<Item = (String, Value)>) -> Value {
    Value::Object(pairs.collect::<Map<_, _>>())
}
