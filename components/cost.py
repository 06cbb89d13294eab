"""Cost: budgets for the stack, a watch for what is out of the ordinary, and the tags that bills are cut by.

Invariants:
- The limit is what the requirement says: today's MySQL plus a share. It rings by forecast, while there is time left.
- The estimate is held from both sides: spending less than planned says that something planned does not run.
- A budget counts what carries this stack's tags, and nothing else of the account.

Cost drivers:
- Budgets that only notify, the anomaly monitor and cost allocation tags cost nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi_aws as aws
from pulumi import Input, ResourceOptions

from components.base import Component, demand
from components.tags import MANDATORY


@dataclass(frozen=True)
class CostArgs:
    """Arguments of `Cost`."""

    prefix: str
    """Makes the names of budgets and monitor unique to the stack."""
    tags: Mapping[str, str]
    """The stack's mandatory tags: environment and cost centre say what is counted."""
    limit_usd: float
    """What a month may cost at most, in US dollars; `limit` makes it of today's MySQL."""
    estimate_usd: float
    """What a month is estimated to cost, in US dollars."""
    alarm_topic_arn: Input[str]
    """Where notifications go; its policy lets AWS Budgets and Cost Anomaly Detection publish."""
    variance_percent: float = 10.0
    """How far off the estimate a month may be, either way: the requirement's own figure."""
    emails: Sequence[str] = ()
    """Who gets notifications by mail besides, at most 10. Anomalies come once a day by mail, at once by the topic."""
    anomaly_usd: float = 100.0
    """From which impact on, in US dollars, an anomaly is told of: about 2 % of the requirement's month."""
    account: bool = False
    """Make the mandatory tags known to the bill. Once in an account: tags are the account's (of an organisation, the
    paying one's), and AWS knows a tag only a day after it was first used."""

    def __post_init__(self) -> None:
        demand(
            self,
            tags=(all(self.tags.get(tag) for tag in MANDATORY), f"must have {', '.join(MANDATORY)}"),
            limit_usd=(self.limit_usd > 0, f"more than 0, not {self.limit_usd}"),
            estimate_usd=(
                0 < self.estimate_usd <= self.limit_usd,
                f"more than 0 and at most the limit ({self.limit_usd:g}), not {self.estimate_usd:g}",
            ),
            variance_percent=(0 < self.variance_percent < 100, f"between 0 and 100, not {self.variance_percent:g}"),
            emails=(len(self.emails) <= 10, "at most 10, which is what AWS takes"),
            anomaly_usd=(self.anomaly_usd > 0, f"more than 0, not {self.anomaly_usd:g}"),
        )


def limit(mysql_usd: float, overrun_percent: float = 30.0) -> float:
    """What a month may cost: today's MySQL and a share on top, by default the requirement's 30 %."""
    return round(mysql_usd * (1 + overrun_percent / 100), 2)


def monitor_specification(cost_centre: str) -> str:
    """What the anomaly monitor looks at, as Cost Explorer writes it: one tag, of which AWS allows no more."""
    tag = {"Key": "cost-centre", "Values": [cost_centre], "MatchOptions": None}
    other = dict.fromkeys(("And", "CostCategories", "Dimensions", "Not", "Or"))
    return json.dumps({**other, "Tags": tag}, sort_keys=True)


class Cost(Component):
    """Budgets `<prefix>-limit` and `<prefix>-estimate`, an anomaly monitor, and cost allocation tags."""

    limit_budget: str
    """Name of the budget of the limit."""
    estimate_budget: str
    """Name of the budget of the estimate."""

    def __init__(self, name: str, args: CostArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        self._name, self._args = name, args
        self.limit_budget, self.estimate_budget = f"{args.prefix}-limit", f"{args.prefix}-estimate"
        self._budget(
            "limit",
            args.limit_usd,
            [("FORECASTED", "GREATER_THAN", 100), ("ACTUAL", "GREATER_THAN", 80), ("ACTUAL", "GREATER_THAN", 100)],
        )
        more, less = 100 + args.variance_percent, 100 - args.variance_percent
        self._budget(
            "estimate",
            args.estimate_usd,
            [("FORECASTED", "GREATER_THAN", more), ("ACTUAL", "GREATER_THAN", more), ("FORECASTED", "LESS_THAN", less)],
        )
        self._anomalies()
        if args.account:
            for tag in MANDATORY:
                aws.costexplorer.CostAllocationTag(f"{name}-tag-{tag}", tag_key=tag, status="Active", opts=self.child())
        self.register_outputs({"limitBudget": self.limit_budget, "estimateBudget": self.estimate_budget})

    def _budget(self, label: str, amount: float, notify: Sequence[tuple[str, str, float]]) -> None:
        args = self._args
        counted = [
            aws.budgets.BudgetFilterExpressionAndArgs(
                tags=aws.budgets.BudgetFilterExpressionAndTagsArgs(key=tag, values=[args.tags[tag]])
            )
            for tag in ("environment", "cost-centre")
        ]
        aws.budgets.Budget(
            f"{self._name}-{label}",
            name=f"{args.prefix}-{label}",
            budget_type="COST",
            time_unit="MONTHLY",
            limit_amount=f"{amount:.2f}",
            limit_unit="USD",
            metrics="UnblendedCost",
            filter_expression=aws.budgets.BudgetFilterExpressionArgs(ands=counted),
            notifications=[
                aws.budgets.BudgetNotificationArgs(
                    notification_type=kind,
                    comparison_operator=operator,
                    threshold=percent,
                    threshold_type="PERCENTAGE",
                    subscriber_sns_topic_arns=[args.alarm_topic_arn],
                    subscriber_email_addresses=list(args.emails),
                )
                for kind, operator, percent in notify
            ],
            opts=self.child(),
        )

    def _anomalies(self) -> None:
        args = self._args
        monitor = aws.costexplorer.AnomalyMonitor(
            f"{self._name}-anomalies",
            name=f"{args.prefix}-anomalies",
            monitor_type="CUSTOM",
            monitor_specification=monitor_specification(args.tags["cost-centre"]),
            opts=self.child(),
        )
        subscribers: dict[str, list[tuple[str, Input[str]]]] = {"IMMEDIATE": [("SNS", args.alarm_topic_arn)]}
        if args.emails:
            subscribers["DAILY"] = [("EMAIL", email) for email in args.emails]
        for frequency, who in subscribers.items():
            aws.costexplorer.AnomalySubscription(
                f"{self._name}-anomalies-{frequency.lower()}",
                name=f"{args.prefix}-anomalies-{frequency.lower()}",
                frequency=frequency,
                monitor_arn_lists=[monitor.arn],
                subscribers=[
                    aws.costexplorer.AnomalySubscriptionSubscriberArgs(type=kind, address=address)
                    for kind, address in who
                ],
                threshold_expression=aws.costexplorer.AnomalySubscriptionThresholdExpressionArgs(
                    dimension=aws.costexplorer.AnomalySubscriptionThresholdExpressionDimensionArgs(
                        key="ANOMALY_TOTAL_IMPACT_ABSOLUTE",
                        match_options=["GREATER_THAN_OR_EQUAL"],
                        values=[f"{args.anomaly_usd:g}"],
                    )
                ),
                opts=self.child(),
            )
