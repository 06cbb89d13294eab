"""The type contract: what each MySQL type becomes in PostgreSQL, how CDC carries it, and how both sides are compared.

The target's DDL, the connectors' settings and the checks are all made from this one table, so they cannot disagree.

**Comparing.** Each column has one *canonical text*, computed in SQL on either side. A row is encoded as the
concatenation of its columns' texts, injectively: text that may hold anything is framed as `<bytes>:<text>`, other
text ends with `|`, NULL is `~` (and so cannot be taken for any value, since a frame begins with a digit). Where the
two databases write the same value differently (JSON numbers, very large and very small doubles), the texts differ but
`equal` knows better: a difference of texts is a reason to compare rows, never yet a mismatch; equal texts are always
equal values.

Rules that are choices, not facts:
- TINYINT(1) stays a number unless its column is named in the stack's `booleans`; then it holds 0 and 1 only.
- BIGINT UNSIGNED is numeric(20): PostgreSQL has no unsigned types, and half of its range would not fit into bigint.
- CHAR(n) is varchar(n): MySQL strips the padding when it reads, PostgreSQL's char(n) would put it back.
- DATETIME is timestamp (a wall clock), TIMESTAMP is timestamptz (an instant). Zero dates have no counterpart: refused.
- TIME is a time of day: values below 00:00:00 or from 24:00:00 on are refused (the CDC sink would stop at them).
- ENUM is text with a CHECK, SET is text (members in the order of declaration, as MySQL returns them).
- JSON is jsonb, which keeps no duplicate keys and no white space (MySQL's JSON neither) and refuses U+0000.
- FLOAT is real, and is compared at the 6 digits that MySQL prints: the snapshot reads what MySQL prints, later
  changes carry all digits. (`snapshot.fetch.size` would make the snapshot exact here, but then TIME loses its
  fraction and midnight is NULL: never set it.) Values that lose digits so are counted and named. DOUBLE is exact.
- BIT(1) is boolean, BIT(n) is bit(n). YEAR is smallint. All binary types are bytea.
- A generated column is generated on the target too, and not carried by CDC. It is supported when its expression is
  made of columns, numbers, `+ - *` and parentheses, and exact; the check then compares what both databases computed.
- Text keeps the target's deterministic collation: `=` on the target distinguishes case and accents. A unique key over
  case-insensitive columns becomes a unique index over `lower(column)`.
"""

from __future__ import annotations

import base64
import json
import re
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from contract.tables import Column, mysql_name, postgres_name

CONVERTER: Final = "io.debezium.connector.mysql.converters.TinyIntOneToBooleanConverter"


class Unsupported(Exception):
    """The contract has no rule for a column."""

    def __init__(self, table: str, column: str, type: str, reason: str) -> None:
        super().__init__(f"{table}.{column} {type}: {reason}")
        self.table, self.column, self.type, self.reason = table, column, type, reason


Convert = Callable[[Any], str]


@dataclass(frozen=True, slots=True)
class TypeRule:
    """How one column travels. In the SQL templates `{}` is the quoted column."""

    postgres: str
    """The declared type on the target."""
    mysql_text: str
    postgres_text: str
    framed: bool = False
    """Whether the text may hold any character, so that its length must go before it."""
    ordered: bool = False
    """Whether both databases order the values alike, so that a table can be cut at them."""
    canonical: Convert = str
    """From a value as the drivers or `from_debezium` give it (or the text itself) to the canonical text."""
    parameter: Callable[[str], Any] = str
    """From the canonical text to a query parameter that both drivers and indexes take."""
    from_debezium: Callable[[Any], Any] = lambda value: value
    """From the value in a JSON record of the topic (as these settings make it) to a plain Python value."""
    equal: Callable[[str, str], bool] = lambda a, b: a == b
    """Whether two canonical texts are the same value."""
    refuse: tuple[tuple[str, str], ...] = ()
    """What values cannot be carried: (condition in MySQL's SQL over `{}`, what it means)."""
    loses: tuple[tuple[str, str], ...] = ()
    """What values CDC's snapshot rounds, in the same form."""
    check: str = ""
    """A CHECK over `{}` on the target, or nothing."""
    generated: str = ""
    """The expression on the target, for a generated column."""

    def mysql_encoded(self, column: str) -> str:
        """SQL for the injective encoding of a column in MySQL."""
        text = self.mysql_text.format(mysql_name(column))
        if self.framed:
            return f"IFNULL(CONCAT(LENGTH({text}),':',{text}),'~')"
        return f"IFNULL({text},'~'),'|'"

    def postgres_encoded(self, column: str) -> str:
        """SQL for the same encoding in PostgreSQL."""
        text = self.postgres_text.format(postgres_name(column))
        if self.framed:
            return f"coalesce(octet_length({text})::text||':'||{text},'~')"
        return f"coalesce({text},'~')||'|'"


