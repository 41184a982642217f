//! The operator's passes over a grant and over the role that grants share, on the model.

use securebucket::api::GRANT_FINALIZER;
use securebucket::api::condition::update;
use securebucket::api::decrypt_grant::{DecryptGrant, DecryptGrantStatus, EndStatus, KmsGrantStatus, RemovalStatus};
use securebucket::aws::error::Seen;
use securebucket::bucket::lockdown::refuses_grants;
use securebucket::domain::enforcement::Enforcement;
use securebucket::domain::time::{after, format_instant};
use securebucket::grant::begin::Skew;
use securebucket::grant::decide::decide;
use securebucket::grant::facts::{Facts, Step};
use securebucket::grant::status::settle;
use securebucket::grant::terms::Target;
use securebucket::role::desired::{Sources, desired_role, inputs, open_grant, returning, with_held};
use securebucket::role::document::{Inputs, build, held_denies};
use securebucket::role::observed::{ObservedRole, RoleHead};
use securebucket::role::plan::{Action, need, plan};
use securebucket::role::state::{Problem, RoleState};

use crate::fixtures::{NAMESPACE_UID, install};
use crate::grant_world::World;
use crate::model::refusal;
use crate::operator::Fault;
use crate::role_model::{Role, role_key};

/// A pass that could not go on.
struct Broken;

type Result<T> = std::result::Result<T, Broken>;

/// The SecureBucket of these worlds.
fn data_calls() -> Target {
    Target { namespace: "data".into(), name: "calls".into() }
}

impl World {
    /// One write of the operator: `Ok(true)` if it takes effect and the pass goes on.
    fn strikes(&mut self, effect: impl FnOnce(&mut Self)) -> Result<()> {
        let fate = self.fate();
        if !matches!(fate, Fault::Refused | Fault::Dies) {
            effect(self);
        }
        if matches!(fate, Fault::Dies | Fault::DiesAfter) {
            self.tell("the operator dies");
            self.forget();
        }
        if fate == Fault::None { Ok(()) } else { Err(Broken) }
    }

    /// One pass over a grant, as `grant/driver.rs` makes it. True if anything was done.
    pub fn grant_pass(&mut self, name: &str) -> bool {
        let (mut looked, mut broken, mut just_ended) = (None, None::<Vec<DecryptGrant>>, false);
        let mut reviews = self
            .grants
            .get(name)
            .filter(|g| g.status.as_ref().is_some_and(|s| s.expires_at.is_some()))
            .map(|g| self.reviews_of(g));
        let before = self.traces(name);
        for _ in 0..24 {
            let Some(grant) = self.grants.get(name).cloned() else { break };
            let others: Vec<_> = (self.grants.values())
                .filter(|g| g.metadata.uid != grant.metadata.uid)
                .filter_map(|g| open_grant(g, &install(), self.time()))
                .map(|(input, _)| input)
                .collect();
            let facts = Facts {
                grant: &grant,
                bucket: self.bucket_of(&grant),
                bucket_unreadable: None,
                service_account_uid: self.account.as_deref(),
                role: self.state.as_ref(),
                looked: looked.as_ref(),
                just_ended,
                others: &others,
                reviews: reviews.as_deref(),
                enforcement: &Enforcement::since(crate::grants::seconds(-1)),
                older: &[],
                broken: broken.as_deref(),
                extended: grant.spec.extends.as_ref().and_then(|e| self.grants.get(&e.name)),
                now: self.time(),
                skew: Skew::default(),
            };
            let step = decide(&facts, &install());
            if step == Step::ReadBroken {
                broken = Some(self.grants.values().filter(|g| g.spec.break_glass == Some(true)).cloned().collect());
                continue;
            }
            if step == Step::ReadReviews {
                reviews = Some(self.reviews_of(&grant));
                continue;
            }
            if step == Step::Look {
                reviews = reviews.filter(|_| grant.status.as_ref().is_some_and(|s| s.expires_at.is_some()));
                broken = None;
                looked = Some(self.look(grant.metadata.uid.as_deref().unwrap()));
                continue;
            }
            let rested = matches!(step, Step::Wait { .. } | Step::Settled);
            if !rested {
                self.tell(format!("{name}: {}", format!("{step:?}").chars().take(90).collect::<String>()));
            }
            if matches!(step, Step::Activate(_) | Step::End { .. } | Step::Issue | Step::Revoke { .. }) {
                looked = None;
                just_ended = matches!(step, Step::End { .. });
            }
            if self.perform(name, grant, step).is_err() || rested {
                break;
            }
        }
        self.traces(name) != before
    }

