"""CloudWatch with its logs and events, SNS, and the way into a chat channel."""

from __future__ import annotations

import json
from typing import Any

from local.provider.api import Api, Call, Recorded, Spec, Tagging, Update, Values
from local.provider.control_plane.words import TAG_KEYS, const, own_id, pairs


def _dimensions(values: Any) -> list[Values] | None:
    return [{"Name": k, "Value": v} for k, v in (values or {}).items()] or None


def _metric_queries(values: Values) -> list[Values] | None:
    """`metricQueries` as CloudWatch's API writes them."""
    made = []
    for query in values.get("metricQueries") or ():
        metric = query.get("metric")
        entry = {
            "Id": query["id"],
            "Expression": query.get("expression"),
            "Label": query.get("label"),
            "Period": query.get("period"),
            "ReturnData": bool(query.get("returnData")),
        }
        if metric:
            entry["MetricStat"] = {
                "Metric": {
                    "Namespace": metric.get("namespace"),
                    "MetricName": metric["metricName"],
                    "Dimensions": _dimensions(metric.get("dimensions")) or [],
                },
                "Period": metric["period"],
                "Stat": metric["stat"],
                **({"Unit": metric["unit"]} if metric.get("unit") else {}),
            }
        made.append({k: v for k, v in entry.items() if v is not None})
    return made or None


_PUT_ALARM = Call(
    "put_metric_alarm",
    {
        "AlarmName": "name",
        "AlarmDescription": "alarmDescription",
        "ActionsEnabled": lambda v: v.get("actionsEnabled", True),
        "AlarmActions": "alarmActions",
        "OKActions": "okActions",
        "InsufficientDataActions": "insufficientDataActions",
        "Namespace": "namespace",
        "MetricName": "metricName",
        "Dimensions": lambda v: _dimensions(v.get("dimensions")),
        "Period": "period",
        "Statistic": "statistic",
        "ExtendedStatistic": "extendedStatistic",
        "Unit": "unit",
        "EvaluationPeriods": "evaluationPeriods",
        "DatapointsToAlarm": "datapointsToAlarm",
        "Threshold": "threshold",
        "ThresholdMetricId": "thresholdMetricId",
        "ComparisonOperator": "comparisonOperator",
        "TreatMissingData": "treatMissingData",
        "EvaluateLowSampleCountPercentile": "evaluateLowSampleCountPercentiles",
        "Metrics": _metric_queries,
    },
)
_ALARM_PROPERTIES = (
    *("actionsEnabled", "alarmActions", "alarmDescription", "comparisonOperator", "datapointsToAlarm", "dimensions"),
    *("evaluateLowSampleCountPercentiles", "evaluationPeriods", "extendedStatistic", "insufficientDataActions"),
    *("metricName", "metricQueries", "namespace", "okActions", "period", "statistic", "threshold"),
    *("thresholdMetricId", "treatMissingData", "unit"),
)
_PUT_DASHBOARD = Call("put_dashboard", {"DashboardName": "dashboardName", "DashboardBody": "dashboardBody"})

_TOPIC_ATTRIBUTES = {
    "deliveryPolicy": "DeliveryPolicy",
    "displayName": "DisplayName",
    "kmsMasterKeyId": "KmsMasterKeyId",
    "signatureVersion": "SignatureVersion",
    "tracingConfig": "TracingConfig",
}


def _topic_attributes(values: Values) -> Values | None:
    return {name: str(values[prop]) for prop, name in _TOPIC_ATTRIBUTES.items() if values.get(prop)} or None


def _set_topic(attribute: str, value: Spec) -> Call:
    return Call("set_topic_attributes", {"TopicArn": "id", "AttributeName": const(attribute), "AttributeValue": value})


def _default_topic_policy(values: Values) -> str:
    """What SNS gives a new topic, and what is put back when a policy is taken away."""
    return json.dumps(
        {
            "Version": "2008-10-17",
            "Id": "__default_policy_ID",
            "Statement": [
                {
                    "Sid": "__default_statement_ID",
                    "Effect": "Allow",
                    "Principal": {"AWS": "*"},
                    "Action": ["SNS:Publish", "SNS:Subscribe", "SNS:GetTopicAttributes", "SNS:SetTopicAttributes"],
                    "Resource": values["id"],
                    "Condition": {"StringEquals": {"AWS:SourceOwner": values["account"]}},
                }
            ],
        }
    )


