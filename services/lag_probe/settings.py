"""The probe's settings, all from the environment; every mistake is reported at once.

KAFKA_BOOTSTRAP   brokers, comma separated; IAM over TLS, unless ZDM_KAFKA_SECURITY_PROTOCOL names another protocol
TOPIC_PREFIX, DATABASE, TABLES   the topics are `<prefix>.<database>.<table>`; TABLES is a JSON list
SINK_GROUP        the sink's consumer group
HEARTBEAT_TOPIC   where the source connector shows that it lives
MYSQL_HOST, MYSQL_PORT, MYSQL_USER, MYSQL_PASSWORD       the source, as an account that may write the watermark
AURORA_HOST, AURORA_PORT, AURORA_USER, AURORA_PASSWORD   the target, as an account that may read the stored verdicts
INTERVAL          seconds from sample to sample, default 5
AWS_REGION        of the brokers and of ECS
ECS_CLUSTER, ECS_SERVICES   whose tasks `/targets` lists; the latter is JSON, name -> [ECS service, port, URL]
ZDM_BIND          host:port to listen on, default 0.0.0.0:9464
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field


class SettingsError(ValueError):
    """Settings are missing or wrong; the message lists all of them."""


@dataclass(frozen=True, slots=True)
class Server:
    """A database and the account in it."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Scraped:
    """A service whose tasks are scraped: its name in ECS, the containers' port, and its public URL."""

    service: str
    port: int
    url: str


@dataclass(frozen=True, slots=True)
class Settings:
    """See the module's text for the variables."""

    bootstrap: str
    protocol: str
    region: str
    prefix: str
    database: str
    tables: tuple[str, ...]
    sink_group: str
    heartbeat_topic: str
    mysql: Server
    aurora: Server
    interval: float
    cluster: str
    services: Mapping[str, Scraped]
    host: str
    port: int

    @property
    def topics(self) -> dict[str, str]:
        """The tables by their topics."""
        return {f"{self.prefix}.{self.database}.{table}": table for table in self.tables}


def settings_from(env: Mapping[str, str]) -> Settings:
    """Reads the settings. Raises `SettingsError` that names every variable that is missing or wrong."""
    wrong: list[str] = []

    def text(name: str, default: str | None = None) -> str:
        value = env.get(name) or default
        if value is None:
            wrong.append(f"{name} is missing")
        return value or ""

    def number(name: str, value: str, low: float, high: float) -> float:
        try:
            if low <= float(value) <= high:
                return float(value)
        except ValueError:
            pass
        if value:
            wrong.append(f"{name} must be a number from {low:g} to {high:g}, not {value!r}")
        return low

    def server(kind: str) -> Server:
        port = int(number(f"{kind}_PORT", text(f"{kind}_PORT"), 1, 65535))
        return Server(text(f"{kind}_HOST"), port, text(f"{kind}_USER"), text(f"{kind}_PASSWORD"))

    tables: tuple[str, ...] = ()
    services: dict[str, Scraped] = {}
    try:
        tables = tuple(str(name) for name in json.loads(text("TABLES", "[]")))
    except (ValueError, TypeError):
        wrong.append("TABLES must be a JSON list of names")
    try:
        given = json.loads(text("ECS_SERVICES", "{}"))
        services = {name: Scraped(str(s), int(port), str(url)) for name, (s, port, url) in given.items()}
    except (ValueError, TypeError, AttributeError):
        wrong.append("ECS_SERVICES must be a JSON object, name -> [ECS service, port, URL]")
    bind_host, _, bind_port = text("ZDM_BIND", "0.0.0.0:9464").rpartition(":")
    if not bind_host:
        wrong.append("ZDM_BIND must be host:port")
    made = Settings(
        bootstrap=text("KAFKA_BOOTSTRAP"),
        protocol=text("ZDM_KAFKA_SECURITY_PROTOCOL", "SASL_SSL"),
        region=text("AWS_REGION"),
        prefix=text("TOPIC_PREFIX"),
        database=text("DATABASE"),
        tables=tables,
        sink_group=text("SINK_GROUP"),
        heartbeat_topic=text("HEARTBEAT_TOPIC"),
        mysql=server("MYSQL"),
        aurora=server("AURORA"),
        interval=number("INTERVAL", text("INTERVAL", "5"), 0.1, 60),
        cluster=text("ECS_CLUSTER") if services else "",
        services=services,
        host=bind_host.strip("[]"),
        port=int(number("ZDM_BIND (its port)", bind_port, 0, 65535)),
    )
    if wrong:
        raise SettingsError("the probe's settings do not fit:\n" + "\n".join(f"  {line}" for line in wrong))
    return made
