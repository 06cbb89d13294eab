"""The native core between real servers: what MySQL sends becomes rows that PostgreSQL takes, and both compare equal."""

from __future__ import annotations

import re
import ssl
import struct
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rows
from contract.tables import Table, mysql_name, postgres_name
from contract.types import Choices, Codec, TypeRule, rule_for
from rows import RowsError, ServerError
from rows.decode import canonical
from rows.native import COPY_HEADER, COPY_TRAILER, Column, Comparator, Plan, Suspect, Transcoder
from rows.streams import compare, mysql_query, postgres_copy, transcode
from scripts.data.inspect import mysql_tables
from tests.data.conftest import Pair
from tests.rows.packets import plan
from tests.rows.samples import SAMPLES, TEXTS, Sample, numerics, timestamps

pytestmark = pytest.mark.real

CHOICES = Choices.of(booleans=["numbers.flag"], intervals=["moments.span", "moments.span6"])
EVERY_TYPE = Path(__file__).with_name("every_type.sql")
CHANGES = {
    "smallint": "{} # 1", "integer": "{} # 1", "bigint": "{} # 1",
    "numeric": "{0} - sign({0}) * ('1e-' || scale({0}))::numeric",
    "real": "({} * 0.9999998)::real", "double": "{} * 0.9999999999999998",
    "boolean": "NOT {}", "bit": "~{}", "bytea": "{} || '\\x00'::bytea",
    "text": "{} || ' '", "varchar": "left({}, -1)", "date": "{} + 1", "timestamp": "{} - interval '1 second'",
    "timestamptz": "{} - interval '1 second'", "time": "{} + interval '1 second'",
    "interval": "{} + interval '1 microsecond'", "jsonb": "jsonb_build_array({})",
}  # fmt: skip
"""Small changes of a value on the target, by its type."""


@pytest.fixture(autouse=True, scope="module")
def native() -> None:
    if not rows.available():
        pytest.skip("needs the native core")


class Tables:
    """A table with its rules on both sides; on the target all columns are plain ones."""

    def __init__(self, pair: Pair, table: Table) -> None:
        self.pair, self.table = pair, table
        self.rules: list[TypeRule] = [rule_for(column, CHOICES) for column in table.columns]
        names = [column.name for column in table.columns]
        self.key = [names.index(name) for name in table.primary_key]
        self.plan = Plan(tuple(Column(rule.codec) for rule in self.rules), tuple(self.key))
        self.relation = postgres_name("public", table.name)
        self.columns = ", ".join(map(postgres_name, names))
        keys = ", ".join(map(mysql_name, table.primary_key))
        reads = ", ".join(
            rule.mysql_read.format(mysql_name(name)) for rule, name in zip(self.rules, names, strict=True)
        )
        self.query = f"SELECT {reads} FROM {mysql_name(table.name)} ORDER BY {keys}"
        kinds = ", ".join(
            f"{postgres_name(name)} {rule.postgres}" for rule, name in zip(self.rules, names, strict=True)
        )
        pair.on_target(f"CREATE TABLE {self.relation} ({kinds})")

    def copy(self) -> int:
        with self.pair.mysql() as my, self.pair.postgres() as pg, Transcoder(self.plan) as transcoder:
            with pg.cursor().copy(f"COPY {self.relation} ({self.columns}) FROM STDIN (FORMAT binary)") as copy:
                copy.write(COPY_HEADER)
                transcode(transcoder, mysql_query(my, self.query), copy.write)
                copy.write(COPY_TRAILER)
            assert transcoder.poisons() == []
            return transcoder.rows

    def compare(self, my: Any, pg: Any) -> list[Suspect]:
        """In the order of the key on the source, in none on the target."""
        statement = f"COPY (SELECT {self.columns} FROM {self.relation}) TO STDOUT (FORMAT binary)"
        with Comparator(self.plan) as comparator:
            return compare(comparator, mysql_query(my, self.query), postgres_copy(pg, statement))

    def texts(self) -> tuple[list[Sequence[str | None]], list[Sequence[str | None]]]:
        """The canonical texts of all rows on either side, by the contract's SQL."""
        names = [column.name for column in self.table.columns]
        here = ", ".join(r.mysql_text.format(mysql_name(n)) for r, n in zip(self.rules, names, strict=True))
        there = ", ".join(r.postgres_text.format(postgres_name(n)) for r, n in zip(self.rules, names, strict=True))
        source = self.pair.on_source(f"SELECT {here} FROM {mysql_name(self.table.name)}")
        target = self.pair.on_target(f"SELECT {there} FROM {self.relation}")
        by_key = [sorted(side, key=lambda row: [str(row[i]) for i in self.key]) for side in (source, target)]
        return by_key[0], by_key[1]


