"""CI's roles: who may take them, what they may do, and what they never can."""

from __future__ import annotations

import json
from collections.abc import Collection
from fnmatch import fnmatchcase
from typing import Any

import boto3
import pytest
from moto.iam.aws_managed_policies import aws_managed_policies_data

from components.base import ArgumentError
from components.ci_access import CiAccessArgs, State
from components.ci_actions import LOSSES, READS, RUNTIME, WRITES
from components.ci_documents import boundary, changing, drilling, evidence, never, reading, roles, trust
from local.provider.api import Api
from local.provider.control_plane import table
from tests.components.test_iam_documents import documents
from tests.full_stack import STACKS, declared
from tests.policy_lint import as_list, assert_sound, parliament

KEY = "arn:aws:kms:eu-west-1:123456789012:key/0a1b2c3d"
ARGS = CiAccessArgs(
    "zdm-prod",
    "prod",
    "prod",
    "123456789012",
    "aws",
    "eu-west-1",
    "shop/zdm",
    State("state-bucket", KEY),
    provider=True,
)
SCOPE = ARGS.scope
DOCUMENTS = {
    "reading": reading(SCOPE),
    **changing(SCOPE),
    "drilling": drilling(SCOPE),
    "roles": roles(SCOPE),
    "never": never(SCOPE),
    "evidence": evidence(SCOPE, write=True),
    "evidence of drills": evidence(SCOPE, write=True, promote=False),
    "evidence to look at": evidence(SCOPE, write=False),
    "boundary": boundary(SCOPE),
}
ALLOWED = {
    # the linter's data is older than these; AWS documents them for MSK's topics and for every use of a key
    "UNKNOWN_ACTION kafka:DeleteTopic",
    "UNKNOWN_CONDITION_FOR_ACTION kms:ResourceAliases",
}


def statements(text: str) -> dict[str, dict[str, Any]]:
    return {statement["Sid"]: statement for statement in json.loads(text)["Statement"]}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_are_sound_and_fit_into_a_managed_policy(name: str) -> None:
    text = DOCUMENTS[name]
    known = [key for key in ALLOWED if f'"{key.split()[1]}"' in text]
    assert_sound(text, allow=known)
    assert len(json.dumps(json.loads(text), separators=(",", ":"))) <= 6144


def test_a_role_is_for_one_environment_of_one_repository() -> None:
    text = trust(SCOPE, "shop/zdm", "preview-prod")
    assert_sound(text)
    (statement,) = json.loads(text)["Statement"]
    assert statement["Condition"] == {
        "StringEquals": {
            "token.actions.githubusercontent.com:aud": "sts.amazonaws.com",
            "token.actions.githubusercontent.com:sub": "repo:shop/zdm:environment:preview-prod",
        }
    }
    assert "*" not in text


@pytest.mark.parametrize("wrong", ["shop/*", "*", "shop", "shop/zdm:ref:refs/heads/main", "shop/zdm/x", "/zdm"])
def test_no_repository_but_one(wrong: str) -> None:
    with pytest.raises(ArgumentError, match=r"CiAccessArgs\.repository"):
        CiAccessArgs("zdm-dev", "dev", "dev", "123456789012", "aws", "eu-west-1", wrong)


def test_other_mistakes_are_told_by_name() -> None:
    with pytest.raises(ArgumentError, match=r"prefix.*account_id.*state.*session_minutes"):
        state = State("b", "alias/key")
        CiAccessArgs("zdm-dev", "prod", "prod", "1", "aws", "eu-west-1", "a/b", state, session_minutes=15)


CHANGES = (
    "Create",
    "Delete",
    "Put",
    "Update",
    "Modify",
    "Attach",
    "Detach",
    "Start",
    "Stop",
    "Tag",
    "Untag",
    "Add",
    "Remove",
)


def test_who_looks_cannot_change_anything() -> None:
    for statement in json.loads(DOCUMENTS["reading"])["Statement"]:
        for action in as_list(statement["Action"]):
            for expanded in parliament.expand_action(action):
                assert not expanded["action"].startswith(CHANGES), action
    objects = statements(DOCUMENTS["reading"])["ReadState"]["Resource"]
    assert objects == ["arn:aws:s3:::state-bucket/.pulumi/*"]
    secrets = statements(DOCUMENTS["reading"])["CompareOwnSecrets"]["Resource"]
    assert secrets == ["arn:aws:secretsmanager:eu-west-1:123456789012:secret:zdm-prod/*"]
    assert not any(verb.startswith("GetSecret") for verb in READS["secretsmanager"])
    assert not any(fnmatchcase("GetObject", verb) for verb in READS["s3"])


def test_nothing_of_the_state_elsewhere_and_only_its_own_to_write() -> None:
    kept = statements(DOCUMENTS["roles"])["KeepState"]["Resource"]
    assert all("/zdm/prod" in arn for arn in kept)
    none = CiAccessArgs("zdm-dev", "dev", "dev", "123456789012", "aws", "eu-west-1", "a/b").scope
    assert "s3:::" not in reading(none) + roles(none)


