//! Names for requests of the operator, and their parameters: what faults are aimed by, and what the journal holds.

use std::collections::BTreeMap;

use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use kube::client::Body;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use crate::support::journal::{Operation, text};
use crate::support::kube_journal::KubeRequest;

/// Parameters of an AWS request; policy documents among them are JSON.
pub fn aws_parameters(operation: &Operation, request: &HttpRequest) -> Value {
    let body = text(request).unwrap_or_default();
    let parameters = match operation.service {
        "kms" => serde_json::from_str(&body).unwrap_or_default(),
        "iam" | "sts" => json!(form(&body)),
        _ => {
            let path = request.uri().split('?').next().unwrap_or_default();
            let bucket = path.splitn(4, '/').nth(3).unwrap_or_default().split('/').next();
            let name = if operation.name == "PutBucketPolicy" { "Policy" } else { "Body" };
            json!({ "Bucket": bucket, name: body })
        }
    };
    documents(parameters)
}

/// Service, operation, and which of several objects it is about: the ServiceAccount whose role it is, or that a key is named by its alias.
pub fn aws_label(operation: &Operation, parameters: &Value) -> String {
    let text = |name: &str| parameters.get(name).and_then(Value::as_str);
    let about = match operation.service {
        "iam" => text("RoleName").and_then(service_account_of).unwrap_or_default(),
        "kms" => text("KeyId").filter(|k| k.starts_with("alias/")).map(|_| "alias").unwrap_or_default(),
        _ => "",
    };
    format!("{} {} {about}", operation.service, operation.name).trim_end().to_owned()
}

/// `<namespace>--<ServiceAccount>-<8 hex>` → the ServiceAccount.
pub fn service_account_of(role: &str) -> Option<&str> {
    Some(role.split_once("--")?.1.rsplit_once('-')?.0)
}

fn form(body: &str) -> BTreeMap<String, String> {
    let decoded = |t: &str| percent_decode_str(&t.replace('+', " ")).decode_utf8_lossy().into_owned();
    let pairs = body.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decoded(name), decoded(value))).collect()
}

fn documents(mut parameters: Value) -> Value {
    for name in ["PolicyDocument", "AssumeRolePolicyDocument", "Policy"] {
        let parsed = parameters.get(name).and_then(Value::as_str).and_then(|t| serde_json::from_str(t).ok());
        if let (Some(document), Some(slot)) = (parsed, parameters.get_mut(name)) {
            *slot = document;
        }
    }
    parameters
}

/// Verb and object. Every run has a namespace of its own, so its name says nothing.
pub fn kube_label(request: &KubeRequest) -> String {
    let name = if request.resource == "namespaces" { "" } else { request.name.as_str() };
    let verb = if request.name.is_empty() && !request.is_write() { "LIST" } else { request.method.as_str() };
    let path = [request.resource.as_str(), name, &request.subresource].into_iter().filter(|p| !p.is_empty());
    format!("kube {verb} {}", path.collect::<Vec<_>>().join("/"))
}

/// False for what is no step of the operator's work: watches and the lists that begin them (they come in pages), which kube renews by
/// itself; leases; tokens; events, on which nothing depends; and looks at the admission policies, which have a clock of their own.
pub fn kube_counts(what: &KubeRequest, request: &http::Request<Body>) -> bool {
    let paged = request.uri().query().is_some_and(|q| q.split('&').any(|p| p.starts_with("limit=")));
    !(what.watch
        || what.name.is_empty() && !what.is_write() && paged
        || what.dry_run
        || ["leases", "events", "validatingadmissionpolicies", "validatingadmissionpolicybindings"]
            .contains(&what.resource.as_str())
        || what.subresource == "token")
}

#[cfg(test)]
mod tests {
    use aws_smithy_types::body::SdkBody;

    use super::*;

    fn aws(service: &'static str, name: &str, body: &str) -> (String, Value) {
        let mut request = HttpRequest::new(SdkBody::from(body));
        request.set_uri("http://127.0.0.1:1/b-1?policy".to_owned()).unwrap();
        let operation = Operation { service, name: name.into(), write: true };
        let parameters = aws_parameters(&operation, &request);
        (aws_label(&operation, &parameters), parameters)
    }

    #[test]
    fn aws_requests_have_names_that_are_the_same_in_every_world() {
        let (label, parameters) = aws(
            "iam",
            "PutRolePolicy",
            "Action=PutRolePolicy&RoleName=ns-1--etl-prod-0a1b2c3d&PolicyDocument=%7B%22a%22%3A%22b+c%22%7D",
        );
        assert_eq!(label, "iam PutRolePolicy etl-prod");
        assert_eq!(parameters["PolicyDocument"], json!({"a": "b c"}));
        assert_eq!(aws("kms", "DescribeKey", r#"{"KeyId":"alias/x"}"#).0, "kms DescribeKey alias");
        assert_eq!(aws("kms", "DescribeKey", r#"{"KeyId":"arn:x"}"#).0, "kms DescribeKey");
        let (label, parameters) = aws("s3", "PutBucketPolicy", r#"{"Version":"v"}"#);
        assert_eq!(
            (label.as_str(), parameters),
            ("s3 PutBucketPolicy", json!({"Bucket": "b-1", "Policy": {"Version": "v"}}))
        );
    }

    #[test]
    fn kube_requests_are_told_apart() {
        const CRD: &str = "/apis/securebucket.io/v1alpha1/namespaces/ns-1/securebuckets";
        for (method, uri, label, counts) in [
            ("PUT", format!("{CRD}/data/status?&fieldManager=x"), "kube PUT securebuckets/data/status", true),
            ("GET", format!("{CRD}?"), "kube LIST securebuckets", true),
            ("GET", format!("{CRD}?&limit=500"), "kube LIST securebuckets", false),
            ("GET", format!("{CRD}?&watch=true&timeoutSeconds=60"), "kube LIST securebuckets", false),
            ("GET", "/api/v1/namespaces/ns-1".into(), "kube GET namespaces", true),
            ("GET", "/api/v1/namespaces/ns-1/serviceaccounts/etl".into(), "kube GET serviceaccounts/etl", true),
            ("POST", "/apis/events.k8s.io/v1/namespaces/ns-1/events?".into(), "kube POST events", false),
        ] {
            let request = http::Request::builder().method(method).uri(&uri).body(Body::empty()).unwrap();
            let what = KubeRequest::of(&request);
            assert_eq!((kube_label(&what).as_str(), kube_counts(&what, &request)), (label, counts), "{uri}");
        }
    }
}
