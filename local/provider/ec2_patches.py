"""What the API server's EC2 does differently from moto where volumes are copied.

moto's image has one disk of 15 GiB whatever its server has, takes no tags for the snapshots in an image nor for a copy
of one, forgets keys, and knows neither volumes to leave out nor snapshots that go with their image. There is no data in
any of them: no server of EC2 runs here.
"""

from __future__ import annotations

from typing import Any

Tags = dict[str, str]


def apply() -> None:
    """Changes moto's classes; once per process is enough."""
    _snapshots_are_like_their_volumes()
    _images_have_the_disks_of_their_server()
    _copies_of_images_are_whole()
    _snapshots_may_go_with_their_image()


def _snapshots_are_like_their_volumes() -> None:
    from moto.core.responses import ActionResult
    from moto.ec2.models.elastic_block_store import EBSBackend, Snapshot
    from moto.ec2.responses.elastic_block_store import ElasticBlockStore

    snapshots, backend_class, responses = _any(Snapshot), _any(EBSBackend), _any(ElasticBlockStore)
    create = backend_class.create_snapshot

    def create_snapshot(self: Any, volume_id: str, description: str, *more: Any, **named: Any) -> Any:
        snapshot = create(self, volume_id, description, *more, **named)
        snapshot.kms_key_id = snapshot.volume.kms_key_id if snapshot.encrypted else None
        return snapshot

    def create_snapshots(self: Any) -> ActionResult:
        wanted = self._get_param("InstanceSpecification", {})
        server = self.ec2_backend.get_instance(wanted["InstanceId"])
        without = set(wanted.get("ExcludeDataVolumeIds") or ())
        boot = str(wanted.get("ExcludeBootVolume", False)).lower() != "true"
        tags, made = self._parse_tag_specification().get("snapshot", {}), []
        self.error_on_dryrun()
        for device, mapping in server.get_block_device_mapping:
            if mapping.volume_id in without or (device == server.root_device_name and not boot):
                continue
            snapshot = self.ec2_backend.create_snapshot(mapping.volume_id, self._get_param("Description", ""))
            copied = _tags(snapshot.volume) if self._get_param("CopyTagsFromSource") == "volume" else {}
            snapshot.add_tags({**copied, **tags})
            made.append(snapshot)
        return ActionResult({"Snapshots": made})

    snapshots.state = property(lambda self: self.status)
    backend_class.create_snapshot = create_snapshot
    responses.create_snapshots = create_snapshots


def _images_have_the_disks_of_their_server() -> None:
    from moto.ec2.exceptions import EC2ClientError
    from moto.ec2.models.amis import Ami, AmiBackend

    image_class, backend_class = _any(Ami), _any(AmiBackend)
    create, one_disk = backend_class.create_image, image_class.block_device_mappings.fget

    def create_image(self: Any, instance_id: str, name: str, description: str, tag_specifications: Any) -> Any:
        if any(image.name == name and image.owner_id == self.account_id for image in self.amis.values()):
            raise EC2ClientError("InvalidAMIName.Duplicate", f"AMI name {name} is already in use.")
        of_image = [one for one in tag_specifications if one["ResourceType"] == "image"]
        of_disks = {
            t["Key"]: t["Value"] for o in tag_specifications if o["ResourceType"] == "snapshot" for t in o["Tags"]
        }
        image = create(self, instance_id, name, description, of_image)
        disks = [
            (device, self.create_snapshot(mapping.volume_id, f"Created by CreateImage({instance_id}) for {image.id}"))
            for device, mapping in image.instance.get_block_device_mapping
        ]
        for _, snapshot in disks:
            snapshot.add_tags(of_disks)
        _has_disks(self, image, disks)
        return image

    def block_device_mappings(self: Any) -> list[dict[str, Any]]:
        if not getattr(self, "disks", None):
            return one_disk(self)
        return [
            {
                "DeviceName": device,
                "Ebs": {
                    "SnapshotId": snapshot.id,
                    "VolumeSize": snapshot.volume.size,
                    "VolumeType": snapshot.volume.volume_type,
                    "DeleteOnTermination": device == self.root_device_name,
                    "Encrypted": snapshot.encrypted,
                    "KmsKeyId": snapshot.kms_key_id,
                },
            }
            for device, snapshot in self.disks
        ]

    backend_class.create_image = create_image
    image_class.block_device_mappings = property(block_device_mappings)


def _copies_of_images_are_whole() -> None:
    from moto.core.responses import ActionResult
    from moto.ec2.models import ec2_backends
    from moto.ec2.responses.amis import AmisResponse

    responses = _any(AmisResponse)
    copy = responses.copy_image

    def copy_image(self: Any) -> ActionResult:
        backend, region = self.ec2_backend, self._get_param("SourceRegion")
        result: Any = copy(self)
        image = backend.amis[result.result["ImageId"]]
        (source,) = ec2_backends[backend.account_id][region].describe_images([self._get_param("SourceImageId")])
        tags = self._parse_tag_specification()
        copied = _tags(source) if self._get_bool_param("CopyImageTags") else {}
        image.add_tags({**copied, **tags.get("image", {})})
        image.root_device_name = source.root_device_name
        disks = []
        for device, snapshot in getattr(source, "disks", ()):
            made = backend.copy_snapshot(
                snapshot.id, region, f"Copied for DestinationAmi {image.id}", self._get_param("KmsKeyId")
            )
            made.encrypted = snapshot.encrypted or bool(self._get_bool_param("Encrypted"))
            made.add_tags(tags.get("snapshot", {}))
            disks.append((device, made))
        _has_disks(backend, image, disks)
        return result

    responses.copy_image = copy_image


def _snapshots_may_go_with_their_image() -> None:
    from moto.core.responses import ActionResult
    from moto.ec2.responses.amis import AmisResponse

    responses = _any(AmisResponse)
    deregister = responses.deregister_image

    def deregister_image(self: Any) -> ActionResult:
        image = self.ec2_backend.amis.get(self._get_param("ImageId"))
        result = deregister(self)
        if image is not None and self._get_bool_param("DeleteAssociatedSnapshots"):
            for _, snapshot in getattr(image, "disks", ()):
                self.ec2_backend.snapshots.pop(snapshot.id, None)
        return result

    responses.deregister_image = deregister_image


def _has_disks(backend: Any, image: Any, disks: list[tuple[str, Any]]) -> None:
    """Gives an image its disks, in place of the one that moto made up."""
    if disks:
        backend.snapshots.pop(image.ebs_snapshot.id, None)
        image.disks, image.ebs_snapshot = disks, disks[0][1]
        for _, snapshot in disks:
            snapshot.from_ami = image.id


def _any(changed: Any) -> Any:
    """A class whose methods are replaced."""
    return changed


def _tags(resource: Any) -> Tags:
    return {tag["key"]: tag["value"] for tag in resource.get_tags()}
