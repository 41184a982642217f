//! Asking and agreeing, end to end: from a request to access, by people.

use kube::api::DeleteParams;
use securebucket::api::DecryptGrant;
use securebucket::api::condition::{find, is_true, types};
use securebucket::api::decrypt_grant::EndReason;
use serde_json::json;

use crate::scene::{Scene, spec};
use crate::support::reviews::review_spec;
use crate::support::wait::{grant_conditions, state};

/// A scene whose bucket asks for so many approvals.
pub async fn asking(name: &str, approvals: i32) -> Scene {
    let scene = Scene::new(name).await;
    let mut spec = spec();
    spec["grants"]["approvals"] = approvals.into();
    scene.world.apply_bucket("data", spec).await;
    scene.world.bucket_ready("data").await;
    scene
}

fn message(grant: &DecryptGrant) -> String {
    find(grant_conditions(grant), types::ACTIVE).unwrap().message.clone()
}

#[tokio::test]
async fn two_of_three_agree() {
    let Scene { world, ids, operator, .. } = asking("agree", 2).await;
    world.workload("ingest").await.put(&ids.bucket, "in/x", "content").await.allowed();
    let grant = world.awaiting("g", "alice").await;
    let all = grant_conditions(&grant);
    assert!(is_true(all, types::RECONCILING) && !is_true(all, types::APPROVED), "{all:#?}");
    let status = grant.status.clone().unwrap();
    let hash = status.resolved.unwrap().terms_hash;
    assert!(message(&grant).contains("2 approvals") && message(&grant).contains(&hash), "{}", message(&grant));
    assert_eq!(status.approval_rules.unwrap().approvals, 2);
    assert!(status.pending_until.is_some());

    // Approvers see what they sign.
    let bucket =
        world.bucket_when("data", "shows the request", |b| !b.status.as_ref().unwrap().pending_grants.is_empty());
    let pending = bucket.await.status.unwrap().pending_grants.remove(0);
    assert_eq!(
        (pending.requester.as_str(), pending.approvals.as_str(), &pending.terms_hash),
        ("alice", "0 of 2", &hash)
    );
    assert_eq!((pending.service_account.as_str(), pending.duration.as_str()), ("reports", "1h"));
    assert_eq!((Some(pending.uid), pending.prefixes), (grant.metadata.uid.clone(), vec!["in/".to_owned()]));
    assert_eq!((pending.not_before, pending.break_glass), (None, None));
    world.event("data", "ApprovalRequested", &hash).await;

    // Who asks cannot agree, under whatever spelling.
    let own = world.review(&grant, "Approve", "alice").await;
    assert!(world.counted(&own, "SelfApproval").await.contains("ask somebody else"));
    world.event("g-alice-approve", "ReviewNotCounted", "ask somebody else").await;
    let bob = world.review(&grant, "Approve", "bob").await;
    world.counted(&bob, "Counted").await;
    let mut twice = review_spec(&grant, "Approve", "BOB");
    twice["comment"] = "again".into();
    let twice = world.create_review(&world.namespace, "g-bob-twice", twice).await.unwrap();
    assert!(world.counted(&twice, "SamePerson").await.contains("g-bob-approve"));
    let one = |b: &securebucket::api::SecureBucket| {
        b.status.as_ref().unwrap().pending_grants.first().is_some_and(|p| p.approvals == "1 of 2")
    };
    world.bucket_when("data", "says 1 of 2", one).await;
    assert_eq!(
        (operator.journal().count("CreateGrant"), state(&world.grants().get("g").await.unwrap())),
        (0, "AwaitingApproval")
    );

    // The second person does.
    let carol = world.review(&grant, "Approve", "carol").await;
    let grant = world.grant_active("g").await;
    world.counted(&carol, "Counted").await;
    world.workload("reports").await.get(&ids.bucket, "in/x").await.allowed();
    let approved = find(grant_conditions(&grant), types::APPROVED).unwrap();
    assert_eq!((approved.reason.as_str(), approved.message.as_str()), ("ApprovalsMet", "approved by bob, carol"));
    let names: Vec<String> = grant.status.unwrap().approvals.into_iter().map(|a| a.reviewer).collect();
    assert_eq!(names, ["bob", "carol"]);
    let by = |b: &securebucket::api::SecureBucket| {
        let s = b.status.as_ref().unwrap();
        s.pending_grants.is_empty() && s.access.iter().any(|a| a.agreed_by.as_deref() == Some("bob, carol"))
    };
    world.bucket_when("data", "who can read, and who agreed", by).await;
    world.event("data", "GrantApproved", "approved by bob, carol").await;

    // What is taken back now changes nothing; what comes too late says so.
    world.reviews().delete("g-bob-approve", &DeleteParams::default()).await.unwrap();
    let grant = world.grants().get("g").await.unwrap();
    let late = world.review(&grant, "Approve", "dave").await;
    world.counted(&late, "TooLate").await;
    assert_eq!(state(&world.grants().get("g").await.unwrap()), "Granted");
    let reports = world.workload("reports").await;
    reports.get(&ids.bucket, "in/x").await.allowed();

    // Revoked, it is over, and the read is refused.
    let revoke = world.review(&grant, "Revoke", "dave").await;
    let grant = world.grant_removed("g").await;
    let end = grant.status.clone().unwrap().ended.unwrap();
    assert_eq!((end.reason, end.review.as_deref()), (EndReason::Revoked, Some("g-dave-revoke")));
    assert!(end.message.contains("revoked by dave"), "{}", end.message);
    world.counted(&revoke, "Counted").await;
    world.counted(&carol, "Counted").await;
    reports.get(&ids.bucket, "in/x").await.denied();
    assert!(world.kms_grants(&ids.key).await.is_empty());
    world.event("data", "GrantRevoked", "revoked by dave").await;
    let after = world.review(&grant, "Approve", "erin").await;
    world.counted(&after, "GrantOver").await;
}

