"""AWS DMS. Nothing is replicated here: the engine exists in AWS only, so these types are kept, and look as they would.

The API server has no operations to change endpoints, tasks and subnet groups: a change of theirs is kept in the records
alone. It starts and stops tasks, and refuses what does not exist.
"""

from __future__ import annotations

from typing import Any

from local.provider.api import Api, Call, Recorded, Spec, Update, Values
from local.provider.control_plane.words import pairs, pascal

_TAGS: Spec = pairs(of="tagsAll")


def _filters(name: str, prop: str) -> Spec:
    return lambda v: [{"Name": name, "Values": [v[prop]]}]


def _settings(values: Values, prop: str) -> dict[str, Any] | None:
    """An endpoint's settings; the account's secret is among them."""
    given = values.get(prop)
    if not given:
        return None
    renamed = {k: v for k, v in pascal(given).items() if v is not None}
    secret = {
        "SecretsManagerSecretId": values.get("secretsManagerArn"),
        "SecretsManagerAccessRoleArn": values.get("secretsManagerAccessRoleArn"),
    }
    return {**renamed, **{k: v for k, v in secret.items() if v}}


def _runs(values: Values) -> bool:
    return values["old"].get("status") == "running"


def _shall_run(values: Values) -> bool:
    return bool(values.get("startReplicationTask"))


_INSTANCE: dict[str, Spec] = {
    "AllocatedStorage": "allocatedStorage",
    "ReplicationInstanceClass": "replicationInstanceClass",
    "VpcSecurityGroupIds": "vpcSecurityGroupIds",
    "PreferredMaintenanceWindow": "preferredMaintenanceWindow",
    "MultiAZ": "multiAz",
    "EngineVersion": "engineVersion",
    "AutoMinorVersionUpgrade": "autoMinorVersionUpgrade",
}

