"""Snapshots: databases, servers and volumes as they were before a deployment, under the deployment's label.

Invariants:
- A label names one deployment, such as a revision (`g1a2b3c`). A new label takes new snapshots, an empty one none.
- To be from before what the deployment changes, they are taken by an update of their own, with the new label set:
  `pulumi up --target '**zdm:index:Snapshots$**'`, and then `pulumi up`. In one update the engine would change the
  databases first.
- The former label's snapshots go only after the new ones are complete; with `keep`, they do not go at all: they leave
  the program's care, and are deleted by whoever cleans up old deployments. So a wrong label never costs a way back.
- A server is not stopped for its image: MySQL recovers from it as from a power cut. The image has all of the server's
  volumes of one moment; snapshots of single volumes are only of one moment each.
- The role may make snapshots under this stack's names, and delete none.

Cost drivers:
- Snapshots by the GiB and month, incremental after the first of each volume or database; with `keep`, until somebody
  deletes them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi
import pulumi_aws as aws
from pulumi import Input, Output, ResourceOptions

from components.base import Component, demand
from components.policies import document, statement

LABEL = r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*"
LONGEST = 63
"""Of an identifier of RDS, which allows neither two hyphens in a row nor one at the end."""


@dataclass(frozen=True)
class SnapshotsArgs:
    """Arguments of `Snapshots`."""

    prefix: str
    """Begins the snapshots' names: unique to the stack."""
    account_id: str
    """Account of what is snapshotted."""
    partition: str
    """Of the account, as in its ARNs: `aws`, outside of China and GovCloud."""
    region: str
    """Region of what is snapshotted."""
    label: str = ""
    """The deployment; empty, the default, for none: outside of deployments nothing is snapshotted."""
    clusters: Mapping[str, Input[str]] = field(default_factory=dict)
    """Identifiers of Aurora clusters, by role."""
    instances: Mapping[str, Input[str]] = field(default_factory=dict)
    """Identifiers of RDS instances, by role."""
    servers: Sequence[str] = ()
    """EC2 instances of a database that is not on RDS: one image each."""
    volumes: Sequence[str] = ()
    """EBS volumes that no server's image contains: one snapshot each."""
    keep: bool = True
    """Whether the snapshots of a former label stay. The default, since a way back is not for a program to take away;
    false where disk matters more."""
    ready: Sequence[pulumi.Resource] = ()
    """What must be there before, such as a cluster's writer."""

    def __post_init__(self) -> None:
        names = [snapshot_name(self.prefix, role, self.label) for role in (*self.clusters, *self.instances)]
        longest = max(names, key=len, default="")
        demand(
            self,
            label=(
                not self.label or (re.fullmatch(LABEL, self.label) is not None and len(longest) <= LONGEST),
                f"lower-case letters, digits and single hyphens, a letter first, and short enough for names of at most "
                f"{LONGEST} characters: not {self.label!r} ({longest!r} has {len(longest)})",
            ),
            clusters=(
                not (twice := sorted(self.clusters.keys() & self.instances.keys())),
                f"no role twice, clusters and instances have both: {', '.join(twice)}",
            ),
            servers=(
                all(re.fullmatch(r"i-[0-9a-f]{8,17}", s) for s in self.servers),
                "ids such as i-0123456789abcdef0",
            ),
            volumes=(
                all(re.fullmatch(r"vol-[0-9a-f]{8,17}", v) for v in self.volumes),
                "ids such as vol-0123456789abcdef0",
            ),
        )


def snapshot_name(prefix: str, what: str, label: str) -> str:
    return f"{prefix}-{what}-{label}"


