"""The type contract: what each MySQL type becomes in PostgreSQL, how it travels, and how both sides are compared.

The target's DDL, the connectors' settings, the bulk copy and the checks are all made from this one table, so they
cannot disagree. `docs/types.md` is generated from it.

**Comparing.** Each column has one *canonical text*, computed in SQL on either side. A row is encoded as the
concatenation of its columns' texts, injectively: text that may hold anything is framed as `<bytes>:<text>`, other
text ends with `|`, NULL is `~` (and so cannot be taken for any value, since a frame begins with a digit). Where the
two databases write the same value differently (JSON numbers, very large and very small doubles), the texts differ but
`equal` knows better: a difference of texts is a reason to compare rows, never yet a mismatch; equal texts are always
equal values. The native core (`rows/`) knows each type by its `codec`: it makes PostgreSQL's binary value from what
MySQL sends, which the copy writes and the check compares with. It computes nothing from the SQL here, so that the two
ways of checking do not share their mistakes.

Rules that are choices, not facts (`Choices` has those that a team makes, by column):
- TINYINT(1) stays a number unless its column is named in `booleans`; then it holds 0 and 1 only.
- BIGINT UNSIGNED is numeric(20): PostgreSQL has no unsigned types, and half of its range would not fit into bigint.
- CHAR(n) is varchar(n): MySQL strips the padding when it reads, PostgreSQL's char(n) would put it back.
- DATETIME is timestamp (a wall clock), TIMESTAMP is timestamptz (an instant, in UTC), to the microsecond: a difference
  of one microsecond is a difference. Zero and partial dates (`0000-00-00`, `2024-00-15`) are NULL on the target, as
  Debezium has them; in a column that is NOT NULL they are refused. (A stated exception: Debezium's snapshot moves
  the days that the Gregorian reform left out, 1582-10-05 to 14; the copy and the stream of changes do not.)
- TIME is a time of day, and values below 00:00:00 or from 24:00:00 on are refused; unless its column is named in
  `intervals`: then it is an interval, and every value of MySQL's range fits.
- ENUM is text with a CHECK, SET is text (members in the order of declaration, as MySQL returns them). The empty value
  that MySQL stores for an invalid member is refused, unless '' is a member. Members with a comma or a backslash are
  refused altogether: Debezium escapes them, so that changes would carry another text.
- JSON is jsonb, which keeps no duplicate keys and no white space (MySQL's JSON neither) and refuses U+0000.
- FLOAT is real, DOUBLE is double precision: every bit counts, so a difference in the last place is a difference. Where
  Debezium's snapshot filled the target (`exact_floats` is false) FLOATs are compared at the 6 digits that MySQL prints,
  as that is all that the snapshot reads. (`snapshot.fetch.size` would make it exact here, but then TIME loses its
  fraction and midnight is NULL: never set it.) Minus zero equals zero.
- BIT(1) is boolean, BIT(n) is bit(n). YEAR is smallint, without 0000. All binary types are bytea.
- Text must be UTF-8 without U+0000 once MySQL has converted it; trailing spaces count.
- A generated column is generated on the target too, and not carried by copy and CDC. It is supported when its
  expression has a counterpart that is exact; the check then compares what both databases computed.
- An invisible column is an ordinary one on the target.
- Text keeps the target's deterministic collation: `=` on the target distinguishes case and accents. Unique keys do not:
  see `unique_expression`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, Final

from contract import expressions, values
from contract.operands import NoCounterpart, Operand
from contract.tables import Column, mysql_name, postgres_name


class Unsupported(Exception):
    """The contract has no rule for a column."""

    def __init__(self, table: str, column: str, type: str, reason: str) -> None:
        super().__init__(f"{table}.{column} {type}: {reason}")
        self.table, self.column, self.type, self.reason = table, column, type, reason


@dataclass(frozen=True, slots=True)
class Choices:
    """What a team decides by column (`table.column`), and what follows from how the rows travelled."""

    booleans: frozenset[str] = frozenset()
    """TINYINT(1) that become boolean."""
    intervals: frozenset[str] = frozenset()
    """TIME that become interval."""
    exact_floats: bool = True
    """Whether FLOATs came over with all their digits: not by Debezium's snapshot."""

    @staticmethod
    def of(booleans: Iterable[str] = (), intervals: Iterable[str] = (), exact_floats: bool = True) -> Choices:
        return Choices(frozenset(booleans), frozenset(intervals), exact_floats)


NO_CHOICES: Final = Choices()


