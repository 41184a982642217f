"""`make bench-calls`: what one set costs in AWS calls, and how long sets take to be Ready.

A set is a SecureBucket with one Producer: key, alias, bucket with all its settings, and a role with one policy.
The operator runs as the release binary, with the operator's role and policy, on a stack of its own.
"""

import argparse
import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from stacklib.paths import CHECKOUT, E2E, StackError

CLUSTER, REGION, NAMESPACE, OPERATOR = "bench", "eu-west-1", "bench", "securebucket-system"
QUIET_SECONDS = 4.0
# ACK s3 1.10, kms 1.4.1 and iam 1.8.1 with equivalent resources, measured on the same API server and endpoint.
PEER = {"create": "89", "check": "60", "delayed": "4.1 s", "many": "52 s", "memory": "203 MB"}


class Bench:
    """One account, one operator, and the stack that they live on."""

    def __init__(self, binary: Path) -> None:
        self.binary = binary
        self.stack = json.loads(Path(os.environ["SECUREBUCKET_STACK"]).read_text())
        self.directory = Path(self.stack["state_dir"])
        self.account = json.loads(subprocess.run(
            [str(E2E / "stack"), "account", "--cluster", CLUSTER, "--region", REGION, "--binary", str(binary)],
            check=True, stdout=subprocess.PIPE).stdout)

    def kubectl(self, *arguments: str, manifest: Any = None) -> str:
        text = manifest if isinstance(manifest, str) else json.dumps(manifest)
        done = subprocess.run([self.stack["tools"]["kubectl"], *arguments], text=True, capture_output=True,
                              input=text if manifest is not None else None)
        if done.returncode != 0:
            raise StackError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def prepare(self) -> None:
        self.kubectl("apply", "-f", "-", manifest=subprocess.run(
            [str(self.binary), "crds"], check=True, stdout=subprocess.PIPE, text=True).stdout)
        self.kubectl("wait", "--for=condition=Established", "crd", "--all")
        for name in (NAMESPACE, OPERATOR):
            self.kubectl("create", "namespace", name)
        self.kubectl("create", "serviceaccount", "securebucket", "-n", OPERATOR)

    @contextlib.contextmanager
    def operator(self) -> Iterator[subprocess.Popen[bytes]]:
        """Run it until the end of the block."""
        token = self.directory / "token"
        token.write_text(self.kubectl("create", "token", "securebucket", "-n", OPERATOR,
                                      "--audience", "sts.amazonaws.com", "--duration", "2h").strip())
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            listen = f"127.0.0.1:{probe.getsockname()[1]}"
        env = {"KUBECONFIG": self.stack["kube"]["kubeconfig"], "POD_NAMESPACE": OPERATOR,
               "AWS_ROLE_ARN": self.account["operator_role_arn"], "AWS_WEB_IDENTITY_TOKEN_FILE": str(token),
               "AWS_ENDPOINT_URL": self.stack["aws"]["endpoint"], "AWS_REGION": REGION}
        command = [str(self.binary), "run", "--cluster", CLUSTER, "--listen", listen, "--leader-elect=false",
                   "--drift-check=1h", "--policy-propagation=0s", "--role-propagation=0s", "--no-aws-rate-limits"]
        with open(self.directory / "operator.log", "ab") as log:
            process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
        try:
            until(lambda: process.poll() is not None or answers(f"http://{listen}/readyz"), "the operator to be ready")
            if process.poll() is not None:
                tail = (self.directory / "operator.log").read_text().splitlines()[-5:]
                raise StackError("the operator ended while it was starting:\n" + "\n".join(tail))
            yield process
        finally:
            process.kill()
            process.wait()

    def calls(self) -> dict[str, int]:
        with urllib.request.urlopen(self.stack["aws"]["endpoint"] + "/_stack/calls") as answer:
            return json.load(answer).get(self.account["account"], {})

    def delay(self, milliseconds: int) -> None:
        urllib.request.urlopen(f"{self.stack['aws']['endpoint']}/_stack/delay?{milliseconds}").close()

    def silence(self) -> dict[str, int]:
        """Wait until no call was made for a while."""
        counts, since = self.calls(), time.monotonic()
        while time.monotonic() - since < QUIET_SECONDS:
            time.sleep(0.2)
            now = self.calls()
            if now != counts:
                counts, since = now, time.monotonic()
        return counts

    def create(self, first: int, count: int) -> float:
        """Make sets and return the seconds until all of them are Ready."""
        items = []
        for number in range(first, first + count):
            items.append({"apiVersion": "v1", "kind": "ServiceAccount",
                          "metadata": {"name": f"sa-{number}", "namespace": NAMESPACE}})
            items.append({"apiVersion": "securebucket.io/v1alpha1", "kind": "SecureBucket",
                          "metadata": {"name": f"set-{number}", "namespace": NAMESPACE},
                          "spec": {"access": [{"name": "ingest", "duty": "Producer", "prefixes": ["in/"],
                                               "serviceAccountRef": {"name": f"sa-{number}"}}]}})
        started = time.monotonic()
        self.kubectl("create", "-f", "-", manifest={"apiVersion": "v1", "kind": "List", "items": items})
        until(lambda: self.ready() >= first + count, f"{count} set(s) to be Ready", 600)
        return time.monotonic() - started

    def ready(self) -> int:
        template = '{range .items[*]}{.status.conditions[?(@.type=="Ready")].status}{"\\n"}{end}'
        return self.kubectl("get", "securebuckets", "-n", NAMESPACE, "-o", f"jsonpath={template}").split().count("True")


