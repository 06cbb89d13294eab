"""Windows of a week: the hours that people mean, in their own time zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.window import DAYS, Window

HANOI = ZoneInfo("Asia/Ho_Chi_Minh")


def test_days_and_hours_of_the_zone() -> None:
    window = Window.parse("Tue-Thu 02:00-04:00 Asia/Ho_Chi_Minh")
    assert window.contains(datetime(2026, 12, 1, 2, 0, tzinfo=HANOI)), "a Tuesday"
    assert window.contains(datetime(2026, 11, 30, 19, 30, tzinfo=UTC)), "Monday in UTC, and Tuesday there"
    assert not window.contains(datetime(2026, 12, 1, 4, 0, tzinfo=HANOI)), "the end is not in it"
    assert not window.contains(datetime(2026, 12, 4, 3, 0, tzinfo=HANOI)), "a Friday"
    assert window.next(datetime(2026, 12, 3, 5, 0, tzinfo=HANOI)) == datetime(2026, 12, 8, 2, 0, tzinfo=HANOI)


def test_a_night_belongs_to_the_day_on_which_it_begins() -> None:
    window = Window.parse("Fri 23:00-02:00 UTC")
    assert window.contains(datetime(2026, 12, 5, 1, 59, tzinfo=UTC)), "Saturday, in Friday's night"
    assert not window.contains(datetime(2026, 12, 4, 1, 0, tzinfo=UTC))
    around = Window.parse("Sat-Mon 01:00-02:00 UTC")
    assert {DAYS[day] for day in around.days} == {"Sat", "Sun", "Mon"}


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("02:00-04:00 UTC", "is no window"),
        ("Tue 2:00-4:00 UTC", "is no window"),
        ("Tue 02:00-24:00 UTC", "are no hours"),
        ("Tue 02:00-02:00 UTC", "no time at all"),
        ("Tue 02:00-04:00 Asia/Hanoi", "no time zone"),
        ("Tue 02:00-04:00 ../etc/passwd", "no time zone"),
    ],
)
def test_what_is_no_window_is_said(text: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        Window.parse(text)


@given(
    st.sampled_from(DAYS), st.sampled_from(DAYS), st.integers(0, 1439), st.integers(0, 1439),
    st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)),
)  # fmt: skip
def test_the_next_one_is_where_it_begins(first: str, last: str, begin: int, end: int, at: datetime) -> None:
    if begin == end:
        return
    hours = f"{begin // 60:02d}:{begin % 60:02d}-{end // 60:02d}:{end % 60:02d}"
    window, moment = Window.parse(f"{first}-{last} {hours} Asia/Ho_Chi_Minh"), at.replace(tzinfo=UTC)
    if not window.contains(moment):
        opens = window.next(moment)
        assert opens > moment and window.contains(opens) and not window.contains(opens - timedelta(minutes=1))
        assert not any(window.contains(moment + (opens - moment) * n / 10) for n in range(1, 10))
