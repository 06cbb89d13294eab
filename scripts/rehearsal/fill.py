"""Fills the sample shop with made-up data: the same rows for the same `rows` and `seed`, whatever the machine.

Invariants:
- A row is a pure function of seed, table and id. So a database that was filled in part (a killed run) is completed,
  a full one is left alone, and one that holds other data is refused: nothing is ever filled twice.
- Customer 1 carries the fingerprint of the fill in `device_token`; it is the first row that is written.
- Totals fit: an order's total is the sum of its items, a payment pays one order, a refund is part of its payment.
- No person is real: names are combined, e-mail addresses end in domains reserved for examples, and telephone
  numbers begin with an unassigned prefix.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import pymysql
from pymysql.connections import Connection
from pymysql.converters import escape_string

from scripts.errors import UsageError, ZdmError
from scripts.rehearsal import shop

MINIMUM_ROWS: Final = 1_000
CHUNK: Final = 1_000
"""Rows in one INSERT, which is one transaction."""

Connect = Callable[[], "Connection[Any]"]
Progress = Callable[[float, float, str], None]

_LINES: Final = (1, 2, 1, 3, 2, 1, 4, 1, 2, 1)
"""Items of an order, by its id modulo ten: 1.8 on average."""

FIRST_DAY: Final = dt.date(2024, 1, 1)
DAYS: Final = 720


@dataclass(frozen=True)
class Sizes:
    """Rows by table. Ids are 1..n, except `inventory` (one row per product) and `order_items` (1..lines per order)."""

    customers: int
    addresses: int
    products: int
    carts: int
    orders: int
    order_items: int
    payments: int
    refunds: int
    outbox: int

    @property
    def inventory(self) -> int:
        return self.products

    @property
    def total(self) -> int:
        return sum(self.by_table().values())

    def by_table(self) -> dict[str, int]:
        return {table: int(getattr(self, table)) for table in shop.TABLES}


def sizes(rows: int) -> Sizes:
    """Splits `rows` among the tables as a shop's are: exactly that many in all. Raises `UsageError` if too few."""
    if rows < MINIMUM_ROWS:
        raise UsageError(f"--rows {rows}: the sample shop needs at least {MINIMUM_ROWS:,} rows")
    orders = rows * 19 // 100
    items = sum(_LINES) * (orders // 10) + sum(_LINES[i % 10] for i in range(orders // 10 * 10 + 1, orders + 1))
    products = rows * 2 // 100
    known = {
        "customers": rows * 8 // 100, "addresses": rows * 9 // 100, "products": products, "carts": rows * 6 // 100,
        "orders": orders, "order_items": items, "payments": orders * 85 // 100, "refunds": orders * 3 // 100,
    }  # fmt: skip
    return Sizes(**known, outbox=rows - sum(known.values()) - products)


@dataclass(frozen=True)
class Filled:
    """`written` rows were inserted now; `rows` are there (both by table). `seconds` is wall time."""

    rows: dict[str, int]
    written: dict[str, int]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        return {"rows": self.rows, "written": self.written, "seconds": round(self.seconds, 3)}


def create(connection: Connection[Any]) -> None:
    """Creates the tables that are not there."""
    with connection.cursor() as c:
        c.execute("SHOW TABLES")
        there = {str(row[0]) for row in c.fetchall()}
        for table in shop.TABLES:
            if table not in there:
                c.execute(shop.DDL[table])


def fill(
    connect: Connect, rows: int = 200_000, seed: int = 1, connections: int = 3, progress: Progress | None = None
) -> Filled:
    """Creates and fills the shop in the database that `connect` opens. `progress(done, total, unit)` is told the rows.

    Raises `UsageError` when the database holds a shop that was filled otherwise (other rows or seed, or real data).
    """
    started = time.monotonic()
    plan, writer = sizes(rows), _Rows(seed, sizes(rows))
    connection = connect()
    try:
        create(connection)
        missing = _missing(connection, plan, writer.fingerprint())
        written = dict.fromkeys(shop.TABLES, 0)
        total = sum(chunk.rows for chunk in missing)
        if missing:
            if missing[0].table == "customers" and missing[0].first == 1:
                _prepare(connection)
                with connection.cursor() as c:  # alone and first: it carries the fingerprint
                    c.execute(writer.insert(missing[0]))
                connection.commit()
                written["customers"] += missing.pop(0).rows
            _send(connect, writer, missing, min(connections, len(missing)), written, progress, total)
            with connection.cursor() as c:
                c.execute("ANALYZE TABLE " + ", ".join(shop.TABLES))
    finally:
        connection.close()
    return Filled(plan.by_table(), written, time.monotonic() - started)


def price(product: int) -> int:
    """The price of a product in VND: a thousand-step between 19,000 and about 2 million, few of them dear."""
    h = (product * 2_654_435_761) & 0xFFFFFFFF
    return 19_000 + 1_000 * ((h & 0x3FF) * ((h >> 10) & 0x3FF) * ((h >> 20) & 0x3FF) // 540_000)


@dataclass(frozen=True)
class _Chunk:
    """`rows` rows with the ids `first` to `last`, both included; some of them are there when it is `partial`."""

    table: str
    first: int
    last: int
    rows: int
    partial: bool = False


def _chunks(table: str, n: int) -> Iterator[_Chunk]:
    for first in range(1, n + 1, CHUNK):
        last = min(first + CHUNK - 1, n)
        rows = sum(_LINES[i % 10] for i in range(first, last + 1)) if table == "order_items" else last - first + 1
        yield _Chunk(table, first, last, rows)


def _missing(connection: Connection[Any], plan: Sizes, fingerprint: bytes) -> list[_Chunk]:
    """The chunks to write, customers first. Raises when the rows there are not of this fill."""
    with connection.cursor() as c:
        c.execute("SELECT device_token FROM customers WHERE id = 1")
        row = c.fetchone()
        if row is None:
            for table in shop.TABLES:
                c.execute(f"SELECT 1 FROM {table} LIMIT 1")
                if c.fetchone():
                    raise UsageError(
                        f"the table {table} already holds rows that are not the sample shop's: give an empty database"
                    )
        elif row[0] != fingerprint:
            raise UsageError(
                "the database already holds a shop that was filled otherwise (other --rows, another seed, "
                "or real data): give the same --rows, or an empty database"
            )
        missing = []
        for table in shop.TABLES:
            n = plan.orders if table == "order_items" else plan.by_table()[table]
            there: dict[int, int] = {}
            if row is not None:
                k = _KEYS.get(table, "id")
                c.execute(f"SELECT ({k} - 1) DIV {CHUNK}, COUNT(*) FROM {table} WHERE {k} <= %s GROUP BY 1", (n,))
                there = {int(chunk): int(count) for chunk, count in c.fetchall()}
            for i, chunk in enumerate(_chunks(table, n)):
                if there.get(i, 0) != chunk.rows:
                    missing.append(replace(chunk, partial=i in there))
        return missing


def _prepare(connection: Connection[Any]) -> None:
    """The rows are right by construction and come in any order, so that nothing is looked up for them."""
    connection.autocommit(False)
    with connection.cursor() as c:
        c.execute("SET foreign_key_checks = 0, unique_checks = 0, time_zone = '+00:00'")


def _send(
    connect: Connect,
    writer: _Rows,
    chunks: list[_Chunk],
    connections: int,
    written: dict[str, int],
    progress: Progress | None,
    total: int,
) -> None:
    """Rows are made in this thread and sent in others, which mostly wait for the server."""
    work: queue.Queue[tuple[_Chunk, str] | None] = queue.Queue(maxsize=2 * connections)
    failed: list[Exception] = []
    done = threading.Lock()

    def sender() -> None:
        try:
            connection = connect()
            try:
                _prepare(connection)
                with connection.cursor() as c:
                    while (item := work.get()) is not None:
                        if failed:
                            continue
                        c.execute(item[1])
                        connection.commit()
                        with done:
                            written[item[0].table] += item[0].rows
            finally:
                connection.close()
        except Exception as e:  # raised again by the maker
            failed.append(e)
            while work.get() is not None:  # let the maker end
                pass

    threads = [threading.Thread(target=sender, name=f"fill-{i}", daemon=True) for i in range(connections)]
    for thread in threads:
        thread.start()
    try:
        for chunk in chunks:
            if failed:
                break
            work.put((chunk, writer.insert(chunk)))
            if progress:
                progress(sum(written.values()), total, "rows")
    finally:
        for _ in threads:
            work.put(None)
        for thread in threads:
            thread.join()
    if failed:
        if isinstance(failed[0], pymysql.err.Error):
            raise ZdmError(f"MySQL refused a row of the sample shop: {failed[0].args[-1]}") from failed[0]
        raise failed[0]
    if progress:
        progress(total, total, "rows")


def _quoted(values: list[str]) -> list[str]:
    return [f"'{escape_string(value)}'" for value in values]


_FAMILY = [
    "Nguyễn",
    "Trần",
    "Lê",
    "Phạm",
    "Hoàng",
    "Huỳnh",
    "Phan",
    "Vũ",
    "Võ",
    "Đặng",
    "Bùi",
    "Đỗ",
    "Hồ",
    "Ngô",
    "Dương",
    "Lý",
    "O'Brien",
    "Müller",
]
_MIDDLE = ["Văn", "Thị", "Hữu", "Đức", "Ngọc", "Minh", "Thanh", "Quốc", "Xuân", "Kim", "Gia", "Bảo"]
_GIVEN = ["An", "Bình", "Chi", "Dũng", "Giang", "Hà", "Hiếu", "Hương", "Khánh", "Lan", "Linh", "Long", "Mai", "Nam",
          "Nga", "Phúc", "Quân", "Sơn", "Thảo", "Trang", "Tuấn", "Uyên", "Việt", "Yến"]  # fmt: skip
_ASCII = ["an", "binh", "chi", "dung", "giang", "ha", "hieu", "huong", "khanh", "lan", "linh", "long", "mai", "nam",
          "nga", "phuc", "quan", "son", "thao", "trang", "tuan", "uyen", "viet", "yen"]  # fmt: skip
_DOMAINS = ["example.com", "example.net", "example.org", "mail.example", "Thu.Example"]
_CITIES = ["Hà Nội", "TP. Hồ Chí Minh", "Đà Nẵng", "Cần Thơ", "Hải Phòng", "Huế", "Nha Trang", "Đà Lạt"]
_DISTRICTS = ["Quận 1", "Quận 3", "Ba Đình", "Hoàn Kiếm", "Thanh Khê", "Ninh Kiều", "Lê Chân", "Phú Nhuận"]
_STREETS = ["Lê Lợi", "Trần Hưng Đạo", "Nguyễn Huệ", "Hai Bà Trưng", "Điện Biên Phủ", "Phan Đình Phùng", "3/2"]
_NOTES = _quoted(
    [
        "Gọi trước khi giao 📞",
        "Để ở chòi bảo vệ",
        "Giao giờ hành chính",
        "Nhà có chó 🐕, bấm chuông",
        "Tầng hầm, cổng sau\nhỏi chú Tư",
        'Don\'t ring "twice"',
        "C:\\giao\\hang\tghi chú",
        "Cảm ơn shop ❤️",
    ]
)
_GOODS = [
    "Áo thun",
    "Quần jean",
    "Giày thể thao",
    "Túi xách",
    "Nồi cơm điện",
    "Tai nghe",
    "Đèn bàn",
    "Sách",
    "Cà phê",
    "Trà ô long",
    "Son dưỡng",
    "Kem chống nắng",
    "Bàn phím",
    "Chuột không dây",
    "Bình giữ nhiệt",
    "Ghế xoay",
]
_BRANDS = ["Sao Mai", "Hòn Đất", "Lá Xanh", "Bến Tre Home", "Gió Nam", "Phố Cổ"]
_TEXTS = _quoted(
    [
        "Chất liệu bền, màu không phai. Bảo hành 12 tháng ✅",
        "Hàng mới về 🎉: số lượng có hạn!\n- Giao nhanh 2 giờ\n- Đổi trả trong 7 ngày",
        "Thiết kế tối giản; phù hợp cho văn phòng và gia đình 👨‍👩‍👧",
        "Sản phẩm thủ công từ làng nghề, mỗi chiếc một khác.",
        "100% cotton — giặt máy ≤ 40°C \\ không tẩy",
        "Nguyên liệu: cà phê Robusta Đắk Lắk, rang mộc ☕ " + "đậm đà, hậu ngọt; " * 20,
        "",
    ]
)
_COLOURS = ["đỏ", "xanh lá", "xanh dương", "đen", "trắng", "vàng nghệ"]
_INTERESTS = ["fashion", "electronics", "home", "books", "beauty", "food"]
_LABELS = ["new", "sale", "bestseller", "imported"]
_TIERS = ["standard"] * 5 + ["silver", "gold", "diamond"]
_STATUS = ["new", "paid", "packed", "shipped", "delivered", "delivered", "delivered", "cancelled"]
_METHODS = ["card", "card", "momo", "momo", "zalopay", "transfer", "cash", "cash"]
_REASONS = ["returned", "damaged", "late", "other"]
_DATES = [(FIRST_DAY + dt.timedelta(days=i)).isoformat() for i in range(DAYS + 60)]
_BIRTHDAYS = [(dt.date(1950, 1, 1) + dt.timedelta(days=i * 11)).isoformat() for i in range(1_900)]
_SETS = {
    "interests": [",".join(v for b, v in enumerate(_INTERESTS) if n >> b & 1) for n in range(64)],
    "labels": [",".join(v for b, v in enumerate(_LABELS) if n >> b & 1) for n in range(16)],
}
_ATTRIBUTES = _quoted(
    [
        json.dumps(
            {"màu": colour, "size": size, "weight": 0.25 * i + 0.5, "tags": ['a"b', None, i], "eco": i % 2 == 0},
            ensure_ascii=False,
        )
        for i, (colour, size) in enumerate((colour, size) for colour in _COLOURS for size in ("S", "M", "L", "XL"))
    ]
)
_PREFERENCES = _quoted(
    [
        json.dumps(
            {"theme": theme, "sms": bool(n & 1), "limit": n * 1_000_000_007, "seen": {"promo": n, "vị": "ngọt 🍰"}},
            ensure_ascii=False,
        )
        for n, theme in enumerate(["sáng", "tối", "auto"] * 4)
    ]
)


class _Rows:
    """Makes rows as SQL literals. `bits(table, id)` are 256 random bits that depend on nothing else but the seed."""

    def __init__(self, seed: int, plan: Sizes) -> None:
        self.seed = seed
        self.plan = plan
        self._make: dict[str, Callable[[int], str]] = {table: getattr(self, table) for table in shop.TABLES}

    def fingerprint(self) -> bytes:
        return hashlib.sha256(f"{self.seed}:{self.plan.total}".encode()).digest()[:16]

    def insert(self, chunk: _Chunk) -> str:
        make = self._make[chunk.table]
        rows = ",".join([make(i) for i in range(chunk.first, chunk.last + 1)])
        key = _KEYS.get(chunk.table, "id")
        tail = f" ON DUPLICATE KEY UPDATE {key} = {chunk.table}.{key}" if chunk.partial else ""
        return f"INSERT INTO {chunk.table} ({_COLUMNS[chunk.table]}) VALUES {rows}{tail}"

    def bits(self, table: str, i: int) -> int:
        return int.from_bytes(hashlib.blake2b(b"%d %b %d" % (self.seed, table.encode(), i), digest_size=32).digest())

    def customers(self, i: int) -> str:
        b = self.bits("customers", i)
        given = (b & 0xFFFF) % 24
        name = f"{_FAMILY[(b >> 16 & 0xFFFF) % 18]} {_MIDDLE[(b >> 32 & 0xFFFF) % 12]} {_GIVEN[given]}"
        user = _ASCII[given].title() if b >> 48 & 7 == 0 else _ASCII[given]
        token = self.fingerprint().hex() if i == 1 else f"{b & (1 << 128) - 1:032x}"
        return (
            f"({i},'{user}.{i}@{_DOMAINS[(b >> 52 & 0xFF) % 5]}','{escape_string(name)}',"
            f"{'NULL' if b >> 60 & 7 == 0 else f'{chr(39)}+84000{b >> 64 & 0xFFFFFF:08d}{chr(39)}'},"
            f"{_or_null(b >> 88 & 3, _BIRTHDAYS[(b >> 90 & 0xFFFF) % 1900])},'{'en' if b >> 106 & 15 == 0 else 'vi'}',"
            f"'{_TIERS[b >> 110 & 7]}','{_SETS['interests'][b >> 113 & 63]}',{int(b >> 119 & 15 != 0)},"
            f"{('0', '1', '1', 'NULL')[b >> 123 & 3]},{max(0, (b >> 125 & 15) - 11)},"
            f"{(b >> 129 & 0xFFFFF) - 1000}.{(b >> 149 & 0xFF) % 100:02d},{(b >> 157 & 0xFFFF) - 500},"
            f"{_or_null(b >> 173 & 1, f'{8 + (b >> 174 & 7):02d}:30:00')},"
            f"0x{b >> 177 & (1 << 64) - 1:016x}{b & (1 << 128) - 1:032x},"
            f"{'NULL' if i > 1 and b >> 241 & 3 == 0 else '0x' + token},"
            f"{'NULL' if b >> 243 & 7 == 0 else _PREFERENCES[(b >> 246) % 12]},{_stamps(b >> 8)})"
        )

    def addresses(self, i: int) -> str:
        b = self.bits("addresses", i)
        customer = i if i <= self.plan.customers else 1 + (b & 0xFFFFFFFF) % self.plan.customers
        return (
            f"({i},{customer},'{('home', 'home', 'work', 'pickup')[b >> 32 & 3]}',"
            f"'{escape_string(_FAMILY[(b >> 34 & 0xFF) % 18])} {_GIVEN[(b >> 42 & 0xFF) % 24]}',"
            f"'{1 + (b >> 50 & 0x1FF)} {_STREETS[(b >> 59 & 0xFF) % 7]}',"
            f"'{_DISTRICTS[b >> 67 & 7]}','{_CITIES[b >> 70 & 7]}',"
            f"'VN',{_or_null(b >> 73 & 3, f'{b >> 75 & 0xFFFF:06d}')},{8 + (b >> 91 & 0xFFFFFFFF) / 2**29!r},"
            f"{102 + (b >> 123 & 0xFFFFFFFF) / 2**30!r},"
            f"{('NULL', '-1', '0', '3', '12', '27', 'NULL', '8')[b >> 155 & 7]},"
            f"{int(i <= self.plan.customers)},{'NULL' if b >> 158 & 1 else _NOTES[b >> 159 & 7]},{_stamps(b >> 162)})"
        )

    def products(self, i: int) -> str:
        b = self.bits("products", i)
        brand = _BRANDS[(b & 0xFF) % 6]
        return (
            f"({i},'{'sku' if b >> 8 & 31 == 0 else 'SKU'}-{i:07d}','{_GOODS[b >> 13 & 15]} {brand} {b >> 17 & 0x3FF}',"
            f"{'NULL' if b >> 27 & 15 == 0 else _TEXTS[(b >> 31 & 0xFF) % 7]},{1 + (b >> 39 & 63)},{price(i)}.00,'VND',"
            f"{50 + (b >> 45 & 0x3FFF)},{'NULL' if b >> 59 & 7 == 0 else 1 + (b >> 62 & 0x1F) / 10},"
            f"'{('active', 'active', 'active', 'retired')[b >> 67 & 3] if i % 50 else 'draft'}',"
            f"'{_SETS['labels'][b >> 69 & 15]}',"
            f"{b >> 73 & 255},{'NULL' if b >> 81 & 1 else 2015 + (b >> 82 & 7)},"
            f"{'NULL' if b >> 85 & 3 == 0 else f'0x{b:064x}'},{_ATTRIBUTES[(b >> 87 & 0xFFFF) % len(_ATTRIBUTES)]},"
            f"{_stamps(b >> 103)})"
        )

    def inventory(self, i: int) -> str:
        b = self.bits("inventory", i)
        return f"({i},{1_000 + (b & 0x3FFF)},{b >> 14 & 31},{1 + (b >> 19 & 3)},{_stamps(b >> 21)})"

    def _items(self, order: int) -> list[tuple[int, int]]:
        """(product, quantity) of an order; no product twice."""
        b = self.bits("order_items", order)
        n = self.plan.products
        return [(1 + ((b & 0xFFFFFFFF) + k * 7) % n, 1 + (b >> 32 + 2 * k & 3)) for k in range(_LINES[order % 10])]

    def _total(self, order: int) -> int:
        return sum(price(product) * quantity for product, quantity in self._items(order))

    def carts(self, i: int) -> str:
        b = self.bits("carts", i)
        product, quantity = 1 + (b & 0xFFFFFFFF) % self.plan.products, 1 + (b >> 32 & 3)
        return (
            f"({i},{1 + (b >> 34 & 0xFFFFFFFF) % self.plan.customers},"
            f"'{('open', 'open', 'ordered', 'abandoned')[b >> 66 & 3]}',"
            f'\'[{{"product_id": {product}, "quantity": {quantity}}}]\',{price(product) * quantity}.00,'
            f"{_or_null(b >> 68 & 7 != 0, f'TET{b >> 71 & 0xFFFF:05d}')},"
            f"{_or_null(b >> 87 & 1, _DATES[(b >> 88 & 0xFFFF) % DAYS])},"
            f"{_stamps(b >> 104)})"
        )

    def orders(self, i: int) -> str:
        b = self.bits("orders", i)
        day = i * DAYS // (self.plan.orders + 1)
        return (
            f"({i},{1 + (b & 0xFFFFFFFF) % self.plan.customers},'{_STATUS[b >> 32 & 7]}',{self._total(i)}.00,"
            f"{(0, 0, 0, 0.05, 0.1, 1 / 3, 0.125, 0)[b >> 35 & 7]!r},{max(0, (b >> 38 & 7) - 5)},"
            f"{_or_null(b >> 41 & 3 == 0, _DATES[day + 1 + (b >> 43 & 7)])},"
            f"{_or_null(b >> 46 & 1, f'{8 + (b >> 47 & 7):02d}:{15 * (b >> 50 & 3):02d}:00')},"
            f"{_NOTES[b >> 52 & 7] if b >> 55 & 7 == 0 else 'NULL'},{_or_null(b >> 58 & 1, _CHANNEL[b >> 59 & 3])},"
            f"'{_ref(b)}','{_moment(day, b >> 190)}','{_moment(day + 2, b >> 200)}')"
        )

    def order_items(self, i: int) -> str:
        return ",".join(
            [
                f"({i},{line},{product},{quantity},{price(product)}.00)"
                for line, (product, quantity) in enumerate(self._items(i), start=1)
            ]
        )

    def payments(self, i: int) -> str:
        b = self.bits("payments", i)
        method = _METHODS[b & 7]
        day = i * DAYS // (self.plan.orders + 1)
        token = f"0x{b:064x}" if method == "card" else "NULL"
        return (
            f"({i},{i},'{method}','{'failed' if b >> 3 & 31 == 0 else 'captured'}',{self._total(i)}.00,'VND',{token},"
            f"'{_ref(b)}',{_or_null(b >> 3 & 31 == 0, _moment(day, b >> 190))},'{_moment(day, b >> 191)}')"
        )

    def refunds(self, i: int) -> str:
        b = self.bits("refunds", i)
        payment = i * self.plan.payments // (self.plan.refunds + 1)
        return (
            f"({i},{payment},{self._total(payment) // (1 + (b & 1))}.00,'{_REASONS[b >> 1 & 3]}',"
            f"{'NULL' if b >> 3 & 1 else _NOTES[b >> 4 & 7]},"
            f"{_or_null(b >> 7 & 3 == 0, _DATES[(b >> 9 & 0xFFFF) % DAYS])},"
            f"'{_moment((b >> 25 & 0xFFFF) % DAYS, b >> 41)}')"
        )

    def outbox(self, i: int) -> str:
        b = self.bits("outbox", i)
        order = 1 + i % self.plan.orders
        at = _moment(order * DAYS // (self.plan.orders + 1), b >> 190)
        return (
            f"({i},'order',{order},'order.placed','{{\"order_id\": {order}, \"total\": \"{self._total(order)}.00\"}}',"
            f"'{_ref(b)}','{at}','{at}')"
        )


_CHANNEL = [
    r"{\"channel\": \"web\", \"ua\": null}",
    r"{\"channel\": \"app\", \"build\": 412}",
    r"{\"channel\": \"zalo\", \"vat\": 0.08}",
    r"{\"channel\": \"pos\", \"till\": [3, 1]}",
]

_COLUMNS: Final[dict[str, str]] = {
    "customers": "id,email,full_name,phone,birthday,locale,tier,interests,is_active,newsletter,failed_logins,balance,"
                 "loyalty_points,call_after,password_hash,device_token,preferences,created_at,updated_at",
    "addresses": "id,customer_id,kind,recipient,street,district,city,country,postcode,latitude,longitude,floor,"
                 "is_default,note,created_at,updated_at",
    "products": "id,sku,name,description,category,price,currency,weight_grams,rating,status,labels,shipping,model_year,"
                "image_sha256,attributes,created_at,updated_at",
    "inventory": "product_id,on_hand,reserved,warehouse,created_at,updated_at",
    "carts": "id,customer_id,status,items,total,coupon,expires_on,created_at,updated_at",
    "orders": "id,customer_id,status,total,discount_rate,gift_wrap,delivery_date,delivery_time,note,details,client_ref,"
              "placed_at,updated_at",
    "order_items": "order_id,line,product_id,quantity,unit_price",
    "payments": "id,order_id,method,status,amount,currency,card_token,client_ref,captured_at,created_at",
    "refunds": "id,payment_id,amount,reason,comment,approved_on,created_at",
    "outbox": "id,aggregate,aggregate_id,event,payload,client_ref,created_at,delivered_at",
}  # fmt: skip


_KEYS: Final = {"inventory": "product_id", "order_items": "order_id"}
"""The first column of the primary key where it is not `id`."""


def _or_null(null: int | bool, value: str) -> str:
    """NULL when `null` holds, else the quoted value, which needs no escaping."""
    return "NULL" if null else f"'{value}'"


def _ref(b: int) -> str:
    """A UUID, as a client would have made it."""
    h = f"{b & (1 << 128) - 1:032x}"
    return f"{h[:8]}-{h[8:12]}-4{h[13:16]}-a{h[17:20]}-{h[20:]}"


def _moment(day: int, b: int) -> str:
    return f"{_DATES[day]} {b % 24:02d}:{(b >> 5) % 60:02d}:{(b >> 11) % 60:02d}.{(b >> 17) % 1_000_000:06d}"


def _stamps(b: int) -> str:
    day = (b & 0xFFFF) % DAYS
    return f"'{_moment(day, b >> 16)}','{_moment(day + (b >> 60 & 31), b >> 30)}'"
