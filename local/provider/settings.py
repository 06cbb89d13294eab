"""The provider's own configuration (`aws:region`, `aws:defaultTags`, ...), as far as the local cloud needs it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ACCOUNT = "123456789012"  # moto's


class SettingsError(ValueError):
    """The provider's configuration is not usable; the message names the setting."""


@dataclass(frozen=True)
class ProviderSettings:
    """`default_tags` are put on every resource that has tags."""

    region: str = "us-east-1"
    account: str = ACCOUNT
    default_tags: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def parse(package: str, arguments: Mapping[str, Any]) -> ProviderSettings:
        """From the engine's arguments, in which anything but text is JSON text."""
        if package != "aws":
            return ProviderSettings()
        region = arguments.get("region") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        if not region:
            raise SettingsError("missing region: run `pulumi config set aws:region <region>` or set AWS_REGION")
        tags = arguments.get("defaultTags") or {}
        if isinstance(tags, str):
            try:
                tags = json.loads(tags)
            except ValueError as e:
                raise SettingsError(f"aws:defaultTags is not JSON: {tags!r}") from e
        return ProviderSettings(region=region, default_tags=dict(tags.get("tags") or {}))
