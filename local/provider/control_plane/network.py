"""VPCs: subnets, routes, gateways, endpoints, security groups, prefix lists."""

from __future__ import annotations

import zlib
from typing import Any

from local.provider.api import Api, ApiServer, Call, Recorded, Tagging, Update, Values
from local.provider.control_plane.words import added, const, dropped, own_id, pairs

_EC2_TAGS = Tagging(
    Call("create_tags", {"Resources": lambda v: [v["id"]], "Tags": pairs()}),
    Call("delete_tags", {"Resources": lambda v: [v["id"]], "Tags": lambda v: [{"Key": k} for k in v["tag_keys"]]}),
)


def _ec2(kind: str) -> str:
    return "arn:aws:ec2:{region}:{account}:" + kind + "/{id}"


def _vpc_defaults(api_type: Api, api: ApiServer, values: Values, found: Any) -> Values:
    """What EC2 makes along with a VPC: security group, route table, network ACL."""
    ec2 = api.client("ec2")
    own = [{"Name": "vpc-id", "Values": [values["id"]]}]
    if all(values.get(k) for k in ("defaultSecurityGroupId", "mainRouteTableId", "defaultNetworkAclId")):
        return {}
    groups = ec2.describe_security_groups(Filters=[*own, {"Name": "group-name", "Values": ["default"]}])[
        "SecurityGroups"
    ]
    tables = ec2.describe_route_tables(Filters=[*own, {"Name": "association.main", "Values": ["true"]}])["RouteTables"]
    acls = ec2.describe_network_acls(Filters=[*own, {"Name": "default", "Values": ["true"]}])["NetworkAcls"]
    table = tables[0]["RouteTableId"] if tables else None
    return {
        "defaultSecurityGroupId": groups[0]["GroupId"] if groups else None,
        "mainRouteTableId": table,
        "defaultRouteTableId": table,
        "defaultNetworkAclId": acls[0]["NetworkAclId"] if acls else None,
        "enableDnsSupport": values.get("enableDnsSupport", True),
        "enableDnsHostnames": values.get("enableDnsHostnames", False),
    }


def _permissions(rules: list[Values]) -> list[Values]:
    """Inline rules of a security group as EC2 takes them."""
    return [
        {
            "IpProtocol": str(r["protocol"]),
            "FromPort": r["fromPort"],
            "ToPort": r["toPort"],
            "IpRanges": [{"CidrIp": c} for c in r.get("cidrBlocks", ())],
            "Ipv6Ranges": [{"CidrIpv6": c} for c in r.get("ipv6CidrBlocks", ())],
            "UserIdGroupPairs": [{"GroupId": g} for g in r.get("securityGroups", ())],
        }
        for r in rules
    ]


def _rule(values: Values) -> list[Values]:
    """One security group rule resource as EC2 takes it."""
    described = {"Description": values["description"]} if values.get("description") else {}
    permission: Values = {"IpProtocol": str(values["ipProtocol"])}
    for name, key in (("fromPort", "FromPort"), ("toPort", "ToPort")):
        if values.get(name) is not None:
            permission[key] = values[name]
    for name, ranges, key in (
        ("cidrIpv4", "IpRanges", "CidrIp"),
        ("cidrIpv6", "Ipv6Ranges", "CidrIpv6"),
        ("prefixListId", "PrefixListIds", "PrefixListId"),
        ("referencedSecurityGroupId", "UserIdGroupPairs", "GroupId"),
    ):
        if values.get(name):
            permission[ranges] = [{key: values[name], **described}]
    return [permission]


def _changed_rule(values: Values) -> list[Values]:
    names = {
        "ipProtocol": "IpProtocol",
        "fromPort": "FromPort",
        "toPort": "ToPort",
        "cidrIpv4": "CidrIpv4",
        "cidrIpv6": "CidrIpv6",
        "prefixListId": "PrefixListId",
        "referencedSecurityGroupId": "ReferencedGroupId",
        "description": "Description",
    }
    rule = {key: values[name] for name, key in names.items() if values.get(name) is not None}
    return [{"SecurityGroupRuleId": values["id"], "SecurityGroupRule": rule}]


