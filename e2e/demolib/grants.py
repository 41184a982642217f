"""Act three: access is asked for, given, and ends by itself with the operator dead; later it is handed back early."""

import email.utils
import json
import math
import secrets
import time
import urllib.request
from datetime import datetime
from pathlib import Path

from demolib import agree
from demolib.actors import Actor, Result, condition, together, until
from demolib.bucket import CONTENT, EVENTS, get, refused
from demolib.cast import ACCOUNT, CLUSTER, Cast
from demolib.operator_process import Operator
from demolib.show import StoryEnds, aws_error

OBJECT, OUTSIDE = "calls/2026/0001.txt", "calls/2025/0001.txt"
POD_TOKEN = "/var/run/secrets/eks.amazonaws.com/serviceaccount/token"
ADMIN = ["--profile", "admin"]


def dgrant(name: str) -> list[str]:
    return ["kubectl", "get", "dgrant", name, "-n", "analytics"]


def request(cast: Cast, name: str, duration: str, reason: str) -> dict:
    """Ask, have the owner agree, and wait until it is active; returns the status."""
    agree.ask(cast, name, duration, reason)
    agree.approve(cast, name)
    return active(cast, name)


def active(cast: Cast, name: str) -> dict:
    """Wait until the access can be used; returns the status."""
    show, alice = cast.show, cast.alice
    met = condition(alice, "Active", "dgrant", name, "analytics")
    if not met.ok:
        alice.run(*dgrant(name), "-o", "jsonpath={.status}")
    show.demand(f"{name} becomes Active", met.text.rpartition("/")[2], met.ok and "condition met" in met.out)
    return json.loads(alice.read(*dgrant(name), "-o", "jsonpath={.status}"))


def enough_seconds(cast: Cast) -> int:
    """A duration that this machine gets through the steps in: they start the aws command some dozen times."""
    started = time.monotonic()
    cast.cloud.read("aws", *ADMIN, "sts", "get-caller-identity")
    return min(max(25, 5 * math.ceil((8 + 14 * (time.monotonic() - started)) / 5)), 90)


def profile(cast: Cast, name: str) -> None:
    """Give the pod the AWS profile of the grant, as mounting the ConfigMap would; only the token lies elsewhere than on EKS."""
    config_map = f"securebucket-call-logs-grant.{name}"
    config = cast.alice.good("kubectl", "get", "configmap", config_map, "-n", "analytics", "-o", "jsonpath={.data.config}")
    if POD_TOKEN not in config:
        raise StoryEnds(f"ConfigMap {config_map} does not name the token of the pod: {config}")
    config = config.replace(POD_TOKEN, cast.reports.env["AWS_WEB_IDENTITY_TOKEN_FILE"])
    Path(cast.reports.env["AWS_CONFIG_FILE"]).write_text(config, encoding="utf-8")


def read(cast: Cast, actor: Actor, key: str = OBJECT) -> list:
    return get(cast, actor, key, "--profile", "call-logs")


def arrived(cast: Cast, expected: str, result: Result, status: dict | None = None) -> None:
    """Check that the object that was read is the one that was written."""
    path = cast.scene.directory / "read-by-reports.txt"
    content = path.read_text(encoding="utf-8") if result.ok and path.is_file() else ""
    path.unlink(missing_ok=True)
    if not result.ok and status and aws_now(cast) >= instant(status["expiresAt"]):
        raise StoryEnds("the grant ended before the demo got here: this machine is too busy at the moment, try again")
    cast.show.demand(expected, content or aws_error(result.text) or result.text, content == CONTENT)


def ask(cast: Cast) -> dict:
    """A request within the bucket's terms."""
    show = cast.show
    show.step("An analyst asks for a short while")
    agree.ask(cast, "reports-q3", f"{enough_seconds(cast)}s", "Q3 quality report")
    row = cast.alice.good("kubectl", "get", "dgrant", "-n", "analytics").splitlines()[-1].split()
    show.expect("it waits for somebody to agree", row[3], row[3] == "AwaitingApproval")
    agree.decide(cast, "reports-q3")
    status = active(cast, "reports-q3")
    row = cast.alice.good("kubectl", "get", "dgrant", "-n", "analytics").splitlines()[-1].split()
    show.expect("kubectl get says Granted, and until when", " ".join(row[3:5]),
                row[3:5] == ["Granted", status["expiresAt"]])
    told = [*EVENTS, "--field-selector", "involvedObject.name=call-logs,reason=GrantActivated"]
    until("an event for the bucket's owner", lambda: "reports-q3" in cast.bob.read(*told), within=15)
    event = cast.bob.good(*told).splitlines()[-1]
    show.expect("the owner sees who got in, and until when", event.partition(" ")[2],
                "analytics/reports-q3" in event and status["expiresAt"] in event)
    return status


