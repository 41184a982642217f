//! Who can read when: random stories of duties, grants, people, faults and down-time on several buckets, asked at every instant around every
//! boundary, by all policies together. Nobody reads outside a live window; everybody reads inside one that was said to be active.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use securebucket::api::condition::{is_true, types};
use securebucket::api::decrypt_grant::DecryptGrant;
use securebucket::api::grants::GrantsSpec;
use securebucket::api::secure_bucket::{AccessEntry, Duty, SecureBucket, SecureBucketSpec};
use securebucket::api::types::{DurationText, InstantText, PrefixText, ServiceAccountRef};
use securebucket::aws::policies::boundary;
use securebucket::domain::policy::Document;
use securebucket::domain::prefix::Prefixes;
use securebucket::domain::time::{format_instant, parse_instant};

use crate::evaluator::{Context, KmsGrant, Outcome, Policies, Request, evaluate};
use crate::fixtures::{
    ACCOUNT, declared_bucket_policy, declared_key_policy, deleted_at, desired_of, install, key_arn, secure_bucket,
    settled_status,
};
use crate::generate::NOON;
use crate::grant_world::World;
use crate::grants::{conditions, request, seconds};
use crate::laws_converge::config;
use crate::operator::Fault;
use crate::role_model::role_key;

const KEYS: [&str; 3] = ["a/x", "a/b/x", "z/x"];
const PREFIXES: [&str; 4] = ["a/", "a/b/", "z/", "*"];

/// What happens at a second.
#[derive(Clone, Debug)]
enum Happening {
    /// Grant number, bucket, prefix, length in minutes, beginning in seconds from now.
    Ask(usize, usize, usize, i64, Option<i64>),
    /// Handed back.
    Delete(usize),
    /// The ServiceAccount gets this duty on the bucket, or none.
    Duty(usize, Option<Duty>),
    /// The next write has this fate.
    Strike(Fault),
    /// The operator is away for so many seconds.
    Down(i64),
    /// etcd is as it was when all that is issued now had been issued. The operator was away for that.
    Save,
    Restore,
}

/// A grid on which boundaries meet, and the seconds beside it.
fn second() -> impl Strategy<Value = i64> {
    (0..18i64, -1..2i64).prop_map(|(n, s)| (n * 300 + s).max(0))
}

fn happening() -> impl Strategy<Value = Happening> {
    let begin = prop::option::weighted(0.4, prop::sample::select(vec![-1, 0, 1, 299, 300, 900, 3_600]));
    let ask = (0..6usize, 0..3usize, 0..PREFIXES.len(), prop::sample::select(vec![15, 20, 30]), begin);
    let duty = prop::sample::select(vec![None, Some(Duty::Producer), Some(Duty::Processor), Some(Duty::Auditor)]);
    let fault = prop::sample::select(vec![Fault::Refused, Fault::Lost, Fault::Dies, Fault::DiesAfter]);
    prop_oneof![
        8 => ask.prop_map(|(n, b, p, l, at)| Happening::Ask(n, b, p, l, at)),
        3 => (0..6usize).prop_map(Happening::Delete),
        2 => (0..3usize, duty).prop_map(|(b, d)| Happening::Duty(b, d)),
        3 => fault.prop_map(Happening::Strike),
        2 => prop::sample::select(vec![1, 2, 300, 900, 901, 4_000]).prop_map(Happening::Down),
        1 => Just(Happening::Save),
        1 => Just(Happening::Restore),
    ]
}

/// `team-a/b<n>`: complete, with its key, and a duty of the role or none.
fn own_bucket(n: usize, duty: Option<Duty>) -> SecureBucket {
    let access = duty.map(|duty| AccessEntry {
        name: "etl".into(),
        duty,
        service_account_ref: ServiceAccountRef { name: role_key().service_account },
        prefixes: if duty == Duty::Auditor { vec![] } else { vec![PrefixText("a/".into())] },
    });
    let mut object = secure_bucket(SecureBucketSpec {
        access: access.into_iter().collect(),
        grants: Some(GrantsSpec { approvals: Some(0), ..GrantsSpec::default() }),
        ..SecureBucketSpec::default()
    });
    object.metadata.name = Some(format!("b{n}"));
    object.metadata.uid = Some(format!("bucket-uid-b{n}"));
    let mut status = settled_status(&desired_of(&object));
    status.key_arn = Some(key_arn(n));
    status.conditions = conditions(&[
        securebucket::api::condition::Set::yes(types::KEY, "Configured", ""),
        securebucket::api::condition::Set::yes(types::POLICY, "Configured", ""),
    ]);
    object.status = Some(status);
    object
}

