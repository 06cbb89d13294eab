"""The load generator: a process of its own that sends requests through the router at a constant arrival rate.

    python -m scripts.rehearsal.load --url https://shop.example --plan plan.json --rate 300 --out DIR

Writes into DIR: `ledger.jsonl` (every write and what became of it), `seconds.jsonl` (`scripts.rehearsal.measure`).

Invariants:
- Open loop: a request is due at its time whatever became of those before; latency counts from then. Only at the
  in-flight bound arrivals wait, and then still count from when they were due.
- Nothing is sent twice: no retry, neither here nor in the HTTP client. A write is `acknowledged` (2xx), `failed`
  (surely not executed: refused, or never sent) or `unknown` (sent, no clear answer).
- SIGTERM ends the arrivals, waits for what is under way and closes the ledger; a ledger without its last line is
  incomplete, and its check says so.
- It aims at this machine only, unless told otherwise.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import ipaddress
import math
import resource
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TextIO
from urllib.parse import urlsplit

import aiohttp
import orjson
import uvloop

from scripts.clients.http import connect_to
from scripts.context import PROJECT
from scripts.errors import UsageError, ZdmError
from scripts.rehearsal.measure import SECONDS_FILE, Histogram, Second, read_seconds
from scripts.rehearsal.workload import Outcome, Request, Workload, load_plan, workload

LEDGER_FILE: Final = "ledger.jsonl"
LEDGER_VERSION: Final = 1
HOLD_SECONDS: Final = 30.0
"""The longest that the router holds a write; a request's timeout is longer."""

FLUSH_SECONDS: Final = 0.1
TICK_SECONDS: Final = 0.001
"""Arrivals closer together than this are started together."""

NOT_EXECUTED: Final = frozenset({400, 401, 403, 404, 405, 409, 413, 421, 422, 429, 503})
"""Answers that say that a write was not executed."""


@dataclass(frozen=True)
class Settings:
    """`writes` and `reads` are arrivals a second; `seconds` ends the load by itself (None: at SIGTERM)."""

    url: str
    plan: Path
    out: Path
    writes: float
    reads: float
    seed: int = 1
    seconds: float | None = None
    ramp: float = 5.0
    """Seconds in which the arrivals grow to their full rate: caches, pools and compilers warm up, as in a day."""
    timeout: float = HOLD_SECONDS + 15
    in_flight: int | None = None
    allow_remote: bool = False

    @property
    def bound(self) -> int:
        """Requests under way at most: all writes of a hold, and what reads may pile up meanwhile."""
        return self.in_flight or math.ceil(self.writes * (HOLD_SECONDS + 5) + self.reads * 2 + 100)


def require_loopback(url: str) -> None:
    """Raises `UsageError` when the host of `url` is another machine, or cannot be resolved."""
    host = urlsplit(url).hostname or ""
    try:
        addresses = {str(info[4][0]) for info in socket.getaddrinfo(host, None)}
    except OSError as e:
        raise UsageError(f"--url {url}: {host!r} cannot be resolved ({e.strerror})") from e
    remote = sorted(a for a in addresses if not ipaddress.ip_address(a).is_loopback)
    if remote:
        raise UsageError(f"--url {url} is {remote[0]}, another machine: give --allow-remote if it is yours to load")


def due_after(i: int, rate: float, ramp: float) -> float:
    """Seconds from the start until request `i` is due: the rate grows linearly for `ramp` seconds, then is constant."""
    return math.sqrt(2 * ramp * i / rate) if i < rate * ramp / 2 else ramp / 2 + i / rate


