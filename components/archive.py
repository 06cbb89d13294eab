"""Archive: where the old database's last snapshot ends, for years, and the role that exports snapshots there.

Invariants:
- Objects can be locked from the first day; with a lock, nobody deletes or overwrites one before its days are over
  (compliance), or only who may bypass it (governance).
- Who asked for what in the archive is logged, into a bucket of its own that only services write to.
- The export role is for RDS, for this account, and reaches this bucket and nothing else.

Cost drivers:
- Storage by the GiB and month, dearest in the first days: Glacier Instant Retrieval and Deep Archive cost a fraction,
  but bill at least 90 and 180 days, each transition by the object, and each retrieval by the GiB.
- Exports of snapshots by the GiB of the snapshot, also where only some tables are exported.
- Requests, to KMS too; logs by their storage until they expire.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pulumi
import pulumi_aws as aws
from pulumi import Input, Output, ResourceOptions

from components.base import Component, demand
from components.bucket import FORMER_DAYS, BucketArgs, PrivateBucket, Statements, expiry
from components.policies import assume_role, document, statement

INSTANT_DAYS, DEEP_DAYS = 90, 180
"""Shortest storage that S3 bills in Glacier Instant Retrieval and in Deep Archive."""


@dataclass(frozen=True)
class Lock:
    """How long an object cannot be deleted once it is in the archive."""

    mode: Literal["governance", "compliance"]
    """Governance: who has s3:BypassGovernanceRetention can. Compliance: nobody can, not even the account's root."""
    days: int
    """Days (1 to 36500) from the object's upload. Later changes hold for new objects only."""

    def __post_init__(self) -> None:
        demand(
            self,
            mode=(self.mode in ("governance", "compliance"), f"governance or compliance, not {self.mode!r}"),
            days=(1 <= self.days <= 36500, f"1 to 36500, not {self.days}"),
        )


@dataclass(frozen=True)
class ArchiveArgs:
    """Arguments of `Archive`."""

    account_id: str
    """Account that exports, and whose buckets log here."""
    data_key_arn: Input[str]
    """Key of what is stored, and of exports while they are written."""
    keep: bool = True
    """Whether the buckets stay when the stack goes. The default; false empties and deletes them."""
    lock: Lock | None = None
    """Lock of every object; none by default, since it cannot be undone. It can be added to an archive in use."""
    cold_days: int = 30
    """Days before objects go to Glacier Instant Retrieval: as long as checks still read them."""
    deep_days: int = 180
    """Days before they go to Deep Archive, from where it takes hours to read; at least 90 after `cold_days`, which are
    billed anyway."""
    expire_days: int = 0
    """Days before they are removed; 0, the default: never. Else at least 180 after `deep_days`, and not before the
    lock is over."""
    log_days: int = 365
    """Days that logs of requests are kept: a year is what PCI-DSS asks for."""
    deliveries: Sequence[Statements] = ()
    """Services that also write logs into the bucket for logs: statements of its policy, from its ARN."""

    def __post_init__(self) -> None:
        last, locked = self.expire_days, self.lock.days if self.lock else 0
        demand(
            self,
            keep=(
                self.keep or self.lock is None or self.lock.mode == "governance",
                "a locked archive (compliance) cannot be emptied: keep it, or lock it in mode governance",
            ),
            cold_days=(self.cold_days >= 0, f"0 or more, not {self.cold_days}"),
            deep_days=(
                self.deep_days >= self.cold_days + INSTANT_DAYS,
                f"at least {INSTANT_DAYS} days after cold_days ({self.cold_days}), not {self.deep_days}",
            ),
            expire_days=(
                last == 0 or last >= max(self.deep_days + DEEP_DAYS, locked),
                f"0 (never), or at least {DEEP_DAYS} days after deep_days ({self.deep_days}) and no earlier than the "
                f"lock ({locked}), not {last}",
            ),
            log_days=(1 <= self.log_days <= 36500, f"1 to 36500, not {self.log_days}"),
        )


def archive_rules(args: ArchiveArgs) -> list[dict[str, Any]]:
    """Objects grow colder with age; former versions and what broke off go."""
    rule: dict[str, Any] = {
        "id": "age",
        "status": "Enabled",
        "filter": {"prefix": ""},
        "transitions": [
            {"days": args.cold_days, "storage_class": "GLACIER_IR"},
            {"days": args.deep_days, "storage_class": "DEEP_ARCHIVE"},
        ],
        "noncurrent_version_expiration": {"noncurrent_days": FORMER_DAYS},
        "abort_incomplete_multipart_upload": {"days_after_initiation": 7},
    }
    if args.expire_days:
        rule["expiration"] = {"days": args.expire_days}
    return [rule]


