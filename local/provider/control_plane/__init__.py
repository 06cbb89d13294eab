"""The types that live in the stack's AWS API server: tables, token -> service, operations, id, renamed properties.

One module a field; `facts/` has a file of the same name. The words of the tables (`Api`, `Call`, `Update`, `Tagging`,
`Recorded`) and what they mean are in `local.provider.api`. A module is found by its `TABLE`.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

from local.provider.api import Api, Recorded
from local.provider.handler import Handler

if TYPE_CHECKING:
    from local.provider.registry import Kind


@cache
def table() -> dict[str, Api | Recorded]:
    """All modules' tables as one. A type in two of them is a mistake."""
    found: dict[str, Api | Recorded] = {}
    for module in iter_modules(__path__, f"{__name__}."):
        part: dict[str, Api | Recorded] = getattr(import_module(module.name), "TABLE", {})
        if twice := sorted(found.keys() & part.keys()):
            raise RuntimeError(f"{module.name} has types that another table has: {', '.join(twice)}")
        found |= part
    return found


def handler(token: str) -> Handler | None:
    """The handler of a type of these tables."""
    return table().get(token)


def kind(token: str) -> Kind | None:
    """Whether a type of these tables lives in the API server, or is only recorded."""
    entry = table().get(token)
    return None if entry is None else "recorded" if isinstance(entry, Recorded) else "api"
