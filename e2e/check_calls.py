#!/usr/bin/env python3
"""Compares the AWS calls that operators made during a test run with the table that their IAM policy is generated from.

    e2e/check_calls.py LOG_DIRECTORY BINARY

A call that is in the table and was not made means that the policy gives more than is needed, or that a test is missing. A call that was made and
is not in the table cannot be, and would mean that the log is wrong. That the policy gives enough is proved by the run itself: the operators ran
under nothing else.
"""

import subprocess
import sys
from pathlib import Path


def main(arguments: list[str]) -> int:
    if len(arguments) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    directory, binary = Path(arguments[0]), arguments[1]
    table = subprocess.run([binary, "policy", "calls"], check=True, capture_output=True, text=True).stdout
    known = {line.split("\t")[0] for line in table.splitlines() if line}
    made = {line.strip() for file in directory.iterdir() if file.is_file() for line in file.read_text().splitlines() if line.strip()}
    missing, extra = sorted(known - made), sorted(made - known)
    print(f"AWS calls: {len(known)} in the table, {len(made)} made by {sum(1 for _ in directory.iterdir())} operators")
    for call in missing:
        print(f"  in the table, never made: {call}: remove it from src/aws/calls.rs, or test what needs it")
    for call in extra:
        print(f"  made, not in the table: {call}")
    print("table and calls " + ("DIFFER" if missing or extra else "agree: the operator's policy neither misses nor exceeds a call"))
    return 1 if missing or extra else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
