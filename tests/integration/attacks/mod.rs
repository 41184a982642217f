//! People who are not who they say, or may not do what they try, on the real API server: each is refused in words that help the honest, and beside each
//! refusal stands what is allowed.

mod agreed;
mod bindings;
mod break_glass;
mod deciders;
mod extends;
mod names;
mod owners;
mod roles;
mod rules;
mod writers;

use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicyBinding;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::DeleteParams;
use kube::core::DynamicObject;
use kube::{Api, Client};
use securebucket::admission::{self, Subject};
use securebucket::api::DecryptGrant;
use serde_json::{Value, json};

use crate::support::person::Person;
use crate::support::rights::{rules_of, until_known};
use crate::support::wait::{poll, state};
use crate::support::world::grant_spec;
use crate::support::{Stack, World, chart};

/// Binds a ClusterRole of the chart to a user, in a namespace.
pub async fn bind(world: &World, role: &str, person: &Person, namespace: &str) {
    give(world, "ClusterRole", role, person, namespace).await;
}

/// Binds a role to a user or a group, and does not wait until that is known.
pub async fn role_binding(world: &World, (kind, role): (&str, &str), (who, name): (&str, &str), namespace: &str) {
    let binding_name = format!("{role}-{}", uuid::Uuid::new_v4().simple());
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": binding_name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": who, "name": name}],
    });
    chart::apply(&Api::<RoleBinding>::namespaced(world.client.clone(), namespace), &binding_name, &binding).await;
}

async fn give(world: &World, kind: &str, role: &str, person: &Person, namespace: &str) {
    role_binding(world, (kind, role), ("User", &person.username), namespace).await;
    let mut rules = match kind {
        "Role" => Api::<Role>::namespaced(world.client.clone(), namespace).get(role).await.unwrap().rules.unwrap(),
        _ => rules_of(&world.client, role).await,
    };
    until_known(&world.client, &person.username, rules.swap_remove(0), Some(namespace)).await;
}

/// Gives somebody what `edit` would: every usual verb on all that is ours, subresources too, and no other verb.
async fn edit(world: &World, person: &Person, namespace: &str) {
    let resources = ["securebuckets", "decryptgrants", "grantreviews"];
    let all: Vec<String> = resources.iter().flat_map(|r| [(*r).to_owned(), format!("{r}/status")]).collect();
    let verbs = ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "like-edit"},
        "rules": [{"apiGroups": ["securebucket.io"], "resources": all, "verbs": verbs}],
    });
    chart::apply(&Api::<Role>::namespaced(world.client.clone(), namespace), "like-edit", &role).await;
    give(world, "Role", "like-edit", person, namespace).await;
}

/// Gives somebody what owners of namespaces often have: every verb on everything in it, by a Role.
async fn everything(world: &World, person: &Person, namespace: &str) {
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "everything"},
        "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}],
    });
    chart::apply(&Api::<Role>::namespaced(world.client.clone(), namespace), "everything", &role).await;
    give(world, "Role", "everything", person, namespace).await;
}

/// Sends a request of this person; an error in the API server's words.
async fn send(client: &Client, method: &str, path: &str, content: &str, body: Value) -> Result<DynamicObject, String> {
    let request = http::Request::builder().method(method).uri(path).header("content-type", content);
    let sent = client.request::<DynamicObject>(request.body(body.to_string().into_bytes()).unwrap()).await;
    sent.map_err(|e| match e {
        kube::Error::Api(status) => format!("{}: {}", status.code, status.message),
        other => other.to_string(),
    })
}

/// Path of objects of ours.
fn path(namespace: &str, resource: &str) -> String {
    format!("/apis/securebucket.io/v1alpha1/namespaces/{namespace}/{resource}")
}

