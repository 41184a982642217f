"""The Helm chart: what it renders, what it refuses, and what its ServiceAccount may do on a real API server.

Needs a stack for helm, kubectl and the API server, and the operator's binary:

    cargo build && e2e/stack run -- python3 -m unittest e2e/tests/test_chart.py

The CRDs that the chart installs stay in the API server. A later `helm install` under another release name must take them over
(`--take-ownership`), as it would have to in any cluster.
"""

import copy
import json
import os
import re
import secrets
import shutil
import subprocess
import tempfile
import time
import unittest
from collections.abc import Iterator
from pathlib import Path
from typing import Any

try:
    import yaml
except ImportError:
    raise ImportError("this Python has no PyYAML; the one of the stack has it: `e2e/stack tools` prints its path") from None

CHECKOUT = Path(__file__).resolve().parent.parent.parent
CHART = CHECKOUT / "charts" / "securebucket"
BINARY = Path(os.environ.get("CARGO_TARGET_DIR") or CHECKOUT / "target") / "debug" / "securebucket"
CI_VALUES = sorted((CHART / "ci").glob("*-values.yaml"))
ROLE_ARN = "arn:aws:iam::111122223333:role/securebucket-operator"
DIGEST = "sha256:" + "0123456789abcdef" * 4
REQUIRED = {"cluster": {"name": "prod-eu"}, "aws": {"region": "eu-west-1"}}

# What the operator may do in the namespaces that it serves, in the cluster, and in its own namespace: (group, resource, name) -> verbs.
NAMESPACED_RIGHTS = {
    ("securebucket.io", "securebuckets", None): {"get", "list", "watch", "patch"},
    ("securebucket.io", "decryptgrants", None): {"get", "list", "watch", "patch", "delete"},
    ("securebucket.io", "grantreviews", None): {"get", "list", "watch"},
    ("securebucket.io", "securebuckets/status", None): {"update"},
    ("securebucket.io", "decryptgrants/status", None): {"update"},
    ("securebucket.io", "grantreviews/status", None): {"update"},
    ("", "configmaps", None): {"get", "create", "update", "delete"},
    ("", "serviceaccounts", None): {"get", "list", "watch"},
    ("events.k8s.io", "events", None): {"create", "patch"},
}
RBAC = "rbac.authorization.k8s.io"
# Questions whose answer must be no wherever they are asked: verb, group, resource.
NEVER = [
    *((verb, "", "secrets") for verb in ("get", "list", "watch", "create", "update", "patch", "delete")),
    *((verb, "", "pods") for verb in ("get", "list", "create", "delete")),
    ("create", "", "pods/exec"), ("create", "", "pods/attach"), ("get", "", "pods/log"), ("get", "", "nodes/proxy"),
    ("create", "apps", "deployments"), ("patch", "apps", "deployments"), ("create", "batch", "jobs"),
    ("create", "", "serviceaccounts/token"), ("create", "", "serviceaccounts"), ("update", "", "serviceaccounts"),
    ("patch", "", "serviceaccounts"), ("delete", "", "serviceaccounts"),
    ("impersonate", "", "users"), ("impersonate", "", "groups"), ("impersonate", "", "serviceaccounts"),
    ("create", "authentication.k8s.io", "tokenreviews"), ("create", "authorization.k8s.io", "subjectaccessreviews"),
    ("create", "apiextensions.k8s.io", "customresourcedefinitions"),
    ("patch", "apiextensions.k8s.io", "customresourcedefinitions"),
    ("create", RBAC, "roles"), ("bind", RBAC, "roles"), ("escalate", RBAC, "roles"), ("create", RBAC, "rolebindings"),
    ("create", RBAC, "clusterrolebindings"), ("patch", RBAC, "clusterroles"),
    ("create", "admissionregistration.k8s.io", "validatingadmissionpolicies"),
    ("create", "", "namespaces"), ("patch", "", "namespaces"), ("delete", "", "namespaces"),
    ("list", "", "configmaps"), ("watch", "", "configmaps"), ("patch", "", "configmaps"),
    ("create", "", "events"), ("get", "events.k8s.io", "events"), ("delete", "events.k8s.io", "events"),
    # The custom resources are the users'; the virtual verbs are for people. Only a grant that was kept as a record for long enough is deleted.
    *((verb, "securebucket.io", kind) for kind in ("securebuckets", "decryptgrants", "grantreviews")
      for verb in ("update", "deletecollection")),
    ("create", "securebucket.io", "securebuckets"),
    ("delete", "securebucket.io", "securebuckets"), *((verb, "securebucket.io", "grantreviews") for verb in ("patch", "delete")),
    *((verb, "securebucket.io", "securebuckets") for verb in ("approve", "revoke", "delegate", "lift-lockdown", "breakglass")),
    ("update", "securebucket.io", "securebuckets/finalizers"),
]