    /// What a pass over a grant can change.
    fn traces(&self, name: &str) -> (Option<(Option<DecryptGrantStatus>, bool)>, usize, usize) {
        let held = |g: &DecryptGrant| g.metadata.finalizers.as_ref().is_some_and(|f| !f.is_empty());
        let grant = self.grants.get(name).map(|g| (g.status.clone(), held(g)));
        (grant, self.kms.len(), self.alive().count())
    }

    fn perform(&mut self, name: &str, grant: DecryptGrant, step: Step) -> Result<()> {
        let (now, mut status) = (self.time(), grant.status.clone().unwrap_or_default());
        match step {
            Step::AddFinalizer => {
                let pending = Problem::passing("Pending", "not looked at yet");
                let first = settle(&grant, status, &Step::Wait { problem: pending, until: None }, now, now);
                self.strikes(|w| w.write(name, first))?;
                return self.strikes(|w| {
                    w.grants.get_mut(name).unwrap().metadata.finalizers = Some(vec![GRANT_FINALIZER.into()]);
                });
            }
            Step::RemoveFinalizer => return self.strikes(|w| w.let_go(name)),
            Step::Forget => {
                return self.strikes(|w| {
                    let meta = &mut w.grants.get_mut(name).unwrap().metadata;
                    meta.deletion_timestamp.get_or_insert_with(crate::fixtures::deleted_at);
                });
            }
            Step::Issue => {
                let issued = status.kms_grant.as_ref().unwrap().name.clone();
                self.strikes(|w| w.create_grant(&grant, &issued))?;
                // Shown or not: the next look tells.
                let shown = !self.blind_kms && self.listed().iter().any(|g| g.name.as_ref() == Some(&issued));
                return if shown { Ok(()) } else { Err(Broken) };
            }
            Step::Revoke { ids } => {
                for id in &ids {
                    self.strikes(|w| w.revoke(id))?;
                }
                let left = self.listed().iter().any(|g| ids.contains(&g.id));
                return if left { Err(Broken) } else { Ok(()) };
            }
            Step::Resolve(resolution) => {
                self.resolved(&grant);
                resolution.record(&mut status);
            }
            Step::Approve(agreement) => {
                status.conditions = update(&status.conditions, &[agreement.condition()], 1, now);
                status.approvals = agreement.approvals;
            }
            Step::Activate(agreement) => {
                self.begun(&grant, &agreement);
                agreement.record(&mut status, now);
            }
            Step::Name { name, role_id } => status.kms_grant = Some(KmsGrantStatus { name, role_id, id: None }),
            Step::RecordIssued { id } => {
                status.kms_grant.as_mut().unwrap().id = Some(id);
                let wait = install().timing.policy_propagation.try_into().unwrap();
                status.usable_by = Some(format_instant(after(now, wait)));
            }
            Step::End { reason, message, review, rule } => {
                status.ended = Some(EndStatus { reason, at: format_instant(now), message, review, rule });
            }
            Step::RecordRemoval { evidence } => {
                assert!(
                    !self.reads_alone(&grant) || self.blind_role,
                    "{name} is said to be removed and may read: {self:?}"
                );
                status.removal = Some(RemovalStatus { verified_at: format_instant(now), evidence });
            }
            Step::Wait { .. } | Step::Settled => status = settle(&grant, status, &step, now, now),
            Step::RecordReview(review) => status.break_glass.as_mut().unwrap().review = Some(review),
            Step::Look | Step::ReadReviews | Step::ReadBroken => {}
        }
        self.write_if_changed(name, &grant, status)
    }

    fn write_if_changed(&mut self, name: &str, grant: &DecryptGrant, status: DecryptGrantStatus) -> Result<()> {
        if grant.status.as_ref() == Some(&status) {
            return Ok(());
        }
        self.strikes(|w| w.write(name, status))
    }

