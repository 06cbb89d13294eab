"""Bootstrap: a second run finds nothing to do, a changed secret is taken over, an unfit source is refused."""

from __future__ import annotations

import json
import uuid

import psycopg
import pymysql
import pytest

from scripts import context as context_module
from scripts.errors import ZdmError
from scripts.switch import bootstrap
from tests.switch.conftest import Lab

pytestmark = pytest.mark.real


def test_second_run_changes_nothing(lab: Lab) -> None:
    assert bootstrap.run(lab.context, dry_run=False, console=lab.quiet).changes == []


def test_what_is_missing_is_added_and_named(lab: Lab) -> None:
    lab.mysql("REVOKE INSERT ON zdm.pause_probe FROM shop_app@'%%'".replace("%%", "%"))
    lab.postgres("REVOKE SELECT ON zdm.fence FROM zdm_reader")
    expected = ["mysql: shop_app may INSERT on `zdm`.`pause_probe`", "postgres: zdm_reader may SELECT on zdm.fence"]
    assert bootstrap.run(lab.context, dry_run=True, console=lab.quiet).changes == expected
    assert bootstrap.run(lab.context, dry_run=False, console=lab.quiet).changes == expected
    assert bootstrap.run(lab.context, dry_run=False, console=lab.quiet).changes == []


def test_changed_secret_becomes_the_password(lab: Lab) -> None:
    for side in ("mysql", "aurora"):
        lab.secrets.put_secret_value(
            SecretId=f"zdm-dev/{side}-app",
            SecretString=json.dumps({"username": "shop_app", "password": f"new {uuid.uuid4()}"}),
        )
    context_module._account.cache_clear()
    changes = bootstrap.run(lab.context, dry_run=False, console=lab.quiet).changes
    assert changes == [
        "mysql: password of shop_app as in its secret",
        "postgres: password of shop_app as in its secret",
    ]
    lab.context.mysql("app").close()
    lab.context.postgres("app").close()


def test_least_privilege(lab: Lab) -> None:
    with lab.context.mysql("app") as my, my.cursor() as cursor:
        for statement in (
            "UPDATE zdm.fence SET writes = 'open'",
            "CREATE TABLE t (id INT)",
            "SET GLOBAL read_only = OFF",
        ):
            with pytest.raises(pymysql.err.MySQLError):
                cursor.execute(statement)
    with lab.context.postgres("app") as pg:
        for statement in (
            "UPDATE zdm.fence SET writes = 'open'",
            "CREATE TABLE t (id int)",
            "INSERT INTO customers (name) VALUES ('x')",
            "INSERT INTO zdm.pause_probe DEFAULT VALUES",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                pg.execute(statement)
        assert pg.execute("SELECT count(*) FROM customers").fetchone() is not None
    assert lab.postgres("SELECT rolsuper FROM pg_roles WHERE rolname = current_user") == [(False,)]


def test_source_that_cannot_be_captured(lab: Lab) -> None:
    lab.mysql("SET GLOBAL binlog_row_image = 'MINIMAL'")
    try:
        with pytest.raises(ZdmError, match=r"binlog_row_image is MINIMAL, it must be FULL"):
            bootstrap.run(lab.context, dry_run=False, console=lab.quiet)
    finally:
        lab.mysql("SET GLOBAL binlog_row_image = 'FULL'")
