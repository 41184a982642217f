"""An emulator to talk to, fresh accounts on it, and people in them."""

import base64
import contextlib
import functools
import json
import os
import secrets
import socket
import subprocess
import sys
import time
import unittest
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import botocore.session
import rsa
from botocore import UNSIGNED
from botocore.client import BaseClient
from botocore.config import Config
from botocore.exceptions import ClientError

E2E = Path(__file__).resolve().parent.parent
REGION = "eu-west-1"
ISSUER = "https://oidc.cluster.local"
AUDIENCE = "sts.amazonaws.com"
# The key that signs ServiceAccount tokens lies beside the virtual environment that runs the tests.
ISSUER_KEY = Path(sys.prefix).parent / "service-account.key"

_endpoint: str | None = None


@contextlib.contextmanager
def emulator(without: str = "") -> Iterator[str]:
    """Run an emulator for the duration of a block; yields its endpoint."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "emulator", "--port", str(port), "--issuer-key", str(ISSUER_KEY)],
        env={**env, "PYTHONPATH": str(E2E), "EMULATOR_WITHOUT": without},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        endpoint = f"http://127.0.0.1:{port}"
        while True:
            if process.poll() is not None:
                raise RuntimeError(f"the emulator ended with {process.returncode}: {process.stderr.read()}")
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{endpoint}/_ministack/health", timeout=2).close()
                break
            time.sleep(0.05)
        yield endpoint
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


@contextlib.contextmanager
def talking_to(endpoint: str) -> Iterator[None]:
    """Have every account of the block live on this emulator."""
    global _endpoint
    previous, _endpoint = _endpoint, endpoint
    try:
        yield
    finally:
        _endpoint = previous


def endpoint() -> str:
    """The emulator in use: the one of `talking_to`, else one that lives as long as the test run."""
    global _endpoint
    if _endpoint is None:
        stack = contextlib.ExitStack()
        _endpoint = stack.enter_context(emulator())
        unittest.addModuleCleanup(_forget, stack)
    return _endpoint


def _forget(stack: contextlib.ExitStack) -> None:
    global _endpoint
    _endpoint = None
    stack.close()


@functools.lru_cache
def _session() -> botocore.session.Session:
    os.environ.update(AWS_CONFIG_FILE="/nonexistent", AWS_SHARED_CREDENTIALS_FILE="/nonexistent")
    return botocore.session.Session()


@functools.lru_cache
def _signing_key() -> rsa.PrivateKey:
    return rsa.PrivateKey.load_pkcs1(ISSUER_KEY.read_bytes())


def token(subject: str, audience: Any = AUDIENCE, *, lifetime: int = 3600, issuer: str = ISSUER,
          key: rsa.PrivateKey | None = None) -> str:
    """A ServiceAccount token as kube-apiserver issues it: RS256, the audience in a list."""
    claims = {"iss": issuer, "sub": subject, "aud": audience if isinstance(audience, list) else [audience],
              "iat": int(time.time()), "exp": int(time.time()) + lifetime}
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
             for part in ({"alg": "RS256", "typ": "JWT"}, claims)]
    signature = rsa.sign(".".join(parts).encode(), key or _signing_key(), "SHA-256")
    return ".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=").decode()])


class Principal:
    """Somebody with credentials: a client per service."""

    def __init__(self, account: str, access_key: str, secret: str, session_token: str | None = None) -> None:
        self.account = account
        self._credentials = {"aws_access_key_id": access_key, "aws_secret_access_key": secret,
                             "aws_session_token": session_token}
        self._clients: dict[tuple, BaseClient] = {}

    def client(self, service: str, region: str = REGION) -> BaseClient:
        """A client without retries: a test wants the first answer."""
        if (service, region) not in self._clients:
            self._clients[service, region] = _session().create_client(
                service, region_name=region, endpoint_url=endpoint(), **self._credentials,
                config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}))
        return self._clients[service, region]

    @property
    def s3(self) -> BaseClient:
        return self.client("s3")

    @property
    def kms(self) -> BaseClient:
        return self.client("kms")

    @property
    def iam(self) -> BaseClient:
        return self.client("iam")


class Account:
    """A fresh account; `root` is its root user."""

    def __init__(self) -> None:
        self.id = str(secrets.randbelow(9 * 10**11) + 10**11)
        self.root = Principal(self.id, self.id, "root")
        self.provider = self.root.iam.create_open_id_connect_provider(
            Url=ISSUER, ClientIDList=[AUDIENCE])["OpenIDConnectProviderArn"]

    def role_arn(self, name: str, path: str = "/") -> str:
        return f"arn:aws:iam::{self.id}:role{path}{name}"

    def trust(self, subject: str) -> dict:
        host = ISSUER.removeprefix("https://")
        return document(allow("sts:AssumeRoleWithWebIdentity", Principal={"Federated": self.provider}, Resource=None,
                              Condition={"StringEquals": {f"{host}:sub": subject, f"{host}:aud": AUDIENCE}}))

    def role(self, name: str, *statements: dict, path: str = "/", boundary: str | None = None,
             trust: dict | None = None) -> str:
        """Make a role that the ServiceAccount `test:<name>` may assume; without statements it may do everything."""
        extra = {"PermissionsBoundary": boundary} if boundary else {}
        arn = self.root.iam.create_role(
            RoleName=name, Path=path, **extra,
            AssumeRolePolicyDocument=json.dumps(trust or self.trust(f"system:serviceaccount:test:{name}")))["Role"]["Arn"]
        self.permit(name, *(statements or (allow("*"),)))
        return arn

    def permit(self, role: str, *statements: dict) -> None:
        """Replace the role's inline policy."""
        self.root.iam.put_role_policy(RoleName=role, PolicyName="p", PolicyDocument=json.dumps(document(*statements)))

    def assume(self, name: str, path: str = "/") -> Principal:
        """The role's session, by a token of `test:<name>`."""
        return assume(self.role_arn(name, path), token(f"system:serviceaccount:test:{name}"))

    def actor(self, name: str, *statements: dict, path: str = "/", boundary: str | None = None) -> Principal:
        """A new role, assumed."""
        self.role(name, *statements, path=path, boundary=boundary)
        return self.assume(name, path)

    def key(self, *statements: dict, **parameters: Any) -> str:
        """A key with this policy (default: everything to the account); returns its ARN."""
        statements = statements or (allow("kms:*", Principal={"AWS": f"arn:aws:iam::{self.id}:root"}),)
        return self.root.kms.create_key(Policy=json.dumps(document(*statements)), **parameters)["KeyMetadata"]["Arn"]

    def bucket(self, key: str | None = None, bucket_key: bool = True, region: str = REGION) -> str:
        """A bucket, encrypted with *key* if one is given."""
        name = f"b-{secrets.token_hex(8)}"
        s3 = self.root.client("s3", region)
        s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": region})
        if key:
            s3.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration={"Rules": [{
                "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key},
                "BucketKeyEnabled": bucket_key}]})
        return name

    def bucket_policy(self, bucket: str, *statements: dict) -> None:
        self.root.s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(document(*statements)))


