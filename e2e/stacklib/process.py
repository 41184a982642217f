"""Starting servers and stopping exactly those again.

A process is named by its pid *and* the time of its birth: pids are used again, and `down` must never
kill a stranger who got the number of a server that died long ago.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from stacklib.files import read_json


def birth_of(pid: int) -> str | None:
    """A text that no other process with this pid ever has, or None when it is gone (a zombie is gone)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None if Path("/proc/self/stat").exists() else _birth_from_ps(pid)
    fields = stat.rpartition(")")[2].split()  # the command's name, in parentheses, may hold blanks
    if fields[0] in ("Z", "X"):
        return None
    return f"{_boot_id()}:{fields[19]}"


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown-boot"


def _birth_from_ps(pid: int) -> str | None:
    """macOS has no /proc."""
    shown = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True)
    state, _, started = shown.stdout.strip().partition(" ")
    return started.strip() if started and not state.startswith("Z") else None


def spawn(name: str, command: list[str], state_dir: Path, lock_fd: int, env: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start a server of the stack in its own session, its output in `<state>/<name>.log`."""
    record = state_dir / "processes" / f"{name}.json"
    child = Path(__file__).resolve().parent / "child.py"
    with open(state_dir / f"{name}.log", "ab") as log:
        return subprocess.Popen(
            [sys.executable, str(child), str(record), str(lock_fd), "--", *command],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, cwd=state_dir,
            start_new_session=True, pass_fds=[lock_fd])


def recorded(state_dir: Path) -> dict[str, dict]:
    """Every server that was ever started in this state directory, by name."""
    found = {}
    for path in sorted((state_dir / "processes").glob("*.json")):
        record = read_json(path)
        if record:
            found[path.stem] = record
    return found


def alive(record: dict) -> bool:
    return record["birth"] is not None and birth_of(record["pid"]) == record["birth"]


def stop(records: list[dict]) -> None:
    """End each recorded process group; returns when all of them are gone.

    At once, without asking: the state is deleted next, so there is nothing that a server could usefully
    save, and kube-apiserver takes ten seconds to end politely when its etcd ends beside it.
    """
    for record in records:
        if alive(record):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(record["pid"], signal.SIGKILL)
    while any(alive(record) for record in records):
        time.sleep(0.01)
