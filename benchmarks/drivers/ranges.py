"""Cuts a table into ranges of its key with about as many rows each."""

from collections.abc import Mapping
from typing import Any

from benchmarks.databases import Endpoint, connect_mysql


def cut(task: Mapping[str, Any], parts: int) -> list[str]:
    """One condition over `id` for each part; SQL for both databases."""
    with connect_mysql(Endpoint(**task["mysql"])) as my, my.cursor() as cursor:
        cursor.execute(f"SELECT COUNT(*) FROM {task['table']}")
        rows = cursor.fetchone()[0]
        bounds = []
        for part in range(1, parts):
            cursor.execute(f"SELECT id FROM {task['table']} ORDER BY id LIMIT 1 OFFSET {rows * part // parts}")
            bounds.append(str(cursor.fetchone()[0]))
    lower = ["true", *(f"id >= '{bound}'" for bound in bounds)]
    upper = [*(f"id < '{bound}'" for bound in bounds), "true"]
    return [f"{low} AND {high}" for low, high in zip(lower, upper, strict=True)]
