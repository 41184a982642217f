"""AssumeRoleWithWebIdentity: what a ServiceAccount token must be, and what its session carries."""

import base64
import contextvars
import json
import os
from typing import Any

import rsa

from emulator import clock
from emulator.corrections import PatchError, correction, module, wrap

sts = module("services.sts")
iam = module("services.iam")

_allowed_provider: contextvars.ContextVar[str | None] = contextvars.ContextVar("allowed_provider", default=None)


@correction("audience-list")
def one_audience_in_a_list_is_that_audience() -> None:
    """A token whose `aud` is a list of one, which is what Kubernetes issues, matches a trust policy that demands
    that audience with StringEquals.

    ministack compares the text of the list.
    Source: EKS-UG associate-service-account-role (StringEquals on `<issuer>:aud`), which works with the tokens
    that Kubernetes projects; their `aud` is an array (RFC 7519 §4.1.3 allows both forms).
    """
    wrap(sts, "_web_identity_principal", "token provider_id role_arn", _with_single_audience)


def _with_single_audience(original, token, provider_id, role_arn):
    provider, keys = original(token, provider_id, role_arn)
    single = {name: value[0] if isinstance(value, list) and len(value) == 1 else value for name, value in keys.items()}
    return provider, single


@correction("federated-provider")
def sessions_name_their_provider() -> None:
    """A session from AssumeRoleWithWebIdentity carries `aws:FederatedProvider`, the ARN of the OIDC provider;
    a session assumed from it with AssumeRole does not.

    ministack does not know the key.
    Source: IAM-UG reference_policies_condition-keys, aws:FederatedProvider; the value and that chaining loses it
    are third-party observations: to be proved live (policies.md §4.1).
    """
    wrap(sts, "_web_identity_trust_denied", "role_arn params use_json", _remember_provider)
    wrap(sts, "register_session", "access_key session", _register_with_provider)
    wrap(module("core.iam_evaluator"), "_principal_keys", "credential", _keys_with_provider)
    sts._principal_keys = module("core.iam_evaluator")._principal_keys  # imported there by name


def _remember_provider(original, role_arn, params, use_json):
    denied = original(role_arn, params, use_json)
    if denied is None:
        provider, _ = sts._web_identity_principal(
            sts._p(params, "WebIdentityToken"), sts._p(params, "ProviderId"), role_arn)
        _allowed_provider.set(provider)
    return denied


def _register_with_provider(original, access_key, session):
    provider = _allowed_provider.get()
    _allowed_provider.set(None)
    return original(access_key, {**session, "FederatedProvider": provider} if provider else session)


def _keys_with_provider(original, credential):
    keys = original(credential)
    session = sts._sessions.get(credential.access_key_id) or {}
    if session.get("FederatedProvider"):
        keys["aws:federatedprovider"] = session["FederatedProvider"]
    return keys


@correction("web-identity-token")
def tokens_are_verified() -> None:
    """The token must be signed by the issuer, unexpired, and meant for an audience that the account's OIDC
    provider for that issuer lists: otherwise InvalidIdentityToken or ExpiredTokenException.

    ministack reads the claims of any text and needs no provider.
    Source: BC sts:AssumeRoleWithWebIdentity (errors InvalidIdentityToken, ExpiredTokenException);
    IAM-UG id_roles_providers_create_oidc (the provider's audiences).
    """
    path = os.environ.get("EMULATOR_ISSUER_KEY")
    if not path:
        raise PatchError("EMULATOR_ISSUER_KEY must name the PEM file of the key that signs ServiceAccount tokens")
    with open(path, "rb") as stream:
        private = rsa.PrivateKey.load_pkcs1(stream.read())
    public = rsa.PublicKey(private.n, private.e)
    wrap(sts, "_web_identity_trust_denied", "role_arn params use_json",
         lambda original, role_arn, params, use_json:
         _token_problem(role_arn, sts._p(params, "WebIdentityToken"), public) or original(role_arn, params, use_json))


def _token_problem(role_arn: str, token: str, key: rsa.PublicKey) -> Any | None:
    """The error answer for a token that does not verify, or None."""
    try:
        claims = _verified_claims(token, key)
    except (ValueError, rsa.VerificationError) as error:
        return sts._error(400, "InvalidIdentityToken", f"The web identity token could not be verified: {error}", ns="sts")
    issuer = str(claims.get("iss", ""))
    account = role_arn.split(":")[4]
    provider = iam._oidc_providers.get_scoped(
        account, None, f"arn:aws:iam::{account}:oidc-provider/{issuer.split('://', 1)[-1].rstrip('/')}")
    if provider is None:
        return sts._error(400, "InvalidIdentityToken",
                          f"No OpenIDConnect provider found in your account for {issuer}", ns="sts")
    audiences = claims.get("aud")
    if not set(audiences if isinstance(audiences, list) else [audiences]) & set(provider["ClientIDList"]):
        return sts._error(400, "InvalidIdentityToken", "Incorrect token audience", ns="sts")
    if not isinstance(claims.get("exp"), (int, float)) or clock.now() >= claims["exp"]:
        return sts._error(400, "ExpiredTokenException", "Token expired: current date/time must be before the "
                          "expiration date/time", ns="sts")
    return None


def _verified_claims(token: str, key: rsa.PublicKey) -> dict[str, Any]:
    try:
        header, payload, signature = token.split(".")
    except ValueError:
        raise ValueError("it is not a JSON web token") from None
    if json.loads(_decoded(header)).get("alg") != "RS256":
        raise ValueError("its algorithm is not RS256")
    if rsa.verify(f"{header}.{payload}".encode(), _decoded(signature), key) != "SHA-256":
        raise ValueError("its digest is not SHA-256")
    claims = json.loads(_decoded(payload))
    if not isinstance(claims, dict):
        raise ValueError("its claims are not an object")
    return claims


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