class Generator:
    """One run of the load."""

    def __init__(self, settings: Settings) -> None:
        url, headers = connect_to(settings.url.rstrip("/"))
        if not settings.allow_remote:
            require_loopback(url)
        self.settings = settings
        self.base = url.rstrip("/")
        self.headers = headers
        self.load: Workload = workload(load_plan(settings.plan), settings.seed)
        self.stopping = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._epoch = time.time() - time.perf_counter()
        self._cookies: dict[str, tuple[str, float]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._room = asyncio.Event()
        self._lines: list[bytes] = []
        self._seconds: dict[int, Second] = {}
        self._requests = 0

    def now(self) -> float:
        """Seconds since the epoch on a clock that never jumps."""
        return self._epoch + time.perf_counter()

    async def run(self) -> None:
        self.settings.out.mkdir(parents=True, exist_ok=True)
        ledger = self.settings.out / LEDGER_FILE
        if ledger.exists():
            raise UsageError(f"--out {self.settings.out} already holds a ledger: give another folder")
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60, ssl=self.settings.allow_remote)
        async with aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=self.settings.timeout, connect=self.settings.timeout),
            headers=self.headers,
        ) as session:
            session._retry_connection = (
                False  # aiohttp repeats a PUT on a lost connection: that would forge doubled writes
            )
            with ledger.open("wb") as lines, (self.settings.out / SECONDS_FILE).open("w") as seconds:
                self._line(
                    {
                        "ledger": LEDGER_VERSION,
                        "kind": self.load.kind,
                        "started": self.now(),
                        "writes": self.settings.writes,
                        "reads": self.settings.reads,
                        "seed": self.settings.seed,
                    }
                )
                flusher = asyncio.create_task(self._flush_forever(lines, seconds))
                started, cpu = self.now(), time.process_time()
                try:
                    await self._arrive(session)
                    if self._tasks:
                        await asyncio.wait(self._tasks, timeout=self.settings.timeout + 5)
                finally:
                    flusher.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await flusher
                    complete = not self._tasks
                    self._line(
                        {
                            "end": self.now(),
                            "complete": complete,
                            "requests": self._requests,
                            "cpu_share": round((time.process_time() - cpu) / max(self.now() - started, 0.001), 3),
                        }
                    )
                    self._write_seconds(seconds, math.inf)
                    lines.write(b"".join(self._lines))

    async def _arrive(self, session: aiohttp.ClientSession) -> None:
        """Starts requests when they are due, reads and writes evenly mixed, until told to stop."""
        s = self.settings
        rate = s.reads + s.writes
        share = s.writes / rate
        start = time.perf_counter()
        end = math.inf if s.seconds is None else start + s.seconds
        i = 0
        while not self.stopping.is_set():
            due = start + due_after(i, rate, s.ramp)
            if due >= end:
                break
            delay = due - time.perf_counter()
            if delay > 0:
                await asyncio.sleep(min(max(delay, TICK_SECONDS), 0.25))
                continue
            if len(self._tasks) >= s.bound:
                self._room.clear()
                await self._room.wait()
                continue
            request = self.load.write() if math.floor((i + 1) * share) > math.floor(i * share) else self.load.read()
            task = self._loop.create_task(self._send(session, request, self._epoch + due))
            self._tasks.add(task)
            task.add_done_callback(self._ended)
            i += 1
            if i % 64 == 0:
                await asyncio.sleep(0)  # after a stall: answers are read between the arrivals that are caught up

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._room.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._loop.call_exception_handler({"message": "a request could not be accounted for", "exception": error})
            self.stopping.set()

    async def _send(self, session: aiohttp.ClientSession, request: Request, due: float) -> None:
        headers = {"x-user-id": request.user}
        if request.body is not None:
            headers["content-type"] = "application/json"
        cookie = self._cookies.get(request.user)
        sent = self.now()
        if cookie is not None and cookie[1] > sent:
            headers["cookie"] = cookie[0]
        status, side, route, error, answer = 0, "none", "", "", None
        outcome: Outcome = "failed"
        try:
            async with session.request(
                request.method, self.base + request.path, data=request.body, headers=headers, allow_redirects=False
            ) as r:
                status = r.status
                route = r.headers.get("x-zdm-route", "")
                side = r.headers.get("x-zdm-side", "") or route or "none"
                for line in r.headers.getall("set-cookie", ()):
                    self._keep_cookie(request.user, line, sent)
                body = await r.read()
            if 200 <= status < 300:
                answer, outcome = orjson.loads(body) if body else None, "acknowledged"
            else:
                error = body[:200].decode("utf-8", "replace")
                outcome = "failed" if status in NOT_EXECUTED else "unknown"
        except aiohttp.ClientConnectorError as e:
            error = str(e)
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as e:
            error, outcome = f"{type(e).__name__}: {e}", "unknown"
        self._account(request, outcome, due, sent, status, side, route, error, answer)

    def _keep_cookie(self, user: str, line: str, now: float) -> None:
        """Keeps the router's read-your-writes mark for its user, as a browser would."""
        pair, *attributes = (part.strip() for part in line.split(";"))
        if pair.startswith("zdm_rw="):
            ages = [a.partition("=")[2] for a in attributes if a.lower().startswith("max-age=")]
            self._cookies[user] = (pair, now + (float(ages[0]) if ages else math.inf))

    def _account(
        self,
        request: Request,
        outcome: Outcome,
        due: float,
        sent: float,
        status: int,
        side: str,
        route: str,
        error: str,
        answer: Any,
    ) -> None:
        ack = self.now()
        second = self._second(ack)
        self._requests += 1
        second.late_ms = max(second.late_ms, (sent - due) * 1000)
        try:
            self.load.ended(request, outcome, answer)
        except (KeyError, TypeError, ValueError) as e:
            outcome, error = "unknown", f"the answer of {request.path} has not the expected form: {e!r}"
        if outcome == "acknowledged":
            second.latency.setdefault(f"{request.verb}:{side}", Histogram()).add((ack - due) * 1000)
        elif request.own and status == 404:
            second.stale += 1
        elif request.verb == "read" or outcome == "failed":
            second.failed += 1
        else:
            second.unknown += 1
        if request.write is not None:
            self._line(
                {
                    **request.write,
                    "user": request.user,
                    "due": due,
                    "sent": sent,
                    "ack": ack,
                    "side": side,
                    "route": route,
                    "status": status,
                    "outcome": outcome,
                    **({"error": error} if error else {}),
                }
            )
        elif outcome != "acknowledged":
            self._line(
                {
                    "op": "read",
                    "path": request.path,
                    "user": request.user,
                    "due": due,
                    "sent": sent,
                    "ack": ack,
                    "side": side,
                    "route": route,
                    "status": status,
                    "outcome": "stale" if request.own and status == 404 else outcome,
                    "error": error,
                }
            )

    def _line(self, data: dict[str, Any]) -> None:
        self._lines.append(orjson.dumps(data) + b"\n")

    def _second(self, moment: float) -> Second:
        t = int(moment)
        if t not in self._seconds:
            self._seconds[t] = Second(t)
        return self._seconds[t]

    async def _flush_forever(self, lines: Any, seconds: TextIO) -> None:
        written = self.now()
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            batch, self._lines = self._lines, []
            lines.write(b"".join(batch))
            lines.flush()
            now = self.now()
            second = self._second(now)
            second.in_flight = max(second.in_flight, len(self._tasks))
            if int(now) > int(written):
                self._write_seconds(seconds, int(now))
                written = now

    def _write_seconds(self, file: TextIO, before: float) -> None:
        rate = self.settings.reads + self.settings.writes
        for t in sorted(t for t in self._seconds if t < before):
            second = self._seconds.pop(t)
            second.arrivals = round(rate)
            file.write(orjson.dumps(second.to_json()).decode() + "\n")
        file.flush()


