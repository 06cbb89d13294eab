"""What the connectors are told: names that never change, references instead of secrets, routes to the right tables."""

from __future__ import annotations

import re
from dataclasses import replace

from components.connectors import FLUSH_MS, Capture, sink_config, source_config, worker_properties

CAPTURE = Capture(
    name="zdm-dev",
    database="ecommerce",
    tables=["orders", "order-items"],
    booleans=["orders.paid"],
    excluded=["orders.total_gross"],
)


def source() -> dict[str, str]:
    return source_config(CAPTURE, host="m", port=3306, account="zdm-dev/mysql-cdc", bootstrap="b:9098", server_id=7)


def sink(tasks: int = 1) -> dict[str, str]:
    return sink_config(CAPTURE, host="a", port=5432, account="zdm-dev/aurora-sink", tasks=tasks)


def test_names_follow_from_stack_and_prefix() -> None:
    assert CAPTURE.source_connector == "zdm-dev-source"
    assert CAPTURE.sink_connector == "zdm-dev-sink"
    assert [t.name for t in CAPTURE.topics(24)] == [
        "__debezium-schema-history.dbserver1",
        "zdm-dev-source-offsets",
        "__debezium-heartbeat.dbserver1",
        "dbserver1.zdm.watermark",
        "dbserver1.zdm.idempotency",
        "dbserver1.ecommerce.orders",
        "dbserver1.ecommerce.order-items",
    ]
    partitions = {t.name: t.partitions for t in CAPTURE.topics(24)}
    assert partitions["dbserver1.ecommerce.orders"] == partitions["dbserver1.zdm.idempotency"] == 3
    assert partitions["dbserver1.zdm.watermark"] == partitions["__debezium-schema-history.dbserver1"] == 1


def test_rows_that_are_there_are_read_only_where_debezium_copies_them() -> None:
    assert (source()["snapshot.mode"], source()["snapshot.locking.mode"]) == ("no_data", "none")
    capture = replace(CAPTURE, snapshot=True)
    copying = source_config(capture, host="m", port=3306, account="a", bootstrap="b", server_id=7)
    assert (copying["snapshot.mode"], copying["snapshot.locking.mode"]) == ("initial", "minimal")


def test_each_converter_has_its_columns() -> None:
    capture = replace(CAPTURE, intervals=["orders.took", "order-items.took"])
    config = source_config(capture, host="m", port=3306, account="a", bootstrap="b", server_id=7)
    assert config["converters"] == "booleans,intervals"
    assert config["intervals.type"] == "zdm.debezium.TimeAsText"
    assert config["intervals.selector"] == r"ecommerce\.order\-items\.took|ecommerce\.orders\.took"
    assert source()["converters"] == "booleans"


def test_source_captures_the_tables_and_what_is_carried_of_the_control_schema_and_nothing_else() -> None:
    patterns = [re.compile(p) for p in source()["table.include.list"].split(",")]

    def captured(name: str) -> bool:
        return any(p.fullmatch(name) for p in patterns)

    assert captured("ecommerce.orders") and captured("ecommerce.order-items")
    assert captured("zdm.watermark") and captured("zdm.idempotency")
    assert not captured("ecommerce.orders2") and not captured("ecommerceXorders") and not captured("zdm.fence")
    assert source()["database.include.list"] == "ecommerce,zdm"


def test_source_is_as_the_product_promises() -> None:
    config = source()
    assert config["heartbeat.interval.ms"] == "1000"
    assert config["topic.prefix"] == "dbserver1"
    assert config["tasks.max"] == "1"
    assert config["database.ssl.mode"] == "required"
    assert config["bigint.unsigned.handling.mode"] == "precise"
    assert "ecommerce" in config["booleans.selector"] and "total_gross" in config["column.exclude.list"]
    assert config["schema.history.internal.consumer.sasl.mechanism"] == "AWS_MSK_IAM"


def test_no_secret_is_in_a_configuration() -> None:
    assert source()["database.password"] == "${secretsmanager:zdm-dev/mysql-cdc:password}"
    assert sink()["connection.username"] == "${secretsmanager:zdm-dev/aurora-sink:username}"


def test_sink_applies_upserts_and_deletes_over_tls() -> None:
    config = sink(tasks=4)
    assert (config["insert.mode"], config["delete.enabled"], config["schema.evolution"]) == ("upsert", "true", "none")
    assert config["connection.url"].startswith("jdbc:postgresql://a:5432/ecommerce?")
    assert "sslmode=require" in config["connection.url"]
    assert config["tasks.max"] == "4" and int(config["connection.pool.max_size"]) >= 4


def test_sink_routes_topics_to_tables() -> None:
    config = sink()

    def route(topic: str) -> str:
        for name in config["transforms"].split(","):
            pattern, to = config[f"transforms.{name}.regex"], config[f"transforms.{name}.replacement"]
            if match := re.fullmatch(pattern, topic):
                topic = to.replace("$1", match[1])
        return topic

    assert [route(t) for t in config["topics"].split(",")] == [
        "public.orders", "public.order-items", "zdm.watermark", "zdm.idempotency",
    ]  # fmt: skip


def test_workers_commit_often_and_only_the_source_keeps_offsets() -> None:
    text = worker_properties("ap-southeast-1", CAPTURE.offsets_topic)
    assert f"offset.flush.interval.ms={FLUSH_MS}\n" in text
    assert "offset.storage.topic=zdm-dev-source-offsets\n" in text
    assert "config.providers.secretsmanager.param.region=ap-southeast-1\n" in text
    assert "offset.storage" not in worker_properties("ap-southeast-1")
