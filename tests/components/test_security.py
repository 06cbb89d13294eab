"""What the security services, the budgets and the tags are made of."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import botocore.session
import pulumi
import pulumi_aws as aws
import pytest
from botocore.validate import ParamValidator
from hypothesis import given
from hypothesis import strategies as st
from moto.config.models import MANAGED_RULES_CONSTRAINTS
from pulumi.runtime import mocks, set_mocks

from components.balancer import log_delivery
from components.base import ArgumentError
from components.cost import CostArgs, limit, monitor_specification
from components.firewall import MANAGED, FirewallArgs, log_policy, rules
from components.policies import document
from components.security import AccountSecurityArgs, GuardDuty
from components.security_documents import (
    CONFIG_RULES,
    audit_delivery,
    config_role_policy,
    event_selectors,
    finding_pattern,
    noncompliance_pattern,
    trail_log_policy,
)
from components.tags import MANDATORY, has_tags, merged, require_tags
from local.provider.control_plane.words import shaped
from tests.policy_lint import assert_sound

ACCOUNT = "123456789012"
BUCKET = "arn:aws:s3:::zdm-audit"
TRAIL = f"arn:aws:cloudtrail:ap-southeast-1:{ACCOUNT}:trail/zdm-dev-audit"
LOG = f"arn:aws:logs:ap-southeast-1:{ACCOUNT}:log-group:/cloudtrail/zdm-dev"
SET = f"arn:aws:wafv2:ap-southeast-1:{ACCOUNT}:regional/ipset/zdm-dev-blocked-ipv4/11111111-2222-3333-4444-555555555555"
TAGS = {"environment": "dev", "cost-centre": "shop-migration", "owner": "platform", "data-class": "personal"}
FIREWALL = FirewallArgs("zdm-dev", ACCOUNT, "aws", "ap-southeast-1", "arn:key")
COST = CostArgs("zdm-dev", TAGS, 4160, 4000, "arn:topic")


def fits(service: str, shape: str, value: Any) -> None:
    """The value is what AWS's own model of the API takes."""
    model = botocore.session.get_session().get_service_model(service)
    report = ParamValidator().validate(value, model.shape_for(shape))
    assert not report.has_errors(), report.generate_report()


def camel(value: Any) -> Any:
    """A document as the engine hands it on."""
    if isinstance(value, dict):
        return {(k.split("_")[0] + "".join(p.title() for p in k.split("_")[1:])): camel(v) for k, v in value.items()}
    return [camel(item) for item in value] if isinstance(value, list) else value


# --- firewall ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["count", "block"])
def test_rules_are_ones_that_waf_takes(mode: Any) -> None:
    made = shaped("wafv2", "Rules", camel(rules(mode, 2000, {"blocked-ipv4": SET})))
    fits("wafv2", "Rules", made)
    assert [r["Priority"] for r in made] == list(range(len(made)))
    assert [r["Name"] for r in made] == ["blocked-ipv4", "rate", *MANAGED]
    assert len({r["VisibilityConfig"]["MetricName"] for r in made}) == len(made)
    for rule in made:
        groups = "ManagedRuleGroupStatement" in rule["Statement"]
        assert ("OverrideAction" in rule, "Action" in rule) == (groups, not groups), "a group has no action of its own"


def test_counting_blocks_only_what_is_listed() -> None:
    by_name = {r["name"]: r for r in rules("count", 2000, {"blocked-ipv4": SET})}
    assert by_name["blocked-ipv4"]["action"] == {"block": {}}
    assert by_name["rate"]["action"] == {"count": {}}
    assert all(by_name[group]["override_action"] == {"count": {}} for group in MANAGED)


def test_customers_are_told_apart_by_the_edges_header() -> None:
    made = json.dumps(rules("block", 2000, {"blocked-ipv4": SET}))
    assert made.count('"header_name": "CF-Connecting-IP"') == 2 and '"aggregate_key_type": "FORWARDED_IP"' in made


