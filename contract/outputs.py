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

VERSION = 1

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


class TargetDatabase(_Model):
    """The Aurora PostgreSQL cluster: `host` is the writer endpoint, `reader_host` the reader endpoint."""

    host: Name
    reader_host: Name
    port: Port
    engine_version: Name
    admin_secret: Name
    sink_secret: Name
    app_secret: Name


class Kafka(_Model):
    """Brokers and topics. `bootstrap_servers` is the SASL/IAM listener, comma separated."""

    bootstrap_servers: Name
    topic_prefix: Name
    partitions: Annotated[int, Field(ge=1)]
    schema_history_topic: Name
    offsets_topic: Name
    heartbeat_topic: Name


class Pipeline(_Model):
    """CDC: `tables` are under capture (none yet is fine while it is stopped), `booleans` are the `table.column` of
    tinyint(1) mapped to boolean, `excluded` the `table.column` that are left out of CDC, schema and checks."""

    state: Literal["stopped", "running"]
    source_connector: Name
    sink_connector: Name
    tables: list[Name]
    booleans: list[Name] = []
    excluded: list[Name] = []

    @property
    def sink_group(self) -> str:
        """Kafka Connect names the consumer group of a sink after its connector."""
        return f"connect-{self.sink_connector}"


class Router(_Model):
    """Where customers come in, and where the flag lives (Cloudflare account, KV namespace, key)."""

    url: Name
    account_id: Name
    namespace_id: Name
    flag_key: Name
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


class Outputs(_Model):
    """Everything the commands need. Load it with `load_outputs`."""

    version: Literal[1]
    project: Name
    stack: Name
    environment: Literal["dev", "staging", "prod"]
    region: Name
    database: Name
    source: SourceDatabase
    target: TargetDatabase
    kafka: Kafka
    pipeline: Pipeline
    router: Router
    kpis: Kpis

    def topic_of(self, table: str) -> str:
        return f"{self.kafka.topic_prefix}.{self.database}.{table}"


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
