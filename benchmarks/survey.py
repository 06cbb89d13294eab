"""Times the survey with its default sampling against one full scan of everything, in the same run.

    .venv/bin/python -m benchmarks.survey [--tables 100] [--rows 10000000] [--runs 2]

The tables are all of one size, the worst case for a sample, which reads at least some thousand rows of each. The full
scan is one aggregate over all columns of each table (MAX, the cheapest that must look at every value). Both run by
turns on the same MySQL over one connection, after a scan that nobody counts. Leave the machine alone meanwhile.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence

from benchmarks.databases import Databases, databases
from contract.tables import Table, mysql_name
from scripts.console import Console
from scripts.data import survey
from scripts.data.inspect import mysql_tables
from scripts.data.survey_result import Survey, percent, size_text

BATCH = 100_000
"""Rows of one INSERT."""

COLUMNS = """
    id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, customer_id INT UNSIGNED NOT NULL, reference CHAR(36) NOT NULL,
    status ENUM('new', 'paid', 'sent', 'returned') NOT NULL, is_gift TINYINT(1) NOT NULL, items SMALLINT NOT NULL,
    total DECIMAL(15, 2) NOT NULL, weight DOUBLE, note VARCHAR(200), slot TIME, due DATE,
    created_at DATETIME(3) NOT NULL, changed_at TIMESTAMP NOT NULL, extra JSON,
    KEY created (created_at), KEY customer (customer_id)"""
VALUES = """
    NULL, i * 7919 % 1000003, UUID(), 1 + i % 4, i % 2, i % 9, i / 7, i / 3e5, CONCAT('note ', SHA2(i, 256)),
    SEC_TO_TIME(i % 86400), '2020-01-01' + INTERVAL i % 1500 DAY, '2020-01-01' + INTERVAL i * 90 SECOND,
    '2024-01-01', JSON_OBJECT('n', i, 'tags', JSON_ARRAY('a', i % 5))"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=100)
    parser.add_argument("--rows", type=int, default=10_000_000, help="of all tables together")
    parser.add_argument("--runs", type=int, default=2)
    arguments = parser.parse_args()
    with databases(tls=True) as made:
        fill(made, arguments.tables, arguments.rows)
        with made.mysql() as my:
            tables = mysql_tables(my, made.outputs.database)
        size = sum(table.size for table in tables)
        print(f"{made.versions()}; {len(tables)} tables, {arguments.rows:,} rows, {size_text(size)}", flush=True)
        scan(made, tables)
        scans, surveys = [], []
        for turn in range(arguments.runs):
            scans.append(scan(made, tables))
            seconds, found = look(made)
            surveys.append(seconds)
            print(
                f"run {turn + 1}: full scan {scans[-1]:.1f} s, survey {seconds:.1f} s "
                f"({found.rows_read:,} rows read, {percent(found.rows_read / arguments.rows)})",
                flush=True,
            )
        ratio = statistics.median(surveys) / statistics.median(scans)
        print(f"the survey takes {ratio:.2f} of a full scan's time", flush=True)


def fill(made: Databases, tables: int, rows: int) -> None:
    """The first table is generated, the others are copies of it."""
    each = rows // tables
    batches = [min(BATCH, each - start) for start in range(0, each, BATCH)]
    quick = ("SET SESSION sql_log_bin = 0", "SET SESSION cte_max_recursion_depth = 1000000")
    numbers = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {}) SELECT i FROM n"
    made.on_mysql(
        *quick,
        f"CREATE TABLE t001 ({COLUMNS})",
        *(f"INSERT INTO t001 SELECT {VALUES} FROM ({numbers.format(size)}) AS numbers" for size in batches),
        "ANALYZE TABLE t001",
    )
    for number in range(2, tables + 1):
        name = f"t{number:03d}"
        made.on_mysql(
            *quick, f"CREATE TABLE {name} LIKE t001", f"INSERT INTO {name} SELECT * FROM t001", f"ANALYZE TABLE {name}"
        )


def scan(made: Databases, tables: Sequence[Table]) -> float:
    """Seconds of reading every value of every table."""
    began = time.monotonic()
    with made.mysql() as my, my.cursor() as cursor:
        for table in tables:
            listed = ", ".join(f"MAX({mysql_name(column.name)})" for column in table.columns)
            cursor.execute(f"SELECT COUNT(*), {listed} FROM {mysql_name(table.name)} IGNORE INDEX (created, customer)")
            cursor.fetchall()
    return time.monotonic() - began


def look(made: Databases) -> tuple[float, Survey]:
    """Seconds of a whole survey, from the catalog to the page, and what it says."""
    began = time.monotonic()
    report = survey.run(made, console=Console(quiet=True))  # type: ignore[arg-type]
    return time.monotonic() - began, report.survey


if __name__ == "__main__":
    main()
