//! The rules of a bucket for requests and approvals, as they are and as they change.

use jiff::SignedDuration;
use kube::api::DeleteParams;
use securebucket::api::DecryptGrant;
use securebucket::api::condition::{find, is_true, types};
use serde_json::{Value, json};

use crate::reviews::asking;
use crate::scene::{Scene, spec};
use crate::support::World;
use crate::support::hooks::api_server_ahead;
use crate::support::reviews::{asked_by, review_spec};
use crate::support::wait::{conditions, grant_conditions, poll, state};

fn stalled(grant: &DecryptGrant) -> String {
    find(grant_conditions(grant), types::STALLED).map(|c| c.message.clone()).unwrap_or_default()
}

/// The bucket with other rules.
async fn rules(world: &World, grants: Value) {
    let mut spec = spec();
    spec["grants"] = grants;
    world.apply_bucket("data", spec).await;
    world.bucket_ready("data").await;
}

fn instant(text: &Option<String>) -> jiff::Timestamp {
    text.as_deref().unwrap().parse().unwrap()
}

#[tokio::test]
async fn the_strictest_rules_and_what_was_taken_back() {
    let Scene { world, operator, .. } = asking("strict", 1).await;
    // Raised while it waits for its time: approved it is, and it waits.
    let mut spec = asked_by("alice");
    let begin = world.now() + SignedDuration::from_secs(60);
    spec["notBefore"] = json!(securebucket::domain::time::format_instant(begin));
    world.create_grant_in(&world.namespace, "g", spec).await.unwrap();
    let grant = world.grant_state("g", "AwaitingApproval").await;
    let bob = world.review(&grant, "Approve", "bob").await;
    world.grant_state("g", "Scheduled").await;
    rules(&world, json!({"approvals": 2})).await;
    let grant = world.grant_state("g", "AwaitingApproval").await;
    assert!(is_true(grant_conditions(&grant), types::APPROVED), "what is approved stays so");
    world.review(&grant, "Approve", "carol").await;
    world.grant_state("g", "Scheduled").await;
    // Taken back before it is used: it counts no more.
    world.reviews().delete(bob.metadata.name.as_deref().unwrap(), &DeleteParams::default()).await.unwrap();
    world.grant_state("g", "AwaitingApproval").await;
    // Lowered: the rules at the request are met by carol.
    rules(&world, json!({"approvals": 0})).await;
    let grant = world.grant_active("g").await;
    let names: Vec<String> = grant.status.unwrap().approvals.into_iter().map(|a| a.reviewer).collect();
    assert_eq!(names, ["carol"]);
    // And one that was asked for under 2 is not had for less.
    rules(&world, json!({"approvals": 2})).await;
    let grant = world.awaiting("h", "alice").await;
    rules(&world, json!({"approvals": 0})).await;
    let bob = world.review(&grant, "Approve", "bob").await;
    world.counted(&bob, "Counted").await;
    let count = |g: &DecryptGrant| g.status.as_ref().is_some_and(|s| s.approvals.len() == 1);
    let grant = world.grant_when("h", "one approval", count).await;
    assert_eq!((state(&grant), operator.journal().count("CreateGrant")), ("AwaitingApproval", 1));
}

#[tokio::test]
async fn a_reviewer_shortens() {
    let Scene { world, operator: _operator, .. } = asking("shorten", 2).await;
    let grant = world.awaiting("g", "alice").await;
    let length = |text: &str| {
        let mut spec = review_spec(&grant, "Approve", text);
        spec["maxDuration"] = "20m".into();
        spec
    };
    world.create_review(&world.namespace, "bob", length("bob")).await.unwrap();
    let mut longer = length("carol");
    longer["maxDuration"] = "5h".into();
    world.create_review(&world.namespace, "carol", longer).await.unwrap();
    let grant = world.grant_active("g").await;
    let status = grant.status.clone().unwrap();
    let open = instant(&status.expires_at).duration_since(instant(&status.activated_at));
    assert_eq!((open, status.shortened_to.as_deref()), (SignedDuration::from_mins(20), Some("20m")));
    let approved = find(grant_conditions(&grant), types::APPROVED).unwrap();
    assert_eq!(approved.message, "approved by bob, carol; shortened to 20m");
    let mut deny = length("dave");
    deny["decision"] = "Deny".into();
    let refused = world.create_review(&world.namespace, "dave", deny).await.unwrap_err();
    assert!(refused.to_string().contains("only an Approve can shorten"), "{refused}");
    // It cannot be changed afterwards.
    let patch = json!({"spec": {"maxDuration": "1h"}});
    let patch = kube::api::Patch::Merge(patch);
    let refused = world.reviews().patch("bob", &kube::api::PatchParams::default(), &patch).await.unwrap_err();
    assert!(refused.to_string().contains("immutable"), "{refused}");
}