def use(cast: Cast, status: dict) -> None:
    """It reads under its prefix and nowhere else, and nobody reads in its place."""
    show = cast.show
    show.step("The analyst's pod reads, under its prefix and nowhere else")
    profile(cast, "reports-q3")
    show.say("The pod mounts this ConfigMap and uses the profile in it; its own role stays what it was.")
    stealing = get(cast, cast.dashboard, OBJECT)
    cast.dashboard.env["AWS_ROLE_ARN"] = status["resolved"]["roleArn"]
    inside, outside, other = together(read(cast, cast.reports), read(cast, cast.reports, OUTSIDE), stealing)
    if inside.ok:
        cast.reports.good("cat", "read-by-reports.txt")
    arrived(cast, "what it reads is what was written", inside, status)
    refused(cast, "a read outside the prefix is refused", outside, "GetObject", "no identity-based policy allows")
    refused(cast, "another ServiceAccount does not get the role", other, "AssumeRoleWithWebIdentity")


def administrator(cast: Cast) -> None:
    """Whoever may do everything in IAM still reads nothing."""
    cast.show.step("Meanwhile an administrator who may do everything reads nothing")
    # As KMS makes them on this emulator: id of the key, context, nonce, data.
    blob = cast.key.rpartition("/")[2].encode() + bytes(32) + secrets.token_bytes(64)
    (cast.scene.directory / "stolen-data-key.bin").write_bytes(blob)
    reading, decrypting = together(
        get(cast, cast.cloud, OBJECT, *ADMIN),
        (cast.cloud, ["aws", *ADMIN, "kms", "decrypt", "--key-id", cast.key, "--ciphertext-blob", "fileb://stolen-data-key.bin",
                      "--encryption-context", f"aws:s3:arn=arn:aws:s3:::{cast.bucket}"]))
    refused(cast, "the administrator's read is refused", reading, "GetObject", "explicit deny")
    refused(cast, "kms decrypt with the bucket's key is refused", decrypting, "Decrypt", "explicit deny")


def kill(cast: Cast, operator: Operator, status: dict) -> None:
    """With the operator dead, access goes on, to its end and no further."""
    show = cast.show
    show.step("The operator is killed")
    code = operator.kill()
    show.expect("it ended by SIGKILL", f"exit code {code}", code == -9)
    [still] = together(read(cast, cast.reports))
    arrived(cast, "the grant does not depend on it: the pod still reads", still, status)
    granting, deleting = together(
        (cast.cloud, ["aws", *ADMIN, "kms", "create-grant", "--key-id", cast.key, "--operations", "Decrypt",
                      "--grantee-principal", f"arn:aws:iam::{ACCOUNT}:user/admin"]),
        (cast.cloud, ["aws", *ADMIN, "s3api", "delete-bucket-policy", "--bucket", cast.bucket]))
    refused(cast, "nor can the administrator make a grant now", granting, "CreateGrant", "explicit deny")
    refused(cast, "or take the bucket policy away", deleting, "DeleteBucketPolicy", "explicit deny")


def end(cast: Cast, operator: Operator, status: dict) -> None:
    """The end comes from the policy, on AWS's clock."""
    show = cast.show
    show.step("The end comes by itself: AWS refuses, the operator is still dead")
    expires = instant(status["expiresAt"])
    show.say(f"Waiting until AWS's clock (the Date of its answers) has passed {status['expiresAt']} …")
    until(f"AWS's clock to pass {status['expiresAt']}", lambda: aws_now(cast) >= expires, within=120)
    late, listed = together(read(cast, cast.reports), (cast.cloud, list_grants(cast)))
    refused(cast, "the same pod is refused, by date", late, "GetObject", "explicit deny in an identity-based policy")
    show.expect("although the KMS grant still exists", listed.text, status["kmsGrant"]["id"] in listed.out)
    stale = cast.alice.good(*dgrant("reports-q3"))
    state = stale.splitlines()[-1].split()[3]
    show.expect("and the operator is dead: nobody updated the object", f"still {state}",
                state == "Granted" and not operator.alive())


def list_grants(cast: Cast) -> list[str]:
    return ["aws", *ADMIN, "kms", "list-grants", "--key-id", cast.key, "--query", "Grants[].[GrantId,Operations[0]]",
            "--output", "text"]


def clean_up(cast: Cast, operator: Operator, status: dict) -> None:
    """Back again, it removes what is left and proves it."""
    show, alice = cast.show, cast.alice
    show.step("The operator comes back, and removes what is left")
    show.say("kubelet starts the container again in the same pod, so the lease that it still holds is its own.")
    operator.start()
    removal = ["-o", "jsonpath={.status.removal}"]
    until("status.removal", lambda: alice.read(*dgrant("reports-q3"), *removal), within=60)
    state = alice.good(*dgrant("reports-q3")).splitlines()[-1].split()[3]
    proof = json.loads(alice.good(*dgrant("reports-q3"), *removal))
    in_order = instant(proof["verifiedAt"]) >= instant(status["expiresAt"])
    show.expect("the grant is Expired, its removal verified", f"{state}, {proof['evidence']}",
                state == "Expired" and in_order and "absent" in proof["evidence"])
    removed(cast, status)
    told = ["kubectl", "get", "events", "-n", "analytics", "-o", "custom-columns=REASON:.reason,MESSAGE:.message",
            "--field-selector", "involvedObject.name=reports-q3"]
    until("the event of the removal", lambda: "GrantRemoved" in alice.read(*told), within=15)
    life = [line.split()[0] for line in alice.good(*told).splitlines()[1:]]
    show.expect("its events tell its life", ", ".join(life),
                {"GrantRequested", "GrantApproved", "GrantActivated", "GrantExpired", "GrantRemoved"} <= set(life))


