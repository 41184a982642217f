//! How a pass looks at a role, and what it may begin with instead of a whole look at the role: IAM answers few questions per second, and a thousand grants may end in one.
//!
//! Only where nothing can come of it that was not so: CreateRole refuses a name that was taken since, and windows are taken out of the document as it is
//! now. Anything else is done after a whole look, and so is what follows a pass that failed: IAM may have refused it because of what was not looked at.

use std::time::Duration;

use tokio::time::Instant;

use super::document::POLICY_NAME;
use super::observe::{observe, observe_after};
use super::observed::ObservedRole;
use super::plan::{Action, Plan};
use super::state::RoleKey;
use crate::aws::clients::Aws;
use crate::aws::error::Seen;
use crate::reconcile::context::Context;

/// How long what was seen of a role that was not there is good enough to create it.
const LATELY: Duration = Duration::from_secs(60);

/// Looks at a role: after what was `done` to what was seen; or, for `glance` (`Some(true)` while windows are taken out), as far as that is needed.
/// Also says whether it was but a glance.
pub(super) async fn look(
    ctx: &Context,
    aws: &Aws,
    name: &str,
    key: &RoleKey,
    done: Option<(Seen<ObservedRole>, Vec<Action>)>,
    glance: Option<bool>,
) -> (Seen<ObservedRole>, bool) {
    let begun = Instant::now();
    if let Some((before, actions)) = done {
        let whole = !actions.iter().all(Action::is_of_document);
        let observed = observe_after(aws, name, before, &actions).await;
        if whole {
            ctx.roles.saw(key, &observed, begun);
        }
        return (observed, false);
    }
    if let Some(ending) = glance
        && let Some(seen) = self::glance(ctx, aws, name, key, ending).await
    {
        return (seen, true);
    }
    let observed = observe(aws, name, expected(ctx, key)).await;
    ctx.roles.saw(key, &observed, begun);
    (observed, false)
}

/// False if the role was absent when it was last looked at.
fn expected(ctx: &Context, key: &RoleKey) -> bool {
    ctx.roles.seen(key).is_none_or(|(s, _)| s.role_id.is_some())
}

/// That there is no role, if that was seen a moment before; of one that loses windows the document as it is now, and the rest as the last whole look
/// found it, one drift check ago at most. `None` where the role must be looked at.
async fn glance(ctx: &Context, aws: &Aws, name: &str, key: &RoleKey, ending: bool) -> Option<Seen<ObservedRole>> {
    let absent = ctx.roles.seen(key).is_some_and(|(state, at)| state.role_id.is_none() && at.elapsed() < LATELY);
    if absent {
        return Some(Seen::Absent);
    }
    let (before, at) = ctx.roles.whole(key).filter(|_| ending && ctx.roles.seen(key).is_some())?;
    if at.elapsed() >= ctx.drift_check(&key.to_string()) {
        return None;
    }
    let document = Seen::from_result(aws.iam().role_policy(name, POLICY_NAME).await);
    // Without one, the role may be gone as well.
    document.value().is_some().then_some(Seen::Value(ObservedRole { document, ..before }))
}

/// True if the plan that was drawn from a glance may be carried out.
pub(super) fn enough(plan: &Plan, glance: &Seen<ObservedRole>) -> bool {
    if glance.is_absent() {
        return matches!(plan.actions.first(), Some(Action::Create { .. }));
    }
    let clear = plan.problem.is_none() && plan.unreadable.is_empty();
    clear && !plan.widens && plan.actions.iter().all(Action::is_of_document)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::calls::Call;
    use crate::aws::error::{AwsError, AwsErrorKind};
    use crate::domain::policy::Document;
    use crate::role::observed::RoleHead;
    use crate::role::state::Problem;

    fn role() -> Seen<ObservedRole> {
        let head = RoleHead {
            arn: "arn:aws:iam::111122223333:role/r".into(),
            role_id: "AROA1".into(),
            created: "2026-01-01T00:00:00Z".parse().unwrap(),
            last_used: None,
            boundary: None,
            trust: Document::new(Vec::new()),
            tags: [].into(),
        };
        Seen::Value(ObservedRole { head, document: Seen::Value(Document::new(Vec::new())), foreign: Vec::new() })
    }

    fn plan(actions: Vec<Action>) -> Plan {
        Plan { widening: actions.len(), actions, ..Plan::default() }
    }

    #[test]
    fn a_glance_is_enough_to_create_and_to_take_windows_away() {
        let put = || Action::PutDocument { document: Document::new(Vec::new()) };
        let create = || Action::Create { trust: Document::new(Vec::new()) };
        assert!(enough(&plan(vec![create(), put()]), &Seen::Absent));
        for nothing in [plan(Vec::new()), plan(vec![put()])] {
            assert!(!enough(&nothing, &Seen::Absent), "{nothing:?}");
        }
        for takes in [plan(Vec::new()), plan(vec![put()]), plan(vec![Action::DeleteDocument])] {
            assert!(enough(&takes, &role()), "{takes:?}");
        }
        let detach = Action::Detach { arn: "a".into() };
        for more in
            [Action::Delete, detach, Action::PutBoundary, Action::Tag, Action::DeleteForeign { name: "f".into() }]
        {
            assert!(!enough(&plan(vec![put(), more.clone()]), &role()), "{more}");
        }
        assert!(!enough(&Plan { widens: true, ..plan(vec![put()]) }, &role()));
        let (call, kind, nothing) = (Call::GetPolicy, AwsErrorKind::AccessDenied, String::new);
        let unreadable =
            vec![AwsError { call, kind, code: None, status: 403, message: nothing(), resource: nothing() }];
        assert!(!enough(&Plan { unreadable, ..Plan::default() }, &role()));
        let problem = Some(Problem::stalled("RoleNameTaken", "no"));
        assert!(!enough(&Plan { problem, ..Plan::default() }, &role()));
    }
}
