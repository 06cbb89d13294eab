"""The stack's settings: read, checked as a whole, typed. `Pulumi.yaml` documents each of them.

Invariants:
- All mistakes are found at once, each with the setting's name, before any resource is touched.
- A rule over several settings is checked as soon as each of them is valid by itself.
- A setting that nobody knows is a mistake too: it is most likely misspelt.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

import pulumi
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)
from pydantic.alias_generators import to_camel

from components.databases import DAILY_WINDOW, WEEKLY_WINDOW
from components.parameter_groups import (
    CLUSTER_REQUIRED,
    INSTANCE_REQUIRED,
    MYSQL_REQUIRED,
)
from infra.environments import POSTURES, Environment, Posture

ROOT = Path(__file__).resolve().parent.parent


class SettingsError(Exception):
    """Lists every mistake in the settings of a stack."""

    def __init__(self, stack: str, mistakes: list[str]) -> None:
        count = f"{len(mistakes)} mistake{'s' if len(mistakes) > 1 else ''}"
        super().__init__("\n".join([f"{count} in the settings of stack {stack}:", *(f"  {m}" for m in mistakes)]))
        self.mistakes = mistakes


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


class Settings(BaseModel):
    """One stack's settings under their Python names; in the configuration they are camelCase."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True, extra="forbid")

    environment: Environment = "dev"
    region: Region = "ap-southeast-1"
    owner: Tag = "platform"
    cost_centre: Tag = "shop-migration"
    data_class: Literal["internal", "confidential", "personal"] = "personal"

    vpc_cidr: PrivateNetwork = "10.40.0.0/16"
    zones: Annotated[int, Field(ge=2, le=4)] = 2
    operator_cidrs: list[PrivateNetwork] = []

    database: Identifier = "ecommerce"
    mysql_version: MySQLVersion = "8.4"
    mysql_instance_class: InstanceClass = "db.t4g.medium"
    mysql_storage_gib: Annotated[int, Field(ge=20, le=65536)] = 20
    mysql_parameters: Parameters = {}
    existing_mysql_host: HostOrNone = ""
    existing_mysql_port: Annotated[int, Field(ge=1, le=65535)] = 3306
    existing_mysql_cidr: PrivateNetworkOrNone = ""
    existing_mysql_secret: str = ""

    aurora_version: AuroraVersion = "15"
    aurora_capacity: Literal["serverless", "provisioned"] = "serverless"
    aurora_min_acu: Acu = 0.5
    aurora_max_acu: Acu = 4.0
    aurora_instance_class: InstanceClassOrNone = ""
    aurora_readers: Annotated[int, Field(ge=0, le=15)] = 1
    aurora_parameters: Parameters = {}

    backup_days: Annotated[int, Field(ge=1, le=35)] = 7
    backup_window: DailyWindow = "02:00-03:00"
    maintenance_window: WeeklyWindow = "sun:03:30-sun:04:30"

    kafka_version: KafkaVersion = "3.9.x"
    kafka_instance_type: BrokerType = "kafka.t3.small"
    kafka_brokers_per_zone: Annotated[int, Field(ge=1, le=10)] = 1
    kafka_volume_gib: Annotated[int, Field(ge=1, le=16384)] = 20
    topic_partitions: Annotated[int, Field(ge=1, le=64)] = 3
    topic_retention_hours: Annotated[int, Field(ge=24, le=24 * 90)] = 168

    cdc: Literal["stopped", "running"] = "stopped"
    tables: list[Table] = []
    booleans: list[ColumnPath] = []
    excluded_columns: list[ColumnPath] = []
    debezium_plugin: Text = ".zdm/plugins/debezium-3.6.0.Final.zip"
    debezium_server_id: Annotated[int, Field(ge=1, lt=2**32)] = 5401
    connect_units: Literal[1, 2, 4, 8] = 1
    sink_tasks: Annotated[int, Field(ge=1, le=32)] = 1

    service_image: Text = "zdm-orders:dev"
    service_module: Module = "services.orders"
    service_count: Annotated[int, Field(ge=0, le=64)] = 1
    service_cpu: Literal[256, 512, 1024, 2048, 4096] = 256
    service_memory: Annotated[int, Field(ge=512, le=30720)] = 512

    domain: Host = "dev.example"
    cloudflare_account_id: HexId = "0" * 32
    cloudflare_zone_id: HexId = "0" * 32
    hold_ms: Annotated[int, Field(ge=1000, le=120_000)] = 30_000

    kpi_latency_p95_ms: Annotated[float, Field(gt=0)] = 150.0
    kpi_error_rate: Annotated[float, Field(ge=0, lt=1)] = 0.001
    kpi_lag_seconds: Annotated[float, Field(gt=0)] = 30.0
    kpi_mismatches: Annotated[int, Field(ge=0)] = 0
    kpi_throughput_per_second: Annotated[float, Field(ge=0)] = 0.0
    kpi_pause_seconds: Annotated[float, Field(gt=0)] = 30.0
    kpi_abort_seconds: Annotated[float, Field(gt=0)] = 20.0

    @property
    def posture(self) -> Posture:
        return POSTURES[self.environment]

    @property
    def plugin_path(self) -> Path:
        """A relative path is relative to the project."""
        return ROOT / self.debezium_plugin

    @property
    def existing_mysql(self) -> bool:
        return self.existing_mysql_host != ""

    @property
    def tags(self) -> dict[str, str]:
        """On every resource that can have tags."""
        return {
            "environment": self.environment,
            "cost-centre": self.cost_centre,
            "owner": self.owner,
            "data-class": self.data_class,
        }


