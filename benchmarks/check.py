"""Times `./zdm data-check` beside reladiff and Google's data-validation-tool: the same rows, by turns, in one run.

    .venv/bin/python -m benchmarks.check [--rows 2000000] [--repeat 3] [--json FILE]

Every way is timed from its first connection to its verdict; a way that finds other rows than those planted says so in
the last column (and ours then ends the run with an error). TLS is on for everyone, as the commands always have it;
`--no-tls` leaves it away for everyone: on one machine both ends of the encryption share its processors, which they
never do otherwise. Needs about 8 GB of disk and memory for 2,000,000 rows. Leave the machine alone meanwhile.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from benchmarks import orders_table, others, ours
from benchmarks.databases import Databases, databases
from benchmarks.measure import Run, RunError, repeated
from benchmarks.orders_table import Keys
from benchmarks.report import MEBIBYTE, Bound, Line, Section, bounds, load_average, projected, ratio

STREAMS = 2
STREAM, HASH, RELADIFF, DVT = "zdm, stream", "zdm, hash", "reladiff", "data-validation-tool"
WAYS = (STREAM, HASH, RELADIFF, DVT)
ROWS = 2_000_000
"""The bounds are for this many."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--differences", type=int, nargs="+", default=[0, 10], choices=[0, 10])
    parser.add_argument("--keys", nargs="+", default=["number", "uuid"], choices=["number", "uuid"])
    parser.add_argument("--only", nargs="+", default=WAYS, choices=WAYS, metavar="WAY", help=", ".join(WAYS))
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--tls", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--json", type=Path, help="a file for the figures")
    given = parser.parse_args()
    print(load_average(), flush=True)
    sections = []
    with databases(given.tls) as both:
        others.prepare_source(both)
        print(f"{both.versions()}; TLS {'on' if given.tls else 'off'}; {given.rows:,} rows, {STREAMS} streams")
        for keys in given.keys:
            sections += compare(both, keys, given.rows, given.differences, given.only, given.repeat)
    if given.json:
        given.json.write_text(json.dumps([section.to_json() for section in sections], indent=1) + "\n")
    sys.exit(0 if all(bound.reached for section in sections for bound in section.bounds) else 1)


def compare(
    both: Databases, keys: Keys, rows: int, differences: Sequence[int], only: Sequence[str], repeat: int
) -> list[Section]:
    """The table with this kind of key, once for each number of differences. Prints each section as it is done."""
    table = orders_table.fill_source(both, keys, rows)
    size = orders_table.text_bytes(both, table)
    ours.copy(both, table, STREAMS)
    orders_table.vacuum(both, table)
    both.settle()
    said(f"{table.name}: {rows:,} rows, {size / 1e6:,.0f} MB as text")
    settings = others.best_settings(both, table) if RELADIFF in only else {}
    sections = []
    for count in differences:
        planted = orders_table.plant(both, table) if count else []
        ways: dict[str, Callable[[], Run]] = {
            STREAM: partial(ours.check, both, table, "stream", STREAMS),
            HASH: partial(ours.check, both, table, "hash", STREAMS),
            RELADIFF: partial(others.reladiff, both, table, settings),
            DVT: partial(others.data_validation_tool, both, table),
        }
        runs = repeated({name: way for name, way in ways.items() if name in only}, repeat, said)
        notes = {RELADIFF: ", ".join(f"{name} {value:,}" for name, value in settings.items())}
        lines = [Line(name, rows, of, _note(name, of, planted, notes.get(name, ""))) for name, of in runs.items()]
        title = f"{table.name}, {rows:,} rows, {count} differences"
        sections.append(Section(title, size, STREAM, lines, _bounds(lines, keys, count)))
        print(f"\n{sections[-1]}", flush=True)
        if planted:
            orders_table.heal(both, table, planted)
    print("\n".join(projected(line, size, 4) for line in sections[0].lines if line.name in (STREAM, HASH)), flush=True)
    both.on_mysql(f"DROP TABLE {table.name}")
    both.on_postgres(f"DROP TABLE {table.name}")
    return sections


def _note(name: str, runs: Sequence[Run], planted: Sequence[str], settings: str) -> str:
    """What a way found. Raises `RunError` if ours found anything but what there is."""
    for run in runs:
        found = set(run.answer["keys"])
        if found != set(planted):
            right = found & set(planted)
            wrong = f"found {len(right)} of {len(planted)}, and {len(found - right)} that are equal"
            if name.startswith("zdm"):
                raise RunError(f"{name}: {wrong}")
            return f"{wrong}; {settings}".rstrip("; ")
    return settings


def _bounds(lines: Sequence[Line], keys: Keys, count: int) -> list[Bound]:
    by_name = {line.name: line for line in lines}
    servers = partial(ratio, by_name, of=lambda run: run.servers_total)
    wall = partial(ratio, by_name, of=lambda run: run.wall)
    memory = max((line.run.memory for line in lines if line.name.startswith("zdm")), default=None)
    of_memory = ("memory, MB", memory and memory / MEBIBYTE, 300, True)
    if keys == "uuid":
        return bounds([("reladiff to stream, UUID keys", wall(RELADIFF, STREAM), 1.5, False), of_memory])
    return bounds([
        ("reladiff to stream", wall(RELADIFF, STREAM), 3.0 if count else 2.2, False),
        ("reladiff to hash", wall(RELADIFF, HASH), 1.4, False),
        ("reladiff to stream, CPU of the servers", servers(RELADIFF, STREAM), 2.3, False),
        ("data-validation-tool to stream", wall(DVT, STREAM), 12.0, False),
        of_memory,
    ])  # fmt: skip


def said(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