#[tokio::test]
async fn one_no_denies_for_good() {
    let Scene { world, ids, operator, .. } = asking("deny", 1).await;
    let grant = world.awaiting("g", "alice").await;
    let mut no = review_spec(&grant, "Deny", "bob");
    no["comment"] = "ask for one day of it".into();
    let no = world.create_review(&world.namespace, "no", no).await.unwrap();
    let grant = world.grant_state("g", "Denied").await;
    world.counted(&no, "Counted").await;
    let all = grant_conditions(&grant);
    let denied = find(all, types::DENIED).unwrap();
    assert_eq!(denied.reason, "DeniedByReviewer");
    assert_eq!(denied.message, "denied by bob (GrantReview no): ask for one day of it");
    assert!(!is_true(all, types::APPROVED) && find(all, types::APPROVED).is_none(), "{all:#?}");
    // Nobody can approve it any more, nor is it open again when the no is taken back.
    let yes = world.review(&grant, "Approve", "carol").await;
    world.counted(&yes, "GrantOver").await;
    world.reviews().delete("no", &DeleteParams::default()).await.unwrap();
    let grant = world.grant_removed("g").await;
    assert_eq!(state(&grant), "Denied");
    assert_eq!((operator.journal().count("CreateGrant"), world.kms_grants(&ids.key).await.len()), (0, 0));
    world.event("g", "GrantRefused", "denied by bob").await;
    // A Revoke before it begins is a no as well.
    let grant = world.awaiting("g2", "alice").await;
    world.review(&grant, "Revoke", "bob").await;
    let grant = world.grant_state("g2", "Denied").await;
    assert!(message(&grant).contains("revoked by bob"), "{}", message(&grant));
}

