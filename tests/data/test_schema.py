"""The target's schema: made in stages, only what is missing, refused by name where there is no rule."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from contract.tables import load_tables
from scripts.data import describe, schema
from scripts.data.inspect import excluded_columns, mysql_tables, without_unsupported
from scripts.data.schema import identifier, set_sequences
from scripts.errors import UsageError, ZdmError
from scripts.rehearsal import shop
from tests.data.conftest import Pair

pytestmark = pytest.mark.real


def run(pair: Pair, stage: schema.Stage = "tables", **options: bool) -> schema.SchemaResult:
    return schema.run(pair, stage=stage, console=pair.console, **options)  # type: ignore[arg-type]


@pytest.fixture
def shops(pair: Pair) -> Pair:
    pair.on_source(*shop.DDL.values())
    pair.booleans = list(shop.BOOLEANS)
    return pair


def test_the_shop_is_made_in_three_stages_and_each_only_once(shops: Pair) -> None:
    assert run(shops, dry_run=True).changes
    assert shops.on_target("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]
    for stage in schema.STAGES:
        assert run(shops, stage).changes
        assert run(shops, stage).changes == []
    assert len(shops.on_target("SELECT 1 FROM pg_tables WHERE schemaname = 'public'")) == len(shop.TABLES)
    assert shops.on_target("SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND convalidated") == [(8,)]
    shops.on_target("DROP INDEX orders_client_ref", "DROP TABLE refunds")
    assert [c.what for c in run(shops).changes] == ["table refunds"]
    assert [c.what for c in run(shops, "indexes").changes] == ["index orders_client_ref", "index refunds_payment"]


def test_the_source_is_described_in_a_file(shops: Pair, tmp_path: Path) -> None:
    file = tmp_path / "new" / "schema.json"
    result = describe.run(shops, file=file, console=shops.console)  # type: ignore[arg-type]
    with shops.mysql() as mysql:
        assert load_tables(file.read_text()) == tuple(mysql_tables(mysql, shops.name))
    assert set(result.tables) == set(shop.TABLES)


def test_values_a_row_gets_by_itself(shops: Pair) -> None:
    run(shops)
    row = "INSERT INTO customers (email, full_name, password_hash) VALUES ('{}', 'n', '') "
    row += "RETURNING id, is_active, updated_at"
    ((first, active, stamped),) = shops.on_target(row.format("a"))
    assert (first, active) == (1, True)
    shops.on_target("INSERT INTO customers (id, email, full_name, password_hash) VALUES (41, 'b', 'n', '')")
    with shops.postgres() as pg, shops.mysql() as my:
        values = set_sequences(pg, mysql_tables(my, shops.name), margin=100)
    assert values["customers.id"] == 142
    assert shops.on_target(row.format("c"))[0][0] == 142
    after = shops.on_target("UPDATE customers SET full_name = 'm' WHERE id = 1 RETURNING updated_at")[0][0]
    assert after > stamped
    kept = shops.on_target("UPDATE customers SET full_name = 'm' WHERE id = 1 RETURNING updated_at")[0][0]
    assert kept == after
    run(shops, "constraints")
    with pytest.raises(psycopg.errors.CheckViolation):
        shops.on_target("UPDATE customers SET tier = 'wood'")


def test_a_unique_key_without_regard_to_case(shops: Pair) -> None:
    run(shops)
    insert = "INSERT INTO customers (email, full_name, password_hash) VALUES ('{}', 'n', '')"
    shops.on_target(insert.format("a@x"), insert.format("A@x"))
    with pytest.raises(ZdmError, match=r"index customers_email: 2 rows have 'a@x'"):
        run(shops, "constraints")
    shops.on_target("DELETE FROM customers WHERE email = 'A@x'")
    run(shops, "constraints")
    with pytest.raises(psycopg.errors.UniqueViolation):
        shops.on_target(insert.format("A@X"))


def test_everything_without_a_rule_is_named_at_once(pair: Pair) -> None:
    pair.on_source(
        "CREATE TABLE a (id INT PRIMARY KEY, g POINT NOT NULL SRID 0, v VECTOR(3), t TEXT, FULLTEXT KEY ft (t), "
        "SPATIAL KEY sp (g), up VARCHAR(64) AS (sha2(t, 256)) VIRTUAL, n INT AS (id * 2 + 1) STORED, "
        "CONSTRAINT positive CHECK (id > 0), CONSTRAINT odd CHECK (t LIKE 'x%'), u CHAR(32) DEFAULT (hex('x')))",
        "CREATE TABLE b (x INT)",
        "CREATE VIEW w AS SELECT 1 AS one",
        "CREATE TRIGGER tr BEFORE INSERT ON a FOR EACH ROW SET NEW.t = 'x'",
        "CREATE PROCEDURE p() SELECT 1",
        "CREATE EVENT ev ON SCHEDULE EVERY 1 DAY DO SELECT 1",
    )
    with pytest.raises(UsageError) as refused:
        run(pair)
    for name in ("type a.g", "type a.v", "index a.ft", "index a.sp", "generated column a.up", "table b", "view w",
                 "trigger a.tr", "procedure p", "event ev", "check a.odd", "default a.u"):  # fmt: skip
        assert f"  {name}:" in str(refused.value), name
    assert pair.on_target("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]

    for stage in schema.STAGES:
        run(pair, stage, skip_unsupported=True)
    with pair.mysql() as my:
        tables = mysql_tables(my, pair.name)
    assert [t.name for t in without_unsupported(tables)] == ["a"]
    assert excluded_columns(tables) == ["a.g", "a.v", "a.up", "a.n"]
    assert pair.on_target("INSERT INTO a (id, t) VALUES (5, 'y') RETURNING n, u") == [(11, None)]
    with pytest.raises(psycopg.errors.CheckViolation):
        pair.on_target("INSERT INTO a (id) VALUES (-5)")


def test_values_that_cannot_move_are_named_and_counted(pair: Pair) -> None:
    pair.on_source(
        "SET sql_mode = ''",
        "CREATE TABLE v "
        "(id INT PRIMARY KEY, d DATE NOT NULL, tm TIME, t TEXT, e ENUM('a'), j JSON, b TINYINT(1), f FLOAT)",
        "INSERT INTO v VALUES (1, '0000-00-00', '-01:00:00', 'x\\0y', 'wrong', '\"\\\\u0000\"', 2, 16777217),"
        "(2, '2024-00-01', '25:00:00', '', 'a', '\"x\"', 1, 1.5),"
        "(3, '2024-01-01', '23:59:59', 'x', 'a', '[]', 0, 0.1)",
    )
    pair.booleans = ["v.b"]
    pair.copied_by = "debezium"
    with pytest.raises(UsageError) as refused:
        run(pair, skip_unsupported=True)
    counted = {line.split(":")[0].split(".")[1]: line.split()[2] for line in str(refused.value).splitlines()[1:]}
    assert counted == {"d": "2", "tm": "2", "t": "1", "e": "1", "j": "1", "b": "1"}
    pair.on_source("DELETE FROM v WHERE id IN (1, 2)", "INSERT INTO v (id, d, f) VALUES (4, '2024-01-01', 16777217)")
    assert [w.name == "v.f" and not w.blocking for w in run(pair).warnings] == [True]


def test_a_table_that_is_there_but_different_is_refused(pair: Pair) -> None:
    columns = "id INT PRIMARY KEY, a DECIMAL(9,2), b BIGINT UNSIGNED, c VARCHAR(5), d DATETIME(3)"
    pair.on_source(f"CREATE TABLE t ({columns})")
    pair.on_target("CREATE TABLE t (id int PRIMARY KEY, a numeric(9,3), b numeric(20), c text)")
    with pytest.raises(UsageError, match=r"(?s)t\.a is numeric\(9,3\), it must be numeric\(9,2\).*t\.c is text"):
        run(pair)
    pair.on_target("DROP TABLE t", "CREATE TABLE t (id int PRIMARY KEY, a numeric(9,2), b numeric(20), c varchar(5))")
    assert [c.what for c in run(pair).changes] == ["column t.d"]


def test_names_that_need_quotes(pair: Pair) -> None:
    pair.on_source(
        'CREATE TABLE `Order` (`Key` INT PRIMARY KEY, `a b` TEXT, `100%%` INT, `sel"ect` INT, KEY `x y` (`a b`(10)))',
        "INSERT INTO `Order` VALUES (1, 'x', 2, 3)",
    )
    tables = pair.make_tables()
    run(pair, "indexes")
    pair.copy(tables)
    from scripts.data import check

    assert check.run(pair, console=pair.console, patience=0).ok  # type: ignore[arg-type]


def test_long_names_are_cut_and_told_apart() -> None:
    first, second = identifier("t" * 40, "c" * 40, "a"), identifier("t" * 40, "c" * 40, "b")
    assert first != second
    assert len(first) <= 63
    assert identifier("ü" * 60).encode()[:63] == identifier("ü" * 60).encode()