@dataclass(frozen=True, slots=True)
class Codec:
    """How the native core carries a type: its name there, a parameter (bits), and what is special."""

    name: str
    parameter: int = 0
    zero_is_null: bool = False
    """Zero and partial dates become NULL."""
    empty_member: bool = False
    """'' is a member of the ENUM."""


@dataclass(frozen=True, slots=True)
class TypeRule:
    """How one column travels. In the SQL templates `{}` is the quoted column."""

    postgres: str
    """The declared type on the target."""
    mysql_text: str
    postgres_text: str
    codec: Codec
    mysql_read: str = "{}"
    """What the native core reads from MySQL."""
    framed: bool = False
    """Whether the text may hold any character, so that its length must go before it."""
    ordered: bool = False
    """Whether both databases order the values alike, so that a table can be cut at them."""
    canonical: values.Convert = str
    """From a value as the drivers or `from_debezium` give it (or the text itself) to the canonical text."""
    parameter: Callable[[str], Any] = str
    """From the canonical text to a query parameter that both drivers and indexes take, and that Python orders."""
    from_debezium: Callable[[Any], Any] = lambda value: value
    """From the value in a JSON record of the topic (as these settings make it) to a plain Python value."""
    equal: Callable[[str, str], bool] = lambda a, b: a == b
    """Whether two canonical texts are the same value."""
    refuse: tuple[tuple[str, str], ...] = ()
    """What values cannot be carried: (condition in MySQL's SQL over `{}`, what it means)."""
    notes: tuple[tuple[str, str], ...] = ()
    """What values are carried as something else by a stated rule, in the same form: counted and told."""
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


def encode(texts: Iterable[tuple[str | None, bool]]) -> str:
    """The encoding of a row from its canonical texts and whether each is framed: what the SQL on either side
    computes."""
    out = []
    for text, framed in texts:
        if framed:
            out.append("~" if text is None else f"{len(text.encode())}:{text}")
        else:
            out.append(("~" if text is None else text) + "|")
    return "".join(out)


# --- The table --------------------------------------------------------------------------------------------------------

def _mysql_float(text: str) -> str:
    return (
        "CASE WHEN {0} = 0 THEN '0' WHEN ABS({0}) >= 1e-12 AND ABS({0}) < 1e30"
        f" THEN CAST(CAST({text} AS DECIMAL(65,30)) AS CHAR) ELSE {text} END"
    )


_MYSQL_DOUBLE = _mysql_float(
    "IF(CAST(CAST({0} AS CHAR) AS DOUBLE) = {0}, CAST({0} AS CHAR), CAST(CAST({0} AS JSON) AS CHAR))"
)
"""`CAST({0} AS CHAR)` cuts at 22 characters, too few for 17 digits with a sign and an exponent: then by way of JSON,
which gives 17 digits also where 16 would do, as PostgreSQL does."""
_POSTGRES_FLOAT = (
    "CASE WHEN {0} = 0 THEN '0' WHEN abs({0}) >= 1e-12 AND abs({0}) < 1e30"
    " THEN {0}::text::numeric(65,30)::text ELSE replace({0}::text, 'e+', 'e') END"
)
_POSTGRES_SIX_DIGITS = (
    "CASE WHEN {0} = 0 THEN '0' WHEN abs({0}::float8) >= 1e-12 AND abs({0}::float8) < 1e30"
    " THEN to_char({0}::float8, '9.99999EEEE')::numeric(65,30)::text ELSE {0}::text END"
)
_AS_DOUBLE = "CAST({} AS DOUBLE)"
_ZERO_DATE = "DAYOFMONTH({0}) = 0 OR MONTH({0}) = 0 OR YEAR({0}) = 0"
_NUL = (
    "LOCATE(0x00, CAST(CONVERT({} USING utf8mb4) AS BINARY)) > 0",
    "NUL characters, which PostgreSQL's text does not have",
)

_NUL_IN_JSON = (
    r"LOCATE('\\u0000', CAST({0} AS CHAR)) > 0 AND REGEXP_LIKE(CAST({0} AS CHAR), '(?<!\\\\)(\\\\\\\\)*\\\\u0000')"
)
"""An escape by an odd number of backslashes; after an even number `u0000` is plain text."""

_INTEGERS: Final[dict[str, tuple[str, str]]] = {
    "tinyint": ("smallint", "smallint"),
    "smallint": ("smallint", "integer"),
    "mediumint": ("integer", "integer"),
    "int": ("integer", "bigint"),
    "bigint": ("bigint", "numeric(20)"),
}
"""Type: (signed, unsigned) on the target."""
_INTEGER_CODECS: Final = {"smallint": "int2", "integer": "int4", "bigint": "int8", "numeric(20)": "numeric"}

