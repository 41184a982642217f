//! Access without approval, by those who may not have it, and again by those who had it.

use kube::api::DeleteParams;
use securebucket::admission::Subject;
use securebucket::api::condition::{find, is_true};
use serde_json::{Value, json};

use super::{Person, bind, create, refused, review_spec, taken, while_away, with_policies_of_its_own};
use crate::support::World;
use crate::support::wait::{grant_conditions, poll};
use crate::support::world::grant_spec;

const RESPONDER: &str = "securebucket-responder";

fn at_once(person: &Person) -> Value {
    let mut spec = grant_spec("data", "reports", &["in/"], "30m");
    (spec["requester"], spec["breakGlass"]) = (person.stamp(), true.into());
    spec
}

async fn bucket(world: &World) {
    world.service_account("reports").await;
    world.apply_bucket("data", json!({"grants": {"approvals": 1, "breakGlass": {}}})).await;
    world.bucket_ready("data").await;
}

async fn denied(world: &World, name: &str, words: &str) {
    let grant = world.grant_state(name, "Denied").await;
    let message = &find(grant_conditions(&grant), "Active").unwrap().message;
    assert!(message.contains(words) && !is_true(grant_conditions(&grant), "Approved"), "{message}");
}

#[tokio::test]
async fn nobody_breaks_the_glass_without_the_verb() {
    let world = World::with_namespaces("atkglass", &["elsewhere"]).await;
    let operator = world.operator().start();
    bucket(&world).await;
    let (ns, elsewhere) = (world.namespace.clone(), world.other("elsewhere").clone());
    let (alice, owner, responder) = (Person::named("alice"), Person::named("owen"), Person::named("rhea"));
    for person in [&alice, &owner, &responder] {
        bind(&world, "securebucket-requester", person, &ns).await;
    }
    // To own a bucket, to approve, and to respond in another namespace are not enough.
    bind(&world, "securebucket-owner", &owner, &ns).await;
    bind(&world, "securebucket-approver", &alice, &ns).await;
    bind(&world, RESPONDER, &alice, &elsewhere).await;
    for (person, name) in [(&alice, "a"), (&owner, "o")] {
        let outcome = create(&person.client(&world).await, &ns, "DecryptGrant", name, at_once(person)).await;
        refused(outcome, "requester", &["does not hold the verb \"breakglass\"", RESPONDER, &ns]);
        // Without it they ask like everybody.
        let mut spec = at_once(person);
        spec["breakGlass"] = false.into();
        taken(create(&person.client(&world).await, &ns, "DecryptGrant", name, spec).await);
        world.grant_state(name, "AwaitingApproval").await;
    }
    assert_eq!(operator.journal().count("CreateGrant"), 0);
    bind(&world, RESPONDER, &responder, &ns).await;
    taken(create(&responder.client(&world).await, &ns, "DecryptGrant", "r", at_once(&responder)).await);
    world.grant_active("r").await;
}

#[tokio::test]
async fn nobody_breaks_it_twice() {
    let world = World::new("atktwice").await;
    let operator = world.operator().start();
    bucket(&world).await;
    let ns = world.namespace.clone();
    // One person under two sessions of a role, and somebody else.
    let (rhea, again, bob) = (Person::of_role("ops", "rhea"), Person::of_role("ops", "rhea2"), Person::named("bob"));
    for person in [&rhea, &again] {
        for role in ["securebucket-requester", "securebucket-approver", RESPONDER] {
            bind(&world, role, person, &ns).await;
        }
    }
    bind(&world, "securebucket-approver", &bob, &ns).await;
    let ask = |person: &Person, name: &'static str| {
        let (person, world, ns) = (person.clone(), &world, ns.clone());
        async move { create(&person.client(world).await, &ns, "DecryptGrant", name, at_once(&person)).await }
    };
    // Both at once: one of them at most.
    let (one, two) = tokio::join!(ask(&rhea, "one"), ask(&again, "two"));
    taken(one);
    taken(two);
    let begun = |g: &securebucket::api::DecryptGrant| ["Granted", "Denied"].contains(&crate::support::wait::state(g));
    let one = world.grant_when("one", "decided", begun).await;
    let two = world.grant_when("two", "decided", begun).await;
    let active = [&one, &two].into_iter().filter(|g| is_true(grant_conditions(g), "Active")).count();
    assert!(active <= 1 && operator.journal().count("CreateGrant") == active, "{active}");
    let first = if active == 0 {
        taken(ask(&rhea, "first").await);
        world.grant_active("first").await
    } else if is_true(grant_conditions(&one), "Active") {
        one
    } else {
        two
    };
    let name = first.metadata.name.clone().unwrap();
    let review = |person: &Person, review: &'static str| {
        let spec = review_spec(&first, person);
        let (person, world, ns) = (person.clone(), &world, ns.clone());
        async move { create(&person.client(world).await, &ns, "GrantReview", review, spec).await }
    };
    // Reviewed by who asked, under either session; handed back and deleted; asked for by the other.
    taken(review(&rhea, "own").await);
    taken(review(&again, "own-again").await);
    world.grants().delete(&name, &DeleteParams::default()).await.unwrap();
    world.grant_removed(&name).await;
    taken(ask(&again, "twice").await);
    denied(&world, "twice", "waits for its review").await;
    let kept = world.grants().get(&name).await.unwrap();
    assert!(!is_true(grant_conditions(&kept), "Reviewed") && kept.metadata.deletion_timestamp.is_some());
    // By somebody else it is.
    taken(review(&bob, "bobs").await);
    let gone = || async { world.grants().get_opt(&name).await.unwrap().is_none().then_some(()) };
    assert!(poll(gone).await.is_some(), "reviewed, and gone");
    taken(ask(&rhea, "next").await);
    world.grant_active("next").await;
}

/// Without its binding nothing asks for the verb: what was made meanwhile gets nothing.
#[tokio::test]
async fn what_was_made_while_nothing_asked_for_the_verb_gets_nothing() {
    let world = with_policies_of_its_own("atkglassaway").await;
    let operator = world.operator().start();
    bucket(&world).await;
    let (ns, mallory) = (world.namespace.clone(), Person::named("mallory"));
    bind(&world, "securebucket-requester", &mallory, &ns).await;
    let client = mallory.client(&world).await;
    let ask = |name: &'static str| create(&client, &ns, "DecryptGrant", name, at_once(&mallory));
    refused(ask("g").await, "requester", &["breakglass"]);
    while_away(&world, Subject::Requester, || ask("g")).await;
    let grant = world.grant_state("g", "ApprovalNotEnforced").await;
    assert!(!is_true(grant_conditions(&grant), "Approved"));
    assert_eq!(operator.journal().count("CreateGrant"), 0);
}
