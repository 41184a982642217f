"""IAM calls: resource ARNs, condition keys, dependent permissions, quotas and pages."""

import json
import time
from typing import Any

from emulator import authorization as auth
from emulator import clock
from emulator.authorization import Call
from emulator.corrections import correction, module, wrap

iam = module("services.iam")
responses = module("core.responses")

_RESOURCE_PARAMETERS = "service method path headers body query_params region account_id"


@correction("iam-resource-arns")
def iam_resources_carry_their_path() -> None:
    """The resource of a call on a role is the role's ARN with its path; on an OIDC provider, the provider's ARN.

    ministack authorizes `role/<name>` whatever the path, and `*` for providers, so a policy on
    `role/securebucket/<cluster>/*` allowed nothing.
    Source: SAR awsidentityandaccessmanagementiam, resource types `role`
    (arn:${Partition}:iam::${Account}:role/${RoleNameWithPath}), `policy` and `oidc-provider`.
    """
    wrap(module("core.iam_actions"), "extract_resource_arn", _RESOURCE_PARAMETERS, _iam_resource)


def _iam_resource(original, service, method, path, headers, body, query_params, region, account_id):
    if service == "iam":
        parameters = {name: value[0] if isinstance(value, list) else value for name, value in query_params.items()}
        found = _resource_named_by(parameters, account_id)
        if found:
            return found
    return original(service, method, path, headers, body, query_params, region, account_id)


def _resource_named_by(parameters: dict[str, str], account: str) -> str | None:
    prefix = f"arn:aws:iam::{account}"
    path = parameters.get("Path") or "/"
    action = parameters.get("Action", "")
    if "RoleName" in parameters:
        if action == "CreateRole":
            return f"{prefix}:role{path}{parameters['RoleName']}"
        role = iam._roles.get(parameters["RoleName"])
        return role["Arn"] if role else None
    if action == "CreatePolicy":
        return f"{prefix}:policy{path}{parameters.get('PolicyName', '')}"
    if "OpenIDConnectProviderArn" in parameters:
        return parameters["OpenIDConnectProviderArn"]
    if action == "CreateOpenIDConnectProvider":
        return f"{prefix}:oidc-provider/{parameters.get('Url', '').split('://', 1)[-1].rstrip('/')}"
    return None


@correction("absent-role-is-absent")
def absent_roles_are_not_found() -> None:
    """A call on a role that does not exist is answered NoSuchEntity.

    Without the role there is no path, so a policy on `role/<path>/*` cannot be asked; ministack would say
    AccessDenied. AWS documents NoSuchEntity and is silent on how it authorizes such a call, so an operator has
    to take AccessDenied for "unknown" all the same.
    Source: BC iam:GetRole, iam:PutRolePolicy … (error NoSuchEntity); the order of the checks is undocumented.
    """
    auth.ABSENT.append(lambda call: (
        call.service == "iam" and call.request is not None and call.action != "iam:CreateRole"
        and "RoleName" in call.request.parameters and call.request.parameters["RoleName"] not in iam._roles))


_BOUNDARY_OF_THE_REQUEST = frozenset({"iam:CreateRole", "iam:PutRolePermissionsBoundary"})
_BOUNDARY_OF_THE_ROLE = frozenset({
    "iam:DeleteRolePermissionsBoundary", "iam:PutRolePolicy", "iam:DeleteRolePolicy", "iam:AttachRolePolicy",
    "iam:DetachRolePolicy", "iam:UpdateAssumeRolePolicy"})


@correction("iam-boundary-key")
def iam_boundary_key() -> None:
    """`iam:PermissionsBoundary` is the boundary that CreateRole and PutRolePermissionsBoundary ask for, and the
    boundary that the role has for the calls that change its policies; absent where there is none.

    ministack does not know the key, so "only with our boundary" could not be written.
    Source: SAR awsidentityandaccessmanagementiam (the actions that list iam:PermissionsBoundary);
    IAM-UG access_policies_boundaries. `iam:PolicyARN` of Attach- and DetachRolePolicy likewise.
    """
    auth.KEYS.append(_boundary_keys)


def _boundary_keys(call: Call) -> dict[str, Any]:
    if call.service != "iam" or call.request is None:
        return {}
    parameters = call.request.parameters
    keys: dict[str, Any] = {}
    if call.action in _BOUNDARY_OF_THE_REQUEST:
        boundary = parameters.get("PermissionsBoundary")
    elif call.action in _BOUNDARY_OF_THE_ROLE:
        boundary = (iam._roles.get(parameters.get("RoleName")) or {}).get("PermissionsBoundary")
    else:
        boundary = None
    if boundary:
        keys["iam:PermissionsBoundary"] = boundary
    if "PolicyArn" in parameters:
        keys["iam:PolicyARN"] = parameters["PolicyArn"]
    return keys


