//! SecureBuckets that are not Ready, and ends whose removal is overdue.

use jiff::Timestamp;
use kube::ResourceExt;

use super::{Finding, Mark};
use crate::api::condition::{find, is_true, types};
use crate::api::{DecryptGrant, SecureBucket};
use crate::domain::time::format_instant;
use crate::grant::deadline::overdue_from;
use crate::plugin::find::{Ours, all};
use crate::plugin::talk::{Refusal, Session};

/// Reasons of what goes on by itself: not as it should be, and nothing to be mended yet.
const UNDER_WAY: [&str; 4] = ["Pending", "Progressing", "Deleting", "Lifting"];
/// Where the missing statement comes from.
const POLICY: &str = "add the statement that is missing to the operator's role, from: securebucket policy operator --cluster CLUSTER --account ACCOUNT --region REGION";
/// Objects that are told of one by one.
const MOST: usize = 8;

pub(super) async fn look(session: &Session, namespace: Option<&str>, now: Timestamp) -> Vec<Finding> {
    let mut found = match anywhere::<SecureBucket>(session, namespace).await {
        Ok((buckets, place)) => of_buckets(&buckets, &place),
        Err(refusal) => vec![Finding::unread("SecureBuckets", &refusal)],
    };
    match anywhere::<DecryptGrant>(session, namespace).await {
        Ok((grants, place)) => found.extend(of_grants(&grants, &place, now)),
        Err(refusal) => found.push(Finding::unread("DecryptGrants", &refusal)),
    }
    found
}

/// Those of the namespace that is asked for; else all, or those of the context's namespace for who may not read all.
async fn anywhere<K: Ours>(session: &Session, namespace: Option<&str>) -> Result<(Vec<K>, String), Refusal> {
    if namespace.is_none() {
        match all::<K>(session, None).await {
            Ok(found) => return Ok((found, "in all namespaces".into())),
            Err(refusal) if refusal.is_forbidden() => {}
            Err(refusal) => return Err(refusal),
        }
    }
    let found = all::<K>(session, Some(&session.namespace)).await?;
    Ok((found, format!("in namespace {}", session.namespace)))
}

/// A line for each, up to a number of them.
fn several(all: Vec<Finding>, what: &str) -> Vec<Finding> {
    let more = all.len().saturating_sub(MOST);
    let mut kept: Vec<Finding> = all.into_iter().take(MOST).collect();
    if more > 0 {
        kept.push(Finding::bad(format!("{more} more {what}")));
    }
    kept
}

fn of_buckets(buckets: &[SecureBucket], place: &str) -> Vec<Finding> {
    let wrong: Vec<Finding> = buckets.iter().filter_map(not_ready).collect();
    if wrong.is_empty() {
        return vec![Finding::good(format!("{} SecureBuckets {place}, all Ready", buckets.len()))];
    }
    several(wrong, "SecureBuckets are not Ready")
}

fn not_ready(bucket: &SecureBucket) -> Option<Finding> {
    let conditions = bucket.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
    let (namespace, name) = (bucket.namespace().unwrap_or_default(), bucket.name_any());
    let (reason, said) = match find(conditions, types::READY) {
        Some(ready) if ready.status == "True" => return None,
        Some(ready) => (ready.reason.as_str(), ready.message.as_str()),
        None => ("Pending", "the operator has not looked at it"),
    };
    let mark = if UNDER_WAY.contains(&reason) { Mark::Unseen } else { Mark::Bad };
    let finding = Finding::new(mark, format!("SecureBucket {namespace}/{name} is not Ready: {reason}: {said}"));
    let finding = finding.remedy(format!("kubectl securebucket why sbkt/{name} -n {namespace}"));
    Some(if reason == "AccessDenied" { finding.remedy(POLICY) } else { finding })
}

fn of_grants(grants: &[DecryptGrant], place: &str, now: Timestamp) -> Vec<Finding> {
    let late = grants.iter().filter_map(|g| {
        let since = overdue_from(g, now).filter(|from| *from <= now)?;
        let (namespace, name) = (g.namespace().unwrap_or_default(), g.name_any());
        let text = format!("the removal of DecryptGrant {namespace}/{name} is overdue since {}", format_instant(since));
        Some(Finding::bad(text).remedy(format!("kubectl securebucket why {name} -n {namespace}")))
    });
    let late: Vec<Finding> = late.collect();
    let stalled = |g: &&DecryptGrant| {
        g.status.as_ref().is_some_and(|s| s.ended.is_none() && is_true(&s.conditions, types::STALLED))
    };
    let waiting = grants.iter().filter(stalled).count();
    let mut found = if late.is_empty() {
        vec![Finding::good(format!("{} DecryptGrants {place}, no removal overdue", grants.len()))]
    } else {
        several(late, "removals are overdue")
    };
    if waiting > 0 {
        let text = format!("{waiting} DecryptGrants {place} do not go on without somebody (Stalled)");
        found.push(Finding::unseen(text).remedy("kubectl securebucket list -A -o wide"));
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn bucket(ready: Option<(&str, &str)>) -> SecureBucket {
        let condition = |(status, reason): (&str, &str)| json!({"type": "Ready", "status": status, "reason": reason, "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let conditions: Vec<Value> = ready.into_iter().map(condition).collect();
        let object = json!({
            "apiVersion": "securebucket.io/v1alpha1", "kind": "SecureBucket", "metadata": {"name": "b", "namespace": "n"},
            "spec": {}, "status": {"conditions": conditions},
        });
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn what_goes_on_by_itself_is_not_wrong() {
        assert_eq!(not_ready(&bucket(Some(("True", "Reconciled")))), None);
        assert_eq!(not_ready(&bucket(None)).unwrap().mark, Mark::Unseen);
        assert_eq!(not_ready(&bucket(Some(("False", "Progressing")))).unwrap().mark, Mark::Unseen);
        let denied = not_ready(&bucket(Some(("False", "AccessDenied")))).unwrap();
        assert_eq!((denied.mark, denied.remedies.len()), (Mark::Bad, 2));
        let many: Vec<SecureBucket> = (0..20).map(|_| bucket(Some(("False", "KeyGone")))).collect();
        let told = of_buckets(&many, "here");
        assert_eq!((told.len(), told[MOST].text.as_str()), (MOST + 1, "12 more SecureBuckets are not Ready"));
    }
}
