"""What a check found, table by table, and its verdict."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from rich.console import Console as RichConsole

from scripts.data.difference import Difference, Key, shown_key

REPORTED = 100
"""Differences of one table that are reported row by row; beyond it they are counted."""

Verdict = Literal["equal", "different", "unsettled"]
Kind = Literal["full", "tables", "where", "sample", "since-last", "nightly"]
"""Of a check: everything; whole tables; rows under a condition; a part by chance; what changed; the last two."""


@dataclass
class TableResult:
    """One table. `differences` counts the rows found different, `examples` are the first of them."""

    table: str
    method: str = "hash"
    source_rows: int = 0
    target_rows: int = 0
    chunks: int = 0
    suspects: int = 0
    """Rows that looked different at first; most of them only late."""
    differences: int = 0
    examples: list[Difference] = field(default_factory=list)
    keys: list[Key] = field(default_factory=list)
    """Of all rows found different."""
    unsettled: list[Key] = field(default_factory=list)
    """Rows that changed too often to say."""
    newer: int = 0
    """Rows that were changed on the target after the switch, and so need not be the source's any more."""
    repaired: int = 0
    """Rows that differed and were made equal."""
    stopped: str = ""
    """Why the table was not checked to its end."""
    remark: str = ""
    """Why it was compared in another way than the other tables."""
    digest: str | None = None
    """Of all rows of the target (see docs/checking.md), where it is known."""
    seconds: float = 0.0

    @property
    def verdict(self) -> Verdict:
        if self.differences:
            return "different"
        return "unsettled" if self.unsettled or self.stopped else "equal"

    @property
    def note(self) -> str:
        """What a reader should know besides the numbers."""
        notes = []
        if self.repaired:
            notes.append(f"{self.repaired:,} rows repaired")
        if self.newer:
            notes.append(f"{self.newer:,} rows changed on the target since the switch")
        if self.unsettled:
            notes.append(f"{len(self.unsettled):,} rows changed too often to say")
        return "; ".join([*notes, *filter(None, (self.stopped, self.remark))])

    def join(self, other: TableResult) -> None:
        """Adds what another check saw of the same table; a row that both found different counts once."""
        known = set(self.keys)
        self.method = f"{self.method}, {other.method}"
        self.source_rows += other.source_rows
        self.target_rows += other.target_rows
        self.chunks += other.chunks
        self.suspects += other.suspects
        self.keys += [key for key in other.keys if key not in known]
        self.examples = [*self.examples, *(d for d in other.examples if d.key not in known)][:REPORTED]
        self.differences = len(self.keys)
        self.unsettled = list(dict.fromkeys([*self.unsettled, *other.unsettled]))
        self.stopped, self.remark, self.digest = other.stopped, other.remark, other.digest
        self.seconds += other.seconds

    def to_json(self, show_values: bool = False) -> dict[str, Any]:
        return {
            "table": self.table,
            "verdict": self.verdict,
            "method": self.method,
            "sourceRows": self.source_rows,
            "targetRows": self.target_rows,
            "chunks": self.chunks,
            "suspects": self.suspects,
            "differences": self.differences,
            "examples": [d.to_json(show_values) for d in self.examples],
            "unsettled": [list(shown_key(key)) for key in self.unsettled[:REPORTED]],
            "newer": self.newer,
            "repaired": self.repaired,
            "note": self.note,
            "digest": self.digest,
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True)
class CheckResult:
    """`started` is what `marker` returned before the first row was read: from there on, changes are not checked."""

    tables: list[TableResult]
    started_at: float
    seconds: float
    started: Any = None
    left_out: list[str] = field(default_factory=list)
    kind: Kind = "full"
    method: str = "hash"
    reason: str = ""
    """Why this method."""
    remark: str = ""
    """What else a reader should know: what was resumed, what was drawn."""
    show_values: bool = False
    """Whether reports have the values of text, binary and JSON columns."""

    @property
    def mismatches(self) -> int:
        return sum(table.differences for table in self.tables)

    @property
    def rows(self) -> int:
        return sum(table.source_rows for table in self.tables)

    @property
    def verdict(self) -> Verdict:
        """`equal`, `different`, or `unsettled` (some rows changed too often to say)."""
        verdicts = {table.verdict for table in self.tables}
        return "different" if "different" in verdicts else "unsettled" if "unsettled" in verdicts else "equal"

    @property
    def whole(self) -> bool:
        """Whether an equal verdict says that everything is equal."""
        return self.kind in ("full", "since-last", "nightly")

    @property
    def ok(self) -> bool:
        return self.verdict == "equal"

    @property
    def differences(self) -> list[Difference]:
        return [difference for table in self.tables for difference in table.examples]

    @property
    def summary(self) -> str:
        return f"{self.verdict}: {self.rows:,} rows, {self.mismatches:,} differ"

    def to_json(self) -> dict[str, Any]:
        return {
            "verdict": self.verdict,
            "kind": self.kind,
            "method": self.method,
            "reason": self.reason,
            "remark": self.remark,
            "mismatches": self.mismatches,
            "rows": self.rows,
            "startedAt": self.started_at,
            "seconds": round(self.seconds, 3),
            "started": self.started,
            "tables": [table.to_json(self.show_values) for table in self.tables],
            "leftOut": self.left_out,
        }

    def render(self, out: RichConsole) -> None:
        for table in self.tables:
            word = f"{table.differences:,} rows differ" if table.differences else table.verdict
            note = f" ({table.note})" if table.note else ""
            out.print(f"{table.table:32} {table.source_rows:>14,} rows  {word}{note}", markup=False, soft_wrap=True)
            for difference in table.examples:
                out.print(f"    {difference.text(self.show_values)}", markup=False, soft_wrap=True)
        for line in filter(None, (self.reason, self.remark)):
            out.print(line, markup=False, soft_wrap=True)
        out.print(self.summary, markup=False)
