"""Masking of real databases: both sides as the reference says, resumable, and clean afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from contract import control
from contract.flag import Side
from contract.masks import KINDS, masked
from contract.privacy import DataClasses, load_classes, parse_classes
from contract.tables import Table
from contract.types import rule_for
from scripts.console import Step
from scripts.context import PROJECT
from scripts.data.inspect import mysql_tables
from scripts.environments.masked import Masked
from scripts.environments.masking import MaskingResult, mask
from scripts.environments.privacy_scan import NOT_ERASED, UNMASKED, ScanResult, scan
from scripts.errors import UsageError
from scripts.rehearsal import fill, shop
from tests.contract.test_masks import VALUES
from tests.data.conftest import ACCOUNT, Pair

pytestmark = pytest.mark.real

KEY = b"a key of this very test, 32 bytes"
SHOP = load_classes(PROJECT / "data-classes.yaml")
SIDES = (Side.MYSQL, Side.AURORA)


def target(pair: Pair, side: Side, tables: list[Table], **more: Any) -> Masked:
    return Masked(side, pair.mysql if side is Side.MYSQL else pair.postgres, tables, **more)


def mask_both(pair: Pair, classes: DataClasses, key: bytes = KEY) -> list[MaskingResult]:
    tables = described(pair)
    return [mask(target(pair, side, tables), classes, key, Step("mask")) for side in SIDES]


def described(pair: Pair) -> list[Table]:
    with pair.mysql() as my:
        return mysql_tables(my, pair.name)


def scan_of(pair: Pair, side: Side, classes: DataClasses) -> ScanResult:
    return scan(target(pair, side, described(pair)), classes, Step("scan"))


def texts(pair: Pair, side: Side, table: Table) -> list[tuple[Any, ...]]:
    """Every row as canonical texts, in the order of the key."""
    template = [
        (c, rule_for(replace(c, generated=None), pair.pipeline.choices)) for c in table.columns if c.type != "json"
    ]
    order = ", ".join(f"t.{name}" for name in table.primary_key)
    if side is Side.MYSQL:
        columns = ", ".join(rule.mysql_text.format(f"`{c.name}`") for c, rule in template)
        return pair.on_source(f"SELECT {columns} FROM `{table.name}` AS t ORDER BY {order}")
    columns = ", ".join(rule.postgres_text.format(f'"{c.name}"') for c, rule in template)
    return pair.on_target(f'SELECT {columns} FROM public."{table.name}" AS t ORDER BY {order}')


@pytest.fixture
def shop_pair(pair: Pair) -> Pair:
    """The shop on both sides, with what it answered to writes."""
    fill.fill(lambda: pair.mysql(autocommit=False), rows=6_000, connections=1)
    pair.booleans = list(shop.BOOLEANS)
    pair.copy(pair.make_tables())
    pair.on_source(*control.MYSQL_DDL)
    pair.on_target(*control.POSTGRES_DDL)
    answer = '{"id": 1, "email": "an@shop.vn"}'
    pair.on_source(f"REPLACE INTO zdm.idempotency VALUES ('k', 'r', 200, '{answer}', NOW(6))")
    pair.on_target(f"INSERT INTO zdm.idempotency VALUES ('k', 'r', 200, '{answer}', now())")
    return pair


def clear(pair: Pair) -> None:
    """MySQL's control tables are a database of their own, which all of these tests share."""
    there = "SELECT 1 FROM information_schema.tables WHERE table_schema = 'zdm' AND table_name = 'masking_part'"
    if pair.on_source(there):
        pair.on_source("DELETE FROM zdm.masking", "DELETE FROM zdm.masking_part")


@pytest.fixture(autouse=True)
def never_masked(pair: Pair) -> None:
    clear(pair)


# --- the reference ----------------------------------------------------------------------------------------------------

TEXT_KINDS = sorted({*KINDS, "card"} - {"location", "birth_date"})
ROWS = st.lists(VALUES, min_size=20, max_size=120, unique=True)


