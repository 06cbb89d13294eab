"""Random tables: any columns of the contract, any kind of key, any values, and another value for each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from hypothesis import strategies as st

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
LATIN = st.text(st.characters(codec="latin-1", min_codepoint=32, exclude_categories=["Cc"]), max_size=20)
MOMENT = st.datetimes(datetime(1000, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999))
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
).map(json.dumps)


def _decimals(digits: int, scale: int) -> st.SearchStrategy[Decimal]:
    def made(unscaled: int) -> Decimal:
        sign, text = ("-" if unscaled < 0 else ""), f"{abs(unscaled):0{scale + 1}d}"
        return Decimal(f"{sign}{text[:-scale]}.{text[-scale:]}" if scale else f"{sign}{text}")

    return st.integers(-(10**digits) + 1, 10**digits - 1).map(made)


@dataclass(frozen=True)
class Kind:
    """A declaration in MySQL, its values, and another value than the column has, in PostgreSQL's SQL over `{}`."""

    sql: str
    values: st.SearchStrategy[Any]
    other: str
    choice: str = ""


_TEXT_OTHER = "CASE {} WHEN '' THEN ' ' ELSE left({}, -1) || chr(ascii(right({}, 1)) # 1) END"
_NUMBER_OTHER = "CASE {} WHEN 7 THEN 8 ELSE 7 END"
_BYTES_OTHER = "CASE length({}) WHEN 0 THEN '\\x00'::bytea ELSE set_bit({}, 0, 1 - get_bit({}, 0)) END"
_MOMENT_OTHER = "{} - interval '1 microsecond'"

KINDS: Final[Sequence[Kind]] = (
    Kind("TINYINT", st.integers(-128, 127), _NUMBER_OTHER),
    Kind("TINYINT(1)", st.integers(0, 1), "NOT {}", "booleans"),
    Kind("SMALLINT UNSIGNED", st.integers(0, 2**16 - 1), _NUMBER_OTHER),
    Kind("MEDIUMINT", st.integers(-(2**23), 2**23 - 1), _NUMBER_OTHER),
    Kind("INT UNSIGNED ZEROFILL", st.integers(0, 2**32 - 1), _NUMBER_OTHER),
    Kind("BIGINT", st.integers(-(2**63), 2**63 - 1), _NUMBER_OTHER),
    Kind("BIGINT UNSIGNED", st.integers(0, 2**64 - 1), _NUMBER_OTHER),
    Kind("DECIMAL(65,30)", _decimals(65, 30), "CASE {} WHEN 1e-30 THEN 0 ELSE 1e-30 END"),
    Kind("DECIMAL(12,2)", _decimals(12, 2), _NUMBER_OTHER),
    Kind("FLOAT", st.floats(allow_nan=False, allow_infinity=False, width=32), _NUMBER_OTHER),
    Kind("DOUBLE", st.floats(allow_nan=False, allow_infinity=False), _NUMBER_OTHER),
    Kind("BIT(1)", st.integers(0, 1), "NOT {}"),
    Kind("BIT(13)", st.integers(0, 2**13 - 1), "set_bit({}, 12, 1 - get_bit({}, 12))"),
    Kind("YEAR", st.integers(1901, 2155), _NUMBER_OTHER),
    Kind("DATE", st.dates(datetime(1000, 1, 2).date()), "{} - 1"),
    Kind("DATETIME(6)", MOMENT, _MOMENT_OTHER),
    Kind("TIMESTAMP(6) NULL", st.datetimes(datetime(1970, 1, 2), datetime(2038, 1, 18)), _MOMENT_OTHER),
    Kind(
        "TIME(6)",
        st.integers(0, 86_399_999_999).map(lambda n: timedelta(microseconds=n)),
        "CASE {} WHEN '07:00' THEN '07:00:00.000001'::time ELSE '07:00' END",
    ),
    Kind(
        "TIME(6)",
        st.integers(-3_020_399_000_000, 3_020_399_000_000).map(lambda n: timedelta(microseconds=n)),
        _MOMENT_OTHER,
        "intervals",
    ),
    Kind("CHAR(20)", TEXT.map(lambda text: text.rstrip(" ")), _TEXT_OTHER),
    Kind("VARCHAR(20)", TEXT, _TEXT_OTHER),
    Kind("VARCHAR(20) CHARACTER SET latin1", LATIN, "CASE {} WHEN 'ü' THEN 'u' ELSE 'ü' END"),
    Kind("LONGTEXT", TEXT, _TEXT_OTHER),
    Kind("BINARY(4)", st.binary(min_size=4, max_size=4), _BYTES_OTHER),
    Kind("VARBINARY(20)", st.binary(max_size=20), _BYTES_OTHER),
    Kind("LONGBLOB", st.binary(max_size=50), _BYTES_OTHER),
    Kind("ENUM('a','ü','it''s')", st.sampled_from(["a", "ü", "it's"]), "CASE {} WHEN 'a' THEN 'ü' ELSE 'a' END"),
    Kind(
        "SET('x','y','z')",
        st.sets(st.sampled_from("xyz")).map(lambda members: ",".join(sorted(members))),
        "CASE {} WHEN 'x' THEN 'y' ELSE 'x' END",
    ),
    Kind("JSON", JSON, "jsonb_build_array({})"),
)

