"""Reads a MySQL schema: its tables as `contract.tables` has them, and what else is in it that does not move by
itself."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import pymysql.cursors
from pymysql.connections import Connection

from contract.tables import Check, Column, ForeignKey, Generated, Key, KeyKind, KeyPart, Table, mysql_name
from contract.types import NO_CHOICES, Choices, Unsupported, default_for, rule_for, translate
from scripts.errors import UsageError

MAX_NAME = 63
"""Bytes of an identifier in PostgreSQL."""

CASCADES_IN_BINLOG = (9, 6)
"""From this version on MySQL writes the rows that a foreign key's cascade changed into the binlog; before, InnoDB hid
them."""


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Something in the source that the migration does not carry. A `blocking` one is left out only when asked for."""

    kind: str
    """`type`, `table`, `trigger`, `view`, `procedure`, `function`, `event`, `index`, `check`, `cascade`, `value`,
    ..."""
    name: str
    """`table`, `table.column`, `table.index` or the object's own name."""
    reason: str
    left_out: str
    """What happens to it when the migration goes on."""
    blocking: bool = True

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.kind} {self.name}: {self.reason}"


def mysql_tables(connection: Connection[Any], database: str, names: Iterable[str] | None = None) -> list[Table]:
    """The base tables of `database` (all, or those named), in the order of their names.

    Raises `UsageError` that lists every name that is no table.
    """
    wanted = None if names is None else list(names)
    rows = _query(
        connection,
        """
        SELECT table_name AS name, engine AS engine, table_rows AS estimate, data_length + index_length AS size,
               (SELECT COUNT(*) FROM information_schema.partitions p WHERE p.table_schema = t.table_schema
                AND p.table_name = t.table_name AND p.partition_name IS NOT NULL) AS partitions
        FROM information_schema.tables t WHERE table_schema = %s AND table_type = 'BASE TABLE'
        ORDER BY CONVERT(table_name USING utf8mb4) COLLATE utf8mb4_bin""",
        database,
    )
    known = {row["name"] for row in rows}
    if wanted is not None and (missing := [name for name in wanted if name not in known]):
        raise UsageError(
            f"database {database} has no table {', '.join(missing)} (it has: {', '.join(sorted(known)) or 'none'})"
        )
    columns = _columns(connection, database)
    primary, keys = _keys(connection, database)
    foreign = _foreign_keys(connection, database)
    checks = _checks(connection, database)
    return [
        Table(
            row["name"],
            tuple(columns[row["name"]]),
            primary.get(row["name"], ()),
            tuple(keys[row["name"]]),
            tuple(foreign[row["name"]]),
            tuple(checks[row["name"]]),
            row["engine"] or "",
            int(row["partitions"]),
            int(row["estimate"] or 0),
            int(row["size"] or 0),
        )
        for row in rows
        if wanted is None or row["name"] in wanted
    ]


def obstacles(
    connection: Connection[Any], database: str, tables: Sequence[Table], choices: Choices = NO_CHOICES
) -> list[Obstacle]:
    """Everything by name that does not move: types, keys and expressions without a rule, and objects that hold code."""
    version = server_version(connection)
    found = [o for table in tables for o in _table_obstacles(table, choices, version)]
    listed = {table.name for table in tables}
    for row in _query(
        connection,
        """
            SELECT trigger_name AS name, event_object_table AS tab, action_timing AS timing, event_manipulation AS what
            FROM information_schema.triggers WHERE trigger_schema = %s ORDER BY 1""",
        database,
    ):
        if row["tab"] in listed:
            found.append(
                Obstacle(
                    "trigger",
                    f"{row['tab']}.{row['name']}",
                    f"{row['timing']} {row['what']}: its code is MySQL's",
                    "not created on the target; until the cutover CDC carries what it writes on the source",
                )
            )
    for row in _query(
        connection,
        "SELECT table_name AS name FROM information_schema.views WHERE table_schema = %s ORDER BY 1",
        database,
    ):
        found.append(Obstacle("view", row["name"], "its query is MySQL's SQL", "not created on the target"))
    for row in _query(
        connection,
        "SELECT routine_name AS name, routine_type AS kind FROM information_schema.routines "
        "WHERE routine_schema = %s ORDER BY 2, 1",
        database,
    ):
        found.append(Obstacle(row["kind"].lower(), row["name"], "its code is MySQL's", "not created on the target"))
    for row in _query(
        connection,
        "SELECT event_name AS name FROM information_schema.events WHERE event_schema = %s ORDER BY 1",
        database,
    ):
        found.append(
            Obstacle("event", row["name"], "PostgreSQL has no scheduler of its own", "not created on the target")
        )
    return found


