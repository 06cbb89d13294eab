"""AccountSecurity: what watches over a whole AWS account. One stack of each account makes it.

Invariants:
- One trail records every region, checks its own files, and writes to a bucket that is private, versioned and encrypted.
- What GuardDuty finds and what no longer keeps a rule of AWS Config reaches the alarm topic.
- No bucket of the account can be made public, and no new volume is left unencrypted, whoever makes them.

Cost drivers:
- CloudTrail: the first copy of management events costs nothing; data events by their number, S3 and CloudWatch by the
  GiB. Watch few buckets.
- GuardDuty: by events and log volume, and by the vCPU or capacity units of protected databases; 30 days are free.
- AWS Config: by each recorded change of a resource and each evaluation of a rule.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pulumi
import pulumi_aws as aws
from pulumi import Input, Output, ResourceOptions

from components.base import Component, demand
from components.bucket import BucketArgs, PrivateBucket, expiry
from components.flow_logs import LOG_DAYS
from components.policies import assume_role
from components.security_documents import (
    CONFIG_RULES,
    audit_delivery,
    config_role_policy,
    event_selectors,
    finding_pattern,
    noncompliance_pattern,
    trail_log_policy,
)

FEATURES = (
    "EBS_MALWARE_PROTECTION",
    "EKS_AUDIT_LOGS",
    "LAMBDA_NETWORK_LOGS",
    "RDS_LOGIN_EVENTS",
    "RUNTIME_MONITORING",
    "S3_DATA_EVENTS",
)
"""What GuardDuty can look at besides trails, flow logs and DNS."""


@dataclass(frozen=True)
class GuardDuty:
    """Threat detection in the account and region."""

    features: Sequence[str] = ("RDS_LOGIN_EVENTS", "S3_DATA_EVENTS")
    """What it looks at besides trails, flow logs and DNS. Log-ins to Aurora and access to buckets, since there the data
    is; the migration has no Kubernetes and no functions, and runtime monitoring adds a container to each task."""
    severity: float = 4.0
    """From which severity on (1 to 10) a finding is an alarm: 4 is medium."""

    def __post_init__(self) -> None:
        unknown = sorted(set(self.features) - set(FEATURES))
        demand(
            self,
            features=(not unknown, f"{', '.join(unknown)}: known are {', '.join(FEATURES)}"),
            severity=(1 <= self.severity <= 10, f"1 to 10, not {self.severity}"),
        )


@dataclass(frozen=True)
class AccountSecurityArgs:
    """Arguments of `AccountSecurity`."""

    prefix: str
    """Makes fixed names unique to the stack."""
    account_id: str
    """The account."""
    partition: str
    """Of the account, as in its ARNs: `aws`, outside of China and GovCloud."""
    region: str
    """Home region of the trail; GuardDuty and Config watch this region."""
    alarm_topic_arn: Input[str]
    """Where findings go."""
    logs_key_arn: Input[str]
    """Key that the trail's files and log are encrypted with; its policy must let CloudTrail use it."""
    watched_buckets: Sequence[Input[str]] = ()
    """ARNs of buckets whose objects' reads and writes are recorded: those with exported data. None by default, since
    each event is paid for."""
    keep_days: int = 400
    """Days that the trail's files are kept: PCI-DSS asks for a year, and a little more lets a year be looked at."""
    log_days: int = 90
    """Days that the trail's log in CloudWatch is kept, for searching: PCI-DSS wants three months at hand."""
    keep: bool = True
    """Whether the bucket stays, with its files, when the stack goes."""
    guardduty: GuardDuty | None = field(default_factory=GuardDuty)
    """None where the organisation has switched GuardDuty on: an account has one detector in each region."""
    config: bool = True
    """AWS Config; off where the organisation records already: an account has one recorder in each region."""

    def __post_init__(self) -> None:
        demand(
            self,
            keep_days=(self.keep_days >= 365, f"at least 365, not {self.keep_days}"),
            log_days=(self.log_days in LOG_DAYS, f"one of {', '.join(map(str, LOG_DAYS))}, not {self.log_days}"),
        )


def _selectors(bucket_arns: list[str]) -> Any:
    return event_selectors(bucket_arns)


