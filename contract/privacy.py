"""Whose data a column holds: the data classes of a database, as `data-classes.yaml` says them.

`none` is nobody's, `personal(kind)` tells of a person, `card` is a card number or its token, `secret` lets somebody in.
The classes stand in a file of their own and not in `contract.tables.Column`: a `Table` says what a database itself
knows of its columns, and no database knows whose data they hold. So both sides' tables, which are described by the same
`Table`, have one answer, and a change of it is a change that is reviewed.

Invariants:
- Every column of every table is named. There is no wildcard: a column that comes later has no class, and a refresh
  stops.
- All mistakes are told at once, by name.
- A class can be carried out where it is given: the type has room for the mask, unique keys stay unique, and columns
  that refer to each other have the same class.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import yaml

from contract.control import SCHEMA
from contract.masks import KINDS, TEXTS, is_unique, obstacle
from contract.tables import Column, Table

Name = Literal["none", "personal", "card", "secret"]


class PrivacyError(ValueError):
    """The data classes are not fit for use; the message names every reason."""


@dataclass(frozen=True, slots=True)
class DataClass:
    name: Name
    kind: str = ""
    """Of personal data: see `contract.masks.KINDS`."""

    def __str__(self) -> str:
        return f"personal({self.kind})" if self.kind else self.name

    @property
    def mask(self) -> str:
        """What it is masked as: a kind, `card`, or '' (none, or erased)."""
        return self.kind if self.name == "personal" else "card" if self.name == "card" else ""


NONE: Final = DataClass("none")
CARD: Final = DataClass("card")
SECRET: Final = DataClass("secret")


@dataclass(frozen=True, slots=True)
class Link:
    """Rows of `table` belong to the row of `to_table` whose `to_column` their `column` names; only those as `where`."""

    table: str
    column: str
    to_table: str
    to_column: str
    where: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Subject:
    """Who a person is in this database: a row of `table`, named by `column`. What refers to it by foreign keys is the
    person's too, and what refers to that; `links` are references that no foreign key declares."""

    table: str
    column: str
    links: tuple[Link, ...] = ()


@dataclass(frozen=True)
class DataClasses:
    tables: Mapping[str, Mapping[str, DataClass]]
    subject: Subject | None = None
    allowed: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """By `table.column`: what a scan may take for personal data there though it is none."""

    def of(self, column: Column) -> DataClass:
        """The column's class. Raises `PrivacyError`."""
        try:
            return self.tables[column.table][column.name]
        except KeyError:
            raise PrivacyError(f"{column.path} has no data class") from None

    def missing(self, tables: Iterable[Table]) -> list[str]:
        """The `table.column` that have no class."""
        return [
            column.path
            for table in tables
            for column in table.columns
            if column.name not in self.tables.get(table.name, {})
        ]

    def problems(self, tables: Sequence[Table]) -> list[str]:
        """Everything that stands in the way of masking these tables, by name: empty when there is nothing."""
        found = [f"{path} has no data class" for path in self.missing(tables)]
        for table in tables:
            for column in table.columns:
                if column.name in self.tables.get(table.name, {}):
                    found += _problems_of(self.of(column), column)
            found += self._unique_problems(table)
        return found + self._reference_problems({table.name: table for table in tables})

    def _unique_problems(self, table: Table) -> list[str]:
        found, known = [], self.tables.get(table.name, {})
        keys = {
            "the primary key": table.primary_key,
            **{f"the unique key {k.name}": k.columns for k in table.keys if k.unique},
        }
        for key, columns in keys.items():
            for name in columns:
                given = known.get(name, NONE)
                if given.name == "secret" and not table.column(name).nullable:
                    found.append(
                        f"{table.name}.{name} is part of {key}: erased values would be alike; make it personal(token)"
                    )
                elif given.mask and not is_unique(given.mask):
                    unique = ", ".join(kind for kind in KINDS if is_unique(kind))
                    found.append(
                        f"{table.name}.{name} is part of {key}, but masks of {given} may be alike "
                        f"(these stay unique: {unique})"
                    )
        return found

    def _reference_problems(self, tables: Mapping[str, Table]) -> list[str]:
        found = []
        for table in tables.values():
            for key in table.foreign_keys:
                for name, other in zip(key.columns, key.referenced_columns, strict=True):
                    mine = self.tables.get(table.name, {}).get(name)
                    theirs = self.tables.get(key.referenced_table, {}).get(other)
                    if mine and theirs and mine != theirs:
                        found.append(
                            f"{table.name}.{name} ({mine}) refers to {key.referenced_table}.{other} ({theirs}): "
                            "they must have the same class, or they no longer join"
                        )
        return found


def _problems_of(given: DataClass, column: Column) -> list[str]:
    if given.mask and column.generated is None and (reason := obstacle(given.mask, column)):
        return [f"{column.path}: {reason}"]
    if given.name == "secret" and not column.nullable and column.type not in _ERASABLE:
        return [f"{column.path}: a secret in {column.full_type} cannot be erased unless it may be NULL"]
    return []


_ERASABLE: Final = TEXTS | {"binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"}

CONTROL_TABLES: Final[tuple[Table, ...]] = (
    Table(
        f"{SCHEMA}.idempotency",
        tuple(
            Column(name, kind, full, False, length=length, collation=collation, table=f"{SCHEMA}.idempotency")
            for name, kind, full, length, collation in (
                ("id", "varchar", "varchar(64)", 64, "ascii_bin"),
                ("request", "varchar", "varchar(64)", 64, "utf8mb4_0900_ai_ci"),
                ("status", "smallint", "smallint", None, None),
                ("answer", "mediumtext", "mediumtext", 16_777_215, "utf8mb4_0900_ai_ci"),
                ("at", "datetime", "datetime(6)", None, None),
            )
        ),
        ("id",),
    ),
)
"""The control tables that hold customers' data, named with their schema: answers to writes."""

