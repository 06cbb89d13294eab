"""The archive's bucket: objects that are locked when they arrive, and whose bytes are proven by SHA-256.

Invariants:
- S3 computes the SHA-256 of what it received and refuses an object that is not what was sent.
- An object counts as stored once its lock was read back. `HeadObject` says until when, to a role that has
  s3:GetObjectRetention (Amazon S3 API Reference, HeadObject).
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, Any, Final

from botocore.exceptions import BotoCoreError, ClientError, FlexibleChecksumError

from contract.archive import Lock
from contract.outputs import Archive
from scripts.errors import ZdmError

BLOCK: Final = 1 << 20
_NO_LOCK: Final = frozenset({"ObjectLockConfigurationNotFoundError", "NoSuchObjectLockConfiguration"})
_GONE: Final = frozenset({"NoSuchKey", "NoSuchVersion", "404", "NotFound"})


class Missing(ZdmError):
    """The object is not in the bucket."""


class Cold(ZdmError):
    """The object is in a class from which it must be restored before it can be read."""


class Damaged(ZdmError):
    """The object's bytes are not those that S3 has taken the checksum of."""


@dataclass(frozen=True)
class Facts:
    """What the bucket says about an object."""

    size: int
    key_arn: str
    version: str
    locked: tuple[str, datetime] | None
    """Mode, and until when."""

    def lock_problem(self, lock: Lock | None) -> str:
        """Why the object is not locked as it must be; empty when it is."""
        if lock is None:
            return ""
        if self.locked is None:
            return "is not locked, or your role may not see it (s3:GetObjectRetention)"
        mode, until = self.locked
        if mode != lock.mode:
            return f"is locked in mode {mode}, not {lock.mode}"
        return "" if until >= lock.until else f"is locked until {until:%F %T} only, not {lock.until:%F %T}"


class ArchiveStore:
    """`s3` is a boto3 client in the bucket's own account."""

    def __init__(self, s3: Any, archive: Archive) -> None:
        self._s3, self._archive = s3, archive

    @property
    def bucket(self) -> str:
        return self._archive.bucket

    def default_days(self) -> tuple[str, int] | None:
        """Mode and days of the bucket's own lock; None where it has none."""
        try:
            answer = self._s3.get_object_lock_configuration(Bucket=self.bucket)
        except ClientError as e:
            if e.response["Error"]["Code"] in _NO_LOCK:
                return None
            raise self._said(e, "its lock cannot be read") from e
        found = answer["ObjectLockConfiguration"].get("Rule", {}).get("DefaultRetention")
        return (found["Mode"], found.get("Days", 0) or 365 * found.get("Years", 0)) if found else None

    def put(self, key: str, body: IO[bytes] | bytes, sha256: str, lock: Lock | None) -> str:
        """Stores an object, locked, and returns its version. Raises `ZdmError` when it is not locked as it must be."""
        locked: dict[str, Any] = {}
        if lock is not None:
            locked = {"ObjectLockMode": lock.mode, "ObjectLockRetainUntilDate": lock.until}
        try:
            answer = self._s3.put_object(
                Bucket=self.bucket,
                Key=key,
                Body=body,
                ChecksumAlgorithm="SHA256",
                ChecksumSHA256=base64.b64encode(bytes.fromhex(sha256)).decode(),
                ServerSideEncryption="aws:kms",
                SSEKMSKeyId=self._archive.key_arn,
                **locked,
            )
        except (BotoCoreError, ClientError) as e:
            raise self._said(e, f"{key} cannot be stored") from e
        version = str(answer.get("VersionId") or "")
        if problem := self.facts(key, version).lock_problem(lock):
            raise ZdmError(f"{self.bucket}: {key} {problem}")
        return version

    def lock(self, key: str, version: str, lock: Lock) -> None:
        """Locks an object that others have stored (an export by RDS)."""
        retention = {"Mode": lock.mode, "RetainUntilDate": lock.until}
        try:
            self._s3.put_object_retention(
                Bucket=self.bucket, Key=key, Retention=retention, ChecksumAlgorithm="SHA256", **_of(version)
            )
        except (BotoCoreError, ClientError) as e:
            raise self._said(e, f"{key} cannot be locked") from e

    def facts(self, key: str, version: str = "") -> Facts:
        """Raises `Missing`."""
        try:
            head: Mapping[str, Any] = self._s3.head_object(Bucket=self.bucket, Key=key, **_of(version))
        except ClientError as e:
            raise self._explained(e, key) from e
        locked = (head["ObjectLockMode"], head["ObjectLockRetainUntilDate"]) if "ObjectLockMode" in head else None
        return Facts(head["ContentLength"], head.get("SSEKMSKeyId", ""), str(head.get("VersionId") or ""), locked)

    def read(self, key: str, version: str = "") -> bytes:
        """A small object. Raises `Missing`."""
        return b"".join(self.blocks(key, version))

    def blocks(self, key: str, version: str = "") -> Iterator[bytes]:
        """An object in pieces. Raises `Missing`, `Cold` or `Damaged`."""
        try:
            body = self._s3.get_object(Bucket=self.bucket, Key=key, **_of(version))["Body"]
            yield from body.iter_chunks(BLOCK)
        except (BotoCoreError, ClientError) as e:
            raise self._explained(e, key) from e

    def keys(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Every object under a prefix with its size, in the order of their keys."""
        for page in self._pages(prefix):
            for entry in page.get("Contents", ()):
                yield entry["Key"], entry["Size"]

    def folders(self, prefix: str) -> list[str]:
        """The names directly under a prefix that ends with a slash."""
        found = [entry for page in self._pages(prefix, Delimiter="/") for entry in page.get("CommonPrefixes", ())]
        return [entry["Prefix"].removeprefix(prefix).rstrip("/") for entry in found]

    def _pages(self, prefix: str, **more: str) -> Iterator[Mapping[str, Any]]:
        try:
            pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix, **more)
            yield from pages
        except (BotoCoreError, ClientError) as e:
            raise self._said(e, f"{prefix} cannot be listed") from e

    def _explained(self, error: Exception, key: str) -> ZdmError:
        if isinstance(error, FlexibleChecksumError):
            return Damaged(f"{self.bucket}: {key} has other bytes than were written: {error}")
        code = error.response["Error"]["Code"] if isinstance(error, ClientError) else ""
        if code in _GONE:
            return Missing(f"{self.bucket}: {key} is missing")
        if code == "InvalidObjectState":
            return Cold(f"{self.bucket}: {key} is in Glacier Deep Archive: restore it first (aws s3api restore-object)")
        return self._said(error, f"{key} cannot be read")

    def _said(self, error: Exception, what: str) -> ZdmError:
        return ZdmError(
            f"the archive's bucket {self.bucket}: {what}: {error}. Your role needs the archive's bucket and its key"
        )


def _of(version: str) -> dict[str, str]:
    return {"VersionId": version} if version else {}


def now() -> datetime:
    """To the second, as S3 keeps the dates of locks."""
    return datetime.now(UTC).replace(microsecond=0)
