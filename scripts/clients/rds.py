"""RDS as the commands need it: clusters, instances and snapshots as data; requests that name what they fail on.

Invariants:
- What is not there is None, or absent from a list; any other refusal of AWS is a `ZdmError` with its code.
- `raw` is the description as AWS gave it: what a copy beside must be made like.
- Tags of `aws:` are AWS's own and never given back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from scripts.clients import aws
from scripts.errors import ZdmError

SnapshotKind = Literal["cluster", "instance"]

ABSENT = frozenset(
    {
        "DBClusterNotFoundFault",
        "DBInstanceNotFound",
        "DBInstanceNotFoundFault",
        "DBClusterSnapshotNotFoundFault",
        "DBSnapshotNotFound",
        "DBSnapshotNotFoundFault",
        "DBClusterEndpointNotFoundFault",
        "DBProxyNotFoundFault",
    }
)
BROKEN = frozenset(
    {
        "failed",
        "restore-error",
        "incompatible-restore",
        "incompatible-network",
        "incompatible-option-group",
        "incompatible-parameters",
        "incompatible-create",
        "inaccessible-encryption-credentials",
        "inaccessible-encryption-credentials-recoverable",
        "cloning-failed",
        "insufficient-capacity",
        "storage-full",
    }
)
"""States that no waiting mends (Amazon RDS and Aurora User Guides, "Viewing … status")."""

Tags = Mapping[str, str]


@dataclass(frozen=True)
class Snapshot:
    """A snapshot of a cluster or an instance. `status` is `available` once it can be restored."""

    kind: SnapshotKind
    name: str
    arn: str
    source: str
    """Identifier of the cluster or instance."""
    status: str
    percent: int
    size_gib: int
    created: datetime | None
    """When AWS says that it was taken: set once it is under way."""
    encrypted: bool
    key: str
    tags: Tags

    @property
    def available(self) -> bool:
        return self.status == "available"


@dataclass(frozen=True)
class Member:
    """An instance of a cluster."""

    name: str
    writer: bool


@dataclass(frozen=True)
class Cluster:
    """An Aurora cluster."""

    name: str
    arn: str
    resource_id: str
    """Stays when the cluster is renamed."""
    status: str
    host: str
    reader_host: str
    port: int
    master: str
    secret: str
    """ARN of the secret that RDS keeps for the master account; empty where it keeps none."""
    members: tuple[Member, ...]
    tags: Tags
    raw: Mapping[str, Any] = field(repr=False)

    @property
    def writer(self) -> str:
        return next((member.name for member in self.members if member.writer), "")


@dataclass(frozen=True)
class Instance:
    """A server: of a cluster, or on its own."""

    name: str
    arn: str
    resource_id: str
    status: str
    host: str
    port: int
    master: str
    secret: str
    tags: Tags
    raw: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Endpoint:
    """A custom endpoint of a cluster."""

    name: str
    cluster: str
    kind: str
    static: tuple[str, ...]
    excluded: tuple[str, ...]


def tag_list(tags: Tags) -> list[dict[str, str]]:
    """As RDS' and EC2's requests take them."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