@pytest.fixture(scope="module")
def statements() -> list[str]:
    return [part for part in re.split(r";\n", EVERY_TYPE.read_text()) if part.strip()]


def load(pair: Pair, statements: list[str], table: str) -> Tables:
    wanted = re.compile(rf"SET |(CREATE TABLE|INSERT INTO) {table}\b")
    chosen = [part for part in statements if wanted.match(re.sub(r"(?m)^--.*\n|^\n", "", part))]
    pair.on_source(*(re.sub(r"(?m)^--.*\n", "", part) for part in chosen))
    with pair.mysql() as connection:
        (found,) = mysql_tables(connection, pair.name)
    return Tables(pair, found)


@pytest.mark.parametrize("name", ["numbers", "moments", "texts", "bytes"])
def test_every_type_arrives_and_every_change_is_found(pair: Pair, statements: list[str], name: str) -> None:
    tables = load(pair, statements, name)
    assert tables.copy() > 3
    source, target = tables.texts()
    assert len(source) == len(target)
    for here, there in zip(source, target, strict=True):
        for column, rule, a, b in zip(tables.table.columns, tables.rules, here, there, strict=True):
            zero = rule.codec.zero_is_null and a is not None and b is None
            assert a == b or zero or (a is not None and b is not None and rule.equal(a, b)), column.name
    with pair.mysql() as my, pair.copy_out() as pg:
        assert tables.compare(my, pg) == []
        for column, rule in zip(tables.table.columns, tables.rules, strict=True):
            if column.name in tables.table.primary_key:
                continue
            place = postgres_name(column.name)
            change = CHANGES[re.split(r"[( ]", rule.postgres)[0]].format(place)
            for new in (change, "NULL"):
                pg.run("BEGIN")
                pg.run(
                    f"UPDATE {tables.relation} SET {place} = {new} WHERE ctid ="
                    f" (SELECT ctid FROM {tables.relation} WHERE {place} IS DISTINCT FROM {change} LIMIT 1)"
                )
                assert pg.row_count == 1, column.name
                assert [suspect.kind for suspect in tables.compare(my, pg)] == ["changed"], (column.name, new)
                pg.run("ROLLBACK")
        assert tables.compare(my, pg) == []


def test_rows_that_are_lost_or_new_are_found_by_their_key(pair: Pair, statements: list[str]) -> None:
    tables = load(pair, statements, "texts")
    tables.copy()
    pair.on_target("UPDATE texts SET code = code || ' ' WHERE code = 'zebra'", "DELETE FROM texts WHERE code = 'long'")
    with pair.mysql() as my, pair.copy_out() as pg:
        suspects = tables.compare(my, pg)
    found = sorted((suspect.kind, canonical(Codec("text"), suspect.key and suspect.key[0])) for suspect in suspects)
    assert found == [("extra", "zebra "), ("missing", "long"), ("missing", "zebra")]


