"""Dual mode on and off: the guard is there whenever there are second writes, and goes only when CDC has caught up."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator

import psycopg
import pytest

from contract import dual as contract
from contract.control import READ_FENCE
from scripts.context import context_from
from scripts.errors import UsageError
from scripts.switch import bootstrap, dual
from tests.switch.conftest import Lab

pytestmark = pytest.mark.real


@pytest.fixture
def versioned(lab: Lab) -> Iterator[Lab]:
    lab.postgres("ALTER TABLE orders ADD updated_at timestamptz")
    yield lab
    lab.mysql(contract.SET_DUAL, 0)
    lab.postgres("ALTER TABLE orders DROP updated_at")
    lab.postgres(f"DROP TRIGGER IF EXISTS {contract.GUARD} ON orders")


def test_on_and_off(versioned: Lab) -> None:
    lab = versioned
    asked = dual.run(lab.context, "on", dry_run=True, console=lab.quiet)
    assert not asked.on and not asked.guarded and len(asked.changes) == 2
    on = dual.run(lab.context, "on", console=lab.quiet)
    assert (on.on, on.guarded, on.changes) == (True, ["orders"], asked.changes)
    assert dual.run(lab.context, "on", console=lab.quiet).changes == []
    assert lab.mysql(contract.READ_DUAL) == [(1,)]
    off = dual.run(lab.context, "off", console=lab.quiet)
    assert not off.on and not off.guarded and len(off.changes) == 2
    assert dual.run(lab.context, "status", console=lab.quiet).to_json() == {
        "dual": False, "guarded": [], "changes": [], "dryRun": False,
    }  # fmt: skip


def test_not_once_aurora_writes(versioned: Lab) -> None:
    versioned.mysql("UPDATE zdm.fence SET mode = 'aurora', epoch = epoch + 1")
    with pytest.raises(UsageError, match="Aurora is the writer"):
        dual.run(versioned.context, "on", console=versioned.quiet)


def test_its_account_may_write_as_long_as_the_sink(lab: Lab) -> None:
    """Given and taken with the sink's rights: a cutover need not know of it."""
    login = {"username": contract.DUAL_USER, "password": "a password of 22 chars"}
    lab.secrets.create_secret(Name="zdm-dev/aurora-dual", SecretString=json.dumps(login))
    target = {**lab.outputs["target"], "dualSecret": "zdm-dev/aurora-dual"}
    context = context_from({**lab.outputs, "target": target}, "test", lab.context.home)
    made = bootstrap.run(context, dry_run=False, console=lab.quiet).changes
    assert [change.partition(":")[0] for change in made] == ["postgres", "postgres"] and "zdm_dual" in made[0]
    try:
        assert bootstrap.run(context, dry_run=False, console=lab.quiet).changes == []
        insert = "INSERT INTO orders (id, customer, total, at) VALUES (%s, 1, 1, now())"
        where = {"host": target["host"], "port": target["port"], "dbname": "ecommerce", "sslmode": "require"}
        with psycopg.connect(user=login["username"], password=login["password"], autocommit=True, **where) as second:
            second.execute(insert, (str(uuid.uuid4()),))
            assert second.execute(READ_FENCE).fetchone()
            lab.postgres("REVOKE zdm_writer FROM zdm_sink")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                second.execute(insert, (str(uuid.uuid4()),))
    finally:
        lab.postgres("GRANT zdm_writer TO zdm_sink")
        lab.postgres("DROP ROLE zdm_dual")
