"""What a copy has done, or would do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from rich.console import Console as RichConsole

from scripts.console import duration
from scripts.data.copy_state import Poisoned

SHOWN: Final = 20
"""Rows set aside that are shown one by one."""


@dataclass(frozen=True)
class TableResult:
    """One table: `rows` arrived, `set_aside` did not; `expected` is MySQL's estimate."""

    table: str
    expected: int
    size: int
    segments: int
    rows: int = 0
    bytes: int = 0
    set_aside: int = 0

    def to_json(self) -> dict[str, Any]:
        return {
            "table": self.table,
            "estimatedRows": self.expected,
            "estimatedBytes": self.size,
            "segments": self.segments,
            "rows": self.rows,
            "bytes": self.bytes,
            "setAside": self.set_aside,
        }


@dataclass(frozen=True)
class CopyResult:
    """What was copied by the run as a whole; `seconds` and `moved` (rows) are of this call alone.

    With `dry_run` nothing was: then `refused` says what is in the way.
    """

    run: str
    tables: list[TableResult]
    poisons: list[Poisoned]
    seconds: float
    moved: int
    native: bool
    gtid_set: str = ""
    dry_run: bool = False
    refused: list[str] = field(default_factory=list)
    following: str = ""
    """The next command."""

    @property
    def ok(self) -> bool:
        return not self.poisons and not self.refused

    @property
    def rows(self) -> int:
        return sum(table.rows for table in self.tables)

    @property
    def bytes(self) -> int:
        return sum(table.bytes for table in self.tables)

    def to_json(self) -> dict[str, Any]:
        return {
            "run": self.run,
            "rows": self.rows,
            "bytes": self.bytes,
            "seconds": round(self.seconds, 3),
            "moved": self.moved,
            "native": self.native,
            "gtidSet": self.gtid_set,
            "tables": [table.to_json() for table in self.tables],
            "setAside": [poison.to_json() for poison in self.poisons],
            "dryRun": self.dry_run,
            "refused": self.refused,
            "next": self.following,
        }

    def render(self, out: RichConsole) -> None:
        for table in self.tables:
            rows = f"{table.rows:,} of about {table.expected:,}" if self.dry_run else f"{table.rows:,}"
            note = f", {table.set_aside:,} set aside" if table.set_aside else ""
            line = f"{table.table:32} {rows:>28} rows, {table.segments} segments{note}"
            out.print(line, markup=False, soft_wrap=True)
        for poison in self.poisons[:SHOWN]:
            out.print(f"set aside: {poison}", markup=False, soft_wrap=True)
        if len(self.poisons) > SHOWN:
            out.print(f"... and {len(self.poisons) - SHOWN:,} more (zdm.copy_poison, or --json)")
        for reason in self.refused:
            out.print(f"in the way: {reason}", markup=False, soft_wrap=True)
        if self.dry_run:
            size = sum(table.size for table in self.tables)
            out.print(f"would copy about {size / 1e6:,.0f} MB of data and indexes, in {duration(self.seconds)} or so")
        else:
            out.print(f"{self.rows:,} rows copied, {len(self.poisons):,} set aside (run {self.run})")
        if self.following:
            out.print(f"next: {self.following}", markup=False)
