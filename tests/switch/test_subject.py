"""What a person may ask for, in a pipeline that runs: a copy of their data, and its end on both sides."""

from __future__ import annotations

import json
import stat
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from contract.archive import ArchivedTable, Lock, Manifest, Plan, PlannedTable, dumped, manifest_key, plan_key
from contract.privacy import parse_classes
from local.dataplane import cloud
from scripts.context import Context, context_from
from scripts.environments import subject
from scripts.errors import UsageError
from scripts.switch import gate_record
from tests.switch.conftest import REGION, Lab

pytestmark = pytest.mark.real

CLASSES = parse_classes(
    """
version: 1
tables:
  customers: {id: none, name: personal(name), n: none}
  orders: {id: none, customer: none, total: none, at: none}
  zdm.idempotency: {id: none, request: none, status: none, answer: secret, at: none}
subject:
  is: customers.id
  links: [{from: orders.customer, to: customers.id}]
""",
    "test",
)
NAME = "Nguyễn Thị 'Lan'"
BUCKET = "archives-of-subjects"


@pytest.fixture
def customer(lab: Lab) -> Iterator[str]:
    """A customer with two orders, whose name was told in an answer, and who is in an archive."""
    lab.mysql("INSERT INTO customers (name) VALUES (%s)", NAME)
    [(number,)] = lab.mysql("SELECT MAX(id) FROM customers")
    for _ in range(2):
        lab.mysql("INSERT INTO orders VALUES (%s, %s, 10.50, '2024-01-02')", str(uuid.uuid4()), number)
    answer = json.dumps({"id": number, "name": NAME, "n": 0}, ensure_ascii=False)
    lab.mysql("INSERT INTO zdm.idempotency VALUES (%s, 'r', 200, %s, UTC_TIMESTAMP(6))", f"k{number}", answer)
    lab.settle()
    yield str(number)
    lab.mysql("SET GLOBAL super_read_only = OFF")
    lab.mysql("SET GLOBAL read_only = OFF")


def with_archive(lab: Lab, **pipeline: Any) -> Context:
    s3 = cloud.aws(lab.stack, "s3", REGION)
    s3.create_bucket(Bucket=BUCKET)
    for name, tables, complete in (
        ("20240101", ["customers", "orders"], True),
        ("20230101", ["products"], True),
        ("20220101", ["customers"], False),
    ):
        common: dict[str, Any] = {
            "id": name, "stack": "dev", "database": "ecommerce", "gtid": "", "fenced": True,
            "started": datetime(int(name[:4]), 1, 1, tzinfo=UTC),
            "lock": Lock(mode="COMPLIANCE", until=datetime(2031, 1, 1, tzinfo=UTC)),
        }  # fmt: skip
        documents: dict[str, Plan | Manifest] = {
            plan_key(name): Plan(
                **common, server_id="s", schema_digest="", tables=[PlannedTable(name=t, ranges=[]) for t in tables]
            )
        }
        if complete:
            empty: dict[str, Any] = {"rows": 0, "digest_kind": "none", "ddl": "", "columns": [], "objects": []}
            archived = [ArchivedTable(name=table, **empty) for table in tables]
            documents[manifest_key(name)] = Manifest(
                **common, kind="dump", format="tsv", format_note="", server="8", key_arn="k", tables=archived,
                finished=datetime(2024, 1, 1, tzinfo=UTC),
            )  # fmt: skip
        for path, document in documents.items():
            s3.put_object(Bucket=BUCKET, Key=path, Body=dumped(document))
    archive = {"bucket": BUCKET, "keyArn": "arn:aws:kms:us-east-1:1:key/k", "exportRoleArn": "arn:aws:iam::1:role/r"}
    outputs = {**lab.outputs, "archive": archive, "pipeline": {**lab.outputs["pipeline"], **pipeline}}
    return context_from(outputs, "test", lab.context.home)


def name_of(lab: Lab, customer: str) -> tuple[str, str]:
    [(mysql,)] = lab.mysql("SELECT name FROM customers WHERE id = %s", customer)
    [(aurora,)] = lab.postgres("SELECT name FROM customers WHERE id = %s", customer)
    return mysql, aurora