# --- The file ---------------------------------------------------------------------------------------------------------

_CLASS: Final = re.compile(r"(none|card|secret)|personal\(([a-z_]+)\)")
FINDINGS: Final = ("email", "phone", "card", "national_id", "name")
"""What a scan looks for in every text: `contract.personal`."""


def load_classes(path: Path) -> DataClasses:
    """Reads a file of data classes. Raises `PrivacyError` that names every mistake."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as e:
        raise PrivacyError(f"{path} cannot be read: {e}") from e
    return parse_classes(text, str(path))


def parse_classes(text: str, origin: str) -> DataClasses:
    """What `load_classes` does with a file's text."""
    try:
        data = yaml.load(text, _NoDoubles)
    except yaml.YAMLError as e:
        raise PrivacyError(f"{origin} is not YAML: {e}") from e
    wrong: list[str] = []
    if not isinstance(data, dict) or data.get("version") != 1 or not isinstance(data.get("tables"), dict):
        raise PrivacyError(f"{origin} must have `version: 1` and `tables:`, with the columns of each table")
    if unknown := sorted(set(map(str, data)) - {"version", "tables", "subject", "allow"}):
        wrong.append(f"unknown: {', '.join(unknown)}")
    tables = {str(table): _columns(str(table), columns, wrong) for table, columns in data["tables"].items()}
    subject = _subject(data.get("subject"), tables, wrong)
    allowed = _allowed(data.get("allow") or {}, tables, wrong)
    if wrong:
        raise PrivacyError("\n".join([f"{origin} has mistakes:", *(f"  {line}" for line in wrong)]))
    return DataClasses(tables, subject, allowed)


def _columns(table: str, columns: Any, wrong: list[str]) -> dict[str, DataClass]:
    if not isinstance(columns, dict):
        wrong.append(
            f"{table}: name each column with its class; a class for a whole table would also hold for columns to come"
        )
        return {}
    found = {}
    for column, given in columns.items():
        match = _CLASS.fullmatch(str(given)) if isinstance(given, str) else None
        if column == "*":
            wrong.append(f"{table}.*: there is no wildcard; name each column")
        elif match is None:
            wrong.append(f"{table}.{column}: {given!r} is no class (none, personal(KIND), card, secret)")
        elif match[2] and match[2] not in KINDS:
            wrong.append(f"{table}.{column}: there is no kind {match[2]} ({', '.join(KINDS)})")
        else:
            found[str(column)] = DataClass("personal", match[2]) if match[2] else _plain(match[1])
    return found


def _plain(name: str) -> DataClass:
    return {"none": NONE, "card": CARD, "secret": SECRET}[name]


def _subject(data: Any, tables: Mapping[str, Mapping[str, DataClass]], wrong: list[str]) -> Subject | None:
    if data is None:
        return None
    if not isinstance(data, dict) or not set(data) <= {"is", "links"}:
        wrong.append("subject: must have `is: TABLE.COLUMN` and `links:`")
        return None

    def place(path: Any, what: str) -> tuple[str, str]:
        table, _, column = str(path).rpartition(".")
        if column not in tables.get(table, {}):
            wrong.append(f"{what}: there is no column {path}")
        return table, column

    table, column = place(data.get("is"), "subject.is")
    links = []
    for item in data.get("links") or ():
        if not isinstance(item, dict) or not {"from", "to"} <= set(item) <= {"from", "to", "where"}:
            wrong.append(
                f"subject.links: {item!r} must have `from: TABLE.COLUMN`, `to: TABLE.COLUMN` and may have `where:`"
            )
            continue
        mine, theirs = place(item["from"], "subject.links"), place(item["to"], "subject.links")
        where = item.get("where") or {}
        for name in where:
            place(f"{mine[0]}.{name}", "subject.links")
        links.append(Link(*mine, *theirs, tuple((str(k), str(v)) for k, v in where.items())))
    return Subject(table, column, tuple(links))


def _allowed(data: Any, tables: Mapping[str, Mapping[str, DataClass]], wrong: list[str]) -> dict[str, frozenset[str]]:
    found = {}
    for path, kinds in data.items() if isinstance(data, dict) else [(data, None)]:
        table, _, column = str(path).rpartition(".")
        if column not in tables.get(table, {}):
            wrong.append(f"allow: there is no column {path}")
        elif not isinstance(kinds, list) or not kinds or not set(kinds) <= set(FINDINGS):
            wrong.append(f"allow.{path}: must be a list of {', '.join(FINDINGS)}")
        elif tables[table][column] != NONE:
            wrong.append(f"allow.{path}: it is {tables[table][column]}; only what is none may look like personal data")
        else:
            found[str(path)] = frozenset(kinds)
    return found


class _NoDoubles(yaml.SafeLoader):  # type: ignore[misc]  # yaml has no types
    """YAML takes the last of two equal keys without a word; here that is a mistake."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value]
        if doubled := sorted({name for name in names if names.count(name) > 1}):
            raise yaml.constructor.ConstructorError(None, None, f"named twice: {', '.join(doubled)}", node.start_mark)
        return dict(super().construct_mapping(node, deep))
