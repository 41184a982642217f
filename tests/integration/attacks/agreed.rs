//! What the API server lets through, and the operator does not count: who is one person, who is nobody of the people, and what was made while nobody
//! watched.

use kube::Api;
use securebucket::admission::Subject;
use securebucket::api::condition::{find, is_true};
use securebucket::api::{DecryptGrant, GrantReview};
use serde_json::json;

use super::{Person, ask, asked_anew, bind, create, review_spec, taken, while_away, with_policies_of_its_own};
use crate::support::World;
use crate::support::wait::poll;

/// A bucket that asks for one approval, and a ServiceAccount that wants to read.
async fn asked_for(world: &World) {
    world.service_account("reports").await;
    world.apply_bucket("data", json!({})).await;
    world.bucket_ready("data").await;
}

/// A request of this person, until somebody has to agree.
async fn waiting(world: &World, name: &str, person: &Person) -> DecryptGrant {
    let ns = &world.namespace;
    bind(world, "securebucket-requester", person, ns).await;
    taken(ask(&person.client(world).await, ns, name, person.stamp()).await);
    world.grant_state(name, "AwaitingApproval").await
}

/// A review of the grant as it is, by this person, in this namespace.
async fn sign(world: &World, namespace: &str, grant: &DecryptGrant, person: &Person, name: &str) {
    let client = person.client(world).await;
    taken(create(&client, namespace, "GrantReview", name, review_spec(grant, person)).await);
}

/// Waits until it is said why a review does not count.
async fn uncounted(world: &World, namespace: &str, name: &str, why: &str) {
    let api: Api<GrantReview> = Api::namespaced(world.client.clone(), namespace);
    let look = || async {
        let review = api.get(name).await.unwrap();
        let conditions = review.status.map(|s| s.conditions).unwrap_or_default();
        let counted = find(&conditions, "Counted")?;
        assert_ne!(counted.status, "True", "it counts: {counted:?}");
        (counted.reason == why).then_some(())
    };
    if poll(look).await.is_none() {
        let review = api.get(name).await.unwrap();
        panic!("{name} is not {why}: {:?}\n{}", review.status, world.dump().await);
    }
}

async fn not_approved(world: &World, name: &str) {
    let grant = world.grants().get(name).await.unwrap();
    let conditions = grant.status.unwrap().conditions;
    assert!(!is_true(&conditions, "Approved") && !is_true(&conditions, "Active"), "{conditions:?}");
}

#[tokio::test]
async fn two_sessions_of_one_role_are_one_person() {
    let world = World::new("atksession").await;
    let _operator = world.operator().start();
    asked_for(&world).await;
    let ns = &world.namespace;
    let (alice, again) = (Person::of_role("dev", "alice"), Person::of_role("dev", "bob"));
    let bob = Person::of_role("owners", "bobby");
    for person in [&again, &bob] {
        bind(&world, "securebucket-approver", person, ns).await;
    }
    let grant = waiting(&world, "g", &alice).await;
    sign(&world, ns, &grant, &again, "again").await;
    uncounted(&world, ns, "again", "SelfApproval").await;
    not_approved(&world, "g").await;
    sign(&world, ns, &grant, &bob, "bob").await;
    world.grant_active("g").await;
}

/// Whoever may mint tokens of a ServiceAccount, or run its pods, is that ServiceAccount: so it is nobody unless the bucket says so.
#[tokio::test]
async fn a_service_account_approves_nothing_by_itself() {
    let world = World::new("atkrobot").await;
    let _operator = world.operator().start();
    asked_for(&world).await;
    let ns = &world.namespace;
    let (alice, bob) = (Person::named("alice"), Person::named("bob"));
    let made = world.service_account("minted").await;
    let robot = Person::named(&format!("system:serviceaccount:{ns}:minted")).uid(made.metadata.uid.as_deref().unwrap());
    for person in [&robot, &bob] {
        bind(&world, "securebucket-approver", person, ns).await;
    }
    let grant = waiting(&world, "g", &alice).await;
    // With a real token, as whoever may create serviceaccounts/token gets it.
    let token = world.token_in(ns, "minted", "https://kubernetes.default.svc").await;
    let client = world.stack.client(&token).await;
    let spec = review_spec(&grant, &robot);
    taken(create(&client, ns, "GrantReview", "minted", spec).await);
    uncounted(&world, ns, "minted", "ReviewerNotAllowed").await;
    not_approved(&world, "g").await;
    sign(&world, ns, &grant, &bob, "bob").await;
    world.grant_active("g").await;
}

/// Who may approve in a namespace of his own has no say in another's.
#[tokio::test]
async fn a_review_from_a_third_namespace_says_nothing() {
    let world = World::with_namespaces("atkelsewhere", &["third"]).await;
    let _operator = world.operator().start();
    asked_for(&world).await;
    let (ns, third) = (&world.namespace, &world.other("third"));
    let (alice, mallory, bob) = (Person::named("alice"), Person::named("mallory"), Person::named("bob"));
    bind(&world, "securebucket-owner", &mallory, third).await;
    bind(&world, "securebucket-approver", &bob, ns).await;
    taken(create(&mallory.client(&world).await, third, "SecureBucket", "data", json!({})).await);
    let grant = waiting(&world, "g", &alice).await;
    sign(&world, third, &grant, &mallory, "mallory").await;
    uncounted(&world, third, "mallory", "GrantNotFound").await;
    not_approved(&world, "g").await;
    sign(&world, ns, &grant, &bob, "bob").await;
    world.grant_active("g").await;
}

/// A binding goes, a review is signed in another's name, the binding comes back: the review is older than what is in force.
#[tokio::test]
async fn a_review_that_was_made_while_a_binding_was_away_does_not_count() {
    let world = with_policies_of_its_own("atkaway").await;
    let _operator = world.operator().start();
    asked_for(&world).await;
    let ns = &world.namespace;
    let (alice, bob, mallory) = (Person::named("alice"), Person::named("bob"), Person::named("mallory"));
    for person in [&bob, &mallory] {
        bind(&world, "securebucket-approver", person, ns).await;
    }
    let grant = waiting(&world, "g", &alice).await;

    let client = mallory.client(&world).await;
    while_away(&world, Subject::Reviewer, || create(&client, ns, "GrantReview", "forged", review_spec(&grant, &bob)))
        .await;
    uncounted(&world, ns, "forged", "ApprovalNotEnforced").await;
    not_approved(&world, "g").await;
    world.grant_state("g", "ApprovalNotEnforced").await;

    // Asked anew and signed anew, by those who are who they say.
    let anew = asked_anew(&world, &alice, &["AwaitingApproval"]).await;
    sign(&world, ns, &anew, &bob, "signed").await;
    world.grant_active(anew.metadata.name.as_deref().unwrap()).await;
}