#[tokio::test]
async fn what_does_not_match_does_not_count() {
    let Scene { world, operator, .. } = asking("match", 1).await;
    let old = world.awaiting("g", "alice").await;
    world.grants().delete("g", &DeleteParams::default()).await.unwrap();
    world.gone(&world.grants(), "g").await;
    // Made anew under its name.
    let grant = world.awaiting("g", "alice").await;
    let stale = world.review(&old, "Approve", "bob").await;
    assert!(world.counted(&stale, "AnotherGrant").await.contains("made anew"));
    let mut spec = review_spec(&grant, "Approve", "bob");
    spec["termsHash"] = json!(old.status.unwrap().resolved.unwrap().terms_hash);
    let other = world.create_review(&world.namespace, "other-terms", spec).await.unwrap();
    let hash = &grant.status.as_ref().unwrap().resolved.as_ref().unwrap().terms_hash;
    assert!(world.counted(&other, "OtherTerms").await.contains(hash.as_str()));
    let mut spec = review_spec(&grant, "Approve", "bob");
    spec["bucketRef"]["name"] = "other".into();
    let review = world.create_review(&world.namespace, "other-bucket", spec).await.unwrap();
    world.counted(&review, "GrantNotFound").await;
    let mut spec = review_spec(&grant, "Approve", "bob");
    spec["grantRef"]["name"] = "none".into();
    let review = world.create_review(&world.namespace, "no-grant", spec).await.unwrap();
    world.counted(&review, "GrantNotFound").await;
    let robot = "system:serviceaccount:ci:bot";
    let review = world.create_review(&world.namespace, "robot", review_spec(&grant, "Approve", robot)).await.unwrap();
    world.counted(&review, "ReviewerNotAllowed").await;
    assert_eq!(state(&world.grants().get("g").await.unwrap()), "AwaitingApproval");
    assert_eq!(operator.journal().count("CreateGrant"), 0);
    // The one that matches does.
    world.review(&grant, "Deny", "carol").await;
    world.grant_state("g", "Denied").await;
}

#[tokio::test]
async fn a_review_from_another_namespace_counts_for_nothing() {
    let world = crate::support::World::with_namespaces("third", &["asks", "other"]).await;
    let (asks, other) = (world.other("asks"), world.other("other"));
    let _operator = world.operator().start();
    world.service_account_in(&asks, "reports").await;
    world.apply_bucket("data", json!({"grants": {"approvals": 1, "allowedNamespaces": [asks]}})).await;
    world.bucket_ready("data").await;
    let mut spec = crate::support::reviews::asked_by("alice");
    spec["bucketRef"]["namespace"] = world.namespace.clone().into();
    world.create_grant_in(&asks, "g", spec).await.unwrap();
    let api = world.grants_in(&asks);
    let waits = |g: &DecryptGrant| state(g) == "AwaitingApproval";
    let grant = world.object_when(&api, "g", "awaits approval", waits).await;
    for namespace in [&other, &asks] {
        let review = world.create_review(namespace, "r", review_spec(&grant, "Approve", "bob")).await.unwrap();
        world.counted(&review, "GrantNotFound").await;
    }
    assert!(waits(&api.get("g").await.unwrap()));
    let review = world.create_review(&world.namespace, "r", review_spec(&grant, "Approve", "bob")).await.unwrap();
    world.counted(&review, "Counted").await;
    world.object_when(&api, "g", "active", |g| is_true(grant_conditions(g), types::ACTIVE)).await;
}

/// The operator that starts knows nothing of the admission policies for a moment, and tells nobody that something is wrong with them.
#[tokio::test]
async fn a_request_waits_on_through_a_restart() {
    let Scene { world, operator, .. } = asking("restart", 1).await;
    let before = world.awaiting("g", "alice").await;
    operator.kill().await;
    let _operator = world.operator().start();
    // The new one works: it sees another request.
    world.awaiting("g2", "alice").await;
    let grant = world.grants().get("g").await.unwrap();
    assert_eq!(grant_conditions(&grant), grant_conditions(&before));
    world.review(&grant, "Approve", "bob").await;
    world.grant_active("g").await;
    let told = world.events("g").await;
    let doubts: Vec<_> = told.iter().filter(|e| e.note.as_ref().is_some_and(|n| n.contains("not proven"))).collect();
    assert!(doubts.is_empty() && !told.is_empty(), "{told:#?}");
}
