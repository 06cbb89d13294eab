"""The retention solver: exact sums, in words; more load never needs less; what it sizes passes its own check."""

from __future__ import annotations

from dataclasses import fields, replace
from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.retention import (
    MAX_VOLUME_GIB,
    RDS_BINLOG_HOURS,
    Kept,
    Load,
    Need,
    Needs,
    broker_need,
    mib_per_s,
    needs,
    shortfalls,
)

SHOP = Load(data_gib=8192, change_mib_per_s=2, copy_mib_per_s=100, rollback_hours=24, brokers=3)
RESULTS = [f.name for f in fields(Needs) if f.name != "copy_hours"]


def amounts(least: float, most: float) -> st.SearchStrategy[float]:
    return st.floats(least, most, allow_nan=False).map(lambda value: round(value, 3) or least)


LOADS = st.builds(
    Load,
    data_gib=amounts(0.01, 100_000),
    change_mib_per_s=amounts(0, 50),
    copy_mib_per_s=amounts(51, 2_000),
    rollback_hours=amounts(0, 500),
    brokers=st.integers(3, 30),
    replication=st.integers(1, 3),
    safety=amounts(1, 5),
    mend_hours=amounts(0, 168),
    through_kafka=st.booleans(),
    captured_first=st.booleans(),
    record_share=amounts(0.1, 5),
)


def result(load: Load, name: str) -> Need:
    need: Need = getattr(needs(load), name)
    return need


def test_the_shops_eight_tebibytes() -> None:
    need = needs(SHOP)
    assert str(need.binlog_hours) == (
        "copy: 8192 GiB / 100 MiB/s = 23.3 h; x 1.5 + 24 h to notice and mend = 59 h binlog"
    )
    assert str(need.binlog_gib) == "binlog: 2 MiB/s x 59 h = 415 GiB"
    assert str(need.broker_gib) == (
        "broker: (8192 GiB x 1.4 copied + 2 MiB/s x 59 h = 414.84 GiB changed) x 3 replicas / 3 brokers / 85 % full "
        "= 13981 GiB"
    )
    assert str(need.slot_wal_gib) == "slot: 2 MiB/s x 24 h x 1.5 = 254 GiB of log held by Aurora"
    assert needs(replace(SHOP, copy_mib_per_s=16)).binlog_hours.value == 243, "240 h and more for 8 TB, as others found"


def test_a_long_way_back_needs_the_binlog_longer_than_the_copy() -> None:
    need = needs(replace(SHOP, rollback_hours=168)).binlog_hours
    assert str(need) == "way back: 168 h open + 24 h to notice and mend = 192 h binlog"


def test_past_kafka_only_the_changes_lie_in_the_topics() -> None:
    need = needs(replace(SHOP, through_kafka=False)).broker_gib
    assert "copied" not in need.sum and need.value == ceil(Fraction(2 * 3600 * 59, 1024) * 100 / 85)


def test_captured_first_it_is_the_topics_that_outlast_the_copy() -> None:
    first = replace(SHOP, through_kafka=False, captured_first=True, copy_mib_per_s=16)
    need = needs(first)
    assert str(need.binlog_hours) == "way back: 24 h open + 24 h to notice and mend = 48 h binlog"
    assert need.topic_hours == needs(replace(first, captured_first=False)).topic_hours
    assert [s.setting for s in shortfalls(first, Kept(48, 168, 16000))] == ["topic_hours"]


@given(st.integers(0, 10**6))
def test_rates_are_exact(gib: int) -> None:
    assert mib_per_s(gib) * 86400 / 1024 == pytest.approx(gib)
    assert mib_per_s(84.375) == 1.0


@given(LOADS)
def test_hours_are_the_exact_sum_rounded_up(load: Load) -> None:
    def exact(value: float) -> Fraction:
        return Fraction(repr(value))

    through = exact(load.data_gib) * 1024 / exact(load.copy_mib_per_s) / 3600 * exact(load.safety)
    hours = through + exact(load.mend_hours)
    assert needs(load).topic_hours.value == ceil(hours)
    back = exact(load.rollback_hours) + exact(load.mend_hours)
    assert needs(load).binlog_hours.value == ceil(back if load.captured_first else max(hours, back))


@given(
    LOADS, st.sampled_from(["data_gib", "change_mib_per_s", "rollback_hours", "safety", "mend_hours"]), amounts(0, 99)
)
def test_more_to_do_never_needs_less(load: Load, what: str, more: float) -> None:
    greater = replace(load, **{what: getattr(load, what) + more})
    for name in RESULTS:
        assert result(load, name).value <= result(greater, name).value, name


@given(LOADS, st.sampled_from(["copy_mib_per_s", "brokers"]), st.integers(1, 99))
def test_more_means_never_need_more(load: Load, what: str, more: int) -> None:
    better = replace(load, **{what: getattr(load, what) + more})
    for name in RESULTS:
        assert result(load, name).value >= result(better, name).value, name


