//! The laws of a lockdown: closed in one pass whatever else is broken, nothing given while it lasts, quiet, the same after a crash, and lifted to
//! exactly what was there before.

use std::collections::BTreeMap;

use proptest::prelude::*;
use securebucket::api::LIFT_LOCKDOWN;
use securebucket::api::condition::{find, is_true, types};
use securebucket::api::decrypt_grant::EndReason;
use securebucket::api::lockdown::{LockdownLevel, LockdownSpec, LockdownStatus};
use securebucket::bucket::action::Facet;
use securebucket::bucket::observed::KeyState;
use securebucket::domain::policy::Statement;
use securebucket::domain::tags::{self, Owner};

use crate::access::access;
use crate::fixtures::{declared_bucket_policy, declared_key_policy, install, key_arn, secure_bucket};
use crate::generate::{NOON, dim_world, spec};
use crate::grant_world::{Event, World as GrantWorld};
use crate::laws_converge::{config, end, points, status_at_the_end, words};
use crate::laws_grant::{event, play, rest};
use crate::laws_safety::{declared, denies_of_others, listing, steps, still_there};
use crate::model::Aws;
use crate::operator::{Fault, World};

fn order(level: LockdownLevel) -> LockdownSpec {
    LockdownSpec { reason: "leaked laptop".into(), level: Some(level) }
}

fn level() -> impl Strategy<Value = LockdownLevel> {
    prop::sample::select(vec![LockdownLevel::Reads, LockdownLevel::All])
}

/// Any start, locked by its spec or, as after a GitOps sync, by the latch alone.
fn locked() -> impl Strategy<Value = World> {
    (dim_world(), level(), any::<bool>()).prop_map(|(mut world, level, by_spec)| {
        if by_spec {
            world.object.spec.lockdown = Some(order(level));
        } else {
            let latch = LockdownStatus {
                id: "0a1b2c3d".into(),
                level,
                reason: "leaked laptop".into(),
                since: "2026-11-24T12:00:00Z".into(),
                key_disabled: None,
                lifting_since: None,
            };
            world.object.status.get_or_insert_default().lockdown = Some(latch);
        }
        world
    })
}

/// True if the bucket is one that may be closed: ours by its tags, or named by status, and where we look for it.
fn reachable(world: &World) -> bool {
    let names = world.desired().names;
    let Some(bucket) = &world.aws.bucket else { return false };
    let blind = [Facet::Bucket, Facet::BucketPolicy].iter().any(|f| world.blind.contains(f));
    let owner = tags::owner(&bucket.tags, &install().cluster, &names.identity, &names.uid);
    let seen = !world.blind.contains(&Facet::BucketTags);
    let ours = seen && matches!(owner, Owner::Ours | Owner::Returning) || world.status().bucket_arn.is_some();
    !blind && ours && bucket.region == names.place.region
}

/// From an empty account to all as declared.
fn made(spec: securebucket::api::SecureBucketSpec) -> World {
    let aws = Aws { now: NOON, ..Aws::default() };
    let mut world =
        World { object: secure_bucket(spec), aws, blind: Default::default(), obey: false, claims: Default::default() };
    world.converge();
    world
}

fn lift(world: &mut World) {
    let id = world.status().lockdown.unwrap().id;
    world.object.spec.lockdown = None;
    world.object.metadata.annotations = Some(BTreeMap::from([(LIFT_LOCKDOWN.to_owned(), id)]));
}

/// What is in AWS at the end. Rotation of a key that was disabled before it could be turned on waits for the lifting.
fn at_rest(aws: &Aws) -> Aws {
    let mut end = end(aws);
    end.keys.values_mut().filter(|k| k.state == KeyState::Disabled).for_each(|k| k.rotation = None);
    end
}

/// Converges; the operator dies at the `n`th write on the way, if there are so many.
fn converge_with_a_crash(world: &mut World, n: usize) {
    let mut seen = 0;
    for _ in 0..3 {
        let died = world.pass_with(|_, _, _| {
            seen += 1;
            if seen == n + 1 { Fault::DiesAfter } else { Fault::None }
        });
        if died.is_none() {
            break;
        }
    }
    world.converge();
}

