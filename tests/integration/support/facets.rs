//! Everything that AWS holds of one SecureBucket, read as root: what the operator says of it is not taken for granted.

use std::collections::BTreeMap;

use aws_sdk_kms::error::ProvideErrorMetadata;
use securebucket::api::SecureBucket;
use securebucket::domain::identity::key_alias;
use serde_json::Value;

use super::World;
use super::world::CLUSTER;

/// Facet → its value in words. Absent ones have no entry. Two readings can be compared.
pub type Facets = BTreeMap<&'static str, String>;

/// Names and ids of what a SecureBucket has in AWS, from its status.
#[derive(Clone, Debug)]
pub struct Ids {
    /// Bucket name.
    pub bucket: String,
    /// Region.
    pub region: String,
    /// ARN of the key.
    pub key: String,
    /// Alias of the key.
    pub alias: String,
    /// Identity: the mark.
    pub identity: String,
}

/// Reads the ids off the status; fails the test if one is missing.
pub fn ids(bucket: &SecureBucket) -> Ids {
    let status = bucket.status.clone().unwrap_or_default();
    let identity = status.identity.expect("status.identity");
    Ids {
        bucket: status.bucket_name.expect("status.bucketName"),
        region: status.region.expect("status.region"),
        key: status.key_arn.expect("status.keyArn"),
        alias: key_alias(CLUSTER, &identity),
        identity,
    }
}

impl World {
    /// Reads all facets.
    pub async fn facets(&self, ids: &Ids) -> Facets {
        let mut all = Facets::new();
        self.bucket_facets(ids, &mut all).await;
        self.key_facets(ids, &mut all).await;
        all
    }

    async fn bucket_facets(&self, ids: &Ids, all: &mut Facets) {
        let s3 = self.root_in(&ids.region).s3;
        let name = &ids.bucket;
        if let Ok(head) = s3.head_bucket().bucket(name).send().await {
            all.insert("bucket", head.bucket_region.unwrap_or_default());
        }
        if let Ok(a) = s3.get_bucket_tagging().bucket(name).send().await {
            all.insert("bucket tags", pairs(a.tag_set.into_iter().map(|t| (t.key, t.value))));
        }
        if let Ok(a) = s3.get_public_access_block().bucket(name).send().await {
            let b = a.public_access_block_configuration.unwrap();
            let switches =
                [b.block_public_acls, b.ignore_public_acls, b.block_public_policy, b.restrict_public_buckets];
            all.insert("public access block", format!("{:?}", switches.map(Option::unwrap_or_default)));
        }
        if let Ok(a) = s3.get_bucket_ownership_controls().bucket(name).send().await {
            let rules = a.ownership_controls.unwrap().rules;
            all.insert("object ownership", rules.iter().map(|r| r.object_ownership.to_string()).collect());
        }
        if let Ok(a) = s3.get_bucket_encryption().bucket(name).send().await {
            let rules = a.server_side_encryption_configuration.unwrap().rules;
            let rule = rules.first().unwrap();
            let by_default = rule.apply_server_side_encryption_by_default.as_ref();
            let blocked = rule.blocked_encryption_types.as_ref().and_then(|b| b.encryption_type.clone());
            let text = format!(
                "{} {} bucket key {} blocked {:?}",
                by_default.map_or("-", |d| d.sse_algorithm.as_str()),
                by_default.and_then(|d| d.kms_master_key_id.as_deref()).unwrap_or("-"),
                rule.bucket_key_enabled.unwrap_or_default(),
                blocked.unwrap_or_default().iter().map(|b| b.as_str().to_owned()).collect::<Vec<_>>(),
            );
            all.insert("encryption", text);
        }
        if let Ok(a) = s3.get_bucket_versioning().bucket(name).send().await {
            all.insert("versioning", a.status.map_or("never".into(), |s| s.as_str().to_owned()));
        }
        if let Ok(a) = s3.get_bucket_lifecycle_configuration().bucket(name).send().await {
            let mut rules: Vec<String> = a.rules.unwrap_or_default().iter().map(|r| format!("{r:?}")).collect();
            rules.sort();
            all.insert("lifecycle", rules.join("\n"));
        }
        if let Ok(a) = s3.get_bucket_policy().bucket(name).send().await {
            all.insert("bucket policy", a.policy.unwrap_or_default());
        }
    }

