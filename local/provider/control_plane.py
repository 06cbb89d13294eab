"""The types that live in the stack's AWS API server: one table, token -> service, operations, id, renamed properties.

The words of the table (`Api`, `Call`, `Update`, `Tagging`, `Recorded`) and what they mean are in `local.provider.api`.
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from local.provider.api import Api, ApiServer, Call, Recorded, Spec, Tagging, Update, Values, server
from local.provider.handler import Handler, HandlerError

if TYPE_CHECKING:
    from local.provider.registry import Kind
    from local.stack import LocalStack


def _pascal(value: Any) -> Any:
    """Properties with the names that AWS's query and XML APIs give them."""
    if isinstance(value, Mapping):
        return {k[0].upper() + k[1:]: _pascal(v) for k, v in value.items()}
    return [_pascal(v) for v in value] if isinstance(value, list) else value


def const(value: Any) -> Callable[[Values], Any]:
    return lambda values: value


def pairs(key: str = "Key", value: str = "Value", of: str = "tag_map") -> Callable[[Values], Any]:
    return lambda v: [{key: k, value: item} for k, item in (v.get(of) or {}).items()] or None


_KEYS: Spec = "tag_keys"
_EC2_TAGS = Tagging(
    Call("create_tags", {"Resources": lambda v: [v["id"]], "Tags": pairs()}),
    Call("delete_tags", {"Resources": lambda v: [v["id"]], "Tags": lambda v: [{"Key": k} for k in v["tag_keys"]]}),
)
_RDS_TAGS = Tagging(
    Call("add_tags_to_resource", {"ResourceName": "arn", "Tags": pairs()}),
    Call("remove_tags_from_resource", {"ResourceName": "arn", "TagKeys": _KEYS}),
)
_ECS_TAGS = Tagging(
    Call("tag_resource", {"resourceArn": "arn", "tags": pairs("key", "value")}),
    Call("untag_resource", {"resourceArn": "arn", "tagKeys": _KEYS}),
)
_LB_TAGS = Tagging(
    Call("add_tags", {"ResourceArns": lambda v: [v["arn"]], "Tags": pairs()}),
    Call("remove_tags", {"ResourceArns": lambda v: [v["arn"]], "TagKeys": _KEYS}),
)


def _ids(values: Values) -> list[str]:
    return [values["id"]]


def _ec2(kind: str) -> str:
    return "arn:aws:ec2:{region}:{account}:" + kind + "/{id}"


# --- particular types -------------------------------------------------------------------------------------------------


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
        Call("describe_security_group_rules", {"SecurityGroupRuleIds": _ids}),
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
            Call(f"revoke_security_group_{direction}", {"GroupId": "securityGroupId", "SecurityGroupRuleIds": _ids}),
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


def _rds_parameters(values: Values) -> list[Values]:
    return [
        {
            "ParameterName": p["name"],
            "ParameterValue": str(p["value"]),
            "ApplyMethod": p.get("applyMethod", "immediate"),
        }
        for p in values.get("parameters") or ()
    ]


def _removed_parameters(values: Values) -> list[Values]:
    now = {p["name"] for p in values.get("parameters") or ()}
    return [
        {"ParameterName": p["name"], "ApplyMethod": p.get("applyMethod", "immediate")}
        for p in values.get("old", {}).get("parameters") or ()
        if p["name"] not in now
    ]


def _reconfigure(stack: LocalStack, values: Values) -> None:
    """A changed parameter group reaches the servers that run with it."""
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
                ),
                on_create=True,
            ),
        ),
        delete_calls=(Call(f"delete_{infix}_parameter_group", {name: "name"}),),
        tagging=_RDS_TAGS,
        before_update=_reconfigure,
    )


def _object_body(values: Values) -> Any:
    if values.get("source") is not None:
        return values["source"].read()
    return values["content"].encode() if values.get("content") is not None else None


def _empty_bucket(api: ApiServer, values: Values) -> None:
    """`forceDestroy`: every version of every object goes before the bucket."""
    s3 = api.client("s3")
    if not values.get("forceDestroy"):
        return
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=values["id"]):
        for item in [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]:
            s3.delete_object(Bucket=values["id"], Key=item["Key"], VersionId=item["VersionId"])


