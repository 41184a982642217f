"""Act two: a bucket is declared, and the standing duties work and go no further."""

import json
import re

from demolib.actors import Actor, Result, condition, together, until
from demolib.cast import CLUSTER, Cast
from demolib.show import aws_error

MANIFEST = """\
apiVersion: securebucket.io/v1alpha1
kind: SecureBucket
metadata: {name: call-logs, namespace: telephony}
spec:
  access:
    - {name: ingest, duty: Producer, serviceAccountRef: {name: ingest}, prefixes: [calls/]}
    - {name: audit, duty: Auditor, serviceAccountRef: {name: auditor}}
  grants:
    allowedNamespaces: [analytics]
    maxDuration: 8h
    approvals: 1
"""
CONTENT = "2026-07-14 09:31 +31 20 555 0101 -> +31 20 555 0199 4m12s\n"
SBKT = ["kubectl", "get", "sbkt", "call-logs", "-n", "telephony"]
EVENTS = ["kubectl", "get", "events", "-n", "telephony", "-o", "custom-columns=REASON:.reason,MESSAGE:.message"]
CONDITIONS = ('{range .status.conditions[*]}{.type}{"\\t"}{.status}{"\\t"}{.message}{"\\n"}{end}')


def declare(cast: Cast) -> None:
    """The owner applies it; everything that makes it safe is on by default."""
    show, bob = cast.show, cast.bob
    show.step("A data owner declares a bucket")
    bob.write("call-logs.yaml", MANIFEST)
    bob.good("kubectl", "apply", "-f", "call-logs.yaml")
    wait_ready(cast)
    row = bob.good(*SBKT).splitlines()[-1].split()
    show.expect("kubectl get says: True, Reconciled, a name", " ".join(row[1:4]),
                row[1:3] == ["True", "Reconciled"] and row[3].startswith(f"{CLUSTER}-telephony-call-logs-"))
    conditions = bob.good(*SBKT, "-o", f"jsonpath={CONDITIONS}")
    pieces = ("KeyReady", "BucketReady", "EncryptionReady", "PublicAccessBlocked", "PolicyReady", "RolesReady")
    lines = [line.split("\t") for line in conditions.splitlines()]
    holding = [line[0] for line in lines if line[1] == "True"]
    show.expect("one true condition per piece", ", ".join(holding), set(pieces) <= set(holding))
    status = json.loads(bob.read(*SBKT, "-o", "jsonpath={.status}"))
    cast.scene.names |= {status["keyArn"]: "$KEY", status["bucketName"]: "$BUCKET"}
    cast.bucket, cast.key = status["bucketName"], status["keyArn"]
    cast.roles = {entry["serviceAccount"]: entry["roleArn"] for entry in status["duties"]}
    until("the events of the creation", lambda: not _untold(bob.read(*EVENTS)), within=15)
    untold = _untold(bob.good(*EVENTS, limit=20))
    show.expect("an event for each thing that was made",
                f"none for {untold}" if untold else "key, bucket, two roles, two duties", not untold)


def _untold(events: str) -> list[str]:
    """What was made and no event tells of."""
    made = ["KeyCreated .*", "BucketCreated .*", *(f"RoleCreated .*role/.*--{name}-.*" for name in ("ingest", "auditor")),
            *(f"AccessGiven .* {name} .*" for name in ("ingest", "auditor"))]
    return [one for one in made if not re.search(f"^{one}", events, re.M)]


def wait_ready(cast: Cast) -> None:
    """Wait for the bucket; if it does not become ready, its conditions say why."""
    ready = condition(cast.bob, "Ready", "sbkt", "call-logs", "telephony")
    if not ready.ok:
        cast.bob.run(*SBKT, "-o", f"jsonpath={CONDITIONS}")
    cast.show.demand("Ready=True", ready.text.rpartition("/")[2], ready.ok and "condition met" in ready.out)


