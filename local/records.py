"""What a local stack has realised: one JSON file for each resource, whatever stands behind it.

Handlers look here for each other (a service for its target group, a server for its parameter group). Files are private
to the user, because a resource's properties may hold secrets; they are written in one step, so a reader needs no lock.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.processes import locked, write_atomically
from local.provider.values import Asset

Properties = dict[str, Any]


@dataclass(frozen=True)
class Record:
    """One realised resource. `inputs` are what the program asked for, `outputs` its full state."""

    token: str
    id: str
    inputs: Properties
    outputs: Properties
    urn: str = ""
    """What the engine calls it; empty where it was not asked."""


class Records:
    """The records of one stack, in files under `home`."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def put(self, token: str, id: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any], urn: str = "") -> Record:
        """Writes a record, replacing the one of the same token and id."""
        content = {"token": token, "id": id, "inputs": inputs, "outputs": outputs, "urn": urn}
        with locked(self.home / "lock"):
            write_atomically(self._file(token, id), json.dumps(content, indent=1, default=_encode), mode=0o600)
        return Record(token, id, dict(inputs), dict(outputs), urn)

    def get(self, token: str, id: str) -> Record | None:
        return _load(self._file(token, id))

    def find(self, token: str, **outputs: Any) -> list[Record]:
        """The records of a token whose outputs have all these values."""
        return [r for r in self.all(token) if all(r.outputs.get(name) == value for name, value in outputs.items())]

    def all(self, token: str | None = None) -> list[Record]:
        """All records, or those of one token, in a stable order."""
        folder = _slug(token) if token else "*"
        loaded = (_load(file) for file in sorted(self.home.glob(f"{folder}/*.json")))
        return [record for record in loaded if record is not None]

    def kinds(self) -> set[str]:
        """The kinds, as `aws:ec2:Vpc`, of which there are records. Reads no record."""
        return {file.parent.name.replace(".", ":") for file in self.home.glob("*/*.json")}

    def forget_others(self, token: str, id: str, urn: str) -> None:
        """Forgets what a resource was before the engine was told that another one is it now."""
        for record in self.all(token):
            if record.urn == urn and record.id != id:
                self.delete(token, record.id)

    def delete(self, token: str, id: str) -> None:
        """Forgets a resource. One that is not there is no error."""
        with locked(self.home / "lock"), contextlib.suppress(FileNotFoundError):
            self._file(token, id).unlink()

    def _file(self, token: str, id: str) -> Path:
        readable = re.sub(r"[^A-Za-z0-9_.-]+", "_", id)[-60:].lstrip(".")
        return self.home / _slug(token) / f"{readable}.{hashlib.sha256(id.encode()).hexdigest()[:10]}.json"


def _slug(token: str) -> str:
    """`aws:rds/instance:Instance` as a folder's name: `aws.rds.Instance`."""
    package, module, name = token.split(":")
    return f"{package}.{module.partition('/')[0]}.{name}"


def _load(file: Path) -> Record | None:
    try:
        content = json.loads(file.read_text(), object_hook=_decode)
    except FileNotFoundError:
        return None
    return Record(content["token"], content["id"], content["inputs"], content["outputs"], content.get("urn", ""))


def _encode(value: Any) -> Any:
    if isinstance(value, Asset):
        return {"zdm:asset": {"path": value.path, "text": value.text, "archive": value.archive}, "sha256": value.sha256}
    raise TypeError(f"a resource's property cannot be a {type(value).__name__}")


def _decode(content: dict[str, Any]) -> Any:
    return Asset(**content["zdm:asset"], known_sha256=content["sha256"]) if "zdm:asset" in content else content
