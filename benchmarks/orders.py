"""Orders a second: the service in single and in dual mode, beside a bare INSERT through the same driver.

    .venv/bin/python -m benchmarks.orders [--seconds 10] [--clients 8] [--json FILE]

All ways run against the same MySQL and PostgreSQL of this machine, TLS on, in a closed loop of as many clients as are
asked for, in turns (bare, single, dual, bare, ...), so that what else the machine does falls on all of them. A bare
INSERT is one row of the outbox in a transaction of its own; an order is the service's: fence, prices, order, items,
outbox. Figures of a core are of the process that does it (the service, or the driver alone), not of the databases.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import ssl
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import aiohttp

from benchmarks.databases import DATABASE, Databases, Endpoint, databases, used_by_tree
from benchmarks.measure import PROJECT
from benchmarks.report import Bound
from contract import control, dual
from contract.flag import Side
from contract.types import Choices
from scripts.data import schema
from scripts.data.inspect import mysql_tables
from scripts.rehearsal import shop
from services.origin.mysql import connector
from services.origin.settings import Settings

PEOPLE = 1000
BARE = (
    "INSERT INTO outbox (aggregate, aggregate_id, event, payload, client_ref, created_at) "
    "VALUES ('order', 1, 'order.placed', '{\"total\": \"10.00\"}', ?, CURRENT_TIMESTAMP(6))"
)
ROUNDS = 3
LIMIT = 2.5
"""Dual mode over single mode, at most."""


@dataclass(frozen=True)
class Seen:
    """What one way came to: writes a second, their latency in ms, and milliseconds of one core for each."""

    per_second: float
    p50: float
    p95: float
    core_ms: float

    @property
    def per_core(self) -> float:
        return 1000 / self.core_ms


def of(latencies: list[float], seconds: float, cpu: float) -> Seen:
    cuts = statistics.quantiles(latencies, n=100)
    count = len(latencies)
    return Seen(count / seconds, cuts[49] * 1000, cuts[94] * 1000, cpu * 1000 / count)


def median(runs: list[Seen]) -> Seen:
    return Seen(*(statistics.median(values) for values in zip(*(asdict(run).values() for run in runs), strict=True)))


def prepare(both: Databases) -> None:
    """The shop on both sides, with customers and products, and MySQL as the writer."""
    both.on_mysql(*control.MYSQL_DDL, *shop.DDL.values())
    both.on_postgres(*control.POSTGRES_DDL)
    with both.mysql() as my, both.postgres() as pg, my.cursor() as cursor:
        for database in (cursor, pg):
            database.execute(control.INSERT_FENCE, control.fence_values(control.INITIAL_FLAG))
        numbers = range(1, PEOPLE + 1)
        cursor.executemany(
            "INSERT INTO customers (id, email, full_name, password_hash) VALUES (%s, %s, 'A', '')",
            [(i, f"c{i}@example.org") for i in numbers],
        )
        cursor.executemany(
            "INSERT INTO products (id, sku, name, category, price, weight_grams) VALUES (%s, %s, 'P', 1, 10, 1)",
            [(i, f"s{i}") for i in numbers],
        )
        tables = mysql_tables(my, DATABASE)
        for change in schema.plan(tables, schema.observe(pg), "tables", Choices.of(shop.BOOLEANS)):
            schema.apply(pg, change)
        versioned = [t.name for t in tables if any(c.name == dual.VERSION_COLUMN for c in t.columns)]
        for statement in dual.guard(versioned):
            pg.execute(statement.encode())


async def loop(seconds: float, clients: int, one: Callable[[int], Awaitable[None]]) -> tuple[list[float], float]:
    """Runs `one` over and over by so many clients; gives all latencies and how long it took, in seconds."""
    latencies: list[float] = []
    began = time.perf_counter()

    async def client(number: int) -> None:
        while (start := time.perf_counter()) - began < seconds:
            await one(number)
            latencies.append(time.perf_counter() - start)

    await asyncio.gather(*(client(number) for number in range(clients)))
    return latencies, time.perf_counter() - began


async def bare(at: Endpoint, seconds: float, clients: int) -> Seen:
    """INSERTs through the service's driver, without the service."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    settings = Settings(Side.MYSQL, at.host, at.port, at.database, at.user, at.password, context, clients, "", 0)
    connect = connector(settings)
    connections = [await connect() for _ in range(clients)]

    async def one(number: int) -> None:
        await connections[number].execute(BARE, "bare")

    used = time.process_time()
    latencies, took = await loop(seconds, clients, one)
    seen = of(latencies, took, time.process_time() - used)
    for connection in connections:
        await connection.close()
    return seen