class Rds:
    """One account and region. `client` is boto3's."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def call(self, operation: str, what: str, **arguments: Any) -> Any:
        """The answer of an operation (named as in boto3); None where what it is about is not there."""
        return aws.call(self._client, operation, what, arguments, ABSENT)

    def must(self, operation: str, what: str, **arguments: Any) -> Any:
        """The same, where it must be there."""
        answer = self.call(operation, what, **arguments)
        if answer is None:
            raise ZdmError(f"RDS: {operation} of {what}: it is not there")
        return answer

    def pages(self, operation: str, key: str, what: str, **arguments: Any) -> Iterator[Mapping[str, Any]]:
        """Every item of a listing."""
        marker: str | None = None
        while True:
            answer = self.call(operation, what, **arguments, Marker=marker)
            if answer is None:
                return
            yield from answer[key]
            marker = answer.get("Marker") or None
            if marker is None:
                return

    # --- servers ---

    def cluster(self, name: str) -> Cluster | None:
        found = list(self.pages("describe_db_clusters", "DBClusters", f"cluster {name}", DBClusterIdentifier=name))
        return _cluster(found[0]) if found else None

    def instance(self, name: str) -> Instance | None:
        found = list(self.pages("describe_db_instances", "DBInstances", f"instance {name}", DBInstanceIdentifier=name))
        return _instance(found[0]) if found else None

    def clusters(self) -> list[Cluster]:
        return [_cluster(one) for one in self.pages("describe_db_clusters", "DBClusters", "clusters")]

    def instances(self) -> list[Instance]:
        """Servers on their own and those of clusters."""
        return [_instance(one) for one in self.pages("describe_db_instances", "DBInstances", "instances")]

    def endpoints(self, cluster: str) -> list[Endpoint]:
        """A cluster's custom endpoints."""
        found = self.pages(
            "describe_db_cluster_endpoints", "DBClusterEndpoints", f"cluster {cluster}", DBClusterIdentifier=cluster
        )
        return [
            Endpoint(
                one["DBClusterEndpointIdentifier"],
                one["DBClusterIdentifier"],
                one.get("CustomEndpointType") or "READER",
                tuple(one.get("StaticMembers") or ()),
                tuple(one.get("ExcludedMembers") or ()),
            )
            for one in found
            if one.get("EndpointType") == "CUSTOM"
        ]

    # --- snapshots ---

    def snapshots(self, kind: SnapshotKind, source: str | None = None) -> list[Snapshot]:
        """Manual snapshots of this account, or those of one source; with their tags."""
        if kind == "cluster":
            found = self.pages(
                "describe_db_cluster_snapshots", "DBClusterSnapshots", "cluster snapshots",
                SnapshotType="manual", DBClusterIdentifier=source,
            )  # fmt: skip
        else:
            found = self.pages(
                "describe_db_snapshots", "DBSnapshots", "snapshots",
                SnapshotType="manual", DBInstanceIdentifier=source,
            )  # fmt: skip
        return [_snapshot(kind, one) for one in found]

    def snapshot(self, kind: SnapshotKind, name: str) -> Snapshot | None:
        """By its name, or its ARN where another account shares it."""
        if kind == "cluster":
            found = self.pages(
                "describe_db_cluster_snapshots", "DBClusterSnapshots", f"snapshot {name}",
                DBClusterSnapshotIdentifier=name,
            )  # fmt: skip
        else:
            found = self.pages("describe_db_snapshots", "DBSnapshots", f"snapshot {name}", DBSnapshotIdentifier=name)
        return next((_snapshot(kind, one) for one in found), None)

    def take(self, kind: SnapshotKind, source: str, name: str, tags: Tags) -> Snapshot:
        """Asks for a snapshot; AWS takes it in its own time."""
        if kind == "cluster":
            answer = self.must(
                "create_db_cluster_snapshot", f"cluster {source}",
                DBClusterIdentifier=source, DBClusterSnapshotIdentifier=name, Tags=tag_list(tags),
            )  # fmt: skip
            return _snapshot(kind, answer["DBClusterSnapshot"])
        answer = self.must(
            "create_db_snapshot", f"instance {source}",
            DBInstanceIdentifier=source, DBSnapshotIdentifier=name, Tags=tag_list(tags),
        )  # fmt: skip
        return _snapshot(kind, answer["DBSnapshot"])

    def copy(self, kind: SnapshotKind, source: str, name: str, key: str, tags: Tags, region: str | None = None) -> None:
        """Asks for a copy under another key (`source`: an ARN); `region` where it comes from another one."""
        if kind == "cluster":
            self.must(
                "copy_db_cluster_snapshot", f"snapshot {source}",
                SourceDBClusterSnapshotIdentifier=source, TargetDBClusterSnapshotIdentifier=name, KmsKeyId=key,
                Tags=tag_list(tags), SourceRegion=region,
            )  # fmt: skip
        else:
            self.must(
                "copy_db_snapshot", f"snapshot {source}",
                SourceDBSnapshotIdentifier=source, TargetDBSnapshotIdentifier=name, KmsKeyId=key,
                Tags=tag_list(tags), SourceRegion=region,
            )  # fmt: skip

    def share(self, kind: SnapshotKind, name: str, account: str) -> None:
        """Lets another account copy and restore it."""
        if kind == "cluster":
            self.must(
                "modify_db_cluster_snapshot_attribute", f"snapshot {name}",
                DBClusterSnapshotIdentifier=name, AttributeName="restore", ValuesToAdd=[account],
            )  # fmt: skip
        else:
            self.must(
                "modify_db_snapshot_attribute", f"snapshot {name}",
                DBSnapshotIdentifier=name, AttributeName="restore", ValuesToAdd=[account],
            )  # fmt: skip

    def forget(self, kind: SnapshotKind, name: str) -> None:
        """Deletes a snapshot; one that is gone is fine."""
        if kind == "cluster":
            self.call("delete_db_cluster_snapshot", f"snapshot {name}", DBClusterSnapshotIdentifier=name)
        else:
            self.call("delete_db_snapshot", f"snapshot {name}", DBSnapshotIdentifier=name)

    # --- tags ---

    def tags_of(self, arn: str) -> dict[str, str]:
        if not arn:
            return {}
        answer = self.call("list_tags_for_resource", arn, ResourceName=arn)
        return _tags(answer["TagList"]) if answer else {}

    def tag(self, arn: str, tags: Tags) -> None:
        self.must("add_tags_to_resource", arn, ResourceName=arn, Tags=tag_list(tags))

    def untag(self, arn: str, keys: Sequence[str]) -> None:
        if keys:
            self.must("remove_tags_from_resource", arn, ResourceName=arn, TagKeys=list(keys))


