"""The control tables: what services and commands agree on inside the two databases, schema (database) `zdm` on either
side.

Invariants:
- `zdm.fence` has one row, id 1: the flag as this database's own truth. A write is allowed only if that row allows it,
  and the row is read INSIDE the write's transaction, before the first change, so that a change of the row waits for
  every write it would have refused.
- MySQL: the writer reads the row FOR SHARE; the controller's UPDATE waits for those locks.
- PostgreSQL: the writer takes the advisory lock `LOCK_KEY` shared, and reads the row in a SECOND statement (READ
  COMMITTED: the statement's snapshot must be taken after the lock was granted). The controller takes the lock
  exclusively.
- Rows are only replaced by a flag with a higher (epoch, v): `UPDATE_FENCE` is a compare-and-set.

Placeholders are `%s` (PyMySQL, asyncmy, psycopg); no statement with placeholders is meant for asyncpg.
"""

from __future__ import annotations

from typing import Any, Final

from contract.flag import Flag, FlagError, Side, Writes

SCHEMA: Final = "zdm"
"""Schema in PostgreSQL and database in MySQL of everything here."""

WATERMARK: Final = "watermark"
IDEMPOTENCY: Final = "idempotency"

CARRIED: Final = (WATERMARK, IDEMPOTENCY)
"""The control tables that replication carries along with the shop's tables, whichever way it goes: the marker, and what
was answered to which idempotency key. A write that MySQL answered before the cutover must be known to Aurora after it.
"""

LOCK_KEY: Final = 0x7A646D
"""PostgreSQL's advisory lock that orders writes and changes of the fence."""

OPERATOR_LOCK: Final = "zdm:cutover"
"""MySQL's user lock (GET_LOCK) of whoever changes authority; one at a time."""

OPERATOR_LOCK_KEY: Final = 0x7A646D6F
"""PostgreSQL's advisory lock for the same; never the one that writers take."""

CDC_USER: Final = "zdm_cdc"
SINK_USER: Final = "zdm_sink"
APP_USER: Final = "shop_app"
PROBE_USER: Final = "zdm_probe"
"""On both sides: writes the watermark's one row on MySQL, reads the stored verdicts on PostgreSQL."""

WRITER_ROLE: Final = "zdm_writer"
"""PostgreSQL: holds all write privileges on the shop's tables. Its one member is the sink before the cutover, the app
after.
"""

READER_ROLE: Final = "zdm_reader"

FENCE_COLUMNS: Final = "v, epoch, weight, writes, mode"

READ_FENCE: Final = f"SELECT {FENCE_COLUMNS} FROM zdm.fence WHERE id = 1"
"""Either side, no lock: for reads, and for `GET /__zdm/flag`."""

MYSQL_READ_FENCE_FOR_WRITE: Final = f"{READ_FENCE} FOR SHARE"
"""MySQL: the first statement of a transaction that writes."""

POSTGRES_LOCK_FOR_WRITE: Final = f"SELECT pg_advisory_xact_lock_shared({LOCK_KEY})"
"""PostgreSQL: the first statement of a transaction that writes; `READ_FENCE` is the second."""

POSTGRES_LOCK_FOR_CHANGE: Final = f"SELECT pg_advisory_xact_lock({LOCK_KEY})"
"""PostgreSQL: the first statement of a transaction that changes the fence row."""

UPDATE_FENCE: Final = (
    "UPDATE zdm.fence SET v = %s, epoch = %s, weight = %s, writes = %s, mode = %s "
    "WHERE id = 1 AND epoch = %s AND v = %s"
)
"""Either side: the new flag's `fence_values`, then epoch and v of the flag it replaces. No row changed: someone was
first.
"""

SET_FENCE: Final = (
    "UPDATE zdm.fence SET v = %s, epoch = %s, weight = %s, writes = %s, mode = %s "
    "WHERE id = 1 AND (epoch < %s OR (epoch = %s AND v < %s))"
)
"""Either side: adopt a newer flag whatever is there; values as `adopt_values` gives them."""

MYSQL_NOT_ALLOWED: Final = frozenset({1290, 1836, 1142, 1143})
"""Errors of a fenced MySQL: read only (1290, 1836), no privilege (1142, 1143)."""

