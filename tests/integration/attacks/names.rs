//! Who asks, and under which name.

use serde_json::{Value, json};

use super::{Person, ask, bind, edit, refused, taken};
use crate::support::World;
use crate::support::command::Printed;

const ASKER: &str = "securebucket-requester";

#[tokio::test]
async fn nobody_asks_in_anothers_name() {
    let world = World::new("atkname").await;
    let ns = &world.namespace;
    let (alice, bob) = (Person::named("alice").uid("u-alice"), Person::named("bob").uid("u-bob"));
    bind(&world, ASKER, &alice, ns).await;
    let client = alice.client(&world).await;
    let way_out = r#"write: requester: {username: "alice", uid: "u-alice"}"#;
    let username = |name: &str, uid: &str| json!({"username": name, "uid": uid});
    for stamp in [
        Value::Null,
        bob.stamp(),
        username("bob", "u-alice"),
        username("alice", "u-bob"),
        username("Alice", "u-alice"),
        json!({"username": "alice"}),
        json!({"username": "alice", "uid": "u-alice", "session": "bob"}),
    ] {
        refused(ask(&client, ns, "g", stamp).await, "requester", &[way_out]);
    }
    taken(ask(&client, ns, "g", alice.stamp()).await);
    // Who has no uid claims none.
    let carol = Person::named("carol");
    bind(&world, ASKER, &carol, ns).await;
    let client = carol.client(&world).await;
    refused(ask(&client, ns, "g2", username("carol", "u-1")).await, "requester", &[r#"{username: "carol"}"#]);
    taken(ask(&client, ns, "g2", carol.stamp()).await);
}

/// The session's name is the caller's choice, so it is recorded beside the uid, which is the role's: two sessions of one role have one uid.
#[tokio::test]
async fn a_session_of_an_eks_role_is_named_as_it_is() {
    let world = World::new("atkeks").await;
    let ns = &world.namespace;
    let (one, two) = (Person::of_role("dev", "alice"), Person::of_role("dev", "bob"));
    assert_eq!(one.stamp()["uid"], two.stamp()["uid"]);
    for person in [&one, &two] {
        bind(&world, ASKER, person, ns).await;
    }
    let client = one.client(&world).await;
    let mut silent = one.stamp();
    silent.as_object_mut().unwrap().remove("session");
    let mut other = one.stamp();
    other["session"] = json!("bob");
    for stamp in [silent, other, two.stamp()] {
        refused(ask(&client, ns, "one", stamp).await, "requester", &[r#"session: "alice""#, r#"uid: "aws-iam"#]);
    }
    taken(ask(&client, ns, "one", one.stamp()).await);
    taken(ask(&two.client(&world).await, ns, "two", two.stamp()).await);
}

#[tokio::test]
async fn nodes_and_the_nameless_do_not_ask() {
    let world = World::new("atksystem").await;
    let ns = &world.namespace;
    for name in ["system:anonymous", "system:admin", "system:node:ip-10-0-0-1", "system:kube-controller-manager"] {
        let person = Person::named(name);
        bind(&world, ASKER, &person, ns).await;
        let outcome = ask(&person.client(&world).await, ns, "g", person.stamp()).await;
        refused(outcome, "requester", &["sign in as yourself"]);
    }
    // A robot may write the request; whether the bucket knows it is the operator's to judge.
    let robot = Person::named(&format!("system:serviceaccount:{ns}:robot")).uid("u-robot");
    bind(&world, ASKER, &robot, ns).await;
    let client = robot.client(&world).await;
    refused(ask(&client, ns, "g", json!({"username": "alice"})).await, "requester", &["system:serviceaccount:"]);
    taken(ask(&client, ns, "g", robot.stamp()).await);
    // Who is no system user is not taken for one.
    let admin = Person::named("kubernetes-admin").group("system:masters");
    taken(ask(&admin.client(&world).await, ns, "g2", admin.stamp()).await);
}

/// The operator may create requests in its own namespace, to prove that it may not under a false name. It cannot make one.
#[tokio::test]
async fn the_operator_makes_no_request() {
    let world = World::new("atkoperator").await;
    let ns = world.operator_namespace();
    let client = world.stack.client(world.kube_token()).await;
    let whoami = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let me = super::send(&client, "POST", path, "application/json", whoami).await.unwrap();
    let user = &me.data["status"]["userInfo"];
    let stamp = json!({"username": user["username"], "uid": user["uid"]});
    refused(ask(&client, ns, "g", stamp).await, "requester", &["the operator asks for nothing itself"]);
    let elsewhere =
        ask(&client, &world.namespace, "g", json!({"username": user["username"], "uid": user["uid"]})).await;
    assert!(elsewhere.unwrap_err().contains("cannot create resource"), "RBAC alone");
}

/// `--as` needs a right of its own; with it one *is* the other, which is why nobody should have it.
#[tokio::test]
async fn to_be_somebody_else_needs_the_right_to_impersonate() {
    let world = World::new("atkas").await;
    let ns = &world.namespace;
    let alice = Person::named("alice").uid("uid-alice");
    edit(&world, &alice, ns).await;
    let kubectl = |arguments: &[&str]| {
        let mut command = std::process::Command::new(&world.stack.tools.kubectl);
        command.arg("--kubeconfig").arg(&world.stack.kube.kubeconfig).args(["--context", "alice", "-n", ns]);
        Printed::from(command.args(arguments).output().unwrap())
    };
    let file = world.directory().join("g.json");
    let mut spec = crate::support::world::grant_spec("data", "reports", &["in/"], "1h");
    spec["requester"] = json!({"username": "bob"});
    let grant = json!({"apiVersion": "securebucket.io/v1alpha1", "kind": "DecryptGrant", "metadata": {"name": "g"}, "spec": spec});
    std::fs::write(&file, grant.to_string()).unwrap();
    let file = file.to_str().unwrap();
    // Straight to the path: kubectl does not pass on why the lookup of kinds is refused.
    let path = super::path(ns, "decryptgrants");
    let printed = kubectl(&["create", "--raw", &path, "-f", file, "--as", "bob"]);
    assert!(!printed.ok && printed.err.contains(r#"User "alice" cannot impersonate"#), "{printed:?}");
    let printed = kubectl(&["create", "--validate=false", "-f", file]);
    let way_out = r#"requester: {username: "alice", uid: "uid-alice"}"#;
    assert!(!printed.ok && printed.err.contains(way_out), "{printed:?}");
    let mut grant = grant;
    grant["spec"]["requester"] = alice.stamp();
    std::fs::write(file, grant.to_string()).unwrap();
    let printed = kubectl(&["create", "--validate=false", "-f", file]);
    assert!(printed.ok, "{printed:?}");
}
