"""RDS around the servers themselves: parameter groups, subnet groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from local.provider.api import Api, Call, Recorded, Tagging, Update, Values
from local.provider.control_plane.words import TAG_KEYS, pairs
from local.provider.handler import HandlerError

if TYPE_CHECKING:
    from local.stack import LocalStack


_RDS_TAGS = Tagging(
    Call("add_tags_to_resource", {"ResourceName": "arn", "Tags": pairs()}),
    Call("remove_tags_from_resource", {"ResourceName": "arn", "TagKeys": TAG_KEYS}),
)


def _rds_parameters(values: Values) -> list[Values]:
    return [
        {
            "ParameterName": p["name"],
            "ParameterValue": str(p["value"]),
            "ApplyMethod": p.get("applyMethod", "immediate"),
        }
        for p in values.get("parameters") or ()
    ]


def _removed(values: Values) -> list[Values]:
    """The parameters that the group had and has no more."""
    kept = {p["name"] for p in values.get("parameters") or ()}
    before = (values.get("old") or {}).get("parameters") or ()
    return [
        {"ParameterName": p["name"], "ApplyMethod": p.get("applyMethod", "immediate")}
        for p in before
        if p["name"] not in kept
    ]


def _can_stream(stack: LocalStack, values: Values) -> None:
    """What RDS asks of a cluster before it streams its activity."""
    found = stack.records.find("aws:rds/cluster:Cluster", arn=values["resourceArn"])
    if not found:
        raise HandlerError(f"DBClusterNotFoundFault: this stack has no cluster {values['resourceArn']!r}")
    cluster = found[0].outputs
    values["clusterResourceId"] = cluster["clusterResourceId"]
    instances = stack.records.find(
        "aws:rds/clusterInstance:ClusterInstance", clusterIdentifier=cluster["clusterIdentifier"]
    )
    classes = {instance.outputs["instanceClass"] for instance in instances}
    if not classes or any(name.startswith(("db.serverless", "db.t")) for name in classes):
        shown = ", ".join(sorted(classes)) or "no instance"
        raise HandlerError(f"InvalidParameterCombination: activity streams need provisioned instances, not {shown}")


def _reconfigure(stack: LocalStack, values: Values) -> None:
    """A changed parameter group reaches the servers that run with it: before the update, so that a server may refuse
    it, and again once it is recorded, because a server has two groups that may change at the same time.
    """
    from local.dataplane.reconfigure import reconfigure

    reconfigure(stack, values["name"], values.get("parameters") or ())


def _parameter_group(infix: str, key: str, resource: str) -> Api:
    """`infix` is how the operations name it, `key` how the arguments do, `resource` how ARNs do."""
    name = f"{key}Name"
    return Api(
        "rds",
        Call(
            f"create_{infix}_parameter_group",
            {
                name: "name",
                "DBParameterGroupFamily": "family",
                "Description": "description",
            },
        ),
        "{name}",
        Call(f"describe_{infix}_parameter_groups", {name: "name"}),
        f"{key}s[0]",
        {"arn": "arn:aws:rds:{region}:{account}:" + resource + ":{name}"},
        updates=(
            Update(
                ("parameters",),
                (
                    Call(
                        f"modify_{infix}_parameter_group",
                        {name: "name", "Parameters": _rds_parameters},
                        when=_rds_parameters,
                    ),
                    Call(
                        f"reset_{infix}_parameter_group",
                        {name: "name", "Parameters": _removed},
                        when=_removed,
                    ),
                ),
                on_create=True,
            ),
        ),
        delete_calls=(Call(f"delete_{infix}_parameter_group", {name: "name"}),),
        tagging=_RDS_TAGS,
        before_update=_reconfigure,
        tell=_reconfigure,
    )


TABLE: dict[str, Api | Recorded] = {
    "aws:rds/parameterGroup:ParameterGroup": _parameter_group("db", "DBParameterGroup", "pg"),
    "aws:rds/clusterParameterGroup:ClusterParameterGroup": _parameter_group(
        "db_cluster", "DBClusterParameterGroup", "cluster-pg"
    ),
    "aws:rds/subnetGroup:SubnetGroup": Api(
        "rds",
        Call(
            "create_db_subnet_group",
            {"DBSubnetGroupName": "name", "DBSubnetGroupDescription": "description", "SubnetIds": "subnetIds"},
        ),
        "{name}",
        Call("describe_db_subnet_groups", {"DBSubnetGroupName": "name"}),
        "DBSubnetGroups[0]",
        {"arn": "arn:aws:rds:{region}:{account}:subgrp:{name}", "vpcId": "VpcId"},
        updates=(
            Update(
                ("description", "subnetIds"),
                (
                    Call(
                        "modify_db_subnet_group",
                        {
                            "DBSubnetGroupName": "name",
                            "DBSubnetGroupDescription": "description",
                            "SubnetIds": "subnetIds",
                        },
                    ),
                ),
            ),
        ),
        delete_calls=(Call("delete_db_subnet_group", {"DBSubnetGroupName": "name"}),),
        tagging=_RDS_TAGS,
    ),
    "aws:rds/clusterActivityStream:ClusterActivityStream": Recorded(
        "{resourceArn}", {"kinesisStreamName": "aws-rds-das-{clusterResourceId}"}, on_create=_can_stream
    ),
}