def until(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise StackError(f"waited {seconds:.0f} s in vain for {what}")
        time.sleep(0.1)


def answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=2).close()
        return True
    except OSError:
        return False


def difference(after: dict[str, int], before: dict[str, int]) -> dict[str, int]:
    return {name: count - before.get(name, 0) for name, count in after.items() if count > before.get(name, 0)}


def memory_megabytes(process: subprocess.Popen[bytes]) -> float:
    shown = subprocess.run(["ps", "-o", "rss=", "-p", str(process.pid)], capture_output=True, text=True)
    return int(shown.stdout) / 1024


def measure(bench: Bench, many: int) -> tuple[dict[str, str], dict[str, int], dict[str, int]]:
    """The figures, the calls that made one set, and those of one check of one set."""
    figures: dict[str, str] = {}
    with bench.operator():
        idle = bench.silence()
        bench.create(0, 1)
        creating = difference(bench.silence(), idle)
        bench.delay(50)
        figures["delayed"] = f"{bench.create(1, 1):.1f} s"
        bench.delay(0)
    # A restart checks every set once. What it asks besides is the difference between checking 2 and 12 sets.
    starts = []
    for total in (2, 12):
        before = bench.calls()
        with bench.operator():
            starts.append(difference(bench.silence(), before))
            if total == 2:
                bench.create(2, 10)
    checking = {name: (count - starts[0].get(name, 0)) / 10 for name, count in starts[1].items()}
    with bench.operator() as process:
        bench.silence()
        figures["many"] = f"{bench.create(12, many):.1f} s"
        bench.silence()
        figures["memory"] = f"{memory_megabytes(process):.0f} MB"
    figures["create"] = str(sum(creating.values()))
    figures["check"] = f"{sum(checking.values()):.0f}"
    return figures, creating, {name: count for name, count in checking.items() if count}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="e2e/bench-calls", description=__doc__)
    parser.add_argument("--binary", type=Path, help="instead of building target/release/securebucket")
    parser.add_argument("--sets", type=int, default=100, help="how many sets for the time and the memory (%(default)s)")
    parsed = parser.parse_args(arguments)
    try:
        binary = parsed.binary
        if binary is None:
            subprocess.run(["cargo", "build", "--release", "--locked"], cwd=CHECKOUT, check=True)
            binary = CHECKOUT / "target" / "release" / "securebucket"
        bench = Bench(binary.absolute())
        bench.prepare()
        figures, creating, checking = measure(bench, parsed.sets)
    except (StackError, subprocess.CalledProcessError) as error:
        print(f"e2e/bench-calls: {error}", file=sys.stderr)
        return 1
    for title, calls in (("calls that make one set", creating), ("calls of one check without a change", checking)):
        print(f"\n{title}:\n  " + ", ".join(f"{name} {count:g}" for name, count in sorted(calls.items())))
    print(f"\n{'':46}{'here':>10}{'ACK':>10}")
    for key, text in (("create", "AWS calls to create one set"), ("check", "AWS calls of one check without a change"),
                      ("delayed", "one set Ready with 50 ms added to each call"),
                      ("many", f"{parsed.sets} sets Ready, no added latency"), ("memory", "memory of the operator afterwards")):
        peer = PEER[key] if key not in ("many", "memory") or parsed.sets == 100 else "–"  # those were with 100 sets
        print(f"{text:46}{figures[key]:>10}{peer:>10}")
    return 0
