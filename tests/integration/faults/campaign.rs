//! All runs of a scenario, side by side, and the report.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures::StreamExt;

use super::cause::Cause;
use super::history::matches;
use super::invariants::Usual;
use super::mask::difference;
use super::plan::{Kind, Point};
use super::report::Report;
use super::run::{Outcome, Reference, Run, SHORT};
use super::scenario::Scenario;

/// Runs that go side by side. Most of a run is waiting.
const LANES: usize = 16;
/// Of a sample, every so manieth run is made: a number that no cycle of kinds shares.
const STRIDE: usize = 13;
/// How often a run is tried that did not make the request that was to be hit, or had no time to read; each time with twice the window.
const TRIES: usize = 3;
/// Runs without faults. Requests differ a little from run to run; what any of them asked is a point.
const REFERENCES: usize = 3;

#[test]
fn scenario_a_hand_back_and_release() {
    on_two_threads(campaign(Scenario::HandBack));
}

#[test]
fn scenario_b_expiry() {
    on_two_threads(campaign(Scenario::Expiry));
}

#[test]
fn scenario_c_lockdown_and_its_lifting() {
    on_two_threads(campaign(Scenario::Lockdown));
}

#[test]
fn scenario_d_overlap() {
    on_two_threads(campaign(Scenario::Overlap));
}

#[test]
fn scenario_e_early_ends() {
    on_two_threads(async {
        for cause in Cause::ALL {
            campaign(Scenario::Early(cause)).await;
        }
    });
}

#[test]
fn scenario_f_agreement() {
    on_two_threads(campaign(Scenario::Agreement));
}

/// Runs a test in a runtime with two threads, whose stacks are large enough for a whole run in a debug build.
pub fn on_two_threads(test: impl Future<Output = ()> + Send + 'static) {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).thread_stack_size(16 << 20).enable_all().build().unwrap();
    runtime.block_on(async { tokio::spawn(test).await }).unwrap_or_else(|e| panic!("{}", panic_text(e)));
}

async fn one(
    scenario: Scenario,
    fault: Option<(String, Kind)>,
    reference: Option<Arc<Reference>>,
    window: Duration,
) -> Outcome {
    let task = tokio::spawn(async move {
        let fault = fault.as_ref().map(|(point, kind)| (point.as_str(), *kind));
        let mut run = Run::new("faults", fault, reference.as_deref()).await;
        run.window = window;
        run.carry_out(scenario).await;
        run.outcome(scenario)
    });
    // What fails by a panic fails this run alone.
    task.await.unwrap_or_else(|e| Outcome::failed(panic_text(e)))
}

fn panic_text(error: tokio::task::JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => match panic.downcast::<String>() {
            Ok(text) => *text,
            Err(other) => other.downcast_ref::<&str>().map_or("a panic", |t| t).to_owned(),
        },
        Err(error) => error.to_string(),
    }
}

async fn campaign(scenario: Scenario) {
    let wanted = std::env::var("FAULT").ok();
    if wanted.as_ref().is_some_and(|w| !w.starts_with(&format!("{scenario}:"))) {
        return;
    }
    let begun = Instant::now();
    let Known { reference, points, firm } = known(scenario).await;
    println!(
        "faults: scenario {scenario}: N={} requests, {} points; without faults it took {:?}",
        reference.trace.len(),
        points.len(),
        begun.elapsed()
    );
    if wanted.as_ref().is_some_and(|w| w.ends_with(":list")) {
        for (index, point) in points.iter().enumerate() {
            println!("{:4} {point}", index + 1);
        }
        return;
    }
    let reference = Arc::new(reference);
    let (all, stride) = scope(scenario, &std::env::var("FAULTS").unwrap_or_default());
    let faults = match wanted {
        Some(text) => chosen(&text, &points),
        None => sample_first(campaign_of(&points, all).into_iter().step_by(stride).collect(), stride),
    };
    let planned = faults.len();
    let sample = planned.div_ceil(if stride > 1 { 1 } else { STRIDE });
    let until = budget();
    let lanes = std::env::var("FAULTS_LANES").ok().and_then(|t| t.parse().ok()).unwrap_or(LANES);
    let runs = futures::stream::iter(faults.into_iter().enumerate().map(|(index, fault)| {
        let reference = Arc::clone(&reference);
        async move {
            let begun = Instant::now();
            if index >= sample && until.is_some_and(|until| begun > until) {
                return None;
            }
            let window = reference.window;
            let mut outcome = one(scenario, Some(fault.clone()), Some(Arc::clone(&reference)), window).await;
            // Not every run makes every request, and on a busy machine a restart can take a whole short window.
            for turn in 1..TRIES {
                if outcome.says_nothing() {
                    outcome =
                        one(scenario, Some(fault.clone()), Some(Arc::clone(&reference)), window * (1 << turn)).await;
                }
            }
            Some((fault, outcome, begun.elapsed()))
        }
    }));
    // A sample does not hit every write.
    let mut report = Report::new(scenario, if stride > 1 { BTreeSet::new() } else { firm });
    let mut runs = runs.buffer_unordered(lanes);
    while let Some(run) = runs.next().await {
        match run {
            Some((fault, outcome, took)) => report.add(fault, outcome, took),
            None => report.leave_out(),
        }
        report.progress(planned, begun.elapsed());
    }
    report.conclude(reference.trace.len(), begun.elapsed());
}

