//! `approve`, `deny`, `revoke`.

use kube::api::ListParams;
use securebucket::api::condition::{find, types};
use securebucket::api::{GrantReview, SecureBucket};
use serde_json::{Value, json};

use super::Play;
use crate::attacks::bind;
use crate::support::World;
use crate::support::wait::{grant_conditions, state};

async fn reviews(world: &World) -> Vec<GrantReview> {
    world.reviews().list(&ListParams::default()).await.unwrap().items
}

async fn pending(world: &World, name: &str) {
    let fits = |b: &SecureBucket| b.status.as_ref().unwrap().pending_grants.iter().any(|p| p.name == name);
    world.bucket_when("data", &format!("{name} waits on it"), fits).await;
}

#[tokio::test]
async fn bob_approves_what_he_is_shown() {
    let sets = json!([{"name": "owners", "groups": ["telephony-owners"]}]);
    let play = Play::new("plugapprove", json!({"approvals": 1, "approvers": sets})).await;
    let Play { world, asks, alice, mallory, .. } = &play;
    let bob = play.bob.clone().group("telephony-owners").group("everybody");
    world.plugin(alice, &play.ask("--name g --ticket OPS-1")).with(0, &[]);
    pending(world, "g").await;
    let line = format!("approve g -n {asks} --comment 'ok until noon' --max-duration 30m");

    // Nobody else, not even by writing the same; and nothing is left of the attempts.
    world.plugin(mallory, &line).refused(&["mallory", "--bucket NAMESPACE/NAME"]);
    let line_of_bucket = format!("{line} --bucket data");
    world.plugin(mallory, &line_of_bucket).refused(&["mallory", "SecureBucket"]);
    bind(world, "securebucket-viewer", mallory, &world.namespace).await;
    world.plugin(mallory, &line).refused(&["mallory"]);
    world.plugin(alice, &line).refused(&["you asked for it yourself", "ask somebody else"]);
    world
        .plugin(&bob, &format!("{line} --dry-run=server"))
        .exactly(&format!("grantreview.securebucket.io/g-bob created in {} (server dry run)\n", world.namespace));
    assert!(reviews(world).await.is_empty());

    // Bob may not read the request where it lies: his bucket shows him what he signs.
    let said = world.plugin(&bob, &line);
    let said = said.exactly(&format!("grantreview.securebucket.io/g-bob created in {}\n", world.namespace));
    let subject = format!("everyone who can run pods or mint tokens as {asks}/reports");
    let terms = world.grants_in(asks).get("g").await.unwrap().status.unwrap().resolved.unwrap().terms_hash;
    for word in [
        "as bob you approve that",
        &subject,
        "asked by  alice",
        "Q3 report (ticket OPS-1)",
        "1h",
        &terms,
        "shortened to 30m",
    ] {
        assert!(said.err.contains(word), "{word} is not in {said:?}");
    }
    let grant = world.grant_active_in(asks, "g").await;
    assert_eq!(grant.status.unwrap().shortened_to.as_deref(), Some("30m"));
    let review = world.reviews().get("g-bob").await.unwrap();
    let reviewer = serde_json::to_value(&review.spec.reviewer).unwrap();
    assert_eq!(reviewer, json!({"username": "bob", "uid": "u-bob", "groups": ["telephony-owners"]}));
    assert_eq!(review.spec.comment.as_deref(), Some("ok until noon"));
    world.plugin(alice, &format!("list -n {asks} -o wide")).with(0, &["Granted", "30m", "bob"]);
}

#[tokio::test]
async fn a_review_that_does_not_count_says_why() {
    let sets = json!([{"name": "owners", "users": ["olga"]}]);
    let play = Play::new("plugcount", json!({"approvals": 2, "approvers": sets})).await;
    let Play { world, asks, alice, bob, .. } = &play;
    let olga = crate::support::person::Person::named("olga");
    bind(world, "securebucket-approver", &olga, &world.namespace).await;
    world.plugin(alice, &play.ask("--name g")).with(0, &[]);
    pending(world, "g").await;
    let line = format!("approve g -n {asks} --wait");
    let said = world.plugin(bob, &line);
    let said = said.with(4, &["created in", "does not count", "is in no set", "→ kubectl securebucket why g"]);
    assert!(said.out.starts_with("grantreview.securebucket.io/g-bob created"), "{said:?}");
    world.plugin(&olga, &line).with(0, &["it counts"]);
    // Once more is not twice; and what did not count can be written anew.
    world.plugin(&olga, &line).with(0, &["g-olga created", "it counts"]);
    assert_eq!(reviews(world).await.len(), 2);
    world.plugin(bob, &line).with(4, &["g-bob-", "does not count"]);
    assert_eq!(reviews(world).await.len(), 3);
    // Whoever may read the request is told of those that count for nothing.
    bind(world, "securebucket-viewer", alice, &world.namespace).await;
    let said = world.plugin(alice, &format!("why g -n {asks}"));
    said.with(0, &["AwaitingApproval", "NotAnApprover", "owners (olga)", "but not alice, who asks"]);
}

