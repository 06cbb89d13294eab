"""Loads mysqldump files into the source.

The files are read as the `mysql` client reads them (DELIMITER, quotes, comments, `/*!50705 ... */`), statement by
statement, with no client program. Everything goes into the stack's database, whatever the files call theirs: CREATE,
DROP and USE of a database are not executed, and names qualified with the files' database are made to mean the stack's.
Statements that would hide the load from the binlog (SQL_LOG_BIN, GTID_PURGED) are not executed either.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import TextIOWrapper
from pathlib import Path
from typing import IO, Any

import pymysql

from contract.tables import mysql_name
from scripts.context import Context
from scripts.data.inspect import mysql_tables
from scripts.errors import UsageError, ZdmError


@dataclass(frozen=True, slots=True)
class Statement:
    """`line` is where it starts, from 1."""

    text: str
    line: int


@dataclass
class LoadResult:
    database: str
    statements: int = 0
    skipped: int = 0
    """Statements about databases and the binlog."""
    tables: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return True

    def to_json(self) -> dict[str, Any]:
        return {
            "database": self.database,
            "statements": self.statements,
            "skipped": self.skipped,
            "tables": self.tables,
        }


def load(
    context: Context,
    files: Sequence[Path],
    *,
    progress: Callable[[float, float, str], None] | None = None,
) -> LoadResult:
    """Loads the files, in order, into the stack's database. `progress` is told MiB done, MiB in all, and the unit.
    Raises `UsageError` when it has tables already, or a file cannot be read; `ZdmError` with file and line when a
    statement fails."""
    database = context.outputs.database
    result = LoadResult(database)
    if missing := [str(path) for path in files if not path.is_file()]:
        raise UsageError(f"--dump: no such file: {', '.join(missing)}")
    with context.mysql(database=None) as my:
        with my.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE IF NOT EXISTS {mysql_name(database)} CHARACTER SET utf8mb4")
        my.select_db(database)
        if there := [table.name for table in mysql_tables(my, database)]:
            raise UsageError(
                f"the source database {database} has tables already ({', '.join(there[:5])}, ...): "
                "a dump is loaded into an empty one"
            )
        retarget = Retarget(database)
        total = sum(path.stat().st_size for path in files)
        before = 0
        for path in files:
            with _open(path) as (text, raw):
                for statement in split(text):
                    sql = retarget(statement.text)
                    if sql is None:
                        result.skipped += 1
                        continue
                    try:
                        with my.cursor() as cursor:
                            cursor.execute(sql.encode("utf-8", "surrogateescape"))
                            while cursor.nextset():
                                pass
                    except pymysql.MySQLError as e:
                        raise ZdmError(
                            f"{path}, line {statement.line}: MySQL refuses the statement: {e.args[-1]}\n  {_head(sql)}"
                        ) from e
                    result.statements += 1
                    if progress is not None:
                        progress((before + raw.tell()) / 2**20, total / 2**20, "MiB")
            before += path.stat().st_size
        my.commit()
        result.tables = [table.name for table in mysql_tables(my, database)]
    return result


class Retarget:
    """Makes a dump's statements mean one given database. Called with a statement, it returns it as it must be executed,
    or None where it must not."""

    def __init__(self, database: str) -> None:
        self.database = database
        self.theirs: set[str] = set()
        """What the dump calls its database."""

    def __call__(self, sql: str) -> str | None:
        bare = _without_comments(sql[:400])
        if (named := _DATABASE.match(bare)) is not None:
            name = (named["quoted"] or "").replace("``", "`") or named["plain"]
            if not named["drop"]:
                self.theirs.add(name)
                if len(self.theirs) > 1:
                    raise UsageError(
                        f"the dump is of more than one database ({', '.join(sorted(self.theirs))}): make one of each"
                    )
            return None
        if _HIDING.match(bare):
            return None
        if not _DEFINING.match(bare):
            return sql
        sql = _DEFINER.sub("", sql)
        for name in self.theirs - {self.database}:
            sql = _requalified(sql, name, self.database)
        return sql


_DATABASE = re.compile(
    r"(?is)\s*(?:(?:create|(?P<drop>drop))\s+(?:database|schema)\s+(?:if\s+(?:not\s+)?exists\s+)?|use\s+)"
    r"(?:`(?P<quoted>(?:[^`]|``)+)`|(?P<plain>[^\s;`]+))"
)
_HIDING = re.compile(r"(?is)\s*set\s.*(?:sql_log_bin|gtid_purged)")
_DEFINING = re.compile(r"(?is)\s*(?:create|alter)\s")
_DEFINER = re.compile(r"(?i)\bDEFINER\s*=\s*(?:`[^`]*`|'[^']*'|[\w.%]+)\s*@\s*(?:`[^`]*`|'[^']*'|[\w.%]+)")
_STRING = re.compile(r"'(?:[^'\\]|\\.|'')*'|\"(?:[^\"\\]|\\.|\"\")*\"", re.DOTALL)


def _requalified(sql: str, theirs: str, ours: str) -> str:
    """`theirs.name` becomes `ours.name`, outside of strings."""
    qualified = re.compile(rf"(?:`{re.escape(theirs)}`|(?<![\w`.@$]){re.escape(theirs)})(?=\s*\.\s*[`\w])")
    out, position = [], 0
    for string in _STRING.finditer(sql):
        out += [qualified.sub(lambda _: mysql_name(ours), sql[position : string.start()]), string[0]]
        position = string.end()
    out.append(qualified.sub(lambda _: mysql_name(ours), sql[position:]))
    return "".join(out)


def _without_comments(sql: str) -> str:
    """A statement's beginning as the server understands it: what is inside `/*!nnnnn ... */` counts."""
    sql = re.sub(r"(?m)^\s*(?:--(?=\s|$)|#).*$", "", sql)
    sql = re.sub(r"(?s)/\*(?!!).*?\*/", " ", sql)
    return re.sub(r"/\*!\d*|\*/", " ", sql)


