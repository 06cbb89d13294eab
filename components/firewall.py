"""Firewall: a web ACL in front of the load balancers, with addresses that can be blocked at once.

Invariants:
- What it blocks or counts is logged, without the headers that carry sessions and tokens; what it lets pass is not.
- The lists of blocked addresses are empty at first and belong to whoever handles a breach: an `up` leaves them alone.
- Customers are told apart by the header that the edge sets: for a load balancer, every request comes from the edge.
- AWS's lists of addresses with a bad name are not used: they look at the sender, and that is always the edge.

Cost drivers:
- The web ACL and each of its rules by the month, requests by the million. Its capacity stays below the 1,500 units that
  are included: 700 for the common rules, 200 each for known bad input and SQL, a few for the rest.
- Its log in CloudWatch, by the GiB taken in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pulumi_aws as aws
from pulumi import Input, Output, ResourceOptions

from components.base import Component, demand
from components.flow_logs import LOG_DAYS
from components.policies import document, statement

Mode = Literal["count", "block"]

MANAGED = {
    "AWSManagedRulesCommonRuleSet": ("SizeRestrictions_BODY",),
    "AWSManagedRulesKnownBadInputsRuleSet": (),
    "AWSManagedRulesSQLiRuleSet": (),
}
"""AWS's rule groups in their order, each with its rules that only count: a large order is longer than their 8 KB."""

CLIENT_HEADER = "CF-Connecting-IP"
"""Header with the customer's address. Cloudflare sets it, for a Worker's request to an origin of its own zone too; the
load balancers admit nobody else."""

REDACTED = ("authorization", "cookie")
"""Headers that the log leaves out."""


@dataclass(frozen=True)
class FirewallArgs:
    """Arguments of `Firewall`."""

    prefix: str
    """Makes the names of ACL, lists and log unique to the stack."""
    account_id: str
    """Account whose firewall may write the log."""
    partition: str
    """Of the account, as in its ARNs: `aws`, outside of China and GovCloud."""
    region: str
    """Region of the load balancers."""
    logs_key_arn: Input[str]
    """Key that the log is encrypted with."""
    mode: Mode = "block"
    """count lets everything pass and says in metrics and log what would be blocked: for the first days with real
    customers, to find what is blocked by mistake. Addresses in the lists are blocked in either mode."""
    requests_per_5_minutes: int = 2000
    """From one customer's address. Far above what one person does (a request and more every second, for minutes), so
    that offices behind one address are not hit."""
    log_days: int = 30
    """Days that the log is kept, one of those that CloudWatch Logs knows."""

    def __post_init__(self) -> None:
        demand(
            self,
            prefix=(re.fullmatch(r"[\w-]{1,100}", self.prefix) is not None, "1 to 100 letters, digits, - and _"),
            requests_per_5_minutes=(
                10 <= self.requests_per_5_minutes <= 2_000_000_000,
                f"10 to 2,000,000,000, not {self.requests_per_5_minutes}",
            ),
            log_days=(self.log_days in LOG_DAYS, f"one of {', '.join(map(str, LOG_DAYS))}, not {self.log_days}"),
        )


def _visible(metric: str) -> aws.wafv2.WebAclVisibilityConfigArgsDict:
    return {"cloudwatch_metrics_enabled": True, "sampled_requests_enabled": True, "metric_name": metric}


def rules(
    mode: Mode, requests_per_5_minutes: int, blocked: Mapping[str, Input[str]]
) -> list[aws.wafv2.WebAclRuleArgsDict]:
    """The web ACL's rules in their order: blocked addresses (label to the list's ARN), rate, AWS's rule groups."""
    made: list[Any] = []

    def add(name: str, statement: aws.wafv2.WebAclRuleStatementArgsDict, **action: Any) -> None:
        rule: Any = {"name": name, "priority": len(made), "statement": statement, "visibility_config": _visible(name)}
        made.append({**rule, **action})

    for label, arn in blocked.items():
        forwarded: aws.wafv2.WebAclRuleStatementIpSetReferenceStatementIpSetForwardedIpConfigArgsDict = {
            "header_name": CLIENT_HEADER,
            "fallback_behavior": "NO_MATCH",
            "position": "FIRST",
        }
        add(
            label,
            {"ip_set_reference_statement": {"arn": arn, "ip_set_forwarded_ip_config": forwarded}},
            action={"block": {}},
        )
    add(
        "rate",
        {
            "rate_based_statement": {
                "limit": requests_per_5_minutes,
                "evaluation_window_sec": 300,
                "aggregate_key_type": "FORWARDED_IP",
                "forwarded_ip_config": {"header_name": CLIENT_HEADER, "fallback_behavior": "NO_MATCH"},
            }
        },
        action={mode: {}},
    )
    for group, counting in MANAGED.items():
        add(
            group,
            {
                "managed_rule_group_statement": {
                    "vendor_name": "AWS",
                    "name": group,
                    "rule_action_overrides": [{"name": rule, "action_to_use": {"count": {}}} for rule in counting],
                }
            },
            override_action={"none" if mode == "block" else "count": {}},
        )
    return made


