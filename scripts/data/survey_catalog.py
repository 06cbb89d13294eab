"""What the source's catalog says: tables and their sizes, objects, settings, privileges, load. No table is read.

What an account may not look at is not guessed: it is named in `Catalog.unknown`, with the reason.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pymysql
import pymysql.cursors
from pymysql.connections import Connection

from contract.control import CDC_USER
from contract.tables import Table
from scripts.data.inspect import Obstacle, server_version
from scripts.data.survey_result import Heat, LongTransaction, Privilege, Setting
from scripts.switch.bootstrap import BINLOG_RETENTION_SECONDS, SOURCE_SETTINGS, mysql_needs, mysql_privileges
from scripts.switch.preflight import FENCE_PRIVILEGES

LONG_SECONDS: Final = 60
"""A transaction open for longer is worth a word: it holds up purge and DDL, and at a cutover it is in the way."""

_OTHER_SETTINGS: Final = {
    "binlog_row_value_options": ("", True, "PARTIAL_JSON leaves CDC without the whole value"),
    "binlog_row_metadata": (
        "FULL",
        False,
        "MINIMAL leaves column names and keys out of the binlog: Debezium does without",
    ),
    "server_id": ("1 or more", True, "a server without an id cannot be replicated from"),
    "binlog_expire_logs_seconds": (
        f"{BINLOG_RETENTION_SECONDS} or more, or 0",
        False,
        "the binlog must outlast the copy; `./zdm bootstrap` sets it",
    ),
    "max_allowed_packet": ("", False, ""),
    "sql_mode": ("", False, ""),
    "character_set_server": ("", False, ""),
    "collation_server": ("", False, ""),
    "time_zone": ("", False, ""),
    "lower_case_table_names": ("", False, ""),
    "max_connections": ("", False, ""),
    "read_only": ("OFF", False, "is this the source that applications write to?"),
    "performance_schema": ("", False, ""),
}
"""Name: (value wanted, whether another is in the way, why)."""

_ADMIN_NEEDS: Final = (
    ("SELECT", "to read the tables: survey, schema, copy and check"),
    ("SHOW VIEW", "to read what views are made of"),
    ("TRIGGER", "to see triggers"),
    ("EVENT", "to see events"),
    ("CREATE", "to make the control tables: bootstrap"),
    ("CREATE USER", "to make the accounts: bootstrap"),
    ("GRANT OPTION", "to give them their privileges: bootstrap"),
    ("RELOAD", "to give it to the CDC account: bootstrap"),
    ("REPLICATION SLAVE", "to give it to the CDC account: bootstrap"),
    ("REPLICATION CLIENT", "to record the GTID set and the binlog's position: copy"),
    ("PROCESS", "to see long transactions: survey and cutover"),
    *((privilege, f"{purpose}: cutover") for privilege, purpose in FENCE_PRIVILEGES),
)


@dataclass(frozen=True, slots=True)
class TableSizes:
    rows: int
    data_bytes: int
    index_bytes: int
    auto_increment: int | None
    collation: str


@dataclass
class Catalog:
    server: str
    sizes: dict[str, TableSizes]
    triggers: dict[str, list[str]]
    objects: dict[str, list[str]]
    charsets: dict[str, int]
    settings: list[Setting]
    privileges: list[Privilege]
    transactions: list[LongTransaction]
    heat: dict[str, Heat]
    obstacles: list[Obstacle] = field(default_factory=list)
    """From settings, privileges and transactions."""
    unknown: list[str] = field(default_factory=list)


def read(my: Connection[Any], database: str, tables: Sequence[Table]) -> Catalog:
    """Looks at everything but the rows. `tables` as `inspect.mysql_tables` has them."""
    unknown: list[str] = []
    ((server,),) = _rows(my, "SELECT CONCAT('MySQL ', VERSION())")
    settings = _settings(my, database, unknown)
    privileges = _privileges(my, database)
    transactions = _transactions(my, unknown)
    catalog = Catalog(
        server=str(server),
        sizes=_sizes(my, database),
        triggers=_triggers(my, database),
        objects=_objects(my, database),
        charsets=dict(Counter(c.collation for t in tables for c in t.columns if c.collation).most_common()),
        settings=settings,
        privileges=privileges,
        transactions=transactions,
        heat=_heat(my, database, unknown),
        unknown=unknown,
    )
    catalog.obstacles = [*_from_settings(settings), *_from_privileges(privileges), *_from_transactions(transactions)]
    return catalog


def _sizes(my: Connection[Any], database: str) -> dict[str, TableSizes]:
    return {
        name: TableSizes(int(rows or 0), int(data or 0), int(index or 0), number, collation or "")
        for name, rows, data, index, number, collation in _rows(
            my,
            "SELECT table_name, table_rows, data_length, index_length, auto_increment, table_collation "
            "FROM information_schema.tables WHERE table_schema = %s AND table_type = 'BASE TABLE'",
            database,
        )
    }


def _triggers(my: Connection[Any], database: str) -> dict[str, list[str]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for table, name in _rows(
        my,
        "SELECT event_object_table, trigger_name FROM information_schema.triggers WHERE trigger_schema = %s "
        "ORDER BY 1, action_order",
        database,
    ):
        found[table].append(name)
    return dict(found)


def _objects(my: Connection[Any], database: str) -> dict[str, list[str]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for kind, name in _rows(
        my,
        "SELECT 'views', table_name FROM information_schema.views WHERE table_schema = %s UNION ALL "
        "SELECT IF(routine_type = 'FUNCTION', 'functions', 'procedures'), routine_name "
        "FROM information_schema.routines WHERE routine_schema = %s UNION ALL "
        "SELECT 'events', event_name FROM information_schema.events WHERE event_schema = %s",
        database,
        database,
        database,
    ):
        found[kind].append(name)
    return {kind: sorted(found[kind]) for kind in ("views", "procedures", "functions", "events") if kind in found}


# --- Settings ---------------------------------------------------------------------------------------------------------


def _settings(my: Connection[Any], database: str, unknown: list[str]) -> list[Setting]:
    have = {str(name): str(value) for name, value in _rows(my, "SHOW GLOBAL VARIABLES")}
    found = [
        Setting(
            name=name,
            value=have[name],
            wanted=value,
            ok=have[name].upper() == value,
            blocking=True,
            why="CDC and the proof of the drain need it",
        )
        for name, value in SOURCE_SETTINGS.items()
        if name in have
    ]
    for name, (wanted, blocking, why) in _OTHER_SETTINGS.items():
        if name in have:
            ok = not why or _fits(name, have[name], wanted)
            found.append(Setting(name=name, value=have[name], wanted=wanted, ok=ok, blocking=blocking, why=why))
    return [*found, *_filters(my, database, unknown)]


def _fits(name: str, value: str, wanted: str) -> bool:
    if name == "server_id":
        return value != "0"
    if name == "binlog_expire_logs_seconds":
        return int(value) == 0 or int(value) >= BINLOG_RETENTION_SECONDS
    return value.upper() == wanted


def _filters(my: Connection[Any], database: str, unknown: list[str]) -> list[Setting]:
    """Databases that the binlog leaves out: options of the server, which only its status tells."""
    try:
        status = _rows(my, "SHOW BINARY LOG STATUS" if server_version(my) >= (8, 2) else "SHOW MASTER STATUS")
    except pymysql.err.OperationalError as e:
        unknown.append(f"which databases the binlog leaves out: {e.args[-1]}")
        return []
    if not status:
        return []
    only, ignored = (set(filter(None, str(text).split(","))) for text in status[0][2:4])
    wrong = (bool(only) and database not in only) or database in ignored
    value = f"only {', '.join(sorted(only))}" if only else f"without {', '.join(sorted(ignored))}" if ignored else "all"
    why = "the binlog must have the migrated database"
    return [Setting(name="databases in the binlog", value=value, wanted="all", ok=not wrong, blocking=True, why=why)]


def _from_settings(settings: Iterable[Setting]) -> list[Obstacle]:
    return [
        Obstacle(
            "setting",
            setting.name,
            f"is {setting.value or 'empty'}, it should be {setting.wanted or 'empty'}: {setting.why}",
            "set it in the source's parameter group (or my.cnf)",
            setting.blocking,
        )
        for setting in settings
        if not setting.ok
    ]


# --- Privileges -------------------------------------------------------------------------------------------------------


def _privileges(my: Connection[Any], database: str) -> list[Privilege]:
    ((account, roles),) = _rows(my, "SELECT CURRENT_USER(), CURRENT_ROLE()")
    using = "" if roles == "NONE" else f" USING {roles}"
    grants = [str(row[0]) for row in _rows(my, f"SHOW GRANTS FOR CURRENT_USER(){using}")]
    held = held_privileges(grants, database)
    found = [
        Privilege(account=account, privilege=name, purpose=purpose, held=name in held or "SUPER" in held)
        for name, purpose in _ADMIN_NEEDS
    ]
    have = mysql_privileges(my, CDC_USER)
    for scope, names in mysql_needs(database)[CDC_USER].items():
        for name in sorted(names):
            there = name in have.get(scope, frozenset()) if have else None
            found.append(Privilege(account=CDC_USER, privilege=f"{name} on {scope}", purpose="CDC", held=there))
    return found


_GRANT: Final = re.compile(r"GRANT (?P<what>.+?) ON (?P<scope>\*\.\*|`(?:[^`]|``)*`\.\*) TO (?P<rest>.*)")


def held_privileges(grants: Iterable[str], database: str) -> set[str]:
    """The privileges that statements of `SHOW GRANTS` give on the whole of `database`, dynamic ones among them."""
    held: set[str] = set()
    for grant in grants:
        match = _GRANT.match(grant)
        if match is None:
            continue
        scope = match["scope"]
        if scope != "*.*":
            pattern = re.sub(r"\\?[_%]|[^_%\\]", lambda m: _like(m[0]), scope[1:-3].replace("``", "`"))
            if not re.fullmatch(pattern, database):
                continue
        names = {name.strip() for name in match["what"].split(",")}
        if "ALL PRIVILEGES" in names:
            names |= {name for name, _ in _ADMIN_NEEDS} - (set() if scope == "*.*" else _GLOBAL_ONLY)
        held |= names - {"USAGE"} - (set() if scope == "*.*" else _GLOBAL_ONLY)
        if "WITH GRANT OPTION" in match["rest"]:
            held.add("GRANT OPTION")
    return held


_GLOBAL_ONLY: Final = frozenset(
    {"CREATE USER", "RELOAD", "REPLICATION SLAVE", "REPLICATION CLIENT", "PROCESS", "GRANT OPTION"}
    | {name for name, _ in FENCE_PRIVILEGES}
)


def _like(token: str) -> str:
    """One character of a pattern as GRANT has it."""
    return {"_": ".", "%": ".*"}.get(token) or re.escape(token.removeprefix("\\"))


def _from_privileges(privileges: Sequence[Privilege]) -> list[Obstacle]:
    return [
        Obstacle(
            "privilege",
            f"{p.account} {p.privilege}",
            f"the account lacks it: {p.purpose}",
            "grant it before that step" if p.purpose != "CDC" else "`./zdm bootstrap` grants it",
            blocking=False,
        )
        for p in privileges
        if p.held is False
    ]


# --- Load -------------------------------------------------------------------------------------------------------------


def _transactions(my: Connection[Any], unknown: list[str]) -> list[LongTransaction]:
    try:
        rows = _rows(
            my,
            "SELECT t.trx_mysql_thread_id, CONCAT(p.user, '@', p.host), "
            "TIMESTAMPDIFF(SECOND, t.trx_started, NOW()), t.trx_rows_modified "
            "FROM information_schema.innodb_trx t LEFT JOIN information_schema.processlist p "
            "ON p.id = t.trx_mysql_thread_id ORDER BY t.trx_started",
        )
    except pymysql.err.OperationalError as e:
        unknown.append(f"long transactions: {e.args[-1]}")
        return []
    return [
        LongTransaction(thread=thread, account=account or "", seconds=seconds, rows_changed=changed)
        for thread, account, seconds, changed in rows
        if seconds >= LONG_SECONDS
    ]


def _from_transactions(transactions: Iterable[LongTransaction]) -> list[Obstacle]:
    return [
        Obstacle(
            "transaction",
            f"{t.account or 'connection'} ({t.thread})",
            f"has been open for {t.seconds:,} s, with {t.rows_changed:,} rows changed",
            "it must be over before a cutover",
            blocking=False,
        )
        for t in transactions
    ]


def _heat(my: Connection[Any], database: str, unknown: list[str]) -> dict[str, Heat]:
    ((on,),) = _rows(my, "SELECT @@performance_schema")
    if not on:
        unknown.append("hot tables: performance_schema is off")
        return {}
    try:
        rows = _rows(
            my,
            "SELECT object_name, count_read, count_write FROM performance_schema.table_io_waits_summary_by_table "
            "WHERE object_schema = %s AND count_star > 0",
            database,
        )
    except pymysql.err.OperationalError as e:
        unknown.append(f"hot tables: {e.args[-1]}")
        return {}
    return {name: Heat(reads=int(reads), writes=int(writes)) for name, reads, writes in rows}


def _rows(my: Connection[Any], sql: str, *args: Any) -> list[tuple[Any, ...]]:
    with my.cursor(pymysql.cursors.Cursor) as cursor:
        cursor.execute(sql, args or None)
        return list(cursor.fetchall())