def _security_group_rule(direction: str) -> Api:
    return Api(
        "ec2",
        Call(f"authorize_security_group_{direction}", {"GroupId": "securityGroupId", "IpPermissions": _rule}),
        "SecurityGroupRules[0].SecurityGroupRuleId",
        Call("describe_security_group_rules", {"SecurityGroupRuleIds": own_id}),
        "SecurityGroupRules[0]",
        {"securityGroupRuleId": "SecurityGroupRuleId", "arn": _ec2("security-group-rule")},
        updates=(
            Update(
                (
                    "ipProtocol",
                    "fromPort",
                    "toPort",
                    "cidrIpv4",
                    "cidrIpv6",
                    "prefixListId",
                    "referencedSecurityGroupId",
                    "description",
                ),
                (
                    Call(
                        "modify_security_group_rules",
                        {"GroupId": "securityGroupId", "SecurityGroupRules": _changed_rule},
                    ),
                ),
            ),
        ),
        delete_calls=(
            Call(f"revoke_security_group_{direction}", {"GroupId": "securityGroupId", "SecurityGroupRuleIds": own_id}),
        ),
        tagging=_EC2_TAGS,
    )


_ROUTE_TARGETS = {
    "gatewayId": "GatewayId",
    "natGatewayId": "NatGatewayId",
    "networkInterfaceId": "NetworkInterfaceId",
    "transitGatewayId": "TransitGatewayId",
    "vpcPeeringConnectionId": "VpcPeeringConnectionId",
    "vpcEndpointId": "VpcEndpointId",
    "egressOnlyGatewayId": "EgressOnlyInternetGatewayId",
}


_ROUTE = {
    "RouteTableId": "routeTableId",
    "DestinationCidrBlock": "destinationCidrBlock",
    "DestinationIpv6CidrBlock": "destinationIpv6CidrBlock",
    "DestinationPrefixListId": "destinationPrefixListId",
}


def _destination(values: Values) -> str:
    return str(
        values.get("destinationCidrBlock")
        or values.get("destinationIpv6CidrBlock")
        or values.get("destinationPrefixListId")
    )


def _route_id(values: Values) -> str:
    return f"r-{values['routeTableId']}{zlib.crc32(_destination(values).encode())}"


def _find_route(api_type: Api, api: ApiServer, values: Values, found: Any) -> Values:
    return {"origin": found[0].get("Origin", "CreateRoute"), "state": found[0].get("State", "active")}


_CREATE_SUBNET = {
    "VpcId": "vpcId",
    "CidrBlock": "cidrBlock",
    "AvailabilityZone": "availabilityZone",
    "AvailabilityZoneId": "availabilityZoneId",
    "Ipv6CidrBlock": "ipv6CidrBlock",
}


_ENDPOINT_SETS = {"routeTableIds": "RouteTable", "subnetIds": "Subnet", "securityGroupIds": "SecurityGroup"}


def _entries(v: Values) -> list[dict[str, str]] | None:
    """A prefix list's entries that are not there yet."""
    there = (v.get("old") or {}).get("entries") or ()
    return [
        {"Cidr": entry["cidr"], **({"Description": entry["description"]} if entry.get("description") else {})}
        for entry in v.get("entries") or ()
        if entry not in there
    ] or None


def _prefix_list(api_type: Api, api: ApiServer, values: Values, found: Any) -> Values:
    """The address ranges of the service that a gateway endpoint leads to."""
    if values.get("vpcEndpointType") == "Interface":
        return {"networkInterfaceIds": found.get("NetworkInterfaceIds", [])}
    named = [{"Name": "prefix-list-name", "Values": [values["serviceName"]]}]
    lists = api.client("ec2").describe_managed_prefix_lists(Filters=named)["PrefixLists"]
    return {"prefixListId": lists[0]["PrefixListId"]} if lists else {}


