//! The operator's pass over a SecureBucket, on the model: observe → plan → execute → observe → status, with faults in between.

use std::collections::BTreeSet;
use std::fmt;

use jiff::Timestamp;
use securebucket::api::secure_bucket::{KeyAttempt, SecureBucket, SecureBucketStatus};
use securebucket::aws::error::AwsError;
use securebucket::bucket::action::{Action, Facet};
use securebucket::bucket::desired::Desired;
use securebucket::bucket::foreign::Claims;
use securebucket::bucket::lockdown::{Looks, found, latched, turn};
use securebucket::bucket::observed::{KeyState, Observed};
use securebucket::bucket::plan::{Plan, Situation, plan};
use securebucket::bucket::status::{Pass, summarise};
use securebucket::domain::policy::Document;
use securebucket::domain::time::{after, format_instant, parse_instant};

use crate::fixtures::{desired_of, install, strangers_key};
use crate::model::{Aws, Known, Run, refusal};

/// What happens to one action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It takes effect and the answer comes.
    None,
    /// AWS refuses it.
    Refused,
    /// It takes effect, and the answer is lost.
    Lost,
    /// The operator dies before it.
    Dies,
    /// The operator dies after it took effect, before anything was made of the answer.
    DiesAfter,
}

/// Why an execution stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    Ran,
    Died,
}

/// Cluster, AWS and time.
#[derive(Clone)]
pub struct World {
    pub object: SecureBucket,
    pub aws: Aws,
    /// Facets that cannot be read.
    pub blind: BTreeSet<Facet>,
    /// `reconcile-at` has a value that was not acted upon yet.
    pub obey: bool,
    /// What DecryptGrants say of KMS grants on the key.
    pub claims: Claims,
}

/// A counter-example in few lines.
impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (status, sids) = (self.status(), |d: &Document| {
            d.statements.iter().map(|s| format!("{:?} {}", s.effect, s.sid)).collect::<Vec<_>>()
        });
        writeln!(f, "spec {}", serde_json::to_string(&self.object.spec).unwrap())?;
        writeln!(
            f,
            "situation {:?} blind {:?} time {} lag {}",
            self.situation(),
            self.blind,
            self.aws.now,
            self.aws.lag
        )?;
        writeln!(
            f,
            "attempt {:?} managed tags {:?} alias {:?}",
            status.key_attempt, status.managed_tags, self.aws.alias
        )?;
        for (arn, key) in self.aws.keys.iter().filter(|(arn, _)| **arn != strangers_key()) {
            let (certified, sids) = (key.policy.is_certified(), sids(&key.policy));
            writeln!(
                f,
                "key {arn} {:?} rotation {:?} tags {:?} policy {certified} {sids:?}",
                key.state, key.rotation, key.tags
            )?;
        }
        let Some(b) = &self.aws.bucket else { return write!(f, "no bucket") };
        let policy = b.policy.as_ref().map(|d| (d.is_certified(), sids(d)));
        writeln!(f, "bucket {} tags {:?} {:?} {:?} {:?}", b.region, b.tags, b.block, b.ownership, b.encryption)?;
        write!(f, "{:?} {:?} policy {policy:?}", b.versioning, b.lifecycle.as_ref().map(Vec::len))
    }
}

/// How a pass ended.
#[derive(Clone, Debug)]
pub struct Ended {
    pub plan: Plan,
    /// Executions.
    pub rounds: usize,
    /// True if the status changed in more than times.
    pub wrote_status: bool,
}

impl World {
    pub fn desired(&self) -> Desired {
        desired_of(&self.object)
    }

    pub fn status(&self) -> SecureBucketStatus {
        self.object.status.clone().unwrap_or_default()
    }

    pub fn now(&self) -> Timestamp {
        Timestamp::from_second(self.aws.now).unwrap()
    }

