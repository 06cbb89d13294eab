"""The stack's outputs: the only thing a command knows about a stack.

Invariants:
- `infra` exports exactly the fields of `Outputs`, each as one stack output with the same (camelCase) name.
- Secrets are named, never carried: a command reads them from Secrets Manager.
- A command refuses outputs of another `version`, instead of guessing.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from contract.control import IDEMPOTENCY, SCHEMA
from contract.types import Choices

VERSION = 3

Name = Annotated[str, Field(min_length=1)]
Port = Annotated[int, Field(ge=1, le=65535)]


class OutputsError(ValueError):
    """The stack's outputs are not what this version of the commands understands."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class SourceDatabase(_Model):
    """The MySQL server that is left. Secrets hold `{"username", "password"}` and are given by ARN or name."""

    host: Name
    port: Port
    admin_secret: Name
    cdc_secret: Name
    app_secret: Name
    instance: str = ""
    """Identifier of the RDS instance; empty for a server that was there before."""
    servers: list[Name] = []
    """EC2 instances of such a server."""
    volumes: list[Name] = []
    binlog_hours: int = 0
    """How long the binary log is kept."""


class TargetDatabase(_Model):
    """The Aurora PostgreSQL cluster: `host` is the writer endpoint, `reader_host` the reader endpoint.

    `proxy_host` (the application's way in) and `reports_host` are empty where the stack has none.
    """

    host: Name
    reader_host: Name
    port: Port
    engine_version: Name
    admin_secret: Name
    sink_secret: Name
    app_secret: Name
    dual_secret: str = ""
    """The account of second writes, where the service can make them."""
    cluster: str = ""
    """The cluster's identifier."""
    proxy_host: str = ""
    reports_host: str = ""
    readers: int = 0
    """Readers besides the writer, without those that scaling and reports add."""
    profile: Literal["load", "cdc", "steady"] = "cdc"
    """The phase that its parameters are for."""


class Kafka(_Model):
    """Brokers and topics. `bootstrap_servers` is the SASL/IAM listener, comma separated."""

    bootstrap_servers: Name
    topic_prefix: Name
    partitions: Annotated[int, Field(ge=1)]
    schema_history_topic: Name
    offsets_topic: Name
    heartbeat_topic: Name


class WayBack(_Model):
    """Aurora to MySQL, prepared: everything has its name, and nothing runs until the forward sink has stopped."""

    state: Literal["stopped", "running"]
    source_connector: Name
    sink_connector: Name
    topic_prefix: Name
    offsets_topic: Name
    slot: Name
    publication: Name
    aurora_secret: Name
    mysql_secret: Name

    @property
    def sink_group(self) -> str:
        """Kafka Connect names the consumer group of a sink after its connector."""
        return f"connect-{self.sink_connector}"

    def topic_of(self, table: str) -> str:
        return f"{self.topic_prefix}.public.{table}"

    @property
    def idempotency_topic(self) -> str:
        """Where the answers to idempotency keys travel back."""
        return f"{self.topic_prefix}.{SCHEMA}.{IDEMPOTENCY}"


class Pipeline(_Model):
    """CDC: `tables` are under capture (none yet is fine while it is stopped), `booleans` are the `table.column` of
    tinyint(1) mapped to boolean, `intervals` those of TIME mapped to interval, `excluded` the `table.column` that are
    left out of CDC, schema and checks.

    `copy_` is how the rows that were there before travel. While `state` is capturing, changes wait in Kafka and nothing
    is applied."""

    state: Literal["stopped", "capturing", "running"]
    copy_: Literal["zdm", "debezium", "dms"] = Field("debezium", alias="copy")
    source_connector: Name
    sink_connector: Name
    tables: list[Name]
    booleans: list[Name] = []
    intervals: list[Name] = []
    excluded: list[Name] = []
    way_back: WayBack | None = None

    @property
    def choices(self) -> Choices:
        """What was decided by column. FLOATs have all their digits unless Debezium's snapshot brought them."""
        return Choices.of(self.booleans, self.intervals, exact_floats=self.copy_ != "debezium")

    @property
    def sink_group(self) -> str:
        """Kafka Connect names the consumer group of a sink after its connector."""
        return f"connect-{self.sink_connector}"


