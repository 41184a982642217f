//! The status of a SecureBucket after a pass, as kstatus and as people read it.

use securebucket::api::condition::{Set, find, reason, types, update};
use securebucket::api::secure_bucket::{Duty, DutyStatus, SecureBucket, SecureBucketSpec};
use securebucket::aws::calls::Call;
use securebucket::aws::error::{AwsError, AwsErrorKind};
use securebucket::bucket::action::{Action, Facet};
use securebucket::bucket::desired::{Desired, Invalid};
use securebucket::bucket::lockdown::{Looks, turn};
use securebucket::bucket::plan::{Blocked, Plan, Restriction};
use securebucket::bucket::status::{Pass, first_visit, invalid, summarise};
use securebucket::role::state::Problem;

use crate::fixtures::{deleted_at, desired_of, failure, install, secure_bucket, settled_status};
use crate::grants::seconds;
use crate::kstatus::{Kstatus, of_bucket};

/// What a pass came to. At first all is as declared.
struct End {
    object: SecureBucket,
    plan: Plan,
    failures: Vec<(Facet, AwsError)>,
    duties: Vec<(DutyStatus, Option<Problem>)>,
    exists: bool,
    releasing: Option<String>,
}

impl End {
    fn new() -> Self {
        Self {
            object: secure_bucket(SecureBucketSpec::default()),
            plan: Plan { owns_bucket: true, ..Plan::default() },
            failures: Vec::new(),
            duties: Vec::new(),
            exists: true,
            releasing: None,
        }
    }

    fn desired(&self) -> Desired {
        desired_of(&self.object)
    }

    fn block(&mut self, reason: &'static str) {
        self.plan.blocked.push(Blocked { reason, message: "in the way".into() });
    }

    fn fail(&mut self, facet: Facet, kind: AwsErrorKind) {
        self.failures.push((facet, failure(Call::PutBucketPolicy, kind)));
    }

    fn duty(&mut self, problem: Option<Problem>) {
        let state = problem.as_ref().map_or("InForce".into(), |p| p.reason.clone());
        let status = DutyStatus {
            name: "etl-duty".into(),
            duty: Duty::Processor,
            service_account: "etl".into(),
            service_account_uid: None,
            role_arn: String::new(),
            state,
            workload_bound: None,
        };
        self.duties.push((status, problem));
    }

    /// The object with the status of this pass.
    fn written(mut self, at: i64) -> SecureBucket {
        let desired = self.desired();
        let pass = Pass {
            desired: &desired,
            plan: &self.plan,
            failures: &self.failures,
            duties: self.duties.clone(),
            access: Default::default(),
            active_grants: 0,
            pending: (Vec::new(), 0),
            exists: self.exists,
            releasing: self.releasing.clone(),
            obeyed: None,
            lockdown: turn(&self.object, Looks::default(), seconds(at)),
        };
        self.object.status = Some(summarise(&self.object, &pass, &install(), seconds(at)));
        self.object
    }
}

/// Name, what the pass came to, kstatus, reason of Ready, and conditions of pieces that are not simply True.
type Row = (&'static str, fn(&mut End), Kstatus, &'static str, &'static [&'static str]);

fn pieces(object: &SecureBucket) -> Vec<String> {
    let summary = [types::READY, types::RECONCILING, types::STALLED];
    let conditions = object.status.iter().flat_map(|s| &s.conditions);
    let odd =
        conditions.filter(|c| !summary.contains(&c.type_.as_str()) && (c.status != "True" || c.reason != "Configured"));
    odd.map(|c| format!("{} {} {}", c.type_, c.status, c.reason)).collect()
}

