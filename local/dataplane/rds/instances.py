"""Database instances in RDS' API: those of clusters (Aurora) and servers of their own (MySQL)."""

from __future__ import annotations

from typing import Any

from local.dataplane import cloud, parameters, reconfigure, snapshots
from local.dataplane.mysql import MySQLInstance, Server
from local.dataplane.postgres import AuroraInstance, Instance, Storage, of_instance
from local.dataplane.rds import words
from local.dataplane.rds.clusters import demand_deletable, demand_immediately, demand_password, exported
from local.dataplane.rds.place import Place, Reply, Request, chosen, plain, said, status
from local.provider.handler import HandlerError

MEMBER, SERVER = AuroraInstance(), MySQLInstance()
FILTERS = {
    "db-instance-id": lambda one: one["DBInstanceIdentifier"],
    "db-cluster-id": lambda one: one.get("DBClusterIdentifier"),
    "dbi-resource-id": lambda one: one.get("DbiResourceId"),
    "engine": lambda one: one["Engine"],
}
_OF_THE_CLUSTER = (
    *("kmsKeyId", "storageEncrypted", "storageType", "backupRetentionPeriod", "preferredBackupWindow"),
    *("vpcSecurityGroupIds", "iamDatabaseAuthenticationEnabled", "enabledCloudwatchLogsExports", "deletionProtection"),
)
_INHERITED = (
    *("kmsKeyId", "storageEncrypted", "storageType", "backupRetentionPeriod", "backupWindow", "allocatedStorage"),
    *("instanceClass", "licenseModel"),
)
"""What a restored server has from its source unless the request says otherwise."""


def describe(place: Place, request: Request) -> Reply:
    names = {server.identifier for server in place.servers()}
    names |= {member for storage in place.clusters() for member in storage.members}
    names |= {entry.name for entry in place.progress.all("db") if entry.known}
    if wanted := request.get("DBInstanceIdentifier"):
        if plain(wanted) not in names:
            raise HandlerError(f"DBInstanceNotFound: DBInstance {plain(wanted)} not found.")
        names = {plain(wanted)}
    found = [one for one in (told(place, name) for name in sorted(names)) if one.get("DBInstanceIdentifier")]
    if wanted and not found:  # it has just taken another name
        raise HandlerError(f"DBInstanceNotFound: DBInstance {plain(wanted)} not found.")
    return {"DBInstances": chosen(found, request, FILTERS)}


def told(place: Place, name: str) -> Reply:
    """One instance, as it is or as far as it is made."""
    server, entry = Server(place.stack, name), place.progress.of("db", name)
    storage = of_instance(place.stack, name)
    if storage is not None:
        reply = _member(Instance(storage, name))
    elif server.exists():
        reply = _server(server)
    else:
        known = entry.known if entry else {}
        vocabulary = words.MEMBER if known.get("clusterIdentifier") else words.INSTANCE
        reply = words.told(vocabulary, known)
    now = reply.pop("DBInstanceStatus", None)
    group, parameter_group = reply.get("DBSubnetGroup"), reply.get("DBParameterGroups")
    return {
        **reply,
        "DBInstanceStatus": status(entry, now),
        "StatusInfos": said(entry),
        "DBSubnetGroup": place.subnet_group(group) if group else None,
        "DBParameterGroups": parameter_group if isinstance(parameter_group, list) else None,
    }


def _member(instance: Instance) -> Reply:
    storage, name = instance.storage, instance.identifier
    known = {key: storage.described[key] for key in _OF_THE_CLUSTER if key in storage.described}
    known |= {**storage.described_instance(name), "identifier": name, "clusterIdentifier": storage.identifier}
    return {
        **words.told(words.MEMBER, known),
        "DBInstanceStatus": "available" if instance.process.running() else "stopped",
        "MasterUsername": storage.settings["username"],
        "DBName": storage.settings["database"],
        "Endpoint": {"Address": instance.address, "Port": storage.port, "HostedZoneId": "Z1"},
        "AllocatedStorage": 1,
        "MultiAZ": False,
        "DBParameterGroups": _groups(known.get("dbParameterGroupName"), instance.pending()),
        "LatestRestorableTime": (storage.window() or (None, None))[1],
    }


def _server(server: Server) -> Reply:
    known = {**server.described, "identifier": server.identifier, "port": int(server.settings["port"])}
    return {
        **words.told(words.INSTANCE, known),
        "DBInstanceStatus": "available" if server.process.running() else "stopped",
        "Engine": "mysql",
        "MasterUsername": server.settings["username"],
        "DBName": server.settings["database"],
        "Endpoint": {"Address": server.address, "Port": int(server.settings["port"]), "HostedZoneId": "Z1"},
        "DBParameterGroups": _groups(known.get("parameterGroupName"), server.pending()),
        "LatestRestorableTime": (server.window() or (None, None))[1],
    }


