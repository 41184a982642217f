"""Act one: an AWS account, the chart, the operator, and the namespaces of two teams."""

import json
from pathlib import Path

from demolib.actors import Actor, all_good, together
from demolib.cast import ACCOUNT, CLUSTER, EVERYTHING, REGION, Cast
from demolib.operator_process import NAMESPACE, Operator
from stacklib.paths import CHECKOUT

CHART = "charts/securebucket"
BREAK_GLASS = f"arn:aws:iam::{ACCOUNT}:role/break-glass"


def account(cast: Cast, binary: Path) -> dict[str, str]:
    """The account as a cloud team prepares it."""
    show, cloud = cast.show, cast.cloud
    show.step("An AWS account is prepared for the operator")
    show.say("""The operator's IAM policy and the boundary of all workload roles are printed by the binary itself
        (`securebucket policy operator`, `… boundary`), so they are exactly the calls that it makes.""")
    cast.scene.names |= {str(binary): "securebucket", cast.endpoint: "$AWS_ENDPOINT_URL"}
    made = json.loads(cloud.good("e2e/stack", "account", "--name", ACCOUNT, "--cluster", CLUSTER, "--region", REGION,
                                 "--binary", binary, cwd=CHECKOUT))
    show.expect("operator role, boundary and OIDC provider exist", made["boundary_arn"],
                f":policy/securebucket-{CLUSTER}-boundary" in made["boundary_arn"])
    return made


