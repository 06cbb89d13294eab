"""Words that several tables of the control plane use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from local.provider.api import Spec, Values
from local.provider.handler import HandlerError


def pascal(value: Any) -> Any:
    """Properties with the names that AWS's query and XML APIs give them."""
    if isinstance(value, Mapping):
        return {k[0].upper() + k[1:]: pascal(v) for k, v in value.items()}
    return [pascal(v) for v in value] if isinstance(value, list) else value


def const(value: Any) -> Callable[[Values], Any]:
    return lambda values: value


def pairs(key: str = "Key", value: str = "Value", of: str = "tag_map") -> Callable[[Values], Any]:
    return lambda v: [{key: k, value: item} for k, item in (v.get(of) or {}).items()] or None


TAG_KEYS: Spec = "tag_keys"


def own_id(values: Values) -> list[str]:
    return [values["id"]]


def added(prop: str) -> Spec:
    return lambda v: sorted(set(v.get(prop) or ()) - set(v["old"].get(prop) or ())) or None


def dropped(prop: str) -> Spec:
    return lambda v: sorted(set(v["old"].get(prop) or ()) - set(v.get(prop) or ())) or None


@cache
def _model(service: str) -> Any:
    import botocore.session

    return botocore.session.get_session().get_service_model(service)


def shaped(service: str, shape: str, value: Any) -> Any:
    """Properties with the names that a shape of an AWS API gives them, however it spells and numbers them.

    Raises `HandlerError` for a property that the shape does not have.
    """
    return _shaped(_model(service).shape_for(shape), value, shape)


def _shaped(shape: Any, value: Any, path: str) -> Any:
    match shape.type_name:
        case "structure":
            members = {name.lower(): name for name in shape.members}
            made = {}
            for name, inner in value.items():
                member = members.get(name.lower()) or members.get(name.lower().removesuffix("s"))
                if member is None:
                    raise HandlerError(f"{path} has no {name}: it has {', '.join(shape.members)}")
                if inner is not None:
                    made[member] = _shaped(shape.members[member], inner, f"{path}.{name}")
            return made
        case "list":
            items = value if isinstance(value, list) else [value]
            return [_shaped(shape.member, item, f"{path}[{i}]") for i, item in enumerate(items)]
    return value
