//! CRDs and manifests as the API server takes them.

use std::io::Write;
use std::process::{Command, Stdio};

use k8s_openapi::api::rbac::v1::{ClusterRole, Role};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::json;

use crate::support::World;
use crate::support::chart::{of_kind, render};

/// kubectl with a manifest on stdin: what it printed on stderr, warnings of the API server among it.
fn apply(world: &World, manifest: &str) -> String {
    let mut kubectl = Command::new(&world.stack.tools.kubectl)
        .arg("--kubeconfig")
        .arg(&world.stack.kube.kubeconfig)
        .args(["apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    kubectl.stdin.take().unwrap().write_all(manifest.as_bytes()).unwrap();
    let output = kubectl.wait_with_output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{err}");
    err
}

#[tokio::test]
async fn crds_and_objects_are_taken_without_a_warning() {
    let world = World::new("warnings").await;
    let crds: Vec<String> = securebucket::api::crds().iter().map(|c| serde_json::to_string(c).unwrap()).collect();
    for crd in crds {
        assert_eq!(apply(&world, &crd), "");
    }
    let bucket = json!({
        "apiVersion": "securebucket.io/v1alpha1", "kind": "SecureBucket",
        "metadata": {"name": "data", "namespace": world.namespace, "finalizers": [securebucket::api::BUCKET_FINALIZER]},
        "spec": {},
    });
    let grant = json!({
        "apiVersion": "securebucket.io/v1alpha1", "kind": "DecryptGrant",
        "metadata": {"name": "g", "namespace": world.namespace, "finalizers": [securebucket::api::GRANT_FINALIZER]},
        "spec": crate::support::world::grant_spec("data", "x", &["in/"], "1h"),
    });
    let mut grant = grant;
    grant["spec"]["requester"] = crate::support::world::admin_identity();
    for object in [bucket, grant] {
        assert_eq!(apply(&world, &object.to_string()), "", "{object}");
    }
    // Beside it: a field that is none is told, not taken in silence.
    let misspelt = json!({
        "apiVersion": "securebucket.io/v1alpha1", "kind": "SecureBucket",
        "metadata": {"name": "typo", "namespace": world.namespace}, "spec": {"bucketname": "x"},
    });
    let refused = world.client.request::<serde_json::Value>(
        http::Request::post(format!(
            "/apis/securebucket.io/v1alpha1/namespaces/{}/securebuckets?fieldValidation=Strict",
            world.namespace
        ))
        .header("content-type", "application/json")
        .body(misspelt.to_string().into_bytes())
        .unwrap(),
    );
    assert!(refused.await.unwrap_err().to_string().contains("unknown field \"spec.bucketname\""));
}

#[tokio::test]
async fn the_chart_installs_the_same_crds_and_an_operator_that_cannot_do_more() {
    let world = World::new("chart").await;
    let objects = render(world.stack, &["--namespace", "op"]);
    let kinds: Vec<&str> = objects.iter().filter_map(|o| o["kind"].as_str()).collect();
    assert_eq!(kinds.iter().filter(|k| **k == "CustomResourceDefinition").count(), 3, "{kinds:?}");
    let crds: Vec<CustomResourceDefinition> = of_kind(&objects, "CustomResourceDefinition");
    for (crd, ours) in crds.iter().zip(securebucket::api::crds()) {
        assert_eq!(crd.spec, ours.spec);
        assert_eq!(crd.metadata.annotations.clone().unwrap()["helm.sh/resource-policy"], "keep");
    }
    // The namespaced rights are the same whether they come from a Role or from the ClusterRole.
    let many: Vec<ClusterRole> = of_kind(&objects, "ClusterRole");
    let some = render(world.stack, &["--namespace", "op", "--set", "watch.namespaces={app}"]);
    let roles: Vec<Role> = of_kind(&some, "Role");
    let role = roles.iter().find(|r| r.metadata.namespace.as_deref() == Some("app")).unwrap();
    let everywhere = many[0].rules.clone().unwrap();
    for rule in role.rules.clone().unwrap() {
        assert!(everywhere.contains(&rule), "{rule:?} is not in the ClusterRole");
    }
}
