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
from contract.window import Window


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


def _window(text: str) -> str:
    if text:
        Window.parse(text)
    return text


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
StackName = Annotated[
    str, _shape(r"([\w.-]+/[\w.-]+/[\w.-]+)?", "empty, or organization/project/stack, such as organization/zdm/prod")
]
Email = Annotated[str, _shape(r"[^@\s]+@[^@\s]+\.[^@\s]+", "an e-mail address")]
ArnOrNone = Annotated[str, _shape(r"(arn:[\w-]+:[\w-]+:[^:]*:[^:]*:.+)?", "empty, or an ARN")]
SnapshotOrNone = Annotated[
    str, _shape(r"(arn:\S+|[a-zA-Z]([a-zA-Z0-9-]*[a-zA-Z0-9])?)?", "empty, or a snapshot's name or ARN")
]
ClusterOrNone = Annotated[
    str, _shape(r"(arn:\S+|[a-z]([a-z0-9-]*[a-z0-9])?)?", "empty, or a cluster's identifier or ARN")
]
TimeOrNone = Annotated[
    str, _shape(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)?", "empty, or a time in UTC such as 2026-01-31T10:00:00Z")
]
RegionOrNone = Annotated[str, _shape(r"([a-z]{2}(-[a-z]+)+-\d)?", "empty, or a region such as ap-southeast-3")]
Region = Annotated[str, _shape(r"[a-z]{2}(-[a-z]+)+-\d", "a region, such as ap-southeast-1")]
MySQLVersion = Annotated[str, _shape(r"8\.[04](\.\d+)?", "8.0 or 8.4, or an exact version of them")]
AuroraVersion = Annotated[str, _shape(r"(1[5-9]|[2-9]\d)(\.\d+)?", "15 or newer, such as 15 or 16.6")]
KafkaVersion = Annotated[str, _shape(r"\d+\.\d+\.(x|\d+)(\.kraft)?", "a version as MSK names it, such as 3.9.x")]
BrokerType = Annotated[str, _shape(r"kafka\.[a-z0-9]+\.[a-z0-9]+", "a broker class, such as kafka.m7g.large")]
Module = Annotated[str, _shape(r"[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)*", "a Python module, such as services.orders")]
DailyWindow = Annotated[str, _shape(DAILY_WINDOW, "hh:mm-hh:mm in UTC, such as 02:00-03:00")]
WeeklyWindow = Annotated[str, _shape(WEEKLY_WINDOW, "ddd:hh:mm-ddd:hh:mm in UTC, such as sun:03:30-sun:04:30")]


def setting_name(name: str) -> str:
    """What a field is called in the configuration: camelCase, without the `_` behind a name that pydantic uses."""
    return to_camel(name.rstrip("_"))


class Group(BaseModel):
    """Settings that belong together, under their Python names; in the configuration they are camelCase."""

    model_config = ConfigDict(
        frozen=True, alias_generator=setting_name, populate_by_name=True, extra="forbid", use_attribute_docstrings=True
    )


class Account(Group):
    """What belongs to the AWS account and not to a stack: one stack of each account makes it for all."""

    owner: bool = False
    """This stack makes CloudTrail, GuardDuty, AWS Config, DMS's roles, the identity provider of CI, tags for costs."""
    stack: StackName = ""
    """The stack that is the account's owner, when it is another one: a preview fails where that is not so."""
    repository: Annotated[str, _shape(r"([\w.-]+/[\w.-]+)?", "empty, or OWNER/NAME on GitHub")] = ""
    """GitHub repository whose workflows may preview and deploy this stack. Empty makes no roles for them."""
    state_bucket: Annotated[str, _shape(r"([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])?", "empty, or a bucket's name")] = ""
    """Bucket of the engine's state, which those roles may use; empty when the state is elsewhere."""
    state_key: ArnOrNone = ""
    """KMS key of the stack's secrets provider."""
    guardduty: bool = True
    """With owner: GuardDuty; false where the organisation has switched it on already."""
    config: bool = True
    """With owner: AWS Config with the rules that a preview cannot see; false where the organisation records already."""


