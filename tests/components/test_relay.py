"""What the relay's container is told, and what its role may."""

from __future__ import annotations

import json

from components.dual_write_task import Login, Runtime, Task, container_definitions
from components.relay import MODULE, task_policy
from contract.flag import Side
from services.origin.settings import settings_from as origin_settings
from services.relay.settings import settings_from
from tests.full_stack import declared
from tests.policy_lint import assert_sound

CLUSTER = "arn:aws:kafka:ap-southeast-1:123456789012:cluster/zdm-prod/0a1b-1"


def test_it_may_write_the_one_topic() -> None:
    policy = task_policy(CLUSTER, "shop.events")
    assert_sound(policy)
    write = {s["Sid"]: s for s in json.loads(policy)["Statement"]}["WriteEvents"]
    assert write["Resource"] == ["arn:aws:kafka:ap-southeast-1:123456789012:topic/zdm-prod/0a1b-1/shop.events"]


def test_the_program_takes_what_the_container_is_told() -> None:
    more = {"KAFKA_BOOTSTRAP": "b-1:9098", "EVENTS_TOPIC": "shop.events", "AWS_REGION": "ap-southeast-1"}
    runtime = Runtime(Side.AURORA, "ecommerce", [Login("db", 5432, "arn:secret")], "/ecs/x", "ap-southeast-1", more)
    [container] = json.loads(container_definitions("aurora-relay", Task("image:1", MODULE), runtime))
    told = {e["name"]: e["value"] for e in container["environment"]} | {s["name"]: "x" for s in container["secrets"]}
    assert settings_from(told).topic == "shop.events"
    assert origin_settings(told).side is Side.AURORA


def test_a_relay_for_each_side_where_it_is_asked_for() -> None:
    services = {name for name in declared("everything").of("Service") if "relay" in name}
    assert services == {"mysql-relay-service", "aurora-relay-service"}
    assert "shop.events" in {topic["name"] for topic in declared("everything").of("Topic").values() if "name" in topic}
    assert not [name for name in declared("prod").of("Service") if "relay" in name]
