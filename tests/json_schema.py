"""The part of JSON Schema that this project's own schemas use. A keyword that is not known is an error, not ignored."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int}
_KNOWN = {
    "$comment", "additionalProperties", "anyOf", "enum", "items", "maximum", "minItems", "minLength", "minimum",
    "pattern", "properties", "required", "type",
}  # fmt: skip


def misfits(schema: Mapping[str, Any], value: Any, path: str = "$") -> Iterator[str]:
    """What does not fit, each with its path."""
    if unknown := schema.keys() - _KNOWN:
        raise ValueError(f"{path}: the schema uses {', '.join(sorted(unknown))}, which is not implemented")
    if "anyOf" in schema:
        ways = [list(misfits(way, value, path)) for way in schema["anyOf"]]
        if all(ways):
            yield f"{path}: fits none of {len(ways)} forms; nearest: {min(ways, key=len)}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{path}: {value!r} is none of {schema['enum']}"
    kind = schema.get("type")
    if kind and (not isinstance(value, _TYPES[kind]) or (kind == "integer" and isinstance(value, bool))):
        yield f"{path}: {value!r} is no {kind}"
        return
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        yield from (f"{path}: {name} is missing" for name in schema.get("required", ()) if name not in value)
        for name, item in value.items():
            if name in properties:
                yield from misfits(properties[name], item, f"{path}.{name}")
            elif schema.get("additionalProperties") is False:
                yield f"{path}: {name} is not known"
    elif isinstance(value, list):
        if len(value) < schema.get("minItems", 0):
            yield f"{path}: fewer than {schema['minItems']} items"
        for i, item in enumerate(value):
            yield from misfits(schema.get("items", {}), item, f"{path}[{i}]")
    elif isinstance(value, str):
        if len(value) < schema.get("minLength", 0) or not re.fullmatch(schema.get("pattern", "(?s).*"), value):
            yield f"{path}: {value!r} has not the form {schema.get('pattern', 'of a name')}"
    elif isinstance(value, int) and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        yield f"{path}: {value} is not within {schema.get('minimum')} to {schema.get('maximum')}"