/// A world, and what is asked of it.
struct Tale {
    world: World,
    /// Key policy and bucket policy in AWS.
    policies: Vec<(Document, Document)>,
    /// The same as the spec wants them.
    wanted: Vec<(Document, Document)>,
    down_until: Option<i64>,
    /// The last passes came to rest, and nothing is in the way: what people asked for is done.
    at_rest: bool,
    saved: BTreeMap<String, DecryptGrant>,
    /// Uids of grants that were issued and are over: nothing brings them back.
    over: BTreeSet<String>,
    boundary: Document,
    asked: usize,
    readable: usize,
}

impl Tale {
    fn new(buckets: usize, lag: i64) -> Self {
        let mut world = World::new(lag);
        world.bucket = None;
        world.own = (0..buckets).map(|n| own_bucket(n, None)).collect();
        let policies: Vec<_> = world.own.iter().map(declared).collect();
        let wanted = policies.clone();
        let boundary = boundary(&install());
        let (saved, over) = Default::default();
        Self { world, policies, wanted, down_until: None, at_rest: false, saved, over, boundary, asked: 0, readable: 0 }
    }

    fn happen(&mut self, what: &Happening) {
        self.world.tell(format!("{what:?}"));
        self.at_rest = false;
        let now = self.world.now;
        let n = |n: &usize| n % self.world.own.len();
        match what {
            Happening::Ask(number, bucket, prefix, minutes, begin) => {
                let name = format!("g{number}");
                let mut grant = request(&name, &[PREFIXES[*prefix]], "15m");
                grant.spec.duration = DurationText(format!("{minutes}m"));
                grant.spec.bucket_ref.name = format!("b{}", n(bucket));
                grant.spec.bucket_ref.namespace = None;
                grant.spec.not_before = begin.map(|at| InstantText(format_instant(seconds(now + at))));
                grant.metadata.uid = Some(format!("uid-{number}-{now}"));
                self.world.grants.entry(name).or_insert(grant);
            }
            Happening::Delete(number) => {
                let Some(grant) = self.world.grants.get_mut(&format!("g{number}")) else { return };
                if grant.metadata.finalizers.as_ref().is_some_and(|f| !f.is_empty()) {
                    grant.metadata.deletion_timestamp.get_or_insert_with(deleted_at);
                } else {
                    self.world.grants.remove(&format!("g{number}"));
                }
            }
            Happening::Duty(bucket, duty) => {
                let n = n(bucket);
                self.world.own[n] = own_bucket(n, *duty);
                self.wanted[n] = declared(&self.world.own[n]);
            }
            Happening::Strike(fault) => self.world.strike = Some(*fault),
            Happening::Down(seconds) => self.down_until = Some(self.down_until.unwrap_or(now).max(now + seconds)),
            Happening::Save => self.saved = self.world.grants.clone(),
            Happening::Restore => {
                self.world.forget();
                let issued = |g: &DecryptGrant| {
                    g.status.as_ref().and_then(|s| s.kms_grant.as_ref()).is_some_and(|k| k.id.is_some())
                };
                // The name may be in use by a later request, which the restored state knows nothing of: left as it is.
                for (name, grant) in self.saved.iter().filter(|(_, g)| issued(g)) {
                    let same = self.world.grants.get(name).is_none_or(|g| g.metadata.uid == grant.metadata.uid);
                    if same {
                        self.world.grants.insert(name.clone(), grant.clone());
                    }
                }
            }
        }
    }

    /// The operator's passes, as often as something moves.
    fn passes(&mut self) {
        let now = self.world.now;
        if let Some(until) = self.down_until {
            if now < until {
                return;
            }
            self.down_until = None;
            self.world.forget();
        }
        self.policies.clone_from(&self.wanted);
        let mut armed = self.world.strike.is_some();
        for _ in 0..12 {
            let mut moved = false;
            moved |= self.world.role_pass();
            let names: Vec<String> = self.world.grants.keys().cloned().collect();
            for name in names {
                moved |= self.world.grant_pass(&name);
            }
            // A pass that was struck did less than it would have; the next ones do the rest.
            let struck = std::mem::replace(&mut armed, self.world.strike.is_some()) && !armed;
            if !moved && !struck {
                self.at_rest = !armed;
                break;
            }
        }
        for grant in self.world.grants.values() {
            let status = grant.status.clone().unwrap_or_default();
            if status.ended.is_some() && status.kms_grant.is_some_and(|k| k.id.is_some()) {
                self.over.insert(grant.metadata.uid.clone().unwrap());
            }
        }
    }

