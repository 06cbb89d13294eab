"""The pipeline of `tests.switch.conftest` with what stands before it: two origins, a router, a load with a ledger.

Sink and Aurora's origin reach PostgreSQL over a `Wire`. Each case finds MySQL as the writer and all replicated.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pymysql

from components.connectors import sink_config
from contract.control import OPERATOR_LOCK, OPERATOR_LOCK_KEY, SINK_USER, WRITER_ROLE
from contract.flag import Side, Writes
from local.dataplane import workers
from local.dataplane.cloud import accepts
from local.dataplane.connect import Worker
from local.dataplane.kafka import Broker
from local.dataplane.keyvalue import PROCESS as KV_PROCESS
from local.dataplane.keyvalue import Api
from local.dataplane.mysql import Server
from local.dataplane.postgres import Instance, Storage
from local.environment import worker_url
from local.processes import wait_until
from local.stack import PROJECT
from scripts.data.inspect import mysql_tables
from scripts.errors import ZdmError
from scripts.rehearsal.generic import tables_plan
from scripts.rehearsal.ledger import LedgerVerdict, read_ledger, verify
from scripts.rehearsal.load import LEDGER_FILE, Load, Settings
from scripts.rehearsal.workload import save_plan
from scripts.switch import cutover, traffic
from scripts.switch.journal import State
from scripts.switch.result import CutoverResult
from tests.faults.parts import Part
from tests.faults.table import Outcome
from tests.faults.wire import Wire
from tests.router.standins import WORKER
from tests.switch.conftest import CAPTURE, CUSTOMERS, Lab

WRITES, READS = 40.0, 20.0
"""Requests a second of a case's load."""
PORTS = {"mysql-api": 8081, "aurora-api": 8082}
ROUTER, STALE_ROUTER = "router", "stale-router"
BUDGET = 12.0
"""Seconds until a switch undoes itself: shorter than in life, so that what is expected to be undone is so sooner."""


@dataclass(frozen=True)
class Seen:
    """What became of one switch. `result` is None where the command ended with an error."""

    outcome: Outcome
    result: CutoverResult | None
    said: str = ""


