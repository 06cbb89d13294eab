"""Questions to the databases around a check: whether a user's condition is one, and why a row could not be carried."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg
import pymysql

from contract.tables import mysql_name, postgres_name
from scripts.data.check_worker import Where
from scripts.data.compare import batch_size, batches, mysql_keys
from scripts.data.difference import Key, Refused
from scripts.data.rules import SCHEMA, MySQL, Postgres, Rules
from scripts.errors import UsageError


def accepted(my: MySQL, pg: Postgres, rules: Rules, where: Where) -> None:
    """Raises `UsageError` that says what either database has against the condition."""
    problems = []
    try:
        with my.cursor() as cursor:
            cursor.execute(f"SELECT 1 FROM {mysql_name(rules.table.name)} WHERE (\n{where.sql}\n) LIMIT 0")
    except pymysql.err.MySQLError as e:
        problems.append(f"MySQL: {e.args[-1]}")
    try:
        relation = postgres_name(SCHEMA, rules.table.name)
        pg.execute(f"SELECT 1 FROM {relation} WHERE (\n{where.sql}\n) LIMIT 0".encode(), prepare=True)
    except psycopg.Error as e:
        problems.append(f"PostgreSQL: {str(e).strip()}")
    if problems:
        raise UsageError(
            f"--where {where.sql!r} must be a condition over {rules.table.name} in both databases' SQL:\n"
            + "\n".join(f"  {problem}" for problem in problems)
        )


def refused_values(my: MySQL, rules: Rules, keys: Sequence[Key]) -> dict[Key, tuple[Refused, ...]]:
    """Which of the rows under `keys` hold values that the contract refuses, and why."""
    conditions = [
        (column.name, reason, condition.format(mysql_name(column.name)))
        for column, rule in rules.columns
        for condition, reason in rule.refuse
    ]
    if not conditions:
        return {}
    texts = [rule.mysql_text.format(mysql_name(column.name)) for column, rule in rules.key]
    asked = ", ".join([*texts, *(f"({condition})" for _, _, condition in conditions)])
    found: dict[Key, tuple[Refused, ...]] = {}
    for batch in batches(keys, batch_size(rules)):
        with my.cursor() as cursor:
            cursor.execute(f"SELECT {asked} FROM {mysql_name(rules.table.name)} WHERE {mysql_keys(rules, batch)}")
            rows = cursor.fetchall()
        for row in rows:
            key = tuple(text.decode() if isinstance(text, bytes) else str(text) for text in row[: len(texts)])
            reasons = tuple(
                Refused(column, reason)
                for (column, reason, _), holds in zip(conditions, row[len(texts) :], strict=True)
                if holds
            )
            if reasons:
                found[key] = reasons
    return found
