"""The stacks as declared, where every document is known: a preview cannot see what only the cloud will say."""

from __future__ import annotations

import json

import pytest

from policies.pack import ALL, default_tags
from policies.rule import Resource, Rule
from tests.full_stack import STACKS, declared


@pytest.mark.parametrize("stack", STACKS)
def test_no_resource_of_a_stack_breaks_a_rule_of_one_resource(stack: str) -> None:
    resources = declared(stack).resources
    tags = {
        name: default_tags(args.inputs.get("defaultTags"))
        for name, args in resources.items()
        if args.typ == "pulumi:providers:aws"
    }
    assert tags["aws"]["environment"] in ("dev", "staging", "prod")
    broken, seen = [], set()
    for name, args in resources.items():
        provider = (args.provider or "").partition("::aws::")[0].rpartition("::")[2] or "aws"
        plain = json.loads(json.dumps(args.inputs, default=str))
        resource = Resource(args.typ, name, _in_the_clear(plain), tags.get(provider, tags["aws"]))
        for rule in ALL:
            if isinstance(rule, Rule) and resource.type in rule.types:
                seen.add(rule.name)
                if rule.level.value == "mandatory":
                    broken += [f"{name}: {rule.name}: {text}" for text in rule.violations(resource)]
    assert broken == []
    assert {"databases-encrypted", "iam-actions-named", "backups-kept", "kafka-tls", "listeners-tls", "tagged"} <= seen


def _in_the_clear(value: object) -> object:
    """Secrets without their wrapping, as the engine hands them to rules."""
    if isinstance(value, dict):
        if "value" in value and any(key.startswith("4dabf18") for key in value):
            return _in_the_clear(value["value"])
        return {key: _in_the_clear(inner) for key, inner in value.items()}
    return [_in_the_clear(inner) for inner in value] if isinstance(value, list) else value
