"""Who takes part: the platform team, a data owner, an analyst, pods, and people of the AWS account."""

import json
import os
from pathlib import Path
from typing import Any

from demolib.actors import Actor, Scene
from demolib.operator_process import AUDIENCE, ROLE_ANNOTATION, kubeconfig
from demolib.show import Show
from stacklib.stack import clean_environment

REGION = "eu-west-1"
CLUSTER = "prod-eu"
ACCOUNT = "111122223333"  # the emulator is this run's own, so the number is free
EVERYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


class Cast:
    """Everybody, and where their files are."""

    def __init__(self, show: Show, description: dict[str, Any]) -> None:
        self.kube = description["kube"]
        self.endpoint = description["aws"]["endpoint"]
        self.state_dir = Path(description["state_dir"])
        directory = self.state_dir / "demo"
        directory.mkdir(exist_ok=True)
        self.commands = directory / "bin"  # what kubectl finds as its plugins
        self.commands.mkdir(exist_ok=True)
        tools = {name: description["tools"][name] for name in ("kubectl", "helm", "aws")}
        self.scene = Scene(show, tools, directory)
        self.show = show
        self._pods = 0
        # Known once the bucket is ready.
        self.bucket = self.key = ""
        self.roles: dict[str, str] = {}  # ServiceAccount -> ARN
        self.platform = self._kubernetes("platform", self.kube["admin_token"])
        self.bob = self._kubernetes("bob", self.kube["users"]["bob"])
        self.alice = self._kubernetes("alice", self.kube["users"]["alice"])
        self.mallory = self._kubernetes("mallory", self.kube["users"]["mallory"])
        self.cloud = Actor(self.scene, "cloud", self._aws("cloud"))
        self.ingest = self.auditor = self.reports = self.dashboard = self.cloud  # until their pods start

    def _kubernetes(self, who: str, token: str) -> Actor:
        path = self.scene.directory / f"kubeconfig-{who}"
        path.write_text(kubeconfig(self.kube, who, token), encoding="utf-8")
        home = self._home(who)
        helm = {f"HELM_{kind}_HOME": f"{home}/helm/{kind.lower()}" for kind in ("CACHE", "CONFIG", "DATA")}
        env = _environment()
        env["PATH"] = f"{self.commands}{os.pathsep}{env.get('PATH', os.defpath)}"
        return Actor(self.scene, who, {**env, "KUBECONFIG": str(path), "HOME": home, **helm})

    def _aws(self, who: str, config: Path | None = None) -> dict[str, str]:
        return {**_environment(), "HOME": self._home(who), "AWS_ENDPOINT_URL": self.endpoint,
                "AWS_REGION": REGION, "AWS_DEFAULT_REGION": REGION, "AWS_PAGER": "",
                "AWS_CONFIG_FILE": str(config or self.scene.directory / "aws-config"),
                "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_EC2_METADATA_DISABLED": "true"}

    def _home(self, who: str) -> str:
        home = self.scene.directory / "home" / who
        home.mkdir(parents=True, exist_ok=True)
        return str(home)

    def profiles(self, *sections: str) -> None:
        """Add profiles to the AWS configuration of the cloud team."""
        with open(self.scene.directory / "aws-config", "a", encoding="utf-8") as config:
            config.write("\n".join(sections) + "\n")

    def file(self, name: str, value: Any) -> str:
        """A JSON file for a command; returns what the command takes."""
        (self.scene.directory / name).write_text(json.dumps(value), encoding="utf-8")
        return f"file://{name}"

    def pod(self, namespace: str, account: str) -> Actor:
        """A new pod of a ServiceAccount, as kubelet and the EKS webhook make it: a projected token, and the annotated role."""
        self._pods += 1
        home = Path(self._home(f"pod-{self._pods}"))
        of = ["kubectl", "-n", namespace]
        token = self.platform.read(*of, "create", "token", account, "--audience", AUDIENCE, "--duration", "1h")
        (home / "token").write_text(token, encoding="utf-8")
        path = f"jsonpath={{.metadata.annotations.{ROLE_ANNOTATION.replace('.', chr(92) + '.')}}}"
        role = self.platform.read(*of, "get", "serviceaccount", account, "-o", path)
        self.scene.names[str(home / "token")] = "$AWS_WEB_IDENTITY_TOKEN_FILE"
        env = {**self._aws(f"pod-{self._pods}", home / "aws-config"), "AWS_WEB_IDENTITY_TOKEN_FILE": str(home / "token")}
        if role:
            env["AWS_ROLE_ARN"] = role
        return Actor(self.scene, f"pod {account}", env)


def _environment() -> dict[str, str]:
    return {name: value for name, value in clean_environment().items() if not name.startswith("HELM_")}
