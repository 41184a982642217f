//! What ends a grant before its time, apart from its own deletion and a lockdown.

use std::fmt;

use kube::api::DeleteParams;
use serde_json::json;

use super::run::{BUCKET, PREFIX, READER, Run};
use super::scenario::spec;

/// A cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The SecureBucket is deleted.
    BucketGone,
    /// The ServiceAccount is deleted.
    AccountGone,
    /// The ServiceAccount is deleted and made again.
    AccountReplaced,
    /// The bucket's owner gives the ServiceAccount a duty, which excludes a grant.
    Duty,
    /// Somebody disables the key.
    KeyDisabled,
    /// Somebody revokes the KMS grant.
    KmsGrantRevoked,
    /// Somebody deletes the role.
    RoleDeleted,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BucketGone => "bucket-gone",
            Self::AccountGone => "account-gone",
            Self::AccountReplaced => "account-replaced",
            Self::Duty => "duty",
            Self::KeyDisabled => "key-disabled",
            Self::KmsGrantRevoked => "kms-grant-revoked",
            Self::RoleDeleted => "role-deleted",
        })
    }
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::BucketGone,
        Self::AccountGone,
        Self::AccountReplaced,
        Self::Duty,
        Self::KeyDisabled,
        Self::KmsGrantRevoked,
        Self::RoleDeleted,
    ];

    /// Number of workload roles when the grant is over.
    pub fn roles_left(self) -> usize {
        match self {
            Self::BucketGone => 0,
            Self::Duty => 2,
            _ => 1,
        }
    }

    /// Lets it happen. What happens in AWS alone is seen by the next operator, as it would be by a drift check; and that a ServiceAccount was
    /// away for a moment is seen by nobody.
    pub async fn happens(self, run: &Run<'_>) {
        let world = &run.world;
        match self {
            Self::BucketGone => drop(world.buckets().delete(BUCKET, &DeleteParams::default()).await.unwrap()),
            Self::AccountGone => world.delete_service_account(READER).await,
            Self::AccountReplaced => {
                let replaced = async {
                    world.delete_service_account(READER).await;
                    world.service_account(READER).await;
                };
                run.while_nobody_looks(replaced).await;
            }
            Self::Duty => {
                let mut spec = spec();
                let duty = json!({
                    "name": "reader", "duty": "Producer", "serviceAccountRef": {"name": READER}, "prefixes": [PREFIX],
                });
                spec["access"].as_array_mut().unwrap().push(duty);
                world.apply_bucket(BUCKET, spec).await;
            }
            Self::KeyDisabled | Self::KmsGrantRevoked | Self::RoleDeleted => {
                run.while_nobody_looks(self.in_aws(run)).await;
            }
        }
    }

    async fn in_aws(self, run: &Run<'_>) {
        let (kms, iam) = (&run.root.kms, &run.root.iam);
        if self == Self::RoleDeleted {
            let role = run.world.role_name(READER);
            iam.delete_role_policy().role_name(&role).policy_name("securebucket").send().await.unwrap();
            iam.delete_role().role_name(&role).send().await.unwrap();
            run.journal.note_outside("DeleteRole", json!({"RoleName": role}));
            return;
        }
        let key = kms.list_keys().send().await.unwrap().keys().first().unwrap().key_arn.clone().unwrap();
        if self == Self::KeyDisabled {
            kms.disable_key().key_id(key).send().await.unwrap();
            return;
        }
        let all = kms.list_grants().key_id(&key).send().await.unwrap();
        let id = all.grants().first().unwrap().grant_id.clone().unwrap();
        kms.revoke_grant().key_id(key).grant_id(&id).send().await.unwrap();
        run.journal.note_outside("RevokeGrant", json!({"GrantId": id}));
    }
}
