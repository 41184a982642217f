//! Who reviews, under which name, and by which right.

use serde_json::json;

use super::{Person, bind, edit, refused, review, taken};
use crate::support::World;

#[tokio::test]
async fn nobody_signs_as_another() {
    let world = World::new("atksign").await;
    let ns = &world.namespace;
    let bob = Person::named("bob").uid("u-bob").group("owners").group("on-call");
    let mallory = Person::named("mallory").uid("u-mallory");
    for person in [&bob, &mallory] {
        bind(&world, "securebucket-approver", person, ns).await;
    }
    let client = mallory.client(&world).await;
    let way_out = r#"write: reviewer: {username: "mallory", uid: "u-mallory"}"#;
    for stamp in [bob.stamp(), json!({"username": "mallory"}), json!({"username": "bob", "uid": "u-mallory"})] {
        refused(review(&client, ns, "Approve", stamp).await, "reviewer", &[way_out]);
    }
    taken(review(&client, ns, "Approve", mallory.stamp()).await);
    // Groups: none that one is not in, and not all of them need to be said.
    let grouped = |person: &Person, groups: &[&str]| {
        let mut stamp = person.stamp();
        stamp["groups"] = json!(groups);
        stamp
    };
    let outcome = review(&client, ns, "Approve", grouped(&mallory, &["owners"])).await;
    refused(outcome, "reviewer", &["you are not in owners", "kubectl auth whoami"]);
    let client = bob.client(&world).await;
    refused(
        review(&client, ns, "Deny", grouped(&bob, &["owners", "security"])).await,
        "reviewer",
        &["not in security"],
    );
    taken(review(&client, ns, "Deny", grouped(&bob, &["owners"])).await);
}

#[tokio::test]
async fn each_decision_needs_its_verb() {
    let world = World::new("atkverb").await;
    let ns = &world.namespace;
    let (eve, approver) = (Person::named("eve"), Person::named("ann"));
    let (responder, owner) = (Person::named("rex"), Person::named("olga"));
    edit(&world, &eve, ns).await;
    bind(&world, "securebucket-approver", &approver, ns).await;
    bind(&world, "securebucket-responder", &responder, ns).await;
    bind(&world, "securebucket-owner", &owner, ns).await;
    for (person, may) in [
        (&eve, &[][..]),
        (&approver, &["Approve", "Deny"]),
        (&responder, &["Revoke"]),
        (&owner, &["Approve", "Deny", "Revoke"]),
    ] {
        let client = person.client(&world).await;
        for decision in ["Approve", "Deny", "Revoke"] {
            let outcome = review(&client, ns, decision, person.stamp()).await;
            if may.contains(&decision) {
                taken(outcome);
            } else {
                let (verb, role) = if decision == "Revoke" { ("revoke", "responder") } else { ("approve", "approver") };
                let words = format!("{} does not hold the verb \"{verb}\"", person.username);
                let bucket = format!(r#"securebuckets.securebucket.io "data" in namespace "{ns}""#);
                refused(outcome, "reviewer", &[&words, &bucket, &format!("ClusterRole securebucket-{role}")]);
            }
        }
    }
}

/// A review lies where the bucket lies: the right to approve elsewhere is none here, and a review elsewhere is judged by the rights there.
#[tokio::test]
async fn the_right_to_approve_is_that_of_the_buckets_namespace() {
    let world = World::with_namespaces("atkthird", &["third"]).await;
    let (ns, third) = (&world.namespace, &world.other("third"));
    let bob = Person::named("bob");
    bind(&world, "securebucket-approver", &bob, ns).await;
    edit(&world, &bob, third).await;
    let client = bob.client(&world).await;
    refused(review(&client, third, "Approve", bob.stamp()).await, "reviewer", &["in the namespace of the bucket"]);
    taken(review(&client, ns, "Approve", bob.stamp()).await);
}

/// The right can be given for one bucket alone.
#[tokio::test]
async fn the_right_to_approve_can_be_that_of_one_bucket() {
    let world = World::new("atkone").await;
    let ns = &world.namespace;
    let (ann, ben) = (Person::named("ann"), Person::named("ben"));
    for (person, bucket) in [(&ann, "data"), (&ben, "other")] {
        edit(&world, person, ns).await;
        let name = format!("approves-{bucket}");
        let role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": name},
            "rules": [{"apiGroups": ["securebucket.io"], "resources": ["securebuckets"], "resourceNames": [bucket], "verbs": ["approve"]}],
        });
        let api = kube::Api::<k8s_openapi::api::rbac::v1::Role>::namespaced(world.client.clone(), ns);
        crate::support::chart::apply(&api, &name, &role).await;
        super::give(&world, "Role", &name, person, ns).await;
    }
    taken(review(&ann.client(&world).await, ns, "Approve", ann.stamp()).await);
    refused(review(&ben.client(&world).await, ns, "Approve", ben.stamp()).await, "reviewer", &["\"approve\""]);
}

#[tokio::test]
async fn nodes_and_the_nameless_do_not_review() {
    let world = World::new("atkrsystem").await;
    let ns = &world.namespace;
    for name in ["system:anonymous", "system:node:ip-10-0-0-1"] {
        let person = Person::named(name);
        bind(&world, "securebucket-approver", &person, ns).await;
        let outcome = review(&person.client(&world).await, ns, "Approve", person.stamp()).await;
        refused(outcome, "reviewer", &["sign in as yourself"]);
    }
    let robot = Person::named(&format!("system:serviceaccount:{ns}:robot")).uid("u-robot");
    bind(&world, "securebucket-approver", &robot, ns).await;
    taken(review(&robot.client(&world).await, ns, "Approve", robot.stamp()).await);
}
