"""The benchmarks' table is the same on both sides once copied, and planted differences are the only ones."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks import orders_table, others, ours
from benchmarks.copy import copied
from benchmarks.databases import Databases, databases
from benchmarks.orders_table import Keys

pytestmark = pytest.mark.real
ROWS = 1_000


@pytest.fixture(scope="module")
def both() -> Iterator[Databases]:
    with databases(tls=True) as both:
        yield both


@pytest.mark.parametrize("keys", ["number", "uuid"])
def test_planted_differences_are_found_and_healed(both: Databases, keys: Keys) -> None:
    table = orders_table.fill_source(both, keys, ROWS)
    assert len(table.columns) == 17
    assert 240 < orders_table.text_bytes(both, table) / ROWS < 300
    run = copied(both, table, ROWS, lambda: ours.copy(both, table, 2))
    assert run.answer["rows"] == ROWS and run.client > 0 and run.memory > 0
    planted = orders_table.plant(both, table)
    assert len(set(planted)) == orders_table.DIFFERENT
    assert ours.check(both, table, "hash", 2).answer["keys"] == sorted(planted)
    orders_table.heal(both, table, planted)
    assert ours.check(both, table, "hash", 2).answer["keys"] == []


def test_row_by_row_copies_the_same_rows(both: Databases) -> None:
    table = orders_table.description(both, "number")
    assert copied(both, table, ROWS, lambda: others.psycopg_copy(both, table, 2)).answer["rows"] == ROWS
    assert ours.check(both, table, "hash", 2).answer["keys"] == []


@pytest.mark.parametrize("form", ["binary", "text"])
def test_floor_loads_the_same_rows(both: Databases, form: str) -> None:
    table = orders_table.description(both, "number")
    files = others.floor_files(both, table, 2, form)
    assert len(files) == 2
    assert copied(both, table, ROWS, lambda: others.floor(both, table, files, form)).answer["bytes"] > 0
    assert ours.check(both, table, "hash", 2).answer["keys"] == []