class Network(Group):
    """The stack's private network."""

    stack: StackName = ""
    """The stack whose network this one uses instead of making one; region and zones must be the same."""
    cidr: PrivateNetwork = "10.40.0.0/16"
    """The network, /16 to /22; must not overlap networks it is connected to."""
    zones: Annotated[int, Field(ge=2, le=4)] = 2
    """Availability zones, 2 to 4."""
    operator_cidrs: list[PrivateNetwork] = []
    """Private networks from which the commands reach MySQL, Aurora and Kafka."""
    endpoints: bool = False
    """Interface endpoints for AWS's APIs, to which the way out narrows; priced by endpoint, zone and hour."""
    flow_logs: Literal["none", "rejected", "all"] = "none"
    """Which connections are logged."""


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
    server_ids: list[Annotated[str, _shape(r"i-[0-9a-f]{8,17}", "an instance id such as i-0abc1234def567890")]] = []
    """EC2 instances of the server: one image of each is part of a snapshot."""
    volume_ids: list[Annotated[str, _shape(r"vol-[0-9a-f]{8,17}", "a volume id such as vol-0abc1234def567890")]] = []
    """Its data volumes: one snapshot of each."""


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
    binlog_hours: Annotated[int, Field(ge=1, le=8760)] = 72
    """Hours that the source keeps its binary log: at most 168 on RDS (`mysql.rds_set_configuration`), elsewhere
    `binlog_expire_logs_seconds`."""
    restore_snapshot: SnapshotOrNone = ""
    """Snapshot that the MySQL of the stack is made from, when it is made."""
    existing: ExistingSource = ExistingSource()
    """The server that is there already."""


class Aurora(Group):
    """The Aurora PostgreSQL cluster."""

    version: AuroraVersion = "15"
    """Version, 15 or newer; `15.10` is kept exactly, `15` takes Aurora's default minor at creation."""
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
    max_readers: Annotated[int, Field(ge=0, le=15)] = 0
    """Up to how many readers it scales out by itself; 0 is not at all."""
    scale_on: Literal["cpu", "connections"] = "cpu"
    """What the readers scale on."""
    scale_target: Annotated[float, Field(gt=0)] = 60.0
    """What the scaling holds: percent of CPU, or connections of a reader."""
    report_readers: Annotated[int, Field(ge=0, le=5)] = 0
    """Readers for reports, behind an endpoint of their own."""
    proxy: bool = False
    """RDS Proxy between the shop's API and the cluster."""
    profile: Literal["load", "cdc", "steady"] = "cdc"
    """The phase that the parameters are for: first copy, replication, or life after the migration."""
    parameters: Parameters = {}
    """Further PostgreSQL parameters of the instances (name to value, as text), for example work_mem."""
    max_connections: Annotated[int, Field(ge=0, le=262143)] = 0
    """Connections of each instance; 0 is Aurora's own formula."""
    io_optimized: bool = False
    """Storage without a price for I/O; pays from a quarter of the bill upwards."""
    insights: Literal["standard", "advanced"] = "standard"
    """Database Insights: standard keeps 7 days, advanced 15 months."""
    monitoring_seconds: Literal[0, 1, 5, 10, 15, 30, 60] = 0
    """Enhanced monitoring, of both databases: every so many seconds; 0 is none."""
    activity_stream: Literal["off", "async", "sync"] = "off"
    """Database activity stream; provisioned only, and not with db.t classes."""
    master_rotation_days: Annotated[int, Field(ge=1, le=1000)] = 7
    """Days between rotations of the master account's password."""
    restore_snapshot: SnapshotOrNone = ""
    """Snapshot that the cluster is made from, when it is made."""
    restore_from: ClusterOrNone = ""
    """Cluster that it is made from, at a point in time."""
    restore_at: TimeOrNone = ""
    """The point in time (2026-01-31T10:00:00Z); empty is the latest."""