TABLE: dict[str, Api | Recorded] = {
    "aws:dms/replicationSubnetGroup:ReplicationSubnetGroup": Api(
        "dms",
        Call(
            "create_replication_subnet_group",
            {
                "ReplicationSubnetGroupIdentifier": "replicationSubnetGroupId",
                "ReplicationSubnetGroupDescription": "replicationSubnetGroupDescription",
                "SubnetIds": "subnetIds",
                "Tags": _TAGS,
            },
        ),
        "{replicationSubnetGroupId}",
        Call("describe_replication_subnet_groups", {"Filters": _filters("replication-subnet-group-id", "id")}),
        "ReplicationSubnetGroups[0]",
        {"replicationSubnetGroupArn": "arn:aws:dms:{region}:{account}:subgrp:{replicationSubnetGroupId}"},
        delete_calls=(Call("delete_replication_subnet_group", {"ReplicationSubnetGroupIdentifier": "id"}),),
    ),
    "aws:dms/replicationInstance:ReplicationInstance": Api(
        "dms",
        Call(
            "create_replication_instance",
            {
                "ReplicationInstanceIdentifier": "replicationInstanceId",
                "ReplicationSubnetGroupIdentifier": "replicationSubnetGroupId",
                "KmsKeyId": "kmsKeyArn",
                "PubliclyAccessible": "publiclyAccessible",
                "AvailabilityZone": "availabilityZone",
                "Tags": _TAGS,
                **_INSTANCE,
            },
        ),
        "{replicationInstanceId}",
        Call("describe_replication_instances", {"Filters": _filters("replication-instance-id", "id")}),
        "ReplicationInstances[0]",
        {
            "replicationInstanceArn": "ReplicationInstanceArn",
            "allocatedStorage": "AllocatedStorage",
            "engineVersion": "EngineVersion",
            "replicationInstanceClass": "ReplicationInstanceClass",
            "replicationInstancePrivateIps": "ReplicationInstancePrivateIpAddresses",
        },
        updates=(
            Update(
                (
                    "allocatedStorage",
                    "replicationInstanceClass",
                    "vpcSecurityGroupIds",
                    "preferredMaintenanceWindow",
                    "multiAz",
                    "engineVersion",
                    "autoMinorVersionUpgrade",
                ),
                (
                    Call(
                        "modify_replication_instance",
                        {
                            "ReplicationInstanceArn": "replicationInstanceArn",
                            "ApplyImmediately": "applyImmediately",
                            "AllowMajorVersionUpgrade": "allowMajorVersionUpgrade",
                            **_INSTANCE,
                        },
                    ),
                ),
            ),
        ),
        delete_calls=(Call("delete_replication_instance", {"ReplicationInstanceArn": "replicationInstanceArn"}),),
    ),
    "aws:dms/endpoint:Endpoint": Api(
        "dms",
        Call(
            "create_endpoint",
            {
                "EndpointIdentifier": "endpointId",
                "EndpointType": "endpointType",
                "EngineName": "engineName",
                "DatabaseName": "databaseName",
                "CertificateArn": "certificateArn",
                "SslMode": "sslMode",
                "KmsKeyId": "kmsKeyArn",
                "MySQLSettings": lambda v: _settings(v, "mysqlSettings"),
                "PostgreSQLSettings": lambda v: _settings(v, "postgresSettings"),
                "Tags": _TAGS,
            },
        ),
        "{endpointId}",
        Call("describe_endpoints", {"Filters": _filters("endpoint-id", "id")}),
        "Endpoints[0]",
        {"endpointArn": "EndpointArn"},
        delete_calls=(Call("delete_endpoint", {"EndpointArn": "endpointArn"}),),
    ),
    "aws:dms/replicationTask:ReplicationTask": Api(
        "dms",
        Call(
            "create_replication_task",
            {
                "ReplicationTaskIdentifier": "replicationTaskId",
                "SourceEndpointArn": "sourceEndpointArn",
                "TargetEndpointArn": "targetEndpointArn",
                "ReplicationInstanceArn": "replicationInstanceArn",
                "MigrationType": "migrationType",
                "TableMappings": "tableMappings",
                "ReplicationTaskSettings": "replicationTaskSettings",
                "Tags": _TAGS,
            },
        ),
        "{replicationTaskId}",
        Call("describe_replication_tasks", {"Filters": _filters("replication-task-id", "id")}),
        "ReplicationTasks[0]",
        {"replicationTaskArn": "ReplicationTaskArn", "status": "Status"},
        updates=(
            Update(
                ("startReplicationTask",),
                (
                    Call(
                        "start_replication_task",
                        {
                            "ReplicationTaskArn": "arn:aws:dms:{region}:{account}:task:{id}",
                            "StartReplicationTaskType": lambda v: "start-replication",
                        },
                        when=lambda v: "old" not in v and _shall_run(v),
                    ),
                ),
                on_create=True,
            ),
            Update(
                (
                    "startReplicationTask",
                    "migrationType",
                    "tableMappings",
                    "replicationTaskSettings",
                    "replicationInstanceArn",
                ),
                (
                    Call(
                        "stop_replication_task",
                        {"ReplicationTaskArn": "replicationTaskArn"},
                        when=_runs,
                    ),
                    Call(
                        "start_replication_task",
                        {
                            "ReplicationTaskArn": "replicationTaskArn",
                            "StartReplicationTaskType": lambda v: "resume-processing",
                        },
                        when=_shall_run,
                    ),
                ),
            ),
        ),
        delete_calls=(Call("delete_replication_task", {"ReplicationTaskArn": "replicationTaskArn"}),),
    ),
    # The API server has none of these.
    "aws:dms/replicationConfig:ReplicationConfig": Recorded(
        "arn:aws:dms:{region}:{account}:replication-config:{resourceIdentifier}",
        {"arn": "arn:aws:dms:{region}:{account}:replication-config:{resourceIdentifier}"},
    ),
    "aws:dms/certificate:Certificate": Recorded(
        "{certificateId}", {"certificateArn": "arn:aws:dms:{region}:{account}:cert:{certificateId}"}
    ),
    "aws:dms/eventSubscription:EventSubscription": Recorded(
        "{name}", {"arn": "arn:aws:dms:{region}:{account}:es:{name}"}
    ),
}
