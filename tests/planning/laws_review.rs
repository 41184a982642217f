//! Laws for reviews, over random stories of who says what when: access begins only by enough different eligible people who agreed to the very
//! terms that are issued; decisions are terminal and exclusive.

use std::collections::BTreeMap;

use proptest::prelude::*;
use securebucket::api::DecryptGrant;
use securebucket::api::condition::{is_true, types};
use securebucket::api::grant_review::Decision;
use securebucket::api::grants::{ApproverSet, RequestRule};
use securebucket::domain::time::parse_duration;
use securebucket::grant::agree::Agreement;
use securebucket::grant::states::{State, follows, state};

use crate::grant_world::{Event, World};
use crate::grants::bucket;
use crate::laws_converge::config;
use crate::operator::Fault;
use crate::reviews::{made_at, review, set, shortened};
use crate::rule_rows::rule;

/// Names under which people come. The first two are one person, and so are the next two, by their session.
const PEOPLE: [(&str, &str); 7] = [
    ("alice", ""),
    ("Alice", ""),
    ("dev:bob", "bob@example.com"),
    ("ops:bob", "Bob@example.com"),
    ("carol", ""),
    ("dave", ""),
    ("system:serviceaccount:ci:bot", ""),
];

/// The person behind the name.
fn person(username: &str) -> &'static str {
    let index = PEOPLE.iter().position(|(name, _)| *name == username).unwrap();
    ["alice", "alice", "bob", "bob", "carol", "dave", "bot"][index]
}

#[derive(Clone, Debug)]
enum Act {
    Ordinary(Event),
    /// Person, grant, decision, what is wrong with it, to how long it shortens.
    Review(usize, usize, Decision, u8, Option<&'static str>),
    /// A review is taken back.
    Withdraw(usize),
    /// The list comes in another order.
    Turn,
    /// The owner asks for so many.
    Approvals(i32),
    /// The owner names approvers, or nobody.
    Approvers(bool),
    /// The owner writes a rule that approves, or one that denies, or takes them out.
    Rules(Option<&'static str>, Option<&'static str>),
}

/// Rules by name. What they say is in [`says`], and not asked of the code.
const RULES: [(&str, &str); 4] = [
    ("holds", "request.requester.username == 'alice' && request.prefixes.all(p, p != '')"),
    ("quarter", "request.duration == duration('15m')"),
    ("never", "request.durationSeconds > 1000000"),
    ("errs", "request.ticket.startsWith('SEC-')"),
];

/// What a rule says of a request; `None` if it says nothing.
fn says(rule: &str, grant: &DecryptGrant) -> Option<bool> {
    match rule {
        "holds" => Some(true),
        "quarter" => Some(grant.spec.duration.0 == "15m"),
        "never" => Some(false),
        _ => None,
    }
}

fn written(name: Option<&'static str>) -> Vec<RequestRule> {
    let text = |name: &str| RULES.iter().find(|(n, _)| *n == name).unwrap().1;
    name.map(|name| rule(name, text(name))).into_iter().collect()
}

/// True if a rule of the bucket stands in for people.
fn stands_in(world: &World, grant: &DecryptGrant) -> bool {
    let rules = world.bucket_of(grant).and_then(|b| b.spec.grants.clone()).unwrap_or_default().auto_approve;
    rules.iter().any(|r| says(&r.name.0, grant) == Some(true))
}

/// So many approvals the bucket asks for, as it is.
pub fn asked(world: &World, grant: &DecryptGrant) -> i32 {
    let grants = world.bucket_of(grant).and_then(|b| b.spec.grants.clone()).unwrap_or_default();
    if stands_in(world, grant) { 0 } else { grants.approvals.unwrap_or(1) }
}

fn rule_name() -> impl Strategy<Value = Option<&'static str>> {
    prop::sample::select(vec![None, Some("holds"), Some("quarter"), Some("never"), Some("errs")])
}

