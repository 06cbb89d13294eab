"""What a stack is made of, and what it tells the commands.

Invariants:
- The exported values are exactly the fields of `contract.outputs.Outputs`; they name secrets and never carry them.
- A first `up` brings all but the connectors; with accounts and schema in place, `cdc.state: running` adds them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi

from contract.outputs import VERSION, Outputs
from infra.databases import Databases
from infra.foundation import Foundation
from infra.operations import Operations
from infra.replication import Replication
from infra.revision import revision_brought_up
from infra.safety import Safety, make_archive
from infra.services import Services
from infra.settings import Settings


def build(settings: Settings) -> Mapping[str, Any]:
    """Declares every resource of the stack; returns its outputs under their exported names."""
    base = Foundation(settings)
    archive = make_archive(base)
    databases = Databases(base)
    replication = Replication(base, databases, archive)
    services = Services(base, databases, archive, replication.kafka.access if replication.kafka else None)
    safety = Safety(base, databases, archive)
    operations = Operations(base, databases, replication, services, archive)

    s = settings
    values: dict[str, Any] = {
        "version": VERSION,
        "project": pulumi.get_project(),
        "stack": pulumi.get_stack(),
        "environment": s.environment,
        "region": s.region,
        "database": s.database,
        "kpis": s.kpis.model_dump(by_alias=True),
        "promotion": s.promotion.model_dump(by_alias=True),
        "revision": revision_brought_up(s.root),
        "cost": {
            **s.cost.model_dump(by_alias=True, exclude={"budgets", "anomaly_usd", "emails"}),
            "tags": {tag: s.tags[tag] for tag in ("environment", "cost-centre")},
        },
    }
    for part in (base, databases, replication, services, safety, operations):
        values |= part.to_outputs()
    missing = {f.alias or name for name, f in Outputs.model_fields.items()} ^ set(values)
    if missing:
        raise pulumi.RunError(f"the outputs and their contract differ in: {', '.join(sorted(missing))}")
    return values
