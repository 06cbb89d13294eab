"""What this machine has of what a rehearsal needs, how to get what is missing, and where the local cloud ends."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console as RichConsole
from rich.table import Table

from local import parts
from local.parts import cache
from local.parts.part import PartError, Recipe, tool
from rows import build

MEMORY_GB, DISK_GB = 4.0, 8.0
"""What a rehearsal needs: free memory; and free disk, most of it while the engine is built."""
_TOOLS = {"pulumi": "go", "mysql": "apt-get", "postgres": "apt-get", "kafka": "mvn", "workerd": "npm"}


@dataclass(frozen=True)
class Row:
    """One thing that is needed. `state`: `ready`, `fetched` (the next run gets it by itself), `missing`, or `optional`
    (missing, but only something is slower)."""

    name: str
    purpose: str
    state: str
    version: str = ""
    where: str = ""
    way_out: str = ""


@dataclass(frozen=True)
class Doctor:
    """What was found. `recorded` are resource types that the local cloud keeps, but that do nothing here."""

    rows: tuple[Row, ...]
    recorded: tuple[str, ...]
    emulated: int
    real: int
    cache: Path

    @property
    def ok(self) -> bool:
        return all(row.state != "missing" for row in self.rows)

    def to_json(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "parts": [vars(row) for row in self.rows],
            "cache": str(self.cache),
            "localCloud": {"real": self.real, "apiOnly": self.emulated, "recordedOnly": list(self.recorded)},
        }

    def render(self, out: RichConsole) -> None:
        table = Table("", "part", "version", "where", "for", box=None, pad_edge=False)
        marks = {"ready": "[green]✓[/green]", "fetched": "[yellow]↓[/yellow]", "missing": "[red]✗[/red]"}
        marks["optional"] = "–"
        for row in self.rows:
            table.add_row(marks[row.state], row.name, row.version, row.where, row.purpose)
        out.print(table)
        for row in self.rows:
            if row.state in ("missing", "optional"):
                out.print(f"{marks[row.state]} {row.name}: {row.way_out}")
        if any(row.state == "fetched" for row in self.rows):
            out.print(f"↓ is got by the first command that needs it, into {self.cache} (ZDM_CACHE changes it).")
        out.print(
            f"\nThe local cloud: {self.real} resource types stand for real parts of this machine, {self.emulated} live "
            "in an emulated AWS API, where they can be looked at but guard and carry nothing."
        )
        if self.recorded:
            out.print(f"Only recorded, without any effect here: {', '.join(self.recorded)}.")
        out.print("Ready: ./zdm rehearse" if self.ok else "Get what is missing, then run ./zdm doctor again.")


def run() -> Doctor:
    """Look at this machine; fetches and builds nothing."""
    found = [parts.look(name) for name in parts.RECIPES]
    rows = [_row(one) for one in found if one.part or not one.recipe.optional]
    rows += [_native_core(), _memory(), _disk()]
    kinds = _local_cloud()
    return Doctor(tuple(rows), tuple(kinds["recorded"]), len(kinds["api"]), len(kinds["part"]), cache.root())


def _row(found: parts.Found) -> Row:
    recipe = found.recipe
    if found.problem:
        return Row(recipe.name, recipe.purpose, "missing", way_out=found.problem)
    if found.part is not None:
        where = str(found.part.home) if found.part.origin != "cache" else "cache"
        return Row(recipe.name, recipe.purpose, "ready", found.part.version, where)
    problem = _obstacle(recipe)
    if problem:
        return Row(recipe.name, recipe.purpose, "missing", way_out=problem)
    return Row(recipe.name, recipe.purpose, "fetched", recipe.key, "not yet", recipe.get)


def _obstacle(recipe: Recipe) -> str:
    """Why the part cannot be fetched on this machine, as far as one can tell beforehand; empty if it can."""
    wanted = _TOOLS.get(recipe.shares or recipe.name)
    if wanted is None:
        return recipe.get
    try:
        tool(recipe.name, wanted, recipe.get)
        if wanted == "apt-get":
            from local.parts import debian

            debian.machine_source(recipe.name, recipe.get)
    except PartError as error:
        return str(error)
    return ""


def _native_core() -> Row:
    purpose = "the native core of copy and check (without it they are slower)"
    library, buildable = build.look()
    if library is not None:
        return Row("rows", purpose, "ready", "", "cache")
    state = "fetched" if buildable else "optional"
    return Row("rows", purpose, state, "", "not yet" if buildable else "", build.WAY_OUT)


def _memory() -> Row:
    lines = Path("/proc/meminfo").read_text().splitlines()
    free = next((int(line.split()[1]) for line in lines if line.startswith("MemAvailable")), 0) / 1e6
    state = "ready" if free >= MEMORY_GB else "missing"
    way_out = f"a rehearsal takes up to {MEMORY_GB:.0f} GB; end other programs, or use a bigger machine"
    return Row("memory", "servers of the rehearsal", state, f"{free:.1f} GB free", "", way_out)


def _disk() -> Row:
    place = cache.root()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free / 1e9
    enough = free >= DISK_GB or parts.look("pulumi").part is not None
    writable = os.access(place, os.W_OK)
    way_out = f"{place} needs {DISK_GB:.0f} GB free and must be yours to write: set ZDM_CACHE to another folder"
    state = "ready" if enough and writable else "missing"
    return Row("disk", "cache and data", state, f"{free:.0f} GB free", str(place), way_out)


def _local_cloud() -> dict[str, list[str]]:
    """Resource types of the local cloud by what stands behind them."""
    from local.provider import registry

    known: Callable[[Any], list[str]] = registry.tokens
    return {kind: known(kind) for kind in ("part", "api", "recorded")}