POSTGRES_NOT_ALLOWED: Final = frozenset({"42501", "25006"})
"""SQLSTATEs of a fenced PostgreSQL: no privilege, read only transaction."""

MYSQL_DDL: Final = (
    "CREATE DATABASE IF NOT EXISTS zdm CHARACTER SET utf8mb4",
    """CREATE TABLE IF NOT EXISTS zdm.fence (
        id INT NOT NULL PRIMARY KEY, v BIGINT NOT NULL, epoch BIGINT NOT NULL, weight DECIMAL(5,2) NOT NULL,
        writes VARCHAR(8) NOT NULL, mode VARCHAR(8) NOT NULL, dual_writes BOOLEAN NOT NULL DEFAULT FALSE)
        ENGINE=InnoDB""",
    """CREATE TABLE IF NOT EXISTS zdm.watermark (
        id INT NOT NULL PRIMARY KEY, marker CHAR(36) NOT NULL, at DATETIME(6) NOT NULL) ENGINE=InnoDB""",
    """CREATE TABLE IF NOT EXISTS zdm.journal (
        seq BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, run CHAR(36) NOT NULL, state VARCHAR(16) NOT NULL,
        at DATETIME(6) NOT NULL, epoch BIGINT NOT NULL, detail JSON NOT NULL) ENGINE=InnoDB""",
    """CREATE TABLE IF NOT EXISTS zdm.pause_probe (
        id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, at DATETIME(6) NOT NULL) ENGINE=InnoDB""",
    """CREATE TABLE IF NOT EXISTS zdm.idempotency (
        id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY, request VARCHAR(64) NOT NULL,
        status SMALLINT NOT NULL, answer MEDIUMTEXT NOT NULL, at DATETIME(6) NOT NULL,
        KEY idempotency_by_age (at)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4""",
)
"""MySQL's control tables, in order. Times are UTC. `idempotency`: see `services.origin.idempotency`."""