@correction("tagging-on-create")
def tagging_on_create_needs_its_own_permission() -> None:
    """Creating with tags needs the tagging permission as well: iam:TagRole, iam:TagPolicy, kms:TagResource (on
    the key to come, by IAM policy), s3:TagResource; and CreateBucket's headers need what they set.

    ministack asks for the Create permission alone.
    Source: IAM-UG id_tags_roles; KMS-DG tag-permissions; BC s3:CreateBucket (CreateBucketConfiguration.Tags:
    s3:TagResource; ObjectOwnership: s3:PutBucketOwnershipControls; ObjectLockEnabledForBucket:
    s3:PutBucketObjectLockConfiguration and s3:PutBucketVersioning; x-amz-acl: s3:PutBucketAcl).
    """
    auth.ALSO_NEEDED.append(_needed_to_create)
    auth.KEYS.append(_create_bucket_tag_keys)


def _needed_to_create(call: Call) -> list[tuple[str, str]]:
    if call.request is None or call.via_service:
        return []
    if call.action == "kms:CreateKey" and call.request.json.get("Tags"):
        account = responses.get_account_id()
        return [("kms:TagResource", f"arn:aws:kms:{call.region}:{account}:key/00000000-0000-0000-0000-000000000000")]
    if call.action in ("iam:CreateRole", "iam:CreatePolicy") and "Tags.member.1.Key" in call.request.parameters:
        return [(call.action.replace("Create", "Tag"), call.resource)]
    if call.action == "s3:CreateBucket":
        headers = call.request.headers
        needed = ["s3:TagResource"] if b"<Tag>" in call.request.body else []
        if headers.get("x-amz-object-ownership"):
            needed.append("s3:PutBucketOwnershipControls")
        if headers.get("x-amz-bucket-object-lock-enabled", "").lower() == "true":
            needed += ["s3:PutBucketObjectLockConfiguration", "s3:PutBucketVersioning"]
        if headers.get("x-amz-acl") or any(name.startswith("x-amz-grant-") for name in headers):
            needed.append("s3:PutBucketAcl")
        return [(action, call.resource) for action in needed]
    return []


def _create_bucket_tag_keys(call: Call) -> dict[str, Any]:
    """aws:RequestTag and aws:TagKeys of CreateBucket, whose tags travel as XML."""
    if call.request is None or call.service != "s3" or b"<Tag>" not in call.request.body:
        return {}
    if call.action not in ("s3:CreateBucket", "s3:TagResource"):
        return {}
    tags = module("services.s3")._parse_tags_xml(call.request.body)
    return {"aws:TagKeys": list(tags), **{f"aws:RequestTag/{name}": value for name, value in tags.items()}}


@correction("policy-sizes")
def policies_have_a_maximum_size() -> None:
    """Over-long documents are refused: inline policies of a role 10,240 characters together, a managed policy
    6,144, a trust policy 2,048 (whitespace not counted), a bucket policy 20 KB, a key policy 32 KB.

    ministack stores any length.
    Source: IAM-UG reference_iam-quotas (LimitExceeded, 409); S3-UG example-bucket-policies (20 KB; code
    PolicyTooLarge observed); KMS-DG key-policy-overview and BC kms:PutKeyPolicy (32 KB, LimitExceededException).
    """
    wrap(iam, "_put_role_policy", "p", _limited_inline)
    for name in ("_create_policy", "_create_policy_version"):
        wrap(iam, name, "p", _limited_managed)
    for name in ("_create_role", "_update_assume_role_policy"):
        wrap(iam, name, "p", _limited_trust)
    # ministack's table of handlers holds the functions themselves.
    for action, name in (("PutRolePolicy", "_put_role_policy"), ("CreatePolicy", "_create_policy"),
                         ("CreatePolicyVersion", "_create_policy_version"), ("CreateRole", "_create_role"),
                         ("UpdateAssumeRolePolicy", "_update_assume_role_policy")):
        iam._IAM_HANDLERS[action] = getattr(iam, name)
    wrap(module("services.s3"), "_put_bucket_policy", "name body", _limited_bucket_policy)
    for name in ("_create_key", "_put_key_policy"):
        wrap(module("services.kms"), name, "data", _limited_key_policy)


def _characters(document: str) -> int:
    return len("".join(document.split()))


def _limited_inline(original, p):
    role = iam._roles.get(iam._p(p, "RoleName"))
    if role:
        others = [text for name, text in role["InlinePolicies"].items() if name != iam._p(p, "PolicyName")]
        if sum(map(_characters, others)) + _characters(iam._p(p, "PolicyDocument")) > 10_240:
            return iam._error(409, "LimitExceeded",
                              f"Maximum policy size of 10240 bytes exceeded for role {role['RoleName']}")
    return original(p)


