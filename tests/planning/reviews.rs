//! Reviews as people write them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use securebucket::api::grant_review::{Decision, GrantRef, GrantReviewSpec, LocalBucketRef};
use securebucket::api::grants::{ApproverSet, SubjectName};
use securebucket::api::types::{DurationText, GroupName, Identity, Reviewer, SetName};
use securebucket::api::{DecryptGrant, GrantReview};

use crate::grants::seconds;

/// A person without uid and session.
pub fn identity(username: &str) -> Identity {
    Identity { username: username.into(), ..Identity::default() }
}

/// `name` by `reviewer`, of the grant as it is resolved, or of no terms; made five seconds after noon.
pub fn review(name: &str, grant: &DecryptGrant, decision: Decision, reviewer: &str) -> GrantReview {
    let meta = grant.metadata.clone();
    let hash = grant.status.as_ref().and_then(|s| s.resolved.as_ref()).map(|r| r.terms_hash.clone());
    let mut review = GrantReview::new(
        name,
        GrantReviewSpec {
            bucket_ref: LocalBucketRef { name: grant.spec.bucket_ref.name.clone() },
            grant_ref: GrantRef {
                namespace: meta.namespace.unwrap(),
                name: meta.name.unwrap(),
                uid: meta.uid.unwrap(),
            },
            terms_hash: hash.unwrap_or_else(|| "0".repeat(64)),
            decision,
            comment: None,
            reviewer: Reviewer { username: reviewer.into(), ..Reviewer::default() },
            max_duration: None,
        },
    );
    review.metadata.namespace = Some("data".into());
    review.metadata.uid = Some(format!("uid-review-{name}"));
    review.metadata.generation = Some(1);
    made_at(&mut review, 5);
    review
}

/// Made so many seconds after noon.
pub fn made_at(review: &mut GrantReview, at: i64) {
    review.metadata.creation_timestamp = Some(Time(seconds(at)));
}

pub fn shortened(mut review: GrantReview, to: &str) -> GrantReview {
    review.spec.max_duration = Some(DurationText(to.into()));
    review
}

pub fn in_group(mut review: GrantReview, group: &str) -> GrantReview {
    review.spec.reviewer.groups.push(GroupName(group.into()));
    review
}

/// A set of people.
pub fn set(name: &str, users: &[&str], at_least: i32) -> ApproverSet {
    ApproverSet {
        name: SetName(name.into()),
        users: users.iter().map(|u| SubjectName((*u).into())).collect(),
        at_least: (at_least > 0).then_some(at_least),
        ..ApproverSet::default()
    }
}
