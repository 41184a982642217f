//! The document of a workload role under random duties, grants and held Denies, judged at every instant around every boundary.

use std::collections::BTreeSet;

use jiff::Timestamp;
use proptest::prelude::*;
use securebucket::api::lockdown::LockdownLevel;
use securebucket::api::secure_bucket::Duty;
use securebucket::aws::policies::boundary;
use securebucket::domain::policy::{Document, Statement};
use securebucket::domain::prefix::Prefixes;
use securebucket::role::document::{
    BucketRef, DutyInput, GrantInput, HeldDeny, Inputs, MAX_CHARACTERS, build, carries, held_denies, window_absent,
};

use crate::evaluator::{Context, Outcome, Policies, Request, evaluate};
use crate::world::{ACCOUNT, bucket, hours, installation, seconds, w_arn};

const PREFIXES: [&str; 7] = ["a/", "a/b/", "a/b/c/", "ab/", "z/", "z/a/", "*"];
const KEYS: [&str; 8] = ["a/x", "a/b/x", "a/b/c/x", "ab/x", "abx", "z/x", "z/a/x", "x"];

fn buckets() -> [BucketRef; 3] {
    [
        bucket("c1-one", "k1", "1111111111111111"),
        bucket("c1-two", "k2", "2222222222222222"),
        bucket("c1-three", "k3", "3333333333333333"),
    ]
}

fn prefixes() -> impl Strategy<Value = Prefixes> {
    prop::collection::vec(prop::sample::select(&PREFIXES[..]), 1..4).prop_map(|p| Prefixes::parse(&p).unwrap())
}

fn end() -> impl Strategy<Value = Timestamp> {
    // Few values, so that ends coincide and lie one second apart.
    (1..4i64, 0..2i64).prop_map(|(h, s)| seconds(hours(h), s))
}

/// At most one duty per bucket; grants only where there is none, as the controller has it; held Denies anywhere.
fn inputs() -> impl Strategy<Value = Inputs> {
    let duty = prop::option::of(prop::sample::select(vec![Duty::Producer, Duty::Processor, Duty::Auditor]));
    let lock = prop::sample::select(vec![None, None, None, Some(LockdownLevel::Reads), Some(LockdownLevel::All)]);
    let duties = prop::collection::vec((duty, prefixes(), lock), 3).prop_map(|duties| {
        type Pick = (Option<Duty>, Prefixes, Option<LockdownLevel>);
        let input = |(bucket, (duty, prefixes, lock)): (BucketRef, Pick)| {
            let duty = duty?;
            let prefixes = (duty != Duty::Auditor).then_some(prefixes);
            Some(DutyInput { bucket, duty, prefixes, lock, established: true })
        };
        buckets().into_iter().zip(duties).filter_map(input).collect::<Vec<_>>()
    });
    let grant = (0..3usize, prefixes(), end(), 0..5i64, any::<bool>());
    let grants = prop::collection::vec(grant, 0..7).prop_map(|grants| {
        let one =
            |(n, (bucket, prefixes, expires_at, age, issued)): (usize, (usize, Prefixes, Timestamp, i64, bool))| {
                let bucket = buckets()[bucket].clone();
                GrantInput { uid: format!("g{n}"), bucket, prefixes, expires_at, activated_at: hours(-age), issued }
            };
        grants.into_iter().enumerate().map(one).collect::<Vec<_>>()
    });
    let held = prop::collection::vec((0..3usize, end()), 0..3).prop_map(|held| {
        let one = |(n, from): (usize, Timestamp)| {
            let BucketRef { identity, bucket_arn, .. } = buckets()[n].clone();
            HeldDeny { identity, bucket_arn, from }
        };
        held.into_iter().map(one).collect::<Vec<_>>()
    });
    (duties, grants, held).prop_map(|(duties, mut grants, held)| {
        grants.retain(|g| duties.iter().all(|d: &DutyInput| d.bucket != g.bucket));
        Inputs { duties, grants, held }
    })
}

