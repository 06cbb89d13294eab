"""The groups of settings: what each is called, may be, and is by default (environments differ in `environments.py`).

Invariants:
- A group's class is its documentation: `docs/settings.md` is made from the docstrings here.
- What a field may be is checked here, what fields may be together in `rules.py`.
- Defaults here are those of a small stack; nothing here has to be set to bring up `dev`.
"""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from components.databases import DAILY_WINDOW, WEEKLY_WINDOW


def _network(text: str) -> str:
    try:
        return str(ip_network(text))
    except ValueError as e:
        raise ValueError(f"{text!r} is no network such as 10.40.0.0/16") from e


def _private(text: str) -> str:
    if not text:
        return text
    network = ip_network(_network(text))
    if not network.is_private or network.prefixlen == 0:
        raise ValueError(f"{text} is not a private network")
    return text


def _half_steps(value: float) -> float:
    if value * 2 != int(value * 2):
        raise ValueError("must be a multiple of 0.5")
    return value


def _parameters(values: dict[str, str]) -> dict[str, str]:
    for name in values:
        if not re.fullmatch(r"[a-z][a-z0-9_.-]*", name):
            raise ValueError(f"{name!r} is no parameter's name")
    return values


def _shape(pattern: str, what: str) -> AfterValidator:
    """Text of a pattern; `what` says in words what the pattern wants."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"must be {what}")
        return text

    return AfterValidator(check)


_NAME = r"[^.`/\x00-\x20,]{1,64}"
_HOST = r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9-]{2,63}"
_CLASS = r"db\.[a-z0-9]+\.[a-z0-9]+"

Text = Annotated[str, Field(min_length=1)]
Tag = Annotated[str, _shape(r"[A-Za-z0-9][A-Za-z0-9 _.:/=+@-]{0,127}", "1 to 128 letters, digits, spaces or _.:/=+@-")]
PrivateNetwork = Annotated[str, Field(min_length=1), AfterValidator(_private)]
PrivateNetworkOrNone = Annotated[str, AfterValidator(_private)]
Host = Annotated[str, _shape(_HOST, "a host or domain in lower case, such as dev.example")]
HostOrNone = Annotated[str, _shape(f"({_HOST})?", "empty, or a host in lower case, such as mysql.shop.internal")]
Identifier = Annotated[str, _shape(r"[A-Za-z_$][A-Za-z0-9_$]{0,62}", "a name of up to 63 letters, digits, _ or $")]
Table = Annotated[str, _shape(_NAME, "a table's name without the database's")]
ColumnPath = Annotated[str, _shape(rf"{_NAME}\.{_NAME}", "table.column")]
HexId = Annotated[str, _shape("[0-9a-f]{32}", "32 hexadecimal digits in lower case")]
Acu = Annotated[float, Field(ge=0.5, le=256), AfterValidator(_half_steps)]
Parameters = Annotated[dict[str, str], AfterValidator(_parameters)]
InstanceClass = Annotated[str, _shape(_CLASS, "an instance class, such as db.r7g.large")]
InstanceClassOrNone = Annotated[str, _shape(f"({_CLASS})?", "empty, or an instance class, such as db.r7g.large")]
Region = Annotated[str, _shape(r"[a-z]{2}(-[a-z]+)+-\d", "a region, such as ap-southeast-1")]
MySQLVersion = Annotated[str, _shape(r"8\.[04](\.\d+)?", "8.0 or 8.4, or an exact version of them")]
AuroraVersion = Annotated[str, _shape(r"(1[5-9]|[2-9]\d)(\.\d+)?", "15 or newer, such as 15 or 16.6")]
KafkaVersion = Annotated[str, _shape(r"\d+\.\d+\.(x|\d+)(\.kraft)?", "a version as MSK names it, such as 3.9.x")]
BrokerType = Annotated[str, _shape(r"kafka\.[a-z0-9]+\.[a-z0-9]+", "a broker class, such as kafka.m7g.large")]
Module = Annotated[str, _shape(r"[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)*", "a Python module, such as services.orders")]
DailyWindow = Annotated[str, _shape(DAILY_WINDOW, "hh:mm-hh:mm in UTC, such as 02:00-03:00")]
WeeklyWindow = Annotated[str, _shape(WEEKLY_WINDOW, "ddd:hh:mm-ddd:hh:mm in UTC, such as sun:03:30-sun:04:30")]


class Group(BaseModel):
    """Settings that belong together, under their Python names; in the configuration they are camelCase."""

    model_config = ConfigDict(
        frozen=True, alias_generator=to_camel, populate_by_name=True, extra="forbid", use_attribute_docstrings=True
    )


class Network(Group):
    """The stack's private network."""

    cidr: PrivateNetwork = "10.40.0.0/16"
    """The network, /16 to /22; must not overlap networks it is connected to."""
    zones: Annotated[int, Field(ge=2, le=4)] = 2
    """Availability zones, 2 to 4."""
    operator_cidrs: list[PrivateNetwork] = []
    """Private networks from which the commands reach MySQL, Aurora and Kafka."""


