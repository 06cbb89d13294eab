"""What of a stack is watched in CloudWatch: the coordinates that alarms and dashboards need. Pure.

A thing that a stack does not have is left out, with its alarms and pictures: what cannot report would alarm for ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pulumi import Input

from components.alerts import Bounds
from components.base import demand


@dataclass(frozen=True)
class AuroraTarget:
    """The Aurora cluster."""

    cluster: Input[str]
    """The cluster's identifier."""
    serverless: bool
    """Whether its capacity is in ACUs: then their use is watched, else the free memory."""
    readers: int
    """Readers beside the writer; without one there is no replica lag to watch."""
    connections: int = 1000
    """Connections the cluster can take: `max_connections` of its size or setting; the alarm is at 80 % of it."""
    free_memory_mib: int = 1024
    """MiB that must stay free on a provisioned instance: below a gigabyte PostgreSQL's own caches shrink."""

    def __post_init__(self) -> None:
        demand(
            self,
            readers=(0 <= self.readers <= 15, f"0 to 15, not {self.readers}"),
            connections=(self.connections >= 1, f"1 or more, not {self.connections}"),
            free_memory_mib=(self.free_memory_mib >= 1, f"1 or more, not {self.free_memory_mib}"),
        )


@dataclass(frozen=True)
class MySQLSource:
    """The source, where this stack made it (a server that was there before has monitoring of its own)."""

    instance: Input[str]
    """The instance's identifier."""
    storage_gib: int
    """GiB of its volume; the alarm is at one tenth free."""


@dataclass(frozen=True)
class KafkaBrokers:
    """The Kafka cluster."""

    cluster: str
    """The cluster's name."""


@dataclass(frozen=True)
class Connectors:
    """The connectors that run."""

    names: Sequence[str]
    """Names as MSK Connect has them, source first."""

    def __post_init__(self) -> None:
        demand(self, names=(bool(self.names), "at least one: leave the group out while none runs"))


@dataclass(frozen=True)
class ApiService:
    """One origin: its ECS service behind its load balancer."""

    side: str
    """`mysql` or `aurora`."""
    cluster: Input[str]
    """Name of the ECS cluster."""
    service: Input[str]
    """Name of the ECS service that gets the requests."""
    balancer: Input[str]
    """The load balancer's ARN suffix, `app/<name>/<id>`."""
    alarms: Sequence[Input[str]] = ()
    """Names of the alarms that it made for itself: a cutover waits for them too."""


@dataclass(frozen=True)
class Probe:
    """The lag probe, whose log carries the KPIs that only it knows."""

    log_group: Input[str]
    """Its log group: two metric filters read it."""


@dataclass(frozen=True)
class Watched:
    """All of it, with the bounds that it is held to."""

    bounds: Bounds
    """The stack's KPIs."""
    aurora: AuroraTarget
    """The target: there from the first day."""
    mysql: MySQLSource | None = None
    """The source, if it is ours."""
    kafka: KafkaBrokers | None = None
    """The brokers, if capture goes through them."""
    connectors: Connectors | None = None
    """The connectors, while they run."""
    services: Sequence[ApiService] = ()
    """The origins."""
    probe: Probe | None = None
    """The lag probe, where there is one."""