class Backups(Group):
    """Automatic backups and maintenance of both databases, and AWS Backup besides."""

    days: Annotated[int, Field(ge=1, le=35)] = 7
    """Days that automatic backups are kept, 1 to 35; at least 7 in prod."""
    window: DailyWindow = "02:00-03:00"
    """Daily backup window in UTC, hh:mm-hh:mm, an hour or more."""
    maintenance: WeeklyWindow = "sun:04:00-sun:05:00"
    """Weekly maintenance window in UTC, ddd:hh:mm-ddd:hh:mm; must not touch the backup window."""
    vault: bool = False
    """AWS Backup with a vault of its own: a second copy that an administrator of the databases cannot delete."""
    keep_days: Annotated[int, Field(ge=7, le=36500)] = 7
    """Days that the vault keeps a recovery point."""
    lock: Literal["off", "governance", "compliance"] = "off"
    """Lock of the vault: governance can be taken off by who may, compliance by nobody."""
    copy_region: RegionOrNone = ""
    """Second region that recovery points are copied to."""
    copy_days: Annotated[int, Field(ge=7, le=36500)] = 35
    """Days that the copies are kept."""
    account_vault: ArnOrNone = ""
    """Vault of another account in the second region: the second hop."""
    restore_tests: bool = False
    """Restore the newest recovery point every week, and measure it."""


class Snapshots(Group):
    """Snapshots before a deployment, as part of the program."""

    label: Annotated[
        str, _shape(r"([a-z](-?[a-z0-9]){0,30})?", "empty, or up to 31 lower-case letters, digits and single hyphens")
    ] = ""
    """The deployment's label, such as g1a2b3c of a git revision: a new one takes new snapshots. Empty takes none."""
    shared_with: list[Annotated[str, _shape(r"\d{12}", "an account id of 12 digits")]] = []
    """Accounts that may restore this stack's snapshots: staging's, where production has an account of its own."""


class Archive(Group):
    """The bucket for what MySQL leaves behind."""

    enabled: bool = False
    """Make the archive, and the role that exports snapshots into it."""
    lock: Literal["off", "governance", "compliance"] = "off"
    """Object lock."""
    lock_days: Annotated[int, Field(ge=1, le=36500)] = 90
    """Days that an object cannot be deleted, with lock."""
    cold_days: Annotated[int, Field(ge=0)] = 30
    """Days until Glacier Instant Retrieval."""
    deep_days: Annotated[int, Field(ge=90)] = 180
    """Days until Glacier Deep Archive."""
    expire_days: Annotated[int, Field(ge=0)] = 0
    """Days until an object is deleted; 0 is never."""


class Kafka(Group):
    """The MSK cluster and its topics."""

    enabled: bool = True
    """Make the cluster. Without it changes travel through DMS."""
    version: KafkaVersion = "3.9.x"
    """Kafka version as MSK names it."""
    instance_type: BrokerType = "kafka.t3.small"
    """Class of the brokers."""
    brokers_per_zone: Annotated[int, Field(ge=1, le=10)] = 1
    """Brokers in each zone; at least 3 in all in staging and prod."""
    volume_gib: Annotated[int, Field(ge=1, le=16384)] = 20
    """Storage of each broker in GiB; can grow, never shrink."""
    grow_to_gib: Annotated[int, Field(ge=0, le=16384)] = 0
    """Up to how much a broker's storage grows by itself; 0 is not at all."""
    grow_at_percent: Annotated[int, Field(ge=10, le=80)] = 60
    """Used storage at which it grows; AWS advises 50 to 60."""
    throughput_mib: Annotated[int, Field(ge=0, le=1000)] = 0
    """Provisioned throughput of a broker's storage in MiB/s, 250 or more; 0 is the class's own."""
    partitions: Annotated[int, Field(ge=1, le=64)] = 3
    """Partitions of a table's topic. Can grow only before capture starts, or keys would lose their order."""
    retention_hours: Annotated[int, Field(ge=24, le=24 * 90)] = 168
    """Hours that records of tables are kept; longer than the longest stop of the sink you want to survive."""
    scram_users: list[Identifier] = []
    """Users that log in with a password (SCRAM) besides IAM; each gets a secret."""
    shared_with: list[Annotated[str, _shape(r"\d{12}", "an account id of 12 digits")]] = []
    """Accounts that may read over private connectivity."""
    monitoring: Literal["DEFAULT", "PER_BROKER", "PER_TOPIC_PER_BROKER", "PER_TOPIC_PER_PARTITION"] = "PER_BROKER"
    """How fine CloudWatch's metrics of the cluster are."""
    exporters: bool = False
    """JMX and node exporters on the brokers, for Prometheus."""
    log_archive: bool = False
    """Broker logs to the archive's bucket for logs as well."""


