"""HTTP around a fenced database: answers, headers, errors, health.

What a caller may rely on:
- 421: this side may not do it now and nothing was executed; `x-zdm-flag` says who may.
- 500 with code `unknown-outcome`: a write that happened or did not. Nobody may repeat it blindly, but with its
  `Idempotency-Key` anybody may.
- 503: nothing was executed; try again.
- Every answer has `x-zdm-side`; it has `x-zdm-flag` when the fence is newer than the request's `x-zdm-epoch`,
  `x-zdm-v`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contract.flag import Flag
from services.origin.answers import Busy, Problem, encoded, json_response, problem_response, response
from services.origin.database import (
    Conflict,
    Database,
    DatabaseError,
    Fenced,
    Refused,
    Session,
    UnknownOutcome,
)  # fmt: skip
from services.origin.idempotency import REPLAYED, Answer, key_of, once
from services.origin.metrics import CONTENT_TYPE, Metrics
from services.origin.second import Image, Second

log = logging.getLogger("zdm.origin")

MAX_BODY_BYTES = 1 << 20
T = TypeVar("T")


class Origin:
    """One side's API: gives handlers `read` and `write`, and the endpoints that every origin has."""

    def __init__(self, database: Database, second: Database | None = None) -> None:
        """`second` gets copies of what is committed here, while the fence says so (see `second`)."""
        self.database = database
        self.metrics = Metrics(database.side)
        self._second = None if second is None else Second(second, self.metrics.second_write)

    async def read(self, request: Request, work: Callable[[Session], Awaitable[T]]) -> Response:
        """Answers 200 with what `work` returned, if this side may serve reads; a forced route may read it anyway."""
        forced = request.headers.get("x-zdm-forced") == "1"
        try:
            result, flag = await self.database.read(work, even_if_stale=forced)
        except (DatabaseError, Problem) as e:
            return self.failed(request, e)
        return self._told(request, json_response(200, result), flag)

    async def write(self, request: Request, work: Callable[[Session], Awaitable[T]], status: int = 200) -> Response:
        """Answers `status` with what `work` returned, once its transaction is committed.

        With an `Idempotency-Key` (see `idempotency`) a repeat is answered as the first one was.
        """

        images: list[Image] = []

        async def answered(db: Session) -> Answer:
            answer = Answer(status, encoded(await work(db)))
            if self._second is not None:
                images[:] = await self._second.images(db, db.touched)
            return answer

        try:
            key = key_of(request)
            if key is None:
                answer, flag = await self.database.write(answered)
            else:
                answer, flag = await self.database.write(lambda db: once(db, key, answered))
        except (DatabaseError, Problem) as e:
            return self.failed(request, e)
        if self._second is not None:
            await self._second.write(images)
        made = response(answer.status, answer.content)
        if answer.replayed:
            self.metrics.replayed()
            made.headers[REPLAYED] = "true"
        return self._told(request, made, flag)

    def _told(self, request: Request, answer: Response, flag: Flag) -> Response:
        """The answer, with the flag for those who know an older one."""
        if (flag.epoch, flag.v) > _known_to(request):
            answer.headers["x-zdm-flag"] = flag.to_json()
        return answer

    def failed(self, request: Request, error: DatabaseError | Problem) -> Response:
        """The answer to a request that came to nothing, or whose outcome is not known."""
        match error:
            case Problem():
                return problem_response(error)
            case Fenced():
                self.metrics.fenced(_writes(request.method))
                self.metrics.epoch(error.flag.epoch)
                answer = _error(421, "fenced", str(error))
                answer.headers["x-zdm-flag"] = error.flag.to_json()
                return answer
            case UnknownOutcome():
                self.metrics.unknown_outcome()
                log.error("%s %s: %s", request.method, request.url.path, error)
                return _error(500, "unknown-outcome", "the write happened, or did not")
            case Refused():
                log.warning("%s %s: %s", request.method, request.url.path, error)
                return _error(409, "refused", "the database refused the values")
            case Conflict():
                return _busy("conflict")
            case _:
                log.debug("%s %s: %s", request.method, request.url.path, error)
                return _busy("unavailable")

    def app(self, routes: Sequence[Route]) -> Starlette:
        """The ASGI application with `routes` and the origin's own endpoints."""
        own = [
            Route("/__zdm/flag", self._flag),
            Route("/healthz", self._alive),
            Route("/readyz", self._ready),
            Route("/metrics", self._metrics),
        ]
        return Starlette(
            routes=[*routes, *own],
            middleware=[Middleware(_Measured, side=self.database.side.value, metrics=self.metrics)],
            exception_handlers={Problem: _problem, HTTPException: _http_problem},
        )

    async def _flag(self, request: Request) -> Response:
        try:
            flag = await self.database.flag()
        except DatabaseError:
            return _busy("unavailable")
        self.metrics.epoch(flag.epoch)
        return Response(flag.to_json(), media_type="application/json", headers={"cache-control": "no-store"})

    async def _alive(self, request: Request) -> Response:
        return json_response(200, {"status": "ok"})

    async def _ready(self, request: Request) -> Response:
        return await self._flag(request)

    async def _metrics(self, request: Request) -> Response:
        return Response(self.metrics.text(), media_type=CONTENT_TYPE)


class _Measured:
    """Counts and times requests of the API (not of health checks), and names the side in every answer."""

    def __init__(self, app: ASGIApp, side: str, metrics: Metrics) -> None:
        self._app = app
        self._header = (b"x-zdm-side", side.encode())
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"].append(self._header)
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            if not scope["path"].startswith(_UNMEASURED):
                self._metrics.request(_writes(scope["method"]), status, time.perf_counter() - started)


_UNMEASURED = ("/__zdm/", "/healthz", "/readyz", "/metrics", "/openapi.json", "/docs")


async def body_of(request: Request) -> dict[str, Any]:
    """The request's JSON object; its bytes stay in `request.state.body`. Raises `Problem`."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise Problem(413, "too-large", f"a body has at most {MAX_BODY_BYTES} bytes")
        chunks.append(chunk)
    request.state.body = b"".join(chunks)
    try:
        data = orjson.loads(request.state.body)
    except orjson.JSONDecodeError as e:
        raise Problem(400, "not-json", str(e)) from e
    if not isinstance(data, dict):
        raise Problem(400, "not-json", "the body must be a JSON object")
    return data


def _error(status: int, code: str, *detail: str) -> Response:
    return problem_response(Problem(status, code, *detail))


async def _problem(_: Request, problem: Exception) -> Response:
    assert isinstance(problem, Problem)
    return problem_response(problem)


async def _http_problem(_: Request, problem: Exception) -> Response:
    assert isinstance(problem, HTTPException)
    return _error(problem.status_code, problem.detail.lower().replace(" ", "-"))


def _busy(code: str) -> Response:
    """No details for clients: they name hosts and accounts."""
    return problem_response(Busy(503, code, "nothing was executed, try again"))


def _writes(method: str) -> bool:
    return method not in ("GET", "HEAD", "OPTIONS")


def _known_to(request: Request) -> tuple[int, int]:
    """(epoch, v) that the sender knows; less than any flag when it says nothing."""
    try:
        return int(request.headers["x-zdm-epoch"]), int(request.headers["x-zdm-v"])
    except (KeyError, ValueError):
        return -1, -1
