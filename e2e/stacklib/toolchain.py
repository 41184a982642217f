"""Builds the stack's tools once per machine, into a cache outside the checkout.

Each tool set lives in `<cache>/tools/<name>-<hash of everything that determines it>/`, is built in a
temporary directory beside it and renamed when complete: a directory with the final name is always whole.
"""

import dataclasses
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from stacklib.files import locked
from stacklib.paths import E2E, StackError, tools_root

PROGRESS_EVERY_SECONDS = 15.0
GO_FLAGS = ["-trimpath", "-ldflags"]
ASSETS = ("etcd", "kube-apiserver", "kubectl")


@dataclasses.dataclass(frozen=True)
class Tools:
    """Absolute paths of everything that the stack runs."""

    etcd: str
    kube_apiserver: str
    kubectl: str
    helm: str
    aws: str
    python: str
    service_account_key: str


@dataclasses.dataclass(frozen=True)
class GoModule:
    """A Go tools module under e2e/tools: commands pinned by its go.mod and go.sum."""

    name: str
    commands: dict[str, str]  # executable -> package
    usual_time: str

    @property
    def directory(self) -> Path:
        return E2E / "tools" / self.name

    def linker_flags(self) -> str:
        flags = "-s -w"
        if self.name == "kubernetes":  # without these kube-apiserver calls itself v0.0.0, and clients refuse it
            version = self.required_version("k8s.io/kubernetes")
            major, minor = version.removeprefix("v").split(".")[:2]
            package = "k8s.io/component-base/version"
            flags += f" -X {package}.gitVersion={version} -X {package}.gitMajor={major} -X {package}.gitMinor={minor}"
        return flags

    def required_version(self, module: str) -> str:
        found = re.search(rf"^\s*(?:require )?{re.escape(module)} (v\S+)", (self.directory / "go.mod").read_text(), re.M)
        if not found:
            raise StackError(f"{self.directory / 'go.mod'} does not require {module}: restore the file from git")
        return found[1]

    def key(self) -> str:
        return _key((self.directory / "go.mod").read_bytes(), (self.directory / "go.sum").read_bytes(),
                    " ".join([*GO_FLAGS, self.linker_flags(), platform.system(), platform.machine()]).encode())


ETCD = GoModule("etcd", {"etcd": "go.etcd.io/etcd/server/v3"}, "30 s")
KUBERNETES = GoModule("kubernetes", {"kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
                                     "kubectl": "k8s.io/kubernetes/cmd/kubectl"}, "5 min")
HELM = GoModule("helm", {"helm": "helm.sh/helm/v4/cmd/helm"}, "2 min")


def ensure_tools(say: Callable[[str], None]) -> Tools:
    """Find every tool, building what is missing; the Python packages install while Go compiles."""
    python_directory: list[Path | Exception] = []

    def install_python() -> None:
        try:
            python_directory.append(_ensure_python(say))
        except Exception as error:  # handed to the main thread below
            python_directory.append(error)

    installer = threading.Thread(target=install_python)
    installer.start()
    try:
        assets = _assets_from_environment()
        if not assets:
            etcd = _ensure_go(ETCD, say)
            kubernetes = _ensure_go(KUBERNETES, say)
            assets = {"etcd": etcd / "etcd", "kube-apiserver": kubernetes / "kube-apiserver",
                      "kubectl": kubernetes / "kubectl"}
        helm = _ensure_go(HELM, say)
    finally:
        installer.join()
    venv = python_directory[0]
    if isinstance(venv, Exception):
        raise venv
    return Tools(etcd=str(assets["etcd"]), kube_apiserver=str(assets["kube-apiserver"]), kubectl=str(assets["kubectl"]),
                 helm=str(helm / "helm"), aws=str(venv / "aws"), python=str(venv / "venv" / "bin" / "python"),
                 service_account_key=str(venv / "service-account.key"))


def _assets_from_environment() -> dict[str, Path] | None:
    """KUBEBUILDER_ASSETS is the usual name for a directory with prebuilt binaries (setup-envtest)."""
    directory = os.environ.get("KUBEBUILDER_ASSETS")
    if not directory:
        return None
    found = {name: Path(directory).absolute() / name for name in ASSETS}
    missing = [name for name, path in found.items() if not os.access(path, os.X_OK)]
    if missing:
        raise StackError(f"KUBEBUILDER_ASSETS={directory} has no executable {', '.join(missing)}: "
                         "unset it to have them built, or point it to a directory that has all of " + ", ".join(ASSETS))
    return found


