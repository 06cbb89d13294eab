"""DebeziumPipeline's documents and arguments: narrow roles, a whole ZIP, one way at a time, one reader of a log."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from components.base import ArgumentError
from components.connectors import Capture
from components.databases import Account, DatabaseAccess
from components.debezium import Autoscaled, DebeziumArgs, Fixed, Plugin, WayBack
from components.debezium_policy import (
    Rights,
    back_sink_rights,
    back_source_rights,
    role_policy,
    sink_rights,
    source_rights,
)
from components.debezium_way_back import WayBackNames, reverse_sink_config, reverse_source_config
from components.kafka import KafkaAccess
from components.network import Endpoint
from infra.declared import PARTS_OF_PLUGIN, stand_in_plugin
from tests.policy_lint import assert_sound

CAPTURE = Capture("zdm-dev", "ecommerce", ["orders", "order-items"], excluded=["orders.total_gross"])
NAMES = WayBackNames(CAPTURE, round=3)
CLUSTER = "arn:aws:kafka:ap-southeast-1:123456789012:cluster/zdm-dev/0a1b-2"
SECRET = "arn:aws:secretsmanager:ap-southeast-1:123456789012:secret:zdm-dev/mysql-cdc-AbCdEf"
KEY = "arn:aws:kms:ap-southeast-1:123456789012:key/0a1b"
LOG = "arn:aws:logs:ap-southeast-1:123456789012:log-group:/mskconnect/zdm-dev"
ALL = {
    "source": source_rights(CAPTURE),
    "sink": sink_rights(CAPTURE),
    "back-source": back_source_rights(NAMES),
    "back-sink": back_sink_rights(NAMES),
}


# --- roles ------------------------------------------------------------------------------------------------------------


def policy(rights: Rights) -> dict[str, dict[str, Any]]:
    text = role_policy(rights, CLUSTER, SECRET, KEY, LOG)
    assert_sound(text)
    return {s["Sid"]: s for s in json.loads(text)["Statement"]}


def allowed(rights: Rights, action: str, topic: str) -> bool:
    arn = f"arn:aws:kafka:ap-southeast-1:123456789012:topic/zdm-dev/0a1b-2/{topic}"
    return any(
        f"kafka-cluster:{action}" in s["Action"] and any(fnmatch(arn, pattern) for pattern in s["Resource"])
        for s in policy(rights).values()
    )


@pytest.mark.parametrize("role", ALL)
def test_a_role_reads_one_secret_and_writes_one_log(role: str) -> None:
    made = policy(ALL[role])
    assert made["ReadSecrets"]["Resource"] == [SECRET] and made["DecryptSecrets"]["Resource"] == [KEY]
    assert made["WriteLogs"]["Resource"] == [f"{LOG}:*"] and made["Connect"]["Resource"] == [CLUSTER]
    assert made["OwnTopics"]["Resource"] == [
        "arn:aws:kafka:ap-southeast-1:123456789012:topic/zdm-dev/0a1b-2/__amazon_msk_connect_*"
    ]


@pytest.mark.parametrize(
    ("source", "sink", "topics"),
    [
        ("source", "sink", [*CAPTURE.table_topics, *CAPTURE.control_topics]),
        ("back-source", "back-sink", [*NAMES.table_topics, *NAMES.control_topics]),
    ],
)
def test_a_source_writes_what_its_sink_reads(source: str, sink: str, topics: list[str]) -> None:
    others = [role for role in ALL if role not in (source, sink)]
    for topic in topics:
        assert allowed(ALL[source], "WriteData", topic) and not allowed(ALL[source], "ReadData", topic)
        assert allowed(ALL[sink], "ReadData", topic) and not allowed(ALL[sink], "WriteData", topic)
        assert not any(allowed(ALL[other], "WriteData", topic) for other in others), "the other way stays out"


def test_sources_read_their_own_position_again() -> None:
    for topic in (CAPTURE.schema_history_topic, CAPTURE.offsets_topic):
        assert allowed(ALL["source"], "WriteData", topic) and allowed(ALL["source"], "ReadData", topic)
    assert allowed(ALL["back-source"], "ReadData", NAMES.offsets_topic)
    assert allowed(ALL["source"], "WriteData", CAPTURE.heartbeat_topic)
    assert allowed(ALL["back-source"], "WriteData", NAMES.heartbeat_topic)
    groups = policy(ALL["back-sink"])["JoinGroups"]["Resource"]
    assert any(arn.endswith("/connect-zdm-dev-back-sink") for arn in groups)


# --- the way back -----------------------------------------------------------------------------------------------------


def test_every_topic_of_a_round_is_declared_with_one_partition() -> None:
    topics = {topic.name: topic for topic in NAMES.topics(24)}
    assert set(topics) == {
        "zdm-dev-back-offsets",
        "__debezium-heartbeat.dbserver1-back3",
        "dbserver1-back3.zdm.watermark",
        "dbserver1-back3.zdm.idempotency",
        "dbserver1-back3.public.orders",
        "dbserver1-back3.public.order-items",
    }
    assert {topic.partitions for topic in topics.values()} == {1}
    assert topics["zdm-dev-back-offsets"].compacted


def test_a_new_round_shares_nothing_that_could_be_stale() -> None:
    later = replace(NAMES, round=4)
    assert later.slot == "zdm_back_4" != NAMES.slot and later.prefix != NAMES.prefix
    shared = {t.name for t in later.topics(24)} & {t.name for t in NAMES.topics(24)}
    assert shared == {NAMES.offsets_topic}, "whose entries name the prefix"
    assert not {t.name for t in later.topics(24)} & {t.name for t in CAPTURE.topics(24)}
    assert later.source_connector == NAMES.source_connector


def test_the_way_back_begins_at_its_slot_and_makes_nothing_itself() -> None:
    config = reverse_source_config(NAMES, host="a", port=5432, account="zdm-dev/aurora-cdc")
    assert (config["plugin.name"], config["slot.name"], config["publication.name"]) == (
        "pgoutput",
        "zdm_back_3",
        "zdm_back",
    )
    assert (config["snapshot.mode"], config["publication.autocreate.mode"]) == ("no_data", "disabled")
    assert config["slot.drop.on.stop"] == "false" and config["database.sslmode"] == "require"
    assert config["column.exclude.list"] == r"public\.orders\.total_gross"
    assert config["heartbeat.action.query"].startswith("SELECT pg_logical_emit_message(false, 'zdm-heartbeat'")
    assert config["message.prefix.exclude.list"] == "zdm-heartbeat"


def test_what_is_written_to_mysql_is_in_no_binary_log() -> None:
    config = reverse_sink_config(NAMES, host="m", port=3306, account="zdm-dev/mysql-sink")
    url = config["connection.url"]
    assert url.startswith("jdbc:mysql://m:3306/ecommerce?sslMode=REQUIRED&")
    assert "sessionVariables=sql_log_bin=0,foreign_key_checks=0,time_zone=" in url
    assert (config["insert.mode"], config["delete.enabled"], config["tasks.max"]) == ("upsert", "true", "1")
    assert config["use.reduction.buffer"] == "false", "the order of records counts with a secondary unique key"
    assert config["connection.password"] == "${secretsmanager:zdm-dev/mysql-sink:password}"
    assert config["topics"].split(",") == [*NAMES.table_topics, *NAMES.control_topics]


# --- the ZIP ----------------------------------------------------------------------------------------------------------


def test_a_whole_zip_with_its_checksum(tmp_path: Path) -> None:
    path = stand_in_plugin(tmp_path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    plugin = Plugin(path, digest)
    assert plugin.digest == digest and not plugin.resolves_secrets
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("msk-config-providers/msk-config-providers-0.4.0-all.jar", "")
    with pytest.raises(ArgumentError, match=rf"Plugin\.sha256: .*has the checksum [0-9a-f]+, not {digest}"):
        Plugin(path, digest)
    assert Plugin(path).resolves_secrets


def test_columns_that_become_interval_need_the_converters(args: DebeziumArgs, tmp_path: Path) -> None:
    capture = replace(CAPTURE, intervals=["orders.took"])
    assert args.way_back
    back = replace(args.way_back, names=WayBackNames(capture))
    replace(args, capture=capture, way_back=back)
    without = tmp_path / "without.zip"
    with zipfile.ZipFile(without, "w") as archive:
        for name in PARTS_OF_PLUGIN:
            if "zdm" not in name:
                archive.writestr(name, "")
    replace(args, plugin=Plugin(without))
    with pytest.raises(ArgumentError, match=r"plugin: .*lacks the converters.*install a JDK"):
        replace(args, capture=capture, way_back=back, plugin=Plugin(without))


def test_a_zip_that_is_none_or_lacks_a_connector(tmp_path: Path) -> None:
    broken, partial = tmp_path / "broken.zip", tmp_path / "partial.zip"
    broken.write_bytes(b"PK")
    with zipfile.ZipFile(partial, "w") as archive:
        archive.writestr("debezium-connector-mysql/debezium-connector-mysql-3.6.0.Final.jar", "")
        archive.writestr("debezium-connector-jdbc/README.md", "debezium-connector-jdbc-3.6.0.Final.jar")
    with pytest.raises(ArgumentError, match=r"Plugin\.path: .*no sound ZIP"):
        Plugin(broken)
    lacks = r"holds no debezium-connector-postgres and no debezium-connector-jdbc: make it again by `./zdm plugin`"
    with pytest.raises(ArgumentError, match=lacks):
        Plugin(partial)
    with pytest.raises(ArgumentError, match=r"Plugin\.path: no ZIP file at"):
        Plugin(tmp_path / "none.zip")


# --- arguments --------------------------------------------------------------------------------------------------------


def access(port: int) -> DatabaseAccess:
    return DatabaseAccess(Endpoint("db", port, "sg"), Account("name", "arn"))


@pytest.fixture
def args(tmp_path: Path) -> DebeziumArgs:
    kafka: Any = KafkaAccess("b:9098", CLUSTER, "sg", [])  # type: ignore[arg-type]
    return DebeziumArgs(
        account_id="123456789012",
        region="ap-southeast-1",
        vpc_id="vpc",
        subnet_ids=["a", "b"],
        data_key_arn="key",
        secrets_key_arn="key",
        logs_key_arn="key",
        kafka=kafka,
        source=access(3306),
        target=access(5432),
        capture=CAPTURE,
        plugin=Plugin(stand_in_plugin(tmp_path)),
        state="running",
        way_back=WayBack(access(5432), access(3306), NAMES),
    )


def test_both_ways_at_once_are_refused_with_the_reason(args: DebeziumArgs) -> None:
    assert args.way_back
    both = replace(args.way_back, running=True)
    with pytest.raises(ArgumentError, match=r"way_back: both ways at once would overwrite newer rows.*stop the way"):
        replace(args, way_back=both)
    replace(args, way_back=both, state="stopped")


def test_a_log_has_one_reader(args: DebeziumArgs) -> None:
    for capacity in (Autoscaled(), Fixed(workers=2)):
        with pytest.raises(ArgumentError, match=r"source_capacity: a log has one reader"):
            replace(args, source_capacity=capacity)  # type: ignore[arg-type]
    replace(args, sink_capacity=Autoscaled(1, 4))


def test_what_goes_back_is_what_came(args: DebeziumArgs) -> None:
    assert args.way_back
    other = replace(args.way_back, names=WayBackNames(replace(CAPTURE, tables=["orders"])))
    with pytest.raises(ArgumentError, match=r"way_back: its names must come from the same capture"):
        replace(args, way_back=other)
    nothing = replace(CAPTURE, tables=[])
    back = replace(args.way_back, names=WayBackNames(nothing), running=True)
    with pytest.raises(ArgumentError, match=r"way_back: no table"):
        replace(args, capture=nothing, state="stopped", way_back=back)
    with pytest.raises(ArgumentError, match=r"capture: no table"):
        replace(args, capture=nothing, way_back=None)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Fixed(units=3), r"Fixed\.units: 1, 2, 4 or 8, not 3"),
        (lambda: Fixed(workers=11), r"Fixed\.workers"),
        (lambda: Autoscaled(3, 3), r"Autoscaled\.most: more than least 3"),
        (lambda: Autoscaled(out_percent=20), r"Autoscaled\.in_percent"),
        (lambda: WayBackNames(CAPTURE, 0), r"WayBackNames\.round: 1 to 99, not 0"),
    ],
)
def test_a_bad_argument_is_named(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        make()
