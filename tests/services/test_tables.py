"""Rows of any schema, over HTTP, on both databases."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from contract.flag import Flag, Side, Writes
from scripts.data import schema
from scripts.data.inspect import mysql_tables
from tests.services.databases import DATABASE, Databases, Service, until

pytestmark = pytest.mark.real

ODD = """
CREATE TABLE `odd ``name"s` (
  id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, `select` VARCHAR(20) NOT NULL, dec_val DECIMAL(20,4), dbl DOUBLE,
  big BIGINT UNSIGNED, flag TINYINT(1), bits BIT(5), y YEAR, d DATE, dt DATETIME(3), ts TIMESTAMP(6) NULL, t TIME,
  e ENUM('a','b') NOT NULL DEFAULT 'a', s SET('x','y'), raw VARBINARY(16), doc JSON, twice INT AS (id * 2))"""
PAIR = "CREATE TABLE pair (a INT NOT NULL, b VARCHAR(12) NOT NULL, n INT NOT NULL DEFAULT 0, PRIMARY KEY (a, b))"
NAMES = ('odd `name"s', "pair")


@pytest.fixture
def rows(databases: Databases, side: Side) -> Iterator[Service]:
    """The generic origin of one side with two more tables, which come after it has started."""
    databases.set_fence(side, Flag(2, 2, 0.0 if side is Side.MYSQL else 100.0, Writes.OPEN, side))
    try:
        with databases.origin(side, "services.tables") as service:
            assert service.client.get("/rows/pair", params={"key": "1"}).status_code == 404
            with databases.mysql() as my, databases.postgres() as pg, my.cursor() as cursor:
                ddl = ODD.replace("AS (id * 2)", "DEFAULT 1")  # MySQL has no generated column over AUTO_INCREMENT
                cursor.execute(ddl)
                cursor.execute(PAIR)
                for change in schema.plan(mysql_tables(my, DATABASE, NAMES), schema.observe(pg), "tables"):
                    schema.apply(pg, change)
                pg.execute("GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO zdm_writer")
                pg.execute("GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO zdm_writer")
            yield service
    finally:
        databases.query(Side.MYSQL, 'DROP TABLE IF EXISTS `odd ``name"s`, pair')
        databases.query(Side.AURORA, 'DROP TABLE IF EXISTS "odd `name""s", pair')


def post(service: Service, table: str, **body: Any) -> Any:
    return service.client.post("/rows/" + table.replace('"', "%22"), json=body)


def until_known(service: Service, table: str) -> None:
    until(lambda: post(service, table, op="update", values={"n": 1}).status_code == 422)


def test_all_types_go_in_and_come_out(rows: Service) -> None:
    odd = NAMES[0]
    until_known(rows, odd)
    values = {
        "select": "Ấ🎁'\"\\", "dec_val": "12345678.1234", "dbl": 0.1, "big": 18446744073709551615, "flag": True,
        "bits": 9, "y": 2024, "d": "2024-02-29", "dt": "2024-02-29 23:59:59.123", "ts": "2024-02-29 01:02:03.000004",
        "t": "23:00:01", "e": "b", "s": "x,y", "raw": "00ff7c", "doc": {"k": [1, None, "ü"]},
    }  # fmt: skip
    made = post(rows, odd, op="insert", values=values)
    assert made.status_code == 201, made.text
    key = made.json()["key"]
    assert isinstance(key["id"], int)
    got = rows.client.get("/rows/" + odd.replace('"', "%22"), params={"key": json.dumps(key)}).json()
    assert got["select"] == values["select"] and got["dec_val"] == "12345678.1234" and got["dbl"] == 0.1
    assert str(got["big"]) == "18446744073709551615" and int(got["flag"]) == 1 and got["y"] == 2024
    assert got["d"] == "2024-02-29" and got["dt"].startswith("2024-02-29T23:59:59.123") and got["t"] == "23:00:01"
    assert got["ts"].startswith("2024-02-29T01:02:03.000004") and got["raw"] == "00ff7c"
    assert json.loads(got["doc"]) == values["doc"] and (got["e"], got["s"]) == ("b", "x,y")
    more = {"dec_val": "0.0001", "flag": 0, "dbl": 1}
    assert post(rows, odd, op="increment", key=key, values=more).status_code == 200
    assert post(rows, odd, op="update", key=key["id"], values={"select": "new", "d": None}).status_code == 200
    got = rows.client.get("/rows/" + odd.replace('"', "%22"), params={"key": key["id"]}).json()
    assert (got["dec_val"], got["dbl"], got["select"], got["d"]) == ("12345678.1235", 1.1, "new", None)
    assert post(rows, odd, op="increment", key=key, values={"select": 1}).status_code == 422


def test_keys_of_several_columns(rows: Service) -> None:
    until_known(rows, "pair")
    key = {"a": 1, "b": "x' OR 1=1 --"}
    assert post(rows, "pair", op="insert", values={**key, "n": 5}).json() == {"key": key}
    assert post(rows, "pair", op="insert", values={"a": 2, "b": "y"}).status_code == 201
    assert post(rows, "pair", op="insert", values={**key, "n": 6}).status_code == 409
    assert post(rows, "pair", op="increment", key=key, values={"n": -7}).status_code == 200
    assert rows.client.get("/rows/pair", params={"key": json.dumps(key)}).json() == {**key, "n": -2}
    assert rows.client.get("/rows/pair", params={"key": '{"a": 2, "b": "y"}'}).json()["n"] == 0
    for wrong in ({"a": 1}, {"a": 1, "c": 2}, 1, None, {"a": 1, "b": None}):
        assert post(rows, "pair", op="update", key=wrong, values={"n": 1}).status_code == 422, wrong
    assert post(rows, "pair", op="update", key={"a": 9, "b": "x"}, values={"n": 1}).status_code == 404


def test_only_what_is_there_can_be_named(rows: Service) -> None:
    until_known(rows, "pair")
    key = {"a": 1, "b": "x"}
    assert post(rows, "nothing", op="insert", values={"a": 1}).status_code == 404
    assert post(rows, "fence", op="insert", values={"v": 1}).status_code == 404
    assert post(rows, "pair", op="drop", values={"a": 1}).status_code == 422
    assert post(rows, "pair", op="insert", values={}).status_code == 422
    answer = post(rows, "pair", op="insert", values={**key, "n) VALUES (1) --": 1})
    assert answer.status_code == 422 and "no such column" in answer.text
    assert post(rows, "pair", op="insert", values={**key, "n": "no number"}).status_code == 409
    assert post(rows, "pair", op="insert", values={"a": 1, "b": "thirteen char"}).status_code == 409


def test_the_fence_holds_here_too(rows: Service, databases: Databases, side: Side) -> None:
    until_known(rows, "pair")
    databases.set_fence(side, Flag(9, 9, 0.0, Writes.HOLD, side))
    assert post(rows, "pair", op="insert", values={"a": 1, "b": "x"}).status_code == 421
    assert rows.client.get("/rows/pair", params={"key": '{"a": 1, "b": "x"}'}).status_code == 404
