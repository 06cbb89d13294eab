"""A copy of a database beside the running one: from a snapshot or a moment, made like the one that runs.

Invariants:
- What is there decides what is done next: `advance` looks, does one thing, and can be killed and called again.
- A copy has the RUNNING server's parameter groups, subnets, security groups and key, and no deletion protection until
  it takes a place. RDS would give it defaults (Amazon Aurora User Guide, "Restoring from a DB cluster snapshot").
- RDS cannot change an instance's key on restore, only a copy of the snapshot does; a cluster's it can.
- The master account's password is never the one of where the data came from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from scripts.clients.rds import BROKEN, Cluster, Instance, Rds, tag_list
from scripts.errors import ZdmError

STEP = "zdm:step"
"""Tag of a copy: how far it is. Written once it has its settings."""


@dataclass(frozen=True)
class FromSnapshot:
    """`arn` of the snapshot, or its name."""

    arn: str


@dataclass(frozen=True)
class AtTime:
    """The server `source` of the same account as it was at a moment; None is the newest there is."""

    source: str
    at: datetime | None


Origin = FromSnapshot | AtTime


@dataclass(frozen=True)
class Master:
    """Whose password: a given one, or (`password` empty) a secret that RDS keeps, under a key."""

    password: str = ""
    key: str = ""

    def request(self) -> dict[str, Any]:
        if self.password:
            return {"MasterUserPassword": self.password}
        return {"ManageMasterUserPassword": True, **({"MasterUserSecretKmsKeyId": self.key} if self.key else {})}


# --- requests (pure) --------------------------------------------------------------------------------------------------


def groups_of(raw: Mapping[str, Any]) -> list[str]:
    return [one["VpcSecurityGroupId"] for one in raw.get("VpcSecurityGroups") or ()]


def subnets_of(raw: Mapping[str, Any]) -> str | None:
    """A cluster tells the group's name, an instance all of the group."""
    there = raw.get("DBSubnetGroup")
    return there.get("DBSubnetGroupName") if isinstance(there, Mapping) else there


def parameters_of(raw: Mapping[str, Any]) -> str | None:
    there = raw.get("DBParameterGroups") or ()
    return there[0]["DBParameterGroupName"] if there else None


