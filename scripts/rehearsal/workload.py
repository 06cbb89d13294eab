"""What the load generator asks for: customers of the sample shop, or plain rows of a database that no one here wrote.

A plan is a JSON file that was made from the source before the load began. It names what there is to read and to change,
and the values that increments start from; the ledger's check needs the same file.

Invariants:
- Every write has a `client_ref` of its own. Two writes that set absolute values on one row are never under way
  together, so that the last acknowledged one is what the row must hold.
- Only rows that exist are referred to: foreign keys hold.
- The choice of requests depends on the seed and on the answers only; a `client_ref` is new in every run.
"""

from __future__ import annotations

import json
import random
import uuid
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Protocol
from urllib.parse import quote

import orjson

from scripts.errors import UsageError
from scripts.rehearsal.fill import price
from scripts.rehearsal.measure import Verb

USERS: Final = 20_000
"""Users that the load is spread over; each sticks to its side. Many, as a shop has: after a write a user reads from the
writer for some seconds, so with few users hardly any read would be left to follow the weight."""

HOT: Final = 64
"""Products that get most of the increments: an echo or a lost update needs rows that change often."""

Outcome = Literal["acknowledged", "failed", "unknown"]


@dataclass(slots=True)
class Request:
    """One request. `write` is what the ledger keeps of it (None for a read); `own` marks a read of the user's own
    write.
    """

    verb: Verb
    method: str
    path: str
    user: str
    body: bytes | None = None
    write: dict[str, Any] | None = None
    own: bool = False


class Workload(Protocol):
    """Makes requests and is told how they ended."""

    kind: str

    def read(self) -> Request: ...

    def write(self) -> Request: ...

    def ended(self, request: Request, outcome: Outcome, answer: Any) -> None:
        """`answer` is the decoded JSON of an acknowledged request. May complete `request.write` (generated keys)."""


@dataclass(frozen=True)
class ShopPlan:
    """Ids 1..n of the sample shop that exist, and the stock of every product before the load."""

    customers: int
    products: int
    orders: int
    on_hand: dict[int, int]
    kind: Literal["shop"] = "shop"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class TablePlan:
    """What may be done to one table.

    `key` are the columns of the primary key, `keys` a sample of the keys that exist. `updates` are plain columns by the
    kind of value they take, `increments` whole-number columns with the value that each sampled key has before the load.
    `insert` says how each column of a new row is made: {"kind": "text", "length": 40}, {"kind": "reference", "values":
    [...]}, ...; None when no row can be made; `room` is how many may be. `rows` is the count before the load.
    """

    name: str
    rows: int
    key: list[str]
    keys: list[list[Any]]
    updates: dict[str, dict[str, Any]] = field(default_factory=dict)
    increments: dict[str, list[int | None]] = field(default_factory=dict)
    insert: dict[str, dict[str, Any]] | None = None
    room: int = 0


@dataclass(frozen=True)
class TablesPlan:
    """A database that no one here wrote: what may be done to each of its tables."""

    tables: list[TablePlan]
    kind: Literal["tables"] = "tables"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


Plan = ShopPlan | TablesPlan


def save_plan(plan: Plan, path: Path) -> None:
    path.write_text(json.dumps(plan.to_json(), ensure_ascii=False, default=str) + "\n")


def load_plan(path: Path) -> Plan:
    """Reads what `save_plan` wrote. Raises `UsageError` that names the file."""
    try:
        data = json.loads(path.read_text())
        kind = data.pop("kind")
        if kind == "shop":
            return ShopPlan(**{**data, "on_hand": {int(k): int(v) for k, v in data["on_hand"].items()}})
        if kind == "tables":
            return TablesPlan([TablePlan(**table) for table in data["tables"]])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
        raise UsageError(f"--plan {path} cannot be used: {e}") from e
    raise UsageError(f"--plan {path} is of the unknown kind {kind!r}")


def shop_plan(connection: Any) -> ShopPlan:
    """Looks at the sample shop in MySQL (`connection` is in its database). To be called before the load begins."""
    with connection.cursor() as c:
        counts: list[int] = []
        for table in ("customers", "products", "orders"):
            c.execute(f"SELECT COUNT(*), COALESCE(MAX(id), 0) FROM {table}")
            count, last = map(int, c.fetchone())
            if not count:
                raise UsageError(f"the sample shop's table {table} is empty: fill it first")
            counts.append(min(count, last))
        c.execute("SELECT product_id, on_hand FROM inventory")
        on_hand = {int(product): int(n) for product, n in c.fetchall()}
    return ShopPlan(counts[0], counts[1], counts[2], on_hand)


