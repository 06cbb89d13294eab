"""The shop's endpoints, one table: what each takes, does and answers. `/docs` and `/openapi.json` are made from it.

Every body of a write has `client_ref`, the client's own name for it. A write that may be sent twice needs an
`Idempotency-Key` (see `services.origin.idempotency`): without one, twice is two.
"""

from __future__ import annotations

from typing import Any

from starlette.routing import Route

from services.orders import store
from services.orders.fields import ABSENT, Amount, Choice, Field, Many, Object, Text, Truth, Whole
from services.orders.store import Item
from services.origin import endpoints, openapi
from services.origin.database import Session
from services.origin.endpoints import MAX_ID, Endpoint, Query, Schema
from services.origin.http import Origin

VERSION = "1.0"
STATUSES = ("new", "paid", "packed", "shipped", "delivered", "cancelled")
METHODS = ("card", "momo", "zalopay", "transfer", "cash")
REASONS = ("returned", "damaged", "late", "other")
TIERS = ("standard", "silver", "gold", "diamond")
MAX_ITEMS = 100


# --- what comes in ----------------------------------------------------------------------------------------------------


def _body(*, least: int = 0, **fields: Field) -> Object:
    return Object({"client_ref": Text(1, 36), **fields}, least)


_NUMBER = Whole(1, MAX_ID)
_ITEMS = Many(Object({"product_id": _NUMBER, "quantity": Whole(1, 10_000)}), MAX_ITEMS)


def _remark(longest: int) -> Text:
    return Text(0, longest, null=True, default=None)


# --- what goes out ----------------------------------------------------------------------------------------------------

_ID: Schema = {"type": "integer"}
_TEXT: Schema = {"type": "string"}
_MAYBE_TEXT: Schema = {"type": ["string", "null"]}
_MONEY: Schema = {"type": "string", "pattern": r"^-?[0-9]+\.[0-9]{2}$"}
_MAYBE_TRUE: Schema = {"type": ["boolean", "null"]}


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties)}


_ORDER = {
    "id": _ID, "customer_id": _ID, "status": {"type": "string", "enum": list(STATUSES)}, "total": _MONEY,
    "gift_wrap": _ID, "note": _MAYBE_TEXT, "client_ref": _TEXT, "placed_at": _TEXT,
}  # fmt: skip
_LINE = _object(line=_ID, product_id=_ID, quantity=_ID, unit_price=_MONEY)
_CHANGEABLE = {
    "full_name": _TEXT, "phone": _MAYBE_TEXT, "tier": _TEXT, "is_active": _MAYBE_TRUE, "newsletter": _MAYBE_TRUE,
    "loyalty_points": _ID,
}  # fmt: skip


# --- what it does -----------------------------------------------------------------------------------------------------


def _items(values: dict[str, Any]) -> list[Item]:
    return [Item(**item) for item in values["items"]]


async def _place(db: Session, _: int, v: dict[str, Any]) -> Any:
    return await store.place_order(db, v["client_ref"], v["customer_id"], _items(v), v["gift_wrap"], v["note"])


async def _pay(db: Session, _: int, v: dict[str, Any]) -> Any:
    token = None if v["card_token"] is None else v["card_token"].encode()
    return await store.take_payment(db, v["client_ref"], v["order_id"], v["method"], v["amount"], token)


async def _refund(db: Session, _: int, v: dict[str, Any]) -> Any:
    return await store.refund(db, v["client_ref"], v["payment_id"], v["amount"], v["reason"], v["comment"])


async def _change(db: Session, customer: int, v: dict[str, Any]) -> Any:
    changes = {name: value for name, value in v.items() if name != "client_ref"}
    return await store.update_customer(db, v["client_ref"], customer, changes)