#[test]
fn what_a_pass_came_to_is_what_is_said() {
    let rows: &[Row] = &[
        ("all as declared", |_| {}, Kstatus::Current, "Reconciled", &[]),
        (
            "something is still to do",
            |e| e.plan.actions.push(Action::BlockPublicAccess),
            Kstatus::InProgress,
            "Progressing",
            &["PublicAccessBlocked False Progressing"],
        ),
        // Nothing is known of pieces of a bucket that is not there.
        (
            "the bucket is still to be made",
            |e| {
                e.exists = false;
                e.plan.actions.push(Action::CreateBucket { tags: Default::default() });
            },
            Kstatus::InProgress,
            "Progressing",
            &[
                "BucketReady False Progressing",
                "EncryptionReady Unknown Pending",
                "PublicAccessBlocked Unknown Pending",
                "VersioningReady Unknown Pending",
                "LifecycleReady Unknown Pending",
                "PolicyReady Unknown Pending",
            ],
        ),
        (
            "a key was announced",
            |e| {
                e.exists = false;
                e.plan.waiting_for_key = true;
            },
            Kstatus::InProgress,
            "Progressing",
            &[
                "BucketReady Unknown Pending",
                "EncryptionReady Unknown Pending",
                "PublicAccessBlocked Unknown Pending",
                "VersioningReady Unknown Pending",
                "LifecycleReady Unknown Pending",
                "PolicyReady Unknown Pending",
            ],
        ),
        (
            "the key is disabled",
            |e| e.block("KeyDisabled"),
            Kstatus::Failed,
            "KeyDisabled",
            &["KeyReady False KeyDisabled"],
        ),
        // What needs somebody is said before what passes.
        (
            "blocked and failing",
            |e| {
                e.fail(Facet::Lifecycle, AwsErrorKind::Throttled);
                e.block("KeyGone");
            },
            Kstatus::Failed,
            "KeyGone",
            &["KeyReady False KeyGone", "LifecycleReady False Throttled"],
        ),
        (
            "refused",
            |e| e.fail(Facet::BucketPolicy, AwsErrorKind::AccessDenied),
            Kstatus::Failed,
            "AccessDenied",
            &["PolicyReady False AccessDenied"],
        ),
        (
            "throttled, and refused elsewhere",
            |e| {
                e.fail(Facet::Versioning, AwsErrorKind::Throttled);
                e.fail(Facet::Encryption, AwsErrorKind::AccessDenied);
            },
            Kstatus::Failed,
            "AccessDenied",
            &["EncryptionReady False AccessDenied", "VersioningReady False Throttled"],
        ),
        (
            "AWS does not answer",
            |e| {
                e.plan
                    .unreadable
                    .push((Facet::Rotation, failure(Call::GetKeyRotationStatus, AwsErrorKind::Unavailable)))
            },
            Kstatus::InProgress,
            "AwsUnavailable",
            &["KeyReady False AwsUnavailable"],
        ),
        // Stricter than declared is safe: the piece is ready, the whole is not as declared.
        (
            "somebody tightened the policy",
            |e| e.plan.restricted.push(Restriction { facet: Facet::BucketPolicy, message: "a Deny".into() }),
            Kstatus::InProgress,
            "Restricted",
            &["Restricted True Restricted", "PolicyReady True Restricted"],
        ),
        ("duties in force", |e| e.duty(None), Kstatus::Current, "Reconciled", &[]),
        (
            "a duty is being written",
            |e| e.duty(Some(Problem::passing("Progressing", "soon"))),
            Kstatus::InProgress,
            "Progressing",
            &["RolesReady False Progressing"],
        ),
        (
            "a duty without its ServiceAccount",
            |e| e.duty(Some(Problem::stalled("ServiceAccountNotFound", "create it"))),
            Kstatus::Failed,
            "ServiceAccountNotFound",
            &["RolesReady False ServiceAccountNotFound"],
        ),
        (
            "being deleted",
            |e| {
                e.object.metadata.deletion_timestamp = Some(deleted_at());
                e.releasing = Some("waiting until the role is out".into());
            },
            Kstatus::Terminating,
            "Deleting",
            &[],
        ),
    ];
    for (name, change, kstatus, ready, odd) in rows {
        let mut end = End::new();
        change(&mut end);
        let object = end.written(10);
        let conditions = &object.status.as_ref().unwrap().conditions;
        assert_eq!(
            (of_bucket(&object), reason(conditions, types::READY)),
            (*kstatus, *ready),
            "{name}: {conditions:?}"
        );
        assert_eq!(pieces(&object), *odd, "{name}");
        assert!(conditions.iter().all(|c| c.observed_generation == Some(1) && !c.reason.is_empty()), "{name}");
    }
}

