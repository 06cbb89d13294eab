"""Tests of the shop's API through the router: an order's way from the cart to the refund, and what must be refused.

Each test is one promise of the service (docs/service.md), asked from outside, as a customer's program would. Nothing is
assumed of the data but that there are some customers and products. The results are also JUnit's XML, which
`./zdm evidence add` takes.
"""

from __future__ import annotations

import time
import uuid
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx

from scripts.context import Context

Answer = dict[str, Any]


@dataclass(frozen=True)
class Tested:
    """One test; `wrong` is empty where it passed."""

    name: str
    seconds: float
    wrong: str = ""


class Unmet(Exception):
    """What the API did not keep."""


class Shop:
    """A customer's program. Each write has a name of its own; `key` makes it one that may be sent again."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def ask(self, path: str, expected: int = 200) -> Answer:
        return self._checked(self._client.get(path), expected)

    def write(self, path: str, expected: int, *, key: str = "", verb: str = "POST", **body: Any) -> Answer:
        headers = {"idempotency-key": key} if key else {}
        sent = {"client_ref": str(uuid.uuid4()), **body}
        return self._checked(self._client.request(verb, path, json=sent, headers=headers), expected)

    def _checked(self, answer: httpx.Response, expected: int) -> Answer:
        if answer.status_code != expected:
            where = f"{answer.request.method} {answer.request.url.path}"
            raise Unmet(f"{where} was answered {answer.status_code}, not {expected}: {answer.text[:200]}")
        found = answer.json()
        return found if isinstance(found, dict) else {"found": found}


def run(context: Context) -> list[Tested]:
    """Runs every test against the stack."""
    results = []
    with context.http(context.outputs.router.url) as client:
        for test in TESTS:
            began, wrong = time.perf_counter(), ""
            try:
                test(Shop(client))
            except Unmet as e:
                wrong = str(e)
            except (httpx.HTTPError, KeyError, ValueError) as e:
                wrong = f"{type(e).__name__}: {e}"
            results.append(Tested(sentence(test), time.perf_counter() - began, wrong))
    return results


def sentence(test: Callable[[Shop], None]) -> str:
    """What a test is about: the first line of its docstring."""
    return (test.__doc__ or test.__name__).strip().splitlines()[0].rstrip(".")


def junit(suite: str, results: list[Tested], path: Path, at: float) -> Path:
    """Writes JUnit's XML of tests that began at `at` (Unix time)."""
    failed = sum(bool(one.wrong) for one in results)
    began = datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
    counts = {"tests": str(len(results)), "failures": str(failed), "errors": "0", "skipped": "0"}
    root = ElementTree.Element("testsuites")
    element = ElementTree.SubElement(root, "testsuite", {"name": suite, "timestamp": began, **counts})
    for one in results:
        case = {"classname": suite, "name": one.name, "time": f"{one.seconds:.3f}"}
        made = ElementTree.SubElement(element, "testcase", case)
        if one.wrong:
            ElementTree.SubElement(made, "failure", {"message": one.wrong})
    path.write_text(ElementTree.tostring(root, encoding="unicode"))
    return path


# --- the tests --------------------------------------------------------------------------------------------------------


def _order(shop: Shop, key: str = "") -> Answer:
    items = [{"product_id": 1, "quantity": 2}, {"product_id": 2, "quantity": 1}]
    return shop.write("/orders", 201, key=key, customer_id=1, items=items)


def _must(held: bool, what: str) -> None:
    if not held:
        raise Unmet(what)


def _order_read_back(shop: Shop) -> None:
    """An order is there with its items, and costs what they cost."""
    order = shop.ask(f"/orders/{_order(shop)['id']}")
    prices = {number: Decimal(shop.ask(f"/products/{number}")["price"]) for number in (1, 2)}
    lines = {line["product_id"]: Decimal(line["unit_price"]) * line["quantity"] for line in order["items"]}
    _must(lines == {1: prices[1] * 2, 2: prices[2]}, f"the lines {lines} are not at the prices {prices}")
    _must(Decimal(order["total"]) == sum(lines.values()), f"the total {order['total']} is not that of {lines}")
    _must(order["status"] == "new", f"its status is {order['status']}")