class Cdc(Group):
    """Change data capture, MySQL to Aurora."""

    state: Literal["stopped", "capturing", "running"] = "stopped"
    """capturing makes the source connector only, so that changes wait in Kafka while `./zdm copy` runs; running makes
    both, and the sink applies what waits. They need the accounts and the schema that the commands make first."""
    copy_: Literal["zdm", "debezium", "dms"] = "zdm"
    """How the rows that are there already travel: by `./zdm copy` while state is capturing, by Debezium's snapshot as
    soon as state is running, or by DMS, which then carries the changes as well."""
    reverse: Literal["stopped", "running"] = "stopped"
    """The way back, Aurora to MySQL. Never running while state is: the forward sink stops first."""
    reverse_round: Annotated[int, Field(ge=1, le=99)] = 1
    """Each new start of the way back needs a new slot, prefix and topics: raise it."""
    tables: list[Table] = []
    """Tables under capture, without the database's name."""
    booleans: list[ColumnPath] = []
    """Columns (table.column) of type tinyint(1) that become boolean."""
    intervals: list[ColumnPath] = []
    """Columns (table.column) of type TIME that hold durations, so below 0 or from 24 hours on: they become interval."""
    excluded_columns: list[ColumnPath] = []
    """Columns (table.column) that are not carried over."""
    plugin: Text = ".zdm/plugins/debezium-3.6.0.Final.zip"
    """The connectors' ZIP, relative to the project. `./zdm plugin` makes it."""
    plugin_sha256: Annotated[str, _shape("([0-9a-f]{64})?", "empty, or 64 hexadecimal digits in lower case")] = ""
    """The checksum that the ZIP must have; empty takes the one that is there."""
    server_id: Annotated[int, Field(ge=1, lt=2**32)] = 5401
    """Server id of the source connector; no replica of the source may have the same."""
    source_units: Literal[1, 2, 4, 8] = 1
    """Size of the source's worker, 1, 2, 4 or 8 units of 1 vCPU and 4 GiB."""
    sink_units: Literal[1, 2, 4, 8] = 1
    """Size of a worker of the sink."""
    sink_workers: Annotated[int, Field(ge=1, le=10)] = 1
    """Workers of the sink."""
    sink_workers_most: Annotated[int, Field(ge=0, le=10)] = 0
    """Up to how many workers the sink scales by itself; 0 is not at all. The source never does."""
    sink_tasks: Annotated[int, Field(ge=1, le=32)] = 1
    """Parallel tasks of the sink; more than kafka.partitions times the tables have nothing to do."""


class ParallelLoad(Group):
    """How DMS reads one big table with several threads."""

    table: Table
    """The table."""
    columns: list[Text] = []
    """Columns whose ranges are loaded at once; empty loads by the table's partitions."""
    boundaries: list[list[str]] = []
    """The ranges' upper bounds, one value for each column."""


