"""Times `./zdm copy` beside other ways to bring the same rows from MySQL to PostgreSQL, by turns, in one run.

    .venv/bin/python -m benchmarks.copy [--rows 2000000] [--repeat 3] [--json FILE]

Each copies the `orders` table into an empty one that has its primary key, and what it copied is counted. "COPY from a
file" is PostgreSQL loading the same rows from one file on its own disk, "from files" from one for each stream: what
copies from another server has less to spare, as reading them there takes its share of the same processors. So the
bound is on the time of one COPY. Debezium's snapshot runs once, after the others, its connectors' start included. TLS
is on for everyone, as the commands always have it (`--no-tls` leaves it away for everyone; Debezium's connectors have
it always). pgloader cannot take part: 3.6.9 does not know MySQL 9's only log-in. Needs about 10 GB of disk and memory
for 2,000,000 rows. Leave the machine alone meanwhile.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from benchmarks import debezium, orders_table, others, ours
from benchmarks.check import said
from benchmarks.databases import Databases, databases
from benchmarks.measure import Run, RunError, repeated
from benchmarks.report import MEBIBYTE, Bound, Line, Section, bounds, load_average, projected, ratio
from contract.tables import Table

STREAMS = 2
ZDM, BINARY, TEXT, BINARIES, PSYCOPG, CLIENTS, DEBEZIUM = WAYS = (
    "zdm copy", "COPY from a binary file", "COPY from a text file", "COPY from binary files", "PyMySQL to psycopg",
    "mysql to psql, 1 stream", "Debezium's snapshot",
)  # fmt: skip
ROWS = 2_000_000
"""The bounds are for this many."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--streams", type=int, default=STREAMS)
    parser.add_argument("--only", nargs="+", default=WAYS, choices=WAYS, metavar="WAY", help=", ".join(WAYS))
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--tls", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--json", type=Path, help="a file for the figures")
    given = parser.parse_args()
    print(load_average(), flush=True)
    with databases(given.tls) as both:
        tls = "on" if given.tls else "off"
        print(f"{both.versions()}; TLS {tls}; {given.rows:,} rows, {given.streams} streams", flush=True)
        section = compare(both, given.rows, given.streams, given.only, given.repeat)
    if given.json:
        given.json.write_text(json.dumps(section.to_json(), indent=1) + "\n")
    sys.exit(0 if all(bound.reached for bound in section.bounds) else 1)


def compare(both: Databases, rows: int, streams: int, only: Sequence[str], repeat: int) -> Section:
    """All ways with the same table. Prints the section and the projection."""
    table = orders_table.fill_source(both, "number", rows)
    size = orders_table.text_bytes(both, table)
    said(f"{table.name}: {rows:,} rows, {size / 1e6:,.0f} MB as text")
    ours.copy(both, table, streams)
    ways: dict[str, Callable[[], Run]] = {
        ZDM: partial(ours.copy, both, table, streams),
        **{
            name: partial(others.floor, both, table, others.floor_files(both, table, files, form), form)
            for name, files, form in ((BINARY, 1, "binary"), (TEXT, 1, "text"), (BINARIES, streams, "binary"))
            if name in only
        },
        PSYCOPG: partial(others.psycopg_copy, both, table, streams),
        CLIENTS: partial(others.clients_copy, both, table),
    }
    chosen = {name: partial(copied, both, table, rows, way) for name, way in ways.items() if name in only}
    runs = repeated(chosen, repeat, said)
    if DEBEZIUM in only:
        runs |= repeated(
            {DEBEZIUM: partial(copied, both, table, rows, partial(debezium.snapshot, both, table, streams))}, 1, said
        )
    lines = [Line(name, rows, of) for name, of in runs.items()]
    section = Section(f"{table.name}, {rows:,} rows", size, ZDM, lines, _bounds(lines))
    print(f"\n{section}", flush=True)
    print("\n".join(projected(line, size, 30) for line in lines if line.name == ZDM), flush=True)
    return section


def copied(both: Databases, table: Table, rows: int, way: Callable[[], Run]) -> Run:
    """One run into an empty table. Raises `RunError` when not all rows arrived."""
    both.on_postgres(f"TRUNCATE {table.name}")
    both.settle()
    run = way()
    there = both.on_postgres(f"SELECT count(*) FROM {table.name}")[0][0]
    if there != rows:
        raise RunError(f"{there:,} of {rows:,} rows arrived")
    return run


def _bounds(lines: Sequence[Line]) -> list[Bound]:
    by_name = {line.name: line for line in lines}
    wall = partial(ratio, by_name, of=lambda run: run.wall)
    ours = by_name.get(ZDM)
    return bounds([
        ("rows a second", ours.speed if ours else None, 300_000, False),
        ("zdm to COPY from a binary file", wall(ZDM, BINARY), 1.3, True),
        ("Debezium's snapshot to zdm", wall(DEBEZIUM, ZDM), 20, False),
        ("PyMySQL and psycopg to zdm", wall(PSYCOPG, ZDM), 3, False),
        ("memory, MB", ours.run.memory / MEBIBYTE if ours else None, 300, True),
    ])  # fmt: skip


if __name__ == "__main__":
    main()
