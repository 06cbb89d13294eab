"""ECS around the running tasks, images, load balancers, certificates."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from local.provider.api import Api, ApiServer, Call, Recorded, Spec, Tagging, Update, Values, server
from local.provider.control_plane.words import TAG_KEYS, own_id, pairs, pascal
from local.provider.handler import HandlerError

if TYPE_CHECKING:
    from local.stack import LocalStack


_ECS_TAGS = Tagging(
    Call("tag_resource", {"resourceArn": "arn", "tags": pairs("key", "value")}),
    Call("untag_resource", {"resourceArn": "arn", "tagKeys": TAG_KEYS}),
)


_LB_TAGS = Tagging(
    Call("add_tags", {"ResourceArns": lambda v: [v["arn"]], "Tags": pairs()}),
    Call("remove_tags", {"ResourceArns": lambda v: [v["arn"]], "TagKeys": TAG_KEYS}),
)


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
            sent["RedirectConfig"] = pascal(action["redirect"])
        if action.get("fixedResponse"):
            sent["FixedResponseConfig"] = pascal(action["fixedResponse"])
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


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _balancer_attributes(values: Values) -> list[dict[str, str]] | None:
    """The settings of a load balancer that are not arguments of its creation."""
    logs = values.get("accessLogs") or {}
    given = {
        "deletion_protection.enabled": bool(values.get("enableDeletionProtection")),
        "idle_timeout.timeout_seconds": values.get("idleTimeout"),
        "routing.http.drop_invalid_header_fields.enabled": values.get("dropInvalidHeaderFields"),
        "access_logs.s3.enabled": bool(logs.get("enabled")),
        "access_logs.s3.bucket": logs.get("bucket"),
        "access_logs.s3.prefix": logs.get("prefix"),
    }
    return [{"Key": key, "Value": _text(value)} for key, value in given.items() if value is not None]


def _group_attributes(values: Values) -> list[dict[str, str]] | None:
    given = {
        "deregistration_delay.timeout_seconds": values.get("deregistrationDelay"),
        "load_balancing.algorithm.type": values.get("loadBalancingAlgorithmType"),
    }
    return [{"Key": key, "Value": _text(value)} for key, value in given.items() if value is not None] or None


def _refuse_protected(api: ApiServer, values: Values) -> None:
    if values.get("enableDeletionProtection"):
        raise HandlerError(
            f"OperationNotPermitted: the load balancer {values['name']} is protected: bring the stack up with "
            "enableDeletionProtection false before it can go"
        )


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


_LISTENER: dict[str, Spec] = {
    "Port": "port",
    "Protocol": lambda v: str(v.get("protocol", "HTTP")).upper(),
    "SslPolicy": "sslPolicy",
    "DefaultActions": _listener_actions,
    "Certificates": lambda v: [{"CertificateArn": v["certificateArn"]}] if v.get("certificateArn") else None,
}


def _encryption(values: Values) -> dict[str, str] | None:
    given = (values.get("encryptionConfigurations") or [None])[0]
    if given is None:
        return None
    return {key: given[key] for key in ("encryptionType", "kmsKey") if given.get(key)}


TABLE: dict[str, Api | Recorded] = {
    "aws:ecr/repository:Repository": Api(
        "ecr",
        Call(
            "create_repository",
            {
                "repositoryName": "name",
                "imageTagMutability": "imageTagMutability",
                "imageScanningConfiguration": "imageScanningConfiguration",
                "encryptionConfiguration": _encryption,
            },
        ),
        "repository.repositoryName",
        Call("describe_repositories", {"repositoryNames": own_id}),
        "repositories[0]",
        {"arn": "repositoryArn", "registryId": "registryId", "repositoryUrl": "repositoryUri"},
        updates=(
            Update(
                ("imageTagMutability",),
                (
                    Call(
                        "put_image_tag_mutability",
                        {"repositoryName": "id", "imageTagMutability": "imageTagMutability"},
                    ),
                ),
            ),
            Update(
                ("imageScanningConfiguration",),
                (
                    Call(
                        "put_image_scanning_configuration",
                        {"repositoryName": "id", "imageScanningConfiguration": "imageScanningConfiguration"},
                    ),
                ),
            ),
        ),
        delete_calls=(
            Call("delete_repository", {"repositoryName": "id", "force": lambda v: bool(v.get("forceDelete"))}),
        ),
        tagging=Tagging(
            Call("tag_resource", {"resourceArn": "arn", "tags": pairs()}),
            Call("untag_resource", {"resourceArn": "arn", "tagKeys": TAG_KEYS}),
        ),
    ),
    "aws:ecr/lifecyclePolicy:LifecyclePolicy": Api(
        "ecr",
        Call("put_lifecycle_policy", {"repositoryName": "repository", "lifecyclePolicyText": "policy"}),
        "{repository}",
        Call("get_lifecycle_policy", {"repositoryName": "id"}),
        "@",
        {"registryId": "registryId"},
        delete_calls=(Call("delete_lifecycle_policy", {"repositoryName": "id"}),),
    ),
    "aws:ecs/cluster:Cluster": Api(
        "ecs",
        Call("create_cluster", {"clusterName": "name", "settings": "settings"}),
        "cluster.clusterArn",
        Call("describe_clusters", {"clusters": own_id}),
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
        delete_calls=(
            Call("deregister_task_definition", {"taskDefinition": "arn"}, when=lambda v: not v.get("skipDestroy")),
        ),
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
        Call("describe_load_balancers", {"LoadBalancerArns": own_id}),
        "LoadBalancers[0]",
        {"arn": "LoadBalancerArn", "vpcId": "VpcId", "zoneId": "CanonicalHostedZoneId"},
        updates=(
            Update(
                ("securityGroups",),
                (Call("set_security_groups", {"LoadBalancerArn": "id", "SecurityGroups": "securityGroups"}),),
            ),
            Update(("subnets",), (Call("set_subnets", {"LoadBalancerArn": "id", "Subnets": "subnets"}),)),
            Update(
                ("accessLogs", "dropInvalidHeaderFields", "enableDeletionProtection", "idleTimeout"),
                (
                    Call(
                        "modify_load_balancer_attributes",
                        {"LoadBalancerArn": "id", "Attributes": _balancer_attributes},
                    ),
                ),
                on_create=True,
            ),
        ),
        before_delete=_refuse_protected,
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
        Call("describe_target_groups", {"TargetGroupArns": own_id}),
        "TargetGroups[0]",
        {"arn": "TargetGroupArn"},
        updates=(
            Update(("healthCheck",), (Call("modify_target_group", {"TargetGroupArn": "id", **_HEALTH}),)),
            Update(
                ("deregistrationDelay", "loadBalancingAlgorithmType"),
                (
                    Call(
                        "modify_target_group_attributes",
                        {"TargetGroupArn": "id", "Attributes": _group_attributes},
                    ),
                ),
                on_create=True,
            ),
        ),
        delete_calls=(Call("delete_target_group", {"TargetGroupArn": "id"}),),
        tagging=_LB_TAGS,
        tell=_reroute,
        more=lambda t, api, v, found: {"arnSuffix": v["arn"].rpartition(":")[2]},
    ),
    "aws:lb/listener:Listener": Api(
        "elbv2",
        Call("create_listener", {"LoadBalancerArn": "loadBalancerArn", **_LISTENER}),
        "Listeners[0].ListenerArn",
        Call("describe_listeners", {"ListenerArns": own_id}),
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
