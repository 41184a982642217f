//! Grants that go on from others: each case, and the laws over random chains of them.

use proptest::prelude::*;
use securebucket::api::DecryptGrant;
use securebucket::api::decrypt_grant::{ApprovalRules, ExtendedRef};
use securebucket::api::grant_review::Decision::Approve;
use securebucket::api::types::{DurationText, PrefixText};
use securebucket::domain::time::parse_instant;
use securebucket::grant::facts::Step;
use securebucket::grant::status::word;

use crate::fixtures::{deleted_at, install};
use crate::grant_stages::Known;
use crate::grant_stages::Stage::{Activated, Approved, Ended, Held, Recorded, Resolved};
use crate::grant_world::{Event, World};
use crate::grants::{bucket, held, request, seconds};
use crate::laws_converge::config;
use crate::reviews::{review, shortened};

/// A request `h` that extends `g`, which began at noon for 4 h. The bucket allows 12 h.
fn extending() -> Known {
    let mut known = Known::at(Held);
    known.extended = Some(Known::at(Recorded).grant);
    known.grant = held(request("h", &["a/"], "4h"));
    known.grant.status = Some(Default::default());
    known.grant.spec.extends = Some(ExtendedRef { name: "g".into() });
    known.now = seconds(3_600);
    known
}

/// The same, resolved as it was an hour after noon, and asking for one approval.
fn resolved() -> Known {
    let mut known = extending();
    known.bucket = Some(bucket(1));
    let Step::Resolve(resolution) = known.step() else { panic!("{}", known.word()) };
    known.change(|s| resolution.record(s));
    known
}

impl Known {
    fn before(&mut self) -> &mut DecryptGrant {
        self.extended.as_mut().unwrap()
    }

    fn end(&self) -> String {
        match self.step() {
            Step::End { reason, message, .. } => format!("{}: {message}", word(reason)),
            _ => self.word(),
        }
    }
}

