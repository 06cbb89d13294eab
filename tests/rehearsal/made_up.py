"""A made-up rehearsal, for tests of the report only: realistic in shape, and nothing in it was measured."""

from __future__ import annotations

import math
import random

from scripts.rehearsal.ledger import Finding, LedgerVerdict
from scripts.rehearsal.measure import Histogram, Second
from scripts.rehearsal.result import GateCheck, LeftOut, RehearsalResult, TableCheck, Timed
from scripts.rehearsal.shop import TABLES

START = 1_795_000_000.0


def rehearsal(*, good: bool = True, load_seconds: int = 95) -> RehearsalResult:
    """A shop that moved at 300 writes a second with a pause of 1.4 s; with `good=False` one that lost a write."""
    r = random.Random(7)
    begin, cut = START + 74.0, START + 74.0 + load_seconds * 0.72
    pause = 1.38
    seconds = []
    for i in range(load_seconds):
        t = int(begin) + i
        weight = 0.0 if i < 25 else 0.05 if i < 45 else 0.5 if t < cut else 1.0
        second = Second(t, arrivals=600, in_flight=r.randint(1, 6), late_ms=r.uniform(1, 4))
        held = int(cut) <= t < cut + pause
        for verb in ("read", "write"):
            sides = (
                {"mysql": 1 - weight, "aurora": weight}
                if verb == "read"
                else {"aurora" if t >= cut + pause else "mysql": 1.0}
            )
            for side, share in sides.items():
                n = round(300 * share * (0.15 if held and verb == "write" else r.uniform(0.98, 1.02)))
                histogram = Histogram()
                for _ in range(n):
                    histogram.add(
                        (2.2 if verb == "read" else 5.5)
                        * math.exp(r.gauss(0, 0.45))
                        * (1.6 if side == "aurora" and i % 23 == 0 else 1)
                    )
                if verb == "write" and side == "aurora" and t == int(cut + pause) + 1:
                    for k in range(380):
                        histogram.add(pause * 1000 * k / 380)
                if n:
                    second.latency[f"{verb}:{side}"] = histogram
        seconds.append(second)
    rows = dict(zip(TABLES, (16_000, 18_000, 4_000, 4_000, 12_000, 38_000, 68_400, 32_300, 1_140, 6_160), strict=True))
    lag = [
        (
            begin + i / 2,
            {t: abs(r.gauss(0.18, 0.08)) * (1 + (t == "outbox")) + (0.9 if 60 < i < 66 else 0) for t in TABLES},
        )
        for i in range(int((cut - begin) * 2))
    ]
    titles = [
        ("Bring the stack up", 38.2),
        ("Fill the sample shop", 4.1),
        ("Make accounts, control tables and schema", 2.3),
        ("Copy while 30 writes a second change rows", 27.9),
        ("Start the load", 1.2),
        ("Watch the lag", 15.0),
        ("Count and compare all tables", 8.4),
        ("5 % of the readers", 15.2),
        ("Gate at 5 %", 5.1),
        ("50 % of the readers", 15.1),
        ("Gate at 50 %", 5.0),
        ("Cut over", 6.2),
        ("Constraints and full comparison", 14.9),
        ("Hold the ledger against both databases", 2.6),
        ("Destroy the stack", 9.7),
    ]
    steps, t = [], START
    for title, length in titles:
        steps.append(Timed(title, t, t + length, good or title != "Hold the ledger against both databases"))
        t += length
    states, at = [], cut - 4.2
    for state, length, note in (
        ("PREFLIGHT", 4.1, "schema, gates and journal are in order"),
        ("FENCED", 0.09, "MySQL refuses writes"),
        ("DRAINED", 0.74, "30 of 30 partitions at the fence"),
        ("VERIFIED", 0.31, "412 changed rows equal"),
        ("PREPARED", 0.08, "9 sequences set"),
        ("COMMITTED", 0.03, ""),
        ("OPEN", 0.13, "Aurora takes writes"),
    ):
        states.append({"state": state, "at": at + length, "seconds": length, "detail": {"note": note} if note else {}})
        at += length
    ledger = LedgerVerdict(
        acknowledged=28_410,
        by_side={"mysql": 20_322, "aurora": 8_088},
        by_kind={
            "increment inventory": 8_520,
            "insert carts": 2_840,
            "insert orders": 7_390,
            "insert payments": 3_400,
            "update customers": 4_260,
            "update orders": 2_000,
        },
        increments_checked=2_713,
        updates_checked=5_980,
        last_mysql=cut,
        first_aurora=cut + pause + 0.021,
    )
    if not good:
        ledger.lost.append(
            Finding(
                "orders",
                "id 41233",
                "0f8b8f1e-52f4-4bb6-9f7b-6a3b7f5ad101",
                "one row on aurora, acknowledged by mysql",
                "none in outbox",
            )
        )
        ledger.increments.append(
            Finding("inventory", "product_id 17", "", "on_hand = 5816 after 148 increments", "5813 (-3)")
        )
    return RehearsalResult(
        name="rehearse",
        started=START,
        ended=t,
        settings={"rows": 200_000, "rate": 300, "seed": 1, "seconds per phase": 15},
        rows=rows,
        steps=steps,
        seconds=seconds,
        lag=lag,
        weights=[(begin, 0.0), (begin + 25, 5.0), (begin + 45, 50.0), (cut + pause, 100.0)],
        gates=[
            GateCheck("pilot", begin + 44, True, 5.0, "p95 14 ms, 0 of 2,950 requests failed, lag p95 0.4 s"),
            GateCheck("half", begin + 62, True, 50.0, "p95 15 ms, 0 of 3,010 requests failed, lag p95 0.4 s"),
        ],
        cutover={"outcome": "open", "pauseSeconds": pause, "steps": states},
        checks=[
            TableCheck(name, n + 700, n + 700 - (not good and name == "orders"), int(not good and name == "orders"))
            for name, n in rows.items()
        ],
        ledger=ledger,
        left_out=[]
        if good
        else [
            LeftOut("trigger", "ins_film", "triggers are not carried over"),
            LeftOut("view", "actor_info", "views are not carried over"),
            LeftOut("column", "address.location", "GEOMETRY has no rule in the type contract"),
        ],
        versions={
            "program": "9137bb0a2c1d",
            "MySQL": "9.7.4",
            "PostgreSQL": "15.18",
            "Kafka": "4.3.1",
            "Debezium": "3.6.0.Final",
            "workerd": "1.20261117.1",
        },
        machine={"processor": "2 cores", "memory": "24 GB", "system": "Linux 6.1, Python 3.11.9"},
    )
