"""Arguments of DmsReplication, and what its tasks are told by them. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import pulumi
from pulumi import Input

from components.base import demand
from components.databases import WEEKLY_WINDOW
from components.dms_choices import Changes, Errors, FullLoad, FullLobs, Lobs, Logging, Validation
from components.dms_endpoints import DmsSource, DmsTarget, WayBack
from components.dms_mappings import ParallelLoad, TableMappings, table_mappings
from components.dms_settings import TaskSettings
from components.endpoints import AwsApis
from contract.dms import Demands
from contract.tables import Table

UNITS = (1, 2, 4, 8, 16, 32, 64, 128, 192, 256, 384)
"""Sizes of a serverless replication, in units of 2 GiB of memory. Source: AWS DMS API, ComputeConfig."""


@dataclass(frozen=True)
class Instance:
    """A replication instance of a size of one's own."""

    instance_class: str = "dms.r6i.large"
    """The class. One of the memory-rich r series: transactions are kept in memory until they are committed."""
    storage_gib: int = 100
    """Storage for logs and for changes that do not fit into memory: during the full load, all of them."""
    multi_az: bool = True
    """A standby in another zone. Without one, a failure of the instance is a gap until it is there again."""
    version: str = "3.6.1"
    """DMS's version, pinned: the newest in its release notes that has an end of life (June 2027)."""

    def __post_init__(self) -> None:
        demand(
            self,
            instance_class=(
                re.fullmatch(r"dms\.[a-z0-9]+\.[a-z0-9]+", self.instance_class) is not None,
                f"a class such as dms.r6i.large, not {self.instance_class!r}",
            ),
            storage_gib=(5 <= self.storage_gib <= 6144, f"5 to 6144 GiB, not {self.storage_gib}"),
            version=(
                re.fullmatch(r"\d+\.\d+\.\d+", self.version) is not None,
                f"all of it, such as 3.6.1, not {self.version!r}",
            ),
        )


@dataclass(frozen=True)
class Serverless:
    """Capacity that DMS chooses and changes within bounds; its version is AWS's choice too."""

    max_units: int
    """Most units (of 2 GiB memory): what the worst hour may cost."""
    min_units: int = 1
    """Least units; room for what comes faster than capacity can be added."""
    multi_az: bool = True
    """A standby in another zone."""

    def __post_init__(self) -> None:
        allowed = ", ".join(map(str, UNITS))
        demand(
            self,
            max_units=(
                self.max_units in UNITS and self.max_units >= self.min_units,
                f"one of {allowed}, and at least min_units, not {self.max_units}",
            ),
            min_units=(self.min_units in UNITS, f"one of {allowed}, not {self.min_units}"),
        )


Capacity = Instance | Serverless


@dataclass(frozen=True)
class Place:
    """Where in the account the replication stands."""

    prefix: str
    """Makes fixed names unique to the stack; at most 19 letters, digits and hyphens, DMS's names being short."""
    account_id: str
    """The account that DMS must act for."""
    region: str
    """DMS reads secrets under the region's own principal."""
    vpc_id: Input[str]
    """The VPC of both databases, or one with a route to them."""
    subnet_ids: Sequence[Input[str]]
    """Private subnets in at least two zones, with a way to Secrets Manager."""
    data_key_arn: Input[str]
    """Encrypts the instance's storage and what DMS keeps of endpoints."""
    secrets_key_arn: Input[str]
    """Decrypts the accounts."""
    logs_key_arn: Input[str]
    """Encrypts the log group."""
    alarm_topic_arn: Input[str]
    """Where alarms and events go."""
    apis: AwsApis = field(default_factory=AwsApis)
    """How Secrets Manager and CloudWatch are reached from the subnets."""
    log_days: int = 30
    """Days that task logs are kept."""
    ready: Sequence[pulumi.Resource] = ()
    """What must be there first: the account-wide roles, where this stack makes them."""

    def __post_init__(self) -> None:
        demand(
            self,
            prefix=(
                re.fullmatch(r"[a-z](?:-?[a-z0-9])*", self.prefix) is not None and len(self.prefix) <= 19,
                f"at most 19 lower-case letters, digits and single hyphens, a letter first, not {self.prefix!r}",
            ),
            subnet_ids=(len(self.subnet_ids) >= 2, "two or more, in different zones"),
        )


Told = tuple[TaskSettings, TableMappings]
"""What a task is told: how, and what."""


