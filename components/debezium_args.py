"""Arguments of `DebeziumPipeline`: what is captured, where, how large the workers are, and the way back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from pulumi import Input

from components.base import demand
from components.connectors import Capture
from components.databases import DatabaseAccess
from components.debezium_plugin import Plugin
from components.debezium_way_back import WayBackNames
from components.endpoints import AwsApis
from components.kafka_args import KafkaAccess

UNITS = (1, 2, 4, 8)


@dataclass(frozen=True)
class Fixed:
    """A connector of so many workers, always."""

    units: int = 1
    """MSK Connect units of a worker, 1, 2, 4 or 8:
    1 vCPU and 4 GiB each."""
    workers: int = 1
    """Workers, 1 to 10. More than one only helps a connector with several tasks."""

    def __post_init__(self) -> None:
        demand(
            self,
            units=(self.units in UNITS, f"1, 2, 4 or 8, not {self.units}"),
            workers=(1 <= self.workers <= 10, f"1 to 10, not {self.workers}"),
        )


@dataclass(frozen=True)
class Autoscaled:
    """A connector whose number of workers follows their CPU. For sinks only: a log has one reader."""

    least: int = 1
    """Workers there always are."""
    most: int = 2
    """Workers there are at most, 10 or fewer."""
    units: int = 1
    """MSK Connect units of a worker, 1, 2, 4 or 8."""
    out_percent: int = 80
    """CPU above which a worker is added (MSK Connect's own default)."""
    in_percent: int = 20
    """CPU below which one is taken away (MSK Connect's own default)."""

    def __post_init__(self) -> None:
        demand(
            self,
            least=(self.least >= 1, f"at least 1, not {self.least}"),
            most=(self.least < self.most <= 10, f"more than least {self.least} and at most 10, not {self.most}"),
            units=(self.units in UNITS, f"1, 2, 4 or 8, not {self.units}"),
            in_percent=(
                1 <= self.in_percent < self.out_percent <= 100,
                f"1 to 100 and below out_percent {self.out_percent}, not {self.in_percent}",
            ),
        )


@dataclass(frozen=True)
class WayBack:
    """From Aurora to MySQL: prepared as soon as it is given, running only when the way there has stopped."""

    source: DatabaseAccess
    """Aurora, as the account that captures on the way back."""
    target: DatabaseAccess
    """MySQL, as the account that writes on the way back."""
    names: WayBackNames
    """Names of a round; a new start takes the next one."""
    running: bool = False
    """Makes its two connectors. Slot, publication and privileges must be there."""


@dataclass(frozen=True)
class DebeziumArgs:
    """Arguments of `DebeziumPipeline`."""

    account_id: str
    """For whom MSK Connect may take the roles."""
    region: str
    """Where the workers look for secrets."""
    vpc_id: Input[str]
    """Where the workers' security group is made."""
    subnet_ids: Sequence[Input[str]]
    """Subnets of the workers; they must reach Secrets Manager, S3, the brokers and both databases."""
    data_key_arn: Input[str]
    """Customer key for the plugin's bucket."""
    secrets_key_arn: Input[str]
    """Customer key that the accounts' secrets are under."""
    logs_key_arn: Input[str]
    """Customer key for the log group."""
    kafka: KafkaAccess
    """The cluster; its topics must be there before a connector starts."""
    source: DatabaseAccess
    """MySQL, as the account that captures."""
    target: DatabaseAccess
    """Aurora, as the account that writes."""
    capture: Capture
    """What is captured, and all names that follow."""
    plugin: Plugin
    """The connectors' ZIP."""
    state: Literal["stopped", "capturing", "running"]
    """Of the way there: capturing makes its source only, whose changes wait in Kafka; running makes both connectors.
    Accounts and schema must be there."""
    way_back: WayBack | None = None
    """None: nothing is prepared for it."""
    server_id: int = 5401
    """The source's id among MySQL's replicas; no other may have it."""
    source_capacity: Fixed = field(default_factory=Fixed)
    """Size of the worker of either source; and of the sink on the way back, which has one task, too."""
    sink_capacity: Fixed | Autoscaled = field(default_factory=Fixed)
    """Size of the sink on the way there."""
    sink_tasks: int = 1
    """Parallel tasks of that sink. More than there are partitions have nothing to do."""
    log_days: int = 30
    """How long the workers' logs are kept. A failed write is in them with its row: personal data."""
    keep_bucket: bool = True
    """Refuse to delete the plugin's bucket while something is in it."""
    apis: AwsApis = field(default_factory=AwsApis)
    """How workers reach Secrets Manager and AWS's other APIs. Over NAT, unless the network has endpoints for them."""

    def __post_init__(self) -> None:
        back = self.way_back
        one = isinstance(self.source_capacity, Fixed) and self.source_capacity.workers == 1
        demand(
            self,
            capture=(bool(self.capture.tables) or self.state == "stopped", "no table, but the pipeline is to run"),
            way_back=(
                not (back and back.running and self.state != "stopped"),
                "both ways at once would overwrite newer rows with older ones, on both sides alike: stop the way there "
                "(state) before the way back runs",
            ),
            plugin=(
                not self.capture.intervals or self.plugin.carries_intervals,
                f"{self.plugin.path} lacks the converters for columns that become interval: install a JDK, and make it "
                "again by `./zdm plugin`",
            ),
            server_id=(1 <= self.server_id < 2**32, f"1 to 4294967295, not {self.server_id}"),
            source_capacity=(one, "a log has one reader: Fixed with one worker, never Autoscaled"),
            sink_tasks=(1 <= self.sink_tasks <= 32, f"1 to 32, not {self.sink_tasks}"),
        )
        if back is not None:
            same = back.names.capture == self.capture
            demand(self, way_back=(same, "its names must come from the same capture: the same tables go back"))
            ready = bool(self.capture.tables) or not back.running
            demand(self, way_back=(ready, "no table, but the way back is to run"))
