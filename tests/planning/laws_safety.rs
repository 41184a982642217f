//! Laws 5, 6, 7 and 10: nothing is opened too early, by a stale view, on what is not ours, or on the way out.

use proptest::prelude::*;
use securebucket::bucket::action::{Action, Facet};
use securebucket::bucket::observed::KeyState;
use securebucket::bucket::plan::Plan;
use securebucket::domain::policy::{Document, Effect, Statement};
use securebucket::domain::tags::{self, Owner, Tags};

use crate::access::{Access, access};
use crate::fixtures::{
    declared_bucket_policy, declared_encryption, declared_key_policy, deleted_at, install, key_arn, strangers_key,
};
use crate::generate::{dim_world, overtaken, world};
use crate::laws_converge::config;
use crate::model::{Aws, Bucket, Key, Target};
use crate::operator::{Fault, World, makes};

/// What a bucket and a key that are as declared let people do.
pub fn declared(world: &World) -> Access {
    let desired = world.desired();
    let arn = key_arn(0);
    let key = Key {
        state: KeyState::Enabled,
        policy: declared_key_policy(&desired),
        rotation: None,
        tags: Tags::new(),
        grants: Vec::new(),
        listed_from: 0,
    };
    let bucket = Bucket {
        region: desired.names.place.region.clone(),
        tags: Tags::new(),
        block: Some(securebucket::bucket::observed::PublicAccessBlock::ALL),
        ownership: Some("BucketOwnerEnforced".into()),
        encryption: Some(declared_encryption(&desired, &arn)),
        versioning: None,
        lifecycle: None,
        policy: Some(declared_bucket_policy(&desired, &arn)),
    };
    // What was stored under a stranger's key is out of our hands.
    let mut aws = world.aws.clone();
    aws.keys.retain(|arn, _| *arn == strangers_key());
    aws.keys.insert(arn.clone(), key);
    aws.used.insert(arn);
    aws.bucket = Some(bucket);
    access(&aws, &desired)
}

/// What could be done if the policy of the key, of the bucket, of both or of neither were just as declared, and all else as it is.
fn with_either_declared(world: &World) -> impl Iterator<Item = Access> {
    let (desired, arn) = (world.desired(), key_arn(0));
    [(false, false), (true, false), (false, true), (true, true)].into_iter().map(move |(key, bucket)| {
        let mut aws = world.aws.clone();
        if let Some(found) = aws.keys.get_mut(&arn).filter(|_| key) {
            found.policy = declared_key_policy(&desired);
        }
        if let Some(found) = aws.bucket.as_mut().filter(|_| bucket) {
            found.policy = Some(declared_bucket_policy(&desired, &arn));
        }
        access(&aws, &desired)
    })
}

/// What can be done after each step of the plan; the first entry is from before it. A bucket that the plan makes is empty: it counts from
/// the end on.
pub fn steps(world: &World, plan: &Plan) -> Vec<Access> {
    let desired = world.desired();
    let mut all = vec![access(&world.aws, &desired)];
    for until in 0..plan.actions.len() {
        let mut partly = world.clone();
        partly.execute(plan, |i, _| if i > until { Fault::Dies } else { Fault::None });
        if world.aws.bucket.is_none() && until + 1 < plan.actions.len() {
            partly.aws.bucket = None;
        }
        all.push(access(&partly.aws, &desired));
    }
    all
}

fn owner(world: &World, found: &Tags) -> Owner {
    let names = world.desired().names;
    tags::owner(found, &install().cluster, &names.identity, &names.uid)
}

fn words(plan: &Plan) -> Vec<String> {
    plan.actions.iter().map(ToString::to_string).collect()
}

pub fn listing(plan: &Plan, steps: &[Access]) -> String {
    let mut text = String::from("\n");
    for (action, pair) in words(plan).iter().zip(steps.windows(2)) {
        let more: Vec<&String> = pair[1].difference(&pair[0]).collect();
        let less: Vec<&String> = pair[0].difference(&pair[1]).collect();
        text.push_str(&format!("{action}: +{more:?} -{less:?}\n"));
    }
    text
}

/// True if the document, certified or not, refuses it to somebody whom IAM lets do everything.
pub fn denies_of_others(document: Option<&Document>, declared: &Document) -> Vec<Statement> {
    let Some(document) = document.filter(|d| !d.is_certified()) else { return Vec::new() };
    let foreign = |s: &&Statement| s.effect == Effect::Deny && !declared.statements.iter().any(|d| s.implied_by(d));
    document.statements.iter().filter(foreign).cloned().collect()
}

pub fn still_there(denies: &[Statement], document: Option<&Document>) -> bool {
    denies.iter().all(|d| document.is_some_and(|after| after.statements.iter().any(|s| d.implied_by(s))))
}