def _encryption_rules(values: Values) -> Values:
    names = {"sseAlgorithm": "SSEAlgorithm", "kmsMasterKeyId": "KMSMasterKeyID"}
    rules = []
    for rule in values["rules"]:
        default = {names[k]: v for k, v in (rule.get("applyServerSideEncryptionByDefault") or {}).items()}
        rules.append(
            {"ApplyServerSideEncryptionByDefault": default, "BucketKeyEnabled": bool(rule.get("bucketKeyEnabled"))}
        )
    return {"Rules": rules}


def _listener_actions(values: Values) -> list[Values]:
    actions = []
    for order, action in enumerate(values["defaultActions"], 1):
        sent: Values = {"Type": action["type"].lower(), "Order": action.get("order", order)}
        if action.get("targetGroupArn"):
            sent["TargetGroupArn"] = action["targetGroupArn"]
        if action.get("forward"):
            groups = [
                {"TargetGroupArn": g["arn"], "Weight": g.get("weight", 1)} for g in action["forward"]["targetGroups"]
            ]
            sent["ForwardConfig"] = {"TargetGroups": groups}
        if action.get("redirect"):
            sent["RedirectConfig"] = _pascal(action["redirect"])
        if action.get("fixedResponse"):
            sent["FixedResponseConfig"] = _pascal(action["fixedResponse"])
        actions.append(sent)
    return actions


def _health_check(values: Values) -> dict[str, Any]:
    return values.get("healthCheck") or {}


_HEALTH: dict[str, Spec] = {
    "HealthCheckPath": "healthCheck.path",
    "HealthCheckProtocol": "healthCheck.protocol",
    "HealthCheckPort": lambda v: str(p) if (p := _health_check(v).get("port")) is not None else None,
    "HealthCheckIntervalSeconds": "healthCheck.interval",
    "HealthCheckTimeoutSeconds": "healthCheck.timeout",
    "HealthyThresholdCount": "healthCheck.healthyThreshold",
    "UnhealthyThresholdCount": "healthCheck.unhealthyThreshold",
    "Matcher": lambda v: {"HttpCode": m} if (m := _health_check(v).get("matcher")) else None,
}


def _balancer_address(stack: LocalStack, values: Values) -> Values:
    """On one machine a load balancer's host name is the loopback address that its targets listen on."""
    return {"dnsName": stack.address(f"load-balancer-{values['name']}")}


def _reroute(stack: LocalStack, values: Values) -> None:
    """Workers whose origins have moved learn it at once."""
    from local.dataplane import workers

    workers.reroute(stack)


def _await_certificate(stack: LocalStack, values: Values) -> None:
    acm = server(stack, values["region"]).client("acm")
    deadline = time.monotonic() + 10
    while True:
        status = acm.describe_certificate(CertificateArn=values["certificateArn"])["Certificate"]["Status"]
        if status == "ISSUED":
            return
        if status != "PENDING_VALIDATION" or time.monotonic() > deadline:
            raise HandlerError(f"certificate {values['certificateArn']} is {status}, not ISSUED")
        time.sleep(0.2)


def _validation_options(api_type: Api, api: ApiServer, values: Values, found: Any) -> Values:
    options = [
        {
            "domainName": o["DomainName"],
            "resourceRecordName": o["ResourceRecord"]["Name"],
            "resourceRecordType": o["ResourceRecord"]["Type"],
            "resourceRecordValue": o["ResourceRecord"]["Value"],
        }
        for o in found.get("DomainValidationOptions", ())
        if "ResourceRecord" in o
    ]
    return {"domainValidationOptions": options}


def _bucket_setting(put: str, argument: str, source: Spec, get: str, delete: str | None, found: str = "@") -> Api:
    """A sub-resource of a bucket: put whole, read whole, reset at the end."""
    arguments: dict[str, Spec] = {"Bucket": "bucket", argument: source}
    props = tuple(
        p
        for p in (
            "rules",
            "versioningConfiguration",
            "policy",
            "blockPublicAcls",
            "blockPublicPolicy",
            "ignorePublicAcls",
            "restrictPublicBuckets",
        )
    )
    return Api(
        "s3",
        Call(put, arguments),
        "{bucket}",
        Call(get, {"Bucket": "bucket"}),
        found,
        updates=(Update(props, (Call(put, arguments),)),),
        delete_calls=(Call(delete, {"Bucket": "bucket"}),) if delete else (),
    )


