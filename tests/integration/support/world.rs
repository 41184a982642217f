//! One test's world: namespaces, an AWS account with the operator's role, a ServiceAccount with the chart's rights.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use securebucket::api::{DecryptGrant, SecureBucket};
use securebucket::aws::clients::AwsSettings;
use securebucket::aws::limit::Limits;
use securebucket::cli::{Admission, RunConfig};
use securebucket::clock::Clock;
use securebucket::domain::arn::Place;
use securebucket::domain::installation::{Installation, Timing};
use securebucket::telemetry::LogFormat;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::account::{self, AUDIENCE, AwsClients, OPERATOR_ROLE, OTHER_REGION, REGION};
use super::log::Log;
use super::person::Person;
use super::rights::make_namespaces;
use super::{OperatorBuilder, Stack, chart};

/// Name of the installation in every world; accounts keep them apart.
pub const CLUSTER: &str = "t";
/// Name of the operator's ServiceAccount.
pub const OPERATOR: &str = "securebucket";

/// One test's world.
pub struct World {
    /// The stack.
    pub stack: &'static Stack,
    /// Client of cluster-admin.
    pub client: Client,
    /// The first namespace of its workloads and buckets.
    pub namespace: String,
    /// AWS account.
    pub account: String,
    /// The installation, as its operators see it.
    pub install: Installation,
    namespaces: Vec<String>,
    operator_namespace: String,
    kube_token: String,
    token_file: PathBuf,
    directory: tempfile::TempDir,
    /// The time of its account and of those who sign for it; see [`World::later`].
    pub(super) clock: Clock,
    pub(super) logs: Mutex<Vec<Log>>,
}

impl World {
    /// A world with one namespace. `name` is for people; it need not be unique.
    pub async fn new(name: &str) -> Self {
        Self::with_namespaces(name, &[]).await
    }

    /// A world with further namespaces, to be had by [`World::other`] with the same suffix.
    pub async fn with_namespaces(name: &str, others: &[&str]) -> Self {
        Self::on(Stack::get().await, name, others).await
    }

    /// A world on a certain stack.
    pub async fn on(stack: &'static Stack, name: &str, others: &[&str]) -> Self {
        let client = stack.admin().await;
        let tag = &uuid::Uuid::new_v4().simple().to_string()[..6];
        let namespace = format!("{name}-{tag}");
        let operator_namespace = format!("{namespace}-op");
        let mut namespaces = vec![namespace.clone()];
        namespaces.extend(others.iter().map(|suffix| format!("{namespace}-{suffix}")));
        let account = account::random_account();
        let install = installation(stack, &account);
        let subject = format!("system:serviceaccount:{operator_namespace}:{OPERATOR}");
        let (root, clock) = (AwsClients::root(stack, &account, REGION, &Clock::new()), Clock::new());
        let directory = tempfile::tempdir().unwrap();
        tokio::join!(
            account::prepare(&root, &install, &subject),
            make_namespaces(&client, &operator_namespace, &namespaces)
        );
        let (kube_token, aws_token) = tokio::join!(
            token(&client, &operator_namespace, OPERATOR, None),
            token(&client, &operator_namespace, OPERATOR, Some(AUDIENCE))
        );
        let token_file = directory.path().join("token");
        std::fs::write(&token_file, aws_token).unwrap();
        Self {
            stack,
            client,
            namespace,
            account,
            install,
            namespaces,
            operator_namespace,
            kube_token,
            token_file,
            directory,
            clock,
            logs: Mutex::default(),
        }
    }

    /// A further namespace by its suffix.
    pub fn other(&self, suffix: &str) -> String {
        let name = format!("{}-{suffix}", self.namespace);
        assert!(self.namespaces.contains(&name), "the world was made without a namespace {suffix}");
        name
    }

    /// Namespace of the operator and its lease.
    pub fn operator_namespace(&self) -> &str {
        &self.operator_namespace
    }

    /// A directory that goes with the world.
    pub fn directory(&self) -> &std::path::Path {
        self.directory.path()
    }

    /// Token of the operator's ServiceAccount for the API server.
    pub fn kube_token(&self) -> &str {
        &self.kube_token
    }

    /// File with the token of the operator's ServiceAccount for AWS.
    pub fn token_file(&self) -> &std::path::Path {
        &self.token_file
    }

    /// An operator to be started. No lease, no waiting for AWS to propagate, a drift check every ten minutes.
    pub fn operator(&self) -> OperatorBuilder {
        let log = Log::default();
        self.logs.lock().unwrap().push(log.clone());
        let (token, namespace) = (self.kube_token.clone(), self.operator_namespace.clone());
        OperatorBuilder::new(self.stack, self.config(), token, namespace, log)
    }

