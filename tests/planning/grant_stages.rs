//! A DecryptGrant at every stage of its life, with what is known of it: where the rows of the tables start.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use securebucket::api::GrantReview;
use securebucket::api::condition::{Set, types};
use securebucket::api::decrypt_grant::{
    DecryptGrant, DecryptGrantStatus, EndReason, EndStatus, KmsGrantStatus, RemovalStatus,
};
use securebucket::api::secure_bucket::SecureBucket;
use securebucket::aws::error::Seen;
use securebucket::domain::enforcement::Enforcement;
use securebucket::domain::identity::kms_grant_name;
use securebucket::domain::policy::Document;
use securebucket::domain::time::format_instant;
use securebucket::grant::begin::Skew;
use securebucket::grant::decide::decide;
use securebucket::grant::facts::{Facts, Looked, Step};
use securebucket::role::desired::window;
use securebucket::role::document::{GrantInput, Inputs, build};
use securebucket::role::observed::ObservedGrant;
use securebucket::role::state::RoleState;

use crate::fixtures::{deleted_at, install};
use crate::grants::{SA_UID, bucket, conditions, held, request, seconds, terms};

/// What a grant has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    Requested,
    Held,
    Resolved,
    Approved,
    /// The clock runs from noon, for 4 h.
    Activated,
    /// The role's policy has its window, known since noon.
    Written,
    Named,
    /// CreateGrant was answered, or not.
    Issued,
    /// Its id is in status; usable from second 75 on.
    Recorded,
    /// Ended by its holder at second 600: what is in AWS is as it was.
    Ended,
    /// The window is out of the role's policy.
    Narrowed,
    /// The KMS grant is gone from the list.
    Revoked,
    Removed,
}

pub const ALL: [Stage; 13] = [
    Stage::Requested,
    Stage::Held,
    Stage::Resolved,
    Stage::Approved,
    Stage::Activated,
    Stage::Written,
    Stage::Named,
    Stage::Issued,
    Stage::Recorded,
    Stage::Ended,
    Stage::Narrowed,
    Stage::Revoked,
    Stage::Removed,
];

/// All that a decision is made from.
pub struct Known {
    pub grant: DecryptGrant,
    pub bucket: Option<SecureBucket>,
    pub bucket_unreadable: Option<&'static str>,
    pub account: Option<&'static str>,
    pub role: Option<RoleState>,
    pub looked: Option<Looked>,
    pub just_ended: bool,
    pub others: Vec<GrantInput>,
    pub reviews: Option<Vec<Arc<GrantReview>>>,
    pub enforcement: Enforcement,
    pub older: Vec<String>,
    pub extended: Option<DecryptGrant>,
    pub broken: Option<Vec<DecryptGrant>>,
    pub now: Timestamp,
    pub skew: Skew,
}

pub fn kms_grant(known: &Known) -> ObservedGrant {
    ObservedGrant {
        id: "kms-1".into(),
        name: known.status().kms_grant.map(|k| k.name),
        grantee: install().role_arn("team-a", "etl"),
        operations: vec!["Decrypt".into(), "DescribeKey".into()],
    }
}

impl Known {
    pub fn at(stage: Stage) -> Self {
        let bucket = bucket(0);
        let mut known = Self {
            grant: request("g", &["a/"], "4h"),
            bucket: Some(bucket.clone()),
            bucket_unreadable: None,
            account: Some(SA_UID),
            role: None,
            looked: None,
            just_ended: false,
            others: Vec::new(),
            reviews: Some(Vec::new()),
            enforcement: Enforcement::elsewhere(),
            older: Vec::new(),
            extended: None,
            broken: None,
            now: seconds(0),
            skew: Skew { aws: Some(SignedDuration::ZERO), kubernetes: Some(SignedDuration::ZERO) },
        };
        let reached = |s| stage >= s;
        if reached(Stage::Held) {
            known.grant = held(known.grant);
        }
        let resolved = reached(Stage::Resolved).then(|| terms(&known.grant, &bucket));
        let mut status = DecryptGrantStatus { resolved, ..DecryptGrantStatus::default() };
        if reached(Stage::Approved) {
            status.conditions = conditions(&[Set::yes(types::APPROVED, "PolicyApproved", "")]);
        }
        if reached(Stage::Activated) {
            status.activated_at = Some(format_instant(seconds(0)));
            status.expires_at = Some(format_instant(seconds(4 * 3_600)));
            known.looked = Some(Looked { role: Seen::Absent, kms: Seen::Value(Vec::new()) });
        }
        known.grant.status = Some(status.clone());
        if reached(Stage::Written) {
            known.written();
            known.now = seconds(60);
        }
        if reached(Stage::Named) {
            let hash = &status.resolved.as_ref().unwrap().terms_hash;
            let name = kms_grant_name(&install().cluster, "uid-g", hash, "AROA1");
            known.change(|s| s.kms_grant = Some(KmsGrantStatus { name, role_id: "AROA1".into(), id: None }));
        }
        if reached(Stage::Issued) {
            known.listed(true);
        }
        if reached(Stage::Recorded) {
            known.change(|s| {
                s.kms_grant.as_mut().unwrap().id = Some("kms-1".into());
                s.usable_by = Some(format_instant(seconds(75)));
            });
            known.now = seconds(75);
        }
        known.ending(stage);
        known
    }

