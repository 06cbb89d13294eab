"""The shop's API means the same on both databases."""

from __future__ import annotations

import concurrent.futures
from decimal import Decimal
from typing import Any

import pytest

from contract.flag import Side
from services.origin.settings import SettingsError, settings_from
from tests.services.databases import Databases, Service

pytestmark = pytest.mark.real


def order(ref: str = "ref", **more: Any) -> dict[str, Any]:
    return {"client_ref": ref, "customer_id": 3, "items": [{"product_id": 7, "quantity": 2}], **more}


def test_an_order_is_one_transaction(origin: Service, databases: Databases, side: Side) -> None:
    items = [{"product_id": 7, "quantity": 2}, {"product_id": 9, "quantity": 1}, {"product_id": 7, "quantity": 1}]
    made = origin.client.post("/orders", json=order("r1", items=items, gift_wrap=2, note="Quà 🎁"))
    assert made.status_code == 201 and made.headers["x-zdm-side"] == side.value
    number = made.json()["id"]
    got = origin.client.get(f"/orders/{number}").json()
    assert got["total"] == "30.00" and got["note"] == "Quà 🎁" and got["gift_wrap"] == 2 and got["customer_id"] == 3
    assert [(line["line"], line["product_id"], line["quantity"], line["unit_price"]) for line in got["items"]] == [
        (1, 7, 2, "7.00"), (2, 9, 1, "9.00"), (3, 7, 1, "7.00"),
    ]  # fmt: skip
    assert databases.query(side, "SELECT aggregate, aggregate_id, event, client_ref FROM outbox") == [
        ("order", number, "order.placed", "r1")
    ]
    assert [found["id"] for found in origin.client.get("/orders", params={"ref": "r1"}).json()] == [number]
    assert origin.client.get("/orders", params={"ref": "r2"}).json() == []


def test_a_write_sent_twice_stays_visible_as_two(origin: Service) -> None:
    for _ in range(2):
        assert origin.client.post("/orders", json=order("same")).status_code == 201
    assert len(origin.client.get("/orders", params={"ref": "same"}).json()) == 2


def test_every_write_leaves_its_reference(origin: Service, databases: Databases, side: Side) -> None:
    client = origin.client
    number = client.post("/orders", json=order("a")).json()["id"]
    status = client.post(f"/orders/{number}/status", json={"client_ref": "b", "status": "paid"})
    assert status.json()["status"] == "paid"
    paid = client.post("/payments", json={
        "client_ref": "c", "order_id": number, "method": "card", "amount": "14", "card_token": "tok_1",
    })  # fmt: skip
    assert paid.status_code == 201 and paid.json()["amount"] == "14.00"
    refund = {"client_ref": "d", "payment_id": paid.json()["id"], "amount": 4.5, "reason": "late", "comment": None}
    assert client.post("/refunds", json=refund).status_code == 201
    cart = {"client_ref": "e", "customer_id": 1, "items": order()["items"]}
    assert client.post("/carts", json=cart).status_code == 201
    assert client.post("/inventory/7/adjust", json={"client_ref": "f", "delta": -3}).status_code == 200
    changed = client.put("/customers/3", json={
        "client_ref": "g", "full_name": "Nguyễn Thị B", "phone": None, "newsletter": True, "is_active": False,
        "tier": "gold", "loyalty_points": 12,
    })  # fmt: skip
    assert changed.status_code == 200
    got = client.get("/customers/3").json()
    assert (got["full_name"], got["newsletter"], got["is_active"], got["tier"], got["loyalty_points"]) == (
        "Nguyễn Thị B", True, False, "gold", 12,
    )  # fmt: skip
    assert "password_hash" not in got
    assert client.get(f"/orders/{number}").json()["status"] == "paid"
    assert client.get("/products/7").json()["on_hand"] == -3
    assert databases.query(side, "SELECT client_ref FROM outbox ORDER BY client_ref") == [(r,) for r in "abcdefg"]
    [(amount, token)] = databases.query(side, "SELECT amount, card_token FROM payments")
    assert amount == Decimal("14.00") and bytes(token) == b"tok_1"


def test_increments_add_up(origin: Service, databases: Databases, side: Side) -> None:
    def adjust(i: int) -> int:
        return origin.client.post("/inventory/5/adjust", json={"client_ref": f"i{i}", "delta": i}).status_code

    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        assert set(pool.map(adjust, range(100))) == {200}
    assert origin.client.get("/products/5").json()["on_hand"] == sum(range(100))
    [(rows, refs)] = databases.query(side, "SELECT COUNT(*), COUNT(DISTINCT client_ref) FROM outbox")
    assert (rows, refs) == (100, 100)


