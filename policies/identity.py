"""IAM: no wildcards, and nobody in general."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from policies.rule import UNKNOWN, Resource, Rule, StackRule

DOCUMENTS: Mapping[str, Sequence[str]] = {
    "aws:backup/vaultPolicy:VaultPolicy": ["policy"],
    "aws:iam/groupPolicy:GroupPolicy": ["policy"],
    "aws:iam/policy:Policy": ["policy"],
    "aws:iam/role:Role": ["assumeRolePolicy", "inlinePolicies"],
    "aws:iam/rolePolicy:RolePolicy": ["policy"],
    "aws:iam/userPolicy:UserPolicy": ["policy"],
    "aws:kms/key:Key": ["policy"],
    "aws:msk/clusterPolicy:ClusterPolicy": ["policy"],
    "aws:s3/bucketPolicy:BucketPolicy": ["policy"],
    "aws:secretsmanager/secretPolicy:SecretPolicy": ["policy"],
    "aws:sns/topicPolicy:TopicPolicy": ["policy"],
}
"""Where each type keeps its documents."""

FOR_EVERYTHING = frozenset(
    {
        "cloudwatch:GetMetricData",
        "cloudwatch:GetMetricStatistics",
        "cloudwatch:ListMetrics",
        "ec2:DescribeImages",
        "ec2:DescribeNetworkInterfaces",
        "ec2:DescribeSecurityGroups",
        "ec2:DescribeSnapshots",
        "ec2:DescribeSubnets",
        "ec2:DescribeVpcs",
        "ecr:GetAuthorizationToken",
        "logs:DescribeLogGroups",
        "sts:GetCallerIdentity",
    }
)
"""Actions that AWS cannot bind to a resource, as far as roles here need them."""


def statements(resource: Resource) -> Iterator[dict[str, Any]]:
    """Statements of all documents of a resource that are known."""
    for path in DOCUMENTS[resource.type]:
        value = resource.props.get(path)
        entries = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        for entry in entries:
            text = entry.get("policy") if isinstance(entry, Mapping) and path == "inlinePolicies" else entry
            if text is None or text is UNKNOWN:
                continue
            document = json.loads(text) if isinstance(text, str) else text
            yield from as_list(document.get("Statement", []))


def as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]


def _allows(resource: Resource) -> Iterator[tuple[str, dict[str, Any]]]:
    for statement in statements(resource):
        if statement.get("Effect") == "Allow":
            yield f"statement {statement.get('Sid', '')}".strip(), statement


def _actions(resource: Resource) -> Iterator[str]:
    for label, statement in _allows(resource):
        for action in as_list(statement.get("Action", [])):
            own_key = resource.type == "aws:kms/key:Key" and action == "kms:*" and _only_the_account(statement)
            if (action == "*" or action.endswith(":*")) and not own_key:
                yield f"{label} allows {action}"
        if "NotAction" in statement:
            yield f"{label} allows all actions but some"


def _only_the_account(statement: Mapping[str, Any]) -> bool:
    """Whether a key leaves the decision to its account's IAM."""
    principal = statement.get("Principal")
    names = as_list(principal.get("AWS", [])) if isinstance(principal, Mapping) else []
    return bool(names) and all(str(name).endswith(":root") for name in names)


def _resources(resource: Resource) -> Iterator[str]:
    for label, statement in _allows(resource):
        everything = "*" in as_list(statement.get("Resource", [])) or "NotResource" in statement
        if not everything or "Condition" in statement or "Principal" in statement:
            continue  # of a resource's own policy, `*` is that resource
        wide = [action for action in as_list(statement.get("Action", [])) if action not in FOR_EVERYTHING]
        if wide:
            yield f"{label} allows {', '.join(wide)} for every resource"


def _everybody(resource: Resource) -> Iterator[str]:
    for label, statement in _allows(resource):
        principal = statement.get("Principal")
        names = as_list(principal.get("AWS", [])) if isinstance(principal, Mapping) else [principal]
        if ("*" in names or "NotPrincipal" in statement) and "Condition" not in statement:
            yield f"{label} trusts everybody"


_TYPES = frozenset(DOCUMENTS)

RULES: list[Rule | StackRule] = [
    Rule(
        "iam-actions-named",
        "No policy allows all actions, or all of a service.",
        "Name the actions that are needed.",
        _TYPES,
        _actions,
    ),
    Rule(
        "iam-resources-named",
        "No policy allows its actions for every resource.",
        "Name the resources, or narrow the statement by a condition; actions that AWS cannot bind to one "
        "are listed in policies/identity.py.",
        _TYPES,
        _resources,
    ),
    Rule(
        "iam-principals-named",
        "No policy trusts everybody.",
        "Name the principals, or narrow the statement by a condition.",
        _TYPES,
        _everybody,
    ),
]
