"""Stacks declared without an engine, for checks of everything in them: as their files say, and with all options on."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from contract.tables import Column, Table, dump_tables
from infra.declared import Declared, declare, declare_settings, stand_in_plugin
from infra.settings import parse_settings
from tests.infra.conftest import nested

STACKS = ("dev", "staging", "prod", "everything")
STATE_KEY = "arn:aws:kms:ap-southeast-1:123456789012:key/0a1b2c3d"
EVERYTHING: dict[str, object] = {
    "account.owner": True,
    "account.repository": "shop/zdm",
    "account.stateBucket": "state-bucket",
    "account.stateKey": STATE_KEY,
    "archive.enabled": True,
    "archive.lock": "governance",
    "aurora.maxReaders": 3,
    "aurora.monitoringSeconds": 60,
    "aurora.proxy": True,
    "aurora.reportReaders": 1,
    "backups.copyRegion": "ap-southeast-3",
    "backups.lock": "governance",
    "backups.restoreTests": True,
    "backups.vault": True,
    "cdc.sinkWorkersMost": 2,
    "cdc.state": "running",
    "cdc.tables": ["orders"],
    "cost.budgets": True,
    "dms.enabled": True,
    "kafka.exporters": True,
    "kafka.growToGib": 200,
    "kafka.logArchive": True,
    "kafka.scramUsers": ["reporting"],
    "network.endpoints": True,
    "network.flowLogs": "all",
    "observability.prometheus": True,
    "observability.slackChannel": "C0123456789",
    "observability.slackTeam": "T0123456789",
    "router.kind": "nginx",
    "security.accessLogs": True,
    "security.firewall": "block",
    "service.maxCount": 4,
    "service.relay": True,
    "service.repository": True,
    "service.standby": True,
    "snapshots.label": "g1",
}
ORDERS = Table("orders", (Column("id", "bigint", "bigint", nullable=False, table="orders"),), ("id",))


def everything(folder: Path) -> dict[str, object]:
    """The settings of a stack that has all of it, by path; the files that they name are made in `folder`."""
    tables, authority = folder / "tables.json", folder / "authority.pem"
    tables.write_text(dump_tables([ORDERS]))
    authority.write_text("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n")
    files = {
        "cdc.plugin": str(stand_in_plugin(folder)),
        "dms.authority": str(authority),
        "dms.tablesFile": str(tables),
    }
    return {**EVERYTHING, **files}


@cache
def declared(name: str) -> Declared:
    """One of `STACKS`."""
    if name != "everything":
        return declare(name)  # type: ignore[arg-type]
    with TemporaryDirectory() as folder:
        return declare_settings(parse_settings(nested(**everything(Path(folder))), "test"))
