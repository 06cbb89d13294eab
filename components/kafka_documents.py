"""What MSK is told in text: versions, brokers' properties, who may share the cluster, who delivers its logs. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from components.policies import document, statement
from contract import records

VERSIONS: Final = (
    "3.6.0",
    "3.7.x",
    "3.7.x.kraft",
    "3.8.x",
    "3.8.x.kraft",
    "3.9.x",
    "3.9.x.kraft",
    "4.0.x.kraft",
    "4.1.x.kraft",
)
"""Versions for Standard brokers under the names of `aws kafka list-kafka-versions`, by AWS CDK's `KafkaVersion` and
public programs; AWS's own page was not at hand. Topics are declared from 3.6 on; 4.2.x is for Express brokers only.
With ZooKeeper (no `.kraft`) there is no way to 4.x but a new cluster."""

MAX_RECORD_BYTES: Final = records.MAX_RECORD_BYTES
"""Largest record the brokers take: one row event with its before and after image."""

OFFSETS_DAYS: Final = 30
"""How long the position of a stopped sink is kept. Kafka's own 7 days are shorter than a long way back; without its
position a sink would begin anew, with the oldest records there are."""

MAX_THROUGHPUT: Final = {
    "kafka.m5.4xlarge": 593,
    "kafka.m5.8xlarge": 850,
    "kafka.m5.12xlarge": 1000,
    "kafka.m5.16xlarge": 1000,
    "kafka.m5.24xlarge": 1000,
    "kafka.m7g.2xlarge": 312,
    "kafka.m7g.4xlarge": 625,
    "kafka.m7g.8xlarge": 1000,
    "kafka.m7g.12xlarge": 1000,
    "kafka.m7g.16xlarge": 1000,
}
"""Classes whose storage throughput can be provisioned, and their most in MiB/s (MSK's guide; 250 is the least)."""


def replication(brokers: int) -> tuple[int, int]:
    """Replication factor and the replicas that must have a record before it is acknowledged."""
    factor = min(3, brokers)
    return factor, max(1, factor - 1)


def server_properties(brokers: int) -> str:
    """The brokers' configuration, in Kafka's own format. Another text is another revision of the configuration."""
    factor, in_sync = replication(brokers)
    values: dict[str, str | int] = {
        "auto.create.topics.enable": "false",
        "default.replication.factor": factor,
        "delete.topic.enable": "true",
        "message.max.bytes": MAX_RECORD_BYTES,
        "min.insync.replicas": in_sync,
        "num.partitions": 1,
        "offsets.retention.minutes": OFFSETS_DAYS * 24 * 60,
        "replica.fetch.max.bytes": MAX_RECORD_BYTES,
        "unclean.leader.election.enable": "false",
    }
    return "".join(f"{key}={value}\n" for key, value in values.items())


def cluster_policy(cluster_arn: str, accounts: Sequence[str]) -> str:
    """Lets other accounts connect from their own VPCs and read topics; groups must begin with `shared-`."""
    head, _, cluster = cluster_arn.partition(":cluster/")
    partition = cluster_arn.split(":")[1]
    statements = []
    for account in accounts:
        who = {"AWS": f"arn:{partition}:iam::{account}:root"}
        statements += [
            statement(
                f"Connect{account}",
                [
                    "kafka:CreateVpcConnection",
                    "kafka:DescribeCluster",
                    "kafka:DescribeClusterV2",
                    "kafka:GetBootstrapBrokers",
                    "kafka-cluster:Connect",
                    "kafka-cluster:DescribeCluster",
                ],
                [cluster_arn],
                principal=who,
            ),
            statement(
                f"Read{account}",
                ["kafka-cluster:DescribeTopic", "kafka-cluster:ReadData"],
                [f"{head}:topic/{cluster}/*"],
                principal=who,
            ),
            statement(
                f"Join{account}",
                ["kafka-cluster:AlterGroup", "kafka-cluster:DescribeGroup"],
                [f"{head}:group/{cluster}/shared-*"],
                principal=who,
            ),
        ]
    return document(*statements)


def log_prefix(cluster_name: str) -> str:
    """Where a bucket gets the brokers' logs."""
    return f"msk/{cluster_name}"


def log_delivery(bucket_arn: str, cluster_name: str, account_id: str) -> list[dict[str, Any]]:
    """Statements that the policy of a bucket needs which gets broker logs. A bucket under a customer key also needs the
    key's policy to let `delivery.logs.amazonaws.com` generate data keys."""
    who = {"Service": "delivery.logs.amazonaws.com"}
    ours = {"StringEquals": {"aws:SourceAccount": account_id}}
    return [
        statement("BrokerLogsLook", ["s3:GetBucketAcl"], [bucket_arn], principal=who, condition=ours),
        statement(
            "BrokerLogsWrite",
            ["s3:PutObject"],
            [f"{bucket_arn}/{log_prefix(cluster_name)}/AWSLogs/{account_id}/*"],
            principal=who,
            condition={"StringEquals": {**ours["StringEquals"], "s3:x-amz-acl": "bucket-owner-full-control"}},
        ),
    ]


def exporters(bootstrap: str, brokers: int, port: int) -> list[str]:
    """Where every broker's exporter listens. MSK lists at most three brokers, named `b-<number>.<cluster>`."""
    hosts = [address.rpartition(":")[0] for address in bootstrap.split(",") if address]
    if hosts and (named := re.fullmatch(r"b-\d+(\..+)", hosts[0])):
        hosts = [f"b-{number}{named[1]}" for number in range(1, brokers + 1)]
    return [f"{host}:{port}" for host in hosts]