class Dms(Group):
    """AWS DMS, the second way of change data capture."""

    enabled: bool = False
    """Make capacity, endpoints and tasks of DMS."""
    running: bool = False
    """Start the forward task. Changing a running task's settings stops it, changes it and starts it again."""
    capacity: Literal["instance", "serverless"] = "instance"
    """instance (instanceClass) or serverless (minUnits, maxUnits)."""
    instance_class: Annotated[str, _shape(r"dms\.[a-z0-9]+\.[a-z0-9]+", "a class such as dms.r6i.large")] = (
        "dms.t3.medium"
    )
    """Class of the replication instance."""
    storage_gib: Annotated[int, Field(ge=5, le=6144)] = 50
    """Its storage in GiB: changes wait there while the full load runs."""
    multi_az: bool = False
    """A standby in another zone."""
    version: Annotated[str, _shape(r"\d+\.\d+\.\d+", "an exact version such as 3.6.1")] = "3.6.1"
    """DMS's version; it does not move by itself."""
    min_units: Literal[1, 2, 4, 8, 16, 32, 64, 128, 192, 256, 384] = 1
    """Least capacity when serverless, in units of 2 GiB."""
    max_units: Literal[1, 2, 4, 8, 16, 32, 64, 128, 192, 256, 384] = 2
    """Most capacity when serverless."""
    tables_file: Text = ".zdm/schema.json"
    """The tables' columns and keys (relative to the project), from which mappings are made."""
    authority: Text = ".zdm/certificates/rds.pem"
    """PEM file of the authority of the databases' certificates: the region's bundle of RDS."""
    source_authority: str = ""
    """The same for MySQL, where it differs."""
    source_tls: Literal["verify-full", "verify-ca"] = "verify-full"
    """How MySQL's certificate is verified; verify-ca where its name does not match its host."""
    source_time_zone: str = ""
    """Time zone of the MySQL server; empty is UTC."""
    lobs: Literal["full", "inline", "limited"] = "full"
    """How large values travel: one by one, small ones with their row, or all with it up to largestLobKb."""
    inline_lob_kb: Annotated[int, Field(ge=1, le=8192)] = 64
    """Values up to so many KiB travel with their row, with lobs inline."""
    largest_lob_kb: Annotated[int, Field(ge=0, le=34133)] = 0
    """The largest value there is, in KiB, with lobs limited."""
    commit_rows: Annotated[int, Field(ge=1, le=50000)] = 10000
    """Rows of the full load that are committed at once; fewer where lobs are limited and large."""
    batch_apply: bool = False
    """Apply changes in batches, by key."""
    validation: Literal["off", "inline", "stopped", "running"] = "stopped"
    """DMS's own comparison: none, in the forward task, or in a task of its own, to run once the full load is over."""
    way_back: bool = False
    """Prepare the task Aurora to MySQL; it is never started by the program."""
    parallel_load: list[ParallelLoad] = []
    """Big tables that are loaded by several threads."""
    relaxed: list[ColumnPath] = []
    """LOB columns whose NOT NULL is taken away on the target while DMS writes."""


class Sizing(Group):
    """The migration's figures, from which binary log, Kafka and storage are checked against what they must outlast."""

    data_gib: Annotated[float, Field(gt=0)] = 1.0
    """Data under capture, in GiB."""
    change_gib_per_day: Annotated[float, Field(ge=0)] = 1.0
    """Changes, in GiB a day."""
    copy_mib_per_second: Annotated[float, Field(gt=0)] = 10.0
    """Speed of the first copy: the slowest of source, Kafka and sink."""
    rollback_hours: Annotated[float, Field(ge=0)] = 24.0
    """How long after the cutover the way back stays open."""
    safety: Annotated[float, Field(ge=1, le=5)] = 1.5
    """Factor on the copy's time."""
    mend_hours: Annotated[float, Field(ge=0, le=168)] = 24.0
    """How long until a stop is noticed and mended."""


class Service(Group):
    """The shop's API, once in front of each database."""

    image: Text = "zdm-orders:dev"
    """Container image, best by its digest."""
    repository: bool = False
    """Make an image repository with scanning and clean-up."""
    module: Module = "services.orders"
    """Python module that the container runs: services.orders, or services.tables for any schema."""
    count: Annotated[int, Field(ge=0, le=128)] = 1
    """Least number of tasks of each of the two services."""
    max_count: Annotated[int, Field(ge=0, le=128)] = 0
    """Up to how many tasks each scales by itself; 0 is not at all."""
    requests_per_second: Annotated[int, Field(ge=1, le=10000)] = 100
    """What one task is meant to carry; scaling holds it."""
    cpu: Literal[256, 512, 1024, 2048, 4096] = 256
    """CPU units of a task (1024 is one vCPU)."""
    memory: Annotated[int, Field(ge=512, le=30720)] = 512
    """Memory of a task in MiB, 2 to 8 times the CPU units."""
    relay: bool = False
    """Carry the outbox's events to Kafka (services.relay), from whichever side is the writer."""
    events_topic: Text = "shop.events"
    """Topic of these events."""
    dual: bool = False
    """MySQL's service can write to Aurora as well, when `./zdm traffic dual` turns that on."""
    standby: bool = False
    """A second service of each side, running and checked, that takes over at once."""
    standby_image: str = ""
    """Its image, when not the same."""
    active: Literal["main", "standby"] = "main"
    """Which of the two gets the requests."""


