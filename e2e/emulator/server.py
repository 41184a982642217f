"""The emulator's application: ministack with its corrections, fenced in to what the stack uses."""

import asyncio
import collections
import functools
import importlib
import json
import time
from collections.abc import Callable
from typing import Any

from emulator import authorization, clock
from emulator.corrections import install_all, module

# Importing a module registers its corrections. The order matters where two wrap the same function: the later one
# is asked first, so a bucket of another owner is refused before KMS is asked.
CORRECTION_MODULES = ("callers", "iam_requests", "kms_requests", "kms_grants", "s3_kms", "s3_requests", "web_identity")

settings = {"delay_ms": 0}
# Calls per second of a KMS operation, and when the latest were let through.
limits: dict[str, tuple[int, collections.deque[float]]] = {}

Send = Callable[[dict[str, Any]], Any]


def corrected_application(without: frozenset[str]) -> Callable[..., Any]:
    """Patch ministack and return the ASGI application to serve."""
    for name in CORRECTION_MODULES:
        importlib.import_module(f"emulator.{name}")
    authorization.install()
    clock.install()
    install_all(without)
    _cache_parsed_policies()
    ministack = module("app").app

    async def application(scope: dict[str, Any], receive: Any, send: Send) -> None:
        if scope["type"] == "http":
            if scope["path"].startswith("/_stack/"):
                await _answer(send, *_control(scope["path"], scope["query_string"].decode()))
                return
            if settings["delay_ms"]:
                await asyncio.sleep(settings["delay_ms"] / 1000)
            if limits and _throttled(dict(scope["headers"]).get(b"x-amz-target", b"").decode("latin-1")):
                await _answer(send, 400, {"__type": "ThrottlingException", "message": "Rate exceeded"})
                return
            host = dict(scope["headers"]).get(b"host", b"").decode("latin-1").rpartition(":")[0]
            if host not in ("127.0.0.1", "localhost", "[::1]"):
                # ministack serves virtual-host buckets, access points, load balancers … on paths that the
                # corrections do not reach.
                await _answer(send, 501, {"message": "The local stack answers path-style requests only: use the "
                                                     "endpoint's address as it stands in stack.json."})
                return
            send = _dated(send)
        await ministack(scope, receive, send)

    return application


def _dated(send: Send) -> Send:
    """Have every answer say what time it is, by the clock of its account."""
    async def dated(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            headers = [(name, value) for name, value in message["headers"] if name.lower() != b"date"]
            message = {**message, "headers": [*headers, (b"date", clock.http_date().encode())]}
        await send(message)

    return dated


def _control(path: str, query: str) -> tuple[int, Any]:
    """`/_stack/calls`: the calls that were authorized, by account. `/_stack/delay?50`: make every answer 50 ms later.
    `/_stack/limit?RevokeGrant=50`: answer ThrottlingException to more than 50 calls of this KMS operation in a second; 0 ends that.
    `/_stack/clock?111122223333=3600`: for this account it is an hour later.
    """
    if path == "/_stack/calls":
        return 200, {account: dict(counts) for account, counts in authorization.call_counts.items()}
    if path == "/_stack/delay" and query.isdigit():
        settings["delay_ms"] = int(query)
        return 200, settings
    operation, _, number = query.partition("=")
    if path == "/_stack/limit" and operation.isalpha() and number.isdigit():
        limits.pop(operation, None)
        if int(number):
            limits[operation] = (int(number), collections.deque())
        return 200, {name: most for name, (most, _) in limits.items()}
    if path == "/_stack/clock":
        account, _, seconds = query.partition("=")
        if account.isdigit() and len(account) == 12 and seconds.lstrip("-").isdigit():
            clock.offsets[account] = int(seconds)
            return 200, clock.offsets
    return 404, {"message": f"no such path or value: {path}?{query}"}


def _throttled(target: str) -> bool:
    most, latest = limits.get(target.rpartition(".")[2], (0, collections.deque()))
    now = time.monotonic()
    while latest and latest[0] <= now - 1:
        latest.popleft()
    if not most or len(latest) < most:
        latest.append(now)
        return False
    return True


async def _answer(send: Send, status: int, value: Any) -> None:
    body = json.dumps(value).encode()
    await send({"type": "http.response.start", "status": status, "headers": [
        (b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]})
    await send({"type": "http.response.body", "body": body})


def _cache_parsed_policies() -> None:
    """Parse each policy text once: ministack parses every policy of the caller on every request."""
    evaluator = module("core.iam_evaluator")
    parse = evaluator.parse_policy_document
    cached = functools.lru_cache(maxsize=4096)(parse)
    evaluator.parse_policy_document = lambda doc: cached(doc) if isinstance(doc, str) else parse(doc)
