"""`make test` and `make lint`: all steps, in an order that keeps two cores busy, and what came of them.

A step that fails does not stop the others, unless they need what it builds.
"""

import dataclasses
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from stacklib.paths import CHECKOUT, E2E

STACK = [sys.executable, str(E2E / "stack")]
CARGO_TEST = ["cargo", "test", "--locked"]
# `cargo test` builds it: the integration tests run it.
BINARY = Path(os.environ.get("CARGO_TARGET_DIR") or CHECKOUT / "target") / "debug" / "securebucket"
# The integration tests wait most of their time, each in a world of its own.
TEST_THREADS = os.environ.get("RUST_TEST_THREADS") or str(max(8, os.cpu_count() or 1))

LINT = {
    "format": ["cargo", "fmt", "--check"],
    "clippy": ["cargo", "clippy", "--locked", "--all-targets", "--", "--deny", "warnings"],
    "pure half": ["cargo", "check", "--locked", "--lib", "--no-default-features"],
    "plugin": ["cargo", "check", "--locked", "--no-default-features", "--features", "plugin", "--bin", "kubectl-securebucket"],
    "python": [sys.executable, "-c", "import ast, pathlib; "
               "[ast.parse(path.read_text(), str(path)) for path in pathlib.Path('e2e').rglob('*.py')]"],
}
# One run of the operator's life for each request that it makes, with one fault.
CAMPAIGN = "faults::campaign"
# What of the campaign is made, unless the caller says otherwise; see tests/integration/faults/mod.rs.
FAULTS = {"FAULTS": "main", "FAULTS_MINUTES": "30"}
# Components that a bare Rust installation may lack; their step is then reported as skipped.
COMPONENT = {"format": "cargo-fmt", "clippy": "cargo-clippy"}


@dataclasses.dataclass
class Outcome:
    """What came of one step."""

    name: str
    failed: bool
    seconds: float
    note: str = ""
    passed_tests: int = 0
    failed_tests: int = 0
    remarks: list[str] = dataclasses.field(default_factory=list)

    def line(self) -> str:
        verdict = "FAILED" if self.failed else "ok"
        tests = f"{self.passed_tests} passed, {self.failed_tests} failed" if self.passed_tests + self.failed_tests else ""
        return f"  {verdict:7} {self.name:12} {self.seconds:6.0f} s  {'; '.join(filter(None, (tests, self.note)))}".rstrip()


def main(arguments: list[str]) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    started = time.monotonic()
    outcomes = lint() if arguments == ["lint"] else lint_and_test()
    print(f"\nsummary, {time.monotonic() - started:.0f} s")
    for outcome in outcomes:
        print(outcome.line())
        for remark in outcome.remarks:
            print(f"          {remark}")
    passed, failed = sum(one.passed_tests for one in outcomes), sum(one.failed_tests for one in outcomes)
    bad = [one.name for one in outcomes if one.failed]
    print(f"{passed} tests passed, {failed} failed; " + (f"FAILED: {', '.join(bad)}" if bad else "all steps passed"))
    return 1 if bad else 0


def lint() -> list[Outcome]:
    return [run(name, command) for name, command in LINT.items()]


def lint_and_test() -> list[Outcome]:
    # Go compiles the tools while Cargo fetches and compiles the crates: neither keeps two cores busy all the time.
    tools: list[Outcome] = []
    building = threading.Thread(target=lambda: tools.append(run("tools", [*STACK, "tools"], quiet=True)))
    building.start()
    outcomes = [run("cargo build", [*CARGO_TEST, "--no-run"])]
    if not outcomes[0].failed:
        outcomes += lint()
    building.join()
    outcomes = tools + outcomes
    if tools[0].failed:
        return outcomes
    outcomes.append(run("stack tests", [*STACK, "test"], count=unittest_counts))
    if not outcomes[1].failed:
        with tempfile.TemporaryDirectory(prefix="securebucket-calls.") as calls:
            extra = {"SECUREBUCKET_CALL_LOG_DIR": calls, "RUST_TEST_THREADS": TEST_THREADS}
            outcomes.append(run("cargo test", [*STACK, "run", "--", *CARGO_TEST, "--no-fail-fast", "--", "--skip", CAMPAIGN],
                                count=cargo_counts, extra=extra))
            # Alone, and two scenarios at a time, because their short grants do not wait for a busy machine.
            scope = {name: os.environ.get(name) or default for name, default in FAULTS.items()}
            outcomes.append(run("faults", [*STACK, "run", "--", *CARGO_TEST, "--test", "integration", CAMPAIGN, "--", "--nocapture"],
                                count=cargo_counts, extra={**extra, **scope, "RUST_TEST_THREADS": "2"}))
            outcomes.append(run("AWS calls", [sys.executable, str(E2E / "check_calls.py"), calls, str(BINARY)]))
    return outcomes