#[test]
fn what_can_be_extended_and_what_cannot() {
    type Change = fn(&mut Known);
    let rows: &[(&str, Change, &str)] = &[
        ("what is active", |_| {}, "resolve"),
        ("under fewer prefixes", |k| k.grant.spec.prefixes[0] = PrefixText("a/b/".into()), "resolve"),
        ("under others", |k| k.grant.spec.prefixes[0] = PrefixText("b/".into()), "Denied: does not let it read"),
        ("under more", |k| k.grant.spec.prefixes.push(PrefixText("b/".into())), "Denied: does not let it read"),
        (
            "of somebody else's subject",
            |k| k.before().spec.subject.service_account_ref.name = "other".into(),
            "Denied: another ServiceAccount",
        ),
        ("on another bucket", |k| k.before().spec.bucket_ref.name = "other".into(), "Denied: another SecureBucket"),
        (
            "on a bucket that was made anew",
            |k| k.bucket().metadata.uid = Some("bucket-uid-2".into()),
            "Denied: is over",
        ),
        ("itself", |k| k.extended = Some(k.grant.clone()), "Denied: this grant itself"),
        ("what is not there", |k| k.extended = None, "stalled ExtendedNotFound"),
        ("what has not begun", |k| k.extended = Some(Known::at(Approved).grant), "wait ExtendedNotActive"),
        ("what is over", |k| k.extended = Some(Known::at(Ended).grant), "Denied: is over"),
        ("what is over by its date", |k| k.now = seconds(4 * 3_600), "Denied: is over"),
        ("up to the last second", |k| k.now = seconds(4 * 3_600 - 1), "resolve"),
        (
            "what is being handed back",
            |k| k.before().metadata.deletion_timestamp = Some(deleted_at()),
            "Denied: is over",
        ),
        (
            "what says of itself what its spec does not",
            |k| k.before().spec.duration = DurationText("5h".into()),
            "Denied: is over",
        ),
        ("up to the ceiling", |k| k.grant.spec.duration = DurationText("11h".into()), "resolve"),
        ("beyond the ceiling", |k| k.grant.spec.duration = DurationText("11h1s".into()), "Denied: ask for at most 11h"),
        ("beyond the bucket's longest", |k| k.grant.spec.duration = DurationText("13h".into()), "stalled InvalidSpec"),
        (
            "while the bucket is locked down",
            |k| {
                k.bucket().spec.lockdown =
                    Some(securebucket::api::lockdown::LockdownSpec { reason: "x".into(), level: None })
            },
            "Denied: locked down",
        ),
    ];
    let mut wrong = String::new();
    for (name, change, expected) in rows {
        let mut known = extending();
        change(&mut known);
        let (found, parts) = (known.end(), expected.split_once(": "));
        let fits = match parts {
            Some((state, part)) => {
                found.starts_with(state)
                    && found.contains(part)
                    && found.contains("create a new grant") != (*name == "while the bucket is locked down")
            }
            None => found == *expected,
        };
        if !fits {
            wrong.push_str(&format!("{name}: wanted {expected}, found {found}\n"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn it_is_approved_anew_and_held_to_the_chain_when_it_begins() {
    let mut known = resolved();
    assert_eq!(known.word(), "wait AwaitingApproval");
    let terms = known.status().resolved.unwrap();
    let extends = terms.extends.clone().unwrap();
    assert_eq!(
        (extends.name.as_str(), extends.uid.as_str(), extends.since.as_str()),
        ("g", "uid-g", seconds(0).to_string().as_str())
    );
    let bob = review("r-bob", &known.grant, Approve, "bob");
    known.add(bob.clone());
    assert_eq!(known.word(), "approve");
    // The same request without it has other terms: an approval of the one is none of the other.
    let mut alone = known.grant.clone();
    alone.spec.extends = None;
    assert_ne!(crate::grants::terms(&alone, &bucket(1)).terms_hash, terms.terms_hash);
    assert!(!securebucket::grant::terms::genuine(&alone, &terms, &install()));
    // While it waited, its place in the chain was used up, or what it extends ended.
    known.now = seconds(3 * 3_600 + 1_800);
    known.grant.spec.duration = DurationText("4h".into());
    assert_eq!(known.word(), "approve");
    known.before().status.as_mut().unwrap().ended = Known::at(Ended).status().ended;
    assert!(known.end().contains("is over"), "{}", known.end());
    // Made anew under the name it is another one.
    let mut known = resolved();
    known.add(bob.clone());
    known.before().metadata.uid = Some("uid-g-2".into());
    assert!(known.end().starts_with("Denied"), "{}", known.end());
    known.extended = None;
    assert!(known.end().contains("any more"), "{}", known.end());
    // A bucket that allows less by now.
    let mut known = resolved();
    known.add(bob);
    known.bucket().spec.grants.as_mut().unwrap().max_duration = Some(DurationText("4h30m".into()));
    assert!(known.end().contains("ask for at most 3h30m"), "{}", known.end());
    // A reviewer may make it fit.
    let short = shortened(review("r-carol", &known.grant, Approve, "carol"), "3h30m");
    known.add(short);
    assert_eq!(known.word(), "approve");
}

#[test]
fn a_window_never_ends_after_the_chain() {
    let mut known = resolved();
    known.change(|s| {
        s.approval_rules = Some(ApprovalRules::default());
        s.conditions = Known::at(Approved).status().conditions;
    });
    known.bucket = Some(bucket(0));
    known.looked = Known::at(Activated).looked;
    known.now = seconds(3_599);
    let Step::Activate(agreement) = known.step() else { panic!("{}", known.word()) };
    // Written a moment later than decided, at the very end.
    let mut status = known.status();
    agreement.record(&mut status, seconds(8 * 3_600 + 5));
    assert_eq!(status.expires_at.unwrap(), seconds(12 * 3_600).to_string());
}

/// What may happen to grants of at most an hour altogether, each of which extends one before.
#[derive(Clone, Debug)]
enum Act {
    Wait(i64),
    /// One more, that extends the so-many-th, for so long.
    Extend(usize, &'static str),
    Delete(usize),
    Passes,
    /// The owner allows so long.
    Longest(&'static str),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => prop::sample::select(vec![1, 60, 600, 900]).prop_map(Act::Wait),
        5 => (0..8usize, prop::sample::select(vec!["15m", "20m", "45m", "1h"])).prop_map(|(n, d)| Act::Extend(n, d)),
        1 => (0..8usize).prop_map(Act::Delete),
        6 => Just(Act::Passes),
        1 => prop::sample::select(vec!["30m", "1h"]).prop_map(Act::Longest),
    ]
}

fn passes(world: &mut World) {
    for _ in 0..3 {
        world.role_pass();
        let names: Vec<String> = world.grants.keys().cloned().collect();
        for name in names {
            world.grant_pass(&name);
        }
        world.watch();
    }
}

proptest! {
    #![proptest_config(config(128))]

    #[test]
    fn laws_of_extension(acts in prop::collection::vec(act(), 1..50)) {
        let mut world = World::new(0);
        let longest = |world: &mut World, text: &str| {
            world.bucket.as_mut().unwrap().spec.grants.as_mut().unwrap().max_duration = Some(DurationText(text.into()));
        };
        longest(&mut world, "1h");
        world.happen(&Event::Create(0));
        passes(&mut world);
        for act in &acts {
            world.tell(format!("{act:?}"));
            match act {
                Act::Wait(s) => world.now += s,
                Act::Passes => passes(&mut world),
                Act::Longest(text) => longest(&mut world, text),
                Act::Delete(n) => world.happen(&Event::Delete(*n)),
                Act::Extend(n, duration) => {
                    let Some(before) = world.grants.keys().nth(n % world.grants.len().max(1)).cloned() else { continue };
                    world.objects += 1;
                    let name = format!("e{}", world.objects);
                    let mut grant = request(&name, &["a/"], duration);
                    grant.spec.extends = Some(ExtendedRef { name: before });
                    grant.metadata.creation_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(world.time()));
                    world.grants.insert(name, grant);
                }
            }
        }
    }
}

/// Called when access begins: what is extended is open at that moment, and the chain ends within an hour of its first beginning.
pub fn within_the_chain(world: &mut World, grant: &DecryptGrant, agreement: &securebucket::grant::agree::Agreement) {
    let uid = grant.metadata.uid.clone().unwrap();
    let Some(named) = &grant.spec.extends else {
        world.chains.insert(uid, world.now);
        return;
    };
    let before = world.grants.get(&named.name).unwrap_or_else(|| panic!("it extends what is gone: {world:?}")).clone();
    let status = before.status.clone().unwrap_or_default();
    let end = status.expires_at.as_deref().and_then(parse_instant).unwrap_or_else(|| panic!("not begun: {world:?}"));
    assert!(world.time() < end && status.ended.is_none(), "it extends what is over: {world:?}");
    assert!(before.metadata.deletion_timestamp.is_none(), "it extends what is being handed back: {world:?}");
    assert_eq!(before.spec.subject, grant.spec.subject);
    let since = world.chains[before.metadata.uid.as_ref().unwrap()];
    world.chains.insert(uid, since);
    let max = world.bucket.as_ref().unwrap().spec.grants.as_ref().unwrap().max_duration.clone().unwrap();
    let max = securebucket::domain::time::parse_duration(&max.0).unwrap().as_secs();
    assert!(world.now + agreement.duration.as_secs() <= since + max, "the chain is too long: {world:?}");
}

/// The laws above are not kept by nothing ever being extended.
#[test]
fn a_chain_goes_on_to_its_ceiling() {
    let mut world = World::new(0);
    world.bucket.as_mut().unwrap().spec.grants.as_mut().unwrap().max_duration = Some(DurationText("1h".into()));
    world.happen(&Event::Create(0));
    passes(&mut world);
    let mut last = "g0".to_owned();
    let mut begun = 0;
    for n in 0..8 {
        world.now += 600;
        let name = format!("e{n}");
        let mut grant = request(&name, &["a/"], "15m");
        grant.spec.extends = Some(ExtendedRef { name: last.clone() });
        grant.metadata.creation_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(world.time()));
        world.grants.insert(name.clone(), grant);
        passes(&mut world);
        if world.grants[&name].status.as_ref().is_some_and(|s| s.expires_at.is_some()) {
            (last, begun) = (name, begun + 1);
        }
    }
    // From minutes 10, 20, 30 and 40, until minute 55: the fifth would last until 65.
    assert_eq!((begun, last.as_str()), (4, "e3"), "{world:?}");
}

#[test]
fn the_stages_of_what_is_extended_are_those_of_every_grant() {
    // An extension that was resolved is asked again for what it extends.
    let mut known = resolved();
    known.extended = Some(Known::at(Resolved).grant);
    assert_eq!(known.word(), "wait ExtendedNotActive");
}