    async fn key_facets(&self, ids: &Ids, all: &mut Facets) {
        let kms = self.root_in(&ids.region).kms;
        match kms.describe_key().key_id(&ids.key).send().await {
            Ok(a) => {
                all.insert("key", a.key_metadata.unwrap().key_state.unwrap().as_str().to_owned());
            }
            Err(e) if e.code() == Some("NotFoundException") => return,
            Err(e) => panic!("{e:?}"),
        }
        if let Ok(a) = kms.get_key_policy().key_id(&ids.key).send().await {
            all.insert("key policy", a.policy.unwrap_or_default());
        }
        if let Ok(a) = kms.get_key_rotation_status().key_id(&ids.key).send().await {
            let days = a.rotation_period_in_days.filter(|_| a.key_rotation_enabled);
            all.insert("key rotation", days.map_or("off".into(), |d| d.to_string()));
        }
        if let Ok(a) = kms.list_resource_tags().key_id(&ids.key).send().await {
            let tags = a.tags.unwrap_or_default();
            all.insert("key tags", pairs(tags.into_iter().map(|t| (t.tag_key, t.tag_value))));
        }
        if let Ok(a) = kms.describe_key().key_id(&ids.alias).send().await {
            all.insert("alias", a.key_metadata.unwrap().arn.unwrap());
        }
    }

    /// Keys of the account in the world's region.
    pub async fn keys(&self) -> Vec<String> {
        let answer = self.root().kms.list_keys().send().await.unwrap();
        answer.keys.unwrap_or_default().into_iter().filter_map(|k| k.key_arn).collect()
    }

    /// KMS grants on a key, as (name, grantee, operations).
    pub async fn kms_grants(&self, key: &str) -> Vec<(String, String, String)> {
        let answer = self.root().kms.list_grants().key_id(key).send().await.unwrap();
        let grants = answer.grants.unwrap_or_default().into_iter();
        let words = |g: &aws_sdk_kms::types::GrantListEntry| {
            let operations = g.operations.clone().unwrap_or_default();
            operations.iter().map(|o| o.as_str()).collect::<Vec<_>>().join(",")
        };
        grants
            .map(|g| (g.name.clone().unwrap_or_default(), g.grantee_principal.clone().unwrap_or_default(), words(&g)))
            .collect()
    }

    /// Deletes a role by hand. Its policy goes first, and an operator may put that back meanwhile.
    pub async fn delete_role(&self, role: &str) {
        let iam = self.root().iam;
        let gone = || async {
            let _ = iam.delete_role_policy().role_name(role).policy_name("securebucket").send().await;
            iam.delete_role().role_name(role).send().await.ok()
        };
        self.until("the role is deleted by hand", gone).await;
    }

    /// The inline policies of a role, by name; `None` if there is no such role.
    pub async fn role_policies(&self, role: &str) -> Option<BTreeMap<String, String>> {
        let iam = self.root().iam;
        let names = match iam.list_role_policies().role_name(role).send().await {
            Ok(answer) => answer.policy_names,
            Err(e) if e.code() == Some("NoSuchEntity") => return None,
            Err(e) => panic!("{e:?}"),
        };
        let mut all = BTreeMap::new();
        for name in names {
            let answer = match iam.get_role_policy().role_name(role).policy_name(&name).send().await {
                Ok(answer) => answer,
                // Gone between the two questions.
                Err(e) if e.code() == Some("NoSuchEntity") => continue,
                Err(e) => panic!("{e:?}"),
            };
            let text =
                percent_encoding::percent_decode_str(&answer.policy_document).decode_utf8().unwrap().into_owned();
            all.insert(name, text);
        }
        Some(all)
    }

    /// The one document of a ServiceAccount's role as JSON; `Null` if there is no role or no document.
    pub async fn role_document(&self, account: &str) -> Value {
        let policies = self.role_policies(&self.role_name(account)).await.unwrap_or_default();
        policies.get("securebucket").map_or(Value::Null, |text| serde_json::from_str(text).unwrap())
    }
}

/// Sids of the statements of a document.
pub fn sids(document: &str) -> Vec<String> {
    let document: Value = serde_json::from_str(document).unwrap_or_default();
    statements(&document).iter().map(|s| s["Sid"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Statements of a document.
pub fn statements(document: &Value) -> Vec<Value> {
    document["Statement"].as_array().cloned().unwrap_or_default()
}

fn pairs(all: impl Iterator<Item = (String, String)>) -> String {
    let mut all: Vec<String> = all.map(|(k, v)| format!("{k}={v}")).collect();
    all.sort();
    all.join("\n")
}