_TEXTS: Final = frozenset({"tinytext", "text", "mediumtext", "longtext"})
_BLOBS: Final = frozenset({"tinyblob", "blob", "mediumblob", "longblob"})
_GEOMETRY: Final = frozenset({
    "geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon", "geometrycollection",
    "geomcollection",
})  # fmt: skip


def rule_for(column: Column, choices: Choices = NO_CHOICES) -> TypeRule:
    """The rule for a column. Raises `Unsupported`, which names table, column, type and reason."""
    rule = _base_rule(column, choices)
    if column.generated is not None:
        try:
            generated = expressions.generated(column, rule.postgres, operands(column.sources, choices, inline=True))
        except NoCounterpart as e:
            raise _refused(column, f"generated from {column.expression}: {e}") from e
        rule = replace(rule, generated=generated)
    return rule


def _refused(column: Column, reason: str) -> Unsupported:
    return Unsupported(column.table, column.name, column.full_type, reason)


def _base_rule(column: Column, choices: Choices) -> TypeRule:
    kind = column.type
    if kind in _INTEGERS:
        return _integer_rule(column, column.path in choices.booleans)
    if kind == "decimal":
        precision, scale = column.precision or 10, column.scale or 0
        return TypeRule(
            f"numeric({precision},{scale})",
            "CAST({}+0 AS CHAR)" if column.zerofill else "CAST({} AS CHAR)",
            "{}::text",
            Codec("numeric"),
            ordered=True,
            canonical=values.decimal(scale),
            parameter=Decimal,
            from_debezium=values.debezium_decimal(scale),
        )
    if kind == "float":
        return _float_rule(choices.exact_floats)
    if kind == "double":
        return TypeRule(
            "double precision",
            _MYSQL_DOUBLE,
            _POSTGRES_FLOAT,
            Codec("float8"),
            canonical=values.double,
            equal=values.same_number,
            parameter=float,
        )
    if kind == "bit":
        return _bit_rule(column.precision or 1)
    if kind in ("char", "varchar"):
        return _text_rule(f"varchar({column.length})" if column.length else "text")
    if kind in _TEXTS:
        return _text_rule("text")
    if kind == "set":
        _demand_plain_members(column)
        return _text_rule("text")
    if kind in ("binary", "varbinary"):
        return TypeRule(
            "bytea",
            "HEX({})",
            "upper(encode({},'hex'))",
            Codec("bytea"),
            ordered=True,
            canonical=values.hexadecimal,
            parameter=bytes.fromhex,
            from_debezium=values.debezium_bytes,
        )
    if kind in _BLOBS:
        return TypeRule(
            "bytea",
            "SHA2({},256)",
            "encode(sha256({}),'hex')",
            Codec("bytea"),
            from_debezium=values.debezium_bytes,
        )
    if kind == "enum":
        return _enum_rule(column)
    if kind == "json":
        return TypeRule(
            "jsonb",
            "CAST({} AS CHAR) COLLATE utf8mb4_bin",
            "{}::text",
            Codec("jsonb"),
            framed=True,
            equal=values.same_json,
            refuse=((_NUL_IN_JSON, "U+0000 in JSON, which jsonb refuses"),),
        )
    return _temporal_rule(column, choices)


def _integer_rule(column: Column, boolean: bool) -> TypeRule:
    text = "CAST({}+0 AS CHAR)" if column.zerofill else "CAST({} AS CHAR)"
    if boolean:
        if not column.full_type.startswith("tinyint(1)"):
            raise _refused(column, "only TINYINT(1) can become boolean")
        return TypeRule(
            "boolean",
            text,
            "({}::int)::text",
            Codec("bool"),
            canonical=values.integer,
            parameter=lambda text: text == "1",
            refuse=(("{} NOT IN (0, 1)", "numbers other than 0 and 1 in a column named in `booleans`"),),
        )
    target = _INTEGERS[column.type][column.unsigned]
    return TypeRule(
        target,
        text,
        "{}::text",
        Codec(_INTEGER_CODECS[target]),
        ordered=True,
        canonical=values.integer,
        parameter=int,
        from_debezium=values.debezium_decimal(0) if target == "numeric(20)" else int,
    )


