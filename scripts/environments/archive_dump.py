"""Writes the rows of MySQL's tables into the archive, object by object; killed, it goes on at the last whole object.

Invariants:
- Rows are read in read views (START TRANSACTION WITH CONSISTENT SNAPSHOT); the source is never locked. Several views
  are only used, and a former run is only gone on with, where they are known to be alike: the source is
  `super_read_only` and has the same GTIDs before and after.
- An object of rows is complete before the note beside it (`Chunk`) is written; what has no note is written again.
- Memory does not grow with the table: MySQL puts a few MiB of lines into one value, they are compressed into a file,
  and the file becomes an object when it is large enough.
- Rows that MySQL cannot put into one value (max_allowed_packet) are read one by one, with the same result.
"""

from __future__ import annotations

import gzip
import hashlib
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, Any, Final

import pymysql.converters
import pymysql.cursors
from pymysql.connections import Connection

from contract.archive import Chunk, DigestKind, Lock, StoredObject, chunk_key, dumped, load_chunk, table_folder
from contract.tables import Table, mysql_name
from contract.types import Choices, carried
from scripts.clients.archive_store import ArchiveStore
from scripts.context import Context
from scripts.data.check_hash import CUT_OFF, mysql_hash
from scripts.data.check_method import in_ranges
from scripts.data.keyset import Bounds, mysql_condition
from scripts.data.rules import Rules
from scripts.data.throttle import MAX_RUNNING, Throttle
from scripts.environments.archive_format import digested, line_of, line_sql, value_sql
from scripts.errors import ZdmError

LEVEL: Final = 4
"""Of gzip: half the time of its default for a few percent more bytes."""
MODULUS: Final = 1 << 256

_BYTES_ONLY: Final = {kind: f for kind, f in pymysql.converters.conversions.items() if not isinstance(kind, int)}
"""How values are sent; what is received stays as it came."""


@dataclass(frozen=True)
class Limits:
    """How large things are."""

    workers: int = 4
    """Connections to a fenced source."""
    max_running: int = MAX_RUNNING
    range_bytes: int = 1 << 30
    """Of the rows of a range, by MySQL's estimate."""
    piece_bytes: int = 4 << 20
    """Of the rows of one query, by the table's average."""
    object_bytes: int = 64 << 20
    """Of an object, compressed: it is closed once it has so many."""


USUAL: Final = Limits()


