//! The operator: its Deployment, its lease, and what it says of itself.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt;
use kube::api::{Api, ListParams};

use super::Finding;
use crate::plugin::cli::DoctorArgs;
use crate::plugin::talk::{Refusal, Session, answer};
use crate::plugin::wait::briefly;

/// Labels of the chart's Deployment.
const LABELS: &str = "app.kubernetes.io/part-of=securebucket,app.kubernetes.io/component=operator";
/// Where it is looked for by who may not look everywhere.
const USUAL: &str = "securebucket-system";
/// A lease that was renewed so recently is alive, whatever the clocks.
const FRESH: SignedDuration = SignedDuration::from_secs(10);
/// How long a renewal is waited for otherwise: it comes every two seconds.
const RENEWAL: std::time::Duration = std::time::Duration::from_secs(7);

pub(super) async fn look(session: &Session, args: &DoctorArgs, now: Timestamp) -> Vec<Finding> {
    let deployments = match deployments(session, args).await {
        Ok(found) => found,
        Err(refusal) => {
            let unread = Finding::unread("the operator's Deployment", &refusal);
            return vec![unread.remedy("--operator-namespace NAME, one in which you may list Deployments and Leases")];
        }
    };
    if deployments.is_empty() {
        let none = Finding::bad("no Deployment of the operator is there");
        return vec![none.remedy("helm install securebucket …; or --operator-namespace NAME")];
    }
    let mut found = Vec::new();
    for deployment in deployments {
        found.push(replicas(&deployment));
        found.extend(leader(session, &deployment, now).await);
        found.push(ready(session, &deployment).await);
    }
    found
}

async fn deployments(session: &Session, args: &DoctorArgs) -> Result<Vec<Deployment>, Refusal> {
    let params = ListParams::default().labels(LABELS);
    let within = |namespace: &str| Api::<Deployment>::namespaced(session.client.clone(), namespace);
    if let Some(namespace) = &args.operator_namespace {
        return Ok(answer(within(namespace).list(&params)).await?.items);
    }
    match answer(Api::<Deployment>::all(session.client.clone()).list(&params)).await {
        Ok(list) => Ok(list.items),
        Err(refusal) if refusal.is_forbidden() => Ok(answer(within(USUAL).list(&params)).await?.items),
        Err(refusal) => Err(refusal),
    }
}

fn place(deployment: &Deployment) -> (String, String) {
    (deployment.namespace().unwrap_or_default(), deployment.name_any())
}

fn replicas(deployment: &Deployment) -> Finding {
    let (namespace, name) = place(deployment);
    let wanted = deployment.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1);
    let available = deployment.status.as_ref().and_then(|s| s.available_replicas).unwrap_or_default();
    let text = format!("operator {namespace}/{name}: {available} of {wanted} replicas available");
    match available {
        0 => Finding::bad(text).remedy(format!("kubectl describe pods -n {namespace} -l {LABELS}")),
        n if n < wanted => Finding::bad(text).remedy(format!("kubectl get pods -n {namespace} -l {LABELS}")),
        _ => Finding::good(text),
    }
}

/// The lease carries the Deployment's name; without leader election there is none.
async fn leader(session: &Session, deployment: &Deployment, now: Timestamp) -> Option<Finding> {
    let (namespace, name) = place(deployment);
    let api: Api<Lease> = Api::namespaced(session.client.clone(), &namespace);
    let lease = match answer(api.get(&name)).await {
        Ok(lease) => lease,
        Err(refusal) if refusal.is_not_found() => {
            let single = deployment.spec.as_ref().and_then(|s| s.replicas) == Some(1);
            let none = Finding::bad(format!("no lease {namespace}/{name}: nobody leads"));
            return (!single).then(|| none.remedy(format!("kubectl logs -n {namespace} deployment/{name}")));
        }
        Err(refusal) => return Some(Finding::unread("the operator's lease", &refusal)),
    };
    let renewed = |lease: &Lease| lease.spec.as_ref().and_then(|s| s.renew_time.as_ref()).map(|t| t.0);
    let holder = lease.spec.as_ref().and_then(|s| s.holder_identity.clone()).filter(|h| !h.is_empty());
    let Some(holder) = holder else {
        return Some(Finding::bad(format!("the lease {namespace}/{name} is nobody's: nobody leads")));
    };
    let before = renewed(&lease);
    let fresh = before.is_some_and(|at| now.duration_since(at).abs() < FRESH);
    let again = || async { answer(api.get(&name)).await.ok().filter(|l| renewed(l) != before) };
    if fresh || briefly(RENEWAL, again).await.is_some() {
        return Some(Finding::good(format!("{holder} leads and renews its lease")));
    }
    let at = before.map(|t| t.to_string()).unwrap_or_default();
    let dead = Finding::bad(format!("{holder} leads by its lease, but has not renewed it since {at}"));
    Some(dead.remedy(format!("kubectl logs -n {namespace} deployment/{name}")))
}

/// What the operator says of itself: that its boundary was compared, its policies proven and everything listed.
async fn ready(session: &Session, deployment: &Deployment) -> Finding {
    let (namespace, name) = place(deployment);
    let path = format!("/api/v1/namespaces/{namespace}/services/{name}:metrics/proxy/readyz");
    let Ok(request) = http::Request::get(path).body(Vec::new()) else {
        return Finding::unseen("the operator's /readyz");
    };
    match answer(session.client.request_text(request)).await {
        Ok(_) => Finding::good(format!(
            "operator {namespace}/{name} says that it is ready: boundary, admission policies, watches"
        )),
        Err(refusal) => Finding::unseen(format!("the operator's /readyz, by the service proxy: {}", refusal.words()))
            .remedy(format!("kubectl logs -n {namespace} deployment/{name}")),
    }
}