POSTGRES_DDL: Final = (
    "CREATE SCHEMA IF NOT EXISTS zdm",
    """CREATE TABLE IF NOT EXISTS zdm.fence (
        id integer PRIMARY KEY, v bigint NOT NULL, epoch bigint NOT NULL, weight numeric(5,2) NOT NULL,
        writes text NOT NULL, mode text NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS zdm.watermark (
        id integer PRIMARY KEY, marker text NOT NULL, at timestamp(6) NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS zdm.journal (
        seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, run text NOT NULL, state text NOT NULL,
        at timestamptz NOT NULL DEFAULT clock_timestamp(), epoch bigint NOT NULL, detail jsonb NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS zdm.record (
        seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, kind text NOT NULL,
        at timestamptz NOT NULL DEFAULT clock_timestamp(), verdict text NOT NULL, body jsonb NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS zdm.pause_probe (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp())""",
    "CREATE INDEX IF NOT EXISTS record_by_kind ON zdm.record (kind, seq)",
    """CREATE TABLE IF NOT EXISTS zdm.idempotency (
        id varchar(64) COLLATE "C" PRIMARY KEY, request varchar(64) NOT NULL, status smallint NOT NULL,
        answer text NOT NULL, at timestamp(6) NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS idempotency_by_age ON zdm.idempotency (at)",
    """CREATE TABLE IF NOT EXISTS zdm.copy_run (
        run text PRIMARY KEY, started timestamptz NOT NULL DEFAULT clock_timestamp(), state text NOT NULL,
        gtid_set text NOT NULL, offsets json NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS zdm.copy_table (
        run text NOT NULL, table_name text NOT NULL, definition json NOT NULL, PRIMARY KEY (run, table_name))""",
    """CREATE TABLE IF NOT EXISTS zdm.copy_segment (
        run text NOT NULL, table_name text NOT NULL, number integer NOT NULL, after_key json, upto_key json,
        last_key json, rows bigint NOT NULL DEFAULT 0, bytes bigint NOT NULL DEFAULT 0,
        set_aside bigint NOT NULL DEFAULT 0, done boolean NOT NULL DEFAULT false,
        PRIMARY KEY (run, table_name, number))""",
    """CREATE TABLE IF NOT EXISTS zdm.copy_poison (
        seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, run text NOT NULL, table_name text NOT NULL,
        key json NOT NULL, column_name text NOT NULL, reason text NOT NULL,
        at timestamptz NOT NULL DEFAULT clock_timestamp())""",
    """CREATE TABLE IF NOT EXISTS zdm.check_run (
        run text PRIMARY KEY, kind text NOT NULL, started timestamptz NOT NULL DEFAULT clock_timestamp(),
        ended timestamptz, verdict text, marker json, options json NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS zdm.check_table (
        run text NOT NULL, table_name text NOT NULL, definition text NOT NULL, method text NOT NULL,
        ranges json NOT NULL, PRIMARY KEY (run, table_name))""",
    """CREATE TABLE IF NOT EXISTS zdm.check_chunk (
        n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, run text NOT NULL, table_name text NOT NULL,
        after_key json, upto_key json, source_rows bigint NOT NULL, target_rows bigint NOT NULL, digest text,
        verdict text NOT NULL, suspects json NOT NULL, seconds double precision NOT NULL,
        at timestamptz NOT NULL DEFAULT clock_timestamp(), dirty boolean NOT NULL DEFAULT false)""",
    "CREATE INDEX IF NOT EXISTS check_chunk_by_table ON zdm.check_chunk (run, table_name)",
)
"""PostgreSQL's control tables, in order. Only here: `record`, the stored verdicts of copy, check, gate and cutover,
`copy_*`, where the copy is (`scripts.data.copy_state`), and `check_*`, what was checked chunk by chunk
(`scripts.data.check_state`). Keys are `json`, not `jsonb`: they may hold U+0000.
"""

INITIAL_FLAG: Final = Flag(v=1, epoch=1, weight=0.0, writes=Writes.OPEN, mode=Side.MYSQL)
"""Where every migration starts: MySQL is the writer and serves all reads."""

MARK_WATERMARK: Final = "UPDATE zdm.watermark SET marker = %s, at = UTC_TIMESTAMP(6) WHERE id = 1"
"""MySQL: a new marker (a UUID) into the one row that CDC carries to show how far it is."""

MARK_POSTGRES: Final = (
    "INSERT INTO zdm.watermark (id, marker, at) VALUES (1, %s, clock_timestamp() AT TIME ZONE 'UTC') "
    "ON CONFLICT (id) DO UPDATE SET marker = excluded.marker, at = excluded.at"
)
"""PostgreSQL: the same, for the way back."""

DATA_CHECK: Final = "data-check"
"""Kind of the stored verdicts of data checks."""

COPY: Final = "copy"
"""Kind of the stored results of copies."""

LAST_RECORD: Final = "SELECT at, verdict, body FROM zdm.record WHERE kind = %s ORDER BY seq DESC LIMIT 1"
"""PostgreSQL: the last stored verdict of a kind."""

INSERT_FENCE: Final = "INSERT INTO zdm.fence (id, v, epoch, weight, writes, mode) VALUES (1, %s, %s, %s, %s, %s)"
"""Either side: values are `fence_values(INITIAL_FLAG)`; only when the row is not there."""


def flag_of_row(row: tuple[Any, ...] | list[Any]) -> Flag:
    """The flag from a row of `READ_FENCE`, whatever the driver's types for numbers. Raises `FlagError`."""
    v, epoch, weight, writes, mode = row
    try:
        return Flag(v=int(v), epoch=int(epoch), weight=float(weight), writes=Writes(writes), mode=Side(mode))
    except ValueError as e:
        raise FlagError(f"the row of zdm.fence holds no flag: {e}") from e


def fence_values(flag: Flag) -> tuple[int, int, float, str, str]:
    """The flag as values for `FENCE_COLUMNS`."""
    return flag.v, flag.epoch, flag.weight, flag.writes.value, flag.mode.value


def adopt_values(flag: Flag) -> tuple[int, int, float, str, str, int, int, int]:
    """The values of `SET_FENCE`."""
    return (*fence_values(flag), flag.epoch, flag.epoch, flag.v)
