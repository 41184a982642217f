#!/usr/bin/env python3
"""Compares the AWS calls that test runs made with the call table that the operator's IAM policy is generated from.

    SECUREBUCKET_CALL_LOG_DIR=<directory> cargo test --test integration
    e2e/check_calls.py <directory>

A call that was made but is not in the table would be refused on AWS; one that is in the table but was never made is a
permission that nobody has shown to be needed. Both fail.
"""

import argparse
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="what SECUREBUCKET_CALL_LOG_DIR was in the test run")
    parser.add_argument("binary", type=Path, nargs="?", default=CHECKOUT / "target" / "debug" / "securebucket",
                        help="the securebucket binary that prints the table (default: target/debug)")
    parsed = parser.parse_args(arguments)

    logs = sorted(parsed.directory.glob("*.log"))
    if not logs:
        print(f"check_calls: no call logs in {parsed.directory}: run the integration tests with "
              "SECUREBUCKET_CALL_LOG_DIR set to it", file=sys.stderr)
        return 1
    made = {line for log in logs for line in log.read_text().split()}
    try:
        printed = subprocess.run([str(parsed.binary), "policy", "calls"], check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"check_calls: {parsed.binary} policy calls: {error}; run `cargo build`", file=sys.stderr)
        return 1
    table = {line.split("\t")[0] for line in printed.splitlines() if line}

    for call in sorted(made - table):
        print(f"made, but not in the table: {call}")
    for call in sorted(table - made):
        print(f"in the table, but never made: {call}")
    if made != table:
        print("The table is src/aws/calls.rs; the calls were made by tests/integration.")
        return 1
    print(f"all {len(table)} AWS calls of the table were made by {len(logs)} operators, and no other")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
