//! The laws for the workload role: it settles on what is wanted, crashes change nothing, what takes comes before what gives, others' roles are
//! left alone, and nobody reads by a grant after its end.

use std::collections::BTreeSet;

use jiff::Timestamp;
use proptest::prelude::*;
use securebucket::api::secure_bucket::Duty;
use securebucket::aws::policies::boundary;
use securebucket::domain::policy::{Document, Effect, Statement};
use securebucket::domain::prefix::Prefixes;
use securebucket::domain::tags;
use securebucket::domain::time::after;
use securebucket::role::document::{BucketRef, DutyInput, GrantInput, HeldDeny, Inputs, build, held_denies};
use securebucket::role::plan::Plan;

use crate::evaluator::{Context, Outcome, Policies, Request, evaluate};
use crate::fixtures::{ACCOUNT, install};
use crate::generate::NOON;
use crate::laws_converge::{config, says};
use crate::operator::Fault;
use crate::role_model::{Blind, Role, RoleWorld, role_key};

const KEYS: [&str; 3] = ["a/x", "a/b/x", "z/x"];

fn at(hours: i64) -> Timestamp {
    after(Timestamp::from_second(NOON).unwrap(), jiff::SignedDuration::from_hours(hours))
}

fn buckets() -> [BucketRef; 2] {
    ["1", "2"].map(|n| BucketRef {
        identity: n.repeat(16),
        bucket_arn: install().place.bucket(&format!("c1-{n}")),
        key_arn: install().place.key(n),
        via_s3: install().place.via_s3(),
    })
}

fn prefixes() -> impl Strategy<Value = Prefixes> {
    prop::collection::vec(prop::sample::select(vec!["a/", "a/b/", "z/", "*"]), 1..3)
        .prop_map(|p| Prefixes::parse(&p).unwrap())
}

