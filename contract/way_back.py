"""The way back: names and SQL of replication from PostgreSQL to MySQL, which is prepared before the cutover and starts
only when the way there has stopped.

Invariants:
- Each start is a new round: a new slot, a new topic prefix. What an earlier round left in topics is never applied.
- Round, slot and prefix belong together; the publication and the accounts stay.
- Sessions that write to MySQL leave no trace in its binary log, so nothing goes round in a circle.
- Tables have REPLICA IDENTITY FULL while it is prepared: without it, an update leaves out large values (TOAST) that it
  did not change, and a placeholder would be written in their place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from contract.control import CARRIED, SCHEMA
from contract.tables import mysql_name, postgres_name

REVERSE_USER: Final = "zdm_reverse"
"""PostgreSQL's account of the capture on the way back."""
MYSQL_SINK_USER: Final = "zdm_sink"
"""MySQL's account of the writer on the way back."""
PUBLICATION: Final = "zdm_back"

MYSQL_SESSION: Final[dict[str, str]] = {
    "sql_log_bin": "0",
    "foreign_key_checks": "0",
    "time_zone": "'+00:00'",
}
"""Variables of every session that writes to MySQL.

`sql_log_bin=0` needs SESSION_VARIABLES_ADMIN. Without checks of foreign keys a child may arrive before its parent, and
MySQL does not cascade what PostgreSQL cascaded already (its own rows come along).
"""


def slot(round_: int) -> str:
    """The replication slot of a round (lower case letters, digits and `_` only, as PostgreSQL wants them)."""
    return f"{PUBLICATION}_{round_}"


def prefix(forward: str, round_: int) -> str:
    """The topic prefix of a round, next to the one of the way there."""
    return f"{forward}-back{round_}"


def postgres_prepare(database: str, tables: Sequence[str]) -> Iterator[str]:
    """What PostgreSQL's administrator runs once, in order; `tables` are the captured ones in `public`.

    Aurora knows `rds_replication` in place of the attribute REPLICATION, which only a superuser could give.
    """
    captured = [("public", table) for table in tables] + [(SCHEMA, table) for table in CARRIED]
    user = postgres_name(REVERSE_USER)
    yield f"GRANT rds_replication TO {user}"
    yield f"GRANT CONNECT ON DATABASE {postgres_name(database)} TO {user}"
    for schema in ("public", SCHEMA):
        yield f"GRANT USAGE ON SCHEMA {postgres_name(schema)} TO {user}"
    names = ", ".join(postgres_name(*name) for name in captured)
    yield f"GRANT SELECT ON {names} TO {user}"
    for name in captured:
        yield f"ALTER TABLE {postgres_name(*name)} REPLICA IDENTITY FULL"
    yield f"CREATE PUBLICATION {postgres_name(PUBLICATION)} FOR TABLE {names}"


def postgres_slot(name: str) -> str:
    """Makes the slot of a round: from here on PostgreSQL holds its log for the way back."""
    return f"SELECT lsn::text FROM pg_create_logical_replication_slot('{name}', 'pgoutput')"


def postgres_drop_slot(name: str) -> str:
    """Drops it, unless it is in use or not there."""
    unused = f"SELECT slot_name FROM pg_replication_slots WHERE slot_name = '{name}' AND NOT active"
    return f"SELECT pg_drop_replication_slot(slot_name) FROM ({unused}) AS unused"


def mysql_prepare(database: str, user: str = MYSQL_SINK_USER) -> Iterator[str]:
    """What MySQL's administrator grants the writer, who writes while everybody else may only read (read_only)."""
    account = f"'{user}'@'%'"
    for name in (mysql_name(database), mysql_name(SCHEMA)):
        yield f"GRANT SELECT, INSERT, UPDATE, DELETE ON {name}.* TO {account}"
    yield f"GRANT SESSION_VARIABLES_ADMIN, CONNECTION_ADMIN ON *.* TO {account}"
