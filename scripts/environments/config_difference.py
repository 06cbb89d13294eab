"""How the settings of two stacks differ, by name: what a promotion changes besides the program.

Invariants:
- Settings are compared as they work: the environment's defaults and what the stack's file says.
- Nothing secret is shown: of an encrypted setting, and of those in `SECRET`, only the name, and whether there is one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from infra.settings import SettingsError, parse_settings
from scripts.errors import UsageError

SECRET: Final = frozenset({"observability.webhooks"})
"""Settings that let whoever knows them do something (a web hook's address is its password)."""
HIDDEN, NONE = "(not shown)", "(none)"


@dataclass(frozen=True)
class Difference:
    """One setting, and its values as text."""

    name: str
    source: str
    target: str

    def to_json(self) -> dict[str, str]:
        return asdict(self)


def config_difference(source: Path, target: Path, project: str) -> list[Difference]:
    """What differs between two stacks' files, in the order of the settings. Raises `UsageError` for wrong settings."""
    here, there = _settings(source, project), _settings(target, project)
    names = list(dict.fromkeys([*here, *there]))
    return [
        Difference(name, here.get(name, NONE), there.get(name, NONE))
        for name in names
        if here.get(name, NONE) != there.get(name, NONE) or (name in here and HIDDEN in (here[name], there.get(name)))
    ]


def _settings(file: Path, project: str) -> dict[str, str]:
    """Every setting of a stack by its path, as text."""
    given = (yaml.safe_load(file.read_text()) or {}).get("config") or {}
    own = {key.removeprefix(f"{project}:"): value for key, value in given.items() if key.startswith(f"{project}:")}
    encrypted = list(_encrypted(own))
    try:
        settings = parse_settings(_without(own), file.name)
    except SettingsError as e:
        raise UsageError(f"{file}: {e}") from e
    known = {
        name: HIDDEN if name in SECRET and value else _shown(value)
        for name, value in _leaves(settings.model_dump(by_alias=True))
    }
    return {**known, **dict.fromkeys(encrypted, HIDDEN)}


def _leaves(settings: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{path}{name}.")
        else:
            yield path + name, value


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or NONE
    return NONE if value in ("", {}) else str(value)


def _is_encrypted(value: Any) -> bool:
    return isinstance(value, Mapping) and set(value) == {"secure"}


def _encrypted(settings: Mapping[str, Any], path: str = "") -> Iterator[str]:
    for name, value in settings.items():
        if _is_encrypted(value):
            yield path + name
        elif isinstance(value, Mapping):
            yield from _encrypted(value, f"{path}{name}.")


def _without(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings without those that are encrypted."""
    return {
        name: _without(value) if isinstance(value, Mapping) else value
        for name, value in settings.items()
        if not _is_encrypted(value)
    }
