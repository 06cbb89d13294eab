"""Audit, threat detection, firewalls, rules, budgets: what watches over an account or a stack.

Kept, not acted on: nothing here detects, blocks, evaluates or bills. Cost Explorer's anomalies and allocation tags are
only recorded, moto has neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from local.provider.api import Api, ApiServer, Call, Recorded, Spec, Tagging, Update, Values, server
from local.provider.control_plane.words import TAG_KEYS, pairs, shaped

if TYPE_CHECKING:
    from local.stack import LocalStack


def _only(service: str, shape: str, *names: str) -> Spec:
    """A shape filled from the properties of these names."""
    return lambda v: shaped(service, shape, {name: v[name] for name in names if v.get(name) is not None})


def _part(service: str, shape: str, name: str) -> Spec:
    """A shape filled from one property."""
    return lambda v: shaped(service, shape, v[name]) if v.get(name) is not None else None


# --- WAF: every change needs the lock token of the last reading -------------------------------------------------------

_WAF: dict[str, Spec] = {"Name": "name", "Scope": "scope", "Id": "id"}
_WAF_TAGS = Tagging(
    Call("tag_resource", {"ResourceARN": "arn", "Tags": pairs()}),
    Call("untag_resource", {"ResourceARN": "arn", "TagKeys": TAG_KEYS}),
)


def _token(operation: str, region: str | None = None) -> Any:
    def read(api: ApiServer, values: Values) -> None:
        found = getattr(api.client("wafv2"), operation)(Name=values["name"], Scope=values["scope"], Id=values["id"])
        values["lockToken"] = found["LockToken"]

    return read


def _token_first(operation: str) -> Any:
    def read(stack: LocalStack, values: Values) -> None:
        _token(operation)(server(stack, values["region"]), values)

    return read


_ACL: dict[str, Spec] = {
    "DefaultAction": _part("wafv2", "DefaultAction", "defaultAction"),
    "Rules": _part("wafv2", "Rules", "rules"),
    "VisibilityConfig": _part("wafv2", "VisibilityConfig", "visibilityConfig"),
    "Description": "description",
}


def _logging(values: Values) -> Values:
    names = ("resourceArn", "logDestinationConfigs", "redactedFields", "loggingFilter")
    found: Values = shaped("wafv2", "LoggingConfiguration", {n: values[n] for n in names if values.get(n)})
    return found


# --- budgets ----------------------------------------------------------------------------------------------------------


def _budget(values: Values) -> Values:
    budget: Values = {
        "BudgetName": values["name"],
        "BudgetType": values["budgetType"],
        "TimeUnit": values["timeUnit"],
        "BudgetLimit": {"Amount": values["limitAmount"], "Unit": values["limitUnit"]},
    }
    if values.get("filterExpression"):
        budget["FilterExpression"] = shaped("budgets", "Expression", values["filterExpression"])
        budget["Metrics"] = [values["metrics"]]
    return budget


def _notifications(values: Values) -> list[Values]:
    return [
        {
            "Notification": {
                "NotificationType": n["notificationType"],
                "ComparisonOperator": n["comparisonOperator"],
                "Threshold": n["threshold"],
                "ThresholdType": n["thresholdType"],
            },
            "Subscribers": [
                {"SubscriptionType": kind, "Address": address}
                for kind, name in (("SNS", "subscriberSnsTopicArns"), ("EMAIL", "subscriberEmailAddresses"))
                for address in n.get(name) or ()
            ],
        }
        for n in values.get("notifications") or ()
    ]


_BUDGET_NAME: dict[str, Spec] = {"AccountId": "{account}", "BudgetName": "name"}
_CREATE_BUDGET = Call(
    "create_budget", {"AccountId": "{account}", "Budget": _budget, "NotificationsWithSubscribers": _notifications}
)
_DELETE_BUDGET = Call("delete_budget", _BUDGET_NAME)


# --- CloudTrail -------------------------------------------------------------------------------------------------------

_TRAIL: dict[str, Spec] = {
    "Name": "name",
    "S3BucketName": "s3BucketName",
    "S3KeyPrefix": "s3KeyPrefix",
    "IncludeGlobalServiceEvents": "includeGlobalServiceEvents",
    "IsMultiRegionTrail": "isMultiRegionTrail",
    "EnableLogFileValidation": "enableLogFileValidation",
    "CloudWatchLogsLogGroupArn": "cloudWatchLogsGroupArn",
    "CloudWatchLogsRoleArn": "cloudWatchLogsRoleArn",
    "KmsKeyId": "kmsKeyId",
}


# --- AWS Config -------------------------------------------------------------------------------------------------------


def _recorder(values: Values) -> Values:
    given = {"name": values["name"], "roleARN": values["roleArn"]}
    if values.get("recordingGroup"):
        given["recordingGroup"] = values["recordingGroup"]
    made: Values = shaped("config", "ConfigurationRecorder", given)
    return made


def _config_rule(values: Values) -> Values:
    rule: Values = {"ConfigRuleName": values["name"], "Source": shaped("config", "Source", values["source"])}
    for name, key in (("description", "Description"), ("inputParameters", "InputParameters")):
        if values.get(name):
            rule[key] = values[name]
    return rule


_PUT_RECORDER = Call("put_configuration_recorder", {"ConfigurationRecorder": _recorder})
_PUT_CHANNEL = Call(
    "put_delivery_channel",
    {
        "DeliveryChannel": _only(
            "config", "DeliveryChannel", "name", "s3BucketName", "s3KeyPrefix", "s3KmsKeyArn", "snsTopicArn"
        )
    },
)
_PUT_RULE = Call("put_config_rule", {"ConfigRule": _config_rule, "Tags": pairs(of="tagsAll")})
_RECORDING = (
    Call("start_configuration_recorder", {"ConfigurationRecorderName": "name"}, when=lambda v: v.get("isEnabled")),
    Call("stop_configuration_recorder", {"ConfigurationRecorderName": "name"}, when=lambda v: not v.get("isEnabled")),
)


# --- GuardDuty --------------------------------------------------------------------------------------------------------

_FEATURE = Call(
    "update_detector",
    {"DetectorId": "detectorId", "Features": lambda v: [{"Name": v["name"], "Status": v["status"]}]},
)
_BLOCKS = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
_PUT_BLOCK = Call(
    "put_public_access_block",
    {
        "AccountId": "{account}",
        "PublicAccessBlockConfiguration": lambda v: {n[0].upper() + n[1:]: bool(v.get(n)) for n in _BLOCKS},
    },
)


TABLE: dict[str, Api | Recorded] = {
    "aws:cloudtrail/trail:Trail": Api(
        "cloudtrail",
        Call("create_trail", _TRAIL),
        "TrailARN",
        Call("get_trail", {"Name": "id"}),
        "Trail",
        {"arn": "TrailARN", "homeRegion": "HomeRegion"},
        updates=(
            Update(
                ("advancedEventSelectors",),
                (
                    Call(
                        "put_event_selectors",
                        {
                            "TrailName": "id",
                            "AdvancedEventSelectors": _part(
                                "cloudtrail", "AdvancedEventSelectors", "advancedEventSelectors"
                            ),
                        },
                    ),
                ),
                on_create=True,
            ),
            Update(
                ("enableLogging",),
                (
                    Call("start_logging", {"Name": "id"}, when=lambda v: v.get("enableLogging")),
                    Call("stop_logging", {"Name": "id"}, when=lambda v: not v.get("enableLogging")),
                ),
                on_create=True,
            ),
            Update(
                tuple(name for name in _TRAIL.values() if isinstance(name, str)),
                (Call("update_trail", {**_TRAIL, "Name": "id"}),),
            ),
        ),
        delete_calls=(Call("delete_trail", {"Name": "id"}),),
        tagging=Tagging(
            Call("add_tags", {"ResourceId": "id", "TagsList": pairs()}),
            Call(
                "remove_tags",
                {"ResourceId": "id", "TagsList": lambda v: [{"Key": k, "Value": ""} for k in v["tag_keys"]]},
            ),
        ),
    ),
    "aws:guardduty/detector:Detector": Api(
        "guardduty",
        Call(
            "create_detector",
            {"Enable": "enable", "FindingPublishingFrequency": "findingPublishingFrequency", "Tags": "tagsAll"},
        ),
        "DetectorId",
        Call("get_detector", {"DetectorId": "id"}),
        "@",
        {"arn": "arn:{partition}:guardduty:{region}:{account}:detector/{id}", "accountId": "{account}"},
        updates=(
            Update(
                ("enable", "findingPublishingFrequency"),
                (
                    Call(
                        "update_detector",
                        {
                            "DetectorId": "id",
                            "Enable": "enable",
                            "FindingPublishingFrequency": "findingPublishingFrequency",
                        },
                    ),
                ),
            ),
        ),
        delete_calls=(Call("delete_detector", {"DetectorId": "id"}),),
    ),
    "aws:guardduty/detectorFeature:DetectorFeature": Api(
        "guardduty",
        _FEATURE,
        "{detectorId}/{name}",
        Call("get_detector", {"DetectorId": "detectorId"}),
        "@",
        updates=(Update(("status",), (_FEATURE,)),),
    ),
    "aws:wafv2/ipSet:IpSet": Api(
        "wafv2",
        Call(
            "create_ip_set",
            {
                "Name": "name",
                "Scope": "scope",
                "Description": "description",
                "IPAddressVersion": "ipAddressVersion",
                "Addresses": lambda v: v.get("addresses") or [],
            },
        ),
        "Summary.Id",
        Call("get_ip_set", _WAF),
        "@",
        {"arn": "IPSet.ARN", "lockToken": "LockToken"},
        updates=(
            Update(
                ("addresses", "description"),
                (
                    Call(
                        "update_ip_set",
                        {
                            **_WAF,
                            "Addresses": lambda v: v.get("addresses") or [],
                            "Description": "description",
                            "LockToken": "lockToken",
                        },
                    ),
                ),
            ),
        ),
        before_update=_token_first("get_ip_set"),
        before_delete=_token("get_ip_set"),
        delete_calls=(Call("delete_ip_set", {**_WAF, "LockToken": "lockToken"}),),
        tagging=_WAF_TAGS,
    ),
    "aws:wafv2/webAcl:WebAcl": Api(
        "wafv2",
        Call("create_web_acl", {"Name": "name", "Scope": "scope", **_ACL}),
        "Summary.Id",
        Call("get_web_acl", _WAF),
        "@",
        {"arn": "WebACL.ARN", "capacity": "WebACL.Capacity", "lockToken": "LockToken"},
        updates=(
            Update(
                ("defaultAction", "description", "rules", "visibilityConfig"),
                (Call("update_web_acl", {**_WAF, **_ACL, "LockToken": "lockToken"}),),
            ),
        ),
        before_update=_token_first("get_web_acl"),
        before_delete=_token("get_web_acl"),
        delete_calls=(Call("delete_web_acl", {**_WAF, "LockToken": "lockToken"}),),
        tagging=_WAF_TAGS,
    ),
    "aws:wafv2/webAclAssociation:WebAclAssociation": Api(
        "wafv2",
        Call("associate_web_acl", {"WebACLArn": "webAclArn", "ResourceArn": "resourceArn"}),
        "{webAclArn},{resourceArn}",
        Call("get_web_acl_for_resource", {"ResourceArn": "resourceArn"}),
        "WebACL",
        delete_calls=(Call("disassociate_web_acl", {"ResourceArn": "resourceArn"}),),
    ),
    "aws:wafv2/webAclLoggingConfiguration:WebAclLoggingConfiguration": Api(
        "wafv2",
        Call("put_logging_configuration", {"LoggingConfiguration": _logging}),
        "{resourceArn}",
        Call("get_logging_configuration", {"ResourceArn": "resourceArn"}),
        "LoggingConfiguration",
        updates=(
            Update(
                ("logDestinationConfigs", "loggingFilter", "redactedFields"),
                (Call("put_logging_configuration", {"LoggingConfiguration": _logging}),),
            ),
        ),
        delete_calls=(Call("delete_logging_configuration", {"ResourceArn": "resourceArn"}),),
    ),
    "aws:cfg/recorder:Recorder": Api(
        "config",
        _PUT_RECORDER,
        "{name}",
        Call("describe_configuration_recorders", {"ConfigurationRecorderNames": lambda v: [v["name"]]}),
        "ConfigurationRecorders[0]",
        updates=(Update(("roleArn", "recordingGroup"), (_PUT_RECORDER,)),),
        delete_calls=(Call("delete_configuration_recorder", {"ConfigurationRecorderName": "name"}),),
    ),
    "aws:cfg/deliveryChannel:DeliveryChannel": Api(
        "config",
        _PUT_CHANNEL,
        "{name}",
        Call("describe_delivery_channels", {"DeliveryChannelNames": lambda v: [v["name"]]}),
        "DeliveryChannels[0]",
        updates=(Update(("s3BucketName", "s3KeyPrefix", "s3KmsKeyArn", "snsTopicArn"), (_PUT_CHANNEL,)),),
        delete_calls=(Call("delete_delivery_channel", {"DeliveryChannelName": "name"}),),
    ),
    "aws:cfg/recorderStatus:RecorderStatus": Api(
        "config",
        Call("start_configuration_recorder", {"ConfigurationRecorderName": "name"}),
        "{name}",
        Call("describe_configuration_recorder_status", {"ConfigurationRecorderNames": lambda v: [v["name"]]}),
        "ConfigurationRecordersStatus[0]",
        {"isEnabled": "recording"},
        updates=(Update(("isEnabled",), _RECORDING, on_create=True),),
        delete_calls=(Call("stop_configuration_recorder", {"ConfigurationRecorderName": "name"}),),
    ),
    "aws:cfg/rule:Rule": Api(
        "config",
        _PUT_RULE,
        "{name}",
        Call("describe_config_rules", {"ConfigRuleNames": lambda v: [v["name"]]}),
        "ConfigRules[0]",
        {"arn": "ConfigRuleArn", "ruleId": "ConfigRuleId"},
        updates=(Update(("description", "inputParameters", "source"), (_PUT_RULE,)),),
        delete_calls=(Call("delete_config_rule", {"ConfigRuleName": "name"}),),
        tagging=Tagging(
            Call("tag_resource", {"ResourceArn": "arn", "Tags": pairs()}),
            Call("untag_resource", {"ResourceArn": "arn", "TagKeys": TAG_KEYS}),
        ),
    ),
    "aws:budgets/budget:Budget": Api(
        "budgets",
        _CREATE_BUDGET,
        "{account}:{name}",
        Call("describe_budget", _BUDGET_NAME),
        "Budget",
        {"arn": "arn:{partition}:budgets::{account}:budget/{name}", "accountId": "{account}"},
        updates=(
            # moto cannot change a budget: it is taken away and made again under its name.
            Update(
                ("budgetType", "filterExpression", "limitAmount", "limitUnit", "metrics", "notifications", "timeUnit"),
                (_DELETE_BUDGET, _CREATE_BUDGET),
            ),
        ),
        delete_calls=(_DELETE_BUDGET,),
    ),
    "aws:costexplorer/anomalyMonitor:AnomalyMonitor": Recorded(
        "arn:aws:ce::{account}:anomalymonitor/{name}", {"arn": "arn:aws:ce::{account}:anomalymonitor/{name}"}
    ),
    "aws:costexplorer/anomalySubscription:AnomalySubscription": Recorded(
        "arn:aws:ce::{account}:anomalysubscription/{name}", {"arn": "arn:aws:ce::{account}:anomalysubscription/{name}"}
    ),
    "aws:costexplorer/costAllocationTag:CostAllocationTag": Recorded("{tagKey}"),
    "aws:cloudwatch/logResourcePolicy:LogResourcePolicy": Api(
        "logs",
        Call("put_resource_policy", {"policyName": "policyName", "policyDocument": "policyDocument"}),
        "{policyName}",
        Call("describe_resource_policies"),
        "resourcePolicies[?policyName=='<policyName>'] | [0]",
        updates=(
            Update(
                ("policyDocument",),
                (Call("put_resource_policy", {"policyName": "policyName", "policyDocument": "policyDocument"}),),
            ),
        ),
        delete_calls=(Call("delete_resource_policy", {"policyName": "policyName"}),),
    ),
    "aws:s3/accountPublicAccessBlock:AccountPublicAccessBlock": Api(
        "s3control",
        _PUT_BLOCK,
        "{account}",
        Call("get_public_access_block", {"AccountId": "{account}"}),
        "PublicAccessBlockConfiguration",
        {"accountId": "{account}"},
        updates=(Update(_BLOCKS, (_PUT_BLOCK,)),),
        delete_calls=(Call("delete_public_access_block", {"AccountId": "{account}"}),),
    ),
    "aws:ebs/encryptionByDefault:EncryptionByDefault": Api(
        "ec2",
        Call("enable_ebs_encryption_by_default"),
        "{region}",
        Call("get_ebs_encryption_by_default"),
        "@",
        {"enabled": "EbsEncryptionByDefault"},
        updates=(
            Update(
                ("enabled",),
                (
                    Call("enable_ebs_encryption_by_default", when=lambda v: v.get("enabled")),
                    Call("disable_ebs_encryption_by_default", when=lambda v: not v.get("enabled")),
                ),
                on_create=True,
            ),
        ),
        delete_calls=(Call("disable_ebs_encryption_by_default"),),
    ),
}
