"""Copies of what is not a database, and backups: volumes, images, vaults and plans, and what follows their events.

Copies of databases are real parts (`local.dataplane.snapshots`). Nothing runs a plan here: vaults stay empty.
"""

from __future__ import annotations

from typing import Any

from local.provider.api import Api, ApiServer, Call, Recorded, Tagging, Update, Values
from local.provider.control_plane.words import TAG_KEYS, own_id, pairs

_EC2_TAGS = Tagging(
    Call("create_tags", {"Resources": own_id, "Tags": pairs()}),
    Call("delete_tags", {"Resources": own_id, "Tags": lambda v: [{"Key": key} for key in v["tag_keys"]]}),
)
_BACKUP_TAGS = Tagging(
    Call("tag_resource", {"ResourceArn": "arn", "Tags": "tag_map"}),
    Call("untag_resource", {"ResourceArn": "arn", "TagKeyList": TAG_KEYS}),
)
_STATE_MACHINE: dict[str, Any] = {"definition": "definition", "roleArn": "roleArn"}

_LIFECYCLE = {
    "coldStorageAfter": "MoveToColdStorageAfterDays",
    "deleteAfter": "DeleteAfterDays",
    "optInToArchiveForSupportedResources": "OptInToArchiveForSupportedResources",
}
_RULE = {
    "ruleName": "RuleName",
    "targetVaultName": "TargetBackupVaultName",
    "schedule": "ScheduleExpression",
    "scheduleExpressionTimezone": "ScheduleExpressionTimezone",
    "startWindow": "StartWindowMinutes",
    "completionWindow": "CompletionWindowMinutes",
    "enableContinuousBackup": "EnableContinuousBackup",
    "recoveryPointTags": "RecoveryPointTags",
}


def _renamed(given: Values, names: dict[str, str]) -> Values:
    return {new: given[old] for old, new in names.items() if given.get(old) is not None}


def plan_document(values: Values) -> Values:
    """A plan's properties as AWS Backup's API takes them."""

    def rule(given: Values) -> Values:
        made = _renamed(given, _RULE)
        if given.get("lifecycle"):
            made["Lifecycle"] = _renamed(given["lifecycle"], _LIFECYCLE)
        if given.get("copyActions"):
            made["CopyActions"] = [
                {
                    "DestinationBackupVaultArn": copy["destinationVaultArn"],
                    "Lifecycle": _renamed(copy.get("lifecycle") or {}, _LIFECYCLE),
                }
                for copy in given["copyActions"]
            ]
        return made

    return {"BackupPlanName": values["name"], "Rules": [rule(given) for given in values["rules"]]}


def _image_snapshots(values: Values) -> list[str]:
    return [device["snapshotId"] for device in values.get("ebsBlockDevices") or () if device.get("snapshotId")]


def _delete_image_snapshots(api: ApiServer, values: Values) -> None:
    """The image's own snapshots go with it. They are in use until it is deregistered, so it goes first."""
    ec2 = api.client("ec2")
    ec2.deregister_image(ImageId=values["id"])
    for snapshot in _image_snapshots(values):
        ec2.delete_snapshot(SnapshotId=snapshot)


def _image(api_type: Api, api: ApiServer, values: Values, found: Any) -> Values:
    devices = [
        {
            "deviceName": device["DeviceName"],
            "snapshotId": device["Ebs"].get("SnapshotId"),
            "volumeSize": device["Ebs"].get("VolumeSize"),
            "encrypted": device["Ebs"].get("Encrypted", False),
        }
        for device in found.get("BlockDeviceMappings", ())
        if "Ebs" in device
    ]
    return {"ebsBlockDevices": devices, "manageEbsSnapshots": True}


