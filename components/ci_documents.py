"""What CI may do in AWS, as IAM documents. Pure: text from values.

What the program is made of decides: `WRITES` and `READS` have a line for each AWS service that it uses. Actions are
named by their verbs, never as a whole service; everything is bound to the stack's region, or to names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.policies import document, statement

ISSUER = "token.actions.githubusercontent.com"
AUDIENCE = "sts.amazonaws.com"

READS: Mapping[str, Sequence[str]] = {
    "acm": ("Describe*", "List*"),
    "application-autoscaling": ("Describe*", "ListTagsForResource"),
    "aps": ("Describe*", "List*"),
    "backup": ("Describe*", "Get*", "List*"),
    "chatbot": ("Describe*", "List*"),
    "cloudtrail": ("Describe*", "Get*", "List*"),
    "cloudwatch": ("Describe*", "GetDashboard", "ListTagsForResource"),
    "config": ("Describe*", "ListTagsForResource"),
    "dlm": ("Get*", "ListTagsForResource"),
    "dms": ("Describe*", "ListTagsForResource"),
    "ec2": ("Describe*", "GetEbsEncryptionByDefault", "GetManagedPrefixListEntries"),
    "ecr": ("Describe*", "GetLifecyclePolicy", "GetRepositoryPolicy", "ListTagsForResource"),
    "ecs": ("Describe*", "List*"),
    "elasticloadbalancing": ("Describe*",),
    "events": ("Describe*", "List*"),
    "guardduty": ("Get*", "List*"),
    "kafka": ("Describe*", "Get*", "List*"),
    "kafkaconnect": ("Describe*", "List*"),
    "kms": ("DescribeKey", "GetKeyPolicy", "GetKeyRotationStatus", "List*"),
    "logs": ("Describe*", "List*"),
    "rds": ("Describe*", "ListTagsForResource"),
    "s3": ("GetAccountPublicAccessBlock", "GetBucket*", "GetEncryptionConfiguration", "GetLifecycleConfiguration",
           "GetReplicationConfiguration", "GetAccelerateConfiguration", "ListBucket"),
    "secretsmanager": ("DescribeSecret", "GetResourcePolicy", "ListSecretVersionIds"),
    "sns": ("Get*", "List*"),
    "wafv2": ("Get*", "List*"),
}  # fmt: skip
"""To see what is there, by service; values of secrets and objects are not among them."""

WRITES: Mapping[str, Sequence[str]] = {
    "acm": ("AddTagsToCertificate", "DeleteCertificate", "RemoveTagsFromCertificate", "RequestCertificate"),
    "application-autoscaling": ("DeleteScalingPolicy", "DeregisterScalableTarget", "PutScalingPolicy",
                                "RegisterScalableTarget", "TagResource", "UntagResource"),
    "aps": ("Create*", "Delete*", "Put*", "TagResource", "UntagResource", "Update*"),
    "backup": ("Create*", "DeleteBackupPlan", "DeleteBackupSelection", "DeleteRestoreTesting*",
               "PutBackupVaultAccessPolicy", "PutBackupVaultLockConfiguration", "PutBackupVaultNotifications",
               "StartBackupJob", "StartCopyJob", "TagResource", "UntagResource", "Update*"),
    "backup-storage": ("MountCapsule",),
    "chatbot": ("CreateSlackChannelConfiguration", "DeleteSlackChannelConfiguration", "TagResource", "UntagResource",
                "UpdateSlackChannelConfiguration"),
    "cloudtrail": ("AddTags", "CreateTrail", "PutEventSelectors", "RemoveTags", "StartLogging", "UpdateTrail"),
    "cloudwatch": ("DeleteAlarms", "DeleteDashboards", "PutCompositeAlarm", "PutDashboard", "PutMetricAlarm",
                   "TagResource", "UntagResource"),
    "config": ("DeleteConfigRule", "PutConfigRule", "PutConfigurationRecorder", "PutDeliveryChannel",
               "StartConfigurationRecorder", "TagResource", "UntagResource"),
    "dlm": ("CreateLifecyclePolicy", "DeleteLifecyclePolicy", "TagResource", "UntagResource", "UpdateLifecyclePolicy"),
    "dms": ("AddTagsToResource", "Create*", "Delete*", "ImportCertificate", "Modify*", "MoveReplicationTask",
            "RemoveTagsFromResource", "Start*", "Stop*", "TestConnection"),
    "ec2": ("AllocateAddress", "Associate*", "AttachInternetGateway", "AuthorizeSecurityGroup*", "CopyImage",
            "CopySnapshot", "CreateFlowLogs", "CreateImage", "CreateInternetGateway", "CreateManagedPrefixList",
            "CreateNatGateway", "CreateRoute", "CreateRouteTable", "CreateSecurityGroup", "CreateSnapshot*",
            "CreateSubnet", "CreateTags", "CreateVpc", "CreateVpcEndpoint", "DeleteFlowLogs", "DeleteInternetGateway",
            "DeleteManagedPrefixList", "DeleteNatGateway", "DeleteRoute", "DeleteRouteTable", "DeleteSecurityGroup",
            "DeleteSubnet", "DeleteTags", "DeleteVpcEndpoints", "DetachInternetGateway", "DisassociateAddress",
            "DisassociateRouteTable", "EnableEbsEncryptionByDefault", "ModifyManagedPrefixList",
            "ModifySecurityGroupRules", "ModifySubnetAttribute", "ModifyVpcAttribute", "ModifyVpcEndpoint",
            "ReleaseAddress", "ReplaceRoute", "ReplaceRouteTableAssociation", "RevokeSecurityGroup*",
            "UpdateSecurityGroupRuleDescriptions*"),
    "ecr": ("CreateRepository", "DeleteLifecyclePolicy", "PutImageScanningConfiguration", "PutImageTagMutability",
            "PutLifecyclePolicy", "SetRepositoryPolicy", "TagResource", "UntagResource"),
    "ecs": ("CreateCluster", "CreateService", "DeleteCluster", "DeleteService", "DeregisterTaskDefinition",
            "PutClusterCapacityProviders", "RegisterTaskDefinition", "TagResource", "UntagResource", "UpdateCluster*",
            "UpdateService*"),
    "elasticloadbalancing": ("AddTags", "Create*", "Delete*", "Modify*", "RemoveTags", "SetSecurityGroups",
                             "SetSubnets", "SetWebACL"),
    "events": ("DeleteRule", "PutRule", "PutTargets", "RemoveTargets", "TagResource", "UntagResource"),
    "guardduty": ("CreateDetector", "TagResource", "UntagResource", "UpdateDetector"),
    "kafka": ("BatchAssociateScramSecret", "BatchDisassociateScramSecret", "Create*", "DeleteCluster",
              "DeleteClusterPolicy", "DeleteConfiguration", "DeleteTopic", "PutClusterPolicy", "TagResource",
              "UntagResource", "Update*"),
    "kafka-cluster": ("AlterTopic*", "Connect", "CreateTopic", "DeleteTopic", "DescribeTopic*"),
    "kafkaconnect": ("Create*", "Delete*", "TagResource", "UntagResource", "UpdateConnector"),
    "kms": ("CreateAlias", "CreateGrant", "CreateKey", "EnableKeyRotation", "PutKeyPolicy", "TagResource",
            "UntagResource", "UpdateAlias", "UpdateKeyDescription"),
    "logs": ("CreateLogDelivery", "CreateLogGroup", "DeleteLogDelivery", "DeleteMetricFilter", "DeleteResourcePolicy",
             "PutMetricFilter", "PutResourcePolicy", "PutRetentionPolicy", "TagResource", "UntagResource",
             "UpdateLogDelivery", "AssociateKmsKey"),
    "rds": ("AddTagsToResource", "Create*", "DeleteDBCluster", "DeleteDBClusterEndpoint",
            "DeleteDBClusterParameterGroup", "DeleteDBInstance", "DeleteDBParameterGroup", "DeleteDBProxy",
            "DeleteDBSubnetGroup", "DeleteEventSubscription", "DeregisterDBProxyTargets", "Modify*",
            "RegisterDBProxyTargets", "RemoveTagsFromResource", "ResetDB*", "RestoreDBCluster*", "RestoreDBInstance*",
            "StartActivityStream", "StopActivityStream"),
    "s3": ("CreateBucket", "DeleteBucketPolicy", "PutAccountPublicAccessBlock", "PutBucket*",
           "PutEncryptionConfiguration", "PutLifecycleConfiguration", "PutObject", "PutObjectTagging", "PutReplicationConfiguration"),
    "secretsmanager": ("CancelRotateSecret", "CreateSecret", "DeleteSecret", "PutSecretValue", "RestoreSecret",
                       "RotateSecret", "TagResource", "UntagResource", "UpdateSecret*"),
    "sns": ("CreateTopic", "DeleteTopic", "SetSubscriptionAttributes", "SetTopicAttributes", "Subscribe", "TagResource",
            "Unsubscribe", "UntagResource"),
    "wafv2": ("AssociateWebACL", "Create*", "Delete*", "DisassociateWebACL", "PutLoggingConfiguration", "TagResource",
              "UntagResource", "Update*"),
}  # fmt: skip
"""To bring the stack up, by service. What loses data for good is not among them, and is denied besides."""

LOSSES: Sequence[str] = (
    "backup:DeleteBackupVault*",
    "backup:DeleteRecoveryPoint",
    "backup:DisassociateRecoveryPoint*",
    "backup:PutBackupVaultLockConfiguration",
    "cloudtrail:DeleteTrail",
    "cloudtrail:StopLogging",
    "config:DeleteConfigurationRecorder",
    "config:StopConfigurationRecorder",
    "ec2:DeleteSnapshot",
    "ec2:DeleteVolume",
    "ec2:DeregisterImage",
    "ecr:DeleteRepository",
    "guardduty:DeleteDetector",
    "kms:DeleteImportedKeyMaterial",
    "kms:DisableKey",
    "kms:DisableKeyRotation",
    "kms:ScheduleKeyDeletion",
    "logs:DeleteLogGroup",
    "rds:DeleteDBClusterAutomatedBackup",
    "rds:DeleteDBClusterSnapshot",
    "rds:DeleteDBInstanceAutomatedBackup",
    "rds:DeleteDBSnapshot",
    "rds:ModifyDBClusterSnapshotAttribute",
    "rds:ModifyDBSnapshotAttribute",
    "s3:BypassGovernanceRetention",
    "s3:DeleteBucket",
    "s3:DeleteObjectVersion",
    "s3:PutBucketObjectLockConfiguration",
)
"""Denied to CI whatever else allows it: backups, archives, keys, logs of what happened. A person does this."""

RUNTIME: Sequence[str] = (
    "aps:Get*", "aps:List*", "aps:QueryMetrics", "aps:RemoteWrite",
    "backup:CopyFromBackupVault", "backup:CopyIntoBackupVault", "backup:Describe*", "backup:Get*", "backup:List*",
    "backup:TagResource",
    "cloudwatch:Describe*", "cloudwatch:GetMetric*", "cloudwatch:ListMetrics", "cloudwatch:PutMetricData",
    "config:Put*",
    "ec2:CopySnapshot", "ec2:CreateImage", "ec2:CreateNetworkInterface", "ec2:CreateSnapshot*", "ec2:CreateTags",
    "ec2:DeleteNetworkInterface", "ec2:DeleteSnapshot", "ec2:DeregisterImage", "ec2:Describe*",
    "ec2:ModifyNetworkInterfaceAttribute", "ec2:ModifySnapshotAttribute",
    "ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetAuthorizationToken", "ecr:GetDownloadUrlForLayer",
    "kafka:Describe*", "kafka:Get*", "kafka:List*",
    "kafka-cluster:AlterGroup", "kafka-cluster:Connect", "kafka-cluster:CreateTopic", "kafka-cluster:Describe*",
    "kafka-cluster:ReadData", "kafka-cluster:WriteData*",
    "kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*",
    "logs:CreateLogGroup", "logs:CreateLogStream", "logs:Describe*", "logs:GetLogEvents", "logs:PutLogEvents",
    "logs:PutRetentionPolicy",
    "rds:AddTagsToResource", "rds:Copy*Snapshot", "rds:Create*Snapshot", "rds:DeleteDBClusterSnapshot",
    "rds:DeleteDBSnapshot", "rds:Describe*", "rds:ListTagsForResource", "rds:ModifyDB*SnapshotAttribute",
    "rds:Restore*", "rds-db:connect",
    "s3:AbortMultipartUpload", "s3:DeleteObject", "s3:Get*", "s3:List*", "s3:PutObject*",
    "secretsmanager:DescribeSecret", "secretsmanager:GetRandomPassword", "secretsmanager:GetSecretValue",
    "secretsmanager:PutSecretValue", "secretsmanager:UpdateSecretVersionStage",
    "sns:Publish",
    "sts:GetCallerIdentity",
    "tag:GetResources",
)  # fmt: skip
"""The most that any role of the stack may ever do: nothing of IAM, no network, no key's policy."""

