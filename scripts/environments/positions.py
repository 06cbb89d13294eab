"""Where a database is at a moment: what lets a restored copy be held against it later.

Taken before a snapshot is asked for, and kept as tags of the snapshot. What was committed up to there must be in the
copy: PostgreSQL's last committed transaction (`track_commit_timestamp`), MySQL's executed GTID set. Since the log has
one order, a copy that has the last one has all before it. The counters of inserted and deleted rows say how far a table
may have moved since; they begin anew when a server starts, so the start goes with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pymysql
import pymysql.cursors

from scripts.clients.gtid import GtidSet
from scripts.data.rules import MySQL, Postgres
from scripts.environments.snapshot_set import COUNTERS, POSITION

LOOK_BACK = 200_000
"""Transactions among which the newest commit of a restored PostgreSQL is looked for."""
START_SLACK = timedelta(seconds=5)
"""MySQL tells how long it has been up in whole seconds."""


@dataclass(frozen=True)
class Counters:
    """Rows that a server has inserted and deleted since it started."""

    inserted: int
    deleted: int
    started: datetime

    def to_tag(self) -> str:
        return f"inserted={self.inserted} deleted={self.deleted} started={self.started.isoformat()}"

    def since(self, earlier: Counters) -> int | None:
        """Rows inserted or deleted since `earlier`; None where the server started anew in between."""
        if abs(self.started - earlier.started) > START_SLACK:
            return None
        inserted, deleted = self.inserted - earlier.inserted, self.deleted - earlier.deleted
        return inserted + deleted if inserted >= 0 and deleted >= 0 else None


@dataclass(frozen=True)
class Position:
    """`place`: `xid=… at=…` of PostgreSQL, `gtid=…` of MySQL; empty where it would not fit into a tag."""

    place: str
    counters: Counters

    def to_tags(self) -> dict[str, str]:
        tags = {COUNTERS: self.counters.to_tag()}
        if 0 < len(self.place) <= 256:
            tags[POSITION] = self.place
        return tags


def counters_of(tags: Mapping[str, str]) -> Counters | None:
    """Those that were kept with a snapshot."""
    pairs = _pairs(tags.get(COUNTERS, ""))
    try:
        return Counters(int(pairs["inserted"]), int(pairs["deleted"]), datetime.fromisoformat(pairs["started"]))
    except (KeyError, ValueError):
        return None


# --- PostgreSQL -------------------------------------------------------------------------------------------------------


def postgres_position(pg: Postgres) -> Position:
    place = ""
    try:
        row = pg.execute("SELECT xid::text, timestamp FROM pg_last_committed_xact()").fetchone()
        if row and row[0] and row[1]:
            place = f"xid={row[0]} at={row[1].astimezone(UTC).isoformat()}"
    except psycopg.errors.ObjectNotInPrerequisiteState:  # track_commit_timestamp is off
        pass
    return Position(place, postgres_counters(pg))


def postgres_counters(pg: Postgres) -> Counters:
    row = pg.execute(
        "SELECT coalesce(sum(n_tup_ins), 0)::bigint, coalesce(sum(n_tup_del), 0)::bigint, pg_postmaster_start_time() "
        "FROM pg_stat_user_tables"
    ).fetchone()
    assert row is not None  # an aggregate has a row
    return Counters(int(row[0]), int(row[1]), row[2].astimezone(UTC))


def postgres_contains(pg: Postgres, place: str) -> bool | None:
    """Whether a restored copy has the transaction; None where nothing can be said."""
    pairs = _pairs(place)
    if "xid" not in pairs or "at" not in pairs:
        return None
    try:
        row = pg.execute("SELECT pg_xact_commit_timestamp(%s::text::xid)", (pairs["xid"],)).fetchone()
    except psycopg.errors.DatabaseError:
        return None
    return bool(row and row[0] and row[0].astimezone(UTC) == datetime.fromisoformat(pairs["at"]))


def postgres_newest(pg: Postgres, until: datetime) -> datetime | None:
    """When the newest transaction before `until` was committed: what the restore itself has done is later."""
    try:
        row = pg.execute(
            """WITH next AS (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS id)
               SELECT max(pg_xact_commit_timestamp((x & 4294967295)::text::xid))
               FILTER (WHERE pg_xact_commit_timestamp((x & 4294967295)::text::xid) <= %s)
               FROM next, generate_series(greatest(next.id - %s, 3), next.id - 1) AS x WHERE (x & 4294967295) >= 3""",
            (until, LOOK_BACK),
        ).fetchone()
    except psycopg.errors.ObjectNotInPrerequisiteState:
        return None
    return row[0].astimezone(UTC) if row and row[0] else None


# --- MySQL ------------------------------------------------------------------------------------------------------------


def mysql_position(my: MySQL) -> Position:
    """In a tag, the commas of the GTID set are spaces."""
    [(executed,)] = _rows(my, "SELECT @@GLOBAL.gtid_executed")
    text = " ".join(str(executed).replace("\n", "").split(","))
    return Position(f"gtid={text}" if text else "", mysql_counters(my))


def mysql_counters(my: MySQL) -> Counters:
    names = "('Innodb_rows_inserted', 'Innodb_rows_deleted', 'Uptime')"
    status = dict(_rows(my, f"SHOW GLOBAL STATUS WHERE Variable_name IN {names}"))
    [(now,)] = _rows(my, "SELECT UTC_TIMESTAMP(6)")
    started = now.replace(tzinfo=UTC) - timedelta(seconds=int(status["Uptime"]))
    return Counters(int(status["Innodb_rows_inserted"]), int(status["Innodb_rows_deleted"]), started)


def mysql_contains(my: MySQL, place: str) -> bool | None:
    """Whether a restored copy has all of these transactions; None where nothing can be said."""
    if not place.startswith("gtid="):
        return None
    [(executed,)] = _rows(my, "SELECT @@GLOBAL.gtid_executed")
    wanted = GtidSet.parse(",".join(place.removeprefix("gtid=").split()))
    return (wanted - GtidSet.parse(str(executed))).count == 0


def mysql_newest(my: MySQL) -> datetime | None:
    """When the newest change that bears a time was made: the watermark, which whoever measures the lag moves on."""
    try:
        rows = _rows(my, "SELECT at FROM zdm.watermark WHERE id = 1")
    except pymysql.err.MySQLError:
        return None
    return rows[0][0].replace(tzinfo=UTC) if rows and rows[0][0] else None


def _rows(my: MySQL, statement: str) -> list[tuple[Any, ...]]:
    with my.cursor(pymysql.cursors.Cursor) as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())


def _pairs(text: str) -> dict[str, str]:
    return dict(word.split("=", 1) for word in text.split() if "=" in word)
