//! Namespaces of a world, and what the chart gives the operator in them.

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, RoleBinding};
use kube::Client;
use kube::api::{Api, PostParams};
use serde_json::{Value, json};

use super::chart;
use super::wait::poll;
use super::world::{OPERATOR, make_account};

/// Makes the namespaces of a world, and gives the operator its rights in them.
pub async fn make_namespaces(client: &Client, operator: &str, watched: &[String]) {
    for name in watched.iter().map(String::as_str).chain([operator]) {
        make_namespace(client, name).await;
    }
    make_account(client, operator, OPERATOR).await;
    chart::put_role(client, operator, chart::cluster_rules(watched)).await;
    let cluster = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": operator},
        "roleRef": role_ref(operator), "subjects": subjects(operator),
    });
    chart::apply(&Api::<ClusterRoleBinding>::all(client.clone()), operator, &cluster).await;
    for namespace in watched {
        bind(client, namespace, operator, chart::NAMESPACED_ROLE).await;
    }
    bind(client, operator, operator, chart::LEASE_ROLE).await;
    until_bound(client, operator, operator, None).await;
}

/// Waits until the operator that lives in `operator` has what a ClusterRole gives.
async fn until_bound(client: &Client, operator: &str, role: &str, namespace: Option<&str>) {
    let user = format!("system:serviceaccount:{operator}:{OPERATOR}");
    if let Some(rule) = rules_of(client, role).await.into_iter().next() {
        until_known(client, &user, rule, namespace).await;
    }
}

/// Rules of a ClusterRole.
pub async fn rules_of(client: &Client, role: &str) -> Vec<PolicyRule> {
    Api::<ClusterRole>::all(client.clone()).get(role).await.unwrap().rules.unwrap_or_default()
}

/// Waits until somebody may do what a rule says: the authorizer learns of bindings from a watch, some moments later.
pub async fn until_known(client: &Client, user: &str, rule: PolicyRule, namespace: Option<&str>) {
    let api: Api<SubjectAccessReview> = Api::all(client.clone());
    let first = |list: Option<Vec<String>>| list.and_then(|l| l.first().cloned());
    let attributes = ResourceAttributes {
        group: first(rule.api_groups),
        resource: first(rule.resources),
        verb: rule.verbs.last().cloned(),
        name: first(rule.resource_names),
        namespace: namespace.map(str::to_owned),
        ..ResourceAttributes::default()
    };
    let spec = SubjectAccessReviewSpec {
        user: Some(user.to_owned()),
        resource_attributes: Some(attributes),
        ..SubjectAccessReviewSpec::default()
    };
    let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
    let known = || async {
        let answer = api.create(&PostParams::default(), &review).await.unwrap();
        answer.status.is_some_and(|s| s.allowed).then_some(())
    };
    assert!(poll(known).await.is_some(), "{user} is not known to have {review:?}");
}

/// Makes a namespace.
pub async fn make_namespace(client: &Client, name: &str) -> Namespace {
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    Api::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap()
}

/// Gives the operator that lives in `operator` the chart's rights in one more namespace, as `watch.namespaces` does.
pub async fn bind(client: &Client, namespace: &str, operator: &str, role: &str) {
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": role},
        "roleRef": role_ref(role), "subjects": subjects(operator),
    });
    chart::apply(&Api::<RoleBinding>::namespaced(client.clone(), namespace), role, &binding).await;
    until_bound(client, operator, role, Some(namespace)).await;
}

fn role_ref(name: &str) -> Value {
    json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name})
}

fn subjects(operator: &str) -> Value {
    json!([{"kind": "ServiceAccount", "name": OPERATOR, "namespace": operator}])
}
