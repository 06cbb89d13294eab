"""Alarms, dashboard, workspace and collector under the real engine: a real Prometheus answers for a real target."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pulumi
import pulumi_aws as aws
import pytest
from pulumi import Output, ResourceOptions

from components import alerts
from components.alert_topic import AlertTopic, AlertTopicArgs
from components.alerts import Bounds, rule_groups
from components.collector import Collector, CollectorArgs, Exporters, ScrapedService
from components.connectors import Capture
from components.databases import Account, DatabaseAccess
from components.kafka import KafkaAccess
from components.metrics import Metrics, MetricsArgs
from components.network import Endpoint, security_group
from components.observability import Observability, ObservabilityArgs
from components.place import Place
from components.rules import Alert, Group
from components.watched import ApiService, AuroraTarget, Connectors, KafkaBrokers, MySQLSource, Probe, Watched
from tests.cloud import Cloud, Program, changes, client

pytestmark = pytest.mark.real

ACCOUNT, REGION = "123456789012", "us-east-1"
NOW = Group("at-once", [Alert("ProbeFailed", "zdm_probe_failures_total > 0", 0, "warning", "{{ $labels.what }}", "-")])
CAPTURE = Capture("tiny-dev", "ecommerce", tables=["orders"])


@dataclass(frozen=True)
class Options:
    bounds: Bounds = Bounds(throughput_per_second=5000)  # noqa: RUF009
    exporters: bool = True


def program(options: Options = Options()) -> Program:
    def declare() -> None:
        vpc = aws.ec2.Vpc("net", cidr_block="10.0.0.0/16")
        subnet = aws.ec2.Subnet("private", vpc_id=vpc.id, cidr_block="10.0.0.0/24")
        cluster = aws.ecs.Cluster("services")
        keys = {name: aws.kms.Key(name, deletion_window_in_days=7).arn for name in ("data", "secrets", "logs")}
        topic = AlertTopic("alerts", AlertTopicArgs("tiny-dev", ACCOUNT, "aws", key_days=7))
        groups = {
            name: security_group(name, vpc.id, name, ResourceOptions()).id
            for name in ("kafka", "mysql", "aurora", "api")
        }
        place = Place(
            prefix="tiny-dev",
            account_id=ACCOUNT,
            region=REGION,
            vpc_id=vpc.id,
            public_subnet_ids=[subnet.id],
            private_subnet_ids=[subnet.id],
            cluster_arn=cluster.arn,
            cluster_name=cluster.name,
            secrets_key_arn=keys["secrets"],
            logs_key_arn=keys["logs"],
            edge_prefix_list_id="pl-1",
            zone_id="z",
            alarm_topic_arn=topic.arn,
            log_days=7,
        )

        def database(side: str, port: int) -> DatabaseAccess:
            """One that nobody runs: what the probe says then is what is looked at."""
            secret = aws.secretsmanager.Secret(f"{side}-probe", recovery_window_in_days=0)
            value = aws.secretsmanager.SecretVersion(
                f"{side}-probe",
                secret_id=secret.id,
                secret_string=json.dumps({"username": "zdm_probe", "password": "x"}),
            )
            account = Account(f"{side}-probe", secret.arn)
            return DatabaseAccess(Endpoint("127.0.0.1", port, security_group_id=groups[side]), account, [value])

        kafka = KafkaAccess(
            Output.from_input("127.0.0.1:9"),
            Output.from_input(
                f"arn:aws:kafka:{REGION}:{ACCOUNT}:cluster/tiny-dev/11111111-2222-3333-4444-555555555555-1"
            ),
            groups["kafka"],
            [],
        )
        watched = alerts.Watched(cdc=True, brokers=3 if options.exporters else 0)
        metrics = Metrics(
            "metrics",
            MetricsArgs(
                prefix="tiny-dev",
                region=REGION,
                data_key_arn=keys["data"],
                logs_key_arn=keys["logs"],
                alarm_topic_arn=topic.arn,
                groups=[*rule_groups(options.bounds, watched), NOW],
                bounds=options.bounds,
                log_days=7,
                keep_bucket=False,
            ),
        )
        collector = Collector(
            "collector",
            CollectorArgs(
                place=place,
                metrics=metrics,
                capture=CAPTURE,
                kafka=kafka,
                mysql=database("mysql", 3),
                aurora=database("aurora", 4),
                probe_image="zdm-orders:dev",
                services={"aurora-api": ScrapedService("aurora-api", groups["api"], "https://aurora-api.example")},
                exporters=Exporters(["127.0.0.1:11001"], ["127.0.0.1:11002"]) if options.exporters else None,
            ),
        )
        seen = Observability(
            "observability",
            ObservabilityArgs(
                prefix="tiny-dev",
                account_id=ACCOUNT,
                partition="aws",
                region=REGION,
                alarm_topic_arn=topic.arn,
                watched=Watched(
                    bounds=options.bounds,
                    aurora=AuroraTarget("aurora-1", serverless=True, readers=1, connections=500),
                    mysql=MySQLSource("mysql-1", 100),
                    kafka=KafkaBrokers("tiny-dev"),
                    connectors=Connectors([CAPTURE.source_connector, CAPTURE.sink_connector]),
                    services=[
                        ApiService("aurora", cluster.name, "aurora-api", "app/a/1", alarms=["aurora-api-errors"])
                    ],
                    probe=Probe(collector.log_group),
                ),
                others=["dms-latency"],
            ),
        )
        pulumi.export("endpoint", metrics.endpoint)
        pulumi.export("bucket", metrics.grafana_bucket)
        pulumi.export("ready", seen.ready_alarm)
        pulumi.export("dashboard", seen.dashboard)
        pulumi.export("logs", collector.log_group)

    return declare



def eventually(look: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.2)
    return found


def test_up_measures_alarms_and_goes(cloud: Cloud) -> None:
    first = cloud.use(program()).up()
    made = changes(first)["create"]
    out = {name: value.value for name, value in first.outputs.items()}

    def ask(query: str) -> list[dict[str, Any]]:
        answer = httpx.get(f"{out['endpoint']}api/v1/query", params={"query": query}, timeout=10).json()
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    failed = eventually(lambda: ask('zdm_probe_failures_total{what="mysql"} > 0'))
    assert failed[0]["metric"] == {
        "__name__": "zdm_probe_failures_total",
        "instance": failed[0]["metric"]["instance"],
        "job": "probe",
        "stack": "tiny-dev",
        "what": "mysql",
    }
    assert not ask('{__name__=~"python_info|scrape_.*",job="services"}')
    firing = eventually(lambda: ask('ALERTS{alertname="ProbeFailed",alertstate="firing",what="mysql"}'))
    assert firing[0]["metric"]["severity"] == "warning"
    loaded = httpx.get(f"{out['endpoint']}api/v1/rules").json()["data"]["groups"]
    assert {g["name"] for g in loaded} >= {"zdm-kpis", "zdm-cdc", "zdm-kafka", "at-once"}
    assert all(rule["health"] != "err" for group in loaded for rule in group["rules"])

    files = client("s3").list_objects_v2(Bucket=out["bucket"], Prefix="grafana/")["Contents"]
    assert "grafana/zdm-overview.json" in {f["Key"] for f in files} and len(files) == 4
    board = client("cloudwatch").get_dashboard(DashboardName=out["dashboard"])["DashboardBody"]
    assert len(json.loads(board)["widgets"]) > 15
    filters = client("logs").describe_metric_filters(logGroupName=out["logs"])["metricFilters"]
    assert {f["metricTransformations"][0]["metricName"] for f in filters} == {"CdcLagSeconds", "Mismatches"}
    assert out["ready"] == "tiny-dev-ready-for-cutover"

    assert changes(cloud.use(program()).up(refresh=True)) == {"same": made}

    tight = program(Options(Bounds(lag_seconds=10), exporters=False))
    changed = changes(cloud.use(tight).up())
    assert changed["delete"] == 4 and "replace" in changed, changed  # the exporters' rules; the task's definition
    assert not any(
        rule.get("name") == "ThroughputLow"
        for group in httpx.get(f"{out['endpoint']}api/v1/rules").json()["data"]["groups"]
        for rule in group["rules"]
    )
    assert ask('zdm_probe_failures_total{what="mysql"} > 0'), "the workspace keeps what it was told"

    local = cloud.local()
    running = {process.name for process in local.processes() if process.running()}
    assert len({name for name in running if name.startswith("ecs-collector")}) == 2, "replaced, and both containers run"
    cloud.use(tight).destroy()
    assert local.records.all() == [] and local.processes() == []


def test_rules_that_do_not_load_are_refused(cloud: Cloud) -> None:
    def declare() -> None:
        workspace = aws.amp.Workspace("w", alias="w")
        aws.amp.RuleGroupNamespace(
            "r",
            workspace_id=workspace.id,
            data="groups:\n- name: g\n  rules:\n  - record: x\n    expr: rate(up[5m]\n",
        )

    with pytest.raises(pulumi.automation.CommandError, match="the rules do not fit"):
        cloud.use(declare).up()
    cloud.use(declare).destroy()