#[tokio::test]
async fn one_denial_and_one_revocation() {
    let play = Play::new("plugdeny", json!({"approvals": 1})).await;
    let Play { world, asks, alice, bob, mallory, operator, .. } = &play;
    world.plugin(alice, &play.ask("--name no")).with(0, &[]);
    pending(world, "no").await;
    let line = format!("deny no -n {asks} --comment 'one month of it'");
    world.plugin(mallory, &line).refused(&["mallory"]);
    world.plugin(bob, &line).with(0, &["no-bob-deny created in", "you deny that"]);
    let denied = |g: &securebucket::api::DecryptGrant| state(g) == "Denied";
    let grant = world.object_when(&world.grants_in(asks), "no", "denied", denied).await;
    assert!(find(grant_conditions(&grant), types::DENIED).unwrap().message.contains("one month of it"));
    // Alice is told what became of it, by code as well; and how to ask anew.
    world.plugin(alice, &format!("hand-back no -n {asks}")).with(4, &["is over since", "kubectl delete dgrant no"]);
    let said = world.plugin(alice, &format!("why no -n {asks}"));
    let anew = format!(
        "kubectl securebucket request data -n {} --for-service-account {asks}/reports --prefix in/ --duration 1h --reason 'Q3 report'",
        world.namespace
    );
    said.with(0, &["Denied", "denied by bob", "one month of it", &anew]);
    let journal = operator.journal();
    assert_eq!(journal.count("CreateGrant"), 0);

    // A responder ends what lives, though she may not read it where it lies: by the approval that counts.
    world.plugin(alice, &play.ask("--name yes")).with(0, &[]);
    pending(world, "yes").await;
    world.plugin(bob, &format!("approve yes -n {asks}")).with(0, &[]);
    world.grant_active_in(asks, "yes").await;
    let carol = crate::support::person::Person::named("carol").uid("u-carol");
    bind(world, "securebucket-responder", &carol, &world.namespace).await;
    let listed = |b: &SecureBucket| b.status.as_ref().unwrap().access.iter().any(|a| a.name.ends_with("/yes"));
    world.bucket_when("data", "lists the grant", listed).await;
    let line = format!("revoke yes -n {asks} --comment leaked");
    world.plugin(mallory, &line).refused(&["mallory"]);
    world.plugin(bob, &line).refused(&["\"revoke\"", "securebucket-responder"]);
    world.plugin(&carol, &line).with(0, &["yes-carol-revoke created in", "you revoke that", "it counts"]);
    let revoked = |g: &securebucket::api::DecryptGrant| g.status.as_ref().is_some_and(|s| s.removal.is_some());
    let grant = world.object_when(&world.grants_in(asks), "yes", "revoked and removed", revoked).await;
    assert_eq!(state(&grant), "Revoked");

    // With the right to read it, the command waits until nothing is left.
    world.plugin(alice, &play.ask("--name third")).with(0, &[]);
    pending(world, "third").await;
    world.plugin(bob, &format!("approve third -n {asks}")).with(0, &[]);
    world.grant_active_in(asks, "third").await;
    bind(world, "securebucket-viewer", &carol, asks).await;
    let said =
        world.plugin(&carol, &format!("revoke third -n {asks} --wait -o json")).with(0, &["removal verified at"]);
    let review: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(review["spec"]["decision"], "Revoke");
    let grant = world.grants_in(asks).get("third").await.unwrap();
    assert!(grant.status.unwrap().removal.is_some());
    world.plugin(&carol, &format!("revoke third -n {asks}")).with(4, &["is over since", "revoked by carol"]);
}