# --- documents --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        document(*audit_delivery(ACCOUNT, TRAIL)(BUCKET)),
        document(*log_delivery(BUCKET, ACCOUNT)),
        trail_log_policy(LOG),
        config_role_policy(BUCKET, ACCOUNT),
        log_policy(FIREWALL, LOG),
    ],
)
def test_policies_are_sound(text: str) -> None:
    assert_sound(text)


def test_only_this_trail_and_this_accounts_config_write_the_audit() -> None:
    allowed = {s["Sid"]: s for s in audit_delivery(ACCOUNT, TRAIL)(BUCKET)}
    assert allowed["TrailWrites"]["Condition"] == {"StringEquals": {"aws:SourceArn": TRAIL}}
    assert allowed["ConfigWrites"]["Condition"]["StringEquals"] == {"aws:SourceAccount": ACCOUNT}


def test_event_selectors_are_ones_that_cloudtrail_takes() -> None:
    for buckets in ([], [BUCKET, f"{BUCKET}-2"]):
        made = shaped("cloudtrail", "AdvancedEventSelectors", camel(event_selectors(buckets)))
        fits("cloudtrail", "AdvancedEventSelectors", made)
        assert len(made) == (2 if buckets else 1)


def test_config_rules_are_ones_that_aws_has() -> None:
    for label, rule in CONFIG_RULES.items():
        known = MANAGED_RULES_CONSTRAINTS[rule.identifier]
        assert set(rule.parameters) <= {p["Name"] for p in known["Parameters"]}, label
        fits("config", "ConfigRuleName", f"zdm-prod-{label}")


@pytest.mark.parametrize(
    ("event", "matches"),
    [
        ({"source": "aws.guardduty", "detail-type": "GuardDuty Finding", "detail": {"severity": 5}}, True),
        ({"source": "aws.guardduty", "detail-type": "GuardDuty Finding", "detail": {"severity": 2}}, False),
        ({"source": "aws.config", "detail-type": "GuardDuty Finding", "detail": {"severity": 8}}, False),
    ],
)
def test_findings_are_told_from_a_severity_on(event: dict[str, Any], matches: bool) -> None:
    assert match(finding_pattern(4), event) is matches


def test_only_our_rules_noncompliance_is_told() -> None:
    def event(rule: str, result: str) -> dict[str, Any]:
        detail = {"configRuleName": rule, "newEvaluationResult": {"complianceType": result}}
        return {"source": "aws.config", "detail-type": "Config Rules Compliance Change", "detail": detail}

    pattern = noncompliance_pattern(["zdm-ssh"])
    assert match(pattern, event("zdm-ssh", "NON_COMPLIANT"))
    assert not match(pattern, event("zdm-ssh", "COMPLIANT")) and not match(pattern, event("other", "NON_COMPLIANT"))


def match(pattern: str, event: dict[str, Any]) -> bool:
    """EventBridge's own rules of matching, as moto has them."""
    from moto.events.models import EventPattern

    return bool(EventPattern.load(pattern).matches_event(event))


# --- cost -------------------------------------------------------------------------------------------------------------


@given(st.floats(1, 1e6), st.floats(0, 100))
def test_the_limit_is_todays_cost_and_a_share(mysql: float, percent: float) -> None:
    assert limit(mysql, percent) == pytest.approx(mysql * (1 + percent / 100), abs=0.005)


def test_the_requirements_limit() -> None:
    assert limit(3200) == 4160.0


def test_the_monitor_looks_at_one_tag() -> None:
    expression = {k: v for k, v in json.loads(monitor_specification("shop")).items() if v is not None}
    assert set(expression) == {"Tags"}
    expression["Tags"] = {k: v for k, v in expression["Tags"].items() if v is not None}
    fits("ce", "Expression", expression)


# --- tags -------------------------------------------------------------------------------------------------------------