def encode(values: Iterable[tuple[str | None, bool]]) -> str:
    """The encoding of a row from its canonical texts and whether each is framed: what the SQL on either side
    computes."""
    out = []
    for text, framed in values:
        if framed:
            out.append("~" if text is None else f"{len(text.encode())}:{text}")
        else:
            out.append(("~" if text is None else text) + "|")
    return "".join(out)


# --- Python's side of the canonical texts ----------------------------------------------------------------------------


def _integer(value: Any) -> str:
    return str(value) if isinstance(value, str) else str(int(value))


def _decimal(scale: int) -> Convert:
    def convert(value: Any) -> str:
        if isinstance(value, str):
            return value
        number = Decimal(value)
        return f"{number if number else abs(number):.{scale}f}"

    return convert


def _hex(value: Any) -> str:
    return str(value) if isinstance(value, str) else bytes(value).hex().upper()


def _bits(width: int) -> Convert:
    def convert(value: Any) -> str:
        if isinstance(value, str):
            return value
        number = int.from_bytes(value, "big") if isinstance(value, bytes) else int(value)
        return f"{number:0{width}b}"

    return convert


def _timestamp(value: Any) -> str:
    if not isinstance(value, datetime):
        return str(value)
    moment: datetime = value if value.tzinfo is None else value.astimezone(UTC).replace(tzinfo=None)
    return moment.isoformat(sep=" ", timespec="microseconds")


def _time(value: Any) -> str:
    if isinstance(value, timedelta):
        seconds, sign = (-value, "-") if value < timedelta(0) else (value, "")
        whole = seconds.days * 86_400 + seconds.seconds
        return f"{sign}{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}.{seconds.microseconds:06d}"
    if isinstance(value, time):
        return value.isoformat(timespec="microseconds")
    return str(value)


def _double(value: Any) -> str:
    """As `_MYSQL_FLOAT` and `_POSTGRES_FLOAT` write it."""
    if isinstance(value, str):
        return str(value)
    number = float(value)
    if number == 0:
        return "0"
    if 1e-12 <= abs(number) < 1e30:
        return f"{Decimal(repr(number)):.30f}"
    return repr(number).replace("e+", "e")


def _float(value: Any) -> str:
    return str(value) if isinstance(value, str) else _double(float(f"{value:.6g}"))


def _same_number(a: str, b: str) -> bool:
    try:
        return float(a) == float(b)
    except ValueError:
        return False


def _same_float(a: str, b: str) -> bool:
    """Below 1.2e-38 a FLOAT has fewer digits than MySQL prints, and PostgreSQL prints no more than it has."""
    try:
        return float(a) == float(b) or struct.pack("f", float(a)) == struct.pack("f", float(b))
    except (ValueError, OverflowError):
        return False