def _groups(name: str | None, waiting: list[str]) -> list[Reply]:
    if not name:
        return []
    return [{"DBParameterGroupName": name, "ParameterApplyStatus": "pending-reboot" if waiting else "in-sync"}]


def create(place: Place, request: Request) -> Reply:
    if not request.get("DBClusterIdentifier"):
        raise HandlerError("InvalidParameterValue: the local cloud's API makes instances of clusters only")
    inputs = {"region": place.region, "tagsAll": {}, **words.asked(words.MEMBER, request)}
    name, cluster = inputs["identifier"], Storage(place.stack, inputs["clusterIdentifier"])
    if not cluster.exists():
        raise HandlerError(f"DBClusterNotFoundFault: DBCluster {cluster.identifier} not found.")
    place.idle("cluster", cluster.identifier)
    if inputs["engine"] != "aurora-postgresql":
        raise HandlerError(f"InvalidParameterCombination: the cluster's engine is not {inputs['engine']}")
    inputs.setdefault("dbSubnetGroupName", cluster.described.get("dbSubnetGroupName"))
    _begin(place, name, inputs, "dbParameterGroupName", lambda: place.make(MEMBER, name, inputs))
    return {"DBInstance": told(place, name)}


def restore_from_snapshot(place: Place, request: Request) -> Reply:
    wanted = str(request.get("DBSnapshotIdentifier") or "")
    copy = snapshots.found(place.stack, "mysql", wanted, place.region)
    if copy is None:
        raise HandlerError(f"DBSnapshotNotFound: {wanted} not found.")
    place.idle("snapshot", copy.name)
    source = copy.described
    source = {**source, "storageEncrypted": source.get("encrypted")}
    return _restore(place, words.asked(words.INSTANCE, request), source, {"snapshotIdentifier": wanted})


def restore_to_point_in_time(place: Place, request: Request) -> Reply:
    name, at = str(request.get("SourceDBInstanceIdentifier") or ""), request.get("RestoreTime")
    if bool(at) == bool(request.get("UseLatestRestorableTime")):
        raise HandlerError("InvalidParameterCombination: give either RestoreTime or UseLatestRestorableTime")
    source = snapshots.instance_of(place.stack, name)
    if at:
        snapshots.demand_restorable(source, at)
    point: dict[str, Any] = {"sourceDbInstanceIdentifier": name}
    point |= {"restoreTime": cloud.moment(at)} if at else {"useLatestRestorableTime": True}
    asked = words.asked(words.INSTANCE, {**request, "DBInstanceIdentifier": request["TargetDBInstanceIdentifier"]})
    return _restore(place, asked, source.described, {"restoreToPointInTime": point})


def _restore(place: Place, asked: Request, source: Request, origin: Request) -> Reply:
    inherited = {name: source[name] for name in _INHERITED if source.get(name) is not None}
    inputs = {"engine": "mysql", "region": place.region, "tagsAll": {}, **inherited, **origin, **asked}
    if inputs.get("kmsKeyId"):
        inputs["storageEncrypted"] = True
    name = inputs["identifier"]
    _begin(place, name, inputs, "parameterGroupName", lambda: place.make(SERVER, name, inputs))
    return {"DBInstance": told(place, name)}


def _begin(place: Place, name: str, inputs: Request, group: str, work: Any) -> None:
    _demand_free(place, name)
    place.demand_subnet_group(inputs.get("dbSubnetGroupName"))
    parameters.of_group(place.stack, parameters.INSTANCE_GROUP, inputs.get(group))
    known = {**words.kept(inputs), "createdAt": cloud.now(), "arn": place.arn(f"db:{name}")}
    place.begin("db", name, "creating", work, known)


def modify(place: Place, request: Request) -> Reply:
    name = plain(request["DBInstanceIdentifier"])
    place.idle("db", name)
    storage, server = of_instance(place.stack, name), Server(place.stack, name)
    if storage is None and not server.exists():
        raise HandlerError(f"DBInstanceNotFound: DBInstance {name} not found.")
    renamed = plain(request.get("NewDBInstanceIdentifier") or name)
    if renamed != name:
        _demand_free(place, renamed)
        demand_immediately(request)
    if storage is not None:
        place.idle("cluster", storage.identifier)
        new = _changes(place, words.MEMBER, storage.described_instance(name), request)
        work = _change_member(place, storage, name, new, renamed)
    else:
        new = _changes(place, words.INSTANCE, server.described, request)
        work = _change_server(place, server, new, renamed)
    if new or renamed != name:
        password = "password" in new
        doing = "renaming" if renamed != name else "resetting-master-credentials" if password else "modifying"
        place.begin("db", name, doing, work, to=renamed)
    return {"DBInstance": told(place, name)}


