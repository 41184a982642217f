//! Laws 1–4 and 8: passes come to an end, the end is what was declared, and neither crashes nor lost answers make it another.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use securebucket::bucket::action::{Action, Facet};
use securebucket::bucket::observed::{KeyState, PublicAccessBlock, abort_rule};
use securebucket::bucket::plan::Plan;
use securebucket::domain::drift::KEPT;
use securebucket::domain::policy::{Document, Effect, Statement};
use securebucket::domain::tags::{self, Owner};

use crate::fixtures::{declared_bucket_policy, declared_encryption, declared_key_policy, install};
use crate::generate::world;
use crate::model::Aws;
use crate::operator::{Fault, World, without_times};

/// So many cases when PROPTEST_CASES is not set, and the same ones each time: a run says something of the code, not of the dice. In proportion
/// when it is set, and new ones each time.
pub fn config(cases: u32) -> ProptestConfig {
    let asked = ProptestConfig::default();
    #[allow(clippy::disallowed_methods, reason = "who explores says so in the environment")]
    let explores = std::env::var_os("PROPTEST_CASES").is_some();
    let rng_seed = if explores { asked.rng_seed } else { RngSeed::Fixed(20_261_124) };
    let cases = (asked.cases * cases / 256).max(1);
    // Some worlds are not what a law speaks of.
    let max_global_rejects = cases.saturating_mul(8).max(asked.max_global_rejects);
    ProptestConfig { cases, max_global_rejects, failure_persistence: None, rng_seed, ..asked }
}

/// As declared, and beside it nothing but Denies under names of their own: those that are kept, and on the way out those that have nothing
/// left to hold back.
pub fn says(policy: &Document, declared: &Document, parting: bool) -> bool {
    let mut rest: Vec<&Statement> = policy.statements.iter().collect();
    for statement in &declared.statements {
        let Some(at) = rest.iter().position(|s| *s == statement) else { return false };
        rest.remove(at);
    }
    let names: BTreeSet<&str> = rest.iter().map(|s| s.sid.as_str()).collect();
    let beside = |s: &Statement| s.sid.starts_with(KEPT) || parting && s.sid.starts_with("UntilLastWrite");
    names.len() == rest.len() && rest.iter().all(|s| s.effect == Effect::Deny && beside(s))
}

/// The judge of law 2: what is in AWS is what the spec declares. Written from the spec, not from the planner.
fn satisfied(world: &World) -> bool {
    let (desired, aws) = (world.desired(), &world.aws);
    let Some((arn, key)) = world.status().key_arn.and_then(|arn| aws.keys.get_key_value(&arn)) else { return false };
    let Some(bucket) = &aws.bucket else { return false };
    let parting = world.object.metadata.deletion_timestamp.is_some();
    let owned = |found: &tags::Tags| {
        tags::owner(found, &install().cluster, &desired.names.identity, &desired.names.uid) == Owner::Ours
            && desired.tags.iter().all(|(k, v)| found.get(k) == Some(v))
            && desired.tags_before.iter().all(|k| desired.tags.contains_key(k) || !found.contains_key(k))
    };
    aws.alias.as_ref() == Some(arn)
        && key.state == KeyState::Enabled
        && says(&key.policy, &declared_key_policy(&desired), parting)
        && key.rotation == Some(desired.rotation_days)
        && owned(&key.tags)
        && key.grants.iter().all(|g| !world.goes(g))
        && owned(&bucket.tags)
        && bucket.region == desired.names.place.region
        && bucket.block == Some(PublicAccessBlock::ALL)
        && bucket.ownership.as_deref() == Some("BucketOwnerEnforced")
        && bucket.encryption == Some(declared_encryption(&desired, arn))
        && bucket.versioning.as_deref().unwrap_or("Suspended") == desired.versioning
        && bucket.lifecycle == Some(vec![abort_rule()])
        && bucket.policy.as_ref().is_some_and(|p| says(p, &declared_bucket_policy(&desired, arn), parting))
}

/// What is in AWS at the end, whatever the ways there.
pub fn end(aws: &Aws) -> Aws {
    let mut end = Aws { writes: Vec::new(), now: 0, used: BTreeSet::new(), ..aws.clone() };
    for key in end.keys.values_mut() {
        // An attempt that was announced again after a crash has another id and another time.
        key.tags.remove(tags::ATTEMPT);
        key.listed_from = 0;
    }
    end
}

pub fn words(plan: &Plan) -> Vec<String> {
    plan.actions.iter().map(ToString::to_string).collect()
}

