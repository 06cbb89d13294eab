"""Both real databases with the shop's schema, the origins' account, and the fence as the controller moves it."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pymysql

from contract import control
from contract.dual import GRANT_DUAL
from contract.flag import Flag, Side
from contract.types import Choices
from local.dataplane.mysql import MySQLInstance
from local.dataplane.mysql import Server as MySQLServer
from local.dataplane.postgres import AuroraCluster, AuroraInstance, Storage
from local.dataplane.postgres import Instance as PostgresServer
from local.stack import LocalStack
from scripts.data import schema
from scripts.data.inspect import mysql_tables
from scripts.rehearsal import shop
from services.origin.settings import Settings

ROOT = Path(__file__).parents[2]
DATABASE = shop.DATABASE
PASSWORD = "a password of 22 chars"
PEOPLE = 20
"""Customers and products: ids 1..PEOPLE."""


def until(condition: Callable[[], bool], seconds: float = 20.0, every: float = 0.15) -> None:
    """Polls until the condition holds.

    Not faster by default: InnoDB brings `innodb_trx` up to date only if nobody has read it for 0.1 s
    (CACHE_MIN_IDLE_TIME_NS in its source), so who asks more often may never see a change.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(every)


def free_port(host: str) -> str:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return f"{host}:{probe.getsockname()[1]}"


