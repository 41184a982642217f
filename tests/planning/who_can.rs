//! `status.access`: who can decrypt, by what was read back of KMS grants and of roles' policies.

use jiff::Timestamp;
use securebucket::api::condition::{Set, types, update};
use securebucket::api::decrypt_grant::{DecryptGrant, DecryptGrantStatus, EndReason, EndStatus, KmsGrantStatus};
use securebucket::api::secure_bucket::{AccessStatus, Duty, SecureBucket, Through};
use securebucket::bucket::foreign::{KeyGrant, Whose};
use securebucket::bucket::plan::{Blocked, Plan};
use securebucket::bucket::who::{Facts, Holder, View, who};
use securebucket::domain::policy::Document;
use securebucket::domain::prefix::Prefixes;
use securebucket::domain::time::format_instant;
use securebucket::role::desired::{bucket_ref, window};
use securebucket::role::document::{DutyInput, Inputs, build};
use securebucket::role::observed::ObservedGrant;
use securebucket::role::state::RoleKey;

use crate::fixtures::{NAMESPACE, install};
use crate::grants::{bucket, request, seconds, terms};

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;

/// A grant of `team-a/etl` that began `from` seconds after noon and was issued.
pub fn running(name: &str, prefixes: &[&str], duration: &str, from: i64) -> DecryptGrant {
    let bucket = bucket(0);
    let mut grant = request(name, prefixes, duration);
    let resolved = terms(&grant, &bucket);
    let approved = Set::yes(types::APPROVED, "PolicyApproved", "by its terms");
    grant.status = Some(DecryptGrantStatus {
        conditions: update(&[], &[approved], 1, seconds(from)),
        activated_at: Some(format_instant(seconds(from))),
        expires_at: Some(format_instant(seconds(from + resolved.duration_seconds))),
        kms_grant: Some(KmsGrantStatus { name: name.into(), role_id: "AROA1".into(), id: Some(format!("kms-{name}")) }),
        resolved: Some(resolved),
        ..DecryptGrantStatus::default()
    });
    grant
}

/// The same, ended at `at`.
pub fn ended(mut grant: DecryptGrant, at: i64) -> DecryptGrant {
    let end = EndStatus {
        reason: EndReason::HandedBack,
        at: format_instant(seconds(at)),
        message: "over".into(),
        review: None,
        rule: None,
    };
    grant.status.as_mut().unwrap().ended = Some(end);
    grant
}

/// What is known. At first: a grant `g` on `in/`, ten minutes old, issued and in the role's policy; a Processor `proc` on `work/`.
struct Known {
    bucket: SecureBucket,
    plan: Plan,
    grants: Vec<DecryptGrant>,
    views: Vec<(&'static str, View)>,
    before: Vec<AccessStatus>,
    now: Timestamp,
}

fn kms(uid: &str) -> KeyGrant {
    let seen = ObservedGrant {
        id: format!("kms-{uid}"),
        name: None,
        grantee: String::new(),
        operations: vec!["Decrypt".into(), "DescribeKey".into()],
    };
    KeyGrant { seen, whose: Whose::Ours(uid.into()) }
}

fn foreign(id: &str, operation: &str) -> KeyGrant {
    let seen = ObservedGrant {
        id: id.into(),
        name: None,
        grantee: "arn:aws:iam::111122223333:role/Admin".into(),
        operations: vec![operation.into()],
    };
    KeyGrant { seen, whose: Whose::Foreign }
}

/// The document of `etl`'s role with these grants in it.
fn reads(grants: &[DecryptGrant]) -> View {
    let grants = grants.iter().map(|g| window(g, &install()).unwrap().0).collect();
    let inputs = Inputs { grants, ..Inputs::default() };
    View::Seen(Some(Document::new(build(&inputs).statements)))
}

fn holds(duty: Duty) -> View {
    let prefixes = (duty != Duty::Auditor).then(|| Prefixes::parse(&["work/"]).unwrap());
    let duty = DutyInput {
        bucket: bucket_ref(&bucket(0), &install()).unwrap(),
        duty,
        prefixes,
        established: true,
        lock: None,
    };
    View::Seen(Some(Document::new(build(&Inputs { duties: vec![duty], ..Inputs::default() }).statements)))
}

impl Known {
    fn new() -> Self {
        let grants = vec![running("g", &["in/"], "4h", 0)];
        Self {
            bucket: bucket(0),
            plan: Plan { grants: Some(vec![kms("uid-g")]), ..Plan::default() },
            views: vec![("etl", reads(&grants)), ("proc", holds(Duty::Processor))],
            grants,
            before: Vec::new(),
            now: seconds(600),
        }
    }