def test_what_does_not_exist_changes_nothing(origin: Service, databases: Databases, side: Side) -> None:
    client = origin.client
    missing = client.post("/orders", json=order(customer_id=999, items=[{"product_id": 1, "quantity": 1}]))
    assert missing.status_code == 422 and "no customer 999" in missing.text
    missing = client.post("/orders", json=order(items=[{"product_id": 888, "quantity": 1}]))
    assert missing.status_code == 422 and "no product 888" in missing.text
    bodies: dict[str, dict[str, Any]] = {
        "/orders/99/status": {"status": "paid"},
        "/inventory/99/adjust": {"delta": 1},
        "/payments": {"order_id": 99, "method": "cash", "amount": 1},
        "/refunds": {"payment_id": 99, "amount": 1, "reason": "other"},
        "/carts": {"customer_id": 99, "items": order()["items"]},
    }
    for path, body in bodies.items():
        assert client.post(path, json={"client_ref": "x", **body}).status_code == 404, path
    assert client.put("/customers/99", json={"client_ref": "x", "tier": "gold"}).status_code == 404
    for path in ("/orders/1", "/products/99", "/customers/99", "/orders/99999999999999999999", "/nothing"):
        assert client.get(path).status_code == 404
    for table in ("orders", "order_items", "payments", "refunds", "carts", "outbox"):
        assert databases.query(side, f"SELECT COUNT(*) FROM {table}") == [(0,)]


@pytest.mark.parametrize("side", [Side.MYSQL], indirect=True)
def test_all_mistakes_are_named_at_once(origin: Service) -> None:
    client = origin.client
    answer = client.post("/orders", json={
        "client_ref": "", "customer_id": "3", "items": [{"product_id": 0, "quantity": 1.5, "extra": 1}, 7],
        "gift_wrap": True, "note": "\0", "color": "red",
    })  # fmt: skip
    assert answer.status_code == 422
    text = " ".join(answer.json()["error"]["detail"])
    for name in ("client_ref", "customer_id", "items[0].product_id", "items[0].quantity", "items[0].extra", "items[1]",
                 "gift_wrap", "note", "color"):  # fmt: skip
        assert name + ":" in text, name
    for content in (b"", b"{", b"[]", b"\xff"):
        assert client.post("/orders", content=content).status_code == 400
    amounts: list[Any] = ["-1", "1.001", "NaN", "1e30", None, True, []]
    for amount in amounts:
        body = {"client_ref": "x", "order_id": 1, "method": "card", "amount": amount}
        assert client.post("/payments", json=body).status_code == 422, amount
    assert client.put("/customers/1", json={"client_ref": "x"}).status_code == 422
    assert client.put("/customers/1", json={"client_ref": "x", "balance": 1}).status_code == 422
    assert client.get("/orders").status_code == 422
    assert client.post("/orders", content=b" " * (1 << 21)).status_code == 413


@pytest.mark.parametrize("side", [Side.AURORA], indirect=True)
def test_metrics_tell_reads_from_writes(origin: Service) -> None:
    origin.client.post("/orders", json=order())
    origin.client.get("/products/1")
    origin.client.get("/products/99")
    text = origin.client.get("/metrics").text
    assert 'zdm_request_seconds_count{kind="write",side="aurora",status="201"} 1.0' in text
    assert 'zdm_request_seconds_count{kind="read",side="aurora",status="404"} 1.0' in text
    assert 'zdm_request_seconds_bucket{kind="read",le="0.15",side="aurora",status="200"}' in text
    assert "/healthz" not in text


def test_wrong_settings_are_listed_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        settings_from({"SIDE": "oracle", "DB_PORT": "x", "DB_TLS": "maybe", "ZDM_BIND": "8080", "DB_HOST": "h"})
    for name in ("SIDE", "DB_PORT", "DB_TLS", "ZDM_BIND", "DB_NAME", "DB_USER", "DB_PASSWORD"):
        assert name in str(caught.value)
    assert "DB_HOST" not in str(caught.value)
    settings = settings_from({
        "SIDE": "aurora", "DB_HOST": "h", "DB_PORT": "5432", "DB_NAME": "n", "DB_USER": "u", "DB_PASSWORD": "p",
        "ZDM_BIND": "[::1]:80", "DB_TLS": "off",
    })  # fmt: skip
    assert (settings.bind_host, settings.bind_port, settings.tls, settings.side) == ("::1", 80, None, Side.AURORA)
