"""What the router adds to a request, and how soon a changed flag holds for all of them.

    .venv/bin/python -m benchmarks.router [--rate 300] [--seconds 10] [--rounds 3] [--json FILE]

Four ways lead to the same origin, in turns within one run: direct, a plain nginx that only passes on, our router in
nginx, our router in Cloudflare's workerd with its Durable Object. The load is open: a request is due at its time
whatever became of those before, and its latency counts from then; half are reads, half are writes of 200 bytes. The
origin is an nginx that answers at once, so what is above `direct` is the router's.

Then the flag goes from 0 to 100 % and back through the Durable Object, at another isolate of the Worker, under the same
load: `visible` is the time
from the change's answer until the last read that was still sent to the other side (writes follow the fence).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import aiohttp

from benchmarks.report import Bound
from contract.flag import Flag, Side
from tests.router.standins import ADMIN, FLAG_OBJECT, SALT, WORKER, Kv, bare_nginx, nginx, workerd_twice

BODY = b'{"client_ref": "' + b"x" * 180 + b'"}'
WARM_UP = 2.0
"""Seconds whose requests do not count: connections, and workerd's compiler."""
VISIBLE = 1.0
"""The longest that a changed flag may take, in seconds."""
TWIN = "twin"
FLAG_PATH = "/__zdm/router/flag"


@dataclass(frozen=True)
class Seen:
    """Latencies in milliseconds; `failed` are answers other than 200."""

    requests: int
    failed: int
    p50: float
    p95: float


@dataclass(frozen=True)
class Answer:
    due: float
    ended: float
    status: int
    route: str
    read: bool

    @property
    def milliseconds(self) -> float:
        return (self.ended - self.due) * 1000


class Load:
    """An open load on one URL."""

    def __init__(self, session: aiohttp.ClientSession, rate: float) -> None:
        self._session, self._rate = session, rate
        self.answers: list[Answer] = []

    async def run(self, seconds: float) -> None:
        began, tasks = time.perf_counter(), set()
        for i in range(round(seconds * self._rate)):
            due = began + i / self._rate
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            task = asyncio.create_task(self._one(i, due))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)

    async def _one(self, i: int, due: float) -> None:
        headers = {"x-user-id": f"u{i}"}
        method, body = ("POST", BODY) if i % 2 else ("GET", None)
        async with self._session.request(method, "/products/5", data=body, headers=headers) as answer:
            await answer.read()
        route = answer.headers.get("x-zdm-route", "")
        self.answers.append(Answer(due, time.perf_counter(), answer.status, route, method == "GET"))


async def measured(url: str, rate: float, seconds: float) -> list[Answer]:
    """What came of a load on this URL, warm-up left out."""
    async with aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(limit=0)) as session:
        load = Load(session, rate)
        began = time.perf_counter()
        await load.run(WARM_UP + seconds)
        return [answer for answer in load.answers if answer.due >= began + WARM_UP]


def seen(answers: list[Answer]) -> Seen:
    cuts = statistics.quantiles((answer.milliseconds for answer in answers), n=100)
    return Seen(len(answers), sum(answer.status != 200 for answer in answers), cuts[49], cuts[94])


async def visible(url: str, twin: str, rate: float, flips: int) -> list[float]:
    """Seconds until each flag that was changed at the twin held for every read here."""
    found = []
    async with aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(limit=0)) as session:
        load = Load(session, rate)
        running = asyncio.create_task(load.run(flips * (VISIBLE + 1) + 1))
        await asyncio.sleep(1)
        for v in range(2, 2 + flips):
            flag = Flag(v, 1, 100.0 if v % 2 == 0 else 0.0)
            old = Side.MYSQL if v % 2 == 0 else Side.AURORA
            async with session.put(
                twin + FLAG_PATH, data=flag.to_json(), headers={"authorization": f"Bearer {ADMIN}"}
            ) as put:
                if put.status != 200:
                    raise RuntimeError(f"the flag was not taken: {put.status} {await put.text()}")
            changed = time.perf_counter()
            await asyncio.sleep(VISIBLE + 0.5 + random.random())  # not in step with how often the Worker looks
            stale = [a.due for a in load.answers if a.read and a.due > changed and a.route == old.value]
            found.append(max(stale, default=changed) - changed)
        await running
    return found


