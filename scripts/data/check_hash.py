"""The check by hashes: both databases hash the same rows, and only what differs is looked at.

For each chunk both compute, at the same time, the number of rows and one SHA-256 over the rows' injective encoding
(`contract.types`), key included. Where the results differ, the rows' own hashes tell the keys.

- Keys that both databases order alike: the rows' encodings are concatenated in the order of the index and hashed once,
  which costs less than a hash for each row. Should a database ever give them in another order, the hashes differ and
  the rows are looked at: slower, never wrong.
- Other keys: each row is hashed, and the exclusive or taken, where order does not count. As each row has its key in it
  the hashes are all different, so none cancels another. (With a checksum such as CRC32 swapped values cancel, key or
  no key: it is linear. SHA-256 is not.)
- Text that may be long goes in as its own hash, so that no row is too large for a server's buffers.
- What MySQL could not encode or cut off (max_allowed_packet, group_concat_max_len) makes the chunk smaller, and is an
  error with a single row: never a row less.
- A range (after, upto] in the source's order of a text key and the same bounds in the target's hold the same rows only
  where both orders agree. Rows are never missed, though (`check_stream` says why); what has no equal on the other side
  is looked up by key. Where ranges disagree much, the whole table is sorted into buckets by hash, in one pass
  (`Buckets`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from contract.tables import Column, mysql_name, postgres_name
from contract.types import TypeRule
from scripts.data.check_cut import cut, key_of_texts, learn
from scripts.data.check_worker import ALL_ROWS, Chunk, Disagree, TooSlow, Where, Worker
from scripts.data.compare import may_be_large
from scripts.data.difference import Key
from scripts.data.keyset import Bounds
from scripts.data.rules import SCHEMA, Rules
from scripts.errors import ZdmError

GUARD: Final = 4
"""A range that holds so many times more rows on the target than on the source is no range of the same keys."""

CUT_OFF: Final = {1301: "max_allowed_packet", 1260: "group_concat_max_len"}
"""MySQL's warnings that a result was too large and so became NULL or shorter, and the settings that bound it."""

BUCKET: Final = 20_000
"""Rows of a bucket."""

_SHORT: Final = "1e-4 AND 999999999999999"
"""Doubles that both databases write alike, with as many digits as they need and without an exponent."""

_Sums = dict[str, tuple[int, str]]
"""Rows and hash of each bucket."""


@dataclass(frozen=True)
class Hash:
    """By ranges of the key."""

    where: Where = ALL_ROWS
    name: str = "hash"
    most_rows: int = 10_000  # all of them are hashed once more where one differs
    most_bytes: int = 16 << 20  # MySQL's text of a chunk is in memory at once, and within max_allowed_packet

    def chunk(self, worker: Worker, rules: Rules, bounds: Bounds, size: int) -> Chunk:
        upto = cut(worker, rules, bounds, size, self.where)
        part = Bounds(bounds.after, upto if upto is not None else bounds.upto)
        sides = _Range(rules, part, self.where, None if rules.ordered else GUARD * size + 1)
        source, target = worker.both(lambda: sides.source_sums(worker), lambda: sides.target_sums(worker))
        rows, others = _rows(source), _rows(target)
        learn(worker, rules, part, rows)
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
        """Rows and hash of each bucket: of rows whose hash begins with the same digits (without them, of all)."""
        encoded = mysql_hash(self.rules)
        if digits:
            sql = (
                f"SELECT LEFT(h,{digits}) AS b, COUNT(*), LOWER(HEX(BIT_XOR(UNHEX(h)))) FROM "
                f"(SELECT {encoded} AS h FROM {self.source}) r GROUP BY b"
            )
        elif self.rules.ordered:
            rows = f"GROUP_CONCAT(CAST(CONCAT({_mysql_row(self.rules)}) AS BINARY) SEPARATOR '')"
            sql = f"SELECT '', COUNT(*), SHA2({rows},256) FROM {self.source}"
        else:
            sql = f"SELECT '', COUNT(*), LOWER(HEX(BIT_XOR(UNHEX({encoded})))) FROM {self.source}"
        found = worker.source(sql)
        for _, code, _ in worker.source("SHOW WARNINGS"):
            if code in CUT_OFF:
                problem = TooSlow if self.rules.ordered and not digits else ZdmError
                raise problem(
                    f"MySQL could not hash rows of {self.rules.table.name}: they are larger than its {CUT_OFF[code]}; "
                    "raise it in the parameter group"
                )
        return {bucket: (int(rows), digest) for bucket, rows, digest in found if rows}

    def target_sums(self, worker: Worker, digits: int = 0) -> _Sums:
        """The same on the target."""
        row = f"convert_to({_postgres_row(self.rules)},'UTF8')"
        if self.rules.ordered and not digits:
            names = ", ".join(postgres_name(column.name) for column, _ in self.rules.key)
            ((rows, digest),) = worker.target(
                f"SELECT count(*), encode(sha256(string_agg(t,''::bytea)),'hex') FROM "
                f"(SELECT {row} AS t FROM {self.target} ORDER BY {names}) r"
            )
            return {"": (int(rows), digest)} if rows else {}
        hashes = f"SELECT sha256({row}) AS h FROM {self.target}"
        found = worker.target(
            f"SELECT left(encode(h,'hex'),{digits}), count(*), bit_xor(('x'||encode(h,'hex'))::bit(256))::text FROM "
            f"({hashes} OFFSET 0) r GROUP BY 1"  # OFFSET 0: each hash is computed once
        )
        return {bucket: (int(rows), f"{int(digest, 2):064x}") for bucket, rows, digest in found}