@dataclass(frozen=True)
class Rule:
    """A rule over several settings: the first one is the one to name; `check` yields what is wrong."""

    settings: tuple[str, ...]
    check: Callable[[Settings], Iterator[str]]


RULES: list[Rule] = []


def _rule(*settings: str) -> Callable[[Callable[[Settings], Iterator[str]]], None]:
    def add(check: Callable[[Settings], Iterator[str]]) -> None:
        RULES.append(Rule(settings, check))

    return add


@_rule("existing_mysql_host", "environment")
def _(s: Settings) -> Iterator[str]:
    if s.environment == "prod" and not s.existing_mysql:
        yield "prod migrates from a server that is there already: name it"


@_rule("existing_mysql_secret", "existing_mysql_host")
def _(s: Settings) -> Iterator[str]:
    if s.existing_mysql and not s.existing_mysql_secret:
        yield "needed with existingMysqlHost: name or ARN of the secret with its administrator's username and password"
    if s.existing_mysql_secret and not s.existing_mysql:
        yield "has no meaning without existingMysqlHost"


@_rule("existing_mysql_cidr", "existing_mysql_host")
def _(s: Settings) -> Iterator[str]:
    if s.existing_mysql and not s.existing_mysql_cidr:
        yield "needed with existingMysqlHost: the server's network, so that ours may connect to it"


@_rule("aurora_min_acu", "aurora_max_acu", "aurora_capacity")
def _(s: Settings) -> Iterator[str]:
    if s.aurora_capacity == "serverless" and s.aurora_min_acu > s.aurora_max_acu:
        yield f"{s.aurora_min_acu} is more than auroraMaxAcu {s.aurora_max_acu}"


@_rule("aurora_max_acu", "aurora_capacity")
def _(s: Settings) -> Iterator[str]:
    if s.aurora_capacity == "serverless" and s.aurora_max_acu < 1:
        yield f"at least 1, not {s.aurora_max_acu}"


@_rule("aurora_instance_class", "aurora_capacity")
def _(s: Settings) -> Iterator[str]:
    if s.aurora_capacity == "provisioned" and not s.aurora_instance_class:
        yield "needed with auroraCapacity provisioned, for example db.r7g.large"
    if s.aurora_capacity == "serverless" and s.aurora_instance_class:
        yield "has no meaning with auroraCapacity serverless: remove it, or choose provisioned"


@_rule("aurora_readers", "environment")
def _(s: Settings) -> Iterator[str]:
    if s.environment != "dev" and s.aurora_readers < 1:
        yield f"{s.environment} needs at least 1, in another zone than the writer"


@_rule("backup_days", "environment")
def _(s: Settings) -> Iterator[str]:
    if s.environment == "prod" and s.backup_days < 7:
        yield f"prod keeps backups for at least 7 days, not {s.backup_days}"


@_rule("maintenance_window", "backup_window")
def _(s: Settings) -> Iterator[str]:
    first, last = s.maintenance_window.split("-")
    begin, length = _span(first[4:], last[4:])
    backup, backup_length = _span(*s.backup_window.split("-"))
    if (begin - backup) % DAY < backup_length or (backup - begin) % DAY < length:
        yield f"{s.maintenance_window} overlaps the backup window {s.backup_window}, which RDS refuses"


DAY = 24 * 60


def _span(first: str, last: str) -> tuple[int, int]:
    """Start and length in minutes of a window `hh:mm`-`hh:mm`, which may pass midnight."""
    start, end = (int(time[:2]) * 60 + int(time[3:]) for time in (first, last))
    return start, (end - start) % DAY


@_rule("kafka_brokers_per_zone", "zones", "environment")
def _(s: Settings) -> Iterator[str]:
    if s.environment != "dev" and s.kafka_brokers_per_zone * s.zones < 3:
        yield f"{s.environment} needs at least 3 brokers, {s.kafka_brokers_per_zone} in {s.zones} zones are fewer"


@_rule("mysql_parameters")
def _(s: Settings) -> Iterator[str]:
    for name in sorted(set(s.mysql_parameters) & set(MYSQL_REQUIRED)):
        yield f"{name} cannot be set: capture depends on {MYSQL_REQUIRED[name]}"


@_rule("aurora_parameters")
def _(s: Settings) -> Iterator[str]:
    fixed = {**CLUSTER_REQUIRED, **INSTANCE_REQUIRED}
    for name in sorted(set(s.aurora_parameters) & set(fixed)):
        yield f"{name} cannot be set: the migration depends on {fixed[name]}"


@_rule("tables", "cdc")
def _(s: Settings) -> Iterator[str]:
    if s.cdc == "running" and not s.tables:
        yield "at least one is needed when cdc is running"
    for name in sorted({name for name in s.tables if s.tables.count(name) > 1}):
        yield f"{name} stands there twice"


