"""The projection's arithmetic."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.projection import BUSY, TERABYTE, Cost, project


def test_cost_is_by_gigabyte() -> None:
    assert Cost.of(500e6, client=1.0, source=2.0, target=3.0) == Cost(2.0, 4.0, 6.0)


def test_what_eight_terabytes_need() -> None:
    need = project(Cost(client=3.0, source=4.0, target=6.0), 8 * TERABYTE, hours=4)
    assert need.bytes_per_second == pytest.approx(8e12 / 14_400)
    assert need.source_cpus == pytest.approx(0.5556 * 4 / BUSY, rel=1e-3)
    assert (need.client_cpus, need.target_cpus) == pytest.approx((need.source_cpus * 3 / 4, need.source_cpus * 6 / 4))
    assert need.streams == 11  # 0.556 GB/s of 13 s each, at 70 %: 10.3


seconds = st.floats(0.01, 100)


@given(seconds, seconds, seconds, st.floats(1e6, 1e14), st.floats(0.1, 100))
def test_half_the_time_takes_twice_as_much(client: float, source: float, target: float, size: float, h: float) -> None:
    cost = Cost(client, source, target)
    slow, fast = project(cost, size, h), project(cost, size, h / 2)
    assert fast.target_cpus == pytest.approx(2 * slow.target_cpus)
    assert slow.streams <= fast.streams <= 2 * slow.streams
    assert fast.streams * BUSY >= fast.bytes_per_second / 1e9 * cost.total * (1 - 1e-9)
