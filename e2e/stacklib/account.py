"""A fresh AWS account on the emulator, set up as a platform team sets one up for the operator.

Runs in the virtual environment: `python -m stacklib.account '<JSON settings>'`; see cli._account.
"""

import json
import re
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import botocore.session
from botocore.config import Config

from stacklib.paths import CHECKOUT, StackError

AUDIENCE = "sts.amazonaws.com"
OPERATOR_ROLE = "securebucket-operator"  # outside /securebucket/<cluster>/, so it cannot manage itself
OPERATOR_SUBJECT = "system:serviceaccount:securebucket-system:securebucket"
INLINE_POLICY_LIMIT = 10_240  # per role, whitespace not counted: IAM-UG reference_iam-quotas
MANAGED_POLICY_LIMIT = 6_144


def create(settings: dict[str, Any]) -> dict[str, str]:
    """Make the account and return what a test needs to know of it."""
    account = settings["account"] or f"{secrets.randbelow(9 * 10**11) + 10**11}"
    if not re.fullmatch(r"\d{12}", account):
        raise StackError(f"--name {account}: an AWS account is 12 digits")
    cluster, region = settings["cluster"], settings["region"]
    # On the emulator, the access key that is an account's number is that account's root user.
    iam = botocore.session.get_session().create_client(
        "iam", region_name=region, endpoint_url=settings["endpoint"], aws_access_key_id=account,
        aws_secret_access_key="root", config=Config(retries={"total_max_attempts": 1}))
    boundary = policy_document("boundary", settings, account, MANAGED_POLICY_LIMIT)
    operator = policy_document("operator", settings, account, INLINE_POLICY_LIMIT)

    issuer = settings["issuer"]
    provider = iam.create_open_id_connect_provider(Url=issuer, ClientIDList=[AUDIENCE])["OpenIDConnectProviderArn"]
    boundary_arn = iam.create_policy(
        PolicyName=f"securebucket-{cluster}-boundary", PolicyDocument=boundary)["Policy"]["Arn"]
    host = issuer.removeprefix("https://")
    trust = {"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"Federated": provider}, "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {"StringEquals": {f"{host}:sub": OPERATOR_SUBJECT, f"{host}:aud": AUDIENCE}}}]}
    role = iam.create_role(RoleName=OPERATOR_ROLE, AssumeRolePolicyDocument=json.dumps(trust))["Role"]
    iam.put_role_policy(RoleName=OPERATOR_ROLE, PolicyName="operator", PolicyDocument=operator)
    return {"account": account, "region": region, "operator_role_arn": role["Arn"],
            "boundary_arn": boundary_arn, "oidc_provider_arn": provider}


def policy_document(kind: str, settings: dict[str, Any], account: str, limit: int) -> str:
    """One of the two documents, as the binary prints it or from a directory, checked against AWS's size limit."""
    if settings["policy_dir"]:
        source = Path(settings["policy_dir"]) / f"{kind}.json"
        if not source.is_file():
            raise StackError(f"--policy-dir {settings['policy_dir']} has no {kind}.json")
        text = source.read_text(encoding="utf-8")
    else:
        binary = Path(settings["binary"] or CHECKOUT / "target" / "debug" / "securebucket")
        if not binary.is_file():
            raise StackError(f"no binary at {binary}: run `cargo build`, or give --binary or --policy-dir")
        command = [str(binary), "policy", kind, "--cluster", settings["cluster"], "--account", account,
                   "--region", settings["region"]]
        printed = subprocess.run(command, capture_output=True, text=True)
        if printed.returncode != 0:
            raise StackError(f"{' '.join(command)} ended with {printed.returncode}: {printed.stderr.strip()}")
        source, text = " ".join(command), printed.stdout
    try:
        compact = json.dumps(json.loads(text), separators=(",", ":"))
    except ValueError as error:
        raise StackError(f"{source} is not JSON: {error}") from None
    if len(compact) > limit:
        raise StackError(f"{source}: {len(compact)} characters, AWS takes {limit}")
    return compact


def main() -> int:
    try:
        print(json.dumps(create(json.loads(sys.argv[1])), indent=2))
        return 0
    except StackError as error:
        print(f"e2e/stack account: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
