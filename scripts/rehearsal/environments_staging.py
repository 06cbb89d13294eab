"""Staging's chapters: it gets production's data, masked, with proof; and a change is proven there."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, Final

from contract.tables import mysql_name
from scripts import stacks
from scripts.console import duration
from scripts.context import Context
from scripts.data.inspect import mysql_tables
from scripts.environments import evidence, refresh_data
from scripts.environments import refresh as command
from scripts.environments.refresh_check import Request
from scripts.errors import ZdmError
from scripts.rehearsal import environments_proofs as proofs
from scripts.rehearsal import shop
from scripts.rehearsal.environments_stage import PILOT_WEIGHT, Stage
from scripts.switch import dual, traffic

SAMPLE: Final = ("customers", 7)
"""Table and id of the row that is shown, as it is after masking."""
COMPARED: Final = 1_000
"""Customers whose mail and phone are held against production's."""


def refresh(stage: Stage) -> None:
    """Staging is brought up, and gets production's data: restored beside, masked, scanned, checked, swapped in."""
    console = stage.console
    with stage.chapter("staging", "Production's data, masked") as chapter:
        stage.up("staging")
        prod, staging = stage.at("prod"), stage.at("staging")

        def adopt(ids: Mapping[str, str]) -> object:
            return stacks.adopt_databases("staging", ids, local=True, console=console)

        done = command.run(staging, prod, Request(), console, adopt)
        staging = stage.at("staging", anew=True)
        evidence.keep(staging, evidence.REFRESH, done)
        dual.run(staging, "on", console=console)
        traffic.set_weight(staging, PILOT_WEIGHT)
        masking = {name: figures for name, figures in done.figures.items() if name.endswith(" masking")}
        scans = {name: figures for name, figures in done.figures.items() if name.endswith(" scan")}
        rows = sum(int(figures["total"]) for figures in masking.values())
        seconds = sum(float(figures["seconds"]) for figures in masking.values())
        found = sum(len(figures["findings"]) for figures in scans.values())
        orphans = _orphans(staging)
        same = _as_in_production(prod, staging)
        chapter.text = (
            f"From {done.origin}. {rows:,} rows were masked in {duration(seconds)}, which is "
            f"{rows / max(seconds, 1e-9):,.0f} rows/s; a scan of everything found {found} values that look personal "
            f"and are not made up. Of {COMPARED:,} customers {same} have a mail or a phone as in production. "
            "Accounts of production were locked in the copies; staging's own are there."
        )
        chapter.table(
            ("Table", "Database", "Rows masked", "Columns and their classes"),
            [
                (table, name.partition(" ")[0], figures["rows"].get(table, 0), _words(columns))
                for name, figures in masking.items()
                for table, columns in figures["columns"].items()
            ],
            "What was masked",
        )
        chapter.table(("Column", "Class", "Value in staging"), _sample(staging, masking), f"{SAMPLE[0]} {SAMPLE[1]}")
        chapter.table(
            ("Database", "Accounts of production that cannot log in"),
            [(role, ", ".join(names) or "none") for role, names in done.locked.items()],
        )
        measure = stage.result.measure
        measure("masked", rows, f"{rows:,}", rows > 0, f"{rows / max(seconds, 1e-9):,.0f} rows/s, both databases")
        stage.result.none_of("personal", found + same, "by the scan of every value, and held against production")
        stage.result.none_of("joins", orphans, "foreign keys of all tables, in both databases")
        chapter.summary = f"{rows:,} rows masked, {found} findings of the scan"
        if found or same or orphans:
            raise ZdmError(f"staging is not fit: {found} findings, {same} values as in production, {orphans} orphans")


def _words(columns: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({given})" for name, given in columns.items())


def _sample(staging: Context, masking: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """A row as it is now, with each masked column's class."""
    table, number = SAMPLE
    columns: Mapping[str, str] = next((f["columns"][table] for f in masking.values() if table in f["columns"]), {})
    names = ", ".join(mysql_name(name) for name in columns)
    with contextlib.closing(staging.mysql()) as my, my.cursor() as cursor:
        cursor.execute(f"SELECT {names} FROM {mysql_name(table)} WHERE id = %s", (number,))
        row = cursor.fetchone() or ()
    return [(name, given, _shown(value)) for (name, given), value in zip(columns.items(), row, strict=False)]


def _shown(value: Any) -> str:
    if value is None:
        return "(none)"
    return f"{len(value)} bytes" if isinstance(value, bytes) else str(value)


def _orphans(staging: Context) -> int:
    """Rows of both databases that point to a row which is not there, by the keys of the shop's tables."""
    database = staging.outputs.database
    with contextlib.closing(staging.mysql()) as my, staging.postgres() as pg:
        tables = mysql_tables(my, database, shop.TABLES)
        counts = (refresh_data.count_mysql(my, database, tables), refresh_data.count_postgres(pg, tables))
    return sum(n for counted in counts for name, n in counted.items() if " without " in name)


def _as_in_production(prod: Context, staging: Context) -> int:
    """Of so many customers: those whose mail or phone is the same as in production."""
    query = "SELECT id, email, phone FROM customers WHERE id <= %s"

    def read(context: Context) -> dict[int, tuple[str | None, ...]]:
        with contextlib.closing(context.mysql()) as my, my.cursor() as cursor:
            cursor.execute(query, (COMPARED,))
            return {int(row[0]): tuple(row[1:]) for row in cursor.fetchall()}

    real, masked = read(prod), read(staging)
    if not masked:
        raise ZdmError("staging has no customers")
    return sum(
        any(value is not None and value == mine for value, mine in zip(real[number], values, strict=True))
        for number, values in masked.items()
        if number in real
    )


def prove(stage: Stage) -> None:
    """The revision that dev has tried is brought up in staging, and proven there."""
    with stage.chapter("staging", "The change is proven") as chapter:
        staging = stage.up("staging")
        made = proofs.all_of(stage, "first")
        chapter.text = (
            f"Revision {staging.outputs.revision} on production's data, masked. Each proof was made by doing it, and "
            "is kept, signed, in staging's archive."
        )
        chapter.table(("Evidence", "What was seen", "Verdict"), [proof.row for proof in made])
        chapter.summary = f"{sum(proof.ok for proof in made)} of {len(made)} proofs are good"
        if bad := [proof for proof in made if not proof.ok]:
            raise ZdmError(f"staging does not prove the change: {bad}")
