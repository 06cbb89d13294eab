"""The load generator: arrivals do not wait for answers, outcomes are told apart, nothing is sent twice, it ends
cleanly.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from local.processes import wait_until
from scripts.errors import UsageError, ZdmError
from scripts.rehearsal import workload
from scripts.rehearsal.ledger import Ledger, read_ledger
from scripts.rehearsal.load import Generator, Load, Settings, due_after, require_loopback
from scripts.rehearsal.measure import Histogram, Second, Window, read_seconds, window
from scripts.rehearsal.workload import ShopPlan, TablePlan, TablesLoad, TablesPlan, load_plan, save_plan

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
HOST = "127.0.0.1"


@contextlib.asynccontextmanager
async def origin(answer: Answer) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, HOST, 0)
    await site.start()
    try:
        yield f"http://{HOST}:{site._server.sockets[0].getsockname()[1]}"  # type: ignore[union-attr]
    finally:
        await runner.cleanup()


def ok(ids: Any = None, **headers: str) -> web.Response:
    return web.json_response({"id": ids or 1, "key": {"id": ids or 1}}, headers={"x-zdm-side": "mysql", **headers})


def run(
    tmp_path: Path, answer: Answer, *, seconds: float = 1.0, writes: float = 100, reads: float = 100, **more: Any
) -> tuple[Ledger, Window]:
    plan = tmp_path / "plan.json"
    save_plan(ShopPlan(100, 100, 100, dict.fromkeys(range(1, 101), 10)), plan)

    async def go() -> None:
        async with origin(answer) as url:
            await Generator(Settings(url, plan, tmp_path / "out", writes, reads, seconds=seconds, ramp=0, **more)).run()

    asyncio.run(go())
    return read_ledger(tmp_path / "out"), Window(tuple(read_seconds(tmp_path / "out")))


def test_arrivals_are_constant_and_mixed(tmp_path: Path) -> None:
    async def answer(_: web.Request) -> web.Response:
        return ok()

    book, load = run(tmp_path, answer, seconds=2, writes=100, reads=50)
    assert len(book.writes) == 200 and load.answered("read") == 100
    assert {w["op"] for w in book.writes} == {"insert", "update", "increment"}
    assert len({w["ref"] for w in book.writes}) == 200
    assert load.error_rate == 0 and book.end["requests"] == 300
    gaps = [
        b - a
        for a, b in zip(sorted(w["due"] for w in book.writes), sorted(w["due"] for w in book.writes)[1:], strict=False)
    ]
    assert max(gaps) < 0.021


def test_a_stall_is_in_the_latency_of_all_that_it_made_late(tmp_path: Path) -> None:
    opened = asyncio.Event()
    seen = Counter[str]()

    async def answer(request: web.Request) -> web.Response:
        if request.method != "GET":
            seen["writes"] += 1
            if seen["writes"] == 20:
                asyncio.get_running_loop().call_later(0.8, opened.set)
            if seen["writes"] >= 20:
                await opened.wait()
        return ok()

    book, load = run(tmp_path, answer, seconds=1.5)
    assert len(book.writes) == 150 and load.error_rate == 0
    held = load.histogram("write")
    assert held.percentile(75) > 300  # type: ignore[operator]
    assert held.percentile(100) > 600  # type: ignore[operator]
    assert max(s.in_flight for s in load.seconds) >= 50


def test_the_bound_on_requests_under_way_counts_from_when_they_were_due(tmp_path: Path) -> None:
    async def answer(_: web.Request) -> web.Response:
        await asyncio.sleep(0.2)
        return ok()

    _, load = run(tmp_path, answer, seconds=0.5, in_flight=10)
    assert load.answered() == 100
    assert load.percentile(95) > 1_000  # type: ignore[operator]  # 10 at a time, 0.2 s each: the last begins 1.8 s late
    assert load.late_ms > 1_000


def test_outcomes_are_told_apart(tmp_path: Path) -> None:
    def broken(request: web.Request) -> None:
        assert request.transport is not None
        request.transport.abort()

    async def answer(request: web.Request) -> web.Response:
        path = request.path
        if path == "/orders":
            return web.Response(status=503, text="busy")
        if path == "/carts":
            return web.Response(status=500, text="who knows")
        if path.startswith("/customers") and request.method == "PUT":
            broken(request)
        if path.startswith("/products"):
            return web.Response(status=404)
        return ok()

    book, load = run(tmp_path, answer, seconds=1.5)
    outcome = {(w["table"], w["op"]): set[str]() for w in book.writes}
    for w in book.writes:
        outcome[w["table"], w["op"]].add(w["outcome"])
    assert outcome == {
        ("orders", "insert"): {"failed"},
        ("carts", "insert"): {"unknown"},
        ("customers", "update"): {"unknown"},
        ("inventory", "increment"): {"acknowledged"},
    }
    assert load.unknown == sum(w["outcome"] == "unknown" for w in book.writes)
    assert load.failed == sum(w["outcome"] == "failed" for w in book.writes) + len(book.reads)
    assert {r["path"].split("/")[1] for r in book.reads} == {"products"}
    assert next(w for w in book.writes if w["table"] == "orders")["error"] == "busy"


def test_nothing_is_sent_twice_when_a_connection_breaks(tmp_path: Path) -> None:
    seen = Counter[str]()

    async def answer(request: web.Request) -> web.Response:
        if request.method == "GET":
            return ok()
        ref = (await request.json())["client_ref"]
        seen[ref] += 1
        if len(seen) % 3 == 0:
            assert request.transport is not None
            request.transport.abort()
        return ok()

    book, _ = run(tmp_path, answer, writes=200, reads=10)
    assert set(seen.values()) == {1} and len(seen) == 200
    assert Counter(w["outcome"] for w in book.writes)["unknown"] >= 60


def test_an_origin_that_is_not_there_fails_and_is_not_unknown(tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    save_plan(ShopPlan(100, 100, 100, {1: 1}), plan)

    async def go() -> None:
        await Generator(Settings(f"http://{HOST}:9", plan, tmp_path / "out", 50, 50, seconds=0.5, ramp=0)).run()

    asyncio.run(go())
    assert {w["outcome"] for w in read_ledger(tmp_path / "out").writes} == {"failed"}


def test_users_keep_the_mark_of_their_writes_and_miss_nothing_unnoticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workload, "USERS", 400)  # so few that the same ones come again within the test
    marked: set[str] = set()
    carried: dict[str, list[bool]] = {}
    number = iter(range(1_000, 100_000))

    async def answer(request: web.Request) -> web.Response:
        user = request.headers["x-user-id"]
        if request.method != "GET":
            marked.add(user)
            return ok(next(number), **{"set-cookie": "zdm_rw=1-2; Max-Age=60; Path=/; HttpOnly"})
        carried.setdefault(user, []).append(request.headers.get("cookie") == "zdm_rw=1-2")
        assert user in marked or not carried[user][-1], "a mark of another user's write"
        if request.path.startswith("/orders/") and int(request.path.rpartition("/")[2]) >= 1_000:
            return web.Response(status=404)  # the reader's own order is not there yet
        return ok()

    book, load = run(tmp_path, answer, seconds=2, writes=300, reads=300)
    assert sum(map(sum, carried.values())) > 10
    assert load.stale > 0 and load.failed == 0
    assert {r["outcome"] for r in book.reads} == {"stale"}


def test_sigterm_waits_for_what_is_under_way(tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    save_plan(ShopPlan(100, 100, 100, {1: 1}), plan)

    async def answer(request: web.Request) -> web.Response:
        if request.method != "GET":
            await asyncio.sleep(1.0)
        return ok()

    async def go() -> Load:
        async with origin(answer) as url:
            load = Load(Settings(url, plan, tmp_path / "out", 50, 50, ramp=0))
            await asyncio.to_thread(load.wait_until_answered)
            load.process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(load.stop)
            return load

    load = asyncio.run(go())
    book = read_ledger(load.out)
    assert {w["outcome"] for w in book.writes} == {"acknowledged"}
    assert book.end["complete"] and book.writes


def test_a_generator_that_cannot_work_says_why(tmp_path: Path) -> None:
    load = Load(Settings("http://127.0.0.1:9", tmp_path / "nothing.json", tmp_path / "out", 10, 10))
    wait_until(lambda: load.process.poll() is not None, 20, "the end of the generator")
    with pytest.raises(ZdmError, match=r"--plan .*nothing\.json"):
        load.check()


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://127.9.8.7", "http://localhost:8080", "http://[::1]:80"])
def test_this_machine_may_be_loaded(url: str) -> None:
    require_loopback(url)


@pytest.mark.parametrize("url", ["http://10.0.0.7", "http://192.168.1.1:8080", "http://203.0.113.9"])
def test_another_machine_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="--allow-remote"):
        require_loopback(url)


def test_histograms_add_up_and_percentiles_are_close() -> None:
    one, two = Histogram(), Histogram()
    for ms in range(1, 1_001):
        (one if ms % 2 else two).add(float(ms))
    both = Histogram.from_json(one.to_json()).update(two)
    assert both.count == 1_000
    for percent, expected in ((50, 500), (95, 950), (99, 990), (100, 1_000)):
        assert both.percentile(percent) == pytest.approx(expected, rel=0.021)
    assert Histogram().percentile(95) is None


def test_a_window_takes_whole_seconds_and_a_half_written_line_is_left(tmp_path: Path) -> None:
    import json

    seconds = [
        Second(t, 10, failed=1, latency={"read:mysql": Histogram({0: 6}), "write:aurora": Histogram({5: 3})})
        for t in range(100, 105)
    ]
    text = "".join(json.dumps(s.to_json()) + "\n" for s in seconds)
    (tmp_path / "seconds.jsonl").write_text(text + '{"t": 105, "arr')
    found = window(tmp_path, 100.5, 104.2)
    assert [s.t for s in found.seconds] == [101, 102, 103]
    assert found.requests == 30 and found.error_rate == pytest.approx(0.1)
    assert (
        found.answered("write") == 9 and found.answered(side="mysql") == 18 and found.throughput("read", "mysql") == 6
    )
    assert read_seconds(tmp_path / "elsewhere") == []


def test_the_generic_load_keeps_to_its_plan(tmp_path: Path) -> None:
    plan = TablesPlan(
        [
            TablePlan(
                "t",
                3,
                ["id"],
                [[1], [2], [3]],
                {"name": {"kind": "text", "length": 12}},
                {"n": [5, None, 7]},
                {
                    "name": {"kind": "text", "length": 30},
                    "parent": {"kind": "reference", "values": [1, 2]},
                    "k": {"kind": "serial", "first": 900},
                },
                5,
            ),
            TablePlan("only read", 1, ["a"], [["x/1"]]),
        ]
    )
    save_plan(plan, tmp_path / "plan.json")
    assert load_plan(tmp_path / "plan.json") == plan
    load = TablesLoad(plan, seed=3)
    inserts, increments = [], set()
    for _ in range(300):
        request = load.write()
        w = request.write
        assert w is not None and request.path == "/rows/t"
        if w["op"] == "insert":
            inserts.append(w["values"])
        elif w["op"] == "increment":
            increments.add(w["key"]["id"])
            assert w["delta"] > 0
        load.ended(request, "acknowledged", {"key": {"id": 9}})
    assert len(inserts) == 5 and [v["k"] for v in inserts] == [901, 902, 903, 904, 905]
    assert all(v["parent"] in (1, 2) and len(v["name"]) <= 30 for v in inserts)
    assert increments == {1, 3}
    assert {load.read().path for _ in range(50)} >= {
        "/rows/t?key=%7B%22id%22%3A1%7D",
        "/rows/only%20read?key=%7B%22a%22%3A%22x%2F1%22%7D",
    }


def test_absolute_updates_of_one_row_are_never_under_way_together() -> None:
    plan = TablesPlan([TablePlan("t", 2, ["id"], [[1], [2]], {"name": {"kind": "text", "length": 12}})])
    load = TablesLoad(plan, seed=1)
    first, second = load.write(), load.write()
    assert first.write and second.write and first.write["key"] != second.write["key"]
    with pytest.raises(UsageError, match="too small"):
        load.write()
    load.ended(first, "unknown", None)
    third = load.write()
    assert third.write and third.write["key"] == first.write["key"]


def test_the_ramp_reaches_the_full_rate_and_keeps_it() -> None:
    due = [due_after(i, 100, 4) for i in range(1_000)]
    assert due == sorted(due)
    assert due[200] == pytest.approx(4)  # half of the arrivals of four full seconds
    assert all(later - earlier == pytest.approx(0.01) for earlier, later in itertools.pairwise(due[201:]))
    assert [due_after(i, 100, 0) for i in (0, 1, 2)] == [0, 0.01, 0.02]
