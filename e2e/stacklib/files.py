"""Small file helpers: atomic writes and locks between processes."""

import contextlib
import fcntl
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def write_atomically(path: Path, text: str, mode: int = 0o600) -> None:
    """A reader sees the old text or the new one, never a half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def write_json(path: Path, value: Any) -> None:
    write_atomically(path, json.dumps(value, indent=2) + "\n")


def read_json(path: Path) -> Any | None:
    """The file's value, or None when it is absent or torn (a crash of an older kernel or disk)."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


@contextlib.contextmanager
def locked(path: Path, waiting_for: str) -> Iterator[int]:
    """Hold an exclusive lock on *path*; yields the descriptor, which a child may inherit.

    The kernel drops the lock with the last descriptor, so a killed holder never leaves it behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _lock(descriptor, path, waiting_for)
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: Path, waiting_for: str) -> None:
    patience_ends = time.monotonic() + 1.0
    while time.monotonic() < patience_ends:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(0.02)
    print(f"waiting for another process: {waiting_for} (lock {path})", file=sys.stderr, flush=True)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
