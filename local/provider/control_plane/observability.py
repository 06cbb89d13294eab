"""CloudWatch."""

from __future__ import annotations

from local.provider.api import Api, Call, Recorded, Tagging, Update
from local.provider.control_plane.words import TAG_KEYS

TABLE: dict[str, Api | Recorded] = {
    "aws:cloudwatch/logGroup:LogGroup": Api(
        "logs",
        Call("create_log_group", {"logGroupName": "name", "kmsKeyId": "kmsKeyId"}),
        "{name}",
        Call("describe_log_groups", {"logGroupNamePrefix": "id"}),
        "logGroups[?logGroupName=='<id>'] | [0]",
        {"arn": "arn:aws:logs:{region}:{account}:log-group:{name}"},
        updates=(
            Update(
                ("retentionInDays",),
                (
                    Call(
                        "put_retention_policy",
                        {"logGroupName": "id", "retentionInDays": "retentionInDays"},
                        when=lambda v: v.get("retentionInDays"),
                    ),
                    Call(
                        "delete_retention_policy", {"logGroupName": "id"}, when=lambda v: not v.get("retentionInDays")
                    ),
                ),
                on_create=True,
            ),
        ),
        delete_calls=(Call("delete_log_group", {"logGroupName": "id"}),),
        tagging=Tagging(
            Call("tag_resource", {"resourceArn": "arn", "tags": "tag_map"}),
            Call("untag_resource", {"resourceArn": "arn", "tagKeys": TAG_KEYS}),
        ),
    ),
}