def without_unsupported(tables: Iterable[Table], choices: Choices = NO_CHOICES) -> list[Table]:
    """The tables as they can be carried: columns without a rule are gone, with the keys over them; tables without a
    primary key (or whose primary key has such a column) are gone altogether."""
    kept: dict[str, Table] = {}
    for table in tables:
        columns = tuple(column for column in table.columns if _supported(column, choices))
        names = {column.name for column in columns}
        for column in columns:  # a generated column cannot be kept without what it is made of
            if column.generated and not _named_in(column.expression) <= names:
                names.discard(column.name)
        if not table.primary_key or not set(table.primary_key) <= names or len(table.name.encode()) > MAX_NAME:
            continue
        kept[table.name] = Table(
            table.name,
            tuple(column for column in columns if column.name in names),
            table.primary_key,
            tuple(key for key in table.keys if _index_problem(key) is None and set(key.columns) <= names),
            tuple(key for key in table.foreign_keys if set(key.columns) <= names),
            tuple(
                check
                for check in table.checks
                if translate_check(check.expression) is not None and _named_in(check.expression) <= names
            ),
            table.engine,
            table.partitions,
            table.rows,
            table.size,
        )
    return [
        Table(
            t.name,
            t.columns,
            t.primary_key,
            t.keys,
            tuple(
                key
                for key in t.foreign_keys
                if key.referenced_table in kept
                and set(key.referenced_columns) <= {c.name for c in kept[key.referenced_table].columns}
            ),
            t.checks,
            t.engine,
            t.partitions,
            t.rows,
            t.size,
        )
        for t in kept.values()
    ]


def excluded_columns(tables: Iterable[Table], choices: Choices = NO_CHOICES) -> list[str]:
    """The `table.column` that CDC must not carry: those without a rule, and those that the target computes."""
    return [
        column.path
        for table in tables
        for column in table.columns
        if column.generated is not None or not _supported(column, choices)
    ]


def value_obstacles(
    connection: Connection[Any], tables: Iterable[Table], choices: Choices = NO_CHOICES
) -> list[Obstacle]:
    """Values that the target cannot hold (zero dates, NUL characters, ...), which are blocking, and values that the
    snapshot rounds. They are counted: one pass over each table that has columns where they can occur."""
    found = []
    for table in tables:
        asked = []
        for column in table.columns:
            if _supported(column, choices):
                rule = rule_for(column, choices)
                asked += [(column, *case, True) for case in rule.refuse] + [
                    (column, *case, False) for case in rule.loses
                ]
        if not asked:
            continue
        sums = ", ".join(f"COALESCE(SUM({case.format(mysql_name(column.name))}), 0)" for column, case, _, _ in asked)
        with connection.cursor(pymysql.cursors.Cursor) as cursor:
            cursor.execute(f"SELECT {sums} FROM {mysql_name(table.name)}")
            counts = cast(tuple[Any, ...], cursor.fetchone())
        for (column, _, meaning, blocking), count in zip(asked, counts, strict=True):
            if count:
                found.append(
                    Obstacle(
                        "value",
                        column.path,
                        f"{int(count):,} rows hold {meaning}",
                        "these rows stop CDC: change them first"
                        if blocking
                        else "the snapshot rounds them, later changes do not",
                        blocking,
                    )
                )
    return found


def server_version(connection: Connection[Any]) -> tuple[int, int]:
    match = re.match(r"(\d+)\.(\d+)", str(_query(connection, "SELECT VERSION() AS v")[0]["v"]))
    assert match is not None, "VERSION() has no number"
    return int(match[1]), int(match[2])


_CHECK_WORDS = {"and": "AND", "or": "OR", "not": "NOT", "is": "IS", "null": "NULL", "between": "BETWEEN"}
_CHECK_TOKEN = re.compile(r"`(?:[^`]|``)+`|\d+(?:\.\d+)?|[-+*()]|<=|>=|<>|[<>=]|\s+|[a-z]+")


def translate_check(expression: str) -> str | None:
    """MySQL's CHECK expression for PostgreSQL, if it is made of comparisons of columns and numbers; else None."""
    out = []
    position = 0
    while position < len(expression):
        match = _CHECK_TOKEN.match(expression, position)
        if match is None:
            return None
        token = match[0]
        if token.isalpha():
            if token.lower() not in _CHECK_WORDS:
                return None
            token = _CHECK_WORDS[token.lower()]
        elif token.startswith("`"):
            token = translate(token) or ""
        out.append(token)
        position = match.end()
    return "".join(out)


