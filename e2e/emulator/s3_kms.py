"""S3 asks KMS, as the caller, for every read or write of content that is encrypted with SSE-KMS."""

import dataclasses
import re
from typing import Any
from urllib.parse import parse_qs, unquote

from emulator import authorization as auth
from emulator.authorization import Call
from emulator.callers import denial_text
from emulator.corrections import correction, module, wrap

s3 = module("services.s3")
kms = module("services.kms")
evaluator = module("core.iam_evaluator")
responses = module("core.responses")

_SSE = "x-amz-server-side-encryption"
_KEY_ID = "x-amz-server-side-encryption-aws-kms-key-id"
_BUCKET_KEY = "x-amz-server-side-encryption-bucket-key-enabled"


@dataclasses.dataclass(frozen=True)
class Question:
    """A KMS permission that S3 needs from the caller for one object or upload."""

    action: str
    sse: dict[str, str]  # the encryption headers that the object has, or will have
    bucket: str
    key: str

    @property
    def context(self) -> dict[str, str]:
        """The bucket's ARN with a bucket key, else the object's."""
        arn = f"arn:aws:s3:::{self.bucket}"
        return {"aws:s3:arn": arn if self.sse.get(_BUCKET_KEY) == "true" else f"{arn}/{self.key}"}


@correction("s3-asks-kms")
def s3_asks_kms() -> None:
    """Reading an SSE-KMS object needs `kms:Decrypt`, writing one `kms:GenerateDataKey`, asked as the caller with
    `kms:ViaService` s3.<region>.amazonaws.com and the encryption context `aws:s3:arn`: the bucket's ARN when the
    object has a bucket key, else the object's. A key that is disabled or pending deletion fails the request.

    ministack reads and writes without asking. (AWS serves some reads from a cached bucket key without asking;
    the emulator always asks.)
    Source: S3-UG UsingKMSEncryption and bucket-key; KMS-DG services-s3; aws.md §1.4, §1.11. The codes for an
    unusable key (KMS.DisabledException …) are observed, not documented (aws.md §13.11).
    """
    _remember_bucket_keys()
    wrap(s3, "_dispatch", "method bucket key headers body query_params",
         lambda original, *request: _ask(_plain_question(*request), request) or original(*request))


@correction("s3-asks-kms-everywhere")
def s3_asks_kms_for_versions_copies_and_parts() -> None:
    """The same question for a named version, the source and target of a copy, and a multipart upload: beginning
    it needs `kms:GenerateDataKey`, each part and its completion `kms:Decrypt`.

    ministack reads and writes without asking.
    Source: S3-UG mpuoverview (permissions of the multipart operations with SSE-KMS); BC s3:CreateMultipartUpload;
    BC s3:CopyObject; BC s3:GetObject (versionId).
    """
    wrap(s3, "_dispatch", "method bucket key headers body query_params",
         lambda original, *request: _ask(_other_questions(*request), request) or original(*request))


def _plain_question(method, bucket, key, headers, body, query) -> list[Question]:
    if not key or _subresource(query):
        return []
    if method == "GET" and "versionId" not in query:
        return _read_question(bucket, key, None)
    if method == "PUT" and "x-amz-copy-source" not in headers:
        return _write_question("kms:GenerateDataKey", headers, bucket, key)
    return []


def _other_questions(method, bucket, key, headers, body, query) -> list[Question]:
    if not key:
        return []
    copied = _copied_question(headers) if method == "PUT" else []
    if "uploadId" in query and method in ("PUT", "POST"):
        upload = s3._multipart_uploads.get(query["uploadId"][0])
        return copied + ([Question("kms:Decrypt", upload["preserved_headers"], bucket, key)] if upload else [])
    if method == "POST" and "uploads" in query:
        return _write_question("kms:GenerateDataKey", headers, bucket, key)
    if _subresource(query):
        return []
    if method == "GET" and "versionId" in query:
        return _read_question(bucket, key, query["versionId"][0])
    if method == "PUT" and "x-amz-copy-source" in headers:
        return copied + _write_question("kms:GenerateDataKey", headers, bucket, key)
    return []


