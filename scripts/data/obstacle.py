"""What stands in the way of a migration: one thing of the source that does not move by itself."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

MAX_NAME = 63
"""Bytes of an identifier in PostgreSQL."""


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Something in the source that the migration does not carry. A `blocking` one is left out only when asked for."""

    kind: str
    """`type`, `table`, `trigger`, `view`, `procedure`, `function`, `event`, `index`, `check`, `cascade`, `value`,
    ..."""
    name: str
    """`table`, `table.column`, `table.index` or the object's own name."""
    reason: str
    left_out: str
    """What happens to it when the migration goes on."""
    blocking: bool = True

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.kind} {self.name}: {self.reason}"