def _given(raw: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Arguments by name from the members of a description that are there."""
    return {argument: raw[member] for argument, member in names.items() if raw.get(member) not in (None, "", [])}


def cluster_request(model: Cluster, name: str, origin: Origin, tags: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    """The operation that restores a cluster like `model`, and its arguments."""
    raw = model.raw
    common = {
        "DBClusterIdentifier": name,
        "DBSubnetGroupName": subnets_of(raw),
        "VpcSecurityGroupIds": groups_of(raw),
        "DBClusterParameterGroupName": raw.get("DBClusterParameterGroup"),
        "DeletionProtection": False,
        "Tags": tag_list(tags),
        **_given(
            raw,
            {
                "Port": "Port",
                "KmsKeyId": "KmsKeyId",
                "CopyTagsToSnapshot": "CopyTagsToSnapshot",
                "EnableIAMDatabaseAuthentication": "IAMDatabaseAuthenticationEnabled",
                "EnableCloudwatchLogsExports": "EnabledCloudwatchLogsExports",
                "StorageType": "StorageType",
                "ServerlessV2ScalingConfiguration": "ServerlessV2ScalingConfiguration",
            },
        ),
    }
    scaling = common.get("ServerlessV2ScalingConfiguration")
    if scaling:  # the description has more members than the request takes
        known = ("MinCapacity", "MaxCapacity", "SecondsUntilAutoPause")
        common["ServerlessV2ScalingConfiguration"] = {key: scaling[key] for key in known if key in scaling}
    common = {key: value for key, value in common.items() if value is not None}
    if isinstance(origin, FromSnapshot):
        engine = raw.get("Engine") or "aurora-postgresql"
        return "restore_db_cluster_from_snapshot", {**common, "SnapshotIdentifier": origin.arn, "Engine": engine}
    when: dict[str, Any] = {"RestoreToTime": origin.at} if origin.at else {"UseLatestRestorableTime": True}
    return "restore_db_cluster_to_point_in_time", {
        **common,
        **when,
        "SourceDBClusterIdentifier": origin.source,
        "RestoreType": "full-copy",
    }


def cluster_changes(model: Cluster, master: Master) -> dict[str, Any]:
    """What only a change can give a restored cluster."""
    return {
        "ApplyImmediately": True,
        **master.request(),
        **_given(
            model.raw,
            {
                "BackupRetentionPeriod": "BackupRetentionPeriod",
                "PreferredBackupWindow": "PreferredBackupWindow",
                "PreferredMaintenanceWindow": "PreferredMaintenanceWindow",
                "DatabaseInsightsMode": "DatabaseInsightsMode",
                "EnablePerformanceInsights": "PerformanceInsightsEnabled",
                "PerformanceInsightsKMSKeyId": "PerformanceInsightsKMSKeyId",
                "PerformanceInsightsRetentionPeriod": "PerformanceInsightsRetentionPeriod",
            },
        ),
    }


def member_request(model: Instance, cluster: str, name: str, tags: Mapping[str, str]) -> dict[str, Any]:
    """The arguments that make an instance like `model` in a cluster."""
    raw = model.raw
    return {
        "DBInstanceIdentifier": name,
        "DBClusterIdentifier": cluster,
        "Tags": tag_list(tags),
        "PubliclyAccessible": False,
        **({"DBParameterGroupName": parameters} if (parameters := parameters_of(raw)) else {}),
        **_given(
            raw,
            {
                "Engine": "Engine",
                "DBInstanceClass": "DBInstanceClass",
                "AutoMinorVersionUpgrade": "AutoMinorVersionUpgrade",
                "PromotionTier": "PromotionTier",
                "CopyTagsToSnapshot": "CopyTagsToSnapshot",
                "CACertificateIdentifier": "CACertificateIdentifier",
                "PreferredMaintenanceWindow": "PreferredMaintenanceWindow",
                "EnablePerformanceInsights": "PerformanceInsightsEnabled",
                "PerformanceInsightsKMSKeyId": "PerformanceInsightsKMSKeyId",
                "PerformanceInsightsRetentionPeriod": "PerformanceInsightsRetentionPeriod",
                "MonitoringInterval": "MonitoringInterval",
                "MonitoringRoleArn": "MonitoringRoleArn",
            },
        ),
    }


def instance_request(model: Instance, name: str, origin: Origin, tags: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    """The operation that restores a MySQL instance like `model`, and its arguments."""
    raw = model.raw
    common = {
        "DBSubnetGroupName": subnets_of(raw),
        "VpcSecurityGroupIds": groups_of(raw),
        "DBParameterGroupName": parameters_of(raw),
        "PubliclyAccessible": False,
        "DeletionProtection": False,
        "Tags": tag_list(tags),
        "Port": model.port,
        **_given(
            raw,
            {
                "DBInstanceClass": "DBInstanceClass",
                "MultiAZ": "MultiAZ",
                "AutoMinorVersionUpgrade": "AutoMinorVersionUpgrade",
                "StorageType": "StorageType",
                "CopyTagsToSnapshot": "CopyTagsToSnapshot",
                "EnableIAMDatabaseAuthentication": "IAMDatabaseAuthenticationEnabled",
                "EnableCloudwatchLogsExports": "EnabledCloudwatchLogsExports",
                "BackupRetentionPeriod": "BackupRetentionPeriod",
                "PreferredBackupWindow": "PreferredBackupWindow",
                "CACertificateIdentifier": "CACertificateIdentifier",
            },
        ),
    }
    common = {key: value for key, value in common.items() if value is not None}
    if isinstance(origin, FromSnapshot):
        return "restore_db_instance_from_db_snapshot", {
            **common,
            "DBInstanceIdentifier": name,
            "DBSnapshotIdentifier": origin.arn,
        }
    when: dict[str, Any] = {"RestoreTime": origin.at} if origin.at else {"UseLatestRestorableTime": True}
    return "restore_db_instance_to_point_in_time", {
        **common,
        **when,
        "TargetDBInstanceIdentifier": name,
        "SourceDBInstanceIdentifier": origin.source,
    }


def instance_changes(model: Instance, master: Master) -> dict[str, Any]:
    """What only a change can give a restored instance."""
    return {
        "ApplyImmediately": True,
        **master.request(),
        **_given(
            model.raw,
            {
                "PreferredMaintenanceWindow": "PreferredMaintenanceWindow",
                "MaxAllocatedStorage": "MaxAllocatedStorage",
                "DatabaseInsightsMode": "DatabaseInsightsMode",
                "EnablePerformanceInsights": "PerformanceInsightsEnabled",
                "PerformanceInsightsKMSKeyId": "PerformanceInsightsKMSKeyId",
                "PerformanceInsightsRetentionPeriod": "PerformanceInsightsRetentionPeriod",
                "MonitoringInterval": "MonitoringInterval",
                "MonitoringRoleArn": "MonitoringRoleArn",
            },
        ),
    }


# --- copies beside ----------------------------------------------------------------------------------------------------


class AuroraBeside:
    """A cluster `name` like `model`, with a writer like `writer` (`<name>-<role of the writer>`)."""

    def __init__(
        self, rds: Rds, model: Cluster, writer: Instance, name: str, origin: Origin, tags: Mapping[str, str],
        master: Master,
    ) -> None:  # fmt: skip
        self._rds, self._model, self._writer, self._origin = rds, model, writer, origin
        self._tags, self._master = {**model.tags, **tags}, master
        self.name = name
        self.writer = name + suffix(model.name, writer.name)
        self._changed = False

    def advance(self) -> tuple[bool, str]:
        """Looks, and does what comes next: whether it is ready, and how far it is."""
        cluster = self._rds.cluster(self.name)
        if cluster is None:
            operation, arguments = cluster_request(self._model, self.name, self._origin, self._tags)
            self._rds.must(operation, f"cluster {self.name}", **arguments)
            return False, "asked for"
        if not settled(f"the cluster {self.name}", cluster.status):
            return False, f"cluster {cluster.status}"
        writer = self._rds.instance(self.writer)
        if writer is None:
            request = member_request(self._writer, self.name, self.writer, self._tags)
            self._rds.must("create_db_instance", f"instance {self.writer}", **request)
            return False, "its writer asked for"
        if not settled(f"the instance {self.writer}", writer.status):
            return False, f"writer {writer.status}"
        if STEP not in cluster.tags:
            if not self._changed:
                changes = cluster_changes(self._model, self._master)
                self._rds.must("modify_db_cluster", f"cluster {self.name}", DBClusterIdentifier=self.name, **changes)
                self._changed = True
                return False, "a password of its own asked for"
            self._rds.tag(cluster.arn, {STEP: "prepared"})
        if not self._master.password and not cluster.secret:
            return False, "its master account's secret"
        return True, "there"

    def found(self) -> Cluster:
        """As it is there now."""
        there = self._rds.cluster(self.name)
        if there is None:
            raise ZdmError(f"the cluster {self.name} has gone")
        return there


class MySQLBeside:
    """An instance `name` like `model`."""

    def __init__(
        self, rds: Rds, model: Instance, name: str, origin: Origin, tags: Mapping[str, str], master: Master
    ) -> None:
        self._rds, self._model, self._origin, self._master = rds, model, origin, master
        self._tags = {**model.tags, **tags}
        self.name = name
        self._changed = False

    def advance(self) -> tuple[bool, str]:
        """Looks, and does what comes next: whether it is ready, and how far it is."""
        there = self._rds.instance(self.name)
        if there is None:
            operation, arguments = instance_request(self._model, self.name, self._origin, self._tags)
            self._rds.must(operation, f"instance {self.name}", **arguments)
            return False, "asked for"
        if not settled(f"the instance {self.name}", there.status):
            return False, f"instance {there.status}"
        if STEP not in there.tags:
            if not self._changed:
                changes = instance_changes(self._model, self._master)
                self._rds.must("modify_db_instance", f"instance {self.name}", DBInstanceIdentifier=self.name, **changes)
                self._changed = True
                return False, "a password of its own asked for"
            self._rds.tag(there.arn, {STEP: "prepared"})
        if not self._master.password and not there.secret:
            return False, "its master account's secret"
        return True, "there"

    def found(self) -> Instance:
        """As it is there now."""
        there = self._rds.instance(self.name)
        if there is None:
            raise ZdmError(f"the instance {self.name} has gone")
        return there


def settled(what: str, status: str) -> bool:
    """Whether it can be worked with. Raises `ZdmError` for a state that no waiting mends."""
    if status in BROKEN:
        raise ZdmError(f"{what} is {status}: look at its events in RDS, delete it, and run this again")
    return status == "available"


def suffix(cluster: str, instance: str) -> str:
    """`-writer` of `shop-writer` in `shop`."""
    if not instance.startswith(f"{cluster}-"):
        raise ZdmError(f"the instance {instance} does not begin with its cluster's name {cluster}, as the program's do")
    return instance.removeprefix(cluster)


# --- going away -------------------------------------------------------------------------------------------------------


def remove_cluster(rds: Rds, name: str) -> tuple[bool, str]:
    """One step of deleting a cluster with its instances, without a final snapshot: whether it is gone."""
    cluster = rds.cluster(name)
    if cluster is None:
        return True, "gone"
    if cluster.status == "deleting":
        return False, f"cluster {name} is being deleted"
    if cluster.raw.get("DeletionProtection"):
        rds.must("modify_db_cluster", f"cluster {name}", DBClusterIdentifier=name, DeletionProtection=False,
                 ApplyImmediately=True)  # fmt: skip
    for member in cluster.members:
        there = rds.instance(member.name)
        if there is not None and there.status != "deleting":
            rds.call("delete_db_instance", f"instance {member.name}", DBInstanceIdentifier=member.name,
                     SkipFinalSnapshot=True)  # fmt: skip
    if any(rds.instance(member.name) for member in cluster.members):
        return False, f"instances of {name} are being deleted"
    rds.call("delete_db_cluster", f"cluster {name}", DBClusterIdentifier=name, SkipFinalSnapshot=True,
             DeleteAutomatedBackups=True)  # fmt: skip
    return False, f"cluster {name} is being deleted"


def remove_instance(rds: Rds, name: str) -> tuple[bool, str]:
    """One step of deleting an instance, without a final snapshot: whether it is gone."""
    there = rds.instance(name)
    if there is None:
        return True, "gone"
    if there.status != "deleting":
        if there.raw.get("DeletionProtection"):
            rds.must("modify_db_instance", f"instance {name}", DBInstanceIdentifier=name, DeletionProtection=False,
                     ApplyImmediately=True)  # fmt: skip
        rds.call("delete_db_instance", f"instance {name}", DBInstanceIdentifier=name, SkipFinalSnapshot=True,
                 DeleteAutomatedBackups=True)  # fmt: skip
    return False, f"instance {name} is being deleted"


def all_ready(parts: Sequence[AuroraBeside | MySQLBeside]) -> tuple[bool, str]:
    """One step of each; whether all are ready."""
    seen = [(part.name, *part.advance()) for part in parts]
    return all(ready for _, ready, _ in seen), "; ".join(f"{name}: {text}" for name, ready, text in seen if not ready)
