"""Rules over several settings of a stack. One by one they may be right, and still not fit together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from components.parameter_groups import CLUSTER_REQUIRED, INSTANCE_REQUIRED, MYSQL_REQUIRED
from infra.settings import Settings

DAY = 24 * 60


@dataclass(frozen=True)
class Rule:
    """`settings` are the paths it needs; the first is the one to name. `check` yields what is wrong."""

    settings: tuple[str, ...]
    check: Callable[[Settings], Iterator[str]]


RULES: list[Rule] = []


def _rule(*settings: str) -> Callable[[Callable[[Settings], Iterator[str]]], None]:
    def add(check: Callable[[Settings], Iterator[str]]) -> None:
        RULES.append(Rule(settings, check))

    return add


# --- source -----------------------------------------------------------------------------------------------------------


@_rule("source.existing.host", "environment")
def _(s: Settings) -> Iterator[str]:
    if s.environment == "prod" and not s.existing_mysql:
        yield "prod migrates from a server that is there already: name it"


@_rule("source.existing.secret", "source.existing.host")
def _(s: Settings) -> Iterator[str]:
    if s.existing_mysql and not s.source.existing.secret:
        yield "needed with source.existing.host: the secret (name or ARN) with an administrator's username and password"
    if s.source.existing.secret and not s.existing_mysql:
        yield "has no meaning without source.existing.host"


@_rule("source.existing.cidr", "source.existing.host")
def _(s: Settings) -> Iterator[str]:
    if s.existing_mysql and not s.source.existing.cidr:
        yield "needed with source.existing.host: the server's network, so that ours may connect to it"


@_rule("source.parameters")
def _(s: Settings) -> Iterator[str]:
    for name in sorted(set(s.source.parameters) & set(MYSQL_REQUIRED)):
        yield f"{name} cannot be set: capture depends on {MYSQL_REQUIRED[name]}"


# --- target -----------------------------------------------------------------------------------------------------------


@_rule("aurora.min_acu", "aurora.max_acu", "aurora.capacity")
def _(s: Settings) -> Iterator[str]:
    if s.aurora.capacity == "serverless" and s.aurora.min_acu > s.aurora.max_acu:
        yield f"{s.aurora.min_acu} is more than aurora.maxAcu {s.aurora.max_acu}"


@_rule("aurora.max_acu", "aurora.capacity")
def _(s: Settings) -> Iterator[str]:
    if s.aurora.capacity == "serverless" and s.aurora.max_acu < 1:
        yield f"at least 1, not {s.aurora.max_acu}"


@_rule("aurora.instance_class", "aurora.capacity")
def _(s: Settings) -> Iterator[str]:
    if s.aurora.capacity == "provisioned" and not s.aurora.instance_class:
        yield "needed with aurora.capacity provisioned, for example db.r7g.large"
    if s.aurora.capacity == "serverless" and s.aurora.instance_class:
        yield "has no meaning with aurora.capacity serverless: remove it, or choose provisioned"


@_rule("aurora.readers", "environment")
def _(s: Settings) -> Iterator[str]:
    if s.environment != "dev" and s.aurora.readers < 1:
        yield f"{s.environment} needs at least 1, in another zone than the writer"


@_rule("aurora.parameters")
def _(s: Settings) -> Iterator[str]:
    fixed = {**CLUSTER_REQUIRED, **INSTANCE_REQUIRED}
    for name in sorted(set(s.aurora.parameters) & set(fixed)):
        yield f"{name} cannot be set: the migration depends on {fixed[name]}"


# --- backups ----------------------------------------------------------------------------------------------------------


@_rule("backups.days", "environment")
def _(s: Settings) -> Iterator[str]:
    if s.environment == "prod" and s.backups.days < 7:
        yield f"prod keeps backups for at least 7 days, not {s.backups.days}"


@_rule("backups.maintenance", "backups.window")
def _(s: Settings) -> Iterator[str]:
    first, last = s.backups.maintenance.split("-")
    begin, length = _span(first[4:], last[4:])
    backup, backup_length = _span(*s.backups.window.split("-"))
    if (begin - backup) % DAY < backup_length or (backup - begin) % DAY < length:
        yield f"{s.backups.maintenance} overlaps the backup window {s.backups.window}, which RDS refuses"


def _span(first: str, last: str) -> tuple[int, int]:
    """Start and length in minutes of a window `hh:mm`-`hh:mm`, which may pass midnight."""
    start, end = (int(time[:2]) * 60 + int(time[3:]) for time in (first, last))
    return start, (end - start) % DAY


# --- change data capture ----------------------------------------------------------------------------------------------


@_rule("kafka.brokers_per_zone", "network.zones", "environment")
def _(s: Settings) -> Iterator[str]:
    if s.environment != "dev" and s.kafka.brokers_per_zone * s.network.zones < 3:
        yield (
            f"{s.environment} needs at least 3 brokers, {s.kafka.brokers_per_zone} in {s.network.zones} zones are fewer"
        )


@_rule("cdc.tables", "cdc.state")
def _(s: Settings) -> Iterator[str]:
    if s.cdc.state == "running" and not s.cdc.tables:
        yield "at least one is needed when cdc.state is running"
    for name in sorted({name for name in s.cdc.tables if s.cdc.tables.count(name) > 1}):
        yield f"{name} stands there twice"


@_rule("cdc.booleans", "cdc.tables")
def _(s: Settings) -> Iterator[str]:
    yield from _outside(s.cdc.booleans, s.cdc.tables)


@_rule("cdc.excluded_columns", "cdc.tables")
def _(s: Settings) -> Iterator[str]:
    yield from _outside(s.cdc.excluded_columns, s.cdc.tables)


def _outside(paths: list[str], tables: list[str]) -> Iterator[str]:
    for path in paths:
        if path.split(".")[0] not in tables:
            yield f"{path} is of no table in cdc.tables"


@_rule("cdc.excluded_columns", "cdc.booleans")
def _(s: Settings) -> Iterator[str]:
    for path in sorted(set(s.cdc.booleans) & set(s.cdc.excluded_columns)):
        yield f"{path} is in cdc.booleans too"


@_rule("cdc.plugin")
def _(s: Settings) -> Iterator[str]:
    if not s.plugin_path.is_file():
        yield f"there is no file {s.cdc.plugin}; make it with: ./zdm plugin"
    elif s.plugin_path.suffix != ".zip":
        yield f"must be a .zip file, not {s.cdc.plugin}"


# --- service and router -----------------------------------------------------------------------------------------------


@_rule("service.memory", "service.cpu")
def _(s: Settings) -> Iterator[str]:
    if not 2 <= s.service.memory / s.service.cpu <= 8:
        yield f"2 to 8 times service.cpu, so {s.service.cpu * 2} to {s.service.cpu * 8}, not {s.service.memory}"


@_rule("router.hold_ms", "kpis.abort_seconds")
def _(s: Settings) -> Iterator[str]:
    if s.router.hold_ms < s.kpis.abort_seconds * 1000:
        yield (
            f"{s.router.hold_ms} ms is less than kpis.abortSeconds {s.kpis.abort_seconds:g}: "
            "held writes would fail before a cutover gives up"
        )


@_rule("kpis.abort_seconds", "kpis.pause_seconds")
def _(s: Settings) -> Iterator[str]:
    if s.kpis.abort_seconds > s.kpis.pause_seconds:
        yield f"{s.kpis.abort_seconds:g} is more than kpis.pauseSeconds {s.kpis.pause_seconds:g}"
