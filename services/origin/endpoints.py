"""An API as a table of endpoints: its routes and its description (OpenAPI 3.1) are made from the same rows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.origin.answers import Problem
from services.origin.database import Session
from services.origin.http import Origin, body_of

MAX_ID = (1 << 63) - 1
Schema = dict[str, Any]


class Body(Protocol):
    """What a request's JSON object may hold."""

    @property
    def schema(self) -> Schema: ...

    def body(self, data: dict[str, Any]) -> dict[str, Any]:
        """The values. Raises `Problem` 422."""


@dataclass(frozen=True, slots=True)
class Query:
    """A parameter in the URL that must be there."""

    name: str
    meaning: str


Work = Callable[[Session, int, dict[str, Any]], Awaitable[Any]]
"""What an endpoint does, from the `{id}` of its path (0 if it has none) and the values of its body or query."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One row. It writes if it has a body, else it reads."""

    method: str
    path: str
    name: str
    """A name of its own, as clients generated from the description call it."""
    summary: str
    work: Work
    answer: Schema
    body: Body | None = None
    query: Query | None = None
    status: int = 200
    """What success is answered with."""
    missing: str = ""
    """When it answers 404."""

    @property
    def has_id(self) -> bool:
        return "{id" in self.path

    async def handle(self, origin: Origin, request: Request) -> Response:
        """Answers a request."""
        number = _number(request) if self.has_id else 0
        if self.body is None:
            values = self._asked(request)
            return await origin.read(request, lambda db: self.work(db, number, values))
        values = self.body.body(await body_of(request))
        return await origin.write(request, lambda db: self.work(db, number, values), self.status)

    def _asked(self, request: Request) -> dict[str, Any]:
        if self.query is None:
            return {}
        value = request.query_params.get(self.query.name)
        if not value:
            raise Problem(422, "invalid", f"{self.query.name}: {self.query.meaning}")
        return {self.query.name: value}


def routes(origin: Origin, endpoints: Sequence[Endpoint]) -> list[Route]:
    """The endpoints over `origin`."""
    return [_route(origin, endpoint) for endpoint in endpoints]


def _route(origin: Origin, endpoint: Endpoint) -> Route:
    async def handle(request: Request) -> Response:
        return await endpoint.handle(origin, request)

    return Route(endpoint.path, handle, methods=[endpoint.method])


def _number(request: Request) -> int:
    number = int(request.path_params["id"])
    if number > MAX_ID:
        raise Problem(404, "not-found", f"there is no {number}")
    return number