fn document(inputs: &Inputs) -> Document {
    Document::new(build(inputs).statements)
}

fn instants(inputs: &Inputs) -> BTreeSet<Timestamp> {
    let ends = inputs.grants.iter().map(|g| g.expires_at).chain(inputs.held.iter().map(|h| h.from));
    ends.chain([hours(0), hours(100)]).flat_map(|t| [-1, 0, 1].map(|n| seconds(t, n))).collect()
}

fn s3(action: &str, resource: String, at: Timestamp) -> Request {
    let context = Context::default().with("aws:CurrentTime", at).with("aws:ResourceAccount", ACCOUNT);
    Request { principal: w_arn(), action: action.into(), resource, resource_account: ACCOUNT.into(), context }
}

fn allowed(documents: &[&Document], request: &Request) -> bool {
    let boundary = boundary(&installation(false));
    let policies = Policies { identity: documents.to_vec(), boundary: Some(&boundary), ..Policies::default() };
    evaluate(request, &policies).outcome == Outcome::Allowed
}

fn reads(documents: &[&Document], bucket: &BucketRef, key: &str, at: Timestamp) -> bool {
    let object = format!("{}/{key}", bucket.bucket_arn);
    let [plain, version] =
        ["s3:GetObject", "s3:GetObjectVersion"].map(|a| allowed(documents, &s3(a, object.clone(), at)));
    assert_eq!(plain, version, "a version is read like the object");
    plain
}

fn lists(documents: &[&Document], bucket: &BucketRef, prefix: &str, at: Timestamp) -> bool {
    let mut request = s3("s3:ListBucket", bucket.bucket_arn.clone(), at);
    request.context = request.context.with("s3:prefix", prefix);
    allowed(documents, &request)
}

fn covers(prefixes: &Prefixes, key: &str) -> bool {
    prefixes.iter().any(|p| p == "*" || key.starts_with(p))
}

/// Somebody attached `s3:*` to the role.
fn attached() -> Document {
    Document::new(vec![Statement::allow("Attached").actions(["s3:*"]).resources(["*"])])
}

/// A Processor reads, unless its bucket is locked down.
fn processes(duty: &DutyInput) -> bool {
    duty.duty == Duty::Processor && duty.lock.is_none()
}

/// The rule in one line: an open grant, or a Processor's duty.
fn may_read(inputs: &Inputs, bucket: &BucketRef, key: &str, at: Timestamp) -> bool {
    inputs.grants.iter().any(|g| g.bucket == *bucket && at < g.expires_at && covers(&g.prefixes, key))
        || inputs
            .duties
            .iter()
            .any(|d| d.bucket == *bucket && processes(d) && d.prefixes.as_ref().is_some_and(|p| covers(p, key)))
}

