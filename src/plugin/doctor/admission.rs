//! The admission policies: as this version has them, and in force.

use kube::api::{Api, ApiResource, DynamicObject, PostParams};
use kube::{Client, Resource};
use serde_json::{Value, json};

use super::Finding;
use crate::admission::judge::{Wanted, judge, wanted};
use crate::admission::proof::{false_request, false_review};
use crate::admission::{Subject, rules};
use crate::api::{DecryptGrant, GrantReview};
use crate::plugin::talk::{Refusal, Session, answer};

/// Name of what the proof tries to create.
const ATTEMPT: &str = "securebucket-doctor";

pub(super) async fn look(session: &Session) -> Vec<Finding> {
    let mut found = vec![policies(session).await];
    found.push(refused::<DecryptGrant>(session, Subject::Requester, false_request(ATTEMPT)).await);
    found.push(refused::<GrantReview>(session, Subject::Reviewer, false_review(&session.namespace, ATTEMPT)).await);
    found
}

async fn policies(session: &Session) -> Finding {
    let mut looks = Vec::new();
    for wanted in wanted() {
        match read(&session.client, &wanted).await {
            Ok(found) => looks.push((wanted, found)),
            Err(refusal) => {
                let finding = Finding::unread("admission policies", &refusal);
                return finding
                    .remedy("the ClusterRole securebucket-auditor, bound by a ClusterRoleBinding, lets you read them");
            }
        }
    }
    match judge(&looks) {
        Ok(complete) => {
            Finding::good(format!("admission policies of this version are there, untouched since {}", complete.since))
        }
        Err(problem) => Finding::bad(problem)
            .remedy(format!("this plugin is version {}; is that of the operator the same?", env!("CARGO_PKG_VERSION"))),
    }
}

async fn read(client: &Client, wanted: &Wanted) -> Result<Option<Value>, Refusal> {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &wanted.kind.resource());
    match answer(api.get_opt(&wanted.name)).await? {
        Some(found) => serde_json::to_value(found).map(Some).map_err(|e| Refusal::Other(e.to_string())),
        None => Ok(None),
    }
}

/// Tries, as a dry run, to write under a name that is nobody's.
async fn refused<K: Resource<DynamicType = ()>>(session: &Session, by: Subject, spec: Value) -> Finding {
    let what = match by {
        Subject::Requester => "requesters are held to who they are",
        _ => "reviewers are held to who they are",
    };
    let resource = ApiResource::erase::<K>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(session.client.clone(), &session.namespace, &resource);
    let object = DynamicObject::new(ATTEMPT, &resource).data(json!({"spec": spec}));
    let params = PostParams { dry_run: true, field_manager: None };
    let prefix = format!("'securebucket-{}-", by.word());
    let own = rules().into_iter().find(|r| r.subject == by).map(|r| format!("'{}'", r.policy_name()));
    match answer(api.create(&params, &object)).await {
        Err(Refusal::Api(status))
            if status.code == 403 && own.as_ref().is_some_and(|own| status.message.contains(own)) =>
        {
            Finding::good(what)
        }
        Err(Refusal::Api(status)) if status.code == 403 && status.message.contains(&prefix) => {
            Finding::good(format!("{what}, by the policy of another version"))
        }
        Err(refusal) => Finding::unseen(format!(
            "whether {what}: a dry run in namespace {} fails otherwise: {}",
            session.namespace,
            refusal.words()
        ))
        .remedy(format!("-n NAMESPACE, where you may create {}", K::plural(&()))),
        Ok(_) => Finding::bad(format!(
            "it is not so that {what}: the API server takes a {} under a false name",
            K::kind(&())
        ))
        .remedy("helm upgrade, with admission.install=true; until then no approval counts"),
    }
}
