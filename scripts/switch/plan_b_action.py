"""What a road out of trouble (`plan_b`) is made of: values that it looks at, wants otherwise, and reaches in steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from scripts.console import Console
from scripts.context import Context

Values = dict[str, Any]
"""What an action changes, by name, as JSON can hold it: `{"weight": 50.0}`."""


@dataclass(frozen=True)
class Scene:
    """One stack and who works on it."""

    context: Context
    stack: str
    local: bool
    console: Console
    deploys: bool
    """Whether the stack's settings are within reach: not where its outputs came from a file."""


@dataclass(frozen=True)
class Step:
    """One thing to do, and what it is for people. Doing it twice does no harm."""

    what: str
    act: Callable[[], object] = field(repr=False)


@dataclass(frozen=True)
class Action:
    """One road: `look` says how things are, `wanted` how they should be, `reach` how to get from one to the other.

    To go back is to reach what was looked at before. `wanted` raises `UsageError` where the road is closed.
    """

    name: str
    trouble: str
    does: str
    back: str
    look: Callable[[Scene], Values]
    wanted: Callable[[Scene, Values], Values]
    reach: Callable[[Scene, Values, Values], list[Step]]
    """From the values that are there to those that should be."""
