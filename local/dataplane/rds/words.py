"""The two vocabularies of a database: the program's (`dbSubnetGroupName`) and that of RDS' API (`DBSubnetGroupName`).

What is known of a server or a copy is kept with it, in the program's words, whoever made it; `told` says it in RDS'
words, `asked` understands a request. The provider looks at a server through the API as well: `seen` are the properties
that it reads there, so that what a refresh finds is true whoever changed it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

Properties = dict[str, Any]


@dataclass(frozen=True)
class Word:
    """One property: its name in requests, and in answers where that differs. An empty name: it is not there."""

    name: str
    request: str = ""
    answer: str | None = None

    @property
    def told(self) -> str:
        return self.request if self.answer is None else self.answer


_COMMON = (
    Word("engine", "Engine"),
    Word("engineVersion", "EngineVersion", ""),
    Word("engineVersionActual", "", "EngineVersion"),
    Word("vpcSecurityGroupIds", "VpcSecurityGroupIds", "VpcSecurityGroups"),
    Word("dbSubnetGroupName", "DBSubnetGroupName", "DBSubnetGroup"),
    Word("backupRetentionPeriod", "BackupRetentionPeriod"),
    Word("kmsKeyId", "KmsKeyId"),
    Word("storageEncrypted", "StorageEncrypted"),
    Word("storageType", "StorageType"),
    Word("copyTagsToSnapshot", "CopyTagsToSnapshot"),
    Word("deletionProtection", "DeletionProtection"),
    Word("autoMinorVersionUpgrade", "AutoMinorVersionUpgrade"),
    Word("networkType", "NetworkType"),
    Word("monitoringInterval", "MonitoringInterval"),
    Word("monitoringRoleArn", "MonitoringRoleArn"),
    Word("databaseInsightsMode", "DatabaseInsightsMode"),
    Word("performanceInsightsEnabled", "EnablePerformanceInsights", "PerformanceInsightsEnabled"),
    Word("performanceInsightsKmsKeyId", "PerformanceInsightsKMSKeyId"),
    Word("performanceInsightsRetentionPeriod", "PerformanceInsightsRetentionPeriod"),
    Word("enabledCloudwatchLogsExports", "EnableCloudwatchLogsExports", "EnabledCloudwatchLogsExports"),
    Word(
        "iamDatabaseAuthenticationEnabled",
        "EnableIAMDatabaseAuthentication",
        "IAMDatabaseAuthenticationEnabled",
    ),
    Word("tagsAll", "Tags", "TagList"),
    Word("masterUserSecrets", "", "MasterUserSecret"),
)

CLUSTER = (
    *_COMMON,
    Word("clusterIdentifier", "DBClusterIdentifier"),
    Word("clusterResourceId", "", "DbClusterResourceId"),
    Word("arn", "", "DBClusterArn"),
    Word("createdAt", "", "ClusterCreateTime"),
    Word("availabilityZones", "AvailabilityZones"),
    Word("databaseName", "DatabaseName"),
    Word("masterUsername", "MasterUsername"),
    Word("engineMode", "EngineMode"),
    Word("dbClusterParameterGroupName", "DBClusterParameterGroupName", "DBClusterParameterGroup"),
    Word("preferredBackupWindow", "PreferredBackupWindow"),
    Word("preferredMaintenanceWindow", "PreferredMaintenanceWindow"),
    Word("serverlessv2ScalingConfiguration", "ServerlessV2ScalingConfiguration"),
    Word("port", "Port"),
    Word("hostedZoneId", "", "HostedZoneId"),
)

MEMBER = (
    *_COMMON,
    Word("identifier", "DBInstanceIdentifier"),
    Word("clusterIdentifier", "DBClusterIdentifier"),
    Word("dbiResourceId", "", "DbiResourceId"),
    Word("arn", "", "DBInstanceArn"),
    Word("createdAt", "", "InstanceCreateTime"),
    Word("instanceClass", "DBInstanceClass"),
    Word("dbParameterGroupName", "DBParameterGroupName", "DBParameterGroups"),
    Word("availabilityZone", "AvailabilityZone"),
    Word("preferredBackupWindow", "PreferredBackupWindow"),
    Word("preferredMaintenanceWindow", "PreferredMaintenanceWindow"),
    Word("publiclyAccessible", "PubliclyAccessible"),
    Word("promotionTier", "PromotionTier"),
    Word("caCertIdentifier", "CACertificateIdentifier"),
)
"""An instance of a cluster."""

INSTANCE = (
    *_COMMON,
    Word("identifier", "DBInstanceIdentifier"),
    Word("resourceId", "", "DbiResourceId"),
    Word("arn", "", "DBInstanceArn"),
    Word("createdAt", "", "InstanceCreateTime"),
    Word("instanceClass", "DBInstanceClass"),
    Word("parameterGroupName", "DBParameterGroupName", "DBParameterGroups"),
    Word("availabilityZone", "AvailabilityZone"),
    Word("backupWindow", "PreferredBackupWindow"),
    Word("maintenanceWindow", "PreferredMaintenanceWindow"),
    Word("publiclyAccessible", "PubliclyAccessible"),
    Word("multiAz", "MultiAZ"),
    Word("allocatedStorage", "AllocatedStorage"),
    Word("maxAllocatedStorage", "MaxAllocatedStorage"),
    Word("iops", "Iops"),
    Word("storageThroughput", "StorageThroughput"),
    Word("dbName", "DBName"),
    Word("username", "MasterUsername"),
    Word("licenseModel", "LicenseModel"),
    Word("caCertIdentifier", "CACertificateIdentifier"),
    Word("port", "Port", "DbInstancePort"),
)
"""An instance that is a server of its own."""

_SNAPSHOT = (
    Word("createdAt", "", "SnapshotCreateTime"),
    Word("engine", "", "Engine"),
    Word("engineVersion", "", "EngineVersion"),
    Word("allocatedStorage", "", "AllocatedStorage"),
    Word("status", "", "Status"),
    Word("percent", "", "PercentProgress"),
    Word("port", "", "Port"),
    Word("masterUsername", "", "MasterUsername"),
    Word("licenseModel", "", "LicenseModel"),
    Word("snapshotType", "", "SnapshotType"),
    Word("storageType", "", "StorageType"),
    Word("kmsKeyId", "KmsKeyId"),
    Word("backupRetentionPeriod", "", "BackupRetentionPeriod"),
    Word("iamDatabaseAuthenticationEnabled", "", "IAMDatabaseAuthenticationEnabled"),
    Word("tagsAll", "Tags", "TagList"),
)

CLUSTER_SNAPSHOT = (
    *_SNAPSHOT,
    Word("dbClusterSnapshotIdentifier", "DBClusterSnapshotIdentifier"),
    Word("dbClusterIdentifier", "DBClusterIdentifier"),
    Word("dbClusterSnapshotArn", "", "DBClusterSnapshotArn"),
    Word("sourceDbClusterSnapshotArn", "", "SourceDBClusterSnapshotArn"),
    Word("dbClusterResourceId", "", "DbClusterResourceId"),
    Word("sourceCreatedAt", "", "ClusterCreateTime"),
    Word("engineMode", "", "EngineMode"),
    Word("storageEncrypted", "", "StorageEncrypted"),
    Word("availabilityZones", "", "AvailabilityZones"),
)

SNAPSHOT = (
    *_SNAPSHOT,
    Word("dbSnapshotIdentifier", "DBSnapshotIdentifier"),
    Word("dbInstanceIdentifier", "DBInstanceIdentifier"),
    Word("dbSnapshotArn", "", "DBSnapshotArn"),
    Word("sourceDbSnapshotIdentifier", "", "SourceDBSnapshotIdentifier"),
    Word("sourceRegion", "", "SourceRegion"),
    Word("dbiResourceId", "", "DbiResourceId"),
    Word("originalCreatedAt", "", "OriginalSnapshotCreateTime"),
    Word("sourceCreatedAt", "", "InstanceCreateTime"),
    Word("encrypted", "", "Encrypted"),
    Word("availabilityZone", "", "AvailabilityZone"),
)

_SECRET = frozenset({"masterPassword", "masterPasswordWo", "password", "passwordWo"})
_MOVING = frozenset(
    {"status", "endpoint", "readerEndpoint", "address", "clusterMembers", "listenerEndpoints", "writer"}
)
"""What is asked of the server itself, every time."""


def kept(state: Mapping[str, Any]) -> Properties:
    """What of a resource's state is written down with the server: no secret, nothing that changes by itself."""
    return {name: value for name, value in state.items() if name not in _SECRET | _MOVING and value is not None}


