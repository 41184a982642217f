//! The laws for the workload role: it settles on what is wanted, crashes change nothing, what takes comes before what gives, others' roles are
//! left alone, and nobody reads by a grant after its end.

use proptest::prelude::*;
use securebucket::domain::policy::{Document, Effect, Statement};
use securebucket::domain::tags;
use securebucket::role::document::{Inputs, held_denies};
use securebucket::role::plan::{Need, Plan};

use crate::fixtures::install;
use crate::laws_converge::{config, says};
use crate::operator::Fault;
use crate::role_access::{access, listing, steps, wanted};
use crate::role_generate::{at, dim_world, empty, foreign, some_role, world};
use crate::role_model::{Blind, Role, RoleWorld, role_key};

/// The role, its statements in order.
fn sorted(world: &RoleWorld) -> Option<Role> {
    let mut role = world.role.clone();
    for document in role.iter_mut().flat_map(|r| r.document.iter_mut().chain([&mut r.trust])) {
        document.statements.sort();
    }
    role
}

/// A foreign policy with Denies goes in the next round, when those are seen in our document.
fn waits(plan: &Plan, world: &RoleWorld) -> bool {
    let gone = plan.actions.iter().filter(|a| a.to_string().contains("foreign") || a.to_string().contains("detach"));
    gone.count() < world.role.iter().map(|r| r.foreign.len()).sum()
}

fn satisfied(world: &RoleWorld) -> bool {
    let (wanted, desired) = (world.wanted(), world.desired());
    let only_denies = |d: &Document| d.statements.iter().all(|s| s.effect == Effect::Deny);
    // A role that is not there can do nothing that had to be denied.
    let Some(role) = &world.role else { return only_denies(&wanted) };
    let parting = world.need() != Need::Needed;
    let kept = role.document.as_ref().is_some_and(|d| d.statements.iter().any(|s| s.sid.starts_with("Kept")));
    let responder = kept || !role.foreign.is_empty() || role.trust.statements.len() > 1;
    role.arn == desired.arn
        && role.tags == desired.tags
        && role.boundary == Some(desired.boundary)
        && says(&role.trust, &Document::new(desired.trust), parting)
        && says(&role.document.clone().unwrap_or_default(), &wanted, parting)
        && role.foreign.iter().all(|(_, _, d)| only_denies(d))
        // Who asks for the declared state asks for it without what others have put there.
        && !(world.obey && responder)
        // Without a reason to be, it goes: a day after its last use, unless somebody has put a Deny on it.
        && (world.need() != Need::Unneeded || responder)
}

proptest! {
    #![proptest_config(config(64))]

    #[test]
    fn law_3_and_4_crashes_and_lost_answers_lead_to_the_same_end(world in world()) {
        let mut smooth = world.clone();
        smooth.converge();
        let mut points = Vec::new();
        world.clone().pass_with(|round, index, _| {
            points.push((round, index));
            Fault::None
        });
        for point in points {
            for fault in [Fault::Dies, Fault::DiesAfter, Fault::Lost, Fault::Refused] {
                let mut struck = world.clone();
                struck.pass_with(|r, i, _| if (r, i) == point { fault } else { Fault::None });
                struck.converge();
                prop_assert!(sorted(&struck) == sorted(&smooth), "{fault:?} at {point:?}: {struck:?}\nand not {smooth:?}");
                prop_assert!(struck.made <= 1);
            }
        }
    }
}

