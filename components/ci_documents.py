"""What CI may do in AWS, as IAM documents. Pure: text from values.

Which actions: `ci_actions.py`. Everything is bound to the stack's region, or to names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from components.ci_actions import LINKED_TO, LOSSES, PASSED_TO, READS, RUNTIME, WRITES
from components.policies import document, statement

ISSUER = "token.actions.githubusercontent.com"
AUDIENCE = "sts.amazonaws.com"


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
    environment: str
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


def evidence(scope: Scope, *, write: bool, promote: bool = True) -> str:
    """What was proven of this stack, and of the one that it is promoted from: records in the archives, and the keys
    that sign them. Records are added and never taken away; only which promotion is open is, by who may `promote`."""
    archives = f"arn:{scope.partition}:s3:::archive-store-*/evidence"

    def by(service: str, key: str) -> dict[str, Any]:
        return {
            "StringEquals": {"kms:ViaService": f"{service}.{scope.region}.amazonaws.com"},
            "ForAnyValue:StringLike": {"kms:ResourceAliases": f"alias/{scope.project}-*-{key}"},
        }

    keys = [scope.arn("kms", "key/*")]
    kept = [
        statement("KeepEvidence", ["s3:PutObject"], [f"{archives}/*"]),
        *([statement("ClosePromotion", ["s3:DeleteObject"], [f"{archives}/promotion/open.json"])] if promote else []),
    ]
    return document(
        statement("ReadEvidence", ["s3:GetObject"], [f"{archives}/*"]),
        *(kept if write else []),
        statement("UnlockEvidence", ["kms:Decrypt", *(["kms:GenerateDataKey"] if write else [])], keys,
                  condition=by("s3", "data")),
        statement("ReadItsKeys", ["secretsmanager:GetSecretValue"],
                  [scope.arn("secretsmanager", f"secret:{scope.project}-*/gate-*")]),
        statement("UnlockItsKeys", ["kms:Decrypt"], keys, condition=by("secretsmanager", "secrets")),
    )  # fmt: skip


def drilling(scope: Scope) -> str:
    """To drill the restore of the stack's databases, besides `reading`: copies are made, changed and deleted under
    names that only a drill gives (`snapshot verify`), snapshots get the tag that says what was proven, and the live
    tables are counted.

    What each action acts on: "Service Authorization Reference", Actions defined by Amazon RDS.
    """
    copies = [scope.arn("rds", f"{kind}:{scope.prefix}-verify-*") for kind in ("cluster", "db")]
    snapshots = [scope.arn("rds", f"{kind}:*") for kind in ("cluster-snapshot", "snapshot")]
    groups = [scope.arn("rds", f"{kind}:*") for kind in ("cluster-pg", "og", "pg", "secgrp", "subgrp")]
    keys = [scope.arn("kms", "key/*")]
    accounts = [
        scope.arn("secretsmanager", f"secret:{it}") for it in (f"{scope.prefix}/*", "rds!cluster-*", "rds!db-*")
    ]

    def by(service: str, **more: Any) -> dict[str, Any]:
        return {"StringEquals": {"kms:ViaService": f"{service}.{scope.region}.amazonaws.com"}, **more}

    return document(
        statement(
            "RestoreBeside",
            ["rds:RestoreDBClusterFromSnapshot", "rds:RestoreDBInstanceFromDBSnapshot"],
            [*copies, *snapshots, *groups],
        ),
        statement(
            "OnlyTheCopies",
            [f"rds:{verb}" for verb in ("CreateDBInstance", "DeleteDBCluster", "DeleteDBInstance", "ModifyDBCluster",
                                        "ModifyDBInstance")],
            [*copies, *snapshots, *groups],
        ),
        statement("TagTheCopies", ["rds:AddTagsToResource"], copies),
        statement(
            "TagWhatWasProven",
            ["rds:AddTagsToResource"],
            snapshots,
            condition={"ForAllValues:StringEquals": {"aws:TagKeys": ["zdm:verified"]}},
        ),
        statement("UseItsKeys", ["kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey"], keys, condition=by("rds")),
        statement(
            "LendItsKeys", ["kms:CreateGrant"], keys, condition=by("rds", Bool={"kms:GrantIsForAWSResource": "true"})
        ),
        statement("AccountsOfTheDatabases", ["secretsmanager:GetSecretValue"], accounts),
        statement("UnlockThem", ["kms:Decrypt"], keys, condition=by("secretsmanager")),
    )  # fmt: skip


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
    own = {"StringEquals": {"aws:ResourceTag/environment": scope.environment}}
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
        "StringNotEquals": {"aws:ResourceTag/environment": scope.environment},
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
    """The most that a role made by CI may do, whatever policy it gets: `RUNTIME` and `READS`, in this account."""
    copies = "backup:CopyIntoBackupVault"
    account = {"StringEqualsIfExists": {"aws:ResourceAccount": scope.account_id}}
    return document(
        statement("Runtime", [action for action in RUNTIME if action != copies], ["*"], condition=account),
        statement("Look", _looks(), ["*"], condition=account),
        statement("CopiesElsewhere", [copies], [f"arn:{scope.partition}:backup:*:*:backup-vault:*"]),
    )


def _looks() -> list[str]:
    return [f"{service}:{verb}" for service, verbs in READS.items() for verb in verbs]


def _reads(scope: Scope) -> list[dict[str, Any]]:
    secrets = {
        "StringEquals": {"kms:ViaService": f"secretsmanager.{scope.region}.amazonaws.com"},
        "ForAnyValue:StringEquals": {"kms:ResourceAliases": f"alias/{scope.prefix}-secrets"},
    }
    return [
        statement("Look", _looks(), ["*"], condition={"StringEquals": {"aws:RequestedRegion": scope.region}}),
        statement(
            "LookAtRoles",
            [
                *("iam:GetOpenIDConnectProvider", "iam:GetPolicy", "iam:GetPolicyVersion"),
                *("iam:GetRole", "iam:GetRolePolicy"),
                *(f"iam:List{what}" for what in ("AttachedRolePolicies", "InstanceProfilesForRole", "RolePolicies")),
                "iam:ListPolicyVersions",
            ],
            [scope.iam("role/*"), scope.iam("policy/*"), scope.provider_arn],
        ),
        statement("LookAtBudgets", ["budgets:ListTagsForResource", "budgets:ViewBudget"], [scope.budgets]),
        statement(
            "LookAtCosts",
            [
                *(f"ce:Get{what}" for what in ("AnomalyMonitors", "AnomalySubscriptions", "CostAndUsage")),
                *("ce:ListCostAllocationTags", "ce:ListTagsForResource"),
            ],
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
