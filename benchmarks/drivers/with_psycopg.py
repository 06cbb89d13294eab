"""Copies a table as most scripts do: rows from PyMySQL's unbuffered cursor to psycopg's COPY, one process a stream."""

import json
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from benchmarks.databases import Endpoint, connect_mysql, connect_postgres
from benchmarks.drivers import ranges


def main() -> None:
    task = json.load(sys.stdin)
    began = time.monotonic()
    with ProcessPoolExecutor(task["streams"]) as pool:
        parts = ranges.cut(task, task["streams"])
        rows = sum(pool.map(copy, [task] * len(parts), parts))
    seconds = time.monotonic() - began
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(json.dumps({"seconds": seconds, "cpu": sum(u.ru_utime + u.ru_stime for u in used), "rows": rows}))


def copy(task: dict[str, Any], where: str) -> int:
    """Copies the rows of a range. Returns how many."""
    import pymysql.cursors

    rows = 0
    columns = ", ".join(task["columns"])
    with (
        connect_mysql(Endpoint(**task["mysql"])) as my,
        my.cursor(pymysql.cursors.SSCursor) as cursor,
        connect_postgres(Endpoint(**task["postgres"])) as pg,
    ):
        cursor.execute(f"SELECT {columns} FROM {task['table']} WHERE {where}")
        with pg.cursor().copy(f"COPY {task['table']} ({columns}) FROM STDIN".encode()) as copied:
            for row in cursor:
                copied.write_row(row)
                rows += 1
    return rows


if __name__ == "__main__":
    main()
