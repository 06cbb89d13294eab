"""The lag is that of each table, and grows while the sink stands still."""

from __future__ import annotations

import time

import pytest

from local.processes import wait_until
from scripts.data import lag
from scripts.switch import changes
from tests.switch.conftest import Lab

pytestmark = pytest.mark.real


def test_lag_of_each_table(lab: Lab) -> None:
    now = lag.sample(lab.context)
    assert set(now.tables) == {"customers", "orders"} and now.seconds < 2 and now.ok
    lab.sink("pause")
    try:
        lab.mysql("UPDATE customers SET n = n + 1 WHERE id = 1")
        with lag.Sampler(lab.context) as sampler:
            wait_until(lambda: sampler.sample().waiting["customers"] == 1, 10, "the change in Kafka")
            time.sleep(1.5)
            before = time.monotonic()
            late = sampler.sample()
            assert time.monotonic() - before < 1.5
        assert late.tables["customers"] > 1.5 > late.tables["orders"]
        assert late.waiting == {"customers": 1, "orders": 0}
        assert not lag.sample(context := lab.with_kpis(lag_seconds=1.0)).ok and context.outputs.kpis.lag_seconds == 1.0
    finally:
        lab.sink("resume")
    with lag.Sampler(lab.context) as sampler:
        wait_until(lambda: sampler.sample().waiting["customers"] == 0, 20, "the sink to catch up")


def test_positions_of_the_topics(lab: Lab) -> None:
    before = changes.kafka_offsets(lab.context)
    assert set(before) == {"dbserver1.ecommerce.customers", "dbserver1.ecommerce.orders"}
    lab.mysql("UPDATE customers SET n = n + 1 WHERE id = 2")
    lab.settle()
    after = changes.kafka_offsets(lab.context)
    assert (
        sum(after["dbserver1.ecommerce.customers"].values())
        == sum(before["dbserver1.ecommerce.customers"].values()) + 1
    )
    assert changes.offsets_of(after)["dbserver1.ecommerce.orders", 0] == before["dbserver1.ecommerce.orders"]["0"]
