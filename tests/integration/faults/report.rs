//! What the runs of a scenario came to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::plan::Kind;
use super::run::Outcome;
use super::scenario::Scenario;

/// Share of runs, in percent, in which the fault may have taken the workload's whole window, or may never have come about.
const LENIENT: usize = 10;

/// Gathers outcomes.
pub struct Report {
    scenario: Scenario,
    firm: BTreeSet<String>,
    /// Points that were hit, and those that were not although it was tried.
    hit: BTreeSet<String>,
    missed: BTreeSet<String>,
    runs: BTreeMap<Kind, usize>,
    left_out: usize,
    failures: Vec<String>,
    never_hit: Vec<String>,
    never_read: Vec<String>,
    probes: usize,
    longest: (Duration, String),
}

impl Report {
    /// For a scenario. `firm` are the points that must be hit.
    pub fn new(scenario: Scenario, firm: BTreeSet<String>) -> Self {
        Self {
            scenario,
            firm,
            hit: BTreeSet::new(),
            missed: BTreeSet::new(),
            runs: BTreeMap::new(),
            left_out: 0,
            failures: Vec::new(),
            never_hit: Vec::new(),
            never_read: Vec::new(),
            probes: 0,
            longest: (Duration::ZERO, String::new()),
        }
    }

    /// Adds a run. One that went wrong is told at once.
    pub fn add(&mut self, (point, kind): (String, Kind), outcome: Outcome, took: Duration) {
        let name = format!("FAULT='{}:{point}:{kind}'", self.scenario);
        *self.runs.entry(kind).or_default() += 1;
        self.probes += outcome.probes;
        self.longest = std::mem::take(&mut self.longest).max((took, name.clone()));
        let mut problems = outcome.problems;
        // A run that broke off does not know.
        let whole = outcome.requests > 0;
        if outcome.fired.is_some() {
            self.hit.insert(point);
        } else if whole {
            self.never_hit.push(name.clone());
            // How often status is written depends on what a pass finds done by others already: there one kind that hits is enough.
            if self.firm.contains(&point) && !point.contains("/status#") {
                problems.push("the request was never made".into());
            }
            self.missed.insert(point);
        }
        if (!outcome.read || outcome.too_late) && !outcome.window_lost {
            self.never_read.push(name.clone());
        }
        if !problems.is_empty() {
            let hit = match outcome.fired {
                Some(n) => format!("hit request {n} of {}", outcome.requests),
                None if whole => "never hit".to_owned(),
                None => "broke off".to_owned(),
            };
            let text = format!("{name} ({hit}, {took:.1?}):\n{}", problems.join("\n"));
            println!("faults: {text}");
            self.failures.push(text);
        }
    }

    /// One was not made for lack of time.
    pub fn leave_out(&mut self) {
        self.left_out += 1;
    }

    /// Prints how far it is, from time to time.
    pub fn progress(&self, planned: usize, took: Duration) {
        let done: usize = self.runs.values().sum();
        if done.is_multiple_of(50) && done < planned {
            println!("faults: scenario {}: {done} of {planned} runs after {took:.0?}", self.scenario);
        }
    }

    /// Prints the sum, and fails if a run did.
    pub fn conclude(mut self, requests: usize, took: Duration) {
        let all: usize = self.runs.values().sum();
        // A few runs alone, chosen by hand, say nothing about this, and nothing about shares.
        let whole = all >= 100;
        if whole && self.left_out == 0 {
            let never = self.missed.difference(&self.hit).filter(|point| self.firm.contains(*point));
            self.failures.extend(never.map(|point| format!("{point} was never made, whatever was tried at it")));
        }
        let kinds: Vec<String> = self.runs.iter().map(|(kind, n)| format!("{kind} {n}")).collect();
        let mut converged = if self.failures.is_empty() {
            "all converged".to_owned()
        } else {
            format!("{} FAILED", self.failures.len())
        };
        if self.left_out > 0 {
            converged.push_str(&format!(", {} more NOT MADE within FAULTS_MINUTES", self.left_out));
        }
        println!(
            "faults: scenario {}: N={requests} requests, {all} runs ({} kinds: {}), {converged}; {} attempts to read, {} runs \
             without time to read, {} whose request did not come about; longest {longest:.0?} ({name}), all {took:.0?}",
            self.scenario,
            kinds.len(),
            kinds.join(", "),
            self.probes,
            self.never_read.len(),
            self.never_hit.len(),
            longest = self.longest.0,
            name = self.longest.1,
        );
        assert!(self.failures.is_empty(), "{}", self.failures.join("\n\n"));
        if whole {
            assert!(
                self.never_read.len() * 100 <= all * LENIENT,
                "too many without time to read: {:?}",
                self.never_read
            );
            assert!(self.never_hit.len() * 100 <= all * LENIENT, "too many never hit: {:?}", self.never_hit);
        }
    }
}
