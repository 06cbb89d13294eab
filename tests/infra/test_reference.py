"""The pages made from the code are those in the project, and nothing is without words."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from infra import reference
from infra.settings import ROOT


def test_the_pages_are_current() -> None:
    stale = [page.name for page, text in reference.pages().items() if not page.exists() or page.read_text() != text]
    assert not stale, f"{', '.join(stale)}: run python -m infra.reference"


def test_every_component_is_described() -> None:
    """By another way than the reference's: each class that the program registers as a component has a heading."""
    text = (ROOT / "docs/components.md").read_text()
    for path in (ROOT / "components").rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and any(ast.unparse(base) == "Component" for base in node.bases):
                assert f"{node.name}" in text, f"{path.name}: {node.name}"


def test_what_has_no_words_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "ROOT", tmp_path)
    file = tmp_path / "thing.py"
    file.write_text(
        '"""Thing: made up."""\n@dataclass\nclass ThingArgs:\n    """A."""\n    size: int = 1\n    """How big."""\n'
        '    name: str = "x"\n\nclass Thing(Component):\n    """B."""\n    id: str\n'
    )
    assert reference.undescribed([reference.read_module(file)]) == [
        "thing.py: Thing.id",
        "thing.py: ThingArgs.name",
        "thing.py: no section 'Cost drivers'",
        "thing.py: no section 'Invariants'",
    ]