TABLE: dict[str, Api | Recorded] = {
    "aws:ebs/snapshot:Snapshot": Api(
        "ec2",
        Call("create_snapshot", {"VolumeId": "volumeId", "Description": "description"}),
        "SnapshotId",
        Call("describe_snapshots", {"SnapshotIds": own_id}),
        "Snapshots[0]",
        {
            "arn": "arn:aws:ec2:{region}::snapshot/{id}",
            "encrypted": "Encrypted",
            "kmsKeyId": "KmsKeyId",
            "ownerId": "OwnerId",
            "volumeSize": "VolumeSize",
        },
        delete_calls=(Call("delete_snapshot", {"SnapshotId": "id"}),),
        tagging=_EC2_TAGS,
    ),
    "aws:ec2/amiFromInstance:AmiFromInstance": Api(
        "ec2",
        Call(
            "create_image",
            {
                "InstanceId": "sourceInstanceId",
                "Name": "name",
                "Description": "description",
                "NoReboot": "snapshotWithoutReboot",
            },
        ),
        "ImageId",
        Call("describe_images", {"ImageIds": own_id}),
        "Images[0]",
        {
            "arn": "arn:aws:ec2:{region}::image/{id}",
            "architecture": "Architecture",
            "ownerId": "OwnerId",
            "rootDeviceName": "RootDeviceName",
            "virtualizationType": "VirtualizationType",
        },
        more=_image,
        before_delete=_delete_image_snapshots,
        tagging=_EC2_TAGS,
    ),
    "aws:backup/vault:Vault": Api(
        "backup",
        Call("create_backup_vault", {"BackupVaultName": "name", "EncryptionKeyArn": "kmsKeyArn"}),
        "{name}",
        Call("describe_backup_vault", {"BackupVaultName": "id"}),
        "@",
        {"arn": "BackupVaultArn", "kmsKeyArn": "EncryptionKeyArn", "recoveryPoints": "NumberOfRecoveryPoints"},
        delete_calls=(Call("delete_backup_vault", {"BackupVaultName": "id"}),),
        tagging=_BACKUP_TAGS,
    ),
    "aws:backup/vaultLockConfiguration:VaultLockConfiguration": Api(
        "backup",
        Call(
            "put_backup_vault_lock_configuration",
            {
                "BackupVaultName": "backupVaultName",
                "ChangeableForDays": "changeableForDays",
                "MaxRetentionDays": "maxRetentionDays",
                "MinRetentionDays": "minRetentionDays",
            },
        ),
        "{backupVaultName}",
        Call("describe_backup_vault", {"BackupVaultName": "id"}),
        "@",
        {"backupVaultArn": "BackupVaultArn"},
        delete_calls=(Call("delete_backup_vault_lock_configuration", {"BackupVaultName": "id"}),),
    ),
    "aws:backup/plan:Plan": Api(
        "backup",
        Call("create_backup_plan", {"BackupPlan": plan_document}),
        "BackupPlanId",
        Call("get_backup_plan", {"BackupPlanId": "id"}),
        "@",
        {"arn": "BackupPlanArn", "version": "VersionId"},
        updates=(
            Update(("rules",), (Call("update_backup_plan", {"BackupPlanId": "id", "BackupPlan": plan_document}),)),
        ),
        delete_calls=(Call("delete_backup_plan", {"BackupPlanId": "id"}),),
        gone=lambda found: "DeletionDate" in found,
        tagging=_BACKUP_TAGS,
    ),
    "aws:sfn/stateMachine:StateMachine": Api(
        "stepfunctions",
        Call("create_state_machine", {**_STATE_MACHINE, "name": "name", "type": "type"}),
        "stateMachineArn",
        Call("describe_state_machine", {"stateMachineArn": "id"}),
        "@",
        {"arn": "stateMachineArn", "status": "status", "type": "type"},
        updates=(
            Update(
                ("definition", "roleArn"),
                (Call("update_state_machine", {**_STATE_MACHINE, "stateMachineArn": "id"}),),
            ),
        ),
        delete_calls=(Call("delete_state_machine", {"stateMachineArn": "id"}),),
        tagging=Tagging(
            Call("tag_resource", {"resourceArn": "id", "tags": pairs("key", "value")}),
            Call("untag_resource", {"resourceArn": "id", "tagKeys": TAG_KEYS}),
        ),
    ),
    # The API server has no operations for what follows.
    "aws:backup/selection:Selection": Recorded("{planId}|{name}"),
    "aws:backup/vaultPolicy:VaultPolicy": Recorded(
        "{backupVaultName}", {"backupVaultArn": "arn:aws:backup:{region}:{account}:backup-vault:{backupVaultName}"}
    ),
    "aws:backup/restoreTestingPlan:RestoreTestingPlan": Recorded(
        "{name}", {"arn": "arn:aws:backup:{region}:{account}:restore-testing-plan:{name}"}
    ),
    "aws:backup/restoreTestingSelection:RestoreTestingSelection": Recorded("{restoreTestingPlanName}:{name}"),
}
