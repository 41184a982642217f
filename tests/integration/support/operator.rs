//! An operator of a world, run in a thread and runtime of its own: what is killed is killed at once, wherever it stands.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use kube::Client;
use securebucket::app;
use securebucket::cli::{Election, RunConfig};
use securebucket::k8s::lease::Settings as LeaseSettings;
use tokio::sync::Notify;

use super::account::transport;
use super::hooks::{AwsHook, KubeHook, journaled, journaled_client};
use super::journal::Journal;
use super::kube_journal::KubeJournal;
use super::log::Log;
use super::wait::poll;
use super::{Stack, chart, http};

/// Settings of one operator; [`OperatorBuilder::start`] runs it.
pub struct OperatorBuilder {
    stack: &'static Stack,
    config: RunConfig,
    token: String,
    namespace: String,
    aws: Option<AwsHook>,
    kube: Option<KubeHook>,
    refusals: bool,
    killer: Killer,
    log: Log,
    log_level: &'static str,
    journal: Journal,
    kube_journal: KubeJournal,
}

impl OperatorBuilder {
    pub(super) fn new(stack: &'static Stack, config: RunConfig, token: String, namespace: String, log: Log) -> Self {
        Self {
            stack,
            config,
            token,
            namespace,
            aws: None,
            kube: None,
            refusals: false,
            killer: Killer::default(),
            log,
            log_level: "warn,securebucket=info",
            journal: Journal::default(),
            kube_journal: KubeJournal::default(),
        }
    }

    /// Changes settings.
    #[must_use]
    pub fn config(mut self, change: impl FnOnce(&mut RunConfig)) -> Self {
        change(&mut self.config);
        self
    }

    /// Time between two drift checks.
    #[must_use]
    pub fn drift_check(self, every: Duration) -> Self {
        self.config(|c| c.timing.drift_check = every)
    }

    /// Stands by until the world's lease is free.
    #[must_use]
    pub fn lease(self, identity: &str) -> Self {
        let election = Election {
            namespace: self.namespace.clone(),
            name: chart::RELEASE.into(),
            settings: LeaseSettings::default(),
        };
        self.config(|c| {
            c.election = Some(election);
            c.identity = identity.into();
        })
    }

    /// Puts a hook between the operator and AWS.
    #[must_use]
    pub fn aws_hook(mut self, hook: AwsHook) -> Self {
        self.aws = Some(hook);
        self
    }

    /// Puts a hook between the operator and the API server.
    #[must_use]
    pub fn kube_hook(mut self, hook: KubeHook) -> Self {
        self.kube = Some(hook);
        self
    }

    /// Allows that AWS refuses the operator something. Without this a refusal fails the test when the operator is dropped.
    #[must_use]
    pub fn refusals_expected(mut self) -> Self {
        self.refusals = true;
        self
    }

    /// What its log takes, as `--log-level` does.
    #[must_use]
    pub fn log_level(mut self, filter: &'static str) -> Self {
        self.log_level = filter;
        self
    }

    /// Serves probes and metrics where [`Operator::metrics`] finds them.
    #[must_use]
    pub fn serving(self) -> Self {
        self.config(|c| c.listen = http::free_address())
    }

    /// Starts it.
    pub fn start(self) -> Operator {
        let Self { stack, config, token, aws, kube, refusals, killer, log, log_level, journal, kube_journal, .. } =
            self;
        let (stop, address) = (Arc::new(Notify::new()), config.listen);
        let thread = {
            let (stop, killer, log) = (Arc::clone(&stop), killer.clone(), log.clone());
            let (journal, kube_journal) = (journal.clone(), kube_journal.clone());
            let body = move || {
                let _guard = log.of_this_thread(log_level);
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                let end = runtime.block_on(async move {
                    let client = journaled_client(stack.client(&token).await, kube_journal, kube);
                    let http = journaled(transport(), journal, aws);
                    operate(config, client, http, stop, killer).await
                });
                // What the SDK and kube have spawned dies with the runtime; a blocking task must not hold it up.
                runtime.shutdown_background();
                end
            };
            // As much stack as the main thread of a process has: unoptimised futures are large.
            std::thread::Builder::new().stack_size(8 << 20).spawn(body).unwrap()
        };
        Operator { stop, killer, thread: Some(thread), log, journal, kube_journal, refusals, address }
    }
}

