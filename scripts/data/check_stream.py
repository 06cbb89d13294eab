"""The check by streams: both databases send the same rows at the same time, and the native core (`rows/`) compares
MySQL's packets with PostgreSQL's binary COPY, by the contract's comparators.

A chunk is what both sides send of `after` < key, in the order of the key, at most `size` rows each, so that no cut has
to be found first. Then:

- Both databases order the keys alike: the chunk ends at the smaller of the two last keys; what one side sent beyond it
  belongs to the next chunk.
- They may not (text): when both ended at the same key, each side sent what its own order has between the two bounds,
  and that is the chunk. Otherwise it ends at the source's last key, and the target is asked for exactly these bounds.
  Bounds of a text key select other rows on the target than on the source where the orders disagree, and still no row
  is missed: the source's ranges partition its rows, so each is compared once; and every key k of the target is within
  one of the target's ranges, as the bounds go from the lowest to the highest and so there is a first one that is not
  below k. What has no equal within its range is a suspect, and is looked up by key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from contract.tables import mysql_name, postgres_name
from rows.decode import canonical
from rows.errors import ServerError
from rows.native import Column, Comparator, Plan, Suspect
from rows.streams import compare, mysql_query, postgres_copy
from scripts.data.check_hash import GUARD
from scripts.data.check_worker import ALL_ROWS, TOO_SLOW, Chunk, Disagree, TooSlow, Where, Worker
from scripts.data.difference import Key
from scripts.data.keyset import Bounds, key_text
from scripts.data.rules import SCHEMA, Rules

HEADER, TRAILER = 19, 2
"""Bytes of a binary COPY before and after its rows."""

REASONS: Final[Mapping[str, str]] = {
    "zero_date": "a zero or partial date in a column that is NOT NULL",
    "nul_character": "a NUL character, which PostgreSQL's text does not have",
    "invalid_utf8": "bytes that are no UTF-8",
    "out_of_range": "a value that is out of the target type's range",
    "not_boolean": "a number other than 0 and 1 in a boolean",
    "empty_enum": "the empty value that MySQL stores for an invalid ENUM member",
    "json_nul": "U+0000 in JSON, which jsonb refuses",
    "malformed": "a value that is none of its type",
}

_NO_DATE: Final = frozenset({"22007", "22008"})


@dataclass(frozen=True)
class Stream:
    """By row streams. `digests`: whether each chunk's digest is taken."""

    where: Where = ALL_ROWS
    digests: bool = False
    name: str = "stream"
    most_rows: int = 200_000
    most_bytes: int = 256 << 20

    def chunk(self, worker: Worker, rules: Rules, bounds: Bounds, size: int) -> Chunk:
        seen = self._read(worker, rules, bounds, size, size)
        full, target_full = seen.source_rows >= size, seen.target_rows >= size
        if not full and not target_full:
            return seen.chunk(bounds, ended=True)
        if rules.ordered:
            ends = [end for end, is_full in zip(seen.ends, (full, target_full), strict=True) if is_full and end]
            return self._upto(worker, rules, seen, bounds.after, min(ends, key=rules.order))
        if full and target_full and seen.ends[0] == seen.ends[1]:
            return seen.chunk(Bounds(bounds.after, seen.ends[0]))
        part = Bounds(bounds.after, seen.ends[0] if full else bounds.upto)
        seen = self._read(worker, rules, part, None, GUARD * size + 1)
        if seen.target_rows > GUARD * size:
            raise Disagree(
                f"{seen.source_rows:,} rows of a range on the source are more than {GUARD * size:,} on the target"
            )
        return seen.chunk(part, ended=not full)

    def _upto(self, worker: Worker, rules: Rules, seen: _Seen, after: Key | None, upto: Key) -> Chunk:
        """The chunk ends at `upto`: what was sent beyond has no counterpart here, and does not count."""
        bounds, end = Bounds(after, upto), rules.order(upto)
        beyond = {key: kind for kind, key in seen.suspects if rules.order(key) > end}
        extra = sum(kind == "extra" for kind in beyond.values())
        return Chunk(
            bounds,
            seen.source_rows - (len(beyond) - extra),
            seen.target_rows - extra,
            tuple(dict.fromkeys(key for _, key in seen.suspects if key not in beyond)),
            {key: reason for key, reason in seen.refused.items() if key not in beyond},
            self._digest(worker, rules, bounds) if extra and self.digests else seen.digest,
        )

    def _read(self, worker: Worker, rules: Rules, bounds: Bounds, size: int | None, target_size: int | None) -> _Seen:
        """What both sides send within `bounds`, at most so many rows (None: all)."""
        digest = hashlib.sha256() if self.digests else None
        try:
            with Comparator(plan_of(rules), keep_target_rows=self.digests) as comparator:
                suspects = compare(
                    comparator,
                    mysql_query(worker.mysql, _query(rules, self.where.mysql(rules, bounds), size)),
                    postgres_copy(worker.copy_out, copy_statement(rules, bounds, self.where, target_size)),
                    digest.update if digest else None,
                )
                return _Seen(
                    comparator.source_rows,
                    comparator.target_rows,
                    (_source_end(rules, comparator), _key(rules, comparator.target_last_key)),
                    [(suspect.kind, _suspect_key(rules, suspect)) for suspect in suspects],
                    dict(_refused(rules, suspects)),
                    digest.hexdigest() if digest else None,
                )
        except BaseException as e:
            worker.reset()
            if isinstance(e, ServerError) and e.code in TOO_SLOW:
                raise TooSlow(e.message) from e
            if isinstance(e, ServerError) and e.code in _NO_DATE:
                raise Disagree(f"the key has a date that only MySQL has ({e.message})") from e
            raise

    def _digest(self, worker: Worker, rules: Rules, bounds: Bounds) -> str | None:
        """Of exactly these rows of the target."""
        digest = hashlib.sha256()
        try:
            with Comparator(plan_of(rules), keep_target_rows=True) as comparator:
                source = mysql_query(worker.mysql, _query(rules, "FALSE"))
                target = postgres_copy(worker.copy_out, copy_statement(rules, bounds, self.where))
                compare(comparator, source, target, digest.update)
        except BaseException:
            worker.reset()
            raise
        return digest.hexdigest()


