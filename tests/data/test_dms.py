"""AWS DMS for schemas that a real MySQL describes: what it can carry, and what it names as its obstacle."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from components.dms_mappings import CannotCarry, table_mappings
from contract.control import CARRIED
from contract.dms import Demands
from contract.tables import Table
from scripts.data.inspect import mysql_tables
from scripts.rehearsal import shop
from tests.data.conftest import Pair
from tests.json_schema import misfits

pytestmark = pytest.mark.real

LEGAL = json.loads((Path(__file__).parents[1] / "components/data/dms_table_mappings.schema.json").read_text())


def described(pair: Pair) -> list[Table]:
    with pair.mysql() as mysql:
        return mysql_tables(mysql, pair.name)


def test_the_shop_needs_two_constraints_dropped_and_one_column_left_out(pair: Pair) -> None:
    pair.on_source(*shop.DDL.values())
    tables = described(pair)
    with pytest.raises(CannotCarry) as raised:
        table_mappings(pair.name, tables, booleans=shop.BOOLEANS)
    assert {obstacle.split(" ")[0] for obstacle in raised.value.obstacles} == {
        "carts.items",
        "outbox.payload",
        "products.shipping",
    }
    made = table_mappings(
        pair.name,
        tables,
        booleans=shop.BOOLEANS,
        excluded=["products.shipping"],
        demands=Demands(validated=True, relaxed=frozenset(["carts.items", "outbox.payload"])),
    )
    assert made.lobs
    rules = json.loads(made.document)["rules"]
    assert list(misfits(LEGAL, {"rules": rules})) == []
    assert sum(rule["rule-type"] == "selection" for rule in rules) == len(tables) + len(CARRIED)
    changed = {
        ".".join(rule["object-locator"][part].replace("[_]", "_") for part in ("table-name", "column-name"))
        for rule in rules
        if rule.get("rule-action") == "change-data-type"
    }
    unsigned = {c.path for t in tables for c in t.columns if c.type == "bigint" and c.unsigned and not c.generated}
    assert changed == unsigned | set(shop.BOOLEANS)


def test_the_way_back_names_what_it_would_get_wrong(pair: Pair) -> None:
    pair.on_source(*shop.DDL.values())
    with pytest.raises(CannotCarry) as raised:
        table_mappings(pair.name, described(pair), booleans=shop.BOOLEANS, direction="back")
    named = "\n".join(raised.value.obstacles)
    for path in shop.BOOLEANS:
        assert f"{path} tinyint(1): AWS DMS cannot carry it: boolean travels as text" in named