_LETTERS = st.characters(min_codepoint=33, max_codepoint=0x24F)

KEYS: Final[Sequence[Kind]] = (
    Kind("BIGINT UNSIGNED", st.integers(0, 2**64 - 1), ""),
    Kind("INT", st.integers(-(2**31), 2**31 - 1), ""),
    Kind("DECIMAL(12,2)", _decimals(12, 2), ""),
    Kind("DATETIME(6)", MOMENT, ""),
    Kind("VARBINARY(16)", st.binary(max_size=16), ""),
    Kind("VARCHAR(12) COLLATE utf8mb4_bin", st.text(_LETTERS, max_size=12), ""),
    Kind("VARCHAR(12) COLLATE utf8mb4_0900_as_cs", st.text("aAäÄzZ-_ 0%'\\", max_size=12), ""),
)


@dataclass(frozen=True)
class AnyTable:
    """A table's columns (the first `keys` are its primary key) and its rows."""

    columns: tuple[Kind, ...]
    keys: int
    rows: tuple[tuple[Any, ...], ...]

    @property
    def names(self) -> list[str]:
        return [f"c{i}" for i in range(len(self.columns))]

    def chosen(self, choice: str) -> list[str]:
        """The columns with a choice, as settings name them."""
        return [f"t.{name}" for name, kind in zip(self.names, self.columns, strict=True) if kind.choice == choice]

    @property
    def ddl(self) -> str:
        columns = ", ".join(
            f"{name} {kind.sql}{' NOT NULL' if i < self.keys else ''}"
            for i, (name, kind) in enumerate(zip(self.names, self.columns, strict=True))
        )
        return f"CREATE TABLE t ({columns}, PRIMARY KEY ({', '.join(self.names[: self.keys])}))"

    @property
    def insert(self) -> str:
        """Rows that MySQL takes for the same key are left out by it (`IGNORE`)."""
        return f"INSERT IGNORE INTO t VALUES ({', '.join(['%s'] * len(self.columns))})"


@st.composite
def any_tables(draw: st.DrawFn, least: int = 2, most: int = 8) -> AnyTable:
    """A table with one or two key columns, up to 6 others and some rows."""
    keys = draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=2))
    others = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=6))
    row = st.tuples(*(kind.values for kind in keys), *(st.none() | kind.values for kind in others))
    rows = draw(st.lists(row, min_size=least, max_size=most, unique_by=lambda row: row[: len(keys)]))
    return AnyTable((*keys, *others), len(keys), tuple(rows))
