"""The type contract in the words of AWS DMS: every type has a rule or a named refusal, in both directions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contract.dms import Demands, dms_rule, travel
from contract.tables import Column, Key, KeyPart, Table, dump_tables, load_tables
from contract.types import Unsupported, rule_for

BUSY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
MAPPINGS = json.loads((Path(__file__).parents[1] / "components/data/dms_table_mappings.schema.json").read_text())
CHANGE = next(
    form["properties"]["data-type"]["properties"]["type"]["enum"]
    for form in MAPPINGS["properties"]["rules"]["items"]["anyOf"]
    if form["properties"]["rule-action" if "rule-action" in form["properties"] else "rule-type"]
    == {"enum": ["change-data-type"]}
)
"""DMS's data types as the list of legal mappings has them."""

LOB = "LOB"


def column(name: str, full: str, **more: Any) -> Column:
    more.setdefault("table", "t")
    return Column(name, full.split("(")[0].split(" ")[0], full, **more)


# Every type that the contract knows: declared as, DMS's type and whether it is a LOB, forward and back.
TYPES: list[tuple[Column, str, str]] = [
    (column("c", "tinyint"), "INT1", "INT2"),
    (column("c", "tinyint unsigned"), "UINT1", "INT2"),
    (column("c", "smallint"), "INT2", "INT2"),
    (column("c", "smallint unsigned"), "UINT2", "INT4"),
    (column("c", "mediumint"), "INT4", "INT4"),
    (column("c", "mediumint unsigned"), "UINT4", "INT4"),
    (column("c", "int"), "INT4", "INT4"),
    (column("c", "int unsigned"), "UINT4", "INT8"),
    (column("c", "bigint"), "INT8", "INT8"),
    (column("c", "bigint unsigned"), "NUMERIC", "NUMERIC"),
    (column("c", "decimal(12,2)", precision=12, scale=2), "NUMERIC", "NUMERIC"),
    (column("c", "float"), "REAL8", "REAL4"),
    (column("c", "double"), "REAL8", "REAL8"),
    (column("c", "char(3)", length=3), "WSTRING", "WSTRING"),
    (column("c", "varchar(200)", length=200), "WSTRING", "WSTRING"),
    (column("c", "tinytext"), "WSTRING", "NCLOB LOB"),
    (column("c", "text"), "WSTRING", "NCLOB LOB"),
    (column("c", "mediumtext"), "NCLOB LOB", "NCLOB LOB"),
    (column("c", "longtext"), "NCLOB LOB", "NCLOB LOB"),
    (column("c", "binary(16)", length=16), "BYTES", "BLOB LOB"),
    (column("c", "varbinary(20)", length=20), "BYTES", "BLOB LOB"),
    (column("c", "tinyblob"), "BYTES", "BLOB LOB"),
    (column("c", "blob"), "BYTES", "BLOB LOB"),
    (column("c", "mediumblob"), "BLOB LOB", "BLOB LOB"),
    (column("c", "longblob"), "BLOB LOB", "BLOB LOB"),
    (column("c", "enum('a','b')", values=("a", "b")), "WSTRING", "NCLOB LOB"),
    (column("c", "set('a','b')", values=("a", "b")), "WSTRING", "NCLOB LOB"),
    (column("c", "json"), "CLOB LOB", "NCLOB LOB"),
    (column("c", "year"), "INT2", "INT2"),
    (column("c", "date"), "DATE", "DATE"),
    (column("c", "datetime"), "DATETIME", "DATETIME"),
    (column("c", "timestamp"), "DATETIME", "DATETIME"),
    (column("c", "time"), "STRING", "TIME"),
    (column("c", "bit(1)", precision=1), "BOOLEAN", "refused"),
    (column("c", "bit(8)", precision=8), "refused", "refused"),
    (column("c", "decimal(65,30)", precision=65, scale=30), "refused", "refused"),
    (column("c", "point"), "refused", "refused"),
]


def told(given: Column, direction: Any, booleans: tuple[str, ...] = ()) -> str:
    try:
        rule = dms_rule(given, booleans, direction)
    except Unsupported as error:
        assert str(error).startswith(f"t.c {given.full_type}: ")
        return "refused"
    return f"{rule.type} {LOB}" if rule.lob else rule.type


@pytest.mark.parametrize(("given", "forward", "back"), TYPES, ids=lambda v: v.full_type if isinstance(v, Column) else v)
def test_every_type_travels_by_its_rule_or_is_refused_by_name(given: Column, forward: str, back: str) -> None:
    assert (told(given, "forward"), told(given, "back")) == (forward, back)


def test_every_type_of_the_contract_is_in_the_list_above() -> None:
    from contract import types

    known = {*types._INTEGERS, *types._TEXTS, *types._BLOBS}
    known |= {"decimal", "float", "double", "bit", "char", "varchar", "binary", "varbinary", "enum", "set", "json"}
    known |= {"date", "datetime", "timestamp", "time", "year"}
    for kind in known:
        rule_for(Column("c", kind, kind, values=("a",), table="t"))
    assert known <= {given.type for given, *_ in TYPES}