@contextmanager
def ways() -> Iterator[dict[str, str]]:
    """The URL of each way."""
    flag = Flag(1, 1, 0.0)
    with tempfile.TemporaryDirectory() as home, ExitStack() as stack:
        folder = Path(home)
        for name in ("origin", "plain", "nginx", "worker"):
            (folder / name).mkdir()
        origin = stack.enter_context(
            bare_nginx(
                folder / "origin",
                [],
                [
                    "default_type application/json; keepalive_requests 1000000;",
                    f"location = /__zdm/flag {{ return 200 '{flag.to_json()}'; }}",
                    "location / { return 200 '{\"id\": 5}'; }",
                ],
            )
        )
        plain = stack.enter_context(
            bare_nginx(
                folder / "plain",
                [f"upstream origin {{ server {origin.removeprefix('http://')}; keepalive 64; }}"],
                [
                    "keepalive_requests 1000000;",
                    'location / { proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection ""; }',
                ],
            )
        )
        values = {
            "FLAG_KEY": "flag", "SALT": SALT, "HOLD_MS": "5000", "FORCE_TOKEN": "t", "MYSQL_ORIGIN": origin,
            "AURORA_ORIGIN": origin,
        }  # fmt: skip
        kv = Kv(flag.to_json())
        stack.callback(kv.close)
        ours = stack.enter_context(nginx(folder / "nginx", values))
        bindings = {**values, "ADMIN_TOKEN": ADMIN}
        worker, twin = stack.enter_context(
            workerd_twice(folder / "worker", {"worker.mjs": WORKER}, bindings, kv.address, FLAG_OBJECT)
        )
        yield {"direct": origin, "plain nginx": plain, "router, nginx": ours.url, "router, workerd": worker, TWIN: twin}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=300.0, help="requests a second")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--flips", type=int, default=20)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    with ways() as urls:
        twin = urls.pop(TWIN)
        answers: dict[str, list[Answer]] = {name: [] for name in urls}
        for _ in range(asked.rounds):
            for name, url in urls.items():
                answers[name] += asyncio.run(measured(url, asked.rate, asked.seconds))
        found = {name: seen(all_) for name, all_ in answers.items()}
        times = asyncio.run(visible(urls["router, workerd"], twin, asked.rate, asked.flips))
    direct = found["direct"]
    print(f"{'way':16} {'requests':>9} {'failed':>7} {'p50 ms':>7} {'p95 ms':>7} {'added p50':>10} {'added p95':>10}")
    for name, way in found.items():
        added = f"{way.p50 - direct.p50:10.2f} {way.p95 - direct.p95:10.2f}" if way is not direct else ""
        print(f"{name:16} {way.requests:9} {way.failed:7} {way.p50:7.2f} {way.p95:7.2f} {added}")
    print(f"flag through the Durable Object, {len(times)} changes at {asked.rate:g} requests/s: "
          f"seen by all after {statistics.median(times):.3f} s, at most {max(times):.3f} s")  # fmt: skip
    bounds = [
        Bound("flag visible to all requests, s", max(times), VISIBLE, most=True),
        Bound("requests that failed", sum(way.failed for way in found.values()), 0, most=True),
    ]
    for bound in bounds:
        print(bound)
    if asked.json:
        asked.json.write_text(
            json.dumps(
                {
                    "rate": asked.rate,
                    "ways": {name: asdict(way) for name, way in found.items()},
                    "visible": times,
                    "bounds": [asdict(bound) for bound in bounds],
                },
                indent=1,
            )
            + "\n"
        )
    return 0 if all(bound.reached for bound in bounds) else 1


if __name__ == "__main__":
    sys.exit(main())
