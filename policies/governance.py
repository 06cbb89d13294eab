"""Order: who owns a resource and pays for it, names that do not stand in the way, versions that do not move."""

from __future__ import annotations

import importlib
import inspect
import json
import re
from collections.abc import Iterator

from policies.rule import UNKNOWN, Level, Resource, Rule, StackRule

TAGS = ("environment", "cost-centre", "owner", "data-class")
_AUTO_NAME = re.compile(r".+-[0-9a-f]{7}$")
_GROUPS = frozenset(
    {"aws:rds/clusterParameterGroup:ClusterParameterGroup", "aws:rds/parameterGroup:ParameterGroup"},
)


def can_have_tags(token: str) -> bool:
    """Whether a type of AWS has tags, by its class in the SDK."""
    package, module, kind = token.split(":")
    place = module.split("/")[0]
    name = f"pulumi_{package}" + ("" if place == "index" else f".{place}")
    try:
        made = getattr(importlib.import_module(name), kind)
    except (ImportError, AttributeError):
        return True
    return "tags" in inspect.signature(made._internal_init).parameters


def _tags(resource: Resource) -> Iterator[str]:
    missing = [tag for tag in TAGS if not resource.tags.get(tag)]
    if missing and resource.props.get("tags") is not UNKNOWN and can_have_tags(resource.type):
        yield f"tags are missing: {', '.join(missing)}"


def _group_name(resource: Resource) -> Iterator[str]:
    name = resource.at("name")
    if isinstance(name, str) and not resource.at("namePrefix") and not _AUTO_NAME.match(name):
        yield f"name is fixed: {name!r}"


def _version(resource: Resource) -> Iterator[str]:
    version, upgrades = resource.at("engineVersion"), resource.at("autoMinorVersionUpgrade")
    if version is UNKNOWN:
        return
    if not version:
        yield "engineVersion must be set"
    elif upgrades is not False and upgrades is not UNKNOWN and resource.type not in _WITHOUT_UPGRADES:
        major = 1 if "postgresql" in str(resource.at("engine")) else 2
        if len(str(version).split(".")) > major:
            yield f"engineVersion {version} names a minor version, and autoMinorVersionUpgrade would change it"


_WITHOUT_UPGRADES = frozenset({"aws:rds/cluster:Cluster"})
"""Here the instances decide about upgrades."""


def _images(resource: Resource) -> Iterator[str]:
    text = resource.text("containerDefinitions")
    for container in json.loads(text) if text else []:
        image = str(container.get("image", ""))
        name = image.rpartition("/")[2]
        if "@sha256:" not in image and (":" not in name or name.endswith(":latest")):
            yield f"container {container.get('name')} runs {image or 'no image'}, whichever that is at the time"


def _digests(resource: Resource) -> Iterator[str]:
    text = resource.text("containerDefinitions")
    if resource.environment == "prod":
        for container in json.loads(text) if text else []:
            if "@sha256:" not in str(container.get("image", "")):
                yield f"container {container.get('name')} runs {container.get('image')}, a tag that can be moved"


_TASKS = frozenset({"aws:ecs/taskDefinition:TaskDefinition"})


class _Every(frozenset[str]):
    """All types of AWS; what stands in it is left out."""

    def __contains__(self, token: object) -> bool:
        return str(token).startswith("aws:") and not super().__contains__(token)


RULES: list[Rule | StackRule] = [
    Rule(
        "tagged",
        "Every resource says its environment, cost centre, owner and data class.",
        "Make it with the stack's provider, whose default_tags has them.",
        _Every(),
        _tags,
    ),
    Rule(
        "groups-auto-named",
        "Parameter groups are named by the engine, so that a new one can be made before the old one goes.",
        "Leave out name.",
        _GROUPS,
        _group_name,
    ),
    Rule(
        "versions-pinned",
        "Engines stay at the version that was tested.",
        "Set engine_version, and auto_minor_version_upgrade=False; or name the major version only.",
        frozenset(
            {
                "aws:rds/cluster:Cluster",
                "aws:rds/clusterInstance:ClusterInstance",
                "aws:rds/instance:Instance",
                "aws:dms/replicationInstance:ReplicationInstance",
            }
        ),
        _version,
    ),
    Rule(
        "images-pinned",
        "Containers run the image that was tested.",
        "Name the image with a tag other than latest, or with its digest.",
        _TASKS,
        _images,
    ),
    Rule(
        "images-by-digest",
        "Production's containers name their image by its digest.",
        "Promote the digest that staging ran: IMAGE@sha256:...",
        _TASKS,
        _digests,
        # advisory: with the repository's tags immutable, as ImageRepository makes them, a tag is as good
        Level.ADVISORY,
    ),
]