#[test]
fn before_the_first_look_nothing_reads_as_finished() {
    let mut object = secure_bucket(SecureBucketSpec::default());
    object.status = Some(first_visit(&object, seconds(0)));
    assert_eq!(of_bucket(&object), Kstatus::InProgress);
    assert_eq!(pieces(&object).len(), 8, "every piece says that it was not looked at");
}

#[test]
fn a_spec_that_cannot_be_carried_out_is_failed_and_forgets_nothing() {
    let mut object = secure_bucket(SecureBucketSpec::default());
    let before = settled_status(&desired_of(&object));
    object.status = Some(before.clone());
    object.metadata.generation = Some(2);
    let problem = Invalid { field: "spec.region".into(), problem: "no".into() };
    let after = invalid(&object, &problem, seconds(0));
    assert_eq!((&after.key_arn, &after.bucket_arn), (&before.key_arn, &before.bucket_arn));
    object.status = Some(after);
    assert_eq!(of_bucket(&object), Kstatus::Failed);
    let conditions = &object.status.as_ref().unwrap().conditions;
    assert!(find(conditions, types::STALLED).unwrap().message.starts_with("spec.region: "));
}

/// The ids of what exists are written once, and only when it was seen and is ours.
#[test]
fn ids_are_written_when_seen_and_kept() {
    let unseen = End { exists: false, ..End::new() }.written(10).status.unwrap();
    assert_eq!((unseen.bucket_arn, unseen.provisioned_at), (None, None));
    let mut failing = End::new();
    failing.fail(Facet::Versioning, AwsErrorKind::Throttled);
    let failing = failing.written(10).status.unwrap();
    assert!(
        failing.bucket_arn.is_some() && failing.provisioned_at.is_none(),
        "before all is complete nobody gets access"
    );
    let first = End::new().written(10);
    let at = first.status.as_ref().unwrap().provisioned_at.clone();
    assert_eq!(at.as_deref(), Some("2026-11-24T12:00:10Z"));
    let later = End { object: first, exists: false, ..End::new() }.written(900).status.unwrap();
    assert_eq!((later.provisioned_at, later.bucket_arn.is_some()), (at, true));
}

/// User tags that may still be on the bucket are remembered until a pass without failures.
#[test]
fn tags_that_left_the_spec_are_remembered_until_they_are_gone() {
    let mut end = End::new();
    let mut status = settled_status(&end.desired());
    status.managed_tags = vec!["old".into()];
    end.object.status = Some(status);
    end.object.spec.tags = [("new".to_owned(), securebucket::api::secure_bucket::BoundedText("x".into()))].into();
    let mut failing = End { object: end.object.clone(), ..End::new() };
    failing.fail(Facet::BucketTags, AwsErrorKind::Throttled);
    assert_eq!(failing.written(10).status.unwrap().managed_tags, ["new", "old"]);
    assert_eq!(end.written(10).status.unwrap().managed_tags, ["new"]);
}

/// The time of a transition is that of the change of status, and conditions of other writers stay.
#[test]
fn transition_times() {
    let mut broken = End::new();
    broken.block("KeyDisabled");
    let broken = broken.written(10);
    let at = |object: &SecureBucket, type_| {
        find(&object.status.as_ref().unwrap().conditions, type_).map(|c| c.last_transition_time.0.as_second())
    };
    let (ready, policy) = (at(&broken, types::READY), at(&broken, types::POLICY));
    let mut other = End { object: broken.clone(), ..End::new() };
    other.block("KeyGone");
    let other = other.written(500);
    assert_eq!(at(&other, types::READY), ready, "another reason, the same status");
    let mended = End { object: other, ..End::new() }.written(900);
    assert_ne!(at(&mended, types::READY), ready);
    assert_eq!(at(&mended, types::POLICY), policy);
    assert_eq!(at(&mended, types::STALLED), None, "present only while True");
    let theirs = update(&[], &[Set::yes("Audited", "ByHand", "")], 1, seconds(0));
    let mut seen = End { object: mended, ..End::new() };
    seen.object.status.as_mut().unwrap().conditions.extend(theirs);
    let seen = seen.written(1_000);
    assert!(find(&seen.status.unwrap().conditions, "Audited").is_some());
}
