"""What a survey has found, as data: for the page, the terminal, `--json`, and the commands that read it later."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from scripts.data.inspect import Obstacle
from scripts.errors import UsageError

VERSION: Final = 1
FILE: Final = "survey.json"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class Growth(_Model):
    """What comes in a day. `basis` says from what it is known."""

    rows_per_day: float
    bytes_per_day: float
    basis: str


class Heat(_Model):
    """Rows read and written since the server started, as performance_schema counts them."""

    reads: int
    writes: int


class Reading(_Model):
    """How much of a table was read for its values.

    `how`: `all` of it; a `sample` of ranges spread over the key; its `head` (no key to cut at); `none` (no column that
    can have trouble); `unread` (the source was busy, or an error: see `note`)."""

    how: Literal["all", "sample", "head", "none", "unread"] = "none"
    rows: int = 0
    of: int = 0
    """Rows there are: counted when all was read, else estimated."""
    ranges: int = 0
    seconds: float = 0.0
    note: str = ""

    @property
    def proven(self) -> bool:
        """Whether what was not found is not there (as of the time of reading)."""
        return self.how in ("all", "none")

    @property
    def share(self) -> float:
        return 1.0 if self.how == "all" else min(1.0, self.rows / self.of) if self.of else 0.0

    @property
    def text(self) -> str:
        """`all 1,200 rows`, `2 % of the rows (1,000)`, ..."""
        if self.how == "none":
            return "not read: nothing to scan"
        if self.how == "unread":
            return f"not read: {self.note}"
        if self.how == "all":
            return f"all {self.rows:,} rows"
        part = f"{percent(self.share)} of the rows ({self.rows:,})"
        return part if self.how == "sample" else f"{part}, from its beginning: {self.note}"


class Finding(_Model):
    """Values of one kind in one column or key. `rows` were seen among those read."""

    kind: str
    """`refused`, `noted`, `rounded`, `large`, `bytes`, `lost`, `mojibake`, `spaces`, `letters`, `reference`, `size`,
    `key size`, `collision`."""
    name: str
    """`table.column` or `table.key`."""
    rows: int
    meaning: str
    examples: list[str] = []
    """Primary keys of some of the rows."""


class TableFacts(_Model):
    name: str
    engine: str
    rows: int
    """Counted when all was read, else the server's estimate."""
    data_bytes: int
    index_bytes: int
    columns: int
    primary_key: list[str]
    keys: list[str]
    foreign_keys: list[str]
    triggers: list[str]
    partitions: int
    collation: str
    auto_increment: int | None = None
    growth: Growth | None = None
    heat: Heat | None = None
    reading: Reading = Reading()
    longest: dict[str, int] = {}
    """Bytes of the longest value seen in each LOB column."""
    widest_row: int | None = None
    """Bytes, where there are LOBs."""
    findings: list[Finding] = []

    @property
    def size(self) -> int:
        return self.data_bytes + self.index_bytes


class Setting(_Model):
    """A setting of the source. `wanted` is empty where any value will do."""

    name: str
    value: str
    wanted: str = ""
    ok: bool = True
    blocking: bool = False
    why: str = ""


class Privilege(_Model):
    """What an account needs, for what, and whether it has it (None: the account is not there yet)."""

    account: str
    privilege: str
    purpose: str
    held: bool | None


class LongTransaction(_Model):
    thread: int
    account: str
    seconds: int
    rows_changed: int


class Choice(_Model):
    """One column for a setting. One that is not `proven` comes from a sample: `survey --full`, or the schema's own
    scan, must confirm it."""

    column: str
    proven: bool
    reason: str


class Proposals(_Model):
    """Settings for `Pulumi.<stack>.yaml`."""

    tables: list[str]
    booleans: list[Choice] = []
    intervals: list[Choice] = []
    excluded_columns: list[str] = []

    @property
    def settings(self) -> dict[str, list[str]]:
        """As `cdc.` settings; those that would be empty are left out."""
        found = {
            "cdc.tables": self.tables,
            "cdc.booleans": [choice.column for choice in self.booleans],
            "cdc.intervals": [choice.column for choice in self.intervals],
            "cdc.excludedColumns": self.excluded_columns,
        }
        return {name: values for name, values in found.items() if values}


class Survey(_Model):
    """A source database as it was at a time. Load a kept one with `load`."""

    version: Literal[1] = VERSION
    database: str
    server: str
    at: datetime
    seconds: float
    sample: float
    """The share of a big table that was to be read; 1 is all."""
    paused_seconds: float = 0.0
    """How long the survey waited because the source was busy."""
    tables: list[TableFacts]
    objects: dict[str, list[str]] = {}
    """Views, procedures, functions and events by kind."""
    charsets: dict[str, int] = {}
    """Columns by collation."""
    settings: list[Setting] = []
    privileges: list[Privilege] = []
    transactions: list[LongTransaction] = []
    obstacles: list[Obstacle] = []
    proposals: Proposals
    unknown: list[str] = []
    """What could not be looked at, and why."""

    @property
    def blocking(self) -> list[Obstacle]:
        return [o for o in self.obstacles if o.blocking]

    @property
    def ok(self) -> bool:
        """Whether nothing stands in the way of the migration."""
        return not self.blocking

    @property
    def size(self) -> int:
        return sum(table.size for table in self.tables)

    @property
    def rows(self) -> int:
        return sum(table.rows for table in self.tables)

    @property
    def rows_read(self) -> int:
        return sum(table.reading.rows for table in self.tables)

    @property
    def grows(self) -> float:
        """Bytes a day, of the tables of which it is known."""
        return sum(table.growth.bytes_per_day for table in self.tables if table.growth)

    def to_json(self) -> dict[str, Any]:
        return self.model_dump(mode="json", by_alias=True)


def save(survey: Survey, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(survey.model_dump_json(by_alias=True, indent=1) + "\n")
    except OSError as e:
        raise UsageError(f"the survey cannot be written to {path}: {e.strerror}") from e


def load(path: Path) -> Survey:
    """A kept survey. Raises `UsageError` that names what does not fit."""
    try:
        return Survey.model_validate_json(path.read_text())
    except OSError as e:
        raise UsageError(f"{path}: {e.strerror}; `./zdm survey` makes it") from e
    except ValidationError as e:
        first = e.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise UsageError(
            f"{path} is no survey of version {VERSION} ({where}: {first['msg']}); make it again with `./zdm survey`"
        ) from e


def former(path: Path, database: str) -> Survey | None:
    """The survey kept before, of the same database; None where there is none that can be read."""
    try:
        survey = load(path)
    except UsageError:
        return None
    return survey if survey.database == database else None


def percent(share: float) -> str:
    """`100 %`, `12 %`, `0.3 %`."""
    return f"{share * 100:.0f} %" if share >= 0.1 or share == 0 else f"{share * 100:.1g} %"


def size_text(count: float) -> str:
    """`512 B`, `1.5 MB`, `8.0 TB` (powers of 1,000, as disks and prices are counted)."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 999.5:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 99.5 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
