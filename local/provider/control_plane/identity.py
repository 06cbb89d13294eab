"""Who may do what, and what nobody may read: IAM, KMS, Secrets Manager."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from local.provider.api import Api, Call, Recorded, Tagging, Update, Values, server
from local.provider.control_plane.words import TAG_KEYS, const, pairs, pascal

if TYPE_CHECKING:
    from local.stack import LocalStack

_ROTATE = Call(
    "rotate_secret",
    {
        "SecretId": "secretId",
        "RotationLambdaARN": "rotationLambdaArn",
        "RotationRules": lambda v: pascal(v["rotationRules"]),
        "RotateImmediately": "rotateImmediately",
    },
)


def _drop_versions(iam: Any, arn: str, keep: int) -> None:
    """Deletes a policy's former versions, oldest first, until `keep` of them are left."""
    versions = [v for v in iam.list_policy_versions(PolicyArn=arn)["Versions"] if not v["IsDefaultVersion"]]
    for version in sorted(versions, key=lambda v: int(v["VersionId"][1:]))[: max(len(versions) - keep, 0)]:
        iam.delete_policy_version(PolicyArn=arn, VersionId=version["VersionId"])


def _keep_four_versions(stack: LocalStack, v: Values) -> None:
    """A policy has at most five versions, the one that is about to be made included."""
    with server(stack, v["region"]) as api:
        _drop_versions(api.client("iam"), v["id"], 3)


