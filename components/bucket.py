"""PrivateBucket: an S3 bucket that only this account can open, and only through TLS 1.2 or newer.

Invariants:
- Nothing in it can be made public, by a policy or by an object's own list; every object belongs to the bucket's owner.
- What is stored is encrypted, and what is overwritten or deleted stays as a former version.
- A bucket's own policy can add who may write. It can take nothing of the above away.

Cost drivers:
- Storage by the GiB and month, of former versions too, until a rule removes them.
- Requests; with a customer key those to KMS too, few of them because of the bucket key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws
from pulumi import Input, Output, ResourceOptions

from components.base import Component
from components.policies import private_bucket

FORMER_DAYS = 30
"""Days that a former version stays before a rule removes it: time enough to see a mistake."""

Statements = Callable[[str], Sequence[Mapping[str, Any]]]


@dataclass(frozen=True)
class BucketArgs:
    """Arguments of `PrivateBucket`."""

    key_arn: Input[str] | None
    """Customer key of the objects. None (S3's own keys) where AWS cannot use one: in a bucket for access logs."""
    keep: bool = True
    """Whether a bucket with objects refuses to be deleted. The default; false empties it first."""
    statements: Statements | None = None
    """Further statements of the bucket's policy, from its ARN: which service may write there. None by default."""
    lifecycle: Sequence[Mapping[str, Any]] = ()
    """Rules for objects as they age, such as `expiry(365)`; none by default: they stay as they are."""
    lockable: bool = False
    """Whether objects can be locked against deletion. It costs nothing, but can only be decided when it is made."""
    access_logs: Input[str] | None = None
    """Bucket that takes a log of every request to this one; none by default."""


def expiry(days: int) -> list[dict[str, Any]]:
    """Rules that remove objects after `days`, former versions 30 days later, and what is left of broken uploads."""
    return [
        {
            "id": "expire",
            "status": "Enabled",
            "filter": {"prefix": ""},
            "expiration": {"days": days},
            "noncurrent_version_expiration": {"noncurrent_days": FORMER_DAYS},
            "abort_incomplete_multipart_upload": {"days_after_initiation": 7},
        }
    ]


class PrivateBucket(Component):
    """The bucket and all that makes it private."""

    name: Output[str]
    """The bucket's name; made by Pulumi, since bucket names are everybody's."""
    ready_name: Output[str]
    """The name, known once its policy stands: for who writes there by it."""
    arn: Output[str]
    """The bucket's ARN."""
    ready: list[pulumi.Resource]
    """What must be there before the first object: encryption, versions, and the policy."""

    def __init__(self, name: str, args: BucketArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        # A component that had a bucket of its own before keeps it, when it takes this one instead.
        former = [pulumi.Alias(parent=opts.parent)] if opts and opts.parent else None
        own = self.child(ResourceOptions(aliases=former))
        bucket = aws.s3.Bucket(name, force_destroy=not args.keep, object_lock_enabled=args.lockable or None, opts=own)
        closed = aws.s3.BucketPublicAccessBlock(
            f"{name}-private",
            bucket=bucket.id,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=own,
        )
        owned = aws.s3.BucketOwnershipControls(
            f"{name}-owner",
            bucket=bucket.id,
            rule=aws.s3.BucketOwnershipControlsRuleArgs(object_ownership="BucketOwnerEnforced"),
            opts=own,
        )
        encrypted = aws.s3.BucketServerSideEncryptionConfiguration(
            f"{name}-encryption",
            bucket=bucket.id,
            rules=[
                aws.s3.BucketServerSideEncryptionConfigurationRuleArgs(
                    bucket_key_enabled=args.key_arn is not None,
                    apply_server_side_encryption_by_default=(
                        aws.s3.BucketServerSideEncryptionConfigurationRuleApplyServerSideEncryptionByDefaultArgs(
                            sse_algorithm="AES256" if args.key_arn is None else "aws:kms",
                            kms_master_key_id=args.key_arn,
                        )
                    ),
                )
            ],
            opts=own,
        )
        versions = aws.s3.BucketVersioning(
            f"{name}-versions",
            bucket=bucket.id,
            versioning_configuration=aws.s3.BucketVersioningVersioningConfigurationArgs(status="Enabled"),
            opts=own,
        )
        policy = aws.s3.BucketPolicy(
            f"{name}-tls",
            bucket=bucket.id,
            policy=bucket.arn.apply(
                lambda arn: private_bucket(arn, *(args.statements(arn) if args.statements else ()))
            ),
            opts=ResourceOptions.merge(own, ResourceOptions(depends_on=[closed])),
        )
        if args.lifecycle:
            aws.s3.BucketLifecycleConfiguration(
                f"{name}-lifecycle",
                bucket=bucket.id,
                rules=[dict(rule) for rule in args.lifecycle],  # type: ignore[misc]
                opts=ResourceOptions.merge(own, ResourceOptions(depends_on=[versions])),
            )
        if args.access_logs is not None:
            aws.s3.BucketLogging(
                f"{name}-log",
                bucket=bucket.id,
                target_bucket=args.access_logs,
                target_prefix=f"s3/{name}/",
                opts=own,
            )
        self.name, self.arn = bucket.id, bucket.arn
        self.ready_name = Output.all(bucket.id, policy.id).apply(lambda both: str(both[0]))
        self.ready = [owned, encrypted, versions, policy]
        self.register_outputs({"name": self.name, "arn": self.arn})
