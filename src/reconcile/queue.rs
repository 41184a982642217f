//! A keyed work queue in the order of due time.
//!
//! kube's own scheduler keeps ready work in a hash set, so with a limit on concurrency there is no order and no fairness; ends of grants
//! need one. Two lanes: what takes access away is *urgent*, goes before everything else that is due, and has workers of its own, so that
//! a thousand new objects do not delay one end. Work is run inside the future that [`Queue::run`] returns, not in tasks of its own: whoever drops that future stops all of it.

mod lane;

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::backoff::{Backoff, Class};
use lane::Lane;

/// Timers beyond this are cut: `Instant` overflows, and a wait of a year means "never" to a queue that wakes every key every ten minutes.
const FAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// What to do with a key after its pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing until it is added again.
    Done,
    /// The pass went well; run again after this time.
    In(Duration),
    /// The pass failed; run again after this time.
    Failed(Duration),
    /// The pass failed in a way that only a change of the object mends; run again after this time all the same.
    Terminal(Duration),
}

/// How a pass ended, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Finished {
    /// [`Next::Done`].
    Success,
    /// [`Next::In`].
    RequeueAfter,
    /// [`Next::Failed`].
    Error,
    /// [`Next::Terminal`].
    Terminal,
    /// It panicked.
    Panic,
}

/// Hook for metrics. Called with the queue unlocked; must not block.
pub trait QueueObserver: Send + Sync {
    /// Number of keys that are due and wait for a free worker.
    fn depth(&self, ready: usize);
    /// A pass began; this many run now.
    fn started(&self, active: usize);
    /// A pass ended after this time; this many run now.
    fn finished(&self, how: Finished, took: Duration, active: usize);
}

/// Observes nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unobserved;

impl QueueObserver for Unobserved {
    fn depth(&self, _: usize) {}
    fn started(&self, _: usize) {}
    fn finished(&self, _: Finished, _: Duration, _: usize) {}
}

/// The queue. Clones are handles on the same queue.
pub struct Queue<K> {
    shared: Arc<Shared<K>>,
}

struct Shared<K> {
    state: Mutex<State<K>>,
    changed: Notify,
    panics: Backoff<K>,
    observer: Arc<dyn QueueObserver>,
    /// Workers for the urgent lane alone.
    reserve: usize,
}

/// Which lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    Usual,
    Urgent,
}

/// A key in work; and when to run again, if that was asked for meanwhile.
struct Running {
    which: Which,
    usual: Option<Instant>,
    urgent: Option<Instant>,
}

struct State<K> {
    usual: Lane<K>,
    urgent: Lane<K>,
    running: BTreeMap<K, Running>,
    /// Nothing of the usual lane is started.
    paused: bool,
    /// Keys whose last pass panicked: nothing runs them earlier, or a pass that panics after writing to its object would wake itself.
    not_before: BTreeMap<K, Instant>,
    /// When the last pass over each key began that is not done with.
    begun: BTreeMap<K, Instant>,
    arrivals: u64,
    closed: bool,
}

