"""What may be written to a database that no one here wrote, read off its schema."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from contract.types import Choices
from scripts.data import inspect
from scripts.rehearsal.generic import ROOM, tables_plan
from scripts.rehearsal.workload import TablePlan
from tests.rehearsal.conftest import Databases

pytestmark = pytest.mark.real

DDL = [
    """CREATE TABLE parent (
        id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, code CHAR(3) NOT NULL, label VARCHAR(40) NOT NULL UNIQUE,
        stock INT NOT NULL, tiny TINYINT, note TEXT, price DECIMAL(10,2), flag TINYINT(1) NOT NULL DEFAULT 0,
        kind ENUM('a','b'), day DATE, changed TIMESTAMP NULL ON UPDATE CURRENT_TIMESTAMP,
        twice INT GENERATED ALWAYS AS (tiny * 2) STORED, low INT, CHECK (low < 10), KEY (code))""",
    """CREATE TABLE child (
        id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, parent_id INT UNSIGNED NOT NULL, picture BLOB,
        body JSON NOT NULL, FOREIGN KEY (parent_id) REFERENCES parent (id))""",
    "CREATE TABLE pairs (a INT UNSIGNED, b INT UNSIGNED, PRIMARY KEY (a, b), FOREIGN KEY (a) REFERENCES parent (id))",
    "CREATE TABLE narrow (id TINYINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, v VARCHAR(30))",
    "CREATE TABLE numbered (id INT PRIMARY KEY, v VARCHAR(30))",
    "CREATE TABLE special (id INT AUTO_INCREMENT PRIMARY KEY, place POINT NOT NULL, v VARCHAR(30))",
    "CREATE TABLE history (id INT AUTO_INCREMENT PRIMARY KEY, what VARCHAR(90))",
    "CREATE TABLE keyless (a INT)",
    "CREATE TRIGGER log_parent AFTER UPDATE ON parent FOR EACH ROW INSERT INTO history (what) VALUES (NEW.label)",
    "CREATE TRIGGER own_note BEFORE UPDATE ON parent FOR EACH ROW SET NEW.note = 'touched'",
    "INSERT INTO parent (code, label, stock, low) VALUES ('x', 'one', 5, 1), ('y', 'two', 2147483000, 2)",
    "INSERT INTO child (parent_id, body) VALUES (1, '{}')",
    "INSERT INTO numbered VALUES (7, 'seven')",
]


@pytest.fixture(scope="module")
def plan(databases: Databases) -> Iterator[dict[str, TablePlan]]:
    with databases.mysql(None) as my, my.cursor() as c:
        c.execute("SET GLOBAL log_bin_trust_function_creators = 1")
        c.execute("CREATE DATABASE foreign_shop")
        try:
            my.select_db("foreign_shop")
            for statement in DDL:
                c.execute(statement)
            found = inspect.mysql_tables(my, "foreign_shop")
            tables = inspect.without_unsupported(found, Choices.of(["parent.flag"]))
            made = tables_plan(my, tables, inspect.excluded_columns(found), ["parent.flag"])
            yield {t.name: t for t in made.tables}
        finally:
            c.execute("DROP DATABASE foreign_shop")


def kinds(how: dict[str, dict[str, Any]] | None) -> dict[str, str]:
    return {} if how is None else {name: value["kind"] for name, value in how.items()}


def test_updates_touch_plain_columns_only(plan: dict[str, TablePlan]) -> None:
    assert kinds(plan["parent"].updates) == {"tiny": "integer", "kind": "choice", "day": "date"}


def test_increments_need_room_and_differ_from_updates(plan: dict[str, TablePlan]) -> None:
    assert plan["parent"].increments == {"stock": [5, None]}
    assert not set(plan["parent"].increments) & set(plan["parent"].updates)


def test_rows_are_made_where_every_column_can_be(plan: dict[str, TablePlan]) -> None:
    insert = kinds(plan["parent"].insert)
    assert (
        insert["label"] == "text"
        and insert["flag"] == "choice"
        and "id" not in insert
        and "twice" not in insert
        and "low" not in insert
    )
    assert kinds(plan["child"].insert) == {"parent_id": "reference", "picture": "choice", "body": "choice"}
    assert plan["child"].insert["parent_id"]["values"] == [1, 2]  # type: ignore[index]
    assert plan["numbered"].insert["id"]["first"] > 1_000_000  # type: ignore[index]


def test_no_rows_where_it_is_not_safe(plan: dict[str, TablePlan]) -> None:
    for name in ("narrow", "special", "history"):
        assert plan[name].insert is None, name
    assert plan["history"].keys == [] and plan["history"].updates == {}  # triggers write there
    assert plan["pairs"].insert is None or plan["pairs"].insert["b"]["kind"] == "serial"
    assert plan["parent"].room >= ROOM // 2
    assert "keyless" not in plan
