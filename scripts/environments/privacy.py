"""`./zdm privacy STACK`: the data class of every column, what stands in the way, and proposals for columns without one.

A proposal is made from a column's name and type, and from a sample of its values; it is printed as YAML for a person to
judge and paste. Nothing is written, and no value is shown.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console as RichConsole
from rich.table import Table as RichTable

from contract.flag import Side
from contract.masks import BINARIES, JSON, KINDS, TEXTS
from contract.personal import found
from contract.privacy import CONTROL_TABLES, DataClass, DataClasses, PrivacyError, load_classes
from contract.tables import Column, Table
from scripts.console import Console
from scripts.context import PROJECT, Context
from scripts.data.inspect import mysql_tables
from scripts.environments.masked import Masked, Session, open_session
from scripts.errors import UsageError

FILE: Final = PROJECT / "data-classes.yaml"
SAMPLE: Final = 200
"""Rows of a table that are read for proposals."""

_NAMES: Final[tuple[tuple[str, str], ...]] = (
    (r"password|passwd|secret|otp|pin_?(code|hash)?$|api_?key|private_?key|salt", "secret"),
    (r"e?_?mail", "personal(email)"),
    (r"phone|mobile|tel(ephone)?$|dien_?thoai|sdt|fax|zalo", "personal(phone)"),
    (r"card_?(no|num|number|token)|^pan$|so_?the", "card"),
    (r"birth|dob$|ngay_?sinh", "personal(birth_date)"),
    (r"cccd|cmnd|national_?id|identity|passport|id_?card", "personal(national_id)"),
    (r"tax_?(id|code|no)|mst$|ma_?so_?thue", "personal(tax_id)"),
    (r"iban|account_?(no|num)|bank_?acc|so_?tai_?khoan|stk", "personal(bank_account)"),
    (r"(^|_)ip(_?addr(ess)?)?(v4|v6)?$|remote_?addr", "personal(ip)"),
    (r"(full|first|last|middle|family|given|customer|contact|receiver|ho)_?(name|ten)|recipient", "personal(name)"),
    (r"user_?name|login$|nick", "personal(username)"),
    (r"street|address(_?\d|_?line\d?)?$|dia_?chi", "personal(address)"),
    (r"post_?code|zip", "personal(postcode)"),
    (r"latitude|longitude|^lat$|^(lng|lon)$", "personal(location)"),
    (r"device|session|push_?token|fingerprint|token|cookie", "personal(token)"),
    (r"note|comment|message|remark|feedback|ghi_?chu|bio$", "personal(free_text)"),
)  # fmt: skip
_BY_FINDING: Final = {
    "email": "personal(email)", "phone": "personal(phone)", "card": "card", "national_id": "personal(national_id)",
    "name": "personal(name)",
}  # fmt: skip


@dataclass(frozen=True)
class Proposal:
    column: str
    """As `table.column`."""
    data_class: str
    why: str


@dataclass(frozen=True)
class PrivacyResult:
    """Classes by table and column ('' where there is none), and what is to be done."""

    classes: dict[str, dict[str, str]]
    problems: tuple[str, ...]
    proposals: tuple[Proposal, ...]

    @property
    def ok(self) -> bool:
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "classes": self.classes,
            "problems": list(self.problems),
            "proposals": [{"column": p.column, "class": p.data_class, "why": p.why} for p in self.proposals],
        }

    def render(self, out: RichConsole) -> None:
        table = RichTable(box=None, header_style="bold")
        for title in ("table", "masked or erased", "none"):
            table.add_column(title)
        for name, columns in self.classes.items():
            some = [f"{column} {given}" for column, given in columns.items() if given not in ("", "none")]
            none = sum(given == "none" for given in columns.values())
            table.add_row(name, "\n".join(some), str(none))
        out.print(table)
        for problem in self.problems:
            out.print(f"[red]✗[/red] {problem}", markup=True)
        if self.proposals:
            out.print("\nTo judge, and to paste into data-classes.yaml under `tables:`", markup=False)
            out.print(yaml_of(self.proposals), markup=False)


def yaml_of(proposals: Sequence[Proposal]) -> str:
    lines, last = [], ""
    for proposal in proposals:
        table, _, column = proposal.column.rpartition(".")
        if table != last:
            lines.append(f"  {table}:")
            last = table
        lines.append(f"    {column}: {proposal.data_class} # {proposal.why}")
    return "\n".join(lines)


def classes_of(path: Path = FILE) -> DataClasses:
    """The project's data classes, for commands. Raises `UsageError`."""
    try:
        return load_classes(path)
    except PrivacyError as e:
        raise UsageError(str(e)) from e


