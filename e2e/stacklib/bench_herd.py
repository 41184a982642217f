"""A thousand grants that end in one second, with KMS throttled to what AWS allows."""

import datetime
import json
import subprocess
import time
from typing import Any

from stacklib.bench_world import GROUP, NAMESPACE, REGION, World, account, difference, grant, until
from stacklib.paths import E2E, StackError

# Ten grants each: a role's policy has room for some seventeen with ends of their own, and what finds none stays PolicyTooLarge.
READERS = 100
REVOKES_PER_SECOND = 50
# Until the end, after the operator was started anew: it has to write the earlier date into every role's policy, within its rate limits.
LEAD_SECONDS = 120
PROBED = 5
PATIENCE_SECONDS = 180


def prepare(world: World, number: int, grants: int) -> float:
    """Grants of many ServiceAccounts on one bucket, so that every list of its key's grants is long; the seconds until all are usable."""
    world.make("serviceaccounts", [account(f"herd-{n}") for n in range(READERS)])
    started = time.monotonic()
    world.make("decryptgrants", [grant(f"herd-{n}", number, f"herd-{n % READERS}") for n in range(grants)])
    with_deadline = 60 + grants
    until(lambda: len([n for n in world.having("decryptgrants", "Active", "True") if n.startswith("herd-")]) >= grants,
          f"{grants} grants to be Active", with_deadline)
    return time.monotonic() - started


def measure(world: World, grants: int) -> dict[str, Any]:
    """Let all of them end in one second, and watch. No operator may be running."""
    names = [f"herd-{n}" for n in range(grants)]
    # No two grants are activated in the same second by themselves. An earlier end in status is what the operator's own rules allow.
    end = int(time.time()) + LEAD_SECONDS
    date = datetime.datetime.fromtimestamp(end, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    patch = {"status": {"expiresAt": date}}
    world.api.each(lambda name: world.api.request(
        "PATCH", f"{GROUP}/namespaces/{NAMESPACE}/decryptgrants/{name}/status", patch, "application/merge-patch+json"), names)
    world.control(f"limit?RevokeGrant={REVOKES_PER_SECOND}")
    before = world.calls()
    with world.operator(limits=True) as operator:
        until(lambda: difference(world.calls(), before).get("iam:PutRolePolicy", 0) >= READERS,
              "the earlier date in every role's policy", LEAD_SECONDS)
        if time.time() > end - 5:
            raise StackError("this machine is too slow: the end came before all was prepared")
        probe = start_probe(world, end)
        time.sleep(max(0.0, end - 1 - time.time()))
        quiet = world.calls()
        removed = watch(lambda: operator.metric("securebucket_grant_revocation_lag_seconds_count"), grants, end)
        memory = operator.memory_megabytes()
        calls = difference(world.calls(), quiet)
        out, _ = probe.communicate(timeout=60)
    world.control("limit?RevokeGrant=0")
    if probe.returncode != 0:
        raise StackError("the reading workloads failed")
    left = [g["metadata"]["name"] for g in world.api.list("decryptgrants")
            if g["metadata"]["name"] in names and "removal" not in g["status"]]
    return {"lags": removed, "left": len(left), "calls": calls, "memory": memory, **json.loads(out)}


def watch(count: Any, grants: int, end: int) -> list[float]:
    """Seconds after the end at which each removal was seen to be proved, by the wall clock."""
    seen: list[float] = []
    while len(seen) < grants and time.time() < end + PATIENCE_SECONDS:
        proved = int(count())
        seen += [time.time() - end] * (proved - len(seen))
        time.sleep(0.1)
    return seen


def start_probe(world: World, end: int) -> subprocess.Popen[str]:
    """Workloads that read all the time, from before the end until well after it."""
    grants = [g for g in world.api.list("decryptgrants") if g["metadata"]["name"].startswith("herd-")]
    arn = grants[0]["status"]["resolved"]["bucketArn"]
    writer = next(b["status"]["duties"][0] for b in world.api.list("securebuckets") if b["status"]["bucketArn"] == arn)
    roles = {g["spec"]["subject"]["serviceAccountRef"]["name"]: g["status"]["resolved"]["roleArn"] for g in grants}
    order = {
        "endpoint": world.stack["aws"]["endpoint"], "region": REGION, "bucket": arn.rpartition(":")[2],
        "writer": {"role": writer["roleArn"], "token": world.token(writer["serviceAccount"], NAMESPACE)},
        "readers": [{"role": role, "token": world.token(name, NAMESPACE)} for name, role in sorted(roles.items())[:PROBED]],
        "end": end, "until": end + 30,
    }
    process = subprocess.Popen(
        [world.stack["tools"]["python"], "-m", "stacklib.bench_probe"], text=True, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, env={"PYTHONPATH": str(E2E), "PATH": "/usr/bin:/bin"})
    assert process.stdin is not None
    process.stdin.write(json.dumps(order))
    process.stdin.close()
    process.stdin = None
    return process
