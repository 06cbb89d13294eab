"""Views, triggers, procedures, functions and events: each is named with a verdict, none is created."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.data import dump, routines, schema
from scripts.data.inspect import mysql_tables
from scripts.data.routines import CodeObject
from tests.data.conftest import SAKILA, Pair

pytestmark = pytest.mark.real


def code_of(pair: Pair, views: Path | None = None) -> dict[str, CodeObject]:
    result = schema.run(pair, skip_unsupported=True, views=views, console=pair.console)  # type: ignore[arg-type]
    assert {(c.kind, c.name) for c in result.code} <= {(o.kind, o.name) for o in result.left_out}
    return {f"{item.kind} {item.name}": item for item in result.code}


@pytest.mark.skipif(not SAKILA.is_dir(), reason="the sakila sample database is not there")
def test_every_view_and_trigger_of_sakila_has_a_verdict(pair: Pair, tmp_path: Path) -> None:
    dump.load(pair, [SAKILA / "schema.sql", SAKILA / "data.sql"])  # type: ignore[arg-type]
    code = code_of(pair, tmp_path / "views.sql")
    verdicts = {name.partition(" ")[2]: item.verdict for name, item in code.items() if item.kind == "view"}
    assert verdicts == {
        "customer_list": "translates", "film_list": "translates", "nicer_but_slower_film_list": "translates",
        "sales_by_film_category": "translates", "staff_list": "translates", "actor_info": "in the way",
        "sales_by_store": "in the way",
    }  # fmt: skip
    assert "ORDER BY expressions must appear in argument list" in code["view actor_info"].reason
    assert 'column "c.city" must appear in the GROUP BY clause' in code["view sales_by_store"].reason
    assert {name: item.writes for name, item in code.items() if item.kind == "trigger"} == {
        "trigger customer.customer_create_date": (), "trigger payment.payment_date": (),
        "trigger rental.rental_date": (),
        "trigger film.del_film": ("film_text",), "trigger film.ins_film": ("film_text",),
        "trigger film.upd_film": ("film_text",),
    }  # fmt: skip
    assert {name: item.constructs for name, item in code.items() if item.kind in ("procedure", "function")} == {
        "procedure film_in_stock": (
            "FOUND_ROWS() or ROW_COUNT()", "calls of inventory_in_stock", "rows returned to the caller",
        ),
        "procedure film_not_in_stock": (
            "FOUND_ROWS() or ROW_COUNT()", "calls of inventory_in_stock", "rows returned to the caller",
        ),
        "procedure rewards_report": (
            "loops", "the time of MySQL's session", "temporary tables", "DDL", "conditions",
            "MySQL's DATE_SUB, LAST_DAY, STR_TO_DATE", "rows returned to the caller",
        ),
        "function get_customer_balance": ("MySQL's IFNULL, TO_DAYS",),
        "function inventory_held_by_customer": ("a condition handler",),
        "function inventory_in_stock": ("conditions",),
    }  # fmt: skip
    assert code["function get_customer_balance"].reads == ("film", "inventory", "payment", "rental")
    pair.on_target((tmp_path / "views.sql").read_text())
    assert len(pair.on_target("SELECT viewname FROM pg_views WHERE schemaname = 'public'")) == 5


def test_views_that_translate_show_the_same_rows(pair: Pair, tmp_path: Path) -> None:
    pair.on_source(
        "CREATE TABLE t (id INT PRIMARY KEY, active TINYINT(1), flag TINYINT(1) NOT NULL, n INT, name VARCHAR(20))",
        "INSERT INTO t VALUES (1, 1, 0, 5, 'é'), (2, 0, 1, NULL, 'b'), (3, NULL, 1, 7, NULL)",
        "CREATE VIEW z AS SELECT id, IF(active, 'on', _latin1'off') AS state, LENGTH(name) AS bytes, "
        "CASE WHEN flag AND n > 4 THEN 'y' ELSE CONCAT(name, '?') END AS word, IFNULL(n, 0) + 1 AS more FROM t "
        "WHERE active OR flag",
        "CREATE SQL SECURITY INVOKER VIEW a AS SELECT z.id, z.state, z.bytes, z.word, z.more FROM z WHERE z.more > 0",
        "CREATE VIEW positive AS SELECT id, n FROM t WHERE n > 0 WITH CASCADED CHECK OPTION",
        "CREATE VIEW counted AS SELECT COUNT(*) AS c, GROUP_CONCAT(name ORDER BY id SEPARATOR '/') AS names FROM t",
    )
    pair.booleans = ["t.flag"]
    code_of(pair)
    with pair.mysql() as my:
        pair.copy(mysql_tables(my, pair.name))
    code = code_of(pair, tmp_path / "views.sql")
    assert [item.reason for item in code.values() if item.verdict != "translates"] == []
    assert "WITH (security_invoker = true)" in code["view a"].sql
    pair.on_target((tmp_path / "views.sql").read_text())
    for view, order in (("z", "id"), ("a", "id"), ("positive", "id"), ("counted", "c")):
        query = f"SELECT * FROM {view} ORDER BY {order}"
        assert pair.on_target(query) == pair.on_source(query), view


def test_what_stands_in_the_way_of_a_view(pair: Pair) -> None:
    pair.on_source(
        "CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR(20), FULLTEXT KEY words (name))",
        "CREATE TABLE keyless (id INT)",
        "CREATE FUNCTION own(x INT) RETURNS INT DETERMINISTIC RETURN x + 1",
        "CREATE VIEW folded AS SELECT id FROM t WHERE name = 'a' OR name LIKE 'b%'",
        "CREATE VIEW called AS SELECT own(id) AS x FROM t",
        "CREATE VIEW found AS SELECT id FROM t WHERE MATCH (name) AGAINST ('x')",
        "CREATE VIEW other AS SELECT user FROM mysql.user",
        "CREATE VIEW without_table AS SELECT id FROM keyless",
        "CREATE VIEW dated AS SELECT DATE_FORMAT(NOW(), '%x') AS x, FIND_IN_SET('a', name) AS y FROM t",
    )
    code = code_of(pair)
    assert code["view folded"].verdict == "translates"
    assert code["view folded"].notes == ("it compares text, in which PostgreSQL tells case and accents apart",)
    assert code["view without_table"].verdict == "untried"
    assert "the table keyless is not on the target" in code["view without_table"].reason
    for view, construct in {
        "called": "function own(integer) does not exist", "found": "MATCH ... AGAINST",
        "other": "it reads the database mysql", "dated": "does not exist",
    }.items():  # fmt: skip
        assert code[f"view {view}"].verdict == "in the way"
        assert construct in code[f"view {view}"].reason, view
    assert pair.on_target("SELECT count(*) FROM pg_namespace WHERE nspname = 'zdm_trial'") == [(0,)]


def test_what_stands_in_the_way_of_code(pair: Pair) -> None:
    pair.on_source(
        "CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, n INT)",
        "CREATE TABLE log (id INT PRIMARY KEY, at DATETIME)",
        "CREATE TRIGGER guard BEFORE INSERT ON t FOR EACH ROW BEGIN IF NEW.n < 0 THEN SIGNAL SQLSTATE '45000'; END IF; "
        "INSERT INTO log VALUES (LAST_INSERT_ID(), NOW()); SET @seen = 'SELECT FROM t'; END",
        "CREATE PROCEDURE sweep() BEGIN DECLARE done INT DEFAULT 0; DECLARE c CURSOR FOR SELECT id FROM t; "
        "DECLARE CONTINUE HANDLER FOR NOT FOUND SET done = 1; OPEN c; WHILE NOT done DO FETCH c INTO done; END WHILE; "
        "PREPARE s FROM 'DELETE FROM t'; EXECUTE s; REPLACE INTO log VALUES (1, NULL); UPDATE t SET n = 1; "
        "SELECT 1; END",
        "CREATE EVENT tidy ON SCHEDULE EVERY 2 HOUR DISABLE DO DELETE FROM log WHERE at < NOW()",
    )
    with pair.mysql() as my:
        code = {c.name: c for c in routines.read(my, pair.name, mysql_tables(my, pair.name))}
    assert code["t.guard"].constructs == (
        "SIGNAL", "user variables (@x)", "LAST_INSERT_ID()", "the time of MySQL's session", "conditions",
    )  # fmt: skip
    assert (code["t.guard"].reads, code["t.guard"].writes) == ((), ("log",))
    assert code["sweep"].constructs == (
        "a cursor", "a condition handler", "dynamic SQL", "loops", "REPLACE INTO", "rows returned to the caller",
    )  # fmt: skip
    assert (code["sweep"].reads, code["sweep"].writes) == (("t",), ("log", "t"))
    assert code["tidy"].about == "every 2 HOUR, disabled"
    assert "no scheduler of its own" in code["tidy"].fate
    assert "way back MySQL would run it again" in code["t.guard"].obstacle.left_out
