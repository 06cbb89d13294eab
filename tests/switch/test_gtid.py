"""GTID sets against plain sets of transactions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.clients.gtid import GtidSet

SOURCES = ("3e11fa47-71ca-11e1-9e33-c80aa9429562", "3e11fa47-71ca-11e1-9e33-c80aa9429562:nightly")
sets = st.sets(st.tuples(st.sampled_from(SOURCES), st.integers(1, 30)))


def made(pairs: set[tuple[str, int]]) -> GtidSet:
    return GtidSet.parse(",".join(f"{source}:{number}" for source, number in sorted(pairs)))


@given(sets, sets)
def test_like_sets(a: set[tuple[str, int]], b: set[tuple[str, int]]) -> None:
    assert (made(a) <= made(b)) == (a <= b)
    assert made(a) - made(b) == made(a - b)
    assert made(a).count == len(a)
    assert GtidSet.parse(str(made(a))) == made(a)


def test_as_mysql_writes_them() -> None:
    text = f"{SOURCES[0].upper()}:1-5:7,\n{SOURCES[0]}:nightly:1-3"
    assert str(GtidSet.parse(text)) == f"{SOURCES[0]}:1-5:7,{SOURCES[1]}:1-3"
    assert GtidSet.parse("").count == 0
    with pytest.raises(ValueError, match="no GTID set"):
        GtidSet.parse(SOURCES[0])
