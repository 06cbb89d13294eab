"""The alert manager's definition, the agent's configuration and the task's documents, before their own judges."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from components import alert_topic
from components.alert_topic import AlertTopicArgs, Slack
from components.alerts import Bounds, Watched, rule_groups
from components.base import ArgumentError
from components.collector_task import (
    KEPT,
    Runtime,
    agent_config,
    container_definitions,
    execution_policy,
    task_policy,
)
from components.dashboards_grafana import dashboards
from components.metrics import MetricsArgs, alert_manager, reader_policy, writer_policy
from components.rules import Alert, Group
from services.lag_probe.settings import settings_from
from tests.components.promtool import accepted
from tests.policy_lint import assert_sound

ACCOUNT, REGION = "123456789012", "ap-southeast-1"
TOPIC = f"arn:aws:sns:{REGION}:{ACCOUNT}:zdm-dev-alerts"
WORKSPACE = f"arn:aws:aps:{REGION}:{ACCOUNT}:workspace/ws-1"
ENDPOINT = f"https://aps-workspaces.{REGION}.amazonaws.com/workspaces/ws-1/"
BROKERS = [f"b-{i}.zdm.x.c2.kafka.{REGION}.amazonaws.com" for i in (1, 2, 3)]
CONFIG = agent_config("zdm-dev", ENDPOINT, REGION, [f"{b}:11001" for b in BROKERS], [f"{b}:11002" for b in BROKERS])
SECRETS = [
    f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:zdm-dev/{side}-probe-AbCdEf" for side in ("mysql", "aurora")
]
ENVIRONMENT = {
    "KAFKA_BOOTSTRAP": "b-1:9098",
    "TOPIC_PREFIX": "dbserver1",
    "DATABASE": "ecommerce",
    "TABLES": '["orders"]',
    "SINK_GROUP": "connect-zdm-dev-sink",
    "HEARTBEAT_TOPIC": "__debezium-heartbeat.dbserver1",
    "MYSQL_HOST": "mysql",
    "MYSQL_PORT": "3306",
    "AURORA_HOST": "aurora",
    "AURORA_PORT": "5432",
    "AWS_REGION": REGION,
    "ECS_CLUSTER": "services",
    "ECS_SERVICES": '{"aurora-api": ["aurora-api-1", 8080, "https://aurora-api.example"]}',
}
CONTAINERS: list[dict[str, Any]] = json.loads(
    container_definitions(
        "collector",
        Runtime("prometheus:1", "zdm-orders:1", ENVIRONMENT, *SECRETS, CONFIG, "/ecs/zdm-dev/collector", REGION),
    )
)
PROBE, AGENT = CONTAINERS


@pytest.mark.real
def test_the_alert_manager_reads_its_definition(tmp_path: Path) -> None:
    definition = yaml.safe_load(alert_manager(TOPIC, REGION))
    assert definition.keys() == {"alertmanager_config"}
    (tmp_path / "alertmanager.yml").write_text(definition["alertmanager_config"])
    assert "1 receivers" in accepted("amtool", "check-config", tmp_path / "alertmanager.yml")
    config = ["--config.file", tmp_path / "alertmanager.yml"]
    assert accepted("amtool", "config", "routes", "test", *config, "severity=critical").strip() == "topic"


def test_alerts_go_to_the_topic_with_what_to_do() -> None:
    config = yaml.safe_load(yaml.safe_load(alert_manager(TOPIC, REGION))["alertmanager_config"])
    [receiver] = config["receivers"][0]["sns_configs"]
    # What the managed service takes of an SNS receiver, and nothing else.
    assert receiver.keys() <= {"topic_arn", "sigv4", "send_resolved", "subject", "message", "attributes"}
    assert receiver["topic_arn"] == TOPIC and "Annotations.description" in receiver["message"]


@pytest.mark.real
@pytest.mark.parametrize("config", [CONFIG, agent_config("zdm-dev", ENDPOINT, REGION)])
def test_prometheus_reads_the_agent_s_configuration(config: str, tmp_path: Path) -> None:
    (tmp_path / "prometheus.yml").write_text(config)
    accepted("promtool", "check", "config", "--agent", tmp_path / "prometheus.yml")


def test_the_agent_keeps_what_rules_and_dashboards_read() -> None:
    import re

    config = yaml.safe_load(CONFIG)
    assert {job["job_name"] for job in config["scrape_configs"]} == KEPT.keys()
    assert config["remote_write"][0]["url"] == f"{ENDPOINT}api/v1/remote_write"
    kept = re.compile("|".join(f"(?:{pattern})" for pattern in KEPT.values()))
    rules = [rule for group in rule_groups(Bounds(throughput_per_second=1), Watched(True, 3)) for rule in group.rules]
    texts = [rule.expr for rule in rules] + list(dashboards(Bounds()).values())
    names = {n for text in texts for n in re.findall(r"\b(?:zdm|kafka|node|process)_\w+", text)}
    assert len(names) > 12 and {n for n in names if not kept.fullmatch(n)} == set()


def test_the_task_s_containers() -> None:
    for container in CONTAINERS:
        assert container["essential"] and container["readonlyRootFilesystem"] and container["user"] == "65534:65534"
        assert container["linuxParameters"]["capabilities"] == {"drop": ["ALL"]}
    assert "x" not in {s["name"] for s in PROBE["environment"]} and len(PROBE["secrets"]) == 4
    environment = {e["name"]: e["value"] for e in PROBE["environment"]}
    secret = {s["name"]: "x" for s in PROBE["secrets"]}
    settings = settings_from({**environment, **secret})
    assert settings.topics == {"dbserver1.ecommerce.orders": "orders"} and settings.services["aurora-api"].port == 8080
    assert settings.mysql.user == "x" and "password" not in repr(settings.mysql)
    assert AGENT["mountPoints"][0]["containerPath"] == "/prometheus"
    assert {e["name"]: e["value"] for e in AGENT["environment"]} == {"CONFIG": CONFIG}


def test_what_may_be_done() -> None:
    cluster = f"arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/services"
    kafka = f"arn:aws:kafka:{REGION}:{ACCOUNT}:cluster/zdm-dev/11111111-2222-3333-4444-555555555555-1"
    key = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/11111111-2222-3333-4444-555555555555"
    group = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/ecs/zdm-dev/collector"
    image = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/zdm-orders:1"
    assert_sound(writer_policy(WORKSPACE))
    assert_sound(reader_policy(WORKSPACE))
    assert_sound(execution_policy([image, "prom/prometheus:1"], SECRETS, key, group))
    policy = task_policy(WORKSPACE, cluster, kafka, ["dbserver1.*", "__debezium-heartbeat.dbserver1"], "connect-x")
    assert_sound(policy)
    actions = {action for s in json.loads(policy)["Statement"] for action in s["Action"]}
    assert not any(word in action for action in actions for word in ("Alter", "WriteData", "Create", "Delete", "*"))


def test_the_topic_s_documents() -> None:
    args = AlertTopicArgs("zdm-dev", ACCOUNT, "aws")
    assert_sound(alert_topic.channel_policy(args))
    assert_sound(alert_topic.key_policy(args))
    assert_sound(alert_topic.topic_policy(args, TOPIC))
    published = [s for s in json.loads(alert_topic.topic_policy(args, TOPIC))["Statement"] if s["Sid"] == "Publishers"]
    assert set(published[0]["Principal"]["Service"]) == set(alert_topic.PUBLISHERS)
    assert published[0]["Condition"] == {"StringEquals": {"aws:SourceAccount": ACCOUNT}}


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (lambda: Slack("X1", "C1"), "Slack.team_id"),
        (lambda: Slack("T1", "general"), "Slack.channel_id"),
        (lambda: AlertTopicArgs("p", "1", "aws", emails=["nobody"]), "AlertTopicArgs.emails"),
        (lambda: AlertTopicArgs("p", "1", "aws", webhooks=["http://x"]), "AlertTopicArgs.webhooks"),
        (lambda: AlertTopicArgs("p", "1", "aws", key_days=5), "AlertTopicArgs.key_days"),
        (lambda: metrics_args([]), "MetricsArgs.groups"),
        (lambda: metrics_args([Group("g", [RULE] * 21)]), "MetricsArgs.groups"),
        (lambda: metrics_args([Group("g", [RULE])] * 2), "MetricsArgs.groups"),
    ],
)
def test_arguments_that_do_not_fit_are_named(wrong: Any, named: str) -> None:
    with pytest.raises(ArgumentError, match=named):
        wrong()


RULE = Alert("A", "up == 0", 0, "warning", "", "")


def metrics_args(groups: list[Group]) -> MetricsArgs:
    return MetricsArgs("p", REGION, "k", "l", TOPIC, groups, Bounds())
