"""A service with all it can have, under the real engine: its tasks run, and the standby takes over."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pulumi
import pulumi_aws as aws
import pytest
from pulumi import Output, ResourceOptions
from pulumi import automation as auto

from components.balancer import log_delivery
from components.bucket import BucketArgs, PrivateBucket
from components.credentials import Credential, CredentialArgs
from components.databases import DatabaseAccess
from components.dual_write import Capacity, DualWriteArgs, DualWriteService, Standby
from components.dual_write_task import Task
from components.encryption import Encryption, EncryptionArgs
from components.firewall import Firewall, FirewallArgs
from components.images import ImageRepository, ImageRepositoryArgs
from components.network import Endpoint, Network, NetworkArgs, prefix_list, security_group
from components.place import Place
from contract.flag import Side
from local.dataplane.ecs import Tasks
from local.environment import environment
from tests.cloud import Cloud, changes, client

pytestmark = pytest.mark.real

ACCOUNT = "123456789012"
ECR = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/tiny-dev/orders"
ORIGIN = "https://mysql-api.dev.example"



def full(active: bool = False, image: str = f"{ECR}:2", protected: bool = False, most: int = 4) -> None:
    keys = Encryption("keys", EncryptionArgs("tiny-dev", ACCOUNT, "aws", "us-east-1", keep=False))
    network = Network("net", NetworkArgs("us-east-1", ["us-east-1a", "us-east-1b"]))
    firewall = Firewall("firewall", FirewallArgs("tiny-dev", ACCOUNT, "aws", "us-east-1", keys.logs_key_arn))
    logs = PrivateBucket(
        "logs", BucketArgs(key_arn=None, keep=False, statements=lambda arn: log_delivery(arn, ACCOUNT))
    )
    cluster = aws.ecs.Cluster("services")
    ImageRepository("images", ImageRepositoryArgs("tiny-dev/orders", keys.data_key_arn, keep=False))
    account = Credential("app", CredentialArgs("tiny-dev/app", "shop_app", keys.secrets_key_arn, "the API", 0))
    database = security_group("database", network.vpc_id, "database", ResourceOptions())
    service = DualWriteService(
        "mysql-api",
        DualWriteArgs(
            side=Side.MYSQL,
            host="mysql-api.dev.example",
            database_name="ecommerce",
            database=DatabaseAccess(Endpoint("db.internal", 3306, database.id), account.account),
            task=Task(image, "tests.components.tiny_api"),
            place=Place(
                prefix="tiny-dev",
                account_id=ACCOUNT,
                region="us-east-1",
                vpc_id=network.vpc_id,
                public_subnet_ids=network.public_subnet_ids,
                private_subnet_ids=network.private_subnet_ids,
                cluster_arn=cluster.arn,
                cluster_name=cluster.name,
                secrets_key_arn=keys.secrets_key_arn,
                logs_key_arn=keys.logs_key_arn,
                edge_prefix_list_id=prefix_list("edge", ["203.0.113.0/24"], ResourceOptions()).id,
                zone_id="z",
                alarm_topic_arn=aws.sns.Topic("alarms").arn,
                apis=network.apis,
                web_acl_arn=firewall.arn,
                access_log_bucket=logs.ready_name,
                deletion_protection=protected,
            ),
            capacity=Capacity(minimum=1, maximum=most, requests_per_second=500),
            standby=Standby(image=f"{ECR}:1", active=active),
        ),
    )
    pulumi.export("balancer", service.balancer.arn)
    pulumi.export("services", Output.all(service.service_name, service.standby_service_name))


def answer() -> dict[str, Any]:
    origin = json.loads(environment("dev")["ZDM_CONNECT_TO"])[ORIGIN]
    found: dict[str, Any] = httpx.get(f"{origin}/healthz", timeout=5).json()
    assert f"http://{found['ZDM_BIND']}" == origin, "those answer who are active"
    return found


def test_a_service_with_a_standby_that_takes_over(cloud: Cloud) -> None:
    made = cloud.use(full).up()
    local = cloud.local()
    main, standby = (Tasks(local, name) for name in made.outputs["services"].value)
    assert [len(tasks.all()) for tasks in (main, standby)] == [1, 1]
    first = answer()
    assert (first["SIDE"], first["DB_USER"]) == ("mysql", "shop_app")

    ecr = client("ecr")
    [repository] = ecr.describe_repositories()["repositories"]
    assert repository["imageTagMutability"] == "IMMUTABLE" and repository["imageScanningConfiguration"]["scanOnPush"]
    assert json.loads(ecr.get_lifecycle_policy(repositoryName=repository["repositoryName"])["lifecyclePolicyText"])
    scaling = client("application-autoscaling")
    targets = scaling.describe_scalable_targets(ServiceNamespace="ecs")["ScalableTargets"]
    assert {(t["MinCapacity"], t["MaxCapacity"]) for t in targets} == {(1, 4)} and len(targets) == 2
    assert len(scaling.describe_scaling_policies(ServiceNamespace="ecs")["ScalingPolicies"]) == 4
    assert len(client("cloudwatch").describe_alarms(AlarmNamePrefix="mysql-api")["MetricAlarms"]) == 6
    balancer = made.outputs["balancer"].value
    assert client("wafv2").get_web_acl_for_resource(ResourceArn=balancer)["WebACL"]["Name"] == "tiny-dev"
    attributes = client("elbv2").describe_load_balancer_attributes(LoadBalancerArn=balancer)["Attributes"]
    assert {a["Key"]: a["Value"] for a in attributes}["access_logs.s3.enabled"] == "true"

    assert set(changes(cloud.use(full).up())) == {"same"}
    pids = [tasks.all()[0].pid for tasks in (main, standby)]
    taken = changes(cloud.use(lambda: full(active=True)).up())
    assert taken.pop("update") == 1 and set(taken) == {"same"}, "a takeover changes the listener and nothing else"
    assert answer()["ZDM_BIND"] != first["ZDM_BIND"]
    assert [tasks.all()[0].pid for tasks in (main, standby)] == pids, "no task was started or stopped for it"

    released = changes(cloud.use(lambda: full(active=True, image=f"{ECR}:3", most=6, protected=True)).up())
    assert released["replace"] == 1 and released["update"] == 4, "main's tasks, the bounds of both, the protection"
    assert standby.all()[0].pid == pids[1], "a release does not touch the standby"
    with pytest.raises(auto.CommandError, match="OperationNotPermitted"):
        cloud.use(full).destroy()
    cloud.use(full).up()
    cloud.use(full).destroy()
    assert cloud.local().records.all() == [] and cloud.local().processes() == []
