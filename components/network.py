"""Network: a VPC of three tiers over two to four zones, and the rules between security groups.

Invariants:
- Databases and brokers live in the data tier, which has no route to the internet in either direction.
- Only the public tier gets addresses that the internet can reach; nothing of ours but load balancers and NAT is there.
- A security group has no rule until `allow` makes one, and a rule names its peer by reference wherever there is one.
- The VPC's default security group lets nothing in or out: what forgets to name its group reaches nothing.

Cost drivers:
- NAT gateways: by the hour, and by the GiB that goes through them. One in each zone, or one for all.
- Interface endpoints: by endpoint, zone and hour, and by the GiB; the S3 endpoint costs nothing.
- Public IPv4 addresses (one for each NAT gateway), traffic between zones, and flow logs by the GiB taken in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, ip_network

import pulumi
import pulumi_aws as aws
from pulumi import Input, Output, ResourceOptions

from components.base import Component, demand
from components.endpoints import AwsApis, Endpoints, interface_endpoints
from components.flow_logs import FlowLogs, flow_log

TIERS = ("public", "private", "data")


@dataclass(frozen=True)
class SubnetPlan:
    """One subnet: `index` counts the zones from 1."""

    tier: str
    index: int
    zone: str
    cidr: str

    @property
    def name(self) -> str:
        return f"{self.tier}-{self.index}"


def plan_subnets(cidr: str, zones: Sequence[str]) -> list[SubnetPlan]:
    """A sixteenth of the VPC for each tier and zone, at a place that adding a zone does not move."""
    blocks = list(IPv4Network(cidr).subnets(prefixlen_diff=4))
    return [
        SubnetPlan(tier, z + 1, zone, str(blocks[t * 4 + z]))
        for t, tier in enumerate(TIERS)
        for z, zone in enumerate(zones)
    ]


@dataclass(frozen=True)
class NetworkArgs:
    """Arguments of `Network`."""

    region: str
    """Region of the zones; part of the names of AWS's endpoints."""
    zones: Sequence[str]
    """Names of 2 to 4 availability zones. A zone appended later moves no subnet."""
    cidr: str = "10.40.0.0/16"
    """Addresses, /16 to /22. Each tier has a sixteenth of them in each zone."""
    nat_per_zone: bool = True
    """A NAT gateway in each zone; false: one for all, cheaper, and lost with its zone."""
    endpoints: Endpoints | None = None
    """Interface endpoints: AWS's APIs are called inside the VPC. None: through NAT, which a small stack can do with."""
    flow_logs: FlowLogs | None = None
    """Log of who talks to whom. None: no log, since it is paid by the GiB and a dev stack has nothing to prove."""

    def __post_init__(self) -> None:
        demand(
            self,
            zones=(2 <= len(set(self.zones)) == len(self.zones) <= 4, f"2 to 4 different ones, not {list(self.zones)}"),
            cidr=(ip_network(self.cidr).prefixlen in range(16, 23), f"must be /16 to /22, not {self.cidr}"),
        )


