"""`./zdm privacy`: every column has a class, or one is proposed from its name and values, which are not shown."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import yaml
from rich.console import Console as RichConsole

from contract.masks import KINDS
from contract.privacy import load_classes
from scripts.environments import privacy
from scripts.errors import UsageError
from scripts.rehearsal import shop
from tests.data.conftest import Pair


@pytest.mark.real
def test_a_column_without_a_class_is_proposed_one_without_showing_a_value(pair: Pair) -> None:
    pair.on_source(
        *shop.DDL.values(),
        "CREATE TABLE leads (id INT PRIMARY KEY, hint VARCHAR(60), about TEXT, zalo VARCHAR(20), "
        "password_hash CHAR(60), score INT, phone_count INT, data JSON)",
        "INSERT INTO leads VALUES (1, 'an@shop.vn', 'gọi 0903111222', NULL, NULL, 1, 2, '{\"to\": \"b@shop.vn\"}'), "
        "(2, 'binh@shop.vn', 'xin chào', NULL, NULL, 1, 2, '{}'), (3, 'chi@shop.vn', 'ok', NULL, NULL, 1, 2, '{}')",
    )
    found = privacy.run(pair, console=pair.console)  # type: ignore[arg-type]
    assert not found.ok
    assert {p.column: p.data_class for p in found.proposals} == {
        "leads.id": "none",
        "leads.hint": "personal(email)",
        "leads.about": "personal(free_text)",
        "leads.zalo": "personal(phone)",
        "leads.password_hash": "secret",
        "leads.score": "none",
        "leads.phone_count": "none",
        "leads.data": "personal(free_text)",
    }
    out = io.StringIO()
    found.render(RichConsole(file=out, width=200))
    assert "leads.hint has no data class" in out.getvalue()
    assert "@shop.vn" not in out.getvalue()
    pasted = privacy.FILE.read_text().replace("\ntables:\n", f"\ntables:\n{privacy.yaml_of(found.proposals)}\n")
    file = pair.home / "classes.yaml"
    file.write_text(pasted)
    assert privacy.run(pair, file=file, console=pair.console).ok  # type: ignore[arg-type]


def test_the_shop_has_all_its_classes() -> None:
    """Without a database: every column of the shop's statements is in the file, and every kind of it has a page."""
    named = load_classes(privacy.FILE).tables
    for table in shop.TABLES:
        columns = [
            line.split()[0] for line in shop.DDL[table].splitlines()[2:] if line.startswith("  ") and line[2].islower()
        ]
        assert set(columns) == set(named[table]), table
    page = (privacy.PROJECT / "docs/privacy.md").read_text()
    assert [kind for kind in KINDS if f"`{kind}`" not in page] == []
    assert yaml.safe_load(privacy.FILE.read_text())["version"] == 1


def test_a_file_with_mistakes_is_wrong_use(tmp_path: Path) -> None:
    (tmp_path / "classes.yaml").write_text("version: 1\ntables: {a: {b: personal}}")
    with pytest.raises(UsageError, match=r"a\.b: 'personal' is no class"):
        privacy.classes_of(tmp_path / "classes.yaml")