    /// All policies together: S3 for the object, KMS for its data key.
    fn reads(&self, n: usize, key: &str) -> bool {
        let Some(role) = &self.world.role else { return false };
        let status = self.world.own[n].status.clone().unwrap();
        let (bucket, kms_key) = (status.bucket_arn.unwrap(), status.key_arn.unwrap());
        let context = Context::default()
            .with("aws:PrincipalArn", &role.arn)
            .with("aws:CurrentTime", self.world.time())
            .with("aws:SecureTransport", true)
            .with("aws:PrincipalIsAWSService", false)
            .with("aws:FederatedProvider", install().oidc_provider())
            .with("aws:ResourceAccount", ACCOUNT);
        let usable: Vec<KmsGrant> = (self.world.alive())
            .filter(|g| g.role_id == role.role_id && g.key == kms_key)
            .map(|_| KmsGrant { grantee: role.arn.clone(), operations: ["Decrypt".to_owned()].into() })
            .collect();
        let (key_policy, bucket_policy) = &self.policies[n];
        let judge = |action: &str, resource: String, context: Context, policy: &Document| {
            let (principal, action) = (role.arn.clone(), action.to_owned());
            let request = Request { principal, action, resource, resource_account: ACCOUNT.into(), context };
            let policies = Policies {
                identity: role.document.iter().collect(),
                boundary: Some(&self.boundary),
                resource: Some(policy),
                grants: if request.action.starts_with("kms:") { usable.iter().collect() } else { Vec::new() },
            };
            evaluate(&request, &policies).outcome == Outcome::Allowed
        };
        let s3 = context.clone().with("s3:TlsVersion", "1.3").with("s3:authType", "REST-HEADER");
        let kms =
            context.with("kms:ViaService", install().place.via_s3()).with("kms:EncryptionContext:aws:s3:arn", &bucket);
        judge("s3:GetObject", format!("{bucket}/{key}"), s3, bucket_policy)
            && judge("kms:Decrypt", kms_key, kms, key_policy)
    }

    /// Windows of grants on a bucket that cover a key, by what status says.
    fn live<'a>(&'a self, n: usize, key: &'a str) -> impl Iterator<Item = &'a DecryptGrant> {
        let name = format!("b{n}");
        self.world.grants.values().filter(move |g| {
            let status = g.status.clone().unwrap_or_default();
            let instant = |text: &Option<String>| text.as_deref().and_then(parse_instant);
            let open = instant(&status.activated_at).is_some_and(|at| at <= self.world.time())
                && instant(&status.expires_at).is_some_and(|at| self.world.time() < at);
            let prefixes: Vec<&str> = g.spec.prefixes.iter().map(|p| p.0.as_str()).collect();
            let covers = Prefixes::parse(&prefixes).unwrap().iter().any(|p| p == "*" || key.starts_with(p));
            g.spec.bucket_ref.name == name && open && covers
        })
    }

    /// Asks for every key of every bucket.
    fn ask(&mut self) {
        for n in 0..self.world.own.len() {
            let duty = self.world.own[n].spec.access.first().map(|a| a.duty);
            // A duty that was taken away while nobody was there to do it.
            let document = self.world.role.as_ref().and_then(|r| r.document.as_ref());
            let left =
                !self.at_rest && document.is_some_and(|d| d.statements.iter().any(|s| s.sid.starts_with("Process")));
            for key in KEYS {
                self.asked += 1;
                let reads = self.reads(n, key);
                self.readable += usize::from(reads);
                let processes = key.starts_with("a/") && (duty == Some(Duty::Processor) || left);
                let live: Vec<&DecryptGrant> = self.live(n, key).collect();
                let granted = live.iter().any(|g| {
                    let status = g.status.clone().unwrap_or_default();
                    let done = status.ended.is_some() || g.metadata.deletion_timestamp.is_some();
                    let gone = status.removal.is_some() || self.over.contains(g.metadata.uid.as_ref().unwrap());
                    !(gone || done && self.at_rest)
                });
                assert!(!reads || processes || granted, "b{n}/{key} is read, and nothing lives: {:?}", self.world);
                let due = live.iter().any(|g| {
                    let status = g.status.clone().unwrap_or_default();
                    let again = self.over.contains(g.metadata.uid.as_ref().unwrap());
                    is_true(&status.conditions, types::ACTIVE) && g.metadata.deletion_timestamp.is_none() && !again
                });
                assert!(reads || !due, "b{n}/{key} is not read, although a grant is active: {:?}", self.world);
                let due = duty == Some(Duty::Processor) && key.starts_with("a/") && self.at_rest;
                let ending = self.world.grants.values().any(|g| {
                    let status = g.status.clone().unwrap_or_default();
                    g.spec.bucket_ref.name == format!("b{n}") && status.expires_at.is_some() && status.removal.is_none()
                });
                assert!(reads || !due || ending, "b{n}/{key} is not read by its Processor: {:?}", self.world);
            }
        }
    }
}