def annotate(cast: Cast) -> None:
    """Roles are named in status; the owner writes them into the ServiceAccounts, the operator never does."""
    show, platform = cast.show, cast.platform
    show.step("The ServiceAccounts are told their roles, and their pods start")
    cast.scene.names |= {arn: f"${name.upper()}_ROLE" for name, arn in cast.roles.items()}
    for account, arn in cast.roles.items():
        platform.good("kubectl", "annotate", "serviceaccount", account, "-n", "telephony", f"eks.amazonaws.com/role-arn={arn}")
    cast.ingest, cast.auditor = cast.pod("telephony", "ingest"), cast.pod("telephony", "auditor")
    cast.reports, cast.dashboard = cast.pod("analytics", "reports"), cast.pod("analytics", "dashboard")
    show.say("""A pod gets AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE from the EKS webhook; the token is a real one of
        this API server (`kubectl create token … --audience sts.amazonaws.com`).""")
    cast.ingest.good("printenv", "AWS_ROLE_ARN")
    who = cast.ingest.run("aws", "sts", "get-caller-identity", "--query", "Arn", "--output", "text")
    role_name = cast.roles["ingest"].rpartition("/")[2]
    show.demand("AWS takes the token for ingest's role", who.text, who.ok and f"assumed-role/{role_name}/" in who.out)


def put(cast: Cast, pod: Actor, key: str) -> list:
    return [pod, ["aws", "s3api", "put-object", "--bucket", cast.bucket, "--key", key, "--body", "call.txt",
                  "--query", "[ServerSideEncryption,SSEKMSKeyId]", "--output", "text"]]


def get(cast: Cast, actor: Actor, key: str, *profile: str) -> list:
    return [actor, ["aws", *profile, "s3api", "get-object", "--bucket", cast.bucket, "--key", key,
                    f"read-by-{actor.who.rpartition(' ')[2]}.txt", "--query", "ContentLength"]]


def refused(cast: Cast, what: str, result: Result, operation: str, why: str = "") -> None:
    """Check that AWS refused for lack of permission, and not for any other reason."""
    error = aws_error(result.text)
    denied = error.startswith((f"AccessDenied on {operation}", f"AccessDeniedException on {operation}"))
    cast.show.expect(what, error or result.text or "it worked", not result.ok and denied and why in error)


def produce(cast: Cast) -> None:
    """Write, and nothing else."""
    show, ingest = cast.show, cast.ingest
    show.step("The producer can write under calls/, and can read nothing")
    ingest.write("call.txt", CONTENT)
    stored, older, elsewhere, reading = together(
        put(cast, ingest, "calls/2026/0001.txt"), put(cast, ingest, "calls/2025/0001.txt"),
        put(cast, ingest, "billing/0001.txt"), get(cast, ingest, "calls/2026/0001.txt"))
    kms = f"aws:kms\t{cast.key}"
    show.demand("writes under calls/ are stored under the bucket's key", stored.text,
                stored.out.strip() == older.out.strip() == kms)
    refused(cast, "a write elsewhere is refused", elsewhere, "PutObject")
    refused(cast, "reading back what it wrote is refused", reading, "GetObject", "explicit deny")
    show.step("The auditor sees names and settings, and no content")
    listed, content = together(
        (cast.auditor, ["aws", "s3api", "list-objects-v2", "--bucket", cast.bucket, "--query", "Contents[].Key",
                        "--output", "text"]),
        get(cast, cast.auditor, "calls/2026/0001.txt"))
    show.expect("the auditor lists names", listed.text, listed.out.split() == ["calls/2025/0001.txt", "calls/2026/0001.txt"])
    refused(cast, "the auditor's read is refused", content, "GetObject")


def refuse_analyst(cast: Cast) -> None:
    """Nobody reads without a grant, whatever their own IAM says."""
    cast.show.step("An analyst's pod is refused, although its own role allows everything in IAM")
    own, borrowed = together(
        get(cast, cast.reports, "calls/2026/0001.txt"),
        (cast.reports, ["aws", "sts", "assume-role-with-web-identity", "--role-arn", cast.roles["ingest"],
                        "--role-session-name", "reports", "--web-identity-token",
                        f"file://{cast.reports.env['AWS_WEB_IDENTITY_TOKEN_FILE']}"]))
    refused(cast, "the read is refused by the bucket policy", own, "GetObject", "explicit deny")
    refused(cast, "its token is not taken for ingest's role", borrowed, "AssumeRoleWithWebIdentity")