@dataclass
class Databases:
    """The two servers of one local stack."""

    stack: LocalStack

    def make(self) -> None:
        MySQLInstance().create(self.stack, "source", {
            "engine": "mysql", "identifier": "source", "username": "admin", "password": PASSWORD, "dbName": DATABASE,
            "backupRetentionPeriod": 1,
        })  # fmt: skip
        AuroraCluster().create(self.stack, "target", {
            "engine": "aurora-postgresql", "clusterIdentifier": "target", "masterUsername": "admin",
            "masterPassword": PASSWORD, "databaseName": DATABASE,
        })  # fmt: skip
        AuroraInstance().create(self.stack, "writer", {"clusterIdentifier": "target", "identifier": "writer"})
        my, pg = self.mysql(), self.postgres()
        with my, pg, my.cursor() as cursor:
            for statement in (
                *control.MYSQL_DDL, *shop.DDL.values(),
                f"CREATE USER shop_app IDENTIFIED BY '{PASSWORD}' REQUIRE SSL",
                f"GRANT SELECT, INSERT, UPDATE, DELETE ON {DATABASE}.* TO shop_app",
                "GRANT SELECT ON zdm.fence TO shop_app",
                "GRANT SELECT, INSERT, DELETE ON zdm.idempotency TO shop_app",
            ):  # fmt: skip
                cursor.execute(statement)
            cursor.execute(control.INSERT_FENCE, control.fence_values(control.INITIAL_FLAG))
            for statement in (
                "CREATE ROLE zdm_writer", "CREATE ROLE zdm_reader", f"CREATE ROLE shop_app LOGIN PASSWORD '{PASSWORD}'",
                "GRANT zdm_reader TO shop_app", *control.POSTGRES_DDL,
                "GRANT USAGE ON SCHEMA zdm TO shop_app", "GRANT SELECT ON zdm.fence TO shop_app",
                "GRANT SELECT, INSERT, UPDATE, DELETE ON zdm.idempotency TO zdm_writer",
                "CREATE ROLE zdm_sink", "GRANT zdm_writer, zdm_reader TO zdm_sink",
                "GRANT USAGE ON SCHEMA zdm TO zdm_sink", "GRANT SELECT ON zdm.fence TO zdm_sink",
                f"CREATE ROLE zdm_dual LOGIN PASSWORD '{PASSWORD}'", GRANT_DUAL,
            ):  # fmt: skip
                pg.execute(statement)
            pg.execute(control.INSERT_FENCE, control.fence_values(control.INITIAL_FLAG))
            choices = Choices.of(shop.BOOLEANS)
            for change in schema.plan(mysql_tables(my, DATABASE), schema.observe(pg), "tables", choices):
                schema.apply(pg, change)
            pg.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO zdm_writer")
            pg.execute("GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO zdm_writer")
            pg.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO zdm_reader")

    def reset(self) -> None:
        """Empty shops with PEOPLE customers and products on both sides; all may write, MySQL is the writer."""
        with self.mysql() as my, my.cursor() as cursor:
            cursor.execute("SET GLOBAL super_read_only = OFF")
            cursor.execute("SET GLOBAL read_only = OFF")
            cursor.execute("SET foreign_key_checks = 0")
            for table in (*shop.TABLES, "zdm.idempotency"):
                cursor.execute(f"TRUNCATE {table}")
            cursor.executemany(
                "INSERT INTO customers (id, email, full_name, password_hash) VALUES (%s, %s, 'A', '')",
                [(i, f"c{i}@example.org") for i in range(1, PEOPLE + 1)],
            )
            cursor.executemany(
                "INSERT INTO products (id, sku, name, category, price, weight_grams) VALUES (%s, %s, 'P', 1, %s, 1)",
                [(i, f"s{i}", i) for i in range(1, PEOPLE + 1)],
            )
            cursor.executemany("INSERT INTO inventory (product_id) VALUES (%s)", [(i,) for i in range(1, PEOPLE + 1)])
        with self.postgres() as pg:
            pg.execute(f"TRUNCATE zdm.idempotency, {', '.join(shop.TABLES)} RESTART IDENTITY CASCADE")
            pg.execute("GRANT zdm_writer TO shop_app")
            people = f"generate_series(1, {PEOPLE}) i"
            pg.execute(
                "INSERT INTO customers (id, email, full_name, password_hash) "
                f"SELECT i, 'c' || i || '@example.org', 'A', '' FROM {people}"
            )
            pg.execute(
                "INSERT INTO products (id, sku, name, category, price, weight_grams) "
                f"SELECT i, 's' || i, 'P', 1, i, 1 FROM {people}"
            )
            pg.execute(f"INSERT INTO inventory (product_id) SELECT i FROM {people}")
        for side in Side:
            self.set_fence(side, control.INITIAL_FLAG)

    # --- connections of an administrator, autocommit -----------------------------------------------------------------

    @property
    def mysql_server(self) -> MySQLServer:
        return MySQLServer(self.stack, "source")

    @property
    def postgres_server(self) -> PostgresServer:
        return PostgresServer(Storage(self.stack, "target"), "writer")

    def mysql(self) -> Any:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return pymysql.connect(host=self.address(Side.MYSQL), user="admin", password=PASSWORD, database=DATABASE,
                               autocommit=True, ssl=context)  # fmt: skip

    def postgres(self) -> Any:
        return psycopg.connect(host=self.address(Side.AURORA), user="admin", password=PASSWORD, dbname=DATABASE,
                               autocommit=True, sslmode="require")  # fmt: skip

    def query(self, side: Side, sql: str, *values: object) -> list[tuple[Any, ...]]:
        with self.mysql() if side is Side.MYSQL else self.postgres() as connection, connection.cursor() as cursor:
            cursor.execute(sql, values or None)
            return [tuple(row) for row in cursor.fetchall()] if cursor.description else []

    def address(self, side: Side) -> str:
        return self.mysql_server.address if side is Side.MYSQL else self.postgres_server.address

    def stop(self, side: Side) -> None:
        if side is Side.MYSQL:
            self.mysql_server.process.stop(60)
        else:
            self.postgres_server.stop()

    def begin(self, side: Side) -> None:
        (self.mysql_server if side is Side.MYSQL else self.postgres_server).start()

    # --- the fence, as the controller moves it -----------------------------------------------------------------------

    def set_fence(self, side: Side, flag: Flag) -> None:
        """Waits for the writes in flight, as the controller does."""
        update = "UPDATE zdm.fence SET v = %s, epoch = %s, weight = %s, writes = %s, mode = %s WHERE id = 1"
        if side is Side.MYSQL:
            self.query(side, update, *control.fence_values(flag))
            return
        with self.postgres() as pg, pg.transaction():
            pg.execute(control.POSTGRES_LOCK_FOR_CHANGE)
            pg.execute(update, control.fence_values(flag))

    # --- origins -----------------------------------------------------------------------------------------------------

    def environment(self, side: Side, bind: str, **more: str) -> dict[str, str]:
        return {
            "SIDE": side.value, "DB_HOST": self.address(side), "DB_PORT": "3306" if side is Side.MYSQL else "5432",
            "DB_NAME": DATABASE, "DB_USER": "shop_app", "DB_PASSWORD": PASSWORD, "ZDM_BIND": bind, **more,
        }  # fmt: skip

    def settings(self, side: Side, pool: int = 4) -> Settings:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return Settings(side, self.address(side), 3306 if side is Side.MYSQL else 5432, DATABASE, "shop_app", PASSWORD,
                        context, pool, "127.0.0.1", 0)  # fmt: skip

    @contextlib.contextmanager
    def origin(
        self, side: Side, module: str = "services.orders", *, bind: str = "", ready: bool = True, **more: str
    ) -> Iterator[Service]:
        """A real origin of this side as a process, by default at a free port."""
        bind = bind or free_port(self.stack.address(f"{side.value}-api-test"))
        log = self.stack.home / f"{module}-{side.value}.log"
        with open(log, "ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", module], cwd=ROOT, stdout=output, stderr=output,
                env={"PATH": os.environ.get("PATH", ""), **self.environment(side, bind, **more)},
            )  # fmt: skip
        service = Service(f"http://{bind}", process, log)
        try:
            until(lambda: service.status("/readyz" if ready else "/healthz") == 200)
            yield service
        finally:
            service.client.close()
            process.terminate()
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise


class Service:
    """A running origin."""

    def __init__(self, url: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.url = url
        self.process = process
        self.log = log
        self.client = httpx.Client(base_url=url, timeout=30)

    def status(self, path: str) -> int:
        """The status of a GET; 0 if nobody listens."""
        assert self.process.poll() is None, self.log.read_text()
        try:
            return self.client.get(path).status_code
        except httpx.TransportError:
            return 0
