"""The control plane: etcd and kube-apiserver, their flags, and the credentials of the people of the story."""

import dataclasses
import json
import secrets
import ssl
import urllib.error
import urllib.request
from pathlib import Path

from stacklib.files import write_atomically

ISSUER = "https://oidc.cluster.local"  # only a name: nobody fetches keys from it
KUBERNETES_AUDIENCE = "https://kubernetes.default.svc"


@dataclasses.dataclass(frozen=True)
class Person:
    """A user of the API server with a fixed token and no rights but those that a test binds."""

    name: str
    groups: tuple[str, ...]

    @property
    def token(self) -> str:
        return f"{self.name}-token"


PEOPLE = (
    Person("alice", ("analytics",)),  # asks for access
    Person("bob", ("telephony-owners",)),  # decides on it
    Person("carol", ("security",)),  # watches, locks down
    Person("mallory", ("analytics",)),  # wants to read, and signs for others
)


@dataclasses.dataclass(frozen=True)
class ControlPlane:
    """Where one control plane listens and keeps its files."""

    directory: Path
    etcd_port: int
    api_port: int
    admin_token: str

    @staticmethod
    def create(directory: Path, etcd_port: int, api_port: int) -> "ControlPlane":
        directory.mkdir(parents=True, exist_ok=True)
        plane = ControlPlane(directory, etcd_port, api_port, secrets.token_urlsafe(24))
        rows = [f"{plane.admin_token},admin,uid-admin,system:masters"]
        rows += [f'{person.token},{person.name},uid-{person.name},"{",".join(person.groups)}"' for person in PEOPLE]
        write_atomically(directory / "tokens.csv", "\n".join(rows) + "\n")
        return plane

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.api_port}"

    @property
    def etcd_url(self) -> str:
        return f"http://127.0.0.1:{self.etcd_port}"

    @property
    def ca_file(self) -> Path:
        return self.directory / "ca.crt"

    @property
    def kubeconfig(self) -> Path:
        return self.directory / "kubeconfig"

    def etcd_command(self, etcd: str) -> list[str]:
        return [
            etcd,
            f"--data-dir={self.directory / 'etcd'}",
            f"--listen-client-urls={self.etcd_url}",
            f"--advertise-client-urls={self.etcd_url}",
            "--listen-peer-urls=http://127.0.0.1:0",
            "--unsafe-no-fsync",  # the data is thrown away; a test waits for every write
            "--log-level=warn",
        ]

    def apiserver_command(self, kube_apiserver: str, service_account_key: str) -> list[str]:
        return [
            kube_apiserver,
            f"--etcd-servers={self.etcd_url}",
            f"--cert-dir={self.directory / 'certificates'}",
            f"--secure-port={self.api_port}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",  # else it looks for a default route, which a sandbox may not have
            "--endpoint-reconciler-type=none",
            f"--service-account-signing-key-file={service_account_key}",
            f"--service-account-key-file={service_account_key}",
            f"--service-account-issuer={ISSUER}",
            f"--api-audiences={ISSUER},{KUBERNETES_AUDIENCE}",
            "--authorization-mode=RBAC",
            f"--token-auth-file={self.directory / 'tokens.csv'}",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--disable-admission-plugins=ServiceAccount",  # nobody here creates the default ServiceAccounts
            # Tests run many operators side by side; fairness between them would only slow all of them.
            "--enable-priority-and-fairness=false",
            "--max-requests-inflight=4000",
            "--max-mutating-requests-inflight=2000",
        ]

    def publish_ca(self) -> bool:
        """Take the CA out of the certificate file that kube-apiserver makes at its start (leaf first, CA last)."""
        try:
            bundle = (self.directory / "certificates" / "apiserver.crt").read_text()
        except FileNotFoundError:
            return False
        marker = "-----BEGIN CERTIFICATE-----"
        blocks = [marker + rest for rest in bundle.split(marker)[1:]]
        if len(blocks) < 2 or "-----END CERTIFICATE-----" not in blocks[-1]:
            return False  # still being written
        write_atomically(self.ca_file, blocks[-1], mode=0o644)
        return True

    def ready(self) -> bool:
        """Whether /readyz is ok, the built-in RBAC roles included."""
        if not self.ca_file.exists() and not self.publish_ca():
            return False
        return ready(self.url, self.ca_file, self.admin_token)

    def write_kubeconfig(self) -> None:
        """JSON is YAML. The contexts are `admin` and one per person, so that `kubectl --context bob` acts as bob."""
        users = {"admin": self.admin_token, **{person.name: person.token for person in PEOPLE}}
        write_atomically(self.kubeconfig, json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "admin",
            "clusters": [{"name": "stack", "cluster": {"server": self.url, "certificate-authority": str(self.ca_file)}}],
            "users": [{"name": name, "user": {"token": token}} for name, token in users.items()],
            "contexts": [{"name": name, "context": {"cluster": "stack", "user": name}} for name in users],
        }, indent=2) + "\n")

    def description(self) -> dict:
        """The `kube` part of stack.json."""
        return {
            "url": self.url, "ca_file": str(self.ca_file), "admin_token": self.admin_token,
            "kubeconfig": str(self.kubeconfig), "issuer": ISSUER,
            "users": {person.name: person.token for person in PEOPLE},
            "user_groups": {person.name: list(person.groups) for person in PEOPLE},
        }


def ready(url: str, ca_file: Path, token: str) -> bool:
    request = urllib.request.Request(f"{url}/readyz", headers={"Authorization": f"Bearer {token}"})
    try:
        context = ssl.create_default_context(cafile=str(ca_file))
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
        with opener.open(request, timeout=2) as answer:
            return answer.status == 200
    except (OSError, urllib.error.URLError):
        return False