    pub fn observe(&self) -> Observed {
        let status = self.status();
        let known = Known { key_arn: status.key_arn, attempt: status.key_attempt.map(|a| a.id) };
        self.aws.observe(&self.desired(), &known, &self.blind)
    }

    pub fn situation(&self) -> Situation {
        let status = self.status();
        let grace = install().timing.role_propagation.try_into().unwrap();
        let young = |at: &str| parse_instant(at).is_none_or(|at| self.now() < after(at, grace));
        Situation {
            attempt_pending: status.key_attempt.as_ref().is_some_and(|a| young(&a.at)),
            key_arn: status.key_arn,
            bound: status.bucket_arn.is_some(),
            provisioned: status.provisioned_at.is_some(),
            spec_changed: status.observed_generation != self.object.metadata.generation,
            releasing: self.object.metadata.deletion_timestamp.is_some(),
            obey: self.obey,
            key_disabled: status.lockdown.is_some_and(|l| l.key_disabled == Some(true)),
            claims: self.claims.clone(),
        }
    }

    pub fn plan(&self) -> Plan {
        plan(&self.desired(), &self.observe(), &self.situation(), &install())
    }

    /// Carries out a plan, as `bucket/execute.rs` does.
    pub fn execute(
        &mut self,
        plan: &Plan,
        mut fault: impl FnMut(usize, &Action) -> Fault,
    ) -> (Vec<(Facet, AwsError)>, Stop) {
        let desired = self.desired();
        let seen = self.observe().key.value().map(|k| k.arn.clone());
        let key = self.status().key_arn.or(seen);
        let mut run = Run { desired: &desired, key, attempt: None };
        let mut failures = Vec::new();
        for (index, action) in plan.actions.iter().enumerate() {
            if index >= plan.widening && !failures.is_empty() {
                continue;
            }
            let fault = fault(index, action);
            if fault == Fault::Dies {
                return (failures, Stop::Died);
            }
            if *action == Action::DisableKey {
                self.note_key_disabled();
            }
            if matches!(action, Action::AnnounceKey | Action::RecordKey { .. }) {
                // A status that cannot be written, or whose answer is lost, ends the pass.
                if fault != Fault::Refused {
                    self.write_status(action, &desired);
                }
                if fault != Fault::None {
                    return (failures, Stop::Died);
                }
                continue;
            }
            run.attempt = self.status().key_attempt.map(|a| a.id);
            let effect = if fault == Fault::Refused { Err(refusal().kind) } else { self.aws.apply(action, &mut run) };
            if fault == Fault::DiesAfter {
                return (failures, Stop::Died);
            }
            let effect = if fault == Fault::Lost { Err(refusal().kind) } else { effect };
            if let Err(kind) = effect {
                failures.push((action.facet(), AwsError { kind, ..refusal() }));
                let unknown = self.status().key_arn.is_none();
                if makes(action) || *action == Action::CreateAlias && unknown {
                    break;
                }
                continue;
            }
            if let (Action::CreateAlias, Some(arn)) = (action, &run.key) {
                self.record(arn.clone());
            }
        }
        (failures, Stop::Ran)
    }

    fn write_status(&mut self, action: &Action, desired: &Desired) {
        if let Action::RecordKey { arn } = action {
            return self.record(arn.clone());
        }
        let at = format_instant(self.now());
        let id = format!("attempt-{at}");
        let names = &desired.names;
        let status = self.object.status.get_or_insert_default();
        status.key_attempt = Some(KeyAttempt { id, at });
        status.identity = Some(names.identity.clone());
        status.region = Some(names.place.region.clone());
        status.bucket_name = Some(names.bucket.clone());
    }

    /// A latch that status has lost and AWS still has.
    fn restore(&mut self, plan: &Plan) -> bool {
        let observed = self.observe();
        let policy = observed.bucket.value().and_then(|b| b.policy.value()).filter(|_| plan.owns_bucket);
        let arn = self.desired().names.bucket_arn();
        let latch = policy.and_then(|p| found(&self.object, p, &arn, self.now()));
        let lost = latch.is_some();
        if lost {
            self.object.status.get_or_insert_default().lockdown = latch;
        }
        lost
    }

