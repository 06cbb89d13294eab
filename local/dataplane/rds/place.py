"""Where a request is carried out, and what all operations share: who is busy, what a filter lets through, records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from local.dataplane import cloud, mysql, postgres
from local.dataplane.rds.progress import Entry, Kind, Progress
from local.provider.handler import Handler, HandlerError
from local.stack import LocalStack

Request = dict[str, Any]
Reply = dict[str, Any]
Operation = Callable[["Place", Request], Reply | None]

CLUSTER = "aws:rds/cluster:Cluster"
MEMBER = "aws:rds/clusterInstance:ClusterInstance"
SUBNET_GROUP = "aws:rds/subnetGroup:SubnetGroup"

_HANDLERS: Mapping[str, Callable[[], Handler]] = {
    CLUSTER: postgres.AuroraCluster,
    MEMBER: postgres.AuroraInstance,
    mysql.TOKEN: mysql.MySQLInstance,
}
_STATE_FAULT: Mapping[Kind, str] = {
    "cluster": "InvalidDBClusterStateFault",
    "db": "InvalidDBInstanceState",
    "cluster-snapshot": "InvalidDBClusterSnapshotStateFault",
    "snapshot": "InvalidDBSnapshotState",
    "export": "InvalidExportTaskStateFault",
}


@dataclass(frozen=True)
class Place:
    """One stack in one region."""

    stack: LocalStack
    region: str
    progress: Progress

    def clusters(self) -> list[postgres.Storage]:
        """Those that a request may find: a server of ours has a name that RDS would not take."""
        found = postgres.Storage.all(self.stack)
        return [storage for storage in found if storage.exists() and "." not in storage.identifier]

    def servers(self) -> list[mysql.Server]:
        found = mysql.Server.all(self.stack)
        return [server for server in found if server.exists() and "." not in server.identifier]

    def arn(self, resource: str) -> str:
        return cloud.arn("rds", self.region, resource)

    def idle(self, kind: Kind, name: str) -> None:
        """Refuses while something is under way."""
        entry = self.progress.of(kind, name)
        if entry and not entry.failed:
            raise HandlerError(f"{_STATE_FAULT[kind]}: {name} is {entry.status}: wait until it is available")

    def begin(
        self,
        kind: Kind,
        name: str,
        status: str,
        work: Callable[[], object],
        known: dict[str, Any] | None = None,
        to: str = "",
    ) -> None:
        """Starts work whose end the records of the program follow. `to` is the new name of what is renamed."""

        def follow() -> None:
            work()
            self.follow()

        self.progress.begin(Entry(kind, name, status, known or {}, to=to if to != name else ""), follow)

    def make(self, handler: Handler, name: str, inputs: Request) -> None:
        """Makes a server, as the program would, and tells its handler that it is meant to be there."""
        _, made = handler.create(self.stack, name, inputs)
        handler.recorded(self.stack, made)

    def follow(self) -> None:
        """Makes the records true of what has their names now, as a refresh would. A server whose resource id is gone
        does not come back."""
        for token, make in _HANDLERS.items():
            for record in self.stack.records.all(token):
                found = make().read(self.stack, record.id, record.outputs)
                if found is not None and found != record.outputs:
                    self.stack.records.put(token, record.id, record.inputs, found, record.urn)
                elif found is None and token == mysql.TOKEN:
                    self.stack.records.delete(token, record.id)

    def subnet_group(self, name: str | None) -> Reply | None:
        """The subnet group as an instance tells it. Raises HandlerError if the stack has none of that name."""
        if not name:
            return None
        group = cloud.aws(self.stack, "rds", self.region).describe_db_subnet_groups(DBSubnetGroupName=name)
        found: Reply = group["DBSubnetGroups"][0]
        return found

    def demand_subnet_group(self, name: str | None) -> None:
        if name and not self.stack.records.find(SUBNET_GROUP, name=name):
            raise HandlerError(f"DBSubnetGroupNotFoundFault: DB subnet group {name} does not exist")


def plain(identifier: str) -> str:
    """An identifier, also where its ARN is given; RDS keeps them in lower case."""
    return (identifier.split(":", 6)[6] if identifier.startswith("arn:") else identifier).lower()


def chosen(found: Iterable[Reply], request: Request, filters: Mapping[str, Callable[[Reply], Any]]) -> list[Reply]:
    """Those that pass the request's filters. Raises HandlerError for a filter that RDS does not know."""
    kept = list(found)
    for wanted in request.get("Filters") or ():
        name = wanted["Name"]
        if name not in filters:
            raise HandlerError(f"InvalidParameterValue: Unrecognized filter name: {name}")
        kept = [one for one in kept if filters[name](one) in {*wanted["Values"], *map(plain, wanted["Values"])}]
    return kept


def status(entry: Entry | None, otherwise: str | None) -> str:
    """The status to tell: what is under way, else what is there, else that it failed."""
    if entry is not None and (not entry.failed or otherwise is None):
        return entry.status
    return otherwise or "failed"


def said(entry: Entry | None) -> list[Reply] | None:
    """Why the last work failed, in the place that RDS has for such messages."""
    if entry is None or not entry.failed:
        return None
    return [{"StatusType": "operation", "Normal": False, "Status": "error", "Message": entry.reason}]
