"""The tasks of the services that Prometheus scrapes, one by one, as its HTTP service discovery wants them.

A load balancer would answer for another task each time. Where `ZDM_CONNECT_TO` says where a service's URL leads (on one
machine), that is its one target.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from services.lag_probe.settings import Scraped, Settings

PAGE = 100
"""Tasks that ECS describes in one call."""


class Discovery:
    """Asks ECS. Use from one thread at a time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client: Any = None

    def targets(self) -> list[dict[str, Any]]:
        """One group a service. Raises what boto3 raises."""
        return [
            {"targets": sorted(self._addresses(scraped)), "labels": {"service": name}}
            for name, scraped in self._settings.services.items()
        ]

    def _addresses(self, scraped: Scraped) -> Iterator[str]:
        here = json.loads(os.environ.get("ZDM_CONNECT_TO", "{}")).get(scraped.url)
        if here is not None:
            yield urlsplit(here).netloc
            return
        if self._client is None:
            import boto3

            self._client = boto3.client("ecs", region_name=self._settings.region)
        cluster = self._settings.cluster
        pages = self._client.get_paginator("list_tasks").paginate(cluster=cluster, serviceName=scraped.service)
        arns = [arn for page in pages for arn in page["taskArns"]]
        for start in range(0, len(arns), PAGE):
            described = self._client.describe_tasks(cluster=cluster, tasks=arns[start : start + PAGE])
            for task in described["tasks"]:
                if task.get("lastStatus") == "RUNNING":
                    yield from (f"{address}:{scraped.port}" for address in _private_addresses(task))


def _private_addresses(task: dict[str, Any]) -> Iterator[str]:
    for attachment in task.get("attachments", ()):
        for detail in attachment.get("details", ()):
            if detail.get("name") == "privateIPv4Address":
                yield detail["value"]
