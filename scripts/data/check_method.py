"""Which method a check uses: the one asked for, or the faster one, as the first chunk of the largest table shows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal

import rows
from rows.errors import Unavailable
from scripts.data.check_hash import Buckets, Hash
from scripts.data.check_worker import Disagree, Method, TooSlow, Where, Worker
from scripts.data.compare import is_blob
from scripts.data.keyset import Bounds
from scripts.data.rules import Rules
from scripts.errors import UsageError

Wanted = Literal["auto", "stream", "hash"]

TRIED = 10_000
"""Rows by which the methods are held against each other."""
FEW = 20_000
"""Rows of the largest table below which that is not worth it."""


def choose(
    wanted: Wanted, worker: Worker, tables: Sequence[Rules], where: Where, *, digests: bool
) -> tuple[Method, str]:
    """The method, and why. Raises `UsageError` when streams are asked for and there is no native core."""
    if wanted == "hash":
        return Hash(where), ""
    try:
        rows.load()
    except Unavailable as e:
        if wanted == "stream":
            raise UsageError(f"--method stream: {e}") from e
        return Hash(where), f"by hash, as there is no native core: {e}"
    from scripts.data.check_stream import Stream

    stream, hashes = Stream(where, digests), Hash(where)
    if wanted == "stream":
        return stream, ""
    largest = max(tables, key=lambda rules: rules.table.rows, default=None)
    if largest is None or largest.table.rows < FEW or where.sql or not in_ranges(largest):
        return stream, "by streams: the tables are too small to compare the methods"
    try:
        by_hash, by_stream = _seconds(hashes, worker, largest), _seconds(stream, worker, largest)
    except (TooSlow, Disagree) as e:
        return stream, f"by streams: the methods could not be compared at {largest.table.name} ({e})"
    name = largest.table.name
    told = f"{TRIED / by_stream:,.0f} rows/s against {TRIED / by_hash:,.0f} by hash at the begin of {name}"
    if by_stream <= by_hash:
        return stream, f"by streams: {told}"
    return hashes, f"by hash: streams have {told}, so the network is slow"


def first_of(method: Method, rules: Rules, where: Where) -> Method:
    """The method as it fits a table."""
    return method if in_ranges(rules) else Buckets(where)


def next_of(method: Method, rules: Rules, where: Where) -> Method | None:
    """What is tried when too much looks different: hashes need nobody's types, and buckets nobody's order of keys."""
    if not rules.ordered:
        return None if isinstance(method, Buckets) else Buckets(where)
    return None if isinstance(method, Hash | Buckets) else Hash(where)


def named(name: str, method: Method, rules: Rules, where: Where) -> Method:
    """The method that an earlier run used for a table."""
    if not in_ranges(rules):
        return Buckets(where)
    return method if method.name == name else Hash(where)


def in_ranges(rules: Rules) -> bool:
    """Whether bounds can be put on the key."""
    return not any(is_blob(column) for column, _ in rules.key)


def _seconds(method: Method, worker: Worker, rules: Rules) -> float:
    """Of a chunk. The first one of two makes connections and fills the servers' caches, which is not counted."""
    seconds = 0.0
    for _ in range(2):
        began = time.monotonic()
        method.chunk(worker, rules, Bounds(), TRIED)
        seconds = time.monotonic() - began
    return seconds