proptest! {
    #![proptest_config(config(256))]

    #[test]
    fn law_1_a_plan_carried_out_leaves_an_empty_plan(world in dim_world()) {
        let mut world = world;
        let rounds = world.pass_with(|_, _, _| Fault::None);
        prop_assert!(rounds.is_some_and(|r| r <= 3) && world.plan().actions.is_empty(), "{:?}", world.plan().actions);
    }

    #[test]
    fn law_2_an_empty_plan_means_that_all_is_as_wanted(start in world()) {
        for world in [start.clone(), { let mut w = start; w.converge(); w }] {
            let plan = world.plan();
            let marks_gone = plan.restricted.iter().any(|r| r.contains("marks"));
            let empty = plan.actions.is_empty() && plan.problem.is_none() && !marks_gone;
            prop_assert_eq!(satisfied(&world), empty, "{:?}", plan);
        }
    }

    #[test]
    fn law_5_what_a_stale_plan_writes_is_no_wider_than_what_is_wanted(world in world(), later in some_role()) {
        let plan = world.plan();
        let theirs = |r: &Role| r.arn != world.desired().arn || r.tags != world.desired().tags;
        prop_assume!(!theirs(&later) && world.role.as_ref().is_none_or(|r| !theirs(r)));
        // People have been at what surrounds the document; the document has but one writer.
        let document = world.role.as_ref().and_then(|r| r.document.clone());
        let mut foreign = world.role.as_ref().map(|r| r.foreign.clone()).unwrap_or_default();
        // Who asks for the declared state asks with what there was.
        foreign.extend(later.foreign.iter().filter(|_| !world.obey).map(|(name, attached, document)| (format!("later-{name}"), *attached, document.clone())));
        let mut now = RoleWorld { role: world.role.as_ref().map(|_| Role { document, foreign, ..later }), ..world.clone() };
        let before = access(now.role.as_ref());
        let _ = now.execute(&plan, |_, _| Fault::None);
        // The same writes, each with what is wanted.
        let mut ideal = now.clone();
        if let Some(role) = &mut ideal.role {
            for write in &now.writes {
                match write.as_str() {
                    "put the role's policy" => role.document = Some(world.wanted()),
                    "put the trust policy" => role.trust = Document::new(world.desired().trust),
                    _ => {}
                }
            }
        }
        let (after, ideal) = (access(now.role.as_ref()), access(ideal.role.as_ref()));
        let more: Vec<&String> = after.difference(&ideal).filter(|a| !before.contains(*a)).collect();
        prop_assert!(more.is_empty(), "{:?} by {:?} on {:?}", more, now.writes, now);
    }

    #[test]
    fn law_6_access_is_widened_last(world in dim_world()) {
        let mut world = world;
        for _ in 0..2 {
            let plan = world.plan();
            let (steps, wanted) = (steps(&world, &plan), wanted(&world));
            let mut widened = false;
            for (i, pair) in steps.windows(2).enumerate() {
                let more: Vec<&String> = pair[1].difference(&pair[0]).collect();
                prop_assert!(!widened || pair[0].is_subset(&pair[1]), "narrows after it widened:{}", listing(&plan, &steps));
                let made = i == 0 && world.role.is_none();
                prop_assert!(more.is_empty() || made || i >= plan.widening, "step {i} widens:{}", listing(&plan, &steps));
                prop_assert!(more.iter().all(|a| wanted.contains(*a)), "beyond what is wanted:{}", listing(&plan, &steps));
                widened |= !more.is_empty();
            }
            prop_assert!(steps.last() == steps.first() || !widened || plan.widens || plan.widening < plan.actions.len());
            let _ = world.execute(&plan, |_, _| Fault::None);
        }
    }

    #[test]
    fn law_6_after_a_failure_nothing_is_given_and_everything_is_taken(world in world(), which in any::<prop::sample::Index>()) {
        let mut world = world;
        let (plan, wanted, before) = (world.plan(), wanted(&world), access(world.role.as_ref()));
        prop_assume!(!plan.actions.is_empty() && world.role.is_some() && !world.obey);
        let (failing, waits) = (which.index(plan.actions.len()), waits(&plan, &world));
        let _ = world.execute(&plan, |i, _| if i == failing { Fault::Refused } else { Fault::None });
        let after = access(world.role.as_ref());
        if failing < plan.widening {
            prop_assert!(after.is_subset(&before), "{:?}", after.difference(&before).collect::<Vec<_>>());
        }
        // One failure leaves behind what it was about, and nothing else.
        let text = plan.actions[failing].to_string();
        if text == "tag the role" || text == "put the trust policy" {
            let more: Vec<&String> = after.difference(&wanted).filter(|a| !a.contains("may be the role")).collect();
            prop_assert!(more.is_empty() || waits, "{:?} is left after {}", more, text);
        }
    }

    #[test]
    fn law_7_the_role_of_somebody_else_is_left_alone(world in dim_world(), elsewhere in any::<bool>()) {
        let mut world = world;
        prop_assume!(world.role.is_some());
        if let Some(role) = &mut world.role {
            if elsewhere {
                role.arn = install().place.role("/", "etl");
            } else {
                role.tags.insert(tags::CLUSTER.into(), "c2".into());
            }
        }
        let mut after = world.clone();
        after.converge();
        prop_assert!(after.writes.is_empty() && after.role == world.role, "{:?}", after.writes);
        prop_assert!(world.blind.contains(&Blind::Role) || world.plan().problem.is_some_and(|p| p.stalled));
    }

    #[test]
    fn law_7_without_our_marks_nothing_is_given(world in dim_world()) {
        let mut world = RoleWorld { obey: false, ..world };
        let found = world.role.as_mut().is_some_and(|r| r.tags.remove(tags::CLUSTER).is_some());
        prop_assume!(found);
        let mut after = world.clone();
        after.converge();
        prop_assert!(access(after.role.as_ref()).is_subset(&access(world.role.as_ref())));
    }

    #[test]
    fn law_10_a_role_that_nothing_speaks_for_only_loses(world in dim_world()) {
        let mut world = RoleWorld { inputs: Inputs::default(), obey: false, ..world };
        let document = world.role.as_ref().and_then(|r| r.document.as_ref());
        let held: Vec<String> = document.map(held_denies).unwrap_or_default().into_iter().map(|h| h.identity).collect();
        let before = access(world.role.as_ref());
        world.converge();
        prop_assert!(access(world.role.as_ref()).is_subset(&before));
        // The Deny of an ended grant is the to-do list: the role does not go before it does.
        let proved = held.iter().all(|identity| world.released.contains(identity));
        let deleted = world.writes.contains(&"delete the role".to_owned());
        prop_assert!(proved || world.role.is_some() && !deleted);
        // Nor within a day of its last use. What allows something goes at once all the same.
        prop_assert!(!deleted || world.used <= at(-24));
    }

    #[test]
    fn the_denies_of_others_stay_until_asked(world in dim_world()) {
        prop_assume!(!world.obey);
        let refuses = |role: &Role| {
            let all = role.document.iter().chain(role.foreign.iter().map(|(_, _, d)| d)).flat_map(|d| &d.statements);
            all.filter(|s| s.effect == Effect::Deny).cloned().collect::<Vec<Statement>>()
        };
        let before: Vec<Statement> = world.role.iter().flat_map(refuses).filter(|s| foreign().iter().any(|f| f.same_as(s))).collect();
        let certified = world.role.as_ref().and_then(|r| r.document.as_ref()).is_none_or(Document::is_certified);
        let mut after = world.clone();
        after.converge();
        let now: Vec<Statement> = after.role.iter().flat_map(refuses).collect();
        for deny in before {
            prop_assert!(now.iter().any(|s| deny.implied_by(s)) || certified && world.role.as_ref().is_some_and(|r| r.foreign.is_empty()), "{} left", deny.sid);
        }
    }
}

/// The key of the role is that of the ServiceAccount in its trust policy.
#[test]
fn the_trust_policy_names_the_service_account() {
    let trust = empty(Inputs::default()).desired().trust;
    assert!(format!("{:?}", trust[0].conditions).contains(&format!(
        "system:serviceaccount:{}:{}",
        role_key().namespace,
        role_key().service_account
    )));
}
