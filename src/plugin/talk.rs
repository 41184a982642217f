//! Talking to the API server: the kubeconfig, the client, and what its refusals mean for whoever typed the command.

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::Status;
use kube::{Api, Client, Config, Resource};
use serde::de::DeserializeOwned;

use super::cli::{Common, DryRun};
use super::exit::{Failure, Outcome};

/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Who writes, as `managedFields` show it.
pub const MANAGER: &str = "kubectl-securebucket";

/// A connection, and what the command line says about it.
#[derive(Clone)]
pub struct Session {
    /// The client.
    pub client: Client,
    /// Namespace of `-n`, or of the context.
    pub namespace: String,
    /// Namespace of the context.
    pub home: String,
    /// Only a dry run.
    pub dry_run: bool,
}

impl Session {
    /// Reads the kubeconfig as kubectl does, and changes it by the flags. A context whose user is missing from the file is an error.
    ///
    /// # Errors
    /// If there is none, or it is of no use.
    pub async fn open(common: &Common) -> Result<Self, Failure> {
        let mut config = config(common).await?;
        if let Some(user) = &common.as_user {
            config.auth_info.impersonate = Some(user.clone());
            config.auth_info.impersonate_uid = common.as_uid.clone();
            config.auth_info.impersonate_groups = (!common.as_groups.is_empty()).then(|| common.as_groups.clone());
            config.auth_info.impersonate_user_extra = None;
        }
        let home = config.default_namespace.clone();
        let namespace = common.namespace.clone().unwrap_or_else(|| home.clone());
        let client = Client::try_from(config).map_err(|e| unusable(&chain(&e)))?;
        Ok(Self { client, namespace, home, dry_run: common.dry_run == DryRun::Server })
    }

    /// Objects of a namespace.
    pub fn within<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Objects of all namespaces.
    pub fn everywhere<K: Resource<DynamicType = ()>>(&self) -> Api<K> {
        Api::all(self.client.clone())
    }

    /// Asks something of which only the answer matters: a review about oneself.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn ask<K>(&self, question: &K) -> Result<K, Refusal>
    where
        K: Resource<Scope = ClusterResourceScope, DynamicType = ()>
            + serde::Serialize
            + DeserializeOwned
            + Clone
            + Debug,
    {
        let api: Api<K> = Api::all(self.client.clone());
        answer(api.create(&kube::api::PostParams::default(), question)).await
    }
}

async fn config(common: &Common) -> Result<Config, Failure> {
    let options = KubeConfigOptions {
        context: common.context.clone(),
        cluster: common.cluster.clone(),
        user: common.user.clone(),
    };
    let chosen = options.context.is_some() || options.cluster.is_some() || options.user.is_some();
    let file = match &common.kubeconfig {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    // The file is read once: it may be a pipe.
    let config = match file {
        Ok(file) => {
            has_user(&file, &options)?;
            Config::from_custom_kubeconfig(file, &options).await
        }
        Err(error) => Err(error),
    };
    match config {
        // Inside a pod as well, as kubectl does.
        Err(error) if !chosen && common.kubeconfig.is_none() => {
            Config::incluster().map_err(|_| unusable(&chain(&error)))
        }
        config => config.map_err(|error| unusable(&chain(&error))),
    }
}

/// Nobody becomes `system:anonymous` by a name that is not there: the client would take it for a user without credentials.
fn has_user(file: &Kubeconfig, options: &KubeConfigOptions) -> Outcome<()> {
    let context = options.context.as_ref().or(file.current_context.as_ref());
    // A context may have none, and none is what `kubectl config set-context` writes as "".
    let named = || file.contexts.iter().find(|c| Some(&c.name) == context)?.context.as_ref();
    let of_context = || named()?.user.clone().filter(|user| !user.is_empty());
    match options.user.clone().or_else(of_context) {
        Some(user) if file.auth_infos.iter().all(|u| u.name != user) => {
            Err(unusable(&format!("there is no user {user:?} in it")))
        }
        _ => Ok(()),
    }
}

fn unusable(why: &str) -> Failure {
    Failure::failed(format!("the kubeconfig is of no use: {why}"))
        .next("kubectl config get-contexts")
        .next("--kubeconfig FILE or --context NAME, or the variable KUBECONFIG")
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(&format!(": {more}"));
        }
        cause = error.source();
    }
    text
}

/// Why there is no good answer.
#[derive(Debug)]
pub enum Refusal {
    /// The API server refuses.
    Api(Box<Status>),
    /// It could not be asked, or its answer not be read.
    Other(String),
}

/// Waits for an answer, but not for ever: the client tries some failures again for minutes.
///
/// # Errors
/// If the answer is none or an error.
pub async fn answer<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, Refusal> {
    match tokio::time::timeout(PATIENCE, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) => Err(Refusal::Api(status)),
        Ok(Err(error)) => Err(Refusal::Other(chain(&error))),
        Err(_) => Err(Refusal::Other(format!("no answer within {} s", PATIENCE.as_secs()))),
    }
}

impl Refusal {
    /// HTTP status of the answer; 0 without one.
    pub fn code(&self) -> u16 {
        match self {
            Self::Api(status) => status.code,
            Self::Other(_) => 0,
        }
    }

    /// There is none.
    pub fn is_not_found(&self) -> bool {
        self.code() == 404
    }

    /// RBAC or a policy.
    pub fn is_forbidden(&self) -> bool {
        self.code() == 403
    }

    /// It exists already.
    pub fn is_taken(&self) -> bool {
        matches!(self, Self::Api(status) if status.reason == "AlreadyExists")
    }

    /// It was changed meanwhile.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Api(status) if status.reason == "Conflict")
    }

    /// It may be answered soon: whoever waits goes on waiting.
    pub fn is_passing(&self) -> bool {
        matches!(self.code(), 0 | 429 | 500..)
    }

    /// The API server's words, without what it says around those of a policy.
    pub fn words(&self) -> String {
        match self {
            Self::Other(words) => words.clone(),
            Self::Api(_) if self.no_such_kind() => {
                "securebucket.io is not served here: the CRDs are not installed".into()
            }
            Self::Api(status) => match status.message.split_once("denied request: ") {
                Some((_, words)) if status.message.contains("ValidatingAdmissionPolicy") => words.to_owned(),
                _ => status.message.clone(),
            },
        }
    }

    /// True if a policy, and not RBAC, refuses.
    pub fn by_policy(&self) -> bool {
        matches!(self, Self::Api(status) if status.message.contains("ValidatingAdmissionPolicy"))
    }

    /// As the end of a command that wanted to do this: `read DecryptGrant analytics/x`.
    pub fn to(&self, deed: &str) -> Failure {
        let failure = Failure::failed(format!("cannot {deed}: {}", self.words()));
        match self {
            Self::Other(_) => failure.next("kubectl cluster-info").next("--context NAME, if another cluster is meant"),
            Self::Api(status) => match status.code {
                401 => failure.next("sign in again; `kubectl auth whoami` shows whether the API server knows you"),
                403 if !self.by_policy() => failure
                    .next("kubectl securebucket can-i VERB BUCKET tells what you may do, and which role gives it"),
                404 if self.no_such_kind() => failure.next("kubectl securebucket doctor"),
                409 => failure.next("the same command again"),
                _ => failure,
            },
        }
    }

    /// The API server does not know the kind: the CRDs are not installed.
    pub fn no_such_kind(&self) -> bool {
        matches!(self, Self::Api(status) if status.code == 404 && (status.message.contains("page not found") || status.message.contains("could not find the requested resource")))
    }
}
