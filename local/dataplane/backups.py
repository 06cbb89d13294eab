"""Automated backups of a database: base copies of its data, to which its own log is replayed for a point in time.

They lie with the database, go with it when it is renamed, and end with it. A base is there from the first moment, and
every snapshot is one more: their files are the same on disk, since nobody ever writes to them. PostgreSQL's log is
archived beside them, MySQL's is its binary log.

Invariants:
- A base counts only once its `base.json` is there, which is written last.
- The newest base stays. An older one goes when the next one is older than the retention period, or when the log since
  it is longer than `MOST_LOG_BYTES`: this machine keeps a window, not 35 days of a benchmark.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from local.processes import write_atomically
from local.provider.handler import HandlerError

MOST_LOG_BYTES = 4 << 30


@dataclass(frozen=True)
class Base:
    """A copy of the data as it was just before `at`."""

    home: Path
    at: datetime
    facts: dict[str, Any]

    @property
    def data(self) -> Path:
        return self.home / "data"


class Backups:
    """The bases of one database, in `backups` under its home."""

    def __init__(self, home: Path) -> None:
        self.home = home / "backups"

    def bases(self) -> list[Base]:
        """The oldest first."""
        found = []
        for file in sorted(self.home.glob("*/base.json")):
            known = json.loads(file.read_text())
            found.append(Base(file.parent, datetime.fromisoformat(known.pop("at")), known))
        return found

    def add(self, fill: Callable[[Path], object], **facts: Any) -> Base:
        """One more base, whose data `fill` makes. Restores are possible to any time after this."""
        self.home.mkdir(exist_ok=True)
        folder = self.home / datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
        folder.mkdir()
        try:
            shutil.copystat(self.home.parent, folder)
            fill(folder / "data")
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        made = Base(folder, datetime.now(UTC), facts)
        write_atomically(folder / "base.json", json.dumps({"at": made.at.isoformat(), **facts}), mode=0o600)
        return made

    def before(self, at: datetime, window: tuple[datetime, datetime] | None) -> Base:
        """The base to restore from. Raises HandlerError, as RDS does, for a time outside of the window."""
        if window is None:
            raise HandlerError(
                "InvalidRestoreFault: there is no automated backup yet: restore to the newest time, or from a snapshot"
            )
        earliest, latest = window
        if not earliest <= at <= latest:
            raise HandlerError(
                f"InvalidRestoreFault: {_shown(at)} is not between the earliest restorable time, {_shown(earliest)}, "
                f"and the latest, {_shown(latest)}"
            )
        return [base for base in self.bases() if base.at <= at][-1]

    def prune(self, days: int, log_bytes: Callable[[Base], int]) -> list[Base]:
        """Removes the bases that are no longer needed; returns those that stay."""
        bases = self.bases()
        horizon = datetime.now(UTC) - timedelta(days=days)
        while len(bases) > 1 and (bases[1].at <= horizon or log_bytes(bases[0]) > MOST_LOG_BYTES):
            (bases[0].home / "base.json").unlink()
            shutil.rmtree(bases.pop(0).home, ignore_errors=True)
        return bases


def copied(source: Path, target: Path) -> None:
    """Copies a data folder with its owners and modes; blocks are shared where the file system can."""
    _copy("--sparse=auto", source, target)


def linked(source: Path, target: Path) -> None:
    """The same files once more, for data to which nobody ever writes."""
    _copy("--link", source, target)


def _copy(how: str, source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["cp", "-a", "--reflink=auto", how, str(source), str(target)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        shutil.rmtree(target, ignore_errors=True)
        raise HandlerError(f"the data of {source} cannot be copied: {done.stderr.strip()}")


def in_utc(text: str) -> datetime:
    """A time as the program or a request writes it."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError as e:
        raise HandlerError(f"InvalidParameterValue: {text!r} is no time such as 2026-01-31T10:00:00Z") from e
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _shown(at: datetime) -> str:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")
