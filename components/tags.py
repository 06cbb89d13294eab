"""The mandatory tags, by one transformation of the whole stack.

The provider's default tags do the same for what goes through that provider; this also reaches what a component makes
through another one (a second region), and refuses what a resource says against them. Which types have tags is known
from the SDK: whether its constructor takes `tags` as a mapping. It runs in the program's own process, so it costs no
call to the engine for each resource.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any

import pulumi
from pulumi import Output, ResourceTransformationArgs, ResourceTransformationResult

from components.base import ArgumentError

MANDATORY = ("environment", "cost-centre", "owner", "data-class")


@cache
def has_tags(kind: type[Any]) -> bool:
    """Whether a resource class of the AWS SDK takes tags as a mapping of names to values.

    A few types have a list of objects under this name (Auto Scaling groups); the program uses none of them.
    """
    constructor = getattr(kind, "_internal_init", None)
    if constructor is None or not kind.__module__.startswith("pulumi_aws."):
        return False
    parameter = inspect.signature(constructor).parameters.get("tags")
    return parameter is not None and _is_mapping(parameter.annotation)


def _is_mapping(annotation: Any) -> bool:
    """Whether a type, or one of those it is a union or a future of, is a mapping."""
    if typing.get_origin(annotation) is Mapping:
        return True
    return any(_is_mapping(argument) for argument in typing.get_args(annotation))


def merged(name: str, own: Mapping[str, Any], mandatory: Mapping[str, str]) -> dict[str, Any]:
    """A resource's own tags with the mandatory ones. Raises `ArgumentError` where the two disagree."""
    wrong = [
        f"{tag} is {own[tag]!r}, not {value!r}" for tag, value in mandatory.items() if own.get(tag, value) != value
    ]
    if wrong:
        raise ArgumentError(f"{name}: the stack's mandatory tags cannot be changed: {', '.join(wrong)}; leave them out")
    return {**own, **mandatory}


def require_tags(tags: Mapping[str, str]) -> None:
    """Puts these tags on every AWS resource made from here on. Call it before the first one."""
    missing = [tag for tag in MANDATORY if not tags.get(tag)]
    if missing:
        raise ArgumentError(f"tags: {', '.join(missing)} must be given")
    mandatory = dict(tags)

    def transform(args: ResourceTransformationArgs) -> ResourceTransformationResult | None:
        kind: Any = type(args.resource)
        if not has_tags(kind):
            return None
        own: Any = args.props.get("tags")
        if isinstance(own, Output):
            tagged: Any = own.apply(lambda known: merged(args.name, known or {}, mandatory))
        else:
            tagged = merged(args.name, own or {}, mandatory)
        return ResourceTransformationResult(props={**args.props, "tags": tagged}, opts=args.opts)

    pulumi.runtime.register_stack_transformation(transform)