_CREATE_SUBNET = {
    "VpcId": "vpcId",
    "CidrBlock": "cidrBlock",
    "AvailabilityZone": "availabilityZone",
    "AvailabilityZoneId": "availabilityZoneId",
    "Ipv6CidrBlock": "ipv6CidrBlock",
}
_ENDPOINT_SETS = {"routeTableIds": "RouteTable", "subnetIds": "Subnet", "securityGroupIds": "SecurityGroup"}


_OBJECT: dict[str, Spec] = {
    "Bucket": "bucket",
    "Key": "key",
    "Body": _object_body,
    "ContentType": "contentType",
    "Metadata": "metadata",
    "StorageClass": "storageClass",
    "Tagging": lambda v: urlencode(v["tagsAll"]) if v.get("tagsAll") else None,
}
_LISTENER: dict[str, Spec] = {
    "Port": "port",
    "Protocol": lambda v: str(v.get("protocol", "HTTP")).upper(),
    "SslPolicy": "sslPolicy",
    "DefaultActions": _listener_actions,
    "Certificates": lambda v: [{"CertificateArn": v["certificateArn"]}] if v.get("certificateArn") else None,
}


def _added(prop: str) -> Spec:
    return lambda v: sorted(set(v.get(prop) or ()) - set(v["old"].get(prop) or ())) or None


def _dropped(prop: str) -> Spec:
    return lambda v: sorted(set(v["old"].get(prop) or ()) - set(v.get(prop) or ())) or None


def _entries(v: Values) -> list[dict[str, str]] | None:
    """A prefix list's entries that are not there yet."""
    there = (v.get("old") or {}).get("entries") or ()
    return [
        {"Cidr": entry["cidr"], **({"Description": entry["description"]} if entry.get("description") else {})}
        for entry in v.get("entries") or ()
        if entry not in there
    ] or None


# --- the table --------------------------------------------------------------------------------------------------------

