"""Act five: the object is deleted, the data stays; applied again, it finds its own."""

import json

from demolib.actors import together, until
from demolib.bucket import SBKT, wait_ready
from demolib.cast import Cast
from demolib.drift import ONCALL
from demolib.grants import ADMIN, arrived, profile, read, request, roles_left
from demolib.show import aws_error


def delete(cast: Cast) -> None:
    """Under Retain, which is the default: access goes, data stays."""
    show, bob = cast.show, cast.bob
    show.step("The SecureBucket is deleted: access goes, bucket, key and data stay")
    deleted = bob.run("kubectl", "delete", "sbkt", "call-logs", "-n", "telephony", "--timeout=90s")
    show.demand("kubectl delete returns when access is out", deleted.err or "deleted", deleted.ok and "deleted" in deleted.out)
    head, names, key, roles = together(
        (cast.cloud, ["aws", *ONCALL, "s3api", "head-bucket", "--bucket", cast.bucket]),
        (cast.cloud, ["aws", *ONCALL, "s3api", "list-objects-v2", "--bucket", cast.bucket, "--query", "Contents[].Key",
                      "--output", "text"]),
        (cast.cloud, ["aws", *ADMIN, "kms", "describe-key", "--key-id", cast.key, "--query", "KeyMetadata.KeyState",
                      "--output", "text"]),
        (cast.cloud, roles_left(cast)))
    both = names.out.split() == ["calls/2025/0001.txt", "calls/2026/0001.txt"]
    show.expect("bucket, objects and key are there", f"{names.text}, key {key.text}",
                head.ok and both and key.out.strip() == "Enabled")
    show.expect("the roles of ingest and auditor are gone", roles.text or "none", roles.ok and "telephony--" not in roles.out)
    writing = cast.ingest.run("aws", "s3api", "put-object", "--bucket", cast.bucket, "--key", "calls/2026/0002.txt",
                              "--body", "call.txt")
    show.expect("ingest's pod cannot write any more", aws_error(writing.text) or writing.text, not writing.ok)
    show.say("""The role of an ended grant keeps its Deny until KMS has shown no grant of it for a while (timing.evidenceWait, 10 s
        here). Waiting until it is gone as well …""")
    until("the last workload role to go", lambda: cast.cloud.read(*roles_left(cast)) in ("", "None"))
    roles = cast.cloud.run(*roles_left(cast))
    show.expect("no workload role is left in the account", roles.text or "none", roles.ok and roles.out.strip() in ("", "None"))


def apply_again(cast: Cast) -> None:
    """The same file, the same bucket and key."""
    show, bob = cast.show, cast.bob
    show.step("The same file is applied again: it finds its bucket, key and data")
    bob.good("kubectl", "apply", "-f", "call-logs.yaml")
    wait_ready(cast)
    bob.good(*SBKT)
    status = json.loads(bob.read(*SBKT, "-o", "jsonpath={.status}"))
    show.expect("the same bucket and the same key", f"{status['bucketName']}, {status['keyArn']}",
                (status["bucketName"], status["keyArn"]) == (cast.bucket, cast.key))
    request(cast, "reports-last", "10m", "old data")
    cast.reports = cast.pod("analytics", "reports")
    profile(cast, "reports-last")
    [reading] = together(read(cast, cast.reports))
    arrived(cast, "a new grant reads the old object", reading)
    until("the bucket counts the grant", lambda: bob.read(*SBKT, "-o", "jsonpath={.status.activeGrants}") == "1", within=20)
    bob.good(*SBKT)
