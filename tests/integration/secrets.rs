//! No credential leaves the operator: not in status, events, ConfigMaps, logs, metrics or errors, at the most talkative of its own levels.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use k8s_openapi::api::core::v1::{ConfigMap, Event};
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::scene::{OFTEN, Scene};
use crate::support::World;
use crate::support::hooks::{AwsNext, aws_hook};
use crate::support::journal::Operation;

/// What stands between tags of STS's answer, or after this name in that of KMS.
const SECRETS: [&str; 4] = ["AccessKeyId", "SecretAccessKey", "SessionToken", "GrantToken"];
/// What only credentials and tokens are as long as: shorter values would be found by chance.
const SHORTEST: usize = 16;

/// Secrets that AWS has told, by kind.
type Told = Arc<Mutex<BTreeMap<&'static str, Vec<String>>>>;

/// The answer, with its secrets noted.
async fn listened(mut answer: HttpResponse, told: &Told) -> HttpResponse {
    let bytes = ByteStream::new(answer.take_body()).collect().await.unwrap().into_bytes();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    for kind in SECRETS {
        for (open, close) in
            [(format!("<{kind}>"), "<"), (format!("\"{kind}\": \""), "\""), (format!("\"{kind}\":\""), "\"")]
        {
            for rest in text.split(&open).skip(1) {
                told.lock().unwrap().entry(kind).or_default().push(rest.split(close).next().unwrap().to_owned());
            }
        }
    }
    *answer.body_mut() = SdkBody::from(bytes);
    answer
}

async fn all<K>(world: &World, found: &mut Vec<String>)
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned
        + Serialize,
{
    let api: Api<K> = Api::namespaced(world.client.clone(), &world.namespace);
    for object in api.list(&ListParams::default()).await.unwrap() {
        found.push(serde_json::to_string(&object).unwrap());
    }
}

/// A grant lives and ends, answers are lost, a policy is loosened, AWS refuses a call: everything that is said of it is searched.
#[tokio::test]
async fn no_credential_is_told() {
    let told = Told::default();
    let listening = Arc::clone(&told);
    let hook = aws_hook(move |operation: Operation, request, next: AwsNext| {
        let told = Arc::clone(&listening);
        async move {
            let answer = listened(next.send(request).await?, &told).await;
            // The first answer with a grant token is lost: errors are searched as well.
            if operation.name == "CreateGrant" && told.lock().unwrap()["GrantToken"].len() == 1 {
                return Err(ConnectorError::timeout("lost".into()));
            }
            Ok(answer)
        }
    });
    let scene = Scene::with("secrets", |operator| {
        let quiet = operator.drift_check(OFTEN).serving().refusals_expected();
        quiet.log_level("warn,securebucket=trace").aws_hook(hook)
    })
    .await;
    let Scene { world, ids, operator, .. } = &scene;
    world.workload("ingest").await.put(&ids.bucket, "in/x", "content").await.allowed();
    world.ask("g", "data", "reports", "in/", "1h").await;
    world.grant_active("g").await;
    assert_eq!(world.workload("reports").await.get(&ids.bucket, "in/x").await.allowed(), "content");
    world.workload("ingest").await.get(&ids.bucket, "in/x").await.denied();
    // Drift, and a call that AWS refuses.
    world.root().s3.delete_public_access_block().bucket(&ids.bucket).send().await.unwrap();
    world.event("data", "DriftRepaired", "public access block").await;
    world.refuse("s3:GetBucketTagging").await;
    world.refused("data", "s3:GetBucketTagging").await;
    world.grants().delete("g", &DeleteParams::default()).await.unwrap();
    world.gone(&world.grants(), "g").await;

    let mut said = vec![operator.log().text(), operator.metrics().await];
    assert!(said[0].contains("aws call"), "the log is as talkative as it gets");
    assert!(said[1].contains("securebucket_aws"), "{}", said[1]);
    all::<securebucket::api::SecureBucket>(world, &mut said).await;
    all::<securebucket::api::DecryptGrant>(world, &mut said).await;
    all::<ConfigMap>(world, &mut said).await;
    all::<Event>(world, &mut said).await;

    let mut secrets = told.lock().unwrap().clone();
    secrets.insert("the ServiceAccount's token", vec![std::fs::read_to_string(world.token_file()).unwrap()]);
    secrets.insert("the token for the API server", vec![world.kube_token().to_owned()]);
    assert_eq!(secrets.len(), SECRETS.len() + 2, "of each kind there was one: {:?}", secrets.keys());
    for (kind, values) in secrets {
        for value in values.iter().map(|v| v.trim()) {
            assert!(value.len() >= SHORTEST, "{kind} is too short to be searched for: {} characters", value.len());
            let found = said.iter().find(|text| text.contains(value));
            assert!(found.is_none(), "{kind} stands in:\n{}", found.unwrap().replace(value, "<here>"));
        }
    }
}
