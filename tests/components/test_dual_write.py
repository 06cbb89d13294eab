"""What ECS and ECR are told: containers, roles, which images go; and which arguments are refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import boto3
import pytest
from botocore.validate import ParamValidator

from components.balancer import Targets
from components.base import ArgumentError
from components.dual_write import Capacity
from components.dual_write_alarms import Bounds
from components.dual_write_task import Login, Runtime, Task, container_definitions, execution_policy
from components.images import ImageRepositoryArgs, lifecycle_policy, repository_arn
from contract.flag import Side
from tests.policy_lint import assert_sound

ECR = "123456789012.dkr.ecr.ap-southeast-1.amazonaws.com/zdm-prod/orders"
SECRET = "arn:aws:secretsmanager:ap-southeast-1:123456789012:secret:zdm-dev/mysql-app-AbCdEf"
KEY = "arn:aws:kms:ap-southeast-1:123456789012:key/11111111-2222-3333-4444-555555555555"
LOG = "arn:aws:logs:ap-southeast-1:123456789012:log-group:/ecs/zdm-dev/mysql-api"


def test_container_fits_ecs_and_names_secrets_only() -> None:
    logins = [Login("db.internal", 3306, "arn:secret"), Login("aurora.internal", 5432, "arn:second")]
    runtime = Runtime(Side.MYSQL, "ecommerce", logins, "/ecs/x", "ap-southeast-1")
    made = json.loads(container_definitions("mysql-api", Task("image:1"), runtime))
    ecs = boto3.client("ecs", region_name="ap-southeast-1").meta.service_model
    shape = ecs.operation_model("RegisterTaskDefinition").input_shape
    report = ParamValidator().validate({"family": "f", "containerDefinitions": made}, shape)
    assert not report.has_errors(), report.generate_report()
    assert {e["name"]: e["value"] for e in made[0]["environment"]} == {
        "SIDE": "mysql",
        "DB_HOST": "db.internal",
        "DB_PORT": "3306",
        "SECOND_HOST": "aurora.internal",
        "SECOND_PORT": "5432",
        "DB_NAME": "ecommerce",
        "DB_TLS": "require",
        "PORT": "8080",
    }
    assert made[0]["secrets"][1] == {"name": "DB_PASSWORD", "valueFrom": "arn:secret:password::"}
    assert made[0]["secrets"][2] == {"name": "SECOND_USER", "valueFrom": "arn:second:username::"}
    alone = json.loads(container_definitions("mysql-api", Task("image:1"), replace(runtime, logins=logins[:1])))
    assert not any("SECOND" in entry["name"] for entry in alone[0]["environment"] + alone[0]["secrets"])
    assert made[0]["command"] == ["python", "-m", "services.orders"]
    assert made[0]["readonlyRootFilesystem"] and made[0]["user"] == "65534:65534"


def test_starting_a_task_takes_its_images_its_account_and_its_log_only() -> None:
    document = execution_policy([f"{ECR}@sha256:{'a' * 64}", "zdm-orders:dev"], [SECRET], KEY, LOG)
    assert_sound(document)
    allowed = {s["Sid"]: s for s in json.loads(document)["Statement"]}
    assert allowed["PullImages"]["Resource"] == ["arn:aws:ecr:ap-southeast-1:123456789012:repository/zdm-prod/orders"]
    assert allowed["ReadSecrets"]["Resource"] == [SECRET]


def test_an_image_of_another_registry_needs_no_right() -> None:
    document = execution_policy(["zdm-orders:dev"], [SECRET], KEY, LOG)
    assert_sound(document)
    assert {s["Sid"] for s in json.loads(document)["Statement"]} == {"ReadSecrets", "DecryptSecrets", "WriteLogs"}


@pytest.mark.parametrize(
    ("image", "arn"),
    [
        (f"{ECR}:v1", "arn:aws:ecr:ap-southeast-1:123456789012:repository/zdm-prod/orders"),
        (ECR, "arn:aws:ecr:ap-southeast-1:123456789012:repository/zdm-prod/orders"),
        (f"{ECR}:v1@sha256:0", "arn:aws:ecr:ap-southeast-1:123456789012:repository/zdm-prod/orders"),
        (
            "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/a:1",
            "arn:aws-cn:ecr:cn-north-1:123456789012:repository/a",
        ),
        (
            "123456789012.dkr.ecr.us-gov-west-1.amazonaws.com/a:1",
            "arn:aws-us-gov:ecr:us-gov-west-1:123456789012:repository/a",
        ),
        ("public.ecr.aws/nginx/nginx:1", None),
        ("nginx", None),
    ],
)
def test_a_repository_is_known_by_the_images_reference(image: str, arn: str | None) -> None:
    assert repository_arn(image) == arn


def test_lifecycle_policy_is_one_that_ecr_takes() -> None:
    """ECR's rules: `any` has the highest number of all rules, days only with the age of images."""
    rules = json.loads(lifecycle_policy(30, 7))["rules"]
    assert [r["rulePriority"] for r in rules] == sorted({r["rulePriority"] for r in rules})
    assert [r["selection"]["tagStatus"] for r in rules] == ["untagged", "any"]
    for rule in rules:
        assert set(rule) == {"rulePriority", "description", "selection", "action"}
        selection = rule["selection"]
        assert selection["countType"] in ("imageCountMoreThan", "sinceImagePushed")
        assert ("countUnit" in selection) == (selection["countType"] == "sinceImagePushed")
        assert selection["countNumber"] > 0 and rule["action"] == {"type": "expire"}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Task("image", cpu=256, memory=4096), r"Task\.memory"),
        (lambda: Task(""), r"Task\.image"),
        (lambda: Capacity(minimum=3, maximum=2), r"Capacity\.maximum"),
        (lambda: Capacity(cpu_percent=95), r"Capacity\.cpu_percent"),
        (lambda: Bounds(error_rate=1), r"Bounds\.error_rate"),
        (lambda: Targets(8080, "/healthz", active="standby"), r"Targets\.active: there is no standby"),
        (lambda: Targets(8080, "healthz"), r"Targets\.health_path"),
        (lambda: ImageRepositoryArgs("a", "arn:key", keep_images=0), r"ImageRepositoryArgs\.keep_images"),
    ],
)
def test_a_bad_argument_is_named(make: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        make()
