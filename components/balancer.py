"""Balancer: a load balancer that speaks TLS 1.2 or newer with the edge, and the name in DNS that leads to it.

Invariants:
- Only the edge's address ranges may connect, on port 443; there is no listener without TLS.
- The certificate is proven and renewed through DNS; its proof stays in the zone for as long as the balancer stands.
- With a standby, requests go to exactly one of two target groups; the other's tasks run and are checked too.

Cost drivers:
- The load balancer by the hour and by load balancer capacity units (new and active connections, bytes).
- Public IPv4 addresses: one in each zone, by the hour.
- Access logs: requests to S3 and what is stored there. The certificate and the DNS records cost nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pulumi
import pulumi_aws as aws
import pulumi_cloudflare as cloudflare
from pulumi import Input, Output, ResourceOptions

from components.base import Component, demand
from components.network import security_group
from components.policies import statement

TLS_POLICY = "ELBSecurityPolicy-TLS13-1-2-2021-06"

Active = Literal["main", "standby"]


@dataclass(frozen=True)
class Targets:
    """What stands behind the load balancer."""

    port: int
    """Port of the containers; the way from the balancer to them stays within the VPC and is HTTP."""
    health_path: str
    """Path that answers 200 while a container can serve."""
    drain_seconds: int = 15
    """Seconds that a leaving container may take to finish its requests. 15: well above the API's 150 ms at the 95th
    percentile, and short enough that a deployment does not wait for idle connections."""
    standby: bool = False
    """Whether there is a second target group for tasks that stand ready to take over."""
    active: Active = "main"
    """Which of the two gets the requests. Changing it is the takeover: one call to the load balancer, in place."""

    def __post_init__(self) -> None:
        demand(
            self,
            port=(1 <= self.port <= 65535, f"1 to 65535, not {self.port}"),
            health_path=(self.health_path.startswith("/"), f"a path from the root, not {self.health_path!r}"),
            drain_seconds=(0 <= self.drain_seconds <= 3600, f"0 to 3600, not {self.drain_seconds}"),
            active=(self.active == "main" or self.standby, "there is no standby: switch it on, or choose main"),
        )


@dataclass(frozen=True)
class AccessLogs:
    """Where the load balancer writes what it was asked."""

    bucket: Input[str]
    """Name of a bucket that lets Elastic Load Balancing write; it must be encrypted by S3's own key (AWS allows no
    other for these logs)."""
    prefix: str
    """Folder in the bucket, one for each load balancer."""


@dataclass(frozen=True)
class BalancerArgs:
    """Arguments of `Balancer`."""

    host: str
    """Name in DNS, and the one name of the certificate."""
    zone_id: str
    """Cloudflare's id of the zone that the name belongs to."""
    vpc_id: Input[str]
    """Network of the load balancer and its targets."""
    subnet_ids: Sequence[Input[str]]
    """Public subnets, one in each zone, at least two."""
    edge_prefix_list_id: Input[str]
    """Managed prefix list with the address ranges that may connect."""
    targets: Targets
    """Port, health check and standby of what stands behind."""
    proxied: bool = False
    """Whether customers reach the name through Cloudflare's proxy. Off: the router itself is in front of it."""
    deletion_protection: bool = True
    """Refuse deletion until it is switched off. On, because deleting it takes the shop off the net."""
    web_acl_arn: Input[str] | None = None
    """Web ACL that requests must pass. None: no firewall of ours in front, as fits a dev stack."""
    access_logs: AccessLogs | None = None
    """None: requests are not logged here (the services log them)."""

    def __post_init__(self) -> None:
        demand(self, subnet_ids=(len(self.subnet_ids) >= 2, "two or more, in different zones"))


def log_delivery(bucket_arn: str, account_id: str) -> list[dict[str, Any]]:
    """What the policy of a bucket needs that gets access logs of this account's load balancers.

    The path binds it to the account; AWS's own document has no condition, and the service may not send what one needs.
    """
    return [
        statement(
            "BalancerLogsWrite",
            ["s3:PutObject"],
            [f"{bucket_arn}/*/AWSLogs/{account_id}/*"],
            principal={"Service": "logdelivery.elasticloadbalancing.amazonaws.com"},
        )
    ]


