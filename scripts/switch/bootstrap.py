"""`./zdm bootstrap`: the accounts, the control tables and the binlog settings that everything after it relies on.

It observes both databases, plans what is missing, and applies the plan; a second run finds nothing to do. Accounts get
what they need and no more:

- `zdm_probe`, where the stack has one, measures: it writes MySQL's watermark and reads PostgreSQL's stored verdicts.
- `zdm_dual`, where the service can make second writes, may on PostgreSQL what the sink may.
- MySQL `zdm_cdc` reads the captured databases and the binlog; `shop_app` changes the shop's rows and reads the fence.
- PostgreSQL: role `zdm_writer` holds all write privileges on the shop's tables, and has one member: `zdm_sink` before
  the cutover, `shop_app` after it. So the cutover moves the right to write with one GRANT and one REVOKE, whatever the
  number of tables. `zdm_reader` reads.

Privileges that are there beyond the plan are left alone: on an existing source the accounts may have other uses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql
from pymysql.connections import Connection as MySQLConnection
from rich.console import Console as RichConsole

from contract.control import (
    APP_USER,
    CDC_USER,
    INITIAL_FLAG,
    INSERT_FENCE,
    MYSQL_DDL,
    POSTGRES_DDL,
    PROBE_USER,
    READ_FENCE,
    READER_ROLE,
    SINK_USER,
    WRITER_ROLE,
    fence_values,
    flag_of_row,
)
from contract.dual import DUAL_USER, GRANT_DUAL
from contract.flag import Side
from scripts.clients.secrets import Account
from scripts.console import Console
from scripts.context import Context
from scripts.errors import UsageError, ZdmError

BINLOG_RETENTION_SECONDS = 240 * 3600
"""The binlog must outlast the longest copy: 240 h."""

CONTROL_TABLES = {
    "mysql": ("fence", "watermark", "journal", "pause_probe", "idempotency"),
    "postgres": ("fence", "watermark", "journal", "record", "pause_probe", "idempotency"),
}

SOURCE_SETTINGS = {
    "log_bin": "ON",
    "binlog_format": "ROW",
    "binlog_row_image": "FULL",
    "gtid_mode": "ON",
    "enforce_gtid_consistency": "ON",
}
"""What CDC and the proof of the drain need. They are set in the source's parameter group (or my.cnf), never from here.
"""


@dataclass(frozen=True)
class Change:
    """One thing to do: `what` for people (no secrets), `statements` for the database (`%s` parameters beside them)."""

    side: str
    what: str
    statements: Sequence[tuple[Any, tuple[Any, ...]]] = field(repr=False)


@dataclass(frozen=True)
class BootstrapResult:
    """What was done, or (`dry_run`) would be."""

    changes: list[str]
    dry_run: bool

    @property
    def ok(self) -> bool:
        return True

    def to_json(self) -> dict[str, Any]:
        return {"changes": self.changes, "dryRun": self.dry_run}

    def render(self, out: RichConsole) -> None:
        if not self.changes:
            out.print("Both databases are as they must be; nothing to do.")
        for change in self.changes:
            out.print(f"{'would' if self.dry_run else 'did'}: {change}", markup=False)


def run(context: Context, *, dry_run: bool, console: Console) -> BootstrapResult:
    """Brings both databases to where CDC can start. Raises `ZdmError` that lists every setting that does not fit."""
    with context.mysql(database=None) as my, context.postgres() as pg:
        with console.step("Bootstrap: look at both databases") as step:
            check_settings(my)
            changes = plan(context, my, pg)
            step.done(f"{len(changes)} to do" if changes else "nothing to do")
        if changes and not dry_run:
            with console.step("Bootstrap: accounts and control tables") as step:
                for i, change in enumerate(changes):
                    step.progress(i, len(changes), "changes")
                    apply(change, my, pg)
                step.done(f"{len(changes)} changes")
    return BootstrapResult([f"{c.side}: {c.what}" for c in changes], dry_run)


def check_settings(my: MySQLConnection[Any]) -> None:
    """Raises `ZdmError` that lists every setting of the source that CDC cannot live with."""
    have = dict(
        _rows(
            my,
            "SHOW GLOBAL VARIABLES WHERE Variable_name IN ("
            "'log_bin','binlog_format','binlog_row_image','gtid_mode','enforce_gtid_consistency')",
        )
    )
    wrong = [
        f"  {name} is {have.get(name, 'unknown')}, it must be {value}"
        for name, value in SOURCE_SETTINGS.items()
        if name in have and have[name].upper() != value
    ]
    if wrong:
        raise ZdmError(
            "the source MySQL cannot be captured:\n"
            + "\n".join(wrong)
            + "\nSet them in its parameter group (or my.cnf), and restart it where the setting is static."
        )


def plan(context: Context, my: MySQLConnection[Any], pg: psycopg.Connection[Any]) -> list[Change]:
    """What is missing in the two databases, in the order in which it must be done."""
    out = context.outputs
    accounts = {
        "cdc": _named(context.account(out.source.cdc_secret), CDC_USER, out.source.cdc_secret),
        "my_app": _named(context.account(out.source.app_secret), APP_USER, out.source.app_secret),
        "sink": _named(context.account(out.target.sink_secret), SINK_USER, out.target.sink_secret),
        "pg_app": _named(context.account(out.target.app_secret), APP_USER, out.target.app_secret),
    }
    watch = out.observability
    my_probe, pg_probe = (
        [_named(context.account(secret), PROBE_USER, secret)] if secret else []
        for secret in ((watch.mysql_probe_secret, watch.aurora_probe_secret) if watch else ("", ""))
    )
    secret = out.target.dual_secret
    second = [_named(context.account(secret), DUAL_USER, secret)] if secret else []
    return [
        *_plan_mysql(context, my, [accounts["cdc"], accounts["my_app"], *my_probe]),
        *_plan_postgres(context, pg, accounts["sink"], accounts["pg_app"], pg_probe, second),
    ]


def apply(change: Change, my: MySQLConnection[Any], pg: psycopg.Connection[Any]) -> None:
    """Does one change; on PostgreSQL all of it or nothing."""
    if change.side == "mysql":
        with my.cursor() as cursor:
            for statement, values in change.statements:
                cursor.execute(statement, values or None)
        return
    with pg.transaction():
        for statement, values in change.statements:
            pg.execute(statement, values or None)


# --- MySQL ----------------------------------------------------------------------------------------------------------


def _plan_mysql(context: Context, my: MySQLConnection[Any], accounts: Sequence[Account]) -> list[Change]:
    changes: list[Change] = []

    def add(what: str, *statements: tuple[str, tuple[Any, ...]]) -> None:
        changes.append(Change("mysql", what, statements))

    there = {
        name for (name,) in _rows(my, "SELECT table_name FROM information_schema.tables WHERE table_schema = 'zdm'")
    }
    missing = [name for name in CONTROL_TABLES["mysql"] if name not in there]
    if missing:
        add(f"control tables {', '.join(missing)}", *[(ddl, ()) for ddl in MYSQL_DDL])
    if "fence" not in there or not _rows(my, READ_FENCE):
        add(f"fence row {INITIAL_FLAG.to_json()}", (INSERT_FENCE, fence_values(INITIAL_FLAG)))
    if "watermark" not in there or not _rows(my, "SELECT id FROM zdm.watermark WHERE id = 1"):
        add("watermark row", ("INSERT INTO zdm.watermark VALUES (1, UUID(), UTC_TIMESTAMP(6))", ()))

    changes += _plan_retention(my)

    wanted = mysql_needs(context.outputs.database)
    for account in accounts:
        name = account.username
        exists = bool(_rows(my, "SELECT 1 FROM mysql.user WHERE user = %s AND host = '%%'", name))
        if not exists:
            add(f"account {name}", ("CREATE USER %s@'%%' IDENTIFIED BY %s REQUIRE SSL", (name, account.password)))
        elif not _mysql_lets_in(context, account):
            add(
                f"password of {name} as in its secret",
                ("ALTER USER %s@'%%' IDENTIFIED BY %s", (name, account.password)),
            )
        have = mysql_privileges(my, name) if exists else {}
        for scope, privileges in wanted[name].items():
            lacking = sorted(privileges - have.get(scope, frozenset()))
            if lacking:
                add(
                    f"{name} may {', '.join(lacking)} on {scope}",
                    (f"GRANT {', '.join(lacking)} ON {scope.replace('%', '%%')} TO %s@'%%'", (name,)),
                )
    return changes


def _plan_retention(my: MySQLConnection[Any]) -> list[Change]:
    hours = BINLOG_RETENTION_SECONDS // 3600
    managed = _rows(
        my,
        "SELECT 1 FROM information_schema.routines WHERE routine_schema = 'mysql' "
        "AND routine_name = 'rds_set_configuration'",
    )
    if managed:
        have = {row[0]: row[1] for row in _rows(my, "CALL mysql.rds_show_configuration")}.get("binlog retention hours")
        if have is not None and int(have) >= hours:
            return []
        return [
            Change(
                "mysql",
                f"binlog retention {hours} h",
                [("CALL mysql.rds_set_configuration('binlog retention hours', %s)", (hours,))],
            )
        ]
    [(_, seconds)] = _rows(my, "SHOW GLOBAL VARIABLES LIKE 'binlog_expire_logs_seconds'")
    if int(seconds) == 0 or int(seconds) >= BINLOG_RETENTION_SECONDS:
        return []
    return [
        Change(
            "mysql",
            f"binlog retention {hours} h (was {int(seconds) / 3600:.0f} h)",
            [(f"SET PERSIST binlog_expire_logs_seconds = {BINLOG_RETENTION_SECONDS}", ())],
        )
    ]


def mysql_needs(database: str) -> dict[str, dict[str, frozenset[str]]]:
    """What each account needs on MySQL, by scope as a GRANT writes it."""
    database = database.replace("_", r"\_")  # in a GRANT, `_` stands for any character
    return {
        CDC_USER: {
            "*.*": frozenset({"RELOAD", "SHOW DATABASES", "REPLICATION SLAVE", "REPLICATION CLIENT"}),
            f"`{database}`.*": frozenset({"SELECT", "LOCK TABLES"}),
            "`zdm`.*": frozenset({"SELECT", "LOCK TABLES"}),
        },
        APP_USER: {
            f"`{database}`.*": frozenset({"SELECT", "INSERT", "UPDATE", "DELETE", "EXECUTE"}),
            "`zdm`.`fence`": frozenset({"SELECT"}),
            "`zdm`.`pause_probe`": frozenset({"SELECT", "INSERT"}),
            "`zdm`.`idempotency`": frozenset({"SELECT", "INSERT", "DELETE"}),
        },
        PROBE_USER: {
            "`zdm`.`fence`": frozenset({"SELECT"}),
            "`zdm`.`watermark`": frozenset({"SELECT", "UPDATE"}),
        },
    }


def mysql_privileges(my: MySQLConnection[Any], user: str) -> dict[str, frozenset[str]]:
    """What the account may do, by scope as a GRANT writes it."""
    grantee = f"'{user}'@'%'"
    found: dict[str, set[str]] = {}
    for (privilege,) in _rows(
        my, "SELECT privilege_type FROM information_schema.user_privileges WHERE grantee = %s", grantee
    ):
        found.setdefault("*.*", set()).add(privilege)
    for schema, privilege in _rows(
        my, "SELECT table_schema, privilege_type FROM information_schema.schema_privileges WHERE grantee = %s", grantee
    ):
        found.setdefault(f"`{schema}`.*", set()).add(privilege)
    for schema, table, privilege in _rows(
        my,
        "SELECT table_schema, table_name, privilege_type FROM information_schema.table_privileges WHERE grantee = %s",
        grantee,
    ):
        found.setdefault(f"`{schema}`.`{table}`", set()).add(privilege)
    return {scope: frozenset(privileges) for scope, privileges in found.items()}


def _mysql_lets_in(context: Context, account: Account) -> bool:
    from scripts.clients import mysql

    source = context.outputs.source
    try:
        mysql.connect(source.host, source.port, account).close()
    except ZdmError:
        return False
    return True


# --- PostgreSQL -----------------------------------------------------------------------------------------------------


def _plan_postgres(
    context: Context,
    pg: psycopg.Connection[Any],
    sink: Account,
    app: Account,
    probe: Sequence[Account],
    second: Sequence[Account],
) -> list[Change]:
    changes: list[Change] = []

    def add(what: str, *statements: tuple[Any, tuple[Any, ...]]) -> None:
        changes.append(Change("postgres", what, statements))

    there = {name for (name,) in pg.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'zdm'")}
    missing = [name for name in CONTROL_TABLES["postgres"] if name not in there]
    if missing:
        add(f"control tables {', '.join(missing)}", *[(ddl, ()) for ddl in POSTGRES_DDL])
    row = pg.execute(READ_FENCE).fetchone() if "fence" in there else None
    if row is None:
        add(f"fence row {INITIAL_FLAG.to_json()}", (INSERT_FENCE, fence_values(INITIAL_FLAG)))
    moved = row is not None and flag_of_row(row).mode is Side.AURORA

    roles = {name for (name,) in pg.execute("SELECT rolname FROM pg_roles")}
    for role in (WRITER_ROLE, READER_ROLE):
        if role not in roles:
            add(f"role {role}", (sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(role)), ()))
    for account in (sink, app, *probe, *second):
        hashed = pg.pgconn.encrypt_password(account.password.encode(), account.username.encode(), b"scram-sha-256")
        name, password = sql.Identifier(account.username), sql.Literal(hashed.decode())  # never in a server's log
        if account.username not in roles:
            add(f"account {account.username}", (sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(name, password), ()))
        elif not _postgres_lets_in(context, account):
            add(
                f"password of {account.username} as in its secret",
                (sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(name, password), ()),
            )

    members = {
        (group, member)
        for group, member in pg.execute(
            "SELECT g.rolname, m.rolname FROM pg_auth_members a JOIN pg_roles g ON g.oid = a.roleid "
            "JOIN pg_roles m ON m.oid = a.member"
        )
    }
    writer, other = (APP_USER, SINK_USER) if moved else (SINK_USER, APP_USER)
    for group, member in ((READER_ROLE, APP_USER), (READER_ROLE, SINK_USER), (WRITER_ROLE, writer)):
        if (group, member) not in members:
            add(f"{member} is a {group}", (_members("GRANT {} TO {}", group, member), ()))
    if second and (SINK_USER, DUAL_USER) not in members:
        add(f"{DUAL_USER} may what {SINK_USER} may, as long as that may it", (GRANT_DUAL, ()))
    if (WRITER_ROLE, other) in members:
        add(f"{other} is no {WRITER_ROLE}", (_members("REVOKE {} FROM {}", WRITER_ROLE, other), ()))

    changes += _plan_postgres_privileges(pg, roles, there, bool(probe))
    return changes


def _members(text: str, group: str, member: str) -> sql.Composed:
    return sql.SQL(text).format(sql.Identifier(group), sql.Identifier(member))


def _plan_postgres_privileges(
    pg: psycopg.Connection[Any], roles: set[str], control: set[str], probe: bool
) -> list[Change]:
    changes: list[Change] = []

    def add(what: str, *statements: str) -> None:
        changes.append(Change("postgres", what, [(statement, ()) for statement in statements]))

    def has(role: str, check: str, *values: str) -> bool:
        if role not in roles:
            return False
        [(found,)] = pg.execute(f"SELECT {check}", (role, *values)).fetchall()
        return bool(found)

    for schema in ("public", "zdm"):
        ready = schema == "public" or bool(control)
        if not (ready and has(READER_ROLE, "has_schema_privilege(%s, %s, 'USAGE')", schema)):
            add(f"{READER_ROLE} may use schema {schema}", f"GRANT USAGE ON SCHEMA {schema} TO {READER_ROLE}")
    if probe and not (control and has(PROBE_USER, "has_schema_privilege(%s, 'zdm', 'USAGE')")):
        add(f"{PROBE_USER} may use schema zdm", f"GRANT USAGE ON SCHEMA zdm TO {PROBE_USER}")
    for table, role, privileges in (
        *([("record", PROBE_USER, "SELECT")] if probe else []),
        ("fence", READER_ROLE, "SELECT"),
        ("pause_probe", READER_ROLE, "SELECT"),
        ("pause_probe", WRITER_ROLE, "INSERT"),
        ("watermark", SINK_USER, "SELECT, INSERT, UPDATE, DELETE"),
        ("idempotency", WRITER_ROLE, "SELECT, INSERT, UPDATE, DELETE"),
    ):
        each = [p.strip() for p in privileges.split(",")]
        if not (
            table in control and all(has(role, f"has_table_privilege(%s, %s, '{p}')", f"zdm.{table}") for p in each)
        ):
            add(f"{role} may {privileges} on zdm.{table}", f"GRANT {privileges} ON zdm.{table} TO {role}")

    defaults = {
        (kind, role)
        for kind, role in pg.execute(
            "SELECT d.defaclobjtype::text, r.rolname FROM pg_default_acl d, aclexplode(d.defaclacl) x, pg_roles r "
            "WHERE r.oid = x.grantee AND d.defaclnamespace = 'public'::regnamespace "
            "AND d.defaclrole = current_user::regrole"
        )
    }
    for kind, objects, role, privileges in (
        ("r", "TABLES", READER_ROLE, "SELECT"),
        ("r", "TABLES", WRITER_ROLE, "INSERT, UPDATE, DELETE"),
        ("S", "SEQUENCES", WRITER_ROLE, "USAGE, SELECT"),
    ):
        if (kind, role) not in defaults:
            add(
                f"{role} may {privileges} on {objects.lower()} to come",
                f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT {privileges} ON {objects} TO {role}",
                f"GRANT {privileges} ON ALL {objects} IN SCHEMA public TO {role}",
            )
    if {READER_ROLE, WRITER_ROLE} <= roles:
        bare = [
            name
            for (name,) in pg.execute(
                "SELECT c.relname FROM pg_class c "
                "WHERE c.relkind IN ('r','p') AND c.relnamespace = 'public'::regnamespace "
                "AND NOT (has_table_privilege(%s, c.oid, 'SELECT') AND has_table_privilege(%s, c.oid, 'INSERT') "
                "AND has_table_privilege(%s, c.oid, 'UPDATE') AND has_table_privilege(%s, c.oid, 'DELETE'))",
                (READER_ROLE, WRITER_ROLE, WRITER_ROLE, WRITER_ROLE),
            )
        ]
        if bare:
            add(
                f"privileges on {', '.join(sorted(bare))}",
                f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {READER_ROLE}",
                f"GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {WRITER_ROLE}",
            )
    return changes


def _postgres_lets_in(context: Context, account: Account) -> bool:
    from scripts.clients import postgres

    target = context.outputs.target
    try:
        postgres.connect(target.host, target.port, account, context.outputs.database).close()
    except ZdmError:
        return False
    return True


# --- both -----------------------------------------------------------------------------------------------------------


def _named(account: Account, expected: str, secret: str) -> Account:
    if account.username != expected:
        raise UsageError(f"the secret {secret} is for {account.username!r}; this account must be named {expected!r}")
    return account


def _rows(my: MySQLConnection[Any], statement: str, *values: Any) -> list[tuple[Any, ...]]:
    with my.cursor() as cursor:
        cursor.execute(statement, values or None)
        return list(cursor.fetchall())
