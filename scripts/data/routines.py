"""What of the source holds code: views, triggers, procedures, functions and events, each with a verdict.

None of it is created on the target. A view is translated and tried (`views`); of the others it is said which constructs
stand in the way of a translation, which tables they touch, and what happens to each during the migration.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Literal

import psycopg
import pymysql.cursors
import sqlglot
from pymysql.connections import Connection
from sqlglot.dialects.mysql import MySQL
from sqlglot.tokenizer_core import Token, TokenType

from contract.tables import Table
from contract.types import NO_CHOICES, Choices
from scripts.data import views
from scripts.data.obstacle import Obstacle

Kind = Literal["view", "trigger", "procedure", "function", "event"]
Verdict = Literal["translates", "untried", "in the way"]

FATES: Final[dict[Kind, str]] = {
    "view": "not created on the target",
    "trigger": "not created on the target; until the cutover MySQL runs it and CDC carries what it writes, afterwards "
    "nothing does; on the way back MySQL would run it again for rows that carry its effect already",
    "procedure": "not created on the target; callers need another way from the cutover on",
    "function": "not created on the target; callers need another way from the cutover on",
    "event": "not created on the target, which has no scheduler of its own (pg_cron is an extension); it runs on MySQL "
    "until the cutover makes that read only",
}


@dataclass(frozen=True, slots=True)
class CodeObject:
    """`name` is `table.trigger` for a trigger. `lines` are those of its code, `constructs` what stands in the way."""

    kind: Kind
    name: str
    about: str
    """When a trigger or event fires, what a routine takes."""
    lines: int
    verdict: Verdict
    constructs: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """For a view that translates: what may mean something else."""
    sql: str = ""
    """For a view that translates: the statement that makes it on the target."""

    @property
    def fate(self) -> str:
        """What happens to it during the migration."""
        return FATES[self.kind]

    @property
    def reason(self) -> str:
        parts = [self.about] if self.about else []
        if self.verdict == "translates":
            parts.append("translates, and the target takes it (`./zdm schema --views FILE` writes it)")
        elif self.verdict == "untried":
            parts.append("translates by its text (`./zdm schema --views FILE` writes it once the target has taken it)")
        elif self.kind == "view":
            parts.append(f"does not translate: {', '.join(self.constructs)}")
        else:
            using = f" with {', '.join(self.constructs)}" if self.constructs else ""
            parts.append(f"{self.lines} lines of MySQL's code{using}")
        parts += [f"writes {', '.join(self.writes)}"] if self.writes else []
        parts += [f"reads {', '.join(self.reads)}"] if self.reads and self.kind != "view" else []
        parts += [f"note: {note}" for note in self.notes]
        return "; ".join(parts)

    @property
    def obstacle(self) -> Obstacle:
        return Obstacle(self.kind, self.name, self.reason, self.fate)

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "name": self.name,
            "about": self.about,
            "lines": self.lines,
            "verdict": self.verdict,
            "constructs": list(self.constructs),
            "reads": list(self.reads),
            "writes": list(self.writes),
            "notes": list(self.notes),
            "sql": self.sql,
            "fate": self.fate,
        }

    def __str__(self) -> str:
        return f"{self.kind} {self.name}: {self.reason}"


def read(
    connection: Connection[Any], database: str, tables: Sequence[Table], choices: Choices = NO_CHOICES
) -> list[CodeObject]:
    """The triggers of `tables`, and all views, routines and events of the database."""
    names = {table.name for table in tables}
    called = {
        row["name"].upper(): row["name"]
        for row in _rows(
            connection,
            "SELECT routine_name AS name FROM information_schema.routines WHERE routine_schema = %s",
            database,
        )
    }
    found = [
        _code("trigger", f"{row['tab']}.{row['name']}", f"{row['timing']} {row['what']}", row["body"], names, called)
        for row in _rows(
            connection,
            """
                SELECT trigger_name AS name, event_object_table AS tab, action_timing AS timing,
                       event_manipulation AS what, action_statement AS body
                FROM information_schema.triggers WHERE trigger_schema = %s ORDER BY 1""",
            database,
        )
        if row["tab"] in names
    ]
    for row in _rows(
        connection,
        """
            SELECT table_name AS name, view_definition AS body, security_type AS security, check_option AS checks
            FROM information_schema.views WHERE table_schema = %s ORDER BY 1""",
        database,
    ):
        translation = views.translate(
            row["name"],
            row["body"],
            database,
            tables,
            choices,
            invoker=row["security"] == "INVOKER",
            check_option=row["checks"],
        )
        found.append(
            CodeObject(
                "view",
                row["name"],
                "",
                _lines(row["body"]),
                "untried" if translation.sql else "in the way",
                (translation.problem,) if translation.problem else (),
                reads=translation.tables,
                notes=translation.notes,
                sql=translation.sql,
            )
        )
    for row in _rows(
        connection,
        """
            SELECT r.routine_name AS name, r.routine_type AS kind, r.routine_definition AS body,
                   r.dtd_identifier AS returns,
                   (SELECT GROUP_CONCAT(CONCAT_WS(' ', p.parameter_mode, p.parameter_name, p.dtd_identifier)
                                        ORDER BY p.ordinal_position SEPARATOR ', ')
                    FROM information_schema.parameters p
                    WHERE p.specific_schema = r.routine_schema AND p.specific_name = r.specific_name
                    AND p.routine_type = r.routine_type AND p.ordinal_position > 0) AS parameters
            FROM information_schema.routines r WHERE r.routine_schema = %s ORDER BY 2, 1""",
        database,
    ):
        about = f"({row['parameters'] or ''})" + (f" returns {row['returns']}" if row["returns"] else "")
        kind: Kind = "procedure" if row["kind"] == "PROCEDURE" else "function"
        found.append(_code(kind, row["name"], about, row["body"], names, called))
    for row in _rows(
        connection,
        """
            SELECT event_name AS name, event_definition AS body, status AS status,
                   COALESCE(CONCAT('every ', interval_value, ' ', interval_field), CONCAT('at ', execute_at)) AS moment
            FROM information_schema.events WHERE event_schema = %s ORDER BY 1""",
        database,
    ):
        found.append(
            _code("event", row["name"], f"{row['moment']}, {row['status'].lower()}", row["body"], names, called)
        )
    return found


def try_views(pg: psycopg.Connection[Any], code: Sequence[CodeObject], tables: Sequence[Table]) -> list[CodeObject]:
    """The same, with what the target says of the views: those that it takes come in an order to make them in."""
    sql = {item.name: item.sql for item in code if item.kind == "view" and item.sql}
    made, problems = views.try_on_target(pg, sql, [table.name for table in tables])
    by_name = {item.name: item for item in code if item.kind == "view"}
    tried = [replace(by_name[name], verdict="translates") for name in made]
    for name, problem in problems.items():
        if problem.startswith("not tried"):
            tried.append(replace(by_name[name], notes=(*by_name[name].notes, problem)))
        else:
            tried.append(replace(by_name[name], verdict="in the way", constructs=(problem,)))
    untouched = [item for item in code if item.kind != "view" or not item.sql]
    return sorted([*untouched, *tried], key=lambda item: item.kind != "trigger")


def write_views(file: Path, code: Sequence[CodeObject]) -> None:
    """The views that the target takes as SQL; the others as comments that say what stands in the way."""
    out = ["-- Views of the source in PostgreSQL's SQL, in an order in which they can be made."]
    for item in code:
        if item.kind != "view":
            continue
        out.append("")
        if item.verdict == "translates":
            out += [f"-- {note}" for note in item.notes]
            out.append(f"{item.sql};")
        else:
            out.append(f"-- {item.name}: {' '.join(item.reason.split())}")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(out) + "\n")


# --- Code -------------------------------------------------------------------------------------------------------------

_CONSTRUCTS: Final = (
    (r"(RE)?SIGNAL", "SIGNAL"),
    (r"CURSOR FOR", "a cursor"),
    (r"HANDLER FOR", "a condition handler"),
    (r"GET (CURRENT |STACKED )?DIAGNOSTICS", "GET DIAGNOSTICS"),
    (r"PREPARE|EXECUTE", "dynamic SQL"),
    (r"(LOOP|WHILE|REPEAT|ITERATE|LEAVE)", "loops"),
    (r"@ @", "system variables (@@x)"),
    (r"(?<!@ )@ \w+", "user variables (@x)"),
    (r"LAST_INSERT_ID \(", "LAST_INSERT_ID()"),
    (r"(FOUND_ROWS|ROW_COUNT) \(", "FOUND_ROWS() or ROW_COUNT()"),
    (r"(NOW|SYSDATE|CURDATE|CURTIME) \(|CURRENT_(TIMESTAMP|DATE|TIME)", "the time of MySQL's session"),
    (r"(UUID|RAND|CONNECTION_ID|SLEEP|GET_LOCK|RELEASE_LOCK) \(", "functions of the server's state"),
    (r"TEMPORARY TABLE", "temporary tables"),
    (r"(CREATE|ALTER|DROP|TRUNCATE) (TABLE|INDEX|VIEW)", "DDL"),
    (r"LOAD DATA|OUTFILE", "files"),
    (r"START TRANSACTION|COMMIT|ROLLBACK|SAVEPOINT", "transactions of its own"),
    (r"LOCK TABLES?", "locks"),
    (r"ON DUPLICATE KEY UPDATE", "ON DUPLICATE KEY UPDATE"),
    (r"REPLACE INTO", "REPLACE INTO"),
    (r"(INSERT|UPDATE|DELETE) IGNORE", "IGNORE"),
    (r"GROUP_CONCAT \(", "GROUP_CONCAT()"),
    (r"IF .*? THEN|CASE", "conditions"),
)
"""Patterns over the code's words (one space between two), and what they are."""


