//! The plugin, by the commands that people type: what it says, how it ends, and what is then in the API server. Beside each that is allowed stands
//! mallory, who holds no right and is told so.

mod asking;
mod deciding;
mod ending;
mod flags;
mod looking;
mod page;

use kube::Client;
use kube::api::{Api, PostParams};
use securebucket::api::DecryptGrant;
use serde_json::json;

use crate::attacks::bind;
use crate::support::person::Person;
use crate::support::wait::state;
use crate::support::{Operator, World};

/// A bucket `data` that admits the namespace `asks`, whose `reports` may be subject; alice asks there, bob approves.
struct Play {
    world: World,
    operator: Operator,
    asks: String,
    alice: Person,
    bob: Person,
    mallory: Person,
}

impl Play {
    async fn new(name: &str, grants: serde_json::Value) -> Self {
        let world = World::with_namespaces(name, &["asks"]).await;
        let asks = world.other("asks");
        let operator = world.operator().start();
        world.service_account("etl").await;
        world.service_account_in(&asks, "reports").await;
        let mut grants = grants;
        grants["allowedNamespaces"] = json!([asks]);
        let access =
            json!([{"name": "etl", "duty": "Processor", "serviceAccountRef": {"name": "etl"}, "prefixes": ["in/"]}]);
        world.apply_bucket("data", json!({"access": access, "grants": grants})).await;
        world.bucket_ready("data").await;
        let (alice, bob) = (Person::named("alice").uid("u-alice"), Person::named("bob").uid("u-bob"));
        bind(&world, "securebucket-requester", &alice, &asks).await;
        bind(&world, "securebucket-approver", &bob, &world.namespace).await;
        Self { world, operator, asks, alice, bob, mallory: Person::named("mallory").uid("u-mallory") }
    }

    /// Waits until a request waits for people: a command may come back before the operator has got so far.
    async fn awaiting(&self, name: &str) {
        let waits = |g: &DecryptGrant| state(g) == "AwaitingApproval";
        self.world.object_when(&self.world.grants_in(&self.asks), name, "awaits approval", waits).await;
    }

    /// Alice's command line that asks, with further flags.
    fn ask(&self, further: &str) -> String {
        format!(
            "request data --for-service-account {}/reports --prefix in/ --duration 1h --reason 'Q3 report' {further}",
            self.asks
        )
    }
}

/// What the API server calls the plugin's users is in its kubeconfig; a client of cluster-admin looks at what they have done.
fn admin() -> Person {
    Person::named("admin").uid("uid-admin").group("system:masters")
}

/// A Deployment as the chart's, with as many replicas available.
async fn deployment(client: &Client, namespace: &str, available: i32) {
    let labels = json!({"app.kubernetes.io/part-of": "securebucket", "app.kubernetes.io/component": "operator"});
    let object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "securebucket", "labels": labels},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "operator", "image": "none"}]}},
        },
    });
    let api: Api<k8s_openapi::api::apps::v1::Deployment> = Api::namespaced(client.clone(), namespace);
    let mut made = api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    let status = json!({"replicas": available, "readyReplicas": available, "availableReplicas": available});
    made.status = Some(serde_json::from_value(status).unwrap());
    api.replace_status("securebucket", &PostParams::default(), &made).await.unwrap();
}