def _float_rule(exact: bool) -> TypeRule:
    if exact:
        return TypeRule(
            "real",
            _MYSQL_DOUBLE.replace("{0}", _AS_DOUBLE.format("{0}")),
            _POSTGRES_FLOAT.replace("{0}", "{0}::float8"),
            Codec("float4"),
            mysql_read=_AS_DOUBLE,
            canonical=values.double,
            equal=values.same_number,
            parameter=float,
        )
    return TypeRule(
        "real",
        _mysql_float("CAST({0} AS CHAR)"),
        _POSTGRES_SIX_DIGITS,
        Codec("float4"),
        mysql_read=_AS_DOUBLE,
        canonical=values.six_digits,
        equal=values.same_float,
        parameter=float,
        loses=(("CAST(CAST({0} AS CHAR) AS FLOAT) <> {0}", "more than the 6 digits that MySQL prints of a FLOAT"),),
    )


def _bit_rule(width: int) -> TypeRule:
    if width == 1:
        return TypeRule(
            "boolean",
            "CAST({}+0 AS CHAR)",
            "({}::int)::text",
            Codec("bitbool"),
            canonical=values.bits(1),
            parameter=lambda text: text == "1",
        )
    return TypeRule(
        f"bit({width})",
        f"LPAD(BIN({{}}+0),{width},'0')",
        "{}::text",
        Codec("bits", width),
        canonical=values.bits(width),
        from_debezium=values.debezium_bits,
    )


def _text_rule(postgres: str) -> TypeRule:
    text = "CONVERT({} USING utf8mb4) COLLATE utf8mb4_bin"
    return TypeRule(postgres, text, "{}::text", Codec("text"), framed=True, refuse=(_NUL,))


def _enum_rule(column: Column) -> TypeRule:
    _demand_plain_members(column)
    members = ", ".join("'" + value.replace("'", "''") + "'" for value in column.values)
    members = members.replace("{", "{{").replace("}", "}}")
    rule = _text_rule("text")
    invalid = ("{}+0 = 0", "the empty value that MySQL stores for an invalid ENUM member")
    return replace(
        rule,
        codec=Codec("enum", empty_member="" in column.values),
        check=f"{{}} IN ({members})",
        refuse=(*rule.refuse, *(() if "" in column.values else (invalid,))),
        notes=((invalid,) if "" in column.values else ()),
    )


def _demand_plain_members(column: Column) -> None:
    if odd := [member for member in column.values if "," in member or "\\" in member]:
        raise _refused(column, f"Debezium carries members with a comma or a backslash as other text ({', '.join(odd)})")
    if odd := [member for member in column.values if "?" in member]:
        raise _refused(column, f"MySQL's catalog shows emoji as ?, so these members may be others: {', '.join(odd)}")


def _temporal_rule(column: Column, choices: Choices) -> TypeRule:
    kind, digits = column.type, column.fraction
    if kind == "year":
        return TypeRule(
            "smallint",
            "CAST({}+0 AS CHAR)",
            "{}::text",
            Codec("int2"),
            ordered=True,
            canonical=values.integer,
            parameter=int,
            refuse=(("{}+0 = 0", "the year 0000, which Debezium carries as 1900 or 2000"),),
        )
    if kind == "date":
        rule = TypeRule(
            "date",
            "CAST({} AS CHAR)",
            "{}::text",
            Codec("date"),
            ordered=True,
            from_debezium=lambda value: date(1970, 1, 1) + timedelta(days=value) if isinstance(value, int) else value,
        )
        return _with_zero_dates(column, rule)
    if kind == "datetime":
        rule = TypeRule(
            f"timestamp({digits})",
            "CAST(CAST({} AS DATETIME(6)) AS CHAR)",
            "to_char({},'YYYY-MM-DD HH24:MI:SS.US')",
            Codec("timestamp"),
            ordered=True,
            canonical=values.timestamp,
            from_debezium=values.debezium_datetime(digits),
        )
        return _with_zero_dates(column, rule)
    if kind == "timestamp":
        rule = TypeRule(
            f"timestamptz({digits})",
            "CAST(CAST({} AS DATETIME(6)) AS CHAR)",
            "to_char({} AT TIME ZONE 'UTC','YYYY-MM-DD HH24:MI:SS.US')",
            Codec("timestamptz"),
            ordered=True,
            canonical=values.timestamp,
            from_debezium=values.debezium_instant,
        )
        return _with_zero_dates(column, rule)
    if kind == "time":
        return _time_rule(column, column.path in choices.intervals)
    if kind in _GEOMETRY:
        raise _refused(column, "spatial types need PostGIS and decisions on SRIDs and axis order")
    if kind == "vector":
        raise _refused(column, "vectors need the extension pgvector, and models rather than rows are what is moved")
    raise _refused(column, "no rule for this type")