_FUNCTIONS: Final = frozenset({
    "ADDDATE", "ADDTIME", "BIN", "CONV", "CONVERT_TZ", "CRC32", "DATEDIFF", "DATE_ADD", "DATE_FORMAT", "DATE_SUB",
    "DAYNAME", "DAYOFMONTH", "DAYOFWEEK", "DAYOFYEAR", "ELT", "FIELD", "FIND_IN_SET", "FORMAT", "FROM_DAYS",
    "FROM_UNIXTIME", "HEX", "IFNULL", "INET_ATON", "INET_NTOA", "INSERT", "INSTR", "ISNULL", "JSON_ARRAY",
    "JSON_CONTAINS", "JSON_EXTRACT", "JSON_OBJECT", "JSON_SET", "JSON_UNQUOTE", "LAST_DAY", "LOCATE", "MAKEDATE",
    "MONTHNAME", "PERIOD_DIFF", "REGEXP_LIKE", "SHA1", "SHA2", "STR_TO_DATE", "SUBDATE", "SUBSTRING_INDEX",
    "TIMESTAMPADD", "TIMESTAMPDIFF", "TIME_FORMAT", "TIME_TO_SEC", "TO_DAYS", "UNHEX", "UNIX_TIMESTAMP", "WEEK",
    "YEARWEEK",
})  # fmt: skip
"""Functions that PostgreSQL does not have, or has under another name."""