PASSED_TO: Sequence[str] = (
    "application-autoscaling.amazonaws.com",
    "backup.amazonaws.com",
    "chatbot.amazonaws.com",
    "cloudtrail.amazonaws.com",
    "config.amazonaws.com",
    "dlm.amazonaws.com",
    "dms.amazonaws.com",
    "ecs-tasks.amazonaws.com",
    "export.rds.amazonaws.com",
    "kafkaconnect.amazonaws.com",
    "monitoring.rds.amazonaws.com",
    "rds.amazonaws.com",
    "restore-testing.backup.amazonaws.com",
    "vpc-flow-logs.amazonaws.com",
)
"""Services that the program gives roles to."""

LINKED_TO: Sequence[str] = (
    "autoscaling.amazonaws.com",
    "backup.amazonaws.com",
    "config.amazonaws.com",
    "dms.amazonaws.com",
    "ecs.amazonaws.com",
    "ecs.application-autoscaling.amazonaws.com",
    "elasticloadbalancing.amazonaws.com",
    "guardduty.amazonaws.com",
    "kafka.amazonaws.com",
    "kafkaconnect.amazonaws.com",
    "rds.amazonaws.com",
    "rds.application-autoscaling.amazonaws.com",
    "wafv2.amazonaws.com",
)
"""Services that make a role of their own at first use."""


