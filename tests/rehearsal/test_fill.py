"""The sample shop's data: deterministic, complete, consistent, never twice."""

from __future__ import annotations

from typing import Any

import pytest

from scripts.errors import UsageError
from scripts.rehearsal import fill, shop
from tests.rehearsal.conftest import ROWS, Databases


@pytest.mark.parametrize("rows", [1_000, 1_001, 4_321, 200_000, 1_000_000])
def test_sizes_add_up(rows: int) -> None:
    sizes = fill.sizes(rows)
    assert sizes.total == rows
    assert set(sizes.by_table()) == set(shop.TABLES)
    assert all(n > 0 for n in sizes.by_table().values())


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(UsageError, match="--rows 999"):
        fill.sizes(999)


def test_booleans_are_tinyints_and_one_tinyint_is_none() -> None:
    for name in shop.BOOLEANS:
        table, column = name.split(".")
        assert f"  {column}" in shop.DDL[table] and "TINYINT(1)" in shop.DDL[table]
    assert "orders.gift_wrap" not in shop.BOOLEANS


@pytest.mark.real
class TestFilled:
    def ask(self, databases: Databases, sql: str) -> Any:
        with databases.mysql() as my, my.cursor() as c:
            c.execute(sql)
            return c.fetchall()

    def checksum(self, databases: Databases) -> Any:
        return [
            (row[0], row[1])
            for row in self.ask(databases, "CHECKSUM TABLE customers, addresses, products, refunds, outbox")
        ]

    def test_all_rows_are_there_and_a_second_run_writes_nothing(self, databases: Databases) -> None:
        again = fill.fill(databases.mysql, ROWS)
        assert sum(again.rows.values()) == ROWS
        assert not any(again.written.values())

    def test_totals_fit(self, databases: Databases) -> None:
        wrong = self.ask(
            databases,
            "SELECT COUNT(*) FROM orders o WHERE o.client_ref IS NOT NULL "
            "AND total <> (SELECT SUM(quantity * unit_price) "
            "FROM order_items i WHERE i.order_id = o.id)",
        )
        assert wrong == ((0,),)
        assert self.ask(databases, "SELECT MAX(gift_wrap) FROM orders") == ((2,),)

    def test_a_part_that_is_missing_is_completed_with_the_same_rows(self, databases: Databases) -> None:
        before = self.checksum(databases)
        self.ask(databases, "DELETE FROM refunds")
        self.ask(databases, "DELETE FROM outbox WHERE id % 3 = 0 AND id <= 50")
        again = fill.fill(databases.mysql, ROWS)
        assert again.written["refunds"] and again.written["outbox"] and not again.written["customers"]
        assert self.checksum(databases) == before

    def test_another_shop_in_the_database_is_refused(self, databases: Databases) -> None:
        with pytest.raises(UsageError, match="filled otherwise"):
            fill.fill(databases.mysql, ROWS, seed=2)
        with pytest.raises(UsageError, match="filled otherwise"):
            fill.fill(databases.mysql, ROWS + 1)
