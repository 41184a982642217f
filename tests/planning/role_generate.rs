//! Random workload roles: what they should be, and what people have made of them.

use std::collections::BTreeSet;

use jiff::Timestamp;
use proptest::prelude::*;
use securebucket::api::lockdown::LockdownLevel;
use securebucket::api::secure_bucket::Duty;
use securebucket::domain::policy::{Document, Statement};
use securebucket::domain::prefix::Prefixes;
use securebucket::domain::tags;
use securebucket::domain::time::after;
use securebucket::role::document::{BucketRef, DutyInput, GrantInput, HeldDeny, Inputs, build};

use crate::fixtures::install;
use crate::generate::NOON;
use crate::role_model::{Blind, Role, RoleWorld};

pub fn at(hours: i64) -> Timestamp {
    after(Timestamp::from_second(NOON).unwrap(), jiff::SignedDuration::from_hours(hours))
}

pub fn buckets() -> [BucketRef; 2] {
    ["1", "2"].map(|n| BucketRef {
        identity: n.repeat(16),
        bucket_arn: install().place.bucket(&format!("c1-{n}")),
        key_arn: install().place.key(n),
        via_s3: install().place.via_s3(),
    })
}

pub fn prefixes() -> impl Strategy<Value = Prefixes> {
    prop::collection::vec(prop::sample::select(vec!["a/", "a/b/", "z/", "*"]), 1..3)
        .prop_map(|p| Prefixes::parse(&p).unwrap())
}

/// At most one duty per bucket; grants only where there is none.
pub fn inputs() -> impl Strategy<Value = Inputs> {
    let duty = prop::sample::select(vec![None, None, Some(Duty::Producer), Some(Duty::Processor), Some(Duty::Auditor)]);
    let lock = prop::sample::select(vec![None, None, None, Some(LockdownLevel::Reads), Some(LockdownLevel::All)]);
    let duties = prop::collection::vec((duty, prefixes(), lock), 2);
    let grants = prop::collection::vec((0..2usize, prefixes(), 1..4i64, any::<bool>()), 0..4);
    let held = prop::collection::vec((0..2usize, -1..2i64), 0..2);
    (duties, grants, held).prop_map(|(duties, grants, held)| {
        let duties: Vec<DutyInput> = buckets()
            .into_iter()
            .zip(duties)
            .filter_map(|(bucket, (duty, prefixes, lock))| {
                let duty = duty?;
                let prefixes = (duty != Duty::Auditor).then_some(prefixes);
                Some(DutyInput { bucket, duty, prefixes, lock, established: false })
            })
            .collect();
        let grants = grants.into_iter().enumerate().map(|(n, (bucket, prefixes, hours, issued))| GrantInput {
            uid: format!("g{n}"),
            bucket: buckets()[bucket].clone(),
            prefixes,
            expires_at: at(hours),
            activated_at: at(-1),
            issued,
        });
        let grants = grants.filter(|g| duties.iter().all(|d| d.bucket != g.bucket)).collect();
        let held = held.into_iter().map(|(n, hours)| {
            let BucketRef { identity, bucket_arn, .. } = buckets()[n].clone();
            HeldDeny { identity, bucket_arn, from: at(hours) }
        });
        Inputs { duties, grants, held: held.collect() }
    })
}

/// What people put into policies of the role: two Allows, two Denies.
pub fn foreign() -> [Statement; 4] {
    [
        Statement::allow("Everything").actions(["*"]).resources(["*"]),
        Statement::allow("").actions(["s3:GetObject"]).resources(["arn:aws:s3:::c1-1/*"]),
        Statement::deny("Incident42").actions(["s3:GetObject"]).resources(["*"]),
        Statement::deny("").actions(["kms:Decrypt"]).resources(["*"]),
    ]
}

pub fn edited(base: Document, drop: &[bool], add: &[usize]) -> Document {
    let mut document = base.certified();
    let mut keep = drop.iter().map(|d| !d).chain(std::iter::repeat(true));
    document.statements.retain(|_| keep.next().unwrap());
    document.statements.extend(add.iter().map(|n| foreign()[*n].clone()));
    document
}

pub fn some_role() -> impl Strategy<Value = Role> {
    let add = || prop::collection::vec(0..4usize, 0..2);
    let dropped = prop::collection::vec(prop::bool::weighted(0.2), 8);
    let document = prop::option::weighted(0.8, (inputs(), dropped, add()));
    let policies = prop::collection::vec((any::<bool>(), prop::collection::vec(0..4usize, 1..3)), 0..3);
    let marks = prop::sample::select(vec![0, 0, 0, 0, 1, 2]);
    let head = (prop::bool::weighted(0.8), 0..4usize, marks, prop::bool::weighted(0.1));
    (document, policies, head).prop_map(|(document, policies, (bounded, trust, marks, elsewhere))| {
        let world = RoleWorld { role: None, ..empty(Inputs::default()) };
        let desired = world.desired();
        let mut trusted = Document::new(desired.trust.clone()).certified();
        let open = Statement::allow("").principal("AWS", "arn:aws:iam::999988887777:root").actions(["sts:AssumeRole"]);
        match trust {
            0 => trusted.statements.push(open),
            1 => trusted.statements.push(Statement::deny("Incident42").anyone().actions(["sts:*"])),
            _ => {}
        }
        let mut tags = desired.tags.clone();
        match marks {
            1 => drop(tags.remove(tags::CLUSTER)),
            2 => drop(tags.insert(tags::CLUSTER.into(), "c2".into())),
            _ => {}
        }
        let foreign = policies.into_iter().enumerate().map(|(n, (attached, which))| {
            let name = if attached { format!("arn:aws:iam::aws:policy/P{n}") } else { format!("p{n}") };
            (name, attached, Document::new(which.into_iter().map(|w| foreign()[w].clone()).collect()))
        });
        Role {
            arn: if elsewhere { install().place.role("/", &desired.name) } else { desired.arn },
            role_id: "AROA0".into(),
            boundary: bounded.then_some(desired.boundary),
            trust: trusted,
            tags,
            document: document.map(|(inputs, drop, add)| edited(Document::new(build(&inputs).statements), &drop, &add)),
            foreign: foreign.collect(),
        }
    })
}

pub fn empty(inputs: Inputs) -> RoleWorld {
    RoleWorld {
        role: None,
        inputs,
        released: BTreeSet::new(),
        now: at(0),
        obey: false,
        blind: BTreeSet::new(),
        used: at(-1_000),
        writes: Vec::new(),
        made: 0,
    }
}

pub fn world() -> impl Strategy<Value = RoleWorld> {
    let released = prop::collection::btree_set(prop::sample::select(vec!["1".repeat(16), "2".repeat(16)]), 0..2);
    let inputs = prop_oneof![1 => Just(Inputs::default()), 4 => inputs()];
    let used = prop::sample::select(vec![-1_000, -24, -23, 0]).prop_map(at);
    (inputs, prop::option::weighted(0.85, some_role()), released, prop::bool::weighted(0.2), used)
        .prop_map(|(inputs, role, released, obey, used)| RoleWorld { role, released, obey, used, ..empty(inputs) })
}

pub fn dim_world() -> impl Strategy<Value = RoleWorld> {
    let blind = prop::sample::select(vec![Blind::Role, Blind::Document, Blind::Foreign]);
    (world(), prop::collection::btree_set(blind, 0..2)).prop_map(|(world, blind)| RoleWorld { blind, ..world })
}
