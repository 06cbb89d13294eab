"""What the provider knows by heart: validation, names and differences by the facts, values, records, the password."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import pytest

from local.provider import facts, invokes, registry
from local.provider.handler import HandlerError
from local.provider.settings import ProviderSettings, SettingsError
from local.provider.values import DEFAULTS, UNKNOWN, Asset, at_path, to_plain, to_properties
from local.records import Records

CLUSTER = "aws:rds/cluster:Cluster"
GROUP = "aws:rds/parameterGroup:ParameterGroup"
BALANCER = "aws:lb/loadBalancer:LoadBalancer"
ROUTE = "aws:ec2/route:Route"
BUCKET = "aws:s3/bucket:Bucket"
CONNECTOR = "aws:mskconnect/connector:Connector"


def failures(token: str, inputs: dict[str, Any]) -> dict[str, str]:
    return {f.property: f.reason for f in facts.check(token, inputs)}


@pytest.mark.parametrize(
    "token, inputs, where, why",
    [
        (CLUSTER, {}, "engine", "missing required"),
        (CLUSTER, {"engine": "oracle"}, "engine", "expected one of"),
        (CLUSTER, {"engine": "aurora-postgresql", "backupRetentionPeriod": 36}, "backupRetentionPeriod", "at most 35"),
        (CLUSTER, {"engine": "aurora-postgresql", "clusterIdentifier": "Shop"}, "clusterIdentifier", "lower-case"),
        (
            CLUSTER,
            {"engine": "aurora-postgresql", "preferredBackupWindow": "2:00-3:00"},
            "preferredBackupWindow",
            "hh24",
        ),
        (CLUSTER, {"engine": "aurora-postgresql", "kmsKeyId": "1234"}, "kmsKeyId", "an ARN"),
        (
            CLUSTER,
            {"engine": "aurora-postgresql", "manageMasterUserPassword": True, "masterPassword": "x"},
            "manageMasterUserPassword",
            "conflicts with masterPassword",
        ),
        (
            CLUSTER,
            {"engine": "aurora-postgresql", "serverlessv2ScalingConfiguration": {"minCapacity": 0.5}},
            "serverlessv2ScalingConfiguration.maxCapacity",
            "missing required",
        ),
        (
            GROUP,
            {"family": "mysql8.0", "parameters": [{"name": "a", "value": "1"}, {"name": "b"}]},
            "parameters[1].value",
            "missing required",
        ),
        (ROUTE, {"routeTableId": "rtb-1", "destinationCidrBlock": "0.0.0.0/0"}, "carrierGatewayId", "none is"),
        (
            ROUTE,
            {"routeTableId": "rtb-1", "destinationCidrBlock": "10.0.0.1/8", "gatewayId": "igw-1"},
            "destinationCidrBlock",
            "no host bits",
        ),
    ],
)
def test_what_the_cloud_would_refuse_is_refused_by_name(
    token: str, inputs: dict[str, Any], where: str, why: str
) -> None:
    assert why in failures(token, inputs)[where]


def test_what_is_not_known_yet_passes() -> None:
    assert not failures(CLUSTER, {"engine": "aurora-postgresql", "kmsKeyId": UNKNOWN, "clusterIdentifier": UNKNOWN})


def test_an_auto_name_is_new_once_and_then_stays() -> None:
    first, _ = facts.with_defaults(BUCKET, "Plugins", {}, {}, b"seed")
    assert first["bucket"].startswith("plugins-") and len(first["bucket"]) == len("plugins-") + 7
    again, _ = facts.with_defaults(BUCKET, "Plugins", first, {"forceDestroy": True}, b"other")
    assert again["bucket"] == first["bucket"] and again[DEFAULTS] == ["bucket"]
    mine, _ = facts.with_defaults(BUCKET, "Plugins", first, {"bucket": "mine"}, b"seed")
    assert mine["bucket"] == "mine" and DEFAULTS not in mine
    back, _ = facts.with_defaults(BUCKET, "Plugins", mine, {}, b"seed")
    assert back["bucket"] != "mine"


def test_a_name_that_would_be_too_long_is_refused() -> None:
    _, found = facts.with_defaults(BALANCER, "a-name-of-thirty-characters-ok", {}, {}, b"")
    assert found[0].property == "name" and "maximum length 32" in found[0].reason


def differences(
    token: str, state: dict[str, Any], new: dict[str, Any], old: dict[str, Any] | None = None
) -> dict[str, tuple[str, bool]]:
    return {d.path: (d.change, d.replaces) for d in facts.differences(token, state, old or state, new)}


def test_differences_update_replace_and_leave_alone() -> None:
    state = {"engine": "aurora-postgresql", "backupRetentionPeriod": 7, "engineVersion": "15.4", "arn": "arn:x"}
    assert differences(CLUSTER, state, {"engine": "aurora-postgresql"}, {"engine": "aurora-postgresql"}) == {}
    found = differences(
        CLUSTER, state, {"engine": "aurora-mysql", "backupRetentionPeriod": 8, "engineVersion": UNKNOWN}
    )
    assert found == {
        "engine": ("update", True),
        "backupRetentionPeriod": ("update", False),
        "engineVersion": ("update", False),
    }


def test_what_is_taken_out_of_the_program_is_taken_away_unless_the_cloud_fills_it_in() -> None:
    state = {"engine": "aurora-postgresql", "skipFinalSnapshot": True, "port": 5432}
    assert differences(CLUSTER, state, {"engine": "aurora-postgresql"}) == {"skipFinalSnapshot": ("delete", False)}


def test_order_counts_only_where_there_is_one_and_json_by_its_meaning() -> None:
    one, two = {"name": "a", "value": "1"}, {"name": "b", "value": "2"}
    assert differences(GROUP, {"parameters": [one, two]}, {"parameters": [two, one]}) == {}
    assert (
        differences("aws:iam/role:Role", {"assumeRolePolicy": '{"a":1,"b":2}'}, {"assumeRolePolicy": '{ "b":2,"a":1}'})
        == {}
    )


def test_a_change_within_a_replacing_block_replaces_and_waits_for_a_given_name() -> None:
    state = {"name": "sink", "connectorConfiguration": {"tasks.max": "1"}}
    new = {"name": "sink", "connectorConfiguration": {"tasks.max": "2"}}
    assert differences(CONNECTOR, state, new) == {'connectorConfiguration["tasks.max"]': ("update", True)}
    assert facts.delete_first(CONNECTOR, state, new)
    assert not facts.delete_first(CONNECTOR, state, {**new, DEFAULTS: ["name"]})


def test_an_asset_changes_with_its_content(tmp_path: Path) -> None:
    file = tmp_path / "plugin.zip"
    file.write_text("one")
    was = Asset(str(file), known_sha256=Asset(str(file)).sha256)
    token = "aws:s3/bucketObjectv2:BucketObjectv2"
    assert differences(token, {"key": "k"}, {"source": Asset(str(file))}, {"source": was}) == {}
    file.write_text("two")
    assert "source" in differences(token, {"key": "k"}, {"source": Asset(str(file))}, {"source": was})


def test_values_go_there_and_back_and_secrets_stay_secret() -> None:
    plain = {
        "text": "a",
        "whole": 3,
        "part": 0.5,
        "yes": True,
        "list": [{"deep": 1}],
        "asset": Asset("/x", None, False, "h"),
    }
    properties = to_properties({**plain, "nothing": None}, {"list"})
    assert to_plain(properties) == plain
    assert [name for name, value in properties.items() if value.is_secret] == ["list"]


def test_paths_lead_through_lists_and_end_where_the_parent_is_missing() -> None:
    properties = {"rules": [{"a": {"b": 1}}, {"a": {}}, {}]}
    assert list(at_path(properties, "rules[].a.b")) == [("rules[0].a.b", 1), ("rules[1].a.b", None)]


def test_records_are_private_and_found_by_what_they_say(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.put(BUCKET, "a/b", {"source": Asset("/x", known_sha256="h")}, {"name": "a", "n": 1})
    records.put(BUCKET, "c", {}, {"name": "c"})
    kept = records.get(BUCKET, "a/b")
    assert kept and kept.outputs == {"name": "a", "n": 1} and kept.inputs["source"].sha256 == "h"
    assert [r.id for r in records.find(BUCKET, name="c")] == ["c"] and records.kinds() == {"aws:s3:Bucket"}
    assert all(file.stat().st_mode & 0o077 == 0 for file in tmp_path.glob("*/*.json"))
    records.delete(BUCKET, "a/b")
    records.delete(BUCKET, "a/b")
    assert records.get(BUCKET, "a/b") is None and len(records.all()) == 1


def test_functions_answer_and_unknown_ones_are_named() -> None:
    settings = ProviderSettings(region="ap-southeast-1")
    token = "aws:secretsmanager/getRandomPassword:getRandomPassword"
    drawn = invokes.invoke(token, {"passwordLength": 40, "excludePunctuation": True}, settings)["randomPassword"]
    assert len(drawn) == 40 and set(drawn) <= set(string.ascii_letters + string.digits)
    zones = invokes.invoke("aws:index/getAvailabilityZones:getAvailabilityZones", {}, settings)
    assert zones["names"][0] == "ap-southeast-1a"
    with pytest.raises(HandlerError, match="aws:ec2/getAmi:getAmi"):
        invokes.invoke("aws:ec2/getAmi:getAmi", {}, settings)


def test_every_known_type_has_facts_and_a_stated_kind() -> None:
    for token in registry.tokens():
        assert facts.facts_of(token), token
        assert registry.kind(token) in ("part", "api", "recorded")
    with pytest.raises(registry.UnknownType, match="aws:sqs/queue:Queue"):
        registry.handler("aws:sqs/queue:Queue")


def test_provider_settings() -> None:
    parsed = ProviderSettings.parse("aws", {"region": "eu-west-1", "defaultTags": json.dumps({"tags": {"a": "b"}})})
    assert parsed.region == "eu-west-1" and parsed.default_tags == {"a": "b"}
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("AWS_REGION", raising=False)
        patch.delenv("AWS_DEFAULT_REGION", raising=False)
        with pytest.raises(SettingsError, match="aws:region"):
            ProviderSettings.parse("aws", {})
