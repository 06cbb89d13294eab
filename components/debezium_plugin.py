"""The connectors' ZIP: what it must hold, and the bucket and custom plugin that bring it to MSK Connect."""

from __future__ import annotations

import hashlib
import re
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pulumi_aws as aws
from pulumi import FileAsset, Input, ResourceOptions

from components.base import demand
from components.bucket import BucketArgs, PrivateBucket

CONNECTORS = ("mysql", "postgres", "jdbc")
CONVERTERS = "zdm-converters.jar"
_PROVIDER = re.compile(r".*(msk-config-providers|secrets-?manager-config-provider)[^/]*\.jar", re.IGNORECASE)


@dataclass(frozen=True)
class Plugin:
    """A ZIP with Debezium's connectors, each with what it needs."""

    path: Path
    """`./zdm plugin` makes it. MSK Connect also needs the JAR of AWS's `msk-config-providers` in it."""
    sha256: str | None = None
    """The checksum that the ZIP must have, in hexadecimal; None takes the one that is there. Another content makes a
    new plugin, and with it new connectors, so production should name it."""

    def __post_init__(self) -> None:
        found = self.path.suffix == ".zip" and self.path.is_file()
        demand(self, path=(found, f"no ZIP file at {self.path}"))
        try:
            missing = [f"debezium-connector-{kind}" for kind in CONNECTORS if not self._has(kind)]
        except zipfile.BadZipFile as e:
            demand(self, path=(False, f"{self.path} is no sound ZIP: {e}"))
        demand(
            self,
            path=(not missing, f"{self.path} holds no {' and no '.join(missing)}: make it again by `./zdm plugin`"),
            sha256=(
                self.sha256 is None or self.sha256 == self.digest,
                f"{self.path} has the checksum {self.digest}, not {self.sha256}",
            ),
        )

    @cached_property
    def _names(self) -> list[str]:
        with zipfile.ZipFile(self.path) as archive:
            return archive.namelist()

    def _has(self, kind: str) -> bool:
        return any(re.search(rf"(^|/)debezium-connector-{kind}-\d[^/]*\.jar$", name) for name in self._names)

    @property
    def carries_intervals(self) -> bool:
        """Whether both sources will find the converters that `cdc.intervals` needs."""
        return all(f"debezium-connector-{kind}/{CONVERTERS}" in self._names for kind in ("mysql", "postgres"))

    @cached_property
    def digest(self) -> str:
        """The ZIP's SHA-256 in hexadecimal."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @property
    def resolves_secrets(self) -> bool:
        """Whether MSK Connect's workers will find the secrets config provider in it. (The local cloud has its own.)"""
        return any(_PROVIDER.fullmatch(name) for name in self._names)


def make_plugin(
    name: str, stack: str, plugin: Plugin, data_key_arn: Input[str], keep: bool, opts: ResourceOptions
) -> tuple[PrivateBucket, aws.mskconnect.CustomPlugin]:
    """A private bucket, the ZIP under a name that is its content's, and the plugin made of it."""
    bucket = PrivateBucket(f"{name}-plugins", BucketArgs(data_key_arn, keep), opts)
    digest = plugin.digest[:12]
    archive = aws.s3.BucketObjectv2(
        f"{name}-plugin-zip",
        bucket=bucket.name,
        key=f"{plugin.path.stem}-{digest}.zip",
        source=FileAsset(str(plugin.path)),
        opts=ResourceOptions.merge(opts, ResourceOptions(depends_on=bucket.ready)),
    )
    location = aws.mskconnect.CustomPluginLocationS3Args(bucket_arn=bucket.arn, file_key=archive.key)
    return bucket, aws.mskconnect.CustomPlugin(
        f"{name}-plugin",
        name=f"{stack}-debezium-{digest}",
        content_type="ZIP",
        description="Debezium MySQL and PostgreSQL sources and JDBC sink",
        location=aws.mskconnect.CustomPluginLocationArgs(s3=location),
        opts=opts,
    )