class Network(Component):
    """A VPC with its subnets, routes, endpoints and logs."""

    vpc_id: Output[str]
    """Id of the VPC."""
    public_subnet_ids: list[Output[str]]
    """Subnets with a way to and from the internet, in the order of the zones."""
    private_subnet_ids: list[Output[str]]
    """Subnets with a way out through NAT, in the order of the zones."""
    data_subnet_ids: list[Output[str]]
    """Subnets without any way out, in the order of the zones."""
    nat_addresses: list[Output[str]]
    """Public addresses from which the private tier is seen by the internet, one for each NAT gateway."""
    apis: AwsApis
    """How clients in the VPC reach AWS's APIs: for `components.endpoints.reach_aws`."""

    def __init__(self, name: str, args: NetworkArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        vpc = aws.ec2.Vpc(
            f"{name}-vpc",
            cidr_block=args.cidr,
            enable_dns_support=True,
            enable_dns_hostnames=True,
            tags={"Name": name},
            opts=self.child(),
        )
        self.vpc_id = vpc.id
        aws.ec2.DefaultSecurityGroup(
            f"{name}-default-group", vpc_id=vpc.id, tags={"Name": f"{name}-closed"}, opts=self.child()
        )
        gateway = aws.ec2.InternetGateway(f"{name}-gateway", vpc_id=vpc.id, tags={"Name": name}, opts=self.child())

        subnets: dict[str, list[aws.ec2.Subnet]] = {tier: [] for tier in TIERS}
        for plan in plan_subnets(args.cidr, args.zones):
            subnets[plan.tier].append(
                aws.ec2.Subnet(
                    f"{name}-{plan.name}",
                    vpc_id=vpc.id,
                    cidr_block=plan.cidr,
                    availability_zone=plan.zone,
                    map_public_ip_on_launch=False,
                    tags={"Name": f"{name}-{plan.name}"},
                    opts=self.child(),
                )
            )
        self.public_subnet_ids, self.private_subnet_ids, self.data_subnet_ids = (
            [subnet.id for subnet in subnets[tier]] for tier in TIERS
        )

        public = self._table(name, "public", subnets["public"])
        self._route(f"{name}-public-out", public, gateway_id=gateway.id)
        data = self._table(name, "data", subnets["data"])
        tables = [data]
        if args.nat_per_zone:
            groups = [(f"private-{i}", [subnet]) for i, subnet in enumerate(subnets["private"], 1)]
        else:
            groups = [("private", subnets["private"])]
        self.nat_addresses = []
        for (label, members), outside in zip(groups, subnets["public"], strict=False):
            address = aws.ec2.Eip(
                f"{name}-{label}-nat-address",
                domain="vpc",
                tags={"Name": f"{name}-{label}-nat"},
                opts=self.child(ResourceOptions(depends_on=[gateway])),
            )
            self.nat_addresses.append(address.public_ip)
            nat = aws.ec2.NatGateway(
                f"{name}-{label}-nat",
                allocation_id=address.id,
                subnet_id=outside.id,
                tags={"Name": f"{name}-{label}"},
                opts=self.child(ResourceOptions(depends_on=[gateway])),
            )
            table = self._table(name, label, members)
            self._route(f"{name}-{label}-out", table, nat_gateway_id=nat.id)
            tables.append(table)
        storage = aws.ec2.VpcEndpoint(
            f"{name}-s3",
            vpc_id=vpc.id,
            service_name=f"com.amazonaws.{args.region}.s3",
            vpc_endpoint_type="Gateway",
            route_table_ids=[table.id for table in tables],
            tags={"Name": f"{name}-s3"},
            opts=self.child(),
        )
        self.apis = AwsApis()
        if args.endpoints is not None:
            group = security_group(f"{name}-endpoints", vpc.id, f"{name}: AWS's APIs", self.child())
            self.apis = AwsApis(group.id, storage.prefix_list_id)
            interface_endpoints(
                name, args.region, args.endpoints, vpc.id, self.private_subnet_ids, group.id, self.child()
            )
        if args.flow_logs is not None:
            flow_log(name, args.flow_logs, vpc.id, self.child())
        self.register_outputs(
            {
                "vpcId": self.vpc_id,
                "publicSubnetIds": self.public_subnet_ids,
                "privateSubnetIds": self.private_subnet_ids,
                "dataSubnetIds": self.data_subnet_ids,
            }
        )

    def _table(self, name: str, label: str, members: Sequence[aws.ec2.Subnet]) -> aws.ec2.RouteTable:
        table = aws.ec2.RouteTable(
            f"{name}-{label}-table",
            vpc_id=self.vpc_id,
            tags={"Name": f"{name}-{label}"},
            opts=self.child(),
        )
        for i, subnet in enumerate(members, 1):
            aws.ec2.RouteTableAssociation(
                f"{name}-{label}-route-{i}",
                subnet_id=subnet.id,
                route_table_id=table.id,
                opts=self.child(),
            )
        return table

    def _route(
        self,
        name: str,
        table: aws.ec2.RouteTable,
        *,
        gateway_id: Input[str] | None = None,
        nat_gateway_id: Input[str] | None = None,
    ) -> None:
        aws.ec2.Route(
            name,
            route_table_id=table.id,
            destination_cidr_block="0.0.0.0/0",
            gateway_id=gateway_id,
            nat_gateway_id=nat_gateway_id,
            opts=self.child(),
        )


@dataclass(frozen=True)
class Endpoint:
    """A server that others connect to: known by its security group or, where it is not ours, by its address range."""

    host: Input[str]
    """Name or address."""
    port: int
    """Port that it listens on."""
    security_group_id: Input[str] | None = None
    """Its security group, if it is ours."""
    cidr: str | None = None
    """Its address range, if it is not."""

    def __post_init__(self) -> None:
        known = (self.security_group_id is None) != (self.cidr is None)
        demand(self, security_group_id=(known, "give either this or cidr"))


def security_group(name: str, vpc_id: Input[str], description: str, opts: ResourceOptions) -> aws.ec2.SecurityGroup:
    """A group that lets nothing in or out until a rule is made for it."""
    return aws.ec2.SecurityGroup(name, vpc_id=vpc_id, description=description, tags={"Name": name}, opts=opts)


def allow(name: str, client: Input[str], server: Endpoint, opts: ResourceOptions) -> list[pulumi.Resource]:
    """Lets members of the security group `client` connect to `server`: the way out, and the way in where it is ours."""
    tags = {"Name": name}
    if server.security_group_id is None:
        return [
            aws.vpc.SecurityGroupEgressRule(
                f"{name}-out",
                security_group_id=client,
                cidr_ipv4=server.cidr,
                ip_protocol="tcp",
                from_port=server.port,
                to_port=server.port,
                description=name,
                tags=tags,
                opts=opts,
            )
        ]
    return [
        aws.vpc.SecurityGroupEgressRule(
            f"{name}-out",
            security_group_id=client,
            referenced_security_group_id=server.security_group_id,
            ip_protocol="tcp",
            from_port=server.port,
            to_port=server.port,
            description=name,
            tags=tags,
            opts=opts,
        ),
        aws.vpc.SecurityGroupIngressRule(
            f"{name}-in",
            security_group_id=server.security_group_id,
            referenced_security_group_id=client,
            ip_protocol="tcp",
            from_port=server.port,
            to_port=server.port,
            description=name,
            tags=tags,
            opts=opts,
        ),
    ]


def admit(name: str, server: Input[str], port: int, cidrs: Sequence[str], opts: ResourceOptions) -> None:
    """Lets private address ranges (the operators' machines) in; they have no security group of ours."""
    for i, cidr in enumerate(cidrs, 1):
        aws.vpc.SecurityGroupIngressRule(
            f"{name}-{i}",
            security_group_id=server,
            cidr_ipv4=cidr,
            ip_protocol="tcp",
            from_port=port,
            to_port=port,
            description=name,
            tags={"Name": name},
            opts=opts,
        )


def prefix_list(name: str, cidrs: Sequence[Input[str]], opts: ResourceOptions) -> aws.ec2.ManagedPrefixList:
    """Address ranges under one name, so that a rule refers to all of them at once."""
    return aws.ec2.ManagedPrefixList(
        name,
        name=name,
        address_family="IPv4",
        max_entries=len(cidrs),
        entries=[aws.ec2.ManagedPrefixListEntryArgs(cidr=cidr) for cidr in cidrs],
        opts=opts,
    )