async def orders(url: str, pid: int, seconds: float, clients: int) -> Seen:
    """Orders at a running service."""
    body = {"client_ref": "b", "items": [{"product_id": 1, "quantity": 1}, {"product_id": 2, "quantity": 2}]}
    async with aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(limit=clients)) as session:

        async def one(number: int) -> None:
            async with session.post("/orders", json={**body, "customer_id": 1 + number}) as answer:
                if answer.status != 201:
                    raise RuntimeError(f"{answer.status}: {await answer.text()}")
                await answer.read()

        await loop(1, clients, one)  # connections, prepared statements
        used = used_by_tree(pid)
        latencies, took = await loop(seconds, clients, one)
        return of(latencies, took, used_by_tree(pid) - used)


@contextmanager
def service(both: Databases, clients: int) -> Iterator[tuple[str, int]]:
    """The service in front of MySQL, which may write to both: its URL and process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    my, pg = both.source, both.target
    environment = {
        "SIDE": "mysql", "DB_HOST": my.host, "DB_PORT": str(my.port), "DB_NAME": my.database, "DB_USER": my.user,
        "DB_PASSWORD": my.password, "DB_POOL": str(clients), "ZDM_BIND": f"127.0.0.1:{port}",
        "SECOND_HOST": pg.host, "SECOND_PORT": str(pg.port), "SECOND_USER": pg.user, "SECOND_PASSWORD": pg.password,
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "services.orders"], cwd=PROJECT, env={**os.environ, **environment},
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        process.terminate()
        process.wait(30)


async def ready(url: str) -> None:
    async with aiohttp.ClientSession(url) as session, asyncio.timeout(30):
        while True:
            try:
                async with session.get("/readyz") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(0.05)


async def measure(both: Databases, seconds: float, clients: int) -> dict[str, Seen]:
    """All ways in turns; the median of each figure."""
    runs: dict[str, list[Seen]] = {"bare INSERT": [], "single": [], "dual": []}
    with service(both, clients) as (url, pid):
        await ready(url)
        for _ in range(ROUNDS):
            runs["bare INSERT"].append(await bare(both.source, seconds, clients))
            for name, on in (("single", 0), ("dual", 1)):
                with both.mysql() as my, my.cursor() as cursor:
                    cursor.execute(dual.SET_DUAL, (on,))
                runs[name].append(await orders(url, pid, seconds, clients))
    [(mine,)] = both.on_mysql("SELECT COUNT(*) FROM orders")
    print(f"{mine} orders in MySQL, {both.on_postgres('SELECT COUNT(*) FROM orders')[0][0]} of them in PostgreSQL")
    return {name: median(found) for name, found in runs.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    with databases(tls=True) as both:
        print(both.versions())
        prepare(both)
        seen = asyncio.run(measure(both, asked.seconds, asked.clients))
    base, single, double = seen.values()
    print(f"{'way':12} {'a second':>9} {'p50 ms':>7} {'p95 ms':>7} {'ms of a core':>13} {'per core':>9}")
    for name, way in seen.items():
        print(f"{name:12} {way.per_second:9.0f} {way.p50:7.2f} {way.p95:7.2f} {way.core_ms:13.3f} {way.per_core:9.0f}")
    print(f"an order takes {single.core_ms / base.core_ms:.1f} times the core and "
          f"{single.p50 / base.p50:.1f} times the time of a bare INSERT")  # fmt: skip
    bounds = [
        Bound("dual over single, core", double.core_ms / single.core_ms, LIMIT, most=True),
        Bound("dual over single, p95", double.p95 / single.p95, LIMIT, most=True),
    ]
    for bound in bounds:
        print(bound)
    if asked.json:
        ways = {name: asdict(way) for name, way in seen.items()}
        asked.json.write_text(json.dumps({"ways": ways, "bounds": [asdict(b) for b in bounds]}, indent=1) + "\n")
    return 0 if all(bound.reached for bound in bounds) else 1


if __name__ == "__main__":
    sys.exit(main())
