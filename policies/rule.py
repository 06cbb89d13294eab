"""What a rule is: a pure function from a resource, or from all of a stack's, to what is wrong with it.

Invariants:
- A rule never fails on a value that is not known yet (`UNKNOWN`): it is asked again when the resource is made.
- A violation names the argument; its rule says in one sentence what must hold, and what to do about it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Unknown(Enum):
    """A value that only the cloud will know."""

    UNKNOWN = "unknown"


UNKNOWN = Unknown.UNKNOWN


@dataclass(frozen=True)
class Resource:
    """One resource as the engine will make it."""

    type: str
    """Its token, such as `aws:rds/cluster:Cluster`."""
    name: str
    props: Mapping[str, Any] = field(default_factory=dict)
    """Its inputs, under the provider's names (camelCase)."""
    default_tags: Mapping[str, str] = field(default_factory=dict)
    """Tags that its provider puts on everything."""
    urn: str = ""
    refers: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """URNs of the resources that each input is made of; known for rules of a stack only."""

    @property
    def tags(self) -> Mapping[str, Any]:
        own = [self.props.get(key) for key in ("tagsAll", "tags")]
        return {
            key: value for tags in (self.default_tags, *own) if isinstance(tags, Mapping) for key, value in tags.items()
        }

    @property
    def environment(self) -> str:
        """By its tags; what has none is treated like production."""
        return str(self.tags.get("environment", "prod"))

    def at(self, path: str) -> Any:
        """The value at `a.b.c`: None where nothing is, UNKNOWN where it or something above it is not known yet."""
        value: Any = self.props
        for part in path.split("."):
            if isinstance(value, Sequence) and not isinstance(value, str):
                value = value[0] if value else None
            if not isinstance(value, Mapping):
                return value if value is UNKNOWN else None
            value = value.get(part)
        return value

    def text(self, path: str) -> str:
        """The JSON text at `path`, also where a value is given instead; empty where nothing is known."""
        value = self.at(path)
        return "" if value is None or value is UNKNOWN else value if isinstance(value, str) else json.dumps(value)


class Level(Enum):
    MANDATORY = "mandatory"
    """Nothing is changed while it is broken."""
    ADVISORY = "advisory"
    """It is only told."""


Check = Callable[[Resource], Iterable[str]]
StackCheck = Callable[[Sequence[Resource]], Iterable[tuple[Resource, str]]]


@dataclass(frozen=True)
class Rule:
    """`types` are the tokens it is about; `check` yields what is wrong with one resource."""

    name: str
    says: str
    way_out: str
    types: frozenset[str]
    check: Check
    level: Level = Level.MANDATORY

    def violations(self, resource: Resource) -> list[str]:
        """What is wrong with a resource, each with the way out."""
        if resource.type not in self.types:
            return []
        return [f"{wrong}. {self.way_out}" for wrong in self.check(resource)]


@dataclass(frozen=True)
class StackRule:
    """A rule over what belongs together: `check` yields each resource that breaks it, and how."""

    name: str
    says: str
    way_out: str
    check: StackCheck
    level: Level = Level.MANDATORY

    def violations(self, resources: Sequence[Resource]) -> list[tuple[Resource, str]]:
        return [(resource, f"{wrong}. {self.way_out}") for resource, wrong in self.check(resources)]


@dataclass(frozen=True)
class Need:
    """What a value must be, in words and as a test."""

    words: str
    holds: Callable[[Any], bool]


def shown(value: Any) -> str:
    """A value in words; the engine's whole numbers come as floating point."""
    return f"{value:g}" if isinstance(value, float) else repr(value)


TRUE = Need("must be true", lambda value: value is True)
FALSE = Need("must be false", lambda value: value is False)
NOT_TRUE = Need("must not be true", lambda value: value is not True)
SET = Need("must be set", bool)


def at_least(number: float) -> Need:
    return Need(f"must be at least {number}", lambda value: isinstance(value, (int, float)) and value >= number)


def one_of(*values: str | None) -> Need:
    return Need(f"must be {' or '.join(v for v in values if v)}", lambda value: value in values)


def needs(paths: Mapping[str, Need]) -> Check:
    """A check of single values by their path."""

    def check(resource: Resource) -> Iterator[str]:
        for path, need in paths.items():
            value = resource.at(path)
            if value is not UNKNOWN and not need.holds(value):
                yield f"{path} {need.words}" + ("" if value in (None, "") else f", not {shown(value)}")

    return check


def in_production(check: Check) -> Check:
    """The same check, for production only."""
    return lambda resource: check(resource) if resource.environment == "prod" else ()


def staying(check: Check) -> Check:
    """The same check, unless the resource's stack is on its way out (setting `decommission`, which tags it so)."""
    return lambda resource: () if resource.tags.get("decommission") == "true" else check(resource)


def companions(
    resources: Sequence[Resource], of: str, kind: str, argument: str
) -> Iterator[tuple[Resource, list[Resource]]]:
    """Each resource of type `of`, with those of type `kind` whose `argument` is made of it."""
    for owner in resources:
        if owner.type == of:
            yield owner, [r for r in resources if r.type == kind and owner.urn in r.refers.get(argument, ())]
