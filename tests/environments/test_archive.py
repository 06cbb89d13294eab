"""The archive has what MySQL had, says so truly, survives a kill, and notices whatever became of it in the bucket."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.archive import Manifest, StoredObject
from local.stack import default_root, open_stack
from scripts.data.keyset import Bounds
from scripts.environments import archive, archive_verify
from scripts.environments.archive_dump import Digest, Subject, _piece, _rows, read_view
from scripts.environments.archive_format import line_of, scratch_ddl, values_of
from scripts.environments.archive_source import schema_of
from scripts.environments.parquet import rows_of
from tests.environments import archive_lab
from tests.environments.archive_lab import BUCKET, QUIET, Lab

real = pytest.mark.real
TABLES = {"accounts": 20, "items": 900, "odd": 3, "orders": 900, "plain": 4}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZDM_HOME", str(tmp_path_factory.mktemp("home")))
        stack = open_stack("test", default_root())
        try:
            with archive_lab.laboratory(stack, patch, tmp_path_factory.mktemp("commands")) as lab:
                yield lab
        finally:
            for process in stack.processes():
                process.stop(10)


@pytest.fixture(scope="module")
def fenced(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """An archive of the fenced source, whose first run was killed between an object and the note beside it."""
    lab.fence(True)
    outputs = tmp_path_factory.mktemp("outputs") / "outputs.json"
    outputs.write_text(json.dumps(lab.data))
    child = subprocess.Popen(
        [sys.executable, archive_lab.__file__, str(outputs), str(outputs.parent), "7"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": os.getcwd()},
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stdout.readline() == b"reached\n"
    child.kill()
    child.wait()
    [entry] = archive.list_archives(lab.context).entries
    assert entry.manifest is None and not entry.to_json()["complete"]
    with pytest.raises(archive.UsageError, match="incomplete"):
        archive.show(lab.context, entry.id)
    before = {key for key, _ in lab.store.keys(f"archive/{entry.id}/data/") if key.endswith(".json")}
    assert before
    planned = lab.take(dry_run=True)
    assert planned.id == entry.id and not any("plan of" in action for action in planned.actions)
    result = lab.take()
    assert result.resumed and result.id == entry.id and result.manifest
    twice = [key for key in before if len(versions(lab, key)) > 1]
    assert twice == [], "what was complete was not written again"
    return result.manifest


def versions(lab: Lab, key: str) -> list[str]:
    found = lab.s3.list_object_versions(Bucket=BUCKET, Prefix=key).get("Versions", [])
    return [version["VersionId"] for version in found if version["Key"] == key]


def lines(lab: Lab, stored: StoredObject) -> list[bytes]:
    return gzip.decompress(lab.store.read(stored.key, stored.version)).splitlines()


# --- of the fenced source ---------------------------------------------------------------------------------------------


@real
def test_killed_and_run_again_it_has_every_row_once(lab: Lab, fenced: Manifest) -> None:
    assert {table.name: table.rows for table in fenced.tables} == TABLES
    assert fenced.fenced and fenced.gtid == fenced.gtid_upto != ""
    orders = fenced.table("orders")
    assert orders is not None and len(orders.objects) > 2
    ids = [int(line.split(b"\t")[0]) for stored in orders.objects for line in lines(lab, stored)]
    assert sorted(ids) == list(range(1, 901))
    again = lab.take()
    assert again.already and again.id == fenced.id
    assert [e.id for e in archive.list_archives(lab.context).entries] == [fenced.id]


@real
def test_every_object_is_locked_encrypted_and_reads_back(lab: Lab, fenced: Manifest) -> None:
    assert fenced.lock and (fenced.lock.until - fenced.started).days == 90
    for key, _ in lab.store.keys(f"archive/{fenced.id}/"):
        head = lab.s3.head_object(Bucket=BUCKET, Key=key)
        locked = (head["ObjectLockMode"], head["ObjectLockRetainUntilDate"], head["SSEKMSKeyId"])
        assert locked == ("GOVERNANCE", fenced.lock.until, fenced.key_arn), key
    result = archive_verify.run(lab.context, console=QUIET, seed=1)
    assert result.problems == () and {restored.table for restored in result.restored} == set(TABLES)
    assert result.read == len(fenced.objects)


@real
def test_the_schema_has_all_code(lab: Lab, fenced: Manifest) -> None:
    assert fenced.code
    text = lab.store.read(fenced.code.key).decode()
    for name in ("CREATE TABLE `plain`", "VIEW `dear`", "TRIGGER `on_items`", "PROCEDURE `count_orders`"):
        assert name in text


@real
@pytest.mark.parametrize("how", ["flipped", "missing", "shorter"])
def test_whatever_became_of_an_object_is_found(lab: Lab, fenced: Manifest, how: str) -> None:
    from moto.s3.models import s3_backends

    table = fenced.table("items")
    assert table is not None
    stored = table.objects[len(table.objects) // 2]
    kept = s3_backends["123456789012"]["global"].get_object(BUCKET, stored.key)
    assert kept is not None
    bytes_before = kept.value
    if how == "missing":
        keys = s3_backends["123456789012"]["global"].buckets[BUCKET].keys
        versions = dict.pop(keys, stored.key)
    elif how == "flipped":
        kept.value = bytes([*bytes_before[:40], bytes_before[40] ^ 1, *bytes_before[41:]])
    else:
        kept.value = bytes_before[:-9]
    result = archive_verify.run(lab.context, console=QUIET, sample=0)
    if how == "missing":
        dict.__setitem__(keys, stored.key, versions)
    else:
        kept.value = bytes_before
    [problem] = result.problems
    assert problem.startswith(stored.key) and not result.ok
    assert {"flipped": "other bytes", "missing": "is missing", "shorter": "bytes, not"}[how] in problem
    assert archive_verify.run(lab.context, console=QUIET, sample=0).ok


def test_objects_that_do_not_make_the_table_are_found() -> None:
    table = Manifest.model_validate_json(SMALL).tables[0]
    assert archive_verify.table_problems(table) == []
    fewer = table.model_copy(update={"objects": table.objects[:1]})
    assert len(archive_verify.table_problems(fewer)) == 2


SMALL = json.dumps({
    "id": "a", "stack": "s", "database": "d", "kind": "dump", "format": "tsv", "formatNote": "", "server": "8",
    "gtid": "", "fenced": True, "started": "2026-01-01T00:00:00Z", "finished": "2026-01-01T00:00:00Z", "keyArn": "k",
    "lock": None, "tables": [{
        "name": "t", "rows": 3, "digestKind": "xor", "digest": f"{5:064x}", "ddl": "", "columns": [],
        "objects": [
            {"key": "1", "size": 1, "sha256": "", "rows": 1, "digest": f"{6:064x}"},
            {"key": "2", "size": 1, "sha256": "", "rows": 2, "digest": f"{3:064x}"},
        ],
    }],
})  # fmt: skip


# --- of a source that is written to -----------------------------------------------------------------------------------


@real
def test_mysql_reads_the_files_by_itself(lab: Lab, fenced: Manifest, tmp_path: Path) -> None:
    """With LOAD DATA, into tables that the archive's own statements make."""
    lab.fence(False)
    lab.mysql("SET GLOBAL local_infile = ON", "CREATE DATABASE again")
    for table in fenced.tables:
        statements = [table.ddl]
        for i, stored in enumerate(table.objects):
            file = tmp_path / f"{table.name}{i}.tsv"
            file.write_bytes(gzip.decompress(lab.store.read(stored.key)))
            statements.append(table.load.replace("<file>", str(file)))
        lab.mysql("SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO'", *statements, database="again", local_infile=True)
        name, columns = table.name, ", ".join(f"`{column.name}`" for column in table.columns)
        there, back = f"SELECT {columns} FROM shop.{name}", f"SELECT {columns} FROM again.{name}"
        assert lab.mysql(f"SELECT COUNT(*) FROM again.{name}") == [(table.rows,)]
        if name == "odd":  # MySQL compares no spatial values by EXCEPT
            there, back = (sql.replace("`p`", "ST_AsText(`p`), ST_SRID(`p`)") for sql in (there, back))
        assert lab.mysql(f"{there} EXCEPT {back}") == lab.mysql(f"{back} EXCEPT {there}") == [], name
    lab.mysql("DROP DATABASE again")