class ExistingSource(Group):
    """A MySQL server that is there already."""

    host: HostOrNone = ""
    """Host of the server to migrate from. Empty makes one (dev and staging); prod must name one."""
    port: Annotated[int, Field(ge=1, le=65535)] = 3306
    """Its port."""
    cidr: PrivateNetworkOrNone = ""
    """Private network of the server; the route to it is the network team's."""
    secret: str = ""
    """Secrets Manager secret (name or ARN) with the server's administrator as username and password."""


class Source(Group):
    """The MySQL that is left: one the stack makes, or `existing`."""

    version: MySQLVersion = "8.4"
    """Version of the MySQL that the stack makes, a series (8.0, 8.4) or an exact version."""
    instance_class: InstanceClass = "db.t4g.medium"
    """Its class."""
    storage_gib: Annotated[int, Field(ge=20, le=65536)] = 20
    """Its storage in GiB; grows by itself up to the double (at least 100)."""
    parameters: Parameters = {}
    """Further MySQL parameters (name to value, as text). Those that capture depends on cannot be set."""
    existing: ExistingSource = ExistingSource()
    """The server that is there already."""


class Aurora(Group):
    """The Aurora PostgreSQL cluster."""

    version: AuroraVersion = "15"
    """Version, 15 or newer; a major version takes Aurora's default minor at creation."""
    capacity: Literal["serverless", "provisioned"] = "serverless"
    """serverless (minAcu, maxAcu) or provisioned (instanceClass)."""
    min_acu: Acu = 0.5
    """Least capacity in Aurora capacity units, 0.5 to 256 in steps of 0.5."""
    max_acu: Acu = 4.0
    """Most capacity in Aurora capacity units, 1 to 256 in steps of 0.5."""
    instance_class: InstanceClassOrNone = ""
    """Class of the instances when provisioned, for example db.r7g.large."""
    readers: Annotated[int, Field(ge=0, le=15)] = 1
    """Readers besides the writer, 0 to 15; at least 1 in staging and prod."""
    parameters: Parameters = {}
    """Further PostgreSQL parameters of the instances (name to value, as text), for example work_mem."""


class Backups(Group):
    """Automatic backups and maintenance, of both databases."""

    days: Annotated[int, Field(ge=1, le=35)] = 7
    """Days that automatic backups are kept, 1 to 35; at least 7 in prod."""
    window: DailyWindow = "02:00-03:00"
    """Daily backup window in UTC, hh:mm-hh:mm."""
    maintenance: WeeklyWindow = "sun:03:30-sun:04:30"
    """Weekly maintenance window in UTC, ddd:hh:mm-ddd:hh:mm; must not overlap the backup window."""