class FaultLab:
    """The whole of it; `lab` is the pipeline."""

    def __init__(self, lab: Lab, wire: Wire, folder: Path) -> None:
        self.lab = lab
        self.wire = wire
        self.folder = folder
        self.context = lab.with_kpis(abort_seconds=BUDGET)
        self.ended = threading.Event()
        """Set while no switch is under way."""
        self._connectors: dict[str, dict[str, Any]] = {}
        self._scripts: dict[str, dict[str, Any]] = {}
        stack = lab.stack
        self.parts = {
            "kafka": Part(Broker(stack, "kafka").process, lambda: Broker(stack, "kafka").start()),
            "mysql": Part(Server(stack, "shop").process, lambda: Server(stack, "shop").start()),
            "postgres": Part(self._postgres.process, lambda: self._postgres.repair()),
            "kv": Part(stack.process(KV_PROCESS), lambda: Api(stack).start()),
            "source": Part(Worker(stack, CAPTURE.source_connector).process, lambda: self._connect("source")),
            "sink": Part(Worker(stack, CAPTURE.sink_connector).process, lambda: self._connect("sink")),
            "mysql-api": Part(stack.process("origin-mysql-api"), lambda: self.start_origin(Side.MYSQL)),
            "aurora-api": Part(stack.process("origin-aurora-api"), lambda: self.start_origin(Side.AURORA)),
            "router": Part(stack.process(f"worker-{ROUTER}"), lambda: self._route(ROUTER)),
        }

    @property
    def _postgres(self) -> Instance:
        return Instance(Storage(self.lab.stack, "target"), "target-1")

    def bring_up(self) -> None:
        """What the pipeline does not have; the sink is turned to the wire."""
        lab = self.lab
        sink = sink_config(CAPTURE, host=self.wire_host, port=5432, account="zdm-dev/aurora-sink")
        self._connectors = {
            "source": lab.connector(CAPTURE.source_connector, CAPTURE.offsets_topic, lab.source_config(CAPTURE)),
            "sink": lab.connector(CAPTURE.sink_connector, None, sink),
        }
        Worker(lab.stack, CAPTURE.sink_connector).configure(self._connectors["sink"])
        for name in (*PORTS, "router"):
            self.parts[name].start()
        self._route(STALE_ROUTER)

    @property
    def wire_host(self) -> str:
        return self.lab.stack.address("wire")

    def restore(self) -> None:
        """What an operator does when all is over: whatever does not run is started, what failed is restarted."""
        self.wire.mend()
        for part in self.parts.values():
            part.thaw()
        for part in self.parts.values():
            part.start()

    # --- the parts' own starts ----------------------------------------------------------------------------------------

    def _connect(self, which: str) -> None:
        """As `up --refresh` repairs a connector: its worker runs, and so do its tasks."""
        worker = Worker(self.lab.stack, {"source": CAPTURE.source_connector, "sink": CAPTURE.sink_connector}[which])
        worker.start()
        worker.configure(self._connectors[which])

    def origin_url(self, name: str) -> str:
        return f"http://{self.lab.stack.address(name)}:{PORTS[name]}"

    def start_origin(self, side: Side, **more: str) -> None:
        """`more` goes into its environment."""
        name = f"{side.value}-api"
        out, account = self.context.outputs, self.context.account
        secret = out.source.app_secret if side is Side.MYSQL else out.target.app_secret
        address, port = self.lab.stack.address(name), PORTS[name]
        user = account(secret)
        self.parts[name].process.start(
            [sys.executable, "-m", "services.tables"],
            cwd=PROJECT,
            env={
                "PATH": os.environ["PATH"], "SIDE": side.value, "DB_NAME": out.database,
                "DB_HOST": out.source.host if side is Side.MYSQL else self.wire_host,
                "DB_PORT": "3306" if side is Side.MYSQL else "5432",
                "DB_USER": user.username, "DB_PASSWORD": user.password, "ZDM_BIND": f"{address}:{port}", **more,
            },
            ready=lambda: accepts(address, port, 0.2),
            timeout=30,
        )  # fmt: skip

    def _route(self, name: str) -> None:
        """A Worker as the program describes it; one of them looks at its stores once a minute only."""
        if name not in self._scripts:
            texts = {
                "FLAG_KEY": "flag", "SALT": "s", "HOLD_MS": "30000",
                "FLAG_TTL_MS": "60000" if name == STALE_ROUTER else "1000",
                "MYSQL_ORIGIN": self.origin_url("mysql-api"), "AURORA_ORIGIN": self.origin_url("aurora-api"),
            }  # fmt: skip
            bindings = [{"type": "plain_text", "name": key, "text": text} for key, text in texts.items()]
            store = {"type": "kv_namespace", "name": "FLAGS", "namespaceId": self.context.outputs.router.namespace_id}
            self._scripts[name] = {
                "scriptName": name, "content": WORKER, "mainModule": "worker.mjs", "bindings": [*bindings, store],
            }  # fmt: skip
            workers.Script().create(self.lab.stack, name, self._scripts[name])
        else:
            workers.Script().update(self.lab.stack, name, self._scripts[name], self._scripts[name])

    # --- a case -------------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """All runs, MySQL is the writer, everything is replicated and counts as checked."""
        self.parts["postgres"].start()
        self.lab.postgres(f"GRANT {WRITER_ROLE} TO {SINK_USER}")  # or the sink fails on what it still has to write
        self.restore()
        self.lab.back_to_mysql()
        self.lab.clean_check()

    @contextlib.contextmanager
    def load(self, name: str, router: str = ROUTER) -> Iterator[CaseLoad]:
        """Customers at work, over the router."""
        load = CaseLoad(self, self.folder / name.replace(" ", "-"), router)
        try:
            yield load
        finally:
            load.stop()

    def switch(self, on_state: Callable[[State], None] | None = None) -> Seen:
        """What `./zdm cutover` would have done."""
        self.ended.clear()
        try:
            result = cutover.run(self.context, console=self.lab.quiet, on_state=on_state)
        except (ZdmError, psycopg.Error, pymysql.err.MySQLError) as e:
            return Seen(self._without_result(), None, str(e))
        finally:
            self.ended.set()
            self._end_sessions_of_operators()
        outcome = {"open": Outcome.FINISHED, "finished": Outcome.FINISHED, "undone": Outcome.UNDONE}
        return Seen(outcome.get(result.outcome, Outcome.REFUSED), result, "; ".join(result.problems))

    def _end_sessions_of_operators(self) -> None:
        """A command's process would have ended by now, and with it what it left open. Out of reach is ended, too."""
        with contextlib.suppress(ZdmError, pymysql.err.MySQLError):
            [(thread,)] = self.lab.mysql("SELECT IS_USED_LOCK(%s)", OPERATOR_LOCK)
            if thread is not None:
                self.lab.mysql(f"KILL {thread}")
        with contextlib.suppress(ZdmError, psycopg.Error):
            end = "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory' AND objid = %s"
            self.lab.postgres(end, OPERATOR_LOCK_KEY)

    def _without_result(self) -> Outcome:
        """Of a command that ended with an error: had it begun anything?"""
        try:
            return Outcome.HELD if self.unfinished() else Outcome.REFUSED
        except (ZdmError, psycopg.Error):
            return Outcome.REFUSED

    def unfinished(self) -> bool:
        """Whether a run has neither ended nor been undone."""
        last = self.lab.postgres("SELECT state FROM zdm.journal ORDER BY seq DESC LIMIT 1")
        return bool(last) and last[0][0] not in (State.OPEN, State.UNDONE)

    def writer(self) -> Side | None:
        """The side that the fences name and that lets one write who never asks; None unless it is exactly one."""
        seen = traffic.get(self.context)
        flags = {seen.mysql, seen.postgres}
        sides = [side for side, may in ((Side.MYSQL, self._mysql_takes()), (Side.AURORA, self._aurora_takes())) if may]
        if len(flags) != 1 or len(sides) != 1:
            return None
        [flag] = flags
        return sides[0] if flag is not None and flag.writes is Writes.OPEN and flag.mode is sides[0] else None

    def left_behind(self) -> list[str]:
        """Rows that MySQL has and Aurora, the writer by now, does not: nobody deletes any."""
        found: list[str] = []
        for table in CAPTURE.tables:
            there = {str(key) for (key,) in self.lab.postgres(f"SELECT id FROM {table}")}
            found += [f"{table} {key}" for (key,) in self.lab.mysql(f"SELECT id FROM {table}") if str(key) not in there]
        return found

    def _mysql_takes(self) -> bool:
        with self.context.mysql("app", autocommit=False) as my, my.cursor() as cursor:
            try:
                cursor.execute("UPDATE customers SET n = n + 1 WHERE id = %s", (CUSTOMERS,))
            except pymysql.err.MySQLError:
                return False
            my.rollback()
            return True

    def _aurora_takes(self) -> bool:
        with self.context.postgres("app") as pg:
            try:
                with pg.transaction(force_rollback=True):
                    pg.execute("UPDATE customers SET n = n + 1 WHERE id = %s", (CUSTOMERS,))
            except psycopg.errors.InsufficientPrivilege:
                return False
            return True


