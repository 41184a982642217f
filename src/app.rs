//! The composition root: everything wired together, and the order in which it starts and ends.

mod passes;
mod setup;

use std::convert::Infallible;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::SharedHttpClient;
use kube::Client;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::api::{DecryptGrant, GrantReview, SecureBucket};
use crate::aws::clients::Aws;
use crate::aws::listing::Listings;
use crate::cli::{Admission, Election, RunConfig};
use crate::clock::Clock;
use crate::domain::enforcement::Enforcement;
use crate::k8s::admission::Guard;
use crate::k8s::dated::dated;
use crate::k8s::events::Events;
use crate::k8s::lease::{self, Lease, LeaseLost};
use crate::k8s::watch::{Cache, RESYNC, watch, watch_namespaces};
use crate::metrics::Metrics;
use crate::reconcile::backoff::Backoff;
use crate::reconcile::context::{Caches, Context, Queues};
use crate::reconcile::foreign::ForeignSeen;
use crate::reconcile::leadership::Leadership;
use crate::reconcile::queue::Queue;
use crate::reconcile::roles::Roles;
use crate::reconcile::wake::Waker;
use crate::role;
use crate::server::{self, Gate, Health};

/// Why the operator ended.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// Something outside failed.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The API server cannot be reached at all.
    #[error("no way to the API server: {0}")]
    Kubernetes(String),
    /// A setting does not fit what AWS says.
    #[error("{0}")]
    Setup(String),
    /// Another process leads; this one must not go on.
    #[error(transparent)]
    LeaseLost(#[from] LeaseLost),
}

/// Runs until a signal ends it.
///
/// # Errors
/// If it cannot start, or has lost its lease.
pub async fn run(config: RunConfig) -> Result<(), AppError> {
    let mut terminate =
        signal(SignalKind::terminate()).map_err(|source| AppError::Io { what: "signal handler", source })?;
    let client = Client::try_default().await.map_err(|e| AppError::Kubernetes(e.to_string()))?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    };
    operate(config, client, crate::aws::http::https(), stop).await
}

/// Runs with these clients until `stop`. Dropping the future ends everything at once, as a crash would: nothing is spawned outside it.
///
/// # Errors
/// If it cannot start, or has lost its lease.
pub async fn operate(
    config: RunConfig,
    client: Client,
    http: SharedHttpClient,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), AppError> {
    let clock = config.clock.clone();
    let metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
    let client = dated(client, clock.clone());
    let aws = Aws::new(config.aws.clone(), http, clock.clone(), Some(Arc::new(metrics.clone()))).await;
    let listener =
        TcpListener::bind(config.listen).await.map_err(|source| AppError::Io { what: "listen address", source })?;
    let admission =
        config.prove_in.as_deref().map_or_else(Guard::off, |namespace| Guard::new(client.clone(), namespace));
    let stage = Stage::new(admission, clock.clone());
    let serve = server::serve(listener, server::router(stage.health(), metrics.clone()), std::future::pending());
    let (stopping, stopped) = tokio::sync::watch::channel(false);
    let work = async {
        let lead = lead(&config, &client, &metrics);
        let lease = tokio::select! {
            lease = lead => lease,
            () = wait_for(stopped.clone()) => return Ok(()),
        };
        stage.leading.get_or_init(|| ());
        let leadership = lease.as_ref().map_or_else(Leadership::undisputed, Lease::leadership);
        let outside = Outside { client: client.clone(), aws, clock, metrics: metrics.clone(), leadership };
        let operator = work(&config, outside, &stage, stopped.clone());
        let Some(lease) = lease else { return operator.await };
        let result = tokio::select! {
            result = operator => result,
            lost = lease.hold() => return Err(lost.into()),
        };
        lease.release().await;
        metrics.leader(&lease_name(&config), false);
        result
    };
    let stop = async {
        stop.await;
        tracing::info!("stopping: the passes in hand are finished first");
        let _ = stopping.send(true);
        std::future::pending::<Infallible>().await
    };
    tokio::select! {
        result = work => result,
        result = serve => result.map_err(|source| AppError::Io { what: "server", source }),
        _ = stop => Ok(()),
    }
}