@real
def test_a_source_in_use_is_archived_as_it_was_at_one_time(lab: Lab, fenced: Manifest) -> None:
    lab.fence(False)
    stop, begun = threading.Event(), threading.Event()

    def move() -> None:
        """From all others to account 1, each step leaving the sum as it is."""
        with lab.context.mysql(autocommit=False) as my, my.cursor() as cursor:
            for n in count():
                cursor.execute("UPDATE accounts SET amount = amount - 1 WHERE id = %s", (n % 19 + 2,))
                cursor.execute("UPDATE accounts SET amount = amount + 1 WHERE id = 1")
                my.commit()
                begun.set()
                if stop.is_set():
                    return

    writer = threading.Thread(target=move)
    writer.start()
    try:
        assert begun.wait(30)
        result = lab.take()
    finally:
        stop.set()
        writer.join()
    assert not result.fenced and result.id != fenced.id and not result.resumed
    assert result.manifest
    table = result.manifest.table("accounts")
    assert table is not None
    amounts = [int(line.split(b"\t")[1]) for stored in table.objects for line in lines(lab, stored)]
    assert sum(amounts) == 20_000 and set(amounts) != {1000}
    assert archive_verify.run(lab.context, console=QUIET, archive=result.id).ok


@real
def test_a_plan_is_told_and_changes_nothing(lab: Lab, fenced: Manifest) -> None:
    lab.fence(False)
    before = list(lab.store.keys("archive/"))
    planned = lab.take(dry_run=True)
    assert planned.dry_run and any(action.startswith("write 1 of 1 ranges of orders") for action in planned.actions)
    assert list(lab.store.keys("archive/")) == before


