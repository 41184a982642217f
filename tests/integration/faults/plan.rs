//! What goes wrong in a run, and where: the kinds of faults, the points that they are aimed at, and the counter that both layers share.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// What goes wrong with one request.
///
/// The AWS SDK tries a call up to three times. Kinds without `Once` therefore hit *all* attempts of the call, so that the failure reaches
/// the operator; the `Once` kinds hit the first attempt only, and what they test is the SDK's retry (a second CreateKey, for one). The kube
/// layer lies above kube's own retries, so there every fault reaches the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The request is never sent, and the operator dies.
    KillBefore,
    /// The request takes effect, its answer is never seen, and the operator dies.
    KillAfterApplied,
    /// No connection; no effect.
    ErrorNotApplied,
    /// The request takes effect, and the answer is a server error. Further attempts of the same call fail without effect.
    ErrorApplied,
    /// Refused for going too fast: by KMS, IAM and S3 in their own words, by the API server with 429.
    Throttle,
    /// A write is sent late, the answer to a read comes late: either way the operator acts on an old view.
    Delay,
    /// [`Kind::ErrorNotApplied`], first attempt only.
    ErrorNotAppliedOnce,
    /// The request takes effect and the connection breaks before the answer; the SDK tries again.
    ErrorAppliedOnce,
}

impl Kind {
    /// Kinds that hit any request.
    pub const EVERYWHERE: [Self; 6] = [
        Self::KillBefore,
        Self::KillAfterApplied,
        Self::ErrorNotApplied,
        Self::ErrorApplied,
        Self::Throttle,
        Self::Delay,
    ];
    /// Kinds for AWS writes, beside the others.
    pub const AWS_WRITES: [Self; 2] = [Self::ErrorNotAppliedOnce, Self::ErrorAppliedOnce];

    /// Kinds that make sense at a point, each different from the others there: to a read, whether it "took effect" is all the same.
    pub fn at(point: &Point) -> Vec<Self> {
        let without_effect = |k: &Self| !matches!(k, Self::KillAfterApplied | Self::ErrorApplied);
        let all = Self::EVERYWHERE.into_iter().filter(|k| point.writes || without_effect(k));
        let retried = Self::AWS_WRITES.into_iter().filter(|_| point.writes && point.aws);
        all.chain(retried).collect()
    }

    /// A choice of [`Kind::at`] that keeps the time of a campaign down: all of them at writes; at reads that it fails, and one of the others
    /// in turn. An operator that dies before a read leaves the worlds as one that dies after the write before it, which is hit anyway.
    pub fn chosen_at(point: &Point, index: usize) -> Vec<Self> {
        let turn = [Self::KillBefore, Self::Throttle, Self::Delay][index % 3];
        Self::at(point).into_iter().filter(|k| point.writes || [Self::ErrorNotApplied, turn].contains(k)).collect()
    }

    /// The operator dies of it.
    pub fn kills(self) -> bool {
        matches!(self, Self::KillBefore | Self::KillAfterApplied)
    }

    /// The request takes effect although the operator does not hear so.
    pub fn applies(self) -> bool {
        matches!(self, Self::KillAfterApplied | Self::ErrorApplied | Self::ErrorAppliedOnce | Self::Delay)
    }

    fn once(self) -> bool {
        matches!(self, Self::ErrorNotAppliedOnce | Self::ErrorAppliedOnce | Self::Delay)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut all = Self::EVERYWHERE.into_iter().chain(Self::AWS_WRITES);
        all.find(|k| k.to_string() == text).ok_or_else(|| format!("no kind of fault: {text}"))
    }
}

/// A request of a run, named so that it can be found again in another run: `kms CreateKey`, the first time.
///
/// Requests are counted per name rather than by one number alone, because passes over different objects interleave differently from run to
/// run: request 57 is not the same request twice, but the third `iam PutRolePolicy reader` is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    /// What is asked of whom.
    pub label: String,
    /// The how-manieth of its name, from 1.
    pub nth: usize,
    /// It changes something.
    pub writes: bool,
    /// It is asked of AWS.
    pub aws: bool,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.label, self.nth)
    }
}

/// A request as a layer sees it.
#[derive(Clone, Debug)]
pub struct Seen<'a> {
    /// Its name.
    pub label: &'a str,
    /// It changes something.
    pub writes: bool,
    /// It is asked of AWS.
    pub aws: bool,
    /// The call that it is an attempt of.
    pub call: Option<&'a str>,
}

/// What a layer does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Passes it on.
    Pass,
    /// Lets this happen to it.
    Hit(Kind),
    /// A further attempt of a call that was hit: fails without effect.
    HitAgain(Kind),
    /// Holds it for ever: its operator is dead.
    Dead,
}

/// The faults of one run. Clones share everything: the layers of all clients, and of all operators that live one after the other.
#[derive(Clone, Debug)]
pub struct Faults {
    state: Arc<Mutex<State>>,
    killed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    target: Option<(String, Kind)>,
    counts: BTreeMap<String, usize>,
    trace: Vec<Point>,
    /// Number of the request that was hit, from 1.
    fired: Option<usize>,
    /// The call whose further attempts fail.
    poisoned: Option<String>,
    /// Calls whose first attempt has passed or was hit.
    begun: BTreeSet<String>,
    /// Operators that died: their requests go nowhere.
    dead: u32,
    /// The youngest operator that asked for something.
    youngest: u32,
    /// What is asked now is neither counted nor hit.
    held: bool,
}

impl Faults {
    /// No fault: requests are counted only.
    pub fn none() -> Self {
        Self { state: Arc::default(), killed: Arc::default() }
    }

    /// `kind` at the request that is displayed as `point`.
    pub fn at(point: impl Into<String>, kind: Kind) -> Self {
        let faults = Self::none();
        faults.lock().target = Some((point.into(), kind));
        faults
    }