    fn see(&mut self, account: &'static str, view: View) {
        self.views.retain(|(name, _)| *name != account);
        self.views.push((account, view));
    }

    fn list(&self) -> (Vec<AccessStatus>, usize) {
        let status = self.bucket.status.clone().unwrap();
        let document = |key: &RoleKey| {
            let found = self.views.iter().find(|(name, _)| *name == key.service_account);
            found.map_or(View::Seen(None), |(_, view)| view.clone())
        };
        // The bucket of these tests lives elsewhere than its readers; its duties are for accounts of its own namespace.
        let role = RoleKey { namespace: "data".into(), service_account: "proc".into() };
        let facts = Facts {
            plan: &self.plan,
            identity: status.identity.as_deref().unwrap(),
            bucket_arn: status.bucket_arn.as_deref().unwrap(),
            grants: &self.grants.iter().collect::<Vec<_>>(),
            holders: &[Holder { entry: "processing".into(), role }],
            document: &document,
            before: &self.before,
            now: self.now,
        };
        who(&facts, &install())
    }

    fn names(&self) -> Vec<String> {
        self.list().0.iter().map(|a| format!("{:?} {}", a.through.unwrap(), a.name)).collect()
    }
}

type Row = (&'static str, fn(&mut Known), &'static [&'static str]);

#[test]
fn who_is_listed() {
    let duty = "Duty processing";
    let both: &[&str] = &["Duty processing", "Grant team-a/g"];
    let rows: &[Row] = &[
        ("a duty and a grant", |_| {}, both),
        ("its KMS grant is gone", |k| k.plan.grants = Some(vec![]), &["Duty processing"]),
        ("its statement is out", |k| k.see("etl", View::Seen(None)), &["Duty processing"]),
        ("its time has passed", |k| k.now = seconds(4 * HOUR), &["Duty processing"]),
        // An end that is not carried out yet is none.
        ("ended, not removed", |k| k.grants[0] = ended(k.grants[0].clone(), 300), both),
        ("the duty is only to write", |k| k.see("proc", holds(Duty::Producer)), &["Grant team-a/g"]),
        ("the duty is only to audit", |k| k.see("proc", holds(Duty::Auditor)), &["Grant team-a/g"]),
        ("the duty is not written yet", |k| k.see("proc", View::Seen(None)), &["Grant team-a/g"]),
        (
            "somebody else gave access",
            |k| k.plan.grants.as_mut().unwrap().extend([foreign("x", "Decrypt"), foreign("y", "GenerateMac")]),
            &["Foreign x", "Duty processing", "Grant team-a/g"],
        ),
        (
            "the key is disabled",
            |k| k.plan.blocked = vec![Blocked { reason: "KeyDisabled", message: String::new() }],
            &[],
        ),
        // Not seen is not gone, and not new either.
        (
            "nothing can be seen, nothing was known",
            |k| {
                k.plan.grants = None;
                k.see("etl", View::Unknown);
                k.see("proc", View::Unknown);
            },
            &[],
        ),
        (
            "nothing can be seen, all was known",
            |k| {
                k.plan.grants.as_mut().unwrap().push(foreign("x", "Decrypt"));
                k.before = k.list().0;
                k.plan.grants = None;
                k.see("etl", View::Unknown);
                k.see("proc", View::Unknown);
            },
            &["Foreign x", "Duty processing", "Grant team-a/g"],
        ),
        (
            "nothing can be seen, its time has passed",
            |k| {
                k.before = k.list().0;
                k.plan.grants = None;
                k.now = seconds(4 * HOUR);
            },
            &["Duty processing"],
        ),
        (
            "terms that somebody has changed",
            |k| k.grants[0].status.as_mut().unwrap().resolved.as_mut().unwrap().prefixes = vec!["*".into()],
            &["Duty processing"],
        ),
    ];
    for (name, change, expected) in rows {
        let mut known = Known::new();
        change(&mut known);
        assert_eq!(known.names(), *expected, "{name}");
    }
    assert!(both.contains(&duty));
}

#[test]
fn what_is_said_of_each() {
    let mut known = Known::new();
    known.plan.grants.as_mut().unwrap().push(foreign("x", "Decrypt"));
    let (list, left_out) = known.list();
    assert_eq!(left_out, 0);
    let [alien, duty, grant] = list.as_slice() else { panic!("{list:?}") };
    assert_eq!((alien.principal.as_str(), alien.foreign_id()), ("arn:aws:iam::111122223333:role/Admin", Some("x")));
    assert_eq!((duty.prefixes.as_slice(), duty.until.as_ref()), (&["work/".to_owned()][..], None));
    assert_eq!((duty.agreed_by.as_deref(), duty.through), (Some("spec.access"), Some(Through::Duty)));
    assert_eq!(grant.principal, install().role_arn(NAMESPACE, "etl"));
    assert_eq!(grant.until.as_deref(), Some("2026-11-24T16:00:00Z"));
    assert_eq!(grant.agreed_by.as_deref(), Some("spec.grants.approvals: 0"));
    assert_eq!(grant.cumulative_30d.as_deref(), Some("4h"));
}

#[test]
fn nothing_changes_with_the_clock_alone() {
    let mut known = Known::new();
    let first = known.list();
    for now in [601, 2 * HOUR, 4 * HOUR - 1] {
        known.now = seconds(now);
        assert_eq!(known.list(), first, "{now}");
    }
}

#[test]
fn the_list_is_bounded_and_those_that_end_first_stay() {
    let mut known = Known::new();
    let grants: Vec<DecryptGrant> =
        (0..80).map(|n| running(&format!("g{n:02}"), &["in/"], "4h", -i64::from(n))).collect();
    known.plan.grants = Some(grants.iter().map(|g| kms(g.metadata.uid.as_deref().unwrap())).collect());
    // More than a role's policy could hold: each stands in one of its own here.
    let issued: Vec<_> = grants.iter().map(|g| window(g, &install()).unwrap().0).collect();
    let inputs = Inputs { grants: issued, ..Inputs::default() };
    known.see("etl", View::Seen(Some(Document::new(build(&inputs).statements))));
    known.grants = grants;
    let (list, left_out) = known.list();
    assert_eq!((list.len(), left_out), (64, 17));
    assert_eq!((list[0].name.as_str(), list[1].name.as_str()), ("processing", "team-a/g79"));
    assert!(list[1..].is_sorted_by_key(|a| a.until.clone()));
}

#[test]
fn hours_of_the_last_30_days() {
    // (windows as start and length in hours, ended after so many), hours.
    type Case = (&'static str, &'static [(i64, i64, Option<i64>)], &'static str);
    let rows: &[Case] = &[
        ("one", &[(0, 4, None)], "4h"),
        ("two apart", &[(-10, 4, None), (0, 4, None)], "8h"),
        ("two that overlap", &[(-2, 4, None), (0, 4, None)], "6h"),
        ("one within another", &[(-2, 12, None), (0, 4, None)], "12h"),
        ("one that ended early", &[(-10, 8, Some(2)), (0, 4, None)], "6h"),
        ("29 days ago", &[(-29 * 24, 4, None), (0, 4, None)], "8h"),
        ("30 days ago", &[(-30 * 24, 4, None), (0, 4, None)], "4h"),
    ];
    for (name, windows, expected) in rows {
        let mut known = Known::new();
        known.grants = windows
            .iter()
            .enumerate()
            .map(|(n, (from, hours, over))| {
                let name = if *from == 0 { "g".to_owned() } else { format!("old{n}") };
                let grant = running(&name, &["in/"], &format!("{hours}h"), from * HOUR);
                over.map_or(grant.clone(), |after| ended(grant, (from + after) * HOUR))
            })
            .collect();
        let list = known.list().0;
        assert_eq!(list[1].cumulative_30d.as_deref(), Some(*expected), "{name}");
    }
    // What ages out does so with the day, not with the second.
    let mut known = Known::new();
    known.grants.push(running("old", &["in/"], "4h", -29 * DAY));
    let sum = |known: &Known| known.list().0[1].cumulative_30d.clone().unwrap();
    let mut sums: Vec<String> = Vec::new();
    known.grants[0] = running("g", &["in/"], "12h", 6 * HOUR);
    known.see("etl", reads(&known.grants[..1]));
    for minute in 0..(11 * 60) {
        known.now = seconds(6 * HOUR + minute * 60);
        sums.push(sum(&known));
    }
    sums.dedup();
    assert_eq!(sums, ["16h", "12h"]);
}
