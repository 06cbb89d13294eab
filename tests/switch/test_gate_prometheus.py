"""The gate's figures from a real Prometheus that scrapes two origins and the lag probe."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol

import pytest
import yaml

from contract.flag import Flag, Side
from contract.lag import TableLag
from contract.outputs import Kpis
from local import parts
from local.processes import wait_until
from local.stack import open_stack
from scripts.clients.prometheus import Prometheus
from scripts.errors import ZdmError
from scripts.switch import gate, gate_prometheus
from services.lag_probe.databases import Verdict
from services.lag_probe.kafka import Position
from services.lag_probe.metrics import Metrics as ProbeMetrics
from services.origin.metrics import Metrics

pytestmark = pytest.mark.real
PILOT = Flag(v=2, epoch=1, weight=5)


class HasText(Protocol):
    def text(self) -> bytes: ...


class Target:
    """Serves someone's metrics. `metrics` may be replaced: then it was started again."""

    def __init__(self, address: str, metrics: HasText) -> None:
        self.metrics = metrics
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = owner.metrics.text()
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer((address, 0), Handler)
        self.at = f"{address}:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@dataclass
class World:
    """Prometheus and what it scrapes, once a second."""

    prometheus: Prometheus
    mysql: Target
    aurora: Target
    probe: ProbeMetrics

    def scrapes(self, number: int) -> None:
        """Returns when so many further scrapes of everything are there."""
        since = time.time()
        query = f"min(count_over_time(up[{{}}s])) >= {number}"
        wait_until(
            lambda: self.prometheus.number(query.format(int(time.time() - since) or 1), time.time()) is not None,
            30,
            f"{number} scrapes",
        )

    def figures(self, since: float) -> gate_prometheus.Figures:
        now = time.time()
        return gate_prometheus.figures(self.prometheus, now, now - since)


def answers(target: Target, *given: tuple[int, float, int]) -> None:
    """Status, seconds, how often."""
    metrics: Any = target.metrics
    for status, seconds, times in given:
        for _ in range(times):
            metrics.request(False, status, seconds)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for name, value in (("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")):
        monkeypatch.setenv(name, value)
    stack, probe = open_stack("dev", tmp_path), ProbeMetrics()
    probe.lags({"orders": TableLag(0.5, 1), "customers": TableLag(2.5, 3)}, Position({}, {}, {}), {}, 0.1)
    probe.target(Verdict(1_700_000_000.0, 0), {})
    with ExitStack() as opened:
        made = [
            Target(stack.address(role), metrics)
            for role, metrics in (("m", Metrics(Side.MYSQL)), ("a", Metrics(Side.AURORA)), ("p", probe))
        ]
        for target in made:
            opened.callback(target.close)
        mysql, aurora, measured = made
        listen = f"{stack.address('prometheus')}:9090"
        services = [
            {"targets": [target.at], "labels": {"service": name}}
            for target, name in ((mysql, "mysql-api"), (aurora, "aurora-api"))
        ]
        (tmp_path / "prometheus.yml").write_text(
            yaml.safe_dump(
                {
                    "global": {"scrape_interval": "1s"},
                    "scrape_configs": [
                        {"job_name": "services", "static_configs": services},
                        {"job_name": "probe", "static_configs": [{"targets": [measured.at]}]},
                    ],
                }
            )
        )
        process = stack.process("prometheus")
        opened.callback(process.stop, 10)
        words = [
            f"--config.file={tmp_path / 'prometheus.yml'}",
            f"--storage.tsdb.path={tmp_path / 'samples'}",
            f"--web.listen-address={listen}",
        ]
        process.start([*parts.require("prometheus").command["prometheus"], *words], cwd=tmp_path)
        prometheus = opened.enter_context(Prometheus(f"http://{listen}/", "us-east-1"))

        def scraped() -> bool:
            try:
                return prometheus.number("count(up == 1)", time.time()) == 3
            except ZdmError:
                return False

        wait_until(scraped, 60, "the first scrape of all")
        yield World(prometheus, mysql, aurora, probe)


def test_figures_of_a_window(world: World) -> None:
    answers(world.mysql, (200, 0.02, 50), (500, 0.1, 7))
    world.scrapes(2)
    since = time.time()
    answers(world.mysql, (200, 0.02, 300), (421, 0.001, 9), (503, 0.1, 3))
    answers(world.aurora, (200, 0.12, 100))
    world.scrapes(4)
    seen = world.figures(since)
    assert seen.doubt == ""
    assert seen.requests == {Side.MYSQL: 303, Side.AURORA: 100}
    assert seen.failed == 3  # of a kind that was never seen before
    p95 = seen.p95_ms
    assert p95[Side.MYSQL] is not None and 10 < p95[Side.MYSQL] <= 20
    assert p95[Side.AURORA] is not None and 100 < p95[Side.AURORA] <= 120
    assert seen.lag == 2.5 and seen.lag_samples >= gate_prometheus.MIN_SCRAPES
    assert (seen.mismatches, seen.checked) == (0, "data-check of 2023-11-14 22:13:20 UTC")
    judged = {m.name: m.ok for m in gate.judge(seen, Kpis(error_rate=0.01), PILOT)}
    assert judged == {
        "latency p95 of mysql": True,
        "latency p95 of aurora": True,
        "errors": True,
        "throughput at least": True,
        "lag of the worst table": True,
        "mismatches": True,
    }
    assert [m.name for m in gate.judge(seen, Kpis(latency_p95_ms=50, lag_seconds=1), PILOT) if m.ok is False] == [
        "latency p95 of aurora",
        "errors",
        "lag of the worst table",
    ]


def test_restarted_origin_counts_on(world: World) -> None:
    answers(world.mysql, (200, 0.02, 500))
    world.scrapes(2)
    since = time.time()
    fresh = Metrics(Side.MYSQL)
    fresh.request(False, 200, 0.02)
    world.mysql.metrics = fresh
    world.scrapes(3)
    answers(world.mysql, (200, 0.02, 40))
    world.scrapes(3)
    assert 20 < world.figures(since).requests[Side.MYSQL] < 100


def test_what_is_not_measured_is_no_yes(world: World) -> None:
    now = time.time()
    assert "less than the window" in gate_prometheus.figures(world.prometheus, now, 600).doubt
    world.scrapes(2)  # both origins are known when the window begins
    since = time.time()
    world.probe.no_lags()
    world.probe.target(Verdict(1_700_000_000.0, None), {})
    world.aurora.close()
    wait_until(lambda: world.prometheus.number('up{service="aurora-api"} == 0', time.time()) is not None, 30, "the end")
    world.scrapes(4)
    seen = world.figures(since)
    assert "did not answer the collector" in seen.doubt
    assert (seen.lag, seen.mismatches) == (None, None) and "could not say" in seen.checked
    assert all(m.ok is None for m in gate.judge(seen, Kpis(), PILOT))


def test_query_that_is_refused_is_told(world: World) -> None:
    with pytest.raises(ZdmError, match="parse error"):
        world.prometheus.query("sum(", time.time())
    with pytest.raises(ZdmError, match="cannot be asked"):
        Prometheus("http://127.0.0.1:9/", "us-east-1").query("up", time.time())


def test_requests_are_signed_for_the_managed_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    url = "https://aps-workspaces.ap-southeast-1.amazonaws.com/workspaces/ws-1/"
    headers = Prometheus(url, "ap-southeast-1")._signed(b"query=up")
    assert "/ap-southeast-1/aps/aws4_request" in headers["Authorization"]
    assert headers["X-Amz-Security-Token"] == "token"
