"""A breach on purpose: statements on Aurora that are slow, as after a lost index, so that a probation must
roll back."""

from __future__ import annotations

from collections.abc import Iterable

from contract.tables import postgres_name
from scripts.context import Context

NAME = "zdm_slow"
SHARE, SECONDS = 0.15, 0.4
"""So many of the statements take so long: the 95th percentile is beyond any bound, and most writes still get
through."""


def provoke(context: Context, tables: Iterable[str]) -> None:
    """Makes a share of the statements that write to these tables slow."""
    with context.postgres() as pg:
        pg.execute("SET lock_timeout = '5s'")
        pg.execute(
            f"CREATE OR REPLACE FUNCTION zdm.{NAME}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"IF random() < {SHARE} THEN PERFORM pg_sleep({SECONDS}); END IF; RETURN NULL; END $$"
        )
        pg.execute(f"GRANT EXECUTE ON FUNCTION zdm.{NAME}() TO PUBLIC")
        for table in tables:
            pg.execute(
                f"CREATE TRIGGER {NAME} AFTER INSERT OR UPDATE ON {postgres_name('public', table)} "
                f"FOR EACH STATEMENT EXECUTE FUNCTION zdm.{NAME}()".encode()
            )


def mend(context: Context, tables: Iterable[str]) -> None:
    """Takes that away again."""
    with context.postgres() as pg:
        for table in tables:
            pg.execute(f"DROP TRIGGER IF EXISTS {NAME} ON {postgres_name('public', table)}".encode())
        pg.execute(f"DROP FUNCTION IF EXISTS zdm.{NAME}()")
