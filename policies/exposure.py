"""What the internet can reach: balancers on port 443, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_network
from typing import Any

from policies.encryption import BUCKET
from policies.rule import FALSE, NOT_TRUE, UNKNOWN, Resource, Rule, StackRule, companions, needs, one_of, shown

_BLOCKS = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
_WIDEST = 8
"""A public network of fewer bits is as good as everybody."""


def _buckets(resources: Sequence[Resource]) -> Iterator[tuple[Resource, str]]:
    kind = "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock"
    for bucket, blocks in companions(resources, BUCKET, kind, "bucket"):
        if not any(all(block.at(flag) in (True, UNKNOWN) for flag in _BLOCKS) for block in blocks):
            yield bucket, "the bucket could be made public"


def _ingress(resources: Sequence[Resource]) -> Iterator[tuple[Resource, str]]:
    balancers = {
        urn
        for resource in resources
        if resource.type == "aws:lb/loadBalancer:LoadBalancer"
        for urn in resource.refers.get("securityGroups", ())
    }
    for resource in resources:
        for rule, groups in _rules(resource):
            ports = (rule.get("fromPort"), rule.get("toPort"))
            if _open(rule) and not (ports == (443, 443) and balancers.issuperset(groups) and groups):
                yield resource, f"ingress from everywhere to port {' to '.join(shown(port) for port in ports)}"


def _rules(resource: Resource) -> Iterator[tuple[Mapping[str, Any], Sequence[str]]]:
    """Each ingress rule that a resource makes, and the URNs of the groups that it is for."""
    match resource.type:
        case "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule":
            yield resource.props, resource.refers.get("securityGroupId", ())
        case "aws:ec2/securityGroupRule:SecurityGroupRule" if resource.at("type") == "ingress":
            yield resource.props, resource.refers.get("securityGroupId", ())
        case "aws:ec2/securityGroup:SecurityGroup" | "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup":
            inline = resource.props.get("ingress") or []
            for rule in [] if inline is UNKNOWN else inline:
                yield rule, (resource.urn,)


def _open(rule: Mapping[str, Any]) -> bool:
    networks = [rule.get("cidrIpv4"), rule.get("cidrIpv6")]
    for key in ("cidrBlocks", "ipv6CidrBlocks"):
        given = rule.get(key) or []
        networks += [] if given is UNKNOWN else list(given)
    return any(_is_everybody(network) for network in networks if isinstance(network, str))


def _is_everybody(network: str) -> bool:
    made = ip_network(network)
    return made.prefixlen == 0 or (made.prefixlen < _WIDEST and not made.is_private)


RULES: list[Rule | StackRule] = [
    Rule(
        "databases-private",
        "No database has a public address.",
        "Set publicly_accessible to False.",
        frozenset(
            {
                "aws:rds/instance:Instance",
                "aws:rds/clusterInstance:ClusterInstance",
                "aws:dms/replicationInstance:ReplicationInstance",
            }
        ),
        needs({"publiclyAccessible": FALSE}),
    ),
    Rule(
        "brokers-private",
        "No Kafka broker has a public address.",
        "Leave out connectivity_info.public_access.",
        frozenset({"aws:msk/cluster:Cluster"}),
        needs({"brokerNodeGroupInfo.connectivityInfo.publicAccess.type": one_of("DISABLED", None)}),
    ),
    Rule(
        "tasks-private",
        "No container has a public address.",
        "Set network_configuration.assign_public_ip to False.",
        frozenset({"aws:ecs/service:Service"}),
        needs({"networkConfiguration.assignPublicIp": NOT_TRUE}),
    ),
    StackRule(
        "buckets-private",
        "Buckets cannot be made public.",
        "Add an aws.s3.BucketPublicAccessBlock with all four flags.",
        _buckets,
    ),
    StackRule(
        "ingress-closed",
        "Only balancers are open to everybody, and only on port 443.",
        "Name the peer: referenced_security_group_id, a prefix list, or a private network.",
        _ingress,
    ),
]