    /// In status before the call.
    fn note_key_disabled(&mut self) {
        let latch = self.object.status.as_mut().and_then(|s| s.lockdown.as_mut());
        latch.unwrap().key_disabled = Some(true);
    }

    /// What lifting depends on; there are no grants and no roles here.
    fn looks(&self, plan: &Plan, failures: &[(Facet, AwsError)]) -> Looks<'static> {
        let clean = plan.in_sync() && failures.is_empty() && self.object.metadata.deletion_timestamp.is_none();
        let key_enabled = plan.key_state == Some(KeyState::Enabled);
        Looks { clean, withheld: plan.withheld, key_enabled, waits: None }
    }

    fn record(&mut self, arn: String) {
        let status = self.object.status.get_or_insert_default();
        status.key_arn = Some(arn);
        status.key_attempt = None;
    }

    /// One pass without faults.
    pub fn pass(&mut self) -> Ended {
        self.pass_with(|_, _, _| Fault::None).unwrap()
    }

    /// One pass; `None` if the operator died in it. The fault is asked for by round and position.
    pub fn pass_with(&mut self, mut fault: impl FnMut(usize, usize, &Action) -> Fault) -> Option<Ended> {
        let mut failures = Vec::new();
        // Before anything else.
        if let Some(latch) = latched(&self.object, "0a1b2c3d", self.now()) {
            self.object.status.get_or_insert_default().lockdown = Some(latch);
        }
        for round in 0.. {
            let mut plan = self.plan();
            if self.restore(&plan) {
                plan = self.plan();
            }
            if plan.actions.is_empty() || !failures.is_empty() || round == 4 {
                let wrote_status = self.summarise(&plan, &failures);
                return Some(Ended { plan, rounds: round, wrote_status });
            }
            let (failed, stop) = self.execute(&plan, |index, action| fault(round, index, action));
            if stop == Stop::Died {
                return None;
            }
            failures = failed;
        }
        unreachable!()
    }

    fn summarise(&mut self, plan: &Plan, failures: &[(Facet, AwsError)]) -> bool {
        let desired = self.desired();
        let obeyed = self.obey && failures.is_empty() && plan.finished();
        let end = Pass {
            desired: &desired,
            plan,
            failures,
            duties: Vec::new(),
            access: Default::default(),
            active_grants: 0,
            pending: (Vec::new(), 0),
            exists: plan.owns_bucket,
            releasing: None,
            obeyed: obeyed.then(|| "asked".into()),
            lockdown: turn(&self.object, self.looks(plan, failures), self.now()),
        };
        let after = summarise(&self.object, &end, &install(), self.now());
        let changed = without_times(&self.status()) != without_times(&after);
        if changed {
            self.object.status = Some(after);
        }
        self.obey &= !obeyed;
        changed
    }

    /// Passes until nothing is to be done any more; waits out an announced CreateKey.
    pub fn converge(&mut self) -> Ended {
        for _ in 0..8 {
            let ended = self.pass();
            if !ended.wrote_status && ended.rounds == 0 && !ended.plan.waiting_for_key {
                return ended;
            }
            self.aws.now += 30;
        }
        panic!("no end after 8 passes: {:?}\n{:?}", self.plan(), self.status());
    }
}

/// Steps that make a thing that was not there.
pub fn makes(action: &Action) -> bool {
    matches!(action, Action::CreateKey { .. } | Action::CreateBucket { .. })
}

/// The status without the times of transitions.
pub fn without_times(status: &SecureBucketStatus) -> serde_json::Value {
    let mut value = serde_json::to_value(status).unwrap();
    for condition in value["conditions"].as_array_mut().into_iter().flatten() {
        condition.as_object_mut().unwrap().remove("lastTransitionTime");
    }
    value
}
