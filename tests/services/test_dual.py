"""Dual mode on both real databases: what MySQL commits is in Aurora at once, and nothing that fails there matters."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from contract import dual
from contract.flag import Flag, Side, Writes
from tests.services.databases import PASSWORD, Databases, Service, until
from tests.services.proxy import Proxy
from tests.services.test_fence import open_for

pytestmark = pytest.mark.real

VERSIONED = ("customers", "inventory", "carts", "orders")
ITEMS = [{"product_id": 7, "quantity": 2}, {"product_id": 9, "quantity": 1}]
ORDER = {"client_ref": "r", "customer_id": 3, "items": ITEMS, "note": "Quà 🎁"}
ADJUST = "/inventory/5/adjust"


@pytest.fixture
def proxy(databases: Databases) -> Iterator[Proxy]:
    """Between the origin and Aurora."""
    with Proxy((databases.address(Side.AURORA), 5432)) as proxy:
        yield proxy


@pytest.fixture
def shop(databases: Databases, proxy: Proxy) -> Iterator[Service]:
    """MySQL's origin with second writes turned on, and Aurora guarded."""
    databases.set_fence(Side.MYSQL, open_for(Side.MYSQL))
    databases.query(Side.AURORA, "REVOKE zdm_writer FROM shop_app")
    for statement in dual.guard(VERSIONED):
        databases.query(Side.AURORA, statement)
    databases.query(Side.MYSQL, dual.SET_DUAL, 1)
    host, port = proxy.address
    second = {"SECOND_HOST": host, "SECOND_PORT": str(port), "SECOND_USER": dual.DUAL_USER, "SECOND_PASSWORD": PASSWORD}
    try:
        with databases.origin(Side.MYSQL, **second) as service:
            learn(service)
            yield service
    finally:
        databases.query(Side.MYSQL, dual.SET_DUAL, 0)
        for statement in dual.unguard(VERSIONED):
            databases.query(Side.AURORA, statement)


def learn(shop: Service) -> None:
    """Each table's first write only makes its acquaintance."""
    number = shop.client.post("/orders", json=ORDER).json()["id"]
    payment = {"client_ref": "p", "order_id": number, "method": "card", "amount": 1}
    paid = shop.client.post("/payments", json=payment).json()["id"]
    refund = {"client_ref": "f", "payment_id": paid, "amount": 1, "reason": "late"}
    for path, body in (
        ("/refunds", refund), (ADJUST, {"client_ref": "a", "delta": 1}),
        ("/carts", {"client_ref": "c", "customer_id": 1, "items": ITEMS}),
    ):  # fmt: skip
        assert shop.client.post(path, json=body).is_success
    assert shop.client.put("/customers/1", json={"client_ref": "u", "tier": "gold"}).is_success


def rows(databases: Databases, table: str, key: str, value: object) -> list[list[tuple[Any, ...]]]:
    """The rows on either side, values made alike."""
    found = []
    names = [
        name for (name,) in databases.query(
            Side.AURORA, "SELECT column_name FROM information_schema.columns WHERE table_name = %s AND "
            "table_schema = 'public' ORDER BY ordinal_position", table,
        )
    ]  # fmt: skip
    for side in Side:
        sql = f"SELECT {', '.join(names)} FROM {table} WHERE {key} = %s ORDER BY 1, 2"
        found.append([tuple(plain(v) for v in row) for row in databases.query(side, sql, value)])
    return found


def plain(value: object) -> object:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
    if isinstance(value, (bytes, memoryview)):
        return bytes(value)
    if isinstance(value, timedelta):
        return (datetime.min + value).time()
    if isinstance(value, str) and value[:1] in "[{":
        return json.dumps(json.loads(value), sort_keys=True)
    if isinstance(value, (list, dict)):
        return json.dumps(value, sort_keys=True)
    return value


def counted(shop: Service, how: str) -> int:
    line = f'zdm_second_writes_total{{how="{how}",side="mysql"}}'
    found = [text for text in shop.client.get("/metrics").text.splitlines() if text.startswith(line)]
    return int(float(found[0].split()[-1])) if found else 0


def test_what_is_committed_is_there_at_once(shop: Service, databases: Databases) -> None:
    """With all its values, types and time stamps."""
    done = counted(shop, "done")
    number = shop.client.post("/orders", json={**ORDER, "client_ref": "one"}).json()["id"]
    for table, key in (("orders", "id"), ("order_items", "order_id"), ("outbox", "aggregate_id")):
        mysql, aurora = rows(databases, table, key, number)
        assert mysql == aurora and mysql, table
    change = {"client_ref": "u", "full_name": "Nguyễn", "newsletter": True, "is_active": False, "phone": None}
    databases.query(
        Side.MYSQL,
        "UPDATE customers SET interests = 'books,beauty', birthday = '1999-12-31', call_after = '09:30:00', "
        "password_hash = X'00FF', device_token = X'00112233445566778899AABBCCDDEEFF', preferences = '{\"a\": [1]}', "
        "balance = 12.50 WHERE id = 3",
    )
    assert shop.client.put("/customers/3", json=change).status_code == 200
    mysql, aurora = rows(databases, "customers", "id", 3)
    assert mysql == aurora
    assert counted(shop, "done") == done + 2