def _named_in(expression: str) -> set[str]:
    return {name.replace("``", "`") for name in re.findall(r"`((?:[^`]|``)+)`", expression)}


def _supported(column: Column, choices: Choices) -> bool:
    try:
        rule_for(column, choices)
    except Unsupported:
        return False
    return len(column.name.encode()) <= MAX_NAME


def _index_problem(key: Key) -> str | None:
    if key.kind == "fulltext":
        return "a FULLTEXT index needs a design of its own on the target (tsvector)"
    if key.kind == "spatial":
        return "a SPATIAL index needs PostGIS"
    if any(part.expression for part in key.parts):
        return "an index over an expression in MySQL's SQL"
    return None


def _table_obstacles(table: Table, choices: Choices, version: tuple[int, int]) -> list[Obstacle]:
    found = []
    gone: set[str] = set()
    if len(table.name.encode()) > MAX_NAME:
        found.append(Obstacle("table", table.name, f"its name has more than {MAX_NAME} bytes", "left out altogether"))
    for column in table.columns:
        try:
            rule = rule_for(column, choices)
            if len(column.name.encode()) > MAX_NAME:
                raise Unsupported(table.name, column.name, column.full_type, f"its name has more than {MAX_NAME} bytes")
        except Unsupported as e:
            kind = "generated column" if column.generated else "type"
            gone.add(column.name)
            found.append(
                Obstacle(
                    kind,
                    column.path,
                    f"{e.type}: {e.reason}",
                    "the column is missing on the target, in CDC and in the checks",
                )
            )
            continue
        try:
            default_for(column, rule)
        except Unsupported as e:
            found.append(Obstacle("default", column.path, e.reason, "the column has no default on the target"))
    if not table.primary_key:
        found.append(
            Obstacle(
                "table",
                table.name,
                "it has no primary key, so changes cannot be applied twice safely",
                "left out altogether",
            )
        )
    elif lost := gone & set(table.primary_key):
        found.append(
            Obstacle("table", table.name, f"its primary key has {', '.join(sorted(lost))}", "left out altogether")
        )
    for key in table.keys:
        problem = _index_problem(key)
        if problem is None and gone & set(key.columns):
            problem = f"it is over {', '.join(sorted(gone & set(key.columns)))}, which is left out"
        if problem is not None:
            found.append(Obstacle("index", f"{table.name}.{key.name}", problem, "not created on the target"))
    for check in table.checks:
        if translate_check(check.expression) is None:
            found.append(
                Obstacle(
                    "check",
                    f"{table.name}.{check.name}",
                    f"no rule for {check.expression}",
                    "not enforced on the target",
                )
            )
    for foreign in table.foreign_keys:
        if foreign.cascades and version < CASCADES_IN_BINLOG:
            found.append(
                Obstacle(
                    "cascade",
                    f"{table.name}.{foreign.name}",
                    f"ON DELETE {foreign.on_delete} ON UPDATE {foreign.on_update}: before 9.6 MySQL does not write "
                    "cascaded changes into the binlog",
                    "what a cascade changes shows up as a difference in data-check, not on the target",
                    blocking=False,
                )
            )
    if table.partitions:
        found.append(
            Obstacle(
                "partitions",
                table.name,
                f"{table.partitions} partitions",
                "one plain table on the target",
                blocking=False,
            )
        )
    if table.engine.lower() != "innodb":
        found.append(
            Obstacle(
                "engine",
                table.name,
                f"{table.engine}: not transactional, so neither is its CDC",
                "an ordinary table on the target",
                blocking=False,
            )
        )
    return found


def _query(connection: Connection[Any], sql: str, *args: Any) -> list[dict[str, Any]]:
    with connection.cursor(pymysql.cursors.DictCursor) as cursor:
        cursor.execute(sql, args or None)
        return list(cursor.fetchall())


