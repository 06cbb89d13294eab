"""Stacks that are declared only: no engine, no cloud, just what the program asks for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.declared import Declared, declare_settings, stand_in_plugin
from infra.settings import parse_settings


def nested(**settings: object) -> dict[str, Any]:
    """Settings by path (`aurora.readers`) as the nested groups that a stack's file has."""
    made: dict[str, Any] = {}
    for path, value in settings.items():
        *groups, name = path.split(".")
        group = made
        for part in groups:
            group = group.setdefault(part, {})
        group[name] = value
    return made


@pytest.fixture
def plugin(tmp_path: Path) -> str:
    """A ZIP where the setting says it is."""
    return str(stand_in_plugin(tmp_path))


@pytest.fixture
def declare(plugin: str) -> Callable[..., Declared]:
    """Declares a stack with settings by path, on the environment's defaults."""

    def run(**settings: object) -> Declared:
        return declare_settings(parse_settings(nested(**{"cdc.plugin": plugin, **settings}), "test"))

    return run