@dataclass(frozen=True)
class State:
    """Where the engine keeps the stack."""

    bucket: str
    """Name of the bucket with the state of all stacks."""
    key_arn: str
    """ARN of the KMS key of the stack's secrets provider."""


@dataclass(frozen=True)
class Scope:
    """What the documents are bound to."""

    project: str
    stack: str
    account_id: str
    partition: str
    region: str
    state: State | None

    @property
    def prefix(self) -> str:
        return f"{self.project}-{self.stack}"

    def arn(self, service: str, resource: str, *, region: str | None = None) -> str:
        place = self.region if region is None else region
        return f"arn:{self.partition}:{service}:{place}:{self.account_id}:{resource}"

    def iam(self, resource: str) -> str:
        return self.arn("iam", resource, region="")

    @property
    def budgets(self) -> str:
        return self.arn("budgets", "budget/*", region="")

    @property
    def provider_arn(self) -> str:
        return self.iam(f"oidc-provider/{ISSUER}")

    @property
    def boundary_arn(self) -> str:
        return self.iam(f"policy/{self.boundary_name}")

    @property
    def boundary_name(self) -> str:
        return f"{self.prefix}-ci-boundary"

    def role_name(self, kind: str) -> str:
        return f"{self.prefix}-ci-{kind}"