def people(cast: Cast, provider: str) -> None:
    """An administrator who may do everything, an emergency role, and a role that an application has anyway."""
    show, cloud = cast.show, cast.cloud
    show.step("People of the account: an administrator who may do everything, and an emergency role", aside=True)
    show.say("""everything.json allows every action on every resource. The application analytics/reports already has such a
        role of its own, for other things: the worst case.""")
    cast.profiles("[profile root]", f"aws_access_key_id = {ACCOUNT}", "aws_secret_access_key = root")
    everything = cast.file("everything.json", EVERYTHING)
    assume = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:user/oncall"}, "Action": "sts:AssumeRole"}
    by_oncall = cast.file("trust-oncall.json", {"Version": "2012-10-17", "Statement": [assume]})
    may_assume = cast.file("assume.json", {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": BREAK_GLASS}]})
    issuer = provider.partition("/")[2]
    reports = {"Effect": "Allow", "Principal": {"Federated": provider}, "Action": "sts:AssumeRoleWithWebIdentity",
               "Condition": {"StringEquals": {f"{issuer}:sub": "system:serviceaccount:analytics:reports",
                                              f"{issuer}:aud": "sts.amazonaws.com"}}}
    by_reports = cast.file("trust-reports.json", {"Version": "2012-10-17", "Statement": [reports]})
    root = ["aws", "--profile", "root", "iam"]
    keys = ["--query", "AccessKey.[AccessKeyId,SecretAccessKey]", "--output", "text"]
    arn = ["--query", "[User,Role][].Arn", "--output", "text"]
    made = together(
        (cloud, [*root, "create-user", "--user-name", "admin", *arn]),
        (cloud, [*root, "create-user", "--user-name", "oncall", *arn]))
    made += together(
        (cloud, [*root, "put-user-policy", "--user-name", "admin", "--policy-name", "all", "--policy-document", everything]),
        (cloud, [*root, "put-user-policy", "--user-name", "oncall", "--policy-name", "assume", "--policy-document", may_assume]),
        (cloud, [*root, "create-role", "--role-name", "break-glass", "--assume-role-policy-document", by_oncall, *arn]),
        (cloud, [*root, "create-role", "--role-name", "analytics-app", "--assume-role-policy-document", by_reports, *arn]))
    made += together(
        (cloud, [*root, "put-role-policy", "--role-name", "break-glass", "--policy-name", "all",
                 "--policy-document", everything]),
        (cloud, [*root, "put-role-policy", "--role-name", "analytics-app", "--policy-name", "all",
                 "--policy-document", everything]))
    all_good(show, "users and roles exist", made)
    for name in ("admin", "oncall"):
        key, secret = cloud.read(*root, "create-access-key", "--user-name", name, *keys).split()
        cast.profiles(f"[profile {name}]", f"aws_access_key_id = {key}", f"aws_secret_access_key = {secret}")
    cast.profiles("[profile break-glass]", f"role_arn = {BREAK_GLASS}", "source_profile = oncall")


def helm(cast: Cast, operator_role: str) -> None:
    """The chart, by real Helm on a real API server."""
    show, platform = cast.show, cast.platform
    show.step("The platform engineer installs the chart")
    show.say("""The first four values are what an installation needs. The endpoint, and times shorter than a production cluster would
        have (nothing has to propagate on one machine), are the demo's.""")
    role_key = r"serviceAccount.annotations.eks\.amazonaws\.com/role-arn"
    values = {"cluster.name": CLUSTER, "aws.region": REGION, "aws.breakGlassRoleArn": BREAK_GLASS, role_key: operator_role,
              "aws.endpointUrl": cast.endpoint, "grants.floor": "10s", "timing.policyPropagation": "0s",
              "timing.rolePropagation": "0s", "timing.evidenceWait": "10s", "timing.driftCheck": "3s",
              "timing.roleRetention": "0s"}
    settings = [word for name, value in values.items() for word in ("--set", f"{name}={value}")]
    installed = platform.run("helm", "install", "securebucket", CHART, "-n", NAMESPACE, "--create-namespace", *settings,
                             limit=10, cwd=CHECKOUT)
    status = next((line for line in installed.out.splitlines() if line.startswith("STATUS:")), installed.text)
    show.demand("the release is deployed", status, installed.ok and status == "STATUS: deployed")
    crds = [f"crd/{kind}.securebucket.io" for kind in ("securebuckets", "decryptgrants", "grantreviews")]
    served = platform.run("kubectl", "wait", "--for=condition=Established", *crds, "--timeout=60s")
    met = served.out.count("condition met")
    show.demand("the CRDs came with it and are served", f"{met} served {served.err}", served.ok and met == 3)


def operator(cast: Cast, binary: Path) -> Operator:
    """The operator's pod."""
    show = cast.show
    show.step("The operator starts, with the rights of the chart's ServiceAccount")
    pod = Operator(cast.platform, cast.kube, cast.state_dir, binary)
    pod.prepare()
    pod.start()
    rights = Actor(cast.scene, "operator pod", {**cast.platform.env, "KUBECONFIG": pod.env["KUBECONFIG"]})
    secrets = rights.run("kubectl", "auth", "can-i", "get", "secrets", "--all-namespaces")
    show.expect("the operator runs and may not read Secrets", f"running: {pod.alive()}, secrets: {secrets.out}",
                pod.alive() and secrets.out.strip() == "no")
    return pod


def teams(cast: Cast) -> None:
    """Two namespaces, their ServiceAccounts, and what people may do there."""
    show, platform = cast.show, cast.platform
    show.step("Two teams: bob owns the data in telephony, alice works in analytics", aside=True)
    made = []
    for namespace, accounts in (("telephony", ["ingest", "auditor"]), ("analytics", ["reports", "dashboard"])):
        made.append(platform.run("kubectl", "create", "namespace", namespace))
        made += [platform.run("kubectl", "create", "serviceaccount", name, "-n", namespace) for name in accounts]
    rights = (("owners", "telephony", "owner", "bob"), ("requesters", "analytics", "requester", "alice"),
              ("approvers", "telephony", "approver", "alice", "mallory"))
    for name, namespace, role, *people in rights:
        made.append(platform.run("kubectl", "create", "rolebinding", name, "-n", namespace,
                                 f"--clusterrole=securebucket-{role}", *(f"--user={who}" for who in people)))
    annotated = platform.run("kubectl", "annotate", "serviceaccount", "reports", "-n", "analytics",
                             f"eks.amazonaws.com/role-arn=arn:aws:iam::{ACCOUNT}:role/analytics-app")
    made.append(annotated)
    all_good(show, "namespaces, ServiceAccounts and rights exist", made)