proptest! {
    #![proptest_config(config(96))]

    #[test]
    fn law_3_a_crash_anywhere_leads_to_the_same_end(world in world()) {
        let mut smooth = world.clone();
        smooth.converge();
        for (round, at) in points(&world) {
            for fault in [Fault::Dies, Fault::DiesAfter] {
                let mut crashed = world.clone();
                let survived = crashed.pass_with(|r, i, _| if (r, i) == (round, at) { fault } else { Fault::None });
                prop_assert!(survived.is_none());
                crashed.aws.now += 5;
                let what = format!("{fault:?} in round {round} at {at} of {:?}", words(&world.plan()));
                crashed.converge();
                prop_assert!(end(&crashed.aws) == end(&smooth.aws), "{what}: {crashed:?}\nand not {smooth:?}");
                prop_assert!(crashed.aws.keys_made <= 1, "{} keys: {}", crashed.aws.keys_made, what);
                let (a, b) = (status_at_the_end(&crashed), status_at_the_end(&smooth));
                prop_assert_eq!(a, b, "{}", what);
            }
        }
    }

    #[test]
    fn law_4_a_lost_answer_makes_no_second_key(world in world(), second in any::<prop::sample::Index>()) {
        let mut smooth = world.clone();
        smooth.converge();
        for (_, at) in points(&world).into_iter().filter(|(round, _)| *round == 0) {
            let mut lossy = world.clone();
            lossy.pass_with(|r, i, _| if (r, i) == (0, at) { Fault::Lost } else { Fault::None });
            // Another answer is lost on the way back.
            let again = second.index(6);
            lossy.pass_with(|r, i, _| if (r, i) == (0, again) { Fault::Lost } else { Fault::None });
            lossy.aws.now += 5;
            lossy.converge();
            prop_assert!(lossy.aws.keys_made <= 1, "{} keys", lossy.aws.keys_made);
            prop_assert!(end(&lossy.aws) == end(&smooth.aws), "lost {at}: {lossy:?}\nand not {smooth:?}");
        }
    }
}

proptest! {
    #![proptest_config(config(512))]

    #[test]
    fn law_1_a_plan_carried_out_leaves_an_empty_plan(world in world()) {
        let mut world = world;
        let first = words(&world.plan());
        let ended = world.pass();
        prop_assert!(ended.plan.actions.is_empty(), "{:?} after {:?}", words(&ended.plan), first);
        prop_assert!(ended.rounds <= 3, "{} rounds, the first: {:?}", ended.rounds, first);
    }

    #[test]
    fn law_2_an_empty_plan_means_that_all_is_as_declared(start in world()) {
        let releasing = start.object.metadata.deletion_timestamp.is_some();
        for world in [start.clone(), { let mut w = start; w.pass(); w }] {
            let plan = world.plan();
            let restricted: BTreeSet<Facet> = plan.restricted.iter().map(|r| r.facet).collect();
            let marks_gone = restricted.contains(&Facet::KeyTags) || restricted.contains(&Facet::BucketTags);
            let empty = plan.in_sync() && !marks_gone;
            // An object that is being deleted before anything was made for it is done too.
            let nothing = releasing && (world.observe().key.is_absent() || world.observe().bucket.is_absent());
            prop_assert!(satisfied(&world) == empty || nothing, "satisfied: {}, plan {plan:?}\n{world:?}", satisfied(&world));
        }
    }

    #[test]
    fn law_8_a_second_pass_is_quiet(world in crate::generate::dim_world()) {
        let mut world = world;
        world.converge();
        let (writes, status) = (world.aws.writes.len(), world.status());
        for wait in [1, 600, 86_400] {
            world.aws.now += wait;
            let ended = world.pass();
            prop_assert_eq!(ended.rounds, 0, "{:?}", words(&ended.plan));
            prop_assert!(!ended.wrote_status, "status changed:\n{:?}\n{:?}", status, world.status());
        }
        prop_assert_eq!(world.aws.writes.len(), writes);
    }
}

/// Every action of a pass, by round and position.
pub fn points(world: &World) -> Vec<(usize, usize)> {
    let mut points = Vec::new();
    world.clone().pass_with(|round, at, _| {
        points.push((round, at));
        Fault::None
    });
    points
}

pub fn status_at_the_end(world: &World) -> serde_json::Value {
    let mut status = world.status();
    status.provisioned_at = status.provisioned_at.map(|_| "once".into());
    without_times(&status)
}

/// The first write of a plan is never one that needs something which the plan only makes later.
#[test]
fn an_empty_account_is_filled_in_one_round() {
    let object = crate::fixtures::secure_bucket(Default::default());
    let aws = Aws { now: crate::generate::NOON, ..Aws::default() };
    let mut world = World { object, aws, blind: BTreeSet::new(), obey: false, claims: Default::default() };
    let plan = world.plan();
    assert_eq!(plan.actions.first(), Some(&Action::AnnounceKey));
    let ended = world.converge();
    assert!(ended.plan.in_sync() && satisfied(&world), "{:?}", ended.plan);
    assert_eq!(world.aws.keys_made, 1);
}