def _filter_transformation(values: Values) -> list[Values]:
    transformation = values["metricTransformation"]
    made = {
        "metricName": transformation["name"],
        "metricNamespace": transformation["namespace"],
        "metricValue": transformation["value"],
        "unit": transformation.get("unit"),
    }
    if transformation.get("defaultValue") is not None:
        made["defaultValue"] = float(transformation["defaultValue"])
    if transformation.get("dimensions"):
        made["dimensions"] = transformation["dimensions"]
    return [{k: v for k, v in made.items() if v is not None}]


_PUT_FILTER = Call(
    "put_metric_filter",
    {
        "logGroupName": "logGroupName",
        "filterName": "name",
        "filterPattern": lambda v: v.get("pattern", ""),
        "metricTransformations": _filter_transformation,
    },
)
_PUT_RULE = Call(
    "put_rule",
    {
        "Name": "name",
        "Description": "description",
        "EventPattern": "eventPattern",
        "ScheduleExpression": "scheduleExpression",
        "State": lambda v: v.get("state", "ENABLED"),
        "RoleArn": "roleArn",
        "EventBusName": "eventBusName",
    },
)


def _event_target(values: Values) -> list[Values]:
    transformer = values.get("inputTransformer")
    made = {
        "Id": values["targetId"],
        "Arn": values["arn"],
        "RoleArn": values.get("roleArn"),
        "Input": values.get("input"),
        "InputPath": values.get("inputPath"),
    }
    if transformer:
        made["InputTransformer"] = {
            "InputTemplate": transformer["inputTemplate"],
            **({"InputPathsMap": transformer["inputPaths"]} if transformer.get("inputPaths") else {}),
        }
    return [{k: v for k, v in made.items() if v is not None}]


_PUT_TARGET = Call("put_targets", {"Rule": "rule", "EventBusName": "eventBusName", "Targets": _event_target})