# For each value: another one, and a text that is in a line which it adds or takes away.
FLIPS: dict[str, tuple[Any, str]] = {
    "cluster.name": ("prod-us", "--cluster=prod-us"),
    "cluster.oidcIssuer": ("https://oidc.test/id/X", "--oidc-issuer=https://oidc.test/id/X"),
    "aws.region": ("eu-central-1", "--aws-region=eu-central-1"),
    "aws.regions": (["eu-north-1", "eu-south-1"], "--regions=eu-north-1,eu-south-1"),
    "aws.endpointUrl": ("http://127.0.0.1:4566", "--aws-endpoint-url=http://127.0.0.1:4566"),
    "aws.breakGlassRoleArn": (ROLE_ARN, f"--break-glass-role-arn={ROLE_ARN}"),
    "aws.pinFederation": (True, "--pin-federation"),
    "bucketPrefix": ("acme", "--bucket-prefix=acme"),
    "grants.floor": ("1m", "--grant-floor=1m"),
    "grants.ceiling": ("8h30m", "--grant-ceiling=8h30m"),
    "grants.history": ("720h", "--grant-history=720h"),
    "timing.policyPropagation": ("0s", "--policy-propagation=0s"),
    "timing.rolePropagation": ("2m", "--role-propagation=2m"),
    "timing.evidenceWait": ("20m", "--evidence-wait=20m"),
    "timing.driftCheck": ("1h", "--drift-check=1h"),
    "timing.roleRetention": ("0s", "--role-retention=0s"),
    "watch.namespaces": (["telephony", "analytics"], "--watch-namespaces=telephony,analytics"),
    "workers": (31, "--workers=31"),
    "log.level": ("debug", "--log-level=debug"),
    "log.format": ("text", "--log-format=text"),
    "replicas": (5, "replicas: 5"),
    "leaderElection.enabled": (False, "--leader-elect=false"),
    "image.repository": ("mirror.example:5000/securebucket", "mirror.example:5000/securebucket:"),
    "image.tag": ("9.9.9", ":9.9.9"),
    "image.digest": (DIGEST, f"@{DIGEST}"),
    "resources.requests.cpu": ("2", 'cpu: "2"'),
    "resources.requests.memory": ("1Gi", "memory: 1Gi"),
    "resources.limits.memory": ("3Gi", "memory: 3Gi"),
    "serviceAccount.create": (False, "kind: ServiceAccount"),
    "serviceAccount.name": ("other", "serviceAccountName: other"),
    "serviceAccount.annotations": ({"example.com/a": "b"}, "example.com/a: b"),
    "serviceAccount.automount": (True, "automountServiceAccountToken: false"),
    "crds.enabled": (False, "kind: CustomResourceDefinition"),
    "admission.enabled": (False, "--admission=Off"),
    "admission.install": (False, "name: securebucket-requester-"),
    "admission.fixedSessionRoles": (["AROAEXAMPLE"], "--fixed-session-roles=AROAEXAMPLE"),
    "roles.enabled": (False, "name: securebucket-responder"),
}

SAMPLE_CRDS = """\
# A comment before the first document.
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.chart.test, labels: {theirs: kept}, annotations: {theirs: kept}}
spec:
  group: chart.test
  scope: Namespaced
  names: {kind: Widget, plural: widgets}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        description: "text with --- and {{ braces }}"
        properties:
          size: {type: integer, format: int64, minimum: 0, maximum: 9007199254740991, default: 1000000}
          mode: {type: string, pattern: '^[0-9]{1,5}(\\.[a-z]+)?$', enum: ["yes", "1e3", "0x10"]}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gadgets.chart.test}
spec: {group: chart.test, scope: Cluster, names: {kind: Gadget, plural: gadgets}, versions: []}
"""


def description() -> dict[str, Any]:
    path = os.environ.get("SECUREBUCKET_STACK")
    if not path:
        raise AssertionError("SECUREBUCKET_STACK is not set: these tests need the local stack. "
                             "Run them as `e2e/stack run -- python3 -m unittest e2e/tests/test_chart.py`")
    return json.loads(Path(path).read_text(encoding="utf-8"))


def setUpModule() -> None:
    global STACK, SCRATCH, ENVIRONMENT
    STACK = description()
    SCRATCH = Path(tempfile.mkdtemp(prefix="securebucket-chart-"))
    unittest.addModuleCleanup(shutil.rmtree, SCRATCH)
    mine = {name: value for name, value in os.environ.items() if not name.startswith("HELM_")}
    ENVIRONMENT = {**mine, "KUBECONFIG": STACK["kube"]["kubeconfig"], "HELM_CACHE_HOME": str(SCRATCH / "cache"),
                   "HELM_CONFIG_HOME": str(SCRATCH / "config"), "HELM_DATA_HOME": str(SCRATCH / "data")}


