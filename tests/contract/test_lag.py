"""How lateness follows from what is measured."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from contract.lag import Markers, behind, source_seconds, table_lags

OFFSETS = st.integers(0, 1000)


@given(st.dictionaries(st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 3)), st.tuples(OFFSETS, OFFSETS, OFFSETS)))
def test_who_waits(partitions: dict[tuple[str, int], tuple[int, int, int]]) -> None:
    committed = {p: c - 1 for p, (c, _, _) in partitions.items()}
    begins = {p: min(b, e) for p, (_, b, e) in partitions.items()}
    ends = {p: e for p, (_, _, e) in partitions.items()}
    waits = behind(committed, begins, ends)
    assert all(begins[p] <= offset < ends[p] for p, offset in waits.items())
    first = {p: 100.0 - i for i, p in enumerate(waits)}
    lags = table_lags({"a": "orders", "b": "items"}, waits, ends, first, 130.0, 0.5)
    assert lags.keys() == {"orders", "items"}
    assert sum(lag.waiting for lag in lags.values()) == sum(ends[p] - o for p, o in waits.items())
    worst = max((130.0 - at for at in first.values()), default=0.0)
    assert max(lag.seconds for lag in lags.values()) == max(worst, 0.5)


def test_a_marker_that_does_not_come_grows_old() -> None:
    markers = Markers()
    markers.written("one", 100.0)
    assert markers.delay(104.0) == 0.0, "the newest marker may still be on its way"
    markers.written("two", 105.0)
    assert markers.delay(107.0) == 7.0
    markers.written("three", 110.0)
    markers.seen("two", 112.0)
    assert markers.delay(113.0) == 7.0 and markers.waiting == 1, "the second overtook the first in its one row"
    markers.seen("of someone else", 113.0)
    assert markers.waiting == 1
    markers.seen("three", 113.5)
    assert markers.delay(200.0) == 3.5
    markers.written("four", 201.0)
    markers.fenced()
    assert markers.waiting == 0 and markers.delay(300.0) == 0.0


def test_when_a_change_was_committed() -> None:
    value = b'{"payload":{"after":{"note":"x"},"source":{"version":"3","ts_us":1700000000123456,"db":"d"}}}'
    assert source_seconds(value, 5) == 1700000000.123456
    assert source_seconds(None, 5000) == 5.0
