"""Words that several tables of the control plane use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from local.provider.api import Spec, Values


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
