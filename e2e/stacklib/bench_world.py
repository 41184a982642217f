"""What a measurement stands on: the stack, an account, operators as processes, and many objects at once."""

import contextlib
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from stacklib.paths import E2E, StackError

CLUSTER, REGION, NAMESPACE, OPERATOR = "bench", "eu-west-1", "bench", "securebucket-system"
QUIET_SECONDS = 2.5
GROUP = "/apis/securebucket.io/v1alpha1"
# Half a dozen: more would only take the processor from what is measured.
CONNECTIONS = 6

Calls = dict[str, float]


class Api:
    """The API server, as cluster-admin, on connections that stay open."""

    def __init__(self, kube: dict[str, Any]) -> None:
        self.address = urlsplit(kube["url"])
        self.context = ssl.create_default_context(cafile=kube["ca_file"])
        self.token = kube["admin_token"]
        self.local = threading.local()

    def request(self, method: str, path: str, body: Any = None, content: str = "application/json") -> Any:
        try:
            return self._request(method, path, body, content)
        except http.client.RemoteDisconnected:
            # It was idle for minutes, and the API server has closed it.
            self.local.connection = None
            return self._request(method, path, body, content)

    def _request(self, method: str, path: str, body: Any, content: str) -> Any:
        connection = getattr(self.local, "connection", None)
        if connection is None:
            connection = http.client.HTTPSConnection(
                self.address.hostname, self.address.port, context=self.context, timeout=60)
            self.local.connection = connection
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": content}
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = connection.getresponse()
        text = answer.read()
        if answer.status >= 400:
            raise StackError(f"{method} {path}: {answer.status} {text.decode()[:300]}")
        return json.loads(text)

    def each(self, work: Callable[[Any], Any], items: Iterable[Any]) -> None:
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            for _ in pool.map(work, items):
                pass

    def list(self, plural: str) -> list[dict[str, Any]]:
        return self.request("GET", f"{GROUP}/namespaces/{NAMESPACE}/{plural}")["items"]


class Operator:
    """One running operator."""

    def __init__(self, process: subprocess.Popen[bytes], listen: str) -> None:
        self.process, self.listen = process, listen

    def metric(self, name: str) -> float:
        with urllib.request.urlopen(f"http://{self.listen}/metrics") as answer:
            for line in answer.read().decode().splitlines():
                if line.split("{")[0].split(" ")[0] == name:
                    return float(line.rpartition(" ")[2])
        return 0.0

    def memory_megabytes(self) -> float:
        shown = subprocess.run(["ps", "-o", "rss=", "-p", str(self.process.pid)], capture_output=True, text=True)
        return int(shown.stdout) / 1024


