"""The subcommands of `e2e/stack`."""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from stacklib import process, stack
from stacklib.files import read_json
from stacklib.paths import E2E, StackError, checkout_id, default_state_dir, runs_root
from stacklib.toolchain import ensure_tools

MINIMUM_PYTHON = (3, 11)
GUARD_POLL_SECONDS = 0.3
COMMAND_PATIENCE_SECONDS = 20.0


def main(arguments: list[str]) -> int:
    if sys.version_info < MINIMUM_PYTHON:
        print(f"e2e/stack needs Python {'.'.join(map(str, MINIMUM_PYTHON))} or newer; "
              f"this is {sys.version.split()[0]} ({sys.executable})", file=sys.stderr)
        return 2
    parsed = _parser().parse_args(arguments)
    try:
        return parsed.handler(parsed)
    except StackError as error:
        print(f"e2e/stack: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def say(text: str) -> None:
    print(f"[stack] {text}", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="e2e/stack", description="The local stack; see e2e/README.md.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    tools = commands.add_parser("tools", help="build or find the tools and print where they are")
    tools.set_defaults(handler=lambda _: _tools())

    up = commands.add_parser("up", help="start the stack (or find it running) and print the path of stack.json")
    up.add_argument("--parent-pid", type=int, help="take the stack down when this process ends")
    up.set_defaults(handler=lambda parsed: _up(parsed.parent_pid))

    down = commands.add_parser("down", help="stop the stack and remove its state")
    down.set_defaults(handler=lambda _: _down())

    run = commands.add_parser("run", help="run a command against a stack of its own, which ends with it")
    run.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND…")
    run.set_defaults(handler=lambda parsed: _run(parsed.command))

    test = commands.add_parser("test", help="run the tests of the stack itself (e2e/tests)")
    test.add_argument("names", nargs="*", help="such as tests.test_policies; all if none is given")
    test.set_defaults(handler=lambda parsed: _test(parsed.names))

    account = commands.add_parser("account", help="make a fresh AWS account, ready for an operator; prints JSON")
    account.add_argument("--name", help="12 digits; random if not given")
    account.add_argument("--cluster", default="local", help="the operator's cluster name (default: %(default)s)")
    account.add_argument("--region", default="eu-west-1", help="default: %(default)s")
    source = account.add_mutually_exclusive_group()
    source.add_argument("--binary", help="the securebucket binary that prints the two policies (default: target/debug)")
    source.add_argument("--policy-dir", help="take operator.json and boundary.json from here instead")
    account.set_defaults(handler=_account)

    guard = commands.add_parser("guard")  # internal: see stack._guard
    guard.add_argument("state_dir", type=Path)
    guard.add_argument("pid", type=int)
    guard.add_argument("birth")
    guard.set_defaults(handler=lambda parsed: _guard(parsed.state_dir, parsed.pid, parsed.birth))
    return parser


def _tools() -> int:
    for name, path in vars(ensure_tools(say)).items():
        print(f"{name:20} {path}")
    return 0


def _up(parent_pid: int | None) -> int:
    tools = ensure_tools(say)
    print(stack.up(default_state_dir(), tools, say, guarded_pid=parent_pid))
    return 0


def _down() -> int:
    state_dir = default_state_dir()
    say(f"stopped, {state_dir} removed" if stack.down(state_dir) else "nothing was running")
    return 0


def _run(command: list[str]) -> int:
    if command[:1] == ["--"]:
        command = command[1:]
    if not command:
        raise StackError("run needs a command: e2e/stack run -- cargo test")
    tools = ensure_tools(say)
    _sweep_abandoned_runs()
    # A state directory of its own: runs side by side do not meet, nor does a run meet the stack of `up`.
    state_dir = runs_root() / f"{checkout_id()}-run-{os.getpid()}"
    received: list[int] = []
    child: list[subprocess.Popen[bytes]] = []

    def forward(number: int, _: FrameType | None) -> None:
        received.append(number)
        if child:
            child[0].send_signal(number)
        elif len(received) == 1:
            raise KeyboardInterrupt  # while the stack starts: abandon it

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, forward)
    try:
        started = time.monotonic()
        description = stack.up(state_dir, tools, say, guarded_pid=os.getpid())
        say(f"up in {time.monotonic() - started:.1f} s, logs in {state_dir}")
        env = {**stack.clean_environment(), "SECUREBUCKET_STACK": str(description),
               "KUBECONFIG": read_json(description)["kube"]["kubeconfig"]}
        try:
            child.append(subprocess.Popen(command, env=env))
        except OSError as error:
            raise StackError(f"cannot run {command[0]}: {error.strerror}") from None
        return _exit_code(child[0], received)
    except KeyboardInterrupt:
        return 128 + (received[0] if received else signal.SIGINT)
    finally:
        stack.down(state_dir)
        stack.lock_of(state_dir).unlink(missing_ok=True)  # nobody else uses a private directory


def _test(names: list[str]) -> int:
    tools = ensure_tools(say)
    os.chdir(E2E)
    command = [tools.python, "-m", "unittest", *(names or ["discover", "--start-directory", "tests",
                                                          "--top-level-directory", "."])]
    if os.environ.get("SECUREBUCKET_STACK"):
        return subprocess.run(command, env=stack.clean_environment()).returncode
    return _run(command)  # some of them need a running stack


def _exit_code(child: subprocess.Popen[bytes], received: list[int]) -> int:
    """Wait for the command; one that ignores the signal which we passed on is killed after a while."""
    told_at: float | None = None
    while True:
        try:
            code = child.wait(timeout=0.5)
            return code if code >= 0 else 128 - code
        except subprocess.TimeoutExpired:
            if received and told_at is None:
                told_at = time.monotonic()
            if told_at is not None and time.monotonic() - told_at > COMMAND_PATIENCE_SECONDS:
                child.kill()


def _sweep_abandoned_runs() -> None:
    """Clean up after runs whose process and guard were both killed, by a reboot for instance."""
    for state_dir in runs_root().glob("*-run-*"):
        owner = state_dir.name.rpartition("-")[2]
        if state_dir.is_dir() and owner.isdigit() and process.birth_of(int(owner)) is None:
            stack.down(state_dir)
            stack.lock_of(state_dir).unlink(missing_ok=True)


def _guard(state_dir: Path, pid: int, birth: str) -> int:
    while process.birth_of(pid) == birth:
        time.sleep(GUARD_POLL_SECONDS)
    stack.down(state_dir)
    return 0


def _account(parsed: argparse.Namespace) -> int:
    path = Path(os.environ.get("SECUREBUCKET_STACK") or default_state_dir() / "stack.json")
    description = read_json(path)
    if description is None:
        raise StackError(f"no stack at {path}: run `e2e/stack up` first, or work inside `e2e/stack run -- …`")
    # The work needs botocore, so it is done by the interpreter that has it.
    command = [description["tools"]["python"], "-m", "stacklib.account", json.dumps({
        "endpoint": description["aws"]["endpoint"], "issuer": description["kube"]["issuer"], "account": parsed.name,
        "cluster": parsed.cluster, "region": parsed.region, "binary": parsed.binary, "policy_dir": parsed.policy_dir})]
    return subprocess.run(command, env={**stack.clean_environment(), "PYTHONPATH": str(E2E)}).returncode
