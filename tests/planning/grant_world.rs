//! A cluster with DecryptGrants, the role that they share, and KMS: what exists, what people do to it, and what is watched at every change.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use securebucket::api::GrantReview;
use securebucket::api::decrypt_grant::{DecryptGrant, DecryptGrantStatus};
use securebucket::api::secure_bucket::SecureBucket;
use securebucket::aws::error::Seen;
use securebucket::domain::drift::KEPT;
use securebucket::domain::policy::Document;
use securebucket::domain::prefix::Prefixes;
use securebucket::domain::time::parse_instant;
use securebucket::grant::agree::Agreement;
use securebucket::grant::facts::Looked;
use securebucket::grant::states::{follows, state};
use securebucket::grant::terms::named_by;
use securebucket::role::document::held_denies;
use securebucket::role::observed::ObservedGrant;
use securebucket::role::state::RoleState;

use crate::evaluator::{Context, Outcome, Policies, Request, evaluate};
use crate::fixtures::ACCOUNT;
use crate::grants::{SA_UID, bucket, seconds};
use crate::model::refusal;
use crate::operator::Fault;
use crate::role_model::Role;

/// A KMS grant.
#[derive(Clone, Debug)]
pub struct KmsGrant {
    pub id: String,
    pub name: String,
    /// ARN of the key.
    pub key: String,
    /// Unique id of the role: with another role under the name it gives nothing.
    pub role_id: String,
    /// Lists show it from then on.
    pub listed_from: i64,
    /// When it was revoked; lists go on showing it for a while.
    pub revoked: Option<i64>,
}

/// Something that people or time do.
#[derive(Clone, Debug)]
pub enum Event {
    Wait(i64),
    GrantPass(usize),
    RolePass,
    Create(usize),
    Delete(usize),
    /// Somebody strips the finalizer of a grant and deletes it.
    Strip(usize),
    BucketDeleting,
    BucketGone,
    /// The owner locks the bucket down.
    LockDown,
    /// The lifting of a lockdown has been read back.
    Lifted,
    /// Somebody disables the key, or enables it again, and the bucket's pass has seen it.
    KeyState(&'static str),
    Withdraw,
    ReplaceAccount,
    RemoveAccount,
    LoseRole,
    /// The role is deleted and made anew by somebody, without our marks.
    ReplaceRole,
    LoseKmsGrant(usize),
    /// A statement is taken out of the role's policy by hand.
    EditDocument(usize),
    BlindRole(bool),
    BlindKms(bool),
    Restart,
    /// The operator's next write has this fate.
    Strike(Fault),
}

#[derive(Clone)]
pub struct World {
    pub now: i64,
    /// How long KMS lists lag behind.
    pub lag: i64,
    pub bucket: Option<SecureBucket>,
    /// SecureBuckets of the role's own namespace.
    pub own: Vec<SecureBucket>,
    pub account: Option<String>,
    pub grants: BTreeMap<String, DecryptGrant>,
    pub role: Option<Role>,
    pub roles_made: usize,
    /// DecryptGrants made.
    pub objects: usize,
    /// When the role was made.
    pub role_made: i64,
    pub kms: Vec<KmsGrant>,
    /// Memory of the operator.
    pub state: Option<RoleState>,
    pub clean_since: BTreeMap<String, i64>,
    pub blind_role: bool,
    pub blind_kms: bool,
    pub strike: Option<Fault>,
    /// The role's policy is as the operator wrote it.
    pub untouched: bool,
    /// KMS grants made, by uid.
    pub made: BTreeMap<String, usize>,
    /// Ends that were ever set.
    pub ends: BTreeSet<Timestamp>,
    /// Uids whose KMS grant somebody removed before its id was in status.
    pub lost_unseen: BTreeSet<String>,
    /// Reviews in the namespace of the bucket.
    pub reviews: Vec<Arc<GrantReview>>,
    /// What the bucket asked for when a request was made, by uid: so many approvals, after its rules.
    pub asked: BTreeMap<String, i32>,
    /// When the chain of each grant that began had begun.
    pub chains: BTreeMap<String, i64>,
    /// Grants that began without approval, and those of them that were reviewed.
    pub broken: BTreeSet<String>,
    pub looked_back: BTreeSet<String>,
    /// What happened, for messages.
    pub story: Vec<String>,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.story {
            writeln!(f, "  {line}")?;
        }
        writeln!(f, "at {} kms {:?}", self.now, self.kms)?;
        for (name, grant) in &self.grants {
            let s = grant.status.clone().unwrap_or_default();
            writeln!(
                f,
                "{name}: deleting {} expires {:?} kms {:?} ended {:?} removal {:?}",
                grant.metadata.deletion_timestamp.is_some(),
                s.expires_at,
                s.kms_grant,
                s.ended,
                s.removal
            )?;
        }
        let sids = |d: &Document| d.statements.iter().map(|s| s.sid.clone()).collect::<Vec<_>>();
        write!(f, "role {:?}", self.role.as_ref().map(|r| (&r.role_id, r.document.as_ref().map(sids))))
    }
}

