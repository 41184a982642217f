"""The emulator's clock: the machine's, or moved for one account, so that a test can let a month pass.

What AWS decides by its clock is decided by this one: `aws:CurrentTime`, expiry of sessions and tokens, the age of a
signature, creation dates, and the `Date` of every answer. `/_stack/clock?<account>=<seconds>` moves it.
"""

import datetime as real_datetime
import time as real_time
from typing import Any

from emulator import authorization
from emulator.corrections import PatchError, module, wrap

# account -> seconds that its clock is ahead.
offsets: dict[str, int] = {}

# Where ministack reads the time: module and the name by which it knows the time or datetime module, or the class.
_TIME = ("core.iam_evaluator", "services.iam", "services.sts", "services.kms")
_DATETIME_MODULE = (("core.iam_evaluator", "_dt"), ("core.sigv4", "dt"))
_DATETIME_CLASS = (("core.responses", "datetime"),)


def now() -> float:
    """AWS's time for the account of the request that is being served."""
    return real_time.time() + offsets.get(account(), 0)


def account() -> str:
    """The account of the request: of its signer, or of the role that an unsigned call asks for."""
    request = authorization.current_request.get()
    if request is not None and not request.headers.get("authorization"):
        fields = request.parameters.get("RoleArn", "").split(":") if request.method == "POST" else []
        if len(fields) > 4:
            return fields[4]
    return module("core.responses").get_account_id()


def http_date() -> str:
    """The value of the header `Date`."""
    return real_time.strftime("%a, %d %b %Y %H:%M:%S GMT", real_time.gmtime(now()))


class _Time:
    """The module `time`, with this clock."""

    time = staticmethod(now)

    @staticmethod
    def gmtime(seconds: float | None = None) -> real_time.struct_time:
        return real_time.gmtime(now() if seconds is None else seconds)

    def __getattr__(self, name: str) -> Any:
        return getattr(real_time, name)


class _Datetime(real_datetime.datetime):
    @classmethod
    def now(cls, tz: Any = None) -> Any:
        return cls.fromtimestamp(now(), tz)


class _DatetimeModule:
    """The module `datetime`, with this clock."""

    datetime = _Datetime

    def __getattr__(self, name: str) -> Any:
        return getattr(real_datetime, name)


def install() -> None:
    """Have ministack read this clock."""
    for name in _TIME:
        _replace(name, "time", real_time, _Time())
    for name, attribute in _DATETIME_MODULE:
        _replace(name, attribute, real_datetime, _DatetimeModule())
    for name, attribute in _DATETIME_CLASS:
        _replace(name, attribute, real_datetime.datetime, _Datetime)
    # It would drop sessions of all accounts by the clock of one.
    wrap(module("services.sts"), "_evict_expired_sessions", "", lambda original: None)


def _replace(name: str, attribute: str, expected: Any, replacement: Any) -> None:
    owner = module(name)
    if getattr(owner, attribute, None) is not expected:
        raise PatchError(f"{owner.__name__}.{attribute} is not {expected}: the emulator's clock depends on it")
    setattr(owner, attribute, replacement)