proptest! {
    #![proptest_config(config(256))]

    #[test]
    fn one_pass_closes_whatever_else_is_broken(world in locked()) {
        prop_assume!(reachable(&world));
        let mut world = world;
        world.pass();
        let desired = world.desired();
        let level = desired.lock.as_ref().unwrap().level;
        for what in access(&world.aws, &desired) {
            let (who, can) = what.split_once(' ').unwrap_or(("", &what));
            prop_assert!(can != "reads", "{what} in {world:?}");
            prop_assert!(can != "lists" || who == "operator", "{what}");
            prop_assert!(level == LockdownLevel::Reads || can != "writes" && can != "deletes", "{what}");
        }
        let arn = key_arn(0);
        let named = world.status().key_arn.as_ref() == Some(&arn) && !world.blind.contains(&Facet::Key);
        let enabled = world.aws.keys.get(&arn).is_some_and(|k| k.state == KeyState::Enabled);
        prop_assert!(level == LockdownLevel::Reads || !named || !enabled, "the key is enabled");
    }

    #[test]
    fn nothing_is_given_while_it_lasts(world in locked(), obey in any::<bool>()) {
        let mut world = World { obey, ..world };
        for _ in 0..3 {
            // The latch is first.
            let mut latched = world.clone();
            latched.pass_with(|_, _, _| Fault::Dies);
            world.object = latched.object;
            let plan = world.plan();
            let (steps, declared) = (steps(&world, &plan), declared(&world));
            let makes_bucket = world.aws.bucket.is_none();
            for (i, pair) in steps.windows(2).enumerate() {
                // Default encryption that named a dead key refused every write: naming ours gives back what is declared.
                let back = |a: &&String| plan.actions[i].facet() == Facet::Encryption && (a.ends_with(" writes") || a.ends_with(" reads"));
                let more: Vec<&String> = pair[1].difference(&pair[0]).filter(|a| !back(a)).collect();
                let last = i + 1 == plan.actions.len();
                prop_assert!(more.is_empty() || last && makes_bucket && more.iter().all(|a| declared.contains(*a)), "step {i}:{}", listing(&plan, &steps));
            }
            prop_assert!(plan.actions.iter().all(|a| !matches!(a.to_string().as_str(), "enable the key" | "cancel the key's deletion")));
            world.execute(&plan, |_, _| Fault::None);
        }
    }

    #[test]
    fn it_comes_to_rest_and_stays_so(world in locked()) {
        let mut world = world;
        let ended = world.pass();
        prop_assert!(ended.plan.actions.is_empty(), "{:?}", words(&ended.plan));
        world.converge();
        let (writes, status) = (world.aws.writes.len(), world.status());
        prop_assert!(is_true(&status.conditions, types::LOCKED_DOWN));
        let ready = find(&status.conditions, types::READY).unwrap();
        prop_assert!(ready.status != "True" || ready.reason == "LockedDown", "{ready:?}");
        for wait in [1, 600, 86_400] {
            world.aws.now += wait;
            let ended = world.pass();
            prop_assert!(ended.rounds == 0 && !ended.wrote_status, "{:?}", words(&ended.plan));
        }
        prop_assert_eq!(world.aws.writes.len(), writes);
    }

    #[test]
    fn the_denies_of_others_stay_whoever_asks(world in locked(), obey in any::<bool>()) {
        let desired = world.desired();
        let on_key = world.aws.keys.get(&key_arn(0)).map(|k| k.policy.clone());
        let on_bucket = world.aws.bucket.as_ref().and_then(|b| b.policy.clone());
        let key_denies = denies_of_others(on_key.as_ref(), &declared_key_policy(&desired));
        let bucket_denies = denies_of_others(on_bucket.as_ref(), &declared_bucket_policy(&desired, &key_arn(0)));
        let mut after = World { obey, ..world };
        for _ in 0..3 {
            after.pass();
            prop_assert!(still_there(&key_denies, after.aws.keys.get(&key_arn(0)).map(|k| &k.policy)), "key");
            prop_assert!(still_there(&bucket_denies, after.aws.bucket.as_ref().and_then(|b| b.policy.as_ref())), "bucket");
        }
    }
}

