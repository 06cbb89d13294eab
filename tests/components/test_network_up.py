"""The network with all it can have, under the real engine."""

from __future__ import annotations

import pulumi
import pulumi_aws as aws
import pytest

from components.endpoints import USED, AwsApis, Endpoints, reach_aws
from components.flow_logs import FlowLogs
from components.network import Network, NetworkArgs, security_group
from tests.cloud import Cloud, changes, client

pytestmark = pytest.mark.real



def full(zones: int = 2, days: int = 30) -> None:
    key = aws.kms.Key("logs")
    network = Network(
        "network",
        NetworkArgs(
            region="us-east-1",
            zones=[f"us-east-1{letter}" for letter in "abc"[:zones]],
            endpoints=Endpoints(),
            flow_logs=FlowLogs("tiny-dev", "123456789012", key.arn, days=days),
        ),
    )
    group = security_group("tasks", network.vpc_id, "tasks", pulumi.ResourceOptions())
    reach_aws("tasks", group.id, network.apis, pulumi.ResourceOptions())
    outside = security_group("outside", network.vpc_id, "outside", pulumi.ResourceOptions())
    reach_aws("outside", outside.id, AwsApis(), pulumi.ResourceOptions())
    pulumi.export("vpc", network.vpc_id)
    pulumi.export("tasks", group.id)


def test_a_network_with_endpoints_and_a_flow_log(cloud: Cloud) -> None:
    made = cloud.use(full).up()
    vpc = made.outputs["vpc"].value
    ec2 = client("ec2")
    own = [{"Name": "vpc-id", "Values": [vpc]}]
    endpoints = {e["ServiceName"]: e for e in ec2.describe_vpc_endpoints(Filters=own)["VpcEndpoints"]}
    assert set(endpoints) == {f"com.amazonaws.us-east-1.{service}" for service in (*USED, "s3")}
    assert len(endpoints["com.amazonaws.us-east-1.kms"]["SubnetIds"]) == 2

    default = ec2.describe_security_groups(Filters=[*own, {"Name": "group-name", "Values": ["default"]}])
    assert default["SecurityGroups"][0]["IpPermissions"] == default["SecurityGroups"][0]["IpPermissionsEgress"] == []
    rules = ec2.describe_security_group_rules(Filters=[{"Name": "group-id", "Values": [made.outputs["tasks"].value]}])
    out = [rule for rule in rules["SecurityGroupRules"] if rule["IsEgress"]]
    assert len(out) == 2 and not any("CidrIpv4" in rule for rule in out), "only to the endpoints and to S3"
    [log] = ec2.describe_flow_logs()["FlowLogs"]
    assert (log["ResourceId"], log["DeliverLogsStatus"]) == (vpc, "SUCCESS")

    assert set(changes(cloud.use(full).up())) == {"same"}
    grown = changes(cloud.use(lambda: full(zones=3, days=90)).up())
    assert "replace" not in grown and "delete" not in grown
    assert grown["update"] == len(USED) + 2, "the endpoints and the way to S3 in the new zone, and the log's days"
    cloud.use(full).destroy()
    assert cloud.local().records.all() == []
