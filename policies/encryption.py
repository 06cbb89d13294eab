"""Encryption at rest: everything that keeps data is encrypted, with a customer key wherever AWS takes one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from policies.rule import NOT_TRUE, SET, TRUE, UNKNOWN, Need, Resource, Rule, StackRule, companions, needs, one_of

BUCKET = "aws:s3/bucket:Bucket"


def _encrypted(name: str, says: str, types: Sequence[str], paths: Mapping[str, Need]) -> Rule:
    return Rule(name, says, f"Set {' and '.join(paths)}; keys are made by Encryption.", frozenset(types), needs(paths))


def _disks(resource: Resource) -> Iterator[str]:
    for path in ("rootBlockDevice", "ebsBlockDevices"):
        devices = resource.props.get(path) or []
        for device in [devices] if isinstance(devices, Mapping) else [] if devices is UNKNOWN else devices:
            if device.get("encrypted") is not True and device.get("encrypted") is not UNKNOWN:
                yield f"{path}.encrypted must be true"
    if not resource.props.get("rootBlockDevice"):
        yield "rootBlockDevice.encrypted must be true"


def _buckets(resources: Sequence[Resource]) -> Iterator[tuple[Resource, str]]:
    kind = "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
    for bucket, settings in companions(resources, BUCKET, kind, "bucket"):
        if not settings:
            yield bucket, "the bucket says nothing about encryption"


RULES: list[Rule | StackRule] = [
    _encrypted(
        "databases-encrypted",
        "Databases are encrypted with a customer key.",
        ["aws:rds/cluster:Cluster", "aws:rds/instance:Instance"],
        {"storageEncrypted": TRUE, "kmsKeyId": SET},
    ),
    _encrypted(
        "brokers-encrypted",
        "Kafka's brokers are encrypted with a customer key.",
        ["aws:msk/cluster:Cluster"],
        {"encryptionInfo.encryptionAtRestKmsKeyArn": SET},
    ),
    _encrypted(
        "volumes-encrypted",
        "Volumes and copies of their snapshots are encrypted.",
        ["aws:ebs/volume:Volume", "aws:ebs/snapshotCopy:SnapshotCopy", "aws:ec2/amiCopy:AmiCopy"],
        {"encrypted": TRUE},
    ),
    Rule(
        "server-disks-encrypted",
        "A server's disks are encrypted.",
        "Set encrypted on root_block_device and on each of ebs_block_devices.",
        frozenset({"aws:ec2/instance:Instance"}),
        _disks,
    ),
    _encrypted(
        "topics-encrypted",
        "SNS topics are encrypted with a customer key.",
        ["aws:sns/topic:Topic"],
        {"kmsMasterKeyId": SET},
    ),
    _encrypted(
        "logs-encrypted",
        "Logs are encrypted with a customer key.",
        ["aws:cloudwatch/logGroup:LogGroup", "aws:cloudtrail/trail:Trail"],
        {"kmsKeyId": SET},
    ),
    _encrypted(
        "secrets-encrypted",
        "Secrets are encrypted with a customer key.",
        ["aws:secretsmanager/secret:Secret"],
        {"kmsKeyId": SET},
    ),
    _encrypted(
        "images-encrypted",
        "Container images are encrypted with a customer key.",
        ["aws:ecr/repository:Repository"],
        {"encryptionConfigurations.encryptionType": one_of("KMS", "KMS_DSSE"), "encryptionConfigurations.kmsKey": SET},
    ),
    _encrypted(
        "vaults-encrypted",
        "Backup vaults are encrypted with a customer key.",
        ["aws:backup/vault:Vault"],
        {"kmsKeyArn": SET},
    ),
    _encrypted(
        "dms-encrypted",
        "What DMS keeps between source and target is encrypted with a customer key.",
        ["aws:dms/replicationInstance:ReplicationInstance"],
        {"kmsKeyArn": SET},
    ),
    _encrypted(
        "dms-serverless-encrypted",
        "What serverless DMS keeps between source and target is encrypted with a customer key.",
        ["aws:dms/replicationConfig:ReplicationConfig"],
        {"computeConfig.kmsKeyId": SET},
    ),
    _encrypted(
        "metrics-encrypted",
        "Prometheus' metrics are encrypted with a customer key.",
        ["aws:amp/workspace:Workspace"],
        {"kmsKeyArn": SET},
    ),
    Rule(
        "keys-rotate",
        "Customer keys rotate by themselves.",
        "Set enable_key_rotation.",
        frozenset({"aws:kms/key:Key"}),
        needs({"enableKeyRotation": TRUE, "bypassPolicyLockoutSafetyCheck": NOT_TRUE}),
    ),
    StackRule(
        "buckets-encrypted",
        "Buckets say how they are encrypted.",
        "Add an aws.s3.BucketServerSideEncryptionConfiguration for it.",
        _buckets,
    ),
]
