//! KMS.

use aws_sdk_kms::Client;
use aws_sdk_kms::config::retry::RetryConfig;
use aws_sdk_kms::error::BuildError;
use aws_sdk_kms::types;

use super::calls::Call;
use super::error::{AwsError, AwsErrorKind};
use super::funnel::{Way, next_page, unexpected};
use crate::bucket::observed::KeyState;
use crate::domain::policy::Document;
use crate::domain::tags::Tags;
use crate::role::observed::ObservedGrant;

/// Items per page of a list: the most that all of the lists take (ListGrants 100, ListResourceTags 50, the others 1000 and 100).
const PAGE: i32 = 100;
const TAG_PAGE: i32 = 50;
const KEY_PAGE: i32 = 1000;

/// What DescribeKey says of a key, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyHead {
    /// ARN.
    pub arn: String,
    /// Id.
    pub id: String,
    /// State.
    pub state: KeyState,
}

/// KMS in one region.
#[derive(Clone, Debug)]
pub struct Kms {
    way: Way,
    client: Client,
}

impl Kms {
    pub(super) fn new(way: Way, client: Client) -> Self {
        Self { way, client }
    }

    /// A key, by id, ARN or `alias/…`.
    ///
    /// # Errors
    /// `NotFound` if there is no such key or alias.
    pub async fn describe_key(&self, key: &str) -> Result<KeyHead, AwsError> {
        let answer = self.way.call(key, self.client.describe_key().key_id(key).send()).await?;
        head(Call::DescribeKey, key, answer.key_metadata)
    }

    /// Creates a symmetric single-region key whose material KMS makes. KMS refuses a policy that would lock us out.
    ///
    /// # Errors
    /// If AWS refuses or does not answer. After a lost answer there may be a key: look for its tags.
    pub async fn create_key(&self, description: &str, policy: &Document, tags: &Tags) -> Result<KeyHead, AwsError> {
        let tags = tag_set(tags).map_err(|e| invalid(Call::CreateKey, description, &e))?;
        let request = self
            .client
            .create_key()
            .description(description)
            .key_spec(types::KeySpec::SymmetricDefault)
            .key_usage(types::KeyUsageType::EncryptDecrypt)
            .origin(types::OriginType::AwsKms)
            .multi_region(false)
            .policy(policy.render())
            .set_tags(Some(tags));
        // KMS has no idempotency token for this call: a retry by the SDK after a lost answer would make a second key. Whoever called looks
        // for the first one by its tags.
        let once = aws_sdk_kms::config::Builder::new().retry_config(RetryConfig::disabled());
        let sending = request.customize().config_override(once).send();
        let answer = self.way.call(description, sending).await?;
        head(Call::CreateKey, description, answer.key_metadata)
    }

    /// Names a key `alias/…`.
    ///
    /// # Errors
    /// `AlreadyExists` if the alias is taken.
    pub async fn create_alias(&self, alias: &str, key: &str) -> Result<(), AwsError> {
        let request = self.client.create_alias().alias_name(alias).target_key_id(key);
        self.way.call(alias, request.send()).await.map(drop)
    }

    /// Points an alias at another key.
    ///
    /// # Errors
    /// If AWS refuses or does not answer.
    pub async fn update_alias(&self, alias: &str, key: &str) -> Result<(), AwsError> {
        let request = self.client.update_alias().alias_name(alias).target_key_id(key);
        self.way.call(alias, request.send()).await.map(drop)
    }

    /// Tags of a key.
    ///
    /// # Errors
    /// If AWS refuses or does not answer.
    pub async fn key_tags(&self, key: &str) -> Result<Tags, AwsError> {
        let (mut tags, mut marker) = (Tags::new(), None);
        loop {
            let request = self.client.list_resource_tags().key_id(key).limit(TAG_PAGE).set_marker(marker);
            let page = self.way.call(key, request.send()).await?;
            tags.extend(page.tags.unwrap_or_default().into_iter().map(|t| (t.tag_key, t.tag_value)));
            marker = next_page(Call::ListResourceTags, key, page.truncated, page.next_marker)?;
            if marker.is_none() {
                return Ok(tags);
            }
        }
    }

