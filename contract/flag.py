"""The traffic flag: which share of the users reads from Aurora, who may write, and whether writes are held.

Invariants:
- `epoch` grows with every change of authority (fence, open, undo); `v` grows with every change at all. A reader adopts
  a flag only when its (epoch, v) is higher than the one it has, so a stale copy can never win.
- Raising `weight` only moves users one way: a user's bucket never changes, and bucket < weight * 100 decides.
- The flag is a hint for routers. The truth is the copy in each database's `zdm.fence` row, which a write checks inside
  its own transaction.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

BUCKETS = 10_000
"""Users fall into this many buckets, so that one bucket is the smallest step of a weight: 0.01 percent."""

_U32 = 0xFFFFFFFF


class Side(StrEnum):
    """One of the two databases, and the origin in front of it (`mysql-api`, `aurora-api`)."""

    MYSQL = "mysql"
    AURORA = "aurora"

    @property
    def other(self) -> Side:
        return Side.AURORA if self is Side.MYSQL else Side.MYSQL


class Writes(StrEnum):
    """What a router does with a request that changes data."""

    OPEN = "open"
    HOLD = "hold"
    REJECT = "reject"


class FlagError(ValueError):
    """The text is no flag, or a value is out of its range."""


@dataclass(frozen=True, slots=True)
class Flag:
    """`weight` in percent of the users whose reads go to Aurora, 0..100 in steps of 0.01; `mode` is the writer."""

    v: int = 0
    epoch: int = 0
    weight: float = 0.0
    writes: Writes = Writes.OPEN
    mode: Side = Side.MYSQL

    def __post_init__(self) -> None:
        if self.v < 0 or self.epoch < 0:
            raise FlagError(f"v and epoch must not be negative: v={self.v}, epoch={self.epoch}")
        if not 0 <= self.weight <= 100:
            raise FlagError(f"weight must be between 0 and 100 percent, not {self.weight}")
        if abs(self.weight * 100 - round(self.weight * 100)) > 1e-6:
            raise FlagError(f"weight has steps of 0.01 percent, {self.weight} is between two of them")

    def newer_than(self, other: Flag) -> bool:
        """Whether a holder of `other` must adopt this flag."""
        return (self.epoch, self.v) > (other.epoch, other.v)

    def may_write(self, side: Side) -> bool:
        return self.writes is Writes.OPEN and self.mode is side

    def may_read(self, side: Side) -> bool:
        """After the cutover (all users on Aurora, Aurora the writer) a read from MySQL would be stale."""
        return self.mode is side or (self.weight < 100 if side is Side.MYSQL else self.weight > 0)

    def reads_from(self, user: str, salt: str) -> Side:
        return Side.AURORA if bucket_of(user, salt) < round(self.weight * 100) else Side.MYSQL

    def changed(
        self,
        *,
        weight: float | None = None,
        writes: Writes | None = None,
        mode: Side | None = None,
        new_epoch: bool = False,
    ) -> Flag:
        """The next version of this flag; a change of `mode` is always a new epoch."""
        moved = mode is not None and mode is not self.mode
        return replace(
            self,
            v=self.v + 1,
            epoch=self.epoch + (1 if new_epoch or moved else 0),
            weight=self.weight if weight is None else weight,
            writes=self.writes if writes is None else writes,
            mode=self.mode if mode is None else mode,
        )

    def to_json(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))


def parse_flag(text: str) -> Flag:
    """Reads what `Flag.to_json` wrote. Raises `FlagError` that says what is wrong with it."""
    try:
        data: Any = json.loads(text)
    except json.JSONDecodeError as e:
        raise FlagError(f"the flag is not JSON: {text[:80]!r}") from e
    if not isinstance(data, dict):
        raise FlagError(f"the flag is not a JSON object: {text[:80]!r}")
    try:
        return Flag(
            v=_whole(data, "v"),
            epoch=_whole(data, "epoch"),
            weight=float(data["weight"]),
            writes=Writes(data["writes"]),
            mode=Side(data["mode"]),
        )
    except KeyError as e:
        raise FlagError(f"the flag lacks {e.args[0]!r}: {text[:200]!r}") from e
    except (TypeError, ValueError) as e:
        raise FlagError(f"{e} in the flag {text[:200]!r}") from e


def _whole(data: dict[str, Any], name: str) -> int:
    value = data[name]
    if isinstance(value, bool) or not isinstance(value, int):
        raise FlagError(f"{name} must be a whole number, not {value!r}")
    return value


def bucket_of(user: str, salt: str) -> int:
    """The user's bucket, 0..9999: FNV-1a over the UTF-16 code units of `salt:user`, finished as MurmurHash3's fmix32.

    UTF-16 code units, because the Worker computes the same in JavaScript; `tests/router/vectors.json` holds both to it.
    """
    h = 0x811C9DC5
    raw = f"{salt}:{user}".encode("utf-16-le", "surrogatepass")
    for i in range(0, len(raw), 2):
        h = ((h ^ (raw[i] | raw[i + 1] << 8)) * 0x01000193) & _U32
    h ^= h >> 16
    h = (h * 0x85EBCA6B) & _U32
    h ^= h >> 13
    h = (h * 0xC2B2AE35) & _U32
    h ^= h >> 16
    return h % BUCKETS