async fn operate(
    config: RunConfig,
    client: Client,
    http: aws_smithy_runtime_api::client::http::SharedHttpClient,
    stop: Arc<Notify>,
    killer: Killer,
) -> End {
    let stopped = async move { stop.notified().await };
    tokio::select! {
        result = app::operate(config, client, http, stopped) => match result {
            Ok(()) => End::Stopped,
            Err(error) => End::Failed(error.to_string()),
        },
        () = killer.killed() => End::Killed,
    }
}

/// How an operator ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// After [`Operator::stop`], with the passes in hand finished.
    Stopped,
    /// By an error of its own.
    Failed(String),
    /// By [`Operator::kill`] or a drop, in the middle of whatever it did.
    Killed,
}

/// Kills an operator at its next await point. Clones kill the same one.
#[derive(Clone, Debug, Default)]
struct Killer(Arc<Notify>);

impl Killer {
    /// Kills. Does not wait.
    fn kill(&self) {
        self.0.notify_one();
    }

    async fn killed(&self) {
        self.0.notified().await;
    }
}

/// A running operator. Dropping it kills it.
pub struct Operator {
    stop: Arc<Notify>,
    killer: Killer,
    thread: Option<JoinHandle<End>>,
    log: Log,
    journal: Journal,
    kube_journal: KubeJournal,
    refusals: bool,
    address: SocketAddr,
}

impl Operator {
    /// Ends it as SIGTERM does, and waits.
    pub async fn stop(mut self) -> End {
        self.stop.notify_one();
        self.joined().await
    }

    /// Ends it at once, and waits until nothing of it runs.
    pub async fn kill(mut self) -> End {
        self.killer.kill();
        self.joined().await
    }

    /// Waits for its end: a hook kills it, or it fails.
    pub async fn ended(mut self) -> End {
        self.joined().await
    }

    /// True if it has ended.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    async fn joined(&mut self) -> End {
        let thread = self.thread.take().expect("joined once");
        let log = self.log.clone();
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        while !thread.is_finished() {
            assert!(tokio::time::Instant::now() < deadline, "the operator does not end:\n{}", log.tail(40));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        thread.join().unwrap_or_else(|_| panic!("the operator panicked:\n{}", log.tail(40)))
    }

    /// Its requests to AWS.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Its requests to the API server.
    pub fn kube_journal(&self) -> &KubeJournal {
        &self.kube_journal
    }

    /// Where it serves, if it is [`OperatorBuilder::serving`].
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its metrics, if it is [`OperatorBuilder::serving`].
    pub async fn metrics(&self) -> String {
        http::get(self.address, "/metrics").await.expect("an operator that serves").1
    }

    /// One of them, by its name with labels.
    pub async fn metric(&self, name: &str) -> f64 {
        let all = self.metrics().await;
        http::value(&all, name).unwrap_or_else(|| panic!("{name} is not in\n{all}"))
    }

    /// Waits until one of them is `wanted`: counted is after status was written.
    pub async fn metric_is(&self, name: &str, wanted: f64) {
        let reached = || async { (self.metric(name).await == wanted).then_some(()) };
        assert!(poll(reached).await.is_some(), "{name} is {}, not {wanted}", self.metric(name).await);
    }

    /// Its log.
    pub fn log(&self) -> &Log {
        &self.log
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.killer.kill();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        if std::thread::panicking() {
            return;
        }
        let denied = self.journal.denied();
        if !self.refusals && !denied.is_empty() {
            let text: Vec<String> = denied.iter().map(ToString::to_string).collect();
            panic!("AWS refused the operator something that it should be allowed:\n  {}", text.join("\n  "));
        }
        let forbidden = self.kube_journal.forbidden();
        if !forbidden.is_empty() {
            let text: Vec<String> = forbidden.iter().map(ToString::to_string).collect();
            panic!(
                "the API server refused the operator something that the chart should allow:\n  {}",
                text.join("\n  ")
            );
        }
    }
}
