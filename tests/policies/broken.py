"""A program that breaks every rule: one resource, or one group of resources, for each case of `test_rules.py`."""

from typing import Any

import pulumi

from policies.rule import UNKNOWN
from tests.policies.test_rules import CASES, STACKS


def made(value: Any, anchor: pulumi.CustomResource) -> Any:
    """Inputs with a value that is really not known yet where a case has none."""
    if isinstance(value, dict):
        return {key: made(inner, anchor) for key, inner in value.items()}
    return anchor.id if value is UNKNOWN else value


anchor = pulumi.CustomResource("aws:sqs/queue:Queue", "anchor", {})
for number, (rule, kind, inputs, _, _) in enumerate(CASES):
    pulumi.CustomResource(kind, f"{number}-{rule}", made(inputs, anchor))
for number, (rule, resources, _, _) in enumerate(STACKS):
    known: dict[str, pulumi.CustomResource] = {}
    for resource in resources:
        refers = {
            argument: [known[urn].id for urn in urns] if argument.endswith("s") else known[urns[0]].id
            for argument, urns in resource.refers.items()
        }
        props = {**made(dict(resource.props), anchor), **refers}
        known[resource.urn] = pulumi.CustomResource(resource.type, f"stack-{number}-{rule}-{resource.name}", props)