fn config() -> ProptestConfig {
    ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn an_object_is_readable_just_while_a_grant_or_duty_covers_it(inputs in inputs()) {
        let document = document(&inputs);
        for at in instants(&inputs) {
            for bucket in &buckets() {
                for key in KEYS {
                    let expected = may_read(&inputs, bucket, key, at);
                    prop_assert_eq!(reads(&[&document], bucket, key, at), expected, "{} {} {}", &bucket.bucket_arn, key, at);
                }
                for prefix in PREFIXES.iter().filter(|p| **p != "*") {
                    let audits = inputs.duties.iter().any(|d| d.bucket == *bucket && d.duty == Duty::Auditor && d.lock.is_none());
                    let ended = held_denies(&document).iter().any(|h| h.identity == bucket.identity && at >= h.from);
                    let expected = may_read(&inputs, bucket, prefix, at) || audits && !ended;
                    prop_assert_eq!(lists(&[&document], bucket, prefix, at), expected, "list {} at {}", prefix, at);
                }
            }
        }
    }

    #[test]
    fn nothing_but_a_processor_reads_for_ever(inputs in inputs()) {
        let document = document(&inputs);
        for bucket in &buckets() {
            let duty = inputs.duties.iter().find(|d| d.bucket == *bucket && d.lock.is_none()).map(|d| d.duty);
            let reads_late = KEYS.iter().any(|key| reads(&[&document], bucket, key, hours(1_000_000)));
            prop_assert_eq!(reads_late, duty == Some(Duty::Processor) && KEYS.iter().any(|k| may_read(&inputs, bucket, k, hours(1_000_000))));
            let reads_ever = instants(&inputs).iter().any(|t| KEYS.iter().any(|k| reads(&[&document], bucket, k, *t)));
            prop_assert!(!(reads_ever && matches!(duty, Some(Duty::Producer | Duty::Auditor))));
        }
    }

    #[test]
    fn a_lockdown_gives_nothing_and_its_lifting_gives_back_the_same(inputs in inputs(), which in any::<prop::sample::Index>(), all in any::<bool>()) {
        prop_assume!(!inputs.duties.is_empty());
        let n = which.index(inputs.duties.len());
        let (mut open, mut locked) = (inputs.clone(), inputs.clone());
        open.duties[n].lock = None;
        let level = if all { LockdownLevel::All } else { LockdownLevel::Reads };
        locked.duties[n].lock = Some(level);
        let (before, now) = (document(&open), document(&locked));
        for at in instants(&inputs) {
            for bucket in &buckets() {
                for key in KEYS {
                    prop_assert!(!reads(&[&now], bucket, key, at) || reads(&[&before], bucket, key, at));
                    let put = s3("s3:PutObject", format!("{}/{key}", bucket.bucket_arn), at);
                    let goes_on = allowed(&[&before], &put) && (!all || *bucket != open.duties[n].bucket);
                    prop_assert_eq!(allowed(&[&now], &put), goes_on, "put {} at {}", key, at);
                }
            }
        }
        // The room that a locked duty leaves is kept for it.
        prop_assert!(build(&locked).left_out == build(&open).left_out);
    }

    #[test]
    fn taking_a_grant_away_never_widens(inputs in inputs(), which in any::<prop::sample::Index>()) {
        prop_assume!(!inputs.grants.is_empty());
        let (before, attached) = (document(&inputs), attached());
        let mut fewer = inputs.clone();
        let gone = fewer.grants.remove(which.index(inputs.grants.len()));
        let after = document(&fewer);
        // As the controller does it: the Deny is held from the moment of removal or from the end, whichever is earlier.
        let BucketRef { identity, bucket_arn, .. } = gone.bucket;
        for from in [hours(0), gone.expires_at] {
            let mut held = fewer.clone();
            held.held.push(HeldDeny { identity: identity.clone(), bucket_arn: bucket_arn.clone(), from });
            let held = document(&held);
            for at in instants(&inputs) {
                for (bucket, key) in buckets().iter().flat_map(|b| KEYS.map(|k| (b.clone(), k))) {
                    prop_assert!(!reads(&[&after], &bucket, key, at) || reads(&[&before], &bucket, key, at));
                    let (with, without) = ([&before, &attached], [&held, &attached]);
                    prop_assert!(!reads(&without, &bucket, key, at) || reads(&with, &bucket, key, at), "with s3:* attached");
                }
            }
        }
    }

    #[test]
    fn carries_held_denies_and_window_absent_say_what_the_evaluator_says(inputs in inputs(), other in inputs()) {
        let (document, attached) = (document(&inputs), attached());
        prop_assert!(inputs.grants.iter().all(|g| carries(&document, g)));
        // Also for grants of another random role: what is carried is readable to its last second.
        for grant in other.grants.iter().filter(|g| carries(&document, g)) {
            for key in KEYS.iter().filter(|k| covers(&grant.prefixes, k)) {
                prop_assert!(reads(&[&document], &grant.bucket, key, seconds(grant.expires_at, -1)));
            }
        }
        let held = held_denies(&document);
        for bucket in &buckets() {
            let processes = inputs.duties.iter().any(|d| d.bucket == *bucket && processes(d));
            let ends = inputs.grants.iter().filter(|g| g.bucket == *bucket).map(|g| g.expires_at);
            let holds = inputs.held.iter().filter(|h| h.identity == bucket.identity).map(|h| h.from);
            let expected = ends.chain(holds).max().filter(|_| !processes);
            let found: Vec<Timestamp> = held.iter().filter(|h| h.bucket_arn == bucket.bucket_arn).map(|h| h.from).collect();
            prop_assert_eq!(&found, &expected.into_iter().collect::<Vec<_>>());
            for from in found {
                let both = [&document, &attached];
                prop_assert!(reads(&both, bucket, "q/x", seconds(from, -1)) && !reads(&both, bucket, "q/x", from));
                prop_assert!(!lists(&both, bucket, "q/", from));
            }
        }
        for (index, grant) in inputs.grants.iter().enumerate() {
            prop_assert!(window_absent(&document, grant, &inputs.grants), "all windows are accounted for");
            let mut others = inputs.grants.clone();
            others.remove(index);
            let without = build(&Inputs { grants: others.clone(), ..inputs.clone() });
            prop_assert!(window_absent(&Document::new(without.statements), grant, &others));
            let same = |o: &&GrantInput| o.bucket == grant.bucket && o.expires_at == grant.expires_at;
            let alone = KEYS.iter().any(|k| covers(&grant.prefixes, k) && !others.iter().filter(same).any(|o| covers(&o.prefixes, k)));
            if alone {
                prop_assert!(!window_absent(&document, grant, &others), "what it alone may read is still there");
            }
        }
    }

    #[test]
    fn the_document_is_a_pure_function_that_fits_and_reads_back(mut inputs in inputs()) {
        let built = build(&inputs);
        let document = Document::new(built.statements).certified();
        prop_assert!(built.left_out.is_empty() && document.render().len() <= MAX_CHARACTERS);
        prop_assert_eq!(&Document::parse(&document.render()).unwrap(), &document);
        let sids: BTreeSet<&String> = document.statements.iter().map(|s| &s.sid).collect();
        prop_assert_eq!(sids.len(), document.statements.len(), "IAM refuses a Sid that occurs twice");
        prop_assert!(sids.iter().all(|sid| sid.bytes().all(|b| b.is_ascii_alphanumeric())));
        inputs.grants.reverse();
        inputs.duties.reverse();
        inputs.held.reverse();
        prop_assert!(Document::new(build(&inputs).statements).same_as(&document), "order of the inputs");
    }

    #[test]
    fn a_full_document_never_leaves_out_an_issued_grant(mut inputs in inputs(), issued in prop::collection::vec(any::<bool>(), 24)) {
        inputs.duties.clear();
        // Up to twelve issued ones fit; of the rest, what does not fit is left out.
        let mut room = 12;
        for (n, issued) in issued.iter().enumerate() {
            let issued = *issued && room > 0;
            room -= usize::from(issued);
            inputs.grants.push(GrantInput {
                uid: format!("more{n:02}"),
                bucket: buckets()[n % 3].clone(),
                prefixes: Prefixes::parse(&["a/", "z/"]).unwrap(),
                expires_at: hours(10 + i64::try_from(n).unwrap()),
                activated_at: hours(-i64::try_from(n % 5).unwrap()),
                issued,
            });
        }
        let built = build(&inputs);
        let document = Document::new(built.statements).certified();
        prop_assert!(document.render().len() <= MAX_CHARACTERS, "{}", document.render().len());
        for grant in &inputs.grants {
            let out = built.left_out.contains(&grant.uid);
            prop_assert!(!(out && grant.issued));
            prop_assert!(out || carries(&document, grant));
        }
    }
}