_DELIMITER = re.compile(r"(?i)\s*delimiter\s+(\S+)")
_IN_QUOTES = {"'": re.compile(r"\\.|'", re.DOTALL), '"': re.compile(r'\\.|"', re.DOTALL), "`": re.compile("`")}
_COMMENT_END = re.compile(r"\*/")


def split(lines: Iterable[str]) -> Iterator[Statement]:
    """The statements of a dump, without their delimiters. Statements of nothing but comments are left out."""
    delimiter = ";"
    plain = _plain_tokens(delimiter)
    text: list[str] = []
    start, content = 1, False
    state = ""  # a quote, `/*` in a comment, or nothing
    inside = False  # of /*! ... */, where a delimiter means nothing
    for number, line in enumerate(lines, 1):
        if not state and not inside and not content and (command := _DELIMITER.match(line)) is not None:
            delimiter = command[1]
            plain = _plain_tokens(delimiter)
            text = []
            continue
        position = piece = 0
        while position < len(line):
            pattern = plain if not state else _COMMENT_END if state == "/*" else _IN_QUOTES[state]
            token = pattern.search(line, position)
            if not state and not content and line[position : token.start() if token else None].strip():
                content, start = True, number
            if token is None:
                break
            position = token.end()
            found = token[0]
            if state:
                if found in (state, "*/"):
                    state = ""
            elif found in ("--", "#"):
                break
            elif found == "/*":
                state = "/*"
            elif found == "/*!":
                inside = True
                if not content:
                    content, start = True, number
            elif found == "*/":
                inside = False
            elif found in _IN_QUOTES:
                state = found
                if not content:
                    content, start = True, number
            elif not inside:  # the delimiter
                text.append(line[piece : token.start()])
                if content:
                    yield Statement("".join(text).strip(), start)
                text, content, piece = [], False, position
        text.append(line[piece:])
    if content:
        yield Statement("".join(text).strip(), start)


def _plain_tokens(delimiter: str) -> re.Pattern[str]:
    return re.compile(rf"['\"`]|/\*!|/\*|\*/|--(?=\s|$)|#|{re.escape(delimiter)}")


@contextmanager
def _open(path: Path) -> Iterator[tuple[Iterable[str], IO[bytes]]]:
    """A dump as text whose bytes survive unchanged, together with the raw file (for the progress)."""
    with path.open("rb") as raw:
        plain = gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw
        with TextIOWrapper(plain, encoding="utf-8", errors="surrogateescape", newline="\n") as text:
            yield text, raw


def _head(sql: str) -> str:
    line = " ".join(sql[:300].split())
    return line[:160] + ("…" if len(line) > 160 else "")
