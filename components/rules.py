"""Prometheus' rules as typed data, and the rule file that they make. Pure: text from values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import yaml

Severity = Literal["critical", "warning"]
"""critical: a KPI is broken or the migration stands, someone must act now; warning: it will come to that."""

INTERVAL_SECONDS = 15
"""How often rules are evaluated: four times in the minute that a late CDC may last."""


@dataclass(frozen=True)
class Recording:
    """A series computed from others, under a name of its own."""

    record: str
    """Its name, `zdm:<figure>`."""
    expr: str
    """PromQL."""

    def document(self) -> dict[str, Any]:
        return {"record": self.record, "expr": self.expr}


@dataclass(frozen=True)
class Alert:
    """A condition that someone must hear of once it has held for `seconds`. `action` says what to do then."""

    name: str
    """In camel case, as Prometheus' own."""
    expr: str
    """PromQL that has a value while the condition holds."""
    seconds: int
    """How long it must hold."""
    severity: Severity
    """`critical` wakes someone, `warning` waits for the morning."""
    summary: str
    """One line of what is wrong, with the figure."""
    action: str
    """What to do."""

    def document(self) -> dict[str, Any]:
        return {
            "alert": self.name,
            "expr": self.expr,
            "for": f"{self.seconds}s",
            "labels": {"severity": self.severity},
            "annotations": {"summary": self.summary, "description": self.action},
        }


@dataclass(frozen=True)
class Group:
    """Rules that are evaluated one after the other: later ones see what earlier ones recorded."""

    name: str
    """Unique in the stack."""
    rules: Sequence[Recording | Alert]
    """In the order of their evaluation."""


def rules_yaml(groups: Sequence[Group]) -> str:
    """A rule file, as Prometheus and its managed service read it."""
    document = {
        "groups": [
            {
                "name": group.name,
                "interval": f"{INTERVAL_SECONDS}s",
                "rules": [rule.document() for rule in group.rules],
            }
            for group in groups
        ]
    }
    return str(yaml.safe_dump(document, sort_keys=False, width=120))
