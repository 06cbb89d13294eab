"""A row that differs, and how it is shown: personal values stay where they are.

Values of text, binary and JSON columns may be personal, so reports say of them only how long they are, where they
begin to differ, and what kind of character stands there. Numbers, times and members of an ENUM or SET are shown, and so
are keys, without which nobody would find the row.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from contract.tables import Column
from contract.types import TypeRule

SHOWN = 200
"""Characters of a value in a report."""

HASHED: Final = "sha256:"
"""What stands for a long text begins so: `sha256:<bytes> <hash>`."""

Key = tuple[str, ...]
"""The primary key's canonical texts."""

_CLASSES: Final = {
    "Lu": "an upper-case letter",
    "Ll": "a lower-case letter",
    "Lt": "a title-case letter",
    "Lm": "a modifier letter",
    "Lo": "a letter",
    "Nd": "a digit",
    "Nl": "a number",
    "No": "a number",
}


Mask = Literal["", "text", "bytes"]


@dataclass(frozen=True, slots=True)
class ColumnDifference:
    """One value. Reports mask it as `mask` says: bytes are hexadecimal."""

    column: str
    source: str | None
    target: str | None
    mask: Mask = ""

    def to_json(self, show_values: bool = False) -> dict[str, Any]:
        if show_values or not self.mask:
            return {"column": self.column, "source": _short(self.source), "target": _short(self.target)}
        return {
            "column": self.column,
            "source": _masked(self.source, self.mask),
            "target": _masked(self.target, self.mask),
            "difference": _first_difference(self.source, self.target, self.mask),
        }

    def text(self, show_values: bool = False) -> str:
        if show_values or not self.mask:
            return f"{self.column}: {_short(self.source)!r} is {_short(self.target)!r}"
        where = _first_difference(self.source, self.target, self.mask)
        source, target = _masked(self.source, self.mask), _masked(self.target, self.mask)
        return f"{self.column}: {source} is {target}{', ' if where else ''}{where}"


@dataclass(frozen=True, slots=True)
class Refused:
    """A value of the source that the target cannot hold."""

    column: str
    reason: str


@dataclass(frozen=True, slots=True)
class Difference:
    """One row that differs. `kind` is `changed`, `missing` (on the target), `extra` (only on the target) or `poisoned`:
    the source has a value that the target cannot hold, which `refused` names."""

    table: str
    key: Key
    kind: str
    columns: tuple[ColumnDifference, ...] = ()
    refused: tuple[Refused, ...] = ()

    def poisoned(self, refused: tuple[Refused, ...]) -> Difference:
        return replace(self, kind="poisoned", refused=refused)

    def to_json(self, show_values: bool = False) -> dict[str, Any]:
        return {
            "table": self.table,
            "key": list(shown_key(self.key)),
            "kind": self.kind,
            "columns": [c.to_json(show_values) for c in self.columns],
            "refused": [{"column": r.column, "reason": r.reason} for r in self.refused],
        }

    def text(self, show_values: bool = False) -> str:
        details = [f"{r.column} has {r.reason}" for r in self.refused] or [c.text(show_values) for c in self.columns]
        named = f"{self.table} ({', '.join(shown_key(self.key))}) {self.kind}"
        return f"{named}: {'; '.join(details)}" if details else named

    def __str__(self) -> str:
        return self.text()


def shown_key(key: Key) -> Key:
    """A key as it can be printed and kept as JSON: also one with characters that no database but MySQL takes."""
    return tuple(text.encode(errors="backslashreplace").decode().replace("\0", "\\0") for text in key)


def mask_of(column: Column, rule: TypeRule) -> Mask:
    """How reports mask the column's values, which may be personal."""
    if rule.codec.name == "bytea":
        return "bytes"
    return "text" if rule.codec.name in ("text", "jsonb") and column.type != "set" else ""


def _masked(value: str | None, mask: Mask) -> str:
    if value is None:
        return "NULL"
    if value.startswith(HASHED):
        return f"'…' ({int(value.removeprefix(HASHED).partition(' ')[0]):,} bytes)"
    return f"'…' ({len(value) // 2:,} bytes)" if mask == "bytes" else f"'…' ({len(value):,} characters)"


def _first_difference(source: str | None, target: str | None, mask: Mask) -> str:
    if source is None or target is None or source.startswith(HASHED) or target.startswith(HASHED):
        return ""
    shorter = min(len(source), len(target))
    at = next((i for i in range(shorter) if source[i] != target[i]), shorter)
    if mask == "bytes":
        return f"first difference at byte {at // 2 + 1}"
    return f"first difference at {at + 1}: {_kind(source, at)} against {_kind(target, at)}"


def _kind(text: str, at: int) -> str:
    """What stands there: letters and digits by their kind alone, anything else by its code point."""
    if at >= len(text):
        return "the end"
    return _CLASSES.get(unicodedata.category(text[at]), f"U+{ord(text[at]):04X}")


def _short(value: str | None) -> str | None:
    return value if value is None or len(value) <= SHOWN else f"{value[:SHOWN]}… ({len(value):,} characters)"
