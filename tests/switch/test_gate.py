"""The gate's arithmetic, and a gate over two origins whose counters are known."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from contract.flag import Side
from scripts.context import Context
from scripts.errors import ZdmError
from scripts.switch import cutover, gate, gate_origins, gate_record, journal, traffic
from scripts.switch.gate_figures import Figures, Tell
from services.origin.metrics import Metrics
from tests.switch.conftest import Lab


def observed(*requests: tuple[int, float], side: Side = Side.MYSQL) -> gate_origins.Counts:
    metrics = Metrics(side)
    for status, seconds in requests:
        metrics.request(False, status, seconds)
    return gate_origins.parse(metrics.text().decode())


def test_quantile_comes_from_the_buckets() -> None:
    counts = observed(*[(200, 0.004)] * 95, *[(200, 0.12)] * 5)
    assert gate_origins.total(counts) == 100
    p50, p99 = gate_origins.quantile(counts, 0.5), gate_origins.quantile(counts, 0.99)
    assert p50 is not None and 0.002 < p50 < 0.005
    assert p99 is not None and 0.1 < p99 <= 0.12
    assert gate_origins.quantile({}, 0.95) is None


def test_refusals_of_the_fence_are_no_errors() -> None:
    counts = gate_origins.answered(observed((200, 0.01), (421, 0.001), (503, 0.5), (404, 0.01)))
    assert (gate_origins.total(counts), gate_origins.total(counts, failed=True)) == (3, 1)


def test_restarted_origin_is_noticed() -> None:
    before, after = observed((200, 0.01), (200, 0.01)), observed((200, 0.01))
    assert gate_origins.total(gate_origins.difference(after, before, Side.MYSQL)) == 1
    with pytest.raises(ZdmError, match="went back"):
        gate_origins.difference(before, after, Side.MYSQL)


class Origin:
    """Serves metrics; at each scrape it has answered `pace` more requests, each in `seconds`."""

    def __init__(self, address: str, side: Side, pace: int, seconds: float, failing: int = 0) -> None:
        metrics = Metrics(side)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                for i in range(pace):
                    metrics.request(False, 500 if i < failing else 200, seconds)
                body = metrics.text()
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer((address, 0), Handler)
        self.url = f"http://{address}:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def serve(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    servers: list[ThreadingHTTPServer] = []

    def start(mysql: tuple[int, float, int], aurora: tuple[int, float, int]) -> None:
        table = {}
        for side, url, values in (
            (Side.MYSQL, "https://mysql-api.example", mysql),
            (Side.AURORA, "https://aurora-api.example", aurora),
        ):
            origin = Origin(lab.stack.address("metrics"), side, *values)
            servers.append(origin.server)
            table[url] = origin.url
        monkeypatch.setenv("ZDM_CONNECT_TO", json.dumps(table))

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.real
def test_gate(lab: Lab, serve: object) -> None:
    assert callable(serve)
    traffic.set_weight(lab.context, 5)
    serve((500, 0.02, 0), (30, 0.05, 0))
    result = gate.run(lab.context, window=1.5, console=lab.quiet, approved_by="Ann")
    assert result.ok, result.reason
    assert [m.name for m in result.measures] == [
        "latency p95 of mysql",
        "latency p95 of aurora",
        "errors",
        "throughput at least",
        "lag of the worst table",
        "mismatches",
    ]
    with lab.context.postgres() as pg:
        record = journal.last_record(pg, journal.GATE)
    assert record is not None and record.ok and record.body == result.to_json()
    assert (record.body["weight"], record.body["approvedBy"], record.body["source"]) == (5, "Ann", "origins")
    assert gate_record.authentic(record.body, gate_record.key_of(lab.context))
    serve((500, 0.02, 10), (30, 0.4, 0))
    closed = gate.run(lab.context, window=1.0, console=lab.quiet)
    assert [m.name for m in closed.measures if m.ok is False] == ["latency p95 of aurora", "errors"]
    serve((500, 0.02, 0), (3, 0.05, 0))
    unknown = gate.run(lab.context, window=1.0, console=lab.quiet)
    assert not unknown.ok and "only 3 requests" in unknown.reason


@pytest.mark.real
def test_change_of_the_flag_spoils_the_window(lab: Lab, serve: object, monkeypatch: pytest.MonkeyPatch) -> None:
    assert callable(serve)
    serve((500, 0.02, 0), (30, 0.05, 0))
    judged = gate_origins.watch

    def with_someone_else(context: Context, window: float, tell: Tell) -> Figures:
        seen = judged(context, window, tell)
        traffic.set_weight(context, 7)
        return seen

    monkeypatch.setattr(gate_origins, "watch", with_someone_else)
    with pytest.raises(ZdmError, match="changed during the window"):
        gate.run(lab.context, window=1.0, console=lab.quiet)
    with lab.context.postgres() as pg:
        record = journal.last_record(pg, journal.GATE)
    assert record is not None and record.body["approvedBy"] == "a test"  # that of before


@pytest.mark.real
def test_cutover_refuses_without_the_gate(lab: Lab) -> None:
    lab.pass_gate(approved_by="")
    refused = cutover.run(lab.context, dry_run=True, console=lab.quiet)
    assert refused.outcome != "open" and "nobody has approved" in refused.reason
