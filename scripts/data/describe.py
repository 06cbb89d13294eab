"""`./zdm schema STACK --describe FILE`: the source's tables as a file, from which mappings for DMS are made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console as RichConsole

from contract.tables import dump_tables
from scripts.console import Console
from scripts.context import Context
from scripts.data.inspect import mysql_tables
from scripts.errors import UsageError


@dataclass(frozen=True)
class DescribeResult:
    """Where the description is, and of which tables."""

    file: Path
    tables: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return True

    def to_json(self) -> dict[str, Any]:
        return {"file": str(self.file), "tables": list(self.tables)}

    def render(self, out: RichConsole) -> None:
        out.print(f"{len(self.tables)} tables in {self.file}; name it in the setting dms.tablesFile", markup=False)


def run(context: Context, *, file: Path, console: Console) -> DescribeResult:
    """Writes the source's tables, those under capture where the stack names them. Raises `UsageError` without any."""
    out = context.outputs
    with console.step("Describe the source's tables") as step, context.mysql() as mysql:
        tables = mysql_tables(mysql, out.database, out.pipeline.tables or None)
        if not tables:
            raise UsageError(f"database {out.database} on the source has no table to describe")
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f".{file.name}.part")
        part.write_text(dump_tables(tables))
        part.replace(file)
        step.done(f"{len(tables)} tables")
    return DescribeResult(file, tuple(table.name for table in tables))