FIELDS: dict[str, tuple[str, str, st.SearchStrategy[Sample]]] = {
    "i2": ("SMALLINT", "smallint", SAMPLES["int2"]),
    "i4": ("INT", "integer", SAMPLES["int4"]),
    "i8": ("BIGINT", "bigint", SAMPLES["int8"]),
    "flag": ("TINYINT(1)", "boolean", SAMPLES["bool"]),
    "bit1": ("BIT(1)", "boolean", SAMPLES["bitbool"]),
    "n": ("DECIMAL(65,30)", "numeric(65,30)", numerics(30)),
    "f": ("FLOAT", "real", SAMPLES["float4"]),
    "d": ("DOUBLE", "double precision", SAMPLES["float8"]),
    "t": ("VARCHAR(60)", "varchar(60)", TEXTS.map(lambda t: Sample(Codec("text"), t.encode(), t.encode(), t))),
    "b": ("VARBINARY(300)", "bytea", SAMPLES["bytea"]),
    "day": ("DATE", "date", SAMPLES["date"]),
    "at": ("DATETIME(6)", "timestamp", SAMPLES["timestamp"]),
    "ts": (
        "TIMESTAMP(6) NULL", "timestamptz", timestamps("timestamptz", datetime(1970, 1, 2), datetime(2038, 1, 18))
    ),
    "tm": ("TIME(6)", "time", SAMPLES["time"]),
    "span": ("TIME(6)", "interval", SAMPLES["interval"]),
    "j": ("JSON", "jsonb", SAMPLES["jsonb"]),
}  # fmt: skip
CODECS = [
    "int4",
    *("int2", "int4", "int8", "bool", "bitbool", "numeric", "float4", "float8", "text", "bytea"),
    *("date", "timestamp", "timestamptz", "time", "interval", "jsonb"),
]
"""Of the table's columns."""


@pytest.fixture
def random_values(pair: Pair) -> Pair:
    pair.on_source(f"CREATE TABLE t (id INT PRIMARY KEY, {', '.join(f'`{n}` {f[0]}' for n, f in FIELDS.items())})")
    pair.on_target(f"CREATE TABLE t (id int PRIMARY KEY, {', '.join(f'{n} {f[1]}' for n, f in FIELDS.items())})")
    return pair


@given(st.lists(st.fixed_dictionaries({n: st.none() | f[2] for n, f in FIELDS.items()}), min_size=1, max_size=8))
@settings(settings.get_profile("databases"))
def test_random_values(random_values: Pair, records: list[dict[str, Sample | None]]) -> None:
    reads = ", ".join("CAST(`f` AS DOUBLE)" if name == "f" else f"`{name}`" for name in FIELDS)
    query = f"SELECT id, {reads} FROM t ORDER BY id"
    marks = ", ".join("CAST(%s AS BINARY)" if n in ("b", "bit1") else "%s" for n in FIELDS)
    with random_values.mysql() as my, random_values.postgres() as pg, random_values.copy_out() as out:
        with my.cursor() as cursor:
            cursor.execute("DELETE FROM t")
            for number, record in enumerate(records):
                values = [_parameter(record[name]) for name in FIELDS]
                cursor.execute(f"INSERT INTO t VALUES (%s, {marks})", [number, *values])
        pg.execute("TRUNCATE t")
        portions: list[bytes] = []
        with Transcoder(plan(*CODECS)) as transcoder:
            transcode(transcoder, mysql_query(my, query), portions.append)
            assert (transcoder.poisons(), transcoder.rows) == ([], len(records))
        with pg.cursor().copy("COPY t FROM STDIN (FORMAT binary)") as copy:
            for portion in (COPY_HEADER, *portions, COPY_TRAILER):
                copy.write(portion)
        with Comparator(plan(*CODECS), keep_target_rows=True) as comparator:
            statement = "COPY (SELECT * FROM t ORDER BY id) TO STDOUT (FORMAT binary)"
            kept: list[bytes] = []
            assert compare(comparator, mysql_query(my, query), postgres_copy(out, statement), kept.append) == []
            assert (comparator.source_rows, comparator.target_rows) == (len(records), len(records))
    for fields, record in zip(_fields(b"".join(kept)), records, strict=True):
        for value, name in zip(fields[1:], FIELDS, strict=True):
            if name != "j":  # MySQL writes JSON in its own way
                sample = record[name]
                assert value == (sample and sample.postgres), name


def _parameter(sample: Sample | None) -> Any:
    if sample is None or sample.codec.name in ("bytea", "bitbool"):
        return sample and sample.mysql
    return sample.mysql.decode()