def test_losses_are_denied_and_not_allowed_in_the_first_place() -> None:
    assert statements(DOCUMENTS["never"])["LoseNothing"]["Action"] == list(LOSSES)
    allowed = {f"{service}:{verb}" for service, verbs in WRITES.items() for verb in verbs}
    for action in (
        "backup:DeleteRecoveryPoint",
        "rds:DeleteDBClusterSnapshot",
        "kms:ScheduleKeyDeletion",
        "s3:DeleteBucket",
    ):
        assert any(fnmatchcase(action, loss) for loss in LOSSES)
        assert not any(fnmatchcase(action, pattern) for pattern in allowed)


def test_ci_makes_only_bounded_roles_and_cannot_widen_itself() -> None:
    bounded = statements(DOCUMENTS["roles"])["MakeBoundedRoles"]
    assert bounded["Condition"] == {
        "StringEquals": {"iam:PermissionsBoundary": "arn:aws:iam::123456789012:policy/zdm-prod-ci-boundary"}
    }
    assert {"iam:CreateRole", "iam:PutRolePolicy", "iam:AttachRolePolicy"} <= set(bounded["Action"])
    given = {action for text in (*changing(SCOPE).values(), DOCUMENTS["roles"]) for s in json.loads(text)["Statement"]
             for action in as_list(s["Action"]) if action.startswith("iam:")}  # fmt: skip
    assert not given & {
        "iam:CreatePolicy",
        "iam:CreatePolicyVersion",
        "iam:CreateUser",
        "iam:DeleteRolePermissionsBoundary",
    }
    own = statements(DOCUMENTS["never"])["WidenItself"]
    assert own["Effect"] == "Deny"
    assert "arn:aws:iam::123456789012:role/zdm-prod-ci-*" in own["Resource"]
    assert not any(action.startswith("iam:") for action in RUNTIME)


# --- against the program ----------------------------------------------------------------------------------------------

PREFIXES = {"elbv2": "elasticloadbalancing", "s3control": "s3", "amp": "aps"}
"""Services whose client is not called like the prefix of its actions."""
NAMES = {
    "s3:HeadBucket": "s3:ListBucket",
    "s3:HeadObject": "s3:GetObject",
    "s3:GetBucketEncryption": "s3:GetEncryptionConfiguration",
    "s3:PutBucketEncryption": "s3:PutEncryptionConfiguration",
    "s3:GetBucketLifecycleConfiguration": "s3:GetLifecycleConfiguration",
    "s3:PutBucketLifecycleConfiguration": "s3:PutLifecycleConfiguration",
    "s3:GetObjectLockConfiguration": "s3:GetBucketObjectLockConfiguration",
    "s3:PutObjectLockConfiguration": "s3:PutBucketObjectLockConfiguration",
}
"""Operations that are allowed by an action of another name."""