async fn wait_for(mut stopped: tokio::sync::watch::Receiver<bool>) {
    // An error means that the sender is gone, so that nobody will ever stop us.
    if stopped.wait_for(|s| *s).await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn lease_name(config: &RunConfig) -> String {
    config.election.as_ref().map(|e| e.name.clone()).unwrap_or_default()
}

async fn lead(config: &RunConfig, client: &Client, metrics: &Metrics) -> Option<Lease> {
    let Election { namespace, name, settings } = config.election.as_ref()?;
    metrics.leader(name, false);
    let lease = lease::acquire(client.clone(), namespace, name, &config.identity, *settings).await;
    metrics.leader(name, true);
    tracing::info!(lease = name, identity = config.identity, "leading");
    Some(lease)
}

/// How far the start has come, for `/readyz` and `/livez`.
#[derive(Clone)]
struct Stage {
    admission: Guard,
    clock: Clock,
    leading: Arc<OnceLock<()>>,
    caches: Arc<OnceLock<Caches>>,
    trouble: Arc<Mutex<Option<String>>>,
}

impl Stage {
    fn new(admission: Guard, clock: Clock) -> Self {
        Self { admission, clock, leading: Arc::default(), caches: Arc::default(), trouble: Arc::default() }
    }

    fn say(&self, text: Option<String>) {
        *crate::reconcile::context::lock(&self.trouble) = text;
    }

    fn health(&self) -> Health {
        let (caches, trouble) = (Arc::clone(&self.caches), Arc::clone(&self.trouble));
        let leading = Arc::clone(&self.leading);
        let live = Arc::clone(&self.caches);
        // A standby is ready: it takes over when the leader goes, and a rollout must not wait for that.
        let standby = move || leading.get().is_none();
        let (admission, clock, waits) = (self.admission.clone(), self.clock.clone(), standby.clone());
        let admission =
            Gate::new("admission", move || if waits() { Ok(()) } else { admission.ready(clock.system_now()) });
        let ready = Gate::new("caches", move || {
            if standby() {
                return Ok(());
            }
            if let Some(text) = crate::reconcile::context::lock(&trouble).clone() {
                return Err(text);
            }
            match caches.get() {
                Some(c) if synced(c) => Ok(()),
                Some(_) => Err("not everything was listed yet; are the CRDs installed?".into()),
                None => Err("starting".into()),
            }
        });
        let watches = Gate::new("watches", move || match live.get() {
            Some(c) if oldest(c) > RESYNC * 3 => Err("a watch has been silent for too long".into()),
            _ => Ok(()),
        });
        Health { live: vec![watches], ready: vec![ready, admission] }
    }
}

fn synced(c: &Caches) -> bool {
    c.buckets.is_synced()
        && c.grants.is_synced()
        && c.reviews.is_synced()
        && c.service_accounts.is_synced()
        && c.namespaces.is_synced()
}

fn oldest(c: &Caches) -> Duration {
    let seen = [
        c.buckets.last_seen(),
        c.grants.last_seen(),
        c.reviews.last_seen(),
        c.service_accounts.last_seen(),
        c.namespaces.last_seen(),
    ];
    seen.into_iter().map(|at| at.elapsed()).max().unwrap_or_default()
}

/// What the work is done with.
struct Outside {
    client: Client,
    aws: Aws,
    clock: Clock,
    metrics: Metrics,
    leadership: Leadership,
}

/// Starts watches and queues, and works until `stopped`.
async fn work(
    config: &RunConfig,
    outside: Outside,
    stage: &Stage,
    stopped: tokio::sync::watch::Receiver<bool>,
) -> Result<(), AppError> {
    let Outside { client, aws, clock, metrics, leadership } = outside;
    let install = tokio::select! {
        install = setup::installation(config, &aws, stage) => install?,
        () = wait_for(stopped.clone()) => return Ok(()),
    };
    if config.admission == Admission::Off {
        tracing::warn!(
            "--admission=Off: the operator takes every requester and reviewer for who he says he is; anybody approves in anybody's name unless something else refuses it"
        );
    }
    let queues = Queues {
        buckets: queue(&metrics, "securebucket", config.workers, 0),
        roles: queue(&metrics, "role", config.workers, URGENT_ROLES),
        grants: queue(&metrics, "decryptgrant", config.workers, URGENT_GRANTS),
        reviews: queue(&metrics, "grantreview", REVIEWERS, 0),
    };
    let dropped = metrics.clone();
    let (events, publish) = Events::new(client.clone(), &config.identity, move || dropped.event_dropped());
    let waker = Waker::new(queues.clone(), clock.clone());
    let (caches, watches) = watches(&client, &config.watch_namespaces, waker);
    let _ = stage.caches.set(caches.clone());
    let admission = stage.admission.clone();
    let ctx = Arc::new(Context {
        admission: admission.clone(),
        install,
        served: config.watch_namespaces.clone(),
        aws,
        leadership,
        client,
        clock,
        events,
        metrics,
        caches,
        queues,
        roles: Roles::default(),
        listings: Listings::default(),
        ended: Mutex::default(),
        clean_since: role::evidence::CleanSince::default(),
        bucket_backoff: Backoff::default(),
        role_backoff: Backoff::default(),
        grant_backoff: Backoff::default(),
        review_backoff: Backoff::default(),
        enforcement: Mutex::new(config.admission.at_start()),
        settled: Mutex::default(),
        quiet: Mutex::default(),
        foreign: ForeignSeen::default(),
        told: Mutex::default(),
    });
    let known = Arc::clone(&ctx);
    let enforced = async move {
        let changed = |now: &Enforcement| {
            known.metrics.admission(now.problem.is_none());
            known.set_enforcement(now.clone());
        };
        admission.watch(changed).await;
    };
    let passes = passes::run(ctx, config.workers, stopped);
    let mut publish = std::pin::pin!(publish);
    tokio::select! {
        () = passes => {}
        _ = watches => {}
        () = enforced => {}
        () = &mut publish => return Ok(()),
    }
    // The passes are over and their context is gone: what they have said is written, then the channel ends.
    if tokio::time::timeout(LAST_WORDS, publish).await.is_err() {
        tracing::warn!("some events were not written before the end");
    }
    Ok(())
}

/// GrantReviews whose conditions are written at once: nothing waits for them.
pub(crate) const REVIEWERS: usize = 2;
/// Passes over roles that run at once beside the usual ones, for ends alone. Each is a few calls to IAM, whose rate limits are what counts.
const URGENT_ROLES: usize = 16;
/// The same over DecryptGrants. They wait for KMS most of the time, for a list of a thousand grants several seconds: enough to use up its rate.
const URGENT_GRANTS: usize = 256;

fn queue<K: Ord + Clone + Send + std::fmt::Debug + 'static>(
    metrics: &Metrics,
    name: &'static str,
    workers: usize,
    urgent: usize,
) -> Queue<K> {
    Queue::reserving(metrics.queue(name, workers + urgent), urgent)
}

