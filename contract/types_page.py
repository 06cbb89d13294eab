"""The type contract as a page, `docs/types.md`: made from the rules themselves, so that it cannot say anything else.

`EVERY_TYPE` has a column for each type and attribute of MySQL 8 and 9; tests make a real table of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from contract import types
from contract.debezium import debezium_source_settings
from contract.dms import dms_rule
from contract.tables import Column
from contract.types import COLLATIONS, Choices, TypeRule, Unsupported, rule_for


@dataclass(frozen=True, slots=True)
class Example:
    """A column as declared in MySQL (`sql`), as the contract has it, and the choice it stands for."""

    sql: str
    column: Column
    choice: str = ""

    @property
    def choices(self) -> Choices:
        path = [self.column.path]
        return Choices.of(
            path if self.choice == "booleans" else (),
            path if self.choice == "intervals" else (),
            exact_floats=self.choice != "snapshot",
        )


def _example(sql: str, kind: str, choice: str = "", name: str = "c", **more: object) -> Example:
    full = sql.lower()
    return Example(sql, Column(name, kind, full, table="t", **more), choice)  # type: ignore[arg-type]


def _examples() -> Iterator[Example]:
    yield _example("TINYINT(1)", "tinyint")
    yield _example("TINYINT(1)", "tinyint", "booleans")
    for kind in ("TINYINT", "SMALLINT", "MEDIUMINT", "INT", "BIGINT"):
        yield _example(kind, kind.lower())
        yield _example(f"{kind} UNSIGNED", kind.lower())
    yield _example("INT(6) UNSIGNED ZEROFILL", "int")
    yield _example("DECIMAL(65,30)", "decimal", precision=65, scale=30)
    yield _example("DECIMAL(12,2) UNSIGNED", "decimal", precision=12, scale=2)
    yield _example("FLOAT", "float")
    yield _example("FLOAT", "float", "snapshot")
    yield _example("DOUBLE", "double")
    yield _example("BIT(1)", "bit", precision=1)
    yield _example("BIT(64)", "bit", precision=64)
    yield _example("YEAR", "year")
    yield _example("DATE", "date")
    yield _example("DATE NOT NULL", "date", nullable=False)
    yield _example("TIME(6)", "time", fraction=6)
    yield _example("TIME(6)", "time", "intervals", fraction=6)
    yield _example("DATETIME(6)", "datetime", fraction=6)
    yield _example("DATETIME NOT NULL", "datetime", nullable=False)
    yield _example("TIMESTAMP(6)", "timestamp", fraction=6)
    text = {"collation": "utf8mb4_0900_ai_ci"}
    yield _example("CHAR(10)", "char", length=10, **text)
    yield _example("VARCHAR(100)", "varchar", length=100, **text)
    yield _example("VARCHAR(100) CHARACTER SET latin1", "varchar", length=100, collation="latin1_swedish_ci")
    for kind in ("TINYTEXT", "TEXT", "MEDIUMTEXT", "LONGTEXT"):
        yield _example(kind, kind.lower(), **text)
    yield _example("BINARY(16)", "binary", length=16)
    yield _example("VARBINARY(100)", "varbinary", length=100)
    for kind in ("TINYBLOB", "BLOB", "MEDIUMBLOB", "LONGBLOB"):
        yield _example(kind, kind.lower())
    yield _example("ENUM('a','b')", "enum", values=("a", "b"), **text)
    yield _example("SET('x','y','z')", "set", values=("x", "y", "z"), **text)
    yield _example("JSON", "json")
    yield _example(
        "DECIMAL(9,2) AS (`price` * `amount`)",
        "decimal",
        precision=9,
        scale=2,
        generated="virtual",
        expression="(`price` * `amount`)",
    )
    for kind in ("GEOMETRY", "POINT", "LINESTRING", "POLYGON", "MULTIPOINT", "MULTILINESTRING", "MULTIPOLYGON"):
        yield _example(kind, kind.lower())
    yield _example("GEOMETRYCOLLECTION", "geomcollection")
    yield _example("VECTOR(3)", "vector")


EVERY_TYPE: Final[Sequence[Example]] = tuple(_examples())

_CHOICE: Final = {
    "booleans": "named in `cdc.booleans`",
    "intervals": "named in `cdc.intervals`",
    "snapshot": "copied by Debezium",
}

_SETTINGS: Final = {
    "decimal": "decimal.handling.mode",
    "time": "time.precision.mode",
    "datetime": "time.precision.mode",
    "binary": "binary.handling.mode",
    "varbinary": "binary.handling.mode",
}
"""Which of Debezium's settings decides how a type is carried, besides those of `_setting`."""