#[tokio::test]
async fn sets_of_approvers() {
    let Scene { world, operator: _operator, .. } = asking("sets", 1).await;
    let sets = json!([
        {"name": "owners", "users": ["bob", "carol"], "atLeast": 1},
        {"name": "security", "groups": ["sec"], "atLeast": 1},
    ]);
    rules(&world, json!({"approvals": 1, "approvers": sets})).await;
    let grant = world.awaiting("g", "alice").await;
    let review = world.review(&grant, "Approve", "mallory").await;
    assert!(world.counted(&review, "NotAnApprover").await.contains("grants.approvers"));
    for who in ["bob", "carol"] {
        let review = world.review(&grant, "Approve", who).await;
        world.counted(&review, "Counted").await;
    }
    let one = |g: &DecryptGrant| {
        find(grant_conditions(g), types::ACTIVE).is_some_and(|c| c.message.contains("one more of security"))
    };
    world.grant_when("g", "lacks one of security", one).await;
    let mut spec = review_spec(&grant, "Approve", "eve");
    spec["reviewer"]["groups"] = json!(["sec"]);
    world.create_review(&world.namespace, "eve", spec).await.unwrap();
    let grant = world.grant_active("g").await;
    let mut sets: Vec<_> = grant.status.unwrap().approvals.into_iter().filter_map(|a| a.set).collect();
    sets.sort();
    assert_eq!(sets, ["owners", "owners", "security"]);
}

#[tokio::test]
async fn what_nobody_approves_ends() {
    let Scene { world, operator, .. } = asking("pending", 1).await;
    rules(&world, json!({"approvals": 1, "pendingTTL": "1h"})).await;
    let grant = world.awaiting("g", "alice").await;
    let until = instant(&grant.status.as_ref().unwrap().pending_until);
    let made = grant.metadata.creation_timestamp.as_ref().unwrap().0;
    assert_eq!(until.duration_since(made), SignedDuration::from_hours(1));
    operator.stop().await;
    world.later(3_700).await;
    let _operator = world.operator().kube_hook(api_server_ahead(3_700)).start();
    let grant = world.grant_state("g", "ApprovalTimedOut").await;
    let grant_removed = world.grant_removed("g").await;
    assert_eq!(find(grant_conditions(&grant_removed), types::DENIED).unwrap().reason, "ApprovalTimedOut");
    world.event("g", "GrantRefused", "pendingTTL").await;
    let review = world.review(&grant, "Approve", "bob").await;
    world.counted(&review, "GrantOver").await;
    let gone = |b: &securebucket::api::SecureBucket| b.status.as_ref().unwrap().pending_grants.is_empty();
    world.bucket_when("data", "nothing waits", gone).await;
}

#[tokio::test]
async fn what_was_said_while_nobody_listened() {
    let Scene { world, operator, .. } = asking("deaf", 1).await;
    let grant = world.awaiting("g", "alice").await;
    let live = world.awaiting("h", "alice").await;
    world.review(&live, "Approve", "bob").await;
    let live = world.grant_active("h").await;
    operator.stop().await;
    let bob = world.review(&grant, "Approve", "bob").await;
    world.review(&live, "Revoke", "carol").await;
    let _operator = world.operator().start();
    world.grant_active("g").await;
    world.counted(&bob, "Counted").await;
    let gone = world.grant_removed("h").await;
    assert_eq!(state(&gone), "Revoked");
}