def seen(words: tuple[Word, ...], state: Properties, known: Mapping[str, Any]) -> Properties:
    """A resource's state as a refresh finds it: what the API tells is as it is `known` of the server there now."""
    if not known:
        return state
    read = {word.name for word in words if word.told} - {"createdAt", "tagsAll"}
    found = {name: value for name, value in state.items() if name not in read}
    found |= {name: known[name] for name in read if name in known}
    return {**found, **_tags(state, dict(known.get("tagsAll") or {}))}


def _tags(state: Properties, now: dict[str, str]) -> Properties:
    """All tags, and those of them that are not the provider's default tags."""
    own = state.get("tags") or {}
    default = {key: value for key, value in (state.get("tagsAll") or {}).items() if key not in own}
    tags = {key: value for key, value in now.items() if default.get(key) != value}
    return {
        **({"tagsAll": now} if "tagsAll" in state or now else {}),
        **({"tags": tags} if "tags" in state or tags else {}),
    }


def asked(words: tuple[Word, ...], request: Mapping[str, Any]) -> Properties:
    """The properties that a request gives."""
    return {
        word.name: _property(word.name, request[word.request])
        for word in words
        if word.request and request.get(word.request) is not None
    }


def told(words: tuple[Word, ...], known: Mapping[str, Any]) -> Properties:
    """The members of an answer."""
    return {
        word.told: _member(word, known[word.name]) for word in words if word.told and known.get(word.name) is not None
    }


def tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in sorted(tags.items())]


def _property(name: str, value: Any) -> Any:
    match name:
        case "tagsAll":
            return {tag["Key"]: tag.get("Value", "") for tag in value}
        case "serverlessv2ScalingConfiguration":
            return {key[0].lower() + key[1:]: number for key, number in value.items()}
        case "identifier" | "clusterIdentifier":
            return str(value).lower()
    return value


def _member(word: Word, value: Any) -> Any:
    match word.name:
        case "tagsAll":
            return tag_list(value)
        case "vpcSecurityGroupIds":
            return [{"VpcSecurityGroupId": group, "Status": "active"} for group in value]
        case "serverlessv2ScalingConfiguration":
            return {key[0].upper() + key[1:]: number for key, number in value.items()}
        case "masterUserSecrets":
            return {key[0].upper() + key[1:]: text for secret in value[:1] for key, text in secret.items()} or None
        case "createdAt" | "sourceCreatedAt" | "originalCreatedAt":
            return datetime.fromisoformat(value)
    return value
