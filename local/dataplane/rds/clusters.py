"""Aurora clusters in RDS' API: described, restored, changed, renamed, deleted.

A restore makes the storage only, as on Aurora: instances come by CreateDBInstance. What the request does not say is
taken from the source where RDS does so (`Uses existing setting` in its reference), else it is RDS' default.
"""

from __future__ import annotations

from typing import Any

from local.dataplane import cloud, parameters, snapshots
from local.dataplane.postgres import AuroraCluster, Storage
from local.dataplane.rds import words
from local.dataplane.rds.place import Place, Reply, Request, chosen, plain, said, status
from local.provider.handler import HandlerError

HANDLER = AuroraCluster()
FILTERS = {
    "db-cluster-id": lambda one: one["DBClusterIdentifier"],
    "db-cluster-resource-id": lambda one: one.get("DbClusterResourceId"),
    "engine": lambda one: one["Engine"],
}
_INHERITED = ("backupRetentionPeriod", "preferredBackupWindow", "kmsKeyId", "storageEncrypted", "storageType")
"""What a restored cluster has from its source unless the request says otherwise."""


def describe(place: Place, request: Request) -> Reply:
    names = {storage.identifier for storage in place.clusters()}
    names |= {entry.name for entry in place.progress.all("cluster") if entry.known}
    if wanted := request.get("DBClusterIdentifier"):
        if plain(wanted) not in names:
            raise HandlerError(f"DBClusterNotFoundFault: DBCluster {plain(wanted)} not found.")
        names = {plain(wanted)}
    found = [one for one in (told(place, name) for name in sorted(names)) if one.get("DBClusterIdentifier")]
    if wanted and not found:  # it has just taken another name
        raise HandlerError(f"DBClusterNotFoundFault: DBCluster {plain(wanted)} not found.")
    return {"DBClusters": chosen(found, request, FILTERS)}


def told(place: Place, name: str) -> Reply:
    """One cluster, as it is or as far as it is made."""
    storage, entry = Storage(place.stack, name), place.progress.of("cluster", name)
    if not storage.exists():
        known = entry.known if entry else {}
        return {**words.told(words.CLUSTER, known), "Status": status(entry, None), "StatusInfos": said(entry)}
    known = {**storage.described, "clusterIdentifier": name, "port": storage.port}
    earliest, latest = storage.window() or (None, None)
    return {
        **words.told(words.CLUSTER, known),
        "Status": status(entry, "available"),
        "StatusInfos": said(entry),
        "Engine": "aurora-postgresql",
        "MasterUsername": storage.settings["username"],
        "DatabaseName": storage.settings["database"],
        "EarliestRestorableTime": earliest,
        "LatestRestorableTime": latest,
        "Endpoint": storage.writer_endpoint,
        "ReaderEndpoint": storage.reader_endpoint,
        "CustomEndpoints": sorted(storage.custom_endpoints().values()),
        "MultiAZ": len(storage.members) > 1,
        "AllocatedStorage": 1,
        "DBClusterMembers": [
            {
                "DBInstanceIdentifier": instance.identifier,
                "IsClusterWriter": instance.writer,
                "DBClusterParameterGroupStatus": "pending-reboot" if instance.pending() else "in-sync",
                "PromotionTier": storage.described_instance(instance.identifier).get("promotionTier") or 1,
            }
            for instance in storage.instances()
        ],
    }


def restore_from_snapshot(place: Place, request: Request) -> Reply:
    copy = snapshots.found(place.stack, "aurora", request["SnapshotIdentifier"], place.region)
    if copy is None:
        raise HandlerError(f"DBClusterSnapshotNotFoundFault: {request['SnapshotIdentifier']} not found.")
    place.idle("cluster-snapshot", copy.name)
    source = copy.described
    inherited = {name: source[name] for name in _INHERITED if name in source}
    return _restore(place, request, {**inherited, "snapshotIdentifier": request["SnapshotIdentifier"]})


