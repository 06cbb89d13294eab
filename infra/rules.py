"""Rules over several settings of a stack. One by one they may be right, and still not fit together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from components.parameter_profiles import mysql_refused, refused
from contract import retention
from infra.settings import Settings

HOUR = 60
DAY = 24 * HOUR


Wrong = Iterator[str] | Iterator[tuple[str, str]]


@dataclass(frozen=True)
class Rule:
    """`settings` are the paths it needs. `check` yields what is wrong: of the first of them, or of the one it names."""

    settings: tuple[str, ...]
    check: Callable[[Settings], Wrong]


RULES: list[Rule] = []


def _rule(*settings: str) -> Callable[[Callable[[Settings], Wrong]], None]:
    def add(check: Callable[[Settings], Wrong]) -> None:
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
    yield from mysql_refused(s.source.parameters)


@_rule("source.binlog_hours", "source.existing.host")
def _(s: Settings) -> Iterator[str]:
    if not s.existing_mysql and s.source.binlog_hours > retention.RDS_BINLOG_HOURS:
        yield f"RDS for MySQL keeps at most {retention.RDS_BINLOG_HOURS} hours, not {s.source.binlog_hours}"


@_rule("source.restore_snapshot", "source.existing.host")
def _(s: Settings) -> Iterator[str]:
    if s.source.restore_snapshot and s.existing_mysql:
        yield "has no meaning with source.existing.host"


@_rule("source.existing.server_ids", "source.existing.volume_ids", "source.existing.host")
def _(s: Settings) -> Iterator[str]:
    if (s.source.existing.server_ids or s.source.existing.volume_ids) and not s.existing_mysql:
        yield "has no meaning without source.existing.host"


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
    yield from refused(s.aurora.parameters)


@_rule("aurora.max_readers", "aurora.readers", "aurora.report_readers")
def _(s: Settings) -> Iterator[str]:
    if s.aurora.max_readers and (s.aurora.readers < 1 or s.aurora.max_readers <= s.aurora.readers):
        yield f"0, or more than aurora.readers {s.aurora.readers}, of which one is needed"
    if max(s.aurora.max_readers, s.aurora.readers) + s.aurora.report_readers > 15:
        yield "a cluster has at most 15 readers, those for reports among them"


@_rule("aurora.activity_stream", "aurora.capacity", "aurora.instance_class")
def _(s: Settings) -> Iterator[str]:
    if s.aurora.activity_stream != "off" and (s.aurora.capacity == "serverless" or ".t" in s.aurora.instance_class):
        yield "needs aurora.capacity provisioned, and no db.t class"


@_rule("aurora.restore_from", "aurora.restore_snapshot", "aurora.restore_at")
def _(s: Settings) -> Iterator[str]:
    if s.aurora.restore_from and s.aurora.restore_snapshot:
        yield "a cluster is restored from a snapshot or from another cluster, not both"
    if s.aurora.restore_at and not s.aurora.restore_from:
        yield "needed with aurora.restoreAt: the cluster whose point in time it is"


# --- backups ----------------------------------------------------------------------------------------------------------


@_rule("backups.days", "environment")
def _(s: Settings) -> Iterator[str]:
    if s.environment == "prod" and s.backups.days < 7:
        yield f"prod keeps backups for at least 7 days, not {s.backups.days}"


@_rule("backups.window")
def _(s: Settings) -> Iterator[str]:
    if _span(*s.backups.window.split("-"))[1] < 60:
        yield f"{s.backups.window} is shorter than an hour, which AWS Backup needs to start"


@_rule("backups.maintenance", "backups.window")
def _(s: Settings) -> Iterator[str]:
    first, last = s.backups.maintenance.split("-")
    begin, length = _span(first[4:], last[4:])
    backup, backup_length = _span(*s.backups.window.split("-"))
    if (begin - backup) % DAY < backup_length or (backup - begin) % DAY < length:
        yield f"{s.backups.maintenance} overlaps the backup window {s.backups.window}, which RDS refuses"
    elif s.backups.vault and (begin - HOUR - backup) % DAY < backup_length:
        yield f"{s.backups.maintenance} begins within an hour of the backup window, when RDS refuses AWS Backup's jobs"


@_rule("backups.copy_region", "backups.vault", "region")
def _(s: Settings) -> Iterator[str]:
    if s.backups.copy_region and not s.backups.vault:
        yield "needs backups.vault: it is the vault's recovery points that are copied"
    if s.backups.copy_region == s.region:
        yield f"{s.region} is the stack's own region"


@_rule("backups.account_vault", "backups.copy_region")
def _(s: Settings) -> Iterator[str]:
    vault = s.backups.account_vault
    if vault and not s.backups.copy_region:
        yield "needs backups.copyRegion: a copy crosses the region first, then the account"
    elif vault and vault.split(":")[3] != s.backups.copy_region:
        yield f"must be in backups.copyRegion {s.backups.copy_region}, not in {vault.split(':')[3]}"


@_rule("backups.lock", "backups.vault")
def _(s: Settings) -> Iterator[str]:
    if s.backups.lock != "off" and not s.backups.vault:
        yield "needs backups.vault"


@_rule("backups.restore_tests", "backups.vault")
def _(s: Settings) -> Iterator[str]:
    if s.backups.restore_tests and not s.backups.vault:
        yield "needs backups.vault: it is the vault's recovery points that are restored"


@_rule("archive.deep_days", "archive.cold_days", "archive.expire_days")
def _(s: Settings) -> Iterator[str]:
    a = s.archive
    if a.deep_days < a.cold_days + 90:
        yield f"at least archive.coldDays + 90 = {a.cold_days + 90}: Glacier bills 90 days in any case"
    if a.expire_days and a.expire_days < a.deep_days + 180:
        yield f"archive.expireDays must be 0, or at least deepDays + 180 = {a.deep_days + 180}: those days are billed"


@_rule("archive.lock", "environment")
def _(s: Settings) -> Iterator[str]:
    if s.archive.lock == "compliance" and not s.keeps_records:
        yield f"{s.environment} throws its buckets away, and nobody can delete what is locked so: choose governance"


def _span(first: str, last: str) -> tuple[int, int]:
    """Start and length in minutes of a window `hh:mm`-`hh:mm`, which may pass midnight."""
    start, end = (int(time[:2]) * 60 + int(time[3:]) for time in (first, last))
    return start, (end - start) % DAY


# --- change data capture ----------------------------------------------------------------------------------------------


@_rule("kafka.brokers_per_zone", "network.zones", "environment", "kafka.enabled")
def _(s: Settings) -> Iterator[str]:
    if s.environment != "dev" and s.kafka.enabled and s.kafka.brokers_per_zone * s.network.zones < 3:
        yield (
            f"{s.environment} needs at least 3 brokers, {s.kafka.brokers_per_zone} in {s.network.zones} zones are fewer"
        )


@_rule("kafka.enabled", "cdc.state", "cdc.reverse")
def _(s: Settings) -> Iterator[str]:
    if not s.kafka.enabled and (s.cdc.state, s.cdc.reverse) != ("stopped", "stopped"):
        yield "connectors cannot run without Kafka: stop cdc.state and cdc.reverse first"


@_rule("kafka.grow_to_gib", "kafka.volume_gib")
def _(s: Settings) -> Iterator[str]:
    if s.kafka.grow_to_gib and s.kafka.grow_to_gib <= s.kafka.volume_gib:
        yield f"0, or more than kafka.volumeGib {s.kafka.volume_gib}"


@_rule("kafka.throughput_mib")
def _(s: Settings) -> Iterator[str]:
    if 0 < s.kafka.throughput_mib < 250:
        yield f"0, or 250 to 1000, not {s.kafka.throughput_mib}"


@_rule("kafka.log_archive", "archive.enabled")
def _(s: Settings) -> Iterator[str]:
    if s.kafka.log_archive and not s.archive.enabled:
        yield "needs archive.enabled"


@_rule(
    "sizing.data_gib",
    "sizing.change_gib_per_day",
    "sizing.copy_mib_per_second",
    "sizing.rollback_hours",
    "sizing.safety",
    "sizing.mend_hours",
    "cdc.copy_",
    "source.binlog_hours",
    "kafka",
    "network.zones",
)
def _(s: Settings) -> Iterator[tuple[str, str]]:
    brokers = s.kafka.brokers_per_zone * s.network.zones
    load = retention.Load(
        data_gib=s.sizing.data_gib,
        change_mib_per_s=retention.mib_per_s(s.sizing.change_gib_per_day),
        copy_mib_per_s=s.sizing.copy_mib_per_second,
        rollback_hours=s.sizing.rollback_hours,
        brokers=brokers,
        replication=min(3, brokers),
        safety=s.sizing.safety,
        mend_hours=s.sizing.mend_hours,
        through_kafka=s.cdc.copy_ == "debezium" and s.kafka.enabled,
        captured_first=s.cdc.copy_ == "zdm" and s.kafka.enabled,
    )
    kept = retention.Kept(
        binlog_hours=s.source.binlog_hours,
        topic_hours=s.kafka.retention_hours,
        broker_gib=s.kafka.volume_gib,
        grow_to_gib=s.kafka.grow_to_gib or None,
        grow_at_percent=s.kafka.grow_at_percent,
        rds=not s.existing_mysql,
    )
    names = {
        "binlog_hours": "source.binlog_hours",
        "topic_hours": "kafka.retention_hours",
        "broker_gib": "kafka.volume_gib",
        "grow_to_gib": "kafka.grow_to_gib",
        "copy_mib_per_s": "sizing.copy_mib_per_second",
        "rollback_hours": "sizing.rollback_hours",
    }
    for short in retention.shortfalls(load, kept):
        if s.kafka.enabled or not names[short.setting].startswith("kafka."):
            yield names[short.setting], f"{short}; less would not survive its own copy"


@_rule("cdc.tables", "cdc.state")
def _(s: Settings) -> Iterator[str]:
    if s.cdc.state != "stopped" and not s.cdc.tables:
        yield f"at least one is needed when cdc.state is {s.cdc.state}"
    for name in sorted({name for name in s.cdc.tables if s.cdc.tables.count(name) > 1}):
        yield f"{name} stands there twice"


@_rule("cdc.booleans", "cdc.tables")
def _(s: Settings) -> Iterator[str]:
    yield from _outside(s.cdc.booleans, s.cdc.tables)


@_rule("cdc.intervals", "cdc.tables")
def _(s: Settings) -> Iterator[str]:
    yield from _outside(s.cdc.intervals, s.cdc.tables)


@_rule("cdc.excluded_columns", "cdc.tables")
def _(s: Settings) -> Iterator[str]:
    yield from _outside(s.cdc.excluded_columns, s.cdc.tables)


def _outside(paths: list[str], tables: list[str]) -> Iterator[str]:
    for path in paths:
        if path.split(".")[0] not in tables:
            yield f"{path} is of no table in cdc.tables"


@_rule("cdc.excluded_columns", "cdc.booleans", "cdc.intervals")
def _(s: Settings) -> Iterator[str]:
    for name, paths in (("booleans", s.cdc.booleans), ("intervals", s.cdc.intervals)):
        for path in sorted(set(paths) & set(s.cdc.excluded_columns)):
            yield f"{path} is in cdc.{name} too"


@_rule("cdc.state", "cdc.copy_")
def _(s: Settings) -> Iterator[str]:
    if s.cdc.copy_ == "dms" and s.cdc.state != "stopped":
        yield f"{s.cdc.state}, but cdc.copy dms carries rows and changes without it: stopped, or another cdc.copy"
    if s.cdc.copy_ == "debezium" and s.cdc.state == "capturing":
        yield "capturing is for cdc.copy zdm: Debezium's snapshot would only fill Kafka with all rows, and nobody reads"


@_rule("cdc.plugin", "kafka.enabled")
def _(s: Settings) -> Iterator[str]:
    if not s.kafka.enabled:
        return
    if not s.plugin_path.is_file():
        yield f"there is no file {s.cdc.plugin}; make it with: ./zdm plugin"
    elif s.plugin_path.suffix != ".zip":
        yield f"must be a .zip file, not {s.cdc.plugin}"


@_rule("cdc.reverse", "cdc.state")
def _(s: Settings) -> Iterator[str]:
    if s.cdc.reverse == "running" and s.cdc.state != "stopped":
        yield "never both directions at once: stop cdc.state first"


@_rule("cdc.sink_workers_most", "cdc.sink_workers")
def _(s: Settings) -> Iterator[str]:
    if s.cdc.sink_workers_most and s.cdc.sink_workers_most <= s.cdc.sink_workers:
        yield f"0, or more than cdc.sinkWorkers {s.cdc.sink_workers}"


# --- DMS --------------------------------------------------------------------------------------------------------------


@_rule("dms.running", "dms.enabled", "cdc.state", "cdc.copy_")
def _(s: Settings) -> Iterator[str]:
    if s.dms.running and not s.dms.enabled:
        yield "needs dms.enabled"
    if s.dms.running and s.cdc.state != "stopped":
        yield f"cdc.state is {s.cdc.state} as well: two that write into one target undo each other's changes"
    elif s.dms.running and s.cdc.copy_ != "dms":
        yield f"loads all rows by itself, but cdc.copy is {s.cdc.copy_}: set cdc.copy to dms"


@_rule("cdc.copy_", "dms.enabled")
def _(s: Settings) -> Iterator[str]:
    if s.cdc.copy_ == "dms" and not s.dms.enabled:
        yield "dms needs dms.enabled"


@_rule("dms.enabled", "account.owner", "account.stack")
def _(s: Settings) -> Iterator[str]:
    if s.dms.enabled and not s.account.owner and not s.account.stack:
        yield "needs the account's roles for DMS: set account.owner, or name the stack that made them in account.stack"


@_rule("dms.tables_file", "dms.enabled")
def _(s: Settings) -> Iterator[str]:
    if s.dms.enabled and not (s.root / s.dms.tables_file).is_file():
        yield f"there is no file {s.dms.tables_file}; make it with: ./zdm schema STACK --describe {s.dms.tables_file}"


@_rule("dms.authority", "dms.source_authority", "dms.enabled")
def _(s: Settings) -> Iterator[str]:
    for name in filter(None, (s.dms.authority, s.dms.source_authority)):
        if s.dms.enabled and not (s.root / name).is_file():
            yield f"there is no file {name}; the bundle of a region is in RDS's user guide, 'Using SSL/TLS'"


@_rule("dms.way_back", "dms.capacity")
def _(s: Settings) -> Iterator[str]:
    if s.dms.way_back and s.dms.capacity == "serverless":
        yield "needs dms.capacity instance: serverless DMS cannot start at a position"


@_rule("dms.validation", "dms.running")
def _(s: Settings) -> Iterator[str]:
    if s.dms.validation == "running" and not s.dms.running:
        yield "compares nothing while dms.running is false"


@_rule("dms.max_units", "dms.min_units")
def _(s: Settings) -> Iterator[str]:
    if s.dms.max_units < s.dms.min_units:
        yield f"at least dms.minUnits {s.dms.min_units}, not {s.dms.max_units}"


@_rule("dms.largest_lob_kb", "dms.lobs")
def _(s: Settings) -> Iterator[str]:
    if (s.dms.lobs == "limited") != (s.dms.largest_lob_kb > 0):
        yield "needed with dms.lobs limited, and only then: what is larger would be cut off in silence"


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


@_rule("service.max_count", "service.count")
def _(s: Settings) -> Iterator[str]:
    if s.service.max_count and s.service.max_count < s.service.count:
        yield f"0, or at least service.count {s.service.count}, not {s.service.max_count}"


@_rule("service.count", "service.requests_per_second", "kpis.throughput_per_second")
def _(s: Settings) -> Iterator[str]:
    carried, wanted = s.service.count * s.service.requests_per_second, s.kpis.throughput_per_second
    if s.service.count and carried < wanted:
        yield (
            f"{s.service.count} x service.requestsPerSecond {s.service.requests_per_second} is less than "
            f"kpis.throughputPerSecond {wanted:g}: a cutover moves all requests at once, scaling takes minutes"
        )


@_rule("service.standby_image", "service.standby", "service.active")
def _(s: Settings) -> Iterator[str]:
    if not s.service.standby and (s.service.standby_image or s.service.active == "standby"):
        yield "service.standbyImage and service.active standby need service.standby"


@_rule("service.relay", "kafka.enabled", "service.module")
def _(s: Settings) -> Iterator[str]:
    if s.service.relay and not s.kafka.enabled:
        yield "needs kafka.enabled: that is where the events go"
    if s.service.relay and s.service.module != "services.orders":
        yield f"needs service.module services.orders, which has an outbox, not {s.service.module}"


@_rule("router.operator_networks", "router.firewall")
def _(s: Settings) -> Iterator[str]:
    if s.router.operator_networks and not s.router.firewall:
        yield "needs router.firewall, whose rules let only them in"


# --- account, alarms, costs -------------------------------------------------------------------------------------------


@_rule("account.stack", "account.owner")
def _(s: Settings) -> Iterator[str]:
    if s.account.stack and s.account.owner:
        yield "this stack is the account's owner itself (account.owner)"


@_rule("account.state_bucket", "account.state_key", "account.repository")
def _(s: Settings) -> Iterator[str]:
    if bool(s.account.state_bucket) != bool(s.account.state_key):
        yield "account.stateBucket and account.stateKey belong together"
    if s.account.state_bucket and not s.account.repository:
        yield "needs account.repository, whose roles use it"


@_rule("security.access_logs", "archive.enabled")
def _(s: Settings) -> Iterator[str]:
    if s.security.access_logs and not s.archive.enabled:
        yield "needs archive.enabled, whose bucket for logs takes them"


@_rule("observability.slack_channel", "observability.slack_team")
def _(s: Settings) -> Iterator[str]:
    if bool(s.observability.slack_channel) != bool(s.observability.slack_team):
        yield "observability.slackTeam and observability.slackChannel belong together"


@_rule("cost.estimate_monthly_usd", "cost.mysql_monthly_usd", "cost.overrun_percent")
def _(s: Settings) -> Iterator[str]:
    limit = s.cost.mysql_monthly_usd * (1 + s.cost.overrun_percent / 100)
    if s.cost.estimate_monthly_usd > limit:
        yield f"{s.cost.estimate_monthly_usd:g} is more than today's MySQL and {s.cost.overrun_percent:g} %: {limit:g}"