@given(LOADS, st.none() | st.integers(0, 10**6), st.integers(10, 80), st.integers(0, 500))
def test_what_the_solver_sizes_passes_its_own_check(load: Load, grow: int | None, percent: int, longer: int) -> None:
    need = needs(load)
    hours = need.topic_hours.value + longer
    volume = broker_need(load, hours).value
    sized = Kept(need.binlog_hours.value, hours, volume, None if grow is None else volume + grow, percent)
    assert shortfalls(load, sized) == []


@given(
    LOADS, st.integers(1, 10_000), st.integers(1, 10_000), st.integers(1, 10_000), st.none() | st.integers(1, 10_000)
)
def test_the_values_it_names_would_do(load: Load, binlog: int, topics: int, volume: int, limit: int | None) -> None:
    kept = Kept(binlog, topics, volume, limit)
    found = shortfalls(load, kept)
    mended = replace(kept, **{s.setting: int(s.needed) for s in found})
    assert shortfalls(load, mended) == []
    for shortfall in found:
        assert getattr(kept, shortfall.setting) == shortfall.kept < shortfall.needed
        assert f"{shortfall.needed} {shortfall.unit} are needed" in str(shortfall) and shortfall.sum in str(shortfall)


@given(LOADS, st.integers(1, 2_000), st.integers(10, 80))
def test_a_volume_that_grows_is_never_fuller_than_it_is_large(load: Load, first: int, percent: int) -> None:
    """MSK's rule played through: where the check finds nothing, the copy does not outrun the growth."""
    need = needs(load)
    limit = broker_need(load, need.topic_hours.value).value
    kept = Kept(need.binlog_hours.value, need.topic_hours.value, first, max(first, limit), percent)
    if shortfalls(load, kept):
        return
    speed = load.change_mib_per_s + (load.copy_mib_per_s * load.record_share if load.through_kafka else 0)
    filling = speed * 3600 / 1024 * load.replication / load.brokers
    most = limit * 0.85
    volume, used, grown_at = float(first), 0.0, -6
    for hour in range(24 * 365):
        used = min(most, used + filling)
        assert used <= volume + 1e-6
        if used >= most:
            break
        if used >= volume * percent / 100 and hour - grown_at >= 6:
            volume, grown_at = min(max(volume + 10, volume * 1.1), float(max(first, limit))), hour


def test_each_shortfall_says_what_would_do() -> None:
    found = {s.setting: str(s) for s in shortfalls(SHOP, Kept(24, 48, 1000, rds=True))}
    assert found["binlog_hours"].startswith("24 h, but 59 h are needed: copy: 8192 GiB / 100 MiB/s")
    assert found["topic_hours"].endswith("= 59 h in the topics")
    assert found["broker_gib"].startswith("1000 GiB, but 13981 GiB are needed")
    grown = {s.setting: str(s) for s in shortfalls(SHOP, Kept(59, 59, 1000, grow_to_gib=16000))}
    assert list(grown) == ["broker_gib"] and "once in 6 h" in grown["broker_gib"]


def test_rds_keeps_a_week_at_most() -> None:
    slow = replace(SHOP, copy_mib_per_s=10)
    [found] = shortfalls(slow, Kept(RDS_BINLOG_HOURS, 400, 17000, rds=True))
    assert str(found).endswith("RDS for MySQL keeps 168 h at most: copy at 25 MiB/s or more, or move less")
    assert needs(replace(SHOP, copy_mib_per_s=25)).binlog_hours.value <= RDS_BINLOG_HOURS
    back = replace(SHOP, rollback_hours=160)
    [found] = shortfalls(back, Kept(RDS_BINLOG_HOURS, 400, 17000, rds=True))
    assert str(found).endswith("keep the way back open for 144 h or less")


def test_what_no_broker_holds_takes_more_brokers() -> None:
    big = replace(SHOP, data_gib=65536)
    found = {s.setting: str(s) for s in shortfalls(big, Kept(400, 400, MAX_VOLUME_GIB))}
    assert found["broker_gib"].endswith("use more brokers, or copy past Kafka")


def test_changes_that_outrun_the_copy_never_end() -> None:
    [found] = shortfalls(replace(SHOP, change_mib_per_s=100), Kept(10**6, 10**3, 10**9))
    assert (found.setting, found.kept, found.needed) == ("copy_mib_per_s", 100, 101)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data_gib": 0}, r"Load\.data_gib: more than 0"),
        ({"copy_mib_per_s": 0, "safety": 0.5}, r"Load\.copy_mib_per_s: .*; Load\.safety"),
        ({"brokers": 2}, r"Load\.brokers: at least the 3 replicas, not 2"),
    ],
)
def test_a_bad_number_is_named(change: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SHOP, **change)
