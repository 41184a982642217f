//! Metrics. The generic part has the names of controller-runtime, so that dashboards and alerts made for other operators work on this one.
//!
//! Labels are bounded: no principal, requester, object or bucket name is one.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use jiff::SignedDuration;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry};

use crate::aws::calls::Call;
use crate::aws::error::{AwsError, AwsErrorKind};
use crate::aws::funnel::CallObserver;
use crate::domain::foreign::Kind;
use crate::reconcile::queue::{Finished, QueueObserver};

/// How far a metric can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stability {
    /// May change or go in any release.
    Alpha,
    /// Changes are announced one minor release ahead.
    Beta,
}

/// One metric, as the reference page shows it.
#[derive(Clone, Copy, Debug)]
pub struct Described {
    /// Full name, as scraped (counters with `_total`).
    pub name: &'static str,
    /// `counter`, `gauge`, `histogram` or `info`.
    pub kind: &'static str,
    /// Labels.
    pub labels: &'static [&'static str],
    /// What it counts, without a full stop.
    pub help: &'static str,
    /// How far it can be relied on.
    pub stability: Stability,
}

macro_rules! table {
    ($($name:literal $kind:ident [$($label:literal),*] $stability:ident $help:literal;)*) => {
        /// All metrics.
        pub const TABLE: &[Described] = &[$(Described {
            name: $name,
            kind: stringify!($kind),
            labels: &[$($label),*],
            help: $help,
            stability: Stability::$stability,
        }),*];
    };
}

