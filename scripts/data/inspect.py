"""Reads a MySQL schema: its tables as `contract.tables` has them, and what else is in it that does not move by
itself."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, cast

import pymysql.cursors
from pymysql.connections import Connection

from contract import expressions
from contract.operands import NoCounterpart
from contract.tables import Check, Column, ForeignKey, Generated, Key, KeyKind, KeyPart, Table, mysql_name
from contract.types import NO_CHOICES, Choices, Unsupported, default_for, operands, rule_for
from scripts.data import routines
from scripts.data.obstacle import MAX_NAME, Obstacle
from scripts.errors import UsageError

CASCADES_IN_BINLOG = (9, 6)
"""From this version on MySQL writes the rows that a foreign key's cascade changed into the binlog; before, InnoDB hid
them."""


def mysql_tables(connection: Connection[Any], database: str, names: Iterable[str] | None = None) -> list[Table]:
    """The base tables of `database` (all, or those named), in the order of their names.

    Raises `UsageError` that lists every name that is no table.
    """
    wanted = None if names is None else list(names)
    _query(connection, "SET SESSION information_schema_stats_expiry = 0")  # AUTO_INCREMENT as it is now
    rows = _query(
        connection,
        """
        SELECT table_name AS name, engine AS engine, table_rows AS estimate, data_length + index_length AS size,
               auto_increment AS next_number, table_comment AS comment,
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
            int(row["next_number"] or 1),
            row["comment"],
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
    return found + [item.obstacle for item in routines.read(connection, database, tables, choices)]


def without_unsupported(tables: Iterable[Table], choices: Choices = NO_CHOICES) -> list[Table]:
    """The tables as they can be carried: columns without a rule are gone, with the keys over them; tables without a
    primary key (or whose primary key has such a column) are gone altogether."""
    kept: dict[str, Table] = {}
    for table in tables:
        columns = tuple(column for column in table.columns if _supported(column, choices))
        names = {column.name for column in columns}
        for column in columns:  # a generated column cannot be kept without what it is made of
            if not {source.name for source in column.sources} <= names:
                names.discard(column.name)
        if not table.primary_key or not set(table.primary_key) <= names or len(table.name.encode()) > MAX_NAME:
            continue
        kept[table.name] = replace(
            table,
            columns=tuple(column for column in columns if column.name in names),
            keys=tuple(
                key for key in table.keys if set(key.columns) <= names and _index_problem(table, key, choices) is None
            ),
            foreign_keys=tuple(key for key in table.foreign_keys if set(key.columns) <= names),
            checks=tuple(check for check in table.checks if _check_problem(table, check, choices) is None),
        )
    return [
        replace(
            table,
            foreign_keys=tuple(
                key
                for key in table.foreign_keys
                if key.referenced_table in kept
                and set(key.referenced_columns) <= {c.name for c in kept[key.referenced_table].columns}
            ),
        )
        for table in kept.values()
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


def _supported(column: Column, choices: Choices) -> bool:
    try:
        rule_for(column, choices)
    except Unsupported:
        return False
    return len(column.name.encode()) <= MAX_NAME


def _index_problem(table: Table, key: Key, choices: Choices) -> str | None:
    if key.kind == "fulltext":
        return "a FULLTEXT index needs a design of its own on the target (tsvector)"
    if key.kind == "spatial":
        return "a SPATIAL index needs PostGIS"
    for part in key.parts:
        if part.expression:
            try:
                expressions.translate(part.expression, operands(table.columns, choices))
            except NoCounterpart as e:
                return f"it is over {part.expression}: {e}"
    return None


def _check_problem(table: Table, check: Check, choices: Choices) -> str | None:
    try:
        expressions.condition(check.expression, operands(table.columns, choices))
    except NoCounterpart as e:
        return f"{check.expression}: {e}"
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
        if column.invisible:
            found.append(
                Obstacle(
                    "column", column.path, "it is invisible", "an ordinary column on the target: SELECT * has it",
                    blocking=False,
                )
            )  # fmt: skip
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
        problem = _index_problem(table, key, choices)
        if problem is None and gone & set(key.columns):
            problem = f"it is over {', '.join(sorted(gone & set(key.columns)))}, which is left out"
        if problem is not None:
            found.append(Obstacle("index", f"{table.name}.{key.name}", problem, "not created on the target"))
        elif not key.visible:
            found.append(
                Obstacle(
                    "index",
                    f"{table.name}.{key.name}",
                    "it is invisible, which PostgreSQL's indexes cannot be",
                    "made, and used" if key.unique else "not created on the target",
                    blocking=False,
                )
            )
    for check in table.checks:
        if problem := _check_problem(table, check, choices):
            found.append(Obstacle("check", f"{table.name}.{check.name}", problem, "not enforced on the target"))
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
                   collation_name AS coll, generation_expression AS expr, column_comment AS comment
            FROM information_schema.columns WHERE table_schema = %s ORDER BY table_name, ordinal_position""",
        database,
    ):
        extra = row["extra"].upper()
        full_type = _text(row["full_type"])
        kind = _text(row["type"]).lower()
        default = None if row["dflt"] is None else _text(row["dflt"])
        computed = "DEFAULT_GENERATED" in extra or (default or "").upper().startswith("CURRENT_TIMESTAMP")
        generated: Generated | None = (
            "stored" if "STORED GENERATED" in extra else "virtual" if "VIRTUAL GENERATED" in extra else None
        )
        found[row["tab"]].append(
            Column(
                name=row["name"],
                type=kind,
                full_type=full_type,
                nullable=row["nullable"] == "YES",
                default=expressions.stored(default) if default is not None and computed else default,
                default_expression=computed,
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
                expression=expressions.stored(_text(row["expr"] or "")),
                table=row["tab"],
                comment=row["comment"],
            )
        )
    for columns in found.values():
        _name_sources(columns)
    return found


def _name_sources(columns: list[Column]) -> None:
    """Gives each generated column those that it is computed from: plain ones, and generated ones before it."""
    known = {column.name: column for column in columns if column.generated is None}
    for i, column in enumerate(columns):
        if column.generated is not None:
            names = expressions.columns_of(column.expression)
            columns[i] = known[column.name] = replace(
                column, sources=tuple(known[name] for name in sorted(names & known.keys()))
            )


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _members(full_type: str) -> tuple[str, ...]:
    """`enum('a','b''c')` -> `a`, `b'c`. information_schema doubles quotes and backslashes."""
    return tuple(m.replace("''", "'").replace("\\\\", "\\") for m in re.findall(r"'((?:[^']|'')*)'", full_type))


def _keys(connection: Connection[Any], database: str) -> tuple[dict[str, tuple[str, ...]], defaultdict[str, list[Key]]]:
    parts: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in _query(
        connection,
        """
            SELECT table_name AS tab, index_name AS name, non_unique AS non_unique, column_name AS col,
                   sub_part AS prefix, collation AS coll, index_type AS kind, expression AS expr,
                   is_visible AS visible
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
                expressions.stored(_text(row["expr"] or "")),
            )
            for row in rows
        )
        keys[table].append(
            Key(
                name,
                tuple(key_parts),
                unique=not int(rows[0]["non_unique"]),
                kind=kind,
                visible=rows[0]["visible"] == "YES",
            )
        )
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
        found[row["tab"]].append(Check(row["name"], expressions.stored(_text(row["expr"]))))
    return found