def named_classes(path: Path = FILE) -> dict[str, str]:
    """The classes by `table.column`. Raises `UsageError`."""
    known = classes_of(path).tables
    return {f"{table}.{column}": str(one) for table, columns in known.items() for column, one in columns.items()}


def run(context: Context, *, file: Path = FILE, console: Console) -> PrivacyResult:
    """Holds the data classes against the source's tables. Raises `UsageError` for a file that has mistakes."""
    classes = classes_of(file)
    out = context.outputs
    with console.step("Read the source's tables") as step, context.mysql() as my:
        tables = [*mysql_tables(my, out.database, out.pipeline.tables or None), *CONTROL_TABLES]
        step.done(f"{len(tables)} tables")
    missing = set(classes.missing(tables))
    proposals: list[Proposal] = []
    if missing:
        session = open_session(Masked(Side.MYSQL, context.mysql, tables))
        try:
            with console.step("Sample the columns without a class") as step:
                for table in tables:
                    proposals += _proposals(session, table, [c for c in table.columns if c.path in missing])
                step.done(f"{len(proposals)} columns")
        finally:
            session.close()
    given = {
        table.name: {c.name: str(classes.tables.get(table.name, {}).get(c.name, "")) for c in table.columns}
        for table in tables
    }
    return PrivacyResult(given, tuple(classes.problems(tables)), tuple(proposals))


def _proposals(session: Session, table: Table, columns: Sequence[Column]) -> list[Proposal]:
    if not columns:
        return []
    texts = [column for column in columns if column.type in TEXTS | JSON]
    seen: dict[str, Counter[str]] = {column.name: Counter() for column in texts}
    filled: Counter[str] = Counter()
    if texts:
        names = ", ".join(session.text(column) for column in texts)
        for row in session.rows(f"SELECT {names} FROM {session.relation(table.name)} LIMIT {SAMPLE}"):
            for column, text in zip(texts, row, strict=True):
                if text:
                    filled[column.name] += 1
                    seen[column.name].update(found(str(text)))
    return [_propose(column, seen.get(column.name, Counter()), filled[column.name]) for column in columns]


def _propose(column: Column, kinds: Counter[str], rows: int) -> Proposal:
    most = kinds.most_common(1)
    if most and 2 * most[0][1] > rows:
        return Proposal(column.path, _BY_FINDING[most[0][0]], f"{most[0][1]} of {rows} values look like it")
    if kinds:
        what = ", ".join(f"{kind} in {count}" for kind, count in kinds.most_common())
        return Proposal(column.path, "personal(free_text)", f"of {rows} values: {what}")
    for pattern, given in _NAMES:
        if re.search(pattern, column.name, re.IGNORECASE) and _fits(given, column):
            return Proposal(column.path, given, "by its name")
    return Proposal(column.path, "none", "nothing speaks against it")


def _fits(given: str, column: Column) -> bool:
    """Whether the column's type can hold such a thing at all."""
    match = re.fullmatch(r"personal\((\w+)\)", given)
    data_class = DataClass("personal", match[1]) if match else None
    types = KINDS[data_class.kind].types if data_class else TEXTS | BINARIES
    return column.type in types
