"""Table mappings of AWS DMS tasks. Pure: from tables, by the type contract, to the JSON document.

- What DMS cannot carry by the contract is refused, with every obstacle at once.
- Each table is named by itself, and no name is taken for a pattern: `_` stands for any character to DMS.
- The control schema's watermark and idempotency keys travel too, under their own names.

Source: AWS DMS user guide, "Using table mapping to specify task settings" and the pages under it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import Any, Final

from components.base import ArgumentError, demand
from components.connectors import CONTROL_SCHEMA
from contract.control import CARRIED
from contract.dms import Demands, Direction, Travel, travel
from contract.tables import Table

TARGET_SCHEMA: Final = "public"
_NO_BOUNDARY: Final = frozenset({"REAL4", "REAL8", "BLOB", "CLOB", "NCLOB", "BYTES", "BOOLEAN"})


@dataclass(frozen=True)
class Partitions:
    """Load a table by the partitions it has in MySQL, each for itself."""


@dataclass(frozen=True)
class Ranges:
    """Load a table by ranges of a key, each for itself: one more than there are boundaries."""

    columns: Sequence[str]
    """What the ranges are cut by, most significant first; NOT NULL, or rows are left out. An index should begin so."""
    boundaries: Sequence[Sequence[str]]
    """Upper ends of all ranges but the last, in ascending order: a value for each column."""

    def __post_init__(self) -> None:
        width = len(self.columns)
        demand(
            self,
            columns=(1 <= width <= 10 and len(set(self.columns)) == width, "1 to 10 different columns"),
            boundaries=(
                len(self.boundaries) > 0 and all(len(values) == width for values in self.boundaries),
                f"at least one, each with {width} values",
            ),
        )


ParallelLoad = Partitions | Ranges


class CannotCarry(ArgumentError):
    """AWS DMS cannot carry some of the tables by the contract; `obstacles` names each reason."""

    def __init__(self, obstacles: Sequence[str]) -> None:
        lines = "\n".join(f"  {obstacle}" for obstacle in obstacles)
        super().__init__(f"AWS DMS cannot carry these tables by the type contract:\n{lines}")
        self.obstacles = tuple(obstacles)


@dataclass(frozen=True)
class TableMappings:
    """The document of one task, and what to know about its tables."""

    document: str
    """What DMS gets."""
    lobs: bool
    """Whether any of the tables has a LOB; if none has, the LOB settings do not matter."""
    cautions: tuple[str, ...]
    """Columns whose values only a comparison can vouch for, and why."""


def table_mappings(
    database: str,
    tables: Sequence[Table],
    *,
    booleans: Collection[str] = (),
    intervals: Collection[str] = (),
    excluded: Collection[str] = (),
    parallel: Mapping[str, ParallelLoad] | None = None,
    direction: Direction = "forward",
    demands: Demands | None = None,
) -> TableMappings:
    """The mappings of a task from MySQL's `database` to `public`, or back. Raises `CannotCarry`.

    `booleans`, `intervals` and `excluded` are `table.column`; `parallel` says by table how large ones are loaded.
    """
    parallel = parallel or {}
    source, target = (database, TARGET_SCHEMA) if direction == "forward" else (TARGET_SCHEMA, database)
    travels = {
        table.name: travel(table, booleans, excluded, direction, demands or Demands(), intervals)
        for table in sorted(tables, key=lambda table: table.name)
    }
    obstacles = [obstacle for found in travels.values() for obstacle in found.obstacles]
    obstacles += [
        f"{name}: to be loaded in parallel, but not among the tables" for name in parallel.keys() - travels.keys()
    ]
    obstacles += [f"{name}: AWS DMS takes % and [ for a pattern" for name in travels if set(name) & set("%[")]
    for table in tables:
        if table.name in parallel:
            obstacles += _cut(table, travels[table.name], parallel[table.name])
    if obstacles:
        raise CannotCarry(obstacles)
    rules = [_selection(source, name) for name in travels] + [_selection(CONTROL_SCHEMA, name) for name in CARRIED]
    rules.append(
        {
            "rule-type": "transformation",
            "rule-target": "schema",
            "rule-action": "rename",
            "object-locator": {"schema-name": _literal(source)},
            "value": target,
        }
    )
    for name, found in travels.items():
        rules += [_column(source, name, column, "remove-column") for column in found.removed]
        rules += [
            {**_column(source, name, column, "change-data-type"), "data-type": dict(rule.change)}
            for column, rule in found.carried.items()
            if rule.change
        ]
    rules += [_segments(source, name, way) for name, way in sorted(parallel.items())]
    numbered = [{"rule-id": str(i), "rule-name": str(i), **rule} for i, rule in enumerate(rules, 1)]
    return TableMappings(
        document=json.dumps({"rules": numbered}, sort_keys=True),
        lobs=any(found.lobs for found in travels.values()),
        cautions=tuple(
            f"{name}.{column}: {rule.caution}"
            for name, found in travels.items()
            for column, rule in found.carried.items()
            if rule.caution
        ),
    )


def _literal(name: str) -> str:
    """A name in which no character stands for others."""
    return name.replace("_", "[_]")


def _selection(schema: str, table: str) -> dict[str, Any]:
    return {
        "rule-type": "selection",
        "rule-action": "include",
        "object-locator": {"schema-name": _literal(schema), "table-name": _literal(table)},
    }


def _column(schema: str, table: str, column: str, action: str) -> dict[str, Any]:
    return {
        "rule-type": "transformation",
        "rule-target": "column",
        "rule-action": action,
        "object-locator": {
            "schema-name": _literal(schema),
            "table-name": _literal(table),
            "column-name": _literal(column),
        },
    }


def _segments(schema: str, table: str, way: ParallelLoad) -> dict[str, Any]:
    """Here names are exact: patterns are not allowed, so nothing is escaped."""
    load: dict[str, Any] = {"type": "partitions-auto"}
    if isinstance(way, Ranges):
        load = {
            "type": "ranges",
            "columns": list(way.columns),
            "boundaries": [list(values) for values in way.boundaries],
        }
    return {
        "rule-type": "table-settings",
        "object-locator": {"schema-name": schema, "table-name": table},
        "parallel-load": load,
    }


def _cut(table: Table, found: Travel, way: ParallelLoad) -> list[str]:
    """Why a table cannot be cut so."""
    if isinstance(way, Partitions):
        return [] if table.partitions > 1 else [f"{table.name}: to be loaded by its partitions, but has none"]
    wrong: list[str] = []
    for name in way.columns:
        column = next((column for column in table.columns if column.name == name), None)
        if column is None or name not in found.carried:
            wrong.append(f"{table.name}.{name}: to be cut by, but not carried")
        elif found.carried[name].type in _NO_BOUNDARY:
            wrong.append(f"{column.path} {column.full_type}: ranges cannot be cut by such a value")
        elif column.nullable and name not in table.primary_key:
            wrong.append(f"{column.path}: can be NULL, and AWS DMS leaves out such rows when it loads by ranges")
    if not wrong and all(found.carried[name].type.startswith(("INT", "UINT", "NUMERIC")) for name in way.columns):
        try:
            ends = [tuple(Decimal(value) for value in values) for values in way.boundaries]
        except InvalidOperation:
            return [f"{table.name}: boundaries must be numbers, as {', '.join(way.columns)} are"]
        if any(one >= other for one, other in pairwise(ends)):
            wrong.append(f"{table.name}: boundaries must ascend, or ranges overlap")
    return wrong
