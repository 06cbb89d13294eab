"""Dumps are read as the mysql client reads them, and loaded whatever they call their database."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from scripts.data import check, counts, dump, schema, survey
from scripts.data.dump import Retarget, split
from scripts.errors import UsageError, ZdmError
from tests.data.conftest import SAKILA, Pair


def texts(sql: str) -> list[str]:
    return [statement.text for statement in split(sql.splitlines(keepends=True))]


def test_statements_end_at_the_delimiter_only() -> None:
    sql = (
        "-- a; comment\nSELECT ';', \"a\\\";\", `b;`; # another;\n/* ;' */ SELECT 1 -- not ;\n+ 1;\n"
        "DELIMITER ;;\nCREATE TRIGGER t BEGIN SELECT 'it''s'; END;;\ndelimiter ;\n"
        "/*!50003 CREATE*/ /*!50017 DEFINER=`r`@`h`*/ /*!50003 TRIGGER x BEGIN SELECT ';'; END */;\n"
        "SELECT 5--1;\n/* only; */;\n"
        "INSERT INTO t VALUES ('a\nb;\\\\');\nSELECT 'last'"
    )
    assert texts(sql) == [
        '-- a; comment\nSELECT \';\', "a\\";", `b;`',
        "# another;\n/* ;' */ SELECT 1 -- not ;\n+ 1",
        "CREATE TRIGGER t BEGIN SELECT 'it''s'; END",
        "/*!50003 CREATE*/ /*!50017 DEFINER=`r`@`h`*/ /*!50003 TRIGGER x BEGIN SELECT ';'; END */",
        "SELECT 5--1",
        "INSERT INTO t VALUES ('a\nb;\\\\')",
        "SELECT 'last'",
    ]
    assert [s.line for s in split("\n\nSELECT 1;\nSELECT\n2;SELECT 3;".splitlines(keepends=True))] == [3, 4, 5]


def test_statements_are_made_to_mean_the_database() -> None:
    retarget = Retarget("ours")
    assert retarget("CREATE DATABASE /*!32312 IF NOT EXISTS*/ `theirs` /*!40100 CHARACTER SET latin1 */") is None
    assert retarget("DROP SCHEMA IF EXISTS other") is None
    assert retarget("USE theirs") is None
    assert retarget("SET @@SESSION.SQL_LOG_BIN= 0") is None
    assert retarget("/*!80000 SET @@GLOBAL.GTID_PURGED='x' */") is None
    assert retarget("INSERT INTO t VALUES ('theirs.t')") == "INSERT INTO t VALUES ('theirs.t')"
    assert (
        retarget("CREATE DEFINER=`root`@`%` VIEW v AS SELECT 'theirs.x', `theirs`.`a`.b, theirs.c.d, my_theirs.e")
        == "CREATE  VIEW v AS SELECT 'theirs.x', `ours`.`a`.b, `ours`.c.d, my_theirs.e"
    )
    with pytest.raises(UsageError, match="more than one database"):
        retarget("USE another")


@pytest.mark.real
def test_a_dump_with_raw_bytes_is_loaded(pair: Pair, tmp_path: Path) -> None:
    path = tmp_path / "dump.sql.gz"
    content = b"USE x;\nCREATE TABLE t (b BLOB);\nINSERT INTO t VALUES (_binary '\xff\\0\xc3(;'), (0x00FF);\n"
    path.write_bytes(gzip.compress(content))
    result = dump.load(pair, [path])  # type: ignore[arg-type]
    assert (result.statements, result.skipped, result.tables) == (2, 1, ["t"])
    assert pair.on_source("SELECT HEX(b) FROM t ORDER BY LENGTH(b)") == [("00FF",), ("FF00C3283B",)]
    with pytest.raises(UsageError, match="has tables already"):
        dump.load(pair, [path])  # type: ignore[arg-type]


@pytest.mark.real
def test_a_statement_that_fails_is_named_with_its_place(pair: Pair, tmp_path: Path) -> None:
    path = tmp_path / "dump.sql"
    path.write_text("CREATE TABLE t (a INT);\n\nINSERT INTO\n nowhere VALUES (1);\n")
    with pytest.raises(ZdmError, match=r"dump\.sql, line 3: .*nowhere"):
        dump.load(pair, [path])  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no such file"):
        dump.load(pair, [tmp_path / "none.sql"])  # type: ignore[arg-type]


@pytest.mark.real
@pytest.mark.skipif(not SAKILA.is_dir(), reason="the sakila sample database is not there")
def test_sakila_moves_but_for_what_is_named(pair: Pair) -> None:
    seen: list[float] = []
    loaded = dump.load(
        pair,  # type: ignore[arg-type]
        [SAKILA / "schema.sql", SAKILA / "data.sql"],
        progress=lambda done, total, _: seen.append(done / total),
    )
    assert len(loaded.tables) == 16
    assert seen[-1] == pytest.approx(1.0)
    with pytest.raises(UsageError, match=r"type address\.location"):
        survey.movable(pair)  # type: ignore[arg-type]
    moving = survey.movable(pair, skip_unsupported=True)  # type: ignore[arg-type]
    assert moving.excluded == ["address.location"]
    kinds = [obstacle.kind for obstacle in moving.left_out]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "type": 1, "index": 2, "trigger": 6, "view": 7, "function": 3, "procedure": 3,
    }  # fmt: skip
    for stage in ("tables", "indexes"):
        schema.run(pair, stage=stage, skip_unsupported=True, console=pair.console)  # type: ignore[arg-type]
    pair.copy(moving.tables)
    schema.run(pair, stage="constraints", skip_unsupported=True, console=pair.console)  # type: ignore[arg-type]
    assert counts.run(pair, console=pair.console).ok  # type: ignore[arg-type]
    result = check.run(pair, console=pair.console, patience=0)  # type: ignore[arg-type]
    assert result.ok
    assert result.rows > 46_000
    assert result.left_out == ["address.location"]