async fn create(
    client: &Client,
    namespace: &str,
    kind: &str,
    name: &str,
    spec: Value,
) -> Result<DynamicObject, String> {
    let object =
        json!({"apiVersion": "securebucket.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    let resource = format!("{}s", kind.to_lowercase());
    send(client, "POST", &path(namespace, &resource), "application/json", object).await
}

/// Asks for a grant, as whom the stamp says.
async fn ask(client: &Client, namespace: &str, name: &str, stamp: Value) -> Result<DynamicObject, String> {
    let mut spec = grant_spec("data", "reports", &["in/"], "1h");
    spec["requester"] = stamp.clone();
    if stamp.is_null() {
        spec.as_object_mut().unwrap().remove("requester");
    }
    create(client, namespace, "DecryptGrant", name, spec).await
}

/// Writes a review of a grant that need not exist, as whom the stamp says.
async fn review(client: &Client, namespace: &str, decision: &str, stamp: Value) -> Result<DynamicObject, String> {
    let spec = json!({
        "bucketRef": {"name": "data"}, "grantRef": {"namespace": namespace, "name": "g", "uid": "0-0"},
        "termsHash": "0".repeat(64), "decision": decision, "reviewer": stamp,
    });
    let name = format!("r-{}", uuid::Uuid::new_v4().simple());
    create(client, namespace, "GrantReview", &name, spec).await
}

/// Refused by a policy of ours, with these words.
#[track_caller]
fn refused(outcome: Result<DynamicObject, String>, by: &str, words: &[&str]) {
    let error = outcome.err().unwrap_or_else(|| panic!("it was taken; {by} should have refused it"));
    assert!(error.starts_with("403: ") && error.contains(&format!("'securebucket-{by}-")), "{error}");
    for word in words {
        assert!(error.contains(word), "{word:?} is not in {error}");
    }
}

#[track_caller]
fn taken(outcome: Result<DynamicObject, String>) {
    if let Err(error) = outcome {
        panic!("it was refused: {error}");
    }
}

/// An approval by this person of the grant as it is.
fn review_spec(grant: &DecryptGrant, person: &Person) -> Value {
    let mut spec = crate::support::reviews::review_spec(grant, "Approve", "");
    spec["reviewer"] = person.stamp();
    spec
}

/// A world with an API server of its own, whose admission policies are in force and can be taken away.
async fn with_policies_of_its_own(name: &str) -> World {
    let stack = Stack::of_its_own().await;
    chart::admission(&stack.admin().await).await;
    let world = World::on(stack, name, &[]).await;
    chart::in_force(&world.client).await;
    world
}

/// The binding of a policy goes, something is made that it refused, the binding comes back.
async fn while_away<F>(world: &World, subject: Subject, make: impl Fn() -> F)
where
    F: Future<Output = Result<DynamicObject, String>>,
{
    let rule = admission::rules().into_iter().find(|r| r.subject == subject).unwrap();
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(world.client.clone());
    bindings.delete(rule.binding_name(), &DeleteParams::default()).await.unwrap();
    // Until the API server has noticed, it still refuses.
    let made = || async { make().await.ok() };
    assert!(poll(made).await.is_some(), "nothing refuses it any more");
    chart::apply(&bindings, rule.binding_name(), &rule.binding).await;
}

/// A request of this person that is younger than the policies in force: asked again and again until one is in one of these states.
async fn asked_anew(world: &World, person: &Person, wanted: &[&str]) -> DecryptGrant {
    let asked = || async {
        let name = format!("anew-{}", uuid::Uuid::new_v4().simple());
        ask(&person.client(world).await, &world.namespace, &name, person.stamp()).await.ok()?;
        let looked = || async {
            let grant = world.grants().get(&name).await.unwrap();
            (wanted.contains(&state(&grant)) || state(&grant) == "ApprovalNotEnforced").then_some(grant)
        };
        let grant = poll(looked).await?;
        if state(&grant) != "ApprovalNotEnforced" {
            return Some(grant);
        }
        world.grants().delete(&name, &DeleteParams::default()).await.ok()?;
        None
    };
    poll(asked).await.expect("a request that is younger than the policies")
}
