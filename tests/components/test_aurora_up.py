"""Both databases with every option on, under the real engine: a real PostgreSQL, MySQL and pgbouncer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import asyncpg
import psycopg
import pulumi
import pulumi_aws as aws
import pymysql
import pytest

from components.aurora import AuroraArgs, AuroraCluster
from components.aurora_options import Major, Pinned, Provisioned, ReaderScaling, Reports, Serverless
from components.aurora_proxy import AuroraProxy, AuroraProxyArgs
from components.credentials import Credential, CredentialArgs, Login, Rotation
from components.database_masters import ManagedMaster, OwnMaster
from components.database_monitoring import Monitoring
from components.database_restore import FromPointInTime, FromSnapshot, Restore
from components.databases import Backups, DatabaseServer, Placement, Protection
from components.parameter_groups import ParameterGroups, ParameterGroupsArgs
from components.parameter_profiles import ProfileName
from components.source_mysql import SourceMySQL, SourceMySQLArgs
from local.processes import wait_until
from services.origin.postgres import _SESSION
from tests.cloud import Cloud, Program, changes, client

pytestmark = pytest.mark.real

ACCOUNT = "123456789012"
LAMBDA = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:rotate"


def placement() -> Placement:
    """A network of two subnets, and one key for everything."""
    vpc = aws.ec2.Vpc("net", cidr_block="10.0.0.0/16")
    zones = ("us-east-1a", "us-east-1b")
    subnets = [
        aws.ec2.Subnet(f"data-{i}", vpc_id=vpc.id, cidr_block=f"10.0.{i}.0/24", availability_zone=zone)
        for i, zone in enumerate(zones)
    ]
    key = aws.kms.Key("key", enable_key_rotation=True)
    return Placement(
        vpc.id, [s.id for s in subnets], key.arn, key.arn, ["10.9.0.0/16"], account_id=ACCOUNT, logs_key_arn=key.arn
    )


def server(where: Placement) -> DatabaseServer:
    return DatabaseServer(
        "ecommerce",
        where,
        Backups(days=7),
        Protection(deletion_protection=False, final_snapshot=False, apply_immediately=True),
        Monitoring(insights="advanced", seconds=15, log_days=365),
    )


def target(profile: ProfileName, reports: bool = True) -> Program:
    def program() -> None:
        where = placement()
        groups = ParameterGroups(
            "parameters", ParameterGroupsArgs("15.10", profile=profile, max_connections=60, reports=True)
        )
        assert groups.aurora_reports is not None
        aurora = AuroraCluster(
            "aurora",
            AuroraArgs(
                server(where),
                groups.aurora_cluster,
                groups.aurora_instance,
                Provisioned("db.r7g.large"),
                Pinned("15.10"),
                scaling=ReaderScaling(4, target=70.0),
                reports=Reports(groups.aurora_reports, instance_class="db.r7g.xlarge") if reports else None,
                master=OwnMaster("tiny/aurora-master", Rotation(LAMBDA), recovery_days=0),
                io_optimized=True,
                certificate_authority="rds-ca-ecc384-g1",
                activity_stream="async",
            ),
        )
        app = Credential(
            "app",
            CredentialArgs(
                "tiny/app",
                "shop_app",
                where.secrets_key_arn,
                "the shop",
                recovery_days=0,
                login=Login("postgres", aurora.endpoint.host, aurora.endpoint.port, "ecommerce"),
                rotation=Rotation(LAMBDA, days=60),
            ),
        )
        proxy = AuroraProxy(
            "proxy",
            AuroraProxyArgs(
                account_id=ACCOUNT,
                vpc_id=where.vpc_id,
                subnet_ids=where.subnet_ids,
                secrets_key_arn=where.secrets_key_arn,
                cluster_identifier=aurora.identifier,
                cluster=aurora.endpoint,
                accounts=[app.account],
                ready=aurora.instances,
            ),
        )
        pulumi.export("writer", aurora.endpoint.host)
        pulumi.export("reader", aurora.reader_host)
        pulumi.export("reports", aurora.reports_host)
        pulumi.export("proxy", proxy.endpoint.host)
        pulumi.export("admin", aurora.admin_secret_arn)
        pulumi.export("app", app.arn)
        pulumi.export("cluster", aurora.identifier)

    return program



def secret(arn: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(client("secretsmanager").get_secret_value(SecretId=arn)["SecretString"])
    return value


def asking(arn: str) -> Callable[[str, str], Any]:
    account = secret(arn)

    def ask(host: str, query: str) -> Any:
        who = {"user": account["username"], "password": account["password"], "dbname": "ecommerce"}
        with psycopg.connect(host=host, sslmode="require", connect_timeout=5, autocommit=True, **who) as connection:
            cursor = connection.execute(query.encode())
            row = cursor.fetchone() if cursor.description else None
            return row[0] if row else None

    return ask


def test_a_target_with_everything(cloud: Cloud) -> None:
    made = cloud.use(target("load")).up()
    out = {name: output.value for name, output in made.outputs.items()}
    ask = asking(out["admin"])

    # the master's secret has what a rotation needs, and both secrets are rotated
    master = secret(out["admin"])
    assert (master["username"], master["engine"], master["host"]) == ("zdm_admin", "postgres", out["writer"])
    secrets = client("secretsmanager")
    for name, days in (("tiny/aurora-master", 30), ("tiny/app", 60)):
        known = secrets.describe_secret(SecretId=name)
        assert (known["RotationEnabled"], known["RotationLambdaARN"]) == (True, LAMBDA)
        assert known["RotationRules"]["AutomaticallyAfterDays"] == days

    # endpoints: reports have a reader of their own, and the shop's endpoint never leads there
    assert len({out[name] for name in ("writer", "reader", "reports", "proxy")}) == 4
    assert [ask(out[name], "SELECT pg_is_in_recovery()") for name in ("writer", "reader", "reports")] == [
        False,
        True,
        True,
    ]
    assert [ask(out[name], "SHOW work_mem") for name in ("writer", "reader", "reports")] == ["4MB", "4MB", "256MB"]

    scaling = client("application-autoscaling")
    (found,) = scaling.describe_scalable_targets(ServiceNamespace="rds")["ScalableTargets"]
    assert (found["ResourceId"], found["MinCapacity"], found["MaxCapacity"]) == (f"cluster:{out['cluster']}", 2, 4)
    logs = client("logs").describe_log_groups(logGroupNamePrefix="/aws/rds/")["logGroups"]
    assert [(g["logGroupName"], g["retentionInDays"]) for g in logs] == [
        (f"/aws/rds/cluster/{out['cluster']}/postgresql", 365)
    ]

    the_proxy_answers(ask, out)
    the_phases_follow_each_other(cloud, ask, out)

    without = cloud.use(target("steady", reports=False)).up()
    assert changes(without)["delete"] == 3, "the reader for reports and both endpoints"
    assert ask(without.outputs["reader"].value, "SELECT pg_is_in_recovery()") is True

    local = cloud.local()
    cloud.use(target("steady", reports=False)).destroy()
    assert local.records.all() == [] and local.processes() == []


def the_proxy_answers(ask: Callable[[str, str], Any], out: dict[str, Any]) -> None:
    """Through TLS only, for the accounts of its secrets only, with prepared statements, on the writer."""
    account = secret(out["app"])
    ask(out["writer"], f"CREATE ROLE shop_app LOGIN PASSWORD '{account['password']}'")
    ask(out["writer"], "CREATE TABLE orders (id int PRIMARY KEY); GRANT ALL ON orders TO shop_app")
    who = {"host": out["proxy"], "user": "shop_app", "password": account["password"], "database": "ecommerce"}

    async def shop() -> list[Any]:
        connections = [await asyncpg.connect(**who, ssl="require", server_settings=_SESSION) for _ in range(3)]
        for i, connection in enumerate(connections * 2):
            async with connection.transaction():
                await connection.execute("INSERT INTO orders VALUES ($1)", i)
        seen = [await c.fetchval("SELECT count(*) FROM orders WHERE id >= $1", 0) for c in connections]
        encrypted = await connections[0].fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        kept = {name: await connections[0].fetchval(f"SHOW {name}") for name in _SESSION}
        for connection in connections:
            await connection.close()
        return [*seen, encrypted, kept]

    assert asyncio.run(shop()) == [6, 6, 6, True, _SESSION], "the proxy sets what clients cannot ask for"

    async def denied(**wrong: Any) -> None:
        await asyncpg.connect(**{**who, "ssl": "require", **wrong}, timeout=5)

    for wrong in (
        {"ssl": False},
        {"password": "wrong"},
        {"user": "zdm_admin", "password": secret(out["admin"])["password"]},
    ):
        with pytest.raises((asyncpg.PostgresError, OSError)):
            asyncio.run(denied(**wrong))


def the_phases_follow_each_other(cloud: Cloud, ask: Callable[[str, str], Any], out: dict[str, Any]) -> None:
    """load -> cdc -> steady, in place: what one phase had and the next has not is the server's default again."""
    expected: dict[ProfileName, dict[str, str]] = {
        "load": {
            "autovacuum": "off",
            "maintenance_work_mem": "64MB",
            "max_parallel_maintenance_workers": "4",
            "autovacuum_vacuum_scale_factor": "0.2",
            "idle_in_transaction_session_timeout": "0",
        },
        "cdc": {
            "autovacuum": "on",
            "maintenance_work_mem": "64MB",
            "max_parallel_maintenance_workers": "2",
            "autovacuum_vacuum_scale_factor": "0.05",
            "work_mem": "16MB",
            "idle_in_transaction_session_timeout": "0",
        },
        "steady": {
            "autovacuum": "on",
            "max_parallel_maintenance_workers": "2",
            "autovacuum_vacuum_scale_factor": "0.05",
            "idle_in_transaction_session_timeout": "5min",
            "track_io_timing": "on",
            "pg_stat_statements.track": "all",
        },
    }
    always = {
        "wal_level": "logical",
        "wal_sender_timeout": "1min",
        "log_min_duration_statement": "500ms",
        "session_replication_role": "origin",
        "synchronous_commit": "on",
        "ssl_min_protocol_version": "TLSv1.2",
        "track_commit_timestamp": "on",
        "pgaudit.log": "ddl,role",
        "max_connections": "60",
    }

    def shown(host: str, names: dict[str, str]) -> dict[str, str]:
        return {name: ask(host, f"SHOW {name}") for name in names}

    rds, family = client("rds"), "aurora-postgresql15"
    groups = [
        g["DBClusterParameterGroupName"]
        for g in rds.describe_db_cluster_parameter_groups()["DBClusterParameterGroups"]
        if g["DBParameterGroupFamily"] == family
    ]
    (group,) = [name for name in groups if not name.startswith("default")]
    for profile, values in expected.items():
        result = cloud.use(target(profile)).up()
        assert set(changes(result)) <= {"same", "update"}, changes(result)
        assert changes(result).get("update", 0) == (0 if profile == "load" else 1 if profile == "steady" else 2)
        wanted = {**always, **values}
        for host in (out["writer"], out["reader"]):
            wait_until(lambda: shown(host, wanted) == wanted, 10, f"{profile}: {shown(host, wanted)}")  # noqa: B023
        kept = rds.describe_db_cluster_parameters(DBClusterParameterGroupName=group)["Parameters"]
        assert ("maintenance_work_mem" in {p["ParameterName"] for p in kept}) == (profile == "load")
    assert ask(out["reports"], "SHOW statement_timeout") == "30min"