def _number(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise ValueError(f"no JSON number: {text}") from None


def _same_json(a: str, b: str) -> bool:
    try:
        first, second = (json.loads(text, parse_float=_number, parse_int=_number) for text in (a, b))
    except ValueError:
        return False
    return _same_item(first, second)


def _same_item(a: Any, b: Any) -> bool:
    """Equality of JSON. Types are told apart (in Python True equals 1); a number of at most 17 digits is a double, so
    its exact expansion (which CDC may carry) is the same number."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same_item(value, b[key]) for key, value in a.items())
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same_item, a, b))
    if isinstance(a, Decimal) and isinstance(b, Decimal):
        digits = min(len(a.normalize().as_tuple().digits), len(b.normalize().as_tuple().digits))
        return a == b or (digits <= 17 and float(a) == float(b))
    return type(a) is type(b) and bool(a == b)


# --- Records of the topics --------------------------------------------------------------------------------------------

_EPOCH: Final = datetime(1970, 1, 1)


def _debezium_decimal(scale: int) -> Callable[[Any], Any]:
    def convert(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return Decimal(int.from_bytes(base64.b64decode(value), "big", signed=True)).scaleb(-scale)

    return convert


def _debezium_datetime(fraction: int) -> Callable[[Any], Any]:
    unit = "milliseconds" if fraction <= 3 else "microseconds"
    return lambda value: _EPOCH + timedelta(**{unit: value}) if isinstance(value, int) else value


def _debezium_bytes(value: Any) -> Any:
    return base64.b64decode(value) if isinstance(value, str) else value


def _debezium_bits(value: Any) -> Any:
    return int.from_bytes(base64.b64decode(value), "little") if isinstance(value, str) else value


def _debezium_instant(value: Any) -> Any:
    return datetime.fromisoformat(value) if isinstance(value, str) else value


# --- The table --------------------------------------------------------------------------------------------------------

_MYSQL_FLOAT = (
    "CASE WHEN {0} = 0 THEN '0' WHEN ABS({0}) >= 1e-12 AND ABS({0}) < 1e30"
    " THEN CAST(CAST(CAST({0} AS CHAR) AS DECIMAL(65,30)) AS CHAR) ELSE CAST({0} AS CHAR) END"
)
_POSTGRES_FLOAT = (
    "CASE WHEN {0} = 0 THEN '0' WHEN abs({0}) >= 1e-12 AND abs({0}) < 1e30"
    " THEN {0}::text::numeric(65,30)::text ELSE replace({0}::text, 'e+', 'e') END"
)
_POSTGRES_SIX_DIGITS = (
    "CASE WHEN {0} = 0 THEN '0' WHEN abs({0}::float8) >= 1e-12 AND abs({0}::float8) < 1e30"
    " THEN to_char({0}::float8, '9.99999EEEE')::numeric(65,30)::text ELSE {0}::text END"
)
_ZERO_DATE = "zero or partial dates, which PostgreSQL does not have"
_NUL = ("LOCATE(0x00, CAST({} AS BINARY)) > 0", "NUL characters, which PostgreSQL's text does not have")

_INTEGERS: Final[dict[str, tuple[str, str]]] = {
    "tinyint": ("smallint", "smallint"),
    "smallint": ("smallint", "integer"),
    "mediumint": ("integer", "integer"),
    "int": ("integer", "bigint"),
    "bigint": ("bigint", "numeric(20)"),
}
"""Type: (signed, unsigned) on the target."""

_TEXTS: Final = frozenset({"tinytext", "text", "mediumtext", "longtext"})
_BLOBS: Final = frozenset({"tinyblob", "blob", "mediumblob", "longblob"})
_GEOMETRY: Final = frozenset({
    "geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon", "geometrycollection",
    "geomcollection",
})  # fmt: skip


def rule_for(column: Column, booleans: Iterable[str] = ()) -> TypeRule:
    """The rule for a column. `booleans` are the `table.column` of TINYINT(1) that become boolean.

    Raises `Unsupported`, which names table, column, type and reason.
    """
    rule = _base_rule(column, frozenset(booleans))
    if column.generated is not None:
        expression = translate(column.expression, "::numeric")
        if expression is None or column.type in ("float", "double"):
            raise Unsupported(
                column.table,
                column.name,
                column.full_type,
                f"generated from {column.expression}, which is more than columns, numbers, + - * and ()",
            )
        rule = replace(rule, generated=expression)
    return rule


def _base_rule(column: Column, booleans: frozenset[str]) -> TypeRule:
    kind = column.type
    if kind in _INTEGERS:
        return _integer_rule(column, column.path in booleans)
    if kind == "decimal":
        precision, scale = column.precision or 10, column.scale or 0
        return TypeRule(
            f"numeric({precision},{scale})",
            "CAST({}+0 AS CHAR)" if column.zerofill else "CAST({} AS CHAR)",
            "{}::text",
            ordered=True,
            canonical=_decimal(scale),
            parameter=Decimal,
            from_debezium=_debezium_decimal(scale),
        )
    if kind == "float":
        return TypeRule(
            "real",
            _MYSQL_FLOAT,
            _POSTGRES_SIX_DIGITS,
            canonical=_float,
            equal=_same_float,
            parameter=float,
            loses=(("CAST(CAST({0} AS CHAR) AS FLOAT) <> {0}", "more than the 6 digits that MySQL prints of a FLOAT"),),
        )
    if kind == "double":
        return TypeRule(
            "double precision", _MYSQL_FLOAT, _POSTGRES_FLOAT, canonical=_double, equal=_same_number, parameter=float
        )
    if kind == "bit":
        return _bit_rule(column.precision or 1)
    if kind in ("char", "varchar"):
        return _text_rule(f"varchar({column.length})" if column.length else "text")
    if kind in _TEXTS:
        return _text_rule("text")
    if kind in ("binary", "varbinary"):
        return TypeRule(
            "bytea",
            "HEX({})",
            "upper(encode({},'hex'))",
            ordered=True,
            canonical=_hex,
            parameter=bytes.fromhex,
            from_debezium=_debezium_bytes,
        )
    if kind in _BLOBS:
        return TypeRule("bytea", "SHA2({},256)", "encode(sha256({}),'hex')", from_debezium=_debezium_bytes)
    if kind == "enum":
        members = ", ".join("'" + value.replace("'", "''") + "'" for value in column.values)
        members = members.replace("{", "{{").replace("}", "}}")
        rule = _text_rule("text")
        return replace(
            rule,
            check=f"{{}} IN ({members})",
            refuse=(
                *rule.refuse,
                ("{}+0 = 0", "the empty value that MySQL stores for an invalid ENUM member"),
            ),
        )
    if kind == "set":
        return _text_rule("text")
    if kind == "json":
        text = "CAST({} AS CHAR) COLLATE utf8mb4_bin"
        return TypeRule(
            "jsonb",
            text,
            "{}::text",
            framed=True,
            equal=_same_json,
            refuse=(("LOCATE('\\\\u0000', CAST({} AS CHAR)) > 0", "U+0000 in JSON, which jsonb refuses"),),
        )
    return _temporal_rule(column)


def _integer_rule(column: Column, boolean: bool) -> TypeRule:
    text = "CAST({}+0 AS CHAR)" if column.zerofill else "CAST({} AS CHAR)"
    if boolean:
        if not column.full_type.startswith("tinyint(1)"):
            raise Unsupported(column.table, column.name, column.full_type, "only TINYINT(1) can become boolean")
        return TypeRule(
            "boolean",
            text,
            "({}::int)::text",
            canonical=_integer,
            parameter=lambda text: text == "1",
            refuse=(("{} NOT IN (0, 1)", "numbers other than 0 and 1 in a column named in `booleans`"),),
        )
    target = _INTEGERS[column.type][column.unsigned]
    carried = _debezium_decimal(0) if target == "numeric(20)" else int
    return TypeRule(target, text, "{}::text", ordered=True, canonical=_integer, parameter=int, from_debezium=carried)


def _bit_rule(width: int) -> TypeRule:
    if width == 1:
        return TypeRule(
            "boolean", "CAST({}+0 AS CHAR)", "({}::int)::text", canonical=_bits(1), parameter=lambda text: text == "1"
        )
    return TypeRule(
        f"bit({width})",
        f"LPAD(BIN({{}}+0),{width},'0')",
        "{}::text",
        canonical=_bits(width),
        from_debezium=_debezium_bits,
    )


def _text_rule(postgres: str) -> TypeRule:
    text = "CONVERT({} USING utf8mb4) COLLATE utf8mb4_bin"
    return TypeRule(postgres, text, "{}::text", framed=True, refuse=(_NUL,))


def _temporal_rule(column: Column) -> TypeRule:
    kind, digits = column.type, column.fraction
    if kind == "year":
        return TypeRule("smallint", "CAST({}+0 AS CHAR)", "{}::text", ordered=True, canonical=_integer, parameter=int)
    if kind == "date":
        return TypeRule(
            "date",
            "CAST({} AS CHAR)",
            "{}::text",
            ordered=True,
            from_debezium=lambda value: date(1970, 1, 1) + timedelta(days=value) if isinstance(value, int) else value,
            refuse=(("DAYOFMONTH({0}) = 0 OR MONTH({0}) = 0 OR YEAR({0}) = 0", _ZERO_DATE),),
        )
    if kind == "datetime":
        return TypeRule(
            f"timestamp({digits})",
            "CAST(CAST({} AS DATETIME(6)) AS CHAR)",
            "to_char({},'YYYY-MM-DD HH24:MI:SS.US')",
            ordered=True,
            canonical=_timestamp,
            from_debezium=_debezium_datetime(digits),
            refuse=(("DAYOFMONTH({0}) = 0 OR MONTH({0}) = 0 OR YEAR({0}) = 0", _ZERO_DATE),),
        )
    if kind == "timestamp":
        return TypeRule(
            f"timestamptz({digits})",
            "CAST(CAST({} AS DATETIME(6)) AS CHAR)",
            "to_char({} AT TIME ZONE 'UTC','YYYY-MM-DD HH24:MI:SS.US')",
            ordered=True,
            canonical=_timestamp,
            parameter=str,
            from_debezium=_debezium_instant,
            refuse=(("YEAR({}) = 0", _ZERO_DATE),),
        )
    if kind == "time":
        return TypeRule(
            f"time({digits})",
            "CAST(CAST({} AS TIME(6)) AS CHAR)",
            "to_char({}::interval,'HH24:MI:SS.US')",
            canonical=_time,
            from_debezium=lambda value: timedelta(microseconds=value) if isinstance(value, int) else value,
            refuse=(
                ("{0} < '00:00:00' OR {0} >= '24:00:00'", "times outside of one day (they would stop the CDC sink)"),
            ),
        )
    if kind in _GEOMETRY:
        raise Unsupported(
            column.table,
            column.name,
            column.full_type,
            "spatial types need PostGIS and a rule for SRIDs, which do not exist here yet",
        )
    if kind == "vector":
        raise Unsupported(
            column.table, column.name, column.full_type, "vectors need pgvector, which has no rule here yet"
        )
    raise Unsupported(column.table, column.name, column.full_type, "no rule for this type")


_TOKEN = re.compile(r"\s+|`((?:[^`]|``)+)`|\d+(?:\.\d+)?|[-+*()]")


def translate(expression: str, cast: str = "") -> str | None:
    """MySQL's expression in PostgreSQL's SQL, if it is made of columns, numbers, `+ - *` and parentheses; else None.

    `cast` goes behind each column: MySQL computes with 64 bits where PostgreSQL's integer overflows at 32.
    """
    out: list[str] = []
    position = 0
    while position < len(expression):
        match = _TOKEN.match(expression, position)
        if match is None:
            return None
        out.append(postgres_name(match[1].replace("``", "`")) + cast if match[1] else match[0])
        position = match.end()
    return "".join(out)


def carried(columns: Sequence[Column]) -> tuple[Column, ...]:
    """The columns that CDC carries: all but the generated ones, which the target computes itself."""
    return tuple(column for column in columns if column.generated is None)


_NOW = re.compile(r"(?i)^(?:current_timestamp|now)(?:\((\d?)\))?$")
_DEFAULTS: Final = {"uuid()": "gen_random_uuid()::text", "json_array()": "'[]'::jsonb", "json_object()": "'{}'::jsonb"}


def default_for(column: Column, rule: TypeRule) -> str | None:
    """The column's DEFAULT in PostgreSQL's SQL; None where there is none (or the target makes the value itself).

    Raises `Unsupported` for an expression or value without a counterpart.
    """
    value = column.default
    if value is None or column.auto_increment or column.generated:
        return None
    if column.default_expression:
        if (now := _NOW.match(value)) is not None:
            stamp = f"CURRENT_TIMESTAMP({now[1] or 0})"
            return stamp if column.type == "timestamp" else f"({stamp} AT TIME ZONE 'UTC')"
        if (literal := re.fullmatch(r"_\w+\\?'((?:[^'\\]|'')*)\\?'", value)) is not None:
            return f"'{literal[1]}'"
        if (known := _DEFAULTS.get(value.lower().strip("()") + "()")) is not None:
            return known
        raise Unsupported(column.table, column.name, column.full_type, f"no rule for DEFAULT ({value})")
    if column.type in ("date", "datetime", "timestamp") and value.startswith("0000"):
        raise Unsupported(column.table, column.name, column.full_type, f"DEFAULT '{value}' is a zero date")
    if column.type == "bit":
        bits = value.removeprefix("b'").removesuffix("'")
        if rule.postgres == "boolean":
            return "true" if bits.endswith("1") else "false"
        return f"B'{bits:0>{column.precision or 1}}'"
    if rule.postgres == "boolean":
        return "true" if value not in ("0", "00") else "false"
    if rule.postgres == "bytea":
        raw = bytes.fromhex(value[2:]) if value.startswith("0x") else value.encode()
        padded = raw.ljust(column.length or 0, b"\0") if column.type == "binary" else raw
        return f"'\\x{padded.hex()}'::bytea"
    return "'" + value.replace("'", "''") + "'"


# --- Settings of the connectors ---------------------------------------------------------------------------------------


def debezium_source_settings(booleans: Sequence[str], database: str, excluded: Sequence[str] = ()) -> dict[str, str]:
    """What makes Debezium's MySQL source carry values as `rule_for` expects them.

    `booleans` and `excluded` are `table.column`: TINYINT(1) to carry as boolean; columns not to carry at all (those the
    contract has no rule for, and generated ones).
    """
    settings = {
        "bigint.unsigned.handling.mode": "precise",
        "decimal.handling.mode": "precise",
        "time.precision.mode": "adaptive_time_microseconds",
        "binary.handling.mode": "bytes",
        **_converters(),
    }
    if booleans:
        settings |= {
            "converters": "booleans",
            "booleans.type": CONVERTER,
            "booleans.selector": "|".join(_path(database, name) for name in booleans),
        }
    if excluded:
        settings["column.exclude.list"] = ",".join(_path(database, name) for name in excluded)
    return settings


def reverse_source_settings(excluded: Sequence[str] = (), schema: str = "public") -> dict[str, str]:
    """What makes Debezium's PostgreSQL source carry values so that MySQL gets back what it had.

    The same representation as on the way there; columns that are left out there (`table.column`) are left out here.
    """
    settings = {
        "decimal.handling.mode": "precise",
        "time.precision.mode": "adaptive_time_microseconds",
        "binary.handling.mode": "bytes",
        "include.unknown.datatypes": "false",
        **_converters(),
    }
    if excluded:
        settings["column.exclude.list"] = ",".join(_path(schema, name) for name in excluded)
    return settings


def reverse_sink_settings() -> dict[str, str]:
    """What makes Debezium's JDBC sink write to MySQL as the schema has it.

    No reduction buffer: MySQL takes several records of a key in one batch, and with a secondary unique key their order
    counts (`ON DUPLICATE KEY UPDATE` takes any unique key, so a value must have left a row before another gets it).
    """
    return {**sink_settings(), "use.reduction.buffer": "false"}


def _path(database: str, name: str) -> str:
    """A pattern (Java's syntax) that matches just this column."""
    return r"\.".join(re.escape(part) for part in (database, *name.split(".", 1)))


def sink_settings() -> dict[str, str]:
    """What makes Debezium's JDBC sink write values, keys and names as the schema has them.

    - The reduction buffer keeps one record per key in a batch: with `reWriteBatchedInserts=true` two would fail
      (`ON CONFLICT DO UPDATE command cannot affect row a second time`).
    - The naming strategy keeps the dot of `schema.table`; the default one makes an underscore of it.
    - The connection's URL needs `stringtype=unspecified`: text becomes jsonb, bit and the like only then.
    """
    return {
        "insert.mode": "upsert",
        "delete.enabled": "true",
        "primary.key.mode": "record_key",
        "schema.evolution": "none",
        "quote.identifiers": "true",
        "use.reduction.buffer": "true",
        "use.time.zone": "UTC",
        "collection.naming.strategy": "io.debezium.sink.naming.PassthroughCollectionNamingStrategy",
        **_converters(),
    }


def _converters() -> dict[str, str]:
    """JSON with its schema. A NULL stays NULL even where the column has a default (the converter's own default is not
    so)."""
    return {
        f"{side}.converter{key}": value
        for side in ("key", "value")
        for key, value in (
            ("", "org.apache.kafka.connect.json.JsonConverter"),
            (".schemas.enable", "true"),
            (".replace.null.with.default", "false"),
        )
    }
