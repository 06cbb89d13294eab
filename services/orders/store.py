"""The shop's SQL, the same for MySQL and PostgreSQL; `?` stands for a value.

Invariants:
- Every function that changes something also inserts one `outbox` row with the write's `client_ref`, in the same
  transaction.
- No function relies on a foreign key or on a default of the database: they may be added late on the target.
- Every change of a row makes its `updated_at` grow: it is the row's version (see `contract.dual`).
- Every function says which rows it changes (`touch`).
- An increment is an increment in SQL, never a value computed here: two of them must add up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any

import orjson

from services.origin.database import Session
from services.origin.http import Problem

_NOW = "CURRENT_TIMESTAMP(6)"
_LATER = f"GREATEST({_NOW}, updated_at + INTERVAL '0.000001' SECOND)"
"""Always later than before: a row's version, whatever the order in which its writers got their time."""


@dataclass(frozen=True, slots=True)
class Item:
    product_id: int
    quantity: int


async def place_order(
    db: Session, client_ref: str, customer_id: int, items: Sequence[Item], gift_wrap: int, note: str | None
) -> dict[str, Any]:
    """Inserts the order at today's prices, and its items. Raises `Problem` 422 for an unknown customer or product."""
    products = sorted({item.product_id for item in items})
    rows = await db.fetch(_prices(len(products)), customer_id, *products)
    prices: dict[int, Decimal] = {int(row[0]): row[1] for row in rows}
    wrong = [f"items: there is no product {product}" for product in products if product not in prices]
    if rows and not rows[0][2]:
        wrong.append(f"customer_id: there is no customer {customer_id}")
    if wrong:
        raise Problem(422, "invalid", *wrong)
    total = sum((prices[item.product_id] * item.quantity for item in items), Decimal(0))
    order = await db.insert(
        "INSERT INTO orders (customer_id, status, total, discount_rate, gift_wrap, note, client_ref, placed_at, "
        f"updated_at) VALUES (?, 'new', ?, 0, ?, ?, ?, {_NOW}, {_NOW})",
        customer_id, total, gift_wrap, note, client_ref,
    )  # fmt: skip
    assert order is not None
    lines: list[Any] = []
    for line, item in enumerate(items, 1):
        lines += (order, line, item.product_id, item.quantity, prices[item.product_id])
    await db.execute(_lines(len(items)), *lines)
    db.touch("orders", "id", order)
    db.touch("order_items", "order_id", order)
    await _publish(db, "order", order, "order.placed", client_ref, {"customer_id": customer_id, "total": str(total)})
    return {"id": order, "customer_id": customer_id, "status": "new", "total": total, "client_ref": client_ref}


async def set_status(db: Session, client_ref: str, order: int, status: str) -> dict[str, Any]:
    """Sets the order's status to an absolute value. Raises `Problem` 404."""
    found = await db.execute(f"UPDATE orders SET status = ?, updated_at = {_LATER} WHERE id = ?", status, order)
    _must(found, "order", order)
    db.touch("orders", "id", order)
    await _publish(db, "order", order, "order.status", client_ref, {"status": status})
    return {"id": order, "status": status}


async def adjust_inventory(db: Session, client_ref: str, product: int, delta: int) -> dict[str, Any]:
    """Adds `delta` to what is on hand. Raises `Problem` 404."""
    found = await db.execute(
        f"UPDATE inventory SET on_hand = on_hand + ?, client_ref = ?, updated_at = {_LATER} WHERE product_id = ?",
        delta, client_ref, product,
    )  # fmt: skip
    _must(found, "product", product)
    db.touch("inventory", "product_id", product)
    await _publish(db, "inventory", product, "inventory.adjusted", client_ref, {"delta": delta})
    return {"product_id": product, "delta": delta}


