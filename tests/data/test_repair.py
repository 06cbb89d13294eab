"""Rows copied anew where foreign keys hold: whatever order tables and rows come in."""

from __future__ import annotations

import pytest

from scripts.data.inspect import mysql_tables
from scripts.data.repair import repair
from scripts.data.rules import rules_of
from tests.data.conftest import Pair

pytestmark = pytest.mark.real

ROWS = {"parcels": "SELECT id, parent, shop FROM parcels ORDER BY id", "shops": "SELECT id FROM shops ORDER BY id"}


def test_rows_wait_for_those_they_refer_to(pair: Pair) -> None:
    """Children come before their parents, by table and by key; some rows are to be written, some to be deleted."""
    for on_side in (pair.on_source, pair.on_target):
        on_side(
            "CREATE TABLE shops (id BIGINT PRIMARY KEY)",
            "CREATE TABLE parcels (id BIGINT PRIMARY KEY, parent BIGINT, shop BIGINT NOT NULL, "
            "FOREIGN KEY (parent) REFERENCES parcels (id) ON DELETE RESTRICT, "
            "FOREIGN KEY (shop) REFERENCES shops (id))",
        )
    pair.on_source("INSERT INTO shops VALUES (1), (2)", "INSERT INTO parcels VALUES (3, NULL, 2), (2, 3, 1), (1, 2, 1)")
    pair.on_target("INSERT INTO shops VALUES (1), (8)", "INSERT INTO parcels VALUES (8, NULL, 8), (9, 8, 8)")
    keys = {"parcels": [("1",), ("2",), ("3",), ("8",), ("9",)], "shops": [("2",), ("8",)]}
    told: list[int] = []
    with pair.mysql() as my:
        tables = mysql_tables(my, pair.name)
    repair(pair, [(rules_of(table), keys[table.name]) for table in tables], told.append)
    for query in ROWS.values():
        assert [tuple(row) for row in pair.on_source(query)] == pair.on_target(query)
    assert told[-1] == sum(map(len, keys.values())) and told == sorted(told)


def test_a_row_whose_parent_is_not_there_stops_nothing(pair: Pair) -> None:
    pair.on_source("CREATE TABLE a (id BIGINT PRIMARY KEY, b BIGINT NOT NULL)", "INSERT INTO a VALUES (1, 5), (2, 6)")
    pair.on_target(
        "CREATE TABLE b (id BIGINT PRIMARY KEY)",
        "INSERT INTO b VALUES (6)",
        "CREATE TABLE a (id BIGINT PRIMARY KEY, b BIGINT NOT NULL REFERENCES b)",
    )
    with pair.mysql() as my:
        [table] = mysql_tables(my, pair.name)
    repair(pair, [(rules_of(table), [("1",), ("2",)])], lambda done: None)
    assert pair.on_target("SELECT id, b FROM a") == [(2, 6)]
