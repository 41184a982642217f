//! All runs of a scenario, side by side, and the report.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt;

use super::history::matches;
use super::mask::difference;
use super::plan::{Kind, Point};
use super::run::{Outcome, Reference, Run};
use super::scenario::Scenario;

/// Runs that go side by side. Most of a run is waiting.
const LANES: usize = 16;
/// Runs without faults. Requests differ a little from run to run; what any of them asked is a point.
const REFERENCES: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scenario_a_hand_back_and_release() {
    campaign(Scenario::HandBack).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scenario_b_expiry() {
    campaign(Scenario::Expiry).await;
}

async fn one(scenario: Scenario, fault: Option<(String, Kind)>, reference: Option<Arc<Reference>>) -> Outcome {
    let task = tokio::spawn(async move {
        let fault = fault.as_ref().map(|(point, kind)| (point.as_str(), *kind));
        let run = Run::new("faults", fault, reference.as_deref()).await;
        run.carry_out(scenario).await;
        run.outcome()
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
    let (reference, points) = reference(scenario).await;
    println!("faults: scenario {scenario}: N={} requests, {} points; without faults it took {:?}", reference.trace.len(), points.len(), begun.elapsed());
    if wanted.as_ref().is_some_and(|w| w.ends_with(":list")) {
        for (index, point) in points.iter().enumerate() {
            println!("{:4} {point}", index + 1);
        }
        return;
    }
    let reference = Arc::new(reference);
    let faults = match wanted {
        Some(text) => chosen(&text, &points),
        None => points.iter().flat_map(|p| Kind::at(p).into_iter().map(|k| (p.to_string(), k))).collect(),
    };
    let lanes = std::env::var("FAULTS_LANES").ok().and_then(|t| t.parse().ok()).unwrap_or(LANES);
    let runs = futures::stream::iter(faults.into_iter().map(|fault| {
        let reference = Arc::clone(&reference);
        async move {
            let begun = Instant::now();
            let outcome = one(scenario, Some(fault.clone()), Some(reference)).await;
            (fault, outcome, begun.elapsed())
        }
    }));
    let mut report = Report::default();
    let mut runs = runs.buffer_unordered(lanes);
    while let Some((fault, outcome, took)) = runs.next().await {
        report.add(scenario, fault, outcome, took);
    }
    report.conclude(scenario, &reference, begun.elapsed());
}

/// The run without faults, and every request that it may make.
async fn reference(scenario: Scenario) -> (Reference, Vec<Point>) {
    let runs = futures::future::join_all((0..REFERENCES).map(|_| one(scenario, None, None))).await;
    let mut points: Vec<Point> = Vec::new();
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
    }
    let first = &runs[0];
    let policies = runs.iter().flat_map(|o| o.policies.clone()).collect();
    (Reference { trace: first.trace.clone(), snapshots: first.snapshots.clone(), policies }, points)
}

/// Faults that `FAULT` names: `A:kms CreateKey#1:Delay`, `A:12:Delay` (by number), `A:kms *:Delay` (all that fit), `A:12:*`.
fn chosen(text: &str, points: &[Point]) -> Vec<(String, Kind)> {
    let (rest, kind) = text.rsplit_once(':').expect("FAULT is scenario:point:kind");
    let (_, wanted) = rest.split_once(':').expect("FAULT is scenario:point:kind");
    let kinds = |point: &Point| if kind == "*" { Kind::at(point) } else { vec![kind.parse().expect("a kind of fault")] };
    let numbered = points.iter().enumerate().map(|(i, p)| ((i + 1).to_string(), p));
    let fits = |(number, point): &(String, &Point)| number == wanted || matches(wanted, &point.to_string());
    let found: Vec<_> = numbered.filter(fits).flat_map(|(_, p)| kinds(p).into_iter().map(|k| (p.to_string(), k))).collect();
    // A request that not every run makes may be missing from the runs without faults.
    if found.is_empty() { vec![(wanted.to_owned(), kind.parse().expect("a kind of fault"))] } else { found }
}

#[derive(Default)]
struct Report {
    runs: BTreeMap<Kind, usize>,
    failures: Vec<String>,
    unfired: Vec<String>,
    unread: Vec<String>,
    probes: usize,
    longest: std::time::Duration,
}

impl Report {
    fn add(&mut self, scenario: Scenario, fault: (String, Kind), outcome: Outcome, took: std::time::Duration) {
        let (point, kind) = fault;
        let name = format!("FAULT='{scenario}:{point}:{kind}'");
        *self.runs.entry(kind).or_default() += 1;
        self.probes += outcome.probes;
        self.longest = self.longest.max(took);
        if !outcome.problems.is_empty() {
            let hit = outcome.fired.map_or("never".to_owned(), |n| format!("request {n} of {}", outcome.trace.len()));
            let text = format!("{name} (hit {hit}, {took:.1?}):\n{}", outcome.problems.join("\n"));
            println!("faults: {text}");
            self.failures.push(text);
        } else if outcome.fired.is_none() {
            self.unfired.push(name.clone());
        }
        if !outcome.read {
            self.unread.push(name);
        }
    }

    fn conclude(&self, scenario: Scenario, reference: &Reference, took: std::time::Duration) {
        let all: usize = self.runs.values().sum();
        let kinds: Vec<String> = self.runs.iter().map(|(k, n)| format!("{k} {n}")).collect();
        println!(
            "faults: scenario {scenario}: N={} requests, {all} runs ({} kinds: {}), {} failed, {} never hit, {} never read, {} probes, longest {:.0?}, took {:.0?}",
            reference.trace.len(),
            self.runs.len(),
            kinds.join(", "),
            self.failures.len(),
            self.unfired.len(),
            self.unread.len(),
            self.probes,
            self.longest,
            took
        );
        println!("never hit: {:?}\nnever read: {:?}", self.unfired, self.unread);
        assert!(self.failures.is_empty(), "{}", self.failures.join("\n\n"));
    }
}