    /// True if a window of this grant's end lets the role read what no other open grant lets it read.
    fn reads_alone(&self, grant: &DecryptGrant) -> bool {
        let open = |g: &&DecryptGrant| open_grant(g, &install(), self.time()).is_some();
        let others = self.grants.values().filter(|g| g.metadata.uid != grant.metadata.uid).filter(open);
        let covered = others
            .flat_map(|g| g.spec.prefixes.iter().map(|p| p.0.clone()))
            .any(|theirs| grant.spec.prefixes.iter().all(|p| theirs == "*" || p.0.starts_with(&theirs)));
        // Without an end it never had a window: what is undated is a duty's.
        let Some(end) = grant.status.as_ref().and_then(|s| s.expires_at.clone()) else { return false };
        let mut alone = self.clone();
        if let Some(document) = alone.role.as_mut().and_then(|r| r.document.as_mut()) {
            document.statements.retain(|s| s.condition("DateLessThan", "aws:CurrentTime") == Some(&end));
        }
        !covered && self.untouched && alone.reads(grant, self.time(), 0)
    }

    /// The finalizer goes: nothing may be left.
    fn let_go(&mut self, name: &str) {
        let grant = self.grants.remove(name).unwrap();
        let status = grant.status.clone().unwrap_or_default();
        assert!(status.removal.is_some() || status.expires_at.is_none(), "{name} let go before its removal: {self:?}");
        assert_eq!(self.alive_of(&grant), 0, "{name} let go before its KMS grant: {self:?}");
    }

    /// One pass of the writer of roles, as `role/driver.rs` makes it. True if anything was written.
    pub fn role_pass(&mut self) -> bool {
        let before = (self.role.clone(), self.alive().count());
        for round in 0..4 {
            let observed = self.observed_role();
            let mut mine = self.inputs();
            let released = self.evidence(&mine);
            let document = observed.value().and_then(|r| r.document.value()).cloned();
            let lost = self.lost(&mine, &observed);
            mine.grants.retain(|g| !lost.contains(&g.uid));
            let held = with_held(mine, document.as_ref(), &|id| released.contains(&id.to_owned()), self.time());
            let built = build(&held);
            let desired = desired_role(&role_key(), &install());
            let need = need(&built.statements, false, &observed, install().timing.role_retention, self.time());
            let plan = plan(&desired, &built.statements, need, &observed, false);
            if plan.actions.is_empty() || round == 3 {
                let unreadable = plan.unreadable.first().map(|e| Problem::passing(e.kind.reason(), e.to_string()));
                let problem = plan.problem.clone().or(unreadable);
                self.publish(&observed, built.left_out, problem, plan.restricted);
                break;
            }
            let mut failed = false;
            for (position, action) in plan.actions.iter().enumerate() {
                if failed && position >= plan.widening {
                    continue;
                }
                failed |= self.strikes(|w| w.apply(action)).is_err();
                if failed && self.state.is_none() && matches!(action, Action::Create { .. }) {
                    break;
                }
            }
            if failed {
                break;
            }
        }
        (self.role.clone(), self.alive().count()) != before
    }

    fn inputs(&self) -> Inputs {
        let sources = Sources {
            buckets: self.own.iter().collect(),
            grants: self.grants.values().collect(),
            shut: self.bucket.iter().filter(|b| refuses_grants(b)).map(|_| data_calls()).collect(),
            service_account_uid: self.account.clone(),
            namespace_uid: Some(NAMESPACE_UID.into()),
        };
        inputs(&role_key(), &sources, &install(), self.time())
    }

    fn observed_role(&self) -> Seen<ObservedRole> {
        match &self.role {
            _ if self.blind_role => Seen::Unreadable(refusal()),
            None => Seen::Absent,
            Some(role) => Seen::Value(ObservedRole {
                head: RoleHead {
                    arn: role.arn.clone(),
                    role_id: role.role_id.clone(),
                    created: crate::grants::seconds(self.role_made),
                    last_used: None,
                    boundary: role.boundary.clone(),
                    trust: role.trust.clone(),
                    tags: role.tags.clone(),
                },
                document: role.document.clone().map_or(Seen::Absent, Seen::Value),
                foreign: Vec::new(),
            }),
        }
    }