class CaseLoad:
    """The load of one case, and what its ledger says."""

    def __init__(self, faults: FaultLab, folder: Path, router: str) -> None:
        self.faults = faults
        self.folder = folder
        self.folder.mkdir(parents=True)
        context = faults.context
        with context.mysql() as my:
            tables = mysql_tables(my, context.outputs.database, context.outputs.pipeline.tables)
            self.plan = tables_plan(my, tables)
        plan = folder / "plan.json"
        save_plan(self.plan, plan)
        url = worker_url(faults.lab.stack, router)
        self._load = Load(Settings(url, plan, folder / "load", WRITES, READS, ramp=0.5))
        self._load.wait_until_answered()

    def acknowledged(self, side: Side) -> int:
        """Writes that this side has acknowledged so far."""
        lines = (self.folder / "load" / LEDGER_FILE).read_text().splitlines()
        found = 0
        for line in lines:
            if '"acknowledged"' in line and '"op":"read"' not in line:
                with contextlib.suppress(ValueError):  # the last one may be half written
                    found += json.loads(line).get("side") == side.value
        return found

    def await_writes(self, side: Side, number: int = 20) -> None:
        """Returns when the side has acknowledged so many further writes."""
        until = self.acknowledged(side) + number
        wait_until(lambda: self.acknowledged(side) >= until, 60, f"{number} writes by {side}")

    def stop(self) -> None:
        self._load.stop()

    def verdict(self, last: CutoverResult | None) -> LedgerVerdict:
        """`last` is the result of the switch that finished; one whose controller died after all was done has none."""
        context = self.faults.context
        with context.mysql() as my, context.postgres() as pg:
            made = last.to_json() if last is not None and last.outcome == "open" else {"outcome": "finished"}
            return verify(read_ledger(self.folder / "load"), self.plan, my, pg, [made] if made else [])
