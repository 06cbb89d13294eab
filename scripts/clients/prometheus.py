"""Prometheus' query API: a server's own, or Amazon's managed one, which wants each request signed (SigV4, `aps`).

A figure that is not there is absent from the answer, and so is NaN, PromQL's word for a quantile of nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

import boto3
import httpx
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError

from scripts.errors import ZdmError

SERVICE = "aps"
TIMEOUT = 30.0


@dataclass(frozen=True)
class Sample:
    """One element of an instant vector."""

    labels: Mapping[str, str]
    value: float


class Prometheus:
    """Use as a context manager. `endpoint` ends with a slash: `api/v1/query` follows."""

    def __init__(self, endpoint: str, region: str) -> None:
        self._url, self._region = f"{endpoint}api/v1/query", region
        self._client = httpx.Client(timeout=TIMEOUT)

    def __enter__(self) -> Prometheus:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def query(self, expression: str, at: float) -> list[Sample]:
        """The instant vector of `expression` at a Unix time. Raises `ZdmError` with what the server said."""
        body = urlencode({"query": expression, "time": f"{at:.3f}"}).encode()
        try:
            answer = self._client.post(self._url, content=body, headers=self._signed(body))
            data = answer.json()
        except (httpx.HTTPError, ValueError) as e:
            raise ZdmError(f"Prometheus at {self._url} cannot be asked: {e}") from e
        if data.get("status") != "success":
            said = data.get("error") or data.get("message") or answer.text[:200]
            raise ZdmError(
                f"Prometheus at {self._url} answered {answer.status_code}: {said}. "
                "Your role needs aps:QueryMetrics on the stack's workspace"
            )
        found = [Sample(one["metric"], float(one["value"][1])) for one in data["data"]["result"]]
        return [sample for sample in found if not math.isnan(sample.value)]

    def number(self, expression: str, at: float) -> float | None:
        """The value of an expression that has one or none."""
        return next((sample.value for sample in self.query(expression, at)), None)

    def by(self, label: str, expression: str, at: float) -> dict[str, float]:
        """The values by one label's values."""
        return {sample.labels.get(label, ""): sample.value for sample in self.query(expression, at)}

    def _signed(self, body: bytes) -> dict[str, str]:
        try:
            credentials = boto3.Session().get_credentials()
        except BotoCoreError as e:
            raise ZdmError(f"AWS credentials cannot be read: {e}") from e
        if credentials is None:
            raise ZdmError(
                f"Prometheus at {self._url} wants signed requests, and there are no AWS credentials: sign in to AWS "
                f"in {self._region}"
            )
        headers = {"content-type": "application/x-www-form-urlencoded"}
        request = AWSRequest("POST", self._url, data=body, headers=headers)
        SigV4Auth(credentials.get_frozen_credentials(), SERVICE, self._region).add_auth(request)
        return {name: str(value) for name, value in request.headers.items()}
