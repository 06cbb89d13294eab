"""KafkaCluster: durable brokers, topics that keep what they must, and nobody let in by mistake."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.base import ArgumentError
from components.databases import Account
from components.kafka import Brokers, KafkaArgs, Monitoring, Topic
from components.kafka_documents import (
    MAX_THROUGHPUT,
    VERSIONS,
    cluster_policy,
    exporters,
    log_delivery,
    replication,
    server_properties,
)
from components.policies import document
from local.dataplane.java import parse_properties
from local.dataplane.kafka import CUSTOM
from tests.policy_lint import assert_sound

CLUSTER = "arn:aws:kafka:ap-southeast-1:123456789012:cluster/zdm-dev/0a1b-2"
ARGS = KafkaArgs("zdm-dev", "vpc", ["a", "b", "c"], "key", "key", [Topic("t")])


@given(st.integers(1, 30))
def test_the_brokers_configuration_is_durable_and_one_that_msk_takes(brokers: int) -> None:
    values = parse_properties(server_properties(brokers))
    assert set(values) <= CUSTOM, "what MSK lets a configuration set"
    assert values["auto.create.topics.enable"] == values["unclean.leader.election.enable"] == "false"
    assert int(values["replica.fetch.max.bytes"]) >= int(values["message.max.bytes"])
    factor, in_sync = int(values["default.replication.factor"]), int(values["min.insync.replicas"])
    assert (factor, in_sync) == replication(brokers)
    assert in_sync <= factor <= brokers
    if brokers >= 3:
        assert (factor, in_sync) == (3, 2), "one broker may be away, and no record is lost with it"


def test_a_stopped_sinks_position_outlives_a_long_way_back() -> None:
    assert int(parse_properties(server_properties(3))["offsets.retention.minutes"]) == 30 * 24 * 60


def test_topics_keep_what_they_must() -> None:
    assert Topic("h").configs() == {"cleanup.policy": "delete", "retention.bytes": "-1", "retention.ms": "-1"}
    assert Topic("t", 3, retention_hours=2).configs()["retention.ms"] == "7200000"
    assert Topic("o", compacted=True).configs() == {"cleanup.policy": "compact"}


def test_other_accounts_connect_and_read_and_no_more() -> None:
    text = cluster_policy(CLUSTER, ["111111111111", "222222222222"])
    # MSK's guide names the cluster for these, though in a role's policy they have other resources.
    others = ["RESOURCE_MISMATCH kafka:CreateVpcConnection", "RESOURCE_MISMATCH kafka:GetBootstrapBrokers"]
    assert_sound(text, allow=others)
    statements = json.loads(text)["Statement"]
    assert {s["Principal"]["AWS"] for s in statements} == {
        "arn:aws:iam::111111111111:root",
        "arn:aws:iam::222222222222:root",
    }
    allowed = {action for s in statements for action in s["Action"]}
    assert not {a for a in allowed if "Write" in a or "Delete" in a or "Create" in a} - {"kafka:CreateVpcConnection"}
    assert all("/zdm-dev/0a1b-2" in resource for s in statements for resource in s["Resource"])
    assert cluster_policy(CLUSTER.replace("arn:aws:", "arn:aws-cn:"), ["1" * 12]).count("arn:aws-cn:iam::") == 3


def test_the_log_service_writes_in_its_own_corner_for_this_account() -> None:
    made = log_delivery("arn:aws:s3:::logs", "zdm-prod", "123456789012")
    assert_sound(document(*made))
    write = made[1]
    assert write["Resource"] == ["arn:aws:s3:::logs/msk/zdm-prod/AWSLogs/123456789012/*"]
    assert write["Condition"]["StringEquals"]["aws:SourceAccount"] == "123456789012"


def test_every_broker_is_scraped_though_msk_names_three() -> None:
    bootstrap = "b-2.zdm.x1.c3.kafka.eu-west-1.amazonaws.com:9098,b-1.zdm.x1.c3.kafka.eu-west-1.amazonaws.com:9098"
    assert exporters(bootstrap, 4, 11001) == [
        f"b-{number}.zdm.x1.c3.kafka.eu-west-1.amazonaws.com:11001" for number in (1, 2, 3, 4)
    ]
    assert exporters("127.0.0.9:9098", 3, 11002) == ["127.0.0.9:11002"]
    assert exporters("", 3, 11002) == []


def test_versions_are_in_order_and_the_default_is_one() -> None:
    assert list(VERSIONS) == sorted(VERSIONS) and ARGS.version in VERSIONS


def scram(name: str) -> KafkaArgs:
    return replace(ARGS, scram_users=[Account(name, "arn")])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: replace(ARGS, version="3.5.1"), r"KafkaArgs\.version: one of 3\.6\.0, .*4\.1\.x\.kraft, not 3\.5\.1"),
        (
            lambda: replace(ARGS, version="4.1.x.kraft", brokers=Brokers("kafka.t3.small")),
            r"KafkaArgs\.brokers: kafka\.t3\.small runs no Kafka 4",
        ),
        (lambda: replace(ARGS, topics=[Topic("t"), Topic("t", 2)]), r"KafkaArgs\.topics: each name once"),
        (lambda: replace(ARGS, subnet_ids=["a"]), r"KafkaArgs\.subnet_ids"),
        (lambda: replace(ARGS, cluster_name="n" * 65), r"KafkaArgs\.cluster_name"),
        (lambda: scram("zdm/grafana"), r"KafkaArgs\.scram_users: secrets must begin with AmazonMSK_, not zdm/grafana"),
        (lambda: replace(ARGS, shared_with=["12"]), r"KafkaArgs\.shared_with"),
        (
            lambda: replace(ARGS, shared_with=["1" * 12], brokers=Brokers("kafka.t3.small")),
            r"KafkaArgs\.shared_with: .*t3\.small has no private",
        ),
        (lambda: Brokers(volume_gib=100, grow_to_gib=100), r"Brokers\.grow_to_gib: more than volume_gib 100"),
        (lambda: Brokers(grow_at_percent=5), r"Brokers\.grow_at_percent: 10 to 80, not 5"),
        (lambda: Brokers(throughput_mib=300), r"Brokers\.throughput_mib: kafka\.m7g\.large has none; from"),
        (lambda: Brokers("kafka.m7g.2xlarge", throughput_mib=400), r"Brokers\.throughput_mib: 250 to 312 MiB/s on"),
        (lambda: Brokers("m7g.large"), r"Brokers\.instance_type: begins with kafka\."),
        (lambda: Monitoring(level="ALL"), r"Monitoring\.level: one of DEFAULT"),  # type: ignore[arg-type]
        (lambda: Monitoring(exporters=False, scraper_group_ids={"p": "sg"}), r"Monitoring\.scraper_group_ids"),
        (lambda: Topic("t", 0), r"Topic\.partitions: at least 1"),
        (lambda: Topic("t", retention_hours=1, compacted=True), r"Topic\.compacted: a compacted topic"),
    ],
)
def test_a_bad_argument_is_named(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        make()


@pytest.mark.parametrize("kind", sorted(MAX_THROUGHPUT))
def test_every_class_takes_the_throughput_that_the_guide_gives_it(kind: str) -> None:
    assert Brokers(kind, throughput_mib=MAX_THROUGHPUT[kind]).throughput_mib == MAX_THROUGHPUT[kind]
    with pytest.raises(ArgumentError):
        Brokers(kind, throughput_mib=MAX_THROUGHPUT[kind] + 1)


def test_small_brokers_of_three_zones() -> None:
    assert replace(ARGS, brokers=Brokers(per_zone=2)).broker_count == 6
