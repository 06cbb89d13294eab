"""Rows a second that masking does, beside a bare UPDATE of the same columns.

    .venv/bin/python -m benchmarks.masking [--rows 500000] [--rounds 3] [--json FILE]

The sample shop's customers (six masked columns, one of them unique) and orders (one masked column) out of so many rows,
in MySQL and PostgreSQL of this machine, TLS on, two sessions, in turns. A bare UPDATE sets the same columns to values
of the same length that cost nothing to make, in one statement of one session; masking goes in batches and keeps its
place. Rows of a core are rows by the processor seconds that the server took: masking is done inside it.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.databases import DATABASE, Databases, databases
from contract.flag import Side
from contract.privacy import DataClasses, load_classes
from contract.tables import Column, Table
from contract.types import Choices, rule_for
from scripts.console import Console, Step
from scripts.context import PROJECT
from scripts.data import schema
from scripts.data.inspect import mysql_tables
from scripts.environments.masked import Masked, open_session
from scripts.environments.masking import mask
from scripts.environments.privacy_scan import scan
from scripts.rehearsal import fill, shop

KEY = b"a key of the benchmark, 32 bytes"
AIM = 50_000
"""Rows a second and core."""
BARE = {
    "customers": "email = CONCAT('an.', LPAD({id}, 20, '0'), '@masked.example'), phone = '+99931586771643', "
    "full_name = 'Quách Đình Hiếu Xrarowu', birthday = '1990-01-01', password_hash = '!', "
    "device_token = '0123456789abcdef'",
    "orders": "note = 'Đã ẩn Xmawugu'",
}
STAY = {Side.MYSQL: ", updated_at = updated_at", Side.AURORA: ""}


@dataclass(frozen=True)
class Seen:
    """One way over one table: wall and the server's processor seconds."""

    rows: int
    wall: float
    cpu: float

    @property
    def per_core(self) -> float:
        return self.rows / max(self.cpu, 0.01)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=500_000, help="of the whole shop")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    classes = load_classes(PROJECT / "data-classes.yaml")
    found: list[dict[str, Any]] = []
    with databases(tls=True) as both:
        tables = prepare(both, options.rows)
        print(both.versions(), flush=True)
        for side in (Side.MYSQL, Side.AURORA):
            for table in tables:
                ways: dict[str, list[Seen]] = {"update": [], "mask": [], "scan": []}
                for _ in range(options.rounds):
                    one_round(both, side, table, tables, classes, ways)
                found.append(said(side, table, ways))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


def prepare(both: Databases, rows: int) -> list[Table]:
    """The two tables on both sides, empty, and what they are filled from in another database (or schema), `was`."""
    fill.fill(lambda: both.mysql(autocommit=False), rows=rows, connections=2)
    both.on_mysql(
        "CREATE DATABASE was",
        *(f"RENAME TABLE {name} TO was.{name}" for name in BARE),
        "UPDATE was.orders SET note = 'Gọi trước khi giao' WHERE note IS NULL",
        "SET SESSION foreign_key_checks = 0",
        f"DROP TABLE {', '.join(name for name in shop.TABLES if name not in BARE)}",
        *(re.sub(r",\s+CONSTRAINT .*", "", shop.DDL[name]) for name in BARE),
    )
    with both.mysql() as my:
        tables = mysql_tables(my, DATABASE)
    for stage in ("tables", "indexes"):
        schema.run(both, stage=stage, console=Console(quiet=True))  # type: ignore[arg-type]
    both.on_postgres("CREATE SCHEMA was")
    for table in tables:
        names = ", ".join(column.name for column in table.columns)
        both.on_postgres(f"CREATE TABLE was.{table.name} (LIKE public.{table.name})")
        with both.mysql() as my, both.postgres() as pg, my.cursor() as cursor:
            texts = ", ".join(_readable(column) for column in table.columns)
            cursor.execute(f"SELECT {texts} FROM was.{table.name}")
            with pg.cursor().copy(f"COPY was.{table.name} ({names}) FROM STDIN".encode()) as copy:
                for row in cursor.fetchall():
                    copy.write_row(row)
    return tables


def _readable(column: Column) -> str:
    """As COPY takes it."""
    rule = rule_for(column, Choices())
    return column.name if rule.postgres == "bytea" else rule.mysql_text.format(f"`{column.name}`")


def one_round(
    both: Databases,
    side: Side,
    table: Table,
    tables: Sequence[Table],
    classes: DataClasses,
    ways: dict[str, list[Seen]],
) -> None:
    target = Masked(side, both.mysql if side is Side.MYSQL else both.postgres, tables)
    statement = f"UPDATE {table.name} SET {BARE[table.name].format(id=_text(side, 'id'))}{STAY[side]}"
    rows = refill(both, side, table, tables)
    session = open_session(target, KEY)
    ways["update"].append(measured(both, side, rows, lambda: session.run(statement)))
    session.close()
    refill(both, side, table, tables)
    ways["mask"].append(measured(both, side, rows, lambda: mask(target, classes, KEY, Step("mask"))))
    clean = []
    ways["scan"].append(measured(both, side, rows, lambda: clean.append(scan(target, classes, Step("scan")).ok)))
    assert clean == [True]


def _text(side: Side, name: str) -> str:
    return name if side is Side.MYSQL else f"{name}::text"


def refill(both: Databases, side: Side, table: Table, tables: Sequence[Table]) -> int:
    """The table as it was, alone; nothing is masked."""
    run = both.on_mysql if side is Side.MYSQL else both.on_postgres
    schema_ = "SCHEMA" if side is Side.AURORA else "DATABASE"
    run(
        f"CREATE {schema_} IF NOT EXISTS zdm",
        *(f"DROP TABLE IF EXISTS zdm.masking{suffix}" for suffix in ("", "_part", "_trigger")),
        *(f"TRUNCATE TABLE {other.name}" for other in tables),
        f"INSERT INTO {table.name} SELECT * FROM was.{table.name}",
        f"ANALYZE TABLE {table.name}" if side is Side.MYSQL else f"VACUUM (ANALYZE, FREEZE) {table.name}",
    )
    both.settle()
    return int(run(f"SELECT COUNT(*) FROM {table.name}")[0][0])


def measured(both: Databases, side: Side, rows: int, work: Callable[[], Any]) -> Seen:
    before, began = both.processor(), time.monotonic()
    work()
    used = both.processor() - before
    return Seen(rows, time.monotonic() - began, used.mysql if side is Side.MYSQL else used.postgres)


def said(side: Side, table: Table, ways: dict[str, list[Seen]]) -> dict[str, Any]:
    """Medians of one side and table, printed."""
    seen = {name: statistics.median(run.per_core for run in runs) for name, runs in ways.items()}
    wall = {name: statistics.median(run.wall for run in runs) for name, runs in ways.items()}
    rows = ways["mask"][0].rows
    ratio = seen["update"] / seen["mask"]
    each = ", ".join(f"{name} {seen[name]:,.0f} rows a core and second ({wall[name]:.2f} s)" for name in seen)
    reached = "reached" if seen["mask"] >= AIM else "not reached"
    print(f"{side} {table.name}, {rows:,} rows: {each}; {ratio:.1f} times an UPDATE; {AIM:,} {reached}", flush=True)
    return {"side": str(side), "table": table.name, "rows": rows, "perCore": seen, "wallSeconds": wall, "ratio": ratio}


if __name__ == "__main__":
    main()