impl World {
    pub fn new(lag: i64) -> Self {
        Self {
            now: 0,
            lag,
            bucket: Some(bucket(0)),
            own: Vec::new(),
            account: Some(SA_UID.into()),
            grants: BTreeMap::new(),
            role: None,
            roles_made: 0,
            objects: 0,
            role_made: 0,
            kms: Vec::new(),
            state: None,
            clean_since: BTreeMap::new(),
            blind_role: false,
            blind_kms: false,
            strike: None,
            untouched: true,
            made: BTreeMap::new(),
            ends: BTreeSet::new(),
            lost_unseen: BTreeSet::new(),
            reviews: Vec::new(),
            asked: BTreeMap::new(),
            chains: BTreeMap::new(),
            broken: BTreeSet::new(),
            looked_back: BTreeSet::new(),
            story: Vec::new(),
        }
    }

    pub fn time(&self) -> Timestamp {
        seconds(self.now)
    }

    pub fn tell(&mut self, what: impl Into<String>) {
        self.story.push(format!("{} s: {}", self.now, what.into()));
    }

    /// The SecureBucket that a grant asks for.
    pub fn bucket_of(&self, grant: &DecryptGrant) -> Option<&SecureBucket> {
        let named = |b: &&SecureBucket| b.metadata.name.as_ref() == Some(&grant.spec.bucket_ref.name);
        self.own.iter().chain(&self.bucket).find(named)
    }

    /// Reviews that name the grant.
    pub fn reviews_of(&self, grant: &DecryptGrant) -> Vec<Arc<GrantReview>> {
        self.reviews.iter().filter(|r| named_by(grant, r)).cloned().collect()
    }

    /// The fate of the write that is about to happen.
    pub fn fate(&mut self) -> Fault {
        self.strike.take().unwrap_or(Fault::None)
    }

    pub fn listed(&self) -> Vec<ObservedGrant> {
        let shown = |g: &&KmsGrant| g.listed_from <= self.now && g.revoked.is_none_or(|at| self.now < at + self.lag);
        let alive = self.role.as_ref().map(|r| (r.role_id.clone(), r.arn.clone()));
        let grantee = |g: &KmsGrant| match &alive {
            Some((id, arn)) if *id == g.role_id => arn.clone(),
            _ => g.role_id.clone(),
        };
        let observed = |g: &KmsGrant| ObservedGrant {
            id: g.id.clone(),
            name: Some(g.name.clone()),
            grantee: grantee(g),
            operations: vec!["Decrypt".into(), "DescribeKey".into()],
        };
        self.kms.iter().filter(shown).map(observed).collect()
    }

    /// What a grant's pass sees in AWS.
    pub fn look(&self, uid: &str) -> Looked {
        let role = match &self.role {
            _ if self.blind_role => Seen::Unreadable(refusal()),
            Some(role) => Seen::Value((role.role_id.clone(), role.document.clone())),
            None => Seen::Absent,
        };
        let own = format!("/{uid}/");
        let all = self.listed().into_iter().filter(|g| g.name.as_ref().is_some_and(|n| n.contains(&own)));
        let kms = if self.blind_kms { Seen::Unreadable(refusal()) } else { Seen::Value(all.collect()) };
        Looked { role, kms }
    }