fn declared(bucket: &SecureBucket) -> (Document, Document) {
    let desired = desired_of(bucket);
    let key = bucket.status.as_ref().unwrap().key_arn.clone().unwrap();
    (declared_key_policy(&desired), declared_bucket_policy(&desired, &key))
}

/// Plays a story, second by second where something may change; asks before and after the passes of each.
fn play(tale: &mut Tale, story: &[(i64, Happening)], until: i64) {
    let around = |set: &mut BTreeSet<i64>, at: i64| set.extend([at - 1, at, at + 1]);
    let mut instants = BTreeSet::from([until]);
    let mut scheduled: BTreeMap<i64, Vec<&Happening>> = BTreeMap::new();
    for (at, what) in story {
        around(&mut instants, *at);
        scheduled.entry(*at).or_default().push(what);
        if let Happening::Down(seconds) = what {
            around(&mut instants, at + seconds);
        }
    }
    while let Some(now) = instants.pop_first() {
        if now > until {
            break;
        }
        if now < 0 {
            continue;
        }
        tale.world.now = now;
        // Time alone: what is ended by its date is ended before anybody moves.
        tale.at_rest = false;
        tale.ask();
        for what in scheduled.remove(&now).unwrap_or_default() {
            tale.happen(what);
        }
        let before = tale.world.story.len();
        tale.passes();
        tale.ask();
        if tale.world.story.len() != before {
            // What is waited for: propagation, a new role, lists, evidence; or simply another try.
            instants.extend([1, 5, 15, 16, 60, 75, 76, 600, 616].map(|wait| now + wait));
        }
        for grant in tale.world.grants.values() {
            let status = grant.status.clone().unwrap_or_default();
            let begin = grant.spec.not_before.as_ref().map(|at| at.0.clone());
            for text in [begin, status.expires_at, status.usable_by, status.activated_at].into_iter().flatten() {
                let at = parse_instant(&text).unwrap().as_second() - NOON;
                instants.extend([at - 1, at, at + 1].into_iter().filter(|t| *t > now));
            }
        }
    }
}

proptest! {
    #![proptest_config(config(8))]

    #[test]
    fn whoever_reads_reads_within_a_live_window(
        buckets in 1..4usize,
        lag in prop::sample::select(vec![0, 0, 40]),
        story in prop::collection::vec((second(), happening()), 4..24),
    ) {
        let mut tale = Tale::new(buckets, lag);
        play(&mut tale, &story, 12_000);
        // In the end all is over: what is left is what the duties say.
        tale.world.strike = None;
        tale.down_until = None;
        for later in [12_000, 12_700, 13_400, 14_100] {
            tale.world.now = later;
            tale.passes();
        }
        tale.at_rest = true;
        tale.ask();
        for (name, grant) in &tale.world.grants {
            let status = grant.status.clone().unwrap_or_default();
            prop_assert!(status.expires_at.is_none() || status.removal.is_some(), "{name} is not removed: {:?}", tale.world);
        }
        prop_assert_eq!(tale.world.alive().count(), 0, "a KMS grant is left: {:?}", tale.world);
    }
}

/// The property has something to say: stories like these are read in, and refused.
#[test]
fn the_stories_are_about_something() {
    let mut tale = Tale::new(2, 0);
    let ask = |n, bucket, prefix, begin| Happening::Ask(n, bucket, prefix, 15, begin);
    let story = [
        (0, ask(0, 0, 0, None)),
        (0, ask(1, 0, 1, Some(300))),
        (300, Happening::Save),
        (400, Happening::Delete(0)),
        (900, ask(2, 1, 3, None)),
        (1_000, Happening::Down(3_000)),
        (3_999, Happening::Restore),
    ];
    play(&mut tale, &story, 6_000);
    assert!(tale.readable > 30 && tale.asked > tale.readable * 2, "{} of {}", tale.readable, tale.asked);
}