def test_it_is_found_from_the_fence(shop: Service, databases: Databases) -> None:
    """Off and on without a restart."""
    databases.query(Side.MYSQL, dual.SET_DUAL, 0)
    number = shop.client.post("/orders", json=ORDER).json()["id"]
    assert databases.query(Side.AURORA, "SELECT 1 FROM orders WHERE id = %s", number) == []
    databases.query(Side.MYSQL, dual.SET_DUAL, 1)
    shop.client.post(f"/orders/{number}/status", json={"client_ref": "s", "status": "paid"})
    assert databases.query(Side.AURORA, "SELECT status FROM orders WHERE id = %s", number) == [("paid",)]


def test_a_cut_network_costs_no_customer_anything(shop: Service, databases: Databases, proxy: Proxy) -> None:
    """Refused, then silent, then back: nothing is lost or doubled, and CDC's rows fit what is there."""
    start = databases.query(Side.MYSQL, "SELECT on_hand FROM inventory WHERE product_id = 5")[0][0]

    def adjust(ref: str) -> None:
        assert shop.client.post(ADJUST, json={"client_ref": ref, "delta": 1}).status_code == 200

    proxy.cut()
    for i in range(3):
        adjust(f"cut{i}")
    proxy.mend()
    until(lambda: adjust("again") is None and aurora_has(databases, "again"))
    proxy.hang()
    adjust("silent")
    assert counted(shop, "late") == 1
    for i in range(5):
        adjust(f"quick{i}")
    proxy.mend()
    until(lambda: adjust("last") is None and aurora_has(databases, "last"))
    adjust("very last")
    [(count, ref)] = databases.query(Side.MYSQL, "SELECT on_hand, client_ref FROM inventory WHERE product_id = 5")
    assert count - start == databases.query(
        Side.MYSQL, "SELECT COUNT(*) FROM outbox WHERE aggregate = 'inventory' AND client_ref <> 'a'"
    )[0][0]  # fmt: skip
    assert databases.query(Side.AURORA, "SELECT on_hand, client_ref FROM inventory WHERE product_id = 5") == [
        (count, ref)
    ]
    assert counted(shop, "skipped") > 0 and counted(shop, "failed") > 0


def aurora_has(databases: Databases, ref: str) -> bool:
    return bool(databases.query(Side.AURORA, "SELECT 1 FROM inventory WHERE client_ref = %s", ref))


def test_a_late_event_of_cdc_undoes_nothing(shop: Service, databases: Databases) -> None:
    """The sink's upsert of an older version is dropped, of the same or a newer one taken."""
    number = shop.client.post("/orders", json=ORDER).json()["id"]
    [(first,)] = databases.query(Side.MYSQL, "SELECT updated_at FROM orders WHERE id = %s", number)
    shop.client.post(f"/orders/{number}/status", json={"client_ref": "s", "status": "paid"})
    [(second,)] = databases.query(Side.MYSQL, "SELECT updated_at FROM orders WHERE id = %s", number)
    upsert = (
        "INSERT INTO orders (id, customer_id, status, total, client_ref, placed_at, updated_at) "
        "VALUES (%s, 3, %s, 0, 'r', now(), %s) ON CONFLICT (id) DO UPDATE SET status = EXCLUDED.status, "
        "updated_at = EXCLUDED.updated_at"
    )

    def sink(status: str, at: datetime) -> str:
        databases.query(Side.AURORA, upsert, number, status, at.replace(tzinfo=UTC))
        return str(databases.query(Side.AURORA, "SELECT status FROM orders WHERE id = %s", number)[0][0])

    assert first < second
    assert sink("new", first) == "paid"
    assert sink("paid", second) == "paid"
    assert sink("packed", second + timedelta(microseconds=1)) == "packed"


def test_second_writes_in_any_order_leave_the_newest(shop: Service, databases: Databases) -> None:
    """Many changes of one row at once: their second writes overtake each other."""

    async def main() -> None:
        async with httpx.AsyncClient(base_url=shop.url, timeout=30) as client:
            changes = [client.post(ADJUST, json={"client_ref": f"m{i}", "delta": 1}) for i in range(60)]
            assert {answer.status_code for answer in await asyncio.gather(*changes)} == {200}

    asyncio.run(main())
    wanted = "SELECT on_hand, client_ref FROM inventory WHERE product_id = 5"
    assert databases.query(Side.AURORA, wanted) == databases.query(Side.MYSQL, wanted)


def test_versions_grow_whatever_the_clock_says(shop: Service, databases: Databases) -> None:
    future = "2037-01-01 00:00:00.000001"
    databases.query(Side.MYSQL, "UPDATE inventory SET updated_at = %s WHERE product_id = 5", future)
    shop.client.post(ADJUST, json={"client_ref": "f", "delta": 1})
    mysql, aurora = rows(databases, "inventory", "product_id", 5)
    assert mysql == aurora and "f" in mysql[0]


def test_once_aurora_writes_nothing_old_gets_in(shop: Service, databases: Databases) -> None:
    databases.set_fence(Side.AURORA, Flag(9, 9, 100.0, Writes.OPEN, Side.AURORA))
    skipped = counted(shop, "skipped")
    number = shop.client.post("/orders", json=ORDER).json()["id"]
    assert databases.query(Side.AURORA, "SELECT 1 FROM orders WHERE id = %s", number) == []
    assert counted(shop, "skipped") == skipped + 1


def test_its_rights_go_with_the_sinks(shop: Service, databases: Databases) -> None:
    databases.query(Side.AURORA, "REVOKE zdm_writer FROM zdm_sink")
    try:
        number = shop.client.post("/orders", json=ORDER).json()["id"]
        assert databases.query(Side.AURORA, "SELECT 1 FROM orders WHERE id = %s", number) == []
    finally:
        databases.query(Side.AURORA, "GRANT zdm_writer TO zdm_sink")
