//! The chart's own RBAC, rendered by real helm, so that the operators of the tests have what an installed one has and no more.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, ResourceExt};
use securebucket::admission::judge::SETTLING;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Stack;

/// Release name; the chart calls its objects so as well, the lease among them.
pub const RELEASE: &str = "securebucket";
/// ClusterRole with the rules of the chart's Role for one watched namespace.
pub const NAMESPACED_ROLE: &str = "securebucket-test-namespaced";
/// ClusterRole with the rules of the chart's Roles in its own namespace: for the lease, and for the proof of the admission policies.
pub const LEASE_ROLE: &str = "securebucket-test-lease";

/// Renders the chart with further arguments of `helm template`.
pub fn render(stack: &Stack, arguments: &[&str]) -> Vec<Value> {
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/securebucket");
    let mut helm = Command::new(&stack.tools.helm);
    helm.args(["template", RELEASE]).arg(&chart).args(["--set", "cluster.name=t,aws.region=eu-west-1"]).args(arguments);
    let output = helm.output().unwrap_or_else(|e| panic!("{helm:?}: {e}"));
    assert!(output.status.success(), "{helm:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    documents.into_iter().filter(Value::is_object).collect()
}

/// The rendered objects of one kind.
pub fn of_kind<K: DeserializeOwned>(objects: &[Value], kind: &str) -> Vec<K> {
    objects.iter().filter(|o| o["kind"] == kind).map(|o| serde_json::from_value(o.clone()).unwrap()).collect()
}

/// Installs the CRDs that this build serves, the chart's rules under names for the tests, its ClusterRoles for people, and the admission policies.
pub(super) async fn install(stack: &Stack) {
    install_bare(stack).await;
    let client = stack.admin().await;
    admission(&client).await;
    in_force(&client).await;
}

/// The same without the admission policies.
pub(super) async fn install_bare(stack: &Stack) {
    let client = stack.admin().await;
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    for crd in securebucket::api::crds() {
        let name = crd.name_any();
        apply(&crds, &name, &crd).await;
        let established = await_condition(crds.clone(), &name, conditions::is_crd_established());
        tokio::time::timeout(Duration::from_secs(30), established).await.expect("CRD established within 30 s").unwrap();
    }
    let objects = render(stack, &["--namespace", "op", "--set", "watch.namespaces={app}"]);
    let roles: Vec<Role> = of_kind(&objects, "Role");
    let cluster: Vec<ClusterRole> = of_kind(&objects, "ClusterRole");
    let rules_in = |namespace: &str| {
        let there = roles.iter().filter(|r| r.namespace().as_deref() == Some(namespace));
        let rules: Vec<PolicyRule> = there.flat_map(|r| r.rules.clone().unwrap_or_default()).collect();
        assert!(!rules.is_empty(), "the chart renders no Role in {namespace}");
        rules
    };
    let everywhere = cluster.iter().find(|c| c.name_any() == RELEASE).and_then(|c| c.rules.clone());
    let everywhere = everywhere.expect("the chart renders a ClusterRole for the operator");
    EVERYWHERE.get_or_init(|| everywhere);
    for role in cluster.iter().filter(|c| c.name_any() != RELEASE) {
        let mut role = role.clone();
        role.metadata = ObjectMeta { name: role.metadata.name, labels: role.metadata.labels, ..ObjectMeta::default() };
        apply(&Api::<ClusterRole>::all(client.clone()), &role.name_any(), &role).await;
    }
    put_role(&client, NAMESPACED_ROLE, rules_in("app")).await;
    put_role(&client, LEASE_ROLE, rules_in("op")).await;
}

/// Installs the admission policies of this build. The stack of all tests has them: each run proves that they do not stand in the operator's way.
pub async fn admission(client: &Client) {
    let (policies, bindings): (Api<ValidatingAdmissionPolicy>, Api<ValidatingAdmissionPolicyBinding>) =
        (Api::all(client.clone()), Api::all(client.clone()));
    for rule in securebucket::admission::rules() {
        apply(&policies, rule.policy_name(), &rule.policy).await;
        apply(&bindings, rule.binding_name(), &rule.binding).await;
    }
}

/// Waits until the admission policies are in force, and old enough for what is asked from then on to count.
pub async fn in_force(client: &Client) {
    let nobody = || async {
        let spec = super::world::grant_spec("data", "x", &["in/"], "1h");
        let grant = json!({"apiVersion": "securebucket.io/v1alpha1", "kind": "DecryptGrant", "metadata": {"name": "x"}, "spec": spec});
        let path = "/apis/securebucket.io/v1alpha1/namespaces/default/decryptgrants?dryRun=All";
        let request = http::Request::post(path).header("content-type", "application/json");
        let taken = client.request::<Value>(request.body(grant.to_string().into_bytes()).unwrap()).await;
        taken.is_err().then_some(())
    };
    assert!(super::wait::poll(nobody).await.is_some(), "the admission policies never came into force");
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(client.clone());
    let mut newest = jiff::Timestamp::UNIX_EPOCH;
    for rule in securebucket::admission::rules() {
        let found = bindings.get(rule.binding_name()).await.unwrap();
        newest = newest.max(found.metadata.creation_timestamp.unwrap().0);
    }
    // The API server is on this machine, and so has its clock; the second after the last one begins.
    let counts = newest.checked_add(SETTLING).unwrap().checked_add(jiff::SignedDuration::from_secs(1)).unwrap();
    let later = || async { (jiff::Timestamp::now() >= counts).then_some(()) };
    assert!(super::wait::poll(later).await.is_some());
}

/// Rules of the chart's ClusterRole for `watch.namespaces={app}`.
static EVERYWHERE: OnceLock<Vec<PolicyRule>> = OnceLock::new();

/// Rules of the chart's ClusterRole when these namespaces are watched: what the operator may do outside of them.
pub fn cluster_rules(namespaces: &[String]) -> Vec<PolicyRule> {
    let mut rules = EVERYWHERE.get().expect("installed").clone();
    for rule in rules.iter_mut().filter(|r| r.resource_names.as_deref() == Some(&["app".to_owned()])) {
        rule.resource_names = Some(namespaces.to_vec());
    }
    rules
}

/// Makes a ClusterRole.
pub async fn put_role(client: &Client, name: &str, rules: Vec<PolicyRule>) {
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules});
    apply(&Api::<ClusterRole>::all(client.clone()), name, &role).await;
}

/// Server-side apply, as `kubectl apply --server-side --force-conflicts` does it.
pub async fn apply<K, P>(api: &Api<K>, name: &str, object: &P) -> K
where
    K: kube::Resource + Clone + DeserializeOwned + std::fmt::Debug,
    P: Serialize + std::fmt::Debug,
{
    let params = PatchParams::apply("integration-test").force();
    api.patch(name, &params, &Patch::Apply(object)).await.unwrap_or_else(|e| panic!("apply {name}: {e}\n{object:#?}"))
}