/// At most one duty per bucket; grants only where there is none.
fn inputs() -> impl Strategy<Value = Inputs> {
    let duty = prop::sample::select(vec![None, None, Some(Duty::Producer), Some(Duty::Processor), Some(Duty::Auditor)]);
    let duties = prop::collection::vec((duty, prefixes()), 2);
    let grants = prop::collection::vec((0..2usize, prefixes(), 1..4i64, any::<bool>()), 0..4);
    let held = prop::collection::vec((0..2usize, -1..2i64), 0..2);
    (duties, grants, held).prop_map(|(duties, grants, held)| {
        let duties: Vec<DutyInput> = buckets()
            .into_iter()
            .zip(duties)
            .filter_map(|(bucket, (duty, prefixes))| {
                let duty = duty?;
                let prefixes = (duty != Duty::Auditor).then_some(prefixes);
                Some(DutyInput { bucket, duty, prefixes, established: false })
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
fn foreign() -> [Statement; 4] {
    [
        Statement::allow("Everything").actions(["*"]).resources(["*"]),
        Statement::allow("").actions(["s3:GetObject"]).resources(["arn:aws:s3:::c1-1/*"]),
        Statement::deny("Incident42").actions(["s3:GetObject"]).resources(["*"]),
        Statement::deny("").actions(["kms:Decrypt"]).resources(["*"]),
    ]
}

fn edited(base: Document, drop: &[bool], add: &[usize]) -> Document {
    let mut document = base.certified();
    let mut keep = drop.iter().map(|d| !d).chain(std::iter::repeat(true));
    document.statements.retain(|_| keep.next().unwrap());
    document.statements.extend(add.iter().map(|n| foreign()[*n].clone()));
    document
}

fn some_role() -> impl Strategy<Value = Role> {
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

fn empty(inputs: Inputs) -> RoleWorld {
    RoleWorld {
        role: None,
        inputs,
        released: BTreeSet::new(),
        now: at(0),
        obey: false,
        blind: BTreeSet::new(),
        writes: Vec::new(),
        made: 0,
    }
}

fn world() -> impl Strategy<Value = RoleWorld> {
    let released = prop::collection::btree_set(prop::sample::select(vec!["1".repeat(16), "2".repeat(16)]), 0..2);
    let inputs = prop_oneof![1 => Just(Inputs::default()), 4 => inputs()];
    (inputs, prop::option::weighted(0.85, some_role()), released, prop::bool::weighted(0.2))
        .prop_map(|(inputs, role, released, obey)| RoleWorld { role, released, obey, ..empty(inputs) })
}

fn dim_world() -> impl Strategy<Value = RoleWorld> {
    let blind = prop::sample::select(vec![Blind::Role, Blind::Document, Blind::Foreign]);
    (world(), prop::collection::btree_set(blind, 0..2)).prop_map(|(world, blind)| RoleWorld { blind, ..world })
}

/// What whoever is the role can do, and who can be it.
fn access(role: Option<&Role>) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let Some(role) = role else { return all };
    let bounded = role.boundary.as_ref().map(|_| boundary(&install()));
    let identity = role.document.iter().chain(role.foreign.iter().map(|(_, _, d)| d)).collect();
    let policies = Policies { identity, boundary: bounded.as_ref(), ..Policies::default() };
    for hour in [0, 1, 2, 3, 1_000_000] {
        for bucket in buckets() {
            let objects = KEYS.map(|key| format!("{}/{key}", bucket.bucket_arn));
            let mut asks: Vec<(&str, String)> = objects.iter().map(|o| ("s3:GetObject", o.clone())).collect();
            asks.extend([
                ("s3:PutObject", objects[0].clone()),
                ("s3:ListBucket", bucket.bucket_arn.clone()),
                ("kms:Decrypt", bucket.key_arn.clone()),
                ("s3:DeleteObject", objects[0].clone()),
                ("kms:CreateGrant", bucket.key_arn.clone()),
                ("sqs:SendMessage", "arn:aws:sqs:eu-west-1:111122223333:q".into()),
            ]);
            for (action, resource) in asks {
                let context = Context::default()
                    .with("aws:CurrentTime", at(hour))
                    .with("aws:ResourceAccount", ACCOUNT)
                    .with("kms:ViaService", &bucket.via_s3)
                    .with("s3:prefix", "a/x");
                let request = Request {
                    principal: role.arn.clone(),
                    action: action.into(),
                    resource: resource.clone(),
                    resource_account: ACCOUNT.into(),
                    context,
                };
                if evaluate(&request, &policies).outcome == Outcome::Allowed {
                    all.insert(format!("{action} {resource} in hour {hour}"));
                }
            }
        }
    }
    let refused = role.trust.statements.iter().any(|s| s.effect == Effect::Deny);
    let trusts = role.trust.statements.iter().filter(|s| s.effect == Effect::Allow && !refused);
    all.extend(trusts.map(|s| format!("{:?} may be the role", s.principals)));
    all
}

/// What a role that is as wanted lets people do.
fn wanted(world: &RoleWorld) -> BTreeSet<String> {
    let desired = world.desired();
    access(Some(&Role {
        arn: desired.arn,
        role_id: String::new(),
        boundary: Some(desired.boundary),
        trust: Document::new(desired.trust),
        tags: desired.tags,
        document: Some(world.wanted()),
        foreign: Vec::new(),
    }))
}

fn steps(world: &RoleWorld, plan: &Plan) -> Vec<BTreeSet<String>> {
    let mut all = vec![access(world.role.as_ref())];
    for until in 0..plan.actions.len() {
        let mut partly = world.clone();
        let _ = partly.execute(plan, |i, _| if i > until { Fault::Dies } else { Fault::None });
        all.push(access(partly.role.as_ref()));
    }
    all
}

fn listing(plan: &Plan, steps: &[BTreeSet<String>]) -> String {
    let mut text = String::from("\n");
    for (action, pair) in plan.actions.iter().zip(steps.windows(2)) {
        let more: Vec<&String> = pair[1].difference(&pair[0]).collect();
        let less: Vec<&String> = pair[0].difference(&pair[1]).collect();
        text.push_str(&format!("{action}: +{more:?} -{less:?}\n"));
    }
    text
}

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
    let Some(role) = &world.role else { return wanted.statements.is_empty() };
    let only_denies = |d: &Document| d.statements.iter().all(|s| s.effect == Effect::Deny);
    let kept = role.document.as_ref().is_some_and(|d| d.statements.iter().any(|s| s.sid.starts_with("Kept")));
    let responder = kept || !role.foreign.is_empty() || role.trust.statements.len() > 1;
    role.arn == desired.arn
        && role.tags == desired.tags
        && role.boundary == Some(desired.boundary)
        && says(&role.trust, &Document::new(desired.trust))
        && says(&role.document.clone().unwrap_or_default(), &wanted)
        && role.foreign.iter().all(|(_, _, d)| only_denies(d))
        // Without a reason to be, it goes, unless somebody has put a Deny on it.
        && (!wanted.statements.is_empty() || responder)
}

proptest! {
    #![proptest_config(config(384))]

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
        prop_assert!(proved || world.role.is_some() && !world.writes.contains(&"delete the role".to_owned()));
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
