"""Checks a table with reladiff. Runs in a virtual environment of its own; knows nothing of this project."""

import json
import logging
import resource
import sys
import time

import mysql.connector  # noqa: F401  (imported here so that it is not measured)
import psycopg2  # noqa: F401
import reladiff


def main() -> None:
    task = json.load(sys.stdin)
    logging.disable(logging.WARNING)
    began, used = time.monotonic(), cpu()
    tables = []
    for kind in ("mysql", "postgres"):
        at = task[kind]
        login = {key: at[key] for key in ("host", "port", "user", "password")}
        if kind == "mysql":
            info = {"driver": "mysql", **login, "database": at["database"], "ssl_disabled": not at["tls"]}
        else:
            info = {
                "driver": "postgresql",
                **login,
                "dbname": at["database"],
                "sslmode": "require" if at["tls"] else "disable",
            }
        tables.append(
            reladiff.connect_to_table(
                info,
                task["table"],
                "id",
                thread_count=task["threads"],
                extra_columns=tuple(task["columns"]),
                case_sensitive=False,
            )
        )
    keys = set()
    with reladiff.diff_tables(
        *tables,
        threaded=True,
        max_threadpool_size=2 * task["threads"],
        bisection_factor=task["factor"],
        bisection_threshold=task["threshold"],
        skip_sort_results=True,
    ) as found:
        for _, row in found:
            keys.add(str(row[0]))
    print(json.dumps({"seconds": time.monotonic() - began, "cpu": cpu() - used, "keys": sorted(keys)}))


def cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


main()