def call(tool: str, *arguments: Any, text: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([STACK["tools"][tool], *map(str, arguments)], input=text, capture_output=True, text=True,
                          env=ENVIRONMENT, timeout=120)


def good(tool: str, *arguments: Any, text: str | None = None) -> str:
    done = call(tool, *arguments, text=text)
    if done.returncode != 0:
        raise AssertionError(f"{tool} {' '.join(map(str, arguments))} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def binary(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the operator's binary without any setting but its arguments."""
    if not BINARY.is_file():
        raise AssertionError(f"no binary at {BINARY}: run `cargo build`")
    return subprocess.run([BINARY, *arguments], capture_output=True, text=True, timeout=60, env={"KUBECONFIG": "/nonexistent"})


def kubectl_json(*arguments: Any, text: str | None = None) -> Any:
    return json.loads(good("kubectl", *arguments, "-o", "json", text=text))


def one_after_another(text: str) -> Iterator[dict[str, Any]]:
    """The JSON documents that `kubectl create -o json` prints without anything between them."""
    while text := text.lstrip():
        document, end = json.JSONDecoder().raw_decode(text)
        yield document
        text = text[end:]


def values_file(values: dict[str, Any]) -> Path:
    path = SCRATCH / f"{secrets.token_hex(8)}.yaml"
    path.write_text(json.dumps(values), encoding="utf-8")
    return path


def template(values: dict[str, Any] | Path, chart: Path = CHART, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = values if isinstance(values, Path) else values_file(values)
    return call("helm", "template", "securebucket", chart, "--namespace", "securebucket-system", "--values", path, *arguments)


def render(values: dict[str, Any] | Path, chart: Path = CHART) -> str:
    done = template(values, chart)
    if done.returncode != 0:
        raise AssertionError(f"helm template failed for {values}:\n{done.stderr}")
    return done.stdout


def documents(text: str) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(text) if document]


def of_kind(text: str, kind: str) -> list[dict[str, Any]]:
    return [document for document in documents(text) if document["kind"] == kind]


def changed(values: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    result = copy.deepcopy(values)
    *parents, leaf = path.split(".")
    node = result
    for parent in parents:
        node = node.setdefault(parent, {})
    node[leaf] = value
    return result


def leaves(node: Any, path: str = "") -> Iterator[str]:
    if isinstance(node, dict) and node:
        for key, value in node.items():
            yield from leaves(value, f"{path}.{key}" if path else key)
    else:
        yield path


def rights(rules: list[dict[str, Any]]) -> dict[tuple[str, str, str | None], set[str]]:
    """RBAC rules as the tables above have them; says no to anything that is not a resource rule."""
    table: dict[tuple[str, str, str | None], set[str]] = {}
    for rule in rules:
        assert not rule.keys() - {"apiGroups", "resources", "resourceNames", "verbs"}, rule
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for name in rule.get("resourceNames") or [None]:
                    table.setdefault((group, resource, name), set()).update(rule["verbs"])
    return table


def printed_admission() -> list[dict[str, Any]]:
    """The policies and bindings that the binary prints."""
    return documents(binary("admission").stdout)


def cluster_rights(namespaces: tuple[str, ...] = ()) -> dict[tuple[str, str, str | None], set[str]]:
    """Of cluster-scoped objects, only Namespaces, those served, and the admission policies by name; and the verb by which these know it."""
    plural = {"ValidatingAdmissionPolicy": "validatingadmissionpolicies",
              "ValidatingAdmissionPolicyBinding": "validatingadmissionpolicybindings"}
    policies = {("admissionregistration.k8s.io", plural[d["kind"]], d["metadata"]["name"]): {"get"} for d in printed_admission()}
    known = {("securebucket.io", "securebuckets", None): {"operate"}}
    return {**{("", "namespaces", name): {"get", "list", "watch"} for name in namespaces or (None,)}, **policies, **known}


def proof_rights() -> dict[tuple[str, str, str | None], set[str]]:
    """For dry runs in the release's namespace."""
    return {("securebucket.io", kind, None): {"create"} for kind in ("decryptgrants", "grantreviews")}


def merged(*tables: dict[tuple[str, str, str | None], set[str]]) -> dict[tuple[str, str, str | None], set[str]]:
    result: dict[tuple[str, str, str | None], set[str]] = {}
    for table in tables:
        for where, verbs in table.items():
            result.setdefault(where, set()).update(verbs)
    return result


def operators(text: str, kind: str) -> list[dict[str, Any]]:
    """Roles of the operator, without those for people."""
    return [d for d in of_kind(text, kind) if d["metadata"]["labels"]["app.kubernetes.io/component"] != "roles"]


def lease_rights(name: str) -> dict[tuple[str, str, str | None], set[str]]:
    return {("coordination.k8s.io", "leases", None): {"create"}, ("coordination.k8s.io", "leases", name): {"get", "update"}}


def chart_with(crds: str) -> Path:
    """A copy of the chart whose CRDs are these."""
    chart = SCRATCH / secrets.token_hex(4) / "securebucket"
    shutil.copytree(CHART, chart, ignore=shutil.ignore_patterns("crds"))
    (chart / "files" / "crds").mkdir(parents=True)
    (chart / "files" / "crds" / "sample.yaml").write_text(crds, encoding="utf-8")
    return chart


class Rendering(unittest.TestCase):
    """What comes out of `helm template` and `helm lint`."""

    def test_every_example_lints_and_renders_the_same_twice(self) -> None:
        self.assertGreaterEqual(len(CI_VALUES), 4)
        for path in CI_VALUES:
            with self.subTest(path.name):
                good("helm", "lint", "--strict", CHART, "--values", path)
                text = render(path)
                self.assertEqual(text, render(path))
                names = [(d["kind"], d["metadata"].get("namespace"), d["metadata"]["name"]) for d in documents(text)]
                self.assertEqual(len(names), len(set(names)))

    def test_every_object_has_the_standard_labels(self) -> None:
        for document in documents(render(REQUIRED)):
            with self.subTest(kind=document["kind"], name=document["metadata"]["name"]):
                labels = document["metadata"]["labels"]
                self.assertEqual({"app.kubernetes.io/" + name for name in (
                    "name", "instance", "version", "component", "part-of", "managed-by")} | {"helm.sh/chart"},
                    {label for label in labels if not label.startswith("rbac.authorization.k8s.io/aggregate-to-")})

    def test_every_value_changes_what_it_is_for(self) -> None:
        values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
        self.assertEqual(set(leaves(values)), FLIPS.keys(), "values.yaml and FLIPS must have the same values")
        base_values = changed(REQUIRED, "replicas", 1)
        chart = chart_with(SAMPLE_CRDS)
        base = set(render(base_values, chart).splitlines())
        for path, (value, text) in FLIPS.items():
            with self.subTest(path):
                lines = set(render(changed(base_values, path, value), chart).splitlines())
                self.assertTrue(any(text in line for line in base ^ lines), f"no line with {text!r} came or went")

    def test_schema_and_values_name_the_same_things(self) -> None:
        def known(schema: dict[str, Any], path: str = "") -> Iterator[str]:
            self.assertIs(schema.get("additionalProperties"), False, path)
            for key, value in schema["properties"].items():
                here = f"{path}.{key}" if path else key
                if "properties" in value and here != "serviceAccount.annotations":  # any annotation may stand there
                    yield from known(value, here)
                else:
                    yield here

        schema = set(known(json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))))
        values = set(leaves(yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))))
        quantities = {"resources.requests", "resources.limits"}  # any resource name may stand there
        in_values = {next((q for q in quantities if leaf.startswith(q)), leaf) for leaf in values}
        self.assertEqual(schema - {"global"}, in_values)

    def test_digest_wins_over_tag(self) -> None:
        def image(**values: str) -> str:
            return pod_of(render({**REQUIRED, "image": {"repository": "r.example/x", **values}}))["containers"][0]["image"]

        version = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))["appVersion"]
        self.assertEqual(image(), f"r.example/x:{version}")
        self.assertEqual(image(tag="v9"), "r.example/x:v9")
        self.assertEqual(image(tag="v9", digest=DIGEST), f"r.example/x@{DIGEST}")

    def test_chart_and_crate_have_one_version(self) -> None:
        chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
        crate = re.search(r'^version = "(.+)"$', (CHECKOUT / "Cargo.toml").read_text(encoding="utf-8"), re.M)
        self.assertIsNotNone(crate)
        self.assertEqual([chart["version"], chart["appVersion"]], [crate[1], crate[1]])

    def test_pod(self) -> None:
        pod = pod_of(render(REQUIRED))
        container = pod["containers"][0]
        self.assertEqual({e["name"]: e["valueFrom"]["fieldRef"]["fieldPath"] for e in container["env"]},
                         {"POD_NAME": "metadata.name", "POD_NAMESPACE": "metadata.namespace"})
        # A Service of this name would otherwise set SECUREBUCKET_PORT and the like, and SECUREBUCKET_… are the operator's settings.
        self.assertIs(pod["enableServiceLinks"], False)
        self.assertIs(pod["automountServiceAccountToken"], True)
        self.assertIs(container["securityContext"]["readOnlyRootFilesystem"], True)
        self.assertEqual(container["ports"][0]["containerPort"], 8080)
        self.assertEqual([container[p]["httpGet"] for p in ("livenessProbe", "readinessProbe")],
                         [{"path": "/livez", "port": "http"}, {"path": "/readyz", "port": "http"}])
        self.assertIn("--listen=[::]:8080", container["args"])

    def test_the_binary_takes_the_arguments(self) -> None:
        """Each run gets past the check of its settings and then misses an API server. The examples use every flag."""
        used: set[str] = set()
        for path in CI_VALUES:
            with self.subTest(path.name):
                values = yaml.safe_load(path.read_text(encoding="utf-8"))
                values["cluster"].setdefault("oidcIssuer", "https://oidc.test")  # a pod with IRSA has it from its token
                arguments = pod_of(render(values))["containers"][0]["args"]
                self.assertIn("no way to the API server", binary(*arguments).stderr)
                used |= {argument.partition("=")[0] for argument in arguments}
        self.assertNotIn("no way to the API server", binary(*arguments, "--workers=none").stderr)
        template_text = (CHART / "templates" / "deployment.yaml").read_text(encoding="utf-8")
        self.assertEqual(used - {"run"}, set(re.findall(r"--[a-z-]{3,}", template_text)))

    def test_service_reaches_the_pods(self) -> None:
        text = render(REQUIRED)
        deployment, service = of_kind(text, "Deployment")[0]["spec"], of_kind(text, "Service")[0]["spec"]
        labels = deployment["template"]["metadata"]["labels"]
        self.assertLessEqual(service["selector"].items(), labels.items())
        self.assertLessEqual(deployment["selector"]["matchLabels"].items(), labels.items())
        self.assertEqual([(port["name"], port["targetPort"]) for port in service["ports"]], [("metrics", "http")])

    def test_two_pods_never_work_at_once(self) -> None:
        two = of_kind(render(REQUIRED), "Deployment")[0]["spec"]
        self.assertEqual(two["replicas"], 2)
        self.assertNotIn("strategy", two)
        args = two["template"]["spec"]["containers"][0]["args"]
        self.assertLessEqual({"--leader-elect=true", "--lease-namespace=securebucket-system", "--lease-name=securebucket"}, set(args))
        alone = of_kind(render({**REQUIRED, "replicas": 1, "leaderElection": {"enabled": False}}), "Deployment")[0]["spec"]
        self.assertEqual(alone["strategy"], {"type": "Recreate"})

    def test_crd_template_keeps_documents_and_adds_ours(self) -> None:
        rendered = of_kind(render(REQUIRED, chart_with(SAMPLE_CRDS)), "CustomResourceDefinition")
        source = documents(SAMPLE_CRDS)
        self.assertEqual([d["metadata"]["name"] for d in rendered], [d["metadata"]["name"] for d in source])
        for ours, theirs in zip(rendered, source, strict=True):
            self.assertEqual(ours["spec"], theirs["spec"])
            for part in ("labels", "annotations"):
                self.assertLessEqual(theirs["metadata"].get(part, {}).items(), ours["metadata"][part].items())
            self.assertEqual(ours["metadata"]["annotations"]["helm.sh/resource-policy"], "keep")
            self.assertEqual(ours["metadata"]["labels"]["app.kubernetes.io/component"], "crds")

    def test_a_broken_crd_file_is_an_error(self) -> None:
        done = template(REQUIRED, chart_with("a: [\n"))
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("files/crds/sample.yaml", done.stderr)

    def test_crds_are_those_of_the_project(self) -> None:
        rendered = {d["metadata"]["name"]: d["spec"] for d in of_kind(render(REQUIRED), "CustomResourceDefinition")}
        source = [d for path in sorted((CHECKOUT / "crds").glob("*.yaml")) for d in documents(path.read_text(encoding="utf-8"))]
        self.assertEqual(rendered, {d["metadata"]["name"]: d["spec"] for d in source})

    def test_works_as_a_dependency(self) -> None:
        parent = SCRATCH / "parent"
        shutil.copytree(CHART, parent / "charts" / "securebucket")
        (parent / "Chart.yaml").write_text("{apiVersion: v2, name: parent, version: 0.0.1}", encoding="utf-8")
        text = render({"global": {"anything": 1}, "securebucket": REQUIRED}, parent)
        self.assertEqual(len(of_kind(text, "Deployment")), 1)


