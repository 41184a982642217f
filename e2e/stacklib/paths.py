"""Where the stack keeps its files: tools and state live in the user's cache, never in the checkout."""

import hashlib
import os
from pathlib import Path

E2E = Path(__file__).resolve().parent.parent
CHECKOUT = E2E.parent


class StackError(Exception):
    """Something that the user can act on; the text names what is wrong and the way out."""


def cache_root() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "securebucket"


def tools_root() -> Path:
    return cache_root() / "tools"


def runs_root() -> Path:
    return cache_root() / "run"


def checkout_id() -> str:
    """Two checkouts on one machine must not share a stack."""
    return hashlib.sha256(str(CHECKOUT).encode()).hexdigest()[:12]


def default_state_dir() -> Path:
    override = os.environ.get("SECUREBUCKET_STATE")
    return Path(override).absolute() if override else runs_root() / checkout_id()