/// Every thirteenth first: what a slow machine has no time for is the rest. A sample that was drawn already stays as it is.
fn sample_first(faults: Vec<(String, Kind)>, stride: usize) -> Vec<(String, Kind)> {
    if stride > 1 {
        return faults;
    }
    let mut order: Vec<_> = faults.into_iter().enumerate().collect();
    order.sort_by_key(|(index, _)| (index % STRIDE, *index));
    order.into_iter().map(|(_, fault)| fault).collect()
}

/// Until when runs beyond the sample are begun: `FAULTS_MINUTES` after the first campaign of this process. Without it, all are made.
fn budget() -> Option<Instant> {
    static BEGUN: OnceLock<Instant> = OnceLock::new();
    let minutes: u64 = std::env::var("FAULTS_MINUTES").ok()?.parse().expect("FAULTS_MINUTES is a number of minutes");
    Some(*BEGUN.get_or_init(Instant::now) + Duration::from_secs(60 * minutes))
}

/// Whether reads are hit by all kinds, and the every so manieth run that is made.
fn scope(scenario: Scenario, word: &str) -> (bool, usize) {
    match word {
        "" | "sample" => (false, STRIDE),
        "main" => (false, if scenario.is_main() { 1 } else { STRIDE }),
        "campaign" => (false, 1),
        "all" => (true, 1),
        other => panic!("FAULTS={other}: sample, main, campaign or all"),
    }
}

/// What is known from the runs without faults.
struct Known {
    reference: Reference,
    /// Every request that any of them made, in order.
    points: Vec<Point>,
    /// Writes that all of them made: each must be hit.
    firm: BTreeSet<String>,
}

async fn known(scenario: Scenario) -> Known {
    let mut window = SHORT;
    let runs = loop {
        let runs = futures::future::join_all((0..REFERENCES).map(|_| one(scenario, None, None, window))).await;
        // A busy machine can take a whole short window to open it. What went wrong is told, and not tried again.
        if runs.iter().all(|r| r.read || !r.problems.is_empty()) || window >= SHORT * 4 {
            break runs;
        }
        window *= 2;
    };
    let mut points: Vec<Point> = Vec::new();
    let mut firm: Option<BTreeSet<String>> = None;
    for outcome in &runs {
        assert!(outcome.problems.is_empty(), "without a fault: {}", outcome.problems.join("\n"));
        assert!(outcome.read, "the workload could not read");
        for ((name, first), (_, this)) in runs[0].snapshots.iter().zip(&outcome.snapshots) {
            let differs = difference(first, this);
            assert!(differs.is_empty(), "two runs without faults differ at {name}:\n  {}", differs.join("\n  "));
        }
        for point in &outcome.trace {
            if !points.contains(point) {
                points.push(point.clone());
            }
        }
        let writes = outcome.trace.iter().filter(|p| p.writes);
        let names: BTreeSet<String> = writes.map(ToString::to_string).collect();
        firm = Some(firm.map_or(names.clone(), |firm| firm.intersection(&names).cloned().collect()));
    }
    let first = &runs[0];
    let usual = runs.iter().fold(Usual::default(), |all, run| all.or(&run.usual));
    let reference = Reference { trace: first.trace.clone(), snapshots: first.snapshots.clone(), usual, window };
    Known { reference, points, firm: firm.unwrap_or_default() }
}

/// What is broken where. Writes first: there is most to find.
fn campaign_of(points: &[Point], all: bool) -> Vec<(String, Kind)> {
    let kinds = |index, point: &Point| if all { Kind::at(point) } else { Kind::chosen_at(point, index) };
    let (writes, reads): (Vec<_>, Vec<_>) = points.iter().enumerate().partition(|(_, p)| p.writes);
    let order = writes.into_iter().chain(reads);
    order.flat_map(|(i, p)| kinds(i, p).into_iter().map(|k| (p.to_string(), k))).collect()
}

/// Faults that `FAULT` names: `A:kms CreateKey#1:Delay`, `A:12:Delay` (by number), `A:kms *:Delay` (all that fit), `A:12:*`.
fn chosen(text: &str, points: &[Point]) -> Vec<(String, Kind)> {
    let (rest, kind) = text.rsplit_once(':').expect("FAULT is scenario:point:kind");
    let (_, wanted) = rest.split_once(':').expect("FAULT is scenario:point:kind");
    let kinds =
        |point: &Point| if kind == "*" { Kind::at(point) } else { vec![kind.parse().expect("a kind of fault")] };
    let numbered = points.iter().enumerate().map(|(i, p)| ((i + 1).to_string(), p));
    let fits = |(number, point): &(String, &Point)| number == wanted || matches(wanted, &point.to_string());
    let found: Vec<_> =
        numbered.filter(fits).flat_map(|(_, p)| kinds(p).into_iter().map(|k| (p.to_string(), k))).collect();
    // A request that not every run makes may be missing from the runs without faults.
    if found.is_empty() { vec![(wanted.to_owned(), kind.parse().expect("a kind of fault"))] } else { found }
}