class ShopLoad:
    """Customers of the sample shop: they look at goods and orders, fill carts, order, pay; the shop's staff
    moves orders on, changes customers, books stock."""

    kind = "shop"

    def __init__(self, plan: ShopPlan, seed: int) -> None:
        self.plan = plan
        self._random = random.Random(f"{seed}:load")
        self._users = [f"user-{i}" for i in range(1, USERS + 1)]
        self._orders: dict[str, deque[int]] = {user: deque(maxlen=20) for user in self._users}
        self._unpaid: deque[tuple[str, int, str]] = deque(maxlen=5_000)
        self._done: deque[tuple[str, int]] = deque(maxlen=5_000)
        self._busy: set[int] = set()

    def read(self) -> Request:
        r = self._random
        user, dice = r.choice(self._users), r.random()
        own = self._orders[user]
        if dice < 0.30 and own:
            return Request("read", "GET", f"/orders/{r.choice(own)}", user, own=True)
        if dice < 0.45:
            return Request("read", "GET", f"/orders/{r.randint(1, self.plan.orders)}", user)
        if dice < 0.60:
            return Request("read", "GET", f"/customers/{r.randint(1, self.plan.customers)}", user)
        return Request("read", "GET", f"/products/{r.randint(1, self.plan.products)}", user)

    def write(self) -> Request:
        dice = self._random.random()
        if dice < 0.30:
            return self._adjust()
        if dice < 0.45:
            return self._change_customer()
        if dice < 0.55 and self._done:
            return self._set_status()
        if dice < 0.67 and self._unpaid:
            return self._pay()
        if dice < 0.77:
            return self._open_cart()
        return self._order()

    def ended(self, request: Request, outcome: Outcome, answer: Any) -> None:
        write = request.write
        if write is None:
            return
        table = write["table"]
        if table == "customers":
            self._busy.discard(write["key"]["id"])
        elif write["op"] == "insert" and outcome == "acknowledged":
            write["key"] = {"id": int(answer["id"])}
            if table == "orders":
                self._orders[request.user].append(write["key"]["id"])
                self._unpaid.append((request.user, write["key"]["id"], write["values"]["total"]))
            elif table == "payments":
                self._done.append((request.user, write["values"]["order_id"]))
        elif write["op"] == "update" and outcome == "acknowledged":
            self._done.append((request.user, write["key"]["id"]))  # free for its next status

    def _order(self) -> Request:
        r = self._random
        items = [
            {"product_id": product, "quantity": r.randint(1, 4)}
            for product in r.sample(range(1, self.plan.products + 1), r.choice((1, 1, 2, 2, 3)))
        ]
        total = f"{sum(price(item['product_id']) * item['quantity'] for item in items)}.00"
        body = {
            "customer_id": r.randint(1, self.plan.customers),
            "items": items,
            "gift_wrap": r.choice((0, 0, 0, 1, 2)),
            "note": r.choice((None, None, None, "Giao nhanh giúp mình nhé 🙏")),
        }
        write = {"op": "insert", "table": "orders", "key": None, "values": {"total": total}, "lines": len(items)}
        return self._request("POST", "/orders", r.choice(self._users), body, write)

    def _pay(self) -> Request:
        user, order, total = self._unpaid.popleft()
        body = {"order_id": order, "amount": total, "method": self._random.choice(("card", "momo", "zalopay", "cash"))}
        write = {"op": "insert", "table": "payments", "key": None, "values": {"amount": total, "order_id": order}}
        return self._request("POST", "/payments", user, body, write)

    def _set_status(self) -> Request:
        user, order = self._done.popleft()
        status = self._random.choice(("paid", "packed", "shipped", "delivered"))
        write = {"op": "update", "table": "orders", "key": {"id": order}, "values": {"status": status}}
        return self._request("POST", f"/orders/{order}/status", user, {"status": status}, write)

    def _open_cart(self) -> Request:
        r = self._random
        customer = r.randint(1, self.plan.customers)
        body = {
            "customer_id": customer,
            "items": [{"product_id": r.randint(1, self.plan.products), "quantity": r.randint(1, 9)}],
        }
        write = {"op": "insert", "table": "carts", "key": None, "values": {"customer_id": customer}}
        return self._request("POST", "/carts", r.choice(self._users), body, write)

    def _change_customer(self) -> Request:
        r = self._random
        while (customer := r.randint(1, self.plan.customers)) in self._busy and len(self._busy) < self.plan.customers:
            pass
        self._busy.add(customer)
        values = {"loyalty_points": r.randint(0, 1_000_000), "newsletter": r.random() < 0.5}
        write = {"op": "update", "table": "customers", "key": {"id": customer}, "values": values}
        return self._request("PUT", f"/customers/{customer}", r.choice(self._users), values, write)

    def _adjust(self) -> Request:
        r = self._random
        product = r.randint(1, min(HOT, self.plan.products) if r.random() < 0.8 else self.plan.products)
        delta = r.choice((-3, -2, -1, 1, 2, 3, 5))
        write = {
            "op": "increment",
            "table": "inventory",
            "key": {"product_id": product},
            "column": "on_hand",
            "delta": delta,
        }
        return self._request("POST", f"/inventory/{product}/adjust", r.choice(self._users), {"delta": delta}, write)

    def _request(self, method: str, path: str, user: str, body: dict[str, Any], write: dict[str, Any]) -> Request:
        ref = str(uuid.uuid4())
        return Request("write", method, path, user, orjson.dumps({"client_ref": ref, **body}), {"ref": ref, **write})