def assume(role_arn: str, web_identity_token: str) -> Principal:
    """AssumeRoleWithWebIdentity, unsigned, as a pod's SDK calls it."""
    sts = _session().create_client("sts", region_name=REGION, endpoint_url=endpoint(), config=Config(
        signature_version=UNSIGNED, retries={"total_max_attempts": 1}))
    given = sts.assume_role_with_web_identity(
        RoleArn=role_arn, RoleSessionName="session", WebIdentityToken=web_identity_token)["Credentials"]
    return Principal(role_arn.split(":")[4], given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])


def document(*statements: dict) -> dict:
    return {"Version": "2012-10-17", "Statement": [
        {name: value for name, value in statement.items() if value is not None} for statement in statements]}


def allow(action: str | list[str], **rest: Any) -> dict:
    return {"Effect": "Allow", "Action": action, "Resource": "*", **rest}


def deny(action: str | list[str], **rest: Any) -> dict:
    return {"Effect": "Deny", "Action": action, "Resource": "*", **rest}


class EmulatorTest(unittest.TestCase):
    """A test with a fresh account."""

    correction: str | None = None  # the one that this class is about

    def setUp(self) -> None:
        self.account = Account()

    def refused(self, code: str, call: Callable[..., Any], *arguments: Any, **named: Any) -> str:
        """Check that AWS's answer is this error; returns its text."""
        with self.assertRaises(ClientError) as caught:
            call(*arguments, **named)
        error = caught.exception.response["Error"]
        self.assertEqual(error["Code"], code, error.get("Message"))
        return error.get("Message", "")

    def denied(self, call: Callable[..., Any], *arguments: Any, **named: Any) -> str:
        """Check that the call is not permitted (HTTP 403, or 400 of a JSON service, AccessDenied…)."""
        with self.assertRaises(ClientError) as caught:
            call(*arguments, **named)
        error = caught.exception.response["Error"]
        self.assertIn(error["Code"], ("AccessDenied", "AccessDeniedException", "403"), error.get("Message"))
        return error.get("Message", "")