TABLE: dict[str, Api | Recorded] = {
    "aws:ec2/vpc:Vpc": Api(
        "ec2",
        Call("create_vpc", {"CidrBlock": "cidrBlock", "InstanceTenancy": "instanceTenancy"}),
        "Vpc.VpcId",
        Call("describe_vpcs", {"VpcIds": _ids}),
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
        Call("describe_subnets", {"SubnetIds": _ids}),
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
        Call("describe_internet_gateways", {"InternetGatewayIds": _ids}),
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
        Call("describe_route_tables", {"RouteTableIds": _ids}),
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
        Call("describe_nat_gateways", {"NatGatewayIds": _ids}),
        "NatGateways[0]",
        {
            "publicIp": "NatGatewayAddresses[0].PublicIp",
            "privateIp": "NatGatewayAddresses[0].PrivateIp",
            "networkInterfaceId": "NatGatewayAddresses[0].NetworkInterfaceId",
        },
        delete_calls=(Call("delete_nat_gateway", {"NatGatewayId": "id"}),),
        tagging=_EC2_TAGS,
        gone=lambda found: found["State"] == "deleted",
    ),
    "aws:ec2/eip:Eip": Api(
        "ec2",
        Call("allocate_address", {"Domain": lambda v: v.get("domain", "vpc")}),
        "AllocationId",
        Call("describe_addresses", {"AllocationIds": _ids}),
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
        Call("describe_managed_prefix_lists", {"PrefixListIds": _ids}),
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
        Call("describe_security_groups", {"GroupIds": _ids}),
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
        Call("describe_vpc_endpoints", {"VpcEndpointIds": _ids}),
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
                            **{f"Add{key}Ids": _added(name) for name, key in _ENDPOINT_SETS.items()},
                            **{f"Remove{key}Ids": _dropped(name) for name, key in _ENDPOINT_SETS.items()},
                        },
                    ),
                ),
            ),
        ),
        delete_calls=(Call("delete_vpc_endpoints", {"VpcEndpointIds": _ids}),),
        tagging=_EC2_TAGS,
        gone=lambda found: found.get("State") == "deleted",
    ),
    "aws:kms/key:Key": Api(
        "kms",
        Call(
            "create_key",
            {
                "Description": "description",
                "Policy": "policy",
                "KeyUsage": "keyUsage",
                "KeySpec": "customerMasterKeySpec",
                "MultiRegion": "multiRegion",
            },
        ),
        "KeyMetadata.KeyId",
        Call("describe_key", {"KeyId": "id"}),
        "KeyMetadata",
        {"arn": "Arn", "keyId": "KeyId", "description": "Description", "multiRegion": "MultiRegion"},
        updates=(
            Update(
                ("enableKeyRotation", "rotationPeriodInDays"),
                (
                    Call(
                        "enable_key_rotation",
                        {"KeyId": "id", "RotationPeriodInDays": "rotationPeriodInDays"},
                        when=lambda v: v.get("enableKeyRotation"),
                    ),
                    Call("disable_key_rotation", {"KeyId": "id"}, when=lambda v: not v.get("enableKeyRotation")),
                ),
                on_create=True,
            ),
            Update(("description",), (Call("update_key_description", {"KeyId": "id", "Description": "description"}),)),
            Update(
                ("policy",),
                (Call("put_key_policy", {"KeyId": "id", "PolicyName": const("default"), "Policy": "policy"}),),
            ),
        ),
        delete_calls=(
            Call(
                "schedule_key_deletion",
                {"KeyId": "id", "PendingWindowInDays": lambda v: v.get("deletionWindowInDays", 30)},
            ),
        ),
        tagging=Tagging(
            Call("tag_resource", {"KeyId": "id", "Tags": pairs("TagKey", "TagValue")}),
            Call("untag_resource", {"KeyId": "id", "TagKeys": _KEYS}),
        ),
        gone=lambda found: found.get("KeyState") == "PendingDeletion",
    ),
    "aws:kms/alias:Alias": Api(
        "kms",
        Call("create_alias", {"AliasName": "name", "TargetKeyId": "targetKeyId"}),
        "{name}",
        Call("list_aliases"),
        "Aliases[?AliasName=='<id>'] | [0]",
        {
            "arn": "arn:aws:kms:{region}:{account}:{name}",
            "targetKeyArn": "join('', ['arn:aws:kms:<region>:<account>:key/', TargetKeyId])",
        },
        updates=(
            Update(("targetKeyId",), (Call("update_alias", {"AliasName": "name", "TargetKeyId": "targetKeyId"}),)),
        ),
        delete_calls=(Call("delete_alias", {"AliasName": "name"}),),
    ),
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
    "aws:secretsmanager/secret:Secret": Api(
        "secretsmanager",
        Call("create_secret", {"Name": "name", "Description": "description", "KmsKeyId": "kmsKeyId"}),
        "ARN",
        Call("describe_secret", {"SecretId": "id"}),
        "@",
        {"arn": "ARN"},
        updates=(
            Update(
                ("description", "kmsKeyId"),
                (Call("update_secret", {"SecretId": "id", "Description": "description", "KmsKeyId": "kmsKeyId"}),),
            ),
            Update(
                ("policy",),
                (
                    Call(
                        "put_resource_policy",
                        {"SecretId": "id", "ResourcePolicy": "policy"},
                        when=lambda v: v.get("policy"),
                    ),
                    Call("delete_resource_policy", {"SecretId": "id"}, when=lambda v: not v.get("policy")),
                ),
                on_create=True,
            ),
        ),
        delete_calls=(
            Call(
                "delete_secret",
                {"SecretId": "id", "ForceDeleteWithoutRecovery": const(True)},
                when=lambda v: v.get("recoveryWindowInDays") == 0,
            ),
            Call(
                "delete_secret",
                {"SecretId": "id", "RecoveryWindowInDays": "recoveryWindowInDays"},
                when=lambda v: v.get("recoveryWindowInDays") != 0,
            ),
        ),
        tagging=Tagging(
            Call("tag_resource", {"SecretId": "id", "Tags": pairs()}),
            Call("untag_resource", {"SecretId": "id", "TagKeys": _KEYS}),
        ),
        gone=lambda found: "DeletedDate" in found,
    ),
    "aws:secretsmanager/secretVersion:SecretVersion": Api(
        "secretsmanager",
        Call(
            "put_secret_value",
            {
                "SecretId": "secretId",
                "SecretString": "secretString",
                "SecretBinary": "secretBinary",
                "VersionStages": "versionStages",
            },
        ),
        lambda v: f"{v['secretId']}|{v['answer']['VersionId']}",
        Call("get_secret_value", {"SecretId": "secretId", "VersionId": lambda v: v["id"].rpartition("|")[2]}),
        "@",
        {
            "arn": "ARN",
            "secretArn": "ARN",
            "versionId": "VersionId",
            "secretString": "SecretString",
            "versionStages": "VersionStages",
        },
    ),
    "aws:s3/bucket:Bucket": Api(
        "s3",
        Call(
            "create_bucket",
            {
                "Bucket": "bucket",
                "CreateBucketConfiguration": lambda v: (
                    None if v["region"] == "us-east-1" else {"LocationConstraint": v["region"]}
                ),
                "ObjectLockEnabledForBucket": "objectLockEnabled",
            },
        ),
        "{bucket}",
        Call("head_bucket", {"Bucket": "id"}),
        "@",
        {
            "arn": "arn:aws:s3:::{bucket}",
            "bucketDomainName": "{bucket}.s3.amazonaws.com",
            "bucketRegion": "{region}",
            "bucketRegionalDomainName": "{bucket}.s3.{region}.amazonaws.com",
        },
        before_delete=_empty_bucket,
        delete_calls=(Call("delete_bucket", {"Bucket": "id"}),),
        tagging=Tagging(
            Call("put_bucket_tagging", {"Bucket": "id", "Tagging": lambda v: {"TagSet": pairs(of="tagsAll")(v)}}),
            Call("put_bucket_tagging", {"Bucket": "id", "Tagging": lambda v: {"TagSet": pairs(of="tagsAll")(v) or []}}),
        ),
    ),
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": _bucket_setting(
        "put_public_access_block",
        "PublicAccessBlockConfiguration",
        lambda v: {
            p[0].upper() + p[1:]: bool(v.get(p))
            for p in ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
        },
        "get_public_access_block",
        "delete_public_access_block",
        "PublicAccessBlockConfiguration",
    ),
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": _bucket_setting(
        "put_bucket_encryption",
        "ServerSideEncryptionConfiguration",
        _encryption_rules,
        "get_bucket_encryption",
        "delete_bucket_encryption",
        "ServerSideEncryptionConfiguration",
    ),
    "aws:s3/bucketVersioning:BucketVersioning": _bucket_setting(
        "put_bucket_versioning",
        "VersioningConfiguration",
        lambda v: {"Status": v["versioningConfiguration"]["status"]},
        "get_bucket_versioning",
        None,
    ),
    "aws:s3/bucketPolicy:BucketPolicy": _bucket_setting(
        "put_bucket_policy", "Policy", "policy", "get_bucket_policy", "delete_bucket_policy", "Policy"
    ),
    "aws:s3/bucketObjectv2:BucketObjectv2": Api(
        "s3",
        Call("put_object", _OBJECT),
        "{bucket}/{key}",
        Call("head_object", {"Bucket": "bucket", "Key": "key"}),
        "@",
        {"arn": "arn:aws:s3:::{bucket}/{key}", "etag": "ETag", "versionId": "VersionId", "contentType": "ContentType"},
        updates=(
            Update(
                ("source", "content", "contentType", "metadata", "sourceHash", "storageClass", "tagsAll"),
                (Call("put_object", _OBJECT),),
            ),
        ),
        delete_calls=(Call("delete_object", {"Bucket": "bucket", "Key": "key"}),),
    ),
    "aws:iam/role:Role": Api(
        "iam",
        Call(
            "create_role",
            {
                "RoleName": "name",
                "AssumeRolePolicyDocument": "assumeRolePolicy",
                "Description": "description",
                "Path": "path",
                "MaxSessionDuration": "maxSessionDuration",
                "PermissionsBoundary": "permissionsBoundary",
            },
        ),
        "{name}",
        Call("get_role", {"RoleName": "id"}),
        "Role",
        {"arn": "Arn", "uniqueId": "RoleId"},
        updates=(
            Update(
                ("assumeRolePolicy",),
                (Call("update_assume_role_policy", {"RoleName": "id", "PolicyDocument": "assumeRolePolicy"}),),
            ),
            Update(
                ("description", "maxSessionDuration"),
                (
                    Call(
                        "update_role",
                        {"RoleName": "id", "Description": "description", "MaxSessionDuration": "maxSessionDuration"},
                    ),
                ),
            ),
        ),
        delete_calls=(Call("delete_role", {"RoleName": "id"}),),
        tagging=Tagging(
            Call("tag_role", {"RoleName": "id", "Tags": pairs()}),
            Call("untag_role", {"RoleName": "id", "TagKeys": _KEYS}),
        ),
    ),
    "aws:iam/rolePolicy:RolePolicy": Api(
        "iam",
        Call("put_role_policy", {"RoleName": "role", "PolicyName": "name", "PolicyDocument": "policy"}),
        "{role}:{name}",
        Call("get_role_policy", {"RoleName": "role", "PolicyName": "name"}),
        updates=(
            Update(
                ("policy",),
                (Call("put_role_policy", {"RoleName": "role", "PolicyName": "name", "PolicyDocument": "policy"}),),
            ),
        ),
        delete_calls=(Call("delete_role_policy", {"RoleName": "role", "PolicyName": "name"}),),
    ),
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": Api(
        "iam",
        Call("attach_role_policy", {"RoleName": "role", "PolicyArn": "policyArn"}),
        "{role}/{policyArn}",
        Call("list_attached_role_policies", {"RoleName": "role"}),
        "AttachedPolicies[?PolicyArn=='<policyArn>'] | [0]",
        delete_calls=(Call("detach_role_policy", {"RoleName": "role", "PolicyArn": "policyArn"}),),
    ),
    "aws:cloudwatch/logGroup:LogGroup": Api(
        "logs",
        Call("create_log_group", {"logGroupName": "name", "kmsKeyId": "kmsKeyId"}),
        "{name}",
        Call("describe_log_groups", {"logGroupNamePrefix": "id"}),
        "logGroups[?logGroupName=='<id>'] | [0]",
        {"arn": "arn:aws:logs:{region}:{account}:log-group:{name}"},
        updates=(
            Update(
                ("retentionInDays",),
                (
                    Call(
                        "put_retention_policy",
                        {"logGroupName": "id", "retentionInDays": "retentionInDays"},
                        when=lambda v: v.get("retentionInDays"),
                    ),
                    Call(
                        "delete_retention_policy", {"logGroupName": "id"}, when=lambda v: not v.get("retentionInDays")
                    ),
                ),
                on_create=True,
            ),
        ),
        delete_calls=(Call("delete_log_group", {"logGroupName": "id"}),),
        tagging=Tagging(
            Call("tag_resource", {"resourceArn": "arn", "tags": "tag_map"}),
            Call("untag_resource", {"resourceArn": "arn", "tagKeys": _KEYS}),
        ),
    ),
    "aws:ecs/cluster:Cluster": Api(
        "ecs",
        Call("create_cluster", {"clusterName": "name", "settings": "settings"}),
        "cluster.clusterArn",
        Call("describe_clusters", {"clusters": _ids}),
        "clusters[?status=='ACTIVE'] | [0]",
        {"arn": "clusterArn"},
        updates=(Update(("settings",), (Call("update_cluster_settings", {"cluster": "id", "settings": "settings"}),)),),
        delete_calls=(Call("delete_cluster", {"cluster": "id"}),),
        tagging=_ECS_TAGS,
    ),
    "aws:ecs/taskDefinition:TaskDefinition": Api(
        "ecs",
        Call(
            "register_task_definition",
            {
                "family": "family",
                "containerDefinitions": lambda v: json.loads(v["containerDefinitions"]),
                "cpu": "cpu",
                "memory": "memory",
                "networkMode": "networkMode",
                "requiresCompatibilities": "requiresCompatibilities",
                "executionRoleArn": "executionRoleArn",
                "taskRoleArn": "taskRoleArn",
                "runtimePlatform": "runtimePlatform",
            },
        ),
        "{family}",
        Call("describe_task_definition", {"taskDefinition": lambda v: v.get("arn") or v["family"]}),
        "taskDefinition",
        {"arn": "taskDefinitionArn", "revision": "revision", "networkMode": "networkMode"},
        delete_calls=(Call("deregister_task_definition", {"taskDefinition": "arn"}),),
        tagging=_ECS_TAGS,
        gone=lambda found: found.get("status") == "INACTIVE",
        more=lambda t, api, v, found: {"arnWithoutRevision": found["taskDefinitionArn"].rpartition(":")[0]},
    ),
    "aws:lb/loadBalancer:LoadBalancer": Api(
        "elbv2",
        Call(
            "create_load_balancer",
            {
                "Name": "name",
                "Subnets": "subnets",
                "SecurityGroups": "securityGroups",
                "Type": "loadBalancerType",
                "Scheme": lambda v: "internal" if v.get("internal") else "internet-facing",
                "IpAddressType": "ipAddressType",
            },
        ),
        "LoadBalancers[0].LoadBalancerArn",
        Call("describe_load_balancers", {"LoadBalancerArns": _ids}),
        "LoadBalancers[0]",
        {"arn": "LoadBalancerArn", "vpcId": "VpcId", "zoneId": "CanonicalHostedZoneId"},
        updates=(
            Update(
                ("securityGroups",),
                (Call("set_security_groups", {"LoadBalancerArn": "id", "SecurityGroups": "securityGroups"}),),
            ),
            Update(("subnets",), (Call("set_subnets", {"LoadBalancerArn": "id", "Subnets": "subnets"}),)),
        ),
        delete_calls=(Call("delete_load_balancer", {"LoadBalancerArn": "id"}),),
        tagging=_LB_TAGS,
        adjust=_balancer_address,
        tell=_reroute,
        more=lambda t, api, v, found: {"arnSuffix": v["arn"].partition(":loadbalancer/")[2]},
    ),
    "aws:lb/targetGroup:TargetGroup": Api(
        "elbv2",
        Call(
            "create_target_group",
            {
                "Name": "name",
                "Protocol": lambda v: str(v["protocol"]).upper() if v.get("protocol") else None,
                "Port": "port",
                "VpcId": "vpcId",
                "TargetType": "targetType",
                **_HEALTH,
            },
        ),
        "TargetGroups[0].TargetGroupArn",
        Call("describe_target_groups", {"TargetGroupArns": _ids}),
        "TargetGroups[0]",
        {"arn": "TargetGroupArn"},
        updates=(Update(("healthCheck",), (Call("modify_target_group", {"TargetGroupArn": "id", **_HEALTH}),)),),
        delete_calls=(Call("delete_target_group", {"TargetGroupArn": "id"}),),
        tagging=_LB_TAGS,
        tell=_reroute,
        more=lambda t, api, v, found: {"arnSuffix": v["arn"].rpartition(":")[2]},
    ),
    "aws:lb/listener:Listener": Api(
        "elbv2",
        Call("create_listener", {"LoadBalancerArn": "loadBalancerArn", **_LISTENER}),
        "Listeners[0].ListenerArn",
        Call("describe_listeners", {"ListenerArns": _ids}),
        "Listeners[0]",
        {"arn": "ListenerArn"},
        updates=(
            Update(
                ("port", "protocol", "sslPolicy", "defaultActions", "certificateArn"),
                (Call("modify_listener", {"ListenerArn": "id", **_LISTENER}),),
            ),
        ),
        delete_calls=(Call("delete_listener", {"ListenerArn": "id"}),),
        tagging=_LB_TAGS,
        tell=_reroute,
    ),
    "aws:acm/certificate:Certificate": Api(
        "acm",
        Call(
            "request_certificate",
            {
                "DomainName": "domainName",
                "ValidationMethod": "validationMethod",
                "SubjectAlternativeNames": "subjectAlternativeNames",
                "KeyAlgorithm": "keyAlgorithm",
            },
        ),
        "CertificateArn",
        Call("describe_certificate", {"CertificateArn": "id"}),
        "Certificate",
        {"arn": "CertificateArn"},
        delete_calls=(Call("delete_certificate", {"CertificateArn": "id"}),),
        more=_validation_options,
        tagging=Tagging(
            Call("add_tags_to_certificate", {"CertificateArn": "id", "Tags": pairs()}),
            Call(
                "remove_tags_from_certificate",
                {"CertificateArn": "id", "Tags": lambda v: [{"Key": k} for k in v["tag_keys"]]},
            ),
        ),
    ),
    "aws:acm/certificateValidation:CertificateValidation": Recorded(
        "validation-of-{certificateArn}", on_create=_await_certificate
    ),
}


def handler(token: str) -> Handler | None:
    """The handler of a type of this table."""
    return TABLE.get(token)


def kind(token: str) -> Kind | None:
    """Whether a type of this table lives in the API server, or is only recorded."""
    entry = TABLE.get(token)
    return None if entry is None else "recorded" if isinstance(entry, Recorded) else "api"
