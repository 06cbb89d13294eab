"""The shop's endpoints: checks what comes in, and leaves the rest to `store`.

Every body of a write has `client_ref`, the client's own name for it (1 to 36 characters). Amounts are text or numbers.
What answers 201 gives the new `id`.

POST /orders                      {client_ref, customer_id, items: [{product_id, quantity}], gift_wrap?, note?} -> 201
POST /orders/{id}/status          {client_ref, status}
POST /inventory/{id}/adjust       {client_ref, delta}
PUT  /customers/{id}              {client_ref, and any of full_name, phone, tier, newsletter, is_active, loyalty_points}
POST /payments                    {client_ref, order_id, method, amount, card_token?} -> 201
POST /refunds                     {client_ref, payment_id, amount, reason, comment?} -> 201
POST /carts                       {client_ref, customer_id, items} -> 201
GET  /orders/{id}, /orders?ref=CLIENT_REF, /products/{id}, /customers/{id}
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.orders import store
from services.orders.store import Item
from services.origin.database import Session
from services.origin.http import Origin, Problem, body_of

STATUSES = ("new", "paid", "packed", "shipped", "delivered", "cancelled")
METHODS = ("card", "momo", "zalopay", "transfer", "cash")
REASONS = ("returned", "damaged", "late", "other")
TIERS = ("standard", "silver", "gold", "diamond")
MAX_ITEMS = 100
MAX_ID = (1 << 63) - 1
CENT = Decimal("0.01")
MAX_AMOUNT = Decimal("999999999999.99")


class Form:
    """Takes values out of a JSON object, collecting every mistake; `close` raises them together as `Problem` 422."""

    def __init__(self, data: dict[str, Any], where: str = "", wrong: list[str] | None = None) -> None:
        self._data = dict(data)
        self._where = where
        self._wrong = [] if wrong is None else wrong

    def __contains__(self, name: str) -> bool:
        return name in self._data

    def _no(self, name: str, rule: str) -> None:
        self._wrong.append(f"{self._where}{name}: {rule}")

    def integer(self, name: str, low: int, high: int, default: int | None = None) -> int:
        value = self._data.pop(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self._no(name, f"a whole number from {low} to {high}")
            return low
        return value

    def number(self, name: str) -> int:
        return self.integer(name, 1, MAX_ID)

    def text(self, name: str, longest: int, *, shortest: int = 0) -> str:
        value = self._data.pop(name, None)
        if not isinstance(value, str) or not shortest <= len(value) <= longest or "\0" in value:
            self._no(name, f"text of {shortest} to {longest} characters, without NUL")
            return ""
        return value

    def optional(self, name: str, longest: int) -> str | None:
        if self._data.get(name) is None:
            self._data.pop(name, None)
            return None
        return self.text(name, longest)

    def choice(self, name: str, among: Sequence[str]) -> str:
        value = self._data.pop(name, None)
        if value not in among:
            self._no(name, f"one of {', '.join(among)}")
            return among[0]
        return str(value)

    def boolean(self, name: str) -> bool:
        value = self._data.pop(name, None)
        if not isinstance(value, bool):
            self._no(name, "true or false")
        return value is True

    def amount(self, name: str) -> Decimal:
        value = self._data.pop(name, None)
        try:
            if isinstance(value, bool) or not isinstance(value, str | int | float):
                raise InvalidOperation
            amount = Decimal(str(value))
            if amount.is_finite() and 0 <= amount <= MAX_AMOUNT and amount == round(amount, 2):
                return amount.quantize(CENT)
        except InvalidOperation:
            pass
        self._no(name, "an amount from 0 with at most two decimals")
        return Decimal(0)

    def items(self, name: str) -> list[Item]:
        value = self._data.pop(name, None)
        if not isinstance(value, list) or not 1 <= len(value) <= MAX_ITEMS:
            self._no(name, f"a list of 1 to {MAX_ITEMS} items")
            return []
        found = []
        for i, entry in enumerate(value):
            if not isinstance(entry, dict):
                self._no(f"{name}[{i}]", "an object with product_id and quantity")
                continue
            form = Form(entry, f"{name}[{i}].", self._wrong)
            found.append(Item(form.number("product_id"), form.integer("quantity", 1, 10_000)))
            form.leftover()
        return found

    def leftover(self) -> None:
        for name in self._data:
            self._no(name, "unknown")

    def close(self) -> None:
        self.leftover()
        if self._wrong:
            raise Problem(422, "invalid", *self._wrong)


class Shop:
    """The endpoints over one origin."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin

    async def place_order(self, request: Request) -> Response:
        form = Form(await body_of(request))
        ref, customer, items = _ref(form), form.number("customer_id"), form.items("items")
        gift_wrap, note = form.integer("gift_wrap", 0, 2, 0), form.optional("note", 4000)
        form.close()

        async def work(db: Session) -> Any:
            return await store.place_order(db, ref, customer, items, gift_wrap, note)

        return await self._origin.write(request, work, 201)

    async def set_status(self, request: Request) -> Response:
        form = Form(await body_of(request))
        ref, status = _ref(form), form.choice("status", STATUSES)
        form.close()
        order = _number(request)
        return await self._origin.write(request, lambda db: store.set_status(db, ref, order, status))

    async def adjust(self, request: Request) -> Response:
        form = Form(await body_of(request))
        ref, delta = _ref(form), form.integer("delta", -1_000_000, 1_000_000)
        form.close()
        product = _number(request)
        return await self._origin.write(request, lambda db: store.adjust_inventory(db, ref, product, delta))

    async def update_customer(self, request: Request) -> Response:
        form = Form(await body_of(request))
        ref = _ref(form)
        changes: dict[str, Any] = {}
        if "full_name" in form:
            changes["full_name"] = form.text("full_name", 120, shortest=1)
        if "phone" in form:
            changes["phone"] = form.optional("phone", 20)
        if "tier" in form:
            changes["tier"] = form.choice("tier", TIERS)
        for name in ("newsletter", "is_active"):
            if name in form:
                changes[name] = form.boolean(name)
        if "loyalty_points" in form:
            changes["loyalty_points"] = form.integer("loyalty_points", 0, 2_000_000_000)
        form.close()
        if not changes:
            raise Problem(422, "invalid", "nothing to change")
        customer = _number(request)
        return await self._origin.write(request, lambda db: store.update_customer(db, ref, customer, changes))

    async def take_payment(self, request: Request) -> Response:
        form = Form(await body_of(request))
        ref, order, method = _ref(form), form.number("order_id"), form.choice("method", METHODS)
        amount, token = form.amount("amount"), form.optional("card_token", 64)
        form.close()
        raw = None if token is None else token.encode()

        async def work(db: Session) -> Any:
            return await store.take_payment(db, ref, order, method, amount, raw)

        return await self._origin.write(request, work, 201)

    async def refund(self, request: Request) -> Response:
        form = Form(await body_of(request))
        ref, payment, amount = _ref(form), form.number("payment_id"), form.amount("amount")
        reason, comment = form.choice("reason", REASONS), form.optional("comment", 4000)
        form.close()

        async def work(db: Session) -> Any:
            return await store.refund(db, ref, payment, amount, reason, comment)

        return await self._origin.write(request, work, 201)

    async def open_cart(self, request: Request) -> Response:
        form = Form(await body_of(request))
        ref, customer, items = _ref(form), form.number("customer_id"), form.items("items")
        form.close()
        return await self._origin.write(request, lambda db: store.open_cart(db, ref, customer, items), 201)

    async def order(self, request: Request) -> Response:
        number = _number(request)
        return await self._origin.read(request, lambda db: store.order(db, number))

    async def orders(self, request: Request) -> Response:
        ref = request.query_params.get("ref")
        if not ref:
            raise Problem(422, "invalid", "ref: the client_ref of the orders to find")
        return await self._origin.read(request, lambda db: store.orders_of(db, ref))

    async def product(self, request: Request) -> Response:
        number = _number(request)
        return await self._origin.read(request, lambda db: store.product(db, number))

    async def customer(self, request: Request) -> Response:
        number = _number(request)
        return await self._origin.read(request, lambda db: store.customer(db, number))


def routes(origin: Origin) -> list[Route]:
    """The shop's endpoints over `origin`."""
    shop = Shop(origin)
    return [
        Route("/orders", shop.place_order, methods=["POST"]),
        Route("/orders", shop.orders, methods=["GET"]),
        Route("/orders/{id:int}", shop.order, methods=["GET"]),
        Route("/orders/{id:int}/status", shop.set_status, methods=["POST"]),
        Route("/inventory/{id:int}/adjust", shop.adjust, methods=["POST"]),
        Route("/products/{id:int}", shop.product, methods=["GET"]),
        Route("/customers/{id:int}", shop.customer, methods=["GET"]),
        Route("/customers/{id:int}", shop.update_customer, methods=["PUT"]),
        Route("/payments", shop.take_payment, methods=["POST"]),
        Route("/refunds", shop.refund, methods=["POST"]),
        Route("/carts", shop.open_cart, methods=["POST"]),
    ]


def _ref(form: Form) -> str:
    return form.text("client_ref", 36, shortest=1)


def _number(request: Request) -> int:
    number = int(request.path_params["id"])
    if number > MAX_ID:
        raise Problem(404, "not-found", f"there is no {number}")
    return number
