"""`./zdm validate-counts`: the exact number of rows of every table, in both databases at once.

Equal counts prove little (`data-check` compares the rows), but they are quick, and anyone can repeat them: `statement`
is the SQL, which is also kept as `validate_counts.<side>.sql` beside the commands' state.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import pymysql.cursors
from rich.console import Console as RichConsole

from contract.tables import mysql_name, postgres_name
from scripts.console import Console
from scripts.context import Context
from scripts.data.compare import SCHEMA, MySQL, Postgres
from scripts.data.inspect import mysql_tables, without_unsupported


@dataclass(frozen=True, slots=True)
class Count:
    """One table. `source` was counted before and `again` after the target: under load the target is in between."""

    table: str
    source: int
    target: int
    again: int

    @property
    def status(self) -> str:
        """`equal`; `moving` (the source changed while counting, and the target is within); else `different`."""
        if self.source == self.target == self.again:
            return "equal"
        low, high = sorted((self.source, self.again))
        return "moving" if self.source != self.again and low <= self.target <= high else "different"


@dataclass(frozen=True)
class CountsResult:
    counts: list[Count]

    @property
    def source(self) -> dict[str, int]:
        return {count.table: count.source for count in self.counts}

    @property
    def target(self) -> dict[str, int]:
        return {count.table: count.target for count in self.counts}

    @property
    def ok(self) -> bool:
        return all(count.status != "different" for count in self.counts)

    def to_json(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "rows": sum(c.source for c in self.counts),
            "tables": [{**asdict(c), "status": c.status} for c in self.counts],
        }

    def render(self, out: RichConsole) -> None:
        for count in self.counts:
            out.print(f"{count.table:32} {count.source:>14,} {count.target:>14,}  {count.status}", markup=False)


def statement(tables: Iterable[str], quoted: Callable[[str], str]) -> str:
    """`SELECT` with one row (table, rows) for each table; `quoted` writes a table's name for the database at hand."""
    return "\nUNION ALL ".join(
        f"SELECT '{name.replace(chr(39), chr(39) * 2)}' AS name, COUNT(*) AS row_count FROM {quoted(name)}"
        for name in tables
    )


def run(
    context: Context,
    *,
    tables: Sequence[str] | None = None,
    console: Console,
    settle: Callable[[], None] | None = None,
    patience: float = 10.0,
) -> CountsResult:
    """Counts the captured tables (all of the source if none is), or only those named.

    What differs is counted again: after `settle` (everything written before is applied), or for `patience` seconds.
    """
    out = context.outputs
    with console.step("Count rows") as step, context.mysql() as my, context.postgres() as pg:
        known = without_unsupported(
            mysql_tables(my, out.database, tables or out.pipeline.tables or None), out.pipeline.choices
        )
        names = [table.name for table in known]
        for side, quoted in (("mysql", mysql_name), ("postgres", _target_name)):
            (context.home / f"validate_counts.{side}.sql").write_text(statement(names, quoted) + ";\n")
        counts = count_tables(my, pg, names, settle=settle, patience=patience)
        different = [count.table for count in counts if count.status == "different"]
        step.done(
            f"{len(counts)} tables, {sum(c.source for c in counts):,} rows"
            + (f"; different: {', '.join(different)}" if different else ", equal")
        )
    return CountsResult(counts)


def count(context: Context, tables: Sequence[str]) -> CountsResult:
    """Counts once, as it is now: both sides at the same time."""
    with context.mysql() as my, context.postgres() as pg:
        return CountsResult(count_tables(my, pg, tables, patience=0.0))


def count_tables(
    my: MySQL, pg: Postgres, names: Sequence[str], *, settle: Callable[[], None] | None = None, patience: float = 10.0
) -> list[Count]:
    """The same over open connections."""
    final: dict[str, Count] = {}
    open_names = list(names)
    deadline = time.monotonic() + patience
    pause = 0.1
    first = True
    while open_names:
        if first and settle is None:  # nothing is said about when: both sides at once
            with ThreadPoolExecutor(1) as pool:
                remote = pool.submit(_target_counts, pg, open_names)
                source = _source_counts(my, open_names)
                target = remote.result()
        else:
            source = _source_counts(my, open_names)
            if settle is not None:
                settle()
            target = _target_counts(pg, open_names)
        again = source if all(source[n] == target[n] for n in open_names) else _source_counts(my, open_names)
        first = False
        for name in open_names:
            final[name] = Count(name, source[name], target[name], again[name])
        open_names = [name for name in open_names if final[name].status == "different"]
        if time.monotonic() >= deadline:
            break
        if open_names:
            time.sleep(pause)
            pause = min(2 * pause, 2.0)
    return [final[name] for name in names]


def _target_name(table: str) -> str:
    return postgres_name(SCHEMA, table)


def _source_counts(my: MySQL, names: Sequence[str]) -> dict[str, int]:
    with my.cursor(pymysql.cursors.Cursor) as cursor:
        cursor.execute(statement(names, mysql_name))
        return {str(name): int(rows) for name, rows in cursor.fetchall()}


def _target_counts(pg: Postgres, names: Sequence[str]) -> dict[str, int]:
    return {str(name): int(rows) for name, rows in pg.execute(statement(names, _target_name))}
