"""Secrets Manager: database accounts as `{"username", "password"}`, the format of RDS' own secrets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from botocore.exceptions import BotoCoreError, ClientError

from scripts.clients import aws
from scripts.errors import ZdmError


@dataclass(frozen=True)
class Account:
    """A database account. The password never shows in a repr."""

    username: str
    password: str = field(repr=False)


def read_account(secret: str, region: str, settings: Mapping[str, str] | None = None) -> Account:
    """Reads the account from the secret with this name or ARN. Raises `ZdmError` that names the secret."""
    client = aws.client("secretsmanager", region, settings)
    try:
        text = client.get_secret_value(SecretId=secret)["SecretString"]
    except (BotoCoreError, ClientError) as e:
        raise ZdmError(
            f"the secret {secret} cannot be read: {e}. Sign in to AWS in {region} with a role that may read it, "
            "or bring the stack up again if it is a local one"
        ) from e
    try:
        data = json.loads(text)
        return Account(data["username"], data["password"])
    except (ValueError, KeyError, TypeError) as e:
        raise ZdmError(f'the secret {secret} is not {{"username": …, "password": …}}') from e