proptest! {
    #![proptest_config(config(96))]

    #[test]
    fn a_crash_anywhere_leads_to_the_same_lockdown(world in locked()) {
        let world = World { blind: Default::default(), ..world };
        let mut smooth = world.clone();
        smooth.converge();
        for (round, at) in points(&world) {
            for fault in [Fault::Dies, Fault::DiesAfter, Fault::Lost, Fault::Refused] {
                let mut crashed = world.clone();
                crashed.pass_with(|r, i, _| if (r, i) == (round, at) { fault } else { Fault::None });
                crashed.aws.now += 5;
                crashed.converge();
                prop_assert!(at_rest(&crashed.aws) == at_rest(&smooth.aws), "{fault:?} in round {round} at {at}: {crashed:?}\nand not {smooth:?}");
                let (mut a, mut b) = (status_at_the_end(&crashed), status_at_the_end(&smooth));
                // The latch is from the time of the first pass.
                for status in [&mut a, &mut b] {
                    let text = status.to_string();
                    prop_assert!(text.contains("LockedDown"));
                    status["lockdown"]["since"] = "once".into();
                    status["conditions"].as_array_mut().unwrap().retain(|c| c["type"] != "LockedDown");
                }
                prop_assert_eq!(a, b);
            }
        }
    }

    #[test]
    fn lifting_gives_back_exactly_what_there_was(spec in spec(), level in level(), raised in any::<bool>(), crashes in (0..12usize, 0..12usize)) {
        let mut world = made(spec);
        let before = end(&world.aws);
        world.object.spec.lockdown = Some(order(level));
        world.object.metadata.generation = Some(2);
        converge_with_a_crash(&mut world, crashes.0);
        if raised {
            world.object.spec.lockdown = Some(order(LockdownLevel::All));
            world.converge();
        }
        // Taking the field out lifts nothing, and neither does another id.
        world.object.spec.lockdown = None;
        world.object.metadata.annotations = Some(BTreeMap::from([(LIFT_LOCKDOWN.to_owned(), "ffffffff".to_owned())]));
        let closed = end(&world.aws);
        world.converge();
        prop_assert_eq!(end(&world.aws), closed);
        let status = world.status();
        let said = &find(&status.conditions, types::LOCKED_DOWN).unwrap().message;
        prop_assert!(said.contains("does not name"), "{said}");
        lift(&mut world);
        converge_with_a_crash(&mut world, crashes.1);
        prop_assert_eq!(end(&world.aws), before, "{:?}", world);
        let status = world.status();
        prop_assert!(status.lockdown.is_none() && find(&status.conditions, types::LOCKED_DOWN).is_none());
        prop_assert_eq!(status.last_lockdown.unwrap().id, "0a1b2c3d");
        prop_assert!(world.plan().in_sync());
    }

    #[test]
    fn a_latch_that_status_lost_is_found_in_aws(spec in spec(), level in level(), anew in any::<bool>()) {
        let mut world = made(spec);
        world.object.spec.lockdown = Some(order(level));
        world.converge();
        let closed = end(&world.aws);
        world.object.spec.lockdown = None;
        if anew {
            // Deleted, and applied again.
            world.object.status = None;
            world.object.metadata.uid = Some("bucket-uid-9".into());
        } else {
            world.object.status.as_mut().unwrap().lockdown = None;
        }
        world.converge();
        let status = world.status();
        let latch = status.lockdown.unwrap();
        prop_assert_eq!((latch.id.as_str(), latch.level), ("0a1b2c3d", level));
        let bucket = world.aws.bucket.clone().unwrap();
        prop_assert_eq!(bucket.policy, closed.bucket.unwrap().policy);
        prop_assert!(world.aws.keys.values().filter(|k| k.rotation.is_some()).all(|k| level == LockdownLevel::Reads || k.state == KeyState::Disabled));
    }

    #[test]
    fn what_somebody_else_closed_stays_closed_when_it_is_lifted(spec in spec(), level in level(), during in any::<bool>()) {
        let mut world = made(spec);
        let arn = world.desired().names.bucket_arn();
        let deny = Statement::deny("Incident42").anyone().actions(["s3:GetObject"]).resources([format!("{arn}/*")]);
        let edit = |world: &mut World| world.aws.bucket.as_mut().unwrap().policy.as_mut().unwrap().statements.push(deny.clone());
        if !during {
            edit(&mut world);
        }
        world.object.spec.lockdown = Some(order(level));
        world.converge();
        if during {
            edit(&mut world);
            world.converge();
        }
        lift(&mut world);
        world.converge();
        prop_assert!(world.status().lockdown.is_none(), "{world:?}");
        prop_assert!(still_there(&[deny], world.aws.bucket.as_ref().unwrap().policy.as_ref()), "{world:?}");
    }

    #[test]
    fn lifting_does_not_enable_a_key_that_somebody_else_disabled(spec in spec(), level in level()) {
        let mut world = made(spec);
        world.aws.keys.values_mut().for_each(|k| k.state = KeyState::Disabled);
        world.object.spec.lockdown = Some(order(level));
        world.converge();
        lift(&mut world);
        world.converge();
        prop_assert!(world.aws.keys.values().all(|k| k.state == KeyState::Disabled));
    }

    #[test]
    fn a_grant_does_not_outlive_a_lockdown(events in prop::collection::vec(event(), 1..40), lag in prop::sample::select(vec![0, 40])) {
        let mut world = GrantWorld::new(lag);
        world.happen(&Event::Create(0));
        world.happen(&Event::Create(2));
        play(&mut world, &events);
        (world.blind_role, world.blind_kms, world.strike) = (false, false, None);
        world.happen(&Event::LockDown);
        // One pass of the writer of roles is enough, before any grant has said that it is over.
        world.role_pass();
        let role_is_ours = world.role.as_ref().is_none_or(|r| r.tags.get("securebucket.io/cluster").is_some_and(|c| c == "c1"));
        for grant in world.grants.values().filter(|_| role_is_ours && world.bucket.is_some()) {
            prop_assert!(!world.reads(grant, world.time(), 0), "{world:?}");
        }
        world.happen(&Event::Create(7));
        rest(&mut world, 60);
        for (name, grant) in &world.grants {
            let status = grant.status.clone().unwrap_or_default();
            prop_assert!(status.ended.is_some() || status.expires_at.is_none(), "{name} lives: {world:?}");
        }
        if let Some(bucket) = &world.bucket
            && bucket.metadata.deletion_timestamp.is_none()
            && !bucket.spec.grants.as_ref().unwrap().allowed_namespaces.is_empty()
        {
            let end = world.grants["g7"].status.clone().and_then(|s| s.ended).map(|e| e.reason);
            let denied = matches!(end, Some(EndReason::Denied | EndReason::LockedDown));
            prop_assert!(denied || events.iter().any(|e| matches!(e, Event::Create(7))), "{end:?} {world:?}");
        }
    }
}
