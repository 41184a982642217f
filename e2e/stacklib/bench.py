"""`make bench`: AWS calls, times, lateness and memory, beside the goals. It never fails for slowness.

A set is a SecureBucket with one Producer and one DecryptGrant of another ServiceAccount: key, alias, bucket with all its settings, two roles
with one policy each, one KMS grant. The operator runs as the release binary, with the operator's role and policy, over real HTTP, on a
stack of its own. The emulator answers at once, or 50 ms later where that is said.
"""

import argparse
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from stacklib import bench_herd
from stacklib.bench_world import Calls, World, account, difference, grant, until
from stacklib.paths import CHECKOUT, StackError

DELAY_MS = 50


@dataclass
class Figure:
    """One line of the table. `goal` is the most that it should be."""

    text: str
    value: float | None
    goal: float | None = None
    unit: str = ""
    peer: str = "–"

    def line(self) -> str:
        def shown(value: float | None) -> str:
            if value is None:
                return "–"
            number = f"{value:.0f}" if self.unit in ("", " MB") else f"{value:.2f}" if value < 10 else f"{value:.1f}"
            return number + self.unit
        verdict = "" if self.goal is None or self.value is None else "met" if self.value <= self.goal else "MISSED"
        return f"{self.text:58}{shown(self.value):>10}{shown(self.goal):>10}{self.peer:>10}  {verdict}".rstrip()


def total(calls: Calls) -> float:
    return sum(calls.values())


def one_set(world: World) -> tuple[list[Figure], dict[str, Calls]]:
    """What one set costs: to make, to grant, to end."""
    listed: dict[str, Calls] = {}
    with world.operator("--evidence-wait=10m"):
        before = world.silence()
        world.sets(0, 1)
        made = world.silence()
        world.grants(0, 1)
        granted = world.silence()
        world.hand_back(0, 1)
        ended = world.silence()
        world.control(f"delay?{DELAY_MS}")
        ready = world.sets(1, 1)
        usable = world.grants(1, 1)
        proved = world.hand_back(1, 1)
        world.control("delay?0")
    listed["to make a bucket with one role"] = difference(made, before)
    listed["to grant"] = difference(granted, made)
    listed["to end a grant by handing it back"] = difference(ended, granted)
    figures = [
        # ACK s3 1.10, kms 1.4.1 and iam 1.8.1 with equivalent resources, measured on the same API server and endpoint.
        Figure("AWS calls to make a bucket with one role", total(listed["to make a bucket with one role"]), 34, peer="89"),
        Figure("AWS calls to grant, with the reader's role", total(listed["to grant"])),
        Figure("AWS calls to end a grant", total(listed["to end a grant by handing it back"])),
        Figure(f"bucket Ready, {DELAY_MS} ms added to each call", ready, 0.9, " s", "4.1 s"),
        Figure(f"grant usable, {DELAY_MS} ms added to each call", usable, unit=" s"),
        Figure(f"grant handed back and proved gone, {DELAY_MS} ms added", proved, unit=" s"),
    ]
    return figures, listed


def checks(world: World, made: int) -> tuple[list[Figure], dict[str, Calls]]:
    """What a check without a change costs: a start checks everything once; what it asks besides is the difference between two starts."""
    starts: list[Calls] = []
    steps = [lambda: world.sets(made, 10), lambda: world.grants(made, 10), lambda: None]
    for step in steps:
        before = world.calls()
        with world.operator():
            starts.append(difference(world.silence(), before))
            step()
            world.silence()
    # A start also reads the tags of each role once, to find roles that no object speaks of: no part of a check.
    inventory = {"iam:GetRole": 1.0}
    listed = {name: difference({call: count / 10 for call, count in difference(after, before).items()}, inventory) for name, before, after in (
        ("of a check of a bucket with one role", starts[0], starts[1]),
        ("of a check of a grant and its role", starts[1], starts[2]))}
    figures = [
        Figure("AWS calls of a check without a change, bucket with one role", total(listed["of a check of a bucket with one role"]),
               16, peer="60"),
        Figure("AWS calls of a check without a change, grant and its role", total(listed["of a check of a grant and its role"])),
    ]
    return figures, listed


def many(world: World, made: int, count: int) -> list[Figure]:
    """Many sets at once."""
    with world.operator() as operator:
        start = world.silence()
        ready = world.sets(made, count)
        making = world.silence()
        usable = world.grants(made, count)
        granting = world.silence()
        memory = operator.memory_megabytes()
        proved = world.hand_back(made, count)
        ending = world.silence()
    per = [total(difference(b, a)) / count for a, b in ((start, making), (making, granting), (granting, ending))]
    hundred = count == 100
    return [
        Figure(f"{count} buckets with one role each Ready", ready, 10 if hundred else None, " s", "52 s" if hundred else "–"),
        Figure(f"{count} grants usable", usable, unit=" s"),
        Figure(f"{count} grants handed back and proved gone", proved, unit=" s"),
        Figure("AWS calls of each, to make", per[0], 34, peer="89"),
        Figure("AWS calls of each, to grant", per[1]),
        Figure("AWS calls of each, to end", per[2]),
        Figure(f"memory of the operator with {count} sets", memory, unit=" MB", peer="203 MB" if hundred else "–"),
    ]


