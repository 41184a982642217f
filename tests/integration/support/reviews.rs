//! Requests with a requester, and reviews of them.

use kube::api::{Api, PostParams};
use securebucket::api::condition::{find, types};
use securebucket::api::{DecryptGrant, GrantReview};
use serde_json::{Value, json};

use super::World;
use super::world::grant_spec;

/// Spec of a request by alice for `reports` on the bucket `data`.
pub fn asked_by(who: &str) -> Value {
    let mut spec = grant_spec("data", "reports", &["in/"], "1h");
    spec["requester"] = json!({"username": who});
    spec
}

/// Spec of a review of the grant as it is.
pub fn review_spec(grant: &DecryptGrant, decision: &str, who: &str) -> Value {
    let status = grant.status.clone().unwrap_or_default();
    json!({
        "bucketRef": {"name": grant.spec.bucket_ref.name},
        "grantRef": {"namespace": grant.metadata.namespace, "name": grant.metadata.name, "uid": grant.metadata.uid},
        "termsHash": status.resolved.map_or_else(|| "0".repeat(64), |r| r.terms_hash),
        "decision": decision,
        "reviewer": {"username": who},
    })
}

impl World {
    /// GrantReviews of the first namespace.
    pub fn reviews(&self) -> Api<GrantReview> {
        self.reviews_in(&self.namespace)
    }

    /// GrantReviews of a namespace.
    pub fn reviews_in(&self, namespace: &str) -> Api<GrantReview> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Creates a request by `who` in the first namespace.
    pub async fn request(&self, name: &str, who: &str) -> DecryptGrant {
        self.create_grant_in(&self.namespace, name, asked_by(who)).await.unwrap()
    }

    /// Creates one, and waits until it waits for approval.
    pub async fn awaiting(&self, name: &str, who: &str) -> DecryptGrant {
        self.request(name, who).await;
        self.grant_state(name, "AwaitingApproval").await
    }

    /// Creates a review, as whom it names for its reviewer.
    pub async fn create_review(&self, namespace: &str, name: &str, spec: Value) -> kube::Result<GrantReview> {
        let object = json!({
            "apiVersion": "securebucket.io/v1alpha1", "kind": "GrantReview", "metadata": {"name": name}, "spec": spec,
        });
        let client = self.client_of(&object["spec"]["reviewer"]).await;
        let object = serde_json::from_value(object).unwrap();
        Api::namespaced(client, namespace).create(&PostParams::default(), &object).await
    }

    /// Has `who` say his word on the grant as it is. The review is named after him.
    pub async fn review(&self, grant: &DecryptGrant, decision: &str, who: &str) -> GrantReview {
        let name = format!("{}-{}-{}", grant.metadata.name.as_deref().unwrap(), who, decision.to_lowercase());
        self.create_review(&self.namespace, &name, review_spec(grant, decision, who)).await.unwrap()
    }

    /// Waits until a review of the first namespace is said to count, or not to for this reason. Its message.
    pub async fn counted(&self, review: &GrantReview, reason: &str) -> String {
        let name = review.metadata.name.clone().unwrap();
        let namespace = review.metadata.namespace.clone().unwrap();
        let fits = |r: &GrantReview| counts(r, reason);
        let what = format!("Counted has reason {reason}");
        let review = self.object_when(&self.reviews_in(&namespace), &name, &what, fits).await;
        condition(&review).unwrap().1
    }
}

/// True if the review is said to count, or not to, for this reason.
pub fn counts(review: &GrantReview, reason: &str) -> bool {
    condition(review).is_some_and(|(word, _)| word == reason)
}

fn condition(review: &GrantReview) -> Option<(String, String)> {
    let status = review.status.as_ref()?;
    find(&status.conditions, types::COUNTED).map(|c| (c.reason.clone(), c.message.clone()))
}