@dataclass(frozen=True)
class Subject:
    """A table to be archived. `keyed`: it can be read in ranges of its key."""

    table: Table
    rules: Rules
    undigested: list[str]
    keyed: bool

    @staticmethod
    def of(table: Table, choices: Choices) -> Subject:
        rules, undigested = digested(table, choices)
        return Subject(table, rules, undigested, bool(rules.key) and in_ranges(rules))

    @property
    def digest_kind(self) -> DigestKind:
        """Equal rows would cancel each other: only where the key is in the digest there are none."""
        return "xor" if self.rules.key else "sum"

    @property
    def hash_sql(self) -> str:
        return mysql_hash(self.rules)

    def piece_rows(self, limits: Limits) -> int:
        average = max(self.table.size // max(self.table.rows, 1), 1)
        return max(1, min(20_000, limits.piece_bytes // average))


@dataclass
class Digest:
    """Of rows in any order."""

    kind: str
    rows: int = 0
    value: int = 0

    def add(self, rows: int, digest: int) -> None:
        self.rows += rows
        self.value = self.value ^ digest if self.kind == "xor" else (self.value + digest) % MODULUS

    @property
    def text(self) -> str:
        return f"{self.value:064x}"


@dataclass(frozen=True)
class Task:
    """One range of one table, and its objects that are complete already, in their order."""

    subject: Subject
    part: int
    bounds: Bounds
    there: tuple[Chunk, ...] = ()

    @property
    def ended(self) -> bool:
        return bool(self.there) and self.there[-1].upto is None


class _Hashing:
    """A file that knows the SHA-256 of what was written to it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.sha, self.size = file, hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        self.sha.update(data)
        self.size += len(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


@dataclass
class Dump:
    """What all workers of one archive share. `done` is told of each complete object."""

    context: Context
    store: ArchiveStore
    archive: str
    lock: Lock | None
    done: Callable[[Task, Chunk], None]
    throttle: Throttle
    limits: Limits = USUAL
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self, tasks: Sequence[Task], connections: Sequence[Connection[Any]]) -> None:
        """Works off the tasks, each connection in a thread of its own. Raises the first error of any."""
        waiting, errors, mutex = list(reversed(tasks)), [], threading.Lock()

        def work(my: Connection[Any]) -> None:
            while not self.stop.is_set():
                with mutex:
                    if not waiting:
                        return
                    task = waiting.pop()
                try:
                    for chunk in self._chunks(my, task):
                        self.done(task, chunk)
                        if self.stop.is_set():
                            return
                except Exception as e:
                    errors.append(e)
                    self.stop.set()

        threads = [threading.Thread(target=work, args=(my,), daemon=True) for my in connections]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        except BaseException:
            self.stop.set()
            raise
        if errors:
            raise errors[0]

    # --- one range --------------------------------------------------------------------------------------------------

    def _chunks(self, my: Connection[Any], task: Task) -> Iterator[Chunk]:
        """The objects of a range that are still to be written, after those that are there."""
        if task.ended:
            return
        if not task.subject.keyed:
            yield from self._whole(my, task)
            return
        after = tuple(task.there[-1].upto or ()) if task.there else task.bounds.after
        number, size = len(task.there), task.subject.piece_rows(self.limits)
        while True:
            with _File(self) as file:
                digest, upto = Digest(task.subject.digest_kind), after
                while file.size < self.limits.object_bytes:
                    after = upto
                    upto = _key_at(my, task.subject, Bounds(after, task.bounds.upto), size)
                    _piece(my, task.subject, Bounds(after, upto or task.bounds.upto), file, digest)
                    self.throttle.pause(my, 0, self.stop)
                    if upto is None:
                        break
                yield file.stored(task, number, digest, upto)
            if upto is None:
                return
            after, number = upto, number + 1

    def _whole(self, my: Connection[Any], task: Task) -> Iterator[Chunk]:
        """A table that has no order to go on in: in one read, from its begin."""
        rows, number, ended = _rows(my, task.subject, "TRUE"), 0, False
        while not ended:
            with _File(self) as file:
                digest, ended = Digest(task.subject.digest_kind), True
                for line, value in rows:
                    file.write(line + b"\n")
                    digest.add(1, value)
                    if file.size >= self.limits.object_bytes:
                        ended = False
                        break
                yield file.stored(task, number, digest, None if ended else ())
            number += 1


class _File:
    """An object under way: lines are compressed into a file on disk."""

    def __init__(self, dump: Dump) -> None:
        self._dump = dump

    def __enter__(self) -> _File:
        self._file = tempfile.TemporaryFile()
        self._hashing = _Hashing(self._file)
        self._gzip = gzip.GzipFile("", "wb", LEVEL, self._hashing, mtime=0)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def size(self) -> int:
        return self._hashing.size

    def write(self, lines: bytes) -> None:
        self._gzip.write(lines)

    def stored(self, task: Task, number: int, digest: Digest, upto: Sequence[str] | None) -> Chunk:
        """Makes it an object of the archive, then the note beside it."""
        self._gzip.close()
        self._file.seek(0)
        dump, name = self._dump, chunk_key(self._dump.archive, task.subject.table.name, task.part, number)
        key, sha256 = f"{name}.tsv.gz", self._hashing.sha.hexdigest()
        version = dump.store.put(key, self._file, sha256, dump.lock)
        stored = StoredObject(
            key=key, size=self.size, sha256=sha256, rows=digest.rows, digest=digest.text, version=version
        )
        chunk = Chunk(object=stored, upto=None if upto is None else list(upto))
        note = dumped(chunk)
        dump.store.put(f"{name}.json", note, hashlib.sha256(note).hexdigest(), dump.lock)
        return chunk


def complete_objects(store: ArchiveStore, archive: str, table: str) -> dict[int, tuple[Chunk, ...]]:
    """The complete objects of a table, by range, in their order."""
    found: dict[int, list[Chunk]] = {}
    prefix = table_folder(archive, table)
    for key, _ in store.keys(prefix):
        name, _, ending = key.removeprefix(prefix).partition(".")
        if ending == "json":
            found.setdefault(int(name.partition("-")[0]), []).append(load_chunk(store.read(key), key))
    return {part: tuple(chunks) for part, chunks in found.items()}


# --- what MySQL is asked ----------------------------------------------------------------------------------------------


def read_view(context: Context) -> Connection[Any]:
    """A session with a read view of its own, whose values stay as MySQL sends them. It locks nothing."""
    my = context.mysql(conv=_BYTES_ONLY, use_unicode=False, autocommit=False)
    with my.cursor() as cursor:
        cursor.execute(
            f"SET SESSION transaction_isolation = 'REPEATABLE-READ', sql_mode = '', max_execution_time = 0, "
            f"group_concat_max_len = {1 << 30}, net_write_timeout = 3600"
        )
        cursor.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
    return my


def _source(subject: Subject, bounds: Bounds) -> str:
    return f"{mysql_name(subject.table.name)} FORCE INDEX (PRIMARY) WHERE {mysql_condition(subject.rules, bounds)}"


def _key_at(my: Connection[Any], subject: Subject, bounds: Bounds, size: int) -> tuple[str, ...] | None:
    """The key of the row at `size` within `bounds`; None when there are not so many."""
    key = subject.rules.key
    texts = ", ".join(rule.mysql_text.format(mysql_name(column.name)) for column, rule in key)
    names = ", ".join(mysql_name(column.name) for column, _ in key)
    with my.cursor() as cursor:
        cursor.execute(f"SELECT {texts} FROM {_source(subject, bounds)} ORDER BY {names} LIMIT 1 OFFSET {size - 1}")
        row = cursor.fetchone()
    return None if row is None else tuple(text.decode("utf-8", "surrogateescape") for text in row)


def _piece(my: Connection[Any], subject: Subject, bounds: Bounds, file: _File, digest: Digest) -> None:
    """The rows within `bounds`, as lines, in one value that MySQL makes."""
    with my.cursor() as cursor:
        cursor.execute(
            "SELECT COUNT(*), COUNT(l), COUNT(h), LOWER(HEX(BIT_XOR(UNHEX(h)))), "
            f"GROUP_CONCAT(l SEPARATOR '\\n') FROM (SELECT {line_sql(subject.table.columns)} AS l, "
            f"{subject.hash_sql} AS h FROM {_source(subject, bounds)}) r"
        )
        rows, lines, hashes, value, text = cursor.fetchone() or (b"0", b"0", b"0", b"0", None)
        cursor.execute("SHOW WARNINGS")
        cut = {int(code) for _, code, _ in cursor.fetchall()} & CUT_OFF.keys()
    if cut or not rows == lines == hashes or (text is None and rows != b"0"):
        for line, number in _rows(my, subject, mysql_condition(subject.rules, bounds)):
            file.write(line + b"\n")
            digest.add(1, number)
    elif text is not None:
        file.write(text + b"\n")
        digest.add(int(rows), int(value, 16))


def _rows(my: Connection[Any], subject: Subject, condition: str) -> Iterator[tuple[bytes, int]]:
    """Rows one by one: the line and the hash of each."""
    values = [value_sql(column) for column in carried(subject.table.columns)]
    with my.cursor(pymysql.cursors.SSCursor) as cursor:
        cursor.execute(
            f"SELECT {', '.join([subject.hash_sql, *values])} FROM {mysql_name(subject.table.name)} WHERE {condition}"
        )
        for digest, *row in cursor:
            if digest is None:
                raise ZdmError(
                    f"MySQL cannot hash a row of {subject.table.name}: it is larger than its {CUT_OFF[1301]}; raise it "
                    "in the parameter group"
                )
            yield line_of(row), int(digest, 16)
