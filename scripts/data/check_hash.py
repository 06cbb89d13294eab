"""The check by hashes: both databases hash the same rows, and only what differs is looked at.

For each chunk both compute, at the same time, the number of rows and one hash: the exclusive or of the rows' SHA-256,
each over the row's injective encoding (`contract.types`), key included. Where the results differ, the rows' own hashes
tell the keys.

- The rows of a chunk are all different, as each has its key in it, so none cancels another. (With a checksum such as
  CRC32 swapped values cancel, key or no key: it is linear. SHA-256 is not.) Their order does not count: text sorts
  differently in the two databases.
- Text that may be long goes in as its own hash, so that no row is too large for a server's buffers.
- A row that MySQL could not encode (max_allowed_packet) is an error, not a row less.
- Text keys are ordered differently by the two databases. A range (after, upto] in the source's order and the same
  bounds in the target's hold the same rows only where both orders agree. Rows are never missed, though
  (`check_stream` says why); what has no equal on the other side is looked up by key. Where ranges disagree much, the
  whole table is sorted into buckets by hash instead, in one pass (`Buckets`).
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

GUARD: Final = 4
"""A range that holds so many times more rows on the target than on the source is no range of the same keys."""

TOO_LARGE: Final = 1301
"""MySQL's warning that a result was larger than max_allowed_packet, and so became NULL."""

BUCKET: Final = 20_000
"""Rows of a bucket."""

_Sums = dict[str, tuple[int, str]]
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
        source, target = worker.both(lambda: sides.source_sums(worker), lambda: sides.target_sums(worker))
        rows, others = _rows(source), _rows(target)
        if sides.limit is not None and others >= sides.limit:
            raise Disagree(f"{rows:,} rows of a range on the source are more than {others - 1:,} on the target")
        suspects = _suspects(worker, sides) if source != target else ()
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
            lambda: sides.source_sums(worker, digits), lambda: sides.target_sums(worker, digits)
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

    def source_sums(self, worker: Worker, digits: int = 0) -> _Sums:
        """Rows and hash of each bucket: of rows whose hash begins with the same digits."""
        found = worker.source(
            f"SELECT LEFT(h,{digits}) AS b, COUNT(*), HEX(BIT_XOR(UNHEX(h))) FROM "
            f"(SELECT {_mysql_hash(self.rules)} AS h FROM {self.source}) r GROUP BY b"
            if digits
            else f"SELECT '', COUNT(*), HEX(BIT_XOR(UNHEX({_mysql_hash(self.rules)}))) FROM {self.source}"
        )
        if any(code == TOO_LARGE for _, code, _ in worker.source("SHOW WARNINGS")):
            raise ZdmError(
                f"MySQL could not encode a row of {self.rules.table.name}: it is larger than its max_allowed_packet; "
                "raise it in the parameter group"
            )
        return {bucket: (int(rows), digest.lower()) for bucket, rows, digest in found if rows}

    def target_sums(self, worker: Worker, digits: int = 0) -> _Sums:
        """The same on the target."""
        hashes = f"SELECT {_postgres_hash(self.rules)} AS h FROM {self.target}"
        digest = "bit_xor(('x'||h)::bit(256))::text"
        found = worker.target(
            f"SELECT left(h,{digits}), count(*), {digest} FROM ({hashes} OFFSET 0) r GROUP BY 1"
            if digits  # OFFSET 0: each hash is computed once
            else f"SELECT '', count(*), {digest} FROM ({hashes}) r"
        )
        return {bucket: (int(rows), f"{int(digest, 2):064x}") for bucket, rows, digest in found if rows}


def _cut(worker: Worker, rules: Rules, bounds: Bounds, size: int, where: Where) -> Key | None:
    """The key of the row at `size` within bounds, in the source's order; None when there are not so many."""
    texts = ", ".join(rule.mysql_text.format(mysql_name(column.name)) for column, rule in rules.key)
    names = ", ".join(mysql_name(column.name) for column, _ in rules.key)
    found = worker.source(
        f"SELECT {texts} FROM {mysql_name(rules.table.name)} FORCE INDEX (PRIMARY) "
        f"WHERE {where.mysql(rules, bounds)} ORDER BY {names} LIMIT 1 OFFSET {size - 1}"
    )
    return _key(found[0]) if found else None


def _suspects(
    worker: Worker, sides: _Range, buckets: tuple[int, Sequence[str]] | None = None
) -> tuple[Key, ...]:
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
    text = _mysql_text(column, rule)
    if may_be_large(column):
        return f"IFNULL(SHA2({text},256),'~'),'|'"
    return f"IFNULL(CONCAT(LENGTH({text}),':',{text}),'~')" if rule.framed else f"IFNULL({text},'~'),'|'"


def _mysql_text(column: Column, rule: TypeRule) -> str:
    """The canonical text, without conversions that this column does not need: they are what hashing costs most."""
    name = mysql_name(column.name)
    if rule.framed and column.type != "json" and (column.collation or "").startswith("utf8mb4_"):
        return f"{name} COLLATE utf8mb4_bin"
    if rule.codec.name in ("int2", "int4", "int8", "numeric") and column.type != "year" and not column.zerofill:
        return name  # within CONCAT a number is its text
    text = rule.mysql_text.format(name)
    return text.replace(f"CAST({name} AS DATETIME(6))", name) if column.fraction == 6 else text


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
