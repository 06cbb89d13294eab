"""The check by hashes: both databases hash the same rows, and only what differs is looked at.

For each chunk both compute, at the same time, one SHA-256 over the injective encodings of its rows (`contract.types`),
key included, in the order of the key. Where the results differ, the rows' own hashes tell the keys.

- The database gives the rows in the order of its index. Should it ever not, the hashes differ and the rows are looked
  at: the order decides about speed only.
- Text that may be long goes in as its own hash, so that no row is too large for a server's buffers.
- A result that MySQL cut off (group_concat_max_len, max_allowed_packet) is no answer: the chunk's rows are hashed one
  by one then, and the hashes sorted and hashed.
- Text keys are ordered differently by the two databases. A range (after, upto] in the source's order and the same
  bounds in the target's hold the same rows only where both orders agree. Rows are never missed, though
  (`check_stream` says why). Within a range rows are therefore hashed one by one, and what has no equal on the other
  side is looked up by key. Where ranges disagree much, the whole table is sorted into buckets by hash instead, in one
  pass (`Buckets`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from contract.tables import Column, mysql_name, postgres_name
from contract.types import TypeRule
from scripts.data.check_worker import ALL_ROWS, Chunk, Disagree, Where, Worker
from scripts.data.compare import may_be_large
from scripts.data.difference import Key
from scripts.data.keyset import Bounds
from scripts.data.rules import SCHEMA, Rules
from scripts.errors import ZdmError

HASH: Final = 64
"""Characters of a SHA-256 in hexadecimal."""

GUARD: Final = 4
"""A range that holds so many times more rows on the target than on the source is no range of the same keys."""

CUT_OFF: Final = 1260
"""MySQL's warning that GROUP_CONCAT was cut."""

BUCKET: Final = 20_000
"""Rows of a bucket."""

_Sums = dict[str, tuple[int, str | None]]
"""Rows and hash of each bucket."""


@dataclass(frozen=True)
class Hash:
    """By ranges of the key."""

    where: Where = ALL_ROWS
    name: str = "hash"
    most_rows: int = 50_000
    most_bytes: int = 32 << 20

    def chunk(self, worker: Worker, rules: Rules, bounds: Bounds, size: int) -> Chunk:
        upto = _cut(worker, rules, bounds, size, self.where)
        part = Bounds(bounds.after, upto if upto is not None else bounds.upto)
        sides = _Range(rules, part, self.where, None if rules.ordered else GUARD * size + 1)
        if rules.ordered:
            (rows, digest), (others, other) = worker.both(
                lambda: sides.source_sum(worker), lambda: sides.target_sum(worker)
            )
            if (rows, digest) == (others, other):
                return Chunk(part, rows, others, ended=upto is None)
            if digest is not None or not rows:
                suspects = _suspects(worker, sides, None)
                return Chunk(part, rows, others, suspects, ended=upto is None)
        source, target = worker.both(
            lambda: sides.sums_of_rows(worker, "source", 0), lambda: sides.sums_of_rows(worker, "target", 0)
        )
        rows, others = _rows(source), _rows(target)
        if not rules.ordered and others > GUARD * size:
            raise Disagree(f"{rows:,} rows of a range on the source are more than {others - 1:,} on the target")
        suspects = _suspects(worker, sides, None) if source != target else ()
        return Chunk(part, rows, others, suspects, ended=upto is None)


@dataclass(frozen=True)
class Buckets:
    """By the first digits of the rows' hashes, the whole table at once: for keys that both order too differently."""

    where: Where = ALL_ROWS
    name: str = "hash"
    most_rows: int = 50_000
    most_bytes: int = 32 << 20

    def chunk(self, worker: Worker, rules: Rules, bounds: Bounds, size: int) -> Chunk:
        worker.unbounded()
        ((count,),) = worker.source(f"SELECT COUNT(*) FROM {mysql_name(rules.table.name)}")
        digits = math.ceil(math.log(count / BUCKET, 16)) if count > BUCKET else 0
        sides = _Range(rules, bounds, self.where)
        source, target = worker.both(
            lambda: sides.sums_of_rows(worker, "source", digits), lambda: sides.sums_of_rows(worker, "target", digits)
        )
        different = [bucket for bucket in source.keys() | target.keys() if source.get(bucket) != target.get(bucket)]
        suspects = _suspects(worker, sides, (digits, different)) if different else ()
        return Chunk(bounds, _rows(source), _rows(target), suspects, ended=True)


