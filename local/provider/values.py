"""Property values of the engine's protocol as plain Python, and back.

A plain value is a dict, list, str, int, float, bool, None or `Asset`; one that only an update will tell is the string
`UNKNOWN`. Secrets are plain here: `to_properties` marks them again by their top-level name, which is coarser than the
program's own marks and so never reveals more.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"  # pulumi.runtime.rpc.UNKNOWN
ASSET = "zdm-asset:"  # marks the text that stands for an asset on its way through the SDK
DEFAULTS = "__defaults"  # names the inputs that the provider filled in, as the bridged AWS provider does

Plain = dict[str, Any]


@dataclass(frozen=True)
class Asset:
    """A file or text (`archive`: a folder or ZIP file) that the program handed over."""

    path: str | None = None
    text: str | None = None
    archive: bool = False
    known_sha256: str | None = field(default=None, compare=False)

    def read(self) -> bytes:
        if self.path is not None:
            return Path(self.path).read_bytes()
        assert self.text is not None, "the engine sent the hash of an asset, where its content was needed"
        return self.text.encode()

    def encode(self) -> str:
        return ASSET + json.dumps([self.path, self.text, self.archive, self.known_sha256])

    @staticmethod
    def decode(text: str) -> Asset:
        return Asset(*json.loads(text.removeprefix(ASSET)))

    @property
    def sha256(self) -> str:
        """Of the content as it is now, or as it was when this asset was recorded."""
        if self.known_sha256:
            return self.known_sha256
        if self.path is None:
            return hashlib.sha256(self.read()).hexdigest()
        with open(self.path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def to_plain(properties: Mapping[str, Any]) -> Plain:
    """Plain values of a map of `PropertyValue`; nulls and the engine's `__` keys (but the defaults) are left out."""
    return {
        name: plain
        for name, value in properties.items()
        if (not name.startswith("__") or name == DEFAULTS) and (plain := _plain(value.value)) is not None
    }


def _plain(value: Any) -> Any:
    import pulumi

    if isinstance(value, str):
        return Asset.decode(value) if value.startswith(ASSET) else value
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    if isinstance(value, pulumi.Asset | pulumi.Archive):
        raise ValueError("the local cloud does not take an asset within a list or map")
    if isinstance(value, Mapping):
        return {k: v for k, item in value.items() if (v := _plain(item.value)) is not None}
    return [_plain(item.value) for item in value]


def to_properties(plain: Mapping[str, Any], secrets: Collection[str] = ()) -> dict[str, Any]:
    """`PropertyValue`s of plain values; those named in `secrets` are marked secret."""
    return {
        name: _property(value).with_secret(True) if name in secrets and value != UNKNOWN else _property(value)
        for name, value in plain.items()
        if value is not None
    }


def _property(value: Any) -> Any:
    from pulumi.provider.experimental.property_value import PropertyValue

    if isinstance(value, Asset):
        return PropertyValue(value.encode())
    if isinstance(value, int) and not isinstance(value, bool):
        return PropertyValue(float(value))
    if isinstance(value, Mapping):
        return PropertyValue({k: _property(v) for k, v in value.items() if v is not None})
    if isinstance(value, list | tuple):
        return PropertyValue([_property(v) for v in value])
    return PropertyValue(value)


def secret_names(properties: Mapping[str, Any]) -> set[str]:
    """The top-level properties that hold a secret anywhere within."""
    return {name for name, value in properties.items() if _has_secret(value)}


def _has_secret(value: Any) -> bool:
    if value.is_secret:
        return True
    if isinstance(value.value, Mapping):
        return any(_has_secret(v) for v in value.value.values())
    return isinstance(value.value, tuple) and any(_has_secret(v) for v in value.value)


def has_unknown(value: Any) -> bool:
    """Whether a plain value is unknown, or has an unknown part."""
    if isinstance(value, Mapping):
        return any(has_unknown(v) for v in value.values())
    if isinstance(value, list):
        return any(has_unknown(v) for v in value)
    return bool(value == UNKNOWN)


def at_path(properties: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    """Every value at a dotted path (`[]` goes through a list), with the path that leads to it.

    A value that is missing although its parent is there comes as None, a missing parent as nothing.
    """
    head, _, rest = path.partition(".")
    name, listed = head.removesuffix("[]"), head.endswith("[]")
    value = properties.get(name)
    items = list(enumerate(value)) if isinstance(value, list) and (listed or rest) else [(None, value)]
    if listed and value is None:
        return
    for index, item in items:
        here = name if index is None else f"{name}[{index}]"
        if not rest:
            yield here, item
        elif isinstance(item, Mapping):
            yield from ((f"{here}.{deeper}", found) for deeper, found in at_path(item, rest))
