"""The rollback's acts: Aurora is closed, MySQL is opened.

MySQL is `read_only` all the while and not `super_read_only`, so the sink of the way back and the controller can write.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import pymysql

from contract.control import APP_USER
from contract.flag import Flag, Side
from contract.tables import Table, mysql_name, postgres_name
from contract.way_back import MYSQL_SINK_USER
from scripts.data.rules import SCHEMA
from scripts.errors import ZdmError
from scripts.switch import journal
from scripts.switch.fence import Closed, postgres_place
from scripts.switch.hands import Hands, after
from scripts.switch.journal import State

PATIENCE = 0.5
"""Seconds that statements of the application may take to end by themselves when its right to write is gone."""


class BackHands(Hands):
    """Aurora to MySQL."""

    target = Side.MYSQL

    def get_ready(self) -> list[str]:
        return []

    def fence(self, run: str, held: Flag, before: Flag) -> Closed:
        """Fences twice: the row and the right, which wait for writes under way and refuse new ones; then what passed
        its check before.
        """
        c, detail = self.c, {"direction": journal.Direction.ROLLBACK}

        def note() -> None:
            c.take_right_to_write()
            journal.write_postgres(c.postgres, run, State.FENCED, held.epoch, detail)

        c.set_postgres(held, before, note)
        ended = c.end_statements(APP_USER, PATIENCE)
        c.set_mysql(held, None, lambda cursor: journal.write_mysql(cursor, run, State.FENCED, held.epoch, detail))
        self.publish(held)
        return Closed(postgres_place(c.postgres), ended=ended)

    def stop_sink(self) -> None:
        self.c.lock_mysql_account(MYSQL_SINK_USER)

    def prepare(self, tables: Sequence[Table]) -> dict[str, Any]:
        """Numbers that Aurora has given are not given again, even if their rows are gone."""
        c, moved = self.c, {}
        c.cursor.execute("SET SESSION sql_log_bin = 0")
        try:
            for table in tables:
                for column in table.columns:
                    if not column.auto_increment:
                        continue
                    following = self._following(table, column.name)
                    name = f"{mysql_name(self.context.outputs.database)}.{mysql_name(table.name)}"
                    if following > self._next(table):
                        c.cursor.execute(f"ALTER TABLE {name} AUTO_INCREMENT = {following}")
                        moved[column.path] = following
        finally:
            c.cursor.execute("SET SESSION sql_log_bin = 1")
        return {"autoIncrement": moved}

    def _following(self, table: Table, column: str) -> int:
        relation = postgres_name(SCHEMA, table.name)
        row = self.c.postgres.execute("SELECT pg_get_serial_sequence(%s, %s)", (relation, column)).fetchone()
        if row is None or row[0] is None:
            return 0
        [(following,)] = self.c.postgres.execute(
            f"SELECT last_value + is_called::int FROM {row[0]}".encode()
        ).fetchall()
        return int(following)

    def _next(self, table: Table) -> int:
        """InnoDB's own number, past the statistics that information_schema keeps for a day."""
        self.c.cursor.execute("SET SESSION information_schema_stats_expiry = 0")
        rows = self.c.query(
            "SELECT auto_increment FROM information_schema.tables WHERE table_schema = %s AND table_name = %s",
            self.context.outputs.database,
            table.name,
        )
        return int(rows[0][0] or 0) if rows else 0

    def open(self, run: str, opened: Flag) -> dict[str, Any]:
        c = self.c
        c.set_postgres(opened)
        c.cursor.execute("SET GLOBAL super_read_only = OFF")
        c.lock_mysql_account(MYSQL_SINK_USER)
        c.open_mysql(
            lambda: c.set_mysql(
                opened, None, lambda cursor: journal.write_mysql(cursor, run, State.OPEN, opened.epoch, {})
            )
        )
        journal.write_postgres(c.postgres, run, State.OPEN, opened.epoch, {})
        self.publish(opened)
        return {}

    def undo(self, run: journal.Run, certain: bool) -> Flag:
        c = self.c
        flags = [c.postgres_flag()]
        with contextlib.suppress(pymysql.err.MySQLError, OSError, ZdmError):  # Aurora is opened without MySQL too
            flags.append(c.mysql_flag())
        flag = after(run, max(flags, key=lambda f: (f.epoch, f.v)))

        def note() -> None:
            c.move_right_to_write(Side.AURORA)
            journal.write_postgres(c.postgres, run.id, State.UNDONE, flag.epoch, {})

        c.set_postgres(flag, None, note)
        with contextlib.suppress(pymysql.err.MySQLError, OSError):
            c.unlock_mysql_account(MYSQL_SINK_USER)
            c.set_mysql(flag, None, lambda cursor: journal.write_mysql(cursor, run.id, State.UNDONE, flag.epoch, {}))
        self.publish(flag)
        return flag
