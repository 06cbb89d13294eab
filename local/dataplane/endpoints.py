"""`aws:rds/clusterEndpoint:ClusterEndpoint`: an address of its own that a member of the cluster also listens on.

Aurora resolves a custom endpoint to its members in turn; here the first of them serves it, and the next one when that
one goes. An endpoint that no member may serve answers nobody, as on Aurora.
"""

from __future__ import annotations

from typing import Any

from local.dataplane import cloud
from local.dataplane.cloud import Properties
from local.dataplane.postgres import Storage
from local.provider.handler import Handler, HandlerError
from local.stack import LocalStack


class ClusterEndpoint(Handler):
    """Handler of a custom endpoint."""

    def create(self, stack: LocalStack, urn_name: str, inputs: Properties) -> tuple[str, Properties]:
        name = str(inputs["clusterEndpointIdentifier"])
        storage = Storage(stack, str(inputs["clusterIdentifier"]))
        with storage.locked():
            if not storage.exists():
                raise HandlerError(f"DBClusterNotFoundFault: this stack has no cluster {storage.identifier!r}")
            if any(name in other.custom_endpoints() for other in Storage.all(stack)):
                raise HandlerError(f"DBClusterEndpointAlreadyExistsFault: this stack has an endpoint {name!r}")
            _set(storage, name, inputs)
        region = cloud.region(stack, inputs)
        return name, {
            **inputs,
            "arn": cloud.arn("rds", region, f"cluster-endpoint:{name}"),
            "endpoint": storage.custom_endpoints()[name],
        }

    def read(self, stack: LocalStack, id: str, state: Properties) -> Properties | None:
        return state if id in Storage(stack, str(state["clusterIdentifier"])).custom_endpoints() else None

    def update(self, stack: LocalStack, id: str, old: Properties, new_inputs: Properties) -> Properties:
        storage = Storage(stack, str(old["clusterIdentifier"]))
        with storage.locked():
            _set(storage, id, new_inputs)
        return {**{name: old[name] for name in ("arn", "endpoint")}, **new_inputs}

    def delete(self, stack: LocalStack, id: str, state: Properties) -> None:
        storage = Storage(stack, str(state["clusterIdentifier"]))
        with storage.locked():
            if storage.exists() and storage.settings.get("endpoints", {}).pop(id, None):
                storage.save()
                storage.settle()


def _set(storage: Storage, name: str, inputs: Properties) -> None:
    """Writes down who may serve the endpoint, and lets the one who does listen there."""
    rule: dict[str, Any] = {
        "type": inputs["customEndpointType"],
        "static": list(inputs.get("staticMembers") or ()),
        "excluded": list(inputs.get("excludedMembers") or ()),
    }
    unknown = sorted({*rule["static"], *rule["excluded"]} - set(storage.members))
    if unknown:
        raise HandlerError(f"DBInstanceNotFound: the cluster {storage.identifier} has no {', '.join(unknown)}")
    storage.settings.setdefault("endpoints", {})[name] = rule
    storage.save()
    storage.settle()