def _fields(data: bytes) -> list[list[bytes | None]]:
    """The rows of a binary COPY."""
    found, at = [], 0
    while at < len(data):
        (count,) = struct.unpack_from(">h", data, at)
        at, row = at + 2, []
        for _ in range(count):
            (size,) = struct.unpack_from(">i", data, at)
            at += 4 + max(size, 0)
            row.append(None if size < 0 else data[at - size : at])
        found.append(row)
    return found


def test_a_row_of_several_packets(pair: Pair) -> None:
    pair.on_source("CREATE TABLE t (id INT PRIMARY KEY, b LONGBLOB)", "INSERT INTO t VALUES (2, REPEAT('ab', 10e6))")
    pair.on_target("CREATE TABLE t (id int, b bytea)", "INSERT INTO t VALUES (2, repeat('ab', 10000000)::bytea)")
    with pair.mysql() as my, pair.copy_out() as pg:
        for expected in ([], ["changed"]):
            with Comparator(plan("int4", "bytea")) as comparator:
                answer = postgres_copy(pg, "COPY t TO STDOUT (FORMAT binary)")
                suspects = compare(comparator, mysql_query(my, "SELECT id, b FROM t"), answer)
            assert [suspect.kind for suspect in suspects] == expected
            pair.on_target("UPDATE t SET b = set_byte(b, 19999999, 0)")


def test_connections_speak_tls_and_go_on_after_each_stream(pair: Pair) -> None:
    pair.on_source("CREATE TABLE t (n BIGINT PRIMARY KEY)", "INSERT INTO t VALUES (1), (2)")
    with pair.mysql() as my, pair.copy_out() as pg:
        assert isinstance(my._sock, ssl.SSLSocket)
        assert isinstance(pg._usock, ssl.SSLSocket)
        assert pg.run("SHOW timezone") == [["UTC"]]
        for _ in range(2):
            with Transcoder(plan("int8")) as transcoder:
                transcode(transcoder, mysql_query(my, "SELECT n FROM t"), lambda _: None)
            with Transcoder(plan("int8")) as transcoder, pytest.raises(ServerError, match="doesn't exist") as raised:
                transcode(transcoder, mysql_query(my, "SELECT n FROM missing"), lambda _: None)
            assert (raised.value.side, raised.value.code) == ("mysql", "1146")
            overflow = "SELECT n + 9223372036854775806 FROM t ORDER BY n"
            with Transcoder(plan("int8")) as transcoder, pytest.raises(ServerError, match="out of range"):
                transcode(transcoder, mysql_query(my, overflow), lambda _: None)
            with my.cursor() as cursor:
                cursor.execute("SELECT COUNT(*) FROM t")
                assert cursor.fetchone() == (2,)

            copy = "COPY (SELECT {} FROM generate_series(1, 5000) n) TO STDOUT (FORMAT binary)"
            for expression, reason in (("missing", "does not exist"), ("1 / (4000 - n)", "division by zero")):
                with Comparator(plan("int4")) as comparator, pytest.raises(ServerError, match=reason):
                    empty = mysql_query(my, "SELECT n FROM t WHERE n > 5")
                    compare(comparator, empty, postgres_copy(pg, copy.format(expression)))
            assert pg.run("SELECT 1") == [[1]]
    with pytest.raises(RowsError, match="lost"):
        postgres_copy(pg, "COPY t TO STDOUT")
    with pytest.raises(RowsError, match="lost"):
        mysql_query(my, "SELECT 1")


def test_a_server_that_goes_away_is_an_error(pair: Pair) -> None:
    with pair.mysql() as my, pair.copy_out() as pg:
        pair.on_source(f"KILL {my.thread_id()}")
        with Transcoder(plan("int8")) as transcoder, pytest.raises(RowsError, match="MySQL"):
            transcode(transcoder, mysql_query(my, "SELECT 1"), lambda _: None)
        (((backend,),),) = (pg.run("SELECT pg_backend_pid()"),)
        pair.on_target(f"SELECT pg_terminate_backend({backend})")
        with Comparator(plan("int4")) as comparator, pytest.raises(RowsError, match="PostgreSQL"):
            answer = postgres_copy(pg, "COPY (SELECT 1) TO STDOUT (FORMAT binary)")
            while True:
                buffer = bytearray(1000)
                comparator.feed_target(buffer, answer.readinto(buffer))
