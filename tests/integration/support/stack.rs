//! The running stack, found through `SECUREBUCKET_STACK`.

use std::path::PathBuf;
use std::sync::{Once, OnceLock};

use http::{HeaderName, HeaderValue};
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::OnceCell;

use super::chart;

/// What `e2e/stack up` writes down of itself, as far as the tests need it.
#[derive(Clone, Debug, Deserialize)]
pub struct Stack {
    /// The API server.
    pub kube: Kube,
    /// The AWS emulator.
    pub aws: Endpoint,
    /// Commands.
    pub tools: Tools,
}

/// The API server and who may talk to it.
#[derive(Clone, Debug, Deserialize)]
pub struct Kube {
    /// `https://127.0.0.1:…`.
    pub url: String,
    /// Its CA.
    pub ca_file: PathBuf,
    /// Token of a member of `system:masters`.
    pub admin_token: String,
    /// A kubeconfig for `kubectl`, with the contexts `admin`, `alice`, `bob` and `carol`.
    pub kubeconfig: PathBuf,
    /// Issuer of ServiceAccount tokens.
    pub issuer: String,
}

/// Where the emulator listens.
#[derive(Clone, Debug, Deserialize)]
pub struct Endpoint {
    /// `http://127.0.0.1:…`.
    pub endpoint: String,
}

/// Commands that the stack built.
#[derive(Clone, Debug, Deserialize)]
pub struct Tools {
    /// kubectl.
    pub kubectl: PathBuf,
    /// helm.
    pub helm: PathBuf,
}

impl Stack {
    /// The stack, with CRDs and the chart's RBAC installed (once per process).
    pub async fn get() -> &'static Self {
        let stack = Self::found();
        static INSTALLED: OnceCell<()> = OnceCell::const_new();
        INSTALLED.get_or_init(|| chart::install(stack)).await;
        stack
    }

    /// The stack as it was found, with nothing installed.
    pub fn found() -> &'static Self {
        static STACK: OnceLock<Stack> = OnceLock::new();
        STACK.get_or_init(|| {
            let way_out = "run `make test`, or `e2e/stack run -- cargo test --test integration`";
            let path = std::env::var("SECUREBUCKET_STACK").unwrap_or_else(|_| {
                panic!("SECUREBUCKET_STACK is not set, so there is no stack to test on: {way_out}")
            });
            let text =
                std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}; the stack is down: {way_out}"));
            serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path} is not a stack.json of this checkout: {e}"))
        })
    }

    /// A stack of this test's own, with CRDs and RBAC but without admission policies: for what would stand in the way of other tests. It ends with the
    /// process.
    pub async fn of_its_own() -> &'static Self {
        let state = std::env::temp_dir().join(format!("securebucket-{}", uuid::Uuid::new_v4().simple()));
        let program = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/stack");
        let mut up = std::process::Command::new(program);
        up.args(["up", "--parent-pid", &std::process::id().to_string()]).env("SECUREBUCKET_STATE", &state);
        let output = tokio::task::spawn_blocking(move || up.output()).await.unwrap().unwrap();
        assert!(output.status.success(), "e2e/stack up: {}", String::from_utf8_lossy(&output.stderr));
        let text = std::fs::read_to_string(state.join("stack.json")).unwrap();
        let stack: &'static Self = Box::leak(Box::new(serde_json::from_str(&text).unwrap()));
        chart::install_bare(stack).await;
        stack
    }

    /// A client for a bearer token. It belongs to the runtime that it is made in.
    pub async fn client(&self, token: &str) -> Client {
        self.client_with(token, Vec::new()).await
    }

    /// A client with further headers on each request.
    pub async fn client_with(&self, token: &str, headers: Vec<(HeaderName, HeaderValue)>) -> Client {
        tls();
        let config: Kubeconfig = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": self.kube.url, "certificate-authority": self.kube.ca_file}}],
            "users": [{"name": "c", "user": {"token": token}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
        }))
        .unwrap();
        let mut config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.unwrap();
        config.headers = headers;
        Client::try_from(config).unwrap()
    }

    /// A client of cluster-admin, for the runtime that it is made in.
    pub async fn admin(&self) -> Client {
        self.client(&self.kube.admin_token).await
    }
}

/// Installs the process's TLS provider, as `main` does.
fn tls() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    });
}