class Router(Group):
    """The weighted traffic router in front of both origins."""

    kind: Literal["cloudflare", "nginx"] = "cloudflare"
    """A Cloudflare Worker, or Nginx on ECS: the same buckets, the same flag."""
    domain: Host = "dev.example"
    """Domain in Cloudflare under which shop., mysql-api. and aurora-api. are made."""
    account_id: HexId = "0" * 32
    """Cloudflare account (32 hexadecimal digits)."""
    zone_id: HexId = "0" * 32
    """Cloudflare zone of the domain (32 hexadecimal digits)."""
    hold_ms: Annotated[int, Field(ge=1000, le=120_000)] = 30_000
    """How long the router holds a write at most, in ms; at least kpis.abortSeconds."""
    fast_flips: bool = True
    """Worker: the flag in a Durable Object besides KV, which all edges see within about a second."""
    entry: Literal["route", "custom-domain"] = "route"
    """Worker: how the shop's host leads to it."""
    firewall: bool = False
    """Worker: the zone's WAF rules belong to this stack."""
    operator_networks: list[Text] = []
    """Worker: public networks that may use the admin path; needs firewall."""
    image: Text = "zdm-router:dev"
    """Nginx: container image."""
    tasks: Annotated[int, Field(ge=1, le=64)] = 1
    """Nginx: number of tasks."""
    cpu: Literal[256, 512, 1024, 2048, 4096] = 256
    """Nginx: CPU units of a task."""
    memory: Annotated[int, Field(ge=512, le=30720)] = 512
    """Nginx: memory of a task in MiB, 2 to 8 times the CPU units."""


class Observability(Group):
    """Alarms, dashboards and Prometheus."""

    emails: list[Email] = []
    """Who gets alarms by e-mail."""
    webhooks: list[Annotated[str, _shape(r"https://\S+", "an https:// URL")]] = []
    """Web hooks that get alarms."""
    slack_team: Annotated[str, _shape("(T[A-Z0-9]{6,12})?", "empty, or a Slack team id such as T0ABC1DEF")] = ""
    """Slack team, which must have authorised AWS once."""
    slack_channel: Annotated[str, _shape("([CG][A-Z0-9]{6,12})?", "empty, or a channel id such as C0ABC1DEF")] = ""
    """Slack channel that gets alarms."""
    prometheus: bool = False
    """Managed Prometheus with alert rules, a collector, and the probe of the replication's lag."""
    collector_image: Text = "prom/prometheus:v2.55.1"
    """Image of the collector, Prometheus in agent mode."""


class Security(Group):
    """Firewall and logs in front of the load balancers."""

    firewall: Literal["off", "count", "block"] = "off"
    """WAF in front of the load balancers: count tells what it would block."""
    requests_per_5_minutes: Annotated[int, Field(ge=100, le=20_000_000)] = 2000
    """Requests of one customer's address in five minutes, at most."""
    access_logs: bool = False
    """Access logs of the load balancers."""
    mysql_rotation_lambda: ArnOrNone = ""
    """Lambda that rotates the shop's account on MySQL (AWS's template for alternating users). Empty: no rotation."""
    aurora_rotation_lambda: ArnOrNone = ""
    """The same for Aurora."""
    rotation_days: Annotated[int, Field(ge=1, le=1000)] = 30
    """Days between rotations of the shop's accounts."""