def _subresource(query: dict[str, Any]) -> bool:
    return any(name in query for name in ("uploadId", "uploads", "tagging", "acl", "retention", "legal-hold",
                                          "attributes", "annotation", "restore"))


def _read_question(bucket: str, key: str, version: str | None) -> list[Question]:
    found = (s3._buckets.get(bucket) or {"objects": {}})["objects"].get(key)
    if version is not None and (found or {}).get("version_id") != version:
        entries = s3._object_versions.get((bucket, key), [])
        entry = next((one for one in entries if one["version_id"] == version), None)
        if entry is None and version != "null":
            return []  # answered NoSuchVersion
        found = s3._object_record_from_version(entry) if entry and not entry.get("is_delete_marker") else found
    return [Question("kms:Decrypt", found.get("preserved_headers", {}), bucket, key)] if found else []


def _write_question(action: str, headers: dict, bucket: str, key: str) -> list[Question]:
    sse, error = s3._resolve_sse_write_headers(headers, bucket)
    return [] if error else [Question(action, sse, bucket, key)]


def _copied_question(headers: dict) -> list[Question]:
    source = headers.get("x-amz-copy-source", "")
    path, _, query = source.partition("?")
    bucket, key = auth.object_key(unquote(path))
    return _read_question(bucket, key, (parse_qs(query).get("versionId") or [None])[0]) if source else []


def _ask(questions: list[Question], request: tuple) -> Any | None:
    """The first refusal as S3 answers it, or None when KMS agrees to everything."""
    _, _, _, headers, _, query = request
    for question in questions:
        if question.sse.get(_SSE) != "aws:kms":
            continue
        refusal = _refusal(question, module("core.router").extract_access_key_id(headers, query))
        if refusal is not None:
            return refusal
    return None


def _refusal(question: Question, access_key: str) -> Any | None:
    named = question.sse.get(_KEY_ID, "")
    record = kms._resolve_key(named)
    if record is None:
        return s3._error("KMS.NotFoundException", f"Key '{named}' does not exist", 400)
    region = responses.get_region()
    call = Call(question.action, "kms", region, record["Arn"], access_key, auth.current_request.get(),
                via_service=f"s3.{region}.amazonaws.com", encryption_context=question.context)
    denial = auth.authorize(call)
    if denial is not None:
        denied = auth.denied_call.get()
        text = denial_text(*denied) if denied and not isinstance(denial, evaluator.AuthError) else "Access Denied"
        return s3._error("AccessDenied", text, 403)
    if record["KeyState"] != "Enabled":
        disabled = record["KeyState"] == "Disabled"
        return s3._error("KMS.DisabledException" if disabled else "KMS.KMSInvalidStateException",
                         f"{record['Arn']} is {'disabled' if disabled else 'pending deletion'}.", 400)
    return None


def _remember_bucket_keys() -> None:
    """Keep, with each object, whether it has a bucket key: by the request's header, else by the bucket's default."""
    s3._SSE_STORED_HEADERS = (*s3._SSE_STORED_HEADERS, _BUCKET_KEY)
    wrap(s3, "_resolve_sse_write_headers", "headers bucket_name", _with_bucket_key)


def _with_bucket_key(original, headers, bucket_name):
    sse, error = original(headers, bucket_name)
    if error or sse.get(_SSE) != "aws:kms":
        return sse, error
    default = re.search(r"<BucketKeyEnabled>\s*true\s*</BucketKeyEnabled>", s3._bucket_encryption.get(bucket_name) or "")
    if headers.get(_BUCKET_KEY, "true" if default else "false").lower() == "true":
        sse = {**sse, _BUCKET_KEY: "true"}
    return sse, error
