"""Snapshots in RDS' API: taken, described, copied, shared, deleted. They are the very copies that the program makes.

A snapshot is found across the stacks of this machine, which share one account. One of another region than its stack's
has the region in its folder's name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from local.dataplane import cloud, snapshots
from local.dataplane.mysql import Server
from local.dataplane.postgres import Storage
from local.dataplane.rds import words
from local.dataplane.rds.place import Place, Reply, Request, chosen, plain, status
from local.dataplane.rds.progress import Kind
from local.dataplane.snapshots import Copy
from local.provider.handler import Handler, HandlerError


@dataclass(frozen=True)
class Family:
    """Copies of clusters or of servers, and what RDS calls them."""

    kind: snapshots.Kind
    entry: Kind
    name: str
    source: str
    words: tuple[words.Word, ...]
    handler: Callable[[], Handler]
    not_found: str
    exists: str

    @property
    def id(self) -> str:
        """`DBSnapshotIdentifier`."""
        return f"{self.name}Identifier"

    @property
    def named(self) -> str:
        """`dbSnapshotIdentifier`."""
        return f"db{self.id[2:]}"

    @property
    def arn(self) -> str:
        return f"db{self.name[2:]}Arn"


CLUSTERS = Family(
    "aurora", "cluster-snapshot", "DBClusterSnapshot", "DBClusterIdentifier", words.CLUSTER_SNAPSHOT,
    snapshots.ClusterSnapshot, "DBClusterSnapshotNotFoundFault", "DBClusterSnapshotAlreadyExistsFault",
)  # fmt: skip
SERVERS = Family(
    "mysql", "snapshot", "DBSnapshot", "DBInstanceIdentifier", words.SNAPSHOT,
    snapshots.InstanceSnapshot, "DBSnapshotNotFound", "DBSnapshotAlreadyExists",
)  # fmt: skip
FAMILIES = (CLUSTERS, SERVERS)


def describe(family: Family, place: Place, request: Request) -> Reply:
    filters: dict[str, Callable[[Reply], Any]] = {
        "db-cluster-id" if family is CLUSTERS else "db-instance-id": lambda one: one[family.source],
        "db-cluster-snapshot-id" if family is CLUSTERS else "db-snapshot-id": lambda one: one[family.id],
        "snapshot-type": lambda one: one["SnapshotType"],
        "engine": lambda one: one["Engine"],
        "db-cluster-resource-id": lambda one: one.get("DbClusterResourceId"),
        "dbi-resource-id": lambda one: one.get("DbiResourceId"),
    }
    found = _all(family, place)
    if wanted := request.get(family.id):
        found = [one for one in found if wanted in (one[family.id], one.get(f"{family.name}Arn"))]
        if not found:
            raise HandlerError(f"{family.not_found}: {family.name} {wanted} not found.")
    if source := request.get(family.source):
        found = [one for one in found if one[family.source] == plain(source)]
    if (kind := request.get("SnapshotType")) in ("manual", "automated"):
        found = [one for one in found if one["SnapshotType"] == kind]
    elif kind in ("shared", "public", "awsbackup"):
        found = []  # of other accounts, or of a backup plan: this machine has neither
    return {f"{family.name}s": chosen(found, request, filters)}


def _all(family: Family, place: Place) -> list[Reply]:
    made = [
        copy
        for stack in snapshots.neighbourhood(place.stack)
        for copy in Copy.all(stack, family.kind)
        if copy.described.get("region") in (None, place.region)
    ]
    entries = [e for e in place.progress.all(family.entry) if not any(c.name == e.name for c in made)]
    under_way = [
        {**words.told(family.words, entry.known), "Status": status(entry, None), "PercentProgress": 0}
        for entry in entries
        if entry.known.get("region") == place.region
    ]
    return sorted([*(_told(family, place, copy) for copy in made), *under_way], key=lambda one: str(one[family.id]))


def _told(family: Family, place: Place, copy: Copy) -> Reply:
    known = {
        family.named: copy.name.partition(".")[0],
        "engine": "aurora-postgresql" if family is CLUSTERS else "mysql",
        "engineVersion": copy.restored.version,
        "masterUsername": copy.restored.username,
        "snapshotType": "manual",
        **copy.described,
    }
    entry = place.progress.of(family.entry, copy.name)
    return {**words.told(family.words, known), "Status": status(entry, "available")}


def create(family: Family, place: Place, request: Request) -> Reply:
    inputs: Request = {"region": place.region, "tagsAll": {}, **words.asked(family.words, request)}
    name, source = str(inputs[family.named]).lower(), plain(request[family.source])
    inputs[family.named] = name
    of: snapshots.Restored
    if family is CLUSTERS:
        storage = Storage(place.stack, source)
        if not storage.exists():
            raise HandlerError(f"DBClusterNotFoundFault: DBCluster {source} not found.")
        place.idle("cluster", source)
        of = snapshots.of_cluster(storage, inputs)
    else:
        server = Server(place.stack, source)
        if not server.exists():
            raise HandlerError(f"DBInstanceNotFound: DBInstance {source} not found.")
        place.idle("db", source)
        of = snapshots.of_instance(server, inputs)
    inputs["dbClusterIdentifier" if family is CLUSTERS else "dbInstanceIdentifier"] = source
    demand_free(family, place, name)
    known = {**of.described, "createdAt": cloud.now(), "snapshotType": "manual"}
    place.begin(family.entry, name, "creating", lambda: family.handler().create(place.stack, name, inputs), known)
    return {family.name: {**words.told(family.words, known), "Status": "creating", "PercentProgress": 0}}


def copy(family: Family, place: Place, request: Request) -> Reply:
    """Into the request's region, whatever the source's."""
    wanted = str(request[f"Source{family.id}"])
    region = wanted.split(":")[3] if wanted.startswith("arn:") else request.get("SourceRegion") or place.region
    source = snapshots.found(place.stack, family.kind, wanted, region)
    if source is None:
        raise HandlerError(f"{family.not_found}: {family.name} {wanted} not found.")
    place.idle(family.entry, source.name)
    name = str(request[f"Target{family.id}"]).lower()
    demand_free(family, place, name)
    was = source.described
    if region != place.region and was.get("kmsKeyId") and not request.get("KmsKeyId"):
        raise HandlerError("KMSKeyNotAccessibleFault: an encrypted copy in another region needs a KmsKeyId of there")
    tags = {**((was.get("tagsAll") or {}) if request.get("CopyTags") else {}), **_tags(request)}
    arn = place.arn(f"{family.entry}:{name}")
    origin = {"sourceDbClusterSnapshotArn": was.get(family.arn)}
    if family is SERVERS:
        origin = {
            "sourceDbSnapshotIdentifier": was.get(family.arn),
            "sourceRegion": region,
            "originalCreatedAt": was.get("originalCreatedAt") or was.get("createdAt"),
        }
    known = {
        **{key: value for key, value in was.items() if key != "shares"},
        **origin,
        family.named: name,
        family.arn: arn,
        "region": place.region,
        "createdAt": cloud.now(),
        "snapshotType": "manual",
        "tagsAll": tags,
        **({"kmsKeyId": request["KmsKeyId"]} if request.get("KmsKeyId") else {}),
    }
    target = Copy(place.stack, family.kind, _folder(place, was, name))
    place.begin(family.entry, target.name, "creating", lambda: target.take_from(source, known), known)
    return {family.name: {**words.told(family.words, known), "Status": "creating", "PercentProgress": 0}}


def _folder(place: Place, source: Request, name: str) -> str:
    return name if source.get("region") in (None, place.region) else f"{name}.{place.region}"


def delete(family: Family, place: Place, request: Request) -> Reply:
    wanted = str(request[family.id])
    found = snapshots.found(place.stack, family.kind, wanted, place.region)
    if found is None:
        entry = place.progress.of(family.entry, plain(wanted))
        if entry is None or not entry.failed:
            if entry is not None:
                place.idle(family.entry, entry.name)
            raise HandlerError(f"{family.not_found}: {family.name} {wanted} not found.")
        place.progress.forget(family.entry, entry.name)
        return {family.name: {**words.told(family.words, entry.known), "Status": "deleted"}}
    place.idle(family.entry, found.name)
    gone = _told(family, place, found)
    found.remove()
    return {family.name: {**gone, "Status": "deleted"}}


def shares(family: Family, place: Place, request: Request) -> Reply:
    return _attributes(family, _known(family, place, request))


def share(family: Family, place: Place, request: Request) -> Reply:
    """Lets other accounts restore the snapshot. There is none on this machine; it is kept and told."""
    if request["AttributeName"] != "restore":
        raise HandlerError(f"InvalidParameterValue: Invalid attribute name: {request['AttributeName']}")
    found = _known(family, place, request)
    now = [*(found.described.get("shares") or ()), *(request.get("ValuesToAdd") or ())]
    kept = sorted(set(now) - set(request.get("ValuesToRemove") or ()))
    if "all" in kept and found.described.get("kmsKeyId"):
        raise HandlerError("InvalidParameterValue: an encrypted snapshot cannot be public")
    found.describe(shares=kept)
    return _attributes(family, found)


def _attributes(family: Family, found: Copy) -> Reply:
    return {
        f"{family.name}AttributesResult": {
            family.id: found.name.partition(".")[0],
            f"{family.name}Attributes": [
                {"AttributeName": "restore", "AttributeValues": found.described.get("shares") or []}
            ],
        }
    }


def _known(family: Family, place: Place, request: Request) -> Copy:
    found = snapshots.found(place.stack, family.kind, str(request[family.id]), place.region)
    if found is None:
        raise HandlerError(f"{family.not_found}: {family.name} {request[family.id]} not found.")
    return found


def demand_free(family: Family, place: Place, name: str) -> None:
    entry = place.progress.of(family.entry, name)
    if snapshots.found(place.stack, family.kind, name, place.region) or (entry and not entry.failed):
        raise HandlerError(
            f"{family.exists}: Cannot create the snapshot because one with the identifier {name} exists."
        )


def _tags(request: Request) -> dict[str, str]:
    return {tag["Key"]: tag.get("Value", "") for tag in request.get("Tags") or ()}