@dataclass(frozen=True)
class _Range:
    """The rows of both sides within bounds; of the target at most `limit`."""

    rules: Rules
    bounds: Bounds
    where: Where
    limit: int | None = None

    @property
    def source(self) -> str:
        where = self.where.mysql(self.rules, self.bounds)
        return f"{mysql_name(self.rules.table.name)} FORCE INDEX (PRIMARY) WHERE {where}"

    @property
    def target(self) -> str:
        where = self.where.postgres(self.rules, self.bounds)
        limit = "" if self.limit is None else f" LIMIT {self.limit}"
        return f"{postgres_name(SCHEMA, self.rules.table.name)} WHERE {where}{limit}"

    def source_sum(self, worker: Worker) -> tuple[int, str | None]:
        """Rows, and the hash of all; None when MySQL cut them off."""
        encoded = ",".join(_mysql_encoded(column, rule) for column, rule in self.rules.columns)
        with worker.mysql.cursor() as cursor:
            ((rows, digest),) = worker.source(
                f"SELECT COUNT(*), SHA2(GROUP_CONCAT({encoded} SEPARATOR ''),256) FROM {self.source}"
            )
            cursor.execute("SHOW WARNINGS")
            cut = any(code == CUT_OFF for _, code, _ in cursor.fetchall())
        return int(rows), None if cut else digest

    def target_sum(self, worker: Worker) -> tuple[int, str | None]:
        names = ", ".join(postgres_name(column.name) for column, _ in self.rules.key)
        ((rows, digest),) = worker.target(
            "SELECT count(*), encode(sha256(convert_to(string_agg(e,''),'UTF8')),'hex') FROM "
            f"(SELECT {_postgres_row(self.rules)} AS e FROM {self.target} ORDER BY {names}) r"
        )
        return int(rows), digest

    def sums_of_rows(self, worker: Worker, side: str, digits: int) -> _Sums:
        """Rows, and the hash of the sorted hashes of the rows, of each bucket: independent of the rows' order."""
        if side == "target":
            found = worker.target(
                "SELECT b, n, encode(sha256(convert_to(g,'UTF8')),'hex') FROM "
                f"(SELECT left(h,{digits}) AS b, count(*) AS n, string_agg(h,'' ORDER BY h COLLATE \"C\") AS g FROM "
                f"(SELECT {_postgres_hash(self.rules)} AS h FROM {self.target}) r GROUP BY 1) s"
            )
            return {bucket: (int(rows), digest) for bucket, rows, digest in found}
        sums: _Sums = {}
        for bucket, rows, hashed, length, digest in worker.source(
            "SELECT b, n, h, LENGTH(g), SHA2(g,256) FROM "
            f"(SELECT LEFT(h,{digits}) AS b, COUNT(*) AS n, COUNT(h) AS h, "
            f"GROUP_CONCAT(h ORDER BY h SEPARATOR '') AS g FROM "
            f"(SELECT {_mysql_hash(self.rules)} AS h FROM {self.source}) r GROUP BY b) s"
        ):
            name = self.rules.table.name
            if hashed != rows:
                raise ZdmError(
                    f"MySQL could not encode {rows - hashed:,} rows of {name}: they are larger than its "
                    "max_allowed_packet; raise it in the parameter group"
                )
            if length != HASH * rows:
                raise ZdmError(
                    f"MySQL cut off the hashes of {name} ({length:,} of {HASH * rows:,} bytes): "
                    "group_concat_max_len or max_allowed_packet is too small; raise them in the parameter group"
                )
            sums[bucket] = (int(rows), str(digest))
        return sums


def _cut(worker: Worker, rules: Rules, bounds: Bounds, size: int, where: Where) -> Key | None:
    """The key of the row at `size` within bounds, in the source's order; None when there are not so many."""
    texts = ", ".join(rule.mysql_text.format(mysql_name(column.name)) for column, rule in rules.key)
    names = ", ".join(mysql_name(column.name) for column, _ in rules.key)
    found = worker.source(
        f"SELECT {texts} FROM {mysql_name(rules.table.name)} FORCE INDEX (PRIMARY) "
        f"WHERE {where.mysql(rules, bounds)} ORDER BY {names} LIMIT 1 OFFSET {size - 1}"
    )
    return _key(found[0]) if found else None


def _suspects(worker: Worker, sides: _Range, buckets: tuple[int, Sequence[str]] | None) -> tuple[Key, ...]:
    """The keys of the rows that have no equal on the other side (within some buckets: digits and names)."""
    rules = sides.rules
    chosen = ""
    if buckets is not None:
        chosen = f" WHERE LEFT(h,{buckets[0]}) IN ({', '.join(repr(name) for name in buckets[1])})"
    listed = ", ".join(f"k{i}" for i in range(len(rules.key)))
    mine = ", ".join(f"{r.mysql_text.format(mysql_name(c.name))} AS k{i}" for i, (c, r) in enumerate(rules.key))
    theirs = ", ".join(f"{r.postgres_text.format(postgres_name(c.name))} AS k{i}" for i, (c, r) in enumerate(rules.key))
    have, other = worker.both(
        lambda: worker.source(
            f"SELECT {listed}, h FROM (SELECT {mine}, {_mysql_hash(rules)} AS h FROM {sides.source}) r{chosen}"
        ),
        lambda: worker.target(
            f"SELECT {listed}, h FROM (SELECT {theirs}, {_postgres_hash(rules)} AS h FROM {sides.target}) r{chosen}"
        ),
    )
    pairs = {(_key(row[:-1]), str(row[-1])) for row in have} ^ {(_key(row[:-1]), str(row[-1])) for row in other}
    return tuple(dict.fromkeys(key for key, _ in pairs))


def _mysql_encoded(column: Column, rule: TypeRule) -> str:
    if may_be_large(column):
        return f"IFNULL(SHA2({rule.mysql_text.format(mysql_name(column.name))},256),'~'),'|'"
    return rule.mysql_encoded(column.name)


def _postgres_encoded(column: Column, rule: TypeRule) -> str:
    if may_be_large(column):
        text = rule.postgres_text.format(postgres_name(column.name))
        return f"coalesce(encode(sha256(convert_to({text},'UTF8')),'hex'),'~')||'|'"
    return rule.postgres_encoded(column.name)


def _postgres_row(rules: Rules) -> str:
    return "||".join(_postgres_encoded(column, rule) for column, rule in rules.columns)


def _mysql_hash(rules: Rules) -> str:
    return f"SHA2(CONCAT({','.join(_mysql_encoded(column, rule) for column, rule in rules.columns)}),256)"


def _postgres_hash(rules: Rules) -> str:
    return f"encode(sha256(convert_to({_postgres_row(rules)},'UTF8')),'hex')"


def _rows(sums: _Sums) -> int:
    return sum(rows for rows, _ in sums.values())


def _key(texts: Sequence[object]) -> Key:
    return tuple(text.decode() if isinstance(text, bytes) else str(text) for text in texts)