def test_a_source_with_everything(cloud: Cloud) -> None:
    def program() -> None:
        where = placement()
        groups = ParameterGroups(
            "parameters", ParameterGroupsArgs("15", mysql_version="8.4", mysql={"long_query_time": "1"})
        )
        assert groups.mysql is not None
        mysql = SourceMySQL("mysql", SourceMySQLArgs(server(where), groups.mysql, master=ManagedMaster(14)))
        pulumi.export("host", mysql.endpoint.host)
        pulumi.export("admin", mysql.admin_secret_arn)
        pulumi.export("identifier", mysql.identifier)

    made = cloud.use(program).up()
    account = secret(made.outputs["admin"].value)
    with pymysql.connect(
        host=made.outputs["host"].value,
        user=account["username"],
        password=account["password"],
        ssl={"check_hostname": False, "verify_mode": "none"},
    ) as connection:
        with connection.cursor() as cursor:
            cursor.execute("SELECT @@binlog_format, @@gtid_mode, @@require_secure_transport, @@long_query_time")
            assert cursor.fetchone() == ("ROW", "ON", 1, 1.0)
    known = client("secretsmanager").describe_secret(SecretId=made.outputs["admin"].value)
    assert known["RotationRules"]["AutomaticallyAfterDays"] == 14
    identifier = made.outputs["identifier"].value
    logs = client("logs").describe_log_groups(logGroupNamePrefix=f"/aws/rds/instance/{identifier}/")["logGroups"]
    assert [g["logGroupName"].rpartition("/")[2] for g in logs] == ["error", "slowquery"]
    assert set(changes(cloud.use(program).up())) == {"same"}
    local = cloud.local()
    cloud.use(program).destroy()
    assert local.records.all() == [] and local.processes() == []