    /// Lets everything pass uncounted, until [`Faults::count_from_here`].
    pub fn hold(&self) {
        self.lock().held = true;
    }

    /// From here on requests are counted, from 1, and one of them is hit.
    pub fn count_from_here(&self) {
        self.lock().held = false;
    }

    /// Nothing more gets out of the operator that lives now.
    pub fn bury(&self) {
        let mut state = self.lock();
        state.dead = state.youngest;
    }

    /// Judges a request of operator number `life` (from 1).
    pub fn admit(&self, life: u32, request: &Seen<'_>) -> Verdict {
        let mut state = self.lock();
        if life <= state.dead {
            return Verdict::Dead;
        }
        state.youngest = state.youngest.max(life);
        if let Some(call) = request.call {
            if state.poisoned.as_deref() == Some(call) {
                return state.target.as_ref().map_or(Verdict::Pass, |(_, kind)| Verdict::HitAgain(*kind));
            }
            // A retry is not a further request.
            if !state.begun.insert(call.to_owned()) {
                return Verdict::Pass;
            }
        }
        if state.held {
            return Verdict::Pass;
        }
        let nth = state.counts.entry(request.label.to_owned()).or_default();
        *nth += 1;
        let point = Point { label: request.label.to_owned(), nth: *nth, writes: request.writes, aws: request.aws };
        let name = point.to_string();
        state.trace.push(point);
        let kind = match &state.target {
            Some((wanted, kind)) if *wanted == name && state.fired.is_none() => *kind,
            _ => return Verdict::Pass,
        };
        state.fired = Some(state.trace.len());
        if !kind.once() {
            state.poisoned = request.call.map(str::to_owned);
        }
        if kind.kills() {
            state.dead = life;
        }
        Verdict::Hit(kind)
    }

    /// The operator is to be dropped now: said by a layer when its request has got as far as its kind says.
    pub fn kill(&self) {
        self.killed.notify_one();
    }

    /// Waits until the operator has to be dropped.
    pub async fn killed(&self) {
        self.killed.notified().await;
    }

    /// All requests so far, in order.
    pub fn trace(&self) -> Vec<Point> {
        self.lock().trace.clone()
    }

    /// Number of the request that was hit, if any was.
    pub fn fired(&self) -> Option<usize> {
        self.lock().fired
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(label: &str) -> Seen<'_> {
        Seen { label, writes: true, aws: true, call: None }
    }

    #[test]
    fn a_fault_fires_at_its_point_once() {
        let faults = Faults::at("kms CreateKey#2", Kind::Delay);
        let verdicts: Vec<Verdict> = ["kms CreateKey", "iam GetRole", "kms CreateKey", "kms CreateKey"]
            .iter()
            .map(|label| faults.admit(1, &write(label)))
            .collect();
        assert_eq!(verdicts, [Verdict::Pass, Verdict::Pass, Verdict::Hit(Kind::Delay), Verdict::Pass]);
        assert_eq!(faults.fired(), Some(3));
        assert_eq!(faults.trace()[2].to_string(), "kms CreateKey#2");
    }

    #[test]
    fn further_attempts_of_a_call_share_its_fate_and_are_not_counted() {
        for (kind, second) in
            [(Kind::ErrorApplied, Verdict::HitAgain(Kind::ErrorApplied)), (Kind::ErrorAppliedOnce, Verdict::Pass)]
        {
            let faults = Faults::at("kms CreateKey#1", kind);
            let attempt = |id| faults.admit(1, &Seen { call: Some(id), ..write("kms CreateKey") });
            assert_eq!([attempt("a"), attempt("a"), attempt("a")], [Verdict::Hit(kind), second, second]);
            assert_eq!(attempt("b"), Verdict::Pass, "another call of the same operation");
            assert_eq!(faults.trace().len(), 2);
        }
    }

    #[test]
    fn nothing_of_a_dead_operator_gets_out_and_the_next_is_unharmed() {
        let faults = Faults::at("a#1", Kind::KillBefore);
        assert_eq!(faults.admit(1, &write("a")), Verdict::Hit(Kind::KillBefore));
        assert_eq!(faults.admit(1, &write("b")), Verdict::Dead);
        assert_eq!(faults.admit(2, &write("a")), Verdict::Pass);
        assert_eq!(faults.admit(2, &write("b")), Verdict::Pass);
    }

    #[test]
    fn what_comes_before_the_start_is_neither_counted_nor_hit() {
        let faults = Faults::at("a#1", Kind::ErrorNotApplied);
        faults.hold();
        assert_eq!(faults.admit(1, &write("a")), Verdict::Pass);
        faults.count_from_here();
        assert_eq!(faults.admit(1, &write("a")), Verdict::Hit(Kind::ErrorNotApplied));
        assert_eq!(faults.trace().len(), 1);
        faults.bury();
        assert_eq!(faults.admit(1, &write("a")), Verdict::Dead);
        assert_eq!(faults.admit(2, &write("a")), Verdict::Pass);
    }

    #[tokio::test]
    async fn a_kill_is_heard_also_if_nobody_listens_yet() {
        let faults = Faults::none();
        faults.kill();
        faults.killed().await;
    }

    #[test]
    fn kinds_have_names_and_reads_fewer_of_them() {
        for kind in Kind::EVERYWHERE.into_iter().chain(Kind::AWS_WRITES) {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        let point = |writes, aws| Point { label: String::new(), nth: 1, writes, aws };
        assert_eq!(Kind::at(&point(true, true)).len(), 8);
        assert_eq!(Kind::at(&point(true, false)).len(), 6);
        assert_eq!(Kind::at(&point(false, true)).len(), 4);
    }
}
