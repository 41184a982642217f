//! One run: a world, a scenario, at most one fault, and everything that was seen.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::Resource;
use kube::api::Api;
use kube::runtime::wait::await_condition;
use securebucket::domain::identity;
use serde::de::DeserializeOwned;

use super::history::History;
use super::invariants::{Law, Usual};
use super::journal::{Journal, now};
use super::layers::Outside;
use super::mask::{Mask, difference};
use super::plan::{Faults, Kind, Point};
use super::prober::{Prober, outside_of_window};
use super::scenario::Scenario;
use super::snapshot::{Snapshot, count_roles};
use crate::support::wait::{PATIENCE, poll};
use crate::support::{AwsClients, World};

/// ServiceAccount that puts objects.
pub const WRITER: &str = "writer";
/// ServiceAccount that asks to read them.
pub const READER: &str = "reader";
/// The SecureBucket.
pub const BUCKET: &str = "data";
/// The DecryptGrant.
pub const GRANT: &str = "read";
/// The prefix that both speak of.
pub const PREFIX: &str = "in/";
/// The object.
pub const OBJECT: &str = "in/x";

/// How long a grant lasts that is to end by itself: long enough for a fault and its retries inside of it, on a machine that is not busy.
pub const SHORT: Duration = Duration::from_secs(6);
/// Time between two looks at a world that should be as in the run without faults: at first, and at most. A look is thirty requests.
const AGAIN: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(1));
/// Time for which nothing may change before a world counts as at rest: longer than the operator lawfully pauses: bucket lists are written once a second, and evidence is waited for as long.
const REST: Duration = Duration::from_millis(2500);

