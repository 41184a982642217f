//! The CRDs: the files are what the binary generates, and the schemas keep the rules that GitOps tools and API servers need.

#![cfg(feature = "operator")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test code; helpers are outside #[test] functions"
)]

use std::process::Command;

use kube::CustomResourceExt;
use securebucket::api::{DecryptGrant, GrantReview, SecureBucket};
use serde_json::Value;

fn schemas() -> Vec<(String, Value)> {
    let crds = securebucket::api::crds();
    let all = crds.iter().flat_map(|crd| {
        let name = crd.metadata.name.clone().unwrap();
        let value = serde_json::to_value(crd).unwrap();
        let versions = value["spec"]["versions"].as_array().cloned().unwrap();
        versions.into_iter().map(move |v| (format!("{name} {}", v["name"]), v["schema"]["openAPIV3Schema"].clone()))
    });
    all.collect()
}

/// Calls `visit` with the path and each schema, from the root down; the flag says whether a list is above.
fn walk(path: &str, schema: &Value, in_list: bool, visit: &mut dyn FnMut(&str, &Value, bool)) {
    visit(path, schema, in_list);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        walk(&format!("{path}.{name}"), property, in_list, visit);
    }
    if schema["items"].is_object() {
        walk(&format!("{path}[]"), &schema["items"], true, visit);
    }
    if schema["additionalProperties"].is_object() {
        walk(&format!("{path}{{}}"), &schema["additionalProperties"], in_list, visit);
    }
}

fn each(mut visit: impl FnMut(&str, &Value, bool)) {
    for (name, schema) in schemas() {
        walk(&name, &schema, false, &mut visit);
    }
}

#[test]
fn the_files_are_what_the_binary_generates() {
    let output = Command::new(env!("CARGO_BIN_EXE_securebucket")).arg("crds").output().unwrap();
    assert!(output.status.success());
    let generated = String::from_utf8(output.stdout).unwrap();
    for path in ["crds/securebucket.io.yaml", "charts/securebucket/files/crds/securebucket.io.yaml"] {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(text == generated, "{path} is not what this version generates; run: make crds");
    }
}

#[test]
fn no_default_stands_in_a_list() {
    // Argo CD compares a list as one value: a default inside makes it differ for ever (argo-cd#6939).
    let mut defaults = Vec::new();
    each(|path, schema, in_list| {
        assert!(!in_list || schema["default"].is_null(), "{path} has a default inside a list");
        if !schema["default"].is_null() {
            defaults.push(path.to_owned());
        }
    });
    assert_eq!(
        defaults,
        ["securebuckets.securebucket.io \"v1alpha1\".spec"],
        "a further default puts objects in Git out of sync"
    );
}

#[test]
fn numbers_have_formats_that_api_servers_know() {
    // kubernetes#133136: others are answered with a warning on each apply.
    each(|path, schema, _| {
        let format = schema["format"].as_str().unwrap_or_default();
        assert!(["", "int32", "int64", "date-time"].contains(&format), "{path}: format {format}");
    });
}

#[test]
fn lists_say_how_they_merge_and_texts_have_an_end() {
    each(|path, schema, _| {
        let in_spec = path.contains(".spec");
        if schema["type"] == "array" && path.ends_with("conditions") {
            assert_eq!(schema["x-kubernetes-list-type"], "map", "{path}");
            assert_eq!(schema["x-kubernetes-list-map-keys"][0], "type", "{path}");
        }
        if in_spec && schema["type"] == "array" {
            assert!(schema["maxItems"].is_number(), "{path} has no maxItems: CEL rules over it cost too much");
        }
        if in_spec && schema["type"] == "string" && schema["enum"].is_null() {
            assert!(schema["maxLength"].is_number(), "{path} has no maxLength");
        }
    });
}

#[test]
fn every_field_has_a_description() {
    each(|path, schema, _| {
        let named = path.contains(".spec.") || path.contains(".status.");
        let container = path.ends_with("[]") || path.ends_with("{}");
        if named && !container && !path.contains(".conditions[]") {
            assert!(schema["description"].as_str().is_some_and(|d| d.len() > 3), "{path} has no description");
        }
    });
}

#[test]
fn names_for_kubectl() {
    for (crd, short) in
        [(SecureBucket::crd(), "sbkt"), (DecryptGrant::crd(), "dgrant"), (GrantReview::crd(), "greview")]
    {
        assert_eq!(crd.spec.scope, "Namespaced");
        assert_eq!(crd.spec.names.short_names.unwrap(), [short]);
        let categories = crd.spec.names.categories.unwrap();
        assert!(!categories.contains(&"all".to_owned()), "`kubectl delete all` would delete data");
        assert_eq!(categories.len(), 1);
        let size = serde_json::to_string(&crd.spec.versions).unwrap().len();
        assert!(size < 200_000, "too large for the annotation of client-side apply: {size}");
    }
}
