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
    "aurora.maxReaders": 3,
    "aurora.monitoringSeconds": 60,
    "aurora.proxy": True,
    "aurora.reportReaders": 1,
    "backups.restoreTests": True,
    "backups.vault": True,
    "cdc.state": "running",
    "cdc.tables": ["orders"],
    "cost.budgets": True,
    "dms.enabled": True,
    "kafka.exporters": True,
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
    "service.repository": True,
    "service.standby": True,
}
ORDERS = Table("orders", (Column("id", "bigint", "bigint", nullable=False, table="orders"),), ("id",))


@cache
def declared(name: str) -> Declared:
    """One of `STACKS`."""
    if name != "everything":
        return declare(name)  # type: ignore[arg-type]
    with TemporaryDirectory() as folder:
        tables, authority = Path(folder, "tables.json"), Path(folder, "authority.pem")
        tables.write_text(dump_tables([ORDERS]))
        authority.write_text("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n")
        files = {
            "cdc.plugin": str(stand_in_plugin(Path(folder))),
            "dms.authority": str(authority),
            "dms.tablesFile": str(tables),
        }
        return declare_settings(parse_settings(nested(**{**EVERYTHING, **files}), "test"))