def snapshot_policy(args: SnapshotsArgs, cluster_ids: Sequence[str], instance_ids: Sequence[str]) -> str:
    """Make snapshots of these databases, servers and volumes, tag them, and wait for them."""
    rds = f"arn:{args.partition}:rds:{args.region}:{args.account_id}"
    ec2 = f"arn:{args.partition}:ec2:{args.region}"
    own = [f"{rds}:cluster-snapshot:{args.prefix}-*", f"{rds}:snapshot:{args.prefix}-*"]
    made = [f"{ec2}::image/*", f"{ec2}::snapshot/*"]
    statements = [
        statement("Tag", ["rds:AddTagsToResource", "rds:ListTagsForResource"], own),
        statement("Wait", ["rds:DescribeDBClusterSnapshots", "rds:DescribeDBSnapshots"], own),
        # AWS binds neither to a resource (Service Authorization Reference, Amazon EC2).
        statement("WaitForDisks", ["ec2:DescribeImages", "ec2:DescribeSnapshots"], ["*"]),
    ]
    if cluster_ids:
        clusters = [f"{rds}:cluster:{cluster}" for cluster in cluster_ids]
        statements.append(statement("Clusters", ["rds:CreateDBClusterSnapshot"], [*clusters, own[0]]))
    if instance_ids:
        instances = [f"{rds}:db:{instance}" for instance in instance_ids]
        statements.append(statement("Instances", ["rds:CreateDBSnapshot"], [*instances, own[1]]))
    servers = [f"{ec2}:{args.account_id}:instance/{server}" for server in args.servers]
    volumes = [f"{ec2}:{args.account_id}:volume/{volume}" for volume in args.volumes]
    if servers:
        statements.append(statement("Images", ["ec2:CreateImage"], [*servers, *made]))
    if volumes:
        statements.append(statement("Volumes", ["ec2:CreateSnapshot"], [*volumes, made[1]]))
    if servers or volumes:
        making = {"StringEquals": {"ec2:CreateAction": ["CreateImage", "CreateSnapshot"]}}
        statements.append(statement("TagMade", ["ec2:CreateTags"], made, condition=making))
    return document(*statements)


def trust_account(account_id: str, partition: str) -> str:
    """A role that principals of this account may take whom its IAM lets."""
    return document(
        {
            "Sid": "Assume",
            "Effect": "Allow",
            "Action": "sts:AssumeRole",
            "Principal": {"AWS": f"arn:{partition}:iam::{account_id}:root"},
        }
    )


class Snapshots(Component):
    """One snapshot of each thing under the label, and the role to make further ones with."""

    identifiers: Output[list[str]]
    """Identifiers of the databases' snapshots and ids of images and volumes' snapshots; empty without a label."""
    role_arn: Output[str]
    """Role of commands that make snapshots under this stack's names."""

    def __init__(self, name: str, args: SnapshotsArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        role = aws.iam.Role(
            f"{name}-role",
            assume_role_policy=trust_account(args.account_id, args.partition),
            description=f"{args.prefix}: makes snapshots before a deployment",
            opts=self.child(),
        )
        aws.iam.RolePolicy(
            f"{name}-rights",
            role=role.id,
            policy=Output.all(Output.all(*args.clusters.values()), Output.all(*args.instances.values())).apply(
                lambda ids: snapshot_policy(args, ids[0], ids[1])
            ),
            opts=self.child(),
        )
        self.identifiers = Output.all(*(self._take(name, args) if args.label else ()))
        self.role_arn = role.arn
        self.register_outputs({"identifiers": self.identifiers, "roleArn": self.role_arn})

    def _take(self, name: str, args: SnapshotsArgs) -> list[Output[str]]:
        """The label is in the resources' own names too: another one makes new resources, then the old ones go."""
        own = self.child(ResourceOptions(depends_on=list(args.ready), retain_on_delete=args.keep))
        taken: list[Output[str]] = []

        def called(what: str) -> str:
            return snapshot_name(args.prefix, what, args.label)

        for role, cluster in args.clusters.items():
            taken.append(
                aws.rds.ClusterSnapshot(
                    f"{name}-{role}-{args.label}",
                    db_cluster_identifier=cluster,
                    db_cluster_snapshot_identifier=called(role),
                    tags={"label": args.label},
                    opts=own,
                ).db_cluster_snapshot_identifier
            )
        for role, instance in args.instances.items():
            taken.append(
                aws.rds.Snapshot(
                    f"{name}-{role}-{args.label}",
                    db_instance_identifier=instance,
                    db_snapshot_identifier=called(role),
                    tags={"label": args.label},
                    opts=own,
                ).db_snapshot_identifier
            )
        for server in args.servers:
            taken.append(
                aws.ec2.AmiFromInstance(
                    f"{name}-{server}-{args.label}",
                    name=called(server),
                    source_instance_id=server,
                    snapshot_without_reboot=True,
                    tags={"Name": called(server), "label": args.label},
                    opts=own,
                ).id
            )
        for volume in args.volumes:
            taken.append(
                aws.ebs.Snapshot(
                    f"{name}-{volume}-{args.label}",
                    volume_id=volume,
                    description=called(volume),
                    tags={"Name": called(volume), "label": args.label},
                    opts=own,
                ).id
            )
        return taken
