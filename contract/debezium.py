"""The settings of Debezium's connectors that decide how values are represented, made from the type contract.

Sources, sinks, DDL and checks must agree on every value, so nothing else sets these.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from contract.types import NO_CHOICES, Choices

CONVERTER: Final = "io.debezium.connector.mysql.converters.TinyIntOneToBooleanConverter"
TIME_AS_TEXT: Final = "zdm.debezium.TimeAsText"
INTERVAL_AS_TEXT: Final = "zdm.debezium.IntervalAsText"
"""Our own converters (`services/debezium_converters`)."""


def debezium_source_settings(choices: Choices, database: str, excluded: Sequence[str] = ()) -> dict[str, str]:
    """What makes Debezium's MySQL source carry values as `rule_for` expects them.

    `excluded` are the `table.column` not to carry at all: those the contract has no rule for, and generated ones.
    """
    settings = {
        "bigint.unsigned.handling.mode": "precise",
        "decimal.handling.mode": "precise",
        "time.precision.mode": "adaptive_time_microseconds",
        "enable.time.adjuster": "false",
        "binary.handling.mode": "bytes",
        **_converters(),
    }
    settings |= _chosen(
        database, booleans=(CONVERTER, choices.booleans), intervals=(TIME_AS_TEXT, choices.intervals)
    )
    if excluded:
        settings["column.exclude.list"] = ",".join(_path(database, name) for name in excluded)
    return settings


def _chosen(schema: str, **converters: tuple[str, Iterable[str]]) -> dict[str, str]:
    """Converters by name, each with its class and its columns (`table.column`); those without columns are left out."""
    settings: dict[str, str] = {}
    for name, (kind, columns) in converters.items():
        if selector := "|".join(_path(schema, column) for column in sorted(columns)):
            settings |= {f"{name}.type": kind, f"{name}.selector": selector}
            settings["converters"] = f"{settings['converters']},{name}" if "converters" in settings else name
    return settings


def reverse_source_settings(
    choices: Choices = NO_CHOICES, excluded: Sequence[str] = (), schema: str = "public"
) -> dict[str, str]:
    """What makes Debezium's PostgreSQL source carry values so that MySQL gets back what it had.

    The same representation as on the way there; columns that are left out there (`table.column`) are left out here.
    """
    settings = {
        "decimal.handling.mode": "precise",
        "time.precision.mode": "adaptive_time_microseconds",
        "binary.handling.mode": "bytes",
        "include.unknown.datatypes": "false",
        **_converters(),
        **_chosen(schema, intervals=(INTERVAL_AS_TEXT, choices.intervals)),
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