@_rule("booleans", "tables")
def _(s: Settings) -> Iterator[str]:
    yield from _outside(s.booleans, s.tables)


@_rule("excluded_columns", "tables")
def _(s: Settings) -> Iterator[str]:
    yield from _outside(s.excluded_columns, s.tables)


def _outside(paths: list[str], tables: list[str]) -> Iterator[str]:
    for path in paths:
        if path.split(".")[0] not in tables:
            yield f"{path} is of no table in tables"


@_rule("excluded_columns", "booleans")
def _(s: Settings) -> Iterator[str]:
    for path in sorted(set(s.booleans) & set(s.excluded_columns)):
        yield f"{path} is in booleans too"


@_rule("debezium_plugin")
def _(s: Settings) -> Iterator[str]:
    if not s.plugin_path.is_file():
        yield f"there is no file {s.debezium_plugin}; make it with: ./zdm plugin"
    elif s.plugin_path.suffix != ".zip":
        yield f"must be a .zip file, not {s.debezium_plugin}"


@_rule("service_memory", "service_cpu")
def _(s: Settings) -> Iterator[str]:
    if not 2 <= s.service_memory / s.service_cpu <= 8:
        yield f"2 to 8 times serviceCpu, so {s.service_cpu * 2} to {s.service_cpu * 8}, not {s.service_memory}"


@_rule("hold_ms", "kpi_abort_seconds")
def _(s: Settings) -> Iterator[str]:
    if s.hold_ms < s.kpi_abort_seconds * 1000:
        yield (
            f"{s.hold_ms} ms is less than kpiAbortSeconds {s.kpi_abort_seconds:g}: "
            "held writes would fail before a cutover gives up"
        )


@_rule("kpi_abort_seconds", "kpi_pause_seconds")
def _(s: Settings) -> Iterator[str]:
    if s.kpi_abort_seconds > s.kpi_pause_seconds:
        yield f"{s.kpi_abort_seconds:g} is more than kpiPauseSeconds {s.kpi_pause_seconds:g}"


def parse_settings(raw: Mapping[str, object], stack: str) -> Settings:
    """Checks settings given under their camelCase names, as text (lists and objects as JSON) or as values.

    Raises `SettingsError` with every mistake.
    """
    mistakes: list[tuple[str, str]] = []
    names = {to_camel(name): name for name in Settings.model_fields}
    for key in raw:
        if key not in names:
            close = difflib.get_close_matches(key, names, n=1)
            mistakes.append((key, f"there is no such setting{f'; did you mean {close[0]}?' if close else ''}"))
    values: dict[str, Any] = {}
    for alias, name in names.items():
        if alias not in raw:
            continue
        field = Settings.model_fields[name]
        annotation: Any = field.annotation
        kind: TypeAdapter[Any] = TypeAdapter(Annotated[annotation, *field.metadata] if field.metadata else annotation)
        try:
            values[name] = kind.validate_python(_plain(raw[alias], annotation))
        except ValidationError as e:
            mistakes += [(alias, _explain(error)) for error in e.errors()]
        except ValueError as e:
            mistakes.append((alias, str(e)))
    wrong = {names.get(alias) for alias, _ in mistakes}
    settings = Settings.model_construct(**values)
    for rule in RULES:
        if not wrong & set(rule.settings):
            mistakes += [(to_camel(rule.settings[0]), text) for text in rule.check(settings)]
    if mistakes:
        order = {alias: i for i, alias in enumerate(names)}
        unique = dict.fromkeys(sorted(mistakes, key=lambda m: order.get(m[0], len(order))))
        raise SettingsError(stack, [f"{alias}: {text}" for alias, text in unique])
    return settings


def load_settings() -> Settings:
    """The settings of the stack that the engine runs. Raises `SettingsError`."""
    prefix = f"{pulumi.get_project()}:"
    known = {**pulumi.runtime.config.get_config_env(), **pulumi.runtime.config.CONFIG.get()}
    return parse_settings(
        {k.removeprefix(prefix): v for k, v in known.items() if k.startswith(prefix)}, pulumi.get_stack()
    )


def _plain(value: object, kind: Any) -> object:
    """Configuration is text: lists and objects come as JSON, and a number's text must not be taken for one of many."""
    origin = getattr(kind, "__origin__", None)
    if isinstance(value, str) and origin in (list, dict):
        try:
            return json.loads(value)
        except json.JSONDecodeError as e:
            raise ValueError(f"must be a {'list' if origin is list else 'mapping'}, not {value!r}") from e
    if isinstance(value, str) and origin is Literal and re.fullmatch(r"\d+", value):
        return int(value)
    return value


def _explain(error: Any) -> str:
    """pydantic's words, with the place inside a list or mapping and the value that was given."""
    place = "".join(f"[{part}]" for part in error["loc"] if isinstance(part, int))
    text = str(error["msg"]).removeprefix("Value error, ")
    given = error["input"]
    return f"{place + ' ' if place else ''}{text}" + (f" (given: {given!r})" if given != "" else "")