async def update_customer(db: Session, client_ref: str, customer: int, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Sets columns of a customer to absolute values; the names are the caller's own, never a client's."""
    columns = "".join(f"{name} = ?, " for name in changes)
    sql = f"UPDATE customers SET {columns}updated_at = {_LATER} WHERE id = ?"
    found = await db.execute(sql, *changes.values(), customer)
    _must(found, "customer", customer)
    db.touch("customers", "id", customer)
    await _publish(db, "customer", customer, "customer.updated", client_ref, {"changed": sorted(changes)})
    return {"id": customer, **changes}


async def take_payment(
    db: Session, client_ref: str, order: int, method: str, amount: Decimal, card_token: bytes | None
) -> dict[str, Any]:
    """Records a captured payment of an order. Raises `Problem` 404."""
    payment = await db.insert(
        "INSERT INTO payments (order_id, method, status, amount, currency, card_token, client_ref, captured_at, "
        f"created_at) SELECT id, ?, 'captured', ?, 'VND', ?, ?, {_NOW}, {_NOW} FROM orders WHERE id = ?",
        method, amount, card_token, client_ref, order,
    )  # fmt: skip
    if payment is None:
        raise _missing("order", order)
    db.touch("payments", "id", payment)
    await _publish(db, "payment", payment, "payment.captured", client_ref, {"order_id": order, "amount": str(amount)})
    return {"id": payment, "order_id": order, "status": "captured", "amount": amount}


async def refund(
    db: Session, client_ref: str, payment: int, amount: Decimal, reason: str, comment: str | None
) -> dict[str, Any]:
    """Records a refund of a payment. Raises `Problem` 404."""
    made = await db.insert(
        "INSERT INTO refunds (payment_id, amount, reason, comment, approved_on, created_at) "
        f"SELECT id, ?, ?, ?, CURRENT_DATE, {_NOW} FROM payments WHERE id = ?",
        amount, reason, comment, payment,
    )  # fmt: skip
    if made is None:
        raise _missing("payment", payment)
    db.touch("refunds", "id", made)
    await _publish(db, "refund", made, "refund.approved", client_ref, {"payment_id": payment, "amount": str(amount)})
    return {"id": made, "payment_id": payment, "amount": amount, "reason": reason}


async def open_cart(db: Session, client_ref: str, customer: int, items: Sequence[Item]) -> dict[str, Any]:
    """Opens a cart. Raises `Problem` 404 for an unknown customer."""
    content = orjson.dumps([{"product_id": item.product_id, "quantity": item.quantity} for item in items]).decode()
    cart = await db.insert(
        "INSERT INTO carts (customer_id, status, items, total, client_ref, created_at, updated_at) "
        f"SELECT id, 'open', ?, 0, ?, {_NOW}, {_NOW} FROM customers WHERE id = ?",
        content, client_ref, customer,
    )  # fmt: skip
    if cart is None:
        raise _missing("customer", customer)
    db.touch("carts", "id", cart)
    await _publish(db, "cart", cart, "cart.opened", client_ref, {"customer_id": customer})
    return {"id": cart, "customer_id": customer, "status": "open"}


_ORDER = "id, customer_id, status, total, gift_wrap, note, client_ref, placed_at"
_PRODUCT = "p.id, p.sku, p.name, p.category, p.price, p.currency, p.status, i.on_hand, i.reserved"
_CUSTOMER = "id, email, full_name, phone, locale, tier, is_active, newsletter, balance, loyalty_points"


async def order(db: Session, number: int) -> dict[str, Any]:
    """An order with its items. Raises `Problem` 404."""
    rows = await db.fetch(f"SELECT {_ORDER} FROM orders WHERE id = ?", number)
    if not rows:
        raise _missing("order", number)
    lines = await db.fetch(
        "SELECT line, product_id, quantity, unit_price FROM order_items WHERE order_id = ? ORDER BY line", number
    )
    found = _named(_ORDER, rows[0], integers=("id", "customer_id", "gift_wrap"))
    found["items"] = [_named("line, product_id, quantity, unit_price", row, integers=("product_id",)) for row in lines]
    return found


async def orders_of(db: Session, client_ref: str) -> list[dict[str, Any]]:
    """All orders of one `client_ref`; more than one means that a write was executed twice."""
    rows = await db.fetch(f"SELECT {_ORDER} FROM orders WHERE client_ref = ? ORDER BY id", client_ref)
    return [_named(_ORDER, row, integers=("id", "customer_id", "gift_wrap")) for row in rows]


async def product(db: Session, number: int) -> dict[str, Any]:
    """A product and what is on hand of it. Raises `Problem` 404."""
    rows = await db.fetch(
        f"SELECT {_PRODUCT} FROM products p LEFT JOIN inventory i ON i.product_id = p.id WHERE p.id = ?", number
    )
    if not rows:
        raise _missing("product", number)
    return _named(_PRODUCT, rows[0], integers=("id", "category"))


async def customer(db: Session, number: int) -> dict[str, Any]:
    """A customer without secrets. Raises `Problem` 404."""
    rows = await db.fetch(f"SELECT {_CUSTOMER} FROM customers WHERE id = ?", number)
    if not rows:
        raise _missing("customer", number)
    found = _named(_CUSTOMER, rows[0], integers=("id", "loyalty_points"))
    for name in ("is_active", "newsletter"):
        found[name] = None if found[name] is None else bool(found[name])
    return found


async def _publish(
    db: Session, aggregate: str, number: int, event: str, client_ref: str, payload: Mapping[str, Any]
) -> None:
    made = await db.insert(
        "INSERT INTO outbox (aggregate, aggregate_id, event, payload, client_ref, created_at) "
        f"VALUES (?, ?, ?, ?, ?, {_NOW})",
        aggregate, number, event, orjson.dumps(payload).decode(), client_ref,
    )  # fmt: skip
    db.touch("outbox", "id", made)


@lru_cache(maxsize=256)
def _prices(products: int) -> str:
    return (
        "SELECT id, price, EXISTS (SELECT 1 FROM customers WHERE id = ?) FROM products "
        f"WHERE id IN ({', '.join('?' * products)})"
    )


@lru_cache(maxsize=256)
def _lines(items: int) -> str:
    return (
        "INSERT INTO order_items (order_id, line, product_id, quantity, unit_price) "
        f"VALUES {', '.join(['(?, ?, ?, ?, ?)'] * items)}"
    )


@lru_cache(maxsize=32)
def _names(columns: str) -> tuple[str, ...]:
    return tuple(name.rpartition(".")[2] for name in columns.split(", "))


def _named(columns: str, row: Sequence[Any], integers: Sequence[str] = ()) -> dict[str, Any]:
    """The row by column name; `integers` come as decimals where the column is an unsigned 64-bit one."""
    found = dict(zip(_names(columns), row, strict=True))
    for name in integers:
        found[name] = int(found[name])
    return found


def _must(found: int, what: str, number: int) -> None:
    if not found:
        raise _missing(what, number)


def _missing(what: str, number: int) -> Problem:
    return Problem(404, "not-found", f"there is no {what} {number}")
