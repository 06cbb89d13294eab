"""The alert topic, and everything of CloudWatch that components make, under the real engine."""

from __future__ import annotations

import json

import pulumi
import pulumi_aws as aws
import pytest
from pulumi import automation as auto

from components.alert_topic import AlertTopic, AlertTopicArgs, Slack
from tests.cloud import Cloud, Program, changes, client

pytestmark = pytest.mark.real

ACCOUNT = "123456789012"
SLACK = Slack(team_id="T07EA123LEP", channel_id="C07EZ1ABC23")


def program(emails: tuple[str, ...] = ("a@b.example",), bound: float = 80, slack: Slack | None = SLACK) -> Program:
    def declare() -> None:
        topic = AlertTopic(
            "alerts",
            AlertTopicArgs(
                prefix="tiny-dev",
                account_id=ACCOUNT,
                partition="aws",
                emails=emails,
                webhooks=["https://oncall.example/hook"],
                slack=slack,
                key_days=7,
            ),
        )
        plain = aws.cloudwatch.MetricAlarm(
            "cpu",
            namespace="AWS/RDS",
            metric_name="CPUUtilization",
            dimensions={"DBClusterIdentifier": "shop"},
            statistic="Average",
            period=60,
            evaluation_periods=3,
            comparison_operator="GreaterThanThreshold",
            threshold=bound,
            treat_missing_data="missing",
            alarm_actions=[topic.arn],
            ok_actions=[topic.arn],
        )
        sums = aws.cloudwatch.MetricAlarm(
            "errors",
            evaluation_periods=1,
            comparison_operator="GreaterThanThreshold",
            threshold=0.001,
            metric_queries=[
                {"id": "rate", "expression": "failed / IF(total > 0, total, 1)", "return_data": True},
                *(
                    {
                        "id": id,
                        "metric": {
                            "namespace": "AWS/ApplicationELB",
                            "metric_name": name,
                            "dimensions": {"LoadBalancer": "app/x/1"},
                            "period": 60,
                            "stat": "Sum",
                        },
                    }
                    for id, name in (("failed", "HTTPCode_Target_5XX_Count"), ("total", "RequestCount"))
                ),
            ],
        )
        aws.cloudwatch.CompositeAlarm(
            "ready",
            alarm_name="tiny-dev-ready",
            alarm_rule=pulumi.Output.concat("ALARM(", plain.name, ") OR ALARM(", sums.name, ")"),
            alarm_actions=[topic.arn],
        )
        aws.cloudwatch.Dashboard("board", dashboard_name="tiny-dev", dashboard_body=json.dumps({"widgets": []}))
        logs = aws.cloudwatch.LogGroup("logs", name="/tiny/dev", retention_in_days=7)
        aws.cloudwatch.LogMetricFilter(
            "failures",
            log_group_name=logs.name,
            pattern="ERROR",
            metric_transformation={"name": "failures", "namespace": "tiny", "value": "1", "default_value": "0"},
        )
        rule = aws.cloudwatch.EventRule("events", event_pattern=json.dumps({"source": ["aws.guardduty"]}))
        aws.cloudwatch.EventTarget("to-topic", rule=rule.name, arn=topic.arn)
        pulumi.export("topic", topic.arn)

    return declare



def test_up_again_in_place_and_gone(cloud: Cloud) -> None:
    first = cloud.use(program()).up()
    made = changes(first)["create"]
    arn = first.outputs["topic"].value
    attributes = client("sns").get_topic_attributes(TopicArn=arn)["Attributes"]
    assert attributes["KmsMasterKeyId"].startswith("arn:aws:kms:")
    assert "cloudwatch.amazonaws.com" in json.dumps(json.loads(attributes["Policy"])["Statement"])
    subscriptions = client("sns").list_subscriptions_by_topic(TopicArn=arn)["Subscriptions"]
    assert {s["Protocol"] for s in subscriptions} == {"email", "https"}
    alarms = client("cloudwatch").describe_alarms()["MetricAlarms"]
    assert [len(a.get("Metrics", [])) for a in sorted(alarms, key=lambda a: a["AlarmName"])] == [0, 3]

    assert changes(cloud.use(program()).up(refresh=True)) == {"same": made}

    changed = changes(cloud.use(program(emails=("c@d.example",), bound=70, slack=None)).up())
    assert changed == {"same": made - 5, "update": 1, "replace": 1, "delete": 3}
    assert {a["Threshold"] for a in client("cloudwatch").describe_alarms()["MetricAlarms"]} == {70.0, 0.001}

    local = cloud.local()
    cloud.use(program()).destroy()
    assert local.records.all() == [] and local.processes() == []


def test_what_cloudwatch_refuses_is_refused(cloud: Cloud) -> None:
    def declare() -> None:
        aws.cloudwatch.MetricAlarm(
            "both",
            metric_name="CPUUtilization",
            namespace="AWS/RDS",
            statistic="Average",
            extended_statistic="p101",
            period=45,
            evaluation_periods=1,
            comparison_operator="GreaterThanThreshold",
            threshold=1,
        )

    with pytest.raises(auto.CommandError) as failed:
        cloud.use(declare).preview()
    for text in ("a multiple of 60 seconds", "conflicts with statistic", "such as p95"):
        assert text in str(failed.value)