fn act() -> impl Strategy<Value = Act> {
    let fault = prop::sample::select(vec![Fault::Refused, Fault::Lost, Fault::Dies, Fault::DiesAfter]);
    let ordinary = prop_oneof![
        3 => prop::sample::select(vec![1, 30, 600, 3_700, 86_400]).prop_map(Event::Wait),
        8 => (0..3usize).prop_map(Event::GrantPass),
        4 => Just(Event::RolePass),
        2 => (0..3usize).prop_map(Event::Create),
        1 => (0..3usize).prop_map(Event::Delete),
        1 => fault.prop_map(Event::Strike),
        1 => Just(Event::Restart),
    ];
    let decision = prop::sample::select(vec![
        Decision::Approve,
        Decision::Approve,
        Decision::Approve,
        Decision::Approve,
        Decision::Deny,
        Decision::Revoke,
    ]);
    let wrong = prop_oneof![4 => Just(0u8), 1 => 1..4u8];
    let short = prop::sample::select(vec![None, None, Some("16m"), Some("12h")]);
    prop_oneof![
        10 => ordinary.prop_map(Act::Ordinary),
        9 => (0..PEOPLE.len(), 0..3usize, decision, wrong, short)
            .prop_map(|(p, g, d, w, s)| Act::Review(p, g, d, w, s)),
        2 => (0..8usize).prop_map(Act::Withdraw),
        1 => Just(Act::Turn),
        1 => (0..3i32).prop_map(Act::Approvals),
        1 => any::<bool>().prop_map(Act::Approvers),
        2 => (rule_name(), prop_oneof![3 => Just(None), 1 => rule_name()]).prop_map(|(a, d)| Act::Rules(a, d)),
    ]
}

/// Called when access begins.
pub fn enough(world: &World, grant: &DecryptGrant, agreement: &Agreement) {
    let status = grant.status.clone().unwrap();
    let terms = status.resolved.as_ref().unwrap();
    let rules = status.approval_rules.as_ref();
    let grants = world.bucket_of(grant).and_then(|b| b.spec.grants.clone()).unwrap_or_default();
    let then = world.asked[grant.metadata.uid.as_ref().unwrap()];
    assert_eq!(rules.map(|r| r.approvals), Some(then), "other rules than those of the request: {world:?}");
    let needed = asked(world, grant).max(then);
    let denied = grants.deny.iter().find(|r| says(&r.name.0, grant) != Some(false));
    assert!(denied.is_none(), "begun against {denied:?}: {world:?}");
    let of_terms = |r: &&std::sync::Arc<securebucket::api::GrantReview>| {
        r.spec.terms_hash == terms.terms_hash && Some(&r.spec.grant_ref.uid) == grant.metadata.uid.as_ref()
    };
    let reviews: Vec<_> = world.reviews.iter().filter(of_terms).collect();
    let named =
        |sets: &[ApproverSet], name: &str| sets.is_empty() || sets.iter().any(|s| s.users.iter().any(|u| u.0 == name));
    // A rule that stands in for people asks for none of a set either.
    let sets = if stands_in(world, grant) && grants.approvals != Some(0) { &[] } else { grants.approvers.as_slice() };
    let admitted = |name: &str| named(sets, name) && rules.is_none_or(|r| named(&r.approvers, name));
    // A robot's no counts for nothing, and that of somebody who is no approver only as a Revoke.
    let no = |r: &&&std::sync::Arc<securebucket::api::GrantReview>| {
        let name = &r.spec.reviewer.username;
        person(name) != "bot"
            && match r.spec.decision {
                Decision::Approve => false,
                Decision::Deny => admitted(name),
                Decision::Revoke => true,
            }
    };
    assert!(reviews.iter().find(no).is_none(), "begun against a no: {world:?}");
    assert!(agreement.duration.as_secs() <= terms.duration_seconds, "longer than asked for: {world:?}");
    if needed == 0 {
        return;
    }
    let mut people = BTreeMap::new();
    for approval in &agreement.approvals {
        let review = reviews.iter().find(|r| r.metadata.uid == approval.uid);
        let review = review.unwrap_or_else(|| panic!("{approval:?} is not there, or of other terms: {world:?}"));
        let who = person(&review.spec.reviewer.username);
        assert_ne!(who, person(&grant.spec.requester.as_ref().unwrap().username), "approved by who asks: {world:?}");
        assert_ne!(who, "bot", "approved by a robot that nobody named: {world:?}");
        assert!(admitted(&review.spec.reviewer.username), "{who} is no approver: {world:?}");
        if let Some(limit) = &review.spec.max_duration {
            assert!(agreement.duration <= parse_duration(&limit.0).unwrap(), "longer than {who} allows: {world:?}");
        }
        people.insert(who, ());
    }
    assert_eq!(people.len(), agreement.approvals.len(), "one person twice: {world:?}");
    assert!(people.len() >= usize::try_from(needed).unwrap(), "{} of {needed}: {world:?}", people.len());
}

