"""How a check's result is shown: values masked, as a page, and for Prometheus."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts.data import check_metrics, check_page
from scripts.data.check_result import CheckResult, TableResult
from scripts.data.difference import ColumnDifference, Difference, Refused


@pytest.mark.parametrize(
    ("source", "target", "told"),
    [
        ("Anne Smith", "Anne\u00a0Smith", "first difference at 5: U+0020 against U+00A0"),
        ("anna", "Anna", "first difference at 1: a lower-case letter against an upper-case letter"),
        ("anna", "anna ", "first difference at 5: the end against U+0020"),
        ("tel 1", "tel 2", "first difference at 5: a digit against a digit"),
        ("", None, ""),
    ],
)
def test_personal_values_are_not_shown(source: str, target: str | None, told: str) -> None:
    column = ColumnDifference("name", source, target, mask="text")
    assert column.to_json()["difference"] == told
    for text in (column.text(), json.dumps(column.to_json())):
        assert "nna" not in text and "Smith" not in text and "tel" not in text
    assert column.to_json()["target"] == ("NULL" if target is None else f"'…' ({len(target)} characters)")
    assert column.to_json(show_values=True)["source"] == source


def test_long_values_are_told_by_their_size() -> None:
    column = ColumnDifference("doc", "sha256:67108864 ab12", "sha256:67108865 cd34", mask="text")
    assert column.text() == "doc: '…' (67,108,864 bytes) is '…' (67,108,865 bytes)"
    column = ColumnDifference("raw", "00FF10", "00FE10", mask="bytes")
    assert column.text() == "raw: '…' (3 bytes) is '…' (3 bytes), first difference at byte 2"


def result() -> CheckResult:
    number = ColumnDifference("total", "1.00", "1.01")
    name = ColumnDifference("name", "<Anna>", "<Anne>", mask="text")
    differences = [
        Difference("orders", ("7",), "changed", (number, name)),
        Difference("orders", ("a\0b",), "poisoned", refused=(Refused("note", "NUL characters"),)),
    ]
    orders = TableResult("orders", "stream", 10, 9, 1, 2, 2, differences, [("7",), ("a\0b",)], digest="ab" * 32)
    return CheckResult([orders, TableResult("items", "stream", 5, 5)], 1.7e9, 2.5, reason="by streams: why")


def test_the_page_says_what_differs() -> None:
    page = check_page.page(result())
    assert "2 of 15 rows are not the same in both databases." in page
    assert "<b>total</b> 1.00" in page and "1.01" in page and "<b>note</b> has NUL characters" in page
    assert "Anna" not in page and "&lt;Ann" not in page and "ab" * 32 in page and "\0" not in page
    assert "src=" not in page and "href=" not in page and "url(" not in page
    good = check_page.page(CheckResult([TableResult("items", "hash", 5, 5)], 1.7e9, 2.5))
    assert "5 rows are the same in both databases." in good and "Rows that differ</h2>" not in good


def test_metrics(tmp_path: Path) -> None:
    file = tmp_path / "node" / "check.prom"
    check_metrics.write(result(), file)
    text = file.read_text()
    assert 'zdm_check_mismatches{table="orders"} 2.0' in text and 'zdm_check_rows{table="items"} 5.0' in text
    assert 'zdm_check_verdict{kind="full"} 0.0' in text
    assert 'zdm_check_timestamp_seconds{kind="full"} 1.7000000025e+09' in text
