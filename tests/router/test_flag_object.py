"""The Durable Object with the flag, and what the router does with it: compare-and-set, fast flips, never in the way."""

from __future__ import annotations

import concurrent.futures
import functools
import json
from pathlib import Path

import httpx

from contract.flag import Flag, Side, Writes, parse_flag
from tests.router.standins import ADMIN, FLAG_OBJECT, WORKER, Setup, Start, workerd
from tests.router.test_router import HIGH, LOW, reads_of, until

PATH = "/__zdm/router/flag"
BEARER = {"authorization": f"Bearer {ADMIN}"}
START = Flag(1, 1, 0.0)
PILOT = Flag(2, 1, 5.0)

BROKEN = """
export class FlagObject { fetch() { throw new Error("gone"); } }
export default { fetch() { return new Response(); } };
"""
SLEEPING = """
export class FlagObject { async fetch() { await scheduler.wait(30000); return new Response("null"); } }
export default { fetch() { return new Response(); } };
"""


def put(setup: Setup, flag: Flag) -> httpx.Response:
    return setup.client.put(PATH, content=flag.to_json(), headers=BEARER)


def reads_aurora(setup: Setup) -> bool:
    return reads_of(setup, LOW).headers["x-zdm-route"] == "aurora"


def test_compare_and_set(start_worker: Start) -> None:
    setup = start_worker(START, flag_object=FLAG_OBJECT, ADMIN_TOKEN=ADMIN)
    assert setup.client.get(PATH, headers=BEARER).status_code == 404
    assert put(setup, Flag(3, 2, 5.0)).status_code == 200
    for stale in (Flag(2, 2, 50.0), Flag(9, 1, 50.0), Flag(3, 2, 50.0)):
        answer = put(setup, stale)
        assert (answer.status_code, parse_flag(answer.text)) == (409, Flag(3, 2, 5.0))
    assert put(setup, Flag(3, 2, 5.0)).status_code == 200, "the same again is no conflict"
    for newer in (Flag(4, 2, 6.0), Flag(0, 3, 7.0)):
        assert parse_flag(put(setup, newer).text) == newer
    assert parse_flag(setup.client.get(PATH, headers=BEARER).text) == Flag(0, 3, 7.0)
    assert setup.client.put(PATH, content=b'{"v": 9}', headers=BEARER).status_code == 400
    assert setup.client.put(PATH, content=bytes(5000), headers=BEARER).status_code == 413
    assert setup.client.delete(PATH, headers=BEARER).status_code == 405


def test_of_many_at_once_the_highest_stays(start_worker: Start) -> None:
    setup = start_worker(START, flag_object=FLAG_OBJECT, ADMIN_TOKEN=ADMIN)
    flags = [Flag(v, epoch, 1.0) for v in range(8) for epoch in range(8)]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        codes = set(pool.map(lambda flag: put(setup, flag).status_code, sorted(flags, key=lambda f: f.v)))
    assert codes <= {200, 409}
    assert parse_flag(setup.client.get(PATH, headers=BEARER).text) == flags[-1]


def test_the_admin_path_needs_its_token(start_worker: Start) -> None:
    setup = start_worker(START, flag_object=FLAG_OBJECT, ADMIN_TOKEN=ADMIN)
    wrong = {"authorization": "Bearer let me"}, {"x-zdm-force-token": "let me"}, {"authorization": "Bearer"}, {}
    for headers in wrong:
        for method in ("GET", "PUT"):
            answer = setup.client.request(method, PATH, content=PILOT.to_json(), headers=headers)
            assert answer.status_code == 401, headers
    assert setup.client.get(PATH, headers=BEARER).status_code == 404, "nothing was stored"
    without = start_worker(START)
    assert without.client.get(PATH, headers=BEARER).status_code == 404
    assert not [seen for seen in without.mysql.executed if seen.path == PATH]


def test_a_stale_flag_in_kv_is_overruled(start_worker: Start) -> None:
    setup = start_worker(START, flag_object=FLAG_OBJECT, ADMIN_TOKEN=ADMIN, FLAG_TTL_MS=20)
    assert reads_of(setup, LOW).headers["x-zdm-route"] == "mysql"
    setup.aurora.flag = PILOT
    assert put(setup, PILOT).status_code == 200  # KV and MySQL's fence still say 0 %
    assert reads_of(setup, LOW).headers["x-zdm-route"] == "aurora", "whoever puts it has it at once"
    reads = setup.kv.reads
    until(lambda: reads_of(setup, HIGH).headers["x-zdm-route"] == "mysql" and setup.kv.reads > reads + 2)
    assert reads_of(setup, LOW).headers["x-zdm-route"] == "aurora", "KV's old flag is never adopted"


def test_a_new_isolate_learns_it_and_it_outlives_the_process(start_worker: Start, tmp_path: Path) -> None:
    setup = start_worker(START)
    setup.aurora.flag = PILOT
    values = {"SALT": "s1", "ADMIN_TOKEN": ADMIN, "FLAG_TTL_MS": "20", "MYSQL_ORIGIN": setup.mysql.url}
    values["AURORA_ORIGIN"] = setup.aurora.url
    for step in range(2):
        with workerd(tmp_path, {"worker.mjs": WORKER}, values, setup.kv.address, FLAG_OBJECT) as url:
            router = Setup(url, setup.kv, setup.mysql, setup.aurora, httpx.Client(base_url=url, timeout=20))
            if step == 0:
                assert put(router, PILOT).status_code == 200
            assert parse_flag(router.client.get(PATH, headers=BEARER).text) == PILOT
            until(functools.partial(reads_aurora, router))


def test_without_kv_the_durable_object_is_enough(start_worker: Start) -> None:
    opened = Flag(6, 3, 100.0, Writes.OPEN, Side.AURORA)
    setup = start_worker(START, kv="nonsense", flag_object=FLAG_OBJECT, ADMIN_TOKEN=ADMIN, FLAG_TTL_MS=20)
    assert put(setup, opened).status_code == 200
    setup.set_flag(opened)
    assert setup.client.post("/orders", content=b"x").headers["x-zdm-why"] == "writer"


def test_the_router_goes_on_when_it_is_gone(start_worker: Start) -> None:
    for script in (BROKEN, SLEEPING):
        setup = start_worker(PILOT, flag_object=script, ADMIN_TOKEN=ADMIN, FLAG_TTL_MS=20)
        for _ in range(5):
            answer = reads_of(setup, LOW)
            assert answer.headers["x-zdm-route"] == "aurora"
            assert answer.elapsed.total_seconds() < 0.9, "no request waits for it"
    answer = start_worker(PILOT, flag_object=BROKEN, ADMIN_TOKEN=ADMIN).client.get(PATH, headers=BEARER)
    assert (answer.status_code, json.loads(answer.text)["error"]["code"]) == (503, "unreachable")
