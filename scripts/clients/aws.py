"""AWS clients of one stack: two stacks may live in two accounts, or in two local clouds.

Invariants:
- What is given in `settings` wins over this process's environment, so a command may work with two stacks at once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.loaders import Loader

from scripts.errors import ZdmError

CONFIG = Config(retries={"mode": "adaptive", "max_attempts": 5})
"""RDS throttles those who ask for states often; botocore's adaptive mode slows down by itself."""


def client(service: str, region: str, settings: Mapping[str, str] | None = None) -> Any:
    """A client of this service. `settings` are variables that boto3 knows: `AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`,
    `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_PROFILE`; what is not among them is as in the environment."""
    given = settings or {}
    core, models = botocore.session.Session(), _models()
    core.register_component("data_loader", models)
    session = boto3.Session(
        botocore_session=core,
        region_name=region,
        profile_name=given.get("AWS_PROFILE"),
        aws_access_key_id=given.get("AWS_ACCESS_KEY_ID"),
        aws_secret_access_key=given.get("AWS_SECRET_ACCESS_KEY"),
        aws_session_token=given.get("AWS_SESSION_TOKEN"),
    )
    models.search_paths[:] = dict.fromkeys(models.search_paths)  # each session adds boto3's own
    make: Any = session.client  # its overloads want the service's name as a literal
    return make(service, endpoint_url=given.get("AWS_ENDPOINT_URL"), config=CONFIG)


def call(client: Any, operation: str, what: str, arguments: Mapping[str, Any], absent: Collection[str]) -> Any:
    """The answer of an operation (named as in boto3), asked without those arguments that are None.

    None where AWS answers with one of the codes `absent`: what it is about is not there. Otherwise raises `ZdmError`,
    which names the service, the operation and `what` it was about.
    """
    name = client.meta.service_model.service_id
    try:
        return getattr(client, operation)(**{key: value for key, value in arguments.items() if value is not None})
    except ClientError as e:
        error = e.response.get("Error", {})
        if error.get("Code") in absent:
            return None
        raise ZdmError(f"{name}: {operation} of {what}: {error.get('Code')}: {error.get('Message')}") from e
    except BotoCoreError as e:
        raise ZdmError(f"{name}: {operation} of {what}: {e}. Sign in to AWS with a role that may do it") from e


@cache
def _models() -> Loader:
    """The services' descriptions, read once: that is most of what a new client takes (0.12 s of CPU for S3's)."""
    return Loader()