class Refusals(unittest.TestCase):
    """Wrong values end with an error that names them."""

    def refused(self, values: dict[str, Any], *parts: str) -> None:
        done = template(values)
        self.assertNotEqual(done.returncode, 0, f"accepted: {values}")
        for part in parts:
            self.assertIn(part, done.stderr)

    def test_required_values(self) -> None:
        self.refused({}, "cluster.name is required", "--set cluster.name=", "aws.region is required", "--set aws.region=")
        self.refused({"aws": {"region": "eu-west-1"}}, "cluster.name is required")
        self.refused({"cluster": {"name": "prod-eu"}}, "aws.region is required")
        long = changed(REQUIRED, "cluster.name", "a" * 21)
        self.refused(long, "bucketPrefix is required")
        self.assertEqual(template({**long, "bucketPrefix": "a" * 20}).returncode, 0)

    def test_two_replicas_without_leader_election(self) -> None:
        self.refused({**REQUIRED, "leaderElection": {"enabled": False}}, "replicas is 2", "leaderElection.enabled is false")

    def test_unknown_values(self) -> None:
        for path in ("clusterName", "cluster.nam", "aws.regoin", "watch.namespace", "image.pullPolice", "serviceAccount.annotation",
                     "leaderElection.enable", "resources.request", "timing.drift", "grants.flor", "log.lvl", "crds.install",
                     "admission.mode", "roles.bind"):
            with self.subTest(path):
                self.refused(changed(REQUIRED, path, "x"), f"additional properties '{path.rpartition('.')[2]}' not allowed")

    def test_bad_values(self) -> None:
        bad = {
            "cluster.name": ["Prod", "a/b", "-a", 7, "a" * 33], "cluster.oidcIssuer": ["oidc.test", "http://oidc.test"],
            "aws.region": ["Ireland", 1], "aws.regions": ["eu-west-1", ["x"]],
            "aws.endpointUrl": ["localhost:4566"], "aws.breakGlassRoleArn": ["admin", "arn:aws:iam::1:role/x"],
            "aws.pinFederation": ["true"], "bucketPrefix": ["A_b", "a" * 21], "grants.floor": ["15", "1d", "", 15, "1m1h"],
            "grants.ceiling": ["-1h"], "grants.history": ["90d"], "timing.policyPropagation": [15], "timing.rolePropagation": ["1.5m"],
            "timing.evidenceWait": ["ten minutes"], "timing.driftCheck": [None], "timing.roleRetention": ["a day"], "watch.namespaces": ["telephony", ["Tele_phony"], ["a", "a"]],
            "workers": [0, "8", 1.5, None], "log.level": ["", 1], "log.format": ["xml"], "replicas": [-1, "2"],
            "leaderElection.enabled": ["yes"], "image.repository": ["", "a b"], "image.tag": ["a b", 1.0],
            "image.digest": ["sha256:abc"], "resources.requests": [{"cpu": "lots"}], "serviceAccount.create": [1],
            "serviceAccount.name": ["", "A"], "serviceAccount.annotations": [{"a": True}], "serviceAccount.automount": ["no"],
            "crds.enabled": ["false"], "admission.enabled": ["Off"], "admission.install": [None], "admission.fixedSessionRoles": ["x", ["a b"], ["a,b"]], "roles.enabled": [1],
        }
        ours = {leaf for leaf in FLIPS if not leaf.startswith("resources.")} | {"resources.requests"}
        self.assertEqual(bad.keys(), ours, "a value without an example of a bad one")
        for path, values in bad.items():
            for value in values:
                with self.subTest(path, value=value):
                    # A null takes the default away, so it is the parent that misses a property.
                    missing = f"missing property '{path.rpartition('.')[2]}'"
                    self.refused(changed(REQUIRED, path, value), missing if value is None else f"at '/{path.replace('.', '/')}")

    def test_old_kubernetes(self) -> None:
        done = template(REQUIRED, CHART, "--kube-version", "1.32.9")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("1.33", done.stderr)
        self.assertEqual(template(REQUIRED, CHART, "--kube-version", "v1.33.4-eks-99d6cc0").returncode, 0)


