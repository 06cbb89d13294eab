"""The Worker between two real origins on two real databases, while the right to write goes back and forth."""

from __future__ import annotations

import concurrent.futures
import threading
import uuid
from pathlib import Path

import httpx
import pytest

from contract.flag import Flag, Side, Writes
from tests.router.standins import WORKER, Kv, workerd
from tests.services.databases import Databases

pytestmark = pytest.mark.real

WRITES = 2000


def test_no_write_is_lost_or_doubled(databases: Databases, tmp_path: Path) -> None:
    """Half of the writes are orders, half are increments; KV keeps saying what was true at the start."""
    flag = Flag(1, 1, 0.0)
    kv = Kv(flag.to_json())
    names = [str(uuid.uuid4()) for _ in range(WRITES)]
    done = threading.Event()
    flips = 0

    def flip() -> None:
        nonlocal flag, flips
        while not done.wait(0.3):
            source, target = flag.mode, flag.mode.other
            held = flag.changed(writes=Writes.HOLD, new_epoch=True)
            opened = held.changed(writes=Writes.OPEN, mode=target, weight=100.0 if target is Side.AURORA else 0.0)
            databases.set_fence(source, held)  # waits for the writes in flight
            databases.set_fence(source, opened)
            databases.set_fence(target, opened)
            flag = opened
            flips += 1

    with databases.origin(Side.MYSQL) as mysql, databases.origin(Side.AURORA) as aurora:
        bindings = {
            "FLAG_KEY": "flag", "SALT": "s", "HOLD_MS": "20000", "MYSQL_ORIGIN": mysql.url, "AURORA_ORIGIN": aurora.url,
        }  # fmt: skip
        with workerd(tmp_path, {"worker.mjs": WORKER}, bindings, kv.address) as url, httpx.Client(timeout=40) as client:

            def write(i: int) -> int:
                if i % 2:
                    path, body = "/inventory/5/adjust", {"client_ref": names[i], "delta": 1}
                else:
                    items = [{"product_id": 1 + i % 20, "quantity": 1}]
                    path, body = "/orders", {"client_ref": names[i], "customer_id": 1 + i % 20, "items": items}
                return client.post(url + path, json=body, headers={"x-user-id": f"u{i}"}).status_code

            flipping = threading.Thread(target=flip)
            flipping.start()
            try:
                with concurrent.futures.ThreadPoolExecutor(16) as pool:
                    codes = list(pool.map(write, range(WRITES)))
            finally:
                done.set()
                flipping.join()
                kv.close()
    assert set(codes) == {200, 201}
    assert flips >= 4
    refs: list[str] = []
    increments = 0
    for side in Side:
        here = [ref for (ref,) in databases.query(side, "SELECT client_ref FROM outbox")]
        assert here, f"{side} never had a write"
        refs += here
        orders = [ref for (ref,) in databases.query(side, "SELECT client_ref FROM orders")]
        assert set(orders) <= set(here) and len(orders) == len(set(orders))
        increments += databases.query(side, "SELECT on_hand FROM inventory WHERE product_id = 5")[0][0]
    assert sorted(refs) == sorted(names)
    assert increments == WRITES // 2
