"""Arguments of `KafkaCluster`: topics, brokers, who may come in and what can be seen; and what its clients get."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import pulumi
from pulumi import Input, Output

from components.base import demand
from components.databases import Account
from components.kafka_documents import MAX_THROUGHPUT, VERSIONS
from components.network import Endpoint

PORT = 9098
"""Where IAM logs in."""
SCRAM_PREFIX = "AmazonMSK_"
"""MSK takes no other secrets, and none under AWS's own key."""
Level = Literal["DEFAULT", "PER_BROKER", "PER_TOPIC_PER_BROKER", "PER_TOPIC_PER_PARTITION"]


@dataclass(frozen=True)
class Topic:
    """A topic and how long it keeps its records."""

    name: str
    """Topics of captured tables are named by Debezium: prefix, database, table."""
    partitions: int = 1
    """More let consumers work in parallel; only within one is the order kept. Can grow, never shrink."""
    retention_hours: int | None = None
    """How long records are kept; None is for ever, as the schema history must be."""
    compacted: bool = False
    """Keep the last record of each key for ever, as offsets must be."""

    def __post_init__(self) -> None:
        demand(
            self,
            partitions=(self.partitions >= 1, f"at least 1, not {self.partitions}"),
            retention_hours=(self.retention_hours is None or self.retention_hours >= 1, "at least 1, or None"),
            compacted=(not (self.compacted and self.retention_hours), "a compacted topic has no retention"),
        )

    def configs(self) -> dict[str, str]:
        """The topic's own settings, as Kafka names them."""
        if self.compacted:
            return {"cleanup.policy": "compact"}
        retention = -1 if self.retention_hours is None else self.retention_hours * 3_600_000
        return {"cleanup.policy": "delete", "retention.bytes": "-1", "retention.ms": str(retention)}


@dataclass(frozen=True)
class Brokers:
    """Brokers of one class, the same number in each of the subnets' zones."""

    instance_type: str = "kafka.m7g.large"
    """Class of the brokers; the least of the current ones that is not burstable."""
    per_zone: int = 1
    """With three zones, one in each gives the three replicas that RF 3 needs."""
    volume_gib: int = 100
    """Storage of each broker. Can grow, never shrink; `contract.retention` tells how much a migration needs."""
    grow_to_gib: int | None = None
    """Up to how much the storage grows by itself; None: not at all. MSK grows it at most once in six hours, by 10 GiB
    or a tenth, so it is no substitute for the right first size."""
    grow_at_percent: int = 60
    """How full it is when it grows; MSK takes 10 to 80 and advises 50 to 60."""
    throughput_mib: int | None = None
    """Provisioned storage throughput in MiB/s, 250 and more. None: what the class has, which is 250 for those that can
    have more. It pays when VolumeQueueLength grows while the network is not full, and costs by the month."""

    def __post_init__(self) -> None:
        most = MAX_THROUGHPUT.get(self.instance_type, 0)
        fast = self.throughput_mib is None or 250 <= self.throughput_mib <= most
        demand(
            self,
            instance_type=(self.instance_type.startswith("kafka."), f"begins with kafka., not {self.instance_type}"),
            per_zone=(self.per_zone >= 1, f"at least 1, not {self.per_zone}"),
            volume_gib=(1 <= self.volume_gib <= 16384, f"1 to 16384 GiB, not {self.volume_gib}"),
            grow_to_gib=(
                self.grow_to_gib is None or self.volume_gib < self.grow_to_gib <= 16384,
                f"more than volume_gib {self.volume_gib} and at most 16384, not {self.grow_to_gib}",
            ),
            grow_at_percent=(10 <= self.grow_at_percent <= 80, f"10 to 80, not {self.grow_at_percent}"),
            throughput_mib=(
                fast and (self.throughput_mib is None or self.volume_gib >= 10),
                f"250 to {most} MiB/s on {self.instance_type} with 10 GiB or more, not {self.throughput_mib}"
                if most
                else f"{self.instance_type} has none; from kafka.m7g.2xlarge or kafka.m5.4xlarge on",
            ),
        )