/// What a run without faults was like: what all others are compared with.
#[derive(Clone, Debug, Default)]
pub struct Reference {
    /// Its requests.
    pub trace: Vec<Point>,
    /// Its snapshots, by name.
    pub snapshots: Vec<(&'static str, Vec<String>)>,
    /// What it wrote.
    pub usual: Usual,
    /// How long its grant lasted, if that is to end by itself: long enough on this machine.
    pub window: Duration,
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Number of the request that was hit.
    pub fired: Option<usize>,
    /// Its requests.
    pub trace: Vec<Point>,
    /// Number of its requests.
    pub requests: usize,
    /// Its snapshots, by name.
    pub snapshots: Vec<(&'static str, Vec<String>)>,
    /// What it wrote.
    pub usual: Usual,
    /// What is wrong.
    pub problems: Vec<String>,
    /// The workload read at least once.
    pub read: bool,
    /// No operator lived from some moment of the grant's window to its end.
    pub window_lost: bool,
    /// The grant ended before its KMS grant could be made: the fault and what followed took its whole window.
    pub too_late: bool,
    /// How often the workload tried.
    pub probes: usize,
}

impl Outcome {
    /// Nothing was hit, or the workload had no time to read.
    pub fn says_nothing(&self) -> bool {
        let no_time = !self.read && !self.window_lost;
        (self.fired.is_none() || self.too_late || no_time) && self.problems.is_empty()
    }

    /// Of a run that did not come to its end.
    pub fn failed(why: String) -> Self {
        Self {
            fired: None,
            trace: Vec::new(),
            requests: 0,
            snapshots: Vec::new(),
            usual: Usual::default(),
            problems: vec![why],
            read: false,
            window_lost: false,
            too_late: false,
            probes: 0,
        }
    }
}

/// A run in progress.
pub struct Run<'a> {
    /// Its world.
    pub world: World,
    /// Root of its account: to look, and to put something wrong by hand.
    pub root: AwsClients,
    /// The workload that reads all the time, from when there is something to read.
    pub prober: tokio::sync::OnceCell<Prober>,
    /// ARN of its bucket, once there is one.
    pub bucket_arn: std::sync::OnceLock<String>,
    /// Its journal.
    pub journal: Journal,
    /// How long the grant lasts that is to end by itself.
    pub window: Duration,
    faults: Faults,
    kind: Option<Kind>,
    mask: Mask,
    reference: Option<&'a Reference>,
    snapshots: Mutex<Vec<(&'static str, Vec<String>)>>,
    problems: Mutex<Vec<String>>,
    /// No operator lived from some moment of the grant's window to its end.
    window_lost: AtomicBool,
    /// The grant ended before its KMS grant could be made.
    too_late: AtomicBool,
}

impl<'a> Run<'a> {
    /// Makes the world of a run, with a fault at the request of this name.
    pub async fn new(name: &str, fault: Option<(&str, Kind)>, reference: Option<&'a Reference>) -> Self {
        let world = World::new(name).await;
        let root = world.root();
        tokio::join!(world.service_account(WRITER), world.service_account(READER));
        let namespaces: Api<Namespace> = Api::all(world.client.clone());
        let uid = namespaces.get_metadata(&world.namespace).await.unwrap().metadata.uid.unwrap();
        let mut mask = Mask::default();
        mask.add(&world.account, "<account>");
        mask.add(&world.namespace, "<namespace>");
        let identity = identity::bucket_identity(&world.install.cluster, &uid, BUCKET);
        mask.add(&identity[..8], "<identity>");
        mask.add(identity, "<identity>");
        mask.add(world.role_name(WRITER), "<writer>");
        mask.add(world.role_name(READER), "<reader>");
        let faults = fault.map_or_else(Faults::none, |(point, kind)| Faults::at(point, kind));
        Self {
            world,
            root,
            prober: tokio::sync::OnceCell::new(),
            bucket_arn: std::sync::OnceLock::new(),
            journal: Journal::default(),
            window: SHORT,
            faults,
            kind: fault.map(|f| f.1),
            mask,
            reference,
            snapshots: Mutex::default(),
            problems: Mutex::default(),
            window_lost: AtomicBool::new(false),
            too_late: AtomicBool::new(false),
        }
    }

    /// Runs the scenario, and says what was wrong.
    pub async fn carry_out(&self, scenario: Scenario) {
        if !scenario.is_hit_from_the_start() {
            self.faults.hold();
        }
        tokio::select! {
            () = scenario.play(self) => {}
            why = self.keep_running(scenario) => self.problem(why),
        }
    }

    /// Notes that the grant was over before its KMS grant was, if that says nothing: with a fault, and an operator that was not kept dead.
    pub fn came_too_late(&self) -> bool {
        let says_nothing = self.reference.is_some() && !self.window_lost.load(Ordering::Relaxed);
        self.too_late.store(says_nothing, Ordering::Relaxed);
        says_nothing
    }

    /// From here on requests are counted and hit.
    pub fn count_from_here(&self) {
        self.faults.count_from_here();
    }

    /// Has the operator die between two requests, and something happen before the next one looks at everything.
    pub async fn while_nobody_looks(&self, happens: impl Future<Output = ()>) {
        self.faults.bury();
        while self.journal.under_way() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        happens.await;
        self.faults.kill();
    }

    /// Notes it as a problem if the workload was refused at any time since.
    pub fn read_on_since(&self, since: Timestamp) {
        let probes = self.prober.get().map(Prober::probes).unwrap_or_default();
        let refused = probes.iter().filter(|p| p.sent >= since && !p.allowed).map(|p| p.sent);
        let refused: Vec<Timestamp> = refused.collect();
        if !refused.is_empty() {
            self.problem(format!("L: refused at {refused:?} although a grant lasted"));
        }
    }

    /// Notes that something is wrong.
    pub fn problem(&self, what: impl Into<String>) {
        self.problems.lock().unwrap().push(what.into());
    }

    /// Keeps an operator running: after the one that the fault kills, one without faults. Returns if an operator ends by itself.
    async fn keep_running(&self, scenario: Scenario) -> String {
        for life in 1.. {
            let outside = Outside { faults: self.faults.clone(), journal: self.journal.clone(), life };
            let operator = outside.under(self.world.operator()).start();
            let ended = async {
                while !operator.has_ended() {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            };
            tokio::select! {
                () = self.faults.killed() => {}
                () = ended => return format!("the operator ended: {:?}\n{}", operator.ended().await, self.world.dump().await),
            }
            operator.kill().await;
            // Half of the deaths after activation last beyond the end: it must hold without an operator.
            if scenario.expires() && self.kind == Some(Kind::KillAfterApplied) {
                self.stay_dead_past_the_end().await;
            }
        }
        unreachable!()
    }

    async fn stay_dead_past_the_end(&self) {
        let entries = self.journal.entries();
        let Some(end) = History::new(&entries).ends(now()).into_values().max() else { return };
        let Some(prober) = self.prober.get() else { return };
        self.window_lost.store(true, Ordering::Relaxed);
        while now() < end {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        prober.until(false).await;
    }

    /// Waits until an object is as `fits` wants it. By a watch: polls of many worlds would be most of the load.
    pub async fn when<K>(&self, api: Api<K>, name: &str, what: &str, fits: impl Fn(&K) -> bool) -> K
    where
        K: Resource + Clone + std::fmt::Debug + Send + DeserializeOwned + 'static,
    {
        let found = await_condition(api, name, |object: Option<&K>| object.is_some_and(&fits));
        match tokio::time::timeout(PATIENCE, found).await {
            Ok(found) => found.unwrap().unwrap(),
            Err(_) => panic!("not within {PATIENCE:?}: {name} {what}\n{}", self.world.dump().await),
        }
    }

    /// Waits until an object is gone.
    pub async fn gone<K>(&self, api: Api<K>, name: &str)
    where
        K: Resource + Clone + std::fmt::Debug + Send + DeserializeOwned + 'static,
    {
        let gone = await_condition(api, name, |object: Option<&K>| object.is_none());
        if tokio::time::timeout(PATIENCE, gone).await.is_err() {
            panic!("not within {PATIENCE:?}: {name} gone\n{}", self.world.dump().await);
        }
    }

    /// Waits until both worlds are as they were at this point of the run without faults; there, until they are at rest. `roles` are in the
    /// account then: they come first and go last, and a role whose Deny waits for evidence looks like a world at rest.
    pub async fn settles(&self, name: &'static str, roles: usize) {
        let begun = Instant::now();
        let wanted = self.reference.map(|r| {
            let found = r.snapshots.iter().find(|(n, _)| *n == name);
            found.map(|(_, lines)| lines.clone()).unwrap_or_default()
        });
        if poll(|| async { (count_roles(&self.root).await == roles).then_some(()) }).await.is_none() {
            self.problem(format!("{name}: not {roles} roles within {PATIENCE:?}"));
        }
        let (mut before, mut pause) = (None, AGAIN.0);
        let mut asked = usize::MAX;
        loop {
            // A world at rest is one of which nothing is asked, too.
            let quiet = wanted.is_some() || asked == self.faults.trace().len();
            asked = self.faults.trace().len();
            let found = Snapshot::take(&self.world, &self.root, &self.mask).await.lines;
            let against = wanted.as_ref().or(before.as_ref());
            let differs = against.map(|wanted| self.unlike(wanted, &found));
            let settled = quiet && differs.as_ref().is_some_and(Vec::is_empty);
            if settled || begun.elapsed() > PATIENCE {
                if !settled {
                    let text = differs.unwrap_or_default().join("\n  ");
                    self.problem(format!("{name}: not as without a fault\n  {text}"));
                }
                self.snapshots.lock().unwrap().push((name, found));
                return;
            }
            tokio::time::sleep(if wanted.is_some() { pause } else { REST }).await;
            pause = (pause * 3 / 2).min(AGAIN.1);
            before = Some(found);
        }
    }

    /// What differs now from what was at this point of another run; nothing is waited for.
    pub async fn differs_from(&self, snapshots: &[(&'static str, Vec<String>)], name: &str) -> Vec<String> {
        let (_, wanted) = snapshots.iter().find(|(n, _)| *n == name).expect("a snapshot of this name");
        difference(wanted, &Snapshot::take(&self.world, &self.root, &self.mask).await.lines)
    }

    /// Snapshots so far.
    pub fn snapshots(&self) -> Vec<(&'static str, Vec<String>)> {
        self.snapshots.lock().unwrap().clone()
    }

    /// Problems so far.
    pub fn problems(&self) -> Vec<String> {
        self.problems.lock().unwrap().clone()
    }

    fn unlike(&self, wanted: &[String], found: &[String]) -> Vec<String> {
        let mut differs = difference(wanted, found);
        if self.reference.is_some_and(|r| r.window != self.window) {
            // Tried again with more time.
            let own = ["/read/spec/duration ", "/read/status/resolved/durationSeconds "];
            differs.retain(|line| !own.iter().any(|field| line.contains(field)));
        }
        if self.window_lost.load(Ordering::Relaxed) || !self.has_read() {
            // The fault took the window of a short grant: then it may be that no KMS grant was made, or that its id was not noted.
            differs.retain(|line| !line.contains("/read/status/usableBy") && !line.contains("/read/status/kmsGrant"));
        }
        differs
    }

    fn has_read(&self) -> bool {
        self.prober.get().is_some_and(|p| p.probes().iter().any(|p| p.allowed))
    }

    /// The end of the run: judges all that was noted.
    pub fn outcome(self, scenario: Scenario) -> Outcome {
        let entries = self.journal.entries();
        let history = History::new(&entries);
        let law = Law {
            reader: self.world.role_name(READER),
            reader_arn: self.world.role_arn(READER),
            scenario,
            bucket_arn: self.bucket_arn.get().cloned().unwrap_or_default(),
            prefix: PREFIX,
            mask: &self.mask,
            usual: self.reference.map(|r| &r.usual),
        };
        let mut problems = self.problems.into_inner().unwrap();
        problems.extend(law.violations(&entries));
        let probes = self.prober.get().map(Prober::probes).unwrap_or_default();
        problems.extend(outside_of_window(&probes, opened(history), closed(history)));
        Outcome {
            fired: self.faults.fired(),
            read: probes.iter().any(|p| p.allowed),
            window_lost: self.window_lost.into_inner(),
            too_late: self.too_late.into_inner(),
            requests: self.faults.trace().len(),
            trace: self.faults.trace(),
            snapshots: self.snapshots.into_inner().unwrap(),
            usual: Usual::of(&entries, &self.mask),
            problems,
            probes: probes.len(),
        }
    }
}

/// When reading may begin: with the first KMS grant.
fn opened(history: History<'_>) -> Option<Timestamp> {
    history.of("CreateGrant").map(|(e, _)| e.sent).min()
}

/// When it must be over: for the last of the grants by date, or when the proof of its removal was written.
fn closed(history: History<'_>) -> Option<Timestamp> {
    let grants = history.grants(Timestamp::MAX);
    let over = grants.values().map(|g| g.proved.into_iter().chain(g.end).min().unwrap_or(Timestamp::MAX));
    over.max()
}