/// Longest wait for events when everything else has ended.
const LAST_WORDS: Duration = Duration::from_secs(3);

type Watches = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// Caches that handlers of events look into.
#[derive(Clone)]
struct Lookup {
    buckets: Cache<SecureBucket>,
    grants: Cache<DecryptGrant>,
    reviews: Cache<GrantReview>,
}

fn watches(client: &Client, namespaces: &[String], waker: Waker) -> (Caches, Watches) {
    // Handlers look into each other's caches, which exist only once all watches do.
    let late: Arc<OnceLock<Lookup>> = Arc::default();
    let (w, l) = (waker.clone(), Arc::clone(&late));
    let (buckets, a) = watch(client, namespaces, move |event| {
        if let Some(l) = l.get() {
            w.bucket(&event, &l.grants, &l.reviews);
        }
    });
    let (w, l) = (waker.clone(), Arc::clone(&late));
    let (grants, b) = watch(client, namespaces, move |event| {
        if let Some(l) = l.get() {
            w.grant(&event, &l.grants, &l.reviews);
        }
    });
    let (w, l) = (waker.clone(), Arc::clone(&late));
    let (reviews, r) = watch(client, namespaces, move |event| {
        if let Some(l) = l.get() {
            w.review(&event, &l.reviews);
        }
    });
    let _ = late.set(Lookup { buckets: buckets.clone(), grants: grants.clone(), reviews: reviews.clone() });
    let (w, l) = (waker.clone(), Arc::clone(&late));
    let (service_accounts, c) = watch(client, namespaces, move |event| {
        if let Some(l) = l.get() {
            w.service_account(&event, &l.buckets, &l.grants);
        }
    });
    let (namespaces, d) = watch_namespaces(client, namespaces, move |event| {
        if let Some(l) = late.get() {
            waker.namespace(&event, &l.buckets);
        }
    });
    let all = Box::pin(async move {
        tokio::join!(a, b, r, c, d);
    });
    (Caches { buckets, grants, reviews, service_accounts, namespaces }, all)
}
