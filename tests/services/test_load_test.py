"""The load test against a real origin: what it measures, what it stores, and where it does not go."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from contract.flag import Side
from contract.outputs import Kpis, load_outputs
from scripts.clients.secrets import Account
from scripts.console import Console
from scripts.context import Context
from scripts.errors import UsageError
from scripts.rehearsal import load_k6, load_test, report, result
from scripts.rehearsal.load_job import Job, Seen
from scripts.rehearsal.workload import ShopPlan
from tests.rehearsal import made_up
from tests.services.databases import PASSWORD, PEOPLE, Databases

QUIET = Console(quiet=True)
K6 = Path(load_k6.SCRIPT).parent


def outputs(databases: Databases, url: str, **changes: Any) -> dict[str, Any]:
    return {
        "version": 3,
        "project": "zdm",
        "stack": "dev",
        "environment": "dev",
        "region": "us-east-1",
        "database": "ecommerce",
        "source": {"host": databases.address(Side.MYSQL), "port": 3306, **secrets()},
        "target": {
            "host": databases.address(Side.AURORA),
            "readerHost": databases.address(Side.AURORA),
            "port": 5432,
            "engineVersion": "15",
            "adminSecret": "s",
            "sinkSecret": "s",
            "appSecret": "s",
        },
        "kafka": None,
        "pipeline": {"state": "stopped", "sourceConnector": "a", "sinkConnector": "b", "tables": ["orders"]},
        "router": {
            "kind": "nginx",
            "url": url,
            "salt": "s",
            "holdMs": 30000,
            "mysqlOrigin": url,
            "auroraOrigin": url,
        },
        "kpis": {},
        **changes,
    }


def secrets() -> dict[str, str]:
    return {"adminSecret": "s", "cdcSecret": "s", "appSecret": "s"}


@pytest.fixture
def accounts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Context, "account", lambda *_: Account("admin", PASSWORD))


@pytest.mark.real
def test_load_is_judged_stored_and_shown(databases: Databases, tmp_path: Path, accounts: None) -> None:
    databases.query(Side.MYSQL, "INSERT INTO orders (customer_id, total, client_ref) VALUES (1, 1, 'before')")
    page = tmp_path / "report"
    report.write(made_up.rehearsal(), page)
    with databases.origin(Side.MYSQL) as origin:
        context = Context(load_outputs(outputs(databases, origin.url), "test"), tmp_path)
        tested = load_test.run(context, rate=60, seconds=5, console=QUIET, page=page)
    seen = {m.name: m for m in tested.measures}
    assert seen["errors"].value == 0, seen
    assert tested.seen.requests > 150 and tested.seen.failed == 0
    assert tested.seen.p50 is not None and tested.seen.p95 is not None and 0 < tested.seen.p50 <= tested.seen.p95
    [(refs, different)] = databases.query(Side.MYSQL, "SELECT COUNT(*), COUNT(DISTINCT client_ref) FROM orders")
    assert refs == different > 1
    [(verdict, body)] = databases.query(Side.AURORA, "SELECT verdict, body FROM zdm.record WHERE kind = 'load-test'")
    assert verdict == ("ok" if tested.ok else "failed") and body["seen"]["requests"] == tested.seen.requests
    assert [t["rate"] for t in result.load(page).load_tests] == [60]
    assert "Load tests" in (page / report.PAGE_FILE).read_text()


@pytest.mark.real
def test_where_it_does_not_go(databases: Databases, tmp_path: Path, accounts: None) -> None:
    def refused(url: str, **changes: Any) -> str:
        context = Context(load_outputs(outputs(databases, url, **changes), "test"), tmp_path)
        with pytest.raises(UsageError) as caught:
            load_test.run(context, rate=10, seconds=5, console=QUIET)
        return str(caught.value)

    assert "--allow-remote" in refused("http://192.0.2.1")
    assert "never runs in production" in refused("http://127.0.0.1:9", environment="prod")
    assert "has no " in refused("http://127.0.0.1:9", database="zdm")


def test_bounds_are_the_stacks() -> None:
    kpis = Kpis(latency_p95_ms=100, error_rate=0.01, throughput_per_second=90)
    good = Seen(6000, 3, 99.9, 5.0, 60.0, 90.0)
    assert all(m.ok for m in load_test.judge(good, kpis, 100))
    bad = Seen(6000, 120, 80.0, 50.0, 160.0, None)
    assert [m.name for m in load_test.judge(bad, kpis, 100) if not m.ok] == [
        "latency p95",
        "errors",
        "throughput at least",
        "rate that was kept",
    ]
    assert not any(m.ok for m in load_test.judge(Seen(0, 0, 0.0, None, None, None), kpis, 100))


# --- k6: its mix against the real API, and its summary; k6 itself is not here ---


@pytest.mark.real
def test_mix_of_the_script_is_what_the_shop_takes(databases: Databases, tmp_path: Path) -> None:
    databases.query(Side.MYSQL, "INSERT INTO orders (customer_id, total, client_ref) VALUES (1, 1, 'before')")
    script = tmp_path / "run.mjs"
    script.write_text(
        f"""
        import {{ next, planOf, remember }} from "{tmp_path}/mix.mjs";
        const [url, number] = process.argv.slice(2);
        const plan = planOf({{ CUSTOMERS: "{PEOPLE}", PRODUCTS: "{PEOPLE}", ORDERS: "1", WRITES: "0.9" }});
        const memory = {{ unpaid: [], done: [] }}, seen = {{}}, wrong = [];
        for (let i = 0; i < Number(number); i++) {{
          const r = next(Math.random, plan, memory, `run-${{i}}`);
          const body = r.body === null ? undefined : JSON.stringify(r.body);
          const headers = {{ "content-type": "application/json", "x-user-id": r.user }};
          const a = await fetch(url + r.path, {{ method: r.method, body, headers }});
          const text = await a.text();
          if (a.ok) remember(memory, r, JSON.parse(text)); else wrong.push([r, a.status, text]);
          seen[r.name] = (seen[r.name] || 0) + 1;
        }}
        console.log(JSON.stringify({{ seen, wrong }}));
        """
    )
    (tmp_path / "mix.mjs").write_text((K6 / "mix.js").read_text())
    with databases.origin(Side.MYSQL) as origin:
        words = ["node", str(script), origin.url, "400"]
        said = json.loads(subprocess.run(words, capture_output=True, text=True, check=True, timeout=120).stdout)
    assert said["wrong"] == []
    assert set(said["seen"]) == {
        *("order", "customer", "product", "adjust", "customer-change", "status", "payment", "cart", "order-placed"),
    }


def test_what_the_script_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ZDM_CONNECT_TO", json.dumps({"https://shop.example": "http://127.0.0.9:8787"}))
    job = Job("https://shop.example", ShopPlan(7, 8, 9, {}), 50, 0.25, 10, 5)
    told = load_k6.environment(job, tmp_path / "s.json")
    assert (told["URL"], told["HOST"], told["RATE"]) == ("http://127.0.0.9:8787", "shop.example", "50")
    script = (K6 / "shop.js").read_text()
    assert all(name in script + (K6 / "mix.js").read_text() for name in told)
    reference = f"{told['RUN']}-f{10**9}"
    assert len(reference) <= 36


def test_summary_of_k6_is_read() -> None:
    part = "{scenario:full}"
    summary = {
        "metrics": {
            f"http_req_duration{part}": {"values": {"med": 4.0, "p(95)": 12.0, "p(99)": 30.0, "max": 40.0}},
            f"http_req_failed{part}": {"values": {"rate": 0.01, "passes": 10, "fails": 990}},
            f"http_reqs{part}": {"values": {"count": 1000, "rate": 90.0}},
            "dropped_iterations": {"values": {"count": 5, "rate": 0.4}},
        }
    }
    seen = load_k6.seen(summary, 10)
    assert (seen.requests, seen.failed, seen.pace) == (1005, 10, 99.0)
    assert (seen.p50, seen.p95, seen.p99) == (4.0, 12.0, 30.0)


def test_without_k6_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(UsageError, match="leave --tool out"):
        load_k6.require()
