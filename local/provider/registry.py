"""Which resource types the local cloud knows, and what stands behind each.

Three kinds: `part` is a real part of this machine (a process, its data, or what decides how parts reach each other),
`api` lives in the AWS API server of the stack (`local.provider.control_plane`), and `recorded` is only kept in the
stack's records, because neither a part nor the API server can do more. A type in no table is refused, never passed over
in silence.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Literal

from local.provider.handler import Handler, HandlerError

Kind = Literal["part", "api", "recorded"]

PARTS = {
    "aws:rds/instance:Instance": "local.dataplane.mysql:MySQLInstance",
    "aws:rds/cluster:Cluster": "local.dataplane.postgres:AuroraCluster",
    "aws:rds/clusterInstance:ClusterInstance": "local.dataplane.postgres:AuroraInstance",
    "aws:rds/clusterSnapshot:ClusterSnapshot": "local.dataplane.snapshots:ClusterSnapshot",
    "aws:rds/snapshot:Snapshot": "local.dataplane.snapshots:InstanceSnapshot",
    "aws:rds/clusterEndpoint:ClusterEndpoint": "local.dataplane.endpoints:ClusterEndpoint",
    "aws:rds/proxy:Proxy": "local.dataplane.proxy:ProxyHandler",
    "aws:rds/proxyDefaultTargetGroup:ProxyDefaultTargetGroup": "local.dataplane.proxy:TargetGroupHandler",
    "aws:rds/proxyTarget:ProxyTarget": "local.dataplane.proxy:TargetHandler",
    "aws:msk/cluster:Cluster": "local.dataplane.kafka:Cluster",
    "aws:msk/configuration:Configuration": "local.dataplane.kafka:Configuration",
    "aws:msk/topic:Topic": "local.dataplane.kafka:Topic",
    "aws:mskconnect/customPlugin:CustomPlugin": "local.dataplane.connect:CustomPlugin",
    "aws:mskconnect/workerConfiguration:WorkerConfiguration": "local.dataplane.connect:WorkerConfiguration",
    "aws:mskconnect/connector:Connector": "local.dataplane.connect:Connector",
    "aws:amp/workspace:Workspace": "local.dataplane.prometheus:Workspace",
    "aws:amp/ruleGroupNamespace:RuleGroupNamespace": "local.dataplane.prometheus:RuleGroupNamespace",
    "aws:amp/alertManagerDefinition:AlertManagerDefinition": "local.dataplane.prometheus:AlertManagerDefinition",
    "aws:ecs/service:Service": "local.dataplane.ecs:Service",
    "cloudflare:index/workersScript:WorkersScript": "local.dataplane.workers:Script",
    "cloudflare:index/workersKvNamespace:WorkersKvNamespace": "local.dataplane.keyvalue:Namespace",
    "cloudflare:index/workersKv:WorkersKv": "local.dataplane.keyvalue:Entry",
    "cloudflare:index/workersCustomDomain:WorkersCustomDomain": "local.dataplane.workers:CustomDomain",
    "cloudflare:index/workersRoute:WorkersRoute": "local.dataplane.workers:Route",
    "cloudflare:index/dnsRecord:DnsRecord": "local.dataplane.workers:DnsRecord",
}


class UnknownType(HandlerError):
    """The program uses a resource type that the local cloud does not have."""

    def __init__(self, token: str) -> None:
        super().__init__(
            f"the local cloud does not know the resource type {token}. Add it to local/provider/control_plane/ (a "
            "type of the AWS API) or local/provider/registry.py (a part of this machine), with its facts in "
            "local/provider/facts/"
        )


@cache
def handler(token: str) -> Handler:
    """The handler of a resource type. Raises `UnknownType`."""
    if token in PARTS:
        module, _, name = PARTS[token].partition(":")
        made: Handler = getattr(import_module(module), name)()
        return made
    from local.provider import control_plane

    found = control_plane.handler(token)
    if found is None:
        raise UnknownType(token)
    return found


def kind(token: str) -> Kind | None:
    """What stands behind a resource type, None if it is unknown."""
    if token in PARTS:
        return "part"
    from local.provider import control_plane

    return control_plane.kind(token)


def tokens(wanted: Kind | None = None) -> list[str]:
    """All known resource types, or those of one kind."""
    from local.provider import control_plane

    return sorted(t for t in {*PARTS, *control_plane.table()} if wanted in (None, kind(t)))
