"""Every IAM document of the stacks, and of one with all options on, names what AWS knows and no more than it needs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.full_stack import STACKS, declared
from tests.policy_lint import assert_sound, findings

TOPICS = {"UNKNOWN_ACTION kafka:DeleteTopic": "newer than the linter's data; botocore has the operation"}
ALIASES = {"UNKNOWN_CONDITION_FOR_ACTION kms:ResourceAliases": "KMS documents it for every use of a key"}
ALLOWED: dict[str, dict[str, str]] = {
    # resource's name -> what is found in its documents -> why that is right
    "ci-deploy-changing-data": TOPICS,
    "ci-deploy-never": TOPICS,
    "ci-preview-never": TOPICS,
    "ci-drill-never": TOPICS,
    "ci-drill-evidence": ALIASES,
    "ci-drill-reading": ALIASES,
    "ci-deploy-evidence": ALIASES,
    "ci-deploy-reading": ALIASES,
    "ci-preview-evidence": ALIASES,
    "ci-preview-reading": ALIASES,
    "network-flows-rights": {
        "RESOURCE_MISMATCH logs:DescribeLogGroups": "Logs asks for log-group::log-stream: of the account, not for *"
    },
}


def documents(value: object) -> Iterator[str]:
    """Every policy document in a resource's inputs, however deep."""
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from documents(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from documents(inner)
    elif isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            read = json.loads(value)
        except ValueError:
            return
        if "Statement" in read:
            yield value


@pytest.mark.parametrize("stack", STACKS)
def test_every_document_of_a_stack_is_sound(stack: str) -> None:
    resources = declared(stack).resources
    found = {name: list(documents(args.inputs)) for name, args in resources.items()}
    wrong = []
    for name, texts in found.items():
        for text in texts:
            try:
                assert_sound(text, allow=ALLOWED.get(name, {}))
            except AssertionError as error:
                wrong.append(f"{name} ({resources[name].typ}):\n{error}")
    assert not wrong, "\n".join(wrong)
    roles = {name for name, args in resources.items() if args.typ == "aws:iam/role:Role"}
    assert roles, "a stack without roles: the documents are no longer where this test looks"
    assert all(found[name] for name in roles)


ALLOW = {"Sid": "A", "Effect": "Allow"}


@pytest.mark.parametrize(
    ("statement", "keys"),
    [
        ({"Action": "s3:*", "Resource": "arn:aws:s3:::b"}, {"WILDCARD_ACTION s3:*"}),
        ({"NotAction": "iam:PassRole", "Resource": "*"}, {"WILDCARD_ACTION NotAction"}),
        ({"Action": "rds:MakeSnapshot", "Resource": "*"}, {"UNKNOWN_ACTION rds:MakeSnapshot"}),
        ({"Action": "mysql:Read", "Resource": "*"}, {"UNKNOWN_PREFIX mysql:Read"}),
        ({"Action": "s3:GetObject", "Resource": "my-bucket/*"}, {"INVALID_ARN my-bucket/*"}),
        ({"Action": "s3:GetObject", "Resource": "arn:aws:s3:::b"}, {"RESOURCE_MISMATCH s3:GetObject"}),
        ({"Action": ["ec2:DescribeVpcs", "ec2:DeleteVpc"], "Resource": "*"}, {"RESOURCE_STAR ec2:DeleteVpc"}),
        (
            {
                "Action": "kafka-cluster:Connect",
                "Resource": "arn:aws:kafka:eu-west-1:123456789012:cluster/a/b",
                "Condition": {"StringEquals": {"kafka:Colour": "red"}},
            },
            {"UNKNOWN_CONDITION_FOR_ACTION kafka:Colour"},
        ),
        (
            {
                "Action": "sts:AssumeRole",
                "Principal": {"Service": "ecs-tasks.amazonaws.com"},
                "Condition": {"DateLessThan": {"aws:CurrentTime": "tomorrow"}},
            },
            {"MISMATCHED_TYPE A"},
        ),
    ],
)  # fmt: skip
def test_the_linter_finds_what_is_wrong(statement: dict[str, Any], keys: set[str]) -> None:
    document = json.dumps({"Version": "2012-10-17", "Statement": [{**ALLOW, **statement}]})
    assert {found.key for found in findings(document)} >= keys
    with pytest.raises(AssertionError, match=next(iter(keys)).split(" ")[0]):
        assert_sound(document)
    assert_sound(document, allow={found.key for found in findings(document)})


def test_an_exception_that_nothing_needs_is_an_error() -> None:
    statement = {**ALLOW, "Action": "ec2:DescribeVpcs", "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    assert_sound(document)
    with pytest.raises(AssertionError, match="take it out"):
        assert_sound(document, allow=["RESOURCE_STAR ec2:DescribeVpcs"])