def trust(scope: Scope, repository: str, environment: str) -> str:
    """Only jobs of one of the repository's environments; the environment's own rules say which branches those are."""
    made = statement(
        "JobsOfTheEnvironment",
        ["sts:AssumeRoleWithWebIdentity"],
        [],
        principal={"Federated": scope.provider_arn},
        condition={
            "StringEquals": {f"{ISSUER}:aud": AUDIENCE, f"{ISSUER}:sub": f"repo:{repository}:environment:{environment}"}
        },
    )
    del made["Resource"]
    return document(made)


def reading(scope: Scope) -> str:
    """To preview the stack: its state, what is there, and (to compare) its own secrets. Nothing can be changed."""
    return document(*_state(scope, write=False), *_reads(scope))


def changing(scope: Scope) -> dict[str, str]:
    """To bring the stack up, besides `reading`: each service's writes, bound to the region. By the policy's name."""
    here = {"StringEquals": {"aws:RequestedRegion": scope.region}}
    parts = {"data": [s for s in WRITES if s in _DATA], "rest": [s for s in WRITES if s not in _DATA]}
    return {
        f"changing-{part}": document(
            statement("Change", [f"{s}:{verb}" for s in services for verb in WRITES[s]], ["*"], condition=here)
        )
        for part, services in parts.items()
    }


