"""data-check on a running pipeline: what changed, samples, repair, and what the stored verdicts stand on."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path
from typing import Any

import pytest

from scripts.data import proven_check
from scripts.data.check_result import CheckResult
from scripts.errors import UsageError
from scripts.switch import journal
from tests.switch.conftest import Lab

pytestmark = pytest.mark.real


def check(lab: Lab, **options: Any) -> CheckResult:
    return proven_check.run(lab.context, console=lab.quiet, options=proven_check.Options(**options))


def rows(result: CheckResult) -> dict[str, int]:
    return {table.table: table.source_rows for table in result.tables}


def test_what_changed_since_the_last_clean_check(lab: Lab, tmp_path: Path) -> None:
    page, metrics = tmp_path / "page.html", tmp_path / "check.prom"
    full = check(lab, restart=True, method="stream", html=page, metrics=metrics)
    assert (full.kind, full.verdict) == ("full", "equal")
    assert all(re.fullmatch("[0-9a-f]{64}", table.digest or "") for table in full.tables)
    assert "are the same in both databases" in page.read_text() and "http" not in page.read_text()
    assert 'zdm_check_mismatches{table="customers"} 0.0' in metrics.read_text()

    lab.mysql("UPDATE customers SET n = n + 1 WHERE id IN (3, 4)")
    lab.mysql("UPDATE customers SET n = n + 1 WHERE id = 3")
    changed = check(lab, since_last=True)
    assert (changed.verdict, rows(changed)) == ("equal", {"customers": 2, "orders": 0})
    assert changed.started != full.started
    assert lab.postgres("SELECT count(*) FROM zdm.check_chunk WHERE dirty") == [(1,)]
    assert rows(check(lab, since_last=True)) == {"customers": 0, "orders": 0}
    with lab.context.postgres() as pg:
        record = journal.last_record(pg, journal.DATA_CHECK)
    assert record is not None and record.ok and record.body["kind"] == "since-last" and record.body["started"]


def test_a_difference_is_not_forgotten_until_it_is_repaired(lab: Lab) -> None:
    assert check(lab, restart=True).ok
    lab.postgres("UPDATE customers SET name = 'spoiled' WHERE id = 7")
    assert check(lab, since_last=True).ok, "nothing changed it at the source"
    sampled = check(lab, sample=100.0, seed=1)
    assert [(d.table, d.key) for d in sampled.differences] == [("customers", ("7",))]
    assert "spoiled" not in json.dumps(sampled.to_json())
    assert not check(lab, since_last=True).ok
    told = check(lab, tables=["customers"], repair=True, dry_run=True)
    assert not told.ok and "would copy 1 rows anew" in told.remark
    mended = check(lab, since_last=True, repair=True)
    assert (mended.verdict, {t.table: t.repaired for t in mended.tables}) == ("equal", {"customers": 1, "orders": 0})
    assert lab.postgres("SELECT name FROM customers WHERE id = 7") == [("customer 6",)]
    nightly = check(lab, nightly=True)
    assert (nightly.kind, nightly.verdict) == ("nightly", "equal")


def test_repair_while_both_sides_write(lab: Lab) -> None:
    """Rows are spoiled on the target while their changes arrive: in the end both sides are equal."""
    over = threading.Event()

    def write() -> None:
        with lab.context.mysql() as my, my.cursor() as cursor:
            while not over.is_set():
                cursor.execute("UPDATE customers SET n = n + 1 WHERE id BETWEEN 10 AND 20")
                over.wait(0.02)

    writer = threading.Thread(target=write)
    writer.start()
    repaired = 0
    try:
        for _ in range(4):
            lab.postgres("UPDATE customers SET name = 'spoiled' WHERE id IN (11, 30, 31)")
            lab.postgres("DELETE FROM customers WHERE id = 32")
            lab.postgres("INSERT INTO customers (id, name) VALUES (9999, 'extra')")
            repaired += sum(table.repaired for table in check(lab, tables=["customers"], repair=True).tables)
    finally:
        over.set()
        writer.join()
    assert repaired >= 4 * 4
    assert check(lab, tables=["customers"]).verdict == "equal"
    assert lab.postgres("SELECT id, name, n FROM customers ORDER BY id") == [
        tuple(row) for row in lab.mysql("SELECT id, name, n FROM customers ORDER BY id")
    ]


def test_what_does_not_go_together(lab: Lab) -> None:
    with pytest.raises(UsageError, match=r"(?s)name it with --table.*leave out"):
        check(lab, where="id > 1", since_last=True)
    with pytest.raises(UsageError, match=r"(?s)MySQL: .*PostgreSQL: "):
        check(lab, tables=["customers"], where="nobody = 1")
    with pytest.raises(UsageError, match="PostgreSQL"):
        check(lab, tables=["customers"], where="`id` = 1")
    with lab.context.postgres() as pg:
        pg.execute("DELETE FROM zdm.record")
        with pytest.raises(UsageError, match="stands on a clean check"):
            check(lab, since_last=True)
    part = check(lab, tables=["customers"], where="id <= 5 -- first")
    assert (part.kind, part.ok, rows(part)) == ("where", True, {"customers": 5})
    with lab.context.postgres() as pg:
        assert journal.last_record(pg, journal.DATA_CHECK) is None
