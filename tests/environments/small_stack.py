"""A small stack for tests of environments: both databases, their accounts, and places for the flag and for evidence.

Its outputs are those of the contract, so that commands work with it as with a whole one. Run as a Pulumi program.
"""

from __future__ import annotations

import pulumi
import pulumi_aws as aws
import pulumi_cloudflare as cloudflare

from components.aurora import AuroraArgs, AuroraCluster
from components.aurora_options import Pinned, Provisioned, Reports
from components.credentials import Credential, CredentialArgs, Login
from components.databases import Backups, DatabaseServer, Placement, Protection
from components.parameter_groups import ParameterGroups, ParameterGroupsArgs
from components.source_mysql import SourceMySQL, SourceMySQLArgs

ACCOUNT = "123456789012"
REGION = "us-east-1"


def main() -> None:
    """Production has a writer; staging has a reader for reports, too, and with it two custom endpoints."""
    stack = pulumi.get_stack()
    vpc = aws.ec2.Vpc("net", cidr_block="10.0.0.0/16")
    subnets = [
        aws.ec2.Subnet(f"data-{i}", vpc_id=vpc.id, cidr_block=f"10.0.{i}.0/24", availability_zone=f"{REGION}{zone}")
        for i, zone in enumerate("ab")
    ]
    key = aws.kms.Key("key", enable_key_rotation=True)
    where = Placement(vpc.id, [s.id for s in subnets], key.arn, key.arn, account_id=ACCOUNT, logs_key_arn=key.arn)
    server = DatabaseServer("ecommerce", where, Backups(days=7), Protection(False, False, True))
    groups = ParameterGroups("parameters", ParameterGroupsArgs("15.10", mysql_version="8.4", reports=True))
    assert groups.mysql is not None and groups.aurora_reports is not None
    mysql = SourceMySQL("mysql", SourceMySQLArgs(server, groups.mysql))
    aurora = AuroraCluster(
        "aurora",
        AuroraArgs(
            server,
            groups.aurora_cluster,
            groups.aurora_instance,
            Provisioned("db.r7g.large"),
            Pinned("15.10"),
            readers=0,
            reports=Reports(groups.aurora_reports) if stack == "staging" else None,
        ),
    )

    def account(name: str, username: str, login: Login | None = None) -> pulumi.Output[str]:
        about = CredentialArgs(f"{stack}/{name}", username, key.arn, name, recovery_days=0, login=login)
        return Credential(name, about).arn

    my = Login("mysql", mysql.endpoint.host, mysql.endpoint.port, "ecommerce")
    pg = Login("postgres", aurora.endpoint.host, aurora.endpoint.port, "ecommerce")
    namespace = cloudflare.WorkersKvNamespace("flag", account_id="a" * 32, title=f"{stack}-flag")
    records = aws.s3.Bucket("records", bucket=f"zdm-{stack}-records", force_destroy=True)
    outputs: dict[str, object] = {
        "version": 3,
        "project": "zdm",
        "stack": stack,
        "environment": stack,
        "region": REGION,
        "database": "ecommerce",
        "source": {
            "host": mysql.endpoint.host,
            "port": mysql.endpoint.port,
            "adminSecret": mysql.admin_secret_arn,
            "cdcSecret": account("mysql-cdc", "zdm_cdc", my),
            "appSecret": account("mysql-app", "shop_app", my),
            "instance": mysql.identifier,
        },
        "target": {
            "host": aurora.endpoint.host,
            "readerHost": aurora.reader_host,
            "reportsHost": aurora.reports_host or "",
            "port": aurora.endpoint.port,
            "engineVersion": aurora.version,
            "adminSecret": aurora.admin_secret_arn,
            "sinkSecret": account("aurora-sink", "zdm_sink", pg),
            "appSecret": account("aurora-app", "shop_app", pg),
            "cluster": aurora.identifier,
        },
        "pipeline": {
            "state": "stopped",
            "copy": "zdm",
            "sourceConnector": "source",
            "sinkConnector": "sink",
            "tables": [],
        },
        "router": {
            "url": "https://shop.example",
            "accountId": "a" * 32,
            "namespaceId": namespace.id,
            "flagKey": "flag",
            "salt": "salt",
            "holdMs": 30_000,
            "mysqlOrigin": "https://mysql.example",
            "auroraOrigin": "https://aurora.example",
        },
        "kpis": {},
        "archive": {"bucket": records.bucket, "keyArn": key.arn, "exportRoleArn": f"arn:aws:iam::{ACCOUNT}:role/e"},
        "gateSecret": account("gate", "gate"),
        "maskingSecret": account("masking", "masking"),
    }
    for name, value in outputs.items():
        pulumi.export(name, value)
