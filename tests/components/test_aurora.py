"""Aurora's arguments: what Aurora would refuse, or what would lose a database, is refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.aurora import AuroraArgs, restoring
from components.aurora_options import (
    Major,
    Pinned,
    Provisioned,
    ReaderScaling,
    Reports,
    Serverless,
    upgrades,
    version_policy,
)
from components.aurora_proxy import SESSION, AuroraProxyArgs, Pool, secrets_policy
from components.base import ArgumentError
from components.credentials import CredentialArgs, Login, Rotation, secret_value
from components.database_masters import ManagedMaster, OwnMaster
from components.database_monitoring import Monitoring
from components.database_restore import FromPointInTime, FromSnapshot, frozen_by
from components.databases import Account, DatabaseServer, Placement
from components.network import Endpoint
from components.source_mysql import SourceMySQLArgs
from components.source_mysql import restoring as restoring_mysql
from services.origin.postgres import _SESSION
from tests.policy_lint import assert_sound

LAMBDA = "arn:aws:lambda:ap-southeast-1:123456789012:function:rotate"
PLACE = Placement("vpc", ["a", "b"], "arn:data", "arn:secrets", account_id="123456789012", logs_key_arn="arn:logs")
LARGE = Provisioned("db.r7g.large")


def aurora(**given: Any) -> AuroraArgs:
    base: dict[str, Any] = {
        "server": DatabaseServer("ecommerce", PLACE),
        "cluster_parameter_group": "c",
        "instance_parameter_group": "i",
        "capacity": Serverless(),
        "version": Major(),
    }
    return AuroraArgs(**{**base, **given})


def proxy(**given: Any) -> AuroraProxyArgs:
    base: dict[str, Any] = {
        "account_id": "123456789012",
        "vpc_id": "vpc",
        "subnet_ids": ["a", "b"],
        "secrets_key_arn": "arn:k",
        "cluster_identifier": "c",
        "cluster": Endpoint("host", 5432, security_group_id="sg"),
        "accounts": [Account("app", "arn:s")],
    }
    return AuroraProxyArgs(**{**base, **given})


def credential(**given: Any) -> CredentialArgs:
    return CredentialArgs("name", "user", "arn:k", "what for", **given)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: aurora(readers=16), r"AuroraArgs\.readers: 0 to 15"),
        (lambda: aurora(readers=15, reports=Reports("r")), r"AuroraArgs\.readers: 0 to 14"),
        (lambda: aurora(readers=0, scaling=ReaderScaling(3)), r"AuroraArgs\.scaling: needs a reader"),
        (lambda: aurora(readers=2, reports=Reports("r"), scaling=ReaderScaling(3)), r"above the 3 that are always"),
        (lambda: aurora(certificate_authority="rds-ca-2019"), r"AuroraArgs\.certificate_authority"),
        (lambda: aurora(activity_stream="async"), r"AuroraArgs\.activity_stream: needs Provisioned"),
        (lambda: aurora(activity_stream="sync", capacity=Provisioned("db.t4g.medium")), r"not burstable"),
        (lambda: Serverless(min_acu=0), r"Serverless\.min_acu"),
        (lambda: Provisioned("r7g.large"), r"Provisioned\.instance_class"),
        (lambda: Pinned("15"), r"Pinned\.version"),
        (lambda: Pinned("14.9"), r"Pinned\.version"),
        (lambda: Major("15.4"), r"Major\.version"),
        (lambda: ReaderScaling(16), r"ReaderScaling\.max_readers"),
        (lambda: ReaderScaling(3, target=101), r"ReaderScaling\.target"),
        (lambda: ReaderScaling(3, metric="memory"), r"ReaderScaling\.metric"),  # type: ignore[arg-type]
        (lambda: Reports("r", readers=0), r"Reports\.readers"),
        (lambda: Reports("r", instance_class="large"), r"Reports\.instance_class"),
        (lambda: Monitoring(insights="all"), r"Monitoring\.insights"),  # type: ignore[arg-type]
        (lambda: Monitoring(seconds=20), r"Monitoring\.seconds"),
        (lambda: Monitoring(log_days=8), r"Monitoring\.log_days"),
        (lambda: ManagedMaster(rotation_days=0), r"ManagedMaster\.rotation_days"),
        (lambda: OwnMaster(""), r"OwnMaster\.secret_name"),
        (lambda: OwnMaster("s", recovery_days=3), r"OwnMaster\.recovery_days"),
        (lambda: Rotation("rotate"), r"Rotation\.lambda_arn"),
        (lambda: Rotation(LAMBDA, days=1001), r"Rotation\.days"),
        (lambda: credential(rotation=Rotation(LAMBDA)), r"CredentialArgs\.login: needed with rotation"),
        (lambda: Login("aurora", "h", 1, "d"), r"Login\.engine"),
        (lambda: FromSnapshot("-x"), r"FromSnapshot\.identifier"),
        (lambda: FromPointInTime("Prod"), r"FromPointInTime\.source"),
        (lambda: FromPointInTime("prod", "yesterday"), r"FromPointInTime\.at"),
        (lambda: Pool(idle_percent=90), r"Pool\.idle_percent"),
        (lambda: Pool(max_percent=0), r"Pool\.max_percent"),
        (lambda: proxy(accounts=[]), r"AuroraProxyArgs\.accounts"),
        (lambda: proxy(cluster=Endpoint("h", 5432, cidr="10.0.0.0/8")), r"AuroraProxyArgs\.cluster"),
        (
            lambda: SourceMySQLArgs(DatabaseServer("e", PLACE), "g", version="5.7", storage_gib=5),
            r"SourceMySQLArgs\.version.*SourceMySQLArgs\.storage_gib",
        ),
        (lambda: SourceMySQLArgs(DatabaseServer("e", PLACE), "g", instance_class="db.t4g.small"), r"Insights"),
        (lambda: Placement("v", ["a"], "k", "k", account_id="1", logs_key_arn="k"), r"Placement\.subnet_ids"),
    ],
)
def test_a_bad_argument_is_named(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        make()


def test_what_goes_together() -> None:
    aurora(readers=1, reports=Reports("r"), scaling=ReaderScaling(3, "connections", 400), capacity=LARGE)
    aurora(activity_stream="async", capacity=LARGE)
    aurora(readers=0)


@given(st.integers(15, 40), st.none() | st.integers(0, 30))
def test_a_version_pins_what_it_names(major: int, minor: int | None) -> None:
    text = str(major) if minor is None else f"{major}.{minor}"
    policy = version_policy(text)
    assert policy.version == text and isinstance(policy, Major) == (minor is None)
    assert not upgrades(policy), "no version moves by itself unless Major says so"


UNITS = st.integers(-2, 520).map(lambda halves: halves / 2) | st.floats(-1, 300)


@given(UNITS, UNITS)
def test_capacity_is_in_bounds_and_half_steps(least: float, most: float) -> None:
    good = 0.5 <= least <= most <= 256 and most >= 1 and (least * 2).is_integer() and (most * 2).is_integer()
    try:
        Serverless(least, most)
    except ArgumentError:
        assert not good
    else:
        assert good


def test_a_restore_is_one_choice_and_looked_at_once() -> None:
    assert restoring(None) == {} and restoring_mysql(None) == {}
    assert restoring(FromSnapshot("prod-2026")) == {"snapshot_identifier": "prod-2026"}
    moment = restoring(FromPointInTime("prod", "2026-01-31T10:00:00Z"))["restore_to_point_in_time"]
    assert (moment.restore_to_time, moment.use_latest_restorable_time) == ("2026-01-31T10:00:00Z", None)
    newest = restoring_mysql(FromPointInTime("prod"))["restore_to_point_in_time"]
    assert (newest.restore_time, newest.use_latest_restorable_time) == (None, True)

    choice = {"snapshotIdentifier", "restoreToPointInTime"}
    assert set(frozen_by(None, ["databaseName"])) == choice, "taking a restore away must not replace the database"
    assert set(frozen_by(FromSnapshot("s"), ["databaseName"])) == {*choice, "databaseName"}
    assert frozen_by(FromSnapshot("s", renew=True), ["databaseName"]) == ["databaseName"]


def test_a_secret_has_what_a_rotation_needs() -> None:
    assert json.loads(secret_value("u", "p")) == {"username": "u", "password": "p"}
    assert json.loads(secret_value("u", "p", Login("postgres", "ignored", 5432, "d"), "h")) == {
        "username": "u",
        "password": "p",
        "engine": "postgres",
        "host": "h",
        "port": 5432,
        "dbname": "d",
    }


def test_the_proxys_sessions_are_those_of_the_shop() -> None:
    assert SESSION == _SESSION
    assert Pool().init_query.startswith("SET timezone = 'UTC'; SET default_transaction_isolation = 'read committed'; ")


def test_the_proxy_reads_its_accounts_and_nothing_else() -> None:
    arn = "arn:aws:secretsmanager:ap-southeast-1:123456789012:secret:zdm-dev/app-Ab12Cd"
    key = "arn:aws:kms:ap-southeast-1:123456789012:key/0a1b2c3d-0000-0000-0000-000000000000"
    policy = secrets_policy([arn], key)
    assert_sound(policy)
    assert {r for s in json.loads(policy)["Statement"] for r in s["Resource"]} == {arn, key}
