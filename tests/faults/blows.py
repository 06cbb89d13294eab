"""What each kind of fault does, as context managers: begun on entry, over on exit (where it does not end by itself)."""

from __future__ import annotations

import contextlib
import resource
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pymysql
import pytest

from contract.control import MYSQL_NOT_ALLOWED, MYSQL_READ_FENCE_FOR_WRITE, OPERATOR_LOCK, OPERATOR_LOCK_KEY
from contract.flag import Side
from local import parts
from local.processes import wait_until
from scripts.switch import machine, preflight
from scripts.switch.hands_there import ThereHands
from tests.faults.lab import FaultLab
from tests.faults.table import AFTER, BEFORE, Fault

KILLED, STILL = 1.0, 4.0
"""Seconds until a killed part is started again, as a supervisor would; and for which a part stands still."""

Blow = Callable[[FaultLab, Fault], AbstractContextManager[None]]


class Strike:
    """A fault of a case: it begins at `begin`, and is over after some seconds or at `end`."""

    def __init__(self, faults: FaultLab, fault: Fault) -> None:
        self._faults, self._fault = faults, fault
        self._stack = contextlib.ExitStack()
        self._timer: threading.Thread | None = None
        self._over = threading.Event()
        self._error: BaseException | None = None

    def begin(self) -> None:
        """Called where the fault must happen; what goes wrong here is raised by `end`."""
        try:
            self._stack.enter_context(BLOWS[self._fault.kind](self._faults, self._fault))
        except BaseException as e:
            self._error = e
            return
        lasts = _lasts(self._fault)
        if lasts is not None:
            self._timer = threading.Thread(target=self._end_after, args=(lasts,), name="repair", daemon=True)
            self._timer.start()

    def _end_after(self, seconds: float) -> None:
        self._over.wait(seconds)
        try:
            self._stack.close()
        except BaseException as e:
            self._error = e

    def end(self) -> None:
        """Returns when the fault is over. Raises what it has met."""
        if self._timer is not None:
            self._timer.join(120)
        self._stack.close()
        if self._error is not None:
            raise self._error


def _lasts(fault: Fault) -> float | None:
    """Seconds; None: until the switch has ended."""
    if fault.kind == "freeze" or fault.kind == "cut":
        return STILL
    if fault.kind in ("kill", "rude-writer"):
        return None if fault.when == BEFORE else KILLED
    return KILLED if fault.when == AFTER else None


@contextlib.contextmanager
def at_ready(strike: Callable[[], None]) -> Iterator[None]:
    """Strikes once, after the preflight and before the fence: a point that no one else can hit."""
    with pytest.MonkeyPatch.context() as patch:
        fence = ThereHands.fence
        struck: list[bool] = []

        def fence_after(hands: ThereHands, *arguments: Any) -> Any:
            if not struck and type(hands) is ThereHands:
                struck.append(True)
                strike()
            return fence(hands, *arguments)

        patch.setattr(ThereHands, "fence", fence_after)
        yield
        assert struck, "the switch ended before its fence"


# --- the kinds --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def kill(faults: FaultLab, fault: Fault) -> Iterator[None]:
    part = faults.parts[fault.part]
    part.kill()
    yield
    part.start()


def freeze(faults: FaultLab, fault: Fault) -> AbstractContextManager[None]:
    return faults.parts[fault.part].frozen()


@contextlib.contextmanager
def cut(faults: FaultLab, _: Fault) -> Iterator[None]:
    faults.wire.cut()
    yield
    faults.wire.mend()


@contextlib.contextmanager
def long_transaction(faults: FaultLab, _: Fault) -> Iterator[None]:
    with faults.context.mysql("app", autocommit=False) as my, my.cursor() as cursor:
        cursor.execute("INSERT INTO customers (name) VALUES ('open')")
        cursor.execute("SELECT CONNECTION_ID()")
        [(thread,)] = cursor.fetchall()
        old = (
            "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_mysql_thread_id = %s "
            "AND trx_started < NOW() - INTERVAL %s SECOND"
        )
        limit = preflight.LONG_TRANSACTION
        wait_until(lambda: faults.lab.mysql(old, thread, limit) == [(1,)], 30, "an old transaction")
        yield
        my.rollback()


@contextlib.contextmanager
def holder(faults: FaultLab, _: Fault) -> Iterator[None]:
    with faults.context.mysql("app", autocommit=False) as my, my.cursor() as cursor:
        cursor.execute(MYSQL_READ_FENCE_FOR_WRITE)
        yield
        my.rollback()


@contextlib.contextmanager
def late_commit(faults: FaultLab, _: Fault) -> Iterator[None]:
    with faults.context.mysql("app", autocommit=False) as my, my.cursor() as cursor:
        cursor.execute("INSERT INTO customers (name) VALUES ('late')")
        yield
        with pytest.raises(pymysql.err.MySQLError) as refused:
            my.commit()
        assert refused.value.args[0] in MYSQL_NOT_ALLOWED


@contextlib.contextmanager
def ddl(faults: FaultLab, _: Fault) -> Iterator[None]:
    with pytest.raises(pymysql.err.MySQLError) as refused:
        faults.lab.mysql("ALTER TABLE customers ADD COLUMN extra INT")
    assert refused.value.args[0] in MYSQL_NOT_ALLOWED
    yield