    /// Grants whose window is not put back, because their KMS grant is gone, or the role that it is for.
    fn lost(&self, mine: &Inputs, observed: &Seen<ObservedRole>) -> Vec<String> {
        let named = |uid: &str| {
            let grant = self.grants.values().find(|g| g.metadata.uid.as_deref() == Some(uid))?;
            grant.status.as_ref()?.kms_grant.clone()
        };
        let role = observed.value();
        let listed = |id: &String| !self.blind_kms && self.listed().iter().any(|g| g.id == *id);
        let lost = |named: KmsGrantStatus| {
            observed.is_absent()
                || role.is_some_and(|r| r.head.role_id != named.role_id)
                || named.id.is_some_and(|id| !listed(&id))
        };
        let all = returning(&mine.grants, role.and_then(|r| r.document.value())).map(|g| g.uid.clone());
        all.filter(|uid| named(uid).is_some_and(lost)).collect()
    }

    /// Which Denies may leave: those on whose key no KMS grant of the role has been listed for long enough. What is listed and answered for
    /// by no DecryptGrant is revoked.
    fn evidence(&mut self, mine: &Inputs) -> Vec<String> {
        let mut released = Vec::new();
        let Some(role) = self.role.clone().filter(|_| !self.blind_role) else { return released };
        for deny in role.document.iter().flat_map(held_denies) {
            if mine.grants.iter().any(|g| g.bucket.identity == deny.identity) {
                continue;
            }
            let answered = self.grants.values().any(|g| {
                let status = g.status.clone().unwrap_or_default();
                let here = status.resolved.as_ref().is_some_and(|r| r.bucket_identity == deny.identity);
                status.removal.is_none() && status.expires_at.is_some() && here
            });
            let here = |id: &str| {
                self.kms.iter().any(|g| g.id == id && self.key_of(&deny.identity).is_none_or(|k| k == g.key))
            };
            let listed: Vec<_> = (self.listed().into_iter())
                .filter(|g| (g.grantee == role.arn || g.grantee == role.role_id) && here(&g.id))
                .collect();
            if answered || self.blind_kms || !listed.is_empty() {
                self.clean_since.remove(&deny.identity);
                if !answered && !self.blind_kms {
                    listed.iter().for_each(|g| self.revoke(&g.id));
                }
                continue;
            }
            let since = *self.clean_since.entry(deny.identity.clone()).or_insert(self.now);
            let from = deny.from.as_second() - crate::generate::NOON;
            if self.now >= since.max(from) + 600 {
                self.clean_since.remove(&deny.identity);
                released.push(deny.identity);
            }
        }
        released
    }

    fn key_of(&self, identity: &str) -> Option<String> {
        let mut all = self.own.iter().chain(&self.bucket).filter_map(|b| b.status.as_ref());
        all.find(|s| s.identity.as_deref() == Some(identity))?.key_arn.clone()
    }

    fn apply(&mut self, action: &Action) {
        self.tell(format!("role: {action}"));
        let desired = desired_role(&role_key(), &install());
        match action {
            Action::Create { trust } => {
                self.roles_made += 1;
                self.role_made = self.now;
                self.role = Some(Role {
                    arn: desired.arn,
                    role_id: format!("AROA{}", self.roles_made),
                    boundary: Some(desired.boundary),
                    trust: trust.clone(),
                    tags: desired.tags,
                    document: None,
                    foreign: Vec::new(),
                });
            }
            Action::PutDocument { document } => {
                self.role.as_mut().unwrap().document = Some(document.clone());
                self.untouched = true;
            }
            Action::DeleteDocument => self.role.as_mut().unwrap().document = None,
            Action::Delete => self.role = None,
            other => panic!("nobody was at the role's head: {other}"),
        }
    }

    fn publish(
        &mut self,
        observed: &Seen<ObservedRole>,
        left_out: std::collections::BTreeSet<String>,
        problem: Option<Problem>,
        restricted: Vec<String>,
    ) {
        let before = self.state.clone().unwrap_or_default();
        let document = observed.value().and_then(|r| r.document.value()).cloned();
        let same = before.document.is_some() && before.document == document;
        self.state = Some(RoleState {
            role_id: observed.value().map(|r| r.head.role_id.clone()),
            created: before.created.or_else(|| observed.value().map(|_| self.time())),
            document_since: if same { before.document_since } else { document.as_ref().map(|_| self.time()) },
            document,
            left_out,
            problem,
            restricted,
            ..RoleState::default()
        });
    }
}
