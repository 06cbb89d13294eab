"""The lag probe against a real pipeline: what it says of a table that is late, of the data check, of what is gone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import psycopg
import pymysql
import pytest
from prometheus_client.parser import text_string_to_metric_families

from contract.control import PROBE_USER
from local.processes import wait_until
from scripts.context import context_from
from scripts.switch import bootstrap, journal
from services.lag_probe.metrics import Metrics
from services.lag_probe.probe import Probe
from services.lag_probe.settings import Settings, settings_from
from tests.switch.conftest import CAPTURE, REGION, Lab

pytestmark = pytest.mark.real

SECRETS = {side: f"zdm-dev/{side}-probe" for side in ("mysql", "aurora")}


@pytest.fixture(scope="module")
def variables(lab_session: Lab) -> dict[str, str]:
    """The probe's environment, with its accounts made by the bootstrap."""
    lab = lab_session
    passwords = {side: str(uuid.uuid4()) for side in SECRETS}
    for side, secret in SECRETS.items():
        value = json.dumps({"username": PROBE_USER, "password": passwords[side]})
        lab.secrets.create_secret(Name=secret, SecretString=value)
    watched = {
        "alertTopic": "arn:topic",
        "dashboard": "zdm-dev",
        "readyAlarm": "zdm-dev-ready-for-cutover",
        "mysqlProbeSecret": SECRETS["mysql"],
        "auroraProbeSecret": SECRETS["aurora"],
    }
    context = context_from({**lab.outputs, "observability": watched}, "test", lab.context.home)
    made = bootstrap.run(context, dry_run=False, console=lab.quiet).changes
    assert made == [
        "mysql: account zdm_probe",
        "mysql: zdm_probe may SELECT on `zdm`.`fence`",
        "mysql: zdm_probe may SELECT, UPDATE on `zdm`.`watermark`",
        "postgres: account zdm_probe",
        "postgres: zdm_probe may use schema zdm",
        "postgres: zdm_probe may SELECT on zdm.record",
    ]
    assert bootstrap.run(context, dry_run=False, console=lab.quiet).changes == []
    kafka = lab.outputs["kafka"]
    return {
        "KAFKA_BOOTSTRAP": kafka["bootstrapServers"],
        "ZDM_KAFKA_SECURITY_PROTOCOL": "PLAINTEXT",
        "TOPIC_PREFIX": CAPTURE.prefix,
        "DATABASE": "ecommerce",
        "TABLES": json.dumps(list(CAPTURE.tables)),
        "SINK_GROUP": CAPTURE.sink_group,
        "HEARTBEAT_TOPIC": CAPTURE.heartbeat_topic,
        "MYSQL_HOST": lab.outputs["source"]["host"],
        "MYSQL_PORT": "3306",
        "AURORA_HOST": lab.outputs["target"]["host"],
        "AURORA_PORT": "5432",
        **{f"{side.upper()}_USER": PROBE_USER for side in SECRETS},
        **{f"{side.upper()}_PASSWORD": passwords[side] for side in SECRETS},
        "AWS_REGION": REGION,
    }


@pytest.fixture
def settings(variables: dict[str, str]) -> Settings:
    return settings_from(variables)


class Watcher:
    """A probe in this process, and what it says."""

    def __init__(self, settings: Settings) -> None:
        self.metrics, self.lines = Metrics(), list[str]()
        self.probe = Probe(settings, self.metrics, say=self.lines.append)

    def look(self) -> dict[tuple[str, str], float]:
        """One sample; figures by name and first label."""
        self.probe.sample()
        found = text_string_to_metric_families(self.metrics.text().decode())
        return {
            (s.name, next(iter(s.labels.values()), "")): s.value for f in found for s in f.samples if "zdm_" in s.name
        }


@pytest.fixture
def watcher(settings: Settings) -> Iterator[Watcher]:
    made = Watcher(settings)
    yield made
    made.probe.close()


LAG, WAITING = "zdm_cdc_lag_seconds", "zdm_cdc_consumer_lag_records"


def test_a_table_that_is_late(lab: Lab, watcher: Watcher) -> None:
    beat = ("zdm_cdc_heartbeat_age_seconds", "source")
    wait_until(lambda: beat in watcher.look(), 20, "a heartbeat")
    now = watcher.look()
    assert now[LAG, "customers"] < 2 > now[LAG, "orders"]
    assert 0 <= now[beat] < 10
    lab.sink("pause")
    try:
        lab.mysql("UPDATE customers SET n = n + 1 WHERE id = 1")
        wait_until(lambda: watcher.look()[LAG, "customers"] > 2, 20, "the lag")
        late = watcher.look()
        assert late[LAG, "customers"] > late[LAG, "orders"] < 2
        assert json.loads(watcher.lines[-1])["lagSeconds"] == pytest.approx(late[LAG, "customers"], abs=0.01)
    finally:
        lab.sink("resume")
    wait_until(lambda: watcher.look()[LAG, "customers"] < 2, 20, "the sink to catch up")