def _with_zero_dates(column: Column, rule: TypeRule) -> TypeRule:
    """NULL where the column may be NULL, refused where it may not."""
    if not column.nullable:
        return replace(rule, refuse=((_ZERO_DATE, "zero or partial dates in a column that is NOT NULL"),))
    return replace(
        rule,
        mysql_text=f"IF({_ZERO_DATE},NULL,{rule.mysql_text.replace('{}', '{0}')})",
        codec=replace(rule.codec, zero_is_null=True),
        notes=((_ZERO_DATE, "zero or partial dates, which are NULL on the target"),),
    )


def _time_rule(column: Column, interval: bool) -> TypeRule:
    if interval:
        return TypeRule(
            "interval",
            "CAST(TIMESTAMPDIFF(MICROSECOND,'2000-01-01',ADDTIME(CAST('2000-01-01' AS DATETIME(6)),{})) AS CHAR)",
            "(extract(epoch from {})*1000000)::bigint::text",
            Codec("interval"),
            ordered=True,
            canonical=values.microseconds,
            parameter=lambda text: timedelta(microseconds=int(text)),
            from_debezium=values.debezium_interval,
        )
    return TypeRule(
        f"time({column.fraction})",
        "CAST(CAST({} AS TIME(6)) AS CHAR)",
        "to_char({}::interval,'HH24:MI:SS.US')",
        Codec("time"),
        canonical=values.clock,
        from_debezium=lambda value: timedelta(microseconds=value) if isinstance(value, int) else value,
        refuse=(
            (
                "{0} < '00:00:00' OR {0} >= '24:00:00'",
                "times outside of one day (name the column in `cdc.intervals`, and it becomes an interval)",
            ),
        ),
    )


def operands(columns: Iterable[Column], choices: Choices = NO_CHOICES, inline: bool = False) -> dict[str, Operand]:
    """What expressions may use of the columns, by name: those that have a rule. `inline`: a generated column stands for
    what it is computed from, because PostgreSQL's generated columns cannot use each other."""
    found = {}
    for column in columns:
        try:
            rule = rule_for(column, choices)
        except Unsupported:
            continue
        sql = f"({rule.generated})::{rule.postgres}" if inline and rule.generated else ""
        found[column.name] = Operand(column, rule.postgres, partial(unique_expression, column), sql)
    return found


def carried(columns: Sequence[Column]) -> tuple[Column, ...]:
    """The columns that copy and CDC carry: all but the generated ones, which the target computes itself."""
    return tuple(column for column in columns if column.generated is None)


# --- Unique keys over text --------------------------------------------------------------------------------------------

COLLATIONS: Final[dict[str, str]] = {
    "zdm_ai_ci": "und-u-ks-level1",
    "zdm_as_ci": "und-u-ks-level2",
}
"""ICU collations of the target that take for equal what MySQL does: accents and case ignored, or case alone. Their
strength is that of MySQL's `_ai_ci` and `_as_ci` (Unicode Collation Algorithm, levels 1 and 2)."""


def collation_for(column: Column) -> str | None:
    """The target's collation for a unique key over the column; None where it compares code points."""
    if not column.case_insensitive:
        return None
    assert column.collation is not None
    return "zdm_as_ci" if "_as_ci" in column.collation else "zdm_ai_ci"


def unique_expression(column: Column, expression: str) -> str:
    """`expression` (over the column, on the target) as a unique key must compare it to refuse what MySQL refuses.

    - A case-insensitive collation becomes an ICU collation of the same strength. Those that do not say so
      (`_general_ci`, `_unicode_ci`, ...) ignore accents as well. Where the algorithms' versions order a rare letter
      differently, the target may accept or refuse a pair that MySQL would not; rows that are there already are tried
      before the index is made.
    - PAD SPACE collations (all but `utf8mb4_0900_*` and binary) take `a` and `a ` for equal: trailing spaces go.
    """
    if column.collation is None:
        return expression
    if column.pads:
        expression = f"rtrim({expression}, ' ')"
    collation = collation_for(column)
    return expression if collation is None else f"{expression} COLLATE {postgres_name(collation)}"


def create_collation(name: str, schema: str = "public") -> str:
    """The statement that makes one of `COLLATIONS` on the target."""
    return (
        f"CREATE COLLATION IF NOT EXISTS {postgres_name(schema, name)} "
        f"(provider = icu, locale = '{COLLATIONS[name]}', deterministic = false)"
    )


# --- Defaults ---------------------------------------------------------------------------------------------------------

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
        try:
            return f"({expressions.default(column, rule.postgres, value)})"
        except NoCounterpart as e:
            raise _refused(column, f"no rule for DEFAULT ({value}): {e}") from e
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
