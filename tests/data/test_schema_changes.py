"""What a second run of `schema` finds on the target: differences that are applied, and those that are only named."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from scripts.data import schema
from scripts.data.schema_changes import builds
from scripts.data.schema_tables import widens
from scripts.errors import UsageError, ZdmError
from tests.data.conftest import Pair

real = pytest.mark.real


def run(pair: Pair, stage: schema.Stage = "tables", **options: Any) -> schema.SchemaResult:
    return schema.run(pair, stage=stage, console=pair.console, **options)  # type: ignore[arg-type]


def made(pair: Pair, stage: schema.Stage = "tables", **options: Any) -> list[str]:
    return [change.what for change in run(pair, stage, **options).changes]


# --- Tables -----------------------------------------------------------------------------------------------------------


@real
def test_a_change_of_the_source_is_applied_without_touching_values(pair: Pair) -> None:
    pair.on_source(
        "CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, a VARCHAR(20), b DECIMAL(8,2) NOT NULL DEFAULT 1, c INT, "
        "d DATETIME, e ENUM('x') NOT NULL, f INT DEFAULT 5) AUTO_INCREMENT 500",
        "INSERT INTO t (id, a, c, e) VALUES (1, 'a', 1, 'x')",
    )
    pair.copy(pair.make_tables())
    pair.on_source(
        "ALTER TABLE t COMMENT 'it''s', MODIFY a VARCHAR(40) COMMENT 'a''s', MODIFY b DECIMAL(10,4) DEFAULT 2, "
        "MODIFY c BIGINT NOT NULL, MODIFY d DATETIME(6) DEFAULT NOW(6), MODIFY f INT, "
        "ADD g CHAR(3) NOT NULL DEFAULT 'n', ADD h INT NOT NULL, ADD i ENUM('p','q') NOT NULL, ADD j INT AS (c + 1), "
        "ADD k VARBINARY(3) NOT NULL"
    )
    planned = run(pair, dry_run=True).changes
    assert made(pair) == [change.what for change in planned] == [
        "comment of t", "wider type (character varying(40)) of t.a", "comment of t.a",
        "wider type (numeric(10,4)) of t.b", "default of t.b",
        "leave to be NULL of t.b", "wider type (bigint) of t.c", "NOT NULL of t.c",
        "wider type (timestamp(6) without time zone) of t.d", "default of t.d", "default of t.f",
        "column t.g", "column t.h", "column t.i", "column t.j", "column t.k",
    ]  # fmt: skip
    assert made(pair) == []
    columns = "a, b, c, g, h, i, j, k"
    assert pair.on_target(f"SELECT {columns} FROM t") == pair.on_source(f"SELECT {columns} FROM t")
    ((identity,),) = pair.on_target("INSERT INTO t (c, e, g, h, i, k) VALUES (2, 'x', '', 0, 'p', '') RETURNING id")
    assert identity == 500
    with pytest.raises(psycopg.errors.NotNullViolation):
        pair.on_target("INSERT INTO t (c) VALUES (2)")


@real
def test_what_cannot_be_changed_safely_is_named_and_nothing_is_changed(pair: Pair) -> None:
    pair.on_source(
        "CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(20), b INT, c INT, g INT AS (c + 1), new INT)",
        "CREATE TABLE u (a INT, b INT, PRIMARY KEY (a, b))",
    )
    pair.on_target(
        "CREATE TABLE t (id int PRIMARY KEY, a varchar(30), b bigint, c smallint, "
        "g int GENERATED ALWAYS AS (c + 2) STORED, extra int)",
        "CREATE TABLE u (a int PRIMARY KEY, b int)",
        "CREATE TABLE gone (id int PRIMARY KEY)",
    )
    with pytest.raises(UsageError) as refused:
        run(pair)
    for said in (
        "t.a is character varying(30), it must be character varying(20): drop the column",
        "t.b is bigint, it must be integer",
        "t.c is smallint, it must be integer, and g is made from it: drop g",
        "t.g is generated from (c + 2), it must be generated from",
        'table u has PRIMARY KEY ("a"), it must have PRIMARY KEY ("a", "b")',
    ):
        assert said in str(refused.value)
    assert pair.on_target("SELECT count(*) FROM pg_attribute WHERE attname = 'new'") == [(0,)]
    pair.on_target("DROP TABLE u", "ALTER TABLE t DROP COLUMN a, DROP COLUMN b, DROP COLUMN c CASCADE")
    result = run(pair)
    assert [c.what for c in result.changes] == ["column t.a", "column t.b", "column t.c", "column t.g", "column t.new",
                                                "table u"]  # fmt: skip
    assert [d.what.split(" is ")[0] for d in result.superfluous] == ["table gone", "column t.extra"]
    assert pair.on_target("SELECT count(*) FROM gone") == [(0,)]


@real
def test_null_values_stand_in_the_way_of_not_null(pair: Pair) -> None:
    pair.on_source("CREATE TABLE t (id INT PRIMARY KEY, a INT NOT NULL)")
    pair.on_target("CREATE TABLE t (id int PRIMARY KEY, a int)", "INSERT INTO t VALUES (1, NULL), (2, NULL), (3, 4)")
    with pytest.raises(ZdmError, match=r"NOT NULL of t\.a: 2 rows have None"):
        run(pair)
    pair.on_target("UPDATE t SET a = 0 WHERE a IS NULL")
    assert made(pair) == ["NOT NULL of t.a"]
    assert pair.on_target("SELECT count(*) FROM pg_constraint WHERE conrelid = 't'::regclass") == [(1,)]


@real
def test_a_lock_held_by_others_is_waited_for_in_turns(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.on_source("CREATE TABLE t (id INT PRIMARY KEY, a INT)")
    pair.on_target("CREATE TABLE t (id int PRIMARY KEY)")
    monkeypatch.setattr("scripts.data.schema_changes.LOCK_TURNS", 1)
    monkeypatch.setattr("scripts.data.schema_changes.LOCK_PATIENCE", 1)
    with writing(pair, "INSERT INTO t VALUES (1)"), pytest.raises(ZdmError, match=r"others have held locks on t for 1"):
        run(pair)
    assert made(pair) == ["column t.a"]


@pytest.mark.parametrize(
    ("old", "new", "safe"),
    [
        ("smallint", "integer", True),
        ("bigint", "integer", False),
        ("bigint", "numeric(20,0)", True),
        ("bigint", "numeric(18,0)", False),
        ("numeric(8,2)", "numeric(10,4)", True),
        ("numeric(8,2)", "numeric(9,4)", False),
        ("numeric(8,2)", "numeric(8,1)", False),
        ("character varying(5)", "character varying(6)", True),
        ("character varying(6)", "character varying(5)", False),
        ("character varying(6)", "text", True),
        ("text", "character varying(6)", False),
        ("timestamp(3) without time zone", "timestamp(6) without time zone", True),
        ("timestamp(3) without time zone", "timestamp(6) with time zone", False),
        ("time(0) without time zone", "time(2) without time zone", True),
        ("real", "double precision", True),
        ("integer", "boolean", False),
        ("bit(3)", "bit(4)", False),
    ],
)
def test_what_a_wider_type_is(old: str, new: str, safe: bool) -> None:
    assert widens(old, new) is safe


# --- Indexes and constraints ------------------------------------------------------------------------------------------


@contextmanager
def writing(pair: Pair, statement: str) -> Iterator[None]:
    """Someone who writes, and does not commit: every build waits for that."""
    with pair.postgres(autocommit=False) as pg:
        pg.execute(statement)
        yield
        pg.rollback()


class Background(threading.Thread):
    """Runs a stage; what it raised is kept."""

    def __init__(self, pair: Pair) -> None:
        super().__init__(daemon=True)
        self.pair, self.error = pair, ""

    def run(self) -> None:
        try:
            run(self.pair, "indexes")
        except ZdmError as e:
            self.error = str(e)


def pids(pg: psycopg.Connection[Any], sql: str, many: int) -> list[int]:
    """The sessions that a query finds, as soon as they are so many."""
    deadline = time.monotonic() + 60
    while len(found := [pid for (pid,) in pg.execute(sql)]) < many:  # type: ignore[arg-type]
        assert time.monotonic() < deadline, sql
    return found


BUILDING = "SELECT pid FROM pg_stat_progress_create_index WHERE datname = current_database() " \
           "AND phase LIKE 'waiting for writers%' AND current_locker_pid <> 0"  # fmt: skip
WAITING = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND " \
          "query LIKE 'SELECT pg_try_advisory_lock%'"  # fmt: skip


@real
def test_a_build_that_is_killed_is_made_again_and_one_under_way_is_waited_for(pair: Pair) -> None:
    pair.on_source("CREATE TABLE t (id INT PRIMARY KEY, a INT, b INT, KEY ka (a), KEY kb (b))")
    pair.make_tables()
    with pair.postgres() as pg:
        with writing(pair, "INSERT INTO t VALUES (1, 1, 1)"):
            killed = Background(pair)
            killed.start()
            (pid,) = pids(pg, BUILDING, 1)
            assert str(builds(pg, [pid])[0]).startswith("t_ka: waiting for writers before build (session ")
            pg.execute("SELECT pg_terminate_backend(%s)", (pid,))
            pids(pg, f"{BUILDING} AND pid <> {pid}", 1)  # the table's next index, over another connection
        killed.join()
        assert "index t_ka failed on the target: terminating connection" in killed.error
        left = "SELECT relname FROM pg_index JOIN pg_class ON oid = indexrelid WHERE NOT indisvalid"
        assert pg.execute(left).fetchall() == [("t_ka",)]
        assert made(pair, "indexes") == ["index t_ka"]
        assert pg.execute(left).fetchall() == []
        pg.execute("DROP INDEX t_ka")
        with writing(pair, "INSERT INTO t VALUES (1, 1, 1)"):
            first, second = Background(pair), Background(pair)
            first.start()
            pids(pg, BUILDING, 1)
            second.start()
            pids(pg, WAITING, 1)
        first.join()
        second.join()
        assert (first.error, second.error) == ("", "")
    assert made(pair, "indexes") == []


@real
def test_indexes_of_every_kind(pair: Pair) -> None:
    pair.on_source(
        "CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(30), b INT, raw BLOB, doc JSON, "
        "KEY down (b DESC, a), KEY part (a(5), raw(3)), KEY computed ((lower(a)), (b * 2)), KEY unseen (b) INVISIBLE, "
        "UNIQUE KEY only (a, b) INVISIBLE)"
    )
    pair.make_tables()
    assert made(pair, "indexes", jobs=3) == ["index t_computed", "index t_down", "index t_part"]
    assert [c.what for c in run(pair, "constraints").changes] == ["collation zdm_ai_ci", "index t_only"]
    definitions = pair.on_target("SELECT indexdef FROM pg_indexes WHERE tablename = 't' ORDER BY indexname")
    assert [d.partition("USING btree ")[2] for (d,) in definitions] == [
        "(lower((a)::text), (((b)::numeric * (2)::numeric)))", "(b DESC, a)",
        "(a COLLATE zdm_ai_ci, b)", '("left"((a)::text, 5), SUBSTRING(raw FROM 1 FOR 3))', "(id)",
    ]  # fmt: skip
    unseen = [w for w in run(pair).warnings if w.kind == "index"]
    assert [(w.name, w.left_out) for w in unseen] == [
        ("t.only", "made, and used"), ("t.unseen", "not created on the target"),
    ]  # fmt: skip
    pair.on_target("DROP INDEX t_down", "CREATE INDEX t_down ON t (b)", "CREATE INDEX mine ON t (a)")
    with pytest.raises(UsageError, match=r"t_down is btree \(b\) on t, it must be btree \(b DESC, a\): DROP INDEX"):
        run(pair, "indexes")
    pair.on_target("DROP INDEX t_down")
    result = run(pair, "indexes")
    assert [c.what for c in result.changes] == ["index t_down"]
    assert [d.what for d in result.superfluous] == ["index mine on t is not on the source"]


@real
def test_unique_keys_refuse_what_mysql_refuses(pair: Pair) -> None:
    columns = {"a": "utf8mb4_0900_ai_ci", "s": "utf8mb4_0900_as_ci", "g": "utf8mb4_general_ci", "b": "utf8mb4_bin",
               "n": "utf8mb4_0900_bin"}  # fmt: skip
    listed = ", ".join(f"{name} VARCHAR(9) COLLATE {collation}" for name, collation in columns.items())
    keys = ", ".join(f"UNIQUE KEY (`{name}`)" for name in columns)
    pair.on_source(f"CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, {listed}, {keys})")
    pair.make_tables()
    run(pair, "constraints")
    for name in columns:
        for first, second in (("x", "X"), ("e", "é"), ("y", "y "), ("ab", "a b")):
            outcome = []
            for database, error in ((pair.on_source, "IntegrityError"), (pair.on_target, "UniqueViolation")):
                database("DELETE FROM t", f"INSERT INTO t ({name}) VALUES ('{first}')")
                try:
                    database(f"INSERT INTO t ({name}) VALUES ('{second}')")
                except Exception as e:
                    assert type(e).__name__ == error
                    outcome.append("refused")
                else:
                    outcome.append("taken")
            assert outcome[0] == outcome[1], (name, second)


@real
def test_rows_that_break_a_constraint_are_named_and_stop_no_other_one(pair: Pair) -> None:
    pair.on_source(
        "CREATE TABLE parent (id INT PRIMARY KEY)",
        "CREATE TABLE child (id INT PRIMARY KEY, parent INT, e ENUM('a','b'), n INT, "
        "CONSTRAINT kin FOREIGN KEY (parent) REFERENCES parent (id) ON DELETE CASCADE, CONSTRAINT small CHECK (n < 5))",
    )
    pair.make_tables()
    assert made(pair, "indexes") == ["index child_kin"]
    pair.on_target("INSERT INTO child VALUES (1, 7, 'a', 1), (2, NULL, 'c', 1), (3, NULL, 'b', 9)")
    with pytest.raises(ZdmError) as refused:
        run(pair, "constraints")
    for said in ("3 of 6 changes failed", "validation of child.child_e_check failed", "row 2", "row 3",
                 "Key (parent)=(7) is not present"):  # fmt: skip
        assert said in str(refused.value)
    with pytest.raises(psycopg.errors.CheckViolation):
        pair.on_target("INSERT INTO child VALUES (4, NULL, 'c', 1)")
    pair.on_target("DELETE FROM child")
    assert made(pair, "constraints") == [f"validation of child.{name}" for name in ("child_e_check", "small", "kin")]
    assert made(pair, "constraints") == []
    pair.on_source("ALTER TABLE child DROP FOREIGN KEY kin")
    pair.on_source("ALTER TABLE child ADD CONSTRAINT kin FOREIGN KEY (parent) REFERENCES parent (id)")
    pair.on_source("ALTER TABLE child DROP CHECK small")
    with pytest.raises(UsageError, match=r"constraint child\.kin is FOREIGN KEY .* CASCADE"):
        run(pair, "constraints")
    pair.on_target("ALTER TABLE child DROP CONSTRAINT kin")
    result = run(pair, "constraints")
    assert [d.what for d in result.superfluous] == ["constraint child.small is not on the source"]


@real
def test_sequences_are_moved_forward_and_never_back(pair: Pair) -> None:
    pair.on_source("CREATE TABLE t (id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY) AUTO_INCREMENT 10")
    pair.make_tables()
    pair.on_target("INSERT INTO t VALUES (41)")
    assert made(pair, "constraints") == ["sequence of t.id"]
    assert made(pair, "constraints") == []
    assert pair.on_target("INSERT INTO t VALUES (DEFAULT) RETURNING id") == [(42,)]
    pair.on_target("SELECT setval('t_id_seq', 1000)", "DELETE FROM t")
    assert made(pair, "constraints") == []
    assert pair.on_target("INSERT INTO t VALUES (DEFAULT) RETURNING id") == [(1001,)]
