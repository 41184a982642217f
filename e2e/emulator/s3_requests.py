"""S3 calls: condition keys, expected owners, and the parts of S3 that are not modelled."""

import re
from typing import Any

from emulator import authorization as auth
from emulator.authorization import Call
from emulator.callers import override_key
from emulator.corrections import correction, module, wrap

s3 = module("services.s3")

# What ministack's S3 handler tells apart, by (whether there is an object key, method).
_MODELLED: dict[tuple[bool, str], frozenset[str]] = {
    (False, "GET"): frozenset(
        "uploads versions location policy versioning encryption logging notification tagging cors acl lifecycle "
        "accelerate website object-lock replication ownershipControls publicAccessBlock".split()),
    (False, "PUT"): frozenset(
        "policy notification tagging versioning encryption lifecycle cors acl website logging accelerate "
        "requestPayment object-lock replication ownershipControls publicAccessBlock".split()),
    (False, "DELETE"): frozenset(
        "policy tagging cors lifecycle encryption website replication ownershipControls publicAccessBlock".split()),
    (False, "POST"): frozenset({"delete"}),
    (True, "GET"): frozenset("uploadId annotation tagging retention legal-hold acl attributes".split()),
    (True, "PUT"): frozenset("uploadId annotation tagging retention legal-hold acl".split()),
    (True, "POST"): frozenset({"restore", "uploads", "uploadId"}),
    (True, "DELETE"): frozenset({"uploadId", "annotation", "tagging"}),
}
# Parameters of an operation, which do not select one.
_PARAMETERS = frozenset(
    "prefix delimiter marker max-keys encoding-type list-type continuation-token start-after fetch-owner key-marker "
    "version-id-marker upload-id-marker max-uploads part-number-marker max-parts versionid partnumber x-id "
    "max-buckets bucket-region annotationname awsaccesskeyid signature expires".split())


@correction("unmodelled-subresources")
def unmodelled_subresources_are_refused() -> None:
    """Each sub-resource (`?inventory`, `?metrics`, `?policyStatus`, an object's `?encryption` …) is an operation
    of its own; so is a POST form upload.

    ministack takes the query for noise: DELETE ?inventory deletes the bucket, PUT object ?encryption overwrites
    the object. What is not modelled is answered 501 NotImplemented, after it was authorized as AWS does.
    Source: SAR amazons3 (one action per sub-resource); S3 API reference (NotImplemented, 501).
    """
    wrap(s3, "_dispatch", "method bucket key headers body query_params", _refuse_unmodelled)


def _refuse_unmodelled(original, method, bucket, key, headers, body, query_params):
    modelled = _MODELLED.get((bool(key), method), frozenset())
    for name in query_params:
        lower = name.lower()
        if name not in modelled and lower not in _PARAMETERS and not lower.startswith(("x-amz-", "response-")):
            return _not_modelled(f"?{name} with {method}")
    if method == "POST" and not key and headers.get("content-type", "").startswith("multipart/form-data"):
        return _not_modelled("a POST form upload")
    if headers.get("x-amz-server-side-encryption-context"):
        return _not_modelled("x-amz-server-side-encryption-context")
    return original(method, bucket, key, headers, body, query_params)


def _not_modelled(what: str) -> tuple:
    return s3._error("NotImplemented", f"The local stack does not model {what}.", 501)


@correction("s3-encryption-keys")
def writes_carry_their_encryption_headers() -> None:
    """PutObject (copies and uploads too) carries `s3:x-amz-server-side-encryption`,
    `s3:x-amz-server-side-encryption-aws-kms-key-id` and `s3:x-amz-server-side-encryption-customer-algorithm`
    exactly when the request has the header; a default of the bucket is applied after authorization.

    ministack lacks the latter two. For a part of a multipart upload it takes what the upload was begun with;
    whether AWS does, is unverified (aws.md §13.3): both readings allow the uploads of policies.md.
    Source: SAR amazons3, s3:PutObject; S3-UG UsingKMSEncryption.
    """
    auth.KEYS.append(_encryption_keys)


_ENCRYPTION_HEADERS = ("x-amz-server-side-encryption", "x-amz-server-side-encryption-aws-kms-key-id",
                       "x-amz-server-side-encryption-customer-algorithm")


def _encryption_keys(call: Call) -> dict[str, Any]:
    if call.action != "s3:PutObject" or call.request is None:
        return {}
    headers = s3._merge_hoisted_amz_headers(call.request.headers, call.request.query)
    upload_id = (call.request.query.get("uploadId") or [""])[0]
    if upload_id:
        upload = s3._multipart_uploads.get(upload_id) or {}
        begun_with = upload.get("preserved_headers", {})
        requested = upload.get("requested_sse") or begun_with.get(_ENCRYPTION_HEADERS[2])
        headers = begun_with if requested else {}
    return {f"s3:{name}": headers[name] for name in _ENCRYPTION_HEADERS if headers.get(name)}


@correction("s3-request-keys")
def requests_carry_how_they_came() -> None:
    """Every S3 request carries `s3:authType` (REST-HEADER, or REST-QUERY-STRING when presigned),
    `s3:signatureversion`, `s3:TlsVersion` and `aws:SecureTransport`; an unsigned one has no signature keys.

    ministack has none of the S3 ones. The stack's plain HTTP endpoint stands for AWS's HTTPS one: a request
    counts as TLS 1.3 unless it says otherwise by `x-forwarded-proto: http` or `x-forwarded-tls-version: 1.1`.
    Source: SAR amazons3; S3-UG amazon-s3-policy-keys; S3 API sigv4 policy keys.
    """
    auth.KEYS.append(_request_keys)
    override_key("aws:SecureTransport", lambda _: "false" if _is_plain(auth.current_request.get()) else "true")