class Balancer(Component):
    """`name` is that of the service it stands in front of; its children are called after it."""

    arn: Output[str]
    """ARN of the load balancer."""
    arn_suffix: Output[str]
    """What CloudWatch calls the load balancer: `app/<name>/<id>`."""
    listener_arn: Output[str]
    """ARN of the listener, for whoever moves requests between the target groups."""
    security_group_id: Output[str]
    """Group of the load balancer; targets let it in."""
    target: aws.lb.TargetGroup
    """Target group of the main tasks."""
    standby: aws.lb.TargetGroup | None
    """Target group of the standby's tasks, if there is one."""
    url: str
    """Base URL, `https://<host>`."""
    ready: Sequence[pulumi.Resource]
    """What must be there before a service can register with a target group."""

    def __init__(self, name: str, args: BalancerArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(f"{name}-front", opts)
        self.url = f"https://{args.host}"
        group = security_group(f"{name}-edge", args.vpc_id, f"{name}: load balancer", self.child())
        self.security_group_id = group.id
        way_in = aws.vpc.SecurityGroupIngressRule(
            f"{name}-from-router",
            security_group_id=group.id,
            prefix_list_id=args.edge_prefix_list_id,
            ip_protocol="tcp",
            from_port=443,
            to_port=443,
            description="the router's network",
            tags={"Name": f"{name}-from-router"},
            opts=self.child(),
        )
        balancer = aws.lb.LoadBalancer(
            f"{name}-balancer",
            load_balancer_type="application",
            internal=False,
            security_groups=[group.id],
            subnets=list(args.subnet_ids),
            drop_invalid_header_fields=True,
            idle_timeout=120,
            enable_deletion_protection=args.deletion_protection,
            access_logs=_access_logs(args.access_logs),
            opts=self.child(),
        )
        self.arn, self.arn_suffix = balancer.arn, balancer.arn_suffix
        self.target = self._group(f"{name}-target", args)
        self.standby = self._group(f"{name}-standby", args) if args.targets.standby else None
        listener = aws.lb.Listener(
            f"{name}-listener",
            load_balancer_arn=balancer.arn,
            port=443,
            protocol="HTTPS",
            ssl_policy=TLS_POLICY,
            certificate_arn=self._certificate(name, args),
            default_actions=[self._forward(args.targets.active)],
            opts=self.child(),
        )
        self.listener_arn = listener.arn
        self.ready = [way_in, listener]
        cloudflare.DnsRecord(
            f"{name}-host",
            zone_id=args.zone_id,
            name=args.host,
            type="CNAME",
            content=balancer.dns_name,
            ttl=1 if args.proxied else 60,
            proxied=args.proxied,
            comment="load balancer, made by the migration's stack",
            opts=self.child(),
        )
        if args.web_acl_arn is not None:
            aws.wafv2.WebAclAssociation(
                f"{name}-firewall",
                resource_arn=balancer.arn,
                web_acl_arn=args.web_acl_arn,
                opts=self.child(),
            )
        self.register_outputs(
            {
                "arn": self.arn,
                "arnSuffix": self.arn_suffix,
                "listenerArn": self.listener_arn,
                "securityGroupId": self.security_group_id,
                "url": self.url,
            }
        )

    def _certificate(self, name: str, args: BalancerArgs) -> Output[str]:
        """ARN of a certificate that has been issued."""
        certificate = aws.acm.Certificate(
            f"{name}-certificate",
            domain_name=args.host,
            validation_method="DNS",
            opts=self.child(),
        )
        proof = certificate.domain_validation_options[0]
        record = cloudflare.DnsRecord(
            f"{name}-certificate-proof",
            zone_id=args.zone_id,
            ttl=60,
            proxied=False,
            name=proof.resource_record_name.apply(lambda fqdn: (fqdn or "").rstrip(".")),
            type=proof.resource_record_type.apply(lambda kind: kind or "CNAME"),
            content=proof.resource_record_value.apply(lambda value: (value or "").rstrip(".")),
            opts=self.child(),
        )
        valid = aws.acm.CertificateValidation(
            f"{name}-certificate-valid",
            certificate_arn=certificate.arn,
            validation_record_fqdns=[record.name],
            opts=self.child(),
        )
        return valid.certificate_arn

    def _group(self, name: str, args: BalancerArgs) -> aws.lb.TargetGroup:
        return aws.lb.TargetGroup(
            name,
            port=args.targets.port,
            protocol="HTTP",
            target_type="ip",
            vpc_id=args.vpc_id,
            deregistration_delay=args.targets.drain_seconds,
            load_balancing_algorithm_type="least_outstanding_requests",
            health_check=aws.lb.TargetGroupHealthCheckArgs(
                path=args.targets.health_path,
                matcher="200",
                interval=10,
                timeout=5,
                healthy_threshold=2,
                unhealthy_threshold=2,
            ),
            opts=self.child(),
        )

    def _forward(self, active: Active) -> aws.lb.ListenerDefaultActionArgs:
        if self.standby is None:
            return aws.lb.ListenerDefaultActionArgs(type="forward", target_group_arn=self.target.arn)
        return aws.lb.ListenerDefaultActionArgs(
            type="forward",
            forward=aws.lb.ListenerDefaultActionForwardArgs(
                target_groups=[
                    aws.lb.ListenerDefaultActionForwardTargetGroupArgs(arn=group.arn, weight=int(role == active))
                    for role, group in (("main", self.target), ("standby", self.standby))
                ]
            ),
        )


def _access_logs(logs: AccessLogs | None) -> aws.lb.LoadBalancerAccessLogsArgs | None:
    if logs is None:
        return None
    return aws.lb.LoadBalancerAccessLogsArgs(bucket=logs.bucket, prefix=logs.prefix, enabled=True)
