"""What must hold before anyone is paused. Each check looks, changes nothing, and answers with problems and their way
out.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

from contract.control import APP_USER, SINK_USER, WRITER_ROLE
from contract.flag import Side, Writes
from contract.tables import Table, postgres_name
from scripts.context import Context
from scripts.data.lag import Sampler
from scripts.errors import ZdmError
from scripts.switch import gate_record, journal, way_back
from scripts.switch.fence import Controller

MAX_CHECK_AGE = timedelta(hours=24)
"""The last clean data-check may be this old; what changed since is compared again."""

LONG_TRANSACTION = 5
"""Seconds. An older transaction with changes may be lost by the fence, or hold it up."""

LAG_PATIENCE = 30.0
"""Seconds that the lag may take to come down."""

_DDL = re.compile(
    r"^\s*(/\*.*?\*/\s*)*(ALTER|CREATE|DROP|RENAME|TRUNCATE|OPTIMIZE|REPAIR|REINDEX|VACUUM\s+FULL|CLUSTER)\b",
    re.I | re.S,
)

FENCE_PRIVILEGES = (
    ("SYSTEM_VARIABLES_ADMIN", "to set read_only"),
    ("CONNECTION_ADMIN", "to write its markers then"),
)
"""What the admin account needs on MySQL for a cutover."""

Check = Callable[[Context, Controller, Sequence[Table]], Iterator[str]]


def problems(context: Context, c: Controller, tables: Sequence[Table]) -> list[str]:
    """Everything that stands in the way of a cutover."""
    return [problem for check in CHECKS for problem in check(context, c, tables)]


def problems_back(context: Context, c: Controller, tables: Sequence[Table]) -> list[str]:
    """Everything that stands in the way of a rollback."""
    return [problem for check in CHECKS_BACK for problem in check(context, c, tables)]


def fence_rows(_: Context, c: Controller, __: Sequence[Table]) -> Iterator[str]:
    my, pg = c.mysql_flag(), c.postgres_flag()
    if my != pg:
        yield (
            f"the fences differ (MySQL {my.to_json()}, PostgreSQL {pg.to_json()}): "
            "run `./zdm traffic set` with the weight wanted"
        )
    if my.mode is not Side.MYSQL:
        yield "Aurora is the writer already"
    elif my.writes is not Writes.OPEN:
        yield f"writes are {my.writes.value}: run `./zdm traffic release` first"


def privileges(_: Context, c: Controller, __: Sequence[Table]) -> Iterator[str]:
    [(roles,)] = c.query("SELECT CURRENT_ROLE()")
    using = "" if roles == "NONE" else f" USING {roles}"
    grants = " ".join(row[0] for row in c.query(f"SHOW GRANTS FOR CURRENT_USER(){using}"))
    for privilege, purpose in FENCE_PRIVILEGES:
        if privilege not in grants and " SUPER" not in grants:
            yield (
                f"the account of outputs.source.adminSecret lacks {privilege}, which the cutover needs {purpose}: "
                f"GRANT {privilege} ON *.* TO it "
                "(RDS for MySQL does not grant it: fence such a source by its parameter group)"
            )


def source_is_writable(_: Context, c: Controller, __: Sequence[Table]) -> Iterator[str]:
    [(read_only, super_read_only)] = c.query("SELECT @@GLOBAL.read_only, @@GLOBAL.super_read_only")
    if read_only or super_read_only:
        yield "MySQL is read only already: is this the source, and who closed it?"
    if c.query("SHOW REPLICA STATUS"):
        yield "MySQL is itself a replica, and replication writes through every fence: stop it and run RESET REPLICA ALL"


def long_transactions(_: Context, c: Controller, __: Sequence[Table]) -> Iterator[str]:
    for thread, seconds in c.query(
        "SELECT trx_mysql_thread_id, TIMESTAMPDIFF(SECOND, trx_started, NOW()) FROM information_schema.innodb_trx "
        "WHERE trx_started < NOW() - INTERVAL %s SECOND AND (trx_rows_modified > 0 OR trx_lock_structs > 0)",
        LONG_TRANSACTION,
    ):
        yield f"MySQL connection {thread} has had a transaction with locks open for {seconds} s: end it"
    for pid, seconds, user in c.postgres.execute(
        "SELECT pid, extract(epoch FROM clock_timestamp() - xact_start)::int, usename FROM pg_stat_activity "
        "WHERE xact_start < clock_timestamp() - make_interval(secs => %s) AND pid <> pg_backend_pid() "
        "AND backend_type = 'client backend' AND backend_xid IS NOT NULL",
        (LONG_TRANSACTION,),
    ):
        yield f"PostgreSQL session {pid} ({user}) has had a changing transaction open for {seconds} s: end it"


def running_ddl(_: Context, c: Controller, __: Sequence[Table]) -> Iterator[str]:
    for row in c.query("SHOW FULL PROCESSLIST"):
        if row[7] and _DDL.match(row[7]):
            yield f"MySQL connection {row[0]} runs DDL ({row[7][:60]}): wait for it"
    for pid, query in c.postgres.execute(
        "SELECT pid, query FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid()"
    ):
        if query and _DDL.match(query):
            yield f"PostgreSQL session {pid} runs DDL ({query[:60]}): wait for it"


def target_schema(context: Context, c: Controller, tables: Sequence[Table]) -> Iterator[str]:
    there = {
        name
        for (name,) in c.postgres.execute(
            "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace"
        )
    }
    missing = sorted(t.name for t in tables if t.name not in there)
    if missing:
        yield f"PostgreSQL has no table {', '.join(missing)}: run `./zdm schema`"
    for table in tables:
        for column in table.columns:
            if column.auto_increment and table.name not in missing:
                relation = postgres_name("public", table.name)
                row = c.postgres.execute("SELECT pg_get_serial_sequence(%s, %s)", (relation, column.name)).fetchone()
                if row is None or row[0] is None:
                    yield f"{column.path} has no sequence on PostgreSQL: run `./zdm schema`"
        if not table.primary_key:
            yield f"{table.name} has no primary key, so it can be neither captured nor verified by key: give it one"
    members = {
        name
        for (name,) in c.postgres.execute(
            "SELECT m.rolname FROM pg_auth_members a "
            "JOIN pg_roles g ON g.oid = a.roleid JOIN pg_roles m ON m.oid = a.member "
            "WHERE g.rolname = %s",
            (WRITER_ROLE,),
        )
    }
    if SINK_USER not in members or APP_USER in members:
        yield f"on PostgreSQL {WRITER_ROLE} must have the member {SINK_USER}, and not {APP_USER}: run `./zdm bootstrap`"


def clean_check(context: Context, c: Controller, _: Sequence[Table]) -> Iterator[str]:
    record = journal.last_record(c.postgres, journal.DATA_CHECK)
    if record is None:
        yield "no data-check has been stored: run `./zdm data-check`"
    elif not record.ok:
        yield f"the last data-check ({record.at:%F %T} UTC) found differences: repair them, and run it again"
    elif datetime.now(UTC) - record.at > MAX_CHECK_AGE:
        yield f"the last data-check is from {record.at:%F %T} UTC, older than {MAX_CHECK_AGE}: run it again"
    elif not {context.outputs.topic_of(t) for t in context.outputs.pipeline.tables} <= set(
        record.body.get("started") or {}
    ):
        yield "the last data-check was not of all tables: run `./zdm data-check` without --table"


def passed_gate(context: Context, c: Controller, _: Sequence[Table]) -> Iterator[str]:
    record = journal.last_record(c.postgres, journal.GATE)
    yield from gate_record.refusals(context, None if record is None else record.body, c.mysql_flag())


def small_lag(context: Context, _: Controller, __: Sequence[Table]) -> Iterator[str]:
    bound = min(context.outputs.kpis.lag_seconds, context.outputs.kpis.abort_seconds / 4)
    deadline = time.monotonic() + LAG_PATIENCE
    with Sampler(context) as sampler:
        sample = sampler.sample(bound)
        while sample.seconds > bound and time.monotonic() < deadline:  # one hiccup is no reason to turn back
            sample = sampler.sample(1.0)
    for name, seconds in sample.tables.items():
        if seconds > bound:
            yield (
                f"{name} is {seconds:.1f} s late, more than the {bound:g} s that leave time for the drain: "
                "wait, or look at the sink"
            )


def room_for_the_way_back(context: Context, c: Controller, _: Sequence[Table]) -> Iterator[str]:
    """Each round of the way back begins at its own slot, under its own prefix."""
    back = context.outputs.pipeline.way_back
    if back is None:
        return
    if back.state != "stopped":
        yield f"the way back runs: ./zdm up {context.outputs.stack} -c cdc.reverse=stopped -c cdc.state=running"
    elif way_back.slot_state(c.postgres, back)[0]:
        yield f"the slot {back.slot} is there already: raise cdc.reverseRound, so that a new round has a new slot"
    level = c.postgres.execute("SHOW wal_level").fetchone()
    if level is None or level[0] != "logical":
        yield "Aurora's log is not logical: set rds.logical_replication=1 in its cluster parameter group and restart it"


def aurora_is_writer(context: Context, c: Controller, _: Sequence[Table]) -> Iterator[str]:
    flag = c.postgres_flag()
    if flag.mode is not Side.AURORA:
        yield "MySQL is the writer already"
    elif flag.writes is not Writes.OPEN:
        yield f"writes are {flag.writes.value}: run `./zdm traffic release` first"


def way_back_carries(context: Context, c: Controller, _: Sequence[Table]) -> Iterator[str]:
    try:
        seconds = way_back.await_running(context, context.outputs.kpis.lag_seconds)
    except ZdmError as e:
        yield str(e)
        return
    bound = context.outputs.kpis.abort_seconds / 4
    if seconds > bound:
        yield f"MySQL is {seconds:.1f} s behind Aurora, more than the {bound:g} s that leave time for the drain: wait"


def mysql_waits(_: Context, c: Controller, __: Sequence[Table]) -> Iterator[str]:
    [(read_only, super_read_only)] = c.query("SELECT @@GLOBAL.read_only, @@GLOBAL.super_read_only")
    if not read_only:
        yield "MySQL is not read only, so somebody may have written to it since the cutover: compare both sides first"
    elif super_read_only:
        yield "MySQL is super_read_only, so the way back cannot write: was it given up (`./zdm cutover final`)?"


CHECKS: tuple[Check, ...] = (
    fence_rows,
    privileges,
    source_is_writable,
    long_transactions,
    running_ddl,
    target_schema,
    clean_check,
    passed_gate,
    small_lag,
    room_for_the_way_back,
)

CHECKS_BACK: tuple[Check, ...] = (
    aurora_is_writer,
    privileges,
    mysql_waits,
    long_transactions,
    running_ddl,
    way_back_carries,
)