    /// Settings of the world's operators.
    pub fn config(&self) -> RunConfig {
        RunConfig {
            cluster: self.install.cluster.clone(),
            aws: AwsSettings {
                endpoint_url: Some(self.stack.aws.endpoint.clone()),
                region: REGION.into(),
                role_arn: Some(self.install.operator_role.clone()),
                web_identity_token_file: Some(self.token_file.clone()),
                limits: Limits::unlimited(),
                call_log: call_log(),
            },
            regions: self.install.regions.clone(),
            bucket_prefix: self.install.bucket_prefix.clone(),
            break_glass_role: self.install.break_glass_role.clone(),
            oidc_issuer: self.install.oidc_issuer.clone(),
            boundary_policy_name: self.install.boundary.rsplit('/').next().unwrap().into(),
            pin_federation: false,
            timing: self.install.timing.clone(),
            // No policy holds anybody to who he is here: tests write who asks and who reviews.
            admission: Admission::Enforce,
            fixed_session_roles: self.install.fixed_session_roles.clone(),
            watch_namespaces: self.namespaces.clone(),
            prove_in: Some(self.operator_namespace.clone()),
            election: None,
            identity: "operator".into(),
            listen: "127.0.0.1:0".parse().unwrap(),
            log_format: LogFormat::Text,
            log_level: "info".into(),
            workers: 4,
            clock: Clock::shifted(self.clock.shifted_by()),
        }
    }

    /// It is so many seconds later: for AWS as this account sees it, for whoever signs in this world, and for the machine of operators that are
    /// started from now on. Those that run already stand on a machine whose clock stays behind. The API server knows nothing of it.
    pub async fn later(&self, seconds: i64) {
        let moved = self.clock.shifted_by() + seconds;
        let address = self.stack.aws.endpoint.trim_start_matches("http://");
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let path = format!("/_stack/clock?{}={moved}", self.account);
        let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
        self.clock.shift(moved);
    }

    /// How many seconds it is later than the machine says.
    pub fn moved(&self) -> i64 {
        self.clock.shifted_by()
    }

    /// The time of this world.
    pub fn now(&self) -> jiff::Timestamp {
        self.clock.system_now()
    }

    /// The account's root user: for changes by hand and for looking, never for judging permissions.
    pub fn root(&self) -> AwsClients {
        AwsClients::root(self.stack, &self.account, REGION, &self.clock)
    }

    /// Root in another region.
    pub fn root_in(&self, region: &str) -> AwsClients {
        AwsClients::root(self.stack, &self.account, region, &self.clock)
    }

    /// An IAM administrator who is not root: a user whose policy allows everything.
    pub async fn iam_admin(&self) -> AwsClients {
        let iam = self.root().iam;
        let name = "iam-admin";
        let allow =
            json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]});
        iam.create_user().user_name(name).send().await.unwrap();
        let policy = iam.put_user_policy().user_name(name).policy_name("all").policy_document(allow.to_string());
        policy.send().await.unwrap();
        let key = iam.create_access_key().user_name(name).send().await.unwrap().access_key.unwrap();
        let credentials =
            aws_credential_types::Credentials::new(key.access_key_id, key.secret_access_key, None, None, "test");
        AwsClients::new(self.stack, credentials, REGION, &self.clock)
    }

    /// SecureBuckets of the first namespace.
    pub fn buckets(&self) -> Api<SecureBucket> {
        self.buckets_in(&self.namespace)
    }

    /// SecureBuckets of a namespace.
    pub fn buckets_in(&self, namespace: &str) -> Api<SecureBucket> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// DecryptGrants of the first namespace.
    pub fn grants(&self) -> Api<DecryptGrant> {
        self.grants_in(&self.namespace)
    }

    /// DecryptGrants of a namespace.
    pub fn grants_in(&self, namespace: &str) -> Api<DecryptGrant> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Applies a SecureBucket in the first namespace.
    pub async fn apply_bucket(&self, name: &str, spec: Value) -> SecureBucket {
        self.apply_bucket_in(&self.namespace, name, spec).await
    }

    /// Applies a SecureBucket.
    pub async fn apply_bucket_in(&self, namespace: &str, name: &str, spec: Value) -> SecureBucket {
        chart::apply(&self.buckets_in(namespace), name, &bucket_object(name, &spec)).await
    }

    /// Creates a DecryptGrant for a ServiceAccount of the first namespace on a bucket there, for everything under `prefix`.
    pub async fn ask(&self, name: &str, bucket: &str, account: &str, prefix: &str, duration: &str) -> DecryptGrant {
        let spec = grant_spec(bucket, account, &[prefix], duration);
        self.create_grant_in(&self.namespace, name, spec).await.unwrap()
    }

    /// Creates a DecryptGrant, as whom the spec names for its requester; as cluster-admin if it names nobody.
    pub async fn create_grant_in(&self, namespace: &str, name: &str, spec: Value) -> kube::Result<DecryptGrant> {
        let client = self.client_of(&spec["requester"]).await;
        let object = json!({
            "apiVersion": "securebucket.io/v1alpha1", "kind": "DecryptGrant", "metadata": {"name": name}, "spec": spec,
        });
        // Not through the type: specs that it cannot hold are for the API server to refuse.
        let path = format!("/apis/securebucket.io/v1alpha1/namespaces/{namespace}/decryptgrants");
        let request = http::Request::post(path).header("content-type", "application/json");
        client.request(request.body(object.to_string().into_bytes()).unwrap()).await
    }

    /// A client of whom a `requester` or `reviewer` names, with every right; of cluster-admin if it names nobody.
    pub async fn client_of(&self, stamp: &Value) -> Client {
        match stamp["username"].as_str() {
            None | Some("") => self.client.clone(),
            Some(_) => Person::stamped(stamp).client(self).await,
        }
    }

    /// Creates a ServiceAccount in the first namespace.
    pub async fn service_account(&self, name: &str) -> ServiceAccount {
        self.service_account_in(&self.namespace, name).await
    }

    /// Creates a ServiceAccount.
    pub async fn service_account_in(&self, namespace: &str, name: &str) -> ServiceAccount {
        make_account(&self.client, namespace, name).await
    }

    /// Deletes a ServiceAccount of the first namespace.
    pub async fn delete_service_account(&self, name: &str) {
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &self.namespace);
        api.delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// A ServiceAccount token of the first namespace for an audience.
    pub async fn token_for(&self, account: &str, audience: &str) -> String {
        token(&self.client, &self.namespace, account, Some(audience)).await
    }

    /// A ServiceAccount token for an audience.
    pub async fn token_in(&self, namespace: &str, account: &str, audience: &str) -> String {
        token(&self.client, namespace, account, Some(audience)).await
    }

    /// Sets the annotation that asks for the declared state, responders' restrictions included.
    pub async fn reconcile_at(&self, bucket: &str, value: &str) {
        let patch = json!({"metadata": {"annotations": {securebucket::api::RECONCILE_AT: value}}});
        self.buckets().patch(bucket, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    /// ARN of a ServiceAccount's role, as anybody can compute it.
    pub fn role_arn(&self, account: &str) -> String {
        self.install.role_arn(&self.namespace, account)
    }

    /// Name of a ServiceAccount's role.
    pub fn role_name(&self, account: &str) -> String {
        self.role_arn(account).rsplit('/').next().unwrap().to_owned()
    }
}

/// Cluster-admin of the stack, as the API server sees it.
pub fn admin_identity() -> Value {
    json!({"username": "admin", "uid": "uid-admin"})
}

/// A SecureBucket manifest.
pub fn bucket_object(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "securebucket.io/v1alpha1", "kind": "SecureBucket", "metadata": {"name": name}, "spec": spec})
}

