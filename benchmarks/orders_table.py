"""The table of the benchmarks: `orders`, 17 columns, about 250 bytes a row as text, with a number or a UUID as its key.

Rows follow from their number alone, so every run has the same ones. They are made inside MySQL, and come to PostgreSQL
by a copy that is then held against MySQL's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from benchmarks.databases import DATABASE, Databases
from contract.tables import Table
from scripts.console import Console
from scripts.data import schema
from scripts.data.inspect import mysql_tables

Keys = Literal["number", "uuid"]
STEP = 100_000
"""Rows made by one statement."""

_STATUS = ("pending", "paid", "packed", "shipped", "delivered", "cancelled", "returned")

COLUMNS = {
    "order_no": ("CHAR(14) NOT NULL", "CONCAT('ORD-', LPAD(n, 10, '0'))"),
    "customer_id": ("BIGINT UNSIGNED NOT NULL", "CRC32(CONCAT(n, 'c')) * 4097"),
    "shop_id": ("INT NOT NULL", "1 + CRC32(CONCAT(n, 's')) % 5000"),
    "status": (
        f"ENUM({','.join(map(repr, _STATUS))}) NOT NULL",
        f"ELT(1 + n % {len(_STATUS)}, {','.join(map(repr, _STATUS))})",
    ),
    "currency": ("CHAR(3) NOT NULL", "ELT(1 + n % 3, 'VND', 'USD', 'EUR')"),
    "subtotal": ("DECIMAL(12,2) NOT NULL", "CRC32(CONCAT(n, 't')) / 100"),
    "discount": ("DECIMAL(12,2) NULL", "IF(n % 4 = 0, CRC32(CONCAT(n, 'd')) % 1000000 / 100, NULL)"),
    "total": ("DECIMAL(12,2) NOT NULL", "CRC32(CONCAT(n, 't')) / 100 + CRC32(CONCAT(n, 'x')) % 5000 / 100"),
    "items": ("SMALLINT UNSIGNED NOT NULL", "1 + n % 40"),
    "gift": ("TINYINT(1) NOT NULL", "n % 11 = 0"),
    "weight": ("DOUBLE NULL", "IF(n % 5 = 0, NULL, CRC32(CONCAT(n, 'w')) % 80000 / 8)"),
    "email": ("VARCHAR(120) NOT NULL", "CONCAT('customer.', CRC32(CONCAT(n, 'c')), '@mail.example.com')"),
    "address": (
        "VARCHAR(255) NOT NULL",
        "CONCAT(1 + n % 900, ' Đường Nguyễn Huệ, Quận ', 1 + n % 12, ', Hồ Chí Minh')",
    ),
    "note": (
        "TEXT NULL",
        "IF(n % 3 = 0, NULL, CONCAT('Please ring twice at flat ', CRC32(CONCAT(n, 'n')) % 9000, '. ', "
        "REPEAT('Thank you! ', n % 4)))",
    ),
    "created_at": ("DATETIME(6) NOT NULL", "'2020-01-01' + INTERVAL n * 61000019 MICROSECOND"),
    "updated_at": ("TIMESTAMP(6) NOT NULL", "'2020-01-02' + INTERVAL n * 61000037 MICROSECOND"),
}
"""Type in MySQL, and the value of row `n`."""

_KEYS: dict[Keys, tuple[str, str]] = {
    "number": ("BIGINT NOT NULL", "n"),
    "uuid": (
        "CHAR(36) NOT NULL",
        "CONCAT_WS('-', LEFT(h, 8), SUBSTR(h, 9, 4), CONCAT('4', SUBSTR(h, 14, 3)), CONCAT('8', SUBSTR(h, 18, 3)), "
        "SUBSTR(h, 21, 12))",
    ),
}

DIFFERENT = 10
"""Rows that `plant` makes different."""


def table_name(keys: Keys) -> str:
    return {"number": "orders", "uuid": "orders_by_uuid"}[keys]


def fill_source(databases: Databases, keys: Keys, rows: int) -> Table:
    """Makes the table in MySQL with `rows` rows, and in PostgreSQL without any. Returns its description."""
    name, (key_type, key_value) = table_name(keys), _KEYS[keys]
    columns = ", ".join(f"{column} {kind}" for column, (kind, _) in COLUMNS.items())
    values = ", ".join(value for _, value in COLUMNS.values())
    hashed = "LEFT(SHA2(n, 256), 32)" if keys == "uuid" else "NULL"
    statements = [
        "SET SESSION sql_log_bin = 0",  # nobody replicates these rows: half the time
        "SET SESSION cte_max_recursion_depth = 1000",
        "CREATE TEMPORARY TABLE digits (d INT PRIMARY KEY)",
        "CREATE TEMPORARY TABLE other_digits (d INT PRIMARY KEY)",  # MySQL opens a temporary table once in a query
        "INSERT INTO digits WITH RECURSIVE s (d) AS (SELECT 0 UNION ALL SELECT d + 1 FROM s WHERE d < 999) "
        "SELECT d FROM s",
        "INSERT INTO other_digits SELECT d FROM digits",
        f"CREATE TABLE {name} (id {key_type}, {columns}, PRIMARY KEY (id))",
    ]
    for first in range(1, rows + 1, STEP):
        last = min(first + STEP - 1, rows)
        numbers = (
            f"SELECT {first} + a.d * 1000 + b.d AS n FROM digits a JOIN other_digits b "
            f"WHERE a.d < {STEP // 1000} HAVING n <= {last}"
        )
        statements.append(
            f"INSERT INTO {name} SELECT {key_value}, {values} FROM (SELECT n, {hashed} AS h FROM ({numbers}) s) r "
            "ORDER BY n"
        )
    databases.on_mysql(*statements, f"ANALYZE TABLE {name}")
    schema.run(databases, stage="tables", console=Console(quiet=True))  # type: ignore[arg-type]
    return description(databases, keys)


def description(databases: Databases, keys: Keys) -> Table:
    with databases.mysql() as connection:
        return mysql_tables(connection, DATABASE, [table_name(keys)])[0]


def text_bytes(databases: Databases, table: Table) -> int:
    """Bytes of all rows as text, without separators: what a row's size means in the benchmarks."""
    lengths = " + ".join(f"COALESCE(LENGTH(`{column.name}`), 0)" for column in table.columns)
    return int(databases.on_mysql(f"SELECT SUM({lengths}) FROM {table.name}")[0][0])


