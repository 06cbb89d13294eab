"""AWS DMS in the local cloud: what AWS's provider would refuse or replace, and how honestly it is labelled."""

from __future__ import annotations

from typing import Any

import pytest

from local.provider import registry
from local.provider.facts import check, delete_first, differences

ARN = "arn:aws:dms:us-east-1:123456789012:endpoint:a"
ENDPOINT = {
    "endpointId": "zdm-dev-dms-source",
    "endpointType": "source",
    "engineName": "mysql",
    "secretsManagerArn": "arn:aws:secretsmanager:us-east-1:123456789012:secret:a",
    "secretsManagerAccessRoleArn": "arn:aws:iam::123456789012:role/a",
}
TASK = {
    "migrationType": "cdc",
    "replicationInstanceArn": "arn:aws:dms:us-east-1:123456789012:rep:a",
    "replicationTaskId": "zdm-dev-dms-forward",
    "sourceEndpointArn": ARN,
    "targetEndpointArn": ARN,
    "tableMappings": '{"rules": []}',
}
INSTANCE = {"replicationInstanceClass": "dms.t3.medium", "replicationInstanceId": "zdm-dev-dms"}
SUBNETS = {"replicationSubnetGroupId": "a", "subnetIds": ["a", "b"], "replicationSubnetGroupDescription": "d"}


def refused(kind: str, inputs: dict[str, Any]) -> set[str]:
    return {failure.property for failure in check(f"aws:dms/{kind[0].lower()}{kind[1:]}:{kind}", inputs)}


@pytest.mark.parametrize(
    ("kind", "inputs", "property"),
    [
        ("Endpoint", {**ENDPOINT, "username": "u"}, "username"),
        ("Endpoint", {k: v for k, v in ENDPOINT.items() if k != "secretsManagerArn"}, "secretsManagerAccessRoleArn"),
        ("Endpoint", {**ENDPOINT, "endpointId": "a--b"}, "endpointId"),
        ("Endpoint", {**ENDPOINT, "sslMode": "required"}, "sslMode"),
        ("ReplicationTask", {**TASK, "migrationType": "full-load-and-validation"}, "migrationType"),
        ("ReplicationTask", {**TASK, "tableMappings": "rules"}, "tableMappings"),
        ("ReplicationInstance", {**INSTANCE, "replicationInstanceId": "a" * 64}, "replicationInstanceId"),
        ("ReplicationSubnetGroup", {**SUBNETS, "replicationSubnetGroupId": "default"}, "replicationSubnetGroupId"),
        ("ReplicationSubnetGroup", {**SUBNETS, "subnetIds": ["a"]}, "subnetIds"),
        ("Certificate", {"certificateId": "ca"}, "certificatePem"),
    ],
)
def test_what_aws_would_refuse_is_refused(kind: str, inputs: dict[str, Any], property: str) -> None:
    assert refused(kind, inputs) == {property}


def test_good_inputs_pass() -> None:
    assert refused("Endpoint", ENDPOINT) == set()
    assert refused("ReplicationTask", TASK) == set()
    assert refused("ReplicationInstance", INSTANCE) == refused("ReplicationSubnetGroup", SUBNETS) == set()


def test_another_endpoint_replaces_a_task_and_other_mappings_do_not() -> None:
    token = "aws:dms/replicationTask:ReplicationTask"
    moved = differences(token, TASK, TASK, {**TASK, "sourceEndpointArn": f"{ARN}b"})
    assert [d.replaces for d in moved] == [True]
    assert delete_first(token, TASK, TASK), "two tasks cannot have one name"
    told = differences(token, TASK, TASK, {**TASK, "tableMappings": '{"rules": [1]}'})
    assert [d.replaces for d in told] == [False]
    assert differences(token, TASK, TASK, {**TASK, "tableMappings": '{ "rules":[] }'}) == []


def test_nothing_of_dms_is_said_to_be_a_part_of_this_machine() -> None:
    kinds = {token: registry.kind(token) for token in registry.tokens() if token.startswith("aws:dms/")}
    assert set(kinds.values()) == {"api", "recorded"}
    assert {token.rpartition(":")[2] for token, kind in kinds.items() if kind == "recorded"} == {
        "Certificate",
        "EventSubscription",
        "ReplicationConfig",
    }
