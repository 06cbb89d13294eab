"""What the account's security services are told: trail, findings, Config's rules, and who may write where. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from components.policies import document, statement, write_logs


def audit_delivery(account_id: str, trail_arn: str) -> Callable[[str], list[dict[str, Any]]]:
    """Statements for the bucket of the audit: one trail, and AWS Config of this account, may write there."""
    trail, config = {"Service": "cloudtrail.amazonaws.com"}, {"Service": "config.amazonaws.com"}
    from_trail = {"StringEquals": {"aws:SourceArn": trail_arn}}
    from_account = {"StringEquals": {"aws:SourceAccount": account_id}}

    def statements(bucket_arn: str) -> list[dict[str, Any]]:
        logs = f"{bucket_arn}/AWSLogs/{account_id}"
        look = ["s3:GetBucketAcl", "s3:ListBucket"]
        return [
            statement("TrailLooks", ["s3:GetBucketAcl"], [bucket_arn], principal=trail, condition=from_trail),
            statement("TrailWrites", ["s3:PutObject"], [f"{logs}/*"], principal=trail, condition=from_trail),
            statement("ConfigLooks", look, [bucket_arn], principal=config, condition=from_account),
            statement("ConfigWrites", ["s3:PutObject"], [f"{logs}/Config/*"], principal=config, condition=from_account),
        ]

    return statements


def trail_log_policy(group_arn: str) -> str:
    """What CloudTrail's role may do: write its log."""
    return document(write_logs(group_arn))


def config_role_policy(bucket_arn: str, account_id: str) -> str:
    """What AWS Config's role may do beside reading configurations (a managed policy says that): deliver them."""
    return document(
        statement("LookAtBucket", ["s3:GetBucketAcl", "s3:ListBucket"], [bucket_arn]),
        statement("Deliver", ["s3:PutObject"], [f"{bucket_arn}/AWSLogs/{account_id}/Config/*"]),
    )


def event_selectors(watched_bucket_arns: Sequence[str]) -> list[dict[str, Any]]:
    """Every management event (reading a secret, using a key), and what happens to objects in some buckets."""

    def field_selector(name: str, **match: Sequence[str]) -> dict[str, Any]:
        return {"field": name, **match}

    selectors: list[dict[str, Any]] = [
        {
            "name": "management",
            "field_selectors": [field_selector("eventCategory", equals=["Management"])],
        }
    ]
    if watched_bucket_arns:
        selectors.append(
            {
                "name": "objects",
                "field_selectors": [
                    field_selector("eventCategory", equals=["Data"]),
                    field_selector("resources.type", equals=["AWS::S3::Object"]),
                    field_selector("resources.ARN", starts_withs=[f"{arn}/" for arn in watched_bucket_arns]),
                ],
            }
        )
    return selectors


def finding_pattern(least_severity: float) -> str:
    """EventBridge: GuardDuty's findings from this severity on (1 to 10)."""
    return json.dumps(
        {
            "source": ["aws.guardduty"],
            "detail-type": ["GuardDuty Finding"],
            "detail": {"severity": [{"numeric": [">=", least_severity]}]},
        }
    )


def noncompliance_pattern(rule_names: Sequence[str]) -> str:
    """EventBridge: a resource that no longer keeps one of these rules of AWS Config."""
    return json.dumps(
        {
            "source": ["aws.config"],
            "detail-type": ["Config Rules Compliance Change"],
            "detail": {
                "configRuleName": list(rule_names),
                "newEvaluationResult": {"complianceType": ["NON_COMPLIANT"]},
            },
        }
    )


@dataclass(frozen=True)
class ManagedRule:
    """A rule that AWS Config has ready."""

    identifier: str
    """Its name in AWS."""
    why: str
    """What it sees that a preview of this program cannot."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    """Its parameters, as text."""


CONFIG_RULES = {
    "root-mfa": ManagedRule("ROOT_ACCOUNT_MFA_ENABLED", "the account's root user is made by nobody's program"),
    "user-mfa": ManagedRule("IAM_USER_MFA_ENABLED", "users are made by hand or elsewhere"),
    "old-keys": ManagedRule("ACCESS_KEYS_ROTATED", "a key's age is not in any program", {"maxAccessKeyAge": "90"}),
    "public-database-snapshots": ManagedRule("RDS_SNAPSHOTS_PUBLIC_PROHIBITED", "snapshots are made by commands too"),
    "public-volume-snapshots": ManagedRule("EBS_SNAPSHOT_PUBLIC_RESTORABLE_CHECK", "as above, of servers' volumes"),
    "certificates": ManagedRule("ACM_CERTIFICATE_EXPIRATION_CHECK", "renewal can fail", {"daysToExpiration": "30"}),
    "rotation": ManagedRule("SECRETSMANAGER_SCHEDULED_ROTATION_SUCCESS_CHECK", "rotation can be set up and still fail"),
    "ssh": ManagedRule("INCOMING_SSH_DISABLED", "rules can be added by hand, to the source's server above all"),
}
"""Which of Config's rules are used: those about what no preview sees. The rest is the policy pack's."""
