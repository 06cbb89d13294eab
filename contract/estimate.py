"""What a stack costs in a month: from its resources as declared, what they are used for, and list prices (pure).

Invariants:
- Amounts are exact decimals. Each line is rounded to cents once; everything else is a sum of lines, so that totals add
  up to the cent.
- A resource is priced, or known to cost nothing by itself, or named among what is not estimated. None is passed over:
  with anything in the latter the total is a lower bound.
- What only the migration needs (the brokers, connectors, DMS, MySQL and its API) is told from what stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final, Literal, Protocol

from contract.outputs import Usage
from contract.prices import Prices

HOURS: Final = Decimal(730)
"""Of a month, as AWS' own calculator counts."""
CENT: Final = Decimal("0.01")

Group = Literal["compute", "storage", "transfer", "MSK", "operations", "licences", "support", "contingency"]
GROUPS: Final[Sequence[Group]] = (
    "compute", "storage", "transfer", "MSK", "operations", "licences", "support", "contingency",
)  # fmt: skip


class Declared(Protocol):
    """A resource as the program declares it."""

    @property
    def type(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def inputs(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True)
class Line:
    """One position. `passing`: only as long as the migration lasts."""

    group: Group
    what: str
    quantity: Decimal
    unit: str
    price: Decimal
    usd: Decimal
    passing: bool = False


@dataclass(frozen=True)
class Estimate:
    lines: tuple[Line, ...]
    missing: tuple[str, ...]
    """What has no price or no known usage, and so is not in the total."""

    def of(self, group: Group, *, staying: bool = False) -> Decimal:
        return _sum(line for line in self.lines if line.group == group and not (staying and line.passing))

    @property
    def total(self) -> Decimal:
        return _sum(self.lines)

    @property
    def staying(self) -> Decimal:
        """What is left of the total after the migration."""
        return _sum(line for line in self.lines if not line.passing)

    @property
    def aurora(self) -> Decimal:
        """Of that, the database alone: what can be held against today's MySQL."""
        return _sum(line for line in self.lines if line.what.startswith("Aurora "))

    @property
    def lower_bound(self) -> bool:
        return bool(self.missing)


def _plain(number: Decimal) -> str:
    return f"{number.normalize():f}"


def _sum(lines: Iterable[Line]) -> Decimal:
    return sum((line.usd for line in lines), Decimal("0.00"))


@dataclass(frozen=True)
class _Need:
    """So much of what has a price by this name."""

    group: Group
    what: str
    price: str
    quantity: Decimal
    passing: bool = False


FREE: Final = frozenset({
    "aws:cfg/deliveryChannel:DeliveryChannel", "aws:cfg/recorderStatus:RecorderStatus",
    "aws:chatbot/slackChannelConfiguration:SlackChannelConfiguration",
    "aws:dms/eventSubscription:EventSubscription", "aws:ebs/encryptionByDefault:EncryptionByDefault",
    "aws:guardduty/detectorFeature:DetectorFeature", "aws:msk/scramSecretAssociation:ScramSecretAssociation",
    "aws:s3/accountPublicAccessBlock:AccountPublicAccessBlock",
    "aws:acm/certificate:Certificate", "aws:acm/certificateValidation:CertificateValidation",
    "aws:amp/alertManagerDefinition:AlertManagerDefinition", "aws:amp/ruleGroupNamespace:RuleGroupNamespace",
    "aws:appautoscaling/policy:Policy", "aws:appautoscaling/target:Target", "aws:backup/plan:Plan",
    "aws:backup/restoreTestingPlan:RestoreTestingPlan", "aws:backup/restoreTestingSelection:RestoreTestingSelection",
    "aws:backup/selection:Selection", "aws:backup/vaultLockConfiguration:VaultLockConfiguration",
    "aws:backup/vaultNotifications:VaultNotifications", "aws:backup/vaultPolicy:VaultPolicy",
    "aws:budgets/budget:Budget", "aws:cloudwatch/compositeAlarm:CompositeAlarm",
    "aws:cloudwatch/eventRule:EventRule", "aws:cloudwatch/eventTarget:EventTarget",
    "aws:cloudwatch/logGroup:LogGroup", "aws:cloudwatch/logMetricFilter:LogMetricFilter",
    "aws:cloudwatch/logResourcePolicy:LogResourcePolicy", "aws:costexplorer/anomalyMonitor:AnomalyMonitor",
    "aws:costexplorer/anomalySubscription:AnomalySubscription",
    "aws:costexplorer/costAllocationTag:CostAllocationTag", "aws:dms/endpoint:Endpoint",
    "aws:dms/certificate:Certificate", "aws:dms/replicationSubnetGroup:ReplicationSubnetGroup",
    "aws:dms/replicationTask:ReplicationTask", "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup",
    "aws:ec2/flowLog:FlowLog", "aws:ec2/internetGateway:InternetGateway",
    "aws:ec2/managedPrefixList:ManagedPrefixList", "aws:ec2/route:Route", "aws:ec2/routeTable:RouteTable",
    "aws:ec2/routeTableAssociation:RouteTableAssociation", "aws:ec2/securityGroup:SecurityGroup",
    "aws:ec2/subnet:Subnet", "aws:ec2/vpc:Vpc", "aws:ecr/lifecyclePolicy:LifecyclePolicy",
    "aws:ecs/cluster:Cluster", "aws:iam/instanceProfile:InstanceProfile",
    "aws:iam/openIdConnectProvider:OpenIdConnectProvider", "aws:iam/policy:Policy", "aws:iam/role:Role",
    "aws:iam/rolePolicy:RolePolicy", "aws:iam/rolePolicyAttachment:RolePolicyAttachment", "aws:kms/alias:Alias",
    "aws:lb/listener:Listener", "aws:lb/listenerRule:ListenerRule", "aws:lb/targetGroup:TargetGroup",
    "aws:msk/configuration:Configuration", "aws:msk/topic:Topic", "aws:mskconnect/customPlugin:CustomPlugin",
    "aws:mskconnect/workerConfiguration:WorkerConfiguration", "aws:rds/clusterEndpoint:ClusterEndpoint",
    "aws:rds/clusterParameterGroup:ClusterParameterGroup", "aws:rds/parameterGroup:ParameterGroup",
    "aws:rds/proxyDefaultTargetGroup:ProxyDefaultTargetGroup", "aws:rds/proxyTarget:ProxyTarget",
    "aws:rds/subnetGroup:SubnetGroup", "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration",
    "aws:s3/bucketLogging:BucketLogging",
    "aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration",
    "aws:s3/bucketObjectv2:BucketObjectv2", "aws:s3/bucketOwnershipControls:BucketOwnershipControls",
    "aws:s3/bucketPolicy:BucketPolicy", "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
    "aws:s3/bucketVersioning:BucketVersioning", "aws:s3/bucket:Bucket",
    "aws:secretsmanager/secretVersion:SecretVersion",
    "aws:secretsmanager/secretRotation:SecretRotation", "aws:sns/topicPolicy:TopicPolicy",
    "aws:sns/topicSubscription:TopicSubscription", "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule",
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule", "aws:wafv2/ipSet:IpSet",
    "aws:wafv2/webAclAssociation:WebAclAssociation",
    "aws:wafv2/webAclLoggingConfiguration:WebAclLoggingConfiguration",
    "cloudflare:index/dnsRecord:DnsRecord", "cloudflare:index/ruleset:Ruleset",
    "cloudflare:index/workersKv:WorkersKv", "cloudflare:index/workersKvNamespace:WorkersKvNamespace",
    "cloudflare:index/workersRoute:WorkersRoute",
})  # fmt: skip
"""What costs nothing by itself; what is stored, sent or logged through it is among the usage."""


def estimate(resources: Sequence[Declared], usage: Usage, prices: Prices) -> Estimate:
    """The month of a stack with these resources."""
    lines: list[Line] = []
    missing: list[str] = []
    for need in _merged([*_of_resources(resources, usage, missing), *_of_usage(usage)]):
        price = prices.get(need.price)
        if price is None:
            missing.append(f"{need.what}: no price {need.price} for {prices.region}")
        elif need.quantity:
            usd = (need.quantity * price.usd).quantize(CENT, ROUND_HALF_UP)
            lines.append(Line(need.group, need.what, need.quantity, price.unit, price.usd, usd, need.passing))
    agreed: dict[Group, float] = {"licences": usage.licences_usd, "support": usage.support_usd}
    for group, stated in agreed.items():
        if stated:
            amount = Decimal(str(stated)).quantize(CENT, ROUND_HALF_UP)
            lines.append(Line(group, f"{group}, as stated", Decimal(1), "month", amount, amount))
    share = Decimal(str(usage.contingency_percent))
    for passing in (False, True):
        base = _sum(line for line in lines if line.passing is passing)
        usd = (base * share / 100).quantize(CENT, ROUND_HALF_UP)
        if usd:
            what = f"{_plain(share)} % of what {'the migration needs' if passing else 'stays'}"
            lines.append(Line("contingency", what, share, "percent", base, usd, passing))
    return Estimate(tuple(lines), tuple(dict.fromkeys(missing)))


def _merged(needs: Iterable[_Need]) -> list[_Need]:
    """Alike needs of several resources in one line."""
    found: dict[tuple[str, str, str, bool], _Need] = {}
    for need in needs:
        key = (need.group, need.what, need.price, need.passing)
        before = found[key].quantity if key in found else Decimal(0)
        found[key] = _Need(need.group, need.what, need.price, before + need.quantity, need.passing)
    return list(found.values())


# --- resources --------------------------------------------------------------------------------------------------------


def _of_resources(resources: Sequence[Declared], usage: Usage, missing: list[str]) -> Iterator[_Need]:
    tasks = {r.name.removesuffix("-task"): r.inputs for r in resources if r.type.endswith(":TaskDefinition")}
    clusters = [r.inputs for r in resources if r.type == "aws:rds/cluster:Cluster"]
    for resource in resources:
        kind, i = resource.type, resource.inputs
        if kind in FREE or kind.startswith("pulumi:") or kind.endswith(":TaskDefinition"):
            continue
        try:
            if kind == "aws:ecs/service:Service":
                yield from _service(resource, tasks)
            elif kind == "aws:rds/clusterInstance:ClusterInstance":
                yield _aurora_instance(i, clusters, usage)
            elif kind in _NEEDS:
                yield from _NEEDS[kind](i, usage)
            else:
                missing.append(f"{kind.rpartition(':')[2]}: {_ELSEWHERE.get(kind, 'no rule for its costs')}")
        except (KeyError, IndexError, TypeError) as e:
            missing.append(f"{resource.name} ({kind.rpartition(':')[2]}): its size is not known ({e})")


_ELSEWHERE: Final = {
    "aws:rds/proxy:Proxy": "billed by the capacity behind it; no price here",
    "aws:cfg/recorder:Recorder": "billed by changes of resources; no usage stated",
    "aws:cfg/rule:Rule": "billed by evaluations; no usage stated",
    "aws:cloudtrail/trail:Trail": "the first trail is free; data events are billed",
    "aws:guardduty/detector:Detector": "billed by what it reads; no usage stated",
    "aws:rds/clusterSnapshot:ClusterSnapshot": "billed by what is stored; no price here",
    "aws:rds/snapshot:Snapshot": "billed by what is stored; no price here",
    "aws:amp/workspace:Workspace": "billed by samples; no usage stated",
    "aws:backup/vault:Vault": "billed by what is stored and copied; no price here",
    "aws:cloudwatch/dashboard:Dashboard": "the first three are free; whether these are is the account's matter",
    "aws:ecr/repository:Repository": "billed by what is stored; no price here",
    "aws:sns/topic:Topic": "billed by messages; no usage stated",
    "cloudflare:index/workersScript:WorkersScript": "billed by Cloudflare's plan and requests",
    "aws:mskconnect/connector:Connector": "no price of an MCU-hour here",
}


def _aurora_instance(i: Mapping[str, Any], clusters: Sequence[Mapping[str, Any]], usage: Usage) -> _Need:
    optimized = clusters[0].get("storageType") == "aurora-iopt1"
    if i["instanceClass"] != "db.serverless":
        suffix = "-io-optimized" if optimized else ""
        return _Need("compute", f"Aurora {i['instanceClass']}", f"aurora.{i['instanceClass']}{suffix}", HOURS)
    acu = usage.average_acu or clusters[0]["serverlessv2ScalingConfiguration"]["minCapacity"]
    price = "aurora.acu-hour-io-optimized" if optimized else "aurora.acu-hour"
    return _Need("compute", f"Aurora Serverless v2, {acu:g} ACU on average", price, Decimal(str(acu)) * HOURS)


def _service(resource: Declared, tasks: Mapping[str, Mapping[str, Any]]) -> Iterator[_Need]:
    name = resource.name.removesuffix("-service")
    task, count = tasks[name], Decimal(str(resource.inputs["desiredCount"]))
    passing = name.startswith("mysql-api")
    what = f"Fargate: {name}, {_plain(count)} tasks"
    yield _Need("compute", f"{what}: vCPU", "fargate.vcpu-hour", count * Decimal(task["cpu"]) / 1024 * HOURS, passing)
    yield _Need(
        "compute", f"{what}: memory", "fargate.gib-hour", count * Decimal(task["memory"]) / 1024 * HOURS, passing
    )


def _cluster(i: Mapping[str, Any], usage: Usage) -> Iterator[_Need]:
    gib, optimized = Decimal(str(usage.storage_gib)), i.get("storageType") == "aurora-iopt1"
    price = "aurora.storage-gib-io-optimized" if optimized else "aurora.storage-gib"
    yield _Need("storage", "Aurora storage", price, gib)
    if not optimized:
        yield _Need("storage", "Aurora I/O", "aurora.io-million", Decimal(str(usage.io_millions)))


def _mysql(i: Mapping[str, Any], usage: Usage) -> Iterator[_Need]:
    zones = "multi-az." if i.get("multiAz") else ""
    yield _Need("compute", f"RDS MySQL {i['instanceClass']}", f"rds.mysql.{zones}{i['instanceClass']}", HOURS, True)
    gib = Decimal(str(i["allocatedStorage"]))
    yield _Need("storage", "RDS MySQL storage", f"rds.mysql.{zones}{i.get('storageType') or 'gp3'}-gib", gib, True)


def _brokers(i: Mapping[str, Any], usage: Usage) -> Iterator[_Need]:
    nodes, group = Decimal(str(i["numberOfBrokerNodes"])), i["brokerNodeGroupInfo"]
    kind = group["instanceType"]
    yield _Need("MSK", f"{_plain(nodes)} brokers {kind}", f"msk.broker.{kind}", nodes * HOURS, True)
    gib = Decimal(str(group["storageInfo"]["ebsStorageInfo"]["volumeSize"]))
    yield _Need("MSK", "brokers' storage", "msk.storage-gib", nodes * gib, True)


def _dms(i: Mapping[str, Any], usage: Usage) -> Iterator[_Need]:
    kind = i.get("replicationInstanceClass", "serverless")
    yield _Need("compute", f"DMS {kind}", f"{'multi-az.' if i.get('multiAz') else ''}{kind}", HOURS, True)


def _balancer(i: Mapping[str, Any], usage: Usage) -> Iterator[_Need]:
    yield _Need("transfer", "load balancers", "balancer.hour", HOURS)
    yield _Need("transfer", "load balancers' capacity", "balancer.lcu-hour", Decimal(str(usage.balancer_units)) * HOURS)
    if not i.get("internal"):
        yield _Need("transfer", "public addresses", "address.hour", len(i["subnets"]) * HOURS)


def _endpoint(i: Mapping[str, Any], usage: Usage) -> Iterator[_Need]:
    if i.get("vpcEndpointType") == "Interface":
        yield _Need("transfer", "interface endpoints", "endpoint.hour", len(i["subnetIds"]) * HOURS)


def _firewall(i: Mapping[str, Any], usage: Usage) -> Iterator[_Need]:
    yield _Need("operations", "WAF: web ACLs", "firewall.acl", Decimal(1))
    yield _Need("operations", "WAF: rules", "firewall.rule", Decimal(len(i.get("rules") or ())))
    yield _Need("operations", "WAF: requests", "firewall.million", Decimal(str(usage.requests_millions)))


def _month(group: Group, what: str, price: str, hours: bool = False) -> Any:
    def needs(i: Mapping[str, Any], usage: Usage) -> Iterator[_Need]:
        yield _Need(group, what, price, HOURS if hours else Decimal(1))

    return needs


_NEEDS: Final[Mapping[str, Any]] = {
    "aws:rds/cluster:Cluster": _cluster,
    "aws:rds/instance:Instance": _mysql,
    "aws:msk/cluster:Cluster": _brokers,
    "aws:dms/replicationInstance:ReplicationInstance": _dms,
    "aws:dms/replicationConfig:ReplicationConfig": _dms,
    "aws:lb/loadBalancer:LoadBalancer": _balancer,
    "aws:ec2/vpcEndpoint:VpcEndpoint": _endpoint,
    "aws:wafv2/webAcl:WebAcl": _firewall,
    "aws:ec2/natGateway:NatGateway": _month("transfer", "NAT gateways", "nat.hour", hours=True),
    "aws:ec2/eip:Eip": _month("transfer", "public addresses", "address.hour", hours=True),
    "aws:kms/key:Key": _month("operations", "KMS keys", "key.month"),
    "aws:secretsmanager/secret:Secret": _month("operations", "secrets", "secret.month"),
    "aws:cloudwatch/metricAlarm:MetricAlarm": _month("operations", "alarms", "alarm.month"),
}


def _of_usage(usage: Usage) -> Iterator[_Need]:
    for group, what, price, quantity in (
        ("transfer", "through NAT gateways", "nat.gib", usage.nat_gib),
        ("transfer", "to the internet", "internet.gib", usage.internet_gib),
        ("storage", "S3 Standard", "s3.standard-gib", usage.s3_gib),
        ("storage", "S3 Glacier Instant Retrieval (archive)", "s3.instant-gib", usage.archive_gib),
        ("operations", "logs", "logs.gib", usage.logs_gib),
    ):
        yield _Need(group, what, price, Decimal(str(quantity)))  # type: ignore[arg-type]