@settings(
    max_examples=3, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate]
)  # shrinking would take minutes
@given(rows=ROWS)
def test_both_databases_mask_as_the_reference_says(pair: Pair, rows: list[str]) -> None:
    """Every kind over any text, in columns of two lengths and two character sets, and what is no text."""
    pair.on_source("DROP TABLE IF EXISTS anything")
    pair.on_target("DROP TABLE IF EXISTS anything", "DROP SCHEMA IF EXISTS zdm CASCADE")
    clear(pair)
    columns = [f"`{kind}` VARCHAR(100)" for kind in TEXT_KINDS]
    more = (
        "short_phone VARCHAR(12), bin BINARY(16), varbin VARBINARY(64), born DATE, born_at DATETIME, place DOUBLE, "
        "exact DECIMAL(9,6), j JSON, gone VARCHAR(40), kept VARBINARY(20) NOT NULL, "
        "latin VARCHAR(60) CHARACTER SET latin1"
    )
    pair.on_source(f"CREATE TABLE anything (id INT PRIMARY KEY, {', '.join(columns)}, {more}) CHARSET utf8mb4")
    classes = parse_classes(
        json.dumps({
            "version": 1,
            "tables": {
                "anything": {
                    "id": "none",
                    **{kind: "card" if kind == "card" else f"personal({kind})" for kind in TEXT_KINDS},
                    "short_phone": "personal(phone)", "bin": "personal(token)", "varbin": "card",
                    "born": "personal(birth_date)", "born_at": "personal(birth_date)", "place": "personal(location)",
                    "exact": "personal(location)", "j": "personal(free_text)", "gone": "secret", "kept": "secret",
                    "latin": "personal(username)",
                },
                "zdm.idempotency": dict.fromkeys(("id", "request", "status", "answer", "at"), "none"),
            },
        }),
        "test",
    )  # fmt: skip
    with pair.mysql() as my, my.cursor() as cursor:
        for i, text in enumerate(rows):
            values = [
                i, *[text] * len(TEXT_KINDS), text[:12], text.encode()[:16], text.encode()[:64],
                f"19{i % 90 + 10}-0{i % 9 + 1}-1{i % 9}", f"19{i % 90 + 10}-0{i % 9 + 1}-1{i % 9} 10:00:00",
                i * 1.7 - 40, i * 1.123456 - 30, json.dumps({"a": text}), text[:40], b"", f"b\u00fcro {i}",
            ]  # fmt: skip
            values = [None if i % 7 == 3 and v is not values[0] and v != b"" else v for v in values]
            cursor.execute(f"INSERT INTO anything VALUES ({', '.join(['%s'] * len(values))})", values)
    table = described(pair)[0]
    before = texts(pair, Side.MYSQL, table)
    pair.copy(pair.make_tables())
    mask_both(pair, classes)
    names = [c for c in table.columns if c.type != "json"]
    for side in SIDES:
        for old, new in zip(before, texts(pair, side, table), strict=True):
            for column, was, is_ in zip(names, old, new, strict=True):
                given_ = classes.of(column)
                if given_.name == "secret":
                    assert not is_
                elif given_.mask == "location":
                    assert (was is None) == (is_ is None) and (is_ is None or float(is_) <= float(was) < float(is_) + 1)
                elif given_.mask == "birth_date":
                    assert (was is None) == (is_ is None)
                    assert is_ is None or is_[:10] == masked("birth_date", column, was, KEY)
                elif given_.mask:
                    assert is_ == masked(given_.mask, column, was, KEY), (side, column.name, was)
        assert scan_of(pair, side, classes).findings == ()


# --- the shop ---------------------------------------------------------------------------------------------------------