def _setting(example: Example, rule: TypeRule) -> str:
    settings = debezium_source_settings(example.choices, "shop")
    kind = example.column.type
    if example.choice in ("booleans", "intervals"):
        return f"`converters={settings['converters']}`"
    key = "bigint.unsigned.handling.mode" if rule.postgres == "numeric(20)" else _SETTINGS.get(kind, "")
    if kind.endswith("blob"):
        key = "binary.handling.mode"
    return f"`{key}={settings[key]}`" if key else ""


def _dms(example: Example) -> str:
    try:
        rule = dms_rule(example.column, example.choices.booleans, "forward", example.choices.intervals)
    except Unsupported as error:
        return f"not carried: {error.reason.removeprefix('AWS DMS cannot carry it: ')}"
    change = f", changed to {rule.change['type']}" if rule.change else ""
    return f"{rule.type}{' (LOB)' if rule.lob else ''}{change}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _row(*cells: str) -> str:
    return f"| {' | '.join(_cell(cell) for cell in cells)} |"


def types_page() -> str:
    """The whole page, as Markdown."""
    carried, compared, refused = [], [], []
    for example in EVERY_TYPE:
        name = f"`{example.sql}`" + (f" {_CHOICE[example.choice]}" if example.choice else "")
        try:
            rule = rule_for(example.column, example.choices)
        except Unsupported as error:
            refused.append(_row(f"`{example.sql}`", error.reason))
            continue
        told = [f"refused: {meaning}" for _, meaning in rule.refuse] + [meaning for _, meaning in rule.notes]
        told += [f"Debezium's snapshot rounds {meaning}" for _, meaning in rule.loses]
        codec = f"{rule.codec.name}({rule.codec.parameter})" if rule.codec.parameter else rule.codec.name
        target = f"`{rule.postgres}`" + (f" generated as `{rule.generated}`" if rule.generated else "")
        carried.append(_row(name, target, codec, _setting(example, rule), _dms(example), "; ".join(told)))
        compared.append(_row(name, f"`{rule.mysql_text.format('c')}`", f"`{rule.postgres_text.format('c')}`"))
    rules = (types.__doc__ or "").split("Rules that are choices, not facts", 1)[1]
    rules = rules.split(":", 1)[1].strip()
    collations = [_row(f"`{name}`", f"`{locale}`") for name, locale in COLLATIONS.items()]
    return "\n".join(
        [
            "# Types",
            "",
            "What each MySQL type becomes, how it travels, and how both sides are compared. Made from",
            "`contract/types.py` by `python -m infra.reference`; do not edit it here.",
            "",
            "## What becomes what",
            "",
            "*Codec* is the native core's way from MySQL's value to PostgreSQL's binary one: what the bulk copy writes",
            "and the check compares with. *Debezium* is the setting that decides how changes carry the type.",
            "",
            _row("MySQL", "PostgreSQL", "codec", "Debezium", "AWS DMS", "values with a rule of their own"),
            _row(*["---"] * 6),
            *carried,
            "",
            "## Stated exceptions",
            "",
            "Refused by name, before any row moves; `--skip-unsupported` leaves the column out, and says so.",
            "",
            _row("MySQL", "why"),
            _row("---", "---"),
            *refused,
            "",
            "## Rules",
            "",
            rules,
            "",
            "## Unique keys over text",
            "",
            "MySQL's collations decide what a unique key takes for equal. On the target a unique index compares under",
            "one of these ICU collations where MySQL ignores case or accents, and without trailing spaces where MySQL",
            "pads:",
            "",
            _row("collation", "ICU locale"),
            _row("---", "---"),
            *collations,
            "",
            "## The canonical text of a column, in SQL",
            "",
            "Both sides give the same text for the same value (numbers in JSON and very large or small doubles may be",
            "spelled differently; then the comparator decides). The hash method of `data-check` is made of these.",
            "",
            _row("MySQL", "in MySQL", "in PostgreSQL"),
            _row(*["---"] * 3),
            *compared,
            "",
        ]
    )
