"""Runs an origin: binds its address, waits for its database without failing, ends its requests before it ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

import uvicorn
import uvloop
from starlette.routing import Route

from contract.flag import Side
from services.origin.database import Database, DatabaseError
from services.origin.http import Origin
from services.origin.idempotency import keep_pruned
from services.origin.mysql import mysql_database
from services.origin.postgres import postgres_database
from services.origin.settings import Settings, SettingsError, settings_from

log = logging.getLogger("zdm.origin")

KEEP_ALIVE_SECONDS = 75
"""Longer than the idle timeout of whoever connects (a load balancer's is 60 s), so that it is never this side that
closes a connection just as a request arrives on it."""

GRACE_SECONDS = 25
"""How long requests under way may take after SIGTERM; a container gets 30 s."""


Work = Coroutine[Any, Any, None]


def run(
    routes: Callable[[Origin], Sequence[Route]], background: Callable[[Origin], Sequence[Work]] = lambda _: ()
) -> None:
    """The whole program of a service: its endpoints, and what it does besides as long as it lives.

    Ends with all mistakes when the settings do not fit.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        settings = settings_from(os.environ)
    except SettingsError as e:
        sys.exit(str(e))
    uvloop.run(_serve(settings, routes, background))


def database_of(settings: Settings) -> Database:
    """The database of the side that the settings name."""
    return mysql_database(settings) if settings.side is Side.MYSQL else postgres_database(settings)


class _Server(uvicorn.Server):
    """Ends with code 0 after SIGTERM and SIGINT: being asked to end is no failure. The second SIGINT does not wait."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield


async def _serve(
    settings: Settings,
    routes: Callable[[Origin], Sequence[Route]],
    background: Callable[[Origin], Sequence[Work]],
) -> None:
    database = database_of(settings)
    second = database_of(settings.second) if settings.second else None
    origin = Origin(database, second)
    config = uvicorn.Config(
        origin.app(routes(origin)), loop="none", http="httptools", ws="none", lifespan="off", access_log=False,
        log_config=None, server_header=False, date_header=False, timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )  # fmt: skip
    bound = _listen(settings.bind_host, settings.bind_port)
    besides = [_await_database(database), keep_pruned(database), *background(origin)]
    tasks = [asyncio.create_task(work) for work in besides]
    try:
        log.info("%s origin for %s:%s/%s on %s:%s", settings.side, settings.host, settings.port, settings.database,
                 *bound.getsockname()[:2])  # fmt: skip
        await _Server(config).serve(sockets=[bound])
    finally:
        for task in tasks:
            task.cancel()
        bound.close()
        for each in (database, second):
            if each is not None:
                await each.close()


async def _await_database(database: Database) -> None:
    """Says once that the database is there; until then requests are answered 503."""
    pause = 0.1
    while True:
        try:
            flag = await database.flag()
        except DatabaseError as e:
            log.info("waiting for the database: %s", e)
            await asyncio.sleep(pause)
            pause = min(pause * 2, 5.0)
        else:
            log.info("the database is there: %s", flag.to_json())
            return


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listening.bind((host, port))
    except OSError as e:
        sys.exit(f"ZDM_BIND={host}:{port} cannot be used: {e}")
    listening.setblocking(False)
    return listening