table! {
    "controller_runtime_reconcile_total" counter ["controller", "result"] Beta "Passes by result: success, requeue_after, error";
    "controller_runtime_reconcile_errors_total" counter ["controller"] Beta "Passes that failed, panics included";
    "controller_runtime_terminal_reconcile_errors_total" counter ["controller"] Beta "Passes that failed in a way that only a change of the object mends";
    "controller_runtime_reconcile_panics_total" counter ["controller"] Beta "Passes that panicked";
    "controller_runtime_reconcile_time_seconds" histogram ["controller"] Beta "Length of a pass";
    "controller_runtime_active_workers" gauge ["controller"] Beta "Passes that run now";
    "controller_runtime_max_concurrent_reconciles" gauge ["controller"] Beta "Passes that may run at once";
    "workqueue_depth" gauge ["name"] Beta "Objects that are due and wait for a free worker";
    "leader_election_master_status" gauge ["name"] Beta "1 if this process holds the lease, 0 if it stands by";
    "securebucket_aws_api_calls_total" counter ["service", "operation", "status_code", "error_code"] Alpha "AWS calls by outcome; status_code 0 means that no answer came";
    "securebucket_aws_api_call_duration_seconds" histogram ["service", "operation"] Alpha "Length of an AWS call, with the SDK's retries";
    "securebucket_aws_permission_errors_total" counter ["service", "operation"] Alpha "AWS calls that were refused for lack of permission";
    "securebucket_aws_throttled_total" counter ["service", "operation"] Alpha "AWS calls that were throttled in spite of the SDK's retries";
    "securebucket_drift_detected_total" counter ["facet"] Alpha "Changes outside the operator that loosened a bucket, key or role";
    "securebucket_drift_repaired_total" counter ["facet"] Alpha "Such changes that were undone";
    "securebucket_grant_activation_seconds" histogram [] Alpha "From the approval of a DecryptGrant until it is usable";
    "securebucket_grant_revocation_lag_seconds" histogram [] Alpha "From the end of a DecryptGrant until its removal from AWS was read back";
    "securebucket_grants_overdue" gauge [] Alpha "DecryptGrants that ended more than a minute ago and whose removal is not proved";
    "securebucket_grants_overdue_oldest_seconds" gauge [] Alpha "Age of the oldest end whose removal is not proved, in time or not; 0 without one";
    "securebucket_break_glass_total" counter [] Alpha "Accesses that began without approval";
    "securebucket_break_glass_unreviewed" gauge [] Alpha "Accesses that began without approval and wait for their review";
    "securebucket_break_glass_reviews_overdue" gauge [] Alpha "Such reviews that are overdue";
    "securebucket_clock_skew_seconds" gauge ["against"] Alpha "This machine's clock minus another's; past 30 s nothing is issued";
    "securebucket_foreign_access_total" counter ["kind"] Alpha "Access that was found to be given outside the operator";
    "securebucket_foreign_kms_grants" gauge [] Alpha "KMS grants on keys of SecureBuckets that somebody else made and that are there now";
    "securebucket_admission_enforced" gauge [] Alpha "1 while the admission policies are proven to be in force, or admission is Off; 0 while no approval counts";
    "securebucket_events_dropped_total" counter [] Alpha "Kubernetes events that could not be written";
    "securebucket_build_info" info ["version"] Beta "The version that runs, as a label";
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Controller {
    controller: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ControllerResult {
    controller: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Name {
    name: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct AwsCall {
    service: &'static str,
    operation: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct AwsOutcome {
    service: &'static str,
    operation: &'static str,
    status_code: u32,
    error_code: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Against {
    against: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Facet {
    facet: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ForeignKind {
    kind: &'static str,
}

/// Makes histograms of these buckets; a function pointer would do, but then every family of them has a type of its own.
#[derive(Clone, Copy, Debug)]
struct Buckets(&'static [f64]);

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0.iter().copied())
    }
}

/// A pass: from an in-sync check against a near endpoint to one that waits for every piece of a new bucket.
const PASS_BUCKETS: Buckets = Buckets(&[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0]);
/// A call: one round trip up to the client's time-out.
const CALL_BUCKETS: Buckets = Buckets(&[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]);

/// From what is over at once to what is over after the waits for propagation of a new role.
const ACTIVATION_BUCKETS: Buckets = Buckets(&[0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 90.0, 120.0, 300.0, 600.0]);
/// From one end alone to a thousand in one second, and beyond what is [overdue](crate::grant::deadline::ALLOWANCE).
const LAG_BUCKETS: Buckets =
    Buckets(&[0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 25.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 86400.0]);

/// All metrics of the process. Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    reconciles: Family<ControllerResult, Counter>,
    errors: Family<Controller, Counter>,
    terminal: Family<Controller, Counter>,
    panics: Family<Controller, Counter>,
    time: Family<Controller, Histogram, Buckets>,
    active: Family<Controller, Gauge>,
    max: Family<Controller, Gauge>,
    depth: Family<Name, Gauge>,
    leader: Family<Name, Gauge>,
    calls: Family<AwsOutcome, Counter>,
    call_time: Family<AwsCall, Histogram, Buckets>,
    permission: Family<AwsCall, Counter>,
    throttled: Family<AwsCall, Counter>,
    drift_detected: Family<Facet, Counter>,
    drift_repaired: Family<Facet, Counter>,
    activation: Histogram,
    lag: Histogram,
    overdue: Gauge,
    oldest: Gauge<f64, AtomicU64>,
    skew: Family<Against, Gauge<f64, AtomicU64>>,
    broken: Counter,
    unreviewed: Gauge,
    reviews_overdue: Gauge,
    foreign_access: Family<ForeignKind, Counter>,
    foreign_kms_grants: Gauge,
    admission: Gauge,
    events_dropped: Counter,
}

impl Metrics {
    /// Metrics that say that this version runs.
    #[must_use]
    pub fn new(version: &str) -> Self {
        let mut registry = Registry::default();
        let r = &mut registry;
        let build = Info::new(vec![("version".to_owned(), version.to_owned())]);
        register(r, "securebucket_build_info", build);
        let metrics = Self {
            reconciles: registered(r, "controller_runtime_reconcile_total", Family::default()),
            errors: registered(r, "controller_runtime_reconcile_errors_total", Family::default()),
            terminal: registered(r, "controller_runtime_terminal_reconcile_errors_total", Family::default()),
            panics: registered(r, "controller_runtime_reconcile_panics_total", Family::default()),
            time: registered(
                r,
                "controller_runtime_reconcile_time_seconds",
                Family::new_with_constructor(PASS_BUCKETS),
            ),
            active: registered(r, "controller_runtime_active_workers", Family::default()),
            max: registered(r, "controller_runtime_max_concurrent_reconciles", Family::default()),
            depth: registered(r, "workqueue_depth", Family::default()),
            leader: registered(r, "leader_election_master_status", Family::default()),
            calls: registered(r, "securebucket_aws_api_calls_total", Family::default()),
            call_time: registered(
                r,
                "securebucket_aws_api_call_duration_seconds",
                Family::new_with_constructor(CALL_BUCKETS),
            ),
            permission: registered(r, "securebucket_aws_permission_errors_total", Family::default()),
            throttled: registered(r, "securebucket_aws_throttled_total", Family::default()),
            drift_detected: registered(r, "securebucket_drift_detected_total", Family::default()),
            drift_repaired: registered(r, "securebucket_drift_repaired_total", Family::default()),
            activation: registered(r, "securebucket_grant_activation_seconds", ACTIVATION_BUCKETS.new_metric()),
            lag: registered(r, "securebucket_grant_revocation_lag_seconds", LAG_BUCKETS.new_metric()),
            overdue: registered(r, "securebucket_grants_overdue", Gauge::default()),
            oldest: registered(r, "securebucket_grants_overdue_oldest_seconds", Gauge::default()),
            skew: registered(r, "securebucket_clock_skew_seconds", Family::default()),
            broken: registered(r, "securebucket_break_glass_total", Counter::default()),
            unreviewed: registered(r, "securebucket_break_glass_unreviewed", Gauge::default()),
            reviews_overdue: registered(r, "securebucket_break_glass_reviews_overdue", Gauge::default()),
            foreign_access: registered(r, "securebucket_foreign_access_total", Family::default()),
            foreign_kms_grants: registered(r, "securebucket_foreign_kms_grants", Gauge::default()),
            admission: registered(r, "securebucket_admission_enforced", Gauge::default()),
            events_dropped: registered(r, "securebucket_events_dropped_total", Counter::default()),
            registry: Arc::default(),
        };
        Self { registry: Arc::new(registry), ..metrics }
    }

    /// All metrics as OpenMetrics text.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing into a `String` does not fail; if an encoder of the library does, a cut answer is better than none.
        if text::encode(&mut text, &self.registry).is_err() {
            let _ = writeln!(text, "# EOF");
        }
        text
    }

    /// The hook for the queue of `controller`, which runs up to `workers` passes at once.
    pub fn queue(&self, controller: &'static str, workers: usize) -> Arc<dyn QueueObserver> {
        let label = Controller { controller };
        self.max.get_or_create(&label).set(gauge(workers));
        self.active.get_or_create(&label).set(0);
        // Counters that start at zero make `rate()` right for the first error; those with a `result` label likewise.
        for result in ["success", "requeue_after", "error"] {
            let _ = self.reconciles.get_or_create(&ControllerResult { controller, result });
        }
        for counter in [&self.errors, &self.terminal, &self.panics] {
            let _ = counter.get_or_create(&label);
        }
        Arc::new(QueueMetrics { metrics: self.clone(), controller })
    }

    /// Whether this process holds the lease `name`.
    pub fn leader(&self, name: &str, leading: bool) {
        self.leader.get_or_create(&Name { name: name.to_owned() }).set(i64::from(leading));
    }

    /// An AWS call ended.
    pub fn aws_call(&self, call: Call, took: Duration, outcome: Result<(), &AwsError>) {
        let (service, operation) = (call.service().name(), call.operation());
        let label = AwsCall { service, operation };
        self.call_time.get_or_create(&label).observe(took.as_secs_f64());
        let (status_code, error_code) = match outcome {
            Ok(()) => (200, String::new()),
            Err(error) => (error.status.into(), error_code(error)),
        };
        self.calls.get_or_create(&AwsOutcome { service, operation, status_code, error_code }).inc();
        match outcome.map_err(|e| e.kind) {
            Err(AwsErrorKind::AccessDenied) => _ = self.permission.get_or_create(&label).inc(),
            Err(AwsErrorKind::Throttled) => _ = self.throttled.get_or_create(&label).inc(),
            _ => {}
        }
    }

    /// Something was loosened outside the operator.
    pub fn drift_detected(&self, facet: &'static str) {
        self.drift_detected.get_or_create(&Facet { facet }).inc();
    }

    /// It is as declared again.
    pub fn drift_repaired(&self, facet: &'static str) {
        self.drift_repaired.get_or_create(&Facet { facet }).inc();
    }

    /// A DecryptGrant became usable so long after its approval.
    pub fn grant_activated(&self, after: SignedDuration) {
        self.activation.observe(after.as_secs_f64().max(0.0));
    }

    /// The removal of a DecryptGrant was read back so long after its end.
    pub fn grant_removed(&self, lag: SignedDuration) {
        self.lag.observe(lag.as_secs_f64().max(0.0));
    }

    /// How many removals are overdue, and the age of the oldest end that is not proved.
    pub fn removals(&self, overdue: usize, oldest: SignedDuration) {
        self.overdue.set(gauge(overdue));
        self.oldest.set(oldest.as_secs_f64());
    }

    /// Access began without approval.
    pub fn break_glass(&self) {
        self.broken.inc();
    }

    /// So many of them wait for their review, and of so many it is overdue.
    pub fn reviews(&self, unreviewed: usize, overdue: usize) {
        self.unreviewed.set(gauge(unreviewed));
        self.reviews_overdue.set(gauge(overdue));
    }

    /// This machine's clock minus that of `against`.
    pub fn clock_skew(&self, against: &'static str, skew: SignedDuration) {
        self.skew.get_or_create(&Against { against }).set(skew.as_secs_f64());
    }

    /// Somebody was found to have been given access outside the operator.
    pub fn foreign_access(&self, kind: Kind) {
        self.foreign_access.get_or_create(&ForeignKind { kind: kind.name() }).inc();
    }

    /// So many KMS grants that somebody else made are there now.
    pub fn foreign_kms_grants(&self, number: usize) {
        self.foreign_kms_grants.set(gauge(number));
    }

    /// Whether approvals count.
    pub fn admission(&self, enforced: bool) {
        self.admission.set(i64::from(enforced));
    }

    /// A Kubernetes event could not be written.
    pub fn event_dropped(&self) {
        self.events_dropped.inc();
    }
}

/// AWS's code if it looks like one. Codes come from AWS alone and are few; an answer of something in between could be anything.
fn error_code(error: &AwsError) -> String {
    let plausible = |c: &&str| c.len() <= 64 && c.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.');
    error.code.as_deref().filter(plausible).unwrap_or(error.kind.reason()).to_owned()
}

fn gauge(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn registered<M: Metric + Clone>(registry: &mut Registry, name: &'static str, metric: M) -> M {
    register(registry, name, metric.clone());
    metric
}

/// Registers with the help of the table. The library appends `_total` and `_info` by itself.
fn register(registry: &mut Registry, name: &'static str, metric: impl Metric) {
    let help = TABLE.iter().find(|d| d.name == name).map_or("", |d| d.help);
    let stem = name.strip_suffix("_total").or_else(|| name.strip_suffix("_info")).unwrap_or(name);
    registry.register(stem, help, metric);
}

impl CallObserver for Metrics {
    fn observed(&self, call: Call, took: Duration, outcome: Result<(), &AwsError>) {
        self.aws_call(call, took, outcome);
    }
}

struct QueueMetrics {
    metrics: Metrics,
    controller: &'static str,
}

impl QueueObserver for QueueMetrics {
    fn depth(&self, ready: usize) {
        self.metrics.depth.get_or_create(&Name { name: self.controller.to_owned() }).set(gauge(ready));
    }

    fn started(&self, active: usize) {
        self.metrics.active.get_or_create(&Controller { controller: self.controller }).set(gauge(active));
    }

    fn finished(&self, how: Finished, took: Duration, active: usize) {
        let (metrics, controller) = (&self.metrics, self.controller);
        let label = Controller { controller };
        metrics.active.get_or_create(&label).set(gauge(active));
        metrics.time.get_or_create(&label).observe(took.as_secs_f64());
        let result = match how {
            Finished::Success => "success",
            Finished::RequeueAfter => "requeue_after",
            Finished::Error | Finished::Terminal | Finished::Panic => "error",
        };
        metrics.reconciles.get_or_create(&ControllerResult { controller, result }).inc();
        if result == "error" {
            metrics.errors.get_or_create(&label).inc();
        }
        match how {
            Finished::Terminal => _ = metrics.terminal.get_or_create(&label).inc(),
            Finished::Panic => _ = metrics.panics.get_or_create(&label).inc(),
            _ => {}
        }
    }
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