TABLE: dict[str, Api | Recorded] = {
    "aws:kms/key:Key": Api(
        "kms",
        Call(
            "create_key",
            {
                "Description": "description",
                "Policy": "policy",
                "KeyUsage": "keyUsage",
                "KeySpec": "customerMasterKeySpec",
                "MultiRegion": "multiRegion",
            },
        ),
        "KeyMetadata.KeyId",
        Call("describe_key", {"KeyId": "id"}),
        "KeyMetadata",
        {"arn": "Arn", "keyId": "KeyId", "description": "Description", "multiRegion": "MultiRegion"},
        updates=(
            Update(
                ("enableKeyRotation", "rotationPeriodInDays"),
                (
                    Call(
                        "enable_key_rotation",
                        {"KeyId": "id", "RotationPeriodInDays": "rotationPeriodInDays"},
                        when=lambda v: v.get("enableKeyRotation"),
                    ),
                    Call("disable_key_rotation", {"KeyId": "id"}, when=lambda v: not v.get("enableKeyRotation")),
                ),
                on_create=True,
            ),
            Update(("description",), (Call("update_key_description", {"KeyId": "id", "Description": "description"}),)),
            Update(
                ("policy",),
                (Call("put_key_policy", {"KeyId": "id", "PolicyName": const("default"), "Policy": "policy"}),),
            ),
        ),
        delete_calls=(
            Call(
                "schedule_key_deletion",
                {"KeyId": "id", "PendingWindowInDays": lambda v: v.get("deletionWindowInDays", 30)},
            ),
        ),
        tagging=Tagging(
            Call("tag_resource", {"KeyId": "id", "Tags": pairs("TagKey", "TagValue")}),
            Call("untag_resource", {"KeyId": "id", "TagKeys": TAG_KEYS}),
        ),
        gone=lambda found: found.get("KeyState") == "PendingDeletion",
    ),
    "aws:kms/alias:Alias": Api(
        "kms",
        Call("create_alias", {"AliasName": "name", "TargetKeyId": "targetKeyId"}),
        "{name}",
        Call("list_aliases"),
        "Aliases[?AliasName=='<id>'] | [0]",
        {
            "arn": "arn:aws:kms:{region}:{account}:{name}",
            "targetKeyArn": "join('', ['arn:aws:kms:<region>:<account>:key/', TargetKeyId])",
        },
        updates=(
            Update(("targetKeyId",), (Call("update_alias", {"AliasName": "name", "TargetKeyId": "targetKeyId"}),)),
        ),
        delete_calls=(Call("delete_alias", {"AliasName": "name"}),),
    ),
    "aws:secretsmanager/secret:Secret": Api(
        "secretsmanager",
        Call("create_secret", {"Name": "name", "Description": "description", "KmsKeyId": "kmsKeyId"}),
        "ARN",
        Call("describe_secret", {"SecretId": "id"}),
        "@",
        {"arn": "ARN"},
        updates=(
            Update(
                ("description", "kmsKeyId"),
                (Call("update_secret", {"SecretId": "id", "Description": "description", "KmsKeyId": "kmsKeyId"}),),
            ),
            Update(
                ("policy",),
                (
                    Call(
                        "put_resource_policy",
                        {"SecretId": "id", "ResourcePolicy": "policy"},
                        when=lambda v: v.get("policy"),
                    ),
                    Call("delete_resource_policy", {"SecretId": "id"}, when=lambda v: not v.get("policy")),
                ),
                on_create=True,
            ),
        ),
        delete_calls=(
            Call(
                "delete_secret",
                {"SecretId": "id", "ForceDeleteWithoutRecovery": const(True)},
                when=lambda v: v.get("recoveryWindowInDays") == 0,
            ),
            Call(
                "delete_secret",
                {"SecretId": "id", "RecoveryWindowInDays": "recoveryWindowInDays"},
                when=lambda v: v.get("recoveryWindowInDays") != 0,
            ),
        ),
        tagging=Tagging(
            Call("tag_resource", {"SecretId": "id", "Tags": pairs()}),
            Call("untag_resource", {"SecretId": "id", "TagKeys": TAG_KEYS}),
        ),
        gone=lambda found: "DeletedDate" in found,
    ),
    "aws:secretsmanager/secretVersion:SecretVersion": Api(
        "secretsmanager",
        Call(
            "put_secret_value",
            {
                "SecretId": "secretId",
                "SecretString": "secretString",
                "SecretBinary": "secretBinary",
                "VersionStages": "versionStages",
            },
        ),
        lambda v: f"{v['secretId']}|{v['answer']['VersionId']}",
        Call("get_secret_value", {"SecretId": "secretId", "VersionId": lambda v: v["id"].rpartition("|")[2]}),
        "@",
        {
            "arn": "ARN",
            "secretArn": "ARN",
            "versionId": "VersionId",
            "secretString": "SecretString",
            "versionStages": "VersionStages",
        },
    ),
    "aws:secretsmanager/secretRotation:SecretRotation": Api(
        "secretsmanager",
        _ROTATE,
        "{secretId}",
        Call("describe_secret", {"SecretId": "secretId"}),
        "@",
        {"rotationEnabled": "RotationEnabled"},
        updates=(Update(("rotationLambdaArn", "rotationRules"), (_ROTATE,)),),
        delete_calls=(
            Call("cancel_rotate_secret", {"SecretId": "secretId"}, when=lambda v: v.get("rotationLambdaArn")),
        ),
        gone=lambda found: not found.get("RotationEnabled"),
    ),
    "aws:iam/role:Role": Api(
        "iam",
        Call(
            "create_role",
            {
                "RoleName": "name",
                "AssumeRolePolicyDocument": "assumeRolePolicy",
                "Description": "description",
                "Path": "path",
                "MaxSessionDuration": "maxSessionDuration",
                "PermissionsBoundary": "permissionsBoundary",
            },
        ),
        "{name}",
        Call("get_role", {"RoleName": "id"}),
        "Role",
        {"arn": "Arn", "uniqueId": "RoleId"},
        updates=(
            Update(
                ("assumeRolePolicy",),
                (Call("update_assume_role_policy", {"RoleName": "id", "PolicyDocument": "assumeRolePolicy"}),),
            ),
            Update(
                ("description", "maxSessionDuration"),
                (
                    Call(
                        "update_role",
                        {"RoleName": "id", "Description": "description", "MaxSessionDuration": "maxSessionDuration"},
                    ),
                ),
            ),
            Update(
                ("permissionsBoundary",),
                (
                    Call(
                        "put_role_permissions_boundary",
                        {"RoleName": "id", "PermissionsBoundary": "permissionsBoundary"},
                        when=lambda v: v.get("permissionsBoundary"),
                    ),
                    Call(
                        "delete_role_permissions_boundary",
                        {"RoleName": "id"},
                        when=lambda v: not v.get("permissionsBoundary"),
                    ),
                ),
            ),
        ),
        delete_calls=(Call("delete_role", {"RoleName": "id"}),),
        tagging=Tagging(
            Call("tag_role", {"RoleName": "id", "Tags": pairs()}),
            Call("untag_role", {"RoleName": "id", "TagKeys": TAG_KEYS}),
        ),
    ),
    "aws:iam/policy:Policy": Api(
        "iam",
        Call(
            "create_policy",
            {"PolicyName": "name", "PolicyDocument": "policy", "Description": "description", "Path": "path"},
        ),
        "Policy.Arn",
        Call("get_policy", {"PolicyArn": "id"}),
        "Policy",
        {"arn": "Arn", "policyId": "PolicyId"},
        updates=(
            Update(
                ("policy",),
                (
                    Call(
                        "create_policy_version",
                        {"PolicyArn": "id", "PolicyDocument": "policy", "SetAsDefault": const(True)},
                    ),
                ),
            ),
        ),
        before_update=_keep_four_versions,
        before_delete=lambda api, v: _drop_versions(api.client("iam"), v["id"], 0),
        delete_calls=(Call("delete_policy", {"PolicyArn": "id"}),),
        tagging=Tagging(
            Call("tag_policy", {"PolicyArn": "id", "Tags": pairs()}),
            Call("untag_policy", {"PolicyArn": "id", "TagKeys": TAG_KEYS}),
        ),
    ),
    # (moto cannot add and remove client ids one by one: that change is kept in the state only)
    "aws:iam/openIdConnectProvider:OpenIdConnectProvider": Api(
        "iam",
        Call(
            "create_open_id_connect_provider",
            {"Url": "url", "ClientIDList": "clientIdLists", "ThumbprintList": lambda v: v.get("thumbprintLists") or []},
        ),
        "OpenIDConnectProviderArn",
        Call("get_open_id_connect_provider", {"OpenIDConnectProviderArn": "id"}),
        "@",
        {"arn": "{id}", "thumbprintLists": "ThumbprintList"},
        updates=(
            Update(
                ("thumbprintLists",),
                (
                    Call(
                        "update_open_id_connect_provider_thumbprint",
                        {"OpenIDConnectProviderArn": "id", "ThumbprintList": "thumbprintLists"},
                        when=lambda v: v.get("thumbprintLists"),
                    ),
                ),
            ),
        ),
        delete_calls=(Call("delete_open_id_connect_provider", {"OpenIDConnectProviderArn": "id"}),),
        tagging=Tagging(
            Call("tag_open_id_connect_provider", {"OpenIDConnectProviderArn": "id", "Tags": pairs()}),
            Call("untag_open_id_connect_provider", {"OpenIDConnectProviderArn": "id", "TagKeys": TAG_KEYS}),
        ),
    ),
    "aws:iam/rolePolicy:RolePolicy": Api(
        "iam",
        Call("put_role_policy", {"RoleName": "role", "PolicyName": "name", "PolicyDocument": "policy"}),
        "{role}:{name}",
        Call("get_role_policy", {"RoleName": "role", "PolicyName": "name"}),
        updates=(
            Update(
                ("policy",),
                (Call("put_role_policy", {"RoleName": "role", "PolicyName": "name", "PolicyDocument": "policy"}),),
            ),
        ),
        delete_calls=(Call("delete_role_policy", {"RoleName": "role", "PolicyName": "name"}),),
    ),
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": Api(
        "iam",
        Call("attach_role_policy", {"RoleName": "role", "PolicyArn": "policyArn"}),
        "{role}/{policyArn}",
        Call("list_attached_role_policies", {"RoleName": "role"}),
        "AttachedPolicies[?PolicyArn=='<policyArn>'] | [0]",
        delete_calls=(Call("detach_role_policy", {"RoleName": "role", "PolicyArn": "policyArn"}),),
    ),
}