class World:
    """One account and one namespace."""

    def __init__(self, binary: Path) -> None:
        self.binary = binary
        self.stack = json.loads(Path(os.environ["SECUREBUCKET_STACK"]).read_text())
        self.directory = Path(self.stack["state_dir"])
        self.api = Api(self.stack["kube"])
        self.account = json.loads(subprocess.run(
            [str(E2E / "stack"), "account", "--cluster", CLUSTER, "--region", REGION, "--binary", str(binary)],
            check=True, stdout=subprocess.PIPE).stdout)

    def kubectl(self, *arguments: str, manifest: str | None = None) -> str:
        done = subprocess.run([self.stack["tools"]["kubectl"], *arguments], text=True, capture_output=True, input=manifest)
        if done.returncode != 0:
            raise StackError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def prepare(self) -> None:
        for what in ("crds", "admission"):
            self.kubectl("apply", "-f", "-", manifest=subprocess.run(
                [str(self.binary), what], check=True, stdout=subprocess.PIPE, text=True).stdout)
        self.kubectl("wait", "--for=condition=Established", "crd", "--all")
        for name in (NAMESPACE, OPERATOR):
            self.kubectl("create", "namespace", name)
        self.kubectl("create", "serviceaccount", "securebucket", "-n", OPERATOR)

    @contextlib.contextmanager
    def operator(self, *flags: str, limits: bool = False) -> Iterator[Operator]:
        """Run one until the end of the block. Without *limits* it calls AWS as fast as it can."""
        token = self.directory / "token"
        token.write_text(self.token("securebucket", OPERATOR))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            listen = f"127.0.0.1:{probe.getsockname()[1]}"
        env = {"KUBECONFIG": self.stack["kube"]["kubeconfig"], "POD_NAMESPACE": OPERATOR,
               "AWS_ROLE_ARN": self.account["operator_role_arn"], "AWS_WEB_IDENTITY_TOKEN_FILE": str(token),
               "AWS_ENDPOINT_URL": self.stack["aws"]["endpoint"], "AWS_REGION": REGION}
        command = [str(self.binary), "run", "--cluster", CLUSTER, "--listen", listen, "--leader-elect=false",
                   "--drift-check=1h", "--policy-propagation=0s", "--role-propagation=0s", "--grant-floor=1s", *flags]
        with open(self.directory / "operator.log", "ab") as log:
            process = subprocess.Popen(command + ([] if limits else ["--no-aws-rate-limits"]), env=env, stdout=log, stderr=log)
        try:
            until(lambda: process.poll() is not None or answers(f"http://{listen}/readyz"), "the operator to be ready")
            if process.poll() is not None:
                tail = (self.directory / "operator.log").read_text().splitlines()[-5:]
                raise StackError("the operator ended while it was starting:\n" + "\n".join(tail))
            yield Operator(process, listen)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()

    def token(self, account: str, namespace: str) -> str:
        return self.kubectl("create", "token", account, "-n", namespace, "--audience", "sts.amazonaws.com",
                            "--duration", "2h").strip()

    def control(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.stack['aws']['endpoint']}/_stack/{path}") as answer:
            return json.load(answer)

    def calls(self) -> Calls:
        return self.control("calls").get(self.account["account"], {})

    def silence(self) -> Calls:
        """Wait until no call was made for a while."""
        counts, since = self.calls(), time.monotonic()
        while time.monotonic() - since < QUIET_SECONDS:
            time.sleep(0.1)
            now = self.calls()
            if now != counts:
                counts, since = now, time.monotonic()
        return counts

    def make(self, plural: str, items: list[dict[str, Any]]) -> None:
        base = f"/api/v1/namespaces/{NAMESPACE}" if plural == "serviceaccounts" else f"{GROUP}/namespaces/{NAMESPACE}"
        self.api.each(lambda item: self.api.request("POST", f"{base}/{plural}", item), items)

    def sets(self, first: int, count: int) -> float:
        """Make buckets with one Producer each, and return the seconds until all of them are Ready."""
        numbers = range(first, first + count)
        self.make("serviceaccounts", [account(f"{kind}-{n}") for n in numbers for kind in ("in", "out")])
        started = time.monotonic()
        self.make("securebuckets", [bucket(n) for n in numbers])
        until(lambda: self.count("securebuckets", "Ready", "True") >= first + count, f"{count} set(s) to be Ready", 600)
        return time.monotonic() - started

    def grants(self, first: int, count: int) -> float:
        """Ask for one grant on each of these buckets, and return the seconds until all of them are usable."""
        started = time.monotonic()
        self.make("decryptgrants", [grant(f"g-{n}", n, f"out-{n}") for n in range(first, first + count)])
        names = {f"g-{n}" for n in range(first, first + count)}
        until(lambda: names <= self.having("decryptgrants", "Active", "True"), f"{count} grant(s) to be Active", 600)
        return time.monotonic() - started

    def hand_back(self, first: int, count: int) -> float:
        """Delete these grants, and return the seconds until all of them are proved gone from AWS."""
        names = {f"g-{n}" for n in range(first, first + count)}
        started = time.monotonic()
        self.api.each(lambda name: self.api.request("DELETE", f"{GROUP}/namespaces/{NAMESPACE}/decryptgrants/{name}"), names)
        until(lambda: not names & {g["metadata"]["name"] for g in self.api.list("decryptgrants")}, "removal", 600)
        return time.monotonic() - started

    def having(self, plural: str, kind: str, status: str) -> set[str]:
        return {item["metadata"]["name"] for item in self.api.list(plural)
                if any(c["type"] == kind and c["status"] == status for c in item.get("status", {}).get("conditions", []))}

    def count(self, plural: str, kind: str, status: str) -> int:
        return len(self.having(plural, kind, status))


def account(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}


def bucket(number: int) -> dict[str, Any]:
    producer = {"name": "ingest", "duty": "Producer", "prefixes": ["in/"], "serviceAccountRef": {"name": f"in-{number}"}}
    return {"apiVersion": "securebucket.io/v1alpha1", "kind": "SecureBucket", "metadata": {"name": f"set-{number}"},
            "spec": {"access": [producer], "grants": {"approvals": 0, "maxOpenPerSubject": 32}}}


def grant(name: str, number: int, reader: str, duration: str = "6h") -> dict[str, Any]:
    return {"apiVersion": "securebucket.io/v1alpha1", "kind": "DecryptGrant", "metadata": {"name": name},
            "spec": {"bucketRef": {"name": f"set-{number}"}, "subject": {"serviceAccountRef": {"name": reader}},
                     "prefixes": ["in/"], "duration": duration, "reason": "bench",
                     "requester": {"username": "admin", "uid": "uid-admin"}}}


def until(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise StackError(f"waited {seconds:.0f} s in vain for {what}")
        time.sleep(0.05)


def answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=2).close()
        return True
    except OSError:
        return False


def difference(after: Calls, before: Calls) -> Calls:
    return {name: count - before.get(name, 0) for name, count in after.items() if count > before.get(name, 0)}