def lone_end(world: World) -> list[Figure]:
    """How late the clean-up of one expired grant is, with latency and with the operator's rate limits."""
    world.make("serviceaccounts", [account("lone")])
    with world.operator(limits=True) as operator:
        world.silence()
        world.control(f"delay?{DELAY_MS}")
        world.make("decryptgrants", [grant("lone", 0, "lone", "8s")])
        name = "securebucket_grant_revocation_lag_seconds"
        until(lambda: operator.metric(f"{name}_count") >= 1, "the end of one grant", 120)
        world.control("delay?0")
        return [Figure(f"one end: removal proved after, {DELAY_MS} ms added", operator.metric(f"{name}_sum"), 2, " s")]


def herd(world: World, made: int, grants: int) -> tuple[list[Figure], dict[str, Calls]]:
    """Many ends in one second."""
    with world.operator():
        world.sets(made, 1)
        print(f"  {grants} grants on one bucket …", file=sys.stderr)
        usable = bench_herd.prepare(world, made, grants)
    found = bench_herd.measure(world, grants)
    lags = sorted(found["lags"])
    at = lambda share: lags[min(len(lags) - 1, int(share * len(lags)))] if lags else None  # noqa: E731
    if found["left"]:
        print(f"  {found['left']} removals were not proved in time", file=sys.stderr)
    figures = [
        Figure(f"{grants} grants of {bench_herd.READERS} readers usable", usable, unit=" s"),
        Figure(f"{grants} ends in one second, {bench_herd.REVOKES_PER_SECOND} RevokeGrant/s: p50", at(0.5), unit=" s"),
        Figure("  p99", at(0.99), 25, " s"),
        Figure("  the last", lags[-1] if lags else None, unit=" s"),
        Figure("  reads before the end", found["read_before"]),
        Figure("  reads refused after the end", found["refused_after"]),
        Figure("  reads after the end", found["read_after"], 0),
        Figure("  memory of the operator", found["memory"], unit=" MB"),
    ]
    return figures, {f"of {grants} ends": found["calls"]}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="e2e/bench", description=__doc__)
    parser.add_argument("--binary", type=Path, help="instead of building target/release/securebucket")
    parser.add_argument("--sets", type=int, default=100, help="how many sets at once (%(default)s)")
    parser.add_argument("--herd", type=int, default=1000, help="how many ends in one second (%(default)s); 0 for none")
    parsed = parser.parse_args(arguments)
    begun = time.monotonic()
    figures: list[Figure] = []
    listed: dict[str, Calls] = {}
    failed = False

    def say(what: str) -> None:
        print(f"bench: {time.monotonic() - begun:5.0f} s  {what}", file=sys.stderr)

    try:
        binary = parsed.binary
        if binary is None:
            subprocess.run(["cargo", "build", "--release", "--locked"], cwd=CHECKOUT, check=True)
            binary = CHECKOUT / "target" / "release" / "securebucket"
        world = World(binary.absolute())
        world.prepare()
        say("one set")
        more, calls = one_set(world)
        figures, listed = figures + more, listed | calls
        say("checks without a change")
        more, calls = checks(world, 2)
        figures, listed = figures + more, listed | calls
        say(f"{parsed.sets} sets")
        figures += many(world, 12, parsed.sets)
        say("one end")
        figures += lone_end(world)
        if parsed.herd:
            say(f"{parsed.herd} ends")
            more, calls = herd(world, 12 + parsed.sets, parsed.herd)
            figures, listed = figures + more, listed | calls
    except (StackError, subprocess.CalledProcessError) as error:
        # What was measured until then is told all the same.
        print(f"e2e/bench: {error}", file=sys.stderr)
        failed = True
    say("stopped" if failed else "done")
    for title, calls in listed.items():
        print(f"\nAWS calls {title}:\n  " + ", ".join(f"{name} {count:g}" for name, count in sorted(calls.items())))
    print(f"\n{'':58}{'here':>10}{'goal':>10}{'ACK':>10}")
    for figure in figures:
        print(figure.line())
    missed = [f.text.strip() for f in figures if f.goal is not None and f.value is not None and f.value > f.goal]
    print(f"\ngoals missed: {'; '.join(missed)}" if missed else "\nall goals met" if not failed else "")
    return 1 if failed else 0