class Load:
    """A load generator under way in a process of its own; its files can be read while it runs."""

    def __init__(self, settings: Settings) -> None:
        self.out = settings.out
        self.out.mkdir(parents=True, exist_ok=True)
        argv = [
            sys.executable,
            "-m",
            "scripts.rehearsal.load",
            "--url",
            settings.url,
            "--plan",
            str(settings.plan),
            "--out",
            str(settings.out),
            "--rate",
            str(settings.writes),
            "--reads",
            str(settings.reads),
            "--seed",
            str(settings.seed),
            "--ramp",
            str(settings.ramp),
            "--timeout",
            str(settings.timeout),
        ]
        argv += ["--seconds", str(settings.seconds)] if settings.seconds is not None else []
        argv += ["--in-flight", str(settings.in_flight)] if settings.in_flight is not None else []
        argv += ["--allow-remote"] if settings.allow_remote else []
        self._log = (self.out / "load.log").open("w")
        self.process = subprocess.Popen(
            argv, cwd=PROJECT, stdout=self._log, stderr=subprocess.STDOUT, start_new_session=True
        )

    def wait_until_answered(self, timeout: float = 20.0) -> None:
        """Waits for the first second with answers. Raises `ZdmError` with the generator's words when there is none."""
        deadline = time.monotonic() + timeout
        while not any(s.answered() for s in read_seconds(self.out)):
            self.check()
            if time.monotonic() > deadline:
                raise ZdmError(f"the load got no answer within {timeout:.0f} s; see {self.out / LEDGER_FILE}")
            time.sleep(0.05)

    def check(self) -> None:
        """Raises `ZdmError` when the generator has died."""
        if self.process.poll() not in (None, 0):
            raise ZdmError(f"the load generator ended with {self.process.returncode}: {self._words()}")

    def stop(self, timeout: float = HOLD_SECONDS + 30) -> None:
        """Ends the arrivals, and waits until everything under way is answered and written."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise ZdmError(f"the load generator did not stop within {timeout:.0f} s: {self._words()}") from None
        finally:
            self._log.close()
        self.check()

    def _words(self) -> str:
        return (self.out / "load.log").read_text()[-2000:].strip() or "it said nothing"


async def _main(settings: Settings) -> None:
    generator = Generator(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, generator.stopping.set)
    await generator.run()


def main() -> None:
    parser = argparse.ArgumentParser(description="Sends load through the router and keeps a ledger of every write.")
    parser.add_argument("--url", required=True, help="the router")
    parser.add_argument("--plan", required=True, type=Path, help="what to read and to change (JSON)")
    parser.add_argument("--out", required=True, type=Path, help="folder for the ledger and the measurements")
    parser.add_argument("--rate", required=True, type=float, help="writes a second")
    parser.add_argument("--reads", type=float, help="reads a second (as many as writes)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, help="stop after so long (at SIGTERM)")
    parser.add_argument("--ramp", type=float, default=Settings.ramp, help="seconds until the full rate")
    parser.add_argument("--timeout", type=float, default=Settings.timeout, help="seconds that one request may take")
    parser.add_argument("--in-flight", type=int, help="requests under way at most")
    parser.add_argument("--allow-remote", action="store_true", help="aim at another machine than this one")
    a = parser.parse_args()
    settings = Settings(
        url=a.url,
        plan=a.plan,
        out=a.out,
        writes=a.rate,
        reads=a.rate if a.reads is None else a.reads,
        seed=a.seed,
        seconds=a.seconds,
        ramp=a.ramp,
        timeout=a.timeout,
        in_flight=a.in_flight,
        allow_remote=a.allow_remote,
    )
    try:
        if settings.writes <= 0 or settings.reads < 0:
            raise UsageError(
                f"--rate {settings.writes:g} --reads {settings.reads:g}: there must be writes, and no negative rate"
            )
        if settings.timeout <= HOLD_SECONDS:
            raise UsageError(
                f"--timeout {settings.timeout:g} must be longer than a hold of the router ({HOLD_SECONDS:g} s)"
            )
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != hard:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        gc.set_threshold(50_000, 20, 20)
        uvloop.run(_main(settings))
    except ZdmError as e:
        sys.stderr.write(f"error: {e}\n")
        sys.exit(e.exit_code)


if __name__ == "__main__":
    main()