class Router(_Model):
    """Where customers come in, and where the flag lives besides the databases.

    Cloudflare: account, KV namespace and key; `admin_secret` (with `password`) where a Durable Object has it too.
    Nginx asks the databases' fences only: it has none of these.
    """

    kind: Literal["cloudflare", "nginx"] = "cloudflare"
    url: Name
    account_id: Name | None = None
    namespace_id: Name | None = None
    flag_key: Name | None = None
    admin_secret: Name | None = None
    salt: Name
    hold_ms: Annotated[int, Field(ge=1000, le=120_000)]
    mysql_origin: Name
    aurora_origin: Name


class Kpis(_Model):
    """The bounds of a decision gate; defaults are the customer's requirements."""

    latency_p95_ms: Annotated[float, Field(gt=0)] = 150.0
    error_rate: Annotated[float, Field(ge=0, lt=1)] = 0.001
    lag_seconds: Annotated[float, Field(gt=0)] = 30.0
    mismatches: Annotated[int, Field(ge=0)] = 0
    throughput_per_second: Annotated[float, Field(ge=0)] = 0.0
    pause_seconds: Annotated[float, Field(gt=0)] = 30.0
    abort_seconds: Annotated[float, Field(gt=0)] = 20.0
    probation_minutes: Annotated[float, Field(gt=0)] = 60.0
    probation_window_seconds: Annotated[float, Field(ge=1)] = 30.0
    probation_breaches: Annotated[int, Field(ge=1)] = 2
    probation_automatic: bool = True


class Dms(_Model):
    """AWS DMS, where the stack has it. A task that it has not is None."""

    forward: Name
    """ARN of the task MySQL to Aurora (of the configuration when serverless)."""
    validation: Name | None = None
    way_back: Name | None = None
    serverless: bool = False
    running: bool = False
    """Whether the forward task is to run."""


class Origin(_Model):
    """The shop's API on one side; `standby` is empty where there is none."""

    service: Name
    listener_arn: Name
    target_group_arn: Name
    standby_service: str = ""
    standby_target_group_arn: str = ""


class Services(_Model):
    """What runs in the stack."""

    cluster: Name
    repository: str = ""
    router_repository: str = ""
    mysql: Origin
    aurora: Origin


class Network(_Model):
    """What another stack needs to live in this one's network."""

    vpc_id: Name
    public_subnet_ids: list[Name]
    private_subnet_ids: list[Name]
    data_subnet_ids: list[Name]
    endpoints_security_group: str = ""
    endpoints_prefix_list: str = ""
    nat_addresses: list[Name] = []
    """From which what has no public address appears outside."""


class Backups(_Model):
    """AWS Backup, where the stack has it."""

    vault: Name
    plan_id: Name
    role_arn: Name
    copy_vault_arn: str = ""
    restore_plan: str = ""


class Snapshots(_Model):
    """The snapshots of the last labelled deployment, and the role that takes more."""

    label: str
    identifiers: list[Name]
    role_arn: Name


class Archive(_Model):
    """Where MySQL's last state goes."""

    bucket: Name
    key_arn: Name
    export_role_arn: Name


class Observability(_Model):
    """Who is told, and where to look. What belongs to Prometheus is empty where the stack has none.

    `prometheus_endpoint` ends with a slash, `api/v1/query` follows; the probe's secrets are its accounts.
    """

    alert_topic: Name
    dashboard: Name
    ready_alarm: Name
    prometheus_endpoint: str = ""
    grafana_bucket: str = ""
    mysql_probe_secret: str = ""
    aurora_probe_secret: str = ""


class Security(_Model):
    """Ids of the firewall's sets of blocked addresses (named `<project>-<stack>-blocked-ipv4` and `-ipv6`), and the
    bucket of what auditors read; empty where there is none."""

    blocked_ipv4: str = ""
    blocked_ipv6: str = ""
    audit_bucket: str = ""


class Account(_Model):
    """What belongs to the AWS account. `owner` made it; the ARNs of CI's roles are empty where there are none."""

    id: Name
    owner: bool
    preview_role: str = ""
    drill_role: str = ""
    deploy_role: str = ""


class Promotion(_Model):
    """What a promotion into this stack asks for. Ages are in hours; `window` is empty (any time) or as
    `contract.window` reads it."""

    window: str = ""
    check_hours: Annotated[float, Field(gt=0)] = 26.0
    load_test_hours: Annotated[float, Field(gt=0)] = 168.0
    faults_hours: Annotated[float, Field(gt=0)] = 168.0
    security_hours: Annotated[float, Field(gt=0)] = 168.0
    snapshot_hours: Annotated[float, Field(gt=0)] = 48.0
    watch_minutes: Annotated[float, Field(gt=0)] = 15.0
    findings: Literal["repository", "github"] = "repository"


