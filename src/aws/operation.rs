//! Ties SDK operations to the rows of the call table, by the type of their error.
//!
//! The funnel takes only operations that are [`Operation`]s, so nothing outside the table can be called, and no call can be accounted
//! under another's name.

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use super::calls::Call;

/// The error of an SDK operation that has a row in the call table.
pub trait Operation: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static {
    /// The row.
    const CALL: Call;
}

/// What sending an operation gives.
pub type Sent<T, E> = Result<T, SdkError<E, HttpResponse>>;

macro_rules! operations {
    ($($call:ident: $sdk:ident $module:ident $error:ident;)*) => {
        $(impl Operation for $sdk::operation::$module::$error {
            const CALL: Call = Call::$call;
        })*

        /// Rows that have an SDK operation: all of them.
        #[cfg(test)]
        const IMPLEMENTED: &[Call] = &[$(Call::$call),*];
    };
}

operations! {
    CreateBucket: aws_sdk_s3 create_bucket CreateBucketError;
    HeadBucket: aws_sdk_s3 head_bucket HeadBucketError;
    GetBucketTagging: aws_sdk_s3 get_bucket_tagging GetBucketTaggingError;
    PutBucketTagging: aws_sdk_s3 put_bucket_tagging PutBucketTaggingError;
    GetPublicAccessBlock: aws_sdk_s3 get_public_access_block GetPublicAccessBlockError;
    PutPublicAccessBlock: aws_sdk_s3 put_public_access_block PutPublicAccessBlockError;
    GetBucketOwnershipControls: aws_sdk_s3 get_bucket_ownership_controls GetBucketOwnershipControlsError;
    PutBucketOwnershipControls: aws_sdk_s3 put_bucket_ownership_controls PutBucketOwnershipControlsError;
    GetBucketEncryption: aws_sdk_s3 get_bucket_encryption GetBucketEncryptionError;
    PutBucketEncryption: aws_sdk_s3 put_bucket_encryption PutBucketEncryptionError;
    GetBucketVersioning: aws_sdk_s3 get_bucket_versioning GetBucketVersioningError;
    PutBucketVersioning: aws_sdk_s3 put_bucket_versioning PutBucketVersioningError;
    GetBucketLifecycleConfiguration: aws_sdk_s3 get_bucket_lifecycle_configuration GetBucketLifecycleConfigurationError;
    PutBucketLifecycleConfiguration: aws_sdk_s3 put_bucket_lifecycle_configuration PutBucketLifecycleConfigurationError;
    GetBucketPolicy: aws_sdk_s3 get_bucket_policy GetBucketPolicyError;
    PutBucketPolicy: aws_sdk_s3 put_bucket_policy PutBucketPolicyError;

    CreateKey: aws_sdk_kms create_key CreateKeyError;
    TagResource: aws_sdk_kms tag_resource TagResourceError;
    UntagResource: aws_sdk_kms untag_resource UntagResourceError;
    DescribeKey: aws_sdk_kms describe_key DescribeKeyError;
    ListResourceTags: aws_sdk_kms list_resource_tags ListResourceTagsError;
    ListKeys: aws_sdk_kms list_keys ListKeysError;
    ListAliases: aws_sdk_kms list_aliases ListAliasesError;
    GetKeyPolicy: aws_sdk_kms get_key_policy GetKeyPolicyError;
    PutKeyPolicy: aws_sdk_kms put_key_policy PutKeyPolicyError;
    GetKeyRotationStatus: aws_sdk_kms get_key_rotation_status GetKeyRotationStatusError;
    EnableKeyRotation: aws_sdk_kms enable_key_rotation EnableKeyRotationError;
    CreateAlias: aws_sdk_kms create_alias CreateAliasError;
    UpdateAlias: aws_sdk_kms update_alias UpdateAliasError;
    DisableKey: aws_sdk_kms disable_key DisableKeyError;
    EnableKey: aws_sdk_kms enable_key EnableKeyError;
    CancelKeyDeletion: aws_sdk_kms cancel_key_deletion CancelKeyDeletionError;
    CreateGrant: aws_sdk_kms create_grant CreateGrantError;
    ListGrants: aws_sdk_kms list_grants ListGrantsError;
    RevokeGrant: aws_sdk_kms revoke_grant RevokeGrantError;

    CreateRole: aws_sdk_iam create_role CreateRoleError;
    GetRole: aws_sdk_iam get_role GetRoleError;
    ListRoles: aws_sdk_iam list_roles ListRolesError;
    TagRole: aws_sdk_iam tag_role TagRoleError;
    UpdateAssumeRolePolicy: aws_sdk_iam update_assume_role_policy UpdateAssumeRolePolicyError;
    PutRolePermissionsBoundary: aws_sdk_iam put_role_permissions_boundary PutRolePermissionsBoundaryError;
    ListRolePolicies: aws_sdk_iam list_role_policies ListRolePoliciesError;
    GetRolePolicy: aws_sdk_iam get_role_policy GetRolePolicyError;
    PutRolePolicy: aws_sdk_iam put_role_policy PutRolePolicyError;
    DeleteRolePolicy: aws_sdk_iam delete_role_policy DeleteRolePolicyError;
    ListAttachedRolePolicies: aws_sdk_iam list_attached_role_policies ListAttachedRolePoliciesError;
    DetachRolePolicy: aws_sdk_iam detach_role_policy DetachRolePolicyError;
    DeleteRole: aws_sdk_iam delete_role DeleteRoleError;
    GetPolicy: aws_sdk_iam get_policy GetPolicyError;
    GetPolicyVersion: aws_sdk_iam get_policy_version GetPolicyVersionError;

    GetCallerIdentity: aws_sdk_sts get_caller_identity GetCallerIdentityError;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table_is_an_operation_and_is_sent_by_an_adapter() {
        assert_eq!(IMPLEMENTED, Call::ALL);
        let adapters =
            concat!(include_str!("s3.rs"), include_str!("kms.rs"), include_str!("iam.rs"), include_str!("clients.rs"));
        for call in Call::ALL {
            let method: String = call
                .operation()
                .chars()
                .enumerate()
                .flat_map(|(i, c)| (c.is_uppercase() && i > 0).then_some('_').into_iter().chain(c.to_lowercase()))
                .collect();
            assert!(adapters.contains(&format!(".{method}()")), "no adapter sends {call:?}");
        }
    }
}
