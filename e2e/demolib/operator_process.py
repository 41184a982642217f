"""The operator as a local process, as near to its pod as there can be one without a kubelet.

Its arguments are those of the chart's Deployment, its rights in Kubernetes those of the chart's ServiceAccount, its rights in
AWS those of the role that this ServiceAccount names. What kubelet and the EKS webhook would add to the pod is added here.
"""

import json
import os
import re
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

from demolib.actors import Actor, until
from demolib.show import StoryEnds
from stacklib import process, stack
from stacklib.files import locked, write_atomically

NAMESPACE = "securebucket-system"
AUDIENCE = "sts.amazonaws.com"
ROLE_ANNOTATION = "eks.amazonaws.com/role-arn"


class Operator:
    """One pod; its container can be killed and started again."""

    def __init__(self, platform: Actor, kube: dict, state_dir: Path, binary: Path) -> None:
        self._platform = platform
        self._kube = kube
        self._state_dir = state_dir
        self._binary = binary
        self._process: subprocess.Popen[bytes] | None = None
        self._starts = 0
        self.arguments: list[str] = []
        self.env: dict[str, str] = {}
        self._port = 0

    def prepare(self) -> None:
        """Ask for the tokens, and read what the pod would be."""
        kubectl = ["kubectl", "-n", NAMESPACE]
        run = self._platform
        run.scene.show.say("""There is no kubelet here, so the operator runs as a process of this machine: with the arguments of
            the chart's Deployment, and with tokens of the chart's ServiceAccount, one for the API server and one for AWS.""")
        pod = '{.spec.template.spec.serviceAccountName}{"\\n"}{range .spec.template.spec.containers[0].args[*]}{@}{"\\n"}{end}'
        printed = run.good(*kubectl, "get", "deployment", "securebucket", "-o", f"jsonpath={pod}", limit=8)
        account, *arguments = printed.splitlines()
        token = run.good(*kubectl, "create", "token", account, "--duration", "1h")
        for_aws = run.good(*kubectl, "create", "token", account, "--audience", AUDIENCE, "--duration", "1h")
        role = run.read(*kubectl, "get", "serviceaccount", account, "-o", "jsonpath={.metadata.annotations}")
        directory = run.scene.directory / "operator"
        write_atomically(directory / "aws-token", for_aws)
        write_atomically(directory / "kubeconfig", kubeconfig(self._kube, account, token))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.arguments = [a for a in arguments if not a.startswith("--listen=")]
        self.arguments.append(f"--listen=127.0.0.1:{self._port}")
        run.scene.names[f"127.0.0.1:{self._port}"] = "127.0.0.1:$PORT"
        self.env = {"KUBECONFIG": str(directory / "kubeconfig"), "POD_NAME": "securebucket-0", "POD_NAMESPACE": NAMESPACE,
                    "AWS_ROLE_ARN": json.loads(role)[ROLE_ANNOTATION],
                    "AWS_WEB_IDENTITY_TOKEN_FILE": str(directory / "aws-token")}

    def start(self) -> None:
        """Start it and wait until it is ready."""
        scene = self._platform.scene
        scene.show.command("operator pod", scene.typed(["securebucket", *self.arguments]))
        self._starts += 1
        name = f"operator-{self._starts}"
        # Through the stack's own bookkeeping, so that it goes with the stack, whatever happens to this process.
        with locked(stack.lock_of(self._state_dir), "starting or stopping the stack") as lock_fd:
            command = [str(self._binary), *self.arguments]
            self._process = process.spawn(name, command, self._state_dir, lock_fd, self.env)
        log = self._state_dir / f"{name}.log"
        until("the operator is ready", lambda: self._ready(log), within=60)
        scene.show.answer(f"process {self._process.pid}, /readyz says: {self._get('/readyz').splitlines()[-1]}")

    def kill(self) -> int:
        """SIGKILL; returns the exit code."""
        assert self._process is not None
        self._platform.scene.show.command("platform", "kill -KILL $OPERATOR_PID")
        os.kill(self._process.pid, signal.SIGKILL)
        code = self._process.wait(timeout=10)
        self._process = None
        self._platform.scene.show.answer("Killed")
        return code

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def calls(self, operation: str) -> int:
        """How often it has called an operation of AWS, by its own metrics."""
        counter = rf'^securebucket_aws_api_calls_total{{[^}}]*operation="{operation}"[^}}]*}} (\d+)'
        return sum(int(count) for count in re.findall(counter, self._get("/metrics"), re.M))

    def _ready(self, log: Path) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            tail = log.read_text(errors="replace").splitlines()[-8:]
            raise StoryEnds("the operator ended while it was starting:\n" + "\n".join(tail))
        return self._get("/readyz") != ""

    def _get(self, path: str) -> str:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"http://127.0.0.1:{self._port}{path}", timeout=2) as answer:
                return answer.read().decode().strip() or "ok"
        except (OSError, urllib.error.URLError):
            return ""


def kubeconfig(kube: dict, user: str, token: str) -> str:
    """A kubeconfig with one user; JSON is YAML."""
    return json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "stack",
        "clusters": [{"name": "stack", "cluster": {"server": kube["url"], "certificate-authority": kube["ca_file"]}}],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": "stack", "context": {"cluster": "stack", "user": user}}]})
