"""Random values of every type are the same in both databases: by hash, by row, and in Python's canonical text."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.data import check
from scripts.data.compare import compare_keys, rules_of, source_rows, target_rows
from scripts.data.inspect import mysql_tables
from scripts.errors import UsageError
from tests.data.conftest import Pair

pytestmark = pytest.mark.real

LATIN = st.text(st.characters(codec="latin-1", min_codepoint=160), max_size=20)
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
MOMENT = st.datetimes(datetime(1000, 1, 1), datetime(9999, 12, 31))
TYPES: dict[str, tuple[str, st.SearchStrategy[Any]]] = {
    "t1": ("TINYINT(1)", st.integers(-128, 127)),
    "flag": ("TINYINT(1)", st.integers(0, 1)),
    "tu": ("TINYINT UNSIGNED", st.integers(0, 255)),
    "mu": ("MEDIUMINT UNSIGNED", st.integers(0, 2**24 - 1)),
    "iu": ("INT UNSIGNED", st.integers(0, 2**32 - 1)),
    "b": ("BIGINT", st.integers(-(2**63), 2**63 - 1)),
    "bu": ("BIGINT UNSIGNED", st.integers(0, 2**64 - 1)),
    "dec1": ("DECIMAL(65,30)", st.integers(-(10**65) + 1, 10**65 - 1).map(lambda n: _decimal(n, 30))),
    "dec2": ("DECIMAL(12,2)", st.integers(-(10**12) + 1, 10**12 - 1).map(lambda n: _decimal(n, 2))),
    "db": ("DOUBLE", st.floats(allow_nan=False, allow_infinity=False)),
    "money": ("DOUBLE", st.integers(-(10**9), 10**9).map(lambda n: n / 100)),
    "f": ("FLOAT", st.floats(-(2.0**127), 2.0**127, width=32)),
    "d": ("DATE", st.dates(datetime(1000, 1, 1).date())),
    "dt": ("DATETIME(6)", MOMENT),
    "ts": ("TIMESTAMP(6) NULL", st.datetimes(datetime(1970, 1, 2), datetime(2038, 1, 18))),
    "tm": ("TIME(6)", st.integers(0, 86_399_999_999).map(lambda n: timedelta(microseconds=n))),
    "y": ("YEAR", st.integers(1901, 2155)),
    "bit1": ("BIT(1)", st.integers(0, 1)),
    "bit40": ("BIT(40)", st.integers(0, 2**40 - 1)),
    "e": ("ENUM('a','ü','it''s')", st.sampled_from(["a", "ü", "it's"])),
    "s": ("SET('x','y','z')", st.sets(st.sampled_from("xyz")).map(lambda members: ",".join(sorted(members)))),
    "c": ("CHAR(20)", TEXT.map(lambda text: text.rstrip(" "))),
    "v": ("VARCHAR(20)", TEXT),
    "latin": ("VARCHAR(20) CHARACTER SET latin1", LATIN),
    "txt": ("LONGTEXT", TEXT),
    "vb": ("VARBINARY(20)", st.binary(max_size=20)),
    "bin": ("BINARY(4)", st.binary(min_size=4, max_size=4)),
    "bl": ("BLOB", st.binary(max_size=50)),
}  # fmt: skip
ROW = st.fixed_dictionaries({name: st.none() | values for name, (_, values) in TYPES.items()})
LOOSE = {"db", "f"}
"""Very large and very small numbers are written differently: there only the comparison of rows tells."""


def _decimal(unscaled: int, scale: int) -> Decimal:
    sign, digits = ("-" if unscaled < 0 else ""), f"{abs(unscaled):0{scale + 1}d}"
    return Decimal(f"{sign}{digits[:-scale]}.{digits[-scale:]}")


@pytest.fixture
def typed(pair: Pair) -> Pair:
    columns = ", ".join(f"`{name}` {kind}" for name, (kind, _) in TYPES.items())
    pair.on_source(f"CREATE TABLE t (id BIGINT UNSIGNED PRIMARY KEY, {columns})")
    pair.booleans = ["t.flag"]
    pair.copied_by = "debezium"  # as the driver reads FLOATs: what MySQL prints
    pair.make_tables()
    return pair


@given(rows=st.lists(ROW, min_size=1, max_size=8))
@settings(settings.get_profile("databases"))
def test_values_are_the_same_on_both_sides(typed: Pair, rows: list[dict[str, Any]]) -> None:
    with typed.mysql() as my, typed.postgres() as pg:
        table = mysql_tables(my, typed.name)[0]
        with my.cursor() as cursor:
            cursor.execute("DELETE FROM t")
            names = ", ".join(f"`{name}`" for name in ("id", *TYPES))
            marks = ", ".join(["%s"] * (len(TYPES) + 1))
            values = [(i, *(row[name] for name in TYPES)) for i, row in enumerate(rows)]
            cursor.executemany(f"INSERT INTO t ({names}) VALUES ({marks})", values)
        typed.copy([table])
        assert compare_keys(my, pg, table, [(i,) for i in range(len(rows))], typed.pipeline.choices) == []

        rules = rules_of(table, typed.pipeline.choices)
        keys = [(str(i),) for i in range(len(rows))]
        source, target = source_rows(my, rules, keys), target_rows(pg, rules, keys)
        for i, row in enumerate(rows):
            for (column, rule), here, there in zip(rules.columns, source[str(i),], target[str(i),], strict=True):
                if column.name in LOOSE:
                    continue
                assert here == there, column
                if column.name not in ("id", "bl") and row[column.name] is not None:
                    assert rule.canonical(row[column.name]) == here, column

        changed = {key for key in keys if source[key] != target[key]}
        (by_hash,), _, _ = check.check_tables(typed, my, pg, [rules], patience=0.0, method="hash")
        assert (by_hash.differences, by_hash.suspects) == (0, len(changed))
        (by_stream,), _, _ = check.check_tables(typed, my, pg, [rules], patience=0.0, method="stream")
        assert (by_stream.differences, by_stream.suspects) == (0, 0)


def test_doubles_of_any_length_have_one_text(pair: Pair) -> None:
    """Those of 17 digits with a sign and an exponent have 23 and 24 characters."""
    doubles = [
        *(-2.4194212198912042e-20, -1.2345678901234567e-10, 1.2345678901234567e-5, -1.7976931348623157e308, 1e22),
        -3.2320524250799073e-35,
    ]
    floats = [-2.4194212198912042e-20, -3.4028234663852886e38, 1.401298464324817e-45, 16777217.0, 0.1, -3.2320524e-35]
    rows = ", ".join(f"({i}, {d!r}, {f!r})" for i, (d, f) in enumerate(zip(doubles, floats, strict=True)))
    pair.on_source("CREATE TABLE t (id INT PRIMARY KEY, d DOUBLE, f FLOAT)", f"INSERT INTO t VALUES {rows}")
    table = pair.make_tables()[0]
    pair.on_target(f"INSERT INTO t VALUES {rows}")
    with pair.mysql() as my, pair.postgres() as pg:
        assert compare_keys(my, pg, table, [(i,) for i in range(len(doubles))]) == []
        rules = rules_of(table)
        keys = [(str(i),) for i in range(len(doubles))]
        assert source_rows(my, rules, keys) == target_rows(pg, rules, keys)


def test_only_an_escaped_nul_in_json_is_refused(pair: Pair) -> None:
    pair.on_source(
        "CREATE TABLE t (id INT PRIMARY KEY, j JSON)",
        r"""INSERT INTO t VALUES (1, '"\\\\u0000"'), (2, '"\\\\\\\\u0000"'), (3, '"u0000"'), (4, '"x"')""",
    )
    assert pair.on_source("SELECT COUNT(*) FROM t WHERE LOCATE('u0000', CAST(j AS CHAR)) > 0") == [(3,)]
    pair.make_tables()
    pair.on_source(r"""INSERT INTO t VALUES (5, '"a\\u0000"'), (6, '"\\\\\\u0000"')""")
    with pytest.raises(UsageError, match="2 rows hold U\\+0000"):
        pair.make_tables()


def test_an_enum_whose_members_the_catalog_does_not_show_is_refused(pair: Pair) -> None:
    pair.on_source("CREATE TABLE t (id INT PRIMARY KEY, e ENUM('😀','b'))", "INSERT INTO t VALUES (1, '😀')")
    with pytest.raises(UsageError, match=r"t\.e: .*shows emoji as \?"):
        pair.make_tables()
