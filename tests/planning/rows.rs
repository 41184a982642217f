//! Rows of the plan tables: what is changed against "all as declared", and the plan in lines.

use securebucket::api::secure_bucket::{Duty, SecureBucketSpec};
use securebucket::aws::error::Seen;
use securebucket::bucket::desired::Desired;
use securebucket::bucket::observed::{Observed, ObservedBucket, ObservedKey};
use securebucket::bucket::plan::{Plan, Situation, plan};
use securebucket::domain::policy::{Document, Statement};

use crate::fixtures::{declared, desired_of, entry, install, secure_bucket, settled};

/// What a plan is made from. At first all is as declared, for a bucket that was read back complete: a Producer `ingest`, a Processor `etl`.
pub struct Case {
    pub desired: Desired,
    pub observed: Observed,
    pub situation: Situation,
}

pub fn spec() -> SecureBucketSpec {
    SecureBucketSpec {
        access: vec![entry("etl", Duty::Processor), entry("ingest", Duty::Producer)],
        ..SecureBucketSpec::default()
    }
}

impl Case {
    pub fn new() -> Self {
        let desired = desired_of(&secure_bucket(spec()));
        let observed = declared(&desired);
        Self { desired, observed, situation: settled() }
    }

    pub fn key(&mut self) -> &mut ObservedKey {
        let Seen::Value(key) = &mut self.observed.key else { panic!("there is no key") };
        key
    }

    pub fn bucket(&mut self) -> &mut ObservedBucket {
        let Seen::Value(bucket) = &mut self.observed.bucket else { panic!("there is no bucket") };
        bucket
    }

    /// Before anything was made for the object.
    pub fn fresh(&mut self) {
        self.observed = Observed { key: Seen::Absent, bucket: Seen::Absent };
        self.situation = Situation::default();
    }

    /// The object was created again: what is there was an earlier object's, and status knows nothing.
    pub fn returned(&mut self) {
        self.situation = Situation::default();
        returning(&mut self.key().tags);
        returning(&mut self.bucket().tags);
    }

    pub fn edit_key_policy(&mut self, change: impl FnOnce(&mut Vec<Statement>)) {
        edit(&mut self.key().policy, change);
    }

    pub fn edit_bucket_policy(&mut self, change: impl FnOnce(&mut Vec<Statement>)) {
        edit(&mut self.bucket().policy, change);
    }

    fn plan(&self) -> Plan {
        plan(&self.desired, &self.observed, &self.situation, &install())
    }
}

fn returning(tags: &mut Seen<securebucket::domain::tags::Tags>) {
    let Seen::Value(tags) = tags else { panic!("there are no tags") };
    tags.insert(securebucket::domain::tags::UID.into(), "bucket-uid-0".into());
}

fn edit(policy: &mut Seen<Document>, change: impl FnOnce(&mut Vec<Statement>)) {
    let Seen::Value(document) = policy else { panic!("there is no policy") };
    change(&mut document.statements);
}

/// The plan in lines: `-` a step, `+` a step that gives access.
pub fn lines(plan: &Plan) -> Vec<String> {
    let mark = |i| if i < plan.widening { '-' } else { '+' };
    let steps = plan.actions.iter().enumerate().map(|(i, a)| format!("{} {a}", mark(i)));
    let short = |text: String| text.replace("arn:aws:kms:eu-west-1:111122223333:key/", "");
    steps
        .chain(plan.drift.iter().map(|d| format!("drift {}: {}", d.facet.name(), d.difference)))
        .chain(plan.restricted.iter().map(|r| format!("restricted {}", r.facet.name())))
        .chain(plan.blocked.iter().map(|b| format!("blocked {}", b.reason)))
        .chain(plan.unreadable.iter().map(|(f, _)| format!("unreadable {}", f.name())))
        .chain(plan.foreign.iter().map(|f| format!("foreign {}: {}", f.kind.name(), f.id)))
        .chain(plan.waiting_for_key.then(|| "waiting for the key".to_owned()))
        .map(short)
        .collect()
}

/// A row: its name, the change, the lines.
pub type Row = (&'static str, fn(&mut Case), &'static [&'static str]);

/// Fails with every row that is wrong.
pub fn check(rows: &[Row]) {
    let mut wrong = String::new();
    for (name, change, expected) in rows {
        let mut case = Case::new();
        change(&mut case);
        let found = lines(&case.plan());
        if found != *expected {
            wrong.push_str(&format!("{name}\n  wanted {expected:#?}\n  found  {found:#?}\n"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