    /// CreateGrant: the same name gives the same grant.
    pub fn create_grant(&mut self, grant: &DecryptGrant, name: &str) {
        let status = grant.status.as_ref().unwrap();
        let uid = grant.metadata.uid.clone().unwrap();
        let end = parse_instant(status.expires_at.as_deref().unwrap()).unwrap();
        assert!(self.time() < end, "issued at or after its end: {self:?}");
        assert!(
            grant.metadata.finalizers.as_ref().is_some_and(|f| !f.is_empty()),
            "issued without finalizer: {self:?}"
        );
        let Some(role) = self.role.clone() else { return };
        assert!(self.ours_reads(grant, end), "issued before its Allow is in the role's policy: {self:?}");
        assert!(!self.reads(grant, self.last_end(), 0), "issued before its end is in the role's policy: {self:?}");
        if self.alive().any(|g| g.name == name) {
            return;
        }
        *self.made.entry(uid.clone()).or_default() += 1;
        let (id, listed_from) = (format!("kms-{}", self.kms.len()), self.now + self.lag);
        let key = status.resolved.as_ref().unwrap().key_arn.clone();
        self.kms.push(KmsGrant { id, name: name.into(), key, role_id: role.role_id, listed_from, revoked: None });
        let made = self.made[&uid];
        assert!(made == 1 || self.lost_unseen.contains(&uid), "issued {made} times: {self:?}");
    }

    /// Access begins: by enough different people who agreed to these very terms, or because the bucket asks for nobody.
    pub fn begun(&mut self, grant: &DecryptGrant, agreement: &Agreement) {
        crate::extend_rows::within_the_chain(self, grant, agreement);
        if agreement.glass.is_some() {
            crate::laws_glass::one_at_a_time(self, grant, agreement);
            self.broken.extend(grant.metadata.uid.clone());
            return;
        }
        assert_ne!(grant.spec.break_glass, Some(true), "begun like any other: {self:?}");
        crate::laws_review::enough(self, grant, agreement);
    }

    /// A request gets its terms: what the bucket asks for at this moment.
    pub fn resolved(&mut self, grant: &DecryptGrant) {
        let asked = crate::laws_review::asked(self, grant);
        self.asked.insert(grant.metadata.uid.clone().unwrap(), asked);
    }

    pub fn revoke(&mut self, id: &str) {
        let now = self.now;
        for grant in self.kms.iter_mut().filter(|g| g.id == id && g.revoked.is_none()) {
            grant.revoked = Some(now);
        }
    }

    pub fn alive(&self) -> impl Iterator<Item = &KmsGrant> {
        self.kms.iter().filter(|g| g.revoked.is_none())
    }

    pub fn alive_of(&self, grant: &DecryptGrant) -> usize {
        let own = format!("/{}/", grant.metadata.uid.as_deref().unwrap());
        self.alive().filter(|g| g.name.contains(&own)).count()
    }

    /// True if the role's policy lets it read under one of the grant's prefixes, so many seconds from `at`.
    pub fn reads(&self, grant: &DecryptGrant, at: Timestamp, offset: i64) -> bool {
        let at = securebucket::domain::time::after(at, jiff::SignedDuration::from_secs(offset));
        let Some(terms) = grant.status.as_ref().and_then(|s| s.resolved.as_ref()) else { return false };
        let Some(document) = self.role.as_ref().and_then(|r| r.document.as_ref()) else { return false };
        let prefixes = Prefixes::parse(&terms.prefixes).unwrap();
        prefixes.iter().any(|prefix| {
            let key = if prefix == "*" { "x".into() } else { format!("{prefix}x") };
            let request = Request {
                principal: terms.role_arn.clone(),
                action: "s3:GetObject".into(),
                resource: format!("{}/{key}", terms.bucket_arn),
                resource_account: ACCOUNT.into(),
                context: Context::default().with("aws:CurrentTime", at).with("aws:ResourceAccount", ACCOUNT),
            };
            let policies = Policies { identity: vec![document], ..Policies::default() };
            evaluate(&request, &policies).outcome == Outcome::Allowed
        })
    }

