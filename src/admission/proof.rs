//! What proves that the policies are in force: a request and a review under a name that is nobody's. Whoever tries to create them, as a dry run, must
//! be refused. Pure.

use serde_json::{Value, json};

/// Nobody has this name: a user's never begins so where it is not the system's own.
const NOBODY: &str = "system:securebucket:nobody";

/// Spec of a DecryptGrant that nobody may ask for.
pub fn false_request(about: &str) -> Value {
    json!({
        "bucketRef": {"name": about}, "subject": {"serviceAccountRef": {"name": about}}, "prefixes": ["*"], "duration": "15m",
        "reason": "proof that a false name is refused", "requester": {"username": NOBODY},
    })
}

/// Spec of a GrantReview that nobody may write.
pub fn false_review(namespace: &str, about: &str) -> Value {
    json!({
        "bucketRef": {"name": about}, "grantRef": {"namespace": namespace, "name": about, "uid": about},
        "termsHash": "0".repeat(64), "decision": "Deny", "reviewer": {"username": NOBODY},
    })
}
