"""Act four: hands in the console. What loosens is repaired; what tightens is reported and left."""

import json
from typing import Any

from demolib.actors import all_good, together, until
from demolib.bucket import EVENTS, SBKT, wait_ready
from demolib.cast import Cast
from demolib.grants import ADMIN
from demolib.operator_process import Operator

ONCALL = ["--profile", "break-glass"]


def events(reason: str) -> list[str]:
    return [*EVENTS, "--field-selector", f"involvedObject.name=call-logs,reason={reason}"]


def policy(cast: Cast) -> Any:
    """The bucket policy."""
    return json.loads(cast.cloud.read("aws", *ONCALL, "s3api", "get-bucket-policy", "--bucket", cast.bucket,
                                      "--query", "Policy", "--output", "text"))


def loosen(cast: Cast) -> None:
    """Somebody takes the protection off."""
    show = cast.show
    show.step("Somebody loosens the bucket by hand: repaired")
    show.say("""The bucket policy lets nobody but the operator and the emergency role change the bucket; so it is the emergency
        role that does it here.""")
    before = policy(cast)
    early = cast.bob.read(*events("DriftDetected"))
    show.expect("until now nothing was reported as drift", early, "DriftDetected" not in early)
    off = "BlockPublicAcls=false,IgnorePublicAcls=false,BlockPublicPolicy=false,RestrictPublicBuckets=false"
    done = together(
        (cast.cloud, ["aws", *ONCALL, "s3api", "delete-bucket-policy", "--bucket", cast.bucket]),
        (cast.cloud, ["aws", *ONCALL, "s3api", "put-public-access-block", "--bucket", cast.bucket,
                      "--public-access-block-configuration", off]))
    all_good(show, "AWS does it", done)
    told = until("events that name both pieces", lambda: _named(cast, "DriftDetected", "bucket policy", "public access block"))
    cast.bob.good(*events("DriftDetected"))
    notes = [line.partition(" ")[2] for line in told.splitlines()[1:]]
    show.expect("DriftDetected names both pieces", " ".join(notes), bool(told))
    until("DriftRepaired for both", lambda: _named(cast, "DriftRepaired", "bucket policy", "public access block"))
    switches = ["aws", *ONCALL, "s3api", "get-public-access-block", "--bucket", cast.bucket,
                "--query", "PublicAccessBlockConfiguration.*", "--output", "text"]
    [on] = together((cast.cloud, switches))
    show.expect("all four switches are on again", on.text, on.out.split() == ["True"] * 4)
    after = policy(cast)
    show.expect("the bucket policy is what it was", f"{len(after['Statement'])} statements",
                _statements(after) == _statements(before))


def _named(cast: Cast, reason: str, *pieces: str) -> str:
    told = cast.bob.read(*events(reason))
    return told if all(f"{piece} " in told for piece in pieces) else ""


def _statements(document: Any) -> list[str]:
    return sorted(json.dumps(statement, sort_keys=True) for statement in document["Statement"])


def tighten(cast: Cast, operator: Operator) -> None:
    """A responder stops reads; nobody reopens them but somebody who says so."""
    show, bob = cast.show, cast.bob
    show.step("A responder tightens by hand: reported, and left")
    document = policy(cast)
    document["Statement"].append({"Sid": "Incident42", "Effect": "Deny", "Principal": "*", "Action": "s3:GetObject",
                                  "Resource": f"arn:aws:s3:::{cast.bucket}/calls/2026/*"})
    path = cast.file("with-incident-42.json", document)
    show.say("with-incident-42.json is the bucket policy as it is, plus a Deny of s3:GetObject on calls/2026/.")
    done = together(
        (cast.cloud, ["aws", *ONCALL, "s3api", "put-bucket-policy", "--bucket", cast.bucket, "--policy", path]),
        (cast.cloud, ["aws", *ADMIN, "kms", "disable-key", "--key-id", cast.key]))
    all_good(show, "AWS does it", done)
    restricted = ["-o", 'jsonpath={.status.conditions[?(@.type=="Restricted")].message}']
    until("Restricted names both", lambda: "disabled" in (text := bob.read(*SBKT, *restricted)) and "Deny" in text)
    bob.good(*SBKT)
    message = bob.good(*SBKT, *restricted)
    show.expect("condition Restricted names the Deny and the key", message, "a Deny that is not ours" in message)
    until("events that name both", lambda: _named(cast, "Restricted", "is disabled: nobody", "a Deny that is not ours"))
    looked = operator.calls("GetBucketPolicy")
    show.say("Waiting until the operator has compared the bucket policy twice more (its metrics count the calls) …")
    until("two more drift checks", lambda: operator.calls("GetBucketPolicy") >= looked + 2)
    state = ["aws", *ADMIN, "kms", "describe-key", "--key-id", cast.key, "--query", "KeyMetadata.KeyState", "--output", "text"]
    [key] = together((cast.cloud, state))
    kept = [s for s in policy(cast)["Statement"] if _is_incident(s)]
    show.expect("both are still there", f"key {key.out.strip()}, {len(kept)} Deny",
                key.out.strip() == "Disabled" and len(kept) == 1)

    show.step("The owner asks for the declared state: lifted")
    now = bob.read("date", "-u", "+%FT%TZ")
    cast.scene.names[now] = "$(date -u +%FT%TZ)"
    bob.good("kubectl", "annotate", "sbkt", "call-logs", "-n", "telephony", f"securebucket.io/reconcile-at={now}")
    wait_ready(cast)
    [key] = together((cast.cloud, state))
    left = [s for s in policy(cast)["Statement"] if _is_incident(s)]
    gone = not bob.read(*SBKT, *restricted)
    show.expect("key enabled, the Deny gone, Restricted gone",
                f"key {key.out.strip()}, {len(left)} Deny, Restricted gone: {gone}",
                key.out.strip() == "Enabled" and not left and gone)


def _is_incident(statement: Any) -> bool:
    return statement["Effect"] == "Deny" and "calls/2026/*" in json.dumps(statement["Resource"])
