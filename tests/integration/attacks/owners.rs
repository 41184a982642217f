//! Who says who may decrypt.

use kube::Client;
use kube::core::DynamicObject;
use serde_json::{Value, json};

use super::{Person, bind, create, edit, path, refused, send, taken};
use crate::support::World;

async fn patch(client: &Client, world: &World, patch: Value) -> Result<DynamicObject, String> {
    let path = format!("{}/data", path(&world.namespace, "securebuckets"));
    send(client, "PATCH", &path, "application/merge-patch+json", patch).await
}

async fn delete(client: &Client, world: &World, name: &str) -> Result<DynamicObject, String> {
    let path = format!("{}/{name}", path(&world.namespace, "securebuckets"));
    send(client, "DELETE", &path, "application/json", json!({})).await
}

fn processor() -> Value {
    json!([{"name": "x", "duty": "Processor", "serviceAccountRef": {"name": "x"}, "prefixes": ["in/"]}])
}

/// Somebody with every usual verb, and the owner beside him.
async fn two(world: &World) -> (Client, Client) {
    let (eve, olga) = (Person::named("eve"), Person::named("olga"));
    edit(world, &eve, &world.namespace).await;
    bind(world, "securebucket-owner", &olga, &world.namespace).await;
    (eve.client(world).await, olga.client(world).await)
}

/// The same two and a responder, with a SecureBucket `data` of the owner's.
async fn three(world: &World) -> (Client, Client, Client) {
    let (eve, olga) = two(world).await;
    let rex = Person::named("rex");
    bind(world, "securebucket-responder", &rex, &world.namespace).await;
    let rex = rex.client(world).await;
    taken(create(&olga, &world.namespace, "SecureBucket", "data", json!({"grants": {"approvals": 2}})).await);
    (eve, olga, rex)
}

#[tokio::test]
async fn edit_changes_nothing_of_who_may_decrypt() {
    let world = World::new("atkedit").await;
    let ns = &world.namespace;
    let (eve, olga) = two(&world).await;
    let names_the_way = ["does not hold the verb \"delegate\"", "ClusterRole securebucket-owner", "GitOps"];
    for (field, value) in
        [("access", processor()), ("grants", json!({"approvals": 0})), ("foreignGrants", json!("Revoke"))]
    {
        let outcome = create(&eve, ns, "SecureBucket", "data", json!({field: value})).await;
        refused(outcome, "delegate", &[&[format!("spec.{field}").as_str()][..], &names_the_way].concat());
    }
    // A bucket with nothing of that kind, or with the defaults said, is everybody's who may make one.
    let plain = json!({"access": [], "deletionPolicy": "Retain", "foreignGrants": "Report", "tags": {"a": "b"}});
    taken(create(&eve, ns, "SecureBucket", "plain", plain).await);
    taken(delete(&eve, &world, "plain").await);
    taken(create(&olga, ns, "SecureBucket", "data", json!({"grants": {"approvals": 2}, "access": processor()})).await);
    for (change, field) in [
        (json!({"grants": {"approvals": 1}}), "spec.grants"),
        (json!({"grants": {"allowedNamespaces": ["mine"]}}), "spec.grants"),
        (json!({"grants": null}), "spec.grants"),
        (json!({"access": [{"name": "y", "duty": "Auditor", "serviceAccountRef": {"name": "y"}}]}), "spec.access"),
        (json!({"access": null}), "spec.access"),
        (json!({"foreignGrants": "Revoke"}), "spec.foreignGrants"),
    ] {
        let change = json!({"spec": change});
        refused(patch(&eve, &world, change.clone()).await, "delegate", &[&[field][..], &names_the_way].concat());
        taken(patch(&olga, &world, change).await);
    }
    taken(patch(&eve, &world, json!({"spec": {"tags": {"a": "c"}}, "metadata": {"labels": {"a": "b"}}})).await);
}

/// Made anew without what protected it, it would take the same bucket back.
#[tokio::test]
async fn edit_does_not_delete_what_says_who_may_decrypt() {
    let world = World::new("atkdelete").await;
    let ns = &world.namespace;
    let (eve, olga) = two(&world).await;
    taken(create(&olga, ns, "SecureBucket", "data", json!({"grants": {"approvals": 2}})).await);
    refused(
        delete(&eve, &world, "data").await,
        "delegate",
        &["deleting it takes away spec.grants", "securebucket-owner"],
    );
    let all = send(&eve, "DELETE", &path(ns, "securebuckets"), "application/json", json!({})).await;
    refused(all, "delegate", &["deleting it takes away spec.grants"]);
    // Nor has it deleted, by an owner that is gone.
    let owner = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "0-0"}]);
    let owned = json!({"metadata": {"ownerReferences": owner}});
    refused(patch(&eve, &world, owned).await, "delegate", &["metadata.ownerReferences"]);
    // What goes with its namespace goes, whoever owns it.
    let controller = Person::named("system:serviceaccount:kube-system:namespace-controller").group("system:masters");
    taken(create(&olga, ns, "SecureBucket", "two", json!({"grants": {"approvals": 2}})).await);
    taken(delete(&controller.client(&world).await, &world, "two").await);
    taken(delete(&olga, &world, "data").await);
}

