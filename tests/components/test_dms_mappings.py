"""Table mappings of DMS: legal documents, made from the tables alone; what cannot be carried is refused at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.base import ArgumentError
from components.dms_mappings import CannotCarry, Partitions, Ranges, table_mappings
from contract.control import CARRIED
from contract.tables import Column, Table
from tests.json_schema import misfits

LEGAL = json.loads((Path(__file__).parent / "data/dms_table_mappings.schema.json").read_text())
BUSY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def column(table: str, name: str, full: str, **more: Any) -> Column:
    return Column(name, full.split("(")[0].split(" ")[0], full, table=table, **more)


ORDERS = Table(
    "order_items",
    (
        column("order_items", "id", "bigint unsigned", nullable=False),
        column("order_items", "paid", "tinyint(1)"),
        column("order_items", "amount", "decimal(12,2)", precision=12, scale=2),
        column("order_items", "place", "point"),
        column("order_items", "double_amount", "decimal(12,2)", generated="virtual", expression="(`amount` * 2)"),
        column("order_items", "note", "mediumtext"),
        column("order_items", "at", "datetime(6)", fraction=6),
    ),
    ("id",),
)
LOGS = Table(
    "logs",
    (column("logs", "day", "date", nullable=False), column("logs", "n", "int", nullable=False)),
    ("day", "n"),
    partitions=12,
)
FORWARD: dict[str, Any] = {"booleans": ["order_items.paid"], "excluded": ["order_items.place"]}


def rules(*tables: Table, **more: Any) -> list[dict[str, Any]]:
    document = json.loads(table_mappings("ecommerce", tables, **more).document)
    assert list(misfits(LEGAL, document)) == []
    made: list[dict[str, Any]] = document["rules"]
    assert [rule["rule-id"] for rule in made] == [str(i) for i in range(1, len(made) + 1)]
    return made


def of(made: list[dict[str, Any]], kind: str, action: str = "") -> list[dict[str, Any]]:
    return [rule for rule in made if rule["rule-type"] == kind and action in ("", rule.get("rule-action"))]


def test_tables_are_named_one_by_one_and_never_as_patterns() -> None:
    made = rules(ORDERS, LOGS, **FORWARD)
    chosen = [rule["object-locator"] for rule in of(made, "selection")]
    assert chosen == [
        {"schema-name": "ecommerce", "table-name": "logs"},
        {"schema-name": "ecommerce", "table-name": "order[_]items"},
        {"schema-name": "zdm", "table-name": "watermark"},
        {"schema-name": "zdm", "table-name": "idempotency"},
    ]


def test_the_schema_is_renamed_and_nothing_else() -> None:
    [rename] = of(rules(ORDERS, **FORWARD), "transformation", "rename")
    assert (rename["rule-target"], rename["object-locator"], rename["value"]) == (
        "schema",
        {"schema-name": "ecommerce"},
        "public",
    )
    [back] = of(rules(LOGS, direction="back"), "transformation", "rename")
    assert (back["object-locator"], back["value"]) == ({"schema-name": "public"}, "ecommerce")


def test_columns_are_changed_and_removed_by_the_contract() -> None:
    made = rules(ORDERS, **FORWARD)
    changed = {
        rule["object-locator"]["column-name"]: rule["data-type"]
        for rule in of(made, "transformation", "change-data-type")
    }
    assert changed == {"id": {"type": "numeric", "precision": 20, "scale": 0}, "paid": {"type": "boolean"}}
    removed = {rule["object-locator"]["column-name"] for rule in of(made, "transformation", "remove-column")}
    assert removed == {"place", "double[_]amount"}


def test_no_object_is_transformed_twice() -> None:
    made = of(rules(ORDERS, LOGS, **FORWARD), "transformation")
    targets = [(rule["rule-target"], json.dumps(rule["object-locator"])) for rule in made]
    assert len(targets) == len(set(targets))


def test_what_to_know_about_the_tables_is_told() -> None:
    made = table_mappings("ecommerce", [ORDERS, LOGS], **FORWARD)
    assert made.lobs
    assert made.cautions == ("order_items.at: the user guide promises milliseconds only",)
    assert not table_mappings("ecommerce", [LOGS]).lobs


def test_large_tables_are_cut_under_their_exact_names() -> None:
    made = rules(
        ORDERS, LOGS, **FORWARD, parallel={"order_items": Ranges(["id"], [["1000"], ["20000"]]), "logs": Partitions()}
    )
    assert [(rule["object-locator"]["table-name"], rule["parallel-load"]) for rule in of(made, "table-settings")] == [
        ("logs", {"type": "partitions-auto"}),
        ("order_items", {"type": "ranges", "columns": ["id"], "boundaries": [["1000"], ["20000"]]}),
    ]


def test_all_obstacles_are_named_at_once() -> None:
    bits = Table("flags", (column("flags", "b", "bit(4)", precision=4),), ())
    with pytest.raises(CannotCarry) as raised:
        table_mappings("ecommerce", [ORDERS, bits], parallel={"gone": Partitions()})
    text = str(raised.value)
    for part in ("flags.b bit(4)", "flags: no primary key", "order_items.place point", "gone: to be loaded"):
        assert part in text
    assert len(raised.value.obstacles) == 4


@pytest.mark.parametrize(
    ("table", "way", "message"),
    [
        (ORDERS, Partitions(), "order_items: to be loaded by its partitions, but has none"),
        (ORDERS, Ranges(["place"], [["1"]]), "order_items.place: to be cut by, but not carried"),
        (ORDERS, Ranges(["nowhere"], [["1"]]), "order_items.nowhere: to be cut by"),
        (ORDERS, Ranges(["note"], [["m"]]), "order_items.note mediumtext: ranges cannot be cut"),
        (ORDERS, Ranges(["amount"], [["5"]]), "order_items.amount: can be NULL"),
        (ORDERS, Ranges(["id"], [["20"], ["10"]]), "boundaries must ascend"),
        (ORDERS, Ranges(["id"], [["ten"]]), "boundaries must be numbers"),
        (Table("a%", (column("a%", "id", "int"),), ("id",)), None, "a%: AWS DMS takes % and"),
    ],
)
def test_a_cut_that_would_lose_rows_is_refused(table: Table, way: Any, message: str) -> None:
    with pytest.raises(CannotCarry, match=message):
        table_mappings("ecommerce", [table], **FORWARD, parallel={table.name: way} if way else {})


@pytest.mark.parametrize(
    ("columns", "boundaries", "message"),
    [
        ([], [["1"]], r"Ranges\.columns"),
        (["a", "a"], [["1", "2"]], r"Ranges\.columns: 1 to 10 different"),
        ([str(i) for i in range(11)], [["1"] * 11], r"Ranges\.columns"),
        (["a"], [], r"Ranges\.boundaries: at least one, each with 1"),
        (["a", "b"], [["1"]], r"Ranges\.boundaries: at least one, each with 2"),
    ],
)
def test_bad_ranges_are_refused(columns: list[str], boundaries: list[list[str]], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        Ranges(columns, boundaries)


KINDS = st.sampled_from(
    ["int", "bigint unsigned", "varchar(20)", "json", "datetime(6)", "mediumblob", "enum('a')", "year"]
)
NAMES = st.text("abc_ $XYZ9", min_size=1, max_size=12).filter(lambda name: name.strip() != "")


@BUSY
@given(
    st.dictionaries(NAMES, st.dictionaries(NAMES, KINDS, max_size=5), min_size=1, max_size=4),
    st.sampled_from(["forward", "back"]),
)
def test_documents_of_any_tables_are_legal(shape: dict[str, dict[str, str]], direction: Any) -> None:
    tables = [
        Table(
            name,
            (
                column(name, "the key", "bigint", nullable=False),
                *(
                    column(name, c, kind, values=("a",) if kind.startswith("enum") else ())
                    for c, kind in columns.items()
                ),
            ),
            ("the key",),
        )
        for name, columns in shape.items()
    ]
    made = rules(*tables, direction=direction)
    assert len(of(made, "selection")) == len(tables) + len(CARRIED)
    unsigned = sum(kind == "bigint unsigned" for columns in shape.values() for kind in columns.values())
    assert len(of(made, "transformation", "change-data-type")) == (unsigned if direction == "forward" else 0)
