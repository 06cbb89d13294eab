"""What differs, and what is only late: whichever side writes."""

from __future__ import annotations

import pytest

from contract.flag import Side
from scripts.data.inspect import mysql_tables
from scripts.data.rules import rules_of
from scripts.data.settle import equal_or_settled
from tests.data.conftest import Pair

pytestmark = pytest.mark.real

KEYS = {"orders": [("1",), ("2",), ("3",)]}


@pytest.mark.parametrize("writer", list(Side))
def test_a_row_that_the_writer_changes_meanwhile_is_no_difference(pair: Pair, writer: Side) -> None:
    """Row 1 is late at first and changed again while that is proven, row 2 is wrong, row 3 was only late."""
    for on_side in (pair.on_source, pair.on_target):
        on_side("CREATE TABLE orders (id BIGINT PRIMARY KEY, n INT NOT NULL)")
        on_side("INSERT INTO orders VALUES (1,1), (2,1), (3,1)")
    on_writer, on_other = (pair.on_source, pair.on_target) if writer is Side.MYSQL else (pair.on_target, pair.on_source)
    on_writer("UPDATE orders SET n = 2")

    def settle() -> None:
        on_other("UPDATE orders SET n = 2 WHERE id IN (1, 3)")
        on_writer("UPDATE orders SET n = 3 WHERE id = 1")

    with pair.mysql() as my, pair.postgres() as pg:
        rules = {table.name: rules_of(table) for table in mysql_tables(my, pair.name)}
        wrong, moved = equal_or_settled(my, pg, KEYS, rules, settle, writer)
    assert [difference.key for difference in wrong] == [("2",)]
    assert moved == {"orders": [("1",)]}
