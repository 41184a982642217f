"""KMS calls: condition keys, aliases, key states."""

from typing import Any

from emulator import authorization as auth
from emulator.authorization import Call
from emulator.corrections import correction, module, wrap

kms = module("services.kms")
responses = module("core.responses")

_WITH_ENCRYPTION_CONTEXT = frozenset({
    "Decrypt", "Encrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext", "GenerateDataKeyPair",
    "GenerateDataKeyPairWithoutPlaintext"})


@correction("kms-condition-keys")
def kms_condition_keys() -> None:
    """A KMS call carries `kms:CallerAccount`, `kms:EncryptionContext:<key>` and `kms:EncryptionContextKeys`;
    CreateGrant also `kms:GranteePrincipal`, `kms:RetiringPrincipal`, `kms:GrantOperations` and
    `kms:GrantConstraintType` (with the constraint as its encryption context); key creation and changes their
    parameters; a call by S3 for the caller `kms:ViaService`.

    ministack knows none of them, so a Deny with a negated operator always bit and an Allow never did.
    Source: KMS-DG conditions-kms; SAR awskeymanagementservice.
    """
    auth.KEYS.append(_keys_of)


def _keys_of(call: Call) -> dict[str, Any]:
    if call.service != "kms":
        return {}
    keys: dict[str, Any] = {"kms:CallerAccount": responses.get_account_id()}
    context = dict(call.encryption_context)
    if call.via_service:
        keys["kms:ViaService"] = call.via_service
    elif call.request is not None:
        operation, body = call.action.removeprefix("kms:"), call.request.json
        if operation in _WITH_ENCRYPTION_CONTEXT:
            context = call.encryption_context = body.get("EncryptionContext") or {}
        elif operation == "CreateGrant":
            keys.update(_create_grant_keys(body))
            for pairs in (body.get("Constraints") or {}).values():
                context.update(pairs if isinstance(pairs, dict) else {})
        else:
            keys.update(_parameter_keys(operation, body))
        if "alias/" in (body.get("KeyId") or ""):
            keys["kms:RequestAlias"] = "alias/" + body["KeyId"].split("alias/", 1)[1]
    keys.update(_key_keys(call.resource))
    if context:
        keys["kms:EncryptionContextKeys"] = list(context)
        keys.update({f"kms:EncryptionContext:{name}": value for name, value in context.items()})
    return keys


def _create_grant_keys(body: dict[str, Any]) -> dict[str, Any]:
    keys: dict[str, Any] = {"kms:GrantIsForAWSResource": "false"}
    for parameter in ("GranteePrincipal", "RetiringPrincipal", "GranteeServicePrincipal", "RetiringServicePrincipal"):
        if body.get(parameter):
            keys[f"kms:{parameter}"] = body[parameter]
    if body.get("Operations"):
        keys["kms:GrantOperations"] = list(body["Operations"])
    for constraint in ("EncryptionContextEquals", "EncryptionContextSubset"):
        if (body.get("Constraints") or {}).get(constraint):
            keys["kms:GrantConstraintType"] = constraint
    return keys


def _parameter_keys(operation: str, body: dict[str, Any]) -> dict[str, Any]:
    keys: dict[str, Any] = {}
    if operation == "CreateKey":
        keys = {"kms:KeySpec": body.get("KeySpec", "SYMMETRIC_DEFAULT"),
                "kms:KeyUsage": body.get("KeyUsage", "ENCRYPT_DECRYPT"),
                "kms:KeyOrigin": body.get("Origin", "AWS_KMS"),
                "kms:MultiRegion": body.get("MultiRegion", False)}
    if operation in ("CreateKey", "PutKeyPolicy"):
        keys["kms:BypassPolicyLockoutSafetyCheck"] = body.get("BypassPolicyLockoutSafetyCheck", False)
    if operation in ("GetKeyPolicy", "PutKeyPolicy"):
        keys["kms:PolicyName"] = body.get("PolicyName", "default")
    if operation == "EnableKeyRotation" and "RotationPeriodInDays" in body:
        keys["kms:RotationPeriodInDays"] = body["RotationPeriodInDays"]
    if operation == "ScheduleKeyDeletion" and "PendingWindowInDays" in body:
        keys["kms:ScheduleKeyDeletionPendingWindowInDays"] = body["PendingWindowInDays"]
    return keys


