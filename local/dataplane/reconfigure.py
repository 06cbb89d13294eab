"""A parameter group changed: the servers that use it take the new values over, as far as RDS would.

Also what an operator asks of RDS and the program cannot: which parameters wait for a restart, and the restart itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from local.dataplane import mysql, parameters, postgres
from local.provider.handler import HandlerError
from local.stack import LocalStack


def reconfigure(stack: LocalStack, group: str, new: Iterable[Mapping[str, Any]]) -> None:
    """Applies the parameters `new` of the group to its running servers; call it when the group has changed.

    Dynamic parameters apply at once. Those with applyMethod pending-reboot wait for the server's next restart.
    Raises HandlerError, as RDS does, for an unknown parameter, and for a static one that should apply at once.
    """
    given = parameters.of_inputs(new)
    for server in mysql.Server.all(stack):
        if server.settings.get("group") == group and server.process.running():
            server.reconfigure(given)
    for storage in postgres.Storage.all(stack):
        with storage.locked():
            for instance in storage.instances():
                cluster = given if storage.settings.get("group") == group else None
                own = given if storage.settings["instances"][instance.identifier].get("group") == group else None
                if (cluster is not None or own is not None) and instance.process.running():
                    instance.reconfigure(cluster, own)


def pending(stack: LocalStack) -> dict[str, list[str]]:
    """The parameters that wait for a restart, by database instance."""
    found = {server.identifier: server.pending() for server in mysql.Server.all(stack)}
    for storage in postgres.Storage.all(stack):
        found |= {instance.identifier: instance.pending() for instance in storage.instances()}
    return {name: waiting for name, waiting in found.items() if waiting}


def reboot(stack: LocalStack, identifier: str) -> None:
    """Restarts a database instance, as RebootDBInstance does; pending parameters apply then."""
    for server in mysql.Server.all(stack):
        if server.identifier == identifier:
            return server.restart()
    for storage in postgres.Storage.all(stack):
        with storage.locked():
            if identifier in storage.members:
                return postgres.Instance(storage, identifier).restart()
    raise HandlerError(f"DBInstanceNotFound: this stack has no database instance {identifier!r}")
