"""Each single change is found, by either method and whatever the key; what is no change is not."""

from __future__ import annotations

from typing import Any

import pytest

from scripts.data import check
from scripts.data.check_result import CheckResult
from scripts.data.difference import Key
from scripts.data.inspect import mysql_tables
from scripts.data.rules import rules_of
from tests.data.conftest import Pair

pytestmark = pytest.mark.real

ROWS = 60
KEYS = {
    "number": ("id INT, PRIMARY KEY (id)", "i"),
    "composite": ("k SMALLINT UNSIGNED, d DATE, PRIMARY KEY (k, d)", "i DIV 7, '2024-01-01' + INTERVAL i DAY"),
    "decimal": ("d DECIMAL(20,6), PRIMARY KEY (d)", "(i - 30) / 7"),
    "binary": ("u BINARY(16), PRIMARY KEY (u)", "UNHEX(LEFT(SHA2(i, 256), 32))"),
    "moment": ("t DATETIME(6), PRIMARY KEY (t)", "'2024-01-01' + INTERVAL i * 1000003 MICROSECOND"),
    "bits": ("k BIT(12), PRIMARY KEY (k)", "i"),
    "uuid": ("u CHAR(36), PRIMARY KEY (u)", "CONCAT(LEFT(SHA2(i, 256), 8), '-0000-4000-8000-000000000000')"),
    "text": (
        "w VARCHAR(40) COLLATE utf8mb4_0900_ai_ci, k INT, PRIMARY KEY (w, k)",
        "CONCAT(ELT(1 + i % 7, 'a', 'B', 'Ä', '😀', ' ', 'ß', 'z '), IF(i % 2, 'x', 'X')), i",
    ),
    "enum": ("e ENUM('z','a','é'), k INT, PRIMARY KEY (e, k)", "1 + i % 3, i"),
    "double": ("y DOUBLE, PRIMARY KEY (y)", "i / 3e0"),
    "blob": ("b VARBINARY(20), c BLOB, PRIMARY KEY (b, c(20))", "UNHEX(LEFT(SHA2(i, 256), 8)), UNHEX(HEX(i))"),
}
COLUMNS = (
    "name VARCHAR(60), other VARCHAR(60), long_text LONGTEXT, bi VARBINARY(32), n DECIMAL(30,10), x DOUBLE, f FLOAT, "
    "moment DATETIME(6), stamp TIMESTAMP(6) NULL, j JSON, bit1 BIT(1), bit9 BIT(9)"
)
ROW = (
    "CONCAT('name ', i), CONCAT('other ', i), CONCAT('long ', REPEAT('text ', i)), UNHEX(SHA2(i, 256)), i / 7, "
    "i / 3e0, i / 4e0, '2024-02-29 12:00:00' + INTERVAL i MICROSECOND, '2024-02-29 12:00:00.5', "
    "JSON_OBJECT('a', i, 'long', JSON_ARRAY(1.5, '😀', NULL)), i % 2, i"
)
CHANGES = {
    "bi = set_bit(bi, 7, 1 - get_bit(bi, 7))": ["bi"],
    "bit9 = set_bit(bit9, 8, 1 - get_bit(bit9, 8))": ["bit9"],
    "bit1 = NOT bit1": ["bit1"],
    "name = name || ' '": ["name"],
    "name = replace(name, ' ', '  ')": ["name"],
    "name = replace(name, ' ', U&'\\00A0')": ["name"],
    "name = upper(name)": ["name"],
    "name = name || U&'\\0301'": ["name"],
    "name = ''": ["name"],
    "name = NULL": ["name"],
    "name = other, other = name": ["name", "other"],
    "long_text = overlay(long_text placing 'X' from length(long_text) - 1)": ["long_text"],
    "n = n + 0.0000000001": ["n"],
    "moment = moment + interval '1 microsecond'": ["moment"],
    "stamp = stamp - interval '1 microsecond'": ["stamp"],
    "x = x * (1 + 2.3e-16::float8)": ["x"],
    "f = (f::float8 * (1 + 1.2e-7))::real": ["f"],
    "j = jsonb_set(j, '{a}', '-1')": ["j"],
    "j = j - 'a'": ["j"],
    "j = j || '{\"b\": null}'": ["j"],
    "j = jsonb_set(j, '{long,0}', '\"1.5\"')": ["j"],
}
"""What is changed on the target, in one row each, and which columns must be told."""


@pytest.fixture(params=list(KEYS))
def keyed(request: pytest.FixtureRequest, pair: Pair) -> Pair:
    columns, key = KEYS[request.param]
    pair.on_source(
        f"CREATE TABLE t ({COLUMNS}, {columns})",
        f"INSERT INTO t WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < {ROWS}) "
        f"SELECT {ROW}, {key} FROM s",
    )
    pair.copy(pair.make_tables())
    return pair


def keys_of(pair: Pair) -> dict[str, Key]:
    """By `name`."""
    with pair.mysql() as my:
        rules = rules_of(mysql_tables(my, pair.name)[0])
    texts = ", ".join(rule.mysql_text.format(f"`{column.name}`") for column, rule in rules.key)
    rows = pair.on_source(f"SELECT name, {texts} FROM t")
    return {row[0]: tuple(t.decode() if isinstance(t, bytes) else t for t in row[1:]) for row in rows}


def run(pair: Pair, method: Any, **options: Any) -> CheckResult:
    return check.run(
        pair, console=pair.console, method=method, patience=0, chunk=25, connections=1, **options
    )  # type: ignore[arg-type]


def test_each_change_is_found(keyed: Pair) -> None:
    keys = keys_of(keyed)
    for method in ("stream", "hash"):
        assert run(keyed, method).verdict == "equal"
    keyed.on_target("UPDATE t SET x = 0, f = 0 WHERE name = 'name 60'", "UPDATE t SET x = -x, f = -f WHERE x = 0")
    keyed.on_source("UPDATE t SET x = 0, f = 0 WHERE name = 'name 60'")
    keyed.on_target("""UPDATE t SET j = '{"long": [1.50, "😀", null], "a": 5.90e1}' WHERE name = 'name 59'""")
    for method in ("stream", "hash"):
        assert run(keyed, method).verdict == "equal", "minus zero, and another spelling of JSON, are no difference"

    expected = {}
    for i, (change, columns) in enumerate(CHANGES.items(), start=1):
        expected[keys[f"name {i}"]] = ("changed", columns)
        keyed.on_target(f"UPDATE t SET {change} WHERE name = 'name {i}'")
    keyed.on_target(
        "UPDATE t SET n = y.n FROM (SELECT name, n FROM t) y "
        "WHERE (t.name, y.name) IN (('name 40', 'name 41'), ('name 41', 'name 40'))",
        "DELETE FROM t WHERE name = 'name 50'",
    )
    keyed.on_source("DELETE FROM t WHERE name = 'name 51'")
    expected |= {
        keys["name 40"]: ("changed", ["n"]),
        keys["name 41"]: ("changed", ["n"]),
        keys["name 50"]: ("missing", []),
        keys["name 51"]: ("extra", []),
    }
    for method in ("stream", "hash"):
        result = run(keyed, method)
        assert {d.key: (d.kind, [c.column for c in d.columns]) for d in result.differences} == expected, method
        assert (result.tables[0].source_rows, result.tables[0].target_rows) == (ROWS - 1, ROWS - 1)