TABLE: dict[str, Api | Recorded] = {
    "aws:ec2/vpc:Vpc": Api(
        "ec2",
        Call("create_vpc", {"CidrBlock": "cidrBlock", "InstanceTenancy": "instanceTenancy"}),
        "Vpc.VpcId",
        Call("describe_vpcs", {"VpcIds": own_id}),
        "Vpcs[0]",
        {
            "arn": _ec2("vpc"),
            "cidrBlock": "CidrBlock",
            "dhcpOptionsId": "DhcpOptionsId",
            "ownerId": "{account}",
            "instanceTenancy": "InstanceTenancy",
        },
        updates=tuple(
            Update(
                (name,),
                (
                    Call(
                        "modify_vpc_attribute",
                        {
                            "VpcId": "id",
                            name[0].upper() + name[1:]: (lambda n: lambda v: {"Value": bool(v.get(n))})(name),
                        },
                    ),
                ),
                on_create=True,
            )
            for name in ("enableDnsSupport", "enableDnsHostnames")
        ),
        delete_calls=(Call("delete_vpc", {"VpcId": "id"}),),
        tagging=_EC2_TAGS,
        more=_vpc_defaults,
    ),
    "aws:ec2/subnet:Subnet": Api(
        "ec2",
        Call("create_subnet", _CREATE_SUBNET),
        "Subnet.SubnetId",
        Call("describe_subnets", {"SubnetIds": own_id}),
        "Subnets[0]",
        {
            "arn": _ec2("subnet"),
            "availabilityZone": "AvailabilityZone",
            "availabilityZoneId": "AvailabilityZoneId",
            "ownerId": "{account}",
            "mapPublicIpOnLaunch": "MapPublicIpOnLaunch",
        },
        updates=(
            Update(
                ("mapPublicIpOnLaunch",),
                (
                    Call(
                        "modify_subnet_attribute",
                        {
                            "SubnetId": "id",
                            "MapPublicIpOnLaunch": lambda v: {"Value": bool(v.get("mapPublicIpOnLaunch"))},
                        },
                    ),
                ),
                on_create=True,
            ),
        ),
        delete_calls=(Call("delete_subnet", {"SubnetId": "id"}),),
        tagging=_EC2_TAGS,
    ),
    "aws:ec2/internetGateway:InternetGateway": Api(
        "ec2",
        Call("create_internet_gateway"),
        "InternetGateway.InternetGatewayId",
        Call("describe_internet_gateways", {"InternetGatewayIds": own_id}),
        "InternetGateways[0]",
        {"arn": _ec2("internet-gateway"), "ownerId": "{account}", "vpcId": "Attachments[0].VpcId"},
        updates=(
            Update(
                ("vpcId",),
                (
                    Call(
                        "detach_internet_gateway",
                        {"InternetGatewayId": "id", "VpcId": "old.vpcId"},
                        when=lambda v: v.get("old", {}).get("vpcId"),
                    ),
                    Call(
                        "attach_internet_gateway",
                        {"InternetGatewayId": "id", "VpcId": "vpcId"},
                        when=lambda v: v.get("vpcId"),
                    ),
                ),
                on_create=True,
            ),
        ),
        delete_calls=(
            Call(
                "detach_internet_gateway", {"InternetGatewayId": "id", "VpcId": "vpcId"}, when=lambda v: v.get("vpcId")
            ),
            Call("delete_internet_gateway", {"InternetGatewayId": "id"}),
        ),
        tagging=_EC2_TAGS,
    ),
    "aws:ec2/routeTable:RouteTable": Api(
        "ec2",
        Call("create_route_table", {"VpcId": "vpcId"}),
        "RouteTable.RouteTableId",
        Call("describe_route_tables", {"RouteTableIds": own_id}),
        "RouteTables[0]",
        {"arn": _ec2("route-table"), "ownerId": "{account}"},
        delete_calls=(Call("delete_route_table", {"RouteTableId": "id"}),),
        tagging=_EC2_TAGS,
    ),
    "aws:ec2/route:Route": Api(
        "ec2",
        Call("create_route", {**_ROUTE, **{key: name for name, key in _ROUTE_TARGETS.items()}}),
        _route_id,
        Call("describe_route_tables", {"RouteTableIds": lambda v: [v["routeTableId"]]}),
        "RouteTables[0].Routes[?DestinationCidrBlock=='<destinationCidrBlock>'"
        " || DestinationIpv6CidrBlock=='<destinationIpv6CidrBlock>'"
        " || DestinationPrefixListId=='<destinationPrefixListId>']",
        updates=(
            Update(
                tuple(_ROUTE_TARGETS),
                (Call("replace_route", {**_ROUTE, **{key: name for name, key in _ROUTE_TARGETS.items()}}),),
            ),
        ),
        delete_calls=(Call("delete_route", _ROUTE),),
        gone=lambda found: not found,
        more=_find_route,
    ),
    "aws:ec2/routeTableAssociation:RouteTableAssociation": Api(
        "ec2",
        Call(
            "associate_route_table", {"RouteTableId": "routeTableId", "SubnetId": "subnetId", "GatewayId": "gatewayId"}
        ),
        "AssociationId",
        Call(
            "describe_route_tables",
            {"Filters": lambda v: [{"Name": "association.route-table-association-id", "Values": [v["id"]]}]},
        ),
        "RouteTables[0]",
        delete_calls=(Call("disassociate_route_table", {"AssociationId": "id"}),),
    ),
    "aws:ec2/natGateway:NatGateway": Api(
        "ec2",
        Call(
            "create_nat_gateway",
            {"SubnetId": "subnetId", "AllocationId": "allocationId", "ConnectivityType": "connectivityType"},
        ),
        "NatGateway.NatGatewayId",
        Call("describe_nat_gateways", {"NatGatewayIds": own_id}),
        "NatGateways[0]",
        {
            "associationId": "NatGatewayAddresses[0].AssociationId",
            "publicIp": "NatGatewayAddresses[0].PublicIp",
            "privateIp": "NatGatewayAddresses[0].PrivateIp",
            "networkInterfaceId": "NatGatewayAddresses[0].NetworkInterfaceId",
        },
        delete_calls=(
            Call("delete_nat_gateway", {"NatGatewayId": "id"}),
            Call(
                "disassociate_address",
                {"AssociationId": "associationId"},
                when=lambda v: v.get("associationId"),
            ),
        ),
        tagging=_EC2_TAGS,
        gone=lambda found: found["State"] == "deleted",
    ),
    "aws:ec2/eip:Eip": Api(
        "ec2",
        Call("allocate_address", {"Domain": lambda v: v.get("domain", "vpc")}),
        "AllocationId",
        Call("describe_addresses", {"AllocationIds": own_id}),
        "Addresses[0]",
        {"allocationId": "AllocationId", "publicIp": "PublicIp", "domain": "Domain", "arn": _ec2("elastic-ip")},
        delete_calls=(Call("release_address", {"AllocationId": "id"}),),
        tagging=_EC2_TAGS,
    ),
    "aws:ec2/managedPrefixList:ManagedPrefixList": Api(
        "ec2",
        Call(
            "create_managed_prefix_list",
            {
                "PrefixListName": "name",
                "AddressFamily": "addressFamily",
                "MaxEntries": "maxEntries",
                "Entries": _entries,
            },
        ),
        "PrefixList.PrefixListId",
        Call("describe_managed_prefix_lists", {"PrefixListIds": own_id}),
        "PrefixLists[0]",
        {"arn": "PrefixListArn", "ownerId": "{account}", "version": "Version"},
        updates=(
            Update(
                ("entries", "name", "maxEntries"),
                (
                    Call(
                        "modify_managed_prefix_list",
                        {
                            "PrefixListId": "id",
                            "PrefixListName": "name",
                            "AddEntries": _entries,
                            "RemoveEntries": lambda v: (
                                [
                                    {"Cidr": e["cidr"]}
                                    for e in v["old"].get("entries") or ()
                                    if e not in (v.get("entries") or ())
                                ]
                                or None
                            ),
                        },
                    ),
                ),
            ),
        ),
        delete_calls=(Call("delete_managed_prefix_list", {"PrefixListId": "id"}),),
        tagging=_EC2_TAGS,
        gone=lambda found: found["State"] == "delete-complete",
    ),
    "aws:ec2/securityGroup:SecurityGroup": Api(
        "ec2",
        Call("create_security_group", {"GroupName": "name", "Description": "description", "VpcId": "vpcId"}),
        "GroupId",
        Call("describe_security_groups", {"GroupIds": own_id}),
        "SecurityGroups[0]",
        {"arn": _ec2("security-group"), "ownerId": "{account}", "vpcId": "VpcId"},
        updates=(
            Update(
                ("name",),
                (
                    Call(
                        "revoke_security_group_egress",
                        {
                            "GroupId": "id",
                            "IpPermissions": const([{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]),
                        },
                        when=lambda v: "old" not in v,
                    ),
                ),
                on_create=True,
            ),
            *(
                Update(
                    (direction,),
                    (
                        Call(
                            f"revoke_security_group_{direction}",
                            {
                                "GroupId": "id",
                                "IpPermissions": (lambda d: lambda v: _permissions(v["old"][d]))(direction),
                            },
                            when=(lambda d: lambda v: v.get("old", {}).get(d))(direction),
                        ),
                        Call(
                            f"authorize_security_group_{direction}",
                            {
                                "GroupId": "id",
                                "IpPermissions": (lambda d: lambda v: _permissions(v[d]))(direction),
                            },
                            when=(lambda d: lambda v: v.get(d))(direction),
                        ),
                    ),
                    on_create=True,
                )
                for direction in ("ingress", "egress")
            ),
        ),
        delete_calls=(Call("delete_security_group", {"GroupId": "id"}),),
        tagging=_EC2_TAGS,
    ),
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": _security_group_rule("ingress"),
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": _security_group_rule("egress"),
    "aws:ec2/vpcEndpoint:VpcEndpoint": Api(
        "ec2",
        Call(
            "create_vpc_endpoint",
            {
                "VpcId": "vpcId",
                "ServiceName": "serviceName",
                "VpcEndpointType": lambda v: v.get("vpcEndpointType", "Gateway"),
                "PolicyDocument": "policy",
                "RouteTableIds": "routeTableIds",
                "SubnetIds": "subnetIds",
                "SecurityGroupIds": "securityGroupIds",
                "PrivateDnsEnabled": "privateDnsEnabled",
            },
        ),
        "VpcEndpoint.VpcEndpointId",
        Call("describe_vpc_endpoints", {"VpcEndpointIds": own_id}),
        "VpcEndpoints[0]",
        {"arn": _ec2("vpc-endpoint"), "ownerId": "{account}", "state": "State"},
        updates=(
            Update(
                (*_ENDPOINT_SETS, "policy", "privateDnsEnabled"),
                (
                    Call(
                        "modify_vpc_endpoint",
                        {
                            "VpcEndpointId": "id",
                            "PolicyDocument": "policy",
                            "PrivateDnsEnabled": "privateDnsEnabled",
                            **{f"Add{key}Ids": added(name) for name, key in _ENDPOINT_SETS.items()},
                            **{f"Remove{key}Ids": dropped(name) for name, key in _ENDPOINT_SETS.items()},
                        },
                    ),
                ),
            ),
        ),
        delete_calls=(Call("delete_vpc_endpoints", {"VpcEndpointIds": own_id}),),
        tagging=_EC2_TAGS,
        gone=lambda found: found.get("State") == "deleted",
        more=_prefix_list,
    ),
    "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup": Api(
        "ec2",
        # The group comes with the VPC: taking it over finds it and takes its rules away; deleting leaves it so.
        Call(
            "describe_security_groups",
            {
                "Filters": lambda v: [
                    {"Name": "vpc-id", "Values": [v["vpcId"]]},
                    {"Name": "group-name", "Values": ["default"]},
                ]
            },
        ),
        "SecurityGroups[0].GroupId",
        Call("describe_security_groups", {"GroupIds": own_id}),
        "SecurityGroups[0]",
        {"arn": _ec2("security-group"), "ownerId": "{account}", "vpcId": "VpcId", "name": "GroupName"},
        updates=(
            Update(
                ("vpcId",),
                (
                    Call(
                        "revoke_security_group_egress",
                        {
                            "GroupId": "id",
                            "IpPermissions": const([{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]),
                        },
                    ),
                ),
                on_create=True,
            ),
        ),
        tagging=_EC2_TAGS,
    ),
    "aws:ec2/flowLog:FlowLog": Api(
        "ec2",
        Call(
            "create_flow_logs",
            {
                "ResourceType": lambda v: "VPC" if v.get("vpcId") else "Subnet",
                "ResourceIds": lambda v: [v.get("vpcId") or v["subnetId"]],
                "TrafficType": "trafficType",
                "LogDestinationType": "logDestinationType",
                "LogGroupName": lambda v: v["logDestination"].rpartition(":log-group:")[2].removesuffix(":*"),
                "DeliverLogsPermissionArn": "iamRoleArn",
                "LogFormat": "logFormat",
                "MaxAggregationInterval": "maxAggregationInterval",
            },
        ),
        "FlowLogIds[0]",
        Call("describe_flow_logs", {"FlowLogIds": own_id}),
        "FlowLogs[0]",
        {"arn": _ec2("vpc-flow-log"), "logFormat": "LogFormat"},
        delete_calls=(Call("delete_flow_logs", {"FlowLogIds": own_id}),),
        tagging=_EC2_TAGS,
    ),
}