class TablesLoad:
    """Plain rows through the generic service: inserts, absolute updates and increments, by what each table allows."""

    kind = "tables"

    def __init__(self, plan: TablesPlan, seed: int) -> None:
        self._random = random.Random(f"{seed}:load")
        self._users = [f"user-{i}" for i in range(1, USERS + 1)]
        self._readable = [t for t in plan.tables if t.keys]
        self._choices = [
            (op, table)
            for table in plan.tables
            for op, possible in (
                ("insert", table.insert is not None),
                ("update", table.updates and table.keys),
                ("increment", any(v is not None for vs in table.increments.values() for v in vs)),
            )
            if possible
        ]
        if not self._choices or not self._readable:
            raise UsageError(
                "none of the tables can be written to by the generic load: it needs a table with a primary key, "
                "rows, and a plain column outside of keys"
            )
        self._busy: set[tuple[str, tuple[Any, ...]]] = set()
        self._made = 0
        self._inserted: Counter[str] = Counter()

    def read(self) -> Request:
        table = self._random.choice(self._readable)
        key = orjson.dumps(dict(zip(table.key, self._random.choice(table.keys), strict=True))).decode()
        return Request("read", "GET", f"{_path(table)}?key={quote(key, safe='')}", self._random.choice(self._users))

    def write(self) -> Request:
        r = self._random
        for _ in range(100):
            op, table = r.choice(self._choices)
            if op == "insert":
                assert table.insert is not None
                if self._inserted[table.name] >= table.room:
                    continue
                self._inserted[table.name] += 1
                number = self._inserted[table.name]
                values = {column: self._value(how, number) for column, how in table.insert.items()}
                key = {c: values[c] for c in table.key} if all(c in values for c in table.key) else None
                return self._request(table, {"op": op, "values": values}, {"key": key, "values": values})
            index = r.randrange(min(len(table.keys), HOT if op == "increment" else len(table.keys)))
            key = dict(zip(table.key, table.keys[index], strict=True))
            if op == "increment":
                column = r.choice(list(table.increments))
                if table.increments[column][index] is None:
                    continue
                delta = r.choice((1, 1, 2))
                change = {"key": key, "column": column, "delta": delta}
                return self._request(table, {"op": op, "key": key, "values": {column: delta}}, change)
            row = (table.name, tuple(table.keys[index]))
            if row not in self._busy:
                self._busy.add(row)
                column = r.choice(list(table.updates))
                change = {"key": key, "values": {column: self._value(table.updates[column])}}
                return self._request(table, {"op": op, **change}, change)
        raise UsageError("the generic load found no row that is free to change: the tables are too small for this rate")

    def ended(self, request: Request, outcome: Outcome, answer: Any) -> None:
        write = request.write
        if write is None:
            return
        if write["op"] == "update":
            self._busy.discard((write["table"], tuple(write["key"].values())))
        elif write["op"] == "insert" and outcome == "acknowledged":
            write["key"] = write["key"] or answer["key"]

    def _request(self, table: TablePlan, body: dict[str, Any], write: Mapping[str, Any]) -> Request:
        ref = str(uuid.uuid4())
        kept = {"ref": ref, "op": body["op"], "table": table.name, **write}
        return Request(
            "write",
            "POST",
            _path(table),
            self._random.choice(self._users),
            orjson.dumps({"client_ref": ref, **body}),
            kept,
        )

    def _value(self, how: Mapping[str, Any], number: int = 0) -> Any:
        """A value for a column, as JSON. `how` was made from the column's type by `tables_plan`; `number` counts new
        rows.
        """
        r = self._random
        self._made += 1
        match how["kind"]:
            case "text":
                text = f"zdm {self._made} {r.getrandbits(48):x}" if how["length"] >= 20 else f"{r.getrandbits(64):x}"
                return text[: how["length"]]
            case "integer":
                return r.randint(how["least"], how["most"])
            case "decimal":
                whole = r.randrange(10 ** min(how["digits"], 12))
                return (
                    f"{whole // 10 ** how['scale']}.{whole % 10 ** how['scale']:0{how['scale']}d}"
                    if how["scale"]
                    else str(whole)
                )
            case "date":
                return f"{r.randint(2000, 2026)}-{r.randint(1, 12):02d}-{r.randint(1, 28):02d}"
            case "moment":
                day = f"{r.randint(2000, 2026)}-{r.randint(1, 12):02d}-{r.randint(1, 28):02d}"
                return f"{day} {r.randint(0, 23):02d}:{r.randint(0, 59):02d}:00"
            case "choice" | "reference":
                return r.choice(how["values"])
            case "serial":
                return how["first"] + number
        raise UsageError(f"the plan asks for a value of the unknown kind {how['kind']!r}")


def _path(table: TablePlan) -> str:
    return f"/rows/{quote(table.name, safe='')}"


def workload(plan: Plan, seed: int) -> Workload:
    return ShopLoad(plan, seed) if isinstance(plan, ShopPlan) else TablesLoad(plan, seed)