def run(name: str, command: list[str], quiet: bool = False,
        count: Callable[[str], tuple[int, int]] | None = None, extra: dict[str, str] | None = None) -> Outcome:
    """Run a step, showing its output as it comes; with *quiet*, only what it says on stderr."""
    component = COMPONENT.get(name)
    if component and not shutil.which(component):
        return Outcome(name, False, 0, f"SKIPPED: {component} is not installed (rustup component add …)")
    print(f"\n=== {name}: {' '.join(command)}", flush=True)
    started = time.monotonic()
    try:
        process = subprocess.Popen(command, cwd=CHECKOUT, env={**os.environ, **(extra or {})}, text=True, errors="replace", stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL if quiet else subprocess.PIPE,
                                   stderr=None if quiet else subprocess.STDOUT)
    except OSError as error:
        return Outcome(name, True, 0, f"cannot run {command[0]}: {error.strerror}; is it installed and on PATH?")
    try:
        lines = []
        for line in process.stdout or ():
            lines.append(line)
            print(line, end="", flush=True)
        code = process.wait()
    except BaseException:
        process.terminate()  # the stack's own commands clean up on SIGTERM
        process.wait()
        raise
    passed, failed = count("".join(lines)) if count else (0, 0)
    note = "" if code == 0 else f"exit code {code}"
    if count and code == 0 and passed == 0:
        code, note = 1, "not one test was found"
    remarks = campaigns("".join(lines)) + (broken_runs("".join(lines)) + failures("".join(lines)) if code else [])
    return Outcome(name, code != 0, time.monotonic() - started, note, passed, failed, remarks)


def campaigns(output: str) -> list[str]:
    """How many runs there were, and what came of them."""
    return re.findall(r"^(faults: scenario \S+: N=.*(?:all converged|FAILED)(?:, \d+ more NOT MADE within FAULTS_MINUTES)?).*$", output, re.M)


def broken_runs(output: str) -> list[str]:
    """Which fault was not survived, as `FAULT=` takes it, and the beginning of what was wrong then; of the first few."""
    found = re.findall(r"^faults: (FAULT=.*:)\n(.*)$", output, re.M)
    return [text[:400] for run in found[:4] for text in run]


def failures(output: str) -> list[str]:
    """What failed, as the compiler, cargo's test binaries and unittest name it; the first few are enough to start from."""
    found = re.findall(r"^test (\S+) \.\.\. FAILED$|^(?:FAIL|ERROR): (\S+ \(\S+\))|^(error(?:\[\w+\])?: .*)$", output, re.M)
    names = list(dict.fromkeys("".join(groups)[:160] for groups in found))
    return names[:12] + ([f"… and {len(names) - 12} more"] if len(names) > 12 else [])


def unittest_counts(output: str) -> tuple[int, int]:
    """From `Ran 12 tests` and `FAILED (failures=1, errors=2)`."""
    ran = sum(int(number) for number in re.findall(r"^Ran (\d+) tests? in", output, re.M))
    failed = sum(int(number) for line in re.findall(r"^FAILED \((.*)\)$", output, re.M)
                 for number in re.findall(r"(?:failures|errors)=(\d+)", line))
    return max(ran - failed, 0), failed


def cargo_counts(output: str) -> tuple[int, int]:
    """From the `test result:` line of each test binary."""
    found = re.findall(r"^test result: \w+\. (\d+) passed; (\d+) failed;", output, re.M)
    return sum(int(passed) for passed, _ in found), sum(int(failed) for _, failed in found)
