"""The same buckets and decisions in Python, in the Worker and in nginx: `vectors.json` holds all three."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from contract.flag import Flag, FlagError, Side, Writes, bucket_of, parse_flag
from tests.router.standins import FLAG, bare_nginx, workerd

VECTORS: dict[str, Any] = json.loads((Path(__file__).parent / "vectors.json").read_text())

# The same in both runtimes: each answers what this returns for the vectors.
HELD = """
import { bucketOf, decide, mayRead, newer, parseFlag } from "flag.mjs";
const sides = ["mysql", "aurora"];
const held = ({ salt, buckets, decisions, flags }) => ({
  buckets: buckets.map(({ salt, user }) => bucketOf(user, salt)),
  decisions: decisions.map(({ flag, user }) => {
    const bucket = bucketOf(user, salt), f = parseFlag(JSON.stringify(flag));
    return {
      read: decide(f, { write: false, bucket }).to, write: decide(f, { write: true, bucket }).to,
      ownRead: decide(f, { write: false, bucket, wrote: true }).to,
      mayRead: Object.fromEntries(sides.map((side) => [side, mayRead(f, side)])),
      forced: sides.map((side) => decide(f, { write: true, bucket, forced: side }).to),
    };
  }),
  good: flags.good.map(parseFlag), bad: flags.bad.map(parseFlag),
  order: flags.good.map((a) => flags.good.map((b) => newer(parseFlag(a), parseFlag(b)))),
});
"""
WORKERD = HELD + "export default { async fetch(request) { return Response.json(held(await request.json())); } };"
NJS = HELD + "export default { answer: (r) => r.return(200, JSON.stringify(held(JSON.parse(r.requestText)))) };"


def test_python_holds_the_vectors() -> None:
    for vector in VECTORS["buckets"]:
        assert bucket_of(vector["user"], vector["salt"]) == vector["bucket"], vector
    for vector in VECTORS["decisions"]:
        flag = parse_flag(json.dumps(vector["flag"]))
        assert flag.reads_from(vector["user"], VECTORS["salt"]) == vector["read"], vector
        assert (flag.mode if flag.writes is Writes.OPEN else None) == vector["write"], vector
        assert {side.value: flag.may_read(side) for side in Side} == vector["mayRead"], vector
        assert flag.mode == vector["ownRead"]
    for text in VECTORS["flags"]["good"]:
        parse_flag(text)
    for text in VECTORS["flags"]["bad"]:
        with pytest.raises(FlagError):
            parse_flag(text)


def test_the_worker_holds_the_vectors(tmp_path: Path) -> None:
    with workerd(tmp_path, {"harness.mjs": WORKERD, "flag.mjs": FLAG}, {}, "127.0.0.1:9") as url:
        hold(httpx.post(url, json=VECTORS, timeout=20).json())


def test_nginx_holds_the_vectors(tmp_path: Path) -> None:
    (tmp_path / "harness.mjs").write_text(NJS)
    (tmp_path / "flag.mjs").write_text(FLAG)
    extra = [f'js_path "{tmp_path}";', "js_import harness from harness.mjs;"]
    with bare_nginx(tmp_path, extra, ["location / { js_content harness.answer; }"]) as url:
        hold(httpx.post(url, json=VECTORS, timeout=20).json())


def hold(got: dict[str, Any]) -> None:
    """What a runtime made of the vectors is what they say."""
    assert got["buckets"] == [vector["bucket"] for vector in VECTORS["buckets"]]
    for vector, decision in zip(VECTORS["decisions"], got["decisions"], strict=True):
        assert decision["forced"] == ["mysql", "aurora"]
        for name in ("read", "write", "ownRead", "mayRead"):
            assert decision[name] == vector[name], (name, vector)
    assert [Flag(**{**f, "writes": Writes(f["writes"]), "mode": Side(f["mode"])}) for f in got["good"]] == [
        parse_flag(text) for text in VECTORS["flags"]["good"]
    ]
    assert got["bad"] == [None] * len(VECTORS["flags"]["bad"])
    flags = [parse_flag(text) for text in VECTORS["flags"]["good"]]
    assert got["order"] == [[a.newer_than(b) for b in flags] for a in flags]


def test_raising_the_weight_moves_users_one_way() -> None:
    users = [f"user-{i}" for i in range(2000)]
    before: set[str] = set()
    for hundredths in (0, 1, 500, 2500, 5000, 9999, 10000):
        flag = Flag(weight=hundredths / 100)
        moved = {user for user in users if flag.reads_from(user, "s1") is Side.AURORA}
        assert before <= moved
        assert abs(len(moved) - len(users) * hundredths / 10000) < 80
        before = moved
    assert len(before) == len(users)
