//! Laws for access without approval, over random stories of who asks and who reviews what when: one at a time, at once or never, and reviewed by
//! somebody else before the next.

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::prelude::*;
use securebucket::api::DecryptGrant;
use securebucket::api::grant_review::Decision::{self, Approve, Deny, Revoke};
use securebucket::api::grants::BreakGlassSpec;
use securebucket::grant::agree::Agreement;

use crate::grant_world::World;
use crate::grants::{bucket, request};
use crate::laws_converge::config;
use crate::reviews::{made_at, review};

#[derive(Clone, Debug)]
enum Act {
    Wait(i64),
    Ask(bool),
    Pass(usize),
    Role,
    Delete(usize),
    Review(usize, &'static str, Decision),
    /// The owner allows it, or does not.
    Allow(bool),
}

fn act() -> impl Strategy<Value = Act> {
    let decision = prop::sample::select(vec![Approve, Approve, Deny, Revoke]);
    prop_oneof![
        2 => prop::sample::select(vec![1, 60, 1_000, 3_700]).prop_map(Act::Wait),
        4 => prop::sample::select(vec![true, true, true, false]).prop_map(Act::Ask),
        10 => (0..6usize).prop_map(Act::Pass),
        3 => Just(Act::Role),
        1 => (0..6usize).prop_map(Act::Delete),
        4 => (0..6usize, prop::sample::select(vec!["alice", "Alice", "carol", "dave"]), decision).prop_map(|(n, w, d)| Act::Review(n, w, d)),
        1 => prop::sample::select(vec![true, true, false]).prop_map(Act::Allow),
    ]
}

fn happen(world: &mut World, act: &Act) {
    world.tell(format!("{act:?}"));
    let nth = |n: &usize, world: &World| world.grants.keys().nth(n % world.grants.len().max(1)).cloned();
    match act {
        Act::Wait(s) => world.now += s,
        Act::Role => drop(world.role_pass()),
        Act::Ask(at_once) => {
            world.objects += 1;
            let name = format!("b{:02}", world.objects);
            let mut grant = request(&name, &["a/"], "15m");
            grant.metadata.creation_timestamp = Some(Time(world.time()));
            grant.spec.break_glass = Some(*at_once);
            world.grants.insert(name, grant);
        }
        Act::Pass(n) => {
            if let Some(name) = nth(n, world) {
                world.grant_pass(&name);
            }
        }
        Act::Delete(n) => world.happen(&crate::grant_world::Event::Delete(*n)),
        Act::Review(n, who, decision) => {
            let Some(name) = nth(n, world) else { return };
            let grant = world.grants[&name].clone();
            world.objects += 1;
            let mut one = review(&format!("r{}", world.objects), &grant, *decision, who);
            made_at(&mut one, world.now);
            world.reviews.push(one.into());
        }
        Act::Allow(yes) => {
            let grants = world.bucket.as_mut().unwrap().spec.grants.as_mut().unwrap();
            grants.break_glass = yes.then(BreakGlassSpec::default);
        }
    }
    world.watch();
}

/// Called when access begins without approval: the bucket allows it, and all that began so before were reviewed by somebody else.
pub fn one_at_a_time(world: &World, grant: &DecryptGrant, agreement: &Agreement) {
    let grants = world.bucket_of(grant).and_then(|b| b.spec.grants.clone()).unwrap_or_default();
    assert!(grants.break_glass.is_some(), "the bucket allows none: {world:?}");
    assert_eq!(grant.spec.break_glass, Some(true), "nobody asked for it: {world:?}");
    assert!(agreement.duration <= SignedDuration::from_hours(1), "too long: {world:?}");
    let made = grant.metadata.creation_timestamp.as_ref().unwrap().0;
    assert!(world.time().duration_since(made) < SignedDuration::from_hours(1), "not at once: {world:?}");
    for uid in &world.broken {
        let other = world.grants.values().find(|g| g.metadata.uid.as_ref() == Some(uid));
        let Some(other) = other else {
            assert!(world.looked_back.contains(uid), "deleted, and nobody reviewed it: {world:?}");
            continue;
        };
        let review = other.status.as_ref().and_then(|s| s.break_glass.clone()).and_then(|b| b.review);
        let review = review.unwrap_or_else(|| panic!("{uid} is not reviewed: {world:?}"));
        assert_ne!(review.reviewer.to_lowercase(), "alice", "by who asked: {world:?}");
    }
}

proptest! {
    #![proptest_config(config(192))]

    #[test]
    fn laws_of_access_without_approval(acts in prop::collection::vec(act(), 1..70)) {
        let mut world = World::new(0);
        world.bucket = Some(bucket(1));
        happen(&mut world, &Act::Allow(true));
        for act in &acts {
            happen(&mut world, act);
        }
    }
}

/// The laws above are not kept by nothing ever beginning.
#[test]
fn a_second_one_after_the_review() {
    let mut world = World::new(0);
    world.bucket = Some(bucket(1));
    let begun = |world: &World| world.broken.len();
    for act in [
        Act::Allow(true),
        Act::Ask(true),
        Act::Pass(0),
        Act::Role,
        Act::Pass(0),
        Act::Wait(60),
        Act::Ask(true),
        Act::Pass(1),
    ] {
        happen(&mut world, &act);
    }
    assert_eq!(begun(&world), 1, "{world:?}");
    for act in [Act::Review(0, "Alice", Approve), Act::Pass(0), Act::Ask(true), Act::Pass(2)] {
        happen(&mut world, &act);
    }
    assert_eq!(begun(&world), 1, "reviewed by who asked: {world:?}");
    for act in [Act::Review(0, "carol", Approve), Act::Pass(0), Act::Ask(true), Act::Pass(3)] {
        happen(&mut world, &act);
    }
    assert_eq!(begun(&world), 2, "{world:?}");
}