    /// ARNs of all keys of the account in this region.
    ///
    /// # Errors
    /// If AWS refuses or does not answer.
    pub async fn list_keys(&self) -> Result<Vec<String>, AwsError> {
        let (resource, mut keys, mut marker) = ("all keys", Vec::new(), None);
        loop {
            let request = self.client.list_keys().limit(KEY_PAGE).set_marker(marker);
            let page = self.way.call(resource, request.send()).await?;
            keys.extend(page.keys.unwrap_or_default().into_iter().filter_map(|k| k.key_arn));
            marker = next_page(Call::ListKeys, resource, page.truncated, page.next_marker)?;
            if marker.is_none() {
                return Ok(keys);
            }
        }
    }

    /// All aliases of the account in this region that point to a key: `(alias/…, key id)`.
    ///
    /// # Errors
    /// If AWS refuses or does not answer.
    pub async fn list_aliases(&self) -> Result<Vec<(String, String)>, AwsError> {
        let (resource, mut aliases, mut marker) = ("all aliases", Vec::new(), None);
        loop {
            let request = self.client.list_aliases().limit(PAGE).set_marker(marker);
            let page = self.way.call(resource, request.send()).await?;
            // Aliases of AWS services that are not in use yet have no key.
            aliases
                .extend(page.aliases.unwrap_or_default().into_iter().filter_map(|a| a.alias_name.zip(a.target_key_id)));
            marker = next_page(Call::ListAliases, resource, page.truncated, page.next_marker)?;
            if marker.is_none() {
                return Ok(aliases);
            }
        }
    }

    /// Key policy.
    ///
    /// # Errors
    /// `Invalid` if it cannot be read as a policy.
    pub async fn key_policy(&self, key: &str) -> Result<Document, AwsError> {
        let answer = self.way.call(key, self.client.get_key_policy().key_id(key).send()).await?;
        Document::parse(&answer.policy.unwrap_or_default())
            .map_err(|e| unexpected(Call::GetKeyPolicy, AwsErrorKind::Invalid, key, e))
    }

    /// Replaces the key policy. KMS refuses one that would lock us out.
    ///
    /// # Errors
    /// If AWS refuses or does not answer.
    pub async fn put_key_policy(&self, key: &str, policy: &Document) -> Result<(), AwsError> {
        let request = self.client.put_key_policy().key_id(key).policy(policy.render());
        self.way.call(key, request.send()).await.map(drop)
    }

    /// Days between rotations; `None` if rotation is off.
    ///
    /// # Errors
    /// If AWS refuses or does not answer.
    pub async fn rotation(&self, key: &str) -> Result<Option<i32>, AwsError> {
        let answer = self.way.call(key, self.client.get_key_rotation_status().key_id(key).send()).await?;
        // 365 is the period when none was chosen (KMS API, EnableKeyRotation).
        Ok(answer.key_rotation_enabled.then(|| answer.rotation_period_in_days.unwrap_or(365)))
    }

    /// Turns rotation on.
    ///
    /// # Errors
    /// If AWS refuses or does not answer.
    pub async fn enable_rotation(&self, key: &str, days: i32) -> Result<(), AwsError> {
        let request = self.client.enable_key_rotation().key_id(key).rotation_period_in_days(days);
        self.way.call(key, request.send()).await.map(drop)
    }

    /// Sets tags; others stay.
    ///
    /// # Errors
    /// If AWS refuses or does not answer.
    pub async fn tag_key(&self, key: &str, tags: &Tags) -> Result<(), AwsError> {
        let tags = tag_set(tags).map_err(|e| invalid(Call::TagResource, key, &e))?;
        let request = self.client.tag_resource().key_id(key).set_tags(Some(tags));
        self.way.call(key, request.send()).await.map(drop)
    }

    /// Removes tags by their keys.
    ///
    /// # Errors
    /// If AWS refuses or does not answer.
    pub async fn untag_key(&self, key: &str, tag_keys: &[String]) -> Result<(), AwsError> {
        let request = self.client.untag_resource().key_id(key).set_tag_keys(Some(tag_keys.to_vec()));
        self.way.call(key, request.send()).await.map(drop)
    }

    /// Disables a key. Nothing can be encrypted or decrypted with it then, but S3 may go on with a data key that it has (S3 User Guide,
    /// bucket-key).
    ///
    /// # Errors
    /// If AWS refuses or does not answer.
    pub async fn disable_key(&self, key: &str) -> Result<(), AwsError> {
        self.way.call(key, self.client.disable_key().key_id(key).send()).await.map(drop)
    }