_DATA = frozenset(
    {
        *("backup", "backup-storage", "dlm", "dms", "kafka", "kafka-cluster", "kafkaconnect"),
        *("kms", "rds", "s3", "secretsmanager"),
    }
)
"""A managed policy has at most 6,144 characters: what keeps data has one of its own."""
_VERBS = ("Create", "Delete", "Update")


def roles(scope: Scope) -> str:
    """To make the stack's own roles, none of which may do more than the boundary; and to keep the state."""
    bounded = {"StringEquals": {"iam:PermissionsBoundary": scope.boundary_arn}}
    own = {"StringEquals": {"aws:ResourceTag/environment": scope.stack}}
    every = scope.iam("role/*")
    return document(
        *_state(scope, write=True),
        statement(
            "MakeBoundedRoles",
            [f"iam:{verb}" for verb in ("AttachRolePolicy", "CreateRole", "DeleteRolePolicy", "DetachRolePolicy",
                                        "PutRolePermissionsBoundary", "PutRolePolicy")],
            [every],
            condition=bounded,
        ),
        statement(
            "KeepOwnRoles",
            [f"iam:{verb}" for verb in ("DeleteRole", "TagRole", "UntagRole", "UpdateAssumeRolePolicy", "UpdateRole",
                                        "UpdateRoleDescription")],
            [every],
            condition=own,
        ),
        statement(
            "GiveRoles",
            ["iam:PassRole"],
            [every],
            condition={"StringEquals": {"iam:PassedToService": list(PASSED_TO)}},
        ),
        statement(
            "ServicesOwnRoles",
            ["iam:CreateServiceLinkedRole"],
            [scope.iam("role/aws-service-role/*")],
            condition={"StringEquals": {"iam:AWSServiceName": list(LINKED_TO)}},
        ),
        statement(
            "Budgets", ["budgets:ModifyBudget", "budgets:TagResource", "budgets:UntagResource"], [scope.budgets]
        ),
        statement(
            "Anomalies",
            [
                *(f"ce:{verb}Anomaly{what}" for verb in _VERBS for what in ("Monitor", "Subscription")),
                *("ce:TagResource", "ce:UntagResource", "ce:UpdateCostAllocationTagsStatus"),
            ],
            ["*"],
            condition={"StringEquals": {"aws:PrincipalAccount": scope.account_id}},
        ),
    )  # fmt: skip


def never(scope: Scope) -> str:
    """What CI must not do even where a statement allows it: lose data, touch other environments, widen itself."""
    other = {
        "StringNotEquals": {"aws:ResourceTag/environment": scope.stack},
        "Null": {"aws:ResourceTag/environment": "false"},
    }
    changes = ("Delete", "Modify", "Update")
    known = [f"{service}:{verb}" for service, verbs in WRITES.items() for verb in verbs if verb.startswith(changes)]
    own = [scope.iam(f"role/{scope.prefix}-ci-*"), scope.iam(f"policy/{scope.prefix}-ci-*"), scope.provider_arn]
    return document(
        statement("LoseNothing", LOSSES, ["*"], effect="Deny"),
        statement("OtherEnvironments", known, ["*"], effect="Deny", condition=other),
        statement(
            "WidenItself",
            [f"iam:{verb}*" for verb in (*_VERBS, "Add", "Attach", "Detach", "Put", "Set", "Tag", "Untag")],
            own,
            effect="Deny",
        ),
        statement("LeaveTheBoundary", ["iam:DeleteRolePermissionsBoundary"], ["*"], effect="Deny"),
    )  # fmt: skip


