//! The Kubernetes API `securebucket.io/v1alpha1`: types, conditions, names. No behaviour.

pub mod condition;
pub mod decrypt_grant;
pub mod grant_review;
pub mod grants;
pub mod lockdown;
pub mod secure_bucket;
pub mod types;

pub use decrypt_grant::{DecryptGrant, DecryptGrantSpec, DecryptGrantStatus};
pub use grant_review::{GrantReview, GrantReviewSpec, GrantReviewStatus};
pub use secure_bucket::{SecureBucket, SecureBucketSpec, SecureBucketStatus};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{CustomResourceDefinition, JSON};
use kube::CustomResourceExt;

/// API group of all kinds.
pub const GROUP: &str = "securebucket.io";
/// Holds a `SecureBucket` until workload access is out of AWS.
pub const BUCKET_FINALIZER: &str = "securebucket.io/bucket-protection";
/// Holds a `DecryptGrant` until the removal of its access has been read back from AWS.
pub const GRANT_FINALIZER: &str = "securebucket.io/grant-revocation";
/// Annotation: any new value forces one full pass, which also undoes what a responder tightened by hand.
pub const RECONCILE_AT: &str = "securebucket.io/reconcile-at";
/// Annotation: lifts the lockdown whose id (`status.lockdown.id`) it names, once `spec.lockdown` is gone.
pub const LIFT_LOCKDOWN: &str = "securebucket.io/lift-lockdown";
/// Annotation of a ServiceAccount that EKS reads: the role of its pods (EKS User Guide, associate-service-account-role). Read, never written.
pub const ROLE_ARN: &str = "eks.amazonaws.com/role-arn";
/// Prefix of every annotation that the operator reads.
pub const ANNOTATION_PREFIX: &str = "securebucket.io/";

/// Virtual RBAC verbs on `securebuckets.securebucket.io`: no request to the API server has them. The admission policies ask the authorizer for
/// them (Kubernetes: Validating Admission Policy, `authorizer`; the same way as `approve` on `signers` for CertificateSigningRequests).
pub mod verbs {
    /// To approve or deny DecryptGrants on a SecureBucket.
    pub const APPROVE: &str = "approve";
    /// To end a DecryptGrant on a SecureBucket that lives.
    pub const REVOKE: &str = "revoke";
    /// To change who may do what with a SecureBucket: `access`, `grants` and other fields of that kind.
    pub const DELEGATE: &str = "delegate";
    /// To lift the lockdown of a SecureBucket.
    pub const LIFT_LOCKDOWN: &str = "lift-lockdown";
    /// To have access at once, with the review afterwards.
    pub const BREAKGLASS: &str = "breakglass";
    /// Held by the operator alone: to write `*/status` and our finalizers.
    pub const OPERATE: &str = "operate";
}

/// The CRDs that this binary serves, as the manifests in `crds/` and in the chart have them.
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![with_default_spec(SecureBucket::crd()), DecryptGrant::crd(), GrantReview::crd()]
}

/// Lets a `spec` whose last field is removed by server-side apply be `{}`. The API server would make it `null` and refuse the object
/// (structured-merge-diff leaves no empty map behind), so that a bucket under GitOps could not go back to `spec: {}`.
fn with_default_spec(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    let schemas = crd.spec.versions.iter_mut().filter_map(|v| v.schema.as_mut()?.open_api_v3_schema.as_mut());
    for spec in schemas.filter_map(|s| s.properties.as_mut()?.get_mut("spec")) {
        spec.default = Some(JSON(serde_json::json!({})));
    }
    crd
}