class Usage(Group):
    """What a month is taken to use, for the estimate of `./zdm cost`: assumptions, to be put right by the bill."""

    average_acu: Annotated[float, Field(ge=0, le=256)] = 0.0
    """Capacity of each serverless instance on average, in ACU; 0: aurora.minAcu."""
    storage_gib: Annotated[float, Field(ge=0)] = 1.0
    """Aurora's storage, in GiB."""
    io_millions: Annotated[float, Field(ge=0)] = 1.0
    """Aurora's I/O requests, in millions."""
    balancer_units: Annotated[float, Field(ge=0)] = 1.0
    """Capacity units (LCU) of each load balancer on average."""
    requests_millions: Annotated[float, Field(ge=0)] = 0.1
    """Requests of the shop, in millions."""
    internet_gib: Annotated[float, Field(ge=0)] = 1.0
    """Data to the internet, in GiB."""
    nat_gib: Annotated[float, Field(ge=0)] = 10.0
    """Data through NAT gateways, in GiB."""
    s3_gib: Annotated[float, Field(ge=0)] = 1.0
    """Stored in S3 Standard, in GiB."""
    archive_gib: Annotated[float, Field(ge=0)] = 0.0
    """Stored in the archive once it is cold (Glacier Instant Retrieval), in GiB."""
    logs_gib: Annotated[float, Field(ge=0)] = 1.0
    """Logs written to CloudWatch, in GiB."""
    licences_usd: Annotated[float, Field(ge=0)] = 0.0
    """Licences, in US dollars."""
    support_usd: Annotated[float, Field(ge=0)] = 0.0
    """Support, in US dollars."""
    contingency_percent: Annotated[float, Field(ge=0, le=100)] = 10.0
    """On top of all of it, for what nobody thought of."""


class Cost(Group):
    """Budgets, and alarms on unusual costs."""

    budgets: bool = False
    """Make budgets and the anomaly monitor."""
    mysql_monthly_usd: Annotated[float, Field(gt=0)] = 3200.0
    """What today's MySQL costs a month."""
    overrun_percent: Annotated[float, Field(ge=0, le=1000)] = 30.0
    """How much more than today's MySQL this stack may cost."""
    estimate_monthly_usd: Annotated[float, Field(gt=0)] = 300.0
    """What this stack is estimated to cost a month."""
    variance_percent: Annotated[float, Field(gt=0, le=100)] = 10.0
    """How far the costs may be off the estimate."""
    anomaly_usd: Annotated[float, Field(gt=0)] = 100.0
    """Unusual costs from this amount on are told."""
    emails: list[Email] = []
    """Who is told by e-mail besides the alarms' topic."""
    usage: Usage = Usage()


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
    probation_minutes: Annotated[float, Field(gt=0)] = 60.0
    """How long Aurora is watched after the cutover, in minutes."""
    probation_window_seconds: Annotated[float, Field(ge=1)] = 30.0
    """Seconds of requests over which latency and errors are judged then."""
    probation_breaches: Annotated[int, Field(ge=1)] = 2
    """So many windows in a row beyond a bound end the probation."""
    probation_automatic: bool = True
    """Whether a breach then rolls back by itself; otherwise it is only told."""


class Promotion(Group):
    """What a promotion into this stack asks for, and how long it is watched."""

    window: Annotated[str, AfterValidator(_window)] = ""
    """When it may be changed, such as `Tue-Thu 02:00-04:00 Asia/Ho_Chi_Minh`; a window may end after midnight. Empty is
    any time."""
    check_hours: Annotated[float, Field(gt=0)] = 26.0
    """Hours that an equal data check of the stack before stays good: a day, and what a nightly check takes."""
    load_test_hours: Annotated[float, Field(gt=0)] = 168.0
    """The same for a load test that held its KPIs."""
    faults_hours: Annotated[float, Field(gt=0)] = 168.0
    """The same for the tests of faults."""
    security_hours: Annotated[float, Field(gt=0)] = 168.0
    """The same for a security scan."""
    snapshot_hours: Annotated[float, Field(gt=0)] = 48.0
    """How old the newest verified snapshots of this stack may be."""
    watch_minutes: Annotated[float, Field(gt=0)] = 15.0
    """How long the stack is watched after a promotion, in minutes, over windows of kpis.probationWindowSeconds;
    kpis.probationBreaches of them in a row beyond a bound take it back."""
    findings: Literal["repository", "github"] = "repository"
    """Where findings are kept: files in the repository, or issues on GitHub (through `gh`)."""
