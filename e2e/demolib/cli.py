"""`e2e/demo`: builds the operator, starts a stack of its own, and tells the story on it."""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

from demolib import bucket, drift, grants, install, record, retain
from demolib.cast import Cast
from demolib.show import Show, StoryEnds
from stacklib.files import read_json
from stacklib.paths import CHECKOUT

PLUGIN = "kubectl-securebucket"


def main(arguments: list[str]) -> int:
    if sys.version_info < (3, 11):
        print(f"e2e/demo needs Python 3.11 or newer; this is {sys.version.split()[0]} ({sys.executable})", file=sys.stderr)
        return 2
    parser = argparse.ArgumentParser(prog="e2e/demo", description=__doc__)
    parser.add_argument("--record", action="store_true", help="write docs/demo.md from this run")
    parser.add_argument("--on-stack", nargs=2, metavar=("STARTED", "BINARY"), help=argparse.SUPPRESS)
    parsed = parser.parse_args(arguments)
    if parsed.on_stack:
        started, binary = parsed.on_stack
        return on_stack(float(started), Path(binary), parsed.record)
    started = time.time()
    try:
        binary = build()
    except StoryEnds as error:
        print(f"e2e/demo: {error}", file=sys.stderr)
        return 1
    inside = [sys.executable, str(CHECKOUT / "e2e" / "demo"), "--on-stack", str(started), str(binary)]
    command = [sys.executable, str(CHECKOUT / "e2e" / "stack"), "run", "--", *inside, *["--record"] * parsed.record]
    print("$ e2e/stack run -- …      (etcd, kube-apiserver and the AWS emulator, for this run alone)", flush=True)
    os.execv(sys.executable, command)


def build() -> Path:
    """The binary given by SECUREBUCKET_BINARY, or a development build; the kubectl plugin lies beside it."""
    given = os.environ.get("SECUREBUCKET_BINARY")
    if given:
        binary = Path(given).absolute()
    else:
        command = ["cargo", "build", "--locked"]
        print(f"$ {shlex.join(command)}", flush=True)
        try:
            if subprocess.run(command, cwd=CHECKOUT).returncode != 0:
                raise StoryEnds("the build failed")
        except FileNotFoundError:
            raise StoryEnds("cargo is not on PATH: install Rust (https://rustup.rs), or set SECUREBUCKET_BINARY") from None
        target = os.environ.get("CARGO_TARGET_DIR") or "target"
        binary = CHECKOUT / target / "debug" / "securebucket"
    for program in (binary, binary.with_name(PLUGIN)):
        if not os.access(program, os.X_OK):
            raise StoryEnds(f"there is no executable {program}")
    return binary


def on_stack(started: float, built: Path, recording: bool) -> int:
    """Tell the story; afterwards the caller takes the stack down, and the operator with it."""
    description = read_json(Path(os.environ["SECUREBUCKET_STACK"]))
    show = Show(started)
    cast = Cast(show, description)
    binary = Path(shutil.copy2(built, cast.scene.directory / "securebucket"))  # a build beside us must not change it
    shutil.copy2(built.with_name(PLUGIN), cast.commands / PLUGIN)
    try:
        tell(cast, binary)
    except StoryEnds as error:
        print(f"\nThe story ends here: {error}", flush=True)
        if show.ok:
            show.expect("the story goes on", str(error), False)
    except KeyboardInterrupt:
        print("\ninterrupted", flush=True)
        return 130
    except Exception as error:  # an answer that nobody thought of; the table and the logs help more than a trace alone
        traceback.print_exc()
        show.expect("the story goes on", repr(error), False)
    took = time.time() - started
    if show.ok and recording:
        record.write(show)
    elif show.ok:
        outdated = record.outdated(show)
        show.expect("docs/demo.md shows these steps and commands", outdated or "it does", not outdated)
    show.table()
    passed = sum(verdict.ok for verdict in show.verdicts)
    print(f"\n{passed} of {len(show.verdicts)} as expected, in {took:.0f} s.")
    if not show.ok:
        print(f"Logs of the operator and of the stack: {keep_logs(cast.state_dir)}")
    return 0 if show.ok else 1


def tell(cast: Cast, binary: Path) -> None:
    """The acts, in order."""
    made = install.account(cast, binary)
    install.people(cast, made["oidc_provider_arn"])
    install.helm(cast, made["operator_role_arn"])
    operator = install.operator(cast, binary)
    install.teams(cast)
    bucket.declare(cast)
    bucket.annotate(cast)
    bucket.produce(cast)
    bucket.refuse_analyst(cast)
    granted = grants.ask(cast)
    grants.use(cast, granted)
    grants.administrator(cast)
    grants.kill(cast, operator, granted)
    grants.end(cast, operator, granted)
    grants.clean_up(cast, operator, granted)
    drift.loosen(cast)
    drift.tighten(cast, operator)
    grants.hand_back(cast)
    retain.delete(cast)
    retain.apply_again(cast)


def keep_logs(state_dir: Path) -> Path:
    """The stack's directory goes with the stack; its logs are kept elsewhere."""
    kept = Path(tempfile.mkdtemp(prefix="securebucket-demo-"))
    for log in state_dir.glob("*.log"):
        shutil.copy2(log, kept)
    return kept