def restore_to_point_in_time(place: Place, request: Request) -> Reply:
    name, at = str(request["SourceDBClusterIdentifier"]), request.get("RestoreToTime")
    if bool(at) == bool(request.get("UseLatestRestorableTime")):
        raise HandlerError("InvalidParameterCombination: give either RestoreToTime or UseLatestRestorableTime")
    source = snapshots.cluster_of(place.stack, name)
    if at:
        snapshots.demand_restorable(source, at)
    point: dict[str, Any] = {"sourceClusterIdentifier": name}
    point |= {"restoreToTime": cloud.moment(at)} if at else {"useLatestRestorableTime": True}
    given = {
        name: value
        for name, value in source.described.items()
        if name
        in (
            *_INHERITED,
            *("copyTagsToSnapshot", "iamDatabaseAuthenticationEnabled", "enabledCloudwatchLogsExports"),
            *("preferredMaintenanceWindow", "serverlessv2ScalingConfiguration", "databaseInsightsMode"),
            *("performanceInsightsEnabled", "performanceInsightsKmsKeyId", "performanceInsightsRetentionPeriod"),
        )
    }
    return _restore(place, request, {**given, "restoreToPointInTime": point})


def _restore(place: Place, request: Request, source: Request) -> Reply:
    inputs = {"engine": "aurora-postgresql", "region": place.region, **source, **words.asked(words.CLUSTER, request)}
    inputs["tagsAll"] = inputs.get("tagsAll") or {}
    name = inputs["clusterIdentifier"]
    _demand_free(place, name)
    place.demand_subnet_group(inputs.get("dbSubnetGroupName"))
    _demand_group(place, inputs)
    if inputs.get("kmsKeyId"):
        inputs["storageEncrypted"] = True
    known = {**words.kept(inputs), "createdAt": cloud.now(), "arn": place.arn(f"cluster:{name}")}
    place.begin("cluster", name, "creating", lambda: place.make(HANDLER, name, inputs), known)
    return {"DBCluster": told(place, name)}


def modify(place: Place, request: Request) -> Reply:
    storage = _existing(place, request)
    name = storage.identifier
    place.idle("cluster", name)
    new = {n: v for n, v in words.asked(words.CLUSTER, request).items() if n != "clusterIdentifier"}
    _demand_group(place, new)
    new |= exported(storage.described, request)
    if request.get("ManageMasterUserPassword") is not None:
        new["manageMasterUserPassword"] = request["ManageMasterUserPassword"]
    if request.get("MasterUserSecretKmsKeyId"):
        new["masterUserSecretKmsKeyId"] = request["MasterUserSecretKmsKeyId"]
    if request.get("MasterUserPassword"):
        new["masterPassword"] = demand_password(storage.described, request)
    renamed = plain(request.get("NewDBClusterIdentifier") or name)
    if renamed != name:
        _demand_free(place, renamed)
        for member in storage.members:
            place.idle("db", member)
        demand_immediately(request)

    def work() -> None:
        if new:
            old = {**storage.described, "masterUsername": storage.settings["username"]}
            HANDLER.update(place.stack, name, old, {**old, **new})
        if renamed != name:
            Storage(place.stack, name).rename(renamed)

    if new or renamed != name:
        place.begin("cluster", name, _doing(renamed != name, "masterPassword" in new), work, to=renamed)
    return {"DBCluster": told(place, name)}


def delete(place: Place, request: Request) -> Reply:
    name, final = plain(request["DBClusterIdentifier"]), request.get("FinalDBSnapshotIdentifier")
    storage, entry = Storage(place.stack, name), place.progress.of("cluster", name)
    if not storage.exists() and entry and entry.failed:
        gone = told(place, name)
        storage.remove()
        place.progress.forget("cluster", name)
        return {"DBCluster": {**gone, "Status": "deleting"}}
    storage = _existing(place, request)
    place.idle("cluster", name)
    members = [member for member in storage.members if not leaving(place, member)]
    if members:
        raise HandlerError(
            "InvalidDBClusterStateFault: Cluster cannot be deleted, it still contains DB instances in non-deleting "
            f"state: {', '.join(members)}."
        )
    demand_deletable("Cluster", storage.described, request)
    if final and snapshots.found(place.stack, "aurora", final, place.region):
        raise HandlerError(f"DBClusterSnapshotAlreadyExistsFault: there is a snapshot {final} already")
    gone = told(place, name)

    def work() -> None:
        with storage.locked():  # the last instance is on its way out
            members = storage.members
        for member in members:
            place.progress.wait("db", member)
        state = {**storage.described, "skipFinalSnapshot": not final, "finalSnapshotIdentifier": final}
        HANDLER.delete(place.stack, name, state)

    place.begin("cluster", name, "deleting", work, {**storage.described, "clusterIdentifier": name})
    return {"DBCluster": {**gone, "Status": "deleting"}}


