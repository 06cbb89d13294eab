"""Settings: every mistake at once, each with the setting's name; the files of the three environments are right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic.alias_generators import to_camel

from infra.environments import POSTURES
from infra.settings import ROOT, Settings, SettingsError, parse_settings


def project_config() -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]
    return config


def mistakes(plugin: str, **settings: object) -> dict[str, str]:
    with pytest.raises(SettingsError) as caught:
        parse_settings({"debeziumPlugin": plugin, **settings}, "dev")
    assert len(caught.value.mistakes) == str(caught.value).count("\n")
    return dict(m.split(": ", 1) for m in caught.value.mistakes)  # type: ignore[arg-type, misc]


def test_project_file_and_model_agree() -> None:
    config = project_config()
    assert set(config) == {to_camel(name) for name in Settings.model_fields}
    documented = {key: entry["default"] for key, entry in config.items() if key != "debeziumPlugin"}
    for name, field in Settings.model_fields.items():
        if name != "debezium_plugin":
            default = documented[to_camel(name)]
            assert (float(default) if isinstance(field.default, float) else default) == field.default, name
    for key, entry in config.items():
        assert entry["description"].endswith("."), f"{key} needs a sentence"


@pytest.mark.parametrize("environment", POSTURES)
def test_files_of_the_environments_are_right(environment: str, plugin: str) -> None:
    own = yaml.safe_load((ROOT / f"Pulumi.{environment}.yaml").read_text())["config"]
    given = {key.removeprefix("zdm:"): value for key, value in own.items()}
    settings = parse_settings({**given, "debeziumPlugin": plugin}, environment)
    assert settings.environment == environment
    defaults = {key: entry["default"] for key, entry in project_config().items()}
    same = [key for key, value in given.items() if defaults[key] == value and key != "environment"]
    assert not same, "a stack's file holds only what differs"


def test_every_mistake_is_listed_at_once(plugin: str) -> None:
    found = mistakes(
        plugin,
        environment="production",
        zones="1",
        auroraMinAcu="0.7",
        backupWindow="2-3",
        operatorCidrs='["8.8.8.0/24"]',
        tables="orders",
        holdMs="5000",
        kpiPauseSeconds="10",
        zoness="2",
        booleans='["orders.paid"]',
        debeziumPlugin="nowhere.zip",
    )
    assert set(found) == {
        "environment",
        "zones",
        "auroraMinAcu",
        "backupWindow",
        "operatorCidrs",
        "tables",
        "holdMs",
        "kpiAbortSeconds",
        "zoness",
        "debeziumPlugin",
    }
    assert found["zoness"].endswith("did you mean zones?")
    assert "./zdm plugin" in found["debeziumPlugin"]
    assert found["operatorCidrs"].startswith("[0] 8.8.8.0/24 is not a private network")


@pytest.mark.parametrize(
    ("settings", "setting"),
    [
        ({"environment": "prod", "zones": "3"}, "existingMysqlHost"),
        ({"existingMysqlHost": "db.internal", "existingMysqlCidr": "10.0.0.0/16"}, "existingMysqlSecret"),
        ({"existingMysqlHost": "db.internal", "existingMysqlSecret": "s"}, "existingMysqlCidr"),
        ({"existingMysqlSecret": "s"}, "existingMysqlSecret"),
        ({"auroraMinAcu": "8", "auroraMaxAcu": "4"}, "auroraMinAcu"),
        ({"auroraMaxAcu": "0.5"}, "auroraMaxAcu"),
        ({"auroraCapacity": "provisioned"}, "auroraInstanceClass"),
        ({"auroraInstanceClass": "db.r7g.large"}, "auroraInstanceClass"),
        ({"environment": "staging", "zones": "3", "auroraReaders": "0"}, "auroraReaders"),
        ({"environment": "staging"}, "kafkaBrokersPerZone"),
        ({"maintenanceWindow": "sun:02:30-sun:03:30"}, "maintenanceWindow"),
        ({"maintenanceWindow": "sat:23:30-sun:02:30"}, "maintenanceWindow"),
        ({"backupWindow": "23:30-00:30", "maintenanceWindow": "mon:00:00-mon:01:00"}, "maintenanceWindow"),
        ({"mysqlParameters": '{"gtid-mode": "OFF"}'}, "mysqlParameters"),
        ({"auroraParameters": '{"wal_sender_timeout": "1"}'}, "auroraParameters"),
        ({"auroraParameters": '{"work mem": "1"}'}, "auroraParameters"),
        ({"cdc": "running"}, "tables"),
        ({"tables": '["a", "a"]'}, "tables"),
        ({"tables": '["shop.orders"]'}, "tables"),
        ({"tables": '["a"]', "booleans": '["b.paid"]'}, "booleans"),
        ({"tables": '["a"]', "excludedColumns": '["b.x"]'}, "excludedColumns"),
        ({"tables": '["a"]', "booleans": '["a.x"]', "excludedColumns": '["a.x"]'}, "excludedColumns"),
        ({"serviceMemory": "4096"}, "serviceMemory"),
        ({"connectUnits": "3"}, "connectUnits"),
        ({"holdMs": "15000"}, "holdMs"),
        ({"kpiAbortSeconds": "25", "kpiPauseSeconds": "20"}, "kpiAbortSeconds"),
        ({"cloudflareZoneId": "abc"}, "cloudflareZoneId"),
        ({"domain": "Shop"}, "domain"),
    ],
)
def test_rules_name_the_setting(settings: dict[str, object], setting: str, plugin: str) -> None:
    assert list(mistakes(plugin, **settings)) == [setting]


def test_text_becomes_typed_values(plugin: str) -> None:
    settings = parse_settings(
        {
            "debeziumPlugin": plugin,
            "zones": "3",
            "auroraMinAcu": "1.5",
            "tables": '["a", "b"]',
            "connectUnits": "2",
            "auroraParameters": '{"work_mem": "8192"}',
            "cdc": "running",
        },
        "dev",
    )
    assert (settings.zones, settings.aurora_min_acu, settings.connect_units) == (3, 1.5, 2)
    assert settings.tables == ["a", "b"] and settings.aurora_parameters == {"work_mem": "8192"}
    assert settings.plugin_path == Path(plugin)
