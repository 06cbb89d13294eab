"""Which operations of RDS are the data plane's. What is not in the table is moto's."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from local.dataplane.mysql import Server
from local.dataplane.postgres import Storage
from local.dataplane.rds import clusters, copies, endpoints, exports, instances, tags
from local.dataplane.rds.place import Operation, Place
from local.dataplane.rds.progress import Progress
from local.stack import LocalStack


def _of_snapshots() -> dict[str, Operation]:
    found: dict[str, Operation] = {}
    for family in copies.FAMILIES:
        found |= {
            f"Create{family.name}": partial(copies.create, family),
            f"Describe{family.name}s": partial(copies.describe, family),
            f"Copy{family.name}": partial(copies.copy, family),
            f"Delete{family.name}": partial(copies.delete, family),
            f"Modify{family.name}Attribute": partial(copies.share, family),
            f"Describe{family.name}Attributes": partial(copies.shares, family),
        }
    return found


TABLE: Mapping[str, Operation] = {
    **_of_snapshots(),
    "DescribeDBClusters": clusters.describe,
    "RestoreDBClusterFromSnapshot": clusters.restore_from_snapshot,
    "RestoreDBClusterToPointInTime": clusters.restore_to_point_in_time,
    "ModifyDBCluster": clusters.modify,
    "DeleteDBCluster": clusters.delete,
    "DescribeDBClusterEndpoints": endpoints.describe,
    "CreateDBClusterEndpoint": endpoints.create,
    "DeleteDBClusterEndpoint": endpoints.delete,
    "DescribeDBClusterAutomatedBackups": clusters.automated_backups,
    "DescribeDBInstanceAutomatedBackups": instances.automated_backups,
    "DescribeDBInstances": instances.describe,
    "CreateDBInstance": instances.create,
    "RestoreDBInstanceFromDBSnapshot": instances.restore_from_snapshot,
    "RestoreDBInstanceToPointInTime": instances.restore_to_point_in_time,
    "ModifyDBInstance": instances.modify,
    "DeleteDBInstance": instances.delete,
    "RebootDBInstance": instances.reboot,
    "StartExportTask": exports.start,
    "DescribeExportTasks": exports.describe,
    "CancelExportTask": exports.cancel,
    "AddTagsToResource": tags.add,
    "RemoveTagsFromResource": tags.remove,
    "ListTagsForResource": tags.read,
}


class Operations:
    """The operations of one stack."""

    def __init__(self, stack: LocalStack) -> None:
        self._stack = stack
        self._progress = Progress(stack)

    def keep_backups(self) -> None:
        """What RDS does by itself, for every database of the stack. One that fails does not keep others from theirs."""
        found: list[Storage | Server] = [*Storage.all(self._stack), *Server.all(self._stack)]
        for database in found:
            try:
                database.keep_backups()
            except Exception:
                print(f"the backups of {database.identifier}:", file=sys.stderr)
                traceback.print_exc()

    def find(self, name: str, region: str) -> Callable[[dict[str, Any]], dict[str, Any] | None] | None:
        """What carries out the operation in this region; None if it is not ours."""
        operation = TABLE.get(name)
        return partial(operation, Place(self._stack, region, self._progress)) if operation else None
