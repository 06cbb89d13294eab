"""AlertTopic: the one place where alarms go, and the people and channels that hear of them.

Invariants:
- What is published is encrypted with a key of its own; services (EventBridge apart) use it for this account only.
- Nobody publishes without TLS; a service but EventBridge publishes only on behalf of this account.
- The chat channel can look at alarms and metrics. It can change nothing, whoever writes in it.

Cost drivers:
- The KMS key, by the month, and its requests.
- Notifications delivered, by number and by protocol; chat delivery itself is not billed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pulumi_aws as aws
from pulumi import Input, Output, ResourceOptions

from components.base import Component, demand
from components.policies import assume_role, document, statement

PUBLISHERS = (
    "aps.amazonaws.com",
    "backup.amazonaws.com",
    "budgets.amazonaws.com",
    "cloudwatch.amazonaws.com",
    "costalerts.amazonaws.com",
    "dms.amazonaws.com",
    "events.rds.amazonaws.com",
)
"""Alert rules, backups, budgets, alarms, cost anomalies, DMS events, RDS events."""
EVENTBRIDGE = "events.amazonaws.com"
"""Publishes without saying for which account: a condition on that would turn all its messages away (SNS developer
guide, "Managing Amazon SNS encryption keys and costs"; the EventBridge guide's own topic policy has none either)."""


@dataclass(frozen=True)
class Slack:
    """A Slack channel. The workspace is authorised once by hand, in the console of Amazon Q Developer in chat."""

    team_id: str
    """The workspace's id, such as T07EA123LEP."""
    channel_id: str
    """The channel's id, such as C07EZ1ABC23; its name would not do, it can change."""

    def __post_init__(self) -> None:
        demand(
            self,
            team_id=(bool(re.fullmatch(r"T[A-Z0-9]+", self.team_id)), f"such as T07EA123LEP, not {self.team_id!r}"),
            channel_id=(
                bool(re.fullmatch(r"[CG][A-Z0-9]+", self.channel_id)),
                f"such as C07EZ1ABC23, not {self.channel_id!r}",
            ),
        )


@dataclass(frozen=True)
class AlertTopicArgs:
    """Who hears of alarms. With nobody named the topic is still there: alarms and budgets need it as their target."""

    prefix: str
    """Makes the topic's and the key's fixed names unique to the stack."""
    account_id: str
    """The account that publishers must act for."""
    partition: str
    """Of the account, as in its ARNs: `aws`, outside of China and GovCloud."""
    emails: Sequence[str] = ()
    """Addresses; each of them must confirm by the link that AWS sends."""
    webhooks: Sequence[str] = ()
    """HTTPS addresses (of an on-call service); each must answer SNS's request to confirm."""
    slack: Slack | None = None
    """The channel to post in; none by default, since a workspace must be authorised by hand first."""
    key_days: int = 30
    """Days (7 to 30) in which the deleted key can be brought back: the longest, since nothing else can undo it."""

    def __post_init__(self) -> None:
        demand(
            self,
            emails=(
                all(re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", e) for e in self.emails),
                "addresses such as a@b.example",
            ),
            webhooks=(all(w.startswith("https://") for w in self.webhooks), "must begin with https://"),
            key_days=(7 <= self.key_days <= 30, f"7 to 30 days, not {self.key_days}"),
        )


def key_policy(args: AlertTopicArgs) -> str:
    """The account's IAM decides who may use the key; publishing services may encrypt with it."""
    return document(
        statement(
            "AccountDecides", ["kms:*"], ["*"], principal={"AWS": f"arn:{args.partition}:iam::{args.account_id}:root"}
        ),
        statement(
            "Publishers",
            ["kms:Decrypt", "kms:GenerateDataKey*"],
            ["*"],
            principal={"Service": list(PUBLISHERS)},
            condition={"StringEquals": {"aws:SourceAccount": args.account_id}},
        ),
        statement("EventBridge", ["kms:Decrypt", "kms:GenerateDataKey*"], ["*"], principal={"Service": EVENTBRIDGE}),
    )


def topic_policy(args: AlertTopicArgs, topic_arn: str) -> str:
    """Services publish for this account; its own users manage the topic; nobody publishes without TLS."""
    return document(
        statement(
            "Publishers",
            ["sns:Publish"],
            [topic_arn],
            principal={"Service": list(PUBLISHERS)},
            condition={"StringEquals": {"aws:SourceAccount": args.account_id}},
        ),
        statement("EventBridge", ["sns:Publish"], [topic_arn], principal={"Service": EVENTBRIDGE}),
        statement(
            "Account",
            ["sns:GetTopicAttributes", "sns:ListSubscriptionsByTopic", "sns:Publish", "sns:Subscribe"],
            [topic_arn],
            principal={"AWS": f"arn:{args.partition}:iam::{args.account_id}:root"},
        ),
        statement(
            "TlsOnly",
            ["sns:Publish"],
            [topic_arn],
            effect="Deny",
            principal="*",
            condition={"Bool": {"aws:SecureTransport": "false"}},
        ),
    )


def channel_policy(args: AlertTopicArgs) -> str:
    """What the channel may ask: this account's alarms, and the metrics behind them (which have no ARN to name)."""
    return document(
        statement(
            "LookAtAlarms",
            ["cloudwatch:DescribeAlarmHistory", "cloudwatch:DescribeAlarms"],
            [f"arn:{args.partition}:cloudwatch:*:{args.account_id}:alarm:*"],
        ),
        statement(
            "LookAtMetrics",
            ["cloudwatch:GetMetricData", "cloudwatch:GetMetricStatistics", "cloudwatch:ListMetrics"],
            ["*"],
        ),
    )


class AlertTopic(Component):
    """An SNS topic with its key, its policy and its subscriptions."""

    arn: Output[str]
    """The topic, known once its policy stands: who gets it can publish."""

    def __init__(self, name: str, args: AlertTopicArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        key = aws.kms.Key(
            f"{name}-key",
            description=f"{args.prefix}: alarms on their way",
            enable_key_rotation=True,
            deletion_window_in_days=args.key_days,
            policy=key_policy(args),
            opts=self.child(),
        )
        aws.kms.Alias(f"{name}-key-alias", name=f"alias/{args.prefix}-alerts", target_key_id=key.id, opts=self.child())
        topic = aws.sns.Topic(
            f"{name}-topic",
            name=f"{args.prefix}-alerts",
            display_name=f"{args.prefix} alerts",
            kms_master_key_id=key.arn,
            opts=self.child(),
        )
        policy = aws.sns.TopicPolicy(
            f"{name}-policy",
            arn=topic.arn,
            policy=topic.arn.apply(lambda arn: topic_policy(args, arn)),
            opts=self.child(),
        )
        for protocol, endpoints in (("email", args.emails), ("https", args.webhooks)):
            for i, endpoint in enumerate(endpoints, 1):
                aws.sns.TopicSubscription(
                    f"{name}-{protocol}-{i}",
                    topic=topic.arn,
                    protocol=protocol,
                    endpoint=endpoint,
                    opts=self.child(),
                )
        if args.slack is not None:
            self._channel(name, args, args.slack, topic.arn)
        self.arn = Output.all(topic.arn, policy.id).apply(lambda both: str(both[0]))
        self.register_outputs({"arn": self.arn})

    def _channel(self, name: str, args: AlertTopicArgs, slack: Slack, topic_arn: Input[str]) -> None:
        role = aws.iam.Role(
            f"{name}-channel-role",
            assume_role_policy=assume_role("chatbot.amazonaws.com", args.account_id),
            description=f"{name}: what the channel may look at",
            opts=self.child(),
        )
        aws.iam.RolePolicy(f"{name}-channel-rights", role=role.id, policy=channel_policy(args), opts=self.child())
        aws.chatbot.SlackChannelConfiguration(
            f"{name}-channel",
            configuration_name=f"{args.prefix}-alerts",
            slack_team_id=slack.team_id,
            slack_channel_id=slack.channel_id,
            iam_role_arn=role.arn,
            sns_topic_arns=[topic_arn],
            # Without a guard rail the channel's limit would be AdministratorAccess.
            guardrail_policy_arns=[f"arn:{args.partition}:iam::aws:policy/CloudWatchReadOnlyAccess"],
            logging_level="ERROR",
            opts=self.child(),
        )