@dataclass(frozen=True)
class DmsArgs:
    """What is replicated, with what, and how."""

    place: Place
    """Where it stands."""
    database: str
    """The database, of the same name on both sides; its tables go to the schema `public`."""
    tables: Sequence[Table]
    """The tables with their columns, as a survey of MySQL describes them: the mappings follow from their types."""
    source: DmsSource
    """The MySQL that is read."""
    target: DmsTarget
    """The Aurora that is written."""
    capacity: Capacity = field(default_factory=Instance)
    """An instance by default: its load is steady, and the way back needs one."""
    running: bool = False
    """Whether the replication runs. Not by default: accounts, schema and rights come first."""
    booleans: Sequence[str] = ()
    """`table.column` of TINYINT(1) that become boolean, as for the schema."""
    intervals: Sequence[str] = ()
    """`table.column` of TIME that become interval, as for the schema."""
    excluded: Sequence[str] = ()
    """`table.column` that are left out, as in the schema."""
    relaxed: Sequence[str] = ()
    """`table.column` of LOBs whose NOT NULL was dropped on the target while DMS writes; to be put back before
    cutover."""
    parallel: Mapping[str, ParallelLoad] = field(default_factory=dict)
    """How large tables are cut for the full load; the others are loaded each in one piece."""
    lobs: Lobs = field(default_factory=FullLobs)
    """How LOBs travel; whole by default."""
    load: FullLoad = field(default_factory=FullLoad)
    """The full load."""
    changes: Changes = field(default_factory=Changes)
    """The changes after it."""
    validation: Literal["off", "inline", "stopped", "running"] = "stopped"
    """DMS's own comparison: none, within the replication, or by a task of its own that is prepared (`stopped`) or
    `running`. One of its own by default, to be started when the full load is over: before that, every row would be a
    failure."""
    way_back: WayBack | None = None
    """The prepared way from Aurora to MySQL; none by default, the pipeline's own being the first choice."""
    errors: Errors = field(default_factory=Errors)
    """What happens when a row cannot be written."""
    logging: Logging = field(default_factory=Logging)
    """What is logged."""
    lag_seconds: float = 30.0
    """The KPI of the lag: alarms above it, and a batch must not wait longer."""
    maintenance: str = "sun:03:30-sun:04:30"
    """Weekly window, in UTC, in which AWS may take the instance down."""

    def __post_init__(self) -> None:
        known = {column.path for table in self.tables for column in table.columns}
        strange = sorted({*self.booleans, *self.intervals, *self.excluded, *self.relaxed} - known)
        batch = self.changes.batch
        serverless = isinstance(self.capacity, Serverless)
        demand(
            self,
            tables=(bool(self.tables) and not strange, f"no such column: {', '.join(strange)}" if strange else "none"),
            validation=(self.validation != "running" or self.running, "compares nothing while nothing runs"),
            way_back=(
                self.way_back is None or not serverless,
                "needs an Instance: a serverless replication cannot begin at a position",
            ),
            lag_seconds=(self.lag_seconds > 0, "above 0"),
            changes=(
                batch is None or batch.max_seconds < self.lag_seconds,
                f"a batch may wait {batch.max_seconds if batch else 0} s, the lag allowed is {self.lag_seconds:g} s: "
                "lower batch.max_seconds",
            ),
            maintenance=(
                re.fullmatch(WEEKLY_WINDOW, self.maintenance) is not None,
                f"ddd:hh:mm-ddd:hh:mm in UTC, not {self.maintenance!r}",
            ),
        )
        # Raises for all that cannot be carried or combined, before anything is declared.
        self.forward()
        if self.way_back:
            self.back()

    def forward(self) -> Told:
        """What the replication is told."""
        mappings = self._mappings("forward", validated=self.validation != "off")
        return TaskSettings(
            kind="full-load-and-cdc",
            carries_lobs=mappings.lobs,
            lobs=self.lobs,
            load=self.load,
            changes=self.changes,
            validation=Validation() if self.validation == "inline" else None,
            errors=self.errors,
            logging=self.logging,
        ), mappings

    def comparison(self) -> Told:
        """What the task that only validates is told: it goes on, in the replication's direction."""
        mappings = self._mappings("forward", validated=True)
        return TaskSettings(
            kind="cdc",
            carries_lobs=mappings.lobs,
            lobs=self.lobs,
            validation=Validation(only=True),
            errors=self.errors,
            logging=self.logging,
        ), mappings

    def back(self) -> Told:
        """What the way back is told: changes only, since MySQL has all rows already."""
        mappings = self._mappings("back", validated=False)
        return TaskSettings(
            kind="cdc",
            carries_lobs=mappings.lobs,
            lobs=self.lobs,
            changes=Changes(),
            errors=self.errors,
            logging=self.logging,
        ), mappings

    def _mappings(self, direction: Literal["forward", "back"], validated: bool) -> TableMappings:
        return table_mappings(
            self.database,
            self.tables,
            booleans=self.booleans,
            intervals=self.intervals,
            excluded=self.excluded,
            parallel=self.parallel if direction == "forward" else {},
            direction=direction,
            demands=Demands(
                validated=validated,
                batched=direction == "forward" and self.changes.batch is not None,
                relaxed=frozenset(self.relaxed),
            ),
        )
