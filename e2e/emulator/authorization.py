"""The one place where a request is authorized: ministack's `enforce`, with our additions around it.

Corrections add to four lists: calls that name something absent, condition keys, rules that may change a
verdict, and further permissions that a call needs.
"""

import contextvars
import dataclasses
import json
from collections import Counter
from collections.abc import Callable
from functools import cached_property
from typing import Any

from emulator.corrections import module, wrap

evaluator = module("core.iam_evaluator")
actions = module("core.iam_actions")
responses = module("core.responses")


@dataclasses.dataclass
class Request:
    """The HTTP request that is being served."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    query: dict[str, list[str]]

    @cached_property
    def json(self) -> dict[str, Any]:
        """The body of a JSON protocol (KMS); empty for any other."""
        try:
            value = json.loads(self.body) if self.body[:1] == b"{" else {}
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}

    @cached_property
    def parameters(self) -> dict[str, str]:
        """The parameters of a query protocol (IAM, STS)."""
        merged = module("app")._routing_params(self.method, self.path, self.headers, self.body, self.query)
        return {name: value[0] if isinstance(value, list) else value for name, value in merged.items()}


@dataclasses.dataclass
class Call:
    """One permission that a request asks for."""

    action: str
    service: str
    region: str
    resource: str
    access_key: str
    request: Request | None
    # Set when S3 asks KMS on behalf of the caller, not when the caller calls KMS.
    via_service: str | None = None
    encryption_context: dict[str, str] = dataclasses.field(default_factory=dict)
    keys: dict[str, Any] = dataclasses.field(default_factory=dict)


Denial = Any  # ministack's EvalResult or AuthError

ABSENT: list[Callable[[Call], bool]] = []  # the handler shall answer "not found": only the signature is checked
KEYS: list[Callable[[Call], dict[str, Any]]] = []
RULES: list[Callable[[Call, Denial | None], Denial | None]] = []
CALLED: list[Callable[[Call], None]] = []  # hears of every call, whatever becomes of it
ALSO_NEEDED: list[Callable[[Call], list[tuple[str, str]]]] = []

current_request: contextvars.ContextVar[Request | None] = contextvars.ContextVar("current_request", default=None)
denied_call: contextvars.ContextVar[tuple[Call, Denial] | None] = contextvars.ContextVar("denied_call", default=None)

# account -> action -> how often it was asked for; read by e2e/stack's users to count calls.
call_counts: dict[str, Counter[str]] = {}

_enforce: Callable[..., Denial | None]


def install() -> None:
    """Route every authorization through `authorize`."""
    global _enforce
    _enforce = evaluator.enforce
    wrap(evaluator, "enforce", "access_key_id iam_action service region resource_arn service_context", _enforced)
    wrap(module("app"), "_dispatch_service_request", "method path headers body query_params request_id", _dispatched)


async def _dispatched(original, method, path, headers, body, query_params, request_id):
    current_request.set(Request(method, path, headers, body, query_params))
    denied_call.set(None)
    return await original(method, path, headers, body, query_params, request_id)


def _enforced(original, access_key_id, iam_action, service, region, resource_arn="*", service_context=None):
    call = Call(iam_action, service, region, resource_arn, access_key_id, current_request.get(),
                keys=dict(service_context or {}))
    call_counts.setdefault(responses.get_account_id(), Counter())[iam_action] += 1
    for hear in CALLED:
        hear(call)
    return authorize(call)


def authorize(call: Call) -> Denial | None:
    """None when allowed; otherwise what denied it, remembered for the text of the answer."""
    if any(names_something_absent(call) for names_something_absent in ABSENT):
        return evaluator.check_credentials(call.access_key, call.service)
    denial = _decide(call)
    if denial is None:
        for needed in ALSO_NEEDED:
            for action, resource in needed(call):
                further = dataclasses.replace(call, action=action, resource=resource, keys=dict(call.keys))
                denial = _decide(further)
                if denial is not None:
                    denied_call.set((further, denial))
                    return denial
        return None
    denied_call.set((call, denial))
    return denial


def _decide(call: Call) -> Denial | None:
    for provider in KEYS:
        call.keys.update(provider(call))
    denial = _enforce(call.access_key, call.action, call.service, call.region, resource_arn=call.resource,
                      service_context=call.keys)
    for rule in RULES:
        denial = rule(call, denial)
    return denial


def principal_of(call: Call) -> Any:
    """ministack's PrincipalInfo of the caller, or its AuthError."""
    return evaluator.resolve_principal(call.access_key, responses.get_account_id())


def context_of(call: Call, principal: Any) -> Any:
    """The evaluation context of a call, for rules that evaluate a policy themselves."""
    keys = {key.lower(): value for key, value in call.keys.items()}
    for name, value in (module("services.tagging").resource_tags(call.resource) or {}).items():
        keys.setdefault(f"aws:ResourceTag/{name}".lower(), value)
    return evaluator.EvalContext(
        principal_arn=principal.arn, principal_type=principal.type, principal_account=principal.account,
        action=call.action, resource_arn=call.resource, region=call.region,
        service_context=keys, principal_keys=principal.keys)


def role_of_session(arn: str) -> dict[str, Any] | None:
    """The stored role behind `arn:aws:sts::<account>:assumed-role/<name>/<session>`."""
    fields = arn.split(":", 5)
    if len(fields) < 6 or not fields[5].startswith("assumed-role/"):
        return None
    return module("services.iam")._roles.get_scoped(fields[4], None, fields[5].split("/")[1])


def object_key(path: str) -> tuple[str, str]:
    """Bucket and key of a path-style S3 path (which arrives decoded), split as ministack's handlers split it."""
    bucket, _, key = path.lstrip("/").partition("/")
    return bucket, key
