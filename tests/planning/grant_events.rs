//! What people and time do to the world of DecryptGrants, apart from passes.

use std::collections::BTreeMap;

use securebucket::api::decrypt_grant::DecryptGrant;
use securebucket::api::lockdown::LockdownSpec;
use securebucket::api::secure_bucket::SecureBucket;

use crate::fixtures::deleted_at;
use crate::grant_world::{Event, World};
use crate::grants::request;

impl World {
    /// What people and time do, apart from passes.
    pub fn happen(&mut self, event: &Event) {
        self.tell(format!("{event:?}"));
        let nth = |all: &BTreeMap<String, DecryptGrant>, n: usize| all.keys().nth(n % all.len().max(1)).cloned();
        match event {
            Event::Wait(s) => self.now += s,
            Event::Create(kind) => self.create(*kind),
            Event::Delete(n) | Event::Strip(n) => {
                let Some(name) = nth(&self.grants, *n) else { return };
                let grant = self.grants.get_mut(&name).unwrap();
                let held = grant.metadata.finalizers.as_ref().is_some_and(|f| !f.is_empty());
                if held && matches!(event, Event::Delete(_)) {
                    grant.metadata.deletion_timestamp.get_or_insert_with(deleted_at);
                } else {
                    self.grants.remove(&name);
                }
            }
            Event::BucketDeleting => {
                if let Some(bucket) = &mut self.bucket {
                    bucket.metadata.deletion_timestamp = Some(deleted_at());
                }
            }
            Event::BucketGone => self.bucket = None,
            Event::LockDown => {
                let order = LockdownSpec { reason: "leaked laptop".into(), level: None };
                self.change_bucket(|b| b.spec.lockdown = Some(order));
            }
            // As the bucket's pass has it: not before every grant on the bucket is proved removed.
            Event::Lifted => {
                let over = |g: &DecryptGrant| g.status.as_ref().is_some_and(|s| s.removal.is_some());
                if self.grants.values().all(over) {
                    self.change_bucket(|b| b.spec.lockdown = None);
                }
            }
            Event::KeyState(word) => {
                self.change_bucket(|b| b.status.as_mut().unwrap().key_state = Some((*word).into()));
            }
            Event::Withdraw => {
                if let Some(grants) = self.bucket.as_mut().and_then(|b| b.spec.grants.as_mut()) {
                    grants.allowed_namespaces.clear();
                }
            }
            Event::ReplaceAccount => self.account = Some("sa-uid-2".into()),
            Event::RemoveAccount => self.account = None,
            Event::LoseRole => (self.role, self.untouched) = (None, false),
            Event::ReplaceRole => {
                self.untouched = false;
                self.roles_made += 1;
                if let Some(role) = &mut self.role {
                    role.role_id = format!("AROA{}", self.roles_made);
                    role.tags = [("securebucket.io/cluster".to_owned(), "c2".to_owned())].into();
                    role.document = None;
                }
            }
            Event::LoseKmsGrant(n) => self.lose(*n),
            Event::EditDocument(n) => {
                let Some(role) = &mut self.role else { return };
                if let Some(document) = role.document.as_mut() {
                    document.statements.remove(n % document.statements.len());
                    self.untouched = false;
                }
                role.document = role.document.take().filter(|d| !d.statements.is_empty());
            }
            Event::BlindRole(blind) => self.blind_role = *blind,
            Event::BlindKms(blind) => self.blind_kms = *blind,
            Event::Restart => self.forget(),
            Event::Strike(fault) => self.strike = Some(*fault),
            Event::GrantPass(_) | Event::RolePass => {}
        }
    }

    fn change_bucket(&mut self, change: impl FnOnce(&mut SecureBucket)) {
        if let Some(bucket) = &mut self.bucket {
            change(bucket);
        }
    }

    fn create(&mut self, kind: usize) {
        let name = format!("g{kind}");
        // The prefixes of some overlap, and several have the same duration, so that ends coincide.
        let (prefix, duration) = [("a/", "15m"), ("a/b/", "15m"), ("*", "1h"), ("z/", "15m")][kind % 4];
        if self.grants.contains_key(&name) {
            return;
        }
        // No uid is given twice.
        self.objects += 1;
        let mut grant = request(&name, &[prefix], duration);
        grant.metadata.uid = Some(format!("uid-{name}-{}", self.objects));
        self.grants.insert(name, grant);
    }

    /// Somebody revokes a KMS grant by hand.
    fn lose(&mut self, n: usize) {
        let alive: Vec<(String, String)> = self.alive().map(|g| (g.id.clone(), g.name.clone())).collect();
        let Some((id, name)) = alive.get(n % alive.len().max(1)).cloned() else { return };
        let unseen = self.grants.values().find(|g| name.contains(&format!("/{}/", g.metadata.uid.as_deref().unwrap())));
        let unseen =
            unseen.filter(|g| g.status.as_ref().and_then(|s| s.kms_grant.as_ref()).is_some_and(|k| k.id.is_none()));
        if let Some(uid) = unseen.and_then(|g| g.metadata.uid.clone()) {
            self.lost_unseen.insert(uid);
        }
        self.revoke(&id);
    }
}
