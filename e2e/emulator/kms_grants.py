"""KMS grants: consulted when a call is authorized, and bound to the identity of their grantee."""

from typing import Any

from emulator import authorization as auth
from emulator.authorization import Call, Denial
from emulator.corrections import correction, module, wrap

kms = module("services.kms")
iam = module("services.iam")
evaluator = module("core.iam_evaluator")
responses = module("core.responses")


@correction("kms-grants")
def grants_allow() -> None:
    """A grant allows its grantee the operations that it lists on its key, within its encryption-context
    constraint, without any IAM or key policy statement; an explicit Deny anywhere still wins.

    ministack stores grants and never consults them. Whether the implicit deny of a permissions boundary or
    session policy limits a grant is undocumented (aws.md §2.2): the emulator takes the stricter reading.
    Source: KMS-DG grants; KMS-DG policy-evaluation; BC kms:CreateGrant and kms:GrantConstraints (constraints are
    ignored for DescribeKey and RetireGrant; keys case-insensitive, values case-sensitive).
    """
    auth.RULES.append(_grant_rule)


def _grant_rule(call: Call, denial: Denial | None) -> Denial | None:
    if call.service != "kms" or not isinstance(denial, evaluator.EvalResult) or denial.decision != "ImplicitDeny":
        return denial
    principal = auth.principal_of(call)
    if isinstance(principal, evaluator.AuthError):
        return denial
    operation = call.action.removeprefix("kms:")
    for grant in kms._grants.values():
        if (grant["KeyId"] == call.resource and operation in grant["Operations"] and _is_grantee(grant, principal)
                and _within_constraints(grant, operation, call.encryption_context)
                and _within_limits(call, principal)):
            return None
    return denial


def _is_grantee(grant: dict[str, Any], principal: Any) -> bool:
    role = auth.role_of_session(principal.arn)
    if role is None:
        return grant["GranteePrincipal"] == principal.arn
    if grant["GranteePrincipal"] == principal.arn:  # a grant to one session
        return True
    return grant["GranteePrincipal"] == role["Arn"] and grant.get("_grantee_id", role["RoleId"]) == role["RoleId"]


def _within_constraints(grant: dict[str, Any], operation: str, context: dict[str, str]) -> bool:
    constraints = grant.get("Constraints") or {}
    if operation in ("DescribeKey", "RetireGrant"):
        return True
    given = {name.lower(): value for name, value in context.items()}
    exact = constraints.get("EncryptionContextEquals")
    if exact is not None and given != {name.lower(): value for name, value in exact.items()}:
        return False
    subset = constraints.get("EncryptionContextSubset") or {}
    return all(given.get(name.lower()) == value for name, value in subset.items())


def _within_limits(call: Call, principal: Any) -> bool:
    """Whether the permissions boundary and the session policies allow the call, too."""
    context = auth.context_of(call, principal)
    return all(evaluator._first_match(context, [statement for document in limit for statement in document], "Allow")
               for limit in principal.limits)


@correction("grantee-identity")
def grants_are_bound_to_their_grantee() -> None:
    """CreateGrant refuses a role that does not exist (InvalidArnException). A grant stays with the unique id of
    the role that it was made for: a role of the same name that is made later has no access, and ListGrants then
    shows the old `AROA…` id in place of the ARN.

    ministack takes any text for a grantee and compares names for ever.
    Source: BC kms:CreateGrant (InvalidArnException); ids observed: terraform-provider-aws internal/service/kms/
    grant.go and issue 29340; consistent with IAM-UG reference_policies_elements_principal.
    """
    wrap(kms, "_create_grant", "data", _bound_create_grant)
    wrap(kms, "_grant_entry", "grant", _entry_with_identity)


def _role_named(arn: str) -> dict[str, Any] | None:
    account, name = arn.split(":")[4], arn.rsplit("/", 1)[-1]
    role = iam._roles.get_scoped(account, None, name)
    return role if role and role["Arn"] == arn else None


def _bound_create_grant(original, data):
    grantee = data.get("GranteePrincipal") or ""
    role = None
    if ":role/" in grantee and grantee.count(":") == 5:
        role = _role_named(grantee)
        if role is None and kms._grant_key(data.get("KeyId", "")):
            return responses.error_response_json(
                "InvalidArnException", f"ARN does not refer to a valid principal: {grantee}", 400)
    before = set(kms._grants)
    answer = original(data)
    if role:
        for grant_id in set(kms._grants) - before:
            kms._grants[grant_id]["_grantee_id"] = role["RoleId"]
    return answer


def _entry_with_identity(original, grant):
    entry = original(grant)
    role = _role_named(entry["GranteePrincipal"]) if ":role/" in entry["GranteePrincipal"] else None
    bound_to = grant.get("_grantee_id")
    if bound_to and (role is None or role["RoleId"] != bound_to):
        entry["GranteePrincipal"] = bound_to
    return entry