@dataclass(frozen=True)
class Monitoring:
    """What can be seen of the brokers."""

    level: Level = "PER_TOPIC_PER_BROKER"
    """How fine CloudWatch's metrics are. This one shows which topic lags; per partition costs a metric for each."""
    exporters: bool = True
    """JMX and node exporters for Prometheus on every broker (MSK's open monitoring); they cost nothing themselves."""
    scraper_group_ids: Mapping[str, Input[str]] = field(default_factory=dict)
    """Security groups that may reach the exporters, each under a name for its rules. Nobody else can."""

    def __post_init__(self) -> None:
        demand(
            self,
            level=(self.level in get_args(Level), f"one of {', '.join(get_args(Level))}, not {self.level}"),
            scraper_group_ids=(self.exporters or not self.scraper_group_ids, "nothing to scrape without exporters"),
        )


@dataclass(frozen=True)
class KafkaArgs:
    """Arguments of `KafkaCluster`."""

    cluster_name: str
    """Fixed: policies and log groups are named after it. Another name is another cluster."""
    vpc_id: Input[str]
    """Where the brokers' security group is made."""
    subnet_ids: Sequence[Input[str]]
    """Two or three, in different zones, with no way to the internet."""
    data_key_arn: Input[str]
    """Customer key for the brokers' storage. Another one is another cluster."""
    logs_key_arn: Input[str]
    """Customer key for the log group."""
    topics: Sequence[Topic]
    """Every topic that clients use, besides those that Kafka and Kafka Connect make for themselves."""
    version: str = "3.9.x"
    """One of `VERSIONS`; by default the one AWS recommends. Going up is done in place; down, or from ZooKeeper to KRaft
    (`.kraft`), is a new cluster under another name."""
    brokers: Brokers = field(default_factory=Brokers)
    """How many, how large."""
    scram_users: Sequence[Account] = ()
    """Clients that cannot log in by IAM: accounts whose secret's name begins with `AmazonMSK_`, under a customer key.
    What they may do is Kafka's own ACLs; while a resource has none, all who are logged in may use it."""
    shared_with: Sequence[str] = ()
    """Ids of other accounts that may read topics from their own VPCs; makes the cluster policy that needs it."""
    monitoring: Monitoring = field(default_factory=Monitoring)
    """Metrics and exporters."""
    log_days: int = 30
    """How long CloudWatch keeps the brokers' logs."""
    log_bucket: Input[str] | None = None
    """Bucket that gets the brokers' logs as well; its policy must hold `log_delivery`. None: CloudWatch only."""
    operator_cidrs: Sequence[str] = ()
    """Private networks from which the commands reach the brokers."""

    def __post_init__(self) -> None:
        names = [topic.name for topic in self.topics]
        small = self.brokers.instance_type == "kafka.t3.small"
        foreign = [user.secret_name for user in self.scram_users if not user.secret_name.startswith(SCRAM_PREFIX)]
        accounts = all(re.fullmatch(r"\d{12}", account) for account in self.shared_with)
        demand(
            self,
            cluster_name=(1 <= len(self.cluster_name) <= 64, f"1 to 64 characters, not {self.cluster_name!r}"),
            subnet_ids=(2 <= len(self.subnet_ids) <= 4, "2 to 4, in different zones"),
            topics=(len(set(names)) == len(names), "each name once"),
            version=(self.version in VERSIONS, f"one of {', '.join(VERSIONS)}, not {self.version}"),
            brokers=(
                not (small and self.version.startswith("4.")),
                f"kafka.t3.small runs no Kafka 4: take kafka.m7g.large, or a version before {self.version}",
            ),
            scram_users=(not foreign, f"secrets must begin with {SCRAM_PREFIX}, not {', '.join(foreign)}"),
            shared_with=(
                accounts and not (small and self.shared_with),
                "ids of 12 digits; and kafka.t3.small has no private connectivity",
            ),
        )

    @property
    def broker_count(self) -> int:
        return self.brokers.per_zone * len(self.subnet_ids)


@dataclass(frozen=True)
class KafkaAccess:
    """What a client needs of the cluster."""

    bootstrap: Output[str]
    """Brokers where IAM logs in."""
    cluster_arn: Output[str]
    """For the client's policy."""
    security_group_id: Output[str]
    """For the client's rules."""
    ready: Sequence[pulumi.Resource]
    """What must be there before the client can work: the topics."""

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(self.bootstrap, PORT, security_group_id=self.security_group_id)
