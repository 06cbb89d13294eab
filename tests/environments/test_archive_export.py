"""A MySQL that RDS runs: RDS' own export, which the local RDS really carries out, under a manifest of ours."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local.dataplane import cloud
from local.dataplane.mysql import MySQLInstance
from local.dataplane.mysql import Server as MySQLServer
from local.environment import aws_environment
from local.stack import default_root, open_stack
from scripts.context import context_from
from scripts.environments import archive, archive_export, archive_verify
from scripts.environments.archive_result import TakeResult
from tests.environments.archive_lab import BUCKET, PASSWORD, QUIET, REGION, Lab, outputs_of

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZDM_HOME", str(tmp_path_factory.mktemp("home")))
        stack = open_stack("test", default_root())
        try:
            MySQLInstance().create(stack, "source", {
                "engine": "mysql", "identifier": "source", "username": "admin", "password": PASSWORD, "dbName": "shop",
                "backupRetentionPeriod": 1, "instanceClass": "db.t4g.medium", "allocatedStorage": 20, "region": REGION,
            })  # fmt: skip
            data = outputs_of(
                partial(cloud.aws, stack, region_name=REGION), MySQLServer(stack, "source").address, "source"
            )
            context = context_from(data, "test", tmp_path_factory.mktemp("commands"), aws_environment(stack, REGION))
            lab = Lab(stack, data, context)
            lab.mysql(
                "CREATE TABLE prices (id INT PRIMARY KEY, price DECIMAL(9,2), at DATETIME(6))",
                "INSERT INTO prices VALUES (1, 2.50, NULL), (2, NULL, '2026-02-17 01:02:03.000004'), (3, 4, NULL)",
                "CREATE TABLE nothing (id INT PRIMARY KEY)",
                "CREATE VIEW dear AS SELECT * FROM prices WHERE price > 3",
            )
            yield lab
        finally:
            for process in stack.processes():
                process.stop(10)


def take(lab: Lab, **options: Any) -> TakeResult:
    given = {"console": QUIET, "dry_run": False, "classes": {"prices.price": "none"}, "look_seconds": 0.1} | options
    return archive_export.take(lab.context, lab.store, **given)


def test_killed_between_snapshot_and_export_it_goes_on(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    planned = take(lab, dry_run=True)
    assert len(planned.actions) == 3 and archive.list_archives(lab.context).entries == ()

    def dies(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(archive_export._Rds, "export", dies)
        with pytest.raises(KeyboardInterrupt):
            take(lab)
    [entry] = archive.list_archives(lab.context).entries
    assert entry.manifest is None and not entry.to_json()["complete"]
    lab.mysql("INSERT INTO prices VALUES (4, 4, NULL)")

    result = take(lab)
    assert result.resumed and result.id == entry.id and result.manifest
    m = result.manifest
    assert {table.name: table.rows for table in m.tables} == {"nothing": 0, "prices": 3}, (
        "the snapshot was taken before"
    )
    assert [column.data_class for column in m.tables[1].columns] == [None, "none", None]
    assert m.format == "parquet" and m.snapshot.endswith(archive_export.task_name(m.id)) and m.lock
    assert all(stored.key.endswith(".parquet") for table in m.tables for stored in table.objects)
    for key, _ in lab.store.keys(f"archive/{m.id}/"):
        head = lab.s3.head_object(Bucket=BUCKET, Key=key)
        assert head["ObjectLockRetainUntilDate"] >= m.lock.until, key
    verified = archive_verify.run(lab.context, console=QUIET)
    assert verified.problems == () and "Parquet" in verified.skipped
    [stored] = m.tables[1].objects
    with pytest.raises(ClientError):
        lab.s3.delete_object(Bucket=BUCKET, Key=stored.key, VersionId=stored.version)
    again = archive.take(lab.context, console=QUIET, dry_run=True)
    assert again.id != m.id and not again.resumed, "what is complete is not begun again"
