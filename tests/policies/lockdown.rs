//! A locked bucket: each of the two layers refuses by itself, the bucket policy before a role was rewritten and the role if somebody takes the
//! Deny out; and what a lockdown of reads leaves.

use securebucket::api::lockdown::LockdownLevel;
use securebucket::api::secure_bucket::Duty;
use securebucket::bucket::lockdown::{Lock, statements};
use securebucket::role::document::Inputs;

use crate::rows::{Row, Scenario, allow, deny};
use crate::world::{Case, Which, Who, World, bucket_b, duty, hours, noon, other_arn, table_case};

const ID: &str = "0a1b2c3d";

/// B with a lockdown in its policy, in the role of its duty, or in both.
fn world(of: Duty, level: LockdownLevel, in_bucket: bool, in_role: bool) -> World {
    let mut case = Case { ..table_case(false, hours(4), hours(8)) };
    match of {
        Duty::Producer => case.duties_b.producers = vec![other_arn()],
        Duty::Processor => case.duties_b.processors = vec![other_arn()],
        Duty::Auditor => {}
    }
    let prefix = (of != Duty::Auditor).then_some("in/");
    let mut held = duty(bucket_b(), of, prefix);
    held.lock = in_role.then_some(level);
    case.other = Inputs { duties: vec![held], ..Inputs::default() };
    if in_role {
        // The writer of roles has taken the windows out.
        case.w.grants.clear();
    }
    let mut world = World::new(case);
    if in_bucket {
        let lock = Lock { id: ID.into(), level };
        let more = statements(&lock, &world.b.bucket_arn, &world.install);
        world.documents.get_mut(&Which::BucketB).unwrap().statements.extend(more);
    }
    world
}

fn sid(what: &str) -> String {
    format!("Lockdown{what}{ID}")
}

fn processor(w: &World, level: LockdownLevel, in_bucket: bool, in_role: bool) -> Vec<Row> {
    let (now, on) = (noon(), if level == LockdownLevel::All { sid("All") } else { sid("Reads") });
    let (names, all) = (sid("Names"), level == LockdownLevel::All);
    let objects: &[&str] = if in_bucket { &[&on] } else { &[] };
    let listing: &[&str] = if in_bucket { &[&names] } else { &[] };
    let by_admin = |more: &[&'static str]| -> Vec<String> {
        more.iter().map(|s| (*s).to_owned()).chain(objects.iter().map(|s| (*s).to_owned())).collect()
    };
    let mut rows = vec![
        deny("Processor get", w.get(Who::Other, &w.b, "in/x", now), objects),
        deny("Processor list", w.list(Who::Other, &w.b, "in/", now), listing),
        deny("get by a grant that runs", w.get(Who::W, &w.b, "calls/2026/x", now), objects),
        deny("list by a grant that runs", w.list(Who::W, &w.b, "calls/2026/", now), listing),
    ];
    let puts = w.put(Who::Other, &w.b, "in/x", now);
    rows.push(match (all, in_role) {
        (false, false) => allow("Processor put", puts, &["ProcessB", "ProcessKeyB", "StandingDuties"]),
        (false, true) => allow("Processor put", puts, &["WriteB", "WriteKeyB", "StandingDuties"]),
        (true, _) => deny("Processor put", puts, objects),
    });
    if in_bucket {
        // Whatever somebody attaches to a role, and whoever he is.
        let outsider = by_admin(&["ObjectsOnlyForWorkloads", "CryptoOnlyForWorkloads"]);
        let outsider: Vec<&str> = outsider.iter().map(String::as_str).collect();
        rows.extend([
            deny("get with s3:* attached", w.get(Who::WithS3, &w.b, "calls/2026/x", now), objects),
            deny("get with *:* attached", w.get(Who::WithAll, &w.b, "calls/2026/x", now), objects),
            deny("get by a role made anew", w.get(Who::OtherRecreated, &w.b, "in/x", now), objects),
            deny("get by the operator", w.get(Who::OperatorReplaced, &w.b, "in/x", now), &outsider),
            deny("list by a planted role", w.list(Who::Planted, &w.b, "in/", now), listing),
            allow("the operator sees the bucket", w.list(Who::Operator, &w.b, "", now), &["Buckets"]),
            allow("break-glass lists", w.list(Who::BreakGlass, &w.b, "", now), &["AttachedAll"]),
        ]);
    }
    rows
}

#[test]
fn each_layer_refuses_by_itself() {
    for level in [LockdownLevel::Reads, LockdownLevel::All] {
        for (in_bucket, in_role) in [(true, false), (false, true), (true, true)] {
            let world = world(Duty::Processor, level, in_bucket, in_role);
            let name = format!("{level:?}, bucket {in_bucket}, role {in_role}");
            Scenario::new(name, world, |w| processor(w, level, in_bucket, in_role)).check();
        }
    }
}

#[test]
fn producers_write_on_under_a_lockdown_of_reads_alone() {
    for level in [LockdownLevel::Reads, LockdownLevel::All] {
        let world = world(Duty::Producer, level, true, true);
        let rows = |w: &World| {
            let (put, get) = (w.put(Who::Other, &w.b, "in/x", noon()), w.get(Who::Other, &w.b, "in/x", noon()));
            let all = sid("All");
            let reads = sid("Reads");
            if level == LockdownLevel::All {
                vec![deny("put", put, &[&all]), deny("get", get, &[&all, "ProducersNeverRead"])]
            } else {
                let by = ["WriteB", "WriteKeyB", "StandingDuties"];
                vec![allow("put", put, &by), deny("get", get, &[&reads, "ProducersNeverRead"])]
            }
        };
        Scenario::new(format!("Producer, {level:?}"), world, rows).check();
    }
}

#[test]
fn an_auditor_keeps_the_configuration_under_a_lockdown_of_reads_alone() {
    for level in [LockdownLevel::Reads, LockdownLevel::All] {
        let world = world(Duty::Auditor, level, true, true);
        let rows = |w: &World| {
            let on = |action: &str, resource: &str| vec![w.ask(Who::Other, action, resource, noon())];
            let tagging = w.object(Who::Other, "s3:GetObjectTagging", &w.b, "x", noon());
            let objects = sid(if level == LockdownLevel::All { "All" } else { "Reads" });
            let mut rows = vec![
                deny("names", w.list(Who::Other, &w.b, "in/", noon()), &[&sid("Names")]),
                deny("versions", on("s3:ListBucketVersions", &w.b.bucket_arn), &[&sid("Names")]),
                deny("tags of an object", tagging, &[&objects]),
            ];
            let (policy, grants) = (on("s3:GetBucketPolicy", &w.b.bucket_arn), on("kms:ListGrants", &w.b.key_arn));
            rows.extend(match level {
                LockdownLevel::Reads => [
                    allow("bucket policy", policy, &["AuditB"]),
                    allow("KMS grants", grants, &["AuditKeyB", "InspectAndStop"]),
                ],
                LockdownLevel::All => [deny("bucket policy", policy, &[]), deny("KMS grants", grants, &[])],
            });
            rows
        };
        Scenario::new(format!("Auditor, {level:?}"), world, rows).check();
    }
}