@dataclass(frozen=True)
class _Seen:
    """What both sides sent; `ends` are the last keys of the source and the target."""

    source_rows: int
    target_rows: int
    ends: tuple[Key | None, Key | None]
    suspects: list[tuple[str, Key]]
    refused: dict[Key, tuple[str, str]]
    digest: str | None

    def chunk(self, bounds: Bounds, *, ended: bool = False) -> Chunk:
        keys = tuple(dict.fromkeys(key for _, key in self.suspects))
        return Chunk(bounds, self.source_rows, self.target_rows, keys, self.refused, self.digest, ended)


def plan_of(rules: Rules) -> Plan:
    """The table for the native core, with all columns in their order."""
    names = [column.name for column, _ in rules.columns]
    columns = tuple(Column(rule.codec, six_digits=bool(rule.loses)) for _, rule in rules.columns)
    return Plan(columns, tuple(names.index(column.name) for column, _ in rules.key))


def copy_statement(rules: Rules, bounds: Bounds, where: Where = ALL_ROWS, size: int | None = None) -> str:
    """What the target is asked for: all columns of the rows within `bounds`, in the order of the key. The digest of a
    chunk is that of the answer without its header and trailer."""
    names = ", ".join(postgres_name(column.name) for column, _ in rules.columns)
    key = ", ".join(postgres_name(column.name) for column, _ in rules.key)
    limit = "" if size is None else f" LIMIT {size}"
    return (
        f"COPY (SELECT {names} FROM {postgres_name(SCHEMA, rules.table.name)} "
        f"WHERE {where.postgres(rules, bounds)} ORDER BY {key}{limit}) TO STDOUT (FORMAT binary)"
    )


def _query(rules: Rules, where: str, size: int | None = None) -> str:
    names = ", ".join(rule.mysql_read.format(mysql_name(column.name)) for column, rule in rules.columns)
    key = ", ".join(mysql_name(column.name) for column, _ in rules.key)
    limit = "" if size is None else f" LIMIT {size}"
    return (
        f"SELECT {names} FROM {mysql_name(rules.table.name)} FORCE INDEX (PRIMARY) WHERE {where} ORDER BY {key}{limit}"
    )


def _source_end(rules: Rules, comparator: Comparator) -> Key | None:
    key = comparator.source_last_key
    return _key_of_texts(rules, comparator.source_last_texts) if key is None else _key(rules, key)


def _suspect_key(rules: Rules, suspect: Suspect) -> Key:
    key = _key(rules, suspect.key)
    if key is None:  # it has a value itself that the target cannot have
        assert suspect.poison is not None
        key = _key_of_texts(rules, suspect.poison.key)
    assert key is not None
    return key


def _refused(rules: Rules, suspects: Iterable[Suspect]) -> Iterator[tuple[Key, tuple[str, str]]]:
    for suspect in suspects:
        if suspect.poison is not None:
            column = rules.columns[suspect.poison.column][0].name
            yield _suspect_key(rules, suspect), (column, REASONS[suspect.poison.reason])


def _key(rules: Rules, values: Sequence[bytes | None] | None) -> Key | None:
    """From PostgreSQL's binary values. Raises `Disagree` for one that no value of MySQL can be."""
    if values is None:
        return None
    try:
        return tuple(str(canonical(rule.codec, value)) for (_, rule), value in zip(rules.key, values, strict=True))
    except ValueError as e:
        raise Disagree(f"the target's key has a value that MySQL cannot have ({e})") from e


def _key_of_texts(rules: Rules, texts: Sequence[bytes | None] | None) -> Key | None:
    if texts is None:
        return None
    return tuple(key_text(column, rule, text or b"") for (column, rule), text in zip(rules.key, texts, strict=True))
