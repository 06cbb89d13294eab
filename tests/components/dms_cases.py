"""What tests of DmsReplication have in common."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from components.databases import Account, DatabaseAccess
from components.dms_args import DmsArgs, Place
from components.dms_endpoints import DmsSource, DmsTarget, Tls
from components.network import Endpoint
from contract.tables import Column, Table

ACCOUNT = "123456789012"
REGION = "us-east-1"
PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"

ORDERS = Table(
    "orders",
    (
        Column("id", "bigint", "bigint unsigned", nullable=False, table="orders"),
        Column("paid", "tinyint", "tinyint(1)", nullable=False, table="orders"),
        Column("total", "decimal", "decimal(12,2)", precision=12, scale=2, table="orders"),
        Column("doc", "json", "json", table="orders"),
    ),
    ("id",),
)
EVENTS = Table("events", (Column("day", "date", "date", nullable=False, table="events"),), ("day",), partitions=12)


def access(secret: str, port: int, group: Any = "sg-1") -> DatabaseAccess:
    arn = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{secret}"
    return DatabaseAccess(Endpoint(f"{secret}.internal", port, group), Account(secret, arn))


def place(**more: Any) -> Place:
    key = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/0a1b"
    given: dict[str, Any] = {
        "prefix": "zdm-dev",
        "account_id": ACCOUNT,
        "region": REGION,
        "vpc_id": "vpc-1",
        "subnet_ids": ["subnet-1", "subnet-2"],
        "data_key_arn": key,
        "secrets_key_arn": key,
        "logs_key_arn": key,
        "alarm_topic_arn": f"arn:aws:sns:{REGION}:{ACCOUNT}:zdm-dev-alerts",
    }
    return Place(**given | more)


def authority(folder: Path) -> Tls:
    file = folder / "authority.pem"
    file.write_text(PEM)
    return Tls(file)


def arguments(folder: Path, **more: Any) -> DmsArgs:
    tls = authority(folder)
    base = DmsArgs(
        place=place(),
        database="ecommerce",
        tables=[ORDERS, EVENTS],
        source=DmsSource(access("dms-source", 3306), tls),
        target=DmsTarget(access("dms-target", 5432), tls),
    )
    return replace(base, **more)
