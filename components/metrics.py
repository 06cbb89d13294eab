"""Metrics: a workspace of Amazon Managed Prometheus with the alert rules, and Grafana's dashboards to import.

Invariants:
- The rules are those of `components.alerts`, with the stack's own bounds; alerts go to the one topic.
- Only what writes or reads this one workspace can be allowed to: its ARN is the resource of every policy.
- Dashboards are files in a private bucket; a Grafana imports them, and none is made here.

Cost drivers:
- Samples taken in, by number: series times scrapes. The collector keeps only what rules and dashboards read.
- Samples read by rules and queries; storage by the GiB.
- The log group of the workspace (failed rules and notifications only), the bucket with a few files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pulumi_aws as aws
import yaml
from pulumi import Input, Output, ResourceOptions, StringAsset

from components.alerts import Bounds
from components.base import Component, demand
from components.bucket import BucketArgs, PrivateBucket
from components.dashboards_grafana import dashboards
from components.policies import document, statement
from components.rules import Group, rules_yaml

MOST_RULES = 20
"""Rules in a group: a quota of the managed service."""


@dataclass(frozen=True)
class MetricsArgs:
    """What the workspace is made of."""

    prefix: str
    """The workspace's alias, and part of the log group's name."""
    region: str
    """Region whose topic gets the alerts."""
    data_key_arn: Input[str]
    """Key that stored samples and dashboards are encrypted with."""
    logs_key_arn: Input[str]
    """Key of the workspace's log."""
    alarm_topic_arn: Input[str]
    """Topic that the alert manager publishes to."""
    groups: Sequence[Group]
    """The alert rules, from `components.alerts.rule_groups`."""
    bounds: Bounds
    """The stack's KPIs, drawn into the dashboards."""
    log_days: int = 30
    """Days that the workspace's log is kept: it holds failures of rules only, which are looked at when they happen."""
    keep_bucket: bool = True
    """Whether the bucket of dashboards refuses to go while it has files; they can all be made again from the code."""

    def __post_init__(self) -> None:
        most = max((len(group.rules) for group in self.groups), default=0)
        names = [group.name for group in self.groups]
        demand(
            self,
            groups=(
                0 < most <= MOST_RULES and len(set(names)) == len(names),
                f"at least one, each name once, with at most {MOST_RULES} rules each",
            ),
        )


def alert_manager(topic_arn: str, region: str) -> str:
    """The alert manager's definition: one receiver, the topic; what belongs together comes in one message."""
    config: dict[str, Any] = {
        "route": {
            "receiver": "topic",
            "group_by": ["alertname", "severity"],
            "group_wait": "10s",
            "group_interval": "1m",
            "repeat_interval": "12h",
            "routes": [{"receiver": "topic", "matchers": ['severity="critical"'], "repeat_interval": "1h"}],
        },
        "inhibit_rules": [
            # Nobody measures: the figures that are missing for it need no alarm of their own.
            {
                "source_matchers": ['alertname="CdcLagUnknown"'],
                "target_matchers": ['alertname="DataCheckOld"'],
            }
        ],
        "receivers": [
            {
                "name": "topic",
                "sns_configs": [
                    {
                        "topic_arn": topic_arn,
                        "sigv4": {"region": region},
                        "send_resolved": True,
                        "subject": "{{ .Status | toUpper }}: {{ .CommonLabels.alertname }}",
                        "message": (
                            "{{ range .Alerts }}{{ .Status }}: {{ .Annotations.summary }}\n"
                            "{{ .Annotations.description }}\n{{ end }}"
                        ),
                    }
                ],
            }
        ],
    }
    return str(yaml.safe_dump({"alertmanager_config": yaml.safe_dump(config, sort_keys=False, width=200)}))


def writer_policy(workspace_arn: str) -> str:
    """Write samples into the one workspace."""
    return document(statement("WriteSamples", ["aps:RemoteWrite"], [workspace_arn]))


def reader_policy(workspace_arn: str) -> str:
    """Ask the one workspace: for Grafana's role, and for who runs the gate."""
    return document(
        statement(
            "AskWorkspace",
            ["aps:QueryMetrics", "aps:GetLabels", "aps:GetSeries", "aps:GetMetricMetadata"],
            [workspace_arn],
        )
    )


class Metrics(Component):
    """The workspace with its rules, and the dashboards."""

    workspace_arn: Output[str]
    """What a policy must name."""
    workspace_id: Output[str]
    """What Grafana's data source and AWS's API call it."""
    endpoint: Output[str]
    """Base URL of its API, with a slash at the end: `api/v1/query` and `api/v1/remote_write` follow."""
    grafana_bucket: Output[str]
    """Bucket with the dashboards, one JSON file each under `grafana/`."""
    files: list[str]
    """Names of those files."""

    def __init__(self, name: str, args: MetricsArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        logs = aws.cloudwatch.LogGroup(
            f"{name}-logs",
            name=f"/aws/vendedlogs/prometheus/{args.prefix}",
            retention_in_days=args.log_days,
            kms_key_id=args.logs_key_arn,
            opts=self.child(),
        )
        workspace = aws.amp.Workspace(
            f"{name}-workspace",
            alias=args.prefix,
            kms_key_arn=args.data_key_arn,
            logging_configuration=aws.amp.WorkspaceLoggingConfigurationArgs(
                log_group_arn=Output.concat(logs.arn, ":*")
            ),
            opts=self.child(),
        )
        aws.amp.RuleGroupNamespace(
            f"{name}-rules",
            name="zdm",
            workspace_id=workspace.id,
            data=rules_yaml(args.groups),
            opts=self.child(),
        )
        aws.amp.AlertManagerDefinition(
            f"{name}-alerts",
            workspace_id=workspace.id,
            definition=Output.from_input(args.alarm_topic_arn).apply(lambda arn: alert_manager(arn, args.region)),
            opts=self.child(),
        )
        bucket = PrivateBucket(
            f"{name}-dashboards", BucketArgs(key_arn=args.data_key_arn, keep=args.keep_bucket), self.child()
        )
        made = dashboards(args.bounds)
        for file, text in made.items():
            aws.s3.BucketObjectv2(
                f"{name}-{file.removesuffix('.json')}",
                bucket=bucket.name,
                key=f"grafana/{file}",
                source=StringAsset(text),
                content_type="application/json",
                opts=self.child(ResourceOptions(depends_on=bucket.ready)),
            )
        self.workspace_arn, self.workspace_id = workspace.arn, workspace.id
        self.endpoint, self.grafana_bucket, self.files = workspace.prometheus_endpoint, bucket.name, sorted(made)
        self.register_outputs({"endpoint": self.endpoint, "grafanaBucket": self.grafana_bucket})