class Rbac(unittest.TestCase):
    """The rules, as rendered."""

    def test_whole_cluster(self) -> None:
        text = render(REQUIRED)
        self.assertEqual([rights(role["rules"]) for role in operators(text, "ClusterRole")],
                         [merged(cluster_rights(), NAMESPACED_RIGHTS)])
        self.assertEqual([rights(role["rules"]) for role in of_kind(text, "Role")], [lease_rights("securebucket"), proof_rights()])
        self.bound(text)

    def test_some_namespaces(self) -> None:
        text = render({**REQUIRED, "watch": {"namespaces": ["telephony", "analytics"]}})
        self.assertEqual([rights(role["rules"]) for role in operators(text, "ClusterRole")],
                         [cluster_rights(("telephony", "analytics"))])
        self.assertEqual({(role["metadata"]["namespace"], role["metadata"]["name"]): rights(role["rules"]) for role in of_kind(text, "Role")}, {
            ("telephony", "securebucket"): NAMESPACED_RIGHTS, ("analytics", "securebucket"): NAMESPACED_RIGHTS,
            ("securebucket-system", "securebucket-lease"): lease_rights("securebucket"),
            ("securebucket-system", "securebucket-proof"): proof_rights()})
        self.bound(text)

    def test_no_lease_without_leader_election(self) -> None:
        text = render({**REQUIRED, "replicas": 1, "leaderElection": {"enabled": False}})
        self.assertEqual([d["metadata"]["name"] for d in of_kind(text, "Role") + of_kind(text, "RoleBinding")], ["securebucket-proof"] * 2)

    def test_nothing_to_prove_without_policies(self) -> None:
        text = render({**REQUIRED, "admission": {"enabled": False}})
        self.assertEqual([d["metadata"]["name"] for d in of_kind(text, "Role")], ["securebucket-lease"])
        self.assertEqual([rights(role["rules"]) for role in operators(text, "ClusterRole")],
                         [merged({("", "namespaces", None): {"get", "list", "watch"}, ("securebucket.io", "securebuckets", None): {"operate"}},
                                 NAMESPACED_RIGHTS)])
        self.assertEqual([d["metadata"]["name"] for d in of_kind(text, "ValidatingAdmissionPolicy")], ["securebucket-configmaps"])
        elsewhere = render({**REQUIRED, "admission": {"install": False}})  # installed by another release: read and proven all the same
        self.assertEqual([rights(role["rules"]) for role in operators(elsewhere, "ClusterRole")], [merged(cluster_rights(), NAMESPACED_RIGHTS)])
        self.assertEqual([d["metadata"]["name"] for d in of_kind(elsewhere, "ValidatingAdmissionPolicy")], ["securebucket-configmaps"])

    def test_admission_policies_are_those_of_the_binary(self) -> None:
        """As they are printed, to the letter: the operator compares them. `make admission` writes the chart's file anew."""
        rendered = {d["metadata"]["name"]: d["spec"] for kind in ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
                    for d in of_kind(render(REQUIRED), kind) if d["metadata"]["name"] != "securebucket-configmaps"}
        self.assertEqual(rendered, {d["metadata"]["name"]: d["spec"] for d in printed_admission()})

    def test_roles_for_people_are_bound_to_nobody(self) -> None:
        text = render(REQUIRED)
        names = [d["metadata"]["name"] for d in of_kind(text, "ClusterRole") if d not in operators(text, "ClusterRole")]
        self.assertEqual(names, [f"securebucket-{who}" for who in ("requester", "approver", "owner", "responder", "auditor", "viewer")])
        for binding in of_kind(text, "ClusterRoleBinding") + of_kind(text, "RoleBinding"):
            self.assertNotIn(binding["roleRef"]["name"], names)

    def test_nothing_broad_and_nothing_forbidden(self) -> None:
        for path in CI_VALUES:
            text = render(path)
            for role in operators(text, "ClusterRole") + of_kind(text, "Role"):
                table = rights(role["rules"])
                self.assertNotIn("*", json.dumps(role["rules"]))
                for verb, group, resource in NEVER:
                    self.assertNotIn(verb, table.get((group, resource, None), set()), f"{path.name}: {verb} {resource}.{group}")

    def bound(self, text: str) -> None:
        """Each role has one binding, of its own name and namespace, to the operator's ServiceAccount alone."""
        for kind in ("ClusterRole", "Role"):
            place = lambda d: (d["metadata"].get("namespace"), d["metadata"]["name"])  # noqa: E731
            bindings = of_kind(text, kind + "Binding")
            self.assertEqual(sorted(map(place, operators(text, kind)), key=str), sorted(map(place, bindings), key=str))
            for binding in bindings:
                self.assertEqual(binding["roleRef"], {"apiGroup": RBAC, "kind": kind, "name": binding["metadata"]["name"]})
                self.assertEqual(binding["subjects"], [
                    {"kind": "ServiceAccount", "name": "securebucket", "namespace": "securebucket-system"}])