ENDPOINTS = (
    Endpoint(
        "POST", "/orders", "placeOrder", "Places an order at today's prices.", _place,
        _object(id=_ID, customer_id=_ID, status=_TEXT, total=_MONEY, client_ref=_TEXT),
        body=_body(customer_id=_NUMBER, items=_ITEMS, gift_wrap=Whole(0, 2, 0), note=_remark(4000)),
        status=201,
    ),
    Endpoint(
        "GET", "/orders", "findOrders", "All orders of one `client_ref`.",
        lambda db, _, v: store.orders_of(db, v["ref"]),
        {"type": "array", "items": _object(**_ORDER)},
        query=Query("ref", "the client_ref of the orders to find"),
    ),
    Endpoint(
        "GET", "/orders/{id:int}", "getOrder", "An order with its items.", lambda db, order, _: store.order(db, order),
        _object(**_ORDER, items={"type": "array", "items": _LINE}),
        missing="There is no such order.",
    ),
    Endpoint(
        "POST", "/orders/{id:int}/status", "setOrderStatus", "Sets an order's status.",
        lambda db, order, v: store.set_status(db, v["client_ref"], order, v["status"]),
        _object(id=_ID, status=_TEXT),
        body=_body(status=Choice(STATUSES)),
        missing="There is no such order.",
    ),
    Endpoint(
        "POST", "/inventory/{id:int}/adjust", "adjustInventory", "Adds to what is on hand of a product.",
        lambda db, product, v: store.adjust_inventory(db, v["client_ref"], product, v["delta"]),
        _object(product_id=_ID, delta=_ID),
        body=_body(delta=Whole(-1_000_000, 1_000_000)),
        missing="There is no such product.",
    ),
    Endpoint(
        "GET", "/products/{id:int}", "getProduct", "A product, and what is on hand of it.",
        lambda db, product, _: store.product(db, product),
        _object(
            id=_ID, sku=_TEXT, name=_TEXT, category=_ID, price=_MONEY, currency=_TEXT, status=_TEXT,
            on_hand={"type": ["integer", "null"]}, reserved={"type": ["integer", "null"]},
        ),
        missing="There is no such product.",
    ),
    Endpoint(
        "GET", "/customers/{id:int}", "getCustomer", "A customer, without secrets.",
        lambda db, customer, _: store.customer(db, customer),
        _object(id=_ID, email=_TEXT, locale=_TEXT, balance=_MONEY, **_CHANGEABLE),
        missing="There is no such customer.",
    ),
    Endpoint(
        "PUT", "/customers/{id:int}", "changeCustomer", "Sets what is given of a customer; at least one thing.",
        _change,
        {"type": "object", "properties": {"id": _ID, **_CHANGEABLE}, "required": ["id"]},
        body=_body(
            full_name=Text(1, 120, default=ABSENT), phone=Text(0, 20, null=True, default=ABSENT),
            tier=Choice(TIERS, ABSENT), newsletter=Truth(ABSENT), is_active=Truth(ABSENT),
            loyalty_points=Whole(0, 2_000_000_000, ABSENT), least=2,
        ),
        missing="There is no such customer.",
    ),
    Endpoint(
        "POST", "/payments", "takePayment", "Records a captured payment of an order.", _pay,
        _object(id=_ID, order_id=_ID, status=_TEXT, amount=_MONEY),
        body=_body(order_id=_NUMBER, method=Choice(METHODS), amount=Amount(), card_token=_remark(64)),
        status=201, missing="There is no such order.",
    ),
    Endpoint(
        "POST", "/refunds", "refund", "Records a refund of a payment.", _refund,
        _object(id=_ID, payment_id=_ID, amount=_MONEY, reason=_TEXT),
        body=_body(payment_id=_NUMBER, amount=Amount(), reason=Choice(REASONS), comment=_remark(4000)),
        status=201, missing="There is no such payment.",
    ),
    Endpoint(
        "POST", "/carts", "openCart", "Opens a cart.",
        lambda db, _, v: store.open_cart(db, v["client_ref"], v["customer_id"], _items(v)),
        _object(id=_ID, customer_id=_ID, status=_TEXT),
        body=_body(customer_id=_NUMBER, items=_ITEMS),
        status=201, missing="There is no such customer.",
    ),
)  # fmt: skip
"""All of them; `client_ref` beside the other names makes two where one thing must be given."""


def routes(origin: Origin) -> list[Route]:
    """The shop's endpoints over `origin`, and their description."""
    return [*endpoints.routes(origin, ENDPOINTS), *openapi.routes(openapi.document("The shop", VERSION, ENDPOINTS))]