class Kafka(Group):
    """The MSK cluster and its topics."""

    version: KafkaVersion = "3.9.x"
    """Kafka version as MSK names it."""
    instance_type: BrokerType = "kafka.t3.small"
    """Class of the brokers."""
    brokers_per_zone: Annotated[int, Field(ge=1, le=10)] = 1
    """Brokers in each zone; at least 3 in all in staging and prod."""
    volume_gib: Annotated[int, Field(ge=1, le=16384)] = 20
    """Storage of each broker in GiB; can grow, never shrink."""
    topic_partitions: Annotated[int, Field(ge=1, le=64)] = 3
    """Partitions of a table's topic. Can grow only before capture starts, or keys would lose their order."""
    topic_retention_hours: Annotated[int, Field(ge=24, le=24 * 90)] = 168
    """Hours that records of tables are kept; longer than the longest stop of the sink you want to survive."""


class Cdc(Group):
    """Change data capture, MySQL to Aurora."""

    state: Literal["stopped", "running"] = "stopped"
    """running makes the two connectors; they need the accounts and the schema that the commands make first."""
    tables: list[Table] = []
    """Tables under capture, without the database's name."""
    booleans: list[ColumnPath] = []
    """Columns (table.column) of type tinyint(1) that become boolean."""
    excluded_columns: list[ColumnPath] = []
    """Columns (table.column) that are not carried over."""
    plugin: Text = ".zdm/plugins/debezium-3.6.0.Final.zip"
    """The connectors' ZIP, relative to the project. `./zdm plugin` makes it."""
    server_id: Annotated[int, Field(ge=1, lt=2**32)] = 5401
    """Server id of the source connector; no replica of the source may have the same."""
    connect_units: Literal[1, 2, 4, 8] = 1
    """Size of a connector's worker, 1, 2, 4 or 8 units of 1 vCPU and 4 GiB."""
    sink_tasks: Annotated[int, Field(ge=1, le=32)] = 1
    """Parallel tasks of the sink; more than topicPartitions times the tables have nothing to do."""


class Service(Group):
    """The shop's API, once in front of each database."""

    image: Text = "zdm-orders:dev"
    """Container image, normally an ECR repository's URI with a tag."""
    module: Module = "services.orders"
    """Python module that the container runs: services.orders, or services.tables for any schema."""
    count: Annotated[int, Field(ge=0, le=64)] = 1
    """Tasks of each of the two services."""
    cpu: Literal[256, 512, 1024, 2048, 4096] = 256
    """CPU units of a task (1024 is one vCPU)."""
    memory: Annotated[int, Field(ge=512, le=30720)] = 512
    """Memory of a task in MiB, 2 to 8 times the CPU units."""


class Router(Group):
    """The weighted traffic router in front of both origins."""

    domain: Host = "dev.example"
    """Domain in Cloudflare under which shop., mysql-api. and aurora-api. are made."""
    account_id: HexId = "0" * 32
    """Cloudflare account (32 hexadecimal digits)."""
    zone_id: HexId = "0" * 32
    """Cloudflare zone of the domain (32 hexadecimal digits)."""
    hold_ms: Annotated[int, Field(ge=1000, le=120_000)] = 30_000
    """How long the router holds a write at most, in ms; at least kpis.abortSeconds."""


class Kpis(Group):
    """Bounds of the decision gates, alerts and alarms."""

    latency_p95_ms: Annotated[float, Field(gt=0)] = 150.0
    """API latency, 95th percentile, at most, in ms."""
    error_rate: Annotated[float, Field(ge=0, lt=1)] = 0.001
    """Share of failed requests, below."""
    lag_seconds: Annotated[float, Field(gt=0)] = 30.0
    """Replication lag at most, in seconds."""
    mismatches: Annotated[int, Field(ge=0)] = 0
    """Differing rows, at most."""
    throughput_per_second: Annotated[float, Field(ge=0)] = 0.0
    """Requests per second, at least."""
    pause_seconds: Annotated[float, Field(gt=0)] = 30.0
    """Pause of writes at cutover, at most, in seconds."""
    abort_seconds: Annotated[float, Field(gt=0)] = 20.0
    """A cutover that is not through after so many seconds undoes itself."""