def automated_backups(place: Place, request: Request) -> Reply:
    wanted = plain(request.get("DBClusterIdentifier") or "")
    found = [
        {
            **words.told(words.CLUSTER, storage.described),
            "DBClusterIdentifier": storage.identifier,
            "Status": "active",
            "RestoreWindow": dict(zip(("EarliestTime", "LatestTime"), window, strict=True)),
        }
        for storage in place.clusters()
        if wanted in ("", storage.identifier) and (window := storage.window())
    ]
    return {"DBClusterAutomatedBackups": found}


# --- what instances share ---------------------------------------------------------------------------------------------


def leaving(place: Place, instance: str) -> bool:
    entry = place.progress.of("db", instance)
    return entry is not None and entry.status == "deleting"


def demand_deletable(what: str, described: Request, request: Request) -> None:
    """What RDS asks before it deletes a cluster or a server."""
    if described.get("deletionProtection"):
        raise HandlerError(
            f"InvalidParameterCombination: Cannot delete protected {what}, please disable deletion protection and "
            "try again."
        )
    skips, final = bool(request.get("SkipFinalSnapshot")), request.get("FinalDBSnapshotIdentifier")
    if skips and final:
        raise HandlerError(
            "InvalidParameterCombination: Can not specify FinalDBSnapshotIdentifier when skipping the final snapshot"
        )
    if not skips and not final:
        raise HandlerError(
            "InvalidParameterCombination: FinalDBSnapshotIdentifier is required unless SkipFinalSnapshot is specified."
        )


def demand_immediately(request: Request) -> None:
    if not request.get("ApplyImmediately"):
        raise HandlerError(
            "InvalidParameterCombination: this machine has no maintenance window: give ApplyImmediately with a new name"
        )


def demand_password(described: Request, request: Request) -> str:
    managed = request.get("ManageMasterUserPassword")
    if managed or (managed is None and described.get("masterUserSecrets")):
        raise HandlerError(
            "InvalidParameterCombination: You can't specify MasterUserPassword for a master user whose password is "
            "managed in AWS Secrets Manager: turn that off with ManageMasterUserPassword false."
        )
    password = str(request["MasterUserPassword"])
    if not 8 <= len(password) <= 128 or set(password) & set('/"@ '):
        raise HandlerError('InvalidParameterValue: MasterUserPassword: 8 to 128 characters other than / " @ and spaces')
    return password


def exported(described: Request, request: Request) -> Request:
    """The logs to export after a change that says which more and which no longer."""
    change = request.get("CloudwatchLogsExportConfiguration")
    if not change:
        return {}
    now = {*(described.get("enabledCloudwatchLogsExports") or ()), *(change.get("EnableLogTypes") or ())}
    return {"enabledCloudwatchLogsExports": sorted(now - set(change.get("DisableLogTypes") or ()))}


def _doing(renames: bool, password: bool) -> str:
    return "renaming" if renames else "resetting-master-credentials" if password else "modifying"


def _existing(place: Place, request: Request) -> Storage:
    storage = Storage(place.stack, plain(request["DBClusterIdentifier"]))
    if not storage.exists():
        raise HandlerError(f"DBClusterNotFoundFault: DBCluster {storage.identifier} not found.")
    return storage


def _demand_free(place: Place, name: str) -> None:
    entry = place.progress.of("cluster", name)
    if Storage(place.stack, name).exists() or (entry and not entry.failed):
        raise HandlerError(f"DBClusterAlreadyExistsFault: DBCluster {name} already exists.")


def _demand_group(place: Place, inputs: Request) -> None:
    try:
        parameters.of_group(place.stack, parameters.CLUSTER_GROUP, inputs.get("dbClusterParameterGroupName"))
    except HandlerError as error:
        raise HandlerError(f"DBClusterParameterGroupNotFound: {str(error).partition(': ')[2]}") from error