@real
def test_rows_that_mysql_cannot_put_together_come_one_by_one(lab: Lab, fenced: Manifest) -> None:
    """The same lines and the same digest either way."""
    view = read_view(lab.context)
    with lab.context.mysql() as my:
        tables = schema_of(my, "shop").tables
    for table in tables:
        subject = Subject.of(table, lab.context.outputs.pipeline.choices)
        single, digest = [], Digest(subject.digest_kind)
        for line, value in _rows(view, subject, "TRUE"):
            single.append(line)
            digest.add(1, value)
        archived = fenced.table(table.name)
        assert archived is not None and table.name in TABLES
        if table.name != "accounts":  # which others have changed since
            assert (digest.rows, digest.text) == (archived.rows, archived.digest)
        if subject.keyed:
            whole, together = _Lines(), Digest(subject.digest_kind)
            _piece(view, subject, Bounds(), whole, together)  # type: ignore[arg-type]
            assert sorted(single) == sorted(b"".join(whole.parts).splitlines()) and digest == together
            with view.cursor() as cursor:
                cursor.execute("SET SESSION group_concat_max_len = 20")
            short, together = _Lines(), Digest(subject.digest_kind)
            _piece(view, subject, Bounds(), short, together)  # type: ignore[arg-type]
            assert b"".join(short.parts).splitlines() == single and digest == together
            with view.cursor() as cursor:
                cursor.execute(f"SET SESSION group_concat_max_len = {1 << 30}")
    view.close()


class _Lines:
    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.parts.append(data)


# --- pure -------------------------------------------------------------------------------------------------------------


@given(st.lists(st.none() | st.binary(max_size=12) | st.sampled_from([b"\\N", b"\\", b"\t", b"\n", b""]), min_size=1))
def test_a_line_gives_its_values_back(values: list[bytes | None]) -> None:
    line = line_of(values)
    assert b"\n" not in line and values_of(line) == values


@given(st.integers(0, 2**40), st.lists(st.text(max_size=5), max_size=40), st.binary(max_size=50))
def test_rows_of_a_parquet_file(rows: int, names: list[str], data: bytes) -> None:
    """The footer, written as Thrift's compact protocol has it."""

    def varint(n: int) -> bytes:
        return bytes([n & 127 | 128]) + varint(n >> 7) if n > 127 else bytes([n])

    def field(delta: int, kind: int, value: bytes) -> bytes:
        return bytes([delta << 4 | kind]) + value

    def text(value: str) -> bytes:
        return varint(len(value.encode())) + value.encode()

    elements = b"".join(field(4, 8, text(name)) + field(1, 5, varint(2)) + field(3, 1, b"") + b"\0" for name in names)
    head = bytes([len(names) << 4 | 12]) if len(names) < 15 else bytes([0xFC]) + varint(len(names))
    footer = field(1, 5, varint(2)) + field(1, 9, head + elements) + field(1, 6, varint(2 * rows)) + b"\0"
    file = b"PAR1" + data + footer + len(footer).to_bytes(4, "little") + b"PAR1"
    assert rows_of([file[i : i + 7] for i in range(0, len(file), 7)]) == rows
    with pytest.raises(ValueError):
        rows_of([file[:-1]])


def test_a_temporary_table_has_what_it_can_have() -> None:
    ddl = (
        "CREATE TABLE `t` (\n  `id` int NOT NULL AUTO_INCREMENT,\n  `a` varchar(3) DEFAULT 'x, KEY',\n"
        "  PRIMARY KEY (`a`),\n  KEY `id` (`id`),\n  FULLTEXT KEY `f` (`a`),\n"
        "  CONSTRAINT `c` FOREIGN KEY (`id`) REFERENCES `u` (`id`)\n"
        ") ENGINE=InnoDB AUTO_INCREMENT=7 DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_ai_ci COMMENT='a b'\n"
        "/*!50100 PARTITION BY HASH (`id`)\nPARTITIONS 3 */"
    )
    assert scratch_ddl(ddl, "s") == (
        "CREATE TEMPORARY TABLE s (\n  `id` int NOT NULL AUTO_INCREMENT,\n  `a` varchar(3) DEFAULT 'x, KEY',\n"
        "  PRIMARY KEY (`a`),\n  KEY (`id`)\n) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_ai_ci"
    )
