"""Where a chunk of a check by hashes ends, in the source's order of the key.

Invariants:
- Any end is right, as it bounds both sides alike: a bad one makes a chunk that is too large or too small.
- A key that is one integer is guessed from how dense the chunk before was. The guess counts if the source's optimizer
  agrees, which looks at a few pages of the index and reads no row. For other keys, and where it does not agree, the
  source is asked for its n-th row, which costs it a fifteenth of what hashing these rows does.
"""

from __future__ import annotations

from typing import Final

from contract.tables import mysql_name
from scripts.data.check_worker import ALL_ROWS, Where, Worker
from scripts.data.difference import Key
from scripts.data.keyset import Bounds
from scripts.data.rules import Rules

_INTEGERS: Final = frozenset({"int2", "int4", "int8"})
LAST: Final = 2**63 - 1
ROWS: Final = 9
"""Where EXPLAIN says how many rows it expects."""
_LEAST, _MOST = 0.25, 2.0
"""How many times the wanted rows there may be behind a guess."""


def cut(worker: Worker, rules: Rules, bounds: Bounds, size: int, where: Where) -> Key | None:
    """A key within bounds, not above which there are about `size` rows; None when there may be no more than that."""
    if where == ALL_ROWS and (guess := _guess(worker, rules, bounds, size)):
        (end,) = guess
        return None if bounds.upto is not None and end >= int(bounds.upto[0]) else (str(end),)
    return _asked(worker, rules, bounds, size, where)


def learn(worker: Worker, rules: Rules, bounds: Bounds, rows: int) -> None:
    """Tells how many rows there were within bounds."""
    if _guessable(rules) and rows and bounds.after is not None and bounds.upto is not None:
        worker.steps[rules.table.name] = (int(bounds.upto[0]) - int(bounds.after[0])) / rows


def _guessable(rules: Rules) -> bool:
    return len(rules.key) == 1 and rules.key[0][1].codec.name in _INTEGERS


def _guess(worker: Worker, rules: Rules, bounds: Bounds, size: int) -> tuple[int] | None:
    """The end of `size` rows, or of the range; None when nobody knows."""
    step = worker.steps.get(rules.table.name)
    if step is None or not _guessable(rules) or bounds.after is None:
        return None
    last = LAST if bounds.upto is None else int(bounds.upto[0])
    end = min(int(bounds.after[0]) + max(1, round(size * step)), last)
    part = ALL_ROWS.mysql(rules, Bounds(bounds.after, (str(end),)))
    [plan] = worker.source(
        f"EXPLAIN FORMAT=TRADITIONAL SELECT 1 FROM {mysql_name(rules.table.name)} FORCE INDEX (PRIMARY) WHERE {part}"
    )
    rows = int(plan[ROWS] or 0)
    least = 0 if bounds.upto is not None and end == last else _LEAST * size  # or this may be a gap, or the table's end
    return (end,) if least <= rows <= _MOST * size else None


def _asked(worker: Worker, rules: Rules, bounds: Bounds, size: int, where: Where) -> Key | None:
    """The key of the row at `size` within bounds; None when there are not so many."""
    texts = ", ".join(rule.mysql_text.format(mysql_name(column.name)) for column, rule in rules.key)
    names = ", ".join(mysql_name(column.name) for column, _ in rules.key)
    found = worker.source(
        f"SELECT {texts} FROM {mysql_name(rules.table.name)} FORCE INDEX (PRIMARY) "
        f"WHERE {where.mysql(rules, bounds)} ORDER BY {names} LIMIT 1 OFFSET {size - 1}"
    )
    return key_of_texts(found[0]) if found else None


def key_of_texts(texts: tuple[object, ...]) -> Key:
    """A key as MySQL's driver gives its canonical texts."""
    return tuple(text.decode() if isinstance(text, bytes) else str(text) for text in texts)