def _code(
    kind: Kind, name: str, about: str, body: str | None, tables: set[str], routines: Mapping[str, str]
) -> CodeObject:
    """What an object's code tells. `routines` are the names of the database's own ones, by their upper case."""
    if body is None:
        return CodeObject(kind, name, about, 0, "in the way", ("a definition that this account may not read",))
    tokens = _tokens(body)
    words = " ".join("''" if t.token_type == TokenType.STRING else t.text.upper() for t in tokens)
    constructs = [what for pattern, what in _CONSTRUCTS if re.search(rf"(?<!\w)(?:{pattern})(?!\w)", words)]
    functions = {a.text.upper() for a, b in pairwise(tokens) if b.text == "("}
    if own := functions & routines.keys():
        constructs.append(f"calls of {', '.join(sorted(routines[function] for function in own))}")
    if theirs := functions & _FUNCTIONS:
        constructs.append(f"MySQL's {', '.join(sorted(theirs))}")
    if kind == "procedure" and _returns_rows(tokens):
        constructs.append("rows returned to the caller")
    reads, writes = _touched(tokens, tables)
    return CodeObject(kind, name, about, _lines(body), "in the way", tuple(constructs), reads, writes)


def _tokens(body: str) -> list[Token]:
    """The code's words. sqlglot leaves what follows some statements' first word (CALL, REPLACE, ...) in one piece."""
    try:
        tokens = list(sqlglot.tokenize(body, read="mysql"))
    except sqlglot.errors.SqlglotError:
        return []
    out: list[Token] = []
    for before, token in pairwise([None, *tokens]):
        whole = before is not None and before.token_type in MySQL.Tokenizer.COMMANDS
        if token is not None:
            out += _tokens(token.text) if whole and token.token_type == TokenType.STRING else [token]
    return out


def _lines(body: str | None) -> int:
    return len((body or "").strip().splitlines())


_OPENERS: Final = (";", "BEGIN", "THEN", "ELSE", "DO", "LOOP", "REPEAT")


def _returns_rows(tokens: Sequence[Token]) -> bool:
    """Whether a SELECT stands by itself, with no INTO."""
    before, inside = ";", False
    for token in tokens:
        word = token.text.upper()
        if inside and word == "INTO":
            inside = False
        elif inside and word == ";":
            return True
        elif word == "SELECT" and before in _OPENERS:
            inside = True
        before = word
    return inside


_WRITING: Final = ("INTO", "UPDATE", "TRUNCATE", "DELETE FROM", "TRUNCATE TABLE")


def _touched(tokens: Sequence[Token], tables: set[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The tables that code reads and writes, as far as its text tells."""
    reads, writes = set(), set()
    words = ["", "", *(token.text for token in tokens)]
    for i, word in enumerate(words[2:], 2):
        if word not in tables:
            continue
        at = i - 2 if words[i - 1] == "." else i  # behind its database's name
        before, two = words[at - 1].upper(), f"{words[at - 2]} {words[at - 1]}".upper()
        if before in _WRITING or two in _WRITING:
            writes.add(word)
        elif before in ("FROM", "JOIN", ","):
            reads.add(word)
    return tuple(sorted(reads)), tuple(sorted(writes))


def _rows(connection: Connection[Any], sql: str, database: str) -> list[dict[str, Any]]:
    with connection.cursor(pymysql.cursors.DictCursor) as cursor:
        cursor.execute(sql, (database,))
        return [
            {name: value.decode() if isinstance(value, bytes) else value for name, value in row.items()}
            for row in cursor.fetchall()
        ]
