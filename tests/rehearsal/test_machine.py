"""How busy this machine is, as the kernel counts it."""

from __future__ import annotations

import os
import time

from hypothesis import given
from hypothesis import strategies as st

from scripts.rehearsal.machine import Processors, _ticks


@given(st.lists(st.integers(0, 2**40), min_size=10, max_size=10))
def test_waiting_for_a_disk_is_not_work_and_guests_are_counted_once(numbers: list[int]) -> None:
    user, nice, system, idle, iowait, irq, softirq, steal, _guest, _guest_nice = numbers
    busy, total = _ticks("cpu  " + " ".join(str(n) for n in numbers) + "\ncpu0 1 2 3 4 5 6 7 8 9 10\n")
    assert busy == user + nice + system + irq + softirq + steal
    assert total == busy + idle + iowait


def test_a_processor_at_work_is_seen() -> None:
    """One process that computes for half a second keeps one processor busy, whatever else the machine does."""
    processors = Processors()
    began = time.process_time()
    while time.process_time() - began < 0.5:
        pass
    share = processors.busy()
    assert 0 < share <= 1
    # it had half a second of its own; the window was longer where others ran too, who are counted as well
    assert share >= 0.4 / (os.cpu_count() or 1)
