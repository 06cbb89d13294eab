"""What the commands of the archive answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rich.console import Console as RichConsole
from rich.table import Table

from contract.archive import Lock, Manifest, Plan


@dataclass(frozen=True)
class Entry:
    """One archive of the bucket. Without a manifest it is incomplete."""

    id: str
    plan: Plan | None
    manifest: Manifest | None

    @property
    def started(self) -> str:
        known = self.plan or self.manifest
        return known.started.isoformat() if known else ""

    @property
    def lock(self) -> Lock | None:
        known = self.manifest or self.plan
        return known.lock if known else None

    @property
    def tables(self) -> set[str] | None:
        """Names of the tables that it has, or (incomplete) may have; None: any."""
        if self.manifest is not None:
            return {table.name for table in self.manifest.tables}
        return {table.name for table in self.plan.tables} if self.plan and self.plan.tables else None

    def to_json(self) -> dict[str, Any]:
        m = self.manifest
        return {
            "id": self.id,
            "complete": m is not None,
            "started": self.started,
            "lockedUntil": self.lock.until.isoformat() if self.lock else None,
            "tables": {table.name: table.rows for table in m.tables} if m else None,
            "rows": m.rows if m else None,
            "size": m.size if m else None,
            "gtid": m.gtid if m else None,
            "fenced": m.fenced if m else None,
        }


@dataclass(frozen=True)
class TakeResult:
    """An archive that was written, or (`dry_run`) how it would be. `already`: this state was in the archive before."""

    id: str
    actions: tuple[str, ...] = ()
    dry_run: bool = False
    resumed: bool = False
    already: bool = False
    fenced: bool = False
    manifest: Manifest | None = None

    @staticmethod
    def of(manifest: Manifest, *, resumed: bool = False, already: bool = False) -> TakeResult:
        return TakeResult(manifest.id, resumed=resumed, already=already, fenced=manifest.fenced, manifest=manifest)

    @property
    def ok(self) -> bool:
        return True

    def to_json(self) -> dict[str, Any]:
        m = self.manifest
        return {
            "id": self.id,
            "dryRun": self.dry_run,
            "actions": list(self.actions),
            "resumed": self.resumed,
            "already": self.already,
            "fenced": self.fenced,
            **(Entry(self.id, None, m).to_json() if m else {}),
        }

    def render(self, out: RichConsole) -> None:
        for action in self.actions:
            out.print(f"would: {action}", markup=False)
        if not self.fenced:
            out.print("The source is not super_read_only: this is its state at one time, and it goes on from there.")
        if self.manifest is not None:
            if self.already:
                out.print(f"{self.id} has this very state already; nothing to do.")
            ShowResult(self.manifest).render(out)


@dataclass(frozen=True)
class ListResult:
    bucket: str
    entries: tuple[Entry, ...]

    @property
    def ok(self) -> bool:
        return True

    def to_json(self) -> dict[str, Any]:
        return {"bucket": self.bucket, "archives": [entry.to_json() for entry in self.entries]}

    def render(self, out: RichConsole) -> None:
        if not self.entries:
            out.print(f"{self.bucket} has no archive yet.")
            return
        table = Table("archive", "", "rows", "size", "locked until", box=None, pad_edge=False)
        for entry in self.entries:
            m = entry.manifest
            state = "[green]complete[/green]" if m else "[red]incomplete[/red]: no manifest"
            locked = f"{entry.lock.until:%F}" if entry.lock else "not locked"
            table.add_row(entry.id, state, f"{m.rows:,}" if m else "", size_text(m.size) if m else "", locked)
        out.print(table)


@dataclass(frozen=True)
class ShowResult:
    manifest: Manifest

    @property
    def ok(self) -> bool:
        return True

    def to_json(self) -> dict[str, Any]:
        shown: dict[str, Any] = self.manifest.model_dump(mode="json", by_alias=True)
        return shown

    def render(self, out: RichConsole) -> None:
        m = self.manifest
        locked = f"locked until {m.lock.until:%F %T} UTC ({m.lock.mode.lower()})" if m.lock else "not locked"
        out.print(f"{m.id}: {m.kind} of {m.database}, MySQL {m.server}, {m.rows:,} rows, {size_text(m.size)}, {locked}")
        out.print(f"transactions {m.gtid or m.snapshot}", markup=False)
        table = Table("table", "rows", "objects", "size", "digest", box=None, pad_edge=False)
        for one in m.tables:
            size = size_text(sum(stored.size for stored in one.objects))
            table.add_row(one.name, f"{one.rows:,}", str(len(one.objects)), size, one.digest[:16])
        out.print(table)


def size_text(size: int) -> str:
    """`1.5 MB`; units of 1000."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:,.0f} {unit}" if unit == "B" else f"{value:,.1f} {unit}"
        value /= 1000
    return f"{value:,.1f} TB"