def test_which_types_have_tags_is_known_from_the_sdk() -> None:
    assert all(has_tags(kind) for kind in (aws.ec2.Vpc, aws.rds.Cluster, aws.ecs.Service, aws.mskconnect.Connector))
    assert not any(has_tags(kind) for kind in (aws.ec2.Route, aws.iam.RolePolicy, aws.autoscaling.Group, aws.Provider))


@given(st.dictionaries(st.text(min_size=1), st.text()))
def test_own_tags_stay_and_mandatory_ones_are_added(own: dict[str, str]) -> None:
    own = {k: v for k, v in own.items() if k not in MANDATORY}
    assert merged("r", own, TAGS) == {**own, **TAGS}
    assert merged("r", {**own, "owner": "platform"}, TAGS) == {**own, **TAGS}
    with pytest.raises(ArgumentError, match="r: the stack's mandatory tags cannot be changed: owner is 'x'"):
        merged("r", {**own, "owner": "x"}, TAGS)


def test_all_four_tags_must_be_given() -> None:
    with pytest.raises(ArgumentError, match="tags: cost-centre, data-class must be given"):
        require_tags({"environment": "dev", "owner": "platform", "cost-centre": ""})


class Mocks(mocks.Mocks):
    """Keeps what is registered."""

    def __init__(self) -> None:
        self.inputs: dict[str, dict[str, Any]] = {}

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        self.inputs[args.name] = args.inputs
        return f"{args.name}-id", args.inputs

    def call(self, args: mocks.MockCallArgs) -> dict[str, Any]:
        return {}


def test_tags_reach_children_other_providers_and_tags_not_known_yet() -> None:
    asyncio.set_event_loop(asyncio.new_event_loop())
    recorded = Mocks()
    set_mocks(recorded, project="zdm", stack="test", preview=False)

    @pulumi.runtime.test
    def declare() -> None:
        require_tags(TAGS)
        parent = pulumi.ComponentResource("zdm:index:Parent", "parent")
        other = aws.Provider("other", region="eu-west-1")
        vpc = aws.ec2.Vpc("vpc", cidr_block="10.0.0.0/16", opts=pulumi.ResourceOptions(parent=parent, provider=other))
        aws.s3.Bucket("bucket", tags=vpc.id.apply(lambda id: {"vpc": id}))
        aws.ec2.Route("route", route_table_id="r", destination_cidr_block="0.0.0.0/0", gateway_id="g")

    declare()
    assert recorded.inputs["vpc"]["tags"] == TAGS
    assert recorded.inputs["bucket"]["tags"] == {"vpc": "vpc-id", **TAGS}
    assert "tags" not in recorded.inputs["route"] and "tags" not in recorded.inputs["other"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: replace(FIREWALL, requests_per_5_minutes=5), r"FirewallArgs\.requests_per_5_minutes"),
        (lambda: replace(FIREWALL, log_days=31), r"FirewallArgs\.log_days"),
        (lambda: replace(FIREWALL, prefix="a b"), r"FirewallArgs\.prefix"),
        (lambda: GuardDuty(features=["MIND_READING"]), r"GuardDuty\.features: MIND_READING"),
        (lambda: GuardDuty(severity=0), r"GuardDuty\.severity"),
        (
            lambda: AccountSecurityArgs("p", ACCOUNT, "aws", "r", "arn:t", "arn:k", keep_days=30),
            r"AccountSecurityArgs\.keep_days",
        ),
        (
            lambda: replace(COST, estimate_usd=5200),
            r"CostArgs\.estimate_usd: more than 0 and at most the limit \(4160\)",
        ),
        (lambda: replace(COST, tags={"owner": "x"}), r"CostArgs\.tags"),
        (lambda: replace(COST, emails=["a@b.example"] * 11), r"CostArgs\.emails"),
    ],
)
def test_a_bad_argument_is_named(make: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        make()