def _key_keys(resource: str) -> dict[str, Any]:
    """Properties of an existing key."""
    record = kms._resolve_key(resource) if ":key/" in resource else None
    if record is None:
        return {}
    aliases = [arn.split(":", 5)[5] for arn, target in kms._aliases.items() if target == record["KeyId"]]
    keys = {"kms:KeySpec": record["KeySpec"], "kms:KeyUsage": record["KeyUsage"], "kms:KeyOrigin": record["Origin"],
            "kms:MultiRegion": record["MultiRegion"]}
    return {**keys, "kms:ResourceAliases": aliases} if aliases else keys


@correction("kms-aliases")
def aliases_are_authorized_on_alias_and_key() -> None:
    """An alias in `KeyId` stands for its key: the key's ARN and policy decide. CreateAlias, UpdateAlias and
    DeleteAlias need their permission on the alias (by IAM policy) and on every key concerned. An alias or key
    that does not exist is answered NotFoundException, whatever the caller may do.

    ministack authorizes the alias' ARN, or `*` for the alias calls, which thus passed by any key policy.
    Source: KMS-DG alias-access; KMS-DG alias-authorization ("the resource is the KMS key"); that an absent alias
    is NotFound also without permission: aws-cloudformation-resource-providers-kms, pull request 60.
    """
    wrap(module("core.iam_actions"), "extract_resource_arn",
         "service method path headers body query_params region account_id", _kms_resource)
    wrap(kms, "key_policy_for_arn", "resource_arn",
         lambda original, resource_arn: None if ":alias/" in resource_arn else original(resource_arn))
    auth.ABSENT.append(_names_an_absent_key)
    auth.ALSO_NEEDED.append(_keys_of_alias_call)


_ALIAS_CALLS = frozenset({"kms:CreateAlias", "kms:UpdateAlias", "kms:DeleteAlias"})


def _kms_resource(original, service, method, path, headers, body, query_params, region, account_id):
    found = original(service, method, path, headers, body, query_params, region, account_id)
    if service != "kms":
        return found
    request = auth.current_request.get()
    alias = (request.json if request else {}).get("AliasName")
    if alias and found == "*":
        return f"arn:aws:kms:{region}:{account_id}:{alias}"
    record = kms._resolve_key(found) if ":alias/" in found else None
    return record["Arn"] if record else found


def _names_an_absent_key(call: Call) -> bool:
    if call.service != "kms" or call.via_service or call.request is None:
        return False
    named = call.request.json.get("TargetKeyId" if call.action in _ALIAS_CALLS else "KeyId")
    return isinstance(named, str) and bool(named) and kms._resolve_key(named) is None


def _keys_of_alias_call(call: Call) -> list[tuple[str, str]]:
    if call.action not in _ALIAS_CALLS or ":alias/" not in call.resource or call.request is None:
        return []
    named = [call.request.json.get("TargetKeyId")]
    if call.action != "kms:CreateAlias":
        named.append(call.resource)  # the key that the alias has now
    records = [kms._resolve_key(name) for name in named if name]
    return [(call.action, record["Arn"]) for record in records if record]


@correction("kms-key-states")
def key_states_limit_operations() -> None:
    """A key that waits for its deletion can only be read, its grants revoked, its policy set, or the deletion
    cancelled: everything else is KMSInvalidStateException. A disabled key takes no rotation setting
    (DisabledException). CancelKeyDeletion needs a key that is pending deletion.

    ministack lets EnableKey resurrect such a key, and cancels a deletion that nobody asked for.
    Source: KMS-DG key-state (table of operations by key state, footnotes 1, 3 and 4).
    """
    for name in ("_enable_key", "_disable_key", "_enable_key_rotation", "_disable_key_rotation",
                 "_update_key_description", "_tag_resource", "_untag_resource", "_schedule_key_deletion",
                 "_cancel_key_deletion", "_create_alias", "_update_alias"):
        wrap(kms, name, "data", _checked_state(name))


def _checked_state(name: str):
    def checked(original, data):
        record = kms._resolve_key(data.get("TargetKeyId") or data.get("KeyId") or "")
        pending = record is not None and record["KeyState"] == "PendingDeletion"
        if record is None or (pending and name == "_cancel_key_deletion"):
            return original(data)
        if name == "_cancel_key_deletion":
            return _state_error("KMSInvalidStateException", f"{record['Arn']} is not pending deletion.")
        if pending:
            return _state_error("KMSInvalidStateException", f"{record['Arn']} is pending deletion.")
        if record["KeyState"] == "Disabled" and name.endswith("_key_rotation"):
            return _state_error("DisabledException", f"{record['Arn']} is disabled.")
        return original(data)

    return checked


def _state_error(code: str, message: str) -> Any:
    return responses.error_response_json(code, message, 400)
