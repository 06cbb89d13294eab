"""What watches over an account and a stack, with all options on, under the real engine: every resource has its tags."""

from __future__ import annotations

import json

import pulumi
import pulumi_aws as aws
import pytest
from pulumi import ResourceOptions
from pulumi import automation as auto

from components.cost import Cost, CostArgs, limit
from components.encryption import Encryption, EncryptionArgs
from components.firewall import Firewall, FirewallArgs, Mode
from components.security import AccountSecurity, AccountSecurityArgs, GuardDuty
from components.security_documents import CONFIG_RULES
from components.tags import require_tags
from tests.cloud import Cloud, changes, client

pytestmark = pytest.mark.real

ACCOUNT = "123456789012"
TAGS = {"environment": "dev", "cost-centre": "shop-migration", "owner": "platform", "data-class": "personal"}



def watched(mode: Mode = "block", estimate: float = 4000, severity: float = 4) -> None:
    require_tags(TAGS)
    keys = Encryption("keys", EncryptionArgs("tiny-dev", ACCOUNT, "aws", "us-east-1", keep=False))
    topic = aws.sns.Topic("alarms")
    exports = aws.s3.Bucket("exports", tags={"Name": "exports"})
    elsewhere = aws.Provider("second", region="eu-west-1")
    aws.kms.Key("copies", opts=ResourceOptions(provider=elsewhere))
    Firewall("firewall", FirewallArgs("tiny-dev", ACCOUNT, "aws", "us-east-1", keys.logs_key_arn, mode=mode))
    security = AccountSecurity(
        "security",
        AccountSecurityArgs(
            prefix="tiny-dev",
            account_id=ACCOUNT,
            partition="aws",
            region="us-east-1",
            alarm_topic_arn=topic.arn,
            logs_key_arn=keys.logs_key_arn,
            watched_buckets=[exports.arn],
            keep=False,
            guardduty=GuardDuty(severity=severity),
        ),
    )
    Cost(
        "cost",
        CostArgs(
            prefix="tiny-dev",
            tags=TAGS,
            limit_usd=limit(3200),
            estimate_usd=estimate,
            alarm_topic_arn=topic.arn,
            emails=["finance@shop.example"],
            account=True,
        ),
    )
    pulumi.export("exports", exports.arn)
    pulumi.export("trail", security.trail_arn)


def test_an_account_that_is_watched(cloud: Cloud) -> None:
    made = cloud.use(watched).up()

    for resource in json.loads(cloud.state())["checkpoint"]["latest"]["resources"]:
        if "tagsAll" in resource.get("outputs", {}):
            assert TAGS.items() <= resource["outputs"]["tagsAll"].items(), resource["urn"]
    [copies] = [k["KeyId"] for k in client("kms", "eu-west-1").list_keys()["Keys"]]
    tags = client("kms", "eu-west-1").list_resource_tags(KeyId=copies)["Tags"]
    assert {t["TagKey"]: t["TagValue"] for t in tags} == TAGS, "through another provider too"

    trails = client("cloudtrail")
    [trail] = trails.describe_trails()["trailList"]
    assert trail["IsMultiRegionTrail"] and trail["LogFileValidationEnabled"] and trail["KmsKeyId"]
    assert trails.get_trail_status(Name=trail["Name"])["IsLogging"]
    selectors = trails.get_event_selectors(TrailName=trail["Name"])["AdvancedEventSelectors"]
    assert selectors[1]["FieldSelectors"][2]["StartsWith"] == [f"{made.outputs['exports'].value}/"]

    guard = client("guardduty")
    [detector] = guard.list_detectors()["DetectorIds"]
    features = {f["Name"]: f["Status"] for f in guard.get_detector(DetectorId=detector)["Features"]}
    assert {name for name, status in features.items() if status == "ENABLED"} == {"RDS_LOGIN_EVENTS", "S3_DATA_EVENTS"}
    assert len(client("config").describe_config_rules()["ConfigRules"]) == len(CONFIG_RULES)
    assert client("config").describe_configuration_recorder_status()["ConfigurationRecordersStatus"][0]["recording"]
    assert client("ec2").get_ebs_encryption_by_default()["EbsEncryptionByDefault"]

    budgets = {b["BudgetName"]: b for b in client("budgets").describe_budgets(AccountId=ACCOUNT)["Budgets"]}
    assert budgets["tiny-dev-limit"]["BudgetLimit"]["Amount"] == "4160.00"
    told = client("budgets").describe_notifications_for_budget(AccountId=ACCOUNT, BudgetName="tiny-dev-estimate")
    assert {(n["NotificationType"], n["ComparisonOperator"], n["Threshold"]) for n in told["Notifications"]} == {
        ("FORECASTED", "GREATER_THAN", 110),
        ("ACTUAL", "GREATER_THAN", 110),
        ("FORECASTED", "LESS_THAN", 90),
    }

    # Whoever handles a breach adds addresses; an `up` leaves them there.
    waf = client("wafv2")
    [ipv4] = [s for s in waf.list_ip_sets(Scope="REGIONAL")["IPSets"] if s["Name"].endswith("ipv4")]
    named = {"Name": ipv4["Name"], "Scope": "REGIONAL", "Id": ipv4["Id"]}
    waf.update_ip_set(**named, Addresses=["203.0.113.7/32"], LockToken=waf.get_ip_set(**named)["LockToken"])
    assert set(changes(cloud.use(watched).up())) == {"same"}

    changed = changes(cloud.use(lambda: watched("count", estimate=3000, severity=7)).up())
    assert changed.pop("update") == 3 and set(changed) == {"same"}, "the ACL, the estimate, the findings' pattern"
    assert waf.get_ip_set(**named)["IPSet"]["Addresses"] == ["203.0.113.7/32"]
    [acl] = waf.list_web_acls(Scope="REGIONAL")["WebACLs"]
    rules = waf.get_web_acl(Name=acl["Name"], Scope="REGIONAL", Id=acl["Id"])["WebACL"]["Rules"]
    assert [next(iter({**r.get("Action", {}), **r.get("OverrideAction", {})})) for r in rules] == [
        *("Block", "Block", "Count", "Count", "Count", "Count")
    ]
    cloud.use(watched).destroy()
    assert cloud.local().records.all() == []


def test_a_resource_that_contradicts_the_tags_is_refused(cloud: Cloud) -> None:
    def contradicting() -> None:
        require_tags(TAGS)
        aws.s3.Bucket("bucket", tags={"owner": "somebody"})

    with pytest.raises(auto.CommandError, match="bucket: the stack's mandatory tags cannot be changed: owner is"):
        cloud.use(contradicting).preview()
