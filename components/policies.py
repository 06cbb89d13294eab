"""IAM policy documents. Pure: text from values, so that a test can read what a role may do."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any


def statement(
    sid: str,
    actions: Sequence[str],
    resources: Sequence[str],
    *,
    effect: str = "Allow",
    principal: Mapping[str, Any] | str | None = None,
    condition: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """One statement. `principal` only in policies of resources (buckets, keys, roles)."""
    made: dict[str, Any] = {"Sid": sid, "Effect": effect, "Action": list(actions), "Resource": list(resources)}
    if principal is not None:
        made["Principal"] = principal
    if condition is not None:
        made["Condition"] = dict(condition)
    return made


def document(*statements: Mapping[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)}, sort_keys=True)


def assume_role(service: str, account_id: str | None) -> str:
    """A role that one AWS service may take, and only for this account.

    None where the service does not say for whom it acts, so that the condition would never hold: CloudTrail does not
    for its role to CloudWatch Logs (AWS's documentation of it says so).
    """
    statement: dict[str, Any] = {
        "Sid": "Assume",
        "Effect": "Allow",
        "Action": "sts:AssumeRole",
        "Principal": {"Service": service},
    }
    if account_id is not None:
        statement["Condition"] = {"StringEquals": {"aws:SourceAccount": account_id}}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]}, sort_keys=True)


def read_secrets(secret_arns: Sequence[str], key_arn: str) -> list[dict[str, Any]]:
    """Read these secrets, and decrypt them with the key they are under."""
    return [
        statement("ReadSecrets", ["secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret"], secret_arns),
        statement("DecryptSecrets", ["kms:Decrypt"], [key_arn]),
    ]


def write_logs(group_arn: str) -> dict[str, Any]:
    """Write streams of one log group."""
    return statement("WriteLogs", ["logs:CreateLogStream", "logs:PutLogEvents"], [f"{group_arn}:*"])


def private_bucket(bucket_arn: str, *more: Mapping[str, Any]) -> str:
    """Nobody reads or writes the bucket without TLS 1.2 or newer; `more` statements say who else may do what."""
    everything = [bucket_arn, f"{bucket_arn}/*"]
    return document(
        statement(
            "TlsOnly",
            ["s3:*"],
            everything,
            effect="Deny",
            principal="*",
            condition={"Bool": {"aws:SecureTransport": "false"}},
        ),
        statement(
            "Tls12",
            ["s3:*"],
            everything,
            effect="Deny",
            principal="*",
            condition={"NumericLessThan": {"s3:TlsVersion": "1.2"}},
        ),
        *more,
    )