def test_the_last_data_check_and_slots(lab: Lab, watcher: Watcher) -> None:
    seen = watcher.look()
    assert seen["zdm_data_check_mismatches", "data-check"] == 0
    assert time.time() - seen["zdm_data_check_timestamp_seconds", "data-check"] < 300
    with lab.context.postgres() as pg:
        journal.store(pg, journal.DATA_CHECK, False, {"mismatches": 3})
    assert watcher.look()["zdm_data_check_mismatches", "data-check"] == 3
    assert json.loads(watcher.lines[-1])["mismatches"] == 3
    with lab.context.postgres() as pg:
        journal.store(pg, journal.DATA_CHECK, False, {"mismatches": 0, "error": "it could not be compared"})
    unknown = watcher.look()
    assert ("zdm_data_check_mismatches", "data-check") not in unknown and "mismatches" not in watcher.lines[-1]


def test_what_cannot_be_measured_is_not_said(lab: Lab, settings: Settings, watcher: Watcher) -> None:
    assert (LAG, "orders") in watcher.look()
    gone = replace(settings.mysql, password="wrong")
    for part, other in (
        ("mysql", replace(settings, mysql=gone)),
        ("kafka", replace(settings, bootstrap="127.0.0.1:9", sink_group="x")),
        ("aurora", replace(settings, aurora=replace(settings.aurora, password="wrong"))),
    ):
        without = Watcher(other)
        seen = without.look()
        without.probe.close()
        assert seen["zdm_probe_failures_total", part] == 1, part
        assert ((LAG, "orders") in seen) is (part == "aurora")
        assert (("zdm_data_check_mismatches", "data-check") in seen) is (part != "aurora")


def test_a_fenced_source_is_not_late(lab: Lab, watcher: Watcher) -> None:
    watcher.look()
    lab.mysql("SET GLOBAL super_read_only = ON")
    seen = watcher.look()
    assert seen[LAG, "orders"] == 0 and seen["zdm_probe_failures_total", "mysql"] == 0


def test_it_may_do_no_more_than_it_must(settings: Settings) -> None:
    with (
        pymysql.connect(
            host=settings.mysql.host, user=PROBE_USER, password=settings.mysql.password, ssl={"check_hostname": False}
        ) as my,
        my.cursor() as cursor,
    ):
        for statement in (
            "SELECT * FROM ecommerce.customers",
            "DELETE FROM zdm.watermark",
            "UPDATE zdm.fence SET v = 9",
        ):
            with pytest.raises(pymysql.err.MySQLError):
                cursor.execute(statement)
    aurora = settings.aurora
    with psycopg.connect(
        host=aurora.host,
        user=PROBE_USER,
        password=aurora.password,
        dbname="ecommerce",
        sslmode="require",
        autocommit=True,
    ) as pg:
        for statement in ("SELECT * FROM customers", "DELETE FROM zdm.record", "UPDATE zdm.fence SET v = 9"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                pg.execute(statement)


def test_the_process(lab: Lab, variables: dict[str, str]) -> None:
    bind = f"{lab.stack.address('ecs-probe')}:9464"
    url = "https://mysql-api.example"
    process = subprocess.Popen(
        [sys.executable, "-m", "services.lag_probe"],
        env={
            **os.environ,
            **variables,
            "ZDM_BIND": bind,
            "INTERVAL": "0.5",
            "ECS_CLUSTER": "services",
            "ECS_SERVICES": json.dumps({"mysql-api": ["mysql-api-1", 8080, url]}),
            "ZDM_CONNECT_TO": json.dumps({url: "http://127.0.0.9:8080"}),
        },
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:

        def get(path: str) -> httpx.Response | None:
            try:
                return httpx.get(f"http://{bind}{path}", timeout=5)
            except httpx.TransportError:
                return None

        def measures() -> bool:
            answer = get("/metrics")
            return answer is not None and 'zdm_cdc_lag_seconds{table="orders"}' in answer.text

        wait_until(measures, 20, "the first sample")
        healthy, targets = get("/healthz"), get("/targets")
        assert healthy is not None and healthy.status_code == 200
        assert targets is not None
        assert targets.json() == [{"targets": ["127.0.0.9:8080"], "labels": {"service": "mysql-api"}}]
    finally:
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "lagSeconds" in json.loads(out.splitlines()[-1])


def test_settings_that_do_not_fit_are_all_named(variables: dict[str, str]) -> None:
    from services.lag_probe.settings import SettingsError

    with pytest.raises(SettingsError) as failed:
        settings_from({**variables, "TABLES": "orders", "MYSQL_PORT": "x", "SINK_GROUP": "", "INTERVAL": "0"})
    for name in ("TABLES", "MYSQL_PORT", "SINK_GROUP", "INTERVAL"):
        assert name in str(failed.value)
