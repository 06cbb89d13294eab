"""The values of the databases' parameter groups, each with its reason. Pure data and the functions that merge it.

A migration has three phases, and Aurora one profile for each: `load` (bulk copy into empty tables), `cdc` (the sink
follows the source), `steady` (the shop lives here). A profile names only what differs from Aurora's defaults, so going
from one to the next sets what is new and resets what is gone, in place. What the migration depends on is in all three
and cannot be overridden.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

ProfileName = Literal["load", "cdc", "steady"]
PROFILE_NAMES: tuple[ProfileName, ...] = get_args(ProfileName)


@dataclass(frozen=True)
class Value:
    """A parameter's value, as RDS writes it, and why."""

    value: str
    """Text; numbers in the parameter's own unit (kB for memory, ms for most times), or a formula of RDS."""
    why: str
    """One sentence for whoever reads the group later."""


Values = Mapping[str, Value]


@dataclass(frozen=True)
class Profile:
    """What one phase adds to the required values."""

    why: str
    """The phase that it is for."""
    cluster: Values = field(default_factory=dict)
    """In the cluster's group: the same for every instance."""
    instance: Values = field(default_factory=dict)
    """In the instances' group, which wins: what another workload has differently."""


MYSQL_REQUIRED: Values = {
    "binlog_format": Value("ROW", "capture reads rows, not statements"),
    "binlog_row_image": Value("full", "an update must carry all columns, or the sink cannot write the row"),
    "binlog_row_metadata": Value("full", "column names and signedness in the log itself"),
    "gtid-mode": Value("ON", "a position that survives a failover, and that the cutover waits for"),
    "enforce_gtid_consistency": Value("ON", "gtid-mode asks for it"),
    "require_secure_transport": Value("ON", "no connection without TLS"),
}

REQUIRED: Values = {
    "rds.logical_replication": Value("1", "the way back reads Aurora's log; static, so on from the first day"),
    "track_commit_timestamp": Value("1", "when a row was written decides which side is newer; static"),
    "wal_sender_timeout": Value("60000", "a reader of the log that is silent for 60 s is dropped"),
    "rds.force_ssl": Value("1", "no connection without TLS"),
    "ssl_min_protocol_version": Value("TLSv1.2", "PCI-DSS allows nothing older"),
    "shared_preload_libraries": Value("pg_stat_statements,pgaudit", "statistics of statements and the audit; static"),
    "pgaudit.log": Value("ddl,role", "every change of schema and of rights is in the log"),
    "pgaudit.role": Value("rds_pgaudit", "access to a table is audited once this role has been granted it"),
    "log_connections": Value("1", "who came in is part of the audit"),
    "log_disconnections": Value("1", "and who left"),
    "session_replication_role": Value("origin", "triggers and foreign keys hold; a loader lifts them in its session"),
    "synchronous_commit": Value("on", "an acknowledged row survives a crash: offsets are advanced on that promise"),
}
"""In the cluster's group, in every profile."""

INSTANCE_REQUIRED: Values = {
    "log_min_duration_statement": Value("500", "statements that take half a second are logged"),
}
"""In the instances' group, in every profile."""

_VACUUM: Values = {
    "autovacuum": Value("1", "back on after the load"),
    "autovacuum_vacuum_scale_factor": Value("0.05", "at 5 % dead rows, not 10: tables are large and upserts many"),
    "autovacuum_analyze_scale_factor": Value("0.02", "plans follow tables that grow every day"),
    "log_lock_waits": Value("1", "a sink that waits for the shop, or the other way round, shows in the log"),
}

PROFILES: Mapping[ProfileName, Profile] = {
    "load": Profile(
        "bulk copy into empty tables, then their indexes; nobody else is there",
        cluster={
            "autovacuum": Value("0", "it would read what COPY has just written; wraparound is still prevented"),
            "maintenance_work_mem": Value(
                "GREATEST({DBInstanceClassMemory/16384},65536)", "a sixteenth of the memory (kB) sorts for an index"
            ),
            "max_parallel_maintenance_workers": Value("4", "workers that build one index together"),
        },
    ),
    "cdc": Profile(
        "the sink upserts all day while checks read whole tables",
        cluster=_VACUUM,
        instance={"work_mem": Value("16384", "16 MB (kB): the checks' sorts and hashes stay in memory")},
    ),
    "steady": Profile(
        "the shop reads and writes here",
        cluster={
            **_VACUUM,
            "idle_in_transaction_session_timeout": Value("300000", "a forgotten transaction holds back vacuum: 5 min"),
            "pg_stat_statements.track": Value("all", "statements inside functions are counted too"),
            "track_io_timing": Value("1", "plans show the time spent on storage"),
            "log_temp_files": Value("65536", "sorts that spill more than 64 MB (kB) are logged"),
        },
        instance={"work_mem": Value("16384", "16 MB (kB) for each sort or hash of the shop's short statements")},
    ),
}

REPORTS: Values = {
    "work_mem": Value("262144", "256 MB (kB): few sessions, large sorts and hashes"),
    "max_parallel_workers_per_gather": Value("4", "a scan of a large table is shared"),
    "statement_timeout": Value("1800000", "a forgotten report ends after 30 min"),
}
"""The instances that only serve reports, instead of a profile's instance values."""

FIXED: Mapping[str, str] = {
    **{name: item.why for name, item in {**REQUIRED, **INSTANCE_REQUIRED}.items()},
    "autovacuum": "only the profile load turns it off",
    "fsync": "storage of Aurora has no such choice",
    "full_page_writes": "storage of Aurora has no such choice",
}
"""What settings cannot give, and why."""


def refused(given: Mapping[str, str]) -> list[str]:
    """A sentence for each parameter of Aurora that must not be given."""
    return [f"{name} cannot be set: {FIXED[name]}" for name in sorted(set(given) & set(FIXED))]


def mysql_refused(given: Mapping[str, str]) -> list[str]:
    """A sentence for each parameter of the source that must not be given."""
    return [f"{name} cannot be set: {MYSQL_REQUIRED[name].why}" for name in sorted(set(given) & set(MYSQL_REQUIRED))]


def mysql_values(given: Mapping[str, str]) -> dict[str, str]:
    """The source's group."""
    return {**given, **_plain(MYSQL_REQUIRED)}


def cluster_values(profile: ProfileName, given: Mapping[str, str]) -> dict[str, str]:
    """Aurora's cluster group. `given` overrides the profile; what belongs to instances is left to their groups."""
    own = {name: value for name, value in given.items() if name not in _OF_INSTANCES}
    return {**_plain(PROFILES[profile].cluster), **own, **_plain(REQUIRED)}


def instance_values(profile: ProfileName, given: Mapping[str, str]) -> dict[str, str]:
    """The group of the writer and of the shop's readers."""
    own = {name: value for name, value in given.items() if name in _OF_INSTANCES}
    return {**_plain(PROFILES[profile].instance), **own, **_plain(INSTANCE_REQUIRED)}


def report_values(given: Mapping[str, str]) -> dict[str, str]:
    """The group of the readers for reports; `max_connections` is the same for all instances."""
    own = {name: value for name, value in given.items() if name == "max_connections"}
    return {**own, **_plain(REPORTS), **_plain(INSTANCE_REQUIRED)}


_OF_INSTANCES = frozenset({"max_connections", *REPORTS, *(name for p in PROFILES.values() for name in p.instance)})


def _plain(values: Values) -> dict[str, str]:
    return {name: item.value for name, item in values.items()}
