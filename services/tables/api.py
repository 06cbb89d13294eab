"""Rows over HTTP.

POST /rows/{table}      {"op": "insert", "values": {...}}                 -> 201 {"key": {...}}
                        {"op": "update", "key": {...}, "values": {...}}    absolute values -> 200
                        {"op": "increment", "key": {...}, "values": {...}} adds to numbers -> 200
GET  /rows/{table}?key=KEY                                                 -> 200 {column: value}

A key is a JSON object with all columns of the primary key; where that is one column, its value alone will do.
A row that is not there is 404; values that the database does not take are 409, and nothing was changed.
"""

from __future__ import annotations

from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.origin.database import DatabaseError, Session
from services.origin.http import Origin, Problem, body_of
from services.tables.catalog import Catalog, Table

OPERATIONS = ("insert", "update", "increment")


class Rows:
    """The endpoints over one origin."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._catalog = Catalog(origin.database)

    async def write(self, request: Request) -> Response:
        body = await body_of(request)
        operation, values = body.get("op"), body.get("values")
        if operation not in OPERATIONS:
            raise Problem(422, "invalid", f"op: one of {', '.join(OPERATIONS)}")
        if not isinstance(values, dict) or not values:
            raise Problem(422, "invalid", "values: an object with at least one column")
        try:
            table = await self._catalog.table(request.path_params["table"])
        except DatabaseError as e:
            return self._origin.failed(request, e)
        _check(table, values)
        if operation == "insert":
            return await self._origin.write(request, lambda db: insert(db, table, values), 201)
        key = _key(table, body.get("key"))
        adding = operation == "increment"
        return await self._origin.write(request, lambda db: change(db, table, key, values, adding=adding))

    async def read(self, request: Request) -> Response:
        try:
            table = await self._catalog.table(request.path_params["table"])
        except DatabaseError as e:
            return self._origin.failed(request, e)
        text = request.query_params.get("key", "")
        try:
            key = _key(table, orjson.loads(text))
        except orjson.JSONDecodeError:
            key = _key(table, text)
        return await self._origin.read(request, lambda db: row(db, table, key))


async def insert(db: Session, table: Table, values: dict[str, Any]) -> dict[str, Any]:
    """Inserts one row and returns its key."""
    sql = (
        f"INSERT INTO {table.sql} ({', '.join(table.column(name) for name in values)}) "
        f"VALUES ({', '.join(table.slot(name) for name in values)})"
    )
    parameters = [table.value(name, value) for name, value in values.items()]
    key = {column.name: values.get(column.name) for column in table.key}
    counted = table.counted
    if counted is not None and values.get(counted) is None:
        made = await db.insert(sql, *parameters, key=counted)
        if counted in key:
            key[counted] = made
    else:
        await db.execute(sql, *parameters)
    return {"key": key}


async def change(
    db: Session, table: Table, key: dict[str, Any], values: dict[str, Any], *, adding: bool
) -> dict[str, Any]:
    """Sets, or adds to, columns of one row. Raises `Problem` 404, and 422 where adding is not possible."""
    if adding and (wrong := [name for name in values if not table.columns[name].numeric]):
        raise Problem(422, "invalid", *(f"values.{name}: not a number's column" for name in wrong))
    assignments = ", ".join(
        f"{table.column(name)} = {f'{table.column(name)} + ' if adding else ''}{table.slot(name)}" for name in values
    )
    found = await db.execute(
        f"UPDATE {table.sql} SET {assignments} WHERE {_where(table, key)}",
        *(table.value(name, value) for name, value in values.items()), *_parameters(table, key),
    )  # fmt: skip
    if not found:
        raise _missing(table, key)
    return {"key": key}


async def row(db: Session, table: Table, key: dict[str, Any]) -> dict[str, Any]:
    """The row of `key`, by column. Raises `Problem` 404."""
    names = list(table.columns)
    rows = await db.fetch(
        f"SELECT {', '.join(table.column(name) for name in names)} FROM {table.sql} WHERE {_where(table, key)}",
        *_parameters(table, key),
    )
    if not rows:
        raise _missing(table, key)
    return dict(zip(names, rows[0], strict=True))


def _where(table: Table, key: dict[str, Any]) -> str:
    return " AND ".join(f"{table.column(name)} = {table.slot(name)}" for name in key)


def _parameters(table: Table, key: dict[str, Any]) -> list[object]:
    return [table.value(name, value) for name, value in key.items()]


def _check(table: Table, values: dict[str, Any]) -> None:
    wrong = []
    for name in values:
        column = table.columns.get(name)
        if column is None:
            wrong.append(f"values.{name}: {table.name} has no such column")
        elif column.generated:
            wrong.append(f"values.{name}: computed by the database")
    if wrong:
        raise Problem(422, "invalid", *wrong)


def _key(table: Table, given: object) -> dict[str, Any]:
    columns = [column.name for column in table.key]
    if not columns:
        raise Problem(422, "invalid", f"{table.name} has no primary key")
    if not isinstance(given, dict) and len(columns) == 1:
        given = {columns[0]: given}
    if not isinstance(given, dict) or set(given) != set(columns) or None in given.values():
        raise Problem(422, "invalid", f"key: an object with {', '.join(columns)}")
    return given


def _missing(table: Table, key: dict[str, Any]) -> Problem:
    return Problem(404, "not-found", f"{table.name} has no row {orjson.dumps(key, default=str).decode()}")


def routes(origin: Origin) -> list[Route]:
    """The endpoints over `origin`."""
    rows = Rows(origin)
    return [
        Route("/rows/{table}", rows.write, methods=["POST"]),
        Route("/rows/{table}", rows.read, methods=["GET"]),
    ]