def _columns(connection: Connection[Any], database: str) -> defaultdict[str, list[Column]]:
    found: defaultdict[str, list[Column]] = defaultdict(list)
    for row in _query(
        connection,
        """
            SELECT table_name AS tab, column_name AS name, data_type AS type, column_type AS full_type,
                   is_nullable AS nullable, column_default AS dflt, extra AS extra, character_maximum_length AS len,
                   numeric_precision AS num, numeric_scale AS scale, datetime_precision AS fraction,
                   collation_name AS coll, generation_expression AS expr
            FROM information_schema.columns WHERE table_schema = %s ORDER BY table_name, ordinal_position""",
        database,
    ):
        extra = row["extra"].upper()
        full_type = _text(row["full_type"])
        kind = _text(row["type"]).lower()
        default = None if row["dflt"] is None else _text(row["dflt"])
        generated: Generated | None = (
            "stored" if "STORED GENERATED" in extra else "virtual" if "VIRTUAL GENERATED" in extra else None
        )
        found[row["tab"]].append(
            Column(
                name=row["name"],
                type=kind,
                full_type=full_type,
                nullable=row["nullable"] == "YES",
                default=default,
                default_expression="DEFAULT_GENERATED" in extra
                or (default or "").upper().startswith("CURRENT_TIMESTAMP"),
                on_update_now="ON UPDATE CURRENT_TIMESTAMP" in extra,
                invisible="INVISIBLE" in extra,
                auto_increment="AUTO_INCREMENT" in extra,
                length=row["len"],
                precision=row["num"],
                scale=row["scale"],
                fraction=row["fraction"] or 0,
                collation=row["coll"],
                values=_members(full_type) if kind in ("enum", "set") else (),
                generated=generated,
                expression=_text(row["expr"] or ""),
                table=row["tab"],
            )
        )
    return found


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _members(full_type: str) -> tuple[str, ...]:
    """`enum('a','b''c')` -> `a`, `b'c`. information_schema doubles quotes and leaves the rest as it is."""
    return tuple(m.replace("''", "'") for m in re.findall(r"'((?:[^']|'')*)'", full_type))


def _keys(connection: Connection[Any], database: str) -> tuple[dict[str, tuple[str, ...]], defaultdict[str, list[Key]]]:
    parts: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in _query(
        connection,
        """
            SELECT table_name AS tab, index_name AS name, non_unique AS non_unique, column_name AS col,
                   sub_part AS prefix, collation AS coll, index_type AS kind, expression AS expr
            FROM information_schema.statistics WHERE table_schema = %s
            ORDER BY table_name, index_name, seq_in_index""",
        database,
    ):
        parts.setdefault((row["tab"], row["name"]), []).append(row)
    primary: dict[str, tuple[str, ...]] = {}
    keys: defaultdict[str, list[Key]] = defaultdict(list)
    for (table, name), rows in parts.items():
        if name == "PRIMARY":
            primary[table] = tuple(row["col"] for row in rows)
            continue
        kind = cast(KeyKind, rows[0]["kind"].lower() if rows[0]["kind"] in ("FULLTEXT", "SPATIAL") else "btree")
        key_parts = (
            KeyPart(
                row["col"] or "",
                None if kind != "btree" else row["prefix"],
                row["coll"] == "D",
                _text(row["expr"] or ""),
            )
            for row in rows
        )
        keys[table].append(Key(name, tuple(key_parts), unique=not int(rows[0]["non_unique"]), kind=kind))
    return primary, keys


def _foreign_keys(connection: Connection[Any], database: str) -> defaultdict[str, list[ForeignKey]]:
    parts: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in _query(
        connection,
        """
            SELECT k.table_name AS tab, k.constraint_name AS name, k.column_name AS col,
                   k.referenced_table_name AS ref, k.referenced_column_name AS refcol,
                   r.delete_rule AS on_delete, r.update_rule AS on_update
            FROM information_schema.key_column_usage k
            JOIN information_schema.referential_constraints r
              ON r.constraint_schema = k.constraint_schema AND r.constraint_name = k.constraint_name
             AND r.table_name = k.table_name
            WHERE k.table_schema = %s AND k.referenced_table_name IS NOT NULL
            ORDER BY k.table_name, k.constraint_name, k.ordinal_position""",
        database,
    ):
        parts.setdefault((row["tab"], row["name"]), []).append(row)
    found: defaultdict[str, list[ForeignKey]] = defaultdict(list)
    for (table, name), rows in parts.items():
        found[table].append(
            ForeignKey(
                name,
                tuple(row["col"] for row in rows),
                rows[0]["ref"],
                tuple(row["refcol"] for row in rows),
                rows[0]["on_delete"],
                rows[0]["on_update"],
            )
        )
    return found


def _checks(connection: Connection[Any], database: str) -> defaultdict[str, list[Check]]:
    found: defaultdict[str, list[Check]] = defaultdict(list)
    for row in _query(
        connection,
        """
            SELECT t.table_name AS tab, c.constraint_name AS name, c.check_clause AS expr
            FROM information_schema.check_constraints c JOIN information_schema.table_constraints t
              ON t.constraint_schema = c.constraint_schema AND t.constraint_name = c.constraint_name
             AND t.constraint_type = 'CHECK'
            WHERE c.constraint_schema = %s AND t.enforced = 'YES' ORDER BY 1, 2""",
        database,
    ):
        found[row["tab"]].append(Check(row["name"], _text(row["expr"])))
    return found
