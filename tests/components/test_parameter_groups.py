"""Profiles: what every phase has, what none may have, and that a phase leaves nothing behind."""

from __future__ import annotations

import re
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.base import ArgumentError
from components.parameter_groups import STATIC, ParameterGroupsArgs, apply_method
from components.parameter_profiles import (
    FIXED,
    INSTANCE_REQUIRED,
    MYSQL_REQUIRED,
    PROFILE_NAMES,
    PROFILES,
    REPORTS,
    REQUIRED,
    ProfileName,
    cluster_values,
    instance_values,
    mysql_values,
    refused,
    report_values,
)

NAMES = st.sampled_from([*FIXED, "work_mem", "random_page_cost", "autovacuum_naptime", "max_connections"])
GIVEN = st.dictionaries(NAMES, st.just("7"))


@pytest.mark.parametrize("profile", PROFILE_NAMES)
def test_every_phase_has_what_the_migration_depends_on(profile: ProfileName) -> None:
    cluster, instance = cluster_values(profile, {}), instance_values(profile, {})
    assert cluster["rds.logical_replication"] == cluster["rds.force_ssl"] == cluster["track_commit_timestamp"] == "1"
    assert cluster["wal_sender_timeout"] == "60000" and cluster["ssl_min_protocol_version"] == "TLSv1.2"
    assert "pgaudit" in cluster["shared_preload_libraries"].split(",")
    assert (cluster["session_replication_role"], cluster["synchronous_commit"]) == ("origin", "on")
    assert instance["log_min_duration_statement"] == "500"
    assert not set(cluster) & set(instance), "a value in both groups would hide the cluster's"


def test_only_the_load_stops_vacuum() -> None:
    assert {name: cluster_values(name, {})["autovacuum"] for name in PROFILE_NAMES} == {
        "load": "0",
        "cdc": "1",
        "steady": "1",
    }


@given(st.sampled_from(PROFILE_NAMES), GIVEN)
def test_settings_override_a_profile_but_nothing_that_is_fixed(profile: ProfileName, given: dict[str, str]) -> None:
    assert bool(refused(given)) == bool(set(given) & set(FIXED))
    if refused(given):
        with pytest.raises(ArgumentError, match=r"ParameterGroupsArgs\.aurora: .* cannot be set"):
            ParameterGroupsArgs("15", profile=profile, aurora=given)
        return
    ParameterGroupsArgs("15", profile=profile, aurora=given)
    cluster, instance = cluster_values(profile, given), instance_values(profile, given)
    assert not set(cluster) & set(instance)
    assert {**cluster, **instance}.items() >= given.items()


def test_phases_differ_and_share_no_forgotten_value() -> None:
    """What a phase sets and the next does not is what the change resets: it must not be a required one."""
    for one, other in permutations(PROFILE_NAMES, 2):
        gone = set(cluster_values(one, {})) - set(cluster_values(other, {}))
        assert not gone & set(REQUIRED)
    assert set(cluster_values("load", {})) - set(cluster_values("steady", {})) == {
        "maintenance_work_mem",
        "max_parallel_maintenance_workers",
    }


def test_a_static_parameter_waits_for_a_restart() -> None:
    static = {"rds.logical_replication", "track_commit_timestamp", "shared_preload_libraries", "gtid-mode"}
    assert static <= STATIC and apply_method("rds.logical_replication") == "pending-reboot"
    changing = {n for p in PROFILES.values() for n in (*p.cluster, *p.instance)}
    assert not changing & STATIC, "a change of phase must not need a restart"
    assert apply_method("work_mem") == "immediate"


def test_every_value_says_why() -> None:
    groups = [MYSQL_REQUIRED, REQUIRED, INSTANCE_REQUIRED, REPORTS]
    groups += [values for p in PROFILES.values() for values in (p.cluster, p.instance)]
    for values in groups:
        for name, item in values.items():
            assert re.fullmatch(r"[a-z][a-z0-9_.-]*", name) and item.value
            assert 10 < len(item.why) < 100, name


def test_reports_have_memory_and_the_same_connections() -> None:
    values = report_values({"max_connections": "300", "work_mem": "4096"})
    assert (values["max_connections"], values["work_mem"]) == ("300", "262144")
    assert int(values["work_mem"]) > int(instance_values("steady", {})["work_mem"])


def test_the_source_keeps_what_capture_needs() -> None:
    values = mysql_values({"long_query_time": "1"})
    assert values["binlog_format"] == "ROW" and values["gtid-mode"] == "ON" and values["long_query_time"] == "1"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mysql": {"binlog_format": "MIXED"}}, "binlog_format cannot be set: capture reads rows"),
        ({"aurora": {"session_replication_role": "replica"}}, "session_replication_role cannot be set: triggers"),
        ({"aurora": {"synchronous_commit": "off"}}, "synchronous_commit cannot be set: an acknowledged row"),
        ({"aurora": {"autovacuum": "0"}}, "autovacuum cannot be set: only the profile load"),
        ({"max_connections": 10}, r"max_connections: 50 to 262143"),
        ({"max_connections": 100, "aurora": {"max_connections": "90"}}, "not in aurora as well"),
        ({"profile": "fast"}, r"profile: load, cdc, steady, not 'fast'"),
    ],
)
def test_a_bad_argument_is_named(given: dict[str, object], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        ParameterGroupsArgs("15", **given)  # type: ignore[arg-type]
