"""CI's roles in the local cloud: made, unchanged, widened by a person, gone."""

from __future__ import annotations

import json
from typing import Any

import boto3
import pulumi_aws as aws
import pytest

from components.ci_access import CiAccess, CiAccessArgs, State, bound_roles
from local.environment import environment
from tests.cloud import Cloud, changes

STATE = State("state-bucket", "arn:aws:kms:us-east-1:123456789012:key/0a1b2c3d")


@pytest.mark.real
def test_roles_are_made_bounded_and_changed_in_place(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    minutes, role_of_a_task = 60, '{"Version": "2012-10-17", "Statement": []}'

    def program() -> None:
        args = CiAccessArgs(
            "tiny-dev",
            "dev",
            "dev",
            "123456789012",
            "aws",
            "us-east-1",
            "shop/zdm",
            STATE,
            True,
            session_minutes=minutes,
        )
        bound_roles(CiAccess("ci", args).workload_boundary_arn)
        aws.iam.Role("task", name="task", assume_role_policy=role_of_a_task)

    stack = cloud.use(program)
    made = changes(stack.up())
    assert set(made) == {"create"}
    for name, value in environment("dev").items():
        monkeypatch.setenv(name, value)
    iam: Any = boto3.client("iam")
    (provider,) = iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]
    known = iam.get_open_id_connect_provider(OpenIDConnectProviderArn=provider["Arn"])
    assert (known["Url"], known["ClientIDList"]) == ("token.actions.githubusercontent.com", ["sts.amazonaws.com"])
    task = iam.get_role(RoleName="task")["Role"]
    assert task["PermissionsBoundary"]["PermissionsBoundaryArn"].endswith(":policy/tiny-dev-ci-boundary")
    deploy = iam.get_role(RoleName="tiny-dev-ci-deploy")["Role"]
    condition = deploy["AssumeRolePolicyDocument"]["Statement"][0]["Condition"]["StringEquals"]
    assert condition["token.actions.githubusercontent.com:sub"] == "repo:shop/zdm:environment:dev"
    attached = iam.list_attached_role_policies(RoleName="tiny-dev-ci-deploy")["AttachedPolicies"]
    kinds = {policy["PolicyName"].removeprefix("tiny-dev-ci-deploy-") for policy in attached}
    assert kinds == {"reading", "never", "evidence", "changing-data", "changing-rest", "roles"}

    assert set(changes(stack.up())) == {"same"}
    minutes = 120
    assert changes(stack.up())["update"] == 3
    assert iam.get_role(RoleName="tiny-dev-ci-preview")["Role"]["MaxSessionDuration"] == 7200
    assert set(changes(stack.destroy())) == {"delete"}
    assert list(cloud.local().records.all()) == []


@pytest.mark.real
def test_a_policy_keeps_its_last_versions(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    actions = ["s3:GetObject"]

    def program() -> None:
        text = {"Effect": "Allow", "Action": actions, "Resource": "arn:aws:s3:::b/*"}
        aws.iam.Policy("limit", name="limit", policy=json.dumps({"Version": "2012-10-17", "Statement": [text]}))

    stack = cloud.use(program)
    stack.up()
    for name, value in environment("dev").items():
        monkeypatch.setenv(name, value)
    iam: Any = boto3.client("iam")
    (policy,) = iam.list_policies(Scope="Local")["Policies"]
    for number in range(5):
        actions = [*actions, f"s3:PutObject{number}"]
        assert changes(stack.up())["update"] == 1
    versions = iam.list_policy_versions(PolicyArn=policy["Arn"])["Versions"]
    assert len(versions) == 5
    (now,) = (v["VersionId"] for v in versions if v["IsDefaultVersion"])
    document = iam.get_policy_version(PolicyArn=policy["Arn"], VersionId=now)["PolicyVersion"]["Document"]
    assert document["Statement"][0]["Action"] == actions
    assert set(changes(stack.destroy())) == {"delete"}
