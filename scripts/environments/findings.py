"""`./zdm findings`: what tests found, kept until somebody has dealt with it. Open ones stand in a promotion's way.

Invariants:
- A finding is one file `findings/<id>.md` of the repository: front matter (YAML) and what there is to say. Git knows
  who wrote what; nobody needs an account anywhere. (Or an issue on GitHub: `findings_github`.)
- A file that cannot be read is an error, never a finding less.
- To close one says who did, when, and how; it is never deleted.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, Protocol, get_args

import yaml
from rich.console import Console as RichConsole
from rich.markdown import Markdown
from rich.table import Table as RichTable

from infra.revision import FINDINGS
from scripts.context import PROJECT, git_revision
from scripts.errors import UsageError, ZdmError

Severity = Literal["low", "medium", "high", "critical"]
SEVERITIES: Final[tuple[Severity, ...]] = get_args(Severity)
BLOCKING: Final = ("high", "critical")
ACCEPTABLE: Final = ("medium",)
"""Stand in the way of a promotion unless someone accepts them by name."""
_FRONT: Final = re.compile(r"\A---\n(.*?)\n---\n?(.*)\Z", re.DOTALL)


@dataclass(frozen=True)
class Finding:
    """What was found, in which stack and revision, by whom; `status` is open or closed. Times are ISO 8601, UTC."""

    id: str
    title: str
    severity: Severity
    stack: str
    revision: str
    found_by: str
    at: str
    status: Literal["open", "closed"] = "open"
    closed_by: str = ""
    closed_at: str = ""
    how: str = ""
    text: str = ""

    @property
    def open(self) -> bool:
        return self.status == "open"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def document(self) -> str:
        """As it is kept: front matter and Markdown."""
        front = {name: value for name, value in asdict(self).items() if name != "text" and value != ""}
        return f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---\n\n{self.text}".rstrip() + "\n"


def parse(document: str, origin: str) -> Finding:
    """Reads what `document` writes. Raises `ZdmError` that names the origin and what is wrong."""
    found = _FRONT.match(document.replace("\r\n", "\n"))
    try:
        front = yaml.safe_load(found[1]) if found else None
    except yaml.YAMLError as e:
        raise ZdmError(f"{origin} has front matter that is no YAML: {e}") from e
    if found is None or not isinstance(front, dict):
        raise ZdmError(f"{origin} is no finding: it must begin with front matter between two lines ---")
    fields = set(Finding.__dataclass_fields__) - {"text"}
    missing = [name for name in ("id", "title", "severity", "stack", "revision", "found_by", "at") if name not in front]
    wrong = [f"there is no field {name!r}" for name in sorted(set(front) - fields)]
    wrong += [f"{name} is missing" for name in missing]
    if front.get("severity") not in SEVERITIES:
        wrong.append(f"severity must be one of {', '.join(SEVERITIES)}, not {front.get('severity')!r}")
    if front.get("status", "open") not in ("open", "closed"):
        wrong.append(f"status must be open or closed, not {front['status']!r}")
    if front.get("status") == "closed" and not (front.get("closed_by") and front.get("how")):
        wrong.append("it is closed, but does not say by whom and how (closed_by, how)")
    if wrong:
        raise ZdmError(f"{origin}: {'; '.join(wrong)}")
    return Finding(**{name: _text(value) for name, value in front.items()}, text=found[2].strip())


def _text(value: Any) -> Any:
    """YAML makes times of what looks like one, and numbers of a revision of digits."""
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else str(value)


class Store(Protocol):
    """Where findings are kept."""

    @property
    def where(self) -> str: ...

    def all(self) -> list[Finding]: ...

    def add(self, finding: Finding) -> Finding: ...

    def close(self, finding: Finding) -> None:
        """Keeps a finding that is closed by now."""
        ...


@dataclass(frozen=True)
class Files:
    """Findings as files of the repository."""

    folder: Path = PROJECT / FINDINGS

    @property
    def where(self) -> str:
        return f"{self.folder.name}/"

    def all(self) -> list[Finding]:
        found = [self._read(path) for path in sorted(self.folder.glob("*.md")) if path.name != "README.md"]
        return sorted(found, key=lambda one: (one.at, one.id))

    def add(self, finding: Finding) -> Finding:
        self.folder.mkdir(exist_ok=True)
        with self._path(finding).open("x") as file:
            file.write(finding.document())
        return finding

    def close(self, finding: Finding) -> None:
        self._path(finding).write_text(finding.document())

    def _path(self, finding: Finding) -> Path:
        return self.folder / f"{finding.id}.md"

    def _read(self, path: Path) -> Finding:
        finding = parse(path.read_text(), f"{self.folder.name}/{path.name}")
        if finding.id != path.stem:
            raise ZdmError(f"{self.folder.name}/{path.name} has the id {finding.id}: its file must be named by its id")
        return finding


def store_of(kind: Literal["repository", "github"]) -> Store:
    from scripts.environments.findings_github import Issues

    return Issues() if kind == "github" else Files()


# --- the command ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Findings:
    """Findings that were asked for."""

    found: Sequence[Finding]
    where: str
    ok: bool = True

    def to_json(self) -> dict[str, Any]:
        return {"where": self.where, "findings": [finding.to_json() for finding in self.found]}

    def render(self, out: RichConsole) -> None:
        if not self.found:
            out.print(f"no findings in {self.where}", markup=False)
            return
        table = RichTable("id", "severity", "stack", "status", "title", box=None, pad_edge=False)
        for one in self.found:
            table.add_row(one.id, one.severity, one.stack, one.status, one.title)
        out.print(table, markup=False)


@dataclass(frozen=True)
class OneFinding:
    """One finding, in full. `done` says what became of it."""

    finding: Finding
    where: str
    done: str = ""
    ok: bool = True

    def to_json(self) -> dict[str, Any]:
        return self.finding.to_json()

    def render(self, out: RichConsole) -> None:
        one = self.finding
        out.print(f"{one.id}  {one.severity}  {one.title}", markup=False)
        out.print(f"found in {one.stack}, revision {one.revision}, by {one.found_by}, {one.at}", markup=False)
        if not one.open:
            out.print(f"closed by {one.closed_by}, {one.closed_at}: {one.how}", markup=False)
        if one.text:
            out.print(Markdown(one.text))
        if self.done:
            out.print(f"{self.done} in {self.where}", markup=False)


def add(
    store: Store, stack: str, title: str, *, severity: str, found_by: str, text: str = "", revision: str = ""
) -> OneFinding:
    """Notes a finding. Raises `UsageError` for a severity that there is not, or without a title or a name."""
    chosen = next((one for one in SEVERITIES if one == severity), None)
    if chosen is None:
        raise UsageError(f"--severity must be one of {', '.join(SEVERITIES)}, not {severity!r}")
    if not title.strip() or not found_by.strip():
        raise UsageError("a finding needs a title, and who found it (--by NAME)")
    now = datetime.now(UTC)
    finding = Finding(
        f"{now:%Y%m%d}-{uuid.uuid4().hex[:6]}",
        " ".join(title.split()),
        chosen,
        stack,
        revision or git_revision(),
        found_by.strip(),
        f"{now:%Y-%m-%dT%H:%M:%SZ}",
        text=text.strip(),
    )
    return OneFinding(store.add(finding), store.where, "noted")


def show_all(store: Store, *, everything: bool = False, stack: str = "") -> Findings:
    """The open ones, or all."""
    found = [one for one in store.all() if (everything or one.open) and (not stack or one.stack == stack)]
    return Findings(found, store.where)


def show(store: Store, name: str) -> OneFinding:
    return OneFinding(find(store, name), store.where)


def close(store: Store, name: str, *, by: str, how: str) -> OneFinding:
    """Closes a finding. Raises `UsageError` for one that there is not, or that is closed."""
    finding = find(store, name)
    if not finding.open:
        raise UsageError(f"{name} is closed already, by {finding.closed_by}, {finding.closed_at}")
    if not by.strip() or not how.strip():
        raise UsageError("to close a finding, say who does (--by NAME) and how it was dealt with (--how TEXT)")
    at = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    closed = replace(finding, status="closed", closed_by=by.strip(), closed_at=at, how=how.strip())
    store.close(closed)
    return OneFinding(closed, store.where, "closed")


def find(store: Store, name: str) -> Finding:
    for finding in store.all():
        if finding.id == name:
            return finding
    raise UsageError(f"there is no finding {name} in {store.where}: ./zdm findings list --all")
