"""`docs/faults.md` is what the table and the results say, and lists every fault."""

from __future__ import annotations

from tests.faults.page import PAGE, page, results
from tests.faults.table import FAULTS, MOMENTS, PARTS


def test_the_page_is_current() -> None:
    assert PAGE.read_text() == page(results()), "run: .venv/bin/python -m tests.faults.page"


def test_every_fault_is_listed() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")][1:]
    assert len(rows) == len(FAULTS)
    for fault in FAULTS.values():
        assert any(row.startswith(f"| {fault.what} | {fault.when} |") for row in rows), fault.name


def test_results_are_of_known_faults_and_as_expected() -> None:
    for name, seen in results().items():
        if FAULTS[name].known:
            continue
        assert seen["outcome"] in FAULTS[name].expected, name
        assert not any(seen[what] for what in ("lost", "doubled", "misplaced", "wrong", "increments")), name


def test_every_part_is_killed_and_frozen_at_every_moment() -> None:
    for part in PARTS:
        for when in MOMENTS:
            assert {f"kill {part} {when}", f"freeze {part} {when}"} <= set(FAULTS)
