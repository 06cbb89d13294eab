"""EC2 as snapshots need it: volumes, images and snapshots of disks as data; requests that name what they fail on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from scripts.clients import aws
from scripts.clients.rds import tag_list
from scripts.errors import ZdmError

ABSENT = frozenset({"InvalidSnapshot.NotFound", "InvalidAMIID.NotFound", "InvalidAMIID.Unavailable"})


@dataclass(frozen=True)
class Disk:
    """An EBS volume; `server` and `device` are empty where it is not attached."""

    volume: str
    size_gib: int
    server: str
    device: str


@dataclass(frozen=True)
class DiskSnapshot:
    """A snapshot of a volume (`snap-…`), or an image of a server (`ami-…`) with its own snapshots in `disks`."""

    kind: Literal["disk", "image"]
    name: str
    source: str
    status: str
    percent: int
    size_gib: int
    created: datetime | None
    encrypted: bool
    key: str
    tags: Mapping[str, str]
    disks: tuple[str, ...] = ()

    @property
    def available(self) -> bool:
        return self.status in ("completed", "available")


class Ec2:
    """One account and region. `client` is boto3's."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def call(self, operation: str, what: str, **arguments: Any) -> Any:
        """The answer of an operation; None where what it is about is not there."""
        return aws.call(self._client, operation, what, arguments, ABSENT)

    def disks(self, servers: Sequence[str] = (), volumes: Sequence[str] = ()) -> list[Disk]:
        """The volumes attached to these servers, and these volumes."""
        found: dict[str, Disk] = {}
        if servers:
            for raw in self._pages(
                "describe_volumes", "Volumes", Filters=[{"Name": "attachment.instance-id", "Values": list(servers)}]
            ):
                found[raw["VolumeId"]] = _disk(raw)
        if volumes:
            for raw in self._pages("describe_volumes", "Volumes", VolumeIds=list(volumes)):
                found[raw["VolumeId"]] = _disk(raw)
        return list(found.values())

    def root_of(self, server: str) -> str:
        """The device of a server's root volume."""
        answer = self.call("describe_instances", server, InstanceIds=[server])
        servers = [one for group in answer["Reservations"] for one in group["Instances"]] if answer else []
        if not servers:
            raise ZdmError(f"EC2: there is no server {server} (setting source.existing.serverIds)")
        return str(servers[0].get("RootDeviceName") or "")

    def snapshot_server(self, server: str, exclude: Sequence[str], root: bool, tags: Mapping[str, str]) -> list[str]:
        """Asks for snapshots of all of a server's volumes but `exclude`, of one moment; their ids."""
        answer = self.call(
            "create_snapshots",
            server,
            InstanceSpecification={
                "InstanceId": server,
                "ExcludeBootVolume": not root,
                **({"ExcludeDataVolumeIds": list(exclude)} if exclude else {}),
            },
            Description=tags.get("Name", ""),
            TagSpecifications=[{"ResourceType": "snapshot", "Tags": tag_list(tags)}],
        )
        return [one["SnapshotId"] for one in answer["Snapshots"]]

    def snapshot_volume(self, volume: str, tags: Mapping[str, str]) -> str:
        """Asks for a snapshot of one volume; its id."""
        answer = self.call(
            "create_snapshot",
            volume,
            VolumeId=volume,
            Description=tags.get("Name", ""),
            TagSpecifications=[{"ResourceType": "snapshot", "Tags": tag_list(tags)}],
        )
        return str(answer["SnapshotId"])

    def image_server(self, server: str, name: str, tags: Mapping[str, str]) -> str:
        """Asks for an image of a server, which goes on running; its id."""
        answer = self.call(
            "create_image",
            server,
            InstanceId=server,
            Name=name,
            NoReboot=True,
            Description=tags.get("Name", ""),
            TagSpecifications=[{"ResourceType": "image", "Tags": tag_list(tags)}],
        )
        return str(answer["ImageId"])

    def tagged(self, key: str, values: Sequence[str]) -> list[DiskSnapshot]:
        """Images and snapshots of this account with one of these values under a tag."""
        filters = [{"Name": f"tag:{key}", "Values": list(values)}]
        images = self._pages("describe_images", "Images", Owners=["self"], Filters=filters)
        disks = self._pages("describe_snapshots", "Snapshots", OwnerIds=["self"], Filters=filters)
        return [*(_image(raw) for raw in images), *(_disk_snapshot(raw) for raw in disks)]

    def copy(self, one: DiskSnapshot, name: str, key: str, region: str, tags: Mapping[str, str]) -> str:
        """Asks for a copy in this client's region, under a key of this region; its id."""
        if one.kind == "image":
            answer = self.call(
                "copy_image", one.name, Name=name, SourceImageId=one.name, SourceRegion=region, Encrypted=True,
                KmsKeyId=key, TagSpecifications=[{"ResourceType": "image", "Tags": tag_list(tags)}],
            )  # fmt: skip
            return str(answer["ImageId"])
        answer = self.call(
            "copy_snapshot", one.name, SourceSnapshotId=one.name, SourceRegion=region, Encrypted=True, KmsKeyId=key,
            TagSpecifications=[{"ResourceType": "snapshot", "Tags": tag_list(tags)}],
        )  # fmt: skip
        return str(answer["SnapshotId"])

    def share(self, one: DiskSnapshot, account: str) -> None:
        """Lets another account use it, and the snapshots in an image with it."""
        if one.kind == "image":
            self.call(
                "modify_image_attribute", one.name,
                ImageId=one.name, LaunchPermission={"Add": [{"UserId": account}]},
            )  # fmt: skip
        for disk in one.disks or (one.name,):
            self.call(
                "modify_snapshot_attribute", disk,
                SnapshotId=disk, Attribute="createVolumePermission", OperationType="add", UserIds=[account],
            )  # fmt: skip

    def tag(self, names: Sequence[str], tags: Mapping[str, str]) -> None:
        self.call("create_tags", ", ".join(names), Resources=list(names), Tags=tag_list(tags))

    def untag(self, names: Sequence[str], keys: Sequence[str]) -> None:
        self.call("delete_tags", ", ".join(names), Resources=list(names), Tags=[{"Key": key} for key in keys])

    def forget(self, one: DiskSnapshot) -> None:
        """Deletes an image with its snapshots, or a snapshot; what is gone is fine."""
        if one.kind == "image":
            self.call("deregister_image", one.name, ImageId=one.name)
            for disk in one.disks:
                self.call("delete_snapshot", disk, SnapshotId=disk)
        else:
            self.call("delete_snapshot", one.name, SnapshotId=one.name)

    def _pages(self, operation: str, key: str, **arguments: Any) -> list[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = []
        token: str | None = None
        while True:
            answer = self.call(operation, key.lower(), **arguments, NextToken=token)
            found += answer[key] if answer else []
            token = (answer or {}).get("NextToken") or None
            if token is None:
                return found


def _tags(raw: Mapping[str, Any]) -> dict[str, str]:
    return {one["Key"]: one.get("Value", "") for one in raw.get("Tags") or () if not one["Key"].startswith("aws:")}


def _disk(raw: Mapping[str, Any]) -> Disk:
    attached: Mapping[str, Any] = next(iter(raw.get("Attachments") or ()), {})
    return Disk(
        raw["VolumeId"], int(raw.get("Size") or 0), attached.get("InstanceId") or "", attached.get("Device") or ""
    )


def _disk_snapshot(raw: Mapping[str, Any]) -> DiskSnapshot:
    return DiskSnapshot(
        kind="disk",
        name=raw["SnapshotId"],
        source=raw.get("VolumeId") or "",
        status=raw.get("State") or "pending",
        percent=int(str(raw.get("Progress") or "0").rstrip("%") or 0),
        size_gib=int(raw.get("VolumeSize") or 0),
        created=raw.get("StartTime"),
        encrypted=bool(raw.get("Encrypted")),
        key=raw.get("KmsKeyId") or "",
        tags=_tags(raw),
    )


def _image(raw: Mapping[str, Any]) -> DiskSnapshot:
    disks = [mapping["Ebs"] for mapping in raw.get("BlockDeviceMappings") or () if mapping.get("Ebs")]
    made = raw.get("CreationDate")
    state = raw.get("State") or "pending"
    return DiskSnapshot(
        kind="image",
        name=raw["ImageId"],
        source=raw.get("SourceInstanceId") or "",
        status=state,
        percent=100 if state == "available" else 0,
        size_gib=sum(int(disk.get("VolumeSize") or 0) for disk in disks),
        created=datetime.fromisoformat(made.replace("Z", "+00:00")) if made else None,
        encrypted=any(disk.get("Encrypted") for disk in disks),
        key="",
        tags=_tags(raw),
        disks=tuple(disk["SnapshotId"] for disk in disks if disk.get("SnapshotId")),
    )