impl<K> Clone for Queue<K> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<K: Ord + Clone + Send + Debug + 'static> Queue<K> {
    /// An empty queue without workers of its own for what is urgent.
    #[must_use]
    pub fn new(observer: Arc<dyn QueueObserver>) -> Self {
        Self::reserving(observer, 0)
    }

    /// An empty queue with `reserve` workers, beside those of [`Queue::run`], that do only what is urgent.
    #[must_use]
    pub fn reserving(observer: Arc<dyn QueueObserver>, reserve: usize) -> Self {
        let state = State {
            usual: Lane::default(),
            urgent: Lane::default(),
            running: BTreeMap::new(),
            paused: false,
            not_before: BTreeMap::new(),
            begun: BTreeMap::new(),
            arrivals: 0,
            closed: false,
        };
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                changed: Notify::new(),
                panics: Backoff::default(),
                observer,
                reserve,
            }),
        }
    }

    /// Asks for a pass over `key` at `due`. The earliest request counts. A key in work runs again afterwards, never twice at once.
    pub fn add(&self, key: K, due: Instant) {
        self.shared.lock().add(key, due, Which::Usual);
        // One permit is stored when nobody waits, so this cannot be missed.
        self.shared.changed.notify_one();
    }

    /// Asks for a pass over `key` at `due`, before everything that is not urgent. A request of the other lane stays beside it, and is met by this
    /// pass if it is due by then.
    pub fn add_urgent(&self, key: K, due: Instant) {
        self.shared.lock().add(key, due, Which::Urgent);
        self.shared.changed.notify_one();
    }

    /// Asks for a pass over `key` now, or as soon as its last pass began this long ago.
    pub fn add_apart(&self, key: K, apart: Duration) {
        let mut state = self.shared.lock();
        let now = Instant::now();
        let due = state.begun.get(&key).map_or(now, |at| now.max(*at + apart));
        state.add(key, due, Which::Usual);
        drop(state);
        self.shared.changed.notify_one();
    }

    /// Starts nothing that is not urgent until [`Queue::resume`].
    pub fn pause(&self) {
        self.shared.lock().paused = true;
    }

    /// Ends [`Queue::pause`].
    pub fn resume(&self) {
        self.shared.lock().paused = false;
        self.shared.changed.notify_one();
    }

    /// True if nothing urgent is due or in work.
    pub fn nothing_urgent(&self) -> bool {
        let state = self.shared.lock();
        let due = state.urgent.next().is_some_and(|at| at <= Instant::now());
        !due && state.urgent.ready.is_empty() && state.running.values().all(|r| r.which == Which::Usual)
    }

    /// Asks for a pass over `key` now.
    pub fn add_now(&self, key: K) {
        self.add(key, Instant::now());
    }

    /// Takes no new work and starts none; [`Queue::run`] returns when the passes in hand have ended.
    pub fn close(&self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_one();
    }

    /// Number of keys known to the queue: waiting or in work.
    pub fn len(&self) -> usize {
        let state = self.shared.lock();
        let waiting = state.usual.slots.keys().chain(state.urgent.slots.keys());
        waiting.chain(state.running.keys()).collect::<BTreeSet<_>>().len()
    }

    /// True if no key waits and none is in work.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Runs passes, at most `workers` at a time (and the reserve for urgent ones), overdue ones first, until [`Queue::close`]. One call at a time.
    /// A pass that panics is counted and tried again later; the others do not notice.
    pub async fn run<F, Fut>(&self, workers: usize, pass: F)
    where
        F: Fn(K) -> Fut,
        Fut: Future<Output = Next>,
    {
        let _requeue = RequeueOnDrop { shared: &self.shared };
        let (pass, shared) = (&pass, &*self.shared);
        let mut in_hand = FuturesUnordered::new();
        loop {
            let (started, wake, depth, closed) = shared.lock().start(workers.max(1), shared.reserve);
            shared.observer.depth(depth);
            for key in started {
                in_hand.push(async move {
                    let begun = Instant::now();
                    // The call that makes the future is inside, because it may panic too.
                    let end = AssertUnwindSafe(async { pass(key.clone()).await }).catch_unwind().await;
                    (key, begun, end)
                });
                shared.observer.started(in_hand.len());
            }
            if closed && in_hand.is_empty() {
                return;
            }
            let wake = wake.unwrap_or_else(|| Instant::now() + FAR);
            tokio::select! {
                Some((key, begun, end)) = in_hand.next(), if !in_hand.is_empty() => {
                    let how = shared.finish(key, end);
                    shared.observer.finished(how, begun.elapsed(), in_hand.len());
                }
                () = shared.changed.notified() => {}
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }
}

impl<K: Ord + Clone + Debug> State<K> {
    fn add(&mut self, key: K, due: Instant, which: Which) {
        if self.closed {
            return;
        }
        if let Some(running) = self.running.get_mut(&key) {
            let again = if which == Which::Urgent { &mut running.urgent } else { &mut running.usual };
            *again = Some(again.map_or(due, |a| a.min(due)));
            return;
        }
        self.insert(key, due, which);
    }

    fn insert(&mut self, key: K, due: Instant, which: Which) {
        let due = self.not_before.get(&key).map_or(due, |floor| due.max(*floor));
        self.arrivals += 1;
        let slot = (due, self.arrivals);
        if which == Which::Urgent { self.urgent.insert(key, slot) } else { self.usual.insert(key, slot) }
    }

    /// Takes keys into work, as many as there are workers; also says when to look again, how many wait for a worker, and whether the queue is
    /// closed.
    fn start(&mut self, workers: usize, reserve: usize) -> (Vec<K>, Option<Instant>, usize, bool) {
        if self.closed {
            return (Vec::new(), None, 0, true);
        }
        let now = Instant::now();
        self.urgent.ripen(now);
        self.usual.ripen(now);
        let mut started = Vec::new();
        while self.running.len() < workers + reserve {
            let Some(key) = self.urgent.pop() else { break };
            self.usual.remove_due(&key, now);
            self.begin(key, Which::Urgent, &mut started);
        }
        let mut usual = self.running.values().filter(|r| r.which == Which::Usual).count();
        while !self.paused && usual < workers && self.running.len() < workers + reserve {
            let Some(key) = self.usual.pop() else { break };
            self.begin(key, Which::Usual, &mut started);
            usual += 1;
        }
        // With no worker free, only the end of a pass matters.
        let free = self.running.len() < workers + reserve;
        let wake = [self.urgent.next(), self.usual.next().filter(|_| !self.paused && usual < workers)];
        let wake = wake.into_iter().flatten().min().filter(|_| free);
        (started, wake, self.urgent.ready.len() + self.usual.ready.len(), false)
    }

    fn begin(&mut self, key: K, which: Which, started: &mut Vec<K>) {
        if let Some(running) = self.running.get_mut(&key) {
            // In work since before it became due in this lane.
            let again = if which == Which::Urgent { &mut running.urgent } else { &mut running.usual };
            *again = Some(Instant::now());
            return;
        }
        self.not_before.remove(&key);
        self.begun.insert(key.clone(), Instant::now());
        self.running.insert(key.clone(), Running { which, usual: None, urgent: None });
        started.push(key);
    }

    fn end(&mut self, key: K, due: Option<Instant>, floor: Option<Instant>) {
        let again = self.running.remove(&key);
        if due.is_none() {
            self.begun.remove(&key);
        }
        if let Some(floor) = floor {
            self.not_before.insert(key.clone(), floor);
        }
        if let Some(due) = again.as_ref().and_then(|a| a.urgent) {
            self.insert(key.clone(), due, Which::Urgent);
        }
        if let Some(due) = [again.and_then(|a| a.usual), due].into_iter().flatten().min() {
            self.insert(key, due, Which::Usual);
        }
    }
}

impl<K: Ord + Clone + Debug> Shared<K> {
    fn lock(&self) -> MutexGuard<'_, State<K>> {
        // Nothing that can panic runs while the lock is held, but for an allocation failure.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finish(&self, key: K, end: Result<Next, Box<dyn Any + Send>>) -> Finished {
        let after = |wait: Duration| Some(Instant::now() + wait.min(FAR));
        let next = match end {
            Ok(next) => next,
            Err(panic) => {
                let wait = self.panics.failed(&key, Class::Bug);
                tracing::error!(?key, panic = message(&*panic), retry_in = ?wait, "a pass panicked; please report this");
                self.lock().end(key, after(wait), after(wait));
                return Finished::Panic;
            }
        };
        self.panics.reset(&key);
        let (due, how) = match next {
            Next::Done => (None, Finished::Success),
            Next::In(wait) => (after(wait), Finished::RequeueAfter),
            Next::Failed(wait) => (after(wait), Finished::Error),
            Next::Terminal(wait) => (after(wait), Finished::Terminal),
        };
        self.lock().end(key, due, None);
        how
    }
}

/// Puts keys whose passes were dropped half-way back, so that another `run` on the same queue does not lose them.
struct RequeueOnDrop<'a, K: Ord + Clone + Debug> {
    shared: &'a Shared<K>,
}

impl<K: Ord + Clone + Debug> Drop for RequeueOnDrop<'_, K> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        for (key, running) in std::mem::take(&mut state.running) {
            state.insert(key, Instant::now(), running.which);
        }
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    if let Some(text) = panic.downcast_ref::<&str>() {
        text
    } else {
        panic.downcast_ref::<String>().map_or("(no text)", String::as_str)
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
