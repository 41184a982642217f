//! Namespaces of a world, and what the chart gives the operator in them.

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleBinding};
use kube::Client;
use kube::api::{Api, PostParams};
use serde_json::{Value, json};

use super::chart;
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
}

fn role_ref(name: &str) -> Value {
    json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name})
}

fn subjects(operator: &str) -> Value {
    json!([{"kind": "ServiceAccount", "name": OPERATOR, "namespace": operator}])
}
