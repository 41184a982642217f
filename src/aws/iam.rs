//! IAM: workload roles. Policy documents come back percent-encoded (IAM API, GetRole).

use aws_sdk_iam::Client;
use aws_sdk_iam::error::BuildError;
use aws_sdk_iam::primitives::DateTime;
use aws_sdk_iam::types;
use jiff::Timestamp;
use percent_encoding::percent_decode_str;

use super::calls::Call;
use super::error::{AwsError, AwsErrorKind};
use super::funnel::{Way, next_page, unexpected};
use crate::domain::policy::Document;
use crate::domain::tags::Tags;
use crate::role::document::{sealed, unsealed};
use crate::role::observed::RoleHead;

/// IAM, global.
#[derive(Clone, Debug)]
pub struct Iam {
    way: Way,
    client: Client,
}

impl Iam {
    pub(super) fn new(way: Way, client: Client) -> Self {
        Self { way, client }
    }

    /// A role by its name.
    ///
    /// # Errors
    /// `NotFound` if there is no such role, `Invalid` if its trust policy cannot be read.
    pub async fn role(&self, name: &str) -> Result<RoleHead, AwsError> {
        let answer = self.way.call(name, self.client.get_role().role_name(name).send()).await?;
        head(Call::GetRole, name, answer.role)
    }

    /// Creates a role with its boundary and tags.
    ///
    /// # Errors
    /// `AlreadyExists` if the name is taken in the account, under whatever path.
    pub async fn create_role(
        &self,
        name: &str,
        path: &str,
        trust: &Document,
        boundary: &str,
        tags: &Tags,
    ) -> Result<RoleHead, AwsError> {
        let tags = tag_set(tags).map_err(|e| invalid(Call::CreateRole, name, &e))?;
        let request = self
            .client
            .create_role()
            .role_name(name)
            .path(path)
            .assume_role_policy_document(trust.render())
            .permissions_boundary(boundary)
            .set_tags(Some(tags));
        let answer = self.way.call(name, request.send()).await?;
        head(Call::CreateRole, name, answer.role)
    }

    /// Names of all roles under a path.
    ///
    /// # Errors
    /// If AWS refuses or does not answer.
    pub async fn list_roles(&self, path: &str) -> Result<Vec<String>, AwsError> {
        let (mut names, mut marker) = (Vec::new(), None);
        loop {
            let request = self.client.list_roles().path_prefix(path).set_marker(marker);
            let page = self.way.call(path, request.send()).await?;
            names.extend(page.roles.into_iter().map(|r| r.role_name));
            marker = next_page(Call::ListRoles, path, page.is_truncated, page.marker)?;
            if marker.is_none() {
                return Ok(names);
            }
        }
    }

    /// Sets tags; others stay.
    ///
    /// # Errors
    /// If AWS refuses or does not answer.
    pub async fn tag_role(&self, name: &str, tags: &Tags) -> Result<(), AwsError> {
        let tags = tag_set(tags).map_err(|e| invalid(Call::TagRole, name, &e))?;
        let request = self.client.tag_role().role_name(name).set_tags(Some(tags));
        self.way.call(name, request.send()).await.map(drop)
    }

    /// Replaces the trust policy.
    ///
    /// # Errors
    /// If AWS refuses or does not answer.
    pub async fn put_trust(&self, name: &str, trust: &Document) -> Result<(), AwsError> {
        let request = self.client.update_assume_role_policy().role_name(name).policy_document(trust.render());
        self.way.call(name, request.send()).await.map(drop)
    }

    /// Sets the permissions boundary.
    ///
    /// # Errors
    /// If AWS refuses or does not answer.
    pub async fn put_boundary(&self, name: &str, boundary: &str) -> Result<(), AwsError> {
        let request = self.client.put_role_permissions_boundary().role_name(name).permissions_boundary(boundary);
        self.way.call(name, request.send()).await.map(drop)
    }

    /// Names of the role's inline policies.
    ///
    /// # Errors
    /// `NotFound` if there is no such role.
    pub async fn role_policies(&self, name: &str) -> Result<Vec<String>, AwsError> {
        let (mut names, mut marker) = (Vec::new(), None);
        loop {
            let request = self.client.list_role_policies().role_name(name).set_marker(marker);
            let page = self.way.call(name, request.send()).await?;
            names.extend(page.policy_names);
            marker = next_page(Call::ListRolePolicies, name, page.is_truncated, page.marker)?;
            if marker.is_none() {
                return Ok(names);
            }
        }
    }

    /// An inline policy.
    ///
    /// # Errors
    /// `NotFound` if there is no such policy or role, `Invalid` if it cannot be read as a policy.
    pub async fn role_policy(&self, name: &str, policy: &str) -> Result<Document, AwsError> {
        let request = self.client.get_role_policy().role_name(name).policy_name(policy);
        let answer = self.way.call(name, request.send()).await?;
        document(Call::GetRolePolicy, name, &answer.policy_document).map(unsealed)
    }

