//! Who hears of a role's new state.

use kube::ResourceExt;
use tokio::time::Instant;

use super::desired::window;
use super::document::reads;
use super::state::{RoleKey, RoleState};
use crate::api::DecryptGrant;
use crate::api::condition::{is_true, types};
use crate::bucket::access::role_keys;
use crate::domain::installation::Installation;
use crate::grant::deadline::{opened, removal_due};
use crate::grant::terms::{Target, target};
use crate::reconcile::context::{Context, ObjectKey};
use crate::reconcile::wake::LISTED;

/// Notes the state and wakes who depends on it, if it changed.
pub(super) fn publish(ctx: &Context, key: &RoleKey, state: RoleState) {
    let before = ctx.roles.get(key).unwrap_or_default();
    if !ctx.roles.set(key, state.clone()) {
        return;
    }
    for bucket in ctx.caches.buckets.list_in(&key.namespace) {
        if role_keys(&bucket).contains(key) {
            ctx.queues.buckets.add_now(ObjectKey::of(&*bucket));
        }
    }
    let grants = ctx.caches.grants.list_in(&key.namespace);
    for grant in grants.iter().filter(|g| g.spec.subject.service_account_ref.name == key.service_account) {
        if opened(grant) {
            // Its owner's list of who can decrypt follows the role's policy.
            let Target { namespace, name } = target(grant);
            ctx.queues.buckets.add_apart(ObjectKey { namespace, name }, LISTED);
        }
        if concerned(grant, &before, &state, &ctx.install) {
            let name = ObjectKey { namespace: key.namespace.clone(), name: grant.name_any() };
            match removal_due(grant) {
                Some(at) if at <= ctx.clock.aws_now() => ctx.queues.grants.add_urgent(name, Instant::now()),
                _ => ctx.queues.grants.add_now(name),
            }
        }
    }
}

/// True if a grant of the role has to hear of the change. One that is on its way, or on its way out, hears of every change; to one that is in use
/// the windows of others are nothing, and it may have many neighbours.
fn concerned(grant: &DecryptGrant, before: &RoleState, now: &RoleState, install: &Installation) -> bool {
    let Some(status) = &grant.status else { return true };
    if status.removal.is_some() {
        return false;
    }
    let in_use = is_true(&status.conditions, types::ACTIVE) && status.ended.is_none();
    let uid = grant.metadata.uid.as_deref().unwrap_or_default();
    let window = window(grant, install);
    let reads = |s: &RoleState| window.as_ref().is_some_and(|(w, _)| s.document.as_ref().is_some_and(|d| reads(d, w)));
    let own = |s: &RoleState| {
        (s.role_id.clone(), s.problem.clone(), s.restricted.clone(), s.left_out.contains(uid), reads(s))
    };
    !in_use || grant.metadata.deletion_timestamp.is_some() || own(before) != own(now)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::installation::tests::installation;
    use crate::role::state::Problem;

    fn grant(status: &serde_json::Value) -> DecryptGrant {
        let spec = json!({"bucketRef": {"name": "b"}, "subject": {"serviceAccountRef": {"name": "etl"}}, "prefixes": ["in/"], "duration": "1h", "reason": "r"});
        serde_json::from_value(json!({"metadata": {"name": "g", "uid": "u"}, "spec": spec, "status": status})).unwrap()
    }

    fn active() -> serde_json::Value {
        let condition = json!({"type": "Active", "status": "True", "reason": "Granted", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        json!({"expiresAt": "2026-01-01T01:00:00Z", "conditions": [condition]})
    }

    #[test]
    fn a_grant_in_use_hears_of_what_concerns_it_alone() {
        let install = installation();
        let before = RoleState { role_id: Some("AROA1".into()), ..RoleState::default() };
        let windows = RoleState { document_since: Some("2026-01-01T00:00:00Z".parse().unwrap()), ..before.clone() };
        let others = [
            RoleState { role_id: None, ..before.clone() },
            RoleState { problem: Some(Problem::stalled("AccessDenied", "no")), ..before.clone() },
            RoleState { restricted: vec!["a Deny".into()], ..before.clone() },
            RoleState { left_out: ["u".to_owned()].into(), ..before.clone() },
        ];
        let used = grant(&active());
        assert!(!concerned(&used, &before, &windows, &install));
        for other in others {
            assert!(concerned(&used, &before, &other, &install), "{other:?}");
            assert!(concerned(&used, &other, &before, &install), "{other:?}");
        }
        let mut ended = active();
        ended["ended"] = json!({"reason": "Expired", "at": "2026-01-01T01:00:00Z", "message": ""});
        let mut removed = ended.clone();
        removed["removal"] = json!({"verifiedAt": "2026-01-01T01:00:01Z", "evidence": ""});
        let mut deleted = used.clone();
        deleted.metadata.deletion_timestamp = used
            .status
            .as_ref()
            .map(|_| "2026-01-01T00:30:00Z".parse().map(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time).unwrap());
        for on_its_way in
            [grant(&json!({})), grant(&json!({"expiresAt": "2026-01-01T01:00:00Z"})), grant(&ended), deleted]
        {
            assert!(concerned(&on_its_way, &before, &windows, &install), "{on_its_way:?}");
        }
        assert!(!concerned(&grant(&removed), &before, &windows, &install));
    }
}
