"""What a connector's role may do: its own topics and group, one secret, its log. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from components.connectors import Capture
from components.debezium_way_back import WayBackNames
from components.policies import document, read_secrets, statement, write_logs

OWN = "__amazon_msk_connect_*"
"""Topics and groups that MSK Connect makes for a connector's own workers."""


@dataclass(frozen=True)
class Rights:
    """The topics and groups of one connector. A `*` stands for any end of a name."""

    reads: Sequence[str] = ()
    """Topics it reads."""
    writes: Sequence[str] = ()
    """Topics it writes."""
    groups: Sequence[str] = ()
    """Consumer groups it joins."""


def source_rights(capture: Capture) -> Rights:
    """The way there: writes changes, reads its own history and offsets again after a start."""
    own = [capture.schema_history_topic, capture.offsets_topic]
    history = f"{capture.prefix}-schemahistory"
    return Rights(own, [*own, f"{capture.prefix}.*", capture.heartbeat_topic], [history])


def sink_rights(capture: Capture) -> Rights:
    return Rights([*capture.table_topics, *capture.control_topics], groups=[capture.sink_group])


def back_source_rights(names: WayBackNames) -> Rights:
    own = [names.offsets_topic]
    return Rights(own, [*own, f"{names.prefix}.*", names.heartbeat_topic])


def back_sink_rights(names: WayBackNames) -> Rights:
    return Rights([*names.table_topics, *names.control_topics], groups=[names.sink_group])


def role_policy(rights: Rights, cluster_arn: str, secret_arn: str, secrets_key_arn: str, log_group_arn: str) -> str:
    """The role's document. ARNs of topics and groups are made from the cluster's name and id in its ARN."""
    head, _, cluster = cluster_arn.partition(":cluster/")

    def named(kind: str, names: Sequence[str]) -> list[str]:
        return [f"{head}:{kind}/{cluster}/{name}" for name in dict.fromkeys([OWN, *names])]

    return document(
        statement(
            "Connect",
            ["kafka-cluster:Connect", "kafka-cluster:DescribeCluster", "kafka-cluster:WriteDataIdempotently"],
            [cluster_arn],
        ),
        statement(
            "ReadTopics",
            [
                "kafka-cluster:DescribeTopic",
                "kafka-cluster:DescribeTopicDynamicConfiguration",
                "kafka-cluster:ReadData",
            ],
            named("topic", rights.reads),
        ),
        statement(
            "WriteTopics", ["kafka-cluster:DescribeTopic", "kafka-cluster:WriteData"], named("topic", rights.writes)
        ),
        statement("OwnTopics", ["kafka-cluster:CreateTopic"], named("topic", ())),
        statement(
            "JoinGroups",
            ["kafka-cluster:AlterGroup", "kafka-cluster:DescribeGroup"],
            named("group", rights.groups),
        ),
        *read_secrets([secret_arn], secrets_key_arn),
        write_logs(log_group_arn),
    )
