"""The benchmarks' table, their bounds, and their JSON."""

from __future__ import annotations

import json

from benchmarks.databases import Processor
from benchmarks.measure import Run, median, spread
from benchmarks.report import Bound, Line, Section, bounds, projected, ratio


def run(wall: float, cpu: float = 1.0) -> Run:
    return Run(wall, cpu, Processor(2 * cpu, 3 * cpu), 64 << 20, {"keys": []})


def test_median_is_a_run() -> None:
    runs = [run(3.0), run(1.0), run(2.0)]
    assert median(runs) is runs[2]
    assert median(runs[:2]) is runs[0], "of an even number the slower one"
    assert spread(runs) == 1.5


def test_table() -> None:
    ours, other = Line("ours", 1000, [run(0.5), run(0.4), run(0.6)]), Line("theirs", 1000, [run(1.5)], "best of 4")
    section = Section("orders", 10**9, "ours", [ours, other], [Bound("theirs to ours", 3.0, 2.2)])
    text = str(section).splitlines()
    assert text[0] == "orders"
    assert text[3].split() == ["ours", "0.50", "1.20", "2,000", "1.0", "2.0", "3.0", "64", "1.00"]
    assert text[4].split() == ["theirs", "1.50", "667", "1.0", "2.0", "3.0", "64", "3.00", "best", "of", "4"]
    assert text[5] == "theirs to ours: 3.00 (at least 2.2) reached"
    assert projected(other, section.size, 30).startswith("theirs: CPU seconds a gigabyte of rows: 2.0 of the source")
    made = json.loads(json.dumps(section.to_json()))
    assert made["lines"][0]["median"]["cpuSeconds"] == {"client": 1.0, "mysql": 2.0, "postgres": 3.0}
    assert len(made["lines"][0]["runs"]) == 3 and made["bounds"][0]["reached"]


def test_bounds() -> None:
    lines = {"ours": Line("ours", 1, [run(1.0)]), "theirs": Line("theirs", 1, [run(2.0)])}
    assert ratio(lines, "theirs", "ours", lambda r: r.wall) == 2.0
    assert ratio(lines, "nobody", "ours", lambda r: r.wall) is None
    made = bounds([("a", 2.0, 2.2, False), ("b", None, 1.0, False), ("c", 250.0, 300.0, True)])
    assert [(b.what, b.reached) for b in made] == [("a", False), ("c", True)]
    assert str(made[0]) == "a: 2.00 (at least 2.2) NOT REACHED"
