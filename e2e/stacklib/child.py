"""Becomes one server of the stack: records itself, then execs the server's command.

Run as `python child.py RECORD LOCK_FD -- COMMAND…`, in a session of its own.

The record is written by the process that it is about, before it turns into the server, while it still
holds the inherited lock of the state directory. So at no instant is there a server that `down` does not
know of, even when the caller is killed between its fork and its next statement: `down` waits for the lock.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from stacklib.files import write_json  # noqa: E402
from stacklib.process import birth_of  # noqa: E402


def main(arguments: list[str]) -> None:
    record, lock_fd, separator, *command = arguments
    if separator != "--" or not command:
        raise SystemExit("usage: child.py RECORD LOCK_FD -- COMMAND…")
    write_json(Path(record), {"pid": os.getpid(), "birth": birth_of(os.getpid()), "command": command})
    os.set_inheritable(int(lock_fd), False)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