#[tokio::test]
async fn who_may_ask_for_what() {
    let Scene { world, operator: _operator, .. } = asking("ask", 1).await;
    let create = |name: &'static str, spec: Value| {
        let world = &world;
        async move { world.create_grant_in(&world.namespace, name, spec).await.unwrap() }
    };
    // Nobody knows who asks: it does not even become a request.
    let mut nobody = asked_by("alice");
    nobody.as_object_mut().unwrap().remove("requester");
    let refused = world.create_grant_in(&world.namespace, "nobody", nobody).await.unwrap_err().to_string();
    assert!(refused.contains("write: requester: {username: "), "{refused}");
    // Everybody's ServiceAccount.
    let mut default = asked_by("alice");
    default["subject"]["serviceAccountRef"]["name"] = "default".into();
    create("default", default.clone()).await;
    let grant = world.grant_state("default", "DefaultServiceAccount").await;
    assert!(stalled(&grant).contains("allowDefaultServiceAccount"), "{}", stalled(&grant));
    // Robots, where they are named, need one more.
    let robot = "system:serviceaccount:ci:bot";
    create("robot", asked_by(robot)).await;
    world.grant_state("robot", "RequesterNotAllowed").await;
    rules(&world, json!({"approvals": 1, "robots": ["ci/bot"], "allowDefaultServiceAccount": true})).await;
    world.service_account("default").await;
    world.grant_state("default", "AwaitingApproval").await;
    let grant = world.grant_state("robot", "AwaitingApproval").await;
    let active = find(grant_conditions(&grant), types::ACTIVE).unwrap();
    assert!(active.message.contains("2 approvals"), "{}", active.message);
    world.review(&grant, "Approve", "bob").await;
    world.review(&grant, "Approve", "carol").await;
    world.grant_active("robot").await;
    // A ticket.
    rules(&world, json!({"approvals": 1, "ticketPattern": "SEC-[0-9]+"})).await;
    let mut ticket = asked_by("alice");
    create("ticketless", ticket.clone()).await;
    world.grant_state("ticketless", "TicketRequired").await;
    ticket["ticket"] = "SEC-7/x".into();
    create("other-ticket", ticket.clone()).await;
    world.grant_state("other-ticket", "TicketRequired").await;
    ticket["ticket"] = "SEC-7".into();
    create("ticket", ticket).await;
    world.grant_state("ticket", "AwaitingApproval").await;
    // A pattern that is none is said on the bucket.
    let mut wrong = spec();
    wrong["grants"] = json!({"approvals": 1, "ticketPattern": "SEC-["});
    world.apply_bucket("data", wrong).await;
    let bucket = world.bucket_reason("data", "InvalidSpec").await;
    let message = &find(conditions(&bucket), types::READY).unwrap().message;
    assert!(message.contains("spec.grants.ticketPattern"), "{message}");
}

async fn a_second_after(grant: &DecryptGrant) {
    let created = grant.metadata.creation_timestamp.as_ref().unwrap().0.as_second();
    let later = || async { (jiff::Timestamp::now().as_second() > created).then_some(()) };
    assert!(poll(later).await.is_some());
}

#[tokio::test]
async fn as_many_as_may_be_open() {
    let Scene { world, operator: _operator, .. } = asking("many", 1).await;
    rules(&world, json!({"approvals": 1, "maxOpenPerSubject": 2})).await;
    let first = world.awaiting("a", "alice").await;
    world.review(&first, "Approve", "bob").await;
    world.grant_active("a").await;
    // By age, which Kubernetes keeps in whole seconds.
    a_second_after(&first).await;
    let second = world.awaiting("b", "alice").await;
    a_second_after(&second).await;
    world.request("c", "alice").await;
    let grant = world.grant_state("c", "TooManyOpen").await;
    assert!(
        stalled(&grant).contains("(a, b)") && stalled(&grant).contains("maxOpenPerSubject is 2"),
        "{}",
        stalled(&grant)
    );
    assert!(grant.status.unwrap().resolved.is_none());
    // Another ServiceAccount has its own.
    let mut spec = asked_by("alice");
    world.service_account("other").await;
    spec["subject"]["serviceAccountRef"]["name"] = "other".into();
    world.create_grant_in(&world.namespace, "d", spec).await.unwrap();
    world.grant_state("d", "AwaitingApproval").await;
    // One is handed back, and the next has its turn.
    world.grants().delete("a", &DeleteParams::default()).await.unwrap();
    world.grant_state("c", "AwaitingApproval").await;
}

#[tokio::test]
async fn without_proof_of_the_policies_nothing_is_approved() {
    let scene = asking("unproven", 1).await;
    let Scene { world, operator, .. } = scene;
    let grant = world.awaiting("g", "alice").await;
    operator.stop().await;
    // The policies are there. This operator cannot see that they hold: it may try nothing in this namespace.
    let elsewhere = world.namespace.clone();
    let _operator = world.operator().config(|c| c.prove_in = Some(elsewhere)).start();
    let grant_stalled = world.grant_state("g", "ApprovalNotEnforced").await;
    assert!(is_true(grant_conditions(&grant_stalled), types::STALLED));
    let bob = world.review(&grant, "Approve", "bob").await;
    world.counted(&bob, "ApprovalNotEnforced").await;
    // Where nobody is asked it does not matter.
    rules(&world, json!({"approvals": 0})).await;
    world.request("free", "alice").await;
    world.grant_active("free").await;
    assert_eq!(state(&world.grants().get("g").await.unwrap()), "ApprovalNotEnforced");
}