def _suspects(worker: Worker, sides: _Range, buckets: tuple[int, Sequence[str]] | None = None) -> tuple[Key, ...]:
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
            f"SELECT {listed}, h FROM (SELECT {mine}, {mysql_hash(rules)} AS h FROM {sides.source}) r{chosen}"
        ),
        lambda: worker.target(
            f"SELECT {listed}, h FROM (SELECT {theirs}, {_postgres_hash(rules)} AS h FROM {sides.target}) r{chosen}"
        ),
    )
    mine_only, theirs_only = ({(key_of_texts(row[:-1]), str(row[-1])) for row in found} for found in (have, other))
    return tuple(dict.fromkeys(key for key, _ in mine_only ^ theirs_only))


def _mysql_encoded(column: Column, rule: TypeRule) -> str:
    text, plain = _mysql_text(column, rule)
    if may_be_large(column):
        return f"IFNULL(SHA2({text},256),'~'),'|'"
    if plain and not column.nullable:  # what else becomes NULL would be lost without a word
        return f"LENGTH({text}),':',{text}" if rule.framed else f"{text},'|'"
    return f"IFNULL(CONCAT(LENGTH({text}),':',{text}),'~')" if rule.framed else f"IFNULL({text},'~'),'|'"


def _mysql_text(column: Column, rule: TypeRule) -> tuple[str, bool]:
    """The text that is hashed, and whether it is the column as it is. Conversions are most of what hashing costs: there
    are none that this column does not need, and times and most numbers are written as PostgreSQL likes to."""
    name = mysql_name(column.name)
    text = rule.mysql_text.format(name)
    if rule.framed and column.type != "json" and (column.collation or "").startswith("utf8mb4_"):
        return f"{name} COLLATE utf8mb4_bin", True
    if rule.codec.name in ("int2", "int4", "int8", "numeric") and column.type != "year" and not column.zerofill:
        return name, True  # within CONCAT a number is its text
    if column.type == "double":
        return f"IF(ABS({name}) BETWEEN {_SHORT},{name},{text})", False
    if column.type in ("datetime", "timestamp"):
        moment = f"TRIM(TRAILING '.' FROM TRIM(TRAILING '0' FROM {name}))" if column.fraction else name
        return text.replace(f"CAST(CAST({name} AS DATETIME(6)) AS CHAR)", f"CAST({moment} AS CHAR)"), False
    return text, False


def _postgres_encoded(column: Column, rule: TypeRule) -> str:
    name = postgres_name(column.name)
    text = rule.postgres_text.format(name)
    if may_be_large(column):
        return f"coalesce(encode(sha256(convert_to({text},'UTF8')),'hex'),'~')||'|'"
    if column.type == "double":
        text = f"CASE WHEN abs({name}) BETWEEN {_SHORT} THEN {name}::text ELSE {text} END"
    if column.type in ("datetime", "timestamp"):
        text = f"{name}::text" if column.type == "datetime" else f"({name} AT TIME ZONE 'UTC')::text"
    return f"coalesce(octet_length({text})::text||':'||{text},'~')" if rule.framed else f"coalesce({text},'~')||'|'"


def _postgres_row(rules: Rules) -> str:
    return "||".join(_postgres_encoded(column, rule) for column, rule in rules.columns)


def _mysql_row(rules: Rules) -> str:
    """What is concatenated of a row."""
    return ",".join(_mysql_encoded(column, rule) for column, rule in rules.columns)


def mysql_hash(rules: Rules) -> str:
    """SQL for the SHA-256 of a row of the source, in hexadecimal digits."""
    return f"SHA2(CONCAT({_mysql_row(rules)}),256)"


def _postgres_hash(rules: Rules) -> str:
    return f"encode(sha256(convert_to({_postgres_row(rules)},'UTF8')),'hex')"


def _rows(sums: _Sums) -> int:
    return sum(rows for rows, _ in sums.values())