def removed(cast: Cast, status: dict) -> None:
    """Ask AWS, not the operator: no KMS grant, and no Allow in the role's policy."""
    role = status["resolved"]["roleArn"].rpartition("/")[2]
    policy = ["aws", *ADMIN, "iam", "get-role-policy", "--role-name", role, "--policy-name", "securebucket",
              "--query", "PolicyDocument.Statement[].[Effect,Sid]", "--output", "text"]
    listed, left = together((cast.cloud, list_grants(cast)), (cast.cloud, policy))
    cast.show.expect("no KMS grant is left on the key", listed.text or "none", listed.ok and listed.out.strip() in ("", "None"))
    # The role may be gone as well: its Deny leaves when KMS has shown no grant for a while (timing.evidenceWait).
    gone = "NoSuchEntity" in left.err
    only_denies = left.ok and left.out.split()[::2] and set(left.out.split()[::2]) == {"Deny"}
    cast.show.expect("no statement of the role allows anything", left.text, gone or bool(only_denies))


def by_plugin(cast: Cast) -> dict:
    """The same with less to type: asked for and agreed to by the kubectl plugin; returns the status."""
    show, alice, bob = cast.show, cast.alice, cast.bob
    show.step("The same with the kubectl plugin, which only types less")
    plugin = ["kubectl", "securebucket"]
    asked = alice.run(*plugin, "request", "call-logs", "-n", "telephony", "--for-service-account", "analytics/reports",
                      "--prefix", "calls/2026/", "--duration", "10m", "--reason", "one more look", "--name", "reports-again")
    show.demand("alice's request is there, and waits", asked.text, asked.ok and "created, awaiting 1 approval" in asked.out)
    own = alice.run(*plugin, "approve", "reports-again", "-n", "analytics")
    show.expect("alice cannot approve it", own.err.strip().splitlines()[-3] if own.err else own.out,
                not own.ok and "nobody approves his own request" in own.err)
    why = alice.good(*plugin, "why", "reports-again", "-n", "analytics")
    show.expect("she is told who can, and what he would type", why, "kubectl securebucket approve reports-again" in why)
    agreed = bob.run(*plugin, "approve", "reports-again", "-n", "analytics", "--bucket", "telephony/call-logs",
                     "--comment", "until noon")
    show.demand("bob sees what he signs, and it is granted", agreed.text,
                agreed.ok and "everyone who can run pods or mint tokens as analytics/reports" in agreed.err)
    status = active(cast, "reports-again")
    listed = ["-n", "telephony"]
    until("the bucket to list the grant", lambda: "reports-again" in bob.read(*plugin, "who-can", "call-logs", *listed), within=20)
    who = bob.good(*plugin, "who-can", "call-logs", *listed)
    show.expect("who can decrypt, until when, and who agreed", who, status["expiresAt"] in who and "bob" in who)
    return status


def hand_back(cast: Cast) -> None:
    """Deleting a DecryptGrant gives the access back, and returns when it is gone."""
    show, alice = cast.show, cast.alice
    status = by_plugin(cast)
    show.step("The second grant is handed back early")
    cast.reports = cast.pod("analytics", "reports")
    profile(cast, "reports-again")
    [reading] = together(read(cast, cast.reports))
    arrived(cast, "it reads", reading)
    started = time.monotonic()
    deleted = alice.run("kubectl", "delete", "dgrant", "reports-again", "-n", "analytics", "--timeout=60s")
    took = time.monotonic() - started
    show.expect("kubectl delete returns when the removal was read back", f"{deleted.err or 'deleted'} in {took:.1f} s",
                deleted.ok and "deleted" in deleted.out)
    [reading] = together(read(cast, cast.reports))
    refused(cast, "the same pod is refused", reading, "GetObject")
    removed(cast, status)


def roles_left(cast: Cast) -> list[str]:
    return ["aws", *ADMIN, "iam", "list-roles", "--path-prefix", f"/securebucket/{CLUSTER}/", "--query", "Roles[].RoleName",
            "--output", "text"]


def instant(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def aws_now(cast: Cast) -> float:
    """AWS's clock, whole seconds, from the Date of an answer."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{cast.endpoint}/_ministack/health", timeout=5) as answer:
        return email.utils.parsedate_to_datetime(answer.headers["Date"]).timestamp()