def test_a_person_gets_a_copy_and_is_erased_on_both_sides(lab: Lab, customer: str, tmp_path: Path) -> None:
    context = with_archive(lab)
    copy = subject.export(context, customer, CLASSES, console=lab.quiet)
    key = gate_record.key_of(context)
    assert gate_record.authentic(copy.document, key)
    assert copy.document["tables"]["customers"] == [{"id": customer, "name": NAME, "n": "0"}]
    assert len(copy.document["tables"]["orders"]) == 2
    assert copy.document["counts"] == {side: {"customers": 1, "orders": 2} for side in ("mysql", "aurora")}
    subject.save(copy, tmp_path / "copy.json")
    assert stat.S_IMODE((tmp_path / "copy.json").stat().st_mode) == 0o600

    plan = subject.erase(context, customer, CLASSES, dry_run=True, console=lab.quiet)
    assert plan.ok
    assert plan.rows == {"customers": 1, "orders": 2}
    assert plan.plan["customers"] == ["name"]
    assert name_of(lab, customer) == (NAME, NAME)

    done = subject.erase(context, customer, CLASSES, dry_run=False, console=lab.quiet)
    mysql, aurora = name_of(lab, customer)
    assert done.ok
    assert done.changed == {"mysql": 1, "aurora": 1}
    assert mysql == aurora != NAME
    assert [(a.id, a.tables, a.until[:4]) for a in done.archives] == [
        ("20240101", ("customers", "orders"), "2031"),
        ("20220101", ("customers",), "2031"),  # without a manifest, and locked all the same
    ]
    [(body,)] = lab.postgres("SELECT body FROM zdm.record WHERE kind = 'subject' ORDER BY seq DESC LIMIT 1")
    assert gate_record.authentic(body, key)
    assert NAME not in json.dumps(body, ensure_ascii=False)
    for side in ("mysql", "aurora"):
        assert body["before"][side]["customers"] != body["after"][side]["customers"]
        assert body["before"][side]["orders"] == body["after"][side]["orders"]
    assert lab.mysql("SELECT COUNT(*) FROM zdm.idempotency WHERE LOCATE('Lan', answer)") == [(0,)]
    [(answer,)] = lab.mysql("SELECT answer FROM zdm.idempotency WHERE id = %s", f"k{customer}")
    assert json.loads(answer) == {"id": int(customer), "name": mysql, "n": 0}

    again = subject.erase(context, customer, CLASSES, dry_run=False, console=lab.quiet)
    assert again.already == body["at"]
    assert name_of(lab, customer) == (mysql, aurora)


def test_without_cdc_both_sides_are_changed_whoever_writes(lab: Lab, customer: str) -> None:
    lab.sink("pause")
    try:
        stopped = with_archive(lab, state="stopped")
        done = subject.erase(stopped, customer, CLASSES, dry_run=False, console=lab.quiet)
        assert done.ok
        assert len({*name_of(lab, customer), NAME}) == 2

        lab.postgres("UPDATE customers SET name = %s WHERE id = %s", NAME, customer)
        lab.mysql("UPDATE customers SET name = %s WHERE id = %s", NAME, customer)
        lab.postgres("UPDATE zdm.fence SET mode = 'aurora', epoch = epoch + 1")
        lab.mysql("SET GLOBAL super_read_only = ON")
        done = subject.erase(stopped, customer, CLASSES, dry_run=False, console=lab.quiet)
        assert done.ok
        assert done.record is not None
        assert done.record["writer"] == "aurora"
        assert len({*name_of(lab, customer), NAME}) == 2
        assert lab.mysql("SELECT @@GLOBAL.super_read_only") == [(1,)]

        lab.postgres("UPDATE customers SET name = %s WHERE id = %s", NAME, customer)
        lab.postgres("UPDATE zdm.fence SET writes = 'hold'")
        with pytest.raises(UsageError, match="may not be written right now"):
            subject.erase(stopped, customer, CLASSES, dry_run=False, console=lab.quiet)
        assert name_of(lab, customer)[1] == NAME
    finally:
        lab.sink("resume")


@pytest.mark.parametrize(
    ("id", "message"),
    [("4711000", "there is no customers with id 4711000"), ("x' OR 1=1 --", "is no customers.id"), ("", "is no cust")],
)
def test_who_is_nobody_is_refused(lab: Lab, id: str, message: str) -> None:
    for command in (subject.export, subject.erase):
        more: dict[str, Any] = {} if command is subject.export else {"dry_run": False}
        with pytest.raises(UsageError, match=message):
            command(lab.context, id, CLASSES, console=lab.quiet, **more)