def log_statements(account_id: str, bucket_arn: str, *deliveries: Statements) -> list[Mapping[str, Any]]:
    """S3 may write logs of this account's buckets; `deliveries` say which services may too."""
    own = statement(
        "AccessLogs",
        ["s3:PutObject"],
        [f"{bucket_arn}/s3/*"],
        principal={"Service": "logging.s3.amazonaws.com"},
        condition={"StringEquals": {"aws:SourceAccount": account_id}},
    )
    return [own, *(statement for delivery in deliveries for statement in delivery(bucket_arn))]


def export_policy(bucket_arn: str, key_arn: str) -> str:
    """What an export needs: to write objects, to list and clean up what it wrote, and to let RDS use the key.

    AWS's example says `PutObject*` and `DeleteObject*`. These would also let it lock objects, lift their locks, and end
    former versions.
    """
    return document(
        statement("Bucket", ["s3:GetBucketLocation", "s3:ListBucket"], [bucket_arn]),
        statement(
            "Objects",
            ["s3:DeleteObject", "s3:GetObject", "s3:PutObject", "s3:PutObjectAcl", "s3:PutObjectTagging"],
            [f"{bucket_arn}/*"],
        ),
        statement(
            "Key",
            ["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"],
            [key_arn],
        ),
        statement(
            "GrantKeyToExport",
            ["kms:CreateGrant", "kms:ListGrants", "kms:RevokeGrant"],
            [key_arn],
            condition={"Bool": {"kms:GrantIsForAWSResource": "true"}},
        ),
    )


class Archive(Component):
    """The archive's bucket, the bucket for logs, and the role of exports."""

    bucket: Output[str]
    """The archive's name."""
    bucket_arn: Output[str]
    """The archive's ARN."""
    log_bucket: Output[str]
    """Name of the bucket for logs."""
    export_role_arn: Output[str]
    """Role to start an export of a snapshot with; who starts it must be allowed to pass it."""
    ready: list[pulumi.Resource]
    """What must be there before the first export."""

    def __init__(self, name: str, args: ArchiveArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        staying = self.child(ResourceOptions(retain_on_delete=args.keep))
        logs = PrivateBucket(
            f"{name}-logs",
            BucketArgs(
                key_arn=None,
                keep=args.keep,
                statements=lambda arn: log_statements(args.account_id, arn, *args.deliveries),
                lifecycle=expiry(args.log_days),
            ),
            staying,
        )
        archive = PrivateBucket(
            f"{name}-store",
            BucketArgs(
                key_arn=args.data_key_arn,
                keep=args.keep,
                lifecycle=archive_rules(args),
                lockable=True,
                access_logs=logs.ready_name,
            ),
            staying,
        )
        if args.lock is not None:
            aws.s3.BucketObjectLockConfiguration(
                f"{name}-lock",
                bucket=archive.name,
                rule=aws.s3.BucketObjectLockConfigurationRuleArgs(
                    default_retention=aws.s3.BucketObjectLockConfigurationRuleDefaultRetentionArgs(
                        mode=args.lock.mode.upper(), days=args.lock.days
                    )
                ),
                opts=ResourceOptions.merge(staying, ResourceOptions(depends_on=archive.ready)),
            )
        role = aws.iam.Role(
            f"{name}-export",
            assume_role_policy=assume_role("export.rds.amazonaws.com", args.account_id),
            description=f"{name}: exports of snapshots",
            opts=staying,
        )
        rights = aws.iam.RolePolicy(
            f"{name}-export-rights",
            role=role.id,
            policy=Output.all(archive.arn, args.data_key_arn).apply(lambda v: export_policy(v[0], v[1])),
            opts=self.child(),
        )
        self.bucket, self.bucket_arn, self.log_bucket = archive.name, archive.arn, logs.name
        self.export_role_arn = role.arn
        self.ready = [*archive.ready, rights]
        self.register_outputs(
            {
                "bucket": self.bucket,
                "bucketArn": self.bucket_arn,
                "logBucket": self.log_bucket,
                "exportRoleArn": self.export_role_arn,
            }
        )