TABLE: dict[str, Api | Recorded] = {
    "aws:cloudwatch/logGroup:LogGroup": Api(
        "logs",
        Call("create_log_group", {"logGroupName": "name", "kmsKeyId": "kmsKeyId"}),
        "{name}",
        Call("describe_log_groups", {"logGroupNamePrefix": "id"}),
        "logGroups[?logGroupName=='<id>'] | [0]",
        {"arn": "arn:aws:logs:{region}:{account}:log-group:{name}", "retentionInDays": "retentionInDays"},
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
            Call("untag_resource", {"resourceArn": "arn", "tagKeys": TAG_KEYS}),
        ),
    ),
    "aws:cloudwatch/logMetricFilter:LogMetricFilter": Api(
        "logs",
        _PUT_FILTER,
        "{name}",
        Call("describe_metric_filters", {"logGroupName": "logGroupName", "filterNamePrefix": "name"}),
        "metricFilters[?filterName=='<id>'] | [0]",
        {"pattern": "filterPattern"},
        updates=(Update(("pattern", "metricTransformation"), (_PUT_FILTER,)),),
        delete_calls=(Call("delete_metric_filter", {"logGroupName": "logGroupName", "filterName": "name"}),),
    ),
    "aws:cloudwatch/metricAlarm:MetricAlarm": Api(
        "cloudwatch",
        _PUT_ALARM,
        "{name}",
        Call("describe_alarms", {"AlarmNames": own_id}),
        "MetricAlarms[0]",
        {"arn": "AlarmArn", "threshold": "Threshold", "metricName": "MetricName"},
        updates=(Update(_ALARM_PROPERTIES, (_PUT_ALARM,)),),
        delete_calls=(Call("delete_alarms", {"AlarmNames": own_id}),),
        tagging=Tagging(
            Call("tag_resource", {"ResourceARN": "arn", "Tags": pairs()}),
            Call("untag_resource", {"ResourceARN": "arn", "TagKeys": TAG_KEYS}),
        ),
    ),
    # The API server has metric alarms only.
    "aws:cloudwatch/compositeAlarm:CompositeAlarm": Recorded(
        "{alarmName}", {"arn": "arn:aws:cloudwatch:{region}:{account}:alarm:{alarmName}"}
    ),
    "aws:cloudwatch/dashboard:Dashboard": Api(
        "cloudwatch",
        _PUT_DASHBOARD,
        "{dashboardName}",
        Call("get_dashboard", {"DashboardName": "id"}),
        "@",
        {"dashboardArn": "DashboardArn", "dashboardBody": "DashboardBody"},
        updates=(Update(("dashboardBody",), (_PUT_DASHBOARD,)),),
        delete_calls=(Call("delete_dashboards", {"DashboardNames": own_id}),),
    ),
    "aws:cloudwatch/eventRule:EventRule": Api(
        "events",
        _PUT_RULE,
        "{name}",
        Call("describe_rule", {"Name": "id", "EventBusName": "eventBusName"}),
        "@",
        {"arn": "Arn", "eventPattern": "EventPattern"},
        updates=(Update(("description", "eventPattern", "scheduleExpression", "state", "roleArn"), (_PUT_RULE,)),),
        delete_calls=(Call("delete_rule", {"Name": "id", "EventBusName": "eventBusName"}),),
        tagging=Tagging(
            Call("tag_resource", {"ResourceARN": "arn", "Tags": pairs()}),
            Call("untag_resource", {"ResourceARN": "arn", "TagKeys": TAG_KEYS}),
        ),
    ),
    "aws:cloudwatch/eventTarget:EventTarget": Api(
        "events",
        _PUT_TARGET,
        "{rule}-{targetId}",
        Call("list_targets_by_rule", {"Rule": "rule", "EventBusName": "eventBusName"}),
        "Targets[?Id=='<targetId>'] | [0]",
        updates=(Update(("arn", "roleArn", "input", "inputPath", "inputTransformer"), (_PUT_TARGET,)),),
        delete_calls=(
            Call(
                "remove_targets",
                {"Rule": "rule", "EventBusName": "eventBusName", "Ids": lambda v: [v["targetId"]]},
            ),
        ),
    ),
    "aws:sns/topic:Topic": Api(
        "sns",
        Call("create_topic", {"Name": "name", "Attributes": _topic_attributes}),
        "TopicArn",
        Call("get_topic_attributes", {"TopicArn": "id"}),
        "Attributes",
        {"arn": "TopicArn", "owner": "Owner"},
        updates=tuple(
            Update((prop,), (_set_topic(name, lambda v, prop=prop: str(v.get(prop) or "")),))  # type: ignore[misc]
            for prop, name in _TOPIC_ATTRIBUTES.items()
        ),
        delete_calls=(Call("delete_topic", {"TopicArn": "id"}),),
        tagging=Tagging(
            Call("tag_resource", {"ResourceArn": "id", "Tags": pairs()}),
            Call("untag_resource", {"ResourceArn": "id", "TagKeys": TAG_KEYS}),
        ),
    ),
    "aws:sns/topicPolicy:TopicPolicy": Api(
        "sns",
        Call(
            "set_topic_attributes",
            {"TopicArn": "arn", "AttributeName": const("Policy"), "AttributeValue": "policy"},
        ),
        "{arn}",
        Call("get_topic_attributes", {"TopicArn": "id"}),
        "Attributes",
        {"owner": "Owner", "policy": "Policy"},
        updates=(Update(("policy",), (_set_topic("Policy", "policy"),)),),
        delete_calls=(_set_topic("Policy", _default_topic_policy),),
    ),
    "aws:sns/topicSubscription:TopicSubscription": Api(
        "sns",
        Call("subscribe", {"TopicArn": "topic", "Protocol": "protocol", "Endpoint": "endpoint"}),
        "SubscriptionArn",
        Call("get_subscription_attributes", {"SubscriptionArn": "id"}),
        "Attributes",
        {"arn": "SubscriptionArn", "ownerId": "Owner"},
        updates=tuple(
            Update(
                (prop,),
                (
                    Call(
                        "set_subscription_attributes",
                        {"SubscriptionArn": "id", "AttributeName": const(name), "AttributeValue": prop},
                    ),
                ),
                on_create=True,
            )
            for prop, name in (("filterPolicyScope", "FilterPolicyScope"), ("filterPolicy", "FilterPolicy"))
        ),
        delete_calls=(Call("unsubscribe", {"SubscriptionArn": "id"}),),
    ),
    # Nothing stands behind a channel without the workspace at the other end.
    "aws:chatbot/slackChannelConfiguration:SlackChannelConfiguration": Recorded(
        "{configurationName}",
        {"chatConfigurationArn": "arn:aws:chatbot::{account}:chat-configuration/slack-channel/{configurationName}"},
    ),
}
