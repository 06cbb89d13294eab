"""What an archive of the source is made of, and where in the bucket its objects lie (pure).

Invariants:
- Everything of one archive is under `archive/<id>/`; its manifest is written last, so an archive without one is
  incomplete.
- A manifest says all that is needed to read the archive without this project: formats, statements, columns, types.
- A manifest of another `version` is refused, instead of being guessed at.

A data subject's rows are found from the manifests alone: `Manifest.tables` says which tables an archive has, with the
class of each column where that is known, and `lock` until when nothing of it can be deleted.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

M = TypeVar("M", bound=BaseModel)

VERSION: Final = 1
PREFIX: Final = "archive/"
MANIFEST, PLAN, SCHEMA = "manifest.json", "plan.json", "schema.sql"

TSV: Final = (
    "tab separated, one row a line, UTF-8, compressed by gzip: what MySQL's LOAD DATA reads by default. NULL is \\N; "
    "a backslash, a tab and a line feed within a value are escaped by a backslash. Binary and spatial values are "
    "hexadecimal, BIT is a number, times are UTC. `load` of each table is the statement for one of its files"
)
PARQUET: Final = "Apache Parquet, compressed by gzip, as RDS exports snapshots"

Format = Literal["tsv", "parquet"]
LockMode = Literal["GOVERNANCE", "COMPLIANCE"]


class ArchiveError(ValueError):
    """A document of an archive is not what this version understands."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class Lock(_Model):
    """Until when no object of the archive can be deleted or overwritten."""

    mode: LockMode
    until: datetime


class StoredObject(_Model):
    """One object of the bucket. `sha256` is of its bytes as stored."""

    key: str
    size: int
    sha256: str
    rows: int = 0
    digest: str = ""
    """Of its rows (`Digest`); empty where there is none."""
    version: str = ""
    """Version of the object in the bucket."""


class ArchivedColumn(_Model):
    name: str
    type: str
    """As declared in MySQL."""
    carried: bool = True
    """Whether its values are in the files; generated columns are not: MySQL computes them again."""
    data_class: str | None = None
    """Its class (personal, card, ...), where that was known when the archive was taken."""


DigestKind = Literal["xor", "sum", "none"]
"""How the SHA-256 of the rows are put together: by exclusive or; as a sum modulo 2**256 (tables without a key, whose
rows may be equal); not at all (exports of RDS)."""


class ArchivedTable(_Model):
    name: str
    rows: int
    digest_kind: DigestKind
    digest: str = ""
    """Of all rows: of each the SHA-256 that `./zdm data-check --method hash` computes in either database."""
    undigested: list[str] = []
    """Columns that the digest does not cover, as the type contract has no rule for them."""
    ddl: str
    load: str = ""
    columns: list[ArchivedColumn]
    objects: list[StoredObject]


class Manifest(_Model):
    """All about one archive."""

    version: Literal[1] = 1
    id: str
    stack: str
    database: str
    kind: Literal["dump", "export"]
    format: Format
    format_note: str
    server: str
    """Version of the MySQL that it is from."""
    gtid: str
    """All of these transactions are in the archive ..."""
    gtid_upto: str = ""
    """... and none but these. The same, when the source was fenced."""
    fenced: bool
    """Whether nobody could write to the source meanwhile."""
    started: datetime
    finished: datetime
    key_arn: str
    """Key that encrypts the objects."""
    lock: Lock | None
    code: StoredObject | None = None
    """Everything that the database has besides rows, as SQL: tables, views, triggers, routines, events."""
    snapshot: str = ""
    """Snapshot that was exported."""
    tables: list[ArchivedTable]

    @property
    def rows(self) -> int:
        return sum(table.rows for table in self.tables)

    @property
    def objects(self) -> list[StoredObject]:
        return [*([self.code] if self.code else []), *(o for table in self.tables for o in table.objects)]

    @property
    def size(self) -> int:
        return sum(stored.size for stored in self.objects)

    def table(self, name: str) -> ArchivedTable | None:
        return next((table for table in self.tables if table.name == name), None)


class PlannedTable(_Model):
    name: str
    ranges: list[tuple[list[str] | None, list[str] | None]]
    """Of the primary key: what each worker takes, `after` < key <= `upto`; one open range where there is no key."""


class Plan(_Model):
    """What an archive was begun with: to go on, everything must still be so."""

    version: Literal[1] = 1
    id: str
    stack: str
    database: str
    server_id: str
    """The server's UUID."""
    gtid: str
    fenced: bool
    schema_digest: str
    started: datetime
    lock: Lock | None
    tables: list[PlannedTable] = Field(default_factory=list)


class Chunk(_Model):
    """What is said beside each object of rows, once that object is complete."""

    object: StoredObject
    upto: list[str] | None = None
    """Key of its last row; None: nothing of the range comes after it."""


def folder(archive: str) -> str:
    return f"{PREFIX}{archive}/"


def manifest_key(archive: str) -> str:
    return f"{folder(archive)}{MANIFEST}"


def plan_key(archive: str) -> str:
    return f"{folder(archive)}{PLAN}"


def table_folder(archive: str, table: str) -> str:
    return f"{folder(archive)}data/{quote(table, safe='')}/"


def chunk_key(archive: str, table: str, part: int, number: int) -> str:
    """The object of rows `number` of range `part`, without its ending."""
    return f"{table_folder(archive, table)}{part:04d}-{number:06d}"


def load_manifest(text: str | bytes, origin: str) -> Manifest:
    """Raises `ArchiveError`; `origin` names the manifest in it."""
    return _loaded(Manifest, text, origin)


def load_plan(text: str | bytes, origin: str) -> Plan:
    return _loaded(Plan, text, origin)


def load_chunk(text: str | bytes, origin: str) -> Chunk:
    return _loaded(Chunk, text, origin)


def dumped(document: BaseModel) -> bytes:
    return document.model_dump_json(by_alias=True, indent=1).encode() + b"\n"


def _loaded(kind: type[M], text: str | bytes, origin: str) -> M:
    try:
        return kind.model_validate_json(text)
    except ValidationError as e:
        first = e.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ArchiveError(f"{origin} is not understood: {where}: {first['msg']}") from e
