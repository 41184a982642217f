//! The policies themselves: away, away for a moment, edited, edited for a moment. On an API server of its own, because they hold for a whole one.

use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use securebucket::admission::{Rule, Subject, rules};
use securebucket::domain::enforcement::Enforcement;
use securebucket::k8s::admission::Guard;
use serde_json::json;

use crate::support::wait::poll;
use crate::support::{Stack, World, chart, http};

fn rule(subject: Subject) -> Rule {
    rules().into_iter().find(|r| r.subject == subject).unwrap()
}

async fn proven(guard: &Guard) -> jiff::Timestamp {
    let look = || async { Some(guard.fresh().await.unwrap()).filter(|e| e.problem.is_none()) };
    let found: Option<Enforcement> = poll(look).await;
    found.unwrap_or_else(|| panic!("never proven: {:?}", guard.now())).since.unwrap()
}

async fn problem(guard: &Guard) -> String {
    let now = guard.fresh().await.unwrap();
    assert_eq!(now.since, None);
    now.problem.expect("a problem")
}

#[tokio::test]
async fn what_was_made_while_a_policy_was_away_does_not_count() {
    let stack = Stack::of_its_own().await;
    let world = World::on(stack, "atkbinding", &[]).await;
    let (policies, bindings): (Api<ValidatingAdmissionPolicy>, Api<ValidatingAdmissionPolicyBinding>) =
        (Api::all(world.client.clone()), Api::all(world.client.clone()));
    let operator_client = stack.client(world.kube_token()).await;
    let guard = Guard::new(operator_client, world.operator_namespace());

    // Nothing is there: the operator says so, and is not ready.
    let operator = world.operator().serving().start();
    let ready = || async { http::get(operator.address(), "/readyz").await };
    let unready = || async { ready().await.filter(|(code, text)| *code == 503 && text.contains("[-]admission")) };
    let text = poll(unready).await.expect("/readyz fails").1;
    assert!(problem(&guard).await.contains("missing"), "{text}");
    let told = || async { ready().await.filter(|(_, text)| text.contains("securebucket admission | kubectl apply")) };
    assert!(poll(told).await.is_some(), "/readyz names the way out");

    chart::admission(&world.client).await;
    let first = proven(&guard).await;
    assert!(poll(|| async { ready().await.filter(|(code, _)| *code == 200) }).await.is_some(), "it becomes ready");
    operator.metric_is("securebucket_admission_enforced", 1.0).await;
    assert_eq!(proven(&guard).await, first, "looked at again, nothing has moved");

    // A binding goes, and comes back as it was.
    let reviewer = rule(Subject::Reviewer);
    bindings.delete(reviewer.binding_name(), &DeleteParams::default()).await.unwrap();
    let text = problem(&guard).await;
    assert!(text.contains(reviewer.binding_name()) && text.contains("helm upgrade"), "{text}");
    chart::apply(&bindings, reviewer.binding_name(), &reviewer.binding).await;
    let second = proven(&guard).await;
    assert!(second > first, "what was made in between is older than what is in force now");

    // A policy is edited and edited back: it looks as it should, but nobody knows what it was meanwhile.
    let requester = rule(Subject::Requester);
    let set = async |value: &str| {
        let patch = Patch::Merge(json!({"spec": {"failurePolicy": value}}));
        policies.patch(requester.policy_name(), &PatchParams::default(), &patch).await.unwrap();
    };
    set("Ignore").await;
    assert!(problem(&guard).await.contains("was edited"));
    set("Fail").await;
    let text = problem(&guard).await;
    assert!(text.contains("was edited") && text.contains("kubectl delete"), "{text}");
    policies.delete(requester.policy_name(), &DeleteParams::default()).await.unwrap();
    chart::apply(&policies, requester.policy_name(), &requester.policy).await;
    assert!(proven(&guard).await >= second, "whole seconds: it may be the same one, which counts as before");

    // A binding that leaves the operator's namespace in, and others out.
    let status = rule(Subject::Status);
    let narrow = json!({"spec": {"matchResources": {"namespaceSelector": {"matchLabels": {"a": "b"}}}}});
    bindings.patch(status.binding_name(), &PatchParams::default(), &Patch::Merge(narrow)).await.unwrap();
    assert!(problem(&guard).await.contains(status.binding_name()));
    // The operator sees it by itself.
    operator.metric_is("securebucket_admission_enforced", 0.0).await;
    assert_eq!(ready().await.unwrap().0, 200, "it goes on ending access: no reason to take it out of service");
}

/// All there, and not in force: here because RBAC refuses the proof before the policy can.
#[tokio::test]
async fn what_cannot_be_proven_is_not_believed() {
    let world = World::new("atkproof").await;
    let client = world.stack.client(world.kube_token()).await;
    let elsewhere = Guard::new(client.clone(), &world.namespace);
    let text = problem(&elsewhere).await;
    assert!(text.contains("cannot be seen") && text.contains(&world.namespace), "{text}");
    proven(&Guard::new(client, world.operator_namespace())).await;
}
