"""The way back by itself: names that PostgreSQL and Kafka take, SQL in which names end where they must."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from contract.debezium import reverse_sink_settings, reverse_source_settings, sink_settings
from contract.types import Choices
from contract.way_back import MYSQL_SESSION, mysql_prepare, postgres_prepare, postgres_slot, prefix, slot


@given(st.integers(1, 99), st.integers(1, 99))
def test_a_round_has_a_slot_and_a_prefix_of_its_own(one: int, other: int) -> None:
    assert re.fullmatch(r"[a-z0-9_]{1,63}", slot(one)), "what PostgreSQL takes"
    assert re.fullmatch(r"[A-Za-z0-9._-]+", prefix("dbserver1", one)), "what Kafka takes"
    assert f"'{slot(one)}', 'pgoutput'" in postgres_slot(slot(one))
    assert (slot(one) == slot(other)) == (prefix("dbserver1", one) == prefix("dbserver1", other)) == (one == other)


@given(st.lists(st.text(min_size=1, max_size=9), min_size=1, max_size=4, unique=True))
def test_every_table_is_published_whole(tables: list[str]) -> None:
    statements = list(postgres_prepare("e", tables))
    for table in [*tables, "watermark", "idempotency"]:
        schema = "public" if table in tables else "zdm"
        quoted = f'"{schema}"."' + table.replace('"', '""') + '"'
        assert f"ALTER TABLE {quoted} REPLICA IDENTITY FULL" in statements
        assert quoted in statements[-1] and statements[-1].startswith("CREATE PUBLICATION")


def test_the_writer_may_write_rows_unlogged_and_no_more() -> None:
    rights, session = list(mysql_prepare("shop`s"))[:2], list(mysql_prepare("e"))[-1]
    assert rights[0] == "GRANT SELECT, INSERT, UPDATE, DELETE ON `shop``s`.* TO 'zdm_sink'@'%'"
    assert session.startswith("GRANT SESSION_VARIABLES_ADMIN, CONNECTION_ADMIN ON *.*")
    assert MYSQL_SESSION["sql_log_bin"] == MYSQL_SESSION["foreign_key_checks"] == "0"


def test_values_travel_back_as_they_came() -> None:
    source = reverse_source_settings(Choices.of(intervals=["a.took"]), ["a.b"])
    assert (source["converters"], source["intervals.selector"]) == ("intervals", r"public\.a\.took")
    assert source["column.exclude.list"] == r"public\.a\.b" and "column.exclude.list" not in reverse_source_settings()
    assert source["time.precision.mode"] == "adaptive_time_microseconds"
    changed = {k for k, v in reverse_sink_settings().items() if sink_settings()[k] != v}
    assert changed == {"use.reduction.buffer"}