    /// Enables a disabled key.
    ///
    /// # Errors
    /// If AWS refuses or does not answer.
    pub async fn enable_key(&self, key: &str) -> Result<(), AwsError> {
        self.way.call(key, self.client.enable_key().key_id(key).send()).await.map(drop)
    }

    /// Takes a key back from pending deletion; it is disabled then.
    ///
    /// # Errors
    /// If AWS refuses or does not answer.
    pub async fn cancel_key_deletion(&self, key: &str) -> Result<(), AwsError> {
        self.way.call(key, self.client.cancel_key_deletion().key_id(key).send()).await.map(drop)
    }

    /// Grants Decrypt and DescribeKey to a role, and gives the grant's id. The same name, key and grantee give the same grant (KMS API,
    /// CreateGrant). The grant token goes no further than here: whoever holds it could use the grant after its revocation.
    ///
    /// # Errors
    /// `UnknownPrincipal` if KMS does not know the role (yet), `KeyState` if the key is disabled or pending deletion.
    pub async fn create_grant(&self, key_arn: &str, grantee_arn: &str, name: &str) -> Result<String, AwsError> {
        let request = self
            .client
            .create_grant()
            .key_id(key_arn)
            .grantee_principal(grantee_arn)
            .operations(types::GrantOperation::Decrypt)
            .operations(types::GrantOperation::DescribeKey)
            .name(name);
        let id = self.way.call(key_arn, request.send()).await?.grant_id;
        id.ok_or_else(|| unexpected(Call::CreateGrant, AwsErrorKind::Unavailable, key_arn, "the answer names no grant"))
    }

    /// All grants on a key, whoever made them.
    ///
    /// # Errors
    /// If AWS refuses or does not answer. There is no partial list.
    pub async fn list_grants(&self, key: &str) -> Result<Vec<ObservedGrant>, AwsError> {
        let (mut grants, mut marker) = (Vec::new(), None);
        loop {
            let request = self.client.list_grants().key_id(key).limit(PAGE).set_marker(marker);
            let page = self.way.call(key, request.send()).await?;
            grants.extend(page.grants.unwrap_or_default().into_iter().map(read_grant));
            marker = next_page(Call::ListGrants, key, page.truncated, page.next_marker)?;
            if marker.is_none() {
                return Ok(grants);
            }
        }
    }

    /// Revokes a grant.
    ///
    /// # Errors
    /// `NotFound` if there is no such grant, or if it is so new that KMS does not know it everywhere.
    pub async fn revoke_grant(&self, key: &str, grant_id: &str) -> Result<(), AwsError> {
        let request = self.client.revoke_grant().key_id(key).grant_id(grant_id);
        self.way.call(key, request.send()).await.map(drop)
    }
}

fn head(call: Call, resource: &str, metadata: Option<types::KeyMetadata>) -> Result<KeyHead, AwsError> {
    let found = metadata.and_then(|m| Some(KeyHead { arn: m.arn?, id: m.key_id, state: state(&m.key_state?) }));
    found.ok_or_else(|| unexpected(call, AwsErrorKind::Unavailable, resource, "the answer describes no key"))
}

fn state(state: &types::KeyState) -> KeyState {
    match state {
        types::KeyState::Enabled => KeyState::Enabled,
        types::KeyState::Disabled => KeyState::Disabled,
        types::KeyState::PendingDeletion => KeyState::PendingDeletion,
        other => KeyState::Other(other.as_str().to_owned()),
    }
}

fn read_grant(grant: types::GrantListEntry) -> ObservedGrant {
    let operations = grant.operations.unwrap_or_default();
    let mut operations: Vec<String> = operations.iter().map(|o| o.as_str().to_owned()).collect();
    operations.sort();
    ObservedGrant {
        id: grant.grant_id.unwrap_or_default(),
        name: grant.name.filter(|n| !n.is_empty()),
        grantee: grant.grantee_principal.or(grant.grantee_service_principal).unwrap_or_default(),
        operations,
    }
}

fn invalid(call: Call, resource: &str, error: &BuildError) -> AwsError {
    unexpected(call, AwsErrorKind::Invalid, resource, error)
}

fn tag_set(tags: &Tags) -> Result<Vec<types::Tag>, BuildError> {
    tags.iter().map(|(key, value)| types::Tag::builder().tag_key(key).tag_value(value).build()).collect()
}