def _is_plain(request: auth.Request | None) -> bool:
    return request is not None and request.headers.get("x-forwarded-proto", "").lower() == "http"


def _request_keys(call: Call) -> dict[str, Any]:
    if call.service != "s3" or call.request is None:
        return {}
    headers, query = call.request.headers, {name.lower() for name in call.request.query}
    keys: dict[str, Any] = {}
    if "x-amz-signature" in query or "signature" in query:
        keys["s3:authType"] = "REST-QUERY-STRING"
        keys["s3:signatureversion"] = "AWS4-HMAC-SHA256" if "x-amz-signature" in query else "AWS"
    elif headers.get("authorization"):
        keys["s3:authType"] = "REST-HEADER"
        keys["s3:signatureversion"] = headers["authorization"].split(" ", 1)[0]
    if not _is_plain(call.request):
        keys["s3:TlsVersion"] = headers.get("x-forwarded-tls-version", "1.3")
    return keys


@correction("exact-object-keys")
def object_keys_are_exact() -> None:
    """The resource of an object call is the bucket's ARN, a slash, and the key as it is: `in/` and `in//x` are
    names of their own.

    ministack drops empty segments, so a policy on `in/*` did not match the key `in/`, and matched `//in/x`.
    Source: SAR amazons3, resource type `object` (arn:${Partition}:s3:::${BucketName}/${ObjectName}).
    """
    wrap(module("core.iam_actions"), "extract_resource_arn",
         "service method path headers body query_params region account_id", _s3_resource)


def _s3_resource(original, service, method, path, headers, body, query_params, region, account_id):
    if service == "s3":
        bucket, key = auth.object_key(path)
        if key:
            return f"arn:aws:s3:::{bucket}/{key}"
    return original(service, method, path, headers, body, query_params, region, account_id)


@correction("expected-bucket-owner")
def expected_bucket_owner_must_own_it() -> None:
    """`x-amz-expected-bucket-owner` (ExpectedBucketOwner) that names another account than the bucket's owner is
    refused with 403 AccessDenied; likewise `x-amz-source-expected-bucket-owner` for the source of a copy.

    ministack ignores both.
    Source: S3-UG bucket-owner-condition; BC s3:PutObject, ExpectedBucketOwner ("If the account ID that you
    provide does not match the actual owner of the bucket, the request fails with the HTTP status code 403
    Forbidden (access denied)").
    """
    wrap(s3, "_dispatch", "method bucket key headers body query_params", _check_owner)


def _check_owner(original, method, bucket, key, headers, body, query_params):
    expectations = [(bucket, headers.get("x-amz-expected-bucket-owner"))]
    source = headers.get("x-amz-copy-source")
    if source:
        expectations.append((auth.object_key(source)[0], headers.get("x-amz-source-expected-bucket-owner")))
    for name, expected in expectations:
        owner = s3._bucket_owner_account(name) if expected else None
        if expected and not re.fullmatch(r"\d{12}", expected):
            return s3._error("InvalidBucketOwnerAWSAccountID",
                             "The value of the expected bucket owner parameter must be an AWS account ID", 400)
        if owner is not None and owner != expected:
            return s3._error("AccessDenied", "Access Denied", 403, f"/{name}")
    return original(method, bucket, key, headers, body, query_params)


@correction("blocked-encryption-types")
def customer_keys_can_be_blocked() -> None:
    """A bucket whose encryption configuration lists SSE-C under BlockedEncryptionTypes refuses writes with
    customer keys (403); a new bucket blocks them, and GetBucketEncryption says so.

    ministack stores the element and lets every write pass.
    Source: BC s3:BlockedEncryptionTypes; S3-UG blocking-unblocking-s3-c-encryption-gpb and
    default-s3-c-encryption-setting-faq.
    """
    wrap(s3, "_get_bucket_encryption", "name", _encryption_with_default_block)
    wrap(s3, "_resolve_sse_write_headers", "headers bucket_name", _refuse_blocked)


_DEFAULT_RULE_END = "<BucketKeyEnabled>false</BucketKeyEnabled></Rule>"
_BLOCKED = "<BlockedEncryptionTypes><EncryptionType>SSE-C</EncryptionType></BlockedEncryptionTypes>"


def _encryption_with_default_block(original, name):
    status, headers, body = original(name)
    if status == 200 and not s3._bucket_encryption.get(name):
        body = body.replace(_DEFAULT_RULE_END, _DEFAULT_RULE_END.replace("</Rule>", f"{_BLOCKED}</Rule>"))
    return status, headers, body


def _refuse_blocked(original, headers, bucket_name):
    if headers.get("x-amz-server-side-encryption-customer-algorithm"):
        configuration = s3._bucket_encryption.get(bucket_name)
        if not configuration or re.search(r"<EncryptionType>\s*SSE-C\s*</EncryptionType>", configuration):
            return None, s3._error("AccessDenied", "Access Denied: SSE-C is blocked for this bucket by its "
                                   "BlockedEncryptionTypes.", 403, f"/{bucket_name}")
    return original(headers, bucket_name)
