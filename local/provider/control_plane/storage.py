"""S3: buckets, their settings, their objects."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from local.provider.api import Api, ApiServer, Call, Recorded, Spec, Tagging, Update, Values
from local.provider.control_plane.words import const, pairs, pascal


def _object_body(values: Values) -> Any:
    if values.get("source") is not None:
        return values["source"].read()
    return values["content"].encode() if values.get("content") is not None else None


def _empty_bucket(api: ApiServer, values: Values) -> None:
    """`forceDestroy`: every version of every object goes before the bucket."""
    s3 = api.client("s3")
    if not values.get("forceDestroy"):
        return
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=values["id"]):
        for item in [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]:
            s3.delete_object(
                Bucket=values["id"], Key=item["Key"], VersionId=item["VersionId"], BypassGovernanceRetention=True
            )


def _encryption_rules(values: Values) -> Values:
    names = {"sseAlgorithm": "SSEAlgorithm", "kmsMasterKeyId": "KMSMasterKeyID"}
    rules = []
    for rule in values["rules"]:
        default = {names[k]: v for k, v in (rule.get("applyServerSideEncryptionByDefault") or {}).items()}
        rules.append(
            {"ApplyServerSideEncryptionByDefault": default, "BucketKeyEnabled": bool(rule.get("bucketKeyEnabled"))}
        )
    return {"Rules": rules}


def lifecycle_rules(values: Values) -> Values:
    """A lifecycle configuration's properties as S3's API takes them."""
    return {"Rules": [{**pascal({k: v for k, v in r.items() if k != "id"}), "ID": r["id"]} for r in values["rules"]]}


def _lock(values: Values) -> Values:
    retention = values["rule"]["defaultRetention"]
    return {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": pascal(retention)}}


def _bucket_setting(
    put: str, argument: str, source: Spec, get: str, delete: str | Call | None, found: str = "@"
) -> Api:
    """A sub-resource of a bucket: put whole, read whole, reset at the end."""
    arguments: dict[str, Spec] = {"Bucket": "bucket", argument: source}
    props = tuple(
        p
        for p in (
            "rules",
            "versioningConfiguration",
            "policy",
            "blockPublicAcls",
            "blockPublicPolicy",
            "ignorePublicAcls",
            "restrictPublicBuckets",
            "rule",
            "targetBucket",
            "targetPrefix",
        )
    )
    if isinstance(delete, str):
        delete = Call(delete, {"Bucket": "bucket"})
    return Api(
        "s3",
        Call(put, arguments),
        "{bucket}",
        Call(get, {"Bucket": "bucket"}),
        found,
        updates=(Update(props, (Call(put, arguments),)),),
        delete_calls=(delete,) if delete else (),
    )


_OBJECT: dict[str, Spec] = {
    "Bucket": "bucket",
    "Key": "key",
    "Body": _object_body,
    "ContentType": "contentType",
    "Metadata": "metadata",
    "StorageClass": "storageClass",
    "Tagging": lambda v: urlencode(v["tagsAll"]) if v.get("tagsAll") else None,
}


TABLE: dict[str, Api | Recorded] = {
    "aws:s3/bucket:Bucket": Api(
        "s3",
        Call(
            "create_bucket",
            {
                "Bucket": "bucket",
                "CreateBucketConfiguration": lambda v: (
                    None if v["region"] == "us-east-1" else {"LocationConstraint": v["region"]}
                ),
                "ObjectLockEnabledForBucket": "objectLockEnabled",
            },
        ),
        "{bucket}",
        Call("head_bucket", {"Bucket": "id"}),
        "@",
        {
            "arn": "arn:aws:s3:::{bucket}",
            "bucketDomainName": "{bucket}.s3.amazonaws.com",
            "bucketRegion": "{region}",
            "bucketRegionalDomainName": "{bucket}.s3.{region}.amazonaws.com",
        },
        before_delete=_empty_bucket,
        delete_calls=(Call("delete_bucket", {"Bucket": "id"}),),
        tagging=Tagging(
            Call("put_bucket_tagging", {"Bucket": "id", "Tagging": lambda v: {"TagSet": pairs(of="tagsAll")(v)}}),
            Call("put_bucket_tagging", {"Bucket": "id", "Tagging": lambda v: {"TagSet": pairs(of="tagsAll")(v) or []}}),
        ),
    ),
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": _bucket_setting(
        "put_public_access_block",
        "PublicAccessBlockConfiguration",
        lambda v: {
            p[0].upper() + p[1:]: bool(v.get(p))
            for p in ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
        },
        "get_public_access_block",
        "delete_public_access_block",
        "PublicAccessBlockConfiguration",
    ),
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": _bucket_setting(
        "put_bucket_encryption",
        "ServerSideEncryptionConfiguration",
        _encryption_rules,
        "get_bucket_encryption",
        "delete_bucket_encryption",
        "ServerSideEncryptionConfiguration",
    ),
    "aws:s3/bucketVersioning:BucketVersioning": _bucket_setting(
        "put_bucket_versioning",
        "VersioningConfiguration",
        lambda v: {"Status": v["versioningConfiguration"]["status"]},
        "get_bucket_versioning",
        None,
    ),
    "aws:s3/bucketPolicy:BucketPolicy": _bucket_setting(
        "put_bucket_policy", "Policy", "policy", "get_bucket_policy", "delete_bucket_policy", "Policy"
    ),
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": _bucket_setting(
        "put_bucket_lifecycle_configuration",
        "LifecycleConfiguration",
        lifecycle_rules,
        "get_bucket_lifecycle_configuration",
        "delete_bucket_lifecycle",
    ),
    "aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration": _bucket_setting(
        "put_object_lock_configuration",
        "ObjectLockConfiguration",
        _lock,
        "get_object_lock_configuration",
        Call(
            "put_object_lock_configuration",
            {"Bucket": "bucket", "ObjectLockConfiguration": const({"ObjectLockEnabled": "Enabled"})},
        ),
        "ObjectLockConfiguration.Rule",
    ),
    "aws:s3/bucketLogging:BucketLogging": _bucket_setting(
        "put_bucket_logging",
        "BucketLoggingStatus",
        lambda v: {"LoggingEnabled": {"TargetBucket": v["targetBucket"], "TargetPrefix": v["targetPrefix"]}},
        "get_bucket_logging",
        Call("put_bucket_logging", {"Bucket": "bucket", "BucketLoggingStatus": const({})}),
        "LoggingEnabled",
    ),
    "aws:s3/bucketOwnershipControls:BucketOwnershipControls": _bucket_setting(
        "put_bucket_ownership_controls",
        "OwnershipControls",
        lambda v: {"Rules": [pascal(v["rule"])]},
        "get_bucket_ownership_controls",
        "delete_bucket_ownership_controls",
    ),
    "aws:s3/bucketObjectv2:BucketObjectv2": Api(
        "s3",
        Call("put_object", _OBJECT),
        "{bucket}/{key}",
        Call("head_object", {"Bucket": "bucket", "Key": "key"}),
        "@",
        {"arn": "arn:aws:s3:::{bucket}/{key}", "etag": "ETag", "versionId": "VersionId", "contentType": "ContentType"},
        updates=(
            Update(
                ("source", "content", "contentType", "metadata", "sourceHash", "storageClass", "tagsAll"),
                (Call("put_object", _OBJECT),),
            ),
        ),
        delete_calls=(Call("delete_object", {"Bucket": "bucket", "Key": "key"}),),
    ),
}
