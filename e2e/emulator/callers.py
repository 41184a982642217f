"""Who calls: what policies see of a principal."""

from typing import Any

from emulator import authorization as auth
from emulator.authorization import Call, Denial
from emulator.corrections import correction, module, wrap

evaluator = module("core.iam_evaluator")

# Condition keys whose value ministack gets wrong or does not know, by lower-case name.
_OVERRIDES: dict[str, Any] = {}


def override_key(key: str, value_of: Any) -> None:
    """Answer the condition key *key* with `value_of(context)` from now on."""
    if not _OVERRIDES:
        wrap(evaluator, "_resolve_condition_key", "key ctx", _resolve)
    _OVERRIDES[key.lower()] = value_of


def _resolve(original, key, ctx):
    value_of = _OVERRIDES.get(key.lower())
    return original(key, ctx) if value_of is None else value_of(ctx)


@correction("principal-arn-is-role")
def principal_arn_is_the_role() -> None:
    """`aws:PrincipalArn` of a role session is the ARN of the role, with its path, never the assumed-role ARN.

    ministack compares the session's ARN, so no policy that names a role or a path by this key ever matched.
    Source: IAM-UG reference_policies_condition-keys, aws:PrincipalArn ("the request context returns the ARN of
    the role, not the ARN of the user that assumed the role"; the IAM ARN format includes the path).
    """
    def value_of(ctx: Any) -> str:
        role = auth.role_of_session(ctx.principal_arn)
        return role["Arn"] if role else ctx.principal_arn

    override_key("aws:PrincipalArn", value_of)


@correction("not-an-aws-service")
def callers_are_not_aws_services() -> None:
    """`aws:PrincipalIsAWSService` is in every request, and `false` for an IAM principal.

    ministack has no such key, so `Bool … false` beside a Deny switched that Deny off.
    Source: IAM-UG reference_policies_condition-keys, aws:PrincipalIsAWSService ("present in the request context
    for all signed and unsigned requests that use IAM API"); aws:ViaAWSService likewise.
    """
    override_key("aws:PrincipalIsAWSService", lambda _: "false")
    auth.KEYS.append(lambda call: {"aws:ViaAWSService": "true" if call.via_service else "false"})


@correction("root-obeys-denies")
def root_obeys_denies() -> None:
    """An explicit Deny in a bucket or key policy binds the account's root user too, and a key policy that does
    not allow root an action leaves root without it. Only Get-, Put- and DeleteBucketPolicy are always root's.

    ministack lets root pass every policy.
    Source: S3-UG and BC s3:PutBucketPolicy ("the root principal in a bucket owner's account can perform the
    GetBucketPolicy, PutBucketPolicy, and DeleteBucketPolicy API actions, even if their bucket policy explicitly
    denies"); KMS-DG key-policy-default ("no principal, including the account root user, has any permissions to
    a KMS key unless they are explicitly allowed").
    """
    auth.RULES.append(_root_rule)


_ALWAYS_ROOTS = frozenset({"s3:GetBucketPolicy", "s3:PutBucketPolicy", "s3:DeleteBucketPolicy"})


def _root_rule(call: Call, denial: Denial | None) -> Denial | None:
    if denial is not None or call.action in _ALWAYS_ROOTS:
        return denial
    if not call.access_key or not evaluator.is_root_access_key(call.access_key):
        return denial
    found = evaluator._resource_policy(call.service, call.resource)
    if found is None or not found[0]:
        return denial
    principal = auth.principal_of(call)
    decision = evaluator.evaluate_resource_policy(found[0], auth.context_of(call, principal)).decision
    if decision == "Deny":
        return evaluator.EvalResult("Deny", principal_arn=principal.arn, resource_policy_arn=call.resource)
    if call.service == "kms" and decision != "Allow":
        return evaluator.EvalResult("ImplicitDeny", principal_arn=principal.arn)
    return None


@correction("resource-account")
def resource_account_is_the_owners() -> None:
    """`aws:ResourceAccount` and `s3:ResourceAccount` are the account that owns the bucket.

    ministack answers the caller's account, so a boundary that keeps writes inside the own account never bit.
    Source: IAM-UG reference_policies_condition-keys, aws:ResourceAccount; SAR amazons3, s3:ResourceAccount.
    """
    def value_of(ctx: Any) -> str:
        if ctx.resource_arn.startswith("arn:aws:s3:::"):
            bucket = ctx.resource_arn.removeprefix("arn:aws:s3:::").partition("/")[0]
            owner = module("services.s3")._bucket_owner_account(bucket)
            if owner:
                return owner
        return evaluator._account_from_arn(ctx.resource_arn) or ctx.principal_account

    override_key("aws:ResourceAccount", value_of)
    override_key("s3:ResourceAccount", value_of)


@correction("denial-texts")
def denials_name_the_resource() -> None:
    """An AccessDenied text names the action, the resource, and which kind of policy denied it.

    ministack leaves out the resource, and names the first action when a further one was denied.
    Source: IAM-UG troubleshoot_access-denied ("User: … is not authorized to perform: … on resource: … because
    no identity-based policy allows the … action" / "with an explicit deny in …").
    """
    wrap(module("core.iam_actions"), "access_denied_response",
         "service action principal_arn request_id error_code message headers resource_arn explicit_deny "
         "resource_policy_arn", _denied_response)


def _denied_response(original, service, action, principal_arn, request_id, **named):
    remembered = auth.denied_call.get()
    if remembered and not named.get("error_code") and not named.get("message") and not isinstance(
            remembered[1], evaluator.AuthError):
        named["message"] = denial_text(*remembered)
    return original(service, action, principal_arn, request_id, **named)


def denial_text(call: Call, denial: Denial) -> str:
    """What AWS says of this denial."""
    resource = f'"{call.resource}"' if call.service == "s3" else call.resource
    explicit = denial.decision == "Deny"
    policy = "resource-based policy" if denial.resource_policy_arn else _deciding_policy(call, "Deny" if explicit else "Allow")
    article = "an" if policy[0] == "i" else "a"
    reason = (f"with an explicit deny in {article} {policy}" if explicit
              else f"because no {policy} allows the {call.action} action")
    return (f"User: {denial.principal_arn} is not authorized to perform: {call.action} "
            f"on resource: {resource} {reason}")


def _deciding_policy(call: Call, effect: str) -> str:
    """The kind of policy that has the Deny, or that lacks the Allow."""
    principal = auth.principal_of(call)
    if isinstance(principal, evaluator.AuthError) or principal.policies is None:
        return "resource-based policy"  # root has no other
    context = auth.context_of(call, principal)
    layers = [("identity-based policy", principal.policies),
              *(("permissions boundary", limit) for limit in principal.limits)]
    for kind, documents in layers:
        matches = evaluator._first_match(context, [one for document in documents for one in document], effect)
        if bool(matches) == (effect == "Deny"):
            return kind
    return "resource-based policy"