    /// Writes an inline policy.
    ///
    /// # Errors
    /// If AWS refuses or does not answer.
    pub async fn put_role_policy(&self, name: &str, policy: &str, document: &Document) -> Result<(), AwsError> {
        let request = self.client.put_role_policy().role_name(name).policy_name(policy);
        self.way.call(name, request.policy_document(sealed(document).render()).send()).await.map(drop)
    }

    /// Deletes an inline policy.
    ///
    /// # Errors
    /// `NotFound` if there is no such policy or role.
    pub async fn delete_role_policy(&self, name: &str, policy: &str) -> Result<(), AwsError> {
        let request = self.client.delete_role_policy().role_name(name).policy_name(policy);
        self.way.call(name, request.send()).await.map(drop)
    }

    /// ARNs of the managed policies attached to the role.
    ///
    /// # Errors
    /// `NotFound` if there is no such role.
    pub async fn attached_policies(&self, name: &str) -> Result<Vec<String>, AwsError> {
        let (mut arns, mut marker) = (Vec::new(), None);
        loop {
            let request = self.client.list_attached_role_policies().role_name(name).set_marker(marker);
            let page = self.way.call(name, request.send()).await?;
            arns.extend(page.attached_policies.unwrap_or_default().into_iter().filter_map(|p| p.policy_arn));
            marker = next_page(Call::ListAttachedRolePolicies, name, page.is_truncated, page.marker)?;
            if marker.is_none() {
                return Ok(arns);
            }
        }
    }

    /// The version in force of a managed policy. Two calls.
    ///
    /// # Errors
    /// `NotFound` if there is no such policy, `Invalid` if it cannot be read as one.
    pub async fn managed_policy(&self, arn: &str) -> Result<Document, AwsError> {
        let answer = self.way.call(arn, self.client.get_policy().policy_arn(arn).send()).await?;
        let version = answer.policy.and_then(|p| p.default_version_id).ok_or_else(|| nothing(Call::GetPolicy, arn))?;
        let request = self.client.get_policy_version().policy_arn(arn).version_id(version);
        let answer = self.way.call(arn, request.send()).await?;
        let call = Call::GetPolicyVersion;
        let text = answer.policy_version.and_then(|v| v.document).ok_or_else(|| nothing(call, arn))?;
        document(call, arn, &text)
    }

    /// Detaches a managed policy.
    ///
    /// # Errors
    /// `NotFound` if it is not attached.
    pub async fn detach_policy(&self, name: &str, policy_arn: &str) -> Result<(), AwsError> {
        let request = self.client.detach_role_policy().role_name(name).policy_arn(policy_arn);
        self.way.call(name, request.send()).await.map(drop)
    }

    /// Deletes a role.
    ///
    /// # Errors
    /// `NotFound` if there is none, `Conflict` if it still has policies.
    pub async fn delete_role(&self, name: &str) -> Result<(), AwsError> {
        self.way.call(name, self.client.delete_role().role_name(name).send()).await.map(drop)
    }
}

fn head(call: Call, name: &str, role: Option<types::Role>) -> Result<RoleHead, AwsError> {
    let role = role.ok_or_else(|| nothing(call, name))?;
    let instant = |at: &DateTime| Timestamp::new(at.secs(), i32::try_from(at.subsec_nanos()).unwrap_or(0));
    let created = instant(&role.create_date);
    let last_used = role.role_last_used.and_then(|used| used.last_used_date).map(|at| instant(&at)).transpose();
    let tags = role.tags.unwrap_or_default().into_iter().map(|t| (t.key, t.value)).collect();
    Ok(RoleHead {
        trust: document(call, name, role.assume_role_policy_document.as_deref().unwrap_or_default())?,
        created: created.map_err(|e| unexpected(call, AwsErrorKind::Unavailable, name, e))?,
        last_used: last_used.map_err(|e| unexpected(call, AwsErrorKind::Unavailable, name, e))?,
        boundary: role.permissions_boundary.and_then(|b| b.permissions_boundary_arn).filter(|arn| !arn.is_empty()),
        arn: role.arn,
        role_id: role.role_id,
        tags,
    })
}

fn document(call: Call, resource: &str, encoded: &str) -> Result<Document, AwsError> {
    let invalid = |e: &dyn std::fmt::Display| unexpected(call, AwsErrorKind::Invalid, resource, e);
    let text = percent_decode_str(encoded).decode_utf8().map_err(|e| invalid(&e))?;
    Document::parse(&text).map_err(|e| invalid(&e))
}

fn nothing(call: Call, resource: &str) -> AwsError {
    unexpected(call, AwsErrorKind::Unavailable, resource, "the answer is empty")
}

fn invalid(call: Call, resource: &str, error: &BuildError) -> AwsError {
    unexpected(call, AwsErrorKind::Invalid, resource, error)
}

fn tag_set(tags: &Tags) -> Result<Vec<types::Tag>, BuildError> {
    tags.iter().map(|(key, value)| types::Tag::builder().key(key).value(value).build()).collect()
}