def test_a_masked_shop_is_clean_on_both_sides_and_still_joins(shop_pair: Pair) -> None:
    pair = shop_pair
    pair.on_source(
        "CREATE TABLE trail (n INT AUTO_INCREMENT PRIMARY KEY)",
        "CREATE TRIGGER customers_trail AFTER UPDATE ON customers FOR EACH ROW INSERT INTO trail () VALUES ()",
        "CREATE TABLE subscribers (email VARCHAR(190) PRIMARY KEY, via VARCHAR(10) NOT NULL, "
        "host VARCHAR(190) AS (SUBSTRING_INDEX(email, '@', -1)) STORED)",
        "INSERT INTO subscribers (email, via) SELECT email, 'web' FROM customers WHERE id % 3 = 0",
        "ANALYZE TABLE customers UPDATE HISTOGRAM ON phone",
    )
    classes = parse_classes(
        (PROJECT / "data-classes.yaml").read_text().replace(
            "\ntables:\n",
            "\ntables:\n  trail: {n: none}\n  subscribers: {email: personal(email), via: none, host: none}\n",
        ),
        "test",
    )  # fmt: skip
    before = {t.name: texts(pair, Side.MYSQL, t) for t in described(pair)}
    dirty = scan_of(pair, Side.MYSQL, classes)
    assert {(f.column, f.what) for f in dirty.findings} >= {("email", UNMASKED), ("password_hash", NOT_ERASED)}

    result = mask(target(pair, Side.MYSQL, described(pair), batch=150), classes, KEY, Step("mask"))
    [aurora] = [
        mask(target(pair, Side.AURORA, described(pair), workers=1), classes, KEY, Step("mask")) for _ in range(1)
    ]
    again = mask(target(pair, Side.MYSQL, described(pair)), classes, KEY, Step("mask"))
    assert again.already
    assert again.rows == result.rows
    assert result.rows["customers"] == aurora.rows["customers"] == 480
    for side in SIDES:
        found = scan_of(pair, side, classes)
        assert found.ok, found.to_json()
    for table in described(pair):
        if table.name not in ("trail", "subscribers"):
            assert texts(pair, Side.MYSQL, table) == texts(pair, Side.AURORA, table)
        if table.name == "customers":
            old = {row[0]: row for row in before["customers"]}
            where = [c.name for c in table.columns if c.type != "json"].index("updated_at")
            assert all(old[row[0]][where] == row[where] for row in texts(pair, Side.MYSQL, table))
    assert pair.on_source("SELECT COUNT(*) FROM trail") == [(0,)]
    assert pair.on_source("SHOW TRIGGERS")[0][0] == "customers_trail"
    joined = "SELECT COUNT(*) FROM subscribers s JOIN customers c ON c.email = s.email AND c.id % 3 = 0"
    assert pair.on_source(joined) == [(160,)]
    assert pair.on_source("SELECT DISTINCT host FROM subscribers") == [("masked.example",)]
    assert not pair.on_source(f"SELECT 1 FROM information_schema.column_statistics WHERE schema_name = '{pair.name}'")
    with pytest.raises(UsageError, match="another key"):
        mask(target(pair, Side.MYSQL, described(pair)), classes, KEY[::-1], Step("mask"))


def test_a_column_without_a_class_stops_everything(shop_pair: Pair) -> None:
    shop_pair.on_source("ALTER TABLE customers ADD nickname VARCHAR(40), ADD zalo VARCHAR(20)")
    shop_pair.on_target("ALTER TABLE customers ADD secretly text")
    with pytest.raises(UsageError) as e:
        mask(target(shop_pair, Side.MYSQL, described(shop_pair)), SHOP, KEY, Step("mask"))
    assert "customers.nickname has no data class" in str(e.value)
    assert "customers.zalo has no data class" in str(e.value)
    with pytest.raises(UsageError) as e:
        mask(target(shop_pair, Side.AURORA, described(shop_pair)), SHOP, KEY, Step("mask"))
    assert "customers.secretly is there, and is not described" in str(e.value)
    assert "@masked.example" not in shop_pair.on_source("SELECT email FROM customers WHERE id = 1")[0][0]


# --- what is planted is found -----------------------------------------------------------------------------------------

PLANTS = {
    "email": "hỏi lan.tran@gmail.com",
    "phone": "gọi 0903 111 222 nhé",
    "card": "thẻ 4539-1488-0343-6467",
    "national_id": "CCCD: 079203012345",
    "name": "giao cho Trần Thị Mai",
}