def pod_of(text: str) -> dict[str, Any]:
    return of_kind(text, "Deployment")[0]["spec"]["template"]["spec"]


class Installed(unittest.TestCase):
    """A release in the stack's API server. Names are random: other tests use the same server."""

    def setUp(self) -> None:
        self.namespace = f"chart-{secrets.token_hex(4)}"
        self.release = f"rel-{secrets.token_hex(4)}"
        self.name = f"{self.release}-securebucket"
        self.user = f"system:serviceaccount:{self.namespace}:securebucket"
        self.elsewhere = self.make_namespace()
        self.addCleanup(call, "helm", "uninstall", self.release, "--namespace", self.namespace, "--ignore-not-found")

    def make_namespace(self) -> str:
        name = f"chart-{secrets.token_hex(4)}"
        good("kubectl", "create", "namespace", name)
        return name

    def helm(self, verb: str, *arguments: Any) -> str:
        done = call("helm", verb, self.release, CHART, "--namespace", self.namespace, "--set", "cluster.name=prod-eu",
                    "--set", "aws.region=eu-west-1", *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stderr, "", "the API server or helm has something to say about the chart")
        return done.stdout

    def crds(self) -> dict[str, str]:
        """CRDs of the chart that are in the server and established: name -> uid."""
        names = [d["metadata"]["name"] for d in of_kind(render(REQUIRED), "CustomResourceDefinition")]
        if not names:
            return {}
        good("kubectl", "wait", "crd", *names, "--for=condition=Established", "--timeout=30s")
        found = kubectl_json("get", "crd", *names)
        items = found.get("items", [found])
        return {item["metadata"]["name"]: item["metadata"]["uid"] for item in items}

    def ask(self, questions: list[tuple[str, str, str, str, str | None]]) -> dict[tuple[str, str, str, str, str | None], bool]:
        """What `kubectl auth can-i --as=…` asks, for many (verb, group, resource, namespace, name) at once."""
        reviews = []
        for verb, group, resource, namespace, name in questions:
            resource, _, subresource = resource.partition("/")
            reviews.append({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": {
                "verb": verb, "group": group, "resource": resource, "subresource": subresource, "namespace": namespace, "name": name or ""}}})
        text = good("kubectl", "create", "--as", self.user, "--validate=false", "-f", "-", "-o", "json",
                    text=json.dumps({"apiVersion": "v1", "kind": "List", "items": reviews}))
        answers = [document["status"]["allowed"] for document in one_after_another(text)]
        return dict(zip(questions, answers, strict=True))

    def effective(self, user: str, namespace: str) -> set[tuple[str, str, str | None, str]]:
        """Everything that RBAC gives this user in this namespace: `kubectl auth can-i --list --as=…`."""
        answer = kubectl_json("create", "--as", user, "--validate=false", "-f", "-", text=json.dumps({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": namespace}}))
        self.assertFalse(answer["status"]["incomplete"])
        table = rights(answer["status"]["resourceRules"])
        return {(*where, verb) for where, verbs in table.items() for verb in verbs}

    def expect_rights(self, *, limited_to: str | None) -> None:
        """The exact rights in a served namespace, another one and the release's own, by list and by question."""
        everywhere = cluster_rights((limited_to,)) if limited_to else merged(cluster_rights(), NAMESPACED_RIGHTS)
        own = merged(everywhere, lease_rights(self.name), proof_rights())
        expected = {self.elsewhere: everywhere, self.namespace: own}
        if limited_to:
            expected[limited_to] = merged(everywhere, NAMESPACED_RIGHTS)
        nobody = f"system:serviceaccount:{self.elsewhere}:nobody"
        answers: dict[tuple[str, str, str, str, str | None], bool] = {}
        for namespace, table in expected.items():
            flat = {(*where, verb) for where, verbs in table.items() for verb in verbs}
            self.assertEqual(self.effective(self.user, namespace) - self.effective(nobody, namespace), flat, namespace)
            asked = {(verb, group, resource, namespace, name)
                     for source in expected.values() for (group, resource, name), verbs in source.items() for verb in verbs}
            asked |= {(verb, group, resource, namespace, None) for verb, group, resource in NEVER}
            asked |= {(verb, "coordination.k8s.io", "leases", namespace, "kube-scheduler") for verb in ("get", "update")}
            asked |= {(verb, "coordination.k8s.io", "leases", namespace, None) for verb in ("list", "delete")}
            for question, allowed in self.ask(sorted(asked, key=str)).items():
                verb, group, resource, _, name = question
                wanted = verb in table.get((group, resource, name), set())
                self.assertEqual(allowed, wanted, f"may it {verb} {resource}.{group} {name or ''} in {namespace}?")
                answers[question] = allowed
        self.assertEqual({True, False}, set(answers.values()))

    def test_configmaps_of_others_are_out_of_reach(self) -> None:
        """RBAC knows no name prefixes; the admission policy does. Beside each refusal stands what is allowed."""
        self.helm("install", "--create-namespace", "--take-ownership")
        def make(name: str, *, user: str | None, labels: dict[str, str]) -> bool:
            manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": self.elsewhere, "labels": labels}}
            return call("kubectl", "create", "-f", "-", *(["--as", user] if user else []), text=json.dumps(manifest)).returncode == 0
        def delete(name: str) -> bool:
            return call("kubectl", "delete", "configmap", name, "-n", self.elsewhere, "--as", self.user).returncode == 0
        ours = {"app.kubernetes.io/managed-by": "securebucket"}
        # A policy is in force some moments after it was created.
        deadline = time.monotonic() + 30
        while make(f"probe-{secrets.token_hex(4)}", user=self.user, labels=ours):
            self.assertLess(time.monotonic(), deadline, "the admission policy never came into force")
        self.assertTrue(make("securebucket-ours", user=self.user, labels=ours))
        self.assertFalse(make("aws-auth", user=self.user, labels=ours))
        self.assertFalse(make("securebucket-unmarked", user=self.user, labels={}))
        self.assertTrue(make("aws-auth", user=None, labels={}), "others are not held to it")
        self.assertTrue(make("securebucket-theirs", user=None, labels={}))
        self.assertFalse(delete("aws-auth"))
        self.assertFalse(delete("securebucket-theirs"))
        self.assertTrue(delete("securebucket-ours"))

    def test_status_and_finalizers_are_the_operators(self) -> None:
        """What goes to AWS follows from status, so somebody with every usual right in RBAC cannot write it either. More: tests/integration/attacks."""
        self.helm("install", "--create-namespace", "--take-ownership")
        self.crds()
        resources = "securebuckets.securebucket.io,securebuckets.securebucket.io/status"
        good("kubectl", "create", "role", "tenant", "-n", self.elsewhere, "--verb=get,list,create,update,patch,delete", f"--resource={resources}")
        good("kubectl", "create", "rolebinding", "tenant", "-n", self.elsewhere, "--role=tenant", "--user=tenant")
        bucket = {"apiVersion": "securebucket.io/v1alpha1", "kind": "SecureBucket",
                  "metadata": {"name": "b", "namespace": self.elsewhere}, "spec": {}}
        good("kubectl", "create", "-f", "-", text=json.dumps(bucket))
        held = {"metadata": {"finalizers": ["securebucket.io/bucket-protection"]}}
        def patch(body: dict[str, Any], *, operator: bool) -> bool:
            return call("kubectl", "patch", "securebucket", "b", "-n", self.elsewhere, "--type", "merge", "-p", json.dumps(body),
                        "--as", self.user if operator else "tenant").returncode == 0
        def write_status(name: str, *, operator: bool) -> bool:
            current = kubectl_json("get", "securebucket", "b", "-n", self.elsewhere)
            current["status"] = {"bucketName": name}
            path = f"/apis/securebucket.io/v1alpha1/namespaces/{self.elsewhere}/securebuckets/b/status"
            return call("kubectl", "replace", "--raw", path, "-f", "-", "--as", self.user if operator else "tenant",
                        text=json.dumps(current)).returncode == 0
        deadline = time.monotonic() + 30
        while write_status(f"probe-{secrets.token_hex(4)}", operator=False):
            self.assertLess(time.monotonic(), deadline, "the admission policy never came into force")
        self.assertTrue(write_status("by-the-operator", operator=True))
        self.assertFalse(patch(held, operator=False))
        self.assertTrue(patch(held, operator=True))
        self.assertFalse(patch({"metadata": {"finalizers": None}}, operator=False))
        self.assertTrue(patch({"metadata": {"labels": {"team": "x"}}}, operator=False), "the rest is its owner's")
        self.assertTrue(patch({"metadata": {"finalizers": None}}, operator=True))
        good("kubectl", "delete", "securebucket", "b", "-n", self.elsewhere, "--timeout=20s")

    def test_life_of_a_release(self) -> None:
        # As in the story; --take-ownership because another test may have made the CRDs.
        notes = self.helm("install", "--create-namespace", "--take-ownership",
                          "--set", rf"serviceAccount.annotations.eks\.amazonaws\.com/role-arn={ROLE_ARN}")
        self.assertIn("securebucket policy operator --cluster prod-eu --account 111122223333", notes)
        self.assertIn(self.user, notes)
        account = kubectl_json("get", "serviceaccount", "securebucket", "-n", self.namespace)
        self.assertEqual(account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"], ROLE_ARN)
        self.assertIs(account["automountServiceAccountToken"], False)
        self.expect_rights(limited_to=None)
        self.assertEqual(good("kubectl", "auth", "can-i", "update", "configmaps", "--as", self.user,
                              "-n", self.elsewhere).strip(), "yes")
        self.assertEqual(call("kubectl", "auth", "can-i", "get", "secrets", "--as", self.user, "-n", self.namespace).stdout.strip(), "no")
        crds = self.crds()

        self.helm("upgrade", "--reuse-values", "--set", "workers=3")
        deployment = kubectl_json("get", "deployment", self.name, "-n", self.namespace)
        self.assertIn("--workers=3", deployment["spec"]["template"]["spec"]["containers"][0]["args"])
        self.assertEqual(self.crds(), crds)

        good("helm", "uninstall", self.release, "--namespace", self.namespace)
        self.assertEqual(self.crds(), crds)
        label = f"app.kubernetes.io/instance={self.release}"
        left = kubectl_json("get", "deployments,services,serviceaccounts,roles,rolebindings,clusterroles,clusterrolebindings",
                            "--all-namespaces", "--selector", label)
        self.assertEqual(left["items"], [])
        self.assertFalse(any(self.ask([("list", "securebucket.io", "securebuckets", self.elsewhere, None)]).values()))

        self.helm("install")  # again, onto the CRDs that stayed
        self.assertEqual(self.crds(), crds)

    def test_some_namespaces_only(self) -> None:
        good("kubectl", "create", "namespace", self.namespace)
        served = self.make_namespace()
        self.helm("install", "--set", f"watch.namespaces={{{served}}}", "--set", "crds.enabled=false")
        self.expect_rights(limited_to=served)

    def notes(self, values: Path, *arguments: str) -> str:
        return self.helm("install", "--dry-run=client", "--values", values, *arguments).partition("\nNOTES:\n")[2]

    def test_notes_print_the_policies_of_this_very_installation(self) -> None:
        china = values_file({"serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": ROLE_ARN.replace("aws", "aws-cn", 1)}}})
        for values, *words in ((CHART / "ci" / "full-values.yaml", "acme-*", ROLE_ARN), (china, "arn:aws-cn:iam::111122223333:")):
            commands = re.findall(r"^ +securebucket (policy (operator|boundary) .+)$", self.notes(values), re.M)
            self.assertEqual([kind for _, kind in commands], ["operator", "boundary"])
            printed = [binary(*command.split()) for command, _ in commands]
            for done in printed:
                self.assertEqual(done.returncode, 0, done.stderr)
            for word in words:
                self.assertTrue(any(word in done.stdout for done in printed), f"{word} is in neither policy")

    def test_notes_without_a_role(self) -> None:
        notes = self.notes(values_file({}), "--set", "aws.endpointUrl=http://aws.test")
        self.assertIn("securebucket policy operator --cluster prod-eu --account ACCOUNT", notes)
        self.assertIn(r'--set serviceAccount.annotations."eks\.amazonaws\.com/role-arn"=', notes)
        self.assertIn("Until then the operator does not start", notes)
        self.assertIn("http://aws.test, which is not AWS", notes)
        self.assertNotIn("does not start", self.notes(values_file({}), "--set", "cluster.oidcIssuer=https://oidc.test"))

    def test_pod_passes_the_restricted_standard(self) -> None:
        good("kubectl", "label", "namespace", self.elsewhere, "pod-security.kubernetes.io/enforce=restricted")
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "namespace": self.elsewhere}, "spec": pod_of(render(REQUIRED))}
        good("kubectl", "create", "--dry-run=server", "-f", "-", text=json.dumps(pod))
        del pod["spec"]["containers"][0]["securityContext"]
        refused = call("kubectl", "create", "--dry-run=server", "-f", "-", text=json.dumps(pod))
        self.assertIn("violates PodSecurity", refused.stderr)  # so the standard is enforced in this namespace


if __name__ == "__main__":
    unittest.main()