# --- descriptions as data ---------------------------------------------------------------------------------------------


def _tags(found: Any) -> dict[str, str]:
    return {one["Key"]: one.get("Value", "") for one in found or () if not one["Key"].startswith("aws:")}


def _snapshot(kind: SnapshotKind, raw: Mapping[str, Any]) -> Snapshot:
    cluster = kind == "cluster"
    return Snapshot(
        kind=kind,
        name=raw["DBClusterSnapshotIdentifier" if cluster else "DBSnapshotIdentifier"],
        arn=raw["DBClusterSnapshotArn" if cluster else "DBSnapshotArn"],
        source=raw["DBClusterIdentifier" if cluster else "DBInstanceIdentifier"],
        status=raw.get("Status") or "creating",
        percent=int(raw.get("PercentProgress") or 0),
        size_gib=int(raw.get("AllocatedStorage") or 0),
        created=raw.get("SnapshotCreateTime"),
        encrypted=bool(raw.get("StorageEncrypted" if cluster else "Encrypted")),
        key=raw.get("KmsKeyId") or "",
        tags=_tags(raw.get("TagList")),
    )


def _cluster(raw: Mapping[str, Any]) -> Cluster:
    return Cluster(
        name=raw["DBClusterIdentifier"],
        arn=raw.get("DBClusterArn") or "",
        resource_id=raw.get("DbClusterResourceId") or "",
        status=raw.get("Status") or "creating",
        host=raw.get("Endpoint") or "",
        reader_host=raw.get("ReaderEndpoint") or "",
        port=int(raw.get("Port") or 5432),
        master=raw.get("MasterUsername") or "",
        secret=str((raw.get("MasterUserSecret") or {}).get("SecretArn") or ""),
        members=tuple(
            Member(one["DBInstanceIdentifier"], bool(one.get("IsClusterWriter")))
            for one in raw.get("DBClusterMembers") or ()
        ),
        tags=_tags(raw.get("TagList")),
        raw=raw,
    )


def _instance(raw: Mapping[str, Any]) -> Instance:
    there = raw.get("Endpoint") or {}
    return Instance(
        name=raw["DBInstanceIdentifier"],
        arn=raw.get("DBInstanceArn") or "",
        resource_id=raw.get("DbiResourceId") or "",
        status=raw.get("DBInstanceStatus") or "creating",
        host=there.get("Address") or "",
        port=int(there.get("Port") or 3306),
        master=raw.get("MasterUsername") or "",
        secret=str((raw.get("MasterUserSecret") or {}).get("SecretArn") or ""),
        tags=_tags(raw.get("TagList")),
        raw=raw,
    )