def test_only_what_would_be_lost_is_changed() -> None:
    changed = {given.full_type: dms_rule(given).change for given, forward, _ in TYPES if forward != "refused"}
    assert {kind: change for kind, change in changed.items() if change} == {
        "bigint unsigned": {"type": "numeric", "precision": 20, "scale": 0}
    }
    flag = column("c", "tinyint(1)")
    assert dms_rule(flag).change is None
    assert dms_rule(flag, ["t.c"]).change == {"type": "boolean"}
    assert told(flag, "back", ("t.c",)) == "refused", "DMS reads a boolean as the text false or true"
    assert {rule.type.lower() for given, *_ in TYPES if (rule := attempt(given))} <= set(CHANGE)


def attempt(given: Column) -> Any:
    try:
        return dms_rule(given)
    except Unsupported:
        return None


def test_what_the_user_guide_does_not_promise_is_said() -> None:
    assert dms_rule(column("c", "datetime(3)", fraction=3)).caution == ""
    assert "milliseconds" in dms_rule(column("c", "datetime(6)", fraction=6)).caution
    assert "milliseconds" in dms_rule(column("c", "timestamp(6)", fraction=6), (), "back").caution
    assert "text" in dms_rule(column("c", "time")).caution
    assert dms_rule(column("c", "time"), intervals=["t.c"]).caution.endswith("read as interval")
    with pytest.raises(Unsupported, match=r"t\.c time: AWS DMS cannot carry it: an interval travels as words"):
        dms_rule(column("c", "time"), (), "back", ["t.c"])


# --- tables -----------------------------------------------------------------------------------------------------------


def table(*columns: Column, keys: tuple[Key, ...] = (), primary_key: tuple[str, ...] = ("id",)) -> Table:
    return Table("t", (column("id", "bigint", nullable=False), *columns), primary_key, keys)


def test_generated_and_excluded_columns_are_removed() -> None:
    made = table(
        column("n", "int"),
        column("twice", "int", generated="stored", expression="(`n` * 2)"),
        column("place", "point"),
    )
    forward = travel(made, excluded=["t.place"])
    assert (forward.removed, forward.obstacles) == (("twice", "place"), ())
    assert set(forward.carried) == {"id", "n"}
    assert travel(made, excluded=["t.place"], direction="back").removed == ("twice",), "the other was never made"


@pytest.mark.parametrize(
    ("made", "demands", "message"),
    [
        (table(primary_key=()), Demands(), "t: no primary key"),
        (table(column("doc", "json", nullable=False)), Demands(), "t.doc json: a LOB .* NOT NULL"),
        (
            Table("t", (column("doc", "longtext", nullable=False),), ("doc",)),
            Demands(),
            "t.doc longtext: a LOB to AWS DMS, which cannot be part of a key",
        ),
        (table(column("n-1", "bigint unsigned")), Demands(), "t.n-1: AWS DMS cannot transform"),
        (
            Table("t", (column("id", "binary(16)", nullable=False, length=16),), ("id",)),
            Demands(validated=True),
            "t.id binary.16.: AWS DMS validates no row by a binary key",
        ),
        (
            Table("t", (column("id", "varchar(1024)", nullable=False, length=1024),), ("id",)),
            Demands(validated=True),
            "t.id varchar.1024.: AWS DMS validates by keys up to 1023",
        ),
        (
            table(column("mail", "varchar(9)", length=9), keys=(Key("mail", (KeyPart("mail"),), unique=True),)),
            Demands(batched=True),
            "t: AWS DMS applies no batches to a table with a unique key .mail.",
        ),
    ],
)
def test_a_table_that_dms_cannot_carry_is_refused_with_the_reason(made: Table, demands: Demands, message: str) -> None:
    import re

    obstacles = travel(made, demands=demands).obstacles
    assert len(obstacles) == 1
    assert re.match(message, obstacles[0]), obstacles


def test_demands_that_are_not_made_refuse_nothing() -> None:
    made = Table(
        "t", (column("id", "binary(16)", nullable=False, length=16), column("doc", "json", nullable=False)), ("id",)
    )
    assert travel(made, demands=Demands(relaxed=frozenset(["t.doc"]))).obstacles == ()
    assert travel(made, demands=Demands(relaxed=frozenset(["t.doc"]))).lobs == 1


@BUSY
@given(st.lists(st.sampled_from(TYPES), min_size=1, max_size=6), st.booleans(), st.sampled_from(["forward", "back"]))
def test_every_column_is_carried_removed_or_refused(
    chosen: list[tuple[Column, str, str]], nullable: bool, direction: Any
) -> None:
    from dataclasses import replace

    columns = [replace(c, name=f"c{i}", nullable=nullable) for i, (c, *_) in enumerate(chosen)]
    found = travel(table(*columns), direction=direction)
    for made in columns:
        refused = any(o.startswith(f"t.{made.name} ") for o in found.obstacles)
        lob = made.name in found.carried and found.carried[made.name].lob
        assert (made.name in found.carried) == (not refused or lob)
        assert refused or made.name in found.carried
        if lob:
            assert refused == (not nullable)


def test_the_description_of_tables_survives_being_written() -> None:
    tables = (table(column("e", "enum('a')", values=("a",)), keys=(Key("k", (KeyPart("e", 3),)),)),)
    assert load_tables(dump_tables(tables)) == tables
    with pytest.raises(ValueError, match="full_type"):
        load_tables('[{"name": "t", "columns": [{"name": "a", "type": "int"}]}]')
