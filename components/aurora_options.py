"""The choices that an Aurora cluster leaves: capacity, version, readers. They refuse early what Aurora would later."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from pulumi import Input

from components.base import demand

AUTHORITIES = ("rds-ca-rsa2048-g1", "rds-ca-rsa4096-g1", "rds-ca-ecc384-g1")
MAX_READERS = 15
"""Aurora's limit for a cluster."""


def _steps(units: float) -> bool:
    return units * 2 == int(units * 2)


@dataclass(frozen=True)
class Serverless:
    """Serverless v2: capacity follows the load between two bounds, in Aurora capacity units of about 2 GiB."""

    min_acu: float = 0.5
    """Least capacity, 0.5 to 256 in steps of one half. Zero would pause: logical replication keeps it awake anyway."""
    max_acu: float = 4.0
    """Most capacity, 1 to 256; also what Aurora derives the number of connections from."""

    def __post_init__(self) -> None:
        demand(
            self,
            min_acu=(
                0.5 <= self.min_acu <= 256 and _steps(self.min_acu),
                f"0.5 to 256 in steps of 0.5, not {self.min_acu}",
            ),
            max_acu=(
                max(1.0, self.min_acu) <= self.max_acu <= 256 and _steps(self.max_acu),
                f"min_acu (and 1) to 256 in steps of 0.5, not {self.max_acu}",
            ),
        )


@dataclass(frozen=True)
class Provisioned:
    """Instances of one class."""

    instance_class: str
    """Such as db.r7g.large."""

    def __post_init__(self) -> None:
        demand(self, instance_class=(_is_class(self.instance_class), _class_wanted(self.instance_class)))


Capacity = Serverless | Provisioned


def _is_class(name: str) -> bool:
    return re.fullmatch(r"db\.[a-z0-9]+\.[a-z0-9]+", name) is not None


def _class_wanted(name: str) -> str:
    return f"a class such as db.r7g.large, not {name!r}"


@dataclass(frozen=True)
class Pinned:
    """Exactly this minor version. Nothing moves it but a change here."""

    version: str
    """Such as 15.10."""

    def __post_init__(self) -> None:
        fits = re.fullmatch(r"(1[5-9]|[2-9]\d)\.\d+", self.version) is not None
        demand(self, version=(fits, f"a minor version of 15 or newer, such as 15.10, not {self.version!r}"))


@dataclass(frozen=True)
class Major:
    """Aurora's default minor version of a major one, chosen at creation."""

    version: str = "15"
    """Such as 15."""
    upgrades: bool = False
    """Whether Aurora may move the minor in the maintenance window: it restarts the cluster, so not before the end."""

    def __post_init__(self) -> None:
        fits = re.fullmatch(r"1[5-9]|[2-9]\d", self.version) is not None
        demand(self, version=(fits, f"15 or newer, not {self.version!r}"))


Version = Pinned | Major


def upgrades(version: Version) -> bool:
    """Whether Aurora may move the minor version by itself."""
    return isinstance(version, Major) and version.upgrades


def version_policy(text: str) -> Version:
    """`15.10` pins the minor, `15` only the major."""
    return Pinned(text) if "." in text else Major(text)


@dataclass(frozen=True)
class ReaderScaling:
    """Readers that come and go by themselves, besides those that are always there."""

    max_readers: int
    """Most readers in all, at most 15. Those that Aurora adds are none of the program's: it also takes them away."""
    metric: Literal["cpu", "connections"] = "cpu"
    """What is held at the target, on average over the readers."""
    target: float = 60.0
    """Percent of CPU (up to 100), or connections. 60 leaves room for the minutes that a new reader takes."""
    scale_in_seconds: int = 300
    """How long after a change the next reader may go; AWS's own value."""
    scale_out_seconds: int = 300
    """How long after a change the next reader may come; AWS's own value."""

    def __post_init__(self) -> None:
        demand(
            self,
            max_readers=(1 <= self.max_readers <= MAX_READERS, f"1 to {MAX_READERS}, not {self.max_readers}"),
            metric=(self.metric in ("cpu", "connections"), f"cpu or connections, not {self.metric!r}"),
            target=(
                1 <= self.target <= (100 if self.metric == "cpu" else 262143),
                f"1 to 100 percent of cpu, or a number of connections, not {self.target}",
            ),
            scale_in_seconds=(0 <= self.scale_in_seconds <= 86400, f"0 to 86400, not {self.scale_in_seconds}"),
            scale_out_seconds=(0 <= self.scale_out_seconds <= 86400, f"0 to 86400, not {self.scale_out_seconds}"),
        )


@dataclass(frozen=True)
class Reports:
    """Readers for reports and analytics, behind an endpoint of their own: long queries disturb no customer."""

    parameter_group: Input[str]
    """Their instances' group, with memory for large sorts."""
    readers: int = 1
    """How many; the last to become the writer in a failover."""
    instance_class: str | None = None
    """Their class where it differs from the others'; None is the cluster's."""

    def __post_init__(self) -> None:
        demand(
            self,
            readers=(1 <= self.readers <= MAX_READERS, f"1 to {MAX_READERS}, not {self.readers}"),
            instance_class=(
                self.instance_class is None or _is_class(self.instance_class),
                _class_wanted(self.instance_class or ""),
            ),
        )


def streams_activity(capacity: Capacity) -> bool:
    """Whether the instances can have an activity stream: not serverless ones, and none of a burstable class."""
    return isinstance(capacity, Provisioned) and not capacity.instance_class.startswith("db.t")
