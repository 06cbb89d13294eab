"""Dual mode: MySQL's origin also writes to Aurora what it has just committed, so that Aurora is fresh at once.

Invariants:
- MySQL is the truth. The second write is extra: CDC brings the same rows, whether the second write came or not.
- Whether there are second writes is a column of MySQL's fence row, read in the transaction of every write: turning it
  off or on needs no restart. Routers do not know of it.
- A row never goes back: a second write replaces a row only by a newer version of it, and a guard on Aurora drops what
  CDC brings of versions that are older than what is there. A version is the row's `updated_at`, which the service makes
  grow with every change. Whoever else changes such rows must do the same, or stay away while dual mode is on.
- The account of the second writes has what the sink has, through it, and so loses it with the sink at the cutover.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from contract.control import FENCE_COLUMNS, SINK_USER
from contract.tables import postgres_name

DUAL_USER: Final = "zdm_dual"
"""PostgreSQL's account of the second writes."""

VERSION_COLUMN: Final = "updated_at"
"""Rows of tables without it never change once they are there."""

SET_DUAL: Final = "UPDATE zdm.fence SET dual_writes = %s WHERE id = 1"
"""MySQL: 1 turns second writes on, 0 off. It waits for the writes under way."""

READ_FENCE_FOR_WRITE: Final = f"SELECT {FENCE_COLUMNS}, dual_writes FROM zdm.fence WHERE id = 1 FOR SHARE"
"""MySQL: the first statement of a transaction of the service; the last column is no part of the flag."""

READ_DUAL: Final = "SELECT dual_writes FROM zdm.fence WHERE id = 1"

GUARD: Final = "zdm_newer_only"
"""Name of the guard's trigger on each table that has versions."""

GUARDED: Final = f"SELECT c.relname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE t.tgname = '{GUARD}'"
"""PostgreSQL: the tables that have the guard."""

GRANT_DUAL: Final = f"GRANT {SINK_USER} TO {DUAL_USER}"

_FUNCTION = f"""CREATE OR REPLACE FUNCTION zdm.newer_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.{VERSION_COLUMN} < OLD.{VERSION_COLUMN} THEN
        RETURN NULL;
    END IF;
    RETURN NEW;
END $$"""


def guard(tables: Sequence[str]) -> Iterator[str]:
    """What puts the guard on `tables` in `public`; all of them must have the version column."""
    yield _FUNCTION
    for table in tables:
        yield (
            f"CREATE OR REPLACE TRIGGER {GUARD} BEFORE UPDATE ON {postgres_name('public', table)} "
            "FOR EACH ROW EXECUTE FUNCTION zdm.newer_only()"
        )


def unguard(tables: Sequence[str]) -> Iterator[str]:
    """What takes it away. Only when CDC has brought all that was written before."""
    for table in tables:
        yield f"DROP TRIGGER IF EXISTS {GUARD} ON {postgres_name('public', table)}"