def _ensure_go(module: GoModule, say: Callable[[str], None]) -> Path:
    def build(directory: Path) -> None:
        go = shutil.which("go")
        if not go:
            raise StackError("`go` is not on PATH. Install Go 1.26 or newer (https://go.dev/dl), "
                             "or set KUBEBUILDER_ASSETS to a directory with " + ", ".join(ASSETS))
        for executable, package in module.commands.items():
            command = [go, "build", *GO_FLAGS, module.linker_flags(), "-o", str(directory / executable), package]
            _run(command, f"build {executable}", say, cwd=module.directory,
                 env={**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"})

    return _ensure(f"{module.name}-{module.key()}", " and ".join(module.commands), module.usual_time, build, say)


def _ensure_python(say: Callable[[str], None]) -> Path:
    requirements = E2E / "requirements.txt"
    key = _key(requirements.read_bytes(), f"{sys.version_info[:2]} {platform.system()} {platform.machine()} 2".encode())

    def build(directory: Path) -> None:
        venv = directory / "venv"
        _run([sys.executable, "-m", "venv", str(venv)], "create the virtual environment", say)
        python = str(venv / "bin" / "python")
        _run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
              "-r", str(requirements)], "install the emulator and the aws command", say)
        # The scripts in venv/bin name the temporary directory; this one keeps working after the rename.
        launcher = directory / "aws"
        # EKS sets both region variables in a pod; version 1 of the command reads only the older name.
        launcher.write_text('#!/bin/sh\n'
                            'test -z "$AWS_REGION" || export AWS_DEFAULT_REGION="${AWS_DEFAULT_REGION:-$AWS_REGION}"\n'
                            'exec "$(dirname "$0")/venv/bin/python" -m awscli "$@"\n')
        launcher.chmod(0o755)
        # Signs the ServiceAccount tokens of every stack of this machine: making an RSA key in Python takes
        # seconds, and nothing but local test clusters trusts it.
        key_file = directory / "service-account.key"
        key_file.touch(mode=0o600)
        _run([python, "-c", "import rsa, sys; "
              "open(sys.argv[1], 'wb').write(rsa.newkeys(2048)[1].save_pkcs1())", str(key_file)], "make a key", say)

    def usable(directory: Path) -> bool:  # a virtual environment dies with the interpreter that it was made from
        return subprocess.run([str(directory / "venv" / "bin" / "python"), "-c", ""], capture_output=True).returncode == 0

    return _ensure(f"python-{key}", "ministack and awscli (Python packages)", "30 s", build, say, usable)


def _ensure(name: str, what: str, usual_time: str, build: Callable[[Path], None], say: Callable[[str], None],
            usable: Callable[[Path], bool] = lambda _: True) -> Path:
    final = tools_root() / name
    if final.is_dir() and usable(final):
        return final
    with locked(tools_root() / f"{name}.lock", f"building {what}"):
        if final.is_dir():  # another process built it while this one waited, or it is broken
            if usable(final):
                return final
            shutil.rmtree(final)
        for leftover in tools_root().glob(f".{name}.*"):  # of a build that was killed; the lock says it is over
            shutil.rmtree(leftover, ignore_errors=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=tools_root()))
        say(f"building {what}: usually {usual_time} the first time, kept in {tools_root()}")
        started = time.monotonic()
        try:
            build(temporary)
            temporary.chmod(0o755)
            temporary.rename(final)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        say(f"built {what} in {time.monotonic() - started:.0f} s")
    return final


def _run(command: list[str], purpose: str, say: Callable[[str], None], cwd: Path | None = None,
         env: dict[str, str] | None = None) -> None:
    """Run a build step, saying every few seconds that it is still at work; on failure show its output."""
    started = time.monotonic()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            while True:
                try:
                    process.wait(PROGRESS_EVERY_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    say(f"  still at work: {purpose}, {time.monotonic() - started:.0f} s")
        except BaseException:
            process.kill()
            process.wait()
            raise
        if process.returncode != 0:
            output.seek(0)
            tail = output.read().decode(errors="replace").strip().splitlines()[-30:]
            raise StackError(f"could not {purpose} (exit code {process.returncode}):\n"
                             f"  {' '.join(command)}\n" + "\n".join(f"  | {line}" for line in tail) +
                             "\n  No network, or a proxy or mirror that needs setting up, is the usual cause.")


def _key(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()[:12]