#[tokio::test]
async fn a_lockdown_is_set_by_responders_and_owners_and_lifted_by_responders() {
    let world = World::new("atklock").await;
    let ns = &world.namespace;
    let (eve, olga, rex) = three(&world).await;
    let lockdown = |value: Value| json!({"spec": {"lockdown": value}});
    let lift = |id: Value| json!({"metadata": {"annotations": {"securebucket.io/lift-lockdown": id}}});
    let shut = lockdown(json!({"reason": "leaked laptop"}));
    refused(
        patch(&eve, &world, shut.clone()).await,
        "delegate",
        &["spec.lockdown", "lift-lockdown", "securebucket-responder"],
    );
    taken(patch(&rex, &world, shut).await);
    taken(patch(&olga, &world, lockdown(json!({"reason": "leaked laptop", "level": "All"}))).await);
    refused(patch(&eve, &world, lockdown(Value::Null)).await, "delegate", &["spec.lockdown"]);
    taken(patch(&rex, &world, lockdown(Value::Null)).await);
    for other in [&eve, &olga] {
        refused(
            patch(other, &world, lift(json!("1234abcd"))).await,
            "delegate",
            &["\"lift-lockdown\"", "securebucket-responder"],
        );
    }
    taken(patch(&rex, &world, lift(json!("1234abcd"))).await);
    refused(patch(&eve, &world, lift(json!("other"))).await, "delegate", &["this lifts the lockdown"]);
    taken(patch(&eve, &world, lift(Value::Null)).await);
    // On creation as well: an object that is applied again brings its annotations.
    let object = json!({"apiVersion": "securebucket.io/v1alpha1", "kind": "SecureBucket",
        "metadata": {"name": "again", "annotations": {"securebucket.io/lift-lockdown": "1234abcd"}}, "spec": {}});
    let outcome = send(&eve, "POST", &path(ns, "securebuckets"), "application/json", object).await;
    refused(outcome, "delegate", &["this lifts the lockdown"]);
    // The responder closes; who may decrypt is not his to say.
    refused(patch(&rex, &world, json!({"spec": {"access": processor()}})).await, "delegate", &["spec.access"]);
}

/// A GitOps tool is a ServiceAccount like others: with `delegate` on the buckets of its namespace it applies them.
#[tokio::test]
async fn a_gitops_tool_needs_the_owners_role() {
    let world = World::new("atkgitops").await;
    let ns = &world.namespace;
    let tool = Person::named(&format!("system:serviceaccount:{ns}:argocd")).uid("u-argo");
    edit(&world, &tool, ns).await;
    let client = tool.client(&world).await;
    let object = json!({"apiVersion": "securebucket.io/v1alpha1", "kind": "SecureBucket", "metadata": {"name": "data"}, "spec": {"access": processor()}});
    let at = format!("{}/data?fieldManager=argocd&force=true", path(ns, "securebuckets"));
    let apply = async || send(&client, "PATCH", &at, "application/apply-patch+yaml", object.clone()).await;
    refused(apply().await, "delegate", &["system:serviceaccount:", "GitOps tool needs it for its ServiceAccount"]);
    bind(&world, "securebucket-owner", &tool, ns).await;
    taken(apply().await);
    taken(apply().await);
}

/// What a responder closed by hand in AWS is opened by who may decide that, and by nobody who may only edit.
#[tokio::test]
async fn edit_does_not_undo_what_a_responder_tightened() {
    let world = World::new("atkreopen").await;
    let ns = &world.namespace;
    let (eve, olga, rex) = three(&world).await;
    let asked = |value: Value| json!({"metadata": {"annotations": {"securebucket.io/reconcile-at": value}}});
    let words = ["reconcile-at", "\"delegate\"", "\"lift-lockdown\"", "securebucket-owner"];
    refused(patch(&eve, &world, asked(json!("now"))).await, "delegate", &words);
    taken(patch(&rex, &world, asked(json!("now"))).await);
    taken(patch(&olga, &world, asked(json!("later"))).await);
    // Other changes leave it as it is, and taking it away undoes nothing.
    taken(patch(&eve, &world, json!({"metadata": {"labels": {"a": "b"}}})).await);
    taken(patch(&eve, &world, asked(Value::Null)).await);
    // Nor does an empty one, which the operator takes for none (`tightened::a_disabled_key`).
    taken(patch(&eve, &world, asked(json!(""))).await);
    let object = json!({"apiVersion": "securebucket.io/v1alpha1", "kind": "SecureBucket", "spec": {},
        "metadata": {"name": "new", "annotations": {"securebucket.io/reconcile-at": "now"}}});
    let outcome = send(&eve, "POST", &path(ns, "securebuckets"), "application/json", object).await;
    refused(outcome, "delegate", &words);
}
