"""Custom endpoints of Aurora clusters in RDS' API: described, made, deleted. They stay with their cluster when it is
renamed.
"""

from __future__ import annotations

from local.dataplane.endpoints import ClusterEndpoint
from local.dataplane.postgres import Storage
from local.dataplane.rds.place import Place, Reply, Request, plain
from local.provider.handler import HandlerError

HANDLER = ClusterEndpoint()


def describe(place: Place, request: Request) -> Reply:
    wanted, name = request.get("DBClusterIdentifier"), request.get("DBClusterEndpointIdentifier")
    found = []
    for storage in Storage.all(place.stack):
        if wanted and storage.identifier != plain(wanted):
            continue
        if not name:
            found += [
                {**_told(place, storage, ""), "Endpoint": address, "EndpointType": kind, "Status": "available"}
                for kind, address in (("WRITER", storage.writer_endpoint), ("READER", storage.reader_endpoint))
            ]
        found += [_told(place, storage, one) for one in storage.custom_endpoints() if name in (None, one)]
    return {"DBClusterEndpoints": found}


def create(place: Place, request: Request) -> Reply:
    name, cluster = str(request["DBClusterEndpointIdentifier"]).lower(), plain(request["DBClusterIdentifier"])
    place.idle("cluster", cluster)
    HANDLER.create(
        place.stack,
        name,
        {
            "clusterEndpointIdentifier": name,
            "clusterIdentifier": cluster,
            "customEndpointType": request["EndpointType"],
            "staticMembers": request.get("StaticMembers") or [],
            "excludedMembers": request.get("ExcludedMembers") or [],
            "region": place.region,
        },
    )
    return _told(place, Storage(place.stack, cluster), name)


def delete(place: Place, request: Request) -> Reply:
    name = str(request["DBClusterEndpointIdentifier"])
    storage = next((one for one in Storage.all(place.stack) if name in one.custom_endpoints()), None)
    if storage is None:
        raise HandlerError(f"DBClusterEndpointNotFoundFault: there is no cluster endpoint {name}")
    gone = _told(place, storage, name)
    HANDLER.delete(place.stack, name, {"clusterIdentifier": storage.identifier})
    return {**gone, "Status": "deleting"}


def _told(place: Place, storage: Storage, name: str) -> Reply:
    rule = storage.settings.get("endpoints", {}).get(name)
    if rule is None:
        return {"DBClusterIdentifier": storage.identifier}
    return {
        "DBClusterEndpointIdentifier": name,
        "DBClusterIdentifier": storage.identifier,
        "DBClusterEndpointArn": place.arn(f"cluster-endpoint:{name}"),
        "Endpoint": storage.custom_endpoints()[name],
        "EndpointType": "CUSTOM",
        "CustomEndpointType": rule["type"],
        "StaticMembers": rule["static"],
        "ExcludedMembers": rule["excluded"],
        "Status": "available",
    }
