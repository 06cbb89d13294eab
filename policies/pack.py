"""All rules, and how the engine is told of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from policies import encryption, exposure, governance, identity, recovery, transport
from policies.rule import UNKNOWN, Resource, Rule, StackRule

ALL: list[Rule | StackRule] = [
    *encryption.RULES,
    *transport.RULES,
    *exposure.RULES,
    *recovery.RULES,
    *identity.RULES,
    *governance.RULES,
]


def serve() -> None:
    """Answer the engine until it ends."""
    from pulumi_policy import EnforcementLevel, PolicyPack, ResourceValidationPolicy, StackValidationPolicy

    def of_resource(rule: Rule) -> ResourceValidationPolicy:
        def validate(args: Any, report: Any) -> None:
            if args.resource_type in rule.types:
                for text in rule.violations(resource_of(args)):
                    report(text)

        level = EnforcementLevel(rule.level.value)
        return ResourceValidationPolicy(rule.name, rule.says, validate, enforcement_level=level)

    def of_stack(rule: StackRule) -> StackValidationPolicy:
        def validate(args: Any, report: Any) -> None:
            for resource, text in rule.violations([resource_of(each) for each in args.resources]):
                report(text, resource.urn)

        level = EnforcementLevel(rule.level.value)
        return StackValidationPolicy(rule.name, rule.says, validate, enforcement_level=level)

    PolicyPack("zdm", [of_resource(rule) if isinstance(rule, Rule) else of_stack(rule) for rule in ALL])


def resource_of(args: Any) -> Resource:
    """A resource as the engine tells of it (`ResourceValidationArgs` or `PolicyResource`)."""
    provider = known(args.provider.props) if args.provider is not None else {}
    refers = getattr(args, "property_dependencies", {})
    return Resource(
        args.resource_type,
        args.name,
        known(args.props),
        default_tags(provider.get("defaultTags")),
        args.urn,
        {argument: tuple(resource.urn for resource in made_of) for argument, made_of in refers.items()},
    )


def known(value: Any) -> Any:
    """Plain values out of the engine's, with UNKNOWN for what is not known yet."""
    from collections.abc import Sequence

    from pulumi_policy.proxy import UnknownValueError

    def inner(container: Any, key: Any) -> Any:
        try:
            return known(container[key])
        except UnknownValueError:
            return UNKNOWN

    if isinstance(value, Mapping):
        return {key: inner(value, key) for key in value}
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [inner(value, index) for index in range(len(value))]
    return value


def default_tags(value: Any) -> Mapping[str, str]:
    """The tags in a provider's `defaultTags`, which is JSON or a mapping."""
    if isinstance(value, str):
        value = json.loads(value)
    tags = value.get("tags") if isinstance(value, Mapping) else None
    return dict(tags) if isinstance(tags, Mapping) else {}