fn happen(world: &mut World, act: &Act) {
    let nth = |n: &usize, world: &World| world.grants.values().nth(n % world.grants.len().max(1)).cloned();
    match act {
        Act::Ordinary(event) => {
            crate::laws_grant::play(world, std::slice::from_ref(event));
        }
        Act::Review(who, grant, decision, wrong, short) => {
            let Some(grant) = nth(grant, world) else { return };
            let (name, session) = PEOPLE[*who];
            let mut one = review(&format!("r{}", world.objects), &grant, *decision, name);
            world.objects += 1;
            one.spec.reviewer.session = (!session.is_empty()).then(|| session.into());
            made_at(&mut one, world.now);
            match wrong {
                1 => one.spec.terms_hash = "0".repeat(64),
                2 => one.spec.grant_ref.uid = "uid-before".into(),
                3 => one.metadata.namespace = Some("team-b".into()),
                _ => {}
            }
            if *decision == Decision::Approve
                && let Some(limit) = short
            {
                one = shortened(one, limit);
            }
            world.tell(format!("{name} writes {} {decision:?} wrong {wrong}", one.metadata.name.as_ref().unwrap()));
            // What does not count is not among those that the law above looks at.
            if *wrong == 3 && *decision != Decision::Approve {
                return;
            }
            world.reviews.push(one.into());
        }
        Act::Withdraw(n) => {
            if !world.reviews.is_empty() {
                let gone = world.reviews.remove(n % world.reviews.len());
                world.tell(format!("{} is deleted", gone.metadata.name.as_ref().unwrap()));
            }
        }
        Act::Turn => world.reviews.reverse(),
        Act::Approvals(n) => {
            world.tell(format!("approvals: {n}"));
            world.bucket.as_mut().unwrap().spec.grants.as_mut().unwrap().approvals = Some(*n);
        }
        Act::Approvers(named) => {
            let sets = if *named { vec![set("owners", &["dev:bob", "carol"], 0)] } else { Vec::new() };
            world.bucket.as_mut().unwrap().spec.grants.as_mut().unwrap().approvers = sets;
        }
        Act::Rules(approving, denying) => {
            world.tell(format!("rules: approving {approving:?}, denying {denying:?}"));
            let grants = world.bucket.as_mut().unwrap().spec.grants.as_mut().unwrap();
            (grants.auto_approve, grants.deny) = (written(*approving), written(*denying));
        }
    }
}

fn decisions(world: &World) -> BTreeMap<String, (bool, bool, State)> {
    let of = |g: &DecryptGrant| {
        let s = g.status.clone().unwrap_or_default();
        (is_true(&s.conditions, types::APPROVED), is_true(&s.conditions, types::DENIED), state(&s))
    };
    world.grants.values().map(|g| (g.metadata.uid.clone().unwrap(), of(g))).collect()
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn laws_of_agreement(first in 0..3i32, acts in prop::collection::vec(act(), 1..60)) {
        let mut world = World::new(0);
        world.bucket = Some(bucket(first));
        let mut before = decisions(&world);
        for act in &acts {
            happen(&mut world, act);
            let now = decisions(&world);
            for (uid, (approved, denied, to)) in &now {
                prop_assert!(!(*approved && *denied), "approved and denied: {world:?}");
                let Some((was_approved, was_denied, from)) = before.get(uid) else { continue };
                prop_assert!(!was_approved || *approved, "an approval was taken back: {world:?}");
                prop_assert!(!was_denied || *denied, "a denial was taken back: {world:?}");
                let over = matches!(from, State::Ended(_));
                prop_assert!(!over || from == to, "{from:?} became {to:?}: {world:?}");
            }
            before = now;
        }
    }
}

/// The laws above are not kept by nothing ever beginning.
#[test]
fn two_people_bring_it_about() {
    let mut world = World::new(0);
    world.bucket = Some(bucket(2));
    for act in [Act::Ordinary(Event::Create(2)), Act::Ordinary(Event::GrantPass(0)), Act::Ordinary(Event::GrantPass(0))]
    {
        happen(&mut world, &act);
    }
    let state_of = |world: &World| state(world.grants.values().next().unwrap().status.as_ref().unwrap());
    assert_eq!(state_of(&world), State::Resolved, "{world:?}");
    happen(&mut world, &Act::Review(2, 0, Decision::Approve, 0, None));
    happen(&mut world, &Act::Review(3, 0, Decision::Approve, 0, None));
    happen(&mut world, &Act::Ordinary(Event::GrantPass(0)));
    assert_eq!(state_of(&world), State::Resolved, "one person, two sessions: {world:?}");
    happen(&mut world, &Act::Review(4, 0, Decision::Approve, 0, Some("16m")));
    happen(&mut world, &Act::Ordinary(Event::GrantPass(0)));
    assert_eq!(state_of(&world), State::Open, "{world:?}");
    let status = world.grants.values().next().unwrap().status.clone().unwrap();
    assert_eq!(status.shortened_to.as_deref(), Some("16m"));
    assert!(follows(State::Approved, State::Open));
}
