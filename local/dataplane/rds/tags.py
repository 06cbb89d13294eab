"""Tags in RDS' API: of clusters, instances and snapshots. Those of anything else are kept by the API server."""

from __future__ import annotations

from collections.abc import Callable

from local.dataplane import snapshots
from local.dataplane.mysql import Server
from local.dataplane.postgres import Storage, of_instance
from local.dataplane.rds import words
from local.dataplane.rds.place import Place, Reply, Request
from local.provider.handler import HandlerError

Tags = dict[str, str]


def read(place: Place, request: Request) -> Reply | None:
    return _with(place, request, lambda tags: tags)


def add(place: Place, request: Request) -> Reply | None:
    new = {tag["Key"]: tag.get("Value", "") for tag in request["Tags"]}
    return _with(place, request, lambda tags: {**tags, **new})


def remove(place: Place, request: Request) -> Reply | None:
    gone = set(request["TagKeys"])
    return _with(place, request, lambda tags: {key: value for key, value in tags.items() if key not in gone})


def _with(place: Place, request: Request, change: Callable[[Tags], Tags]) -> Reply | None:
    """Changes the tags of what the ARN names, and tells them. None: it is none of ours."""
    arn = str(request["ResourceName"])
    kind, _, name = arn.split(":", 5)[5].partition(":")
    match kind:
        case "cluster":
            storage = Storage(place.stack, name)
            if not storage.exists():
                raise HandlerError(f"DBClusterNotFoundFault: DBCluster {name} not found.")
            with storage.locked():
                tags = _changed(storage.settings.setdefault("described", {}), change)
                storage.save()
        case "db":
            tags = _of_instance(place, name, change)
        case "cluster-snapshot" | "snapshot":
            family: snapshots.Kind = "aurora" if kind == "cluster-snapshot" else "mysql"
            copy = snapshots.found(place.stack, family, arn)
            if copy is None:
                fault = "DBClusterSnapshotNotFoundFault" if family == "aurora" else "DBSnapshotNotFound"
                raise HandlerError(f"{fault}: {name} not found.")
            before = copy.described.get("tagsAll") or {}
            tags = change(before)
            if tags != before:
                copy.describe(tagsAll=tags)
        case _:
            return None
    return {"TagList": words.tag_list(tags)}


def _of_instance(place: Place, name: str, change: Callable[[Tags], Tags]) -> Tags:
    storage, server = of_instance(place.stack, name), Server(place.stack, name)
    if storage is not None:
        with storage.locked():
            tags = _changed(storage.settings["instances"][name].setdefault("described", {}), change)
            storage.save()
        return tags
    if not server.exists():
        raise HandlerError(f"DBInstanceNotFound: DBInstance {name} not found.")
    tags = change(server.described.get("tagsAll") or {})
    server.describe({**server.described, "tagsAll": tags})
    return tags


def _changed(described: Request, change: Callable[[Tags], Tags]) -> Tags:
    described["tagsAll"] = change(described.get("tagsAll") or {})
    tags: Tags = described["tagsAll"]
    return tags