/// A DecryptGrant's spec.
pub fn grant_spec(bucket: &str, account: &str, prefixes: &[&str], duration: &str) -> Value {
    json!({
        "bucketRef": {"name": bucket},
        "subject": {"serviceAccountRef": {"name": account}},
        "prefixes": prefixes,
        "duration": duration,
        "reason": "integration test",
        "requester": {"username": "tester"},
    })
}

fn installation(stack: &Stack, account: &str) -> Installation {
    let place = Place { partition: "aws".into(), account: account.into(), region: REGION.into() };
    Installation {
        cluster: CLUSTER.into(),
        operator_role: place.role("/", OPERATOR_ROLE),
        boundary: place.policy(&format!("securebucket-{CLUSTER}-boundary")),
        place,
        regions: vec![OTHER_REGION.into()],
        bucket_prefix: CLUSTER.into(),
        break_glass_role: None,
        oidc_issuer: stack.kube.issuer.clone(),
        pin_federation: false,
        fixed_session_roles: Vec::new(),
        timing: Timing {
            grant_floor: Duration::from_secs(1),
            policy_propagation: Duration::ZERO,
            role_propagation: Duration::ZERO,
            evidence_wait: Duration::from_secs(1),
            // Most tests want to see at once that a role goes.
            role_retention: Duration::ZERO,
            ..Timing::default()
        },
    }
}

/// Makes a ServiceAccount.
pub async fn make_account(client: &Client, namespace: &str, name: &str) -> ServiceAccount {
    let account: ServiceAccount = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    let made: kube::Result<ServiceAccount> =
        Api::namespaced(client.clone(), namespace).create(&PostParams::default(), &account).await;
    let made = made.unwrap_or_else(|e| panic!("ServiceAccount {namespace}/{name}: {e}"));
    assert_eq!(made.name_any(), name);
    made
}

async fn token(client: &Client, namespace: &str, account: &str, audience: Option<&str>) -> String {
    let api: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let request = TokenRequest {
        spec: TokenRequestSpec {
            audiences: audience.into_iter().map(str::to_owned).collect(),
            // Worlds live a month: see [`World::later`].
            expiration_seconds: Some(100 * 24 * 3600),
            ..Default::default()
        },
        ..TokenRequest::default()
    };
    let made = api.create_token_request(account, &PostParams::default(), &request).await;
    made.unwrap_or_else(|e| panic!("token of {namespace}/{account}: {e}")).status.unwrap().token
}

/// A file of its own in `SECUREBUCKET_CALL_LOG_DIR`, where `e2e/check_calls.py` looks for what was called.
pub fn call_log() -> Option<PathBuf> {
    let directory = PathBuf::from(std::env::var_os("SECUREBUCKET_CALL_LOG_DIR")?);
    std::fs::create_dir_all(&directory).unwrap();
    Some(directory.join(format!("{}.log", uuid::Uuid::new_v4().simple())))
}
