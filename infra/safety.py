"""What keeps data from being lost: the archive, snapshots before a deployment, AWS Backup with its copies and tests."""

from __future__ import annotations

from typing import Any

import pulumi_aws as aws
from pulumi import Input, Output, ResourceOptions

from components import balancer, kafka_documents
from components.archive import Archive, ArchiveArgs, Lock
from components.backup import BackupPlan, BackupPlanArgs
from components.backup_copies import BackupCopies, BackupCopiesArgs
from components.backup_vault import VaultLock
from components.bucket import Statements
from components.restore_test import RestoreTest, RestoreTestArgs
from components.snapshots import Snapshots, SnapshotsArgs
from infra.databases import Databases
from infra.foundation import Foundation


def make_archive(base: Foundation) -> Archive | None:
    """The archive, where the stack has one. It takes the brokers' logs as well."""
    s = base.settings
    if not s.archive.enabled:
        return None
    a = s.archive
    return Archive(
        "archive",
        ArchiveArgs(
            account_id=base.account_id,
            data_key_arn=base.encryption.data_key_arn,
            keep=s.keeps_records,
            lock=None if a.lock == "off" else Lock(a.lock, a.lock_days),
            cold_days=a.cold_days,
            deep_days=a.deep_days,
            expire_days=a.expire_days,
            log_days=s.posture.log_days,
            deliveries=_deliveries(base),
        ),
        base.opts,
    )


def _deliveries(base: Foundation) -> list[Statements]:
    """The services that write their logs into the archive's second bucket."""
    s = base.settings
    found: list[Statements] = []
    if s.kafka.log_archive:
        found.append(lambda arn: kafka_documents.log_delivery(arn, base.name, base.account_id))
    if s.security.access_logs:
        found.append(lambda arn: balancer.log_delivery(arn, base.account_id))
    return found


class Safety:
    """Snapshots and backups of both databases."""

    def __init__(self, base: Foundation, databases: Databases, archive: Archive | None) -> None:
        s = base.settings
        self._label, self._archive, self._key = s.snapshots.label, archive, base.encryption.data_key_arn
        server = databases.source.server
        self.snapshots = Snapshots(
            "snapshots",
            SnapshotsArgs(
                prefix=base.name,
                account_id=base.account_id,
                partition=base.partition,
                region=s.region,
                label=s.snapshots.label,
                clusters={"aurora": databases.aurora.identifier},
                instances={"mysql": server.identifier} if server else {},
                servers=s.source.existing.server_ids,
                volumes=s.source.existing.volume_ids,
                keep=s.posture.final_snapshot,
                ready=[*databases.aurora.instances, *databases.source.ready],
            ),
            base.opts,
        )
        self.copies: BackupCopies | None = None
        self.plan: BackupPlan | None = None
        self.test: RestoreTest | None = None
        if s.backups.vault:
            self.copies = self._copies(base) if s.backups.copy_region else None
            self.plan = self._plan(base, databases)
            self.test = self._test(base, databases, self.plan) if s.backups.restore_tests else None

    @staticmethod
    def _lock(base: Foundation) -> VaultLock | None:
        b = base.settings.backups
        return None if b.lock == "off" else VaultLock(b.lock, min(7, b.keep_days), max(b.keep_days, b.copy_days))

    def _copies(self, base: Foundation) -> BackupCopies:
        """In the second region, through a provider of its own with the same tags."""
        s = base.settings
        region = s.backups.copy_region
        there = aws.Provider("aws-copies", region=region, default_tags=aws.ProviderDefaultTagsArgs(tags=s.tags))
        return BackupCopies(
            "backup-copies",
            BackupCopiesArgs(
                prefix=base.name,
                account_id=base.account_id,
                partition=base.partition,
                region=region,
                home_region=s.region,
                keep_days=s.backups.copy_days,
                lock=self._lock(base),
                account_vault_arn=s.backups.account_vault,
                keep=s.keeps_records,
                key_days=s.posture.key_days,
            ),
            ResourceOptions(providers=[there]),
        )

    def _plan(self, base: Foundation, databases: Databases) -> BackupPlan:
        s = base.settings
        return BackupPlan(
            "backup",
            BackupPlanArgs(
                prefix=base.name,
                account_id=base.account_id,
                partition=base.partition,
                key_arn=base.encryption.data_key_arn,
                alarm_topic_arn=base.alerts.arn,
                backups=databases.backups,
                databases=_arns(databases),
                keep_days=s.backups.keep_days,
                lock=self._lock(base),
                keep=s.keeps_records,
                copies=self.copies.target if self.copies else None,
            ),
            base.opts,
        )

    @staticmethod
    def _test(base: Foundation, databases: Databases, plan: BackupPlan) -> RestoreTest:
        server = databases.source.server
        return RestoreTest(
            "restore-test",
            RestoreTestArgs(
                prefix=base.name,
                account_id=base.account_id,
                partition=base.partition,
                vault_arn=plan.vault_arn,
                alarm_topic_arn=base.alerts.arn,
                vpc_id=base.ground.vpc_id,
                subnet_group=databases.aurora.subnet_group,
                clusters={"aurora": databases.aurora.arn},
                instances={"mysql": server.arn} if server else {},
            ),
            base.opts,
        )

    def to_outputs(self) -> dict[str, Any]:
        archive = self._archive
        return {
            "snapshots": {
                "label": self._label,
                "identifiers": self.snapshots.identifiers,
                "roleArn": self.snapshots.role_arn,
            },
            "backups": {
                "vault": self.plan.vault_name,
                "planId": self.plan.plan_id,
                "roleArn": self.plan.role_arn,
                "copyVaultArn": self.copies.vault_arn if self.copies else "",
                "restorePlan": self.test.plan_name if self.test else "",
            }
            if self.plan
            else None,
            "archive": {"bucket": archive.bucket, "keyArn": self._key, "exportRoleArn": archive.export_role_arn}
            if archive
            else None,
        }


def _arns(databases: Databases) -> dict[str, Input[str] | Output[str]]:
    """What AWS Backup backs up: what RDS runs. A server on EC2 is in snapshots."""
    server = databases.source.server
    return {"aurora": databases.aurora.arn, **({"mysql": server.arn} if server else {})}
