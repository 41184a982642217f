//! Laws for DecryptGrants, over random stories of people, time and faults: issued at most once, one end that is never moved, nothing issued
//! after it, and nothing left when it is said to be gone.

use proptest::prelude::*;
use securebucket::api::decrypt_grant::EndReason;
use securebucket::domain::drift::KEPT;

use crate::grant_world::{Event, World};
use crate::kstatus::{Kstatus, of_grant};
use crate::laws_converge::config;
use crate::operator::Fault;

fn fault() -> impl Strategy<Value = Fault> {
    prop::sample::select(vec![Fault::Refused, Fault::Lost, Fault::Dies, Fault::DiesAfter])
}

/// What may happen while all is well: time, passes, requests, faults.
fn ordinary() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => prop::sample::select(vec![1, 5, 20, 70, 310, 650, 1_000]).prop_map(Event::Wait),
        6 => (0..4usize).prop_map(Event::GrantPass),
        4 => Just(Event::RolePass),
        2 => (0..4usize).prop_map(Event::Create),
        1 => fault().prop_map(Event::Strike),
        1 => Just(Event::Restart),
    ]
}

pub fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        16 => ordinary(),
        2 => (0..4usize).prop_map(Event::Delete),
        1 => (0..4usize).prop_map(Event::Strip),
        1 => (0..4usize).prop_map(Event::LoseKmsGrant),
        1 => (0..8usize).prop_map(Event::EditDocument),
        1 => any::<bool>().prop_map(Event::BlindRole),
        1 => any::<bool>().prop_map(Event::BlindKms),
        1 => prop::sample::select(vec![
            Event::BucketDeleting, Event::BucketGone, Event::Withdraw, Event::LockDown, Event::Lifted, Event::KeyState("Disabled"), Event::KeyState("Enabled"), Event::ReplaceAccount, Event::RemoveAccount, Event::LoseRole,
            Event::ReplaceRole,
        ]),
    ]
}

pub fn play(world: &mut World, events: &[Event]) {
    for event in events {
        match event {
            Event::GrantPass(n) => {
                if let Some(name) = world.grants.keys().nth(n % world.grants.len().max(1)).cloned() {
                    world.grant_pass(&name);
                }
            }
            Event::RolePass => {
                world.role_pass();
            }
            other => world.happen(other),
        }
        world.watch();
    }
}

/// Every pass as often as the queues would run it, without further faults.
pub fn rest(world: &mut World, seconds: i64) {
    let until = world.now + seconds;
    while world.now < until {
        for _ in 0..4 {
            let mut moved = world.role_pass();
            let names: Vec<String> = world.grants.keys().cloned().collect();
            for name in names {
                moved |= world.grant_pass(&name);
            }
            world.watch();
            if !moved {
                break;
            }
        }
        world.now += 30;
    }
}

proptest! {
    #![proptest_config(config(192))]

    #[test]
    fn whatever_happens_every_grant_ends_in_a_proved_removal(
        events in prop::collection::vec(event(), 1..60),
        lag in prop::sample::select(vec![0, 40, 290]),
    ) {
        let mut world = World::new(lag);
        world.happen(&Event::Create(0));
        play(&mut world, &events);
        (world.blind_role, world.blind_kms, world.strike) = (false, false, None);
        // Longer than any grant lasts, and than the evidence takes.
        rest(&mut world, 5_400);
        for (name, grant) in &world.grants {
            let status = grant.status.clone().unwrap_or_default();
            prop_assert!(grant.metadata.deletion_timestamp.is_none(), "{name} is not let go: {world:?}");
            prop_assert!(status.ended.is_none() || status.removal.is_some(), "{name} ended and is not removed: {world:?}");
            prop_assert!(status.expires_at.is_none() || status.ended.is_some(), "{name} is over and not ended: {world:?}");
            let refused = status.ended.as_ref().is_some_and(|e| e.reason == EndReason::Denied);
            let expected = match (&status.removal, refused) {
                (Some(_), false) => Kstatus::Current,
                (Some(_), true) => Kstatus::Failed,
                _ => of_grant(grant),
            };
            prop_assert_eq!(of_grant(grant), expected);
        }
        prop_assert_eq!(world.alive().count(), 0, "a KMS grant is left: {:?}", world);
        let foreign = world.role.as_ref().is_some_and(|r| r.tags.get("securebucket.io/cluster").is_some_and(|c| c != "c1"));
        // It rests without a policy, and goes a day after it was made.
        let policy = world.role.as_ref().and_then(|r| r.document.as_ref());
        // A Deny that somebody left in an edited policy may be a responder's: it stays, and the role with it.
        let kept = policy.is_some_and(|d| d.statements.iter().all(|s| s.sid.starts_with(KEPT)));
        let foreign = foreign || kept;
        prop_assert!(foreign || policy.is_none(), "the role has a policy: {world:?}");
        rest(&mut world, 30);
        world.now = world.now.max(world.role_made + 24 * 3_600);
        rest(&mut world, 30);
        prop_assert!(foreign || world.role.is_none(), "the role is left: {world:?}");
    }

    #[test]
    fn without_interference_every_grant_becomes_usable(
        events in prop::collection::vec(ordinary(), 1..40),
        lag in prop::sample::select(vec![0, 40]),
    ) {
        let mut world = World::new(lag);
        play(&mut world, &events);
        world.strike = None;
        world.happen(&Event::Create(7));
        let before = world.now;
        while world.now < before + 600 {
            rest(&mut world, 30);
            let status = world.grants["g7"].status.clone().unwrap_or_default();
            if securebucket::api::condition::is_true(&status.conditions, "Active") {
                prop_assert_eq!(of_grant(&world.grants["g7"]), Kstatus::Current);
                let grant = world.grants["g7"].clone();
                prop_assert!(world.reads(&grant, world.time(), 0) && world.alive_of(&grant) == 1, "Active and not readable: {world:?}");
                return Ok(());
            }
        }
        prop_assert!(false, "g7 never became active: {:?}", world);
    }
}