    /// The same to the last second by our part of the policy: what others refuse they refuse.
    fn ours_reads(&self, grant: &DecryptGrant, end: Timestamp) -> bool {
        let mut alone = self.clone();
        if let Some(document) = alone.role.as_mut().and_then(|r| r.document.as_mut()) {
            document.statements.retain(|s| !s.sid.starts_with(KEPT));
        }
        alone.reads(grant, end, -1)
    }

    /// The latest end of any grant there ever was: others may read the same objects for longer.
    fn last_end(&self) -> Timestamp {
        self.ends.iter().max().copied().unwrap_or(Timestamp::MAX)
    }

    /// The operator dies; the next one starts without a memory.
    pub fn forget(&mut self) {
        self.state = None;
        self.clean_since.clear();
    }

    /// Writes the status of a grant. What is written once stays.
    pub fn write(&mut self, name: &str, status: DecryptGrantStatus) {
        let Some(grant) = self.grants.get(name) else { return };
        let before = grant.status.clone().unwrap_or_default();
        let kept = [
            (before.expires_at.clone(), status.expires_at.clone()),
            (before.activated_at.clone(), status.activated_at.clone()),
            (
                before.resolved.as_ref().map(|r| r.terms_hash.clone()),
                status.resolved.as_ref().map(|r| r.terms_hash.clone()),
            ),
            (before.kms_grant.as_ref().map(|k| k.name.clone()), status.kms_grant.as_ref().map(|k| k.name.clone())),
            (
                before.kms_grant.as_ref().and_then(|k| k.id.clone()),
                status.kms_grant.as_ref().and_then(|k| k.id.clone()),
            ),
            (
                before.break_glass.as_ref().map(|b| b.review_by.clone()),
                status.break_glass.as_ref().map(|b| b.review_by.clone()),
            ),
            (before.ended.as_ref().map(|e| e.at.clone()), status.ended.as_ref().map(|e| e.at.clone())),
            (
                before.removal.as_ref().map(|r| r.verified_at.clone()),
                status.removal.as_ref().map(|r| r.verified_at.clone()),
            ),
        ];
        let (from, to) = (state(&before), state(&status));
        assert!(from == to || follows(from, to), "{from:?} leads to {to:?} in no row of the table: {self:?}");
        self.ends.extend(status.expires_at.as_deref().and_then(parse_instant));
        if status.break_glass.as_ref().is_some_and(|b| b.review.is_some()) {
            self.looked_back.extend(self.grants.get(name).and_then(|g| g.metadata.uid.clone()));
        }
        let Some(grant) = self.grants.get_mut(name) else { return };
        let removed = before.removal.is_none() && status.removal.is_some();
        grant.status = Some(status);
        let grant = grant.clone();
        assert!(kept.iter().all(|(a, b)| a.is_none() || a == b), "written twice: {kept:?} {self:?}");
        if removed {
            assert_eq!(self.alive_of(&grant), 0, "a KMS grant is left after {name} was said to be removed: {self:?}");
        }
    }

    /// Watched after every event.
    pub fn watch(&self) {
        for grant in self.grants.values() {
            assert!(self.alive_of(grant) <= 1, "two KMS grants: {self:?}");
        }
        let Some(document) = self.role.as_ref().and_then(|r| r.document.as_ref()).filter(|_| self.untouched) else {
            return;
        };
        let role_id = self.role.as_ref().map(|r| r.role_id.clone());
        // While a KMS grant may exist, the Deny that ends it stands in the role's policy.
        let ends = held_denies(document);
        let usable = self.alive().filter(|g| Some(&g.role_id) == role_id.as_ref()).count();
        assert!(usable == 0 || !ends.is_empty(), "a KMS grant without a Deny: {self:?}");
        for grant in self.grants.values() {
            let over = self.last_end();
            assert!(!self.reads(grant, over, 0), "read after the end: {self:?}");
        }
    }
}