def log_policy(args: FirewallArgs, group_arn: str) -> str:
    """Who may write the log: the service that delivers it, for this account only."""
    return document(
        statement(
            "DeliverLog",
            ["logs:CreateLogStream", "logs:PutLogEvents"],
            [f"{group_arn}:*"],
            principal={"Service": "delivery.logs.amazonaws.com"},
            condition={
                "StringEquals": {"aws:SourceAccount": args.account_id},
                "ArnLike": {"aws:SourceArn": f"arn:{args.partition}:logs:{args.region}:{args.account_id}:*"},
            },
        )
    )


class Firewall(Component):
    """A regional web ACL, its lists of blocked addresses and its log."""

    arn: Output[str]
    """ARN of the web ACL, for `Balancer`."""
    name: Output[str]
    """Name of the web ACL, as metrics have it."""
    blocked: dict[str, Output[str]]
    """Ids of the lists of blocked addresses: `ipv4` and `ipv6`. Their names are `<prefix>-blocked-<version>`."""

    def __init__(self, name: str, args: FirewallArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        lists = {
            version: aws.wafv2.IpSet(
                f"{name}-blocked-{version}",
                name=f"{args.prefix}-blocked-{version}",
                description="addresses that are blocked at once, kept by whoever handles a breach",
                scope="REGIONAL",
                ip_address_version=version.upper(),
                addresses=[],
                opts=self.child(ResourceOptions(ignore_changes=["addresses"])),
            )
            for version in ("ipv4", "ipv6")
        }
        self.blocked = {version: addresses.id for version, addresses in lists.items()}
        by_label = {f"blocked-{version}": addresses.arn for version, addresses in lists.items()}
        acl = aws.wafv2.WebAcl(
            f"{name}-acl",
            name=args.prefix,
            description="in front of the load balancers",
            scope="REGIONAL",
            default_action={"allow": {}},
            rules=rules(args.mode, args.requests_per_5_minutes, by_label),
            visibility_config=_visible(args.prefix),
            opts=self.child(),
        )
        self.arn, self.name = acl.arn, acl.name
        self._log(name, args, acl)
        self.register_outputs({"arn": self.arn, "name": self.name, "blocked": self.blocked})

    def _log(self, name: str, args: FirewallArgs, acl: aws.wafv2.WebAcl) -> None:
        group = aws.cloudwatch.LogGroup(
            f"{name}-logs",
            name=f"aws-waf-logs-{args.prefix}",  # WAF takes no other beginning
            retention_in_days=args.log_days,
            kms_key_id=args.logs_key_arn,
            opts=self.child(),
        )
        writer = aws.cloudwatch.LogResourcePolicy(
            f"{name}-logs-writer",
            policy_name=f"{args.prefix}-firewall",
            policy_document=group.arn.apply(lambda arn: log_policy(args, arn)),
            opts=self.child(),
        )
        aws.wafv2.WebAclLoggingConfiguration(
            f"{name}-log",
            resource_arn=acl.arn,
            log_destination_configs=[group.arn],
            redacted_fields=[{"single_header": {"name": header}} for header in REDACTED],
            logging_filter={
                "default_behavior": "DROP",
                "filters": [
                    {
                        "behavior": "KEEP",
                        "requirement": "MEETS_ANY",
                        "conditions": [
                            {"action_condition": {"action": action}}
                            for action in ("BLOCK", "COUNT", "EXCLUDED_AS_COUNT")
                        ],
                    }
                ],
            },
            opts=self.child(ResourceOptions(depends_on=[writer])),
        )
