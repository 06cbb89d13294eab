"""Drift that is in RDS' answers and in no property of a resource: changes that wait, and parameters not yet in force.

A password that rotates is a change that waits for seconds, and no drift. (Amazon RDS API Reference: DBInstance,
`PendingModifiedValues` and `DBParameterGroupStatus`; DBClusterMember, `DBClusterParameterGroupStatus`.)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from scripts.context import Context
from scripts.environments.drift import Item
from scripts.errors import ZdmError

IN_FORCE: Final = frozenset({"in-sync", "applying"})
ROTATES: Final = "MasterUserPassword"
_GONE: Final = frozenset({"DBInstanceNotFound", "DBClusterNotFoundFault"})
"""Which the engine tells of."""
INSTANCE, CLUSTER = "aws:rds/instance:Instance", "aws:rds/cluster:Cluster"


def items(context: Context) -> list[Item]:
    """Of the source's instance and of the cluster with its members."""
    rds, out = context.aws("rds"), context.outputs
    found: list[Item] = []
    if out.source.instance:
        answer = _asked(rds.describe_db_instances, "DBInstances", DBInstanceIdentifier=out.source.instance)
        found += [item for instance in answer for item in of_instance(instance)]
    if out.target.cluster:
        clusters = _asked(rds.describe_db_clusters, "DBClusters", DBClusterIdentifier=out.target.cluster)
        for cluster in clusters:
            found += of_cluster(cluster)
            for member in cluster.get("DBClusterMembers", ()):
                name = member["DBInstanceIdentifier"]
                answer = _asked(rds.describe_db_instances, "DBInstances", DBInstanceIdentifier=name)
                found += [item for instance in answer for item in of_instance(instance)]
    return found


def of_instance(instance: dict[str, Any]) -> Iterator[Item]:
    name = instance["DBInstanceIdentifier"]
    yield from _waiting(INSTANCE, name, instance.get("PendingModifiedValues") or {})
    for group in instance.get("DBParameterGroups", ()):
        status = group.get("ParameterApplyStatus", "in-sync")
        if status not in IN_FORCE:
            yield Item(INSTANCE, name, "has parameters that are not in force", property=group["DBParameterGroupName"],
                       expected="in-sync", real=status)  # fmt: skip


def of_cluster(cluster: dict[str, Any]) -> Iterator[Item]:
    yield from _waiting(CLUSTER, cluster["DBClusterIdentifier"], cluster.get("PendingModifiedValues") or {})
    for member in cluster.get("DBClusterMembers", ()):
        status = member.get("DBClusterParameterGroupStatus", "in-sync")
        if status not in IN_FORCE:
            yield Item(INSTANCE, member["DBInstanceIdentifier"], "has parameters that are not in force",
                       property=cluster.get("DBClusterParameterGroup", "cluster parameters"), expected="in-sync",
                       real=status)  # fmt: skip


def _waiting(kind: str, name: str, pending: dict[str, Any]) -> Iterator[Item]:
    for setting, value in sorted(pending.items()):
        if setting != ROTATES:
            yield Item(kind, name, "has a change that waits for its window or a restart", property=setting,
                       expected=value, real="as before")  # fmt: skip


def _asked(operation: Any, field: str, **what: str) -> list[dict[str, Any]]:
    try:
        found: list[dict[str, Any]] = operation(**what)[field]
    except ClientError as e:
        if e.response["Error"]["Code"] in _GONE:
            return []
        raise ZdmError(f"RDS: {e}") from e
    except BotoCoreError as e:
        raise ZdmError(f"RDS: {e}") from e
    return found