def vacuum(databases: Databases, table: Table) -> None:
    """What autovacuum would do some time after a load."""
    databases.on_postgres(f"VACUUM (ANALYZE, FREEZE) {table.name}")


def plant(databases: Databases, table: Table) -> list[str]:
    """Makes `DIFFERENT` rows of the target differ, evenly spread: changed, lost, and one too many. Returns their keys.

    No value becomes or was NULL: one of the tools compared stops at that.
    """
    rows = databases.on_postgres(f"SELECT count(*) FROM {table.name}")[0][0]
    keys = [
        str(databases.on_postgres(f"SELECT id FROM {table.name} ORDER BY id LIMIT 1 OFFSET {rows * part // 10}")[0][0])
        for part in range(DIFFERENT - 1)
    ]
    databases.on_postgres(f"CREATE TABLE IF NOT EXISTS planted (LIKE {table.name})", "TRUNCATE planted")
    listed = ", ".join(map(repr, keys))
    databases.on_postgres(f"INSERT INTO planted SELECT * FROM {table.name} WHERE id IN ({listed})")
    changes = (
        "total = total + 0.01",
        "email = upper(email)",
        "updated_at = updated_at + interval '1 microsecond'",
        "gift = 1 - gift",
        "address = address || ' '",
        "customer_id = customer_id + 1",
        "status = CASE status WHEN 'paid' THEN 'packed' ELSE 'paid' END",
        "subtotal = total, total = subtotal",
    )
    databases.on_postgres(
        *(f"UPDATE {table.name} SET {change} WHERE id = '{key}'" for change, key in zip(changes, keys, strict=False)),
        f"DELETE FROM {table.name} WHERE id = '{keys[-1]}'",
    )
    extra = _extra(table, rows)
    columns = ", ".join(column.name for column in table.columns if column.name != "id")
    databases.on_postgres(
        f"INSERT INTO {table.name} (id, {columns}) SELECT '{extra}', {columns} FROM planted WHERE id = '{keys[0]}'"
    )
    return [*keys, extra]


def heal(databases: Databases, table: Table, keys: Sequence[str]) -> None:
    """Undoes `plant`."""
    listed = ", ".join(map(repr, keys))
    databases.on_postgres(
        f"DELETE FROM {table.name} WHERE id IN ({listed})",
        f"INSERT INTO {table.name} SELECT * FROM planted",
        "DROP TABLE planted",
    )


def _extra(table: Table, rows: int) -> Any:
    """A key that no row has."""
    return str(rows + 1) if table.column("id").type == "bigint" else "00000000-0000-4000-8000-000000000001"