proptest! {
    #![proptest_config(config(256))]

    #[test]
    fn law_5_a_stale_view_never_widens_beyond_what_is_declared((world, later) in overtaken(), on_key in any::<bool>()) {
        let plan = world.plan();
        // People have been at one of the two.
        let aws = if on_key { Aws { bucket: world.aws.bucket.clone(), used: world.aws.used.clone(), ..later } } else { Aws { bucket: later.bucket, used: later.used, ..world.aws.clone() } };
        let mut now = World { aws, ..world.clone() };
        let desired = now.desired();
        // Neither policy can be written on a condition, so what is declared may replace what somebody closed since. It is all that may.
        let known: Access = with_either_declared(&now).chain([declared(&world)]).flatten().collect();
        now.execute(&plan, |_, _| Fault::None);
        let more: Vec<String> = access(&now.aws, &desired).difference(&known).cloned().collect();
        prop_assert!(more.is_empty(), "{:?} by {:?}\nlater: {:?}", more, words(&plan), now);
    }

    #[test]
    fn law_5_what_a_stale_plan_writes_is_no_wider_than_what_is_declared((world, later) in overtaken()) {
        let (plan, desired, arn) = (world.plan(), world.desired(), key_arn(0));
        let mut now = World { aws: later, ..world.clone() };
        // The same writes, each with what is declared.
        let mut ideal = now.clone();
        now.execute(&plan, |_, _| Fault::None);
        ideal.execute(&plan, |_, _| Fault::None);
        let wrote = |words: &str| now.aws.writes.iter().any(|(_, action)| action == words);
        if let Some(key) = ideal.aws.keys.get_mut(&arn).filter(|_| wrote("put the key policy") || wrote("enable the key")) {
            key.policy = declared_key_policy(&desired);
        }
        if let Some(bucket) = ideal.aws.bucket.as_mut().filter(|_| wrote("put the bucket policy")) {
            bucket.policy = Some(declared_bucket_policy(&desired, &arn));
        }
        let (found, ideal) = (access(&now.aws, &desired), access(&ideal.aws, &desired));
        let more: Vec<&String> = found.difference(&ideal).collect();
        prop_assert!(more.is_empty(), "{:?} by {:?}\nlater: {:?}", more, words(&plan), now);
    }

    #[test]
    fn law_6_access_is_widened_last(world in dim_world()) {
        let mut world = world;
        for _ in 0..3 {
            let plan = world.plan();
            let steps = steps(&world, &plan);
            let declared = declared(&world);
            let (mut widened, makes_bucket) = (false, world.aws.bucket.is_none());
            for (i, pair) in steps.windows(2).enumerate() {
                // Default encryption under a dead key refuses every write. Naming ours gives back the declared ones, and reading of what they
                // will store; where the bucket policy cannot be seen, nothing can be done about the latter.
                let uses = |a: &str| a.ends_with(" writes") || a.ends_with(" reads");
                let back = |a: &&String| plan.actions[i].facet() == Facet::Encryption && uses(a)
                    && (declared.contains(*a) || world.blind.contains(&Facet::BucketPolicy) && declared.contains(&a.replace("reads", "writes")));
                let more: Vec<&String> = pair[1].difference(&pair[0]).filter(|a| !back(a)).collect();
                prop_assert!(!widened || pair[0].is_subset(&pair[1]), "narrows after it widened:{}", listing(&plan, &steps));
                let last = i + 1 == plan.actions.len();
                prop_assert!(more.is_empty() || i >= plan.widening || last && makes_bucket, "step {i} widens:{}", listing(&plan, &steps));
                prop_assert!(more.iter().all(|a| declared.contains(*a)), "beyond what is declared:{}", listing(&plan, &steps));
                widened |= !more.is_empty();
            }
            world.execute(&plan, |_, _| Fault::None);
        }
    }

    #[test]
    fn law_6_after_a_failure_nothing_is_widened_and_everything_is_narrowed(world in world(), failing in prop::collection::vec(any::<prop::sample::Index>(), 1..3)) {
        let mut world = world;
        let (plan, declared, desired) = (world.plan(), declared(&world), world.desired());
        let before = access(&world.aws, &desired);
        let unrelated = |a: &Action| !matches!(a.facet(), Facet::KeyPolicy | Facet::BucketPolicy | Facet::PublicAccessBlock | Facet::Ownership | Facet::Encryption)
            && !makes(a) && !matches!(a, Action::AnnounceKey | Action::RecordKey { .. });
        let may_fail: Vec<usize> = (0..plan.actions.len()).filter(|i| unrelated(&plan.actions[*i])).collect();
        prop_assume!(!may_fail.is_empty());
        let failing: Vec<usize> = failing.iter().map(|i| may_fail[i.index(may_fail.len())]).collect();
        let touched: Vec<&Action> = failing.iter().map(|i| &plan.actions[*i]).collect();
        let (failures, _) = world.execute(&plan, |i, _| if failing.contains(&i) { Fault::Refused } else { Fault::None });
        let after = access(&world.aws, &desired);
        if !failures.is_empty() && failing.iter().any(|i| *i < plan.widening) {
            prop_assert!(after.is_subset(&before) || plan.actions.iter().any(makes), "widened by {:?} failing {:?}", words(&plan), touched);
        }
        if plan.blocked.is_empty() && plan.actions.iter().all(|a| !makes(a)) && world.observe().key.value().is_some_and(|k| k.state == KeyState::Enabled) {
            let more: Vec<&String> = after.difference(&declared).collect();
            prop_assert!(more.is_empty(), "{:?} is left by {:?} failing {:?}", more, words(&plan), touched);
        }
    }

    #[test]
    fn law_7_nothing_is_written_to_what_is_not_ours(world in dim_world()) {
        let status = world.status();
        let arn = key_arn(0);
        let key = world.aws.keys.get(&arn).map(|k| owner(&world, &k.tags));
        let bucket = world.aws.bucket.as_ref().map(|b| (owner(&world, &b.tags), b.region.clone()));
        let recorded = status.key_arn.is_some();
        let key_is_theirs = matches!(key, Some(Owner::Another(_))) || key == Some(Owner::Unmarked) && !recorded;
        let bucket_is_theirs = matches!(&bucket, Some((Owner::Another(_), _)))
            || matches!(&bucket, Some((Owner::Unmarked, _))) && status.bucket_arn.is_none()
            || bucket.as_ref().is_some_and(|(_, region)| *region != world.desired().names.place.region);
        let alias_is_theirs = !recorded && (world.aws.alias == Some(strangers_key()) || key_is_theirs && world.aws.alias == Some(arn.clone()));
        let mut after = world.clone();
        after.converge();
        // Without a look at the tags, what status names is narrowed, and nothing else.
        let unseen = |facet, named: bool| named && world.blind.contains(&facet);
        let narrowing = ["put the key policy", "block public access", "let the bucket owner own all objects", "put the bucket policy"];
        for (target, action) in &after.aws.writes {
            let narrows = narrowing.contains(&action.as_str()) || action.starts_with("revoke ");
            let theirs = match target {
                Target::Key(written) if *written == arn => key_is_theirs && !(unseen(Facet::KeyTags, recorded) && narrows),
                Target::Key(written) => *written == strangers_key(),
                Target::Alias => alias_is_theirs,
                Target::Bucket => bucket_is_theirs && !(unseen(Facet::BucketTags, status.bucket_arn.is_some()) && narrows),
            };
            prop_assert!(!theirs, "{action} on {target:?}, which is not ours");
        }
    }

    #[test]
    fn law_7_without_our_mark_nothing_is_widened(world in dim_world()) {
        prop_assume!(!world.obey);
        let desired = world.desired();
        let unmarked = |found: &Tags, facet| world.blind.contains(&facet) || owner(&world, found) == Owner::Unmarked;
        let key = world.aws.keys.get(&key_arn(0)).is_some_and(|k| unmarked(&k.tags, Facet::KeyTags));
        let bucket = world.aws.bucket.as_ref().is_some_and(|b| unmarked(&b.tags, Facet::BucketTags));
        prop_assume!(key || bucket);
        let mut after = world.clone();
        after.converge();
        let (before, now) = (access(&world.aws, &desired), access(&after.aws, &desired));
        let through_key = |a: &String| a.ends_with("reads") || a.ends_with("directly") || a.contains("grants");
        let through_s3 = |a: &String| a.ends_with("lists") || a.ends_with("configures") || a.ends_with("deletes");
        let more: Vec<&String> = now.difference(&before).filter(|a| key && through_key(a) || bucket && through_s3(a)).collect();
        prop_assert!(more.is_empty() || after.aws.keys_made > 0, "{more:?}");
    }

    #[test]
    fn the_denies_of_others_stay_until_asked(world in dim_world()) {
        prop_assume!(!world.obey || world.object.metadata.deletion_timestamp.is_some());
        let desired = world.desired();
        let on_key = world.aws.keys.get(&key_arn(0)).map(|k| k.policy.clone());
        let on_bucket = world.aws.bucket.as_ref().and_then(|b| b.policy.clone());
        let key_denies = denies_of_others(on_key.as_ref(), &declared_key_policy(&desired));
        let bucket_denies = denies_of_others(on_bucket.as_ref(), &declared_bucket_policy(&desired, &key_arn(0)));
        let mut after = world.clone();
        for _ in 0..3 {
            after.pass();
            prop_assert!(still_there(&key_denies, after.aws.keys.get(&key_arn(0)).map(|k| &k.policy)), "key");
            prop_assert!(still_there(&bucket_denies, after.aws.bucket.as_ref().and_then(|b| b.policy.as_ref())), "bucket");
        }
    }

    #[test]
    fn law_10_an_object_that_is_being_deleted_only_loses(world in dim_world()) {
        let mut world = world;
        world.object.metadata.deletion_timestamp = Some(deleted_at());
        for _ in 0..3 {
            let plan = world.plan();
            for action in &plan.actions {
                let opens = matches!(action, Action::AnnounceKey | Action::CancelKeyDeletion | Action::EnableKey);
                prop_assert!(!opens && !makes(action), "{}", action);
                prop_assert!(!action.to_string().contains("delete") && !action.to_string().contains("schedule"), "{}", action);
            }
            let steps = steps(&world, &plan);
            for pair in steps.windows(2) {
                prop_assert!(pair[1].is_subset(&pair[0]), "{}", listing(&plan, &steps));
            }
            world.execute(&plan, |_, _| Fault::None);
        }
    }
}
