"""Settings: every mistake at once, each with the setting's name; the files of the three environments are right."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.environments import DEFAULTS, POSTURES, PROD, SIZES, STAGING, STAGING_SCALE
from infra.groups import Group, setting_name
from infra.settings import ROOT, Settings, SettingsError, parse_settings
from tests.infra.conftest import nested


def project_config() -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]
    return config


def mistakes(plugin: str, **settings: object) -> dict[str, str]:
    with pytest.raises(SettingsError) as caught:
        parse_settings(nested(**{"cdc.plugin": plugin, **settings}), "dev")
    assert len(caught.value.mistakes) == str(caught.value).count("\n")
    return dict(m.split(": ", 1) for m in caught.value.mistakes)  # type: ignore[arg-type, misc]


def test_project_file_and_model_agree() -> None:
    config = project_config()
    assert list(config) == [setting_name(name) for name in Settings.model_fields]
    for name, field in Settings.model_fields.items():
        entry = config[setting_name(name)]
        if isinstance(field.annotation, type) and issubclass(field.annotation, Group):
            sentence = (field.annotation.__doc__ or "").splitlines()[0]
            assert entry == {"type": "object", "default": {}, "description": sentence}, name
        else:
            kind = "boolean" if isinstance(field.default, bool) else "string"
            text = " ".join((field.description or "").split())
            assert entry == {"type": kind, "default": field.default, "description": text}, name


def given_in(environment: str) -> dict[str, Any]:
    own = yaml.safe_load((ROOT / f"Pulumi.{environment}.yaml").read_text())["config"]
    return {key.removeprefix("zdm:"): value for key, value in own.items()}


@pytest.mark.parametrize("environment", POSTURES)
def test_files_of_the_environments_hold_only_what_differs(environment: str, plugin: str) -> None:
    given = given_in(environment)
    chosen = parse_settings({**given, "cdc": {**given.get("cdc", {}), "plugin": plugin}}, environment)
    assert chosen.environment == environment
    for path, value in leaves(given):
        group, _, name = path.rpartition(".")
        without = nested(**{p: v for p, v in leaves(given) if p != path}, **{"cdc.plugin": plugin})
        try:
            usual = parse_settings(without, environment)
        except SettingsError:
            continue  # the setting must be given
        for part in filter(None, group.split(".")):
            usual = getattr(usual, part)
        assert path == "environment" or usual.model_dump(by_alias=True)[name] != value, path


def leaves(settings: dict[str, Any], path: str = "") -> list[tuple[str, Any]]:
    found = []
    for name, value in settings.items():
        found += leaves(value, f"{path}{name}.") if isinstance(value, dict) else [(path + name, value)]
    return found


@pytest.mark.parametrize("environment", POSTURES)
def test_defaults_of_the_environments_are_settings(environment: str) -> None:
    for group, values in DEFAULTS[environment].items():
        kind = Settings.model_fields[group].annotation
        assert kind and set(values) <= set(kind.model_fields), group
    for group, names in SIZES.items():
        assert set(names) <= set(PROD[group]), group


def test_staging_is_production_at_the_stated_scale(plugin: str) -> None:
    def settings(environment: str) -> Settings:
        given = {**given_in(environment), "cdc": {"plugin": plugin}}
        return parse_settings(given, environment)

    staging, prod = settings("staging"), settings("prod")
    assert staging.aurora.max_acu == prod.aurora.max_acu * STAGING_SCALE
    assert staging.service.count == math.ceil(prod.service.count * STAGING_SCALE)
    sized = {(group, name) for group, names in SIZES.items() for name in names}
    stated = {(group, name) for group, values in STAGING.items() for name in values}
    for group, values in PROD.items():
        for name in values:
            if (group, name) not in sized | stated:
                assert getattr(getattr(staging, group), name) == getattr(getattr(prod, group), name), (group, name)


EXISTING = {
    "source.existing.host": "db.internal",
    "source.existing.cidr": "10.0.0.0/16",
    "source.existing.secret": "s",
}
FILES = {"dms.authority": "README.md", "dms.tablesFile": "README.md"}
SMALL = {"sizing.dataGib": "1", "sizing.changeGibPerDay": "1"}


def test_every_mistake_is_listed_at_once(plugin: str) -> None:
    wrong = {
        "environment": "production",
        "network.zones": "1",
        "network.operatorCidrs": '["8.8.8.0/24"]',
        "aurora.minAcu": "0.7",
        "aurora.reeders": "2",
        "backups.window": "2-3",
        "cdc.tables": "orders",
        "cdc.booleans": '["orders.paid"]',
        "cdc.plugin": "nowhere.zip",
        "kafka.volumeGib": "many",
        "zoness": "2",
        "router.holdMs": "5000",
        "kpis.pauseSeconds": "10",
    }
    found = mistakes(plugin, **wrong)
    assert set(found) == {*wrong, "kpis.abortSeconds"} - {"kpis.pauseSeconds", "cdc.booleans"}
    assert found["aurora.reeders"].endswith("did you mean aurora.readers?")
    assert "./zdm plugin" in found["cdc.plugin"]
    assert found["network.operatorCidrs"].startswith("[0] 8.8.8.0/24 is not a private network")


@pytest.mark.parametrize(
    ("settings", "setting"),
    [
        ({"environment": "prod", "source.binlogHours": "168", "sizing.rollbackHours": "72"}, "source.existing.host"),
        ({"source.existing.host": "db.internal", "source.existing.cidr": "10.0.0.0/16"}, "source.existing.secret"),
        ({"source.existing.host": "db.internal", "source.existing.secret": "s"}, "source.existing.cidr"),
        ({"source.existing.secret": "s"}, "source.existing.secret"),
        ({"aurora.minAcu": "8", "aurora.maxAcu": "4"}, "aurora.minAcu"),
        ({"aurora.maxAcu": "0.5"}, "aurora.maxAcu"),
        ({"aurora.capacity": "provisioned"}, "aurora.instanceClass"),
        ({"aurora.instanceClass": "db.r7g.large"}, "aurora.instanceClass"),
        ({"environment": "staging", "aurora.readers": "0", "aurora.maxReaders": "0"}, "aurora.readers"),
        (
            {**SMALL, "environment": "staging", "network.zones": "2", "kafka.brokersPerZone": "1"},
            "kafka.brokersPerZone",
        ),
        ({"backups.maintenance": "sun:02:30-sun:03:30"}, "backups.maintenance"),
        ({"backups.maintenance": "sat:23:30-sun:02:30"}, "backups.maintenance"),
        ({"backups.window": "23:30-00:30", "backups.maintenance": "mon:00:00-mon:01:00"}, "backups.maintenance"),
        ({"source.parameters": '{"gtid-mode": "OFF"}'}, "source.parameters"),
        ({"aurora.parameters": '{"wal_sender_timeout": "1"}'}, "aurora.parameters"),
        ({"aurora.parameters": '{"work mem": "1"}'}, "aurora.parameters"),
        ({"cdc.state": "running"}, "cdc.tables"),
        ({"cdc.state": "capturing"}, "cdc.tables"),
        ({"cdc.state": "capturing", "cdc.tables": '["a"]', "cdc.copy": "debezium"}, "cdc.state"),
        ({"cdc.state": "capturing", "cdc.reverse": "running", "cdc.tables": '["a"]'}, "cdc.reverse"),
        ({"kafka.enabled": "false", "cdc.state": "capturing", "cdc.tables": '["a"]'}, "kafka.enabled"),
        ({"cdc.copy": "dms"}, "cdc.copy"),
        ({"cdc.copy": "pgloader"}, "cdc.copy"),
        ({"cdc.tables": '["a"]', "cdc.intervals": '["b.took"]'}, "cdc.intervals"),
        ({"cdc.tables": '["a"]', "cdc.intervals": '["a.x"]', "cdc.excludedColumns": '["a.x"]'}, "cdc.excludedColumns"),
        ({"cdc.tables": '["a", "a"]'}, "cdc.tables"),
        ({"cdc.tables": '["shop.orders"]'}, "cdc.tables"),
        ({"cdc.tables": '["a"]', "cdc.booleans": '["b.paid"]'}, "cdc.booleans"),
        ({"cdc.tables": '["a"]', "cdc.excludedColumns": '["b.x"]'}, "cdc.excludedColumns"),
        ({"cdc.tables": '["a"]', "cdc.booleans": '["a.x"]', "cdc.excludedColumns": '["a.x"]'}, "cdc.excludedColumns"),
        ({"service.memory": "4096"}, "service.memory"),
        ({"cdc.sourceUnits": "3"}, "cdc.sourceUnits"),
        ({"router.holdMs": "15000"}, "router.holdMs"),
        ({"kpis.abortSeconds": "25", "kpis.pauseSeconds": "20"}, "kpis.abortSeconds"),
        ({"source.binlogHours": "24"}, "source.binlogHours"),
        ({"source.binlogHours": "200"}, "source.binlogHours"),
        ({"sizing.dataGib": "200", "cdc.copy": "debezium"}, "kafka.volumeGib"),
        ({"sizing.dataGib": "5000", "kafka.volumeGib": "2000"}, "kafka.retentionHours"),
        ({"kafka.retentionHours": "24"}, "kafka.retentionHours"),
        ({"kafka.growToGib": "10"}, "kafka.growToGib"),
        ({"kafka.throughputMib": "10"}, "kafka.throughputMib"),
        ({"kafka.logArchive": "true"}, "kafka.logArchive"),
        ({"kafka.enabled": "false", "cdc.state": "running", "cdc.tables": '["a"]'}, "kafka.enabled"),
        ({"cdc.state": "running", "cdc.reverse": "running", "cdc.tables": '["a"]'}, "cdc.reverse"),
        ({"cdc.sinkWorkersMost": "1"}, "cdc.sinkWorkersMost"),
        ({"source.restoreSnapshot": "a", **EXISTING}, "source.restoreSnapshot"),
        ({"source.existing.serverIds": '["i-0123456789abcdef0"]'}, "source.existing.serverIds"),
        ({"aurora.maxReaders": "1"}, "aurora.maxReaders"),
        ({"aurora.readers": "15", "aurora.reportReaders": "1"}, "aurora.maxReaders"),
        ({"aurora.activityStream": "async"}, "aurora.activityStream"),
        ({"aurora.restoreFrom": "a", "aurora.restoreSnapshot": "b"}, "aurora.restoreFrom"),
        ({"aurora.restoreAt": "2026-01-31T10:00:00Z"}, "aurora.restoreFrom"),
        ({"backups.window": "02:00-02:30"}, "backups.window"),
        ({"backups.vault": "true", "backups.maintenance": "sun:03:30-sun:04:30"}, "backups.maintenance"),
        ({"backups.copyRegion": "ap-southeast-3"}, "backups.copyRegion"),
        ({"backups.vault": "true", "backups.copyRegion": "ap-southeast-1"}, "backups.copyRegion"),
        ({"backups.accountVault": "arn:aws:backup:eu-west-1:1:backup-vault:a"}, "backups.accountVault"),
        ({"backups.lock": "governance"}, "backups.lock"),
        ({"backups.restoreTests": "true"}, "backups.restoreTests"),
        ({"archive.deepDays": "100"}, "archive.deepDays"),
        ({"archive.expireDays": "200"}, "archive.deepDays"),
        ({"archive.lock": "compliance"}, "archive.lock"),
        ({"dms.running": "true"}, "dms.running"),
        ({"dms.enabled": "true", **FILES}, "dms.enabled"),
        ({"dms.enabled": "true", "account.owner": "true", "dms.authority": "README.md"}, "dms.tablesFile"),
        ({"dms.enabled": "true", "account.owner": "true", "dms.tablesFile": "README.md"}, "dms.authority"),
        ({"dms.wayBack": "true", "dms.capacity": "serverless"}, "dms.wayBack"),
        ({"dms.minUnits": "8"}, "dms.maxUnits"),
        ({"dms.lobs": "limited"}, "dms.largestLobKb"),
        ({"dms.validation": "running"}, "dms.validation"),
        ({"service.count": "3", "service.maxCount": "2"}, "service.maxCount"),
        ({"kpis.throughputPerSecond": "500"}, "service.count"),
        ({"service.active": "standby"}, "service.standbyImage"),
        ({"router.operatorNetworks": '["203.0.113.0/24"]'}, "router.operatorNetworks"),
        ({"account.owner": "true", "account.stack": "organization/zdm/prod"}, "account.stack"),
        ({"account.repository": "o/r", "account.stateBucket": "state"}, "account.stateBucket"),
        ({"security.accessLogs": "true"}, "security.accessLogs"),
        ({"observability.slackTeam": "T0ABC1DEF"}, "observability.slackChannel"),
        ({"cost.estimateMonthlyUsd": "9000"}, "cost.estimateMonthlyUsd"),
        ({"router.zoneId": "abc"}, "router.zoneId"),
        ({"router.domain": "Shop"}, "router.domain"),
    ],
)
def test_rules_name_the_setting(settings: dict[str, object], setting: str, plugin: str) -> None:
    assert list(mistakes(plugin, **settings)) == [setting]


def test_text_becomes_typed_values(plugin: str) -> None:
    settings = parse_settings(
        nested(
            **{
                "cdc.plugin": plugin,
                "network.zones": "3",
                "aurora.minAcu": "1.5",
                "cdc.tables": '["a", "b"]',
                "cdc.sourceUnits": "2",
                "aurora.parameters": '{"work_mem": "8192"}',
                "cdc.state": "running",
            }
        ),
        "dev",
    )
    assert (settings.network.zones, settings.aurora.min_acu, settings.cdc.source_units) == (3, 1.5, 2)
    assert settings.cdc.tables == ["a", "b"] and settings.aurora.parameters == {"work_mem": "8192"}
    assert settings.plugin_path == Path(plugin)