def _limited_managed(original, p):
    if _characters(iam._p(p, "PolicyDocument")) > 6_144:
        return iam._error(409, "LimitExceeded", "Cannot exceed quota for PolicySize: 6144")
    return original(p)


def _limited_trust(original, p):
    document = iam._p(p, "AssumeRolePolicyDocument") or iam._p(p, "PolicyDocument")
    if _characters(document) > 2_048:
        return iam._error(409, "LimitExceeded", "Cannot exceed quota for ACLSizePerRole: 2048")
    return original(p)


def _limited_bucket_policy(original, name, body):
    if len(body) > 20_480:
        return module("services.s3")._error(
            "PolicyTooLarge", "Normalized policy document exceeds the maximum allowed size of 20480 bytes.", 400)
    return original(name, body)


def _limited_key_policy(original, data):
    if len(data.get("Policy") or "") > 32_768:
        return responses.error_response_json(
            "LimitExceededException", "The key policy exceeds the maximum size of 32768 bytes.", 400)
    return original(data)


@correction("listing-pages")
def listings_come_in_pages() -> None:
    """ListRoles answers 100 roles at most, ListKeys 100, ListAliases 50 unless asked for another size; the rest
    comes with a marker.

    ministack answers everything at once, or (ListKeys) cuts off without a marker.
    Source: BC iam:ListRoles (MaxItems, default 100), kms:ListKeys (Limit, default 100, at most 1000),
    kms:ListAliases (Limit, default 50, at most 100); Truncated / NextMarker, IsTruncated / Marker.
    """
    kms = module("services.kms")
    wrap(iam, "_list_roles", "p", _paged_roles)
    iam._IAM_HANDLERS["ListRoles"] = iam._list_roles
    wrap(kms, "_list_keys", "data", lambda original, data: _paged_kms(
        original({**data, "Limit": 1_000_000}), data, "Keys", "KeyId", 100, 1000))
    wrap(kms, "_list_aliases", "data", lambda original, data: _paged_kms(
        original(data), data, "Aliases", "AliasName", 50, 100))


def _paged_roles(original, p):
    prefix = iam._p(p, "PathPrefix") or "/"
    names = sorted(name for name, role in iam._roles.items() if role.get("Path", "/").startswith(prefix))
    size = int(iam._p(p, "MaxItems") or 100)
    marker = iam._p(p, "Marker")
    rest = [name for name in names if name > marker] if marker else names
    page = rest[:size]
    more = f"<Marker>{page[-1]}</Marker>" if len(rest) > size else ""
    members = "".join(f"<member>{iam._role_xml(name, boundary=False)}</member>" for name in page)
    return iam._xml(200, "ListRolesResponse", f"<ListRolesResult><Roles>{members}</Roles>"
                    f"<IsTruncated>{'true' if more else 'false'}</IsTruncated>{more}</ListRolesResult>")


def _paged_kms(answer, data, member, identity, default, most):
    status, headers, body = answer
    if status != 200:
        return answer
    size = data.get("Limit") or default
    if not 1 <= size <= most:
        return responses.error_response_json("ValidationException", f"Limit must be between 1 and {most}.", 400)
    items = sorted(json.loads(body)[member], key=lambda item: item[identity])
    rest = [item for item in items if item[identity] > data["Marker"]] if data.get("Marker") else items
    page: dict[str, Any] = {member: rest[:size], "Truncated": len(rest) > size}
    if page["Truncated"]:
        page["NextMarker"] = rest[size - 1][identity]
    return responses.json_response(page)


@correction("role-last-used")
def roles_know_their_last_use() -> None:
    """GetRole says when a session of the role last called AWS; ListRoles does not.

    ministack does not keep it.
    Source: BC iam:GetRole (RoleLastUsed.LastUsedDate, "null if the role has not been used within the tracking
    period"), iam:ListRoles (not returned). AWS is some hours late with it; the emulator is not.
    """
    wrap(iam, "_role_xml", "name boundary", _role_with_last_use)
    auth.CALLED.append(_remember_use)


def _remember_use(call: Call) -> None:
    session = module("services.sts")._sessions.get(call.access_key) or {}
    role = auth.role_of_session(str(session.get("Arn", "")))
    if role is not None:
        role["LastUsed"] = clock.now()


def _role_with_last_use(original, name, boundary=True):
    xml, used = original(name, boundary), iam._roles[name].get("LastUsed")
    if not boundary or used is None:
        return xml
    date = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(used))
    region = responses.get_region()
    return f"{xml}<RoleLastUsed><LastUsedDate>{date}</LastUsedDate><Region>{region}</Region></RoleLastUsed>"