class AccountSecurity(Component):
    """Trail, threat detection, rules and defaults of the account."""

    trail_arn: Output[str]
    """ARN of the trail."""
    bucket: Output[str]
    """Name of the bucket with the trail's and Config's files."""
    log_group: Output[str]
    """Name of the trail's log group."""
    detector_id: Output[str] | None
    """GuardDuty's detector, if this stack makes it."""

    def __init__(self, name: str, args: AccountSecurityArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        self._name, self._args = name, args
        trail_name = f"{args.prefix}-audit"
        trail_arn = f"arn:{args.partition}:cloudtrail:{args.region}:{args.account_id}:trail/{trail_name}"
        bucket = PrivateBucket(
            f"{name}-audit",
            BucketArgs(
                key_arn=None,  # the trail encrypts its files itself; Config's delivery knows S3's own keys best
                keep=args.keep,
                statements=audit_delivery(args.account_id, trail_arn),
                lifecycle=expiry(args.keep_days),
            ),
            self.child(ResourceOptions(retain_on_delete=args.keep)),
        )
        self.bucket = bucket.name
        self._trail(trail_name, bucket)
        self.detector_id = self._detector(args.guardduty) if args.guardduty is not None else None
        if args.config:
            self._config(bucket)
        aws.s3.AccountPublicAccessBlock(
            f"{name}-no-public-buckets",
            account_id=args.account_id,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=self.child(),
        )
        aws.ebs.EncryptionByDefault(f"{name}-encrypted-volumes", enabled=True, opts=self.child())
        self.register_outputs({"trailArn": self.trail_arn, "bucket": self.bucket})

    def _trail(self, trail_name: str, bucket: PrivateBucket) -> None:
        name, args = self._name, self._args
        group = aws.cloudwatch.LogGroup(
            f"{name}-trail-logs",
            name=f"/cloudtrail/{args.prefix}",
            retention_in_days=args.log_days,
            kms_key_id=args.logs_key_arn,
            opts=self.child(),
        )
        self.log_group = group.name
        role = aws.iam.Role(
            f"{name}-trail-role",
            assume_role_policy=assume_role("cloudtrail.amazonaws.com", None),
            description=f"{name}: writes the trail's log",
            opts=self.child(),
        )
        rights = aws.iam.RolePolicy(
            f"{name}-trail-rights", role=role.id, policy=group.arn.apply(trail_log_policy), opts=self.child()
        )
        trail = aws.cloudtrail.Trail(
            f"{name}-trail",
            name=trail_name,
            s3_bucket_name=bucket.ready_name,
            kms_key_id=args.logs_key_arn,
            is_multi_region_trail=True,
            include_global_service_events=True,
            enable_log_file_validation=True,
            cloud_watch_logs_group_arn=group.arn.apply(lambda arn: f"{arn}:*"),
            cloud_watch_logs_role_arn=role.arn,
            advanced_event_selectors=Output.all(*args.watched_buckets).apply(_selectors),
            opts=self.child(ResourceOptions(depends_on=[*bucket.ready, rights])),
        )
        self.trail_arn = trail.arn

    def _detector(self, wanted: GuardDuty) -> Output[str]:
        detector = aws.guardduty.Detector(
            f"{self._name}-detector",
            enable=True,
            finding_publishing_frequency="FIFTEEN_MINUTES",
            opts=self.child(),
        )
        for feature in FEATURES:
            # Those not wanted are said to be off: a new detector has most of them on.
            aws.guardduty.DetectorFeature(
                f"{self._name}-{feature.lower().replace('_', '-')}",
                detector_id=detector.id,
                name=feature,
                status="ENABLED" if feature in wanted.features else "DISABLED",
                opts=self.child(),
            )
        self._notify("findings", "what GuardDuty finds", finding_pattern(wanted.severity))
        return detector.id

    def _config(self, bucket: PrivateBucket) -> None:
        name, args = self._name, self._args
        role = aws.iam.Role(
            f"{name}-config-role",
            assume_role_policy=assume_role("config.amazonaws.com", args.account_id),
            description=f"{name}: reads configurations and delivers them",
            opts=self.child(),
        )
        rights: list[pulumi.Resource] = [
            aws.iam.RolePolicyAttachment(
                f"{name}-config-reads",
                role=role.name,
                policy_arn=f"arn:{args.partition}:iam::aws:policy/service-role/AWS_ConfigRole",
                opts=self.child(),
            ),
            aws.iam.RolePolicy(
                f"{name}-config-rights",
                role=role.id,
                policy=bucket.arn.apply(lambda arn: config_role_policy(arn, args.account_id)),
                opts=self.child(),
            ),
        ]
        recorder = aws.cfg.Recorder(
            f"{name}-recorder",
            name=f"{args.prefix}-recorder",
            role_arn=role.arn,
            recording_group=aws.cfg.RecorderRecordingGroupArgs(all_supported=True, include_global_resource_types=True),
            opts=self.child(ResourceOptions(depends_on=rights)),
        )
        channel = aws.cfg.DeliveryChannel(
            f"{name}-channel",
            name=f"{args.prefix}-channel",
            s3_bucket_name=bucket.ready_name,
            opts=self.child(ResourceOptions(depends_on=[recorder, *bucket.ready])),
        )
        started = aws.cfg.RecorderStatus(
            f"{name}-recording",
            name=recorder.name,
            is_enabled=True,
            opts=self.child(ResourceOptions(depends_on=[channel])),
        )
        names = []
        for label, rule in CONFIG_RULES.items():
            names.append(f"{args.prefix}-{label}")
            aws.cfg.Rule(
                f"{name}-rule-{label}",
                name=names[-1],
                description=rule.why,
                source=aws.cfg.RuleSourceArgs(owner="AWS", source_identifier=rule.identifier),
                input_parameters=json.dumps(dict(rule.parameters)) if rule.parameters else None,
                opts=self.child(ResourceOptions(depends_on=[started])),
            )
        self._notify("noncompliance", "what no longer keeps a rule", noncompliance_pattern(names))

    def _notify(self, label: str, what: str, pattern: str) -> None:
        rule = aws.cloudwatch.EventRule(
            f"{self._name}-{label}",
            name=f"{self._args.prefix}-{label}",
            description=what,
            event_pattern=pattern,
            opts=self.child(),
        )
        aws.cloudwatch.EventTarget(
            f"{self._name}-{label}-alarm",
            rule=rule.name,
            arn=self._args.alarm_topic_arn,
            opts=self.child(),
        )