@contextlib.contextmanager
def ddl_waits(faults: FaultLab, _: Fault) -> Iterator[None]:
    def alter() -> None:
        with contextlib.suppress(pymysql.err.MySQLError):
            faults.lab.mysql("ALTER TABLE orders ADD COLUMN extra INT")

    find = "SELECT id FROM information_schema.processlist WHERE info LIKE 'ALTER TABLE orders%'"
    with faults.context.mysql(autocommit=False) as my, my.cursor() as cursor:
        cursor.execute("SELECT 1 FROM orders LIMIT 1")
        altering = threading.Thread(target=alter, daemon=True)
        altering.start()
        wait_until(lambda: bool(faults.lab.mysql(find)), 20, "the ALTER")
        yield
        for (thread,) in faults.lab.mysql(find):
            faults.lab.mysql(f"KILL {thread}")
        altering.join(20)
        my.rollback()


@contextlib.contextmanager
def poison(faults: FaultLab, _: Fault) -> Iterator[None]:
    faults.lab.postgres("ALTER TABLE customers ADD CONSTRAINT poison CHECK (name <> 'poison') NOT VALID")
    faults.lab.mysql("INSERT INTO customers (name) VALUES ('poison')")
    yield
    faults.lab.postgres("ALTER TABLE customers DROP CONSTRAINT poison")
    faults.lab.mysql("DELETE FROM customers WHERE name = 'poison'")
    faults.parts["sink"].start()


@contextlib.contextmanager
def full_disk(faults: FaultLab, _: Fault) -> Iterator[None]:
    """The broker may not let any file grow: to it the same as a full disk, and no file system must be mounted."""
    broker = faults.parts["kafka"]
    assert broker.process.pid is not None
    resource.prlimit(broker.process.pid, resource.RLIMIT_FSIZE, (1, 1))
    yield
    if broker.process.running():
        broker.kill()
    broker.start()


@contextlib.contextmanager
def sessions(faults: FaultLab, _: Fault) -> Iterator[None]:
    [(thread,)] = faults.lab.mysql("SELECT IS_USED_LOCK(%s)", OPERATOR_LOCK)
    faults.lab.mysql(f"KILL {thread}")
    end = "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory' AND objid = %s"
    faults.lab.postgres(end, OPERATOR_LOCK_KEY)
    yield


@contextlib.contextmanager
def gone_for_long(faults: FaultLab, _: Fault) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "UNDO_PATIENCE", 3.0)
        faults.parts["mysql"].kill()
        yield
    faults.parts["mysql"].start()


@contextlib.contextmanager
def rude_writer(faults: FaultLab, _: Fault) -> Iterator[None]:
    """Writes to MySQL as often as it is let in; nothing of that may be taken."""
    taken: list[int] = []
    stop = threading.Event()

    def write() -> None:
        while not stop.wait(0.002):
            with contextlib.suppress(Exception):
                with faults.context.mysql("app") as my, my.cursor() as cursor:
                    while not stop.is_set():
                        cursor.execute("INSERT INTO customers (name) VALUES ('rude')")
                        taken.append(1)

    mysql = faults.parts["mysql"]
    mysql.kill()
    writing = threading.Thread(target=write, daemon=True)
    writing.start()
    try:
        yield
        mysql.start()
        assert faults.ended.wait(120)
    finally:
        stop.set()
        writing.join(20)
    assert not taken, f"MySQL took {len(taken)} writes of one who never asks after Aurora had become the writer"


@contextlib.contextmanager
def restarted_mysql(faults: FaultLab, _: Fault) -> Iterator[None]:
    faults.parts["mysql"].kill()
    yield
    faults.parts["mysql"].start()


@contextlib.contextmanager
def clock(faults: FaultLab, _: Fault) -> Iterator[None]:
    """The origin's clock jumps while it runs: libfaketime looks at its file before every answer."""
    origin, file = faults.parts["aurora-api"], faults.folder / "clock"
    file.write_text("+0")
    origin.kill()
    library = parts.require("faketime").options["library"]
    more = {"LD_PRELOAD": library, "FAKETIME_TIMESTAMP_FILE": str(file), "FAKETIME_NO_CACHE": "1"}
    faults.start_origin(Side.AURORA, DONT_FAKE_MONOTONIC="1", FAKETIME_DONT_FAKE_MONOTONIC="1", **more)
    file.write_text("+3600")
    yield
    origin.kill()
    origin.start()


@contextlib.contextmanager
def nothing(*_: object) -> Iterator[None]:
    yield


BLOWS: dict[str, Blow] = {
    "kill": kill,
    "freeze": freeze,
    "cut": cut,
    "long-transaction": long_transaction,
    "holder": holder,
    "late-commit": late_commit,
    "ddl": ddl,
    "ddl-waits": ddl_waits,
    "poison": poison,
    "full-disk": full_disk,
    "sessions": sessions,
    "gone-for-long": gone_for_long,
    "rude-writer": rude_writer,
    "reopened": restarted_mysql,
    "stale-router": nothing,
    "clock": clock,
}
