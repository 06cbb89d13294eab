"""Getting data back: backups, protection of production against deletion, logs that are kept."""

from __future__ import annotations

from policies.rule import FALSE, NOT_TRUE, SET, TRUE, Rule, StackRule, at_least, in_production, needs, staying

BACKUP_DAYS = 7
_DATABASES = frozenset({"aws:rds/cluster:Cluster", "aws:rds/instance:Instance"})

RULES: list[Rule | StackRule] = [
    Rule(
        "backups-kept",
        f"Databases keep backups for at least {BACKUP_DAYS} days.",
        f"Set backups.days to {BACKUP_DAYS} or more.",
        _DATABASES,
        needs({"backupRetentionPeriod": at_least(BACKUP_DAYS)}),
    ),
    Rule(
        "production-protected",
        "Production's databases cannot be deleted by mistake.",
        "Set deletion_protection; the setting decommission lifts it for a stack that is to go.",
        _DATABASES,
        in_production(staying(needs({"deletionProtection": TRUE}))),
    ),
    Rule(
        "production-snapshotted",
        "Production's databases leave a snapshot when they are deleted.",
        "Set skip_final_snapshot=False, with a final_snapshot_identifier.",
        _DATABASES,
        in_production(needs({"skipFinalSnapshot": FALSE, "finalSnapshotIdentifier": SET})),
    ),
    Rule(
        "production-kept",
        "Production's buckets, vaults and images are not deleted together with what is in them.",
        "Leave out force_destroy and force_delete.",
        frozenset({"aws:s3/bucket:Bucket", "aws:backup/vault:Vault", "aws:ecr/repository:Repository"}),
        in_production(staying(needs({"forceDestroy": NOT_TRUE, "forceDelete": NOT_TRUE}))),
    ),
    Rule(
        "production-secrets-kept",
        "Production's deleted secrets can be brought back for a week.",
        "Set recovery_window_in_days to 7 or more.",
        frozenset({"aws:secretsmanager/secret:Secret"}),
        in_production(needs({"recoveryWindowInDays": at_least(7)})),
    ),
    Rule(
        "logs-kept",
        "Log groups say how long they keep logs.",
        "Set retention_in_days.",
        frozenset({"aws:cloudwatch/logGroup:LogGroup"}),
        needs({"retentionInDays": at_least(1)}),
    ),
]