def _once(shop: Shop) -> None:
    """A write that is sent twice under one key is executed once."""
    key, ref = str(uuid.uuid4()), str(uuid.uuid4())
    items = [{"product_id": 1, "quantity": 1}]
    first, again = (shop.write("/orders", 201, key=key, client_ref=ref, customer_id=1, items=items) for _ in range(2))
    _must(first == again, f"the second answer {again} is not the first {first}")
    there = shop.ask(f"/orders?ref={ref}")["found"]
    _must(len(there) == 1, f"there are {len(there)} orders of {ref}")


def _paid_and_refunded(shop: Shop) -> None:
    """An order is paid, and a part of it refunded."""
    order = _order(shop)
    paid = shop.write("/payments", 201, order_id=order["id"], method="card", amount=order["total"])
    _must(paid["status"] == "captured", f"the payment is {paid['status']}")
    back = shop.write("/refunds", 201, payment_id=paid["id"], amount="1.00", reason="damaged")
    _must(back["payment_id"] == paid["id"], f"the refund is of {back['payment_id']}")


def _moves_on(shop: Shop) -> None:
    """An order moves on until it is delivered."""
    number = _order(shop)["id"]
    for status in ("paid", "packed", "shipped", "delivered"):
        shop.write(f"/orders/{number}/status", 200, status=status)
        seen = shop.ask(f"/orders/{number}")["status"]
        _must(seen == status, f"it is {seen} after it was made {status}")


def _stock(shop: Shop) -> None:
    """What is booked out of stock is missing there."""
    before = shop.ask("/products/3")["on_hand"]
    shop.write("/inventory/3/adjust", 200, delta=-2)
    after = shop.ask("/products/3")["on_hand"]
    _must(after == before - 2, f"there were {before}, 2 were taken, {after} are left")


def _customer(shop: Shop) -> None:
    """A customer can be changed, and no secret of his is shown."""
    shop.write("/customers/2", 200, verb="PUT", loyalty_points=77)
    seen = shop.ask("/customers/2")
    _must(seen["loyalty_points"] == 77, f"there are {seen['loyalty_points']} points, not 77")
    shown = {"id", "email", "full_name", "phone", "locale", "tier", "is_active", "newsletter", "balance"}
    more = set(seen) - shown - {"loyalty_points"}
    _must(not more, f"it shows {', '.join(sorted(more))} as well")


def _cart(shop: Shop) -> None:
    """A cart is opened."""
    cart = shop.write("/carts", 201, customer_id=1, items=[{"product_id": 1, "quantity": 9}])
    _must(cart["status"] == "open", f"it is {cart['status']}")


def _refused_order(shop: Shop) -> None:
    """An order of a product that is not there is refused, and leaves nothing."""
    ref = str(uuid.uuid4())
    shop.write("/orders", 422, client_ref=ref, customer_id=1, items=[{"product_id": 2**40, "quantity": 1}])
    there = shop.ask(f"/orders?ref={ref}")["found"]
    _must(there == [], f"it left {there}")


def _refused_amount(shop: Shop) -> None:
    """A payment that is no amount is refused with every mistake."""
    shop.write("/payments", 422, order_id=1, method="gold", amount="many")


def _nobody(shop: Shop) -> None:
    """Who is not there is not found."""
    shop.ask(f"/customers/{2**40}", 404)


TESTS: tuple[Callable[[Shop], None], ...] = (
    _order_read_back,
    _once,
    _paid_and_refunded,
    _moves_on,
    _stock,
    _customer,
    _cart,
    _refused_order,
    _refused_amount,
    _nobody,
)