def test_what_is_planted_is_found_and_named_without_its_value(shop_pair: Pair) -> None:
    mask_both(shop_pair, SHOP)
    places = {"products.description": 5, "orders.details": 7, "carts.coupon": 0}
    expected = set()
    for i, (kind, text) in enumerate(PLANTS.items(), start=11):
        for place in places:
            table, column = place.split(".")
            if column == "coupon":
                continue
            mine = "'" + (json.dumps({"x": [text]}) if column == "details" else text).replace("\\", "\\\\") + "'"
            theirs = json.dumps({"x": [text]}, ensure_ascii=False) if column == "details" else text
            shop_pair.on_source(f"UPDATE {table} SET {column} = {mine} WHERE id = {i}")
            shop_pair.on_target(f"UPDATE {table} SET {column} = '{theirs}' WHERE id = {i}")
            expected.add((table, column, kind, f"id {i}"))
    for statement in (
        "UPDATE customers SET email = 'real@shop.vn' WHERE id = 21",
        "UPDATE customers SET phone = '0903111222' WHERE id = 22",
        "UPDATE customers SET birthday = '1990-05-17' WHERE id = 23",
        "UPDATE addresses SET latitude = 10.5 WHERE id = 24",
    ):
        shop_pair.on_source(statement)
        shop_pair.on_target(statement)
    shop_pair.on_source("UPDATE customers SET password_hash = 'abc' WHERE id = 25")
    shop_pair.on_target("UPDATE customers SET password_hash = 'abc'::bytea WHERE id = 25")
    expected |= {
        ("customers", "email", UNMASKED, "id 21"),
        ("customers", "phone", UNMASKED, "id 22"),
        ("customers", "birthday", UNMASKED, "id 23"),
        ("addresses", "latitude", UNMASKED, "id 24"),
        ("customers", "password_hash", NOT_ERASED, "id 25"),
    }
    for side in SIDES:
        found = scan_of(shop_pair, side, SHOP)
        assert {(f.table, f.column, f.what, f.key) for f in found.findings} == expected
        assert not any(text in json.dumps(found.to_json(), ensure_ascii=False) for text in PLANTS.values())
    allowed = parse_classes(
        (PROJECT / "data-classes.yaml").read_text() + "\nallow:\n  products.description: [email, phone]\n", "test"
    )
    left = {f.what for f in scan_of(shop_pair, Side.MYSQL, allowed).findings if f.table == "products"}
    assert left == {"card", "national_id", "name"}


# --- killed -----------------------------------------------------------------------------------------------------------

RUN = """
import sys
from pathlib import Path
sys.path.insert(0, {project!r})
from contract.privacy import load_classes
from contract.flag import Side
from scripts.clients import mysql, postgres
from scripts.clients.secrets import Account
from scripts.console import Step
from scripts.data.inspect import mysql_tables
from scripts.environments.masked import Masked
from scripts.environments.masking import mask
account = Account({user!r}, {password!r})
my = lambda: mysql.connect({source!r}, 3306, account, {name!r})
pg = lambda: postgres.connect({target!r}, 5432, account, {name!r})
side = Side({side!r})
mask(Masked(side, my if side is Side.MYSQL else pg, mysql_tables(my(), {name!r}), batch=20),
     load_classes(Path({project!r}) / "data-classes.yaml"), {key!r}, Step("mask"))
"""


@pytest.mark.parametrize("side", SIDES)
def test_killed_and_run_again_it_ends_as_if_it_had_not_been(shop_pair: Pair, side: Side) -> None:
    pair = shop_pair
    unbroken = SIDES[1 - SIDES.index(side)]
    mask(target(pair, unbroken, described(pair)), SHOP, KEY, Step("mask"))
    code = RUN.format(
        project=str(PROJECT), user=ACCOUNT.username, password=ACCOUNT.password, source=pair.source, target=pair.target,
        name=pair.name, side=str(side), key=KEY,
    )  # fmt: skip
    process = subprocess.Popen([sys.executable, "-c", code], cwd=Path(PROJECT))
    try:
        seen = 0
        while seen < 60 and process.poll() is None:
            seen = rows_done(pair, side)
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
    finally:
        process.wait()
    done = rows_done(pair, side)
    assert 0 < done < 1_700, "it was to be killed midway"
    result = mask(target(pair, side, described(pair)), SHOP, KEY, Step("mask"))
    assert not result.already
    for table in described(pair):
        assert texts(pair, Side.MYSQL, table) == texts(pair, Side.AURORA, table)
    assert scan_of(pair, side, SHOP).ok


def rows_done(pair: Pair, side: Side) -> int:
    there = "SELECT 1 FROM information_schema.tables WHERE table_schema = 'zdm' AND table_name = 'masking_part'"
    run = pair.on_source if side is Side.MYSQL else pair.on_target
    if not run(there):
        return 0
    return int(run("SELECT COALESCE(SUM(row_count), 0) FROM zdm.masking_part")[0][0])