def action_of(service: str, operation: str) -> str | None:
    """The IAM action of an operation of botocore; None where AWS knows none of this name (its data may be older)."""
    client = boto3.client(service, region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")
    prefix = PREFIXES.get(service, service)
    name = f"{prefix}:{client.meta.method_to_api_mapping[operation]}"
    name = NAMES.get(name, name)
    if name in ("s3:GetPublicAccessBlock", "s3:PutPublicAccessBlock"):
        what = "Account" if service == "s3control" else "Bucket"
        return name.replace("PublicAccessBlock", f"{what}PublicAccessBlock")
    known = {p["privilege"] for s in parliament.iam_definition if s["prefix"] == prefix for p in s["privileges"]}
    return name if name.partition(":")[2] in known else None


def allowed(*texts: str) -> set[str]:
    return {
        action
        for text in texts
        for statement in json.loads(text)["Statement"]
        if statement["Effect"] == "Allow"
        for action in as_list(statement["Action"])
    }


def covered(action: str, patterns: Collection[str]) -> bool:
    return any(fnmatchcase(action, pattern) for pattern in patterns)


def used_tokens() -> set[str]:
    return {r.typ for name in STACKS for r in declared(name).resources.values() if r.typ.startswith("aws:")}


def test_every_service_of_the_program_can_be_read_and_changed_and_no_other() -> None:
    """By the tables of the local cloud, which say for each type of the program what AWS is asked."""
    look = allowed(DOCUMENTS["reading"])
    change = allowed(*changing(SCOPE).values(), DOCUMENTS["roles"]) | look
    missing, prefixes = [], set()
    for token in sorted(used_tokens()):
        entry = table().get(token)
        if not isinstance(entry, Api):
            continue
        updates = [call for update in entry.updates for call in update.calls]
        tagging = [entry.tagging.tag, entry.tagging.untag] if entry.tagging else []
        for call in [entry.create_call, *updates, *tagging, *([entry.read_call] if entry.read_call else [])]:
            action = action_of(entry.service, call.operation)
            if action is None or action in WITHHELD or (action.startswith("iam:") and token.startswith(_OWN)):
                continue
            prefixes.add(action.partition(":")[0])
            if not covered(action, look if call is entry.read_call else change):
                missing.append(f"{token}: {action}")
    assert missing == []
    assert {action.partition(":")[0] for action in change} - prefixes == WITHOUT_TABLE
    denied = [action for s in json.loads(DOCUMENTS["never"])["Statement"] for action in as_list(s["Action"])]
    assert all(covered(action, denied) for action in WITHHELD)


_OWN = ("aws:iam/policy:", "aws:iam/openIdConnectProvider:")
"""What CI must not make: its own policies and provider."""
WITHHELD = {
    "cloudtrail:StopLogging",
    "config:StopConfigurationRecorder",
    "ec2:DisableEbsEncryptionByDefault",
    "iam:DeleteRolePermissionsBoundary",
    "kms:DisableKeyRotation",
}
"""What a program could ask for, and CI is denied."""
WITHOUT_TABLE = {"aps", "backup-storage", "budgets", "ce", "chatbot", "dlm", "kafka", "kafka-cluster", "kafkaconnect"}
"""Services that moto is not asked for: real parts, what is only recorded, and actions called unlike operations."""


def test_no_role_of_the_program_does_more_than_the_boundary() -> None:
    """Neither the roles' own documents nor AWS's managed ones ask for an action that the boundary would take away."""
    limits = allowed(DOCUMENTS["boundary"])
    missing = []
    for name in STACKS:
        resources = declared(name).resources
        for role, args in resources.items():
            if args.typ == "aws:iam/rolePolicy:RolePolicy":
                for text in documents(args.inputs):
                    missing += [f"{role}: {action}" for action in allowed(text) if not _within(action, limits)]
            if (
                args.typ == "aws:iam/rolePolicyAttachment:RolePolicyAttachment"
                and ":aws:policy/" in args.inputs["policyArn"]
            ):
                text = _managed(args.inputs["policyArn"])
                if args.inputs["policyArn"].endswith("/AWS_ConfigRole"):
                    continue  # reads every service of AWS; the boundary leaves those of `READS`
                ours = [a for a in allowed(text) if a.startswith(("backup:", "kms:", "logs:", "rds:", "tag:"))]
                wanted = [action for action in ours if action not in _NOT_OURS]
                missing += [f"{role}: {action}" for action in wanted if not _within(action, limits)]
    assert sorted(set(missing)) == []


_NOT_OURS = (
    # of the managed policies of AWS Backup and DMS: other kinds of databases, continuous backups of instances
    "rds:CreateTenantDatabase",
    "rds:DeleteDBInstanceAutomatedBackup",
    "rds:DeleteTenantDatabase",
    "rds:ModifyDBInstance",
)


def _within(action: str, limits: Collection[str]) -> bool:
    try:
        expanded = parliament.expand_action(action)
    except parliament.UnknownActionException:
        return covered(action, limits)
    return all(covered(f"{each['service']}:{each['action']}", limits) for each in expanded)


def _managed(arn: str) -> str:
    known = json.loads(aws_managed_policies_data)
    return json.dumps(known[arn.rpartition("/")[2]]["Document"])


def test_every_role_made_after_it_carries_the_boundary() -> None:
    resources = declared("everything").resources
    roles_ = {name: args.inputs for name, args in resources.items() if args.typ == "aws:iam/role:Role"}
    bounded = {
        name for name, inputs in roles_.items() if inputs.get("permissionsBoundary", "").endswith("-ci-boundary")
    }
    assert set(roles_) - bounded == {"ci-preview", "ci-drill", "ci-deploy"}
    assert "ci-github" in resources, "the account's owner makes the provider"
    assert not any(name.startswith("ci-") for name in declared("dev").resources)


def test_evidence_is_read_by_who_looks_and_added_by_who_changes_and_never_taken_away() -> None:
    look, change = statements(evidence(SCOPE, write=False)), statements(evidence(SCOPE, write=True))
    assert {action for one in look.values() for action in one["Action"]} == {
        "s3:GetObject", "kms:Decrypt", "secretsmanager:GetSecretValue",
    }  # fmt: skip
    (kept,) = change["KeepEvidence"]["Resource"]
    assert kept == "arn:aws:s3:::archive-store-*/evidence/*"
    assert change["ClosePromotion"]["Resource"] == ["arn:aws:s3:::archive-store-*/evidence/promotion/open.json"]
    deleted = [sid for sid, one in change.items() if "s3:DeleteObject" in one["Action"]]
    assert deleted == ["ClosePromotion"], "a record stays"
    assert change["ReadItsKeys"]["Resource"] == ["arn:aws:secretsmanager:eu-west-1:123456789012:secret:zdm-*/gate-*"]
