"""Bringing the stack up and down. Every function here holds the lock of the state directory."""

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from stacklib import kube, process
from stacklib.files import locked, read_json, write_json
from stacklib.paths import E2E, StackError
from stacklib.toolchain import Tools

READY_WITHIN_SECONDS = 90.0
POLL_SECONDS = 0.05
MARKER = ".securebucket-stack"  # without it a directory is not ours to delete
SERVERS = ("etcd", "kube-apiserver", "emulator")
ATTEMPTS = 3  # a free port may be taken by a stranger between our asking and the server's bind


class ServerDied(StackError):
    """A server ended while it was starting."""


def lock_of(state_dir: Path) -> Path:
    """Beside the state directory, not in it: it has to outlive its removal."""
    return state_dir.with_name(state_dir.name + ".lock")


def up(state_dir: Path, tools: Tools, say: Callable[[str], None], guarded_pid: int | None = None) -> Path:
    """Start what is missing and return the path of stack.json. A healthy stack is left as it is."""
    guarded = (guarded_pid, process.birth_of(guarded_pid)) if guarded_pid is not None else None
    if guarded and guarded[1] is None:
        raise StackError(f"--parent-pid {guarded_pid}: there is no such process")
    for attempt in range(1, ATTEMPTS + 1):
        start_id = secrets.token_hex(8)
        try:
            with locked(lock_of(state_dir), "starting or stopping the stack") as lock_fd:
                if healthy(state_dir):
                    say("the stack is up already")
                else:
                    _remove(state_dir)
                    _start(state_dir, start_id, tools, lock_fd)
                if guarded:
                    _guard(state_dir, *guarded, lock_fd)
                return state_dir / "stack.json"
        except BaseException as error:  # Ctrl-C included: nothing half-started is left
            down(state_dir, start_id)
            port_taken = isinstance(error, ServerDied) and "address already in use" in str(error).lower()
            if not port_taken or attempt == ATTEMPTS:
                raise
    raise AssertionError("unreachable")


def down(state_dir: Path, start_id: str | None = None) -> bool:
    """Stop everything and remove the state; says whether there was anything. Safe to repeat.

    With *start_id*, only if that start made it. The lock is taken anew even by an `up` that gives up: a child
    that has not recorded itself yet still holds the old one, and is waited for.
    """
    with locked(lock_of(state_dir), "starting or stopping the stack"):
        if start_id is not None and _start_id(state_dir) != start_id:
            return False
        existed = state_dir.exists()
        _remove(state_dir)
        return existed


def _start_id(state_dir: Path) -> str | None:
    try:
        return (state_dir / MARKER).read_text()
    except OSError:
        return None


def healthy(state_dir: Path) -> bool:
    """Whether all of it is there: a description, living servers, and an answer from each."""
    description = read_json(state_dir / "stack.json")
    records = process.recorded(state_dir)
    return (description is not None
            and all(name in records and process.alive(records[name]) for name in SERVERS)
            and all(os.access(tool, os.X_OK) for tool in description["tools"].values())
            and kube.ready(description["kube"]["url"], Path(description["kube"]["ca_file"]),
                           description["kube"]["admin_token"])
            and answers(description["aws"]["endpoint"] + "/_ministack/health"))


def _remove(state_dir: Path) -> None:
    """Stop every recorded server but this process (which may be the guard), then delete the files."""
    if not state_dir.exists():
        return
    if not (state_dir / MARKER).exists() and any(state_dir.iterdir()):
        raise StackError(f"{state_dir} holds files that are not the stack's, so it is not used: "
                         "point SECUREBUCKET_STATE to a directory that does not exist yet")
    process.stop([record for record in process.recorded(state_dir).values() if record["pid"] != os.getpid()])
    shutil.rmtree(state_dir)


def _start(state_dir: Path, start_id: str, tools: Tools, lock_fd: int) -> None:
    state_dir.mkdir(parents=True, mode=0o700, exist_ok=True)
    (state_dir / MARKER).write_text(start_id)
    etcd_port, api_port, aws_port = _free_ports(3)
    plane = kube.ControlPlane.create(state_dir / "kube", etcd_port, api_port)
    endpoint = f"http://127.0.0.1:{aws_port}"
    env = clean_environment()

    etcd = process.spawn("etcd", plane.etcd_command(tools.etcd), state_dir, lock_fd, env)
    emulator = process.spawn("emulator", [tools.python, "-m", "emulator", "--port", str(aws_port),
                                          "--issuer-key", tools.service_account_key],
                             state_dir, lock_fd, {**env, "PYTHONPATH": str(E2E)})
    _wait_until(lambda: answers(plane.etcd_url + "/health"), "etcd", etcd, state_dir)
    apiserver = process.spawn("kube-apiserver", plane.apiserver_command(tools.kube_apiserver, tools.service_account_key),
                              state_dir, lock_fd, env)
    _wait_until(lambda: answers(endpoint + "/_ministack/health"), "emulator", emulator, state_dir)
    _wait_until(plane.ready, "kube-apiserver", apiserver, state_dir)
    plane.write_kubeconfig()

    write_json(state_dir / "stack.json", {
        "kube": plane.description(),
        "aws": {"endpoint": endpoint},
        "tools": {name: getattr(tools, name) for name in ("kubectl", "helm", "aws", "python")},
        "state_dir": str(state_dir),
    })


def _guard(state_dir: Path, pid: int, birth: str, lock_fd: int) -> None:
    """A process that takes the stack down when *pid* ends, however it ends."""
    process.spawn(f"guard-{pid}", [sys.executable, str(E2E / "stack"), "guard", str(state_dir), str(pid), birth],
                  state_dir, lock_fd, dict(os.environ))


def clean_environment() -> dict[str, str]:
    """The caller's environment without AWS settings and without CA overrides.

    A profile, region or endpoint of the caller must not reach a test, and clients that are told to trust
    only AWS_CA_BUNDLE or SSL_CERT_FILE refuse the API server's own CA.
    """
    dropped = {"SSL_CERT_FILE", "SSL_CERT_DIR", "KUBECONFIG"}
    return {name: value for name, value in os.environ.items() if name not in dropped and not name.startswith("AWS_")}


def answers(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never through a proxy
    try:
        with opener.open(url, timeout=2) as answer:
            return answer.status == 200
    except (OSError, urllib.error.URLError):
        return False


def _wait_until(condition: Callable[[], bool], name: str, server: subprocess.Popen[bytes], state_dir: Path) -> None:
    deadline = time.monotonic() + READY_WITHIN_SECONDS
    while not condition():
        if server.poll() is not None:
            raise ServerDied(f"{name} ended with exit code {server.returncode} while starting:\n{_log_tail(state_dir, name)}")
        if time.monotonic() > deadline:
            raise StackError(f"{name} did not become ready in {READY_WITHIN_SECONDS:.0f} s:\n{_log_tail(state_dir, name)}")
        time.sleep(POLL_SECONDS)


def _log_tail(state_dir: Path, name: str) -> str:
    try:
        lines = (state_dir / f"{name}.log").read_text(errors="replace").splitlines()[-20:]
    except FileNotFoundError:
        lines = ["(no log)"]
    return "\n".join(f"  | {line}" for line in lines)


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, all different because they are held open together."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