class Usage(_Model):
    """What a month of the stack is taken to use, for the estimate of its costs. Assumptions, not measurements."""

    average_acu: Annotated[float, Field(ge=0)] = 0.0
    storage_gib: Annotated[float, Field(ge=0)] = 0.0
    io_millions: Annotated[float, Field(ge=0)] = 0.0
    balancer_units: Annotated[float, Field(ge=0)] = 0.0
    requests_millions: Annotated[float, Field(ge=0)] = 0.0
    internet_gib: Annotated[float, Field(ge=0)] = 0.0
    nat_gib: Annotated[float, Field(ge=0)] = 0.0
    s3_gib: Annotated[float, Field(ge=0)] = 0.0
    archive_gib: Annotated[float, Field(ge=0)] = 0.0
    logs_gib: Annotated[float, Field(ge=0)] = 0.0
    licences_usd: Annotated[float, Field(ge=0)] = 0.0
    support_usd: Annotated[float, Field(ge=0)] = 0.0
    contingency_percent: Annotated[float, Field(ge=0)] = 10.0


class Cost(_Model):
    """The bounds of what a month may cost, in US dollars, and by which tags the stack's bill is cut out."""

    mysql_monthly_usd: Annotated[float, Field(gt=0)]
    overrun_percent: Annotated[float, Field(ge=0)]
    estimate_monthly_usd: Annotated[float, Field(gt=0)]
    variance_percent: Annotated[float, Field(gt=0)]
    tags: dict[str, str]
    usage: Usage = Usage()


class Outputs(_Model):
    """Everything the commands need. Load it with `load_outputs`."""

    version: Literal[3]
    project: Name
    stack: Name
    environment: Literal["dev", "staging", "prod"]
    region: Name
    database: Name
    source: SourceDatabase
    target: TargetDatabase
    kafka: Kafka | None = None
    """None where changes travel through DMS only; the engine leaves such an output out."""
    pipeline: Pipeline
    router: Router
    kpis: Kpis
    dms: Dms | None = None
    services: Services | None = None
    network: Network | None = None
    backups: Backups | None = None
    snapshots: Snapshots | None = None
    archive: Archive | None = None
    observability: Observability | None = None
    security: Security | None = None
    account: Account | None = None
    cost: Cost | None = None
    gate_secret: str = ""
    """Secret whose `password` signs the gate's records, and evidence; empty on a stack that was last brought up before
    there was one."""
    revision: str = ""
    """Revision of the program that the stack was brought up with (`infra.revision`); empty where that is not known."""
    promotion: Promotion = Promotion()
    masking_secret: str = ""
    """Secret whose `password` is the key by which a refresh of this stack masks personal data; empty likewise."""

    @property
    def brokers(self) -> Kafka:
        """The Kafka cluster. Raises `OutputsError` where there is none."""
        if self.kafka is None:
            raise OutputsError(f"{self.stack} has no Kafka (setting kafka.enabled): its changes travel through DMS")
        return self.kafka

    def topic_of(self, table: str) -> str:
        return f"{self.brokers.topic_prefix}.{self.database}.{table}"

    @property
    def idempotency_topic(self) -> str:
        """Where the answers to idempotency keys travel."""
        return f"{self.brokers.topic_prefix}.{SCHEMA}.{IDEMPOTENCY}"


def load_outputs(data: dict[str, Any], origin: str) -> Outputs:
    """Checks the outputs of a stack (`pulumi stack output --json`). `origin` names them in the error."""
    version = data.get("version")
    if not data:
        raise OutputsError(f"{origin} has no outputs yet: bring the stack up first")
    if version != VERSION:
        raise OutputsError(
            f"{origin} has outputs of version {version!r}, these commands understand {VERSION}: "
            "run `up` with this version of the program, or use the commands of the version that made the stack"
        )
    try:
        return Outputs.model_validate(data)
    except ValidationError as e:
        lines = "\n".join(f"  {'.'.join(map(str, err['loc']))}: {err['msg']}" for err in e.errors())
        raise OutputsError(f"{origin} has outputs that do not fit:\n{lines}") from e