def restored(restore: Restore | None, *, snapshot: bool = True, copy: bool = True) -> Program:
    """A cluster, a snapshot of it, and a cluster made of that."""

    def program() -> None:
        where = placement()
        plain = replace(server(where), monitoring=Monitoring(seconds=0))
        groups = ParameterGroups("parameters", ParameterGroupsArgs("15"))

        def cluster(name: str, restore: Restore | None) -> AuroraCluster:
            made = AuroraCluster(
                name,
                AuroraArgs(
                    plain, groups.aurora_cluster, groups.aurora_instance, Serverless(), Major(), 0, restore=restore
                ),
            )
            pulumi.export(f"{name}-host", made.endpoint.host)
            pulumi.export(f"{name}-admin", made.admin_secret_arn)
            return made

        origin = cluster("origin", None)
        if snapshot:
            aws.rds.ClusterSnapshot(
                "before",
                db_cluster_identifier=origin.identifier,
                db_cluster_snapshot_identifier="before-change",
                opts=pulumi.ResourceOptions(depends_on=origin.instances),
            )
        if copy:
            cluster("copy", restore)

    return program


def test_a_restored_cluster_stays(cloud: Cloud) -> None:
    made = cloud.use(restored(None, snapshot=False, copy=False)).up()
    asking(made.outputs["origin-admin"].value)(
        made.outputs["origin-host"].value, "CREATE TABLE kept AS SELECT 42 AS answer"
    )
    cloud.use(restored(None, copy=False)).up()
    out = cloud.use(restored(FromSnapshot("before-change"))).up().outputs
    ask = asking(out["copy-admin"].value)
    assert ask(out["copy-host"].value, "SELECT answer FROM kept") == 42

    for restore in (None, FromSnapshot("another"), FromPointInTime("origin")):
        assert set(planned(cloud, restored(restore))) == {"same"}, restore
    renewed = planned(cloud, restored(FromSnapshot("another", renew=True)))
    assert renewed["replace"] == 3, f"cluster, its instance and its log are made anew: {renewed}"
    assert set(changes(cloud.use(restored(None)).up())) == {"same"}
    cloud.use(restored(None)).destroy()


def planned(cloud: Cloud, program: Program) -> dict[str, int]:
    summary = cloud.use(program).preview().change_summary
    return {str(getattr(op, "value", op)): n for op, n in summary.items()}