    fn ending(&mut self, stage: Stage) {
        if stage >= Stage::Ended {
            let end = EndStatus {
                reason: EndReason::HandedBack,
                at: format_instant(seconds(600)),
                message: "it ended".into(),
                review: None,
                rule: None,
            };
            self.change(|s| s.ended = Some(end));
            self.now = seconds(601);
        }
        if stage >= Stage::Narrowed {
            self.document(Vec::new());
        }
        if stage >= Stage::Revoked {
            self.listed(false);
        }
        if stage >= Stage::Removed {
            let removal = RemovalStatus { verified_at: format_instant(seconds(602)), evidence: "absent".into() };
            self.change(|s| s.removal = Some(removal));
        }
    }

    pub fn status(&self) -> DecryptGrantStatus {
        self.grant.status.clone().unwrap_or_default()
    }

    pub fn change(&mut self, change: impl FnOnce(&mut DecryptGrantStatus)) {
        change(self.grant.status.as_mut().unwrap());
    }

    /// The window of this grant.
    pub fn input(&self) -> GrantInput {
        window(&self.grant, &install()).unwrap().0
    }

    /// The role's policy has the window of the grant, and its writer has seen it so since noon.
    pub fn written(&mut self) {
        self.document(vec![self.input()]);
    }

    /// The role's policy has these windows.
    pub fn document(&mut self, grants: Vec<GrantInput>) {
        let built = build(&Inputs { grants, ..Inputs::default() });
        let document = (!built.statements.is_empty()).then(|| Document::new(built.statements).certified());
        let kms = self.looked.as_ref().map_or(Seen::Value(Vec::new()), |l| l.kms.clone());
        self.looked = Some(Looked { role: Seen::Value(("AROA1".into(), document.clone())), kms });
        self.role = Some(RoleState {
            role_id: Some("AROA1".into()),
            created: Some(seconds(0)),
            document_since: document.as_ref().map(|_| seconds(0)),
            document,
            ..RoleState::default()
        });
    }

    /// `ListGrants` shows the KMS grant, or does not.
    pub fn listed(&mut self, shown: bool) {
        let all = if shown { vec![kms_grant(self)] } else { Vec::new() };
        self.looked().kms = Seen::Value(all);
    }

    pub fn looked(&mut self) -> &mut Looked {
        self.looked.as_mut().unwrap()
    }

    pub fn role(&mut self) -> &mut RoleState {
        self.role.as_mut().unwrap()
    }

    pub fn bucket(&mut self) -> &mut SecureBucket {
        self.bucket.as_mut().unwrap()
    }

    /// Asks to begin so many seconds after noon; what was resolved was resolved so.
    pub fn not_before(&mut self, from: i64) {
        self.grant = crate::grants::scheduled(self.grant.clone(), from);
        let resolved = self.status().resolved.map(|_| terms(&self.grant, &bucket(0)));
        if let Some(status) = self.grant.status.as_mut() {
            status.resolved = resolved;
        }
    }

    pub fn delete(&mut self) {
        self.grant.metadata.deletion_timestamp = Some(deleted_at());
    }

    pub fn step(&self) -> Step {
        self.with_facts(|facts| decide(facts, &install()))
    }

    pub fn with_facts<T>(&self, judge: impl FnOnce(&Facts<'_>) -> T) -> T {
        let facts = Facts {
            grant: &self.grant,
            bucket: self.bucket.as_ref(),
            bucket_unreadable: self.bucket_unreadable,
            service_account_uid: self.account,
            role: self.role.as_ref(),
            looked: self.looked.as_ref(),
            just_ended: self.just_ended,
            others: &self.others,
            reviews: self.reviews.as_deref(),
            enforcement: &self.enforcement,
            older: &self.older,
            extended: self.extended.as_ref(),
            broken: self.broken.as_deref(),
            now: self.now,
            skew: self.skew,
        };
        judge(&facts)
    }

    /// The step in a word or two.
    pub fn word(&self) -> String {
        match self.step() {
            Step::AddFinalizer => "add finalizer".into(),
            Step::Resolve(_) => "resolve".into(),
            Step::Approve(_) => "approve".into(),
            Step::Look => "look".into(),
            Step::ReadReviews => "read reviews".into(),
            Step::ReadBroken => "read broken".into(),
            Step::RecordReview(review) => format!("reviewed {}", review.reviewer),
            Step::Activate(_) => "activate".into(),
            Step::Name { .. } => "name".into(),
            Step::Issue => "issue".into(),
            Step::RecordIssued { id } => format!("record {id}"),
            Step::End { reason, .. } => format!("end {reason:?}"),
            Step::Revoke { ids } => format!("revoke {}", ids.join(" ")),
            Step::RecordRemoval { .. } => "record removal".into(),
            Step::RemoveFinalizer => "remove finalizer".into(),
            Step::Forget => "forget".into(),
            Step::Settled => "settled".into(),
            Step::Wait { problem, until } => {
                let kind = if problem.stalled { "stalled" } else { "wait" };
                let until = until.map(|at| format!(" until {}", at.duration_since(seconds(0)).as_secs()));
                format!("{kind} {}{}", problem.reason, until.unwrap_or_default())
            }
        }
    }
}

/// A row: its name, where it starts, what is changed, the step.
pub type Row = (&'static str, Stage, fn(&mut Known), &'static str);

/// Fails with every row that is wrong.
pub fn check(rows: &[Row]) {
    let mut wrong = String::new();
    for (name, stage, change, expected) in rows {
        let mut known = Known::at(*stage);
        change(&mut known);
        let found = known.word();
        if found != *expected {
            wrong.push_str(&format!("{name} ({stage:?}): wanted {expected:?}, found {found:?}\n"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