def boundary(scope: Scope) -> str:
    """The most that a role made by CI may do, whatever policy it gets: `RUNTIME`, in this account."""
    copies = "backup:CopyIntoBackupVault"
    account = {"StringEqualsIfExists": {"aws:ResourceAccount": scope.account_id}}
    return document(
        statement("Runtime", [action for action in RUNTIME if action != copies], ["*"], condition=account),
        statement("CopiesElsewhere", [copies], [f"arn:{scope.partition}:backup:*:*:backup-vault:*"]),
    )


def _reads(scope: Scope) -> list[dict[str, Any]]:
    actions = [f"{service}:{verb}" for service, verbs in READS.items() for verb in verbs]
    secrets = {
        "StringEquals": {"kms:ViaService": f"secretsmanager.{scope.region}.amazonaws.com"},
        "ForAnyValue:StringEquals": {"kms:ResourceAliases": f"alias/{scope.prefix}-secrets"},
    }
    return [
        statement("Look", actions, ["*"], condition={"StringEquals": {"aws:RequestedRegion": scope.region}}),
        statement(
            "LookAtRoles",
            [
                *(f"iam:Get{what}" for what in ("OpenIDConnectProvider", "Policy", "PolicyVersion", "Role", "RolePolicy")),
                *(f"iam:List{what}" for what in ("AttachedRolePolicies", "InstanceProfilesForRole", "RolePolicies")),
                "iam:ListPolicyVersions",
            ],
            [scope.iam("role/*"), scope.iam("policy/*"), scope.provider_arn],
        ),
        statement("LookAtBudgets", ["budgets:ListTagsForResource", "budgets:ViewBudget"], [scope.budgets]),
        statement(
            "LookAtCosts",
            [f"ce:{what}" for what in ("GetAnomalyMonitors", "GetAnomalySubscriptions", "ListCostAllocationTags")]
            + ["ce:ListTagsForResource"],
            ["*"],
            condition={"StringEquals": {"aws:PrincipalAccount": scope.account_id}},
        ),
        statement(
            "CompareOwnSecrets",
            ["secretsmanager:GetSecretValue"],
            [scope.arn("secretsmanager", f"secret:{scope.prefix}/*")],
        ),
        statement("UnlockOwnSecrets", ["kms:Decrypt"], [scope.arn("kms", "key/*")], condition=secrets),
    ]  # fmt: skip


def _state(scope: Scope, *, write: bool) -> list[dict[str, Any]]:
    """The engine's files of this stack; those of the project's other stacks only to read (stack references)."""
    if scope.state is None:
        return []
    bucket = f"arn:{scope.partition}:s3:::{scope.state.bucket}"
    folder = f"{bucket}/.pulumi"
    if write:
        own = [f"{folder}/{kind}/{scope.project}/{scope.stack}*" for kind in ("stacks", "history", "backups")]
        locks = f"{folder}/locks/organization/{scope.project}/{scope.stack}/*"
        return [
            statement("KeepState", ["s3:DeleteObject", "s3:PutObject"], [*own, locks]),
            statement("LockSecrets", ["kms:Encrypt", "kms:GenerateDataKey"], [scope.state.key_arn]),
        ]
    return [
        statement("ListState", ["s3:ListBucket"], [bucket], condition={"StringLike": {"s3:prefix": [".pulumi/*"]}}),
        statement("ReadState", ["s3:GetObject"], [f"{folder}/*"]),
        statement("UnlockSecrets", ["kms:Decrypt"], [scope.state.key_arn]),
    ]