def _changes(place: Place, vocabulary: tuple[words.Word, ...], described: Request, request: Request) -> Request:
    request = {**request, **({"Port": request["DBPortNumber"]} if request.get("DBPortNumber") else {})}
    new = {n: v for n, v in words.asked(vocabulary, request).items() if n not in ("identifier", "engine")}
    new |= exported(described, request)
    group = new.get("parameterGroupName") or new.get("dbParameterGroupName")
    parameters.of_group(place.stack, parameters.INSTANCE_GROUP, group)
    if vocabulary is words.INSTANCE:
        if request.get("ManageMasterUserPassword") is not None:
            new["manageMasterUserPassword"] = request["ManageMasterUserPassword"]
        if request.get("MasterUserSecretKmsKeyId"):
            new["masterUserSecretKmsKeyId"] = request["MasterUserSecretKmsKeyId"]
        if request.get("MasterUserPassword"):
            new["password"] = demand_password(described, request)
    elif request.get("MasterUserPassword") or request.get("ManageMasterUserPassword") is not None:
        raise HandlerError("InvalidParameterCombination: the cluster has the master password: ModifyDBCluster")
    return new


def _change_member(place: Place, storage: Storage, name: str, new: Request, renamed: str) -> Any:
    def work() -> None:
        if new:
            old = {**storage.described_instance(name), "clusterIdentifier": storage.identifier}
            MEMBER.update(place.stack, name, old, {**old, **new})
        if renamed != name:
            with storage.locked():
                Instance(storage, name).rename(renamed)

    return work


def _change_server(place: Place, server: Server, new: Request, renamed: str) -> Any:
    def work() -> None:
        old = {**server.described, "identifier": server.identifier, "username": server.settings["username"]}
        if new or renamed != server.identifier:
            id = str(old.get("resourceId") or server.identifier)
            SERVER.update(place.stack, id, old, {**old, **new, "identifier": renamed})

    return work


def delete(place: Place, request: Request) -> Reply:
    name, final = plain(request["DBInstanceIdentifier"]), request.get("FinalDBSnapshotIdentifier")
    storage, server, entry = of_instance(place.stack, name), Server(place.stack, name), place.progress.of("db", name)
    if storage is None and not server.exists():
        if entry and entry.failed:
            gone = told(place, name)
            server.remove()
            place.progress.forget("db", name)
            return {"DBInstance": {**gone, "DBInstanceStatus": "deleting"}}
        raise HandlerError(f"DBInstanceNotFound: DBInstance {name} not found.")
    place.idle("db", name)
    gone = told(place, name)
    if storage is not None:
        if final:
            raise HandlerError(
                "InvalidParameterCombination: FinalDBSnapshotIdentifier can not be specified when deleting a cluster "
                "instance"
            )
        place.idle("cluster", storage.identifier)
        of = {**storage.described_instance(name), "identifier": name, "clusterIdentifier": storage.identifier}
        place.begin("db", name, "deleting", lambda: MEMBER.delete(place.stack, name, of), of)
    else:
        demand_deletable("DB Instance", server.described, request)
        if final and snapshots.found(place.stack, "mysql", final, place.region):
            raise HandlerError(f"DBSnapshotAlreadyExists: there is a snapshot {final} already")
        state: Request = {
            **server.described,
            "identifier": name,
            "skipFinalSnapshot": not final,
            "finalSnapshotIdentifier": final,
        }
        id = str(state.get("resourceId") or name)
        place.begin("db", name, "deleting", lambda: SERVER.delete(place.stack, id, state), words.kept(state))
    return {"DBInstance": {**gone, "DBInstanceStatus": "deleting"}}


def reboot(place: Place, request: Request) -> Reply:
    name = plain(request["DBInstanceIdentifier"])
    place.idle("db", name)
    if of_instance(place.stack, name) is None and not Server(place.stack, name).exists():
        raise HandlerError(f"DBInstanceNotFound: DBInstance {name} not found.")
    place.begin("db", name, "rebooting", lambda: reconfigure.reboot(place.stack, name))
    return {"DBInstance": told(place, name)}


def automated_backups(place: Place, request: Request) -> Reply:
    wanted = plain(request.get("DBInstanceIdentifier") or "")
    found = [
        {
            **words.told(words.INSTANCE, server.described),
            "DBInstanceIdentifier": server.identifier,
            "Status": "active",
            "RestoreWindow": dict(zip(("EarliestTime", "LatestTime"), window, strict=True)),
        }
        for server in place.servers()
        if wanted in ("", server.identifier) and (window := server.window())
    ]
    return {"DBInstanceAutomatedBackups": found}


def _demand_free(place: Place, name: str) -> None:
    entry = place.progress.of("db", name)
    taken = of_instance(place.stack, name) is not None or Server(place.stack, name).exists()
    if taken or (entry and not entry.failed):
        raise HandlerError(f"DBInstanceAlreadyExists: DB instance {name} already exists")
